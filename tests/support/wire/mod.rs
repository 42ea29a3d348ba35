//! A small client that speaks PostgreSQL's protocol byte by byte.
//!
//! It is an oracle for the proxy, so nothing of the proxy is used here: the formats are those of the manual's chapter
//! "Message Formats", and SCRAM and md5 come from the crate `postgres-protocol`. Everything blocks, with a deadline.

pub mod backend;
pub mod frontend;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use postgres_protocol::authentication::{md5_hash, sasl};

pub use backend::{Fields, Message, cut};
pub use frontend::{Frontend, PROTOCOL_3_0, cancel_request, encode_all, startup};

/// How long a test waits for any one message before it calls that a hang.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Who logs in, and where to.
#[derive(Clone, Debug)]
pub struct Login {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password, sent only when asked for.
    pub password: String,
    /// Start-up parameters beside user and database.
    pub parameters: Vec<(String, String)>,
    /// The protocol version asked for.
    pub protocol: u32,
}

impl Login {
    /// A login of `user` to `database` without a password.
    pub fn new(user: &str, database: &str) -> Self {
        Self {
            user: user.into(),
            database: database.into(),
            password: String::new(),
            parameters: Vec::new(),
            protocol: PROTOCOL_3_0,
        }
    }

    /// The same with a password.
    pub fn password(mut self, password: &str) -> Self {
        self.password = password.into();
        self
    }

    /// The same in protocol version 3.`minor`.
    pub fn minor_protocol(mut self, minor: u32) -> Self {
        self.protocol = PROTOCOL_3_0 + minor;
        self
    }

    /// The same with one more start-up parameter.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The start-up packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut parameters = vec![("user", self.user.as_str()), ("database", self.database.as_str())];
        parameters.extend(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        startup(self.protocol, &parameters)
    }
}

/// Why a session did not come to be.
#[derive(Debug)]
pub enum LoginError {
    /// The server said no, with this ErrorResponse.
    Refused(Message),
    /// The connection broke, or nothing came in time.
    Broken(io::Error),
}

impl From<io::Error> for LoginError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// One connection to a server, logged in or not.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    consumed: usize,
    patience: Duration,
    /// The process id of BackendKeyData.
    pub process_id: u32,
    /// The secret of BackendKeyData.
    pub secret: Vec<u8>,
    /// The latest value of every ParameterStatus.
    pub parameters: BTreeMap<String, String>,
}

impl Connection {
    /// Opens a connection and sends nothing.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            inbox: Vec::new(),
            consumed: 0,
            patience: PATIENCE,
            process_id: 0,
            secret: Vec::new(),
            parameters: BTreeMap::new(),
        })
    }

    /// Opens a connection and logs in.
    pub fn login(address: SocketAddr, login: &Login) -> Result<Self, LoginError> {
        let mut connection = Self::open(address)?;
        connection.send_bytes(&login.packet())?;
        connection.finish_login(login)?;
        Ok(connection)
    }

    /// Answers the server's questions after a start-up packet, up to its first ReadyForQuery.
    pub fn finish_login(&mut self, login: &Login) -> Result<(), LoginError> {
        loop {
            let message = self.read()?;
            match message.kind {
                b'R' => self.authenticate(&message, login)?,
                b'E' => return Err(LoginError::Refused(message)),
                b'K' => {
                    let mut fields = Fields(&message.body);
                    self.process_id = fields.long();
                    self.secret = fields.0.to_vec();
                }
                b'Z' => return Ok(()),
                b'S' | b'N' | b'v' => {}
                _ => return Err(broken(format!("{message:?} during login")).into()),
            }
        }
    }

    fn authenticate(&mut self, request: &Message, login: &Login) -> Result<(), LoginError> {
        let mut fields = Fields(&request.body);
        match fields.long() {
            0 => Ok(()),
            3 => Ok(self.send(&Frontend::Password(with_zero(login.password.as_bytes())))?),
            5 => {
                let salt = *fields.0.first_chunk().ok_or_else(|| broken("md5 without salt"))?;
                let answer = md5_hash(login.user.as_bytes(), login.password.as_bytes(), salt);
                Ok(self.send(&Frontend::Password(with_zero(answer.as_bytes())))?)
            }
            10 => self.scram(login),
            other => Err(broken(format!("unknown authentication request {other}")).into()),
        }
    }

    fn scram(&mut self, login: &Login) -> Result<(), LoginError> {
        let mut scram = sasl::ScramSha256::new(login.password.as_bytes(), sasl::ChannelBinding::unsupported());
        let mut first = with_zero(sasl::SCRAM_SHA_256.as_bytes());
        first.extend_from_slice(&u32::try_from(scram.message().len()).expect("a short text").to_be_bytes());
        first.extend_from_slice(scram.message());
        self.send(&Frontend::Password(first))?;
        let challenge = self.sasl_step(11)?;
        scram.update(&challenge)?;
        self.send(&Frontend::Password(scram.message().to_vec()))?;
        let verdict = self.sasl_step(12)?;
        Ok(scram.finish(&verdict)?)
    }

    fn sasl_step(&mut self, expected: u32) -> Result<Vec<u8>, LoginError> {
        let message = self.read()?;
        if message.kind == b'E' {
            return Err(LoginError::Refused(message));
        }
        let mut fields = Fields(&message.body);
        if message.kind != b'R' || fields.long() != expected {
            return Err(broken(format!("{message:?} in place of SASL step {expected}")).into());
        }
        Ok(fields.0.to_vec())
    }

    /// Sets how long to wait for a message.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The socket itself, for what is no message.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends one message.
    pub fn send(&mut self, message: &Frontend) -> io::Result<()> {
        self.send_bytes(&message.bytes())
    }

    /// Sends messages in one write.
    pub fn send_all(&mut self, messages: &[Frontend]) -> io::Result<()> {
        self.send_bytes(&encode_all(messages))
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message; an error of kind `UnexpectedEof` when the server has closed, `TimedOut` when nothing comes.
    pub fn read(&mut self) -> io::Result<Message> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some((message, length)) = cut(&self.inbox[self.consumed..]).map_err(broken)? {
                self.consumed += length;
                self.note_parameter(&message);
                return Ok(message);
            }
            self.inbox.drain(..self.consumed);
            self.consumed = 0;
            self.fill(deadline)?;
        }
    }

    /// Messages up to and with the next ReadyForQuery.
    pub fn read_to_ready(&mut self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.read()?);
            if messages.last().is_some_and(|message| message.kind == b'Z') {
                return Ok(messages);
            }
        }
    }

    /// Messages up to the server's close; `TimedOut` when it does not close.
    pub fn read_to_end(&mut self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            match self.read() {
                Ok(message) => messages.push(message),
                Err(error) if is_closed(&error) => return Ok(messages),
                Err(error) => return Err(error),
            }
        }
    }

    /// A single byte outside of any message, such as the answer to an SSLRequest.
    pub fn read_byte(&mut self) -> io::Result<u8> {
        assert_eq!(self.inbox.len(), self.consumed, "messages wait before the byte");
        let deadline = Instant::now() + self.patience;
        self.fill(deadline)?;
        self.consumed += 1;
        Ok(self.inbox[self.consumed - 1])
    }

    /// The answer to a simple query.
    pub fn query(&mut self, sql: &str) -> io::Result<Vec<Message>> {
        self.send(&Frontend::query(sql))?;
        self.read_to_ready()
    }

    /// The rows of a simple query that must succeed.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let answer = self.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        if let Some(error) = answer.iter().find(|message| message.kind == b'E') {
            panic!("{sql}: {}", error.line());
        }
        answer.iter().filter(|message| message.kind == b'D').map(Message::row).collect()
    }

    /// The first column of the first row of a simple query that must give one.
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        rows.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_else(|| panic!("{sql} gave no value"))
    }

    /// Says good-bye and waits until the server has closed.
    pub fn leave(mut self) -> io::Result<()> {
        self.send(&Frontend::Terminate)?;
        self.read_to_end().map(drop)
    }

    fn note_parameter(&mut self, message: &Message) {
        if message.kind == b'S' {
            let mut fields = Fields(&message.body);
            self.parameters.insert(fields.text(), fields.text());
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.inbox.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(timed_out()),
            Err(error) => Err(error),
        }
    }
}

/// Sends a CancelRequest and waits until the server has closed that connection, so that it has been acted on.
pub fn cancel(address: SocketAddr, process_id: u32, secret: &[u8]) -> io::Result<()> {
    let mut connection = Connection::open(address)?;
    connection.send_bytes(&cancel_request(process_id, secret))?;
    connection.read_to_end().map(drop)
}

/// Whether `error` says that the other side has closed or reset the connection.
pub fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted)
}

fn with_zero(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.push(0);
    out
}

fn broken(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no message came in time")
}

//! One connection to one backend: logging in, what the backend has told about itself, and washing between sessions.
//!
//! A `Link` owns the connection's state while it logs in, is washed, or waits in the pool. While a session uses it,
//! the session does the framing and tells the link what it saw. A link knows neither sessions nor the pool.

use crate::auth::scram::{Client, KeyCache};
use crate::auth::{Secret, md5};
use crate::fault::{Culprit, Fault};
use crate::limits::{ANSWER_BYTES, BACKEND_CONTROL_BYTES, CANCEL_KEY_MAX_BYTES, LOGIN_ERROR_BYTES};
use crate::node::NodeId;
use crate::parameters::{Parameters, Told};
use crate::time::Instant;
use crate::wire::tag::{backend, frontend};
use crate::wire::{ErrorHead, HEADER_BYTES, Header, TransactionStatus, WriteQueue, build, startup};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{boxed::Box, format};
use bytes::{Buf, Bytes, BytesMut};

/// Whom a connection logs in as, and with which run-time parameters: two links of an equal `Login` on one node are
/// interchangeable once washed.
pub struct Login {
    /// The role.
    pub user: Vec<u8>,
    /// The database.
    pub database: Vec<u8>,
    /// The other parameters of the StartupMessage, as `name NUL value NUL`.
    pub parameters: Vec<u8>,
    /// What `pool_passwd` holds for the user, if it holds anything usable.
    pub password: Option<Secret>,
}

impl Login {
    /// True when a link of `other` serves a session of `self`: everything the backend was told is the same.
    pub fn interchangeable(&self, other: &Self) -> bool {
        self.user == other.user
            && self.database == other.database
            && self.parameters == other.parameters
            && self.password == other.password
    }
}

impl core::fmt::Debug for Login {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        write!(f, "Login({}@{})", text(&self.user), text(&self.database))
    }
}

/// Why a link could not be had.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What the client is told, unless the backend's own words are at hand.
    pub fault: Fault,
    /// The backend's own ErrorResponse, whole.
    pub response: Option<Bytes>,
    /// True when the backend asked for a password: the client must prove it before it hears why.
    pub password_asked: bool,
    /// True when the backend could not be reached at all, or was not ready to talk.
    pub unreachable: bool,
}

impl Refused {
    /// A refusal that `fault` explains.
    pub fn of(fault: Fault) -> Self {
        Self { fault, response: None, password_asked: false, unreachable: false }
    }

    /// True when the server said that a limit of connections is reached: its own, the role's or the database's.
    pub fn at_limit(&self) -> bool {
        self.response.is_some() && &self.fault.sqlstate == b"53300"
    }

    /// The backend could not be reached.
    pub fn unreachable(node: NodeId, why: &str) -> Self {
        let fault = Fault::new(Culprit::Backend, b"08006", format!("could not connect to backend {node}"))
            .detail(why)
            .hint("The node is tried again by itself; see SHOW pool_nodes for its state.");
        Self { unreachable: true, ..Self::of(fault) }
    }
}

/// Where a link stands.
enum State {
    /// The StartupMessage is out; the backend says how it wants to be convinced.
    Greeting,
    /// SCRAM is under way.
    Sasl(Box<Client>),
    /// The password is out, or none was asked for; AuthenticationOk or a refusal comes.
    Convincing,
    /// Authenticated; ReadyForQuery comes.
    Starting,
    /// A session uses it, or it is clean and waits for one.
    Ready,
    /// The answers to this many reset queries are outstanding.
    Washing { outstanding: u32 },
    /// The answer to a query of pgconvoy's own is outstanding.
    Asking { failed: bool },
    /// It is of no use any more. A failed link stays failed.
    Failed(Box<Refused>),
}

/// One connection to one backend. After `handle_read`, drain `writes` and look at [`Link::outcome`].
pub struct Link {
    /// The backend.
    pub node: NodeId,
    /// Whom it logged in as.
    pub login: Arc<Login>,
    /// Process id of the backend's server process, from BackendKeyData.
    pub process_id: i32,
    /// The backend's own cancel key. It never leaves pgconvoy.
    pub cancel_key: Bytes,
    /// The run-time parameters reported.
    pub parameters: Parameters,
    /// Where the backend's session stands in a transaction.
    pub status: TransactionStatus,
    /// True when the backend asked for a password at login.
    pub password_asked: bool,
    /// When the connection was opened.
    pub born: Instant,
    /// How many sessions have used it.
    pub uses: u32,
    state: State,
    nonce: String,
    answer: Option<Bytes>,
    queue: WriteQueue,
    held: BytesMut,
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Link(node {}, pid {}, {:?})", self.node, self.process_id, self.login)
    }
}

/// What has become of a link's login or washing.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It is still under way.
    Pending,
    /// It can be handed to a session.
    Ready,
    /// It failed.
    Failed(&'a Refused),
}

impl Link {
    /// A link whose connection has just been made; its StartupMessage is queued. `nonce` is fresh printable ASCII
    /// without commas (RFC 5802), drawn at the edge.
    pub fn new(node: NodeId, login: Arc<Login>, nonce: String, now: Instant) -> Self {
        let mut packet = Vec::new();
        startup::build(&mut packet, &login.user, &login.database, &login.parameters);
        let mut queue = WriteQueue::default();
        queue.push(packet.into());
        Self {
            node,
            login,
            process_id: 0,
            cancel_key: Bytes::new(),
            parameters: Parameters::default(),
            status: TransactionStatus::Idle,
            password_asked: false,
            born: now,
            uses: 0,
            state: State::Greeting,
            nonce,
            answer: None,
            queue,
            held: BytesMut::new(),
        }
    }

    /// Starts washing: the transaction is aborted if one is open, then `reset_queries` run. An `ABORT` among them
    /// is left out when there is nothing to abort, as pgpool does.
    pub fn wash(&mut self, reset_queries: &[String]) {
        assert!(matches!(self.state, State::Ready), "only a link that is ready can be washed");
        let mut out = Vec::new();
        let mut outstanding = 0;
        let open = self.status != TransactionStatus::Idle;
        let aborts = |query: &String| {
            let word = query.trim_end_matches(';').trim();
            word.eq_ignore_ascii_case("abort") || word.eq_ignore_ascii_case("rollback")
        };
        if open && !reset_queries.first().is_some_and(aborts) {
            build::query(&mut out, "ABORT");
            outstanding += 1;
        }
        for query in reset_queries.iter().filter(|query| open || !aborts(query)) {
            build::query(&mut out, query);
            outstanding += 1;
        }
        if outstanding > 0 {
            self.queue.push(out.into());
            self.state = State::Washing { outstanding };
        }
    }

    /// Asks a query of one row and one column; its value is in [`Link::answer`] once the link is ready again.
    pub fn ask(&mut self, query: &str) {
        assert!(matches!(self.state, State::Ready), "only a link that is ready can be asked");
        let mut out = Vec::new();
        build::query(&mut out, query);
        self.queue.push(out.into());
        self.answer = None;
        self.state = State::Asking { failed: false };
    }

    /// The value that the last [`Link::ask`] brought; `None` for NULL, no row, or an error.
    pub fn answer(&self) -> Option<&[u8]> {
        self.answer.as_deref()
    }

    /// Bytes from the backend while the link logs in, is washed or waits in the pool. Consumes all of `input`.
    pub fn handle_read(&mut self, input: &mut BytesMut, keys: &mut KeyCache) {
        if matches!(self.state, State::Failed(_)) {
            input.clear();
            return;
        }
        let mut buffer = core::mem::take(&mut self.held);
        buffer.extend_from_slice(input);
        input.clear();
        loop {
            let header = match Header::parse(&buffer) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(_) => return self.fail(Fault::hostile("the backend sent a message of impossible length")),
            };
            let bound = match header.tag {
                backend::ERROR_RESPONSE | backend::NOTICE_RESPONSE => LOGIN_ERROR_BYTES,
                backend::DATA_ROW if matches!(self.state, State::Asking { .. }) => ANSWER_BYTES,
                _ => BACKEND_CONTROL_BYTES,
            };
            if header.total > bound {
                return self.fail(Fault::hostile(format!(
                    "the backend sent a message of kind {:?} and {} bytes where that cannot be",
                    header.tag as char, header.total
                )));
            }
            if buffer.len() < header.total {
                break;
            }
            let message = buffer.split_to(header.total).freeze();
            self.handle_message(header.tag, message, keys);
            if matches!(self.state, State::Failed(_)) {
                return;
            }
        }
        if !buffer.is_empty() {
            self.held = buffer;
        }
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self, why: &str) {
        if !matches!(self.state, State::Failed(_)) {
            let refused = Refused { password_asked: self.password_asked, ..Refused::unreachable(self.node, why) };
            self.state = State::Failed(Box::new(refused));
        }
    }

    /// The session that uses the link saw a ParameterStatus; the body is given.
    pub fn note_parameter<'a>(&mut self, body: &'a [u8]) -> Result<Option<Told<'a>>, Fault> {
        self.parameters.note(body).map_err(|_| Fault::hostile("the backend reported too many parameters"))
    }

    /// Bytes for the backend.
    pub fn writes(&mut self) -> &mut WriteQueue {
        &mut self.queue
    }

    /// What has become of the login or the washing.
    pub fn outcome(&self) -> Outcome<'_> {
        match &self.state {
            State::Ready if self.queue.is_empty() && self.held.is_empty() => Outcome::Ready,
            State::Failed(refused) => Outcome::Failed(refused),
            _ => Outcome::Pending,
        }
    }

    /// True when the backend said that it is a standby, false when it said that it is not, `None` when it is older
    /// than PostgreSQL 14 and says nothing (`in_hot_standby`).
    pub fn in_hot_standby(&self) -> Option<bool> {
        self.parameters.get(b"in_hot_standby").map(|value| value == b"on")
    }

    fn fail(&mut self, fault: Fault) {
        let refused = Refused { password_asked: self.password_asked, ..Refused::of(fault) };
        self.state = State::Failed(Box::new(refused));
    }

    fn handle_message(&mut self, tag: u8, message: Bytes, keys: &mut KeyCache) {
        let body = &message[HEADER_BYTES..];
        match tag {
            backend::NOTICE_RESPONSE | backend::NOTIFICATION_RESPONSE => {}
            backend::PARAMETER_STATUS => {
                if let Err(fault) = self.note_parameter(body).map(drop) {
                    self.fail(fault);
                }
            }
            backend::ERROR_RESPONSE => self.handle_error(message),
            _ => match &mut self.state {
                State::Greeting | State::Sasl(_) | State::Convincing if tag == backend::AUTHENTICATION => {
                    if let Err(fault) = self.handle_authentication(body, keys) {
                        self.fail(fault);
                    }
                }
                State::Starting => self.handle_starting(tag, body),
                State::Asking { failed } => match tag {
                    backend::DATA_ROW => {
                        let value = body
                            .get(2..6)
                            .map(|length| u32::from_be_bytes([length[0], length[1], length[2], length[3]]));
                        self.answer = value
                            .and_then(|length| message.len().checked_sub(length as usize).filter(|at| *at == 11))
                            .map(|at| message.slice(at..));
                    }
                    backend::COMMAND_COMPLETE | backend::ROW_DESCRIPTION => {}
                    backend::READY_FOR_QUERY => {
                        if *failed {
                            self.answer = None;
                        }
                        self.state = State::Ready;
                    }
                    _ => self.fail(Fault::hostile("the backend answered a query with something else")),
                },
                State::Washing { outstanding } => match (tag, body) {
                    (backend::READY_FOR_QUERY, [status]) => {
                        *outstanding -= 1;
                        let done = *outstanding == 0;
                        self.status = TransactionStatus::from_byte(*status).unwrap_or(TransactionStatus::Failed);
                        if done && self.status == TransactionStatus::Idle {
                            self.state = State::Ready;
                        } else if done {
                            self.fail(Fault::new(Culprit::Backend, b"25000", "a transaction outlived its reset"));
                        }
                    }
                    (backend::COMMAND_COMPLETE | backend::DATA_ROW | backend::ROW_DESCRIPTION, _) => {}
                    (backend::EMPTY_QUERY_RESPONSE, _) => {}
                    _ => self.fail(Fault::hostile("the backend answered a reset query with something else")),
                },
                _ => self.fail(Fault::hostile(format!("the backend sent {:?} unasked", tag as char))),
            },
        }
    }

    fn handle_error(&mut self, message: Bytes) {
        let head = ErrorHead::parse(&message[HEADER_BYTES..]);
        if let (State::Asking { failed }, false) = (&mut self.state, head.is_fatal()) {
            *failed = true;
            return;
        }
        let logging_in = !matches!(self.state, State::Ready | State::Washing { .. } | State::Asking { .. });
        let fault = Fault::new(Culprit::Backend, &head.sqlstate, "the backend refused the connection");
        let refused = Refused {
            fault,
            response: logging_in.then_some(message),
            password_asked: self.password_asked,
            // Starting up, shutting down, recovering: nobody's fault, and not this user's answer for ever.
            unreachable: matches!(&head.sqlstate, b"57P01" | b"57P02" | b"57P03"),
        };
        self.state = State::Failed(Box::new(refused));
    }

    fn handle_starting(&mut self, tag: u8, body: &[u8]) {
        match tag {
            backend::BACKEND_KEY_DATA if (8..=4 + CANCEL_KEY_MAX_BYTES).contains(&body.len()) => {
                let (mut pid, key) = body.split_at(4);
                self.process_id = pid.get_i32();
                self.cancel_key = Bytes::copy_from_slice(key);
            }
            backend::READY_FOR_QUERY if body == b"I" => {
                self.parameters.shrink();
                self.nonce = String::new();
                self.state = State::Ready;
            }
            _ => self.fail(Fault::hostile(format!("the backend sent {:?} during start-up", tag as char))),
        }
    }

    fn handle_authentication(&mut self, body: &[u8], keys: &mut KeyCache) -> Result<(), Fault> {
        let Some((kind, data)) = body.split_first_chunk::<4>() else {
            return Err(Fault::hostile("the backend sent a truncated authentication request"));
        };
        let kind = i32::from_be_bytes(*kind);
        if kind != AUTH_OK {
            self.password_asked = true;
        }
        match (kind, &mut self.state) {
            (AUTH_OK, State::Greeting | State::Convincing) => self.state = State::Starting,
            (AUTH_OK, State::Sasl(client)) => {
                client.handle_ok().map_err(|error| self.sasl_fault(&error))?;
                self.state = State::Starting;
            }
            (AUTH_CLEARTEXT, State::Greeting) => {
                let password = self.password()?;
                let mut out = Vec::new();
                build::message(&mut out, frontend::PASSWORD, |out| build::cstr(out, password.expose()));
                self.queue.push(out.into());
                self.state = State::Convincing;
            }
            (AUTH_MD5, State::Greeting) => {
                let salt: [u8; 4] =
                    data.try_into().map_err(|_| Fault::hostile("the backend sent a salt that is not 4 bytes"))?;
                let answer = md5::response(&md5::inner(self.password()?, &self.login.user), salt);
                let mut out = Vec::new();
                build::message(&mut out, frontend::PASSWORD, |out| build::cstr(out, answer.as_bytes()));
                self.queue.push(out.into());
                self.state = State::Convincing;
            }
            (AUTH_SASL, State::Greeting) => self.start_sasl(data)?,
            (AUTH_SASL_CONTINUE, State::Sasl(client)) => {
                let answer = client.handle_continue_cached(data, keys);
                let answer = answer.map_err(|error| self.sasl_fault(&error))?;
                let mut out = Vec::new();
                build::message(&mut out, frontend::PASSWORD, |out| out.extend_from_slice(&answer));
                self.queue.push(out.into());
            }
            (AUTH_SASL_FINAL, State::Sasl(client)) => {
                client.handle_final(data).map_err(|error| self.sasl_fault(&error))?;
            }
            (AUTH_CLEARTEXT..=AUTH_SASL_FINAL, State::Greeting) => {
                return Err(Fault::new(
                    Culprit::Configuration,
                    b"28000",
                    format!("backend {} asks for authentication method {kind}, which is not supported", self.node),
                )
                .hint("Use trust, password, md5 or scram-sha-256 for pgconvoy in the backend's pg_hba.conf."));
            }
            _ => return Err(Fault::hostile(format!("the backend sent authentication request {kind} out of turn"))),
        }
        Ok(())
    }

    fn start_sasl(&mut self, mechanisms: &[u8]) -> Result<(), Fault> {
        if !mechanisms.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256) {
            return Err(Fault::hostile("the backend offers no SASL mechanism that is supported"));
        }
        let client = Client::new(self.password()?, &self.nonce);
        let first = client.client_first();
        let mut out = Vec::new();
        build::message(&mut out, frontend::PASSWORD, |out| {
            build::cstr(out, SCRAM_SHA_256);
            out.extend_from_slice(&(first.len() as i32).to_be_bytes());
            out.extend_from_slice(&first);
        });
        self.queue.push(out.into());
        self.state = State::Sasl(Box::new(client));
        Ok(())
    }

    fn password(&self) -> Result<&Secret, Fault> {
        self.login.password.as_ref().ok_or_else(|| {
            let user = String::from_utf8_lossy(&self.login.user);
            Fault::new(Culprit::Configuration, b"28P01", format!("password authentication failed for user \"{user}\""))
        })
    }

    fn sasl_fault(&self, error: &crate::auth::AuthError) -> Fault {
        Fault::new(Culprit::Backend, b"28000", format!("SCRAM exchange with backend {} failed", self.node))
            .detail(format!("{error}"))
    }
}

/// AuthenticationOk.
pub const AUTH_OK: i32 = 0;
/// AuthenticationCleartextPassword.
pub const AUTH_CLEARTEXT: i32 = 3;
/// AuthenticationMD5Password.
pub const AUTH_MD5: i32 = 5;
/// AuthenticationSASL.
pub const AUTH_SASL: i32 = 10;
/// AuthenticationSASLContinue.
pub const AUTH_SASL_CONTINUE: i32 = 11;
/// AuthenticationSASLFinal.
pub const AUTH_SASL_FINAL: i32 = 12;
/// The one SASL mechanism spoken so far.
pub const SCRAM_SHA_256: &[u8] = b"SCRAM-SHA-256";

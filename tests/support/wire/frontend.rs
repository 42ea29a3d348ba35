//! What a client may send: every message of the manual's chapter "Message Formats", encoded byte by byte.

/// The protocol version 3.0 as it stands in a start-up packet.
pub const PROTOCOL_3_0: u32 = 196_608;
/// The request code of `CancelRequest`.
const CANCEL_REQUEST: u32 = 80_877_102;
/// The request code of `SSLRequest`.
const SSL_REQUEST: u32 = 80_877_103;
/// The request code of `GSSENCRequest`.
const GSSENC_REQUEST: u32 = 80_877_104;

/// What Describe and Close speak about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Target {
    fn code(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }
}

/// A message of a client after its start-up packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// Simple query.
    Query(String),
    /// Prepares `sql` under `name`; `types` are the object ids of its first parameters.
    Parse { name: String, sql: String, types: Vec<u32> },
    /// Binds text parameters to a prepared statement; `formats` are those of the result columns.
    Bind { portal: String, statement: String, parameters: Vec<Option<String>>, formats: Vec<u16> },
    /// Asks for the shape of a statement or portal.
    Describe(Target, String),
    /// Runs a portal for at most `rows` rows, 0 for all.
    Execute { portal: String, rows: u32 },
    /// Drops a statement or portal.
    Close(Target, String),
    /// Asks for everything held back.
    Flush,
    /// Ends a batch.
    Sync,
    /// A piece of a COPY.
    CopyData(Vec<u8>),
    /// A COPY's good end.
    CopyDone,
    /// A COPY's bad end.
    CopyFail(String),
    /// Calls the function `oid` with text arguments, for a text result.
    FunctionCall { oid: u32, arguments: Vec<Option<String>> },
    /// The client leaves.
    Terminate,
    /// A password, or a step of SASL.
    Password(Vec<u8>),
    /// Any kind with any body, the length right.
    Other(u8, Vec<u8>),
}

impl Frontend {
    /// A simple query.
    pub fn query(sql: impl Into<String>) -> Self {
        Self::Query(sql.into())
    }

    /// Parse without parameter types.
    pub fn parse(name: &str, sql: &str) -> Self {
        Self::Parse { name: name.into(), sql: sql.into(), types: Vec::new() }
    }

    /// Bind without parameters, for a result in text.
    pub fn bind(portal: &str, statement: &str) -> Self {
        Self::Bind { portal: portal.into(), statement: statement.into(), parameters: Vec::new(), formats: Vec::new() }
    }

    /// Execute without a limit of rows.
    pub fn execute(portal: &str) -> Self {
        Self::Execute { portal: portal.into(), rows: 0 }
    }

    /// The byte that names the message's kind.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Query(_) => b'Q',
            Self::Parse { .. } => b'P',
            Self::Bind { .. } => b'B',
            Self::Describe(..) => b'D',
            Self::Execute { .. } => b'E',
            Self::Close(..) => b'C',
            Self::Flush => b'H',
            Self::Sync => b'S',
            Self::CopyData(_) => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail(_) => b'f',
            Self::FunctionCall { .. } => b'F',
            Self::Terminate => b'X',
            Self::Password(_) => b'p',
            Self::Other(kind, _) => *kind,
        }
    }

    /// Appends the message as it goes over the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.encode_body(out);
        let length = u32::try_from(out.len() - length_at).expect("a test message is short");
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The message as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Query(text) | Self::CopyFail(text) => put_text(out, text),
            Self::Parse { name, sql, types } => {
                put_text(out, name);
                put_text(out, sql);
                put_count(out, types.len());
                types.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
            }
            Self::Bind { portal, statement, parameters, formats } => {
                put_text(out, portal);
                put_text(out, statement);
                put_count(out, 0);
                put_values(out, parameters);
                put_count(out, formats.len());
                formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
            }
            Self::Describe(target, name) | Self::Close(target, name) => {
                out.push(target.code());
                put_text(out, name);
            }
            Self::Execute { portal, rows } => {
                put_text(out, portal);
                out.extend_from_slice(&rows.to_be_bytes());
            }
            Self::Flush | Self::Sync | Self::CopyDone | Self::Terminate => {}
            Self::CopyData(bytes) | Self::Password(bytes) | Self::Other(_, bytes) => out.extend_from_slice(bytes),
            Self::FunctionCall { oid, arguments } => {
                out.extend_from_slice(&oid.to_be_bytes());
                put_count(out, 0);
                put_values(out, arguments);
                put_count(out, 0);
            }
        }
    }
}

/// All of `messages`, one after the other.
pub fn encode_all(messages: &[Frontend]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

/// A start-up packet of protocol `version`.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        put_text(&mut body, name);
        put_text(&mut body, value);
    }
    body.push(0);
    with_length(&body)
}

/// An `SSLRequest`.
pub fn ssl_request() -> Vec<u8> {
    with_length(&SSL_REQUEST.to_be_bytes())
}

/// A `GSSENCRequest`.
pub fn gssenc_request() -> Vec<u8> {
    with_length(&GSSENC_REQUEST.to_be_bytes())
}

/// A `CancelRequest` for the session `process_id` with its `secret`.
pub fn cancel_request(process_id: u32, secret: &[u8]) -> Vec<u8> {
    let mut body = CANCEL_REQUEST.to_be_bytes().to_vec();
    body.extend_from_slice(&process_id.to_be_bytes());
    body.extend_from_slice(secret);
    with_length(&body)
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a test packet is short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).expect("a test list is short").to_be_bytes());
}

fn put_values(out: &mut Vec<u8>, values: &[Option<String>]) {
    put_count(out, values.len());
    for value in values {
        match value {
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(text) => {
                out.extend_from_slice(&u32::try_from(text.len()).expect("a test value is short").to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

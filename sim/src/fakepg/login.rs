//! A connection before its first ReadyForQuery: start-up packets, passwords, greetings.

use super::backend::{Backend, Phase};
use super::reply::{self, SqlError};
use super::session::Session;
use super::settings::{IN_HOT_STANDBY, SESSION_AUTHORIZATION, Settings};
use super::storage::Recovery;
use super::{Authentication, Shared, Up};
use crate::frame;
use bytes::{Buf, BufMut, BytesMut};
use pgconvoy_core::auth::{md5, scram};
use pgconvoy_core::time::Instant;
use pgconvoy_core::wire::startup::{self, Packet, Startup};

/// How far a login is.
#[derive(Default)]
pub enum Login {
    /// A start-up packet is to come.
    #[default]
    Start,
    /// The password is to come in clear.
    Cleartext(Box<Startup>),
    /// An answer to this salt is to come.
    Md5(Box<Startup>, [u8; 4]),
    /// SASLInitialResponse is to come, and SASLResponse after it.
    Scram(Box<Startup>, Box<scram::Server>, bool),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "Start",
            Self::Cleartext(_) => "Cleartext",
            Self::Md5(..) => "Md5",
            Self::Scram(..) => "Scram",
        })
    }
}

/// Takes one more packet or message of the login; false when there is none.
pub fn advance(backend: &mut Backend, input: &mut BytesMut, shared: &mut Shared, now: Instant) -> bool {
    let Phase::Login(login) = &mut backend.phase else { return false };
    if matches!(login, Login::Start) {
        return start(backend, input, shared, now);
    }
    let message = match frame::next(input) {
        Ok(Some(message)) if message[0] == b'p' => message,
        Ok(None) => return false,
        _ => {
            backend.fatal(&SqlError::new(b"08P01", "expected password response"));
            return true;
        }
    };
    let login = std::mem::take(login);
    if let Err(error) = answer(backend, login, &message[5..], shared) {
        backend.fatal(&error);
    }
    true
}

fn start(backend: &mut Backend, input: &mut BytesMut, shared: &mut Shared, now: Instant) -> bool {
    let total = match startup::packet_length(input) {
        Ok(Some(total)) if total <= input.len() => total,
        Ok(_) => return false,
        Err(_) => {
            backend.close(shared, now);
            return true;
        }
    };
    match startup::parse(&input.split_to(total)) {
        Ok(Packet::Encryption) => backend.out.put_u8(b'N'),
        Ok(Packet::Cancel { process_id, secret }) => {
            shared.cancels.push((process_id, secret));
            backend.close(shared, now);
        }
        Ok(Packet::Startup(startup)) => {
            if let Err(error) = begin(backend, startup, shared) {
                backend.fatal(&error);
            }
        }
        Err(fault) => backend.fatal(&SqlError { code: fault.sqlstate, message: fault.message }),
    }
    true
}

fn begin(backend: &mut Backend, startup: Startup, shared: &mut Shared) -> Result<(), SqlError> {
    match shared.up {
        Up::Running => {}
        Up::Starting => return Err(SqlError::new(b"57P03", "the database system is starting up")),
        Up::Down => return Err(SqlError::new(b"57P03", "the database system is shutting down")),
    }
    if shared.refuse_logins > 0 {
        shared.refuse_logins -= 1;
        return Err(SqlError::new(b"53300", "sorry, too many clients already"));
    }
    let startup = Box::new(startup);
    let (kind, data) = match shared.authentication {
        Authentication::Trust => return welcome(backend, &startup, shared),
        Authentication::Cleartext => {
            backend.phase = Phase::Login(Login::Cleartext(startup));
            (3, Vec::new())
        }
        Authentication::Md5 => {
            let salt = (shared.rng.next_u64() as u32).to_be_bytes();
            backend.phase = Phase::Login(Login::Md5(startup, salt));
            (5, salt.to_vec())
        }
        Authentication::Scram => {
            let nonce = format!("server{:016x}", shared.rng.next_u64());
            let server = Box::new(scram::Server::new(shared.verifier(), &nonce));
            backend.phase = Phase::Login(Login::Scram(startup, server, false));
            (10, b"SCRAM-SHA-256\0\0".to_vec())
        }
    };
    ask(backend, kind, &data);
    Ok(())
}

fn ask(backend: &mut Backend, kind: u32, data: &[u8]) {
    reply::message(&mut backend.out, b'R', |out| {
        out.put_u32(kind);
        out.put_slice(data);
    });
}

fn answer(backend: &mut Backend, login: Login, body: &[u8], shared: &mut Shared) -> Result<(), SqlError> {
    let text = body.strip_suffix(b"\0").unwrap_or(body);
    match login {
        Login::Start => unreachable!("a start-up packet has come before any password"),
        Login::Cleartext(startup) => {
            if text != shared.password.expose() {
                return Err(wrong_password(&startup));
            }
            welcome(backend, &startup, shared)
        }
        Login::Md5(startup, salt) => {
            if !md5::verify(&md5::inner(&shared.password, &startup.user), salt, text) {
                return Err(wrong_password(&startup));
            }
            welcome(backend, &startup, shared)
        }
        Login::Scram(startup, mut server, false) => {
            let first = sasl_initial(body).ok_or_else(super::backend::bad_message)?;
            let challenge = server.handle_client_first(first).map_err(|_| wrong_password(&startup))?;
            ask(backend, 11, &challenge);
            backend.phase = Phase::Login(Login::Scram(startup, server, true));
            Ok(())
        }
        Login::Scram(startup, mut server, true) => {
            let proof = server.handle_client_final(body).map_err(|_| wrong_password(&startup))?;
            ask(backend, 12, &proof);
            welcome(backend, &startup, shared)
        }
    }
}

/// The client's first message in a SASLInitialResponse.
fn sasl_initial(body: &[u8]) -> Option<&[u8]> {
    let (mechanism, rest) = frame::cstr(body)?;
    if mechanism != b"SCRAM-SHA-256" || rest.len() < 4 {
        return None;
    }
    let (mut length, first) = rest.split_at(4);
    (length.get_u32() as usize == first.len()).then_some(first)
}

fn wrong_password(startup: &Startup) -> SqlError {
    let user = String::from_utf8_lossy(&startup.user);
    SqlError::new(b"28P01", format!("password authentication failed for user \"{user}\""))
}

fn welcome(backend: &mut Backend, startup: &Startup, shared: &Shared) -> Result<(), SqlError> {
    let mut settings = Settings::new(startup::pairs(&startup.parameters))
        .map_err(|_| SqlError::new(b"42704", "unrecognized configuration parameter"))?;
    let standby = shared.storage.recovery() != Recovery::Primary;
    settings.set_internal(IN_HOT_STANDBY, if standby { b"on" } else { b"off" });
    settings.set_internal(SESSION_AUTHORIZATION, &startup.user);
    settings.mark_reported();
    ask(backend, 0, &[]);
    settings.report_all(|name, value| {
        reply::message(&mut backend.out, b'S', |out| {
            reply::cstr(out, name);
            reply::cstr(out, value);
        });
    });
    let process_id = backend.session.process_id;
    reply::message(&mut backend.out, b'K', |out| {
        out.put_i32(process_id);
        out.put_slice(&backend.secret);
    });
    backend.session = Session::new(settings, process_id);
    backend.phase = Phase::Ready;
    backend.ready_for_query();
    Ok(())
}

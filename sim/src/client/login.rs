//! A client's login.

use super::CancelKey;
use super::automaton::field;
use super::workload::Workload;
use crate::frame::cstr;
use bytes::{BufMut, BytesMut};
use pgconvoy_core::auth::{Secret, md5, scram};
use pgconvoy_core::wire::startup;

/// How far a login is after a message.
pub enum Progress {
    /// More is to come.
    Pending,
    /// Logged in, with this cancel key.
    Done(CancelKey),
    /// Refused with this code.
    Refused([u8; 5]),
}

/// A login under way.
pub struct Login {
    user: &'static str,
    password: Secret,
    nonce: String,
    /// SSLRequest comes first, and its answer is still to come.
    encryption: bool,
    scram: Option<scram::Client>,
    authenticated: bool,
    key: Option<CancelKey>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login(authenticated: {})", self.authenticated)
    }
}

impl Login {
    pub fn new(workload: &Workload, nonce: u64) -> Self {
        Self {
            user: workload.user,
            password: if workload.wrong_password {
                Secret::new(b"open barley".to_vec())
            } else {
                workload.password.clone()
            },
            nonce: format!("client{nonce:016x}"),
            encryption: workload.encryption,
            scram: None,
            authenticated: false,
            key: None,
        }
    }

    /// Writes SSLRequest, or at once the StartupMessage.
    pub fn start(&self, out: &mut BytesMut) {
        if self.encryption {
            out.put_u32(8);
            return out.put_u32(startup::SSL_REQUEST);
        }
        let mut packet = Vec::new();
        startup::build(&mut packet, self.user.as_bytes(), self.user.as_bytes(), b"application_name\0sim\0");
        out.put_slice(&packet);
    }

    /// True while the one byte that answers SSLRequest is to come.
    pub fn awaits_encryption(&self) -> bool {
        self.encryption
    }

    /// Takes that byte: there is no encryption, so the client goes on without.
    pub fn handle_encryption(&mut self, answer: u8, out: &mut BytesMut) -> Result<(), String> {
        if answer != b'N' {
            return Err(format!("SSLRequest was answered with {:?}", answer as char));
        }
        self.encryption = false;
        self.start(out);
        Ok(())
    }

    /// Takes one message.
    pub fn handle_message(&mut self, message: &[u8], out: &mut BytesMut) -> Result<Progress, String> {
        let body = &message[5..];
        match message[0] {
            b'E' => {
                let code = field(body, b'C').and_then(|code| code.try_into().ok()).unwrap_or(*b"XXXXX");
                Ok(Progress::Refused(code))
            }
            b'N' => Ok(Progress::Pending),
            b'R' if !self.authenticated => self.authentication(body, out).map(|()| Progress::Pending),
            b'S' if self.authenticated => Ok(Progress::Pending),
            b'K' if self.authenticated && self.key.is_none() && body.len() >= 8 => {
                let (process_id, secret) = body.split_at(4);
                let process_id = process_id.try_into().map_or(0, i32::from_be_bytes);
                self.key = Some((process_id, secret.to_vec()));
                Ok(Progress::Pending)
            }
            b'Z' if body == b"I" => match self.key.take() {
                Some(key) => Ok(Progress::Done(key)),
                None => Err("no BackendKeyData came before ReadyForQuery".to_owned()),
            },
            kind => Err(format!("{:?} came during login", kind as char)),
        }
    }

    fn authentication(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), String> {
        let (kind, data) = body.split_first_chunk::<4>().ok_or("a truncated authentication request")?;
        let scram = |client: &mut Option<scram::Client>| client.take().ok_or("SASL without a beginning".to_owned());
        match u32::from_be_bytes(*kind) {
            0 => self.authenticated = true,
            3 => password(out, &[self.password.expose(), b"\0"].concat()),
            5 => {
                let salt = data.try_into().map_err(|_| "a salt that is not 4 bytes")?;
                let answer = md5::response(&md5::inner(&self.password, self.user), salt);
                password(out, &[answer.as_bytes(), b"\0"].concat());
            }
            10 => {
                let mechanism = cstr(data).map(|(first, _)| first);
                if mechanism != Some(b"SCRAM-SHA-256") {
                    return Err(format!("mechanism {mechanism:?}"));
                }
                let client = scram::Client::new(&self.password, &self.nonce);
                let first = client.client_first();
                let mut answer = b"SCRAM-SHA-256\0".to_vec();
                answer.put_u32(first.len() as u32);
                answer.extend_from_slice(&first);
                password(out, &answer);
                self.scram = Some(client);
            }
            11 => {
                let mut client = scram(&mut self.scram)?;
                password(out, &client.handle_continue(data).map_err(|error| format!("{error:?}"))?);
                self.scram = Some(client);
            }
            12 => {
                let mut client = scram(&mut self.scram)?;
                client.handle_final(data).map_err(|error| format!("{error:?}"))?;
            }
            other => return Err(format!("authentication request {other}")),
        }
        Ok(())
    }
}

fn password(out: &mut BytesMut, body: &[u8]) {
    out.put_u8(b'p');
    out.put_u32(4 + body.len() as u32);
    out.put_slice(body);
}

//! The side of the exchange that lets a client prove its password to us.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::keys::{proof_fits, signature};
use super::message::{self, ChannelBinding, Reader};
use super::verifier::Verifier;
use crate::auth::{AuthError, Malformed};
use crate::limits::SCRAM_NONCE_BYTES;

/// Lets a client log in with SCRAM-SHA-256.
///
/// Order of use: [`handle_client_first`](Self::handle_client_first) with the content of SASLInitialResponse, whose
/// answer goes into AuthenticationSASLContinue; [`handle_client_final`](Self::handle_client_final) with that of
/// SASLResponse, whose answer goes into AuthenticationSASLFinal, followed by AuthenticationOk. After an error, or once
/// the client has proven itself, nothing further is accepted.
pub struct Server(State);

enum State {
    First { verifier: Verifier, nonce: String },
    Final(Asked),
    Proven,
    Failed(AuthError),
}

/// What the client must answer to.
struct Asked {
    verifier: Verifier,
    binding: ChannelBinding,
    nonce: Vec<u8>,
    /// The client's first message without its header, a comma, and our first message: how AuthMessage begins.
    so_far: Vec<u8>,
}

struct ClientFirst<'a> {
    binding: ChannelBinding,
    bare: &'a [u8],
    nonce: &'a [u8],
}

struct ClientFinal<'a> {
    without_proof: &'a [u8],
    nonce: &'a [u8],
    proof: [u8; 32],
}

impl Server {
    /// An exchange against `verifier` with a fresh `nonce`: printable, without comma, unpredictable, never used before.
    ///
    /// # Panics
    /// When the nonce has a forbidden character or is empty or longer than its bound: it is the caller's own.
    pub fn new(verifier: Verifier, nonce: &str) -> Self {
        message::assert_nonce(nonce);
        Self(State::First { verifier, nonce: nonce.to_string() })
    }

    /// Takes the client's first message and gives ours.
    ///
    /// # Errors
    /// When the message is malformed, binds to a channel, or asks for something that PostgreSQL does not do either.
    pub fn handle_client_first(&mut self, client_first: &[u8]) -> Result<Vec<u8>, AuthError> {
        match self.take() {
            State::First { verifier, nonce } => match ask(verifier, &nonce, client_first) {
                Ok((server_first, asked)) => {
                    self.0 = State::Final(asked);
                    Ok(server_first)
                }
                Err(error) => self.fail(error),
            },
            state => self.refuse(state),
        }
    }

    /// Takes the client's proof and gives ours.
    ///
    /// # Errors
    /// When the message is malformed, belongs to another exchange, or the proof does not fit.
    pub fn handle_client_final(&mut self, client_final: &[u8]) -> Result<Vec<u8>, AuthError> {
        match self.take() {
            State::Final(asked) => match check(&asked, client_final) {
                Ok(server_final) => {
                    self.0 = State::Proven;
                    Ok(server_final)
                }
                Err(error) => self.fail(error),
            },
            state => self.refuse(state),
        }
    }

    /// Whether the client has proven that it knows the password.
    pub fn is_proven(&self) -> bool {
        matches!(self.0, State::Proven)
    }

    /// Leaves the exchange failed until a step has succeeded.
    fn take(&mut self) -> State {
        core::mem::replace(&mut self.0, State::Failed(AuthError::ClientMessage(Malformed::OutOfOrder)))
    }

    fn refuse(&mut self, state: State) -> Result<Vec<u8>, AuthError> {
        match state {
            State::Failed(first) => self.fail(first),
            State::First { .. } | State::Final(_) | State::Proven => {
                self.fail(AuthError::ClientMessage(Malformed::OutOfOrder))
            }
        }
    }

    fn fail(&mut self, error: AuthError) -> Result<Vec<u8>, AuthError> {
        self.0 = State::Failed(error.clone());
        Err(error)
    }
}

fn ask(verifier: Verifier, nonce: &str, client_first: &[u8]) -> Result<(Vec<u8>, Asked), AuthError> {
    let first = read_first(client_first)?;
    let nonce = [first.nonce, nonce.as_bytes()].concat();
    let iterations = format!("{}", verifier.iterations());
    let salt = message::encode(verifier.salt());
    let server_first = [b"r=", &*nonce, b",s=", &salt, b",i=", iterations.as_bytes()].concat();
    let so_far = [first.bare, &server_first].join(&b',');
    Ok((server_first, Asked { verifier, binding: first.binding, nonce, so_far }))
}

fn read_first(client_first: &[u8]) -> Result<ClientFirst<'_>, AuthError> {
    let mut reader = Reader::new(client_first).map_err(AuthError::ClientMessage)?;
    let binding = match reader.byte() {
        b'n' => ChannelBinding::Unsupported,
        b'y' => ChannelBinding::NotOffered,
        b'p' => return Err(AuthError::ClientMessage(Malformed::ChannelBindingNotOffered)),
        found => return Err(AuthError::ClientMessage(Malformed::ChannelBindingFlag(found))),
    };
    reader.comma().map_err(AuthError::ClientMessage)?;
    match reader.peek() {
        b',' => reader.byte(),
        b'a' => return Err(AuthError::ClientAuthorizationIdentity),
        found => return Err(AuthError::ClientMessage(Malformed::UnexpectedAttribute(found))),
    };
    let bare = reader.rest();
    if reader.peek() == b'm' {
        return Err(AuthError::ClientMandatoryExtension);
    }
    reader.attribute(b'n').map_err(AuthError::ClientMessage)?;
    let nonce = reader.attribute(b'r').map_err(AuthError::ClientMessage)?;
    if !message::is_printable(nonce) {
        return Err(AuthError::ClientNoncePrintable);
    }
    if nonce.is_empty() || nonce.len() > SCRAM_NONCE_BYTES {
        return Err(AuthError::ClientMessage(Malformed::NonceLength));
    }
    while !reader.rest().is_empty() {
        reader.any_attribute().map_err(AuthError::ClientMessage)?;
    }
    Ok(ClientFirst { binding, bare, nonce })
}

fn check(asked: &Asked, client_final: &[u8]) -> Result<Vec<u8>, AuthError> {
    let last = read_final(client_final, asked.binding)?;
    if last.nonce != asked.nonce {
        return Err(AuthError::ClientNonceMismatch);
    }
    let auth_message = [&*asked.so_far, last.without_proof].join(&b',');
    let verifier = &asked.verifier;
    let fits = proof_fits(verifier.stored(), &last.proof, &auth_message);
    let server_final = [b"v=", &*message::encode(&signature(verifier.server(), &auth_message))].concat();
    if fits & !verifier.is_doomed() { Ok(server_final) } else { Err(AuthError::WrongPassword) }
}

fn read_final(client_final: &[u8], binding: ChannelBinding) -> Result<ClientFinal<'_>, AuthError> {
    let mut reader = Reader::new(client_final).map_err(AuthError::ClientMessage)?;
    if reader.attribute(b'c').map_err(AuthError::ClientMessage)? != binding.attribute() {
        return Err(AuthError::ClientChannelBinding);
    }
    let nonce = reader.attribute(b'r').map_err(AuthError::ClientMessage)?;
    let (length, proof) = loop {
        // The comma in front of the proof is not part of what the proof covers.
        let length = reader.position() - 1;
        if let (b'p', proof) = reader.any_attribute().map_err(AuthError::ClientMessage)? {
            break (length, proof);
        }
    };
    let proof = message::decode_key(proof).ok_or(AuthError::ClientMessage(Malformed::Proof))?;
    reader.end().map_err(AuthError::ClientMessage)?;
    Ok(ClientFinal { without_proof: &client_final[..length], nonce, proof })
}

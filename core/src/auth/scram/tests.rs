//! Exchanges between both sides, recorded vectors, and what must never succeed.

mod agreement;
mod malformed;
mod vectors;

use alloc::vec::Vec;

use super::{Client, KeyCache, Server, Verifier};
use crate::auth::{AuthError, Secret};

const CLIENT_NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";
const SERVER_NONCE: &str = "3rfcNHYJY1ZVvWVs7jxM9jK4";
const SALT: &[u8] = b"sixteen bytes ..";

/// What each side makes of one exchange in which `tamper` may change the four messages on their way.
struct Exchange {
    client: Result<(), AuthError>,
    server: Result<(), AuthError>,
}

impl Exchange {
    fn run(
        password: &Secret,
        verifier: Verifier,
        cache: &mut KeyCache,
        mut tamper: impl FnMut(Message, &mut Vec<u8>),
    ) -> Self {
        let mut client = Client::new(password, CLIENT_NONCE);
        let mut server = Server::new(verifier, SERVER_NONCE);
        let outcome = (|| {
            let mut message = client.client_first();
            tamper(Message::ClientFirst, &mut message);
            message = server.handle_client_first(&message).map_err(Side::Server)?;
            tamper(Message::ServerFirst, &mut message);
            message = client.handle_continue_cached(&message, cache).map_err(Side::Client)?;
            tamper(Message::ClientFinal, &mut message);
            message = server.handle_client_final(&message).map_err(Side::Server)?;
            tamper(Message::ServerFinal, &mut message);
            client.handle_final(&message).map_err(Side::Client)
        })();
        let (client_error, server_error) = match outcome {
            Ok(()) => (None, None),
            Err(Side::Client(error)) => (Some(error), None),
            Err(Side::Server(error)) => (None, Some(error)),
        };
        assert_eq!(client.is_proven(), client.handle_ok().is_ok());
        Self {
            client: if client.is_proven() { Ok(()) } else { Err(client_error.unwrap_or(AuthError::BackendUnproven)) },
            server: if server.is_proven() { Ok(()) } else { Err(server_error.unwrap_or(AuthError::WrongPassword)) },
        }
    }

    fn succeeded(&self) -> bool {
        self.client.is_ok() && self.server.is_ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    ClientFirst,
    ServerFirst,
    ClientFinal,
    ServerFinal,
}

const MESSAGES: [Message; 4] = [Message::ClientFirst, Message::ServerFirst, Message::ClientFinal, Message::ServerFinal];

enum Side {
    Client(AuthError),
    Server(AuthError),
}

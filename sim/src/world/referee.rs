//! Sees everything and is told nothing: which client sent what, and what servers got and did.
//!
//! Fed by what clients send, what model servers observe, and when cancel requests arrive; never by pgconvoy's own state.

use super::mark::Mark;
use super::net::PipeId;
use crate::client::NAMES;
use crate::fakepg::{HandOut, Observation};
use crate::frame;
use crate::tag::Tag;
use pgconvoy_core::delay::QUESTION;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one client session.
#[derive(Debug, Default)]
struct Sent {
    /// Kinds and digests of its messages after login, in order.
    messages: Vec<(u8, u64)>,
    /// For each cancel request with its key, how many requests it had made when that arrived.
    cancels: Vec<u32>,
    /// True once it is over: then its statements may be cancelled for it.
    over: bool,
}

/// What is known of one connection to a server.
#[derive(Debug, Default)]
struct Traffic {
    owner: Option<u32>,
    /// How many of its owner's messages have come by, those that went elsewhere included.
    cursor: usize,
    /// A Sync of pgconvoy's own may come next.
    wants_sync: bool,
}

/// What may be sent to a server that no client has sent.
const INSERTIONS: [&str; 4] = ["ABORT", "ROLLBACK", "DISCARD ALL", QUESTION];

/// Makes a transaction fail that has failed elsewhere, as a Query or in a Parse.
const ABORT_BLOCK: &str = "'pgconvoy aborts this transaction block because it failed on another node'";

/// The referee of one run.
#[derive(Debug)]
pub struct Referee {
    /// True when every message of a client must reach the one server that there is.
    all_to_one: bool,
    /// True when every server may get what one of them gets.
    replicated: bool,
    clients: BTreeMap<u32, Sent>,
    connections: BTreeMap<PipeId, Traffic>,
    /// Digests of the messages that describe the statements of all clients.
    descriptions: BTreeSet<u64>,
    /// Digests of what may be sent that no client has sent, and what it means.
    insertions: BTreeMap<u64, Option<Mark>>,
    /// Requests that a standby has refused, and the connections by which they came.
    refused: BTreeMap<Tag, PipeId>,
    /// Requests whose reads have run, and the connections by which they came.
    read: BTreeMap<Tag, PipeId>,
}

impl Referee {
    /// A referee of a world with one server or several, to which pgconvoy may replicate.
    pub fn new(all_to_one: bool, replicated: bool) -> Self {
        let query = |text: &str| digest(b'Q', &format!("{text}\0"));
        let mut insertions: BTreeMap<u64, Option<Mark>> = INSERTIONS.iter().map(|text| (query(text), None)).collect();
        if replicated {
            insertions.extend(["BEGIN", "COMMIT"].map(|text| (query(text), None)));
            insertions.insert(digest(b'f', "another backend has refused it\0"), Some(Mark::CopyGivenUp));
        }
        insertions.insert(query(ABORT_BLOCK), Some(Mark::MadeToFail));
        insertions.insert(digest(b'P', &format!("pgconvoy\0{ABORT_BLOCK}\0\0\0")), Some(Mark::MadeToFail));
        insertions.insert(digest(b'C', "Ppgconvoy\0"), Some(Mark::CopyProbed));
        let descriptions = [""].iter().chain(&NAMES).map(|name| digest(b'D', &format!("S{name}\0"))).collect();
        Self {
            all_to_one,
            replicated,
            clients: BTreeMap::new(),
            connections: BTreeMap::new(),
            descriptions,
            insertions,
            refused: BTreeMap::new(),
            read: BTreeMap::new(),
        }
    }

    /// A client has sent messages.
    pub fn client_sent(&mut self, client: u32, messages: &mut Vec<(u8, u64)>) {
        if !messages.is_empty() {
            // A Flush changes nothing: wherever one is left out or put in, it is not looked at.
            let looked_at = messages.drain(..).filter(|(kind, _)| *kind != b'H');
            self.clients.entry(client).or_default().messages.extend(looked_at);
        }
    }

    /// A cancel request with a client's key has arrived, when it had made so many requests.
    pub fn cancel_arrived(&mut self, client: u32, requests_made: u32) {
        self.clients.entry(client).or_default().cancels.push(requests_made);
    }

    /// A client is over.
    pub fn client_over(&mut self, client: u32) {
        self.clients.entry(client).or_default().over = true;
    }

    /// A connection to a server serves a client from now on, as the network's wiring shows.
    pub fn lent(&mut self, conn: PipeId, client: u32) {
        self.connections.insert(conn, Traffic { owner: Some(client), ..Traffic::default() });
    }

    /// A connection to a server is closed.
    pub fn connection_closed(&mut self, conn: PipeId) {
        self.connections.remove(&conn);
    }

    /// A server has seen something; what that shows, if it is worth a mark.
    pub fn observe(&mut self, observation: &Observation) -> Result<Option<Mark>, String> {
        match observation {
            Observation::HandOut(hand_out) => {
                let traffic = self.connections.entry(hand_out.conn).or_default();
                let owner = *traffic.owner.get_or_insert(hand_out.client);
                if owner != hand_out.client {
                    let HandOut { conn, client, .. } = hand_out;
                    return Err(format!("I01: connection {conn} belongs to c{owner} and serves c{client}"));
                }
                // A block of pgconvoy's own may be round the first statement; the connection was looked at when it was lent.
                let wrapped = self.replicated && hand_out.unclean == "a transaction is open (Inside); ";
                if hand_out.unclean.is_empty() || wrapped {
                    return Ok(None);
                }
                Err(format!(
                    "I03: connection {} came to c{} unclean: {}",
                    hand_out.conn, hand_out.client, hand_out.unclean
                ))
            }
            Observation::Question { conn } => {
                self.connections.entry(*conn).or_default().wants_sync = false;
                Ok(Some(Mark::CatalogAsked))
            }
            Observation::Consulted { conn } => {
                // A Sync of its own may follow.
                self.connections.entry(*conn).or_default().wants_sync = true;
                Ok(Some(Mark::Consulted))
            }
            Observation::Ran { .. } => Ok(None),
            Observation::Refused { conn, tag } => {
                self.refused.insert(*tag, *conn);
                Ok(None)
            }
            Observation::Read { conn, tag } => {
                let first = *self.read.entry(*tag).or_insert(*conn);
                if first != *conn && !self.replicated {
                    return Err(format!("I04: {tag} was read by connection {first}, and by connection {conn} again"));
                }
                let repeated = self.refused.get(tag).is_some_and(|refused| refused != conn);
                Ok(repeated.then_some(Mark::Repeated))
            }
            Observation::Volatile { what } => Err(format!("I19: a standby ran {what}, which is volatile")),
            Observation::Message { conn, kind, digest, tag, skipping, constant } => {
                let inserted = match kind {
                    b'H' => {
                        self.connections.entry(*conn).or_default().wants_sync = false;
                        return Ok(None);
                    }
                    b'X' => Some(None),
                    b'Q' | b'P' | b'C' | b'f' if tag.is_none() => self.insertions.get(digest).copied(),
                    _ => None,
                };
                let traffic = self.connections.entry(*conn).or_default();
                // What has been inserted for its answer, not its effect, is followed by a Sync of its own.
                let synced = *kind == b'S' && traffic.wants_sync;
                traffic.wants_sync = inserted.is_some() && *kind == b'C';
                if synced {
                    return Ok(None);
                }
                if let Some(mark) = inserted {
                    return Ok(mark);
                }
                self.message(*conn, *kind, *digest, *skipping, self.replicated && *constant)
            }
            Observation::Interrupted { conn, owner, request } => {
                let sent = owner.and_then(|client| self.clients.get(&client));
                let explained = sent.is_some_and(|sent| {
                    let current = request.map_or(0, |tag| tag.request);
                    sent.over || sent.cancels.iter().any(|made| current < *made)
                });
                if explained {
                    return Ok(Some(Mark::CancelHit));
                }
                Err(format!("I05: a statement of {owner:?} ({request:?}) on connection {conn} was cancelled by nobody"))
            }
        }
    }

    fn message(
        &mut self,
        conn: PipeId,
        kind: u8,
        digest: u64,
        skipping: bool,
        constant: bool,
    ) -> Result<Option<Mark>, String> {
        let traffic = self.connections.entry(conn).or_default();
        let Some((owner, sent)) = traffic.owner.and_then(|owner| Some((owner, self.clients.get(&owner)?))) else {
            return Err(format!("I04: {:?} on connection {conn} comes from no client", kind as char));
        };
        let rest = &sent.messages[traffic.cursor..];
        // With one server, only what it skips anyway may be left out: after an error, and around a copy.
        let skips =
            |message: &(u8, u64)| skipping || !self.all_to_one || matches!(message.0, b'd' | b'c' | b'f' | b'S');
        let found = rest.iter().position(|message| message.1 == digest);
        let found = found.filter(|skipped| rest[..*skipped].iter().all(skips));
        // One with a constant that servers would not agree on stands for the next of its kind.
        let found = found.or_else(|| rest.iter().position(|message| message.0 == kind).filter(|_| constant));
        // A statement that is prepared again is described there, to be compared with what the client was told of it: the
        // client itself may describe it later.
        let compared = kind == b'D' && !self.all_to_one && self.descriptions.contains(&digest) && found != Some(0);
        match found {
            _ if compared => return Ok(Some(Mark::Compared)),
            Some(skipped) => traffic.cursor += skipped + 1,
            // A statement is prepared again on a server that does not have it yet.
            None if kind == b'P' && !self.all_to_one && sent.messages.contains(&(kind, digest)) => {
                traffic.wants_sync = true;
                return Ok(Some(Mark::PreparedAgain));
            }
            None => {
                return Err(format!("I04: {:?} on connection {conn} is not what c{owner} sent next", kind as char));
            }
        }
        Ok(None)
    }
}

fn digest(kind: u8, body: &str) -> u64 {
    let mut message = vec![kind];
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(body.as_bytes());
    frame::digest(&message)
}

//! Planted bugs: what the machines decide is spoiled on its way to the world. Each must be caught, or the referees are
//! not worth their name.

use crate::frame;
use crate::plan::Topology;
use crate::world::fresh::FRESH;
use crate::world::net::PipeId;
use crate::world::routes::EXPLAINED;
use pgconvoy_core::node::NodeId;
use pgconvoy_core::rng::Rng;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where an unseeded choice comes from.
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A link goes back to the pool unwashed.
    SkipWash,
    /// A link that stands in the middle of a batch goes back to the pool.
    KeepHalfSent,
    /// The client is given a backend's own cancel key, and may use it.
    ForwardKey,
    /// A session goes on before its cancel request has arrived.
    ForgetCancel,
    /// Some bytes for a client are lost.
    DropReply,
    /// Two clients get each other's bytes.
    SwapReplies,
    /// A request is sent twice.
    DuplicateRequest,
    /// Bytes of a request are lost.
    DropRequest,
    /// A backend is read although the client's queue is full.
    IgnoreQueueBound,
    /// A client that waits for a place is not told that it has one.
    LoseWakeup,
    /// A client keeps its place while it is to prove its password.
    HoldPlace,
    /// A client's place is not given back.
    LeakSlot,
    /// A closed link is still counted.
    LeakLink,
    /// Functions are believed to be harmless whatever the catalogue says.
    TrustFunctions,
    /// A setting is not told to standbys.
    ForgetPartners,
    /// A write is not told to other sessions.
    ForgetWrites,
    /// `EXPLAIN ROUTE` does not know of what was written.
    ExplainUnwritten,
    /// A choice comes from elsewhere than the seed.
    Unseeded,
    /// A server that has missed a commit is kept.
    KeepLeftBehind,
    /// A commit reaches the main server alone, and is said to have reached the others.
    CommitMainAlone,
}

/// What a server answers to a setting.
pub(super) const SET_DONE: &[u8] = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";
/// The end of a block that pgconvoy has put round a statement, and another end of it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
const ROLLBACK: &[u8] = b"Q\0\0\0\x0dROLLBACK\0";

/// Two columns of an explanation that says that something was written.
const WRITTEN: &[u8] = b"\0\0\0\x06EITHER\0\0\0\x07written";

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::SkipWash,
        Self::KeepHalfSent,
        Self::ForwardKey,
        Self::ForgetCancel,
        Self::DropReply,
        Self::SwapReplies,
        Self::DuplicateRequest,
        Self::DropRequest,
        Self::IgnoreQueueBound,
        Self::LoseWakeup,
        Self::HoldPlace,
        Self::LeakSlot,
        Self::LeakLink,
        Self::TrustFunctions,
        Self::ForgetPartners,
        Self::ForgetWrites,
        Self::ExplainUnwritten,
        Self::Unseeded,
        Self::KeepLeftBehind,
        Self::CommitMainAlone,
    ];

    /// Where it shows.
    pub const fn topology(self) -> Topology {
        match self {
            Self::KeepLeftBehind | Self::CommitMainAlone => Topology::Replicated,
            _ => Topology::Proxy,
        }
    }

    /// What the checker that it is planted for says of it, among other things.
    pub fn breaks(self) -> &'static str {
        match self {
            Self::SkipWash => "I03",
            Self::KeepHalfSent => "I14",
            Self::ForwardKey | Self::ForgetCancel => "I05",
            Self::DropReply => "I01/I02",
            Self::SwapReplies => "a row of c",
            Self::DuplicateRequest | Self::DropRequest => "I04",
            Self::IgnoreQueueBound => "I17",
            Self::LoseWakeup | Self::HoldPlace => "I20",
            Self::LeakSlot | Self::LeakLink => "I21",
            Self::TrustFunctions => "I19",
            Self::ForgetPartners => "was expected, not",
            Self::ForgetWrites => FRESH,
            Self::ExplainUnwritten => EXPLAINED,
            Self::Unseeded => "I24",
            Self::KeepLeftBehind => "I11",
            Self::CommitMainAlone => "F59",
        }
    }

    /// The mutant of this name, as its `Debug` form has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| format!("{mutant:?}").eq_ignore_ascii_case(name))
    }
}

/// Does what one mutant does, or nothing.
#[derive(Debug)]
pub struct Saboteur {
    mutant: Option<Mutant>,
    rng: Rng,
    /// A client's bytes that are to be given to another.
    stash: Option<(PipeId, Vec<u8>)>,
    /// Secrets minted for clients, and the backends' own that stand for them.
    keys: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Saboteur {
    /// A saboteur with one mutant, or none.
    pub fn new(mutant: Option<Mutant>, rng: Rng) -> Self {
        Self { mutant, rng, stash: None, keys: Vec::new() }
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A number drawn from the seed.
    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        let drawn = rng.next_u64();
        if self.is(Mutant::Unseeded) { drawn.wrapping_add(ELSEWHERE.fetch_add(1, Ordering::Relaxed)) } else { drawn }
    }

    /// True now and then, when `mutant` is at work.
    pub(super) fn strikes(&mut self, mutant: Mutant) -> bool {
        self.is(mutant) && self.rng.chance(1, 4)
    }

    /// A session has minted a key; its main backend has one of its own.
    pub(super) fn note_key(&mut self, minted: &[u8], own: Option<&[u8]>) {
        if let Some(own) = own.filter(|own| self.is(Mutant::ForwardKey) && own.len() == minted.len()) {
            self.keys.push((minted.to_vec(), own.to_vec()));
        }
    }

    /// Whether a message for a server is answered without its being sent.
    pub(super) fn forgets(&self, node: NodeId, bytes: &[u8]) -> bool {
        let setting = bytes.windows(12).any(|window| window == b"SET work_mem");
        let whole = matches!(frame::length(bytes), Ok(Some(length)) if length == bytes.len());
        self.is(Mutant::ForgetPartners) && node != NodeId(0) && bytes.first() == Some(&b'Q') && setting && whole
    }

    /// Bytes for a server.
    pub(super) fn write_server(&mut self, node: u8, bytes: &[u8], mut write: impl FnMut(&[u8])) {
        if self.mutant.is_none() {
            return write(bytes);
        }
        if self.is(Mutant::DropRequest) && bytes.first() == Some(&b'Q') && self.rng.chance(1, 20) {
            return;
        }
        if self.is(Mutant::CommitMainAlone) && bytes == COMMIT && node > 0 {
            return write(ROLLBACK);
        }
        write(bytes);
        if self.is(Mutant::DuplicateRequest) && bytes.first() == Some(&b'Q') && self.rng.chance(1, 20) {
            write(bytes);
        }
    }

    /// Bytes for the client at the other end of `pipe`.
    pub(super) fn write_client(&mut self, pipe: PipeId, bytes: &[u8], mut write: impl FnMut(PipeId, &[u8])) {
        match self.mutant {
            Some(Mutant::DropReply) if self.rng.chance(1, 100) => {}
            Some(Mutant::SwapReplies) => match self.stash.take() {
                None if bytes.first() == Some(&b'T') && self.rng.chance(1, 4) => {
                    self.stash = Some((pipe, bytes.to_vec()));
                }
                Some((other, theirs)) if other != pipe && bytes.first() == Some(&b'T') => {
                    write(pipe, &theirs);
                    write(other, bytes);
                }
                stash => {
                    self.stash = stash;
                    write(pipe, bytes);
                }
            },
            Some(Mutant::ExplainUnwritten) => {
                let mut spoiled = bytes.to_vec();
                if let Some(at) = spoiled.windows(WRITTEN.len()).position(|window| window == WRITTEN) {
                    // The last letter of the column before it: the server's number.
                    spoiled[at - 1] = b'1';
                }
                write(pipe, &spoiled);
            }
            Some(Mutant::ForwardKey) => {
                let mut spoiled = bytes.to_vec();
                for (minted, own) in &self.keys {
                    if let Some(at) = spoiled.windows(minted.len()).position(|window| window == minted) {
                        spoiled[at..at + own.len()].copy_from_slice(own);
                    }
                }
                write(pipe, &spoiled);
            }
            _ => write(pipe, bytes),
        }
    }
}

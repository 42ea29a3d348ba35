//! A session's side of one backend connection: what was sent there, and which replies are owed.

use crate::limits::{PENDING_REQUESTS, WRITE_QUEUE_BYTES};
use crate::link::Link;
use crate::node::NodeId;
use crate::sql::Dialect;
use crate::wire::tag::frontend;
use crate::wire::{WriteQueue, build};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::BytesMut;

/// A set of a session's ports, as bits by position. Position 0 is the main port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target(u64);

impl Target {
    pub(super) const NONE: Self = Self(0);
    pub(super) const MAIN: Self = Self(1);

    pub(super) const fn only(position: usize) -> Self {
        Self(1 << position)
    }

    pub(super) const fn has(self, position: usize) -> bool {
        self.0 & (1 << position) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True for more than one.
    pub(super) const fn is_several(self) -> bool {
        self.0.count_ones() > 1
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The main port where no other is left.
    pub(super) const fn or_main(self) -> Self {
        if self.is_empty() { Self::MAIN } else { self }
    }

    /// The port whose replies the client sees.
    pub(super) const fn speaker(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    pub(super) fn positions(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let position = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (position < u64::BITS as usize).then_some(position)
        })
    }
}

/// What was asked of a backend, as far as its replies must be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Query: anything up to ReadyForQuery.
    Query,
    /// Parse: ParseComplete.
    Parse,
    /// Bind: BindComplete.
    Bind,
    /// Describe: RowDescription or NoData, after a ParameterDescription for a statement.
    Describe,
    /// The same, and the answer tells the shape of a statement's rows.
    Shape,
    /// Execute: rows up to CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Close of a statement: CloseComplete.
    Close,
    /// Close of a portal: CloseComplete.
    ClosePortal,
    /// A Parse of pgconvoy's own, of a statement that another port knows: ParseComplete.
    Prepare,
    /// A Parse of pgconvoy's own that fails, and with it the batch.
    Fail,
    /// Sync: ReadyForQuery.
    Sync,
    /// FunctionCall: its response and ReadyForQuery.
    FunctionCall,
    /// CopyDone or CopyFail went by: a mark without a reply of its own.
    CopyEnd,
    /// A Query of pgconvoy's own that ends a transaction block, whatever the answer.
    Abort,
    /// A Query of pgconvoy's own that begins a block round the statement behind it.
    Wrap,
    /// A Query of pgconvoy's own that ends such a block.
    Unwrap,
    /// A Query of pgconvoy's own about the catalogue: one value and ReadyForQuery, which nobody else sees.
    Question,
    /// A message of a question of pgconvoy's own in the extended protocol, in the client's transaction: one reply.
    Consult,
    /// A Close of pgconvoy's own, whose CloseComplete tells that everything before it has been answered.
    Probe,
}

impl Ask {
    /// True for the messages of the extended protocol that an error makes the backend skip, up to Sync.
    pub(super) const fn is_extended(self) -> bool {
        use Ask::{Bind, Close, ClosePortal, Consult, Describe, Execute, Fail, Parse, Prepare, Shape};
        matches!(self, Parse | Bind | Describe | Shape | Execute | Close | ClosePortal | Prepare | Fail | Consult)
    }

    /// True for the messages that give or take the name of a portal.
    pub(super) const fn names_portal(self) -> bool {
        matches!(self, Self::Bind | Self::ClosePortal)
    }

    /// True for the messages that give or take the name of a statement, or tell what is behind it.
    pub(super) const fn names_statement(self) -> bool {
        matches!(self, Self::Parse | Self::Prepare | Self::Close | Self::Shape)
    }

    /// True when ReadyForQuery ends the reply.
    pub(super) const fn ends_ready(self) -> bool {
        matches!(
            self,
            Self::Query | Self::Sync | Self::FunctionCall | Self::Abort | Self::Wrap | Self::Unwrap | Self::Question
        )
    }
}

/// One owed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// What was asked.
    pub ask: Ask,
    /// True when the client sees the reply; otherwise it is only counted.
    pub relay: bool,
    /// True for a Query of one statement: once that has been completed, only ReadyForQuery is owed.
    pub single: bool,
    /// True when the client has seen that reply from another port.
    pub heard: bool,
    /// So many of the parameters that the reply describes are pgconvoy's own.
    pub hides: u16,
}

impl Owed {
    /// True when a name changes with the answer, or what is known of it.
    pub(super) fn names(self) -> bool {
        let own = matches!(self.ask, Ask::Prepare | Ask::Shape);
        (self.relay || own) && (self.ask.names_portal() || self.ask.names_statement())
    }
}

/// Messages that a backend has skipped, of those that would have changed a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Names of statements.
    pub statements: usize,
    /// Names of portals.
    pub portals: usize,
}

impl Skipped {
    pub(super) fn count(&mut self, owed: Owed) {
        self.statements += usize::from(owed.names() && owed.ask.names_statement());
        self.portals += usize::from(owed.names() && owed.ask.names_portal());
    }
}

/// The rest of a message whose first part has gone by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    /// Bytes still to come; 0 between messages.
    pub bytes: usize,
    /// Whether they go on to the other side.
    pub relay: bool,
}

/// One attached link with what the session knows of it.
#[derive(Debug)]
pub(super) struct Port {
    pub node: NodeId,
    pub link: Link,
    /// Bytes for the backend.
    pub queue: WriteQueue,
    /// Bytes from the backend that do not make up a message yet.
    pub held: BytesMut,
    /// Replies owed, in the order asked.
    pub owed: VecDeque<Owed>,
    /// The message from the backend that is passing by.
    pub rest: Rest,
    /// Messages of the extended protocol went there since the last Sync.
    pub unsynced: bool,
    /// The batch has failed there: the backend skips what comes, up to Sync.
    pub failed: bool,
    /// The Query at the front has had a completion of a statement.
    pub completed: bool,
    /// The client has seen a part of the reply at the front.
    pub begun: bool,
    /// A Flush went there since the last message that owes a reply.
    pub flushed: bool,
    /// The backend reads COPY data.
    pub copy_in: bool,
    /// A Sync was sent into a copy, where the backend ignores it, unless the copy fails before it is read.
    pub swallowed_sync: bool,
    /// Such a copy has failed: the Sync may still be answered, or not. A probe tells.
    pub in_doubt: bool,
    /// It is time for that probe, as soon as the client is between two messages.
    pub probe_due: bool,
    /// Replies and requests can no longer be matched for sure, because more than a copy's data was sent into it:
    /// everything passes unlooked at from here on, and the connection is closed with the session.
    pub transparent: bool,
    /// A fatal error came by: the backend closes the connection.
    pub dying: bool,
    /// A request to cancel what runs there is on its way.
    pub cancelled: bool,
    /// A request to cancel may still reach the backend at any time.
    pub tainted: bool,
    /// An error came by since the last time that nothing was outstanding.
    pub erred: bool,
    /// Such an error answered what the client did not see the answer to.
    pub silent_error: bool,
    /// Nothing more is asked there: it is let go once nothing is owed.
    pub leaving: bool,
    /// Its link has been offered back.
    pub releasing: bool,
    /// How the lexer must read statements, by what the backend has reported.
    pub dialect: Dialect,
}

impl Port {
    pub(super) fn new(link: Link) -> Self {
        let dialect = link.parameters.dialect();
        Self {
            node: link.node,
            link,
            queue: WriteQueue::default(),
            held: BytesMut::new(),
            owed: VecDeque::new(),
            rest: Rest::default(),
            unsynced: false,
            failed: false,
            completed: false,
            begun: false,
            flushed: false,
            copy_in: false,
            swallowed_sync: false,
            in_doubt: false,
            probe_due: false,
            transparent: false,
            dying: false,
            cancelled: false,
            tainted: false,
            erred: false,
            silent_error: false,
            leaving: false,
            releasing: false,
            dialect,
        }
    }

    /// Notes that `ask` was sent.
    pub(super) fn asked(&mut self, ask: Ask, relay: bool) {
        if ask == Ask::CopyEnd && self.owed.is_empty() {
            return;
        }
        self.flushed = false;
        self.owed.push_back(Owed { ask, relay, single: false, heard: false, hides: 0 });
        if ask.is_extended() {
            self.unsynced = true;
        } else if ask == Ask::Sync {
            self.unsynced = false;
            self.failed = false;
        }
    }

    /// The reply asked for last has been seen by the client, or not.
    pub(super) fn last_heard(&mut self, heard: bool) {
        if heard && let Some(owed) = self.owed.back_mut() {
            owed.heard = true;
        }
    }

    /// Takes away the owed reply at the front, and marks behind it.
    pub(super) fn answered(&mut self) {
        self.completed = false;
        self.begun = false;
        self.owed.pop_front();
        while self.owed.front().is_some_and(|owed| owed.ask == Ask::CopyEnd) {
            self.owed.pop_front();
        }
    }

    /// An error ended a message of the extended protocol: the backend skips what was sent up to the next Sync.
    /// Tells which names are not changed by it; the message at the front is the one that failed.
    pub(super) fn skip_to_sync(&mut self) -> Skipped {
        let mut skipped = Skipped::default();
        while let Some(owed) = self.owed.front().copied() {
            if owed.ask == Ask::Sync {
                return skipped;
            }
            skipped.count(owed);
            self.owed.pop_front();
        }
        self.failed = true;
        skipped
    }

    /// The backend starts to read COPY data: it swallows what was sent behind the statement, up to the end of the
    /// copy. Sync is ignored then, and anything else is an error that ends the copy (manual, "COPY Operations").
    pub(super) fn enter_copy_in(&mut self) {
        self.copy_in = true;
        while let Some(next) = self.owed.get(1).copied() {
            self.owed.remove(1);
            match next.ask {
                Ask::Sync => self.sync_swallowed(),
                Ask::CopyEnd => {
                    self.copy_in = false;
                    break;
                }
                _ => return self.turn_transparent(),
            }
        }
    }

    /// Nothing is matched any more.
    pub(super) fn turn_transparent(&mut self) {
        self.transparent = true;
        self.copy_in = false;
        self.owed.clear();
    }

    /// A Sync goes into a copy.
    pub(super) fn sync_swallowed(&mut self) {
        self.swallowed_sync = true;
        self.unsynced = true;
    }

    /// The copy into which a Sync went has failed. Returns false where what was sent behind makes it hopeless to tell
    /// whether that Sync is answered.
    pub(super) fn doubt(&mut self) -> bool {
        self.swallowed_sync = false;
        self.in_doubt = self.owed.iter().skip(1).all(|owed| matches!(owed.ask, Ask::Sync | Ask::CopyEnd));
        self.in_doubt
    }

    /// A reply has come while some are in doubt: the next one to be asked for tells their end.
    pub(super) fn plan_probe(&mut self) {
        self.probe_due |= self.owed.iter().all(|owed| owed.ask != Ask::Probe);
    }

    /// Asks for a reply that tells the end of those that are in doubt.
    pub(super) fn probe(&mut self) {
        self.probe_due = false;
        let mut out = Vec::new();
        build::message(&mut out, frontend::CLOSE, |out| out.extend_from_slice(b"Ppgconvoy\0"));
        build::bare(&mut out, frontend::SYNC);
        self.queue.push(out.into());
        self.asked(Ask::Probe, false);
        self.asked(Ask::Sync, false);
    }

    /// True when a client's message with this tag would make it hopeless to tell which replies are still to come.
    pub(super) fn must_tell_first(&self, tag: u8) -> bool {
        let syncs = tag == frontend::SYNC && self.owed.back().is_none_or(|owed| owed.ask != Ask::Sync);
        let copied = self.swallowed_sync && !self.copy_in && !syncs;
        self.probe_due || (self.in_doubt || copied) && !self.owed.is_empty()
    }

    /// True when as many replies are owed as may be.
    pub(super) fn is_full(&self) -> bool {
        self.owed.len() >= PENDING_REQUESTS
    }

    /// True when the client may send more for this port.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < WRITE_QUEUE_BYTES && !self.is_full()
    }

    /// True when a ReadyForQuery is owed.
    pub(super) fn owes_ready(&self) -> bool {
        self.owed.iter().any(|owed| owed.ask.ends_ready())
    }

    /// True while it follows what the session does: it can be let go, but not be asked, once it does not.
    pub(super) const fn is_in_step(&self) -> bool {
        !self.leaving && !self.silent_error && !self.dying
    }

    /// True when nothing is owed and nothing is half-way in either direction.
    pub(super) fn is_quiet(&self) -> bool {
        self.owed.is_empty() && self.rest.bytes == 0 && self.held.is_empty()
    }

    /// True when the connection may serve another session after washing (I03, I14).
    pub(super) fn is_reusable(&self) -> bool {
        let settled = !self.unsynced && !self.copy_in && !self.in_doubt && !self.transparent;
        let settled = settled && !self.cancelled && !self.tainted && !self.dying;
        self.is_quiet() && settled && self.queue.is_empty()
    }
}

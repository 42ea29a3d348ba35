//! A session's side of one backend connection: what was sent there, and which replies are owed.

use crate::limits::{PENDING_REQUESTS, WRITE_QUEUE_BYTES};
use crate::link::Link;
use crate::node::NodeId;
use crate::sql::Dialect;
use crate::wire::WriteQueue;
use alloc::collections::VecDeque;
use bytes::BytesMut;

/// A set of a session's ports, as bits by position. Position 0 is the main port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target(pub u8);

impl Target {
    pub(super) const NONE: Self = Self(0);
    pub(super) const MAIN: Self = Self(1);
    pub(super) const BALANCE: Self = Self(2);
    pub(super) const BOTH: Self = Self(3);

    pub(super) const fn has(self, position: usize) -> bool {
        self.0 & (1 << position) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The port whose replies the client sees.
    pub(super) const fn speaker(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    pub(super) fn positions(self) -> impl Iterator<Item = usize> {
        (0..super::PORTS).filter(move |position| self.has(*position))
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
    /// Execute: rows up to CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Close: CloseComplete.
    Close,
    /// Sync: ReadyForQuery.
    Sync,
    /// FunctionCall: its response and ReadyForQuery.
    FunctionCall,
    /// CopyDone or CopyFail went by: a mark without a reply of its own.
    CopyEnd,
    /// A Query of pgconvoy's own that ends a transaction block, whatever the answer.
    Abort,
}

impl Ask {
    /// True for the messages of the extended protocol that an error makes the backend skip, up to Sync.
    pub(super) const fn is_extended(self) -> bool {
        matches!(self, Self::Parse | Self::Bind | Self::Describe | Self::Execute | Self::Close)
    }

    /// True when ReadyForQuery ends the reply.
    pub(super) const fn ends_ready(self) -> bool {
        matches!(self, Self::Query | Self::Sync | Self::FunctionCall | Self::Abort)
    }
}

/// One owed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// What was asked.
    pub ask: Ask,
    /// True when the client sees the reply; otherwise it is only counted.
    pub relay: bool,
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
    /// A Flush went there since the last message that owes a reply.
    pub flushed: bool,
    /// The backend reads COPY data.
    pub copy_in: bool,
    /// A Sync was sent into a copy: a ReadyForQuery that nobody waits for may answer it.
    pub swallowed_sync: bool,
    /// Replies and requests can no longer be matched for sure, because a copy failed while more had been sent than
    /// its data: everything passes unlooked at from here on, and the connection is closed with the session.
    pub transparent: bool,
    /// A fatal error came by: the backend closes the connection.
    pub dying: bool,
    /// A request to cancel what runs there is on its way.
    pub cancelled: bool,
    /// A request to cancel may still reach the backend at any time.
    pub tainted: bool,
    /// A reply that the client did not see was an error.
    pub silent_error: bool,
    /// Nothing more is asked there: it is let go once nothing is owed.
    pub leaving: bool,
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
            flushed: false,
            copy_in: false,
            swallowed_sync: false,
            transparent: false,
            dying: false,
            cancelled: false,
            tainted: false,
            silent_error: false,
            leaving: false,
            dialect,
        }
    }

    /// Notes that `ask` was sent.
    pub(super) fn asked(&mut self, ask: Ask, relay: bool) {
        if ask == Ask::CopyEnd && self.owed.is_empty() {
            return;
        }
        self.flushed = false;
        self.owed.push_back(Owed { ask, relay });
        if ask.is_extended() {
            self.unsynced = true;
        } else if ask == Ask::Sync {
            self.unsynced = false;
        }
    }

    /// Takes away the owed reply at the front, and marks behind it.
    pub(super) fn answered(&mut self) {
        self.owed.pop_front();
        while self.owed.front().is_some_and(|owed| owed.ask == Ask::CopyEnd) {
            self.owed.pop_front();
        }
    }

    /// An error ended a message of the extended protocol: the backend skips what was sent up to the next Sync.
    /// Tells whether that Sync has been sent, and how many Parse messages of the client's were skipped.
    pub(super) fn skip_to_sync(&mut self) -> (bool, usize) {
        let mut parses = 0;
        while let Some(owed) = self.owed.front() {
            if owed.ask == Ask::Sync {
                return (true, parses);
            }
            parses += usize::from(owed.ask == Ask::Parse && owed.relay);
            self.owed.pop_front();
        }
        (false, parses)
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

    /// A Sync went into a copy, where the backend ignores it, unless the copy failed just before.
    pub(super) fn sync_swallowed(&mut self) {
        self.swallowed_sync = true;
        self.unsynced = true;
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

    /// True when nothing is owed and nothing is half-way in either direction.
    pub(super) fn is_quiet(&self) -> bool {
        self.owed.is_empty() && self.rest.bytes == 0 && self.held.is_empty()
    }

    /// True when the connection may serve another session after washing (I03, I14).
    pub(super) fn is_reusable(&self) -> bool {
        let settled =
            !self.unsynced && !self.copy_in && !self.cancelled && !self.tainted && !self.transparent && !self.dying;
        self.is_quiet() && settled && self.queue.is_empty()
    }
}

//! A read that a standby refuses, though it looked like one that it can run, is run by the primary before its client hears
//! of that: one of a function that reads an unlogged table, or that has come to write since it was looked up.
//!
//! What goes to one partner while nothing else is owed is kept: a Query, or a batch up to its Sync. When it is refused outside
//! a block, nothing has been changed by it anywhere. Unless the client has seen a part of the answer that was refused, the
//! same messages are read once more as if they came from the client, for the primary; what the client has been answered
//! before the refusal is not said to it twice.

use super::port::{Ask, Target};
use super::statements::Summary;
use super::{MAIN, Session};
use crate::limits::{BACKEND_CONTROL_BYTES, ERROR_PREFIX_BYTES, REPEATED_BYTES, REPEATED_BYTES_KEPT};
use crate::sql::Route;
use crate::wire::tag::{backend, frontend};
use crate::wire::{ErrorHead, HEADER_BYTES, Header, TransactionStatus};
use alloc::vec::Vec;
use bytes::BytesMut;

/// Where PostgreSQL raises what tells that a prepared statement's rows have changed: that is true on the primary, too.
const OF_THE_PLAN: &[u8] = b"RRevalidateCachedQuery\0";

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing has been sent since nothing was owed.
    #[default]
    Fresh,
    /// A part of a batch has been sent; one statement of it may be bound, and run.
    Batch { bound: bool, run: bool },
    /// All of it is with the partner.
    Whole,
    /// What was sent cannot be repeated.
    Lost,
    /// The partner has refused it.
    Refused,
    /// It is read again.
    Repeated,
}

/// What was sent to one partner since nothing was owed, as long as it can be repeated.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    stage: Stage,
    /// The partner's port.
    position: usize,
    /// Its messages, except Parse: what has been prepared is known.
    messages: Vec<u8>,
    /// How many these are.
    count: usize,
    /// Bytes of the last one that are still to come from the client.
    missing: usize,
    /// How many of the first of them have been answered already.
    heard: usize,
}

impl Attempt {
    /// What is sent now is not to be repeated.
    pub(super) fn lose(&mut self) {
        if self.stage != Stage::Repeated {
            self.stage = Stage::Lost;
        }
    }

    /// Nothing is owed: what comes next may be repeated.
    pub(super) fn renew(&mut self) {
        if matches!(self.stage, Stage::Refused | Stage::Repeated) {
            return;
        }
        self.stage = Stage::Fresh;
        self.missing = 0;
        self.messages.clear();
        if self.messages.capacity() > REPEATED_BYTES_KEPT {
            self.messages = Vec::new();
        }
        self.count = 0;
    }

    /// True from the refusal until the messages are read again: nothing may come before them.
    pub(super) fn is_refused(&self) -> bool {
        self.stage == Stage::Refused
    }

    /// True from the refusal until the primary has all of it.
    pub(super) fn is_for_primary(&self) -> bool {
        matches!(self.stage, Stage::Refused | Stage::Repeated)
    }

    /// Whether the client has had the answer to the message that is sent now.
    pub(super) fn is_heard(&mut self) -> bool {
        let heard = self.stage == Stage::Repeated && self.heard > 0;
        self.heard -= usize::from(heard);
        heard
    }

    /// Notes some more bytes of the message noted last.
    pub(super) fn go_on(&mut self, part: &[u8]) {
        if self.missing > 0 && self.stage != Stage::Lost {
            self.messages.extend_from_slice(part);
            self.missing -= part.len();
        }
    }

    /// Notes a message for the partner at `position`, of which `front` is there.
    fn add(&mut self, header: Header, front: &[u8], position: usize) {
        use Stage::{Batch, Fresh, Lost, Whole};
        let same = self.stage == Fresh || self.position == position;
        let stage = match (header.tag, self.stage) {
            _ if !same || self.messages.len() + header.total > REPEATED_BYTES => Lost,
            (frontend::QUERY, Fresh) => Whole,
            (frontend::PARSE | frontend::DESCRIBE, Fresh) => Batch { bound: false, run: false },
            (frontend::BIND, Fresh | Batch { bound: false, .. }) => Batch { bound: true, run: false },
            (frontend::PARSE, Batch { bound: false, .. }) => self.stage,
            (frontend::DESCRIBE, Batch { .. }) => self.stage,
            (frontend::EXECUTE, Batch { bound: true, run: false }) => Batch { bound: true, run: true },
            (frontend::SYNC, Batch { run: true, .. }) => Whole,
            _ => Lost,
        };
        (self.stage, self.position) = (stage, position);
        if stage != Lost && header.tag != frontend::PARSE {
            let here = front.len().min(header.total);
            self.messages.extend_from_slice(&front[..here]);
            self.missing = header.total - here;
            self.count += 1;
        }
    }
}

impl Session {
    /// Notes a message that goes to `to`, of which `front` is there.
    pub(super) fn note_attempt(&mut self, header: Header, front: &[u8], to: Target) {
        let ends = matches!(header.tag, frontend::QUERY | frontend::SYNC);
        if self.attempt.stage == Stage::Repeated && ends {
            self.attempt.heard = 0;
            self.attempt.stage = Stage::Lost;
            self.turn_over = true;
        }
        // A Flush has no answer.
        if header.tag == frontend::FLUSH || matches!(self.attempt.stage, Stage::Lost | Stage::Repeated) {
            return;
        }
        if to.is_several() || to.has(MAIN) {
            self.attempt.lose();
        } else {
            self.attempt.add(header, front, to.speaker());
        }
    }

    /// Notes what is to run: only what reads is repeated, and only what the primary can be given.
    pub(super) fn note_read(&mut self, summary: &Summary, can_be_given: bool) {
        let reads = summary.route == Route::Either && !summary.writes && summary.single;
        if !reads || !can_be_given {
            self.attempt.lose();
        }
    }

    /// Whether what a partner answers now can be answered by the primary instead.
    fn may_repeat(&self, position: usize) -> bool {
        use Ask::{Bind, Describe, Execute, Query, Shape};
        let whole = self.attempt.stage == Stage::Whole && self.attempt.position == position && !self.is_replicated();
        let Some(port) = self.ports[position].as_deref().filter(|_| whole && position != MAIN) else { return false };
        let Some(main) = self.ports[MAIN].as_deref() else { return false };
        let first = port.owed.front().filter(|owed| owed.relay && !port.begun && !port.cancelled);
        let outside = [main, port].iter().all(|port| port.link.status == TransactionStatus::Idle);
        let runs = first.is_some_and(|owed| matches!(owed.ask, Query | Bind | Describe | Shape | Execute));
        runs && outside && !main.dying && self.client.rest.bytes == 0
    }

    /// Whether an error means that the standby cannot run what the primary may. `None` if more of it must be there first.
    pub(super) fn is_repeatable(
        &self,
        position: usize,
        head: &ErrorHead,
        header: Header,
        front: &[u8],
    ) -> Option<bool> {
        if !is_refusal(head) || !self.may_repeat(position) || header.total > BACKEND_CONTROL_BYTES {
            return Some(false);
        }
        if front.len() < header.total {
            return None;
        }
        Some(!front.windows(OF_THE_PLAN.len()).any(|window| window == OF_THE_PLAN))
    }

    /// Whether a description of rows is not for the client, because a refusal stands right behind it. `None` if that is to
    /// be seen yet: a server sends both at once.
    pub(super) fn is_refused_behind(&self, position: usize, header: Header, front: &[u8]) -> Option<bool> {
        let asked = self.ports[position].as_ref().and_then(|port| port.owed.front()).map(|owed| owed.ask);
        if asked != Some(Ask::Query) || header.total > BACKEND_CONTROL_BYTES || !self.may_repeat(position) {
            return Some(false);
        }
        let behind = front.get(header.total..)?;
        if *behind.first()? != backend::ERROR_RESPONSE {
            return Some(false);
        }
        let Ok(header) = Header::parse(behind) else { return Some(false) };
        let error = behind.get(..header?.total.min(ERROR_PREFIX_BYTES))?;
        Some(is_refusal(&ErrorHead::parse(&error[HEADER_BYTES..])))
    }

    /// A partner has refused what is to be repeated, and so many of its messages have no other answer: the rest of what it
    /// says is for nobody.
    pub(super) fn repeat_later(&mut self, position: usize, unanswered: usize) {
        self.attempt.heard = self.attempt.count.saturating_sub(unanswered);
        if let Some(port) = &mut self.ports[position] {
            port.owed.iter_mut().for_each(|owed| owed.relay = false);
        }
        // A function that runs on the primary alone may change settings there; nobody has looked into this one.
        self.ports[MAIN + 1..].iter_mut().flatten().for_each(|partner| partner.leaving = true);
        self.attempt.stage = Stage::Refused;
    }

    /// Nothing is owed any more: what was refused is read again, before whatever has come from the client since.
    pub(super) fn read_again(&mut self) {
        if !self.attempt.is_refused() || !self.is_quiet() {
            return;
        }
        self.attempt.stage = Stage::Repeated;
        self.turn = MAIN;
        let mut input = BytesMut::from(&self.attempt.messages[..]);
        input.extend_from_slice(&self.client.held);
        self.client.held = input;
    }
}

/// Whether a standby says that it cannot do something, as it says of writes and of what is not replicated.
pub(super) fn is_refusal(head: &ErrorHead) -> bool {
    !head.is_fatal() && matches!(&head.sqlstate, b"0A000" | b"25006")
}

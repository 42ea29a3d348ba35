//! Batches of the extended protocol: what goes from one Sync to the next is one transaction, whatever ports it goes to.
//!
//! A Query or FunctionCall ends one that has no Sync. After an error the rest of it is skipped, and it is made to fail
//! wherever else it went.

use super::port::{Ask, Target};
use super::request::Step;
use super::settle::ABORT_BLOCK;
use super::{MAIN, Session};
use crate::fault::{Culprit, Fault};
use crate::wire::build::{self, Severity};
use crate::wire::tag::frontend;
use crate::wire::{HEADER_BYTES, Header, TransactionStatus};
use alloc::vec::Vec;
use bytes::Bytes;

/// The name in the Parse that makes a batch fail. It is never given to a statement.
const ABORT_NAME: &str = "pgconvoy";

impl Session {
    /// Sync goes wherever the batch went. If the batch failed on one port, it is made to fail on the others, for it is
    /// one transaction; so what is under way on one must be known before the other is told to commit.
    pub(super) fn consider_sync(&mut self) -> Step {
        if self.is_replicated() && !self.sync_in_round() {
            return Step::Wait;
        }
        let ports = self.ports.iter().flatten().filter(|port| port.unsynced).count();
        let both_concerned = !self.last.has(MAIN) || (self.last == Target::MAIN && self.both_asked);
        if ports > 1 && both_concerned && !self.is_quiet() {
            return Step::Wait;
        }
        self.bringing |= self.statements.is_bringing();
        self.local_batch = false;
        let failed = core::mem::take(&mut self.skipping);
        let blocks_fail = !core::mem::take(&mut self.own_error);
        let mut to = Target::NONE;
        let mut failing = Target::NONE;
        for (position, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port else { continue };
            let part_of_it = port.unsynced || (failed && blocks_fail && port.link.status == TransactionStatus::InBlock);
            if part_of_it {
                to = to.with(Target::only(position));
            }
            if part_of_it && failed && !port.failed {
                failing = failing.with(Target::only(position));
                port.asked(Ask::Fail, false);
            }
        }
        if to.is_empty() {
            // Nothing was asked since the last one, or pgconvoy answered it: in order behind what is outstanding.
            to = if self.is_quiet() { Target::MAIN } else { Target::only(self.last.speaker()) };
        }
        let mut before = Vec::new();
        if !failing.is_empty() {
            let mut parse = Vec::new();
            build::parse(&mut parse, ABORT_NAME, ABORT_BLOCK);
            before.push((failing, parse.into()));
        }
        self.note_asked(to, Ask::Sync);
        self.last = Target::only(to.speaker());
        Step::Forward { to, before }
    }

    pub(super) fn consider_flush(&mut self, header: Header) -> Step {
        let to = if self.is_replicated() { self.last } else { Target::only(self.last.speaker()) };
        if header.total > HEADER_BYTES {
            // A Flush has no body: the backend answers with an error and skips what follows, up to Sync.
            self.statements.nothing_sent(Ask::Close, to);
            self.note_asked(to, Ask::Close);
        }
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.flushed = true;
            }
        }
        Step::to(to)
    }

    /// A batch whose first part was lost with its standby fails as soon as its next message comes.
    pub(super) fn consider_broken_batch(&mut self) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        if let Some(fault) = self.broken_batch.take() {
            self.break_batch(&fault);
        }
        Step::Drop
    }

    /// The standby on which a portal was open is gone: no other has it.
    pub(super) fn portal_lost(&mut self) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        let fault = Fault::new(Culprit::Backend, b"08006", "the standby that had this portal was lost")
            .hint("Nothing was changed by the statement; it can be repeated.");
        self.break_batch(&fault);
        Step::Drop
    }

    /// Tells the client, in the middle of a batch, that the standby which had the first part of it is gone.
    pub(super) fn break_batch(&mut self, fault: &Fault) {
        let mut out = Vec::new();
        build::error(&mut out, Severity::Error, fault);
        self.break_batch_with(&out);
    }

    /// The same with an ErrorResponse.
    pub(super) fn break_batch_with(&mut self, error: &[u8]) {
        self.tell(error);
        self.skipping = true;
        self.lost_reply = true;
    }

    /// The client broke the protocol: the session ends once what it asked for before is answered.
    pub(super) fn breach(&mut self, fault: Fault) {
        if self.is_quiet() || self.in_copy() {
            return self.end(Some(fault));
        }
        self.flush_ports();
        self.client.blocked = true;
    }

    /// Query and FunctionCall end a batch that has been answered but not synced, and with it its snapshot and locks.
    /// Ports that they do not go to are told by a Sync.
    pub(super) fn end_batch(&mut self, to: Target) {
        self.local_batch = false;
        let mut told = Target::NONE;
        for (position, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port.as_mut().filter(|port| port.unsynced) else { continue };
            if to.has(position) && !port.failed {
                port.unsynced = false;
            } else {
                told = told.with(Target::only(position));
                port.asked(Ask::Sync, false);
            }
        }
        self.send(told, &Bytes::from_static(&[frontend::SYNC, 0, 0, 0, 4]));
    }

    /// Asks the backends for the replies to what was sent without a Sync, because the client's next message needs
    /// them.
    pub(super) fn flush_ports(&mut self) {
        let mut told = Target::NONE;
        for (position, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port else { continue };
            if port.unsynced && !port.flushed && !port.owed.is_empty() {
                port.flushed = true;
                told = told.with(Target::only(position));
            }
        }
        self.send(told, &Bytes::from_static(&[frontend::FLUSH, 0, 0, 0, 4]));
    }

    /// True between the first message of a batch and its Sync.
    pub(super) fn is_in_batch(&self) -> bool {
        self.local_batch || self.ports.iter().flatten().any(|port| port.unsynced)
    }
}

//! What follows once an input has been dealt with: ports are brought into step, links let go, held input resumed.

use super::port::{Ask, Target};
use super::{MAIN, Session, SessionEvent, Shutdown, Timer};
use crate::fault::{Culprit, Fault};
use crate::time::Instant;
use crate::wire::tag::frontend;
use crate::wire::{Header, TransactionStatus, build};
use alloc::vec::Vec;
use bytes::Bytes;

/// A statement that fails: it aborts the block of a port whose partner's block has failed. PostgreSQL logs a syntax error
/// at this string, so that the log itself says what it is.
pub(super) const ABORT_BLOCK: &str = "'pgconvoy aborts this transaction block because it failed on another node'";

impl Session {
    /// Brings everything into step after an input.
    pub(super) fn settle(&mut self, now: Instant) {
        self.watch_missing(now);
        loop {
            if self.is_over() {
                return;
            }
            if self.client.gone {
                // Nobody reads the answers that still come.
                self.client.queue.clear();
            }
            if self.shutdown == Some(Shutdown::Now) {
                // A backend notices that nobody listens only when it next speaks: it is told to stop.
                self.cancel_running();
                let fault = Fault::new(Culprit::Proxy, b"57P01", "terminating connection due to administrator command");
                self.end(Some(fault));
                if self.is_over() {
                    return;
                }
            }
            if !self.phase.is_serving() {
                return;
            }
            if self.ports[MAIN].as_ref().is_some_and(|main| main.dying && main.rest.bytes == 0) {
                // The client has the main backend's last word: nothing that it sent after that is answered elsewhere.
                self.end(None);
            }
            self.flush_notices();
            self.probe_ports();
            self.advance_round();
            if self.is_over() {
                return;
            }
            if self.owes_nothing() && !self.in_round() {
                self.quiet();
                self.read_again();
            }
            if self.client.held.is_empty() || !self.can_resume() {
                return;
            }
            let before = self.client.held.len();
            self.read_held();
            if self.client.held.len() == before {
                return;
            }
            self.idle_since = now;
        }
    }

    /// Sends the probes that are due, but not into the middle of a message.
    fn probe_ports(&mut self) {
        for position in 0..self.ports.len() {
            let between = self.client_not_inside(position);
            if let Some(port) = self.ports[position].as_mut().filter(|port| port.probe_due && between) {
                port.probe();
            }
        }
    }

    /// Whether held input may be looked at again. There is never so much of it that a full queue matters.
    fn can_resume(&self) -> bool {
        self.cancels == 0 && self.showing.is_none()
    }

    /// Nothing is owed, though the last answer may still be passing by: transaction states are known, and compared.
    fn quiet(&mut self) {
        if self.go_on_consulting() {
            return;
        }
        self.stateful = false;
        self.bringing = false;
        self.committing = false;
        self.take_answer();
        let forgets_alone = core::mem::take(&mut self.forgets_alone);
        if let Some(naming) = self.afterwards.take()
            && !self.loud_error
        {
            let on = self.unknown();
            self.statements.came_true(&naming, on);
            let partners = self.ports[MAIN + 1..].iter_mut().flatten();
            partners.for_each(|partner| partner.leaving |= forgets_alone);
        }
        if self.local_batch || self.ports.iter().flatten().any(|port| port.unsynced) {
            // What an earlier batch did to a block may be known only now that the next one has begun.
            if !self.is_replicated() {
                self.align();
            }
            return;
        }
        (self.alone, self.may_read_otherwise) = (false, false);
        self.attempt.renew();
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let chained = core::mem::take(&mut self.chained) && !idle;
        if idle {
            self.names_settled();
        }
        if idle || chained {
            self.pinned &= chained;
            self.wrote = self.pinned;
            self.written = None;
            self.statements.transaction_over();
            let over = self.turn_over || (self.turn != MAIN && self.turn_port().is_none());
            if over && !self.attempt.is_for_primary() {
                self.take_turn();
            }
            self.delayed = self.turn_port().is_some_and(|port| self.view.is_lagging(port.node));
        }
        if chained {
            self.tell_reshaped();
        }
        if self.lost_reply {
            self.lost_reply = false;
            if self.transaction_status() == TransactionStatus::InBlock {
                self.inject(MAIN, ABORT_BLOCK);
            }
        }
        if self.is_replicated() {
            self.both_asked = false;
            for port in self.ports.iter_mut().flatten() {
                (port.erred, port.silent_error, port.leaving) = (false, false, false);
            }
            self.align();
        } else {
            self.align();
            self.compare();
        }
        if idle {
            self.judge_called();
        }
        if !self.is_replicated() {
            self.part();
        }
        if self.owes_nothing() && self.mid_client.is_none() && self.transaction_status() == TransactionStatus::Idle {
            self.transaction_over();
        }
    }

    /// What one port refused and the other did not sets them apart, unless a failed block takes it back on both.
    fn compare(&mut self) {
        let both_asked = core::mem::take(&mut self.both_asked);
        let Some((Some(main), partners)) = self.ports.split_first_mut() else { return };
        let main_erred = core::mem::take(&mut main.erred);
        let in_block = main.link.status != TransactionStatus::Idle;
        for partner in partners.iter_mut().flatten() {
            let erred = core::mem::take(&mut partner.erred);
            let silent_error = core::mem::take(&mut partner.silent_error);
            partner.leaving |= silent_error && !main_erred;
            partner.leaving |= both_asked && main_erred && !erred && !in_block;
        }
    }

    /// A block that failed on one port must not go on, and not commit, on the other; one that ended on the main port
    /// must not linger on the other.
    fn align(&mut self) {
        use TransactionStatus::{Failed, Idle, InBlock};
        for partner in self.partner_positions() {
            let (Some(main), Some(port)) = (&self.ports[MAIN], &self.ports[partner]) else { continue };
            let (position, text) = match (main.link.status, port.link.status) {
                // A failure that the client has not seen costs the partnership, not the block.
                (InBlock, Failed) if port.silent_error => continue,
                (InBlock, Failed) => (MAIN, ABORT_BLOCK),
                (Failed, InBlock) => (partner, ABORT_BLOCK),
                (Idle, InBlock | Failed) => (partner, "ROLLBACK"),
                _ => continue,
            };
            let in_batch = self.ports[position].as_ref().is_some_and(|port| port.unsynced);
            if !in_batch && self.client_not_inside(position) {
                self.inject(position, text);
            }
            if position == MAIN {
                // What has failed on one partner fails on the others once it has failed here.
                return;
            }
        }
    }

    pub(super) fn inject(&mut self, position: usize, text: &str) {
        if let Some(port) = &mut self.ports[position] {
            let mut out = Vec::new();
            build::query(&mut out, text);
            port.queue.push(Bytes::from(out));
            port.asked(Ask::Abort, false);
            self.statements.unnamed_lost(position);
            // What comes next must not overtake it on the other port.
            self.stateful = true;
        }
    }

    /// Lets go of the partners that are out of step, or not of use any more.
    fn part(&mut self) {
        let alone = self.ports[MAIN].as_ref().is_some_and(|port| port.transparent);
        let in_block = |port: &super::Port| port.link.status == TransactionStatus::InBlock;
        let main_in_block = self.ports[MAIN].as_deref().is_some_and(in_block);
        for position in self.partner_positions() {
            let Some(partner) = &mut self.ports[position] else { continue };
            partner.leaving |= partner.dying || alone;
            // A portal of a block that goes on is read to its end where it was opened.
            let both_in_block = main_in_block && in_block(partner);
            let needed = both_in_block && !partner.dying && self.statements.has_portal_on(Target::only(position));
            if partner.leaving && partner.is_quiet() && !needed && !partner.releasing {
                partner.releasing = true;
                let node = partner.node;
                self.events.push_back(SessionEvent::Release { node });
                self.partner_gone(position);
            }
        }
    }

    /// What went to a partner last went to nobody.
    pub(super) fn partner_gone(&mut self, position: usize) {
        self.statements.port_gone(position);
        self.last = self.last.without(Target::only(position)).or_main();
    }

    /// Says something of pgconvoy's own to the client, between two messages.
    pub(super) fn tell(&mut self, messages: &[u8]) {
        self.notices.extend_from_slice(messages);
        self.flush_notices();
    }

    /// What pgconvoy itself has to say goes out between two messages.
    pub(super) fn flush_notices(&mut self) {
        if self.mid_client.is_none() && !self.notices.is_empty() {
            let notices = core::mem::take(&mut self.notices);
            self.client.queue.push(notices.into());
        }
    }

    pub(super) fn timer_fired(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Authentication => {
                let fault = if self.phase.waits_for_slot() {
                    Fault::new(Culprit::Proxy, b"53300", "no place became free within authentication_timeout")
                        .hint("Raise num_init_children, or let clients disconnect when they are done.")
                } else {
                    Fault::new(Culprit::Client, b"08006", "canceling authentication due to timeout")
                };
                self.end(Some(fault));
            }
            Timer::BalanceWait => self.balance_overdue(now),
            Timer::ReplicaLost => self.patience_over(),
            Timer::ClientIdle => {
                let fault = Fault::new(Culprit::Client, b"57P05", "terminating connection due to client_idle_limit");
                self.end(Some(fault));
            }
        }
    }

    /// The client is gone: what it asked for is cancelled, so that its locks are free soon. Who has said goodbye has
    /// asked for nothing to be cancelled: it runs to its end, as PostgreSQL does it.
    pub(super) fn client_gone(&mut self) {
        self.client.gone = true;
        self.client.queue.clear();
        if self.phase.is_serving() && self.client.blocked && ends_in_goodbye(&self.client.held) {
            return;
        }
        self.client.held.clear();
        if !self.is_over() {
            self.cancel_running();
            self.end(None);
        }
    }

    /// Cancels what runs on any port.
    pub(super) fn cancel_running(&mut self) -> bool {
        if self.is_over() || self.must_finish() {
            return false;
        }
        let mut any = false;
        let running: Vec<usize> = (0..self.ports.len()).filter(|position| !self.is_deferred(*position)).collect();
        let ports = self.ports.iter_mut().enumerate().filter(|(position, _)| running.contains(position));
        let ports = ports.filter_map(|(_, port)| port.as_mut());
        for port in ports.filter(|port| port.transparent || !port.owed.is_empty()) {
            any = true;
            port.cancelled = true;
            self.cancels += 1;
            self.events.push_back(SessionEvent::Cancel {
                node: port.node,
                process_id: port.link.process_id,
                key: port.link.cancel_key.clone(),
            });
        }
        any
    }
}

/// Whether there is a Terminate among these messages, the last of which may be incomplete.
fn ends_in_goodbye(mut messages: &[u8]) -> bool {
    while let Ok(Some(header)) = Header::parse(messages)
        && let Some(rest) = messages.get(header.total..)
    {
        if header.tag == frontend::TERMINATE {
            return true;
        }
        messages = rest;
    }
    false
}

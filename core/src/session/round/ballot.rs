//! What becomes of a round when everybody has answered: the vote, what follows from it, and what the client hears.

use super::super::port::{Ask, Target};
use super::super::settle::ABORT_BLOCK;
use super::super::{MAIN, Report, Session};
use super::{OWN_FAILURES, Order, Round, Stage};
use crate::fault::{Culprit, Fault};
use crate::node::NodeSet;
use crate::vote::{self, Answer, Aspect, Mismatch, Tally, Verdict};
use crate::wire::build::{self, Severity};
use crate::wire::tag::backend;
use crate::wire::{HEADER_BYTES, TransactionStatus};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

impl Session {
    /// Everybody has answered.
    pub(super) fn take_vote(&mut self) -> bool {
        let Some(round) = self.round() else { return false };
        if round.decided {
            self.conclude();
            return true;
        }
        let node = |position: usize| self.ports[position].as_ref().map(|port| port.node);
        let mut answers: Vec<Answer> =
            round.tallies.iter().filter_map(|(position, tally)| Some((node(*position)?, *tally))).collect();
        if round.executes && answers.iter().any(|(_, tally)| tally.is_empty()) {
            answers.retain(|(_, tally)| !tally.is_empty());
        }
        if let [_, others @ ..] = &mut answers[..] {
            others.sort_unstable_by_key(|(node, _)| *node);
        }
        let verdict = vote::judge(&answers, self.setup.replication.compare_rows && round.fixed);
        match verdict {
            Verdict::Unanimous => self.agreed(),
            Verdict::Split { aspect, prevailing, majority } => {
                let statement = round.statement.clone();
                self.disagreed(Mismatch { aspect, statement, answers, prevailing, majority });
            }
        }
        true
    }

    pub(super) fn agreed(&mut self) {
        let Some(round) = self.round_mut() else { return };
        round.decided = true;
        let failed = round.tallies.first().is_some_and(|(_, tally)| tally.error().is_some());
        if round.unwraps && failed {
            // What the statement said of its success is not true: its commit has failed everywhere.
            round.held = round.error.take().map_or_else(Vec::new, |error| error.to_vec());
        }
        if round.wrapped { self.unwrap(!failed) } else { self.conclude() }
    }

    /// Ends the block that was put round a statement.
    pub(super) fn unwrap(&mut self, commit: bool) {
        let in_block = self.transaction_status() != TransactionStatus::Idle;
        let Some(round) = self.round_mut() else { return };
        if !in_block {
            // The text has ended it by itself.
            return self.conclude();
        }
        let to = round.to;
        let order = if commit { Order::MainLast } else { Order::Together };
        let mut end = Round::new(to, order);
        end.held = core::mem::take(&mut round.held);
        end.fault = round.fault.take();
        end.statement = core::mem::take(&mut round.statement);
        (end.unwraps, end.executes, end.wrapped) = (true, true, true);
        end.decided = !commit;
        *round = end;
        let mut text = Vec::new();
        build::query(&mut text, if commit { "COMMIT" } else { "ROLLBACK" });
        self.own(to, Ask::Unwrap);
        self.send(to, &text.into());
    }

    pub(super) fn disagreed(&mut self, mismatch: Mismatch) {
        let rules = self.setup.replication;
        let Some(round) = self.round_mut() else { return };
        round.decided = true;
        let irrevocable = round.final_ || round.unwraps;
        let own = |tally: &Tally| tally.error().is_some_and(|sqlstate| OWN_FAILURES.contains(&&sqlstate));
        let own_failure = mismatch.answers.iter().any(|(_, tally)| own(tally));
        if own_failure && !irrevocable {
            // One backend cannot do it now: none does it.
            let error = round.error.clone();
            return self.take_back(Err(error));
        }
        let stop = match mismatch.aspect {
            Aspect::Affected => rules.stop_on_affected,
            Aspect::Kind | Aspect::Rows => rules.stop_on_mismatch,
        };
        let outvoted = mismatch.outvoted();
        let fault = mismatch_fault(&mismatch);
        let (majority, aspect) = (mismatch.majority, mismatch.aspect);
        let detaches = stop || irrevocable;
        self.report(Report::Mismatch(Box::new(mismatch), if detaches { outvoted } else { NodeSet::EMPTY }));
        if !detaches {
            return match aspect {
                // As in pgpool, the session ends; what it has done is rolled back by that.
                Aspect::Kind => self.end(Some(fault)),
                Aspect::Affected | Aspect::Rows => self.take_back(Ok(fault)),
            };
        }
        let Some(replicas) = &mut self.replicas else { return };
        outvoted.iter().for_each(|node| replicas.missing = replicas.missing.with(node));
        if let Some(round) = &mut replicas.round {
            round.stage = Stage::Detaching;
            round.fault = (!majority).then(|| Box::new(fault));
        }
    }

    /// Those that were outvoted are out for everybody.
    pub(super) fn detached(&mut self) {
        let main = self.ports[MAIN].is_some();
        let Some(round) = self.round_mut() else { return };
        let fault = round.fault.take();
        let irrevocable = round.final_ || round.unwraps;
        match fault {
            _ if !main => {}
            Some(fault) if irrevocable => {
                round.fault = Some(fault);
                self.conclude();
            }
            Some(fault) => self.take_back(Ok(*fault)),
            None => self.agreed(),
        }
    }

    /// What has been done is undone everywhere, and the client hears why: in a backend's own words or in others.
    pub(super) fn take_back(&mut self, why: Result<Fault, Option<Bytes>>) {
        let Some(round) = self.round_mut() else { return };
        let main_failed = round.tallies.first().is_some_and(|(_, tally)| tally.error().is_some());
        // The last word was one of success, unless the client has heard of an error already.
        let ready: Vec<u8> = match round.held.iter().rposition(|byte| *byte == backend::READY_FOR_QUERY) {
            Some(at) if round.held.len() - at == HEADER_BYTES + 1 => round.held.split_off(at),
            _ => Vec::new(),
        };
        round.held.clear();
        if !main_failed {
            match why {
                Ok(fault) => build::error(&mut round.held, Severity::Error, &fault),
                Err(Some(error)) => round.held.extend_from_slice(&error),
                Err(None) => {
                    let fault = Fault::new(Culprit::Backend, b"40001", "a backend could not do what the others did");
                    build::error(&mut round.held, Severity::Error, &fault);
                }
            }
        }
        round.held.extend_from_slice(&ready);
        if round.wrapped {
            return self.unwrap(false);
        }
        let to = round.to;
        self.loud_error = true;
        self.abort_everywhere(to);
    }

    /// Makes the transaction fail on these ports, and on the rest of the round by itself.
    pub(super) fn abort_everywhere(&mut self, to: Target) {
        let mut aborted = Target::NONE;
        for position in to.positions() {
            let Some(port) = &mut self.ports[position] else { continue };
            // One that has failed skips everything up to Sync.
            if !port.failed && (port.link.status == TransactionStatus::InBlock || port.unsynced) {
                aborted = aborted.with(Target::only(position));
                // A Query ends a batch, and a failed one fails what it did.
                (port.unsynced, port.failed) = (false, false);
            }
        }
        let in_batch = self.round().is_some_and(|round| round.executes) && !aborted.is_empty();
        for position in aborted.positions() {
            self.inject(position, ABORT_BLOCK);
        }
        self.skipping |= in_batch && self.round().is_some_and(|round| !ends_ready(&round.held));
        if let Some(round) = self.round_mut() {
            round.stage = Stage::Aborting;
            round.decided = true;
        }
    }

    /// The round is over: the client hears how it ended.
    pub(super) fn conclude(&mut self) {
        let Some(replicas) = &mut self.replicas else { return };
        let Some(mut round) = replicas.round.take() else { return };
        let ending = replicas.ending.take();
        let status = self.transaction_status();
        if let Some(fault) = round.fault.take() {
            // Only what cannot be taken back comes here with one.
            let ready = ends_ready(&round.held);
            round.held.clear();
            build::error(&mut round.held, Severity::Error, &fault);
            if ready {
                build::ready_for_query(&mut round.held, status);
            }
        }
        if round.wrapped {
            build::ready_for_query(&mut round.held, status);
        } else if ends_ready(&round.held)
            && let Some(last) = round.held.last_mut()
        {
            // What has been aborted since the backend said so has failed.
            *last = status.byte();
        }
        // Without the main backend, nobody can say that it is one of those that have committed.
        if !self.client.gone && self.ports[MAIN].is_some() {
            self.tell(&round.held);
        }
        if let Some(fault) = ending {
            self.end(fault.map(|fault| *fault));
        }
    }
}

fn mismatch_fault(mismatch: &Mismatch) -> Fault {
    Fault::new(Culprit::Backend, b"XX001", mismatch.message()).hint("check data consistency among db nodes")
}

fn ends_ready(held: &[u8]) -> bool {
    held.len() > HEADER_BYTES && held[held.len() - HEADER_BYTES - 1] == backend::READY_FOR_QUERY
}

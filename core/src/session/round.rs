//! Where pgconvoy replicates: one request, sent to every backend of the session, and their answers made one.
//!
//! A [`Round`] is what is sent before answers are compared: a Query, or the messages of the extended protocol up to the
//! statement that is executed. Some of the backends are asked first, and what the others are to get waits until those
//! have answered: so a lock is taken on the main backend before any other, and two sessions that want the same one meet
//! there, where PostgreSQL sees it. A commit goes the other way round. What tells the client of success waits for the vote.
//!
//! Nothing is asked of fewer backends than all that the cluster counts: while a connection is lost and the cluster has not
//! said what has become of its backend, nothing is sent and nothing is concluded.

use super::port::{Ask, Target};
use super::settle::ABORT_BLOCK;
use super::statements::Summary;
use super::{MAIN, Report, Session, SessionEvent};
use crate::fault::{Culprit, Fault};
use crate::limits::{ERROR_PREFIX_BYTES, LOGIN_ERROR_BYTES, ROUND_STATEMENT_BYTES, WRITE_QUEUE_BYTES};
use crate::node::{NodeId, NodeSet};
use crate::sql::{self, Hazards, Route};
use crate::time::{Duration, Instant};
use crate::vote::{self, Answer, Aspect, Mismatch, Tally, Verdict};
use crate::wire::build::{self, Severity};
use crate::wire::tag::{backend, frontend};
use crate::wire::{HEADER_BYTES, Header, TransactionStatus};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// How long the cluster may take to say what has become of a backend whose connection is lost.
const PATIENCE: Duration = Duration::from_millis(3_000);

/// Errors that one backend has for reasons of its own, though its data is the same: the transaction is aborted on all.
const OWN_FAILURES: [&[u8; 5]; 4] = [b"40001", b"40P01", b"55P03", b"57014"];

/// What the operator wants of replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// Backends whose kind of answer is not the majority's are detached (`replication_stop_on_mismatch`).
    pub stop_on_mismatch: bool,
    /// So are those whose number of changed rows is not (`failover_if_affected_tuples_mismatch`).
    pub stop_on_affected: bool,
    /// Reads go to every backend too (`replicate_select`).
    pub select: bool,
    /// Reads go to every backend, and what they return is compared (`compare_rows`).
    pub compare_rows: bool,
}

/// What a session keeps of replication.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    round: Option<Round>,
    /// Backends whose connection is lost, and which the cluster still counts.
    missing: NodeSet,
    /// How long that may last.
    patience: Option<Instant>,
    /// The session ends as soon as the round that is under way has come to its end.
    ending: Option<Option<Box<Fault>>>,
}

impl Replicas {
    /// When somebody has been missing for too long.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.patience
    }
}

/// In which order backends are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The main one, and once it has answered, the others together.
    MainFirst,
    /// The others together, and then the main one.
    MainLast,
    /// All at once: it waits for no lock.
    Together,
}

/// Where a round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Those that are asked first have not all answered.
    First,
    /// Everybody has been asked.
    Second,
    /// Everybody reads COPY data.
    Copying,
    /// The transaction is being aborted, wherever it is.
    Aborting,
    /// Those that were outvoted are waited for to be out for everybody.
    Detaching,
}

/// One request to every backend.
#[derive(Debug)]
struct Round {
    to: Target,
    first: Target,
    stage: Stage,
    /// A transaction block of pgconvoy's own is round it.
    wrapped: bool,
    /// It is the end of such a block.
    unwraps: bool,
    /// Something has been executed: only the end of the batch may join it.
    executes: bool,
    /// What has succeeded anywhere cannot be taken back.
    final_: bool,
    /// The vote has been taken, or there is nothing to vote about.
    decided: bool,
    deferred: VecDeque<(Target, Bytes)>,
    deferred_bytes: usize,
    /// What the main backend has said and the client is not told yet.
    held: Vec<u8>,
    tallies: Vec<(usize, Tally)>,
    /// An error of a backend whose answer the client does not see.
    error: Option<Bytes>,
    /// What the client is told instead of success.
    fault: Option<Box<Fault>>,
    statement: String,
}

impl Order {
    /// Those that are asked first.
    fn first(self, to: Target) -> Target {
        let first = match self {
            Self::MainFirst => Target::MAIN,
            Self::MainLast => to.without(Target::MAIN),
            Self::Together => to,
        };
        if first.is_empty() { to } else { first }
    }
}

impl Round {
    fn new(to: Target, order: Order) -> Self {
        Self {
            to,
            first: order.first(to),
            stage: Stage::First,
            wrapped: false,
            unwraps: false,
            executes: false,
            final_: false,
            decided: false,
            deferred: VecDeque::new(),
            deferred_bytes: 0,
            held: Vec::new(),
            tallies: to.positions().map(|position| (position, Tally::default())).collect(),
            error: None,
            fault: None,
            statement: String::new(),
        }
    }

    fn tally(&mut self, position: usize) -> Option<&mut Tally> {
        self.tallies.iter_mut().find(|(at, _)| *at == position).map(|(_, tally)| tally)
    }

    fn defers(&self, position: usize) -> bool {
        self.stage == Stage::First && !self.first.has(position)
    }
}

impl Session {
    /// True where writes go to every backend.
    pub(super) const fn is_replicated(&self) -> bool {
        self.replicas.is_some()
    }

    fn round(&self) -> Option<&Round> {
        self.replicas.as_ref()?.round.as_ref()
    }

    fn round_mut(&mut self) -> Option<&mut Round> {
        self.replicas.as_mut()?.round.as_mut()
    }

    pub(super) fn in_round(&self) -> bool {
        self.round().is_some()
    }

    /// Whether an answer from this port is part of a round.
    #[inline]
    pub(super) fn is_tallied(&self, position: usize) -> bool {
        self.round().is_some_and(|round| round.to.has(position))
    }

    /// True while a commit may have happened on some backends and not on others: nothing may end the session now.
    pub(super) fn must_finish(&self) -> bool {
        self.round().is_some_and(|round| round.final_ || round.unwraps)
    }

    /// Nothing may be asked while it is not known who counts.
    pub(super) fn is_missing_some(&self) -> bool {
        self.replicas.as_ref().is_some_and(|replicas| !replicas.missing.is_empty())
    }

    /// Whether a message of the client's has to wait for the round that is under way.
    pub(super) fn waits_for_round(&self, tag: u8) -> bool {
        let Some(round) = self.round() else {
            return self.is_missing_some() && tag != frontend::TERMINATE;
        };
        match tag {
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {
                round.stage != Stage::Copying && self.in_copy()
            }
            frontend::SYNC | frontend::FLUSH => round.stage != Stage::First && round.stage != Stage::Copying,
            frontend::QUERY | frontend::FUNCTION_CALL | frontend::TERMINATE => round.stage != Stage::Copying,
            _ if round.stage == Stage::Copying => false,
            _ => round.stage != Stage::First || round.executes,
        }
    }

    /// Opens a round for a request to all of `to`, unless it belongs to the one that is open. Returns false when it must
    /// wait for that to be over.
    pub(super) fn join_round(&mut self, to: Target, order: Option<Order>) -> bool {
        let Some(replicas) = self.replicas.as_mut().filter(|_| to.is_several()) else { return true };
        match &replicas.round {
            None => {
                replicas.round = Some(Round::new(to, order.unwrap_or(Order::MainFirst)));
                true
            }
            Some(round) => {
                let fits = order.is_none_or(|order| round.first == order.first(to));
                round.to == to && round.stage == Stage::First && fits
            }
        }
    }

    /// To whom the round that is open goes.
    pub(super) fn round_target(&self) -> Option<Target> {
        self.round().map(|round| round.to)
    }

    /// Whether Sync may be sent now. Outside a block it commits, and comes after the vote on what it commits.
    pub(super) fn sync_in_round(&mut self) -> bool {
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let unsynced =
            self.ports.iter().enumerate().filter(|(_, port)| port.as_ref().is_some_and(|port| port.unsynced));
        let to = unsynced.fold(Target::NONE, |all, (position, _)| all.with(Target::only(position)));
        match self.round() {
            Some(round) if round.executes => !idle && !self.skipping,
            Some(round) => round.to == to && !self.skipping,
            None if !to.is_several() => true,
            None if !self.owes_nothing() => false,
            None => {
                let commits = idle && self.wrote && !self.skipping;
                let opened = self.join_round(to, Some(if commits { Order::MainLast } else { Order::Together }));
                if let Some(round) = self.round_mut().filter(|_| commits) {
                    (round.executes, round.final_) = (true, true);
                }
                opened
            }
        }
    }

    /// In which order a statement goes to its backends.
    pub(super) fn order_of(&self, summary: &Summary) -> Order {
        match summary.route {
            _ if summary.commits => Order::MainLast,
            Route::Both if summary.stateful => Order::Together,
            _ => Order::MainFirst,
        }
    }

    /// A statement runs in the round that is open.
    pub(super) fn round_executes(&mut self, summary: &Summary, text: &[u8]) {
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let dialect = self.dialect();
        let Some(round) = self.round_mut() else { return };
        round.executes = true;
        let controls = summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
        round.final_ = summary.commits || (summary.writes && idle && (controls || sql::stands_alone(text, dialect)));
        let end = text.len().min(ROUND_STATEMENT_BYTES);
        round.statement = String::from_utf8_lossy(&text[..end]).into_owned();
    }

    /// Puts a transaction block round the Query that follows, if the client has not begun one: what has succeeded on one
    /// backend can be taken back until all have succeeded (B8).
    #[must_use]
    pub(super) fn wrap(&mut self, summary: &Summary, named: bool, text: Option<&[u8]>) -> Option<(Target, Bytes)> {
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let dialect = self.dialect();
        let controls = text.is_some() && summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
        let settings = text.is_some() && summary.single && summary.stateful && !named;
        let alone = controls || settings || text.is_some_and(|text| sql::stands_alone(text, dialect));
        let batch = self.ports.iter().flatten().any(|port| port.unsynced);
        let round = self.round_mut()?;
        if !idle || !summary.writes || alone || batch {
            return None;
        }
        round.wrapped = true;
        let to = round.to;
        let mut begin = Vec::new();
        build::query(&mut begin, "BEGIN");
        self.own(to, Ask::Wrap);
        Some((to, begin.into()))
    }

    fn own(&mut self, to: Target, ask: Ask) {
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(ask, false);
            }
        }
    }

    /// Sends to the backends of a round; what is for those that are asked later waits.
    pub(super) fn send_in_round(&mut self, to: Target, bytes: &Bytes) {
        let inside = self.client.rest.bytes > 0 && self.client.rest.relay;
        let Some(round) = self.round_mut() else { return };
        let later = to.positions().filter(|position| round.defers(*position));
        let later = later.fold(Target::NONE, |later, position| later.with(Target::only(position)));
        if !later.is_empty() {
            round.deferred.push_back((later, bytes.clone()));
            round.deferred_bytes += bytes.len();
        }
        let now = to.without(later);
        for position in now.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.queue.push(bytes.clone());
            }
        }
        if inside {
            self.spill();
        }
    }

    /// A message that is too long to be kept goes to all as it comes, but for its end: without that nothing of it runs.
    fn spill(&mut self) {
        let Some(round) = self.round_mut().filter(|round| round.deferred_bytes > WRITE_QUEUE_BYTES) else { return };
        let mut spilled = core::mem::take(&mut round.deferred);
        round.deferred_bytes = 0;
        for (to, bytes) in spilled.drain(..) {
            for position in to.positions() {
                if let Some(port) = &mut self.ports[position] {
                    port.queue.push(bytes.clone());
                }
            }
        }
    }

    fn release_deferred(&mut self) {
        let Some(round) = self.round_mut() else { return };
        let deferred = core::mem::take(&mut round.deferred);
        (round.deferred_bytes, round.stage) = (0, Stage::Second);
        for (to, bytes) in deferred {
            for position in to.positions() {
                if let Some(port) = &mut self.ports[position] {
                    port.queue.push(bytes.clone());
                }
            }
        }
    }

    /// Whether this port has something to do: what is deferred cannot be cancelled.
    pub(super) fn is_deferred(&self, position: usize) -> bool {
        self.round().is_some_and(|round| round.to.has(position) && round.defers(position))
    }

    /// Notes a part of the answer to `asked` for the vote. `front` is as much of the message as is there.
    pub(super) fn tally(&mut self, position: usize, asked: Option<Ask>, header: Header, front: &[u8]) {
        let whole = front.len() >= header.total;
        let compare = self.setup.replication.compare_rows;
        let Some(round) = self.round_mut() else { return };
        if matches!(asked, Some(Ask::Wrap | Ask::Abort | Ask::Fail)) || round.decided {
            return;
        }
        let is_error = header.tag == backend::ERROR_RESPONSE;
        if is_error && position != MAIN && whole && round.error.is_none() {
            round.error = Some(Bytes::copy_from_slice(front));
        }
        let Some(tally) = round.tally(position) else { return };
        if header.tag == backend::DATA_ROW {
            if compare {
                tally.note_row(&front[HEADER_BYTES.min(front.len())..], whole);
            }
        } else if header.tag != backend::COPY_DATA {
            tally.note(header.tag, &front[HEADER_BYTES..]);
        }
    }

    /// The rest of a row goes by.
    pub(super) fn tally_rest(&mut self, position: usize, part: &[u8], ends: bool) {
        let compare = self.setup.replication.compare_rows;
        if let Some(tally) = self.round_mut().and_then(|round| round.tally(position)).filter(|_| compare) {
            tally.note_row(part, ends);
        }
    }

    /// Whether a message that would go on to the client waits for the vote. Those that waited and are followed by another
    /// were not the last word, and go on in front of it.
    pub(super) fn hold_back(&mut self, header: Header, front: &[u8]) -> bool {
        let Some(round) = self.round_mut() else { return false };
        let concludes = match header.tag {
            backend::COMMAND_COMPLETE
            | backend::EMPTY_QUERY_RESPONSE
            | backend::PORTAL_SUSPENDED
            | backend::FUNCTION_CALL_RESPONSE
            | backend::COPY_IN_RESPONSE
            | backend::READY_FOR_QUERY => front.len() >= header.total,
            // The failure of a commit is not the last word on it.
            backend::ERROR_RESPONSE => (round.final_ || round.unwraps) && front.len() >= header.total,
            _ => false,
        };
        let last_word = header.tag == backend::READY_FOR_QUERY;
        if !last_word && !round.held.is_empty() {
            let held = core::mem::take(&mut round.held);
            if !self.client.gone {
                self.client.queue.push(held.into());
            }
        }
        if concludes && let Some(round) = self.round_mut() {
            // The end of a block of pgconvoy's own is told in its place.
            if !(last_word && round.wrapped) {
                round.held.extend_from_slice(&front[..header.total]);
            }
        }
        concludes
    }

    /// Goes on with the round as far as it can.
    pub(super) fn advance_round(&mut self) {
        while self.step_round() {}
    }

    fn step_round(&mut self) -> bool {
        let missing = self.is_missing_some();
        let Some(round) = self.round() else { return false };
        let (to, first, stage) = (round.to, round.first, round.stage);
        let ports = |of: Target| of.positions().filter_map(|position| self.ports[position].as_deref());
        let settled = |of: Target| ports(of).all(|port| port.owed.is_empty());
        match stage {
            Stage::First => {
                let copies = !first.has(MAIN) || ports(first).any(|port| port.copy_in);
                if missing
                    || !(settled(first) || (copies && ports(first).all(|port| port.copy_in || port.owed.is_empty())))
                {
                    return false;
                }
                if !round.executes && first == to && ports(to).any(|port| port.unsynced) {
                    return false;
                }
                self.first_answered();
                true
            }
            Stage::Second => {
                if missing {
                    return false;
                }
                let copying = ports(to).filter(|port| port.copy_in).count();
                if copying > 0 {
                    if copying == ports(to).count() {
                        self.start_copying();
                        return true;
                    }
                    if ports(to).all(|port| port.copy_in || port.owed.is_empty()) {
                        self.end(Some(Fault::new(
                            Culprit::Backend,
                            b"58000",
                            "only some of the backends began to read the data",
                        )));
                    }
                    return false;
                }
                settled(to) && self.take_vote()
            }
            Stage::Copying => !missing && settled(to) && self.take_vote(),
            Stage::Aborting => {
                let done = settled(to);
                if done {
                    self.conclude();
                }
                done
            }
            Stage::Detaching => {
                let done = !missing;
                if done {
                    self.detached();
                }
                done
            }
        }
    }

    /// Those that were asked first have answered: the others follow, unless there is nothing to follow.
    fn first_answered(&mut self) {
        let Some(round) = self.round_mut() else { return };
        let main_error = round.tallies.iter().find(|(at, _)| *at == MAIN).and_then(|(_, tally)| tally.error());
        let own_failure = main_error.is_some_and(|sqlstate| OWN_FAILURES.contains(&&sqlstate));
        if !own_failure || round.first != Target::MAIN || round.first == round.to {
            return self.release_deferred();
        }
        // It has not happened anywhere else, and will not.
        round.deferred.clear();
        round.deferred_bytes = 0;
        round.decided = true;
        let later = round.to.without(round.first);
        for position in later.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.owed.clear();
            }
        }
        if let Some(round) = self.round_mut().filter(|round| round.wrapped) {
            // The block that was put round it is open there alone.
            round.to = round.first;
            return self.unwrap(false);
        }
        self.abort_everywhere(later);
    }

    fn start_copying(&mut self) {
        let Some(round) = self.round_mut() else { return };
        round.stage = Stage::Copying;
        let held = core::mem::take(&mut round.held);
        self.client.queue.push(held.into());
    }

    /// Everybody has answered.
    fn take_vote(&mut self) -> bool {
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
        let verdict = vote::judge(&answers, self.setup.replication.compare_rows);
        match verdict {
            Verdict::Unanimous => self.agreed(),
            Verdict::Split { aspect, prevailing, majority } => {
                let statement = round.statement.clone();
                self.disagreed(Mismatch { aspect, statement, answers, prevailing, majority });
            }
        }
        true
    }

    fn agreed(&mut self) {
        let Some(round) = self.round_mut() else { return };
        round.decided = true;
        let failed = round.tallies.first().is_some_and(|(_, tally)| tally.error().is_some());
        if round.wrapped { self.unwrap(!failed) } else { self.conclude() }
    }

    /// Ends the block that was put round a statement.
    fn unwrap(&mut self, commit: bool) {
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

    fn disagreed(&mut self, mismatch: Mismatch) {
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
    fn detached(&mut self) {
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
    fn take_back(&mut self, why: Result<Fault, Option<Bytes>>) {
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
    fn abort_everywhere(&mut self, to: Target) {
        let mut aborted = Target::NONE;
        for position in to.positions() {
            let Some(port) = &mut self.ports[position] else { continue };
            if port.link.status == TransactionStatus::InBlock || (port.unsynced && !port.failed) {
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
    fn conclude(&mut self) {
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
        if !self.client.gone && !round.held.is_empty() {
            self.client.queue.push(round.held.into());
        }
        if let Some(fault) = ending {
            self.end(fault.map(|fault| *fault));
        }
    }

    /// The session is to end, but a commit is under way: returns true if it ends afterwards.
    pub(super) fn end_later(&mut self, fault: Option<&Fault>) -> bool {
        if !self.must_finish() {
            return false;
        }
        if let Some(replicas) = &mut self.replicas {
            replicas.ending.get_or_insert_with(|| fault.cloned().map(Box::new));
        }
        true
    }

    /// The session is over.
    pub(super) fn drop_round(&mut self) {
        if let Some(replicas) = &mut self.replicas {
            replicas.round = None;
        }
    }

    /// A backend's connection is lost: until the cluster has said what has become of it, nothing goes on.
    pub(super) fn replica_gone(&mut self, node: NodeId) {
        if let Some(replicas) = &mut self.replicas {
            replicas.missing = replicas.missing.with(node);
        }
    }

    /// The main backend's connection is lost while a commit may have happened elsewhere: it cannot stay one of them.
    pub(super) fn main_lost_in_commit(&mut self, node: NodeId) {
        if self.must_finish() {
            self.report(Report::Left(node));
        }
    }

    /// Sets the time until which the cluster must have said who counts.
    pub(super) fn watch_missing(&mut self, now: Instant) {
        if let Some(replicas) = &mut self.replicas {
            replicas.patience = match replicas.patience {
                _ if replicas.missing.is_empty() => None,
                None => Some(now.after(PATIENCE)),
                some => some,
            };
        }
    }

    /// The cluster counts these backends no more.
    pub(super) fn replicas_down(&mut self, down: impl Fn(NodeId) -> bool, now: Instant) {
        self.linking_without(&down, now);
        let mut gone = Vec::new();
        for position in self.partner_positions() {
            if let Some(node) = self.ports[position].as_ref().map(|port| port.node).filter(|node| down(*node)) {
                self.ports[position] = None;
                self.events.push_back(SessionEvent::Release { node });
                self.partner_gone(position);
                gone.push(position);
            }
        }
        let Some(replicas) = &mut self.replicas else { return };
        let still = replicas.missing.iter().filter(|node| !down(*node));
        replicas.missing = still.collect();
        if let Some(round) = &mut replicas.round {
            let ports = &self.ports;
            round.tallies.retain(|(position, _)| ports[*position].is_some());
        }
        if self.turn != MAIN && self.ports[self.turn].is_none() {
            self.turn_over = true;
        }
        let main = self.ports[MAIN].as_ref().map(|port| port.node).filter(|node| down(*node));
        if let Some(node) = main {
            let fault = Fault::new(Culprit::Backend, b"57P01", format!("the main backend {node} was detached"))
                .detail("What the transaction had done is rolled back, unless its COMMIT was under way.")
                .hint("Connect again: another backend serves as the main one.");
            self.drop_round();
            self.end(Some(fault));
        }
    }

    /// The cluster still counts a backend that this session has lost: the session cannot go on.
    pub(super) fn patience_over(&mut self) {
        let Some(replicas) = &mut self.replicas else { return };
        replicas.patience = None;
        let missing = replicas.missing;
        if self.must_finish() {
            missing.iter().for_each(|node| self.report(Report::Left(node)));
            return;
        }
        let nodes: Vec<String> = missing.iter().map(|node| format!("{node}")).collect();
        let message = format!("the connection to backend {} was lost", nodes.join(", "));
        let fault = Fault::new(Culprit::Backend, b"08006", message)
            .detail("The backend itself is well. What the transaction had done is rolled back on all backends.")
            .hint("Connect again.");
        self.end(Some(fault));
    }
}

/// How much of a message must be there before it is looked at for a vote, in bytes: what is held back is held as a whole.
pub(super) const fn needed_for_vote(header: Header) -> usize {
    match header.tag {
        backend::COMMAND_COMPLETE
        | backend::EMPTY_QUERY_RESPONSE
        | backend::PORTAL_SUSPENDED
        | backend::COPY_IN_RESPONSE
        | backend::READY_FOR_QUERY => header.total,
        backend::FUNCTION_CALL_RESPONSE | backend::ERROR_RESPONSE if header.total <= LOGIN_ERROR_BYTES => header.total,
        backend::ERROR_RESPONSE => ERROR_PREFIX_BYTES,
        _ => HEADER_BYTES,
    }
}

fn ends_ready(held: &[u8]) -> bool {
    held.len() > HEADER_BYTES && held[held.len() - HEADER_BYTES - 1] == backend::READY_FOR_QUERY
}

fn mismatch_fault(mismatch: &Mismatch) -> Fault {
    Fault::new(Culprit::Backend, b"XX001", mismatch.message()).hint("check data consistency among db nodes")
}

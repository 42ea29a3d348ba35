//! Where pgconvoy replicates: one request, sent to every backend of the session, and their answers made one.
//!
//! A [`Round`] is what is sent before answers are compared: a Query, or the messages of the extended protocol up to the
//! statement that is executed. Some of the backends are asked first, and what the others are to get waits until those
//! have answered: so a lock is taken on the main backend before any other, and two sessions that want the same one meet
//! there, where PostgreSQL sees it. A commit goes the other way round. What tells the client of success waits for the vote.
//!
//! Nothing is asked of fewer backends than all that the cluster counts: while a connection is lost and the cluster has not
//! said what has become of its backend, nothing is sent and nothing is concluded.
//!
//! What is sent and in which order is here; `ballot` has what follows from the answers, `losses` what from lost connections.

mod ballot;
mod losses;

use super::consult::{self, Consultation};
use super::determinism::Accord;
use super::port::{Ask, Target};
use super::statements::Summary;
use super::{MAIN, Session};
use crate::fault::Fault;
use crate::limits::{ERROR_PREFIX_BYTES, LOGIN_ERROR_BYTES, ROUND_STATEMENT_BYTES, WRITE_QUEUE_BYTES};
use crate::node::NodeSet;
use crate::sql::{self, Hazards, Route, Verb};
use crate::time::Instant;
use crate::vote::Tally;
use crate::wire::build;
use crate::wire::tag::{backend, frontend};
use crate::wire::{ErrorHead, HEADER_BYTES, Header, TransactionStatus};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

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
    /// Statements that take a value of a sequence for each row lock it (`insert_lock`).
    pub insert_lock: bool,
    /// Writes that the backends would evaluate differently, and that cannot be made alike, are run as they are
    /// (`refuse_unlike_writes` is off).
    pub lets_through: bool,
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
    /// A question of pgconvoy's own that is under way, and what came of the last one.
    pub(super) consultation: Option<Box<Consultation>>,
    pub(super) answer: Option<Box<consult::Answer>>,
    /// How writes are made alike.
    pub(super) accord: Accord,
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
    /// That block has begun everywhere before the round.
    begun: bool,
    /// It is the end of such a block.
    unwraps: bool,
    /// Something has been executed: only the end of the batch may join it.
    executes: bool,
    /// It may ask for COPY data: what ends its batch comes after them.
    may_copy: bool,
    /// These were told to give a copy up because others refused it: what they say of that is no answer.
    given_up: Target,
    /// These have answered all before their connection was lost: nothing is missed there.
    safe: NodeSet,
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
    /// What is returned is the same wherever the data are.
    fixed: bool,
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
            begun: false,
            unwraps: false,
            executes: false,
            may_copy: false,
            given_up: Target::NONE,
            safe: NodeSet::EMPTY,
            final_: false,
            decided: false,
            deferred: VecDeque::new(),
            deferred_bytes: 0,
            held: Vec::new(),
            tallies: to.positions().map(|position| (position, Tally::default())).collect(),
            error: None,
            fault: None,
            statement: String::new(),
            fixed: true,
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
            Some(round) if round.executes => !idle && !self.skipping && !round.may_copy && !round.wrapped,
            Some(round) => round.to == to && !self.skipping && !(idle && self.wrote),
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

    /// A statement runs in the round that is open. It may commit more than what it does itself.
    pub(super) fn round_executes(&mut self, summary: &Summary, text: &[u8], commits: bool) {
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let dialect = self.dialect();
        let Some(round) = self.round_mut() else { return };
        round.executes = true;
        round.fixed &= summary.fixed;
        round.may_copy = summary.verb == Verb::Other && !summary.commits && !summary.begins;
        let controls = summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
        round.final_ =
            commits || summary.commits || (summary.writes && idle && (controls || sql::stands_alone(text, dialect)));
        let end = text.len().min(ROUND_STATEMENT_BYTES);
        round.statement = String::from_utf8_lossy(&text[..end]).into_owned();
    }

    /// Puts a transaction block round the Query that follows, if the client has not begun one: what has succeeded on one
    /// backend can be taken back until all have succeeded (B8).
    #[must_use]
    pub(super) fn wrap(&mut self, summary: &Summary, text: Option<&[u8]>) -> Option<(Target, Bytes)> {
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let dialect = self.dialect();
        let controls = text.is_some() && summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
        let settings = summary.route == Route::Both || summary.begins || summary.commits;
        let alone = controls || settings || text.is_some_and(|text| sql::stands_alone(text, dialect));
        let batch = self.ports.iter().flatten().any(|port| port.unsynced);
        let begun = self.take_own_block();
        let round = self.round_mut()?;
        if begun {
            (round.wrapped, round.begun) = (true, true);
            return None;
        }
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
        let of_client = !matches!(
            asked,
            Some(Ask::Wrap | Ask::Abort | Ask::Fail | Ask::Prepare | Ask::Probe | Ask::Question | Ask::Consult)
        );
        if !of_client || round.decided || round.given_up.has(position) {
            return;
        }
        let is_error = header.tag == backend::ERROR_RESPONSE;
        if is_error && ErrorHead::parse(&front[HEADER_BYTES..]).is_fatal() {
            // It is the last word of a connection, not an answer.
            return;
        }
        // Of the end of pgconvoy's own block, the client sees no backend's answer.
        if is_error && (position != MAIN || round.unwraps) && whole && round.error.is_none() {
            round.error = Some(Bytes::copy_from_slice(front));
        }
        let Some(tally) = round.tally(position) else { return };
        if header.tag == backend::DATA_ROW {
            if compare {
                tally.note_row(&front[HEADER_BYTES.min(front.len())..], whole);
            } else {
                tally.note_any_row();
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
        let aside = [backend::NOTICE_RESPONSE, backend::NOTIFICATION_RESPONSE, backend::PARAMETER_STATUS];
        if aside.contains(&header.tag) {
            return false;
        }
        let concludes = match header.tag {
            backend::COMMAND_COMPLETE
            | backend::EMPTY_QUERY_RESPONSE
            | backend::PORTAL_SUSPENDED
            | backend::FUNCTION_CALL_RESPONSE
            | backend::COPY_IN_RESPONSE
            | backend::READY_FOR_QUERY => front.len() >= header.total,
            // The failure of a commit is not the last word on it; nor is that of a copy, while others may begin one.
            backend::ERROR_RESPONSE => {
                let copies = round.held.first() == Some(&backend::COPY_IN_RESPONSE);
                (round.final_ || round.unwraps || copies) && front.len() >= header.total
            }
            _ => false,
        };
        let last_word = matches!(header.tag, backend::READY_FOR_QUERY | backend::ERROR_RESPONSE);
        let waits_on = last_word && concludes;
        if !waits_on && !round.held.is_empty() {
            let held = core::mem::take(&mut round.held);
            if !self.client.gone {
                self.client.queue.push(held.into());
            }
        }
        if concludes && let Some(round) = self.round_mut() {
            // The end of a block of pgconvoy's own is told in its place.
            if !(header.tag == backend::READY_FOR_QUERY && round.wrapped) {
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
        let Some(round) = self.round() else { return false };
        let counted = self.replicas.iter().flat_map(|replicas| replicas.missing.iter());
        let missing = counted.into_iter().any(|node| !round.safe.contains(node));
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
                        self.give_up_copy();
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
            // The block that was put round it is open there alone, unless it was needed before.
            if !round.begun {
                round.to = round.first;
            }
            return self.unwrap(false);
        }
        self.abort_everywhere(later);
    }

    /// Some read COPY data, and others have refused to. Whoever does what the main one did not will hear of that in its
    /// own time, or now.
    fn give_up_copy(&mut self) {
        let mut fail = Vec::new();
        build::message(&mut fail, frontend::COPY_FAIL, |out| build::cstr(out, b"another backend has refused it"));
        let fail = Bytes::from(fail);
        let mut copying = Target::NONE;
        for (position, port) in self.ports.iter_mut().enumerate() {
            if let Some(port) = port.as_mut().filter(|port| port.copy_in) {
                port.copy_in = false;
                port.queue.push(fail.clone());
                copying = copying.with(Target::only(position));
            }
        }
        if let Some(round) = self.round_mut().filter(|_| copying.has(MAIN)) {
            round.given_up = copying;
        }
    }

    fn start_copying(&mut self) {
        let Some(round) = self.round_mut() else { return };
        round.stage = Stage::Copying;
        let held = core::mem::take(&mut round.held);
        self.tell(&held);
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

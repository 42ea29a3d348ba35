//! What all workers share: the gate, the cancel keys, the right to open links, counters. None of it is touched per
//! message.

use super::mismatches::Mismatches;
use super::settings::Settings;
use bytes::Bytes;
use pgconvoy_core::fault::Fault;
use pgconvoy_core::gate::{Entry, Gate};
use pgconvoy_core::link::Login;
use pgconvoy_core::mutations::Mutations;
use pgconvoy_core::node::NodeId;
use pgconvoy_core::pool::Limit;
use pgconvoy_core::session::Activity;
use pgconvoy_core::sql::Verb;
use pgconvoy_core::time::Instant;
use pgconvoy_core::wire::Gravity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot};

/// Users without a password that the log names.
const NAMED_USERS: usize = 256;

/// In the place of an epoch: nobody is left to be told of one.
const GONE: u64 = u64::MAX;

/// A session, unique in the life of the process.
pub type SessionId = u64;

/// A message to a worker from another thread.
pub(super) enum WorkerMail<P> {
    /// A client that another worker accepted.
    Client(P, crate::env::Origin),
    /// A place has become free for a session that waited.
    Slot(SessionId, Result<(), Fault>),
    /// Cancel what runs in a session; the sender is dropped when that is done.
    Cancel(SessionId, oneshot::Sender<()>),
    /// Another worker starves for a link of this node.
    Starving(NodeId),
    /// The right to open a link of this node has become free.
    TokenFree(NodeId),
    /// A database is claimed: links to it are not kept for a while.
    Claim(Box<[u8]>),
    /// A login at this node is kept out by a limit of connections: an idle link in its way is closed. The answer is
    /// whether there was one.
    MakeRoom(NodeId, Arc<Login>, Limit, oneshot::Sender<bool>),
    /// Time to look for idle links whose connection has ended.
    Sweep,
    /// The sessions of all workers have been told of the cluster's view of this epoch.
    ViewKnown(u64),
    /// The configuration has been read again.
    Settings {
        /// Fewer links may be open than before.
        fewer_links: bool,
    },
    /// The idle links are listed, for `SHOW pool_pools`.
    ListIdle(oneshot::Sender<Vec<LinkInfo>>),
    /// What each session is doing, for `SHOW pool_processes`.
    ListActivities(oneshot::Sender<Vec<(SessionId, Activity)>>),
    /// The last decisions are listed, for `SHOW pool_decisions`.
    ListDecisions(oneshot::Sender<Vec<DecisionInfo>>),
}

/// A link, for `SHOW pool_pools`.
#[derive(Clone, Debug)]
pub struct LinkInfo {
    /// The backend.
    pub node: NodeId,
    /// As whom it is logged in.
    pub login: Arc<Login>,
    /// Process id of the server process.
    pub process_id: i32,
    /// Sessions it has served.
    pub uses: u32,
    /// The session that uses it; `None` while idle.
    pub session: Option<SessionId>,
}

/// A decision, for `SHOW pool_decisions`.
#[derive(Clone, Debug)]
pub struct DecisionInfo {
    /// When it was made.
    pub at: Instant,
    /// The role whose statement it is about.
    pub user: Vec<u8>,
    /// The row, the statement last.
    pub row: Vec<String>,
}

/// A session, for `SHOW pool_processes`.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// When the client connected, on the wall clock.
    pub since: SystemTime,
    /// As whom the client is logged in; `None` before that.
    pub login: Option<Arc<Login>>,
    /// Where the client comes from.
    pub origin: crate::env::Origin,
    /// The links in use.
    pub links: Vec<LinkInfo>,
    /// The backend that reads go to.
    pub balance_node: Option<NodeId>,
}

/// What one worker has counted of one node.
#[derive(Default)]
struct NodeCounts {
    sent: [AtomicU64; Verb::COUNT],
    errors: [AtomicU64; Gravity::COUNT],
}

/// One more, by the only thread that writes it.
fn count(number: &AtomicU64) {
    number.store(number.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Shared by all workers.
pub(super) struct Shared<P> {
    /// As they were read last.
    settings: Mutex<Arc<Settings>>,
    gate: Mutex<Gate>,
    gate_waiters: Mutex<BTreeMap<SessionId, usize>>,
    cancel_keys: Mutex<BTreeMap<(i32, Bytes), (usize, SessionId)>>,
    /// Links of each node that may still be opened; below zero while more are open than a reload has left.
    tokens: Vec<AtomicI64>,
    /// What each worker has counted, node by node. It writes its own only.
    counts: Vec<Vec<NodeCounts>>,
    reshapings: AtomicU64,
    /// The epoch of the view that each worker has told its sessions of.
    views_told: Vec<AtomicU64>,
    /// Which tables were written when.
    pub mutations: Arc<Mutations>,
    /// Sessions of each worker.
    pub loads: Vec<AtomicU32>,
    pub workers: Vec<mpsc::UnboundedSender<WorkerMail<P>>>,
    sessions: Mutex<BTreeMap<SessionId, SessionInfo>>,
    next_session: AtomicU64,
    changes: Mutex<BTreeMap<NodeId, SystemTime>>,
    /// Users of whom the log says that they have no password, since the configuration was read last.
    without_password: Mutex<BTreeSet<Vec<u8>>>,
    mismatches: Mutex<Mismatches>,
    /// When the server started, on the wall clock.
    pub started: SystemTime,
}

/// A panic elsewhere does not make these tables wrong: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P> Shared<P> {
    pub(super) fn new(settings: Settings, workers: Vec<mpsc::UnboundedSender<WorkerMail<P>>>) -> Arc<Self> {
        let nodes = settings.backends.iter().map(|backend| usize::from(backend.id.0) + 1).max().unwrap_or(0);
        Arc::new(Self {
            gate: Mutex::new(Gate::new(settings.clients, settings.reserved, settings.queue_timeout)),
            gate_waiters: Mutex::default(),
            cancel_keys: Mutex::default(),
            tokens: (0..nodes).map(|_| AtomicI64::new(settings.links_per_node.into())).collect(),
            reshapings: AtomicU64::new(0),
            views_told: workers.iter().map(|_| AtomicU64::new(0)).collect(),
            mutations: Arc::new(Mutations::new(settings.written_tables)),
            counts: workers.iter().map(|_| (0..nodes).map(|_| NodeCounts::default()).collect()).collect(),
            loads: workers.iter().map(|_| AtomicU32::new(0)).collect(),
            workers,
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            changes: Mutex::default(),
            without_password: Mutex::default(),
            mismatches: Mutex::default(),
            started: SystemTime::now(),
            settings: Mutex::new(Arc::new(settings)),
        })
    }

    pub(super) fn next_session(&self) -> SessionId {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// A session wants a place. `None` when it has to wait: the worker will be told.
    pub(super) fn arrive(&self, session: SessionId, worker: usize, now: Instant) -> Option<Result<(), Fault>> {
        let mut waiters = lock(&self.gate_waiters);
        match lock(&self.gate).arrive(session, now) {
            Entry::In => Some(Ok(())),
            Entry::Refused(fault) => Some(Err(fault)),
            Entry::Wait => {
                waiters.insert(session, worker);
                None
            }
        }
    }

    /// A session is over: the place it had, or waited for, is free.
    pub(super) fn leave(&self, session: SessionId, had_slot: bool) {
        if had_slot {
            return self.leave_slot();
        }
        let mut waiters = lock(&self.gate_waiters);
        if waiters.remove(&session).is_some() {
            lock(&self.gate).withdraw(session);
        }
    }

    /// A place is free.
    pub(super) fn leave_slot(&self) {
        let mut waiters = lock(&self.gate_waiters);
        let mut gate = lock(&self.gate);
        if let Some(next) = gate.leave() {
            self.let_in(&mut waiters, next);
        }
    }

    /// Turns away those who have waited for too long. Returns when to come again.
    pub(super) fn expire_waiters(&self, now: Instant) -> Option<Instant> {
        let mut waiters = lock(&self.gate_waiters);
        let mut gate = lock(&self.gate);
        while let Some((session, fault)) = gate.expire(now) {
            if let Some(worker) = waiters.remove(&session) {
                self.tell(worker, WorkerMail::Slot(session, Err(fault)));
            }
        }
        gate.poll_timeout()
    }

    /// Takes the right to open one more link of a node.
    pub(super) fn take_token(&self, node: NodeId) -> bool {
        let Some(tokens) = self.tokens.get(usize::from(node.0)) else { return false };
        tokens.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free > 0).then(|| free - 1)).is_ok()
    }

    /// Gives back the right to open one link of a node. Workers that wait for it are told by whoever starves.
    pub(super) fn return_token(&self, node: NodeId) {
        if let Some(tokens) = self.tokens.get(usize::from(node.0)) {
            tokens.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Something was created, altered or dropped in some database.
    pub(super) fn reshaped(&self) {
        self.reshapings.fetch_add(1, Ordering::Release);
    }

    /// How often that has happened.
    pub(super) fn reshapings(&self) -> u64 {
        self.reshapings.load(Ordering::Acquire)
    }

    /// A statement goes to a node.
    pub(super) fn count_sent(&self, worker: usize, node: NodeId, verb: Verb) {
        if let Some(counts) = self.counts[worker].get(usize::from(node.0)) {
            count(&counts.sent[verb as usize]);
        }
    }

    /// A node has answered with an error.
    pub(super) fn count_error(&self, worker: usize, node: NodeId, gravity: Gravity) {
        if let Some(counts) = self.counts[worker].get(usize::from(node.0)) {
            count(&counts.errors[gravity as usize]);
        }
    }

    /// Statements of a kind that went to a node.
    pub(super) fn sent(&self, node: NodeId, verb: Verb) -> u64 {
        let of = |worker: &Vec<NodeCounts>| {
            Some(worker.get(usize::from(node.0))?.sent[verb as usize].load(Ordering::Relaxed))
        };
        self.counts.iter().filter_map(of).sum()
    }

    /// Errors of a gravity that a node has answered with.
    pub(super) fn errors(&self, node: NodeId, gravity: Gravity) -> u64 {
        let of = |worker: &Vec<NodeCounts>| {
            Some(worker.get(usize::from(node.0))?.errors[gravity as usize].load(Ordering::Relaxed))
        };
        self.counts.iter().filter_map(of).sum()
    }

    pub(super) fn register_key(&self, key: (i32, Bytes), worker: usize, session: SessionId) {
        lock(&self.cancel_keys).insert(key, (worker, session));
    }

    pub(super) fn forget_key(&self, key: &(i32, Bytes)) {
        lock(&self.cancel_keys).remove(key);
    }

    /// Sends a cancel request to the session that owns the key. The receiver ends when it is done; `None` for a key
    /// that nobody owns.
    pub(super) fn cancel(&self, process_id: i32, secret: Vec<u8>) -> Option<oneshot::Receiver<()>> {
        let (worker, session) = *lock(&self.cancel_keys).get(&(process_id, Bytes::from(secret)))?;
        let (done, wait) = oneshot::channel();
        self.tell(worker, WorkerMail::Cancel(session, done));
        Some(wait)
    }

    /// Sends a message to a worker. One that has ended needs none.
    pub(super) fn tell(&self, worker: usize, mail: WorkerMail<P>) {
        let _ended = self.workers[worker].send(mail);
    }

    /// Sends a message to every worker.
    pub(super) fn tell_all(&self, mail: impl Fn() -> WorkerMail<P>) {
        (0..self.workers.len()).for_each(|worker| self.tell(worker, mail()));
    }

    /// A worker has told its sessions of the view of `epoch`. What all workers have told theirs is told by the last of them.
    pub(super) fn view_told(&self, worker: usize, epoch: u64) {
        self.views_told[worker].store(epoch, Ordering::SeqCst);
        let known = self.views_told.iter().map(|told| told.load(Ordering::SeqCst)).min().unwrap_or(epoch);
        if known >= epoch || epoch == GONE {
            self.tell_all(|| WorkerMail::ViewKnown(known));
        }
    }

    /// A worker has no sessions any more, and gets none.
    pub(super) fn worker_gone(&self, worker: usize) {
        self.view_told(worker, GONE);
    }

    /// Sends a message to every worker but one.
    pub(super) fn tell_others(&self, but: usize, mail: impl Fn() -> WorkerMail<P>) {
        for worker in (0..self.workers.len()).filter(|worker| *worker != but) {
            self.tell(worker, mail());
        }
    }

    pub(super) fn note_change(&self, node: NodeId) {
        lock(&self.changes).insert(node, SystemTime::now());
    }

    /// The settings for what begins now: a session, a link, a check.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    /// The configuration has been read again. Workers are told.
    pub(super) fn set_settings(&self, settings: Settings) {
        let settings = Arc::new(settings);
        let before = std::mem::replace(&mut *lock(&self.settings), Arc::clone(&settings));
        lock(&self.without_password).clear();
        let more = i64::from(settings.links_per_node) - i64::from(before.links_per_node);
        for tokens in &self.tokens {
            tokens.fetch_add(more, Ordering::AcqRel);
        }
        self.tell_all(|| WorkerMail::Settings { fewer_links: more < 0 });
        let mut waiters = lock(&self.gate_waiters);
        let mut gate = lock(&self.gate);
        gate.resize(settings.clients, settings.reserved, settings.queue_timeout);
        while let Some(next) = gate.admit() {
            self.let_in(&mut waiters, next);
        }
    }

    /// A session that waited has a place.
    fn let_in(&self, waiters: &mut BTreeMap<SessionId, usize>, session: SessionId) {
        if let Some(worker) = waiters.remove(&session) {
            self.tell(worker, WorkerMail::Slot(session, Ok(())));
        }
    }

    /// Whether the log has not said yet that this user has no password. Names are whatever clients make up: of so many
    /// at most something is said.
    pub(super) fn first_without_password(&self, user: &[u8]) -> bool {
        let mut known = lock(&self.without_password);
        known.len() < NAMED_USERS && known.insert(user.to_vec())
    }

    /// The last votes that were not unanimous.
    pub(super) fn mismatches(&self) -> MutexGuard<'_, Mismatches> {
        lock(&self.mismatches)
    }

    /// When each node's state changed last, on the wall clock.
    pub(super) fn status_changes(&self) -> BTreeMap<NodeId, SystemTime> {
        lock(&self.changes).clone()
    }

    pub(super) fn with_sessions<R>(&self, f: impl FnOnce(&mut BTreeMap<SessionId, SessionInfo>) -> R) -> R {
        f(&mut lock(&self.sessions))
    }
}

//! One client's session: its protocol state, its requests and their routing, the replies it is owed.
//!
//! Read in this order: [`Session`] (the boundary), `login` (start-up to the first ReadyForQuery), `request` (what the
//! client sends), `batch` (what of it is one transaction), `route` (where it goes), `reply` (what backends answer),
//! `repeat` (what a standby refuses), `settle` (what follows from both), `round` (what goes to every backend, where
//! pgconvoy replicates), `determinism` (what is made alike before it goes there), `consult` (the questions that takes),
//! `objects` (numbers of large objects), `port`, `statements` and `shape` (the bookkeeping), `local` (answers of pgconvoy's own),
//! `journal` (what is reported),
//! `decisions` (what is kept of routing).
//!
//! A session knows a [`View`] of the cluster; it never sees the cluster, the pool or a socket.

mod adaptive;
mod batch;
mod consult;
pub mod decisions;
mod determinism;
pub mod explain;
mod journal;
pub mod local;
mod login;
mod lookup;
mod objects;
mod port;
mod repeat;
mod reply;
mod request;
mod round;
mod route;
mod settle;
mod shape;
mod statements;
#[cfg(test)]
mod tests;

use crate::auth::passwd::PasswordFile;
use crate::auth::scram::KeyCache;
use crate::catalog::Catalog;
use crate::fault::Fault;
use crate::limits::{PENDING_REQUESTS, WRITE_QUEUE_BYTES};
use crate::link::{Link, Login, Refused};
use crate::mutations::Mutations;
use crate::node::{Health, NodeId, NodeSet, View};
use crate::policy::Policy;
use crate::sql::{PoolReport, Verb};
use crate::time::{Duration, Instant};
use crate::vote::Mismatch;
use crate::wire::build::{self, Severity};
use crate::wire::{Gravity, TransactionStatus, WriteQueue};
use adaptive::Written;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::cell::RefCell;
use decisions::Decisions;
use local::Outcome;
use login::Phase;
use lookup::Inquiry;
use port::{Port, Rest, Skipped, Target};
use repeat::Attempt;
use round::Replicas;
pub use round::Replication;
use statements::{Naming, Statements};

/// Position of the main port. The others are partners, which reads may go to.
const MAIN: usize = 0;

/// What the configuration fixes for a session at its start. By default nobody has a password, nothing is limited, spread
/// or reported, and the salts that clients are shown can be foreseen.
#[derive(Clone, Default)]
pub struct Setup {
    /// The passwords of `pool_passwd`.
    pub passwords: Arc<PasswordFile>,
    /// Longest time from the connection to the end of the login (`authentication_timeout`); `None` for no limit.
    pub authentication_timeout: Option<Duration>,
    /// Longest idle time of a client (`client_idle_limit`); `None` for no limit.
    pub client_idle_limit: Option<Duration>,
    /// What the operator wants of routing.
    pub policy: Arc<Policy>,
    /// Whether reads are spread (`load_balance_mode`).
    pub load_balance: bool,
    /// What the operator wants of replication, where pgconvoy replicates.
    pub replication: Replication,
    /// Whether unlogged tables are not read on standbys (`check_unlogged_table`).
    pub check_unlogged: bool,
    /// Whether the catalogue is asked at the load-balance node (`relcache_query_target`).
    pub ask_balance_node: bool,
    /// Whether a comment in front of a statement leaves it balanced (`allow_sql_comments`).
    pub allow_sql_comments: bool,
    /// Whether statements are reported, node by node (`log_per_node_statement`).
    pub report_per_node: bool,
    /// Whether the client gets the same as notices (`notice_per_node_statement`).
    pub notice_per_node: bool,
    /// Whether statements are reported once (`log_statement`).
    pub report_statements: bool,
    /// Whether client messages are reported (`log_client_messages`).
    pub report_messages: bool,
    /// Whether the client gets what is reported, too (`client_min_messages` at `log` or below).
    pub tell_reports: bool,
    /// Whether the client gets no notices (`client_min_messages` above `notice`).
    pub mute_notices: bool,
    /// From which the salts that clients are shown are derived, the same for a user for the life of the process.
    pub salt_seed: [u8; 32],
}

/// What the sessions of one worker have in common.
pub struct Commons {
    /// The keys of the passwords that backends have asked for.
    pub keys: RefCell<KeyCache>,
    /// What is known of the catalogues.
    pub catalog: RefCell<Catalog>,
    /// Where the last statements went.
    pub decisions: RefCell<Decisions>,
    /// What was written when, by the sessions of all workers.
    pub mutations: Arc<Mutations>,
}

impl Commons {
    /// Nothing is known yet, and there are no other workers.
    pub fn new(catalog: Catalog) -> Rc<Self> {
        Self::sharing(catalog, Arc::new(Mutations::new(1)))
    }

    /// Nothing is known yet, but for what the sessions of other workers write.
    pub fn sharing(catalog: Catalog, mutations: Arc<Mutations>) -> Rc<Self> {
        let (keys, decisions) = (RefCell::new(KeyCache::new()), RefCell::default());
        Rc::new(Self { keys, catalog: RefCell::new(catalog), decisions, mutations })
    }
}

/// Random bytes of one session, drawn at the edge: from the system in production, from the seed in simulation.
#[derive(Clone)]
pub struct Secrets {
    /// The secret of the session's cancel key.
    pub cancel_key: [u8; crate::limits::CANCEL_KEY_BYTES],
    /// A nonce for SCRAM: printable ASCII without commas.
    pub nonce: String,
}

/// With whom a session talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Its client.
    Client,
    /// A backend it is attached to.
    Node(NodeId),
}

/// What a session wants of its surroundings. Poll until `None` after every `handle_*`.
#[derive(Debug)]
pub enum SessionEvent {
    /// A place among the clients served at a time (`num_init_children`); answer with [`Session::handle_slot`].
    WantSlot,
    /// The client has to prove its password: until it has done so, the place is others', and so are the links, which
    /// nobody has used: take each with [`Session::take_link`]. [`SessionEvent::WantSlot`] follows a proof.
    StandAside,
    /// A link to `node`; answer with [`Session::handle_grant`].
    Acquire {
        /// The backend.
        node: NodeId,
        /// As whom.
        login: Arc<Login>,
    },
    /// The session does not need `node` any more: take its link with [`Session::take_link`]. Where there is none, the
    /// connection is closed.
    Release {
        /// The backend.
        node: NodeId,
    },
    /// Somebody else's request to cancel, for the owner of the key.
    CancelOther {
        /// The process id that the owner was given.
        process_id: i32,
        /// The secret that the owner was given.
        secret: Vec<u8>,
    },
    /// Send a cancel request to `node` and call [`Session::handle_cancel_done`] when that connection is closed.
    Cancel {
        /// The backend.
        node: NodeId,
        /// The process id of its server process.
        process_id: i32,
        /// Its own cancel key.
        key: Bytes,
    },
    /// The client is logged in and owns this cancel key.
    LoggedIn {
        /// The process id of BackendKeyData.
        process_id: i32,
        /// The secret of BackendKeyData.
        secret: Bytes,
    },
    /// The client asks for one of the `SHOW pool_*` tables; answer with [`Session::handle_show`].
    Show(PoolReport),
    /// The client gives a command about its session's parameters; answer with [`Session::handle_command`].
    Command {
        /// What stands behind the word `PGPOOL`.
        text: Box<[u8]>,
        /// Only the shape of the answer is wanted: nothing is to change.
        describe: bool,
    },
    /// Something that the rest of the process learns from this session.
    Report(Report),
    /// The session is over. What is queued for the client is written first; then its connection is closed.
    Close(Option<Box<Fault>>),
}

/// What a session has found out or done.
#[derive(Debug)]
pub enum Report {
    /// A backend told its role at login, or that it changed.
    Role {
        /// The backend.
        node: NodeId,
        /// Whether it is a standby.
        standby: bool,
    },
    /// A backend refused the login that the client asked for.
    LoginRefused {
        /// The backend.
        node: NodeId,
        /// SQLSTATE of its refusal.
        sqlstate: [u8; 5],
    },
    /// A backend could not be reached, or its connection broke.
    Unreachable {
        /// The backend.
        node: NodeId,
    },
    /// A backend asked for the client's password, and `pool_passwd` has none for this user.
    NoPassword {
        /// The backend.
        node: NodeId,
    },
    /// Backends did not answer alike. Those of the set are to be out for everybody; the session waits until its view says
    /// so.
    Mismatch(Box<Mismatch>, NodeSet),
    /// A backend has missed what others have done: it is to be out for everybody.
    Left(NodeId),
    /// A transaction is over that may have changed the catalogue: what other workers know of it is not true any more.
    Reshaped,
    /// A statement was sent to a backend.
    Sent {
        /// The backend.
        node: NodeId,
        /// What kind of statement.
        verb: Verb,
    },
    /// A backend answered a request of the client with an error.
    Erred {
        /// The backend.
        node: NodeId,
        /// How grave it is.
        gravity: Gravity,
    },
    /// A statement was sent that PostgreSQL refuses while others are connected to a database: see [`Pool::claim`].
    ///
    /// [`Pool::claim`]: crate::pool::Pool::claim
    Claim {
        /// The database.
        database: Box<[u8]>,
    },
    /// A statement or message went to a backend (`log_per_node_statement`).
    PerNode {
        /// The backend.
        node: NodeId,
        /// Process id of its server process.
        process_id: i32,
        /// The statement as pgpool words it.
        text: String,
    },
    /// A statement came from the client (`log_statement`).
    Statement(String),
    /// A message came from the client (`log_client_messages`): its name and its detail line.
    Message(&'static str, String),
}

/// Every deadline has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The login must be complete (`authentication_timeout`).
    Authentication,
    /// The load-balance node is not waited for any longer; the session starts without it.
    BalanceWait,
    /// The client has been idle for too long (`client_idle_limit`).
    ClientIdle,
    /// A connection to a backend is lost that the cluster still counts.
    ReplicaLost,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed it in order.
    End,
    /// It broke; the system's words.
    Broken(String),
}

/// What a session is doing (`status` of `SHOW pool_processes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// The client is not logged in yet.
    #[default]
    Connecting,
    /// Something is being answered.
    Executing,
    /// Nothing is, within a transaction.
    InTransaction,
    /// Nothing is.
    Idle,
}

/// Why a session was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// After the current transaction (smart).
    WhenIdle,
    /// At once, with a word of farewell (fast).
    Now,
}

/// The client's side of a session.
#[derive(Debug, Default)]
struct ClientSide {
    queue: WriteQueue,
    /// Input that does not make up a message yet, or waits for its turn.
    held: BytesMut,
    /// The message from the client that is passing by, and where it goes.
    rest: Rest,
    rest_to: Target,
    /// Input waits until replies have come.
    blocked: bool,
    /// The client closed its side.
    gone: bool,
}

/// A client's session. After any `handle_*`, drain every `poll_*` and the write queues before the next `handle_*`.
pub struct Session {
    setup: Arc<Setup>,
    view: Arc<View>,
    secrets: Secrets,
    /// The number it was given.
    id: u64,
    /// Draws the load-balance node.
    lot: u64,
    commons: Rc<Commons>,
    inquiry: Inquiry,
    phase: Phase,
    client: ClientSide,
    login: Option<Arc<Login>>,
    /// The client has proved its password.
    proven: bool,
    /// The main port and its partners, which keep their positions as long as the session lives. Boxed: most sessions
    /// have one, and an idle session should be small.
    ports: Vec<Option<Box<Port>>>,
    /// Position of the port that reads go to; the main one, where it is the primary's turn.
    turn: usize,
    /// Something has run since that was drawn, or what it was drawn for has changed.
    turn_over: bool,
    /// Where pgconvoy replicates: every backend is attached, and those beside the main one do what it does.
    replicas: Option<Box<Replicas>>,
    statements: Statements,
    events: VecDeque<SessionEvent>,
    /// The batch of extended messages failed: messages are skipped up to Sync.
    skipping: bool,
    /// It failed by a command of pgconvoy's own: a block that is not part of it does not fail with it.
    own_error: bool,
    /// What was under way of a batch is lost with a standby: its next message is answered with this.
    broken_batch: Option<Box<Fault>>,
    /// The transaction has written: it stays on the main port.
    wrote: bool,
    /// It stays there for what it is, and so do those that are chained to it.
    pinned: bool,
    /// A transaction is ending, and another begins at once.
    chained: bool,
    /// What it has written, where that matters.
    written: Option<Box<Written>>,
    /// The session has written, and so have explicit transactions of it: what that means is the operator's to say.
    has_written: bool,
    /// The load-balance node was too far behind when the transaction began: it serves one as a whole or not at all.
    delayed: bool,
    block_has_written: bool,
    /// The transaction may have changed the catalogue.
    reshaped: bool,
    /// Where the last request went.
    last: Target,
    attempt: Attempt,
    /// A request that changes state is outstanding: whatever is routed by that state waits.
    stateful: bool,
    /// What has been sent of a batch may have changed how strings are read.
    may_read_otherwise: bool,
    /// The batch has changed transaction state on the main port alone: what follows in it belongs there.
    alone: bool,
    /// Messages of the batch were answered by pgconvoy itself, and no Sync has come since.
    local_batch: bool,
    /// A request went to both ports since the last time that nothing was outstanding.
    both_asked: bool,
    /// A batch is complete in which a statement was given to a port: whether that port knows it now is not told yet.
    bringing: bool,
    /// What the outstanding request means for prepared statements.
    afterwards: Option<Rc<Naming>>,
    /// It makes the main port forget all names, and not the other: there they would be in the way.
    forgets_alone: bool,
    /// The client has seen an error since the last request that changes state.
    loud_error: bool,
    /// A reply from a lost standby was replaced by an error: the block must not go on elsewhere.
    lost_reply: bool,
    /// Notices of pgconvoy's own, on their way to the client.
    notices: Vec<u8>,
    /// A COMMIT is outstanding: if its reply is lost, its outcome is unknown.
    committing: bool,
    /// The port in the middle of whose message the client is.
    mid_client: Option<usize>,
    /// Requests to cancel that are on their way to backends.
    cancels: u32,
    /// A `SHOW pool_*` is being answered.
    showing: Option<local::Showing>,
    /// The session is asked to end.
    shutdown: Option<Shutdown>,
    /// Since when the client has had nothing outstanding.
    idle_since: Instant,
}

impl Session {
    /// A session for a client that has just connected. `id` is what others call it; `lot` draws its load-balance node.
    pub fn new(
        setup: Arc<Setup>,
        view: Arc<View>,
        secrets: Secrets,
        id: u64,
        lot: u64,
        commons: Rc<Commons>,
        now: Instant,
    ) -> Self {
        let deadline = setup.authentication_timeout.map_or(Instant::FAR, |limit| now.after(limit));
        Self {
            setup,
            view,
            secrets,
            id,
            lot,
            commons,
            inquiry: Inquiry::default(),
            phase: Phase::new(deadline),
            client: ClientSide::default(),
            login: None,
            proven: false,
            ports: alloc::vec![None],
            turn: MAIN,
            turn_over: false,
            replicas: None,
            statements: Statements::default(),
            events: VecDeque::new(),
            skipping: false,
            own_error: false,
            broken_batch: None,
            wrote: false,
            pinned: false,
            chained: false,
            written: None,
            has_written: false,
            delayed: false,
            block_has_written: false,
            reshaped: false,
            last: Target::MAIN,
            attempt: Attempt::default(),
            stateful: false,
            may_read_otherwise: false,
            alone: false,
            afterwards: None,
            forgets_alone: false,
            loud_error: false,
            lost_reply: false,
            local_batch: false,
            both_asked: false,
            bringing: false,
            notices: Vec::new(),
            committing: false,
            mid_client: None,
            cancels: 0,
            showing: None,
            shutdown: None,
            idle_since: now,
        }
    }

    /// Bytes came from a peer that [`Session::wants_read`] names. Consumes all of `input`.
    pub fn handle_read(&mut self, from: Peer, input: &mut BytesMut, now: Instant) {
        match from {
            Peer::Client if self.is_over() => input.clear(),
            Peer::Client => {
                self.idle_since = now;
                self.read_client(input);
            }
            Peer::Node(node) => match self.position(node) {
                Some(position) => {
                    self.idle_since = now;
                    self.read_node(position, input);
                }
                None => input.clear(),
            },
        }
        self.settle(now);
    }

    /// A peer's connection is gone. The caller forgets the socket; a link is dropped with it.
    pub fn handle_closed(&mut self, peer: Peer, why: Closed, now: Instant) {
        match peer {
            Peer::Client => self.client_gone(),
            Peer::Node(node) => {
                if let Some(position) = self.position(node) {
                    self.node_gone(position, &why);
                }
            }
        }
        self.settle(now);
    }

    /// The answer to [`SessionEvent::WantSlot`].
    pub fn handle_slot(&mut self, slot: Result<(), Fault>, now: Instant) {
        self.slot_decided(slot);
        self.settle(now);
    }

    /// The answer to [`SessionEvent::Acquire`]. Gives the link back when it is not wanted any more.
    pub fn handle_grant(&mut self, node: NodeId, grant: Result<Link, Refused>, now: Instant) -> Option<Link> {
        let unwanted = self.link_decided(node, grant, now);
        self.settle(now);
        unwanted
    }

    /// The cluster changed.
    pub fn handle_view(&mut self, view: &Arc<View>, now: Instant) {
        self.view = Arc::clone(view);
        self.note_primary(now);
        let down = |node: NodeId| view.node(node).is_some_and(|known| known.health == Health::Down);
        if self.view.mode.is_replicated() {
            self.replicas_down(down, now);
            return self.settle(now);
        }
        for position in self.partner_positions() {
            if let Some(node) = self.ports[position].as_ref().map(|port| port.node).filter(|node| down(*node)) {
                // A server that hangs closes nothing: whoever waits for it is told, and the connection is dropped.
                self.node_gone(position, &Closed::Broken("It does not answer any more.".into()));
                self.events.push_back(SessionEvent::Release { node });
            }
        }
        self.settle(now);
    }

    /// Every session of the process has been given the view of this epoch, or a newer one: whoever is down in it is asked by
    /// nobody any more.
    pub fn handle_view_known(&mut self, epoch: u64, now: Instant) {
        if epoch >= self.view.epoch {
            self.replicas_out();
            self.settle(now);
        }
    }

    /// A deadline of [`Session::poll_timeout`] has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((deadline, timer)) = self.poll_timeout()
            && deadline <= now
        {
            self.timer_fired(timer, now);
        }
        self.settle(now);
    }

    /// The owner of the session's cancel key asks to cancel what runs now. Returns false when nothing runs.
    pub fn handle_cancel(&mut self, now: Instant) -> bool {
        if self.inquiry.is_open() {
            self.cancel_waiting();
            return false;
        }
        let wanted = self.cancel_running();
        self.settle(now);
        wanted
    }

    /// A connection that carried a cancel request is closed.
    pub fn handle_cancel_done(&mut self, now: Instant) {
        assert!(self.cancels > 0, "a cancel request ended that nobody had sent");
        self.cancels -= 1;
        if self.cancels == 0 {
            self.ports.iter_mut().flatten().for_each(|port| port.cancelled = false);
        }
        self.settle(now);
    }

    /// A cancel request to `node` may still be delivered at some time: its connection serves nobody after this session.
    /// [`Session::handle_cancel_done`] follows.
    pub fn handle_cancel_lost(&mut self, node: NodeId) {
        if let Some(position) = self.position(node)
            && let Some(port) = &mut self.ports[position]
        {
            port.tainted = true;
        }
    }

    /// The rows of a `SHOW pool_*` table.
    pub fn handle_show(&mut self, rows: &[Vec<String>], now: Instant) {
        self.show_rows(rows);
        self.settle(now);
    }

    /// What a command has come to.
    pub fn handle_command(&mut self, outcome: Outcome, now: Instant) {
        self.command_done(&outcome);
        if let Some(setup) = outcome.setup {
            self.statements.forget_judgements();
            self.setup = setup;
        }
        self.settle(now);
    }

    /// pgconvoy shuts down.
    pub fn handle_shutdown(&mut self, how: Shutdown, now: Instant) {
        self.shutdown = Some(how);
        self.settle(now);
    }

    /// Bytes for a peer.
    pub fn writes(&mut self, to: Peer) -> Option<&mut WriteQueue> {
        match to {
            Peer::Client => Some(&mut self.client.queue),
            Peer::Node(node) => {
                let position = self.position(node)?;
                self.ports[position].as_mut().map(|port| &mut port.queue)
            }
        }
    }

    /// Whether more may be read from a peer now: back-pressure and turn-taking.
    pub fn wants_read(&self, from: Peer) -> bool {
        match from {
            Peer::Client => self.wants_client(),
            Peer::Node(node) => self.position(node).is_some_and(|position| {
                let may_speak = self.mid_client.is_none_or(|speaker| speaker == position);
                self.phase.is_serving() && may_speak && self.client.queue.len() < WRITE_QUEUE_BYTES
            }),
        }
    }

    /// What is wanted next.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// The next deadline and its name.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let missing = self.replicas.as_ref().and_then(|replicas| replicas.deadline());
        let deadline = match self.phase.deadline() {
            Some(deadline) => Some(deadline),
            None if missing.is_some() => missing.map(|at| (at, Timer::ReplicaLost)),
            None if self.phase.is_serving() && (self.is_idle() || self.in_copy()) => {
                self.setup.client_idle_limit.map(|limit| (self.idle_since.after(limit), Timer::ClientIdle))
            }
            None => None,
        };
        deadline.filter(|(at, _)| *at < Instant::FAR)
    }

    /// Takes the link to `node` out of the session, after [`SessionEvent::Release`], at its end, or when it stands aside. The flag tells
    /// whether it may serve another session after washing; otherwise its connection must be closed.
    pub fn take_link(&mut self, node: NodeId) -> Option<(Link, bool)> {
        let position = self.position(node)?;
        let mut port = self.ports[position].take()?;
        let reusable = port.is_reusable() && self.client_not_inside(position);
        port.link.parameters.shrink();
        Some((port.link, reusable))
    }

    /// The backends that the session is attached to.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.ports.iter().flatten().map(|port| port.node)
    }

    /// The links that the session is attached to.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.ports.iter().flatten().map(|port| &port.link)
    }

    /// True once [`SessionEvent::Close`] has been emitted.
    pub fn is_over(&self) -> bool {
        self.phase.is_over()
    }

    /// True when the client is logged in and nothing is outstanding.
    pub fn is_idle(&self) -> bool {
        self.showing.is_none() && self.ports.iter().flatten().all(|port| port.owed.is_empty())
    }

    /// What it is doing.
    pub fn activity(&self) -> Activity {
        match self.transaction_status() {
            _ if !self.phase.is_serving() => Activity::Connecting,
            _ if !self.is_idle() => Activity::Executing,
            TransactionStatus::Idle => Activity::Idle,
            _ => Activity::InTransaction,
        }
    }

    /// Where the client stands in a transaction.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.ports[MAIN].as_ref().map_or(TransactionStatus::Idle, |port| port.link.status)
    }

    /// Whom the client logged in as, once it has said so.
    pub fn login(&self) -> Option<&Arc<Login>> {
        self.login.as_ref()
    }

    /// What the session goes by.
    pub fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// The backend that balanced reads go to.
    pub fn balance_node(&self) -> Option<NodeId> {
        self.ports.get(self.turn)?.as_ref().or(self.ports[MAIN].as_ref()).map(|port| port.node)
    }

    /// What must hold between any two calls.
    pub fn invariants(&self) {
        self.client.queue.invariants();
        let owed = self.ports.iter().enumerate().filter_map(|(position, port)| Some((position, port.as_ref()?)));
        self.statements.invariants(owed.filter(|(_, port)| !port.transparent).map(|(position, port)| {
            let mut names = Skipped::default();
            port.owed.iter().for_each(|owed| names.count(*owed));
            (position, names)
        }));
        assert!(self.client.held.len() <= 2 * self.held_bytes(), "client input piled up");
        for port in self.ports.iter().flatten() {
            port.queue.invariants();
            assert!(port.owed.len() <= 2 * PENDING_REQUESTS, "owed replies piled up");
        }
        let inside = self.ports.iter().flatten().filter(|port| port.rest.bytes > 0 && port.rest.relay).count();
        assert!(inside <= 1, "the client is in the middle of two messages");
        assert!(!self.phase.is_proving() || self.nodes().next().is_none(), "a client that may be nobody holds a link");
        assert!(!self.is_over() || self.showing.is_none(), "a session that is over still shows a table");
    }

    /// The ports beside the main one.
    fn partners(&self) -> impl Iterator<Item = &Port> {
        self.ports[MAIN + 1..].iter().flatten().map(|port| &**port)
    }

    fn partner_positions(&self) -> core::ops::Range<usize> {
        MAIN + 1..self.ports.len()
    }

    fn has_partners(&self) -> bool {
        self.partners().next().is_some()
    }

    fn position(&self, node: NodeId) -> Option<usize> {
        self.ports.iter().position(|port| port.as_ref().is_some_and(|port| port.node == node))
    }

    /// Whether no message from the client to this port is half-way.
    fn client_not_inside(&self, position: usize) -> bool {
        self.client.rest.bytes == 0 || !self.client.rest_to.has(position)
    }

    fn wants_client(&self) -> bool {
        let full = self.client.held.len() >= self.held_bytes() || self.client.queue.len() >= WRITE_QUEUE_BYTES;
        if self.client.gone || self.is_over() || full {
            return false;
        }
        // What waits for its turn is held here rather than in the kernel, as far as there is room: behind it may stand
        // the end of the connection.
        self.phase.wants_client() && (self.client.blocked || self.ports.iter().flatten().all(|port| port.has_room()))
    }

    /// Ends the session: the client is told why, if it can still be told.
    fn end(&mut self, fault: Option<Fault>) {
        if self.is_over() || self.end_later(fault.as_ref()) {
            return;
        }
        if let Some(fault) = &fault
            && self.mid_client.is_none()
            && !self.client.gone
        {
            let mut out = Vec::new();
            build::error(&mut out, Severity::Fatal, fault);
            self.client.queue.push(out.into());
        }
        self.tell_reshaped();
        self.drop_round();
        self.showing = None;
        self.client.blocked = false;
        self.client.held = BytesMut::new();
        self.phase = Phase::Over;
        self.events.push_back(SessionEvent::Close(fault.map(Box::new)));
    }

    fn report(&mut self, report: Report) {
        self.events.push_back(SessionEvent::Report(report));
    }
}

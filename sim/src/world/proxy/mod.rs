//! pgconvoy in the world: what its I/O layer does for the core's machines, done event by event on the heap.
//!
//! Where to read, in order: [`Proxy`] (the tables), `seats` (sessions and their clients), `errands` (connections to
//! servers: opening, washing, cancelling, probing), [`mutant`] (planted bugs).

mod errands;
pub mod mutant;
mod seats;

use super::mark::Mark;
use super::net::{PipeId, Side};
use super::{Event, World};
use crate::plan::{Concern, Plan, Topology};
use errands::Errand;
use mutant::{Mutant, Saboteur};
use pgconvoy_core::auth::Secret;
use pgconvoy_core::auth::passwd::PasswordFile;
use pgconvoy_core::catalog::Catalog;
use pgconvoy_core::cluster::{self, Cluster, ClusterEvent, Member};
use pgconvoy_core::delay::DelayRules;
use pgconvoy_core::gate::Gate;
use pgconvoy_core::link::{Link, Login, Refused};
use pgconvoy_core::node::{Health, Mode, NodeId, View};
use pgconvoy_core::policy::FunctionList;
use pgconvoy_core::pool::{LinkId, Pool, PoolEvent, PoolSettings, Ticket};
use pgconvoy_core::rng::Rng;
use pgconvoy_core::session::{Commons, Setup};
use pgconvoy_core::time::{Duration, Instant};
use seats::Seat;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A session's number.
pub(super) type SessionId = u64;

/// How often idle links are looked at for those whose connection has ended.
const SWEEP: Duration = Duration::from_millis(1_000);
/// Longest time to open a link.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest login: longer than clients that go on may need, and short enough for those that have stopped to be gone in
/// the end.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(25);
/// Longest wait for a place or a link: longer than any run.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something for a session that another event has brought about.
pub(super) enum Mail {
    /// It has a place.
    Slot,
    /// The link that it wants, with its pipe, or why there is none.
    Grant(NodeId, Box<Result<(Link, PipeId), Refused>>),
    /// The owner of its key wants to cancel; that session waits for the end of it.
    Cancel(SessionId),
    /// Its cancel request to this server is done with; false when it may still arrive.
    CancelDone(NodeId, bool),
    /// Somebody else's cancel request, which it carried, is done.
    CancelOtherDone,
    /// The cluster has changed.
    View(Arc<View>),
    /// All others know that of this epoch, too.
    ViewKnown(u64),
    /// There is room to write again.
    Room,
}

/// A session that waits for a link.
struct Wish {
    session: SessionId,
    node: NodeId,
    login: Arc<Login>,
}

/// pgconvoy's tables.
pub struct Proxy {
    gate: Gate,
    pool: Pool,
    cluster: Cluster,
    seats: BTreeMap<SessionId, Seat>,
    fronts: BTreeMap<PipeId, SessionId>,
    errands: BTreeMap<PipeId, Errand>,
    idle: BTreeMap<LinkId, PipeId>,
    wishes: BTreeMap<Ticket, Wish>,
    tokens: Vec<u32>,
    cancel_keys: BTreeMap<(i32, Vec<u8>), SessionId>,
    mail: VecDeque<(SessionId, Mail)>,
    commons: Rc<Commons>,
    setup: Arc<Setup>,
    reset_queries: Vec<String>,
    probe_login: Arc<Login>,
    rng: Rng,
    next_session: SessionId,
    next_ticket: Ticket,
    links: u32,
    timer: Option<Instant>,
    pub(super) saboteur: Saboteur,
}

impl Proxy {
    pub(super) fn new(plan: &Plan, saboteur: Saboteur) -> Self {
        let password = String::from_utf8_lossy(plan.password.expose()).into_owned();
        let (passwords, _) = PasswordFile::parse(format!("alice:TEXT{password}\nbob:TEXT{password}\n"));
        let trusting = saboteur.is(Mutant::TrustFunctions);
        let functions = if trusting { FunctionList::Writing(Vec::new()) } else { FunctionList::Catalog };
        let setup = Setup {
            policy: Arc::new(plan.wishes.policy(functions)),
            check_unlogged: plan.wishes.check_unlogged,
            ask_balance_node: plan.wishes.ask_balance_node,
            allow_sql_comments: plan.wishes.allow_sql_comments,
            passwords: Arc::new(passwords),
            authentication_timeout: Some(AUTHENTICATION_TIMEOUT),
            load_balance: plan.load_balance,
            salt_seed: [7; 32],
            ..Setup::default()
        };
        let member = |node| Member {
            id: NodeId(node),
            weight_milli: plan.wishes.weight_milli(node),
            application_name: String::new(),
        };
        let settings = cluster::Settings {
            nodes: (0..plan.nodes).map(member).collect(),
            period: plan.check_period,
            delay: DelayRules { threshold_bytes: plan.delay_threshold, ..DelayRules::default() },
        };
        let mode = match plan.topology {
            Topology::Replicated => Mode::Native,
            _ if plan.nodes == 1 => Mode::Raw,
            _ => Mode::Streaming,
        };
        let pool = PoolSettings { keep: true, life_time: plan.life_time, max_uses: plan.max_uses };
        let probe_login = Login {
            user: b"probe".to_vec(),
            database: b"postgres".to_vec(),
            parameters: b"application_name\0pgconvoy\0".to_vec(),
            password: Some(Secret::new(plan.password.expose().to_vec())),
        };
        Self {
            gate: Gate::new(plan.places, 0, PATIENCE),
            pool: Pool::new(pool),
            cluster: Cluster::new(mode, settings, Instant::ZERO),
            seats: BTreeMap::new(),
            fronts: BTreeMap::new(),
            errands: BTreeMap::new(),
            idle: BTreeMap::new(),
            wishes: BTreeMap::new(),
            tokens: vec![plan.links; usize::from(plan.nodes)],
            cancel_keys: BTreeMap::new(),
            mail: VecDeque::new(),
            commons: Commons::new(Catalog::new(256, Duration::ZERO)),
            setup: Arc::new(setup),
            reset_queries: vec!["ABORT".to_owned(), "DISCARD ALL".to_owned()],
            probe_login: Arc::new(probe_login),
            rng: plan.rng(Concern::Proxy),
            next_session: 1,
            next_ticket: 0,
            links: plan.links,
            timer: None,
            saboteur,
        }
    }

    /// True when nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.seats.is_empty() && self.errands.values().all(Errand::is_idle) && self.mail.is_empty()
    }

    /// Whether a server is one of those that have everything.
    pub(super) fn counts(&self, node: u8) -> bool {
        self.cluster.view().node(NodeId(node)).is_some_and(|known| known.health != Health::Down)
    }

    /// Links that wait in the pool, and probes.
    pub(super) fn idle_links(&self) -> usize {
        self.errands.values().filter(|errand| errand.is_idle()).count()
    }

    fn nonce(&mut self) -> String {
        format!("nonce{:016x}", self.saboteur.draw(&mut self.rng))
    }

    /// The connections that wait in the pool.
    pub(super) fn pooled(&self) -> impl Iterator<Item = PipeId> {
        self.idle.values().copied()
    }

    /// Everything that must be empty once all clients have left, and agree with what the network has.
    pub(super) fn left_over(&self) -> Result<(), String> {
        let left = [
            ("sessions", self.seats.len()),
            ("client connections", self.fronts.len()),
            ("places", self.gate.inside() as usize),
            ("waiting clients", self.gate.waiting()),
            ("waiting requests for links", self.wishes.len()),
            ("cancel keys", self.cancel_keys.len()),
            ("connections to servers that nobody uses", self.errands.values().filter(|e| !e.is_idle()).count()),
        ];
        if let Some((what, count)) = left.into_iter().find(|(_, count)| *count > 0) {
            return Err(format!("I21: {count} {what} are left over"));
        }
        for (node, free) in self.tokens.iter().enumerate() {
            let id = NodeId(node as u8);
            let (owned, idle) = (self.pool.owned(id), self.pool.idle().filter(|(_, link)| link.node == id).count());
            if owned as usize != idle || free + owned != self.links {
                return Err(format!("I21: of node {node}, {owned} links are owned, {idle} idle, {free} more allowed"));
            }
        }
        Ok(())
    }
}

impl World {
    /// Starts what runs for the life of the process.
    pub(super) fn start_proxy(&mut self) {
        self.proxy_timer();
    }

    /// Delivers mail until there is none.
    pub(super) fn settle_proxy(&mut self) {
        while let Some((session, mail)) = self.proxy.mail.pop_front() {
            self.deliver(session, mail);
        }
    }

    /// There is room again on the way to a client or a server.
    pub(super) fn room_for_proxy(&mut self, pipe: PipeId) {
        let session = match self.proxy.errands.get(&pipe) {
            Some(Errand::Lent(session)) => Some(*session),
            Some(_) => return self.converse(pipe),
            None => self.proxy.fronts.get(&pipe).copied(),
        };
        self.proxy.mail.extend(session.map(|session| (session, Mail::Room)));
    }

    pub(super) fn proxy_timer(&mut self) {
        self.proxy.timer = None;
        self.proxy.pool.handle_timeout(self.now);
        self.proxy.cluster.handle_timeout(self.now);
        self.sweep();
        self.pool_events();
        self.cluster_events();
        self.schedule_proxy();
    }

    fn schedule_proxy(&mut self) {
        let sweep = self.now.after(SWEEP);
        let next = [Some(sweep), self.proxy.pool.poll_timeout(), self.proxy.cluster.poll_timeout()];
        let Some(at) = next.into_iter().flatten().min().map(|at| at.max(self.now)) else { return };
        if self.proxy.timer.is_none_or(|planned| at < planned) {
            self.proxy.timer = Some(at);
            self.heap.push(at, Event::Proxy);
        }
    }

    /// Idle links whose connection has ended, or that have said something, are of no use any more.
    fn sweep(&mut self) {
        let idle: Vec<(LinkId, PipeId)> = self.proxy.idle.iter().map(|(id, pipe)| (*id, *pipe)).collect();
        for (id, pipe) in idle {
            if !self.is_silent(pipe) {
                self.proxy.idle.remove(&id);
                self.proxy.pool.dead(id);
                self.close_errand(pipe);
            }
        }
    }

    fn is_silent(&mut self, pipe: PipeId) -> bool {
        !self.net.is_ended(pipe, Side::Near) && self.net.arrived(pipe, Side::Near).is_some_and(|bytes| bytes.is_empty())
    }

    pub(super) fn cluster_events(&mut self) {
        while let Some(event) = self.proxy.cluster.poll_event() {
            match event {
                ClusterEvent::Probe(node) => self.start_probe(node),
                ClusterEvent::View(view) => {
                    self.mark(Mark::ViewChanged);
                    self.routes.disturbed();
                    let sessions: Vec<SessionId> = self.proxy.seats.keys().copied().collect();
                    for session in &sessions {
                        self.proxy.mail.push_back((*session, Mail::View(Arc::clone(&view))));
                    }
                    for session in sessions {
                        self.proxy.mail.push_back((session, Mail::ViewKnown(view.epoch)));
                    }
                }
                ClusterEvent::Measured { standby, .. } => {
                    if standby.replication.lagging {
                        self.mark(Mark::StandbyLags);
                    }
                }
                ClusterEvent::Command(_) => unreachable!("no command is configured"),
                // New sessions look at the cluster itself.
                ClusterEvent::Figures(_) | ClusterEvent::Changed(_) => {}
            }
        }
    }

    pub(super) fn pool_events(&mut self) {
        while let Some(event) = self.proxy.pool.poll_event() {
            match event {
                PoolEvent::Close(id) => {
                    if let Some(pipe) = self.proxy.idle.remove(&id) {
                        self.close_errand(pipe);
                    }
                }
                PoolEvent::Retry(ticket) => {
                    self.mark(Mark::LinkAwaited);
                    if let Some(wish) = self.proxy.wishes.remove(&ticket) {
                        self.ask_for_link(ticket, wish);
                    }
                }
                PoolEvent::Refuse(ticket, refused) => {
                    if let Some(wish) = self.proxy.wishes.remove(&ticket) {
                        let grant = Mail::Grant(wish.node, Box::new(Err(refused)));
                        self.proxy.mail.push_back((wish.session, grant));
                    }
                }
                PoolEvent::Token(node) => self.proxy.tokens[usize::from(node.0)] += 1,
                PoolEvent::Starving(_) => {}
            }
        }
        self.proxy.pool.invariants();
        self.proxy.gate.invariants();
    }
}

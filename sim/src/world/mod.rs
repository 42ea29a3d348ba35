//! The world of layer L1: clients, network, pgconvoy and servers on one heap of events, without a thread or a clock.
//!
//! Where to read, in order: [`World::run`], `net` (pipes), `clients` and `servers` (who does what with what arrives),
//! `proxy` (the same for pgconvoy's machines), `faults`, `referee`, `routes` and `fresh` (what must hold), `trace`.

mod clients;
mod faults;
pub mod fresh;
mod heap;
pub mod mark;
pub mod net;
pub mod proxy;
mod referee;
pub mod routes;
mod servers;
pub(crate) mod trace;

use crate::fakepg::{FakePg, Recovery, Setup, Wal};
use crate::plan::{Concern, Plan, Topology};
use clients::Slot;
use fresh::Freshness;
use heap::Heap;
use mark::Mark;
use net::{Arrival, Net, NetEvent, Owner, PipeId, Side};
use pgconvoy_core::policy::OnWrite;
use pgconvoy_core::time::{Duration, Instant};
use proxy::Proxy;
use proxy::mutant::{Mutant, Saboteur};
use referee::Referee;
use routes::Routes;
use servers::Server;
use std::collections::BTreeMap;
use trace::Trace;

/// Longest time that a client may need for the rest of its work once everything is well again.
const LIVENESS: Duration = Duration::from_secs(20);
/// How long the world goes on without clients, so that what they left behind is tidied up.
const QUIET: Duration = Duration::from_secs(40);
/// How long after the healing servers may still start, and dead links be found.
const SETTLING: Duration = Duration::from_secs(3);
/// More events than any run needs: one that goes on for ever is stopped.
const EVENTS: u64 = 30_000_000;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Net(NetEvent),
    /// A client's deadline.
    Client(u32),
    /// A slot's next session begins.
    Session(u32),
    /// A server's deadline.
    Server(u8),
    /// A server process starts, or is ready.
    Start(u8),
    Ready(u8),
    /// The fault of this index in the plan.
    Fault(u32),
    /// Everything is well from here on.
    Heal,
    /// A deadline of pgconvoy's pool or cluster.
    Proxy,
    /// A deadline of a session.
    Seat(u64),
    /// A deadline of a connection to a server.
    Errand(PipeId),
}

impl From<NetEvent> for Event {
    fn from(event: NetEvent) -> Self {
        Self::Net(event)
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Instant,
    /// What must hold and did not.
    pub what: String,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Stands for everything that happened.
    pub trace: u64,
    /// Events that happened.
    pub events: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// How often each interesting thing happened.
    pub marks: BTreeMap<Mark, u64>,
    /// How many statements went where `EXPLAIN ROUTE` had said, by the rule that it named.
    pub explained: BTreeMap<String, u64>,
}

/// What is wrong with a plan's run, the one thing included that a single run cannot show.
pub fn verdict(plan: &Plan, mutant: Option<Mutant>) -> Option<String> {
    let run = || World::with_mutant(plan.clone(), false, mutant).run();
    let outcome = run();
    if let Some(failure) = outcome.failure {
        return Some(failure.what);
    }
    let again = run().trace;
    (again != outcome.trace).then(|| format!("I24: the trace is {:016x}, and then {again:016x}", outcome.trace))
}

/// Everything there is in one run.
pub struct World {
    plan: Plan,
    now: Instant,
    heap: Heap<Event>,
    net: Net,
    slots: Vec<Slot>,
    servers: Vec<Server>,
    proxy: Proxy,
    referee: Referee,
    routes: Routes,
    fresh: Freshness,
    trace: Trace,
    /// Cancel requests under way: the packet, and the client whose key it carries.
    cancels: BTreeMap<PipeId, (bytes::BytesMut, Option<u32>)>,
    next_client: u32,
    healed_at: Option<Instant>,
    disrupted: bool,
    failure: Option<Failure>,
    events: u64,
    answered: u64,
    marks: BTreeMap<Mark, u64>,
}

impl World {
    /// The world of a plan; `loud` prints what happens.
    pub fn new(plan: Plan, loud: bool) -> Self {
        Self::with_mutant(plan, loud, None)
    }

    /// The world of a plan with a planted bug.
    pub fn with_mutant(plan: Plan, loud: bool, mutant: Option<Mutant>) -> Self {
        let wal = Wal::new();
        let global = plan.wishes.on_write == OnWrite::AdaptiveGlobal;
        let server_rng = plan.rng(Concern::Servers);
        let server = |node: u8| {
            let replicated = plan.topology == Topology::Replicated;
            let recovery =
                if node == 0 || replicated { Recovery::Primary } else { Recovery::Standby { lag: plan.lag } };
            let wal = if replicated { Wal::new() } else { wal.clone() };
            let setup = Setup { authentication: plan.authentication, password: plan.password.clone(), recovery };
            let first_process_id = 10_000 * (1 + i32::from(node));
            Server::new(FakePg::new(&setup, wal, first_process_id, server_rng.fork(u64::from(node))))
        };
        let client_rng = plan.rng(Concern::Clients);
        let mut heap = Heap::default();
        for slot in 0..plan.slots {
            heap.push(Instant::ZERO.after(Duration::from_micros(u64::from(slot) * 100)), Event::Session(slot));
        }
        for (index, planned) in plan.faults.iter().enumerate() {
            heap.push(Instant::ZERO.after(Duration::from_micros(planned.at_us)), Event::Fault(index as u32));
        }
        heap.push(Instant::ZERO.after(plan.duration), Event::Heal);
        Self {
            now: Instant::ZERO,
            net: Net::new(plan.weather, plan.rng(Concern::Network)),
            slots: (0..plan.slots).map(|slot| Slot::new(client_rng.fork(u64::from(slot)), plan.sessions)).collect(),
            servers: (0..plan.nodes).map(server).collect(),
            proxy: Proxy::new(&plan, Saboteur::new(mutant, plan.rng(Concern::Mutant))),
            referee: Referee::new(plan.nodes == 1, plan.topology == Topology::Replicated),
            routes: Routes::default(),
            fresh: Freshness::new(global),
            trace: Trace::new(loud),
            heap,
            cancels: BTreeMap::new(),
            next_client: 0,
            healed_at: None,
            disrupted: false,
            failure: None,
            events: 0,
            answered: 0,
            marks: BTreeMap::new(),
            plan,
        }
    }

    /// Lets everything happen, faults first and then a time in which everybody must come to an end.
    pub fn run(mut self) -> Outcome {
        if self.plan.topology != Topology::Direct {
            self.start_proxy();
        }
        while self.failure.is_none() && self.step() {}
        if self.failure.is_none() {
            self.check_end();
        }
        let late = [Mark::Held, Mark::ServerHeld].iter().any(|mark| self.marks.contains_key(mark));
        let explained = self.routes.judge(late).unwrap_or_else(|lie| {
            self.fail(lie);
            BTreeMap::new()
        });
        Outcome {
            failure: self.failure,
            trace: self.trace.hash(),
            events: self.events,
            answered: self.answered,
            marks: self.marks,
            explained,
        }
    }

    /// One event. False when nothing more is to happen.
    fn step(&mut self) -> bool {
        if self.is_past_end() {
            return false;
        }
        let Some((now, event)) = self.heap.pop() else { return false };
        assert!(now >= self.now, "time went backwards");
        self.now = now;
        self.events += 1;
        if self.events > EVENTS {
            self.fail("I20: the run does not come to an end".to_owned());
            return false;
        }
        match event {
            Event::Net(NetEvent::Arrive(pipe, side)) => self.arrive(pipe, side),
            Event::Client(slot) => self.client_timer(slot),
            Event::Session(slot) => self.start_session(slot),
            Event::Server(node) => self.server_timer(node),
            Event::Start(node) => self.servers[usize::from(node)].pg.handle_start(),
            Event::Ready(node) => self.servers[usize::from(node)].pg.handle_ready(),
            Event::Fault(index) => self.fault(index),
            Event::Heal => self.heal(),
            Event::Proxy => self.proxy_timer(),
            Event::Seat(session) => self.session_timer(session),
            Event::Errand(pipe) => self.errand_timer(pipe),
        }
        self.settle_proxy();
        true
    }

    /// Servers that pgconvoy replicates to have the same rows, but for those that do not count any more.
    fn check_replicas(&self) -> Result<(), String> {
        if self.plan.topology != Topology::Replicated {
            return Ok(());
        }
        let counting = |node: &usize| self.proxy.counts(*node as u8);
        let rows = |node: usize| self.servers[node].pg.rows();
        let mut nodes = (0..self.servers.len()).filter(counting);
        let Some(first) = nodes.next() else { return Ok(()) };
        nodes.try_for_each(|node| match rows(first).zip(rows(node)).find(|(one, other)| one != other) {
            Some((one, other)) => Err(format!("I11: server {first} has {one:?} where server {node} has {other:?}")),
            None if rows(first).count() != rows(node).count() => Err(format!(
                "I11: server {first} has {} rows, and server {node} {}",
                rows(first).count(),
                rows(node).count()
            )),
            None => Ok(()),
        })
    }

    fn is_past_end(&self) -> bool {
        let Some(healed) = self.healed_at else { return false };
        let working = |slot: &Slot| slot.client.as_ref().is_some_and(|client| !client.has_stopped());
        let limit = if self.slots.iter().any(working) { LIVENESS } else { QUIET };
        let done =
            self.slots.iter().all(|slot| slot.client.is_none()) && self.proxy.is_quiet() && self.cancels.is_empty();
        self.now > healed.after(limit) || (done && self.now > healed.after(SETTLING))
    }

    fn arrive(&mut self, pipe: PipeId, side: Side) {
        let Some(arrival) = self.net.arrive(pipe, side, self.now, &mut self.heap) else { return };
        let Some(owner) = self.net.owner(pipe, side) else { return };
        self.trace.note(self.now, [u64::from(pipe) << 1 | side as u64, matches!(arrival, Arrival::Bytes(_)).into()]);
        if let Arrival::Bytes(length) = arrival
            && let Some(bytes) = self.net.arrived(pipe, side)
        {
            let shown = &bytes[bytes.len() - length..];
            self.trace.arrived(self.now, pipe, side, owner, shown);
        } else {
            self.trace.say(self.now, || format!("{pipe} -> {owner:?}: {arrival:?}"));
        }
        match owner {
            Owner::Client(slot) => self.client_arrival(slot, pipe, arrival),
            Owner::Canceller => self.cancel_arrival(pipe, arrival),
            Owner::Server(node) => self.server_arrival(node, pipe, arrival),
            Owner::Front => self.front_arrival(pipe, arrival),
            Owner::Back => self.back_arrival(pipe, arrival),
        }
    }

    /// An end of a pipe was read: its peer may have been waiting for room.
    fn flush_peer(&mut self, pipe: PipeId, reader: Side) {
        match self.net.owner(pipe, reader.other()) {
            Some(Owner::Client(slot)) => self.drain_client(slot),
            Some(Owner::Server(node)) => self.flush_server(node, pipe),
            Some(Owner::Front | Owner::Back) => self.room_for_proxy(pipe),
            Some(Owner::Canceller) | None => {}
        }
    }

    fn fail(&mut self, what: String) {
        self.trace.say(self.now, || format!("FAILED: {what}"));
        self.failure.get_or_insert(Failure { at: self.now, what });
    }

    fn mark(&mut self, mark: Mark) {
        *self.marks.entry(mark).or_default() += 1;
    }

    fn heal(&mut self) {
        self.trace.say(self.now, || "healed".to_owned());
        self.healed_at = Some(self.now);
        for server in &mut self.servers {
            server.pg.refuse_logins(0);
        }
        self.finish_clients();
    }

    /// Everybody has had the time to finish.
    fn check_end(&mut self) {
        let clients = || self.slots.iter().filter_map(|slot| slot.client.as_ref());
        let late = clients().find(|client| !client.has_stopped()).or(clients().next());
        if let Some(why) = late.map(|client| client.waits_for()) {
            return self.fail(format!("I20: {why} after everything was well for {LIVENESS:?}"));
        }
        if let Err(what) = self.proxy.left_over() {
            return self.fail(what);
        }
        if let Err(what) = self.check_replicas() {
            return self.fail(what);
        }
        let kept = self.proxy.idle_links();
        if self.net.open_count() > kept {
            return self.fail(format!("I21: {} connections are open, and {kept} are kept", self.net.open_count()));
        }
        let unclean = self.proxy.pooled().find_map(|conn| {
            let differences = self.servers.iter().find_map(|server| server.pg.unclean(conn))?;
            (!differences.is_empty()).then_some((conn, differences))
        });
        if let Some((conn, differences)) = unclean {
            self.fail(format!("I14: connection {conn} waits in the pool unclean: {differences}"));
        }
    }
}

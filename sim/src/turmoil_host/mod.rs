//! Layer L2: the real I/O layer on turmoil's network, with the same model servers, clients and checks.
//!
//! Where to read, in order: [`run`] (one run), `hosts` (what runs on each host), `env` (pgconvoy's seam), `stream`.

mod env;
mod hosts;
mod stream;

use crate::fakepg::{FakePg, Recovery, Setup, Wal};
use crate::plan::{Concern, Fault, Plan, Topology};
use crate::world::{Failure, Outcome};
use hosts::{Bench, ServerHost};
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::Instant;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// The step of simulated time.
const TICK: Duration = Duration::from_millis(1);
/// Longest time that everything may take once it is well again.
const LIVENESS: Duration = Duration::from_secs(40);
/// Segments that may be under way on one connection: the network gives up its simulation beyond it.
const SEGMENTS: usize = 1 << 20;
/// Sessions of each client: the layer is slower than L1.
const SESSIONS: u32 = 3;
/// Rows of a large result.
const ROWS: u32 = 300;

/// Runs a plan's clients and faults against the real program on the simulated network.
pub fn run(plan: &Plan) -> Outcome {
    let bench = Rc::new(RefCell::new(Bench::new(plan.topology == Topology::Replicated)));
    let mut sim = turmoil::Builder::new()
        .simulation_duration(plan.duration + 2 * LIVENESS)
        .tick_duration(TICK)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .min_message_latency(plan.weather.latency.min(TICK))
        .max_message_latency(plan.weather.latency.min(TICK) + Duration::from_nanos(plan.weather.jitter_ns) + TICK)
        .tcp_capacity(SEGMENTS)
        .rng_seed(plan.seed)
        .build();
    let wal = Wal::new();
    let servers: Vec<Rc<ServerHost>> = (0..plan.nodes)
        .map(|node| {
            let replicated = plan.topology == Topology::Replicated;
            let recovery =
                if node == 0 || replicated { Recovery::Primary } else { Recovery::Standby { lag: plan.lag } };
            let wal = if replicated { Wal::new() } else { wal.clone() };
            let setup = Setup { authentication: plan.authentication, password: plan.password.clone(), recovery };
            let rng = plan.rng(Concern::Servers).fork(u64::from(node));
            let pg = FakePg::new(&setup, wal, 10_000 * (1 + i32::from(node)), rng);
            ServerHost::new(pg, Rc::clone(&bench))
        })
        .collect();
    for (node, server) in servers.iter().enumerate() {
        let server = Rc::clone(server);
        sim.host(server_name(node), move || Rc::clone(&server).serve());
    }
    let proxy_plan = plan.clone();
    sim.host("proxy", move || hosts::proxy(proxy_plan.clone()));
    for slot in 0..plan.slots {
        // The rows that clients write are looked for on the primary, or wherever they are replicated to.
        let written = if plan.topology == Topology::Replicated { servers.len() } else { 1 };
        let (plan, bench, written) = (plan.clone(), Rc::clone(&bench), servers[..written].to_vec());
        sim.client(format!("client{slot}"), hosts::client(slot, plan, bench, written));
    }
    let ended = drive(&mut sim, plan, &servers, &bench);
    let mut bench = bench.borrow_mut();
    if let Err(what) = ended {
        bench.fail(what);
    }
    Outcome {
        failure: bench.failure.take(),
        trace: bench.trace.hash(),
        events: bench.events,
        answered: bench.answered,
        marks: std::mem::take(&mut bench.marks),
        explained: std::collections::BTreeMap::new(),
    }
}

fn server_name(node: usize) -> String {
    format!("pg{node}")
}

/// Steps the network, lets faults happen at their time, heals, and waits for the clients.
fn drive(
    sim: &mut turmoil::Sim<'_>,
    plan: &Plan,
    servers: &[Rc<ServerHost>],
    bench: &Rc<RefCell<Bench>>,
) -> Result<(), String> {
    let mut faults = plan.faults.iter().peekable();
    let mut later: Vec<(Duration, u8, Then)> = Vec::new();
    loop {
        let elapsed = sim.elapsed();
        bench.borrow_mut().now = Instant(elapsed.as_nanos() as u64);
        while let Some(planned) = faults.next_if(|planned| Duration::from_micros(planned.at_us) <= elapsed) {
            later.extend(strike(sim, servers, planned.fault, elapsed, bench));
        }
        let due: Vec<_> = later.iter().filter(|(at, ..)| *at <= elapsed).copied().collect();
        later.retain(|(at, ..)| *at > elapsed);
        due.into_iter().for_each(|(_, node, then)| follow(sim, servers, node, then));
        bench.borrow_mut().healed |= elapsed >= plan.duration;
        match sim.step() {
            Ok(true) => break,
            Ok(false) if bench.borrow().failure.is_some() => return Ok(()),
            Ok(false) if elapsed > plan.duration + LIVENESS => {
                return Err(format!("I20: clients have not ended {LIVENESS:?} after everything was well"));
            }
            Ok(false) => {}
            Err(error) => return Err(format!("the simulation failed: {error}")),
        }
    }
    // Washing and farewells come to an end, whatever was still held back.
    later.into_iter().for_each(|(_, node, then)| follow(sim, servers, node, then));
    for _ in 0..SETTLING_TICKS {
        sim.step().map_err(|error| error.to_string())?;
    }
    // A probe may be under way at any moment, but not for ever.
    let mut verdict = Ok(());
    for _ in 0..SETTLING_TICKS {
        verdict = servers.iter().try_for_each(|server| server.check_idle());
        if verdict.is_ok() {
            break;
        }
        sim.step().map_err(|error| error.to_string())?;
    }
    verdict
}

/// How long the rest of the work may take when all clients have left, in ticks: longer than a wash may.
const SETTLING_TICKS: u32 = 8_000;

/// What follows a fault some time later.
#[derive(Clone, Copy)]
enum Then {
    Release,
    Start,
    Ready,
}

fn follow(sim: &turmoil::Sim<'_>, servers: &[Rc<ServerHost>], node: u8, then: Then) {
    let server = &servers[usize::from(node)];
    match then {
        Then::Release => sim.release("proxy", server_name(usize::from(node))),
        Then::Start => server.pg.borrow_mut().handle_start(),
        Then::Ready => server.pg.borrow_mut().handle_ready(),
    }
}

fn strike(
    sim: &turmoil::Sim<'_>,
    servers: &[Rc<ServerHost>],
    fault: Fault,
    now: Duration,
    bench: &Rc<RefCell<Bench>>,
) -> Vec<(Duration, u8, Then)> {
    let after = |us: u32| now + Duration::from_micros(u64::from(us));
    let at = Instant(now.as_nanos() as u64);
    // A server that stands still may be taken for dead by those who write to all.
    bench.borrow_mut().disrupted |= fault.disrupts() || matches!(fault, Fault::Hold { .. } | Fault::HoldNode { .. });
    match fault {
        Fault::Hold { pick, for_us } => {
            let node = (pick as usize % servers.len()) as u8;
            sim.hold("proxy", server_name(usize::from(node)));
            vec![(after(for_us), node, Then::Release)]
        }
        Fault::HoldNode { node, for_us } => {
            sim.hold("proxy", server_name(usize::from(node)));
            vec![(after(for_us), node, Then::Release)]
        }
        Fault::Crash { node, told, down_us } => {
            servers[usize::from(node)].change(|pg| pg.handle_stop(told, at));
            vec![(after(down_us), node, Then::Start), (after(2 * down_us), node, Then::Ready)]
        }
        Fault::ProcessCrash { node, recovery_us } => {
            servers[usize::from(node)].change(|pg| pg.handle_process_crash(at));
            vec![(after(recovery_us), node, Then::Ready)]
        }
        Fault::Cut { pick } | Fault::Terminate { pick } => {
            let server = &servers[pick as usize % servers.len()];
            server.change(|pg| {
                let conns: Vec<_> = pg.connections().collect();
                if let Some(conn) = conns.get(pick as usize % conns.len().max(1)) {
                    pg.handle_terminate(*conn, at);
                }
            });
            Vec::new()
        }
        Fault::RefuseLogins { node, count } => {
            servers[usize::from(node)].pg.borrow_mut().refuse_logins(u32::from(count));
            Vec::new()
        }
        Fault::Inject { .. } => Vec::new(),
    }
}

impl Bench {
    fn fail(&mut self, what: String) {
        let at = self.now;
        self.failure.get_or_insert(Failure { at, what });
    }
}

/// The generator of one client's slot.
fn slot_rng(plan: &Plan, slot: u32) -> Rng {
    plan.rng(Concern::Clients).fork(u64::from(slot))
}

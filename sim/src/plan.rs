//! What happens in one run: every knob drawn from one seed, and the schedule of faults.

use crate::client::workload::{Ending, Workload};
use crate::fakepg::Authentication;
use crate::wishes::Wishes;
use crate::world::net::Weather;
use pgconvoy_core::auth::Secret;
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::Duration;
use std::fmt;
use std::str::FromStr;

/// A hold that pgconvoy does not wait for, in microseconds.
const LONG_US: u32 = 6_000_000;

/// What each concern draws from: a change of one does not reshuffle the others.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Concern {
    /// The knobs of the plan.
    Knobs = 1,
    /// The schedule of faults.
    Faults,
    /// Workloads and clients.
    Clients,
    /// Delays and cuts of the network.
    Network,
    /// Salts and keys of the servers.
    Servers,
    /// Secrets and choices of pgconvoy.
    Proxy,
    /// A planted bug.
    Mutant,
    /// How often servers are looked at, and how far standbys may be behind.
    Delay,
    /// What the operator wants of routing.
    Wishes,
    /// Whether standbys take turns.
    Turns,
}

/// What stands between clients and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Nothing: the checkers must find nothing to complain of.
    Direct,
    /// pgconvoy, over a primary and its standbys.
    Proxy,
    /// pgconvoy, which replicates to servers that know nothing of each other.
    Replicated,
}

impl Topology {
    /// The word for it on command lines and in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            Self::Replicated => "replicated",
        }
    }
}

/// Something that goes wrong. A `pick` chooses among what is there at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A connection breaks.
    Cut {
        /// Which.
        pick: u32,
    },
    /// A connection stands still for so long.
    Hold {
        /// Which.
        pick: u32,
        /// For how long, in microseconds.
        for_us: u32,
    },
    /// All connections to a server stand still for so long.
    HoldNode {
        /// The server.
        node: u8,
        /// For how long, in microseconds.
        for_us: u32,
    },
    /// A server stops, telling its sessions or not, starts after so long, and is ready after as long again.
    Crash {
        /// The server.
        node: u8,
        /// Whether its sessions are told.
        told: bool,
        /// For how long it is down, in microseconds, and for how long it starts.
        down_us: u32,
    },
    /// A server process crashes: all sessions of the server end, and it recovers for so long.
    ProcessCrash {
        /// The server.
        node: u8,
        /// For how long it recovers, in microseconds.
        recovery_us: u32,
    },
    /// A session's server process is terminated.
    Terminate {
        /// Which.
        pick: u32,
    },
    /// A server refuses so many logins.
    RefuseLogins {
        /// The server.
        node: u8,
        /// How many.
        count: u8,
    },
    /// A server says something unasked: a notice, a parameter, a notification.
    Inject {
        /// Which connection.
        pick: u32,
        /// What: 0 to 2.
        what: u8,
    },
}

impl Fault {
    /// The server that it is about.
    fn node(self) -> Option<u8> {
        match self {
            Self::HoldNode { node, .. }
            | Self::Crash { node, .. }
            | Self::ProcessCrash { node, .. }
            | Self::RefuseLogins { node, .. } => Some(node),
            Self::Cut { .. } | Self::Hold { .. } | Self::Terminate { .. } | Self::Inject { .. } => None,
        }
    }

    /// True when a client's session may end or fail because of it.
    pub fn disrupts(self) -> bool {
        !matches!(self, Self::Hold { .. } | Self::HoldNode { .. } | Self::Inject { .. })
    }
}

/// A fault and its moment, in microseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at_us: u64,
    /// What.
    pub fault: Fault,
}

/// One run, but for what its random generators draw on the way.
#[derive(Clone)]
pub struct Plan {
    /// The seed of everything.
    pub seed: u64,
    /// What stands between clients and servers.
    pub topology: Topology,
    /// Servers: the first is the primary, the others follow it.
    pub nodes: u8,
    /// How far standbys lag behind.
    pub lag: Duration,
    /// How servers want passwords.
    pub authentication: Authentication,
    /// The password of all users.
    pub password: Secret,
    /// The network.
    pub weather: Weather,
    /// Clients at a time.
    pub slots: u32,
    /// Sessions that each of them has, one after the other.
    pub sessions: u32,
    /// Length of the part with faults.
    pub duration: Duration,
    /// `num_init_children`.
    pub places: u32,
    /// Links that may be open to one server.
    pub links: u32,
    /// Longest idle time of a pooled link.
    pub life_time: Option<Duration>,
    /// Sessions that one link serves.
    pub max_uses: u32,
    /// Whether reads are spread.
    pub load_balance: bool,
    /// Time between two looks at all servers.
    pub check_period: Duration,
    /// How many bytes a standby may be behind to be read from; 0 for any number.
    pub delay_threshold: u64,
    /// What the operator wants of routing.
    pub wishes: Wishes,
    /// Clients mostly ask where statements would go, and send them there.
    pub explains: bool,
    /// What goes wrong, in the order of time.
    pub faults: Vec<Planned>,
}

impl Plan {
    /// Draws every knob: swarm testing, where each run has some features in excess and lacks others.
    pub fn swarm(seed: u64, topology: Topology) -> Self {
        let root = Rng::new(seed);
        let mut rng = root.fork(Concern::Knobs as u64);
        let slots = 1 + rng.below(10) as u32;
        let nodes = match topology {
            Topology::Direct => 1,
            Topology::Proxy => 1 + rng.below(3) as u8,
            Topology::Replicated => 2 + rng.below(2) as u8,
        };
        let duration = Duration::from_millis(200 + rng.below(2_000));
        let mut plan = Self {
            seed,
            topology,
            nodes,
            lag: Duration::from_micros(rng.below(50_000)),
            authentication: draw(&mut rng, &AUTHENTICATIONS),
            password: Secret::new(b"open sesame".to_vec()),
            weather: Weather {
                latency: Duration::from_micros(5 + rng.below(500)),
                jitter_ns: draw(&mut rng, &[0, 20_000, 1_000_000]),
                chop: draw(&mut rng, &[1, 7, 100, 1 << 20, 1 << 20]),
                window: draw(&mut rng, &[512, 4_096, 65_536, 65_536]),
            },
            slots,
            sessions: 1 + rng.below(5) as u32,
            duration,
            places: 1 + rng.below(u64::from(slots) + 2) as u32,
            links: 1 + rng.below(u64::from(slots) + 2) as u32,
            life_time: rng.chance(1, 3).then(|| Duration::from_millis(1 + rng.below(500))),
            max_uses: draw(&mut rng, &[0, 0, 1, 3]),
            load_balance: rng.chance(3, 4),
            check_period: Duration::from_secs(5),
            delay_threshold: 0,
            wishes: Wishes::default(),
            explains: false,
            faults: Vec::new(),
        };
        // A link for each session that may be served, or sessions that hold one link would wait for others'.
        plan.links = plan.links.max(plan.places);
        let mut rng = root.fork(Concern::Delay as u64);
        if rng.chance(1, 2) {
            // Where bytes travel one by one, a check costs a thousand events.
            let factor = if plan.weather.chop < 100 { 10 } else { 1 };
            plan.check_period = Duration::from_millis(factor * draw(&mut rng, &[20, 60, 300]));
            plan.delay_threshold = draw(&mut rng, &[0, 1, 100, 1_000]);
        }
        plan.draw_faults(root.fork(Concern::Faults as u64));
        if topology == Topology::Replicated {
            plan.delay_threshold = 0;
        }
        if topology == Topology::Proxy {
            plan.wishes = Wishes::draw(&mut root.fork(Concern::Wishes as u64), nodes);
            plan.wishes.each_statement = root.fork(Concern::Turns as u64).chance(1, 3);
        }
        plan
    }

    /// A run of clients, most of them alone, that mostly ask where statements would go and then send them.
    pub fn explaining(seed: u64) -> Self {
        let mut plan = Self { explains: true, ..Self::swarm(seed, Topology::Proxy) };
        let mut rng = plan.rng(Concern::Wishes).fork(1);
        plan.nodes = [1, 2, 2, 2, 3, 3, 3, 3][rng.below(8) as usize];
        plan.faults.retain(|planned| !matches!(planned.fault.node(), Some(node) if node >= plan.nodes));
        plan.wishes = Wishes::draw(&mut rng, plan.nodes);
        plan.wishes.each_statement = rng.chance(1, 3);
        if rng.chance(2, 3) {
            // Sessions that read from the primary have little to tell.
            plan.wishes.weights = (0..plan.nodes).map(|node| 1000 * u64::from(node > 0)).collect();
            plan.wishes.by_user = "";
            plan.wishes.by_database = "";
        }
        plan.load_balance = rng.chance(15, 16);
        if rng.chance(5, 6) {
            plan.slots = 1;
        }
        if rng.chance(1, 3) {
            plan.delay_threshold = 1;
            plan.lag = Duration::from_millis(20 + rng.below(200));
            plan.check_period = plan.check_period.min(Duration::from_millis(300));
        }
        // In the first one, nobody knows the servers yet.
        plan.sessions += 4;
        plan
    }

    /// The same run without some of its faults.
    pub fn with_faults(&self, faults: Vec<Planned>) -> Self {
        Self { faults, ..self.clone() }
    }

    /// The generator of a concern.
    pub fn rng(&self, concern: Concern) -> Rng {
        Rng::new(self.seed).fork(concern as u64)
    }

    /// Draws the workload of a session.
    pub fn draw_workload(&self, rng: &mut Rng) -> Workload {
        let user = draw(rng, &["alice", "alice", "bob"]);
        let mut workload = Workload::draw(rng, user, &self.password, self.authentication != Authentication::Trust);
        if self.explains {
            workload.ask_for_routes();
        }
        if self.topology == Topology::Direct {
            workload.ask_for_no_routes();
            if workload.ending == Ending::Stop {
                // The model servers wait for ever.
                workload.ending = Ending::Terminate;
            }
        }
        workload
    }

    fn draw_faults(&mut self, mut rng: Rng) {
        if rng.chance(1, 4) {
            return;
        }
        let kinds: Vec<u64> = (0..8).filter(|_| rng.chance(1, 2)).collect();
        if kinds.is_empty() {
            return;
        }
        let duration_us = self.duration.as_micros() as u64;
        for _ in 0..1 + rng.below(30) {
            let at_us = rng.below(duration_us);
            let node = rng.below(u64::from(self.nodes)) as u8;
            let pick = rng.below(1 << 16) as u32;
            let longest_us = draw(&mut rng, &[2_000, 50_000, 500_000]);
            let span_us = (100 + rng.below(longest_us)) as u32;
            let fault = match draw(&mut rng, &kinds) {
                0 => Fault::Cut { pick },
                // Now and then for longer than any errand may take.
                1 => Fault::Hold { pick, for_us: span_us + if rng.chance(1, 4) { LONG_US } else { 0 } },
                2 => Fault::HoldNode { node, for_us: span_us + if rng.chance(1, 2) { LONG_US } else { 0 } },
                3 => Fault::Crash { node, told: rng.chance(1, 2), down_us: span_us },
                4 => Fault::ProcessCrash { node, recovery_us: span_us },
                5 => Fault::Terminate { pick },
                6 => Fault::RefuseLogins { node, count: 1 + rng.below(4) as u8 },
                _ => Fault::Inject { pick, what: rng.below(3) as u8 },
            };
            self.faults.push(Planned { at_us, fault });
        }
        self.faults.sort_by_key(|planned| planned.at_us);
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:?}, {} nodes, lag {:?}, {:?}, {:?}",
            self.seed, self.topology, self.nodes, self.lag, self.authentication, self.weather
        )?;
        writeln!(
            f,
            "  {} clients x {} sessions in {:?}; {} places, {} links, life {:?}, uses {}, balance {}, checks each {:?}, \
             delay threshold {}\n  {:?}",
            self.slots,
            self.sessions,
            self.duration,
            self.places,
            self.links,
            self.life_time,
            self.max_uses,
            self.load_balance,
            self.check_period,
            self.delay_threshold,
            self.wishes
        )?;
        self.faults.iter().try_for_each(|planned| writeln!(f, "  {planned}"))
    }
}

const AUTHENTICATIONS: [Authentication; 6] = [
    Authentication::Trust,
    Authentication::Trust,
    Authentication::Trust,
    Authentication::Cleartext,
    Authentication::Md5,
    Authentication::Scram,
];

fn draw<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.below(among.len() as u64) as usize]
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at_us)?;
        match self.fault {
            Fault::Cut { pick } => write!(f, "cut {pick}"),
            Fault::Hold { pick, for_us } => write!(f, "hold {pick} {for_us}"),
            Fault::HoldNode { node, for_us } => write!(f, "hold-node {node} {for_us}"),
            Fault::Crash { node, told, down_us } => write!(f, "crash {node} {} {down_us}", u8::from(told)),
            Fault::ProcessCrash { node, recovery_us } => write!(f, "process-crash {node} {recovery_us}"),
            Fault::Terminate { pick } => write!(f, "terminate {pick}"),
            Fault::RefuseLogins { node, count } => write!(f, "refuse-logins {node} {count}"),
            Fault::Inject { pick, what } => write!(f, "inject {pick} {what}"),
        }
    }
}

/// A line that is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(pub String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a fault: {:?}", self.0)
    }
}

impl std::error::Error for BadLine {}

impl FromStr for Planned {
    type Err = BadLine;

    fn from_str(line: &str) -> Result<Self, BadLine> {
        read(line).ok_or_else(|| BadLine(line.to_owned()))
    }
}

fn read(line: &str) -> Option<Planned> {
    let mut words = line.split_ascii_whitespace();
    let at_us = words.next()?.parse().ok()?;
    let name = words.next()?;
    let numbers: Vec<u32> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let small = |number: u32| u8::try_from(number).ok();
    let fault = match (name, numbers[..].as_ref()) {
        ("cut", &[pick]) => Fault::Cut { pick },
        ("hold", &[pick, for_us]) => Fault::Hold { pick, for_us },
        ("hold-node", &[node, for_us]) => Fault::HoldNode { node: small(node)?, for_us },
        ("crash", &[node, told, down_us]) => Fault::Crash { node: small(node)?, told: told != 0, down_us },
        ("process-crash", &[node, recovery_us]) => Fault::ProcessCrash { node: small(node)?, recovery_us },
        ("terminate", &[pick]) => Fault::Terminate { pick },
        ("refuse-logins", &[node, count]) => Fault::RefuseLogins { node: small(node)?, count: small(count)? },
        ("inject", &[pick, what]) => Fault::Inject { pick, what: small(what)? },
        _ => return None,
    };
    Some(Planned { at_us, fault })
}

/// A run that can be kept in a file: its seed, its topology, and the faults that are left of its schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// What stands between clients and servers.
    pub topology: Topology,
    /// The faults.
    pub faults: Vec<Planned>,
}

impl Scenario {
    /// The run that it stands for.
    pub fn plan(&self) -> Plan {
        Plan::swarm(self.seed, self.topology).with_faults(self.faults.clone())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}\ntopology {}", self.seed, self.topology.name())?;
        self.faults.iter().try_for_each(|planned| writeln!(f, "{planned}"))
    }
}

impl FromStr for Scenario {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut header = |name: &str| {
            let line = lines.next().unwrap_or_default();
            line.strip_prefix(name).map(str::trim).ok_or_else(|| BadLine(line.to_owned()))
        };
        let seed = header("seed").and_then(|word| word.parse().map_err(|_| BadLine(word.to_owned())))?;
        let topology = match header("topology")? {
            "direct" => Topology::Direct,
            "proxy" => Topology::Proxy,
            "replicated" => Topology::Replicated,
            other => return Err(BadLine(other.to_owned())),
        };
        let faults = lines.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { seed, topology, faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_as_it_is_written() {
        for seed in 0..50 {
            let plan = Plan::swarm(seed, Topology::Proxy);
            let scenario = Scenario { seed, topology: plan.topology, faults: plan.faults.clone() };
            assert_eq!(scenario.to_string().parse::<Scenario>(), Ok(scenario));
        }
        assert!("seed 1\ntopology proxy\n5 frobnicate 1".parse::<Scenario>().is_err());
    }

    #[test]
    fn the_same_seed_draws_the_same_plan() {
        assert_eq!(format!("{:?}", Plan::swarm(7, Topology::Proxy)), format!("{:?}", Plan::swarm(7, Topology::Proxy)));
    }
}

//! The goals: what pgconvoy is to reach under each workload, mostly as a ratio to a peer of the same run.

use serde_json::{Value, json};

use crate::figure::{Figure, Samples};
use crate::launch::Peer;
use crate::workload::{Mode, Script, Workload};

/// A bound on one figure.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    workload: Workload,
    figure: Figure,
    /// The peer whose figure is the measure; none for a bound on the figure itself.
    against: Option<Peer>,
    bound: Bound,
}

/// The side from which a figure is bounded, and where.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Gate {
    /// The goals for `workload` with this many servers.
    pub fn of(workload: Workload, nodes: u32) -> Vec<Self> {
        let gate = |figure, against, bound| Self { workload, figure, against, bound };
        if nodes > 1 {
            let Workload::Pgbench(Script::Select, mode, _) = workload else { return Vec::new() };
            let cpu = gate(Figure::CpuPerThousand, Some(Peer::PgconvoyAlone), Bound::AtMost(1.15));
            let faster = gate(Figure::Throughput, Some(Peer::Pgpool), Bound::AtLeast(2.0));
            return if mode == Mode::Simple { vec![cpu] } else { vec![cpu, faster] };
        }
        let no_slower_than = |peer| gate(Figure::Throughput, Some(peer), Bound::AtLeast(1.0));
        match workload {
            Workload::Pgbench(script, _, clients) => {
                let mut gates = vec![no_slower_than(Peer::Pgbouncer), no_slower_than(Peer::Pgpool)];
                gates.push(gate(Figure::LatencyP50, Some(Peer::Pgbouncer), Bound::AtMost(1.0)));
                if clients == 64 {
                    gates.push(gate(Figure::LatencyP99, Some(Peer::Pgbouncer), Bound::AtMost(1.0)));
                }
                let cpu = match (script, clients) {
                    (Script::Select, 64) => Some(1.1),
                    (Script::Select, 8) => Some(1.3),
                    _ => None,
                };
                gates.extend(cpu.map(|most| gate(Figure::CpuPerThousand, Some(Peer::Forwarder), Bound::AtMost(most))));
                gates
            }
            Workload::Connect(_) => vec![no_slower_than(Peer::Pgbouncer)],
            Workload::Transfer(_) => vec![
                gate(Figure::Bandwidth, Some(Peer::Forwarder), Bound::AtLeast(0.95)),
                gate(Figure::CpuPerBulk, None, Bound::AtMost(0.10)),
            ],
            Workload::Idle(_) => vec![gate(Figure::MemoryPerClient, None, Bound::AtMost(4.0))],
            Workload::SlowReader => vec![gate(Figure::MemoryGrowth, None, Bound::AtMost(1.0))],
        }
    }

    /// What pgconvoy got; none when one of the two sides was not measured.
    pub fn got(&self, samples: &Samples) -> Option<f64> {
        match self.against {
            Some(base) => samples.ratio(self.workload, Peer::Pgconvoy, base, self.figure),
            None => samples.median(self.workload, Peer::Pgconvoy, self.figure),
        }
    }

    /// Whether `got` is good enough.
    pub fn is_met(&self, got: f64) -> bool {
        match self.bound {
            Bound::AtMost(bound) => got <= bound,
            Bound::AtLeast(bound) => got >= bound,
        }
    }

    /// The workload, the figure and the goal in words.
    pub fn columns(&self) -> [String; 3] {
        let figure = match self.against {
            Some(base) => format!("{} / {base}'s", self.figure.heading()),
            None => self.figure.heading().to_owned(),
        };
        let bound = match self.bound {
            Bound::AtMost(bound) => format!("at most {bound:.2}"),
            Bound::AtLeast(bound) => format!("at least {bound:.2}"),
        };
        [self.workload.to_string(), figure, bound]
    }

    /// The gate and what was got, for the JSON file.
    pub fn json(&self, samples: &Samples) -> Value {
        let (at_most, at_least) = match self.bound {
            Bound::AtMost(bound) => (Some(bound), None),
            Bound::AtLeast(bound) => (None, Some(bound)),
        };
        let got = self.got(samples);
        json!({
            "workload": self.workload.to_string(),
            "figure": self.figure.key(),
            "against": self.against.map(|peer| peer.to_string()),
            "at_most": at_most,
            "at_least": at_least,
            "got": got,
            "met": got.map(|got| self.is_met(got)),
        })
    }
}

//! The figures that are measured, and how rounds are summed up.

use std::collections::BTreeMap;

use crate::launch::Peer;
use crate::workload::Workload;

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Transactions per second.
    Throughput,
    /// The median latency of a transaction, ms.
    LatencyP50,
    /// The latency that one transaction of a hundred exceeds, ms.
    LatencyP99,
    /// CPU time of the proxy, seconds per 1,000 transactions.
    CpuPerThousand,
    /// Payload moved, 10^6 bytes per second.
    Bandwidth,
    /// CPU time of the proxy, seconds per 100 * 10^6 bytes of payload.
    CpuPerBulk,
    /// Memory that one client more costs the proxy, KiB (PSS).
    MemoryPerClient,
    /// Memory of the whole proxy under the load, MiB (PSS).
    MemoryTotal,
    /// Memory that the load made the proxy take on top, MiB (PSS).
    MemoryGrowth,
}

impl Figure {
    /// Its heading in a table, with the unit.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Throughput => "tps",
            Self::LatencyP50 => "p50 ms",
            Self::LatencyP99 => "p99 ms",
            Self::CpuPerThousand => "CPU s/1,000",
            Self::Bandwidth => "MB/s",
            Self::CpuPerBulk => "CPU s/100 MB",
            Self::MemoryPerClient => "KiB/client",
            Self::MemoryTotal => "total MiB",
            Self::MemoryGrowth => "growth MiB",
        }
    }

    /// Its key in the JSON file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Throughput => "transactions_per_s",
            Self::LatencyP50 => "latency_p50_ms",
            Self::LatencyP99 => "latency_p99_ms",
            Self::CpuPerThousand => "proxy_cpu_s_per_1000_transactions",
            Self::Bandwidth => "payload_mb_per_s",
            Self::CpuPerBulk => "proxy_cpu_s_per_100_mb",
            Self::MemoryPerClient => "proxy_kib_per_client",
            Self::MemoryTotal => "proxy_total_mib",
            Self::MemoryGrowth => "proxy_growth_mib",
        }
    }
}

/// The figures of one peer under one workload in one round.
pub type Sample = BTreeMap<Figure, f64>;

/// The samples of all rounds.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<(Workload, Peer), BTreeMap<usize, Sample>>);

impl Samples {
    /// Adds what `peer` did under `workload` in `round`.
    pub fn add(&mut self, workload: Workload, peer: Peer, round: usize, sample: Sample) {
        self.0.entry((workload, peer)).or_default().insert(round, sample);
    }

    /// All samples: workload, peer, and the figures by round.
    pub fn iter(&self) -> impl Iterator<Item = (Workload, Peer, &BTreeMap<usize, Sample>)> {
        self.0.iter().map(|((workload, peer), rounds)| (*workload, *peer, rounds))
    }

    /// The median over the rounds.
    pub fn median(&self, workload: Workload, peer: Peer, figure: Figure) -> Option<f64> {
        let rounds = self.0.get(&(workload, peer))?;
        median(rounds.values().filter_map(|sample| sample.get(&figure).copied()).collect())
    }

    /// The median of each round's ratio of `peer` to `base`: rounds are compared with themselves, so that a machine
    /// that is slower for a while slows both sides of a ratio.
    pub fn ratio(&self, workload: Workload, peer: Peer, base: Peer, figure: Figure) -> Option<f64> {
        let (rounds, base_rounds) = (self.0.get(&(workload, peer))?, self.0.get(&(workload, base))?);
        let ratio_in = |(round, sample): (&usize, &Sample)| {
            let base = *base_rounds.get(round)?.get(&figure)?;
            (base > 0.0).then_some(sample.get(&figure)? / base)
        };
        median(rounds.iter().filter_map(ratio_in).collect())
    }
}

/// The middle one of `values`, or the mean of the two in the middle; none of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// The value that a `share` of `values` does not exceed; none of none.
pub fn quantile(values: &mut [u32], share: f64) -> Option<u32> {
    let last = values.len().checked_sub(1)?;
    let (_, value, _) = values.select_nth_unstable((last as f64 * share).round() as usize);
    Some(*value)
}

//! The tables that are printed and the JSON that is written.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value, json};

use crate::figure::{Figure, Samples};
use crate::gate::Gate;
use crate::launch::Peer;
use crate::workload::Workload;

/// A column: a figure itself, or its ratio to that of a peer.
type Column = (Figure, Option<Peer>);

/// pgbench's workloads.
const TRANSACTIONS: &[Column] = &[
    (Figure::Throughput, None),
    (Figure::Throughput, Some(Peer::Direct)),
    (Figure::LatencyP50, None),
    (Figure::LatencyP50, Some(Peer::Direct)),
    (Figure::LatencyP99, None),
    (Figure::LatencyP99, Some(Peer::Direct)),
    (Figure::CpuPerThousand, None),
    (Figure::CpuPerThousand, Some(Peer::Forwarder)),
];
/// Results and COPY.
const BULK: &[Column] = &[
    (Figure::Bandwidth, None),
    (Figure::Bandwidth, Some(Peer::Direct)),
    (Figure::Bandwidth, Some(Peer::Forwarder)),
    (Figure::CpuPerBulk, None),
    (Figure::CpuPerBulk, Some(Peer::Forwarder)),
];
/// Idle clients.
const IDLE: &[Column] = &[(Figure::MemoryPerClient, None), (Figure::MemoryTotal, None)];
/// A slow reader, and the latencies of its neighbour.
const SLOW_READER: &[Column] = &[(Figure::MemoryGrowth, None), (Figure::LatencyP50, None), (Figure::LatencyP99, None)];

/// Workloads that share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transactions,
    Bulk,
    Idle,
    SlowReader,
}

impl Kind {
    const fn of(workload: Workload) -> Self {
        match workload {
            Workload::Pgbench(..) | Workload::Connect(_) => Self::Transactions,
            Workload::Transfer(_) => Self::Bulk,
            Workload::Idle(_) => Self::Idle,
            Workload::SlowReader => Self::SlowReader,
        }
    }
}

/// The tables: title, columns, and the workloads that are its rows.
const TABLES: [(&str, &[Column], Kind); 4] = [
    ("Transactions", TRANSACTIONS, Kind::Transactions),
    ("100 MB by one client", BULK, Kind::Bulk),
    ("Idle clients", IDLE, Kind::Idle),
    ("A slow reader, and its neighbour's latency", SLOW_READER, Kind::SlowReader),
];

/// Everything as text: one table for each kind of workload, then the goals.
pub fn text(samples: &Samples, workloads: &[Workload], nodes: u32) -> String {
    let mut text = String::new();
    for (title, columns, kind) in TABLES {
        let shown: Vec<Workload> = workloads.iter().copied().filter(|workload| kind == Kind::of(*workload)).collect();
        if let Some(table) = figures(samples, &shown, columns) {
            text += &format!("\n{title}\n{table}\n");
        }
    }
    text + &format!("\nGoals for pgconvoy\n{}\n", goals(samples, workloads, nodes))
}

/// One table of figures; none when nothing of it was measured.
fn figures(samples: &Samples, workloads: &[Workload], columns: &[Column]) -> Option<Table> {
    let mut table = new_table();
    let headings = columns.iter().map(|(figure, base)| match base {
        Some(base) => format!("/{base}"),
        None => figure.heading().to_owned(),
    });
    table.set_header(["workload".to_owned(), "peer".to_owned()].into_iter().chain(headings));
    for workload in workloads {
        for (_, peer, _) in samples.iter().filter(|(measured, ..)| measured == workload) {
            let values = columns.iter().map(|(figure, base)| match base {
                Some(base) => samples.ratio(*workload, peer, *base, *figure).map(|ratio| format!("{ratio:.2}")),
                None => samples.median(*workload, peer, *figure).map(rounded),
            });
            let named = [workload.to_string(), peer.to_string()].into_iter();
            table.add_row(named.chain(values.map(Option::unwrap_or_default)));
        }
    }
    align_numbers(&mut table, 2);
    (table.row_count() > 0).then_some(table)
}

/// The goals beside what was got.
fn goals(samples: &Samples, workloads: &[Workload], nodes: u32) -> Table {
    let mut table = new_table();
    table.set_header(["workload", "figure", "goal", "got", ""]);
    for gate in workloads.iter().flat_map(|workload| Gate::of(*workload, nodes)) {
        let (got, verdict) = match gate.got(samples) {
            Some(got) => (format!("{got:.2}"), if gate.is_met(got) { "met" } else { "MISSED" }),
            None => (String::new(), "not measured"),
        };
        table.add_row(gate.columns().into_iter().chain([got, verdict.to_owned()]));
    }
    table
}

/// Everything as JSON: the medians, the samples behind them, and the goals.
pub fn json(samples: &Samples, workloads: &[Workload], nodes: u32, settings: &Value, failures: &[String]) -> Value {
    let results: Vec<Value> = samples
        .iter()
        .map(|(workload, peer, rounds)| {
            let figures: Map<String, Value> = rounds
                .values()
                .flat_map(|sample| sample.keys())
                .map(|figure| {
                    let all: Vec<_> = rounds.values().map(|sample| sample.get(figure)).collect();
                    let ratio = |base| samples.ratio(workload, peer, base, *figure);
                    let value = json!({
                        "median": samples.median(workload, peer, *figure),
                        "to_direct": ratio(Peer::Direct),
                        "to_forwarder": ratio(Peer::Forwarder),
                        "to_pgbouncer": ratio(Peer::Pgbouncer),
                        "rounds": all,
                    });
                    (figure.key().to_owned(), value)
                })
                .collect();
            json!({ "workload": workload.to_string(), "peer": peer.to_string(), "figures": figures })
        })
        .collect();
    let gates: Vec<Value> =
        workloads.iter().flat_map(|workload| Gate::of(*workload, nodes)).map(|gate| gate.json(samples)).collect();
    json!({ "settings": settings, "results": results, "goals": gates, "failures": failures })
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table
}

/// Numbers stand right, from column `first` on.
fn align_numbers(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Three significant digits or more.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

//! Runs pgbench and reads what it reports.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::workload::{Mode, Script};
use crate::world::{World, pgbench_connection};

/// How much longer than asked pgbench may take: a transaction that hangs keeps it for ever.
const OVERTIME: Duration = Duration::from_secs(30);

/// A load for pgbench.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The script.
    pub script: Script,
    /// How it is sent.
    pub mode: Mode,
    /// Simultaneous clients.
    pub clients: usize,
    /// Whether each transaction opens a connection of its own.
    pub reconnect: bool,
    /// How long, seconds.
    pub seconds: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Transactions done.
    pub transactions: u64,
    /// Transactions per second, by pgbench's own reckoning.
    pub throughput: f64,
    /// Latency of each transaction without its connecting, microseconds, in no order.
    pub latencies_us: Vec<u32>,
}

/// Runs `load` against `address`. A failed transaction or a lost connection is an error.
pub fn run(world: &World, address: SocketAddr, load: Load) -> Result<Outcome> {
    let folder = world.make_folder("pgbench")?;
    let threads = load.clients.min(thread::available_parallelism()?.get());
    let mut command = world.command(&world.pgbench(), &folder);
    command.args(["--no-vacuum", "--log", "--log-prefix=latency"]);
    command.arg(match load.script {
        Script::Select => "--builtin=select-only",
        Script::Tpcb => "--builtin=tpcb-like",
    });
    command.arg(format!("--protocol={}", load.mode.name()));
    command.arg(format!("--client={}", load.clients)).arg(format!("--jobs={threads}"));
    command.arg(format!("--time={}", load.seconds)).args(load.reconnect.then_some("--connect"));
    command.args(pgbench_connection(address));
    // Nobody encrypts here; not even asking keeps one round trip out of every login.
    command.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
    let output = folder.join("output");
    let printed = File::create(&output)?;
    command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed);
    let mut child = command.spawn().context("running pgbench")?;
    let ended = wait(&mut child, Duration::from_secs(load.seconds.into()) + OVERTIME);
    let report = fs::read_to_string(&output)?;
    ended.with_context(|| format!("pgbench said:\n{report}"))?;
    let failed = number_behind(&report, "number of failed transactions:").unwrap_or(0.0);
    ensure!(failed == 0.0, "{failed} transactions failed:\n{report}");
    Ok(Outcome {
        transactions: number_behind(&report, "number of transactions actually processed:")? as u64,
        throughput: number_behind(&report, "tps =")?,
        latencies_us: latencies(&folder)?,
    })
}

/// Waits for a good end of `child`; after `limit` it is killed.
fn wait(child: &mut Child, limit: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "it ended with {status}");
            return Ok(());
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("it did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The number that follows `label` in `report`.
fn number_behind(report: &str, label: &str) -> Result<f64> {
    let (_, rest) = report.split_once(label).with_context(|| format!("pgbench reports no \"{label}\":\n{report}"))?;
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.parse().with_context(|| format!("\"{label}\" is followed by \"{word}\""))
}

/// Every latency in the log files of pgbench's threads.
fn latencies(folder: &Path) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    let mut text = String::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("latency.")) {
            text.clear();
            File::open(&path)?.read_to_string(&mut text)?;
            // A line: client, its transaction number, microseconds, script, and when it ended.
            let third = |line: &str| line.split(' ').nth(2)?.parse::<u32>().ok();
            all.extend(text.lines().filter_map(third));
        }
    }
    ensure!(!all.is_empty(), "pgbench logged no transaction");
    Ok(all)
}

//! pgconvoy beside its peers, end to end: `cargo bench --bench peers`.
//!
//! PostgreSQL direct, a bare TCP forwarder, pgbouncer, pgpool-II and pgconvoy take turns under one workload after the
//! other, round by round in one run, each started afresh on one PostgreSQL server: what a machine does to one of them, it
//! does to its neighbours in the same round. Tables with medians, ratios and goals are printed; `target/peers.json` has
//! every sample. Nothing is asserted: absolute figures belong to a machine.
//!
//! Where to read, in order:
//! - [`workload`], [`figure`], [`gate`]: what is run, what is measured, what is to be reached.
//! - [`measure`]: one measurement, with [`pgbench`] and [`client`] as the load and [`usage`] as the scales.
//! - [`launch`], [`forwarder`], [`world`]: the peers, and PostgreSQL behind them.
//! - [`report`]: tables and JSON.
//!
//! Every process that is started dies with this one: PostgreSQL by its testbed's keeper, the rest by the kernel's
//! parent-death signal. All files are in the testbed's folder, which goes with it.

mod client;
mod figure;
mod forwarder;
mod gate;
mod launch;
mod measure;
mod pgbench;
mod report;
mod usage;
mod workload;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use figure::Samples;
use launch::Peer;
use workload::Workload;
use world::World;

/// Measures pgconvoy beside PostgreSQL direct, a bare TCP forwarder, pgbouncer and pgpool-II.
#[derive(Debug, Parser)]
struct Arguments {
    /// The peers to measure, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// The workloads, separated by commas: names, first words of names (select, tpcb-prepared), quick or all.
    #[arg(long, value_delimiter = ',', default_value = "quick")]
    workloads: Vec<String>,
    /// How often every measurement is made.
    #[arg(long, env = "PGCONVOY_BENCH_ROUNDS", default_value_t = 3)]
    rounds: usize,
    /// How long one measurement takes, seconds.
    #[arg(long, env = "PGCONVOY_BENCH_SECONDS", default_value_t = 1)]
    seconds: u32,
    /// pgbench's scale; TPC-B by 64 clients wants at least 64.
    #[arg(long, env = "PGCONVOY_BENCH_SCALE", default_value_t = 10)]
    scale: u32,
    /// How many servers there are: a primary and its standbys.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    nodes: u32,
    /// How many clients are idle.
    #[arg(long, env = "PGCONVOY_BENCH_IDLE_CLIENTS", default_value_t = 2000)]
    idle_clients: usize,
    /// Prints the workloads' names and measures nothing.
    #[arg(long)]
    list: bool,
    /// What cargo passes when benches are run, and not when it only tests that they can be.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program can be instead of the bench.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Role {
    /// The bare TCP forwarder.
    #[command(hide = true)]
    Forward {
        /// Where it listens.
        listen: SocketAddr,
        /// Where it connects each client to.
        server: SocketAddr,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Forward { listen, server }) = arguments.role {
        return forwarder::run(listen, server);
    }
    let all = Workload::all(arguments.idle_clients);
    if arguments.list {
        all.iter().for_each(|workload| println!("{workload}{}", if workload.is_quick() { " (quick)" } else { "" }));
        return Ok(());
    }
    if !arguments.bench {
        println!("nothing is measured without --bench, which cargo bench passes");
        return Ok(());
    }
    if let Some(unknown) =
        arguments.workloads.iter().find(|wanted| !all.iter().any(|workload| workload.is_named(wanted)))
    {
        bail!("no workload is called {unknown}; --list prints the names");
    }
    ensure!(arguments.rounds > 0 && arguments.seconds > 0, "there must be at least one round and one second");
    let wanted = |workload: &Workload| arguments.workloads.iter().any(|wanted| workload.is_named(wanted));
    let workloads: Vec<Workload> = all.into_iter().filter(wanted).collect();
    let mut peers = arguments.peers.clone();
    if peers.is_empty() {
        peers = Peer::value_variants().to_vec();
        peers.retain(|peer| arguments.nodes > 1 || *peer != Peer::PgconvoyAlone);
    }
    raise_file_limit(arguments.idle_clients)?;
    run(&arguments, &workloads, &peers)
}

/// Measures and reports.
fn run(arguments: &Arguments, workloads: &[Workload], peers: &[Peer]) -> Result<()> {
    let &Arguments { rounds, seconds, scale, nodes, idle_clients, .. } = arguments;
    let mut world = World::start(scale, idle_clients, nodes)?;
    let (samples, failures) = measure_all(&mut world, arguments, workloads, peers);
    let settings = json!({
        "rounds": rounds,
        "seconds": seconds,
        "scale": scale,
        "nodes": nodes,
        "idle_clients": idle_clients,
        "cores": std::thread::available_parallelism()?.get(),
        "server": world.ask("SHOW server_version")?,
    });
    drop(world);
    println!("medians over {rounds} round(s) of {seconds} s; a ratio is the median of the rounds' ratios");
    print!("{}", report::text(&samples, workloads, nodes));
    let json = report::json(&samples, workloads, nodes, &settings, &failures);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("the target folder has no parent")?;
    let file = target.join("peers.json");
    fs::write(&file, serde_json::to_string_pretty(&json)? + "\n")?;
    println!("\nevery sample: {}", file.display());
    ensure!(failures.is_empty(), "{} measurements failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Every peer under every workload, round by round; the samples, and what failed.
///
/// A peer that fails under a workload is not asked for that one again; the others go on.
fn measure_all(
    world: &mut World,
    arguments: &Arguments,
    workloads: &[Workload],
    peers: &[Peer],
) -> (Samples, Vec<String>) {
    let mut samples = Samples::default();
    let mut failures = Vec::new();
    let mut failed = BTreeSet::new();
    for round in 0..arguments.rounds {
        for workload in workloads.iter().copied().filter(|workload| round < workload.rounds(arguments.rounds)) {
            // Each round another peer comes first.
            let turn = peers.iter().cycle().skip(round % peers.len()).take(peers.len()).copied();
            for peer in turn {
                if failed.contains(&(workload, peer)) || (peer == Peer::Direct && workload.needs_proxy()) {
                    continue;
                }
                eprint!("round {} of {}: {workload} {peer} ... ", round + 1, arguments.rounds);
                // A progress line that cannot be written is no reason to stop measuring.
                let _ = std::io::stderr().flush();
                match measure::measure(world, peer, workload, arguments.seconds) {
                    Ok(sample) => {
                        let values = sample.iter().map(|(figure, value)| format!("{} {value:.4}", figure.heading()));
                        eprintln!("{}", values.collect::<Vec<_>>().join(", "));
                        samples.add(workload, peer, round, sample);
                    }
                    Err(error) => {
                        eprintln!("FAILED: {error:#}");
                        failures.push(format!("{workload} {peer}: {error:#}"));
                        failed.insert((workload, peer));
                    }
                }
            }
        }
    }
    (samples, failures)
}

/// Lets this process and those it starts hold two connections for each idle client.
fn raise_file_limit(idle_clients: usize) -> Result<()> {
    let needed = 2 * idle_clients as u64 + 200;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(maximum.map_or(needed, |maximum| maximum.min(needed))), maximum };
        setrlimit(Resource::Nofile, raised).context("raising the limit on open files")?;
    }
    Ok(())
}

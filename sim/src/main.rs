//! `pgconvoy-sim`: runs seeds, replays one, shrinks what fails.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pgconvoy_sim::plan::{Plan, Scenario, Topology};
use pgconvoy_sim::world::{Outcome, World};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Deterministic simulation of pgconvoy.
#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs many seeds, and stops at the first that fails.
    Run(Run),
    /// Runs one seed or scenario and prints what happens.
    Replay(Replay),
}

#[derive(Args)]
struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// What stands between clients and servers.
    #[arg(long, value_enum, default_value_t = Between::Proxy)]
    topology: Between,
    /// Runs every so many seeds twice and compares the traces.
    #[arg(long, default_value_t = 100)]
    twice_every: u64,
}

#[derive(Args)]
struct Replay {
    /// The seed.
    #[arg(long, required_unless_present = "scenario")]
    seed: Option<u64>,
    /// A file that a failure was shrunk to.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// What stands between clients and servers.
    #[arg(long, value_enum, default_value_t = Between::Proxy)]
    topology: Between,
    /// Prints only how it ends.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Between {
    /// pgconvoy.
    Proxy,
    /// Nothing.
    Direct,
}

impl Between {
    fn topology(self) -> Topology {
        match self {
            Self::Proxy => Topology::Proxy,
            Self::Direct => Topology::Direct,
        }
    }
}

fn main() -> anyhow::Result<()> {
    match Command::parse().task {
        Task::Run(run) => run_seeds(&run),
        Task::Replay(replay) => replay_one(&replay),
    }
}

fn run_seeds(run: &Run) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut events, mut answered) = (0, 0);
    let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in run.start..run.start + run.seeds {
        let plan = Plan::swarm(seed, run.topology.topology());
        let outcome = World::new(plan.clone(), false).run();
        events += outcome.events;
        answered += outcome.answered;
        for (mark, count) in &outcome.marks {
            *marks.entry(mark).or_default() += count;
        }
        if let Some(failure) = &outcome.failure {
            println!("{plan:?}seed {seed} failed at {:.6} ms: {}", failure.at.0 as f64 / 1e6, failure.what);
            bail!("seed {seed} failed");
        }
        if run.twice_every > 0 && seed % run.twice_every == 0 {
            let again = World::new(plan, false).run().trace;
            anyhow::ensure!(again == outcome.trace, "I24: seed {seed} gave trace {} and then {again}", outcome.trace);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{} seeds: {events} events, {answered} requests answered, {seconds:.1} s", run.seeds);
    println!("{:.0} events/s", events as f64 / seconds);
    for (mark, count) in marks {
        println!("{count:>10}  {mark}");
    }
    Ok(())
}

fn replay_one(replay: &Replay) -> anyhow::Result<()> {
    let plan = match (&replay.scenario, replay.seed) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.parse::<Scenario>()?.plan()
        }
        (None, Some(seed)) => Plan::swarm(seed, replay.topology.topology()),
        (None, None) => bail!("a seed or a scenario is needed"),
    };
    print!("{plan:?}");
    let outcome: Outcome = World::new(plan, !replay.quiet).run();
    println!("trace {:016x}, {} events, {} answered", outcome.trace, outcome.events, outcome.answered);
    match outcome.failure {
        None => Ok(()),
        Some(failure) => bail!("failed at {:.6} ms: {}", failure.at.0 as f64 / 1e6, failure.what),
    }
}

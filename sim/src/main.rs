//! `pgconvoy-sim`: runs seeds, replays one, shrinks what fails.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pgconvoy_core::route::Rule;
use pgconvoy_sim::plan::{Plan, Scenario, Topology};
use pgconvoy_sim::shrink::shrink;
use pgconvoy_sim::turmoil_host;
use pgconvoy_sim::world::mark::Mark;
use pgconvoy_sim::world::proxy::mutant::Mutant;
use pgconvoy_sim::world::routes::{EXPIRED, LATELY};
use pgconvoy_sim::world::{Outcome, World, verdict};
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
    /// Runs many seeds, and stops at the first that fails unless told otherwise.
    Run(Run),
    /// Runs one seed or scenario and prints what happens.
    Replay(Replay),
    /// Has clients ask where statements would go, and compares that with where they arrive.
    Explain(Explain),
    /// Plants each bug and tells which seed catches it.
    Mutants {
        /// Seeds that each bug is given.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
    },
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
    /// What is run.
    #[arg(long, value_enum, default_value_t = Layer::L1)]
    layer: Layer,
    /// Runs every so many seeds twice and compares the traces.
    #[arg(long, default_value_t = 100)]
    twice_every: u64,
    /// Runs all seeds whatever happens, and lists those that fail.
    #[arg(long)]
    keep_going: bool,
    /// Fails if a coverage mark was never reached.
    #[arg(long)]
    all_marks: bool,
}

#[derive(Args)]
struct Explain {
    /// How many statements.
    #[arg(long, default_value_t = 10_000)]
    statements: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
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
    /// What is run.
    #[arg(long, value_enum, default_value_t = Layer::L1)]
    layer: Layer,
    /// It is a seed of `explain`.
    #[arg(long)]
    explain: bool,
    /// Prints only how it ends.
    #[arg(long)]
    quiet: bool,
    /// A planted bug, by its name.
    #[arg(long)]
    mutant: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layer {
    /// The core's machines in a world of their own.
    L1,
    /// The real I/O layer on turmoil's network.
    Turmoil,
}

impl Layer {
    fn run(self, plan: &Plan) -> Outcome {
        match self {
            Self::L1 => World::new(plan.clone(), false).run(),
            Self::Turmoil => turmoil_host::run(plan),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Between {
    /// pgconvoy.
    Proxy,
    /// Nothing.
    Direct,
    /// pgconvoy, which replicates.
    Replicated,
}

impl Between {
    fn topology(self) -> Topology {
        match self {
            Self::Proxy => Topology::Proxy,
            Self::Direct => Topology::Direct,
            Self::Replicated => Topology::Replicated,
        }
    }
}

fn main() -> anyhow::Result<()> {
    match Command::parse().task {
        Task::Run(run) => run_seeds(&run),
        Task::Explain(explain) => explain_routes(&explain),
        Task::Replay(replay) => replay_one(&replay),
        Task::Mutants { seeds } => run_mutants(seeds),
    }
}

fn run_seeds(run: &Run) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut events, mut answered) = (0, 0);
    let mut marks: BTreeMap<Mark, u64> = BTreeMap::new();
    let mut failed = 0;
    for seed in run.start..run.start + run.seeds {
        let plan = Plan::swarm(seed, run.topology.topology());
        let outcome = run.layer.run(&plan);
        events += outcome.events;
        answered += outcome.answered;
        for (mark, count) in &outcome.marks {
            *marks.entry(*mark).or_default() += count;
        }
        if let Some(failure) = outcome.failure.as_ref().filter(|_| run.keep_going) {
            failed += 1;
            println!("seed {seed} failed at {:.6} ms: {}", failure.at.0 as f64 / 1e6, failure.what);
            continue;
        }
        if let Some(failure) = &outcome.failure {
            println!("{plan:?}seed {seed} failed at {:.6} ms: {}", failure.at.0 as f64 / 1e6, failure.what);
            return report_failure(&plan, run.layer);
        }
        if run.twice_every > 0 && seed % run.twice_every == 0 {
            let again = run.layer.run(&plan).trace;
            anyhow::ensure!(again == outcome.trace, "I24: seed {seed} gave trace {} and then {again}", outcome.trace);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{} seeds: {events} events, {answered} requests answered, {seconds:.1} s", run.seeds);
    println!("{:.0} events/s", events as f64 / seconds);
    for mark in Mark::ALL {
        println!("{:>10}  {mark}", marks.get(mark).copied().unwrap_or(0));
    }
    anyhow::ensure!(failed == 0, "{failed} of {} seeds failed", run.seeds);
    let missed = Mark::ALL.iter().filter(|mark| !mark.is_of_replication());
    let missed = missed.into_iter().find(|mark| run.all_marks && !marks.contains_key(mark));
    anyhow::ensure!(missed.is_none(), "no seed reached the mark {:?}", missed.map(Mark::to_string));
    Ok(())
}

/// Says how to see a failure again, and shrinks it to a file.
fn report_failure(plan: &Plan, layer: Layer) -> anyhow::Result<()> {
    let seed = plan.seed;
    let topology = match plan.topology {
        Topology::Proxy => String::new(),
        other => format!(" --topology {}", other.name()),
    };
    let layered = if layer == Layer::Turmoil { " --layer turmoil" } else { "" };
    println!("replay: cargo run --release -p pgconvoy-sim -- replay --seed {seed}{topology}{layered}");
    let scenario = shrink(plan, |plan| layer.run(&plan).failure.is_some());
    let path = format!("scenario-{seed}.txt");
    std::fs::write(&path, scenario.to_string()).with_context(|| format!("cannot write {path}"))?;
    println!("{} of {} faults are needed: {path}", scenario.faults.len(), plan.faults.len());
    bail!("seed {seed} failed")
}

/// The rules of which each must have decided some of the statements, or too little was tried. One is left out: a node
/// that is out of step is let go before anything can be asked.
const RULES: [Rule; 9] = [
    Rule::OneNode,
    Rule::Class,
    Rule::Apart,
    Rule::State,
    Rule::Written,
    Rule::Comment,
    Rule::Failed,
    Rule::Delay,
    Rule::Balanced,
];

fn explain_routes(explain: &Explain) -> anyhow::Result<()> {
    let mut by_rule: BTreeMap<String, u64> = BTreeMap::new();
    let mut seed = explain.start;
    while by_rule.values().sum::<u64>() < explain.statements {
        let plan = Plan::explaining(seed);
        let outcome = World::new(plan.clone(), false).run();
        if let Some(failure) = outcome.failure {
            println!("{plan:?}replay: cargo run --release -p pgconvoy-sim -- replay --explain --seed {seed}");
            bail!("seed {seed} failed at {:.6} ms: {}", failure.at.0 as f64 / 1e6, failure.what);
        }
        for (rule, count) in outcome.explained {
            *by_rule.entry(rule).or_default() += count;
        }
        seed += 1;
    }
    let statements: u64 = by_rule.values().sum();
    println!("{statements} statements went where EXPLAIN ROUTE had said, in {} seeds", seed - explain.start);
    for rule in Rule::ALL {
        println!("{:>10}  {}", by_rule.get(rule.code()).copied().unwrap_or(0), rule.code());
    }
    let [lately, expired] = [LATELY, EXPIRED].map(|what| by_rule.get(what).copied().unwrap_or(0));
    println!("{lately:>10}  {LATELY}\n{expired:>10}  {EXPIRED}");
    anyhow::ensure!(lately > 4 * expired, "{expired} statements were not kept from standbys, and {lately} were");
    let missed = RULES.iter().find(|rule| !by_rule.contains_key(rule.code()));
    anyhow::ensure!(missed.is_none(), "no statement was decided by {missed:?}");
    Ok(())
}

fn run_mutants(seeds: u64) -> anyhow::Result<()> {
    let mut missed = 0;
    for mutant in Mutant::ALL {
        let caught =
            (0..seeds).find_map(|seed| Some((seed, verdict(&Plan::swarm(seed, mutant.topology()), Some(mutant))?)));
        match caught {
            Some((seed, what)) => println!("{mutant:?}: seed {seed}: {what}"),
            None => {
                missed += 1;
                println!("{mutant:?}: not caught in {seeds} seeds");
            }
        }
    }
    anyhow::ensure!(missed == 0, "{missed} planted bugs were not caught");
    Ok(())
}

fn replay_one(replay: &Replay) -> anyhow::Result<()> {
    let plan = match (&replay.scenario, replay.seed) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.parse::<Scenario>()?.plan()
        }
        (None, Some(seed)) if replay.explain => Plan::explaining(seed),
        (None, Some(seed)) => Plan::swarm(seed, replay.topology.topology()),
        (None, None) => bail!("a seed or a scenario is needed"),
    };
    let mutant = match &replay.mutant {
        Some(name) => Some(Mutant::named(name).with_context(|| format!("no planted bug is called {name}"))?),
        None => None,
    };
    print!("{plan:?}");
    let outcome = match replay.layer {
        Layer::L1 => World::with_mutant(plan, !replay.quiet, mutant).run(),
        Layer::Turmoil => turmoil_host::run(&plan),
    };
    println!("trace {:016x}, {} events, {} answered", outcome.trace, outcome.events, outcome.answered);
    match outcome.failure {
        None => Ok(()),
        Some(failure) => bail!("failed at {:.6} ms: {}", failure.at.0 as f64 / 1e6, failure.what),
    }
}

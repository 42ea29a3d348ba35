//! pgconvoy's machines in the world, whole and with planted bugs.

use pgconvoy_sim::plan::{Plan, Scenario, Topology};
use pgconvoy_sim::shrink::shrink;
use pgconvoy_sim::world::World;
use pgconvoy_sim::world::proxy::mutant::Mutant;

/// More seeds than any planted bug has needed, with room to spare.
const SEEDS: u64 = 400;

fn plan(seed: u64) -> Plan {
    Plan::swarm(seed, Topology::Proxy)
}

/// The first seed that catches a mutant and what it says.
fn caught(mutant: Mutant) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        let failure = World::with_mutant(plan(seed), false, Some(mutant)).run().failure?;
        Some((seed, failure.what))
    })
}

#[test]
fn pgconvoy_satisfies_every_checker() {
    let mut answered = 0;
    for seed in 0..40 {
        let outcome = World::new(plan(seed), false).run();
        assert_eq!(outcome.failure, None, "replay with: cargo run --release -p pgconvoy-sim -- replay --seed {seed}");
        answered += outcome.answered;
    }
    assert!(answered > 1_000, "only {answered} requests were answered: the workloads do too little");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        assert_eq!(World::new(plan(seed), false).run().trace, World::new(plan(seed), false).run().trace, "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_caught() {
    for mutant in Mutant::ALL {
        let (seed, what) = caught(mutant).unwrap_or_else(|| panic!("{mutant:?} was not caught in {SEEDS} seeds"));
        println!("{mutant:?}: seed {seed}: {what}");
    }
}

#[test]
fn a_planted_bugs_seed_shrinks_and_replays() {
    let mutant = Some(Mutant::LeakLink);
    let fails = |plan: Plan| World::with_mutant(plan, false, mutant).run().failure.is_some();
    let (seed, _) = caught(Mutant::LeakLink).expect("it is caught");
    let scenario = shrink(&plan(seed), fails);
    assert!(scenario.faults.len() <= 50);
    let read: Scenario = scenario.to_string().parse().expect("a scenario is read as it is written");
    assert!(fails(read.plan()), "the scenario does not fail any more:\n{scenario}");
}

//! pgconvoy's machines in the world, whole and with planted bugs.

use pgconvoy_sim::plan::{Plan, Scenario, Topology};
use pgconvoy_sim::shrink::shrink;
use pgconvoy_sim::world::proxy::mutant::Mutant;
use pgconvoy_sim::world::{World, verdict};

/// More seeds than any planted bug has needed, with room to spare.
const SEEDS: u64 = 2_000;
/// Faults that a failure may be shrunk to at most.
const FAULTS: usize = 50;

fn plan(seed: u64) -> Plan {
    Plan::swarm(seed, Topology::Proxy)
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
fn servers_that_are_replicated_to_stay_alike() {
    for seed in 0..60 {
        let outcome = World::new(Plan::swarm(seed, Topology::Replicated), false).run();
        assert_eq!(outcome.failure, None, "replay --topology replicated --seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| World::new(plan(seed), false).run().trace;
    for seed in 0..40 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

#[test]
fn every_planted_bug_is_caught_by_the_checker_that_it_is_planted_for() {
    for mutant in Mutant::ALL {
        let caught = (0..SEEDS).find_map(|seed| {
            let plan = Plan::swarm(seed, mutant.topology());
            let what = verdict(&plan, Some(mutant)).filter(|what| what.contains(mutant.breaks()))?;
            Some((seed, what))
        });
        let Some((seed, what)) = caught else { panic!("{mutant:?} was not caught in {SEEDS} seeds") };
        println!("{mutant:?}: seed {seed}: {what}");
    }
}

#[test]
fn a_planted_bugs_seed_shrinks_and_replays() {
    for mutant in [Mutant::LeakLink, Mutant::ForgetCancel, Mutant::KeepHalfSent] {
        let fails = |plan: Plan| verdict(&plan, Some(mutant)).is_some_and(|what| what.contains(mutant.breaks()));
        let seed = (0..SEEDS).find(|seed| fails(plan(*seed))).expect("it is caught");
        let scenario = shrink(&plan(seed), fails);
        assert!(scenario.faults.len() <= FAULTS, "{mutant:?} needs {} faults", scenario.faults.len());
        let read: Scenario = scenario.to_string().parse().expect("a scenario is read as it is written");
        assert!(fails(read.plan()), "the scenario does not fail any more:\n{scenario}");
        for at in 0..scenario.faults.len() {
            let mut fewer = scenario.faults.clone();
            fewer.remove(at);
            assert!(!fails(plan(seed).with_faults(fewer)), "{mutant:?}: fault {at} is not needed:\n{scenario}");
        }
    }
}

//! Clients and servers without pgconvoy in between: the checkers must find nothing, or they would blame pgconvoy later.

use pgconvoy_sim::plan::{Plan, Topology};
use pgconvoy_sim::world::World;

#[test]
fn postgresql_alone_satisfies_every_checker() {
    let mut answered = 0;
    for seed in 0..60 {
        let outcome = World::new(Plan::swarm(seed, Topology::Direct), false).run();
        assert_eq!(outcome.failure, None, "seed {seed}");
        answered += outcome.answered;
    }
    assert!(answered > 2_000, "only {answered} requests were answered: the workloads do too little");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| World::new(Plan::swarm(seed, Topology::Direct), false).run().trace;
    for seed in 0..10 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

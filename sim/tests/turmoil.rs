//! The real I/O layer on turmoil's network: some seeds of layer L2.

use pgconvoy_sim::plan::{Plan, Topology};
use pgconvoy_sim::turmoil_host::run;

#[test]
fn the_real_io_layer_satisfies_every_checker() {
    let mut answered = 0;
    for seed in 0..8 {
        let outcome = run(&Plan::swarm(seed, Topology::Proxy));
        assert_eq!(outcome.failure, None, "replay --layer turmoil --seed {seed}");
        answered += outcome.answered;
    }
    assert!(answered > 200, "only {answered} requests were answered");
}

#[test]
fn the_real_io_layer_keeps_servers_alike() {
    for seed in 0..4 {
        let outcome = run(&Plan::swarm(seed, Topology::Replicated));
        assert_eq!(outcome.failure, None, "replay --layer turmoil --topology replicated --seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 4] {
        let plan = Plan::swarm(seed, Topology::Proxy);
        assert_eq!(run(&plan).trace, run(&plan).trace, "seed {seed}");
    }
}

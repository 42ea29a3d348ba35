//! What a whole transaction costs a session apart from system calls: pgbench's SELECT there and its reply back; and what of
//! that is the route of a prepared statement (target: 50 ns).

#[path = "stage/exchange.rs"]
mod exchange;
mod stage;
#[path = "stage/thread_time.rs"]
mod thread_time;

use criterion::{Criterion, criterion_group, criterion_main};
use exchange::Exchange;
use pgconvoy_core::session::Peer;
use stage::Stage;
use std::hint::black_box;
use thread_time::ThreadTime;

fn transactions(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("relay");
    for (name, exchange) in
        [("simple", Exchange::simple()), ("extended", Exchange::extended()), ("prepared", Exchange::prepared())]
    {
        for (nodes, with_standby) in [("one node", false), ("two nodes", true)] {
            let mut stage = Stage::logged_in(with_standby);
            Exchange::preparation().play(&mut stage);
            group.bench_function(format!("select {name}, {nodes}"), |bencher| {
                bencher.iter(|| exchange.play(&mut stage));
            });
        }
    }
    group.finish();
}

/// Where a prepared statement runs: what a session with a standby asks itself whenever one is bound.
fn prepared_route(criterion: &mut Criterion<ThreadTime>) {
    let mut stage = Stage::logged_in(true);
    Exchange::preparation().play(&mut stage);
    let server = stage.server;
    criterion.bench_function("route/prepared", |bencher| {
        bencher.iter(|| {
            let node = stage.session.prepared_runs_on(black_box(b"P_0"));
            assert_eq!(node.map(Peer::Node), Some(server));
        });
    });
}

criterion_group!(name = benches; config = thread_time::criterion(); targets = transactions, prepared_route);
criterion_main!(benches);

//! What a whole transaction costs a session apart from system calls: pgbench's SELECT there and its reply back.

#[path = "stage/exchange.rs"]
mod exchange;
mod stage;
#[path = "stage/thread_time.rs"]
mod thread_time;

use criterion::{Criterion, criterion_group, criterion_main};
use exchange::Exchange;
use stage::Stage;
use thread_time::ThreadTime;

fn transactions(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("relay");
    for (name, exchange) in
        [("simple", Exchange::simple()), ("extended", Exchange::extended()), ("prepared", Exchange::prepared())]
    {
        let mut stage = Stage::logged_in();
        Exchange::preparation().play(&mut stage);
        group.bench_function(format!("select {name}"), |bencher| bencher.iter(|| exchange.play(&mut stage)));
    }
    group.finish();
}

criterion_group!(name = benches; config = thread_time::criterion(); targets = transactions);
criterion_main!(benches);

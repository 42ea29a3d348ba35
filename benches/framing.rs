//! What it costs a session to find the boundaries of rows that go by: time per DataRow of 100 bytes. The goal is 10 ns.

mod stage;
#[path = "stage/thread_time.rs"]
mod thread_time;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pgconvoy_core::limits::READ_BYTES;
use pgconvoy_core::session::Peer;
use stage::{Stage, data_row, query, row_description};
use thread_time::ThreadTime;

/// Length of a whole DataRow, bytes.
const ROW_BYTES: usize = 100;

/// Reads as long as the driver's, in the middle of an endless result; the time of `handle_read` alone.
fn rows(criterion: &mut Criterion<ThreadTime>) {
    let rows = READ_BYTES / ROW_BYTES;
    let read = data_row(ROW_BYTES).repeat(rows);
    criterion.bench_function("framing/row of 100 bytes", |bencher| {
        let mut stage = Stage::logged_in(false);
        stage.relay(Peer::Client, &query("SELECT abalance FROM pgbench_accounts"));
        stage.relay(stage.server, &row_description());
        bencher.iter_custom(|iterations| {
            let reads = iterations.div_ceil(rows as u64);
            let mut busy = Duration::ZERO;
            for _ in 0..reads {
                stage.fill(&read);
                let begun = thread_time::now();
                stage.handle_read(stage.server);
                busy += thread_time::now() - begun;
                assert_eq!(stage.write(Peer::Client), read.len(), "rows are lost");
            }
            // An iteration is a row; a read brings many.
            busy.mul_f64(iterations as f64 / (reads * rows as u64) as f64)
        });
    });
}

criterion_group!(name = benches; config = thread_time::criterion(); targets = rows);
criterion_main!(benches);

//! Once a session is warm, nothing is allocated for what it relays, however long it lasts.

#[path = "../benches/stage/exchange.rs"]
mod exchange;
#[path = "../benches/stage/mod.rs"]
mod stage;

use allocation_counter::measure;
use exchange::Exchange;
use pgconvoy_core::limits::{DECISIONS, SMALL_CHUNK_BYTES};
use pgconvoy_core::session::Peer;
use pgconvoy_core::wire::HEADER_BYTES;
use stage::{Stage, data_row, query, row_description};

/// Length of a whole DataRow, bytes.
const ROW_BYTES: usize = 100;
/// Enough for every queue and table of a session, and for its worker's ring of decisions, to have grown to its size.
const WARMING: usize = DECISIONS + 100;
/// More than any amortised growth could hide in.
const MEASURED: usize = 10_000;

#[test]
fn a_select_through_a_warm_session_allocates_nothing() {
    let exchanges =
        [("simple", Exchange::simple()), ("extended", Exchange::extended()), ("prepared", Exchange::prepared())];
    for (name, exchange) in exchanges {
        // With a standby, each statement is classified, and routed by what its names mean.
        for with_standby in [false, true] {
            let mut stage = Stage::logged_in(with_standby);
            Exchange::preparation().play(&mut stage);
            (0..WARMING).for_each(|_| exchange.play(&mut stage));
            let count = measure(|| (0..MEASURED).for_each(|_| exchange.play(&mut stage))).count_total;
            assert_eq!(count, 0, "allocations in {MEASURED} transactions, {name} protocol, standby {with_standby}");
        }
    }
}

#[test]
fn rows_that_go_by_allocate_nothing() {
    // Reads end in the middle of a row's value, as they do on a socket.
    let rows = data_row(ROW_BYTES).repeat(1_000);
    let mut stage = in_a_result();
    let mut go_by = || assert_eq!(stage.relay(stage.server, &rows), rows.len(), "rows are lost");
    (0..WARMING).for_each(|_| go_by());
    let count = measure(|| (0..MEASURED / 100).for_each(|_| go_by())).count_total;
    assert_eq!(count, 0, "allocations in {} rows", MEASURED * 10);
}

#[test]
fn only_a_header_that_is_cut_in_two_is_put_aside() {
    let rows = data_row(ROW_BYTES).repeat(10_000);
    for read_bytes in [997, 9_973, 64_997] {
        let mut stage = in_a_result();
        let mut go_by = || rows.chunks(read_bytes).map(|read| stage.relay(stage.server, read)).sum::<usize>();
        assert_eq!(go_by(), rows.len(), "rows are lost");
        let taken = measure(|| assert_eq!(go_by(), rows.len(), "rows are lost"));
        let ends = (1..=rows.len() / read_bytes).map(|read| read * read_bytes % ROW_BYTES);
        let cut = ends.filter(|inside| (1..HEADER_BYTES).contains(inside)).count() as u64;
        // The bytes that are there, the bytes with those that follow, and the handle by which they are shared. What is
        // small may be copied behind them.
        let (count, bytes) = (taken.count_total, taken.bytes_total);
        assert!(count <= 3 * cut, "{count} allocations for {cut} headers that reads of {read_bytes} bytes cut in two");
        assert!(
            bytes <= (128 + SMALL_CHUNK_BYTES as u64) * cut,
            "{bytes} bytes for {cut} headers that reads of {read_bytes} bytes cut in two"
        );
    }
}

#[test]
fn the_counter_counts() {
    let count = measure(|| drop(std::hint::black_box(vec![0u8; 64]))).count_total;
    assert_eq!(count, 1);
}

/// A session that waits for rows.
fn in_a_result() -> Stage {
    let mut stage = Stage::logged_in(false);
    stage.relay(Peer::Client, &query("SELECT abalance FROM pgbench_accounts"));
    stage.relay(stage.server, &row_description());
    stage
}

//! When each table was written last, by whatever session of the process: until every standby has it, reads of the table
//! stay with the primary (`disable_load_balance_on_write = dml_adaptive_global`, pgpool's `track_table_mutation`).
//!
//! A moment per slot of a table, found by a hash of the names, without a lock: a write is noted before its client hears
//! of it, so that whoever hears of it reads it. Names that share a slot cost reads that could have left the primary; no
//! name is ever forgotten before its time.

use crate::node::NodeId;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

/// The shortest time for which a written table is read from the primary, in milliseconds.
const SHORTEST_MS: u64 = 100;
/// That time where the delay is not known as a time and has no limit, in milliseconds.
const LONGEST_MS: u64 = 60_000;

/// For how long a write matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// In thousandths of a standby's delay (`track_table_mutation_ttl_factor`).
    pub factor_milli: u64,
    /// Never longer than that, if it is not zero (`track_table_mutation_max_staleness`).
    pub longest: Duration,
    /// How long nothing is known of others' writes after a start, or under a new primary
    /// (`track_table_mutation_cold_start_duration`).
    pub cold_start: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        let (longest, cold_start) = (Duration::from_millis(LONGEST_MS), Duration::from_millis(2_000));
        Self { factor_milli: 5_000, longest, cold_start }
    }
}

impl Rules {
    /// How long a table is read from the primary after a write, given how far behind a standby is; `None` if that is not
    /// known as a time.
    pub fn lifetime(&self, delay: Option<Duration>) -> Duration {
        let limit = if self.longest.is_zero() { Duration::MAX } else { self.longest };
        let Some(delay) = delay else { return limit.min(Duration::from_millis(LONGEST_MS)) };
        let ns = delay.as_nanos().saturating_mul(u128::from(self.factor_milli)) / 1_000;
        let wanted = Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
        wanted.max(Duration::from_millis(SHORTEST_MS)).min(limit)
    }
}

/// The moments of the last writes.
#[derive(Debug)]
pub struct Mutations {
    /// Nanoseconds after the clock's start, plus one; zero for never.
    written: Box<[AtomicU64]>,
    /// The primary's number, plus one.
    primary: AtomicU64,
    /// Since when it has been the primary.
    since: AtomicU64,
}

impl Mutations {
    /// Nothing has been written yet. More `slots` tell more names apart.
    pub fn new(slots: usize) -> Self {
        let written = (0..slots.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { written, primary: AtomicU64::new(0), since: AtomicU64::new(0) }
    }

    /// `node` is the primary.
    pub fn serves(&self, node: NodeId, now: Instant) {
        let number = u64::from(node.0) + 1;
        if self.primary.load(Ordering::Acquire) != number {
            self.since.store(now.0, Ordering::Release);
            self.primary.store(number, Ordering::Release);
        }
    }

    /// Whether what others have written is not known yet.
    pub fn is_cold(&self, now: Instant, rules: &Rules) -> bool {
        now.since(Instant(self.since.load(Ordering::Acquire))) < rules.cold_start
    }

    /// A table was written; `None` if it is not known which.
    pub fn note(&self, database: &[u8], table: Option<&[u8]>, now: Instant) {
        self.slot(database, table).fetch_max(now.0 + 1, Ordering::AcqRel);
    }

    /// Whether a table was written less than `lifetime` ago.
    pub fn is_recent(&self, database: &[u8], table: &[u8], now: Instant, lifetime: Duration) -> bool {
        [Some(table), None].into_iter().any(|table| {
            let written = self.slot(database, table).load(Ordering::Acquire);
            written > 0 && now.since(Instant(written - 1)) < lifetime
        })
    }

    fn slot(&self, database: &[u8], table: Option<&[u8]>) -> &AtomicU64 {
        // FNV-1a; a name has no zero byte.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = database.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| step(hash, *byte));
        let hash = table.unwrap_or(b"\0").iter().fold(step(hash, 0), |hash, byte| step(hash, *byte));
        &self.written[crate::rng::scale(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15), self.written.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_write_is_remembered_for_its_time() {
        let mutations = Mutations::new(2048);
        let at = |ms: u64| Instant::ZERO.after(MS * ms as u32);
        assert!(!mutations.is_recent(b"shop", b"t", at(0), Duration::MAX));
        mutations.note(b"shop", Some(b"t"), at(10));
        for (database, table, now, recent) in [
            ("shop", "t", 10, true),
            ("shop", "t", 109, true),
            ("shop", "t", 110, false),
            ("shop", "u", 10, false),
            ("other", "t", 10, false),
        ] {
            let found = mutations.is_recent(database.as_bytes(), table.as_bytes(), at(now), MS * 100);
            assert_eq!(found, recent, "{database} {table} {now}");
        }
        mutations.note(b"shop", None, at(200));
        assert!(mutations.is_recent(b"shop", b"u", at(250), MS * 100), "who knows what was written");
        assert!(!mutations.is_recent(b"other", b"u", at(250), MS * 100));
        mutations.note(b"shop", None, at(150));
        assert!(mutations.is_recent(b"shop", b"u", at(299), MS * 100), "a late note takes nothing back");
    }

    #[test]
    fn a_new_primary_starts_cold() {
        let (mutations, rules) = (Mutations::new(1), Rules::default());
        let at = |ms: u64| Instant::ZERO.after(MS * ms as u32);
        mutations.serves(NodeId(0), at(0));
        mutations.serves(NodeId(0), at(1_500));
        assert!(mutations.is_cold(at(1_999), &rules) && !mutations.is_cold(at(2_000), &rules));
        mutations.serves(NodeId(1), at(5_000));
        assert!(mutations.is_cold(at(6_999), &rules) && !mutations.is_cold(at(7_000), &rules));
    }

    #[test]
    fn a_write_matters_as_long_as_the_standbys_take() {
        let rules = Rules::default();
        let forever = Rules { longest: Duration::ZERO, ..rules };
        for (rules, delay, ms) in [
            (rules, Some(0), 100),
            (rules, Some(200), 1_000),
            (rules, Some(100_000), 60_000),
            (forever, Some(100_000), 500_000),
            (rules, None, 60_000),
            (forever, None, 60_000),
            (Rules { longest: MS * 50, ..rules }, Some(0), 50),
        ] {
            assert_eq!(rules.lifetime(delay.map(|ms| MS * ms)), MS * ms, "{rules:?} {delay:?}");
        }
    }
}

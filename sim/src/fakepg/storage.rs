//! The table `kv`, its write-ahead log, and a standby's lagging copy of both.

use bytes::Bytes;
use pgconvoy_core::time::{Duration, Instant};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One row's new value; `None` deletes it.
pub type RowChange = (u32, Option<Bytes>);

/// The log of one timeline, shared by the server that writes it and the standbys that follow it.
pub type SharedWal = Rc<RefCell<Wal>>;

/// What a transaction wrote, in the order of commits.
#[derive(Debug)]
struct Record {
    committed_at: Instant,
    lsn: u64,
    changes: Vec<RowChange>,
}

/// A write-ahead log from one promotion to the next.
#[derive(Debug)]
pub struct Wal {
    timeline: u32,
    records: Vec<Record>,
    end_lsn: u64,
}

impl Wal {
    /// The empty log of a new cluster.
    pub fn new() -> SharedWal {
        Rc::new(RefCell::new(Self { timeline: 1, records: Vec::new(), end_lsn: 0x0100_0000 }))
    }
}

/// Whether a server writes its log or follows another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It writes.
    Primary,
    /// It applies what others wrote, this much later.
    Standby {
        /// Time from commit to visibility.
        lag: Duration,
    },
}

/// The data of one server.
#[derive(Debug)]
pub struct Storage {
    wal: SharedWal,
    rows: BTreeMap<u32, Bytes>,
    applied: usize,
    recovery: Recovery,
}

impl Storage {
    /// Data that starts empty and follows or writes `wal`.
    pub fn new(wal: SharedWal, recovery: Recovery) -> Self {
        Self { wal, rows: BTreeMap::new(), applied: 0, recovery }
    }

    /// Whether this server writes.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The timeline that is written or followed.
    pub fn timeline(&self) -> u32 {
        self.wal.borrow().timeline
    }

    /// The end of what is visible here, as a byte position.
    pub fn lsn(&self) -> u64 {
        let wal = self.wal.borrow();
        if self.applied == 0 { 0x0100_0000 } else { wal.records[self.applied - 1].lsn }
    }

    /// Applies what a standby has received by `now`; nothing on a primary, which has applied it all.
    pub fn advance(&mut self, now: Instant) {
        let Recovery::Standby { lag } = self.recovery else { return };
        let wal = self.wal.borrow();
        for record in wal.records[self.applied..].iter().take_while(|record| record.committed_at.after(lag) <= now) {
            apply(&mut self.rows, &record.changes);
            self.applied += 1;
        }
    }

    /// Commits `changes` on the primary.
    pub fn commit(&mut self, changes: Vec<RowChange>, now: Instant) {
        assert_eq!(self.recovery, Recovery::Primary, "a standby committed a write");
        apply(&mut self.rows, &changes);
        let mut wal = self.wal.borrow_mut();
        wal.end_lsn += 64 * (1 + changes.len() as u64);
        let lsn = wal.end_lsn;
        wal.records.push(Record { committed_at: now, lsn, changes });
        self.applied = wal.records.len();
    }

    /// Ends recovery: what has been applied so far becomes the start of the next timeline.
    pub fn promote(&mut self, now: Instant) {
        self.advance(now);
        if self.recovery == Recovery::Primary {
            return;
        }
        let wal = self.wal.borrow();
        let kept = wal.records[..self.applied]
            .iter()
            .map(|r| Record { committed_at: r.committed_at, lsn: r.lsn, changes: r.changes.clone() })
            .collect();
        let next = Wal { timeline: wal.timeline + 1, records: kept, end_lsn: self.lsn() };
        drop(wal);
        self.wal = Rc::new(RefCell::new(next));
        self.recovery = Recovery::Primary;
    }

    /// All committed rows in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.rows.iter().map(|(key, value)| (*key, value))
    }

    /// The committed value of a row.
    pub fn get(&self, key: u32) -> Option<&Bytes> {
        self.rows.get(&key)
    }
}

fn apply(rows: &mut BTreeMap<u32, Bytes>, changes: &[RowChange]) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(*key, value.clone()),
            None => rows.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Instant {
        Instant::ZERO.after(Duration::from_millis(ms))
    }

    #[test]
    fn a_standby_sees_a_commit_when_the_lag_has_passed() {
        let wal = Wal::new();
        let mut primary = Storage::new(wal.clone(), Recovery::Primary);
        let mut standby = Storage::new(wal, Recovery::Standby { lag: LAG });
        primary.commit(vec![(1, Some(Bytes::from_static(b"one")))], at(5));
        standby.advance(at(14));
        assert_eq!((standby.get(1), standby.lsn() < primary.lsn()), (None, true));
        standby.advance(at(15));
        assert_eq!((standby.get(1), standby.lsn()), (primary.get(1), primary.lsn()));
    }

    #[test]
    fn promotion_starts_a_timeline_that_the_old_primary_does_not_share() {
        let wal = Wal::new();
        let mut old = Storage::new(wal.clone(), Recovery::Primary);
        let mut new = Storage::new(wal, Recovery::Standby { lag: LAG });
        old.commit(vec![(1, Some(Bytes::from_static(b"kept")))], at(0));
        old.commit(vec![(1, Some(Bytes::from_static(b"lost")))], at(18));
        new.promote(at(20));
        assert_eq!((new.timeline(), new.recovery()), (2, Recovery::Primary));
        new.commit(vec![(2, None)], at(21));
        assert_eq!(new.get(1).map(|v| &v[..]), Some(&b"kept"[..]));
        assert_eq!((old.timeline(), old.get(1).map(|v| &v[..])), (1, Some(&b"lost"[..])));
    }
}

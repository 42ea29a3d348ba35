//! What a client has written, and what must be there of it (invariant I08): nobody else writes its rows.

use std::collections::{BTreeMap, BTreeSet};

/// A row's value: the request that wrote it; `None` when there is no such row.
pub type Value = Option<u32>;

/// What a statement does to rows of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing.
    None,
    /// It adds rows with this key and those behind it, as many as it says.
    Insert(u32),
    /// It gives the row of this key, if there is one, its own request as value.
    Update(u32),
    /// It deletes the row of this key, if there is one.
    Delete(u32),
}

/// The rows of one client, as far as answers have told.
#[derive(Debug, Default)]
pub struct Ledger {
    committed: BTreeMap<u32, u32>,
    /// What the open transaction has changed, in order.
    open: Vec<(u32, Value)>,
    /// How much of it ROLLBACK TO keeps.
    savepoint: usize,
    /// Keys whose rows have not been compared since they were last written.
    unchecked: BTreeSet<u32>,
}

impl Ledger {
    /// What the session itself sees of a row.
    pub fn value(&self, key: u32) -> Value {
        let changed = self.open.iter().rev().find(|(changed, _)| *changed == key).map(|(_, value)| *value);
        changed.unwrap_or_else(|| self.committed.get(&key).copied())
    }

    /// How many rows a statement must say to have changed; `None` when it is told by whoever made it.
    pub fn counts(&self, write: Write) -> Option<u32> {
        match write {
            Write::Update(key) | Write::Delete(key) => Some(u32::from(self.value(key).is_some())),
            Write::None | Write::Insert(_) => None,
        }
    }

    /// A statement of `request` has changed so many rows.
    pub fn wrote(&mut self, write: Write, request: u32, count: u32) {
        match write {
            Write::None => {}
            Write::Insert(first) => self.open.extend((first..first + count).map(|key| (key, Some(request)))),
            Write::Update(key) if count > 0 => self.open.push((key, Some(request))),
            Write::Delete(key) if count > 0 => self.open.push((key, None)),
            Write::Update(_) | Write::Delete(_) => {}
        }
    }

    /// SAVEPOINT.
    pub fn mark(&mut self) {
        self.savepoint = self.open.len();
    }

    /// ROLLBACK TO that savepoint.
    pub fn rewind(&mut self) {
        self.open.truncate(self.savepoint);
    }

    /// The transaction is over.
    pub fn end(&mut self, committed: bool) {
        self.savepoint = 0;
        for (key, value) in self.open.drain(..) {
            self.unchecked.insert(key);
            if !committed {
                continue;
            }
            match value {
                Some(request) => self.committed.insert(key, request),
                None => self.committed.remove(&key),
            };
        }
    }

    /// The rows that were written since the last call, and what their values must be now.
    pub fn settle(&mut self) -> impl Iterator<Item = (u32, Value)> {
        std::mem::take(&mut self.unchecked).into_iter().map(|key| (key, self.committed.get(&key).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_there_and_nothing_else() {
        let mut ledger = Ledger::default();
        ledger.wrote(Write::Insert(7), 1, 2);
        ledger.end(true);
        ledger.wrote(Write::Update(7), 2, 1);
        ledger.mark();
        ledger.wrote(Write::Delete(8), 3, 1);
        assert_eq!((ledger.value(7), ledger.value(8)), (Some(2), None));
        ledger.rewind();
        assert_eq!(ledger.counts(Write::Delete(8)), Some(1));
        ledger.end(true);
        ledger.wrote(Write::Insert(9), 4, 1);
        ledger.end(false);
        let rows: Vec<_> = ledger.settle().collect();
        assert_eq!(rows, [(7, Some(2)), (8, Some(1)), (9, None)]);
        assert_eq!(ledger.settle().count(), 0);
    }
}

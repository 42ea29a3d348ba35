//! What is to happen, in the order of time and then of planning: the same seed gives the same order.

use pgconvoy_core::time::Instant;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    seq: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// The earliest is the greatest, because a binary heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// Events to come.
#[derive(Debug)]
pub struct Heap<E> {
    entries: BinaryHeap<Entry<E>>,
    seq: u64,
}

impl<E> Default for Heap<E> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), seq: 0 }
    }
}

impl<E> Heap<E> {
    /// Plans `event`.
    pub fn push(&mut self, at: Instant, event: E) {
        self.seq += 1;
        self.entries.push(Entry { at, seq: self.seq, event });
    }

    /// The next event and its moment.
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        self.entries.pop().map(|entry| (entry.at, entry.event))
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.entries.peek().map(|entry| entry.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_planned() {
        let mut heap = Heap::default();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            heap.push(Instant(at), event);
        }
        let order: String = std::iter::from_fn(|| heap.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, "abcd");
    }
}

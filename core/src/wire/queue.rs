//! Bytes on their way to one peer.

use alloc::collections::VecDeque;
use bytes::{Buf, Bytes};

/// A queue of byte chunks that have been decided but not written. The driver writes `chunks` and `advance`s.
///
/// The first chunk sits inline, so a queue that never backs up never allocates.
#[derive(Debug, Default)]
pub struct WriteQueue {
    head: Bytes,
    rest: VecDeque<Bytes>,
    len: usize,
    /// Everything queued has memory of its own already.
    detached: bool,
}

impl WriteQueue {
    /// Appends `chunk` without copying it.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.len += chunk.len();
        self.detached = false;
        if self.head.is_empty() {
            debug_assert!(self.rest.is_empty(), "chunks behind an empty head");
            self.head = chunk;
        } else {
            self.rest.push_back(chunk);
        }
    }

    /// Appends a copy of `bytes`.
    pub fn push_copy(&mut self, bytes: &[u8]) {
        self.push(Bytes::copy_from_slice(bytes));
    }

    /// The first byte slices to write, in order; returns how many of `out` were filled.
    pub fn chunks<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        let mut filled = 0;
        if self.head.is_empty() {
            return 0;
        }
        for (slot, chunk) in out.iter_mut().zip(core::iter::once(&self.head).chain(self.rest.iter())) {
            *slot = chunk;
            filled += 1;
        }
        filled
    }

    /// Takes away `written` bytes from the front.
    pub fn advance(&mut self, mut written: usize) {
        assert!(written <= self.len, "more was written than was queued");
        self.len -= written;
        while written >= self.head.len() {
            written -= self.head.len();
            match self.rest.pop_front() {
                Some(next) => self.head = next,
                None => {
                    self.head = Bytes::new();
                    return;
                }
            }
        }
        self.head.advance(written);
    }

    /// Copies what is queued into memory of its own, so that a large shared read buffer behind it is freed.
    pub fn detach(&mut self) {
        if self.len == 0 || self.detached {
            return;
        }
        let mut own = alloc::vec::Vec::with_capacity(self.len);
        own.extend_from_slice(&self.head);
        for chunk in self.rest.drain(..) {
            own.extend_from_slice(&chunk);
        }
        self.head = Bytes::from(own);
        self.detached = true;
    }

    /// Forgets everything, because the peer is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The count of bytes kept beside the chunks agrees with them.
    pub fn invariants(&self) {
        let sum = self.head.len() + self.rest.iter().map(Bytes::len).sum::<usize>();
        assert_eq!(self.len, sum, "the byte count of a write queue is off");
        assert!(!self.head.is_empty() || self.rest.is_empty(), "chunks behind an empty head");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn drain(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !queue.is_empty() {
            let mut slices: [&[u8]; 3] = [&[]; 3];
            let n = queue.chunks(&mut slices);
            let flat: Vec<u8> = slices[..n].concat();
            let take = step.min(flat.len());
            all.extend_from_slice(&flat[..take]);
            queue.advance(take);
            queue.invariants();
        }
        all
    }

    #[test]
    fn what_goes_in_comes_out_however_it_is_written() {
        for step in 1..12 {
            let mut queue = WriteQueue::default();
            for part in ["one", "", "two", "three", "x", "four"] {
                queue.push_copy(part.as_bytes());
                queue.invariants();
            }
            assert_eq!(drain(&mut queue, step), b"onetwothreexfour");
        }
    }

    #[test]
    fn detaching_changes_nothing_but_the_memory() {
        let mut queue = WriteQueue::default();
        queue.push_copy(b"abc");
        queue.push_copy(b"def");
        queue.advance(1);
        queue.detach();
        queue.invariants();
        assert_eq!(drain(&mut queue, 2), b"bcdef");
    }
}

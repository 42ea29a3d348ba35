//! What happened, as a number that must be the same for the same seed, and as lines for whoever replays it.

use crate::frame;
use pgconvoy_core::time::Instant;

/// The trace of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    loud: bool,
}

impl Trace {
    /// A trace that is printed line by line when `loud`.
    pub fn new(loud: bool) -> Self {
        Self { hash: 0, loud }
    }

    /// Notes an event by the numbers that stand for it.
    pub fn note(&mut self, now: Instant, numbers: [u64; 2]) {
        for number in [now.0, numbers[0], numbers[1]] {
            self.hash = (self.hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
        }
    }

    /// Notes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash = frame::mix(self.hash, bytes);
    }

    /// Prints a line, if anybody reads it.
    pub fn say(&self, now: Instant, line: impl FnOnce() -> String) {
        if self.loud {
            println!("{:>14.6} ms  {}", now.0 as f64 / 1e6, line());
        }
    }

    /// Stands for everything noted so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// Bytes of the protocol, for people: printable ones as they are.
pub fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(160)];
    let mut text: String =
        shown.iter().map(|byte| if (32..127).contains(byte) { *byte as char } else { '.' }).collect();
    if shown.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

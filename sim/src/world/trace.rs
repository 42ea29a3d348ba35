//! What happened, as a number that must be the same for the same seed, and as lines for whoever replays it.

use super::net::{Owner, PipeId, Side};
use crate::frame;
use bytes::BytesMut;
use pgconvoy_core::time::Instant;
use pgconvoy_core::wire::startup;
use std::collections::BTreeMap;

/// The trace of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    loud: bool,
    /// What has come in part at each end, and whether its start-up packet has come; only when somebody reads it.
    streams: BTreeMap<(PipeId, Side), (BytesMut, bool)>,
}

impl Trace {
    /// A trace that is printed line by line when `loud`.
    pub fn new(loud: bool) -> Self {
        Self { loud, ..Self::default() }
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

    /// Notes bytes that have arrived at an end, and prints each message that is whole with them.
    pub fn arrived(&mut self, now: Instant, pipe: PipeId, side: Side, owner: Owner, bytes: &[u8]) {
        self.bytes(bytes);
        if !self.loud {
            return;
        }
        let (stream, started) = self.streams.entry((pipe, side)).or_default();
        stream.extend_from_slice(bytes);
        loop {
            let encryption = stream.get(4..8) == Some(&startup::SSL_REQUEST.to_be_bytes());
            let length = match side {
                _ if *started => frame::length(stream).unwrap_or(Some(stream.len())),
                // Start-up packets have no kind, and the answer to SSLRequest is a kind without a length.
                Side::Far => stream.first_chunk().map(|length| u32::from_be_bytes(*length) as usize),
                Side::Near if stream.first() == Some(&b'N') => Some(1),
                Side::Near => frame::length(stream).unwrap_or(Some(stream.len())),
            };
            let Some(length) = length.filter(|length| (1..=stream.len()).contains(length)) else { return };
            *started |= !encryption;
            let message = stream.split_to(length);
            println!("{:>14.6} ms  {pipe} -> {owner:?}: {}", now.0 as f64 / 1e6, printable(&message));
        }
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
fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(160)];
    let mut text: String =
        shown.iter().map(|byte| if (32..127).contains(byte) { *byte as char } else { '.' }).collect();
    if shown.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

//! Whether `dml_adaptive_global` keeps its word: for a while after a client has been told that a table is written, nobody
//! reads it from a standby.
//!
//! Fed by what clients send and are told, and by what model servers observe, as the referee is.

use crate::fakepg::Observation;
use crate::tag::Tag;
use pgconvoy_core::time::{Duration, Instant};
use std::collections::BTreeMap;

/// A write matters for as long at least, whatever is known of the standbys' delay.
const SHORTEST: Duration = Duration::from_millis(100);

/// How a complaint about a read begins.
pub const FRESH: &str = "dml_adaptive_global";

/// What was written and is read in one run.
#[derive(Debug, Default)]
pub struct Freshness {
    /// Whether the operator wants it.
    wanted: bool,
    /// Whose database was written; when the client asked for it, and when it was told.
    writes: Vec<(&'static str, Instant, Instant)>,
    /// Requests that read, when they were drawn and from whose database.
    reads: BTreeMap<Tag, (&'static str, Instant)>,
}

impl Freshness {
    /// Complains only if it is `wanted`.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// A client has been told `now` that what it asked for at `since`, or later, is written.
    pub fn written(&mut self, user: &'static str, since: Instant, now: Instant) {
        if self.wanted {
            self.writes.retain(|(_, since, _)| now.since(*since) < SHORTEST);
            self.writes.push((user, since, now));
        }
    }

    /// A client is about to ask for a read.
    pub fn reads(&mut self, user: &'static str, tag: Tag, now: Instant) {
        if self.wanted {
            self.reads.insert(tag, (user, now));
        }
    }

    /// A server has seen something.
    pub fn observe(&self, node: u8, observation: &Observation, now: Instant) -> Result<(), String> {
        let tag = match observation {
            Observation::Message { kind: b'Q', tag: Some(tag), .. } | Observation::Ran { tag, .. } => tag,
            _ => return Ok(()),
        };
        let Some((user, drawn)) = self.reads.get(tag).filter(|_| node > 0) else { return Ok(()) };
        let stale = self
            .writes
            .iter()
            .find(|(writer, since, told)| writer == user && told <= drawn && now.since(*since) < SHORTEST);
        match stale {
            None => Ok(()),
            Some((_, since, _)) => {
                Err(format!("{FRESH}: {tag} reads from server {node} what was written {:?} ago", now.since(*since)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_follows_a_write_is_the_primarys_for_a_while() {
        let tag = Tag { client: 1, request: 2 };
        let at = |ms| Instant::ZERO.after(Duration::from_millis(ms));
        let ran = Observation::Ran { conn: 1, tag };
        for (node, user, drawn, arrives, fine) in [
            (1, "alice", 20, 30, false),
            (0, "alice", 20, 30, true),
            (1, "bob", 20, 30, true),
            (1, "alice", 9, 30, true),
            (1, "alice", 20, 105, true),
        ] {
            let mut fresh = Freshness::new(true);
            fresh.written("alice", at(5), at(10));
            fresh.reads(user, tag, at(drawn));
            assert_eq!(fresh.observe(node, &ran, at(arrives)).is_ok(), fine, "{node} {user} {drawn} {arrives}");
        }
    }
}

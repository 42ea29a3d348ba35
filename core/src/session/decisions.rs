//! The last decisions about where statements go, for `SHOW pool_decisions`: a ring that allocates nothing once it is warm.

use crate::limits::{DECISION_STATEMENT_BYTES, DECISIONS};
use crate::node::NodeSet;
use crate::route::{Rule, Statement};
use crate::time::Instant;
use alloc::vec::Vec;

/// Longest name of a database or a role that is kept, in bytes (`NAMEDATALEN` - 1).
const NAME_BYTES: usize = 63;

/// One decision.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// When it was made.
    pub at: Instant,
    /// The session, by the number it was given.
    pub session: u64,
    /// Its database.
    pub database: &'a [u8],
    /// Its role.
    pub user: &'a [u8],
    /// Where the statement went.
    pub nodes: NodeSet,
    /// What the statement does.
    pub statement: Statement,
    /// The rule that decided.
    pub rule: Rule,
    /// The statement went where the prepared one or the cursor is that it names.
    pub follows: bool,
    /// The statement's text; when read again, its beginning.
    pub text: &'a [u8],
}

/// A decision as it is kept: texts stand behind one another in a buffer that is used again.
#[derive(Debug)]
struct Entry {
    at: Instant,
    session: u64,
    nodes: NodeSet,
    statement: Statement,
    rule: Rule,
    follows: bool,
    words: Vec<u8>,
    database_bytes: usize,
    user_bytes: usize,
}

/// The last [`DECISIONS`] decisions of one worker.
#[derive(Debug, Default)]
pub struct Decisions {
    entries: Vec<Entry>,
    /// The oldest one, once all places are taken.
    oldest: usize,
}

impl Decisions {
    /// Notes a decision; the oldest one is forgotten for it.
    pub fn note(&mut self, decision: &Decision<'_>) {
        let words = if self.entries.len() < DECISIONS {
            Vec::with_capacity(2 * NAME_BYTES + DECISION_STATEMENT_BYTES)
        } else {
            core::mem::take(&mut self.entries[self.oldest].words)
        };
        let entry = Entry::new(decision, words);
        if self.entries.len() < DECISIONS {
            return self.entries.push(entry);
        }
        self.entries[self.oldest] = entry;
        self.oldest = (self.oldest + 1) % DECISIONS;
    }

    /// All that are kept, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Decision<'_>> {
        let (newer, older) = self.entries.split_at(self.oldest);
        older.iter().chain(newer).map(Entry::decision)
    }
}

impl Entry {
    fn new(decision: &Decision<'_>, mut words: Vec<u8>) -> Self {
        let Decision { at, session, nodes, statement, rule, follows, .. } = *decision;
        let database = cut(decision.database, NAME_BYTES);
        let user = cut(decision.user, NAME_BYTES);
        words.clear();
        words.extend_from_slice(database);
        words.extend_from_slice(user);
        words.extend_from_slice(cut(decision.text, DECISION_STATEMENT_BYTES));
        let (database_bytes, user_bytes) = (database.len(), user.len());
        Self { at, session, nodes, statement, rule, follows, words, database_bytes, user_bytes }
    }

    fn decision(&self) -> Decision<'_> {
        let (database, rest) = self.words.split_at(self.database_bytes);
        let (user, text) = rest.split_at(self.user_bytes);
        let Self { at, session, nodes, statement, rule, follows, .. } = *self;
        Decision { at, session, database, user, nodes, statement, rule, follows, text }
    }
}

/// The beginning of a text, at most `bytes` of it, and not half of a UTF-8 character at its end.
fn cut(text: &[u8], bytes: usize) -> &[u8] {
    let mut end = text.len().min(bytes);
    while end > 0 && text.get(end).is_some_and(|next| next & 0xC0 == 0x80) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeId;
    use crate::sql::{Hazards, Reason, Route};
    use alloc::format;

    fn decision(session: u64, text: &[u8]) -> Decision<'_> {
        let statement = Statement { route: Route::Either, reason: Reason::Reads, hazards: Hazards::NONE };
        let (database, user, rule) = (b"shop".as_slice(), b"alice".as_slice(), Rule::Balanced);
        let nodes = NodeSet::from_iter([NodeId(1)]);
        Decision { at: Instant(session), session, database, user, nodes, statement, rule, follows: false, text }
    }

    #[test]
    fn the_last_ones_are_kept_in_their_order() {
        let mut kept = Decisions::default();
        for session in 0..(DECISIONS as u64 * 5 / 2) {
            kept.note(&decision(session, b"SELECT 1"));
            let newest = kept.iter().last().map(|last| last.session);
            assert_eq!(newest, Some(session));
        }
        let sessions: Vec<u64> = kept.iter().map(|kept| kept.session).collect();
        let expected: Vec<u64> = (0..DECISIONS as u64 * 5 / 2).skip(DECISIONS * 3 / 2).collect();
        assert_eq!(sessions, expected);
        let last = kept.iter().last().expect("there are some");
        assert_eq!((last.database, last.user, last.text), (&b"shop"[..], &b"alice"[..], &b"SELECT 1"[..]));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let mut kept = Decisions::default();
        for (text, bytes) in [("x".repeat(200), 100), (format!("{}ä", "x".repeat(99)), 99), ("ä".repeat(80), 100)] {
            kept.note(&decision(1, text.as_bytes()));
            let last = kept.iter().last().expect("there are some");
            assert_eq!(last.text, &text.as_bytes()[..bytes]);
        }
    }
}

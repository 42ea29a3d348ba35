//! What backends that should be alike have answered to one request, and what follows when they are not.
//!
//! A [`Tally`] is filled while one backend answers; [`judge`] compares them. Those count that have answered, not those
//! that are configured. pgpool compares the first byte of each reply and the numbers of changed rows
//! (`read_kind_from_backend`, `find_victim_nodes`); here the class of an error and, if it is wanted, the rows are compared too.

use crate::fault::SqlState;
use crate::node::{NodeId, NodeSet};
use crate::wire::tag::backend;
use crate::wire::{ErrorHead, split_cstr};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// What one backend has answered to one request, as far as answers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The kinds of its messages, in order.
    kinds: Digest,
    /// The kind of the message that tells most: its error, or else the last completion.
    kind: u8,
    /// What the error was.
    sqlstate: Option<SqlState>,
    /// The rows that its statements have changed, one number after the other.
    affected: Digest,
    /// The rows that its statements have returned, likewise.
    returned: Digest,
    /// Rows are returned by the statement whose answer this is.
    returns: bool,
    /// The last of these numbers.
    rows: Option<u64>,
    /// The sum of the digests of its rows: two backends need not return them in the same order.
    content: u64,
    /// The row that is passing by.
    row: Digest,
}

impl Tally {
    /// A message of the answer, which is no row. `body` may be cut short where nothing is compared of it.
    pub fn note(&mut self, tag: u8, body: &[u8]) {
        match tag {
            // What a backend tells besides is its own affair, and the end of an answer says nothing of it.
            backend::NOTICE_RESPONSE
            | backend::PARAMETER_STATUS
            | backend::NOTIFICATION_RESPONSE
            | backend::READY_FOR_QUERY => return,
            backend::ERROR_RESPONSE => {
                let sqlstate = ErrorHead::parse(body).sqlstate;
                self.kinds.update(&sqlstate[..2]);
                self.sqlstate = Some(sqlstate);
                self.kind = tag;
            }
            backend::COMMAND_COMPLETE => {
                let text = split_cstr(body).map_or(body, |(text, _)| text);
                let (words, number) = split_number(text);
                self.kinds.update(words);
                if let Some(number) = number {
                    self.rows = Some(number);
                    let queried = words.starts_with(b"SELECT");
                    let fetched = words.starts_with(b"FETCH") || words.starts_with(b"MOVE");
                    // CREATE TABLE AS says SELECT, too, and returns none.
                    if fetched || (queried && (self.returns || number == 0)) {
                        self.returned.update(&number.to_le_bytes());
                    } else {
                        self.affected.update(&number.to_le_bytes());
                    }
                }
                self.returns = false;
            }
            backend::ROW_DESCRIPTION => self.returns = true,
            _ => {}
        }
        self.kinds.update(&[tag]);
        if self.sqlstate.is_none() {
            self.kind = tag;
        }
    }

    /// A row, of which nothing more is compared.
    pub fn note_any_row(&mut self) {
        self.returns = true;
    }

    /// A part of a row.
    pub fn note_row(&mut self, part: &[u8], ends: bool) {
        self.returns = true;
        self.row.update(part);
        if ends {
            self.content = self.content.wrapping_add(core::mem::take(&mut self.row).finish());
        }
    }

    /// What the error was, if it was one.
    pub const fn error(&self) -> Option<SqlState> {
        self.sqlstate
    }

    /// True when nothing has been answered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn same(&self, other: &Self, aspect: Aspect) -> bool {
        match aspect {
            Aspect::Kind => self.kinds == other.kinds,
            Aspect::Affected => self.affected == other.affected,
            Aspect::Rows => self.content == other.content && self.returned == other.returned,
        }
    }
}

/// The number that ends a completion's words: `INSERT 0 5`, `UPDATE 3`.
fn split_number(text: &[u8]) -> (&[u8], Option<u64>) {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (words, number) = text.split_at(text.len() - digits);
    (words, core::str::from_utf8(number).ok().and_then(|number| number.parse().ok()))
}

/// A running digest: a multiplication for eight bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Digest {
    state: u64,
    /// Bytes that do not make up a word yet, and how many bytes there have been.
    tail: u64,
    length: u64,
}

impl Digest {
    fn update(&mut self, mut bytes: &[u8]) {
        let waiting = (self.length % 8) as usize;
        self.length += bytes.len() as u64;
        if waiting > 0 {
            let (first, rest) = bytes.split_at(bytes.len().min(8 - waiting));
            for (at, byte) in first.iter().enumerate() {
                self.tail |= u64::from(*byte) << (8 * (waiting + at));
            }
            if waiting + first.len() < 8 {
                return;
            }
            let word = core::mem::take(&mut self.tail);
            self.mix(word);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        for (at, byte) in rest.iter().enumerate() {
            self.tail |= u64::from(*byte) << (8 * at);
        }
    }

    const fn mix(&mut self, word: u64) {
        // Multiply and fold, as in the hashes of the wyhash family.
        let product = ((self.state ^ word) as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        self.state = (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(29);
    }

    const fn finish(mut self) -> u64 {
        let tail = self.tail;
        self.mix(tail);
        self.mix(self.length);
        self.state
    }
}

/// In what answers differ, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// One succeeded and another did not, or they failed for different reasons.
    Kind,
    /// They changed a different number of rows.
    Affected,
    /// They returned different rows, or a different number of them.
    Rows,
}

impl Aspect {
    /// A stable code of one word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Affected => "affected_rows",
            Self::Rows => "rows",
        }
    }
}

/// What a backend answered, by its number.
pub type Answer = (NodeId, Tally);

/// What a vote has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All answers are the same.
    Unanimous,
    /// They are not.
    Split {
        /// In what.
        aspect: Aspect,
        /// Those whose answer more than half of all gave; without such an answer, those that agree with the first.
        prevailing: NodeSet,
        /// Whether more than half of all gave it.
        majority: bool,
    },
}

/// Compares answers; the first one is the main backend's. Rows are compared if `rows` says so.
pub fn judge(answers: &[Answer], rows: bool) -> Verdict {
    let Some(((_, first), others)) = answers.split_first() else { return Verdict::Unanimous };
    let aspects = [Aspect::Kind, Aspect::Affected, Aspect::Rows];
    let compared = aspects.into_iter().filter(|aspect| rows || *aspect != Aspect::Rows);
    for aspect in compared {
        if others.iter().all(|(_, other)| other.same(first, aspect)) {
            continue;
        }
        let agrees = |with: &Tally, other: &Answer| other.1.same(with, aspect);
        let count = |with: &Tally| answers.iter().filter(|other| agrees(with, other)).count();
        let winner = answers.iter().map(|(_, of)| of).find(|of| 2 * count(of) > answers.len());
        let with = winner.unwrap_or(first);
        let prevailing = answers.iter().filter(|other| agrees(with, other)).map(|(node, _)| *node).collect();
        return Verdict::Split { aspect, prevailing, majority: winner.is_some() };
    }
    Verdict::Unanimous
}

/// A vote that was not unanimous: the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// In what the answers differ.
    pub aspect: Aspect,
    /// The beginning of the statement.
    pub statement: String,
    /// What each backend answered; the main one is first.
    pub answers: Vec<Answer>,
    /// Those whose answer prevails.
    pub prevailing: NodeSet,
    /// Whether more than half of all gave it.
    pub majority: bool,
}

impl Mismatch {
    /// Those that were outvoted.
    pub fn outvoted(&self) -> NodeSet {
        let prevails = |node: &NodeId| self.prevailing.iter().any(|other| other == *node);
        self.answers.iter().map(|(node, _)| *node).filter(|node| !prevails(node)).collect()
    }

    /// The difference in pgpool's words.
    pub fn message(&self) -> String {
        let mut out: String = match self.aspect {
            Aspect::Kind => "kind mismatch among backends.",
            Aspect::Affected => "the number of affected rows differs among backends.",
            Aspect::Rows => "the rows differ among backends.",
        }
        .into();
        let _always = write!(out, " Possible last query was: \"{}\" {} details are:", self.statement, self.name());
        for (node, tally) in &self.answers {
            let _always = write!(out, " {node}[{}]", Self::detail(tally));
        }
        out
    }

    const fn name(&self) -> &'static str {
        match self.aspect {
            Aspect::Kind => "kind",
            Aspect::Affected => "row count",
            Aspect::Rows => "row",
        }
    }

    /// What one backend answered, in short: `C`, `C 3 rows 0123456789abcdef`, `E: 42P01`.
    pub fn detail(tally: &Tally) -> String {
        let mut out = String::new();
        out.push(if tally.kind == 0 { '-' } else { tally.kind as char });
        if let Some(sqlstate) = &tally.sqlstate {
            out.push_str(": ");
            out.extend(sqlstate.iter().map(|byte| *byte as char));
        }
        if let Some(rows) = tally.rows {
            let _always = write!(out, " {rows} rows");
        }
        if tally.content != 0 {
            let _always = write!(out, " {:016x}", tally.content);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn completed(tag: &str) -> Tally {
        let mut tally = Tally::default();
        let mut body = tag.as_bytes().to_vec();
        body.push(0);
        tally.note(backend::COMMAND_COMPLETE, &body);
        tally.note(backend::READY_FOR_QUERY, b"T");
        tally
    }

    fn failed(sqlstate: &str) -> Tally {
        let mut tally = Tally::default();
        let mut body = b"SERROR\0VERROR\0C".to_vec();
        body.extend_from_slice(sqlstate.as_bytes());
        body.extend_from_slice(b"\0Mwhy\0\0");
        tally.note(backend::ERROR_RESPONSE, &body);
        tally
    }

    fn vote(tallies: &[Tally]) -> Verdict {
        let answers: Vec<Answer> = tallies.iter().zip(0..).map(|(tally, node)| (NodeId(node), *tally)).collect();
        judge(&answers, true)
    }

    fn split(aspect: Aspect, prevailing: &[u8], majority: bool) -> Verdict {
        Verdict::Split { aspect, prevailing: prevailing.iter().map(|id| NodeId(*id)).collect(), majority }
    }

    #[test]
    fn more_than_half_of_those_that_answered_prevail() {
        let (yes, no) = (completed("UPDATE 1"), failed("42P01"));
        assert_eq!(vote(&[yes, yes, yes]), Verdict::Unanimous);
        assert_eq!(vote(&[yes, no, yes]), split(Aspect::Kind, &[0, 2], true));
        assert_eq!(vote(&[no, yes, yes]), split(Aspect::Kind, &[1, 2], true), "the main one can be outvoted");
        assert_eq!(vote(&[yes, no]), split(Aspect::Kind, &[0], false), "half is no majority");
        assert_eq!(vote(&[no, yes, yes, no]), split(Aspect::Kind, &[0, 3], false));
        assert_eq!(vote(&[yes, no, no, yes, yes]), split(Aspect::Kind, &[0, 3, 4], true));
        assert_eq!(vote(&[yes, no, failed("23505")]), split(Aspect::Kind, &[0], false), "three opinions");
        assert_eq!(vote(&[]), Verdict::Unanimous);
    }

    #[test]
    fn errors_are_compared_by_their_class() {
        assert_eq!(vote(&[failed("23505"), failed("23503")]), Verdict::Unanimous);
        assert_eq!(vote(&[failed("23505"), failed("42P01")]), split(Aspect::Kind, &[0], false));
    }

    #[test]
    fn row_counts_come_after_kinds() {
        let [one, two] = ["UPDATE 1", "UPDATE 2"].map(completed);
        assert_eq!(vote(&[one, two, two]), split(Aspect::Affected, &[1, 2], true));
        assert_eq!(vote(&[one, completed("DELETE 1"), one]), split(Aspect::Kind, &[0, 2], true));
        assert_eq!(vote(&[completed("INSERT 0 1"), completed("INSERT 0 1")]), Verdict::Unanimous);
    }

    #[test]
    fn rows_are_compared_as_a_multiset_and_however_they_are_cut() {
        let rows = |rows: &[&[u8]], cut: usize| {
            let mut tally = Tally::default();
            for row in rows {
                let (a, b) = row.split_at(cut.min(row.len()));
                tally.note_row(a, false);
                tally.note_row(b, true);
            }
            tally
        };
        let (a, b, c): (&[u8], &[u8], &[u8]) = (b"first row of some length", b"second", b"third");
        for cut in 0..25 {
            assert_eq!(vote(&[rows(&[a, b, c], 0), rows(&[c, a, b], cut)]), Verdict::Unanimous, "cut at {cut}");
        }
        assert_eq!(vote(&[rows(&[a, b], 0), rows(&[a, c], 0)]), split(Aspect::Rows, &[0], false));
        assert_ne!(vote(&[rows(&[a, b], 0), rows(&[a, a, b], 0)]), Verdict::Unanimous, "how often counts");
        assert_ne!(vote(&[rows(&[b"ab"], 0), rows(&[b"a", b"b"], 0)]), Verdict::Unanimous, "where rows end counts");
    }

    #[test]
    fn the_evidence_is_told_in_pgpools_words() {
        let mismatch = Mismatch {
            aspect: Aspect::Kind,
            statement: "UPDATE t SET a = 1".into(),
            answers: vec![(NodeId(0), completed("UPDATE 1")), (NodeId(1), failed("42P01"))],
            prevailing: [NodeId(0)].into_iter().collect(),
            majority: false,
        };
        assert_eq!(
            mismatch.message(),
            "kind mismatch among backends. Possible last query was: \"UPDATE t SET a = 1\" kind details are: \
             0[C 1 rows] 1[E: 42P01]"
        );
        assert_eq!(mismatch.outvoted().iter().collect::<Vec<_>>(), [NodeId(1)]);
    }
}

//! The messages of a request, each with what it is owed.

use super::Client;
use super::automaton::{Answer, End, Expect, Outcome, UNREADABLE, columns};
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

impl Client {
    pub(super) fn query(&mut self, request: u32, text: &str) {
        let tag = self.tag(request);
        self.frame(b'Q', |out| {
            out.put_slice(text.as_bytes());
            let _ = write!(out, " /*{tag}*/\0");
        });
    }

    /// A Query of the statements that stand in `text`, and what they are owed.
    pub(super) fn queries(&mut self, request: u32, text: &str, answers: &[Answer]) {
        self.query(request, text);
        for answer in answers {
            self.automaton.owe(Expect::Statement(Answer { simple: true, ..*answer }));
        }
        self.automaton.owe(Expect::Ready(End::Query, Some(request)));
    }

    pub(super) fn simple_statement(&mut self, text: &str, answer: Answer) {
        self.queries(answer.request, text, &[answer]);
    }

    /// In the simple or the extended protocol, as the dice fall.
    pub(super) fn either_statement(&mut self, text: &str, answer: Answer) {
        if self.rng.chance(1, 2) {
            return self.simple_statement(text, answer);
        }
        self.extended_statement(text, answer);
        self.sync(answer.request);
    }

    pub(super) fn parse(&mut self, request: u32, name: &str, text: &str, fails: Option<[u8; 5]>) {
        let tag = self.tag(request);
        self.frame(b'P', |out| {
            let _ = write!(out, "{name}\0{text} /*{tag}*/\0");
            out.put_u16(0);
        });
        self.automaton.owe(Expect::Parse(fails));
    }

    /// Bind with the tag as its one parameter, or with none.
    pub(super) fn bind(&mut self, request: u32, portal: &str, statement: &str, with_tag: bool, fails: Option<[u8; 5]>) {
        let tag = self.tag(request);
        self.frame(b'B', |out| {
            let _ = write!(out, "{portal}\0{statement}\0");
            out.put_u16(0);
            out.put_u16(u16::from(with_tag));
            if with_tag {
                let at = out.len();
                out.put_u32(0);
                let _ = write!(out, "{tag}");
                let length = (out.len() - at - 4) as u32;
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            out.put_u16(0);
        });
        self.automaton.owe(Expect::Bind(fails));
    }

    pub(super) fn describe(
        &mut self,
        kind: u8,
        name: &str,
        parameters: u8,
        columns: Option<u8>,
        fails: Option<[u8; 5]>,
    ) {
        self.frame(b'D', |out| put_named(out, kind, name));
        let parameters = (kind == b'S').then_some(parameters);
        self.automaton.owe(Expect::Describe { parameters, columns, fails });
    }

    pub(super) fn execute(&mut self, portal: &str, limit: u32, answer: Answer) {
        self.frame(b'E', |out| {
            let _ = write!(out, "{portal}\0");
            out.put_u32(limit);
        });
        self.automaton.owe(Expect::Statement(answer));
    }

    pub(super) fn close(&mut self, kind: u8, name: &str) {
        self.frame(b'C', |out| put_named(out, kind, name));
        self.automaton.owe(Expect::Close);
    }

    pub(super) fn sync(&mut self, request: u32) {
        self.frame(b'S', |_| {});
        self.automaton.owe(Expect::Ready(End::Sync, Some(request)));
    }

    pub(super) fn flush(&mut self) {
        self.frame(b'H', |_| {});
    }

    /// Parse, Bind, perhaps Describe, Execute.
    pub(super) fn extended_statement(&mut self, text: &str, answer: Answer) {
        let Answer { request, outcome, fails, .. } = answer;
        self.parse(request, "", text, fails.filter(|code| code == b"42601" || *code == UNREADABLE));
        // The model servers do not know beforehand what EXECUTE returns.
        let described = if text.starts_with("EXECUTE") { u64::MAX } else { self.rng.below(4) };
        let columns = has_rows(&outcome).then(|| columns(&outcome));
        if described == 0 {
            self.describe(b'S', "", 0, columns, None);
        }
        self.bind(request, "", "", false, None);
        if described == 1 {
            self.describe(b'P', "", 0, columns, None);
        }
        self.execute("", 0, answer);
    }
}

fn has_rows(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rows { .. } | Outcome::MaybeRow { .. } | Outcome::Explained)
}

fn put_named(out: &mut BytesMut, kind: u8, name: &str) {
    out.put_u8(kind);
    out.put_slice(name.as_bytes());
    out.put_u8(0);
}

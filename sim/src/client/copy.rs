//! COPY, in the ways that drivers do it, and in some that they had better not.

use super::Client;
use super::automaton::{Answer, CopyEnd, CopyStyle, End, Expect, Outcome};
use super::ledger::Write as RowWrite;
use super::request::Kind;
use bytes::BufMut;
use std::fmt::Write as _;

impl Client {
    pub(super) fn copy(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        if kind == Kind::CopyOut {
            let to = self.row_count();
            let text = format!("COPY (SELECT '{tag}', generate_series(1, {to})) TO STDOUT");
            return self.either_statement(&text, Answer::new(request, Outcome::CopyOut { to }));
        }
        let lines = self.rng.below(12) as u32;
        let Some(first) = self.fresh_keys(lines) else { return self.simple(Kind::Select, request) };
        let (simple, asked) = (self.rng.chance(1, 2), self.rng.chance(3, 4));
        let style = match (simple, asked, self.rng.chance(1, 2)) {
            (_, false, _) => CopyStyle::AtOnce,
            (true, true, _) => CopyStyle::Asked,
            (false, true, true) => CopyStyle::AskedAfterSync,
            (false, true, false) => CopyStyle::AskedAfterFlush,
        };
        let end = match self.rng.below(5) {
            0 => CopyEnd::Fail,
            1 => CopyEnd::BadLine,
            // With a Sync before the rows, nobody knows how many answers such a copy has.
            2 if style != CopyStyle::AskedAfterSync => CopyEnd::Refused,
            _ => CopyEnd::Done,
        };
        let write = if end == CopyEnd::Done { RowWrite::Insert(first) } else { RowWrite::None };
        let answer = Answer::new(request, Outcome::CopyIn { first, lines, end, style }).writes(write);
        let text = if end == CopyEnd::Refused { "COPY view FROM STDIN" } else { "COPY kv FROM STDIN" };
        self.memory.exclusive = true;
        if simple {
            self.query(request, text);
            self.automaton.owe(Expect::Statement(Answer { simple: true, ..answer }));
            self.automaton.owe(Expect::Ready(End::Query, Some(request)));
        } else {
            self.extended_statement(text, answer);
        }
        match style {
            CopyStyle::Asked => {}
            CopyStyle::AskedAfterSync => self.sync(request),
            CopyStyle::AskedAfterFlush => {
                self.flush();
                self.memory.unsynced_copy = Some(request);
            }
            CopyStyle::AtOnce => {
                self.copy_rows(request, first, lines, end);
                if !simple {
                    self.sync(request);
                }
            }
        }
    }

    /// Ends the batch of a copy that has come to its end, or has never begun.
    pub(super) fn sync_copy(&mut self) {
        if let Some(request) = self.memory.unsynced_copy.take() {
            self.sync(request);
        }
    }

    /// Sends the lines of a COPY, cut into messages without regard to lines.
    pub(super) fn copy_lines(&mut self, request: u32, first: u32, lines: u32) {
        let tag = self.tag(request);
        let mut data = String::new();
        for key in first..first + lines {
            let _ = writeln!(data, "{key}\t{tag}");
        }
        let mut rest = data.as_bytes();
        while !rest.is_empty() {
            let (part, tail) = rest.split_at((1 + self.rng.below(40) as usize).min(rest.len()));
            self.frame(b'd', |out| out.put_slice(part));
            rest = tail;
        }
    }

    pub(super) fn send_copy(&mut self, request: u32, first: u32, lines: u32, end: CopyEnd, style: CopyStyle) {
        if style == CopyStyle::AtOnce {
            return;
        }
        self.copy_rows(request, first, lines, end);
        match style {
            CopyStyle::Asked | CopyStyle::AtOnce => {}
            CopyStyle::AskedAfterSync => self.frame(b'S', |_| {}),
            CopyStyle::AskedAfterFlush => self.sync_copy(),
        }
    }

    pub(super) fn copy_rows(&mut self, request: u32, first: u32, lines: u32, end: CopyEnd) {
        self.copy_lines(request, first, lines);
        match end {
            CopyEnd::Done | CopyEnd::Refused => self.frame(b'c', |_| {}),
            CopyEnd::Fail => self.frame(b'f', |out| out.extend_from_slice(b"changed my mind\0")),
            CopyEnd::BadLine => {
                self.frame(b'd', |out| out.extend_from_slice(b"no tab\n"));
                self.frame(b'c', |_| {});
            }
        }
    }
}

//! What a client asks: each request is a few messages and what they are owed, up to one ReadyForQuery.

use super::Client;
use super::automaton::{Answer, Block, CopyEnd, Effect, Expect, First, Outcome, Second, columns};
use crate::tag::Tag;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A Query of one row.
    Select,
    /// A Query of many rows.
    Series,
    /// A Query of several statements.
    Multi,
    /// Reads a row of `kv`.
    Read,
    /// Writes a row of `kv`.
    Write,
    /// Begins, marks or ends a transaction block.
    Block,
    /// Parse to Sync with the unnamed statement.
    Extended,
    /// Several statements before one Sync.
    Batch,
    /// Statements prepared under names that all clients share.
    Prepared,
    /// A portal read in parts.
    Portal,
    /// Parse to Flush, and Execute once that is answered.
    Flushed,
    /// A statement that fails.
    Fails,
    /// COPY from the client.
    CopyIn,
    /// COPY to the client.
    CopyOut,
    /// FunctionCall.
    Function,
    /// An empty query.
    Empty,
    /// LISTEN and NOTIFY.
    Notify,
    /// SET.
    Set,
    /// SHOW.
    Show,
    /// A statement that takes a while.
    Sleep,
    /// Leaves something behind in the session.
    Mess,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 21;
    /// All kinds, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Select,
        Self::Series,
        Self::Multi,
        Self::Read,
        Self::Write,
        Self::Block,
        Self::Extended,
        Self::Batch,
        Self::Prepared,
        Self::Portal,
        Self::Flushed,
        Self::Fails,
        Self::CopyIn,
        Self::CopyOut,
        Self::Function,
        Self::Empty,
        Self::Notify,
        Self::Set,
        Self::Show,
        Self::Sleep,
        Self::Mess,
    ];

    /// True for those that are sent only when nothing is owed, because what they may say depends on the answers before.
    fn needs_quiet(self) -> bool {
        matches!(
            self,
            Self::Prepared | Self::Portal | Self::Flushed | Self::CopyIn | Self::Set | Self::Show | Self::Block
        )
    }
}

/// What a client knows of a name that it has prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Prepared {
    /// It may be there or not.
    #[default]
    Unknown,
    /// Parse is under way in this request; the statement gives so many rows.
    Pending(u32, u32),
    /// It is there, and gives so many rows.
    Ready(u32),
}

/// What a client must remember between requests.
#[derive(Debug, Default)]
pub struct Memory {
    /// An error that was not asked for has come since the last answered request.
    pub failed: bool,
    prepared: [Prepared; 3],
    /// SAVEPOINT was sent in this request, or is set.
    savepoint: Option<(u32, bool)>,
    /// The portal `p`, opened by this request, has rows left from this one on.
    portal: Option<(u32, u32)>,
    work_mem: Option<(u32, &'static str)>,
    work_mem_known: Option<&'static str>,
    touched_settings: bool,
    /// What is to be sent once everything before a Flush is answered.
    after_flush: Option<Answer>,
    exclusive: bool,
    keys: u32,
}

impl Memory {
    /// True while a request is under way behind which none may be sent.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

const SETTINGS: [&str; 4] = ["1MB", "2MB", "8MB", "16MB"];
const DEFAULT_WORK_MEM: &str = "4MB";
/// Keys that one client writes: they are its own.
const KEYS: u32 = 1024;
const PORTAL_ROWS: u32 = 7;

impl Client {
    /// Draws a request and sends it.
    pub(super) fn make_request(&mut self) {
        let request = self.requests_made;
        self.requests_made += 1;
        let kind = self.draw_kind();
        match kind {
            Kind::Select | Kind::Series | Kind::Multi | Kind::Empty => self.simple(kind, request),
            Kind::Read | Kind::Write => self.read_or_write(kind, request),
            Kind::Block => self.block(request),
            Kind::Extended | Kind::Batch => self.batch(kind, request),
            Kind::Prepared => self.prepared(request),
            Kind::Portal => self.portal(request),
            Kind::Flushed => self.flushed(request),
            Kind::Fails => self.fails(request),
            Kind::CopyIn | Kind::CopyOut => self.copy(kind, request),
            Kind::Function => self.function(request),
            Kind::Notify | Kind::Sleep | Kind::Mess => self.various(kind, request),
            Kind::Set | Kind::Show => self.settings(kind, request),
        }
    }

    fn draw_kind(&mut self) -> Kind {
        let total: u64 = self.workload.weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut ticket = self.rng.below(total);
        let mut drawn = Kind::Select;
        for (kind, weight) in Kind::ALL.into_iter().zip(self.workload.weights) {
            if ticket < u64::from(weight) {
                drawn = kind;
                break;
            }
            ticket -= u64::from(weight);
        }
        // The session's first message names its client, and what needs quiet gets it.
        let first = self.requests_made == 1 && matches!(drawn, Kind::Function | Kind::Prepared);
        if first || (drawn.needs_quiet() && !self.automaton.is_idle()) { Kind::Select } else { drawn }
    }

    fn tag(&self, request: u32) -> Tag {
        Tag { client: self.number, request }
    }

    fn query(&mut self, request: u32, text: &str) {
        let tag = self.tag(request);
        self.frame(b'Q', |out| {
            out.put_slice(text.as_bytes());
            let _ = write!(out, " /*{tag}*/\0");
        });
    }

    fn simple_statement(&mut self, request: u32, text: &str, outcome: Outcome, effect: Effect) {
        self.query(request, text);
        self.owe_statement(request, outcome, effect, true);
        self.automaton.owe(Expect::Ready(request));
    }

    fn owe_statement(&mut self, request: u32, outcome: Outcome, effect: Effect, simple: bool) {
        self.automaton.owe(Expect::Statement(Answer { request, simple, outcome, effect, fails: None }));
    }

    fn simple(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        match kind {
            Kind::Select => self.simple_statement(request, &format!("SELECT '{tag}'"), one_row(), Effect::None),
            Kind::Series => {
                let to = self.row_count();
                let text = format!("SELECT '{tag}', generate_series(1, {to})");
                self.simple_statement(request, &text, rows(1, to, 0), Effect::None);
            }
            Kind::Multi => {
                let to = 1 + self.rng.below(4) as u32;
                self.query(
                    request,
                    &format!("SELECT '{tag}'; SELECT '{tag}', generate_series(1, {to}); SELECT '{tag}'"),
                );
                for outcome in [one_row(), rows(1, to, 0), one_row()] {
                    self.owe_statement(request, outcome, Effect::None, true);
                }
                self.automaton.owe(Expect::Ready(request));
            }
            _ => self.simple_statement(request, "", Outcome::Empty, Effect::None),
        }
    }

    fn row_count(&mut self) -> u32 {
        if self.rng.chance(1, 24) { self.workload.large_rows } else { 1 + self.rng.below(8) as u32 }
    }

    fn row_key(&self, index: u32) -> u32 {
        self.number * KEYS + index
    }

    fn fresh_key(&mut self) -> Option<u32> {
        self.memory.keys += 1;
        (self.memory.keys < KEYS).then(|| self.row_key(self.memory.keys))
    }

    fn any_key(&mut self) -> u32 {
        let index = self.rng.below(u64::from(self.memory.keys.clamp(1, KEYS - 1))) as u32;
        self.row_key(1 + index)
    }

    fn read_or_write(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        let key = self.any_key();
        let (text, outcome) = if kind == Kind::Read {
            let text = format!("SELECT '{tag}', v FROM kv WHERE k = {key}");
            (text, Outcome::MaybeRow { command: "SELECT", second: Second::Own })
        } else {
            match (self.rng.below(4), self.rng.chance(1, 2).then(|| self.fresh_key()).flatten()) {
                (_, Some(fresh)) => {
                    (format!("INSERT INTO kv VALUES ({fresh}, '{tag}')"), Outcome::Done("INSERT 0", Some((1, 1))))
                }
                (0, None) => (format!("DELETE FROM kv WHERE k = {key}"), Outcome::Done("DELETE", Some((0, 1)))),
                (1, None) => {
                    let text = format!("UPDATE kv SET v = '{tag}' WHERE k = {key} RETURNING '{tag}'");
                    (text, Outcome::MaybeRow { command: "UPDATE", second: Second::None })
                }
                (_, None) => {
                    let text = format!("UPDATE kv SET v = '{tag}' WHERE k = {key}");
                    (text, Outcome::Done("UPDATE", Some((0, 1))))
                }
            }
        };
        if self.rng.chance(1, 2) {
            self.simple_statement(request, &text, outcome, Effect::None);
        } else {
            self.extended_statement(request, &text, outcome, Effect::None, None);
            self.sync(request);
        }
    }

    fn block(&mut self, request: u32) {
        let (text, effect) = match (self.automaton.block(), self.rng.below(6)) {
            (Block::Outside, _) => ("BEGIN", Effect::Begin),
            (Block::Inside, 0 | 1) => {
                self.memory.savepoint = Some((request, false));
                ("SAVEPOINT s", Effect::None)
            }
            (_, 2) if matches!(self.memory.savepoint, Some((_, true))) => ("ROLLBACK TO s", Effect::RollbackTo),
            (_, 3) => ("ROLLBACK", Effect::Rollback),
            (_, 4) => ("END", Effect::Commit),
            _ => ("COMMIT", Effect::Commit),
        };
        let command = match (effect, text) {
            (Effect::Begin, _) => "BEGIN",
            (Effect::Commit, _) => "COMMIT",
            (Effect::Rollback | Effect::RollbackTo, _) => "ROLLBACK",
            (Effect::None, _) => "SAVEPOINT",
        };
        if self.rng.chance(1, 3) {
            self.extended_statement(request, text, Outcome::Done(command, None), effect, None);
            self.sync(request);
        } else {
            self.simple_statement(request, text, Outcome::Done(command, None), effect);
        }
    }

    fn parse(&mut self, request: u32, name: &str, text: &str) {
        let tag = self.tag(request);
        self.frame(b'P', |out| {
            let _ = write!(out, "{name}\0{text} /*{tag}*/\0");
            out.put_u16(0);
        });
        self.automaton.owe(Expect::Parse);
    }

    /// Bind with the tag as its one parameter, or with none.
    fn bind(&mut self, request: u32, portal: &str, statement: &str, with_tag: bool) {
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
        self.automaton.owe(Expect::Bind);
    }

    fn describe(&mut self, kind: u8, name: &str, parameters: u8, columns: Option<u8>) {
        self.frame(b'D', |out| put_named(out, kind, name));
        let parameters = (kind == b'S').then_some(parameters);
        self.automaton.owe(Expect::Describe { parameters, columns });
    }

    fn execute(&mut self, portal: &str, limit: u32, answer: Answer) {
        self.frame(b'E', |out| {
            let _ = write!(out, "{portal}\0");
            out.put_u32(limit);
        });
        self.automaton.owe(Expect::Statement(answer));
    }

    fn close(&mut self, kind: u8, name: &str) {
        self.frame(b'C', |out| put_named(out, kind, name));
        self.automaton.owe(Expect::Close);
    }

    fn sync(&mut self, request: u32) {
        self.frame(b'S', |_| {});
        self.automaton.owe(Expect::Ready(request));
    }

    /// Parse, Bind, perhaps Describe, Execute.
    fn extended_statement(
        &mut self,
        request: u32,
        text: &str,
        outcome: Outcome,
        effect: Effect,
        fails: Option<[u8; 5]>,
    ) {
        self.parse(request, "", text);
        let described = self.rng.below(4);
        let columns = has_rows(&outcome).then(|| columns(&outcome));
        if described == 0 {
            self.describe(b'S', "", 0, columns);
        }
        self.bind(request, "", "", false);
        if described == 1 {
            self.describe(b'P', "", 0, columns);
        }
        self.execute("", 0, Answer { request, simple: false, outcome, effect, fails });
    }

    fn batch(&mut self, kind: Kind, request: u32) {
        let statements = if kind == Kind::Batch { 2 + self.rng.below(5) } else { 1 };
        let tag = self.tag(request);
        let quiet = self.automaton.is_idle() && self.automaton.block() == Block::Outside;
        let block = kind == Kind::Batch && quiet && self.rng.chance(1, 3);
        if block {
            self.extended_statement(request, "BEGIN", Outcome::Done("BEGIN", None), Effect::Begin, None);
        }
        for _ in 0..statements {
            let to = self.row_count();
            let text = format!("SELECT '{tag}', generate_series(1, {to})");
            let raises = kind == Kind::Batch && self.rng.chance(1, 12);
            if raises {
                let text = format!("SELECT '{tag}', raise('22012')");
                self.extended_statement(request, &text, one_of_two(), Effect::None, Some(*b"22012"));
            } else {
                self.extended_statement(request, &text, rows(1, to, 0), Effect::None, None);
            }
        }
        if block {
            self.extended_statement(request, "COMMIT", Outcome::Done("COMMIT", None), Effect::Commit, None);
        }
        self.sync(request);
    }

    fn prepared(&mut self, request: u32) {
        let slot = self.rng.below(3) as usize;
        let name = ["s0", "s1", "s2"][slot];
        let rows_each = match self.memory.prepared[slot] {
            Prepared::Ready(count) => count,
            _ if self.automaton.block() == Block::Failed => return self.simple(Kind::Select, request),
            _ => {
                let count = 1 + (self.number + self.rng.below(9) as u32) % 17;
                self.close(b'S', name);
                self.parse(request, name, &format!("SELECT $1, generate_series(1, {count})"));
                self.memory.prepared[slot] = Prepared::Pending(request, count);
                count
            }
        };
        for _ in 0..1 + self.rng.below(3) {
            if self.rng.chance(1, 4) {
                self.describe(b'S', name, 1, Some(2));
            }
            self.bind(request, "", name, true);
            let answer = rows_answer(request, rows(1, rows_each, 0));
            self.execute("", 0, answer);
        }
        self.sync(request);
    }

    fn portal(&mut self, request: u32) {
        let tag = self.tag(request);
        let inside = self.automaton.block() == Block::Inside;
        if let Some((opened_by, from)) = self.memory.portal.take().filter(|_| inside) {
            // The rest of a portal that an earlier request of this block has opened: its rows carry that one's tag.
            self.execute("p", 0, rows_answer(opened_by, rows(from, PORTAL_ROWS, 0)));
            self.close(b'P', "p");
            return self.sync(request);
        }
        if self.automaton.block() == Block::Failed {
            return self.simple(Kind::Select, request);
        }
        self.parse(request, "", &format!("SELECT '{tag}', generate_series(1, {PORTAL_ROWS})"));
        self.close(b'P', "p");
        self.bind(request, "p", "", false);
        let limit = 1 + self.rng.below(4) as u32;
        self.execute("p", limit, rows_answer(request, rows(1, PORTAL_ROWS, limit)));
        self.execute("p", 2, rows_answer(request, rows(limit + 1, PORTAL_ROWS, 2)));
        if inside && self.rng.chance(1, 2) {
            self.memory.portal = Some((request, limit + 3));
        } else {
            self.execute("p", 0, rows_answer(request, rows(limit + 3, PORTAL_ROWS, 0)));
        }
        self.sync(request);
    }

    fn flushed(&mut self, request: u32) {
        let tag = self.tag(request);
        let to = self.row_count();
        self.parse(request, "", &format!("SELECT '{tag}', generate_series(1, {to})"));
        self.bind(request, "", "", false);
        self.describe(b'P', "", 0, Some(2));
        self.frame(b'H', |_| {});
        self.memory.after_flush = Some(rows_answer(request, rows(1, to, 0)));
        self.memory.exclusive = true;
    }

    /// Once all that stands before a Flush is answered, the rest of the batch follows.
    pub(super) fn go_on_after_flush(&mut self) {
        let Some(answer) = self.memory.after_flush else { return };
        if self.automaton.is_idle() {
            self.memory.after_flush = None;
            if !self.automaton.needs_sync() {
                self.execute("", 0, answer);
            }
            self.sync(answer.request);
        }
    }

    fn fails(&mut self, request: u32) {
        let tag = self.tag(request);
        let (text, code) = match self.rng.below(3) {
            0 => (format!("SELECT FROM WHERE '{tag}'"), *b"42601"),
            1 => (format!("SELECT '{tag}', raise('40001')"), *b"40001"),
            _ => (format!("SELECT '{tag}', raise('22012')"), *b"22012"),
        };
        if self.rng.chance(1, 2) {
            self.extended_statement(request, &text, one_of_two(), Effect::None, Some(code));
            return self.sync(request);
        }
        self.query(request, &text);
        // A whole Query is parsed before its block is looked at.
        let fails = Some(code);
        let answer = Answer { request, simple: true, outcome: one_of_two(), effect: Effect::None, fails };
        self.automaton.owe(Expect::Statement(answer));
        self.automaton.owe(Expect::Ready(request));
    }

    fn copy(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        if kind == Kind::CopyOut {
            let to = self.row_count();
            let text = format!("COPY (SELECT '{tag}', generate_series(1, {to})) TO STDOUT");
            return self.simple_statement(request, &text, Outcome::CopyOut { to }, Effect::None);
        }
        let end = [CopyEnd::Done, CopyEnd::Done, CopyEnd::Fail, CopyEnd::BadLine][self.rng.below(4) as usize];
        let outcome = Outcome::CopyIn { lines: self.rng.below(12) as u32, end };
        self.memory.exclusive = true;
        if self.rng.chance(1, 2) {
            self.simple_statement(request, "COPY kv FROM STDIN", outcome, Effect::None);
        } else {
            // As libpq does: a Sync goes with the statement, which the copy swallows, and another behind the data.
            self.extended_statement(request, "COPY kv FROM STDIN", outcome, Effect::None, None);
            self.sync(request);
        }
    }

    /// Sends the lines of a COPY, cut into messages without regard to lines.
    pub(super) fn copy_lines(&mut self, request: u32, lines: u32) {
        let tag = self.tag(request);
        let mut data = String::new();
        for _ in 0..lines {
            let key = self.fresh_key().expect("a session has fewer rows than it has keys");
            let _ = writeln!(data, "{key}\t{tag}");
        }
        let mut rest = data.as_bytes();
        while !rest.is_empty() {
            let (part, tail) = rest.split_at((1 + self.rng.below(40) as usize).min(rest.len()));
            self.frame(b'd', |out| out.put_slice(part));
            rest = tail;
        }
    }

    fn function(&mut self, request: u32) {
        self.frame(b'F', |out| {
            out.put_u32(request);
            out.put_bytes(0, 6);
        });
        self.automaton.owe(Expect::FunctionCall(request));
        self.automaton.owe(Expect::Ready(request));
    }

    fn various(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        let void =
            Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::Void, from: 1, to: 1, limit: 0 };
        let (text, outcome) = match (kind, self.rng.below(5)) {
            (Kind::Sleep, _) => {
                let ms = 1 + self.rng.below(40);
                (format!("SELECT '{tag}', pg_sleep(0.{ms:03})"), void)
            }
            (Kind::Notify, 0) => {
                self.automaton.listening = true;
                ("LISTEN news".to_owned(), Outcome::Done("LISTEN", None))
            }
            (Kind::Notify, _) => (format!("NOTIFY news, '{tag}'"), Outcome::Done("NOTIFY", None)),
            (_, 0) => (format!("CREATE TEMP TABLE t{request} ()"), Outcome::Done("CREATE TABLE", None)),
            (_, 1) => (format!("SELECT '{tag}', pg_advisory_lock({})", self.row_key(0)), void),
            (_, 2) => (
                format!("DECLARE h{request} CURSOR WITH HOLD FOR SELECT '{tag}', generate_series(1, 3)"),
                Outcome::Done("DECLARE CURSOR", None),
            ),
            (_, 3) => (format!("PREPARE q{request} AS SELECT '{tag}'"), Outcome::Done("PREPARE", None)),
            _ => ("SET search_path = 'elsewhere'".to_owned(), Outcome::Done("SET", None)),
        };
        self.simple_statement(request, &text, outcome, Effect::None);
    }

    fn settings(&mut self, kind: Kind, request: u32) {
        let outside = self.automaton.block() == Block::Outside;
        if kind == Kind::Set && outside {
            let value = SETTINGS[self.rng.below(4) as usize];
            self.memory.work_mem = Some((request, value));
            self.memory.touched_settings = true;
            let text = format!("SET work_mem = '{value}'");
            return self.simple_statement(request, &text, Outcome::Done("SET", None), Effect::None);
        }
        let first = match self.memory.work_mem_known {
            Some(value) => First::Text(value),
            None if !self.memory.touched_settings => First::Text(DEFAULT_WORK_MEM),
            None => First::Any,
        };
        let outcome = Outcome::Rows { command: "SHOW", first, second: Second::None, from: 1, to: 1, limit: 0 };
        self.simple_statement(request, "SHOW work_mem", outcome, Effect::None);
    }

    /// ReadyForQuery of a request has come: what it was to bring about is known now.
    pub(super) fn request_answered(&mut self, request: u32) {
        let failed = std::mem::take(&mut self.memory.failed);
        let block = self.automaton.block();
        for slot in &mut self.memory.prepared {
            if let Prepared::Pending(by, count) = *slot
                && by == request
            {
                *slot = if failed { Prepared::Unknown } else { Prepared::Ready(count) };
            }
        }
        if let Some((by, set)) = &mut self.memory.savepoint
            && *by == request
        {
            *set = !failed && block == Block::Inside;
        }
        if block == Block::Outside {
            self.memory.savepoint = None;
        }
        if failed || block != Block::Inside {
            self.memory.portal = None;
        }
        if let Some((by, value)) = self.memory.work_mem
            && by == request
        {
            self.memory.work_mem = None;
            self.memory.work_mem_known = (!failed).then_some(value);
        }
        if self.automaton.is_idle() {
            self.memory.exclusive = false;
        }
    }
}

fn rows(from: u32, to: u32, limit: u32) -> Outcome {
    Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::Number, from, to: to.max(from - 1), limit }
}

fn one_row() -> Outcome {
    Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::None, from: 1, to: 1, limit: 0 }
}

/// One row of two columns that never comes.
fn one_of_two() -> Outcome {
    Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::Any, from: 1, to: 1, limit: 0 }
}

fn rows_answer(request: u32, outcome: Outcome) -> Answer {
    Answer { request, simple: false, outcome, effect: Effect::None, fails: None }
}

fn has_rows(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rows { .. } | Outcome::MaybeRow { .. })
}

fn put_named(out: &mut BytesMut, kind: u8, name: &str) {
    out.put_u8(kind);
    out.put_slice(name.as_bytes());
    out.put_u8(0);
}

//! What a client asks: each request is a few messages and what they are owed, up to one ReadyForQuery.

use super::automaton::{Answer, Block, Effect, End, Expect, First, Outcome, Second};
use super::ledger::Write as RowWrite;
use super::names::Names;
use super::route::Routes;
use super::{Client, ClientEvent};
use crate::tag::Tag;
use bytes::BufMut;
use pgconvoy_core::rng::Rng;
use pgconvoy_statements::Generator;

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
    /// A transaction block in several requests that do not wait for each other.
    Burst,
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
    /// One of these again, whatever is under way.
    Again,
    /// The same names, given and taken by messages and by SQL, rightly and wrongly.
    Named,
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
    /// A read that a standby refuses.
    Refused,
    /// Asks where a statement would go, and sends it.
    Explain,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 26;
    /// All kinds, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Select,
        Self::Series,
        Self::Multi,
        Self::Burst,
        Self::Read,
        Self::Write,
        Self::Block,
        Self::Extended,
        Self::Batch,
        Self::Prepared,
        Self::Again,
        Self::Named,
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
        Self::Refused,
        Self::Explain,
    ];

    /// True for those that are sent only when nothing is owed, because what they may say depends on the answers before.
    fn needs_quiet(self) -> bool {
        matches!(
            self,
            Self::Prepared
                | Self::Named
                | Self::Portal
                | Self::Flushed
                | Self::CopyIn
                | Self::Set
                | Self::Show
                | Self::Block
                | Self::Burst
                | Self::Refused
                | Self::Explain
        )
    }
}

/// What a client must remember between requests.
#[derive(Debug)]
pub struct Memory {
    /// An error that was not asked for has come since the last answered request.
    pub failed: bool,
    /// What the names of prepared statements stand for.
    pub names: Names,
    /// SAVEPOINT was sent in this request, or is set.
    savepoint: Option<(u32, bool)>,
    /// The portal `p`, opened by this request, has rows left from this one on.
    portal: Option<(u32, u32)>,
    work_mem: Option<(u32, &'static str)>,
    pub work_mem_known: Option<&'static str>,
    pub touched_settings: bool,
    /// What is to be sent once everything before a Flush is answered.
    after_flush: Option<Answer>,
    /// The copy of this request is to be ended by Sync.
    pub unsynced_copy: Option<u32>,
    pub exclusive: bool,
    /// What is asked about routes.
    pub routes: Routes,
    keys: u32,
}

impl Memory {
    /// Of a session that has not asked for anything yet.
    pub fn new(rng: &Rng) -> Self {
        let generator = Generator::new(rng.fork(Kind::Explain as u64).next_u64(), false);
        Self {
            failed: false,
            names: Names::default(),
            savepoint: None,
            portal: None,
            work_mem: None,
            work_mem_known: None,
            touched_settings: false,
            after_flush: None,
            unsynced_copy: None,
            exclusive: false,
            routes: Routes::new(generator),
            keys: 0,
        }
    }

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
        let request = self.next_request();
        let kind = self.draw_kind();
        match kind {
            Kind::Select | Kind::Series | Kind::Multi | Kind::Empty => self.simple(kind, request),
            Kind::Burst => self.burst(request),
            Kind::Read | Kind::Write => self.read_or_write(kind, request),
            Kind::Block => self.block(request),
            Kind::Extended | Kind::Batch => self.batch(kind, request),
            Kind::Prepared => self.prepared(request),
            Kind::Again => self.again(request),
            Kind::Named => self.named(request),
            Kind::Portal => self.portal(request),
            Kind::Flushed => self.flushed(request),
            Kind::Fails => self.fails(request),
            Kind::CopyIn | Kind::CopyOut => self.copy(kind, request),
            Kind::Function => self.function(request),
            Kind::Notify | Kind::Sleep | Kind::Mess => self.various(kind, request),
            Kind::Set | Kind::Show => self.settings(kind, request),
            Kind::Refused => self.refused(request),
            Kind::Explain => self.explain(request),
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
        let anonymous = matches!(drawn, Kind::Function | Kind::Prepared | Kind::Named | Kind::Explain);
        let first = self.requests_made == 1 && anonymous;
        if first || (drawn.needs_quiet() && !self.automaton.is_idle()) { Kind::Select } else { drawn }
    }

    pub(super) fn tag(&self, request: u32) -> Tag {
        Tag { client: self.number, request }
    }

    pub(super) fn simple(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        let one = Answer::new(request, one_row());
        match kind {
            Kind::Select => self.simple_statement(&format!("SELECT '{tag}'"), one),
            Kind::Series => {
                let to = self.row_count();
                let text = format!("SELECT '{tag}', generate_series(1, {to})");
                self.simple_statement(&text, Answer::new(request, rows(1, to, 0)));
            }
            Kind::Multi => self.several(request),
            _ => self.simple_statement("", Answer::new(request, Outcome::Empty)),
        }
    }

    /// Several statements in one Query: a transaction of their own, unless they say otherwise.
    fn several(&mut self, request: u32) {
        let tag = self.tag(request);
        let to = 1 + self.rng.below(4) as u32;
        let one = Answer::new(request, one_row());
        let done = |command| Answer::new(request, Outcome::Done(command, None));
        let series = Answer::new(request, rows(1, to, 0));
        let outside = self.automaton.is_idle() && self.automaton.block() == Block::Outside;
        let insert = |key| Answer::new(request, Outcome::Done("INSERT 0", Some((1, 1)))).writes(RowWrite::Insert(key));
        match (self.rng.below(8), self.fresh_keys(1)) {
            (0, _) => {
                let text = format!("SELECT '{tag}'; SELECT '{tag}', raise('22012'); SELECT '{tag}'");
                self.queries(request, &text, &[one, Answer::new(request, one_of_two()).fails(*b"22012"), one]);
            }
            (1, Some(key)) => {
                let text = format!("INSERT INTO kv VALUES ({key}, '{tag}'); SELECT '{tag}', raise('40001')");
                self.queries(request, &text, &[insert(key), Answer::new(request, one_of_two()).fails(*b"40001")]);
            }
            (2, Some(key)) => {
                let text = format!("SELECT '{tag}'; INSERT INTO kv VALUES ({key}, '{tag}'); SELECT '{tag}'");
                self.queries(request, &text, &[one, insert(key), one]);
            }
            (3, _) if outside => {
                let text = format!("BEGIN; SELECT '{tag}'; COMMIT; SELECT '{tag}'");
                let (begin, commit) = (done("BEGIN").effect(Effect::Begin), done("COMMIT").effect(Effect::Commit));
                self.queries(request, &text, &[begin, one, commit, one]);
            }
            (4, _) if outside => {
                let text = format!("SELECT '{tag}'; BEGIN; SELECT '{tag}'");
                self.queries(request, &text, &[one, done("BEGIN").effect(Effect::Begin), one]);
            }
            _ => {
                let text = format!("SELECT '{tag}'; SELECT '{tag}', generate_series(1, {to}); SELECT '{tag}'");
                self.queries(request, &text, &[one, series, one]);
            }
        }
    }

    /// A transaction block, each statement a request of its own, all of them sent at once.
    fn burst(&mut self, first: u32) {
        if self.automaton.block() != Block::Outside {
            return self.simple(Kind::Select, first);
        }
        let begin = Answer::new(first, Outcome::Done("BEGIN", None)).effect(Effect::Begin);
        self.either_statement("BEGIN", begin);
        for _ in 0..self.rng.below(4) {
            let request = self.next_request();
            match self.rng.below(4) {
                0 => self.fails(request),
                1 => self.batch(Kind::Extended, request),
                2 => self.simple(Kind::Select, request),
                _ => self.read_or_write(Kind::Write, request),
            }
        }
        let request = self.next_request();
        let (text, effect) = [("COMMIT", Effect::Commit), ("ROLLBACK", Effect::Rollback)][self.rng.below(2) as usize];
        self.either_statement(text, Answer::new(request, Outcome::Done(text, None)).effect(effect));
    }

    pub(super) fn next_request(&mut self) -> u32 {
        self.requests_made += 1;
        self.requests_made - 1
    }

    pub(super) fn row_count(&mut self) -> u32 {
        if self.rng.chance(1, 24) { self.workload.large_rows } else { 1 + self.rng.below(8) as u32 }
    }

    fn row_key(&self, index: u32) -> u32 {
        self.number * KEYS + index
    }

    /// The first of so many keys in a row that no row has had yet.
    pub(super) fn fresh_keys(&mut self, count: u32) -> Option<u32> {
        let first = self.memory.keys + 1;
        (first + count <= KEYS).then(|| {
            self.memory.keys += count;
            self.row_key(first)
        })
    }

    fn any_key(&mut self) -> u32 {
        let index = self.rng.below(u64::from(self.memory.keys.clamp(1, KEYS - 1))) as u32;
        self.row_key(1 + index)
    }

    fn read_or_write(&mut self, kind: Kind, request: u32) {
        let (text, answer) = if kind == Kind::Read { self.draw_read(request) } else { self.draw_write(request) };
        self.either_statement(&text, answer);
    }

    pub(super) fn draw_read(&mut self, request: u32) -> (String, Answer) {
        let (tag, key) = (self.tag(request), self.any_key());
        self.events.push_back(ClientEvent::Reads(tag));
        let outcome = Outcome::MaybeRow { command: "SELECT", second: Second::Own };
        (format!("SELECT '{tag}', v FROM kv WHERE k = {key}"), Answer::new(request, outcome))
    }

    pub(super) fn draw_write(&mut self, request: u32) -> (String, Answer) {
        let tag = self.tag(request);
        let key = self.any_key();
        let answer = |command, counts| Answer::new(request, Outcome::Done(command, Some(counts)));
        match (self.rng.below(4), if self.rng.chance(1, 2) { self.fresh_keys(1) } else { None }) {
            (_, Some(fresh)) => {
                let text = format!("INSERT INTO kv VALUES ({fresh}, '{tag}')");
                (text, answer("INSERT 0", (1, 1)).writes(RowWrite::Insert(fresh)))
            }
            (0, None) => {
                (format!("DELETE FROM kv WHERE k = {key}"), answer("DELETE", (0, 1)).writes(RowWrite::Delete(key)))
            }
            (1, None) => {
                let text = format!("UPDATE kv SET v = '{tag}' WHERE k = {key} RETURNING '{tag}'");
                let outcome = Outcome::MaybeRow { command: "UPDATE", second: Second::None };
                (text, Answer::new(request, outcome).writes(RowWrite::Update(key)))
            }
            (_, None) => {
                let text = format!("UPDATE kv SET v = '{tag}' WHERE k = {key}");
                (text, answer("UPDATE", (0, 1)).writes(RowWrite::Update(key)))
            }
        }
    }

    fn block(&mut self, request: u32) {
        let (text, answer) = self.draw_block(request);
        self.either_statement(text, answer);
    }

    pub(super) fn draw_block(&mut self, request: u32) -> (&'static str, Answer) {
        let (text, effect) = match (self.automaton.block(), self.rng.below(6)) {
            (Block::Outside, 0) => ("BEGIN ISOLATION LEVEL SERIALIZABLE", Effect::Begin),
            (Block::Outside, 1) => ("BEGIN READ WRITE", Effect::Begin),
            (Block::Outside, _) => ("BEGIN", Effect::Begin),
            (Block::Inside, 0 | 1) => {
                self.memory.savepoint = Some((request, false));
                ("SAVEPOINT s", Effect::Savepoint)
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
            (Effect::Savepoint | Effect::None, _) => "SAVEPOINT",
        };
        (text, Answer::new(request, Outcome::Done(command, None)).effect(effect))
    }

    fn batch(&mut self, kind: Kind, request: u32) {
        let statements = if kind == Kind::Batch { 2 + self.rng.below(5) } else { 1 };
        let quiet = self.automaton.is_idle() && self.automaton.block() == Block::Outside;
        let block = kind == Kind::Batch && quiet && self.rng.chance(1, 3);
        let done = |command| Answer::new(request, Outcome::Done(command, None));
        if block {
            self.extended_statement("BEGIN", done("BEGIN").effect(Effect::Begin));
        }
        for _ in 0..statements {
            self.part_of_batch(kind, request);
        }
        if block {
            self.extended_statement("COMMIT", done("COMMIT").effect(Effect::Commit));
        }
        if kind == Kind::Batch && self.rng.chance(1, 12) {
            // Ill-mannered, but allowed: a Query ends the batch as well, unless that has failed already.
            let tag = self.tag(request);
            self.query(request, &format!("SELECT '{tag}'"));
            self.automaton.owe(Expect::Statement(Answer { simple: true, ..Answer::new(request, one_row()) }));
            self.automaton.owe(Expect::Ready(End::Query, None));
        }
        self.sync(request);
    }

    fn part_of_batch(&mut self, kind: Kind, request: u32) {
        let tag = self.tag(request);
        match if kind == Kind::Batch { self.rng.below(12) } else { u64::MAX } {
            0 => {
                let text = format!("SELECT '{tag}', raise('22012')");
                self.extended_statement(&text, Answer::new(request, one_of_two()).fails(*b"22012"));
            }
            1..=3 => {
                let (text, answer) = self.draw_write(request);
                self.extended_statement(&text, answer);
            }
            4 => self.flush(),
            _ => {
                let to = self.row_count();
                let text = format!("SELECT '{tag}', generate_series(1, {to})");
                self.extended_statement(&text, Answer::new(request, rows(1, to, 0)));
            }
        }
    }

    fn portal(&mut self, request: u32) {
        let tag = self.tag(request);
        let inside = self.automaton.block() == Block::Inside;
        if let Some((opened_by, from)) = self.memory.portal.take().filter(|_| inside) {
            // The rest of a portal that an earlier request of this block has opened: its rows carry that one's tag.
            self.execute("p", 0, Answer::new(opened_by, rows(from, PORTAL_ROWS, 0)));
            self.close(b'P', "p");
            return self.sync(request);
        }
        if self.automaton.block() == Block::Failed {
            return self.simple(Kind::Select, request);
        }
        self.parse(request, "", &format!("SELECT '{tag}', generate_series(1, {PORTAL_ROWS})"), None);
        self.close(b'P', "p");
        self.bind(request, "p", "", false, None);
        let limit = 1 + self.rng.below(4) as u32;
        self.execute("p", limit, Answer::new(request, rows(1, PORTAL_ROWS, limit)));
        self.execute("p", 2, Answer::new(request, rows(limit + 1, PORTAL_ROWS, 2)));
        if inside && self.rng.chance(1, 2) {
            self.memory.portal = Some((request, limit + 3));
        } else {
            self.execute("p", 0, Answer::new(request, rows(limit + 3, PORTAL_ROWS, 0)));
        }
        self.sync(request);
    }

    fn flushed(&mut self, request: u32) {
        let tag = self.tag(request);
        let to = self.row_count();
        self.parse(request, "", &format!("SELECT '{tag}', generate_series(1, {to})"), None);
        self.bind(request, "", "", false, None);
        self.describe(b'P', "", 0, Some(2), None);
        self.flush();
        self.memory.after_flush = Some(Answer::new(request, rows(1, to, 0)));
        self.memory.exclusive = true;
    }

    /// Once all that stands before a Flush is answered, the rest of the batch follows.
    pub(super) fn go_on_after_flush(&mut self) {
        if !self.automaton.is_idle() {
            return;
        }
        if let Some(answer) = self.memory.after_flush.take() {
            if !self.automaton.needs_sync() {
                self.execute("", 0, answer);
            }
            self.sync(answer.request);
        }
        if self.memory.unsynced_copy.is_some() {
            self.sync_copy();
        }
    }

    fn fails(&mut self, request: u32) {
        let (text, answer) = self.draw_failure(request);
        self.either_statement(&text, answer);
    }

    pub(super) fn draw_failure(&mut self, request: u32) -> (String, Answer) {
        let tag = self.tag(request);
        let (text, code) = match self.rng.below(3) {
            0 => (format!("SELECT FROM WHERE '{tag}'"), *b"42601"),
            1 => (format!("SELECT '{tag}', raise('40001')"), *b"40001"),
            _ => (format!("SELECT '{tag}', raise('22012')"), *b"22012"),
        };
        (text, Answer::new(request, one_of_two()).fails(code))
    }

    /// A read that a standby refuses, though it may be sent there by all that is known. Nothing is under way, and nothing
    /// follows before it is answered: so its client does not hear of the refusal.
    fn refused(&mut self, request: u32) {
        // It costs the session its standbys.
        if self.automaton.block() != Block::Outside || !self.rng.chance(1, 3) {
            return self.simple(Kind::Select, request);
        }
        let (tag, code) = (self.tag(request), ["25006", "0A000"][self.rng.below(2) as usize]);
        let outcome =
            Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::Void, from: 1, to: 1, limit: 0 };
        self.memory.exclusive = true;
        self.either_statement(&format!("SELECT '{tag}', fickle('{code}')"), Answer::new(request, outcome));
    }

    fn function(&mut self, request: u32) {
        self.frame(b'F', |out| {
            out.put_u32(request);
            out.put_bytes(0, 6);
        });
        self.automaton.owe(Expect::FunctionCall(request));
        self.automaton.owe(Expect::Ready(End::Query, Some(request)));
    }

    fn various(&mut self, kind: Kind, request: u32) {
        let (text, answer) = self.draw_various(kind, request);
        self.simple_statement(&text, answer);
    }

    pub(super) fn draw_various(&mut self, kind: Kind, request: u32) -> (String, Answer) {
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
        (text, Answer::new(request, outcome))
    }

    fn settings(&mut self, kind: Kind, request: u32) {
        let outside = self.automaton.block() == Block::Outside;
        if kind == Kind::Set && outside {
            let value = SETTINGS[self.rng.below(4) as usize];
            self.memory.work_mem = Some((request, value));
            self.memory.touched_settings = true;
            let text = format!("SET work_mem = '{value}'");
            return self.simple_statement(&text, Answer::new(request, Outcome::Done("SET", None)));
        }
        let first = match self.memory.work_mem_known {
            Some(value) => First::Text(value),
            None if !self.memory.touched_settings => First::Text(DEFAULT_WORK_MEM),
            None => First::Any,
        };
        let outcome = Outcome::Rows { command: "SHOW", first, second: Second::None, from: 1, to: 1, limit: 0 };
        self.simple_statement("SHOW work_mem", Answer::new(request, outcome));
    }

    /// ReadyForQuery of a request has come: what it was to bring about is known now.
    pub(super) fn request_answered(&mut self, request: u32) {
        let failed = std::mem::take(&mut self.memory.failed);
        let block = self.automaton.block();
        self.memory.names.answered(request, failed);
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
            self.go_on_after_explanation(request, failed);
        }
    }
}

pub(super) fn rows(from: u32, to: u32, limit: u32) -> Outcome {
    Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::Number, from, to: to.max(from - 1), limit }
}

pub(super) fn one_row() -> Outcome {
    Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::None, from: 1, to: 1, limit: 0 }
}

/// One row of two columns that never comes.
pub(super) fn one_of_two() -> Outcome {
    Outcome::Rows { command: "SELECT", first: First::Tag, second: Second::Any, from: 1, to: 1, limit: 0 }
}

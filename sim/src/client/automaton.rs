//! What a client may be answered, message by message (invariants I01 and I02).
//!
//! Each message sent leaves what it is owed; each message received must be what is owed next. Errors and transaction
//! blocks change what is owed as PostgreSQL's manual says ("Message Flow"), so nothing needs to be guessed.

use super::ledger::{Ledger, Write};
use crate::frame::cstr;
use crate::tag::{Tag, number};
use crate::world::mark::Mark;
use std::collections::{BTreeSet, VecDeque};

/// Where a client stands in a transaction block, from what it has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Outside.
    Outside,
    /// Within.
    Inside,
    /// Within one that has failed.
    Failed,
}

impl Block {
    fn status(self) -> u8 {
        match self {
            Self::Outside => b'I',
            Self::Inside => b'T',
            Self::Failed => b'E',
        }
    }
}

/// What a statement does to the transaction block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT.
    Savepoint,
    /// ROLLBACK TO.
    RollbackTo,
}

/// The first column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The tag of the request.
    Tag,
    /// This text.
    Text(&'static str),
    /// Something that is not known beforehand.
    Any,
}

/// The second column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// There is none.
    None,
    /// The number of the row.
    Number,
    /// A value that this client wrote.
    Own,
    /// Nothing, in text.
    Void,
    /// Something that is not known beforehand.
    Any,
}

/// How a COPY from the client is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// CopyDone.
    Done,
    /// CopyFail.
    Fail,
    /// A line that the server refuses, and CopyDone.
    BadLine,
    /// CopyDone, though the server has refused the copy as soon as it had begun.
    Refused,
}

impl CopyEnd {
    /// The error that the copy ends with.
    fn code(self) -> Option<[u8; 5]> {
        match self {
            Self::Done => None,
            Self::Fail => Some(*b"57014"),
            Self::BadLine => Some(*b"22P04"),
            Self::Refused => Some(*b"42809"),
        }
    }
}

/// When the rows of a COPY from the client are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStyle {
    /// When CopyInResponse has come.
    Asked,
    /// When CopyInResponse has come, and then a Sync; one that the copy swallows went with the statement (libpq).
    AskedAfterSync,
    /// When CopyInResponse has come, and then the one Sync; a Flush went with the statement.
    AskedAfterFlush,
    /// With the statement.
    AtOnce,
}

/// What a statement results in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was asked.
    Empty,
    /// A command without rows; how many it says to have changed, if it counts.
    Done(&'static str, Option<(u32, u32)>),
    /// Rows `from..=to`; `limit` rows at most, 0 for no limit.
    Rows { command: &'static str, first: First, second: Second, from: u32, to: u32, limit: u32 },
    /// At most one row: the statement may find none.
    MaybeRow { command: &'static str, second: Second },
    /// Rows from the client, from this key on.
    CopyIn { first: u32, lines: u32, end: CopyEnd, style: CopyStyle },
    /// Rows 1..=to as CopyData.
    CopyOut { to: u32 },
    /// What pgconvoy says of a statement's route.
    Explained,
}

/// In the place of a code: no model server can read the text (42601), and pgconvoy may refuse it before (0A000).
pub const UNREADABLE: [u8; 5] = *b"?????";

/// What one statement is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request that it belongs to.
    pub request: u32,
    /// True in a Query: rows are described without being asked.
    pub simple: bool,
    /// What it results in.
    pub outcome: Outcome,
    /// What it does to the transaction block.
    pub effect: Effect,
    /// What it does to the client's rows.
    pub write: Write,
    /// The error that it must end with.
    pub fails: Option<[u8; 5]>,
}

impl Answer {
    /// What `outcome` owes, in the extended protocol, without further effect.
    pub fn new(request: u32, outcome: Outcome) -> Self {
        Self { request, simple: false, outcome, effect: Effect::None, write: Write::None, fails: None }
    }

    /// The same with an effect on the transaction block.
    pub fn effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// The same with an effect on the client's rows.
    pub fn writes(self, write: Write) -> Self {
        Self { write, ..self }
    }

    /// The same, ending with an error.
    pub fn fails(self, code: [u8; 5]) -> Self {
        Self { fails: Some(code), ..self }
    }
}

/// What ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Sync.
    Sync,
    /// A Query or FunctionCall, which an error in the extended protocol makes the server skip.
    Query,
}

/// One thing owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// ParseComplete, or this error.
    Parse(Option<[u8; 5]>),
    /// BindComplete, or this error.
    Bind(Option<[u8; 5]>),
    /// CloseComplete.
    Close,
    /// ParameterDescription if a statement with so many parameters is described, and RowDescription of so many
    /// columns or NoData; or this error.
    Describe { parameters: Option<u8>, columns: Option<u8>, fails: Option<[u8; 5]> },
    /// The result of a statement.
    Statement(Answer),
    /// FunctionCallResponse with this text.
    FunctionCall(u32),
    /// ReadyForQuery; the request that it ends, if it is the last one of it.
    Ready(End, Option<u32>),
}

/// Where a client stands, for whoever wants to know in the midst of what a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// In its login.
    Login,
    /// In a result of which rows have come.
    Result,
    /// In a copy.
    Copy,
    /// With other answers outstanding.
    Batch,
    /// In a transaction block, with nothing outstanding.
    Block,
    /// With nothing open.
    Idle,
}

/// What a client has to do about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    None,
    /// Send rows.
    CopyIn { request: u32, first: u32, lines: u32, end: CopyEnd, style: CopyStyle },
    /// The request of this number is answered.
    Answered(u32),
    /// The server ends the session with this code.
    Fatal([u8; 5]),
    /// An error that was not asked for, which the world must be able to explain.
    Failed([u8; 5]),
    /// An error before Sync was sent: only Sync brings the answers back.
    SyncNeeded,
}

/// What a client is owed, and how far the first part of it has come.
#[derive(Debug)]
pub struct Automaton {
    client: u32,
    owed: VecDeque<Expect>,
    block: Block,
    /// The rows that the client has written.
    pub ledger: Ledger,
    rows: u32,
    described: bool,
    copying: bool,
    skipping: bool,
    /// True once LISTEN was sent.
    pub listening: bool,
    /// What pgconvoy has said of a route.
    pub explained: Option<Explanation>,
    /// Interesting things that have happened since the last look.
    pub marks: Vec<Mark>,
}

/// What `EXPLAIN ROUTE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The servers that the statement would go to.
    pub nodes: BTreeSet<u8>,
    /// The rule that decides.
    pub rule: String,
    /// In words.
    pub reason: String,
}

impl Automaton {
    /// A client that has just logged in.
    pub fn new(client: u32) -> Self {
        Self {
            client,
            owed: VecDeque::new(),
            block: Block::Outside,
            ledger: Ledger::default(),
            rows: 0,
            described: false,
            copying: false,
            skipping: false,
            listening: false,
            explained: None,
            marks: Vec::new(),
        }
    }

    /// Something was sent that is owed `expect`.
    pub fn owe(&mut self, expect: Expect) {
        self.skipping &= !matches!(expect, Expect::Ready(End::Sync, _));
        if !self.skipping {
            self.owed.push_back(expect);
        }
    }

    /// True when nothing is owed.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty()
    }

    /// What is owed next.
    pub fn next(&self) -> Option<&Expect> {
        self.owed.front()
    }

    /// Where the client stands in a transaction block.
    pub fn block(&self) -> Block {
        self.block
    }

    /// Where it stands.
    pub fn moment(&self) -> Moment {
        match self.owed.front() {
            Some(Expect::Statement(_)) if self.copying => Moment::Copy,
            Some(Expect::Statement(_)) if self.rows > 0 => Moment::Result,
            Some(_) => Moment::Batch,
            None if self.block != Block::Outside => Moment::Block,
            None => Moment::Idle,
        }
    }

    /// Takes one message.
    pub fn handle_message(&mut self, message: &[u8]) -> Result<Reaction, String> {
        let body = &message[5..];
        match message[0] {
            b'N' => self.notice(body),
            b'A' => self.notification(body),
            b'S' => Ok(Reaction::None),
            b'E' => self.error(body),
            kind => self.reply(kind, body),
        }
    }

    fn reply(&mut self, kind: u8, body: &[u8]) -> Result<Reaction, String> {
        let Some(expect) = self.owed.front().copied() else {
            return Err(format!("{:?} came and nothing was owed", kind as char));
        };
        match (expect, kind) {
            (Expect::Parse(None), b'1') | (Expect::Bind(None), b'2') | (Expect::Close, b'3') => self.pop(),
            (Expect::Describe { parameters: Some(count), columns, fails: None }, b't') => {
                if body.get(..2) != Some(&u16::from(count).to_be_bytes()[..]) {
                    return Err(format!("{count} parameters were expected, not {body:?}"));
                }
                self.owed[0] = Expect::Describe { parameters: None, columns, fails: None };
            }
            (Expect::Describe { parameters: None, columns: Some(columns), fails: None }, b'T') => {
                check_columns(columns, body)?;
                self.pop();
            }
            (Expect::Describe { parameters: None, columns: None, fails: None }, b'n') => self.pop(),
            (Expect::FunctionCall(oid), b'V') => {
                if body.get(4..) != Some(oid.to_string().as_bytes()) {
                    return Err(format!("function {oid} returned {body:?}"));
                }
                self.pop();
            }
            (Expect::Ready(_, request), b'Z') => {
                if body != [self.block.status()] {
                    return Err(format!("ReadyForQuery says {body:?} within {:?}", self.block));
                }
                if self.block == Block::Outside {
                    self.ledger.end(true);
                }
                self.pop();
                return Ok(request.map_or(Reaction::None, Reaction::Answered));
            }
            (Expect::Statement(answer), _) => return self.statement(answer, kind, body),
            _ => return Err(format!("{:?} came where {expect:?} was owed", kind as char)),
        }
        Ok(Reaction::None)
    }

    fn statement(&mut self, answer: Answer, kind: u8, body: &[u8]) -> Result<Reaction, String> {
        let unexpected = || format!("{:?} came where {answer:?} was owed", kind as char);
        // A statement that fails while it runs may have described its rows already.
        if self.must_fail(&answer) && kind != b'T' {
            return Err(unexpected());
        }
        match (answer.outcome, kind) {
            (Outcome::Empty, b'I') => self.pop(),
            (Outcome::Done(command, counts), b'C') => {
                let counts = self.ledger.counts(answer.write).map(|count| (count, count)).or(counts);
                let rolled_back = answer.effect == Effect::Commit && self.block == Block::Failed;
                check_command(if rolled_back { "ROLLBACK" } else { command }, counts, body)?;
                self.completed(answer, counts.map_or(0, |(count, _)| count));
            }
            (Outcome::Rows { .. } | Outcome::MaybeRow { .. }, b'T') if answer.simple && !self.described => {
                check_columns(columns(&answer.outcome), body)?;
                self.described = true;
            }
            (Outcome::Rows { first, second, from, to, limit, .. }, b'D') if self.described == answer.simple => {
                let row = from + self.rows;
                if row > to || (limit > 0 && self.rows >= limit) {
                    return Err(format!("one row too many: {answer:?}"));
                }
                self.check_row(&answer, first, second, row, body)?;
                self.rows += 1;
            }
            (Outcome::MaybeRow { second, .. }, b'D') if self.described == answer.simple && self.rows == 0 => {
                self.check_row(&answer, First::Tag, second, 1, body)?;
                self.rows += 1;
            }
            (Outcome::Rows { command, from, to, limit, .. }, b'C') => {
                let left = (to + 1) - from;
                if self.rows != left || (limit > 0 && self.rows >= limit) {
                    return Err(format!("{} of {left} rows came: {answer:?}", self.rows));
                }
                check_command(command, counted(command).then_some((left, left)), body)?;
                self.completed(answer, left);
            }
            (Outcome::Rows { limit, .. }, b's') if limit > 0 && self.rows == limit => {
                self.marks.push(Mark::Suspended);
                self.pop();
            }
            (Outcome::MaybeRow { command, .. }, b'C') => {
                let rows = self.ledger.counts(answer.write).unwrap_or(self.rows);
                check_command(command, counted(command).then_some((rows, rows)), body)?;
                self.completed(answer, rows);
            }
            (Outcome::CopyIn { first, lines, end, style }, b'G') if !self.copying => {
                self.copying = true;
                return Ok(Reaction::CopyIn { request: answer.request, first, lines, end, style });
            }
            (Outcome::CopyIn { lines, end: CopyEnd::Done, .. }, b'C') if self.copying => {
                check_command("COPY", Some((lines, lines)), body)?;
                self.completed(answer, lines);
            }
            (Outcome::CopyOut { .. }, b'H') if !self.copying => self.copying = true,
            (Outcome::CopyOut { to }, b'd') if self.copying && self.rows < to => {
                self.rows += 1;
                self.check_copy_row(&answer, body)?;
            }
            (Outcome::CopyOut { to }, b'c') if self.copying && self.rows == to => self.described = true,
            (Outcome::CopyOut { to }, b'C') if self.copying && self.described => {
                check_command("COPY", Some((to, to)), body)?;
                self.completed(answer, 0);
            }
            (Outcome::Explained, b'T') if answer.simple && !self.described => {
                check_columns(columns(&answer.outcome), body)?;
                self.described = true;
            }
            (Outcome::Explained, b'D') if self.described == answer.simple && self.rows == 0 => {
                self.explained = Some(explanation(body)?);
                self.rows += 1;
            }
            (Outcome::Explained, b'C') if self.rows == 1 => {
                check_command("SELECT", Some((1, 1)), body)?;
                self.completed(answer, 1);
            }
            _ => return Err(unexpected()),
        }
        Ok(Reaction::None)
    }

    /// Whether a statement cannot succeed: it was made to fail, or it runs in a failed block.
    fn must_fail(&self, answer: &Answer) -> bool {
        answer.fails.is_some() || (self.block == Block::Failed && self.barred(answer))
    }

    fn barred(&self, answer: &Answer) -> bool {
        !matches!(answer.effect, Effect::Commit | Effect::Rollback | Effect::RollbackTo)
            && !matches!(answer.outcome, Outcome::Empty | Outcome::Explained)
    }

    fn completed(&mut self, answer: Answer, count: u32) {
        self.ledger.wrote(answer.write, answer.request, count);
        match answer.effect {
            Effect::None => {}
            Effect::Begin => self.block = Block::Inside,
            Effect::Savepoint => self.ledger.mark(),
            Effect::RollbackTo => {
                self.ledger.rewind();
                self.block = Block::Inside;
            }
            Effect::Commit | Effect::Rollback => {
                self.ledger.end(answer.effect == Effect::Commit && self.block != Block::Failed);
                self.block = Block::Outside;
            }
        }
        self.pop();
    }

    fn pop(&mut self) {
        self.owed.pop_front();
        (self.rows, self.described, self.copying) = (0, false, false);
    }

    fn error(&mut self, body: &[u8]) -> Result<Reaction, String> {
        let field = |kind| field(body, kind).unwrap_or_default();
        let code: [u8; 5] = field(b'C').try_into().map_err(|_| "an error without a code".to_owned())?;
        if matches!(field(b'V'), b"FATAL" | b"PANIC") {
            return Ok(Reaction::Fatal(code));
        }
        let context = field(b'W');
        if let Some(tag) = Tag::parse(context)
            && tag.client != self.client
        {
            return Err(format!("an error of {tag} came to c{}", self.client));
        }
        let planned = self.planned_error(code)?;
        match self.block {
            Block::Inside => self.block = Block::Failed,
            Block::Outside => self.ledger.end(false),
            Block::Failed => {}
        }
        let simple = matches!(self.owed.front(), Some(Expect::Statement(answer)) if answer.simple)
            || matches!(self.owed.front(), Some(Expect::FunctionCall(_)));
        let ends = |expect: &Expect| match expect {
            Expect::Ready(end, _) => simple || *end == End::Sync,
            _ => false,
        };
        while self.owed.front().is_some_and(|expect| !ends(expect)) {
            self.pop();
        }
        self.skipping = self.owed.is_empty();
        self.marks.extend(match &code {
            _ if self.skipping => Some(Mark::BatchFailed),
            b"25P02" => Some(Mark::BlockFailed),
            b"42P05" => Some(Mark::NameRefused),
            b"26000" => Some(Mark::NameUnknown),
            b"22P04" => Some(Mark::CopyFailed),
            b"42809" => Some(Mark::CopyRefused),
            _ => None,
        });
        if planned != Some(code) {
            return Ok(Reaction::Failed(code));
        }
        Ok(if self.skipping { Reaction::SyncNeeded } else { Reaction::None })
    }

    /// The code of the error that what is owed next must end with, if it must.
    fn planned_error(&self, code: [u8; 5]) -> Result<Option<[u8; 5]>, String> {
        let shown = String::from_utf8_lossy(&code).into_owned();
        let front = self.owed.front().ok_or_else(|| format!("error {shown} came and nothing was owed"))?;
        let failed = (self.block == Block::Failed).then_some(*b"25P02");
        Ok(match front {
            Expect::Ready(..) => return Err(format!("error {shown} came where ReadyForQuery was owed")),
            Expect::Parse(Some(UNREADABLE)) | Expect::Statement(Answer { fails: Some(UNREADABLE), .. }) => {
                Some(if code == *b"0A000" { code } else { *b"42601" })
            }
            // Text is parsed, and names are looked up, before anybody looks at the block; whether a name is free, after.
            Expect::Parse(Some(code)) | Expect::Statement(Answer { fails: Some(code), .. }) if code == b"42601" => {
                Some(*code)
            }
            Expect::Bind(Some(code)) | Expect::Describe { fails: Some(code), .. } => Some(*code),
            Expect::Parse(fails) => failed.or(*fails),
            Expect::Statement(answer) if self.barred(answer) && failed.is_some() => failed,
            // COPY answers CopyFail and bad lines with errors of their own.
            Expect::Statement(Answer { outcome: Outcome::CopyIn { end, .. }, .. }) if self.copying => end.code(),
            Expect::Statement(answer) => answer.fails,
            _ => failed,
        })
    }

    /// True when an error has been answered to a batch whose Sync is still to be sent.
    pub fn needs_sync(&self) -> bool {
        self.skipping
    }

    fn check_row(&self, answer: &Answer, first: First, second: Second, row: u32, body: &[u8]) -> Result<(), String> {
        let mut values = Columns(body.get(2..).unwrap_or_default());
        let got = values.next().ok_or("a row without a column")?;
        match first {
            First::Tag => self.check_tag(answer, got)?,
            First::Text(text) if got != text.as_bytes() => {
                return Err(format!("{text:?} was expected, not {:?}", String::from_utf8_lossy(got)));
            }
            First::Text(_) | First::Any => {}
        }
        let value = values.next();
        let fits = match (second, value) {
            (Second::None, None) | (Second::Any, Some(_)) => true,
            (Second::Number, Some(value)) => number(value) == Some(row),
            (Second::Own, Some(value)) => Tag::parse(value).is_some_and(|tag| tag.client == self.client),
            (Second::Void, Some(value)) => value.is_empty(),
            _ => false,
        };
        if !fits || values.next().is_some() {
            return Err(format!("row {row} is wrong: {:?} for {answer:?}", String::from_utf8_lossy(body)));
        }
        Ok(())
    }

    fn check_tag(&self, answer: &Answer, text: &[u8]) -> Result<(), String> {
        let expected = Tag { client: self.client, request: answer.request };
        if Tag::parse(text) == Some(expected) {
            return Ok(());
        }
        Err(format!("a row of {} answers {expected}", String::from_utf8_lossy(text)))
    }

    fn check_copy_row(&self, answer: &Answer, line: &[u8]) -> Result<(), String> {
        let tab = line.iter().position(|byte| *byte == b'\t').ok_or("a copied line without a tab")?;
        self.check_tag(answer, &line[..tab])?;
        let row = line[tab + 1..].strip_suffix(b"\n").and_then(number);
        if row == Some(self.rows) { Ok(()) } else { Err(format!("line {row:?} came as line {}", self.rows)) }
    }

    fn notice(&self, body: &[u8]) -> Result<Reaction, String> {
        let text = field(body, b'M').unwrap_or_default();
        match text.strip_prefix(b"for c").map(number) {
            Some(client) if client != Some(self.client) => {
                Err(format!("a notice {:?} came to c{}", String::from_utf8_lossy(text), self.client))
            }
            _ => Ok(Reaction::None),
        }
    }

    fn notification(&self, body: &[u8]) -> Result<Reaction, String> {
        let texts = body.get(4..).and_then(cstr).and_then(|(channel, rest)| Some((channel, cstr(rest)?.0)));
        let Some((channel, payload)) = texts else { return Err("a malformed notification".to_owned()) };
        let ours = match channel {
            b"injected" => payload == b"nobody" || Tag::parse(payload).is_some_and(|tag| tag.client == self.client),
            _ => self.listening,
        };
        if ours {
            return Ok(Reaction::None);
        }
        let [channel, payload] = [channel, payload].map(String::from_utf8_lossy);
        Err(format!("a notification {payload:?} on {channel:?} came to c{}", self.client))
    }
}

/// The columns of a DataRow behind their count.
struct Columns<'a>(&'a [u8]);

impl<'a> Iterator for Columns<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let value = rest.get(..u32::from_be_bytes(*length) as usize)?;
        self.0 = &rest[value.len()..];
        Some(value)
    }
}

/// Reads the row that answers `EXPLAIN ROUTE`.
fn explanation(body: &[u8]) -> Result<Explanation, String> {
    let mut values = Columns(body.get(2..).unwrap_or_default()).map(String::from_utf8_lossy);
    let mut value = || values.next().map(String::from).ok_or("a row without a column");
    let (nodes, _class, rule, reason) = (value()?, value()?, value()?, value()?);
    let nodes = nodes.split(", ").map(str::parse).collect::<Result<_, _>>();
    let nodes = nodes.map_err(|_| format!("no servers are named in {:?}", String::from_utf8_lossy(body)))?;
    Ok(Explanation { nodes, rule, reason })
}

/// A field of an ErrorResponse or NoticeResponse.
pub fn field(mut body: &[u8], kind: u8) -> Option<&[u8]> {
    while let Some((&found, rest)) = body.split_first() {
        let (value, rest) = cstr(rest)?;
        if found == kind {
            return Some(value);
        }
        body = rest;
    }
    None
}

/// How many columns the rows of an outcome have.
pub fn columns(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Rows { second: Second::None, .. } | Outcome::MaybeRow { second: Second::None, .. } => 1,
        Outcome::Explained => 6,
        _ => 2,
    }
}

fn counted(command: &str) -> bool {
    command != "SHOW"
}

fn check_columns(expected: u8, body: &[u8]) -> Result<(), String> {
    if body.get(..2) == Some(&u16::from(expected).to_be_bytes()[..]) {
        return Ok(());
    }
    Err(format!("{expected} columns were expected: {body:?}"))
}

/// Whether a CommandComplete says `command` and a count within bounds.
fn check_command(command: &str, counts: Option<(u32, u32)>, body: &[u8]) -> Result<(), String> {
    let text = body.strip_suffix(b"\0").unwrap_or(body);
    let rest = text.strip_prefix(command.as_bytes());
    let fits = match (counts, rest) {
        (None, Some(rest)) => rest.is_empty(),
        (Some((low, high)), Some([b' ', digits @ ..])) => number(digits).is_some_and(|n| (low..=high).contains(&n)),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(format!("{command} {counts:?} ended as {:?}", String::from_utf8_lossy(text)))
}

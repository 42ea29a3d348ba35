//! One server process: a connection from its start-up packet to its end.

use super::catalog;
use super::login::{self, Login};
use super::reply::{self, SqlError};
use super::session::{Block, Cursor, Second, Session, Step, Wait};
use super::settings::Settings;
use super::sql::Statement;
use super::storage::Recovery;
use super::{ConnId, HandOut, Observation, Shared};
use crate::frame;
use crate::tag::Tag;
use bytes::{Buf, Bytes, BytesMut};
use pgconvoy_core::time::Instant;
use std::collections::BTreeMap;

/// Above this many bytes that the peer has not taken, no more rows are made and no more messages read.
const OUTPUT_BYTES: usize = 8 * 1024;
/// Above this many bytes not yet worked on, the connection is not read any more.
const INPUT_BYTES: usize = 32 * 1024;

/// What a process is doing.
#[derive(Debug)]
pub enum Phase {
    /// It waits for a start-up packet or a password.
    Login(Login),
    /// It waits for the next message.
    Ready,
    /// It executes a statement.
    Busy(Work),
    /// It reads COPY data; the count is of lines so far.
    CopyIn { rows: u32, partial: Vec<u8> },
    /// The connection is to be closed once everything is written.
    Closed,
}

/// A statement under way.
#[derive(Debug)]
pub struct Work {
    pub wait: Option<Wait>,
    command: &'static str,
    cursor: Cursor,
    sent: u32,
    limit: u32,
    copy: bool,
}

/// A portal of the extended protocol.
#[derive(Debug)]
pub struct Portal {
    pub text: Bytes,
    pub parameters: Vec<Bytes>,
    /// What is left of its rows, once it has been executed in part.
    pub suspended: Option<(&'static str, Cursor)>,
    /// True once it has run to its end.
    pub done: bool,
}

/// Where the statement under way came from.
#[derive(Debug)]
enum Origin {
    /// A Query message: what is left of its text, and whether it began as several statements.
    Simple(Bytes),
    /// Execute of the portal of this name.
    Portal(Vec<u8>),
}

/// One server process.
#[derive(Debug)]
pub struct Backend {
    pub id: ConnId,
    pub secret: [u8; 4],
    pub input: BytesMut,
    pub out: BytesMut,
    pub phase: Phase,
    pub session: Session,
    pub portals: BTreeMap<Vec<u8>, Portal>,
    origin: Origin,
    /// An error in the extended protocol: everything up to Sync is skipped.
    pub(super) skip_to_sync: bool,
    /// Messages of the extended protocol have come since the last Sync.
    pub(super) unsynced: bool,
    /// The message being handled belongs to the extended protocol.
    pub(super) extended: bool,
    pub cancelled: bool,
    /// The client session that uses the connection, as its tags tell, and its request under way.
    pub owner: Option<u32>,
    pub current: Option<Tag>,
    inbox: Vec<(i32, Bytes, Bytes)>,
}

impl Backend {
    pub fn new(id: ConnId, process_id: i32, secret: [u8; 4]) -> Self {
        let settings = Settings::new(std::iter::empty()).expect("no parameters, none wrong");
        Self {
            id,
            secret,
            input: BytesMut::new(),
            out: BytesMut::new(),
            phase: Phase::Login(Login::default()),
            session: Session::new(settings, process_id),
            portals: BTreeMap::new(),
            origin: Origin::Simple(Bytes::new()),
            skip_to_sync: false,
            unsynced: false,
            extended: false,
            cancelled: false,
            owner: None,
            current: None,
            inbox: Vec::new(),
        }
    }

    /// Goes on until there is nothing to do: no message, a wait, or too much output waiting.
    pub fn run(&mut self, shared: &mut Shared, now: Instant) {
        let mut input = std::mem::take(&mut self.input);
        while self.out.len() < OUTPUT_BYTES {
            let went_on = match &self.phase {
                Phase::Closed => {
                    input.clear();
                    false
                }
                Phase::Login(_) => login::advance(self, &mut input, shared, now),
                Phase::Busy(_) => self.work(shared, now),
                Phase::Ready | Phase::CopyIn { .. } => self.next_message(&mut input, shared, now),
            };
            if !went_on {
                break;
            }
        }
        self.input = input;
    }

    pub fn wants_read(&self) -> bool {
        self.input.len() < INPUT_BYTES && !matches!(self.phase, Phase::Closed)
    }

    /// The next moment at which something happens by itself.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Busy(Work { wait: Some(Wait::Until(until)), .. }) => Some(*until),
            _ => None,
        }
    }

    fn next_message(&mut self, input: &mut BytesMut, shared: &mut Shared, now: Instant) -> bool {
        let total = match frame::length(input) {
            Ok(Some(total)) if total <= input.len() => total,
            Ok(_) => return false,
            Err(_) => {
                self.fatal(&SqlError::new(b"08P01", "invalid message length"));
                return true;
            }
        };
        let message = input.split_to(total);
        self.observe(&message, shared);
        let body = &message[5..];
        match message[0] {
            tag if matches!(self.phase, Phase::CopyIn { .. }) => self.copy_message(tag, body, shared, now),
            b'X' => {
                self.close(shared, now);
            }
            tag => self.message(tag, body, shared, now),
        }
        true
    }

    /// Tells the referee which message came, whose it is, and how the connection was handed to its new owner.
    fn observe(&mut self, message: &[u8], shared: &mut Shared) {
        let named = match message[0] {
            b'P' | b'B' | b'E' => &message[5..],
            b'C' | b'D' => message.get(6..).unwrap_or_default(),
            _ => &[],
        };
        if named.starts_with(b"pgconvoy asks\0") {
            return shared.observed.push(Observation::Consulted { conn: self.id });
        }
        let tag = match message[0] {
            b'Q' => Tag::of_query(&message[5..message.len() - 1]),
            b'P' => parse_texts(&message[5..]).and_then(|(_, text)| Tag::of_query(text)),
            _ => None,
        };
        if let Some(tag) = tag {
            self.current = Some(tag);
            if self.owner != Some(tag.client) {
                self.owner = Some(tag.client);
                let unclean = self.session.differences(shared);
                shared.observed.push(Observation::HandOut(HandOut { conn: self.id, client: tag.client, unclean }));
            }
        }
        if message[0] == b'Q' && catalog::asks(&message[5..]) {
            return shared.observed.push(Observation::Question { conn: self.id });
        }
        shared.observed.push(Observation::Message {
            conn: self.id,
            kind: message[0],
            digest: frame::digest(message),
            tag,
            skipping: self.skip_to_sync,
            constant: message.windows(6).any(|word| word == b"CAST($" || word == b"CAST('"),
        });
        if tag.is_none() && &message[5..] == b"DISCARD ALL\0" {
            self.owner = None;
        }
    }

    /// Tells the referee that a SELECT runs that may run once for its request: one that stands alone, or may be refused.
    fn observe_read(&self, statement: &Statement<'_>, alone: bool, shared: &mut Shared) {
        if let (Statement::Select(select), Some(tag)) = (statement, self.current)
            && (alone || select.refused().is_some())
        {
            shared.observed.push(Observation::Read { conn: self.id, tag });
        }
    }

    /// What keeps the connection from being like one of a fresh login, its unfinished batch included.
    pub fn unclean(&self, shared: &Shared) -> String {
        let mut out = self.session.differences(shared);
        if self.unsynced || self.skip_to_sync || matches!(self.phase, Phase::CopyIn { .. } | Phase::Busy(_)) {
            out.push_str("a batch has not been ended by Sync; ");
        }
        out
    }

    fn message(&mut self, tag: u8, body: &[u8], shared: &mut Shared, now: Instant) {
        self.extended = matches!(tag, b'P' | b'B' | b'C' | b'D' | b'E' | b'H');
        if tag == b'S' {
            self.skip_to_sync = false;
        }
        if self.skip_to_sync {
            return;
        }
        self.unsynced |= self.extended;
        self.cancelled = false;
        let done = match tag {
            b'Q' => self.query(body, shared, now),
            b'P' => self.parse(body),
            b'B' => self.bind(body, shared),
            b'D' => self.describe(body),
            b'E' => self.execute(body, shared, now),
            b'C' => self.close_named(body),
            b'H' | b'd' | b'c' | b'f' => Ok(()),
            b'F' => self.function_call(body, shared, now),
            b'S' => {
                self.end_implicit(shared, now);
                self.ready_for_query();
                Ok(())
            }
            _ => {
                self.fatal(&SqlError::new(b"08P01", format!("invalid frontend message type {tag}")));
                Ok(())
            }
        };
        if let Err(error) = done {
            self.fail(&error, shared, now);
        }
    }

    /// Ends what is not an explicit transaction block: at Sync and at the end of a Query.
    pub(super) fn end_implicit(&mut self, shared: &mut Shared, now: Instant) {
        if self.session.block == Block::Outside {
            self.end_transaction(true, shared, now);
        }
    }

    pub(super) fn end_transaction(&mut self, commit: bool, shared: &mut Shared, now: Instant) {
        self.session.end_transaction(commit, shared, now);
        self.portals.clear();
    }

    fn query(&mut self, body: &[u8], shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        let text = body.strip_suffix(b"\0").ok_or_else(bad_message)?;
        self.session.prepared.remove(&b""[..]);
        if matches!(super::sql::parse(text), Ok(Statement::Empty)) {
            if self.session.block == Block::Outside {
                self.end_implicit(shared, now);
            }
            reply::bare(&mut self.out, b'I');
            self.ready_for_query();
            return Ok(());
        }
        // The whole text is parsed before any of it runs.
        let mut rest = text;
        while !rest.is_empty() {
            let (one, tail) = super::sql::cut(rest);
            super::sql::parse(one).map_err(|_| super::session::syntax_error())?;
            rest = tail;
        }
        self.statements(Bytes::copy_from_slice(text), shared, now)
    }

    /// Runs the statements of a Query message up to the first that has to wait.
    fn statements(&mut self, mut rest: Bytes, shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        let whole = rest.len();
        while !rest.is_empty() {
            let (one, tail) = super::sql::cut(&rest);
            let statement = super::sql::parse(one).map_err(|_| super::session::syntax_error())?;
            let tail = rest.slice_ref(tail);
            let step = self.session.execute(&statement, &[], shared, now).inspect_err(|error| {
                // The description of its rows is on its way when a function is run.
                let described = matches!(statement, Statement::Select(select) if select.refused() == Some(*b"25006"));
                if described && error.code == *b"25006" {
                    reply::row_description(&mut self.out, statement.columns().unwrap_or_default());
                }
            })?;
            let alone = tail.is_empty() && one.len() == whole;
            self.observe_read(&statement, alone, shared);
            if matches!(statement, Statement::Commit | Statement::Rollback) {
                self.portals.clear();
            }
            if let Step::Rows(_, cursor, _) = &step {
                reply::row_description(&mut self.out, columns(cursor));
            }
            self.origin = Origin::Simple(tail.clone());
            self.begin(step, u32::MAX, shared)?;
            if !matches!(self.phase, Phase::Ready) {
                return Ok(());
            }
            rest = tail;
        }
        self.end_implicit(shared, now);
        self.ready_for_query();
        Ok(())
    }

    /// Executes `statement` for a portal.
    pub(super) fn run_portal(
        &mut self,
        name: &[u8],
        limit: u32,
        shared: &mut Shared,
        now: Instant,
    ) -> Result<(), SqlError> {
        let limit = if limit == 0 { u32::MAX } else { limit };
        let portal = self.portals.get_mut(name).ok_or_else(|| SqlError::new(b"34000", "portal does not exist"))?;
        let text = portal.text.clone();
        let statement = super::sql::parse(&text).map_err(|_| super::session::syntax_error())?;
        if let Some(tag) = portal.parameters.first().and_then(|first| Tag::parse(first)) {
            self.current = Some(tag);
        }
        if let Some(tag) = Tag::of_query(&text) {
            shared.observed.push(Observation::Ran { conn: self.id, tag });
        }
        let step = if let Some((command, cursor)) = portal.suspended.take() {
            if self.session.block == Block::Failed {
                return Err(super::session::failed_block());
            }
            Step::Rows(command, cursor, None)
        } else if portal.done {
            return Err(SqlError::new(b"55000", "portal cannot be run"));
        } else {
            let parameters = std::mem::take(&mut portal.parameters);
            portal.done = true;
            let step = self.session.execute(&statement, &parameters, shared, now)?;
            self.observe_read(&statement, false, shared);
            step
        };
        if matches!(statement, Statement::Commit | Statement::Rollback) {
            self.portals.clear();
        }
        self.origin = Origin::Portal(name.to_vec());
        self.begin(step, limit, shared)
    }

    /// Says what a step has come to, or keeps what it still has to do.
    fn begin(&mut self, step: Step, limit: u32, shared: &mut Shared) -> Result<(), SqlError> {
        if let Some(warning) = shared.warning.take() {
            reply::diagnostic(&mut self.out, b'N', "WARNING", &warning);
        }
        match step {
            Step::Empty if matches!(self.origin, Origin::Portal(_)) => reply::bare(&mut self.out, b'I'),
            Step::Empty => {}
            Step::Done(command, rows) => reply::command_complete(&mut self.out, command, rows),
            Step::Rows(command, cursor, wait) => {
                self.phase = Phase::Busy(Work { wait, command, cursor, sent: 0, limit, copy: false });
            }
            Step::CopyIn { refused } => {
                reply::copy_response(&mut self.out, b'G', 2);
                if refused {
                    return Err(SqlError::new(b"42809", "cannot copy to view \"view\""));
                }
                self.phase = Phase::CopyIn { rows: 0, partial: Vec::new() };
            }
            Step::CopyOut(cursor) => {
                reply::copy_response(&mut self.out, b'H', columns(&cursor));
                self.phase =
                    Phase::Busy(Work { wait: None, command: "COPY", cursor, sent: 0, limit: u32::MAX, copy: true });
            }
        }
        // Rows that need no wait are made at once, so that the next statement of a Query follows without a detour.
        if matches!(&self.phase, Phase::Busy(work) if work.wait.is_none()) && self.produce() {
            self.finish_work();
        }
        Ok(())
    }

    /// Makes rows until the statement's end, its limit, or too much output; true when it is done.
    fn produce(&mut self) -> bool {
        let Phase::Busy(work) = &mut self.phase else { return true };
        let cursor = &mut work.cursor;
        while cursor.next <= cursor.end && work.sent < work.limit {
            if self.out.len() >= OUTPUT_BYTES {
                return false;
            }
            if work.copy {
                copy_row(&mut self.out, cursor)
            } else {
                data_row(&mut self.out, cursor)
            }
            cursor.next += 1;
            work.sent += 1;
        }
        true
    }

    fn finish_work(&mut self) {
        let Phase::Busy(work) = std::mem::replace(&mut self.phase, Phase::Ready) else {
            unreachable!("only a busy process finishes")
        };
        // PostgreSQL suspends a portal whose limit was reached even when no row is left.
        let limited = work.sent == work.limit && matches!(self.origin, Origin::Portal(_));
        if let (true, Origin::Portal(name)) = (limited, &self.origin) {
            reply::bare(&mut self.out, b's');
            if let Some(portal) = self.portals.get_mut(name) {
                portal.suspended = Some((work.command, work.cursor));
            }
            return;
        }
        if work.copy {
            reply::bare(&mut self.out, b'c');
        }
        let counted = !matches!(work.command, "SHOW");
        reply::command_complete(&mut self.out, work.command, counted.then_some(work.sent));
        // A SELECT that has ended gives no rows when executed once more.
        if let (Origin::Portal(name), "SELECT") = (&self.origin, work.command)
            && let Some(portal) = self.portals.get_mut(name)
        {
            portal.suspended = Some((work.command, work.cursor));
        }
    }

    /// Goes on with the statement under way; false when it has to wait.
    fn work(&mut self, shared: &mut Shared, now: Instant) -> bool {
        let Phase::Busy(work) = &mut self.phase else { return false };
        if std::mem::take(&mut self.cancelled) {
            let interrupted = Observation::Interrupted { conn: self.id, owner: self.owner, request: self.current };
            shared.observed.push(interrupted);
            self.phase = Phase::Ready;
            self.fail(&SqlError::new(b"57014", "canceling statement due to user request"), shared, now);
            return true;
        }
        match work.wait {
            Some(Wait::Until(until)) if now < until => return false,
            Some(Wait::Lock(key)) if !shared.locks.acquire(key, self.session.process_id) => return false,
            _ => work.wait = None,
        }
        if !self.produce() {
            return false;
        }
        self.finish_work();
        self.after_statement(shared, now);
        true
    }

    /// A statement that had waited is done: the rest of its Query follows.
    fn after_statement(&mut self, shared: &mut Shared, now: Instant) {
        if let Origin::Simple(rest) = &self.origin {
            let rest = rest.clone();
            if let Err(error) = self.statements(rest, shared, now) {
                self.fail(&error, shared, now);
            }
        }
    }

    fn copy_message(&mut self, tag: u8, body: &[u8], shared: &mut Shared, now: Instant) {
        let result = match tag {
            _ if std::mem::take(&mut self.cancelled) => {
                let interrupted = Observation::Interrupted { conn: self.id, owner: self.owner, request: self.current };
                shared.observed.push(interrupted);
                Err(SqlError::new(b"57014", "canceling statement due to user request"))
            }
            b'd' => self.copy_data(body, shared, now),
            b'c' => {
                let Phase::CopyIn { rows, .. } = std::mem::replace(&mut self.phase, Phase::Ready) else {
                    unreachable!("only a copy reads copy messages")
                };
                reply::command_complete(&mut self.out, "COPY", Some(rows));
                self.after_statement(shared, now);
                return;
            }
            b'f' => {
                let why = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).into_owned();
                Err(SqlError::new(b"57014", format!("COPY from stdin failed: {why}")))
            }
            b'H' | b'S' => return,
            _ => {
                // The message has not been read when the error is raised, so the place in the stream is lost.
                let error =
                    SqlError::new(b"08P01", format!("unexpected message type 0x{tag:02X} during COPY from stdin"));
                reply::diagnostic(&mut self.out, b'E', "ERROR", &error);
                self.fatal(&SqlError::new(
                    b"08P01",
                    "terminating connection because protocol synchronization was lost",
                ));
                return;
            }
        };
        if let Err(error) = result {
            self.phase = Phase::Ready;
            self.extended = matches!(self.origin, Origin::Portal(_));
            self.fail(&error, shared, now);
        }
    }

    fn copy_data(&mut self, body: &[u8], shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        let Phase::CopyIn { rows, partial } = &mut self.phase else { return Ok(()) };
        partial.extend_from_slice(body);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            self.session.copy_line(&partial[..end], shared, now)?;
            partial.drain(..=end);
            *rows += 1;
        }
        Ok(())
    }

    fn function_call(&mut self, mut body: &[u8], shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        if self.session.block == Block::Failed {
            return Err(super::session::failed_block());
        }
        if body.len() < 4 {
            return Err(bad_message());
        }
        let oid = body.get_u32();
        reply::message(&mut self.out, b'V', |out| reply::column(out, oid.to_string().as_bytes()));
        self.end_implicit(shared, now);
        self.ready_for_query();
        Ok(())
    }

    pub(super) fn ready_for_query(&mut self) {
        self.current = None;
        self.unsynced = false;
        self.deliver_inbox();
        let out = &mut self.out;
        self.session.settings.report_changes(|name, value| {
            reply::message(out, b'S', |out| {
                reply::cstr(out, name);
                reply::cstr(out, value);
            });
        });
        let status = match self.session.block {
            Block::Outside => b'I',
            Block::Inside => b'T',
            Block::Failed => b'E',
        };
        bytes::BufMut::put_slice(out, &[b'Z', 0, 0, 0, 5, status]);
    }

    /// An error ends the statement, and a Query or the batch up to Sync with it.
    pub(super) fn fail(&mut self, error: &SqlError, shared: &mut Shared, now: Instant) {
        shared.warning = None;
        let standby = shared.storage.recovery() != Recovery::Primary;
        if let Some(tag) = self.current.filter(|_| standby && matches!(&error.code, b"0A000" | b"25006")) {
            shared.observed.push(Observation::Refused { conn: self.id, tag });
        }
        reply::diagnostic_of(&mut self.out, b'E', "ERROR", error, self.current);
        self.session.abort(shared, now);
        self.portals.clear();
        if self.extended {
            self.skip_to_sync = true;
        } else {
            self.ready_for_query();
        }
    }

    /// The connection ends with an error.
    pub fn fatal(&mut self, error: &SqlError) {
        reply::diagnostic(&mut self.out, b'E', "FATAL", error);
        self.phase = Phase::Closed;
    }

    /// The connection ends, and its transaction and locks with it.
    pub fn close(&mut self, shared: &mut Shared, now: Instant) {
        self.session.end_transaction(false, shared, now);
        shared.locks.release_all(self.session.process_id);
        self.phase = Phase::Closed;
    }

    /// A notification for this session: sent at once when it is idle, else before the next ReadyForQuery.
    pub fn notify(&mut self, notification: &(i32, Bytes, Bytes)) {
        if self.session.listens(&notification.1) {
            self.inbox.push(notification.clone());
            if self.is_idle() && self.session.block == Block::Outside {
                self.deliver_inbox();
            }
        }
    }

    /// True when nothing is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Ready) && !self.unsynced && !self.skip_to_sync
    }

    fn deliver_inbox(&mut self) {
        if self.session.block != Block::Outside {
            return;
        }
        for (process_id, channel, payload) in self.inbox.drain(..) {
            reply::message(&mut self.out, b'A', |out| {
                bytes::BufMut::put_i32(out, process_id);
                reply::cstr(out, &channel);
                reply::cstr(out, &payload);
            });
        }
    }
}

/// The statement's name and its text in a Parse message.
pub(super) fn parse_texts(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = frame::cstr(body)?;
    let (text, _) = frame::cstr(rest)?;
    Some((name, text))
}

/// 08P01.
pub(super) fn bad_message() -> SqlError {
    SqlError::new(b"08P01", "invalid message format")
}

fn columns(cursor: &Cursor) -> usize {
    1 + usize::from(!matches!(cursor.second, Second::None))
}

/// Decimal digits of `number`, without allocation.
fn digits(number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    let mut left = number;
    loop {
        at -= 1;
        buffer[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return &buffer[at..];
        }
    }
}

fn data_row(out: &mut BytesMut, cursor: &Cursor) {
    reply::message(out, b'D', |out| {
        bytes::BufMut::put_u16(out, columns(cursor) as u16);
        reply::column(out, &cursor.first);
        match &cursor.second {
            Second::None => {}
            Second::Text(value) => reply::column(out, value),
            Second::Number => reply::column(out, digits(cursor.next, &mut [0; 10])),
        }
    });
}

fn copy_row(out: &mut BytesMut, cursor: &Cursor) {
    reply::message(out, b'd', |out| {
        out.extend_from_slice(&cursor.first);
        match &cursor.second {
            Second::None => {}
            Second::Text(value) => {
                out.extend_from_slice(b"\t");
                out.extend_from_slice(value);
            }
            Second::Number => {
                out.extend_from_slice(b"\t");
                out.extend_from_slice(digits(cursor.next, &mut [0; 10]));
            }
        }
        out.extend_from_slice(b"\n");
    });
}

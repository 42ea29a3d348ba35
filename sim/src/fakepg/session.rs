//! What one session of the model server carries from statement to statement, and what statements do to it.

use super::catalog;
use super::reply::SqlError;
use super::settings::{Refusal, Settings, Values};
use super::sql::{Change, Expr, Operand, Select, Statement};
use super::storage::{Recovery, RowChange};
use super::{Observation, Shared};
use crate::tag::number;
use bytes::Bytes;
use pgconvoy_core::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where a session stands in a transaction block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Outside; what a batch does until Sync is a transaction of its own.
    Outside,
    /// Within.
    Inside,
    /// Within one that has failed.
    Failed,
}

/// Rows still to be sent: one for each number in `next..=end`.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The first column.
    pub first: Bytes,
    /// The second column.
    pub second: Second,
    /// The number of the next row.
    pub next: u32,
    /// The number of the last row.
    pub end: u32,
}

/// The second column of a row.
#[derive(Clone, Debug)]
pub enum Second {
    /// There is none.
    None,
    /// The same in each row.
    Text(Bytes),
    /// The number of the row.
    Number,
}

impl Cursor {
    fn one(first: Bytes) -> Self {
        Self { first, second: Second::None, next: 1, end: 1 }
    }
}

/// What a statement waits for before its rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A moment.
    Until(Instant),
    /// An advisory lock.
    Lock(u32),
}

/// What executing a statement has come to.
#[derive(Debug)]
pub enum Step {
    /// Nothing to execute.
    Empty,
    /// Done, with the command's name and count.
    Done(&'static str, Option<u32>),
    /// Rows to send, then the command's name; the count is the rows'.
    Rows(&'static str, Cursor, Option<Wait>),
    /// The client is to send rows, though they may be refused already.
    CopyIn { refused: bool },
    /// Rows to send as CopyData.
    CopyOut(Cursor),
}

#[derive(Debug)]
struct Savepoint {
    name: Vec<u8>,
    changes: usize,
    pending: usize,
    temp_tables: usize,
    settings: Values,
}

/// What takes effect at COMMIT.
#[derive(Debug)]
enum Pending {
    Listen(Vec<u8>),
    UnlistenAll,
    Notify(Bytes, Bytes),
}

/// Everything that DISCARD ALL would have to clean, and the transaction.
#[derive(Debug)]
pub struct Session {
    pub settings: Settings,
    pub block: Block,
    /// Prepared statements of both kinds, by name; the unnamed one has the empty name.
    pub prepared: BTreeMap<Vec<u8>, Bytes>,
    held: Vec<(Vec<u8>, Cursor)>,
    held_before: usize,
    temp_tables: Vec<Vec<u8>>,
    temp_tables_before: usize,
    listening: Vec<Vec<u8>>,
    changes: Vec<RowChange>,
    pending: Vec<Pending>,
    savepoints: Vec<Savepoint>,
    pub process_id: i32,
}

impl Session {
    pub fn new(settings: Settings, process_id: i32) -> Self {
        Self {
            settings,
            block: Block::Outside,
            prepared: BTreeMap::new(),
            held: Vec::new(),
            held_before: 0,
            temp_tables: Vec::new(),
            temp_tables_before: 0,
            listening: Vec::new(),
            changes: Vec::new(),
            pending: Vec::new(),
            savepoints: Vec::new(),
            process_id,
        }
    }

    /// Executes one statement up to its first wait or row.
    pub fn execute(
        &mut self,
        statement: &Statement<'_>,
        parameters: &[Bytes],
        shared: &mut Shared,
        now: Instant,
    ) -> Result<Step, SqlError> {
        if self.block == Block::Failed && !statement.ends_block() && *statement != Statement::Empty {
            return Err(failed_block());
        }
        match statement {
            Statement::Empty => Ok(Step::Empty),
            Statement::Catalog(text) => {
                let first = catalog::answer(text, &self.temp_tables);
                Ok(Step::Rows("SELECT", Cursor { first, second: Second::None, next: 1, end: 1 }, None))
            }
            Statement::Columns => Ok(Step::Done("SELECT", Some(0))),
            Statement::Delay => {
                shared.storage.advance(now);
                let standby = if shared.storage.recovery() == Recovery::Primary { "f" } else { "t" };
                let first = Bytes::from(format!("{standby}\u{1f}{}", shared.storage.lsn()));
                Ok(Step::Rows("SELECT", Cursor { first, second: Second::None, next: 1, end: 1 }, None))
            }
            Statement::Select(select) => self.select(select, parameters, shared, now),
            Statement::Write { key, change, returning } => self.write(*key, *change, *returning, parameters, shared),
            Statement::CopyIn { refused } => {
                writable(shared, "COPY FROM")?;
                Ok(Step::CopyIn { refused: *refused })
            }
            Statement::CopyOut(select) => match self.select(select, parameters, shared, now)? {
                Step::Rows(_, cursor, None) => Ok(Step::CopyOut(cursor)),
                _ => Err(SqlError::new(b"0A000", "COPY of a waiting query is not supported")),
            },
            _ => match self.transaction(statement, shared, now)? {
                Some(step) => Ok(step),
                None => self.utility(statement, shared, now),
            },
        }
    }

    fn transaction(
        &mut self,
        statement: &Statement<'_>,
        shared: &mut Shared,
        now: Instant,
    ) -> Result<Option<Step>, SqlError> {
        let done = match statement {
            Statement::Begin { primary_only } => {
                if *primary_only && shared.storage.recovery() != Recovery::Primary {
                    return Err(SqlError::new(b"0A000", "cannot use this transaction mode during recovery"));
                }
                if self.block == Block::Inside {
                    shared.warning = Some(SqlError::new(b"25001", "there is already a transaction in progress"));
                }
                self.block = Block::Inside;
                "BEGIN"
            }
            Statement::Commit | Statement::Rollback => {
                if self.block == Block::Outside {
                    shared.warning = Some(SqlError::new(b"25P01", "there is no transaction in progress"));
                }
                let commit = matches!(statement, Statement::Commit) && self.block != Block::Failed;
                self.end_transaction(commit, shared, now);
                if commit { "COMMIT" } else { "ROLLBACK" }
            }
            Statement::Savepoint(name) => {
                self.needs_block("SAVEPOINT")?;
                self.savepoints.push(Savepoint {
                    name: name.to_vec(),
                    changes: self.changes.len(),
                    pending: self.pending.len(),
                    temp_tables: self.temp_tables.len(),
                    settings: self.settings.snapshot(),
                });
                "SAVEPOINT"
            }
            Statement::Release(name) => {
                let at = self.savepoint(name, "RELEASE SAVEPOINT")?;
                self.savepoints.truncate(at);
                "RELEASE"
            }
            Statement::RollbackTo(name) => {
                let at = self.savepoint(name, "ROLLBACK TO SAVEPOINT")?;
                self.savepoints.truncate(at + 1);
                let savepoint = &self.savepoints[at];
                self.changes.truncate(savepoint.changes);
                self.pending.truncate(savepoint.pending);
                self.temp_tables.truncate(savepoint.temp_tables);
                self.settings.restore(savepoint.settings.clone());
                self.block = Block::Inside;
                "ROLLBACK"
            }
            _ => return Ok(None),
        };
        Ok(Some(Step::Done(done, None)))
    }

    fn needs_block(&self, what: &str) -> Result<(), SqlError> {
        if self.block == Block::Outside {
            return Err(SqlError::new(b"25P01", format!("{what} can only be used in transaction blocks")));
        }
        Ok(())
    }

    fn savepoint(&self, name: &[u8], what: &str) -> Result<usize, SqlError> {
        self.needs_block(what)?;
        let found = self.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        found.ok_or_else(|| SqlError::new(b"3B001", "savepoint does not exist"))
    }

    fn utility(&mut self, statement: &Statement<'_>, shared: &mut Shared, now: Instant) -> Result<Step, SqlError> {
        let done = match *statement {
            Statement::Set { name, value, local } => {
                self.settings.set(name, value, local).map_err(refused)?;
                "SET"
            }
            Statement::Reset(name) => {
                self.settings.reset(name).map_err(refused)?;
                "RESET"
            }
            Statement::ResetAll => {
                self.settings.reset_all();
                "RESET"
            }
            Statement::Show(name) => {
                let value = self.settings.show(name).ok_or_else(|| refused(Refusal::Unknown))?.clone();
                return Ok(Step::Rows("SHOW", Cursor::one(value), None));
            }
            Statement::DiscardAll => {
                self.discard_all(shared, now)?;
                "DISCARD ALL"
            }
            Statement::Listen(channel) => {
                writable(shared, "LISTEN")?;
                self.pending.push(Pending::Listen(channel.to_vec()));
                "LISTEN"
            }
            Statement::UnlistenAll => {
                self.pending.push(Pending::UnlistenAll);
                "UNLISTEN"
            }
            Statement::Notify { channel, payload } => {
                writable(shared, "NOTIFY")?;
                let [channel, payload] = [channel, payload].map(Bytes::copy_from_slice);
                self.pending.push(Pending::Notify(channel, payload));
                "NOTIFY"
            }
            Statement::CreateTemp(name) => {
                writable(shared, "CREATE TABLE")?;
                if self.temp_tables.iter().any(|table| table == name) {
                    return Err(SqlError::new(b"42P07", "relation already exists"));
                }
                self.temp_tables.push(name.to_vec());
                "CREATE TABLE"
            }
            _ => return self.named(statement, shared, now),
        };
        Ok(Step::Done(done, None))
    }

    fn named(&mut self, statement: &Statement<'_>, shared: &mut Shared, now: Instant) -> Result<Step, SqlError> {
        let done = match *statement {
            Statement::Prepare { name, body } => {
                if self.prepared.contains_key(name) {
                    return Err(SqlError::new(b"42P05", "prepared statement already exists"));
                }
                self.prepared.insert(name.to_vec(), Bytes::copy_from_slice(body));
                "PREPARE"
            }
            Statement::Execute { name, value } => {
                let text = self.prepared.get(name).cloned().ok_or_else(no_statement)?;
                let inner = super::sql::parse(&text).map_err(|_| syntax_error())?;
                let value = value.map(|value| evaluate(value, &[])).transpose()?;
                return self.execute(&inner, value.as_slice(), shared, now);
            }
            Statement::Deallocate(name) => {
                self.prepared.remove(name).ok_or_else(no_statement)?;
                "DEALLOCATE"
            }
            Statement::DeallocateAll => {
                self.prepared.clear();
                "DEALLOCATE ALL"
            }
            Statement::Declare { name, ref select } => {
                if self.held.iter().any(|(held, _)| held == name) {
                    return Err(SqlError::new(b"42P03", "cursor already exists"));
                }
                let Step::Rows(_, cursor, None) = self.select(select, &[], shared, now)? else {
                    return Err(SqlError::new(b"0A000", "a cursor over a waiting query is not supported"));
                };
                self.held.push((name.to_vec(), cursor));
                "DECLARE CURSOR"
            }
            Statement::Fetch { name, count } => {
                let (_, cursor) = self.held.iter_mut().find(|(held, _)| held == name).ok_or_else(no_cursor)?;
                let mut part = cursor.clone();
                part.end = part.end.min(part.next + count - 1);
                cursor.next = part.end + 1;
                return Ok(Step::Rows("FETCH", part, None));
            }
            Statement::Close(name) => {
                let at = self.held.iter().position(|(held, _)| held == name).ok_or_else(no_cursor)?;
                self.held.remove(at);
                self.held_before = self.held_before.min(self.held.len());
                "CLOSE CURSOR"
            }
            _ => unreachable!("every other statement has its own place"),
        };
        Ok(Step::Done(done, None))
    }

    fn discard_all(&mut self, shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        if self.block != Block::Outside {
            return Err(SqlError::new(b"25001", "DISCARD ALL cannot run inside a transaction block"));
        }
        self.held.clear();
        self.prepared.clear();
        self.temp_tables.clear();
        self.pending.push(Pending::UnlistenAll);
        self.settings.reset_all();
        shared.locks.release_all(self.process_id);
        self.end_transaction(true, shared, now);
        Ok(())
    }

    fn select(
        &mut self,
        select: &Select<'_>,
        parameters: &[Bytes],
        shared: &mut Shared,
        now: Instant,
    ) -> Result<Step, SqlError> {
        let mut wait = None;
        let mut rows = (1, 1);
        let mut numbered = false;
        let mut values = [Bytes::new(), Bytes::new()];
        for (expr, value) in [Some(select.first), select.second].into_iter().flatten().zip(&mut values) {
            let standby = shared.storage.recovery() != Recovery::Primary;
            if let Some(what) = volatile(&expr).filter(|_| standby) {
                shared.observed.push(Observation::Volatile { what });
            }
            *value = match expr {
                Expr::Value(operand) => evaluate(operand, parameters)?,
                Expr::Column => {
                    let key = key(evaluate(select.key.ok_or_else(syntax_error)?, parameters)?)?;
                    match self.read_row(key, shared, now) {
                        Some(value) => value,
                        None => {
                            rows = (1, 0);
                            Bytes::new()
                        }
                    }
                }
                Expr::Series(end) => {
                    (rows, numbered) = ((1, end), true);
                    Bytes::new()
                }
                Expr::Sleep(ms) => {
                    wait = Some(Wait::Until(now.after(Duration::from_millis(u64::from(ms)))));
                    Bytes::new()
                }
                Expr::Lock(key) => {
                    wait = (!shared.locks.acquire(key, self.process_id)).then_some(Wait::Lock(key));
                    Bytes::new()
                }
                Expr::Unlock(key) => truth(shared.locks.release(key, self.process_id)),
                Expr::UnlockAll => {
                    shared.locks.release_all(self.process_id);
                    Bytes::new()
                }
                Expr::Raise(operand) => {
                    let code = evaluate(operand, parameters)?;
                    let code = code[..].try_into().map_err(|_| syntax_error())?;
                    return Err(SqlError { code, message: "raised by request".into() });
                }
                Expr::Fickle(_) if standby => {
                    let code = select.refused().ok_or_else(syntax_error)?;
                    return Err(SqlError { code, message: "cannot do this during recovery".into() });
                }
                Expr::Fickle(_) => Bytes::new(),
                Expr::InRecovery => truth(shared.storage.recovery() != Recovery::Primary),
                Expr::ProcessId => Bytes::from(self.process_id.to_string()),
            };
        }
        let [first, second] = values;
        let second = match select.second {
            None => Second::None,
            Some(_) if numbered => Second::Number,
            Some(_) => Second::Text(second),
        };
        Ok(Step::Rows("SELECT", Cursor { first, second, next: rows.0, end: rows.1 }, wait))
    }

    fn read_row(&self, key: u32, shared: &mut Shared, now: Instant) -> Option<Bytes> {
        if let Some((_, value)) = self.changes.iter().rev().find(|(changed, _)| *changed == key) {
            return value.clone();
        }
        shared.storage.advance(now);
        shared.storage.get(key).cloned()
    }

    fn write(
        &mut self,
        at: Operand<'_>,
        change: Change<'_>,
        returning: Option<Operand<'_>>,
        parameters: &[Bytes],
        shared: &mut Shared,
    ) -> Result<Step, SqlError> {
        let (name, value) = match change {
            Change::Insert(value) => ("INSERT 0", Some(evaluate(value, parameters)?)),
            Change::Update(value) => ("UPDATE", Some(evaluate(value, parameters)?)),
            Change::Delete => ("DELETE", None),
        };
        writable(shared, name)?;
        let key = key(evaluate(at, parameters)?)?;
        let exists = self.read_row(key, shared, Instant::ZERO).is_some();
        let rows = if matches!(change, Change::Insert(_)) {
            self.insert(key, value.unwrap_or_default(), exists)?;
            1
        } else if exists {
            self.changes.push((key, value));
            1
        } else {
            0
        };
        match returning {
            None => Ok(Step::Done(name, Some(rows))),
            Some(operand) => {
                let cursor = Cursor { end: rows, ..Cursor::one(evaluate(operand, parameters)?) };
                Ok(Step::Rows(name, cursor, None))
            }
        }
    }

    fn insert(&mut self, key: u32, value: Bytes, exists: bool) -> Result<(), SqlError> {
        if exists {
            return Err(SqlError::new(b"23505", "duplicate key value violates unique constraint \"kv_pkey\""));
        }
        self.changes.push((key, Some(value)));
        Ok(())
    }

    /// Takes one line of COPY: key, tab, value.
    pub fn copy_line(&mut self, line: &[u8], shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        let bad = || SqlError::new(b"22P04", "missing data for column \"v\"");
        let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(bad)?;
        let key =
            number(&line[..tab]).ok_or_else(|| SqlError::new(b"22P02", "invalid input syntax for type integer"))?;
        let exists = self.read_row(key, shared, now).is_some();
        self.insert(key, Bytes::copy_from_slice(&line[tab + 1..]), exists)
    }

    /// Ends the transaction, explicit or not.
    pub fn end_transaction(&mut self, commit: bool, shared: &mut Shared, now: Instant) {
        self.block = Block::Outside;
        self.savepoints.clear();
        self.settings.end_transaction(commit);
        let changes = std::mem::take(&mut self.changes);
        if commit {
            if !changes.is_empty() {
                shared.storage.commit(changes, now);
            }
            for pending in self.pending.drain(..) {
                match pending {
                    Pending::Listen(channel) if self.listening.contains(&channel) => {}
                    Pending::Listen(channel) => self.listening.push(channel),
                    Pending::UnlistenAll => self.listening.clear(),
                    Pending::Notify(channel, payload) => {
                        shared.notifications.push((self.process_id, channel, payload));
                    }
                }
            }
        } else {
            self.pending.clear();
            self.temp_tables.truncate(self.temp_tables_before);
            self.held.truncate(self.held_before);
        }
        (self.temp_tables_before, self.held_before) = (self.temp_tables.len(), self.held.len());
    }

    /// An error has happened: a block fails, anything else is rolled back.
    pub fn abort(&mut self, shared: &mut Shared, now: Instant) {
        if self.block == Block::Outside {
            self.end_transaction(false, shared, now);
        } else {
            self.block = Block::Failed;
        }
    }

    /// True when a notification on `channel` is for this session.
    pub fn listens(&self, channel: &[u8]) -> bool {
        self.listening.iter().any(|listening| listening == channel)
    }

    /// What differs from a fresh login; empty when nothing does.
    pub fn differences(&self, shared: &Shared) -> String {
        let mut out = String::new();
        if self.block != Block::Outside || !self.changes.is_empty() {
            let _ = write!(out, "a transaction is open ({:?}); ", self.block);
        }
        self.settings.differences(&mut out);
        let left = [
            ("prepared statements", self.prepared.keys().filter(|name| !name.is_empty()).count()),
            ("cursors", self.held.len()),
            ("temporary tables", self.temp_tables.len()),
            ("channels", self.listening.len()),
            ("advisory locks", shared.locks.held_by(self.process_id)),
        ];
        for (what, count) in left.into_iter().filter(|(_, count)| *count > 0) {
            let _ = write!(out, "{count} {what}; ");
        }
        out
    }
}

/// Advisory locks of one server.
#[derive(Debug, Default)]
pub struct Locks {
    held: BTreeMap<u32, (i32, u32)>,
    /// True when a lock has become free since anybody looked.
    pub freed: bool,
}

impl Locks {
    /// Takes the lock once more, or says no.
    pub fn acquire(&mut self, key: u32, process_id: i32) -> bool {
        let (holder, times) = self.held.entry(key).or_insert((process_id, 0));
        if *holder == process_id {
            *times += 1;
        }
        *holder == process_id
    }

    fn release(&mut self, key: u32, process_id: i32) -> bool {
        match self.held.get_mut(&key) {
            Some((holder, times)) if *holder == process_id => {
                *times -= 1;
                if *times == 0 {
                    self.held.remove(&key);
                    self.freed = true;
                }
                true
            }
            _ => false,
        }
    }

    /// Frees all locks of a session.
    pub fn release_all(&mut self, process_id: i32) {
        let before = self.held.len();
        self.held.retain(|_, (holder, _)| *holder != process_id);
        self.freed |= self.held.len() < before;
    }

    fn held_by(&self, process_id: i32) -> usize {
        self.held.values().filter(|(holder, _)| *holder == process_id).count()
    }
}

fn evaluate(operand: Operand<'_>, parameters: &[Bytes]) -> Result<Bytes, SqlError> {
    match operand {
        Operand::Text(text) => Ok(Bytes::copy_from_slice(text)),
        Operand::Param(index) => {
            parameters.get(index).cloned().ok_or_else(|| SqlError::new(b"42P02", "there is no such parameter"))
        }
    }
}

fn key(text: Bytes) -> Result<u32, SqlError> {
    number(&text).ok_or_else(|| SqlError::new(b"22P02", "invalid input syntax for type integer"))
}

/// The volatile function in a client's statement.
fn volatile(expr: &Expr<'_>) -> Option<&'static str> {
    match expr {
        Expr::Sleep(_) => Some("pg_sleep"),
        Expr::Lock(_) => Some("pg_advisory_lock"),
        Expr::Unlock(_) | Expr::UnlockAll => Some("pg_advisory_unlock"),
        Expr::Raise(_) => Some("raise"),
        _ => None,
    }
}

fn truth(value: bool) -> Bytes {
    Bytes::from_static(if value { b"t" } else { b"f" })
}

fn writable(shared: &Shared, what: &str) -> Result<(), SqlError> {
    if shared.storage.recovery() == Recovery::Primary {
        return Ok(());
    }
    Err(SqlError::new(b"25006", format!("cannot execute {what} in a read-only transaction")))
}

fn refused(refusal: Refusal) -> SqlError {
    match refusal {
        Refusal::Unknown => SqlError::new(b"42704", "unrecognized configuration parameter"),
        Refusal::Internal => SqlError::new(b"55P02", "parameter cannot be changed"),
    }
}

fn no_statement() -> SqlError {
    SqlError::new(b"26000", "prepared statement does not exist")
}

fn no_cursor() -> SqlError {
    SqlError::new(b"34000", "cursor does not exist")
}

/// 42601.
pub fn syntax_error() -> SqlError {
    SqlError::new(b"42601", "syntax error")
}

/// 25P02.
pub fn failed_block() -> SqlError {
    SqlError::new(b"25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

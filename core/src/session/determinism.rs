//! Writes that several servers would evaluate differently, made alike before they are sent: where a session asks what
//! [`crate::sql::determinism`] needs to know, and what becomes of its plans.
//!
//! A message that is to go to all backends waits at the front of the client's input until everything about it is known: the
//! columns of its tables, which are kept until the catalogue changes, and the constants, which are asked of the main backend
//! in the transaction of the statement, under the locks that sequences need. Then it is sent with the constants in it, or
//! refused in a client's words that say why. **What is not known to be alike is not sent**, unless the operator wants it so.

use super::Session;
use super::consult::{Answer, Question};
use super::objects::{self, Wanted};
use super::port::Target;
use super::request::{Step, statement_text};
use super::settle::ABORT_BLOCK;
use super::statements::{Naming, Summary};
use crate::fault::{Culprit, Fault};
use crate::limits::{AGREED_TABLES, AGREED_TEXT_BYTES, HELD_INPUT_BYTES, INSPECT_BYTES, REPLICATED_INSPECT_BYTES};
use crate::sql::determinism::lock::{self, LOCK_TABLE, Mode};
use crate::sql::determinism::table::{self, Event, Table};
use crate::sql::determinism::{self, Constants, Findings, LockHint, Note, Plan, Reason, Refusal, extended};
use crate::sql::{Hazards, Name, UseKind, Uses, Verb};
use crate::wire::build::{self, Severity};
use crate::wire::tag::frontend;
use crate::wire::{HEADER_BYTES, Header, TransactionStatus, split_cstr};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cell::Cell;

/// How a session makes writes alike.
#[derive(Debug, Default)]
pub(super) struct Accord {
    /// What is known of relations, by their names as texts have them.
    tables: BTreeMap<Box<[u8]>, Option<Rc<Table>>>,
    /// For which state of the catalogue and of the search path that is.
    known_at: u64,
    /// How often names may have come to mean something else in this session.
    moves: u32,
    /// They may mean something else again when the transaction is over.
    moved: bool,
    /// What is sent next may change that.
    calls: bool,
    /// The relations that the text last understood writes, where their triggers matter.
    written: Vec<Box<[u8]>>,
    /// The message at the front of the client's input.
    front: Option<Box<Front>>,
}

/// What has been found out for one message.
#[derive(Debug, Default)]
struct Front {
    asked: Asked,
    agreed: Option<Rc<Agreed>>,
    constants: Option<Constants>,
    types: Option<Vec<u32>>,
    /// PostgreSQL understands it.
    understood: bool,
    /// A transaction block of pgconvoy's own was begun for its locks.
    own_block: bool,
    /// A question was refused: so is the message.
    error: Option<Bytes>,
}

/// What the last question for it was about.
#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    Tables(Vec<Box<[u8]>>),
    Values,
    Syntax,
    Types,
}

/// What is to be done with a statement each time it runs.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    plan: Plan,
    /// It is a `PREPARE`: the constants are those of the statement in it.
    prepares: bool,
    /// Relations whose sequences it locks against all others, and relations that it inserts into.
    locks: Vec<Box<[u8]>>,
    targets: Vec<Box<[u8]>>,
    /// Relations whose triggers matter.
    written: Vec<Box<[u8]>>,
    verb: Option<Verb>,
    /// It calls a function of which nothing is known.
    calls: bool,
    /// For which state of the catalogue that has been found out.
    known_at: Cell<u64>,
    /// The client's text, from which it can be found out again. `None` if it is too long to be kept.
    text: Option<Box<[u8]>>,
    /// Parameters behind those of the client.
    pub added: u16,
}

/// What becomes of a message.
pub(super) enum Alike {
    /// It is sent as it is.
    AsIs,
    /// More of it must be there first.
    More,
    /// An answer must come first.
    Wait,
    /// The client is told this.
    Refused(Bytes),
    /// A message goes in its place; for a statement that is prepared, with what is to be done whenever it runs.
    Message(Bytes, Option<Rc<Agreed>>),
}

/// What becomes of a text.
enum Planning {
    AsIs,
    Wait,
    Refused(Bytes),
    Agreed(Rc<Agreed>),
}

fn error(fault: &Fault) -> Bytes {
    let mut out = Vec::new();
    build::error(&mut out, Severity::Error, fault);
    out.into()
}

fn refused(reason: Reason, text: &[u8]) -> Bytes {
    error(&Refusal { reason, range: 0..text.len() }.fault(text))
}

/// A name as it can be written in SQL.
fn quoted(schema: Option<Name<'_>>, name: Name<'_>) -> Box<[u8]> {
    let mut out = Vec::new();
    for part in schema.into_iter().chain([name]) {
        if !out.is_empty() {
            out.push(b'.');
        }
        out.push(b'"');
        for byte in part.bytes() {
            if byte == b'"' {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out.into()
}

impl Session {
    fn front(&mut self) -> Option<&mut Front> {
        Some(self.replicas.as_mut()?.accord.front.get_or_insert_default())
    }

    /// What has been found out for the message at the front.
    fn known(&self) -> Option<&Front> {
        self.replicas.as_ref()?.accord.front.as_deref()
    }

    /// The message at the front has been dealt with.
    #[inline]
    pub(super) fn front_passed(&mut self) {
        if let Some(replicas) = &mut self.replicas {
            replicas.accord.front = None;
        }
    }

    /// How much of a message is held to understand it.
    pub(super) const fn inspect_bytes(&self) -> usize {
        if self.is_replicated() { REPLICATED_INSPECT_BYTES } else { INSPECT_BYTES }
    }

    /// How much of the client's input may wait.
    pub(super) const fn held_bytes(&self) -> usize {
        self.inspect_bytes() + (HELD_INPUT_BYTES - INSPECT_BYTES)
    }

    /// Whether the block that is open was begun by pgconvoy for the message at the front.
    pub(super) fn take_own_block(&mut self) -> bool {
        let Some(replicas) = &mut self.replicas else { return false };
        replicas.accord.front.as_mut().is_some_and(|front| core::mem::take(&mut front.own_block))
    }

    /// Notes the relations that a text writes and whose triggers nobody else looks at.
    pub(super) fn note_written_names(&mut self, text: &[u8], uses: &Uses, summary: &Summary) {
        let Some(replicas) = &mut self.replicas else { return };
        let written = &mut replicas.accord.written;
        written.clear();
        if !summary.writes || (summary.single && summary.verb == Verb::Insert) {
            return;
        }
        if matches!(summary.verb, Verb::Update | Verb::Delete | Verb::Insert | Verb::Select | Verb::Other) {
            let names = uses.iter(text).filter(|(kind, ..)| *kind == UseKind::Written);
            written.extend(names.map(|(_, schema, name)| quoted(schema, name)));
        }
    }

    /// What is sent next may call a function that sets whatever it likes.
    fn note_call(&mut self, calls: bool) {
        if let Some(replicas) = &mut self.replicas {
            replicas.accord.calls |= calls;
        }
    }

    /// A statement is sent that may change what names mean to the session.
    pub(super) fn note_moves(&mut self, summary: &Summary) {
        let Some(replicas) = &mut self.replicas else { return };
        let accord = &mut replicas.accord;
        if core::mem::take(&mut accord.calls) || summary.sets || (accord.moved && summary.moves_path) {
            accord.moves = accord.moves.wrapping_add(1);
            accord.moved = true;
        }
    }

    /// No transaction runs: settings that were made for the last one are not those of the next.
    pub(super) fn names_settled(&mut self) {
        if let Some(replicas) = &mut self.replicas
            && core::mem::take(&mut replicas.accord.moved)
        {
            replicas.accord.moves = replicas.accord.moves.wrapping_add(1);
        }
    }

    /// The state of the catalogue and of the search path.
    fn names_at(&self) -> u64 {
        let moves = self.replicas.as_ref().map_or(0, |replicas| replicas.accord.moves);
        self.commons.catalog.borrow().age().wrapping_add(u64::from(moves) << 32)
    }

    /// Puts away what has come of the last question.
    fn take_consulted(&mut self) {
        let dialect = self.dialect();
        let Some(replicas) = &mut self.replicas else { return };
        let Some(answer) = replicas.answer.take() else { return };
        let Answer { rows, types, error } = *answer;
        let accord = &mut replicas.accord;
        let Some(front) = &mut accord.front else { return };
        let asked = core::mem::take(&mut front.asked);
        if let (Asked::Syntax, Some(error)) = (&asked, &error) {
            // What PostgreSQL says of a text with several statements is no error of the client's.
            let said = error.windows(2).any(|field| field == b"\0P");
            front.error = said.then(|| error.clone());
            front.understood = true;
            return;
        }
        if error.is_some() {
            front.error = error;
            return;
        }
        match asked {
            Asked::Tables(names) => {
                let mut read = table::Answer::new(names.len(), dialect);
                let row = |row: &Vec<Option<Box<[u8]>>>| {
                    let fields: Vec<Option<&[u8]>> = row.iter().map(Option::as_deref).collect();
                    read.row(&fields).is_ok()
                };
                if !rows.iter().all(row) {
                    let fault = Fault::hostile("a backend told something of its tables that makes no sense");
                    front.error = Some(self::error(&fault));
                    return;
                }
                let tables = read.finish().into_iter().map(|table| table.map(Rc::new));
                if accord.tables.len() + names.len() > AGREED_TABLES {
                    accord.tables.clear();
                }
                accord.tables.extend(names.into_iter().zip(tables));
            }
            Asked::Values => {
                let mut constants = Constants::new();
                rows.iter().for_each(|row| constants.push(row.first().and_then(Option::as_deref)));
                front.constants = Some(constants);
            }
            Asked::Types => front.types = Some(types),
            Asked::Syntax => front.understood = true,
            Asked::Nothing => {}
        }
    }

    /// Forgets what is known of relations if that may not be true any more.
    fn check_tables(&mut self) {
        let (now, reshaped) = (self.names_at(), self.reshaped);
        let Some(replicas) = &mut self.replicas else { return };
        let accord = &mut replicas.accord;
        let fresh = accord.front.is_none();
        if accord.known_at != now || (reshaped && fresh) {
            accord.tables.clear();
            accord.known_at = now;
        }
    }

    fn table(&self, name: &[u8]) -> Option<&Table> {
        self.replicas.as_ref()?.accord.tables.get(name)?.as_deref()
    }

    /// Asks for what is not known of these relations. False if everything is known.
    fn ask_tables<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) -> bool {
        let Some(replicas) = &self.replicas else { return false };
        let mut missing: Vec<Box<[u8]>> = Vec::new();
        for name in names.filter(|name| !replicas.accord.tables.contains_key(*name)) {
            if missing.iter().all(|other| **other != *name) {
                missing.push(name.into());
            }
        }
        if missing.is_empty() {
            return false;
        }
        if self.may_consult() {
            let sql = table::question(missing.iter().map(|name| &**name));
            let apart = !self.is_unsynced();
            self.put(Asked::Tables(missing), &Question::Run(&[sql]), Target::MAIN, apart);
        }
        true
    }

    fn put(&mut self, asked: Asked, question: &Question<'_>, to: Target, syncs: bool) {
        if let Some(front) = self.front() {
            front.asked = asked;
        }
        self.consult(question, to, syncs);
    }

    fn is_unsynced(&self) -> bool {
        self.ports.iter().flatten().any(|port| port.unsynced)
    }

    /// Finds out what is to be done with a text that goes to all backends.
    fn agree(&mut self, text: &[u8], summary: &Summary, naming: Option<&Naming>) -> Planning {
        let dialect = self.dialect();
        self.check_tables();
        let written = self.replicas.as_mut().map(|replicas| core::mem::take(&mut replicas.accord.written));
        let written = written.unwrap_or_default();
        let lets_through = self.setup.replication.lets_through;
        let refuse = |refused: Bytes| if lets_through { Planning::AsIs } else { Planning::Refused(refused) };
        if let Some(front) = self.known() {
            if let Some(error) = front.error.clone() {
                return Planning::Refused(error);
            }
            if let Some(agreed) = &front.agreed {
                return Planning::Agreed(Rc::clone(agreed));
            }
        }
        let findings = determinism::inspect(text, dialect);
        let calls = summary.writes && findings.notes.iter().any(|note| matches!(note, Note::UnknownFunction(_)));
        self.note_call(calls);
        if findings.is_empty() && written.is_empty() {
            return Planning::AsIs;
        }
        if self.transaction_status() == TransactionStatus::Failed {
            // Nothing is run, unless an end of the block stands in front; and nothing can be asked.
            let ends = !summary.single && summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
            let harmless = !ends || self.is_known_to_be_alike(&findings, text, &written, summary);
            return if harmless { Planning::AsIs } else { refuse(refused(Reason::ManyStatements, text)) };
        }
        if findings.is_unclear() && !lets_through && !self.known().is_some_and(|front| front.understood) {
            if self.may_consult() {
                let apart = !self.is_unsynced();
                self.put(Asked::Syntax, &Question::Prepare(text), Target::MAIN, apart);
            }
            return Planning::Wait;
        }
        if let Some(refusal) = findings.refusal() {
            return refuse(error(&refusal.fault(text)));
        }
        let names: Vec<&[u8]> = findings.tables().map(|range| &text[range]).collect();
        if self.ask_tables(names.iter().copied().chain(written.iter().map(|name| &**name))) {
            return Planning::Wait;
        }
        let plan = match self.plan(&findings, text, &written, summary) {
            Ok(plan) => plan,
            Err(refused) => return refuse(refused),
        };
        let mut locks: Vec<Box<[u8]>> = plan.locks().iter().map(|range| text[range.clone()].into()).collect();
        let mut targets: Vec<Box<[u8]>> = names.iter().map(|name| Box::from(*name)).collect();
        let insert_lock = self.setup.replication.insert_lock || findings.hint == Some(LockHint::Lock);
        if !locks.is_empty() && !insert_lock {
            let name = String::from_utf8_lossy(&locks[0]).into_owned();
            let message = alloc::format!("\"{name}\" takes another value of a sequence for each row on each server");
            let fault = Fault::new(Culprit::Client, b"0A000", message);
            return refuse(error(&fault.hint("Set insert_lock to on, or begin the statement with /*INSERT LOCK*/.")));
        }
        let mut plan = plan;
        if findings.executes().is_some() {
            let Some(Naming::Executes { name, .. }) = naming else {
                return refuse(refused(Reason::NotUnderstood, text));
            };
            let prepared = self.statements.statement(name).and_then(|(_, known)| known.agreed.clone());
            if let Some(prepared) = prepared {
                match self.still_holds(&prepared) {
                    None => return Planning::Wait,
                    Some(false) => return refuse(stale(name)),
                    Some(true) => {}
                }
                plan = plan.running(&prepared.plan);
                locks.extend(prepared.locks.iter().cloned());
                targets.extend(prepared.targets.iter().cloned());
            }
        }
        if !locks.is_empty() && self.ask_tables([LOCK_TABLE].into_iter()) {
            return Planning::Wait;
        }
        let agreed = Rc::new(Agreed {
            prepares: findings.prepares(),
            locks,
            targets,
            written,
            verb: summary.single.then_some(summary.verb),
            calls,
            known_at: Cell::new(self.names_at()),
            text: (text.len() <= AGREED_TEXT_BYTES).then(|| text.into()),
            added: 0,
            plan,
        });
        if let Some(front) = self.front() {
            front.agreed = Some(Rc::clone(&agreed));
        }
        Planning::Agreed(agreed)
    }

    /// Whether a text can go to all as it is, by what is known without asking.
    fn is_known_to_be_alike(&self, findings: &Findings, text: &[u8], written: &[Box<[u8]>], summary: &Summary) -> bool {
        let Some(replicas) = &self.replicas else { return true };
        let known = |name: &[u8]| replicas.accord.tables.contains_key(name);
        let all_known = findings.tables().all(|range| known(&text[range])) && written.iter().all(|name| known(name));
        let plan = self.plan(findings, text, written, summary);
        all_known && plan.is_ok_and(|plan| plan.is_empty() && plan.locks().is_empty() && plan.moves().is_empty())
    }

    /// Makes a plan of what is known.
    fn plan(&self, findings: &Findings, text: &[u8], written: &[Box<[u8]>], summary: &Summary) -> Result<Plan, Bytes> {
        let plan = findings.plan(text, |name| self.table(name)).map_err(|refusal| error(&refusal.fault(text)))?;
        match self.triggered(written, summary.single.then_some(summary.verb)) {
            Some(name) => Err(refused(Reason::Trigger, name)),
            None => Ok(plan),
        }
    }

    /// A relation whose triggers each server would run to an end of its own.
    fn triggered<'n>(&self, written: &'n [Box<[u8]>], verb: Option<Verb>) -> Option<&'n [u8]> {
        let events: &[Event] = match verb {
            Some(Verb::Update) => &[Event::Update],
            Some(Verb::Delete) => &[Event::Delete],
            _ => &[Event::InsertOrUpdate, Event::Delete],
        };
        let triggered =
            |name: &&[u8]| self.table(name).is_some_and(|table| events.iter().any(|event| table.has_trigger(*event)));
        written.iter().map(|name| &**name).find(triggered)
    }

    /// Whether a plan that was made before is what would be made now. `None` when an answer must come first.
    fn still_holds(&mut self, agreed: &Agreed) -> Option<bool> {
        self.check_tables();
        let now = self.names_at();
        let depends = !agreed.targets.is_empty() || !agreed.written.is_empty();
        if !depends || (agreed.known_at.get() == now && !self.reshaped) {
            return Some(true);
        }
        let Some(text) = agreed.text.as_deref() else { return Some(false) };
        let findings = determinism::inspect(text, self.dialect());
        let names: Vec<&[u8]> = findings.tables().map(|range| &text[range]).collect();
        if self.ask_tables(names.into_iter().chain(agreed.written.iter().map(|name| &**name))) {
            return None;
        }
        let plan = findings.plan(text, |name| self.table(name));
        let same = plan.is_ok_and(|plan| plan == agreed.plan) && self.triggered(&agreed.written, agreed.verb).is_none();
        if same {
            agreed.known_at.set(now);
        }
        Some(same)
    }

    /// Asks for the constants of a statement, and takes its locks. True when they are there, or none are needed. A Query may be
    /// given a block of pgconvoy's own; a Bind begins its transaction with the question.
    fn ask_values(&mut self, agreed: &Agreed, query: bool, to: Target) -> bool {
        if self.known().is_some_and(|front| front.constants.is_some()) {
            return true;
        }
        let on = self.setup.replication.insert_lock;
        let takes = agreed.plan.asks_all_nodes();
        let locks = !agreed.locks.is_empty() || (on && (takes || !agreed.plan.moves().is_empty()));
        let question = agreed.plan.question();
        if !locks && question.is_none() {
            return true;
        }
        if !self.may_consult() {
            return false;
        }
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let apart = !self.is_unsynced();
        let own_block = query && idle && apart && locks;
        let mut statements: Vec<Vec<u8>> = Vec::new();
        if own_block {
            statements.push(b"BEGIN".into());
        }
        if locks {
            self.lock_statements(agreed, &mut statements);
        }
        statements.extend(question);
        if let Some(front) = self.front() {
            front.own_block = own_block;
        }
        let all = if locks || takes { self.everyone() } else { Target::MAIN };
        let syncs = apart && (query || !idle || !to.is_several());
        self.put(Asked::Values, &Question::Run(&statements), all, syncs);
        false
    }

    fn lock_statements(&self, agreed: &Agreed, statements: &mut Vec<Vec<u8>>) {
        let has_table = self.table(LOCK_TABLE).is_some();
        let mut put = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            statements.push(out);
        };
        for name in &agreed.locks {
            put(&|out| lock::sequences_of(name, Mode::Exclusive, out));
            if has_table {
                put(&|out| lock::row_of(name, out));
            }
        }
        for sequence in agreed.plan.moves() {
            put(&|out| lock::sequence(sequence, Mode::Exclusive, out));
        }
        if !agreed.plan.asks_all_nodes() {
            return;
        }
        for name in agreed.targets.iter().filter(|name| !agreed.locks.contains(name)) {
            put(&|out| lock::sequences_of(name, Mode::Shared, out));
        }
        for constant in agreed.plan.constants() {
            let mut out = Vec::new();
            if constant.lock(&mut out) {
                statements.push(out);
            }
        }
    }

    /// What becomes of a Query with this text; `None` if it is too long to be looked at.
    pub(super) fn query_alike(&mut self, text: Option<&[u8]>, summary: &Summary, naming: Option<&Naming>) -> Alike {
        let Some(text) = text else { return self.too_long() };
        if !self.may_look() {
            return Alike::Wait;
        }
        let agreed = match self.agree(text, summary, naming) {
            Planning::AsIs => return Alike::AsIs,
            Planning::Wait => return Alike::Wait,
            Planning::Refused(error) => return Alike::Refused(error),
            Planning::Agreed(agreed) => agreed,
        };
        let message = |text: &[u8]| {
            let mut out = Vec::new();
            build::message(&mut out, frontend::QUERY, |out| build::cstr(out, text));
            Bytes::from(out)
        };
        if agreed.prepares {
            return match agreed.plan.parametrize(text, 0) {
                Ok(new) => Alike::Message(message(&new.text), Some(agreed)),
                Err(refusal) => self.refusing_alike(&refusal, text),
            };
        }
        let controls = !summary.single && summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
        let idle = self.transaction_status() == TransactionStatus::Idle;
        let moves = agreed.plan.asks_all_nodes() || !agreed.plan.moves().is_empty();
        if controls && idle && (!agreed.locks.is_empty() || moves) {
            // Its locks would be gone with the first transaction, or come before it.
            return self.refusing_alike(&Refusal { reason: Reason::ManyStatements, range: 0..text.len() }, text);
        }
        if !self.ask_values(&agreed, true, self.everyone()) {
            return Alike::Wait;
        }
        let none = Constants::new();
        let dialect = self.dialect();
        let constants = self.known().and_then(|front| front.constants.as_ref()).unwrap_or(&none);
        let new = agreed.plan.rewrite(text, constants, dialect);
        match new {
            Ok(_) if agreed.plan.is_empty() => Alike::AsIs,
            Ok(new) => Alike::Message(message(&new), None),
            Err(refusal) => self.refusing_alike(&refusal, text),
        }
    }

    fn refusing_alike(&self, refusal: &Refusal, text: &[u8]) -> Alike {
        if self.setup.replication.lets_through { Alike::AsIs } else { Alike::Refused(error(&refusal.fault(text))) }
    }

    fn too_long(&self) -> Alike {
        if self.setup.replication.lets_through {
            return Alike::AsIs;
        }
        let message = "a statement this long is not looked into, and might leave other data on each server";
        let fault = Fault::new(Culprit::Client, b"0A000", message).hint("Write fewer rows at a time, or use COPY.");
        Alike::Refused(error(&fault))
    }

    /// Takes in what was asked. False while something must come first.
    fn may_look(&mut self) -> bool {
        self.take_consulted();
        let failed = self.known().is_some_and(|front| front.error.is_some());
        !failed || self.is_quiet()
    }

    /// What becomes of a Parse with this text, in a message with this body.
    pub(super) fn parse_alike(
        &mut self,
        body: &[u8],
        text: Option<&[u8]>,
        summary: &Summary,
        naming: Option<&Naming>,
    ) -> Alike {
        let Some(text) = text else { return self.too_long() };
        if !self.may_look() {
            return Alike::Wait;
        }
        let agreed = match self.agree(text, summary, naming) {
            Planning::AsIs => return Alike::AsIs,
            Planning::Wait => return Alike::Wait,
            Planning::Refused(error) => return Alike::Refused(error),
            Planning::Agreed(agreed) => agreed,
        };
        let types = split_cstr(body).and_then(|(_, rest)| split_cstr(rest)).and_then(|(_, types)| types.first_chunk());
        let declared = if agreed.prepares { 0 } else { types.map_or(0, |count| u16::from_be_bytes(*count)) };
        let mut out = Vec::new();
        let new = match agreed.plan.parametrize(text, usize::from(declared)) {
            Ok(new) => new,
            Err(refusal) => return self.refusing_alike(&refusal, text),
        };
        // A message that cannot be read is refused by the backends.
        if new.parse(body, &mut out).is_err() {
            return Alike::AsIs;
        }
        let added = if agreed.prepares { 0 } else { new.added };
        Alike::Message(out.into(), Some(Rc::new(Agreed { added, ..Agreed::clone(&agreed) })))
    }

    /// What becomes of a Bind of the statement called `name`, whose message begins with `front`.
    pub(super) fn bind_alike(
        &mut self,
        header: Header,
        front: &[u8],
        name: &[u8],
        summary: &Summary,
        to: Target,
    ) -> Alike {
        let Some((_, known)) = self.statements.statement(name) else { return Alike::AsIs };
        let executed = known.naming.as_deref().and_then(|naming| match naming {
            Naming::Executes { name, .. } => Some(name.clone()),
            _ => None,
        });
        let own = known.agreed.clone().filter(|agreed| !agreed.prepares);
        let behind = executed.as_ref().and_then(|name| self.statements.statement(name)?.1.agreed.clone());
        if own.is_none() && behind.is_none() && !(summary.writes && to.is_several()) {
            return Alike::AsIs;
        }
        if front.len() < header.total {
            let long = header.total > self.inspect_bytes();
            return match own.is_some_and(|agreed| agreed.added > 0) {
                _ if !long => Alike::More,
                true => self.too_long(),
                false => Alike::AsIs,
            };
        }
        if !self.may_look() {
            return Alike::Wait;
        }
        if let Some(error) = self.known().and_then(|front| front.error.clone()) {
            return Alike::Refused(error);
        }
        let body = &front[HEADER_BYTES..header.total];
        if self.transaction_status() == TransactionStatus::Failed {
            // It is refused, with any values.
            return bound(body, own.map_or(0, |agreed| agreed.added), None);
        }
        for agreed in own.iter().chain(&behind) {
            self.note_call(agreed.calls);
            match self.still_holds(agreed) {
                None => return Alike::Wait,
                Some(false) if !self.setup.replication.lets_through => return Alike::Refused(stale(name)),
                Some(_) => {}
            }
        }
        if own.is_none() && self.is_unlike_unnoticed(name, summary) {
            return Alike::Refused(stale(name));
        }
        if let Some(alike) = self.check_times(name, body, summary, to) {
            return alike;
        }
        let agreed = match (own, behind) {
            (_, Some(behind)) if !behind.plan.constants().is_empty() => {
                let refusal = Refusal { reason: Reason::Parameters, range: 0..name.len() };
                return self.refusing_alike(&refusal, name);
            }
            (Some(own), None) => own,
            (_, Some(behind)) => behind,
            (None, None) => return Alike::AsIs,
        };
        if !self.ask_values(&agreed, false, to) {
            return Alike::Wait;
        }
        if agreed.added == 0 {
            return Alike::AsIs;
        }
        bound(body, agreed.added, self.known().and_then(|front| front.constants.as_ref()))
    }

    /// Whether a statement writes that was no write by what was known when it was prepared, and that is not alike.
    fn is_unlike_unnoticed(&self, name: &[u8], summary: &Summary) -> bool {
        let known = self.statements.statement(name).filter(|(_, known)| known.has_source() && known.naming.is_none());
        let Some((_, known)) = known.filter(|_| summary.writes && !self.setup.replication.lets_through) else {
            return false;
        };
        !determinism::inspect(statement_text(&known.source), self.dialect()).is_empty()
    }

    /// What becomes of a FunctionCall, whose message begins with `front`: a large object has the same number everywhere, which
    /// the main backend chooses.
    pub(super) fn call_alike(&mut self, header: Header, front: &[u8]) -> Alike {
        let here = &front[HEADER_BYTES..front.len().min(header.total)];
        let Some(function) = here.first_chunk().map(|oid| u32::from_be_bytes(*oid)) else {
            return if front.len() < header.total { Alike::More } else { Alike::AsIs };
        };
        if !objects::makes(function) || self.transaction_status() == TransactionStatus::Failed {
            return Alike::AsIs;
        }
        if front.len() < header.total.min(objects::INSPECT_BYTES) {
            return Alike::More;
        }
        if !self.may_look() {
            return Alike::Wait;
        }
        if let Some(error) = self.known().and_then(|front| front.error.clone()) {
            return Alike::Refused(error);
        }
        let format = match objects::wanted(function, here) {
            Wanted::Nothing => return Alike::AsIs,
            Wanted::Refusal if self.setup.replication.lets_through => return Alike::AsIs,
            Wanted::Refusal => return Alike::Refused(error(&objects::refusal())),
            Wanted::Number { format } => format,
        };
        let Some(constants) = self.known().and_then(|front| front.constants.as_ref()) else {
            if self.may_consult() {
                let apart = !self.is_unsynced();
                self.put(Asked::Values, &Question::Run(&[objects::QUESTION.into()]), Target::MAIN, apart);
            }
            return Alike::Wait;
        };
        match objects::create(constants.iter().next().flatten(), format) {
            Some(message) => Alike::Message(message.into(), None),
            None => Alike::Refused(error(&Fault::hostile("a backend gave no number to a large object"))),
        }
    }

    /// Values such as `now` are points in time where their parameter has such a type, and other ones on each server.
    fn check_times(&mut self, name: &[u8], body: &[u8], summary: &Summary, to: Target) -> Option<Alike> {
        if !summary.writes || !to.is_several() || self.setup.replication.lets_through {
            return None;
        }
        let moving = extended::moving_values(body).ok().filter(|moving| !moving.is_empty())?;
        let Some(types) = self.known().and_then(|front| front.types.as_ref()) else {
            if self.may_consult() {
                let apart = !self.is_unsynced() && self.transaction_status() != TransactionStatus::Idle;
                self.put(Asked::Types, &Question::Describe(name), Target::MAIN, apart);
            }
            return Some(Alike::Wait);
        };
        let time = moving.into_iter().find(|at| types.get(*at).is_some_and(|oid| extended::is_time(*oid)))?;
        let message =
            alloc::format!("the value of ${} means the present time, which is another one on each server", time + 1);
        let fault = Fault::new(Culprit::Client, b"0A000", message);
        Some(Alike::Refused(error(&fault.hint("Send a point in time, or write now() in the statement."))))
    }

    /// Refuses the message at the front.
    pub(super) fn refuse(&mut self, tag: u8, error: &Bytes) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        let own_block = self.take_own_block();
        self.front_passed();
        if !matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL) {
            self.break_batch_with(error);
            return Step::Drop;
        }
        let mut status = self.transaction_status();
        for position in 0..self.ports.len() {
            let Some(port) = &mut self.ports[position] else { continue };
            let in_block = port.link.status != TransactionStatus::Idle;
            if port.failed {
                // It skips everything up to Sync.
                port.asked(super::port::Ask::Sync, false);
                port.queue.push(Bytes::from_static(&[frontend::SYNC, 0, 0, 0, 4]));
            } else if own_block && in_block {
                self.inject(position, "ROLLBACK");
            } else if port.link.status == TransactionStatus::InBlock || port.unsynced {
                port.unsynced = false;
                self.inject(position, ABORT_BLOCK);
            }
        }
        status = match status {
            _ if own_block => TransactionStatus::Idle,
            TransactionStatus::InBlock => TransactionStatus::Failed,
            status => status,
        };
        let mut out = error.to_vec();
        build::ready_for_query(&mut out, status);
        self.stateful = true;
        self.tell(&out);
        Step::Drop
    }
}

/// A Bind with constants; without them it fails like any other, and nulls do as well.
fn bound(body: &[u8], added: u16, constants: Option<&Constants>) -> Alike {
    if added == 0 {
        return Alike::AsIs;
    }
    let mut nulls = Constants::new();
    (0..added).for_each(|_| nulls.push(None));
    let mut out = Vec::new();
    match extended::bind(body, usize::from(added), constants.unwrap_or(&nulls), &mut out) {
        Ok(()) => Alike::Message(out.into(), None),
        // What cannot be read is refused by the backends; what can be would be one too many.
        Err(extended::Malformed) => {
            Alike::Refused(error(&Fault::protocol("a Bind message that cannot be given its constants")))
        }
    }
}

/// What PostgreSQL says of a statement that does not fit its tables any more.
fn stale(name: &[u8]) -> Bytes {
    let name = String::from_utf8_lossy(name);
    let message = alloc::format!("the tables of prepared statement \"{name}\" have changed");
    error(&Fault::new(Culprit::Client, b"0A000", message).hint("Prepare it again."))
}

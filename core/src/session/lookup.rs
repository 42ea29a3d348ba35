//! What the names of a statement mean: judged by the worker's catalogue, and asked of a backend where it does not know.
//!
//! A question goes over one of the session's own links, between two requests and outside transactions, so that it can
//! neither abort nor delay anything but the statement that waits for it. While a batch runs on a standby, the primary can be
//! asked. Where nobody can, the statement is for the primary, and the question is asked as soon as the transaction is over.

use super::port::{Ask, Target};
use super::statements::{Summary, UNJUDGED};
use super::{MAIN, Report, Session};
use crate::catalog::{Judgement, Question, Subject};
use crate::fault::{Culprit, Fault};
use crate::limits::{ANSWER_BYTES, CALLED_NAMES, CATALOG_ROUNDS};
use crate::policy::CheckTemporary;
use crate::route::Rule;
use crate::sql::{self, Hazards, Name, Reason, Route, UseKind, Uses, Verb};
use crate::wire::tag::frontend;
use crate::wire::{HEADER_BYTES, Header, TransactionStatus, build};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bytes::Bytes;

/// The numbers of those functions of PostgreSQL's that libpq and the JDBC driver call by number: `lo_open`, `lo_close`,
/// `loread`, `lowrite`, `lo_lseek`, `lo_creat`, `lo_tell`, `lo_unlink`, `lo_truncate`, `lo_create`, and the variants of 64
/// bits. They have the same in every version.
const LARGE_OBJECTS: [u32; 13] = [952, 953, 954, 955, 956, 957, 958, 964, 1004, 715, 3170, 3171, 3172];

/// The questions of one session, and what only it can be told.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    /// The session's temporary relations and types, as far as they are known.
    temporaries: BTreeSet<Box<[u8]>>,
    /// The path may begin with `pg_temp`: what is created without a schema is temporary then.
    temporary_path: bool,
    /// Some may have been created or dropped since.
    unsure: bool,
    /// The schemas that the session searches, once they have been asked for, and at which age of the catalogue.
    path: Option<(u64, Vec<Box<[u8]>>)>,
    /// How often one or the other has been found out, or has ceased to be known.
    changes: u32,
    asked: Option<Box<Asked>>,
    /// What the last text uses that was understood, if that may change settings.
    calls: Calls,
    /// The same of texts that ran on the primary alone: if they have changed settings, only it knows.
    called: Calls,
    /// To be asked when the transaction is over.
    later: Option<Box<Question>>,
    /// Questions that the statement at hand has made necessary.
    rounds: u8,
    /// The statement that waits was cancelled.
    cancelled: bool,
}

/// What may change settings by being used.
#[derive(Debug, Default)]
struct Calls {
    /// Functions, of those that PostgreSQL itself does not have.
    functions: BTreeSet<Box<[u8]>>,
    /// Relations that are written, for what is attached to them.
    written: BTreeSet<Box<[u8]>>,
    /// Relations that are read, for what is behind them.
    read: BTreeSet<Box<[u8]>>,
    /// The definition of objects, for its event triggers.
    defines: bool,
    /// Something else.
    unclear: bool,
}

impl Calls {
    /// How many names these are.
    fn count(&self) -> usize {
        self.functions.len() + self.written.len() + self.read.len()
    }

    fn is_empty(&self) -> bool {
        self.count() == 0 && !self.unclear && !self.defines
    }

    fn clear(&mut self) {
        self.lists().into_iter().for_each(|(_, names)| names.clear());
        (self.defines, self.unclear) = (false, false);
    }

    fn lists(&mut self) -> [(UseKind, &mut BTreeSet<Box<[u8]>>); 3] {
        let Self { functions, written, read, defines: _, unclear: _ } = self;
        [(UseKind::Function, functions), (UseKind::Written, written), (UseKind::Relation, read)]
    }

    fn ask(&self, question: &mut Question) {
        question.functions.extend(self.functions.iter().cloned());
        question.written.extend(self.written.iter().cloned());
        question.read.extend(self.read.iter().cloned());
        question.whole |= self.defines;
    }

    fn append(&mut self, other: &mut Self) {
        for ((_, own), (_, others)) in self.lists().into_iter().zip(other.lists()) {
            own.append(others);
        }
        self.defines |= core::mem::take(&mut other.defines);
        self.unclear |= core::mem::take(&mut other.unclear);
    }
}

/// A question whose answer is outstanding.
#[derive(Debug)]
struct Asked {
    question: Question,
    age: u64,
    answer: Option<Bytes>,
    failed: bool,
}

impl Inquiry {
    /// True while an answer is outstanding.
    pub(super) const fn is_open(&self) -> bool {
        self.asked.is_some()
    }

    /// The backend answered with an error.
    pub(super) fn fails(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.failed = true;
        }
    }

    /// The backend's answer, as the body of a DataRow.
    pub(super) fn answers(&mut self, body: &[u8]) {
        let Some(asked) = &mut self.asked else { return };
        asked.answer = match body.split_first_chunk::<6>() {
            // Nothing of these names: NULL.
            Some(([0, 1, 0xFF, 0xFF, 0xFF, 0xFF], [])) => Some(Bytes::new()),
            Some(([0, 1, ..], value)) => Some(Bytes::copy_from_slice(value)),
            _ => None,
        };
    }
}

impl Session {
    /// A statement goes to the primary that may create or drop temporary relations.
    pub(super) fn note_temporaries(&mut self, summary: &Summary) {
        let some = !self.inquiry.temporaries.is_empty();
        let creates = summary.hazards.contains(Hazards::CREATES_TEMP) && (summary.route == Route::Primary || some);
        let may_say_so = some || self.inquiry.temporary_path;
        let says_so = creates || (summary.hazards.contains(Hazards::RESHAPES) && may_say_so);
        let may = summary.reason == Reason::UnknownFunction || summary.reason == Reason::VolatileView;
        self.inquiry.unsure |= match self.setup.policy.check_temporary {
            CheckTemporary::Catalog => says_so || (may && summary.writes),
            CheckTemporary::Trace => says_so,
            CheckTemporary::Never => false,
        };
    }

    /// A statement may change which schemas are searched: by a setting, the end of a transaction that had one, a schema
    /// that is made, or whatever a function does.
    pub(super) fn note_path(&mut self, summary: &Summary) {
        if (summary.moves_path || summary.writes) && self.inquiry.path.take().is_some() {
            self.inquiry.changes += 1;
        }
    }

    /// Notes what a text uses that may change settings, and whether it may give the temporary schema a place in the path.
    pub(super) fn note_calls(&mut self, text: &[u8], uses: &Uses, summary: &Summary) {
        self.inquiry.calls.clear();
        self.inquiry.temporary_path |=
            summary.moves_path && text.windows(7).any(|word| word.eq_ignore_ascii_case(b"pg_temp"));
        let unjudged = summary.open && summary.judged_at == UNJUDGED;
        let Some(login) = self.login.as_ref().filter(|_| self.has_partners()) else { return };
        if summary.route == Route::Either && !unjudged {
            return;
        }
        let (catalog, calls) = (self.commons.catalog.borrow(), &mut self.inquiry.calls);
        calls.unclear = uses.is_unclear();
        let defines = summary.verb == Verb::Ddl || summary.hazards.contains(Hazards::RESHAPES);
        calls.defines = defines && catalog.definitions_set(&login.database, self.idle_since) != Some(false);
        for (kind, _, name) in uses.iter(text) {
            let mut buffer = [0; 64];
            let names = match kind {
                UseKind::Function if !sql::is_builtin(name) => &mut calls.functions,
                UseKind::Written => &mut calls.written,
                UseKind::Relation => &mut calls.read,
                _ => continue,
            };
            match name.fold_into(&mut buffer) {
                None => calls.unclear = true,
                Some(name) if catalog.sets(&login.database, kind, name, self.idle_since) == Some(false) => {}
                Some(name) => drop(names.insert(name.into())),
            }
        }
    }

    /// No text has been understood since.
    pub(super) fn forget_calls(&mut self) {
        self.inquiry.calls.clear();
    }

    /// The text last understood goes to `target`.
    pub(super) fn note_called(&mut self, target: Target) {
        if target == Target::MAIN {
            self.inquiry.called.append(&mut self.inquiry.calls);
        }
    }

    /// A function is called by its number at `target`: that may be any.
    pub(super) fn note_called_by_number(&mut self, target: Target, number: u32) {
        let alone = target == Target::MAIN && self.has_partners();
        self.inquiry.called.unclear |= alone && !LARGE_OBJECTS.contains(&number);
    }

    /// True while it is not known, and no transaction block runs that read elsewhere before, whether what was used on the
    /// primary alone has changed settings there: reads stay there.
    pub(super) fn is_unsure_of_settings(&self) -> bool {
        !self.inquiry.called.is_empty() && self.transaction_status() == TransactionStatus::Idle
    }

    /// Parts with the partners if what was used on the primary alone may have changed settings there.
    pub(super) fn judge_called(&mut self) {
        let Some(login) = self.login.as_ref().filter(|_| !self.inquiry.called.is_empty()) else { return };
        let catalog = self.commons.catalog.borrow();
        let now = self.idle_since;
        let called = &mut self.inquiry.called;
        let defined = if called.defines { catalog.definitions_set(&login.database, now) } else { Some(false) };
        let mut sets = called.unclear || called.count() > CALLED_NAMES || defined == Some(true);
        called.defines = defined.is_none();
        for (kind, names) in called.lists() {
            names.retain(|name| {
                let found = catalog.sets(&login.database, kind, name, now);
                sets |= found == Some(true);
                found.is_none()
            });
        }
        if sets {
            self.inquiry.called.clear();
            self.ports[MAIN + 1..].iter_mut().flatten().for_each(|partner| partner.leaving = true);
        }
    }

    /// What has been found out of names holds as long as this is the same.
    pub(super) fn knowledge(&self) -> u64 {
        let own = u64::from(self.inquiry.changes) + u64::from(self.inquiry.unsure);
        self.commons.catalog.borrow().age().wrapping_add(own << 32)
    }

    /// Whether a text reads one of the session's temporary relations, or may: a function finds them, too, and so does what
    /// makes a number of a relation's name.
    fn reads_temporary(&self, text: &[u8], uses: &Uses) -> bool {
        let temporaries = &self.inquiry.temporaries;
        if temporaries.is_empty() {
            return false;
        }
        let own = |name: Name<'_>| temporaries.iter().any(|temporary| name.bytes().eq(temporary.iter().copied()));
        let uses_one = uses.iter(text).any(|(kind, schema, name)| match kind {
            UseKind::Relation => schema.is_none() && own(name),
            UseKind::Function => !sql::is_builtin(name),
            _ => false,
        });
        uses_one || sql::names_type(text, self.dialect(), |name| own(name) || name.is("regclass") || name.is("regtype"))
    }

    /// Finds out where a statement may go whose names decide it. True when an answer must come first.
    pub(super) fn look_up(&mut self, text: &[u8], uses: &Uses, summary: &mut Summary) -> bool {
        let minds_settings = summary.open || summary.route == Route::Either;
        let waits = if summary.route == Route::Both {
            self.ask_before_all_go_on()
        } else {
            (self.is_unsure_of_settings() && minds_settings && self.ask_of_settings())
                || self.look_up_names(text, uses, summary)
        };
        if !waits {
            self.inquiry.rounds = 0;
        }
        waits
    }

    fn look_up_names(&mut self, text: &[u8], uses: &Uses, summary: &mut Summary) -> bool {
        if !summary.open || !self.has_partners() {
            return false;
        }
        let read = Summary { route: Route::Either, writes: false, ..*summary };
        let decided = self.choose(&read).has(MAIN) && !self.is_replicated();
        // A comment in front keeps this statement on the primary, and those behind it only if it writes.
        let only_this = decided && self.decide(&read).rule == Rule::Comment;
        if decided && !only_this {
            return false;
        }
        let Some(login) = &self.login else { return false };
        let mut question = Question::default();
        let catalog = self.commons.catalog.borrow();
        let check_unlogged = self.setup.check_unlogged;
        let functions = &self.setup.policy.functions;
        let path = self.inquiry.path.as_ref().filter(|(age, _)| *age == catalog.age()).map(|(_, path)| &path[..]);
        let subject = Subject { database: &login.database, text, uses, check_unlogged, path, functions };
        let mut judgement = catalog.judge(&subject, self.idle_since, &mut question);
        if only_this {
            summary.writes = !matches!(judgement, Judgement::Anywhere | Judgement::Primary(_, false));
            return false;
        }
        let harmless = judgement == Judgement::Anywhere;
        let written = self.kin_written(&catalog, &subject, &mut question);
        if !question.kin.is_empty() && judgement == Judgement::Anywhere && catalog.is_silent(self.idle_since) {
            judgement = Judgement::Primary(Reason::NotLookedUp, false);
        }
        drop(catalog);
        question.own_temporaries = self.inquiry.unsure && !question.own_path;
        // A function that may make another one is told first.
        let may_make = match judgement {
            Judgement::Primary(reason, _) => matches!(reason, Reason::UnknownFunction | Reason::VolatileView),
            Judgement::Unknown => !question.functions.is_empty(),
            Judgement::Anywhere => false,
        };
        if !may_make && !self.inquiry.unsure && self.reads_temporary(text, uses) {
            judgement = Judgement::Primary(Reason::Temporary, true);
        } else if !question.is_empty() && judgement == Judgement::Anywhere {
            judgement = Judgement::Unknown;
        }
        if judgement == Judgement::Unknown {
            let position = self.port_for(&question);
            let may_ask = self.may_ask(position) && !self.is_batch_on(position) && !self.in_copy();
            if self.inquiry.rounds < CATALOG_ROUNDS && may_ask {
                if !self.is_quiet() {
                    return true;
                }
                if self.transaction_status() == TransactionStatus::Idle {
                    self.inquiry.rounds += 1;
                    self.put_question(question);
                    return true;
                }
            }
            // What may be behind a name that is not known may write, and that is to be read behind it.
            let writes = !harmless || question.own_temporaries;
            if self.inquiry.rounds < CATALOG_ROUNDS {
                self.inquiry.later = Some(Box::new(question));
            }
            judgement = Judgement::Primary(Reason::NotLookedUp, writes);
            summary.judged(judgement, UNJUDGED);
        } else if let (Some(reason), Judgement::Anywhere) = (written, judgement) {
            // So far: it is judged again when it runs again.
            summary.judged(Judgement::Primary(reason, false), UNJUDGED);
        } else {
            let knowledge = self.knowledge();
            summary.judged(judgement, knowledge);
            summary.fixed = harmless && self.setup.replication.compare_rows && self.fixes_rows(text, uses);
        }
        false
    }

    /// What a write returns is the same wherever it is the same write.
    pub(super) fn note_fixed(&self, text: &[u8], summary: &mut Summary) {
        let writes_rows = matches!(summary.verb, Verb::Insert | Verb::Update | Verb::Delete);
        if self.setup.replication.compare_rows && writes_rows && summary.single && self.is_replicated() {
            summary.fixed = sql::fixes_rows(text, self.dialect());
        }
    }

    /// Whether servers with the same data return the same rows for a text.
    fn fixes_rows(&self, text: &[u8], uses: &Uses) -> bool {
        let Some(login) = &self.login else { return false };
        let catalog = self.commons.catalog.borrow();
        sql::fixes_rows(text, self.dialect()) && catalog.reads_tables(&login.database, text, uses, self.idle_since)
    }

    /// Asks whether settings were changed on the primary alone, as soon as that can be asked.
    fn ask_of_settings(&mut self) -> bool {
        let silent = self.commons.catalog.borrow().is_silent(self.idle_since);
        let idle = self.is_quiet() && self.transaction_status() == TransactionStatus::Idle;
        let asked = self.inquiry.rounds >= CATALOG_ROUNDS;
        if silent || asked || !idle || self.is_in_batch() || !self.has_partners() || !self.may_ask(MAIN) {
            return false;
        }
        let mut question = Question::default();
        self.inquiry.called.ask(&mut question);
        self.inquiry.rounds += 1;
        self.put_question(question);
        true
    }

    /// Asks what the session's own temporary relations are, and whether settings were changed on the primary alone, while that
    /// can be asked: in a transaction or a batch that begins with all nodes it cannot, and its reads would all be for the
    /// primary, or be answered by other settings.
    fn ask_before_all_go_on(&mut self) -> bool {
        let idle = self.is_quiet() && self.transaction_status() == TransactionStatus::Idle;
        let asked = self.inquiry.rounds > 0;
        if !self.has_partners() || asked || !idle || self.is_in_batch() {
            return false;
        }
        let mut question = Question { own_temporaries: self.inquiry.unsure, ..Question::default() };
        if !self.commons.catalog.borrow().is_silent(self.idle_since) {
            self.inquiry.called.ask(&mut question);
        }
        if question.is_empty() || !self.may_ask(self.port_for(&question)) {
            return false;
        }
        self.inquiry.rounds = 1;
        self.put_question(question);
        true
    }

    /// The port that a question goes to.
    fn port_for(&self, question: &Question) -> usize {
        // The path that holds is that of the node where the read would run.
        let may_be_standby = self.setup.ask_balance_node && !question.own_temporaries && !self.is_batch_on(self.turn);
        let ask_standby = (question.own_path || may_be_standby) && self.turn_port().is_some();
        if ask_standby { self.turn } else { MAIN }
    }

    /// Whether a port has a part of a batch, without its Sync: a Query would end that. What pgconvoy itself has answered of
    /// it is nothing to a server.
    fn is_batch_on(&self, position: usize) -> bool {
        self.ports.get(position).and_then(Option::as_ref).is_some_and(|port| port.unsynced)
    }

    /// Whether a Query of pgconvoy's own would go unnoticed: not in the middle of a message, and not where it would take
    /// away the client's unnamed statement for good.
    fn may_ask(&self, position: usize) -> bool {
        let unnamed = self.statements.statement(b"");
        self.client_not_inside(position)
            && unnamed.is_none_or(|(on, unnamed)| !on.has(position) || unnamed.has_source())
    }

    fn put_question(&mut self, question: Question) {
        let position = self.port_for(&question);
        let Some(port) = &mut self.ports[position] else { return };
        let mut out = Vec::new();
        build::message(&mut out, frontend::QUERY, |out| build::cstr(out, &question.sql()));
        port.queue.push(out.into());
        port.asked(Ask::Question, false);
        self.statements.unnamed_lost(position);
        let age = self.commons.catalog.borrow().age();
        self.inquiry.asked = Some(Box::new(Asked { question, age, answer: None, failed: false }));
    }

    /// Reads the row that answers a question. False if more of it must be there first.
    pub(super) fn read_answer(&mut self, header: Header, front: &[u8]) -> bool {
        if header.total > ANSWER_BYTES {
            self.inquiry.fails();
            return true;
        }
        if front.len() < header.total {
            return false;
        }
        self.inquiry.answers(&front[HEADER_BYTES..]);
        true
    }

    /// Nothing is owed any more: the answer is there, if a question was asked.
    pub(super) fn take_answer(&mut self) {
        let Some(asked) = self.inquiry.asked.take() else { return };
        let Some(login) = &self.login else { return };
        let mut catalog = self.commons.catalog.borrow_mut();
        let Asked { question, age, answer, failed } = *asked;
        let answer = answer.filter(|_| !failed);
        let learnt = answer.as_ref().is_some_and(|answer| {
            catalog.learn(&login.database, &question, age, answer, self.dialect(), self.idle_since)
        });
        let answer = answer.as_deref();
        if let (true, Some(answer)) = (question.own_temporaries, answer) {
            self.inquiry.temporaries = question.temporaries(answer).map(Into::into).collect();
            self.inquiry.unsure = false;
            self.inquiry.changes += 1;
        } else if let (true, Some(answer)) = (question.own_path, answer) {
            self.inquiry.path = Some((age, question.path(answer).map(Into::into).collect()));
            self.inquiry.changes += 1;
        }
        if !learnt && age == catalog.age() {
            catalog.unanswered(self.idle_since);
        }
    }

    /// What transactions that are over have changed is not known any more.
    pub(super) fn tell_reshaped(&mut self) {
        if core::mem::take(&mut self.reshaped) {
            self.commons.catalog.borrow_mut().forget();
            self.report(Report::Reshaped);
        }
    }

    /// No transaction runs: what could not be asked in the last one is asked.
    pub(super) fn transaction_over(&mut self) {
        self.tell_reshaped();
        let mut later = self.inquiry.later.take();
        // What was defined is asked about once it is read: another definition may follow, and all is forgotten again.
        let names_wait = self.is_unsure_of_settings() && self.inquiry.called.count() > 0;
        if names_wait && !self.commons.catalog.borrow().is_silent(self.idle_since) {
            let question = later.get_or_insert_default();
            question.own_path = false;
            self.inquiry.called.ask(question);
        }
        if let Some(question) = later
            && self.partners().any(|partner| !partner.leaving)
        {
            if self.may_ask(self.port_for(&question)) {
                self.put_question(*question);
            } else {
                self.inquiry.later = Some(question);
            }
        }
    }

    /// A cancel request has come while an answer is outstanding: the statement that waits for it is not run.
    pub(super) fn cancel_waiting(&mut self) {
        self.inquiry.cancelled = !self.client.held.is_empty();
    }

    /// Answers the statement that was cancelled before it was sent. True if that is done.
    pub(super) fn answer_cancelled(&mut self, tag: u8) -> bool {
        if !core::mem::take(&mut self.inquiry.cancelled) {
            return false;
        }
        let fault = Fault::new(Culprit::Client, b"57014", "canceling statement due to user request");
        match tag {
            frontend::QUERY => {
                let mut out = Vec::new();
                build::error(&mut out, build::Severity::Error, &fault);
                build::ready_for_query(&mut out, self.transaction_status());
                self.tell(&out);
            }
            frontend::PARSE | frontend::BIND => self.break_batch(&fault),
            _ => return false,
        }
        true
    }
}

//! Answers of pgconvoy's own, in the simple and in the extended protocol: `SHOW pool_*`, and `PGPOOL SHOW`, `SET` and
//! `RESET`, which the surroundings understand.

use super::port::Target;
use super::request::Step;
use super::statements::{Local, Portal, Summary, significant};
use super::{Session, SessionEvent, Setup};
use crate::fault::{Culprit, Fault};
use crate::sql::{self, Effect, PoolReport};
use crate::wire::build::{self, Severity};
use crate::wire::tag::backend;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How an answer of pgconvoy's own was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By a Query: the description comes first and ReadyForQuery last.
    Query,
    /// By an Execute.
    Execute,
    /// By a Describe of a statement, or of a portal: nothing is done.
    Describe { of_portal: bool },
}

/// An answer is awaited from the surroundings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Showing {
    /// The rows of a table.
    Table(PoolReport, Mode),
    /// What has become of a command.
    Command(Mode),
}

/// What a command has come to.
pub struct Outcome {
    /// The answer, or why there is none.
    pub answer: Result<Answer, Fault>,
    /// Something to tell the client besides.
    pub notice: Option<Fault>,
    /// What the session goes by from now on, if that has changed.
    pub setup: Option<Arc<Setup>>,
}

/// The answer to a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A table.
    Rows {
        /// The names of its columns.
        columns: Vec<String>,
        /// Its rows, each as wide as that.
        rows: Vec<Vec<String>>,
    },
    /// Something was done: what CommandComplete says.
    Done(&'static str),
}

impl Outcome {
    /// It could not be done.
    pub const fn failed(fault: Fault) -> Self {
        Self { answer: Err(fault), notice: None, setup: None }
    }

    /// An answer, and nothing else.
    pub const fn of(answer: Answer) -> Self {
        Self { answer: Ok(answer), notice: None, setup: None }
    }
}

/// The columns of a `SHOW pool_*` table, as pgpool 4.3 names them (manual, "SQL type commands").
pub fn columns(kind: PoolReport) -> &'static [&'static str] {
    match kind {
        PoolReport::Nodes => &[
            "node_id",
            "hostname",
            "port",
            "status",
            "pg_status",
            "lb_weight",
            "role",
            "pg_role",
            "select_cnt",
            "load_balance_node",
            "replication_delay",
            "replication_state",
            "replication_sync_state",
            "last_status_change",
        ],
        PoolReport::Status => &["item", "value", "description"],
        PoolReport::Processes => &[
            "pool_pid",
            "start_time",
            "client_connection_count",
            "database",
            "username",
            "backend_connection_time",
            "pool_counter",
            "status",
        ],
        PoolReport::Pools => &[
            "pool_pid",
            "start_time",
            "client_connection_count",
            "pool_id",
            "backend_id",
            "database",
            "username",
            "backend_connection_time",
            "client_connection_time",
            "client_disconnection_time",
            "client_idle_duration",
            "majorversion",
            "minorversion",
            "pool_counter",
            "pool_backendpid",
            "pool_connected",
            "status",
            "load_balance_node",
        ],
        PoolReport::Route => &["node", "class", "rule", "reason", "passed", "would_change_it"],
        PoolReport::Decisions => {
            &["time", "session", "database", "username", "node_id", "class", "rule", "reason", "statement"]
        }
        PoolReport::Mismatches => &[
            "mismatch",
            "time",
            "session",
            "database",
            "username",
            "difference",
            "node_id",
            "answer",
            "decision",
            "statement",
        ],
        PoolReport::Version => &["pool_version"],
        PoolReport::Cache => &[
            "num_cache_hits",
            "num_selects",
            "cache_hit_ratio",
            "num_hash_entries",
            "used_hash_entries",
            "num_cache_entries",
            "used_cache_entries_size",
            "free_cache_entries_size",
            "fragment_cache_entries_size",
        ],
        PoolReport::HealthCheckStats => &[
            "node_id",
            "hostname",
            "port",
            "status",
            "role",
            "last_status_change",
            "total_count",
            "success_count",
            "fail_count",
            "skip_count",
            "retry_count",
            "average_retry_count",
            "max_retry_count",
            "max_duration",
            "min_duration",
            "average_duration",
            "last_health_check",
            "last_successful_health_check",
            "last_skip_health_check",
            "last_failed_health_check",
        ],
        PoolReport::BackendStats => &[
            "node_id",
            "hostname",
            "port",
            "status",
            "role",
            "select_cnt",
            "insert_cnt",
            "update_cnt",
            "delete_cnt",
            "ddl_cnt",
            "other_cnt",
            "panic_cnt",
            "fatal_cnt",
            "error_cnt",
        ],
    }
}

impl Session {
    pub(super) fn show(&mut self, kind: PoolReport, mode: Mode) {
        self.showing = Some(Showing::Table(kind, mode));
        self.events.push_back(SessionEvent::Show(kind));
    }

    /// Has the surroundings carry out the command that is the whole of `text`, or only tell what it would answer with.
    pub(super) fn command(&mut self, text: &[u8], mode: Mode) {
        self.showing = Some(Showing::Command(mode));
        let Effect::PgpoolCommand { text } = sql::analyze(text, self.dialect()).effect else {
            // Strings may have been read in another way when it was prepared.
            let fault = Fault::new(Culprit::Client, b"42601", "syntax error in a PGPOOL command");
            return self.command_done(&Outcome::failed(fault));
        };
        let describe = matches!(mode, Mode::Describe { .. });
        self.events.push_back(SessionEvent::Command { text: text.into(), describe });
    }

    /// Answers with rows that are at hand.
    pub(super) fn answer(&mut self, kind: PoolReport, mode: Mode, rows: &[Vec<String>]) {
        self.showing = Some(Showing::Table(kind, mode));
        self.show_rows(rows);
    }

    pub(super) fn show_rows(&mut self, rows: &[Vec<String>]) {
        let Some(Showing::Table(kind, mode)) = self.showing else { return };
        self.showing = None;
        let mut out = Vec::new();
        if mode == Mode::Query {
            build::text_row_description(&mut out, columns(kind).iter().copied());
        }
        table(&mut out, columns(kind).len(), rows);
        self.answered(out, mode);
    }

    pub(super) fn command_done(&mut self, outcome: &Outcome) {
        let Some(Showing::Command(mode)) = self.showing else { return };
        self.showing = None;
        let mut out = Vec::new();
        if let Some(notice) = outcome.notice.as_ref().filter(|_| !self.setup.mute_notices) {
            build::error(&mut out, Severity::Notice, notice);
        }
        let describes = matches!(mode, Mode::Describe { .. });
        match &outcome.answer {
            Err(fault) => {
                build::error(&mut out, Severity::Error, fault);
                if mode != Mode::Query {
                    self.skipping = true;
                    self.own_error = true;
                }
            }
            Ok(answer) => {
                if mode == (Mode::Describe { of_portal: false }) {
                    build::message(&mut out, backend::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
                }
                match answer {
                    Answer::Rows { columns, rows } => {
                        if mode != Mode::Execute {
                            build::text_row_description(&mut out, columns.iter().map(String::as_str));
                        }
                        if !describes {
                            table(&mut out, columns.len(), rows);
                        }
                    }
                    Answer::Done(_) if describes => build::bare(&mut out, backend::NO_DATA),
                    Answer::Done(tag) => build::command_complete(&mut out, tag),
                }
            }
        }
        self.answered(out, mode);
    }

    fn answered(&mut self, mut out: Vec<u8>, mode: Mode) {
        if mode == Mode::Query {
            build::ready_for_query(&mut out, self.transaction_status());
        }
        self.tell(&out);
    }

    /// What pgconvoy answers itself came in a Query.
    pub(super) fn local_query(&mut self, local: Local, text: &[u8]) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        match local {
            Local::Table(PoolReport::Route) => return self.explain(text, Mode::Query),
            Local::Table(kind) => {
                self.report_statement("", Some(text));
                self.show(kind, Mode::Query);
            }
            Local::Command => {
                self.report_statement("", Some(text));
                self.command(text, Mode::Query);
            }
        }
        Step::Drop
    }

    pub(super) fn local_parse(&mut self, name: &[u8], summary: Summary, text: &[u8]) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        self.local_batch = true;
        let needed = summary.local.is_some_and(Local::needs_text);
        self.statements.put_local(name, summary, if needed { text } else { b"" });
        self.say(backend::PARSE_COMPLETE);
        Step::Drop
    }

    pub(super) fn local_bind(&mut self, portal: &[u8], name: &[u8], summary: Summary) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        self.local_batch = true;
        let text = self.statements.statement(name).map(|(_, known)| known.source.as_slice().into());
        let portal_of = Portal { on: Target::NONE, summary, text, ..Portal::UNTOLD };
        self.statements.put_portal(significant(portal).into(), portal_of);
        self.say(backend::BIND_COMPLETE);
        Step::Drop
    }

    pub(super) fn local_execute(&mut self, local: Local, text: &[u8]) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        match local {
            Local::Table(PoolReport::Route) => return self.explain(text, Mode::Execute),
            Local::Table(kind) => self.show(kind, Mode::Execute),
            Local::Command => self.command(text, Mode::Execute),
        }
        Step::Drop
    }

    /// Describe or Close of a statement or portal that pgconvoy answers itself.
    pub(super) fn local_named(&mut self, closes: bool, of_portal: bool, name: &[u8], local: Local) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        if closes {
            if of_portal {
                self.statements.portal_closed(name);
            } else {
                self.statements.closed(name);
            }
            self.say(backend::CLOSE_COMPLETE);
            return Step::Drop;
        }
        let kind = match local {
            Local::Table(kind) => kind,
            Local::Command => {
                let text = if of_portal {
                    self.statements.portal(name).and_then(|portal| portal.text.as_deref()).map(Vec::from)
                } else {
                    self.statements.statement(name).map(|(_, known)| known.source.clone())
                };
                self.command(&text.unwrap_or_default(), Mode::Describe { of_portal });
                return Step::Drop;
            }
        };
        let mut out = Vec::new();
        if !of_portal {
            build::message(&mut out, backend::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
        }
        build::text_row_description(&mut out, columns(kind).iter().copied());
        self.client.queue.push(out.into());
        Step::Drop
    }
}

/// The rows of a table, and their end.
fn table(out: &mut Vec<u8>, width: usize, rows: &[Vec<String>]) {
    for row in rows {
        assert!(row.len() == width, "a row of another width than its table");
        build::text_data_row(out, row.iter().map(String::as_str));
    }
    build::command_complete(out, &format!("SELECT {}", rows.len()));
}

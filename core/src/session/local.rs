//! Answers of pgconvoy's own: `SHOW pool_*`, in the simple and in the extended protocol.

use super::Session;
use super::SessionEvent;
use super::port::Target;
use super::request::Step;
use super::statements::{Portal, Prepared, Summary, significant};
use crate::sql::PoolReport;
use crate::wire::build;
use crate::wire::tag::backend;
use alloc::string::String;
use alloc::vec::Vec;

/// How an answer of pgconvoy's own was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By a Query: the description comes first and ReadyForQuery last.
    Query,
    /// By an Execute.
    Execute,
}

/// A table is being answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Showing {
    kind: PoolReport,
    mode: Mode,
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
        self.showing = Some(Showing { kind, mode });
        self.events.push_back(SessionEvent::Show(kind));
    }

    /// Answers with rows that are at hand.
    pub(super) fn answer(&mut self, kind: PoolReport, mode: Mode, rows: &[Vec<String>]) {
        self.showing = Some(Showing { kind, mode });
        self.show_rows(rows);
    }

    pub(super) fn show_rows(&mut self, rows: &[Vec<String>]) {
        let Some(Showing { kind, mode }) = self.showing.take() else { return };
        let mut out = Vec::new();
        if mode == Mode::Query {
            build::text_row_description(&mut out, columns(kind).iter().copied());
        }
        for row in rows {
            assert!(row.len() == columns(kind).len(), "a row of another width than its table");
            build::text_data_row(&mut out, row.iter().map(String::as_str));
        }
        build::command_complete(&mut out, "SELECT");
        if mode == Mode::Query {
            build::ready_for_query(&mut out, self.transaction_status());
        }
        self.tell(&out);
    }

    pub(super) fn local_parse(&mut self, name: &[u8], summary: Summary, text: &[u8]) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        self.local_batch = true;
        // What is explained is looked at when it is asked for.
        let source = if summary.local == Some(PoolReport::Route) { text.to_vec() } else { Vec::new() };
        let prepared = Prepared { on: Target::NONE, summary, naming: None, source };
        self.statements.put(significant(name).into(), prepared);
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

    pub(super) fn local_execute(&mut self, kind: PoolReport, text: &[u8]) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        if kind == PoolReport::Route {
            return self.explain(text, Mode::Execute);
        }
        self.show(kind, Mode::Execute);
        Step::Drop
    }

    /// Describe or Close of a statement or portal that pgconvoy answers itself.
    pub(super) fn local_named(&mut self, closes: bool, of_portal: bool, name: &[u8], report: PoolReport) -> Step {
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
        let mut out = Vec::new();
        if !of_portal {
            build::message(&mut out, backend::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
        }
        build::text_row_description(&mut out, columns(report).iter().copied());
        self.client.queue.push(out.into());
        Step::Drop
    }
}

//! Who says a line: a client's session, or one of the workers that pgpool-II has processes for.

use std::borrow::Cow;
use std::fmt;

use crate::config::{Level, Verbosity};

/// The application name of a client that gave none.
const UNKNOWN: &str = "[unknown]";

/// Somebody whose lines carry an application name (`%a`), a user and a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    application_name: Cow<'static, str>,
    process_name: Cow<'static, str>,
    process_id: u32,
    user: String,
    database: String,
    least: Option<Level>,
    verbosity: Option<Verbosity>,
}

/// One message with all its parts.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// How grave it is.
    pub level: Level,
    /// What happened.
    pub message: fmt::Arguments<'a>,
    /// More about it, on a line of its own.
    pub detail: Option<&'a str>,
    /// What to do, on a line of its own.
    pub hint: Option<&'a str>,
}

impl Speaker {
    /// The session of a client that has not logged in; `process_id` is what `%p` and `SHOW pool_processes` show.
    pub fn session(process_id: u32) -> Self {
        Self::worker("child", process_id)
    }

    /// A worker, by pgpool-II's name for its process: `sr_check_worker`, `pcp_main`, `health_check0` and so on.
    pub fn worker(name: impl Into<Cow<'static, str>>, process_id: u32) -> Self {
        let name = name.into();
        Self {
            application_name: name.clone(),
            process_name: name,
            process_id,
            user: String::new(),
            database: String::new(),
            least: None,
            verbosity: None,
        }
    }

    /// What it says is printed from `least` on and as `verbosity` says, whatever holds for others.
    pub fn prefer(&mut self, least: Option<Level>, verbosity: Option<Verbosity>) {
        (self.least, self.verbosity) = (least, verbosity);
    }

    /// A client has logged in.
    pub fn log_in(&mut self, application_name: Option<&str>, user: &str, database: &str) {
        self.set_application_name(application_name.unwrap_or(""));
        self.user = printable(user);
        self.database = printable(database);
    }

    /// A client has changed its application name; an empty one is none.
    pub fn set_application_name(&mut self, name: &str) {
        self.application_name = if name.is_empty() { Cow::Borrowed(UNKNOWN) } else { Cow::Owned(printable(name)) };
    }

    /// Says one line.
    pub fn say(&self, level: Level, message: fmt::Arguments<'_>) {
        self.report(Report { level, message, detail: None, hint: None });
    }

    /// Says a message with all its parts.
    pub fn report(&self, report: Report<'_>) {
        /// An event at a level of `tracing`, which must be a constant.
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    tracing::Level::$level,
                    level = report.level.as_str(),
                    application_name = self.application_name.as_ref(),
                    process_name = self.process_name.as_ref(),
                    process_id = u64::from(self.process_id),
                    user = self.user.as_str(),
                    database = self.database.as_str(),
                    least = self.least.map(Level::as_str),
                    verbosity = self.verbosity.map(Verbosity::as_str),
                    detail = report.detail,
                    hint = report.hint,
                    "{}",
                    report.message
                )
            };
        }
        match report.level {
            Level::Debug5 | Level::Debug4 => event!(TRACE),
            Level::Debug3 | Level::Debug2 | Level::Debug1 => event!(DEBUG),
            Level::Info | Level::Notice | Level::Log => event!(INFO),
            Level::Warning => event!(WARN),
            Level::Error | Level::Fatal | Level::Panic => event!(ERROR),
        }
    }

    /// `log_per_node_statement`: a statement goes to a node.
    ///
    /// With blank-separated fields and a prefix like `%m: %a pid %p: ` the number of the node is the tenth.
    pub fn node_statement(&self, node: u16, backend_process_id: u32, statement: &str) {
        let message = format_args!("DB node id: {node} backend pid: {backend_process_id} statement: {statement}");
        self.say(Level::Log, message);
    }
}

/// `notice_per_node_statement`: the text of the notice that tells a client to which node its statement goes.
pub fn node_statement_notice(node: u16, statement: &str) -> String {
    format!("DB node id: {node} statement: {statement}")
}

/// A name without control characters, so that it cannot pass for another line.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

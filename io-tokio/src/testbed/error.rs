//! What can go wrong while PostgreSQL is found, made, started or asked, told with what was run and what it printed.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Why a testbed could not do what it was asked.
#[derive(thiserror::Error)]
pub enum TestbedError {
    /// No usable PostgreSQL, and none could be got.
    #[error("no PostgreSQL server was found or could be installed; tried in this order:\n{}", .tried.join("\n"))]
    NoPostgres {
        /// One line for each place that was looked at, with what was missing there.
        tried: Vec<String>,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// All that it printed, both streams.
        output: String,
    },
    /// A server ended while it was starting.
    #[error("node {node} ended while starting ({status}); the end of its log:\n{log}")]
    Start {
        /// The node's number.
        node: usize,
        /// How the postmaster ended.
        status: String,
        /// The last lines of the server's log.
        log: String,
    },
    /// Something did not happen in its time.
    #[error("{what} did not happen within {limit:?}; {seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// What was seen instead.
        seen: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path or the program.
        what: String,
        /// The system's own answer.
        source: io::Error,
    },
    /// The options, or the state of the testbed, do not allow this.
    #[error("{0}")]
    Refused(String),
}

impl TestbedError {
    /// Wraps what the system said about `action` on `path`.
    pub(super) fn io(action: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("{action} {}", path.display()), source }
    }
}

impl fmt::Debug for TestbedError {
    /// The message itself, in lines as it was printed: this is what a test that unwraps shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Runs `command` to its end without a standard input; returns what it printed on standard output.
pub(super) fn run(command: &mut Command) -> Result<String, TestbedError> {
    run_on(Stdio::null(), command)
}

/// Runs `command` to its end on `input`; returns what it printed on standard output.
pub(super) fn run_on(input: Stdio, command: &mut Command) -> Result<String, TestbedError> {
    let output = command
        .stdin(input)
        .output()
        .map_err(|source| TestbedError::Io { what: format!("running `{}`", described(command)), source })?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(TestbedError::Command {
        command: described(command),
        status: output.status.to_string(),
        output: printed + &String::from_utf8_lossy(&output.stderr),
    })
}

/// A command `program` that sees none of libpq's variables of the caller (`PGHOST`, `PGDATA`, ...).
pub(super) fn without_libpq_variables(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG") && !name.starts_with("PGCONVOY")) {
            command.env_remove(name);
        }
    }
    command
}

/// The program and its arguments as one would type them; of a script its first words.
fn described(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let first_line = |word: &OsStr| word.to_string_lossy().trim_start().lines().next().unwrap_or_default().to_owned();
    words.map(first_line).collect::<Vec<_>>().join(" ")
}

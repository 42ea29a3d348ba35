//! The life of the server around what it serves: configuration, log, pid file, and leaving the terminal.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::daemon::{self, Child};
use super::pidfile::{self, PidFile};
use super::signals;
use crate::config::{Config, Diagnostic, Loaded};
use crate::log::Log;
use crate::server::{self, PGPOOL_VERSION, ServerError};

/// How the server was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether to leave the terminal.
    pub detach: bool,
    /// Whether this process is the child that has left it: [`daemon::CHILD_FLAG`] was given.
    pub is_child: bool,
    /// Whether debug messages are wanted whatever the configuration says.
    pub debug: bool,
    /// Remarks on the command line, to be logged as warnings.
    pub remarks: Vec<String>,
}

/// Why the server ended badly.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    PidFile(#[from] pidfile::Error),
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Runs the server until it ends, and gives the exit code of the process.
///
/// What goes wrong before there is a log is written to stderr.
pub fn serve(options: &Options) -> ExitCode {
    if options.detach && !options.is_child {
        return daemon::start().unwrap_or_else(|error| {
            complain(format_args!("could not leave the terminal: {error}"));
            ExitCode::FAILURE
        });
    }
    let Loaded { config, warnings, .. } = match Config::load(&options.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            findings.iter().map(Diagnostic::render).for_each(|finding| complain(format_args!("{finding}\n")));
            return ExitCode::FAILURE;
        }
    };
    let config = if options.debug { config.debugging() } else { config };
    let log = match Log::install(&config.logging) {
        Ok(log) => Arc::new(log),
        Err(error) => {
            complain(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    for remark in options.remarks.iter().cloned().chain(warnings.iter().map(Diagnostic::to_string)) {
        tracing::warn!("{remark}");
    }
    let ended = serve_with(options, &config, &log);
    if let Err(error) = &ended {
        tracing::error!(level = "fatal", "{error}");
    }
    log.flush();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve_with(options: &Options, config: &Config, log: &Arc<Log>) -> Result<(), Error> {
    let child = options.is_child.then(Child::new).transpose()?;
    // A signal that comes before the server is ready waits for it, and the pid file is removed in the end.
    let commands = signals::commands()?;
    let _pid_file = PidFile::create(config.files.pid_file_name.as_ref())?;
    let ready = || {
        let version = concat!("(pgconvoy ", env!("CARGO_PKG_VERSION"), ")");
        tracing::info!("pgpool-II successfully started. version {PGPOOL_VERSION} {version}");
        if let Some(child) = child
            && let Err(error) = child.ready()
        {
            tracing::warn!("could not let go of the terminal: {error}");
        }
    };
    server::run(config, Some(Arc::clone(log)), commands, ready)?;
    tracing::info!("Pgpool-II system is shutdown");
    Ok(())
}

/// Writes to stderr, which may be gone.
fn complain(message: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stderr(), "{message}"));
}

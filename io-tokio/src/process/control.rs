//! `stop` and `reload`: commands to a running server, found by its pid file or its command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Pid;

use super::pidfile::{remove_stale, running, running_with};
use super::signals::{Process, Request};
use crate::config::{Config, Diagnostic, Loaded, Severity};
use crate::log::{AlreadyInstalled, Log};
use crate::server::StopMode;

/// One dot of progress stands for so much waiting.
const DOT: Duration = Duration::from_secs(1);

/// Why a server cannot be told something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read.
    #[error("{0}")]
    Config(Box<Diagnostic>),
    /// The configuration file has errors, which the server would find too.
    #[error("the configuration has errors, and the server was not told to read it:\n{}", rendered(.0))]
    Mistakes(Vec<Diagnostic>),
    /// There is no pid file; worded as pgpool-II words it.
    #[error("could not read pid file {path}: {error}")]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The process of the pid file is gone.
    #[error("no server is running: the process that pid file {} names is gone{}", .path.display(),
        if *.removed { ", and the file is removed" } else { "" })]
    Gone {
        /// The file.
        path: PathBuf,
        /// Whether the file was removed.
        removed: bool,
    },
    /// The system does not let us.
    #[error("could not send a signal to process {pid}: {error}")]
    Signal {
        /// The process.
        pid: i32,
        /// What the system says.
        error: io::Error,
    },
    /// There is a log already.
    #[error(transparent)]
    Log(#[from] AlreadyInstalled),
}

impl Error {
    /// The exit code: pgpool-II's `stop` ends with 3 when there is no server to stop.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::PidFile { .. } | Self::Gone { .. } => ExitCode::from(3),
            Self::Config(_) | Self::Mistakes(_) | Self::Signal { .. } | Self::Log(_) => ExitCode::FAILURE,
        }
    }

    /// Removes the pid file of a server that is gone.
    fn clean_up(self) -> Self {
        match self {
            Self::Gone { path, .. } => Self::Gone { removed: remove_stale(&path).unwrap_or(false), path },
            other => other,
        }
    }
}

/// The errors among some findings, each with the lines that it is about.
fn rendered(findings: &[Diagnostic]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(Diagnostic::render).collect::<Vec<_>>().join("\n\n")
}

/// Stops the server of a configuration file, and waits until its process has ended. Progress goes to stderr.
///
/// # Errors
/// If there is no server, or it cannot be told.
pub fn stop(config: &Path, mode: StopMode) -> Result<(), Error> {
    let essentials = Config::essentials(config).map_err(|finding| Error::Config(Box::new(finding)))?;
    let log = Log::install(&essentials.logging)?;
    let (pid, server) = find(config, essentials.files.pid_file_name.as_ref()).map_err(Error::clean_up)?;
    let number = pid.as_raw_pid();
    let signal_error = |error| Error::Signal { pid: number, error };
    server.send(Request::Stop(mode)).map_err(signal_error)?;
    tracing::info!("stop request sent to pgpool (pid: {number}). waiting for termination...");
    log.flush();
    // Progress that nobody can read is not worth failing for.
    let show = |text: &str| drop(io::stderr().write_all(text.as_bytes()));
    while !server.wait(DOT).map_err(signal_error)? {
        show(".");
    }
    show("done.\n");
    Ok(())
}

/// Tells the server of a configuration file to read it again, and does not wait for that.
///
/// # Errors
/// If the file has errors, there is no server, or it cannot be told.
pub fn reload(config: &Path) -> Result<(), Error> {
    let Loaded { config: loaded, .. } = Config::load(config).map_err(Error::Mistakes)?;
    let (pid, server) = find(config, loaded.files.pid_file_name.as_ref())?;
    server.send(Request::Reload).map_err(|error| Error::Signal { pid: pid.as_raw_pid(), error })
}

/// Finds the server by the pid file that its configuration names; or, because the file may have named another one when
/// it started, among the processes.
fn find(config: &Path, pid_file: &Path) -> Result<(Pid, Process), Error> {
    let gone = || Error::Gone { path: pid_file.to_owned(), removed: false };
    let read_error = |error| Error::PidFile { path: pid_file.to_owned(), error };
    let look = || match running(pid_file) {
        Ok(Some(pid)) => Ok(pid),
        Ok(None) => running_with(config).ok_or_else(gone),
        Err(error) => running_with(config).ok_or_else(|| read_error(error)),
    };
    let pid = look()?;
    let server = Process::open(pid).map_err(|_| gone())?;
    // Between the two looks the process may have ended and its number come to another one: the handle would be that
    // one's. If the second look sees a server, the handle was opened while it lived.
    if look()? != pid {
        return Err(gone());
    }
    Ok((pid, server))
}

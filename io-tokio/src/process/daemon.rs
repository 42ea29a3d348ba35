//! Leaving the terminal: the server goes on as a child in a session of its own, once it listens.
//!
//! The program starts itself again with one more argument, [`CHILD_FLAG`], and waits. The child inherits stderr, so
//! that what goes wrong is seen at the terminal; its stdout is a pipe on which it tells that it listens. Then it lets
//! go of all three, and the waiting parent ends with success; if the child ends first, the parent ends as the child did.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The argument by which the program knows that it is the child.
pub const CHILD_FLAG: &str = "--detached-child";

/// What the child says once it listens.
const READY: &[u8] = b"ready\n";

/// Starts the child and waits until it listens or ends; gives the exit code for this process.
///
/// # Errors
/// If the child cannot be started.
pub fn start() -> io::Result<ExitCode> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut child = Command::new(std::env::current_exe()?)
        .arg0(name)
        .args(arguments)
        .arg(CHILD_FLAG)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        // Reading ends when the child lets go of its stdout: because it listens, or because it has ended.
        stdout.read_to_end(&mut said)?;
    }
    if said.ends_with(READY) {
        return Ok(ExitCode::SUCCESS);
    }
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(match code {
        Some(0) | None => ExitCode::FAILURE,
        Some(code) => ExitCode::from(code),
    })
}

/// The child, which its parent waits for.
#[derive(Debug)]
#[must_use = "the parent waits until the child is ready"]
pub struct Child(());

impl Child {
    /// Makes a session without a terminal for this process, which [`start`] has made; to be called in its first thread.
    ///
    /// The system lists the process under the name that the program was called by, as it lists the parent.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> io::Result<Self> {
        rustix::process::setsid()?;
        let called = std::env::args_os().next().unwrap_or_default();
        if let Some(name) = Path::new(&called).file_name().and_then(|name| CString::new(name.as_bytes()).ok()) {
            rustix::thread::set_name(&name)?;
        }
        Ok(Self(()))
    }

    /// Tells the parent that the server listens, and lets go of the terminal.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn ready(self) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        // A parent that was killed meanwhile is no reason to give up.
        let mut stdout = io::stdout().lock();
        drop(stdout.write_all(READY).and_then(|()| stdout.flush()));
        drop(stdout);
        rustix::stdio::dup2_stderr(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        Ok(())
    }
}

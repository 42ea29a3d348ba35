//! The pid file: tells tools which process is the server, and keeps a second one from starting.
//!
//! The file holds the process id in decimal digits and a NUL byte, as pgpool-II writes it. The server keeps it locked
//! for as long as it lives, so that a file left behind by a crash is recognised even if its number is in use again.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::DEFAULT_CONFIG;

/// A pid file longer than this is none.
const MAX_BYTES: u64 = 64;

/// The pid file of this process. It is removed when it is dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened or written; worded as pgpool-II words it.
    #[error("could not open pid file as {path}. reason: {error}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Its server is alive.
    #[error("a server is running already: pid file {path} belongs to the live process {pid}")]
    InUse {
        /// The file.
        path: PathBuf,
        /// The process.
        pid: i32,
    },
    /// Another server is about to start with it.
    #[error("another server is just starting with pid file {0}")]
    Starting(PathBuf),
}

impl PidFile {
    /// Writes the file for this process, in place of one whose process is gone.
    ///
    /// # Errors
    /// If the file belongs to a live server, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let open_error = |error| Error::Open { path: path.to_owned(), error };
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(open_error)?;
            let recorded = pid_in(&mut file);
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(match recorded {
                        Some(pid) => Error::InUse { path: path.to_owned(), pid: pid.as_raw_pid() },
                        None => Error::Starting(path.to_owned()),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(open_error(error)),
            }
            // The server that held the lock may have removed the file while we opened it.
            if !is_at(&file, path) {
                continue;
            }
            // pgpool-II itself takes no lock.
            if let Some(pid) = recorded.filter(|pid| is_pgpool(*pid)) {
                return Err(Error::InUse { path: path.to_owned(), pid: pid.as_raw_pid() });
            }
            write_pid(&mut file).map_err(open_error)?;
            return Ok(Self { path: path.to_owned(), file });
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Removed under the lock: the name then belongs to this process, unless somebody else has removed it.
        if is_at(&self.file, &self.path)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("could not remove pid file {}: {error}", self.path.display());
        }
    }
}

/// The process that a pid file names, if that process is alive and a server.
///
/// # Errors
/// If the file cannot be read.
pub fn running(path: &Path) -> io::Result<Option<Pid>> {
    let mut file = File::open(path)?;
    Ok(pid_in(&mut file).filter(|pid| is_server(*pid)))
}

/// The server that was started with a configuration file, wherever its pid file is: the file may name another one now.
pub fn running_with(config: &Path) -> Option<Pid> {
    let config = std::fs::canonicalize(config).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let number: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(number)
    });
    let mut servers = processes.filter(|pid| is_server(*pid) && holds_pid_file(*pid));
    servers.find(|pid| config_of(*pid).is_some_and(|its| its == config))
}

/// Removes a pid file whose server is gone; false if it belongs to somebody after all.
///
/// # Errors
/// If the file cannot be opened, locked or removed.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    // Under the lock no server can begin to use it.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let stale = is_at(&file, path) && pid_in(&mut file).is_none_or(|pid| !is_server(pid));
    if stale {
        std::fs::remove_file(path)?;
    }
    Ok(stale)
}

/// The number at the beginning of a pid file.
fn pid_in(file: &mut File) -> Option<Pid> {
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number: i32 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Pid::from_raw(number)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\0", std::process::id()).as_bytes())
}

/// Whether an open file is still the one that a path names.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Whether a process is pgpool-II, and not this program under its name.
fn is_pgpool(pid: Pid) -> bool {
    let is_own_program = match (executable(pid), std::env::current_exe()) {
        (Some(theirs), Ok(ours)) => theirs.file_name() == ours.file_name(),
        _ => false,
    };
    command_name(pid).as_deref() == Some("pgpool") && !is_own_program
}

/// Whether a process is a server of this or of pgpool-II's program.
fn is_server(pid: Pid) -> bool {
    let own_name = Pid::from_raw(std::process::id().cast_signed()).and_then(command_name);
    let name = command_name(pid);
    name.is_some() && (name == own_name || matches!(name.as_deref(), Some("pgpool" | "pgconvoy")))
}

/// Whether a process has a file open that names it, as a server has for as long as it lives.
fn holds_pid_file(pid: Pid) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())) else { return false };
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).any(|path| {
        let is_file = std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
        is_file && File::open(&path).is_ok_and(|mut file| pid_in(&mut file) == Some(pid))
    })
}

/// The configuration file that a server was started with.
fn config_of(pid: Pid) -> Option<PathBuf> {
    let folder = std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_pid())).ok()?;
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    let mut named = None;
    while let Some(word) = words.next() {
        if word == b"-f" || word == b"--config-file" {
            named = words.next().or(named);
        } else if let Some(path) = word.strip_prefix(b"--config-file=").or_else(|| word.strip_prefix(b"-f")) {
            named = Some(path);
        }
    }
    let named = named.map_or(OsStr::new(DEFAULT_CONFIG), OsStr::from_bytes);
    std::fs::canonicalize(folder.join(named)).ok()
}

/// The name under which the system lists a process; none if there is no such process, or if it has ended and its parent
/// has not asked how (a zombie).
fn command_name(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // "17 (name) S ...": the name itself may have brackets in it.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    (!rest.trim_start().starts_with(['Z', 'X'])).then(|| name.to_owned())
}

fn executable(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_pid())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_digits_and_a_nul_byte_and_goes_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpool.pid");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), format!("{}\0", std::process::id()).into_bytes());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_server_is_refused_while_the_first_one_lives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpool.pid");
        let first = PidFile::create(&path).unwrap();
        let refused = PidFile::create(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("the live process {}", std::process::id())), "{refused}");
        assert!(path.exists(), "a refused start leaves the file alone");
        drop(first);
        PidFile::create(&path).unwrap();
    }

    #[test]
    fn a_file_left_by_a_crash_is_replaced_whatever_process_has_its_number_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpool.pid");
        // Process 1 is alive, and is no server; the second number is beyond what Linux gives out; then rubbish.
        for left in ["1\0", "4194305\n", "", "rubbish"] {
            std::fs::write(&path, left).unwrap();
            drop(PidFile::create(&path).unwrap());
        }
    }

    #[test]
    fn a_missing_directory_is_reported_as_pgpool_does() {
        let error = PidFile::create(Path::new("/nonexistent/pgpool.pid")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not open pid file as /nonexistent/pgpool.pid. reason: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_zombie_is_no_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpool.pid");
        // The test program's own file under another name, so that the system lists both alike.
        let ours = std::env::current_exe().unwrap();
        let mut child =
            std::process::Command::new(ours).arg("--list").stdout(std::process::Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        std::fs::write(&path, format!("{}\0", child.id())).unwrap();
        let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).unwrap();
        assert_eq!(running(&path).unwrap(), None);
        assert!(remove_stale(&path).unwrap());
        assert!(!path.exists());
        child.wait().unwrap();
    }

    #[test]
    fn the_file_of_a_live_server_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpool.pid");
        let _held = PidFile::create(&path).unwrap();
        assert!(!remove_stale(&path).unwrap());
        assert!(path.exists());
    }

    #[test]
    fn only_a_live_server_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpool.pid");
        assert_eq!(running(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "1\0").unwrap();
        assert_eq!(running(&path).unwrap(), None);
        let _held = PidFile::create(&path).unwrap();
        assert_eq!(running(&path).unwrap().map(Pid::as_raw_pid), Some(std::process::id().cast_signed()));
    }
}

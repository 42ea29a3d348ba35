//! One PostgreSQL server of a testbed: its folder, its configuration, its life.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::account::Account;
use super::error::{run, run_on, without_libpq_variables};
use super::port::Port;
use super::{StopMode, TestbedError};

/// How long a server may take to accept connections, or to be gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a server that starts or ends is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How much of a log's end an error quotes, bytes.
const LOG_TAIL: usize = 4096;

/// A PostgreSQL server of a testbed; it listens on 127.0.0.1 and on a socket in [`Node::socket_dir`].
#[derive(Debug)]
pub struct Node {
    number: usize,
    port: Port,
    folder: PathBuf,
    data_dir: PathBuf,
    log_path: PathBuf,
    postmaster: Mutex<Option<Child>>,
}

impl Node {
    /// A node that is not made yet, at home in `testbed/node<number>`.
    pub(super) fn new(number: usize, testbed: &Path) -> Result<Self, TestbedError> {
        let folder = testbed.join(format!("node{number}"));
        Ok(Self {
            number,
            port: Port::claim()?,
            data_dir: folder.join("data"),
            log_path: folder.join("log"),
            folder,
            postmaster: Mutex::new(None),
        })
    }

    /// Its number: 0 is the first primary.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The address it listens on.
    pub const fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port it listens on, also the number of its Unix socket. It stays the same over restarts.
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// PGDATA.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the server writes to its standard error; lines start with time, process id, user@database, application and SQLSTATE.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The folder of its Unix socket, shared by all nodes of a testbed.
    pub fn socket_dir(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// The postmaster's process id while it runs.
    pub fn postmaster_pid(&self) -> Option<u32> {
        self.lock().as_mut().and_then(|child| matches!(child.try_wait(), Ok(None)).then(|| child.id()))
    }

    /// Makes its home and gives it to `account`.
    pub(super) fn make_home(&self, account: &Account) -> Result<(), TestbedError> {
        fs::create_dir(&self.folder).map_err(|source| TestbedError::io("making", &self.folder, source))?;
        account.own(&self.folder)
    }

    /// Adds lines to one of its configuration files.
    pub(super) fn append(&self, file: &str, lines: &str) -> Result<(), TestbedError> {
        let path = self.data_dir.join(file);
        let failed = |source| TestbedError::io("writing", &path, source);
        let mut file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        file.write_all(lines.as_bytes()).map_err(failed)
    }

    /// Starts the postmaster without waiting for it.
    pub(super) fn launch(&self, bin_dir: &Path, account: &Account) -> Result<(), TestbedError> {
        let mut postmaster = self.lock();
        if let Some(child) = postmaster.as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return Err(TestbedError::Refused(format!("node {} runs already", self.number)));
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log_path);
        let log = log.map_err(|source| TestbedError::io("opening", &self.log_path, source))?;
        let program = bin_dir.join("postgres");
        let mut command = without_libpq_variables(program.clone());
        command.arg("-D").arg(&self.data_dir);
        account.applied(&mut command, &self.folder);
        // In a process group of its own: Ctrl-C in a terminal is for whoever made the testbed.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        *postmaster = Some(command.spawn().map_err(|source| TestbedError::io("running", &program, source))?);
        Ok(())
    }

    /// Waits until the server that was launched accepts connections.
    pub(super) fn wait_ready(&self) -> Result<(), TestbedError> {
        let begun = Instant::now();
        loop {
            if let Some(child) = self.lock().as_mut() {
                let status =
                    child.try_wait().map_err(|source| TestbedError::io("waiting for", &self.folder, source))?;
                if let Some(status) = status {
                    return Err(TestbedError::Start {
                        node: self.number,
                        status: status.to_string(),
                        log: self.log_tail(),
                    });
                }
                if self.reports_ready(child.id()) {
                    return Ok(());
                }
            }
            if begun.elapsed() > PATIENCE {
                let what = format!("the start of node {}", self.number);
                return Err(TestbedError::Timeout { what, limit: PATIENCE, seen: self.log_tail() });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends the server in one of PostgreSQL's own ways and waits for it.
    pub(super) fn stop(&self, bin_dir: &Path, account: &Account, mode: StopMode) -> Result<(), TestbedError> {
        let mut command = without_libpq_variables(bin_dir.join("pg_ctl"));
        command.args(["stop", "--wait", "--mode", mode.name(), "-D"]).arg(&self.data_dir);
        run(account.applied(&mut command, &self.folder))?;
        self.reap();
        Ok(())
    }

    /// Kills the postmaster and waits until the last of its children has noticed and is gone.
    pub(super) fn kill(&self) -> Result<(), TestbedError> {
        match self.lock().as_mut() {
            Some(child) => {
                child.kill().map_err(|source| TestbedError::io("killing the postmaster of", &self.folder, source))?
            }
            None => return Err(TestbedError::Refused(format!("node {} does not run", self.number))),
        }
        self.reap();
        let begun = Instant::now();
        loop {
            let left = processes_in(&self.data_dir)?;
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let what = format!("the end of all processes of node {}", self.number);
                return Err(TestbedError::Timeout {
                    what,
                    limit: PATIENCE,
                    seen: format!("processes {left:?} are left"),
                });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Collects the postmaster, which is about to end.
    pub(super) fn reap(&self) {
        if let Some(mut child) = self.lock().take() {
            // It is our child and nobody else waits for it: there is no failure to report.
            let _ = child.wait();
        }
    }

    /// Whether the pid file, which lives longer than a killed server, is that of process `pid` and says `ready`.
    fn reports_ready(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.data_dir.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let own = lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid);
        own && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// The last lines of the log.
    fn log_tail(&self) -> String {
        let log = fs::read(&self.log_path).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned()
    }

    /// The state stays usable after a panic elsewhere: it is one handle.
    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes an empty database cluster for `node` with `superuser`.
pub(super) fn initialise(bin_dir: &Path, account: &Account, node: &Node, superuser: &str) -> Result<(), TestbedError> {
    let mut command = without_libpq_variables(bin_dir.join("initdb"));
    command.args(["--no-sync", "--encoding=UTF8", "--no-locale", "--auth=trust", "--username", superuser]);
    command.arg("-D").arg(&node.data_dir);
    run(account.applied(&mut command, &node.folder)).map(drop)
}

/// Runs `statements`, one a line, in the cluster of `node` while no server runs there.
///
/// The configuration takes effect, so that a copy made afterwards starts as a standby with the same limits.
pub(super) fn single_user(
    bin_dir: &Path,
    account: &Account,
    node: &Node,
    statements: &str,
) -> Result<(), TestbedError> {
    let path = node.folder.join("statements.sql");
    let failed = |source| TestbedError::io("writing", &path, source);
    fs::write(&path, statements).map_err(failed)?;
    let input = File::open(&path).map_err(failed)?;
    let mut command = without_libpq_variables(bin_dir.join("postgres"));
    command.args(["--single", "-c", "exit_on_error=on", "-D"]).arg(&node.data_dir).arg("postgres");
    run_on(Stdio::from(input), account.applied(&mut command, &node.folder))?;
    fs::remove_file(&path).map_err(|source| TestbedError::io("removing", &path, source))
}

/// Makes the cluster of `standby` a copy of the one of `primary`, which must not run.
pub(super) fn copy(account: &Account, primary: &Node, standby: &Node) -> Result<(), TestbedError> {
    let mut command = Command::new("cp");
    command.args(["--archive", "--reflink=auto"]).arg(&primary.data_dir).arg(&standby.data_dir);
    run(account.applied(&mut command, &standby.folder)).map(drop)
}

/// The processes whose working directory is `folder`: a postmaster and all its children, even when it is gone.
fn processes_in(folder: &Path) -> Result<Vec<u32>, TestbedError> {
    let processes = fs::read_dir("/proc").map_err(|source| TestbedError::io("reading", Path::new("/proc"), source))?;
    let in_folder = |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory == folder);
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter(in_folder).collect())
}

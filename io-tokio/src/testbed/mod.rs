//! Real PostgreSQL for tests, benches and the demo: a primary and its streaming standbys in a folder of their own.
//!
//! It finds or gets PostgreSQL (`locate`), drops from root to another account (`account`), takes ports that stay its own
//! (`port`), makes and runs the servers (`node`), and leaves no process and no folder behind, however its maker ends
//! (`keeper`). All calls block. It knows nothing of pgconvoy itself.

mod account;
mod error;
mod keeper;
mod locate;
mod node;
mod port;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use account::Account;
use error::{run, without_libpq_variables};
use keeper::Keeper;

pub use error::TestbedError;
pub use locate::BIN_DIR_VARIABLE;
pub use node::Node;
pub use port::Port;

/// The superuser of every testbed; its database has the same name.
pub const SUPERUSER: &str = "postgres";
/// The superuser's password.
pub const SUPERUSER_PASSWORD: &str = "postgres-secret";
/// An ordinary user; it owns the database of the same name.
pub const USER: &str = "app";
/// The ordinary user's password.
pub const USER_PASSWORD: &str = "app-secret";

/// How long standbys may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How often a standby is asked how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// `sun_path` holds 107 bytes and an end; a socket's own name takes up to `/.s.PGSQL.65535.lock`.
const LONGEST_SOCKET_FOLDER: usize = 107 - 20;

/// How the servers ask for a password, in `pg_hba.conf`'s words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hba {
    /// Not at all.
    #[default]
    Trust,
    /// In clear text.
    Password,
    /// By MD5 challenge; passwords are stored as MD5.
    Md5,
    /// By SCRAM-SHA-256.
    Scram,
}

impl Hba {
    /// The method's name in `pg_hba.conf`.
    const fn method(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
        }
    }

    /// The value of `password_encryption` that fits.
    const fn encryption(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Trust | Self::Password | Self::Scram => "scram-sha-256",
        }
    }
}

/// PostgreSQL's ways to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for the clients to leave.
    Smart,
    /// Ends the clients' sessions.
    Fast,
    /// Ends at once and recovers at the next start.
    Immediate,
}

impl StopMode {
    /// The mode's name for `pg_ctl`.
    const fn name(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// What a testbed is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Streaming standbys beside the primary.
    pub standbys: usize,
    /// How all servers ask for a password.
    pub hba: Hba,
    /// `max_connections` of every server.
    pub max_connections: u32,
    /// More lines of `postgresql.conf` for every server; the last value of a name counts.
    pub settings: Vec<(String, String)>,
    /// Leaves the folder, with the servers stopped, when the testbed ends.
    pub keep: bool,
    /// The folder to make, which must not exist. By default a new one below the system's folder for temporary files.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    /// One server without standbys or passwords, 100 connections.
    fn default() -> Self {
        Self { standbys: 0, hba: Hba::Trust, max_connections: 100, settings: Vec::new(), keep: false, dir: None }
    }
}

/// A primary (node 0) and its standbys. Dropping it ends the servers and removes the folder.
///
/// Another server may join them: one whose working directory is the testbed's folder, with a pid file there called
/// `*.pid`. It is ended together with them, by SIGQUIT, or by SIGINT where the folder is kept.
#[derive(Debug)]
pub struct Testbed {
    nodes: Vec<Node>,
    bin_dir: PathBuf,
    account: Account,
    folder: PathBuf,
    keeper: Keeper,
}

impl Testbed {
    /// Makes the servers and waits until all accept connections and the standbys have what the primary has.
    ///
    /// # Errors
    /// Whatever stands in the way, with what was run and what it printed; nothing is left behind then.
    pub fn start(options: Options) -> Result<Self, TestbedError> {
        let bin_dir = locate::postgres()?;
        let account = Account::choose()?;
        let folder = make_folder(options.dir.as_deref(), &account)?;
        let keeper = Keeper::watch(&folder, options.keep)?;
        let mut testbed = Self { nodes: Vec::new(), bin_dir, account, folder, keeper };
        testbed.account.own(&testbed.folder)?;
        for number in 0..=options.standbys {
            let node = Node::new(number, &testbed.folder)?;
            node.make_home(&testbed.account)?;
            testbed.nodes.push(node);
        }
        testbed.make_clusters(&options)?;
        for node in &testbed.nodes {
            node.launch(&testbed.bin_dir, &testbed.account)?;
        }
        for node in &testbed.nodes {
            node.wait_ready()?;
        }
        testbed.wait_standbys_caught_up()?;
        Ok(testbed)
    }

    /// Node `number`; 0 is the primary.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// All nodes, the primary first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The folder of PostgreSQL's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The folder that holds everything; also that of the Unix sockets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the superuser's `sql` on node `number` returns: unaligned rows without headings, `|` between columns.
    pub fn psql(&self, number: usize, sql: &str) -> Result<String, TestbedError> {
        let node = self.node(number);
        let mut psql = without_libpq_variables(self.bin_dir.join("psql"));
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--host", node.host(), "--port", &node.port().to_string()])
            .args(["--username", SUPERUSER, "--dbname", SUPERUSER, "--command", sql])
            .env("PGPASSWORD", SUPERUSER_PASSWORD);
        run(&mut psql).map(|rows| rows.trim_end().to_owned())
    }

    /// Ends node `number` in one of PostgreSQL's own ways.
    pub fn stop_node(&self, number: usize, mode: StopMode) -> Result<(), TestbedError> {
        self.node(number).stop(&self.bin_dir, &self.account, mode)
    }

    /// Kills the postmaster of node `number` with SIGKILL; returns when all its children are gone too.
    pub fn kill_node(&self, number: usize) -> Result<(), TestbedError> {
        self.node(number).kill()
    }

    /// Starts node `number` again, on the same port, and waits until it accepts connections.
    pub fn start_node(&self, number: usize) -> Result<(), TestbedError> {
        let node = self.node(number);
        node.launch(&self.bin_dir, &self.account)?;
        node.wait_ready()
    }

    /// Waits until every running standby has replayed all that the primary has committed by now.
    pub fn wait_standbys_caught_up(&self) -> Result<(), TestbedError> {
        let lsn = self.psql(0, "SELECT pg_current_wal_flush_lsn()")?;
        let begun = Instant::now();
        for standby in self.nodes.iter().skip(1).filter(|node| node.postmaster_pid().is_some()) {
            let question = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}', pg_last_wal_replay_lsn()");
            loop {
                let answer = self.psql(standby.number(), &question)?;
                if answer.starts_with('t') {
                    break;
                }
                if begun.elapsed() > CATCH_UP {
                    let what = format!("the replay of {lsn} on node {}", standby.number());
                    return Err(TestbedError::Timeout { what, limit: CATCH_UP, seen: answer });
                }
                std::thread::sleep(ASK_AGAIN);
            }
        }
        Ok(())
    }

    /// Makes the primary's cluster, and the standbys' as copies of it.
    fn make_clusters(&self, options: &Options) -> Result<(), TestbedError> {
        let Some((primary, standbys)) = self.nodes.split_first() else {
            return Err(TestbedError::Refused("a testbed has at least one node".to_owned()));
        };
        node::initialise(&self.bin_dir, &self.account, primary, SUPERUSER)?;
        let hba = primary.data_dir().join("pg_hba.conf");
        std::fs::write(&hba, hba_lines(options.hba)).map_err(|source| TestbedError::io("writing", &hba, source))?;
        primary.append("postgresql.conf", &common_settings(&self.folder, options))?;
        let roles = format!(
            "ALTER ROLE {SUPERUSER} PASSWORD '{SUPERUSER_PASSWORD}'\n\
             CREATE ROLE {USER} LOGIN PASSWORD '{USER_PASSWORD}'\n\
             CREATE DATABASE {USER} OWNER {USER}\n"
        );
        node::single_user(&self.bin_dir, &self.account, primary, &roles)?;
        for standby in standbys {
            node::copy(&self.account, primary, standby)?;
            let signal = standby.data_dir().join("standby.signal");
            std::fs::write(&signal, "").map_err(|source| TestbedError::io("writing", &signal, source))?;
            self.account.own(&signal)?;
            let source = format!(
                "host={} port={} user={SUPERUSER} password={SUPERUSER_PASSWORD} application_name=node{}",
                primary.host(),
                primary.port(),
                standby.number()
            );
            standby.append("postgresql.conf", &setting("primary_conninfo", &source))?;
        }
        self.nodes
            .iter()
            .try_for_each(|node| node.append("postgresql.conf", &setting("port", &node.port().to_string())))
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.keeper.finish();
        self.nodes.iter().for_each(Node::reap);
    }
}

/// Makes the testbed's folder, private to its account; its canonical path.
fn make_folder(wanted: Option<&Path>, account: &Account) -> Result<PathBuf, TestbedError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
    let made = loop {
        let path = wanted.map_or_else(
            || {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                account.temporary_folder().join(format!("pgconvoy-{}-{count}", std::process::id()))
            },
            Path::to_path_buf,
        );
        match private(&path) {
            Ok(()) => break path,
            // Left by a process that had our id before.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && wanted.is_none() => {}
            Err(source) => return Err(TestbedError::io("making", &path, source)),
        }
    };
    let folder = made.canonicalize().map_err(|source| TestbedError::io("resolving", &made, source))?;
    if folder.as_os_str().len() > LONGEST_SOCKET_FOLDER {
        std::fs::remove_dir(&folder).map_err(|source| TestbedError::io("removing", &folder, source))?;
        let too_long = format!("{} is too long a path to hold Unix sockets", folder.display());
        return Err(TestbedError::Refused(too_long));
    }
    Ok(folder)
}

/// `pg_hba.conf`: one method for every way in.
fn hba_lines(hba: Hba) -> String {
    let method = hba.method();
    let ways =
        ["local all all", "host all all 127.0.0.1/32", "local replication all", "host replication all 127.0.0.1/32"];
    ways.map(|way| format!("{way} {method}\n")).concat()
}

/// What every server's `postgresql.conf` says: nothing must survive a power cut, and standbys come back quickly.
fn common_settings(socket_folder: &Path, options: &Options) -> String {
    let max_connections = options.max_connections.to_string();
    let socket_folder = socket_folder.to_string_lossy();
    let mut lines: String = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", &socket_folder),
        ("max_connections", &max_connections),
        ("password_encryption", options.hba.encryption()),
        ("fsync", "off"),
        // Files in the data folder, which go away with it even when the server is killed.
        ("dynamic_shared_memory_type", "mmap"),
        ("wal_keep_size", "1GB"),
        ("wal_retrieve_retry_interval", "100ms"),
        ("log_line_prefix", "%m [%p] %u@%d %a %e "),
    ]
    .iter()
    .map(|(name, value)| setting(name, value))
    .collect();
    options.settings.iter().for_each(|(name, value)| lines += &setting(name, value));
    lines
}

/// One line of `postgresql.conf`.
fn setting(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}

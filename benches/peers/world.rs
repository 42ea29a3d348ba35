//! The PostgreSQL servers behind all peers, its data, and the account and folder that everything runs with.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pgconvoy_io::testbed::{self, Options, SUPERUSER, Testbed};

use crate::client::Client;

/// Who logs in, everywhere.
pub const USER: &str = SUPERUSER;
/// The database of all workloads. It is not called `postgres`: pgpool-II keeps no connection to that one.
pub const DATABASE: &str = testbed::USER;
/// Rows of the table that is read and copied; each is [`ROW_BYTES`] long.
pub const ROWS: usize = 1_000_000;
/// Payload of one row, bytes.
pub const ROW_BYTES: usize = 100;

/// Connections beside those of the idle clients: the bench's own, and PostgreSQL's reserve.
const SPARE_CONNECTIONS: usize = 100;
/// How long the connections of the peer before may take to be gone.
const LEAVING: Duration = Duration::from_secs(60);

/// PostgreSQL with data. Dropping it ends the server and removes the folder, and so does the end of this process.
#[derive(Debug)]
pub struct World {
    testbed: Testbed,
    admin: Client,
    folder: PathBuf,
    servers: Vec<SocketAddr>,
    owner: (u32, u32),
    caller_is_root: bool,
}

impl World {
    /// Starts PostgreSQL with pgbench's tables at `scale`, ready for `idle_clients` and more, with streaming standbys if
    /// there are to be several `nodes`.
    pub fn start(scale: u32, idle_clients: usize, nodes: u32) -> Result<Self> {
        let settings = [
            // Small, so that the backends of 2,000 idle clients fit beside it; the data stays in the system's cache.
            ("shared_buffers", "64MB"),
            // Nothing of PostgreSQL's own housekeeping falls into one peer's time and not into another's.
            ("autovacuum", "off"),
            ("max_wal_size", "8GB"),
            ("checkpoint_timeout", "1h"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("jit", "off"),
        ];
        let options = Options {
            standbys: (nodes - 1) as usize,
            max_connections: (idle_clients + SPARE_CONNECTIONS) as u32,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Options::default()
        };
        let testbed = Testbed::start(options).context("starting PostgreSQL")?;
        let admin = Client::login(address_of(&testbed))?;
        let metadata = fs::metadata(testbed.folder())?;
        let caller_is_root = fs::metadata("/proc/self")?.uid() == 0;
        let folder = testbed.folder().join("bench");
        let servers = testbed.nodes().iter().map(|node| (Ipv4Addr::LOCALHOST, node.port()).into()).collect();
        let mut world =
            Self { testbed, admin, folder, servers, owner: (metadata.uid(), metadata.gid()), caller_is_root };
        world.make_folder("")?;
        world.fill(scale)?;
        world.testbed.wait_standbys_caught_up().context("waiting for the standbys")?;
        Ok(world)
    }

    /// PostgreSQL's own address: the primary's.
    pub fn server(&self) -> SocketAddr {
        self.servers[0]
    }

    /// The addresses of all servers, the primary's first.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// A new empty folder that the peers' account owns; an old one of that name is removed.
    pub fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        chown(&folder, Some(self.owner.0), Some(self.owner.1))?;
        Ok(folder)
    }

    /// A command that runs `program` with the peers' account and dies with this process, of whatever that dies.
    pub fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args([OsStr::new("--pdeathsig"), OsStr::new("QUIT"), OsStr::new("--"), program.as_os_str()]);
        if self.caller_is_root {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        // In a process group of its own: Ctrl-C in a terminal is for the bench, whose death ends the rest.
        command.current_dir(folder).env("HOME", folder).process_group(0);
        command
    }

    /// The path of pgbench, of the same version as the server.
    pub fn pgbench(&self) -> PathBuf {
        self.testbed.bin_dir().join("pgbench")
    }

    /// Runs `sql` on the server itself.
    pub fn ask(&mut self, sql: &str) -> Result<Option<String>> {
        self.admin.ask(sql).with_context(|| format!("running {sql}"))
    }

    /// Waits until nobody but this bench is connected to PostgreSQL.
    pub fn wait_alone(&mut self) -> Result<()> {
        let begun = Instant::now();
        let question = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        loop {
            let connected = self.ask(question)?;
            if connected.as_deref() == Some("1") {
                return Ok(());
            }
            if begun.elapsed() > LEAVING {
                bail!("{connected:?} connections are left on PostgreSQL by what ran before");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Brings the tables that TPC-B writes to back to a like state.
    pub fn tidy(&mut self) -> Result<()> {
        for sql in ["VACUUM pgbench_branches", "VACUUM pgbench_tellers", "TRUNCATE pgbench_history", "CHECKPOINT"] {
            self.ask(sql)?;
        }
        Ok(())
    }

    /// Makes the tables of all workloads.
    fn fill(&mut self, scale: u32) -> Result<()> {
        let mut pgbench = self.command(&self.pgbench(), &self.folder);
        // Standbys have no rows of tables that are not logged.
        let unlogged = self.servers.len() == 1;
        pgbench.args(["--initialize", "--quiet", "--init-steps=dtgp"]);
        pgbench.args(unlogged.then_some("--unlogged-tables")).arg("--scale");
        pgbench.arg(scale.to_string()).args(pgbench_connection(self.server()));
        let output = pgbench.output().context("running pgbench")?;
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let kind = if unlogged { "UNLOGGED" } else { "" };
        self.ask(&format!("CREATE {kind} TABLE bench_sink (line text)"))?;
        self.ask(&format!(
            "CREATE {kind} TABLE bench_rows AS SELECT lpad(number::text, {ROW_BYTES}, 'pgconvoy ') AS line \
             FROM generate_series(1, {ROWS}) AS number"
        ))?;
        self.ask("VACUUM ANALYZE").map(drop)
    }
}

/// The options that make pgbench connect to `address`.
pub fn pgbench_connection(address: SocketAddr) -> [String; 4] {
    [
        format!("--host={}", address.ip()),
        format!("--port={}", address.port()),
        format!("--username={USER}"),
        DATABASE.to_owned(),
    ]
}

fn address_of(testbed: &Testbed) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, testbed.node(0).port()).into()
}

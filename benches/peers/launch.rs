//! The peers: how each is configured for session pooling in front of one server, started, and ended.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::usage;
use crate::world::{DATABASE, USER, World};

/// How long a peer may take to serve its first login.
const STARTING: Duration = Duration::from_secs(30);
/// How long a peer may take to end after it was asked to.
const ENDING: Duration = Duration::from_secs(5);
/// Where Debian puts servers, which is not always on the search path.
const SERVER_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// Ports to listen on are looked for from here on: below those that outgoing connections take.
const FIRST_PORT: u16 = 10_000;
/// How many ports are looked at.
const PORTS: u16 = 4_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Peer {
    /// PostgreSQL without anything between.
    Direct,
    /// The bare TCP forwarder of this bench.
    Forwarder,
    /// pgbouncer in session mode.
    Pgbouncer,
    /// pgpool-II, which balances where there are several servers.
    Pgpool,
    /// pgconvoy with pgpool-II's configuration.
    Pgconvoy,
    /// The same with one server, where the others have several.
    PgconvoyAlone,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Forwarder => "forwarder",
            Self::Pgbouncer => "pgbouncer",
            Self::Pgpool => "pgpool",
            Self::Pgconvoy => "pgconvoy",
            Self::PgconvoyAlone => "pgconvoy-alone",
        })
    }
}

/// A peer that serves. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    proxy: Option<Proxy>,
}

impl Running {
    /// Starts `peer` for up to `clients` at a time and waits until it serves.
    pub fn start(world: &World, peer: Peer, clients: usize) -> Result<Self> {
        if peer == Peer::Direct {
            return Ok(Self { address: world.server(), proxy: None });
        }
        let folder = world.make_folder(&peer.to_string())?;
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = match peer {
            Peer::Forwarder => {
                let program = copied(&std::env::current_exe()?, &folder, "forwarder")?;
                let mut command = world.command(&program, &folder);
                command.args(["forward", &address.to_string(), &world.server().to_string()]);
                command
            }
            Peer::Pgbouncer => {
                let file = folder.join("pgbouncer.ini");
                fs::write(&file, pgbouncer_ini(world, port, clients))?;
                fs::write(folder.join("users"), format!("\"{USER}\" \"\"\n"))?;
                let mut command = world.command(&installed("pgbouncer")?, &folder);
                command.arg(file);
                command
            }
            Peer::Pgpool => {
                let mut command = world.command(&installed("pgpool")?, &folder);
                command.arg("-n").arg("-f").arg(pgpool_conf(world.servers(), &folder, port, clients)?);
                command
            }
            Peer::Pgconvoy | Peer::PgconvoyAlone => {
                let program = copied(Path::new(env!("CARGO_BIN_EXE_pgconvoy")), &folder, "pgconvoy")?;
                let mut command = world.command(&program, &folder);
                let servers = if peer == Peer::Pgconvoy { world.servers() } else { &world.servers()[..1] };
                command.args(["serve", "-n", "-f"]).arg(pgpool_conf(servers, &folder, port, clients)?);
                command
            }
            Peer::Direct => unreachable!("it has no proxy and was answered above"),
        };
        let mut proxy = Proxy::spawn(&mut command, &folder)?;
        proxy.wait_serving(address).with_context(|| format!("starting {peer}"))?;
        Ok(Self { address, proxy: Some(proxy) })
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The proxy's main process; none where there is no proxy.
    pub fn process(&self) -> Option<u32> {
        self.proxy.as_ref().map(|proxy| proxy.child.id())
    }
}

/// A proxy's main process.
#[derive(Debug)]
struct Proxy {
    child: Child,
    log: PathBuf,
}

impl Proxy {
    fn spawn(command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join("log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("running {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Waits until a login succeeds.
    fn wait_serving(&mut self, address: SocketAddr) -> Result<()> {
        let begun = Instant::now();
        loop {
            let refused = match Client::login(address) {
                Ok(_) => return Ok(()),
                Err(refused) => refused,
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}; its log:\n{}", self.log_tail());
            }
            if begun.elapsed() > STARTING {
                bail!("no login within {STARTING:?} ({refused:#}); its log:\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of what it printed.
    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2048)..]).into_owned()
    }

    /// Asks it to end at once, and when it does not, ends it and all its children.
    fn end(&mut self) -> Result<()> {
        let family = usage::descendants(self.child.id())?;
        // To every one of these SIGQUIT means: now, whoever is connected.
        signal(self.child.id(), Signal::QUIT);
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > ENDING {
                family.iter().for_each(|pid| signal(*pid, Signal::KILL));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("a proxy could not be ended: {error:#}");
        }
    }
}

/// Sends `signal` to process `pid`; one that is gone already needs none.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A port of 127.0.0.1 that nobody listens on, and nobody on the next one either: pgpool-II takes two.
fn free_port() -> Result<u16> {
    let start = (std::process::id() % u32::from(PORTS)) as u16;
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut candidates = (0..PORTS).map(|step| FIRST_PORT + (start + step) % PORTS);
    candidates.find(|port| free(*port) && free(port + 1)).context("no port is free to listen on")
}

/// The path of `program`.
fn installed(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SERVER_FOLDERS.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} is not installed; leave it out with --peers, or install Debian's package"))
}

/// A copy of `program` in `folder`: where it was built, the peers' account may have no access.
fn copied(program: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let copy = folder.join(name);
    fs::copy(program, &copy).with_context(|| format!("copying {}", program.display()))?;
    Ok(copy)
}

fn pgbouncer_ini(world: &World, port: u16, clients: usize) -> String {
    let (server, port_of_server) = (world.server().ip(), world.server().port());
    format!(
        "[databases]\n\
         * = host={server} port={port_of_server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = users\n\
         pool_mode = session\n\
         server_reset_query = DISCARD ALL\n\
         max_client_conn = {clients}\n\
         default_pool_size = {clients}\n\
         log_connections = 0\n\
         log_disconnections = 0\n\
         log_stats = 0\n"
    )
}

/// Writes one configuration for pgpool-II and pgconvoy alike; returns its path.
fn pgpool_conf(servers: &[SocketAddr], folder: &Path, port: u16, clients: usize) -> Result<PathBuf> {
    let backends: String = servers
        .iter()
        .enumerate()
        .map(|(node, server)| {
            format!(
                "backend_hostname{node} = '{}'\n\
                 backend_port{node} = {}\n\
                 backend_weight{node} = 1\n\
                 backend_flag{node} = 'DISALLOW_TO_FAILOVER'\n",
                server.ip(),
                server.port()
            )
        })
        .collect();
    let balance = if servers.len() > 1 { "on" } else { "off" };
    let place = folder.display();
    let pcp_port = port + 1;
    let lines = format!(
        "backend_clustering_mode = 'streaming_replication'\n\
         listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         socket_dir = '{place}'\n\
         pcp_listen_addresses = ''\n\
         pcp_port = {pcp_port}\n\
         pcp_socket_dir = '{place}'\n\
         pid_file_name = '{place}/pgpool.pid'\n\
         logdir = '{place}'\n\
         {backends}\
         num_init_children = {clients}\n\
         max_pool = 1\n\
         child_life_time = 0\n\
         connection_cache = on\n\
         reset_query_list = 'ABORT; DISCARD ALL'\n\
         load_balance_mode = {balance}\n\
         enable_pool_hba = off\n\
         pool_passwd = ''\n\
         sr_check_period = 0\n\
         sr_check_user = '{USER}'\n\
         sr_check_database = '{DATABASE}'\n\
         health_check_period = 0\n"
    );
    let file = folder.join("pgpool.conf");
    fs::write(&file, lines)?;
    Ok(file)
}

//! `pgconvoy demo`: pgconvoy before a real primary and its standbys, all of which are gone when it ends.

mod table;

use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pgconvoy_io::process::signals::{Process, Request, Signals};
use pgconvoy_io::server::StopMode;
use pgconvoy_io::testbed::{Options, Testbed, USER};
use rustix::process::Pid;
use tokio::time::timeout;

use table::NodeTable;

/// Where clients of pgpool-II expect it.
const USUAL_PORT: u16 = 9999;
/// Connections that each server takes: enough for [`CLIENTS`], the standbys and a superuser's own.
const MAX_CONNECTIONS: u32 = CLIENTS + 20;
/// Clients that the demo serves at a time.
const CLIENTS: u32 = 200;
/// How long pgconvoy may take until it answers for the first time, or has ended.
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon it is asked again until it answers.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often the table is refreshed.
const REFRESH: Duration = Duration::from_secs(1);
/// What `pgconvoy demo` takes on its command line.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave the folder with the databases and the configuration when the demo ends
    #[arg(long)]
    keep: bool,
    /// Streaming standbys beside the primary
    #[arg(long, default_value_t = 2, value_name = "N")]
    standbys: usize,
    /// Port of pgconvoy on 127.0.0.1; without it 9999, or any other when that one is taken
    #[arg(long)]
    port: Option<u16>,
}

/// Runs the demo and tells what went wrong.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr may be gone.
            drop(writeln!(stderr(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo until a signal ends it.
///
/// # Errors
/// When PostgreSQL cannot be had, or pgconvoy does not start or ends by itself.
fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let begun = Instant::now();
    let port = arguments.port.map_or_else(free_port, Ok)?;
    writeln!(stdout(), "Making a PostgreSQL primary and {} streaming standbys ...", arguments.standbys)?;
    let testbed = Testbed::start(Options {
        standbys: arguments.standbys,
        max_connections: MAX_CONNECTIONS,
        keep: arguments.keep,
        ..Options::default()
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut proxy = Proxy::start(&testbed, port)?;
        let mut table = NodeTable::new(testbed.bin_dir().join("psql"), port);
        let proxy_begun = Instant::now();
        while let Err(error) = table.read_all_up() {
            proxy.must_run()?;
            if proxy_begun.elapsed() > PATIENCE {
                return Err(error.context("pgconvoy does not serve all nodes"));
            }
            if stop_was_asked(&mut signals, ASK_AGAIN).await {
                return Ok(());
            }
        }
        writeln!(stdout(), "{}", introduction(&testbed, port, begun))?;
        loop {
            table.show()?;
            if stop_was_asked(&mut signals, REFRESH).await {
                return Ok(());
            }
            proxy.must_run()?;
            // A server that somebody killed is not to linger as a zombie: it could not be started again.
            for node in testbed.nodes() {
                let _reaped = node.postmaster_pid();
            }
            // The old rows stay when the proxy is too busy for a moment.
            let _busy = table.read();
        }
    })
}

/// Waits for a signal to stop, but no longer than `time`.
async fn stop_was_asked(signals: &mut Signals, time: Duration) -> bool {
    matches!(timeout(time, signals.next()).await, Ok(Request::Stop(_)))
}

/// pgconvoy itself, as a process of its own.
struct Proxy {
    child: Child,
    log: PathBuf,
}

impl Proxy {
    /// Starts it on `port` before the nodes of `testbed`.
    fn start(testbed: &Testbed, port: u16) -> anyhow::Result<Self> {
        let folder = testbed.folder();
        let file = folder.join("pgpool.conf");
        std::fs::write(&file, configuration(testbed, port)).with_context(|| format!("writing {}", file.display()))?;
        let log = folder.join("pgconvoy.log");
        let output = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config-file"])
            .arg(&file)
            // Where its pid file is: so it ends with the testbed, even if this process is killed.
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("starting pgconvoy")?;
        Ok(Self { child, log })
    }

    /// Complains with its log when it has ended.
    fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("pgconvoy ended ({status}):\n{}", std::fs::read_to_string(&self.log).unwrap_or_default())
            }
        }
    }

    /// Asks it to stop, and tells whether it has.
    fn stop(&mut self) -> std::io::Result<bool> {
        let process = Process::open(Pid::from_child(&self.child))?;
        process.send(Request::Stop(StopMode::Fast))?;
        process.wait(PATIENCE)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !self.stop().unwrap_or(false) {
            // It is our child: killing and collecting it can fail only when that has happened already.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The usual port when it is free, else one that the system chooses.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", USUAL_PORT)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let listener = listener.context("finding a free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// The pgpool.conf of the demo: all files in the testbed's folder.
fn configuration(testbed: &Testbed, port: u16) -> String {
    let folder = testbed.folder().display();
    let mut text = format!(
        "# pgconvoy before the demo's servers\n\
         listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = '{folder}'\n\
         pid_file_name = '{folder}/pgpool.pid'\n\
         work_dir = '{folder}'\n\
         backend_clustering_mode = 'streaming_replication'\n\
         num_init_children = {CLIENTS}\n\
         sr_check_user = 'postgres'\n\
         sr_check_database = 'postgres'\n"
    );
    for node in testbed.nodes() {
        let (number, host, port, data_dir) = (node.number(), node.host(), node.port(), node.data_dir().display());
        text += &format!(
            "backend_hostname{number} = '{host}'\n\
             backend_port{number} = {port}\n\
             backend_weight{number} = 1\n\
             backend_data_directory{number} = '{data_dir}'\n\
             backend_application_name{number} = 'node{number}'\n"
        );
    }
    text
}

/// What a user can do now.
fn introduction(testbed: &Testbed, port: u16, begun: Instant) -> String {
    let address = format!("-h 127.0.0.1 -p {port} -U {USER}");
    let [psql, pgbench] = ["psql", "pgbench"].map(|program| as_typed(testbed.bin_dir(), program));
    let (_primary, standbys) = testbed.nodes().split_at(1);
    let victim = standbys.iter().find_map(|node| Some((node.number(), node.postmaster_pid()?)));
    let mut text = format!(
        "Ready after {:.1} s. Connect with\n\n    \
         {psql} \"host=127.0.0.1 port={port} user={USER} dbname={USER}\"\n\n\
         What to try:\n    \
         {psql} {address} -c 'SHOW pool_nodes' {USER}\n    \
         {pgbench} {address} -i -s 10 {USER}\n    \
         {pgbench} {address} -c 16 -T 30 -S {USER}      reads, spread over the nodes\n    \
         {pgbench} {address} -c 16 -T 30 {USER}         writes, which go to the primary\n",
        begun.elapsed().as_secs_f64()
    );
    if let Some((number, pid)) = victim {
        text += &format!("    kill -9 {pid}      the end of standby {number}, in between\n");
    }
    text + &format!("\nEverything lives in {}; Ctrl-C ends it all.\n", testbed.folder().display())
}

/// `program` as a user would type it: its name where the search path has one, else its path.
fn as_typed(bin_dir: &Path, program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if known { program.to_owned() } else { bin_dir.join(program).display().to_string() }
}

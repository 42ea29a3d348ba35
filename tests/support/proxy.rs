//! The program under test: started over given backends with a generated `pgpool.conf`, watched, and stopped.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::Port;
use tempfile::TempDir;

use super::wire::{Connection, Login};

/// How long the program may take until it serves, or until it is gone after a signal.
const START_LIMIT: Duration = Duration::from_secs(20);

/// One `backend_*` group of the configuration.
#[derive(Clone, Debug)]
pub struct Backend {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// `backend_weight`.
    pub weight: u32,
}

impl From<SocketAddr> for Backend {
    fn from(address: SocketAddr) -> Self {
        Self { port: address.port(), weight: 1 }
    }
}

/// What to start pgconvoy with.
#[derive(Clone, Debug)]
pub struct Options {
    backends: Vec<Backend>,
    settings: Vec<(String, String)>,
    passwords: String,
    wrapper: Vec<String>,
    arguments: Vec<String>,
}

impl Options {
    /// Adds a line to the configuration; a later one wins.
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Adds a plain entry to `pool_passwd`.
    pub fn password(mut self, user: &str, password: &str) -> Self {
        self.passwords.push_str(&format!("{user}:TEXT{password}\n"));
        self
    }

    /// Puts a command line in front of pgconvoy's.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Adds an argument to pgconvoy's command line.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts pgconvoy and waits until `postgres` can log in through it without a password.
    pub fn start(&self) -> Proxy {
        self.start_for(&Login::new("postgres", "postgres"))
    }

    /// Starts pgconvoy and waits until `login` succeeds through it.
    pub fn start_for(&self, login: &Login) -> Proxy {
        let mut proxy = self.spawn();
        let start = Instant::now();
        while let Err(error) = Connection::login(proxy.address(), login) {
            let ended = proxy.ended();
            assert!(ended.is_none(), "pgconvoy ended while starting ({ended:?})");
            assert!(start.elapsed() < START_LIMIT, "pgconvoy does not serve: {error:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// Starts pgconvoy and does not wait.
    pub fn spawn(&self) -> Proxy {
        let folder = tempfile::Builder::new().prefix("pgconvoy-wire-").tempdir().expect("a temporary folder");
        let [port, pcp_port] = [(); 2].map(|()| Port::claim().expect("a free port"));
        let configuration = folder.path().join("pgpool.conf");
        fs::write(&configuration, self.configuration(folder.path(), port.number(), pcp_port.number()))
            .expect("writing pgpool.conf");
        fs::write(folder.path().join("pool_passwd"), &self.passwords).expect("writing pool_passwd");
        let program = [env!("CARGO_BIN_EXE_pgconvoy"), "serve", "-f"].map(String::from);
        let words = [self.wrapper.as_slice(), &program].concat();
        let words = [words, vec![configuration.display().to_string()], self.arguments.clone()].concat();
        let child = launch(&words, folder.path());
        Proxy { child, folder, port, _pcp_port: pcp_port, words }
    }

    fn configuration(&self, folder: &Path, port: u16, pcp_port: u16) -> String {
        let folder = folder.display();
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\n\
             port = {port}\n\
             unix_socket_directories = '{folder}'\n\
             pcp_port = {pcp_port}\n\
             pcp_socket_dir = '{folder}'\n\
             pid_file_name = '{folder}/pgpool.pid'\n\
             logdir = '{folder}'\n\
             work_dir = '{folder}'\n\
             pool_passwd = '{folder}/pool_passwd'\n\
             backend_clustering_mode = 'streaming_replication'\n\
             sr_check_user = 'postgres'\n\
             sr_check_database = 'postgres'\n\
             health_check_user = 'postgres'\n\
             num_init_children = 64\n"
        );
        for (number, Backend { port, weight }) in self.backends.iter().enumerate() {
            text.push_str(&format!(
                "backend_hostname{number} = '127.0.0.1'\nbackend_port{number} = {port}\nbackend_weight{number} = {weight}\n"
            ));
        }
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} = '{value}'\n"));
        }
        text
    }
}

/// A running pgconvoy with a folder of its own; dropped, it is killed and the folder removed.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    folder: TempDir,
    port: Port,
    _pcp_port: Port,
    words: Vec<String>,
}

impl Proxy {
    /// A pgconvoy over `backends`, not started yet.
    pub fn over(backends: &[Backend]) -> Options {
        Options {
            backends: backends.to_vec(),
            settings: Vec::new(),
            passwords: String::new(),
            wrapper: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Starts the same program again in the same folder, beside or after the first.
    pub fn launch_again(&self) -> Child {
        launch(&self.words, self.folder())
    }

    /// Kills the program with SIGKILL, so that it leaves its files, and starts it again.
    pub fn kill_and_start(&mut self) {
        self.child.kill().expect("killing pgconvoy");
        self.child.wait().expect("waiting for pgconvoy");
        self.child = self.launch_again();
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port.number()).into()
    }

    /// The process id of the program.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The program's own folder: its configuration, log, pid file and Unix socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The Unix socket that clients may use.
    pub fn unix_socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port.number()))
    }

    /// Everything the program has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).expect("reading the log")).into_owned()
    }

    /// Waits until the program knows of each backend, numbered from 0, whether it is the primary or a standby: then reads
    /// go where their weights say.
    pub fn wait_roles_known(&self, backends: usize) {
        let start = Instant::now();
        let known = |log: &str, number: usize| {
            let of_it = |line: &&str| line.contains(&format!(" backend {number} (")) && line.contains(" is up, role ");
            log.lines().rfind(of_it).is_some_and(|line| !line.ends_with("unknown"))
        };
        while !(0..backends).all(|number| known(&self.log(), number)) {
            assert!(start.elapsed() < START_LIMIT, "not all {backends} backends are up:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in bytes, from `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the program is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a resident size");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a size in kB");
        kilobytes * 1024
    }

    /// Processor time taken so far, from `/proc`.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the program is running");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a process has a name").1.split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<u64>().expect("a count of ticks");
        // Linux counts hundredths of a second; user and system time are fields 14 and 15 of proc(5).
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Sends the signal called `name`, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("running kill");
        assert!(status.success(), "pgconvoy is gone before the signal {name}:\n{}", self.log());
    }

    /// How the program ended, `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for its status")
    }

    /// Waits until the program has ended, for at most `limit`.
    pub fn wait_ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || start.elapsed() > limit {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fails unless the program is running and has printed no panic.
    pub fn assert_healthy(&mut self) {
        let ended = self.ended();
        let log = self.log();
        assert!(ended.is_none(), "pgconvoy ended ({ended:?}):\n{log}");
        assert!(!log.contains("panicked"), "pgconvoy panicked:\n{log}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of pgconvoy's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command line in `folder`, its output appended to the log there.
fn launch(words: &[String], folder: &Path) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("opening the log");
    Command::new(&words[0])
        .args(&words[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .spawn()
        .expect("starting pgconvoy")
}

//! The server as a process: starting, leaving the terminal, reloading, stopping; also under pgpool-II's name.
//!
//! No backend is there: what is tested is that the server listens, and leaves nothing behind.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::rc::Rc;
use std::time::Duration;

use pgconvoy_io::process::pidfile::running;
use pgconvoy_io::process::signals::{Process, Request};
use pgconvoy_io::server::StopMode;
use pgconvoy_io::testbed::Port;
use rustix::process::{Pid, getsid};

/// Where Debian's pgpool2 package puts pgpool-II's own sample.
const STOCK_SAMPLE: &str = "/usr/share/doc/pgpool2/examples/pgpool.conf.sample";

/// A configuration in a folder of its own, and this program under both names.
struct Site {
    folder: tempfile::TempDir,
    port: Rc<Port>,
}

/// A server in the foreground that listens; it is killed if a test fails.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Site {
    fn new() -> io::Result<Self> {
        Self::on(Rc::new(Port::claim().map_err(io::Error::other)?))
    }

    fn on(port: Rc<Port>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let site = Self { folder, port };
        site.configure(&format!("{}log_line_prefix = ''\n", site.own_lines()))?;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pgconvoy"), site.path("pgpool"))?;
        Ok(site)
    }

    fn configure(&self, text: &str) -> io::Result<()> {
        std::fs::write(self.path("pgpool.conf"), text)
    }

    /// A backend, and what keeps several servers on one machine apart.
    fn own_lines(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "backend_hostname0 = '127.0.0.1'\nbackend_port0 = 1024\nbackend_weight0 = 1\nport = {}\n\
             pid_file_name = '{folder}/pgpool.pid'\nunix_socket_directories = '{folder}'\n",
            self.port.number()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `pgconvoy ARGUMENTS -f pgpool.conf`
    fn pgconvoy(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgconvoy"));
        command.args(arguments).arg("-f").arg(self.path("pgpool.conf"));
        command
    }

    /// `pgpool -f pgpool.conf ARGUMENTS`
    fn pgpool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("pgpool"));
        command.arg("-f").arg(self.path("pgpool.conf")).args(arguments);
        command
    }

    /// Starts a server and waits until clients can connect.
    fn start(&self, mut command: Command) -> io::Result<Server> {
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let mut server = Server { process, log };
        while !self.is_listening() {
            assert!(server.process.try_wait()?.is_none(), "the server has ended: {}", server.rest_of_log()?);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn recorded(&self) -> Pid {
        running(&self.path("pgpool.pid")).expect("a pid file").expect("a live server")
    }

    fn is_listening(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port.number())).is_ok()
    }

    /// Nothing is left but what the test has made.
    fn assert_clean(&self) -> io::Result<()> {
        assert!(!self.is_listening());
        let names = std::fs::read_dir(self.folder.path())?.map(|entry| entry.map(|entry| entry.file_name()));
        let left: Vec<_> = names.collect::<io::Result<Vec<_>>>()?;
        assert!(left.iter().all(|name| name == "pgpool.conf" || name == "pgpool"), "{left:?}");
        Ok(())
    }
}

impl Server {
    fn wait_for_line(&mut self, wanted: &str) -> io::Result<()> {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line)?, 0, "the server has ended without {wanted}");
        }
        Ok(())
    }

    fn rest_of_log(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest)?;
        Ok(rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_server_in_the_foreground_has_a_pid_file_until_it_is_stopped() {
    let site = Site::new().unwrap();
    let mut server = site.start(site.pgconvoy(&["serve"])).unwrap();
    let pid = server.process.id();
    assert_eq!(std::fs::read(site.path("pgpool.pid")).unwrap(), format!("{pid}\0").into_bytes());

    let stopped = site.pgconvoy(&["stop", "--mode", "fast"]).output().unwrap();
    assert!(stopped.status.success());
    let said = stderr(&stopped);
    let expected = format!("LOG:  stop request sent to pgpool (pid: {pid}). waiting for termination...\n");
    assert!(said.starts_with(&expected) && said.ends_with("done.\n"), "{said}");
    assert!(server.process.try_wait().unwrap().expect("stop waits for the end").success());
    let log = server.rest_of_log().unwrap();
    let said = [
        "LOG:  pgpool-II successfully started. version ",
        "LOG:  shutting down by signal 2\n",
        "LOG:  Pgpool-II system is shutdown\n",
    ];
    assert!(said.iter().all(|line| log.contains(line)), "{log}");
    site.assert_clean().unwrap();

    let nothing = site.pgconvoy(&["stop"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(3));
    assert!(stderr(&nothing).contains("could not read pid file"), "{}", stderr(&nothing));
}

#[test]
fn each_signal_stops_the_server_and_leaves_nothing() {
    let site = Site::new().unwrap();
    for mode in [StopMode::Smart, StopMode::Fast, StopMode::Immediate] {
        let mut server = site.start(site.pgconvoy(&["serve"])).unwrap();
        Process::open(Pid::from_child(&server.process)).unwrap().send(Request::Stop(mode)).unwrap();
        assert!(server.process.wait().unwrap().success(), "{mode:?}");
        site.assert_clean().unwrap();
    }
}

#[test]
fn a_second_server_is_refused_and_does_not_disturb_the_first() {
    let site = Site::new().unwrap();
    let server = site.start(site.pgconvoy(&["serve"])).unwrap();
    let refused = site.pgconvoy(&["serve"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let expected = format!("belongs to the live process {}\n", server.process.id());
    assert!(stderr(&refused).starts_with("FATAL:  ") && stderr(&refused).ends_with(&expected), "{}", stderr(&refused));
    assert!(site.is_listening());
    assert!(site.path("pgpool.pid").exists());
}

#[test]
fn a_server_that_leaves_the_terminal_is_ready_when_the_command_ends() {
    let site = Site::new().unwrap();
    // `output` also shows that nothing keeps the pipes open.
    let started = site.pgpool(&["-D"]).output().unwrap();
    assert!(started.status.success(), "{}", stderr(&started));
    assert!(site.is_listening());
    let pid = site.recorded();
    let server = Process::open(pid).unwrap();
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "it leads a session of its own");
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_pid())).unwrap();
    assert_eq!(name, "pgpool\n", "it is listed under the name that it was called by");
    assert!(site.pgpool(&["-m", "fast", "stop"]).output().unwrap().status.success());
    assert!(server.wait(Duration::ZERO).unwrap(), "stop waits for the end");
    site.assert_clean().unwrap();
}

#[test]
fn what_goes_wrong_before_it_listens_reaches_the_terminal_and_the_exit_code() {
    let other = Site::new().unwrap();
    let site = Site::on(Rc::clone(&other.port)).unwrap();
    // Not this process: what another test starts at the same moment would have the listener too, until it is itself.
    let taken = other.start(other.pgconvoy(&["serve"])).unwrap();
    let failed = site.pgpool(&[]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("Address already in use"), "{}", stderr(&failed));
    drop(taken);
    site.assert_clean().unwrap();

    site.configure("port = none\n").unwrap();
    let failed = site.pgpool(&[]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("1 | port = none"), "{}", stderr(&failed));
    site.assert_clean().unwrap();
}

#[test]
fn what_a_crash_leaves_behind_is_no_obstacle() {
    let site = Site::new().unwrap();
    let mut server = site.start(site.pgconvoy(&["serve"])).unwrap();
    server.process.kill().unwrap();
    assert_eq!(server.process.wait().unwrap().signal(), Some(9));
    assert!(site.path("pgpool.pid").exists());
    let server = site.start(site.pgconvoy(&["serve"])).unwrap();
    assert_eq!(site.recorded(), Pid::from_child(&server.process));
    assert!(site.pgconvoy(&["stop"]).output().unwrap().status.success());
    site.assert_clean().unwrap();
}

#[test]
fn a_stop_clears_away_what_a_crash_has_left() {
    let site = Site::new().unwrap();
    let mut server = site.start(site.pgconvoy(&["serve"])).unwrap();
    let process = Process::open(Pid::from_child(&server.process)).unwrap();
    server.process.kill().unwrap();
    assert!(process.wait(Duration::from_secs(10)).unwrap());
    // Nobody has asked how the server ended: the system still lists it.
    for expected in ["is gone, and the file is removed\n", "could not read pid file"] {
        let stopped = site.pgconvoy(&["stop"]).output().unwrap();
        assert_eq!(stopped.status.code(), Some(3));
        assert!(stderr(&stopped).contains(expected), "{}", stderr(&stopped));
        assert!(!site.path("pgpool.pid").exists());
    }
    server.process.wait().unwrap();
}

#[test]
fn a_reload_of_a_broken_file_is_refused_at_the_terminal() {
    let site = Site::new().unwrap();
    let mut server = site.start(site.pgpool(&["-n"])).unwrap();
    site.configure(&format!("{}reserved_connections = some\n", site.own_lines())).unwrap();
    for mut command in [site.pgpool(&["reload"]), site.pgconvoy(&["reload"])] {
        let refused = command.output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let printed = stderr(&refused);
        assert!(
            printed.contains("pgpool.conf:7:24") && printed.contains("7 | reserved_connections = some"),
            "{printed}"
        );
    }
    site.configure(&site.own_lines()).unwrap();
    assert!(site.pgpool(&["-m", "fast", "stop"]).output().unwrap().status.success());
    assert!(server.process.wait().unwrap().success());
    let log = server.rest_of_log().unwrap();
    assert!(!log.contains("reload"), "the server was told nothing: {log}");
}

#[test]
fn a_reload_takes_a_good_file_and_survives_a_bad_one() {
    let site = Site::new().unwrap();
    let mut server = site.start(site.pgpool(&["-n", "-D"])).unwrap();
    site.configure("port = none\n").unwrap();
    // The file has no pid_file_name now, so the signal is sent by hand.
    Process::open(Pid::from_child(&server.process)).unwrap().send(Request::Reload).unwrap();
    server.wait_for_line("ERROR:  the configuration has errors").unwrap();
    site.configure(&format!(
        "{}log_line_prefix = 'new '\nworker_threads = 7\nbackend_hostname7 = 'db7'\nbackend_port7 = 5432\n",
        site.own_lines()
    ))
    .unwrap();
    assert!(site.pgpool(&["reload"]).output().unwrap().status.success());
    let restart = "only after a restart";
    server.wait_for_line(&format!("pgpool.conf:8:18: worker_threads: a new value takes hold {restart}")).unwrap();
    server
        .wait_for_line(&format!("pgpool.conf:10:17: backend_port7: backend 7 (db7:5432) takes part {restart}"))
        .unwrap();
    assert!(site.is_listening());
    assert!(site.pgpool(&["-m", "f", "stop"]).output().unwrap().status.success());
}

#[test]
fn a_server_is_found_after_its_file_has_been_given_another_pid_file() {
    for named in [true, false] {
        let site = Site::new().unwrap();
        let mut server = site.start(site.pgpool(&["-n"])).unwrap();
        let moved = site.own_lines().replace("pgpool.pid", "moved.pid");
        site.configure(&format!("{moved}log_line_prefix = ''\n")).unwrap();
        if named {
            // Another server's file is not this one's: its process is gone.
            std::fs::write(site.path("moved.pid"), "4194305\0").unwrap();
        }
        let reloaded = site.pgpool(&["reload"]).output().unwrap();
        assert!(reloaded.status.success(), "{}", stderr(&reloaded));
        server.wait_for_line("pgpool.conf:5:17: pid_file_name: a new value takes hold only after a restart").unwrap();
        let stopped = site.pgconvoy(&["stop"]).output().unwrap();
        assert!(stopped.status.success(), "{}", stderr(&stopped));
        assert!(server.process.try_wait().unwrap().expect("stop waits for the end").success());
        assert!(!site.path("pgpool.pid").exists());
        let nothing = site.pgconvoy(&["stop"]).output().unwrap();
        assert_eq!(nothing.status.code(), Some(3), "{}", stderr(&nothing));
    }
}

#[test]
fn the_stock_sample_with_backends_appended_starts_as_pgpool() {
    let site = Site::new().unwrap();
    let mut text = std::fs::read_to_string(STOCK_SAMPLE).unwrap();
    text.write_str(&site.own_lines()).unwrap();
    site.configure(&text).unwrap();
    let server = site.start(site.pgpool(&["-n", "-d", "-D", "-x", "-C", "-c"])).unwrap();
    assert_eq!(site.recorded(), Pid::from_child(&server.process));
    // Options of a start do no harm to a stop.
    assert!(site.pgpool(&["-D", "-n", "stop"]).output().unwrap().status.success());
    site.assert_clean().unwrap();
}

#[test]
fn pgpool_prints_its_version_and_help() {
    let site = Site::new().unwrap();
    let version = site.pgpool(&["--version"]).output().unwrap();
    let line = String::from_utf8(version.stdout).unwrap();
    let words: Vec<_> = line.trim_end().splitn(4, ' ').collect();
    assert_eq!(words[..2], ["pgpool-II", "version"]);
    assert!(words[2].split('.').all(|part| part.parse::<u32>().is_ok()), "{line}");
    assert!(words[3].starts_with('(') && words[3].ends_with(')'), "{line}");
    let help = String::from_utf8(site.pgpool(&["--help"]).output().unwrap().stdout).unwrap();
    for option in ["--config-file", "--pcp-file", "--hba-file", "--key-file", "--dont-detach", "--discard-status"] {
        assert!(help.contains(option), "{option}");
    }
    for option in ["--debug", "--mode", "--clear-oidmaps", "--debug-assertions", "--version", "--help"] {
        assert!(help.contains(option), "{option}");
    }
}

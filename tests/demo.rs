//! `pgconvoy demo`, and what it leaves behind however it ends: nothing.

use std::io::{BufRead, BufReader, Lines, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::Port;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_printed_string_works_and_ctrl_c_leaves_nothing() {
    let mut demo = Demo::start(&["--standbys", "1"]);
    let mut nodes: Vec<String> = demo.output.by_ref().take(2).map(Result::unwrap).collect();
    nodes.sort();
    assert!(nodes[0].starts_with("node 0 ") && nodes[0].ends_with(" is up, primary"), "{nodes:?}");
    assert!(nodes[1].starts_with("node 1 ") && nodes[1].ends_with(" is up, standby"), "{nodes:?}");

    let (psql, address) = demo.connect.split_once(' ').unwrap();
    let answer = Command::new(psql).args(["-XAtc", "SELECT current_user, 6 * 7", address.trim_matches('"')]).output();
    let answer = answer.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "app|42\n");

    kill_process(Pid::from_child(&demo.process), Signal::INT).unwrap();
    let status = demo.process.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(!demo.folder.exists());
    assert_eq!(processes_in(&demo.folder), Vec::<String>::new());
}

#[test]
fn a_killed_demo_leaves_nothing() {
    let mut demo = Demo::start(&["--standbys", "1"]);
    assert!(processes_in(&demo.folder).len() > 2, "two postmasters and pgconvoy work there");
    demo.process.kill().unwrap();
    demo.process.wait().unwrap();
    let begun = Instant::now();
    while demo.folder.exists() || !processes_in(&demo.folder).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "left: {:?}", processes_in(&demo.folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_kept_demo_leaves_its_folder_without_any_process() {
    let mut demo = Demo::start(&["--standbys", "0", "--keep"]);
    kill_process(Pid::from_child(&demo.process), Signal::TERM).unwrap();
    assert!(demo.process.wait().unwrap().success());
    assert_eq!(processes_in(&demo.folder), Vec::<String>::new());
    assert!(demo.folder.join("pgpool.conf").is_file() && demo.folder.join("node0/data/PG_VERSION").is_file());
    let sockets =
        std::fs::read_dir(&demo.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(sockets.filter(|name| name.starts_with(".s.PGSQL")).collect::<Vec<_>>(), Vec::<String>::new());
    std::fs::remove_dir_all(&demo.folder).unwrap();
}

#[test]
fn a_demo_whose_port_is_taken_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut demo = demo(&["--standbys", "0", "--port", &port]).stderr(Stdio::piped()).spawn().unwrap();
    assert!(!demo.wait().unwrap().success());
    let mut said = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains(&port) && said.contains("Address already in use"), "{said}");
}

/// A running demo that has said that it is ready.
struct Demo {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    _port: Port,
    /// The command that it prints to connect with.
    connect: String,
    folder: PathBuf,
}

impl Demo {
    /// Starts a demo on a free port, and reads what it prints before the node table.
    fn start(arguments: &[&str]) -> Self {
        let port = Port::claim().expect("a free port");
        let mut process =
            demo(&[&["--port", &port.number().to_string()], arguments].concat()).spawn().expect("the demo starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let (mut connect, mut folder) = (None, None);
        for line in output.by_ref().map_while(Result::ok) {
            if line.contains("psql \"host=") {
                connect = Some(line.trim().to_owned());
            }
            if let Some(rest) = line.strip_prefix("Everything lives in ") {
                folder = rest.split(';').next().map(PathBuf::from);
                break;
            }
        }
        assert!(output.next().is_some_and(|line| line.is_ok_and(|line| line.is_empty())));
        let connect = connect.expect("the demo prints how to connect");
        Self { process, output, _port: port, connect, folder: folder.expect("the demo prints where it lives") }
    }
}

/// The command of a demo whose output is read.
fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgconvoy"));
    command.arg("demo").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// The command lines of all processes that work in `folder` or below.
fn processes_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted").filter_map(|entry| Some(entry.ok()?.path()));
    // The link of a folder that was removed has more behind the path.
    let folder = folder.to_str().expect("a plain path");
    let works_there =
        |path: &PathBuf| std::fs::read_link(path.join("cwd")).is_ok_and(|it| it.to_string_lossy().starts_with(folder));
    let command_line = |path: PathBuf| std::fs::read(path.join("cmdline")).ok();
    let lines = processes.filter(works_there).filter_map(command_line);
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

//! `SHOW pool_status` beside that of Debian's pgpool-II on the same file.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgconvoy_io::testbed::{Options, Port};
use support::postgres::{start, wait_until};
use support::proxy::{Backend, Proxy};
use support::wire::{Connection, Login};

/// pgpool-II is up, or gone, within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// A pgpool-II with the configuration of a pgconvoy, except where only one of them can have a thing.
struct Pgpool {
    child: Child,
    port: Port,
    _pcp_port: Port,
}

impl Pgpool {
    fn beside(proxy: &Proxy) -> Self {
        let folder = proxy.folder().display();
        let [port, pcp_port] = [(); 2].map(|()| Port::claim().expect("a free port"));
        let same = fs::read_to_string(proxy.folder().join("pgpool.conf")).expect("pgconvoy's configuration");
        let own = format!(
            "port = {}\npcp_port = {}\npid_file_name = '{folder}/other.pid'\nsocket_dir = '{folder}'\n",
            port.number(),
            pcp_port.number()
        );
        let file = proxy.folder().join("other.conf");
        fs::write(&file, same + &own).expect("a configuration for pgpool-II");
        let log = File::create(proxy.folder().join("other.log")).expect("a log");
        let child = Command::new("/usr/sbin/pgpool")
            .args(["-n", "-D", "-a", "/dev/null", "-F", "/dev/null", "-f"])
            .arg(file)
            .current_dir(proxy.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("tests/packages installs pgpool2");
        Self { child, port, _pcp_port: pcp_port }
    }

    /// `SHOW pool_status`, once it answers.
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        wait_until(LIMIT, "pgpool-II answers", || {
            let address = ([127, 0, 0, 1], self.port.number()).into();
            let Ok(mut session) = Connection::login(address, &Login::new("postgres", "postgres")) else { return false };
            rows = status(&mut session);
            true
        });
        rows
    }
}

impl Drop for Pgpool {
    fn drop(&mut self) {
        // It ends its children before it ends itself.
        let asked = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status();
        if asked.is_ok_and(|status| status.success()) {
            wait_until(LIMIT, "pgpool-II ends", || self.child.try_wait().is_ok_and(|ended| ended.is_some()));
        }
    }
}

/// Item, value and description.
type Row = [String; 3];

fn status(session: &mut Connection) -> Vec<Row> {
    let texts = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>();
    session.rows("SHOW pool_status").into_iter().map(|row| texts(row).try_into().expect("three columns")).collect()
}

/// The committed differences, without their reasons.
fn allowed() -> BTreeSet<String> {
    let lines = include_str!("config/pool_status.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (difference, reason) = line.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
            assert!(!reason.is_empty(), "no reason: {line}");
            difference.to_owned()
        })
        .collect()
}

#[test]
fn pool_status_is_pgpools_but_for_what_is_listed() {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let backends: Vec<Backend> = testbed.nodes().iter().map(|node| Backend { port: node.port(), weight: 1 }).collect();
    let mut proxy = Proxy::over(&backends).set("num_init_children", 4).set("log_statement", "on").start();
    proxy.wait_roles_known(2);
    let theirs = Pgpool::beside(&proxy).rows();
    let ours = status(&mut Connection::login(proxy.address(), &Login::new("postgres", "postgres")).expect("a login"));

    let index = |rows: &[Row]| rows.iter().map(|row| (row[0].clone(), row.clone())).collect::<BTreeMap<_, _>>();
    let (their_rows, our_rows) = (index(&theirs), index(&ours));
    let common = |rows: &[Row], other: &BTreeMap<String, Row>| {
        rows.iter().map(|row| row[0].clone()).filter(|item| other.contains_key(item)).collect::<Vec<_>>()
    };
    assert_eq!(common(&ours, &their_rows), common(&theirs, &our_rows), "the order of what both show");

    let mut differences = BTreeSet::new();
    for (item, [_, value, description]) in &their_rows {
        match our_rows.get(item) {
            None => drop(differences.insert(format!("missing {item}"))),
            Some([_, our_value, our_description]) => {
                assert_eq!(our_description, description, "the description of {item}");
                if our_value != value {
                    differences.insert(format!("value {item}"));
                }
            }
        }
    }
    let more = our_rows.keys().filter(|item| !their_rows.contains_key(*item));
    differences.extend(more.map(|item| format!("more {item}")));
    assert_eq!(differences, allowed());
    proxy.assert_healthy();
}

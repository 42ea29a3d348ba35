//! `SHOW pool_status` beside that of Debian's pgpool-II on the same file.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pgconvoy_io::testbed::Options;
use support::pgpool::Pgpool;
use support::postgres::start;
use support::proxy::{Backend, Proxy};
use support::wire::{Connection, Login};

/// Item, value and description.
type Row = [String; 3];

fn status(address: SocketAddr) -> Vec<Row> {
    let mut session = Connection::login(address, &Login::new("postgres", "postgres")).expect("a login");
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
    let pgpool = Pgpool::beside(&proxy);
    let [theirs, ours] = [pgpool.address(), proxy.address()].map(status);

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

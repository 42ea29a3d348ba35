//! Three servers whose logs tell where statements went, and pgconvoy in front of them.

use std::fs;
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::{Options, Testbed};

use super::postgres::{start, superuser};
use super::proxy::{Backend, Options as ProxyOptions, Proxy};
use super::wire::{Connection, Login};

/// The role whose statements the servers log.
pub const TRACED: &str = "traced";

/// What the statements of the tables below are about.
pub const OBJECTS: &str = "
    CREATE TABLE t (a int, b text);
    INSERT INTO t VALUES (1, 'one'), (2, 'two');
    CREATE TABLE plain (a int);
    CREATE UNLOGGED TABLE unlogged (a int);
    CREATE SEQUENCE counter;
    CREATE MATERIALIZED VIEW kept AS SELECT a FROM t;
    CREATE FUNCTION stable_f(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
    CREATE FUNCTION volatile_f(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
    CREATE FUNCTION writer() RETURNS int LANGUAGE sql AS 'INSERT INTO plain VALUES (0) RETURNING a';
    CREATE FUNCTION defaulted(a int DEFAULT volatile_f(1)) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
    CREATE FUNCTION nick(t) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1.b; END';
    CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1 + $2; END';
    CREATE AGGREGATE volatile_sum(int) (SFUNC = adds, STYPE = int, INITCOND = '0');
    CREATE VIEW good AS SELECT a, stable_f(a) AS f FROM t;
    CREATE VIEW bad AS SELECT volatile_f(a) AS f FROM t;
    CREATE VIEW worse AS SELECT * FROM bad;
    CREATE VIEW numbered AS SELECT nextval('counter') AS n;
    CREATE TABLE guarded (a int);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON guarded USING (volatile_f(a) = a);
    CREATE TABLE parted (a int) PARTITION BY RANGE (a);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE TABLE mixed (a int) PARTITION BY RANGE (a);
    CREATE UNLOGGED TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10);
    CREATE SCHEMA tenant;
    CREATE TABLE tenant.t2 (a int);
    CREATE FUNCTION tenant.upper(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
    CREATE FUNCTION tenant.get_one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
    CREATE FUNCTION get_two() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 2; END';
    CREATE FUNCTION set_two() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 2; END';
";

/// Where a statement is expected.
pub const PRIMARY: &[u8] = &[0];
pub const STANDBY: &[u8] = &[1];
pub const BOTH: &[u8] = &[0, 1];

/// Three servers with all objects, and the traced role.
pub fn servers() -> Testbed {
    let testbed = start(Options { standbys: 2, ..Options::default() });
    let mut root = superuser(&testbed);
    root.query(OBJECTS).expect("the objects are made");
    root.query(&format!("CREATE ROLE {TRACED} LOGIN SUPERUSER; ALTER ROLE {TRACED} SET log_statement = 'all'"))
        .expect("the role is made");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    testbed
}

/// pgconvoy in front of them; reads go to node 1.
pub fn options(testbed: &Testbed, weights: [u32; 3]) -> ProxyOptions {
    let nodes = testbed.nodes().iter().zip(weights);
    let backends: Vec<Backend> = nodes.map(|(node, weight)| Backend { port: node.port(), weight }).collect();
    Proxy::over(&backends).set("sr_check_period", 1)
}

pub fn started(options: &ProxyOptions) -> Proxy {
    let proxy = options.start();
    proxy.wait_roles_known(3);
    proxy
}

pub fn session(proxy: &Proxy) -> Connection {
    Connection::login(proxy.address(), &Login::new(TRACED, "postgres")).expect("a login")
}

/// The nodes in whose logs `mark` stands.
pub fn nodes_of(testbed: &Testbed, mark: &str) -> Vec<u8> {
    let has = |node: usize| fs::read_to_string(testbed.node(node).log_path()).expect("a server's log").contains(mark);
    (0..3).filter(|node| has(*node)).map(|node| node as u8).collect()
}

/// The nodes in whose logs `mark` stands, once it stands in those where it is expected: a client has its answer before
/// the node has one that it does not hear.
pub fn reached(testbed: &Testbed, mark: &str, expected: &[u8]) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = nodes_of(testbed, mark);
        if expected.iter().all(|node| found.contains(node)) || Instant::now() > deadline {
            return found;
        }
        std::thread::yield_now();
    }
}

/// How often `mark` stands in a node's log.
pub fn count(testbed: &Testbed, node: usize, mark: &str) -> usize {
    fs::read_to_string(testbed.node(node).log_path()).expect("a server's log").matches(mark).count()
}

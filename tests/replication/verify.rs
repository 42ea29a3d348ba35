//! `pgconvoy verify` on servers that are alike, that clients write to, and that differ in all ways that it knows.

use std::process::{Command, Output};

use crate::servers::Servers;
use crate::support::proxy::Proxy;
use crate::support::wire::{Connection, Login};

/// What it says of a configuration: its exit code, its output, and what it complains of.
fn verify(proxy: &Proxy, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_pgconvoy"))
        .args(["verify", "-f"])
        .arg(proxy.folder().join("pgpool.conf"))
        .args(arguments)
        .output()
        .expect("a run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// The last line of an output.
fn verdict(output: &str) -> &str {
    output.lines().last().unwrap_or_default()
}

#[test]
fn servers_that_are_alike_are_told_so_also_under_load() {
    let servers = Servers::start(3);
    let proxy = servers.proxy().start();
    let port = proxy.address().port().to_string();
    let pgbench = |arguments: &[&str]| {
        let mut command = Command::new("pgbench");
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"]).args(arguments).arg("postgres");
        command
    };
    assert!(pgbench(&["-i", "-q", "-s", "2"]).output().expect("a run").status.success());
    let (code, output, complaints) = verify(&proxy, &["-d", "postgres", "--range", "7000"]);
    assert_eq!((code, complaints.as_str()), (0, ""), "{output}");
    let expected = "database postgres, nodes 0, 1, 2\n  \
                    public.pgbench_accounts: 200000 rows, alike\n  \
                    public.pgbench_branches: 2 rows, alike\n  \
                    public.pgbench_history: 0 rows, alike\n  \
                    public.pgbench_tellers: 20 rows, alike\n\
                    4 tables with 200022 rows: no difference\n";
    assert_eq!(output, expected);

    // Nearly every row of two tables is being written at any moment.
    let tables = ["-t", "public.pgbench_accounts", "-t", "public.pgbench_branches", "-t", "public.pgbench_tellers"];
    let mut load = pgbench(&["-n", "-c", "8", "-T", "60", "-M", "prepared"]).spawn().expect("a run");
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).unwrap();
    let written =
        |client: &mut Connection| client.value("SELECT count(*) FROM pgbench_history").parse::<u64>().unwrap();
    let mut before = 0;
    for _ in 0..3 {
        while written(&mut client) <= before {}
        before = written(&mut client);
        let (code, output, complaints) = verify(&proxy, &tables);
        assert_eq!((code, complaints.as_str()), (0, ""), "{output}");
        assert!(verdict(&output).ends_with(": no difference"), "{output}");
    }
    while written(&mut client) <= before {}
    assert!(load.try_wait().expect("a child").is_none(), "the load has ended too early");
    load.kill().expect("a signal");
    load.wait().expect("an end");
}

#[test]
fn what_differs_is_named() {
    let servers = Servers::start(3);
    let proxy = servers.proxy().start();
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).unwrap();
    for sql in [
        "CREATE TABLE t (a int, b text COLLATE \"C\", c float8, d \"char\", PRIMARY KEY (b, a))",
        "INSERT INTO t SELECT n, 'k' || n % 7, n / 3.0, 'x' FROM generate_series(1, 1000) n",
        "CREATE TABLE words (word text PRIMARY KEY, \"Number\" numeric(9,2))",
        "INSERT INTO words SELECT chr(97 + n % 26) || n, n FROM generate_series(1, 500) n",
        "CREATE TABLE bag (a int, b jsonb)",
        "INSERT INTO bag SELECT n % 50, '{\"x\": 1}' FROM generate_series(1, 200) n",
        "CREATE TABLE parts (a int PRIMARY KEY, b text) PARTITION BY RANGE (a)",
        "CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)",
        "INSERT INTO parts SELECT n, 'p' FROM generate_series(0, 99) n",
        "CREATE TABLE wider (a int PRIMARY KEY)",
        "CREATE TABLE empty ()",
        "CREATE MATERIALIZED VIEW mat AS SELECT a FROM bag",
        "CREATE SEQUENCE s",
        "SELECT lo_from_bytea(77, 'large')",
    ] {
        client.rows(sql);
    }
    let (code, output, complaints) = verify(&proxy, &["-d", "postgres", "--range", "64"]);
    assert_eq!(
        (code, complaints.as_str(), verdict(&output)),
        (0, "", "8 tables with 2001 rows: no difference"),
        "{output}"
    );

    servers.direct(2, "postgres").rows("UPDATE t SET c = -1 WHERE a = 500");
    servers.direct(1, "postgres").rows("DELETE FROM t WHERE a = 3");
    servers.direct(2, "postgres").rows("INSERT INTO t VALUES (1001, 'zz', 0, 'y')");
    servers.direct(1, "postgres").rows("UPDATE words SET \"Number\" = 7.5 WHERE word LIKE 'a%'");
    servers.direct(0, "postgres").rows("INSERT INTO bag VALUES (7, '{\"x\": 1}'), (7, '{\"x\": 2}')");
    servers.direct(1, "postgres").rows("UPDATE parts SET b = 'q' WHERE a = 99");
    servers.direct(2, "postgres").rows("ALTER TABLE wider ADD b int");
    servers.direct(1, "postgres").rows("DROP TABLE empty");
    servers.direct(2, "postgres").rows("SELECT nextval('s')");
    servers.direct(2, "postgres").rows("SELECT lo_put(77, 0, 'LARGE')");
    servers.direct(1, "postgres").rows("CREATE DATABASE extra");
    let (code, output, complaints) = verify(&proxy, &["--range", "64", "--named", "3"]);
    assert_eq!((code, complaints.as_str()), (1, ""), "{output}");
    let expected = "database app, nodes 0, 1, 2
database extra, node 1
  missing on nodes 0, 2
database postgres, nodes 0, 1, 2
  pg_catalog.pg_largeobject: 1 row not alike, of 1 on node 0, 1 on node 1, 1 on node 2
    loid = 77, pageno = 0
      nodes 0, 1: (77,0,\"\\\\x6c61726765\")
      node 2: (77,0,\"\\\\x4c41524745\")
  public.bag: 2 rows not alike, of 202 on node 0, 200 on node 1, 200 on node 2
    (7,\"{\"\"x\"\": 1}\")
      node 0: 5 times
      nodes 1, 2: 4 times
    (7,\"{\"\"x\"\": 2}\")
      node 0: once
      nodes 1, 2: missing
  public.empty: missing on node 1
  public.mat: 200 rows, alike
  public.part_1: 1 row not alike, of 100 on node 0, 100 on node 1, 100 on node 2
    a = 99
      nodes 0, 2: (99,p)
      node 1: (99,q)
  public.t: 3 rows not alike, of 1000 on node 0, 999 on node 1, 1001 on node 2
    b = k3, a = 3
      nodes 0, 2: (3,k3,1,x)
      node 1: missing
    b = k3, a = 500
      nodes 0, 1: (500,k3,166.66666666666666,x)
      node 2: (500,k3,-1,x)
    b = zz, a = 1001
      nodes 0, 1: missing
      node 2: (1001,zz,0,y)
  public.wider: other columns
    node 0 (a integer)
    node 1 (a integer)
    node 2 (a integer, b integer)
  public.words: 19 rows not alike, of 500 on node 0, 500 on node 1, 500 on node 2
    word = a104
      nodes 0, 2: (a104,104.00)
      node 1: (a104,7.50)
    word = a130
      nodes 0, 2: (a130,130.00)
      node 1: (a130,7.50)
    word = a156
      nodes 0, 2: (a156,156.00)
      node 1: (a156,7.50)
    and 16 more
  sequence public.s: not used on node 0, not used on node 1, 1 on node 2
8 tables with 2003 rows: 9 differences
";
    assert_eq!(output, expected);
    let (code, output, _) = verify(&proxy, &["-d", "postgres", "-t", "public.bag", "--nodes", "1,2"]);
    assert_eq!((code, verdict(&output)), (1, "1 table with 200 rows: 1 difference"));
    assert!(output.contains("  public.bag: 200 rows, alike\n  sequence public.s: "), "{output}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let mut servers = Servers::start(3);
    let proxy = servers.proxy().start();
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).unwrap();
    client.rows("CREATE TABLE t (a int PRIMARY KEY)");
    let failed = |arguments: &[&str], complaint: &str| {
        let (code, output, complaints) = verify(&proxy, arguments);
        assert_eq!(code, 2, "{output}{complaints}");
        assert!(complaints.contains(complaint), "{complaints}");
    };
    failed(&["-d", "nowhere"], "no server has a database \"nowhere\"");
    failed(&["--nodes", "0,7"], "--nodes: the configuration has no backend 7");
    failed(&["--nodes", "1"], "there are 1 servers to compare: two are needed at least");
    failed(&["-U", "nobody"], "node 2 is left out: 127.0.0.1:");
    failed(&["-U", "nobody"], "FATAL: role \"nobody\" does not exist (28000)");
    client.rows("CREATE ROLE weak LOGIN");
    failed(&["-U", "weak"], "table public.t is left out: ");
    failed(&["-U", "weak"], "node 0: ERROR: permission denied for table t (42501)");
    // A writer that does not end.
    client.rows("BEGIN");
    client.rows("INSERT INTO t VALUES (1)");
    failed(&[], "writers of public.t did not let a lock pass");
    client.rows("COMMIT");
    servers.kill(1);
    let (code, output, complaints) = verify(&proxy, &[]);
    assert_eq!(code, 2, "{output}{complaints}");
    assert!(complaints.starts_with("node 1 is left out: 127.0.0.1:"), "{complaints}");
    assert!(output.contains("database postgres, nodes 0, 2\n  public.t: 1 row, alike\n"), "{output}");
    assert!(verdict(&output).ends_with("no difference in what could be compared, 1 could not"), "{output}");
}

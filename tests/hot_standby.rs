//! Generated statements through pgconvoy, with a weight on a real hot standby only: what it gets there must not write.
//!
//! Whatever is volatile in the schema writes, so that the standby refuses it with SQLSTATE 25006: that is a bug of the
//! classifier or of the catalogue. `PGCONVOY_SEED` sets the first seed, `PGCONVOY_STATEMENTS` the number of statements.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pgconvoy_core::rng::Rng;
use pgconvoy_io::testbed::{Node, Options, Testbed};
use pgconvoy_statements::{Generator, READER, SCHEMA, Statement};
use support::environment::{long_run, number_from, seed_of_now};
use support::postgres::{start, superuser, superuser_login};
use support::proxy::{Backend, Proxy};
use support::wire::frontend::Frontend;
use support::wire::{Connection, Login, Message};

/// What a standby answers to what writes: `read_only_sql_transaction`.
const REFUSED: &str = "25006";
/// Scripts of one session.
const SCRIPTS: usize = 40;
/// Statements sent before the first answer is read.
const PIPELINED: usize = 16;
/// Sessions at a time.
const SESSIONS: usize = 4;
/// A table that has grown beyond this is cut down to its first rows: or whole-schema functions would take minutes.
const TRIM: &str = "DO $$
    DECLARE grown record;
    BEGIN
        SET LOCAL lock_timeout = '200ms';
        FOR grown IN
            SELECT quote_ident(nspname) || '.' || quote_ident(relname) AS name
            FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind = 'r' AND relpersistence = 'p' AND nspname NOT LIKE 'pg\\_%' AND pg_relation_size(c.oid) > 500000
        LOOP
            EXECUTE 'CREATE TEMP TABLE first_rows ON COMMIT DROP AS SELECT * FROM ' || grown.name || ' LIMIT 50';
            EXECUTE 'TRUNCATE ' || grown.name;
            EXECUTE 'INSERT INTO ' || grown.name || ' SELECT * FROM first_rows';
            DROP TABLE first_rows;
        END LOOP;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN NULL;
    END $$";
/// Questions asked to make a failure short.
const QUESTIONS: usize = 400;

/// A database of its own for each notation that calls functions without naming them, because one such object keeps the
/// whole database on the primary: its name, its objects, and statements that use them.
const TRAPS: &[(&str, &str, &[&str])] = &[
    (
        "operators",
        "CREATE FUNCTION less_tick(a int, b text) RETURNS boolean LANGUAGE sql AS 'SELECT public.ticks(a) < 3';
         CREATE OPERATOR <<< (LEFTARG = int, RIGHTARG = text, FUNCTION = less_tick)",
        &[
            "SELECT 1 <<< 'x'::text",
            "SELECT id FROM item WHERE id <<< label",
            "SELECT 1 OPERATOR(public.<<<) 'x'::text",
        ],
    ),
    (
        "casts",
        "CREATE CAST (account AS int) WITH FUNCTION ticket(account) AS IMPLICIT",
        &["SELECT a::int FROM account a", "SELECT CAST(a AS int) FROM account a", "SELECT steady(a) FROM account a"],
    ),
    (
        "domains",
        "CREATE DOMAIN ticking AS int CHECK (ticks(VALUE) = VALUE);
         CREATE TYPE holder AS (t ticking);
         CREATE DOMAIN outer_domain AS ticking",
        &[
            "SELECT 1::ticking",
            "SELECT ticking '1'",
            "SELECT CAST(id AS outer_domain) FROM item",
            "SELECT ('{1,2}'::ticking[])[1]",
            "SELECT jsonb_populate_record(NULL::holder, '{\"t\": 1}')",
            "SELECT t FROM jsonb_to_record('{\"t\": 1}') AS x (t ticking)",
            "SELECT '(1)'::holder",
        ],
    ),
    (
        "operator_classes",
        "CREATE FUNCTION point_less(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1[0] < $2[0]';
         CREATE FUNCTION point_compare(point, point) RETURNS int LANGUAGE plpgsql
            AS 'BEGIN PERFORM public.ticks(1); RETURN sign($1[0] - $2[0]); END';
         CREATE OPERATOR <# (LEFTARG = point, RIGHTARG = point, FUNCTION = point_less);
         CREATE FUNCTION point_same(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1[0] = $2[0]';
         CREATE OPERATOR =# (LEFTARG = point, RIGHTARG = point, FUNCTION = point_same);
         CREATE OPERATOR CLASS point_ops DEFAULT FOR TYPE point USING btree
            AS OPERATOR 1 <#, OPERATOR 3 =#, FUNCTION 1 point_compare(point, point)",
        &["SELECT p FROM (VALUES (point '(1,1)'), (point '(0,1)'), (point '(3,1)')) v (p) ORDER BY p USING <#"],
    ),
];

/// What one message asked for, and in what session.
#[derive(Clone, Debug)]
struct Sent {
    statement: Statement,
    session: Session,
}

/// How a session is set up.
#[derive(Clone, Debug)]
struct Session {
    database: String,
    settings: Vec<&'static str>,
    extended: bool,
}

impl Session {
    fn draw(database: &str, rng: &mut Rng) -> (Self, bool) {
        let mut settings = Vec::new();
        let standard_strings = !rng.chance(1, 4);
        if !standard_strings {
            settings.push("SET standard_conforming_strings = off");
        }
        match rng.below(6) {
            0 => settings.push("SET search_path = other, public"),
            1 => settings.push("SET search_path = public, other, pg_catalog"),
            2 => settings.push("SELECT set_config('search_path', 'other, public, pg_catalog', false)"),
            _ => {}
        }
        (Self { database: database.into(), settings, extended: rng.chance(1, 3) }, standard_strings)
    }

    fn open(&self, proxy: &Proxy) -> Connection {
        let login = Login::new(READER, &self.database);
        let mut connection = Connection::login(proxy.address(), &login).expect("a login");
        for setting in &self.settings {
            connection.query(setting).expect("a setting");
        }
        connection
    }

    fn messages(&self, text: &str) -> Vec<Frontend> {
        if self.extended {
            vec![Frontend::parse("", text), Frontend::bind("", ""), Frontend::execute(""), Frontend::Sync]
        } else {
            vec![Frontend::query(text)]
        }
    }
}

/// What came back from all sessions.
#[derive(Default)]
struct Results {
    sent: Mutex<Vec<Sent>>,
    /// How often each SQLSTATE came; empty for none.
    states: Mutex<BTreeMap<String, usize>>,
}

#[test]
fn what_a_standby_gets_only_reads() {
    let count = number_from("PGCONVOY_STATEMENTS").unwrap_or(if long_run() { 100_000 } else { 3_000 }) as usize;
    let seed = number_from("PGCONVOY_SEED").unwrap_or_else(seed_of_now);
    println!("seed {seed}, {count} statements");
    let (testbed, mut proxy) = servers();
    let results = Results::default();
    let next = AtomicU64::new(seed);
    std::thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                while results.sent.lock().expect("no panic").len() < count {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // One in ten is spent in the databases that stay with the primary.
                    let database = match seed % 40 {
                        at @ 0..4 => TRAPS[at as usize].0,
                        _ => "postgres",
                    };
                    generated_session(&testbed, &proxy, database, seed, &results);
                }
            });
        }
    });
    for (database, _, statements) in TRAPS {
        for (at, sql) in statements.iter().enumerate() {
            let session = Session { database: (*database).into(), settings: Vec::new(), extended: at % 2 == 1 };
            let mut connection = session.open(&proxy);
            connection.send_all(&session.messages(sql)).expect("a write");
            let answer = connection.read_to_ready().expect("an answer");
            assert_eq!(state(&answer), "", "{database}: {sql}");
        }
    }
    proxy.assert_healthy();

    let log = fs::read_to_string(testbed.node(1).log_path()).expect("the standby's log");
    let sent = results.sent.into_inner().expect("no panic");
    let states = results.states.into_inner().expect("no panic");
    let on_standby: BTreeSet<usize> =
        log.match_indices("/*#").filter_map(|(at, _)| number_at(&log[at + 3..])).collect();
    let succeeded = states.get("").copied().unwrap_or(0);
    println!("{} statements, {} on the standby, {succeeded} without an error", sent.len(), on_standby.len());
    println!("errors: {states:?}");
    let refused = refusals(&log);
    let reports: Vec<String> =
        refused.iter().take(8).map(|number| report(&testbed, &proxy, *number, &sent[*number])).collect();
    assert!(
        reports.is_empty(),
        "{} statements were refused as writes, among them:\n{}",
        refused.len(),
        reports.join("\n")
    );
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!(" {REFUSED} "))).collect();
    assert!(lines.is_empty(), "the standby was asked to write:\n{}", lines.join("\n"));
    assert!(on_standby.len() * 5 > sent.len(), "only {} of {} were for the standby", on_standby.len(), sent.len());
    // Behind an error, the rest of its transaction has not been tried.
    let tried = sent.len() - states.get("25P02").copied().unwrap_or(0);
    assert!(succeeded * 4 > tried * 3, "only {succeeded} of {tried} ran");
}

/// A primary with one standby and all databases, and pgconvoy in front: reads are for the standby.
fn servers() -> (Testbed, Proxy) {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    superuser(&testbed).rows(SCHEMA);
    let primary = support::postgres::address(testbed.node(0));
    let mut elsewhere = superuser_login();
    elsewhere.database = "template1".into();
    let mut elsewhere = Connection::login(primary, &elsewhere).expect("a login");
    for (database, objects, _) in TRAPS {
        elsewhere.rows(&format!("CREATE DATABASE {database} TEMPLATE postgres"));
        let mut login = superuser_login();
        login.database = (*database).into();
        Connection::login(primary, &login).expect("a login").rows(objects);
    }
    elsewhere.rows(&format!("ALTER ROLE {READER} SET log_statement = 'all'"));
    testbed.wait_standbys_caught_up().expect("the standby catches up");
    let nodes = testbed.nodes().iter().zip([0, 1]);
    let backends: Vec<Backend> = nodes.map(|(node, weight)| Backend { port: node.port(), weight }).collect();
    let proxy = Proxy::over(&backends).set("sr_check_period", 1).set("allow_sql_comments", "on").start();
    proxy.wait_roles_known(2);
    (testbed, proxy)
}

/// One session from its first statement to its last.
fn generated_session(testbed: &Testbed, proxy: &Proxy, database: &str, seed: u64, results: &Results) {
    let mut rng = Rng::new(seed);
    let (session, standard_strings) = Session::draw(database, &mut rng);
    let mut connection = session.open(proxy);
    let mut generator = Generator::new(rng.next_u64(), true);
    let statements: Vec<Statement> = (0..SCRIPTS).flat_map(|_| generator.script(standard_strings)).collect();
    for batch in statements.chunks(PIPELINED) {
        let first = {
            let mut sent = results.sent.lock().expect("no panic");
            let first = sent.len();
            sent.extend(batch.iter().map(|statement| Sent { statement: statement.clone(), session: session.clone() }));
            first
        };
        let messages: Vec<Frontend> = batch
            .iter()
            .enumerate()
            .flat_map(|(at, statement)| session.messages(&format!("{}\n/*#{}*/", statement.text(), first + at)))
            .collect();
        connection.send_all(&messages).expect("a write");
        for statement in batch {
            let answer = connection
                .read_to_ready()
                .unwrap_or_else(|error| panic!("seed {seed}: {error}: {}\n{}", statement.text(), running(testbed)));
            let state = state(&answer);
            if std::env::var_os("PGCONVOY_SHOW_ERRORS").is_some() && !state.is_empty() {
                let error = answer.iter().find(|message| message.kind == b'E').map(Message::line);
                eprintln!("{}: {}", error.unwrap_or_default(), statement.text());
            }
            *results.states.lock().expect("no panic").entry(state).or_default() += 1;
        }
    }
    connection.leave().expect("a close");
    let mut login = superuser_login();
    login.database = database.into();
    let primary = support::postgres::address(testbed.node(0));
    Connection::login(primary, &login).expect("a login").rows(TRIM);
}

/// What the servers run, and since when: a statement without an answer is slow there, or lost on the way.
fn running(testbed: &Testbed) -> String {
    let ask = |node: &Node| {
        let address = support::postgres::address(node);
        let mut connection = Connection::login(address, &superuser_login()).expect("a login");
        let rows = connection.rows(
            "SELECT state, clock_timestamp() - query_start, wait_event_type, wait_event, left(query, 200) \
             FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
        let lines = rows.iter().map(|row| format!("  {row:?}\n"));
        format!("node {}:\n{}", node.port(), lines.collect::<String>())
    };
    testbed.nodes().iter().map(ask).collect()
}

/// The SQLSTATE of an answer's first error; empty without one.
fn state(answer: &[Message]) -> String {
    answer.iter().find(|message| message.kind == b'E').map(Message::sqlstate).unwrap_or_default()
}

fn number_at(text: &str) -> Option<usize> {
    text.split_once("*/").and_then(|(number, _)| number.parse().ok())
}

/// The numbers of the statements that the standby has refused as writes, by its log: a client may not hear of it, because
/// the primary has answered instead.
fn refusals(log: &str) -> BTreeSet<usize> {
    let code = format!(" {REFUSED} ");
    let refused = log.match_indices(&code);
    refused.filter_map(|(at, _)| number_at(log[at..].split_once("/*#")?.1)).collect()
}

/// What was refused, made as short as it still is refused in a session of its own.
fn report(testbed: &Testbed, proxy: &Proxy, number: usize, sent: &Sent) -> String {
    let refusals = || {
        let log = fs::read_to_string(testbed.node(1).log_path()).expect("the standby's log");
        log.matches(&format!(" {REFUSED} ")).count()
    };
    let refused = |statement: &Statement| {
        let before = refusals();
        let mut connection = sent.session.open(proxy);
        connection.send_all(&sent.session.messages(&statement.text())).expect("a write");
        connection.read_to_ready().expect("an answer");
        connection.leave().expect("a close");
        refusals() > before
    };
    if refused(&sent.statement) {
        let short = sent.statement.shrink(QUESTIONS, refused);
        format!("{number} in {:?}: {}", sent.session, short.text())
    } else {
        format!("{number} in {:?}, not alone: {}", sent.session, sent.statement.text())
    }
}

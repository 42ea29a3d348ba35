//! Where statements go by what they are, on a primary with two standbys: each is looked for in the servers' own logs.

mod support;

use std::time::{Duration, Instant};

use pgconvoy_io::testbed::Testbed;
use support::postgres::{address, superuser};
use support::proxy::Proxy;
use support::routes::{BOTH, PRIMARY, STANDBY, TRACED, count, nodes_of, options, reached, servers, session, started};
use support::wire::backend::Message;
use support::wire::frontend::Frontend;
use support::wire::{Connection, Login};

/// Runs each statement in a session of its own, in the simple and in the extended protocol, and compares where it went.
fn each_goes(testbed: &Testbed, proxy: &Proxy, table: &str, cases: &[(&str, &[u8])]) {
    let mut wrong = Vec::new();
    for (at, (sql, expected)) in cases.iter().enumerate() {
        for protocol in ["simple", "extended"] {
            let mark = format!("/*{table} {at} {protocol}*/");
            let mut session = session(proxy);
            let marked = format!("{sql} {mark}");
            let messages = if protocol == "simple" {
                session.query(&marked)
            } else {
                let batch =
                    [Frontend::parse("", &marked), Frontend::bind("", ""), Frontend::execute(""), Frontend::Sync];
                session.send_all(&batch).and_then(|()| session.read_to_ready())
            };
            let messages = messages.unwrap_or_else(|error| panic!("{marked}: {error}"));
            let error = messages.iter().find(|message| message.kind == b'E').map(|error| error.sqlstate());
            session.leave().expect("a close");
            let found = reached(testbed, &mark, expected);
            if found != *expected || error.is_some() {
                wrong.push(format!("{marked}: {found:?}, not {expected:?}; error {error:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} went elsewhere:\n{}", wrong.len(), 2 * cases.len(), wrong.join("\n"));
}

#[test]
fn what_names_mean_decides() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    each_goes(
        &testbed,
        &proxy,
        "names",
        &[
            ("SELECT 1", STANDBY),
            ("SELECT a, lower(b) FROM t WHERE a = 1", STANDBY),
            ("SELECT * FROM public.t, tenant.t2", STANDBY),
            ("SELECT stable_f(a), now() FROM t", STANDBY),
            ("SELECT * FROM good", STANDBY),
            ("SELECT * FROM kept", STANDBY),
            ("SELECT * FROM parted", STANDBY),
            ("SELECT count(*), sum(a), extract(year FROM now()) FROM t", STANDBY),
            ("WITH q AS (SELECT a FROM t) SELECT * FROM q JOIN t USING (a)", STANDBY),
            ("SELECT * FROM generate_series(1, 3) AS g (n)", STANDBY),
            ("SELECT * FROM (VALUES (1), (2)) AS v (n)", STANDBY),
            ("EXPLAIN SELECT * FROM t", STANDBY),
            ("EXPLAIN (ANALYZE) SELECT * FROM t", STANDBY),
            ("TABLE t", STANDBY),
            ("SHOW work_mem", STANDBY),
            ("SELECT volatile_f(1)", PRIMARY),
            ("SELECT writer()", PRIMARY),
            ("SELECT defaulted()", PRIMARY),
            ("SELECT public.volatile_f(a) FROM t", PRIMARY),
            ("SELECT volatile_sum(a) FROM t", PRIMARY),
            ("SELECT t.nick FROM t", PRIMARY),
            ("SELECT (t).nick FROM t", PRIMARY),
            ("SELECT * FROM bad", PRIMARY),
            ("SELECT * FROM worse", PRIMARY),
            ("SELECT * FROM numbered", PRIMARY),
            ("SELECT * FROM guarded", PRIMARY),
            ("SELECT * FROM unlogged", PRIMARY),
            ("SELECT * FROM mixed", PRIMARY),
            ("SELECT last_value FROM counter", PRIMARY),
            ("SELECT nextval('counter')", PRIMARY),
            ("SELECT random()", PRIMARY),
            ("SELECT relname FROM pg_class LIMIT 1", PRIMARY),
            ("SELECT table_name FROM information_schema.tables LIMIT 1", PRIMARY),
            ("EXPLAIN (ANALYZE) SELECT writer()", PRIMARY),
            ("SELECT a FROM t FOR UPDATE", PRIMARY),
            ("WITH w AS (INSERT INTO plain VALUES (1) RETURNING a) SELECT * FROM w", PRIMARY),
            ("SELECT pg_catalog.upper(b) FROM t", STANDBY),
            // No other schema that has one is searched.
            ("SELECT upper(b) FROM t", STANDBY),
            ("SET work_mem = '5MB'", BOTH),
            ("SELECT set_config('work_mem', '6MB', false)", BOTH),
            ("SET default_transaction_isolation = 'serializable'", PRIMARY),
            ("INSERT INTO plain VALUES (1)", PRIMARY),
            ("/* in front */ SELECT 1", PRIMARY),
        ],
    );
    proxy.assert_healthy();
}

#[test]
fn several_statements_go_together_where_all_may_go() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let cases: [(&str, &[u8]); 5] = [
        ("SELECT a FROM t; SELECT b FROM t", STANDBY),
        ("SELECT a FROM t; SELECT volatile_f(1)", PRIMARY),
        ("SELECT a FROM t; INSERT INTO plain VALUES (1)", PRIMARY),
        ("SELECT 1; SELECT * FROM bad", PRIMARY),
        ("SELECT 1; SET work_mem = '5MB'", PRIMARY),
    ];
    for (at, (sql, expected)) in cases.iter().enumerate() {
        let mark = format!("/*several {at}*/");
        let mut session = session(&proxy);
        let messages = session.query(&format!("{sql} {mark}")).expect("an answer");
        assert!(messages.iter().all(|message| message.kind != b'E'), "{sql}: {messages:?}");
        assert_eq!(nodes_of(&testbed, &mark), *expected, "{sql}");
    }
    proxy.assert_healthy();
}

#[test]
fn a_change_of_the_catalogue_is_heeded_at_once_by_every_session() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    // As many as there may be workers, and more.
    let mut sessions: Vec<Connection> = (0..16).map(|_| session(&proxy)).collect();
    let mut definer = session(&proxy);
    for round in 0..20 {
        let volatility = if round % 2 == 0 { "STABLE" } else { "VOLATILE" };
        let create = format!(
            "CREATE OR REPLACE FUNCTION changing() RETURNS int LANGUAGE plpgsql {volatility} AS 'BEGIN RETURN 1; END'"
        );
        if round % 4 < 2 {
            definer.query(&create).expect("an answer");
        } else {
            for sql in ["BEGIN", &create, "COMMIT"] {
                definer.query(sql).expect("an answer");
            }
        }
        testbed.wait_standbys_caught_up().expect("the standbys catch up");
        for (at, session) in sessions.iter_mut().enumerate() {
            let mark = format!("/*changing {round} {at}*/");
            session.rows(&format!("SELECT changing() {mark}"));
            let expected = if volatility == "STABLE" { STANDBY } else { PRIMARY };
            assert_eq!(nodes_of(&testbed, &mark), expected, "round {round}, session {at}");
        }
    }
    proxy.assert_healthy();
}

#[test]
fn a_prepared_statement_follows_its_functions() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut reader = session(&proxy);
    let mut definer = session(&proxy);
    reader.send_all(&[Frontend::parse("p", "SELECT stable_f(1) /*following*/"), Frontend::Sync]).expect("a write");
    reader.read_to_ready().expect("an answer");
    let run = |mark: &str, reader: &mut Connection| {
        let before = [0, 1].map(|node| count(&testbed, node, mark));
        reader
            .send_all(&[Frontend::bind("", "p"), Frontend::execute(""), Frontend::Sync])
            .and_then(|()| reader.read_to_ready())
            .expect("an answer");
        let after = [0, 1].map(|node| count(&testbed, node, mark));
        [after[0] - before[0], after[1] - before[1]]
    };
    assert_eq!(run("/*following*/", &mut reader), [0, 1]);
    definer.query("ALTER FUNCTION stable_f(int) VOLATILE").expect("an answer");
    assert_eq!(run("/*following*/", &mut reader), [1, 0]);
    definer.query("ALTER FUNCTION stable_f(int) STABLE").expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    assert_eq!(run("/*following*/", &mut reader), [0, 1]);
    proxy.assert_healthy();
}

/// What a session hears of a statement that it has prepared and described, when its table has been changed: kinds of
/// messages, and the codes of errors.
fn hears_of_a_change(mut session: Connection, undone: bool) -> Vec<String> {
    let mut heard = Vec::new();
    let mut note = |messages: Vec<Message>| {
        let said =
            |message: &Message| if message.kind == b'E' { message.sqlstate() } else { char::from(message.kind).into() };
        heard.push(messages.iter().filter(|message| message.kind != b'S').map(said).collect::<Vec<String>>().join(" "));
    };
    let described = Frontend::Describe(support::wire::frontend::Target::Statement, "p".to_owned());
    let run = [Frontend::bind("", "p"), Frontend::execute(""), Frontend::Sync];
    let mut batch = |session: &mut Connection, messages: &[Frontend]| {
        note(session.send_all(messages).and_then(|()| session.read_to_ready()).expect("an answer"));
    };
    batch(&mut session, &[Frontend::parse("p", "SELECT * FROM t WHERE a > 0"), described, Frontend::Sync]);
    batch(&mut session, &run);
    for sql in ["BEGIN", "ALTER TABLE t ADD c int", "ROLLBACK"] {
        if sql != "ROLLBACK" || undone {
            session.query(sql).expect("an answer");
            (0..2).for_each(|_| batch(&mut session, &run));
        }
    }
    session.query("ROLLBACK").expect("an answer");
    let close = Frontend::Close(support::wire::frontend::Target::Statement, "p".to_owned());
    batch(&mut session, &[close, Frontend::Sync]);
    batch(&mut session, &[Frontend::parse("p", "SELECT * FROM t WHERE a > 0"), Frontend::Sync]);
    batch(&mut session, &run);
    session.leave().expect("a close");
    heard
}

#[test]
fn a_prepared_statement_whose_rows_change_is_refused_as_postgresql_refuses_it() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    for undone in [true, false] {
        let direct = Connection::login(address(testbed.node(0)), &Login::new(TRACED, "postgres")).expect("a login");
        let expected = hears_of_a_change(direct, undone);
        assert!(expected.iter().any(|answer| answer.contains("0A000")), "{expected:?}");
        assert_eq!(hears_of_a_change(session(&proxy), undone), expected);
    }
    proxy.assert_healthy();
}

#[test]
fn in_a_transaction_what_is_not_known_is_for_the_primary_until_it_is_over() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut session = session(&proxy);
    for (round, expected) in [PRIMARY, STANDBY].into_iter().enumerate() {
        session.query("BEGIN").expect("an answer");
        let mark = format!("/*block {round}*/");
        session.rows(&format!("SELECT a FROM tenant.t2 {mark}"));
        session.query("COMMIT").expect("an answer");
        assert_eq!(nodes_of(&testbed, &mark), expected, "round {round}");
    }
    proxy.assert_healthy();
}

#[test]
fn a_look_up_that_hangs_or_fails_costs_the_statement_its_balance_only() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut root = superuser(&testbed);
    // The definition of a view cannot be shown while it is locked.
    root.query("BEGIN; LOCK TABLE pg_catalog.pg_policy IN ACCESS EXCLUSIVE MODE").expect("an answer");
    let mut session = session(&proxy);
    let begun = Instant::now();
    session.rows("SELECT a FROM t /*locked*/");
    assert!(begun.elapsed().as_secs() < 5, "the statement waited for {:?}", begun.elapsed());
    assert_eq!(nodes_of(&testbed, "/*locked*/"), PRIMARY);
    root.query("ROLLBACK").expect("an answer");
    std::thread::sleep(Duration::from_millis(1100));
    session.rows("SELECT a FROM t /*free*/");
    assert_eq!(nodes_of(&testbed, "/*free*/"), STANDBY);
    proxy.assert_healthy();
}

#[test]
fn lists_of_the_operator_decide() {
    let testbed = servers();
    let lists = options(&testbed, [0, 1, 0])
        .set("read_only_function_list", "get_.*,tenant.get_one")
        .set("primary_routing_query_pattern_list", ".*kept.*;SELECT 7.*");
    let mut proxy = started(&lists);
    each_goes(
        &testbed,
        &proxy,
        "read-only list",
        &[
            ("SELECT get_two()", STANDBY),
            ("SELECT tenant.get_one()", STANDBY),
            ("SELECT set_two()", PRIMARY),
            ("SELECT * FROM kept", PRIMARY),
            ("select 7", PRIMARY),
            ("SELECT 8", STANDBY),
        ],
    );
    proxy.assert_healthy();
    let mut proxy = started(&options(&testbed, [0, 1, 0]).set("write_function_list", "set_.*"));
    let cases: [(&str, &[u8]); 3] =
        [("SELECT volatile_f(1)", STANDBY), ("SELECT set_two()", PRIMARY), ("SELECT lower('A')", STANDBY)];
    each_goes(&testbed, &proxy, "write list", &cases);
    proxy.assert_healthy();
}

/// Statements, and where they go.
type Cases<'a> = Vec<(&'a str, &'a [u8])>;

#[test]
fn each_switch_of_the_operator_has_its_effect() {
    let testbed = servers();
    let hints = ["NO LOAD BALANCE", "REPLICATION", "INSERT LOCK", "NO QUERY CACHE", "FORCE QUERY CACHE"];
    let hinted = hints.map(|hint| format!("/*{hint}*/ SELECT a FROM t"));
    let hinted_to = |node: &'static [u8]| hinted.iter().map(move |sql| (sql.as_str(), node)).collect::<Vec<_>>();
    let comments = |node: &'static [u8]| {
        let mut cases = hinted_to(node);
        cases.extend([
            ("/* a /* b */ */ SELECT 1", node),
            ("-- c\nSELECT 1", node),
            ("SELECT /* inside */ 1", STANDBY),
        ]);
        cases.push(("/* c */ INSERT INTO plain VALUES (1)", PRIMARY));
        cases
    };
    let rows: [(&str, &str, Cases<'_>); 7] = [
        ("allow_sql_comments", "off", comments(PRIMARY)),
        ("allow_sql_comments", "on", comments(STANDBY)),
        (
            "ignore_leading_white_space",
            "on",
            vec![(" SELECT 1", STANDBY), ("\n\t(SELECT a FROM t)", STANDBY), ("\r\n TABLE t", STANDBY)],
        ),
        (
            "ignore_leading_white_space",
            "off",
            vec![
                ("SELECT 1", STANDBY),
                (" SELECT 1", PRIMARY),
                ("\n\t(SELECT a FROM t)", PRIMARY),
                ("\r\n TABLE t", PRIMARY),
                (" SET work_mem = '5MB'", BOTH),
            ],
        ),
        (
            "load_balance_mode",
            "off",
            vec![("SELECT 1", PRIMARY), ("SET work_mem = '5MB'", PRIMARY), ("TABLE t", PRIMARY)],
        ),
        ("check_unlogged_table", "on", vec![("SELECT * FROM unlogged", PRIMARY)]),
        ("backend_weight1", "0", vec![("SELECT 1", PRIMARY)]),
    ];
    for (name, value, cases) in rows {
        let mut proxy = started(&options(&testbed, [0, 1, 0]).set(name, value));
        each_goes(&testbed, &proxy, &format!("{name} {value}"), &cases);
        proxy.assert_healthy();
    }
    // What a standby cannot read, it is asked for all the same.
    let mut proxy = started(&options(&testbed, [0, 1, 0]).set("check_unlogged_table", "off"));
    session(&proxy).rows("SELECT * FROM unlogged /*unchecked*/");
    assert_eq!(reached(&testbed, "/*unchecked*/", BOTH), BOTH);
    proxy.assert_healthy();
}

#[test]
fn temporary_tables_are_recognised_as_configured() {
    let testbed = servers();
    superuser(&testbed)
        .query(
            "CREATE FUNCTION hides() RETURNS int LANGUAGE plpgsql AS \
             'BEGIN CREATE TEMP TABLE plain (a int); RETURN 1; END'",
        )
        .expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let cases: [(&str, &[u8], &[u8]); 3] =
        [("catalog", PRIMARY, PRIMARY), ("trace", PRIMARY, STANDBY), ("none", STANDBY, STANDBY)];
    for (word, said, hidden) in cases {
        let mut proxy = started(&options(&testbed, [0, 1, 0]).set("check_temp_table", word));
        for (at, (sql, expected)) in
            [("CREATE TEMP TABLE plain (a int)", said), ("SELECT hides()", hidden)].into_iter().enumerate()
        {
            let mut session = session(&proxy);
            session.query(sql).expect("an answer");
            let mark = format!("/*{word} {at}*/");
            session.rows(&format!("SELECT a FROM plain {mark}"));
            assert_eq!(nodes_of(&testbed, &mark), expected, "{word}: {sql}");
        }
        proxy.assert_healthy();
    }
}

/// How often a node was asked about the catalogue.
fn questions(testbed: &Testbed, node: usize) -> usize {
    count(testbed, node, "pg_catalog.string_agg(line")
}

#[test]
fn the_catalogue_is_asked_where_and_as_often_as_configured() {
    let testbed = servers();
    let asked = |proxy: &Proxy, statements: &[&str]| {
        let before = [0, 1].map(|node| questions(&testbed, node));
        let mut session = session(proxy);
        statements.iter().for_each(|sql| drop(session.rows(sql)));
        let after = [0, 1].map(|node| questions(&testbed, node));
        [after[0] - before[0], after[1] - before[1]]
    };
    for (word, node) in [("primary", 0), ("load_balance_node", 1)] {
        let mut proxy = started(&options(&testbed, [0, 1, 0]).set("relcache_query_target", word));
        let found = asked(&proxy, &["SELECT stable_f(1)", "SELECT stable_f(2)"]);
        assert!(found[node] > 0 && found[1 - node] == 0, "{word}: {found:?}");
        proxy.assert_healthy();
    }
    let round_about = ["SELECT a FROM t", "SELECT a FROM plain", "SELECT a FROM t", "SELECT a FROM plain"];
    let wide = started(&options(&testbed, [0, 1, 0]));
    let mut narrow = started(&options(&testbed, [0, 1, 0]).set("relcache_size", 1));
    let [wide, narrow_asked] = [&wide, &narrow].map(|proxy| asked(proxy, &round_about)[0]);
    assert!(wide < narrow_asked, "relcache_size: {wide}, {narrow_asked}");
    narrow.assert_healthy();
    let mut proxy = started(&options(&testbed, [0, 1, 0]).set("relcache_expire", 1));
    asked(&proxy, &["SELECT a FROM t"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while asked(&proxy, &["SELECT a FROM t"]) == [0, 0] {
        assert!(Instant::now() < deadline, "relcache_expire");
    }
    proxy.assert_healthy();
}

#[test]
fn preferences_have_an_order_and_a_ratio() {
    let testbed = servers();
    let reads_of = |settings: &[(&str, &str)], sessions: usize| {
        let options = options(&testbed, [0, 1, 0]);
        let options = settings.iter().fold(options, |options, (name, value)| options.set(name, value));
        let mut proxy = started(&options);
        let mark = format!("/*{settings:?}*/");
        for _ in 0..sessions {
            session(&proxy).rows(&format!("SELECT a FROM t {mark}"));
        }
        proxy.assert_healthy();
        [0, 1, 2].map(|node| count(&testbed, node, &mark))
    };
    let [application, database, user] =
        ["app_name", "database", "user"].map(|what| format!("{what}_redirect_preference_list"));
    assert_eq!(reads_of(&[(&user, "tra.*:2")], 4), [0, 0, 4]);
    assert_eq!(reads_of(&[(&user, "someone:2,traced:primary")], 4), [4, 0, 0]);
    assert_eq!(reads_of(&[(&user, "traced:2(0)")], 4), [0, 4, 0], "a ratio of nothing");
    assert_eq!(reads_of(&[(&user, "traced:primary"), (&database, "postgres:2")], 4), [0, 0, 4]);
    assert_eq!(reads_of(&[(&database, "postgres:primary"), (&application, ".*:2")], 4), [0, 0, 4]);
    assert_eq!(reads_of(&[(&database, "other:primary"), (&application, "psql:2")], 4), [0, 4, 0]);
    let halves = reads_of(&[(&database, "postgres:2(0.5)")], 60);
    assert!(halves[0] == 0 && halves[1] > 12 && halves[2] > 12, "{halves:?}");
}

#[test]
fn preferences_choose_the_node_of_a_session() {
    let testbed = servers();
    let mut proxy = started(
        &options(&testbed, [1, 1, 1])
            .set("app_name_redirect_preference_list", "report.*:2,console:primary")
            .set("database_redirect_preference_list", "postgres:1"),
    );
    for (application, expected) in [("reporting", 2), ("console", 0), ("other", 1)] {
        for number in 0..8 {
            let login = Login::new(TRACED, "postgres").parameter("application_name", application);
            let mut session = Connection::login(proxy.address(), &login).expect("a login");
            let mark = format!("/*{application} {number}*/");
            session.rows(&format!("SELECT a FROM t {mark}"));
            assert_eq!(nodes_of(&testbed, &mark), [expected], "{application}");
        }
    }
    proxy.assert_healthy();
}

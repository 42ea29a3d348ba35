//! Names that the catalogue must be asked about, and the statements that wait for it.

use super::*;

/// What a server answers when all of a question's names are unknown to it, but for the table `t`.
fn answer(lines: &[&str]) -> Vec<u8> {
    let value = lines.join("\x1e").replace('|', "\x1f");
    [complete("SET"), complete("SET"), complete("SET"), row(&value), complete("SELECT 1"), ready(b'I')].concat()
}

/// A pair whose worker knows nothing yet.
fn ignorant() -> Stage {
    let stage = Stage::paired();
    stage.session.commons.catalog.borrow_mut().forget();
    stage
}

#[test]
fn a_read_waits_for_what_its_names_mean() {
    let mut stage = ignorant();
    stage.client(&query("SELECT f(a) FROM t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "the question");
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "".into()), "what comes after it waits too");
    stage.node(PRIMARY, &answer(&["w|false", "f|0|public|false|", "r|0|public|r|false|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "QQ".into()));
    assert_eq!(stage.heard(), "", "the client sees nothing of it");
}

#[test]
fn a_function_that_may_write_is_the_primarys() {
    let mut stage = ignorant();
    stage.client(&query("SELECT f(a) FROM t"));
    stage.sent(PRIMARY);
    stage.node(PRIMARY, &answer(&["w|false", "f|0|public|true|", "r|0|public|r|false|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
}

#[test]
fn a_view_is_asked_about_until_all_is_known() {
    let mut stage = ignorant();
    stage.client(&query("TABLE v"));
    stage.node(PRIMARY, &answer(&["w|false", "r|0|public|v|false| SELECT g(t.a) FROM public.t"]));
    assert_eq!(stage.sent(PRIMARY), "QQ", "a second question");
    stage.node(PRIMARY, &answer(&["f|0|public|true|", "r|0|public|r|false|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
}

#[test]
fn a_question_without_an_answer_costs_the_balance_only() {
    let mut stage = ignorant();
    stage.client(&query("TABLE t"));
    stage.sent(PRIMARY);
    stage.node(PRIMARY, &[error("57014"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY), stage.heard()), ("Q".into(), "".into(), "".into()));
    stage.node(PRIMARY, &[complete("SELECT 0"), ready(b'I')].concat());
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "it is not asked again at once");
}

#[test]
fn within_a_transaction_it_is_asked_afterwards() {
    let mut stage = ignorant();
    stage.begin();
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("SELECT 0"), ready(b'T')].concat());
    stage.client(&query("COMMIT"));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.node(STANDBY, &[complete("COMMIT"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "Q", "the question");
    stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|false|"]));
    stage.sent(STANDBY);
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

/// A view may call a function that writes.
#[test]
fn what_was_not_looked_up_may_have_written() {
    let cases = [("SELECT * FROM v", ("Q", "")), ("/*c*/ SELECT * FROM v", ("Q", "")), ("/*c*/ TABLE t", ("", "Q"))];
    for (text, to) in cases {
        let mut stage = Stage::paired();
        stage.begin();
        stage.client(&query(text));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
        stage.node(PRIMARY, &[complete("SELECT 0"), ready(b'T')].concat());
        stage.client(&query("TABLE t"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{text}");
    }
}

#[test]
fn what_may_have_made_a_temporary_table_is_asked_about_before_a_transaction_begins() {
    for (made, to) in [("", ("", "Q")), ("t|t", ("Q", ""))] {
        let mut stage = Stage::paired();
        stage.client(&query("SELECT f(1)"));
        stage.node(PRIMARY, &answer(&["f|0|public|true|"]));
        stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(stage.sent(PRIMARY), "QQ", "a question, and the call");
        stage.client(&query("BEGIN"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "another question");
        stage.node(PRIMARY, &answer(&[made]));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "Q".into()));
        stage.node(PRIMARY, &[complete("BEGIN"), ready(b'T')].concat());
        stage.node(STANDBY, &[complete("BEGIN"), ready(b'T')].concat());
        stage.client(&query("TABLE t"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{made}");
    }
}

/// So it is before a batch that begins on all nodes.
#[test]
fn what_may_have_made_a_temporary_table_is_asked_about_before_a_batch_for_all() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT f(1)"));
    stage.node(PRIMARY, &answer(&["f|0|public|true|"]));
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "QQ", "a question, and the call");
    stage.client(&[parse("", "COMMIT"), bind("", ""), execute(""), parse("", "TABLE t")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "another question");
    stage.node(PRIMARY, &answer(&[""]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBEH".into(), "PBEH".into()));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[bare(b'1'), bare(b'2'), complete("COMMIT")].concat());
    }
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "P".into()));
}

#[test]
fn while_a_batch_runs_on_a_standby_the_primary_is_asked() {
    for (volatile, to) in [("false", ("", "P")), ("true", ("P", ""))] {
        let mut stage = ignorant();
        stage.client(&parse("p", "TABLE t"));
        stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|false|"]));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "P".into()), "nothing of a batch was out");
        stage.client(&parse("q", "SELECT f(1)"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "H".into()), "it waits for its turn");
        stage.node(STANDBY, &bare(b'1'));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "the question");
        stage.node(PRIMARY, &answer(&[&format!("f|0|public|{volatile}|")]));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{volatile}");
        assert_eq!(stage.heard(), "1", "the client sees nothing of it");
    }
}

#[test]
fn a_batch_that_runs_on_the_primary_is_not_interrupted() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "INSERT INTO t VALUES (1)"), bind("", ""), parse("q", "TABLE u")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBP".into(), "".into()));
}

/// Something may have been set on the primary alone: of that, too, a batch there tells first.
#[test]
fn what_is_not_known_of_a_batch_keeps_the_rest_of_it_on_the_primary() {
    let mut stage = Stage::paired();
    stage.client(&[parse("a", "TABLE pg_views"), parse("b", "TABLE t")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PP".into(), "".into()));
    assert!(stage.session.standing().unsure);
    stage.client(&sync());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'1'), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "SQ", "the question");
    stage.node(PRIMARY, &answer(&[""]));
    assert!(!stage.session.standing().unsure);
    stage.client(&[parse("c", "TABLE pg_views"), parse("d", "TABLE t")].concat());
    stage.node(PRIMARY, &bare(b'1'));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PH".into(), "P".into()));
}

#[test]
fn a_change_of_the_catalogue_is_forgotten_when_it_is_complete() {
    let mut stage = Stage::paired();
    stage.client(&[query("ALTER TABLE t ADD b int"), query("TABLE t")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("ALTER TABLE"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "the question");
}

#[test]
fn a_prepared_statement_is_judged_again_after_a_change() {
    let mut stage = Stage::paired();
    stage.client(&[parse("p", "TABLE t"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    stage.session.commons.catalog.borrow_mut().forget();
    stage.client(&[bind("", "p"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "PS".into()), "the question");
    stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|true|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "BES".into()), "unlogged, but not checked");
}

#[test]
fn what_waits_can_be_cancelled() {
    for (request, heard) in [(query("TABLE t"), "EZ"), ([parse("", "TABLE t"), sync()].concat(), "E")] {
        let mut stage = ignorant();
        stage.client(&request);
        assert!(!stage.session.handle_cancel(NOW), "nothing of the client's runs");
        stage.sent(PRIMARY);
        stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|false|"]));
        assert_eq!(stage.heard(), heard);
        assert_eq!(stage.sent(STANDBY), "");
        stage.client(&query("TABLE t"));
    }
}

#[test]
fn a_route_is_explained_as_it_would_be_taken() {
    let mut stage = ignorant();
    stage.client(&query("EXPLAIN ROUTE SELECT f() FROM t"));
    assert_eq!(stage.sent(PRIMARY), "Q", "the question");
    stage.node(PRIMARY, &answer(&["w|false", "f|0|public|false|", "r|0|public|r|false|"]));
    let table = stage.heard_bytes();
    assert_eq!(kinds(&table), "TDCZ");
    let text = String::from_utf8_lossy(&table).into_owned();
    assert!(text.contains("balanced") && text.contains("EITHER") && text.contains("one_node, out_of_step"), "{text}");
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "".into()), "nothing is run");
    stage.client(&[parse("", "explain route delete from t"), bind("", ""), execute(""), sync()].concat());
    let text = String::from_utf8_lossy(&stage.heard_bytes()).into_owned();
    assert!(text.contains("PRIMARY") && text.contains("may write"), "{text}");
}

#[test]
fn a_route_is_explained_in_the_extended_protocol_as_in_the_simple_one() {
    let mut stage = ignorant();
    stage.client(&[parse("", "EXPLAIN ROUTE TABLE t"), bind("", ""), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.heard().as_str()), ("Q", "12"), "the question");
    stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|false|"]));
    let text = String::from_utf8_lossy(&stage.heard_bytes()).into_owned();
    assert!(text.contains("balanced"), "{text}");
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.sent(STANDBY).as_str()), ("S", ""));
}

#[test]
fn temporary_tables_are_read_where_they_are() {
    let mut stage = Stage::paired();
    stage.client(&query("CREATE TEMP TABLE x (a int)"));
    stage.node(PRIMARY, &[complete("CREATE TABLE"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "the question");
    stage.node(PRIMARY, &answer(&["t|x"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
    stage.node(STANDBY, &[complete("SELECT 0"), ready(b'I')].concat());
    stage.client(&query("SELECT * FROM t, x"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("SELECT 0"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZCZCZ");
    assert!(stage.released.is_empty());
}

#[test]
fn a_function_may_have_made_a_temporary_table() {
    let mut stage = ignorant();
    stage.client(&query("SELECT f()"));
    stage.node(PRIMARY, &answer(&["w|false", "f|0|public|true|"]));
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.client(&query("TABLE t"));
    stage.node(PRIMARY, &answer(&["t|t", "r|0|public|r|false|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("QQ".into(), "".into()), "the one that hides the other");
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.client(&query("DISCARD TEMP"));
    stage.node(PRIMARY, &[complete("DISCARD TEMP"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("DISCARD TEMP"), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.sent(STANDBY);
    stage.client(&query("TABLE t"));
    stage.node(PRIMARY, &answer(&[]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "Q".into()));
}

#[test]
fn a_question_takes_no_unnamed_statement_away() {
    let mut stage = ignorant();
    stage.client(&[parse("", "SET a = 1"), sync()].concat());
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[bare(b'1'), ready(b'I')].concat());
        assert_eq!(stage.sent(node), "PS");
    }
    stage.client(&[parse("q", "TABLE t"), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "Q", "the question, which a server takes for the end of its unnamed statement");
    stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|false|"]));
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    stage.sent(STANDBY);
    stage.client(&[bind("", ""), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBES".into(), "BES".into()), "it is given again");
}

#[test]
fn what_a_query_of_the_client_has_taken_away_is_not_given_again() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "INSERT INTO armed VALUES (1)"), sync(), query("DELETE FROM t")].concat());
    assert_eq!(stage.sent(PRIMARY), "PSQ");
    stage.node(PRIMARY, &[bare(b'1'), ready(b'I'), complete("DELETE 0"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "Q", "a question");
    stage.node(PRIMARY, &answer(&[""]));
    stage.client(&[bind("", ""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "BS", "the server says that it does not exist");
}

#[test]
fn a_question_is_not_put_into_the_middle_of_a_message() {
    let mut stage = ignorant();
    stage.begin();
    stage.client(&query("TABLE t"));
    stage.node(PRIMARY, &[complete("SELECT 0"), ready(b'T')].concat());
    stage.client(&query("COMMIT"));
    // Nobody copies, and the data come in two parts.
    let data = message(frontend::COPY_DATA, b"nobody copies");
    let to_primary = |stage: &mut Stage| drained(stage.session.writes(Peer::Node(PRIMARY)).expect("a port"));
    stage.client(&data[..7]);
    assert!(to_primary(&mut stage).ends_with(&data[..7]));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("COMMIT"), ready(b'I')].concat());
    assert_eq!(to_primary(&mut stage), b"");
    stage.client(&data[7..]);
    assert!(to_primary(&mut stage).starts_with(&data[7..]));
}

#[test]
fn in_a_transaction_a_prepared_statement_stays_where_a_change_of_its_result_is_noticed() {
    let mut stage = Stage::paired();
    stage.client(&[parse("p", "TABLE t"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    stage.sent(STANDBY);
    stage.heard();
    stage.session.commons.catalog.borrow_mut().forget();
    stage.begin();
    stage.client(&[bind("", "p"), execute(""), sync()].concat());
    assert_eq!(stage.sent(STANDBY), "BES");
    assert!(!stage.sent(PRIMARY).contains('P'));
}

#[test]
fn what_was_prepared_unjudged_in_a_transaction_is_judged_before_it_runs() {
    for (request, sent) in [([bind("", "p"), execute(""), sync()].concat(), "Q"), (query("EXECUTE p"), "Q")] {
        let mut stage = Stage::paired();
        *stage.session.commons.catalog.borrow_mut() = Catalog::new(256, Duration::ZERO);
        stage.begin();
        stage.client(&query("DELETE FROM t"));
        stage.node(PRIMARY, &[complete("DELETE 0"), ready(b'T')].concat());
        stage.client(&[parse("p", "TABLE v"), sync()].concat());
        stage.node(PRIMARY, &[bare(b'1'), ready(b'T')].concat());
        stage.client(&query("COMMIT"));
        stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
        stage.node(STANDBY, &[complete("COMMIT"), ready(b'I')].concat());
        assert!(stage.sent(PRIMARY).ends_with('Q'), "what may have been set by what was used");
        stage.node(PRIMARY, &answer(&[]));
        stage.sent(STANDBY);
        stage.client(&request);
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (sent.into(), "".into()), "not on the standby");
    }
}

#[test]
fn where_a_name_means_several_things_the_path_is_asked_for() {
    let mut stage = ignorant();
    let lower = ["w|false", "f|0|pg_catalog|false|", "f|0|tenant|true|", "r|0|public|r|false|"];
    let path = ["p|pg_catalog", "p|public"];
    stage.client(&query("SELECT lower(b) FROM t"));
    assert_eq!(stage.sent(PRIMARY), "Q");
    stage.node(PRIMARY, &answer(&lower));
    assert_eq!(
        (stage.sent(PRIMARY), stage.sent(STANDBY)),
        ("".into(), "Q".into()),
        "the path, where the read would run"
    );
    stage.node(STANDBY, &answer(&path));
    assert_eq!(stage.sent(STANDBY), "Q", "the read");
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.client(&query("SELECT lower(b) FROM t"));
    assert_eq!(stage.sent(STANDBY), "Q", "it is known now");
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.heard();
    stage.begin();
    stage.client(&query("SELECT lower(b) FROM t"));
    assert_eq!(stage.sent(STANDBY), "Q", "in a block too");
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'T')].concat());
    stage.client(&query("SET LOCAL search_path = tenant"));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[complete("SET"), ready(b'T')].concat());
        stage.sent(node);
    }
    stage.client(&query("SELECT lower(b) FROM t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "it may mean something else now");
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'T')].concat());
    stage.client(&query("ROLLBACK"));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[complete("ROLLBACK"), ready(b'I')].concat());
    }
    assert_eq!(
        (stage.sent(PRIMARY), stage.sent(STANDBY)),
        ("Q".into(), "QQ".into()),
        "and is asked for when it can be"
    );
}

#[test]
fn the_path_is_asked_for_once_everything_else_is_known() {
    let mut stage = ignorant();
    stage.client(&query("SELECT a FROM t"));
    assert_eq!(stage.sent(PRIMARY), "Q");
    stage.node(PRIMARY, &answer(&["w|false", "r|0|public|r|false|", "r|0|tenant|v|false| SELECT volatile_f(1) AS a"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "what is behind the view");
    stage.node(PRIMARY, &answer(&["f|0|public|true|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "the path");
    stage.node(STANDBY, &answer(&["p|pg_catalog", "p|public"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "the read");
}

#[test]
fn two_names_may_mean_several_things() {
    let mut stage = ignorant();
    stage.client(&query("SELECT a, lower(b) FROM t"));
    assert_eq!(stage.sent(PRIMARY), "Q");
    let found = [
        "w|false",
        "f|0|pg_catalog|false|",
        "f|0|tenant|true|",
        "r|0|public|r|false|",
        "r|0|tenant|v|false| SELECT volatile_f(1) AS a",
    ];
    stage.node(PRIMARY, &answer(&found));
    if stage.sent(PRIMARY) == "Q" {
        stage.node(PRIMARY, &answer(&["f|0|public|true|"]));
    }
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "the path");
    stage.node(STANDBY, &answer(&["p|pg_catalog", "p|public"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "the read");
}

#[test]
fn a_function_that_changes_settings_parts_the_session_from_its_standby() {
    for (effect, to) in [("sets", ("Q", "")), ("true", ("", "Q"))] {
        let mut stage = Stage::paired();
        stage.client(&query("SELECT f(1)"));
        stage.node(PRIMARY, &answer(&[&format!("f|0|public|{effect}|")]));
        stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(stage.sent(PRIMARY), "QQ", "a question, and the call");
        stage.client(&query("TABLE t"));
        if effect == "true" {
            assert_eq!(stage.sent(PRIMARY), "Q", "whether it has made a temporary table");
            stage.node(PRIMARY, &answer(&[""]));
        }
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{effect}");
    }
}

#[test]
fn what_a_transaction_has_called_is_asked_about_when_it_is_over() {
    let calls = ["SELECT f(1)", "INSERT INTO t (a) VALUES (public.f(1))", "UPDATE t SET a = lower(f (1))"];
    for (call, effect, to) in calls.iter().flat_map(|call| [(call, "sets", ("Q", "")), (call, "true", ("", "Q"))]) {
        let mut stage = Stage::paired();
        stage.begin();
        stage.client(&query(call));
        stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'T')].concat());
        stage.client(&query("COMMIT"));
        stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
        stage.sent(PRIMARY);
        stage.node(STANDBY, &[complete("COMMIT"), ready(b'I')].concat());
        stage.sent(STANDBY);
        assert_eq!(stage.sent(PRIMARY), "Q", "the question");
        stage.node(PRIMARY, &answer(&[&format!("f|0|public|{effect}|")]));
        stage.client(&query("TABLE t"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{call} {effect}");
    }
}

#[test]
fn a_route_that_is_explained_calls_nothing() {
    let mut stage = Stage::paired();
    stage.client(&query("EXPLAIN ROUTE SELECT f(1)"));
    stage.node(PRIMARY, &answer(&["f|0|public|sets|"]));
    assert_eq!((stage.sent(PRIMARY), stage.heard()), ("Q".into(), "TDCZ".into()));
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

#[test]
fn what_may_find_a_temporary_table_runs_where_it_is() {
    for (text, to) in [
        ("SELECT f(1)", ("Q", "")),
        ("SELECT 'x'::regclass", ("Q", "")),
        ("SELECT null::x", ("Q", "")),
        ("SELECT lower('x') FROM t", ("", "Q")),
    ] {
        let mut stage = Stage::paired();
        stage.client(&query("CREATE TEMP TABLE x (a int)"));
        stage.node(PRIMARY, &[complete("CREATE TABLE"), ready(b'I')].concat());
        stage.sent(PRIMARY);
        stage.client(&query(text));
        assert_eq!(stage.sent(PRIMARY), "Q", "the question");
        stage.node(PRIMARY, &answer(&["t|x", "f|0|public|false|"]));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{text}");
    }
}

#[test]
fn a_table_may_be_temporary_by_the_path() {
    let mut stage = Stage::paired();
    stage.client(&query("SET search_path = pg_temp, public"));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[complete("SET"), ready(b'I')].concat());
        stage.sent(node);
    }
    stage.client(&query("CREATE TABLE t (a int)"));
    stage.node(PRIMARY, &[complete("CREATE TABLE"), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.client(&query("TABLE t"));
    assert_eq!(stage.sent(PRIMARY), "Q", "the question");
    stage.node(PRIMARY, &answer(&["w|false", "t|t", "r|0|public|r|false|"]));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
}

#[test]
fn what_a_standby_refuses_as_a_write_is_looked_up_again() {
    let mut stage = Stage::paired();
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
    let age = stage.session.commons.catalog.borrow().age();
    stage.node(STANDBY, &[error("25006"), ready(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("".into(), "Q".into()), "the primary is asked instead");
    assert!(stage.session.commons.catalog.borrow().age() > age, "for whoever comes next");
}

#[test]
fn what_is_attached_to_a_table_may_change_settings_where_it_is_written() {
    for (answered, to) in [("s|0", ("Q", "")), ("", ("", "Q"))] {
        for (text, tag) in [("INSERT INTO armed VALUES (1)", "INSERT 0 1"), ("TRUNCATE armed", "TRUNCATE TABLE")] {
            let mut stage = Stage::paired();
            stage.client(&query(text));
            stage.node(PRIMARY, &[complete(tag), ready(b'I')].concat());
            assert_eq!(stage.sent(PRIMARY), "QQ", "the write, and a question");
            stage.client(&query("SHOW my.tenant"));
            assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "".into()), "it waits for the answer");
            stage.node(PRIMARY, &answer(&[answered]));
            assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{text}, {answered}");
        }
    }
}

#[test]
fn a_table_may_be_given_a_trigger_behind_a_prepared_statement() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s", "INSERT INTO t VALUES (1)"), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "PS", "all of it is known");
    let run = [bind("", "s"), execute(""), sync()].concat();
    let ran = [bare(b'2'), complete("INSERT 0 1"), ready(b'I')].concat();
    stage.client(&run);
    stage.node(PRIMARY, &ran);
    assert_eq!(stage.sent(PRIMARY), "BES");
    stage.session.commons.catalog.borrow_mut().forget();
    stage.client(&run);
    stage.node(PRIMARY, &ran);
    assert_eq!(stage.sent(PRIMARY), "BESQ", "it is asked about again");
    stage.node(PRIMARY, &answer(&["s|0"]));
    assert_eq!(stage.released, [STANDBY]);
}

#[test]
fn until_it_is_known_whether_something_was_set_the_primary_is_asked() {
    for (answered, to) in [("s|0", ("Q", "")), ("", ("", "Q"))] {
        let mut stage = Stage::paired();
        stage.client(&query("INSERT INTO armed VALUES (1)"));
        stage.node(PRIMARY, &[complete("INSERT 0 1"), ready(b'I')].concat());
        assert_eq!(stage.sent(PRIMARY), "QQ", "the write, and a question");
        stage.node(PRIMARY, &[error("57014"), ready(b'I')].concat());
        for (text, tag) in [("SHOW my.tenant", "SHOW"), ("SELECT 1", "SELECT 1")] {
            stage.client(&query(text));
            assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "{text}");
            stage.node(PRIMARY, &[complete(tag), ready(b'I')].concat());
        }
        assert!(stage.released.is_empty(), "nothing is known");
        stage.client(&query("SET work_mem = '1MB'"));
        for node in [PRIMARY, STANDBY] {
            assert_eq!(stage.sent(node), "Q", "they are kept in step");
            stage.node(node, &[complete("SET"), ready(b'I')].concat());
        }
        stage.now = NOW.after(Duration::from_secs(2));
        stage.client(&query("SHOW my.tenant"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "the question, once more");
        stage.node(PRIMARY, &answer(&[answered]));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{answered}");
    }
}

#[test]
fn what_is_attached_to_definitions_may_change_settings() {
    let define = |stage: &mut Stage, text: &str, tag: &str| {
        stage.client(&query(text));
        stage.node(PRIMARY, &[complete(tag), ready(b'I')].concat());
        assert_eq!(stage.sent(PRIMARY), "Q", "nothing is asked before something is read");
    };
    for (text, answered, to) in [
        ("SELECT 1", "e", ("Q", "")),
        ("SELECT 1", "", ("", "Q")),
        ("BEGIN", "e", ("Q", "")),
        ("BEGIN", "", ("Q", "Q")),
    ] {
        let mut stage = Stage::paired();
        define(&mut stage, "CREATE TABLE u (a int)", "CREATE TABLE");
        define(&mut stage, "COMMENT ON TABLE u IS ''", "COMMENT");
        stage.client(&query(text));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "the question");
        stage.node(PRIMARY, &answer(&["w|false", answered]));
        let parted = answered == "e";
        assert_eq!(stage.released, if parted { vec![STANDBY] } else { vec![] });
        let sent = (stage.sent(PRIMARY), if parted { String::new() } else { stage.sent(STANDBY) });
        assert_eq!(sent, (to.0.into(), to.1.into()), "{text}, {answered}");
    }
    let mut stage = Stage::paired();
    define(&mut stage, "COMMENT ON TABLE t IS ''", "COMMENT");
    stage.client(&query("TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "nothing was attached");
}

#[test]
fn a_function_called_by_its_number_may_change_settings() {
    // lo_creat, set_config, and one of the database's own.
    for (number, to) in [(957, ("", "Q")), (2078, ("Q", "")), (16400, ("Q", ""))] {
        let mut stage = Stage::paired();
        let call = message(frontend::FUNCTION_CALL, &[&u32::to_be_bytes(number)[..], &[0; 6]].concat());
        stage.client(&call[..7]);
        assert_eq!(stage.sent(PRIMARY), "");
        stage.client(&call[7..]);
        stage.node(PRIMARY, &[message(backend::FUNCTION_CALL_RESPONSE, &[0xFF; 4]), ready(b'I')].concat());
        assert_eq!(stage.sent(PRIMARY), "F");
        stage.client(&query("SELECT 1"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (to.0.into(), to.1.into()), "{number}");
        assert_eq!(stage.released.is_empty(), number == 957);
    }
}

#[test]
fn a_function_that_all_backends_run_parts_none_from_the_others() {
    let mut stage = Stage::replicated();
    stage.client(&message(frontend::FUNCTION_CALL, &[&u32::to_be_bytes(77)[..], &[0; 6]].concat()));
    let answer = message(backend::FUNCTION_CALL_RESPONSE, &[0xFF; 4]);
    for node in [PRIMARY, STANDBY] {
        assert_eq!(stage.sent(node), "F");
        stage.node(node, &[answer.clone(), ready(b'I')].concat());
    }
    assert_eq!(stage.heard(), "VZ");
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY), stage.released), ("".into(), "Q".into(), vec![]));
}

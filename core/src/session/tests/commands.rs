//! Commands for pgconvoy itself, and what it keeps of the statements of others.

use super::*;
use crate::fault::Culprit;
use crate::session::local::Answer;
use crate::sql::Verb;

fn done() -> Outcome {
    Outcome::of(Answer::Done("SET"))
}

fn table() -> Outcome {
    Outcome::of(Answer::Rows { columns: vec!["port".into()], rows: vec![vec!["9999".into()]] })
}

fn refused() -> Outcome {
    Outcome::failed(Fault::new(Culprit::Client, b"42704", "unrecognized configuration parameter \"nosuch\""))
}

/// The whole of a batch: Parse, Bind, Describe, Execute, Sync.
fn batch(text: &str) -> Vec<u8> {
    [parse("", text), bind("", ""), message(frontend::DESCRIBE, b"P\0"), execute(""), sync()].concat()
}

#[test]
fn a_command_is_answered_in_a_block_without_touching_it() {
    let mut stage = Stage::paired();
    stage.begin();
    for (outcome, expected) in [(done(), "CZ"), (table(), "TDCZ"), (refused(), "EZ")] {
        stage.client(&query("pgpool set log_statement = on;"));
        assert_eq!(stage.commands.pop(), Some((b"set log_statement = on".as_slice().into(), false)));
        stage.session.handle_command(outcome, NOW);
        let heard = stage.heard_bytes();
        assert_eq!((kinds(&heard).as_str(), heard.last()), (expected, Some(&b'T')));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "".into()));
    }
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

#[test]
fn a_command_is_described_before_it_is_carried_out() {
    let mut stage = Stage::paired();
    for (outcome, described, executed) in [(table as fn() -> Outcome, "12T", "DC"), (done, "12n", "C")] {
        stage.client(&batch("PGPOOL SHOW port"));
        assert_eq!(stage.commands.pop(), Some((b"SHOW port".as_slice().into(), true)));
        stage.session.handle_command(outcome(), NOW);
        stage.drain();
        assert_eq!(stage.heard(), described);
        assert_eq!(stage.commands.pop(), Some((b"SHOW port".as_slice().into(), false)));
        stage.session.handle_command(outcome(), NOW);
        stage.drain();
        assert_eq!((stage.heard().as_str(), stage.sent(PRIMARY).as_str()), (executed, "S"));
        stage.node(PRIMARY, &ready(b'I'));
        assert_eq!(stage.heard(), "Z");
    }
}

#[test]
fn a_prepared_command_is_described_with_its_parameters() {
    let mut stage = Stage::paired();
    stage.client(&[parse("c", "PGPOOL SHOW ALL"), message(frontend::DESCRIBE, b"Sc\0"), sync()].concat());
    stage.session.handle_command(table(), NOW);
    assert_eq!((stage.heard().as_str(), stage.sent(PRIMARY).as_str()), ("1tT", "S"));
    stage.node(PRIMARY, &ready(b'I'));
    stage.client(&query("EXECUTE c"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "no server is given it");
    stage.node(PRIMARY, &[error("26000"), ready(b'I')].concat());
    stage.client(&[message(frontend::CLOSE, b"Sc\0"), parse("c", "EXPLAIN ROUTE SELECT 1"), sync()].concat());
    stage.node(PRIMARY, &ready(b'I'));
    stage.client(&query("DISCARD ALL"));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[complete("DISCARD ALL"), ready(b'I')].concat());
    }
}

#[test]
fn a_command_that_fails_ends_its_batch_but_no_block() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&[batch("PGPOOL SET nosuch = 1"), query("SELECT 1")].concat());
    stage.session.handle_command(refused(), NOW);
    stage.drain();
    assert_eq!((stage.heard().as_str(), stage.commands.len()), ("12E", 1), "the Execute is skipped");
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("S".into(), "".into()), "nothing makes the block fail");
    stage.node(PRIMARY, &ready(b'T'));
    assert_eq!(stage.sent(STANDBY), "Q");
}

#[test]
fn a_batch_that_has_written_fails_with_the_command_in_it() {
    let mut stage = Stage::paired();
    let write = [parse("", "INSERT INTO t VALUES (1)"), bind("", ""), execute("")].concat();
    stage.client(&[write, batch("PGPOOL SET nosuch = 1")].concat());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("INSERT 0 1")].concat());
    stage.session.handle_command(refused(), NOW);
    assert_eq!(stage.heard(), "12C12E");
    // The Flush asked for what was outstanding; the Parse cannot succeed.
    assert_eq!(stage.sent(PRIMARY), "PBEHPS");
}

#[test]
fn a_new_setting_holds_from_the_next_statement_on() {
    let mut stage = Stage::paired();
    stage.client(&query("PGPOOL SET allow_sql_comments = on"));
    let setup = Setup { allow_sql_comments: true, load_balance: true, ..Setup::default() };
    stage.session.handle_command(Outcome { setup: Some(Arc::new(setup)), ..done() }, NOW);
    assert_eq!(stage.heard(), "CZ");
    stage.client(&query("/* in front */ SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

#[test]
fn statements_are_counted_where_they_go() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.counted, [(STANDBY, Verb::Select)]);
    stage.node(STANDBY, &[error("22012"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "EZ");
    assert_eq!(stage.erred, [STANDBY]);
    stage.begin();
    assert_eq!(stage.counted[1..], [(PRIMARY, Verb::Other), (STANDBY, Verb::Other)]);
    stage.client(&[parse("", "DELETE FROM t"), bind("", ""), execute(""), sync()].concat());
    assert_eq!(stage.counted[3..], [(PRIMARY, Verb::Delete)]);
}

#[test]
fn errors_that_pgconvoy_provokes_are_not_counted() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SELECT 1/0"));
    stage.node(STANDBY, &[error("22012"), ready(b'E')].concat());
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    assert_eq!(stage.erred, [STANDBY]);
}

#[test]
fn decisions_are_kept_with_their_reasons() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.client(&[parse("", "DELETE FROM t"), bind("", ""), execute(""), sync()].concat());
    let commons = Rc::clone(&stage.session.commons);
    let decisions = commons.decisions.borrow();
    let found: Vec<_> =
        decisions.iter().map(|kept| (kept.session, kept.nodes.iter().next(), kept.rule.code(), kept.text)).collect();
    let expected = [
        (7, Some(STANDBY), "balanced", b"SELECT 1".as_slice()),
        (7, Some(PRIMARY), "class", b"DELETE FROM t".as_slice()),
    ];
    assert_eq!(found, expected);
    let first = decisions.iter().next().expect("there is one");
    assert_eq!((first.user, first.database, first.follows), (b"alice".as_slice(), b"shop".as_slice(), false));
}

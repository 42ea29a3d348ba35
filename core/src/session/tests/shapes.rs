//! The shape of a prepared statement's rows: what the client was told of it, and what a node says that it is brought to.

use super::*;
use crate::sql::Verb;

/// A RowDescription of columns of type integer.
fn shape(names: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, backend::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&(names.len() as u16).to_be_bytes());
        for name in names {
            build::cstr(out, name.as_bytes());
            out.extend_from_slice(&[0, 0, 64, 0, 0, 1, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0]);
        }
    });
    out
}

fn no_parameters() -> Vec<u8> {
    message(backend::PARAMETER_DESCRIPTION, &[0, 0])
}

fn describe(what: &str) -> Vec<u8> {
    message(frontend::DESCRIBE, format!("{what}\0").as_bytes())
}

fn run() -> Vec<u8> {
    [bind("", "s"), execute(""), sync()].concat()
}

/// A statement is prepared on the standby and described there; then a block changes its table.
fn changed() -> Stage {
    let mut stage = Stage::paired();
    stage.client(&[parse("s", "TABLE t"), describe("Ss"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), no_parameters(), shape(&["a"]), ready(b'I')].concat());
    assert_eq!((stage.sent(STANDBY).as_str(), stage.heard().as_str()), ("PDS", "1tTZ"));
    stage.begin();
    stage.client(&query("ALTER TABLE t ADD b int"));
    stage.node(PRIMARY, &[complete("ALTER TABLE"), ready(b'T')].concat());
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.heard().as_str()), ("Q", "CZ"));
    stage.counted.retain(|(_, verb)| *verb == Verb::Select);
    stage
}

#[test]
fn a_statement_is_compared_before_it_runs_where_it_is_brought() {
    let mut stage = changed();
    stage.client(&run());
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.sent(STANDBY).as_str()), ("PDH", ""));
    stage.node(PRIMARY, &[bare(b'1'), no_parameters(), shape(&["a"])].concat());
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.heard().as_str()), ("BES", ""));
    stage.node(PRIMARY, &[bare(b'2'), complete("SELECT 0"), ready(b'T')].concat());
    assert_eq!(stage.heard(), "2CZ");
    stage.client(&run());
    assert_eq!(stage.sent(PRIMARY), "BES", "once is enough");
}

#[test]
fn a_statement_whose_rows_have_changed_is_refused_as_postgresql_refuses_it() {
    let mut stage = changed();
    for _ in 0..2 {
        stage.client(&run());
        assert_eq!(stage.sent(PRIMARY), "PDH");
        let answer = [bare(b'1'), no_parameters(), shape(&["a", "b"])].concat();
        let (most, rest) = answer.split_at(answer.len() - 7);
        stage.node(PRIMARY, most);
        assert_eq!((stage.sent(PRIMARY).as_str(), stage.heard().as_str()), ("", ""), "half a description");
        stage.node(PRIMARY, rest);
        let heard = stage.heard_bytes();
        let words = String::from_utf8_lossy(&heard).into_owned();
        assert!(words.contains("0A000") && words.contains("RRevalidateCachedQuery"), "{words}");
        assert_eq!(kinds(&heard), "E");
        assert_eq!(stage.sent(PRIMARY), "CPS", "it is forgotten there, and the transaction is made to fail");
        stage.node(PRIMARY, &[bare(b'3'), error("42601"), ready(b'E')].concat());
        stage.node(STANDBY, &[error("42601"), ready(b'E')].concat());
        assert_eq!(stage.heard(), "Z");
        stage.client(&query("ROLLBACK"));
        for node in [PRIMARY, STANDBY] {
            stage.node(node, &[complete("ROLLBACK"), ready(b'I')].concat());
            stage.sent(node);
        }
        stage.heard();
        stage.client(&query("SHOW work_mem"));
        assert_eq!(stage.sent(PRIMARY), "Q", "what is attached to definitions");
        stage.node(PRIMARY, &[row("w\x1ffalse"), complete("SELECT 1"), ready(b'I')].concat());
        stage.node(STANDBY, &[complete("SHOW"), ready(b'I')].concat());
        stage.sent(STANDBY);
        stage.heard();
        stage.begin();
        stage.client(&query("ALTER TABLE t ADD b int"));
        stage.node(PRIMARY, &[complete("ALTER TABLE"), ready(b'T')].concat());
        stage.sent(PRIMARY);
        stage.heard();
    }
    assert!(stage.counted.iter().all(|(_, verb)| *verb != Verb::Select), "it has run");
}

#[test]
fn what_the_comparison_meets_is_told_to_who_waits_for_it() {
    let mut stage = changed();
    stage.client(&run());
    stage.sent(PRIMARY);
    stage.node(PRIMARY, &error("42P01"));
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.heard().as_str()), ("S", "E"));
    stage.node(PRIMARY, &ready(b'E'));
    assert_eq!(stage.heard(), "Z");
}

#[test]
fn the_description_of_a_portal_counts_as_well() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s", "TABLE t"), bind("", "s"), describe("P"), execute(""), sync()].concat());
    let answer = [bare(b'1'), bare(b'2'), shape(&["a"]), complete("SELECT 0"), ready(b'I')].concat();
    stage.node(STANDBY, &answer);
    assert_eq!((stage.sent(STANDBY).as_str(), stage.heard().as_str()), ("PBDES", "12TCZ"));
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.client(&run());
    assert_eq!(stage.sent(PRIMARY), "PDH");
    stage.node(PRIMARY, &[bare(b'1'), no_parameters(), shape(&["b"])].concat());
    assert_eq!(stage.heard(), "E");
}

#[test]
fn who_was_told_nothing_is_not_protected_from_anything() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.client(&run());
    assert_eq!(stage.sent(PRIMARY), "PBES");
}

#[test]
fn a_new_description_takes_the_place_of_the_old_one() {
    let mut stage = changed();
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.client(&[describe("Ss"), run()].concat());
    assert_eq!(stage.sent(PRIMARY), "PDH", "whether its rows are as it is described now is not known yet");
    stage.node(PRIMARY, &[bare(b'1'), no_parameters(), shape(&["a", "b"])].concat());
    assert_eq!((stage.sent(PRIMARY).as_str(), stage.heard().as_str()), ("BES", "tT"));
}

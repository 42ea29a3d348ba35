//! Batches of the extended protocol: one transaction, whatever nodes it goes to.

use super::*;

#[test]
fn a_batch_that_begins_on_the_primary_alone_stays_there() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "BEGIN ISOLATION LEVEL SERIALIZABLE"), bind("", ""), execute("")].concat());
    stage.client(&[parse("", "SELECT 1"), bind("", ""), execute(""), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("BEGIN")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBEHPBES".into(), "".into()));
}

#[test]
fn a_batch_that_changes_nodes_asks_for_the_replies_first() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT 1"), bind("", ""), execute("")].concat());
    assert_eq!(stage.sent(STANDBY), "PBE");
    stage.client(&[parse("", "DELETE FROM t"), bind("", ""), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "H".into()));
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), complete("SELECT 0")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBES".into(), "S".into()));
    stage.node(STANDBY, &ready(b'I'));
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("DELETE 0"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "12C12CZ");
}

#[test]
fn after_an_error_a_batch_is_skipped_up_to_its_sync() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT oops"), bind("", ""), execute("")].concat());
    stage.client(&parse("", "DELETE FROM t"));
    stage.node(STANDBY, &error("42703"));
    stage.client(&[bind("", ""), execute(""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "", "the write is part of the batch that failed");
    assert_eq!(stage.sent(STANDBY), "PBEHS");
    stage.node(STANDBY, &ready(b'I'));
    assert_eq!(stage.heard(), "EZ");
}

#[test]
fn a_batch_that_failed_on_the_standby_fails_the_block_on_the_primary() {
    for early in [false, true] {
        let mut stage = Stage::paired();
        stage.begin();
        stage.client(&[parse("", "SELECT oops"), bind("p", "")].concat());
        if early {
            stage.node(STANDBY, &error("42703"));
        }
        stage.client(&sync());
        if !early {
            stage.node(STANDBY, &error("42703"));
        }
        stage.node(STANDBY, &ready(b'E'));
        assert_eq!(stage.sent(PRIMARY), if early { "PS" } else { "Q" });
        stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
        assert_eq!(stage.heard(), "EZ");
        stage.client(&[parse("", "DELETE FROM t"), sync()].concat());
        assert_eq!(stage.sent(PRIMARY), "PS");
    }
}

#[test]
fn a_batch_that_fails_on_the_standby_is_not_committed_on_the_primary() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SET work_mem = 64"), bind("", ""), execute("")].concat());
    stage.client(&[parse("", "SELECT oops"), bind("", ""), execute(""), sync()].concat());
    let done = [bare(b'1'), bare(b'2'), complete("SET")].concat();
    stage.node(PRIMARY, &done);
    stage.node(STANDBY, &done);
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBEH".into(), "PBEHPBEH".into()), "no Sync yet");
    stage.node(STANDBY, &error("42703"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PS".into(), "S".into()), "the primary's part fails too");
    stage.node(STANDBY, &ready(b'I'));
    stage.node(PRIMARY, &[error("42601"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "12CEZ");
    assert_eq!(stage.released, [], "both have taken it back");
}

#[test]
fn a_query_ends_the_batch_that_was_only_flushed_elsewhere() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s1", "SELECT * FROM t"), bare(frontend::FLUSH)].concat());
    stage.node(STANDBY, &bare(b'1'));
    stage.sent(STANDBY);
    stage.client(&query("DROP TABLE t"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "S".into()), "no lock of the batch is left");
    stage.node(PRIMARY, &[complete("DROP TABLE"), ready(b'I')].concat());
    stage.node(STANDBY, &ready(b'I'));
    assert_eq!(stage.heard(), "1CZ");
    stage.client(&message(frontend::TERMINATE, b""));
    assert!(stage.session.take_link(STANDBY).unwrap().1, "nothing is half-way there");
}

#[test]
fn a_query_ends_the_batch_that_was_only_flushed_before_it() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s1", "SELECT 1"), bare(frontend::FLUSH)].concat());
    stage.node(STANDBY, &bare(b'1'));
    stage.client(&query("SELECT 2"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "PHQ".into()));
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.client(&message(frontend::TERMINATE, b""));
    assert!(stage.session.take_link(STANDBY).unwrap().1, "nothing is half-way there");
}

#[test]
fn a_half_sent_batch_makes_a_link_unfit_for_others() {
    let mut stage = Stage::paired();
    stage.client(&parse("", "SELECT 1"));
    stage.sent(STANDBY);
    stage.session.handle_closed(Peer::Client, Closed::End, NOW);
    assert!(stage.session.is_over());
    assert!(!stage.session.take_link(STANDBY).unwrap().1);
    assert!(stage.session.take_link(PRIMARY).unwrap().1);
}

#[test]
fn a_breach_is_told_after_the_answers_that_come_before_it() {
    let mut stage = Stage::paired();
    stage.client(&[query("SELECT 1"), message(b'y', b"what")].concat());
    assert!(!stage.session.is_over());
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZE");
    assert!(stage.session.is_over());
}

#[test]
fn a_batch_that_has_changed_how_strings_are_read_goes_on_where_all_is_known() {
    let sneaking = "SELECT 'a\\'', nextval($$s$$) --'";
    for first in
        ["SET standard_conforming_strings = off", "SELECT set_config('standard_conforming_strings', 'off', false)"]
    {
        let mut stage = Stage::paired();
        stage.client(
            &[parse("", first), bind("", ""), execute(""), parse("", sneaking), bind("", ""), execute(""), sync()]
                .concat(),
        );
        // It is known that it has run, and nothing of what it has set.
        for node in [PRIMARY, STANDBY] {
            assert_eq!(stage.sent(node), "PBEH", "{first}");
            let row = if first.starts_with("SELECT") { row("off") } else { vec![] };
            stage.node(node, &[bare(b'1'), bare(b'2'), row, complete("SET")].concat());
        }
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBEH".into(), "".into()), "{first}");
    }
    // Without it, a backslash is a character like any other.
    let mut stage = Stage::paired();
    stage.client(&[parse("", sneaking), bind("", ""), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "PBES".into()));
}

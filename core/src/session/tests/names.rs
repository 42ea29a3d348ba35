//! Names of prepared statements: who knows them, and who is told.

use super::*;

#[test]
fn a_prepared_statement_follows_its_transaction_to_the_primary() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s1", "SELECT 1"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY), stage.heard()), ("".into(), "PS".into(), "1Z".into()));
    stage.begin();
    stage.client(&query("DELETE FROM t"));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'T')].concat());
    stage.sent(PRIMARY);
    stage.heard();
    stage.client(&[bind("", "s1"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBES".into(), "".into()));
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("SELECT 1"), ready(b'T')].concat());
    assert_eq!(stage.heard(), "2CZ", "the client did not ask for that Parse");
}

#[test]
fn a_statement_whose_port_is_gone_is_prepared_before_it_is_described() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s1", "SELECT 1"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.heard();
    stage.client(&[message(frontend::DESCRIBE, b"Ss1\0"), bind("", "s1"), execute(""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "PDBES", "prepared once, and before anything names it");
}

#[test]
fn a_statement_refused_in_a_failed_block_is_prepared_again_afterwards() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s1", "SELECT 1"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    stage.heard();
    stage.begin();
    stage.client(&query("DELETE FROM t"));
    stage.node(PRIMARY, &[error("23503"), ready(b'E')].concat());
    stage.node(STANDBY, &[error("42601"), ready(b'E')].concat());
    stage.sent(PRIMARY);
    let again = [bind("", "s1"), execute(""), sync()].concat();
    for _ in 0..2 {
        stage.client(&again);
        assert_eq!(stage.sent(PRIMARY), "PBES");
        stage.node(PRIMARY, &[error("25P02"), ready(b'E')].concat());
    }
}

#[test]
fn a_name_in_use_is_refused_where_it_is_in_use() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s2", "SELECT 1"), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
    stage.sent(STANDBY);
    stage.client(&[parse("s2", "DELETE FROM t"), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "PS".into()));
    stage.node(STANDBY, &[error("42P05"), ready(b'I')].concat());
    stage.heard();
    stage.client(&[bind("", "s2"), execute(""), sync()].concat());
    assert_eq!(stage.sent(STANDBY), "BES", "the statement is still the first one");
}

#[test]
fn a_name_whose_parse_failed_is_free() {
    let mut stage = Stage::paired();
    stage.client(
        &[parse("s", "SELECT oops"), parse("s3", "SELECT 3"), sync(), parse("s4", "SELECT 4"), sync()].concat(),
    );
    stage.node(STANDBY, &[error("42703"), ready(b'I'), bare(b'1'), ready(b'I')].concat());
    assert_eq!(stage.heard(), "EZ1Z");
    stage.sent(STANDBY);
    stage.client(&[parse("s", "DELETE FROM t"), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PS".into(), "".into()));
    stage.node(PRIMARY, &[bare(b'1'), ready(b'I')].concat());
    stage.client(&[bind("", "s4"), execute(""), sync()].concat());
    assert_eq!(stage.sent(STANDBY), "BES", "the batch behind the failed one was not harmed");
}

#[test]
fn a_parse_that_failed_does_not_take_the_name_from_the_next_one() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s", "SELECT oops"), sync(), parse("s", "SELECT 1"), sync()].concat());
    stage.node(STANDBY, &[error("42703"), ready(b'I'), bare(b'1'), ready(b'I')].concat());
    stage.sent(STANDBY);
    stage.client(&[bind("", "s"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "BES".into()));
}

#[test]
fn a_close_that_was_skipped_closes_nothing() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.client(&[parse("", "SELECT oops"), message(frontend::CLOSE, b"Ss\0"), sync()].concat());
    stage.node(STANDBY, &[error("42703"), ready(b'I')].concat());
    stage.sent(STANDBY);
    stage.client(&[bind("", "s"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "BES".into()));
}

#[test]
fn a_statement_that_could_not_be_brought_is_brought_again() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.begin();
    stage.client(&query("DELETE FROM t"));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'T')].concat());
    stage.sent(PRIMARY);
    stage.client(&[parse("", "DELETE oops"), bind("", "s"), execute(""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "PPBES");
    stage.client(&bind("", "s"));
    assert_eq!(stage.sent(PRIMARY), "", "nobody knows yet whether the primary knows it");
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    stage.node(STANDBY, &[error("42601"), ready(b'E')].concat());
    assert_eq!(stage.sent(PRIMARY), "PB");
}

#[test]
fn a_statement_that_was_brought_in_vain_is_brought_again_by_the_primary_alone() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.client(&[parse("", "DELETE oops"), bind("", "s"), sync(), bind("", "s"), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "PPBS");
    stage.node(PRIMARY, &[error("42601"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "PBS");
}

#[test]
fn one_statement_deallocated_leaves_the_others() {
    let mut stage = Stage::paired();
    stage.prepared("a");
    stage.prepared("b");
    stage.client(&[parse("", "DEALLOCATE a"), bind("", ""), execute(""), sync()].concat());
    assert_eq!(stage.sent(STANDBY), "PBES", "it goes where the statement is");
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), complete("DEALLOCATE"), ready(b'I')].concat());
    stage.client(&[bind("", "b"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "BES".into()));
    stage.node(STANDBY, &[bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
    stage.client(&[bind("", "a"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("BES".into(), "".into()), "the name is unknown");
}

#[test]
fn names_are_forgotten_though_more_was_sent_behind() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.client(&[query("DISCARD ALL"), query("SELECT 1"), parse("s", "SELECT 1"), sync()].concat());
    stage.node(PRIMARY, &[complete("DISCARD ALL"), ready(b'I')].concat());
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "QQPS", "the name is free, and nothing is brought in front of it");
}

#[test]
fn an_error_before_it_does_not_make_a_deallocate_fail() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.client(&[query("SELECT oops"), query("DEALLOCATE s"), bind("", "s"), sync()].concat());
    stage.node(STANDBY, &[error("42703"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("DEALLOCATE"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("BS".into(), "QQ".into()), "nobody knows the name");
}

#[test]
fn an_execute_by_name_follows_a_write_to_the_primary() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.begin();
    stage.client(&query("DELETE FROM t"));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'T')].concat());
    stage.sent(PRIMARY);
    stage.heard();
    stage.client(&query("EXECUTE s"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PSQ".into(), "".into()));
    stage.node(PRIMARY, &[bare(b'1'), ready(b'T'), complete("SELECT 1"), ready(b'T')].concat());
    assert_eq!(stage.heard(), "CZ");
    stage.client(&[parse("", "EXECUTE s"), bind("", ""), execute(""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "PBES", "the primary knows it now");
}

#[test]
fn an_execute_by_name_runs_where_the_name_is_known() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.client(&query("EXECUTE s"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

#[test]
fn a_statement_that_executes_itself_is_the_backends_problem() {
    let mut stage = Stage::paired();
    stage.client(&[parse("s", "EXECUTE s"), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.client(&[bind("", "s"), execute(""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "BES");
}

#[test]
fn a_name_whose_port_is_gone_is_still_in_use() {
    for (text, answer) in [("DEALLOCATE s", complete("DEALLOCATE")), ("PREPARE s AS SELECT 2", error("42P05"))] {
        let mut stage = Stage::paired();
        stage.prepared("s");
        stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
        stage.drain();
        stage.client(&query(text));
        assert_eq!(stage.sent(PRIMARY), "PSQ", "{text} finds it there, as the client does");
        stage.node(PRIMARY, &[bare(b'1'), ready(b'I'), answer, ready(b'I')].concat());
        stage.heard();
        stage.client(&[parse("", text), bind("", ""), execute(""), sync()].concat());
        assert_eq!(stage.sent(PRIMARY), "PBES", "{text}");
    }
}

#[test]
fn names_forgotten_by_one_statement_are_free_for_the_next_however_the_answer_comes() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "DEALLOCATE ALL"), bind("", ""), execute("")].concat());
    stage.client(&parse("s", "SELECT 1"));
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), complete("DEALLOCATE ALL")].concat());
    let answer = [bare(b'1'), bare(b'2'), complete("DEALLOCATE ALL")].concat();
    let (most, rest) = answer.split_at(answer.len() - 3);
    stage.node(PRIMARY, most);
    assert_eq!(stage.sent(STANDBY), "PBEHP", "the answer is known, though it is still passing by");
    stage.node(PRIMARY, rest);
    stage.node(STANDBY, &bare(b'1'));
    stage.client(&[bind("", "s"), execute("")].concat());
    assert_eq!(stage.sent(STANDBY), "BE", "it is known where it was prepared");
}

#[test]
fn within_a_block_of_the_primarys_own_names_are_taken_there_too() {
    let begun = || {
        let mut stage = Stage::paired();
        stage.prepared("s");
        stage.client(&query("BEGIN ISOLATION LEVEL SERIALIZABLE"));
        stage.node(PRIMARY, &[complete("BEGIN"), ready(b'T')].concat());
        stage.sent(PRIMARY);
        stage.heard();
        stage
    };
    let mut stage = begun();
    stage.client(&[message(frontend::CLOSE, b"Ss\0"), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("CS".into(), "CS".into()));
    stage.node(STANDBY, &[bare(b'3'), ready(b'I')].concat());
    stage.node(PRIMARY, &[bare(b'3'), ready(b'T')].concat());
    assert_eq!(stage.heard(), "3Z");
    let mut stage = begun();
    stage.client(&query("DEALLOCATE s"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PSQ".into(), "Q".into()));
    let mut stage = begun();
    stage.client(&query("DEALLOCATE ALL"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("DEALLOCATE ALL"), ready(b'T')].concat());
    assert_eq!(stage.released, [STANDBY], "its names would be in the way");
    let mut stage = begun();
    stage.client(&query("DISCARD ALL"));
    stage.node(PRIMARY, &[error("25001"), ready(b'E')].concat());
    assert!(stage.released.is_empty(), "nothing was forgotten");
    let mut stage = Stage::paired();
    stage.client(&[parse("", "DISCARD ALL"), bind("", ""), execute(""), sync()].concat());
    let answer = [bare(b'1'), bare(b'2'), complete("DISCARD ALL"), ready(b'I')].concat();
    stage.node(STANDBY, &answer);
    stage.node(PRIMARY, &answer);
    assert!(stage.released.is_empty(), "all is forgotten on both");
    let mut stage = begun();
    stage.client(&query("SELECT oops"));
    stage.node(PRIMARY, &[error("42703"), ready(b'E')].concat());
    stage.sent(PRIMARY);
    stage.client(&[parse("s", "SELECT 2"), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PPS".into(), "".into()), "the failed block refuses");
}

#[test]
fn names_given_by_prepare_and_by_parse_are_the_same() {
    let mut stage = Stage::paired();
    stage.client(&query("PREPARE s AS DELETE FROM t"));
    stage.node(PRIMARY, &[complete("PREPARE"), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.client(&[parse("s", "SELECT 1"), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PS".into(), "".into()), "refused where it is in use");
}

#[test]
fn names_that_one_of_several_statements_has_forgotten_are_not_brought_back() {
    for (text, tag, gone) in [
        ("DEALLOCATE ALL; EXECUTE q", "DEALLOCATE ALL", true),
        ("SET work_mem = '1MB'; DISCARD PLANS; EXECUTE q", "SET", false),
    ] {
        let mut stage = Stage::paired();
        stage.prepared("s");
        stage.client(&query(text));
        stage.node(PRIMARY, &[complete(tag), error("26000"), ready(b'I')].concat());
        assert_eq!((stage.sent(PRIMARY), stage.heard()), ("Q".into(), "CEZ".into()));
        stage.client(&[bind("", "s"), execute(""), sync()].concat());
        assert_eq!(stage.sent(PRIMARY), if gone { "BES" } else { "PBES" }, "{text}");
    }
    let mut stage = Stage::paired();
    stage.client(&[parse("s", "DELETE FROM t"), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), ready(b'I')].concat());
    stage.client(&query("DEALLOCATE s; SELECT 1"));
    stage.node(PRIMARY, &[complete("DEALLOCATE"), complete("SELECT 1"), ready(b'I')].concat());
    stage.sent(PRIMARY);
    stage.client(&[bind("", "s"), execute(""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "BES", "the primary says what is there");
}

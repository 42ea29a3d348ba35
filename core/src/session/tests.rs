//! Stories of one session with a primary and a load-balance node. The scenario stands on top, the stage below.

use super::*;
use crate::wire::tag::{backend, frontend};
use alloc::format;
use alloc::vec;

const PRIMARY: NodeId = NodeId(0);
const STANDBY: NodeId = NodeId(1);

#[test]
fn reads_go_to_the_standby_and_writes_to_the_primary() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
    stage.node(STANDBY, &[row("x"), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "DCZ");
    stage.client(&query("INSERT INTO t VALUES (1)"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("INSERT 0 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZ");
}

#[test]
fn settings_go_to_both_and_are_answered_once() {
    let mut stage = Stage::paired();
    stage.client(&query("SET work_mem = '1MB'"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "Q".into()));
    stage.node(PRIMARY, &[complete("SET"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZ");
    // The next request waits until the standby has caught up.
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(STANDBY), "");
    stage.node(STANDBY, &[complete("SET"), ready(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

#[test]
fn a_setting_that_only_the_standby_refuses_ends_the_partnership() {
    let mut stage = Stage::paired();
    stage.client(&query("SET role = newcomer"));
    stage.node(PRIMARY, &[complete("SET"), ready(b'I')].concat());
    stage.node(STANDBY, &[error("22023"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZ");
    assert_eq!(stage.released, [STANDBY]);
    assert_eq!(stage.sent(STANDBY), "Q");
    let (_, reusable) = stage.session.take_link(STANDBY).unwrap();
    assert!(reusable, "the standby's link is clean");
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(PRIMARY), "QQ");
}

#[test]
fn a_block_stays_on_the_primary_once_it_has_written() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'T')].concat());
    stage.client(&query("UPDATE t SET a = 1"));
    stage.node(PRIMARY, &[complete("UPDATE 1"), ready(b'T')].concat());
    stage.sent(PRIMARY);
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'T')].concat());
    stage.client(&query("COMMIT"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "Q".into()));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("COMMIT"), ready(b'I')].concat());
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(STANDBY), "Q", "after the block, reads are balanced again");
}

#[test]
fn a_block_that_failed_on_the_standby_is_aborted_on_the_primary() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SELECT 1/0"));
    stage.sent(STANDBY);
    stage.node(STANDBY, &[error("22012"), ready(b'E')].concat());
    assert_eq!(stage.heard(), "EZ");
    assert_eq!(stage.sent(PRIMARY), "Q", "the primary's block is made to fail");
    stage.client(&query("COMMIT"));
    assert_eq!(stage.sent(STANDBY), "", "and nothing overtakes that");
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "Q".into()));
    stage.node(STANDBY, &[complete("ROLLBACK"), ready(b'I')].concat());
    stage.node(PRIMARY, &[complete("ROLLBACK"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZ");
}

#[test]
fn a_serializable_block_is_the_primarys_alone() {
    let mut stage = Stage::paired();
    stage.client(&query("BEGIN ISOLATION LEVEL SERIALIZABLE"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("BEGIN"), ready(b'T')].concat());
    stage.client(&query("SELECT 1"));
    stage.node(PRIMARY, &[complete("SELECT 1"), ready(b'T')].concat());
    stage.client(&query("COMMIT"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("QQ".into(), "".into()));
}

#[test]
fn a_transaction_that_becomes_serializable_or_keeps_a_snapshot_is_the_primarys() {
    for text in ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET LOCAL transaction_isolation TO 'repeatable read'"]
    {
        let mut stage = Stage::paired();
        stage.begin();
        stage.client(&query(text));
        stage.node(PRIMARY, &[complete("SET"), ready(b'T')].concat());
        stage.client(&query("SELECT 1"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("QQ".into(), "".into()), "{text}");
    }
    for (text, both) in
        [("BEGIN ISOLATION LEVEL REPEATABLE READ", false), ("BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ", true)]
    {
        let mut stage = Stage::paired();
        stage.client(&query(text));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY).is_empty()), ("Q".into(), !both), "{text}");
    }
}

#[test]
fn what_a_standby_cannot_do_at_all_is_asked_of_it_once() {
    for code in ["0A000", "25006"] {
        let mut stage = Stage::paired();
        stage.client(&query("SELECT 1"));
        stage.node(STANDBY, &[error(code), ready(b'I')].concat());
        stage.client(&query("SELECT 1"));
        assert_eq!((stage.sent(PRIMARY), stage.released.clone()), ("Q".into(), vec![STANDBY]), "{code}");
    }
}

#[test]
fn what_a_procedure_does_to_the_session_keeps_it_on_the_primary() {
    let mut stage = Stage::paired();
    stage.client(&query("CALL p()"));
    stage.node(PRIMARY, &[complete("CALL"), ready(b'I')].concat());
    assert_eq!(stage.released, [STANDBY]);
}

#[test]
fn a_batch_that_begins_on_the_primary_alone_stays_there() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "BEGIN ISOLATION LEVEL SERIALIZABLE"), bind("", ""), execute("")].concat());
    stage.client(&[parse("", "SELECT 1"), bind("", ""), execute(""), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("BEGIN")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBEHPBES".into(), "".into()));
}

#[test]
fn a_cancel_that_may_still_come_makes_a_link_unfit_for_others() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    stage.sent(STANDBY);
    assert!(stage.session.handle_cancel(NOW));
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.session.handle_cancel_lost(STANDBY);
    stage.session.handle_cancel_done(NOW);
    stage.client(&message(b'X', b""));
    assert!(!stage.session.take_link(STANDBY).unwrap().1);
    assert!(stage.session.take_link(PRIMARY).unwrap().1);
}

#[test]
fn a_table_waits_for_the_end_of_a_message_that_is_passing() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT 1"), bind("", ""), execute(""), parse("", "SHOW pool_version")].concat());
    let reply = [bare(b'1'), bare(b'2'), complete("SELECT 1")].concat();
    let (most, last) = reply.split_at(reply.len() - 3);
    stage.node(STANDBY, most);
    stage.node(STANDBY, last);
    assert_eq!(stage.heard(), "12C1");
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
fn a_batch_that_lost_its_standby_between_flush_and_sync_fails() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT 1"), bind("", ""), bare(frontend::FLUSH)].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2')].concat());
    assert_eq!(stage.heard(), "12");
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("".into(), "".into()), "nobody has asked for anything");
    stage.client(&[execute(""), sync()].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("E".into(), "S".into()), "the primary knows no such portal");
    stage.node(PRIMARY, &ready(b'I'));
    assert_eq!(stage.heard(), "Z");
}

#[test]
fn a_copy_swallows_the_sync_that_was_sent_with_it() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "COPY t FROM STDIN"), bind("", ""), execute(""), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), message(b'G', &[0, 0, 0])].concat());
    stage.client(&[message(b'd', b"1\n"), message(b'c', b""), sync()].concat());
    assert_eq!(stage.sent(PRIMARY), "PBESdcS");
    assert!(!stage.session.is_idle());
    stage.node(PRIMARY, &[complete("COPY 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "12GCZ");
    assert!(stage.session.is_idle(), "nothing is owed any more");
}

#[test]
fn a_client_that_leaves_within_a_copy_takes_the_copy_with_it() {
    let mut stage = Stage::paired();
    stage.client(&[query("COPY t FROM STDIN"), message(frontend::TERMINATE, b"")].concat());
    assert!(!stage.session.is_over(), "it might be another statement, and that one runs to its end");
    stage.node(PRIMARY, &message(backend::COPY_IN_RESPONSE, &[0, 0, 0]));
    assert!(stage.session.is_over(), "nobody will ever end the copy");
    assert!(!stage.session.take_link(PRIMARY).unwrap().1, "the backend learns it from its connection's end");
}

#[test]
fn a_failed_copy_is_probed_for_the_sync_that_it_may_have_swallowed() {
    for swallowed in [true, false] {
        let mut stage = Stage::paired();
        stage.prepared("s");
        stage.client(&[parse("", "COPY t FROM STDIN"), bind("", ""), execute(""), sync()].concat());
        stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), message(b'G', &[0, 0, 0])].concat());
        stage.client(&[message(b'd', b"junk\n"), message(b'f', b"\0"), sync(), query("SELECT 1")].concat());
        assert_eq!(stage.sent(PRIMARY), "PBESdfS");
        stage.node(PRIMARY, &[error("22P02"), ready(b'I')].concat());
        assert_eq!(stage.sent(PRIMARY), "CS");
        if !swallowed {
            stage.node(PRIMARY, &ready(b'I'));
        }
        assert_eq!(
            (stage.sent(STANDBY), stage.heard()),
            ("".into(), if swallowed { "12GEZ" } else { "12GEZZ" }.into())
        );
        stage.node(PRIMARY, &[bare(b'3'), ready(b'I')].concat());
        assert_eq!((stage.sent(STANDBY), stage.heard()), ("Q".into(), "".into()), "pgconvoy knows where it stands");
        stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
        stage.client(&message(b'X', b""));
        assert!(stage.session.take_link(PRIMARY).unwrap().1, "and the connection may serve others");
    }
}

#[test]
fn a_probe_does_not_go_into_the_middle_of_a_message() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "COPY t FROM STDIN"), bind("", ""), execute(""), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), message(b'G', &[0, 0, 0])].concat());
    let data = message(b'd', b"a long line that comes in two parts\n");
    stage.client(&[&message(b'd', b"junk\n")[..], &data[..20]].concat());
    stage.node(PRIMARY, &[error("22P02"), ready(b'I')].concat());
    stage.client(&data[20..]);
    assert_eq!(stage.sent(PRIMARY), "PBESddCS");
}

#[test]
fn a_copy_that_failed_before_it_began_gives_its_sync_back() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "COPY t FROM STDIN"), bind("", ""), execute(""), sync()].concat());
    // A trigger fails before the first row is read.
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), message(b'G', &[0, 0, 0]), error("P0001")].concat());
    stage.node(PRIMARY, &ready(b'I'));
    stage.client(&query("INSERT INTO t VALUES (1)"));
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("12GEZ".into(), "PBESCS".into()));
    stage.node(PRIMARY, &[bare(b'3'), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "Q");
}

#[test]
fn what_is_no_copy_data_ends_the_matching_of_replies() {
    let mut stage = Stage::paired();
    stage.client(&query("COPY t FROM STDIN"));
    stage.node(PRIMARY, &message(b'G', &[0, 0, 0]));
    stage.client(&[message(b'd', b"1\n"), query("SELECT 1"), query("SELECT 2")].concat());
    assert_eq!(stage.sent(PRIMARY), "QdQQ");
    stage.node(PRIMARY, &[error("08P01"), ready(b'I'), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "GEZCZ");
    assert!(!stage.session.is_over());
    stage.client(&message(b'X', b""));
    assert!(stage.session.is_over());
    assert!(!stage.session.take_link(PRIMARY).unwrap().1, "nobody else gets such a connection");
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
fn a_block_fails_on_the_primary_before_the_next_batch_gets_there() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(
        &[parse("", "SELECT oops"), sync(), message(frontend::CLOSE, b"S\0"), parse("", "DELETE FROM t")].concat(),
    );
    stage.node(STANDBY, &[error("42703"), ready(b'E'), bare(b'3')].concat());
    assert_eq!(stage.sent(PRIMARY), "Q", "the standby has begun the next batch, the primary has not");
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    assert_eq!(stage.sent(PRIMARY), "P");
}

#[test]
fn a_setting_refused_by_the_standby_alone_leaves_the_block_alone() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SET LOCAL role = newcomer"));
    stage.node(PRIMARY, &[complete("SET"), ready(b'T')].concat());
    stage.node(STANDBY, &[error("22023"), ready(b'E')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.released.clone()), ("Q".into(), vec![STANDBY]));
}

#[test]
fn a_portal_in_use_is_refused_where_it_is_in_use() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT 1"), bind("p", ""), parse("", "DELETE FROM t"), bind("p", "")].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2')].concat());
    stage.node(PRIMARY, &bare(b'1'));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PH".into(), "PBHPB".into()));
}

#[test]
fn a_portal_of_an_earlier_batch_is_no_portal_in_use() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT 1"), bind("p", ""), execute("p"), sync(), parse("", "SELECT 1")].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), complete("SELECT 1"), ready(b'I'), bare(b'1')].concat());
    stage.sent(STANDBY);
    stage.client(&[parse("", "LISTEN c"), bind("p", ""), execute("p"), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("LISTEN")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBES".into(), "S".into()));
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
    stage.client(&query("SELECT oops"));
    stage.node(PRIMARY, &[error("42703"), ready(b'E')].concat());
    stage.sent(PRIMARY);
    stage.client(&[parse("s", "SELECT 2"), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PPS".into(), "".into()), "the failed block refuses");
}

#[test]
fn a_portal_is_read_to_its_end_before_the_standby_is_let_go() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&[parse("", "SELECT 1"), bind("p", ""), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), ready(b'T')].concat());
    stage.sent(STANDBY);
    stage.client(&query("CREATE TEMP TABLE t ()"));
    stage.node(PRIMARY, &[complete("CREATE TABLE"), ready(b'T')].concat());
    assert_eq!(stage.released, []);
    stage.client(&[execute("p"), sync()].concat());
    assert_eq!(stage.sent(STANDBY), "ES");
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'T')].concat());
    stage.sent(PRIMARY);
    stage.client(&query("COMMIT"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("ROLLBACK"), ready(b'I')].concat());
    assert_eq!(stage.released, [STANDBY]);
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
fn a_setting_that_both_refuse_leaves_them_together() {
    let mut stage = Stage::paired();
    stage.client(&query("SET nonsense = 1"));
    stage.node(PRIMARY, &[error("42704"), ready(b'I')].concat());
    stage.node(STANDBY, &[error("42704"), ready(b'I')].concat());
    stage.sent(STANDBY);
    assert_eq!(stage.heard(), "EZ");
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(STANDBY), "Q");
    assert_eq!(stage.released, []);
}

#[test]
fn a_setting_that_only_the_primary_refuses_ends_the_partnership() {
    let mut stage = Stage::paired();
    stage.client(&query("SET nonsense = 1"));
    stage.node(PRIMARY, &[error("42704"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("SET"), ready(b'I')].concat());
    assert_eq!(stage.released, [STANDBY], "it has the setting, and nobody else has");
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
fn a_portal_of_pgconvoys_own_lives_until_its_batch_ends() {
    let mut stage = Stage::paired();
    for part in [parse("s", "SHOW pool_version"), bind("", "s"), execute("")] {
        stage.client(&part);
    }
    assert_eq!(stage.shown, 1);
    stage.session.handle_show(&[vec!["4.3.5".into()]], NOW);
    stage.client(&sync());
    stage.node(PRIMARY, &ready(b'I'));
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("12DCZ".into(), "S".into()));
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
fn a_portal_is_fetched_from_and_moved_where_it_is() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&[parse("", "SELECT 1"), bind("p1", ""), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), ready(b'T')].concat());
    stage.sent(STANDBY);
    for text in ["MOVE 5 p1", "FETCH p1", "CLOSE p1"] {
        stage.client(&query(text));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "{text}");
        stage.node(STANDBY, &[complete("OK"), ready(b'T')].concat());
    }
    stage.client(&query("FETCH p1"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()), "another cursor of that name");
}

#[test]
fn a_standby_that_is_lost_costs_its_statement_and_not_the_session() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SELECT 1"));
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    assert_eq!(stage.heard(), "EZ");
    assert_eq!(stage.sent(PRIMARY), "Q", "the block must not go on as if nothing had happened");
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    stage.client(&query("ROLLBACK"));
    stage.node(PRIMARY, &[complete("ROLLBACK"), ready(b'I')].concat());
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(PRIMARY), stage.heard()), ("QQ".into(), "CZ".into()));
    assert!(!stage.session.is_over());
}

#[test]
fn a_portal_that_is_lost_with_its_standby_is_not_looked_for_elsewhere() {
    let mut stage = Stage::paired();
    stage.client(&[parse("", "SELECT 1"), bind("", ""), message(frontend::FLUSH, b"")].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2')].concat());
    assert_eq!(stage.heard(), "12");
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    stage.client(&[execute(""), execute("")].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("E".into(), "".into()));
    stage.client(&sync());
    assert_eq!(stage.sent(PRIMARY), "S");
}

#[test]
fn a_portal_of_a_block_that_is_lost_with_its_standby_is_told_as_lost() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&[parse("", "SELECT 1"), bind("p", ""), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), ready(b'T')].concat());
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    assert_eq!(stage.heard(), "12Z");
    stage.client(&[execute("p"), sync()].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("E".into(), "PS".into()), "the block fails with it");
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    assert_eq!(stage.heard(), "Z");
}

#[test]
fn a_cancel_holds_back_what_was_not_running_when_it_came() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    stage.sent(STANDBY);
    assert!(stage.session.handle_cancel(NOW));
    stage.drain();
    assert_eq!(stage.cancelled, [STANDBY]);
    stage.node(STANDBY, &[error("57014"), ready(b'I')].concat());
    stage.client(&query("SELECT 2"));
    assert_eq!(stage.sent(STANDBY), "", "the cancel might still hit it");
    stage.session.handle_cancel_done(NOW);
    assert_eq!(stage.sent(STANDBY), "Q");
}

#[test]
fn whoever_drops_a_database_claims_it_each_time() {
    let mut stage = Stage::paired();
    let text = "DROP DATABASE IF EXISTS \"Shop\"";
    stage.client(&query(text));
    assert_eq!((stage.sent(PRIMARY), stage.claimed.len()), ("Q".into(), 1));
    stage.node(PRIMARY, &[complete("DROP DATABASE"), ready(b'I')].concat());
    stage.client(&[parse("s", text), sync()].concat());
    stage.node(PRIMARY, &[bare(b'1'), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.claimed.len()), ("PS".into(), 1));
    for _ in 0..2 {
        stage.client(&[bind("", "s"), execute(""), sync()].concat());
        stage.node(PRIMARY, &[bare(b'2'), complete("DROP DATABASE"), ready(b'I')].concat());
    }
    assert_eq!(stage.claimed, [&b"Shop"[..]; 3].map(Box::from));
}

#[test]
fn after_the_main_backends_last_word_the_standby_answers_no_more() {
    let mut stage = Stage::paired();
    stage.node(PRIMARY, &message(backend::ERROR_RESPONSE, b"SFATAL\0VFATAL\0C57P01\0Mno\0\0"));
    assert_eq!(stage.heard(), "E");
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(STANDBY), "");
    assert!(stage.session.is_over());
}

#[test]
fn a_commit_without_an_answer_is_told_as_unknown() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("DELETE FROM t"));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'T')].concat());
    stage.client(&query("COMMIT"));
    stage.heard();
    stage.session.handle_closed(Peer::Node(PRIMARY), Closed::End, NOW);
    let text = stage.heard_bytes();
    assert!(text.windows(5).any(|code| code == b"08007"), "{:?}", String::from_utf8_lossy(&text));
    assert!(stage.session.is_over());
}

#[test]
fn a_reply_that_nobody_asked_for_ends_only_this_session() {
    let mut stage = Stage::paired();
    stage.node(PRIMARY, &bare(b'1'));
    assert_eq!(stage.heard(), "E");
    assert!(stage.session.is_over());
    assert!(!stage.session.take_link(PRIMARY).unwrap().1, "such a connection is not used again");
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let request = [query("SELECT 1"), parse("s", "SELECT 2"), bind("", "s"), execute(""), sync(), query("SELECT 3")];
    let reply = [
        row(&"x".repeat(300)),
        complete("SELECT 1"),
        ready(b'I'),
        bare(b'1'),
        bare(b'2'),
        row("y"),
        complete("SELECT 1"),
        ready(b'I'),
        error("22012"),
        ready(b'I'),
    ];
    let (request, reply) = (request.concat(), reply.concat());
    for piece in [1, 2, 3, 7, 64] {
        let mut stage = Stage::paired();
        let mut replied = 0;
        for part in request.chunks(piece) {
            stage.client(part);
        }
        assert_eq!(stage.sent(STANDBY), "QPBESQ");
        for part in reply.chunks(piece) {
            stage.node(STANDBY, part);
            replied += part.len();
            stage.session.invariants();
        }
        assert_eq!(replied, reply.len());
        assert_eq!(stage.heard_bytes(), reply, "in pieces of {piece}");
    }
}

#[test]
fn the_clients_table_is_answered_in_its_turn() {
    let mut stage = Stage::paired();
    stage.client(&[query("SELECT 1"), query("SHOW pool_version")].concat());
    assert_eq!(stage.shown, 0, "the answer before it comes first");
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.shown, 1);
    stage.session.handle_show(&[vec!["4.3.5".into()]], NOW);
    assert_eq!(stage.heard(), "CZTDCZ");
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

// The stage.

const NOW: Instant = Instant(1);

struct Stage {
    session: Session,
    released: Vec<NodeId>,
    cancelled: Vec<NodeId>,
    claimed: Vec<Box<[u8]>>,
    shown: usize,
}

impl Stage {
    /// A client that is logged in, with a port to the primary and one to a standby.
    fn paired() -> Self {
        let node = |id, role| crate::node::NodeView {
            id,
            weight_milli: if id == STANDBY { 1000 } else { 0 },
            role,
            health: crate::node::Health::Up,
        };
        let nodes = vec![node(PRIMARY, crate::node::Role::Primary), node(STANDBY, crate::node::Role::Standby)];
        let view = Arc::new(View { epoch: 1, mode: crate::node::Mode::Streaming, nodes });
        let setup = Setup {
            passwords: PasswordFile::default(),
            authentication_timeout: None,
            client_idle_limit: None,
            load_balance: true,
            allow_sql_comments: false,
            report_per_node: false,
            notice_per_node: false,
            report_statements: false,
            report_messages: false,
            salt_seed: [0; 32],
        };
        let secrets = Secrets { cancel_key: [7; 32], nonce: "nonce".into() };
        let keys = Rc::new(RefCell::new(KeyCache::new()));
        let session = Session::new(Arc::new(setup), view, secrets, 1, keys, NOW);
        let mut stage = Self { session, released: vec![], cancelled: vec![], claimed: vec![], shown: 0 };
        let mut startup = Vec::new();
        crate::wire::startup::build(&mut startup, b"alice", b"shop", b"");
        stage.session.handle_read(Peer::Client, &mut BytesMut::from(&startup[..]), NOW);
        assert!(matches!(stage.session.poll_event(), Some(SessionEvent::WantSlot)));
        stage.session.handle_slot(Ok(()), NOW);
        let mut wanted = Vec::new();
        while let Some(event) = stage.session.poll_event() {
            if let SessionEvent::Acquire { node, login } = event {
                wanted.push((node, login));
            }
        }
        for (node, login) in wanted {
            assert!(stage.session.handle_grant(node, Ok(link(node, login)), NOW).is_none());
        }
        stage.drain();
        assert_eq!(stage.heard(), "RSKZ");
        stage
    }

    fn begin(&mut self) {
        self.client(&query("BEGIN"));
        self.node(PRIMARY, &[complete("BEGIN"), ready(b'T')].concat());
        self.node(STANDBY, &[complete("BEGIN"), ready(b'T')].concat());
        self.sent(PRIMARY);
        self.sent(STANDBY);
        assert_eq!(self.heard(), "CZ");
    }

    /// A read is prepared, on the standby alone.
    fn prepared(&mut self, name: &str) {
        self.client(&[parse(name, "SELECT 1"), sync()].concat());
        self.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
        assert_eq!((self.sent(PRIMARY), self.sent(STANDBY), self.heard()), ("".into(), "PS".into(), "1Z".into()));
    }

    fn client(&mut self, bytes: &[u8]) {
        self.session.handle_read(Peer::Client, &mut BytesMut::from(bytes), NOW);
        self.drain();
    }

    fn node(&mut self, node: NodeId, bytes: &[u8]) {
        assert!(self.session.wants_read(Peer::Node(node)), "node {node} speaks out of turn");
        self.session.handle_read(Peer::Node(node), &mut BytesMut::from(bytes), NOW);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Release { node } => self.released.push(node),
                SessionEvent::Cancel { node, .. } => self.cancelled.push(node),
                SessionEvent::Show(_) => self.shown += 1,
                SessionEvent::Report(Report::Claim { database }) => self.claimed.push(database),
                _ => {}
            }
        }
        self.session.invariants();
    }

    /// The kinds of the messages queued for a node since the last time.
    fn sent(&mut self, node: NodeId) -> String {
        kinds(&drained(self.session.writes(Peer::Node(node)).expect("no such port")))
    }

    /// The kinds of the messages queued for the client since the last time.
    fn heard(&mut self) -> String {
        kinds(&self.heard_bytes())
    }

    fn heard_bytes(&mut self) -> Vec<u8> {
        drained(self.session.writes(Peer::Client).expect("the client has a queue"))
    }
}

fn drained(queue: &mut WriteQueue) -> Vec<u8> {
    let mut all = Vec::new();
    while !queue.is_empty() {
        let mut chunks: [&[u8]; 1] = [&[]];
        queue.chunks(&mut chunks);
        all.extend_from_slice(chunks[0]);
        let length = chunks[0].len();
        queue.advance(length);
    }
    all
}

fn kinds(mut bytes: &[u8]) -> String {
    let mut kinds = String::new();
    while let Ok(Some(header)) = crate::wire::Header::parse(bytes) {
        kinds.push(header.tag as char);
        bytes = &bytes[header.total..];
    }
    assert!(bytes.is_empty(), "half a message");
    kinds
}

fn link(node: NodeId, login: Arc<Login>) -> Link {
    let mut link = Link::new(node, login, "nonce".into(), NOW);
    drained(link.writes());
    let hot = if node == STANDBY { &b"in_hot_standby\0on\0"[..] } else { b"in_hot_standby\0off\0" };
    let bytes = [
        message(backend::AUTHENTICATION, &[0; 4]),
        message(backend::PARAMETER_STATUS, hot),
        message(backend::BACKEND_KEY_DATA, &[0, 0, 0, 9, 1, 2, 3, 4]),
        ready(b'I'),
    ];
    link.handle_read(&mut BytesMut::from(&bytes.concat()[..]), &mut KeyCache::new());
    assert!(matches!(link.outcome(), crate::link::Outcome::Ready));
    link
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn bare(tag: u8) -> Vec<u8> {
    message(tag, b"")
}

fn query(text: &str) -> Vec<u8> {
    message(frontend::QUERY, format!("{text}\0").as_bytes())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(frontend::PARSE, format!("{name}\0{text}\0\0\0").as_bytes())
}

fn bind(portal: &str, name: &str) -> Vec<u8> {
    message(frontend::BIND, format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    message(frontend::EXECUTE, format!("{portal}\0\0\0\0\0").as_bytes())
}

fn sync() -> Vec<u8> {
    bare(frontend::SYNC)
}

fn ready(status: u8) -> Vec<u8> {
    message(backend::READY_FOR_QUERY, &[status])
}

fn complete(tag: &str) -> Vec<u8> {
    message(backend::COMMAND_COMPLETE, format!("{tag}\0").as_bytes())
}

fn row(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::text_data_row(&mut out, [value].into_iter());
    out
}

fn error(code: &str) -> Vec<u8> {
    message(backend::ERROR_RESPONSE, format!("SERROR\0VERROR\0C{code}\0Mno\0\0").as_bytes())
}

//! A node that is lost, or that says what nobody asked for.

use super::*;
use crate::limits::HELD_INPUT_BYTES;

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
fn a_client_that_leaves_while_its_input_waits_for_its_turn_is_noticed() {
    let mut stage = Stage::paired();
    stage.client(&[query("SELECT 1"), query("INSERT INTO t VALUES (1)")].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "the write waits for the read");
    assert!(stage.session.wants_read(Peer::Client), "or nobody would know of its end");
    stage.session.handle_closed(Peer::Client, Closed::End, NOW);
    stage.drain();
    assert!(stage.session.is_over());
    assert_eq!((stage.cancelled.clone(), stage.sent(PRIMARY)), (vec![STANDBY], "".into()));
}

#[test]
fn what_was_asked_before_a_goodbye_runs_to_its_end_though_nobody_listens() {
    let mut stage = Stage::paired();
    let goodbye = message(frontend::TERMINATE, b"");
    stage.client(&[query("SELECT 1"), query("INSERT INTO t VALUES (1)"), goodbye].concat());
    stage.session.handle_closed(Peer::Client, Closed::End, NOW);
    stage.drain();
    assert!(!stage.session.is_over() && stage.cancelled.is_empty());
    stage.sent(STANDBY);
    stage.node(STANDBY, &[row(&"x".repeat(WRITE_QUEUE_BYTES)), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.heard()), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("INSERT 0 1"), ready(b'I')].concat());
    assert!(stage.session.is_over());
    assert!(stage.session.take_link(PRIMARY).unwrap().1 && stage.session.take_link(STANDBY).unwrap().1);
}

#[test]
fn no_more_input_is_held_than_is_bounded() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    let mut read = 0;
    while stage.session.wants_read(Peer::Client) {
        stage.client(&query("INSERT INTO t VALUES (1)"));
        read += 1;
        assert!(read < HELD_INPUT_BYTES, "it is read without end");
    }
    assert_eq!(stage.sent(PRIMARY), "");
}

#[test]
fn a_standby_that_hangs_is_given_up_when_the_cluster_says_so() {
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(STANDBY), "Q");
    let mut view = View::clone(&stage.session.view);
    view.nodes[1].health = Health::Down;
    stage.session.handle_view(&Arc::new(view), NOW);
    stage.drain();
    assert_eq!((stage.heard(), stage.released.clone()), ("EZ".into(), vec![STANDBY]));
    assert!(stage.session.take_link(STANDBY).is_none(), "its connection is closed, not pooled");
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(PRIMARY), "Q");
}

#[test]
fn a_read_that_was_complete_when_its_standby_was_lost_has_succeeded() {
    let mut stage = Stage::paired();
    for in_block in [false, true] {
        if in_block {
            stage = Stage::paired();
            stage.begin();
        }
        stage.client(&query("SELECT 1"));
        stage.node(STANDBY, &[row("1"), complete("SELECT 1")].concat());
        stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
        stage.drain();
        let heard = stage.heard_bytes();
        assert_eq!(kinds(&heard), "DCZ");
        assert_eq!(heard.last(), Some(if in_block { &b'T' } else { &b'I' }));
        assert_eq!(stage.sent(PRIMARY), "", "nothing has to be taken back");
    }
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1; SELECT 2"));
    stage.node(STANDBY, &[row("1"), complete("SELECT 1")].concat());
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    assert_eq!(stage.heard(), "DCEZ", "of several, one is missing");
}

#[test]
fn a_block_that_failed_on_a_standby_that_is_lost_has_failed() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&[parse("", "SELECT 1/0"), bind("", ""), execute(""), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), error("22012")].concat());
    stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
    stage.drain();
    let heard = stage.heard_bytes();
    assert_eq!((kinds(&heard).as_str(), heard.last()), ("12EZ", Some(&b'E')));
    assert_eq!(stage.sent(PRIMARY), "Q", "the primary's block is made to fail before the client can commit it");
}

#[test]
fn a_backend_is_out_for_all_sessions_before_one_goes_on_without_it() {
    let mut stage = Stage::replicated();
    let mut view = View::clone(&stage.session.view);
    view.epoch += 1;
    view.nodes[1].health = Health::Down;
    let epoch = view.epoch;
    stage.session.handle_view(&Arc::new(view), NOW);
    stage.drain();
    assert_eq!(stage.released, [STANDBY]);
    stage.client(&query("SELECT 1"));
    stage.session.handle_view_known(epoch - 1, NOW);
    stage.drain();
    assert_eq!(stage.sent(PRIMARY), "", "others may still ask it");
    stage.session.handle_view_known(epoch, NOW);
    stage.drain();
    assert_eq!(stage.sent(PRIMARY), "Q");
}

//! Cancel requests, tables and pieces of messages: each in its turn.

use super::*;

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

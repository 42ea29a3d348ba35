//! COPY from the client, and the Sync that may be lost in it.

use super::*;

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
fn a_copy_that_stalls_is_an_idle_client() {
    let mut stage = Stage::paired();
    let limit = Duration::from_secs(2);
    stage.session.setup = Arc::new(Setup { client_idle_limit: Some(limit), load_balance: true, ..Setup::default() });
    stage.client(&query("COPY t FROM STDIN"));
    assert_eq!(stage.session.poll_timeout(), None, "the server is at work");
    stage.node(PRIMARY, &message(backend::COPY_IN_RESPONSE, &[0, 0, 0]));
    assert_eq!(stage.session.poll_timeout(), Some((NOW.after(limit), Timer::ClientIdle)));
    stage.session.handle_timeout(NOW.after(limit));
    stage.drain();
    assert_eq!(stage.heard(), "GE");
    assert!(stage.session.is_over());
}

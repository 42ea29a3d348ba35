//! Reads that a standby refuses, and the primary runs.

use super::*;

/// What a server says of rows with one column.
fn described() -> Vec<u8> {
    message(backend::ROW_DESCRIPTION, &[&[0, 1][..], b"a\0", &[0; 18]].concat())
}

/// What the primary answers to a Query.
fn answered() -> Vec<u8> {
    [described(), row("x"), complete("SELECT 1"), ready(b'I')].concat()
}

fn sent(stage: &mut Stage) -> (String, String) {
    (stage.sent(PRIMARY), stage.sent(STANDBY))
}

fn batch() -> Vec<u8> {
    [parse("", "SELECT 1"), bind("", ""), message(frontend::DESCRIBE, b"P\0"), execute(""), sync()].concat()
}

#[test]
fn a_query_that_a_standby_refuses_is_answered_by_the_primary() {
    for code in ["25006", "0A000"] {
        for before in [vec![], described()] {
            let mut stage = Stage::paired();
            stage.client(&query("SELECT 1"));
            assert_eq!(sent(&mut stage), ("".into(), "Q".into()));
            stage.node(STANDBY, &[before, error(code)].concat());
            assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("".into(), "".into()), "it is not over there");
            stage.client(&query("DELETE FROM t"));
            stage.node(STANDBY, &ready(b'I'));
            let both = [query("SELECT 1"), query("DELETE FROM t")].concat();
            let to_primary = drained(stage.session.writes(Peer::Node(PRIMARY)).expect("a port"));
            assert_eq!(to_primary, both, "the read before what came after it");
            assert_eq!(stage.released, [STANDBY]);
            stage.node(PRIMARY, &answered());
            assert_eq!(stage.heard(), "TDCZ");
            stage.node(PRIMARY, &[complete("DELETE 0"), ready(b'I')].concat());
            assert_eq!(stage.heard(), "CZ");
        }
    }
}

#[test]
fn a_description_waits_for_what_comes_behind_it() {
    let answer = [described(), error("25006"), ready(b'I')].concat();
    for cut in 1..answer.len() {
        let mut stage = Stage::paired();
        stage.client(&query("SELECT 1"));
        stage.sent(STANDBY);
        for part in [&answer[..cut], &answer[cut..]] {
            stage.node(STANDBY, part);
            assert_eq!(stage.heard(), "", "cut at {cut}");
        }
        stage.node(PRIMARY, &answered());
        assert_eq!((stage.sent(PRIMARY), stage.heard()), ("Q".into(), "TDCZ".into()));
    }
    let answer = answered();
    for cut in 1..answer.len() {
        let mut stage = Stage::paired();
        stage.client(&query("SELECT 1"));
        stage.node(STANDBY, &answer[..cut]);
        stage.node(STANDBY, &answer[cut..]);
        assert_eq!(stage.heard(), "TDCZ", "cut at {cut}");
    }
}

#[test]
fn what_the_client_has_seen_a_part_of_is_not_repeated() {
    let notice = message(backend::NOTICE_RESPONSE, b"SNOTICE\0VNOTICE\0C00000\0Mso\0\0");
    for (before, heard) in [([described(), row("x")].concat(), "TDEZ"), (notice, "NEZ"), (described(), "TEZ")] {
        let mut stage = Stage::paired();
        stage.client(&query("SELECT 1"));
        let code = if heard == "TEZ" { "22012" } else { "25006" };
        stage.node(STANDBY, &[before, error(code), ready(b'I')].concat());
        assert_eq!((stage.heard(), stage.sent(PRIMARY)), (heard.into(), "".into()));
    }
}

#[test]
fn only_a_read_that_stands_alone_outside_a_block_is_repeated() {
    let refused = |status| [error("25006"), ready(status)].concat();
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SELECT 1"));
    stage.node(STANDBY, &refused(b'E'));
    assert_eq!(stage.heard(), "EZ", "in a block");
    let mut stage = Stage::paired();
    stage.client(&[query("SELECT 1"), query("SELECT 1")].concat());
    stage.node(STANDBY, &refused(b'I'));
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("EZ".into(), "".into()), "with another behind it");
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1; SELECT 1"));
    stage.node(STANDBY, &refused(b'I'));
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("EZ".into(), "".into()), "two in one text");
    let mut stage = Stage::paired();
    let two = [parse("", "SELECT 1"), bind("", ""), execute(""), bind("", ""), execute(""), sync()].concat();
    stage.client(&two);
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), refused(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("12EZ".into(), "".into()), "two in one batch");
    let mut stage = Stage::paired();
    stage.client(&query("SELECT 1"));
    assert!(stage.session.handle_cancel(NOW));
    stage.node(STANDBY, &refused(b'I'));
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("EZ".into(), "".into()), "one that is to be cancelled");
}

#[test]
fn a_batch_that_a_standby_refuses_is_answered_by_the_primary_from_there_on() {
    let mut stage = Stage::paired();
    stage.client(&batch());
    assert_eq!(sent(&mut stage), ("".into(), "PBDES".into()));
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), described(), error("25006"), ready(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("12T".into(), "PDH".into()), "are the rows of the same shape?");
    let parameters = message(backend::PARAMETER_DESCRIPTION, &[0, 0]);
    stage.node(PRIMARY, &[bare(b'1'), parameters, described()].concat());
    assert_eq!(stage.sent(PRIMARY), "BDES");
    stage.node(PRIMARY, &[bare(b'2'), described(), row("x"), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "DCZ", "what the client has heard it does not hear again");
    stage.client(&batch());
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), described(), complete("SELECT 0"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "12TCZ");
}

#[test]
fn a_named_statement_is_repeated_when_its_bind_is_refused() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    let run = [bind("", "s"), execute(""), sync()].concat();
    stage.client(&run);
    assert_eq!(stage.sent(STANDBY), "BES");
    stage.node(STANDBY, &[error("0A000"), ready(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("".into(), "PBES".into()));
    stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "2CZ");
    stage.client(&run);
    assert_eq!(stage.sent(PRIMARY), "BES", "it knows it now");
}

#[test]
fn what_the_primary_refuses_too_is_told_once() {
    let mut stage = Stage::paired();
    stage.client(&batch());
    stage.node(STANDBY, &[bare(b'1'), error("0A000"), ready(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("1".into(), "PBDES".into()));
    stage.node(PRIMARY, &[bare(b'1'), error("0A000"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "EZ");
    stage.client(&query("SELECT 1"));
    stage.node(PRIMARY, &answered());
    assert_eq!((stage.sent(PRIMARY), stage.heard()), ("Q".into(), "TDCZ".into()));
}

#[test]
fn rows_that_have_changed_are_told_and_not_repeated() {
    let mut stage = Stage::paired();
    stage.prepared("s");
    stage.client(&[bind("", "s"), execute(""), sync()].concat());
    let fields = b"SERROR\0VERROR\0C0A000\0Mno\0RRevalidateCachedQuery\0\0";
    stage.node(STANDBY, &[message(backend::ERROR_RESPONSE, fields), ready(b'I')].concat());
    assert_eq!((stage.heard(), stage.sent(PRIMARY)), ("EZ".into(), "".into()));
}

#[test]
fn a_standby_that_is_lost_behind_its_refusal_costs_nothing() {
    for request in [query("SELECT 1"), batch()] {
        let mut stage = Stage::paired();
        stage.client(&request);
        let begun = if request[0] == b'Q' { vec![] } else { [bare(b'1'), bare(b'2')].concat() };
        stage.node(STANDBY, &[begun, error("25006")].concat());
        stage.heard();
        stage.session.handle_closed(Peer::Node(STANDBY), Closed::End, NOW);
        stage.drain();
        assert_eq!(stage.heard(), "");
        assert!(stage.sent(PRIMARY).ends_with(if request[0] == b'Q' { "Q" } else { "BDES" }));
    }
}

#[test]
fn each_partner_is_spared_what_one_has_refused() {
    let policy = crate::policy::Policy { each_statement: true, ..crate::policy::Policy::default() };
    let mut stage = Stage::attached(policy, &[STANDBY, OTHER]);
    stage.client(&query("SELECT 1"));
    let reader = if stage.sent(STANDBY) == "Q" { STANDBY } else { OTHER };
    stage.sent(reader);
    stage.node(reader, &[error("25006"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.released.len()), ("Q".into(), 2));
    stage.node(PRIMARY, &answered());
    assert_eq!(stage.heard(), "TDCZ");
}

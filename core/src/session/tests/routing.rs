//! Where statements go, and what holds a block together on both nodes.

use super::*;

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
fn a_standby_begins_to_read_where_the_client_may_write() {
    for (text, reading) in [
        ("BEGIN READ WRITE /*READ WRITE*/", "BEGIN READ ONLY  /*READ WRITE*/"),
        (
            "START TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED",
            "START TRANSACTION READ ONLY , ISOLATION LEVEL READ COMMITTED",
        ),
    ] {
        let mut stage = Stage::paired();
        stage.client(&query(text));
        let sent = |stage: &mut Stage, node| drained(stage.session.writes(Peer::Node(node)).expect("a port"));
        assert_eq!(sent(&mut stage, PRIMARY), query(text));
        assert_eq!(sent(&mut stage, STANDBY), query(reading), "it would object to the mode");
        for node in [PRIMARY, STANDBY] {
            stage.node(node, &[complete("BEGIN"), ready(b'T')].concat());
        }
        assert_eq!(stage.heard(), "CZ");
        stage.client(&query("SELECT 1"));
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()), "{text}");
        // A prepared one has one text everywhere.
        let mut stage = Stage::paired();
        stage.client(&[parse("", text), bind("", ""), execute(""), sync()].concat());
        assert_eq!(stage.sent(STANDBY), "", "{text}");
    }
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
fn a_chained_transaction_has_not_written_yet() {
    let chained = |first: &str, end: &str| {
        let mut stage = Stage::paired();
        stage.begin();
        stage.client(&query(first));
        stage.node(PRIMARY, &[complete(first), ready(b'T')].concat());
        stage.client(&query(end));
        stage.node(PRIMARY, &[complete(end), ready(b'T')].concat());
        stage.node(STANDBY, &[complete(end), ready(b'T')].concat());
        stage.sent(PRIMARY);
        stage.sent(STANDBY);
        stage.client(&query("SELECT 1"));
        (stage.sent(PRIMARY), stage.sent(STANDBY))
    };
    for end in ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "END AND CHAIN"] {
        assert_eq!(chained("DELETE FROM t", end), ("".into(), "Q".into()), "{end}");
        // It is of the same kind, though.
        assert_eq!(chained("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", end), ("Q".into(), "".into()), "{end}");
    }
    assert_eq!(chained("DELETE FROM t", "SAVEPOINT s"), ("Q".into(), "".into()));
}

#[test]
fn what_a_chained_transaction_follows_is_forgotten_at_once() {
    let mut stage = Stage::paired();
    stage.begin();
    let age = stage.session.commons.catalog.borrow().age();
    stage.client(&query("DROP TABLE t"));
    stage.node(PRIMARY, &[complete("DROP TABLE"), ready(b'T')].concat());
    assert_eq!(stage.session.commons.catalog.borrow().age(), age);
    stage.client(&query("COMMIT AND CHAIN"));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'T')].concat());
    stage.node(STANDBY, &[complete("COMMIT"), ready(b'T')].concat());
    assert_eq!(stage.session.commons.catalog.borrow().age(), age + 1);
}

#[test]
fn a_text_of_a_whole_transaction_leaves_the_nodes_in_step_unless_they_share_one() {
    let mut stage = Stage::paired();
    stage.client(&query("BEGIN; DELETE FROM t; COMMIT"));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
    stage.client(&query("BEGIN; DELETE FROM t"));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'T')].concat());
    stage.client(&query("COMMIT"));
    stage.node(PRIMARY, &[complete("COMMIT"), ready(b'I')].concat());
    assert_eq!((stage.sent(STANDBY), stage.released.as_slice()), ("".into(), &[][..]));
    stage.client(&query("SELECT 1"));
    assert_eq!(stage.sent(STANDBY), "Q");
    stage.node(STANDBY, &[complete("SELECT 1"), ready(b'I')].concat());
    stage.heard();
    stage.begin();
    // The standby would stay in the first of two transactions.
    stage.client(&query("COMMIT; BEGIN"));
    stage.node(PRIMARY, &[complete("COMMIT"), complete("BEGIN"), ready(b'T')].concat());
    stage.client(&query("SELECT 1"));
    assert_eq!((stage.sent(STANDBY), stage.released.as_slice()), ("".into(), &[STANDBY][..]));
}

#[test]
fn a_statement_that_is_not_looked_up_is_decided_by_what_comes_before_its_names() {
    let mut stage = Stage::paired();
    stage.client(&query("BEGIN ISOLATION LEVEL SERIALIZABLE"));
    stage.node(PRIMARY, &[complete("BEGIN"), ready(b'T')].concat());
    stage.client(&query("SELECT f(1)"));
    let decisions = stage.session.commons.decisions.borrow();
    let rules: Vec<crate::route::Rule> = decisions.iter().map(|decision| decision.rule).collect();
    assert_eq!(rules, [crate::route::Rule::Class, crate::route::Rule::Apart]);
}

#[test]
fn what_a_standby_cannot_do_at_all_is_asked_of_it_once() {
    for code in ["0A000", "25006"] {
        let mut stage = Stage::paired();
        stage.begin();
        stage.client(&query("SELECT 1"));
        stage.node(STANDBY, &[error(code), ready(b'E')].concat());
        stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
        stage.client(&query("ROLLBACK"));
        stage.node(PRIMARY, &[complete("ROLLBACK"), ready(b'I')].concat());
        stage.node(STANDBY, &[complete("ROLLBACK"), ready(b'I')].concat());
        stage.sent(PRIMARY);
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
fn reads_leave_a_standby_that_lags_between_two_transactions_and_come_back() {
    let mut stage = Stage::paired();
    let read = |stage: &mut Stage, on: NodeId, status: u8| {
        stage.client(&query("SELECT 1"));
        let sent = (stage.sent(PRIMARY), stage.sent(STANDBY));
        stage.node(on, &[complete("SELECT 1"), ready(status)].concat());
        sent
    };
    stage.lag(true);
    assert_eq!(read(&mut stage, PRIMARY, b'I'), ("Q".into(), "".into()));
    stage.lag(false);
    assert_eq!(read(&mut stage, STANDBY, b'I'), ("".into(), "Q".into()));
    stage.heard();
    stage.begin();
    stage.lag(true);
    assert_eq!(read(&mut stage, STANDBY, b'T'), ("".into(), "Q".into()), "a block reads from one node to its end");
    stage.client(&query("COMMIT"));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[complete("COMMIT"), ready(b'I')].concat());
        stage.sent(node);
    }
    assert_eq!(read(&mut stage, PRIMARY, b'I'), ("Q".into(), "".into()));
}

#[test]
fn a_batch_stays_where_it_began_whatever_becomes_of_the_delay() {
    for lagging in [false, true] {
        let mut stage = Stage::paired();
        stage.lag(lagging);
        let node = if lagging { PRIMARY } else { STANDBY };
        stage.client(&[parse("", "SELECT 1"), message(frontend::FLUSH, b"")].concat());
        stage.node(node, &bare(b'1'));
        stage.lag(!lagging);
        stage.client(&[bind("", ""), execute(""), sync()].concat());
        assert_eq!(stage.sent(node), "PHBES", "lagging: {lagging}");
        stage.node(node, &[bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(stage.heard(), "12CZ");
    }
}

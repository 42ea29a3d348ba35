//! Writes that servers would evaluate differently, where pgconvoy replicates to two of them.

use super::*;

/// What a question looks like on the wire, as a batch of its own and as a part of one.
const ASKED: &str = "PBECCS";
const ASKED_IN_BATCH: &str = "PBECCH";

/// The answer to a question, up to its end.
fn answer(rows: &[&str]) -> Vec<u8> {
    let rows: Vec<u8> = rows.iter().flat_map(|value| row(value)).collect();
    [bare(b'1'), bare(b'2'), rows, complete("SELECT"), bare(b'3'), bare(b'3')].concat()
}

impl Stage {
    /// What was queued for a node since the last time.
    fn sent_bytes(&mut self, node: NodeId) -> Vec<u8> {
        drained(self.session.writes(Peer::Node(node)).expect("no such port"))
    }

    /// The main server knows no relation of these names.
    fn knows_nothing(&mut self, status: u8) {
        assert_eq!((self.sent(PRIMARY), self.sent(STANDBY)), (ASKED.into(), "".into()));
        self.node(PRIMARY, &[answer(&[]), ready(status)].concat());
    }

    /// Runs a statement of the client's in a block of pgconvoy's own, which commits.
    fn runs(&mut self, tag: &str) {
        self.node(PRIMARY, &[complete("BEGIN"), ready(b'T'), complete(tag), ready(b'T')].concat());
        assert_eq!(self.sent(STANDBY), "QQ");
        self.node(STANDBY, &[complete("BEGIN"), ready(b'T'), complete(tag), ready(b'T')].concat());
        for node in [STANDBY, PRIMARY] {
            assert_eq!(self.sent(node), "Q", "the main server commits last");
            self.node(node, &[complete("COMMIT"), ready(b'I')].concat());
        }
        assert_eq!(self.heard(), "CZ");
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_query_goes_to_all_with_one_constant() {
    let mut stage = Stage::replicated();
    stage.client(&query("INSERT INTO t VALUES (1, now())"));
    stage.knows_nothing(b'I');
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (ASKED.into(), "".into()));
    stage.node(PRIMARY, &[answer(&["2026-01-02 03:04"]), ready(b'I')].concat());
    let sent = stage.sent_bytes(PRIMARY);
    assert_eq!(kinds(&sent), "QQ");
    assert!(holds(&sent, "VALUES (1, CAST('2026-01-02 03:04' AS pg_catalog.timestamptz))"));
    stage.node(PRIMARY, &[complete("BEGIN"), ready(b'T'), complete("INSERT 0 1"), ready(b'T')].concat());
    assert_eq!(stage.sent_bytes(STANDBY), sent);
    stage.node(STANDBY, &[complete("BEGIN"), ready(b'T'), complete("INSERT 0 1"), ready(b'T')].concat());
    for node in [STANDBY, PRIMARY] {
        assert_eq!(stage.sent(node), "Q");
        stage.node(node, &[complete("COMMIT"), ready(b'I')].concat());
    }
    assert_eq!(stage.heard(), "CZ");
    // The table is known from now on, and what has nothing in it costs no question.
    stage.client(&query("INSERT INTO t VALUES (1, 2)"));
    assert_eq!(stage.sent(PRIMARY), "QQ");
    stage.runs("INSERT 0 1");
}

/// It may set the search path; what was asked for the statement itself holds for it.
#[test]
fn a_function_of_which_nothing_is_known_is_no_reason_to_ask_twice() {
    let mut stage = Stage::replicated();
    for _ in 0..2 {
        stage.client(&query("INSERT INTO t VALUES (1, mystery())"));
        stage.knows_nothing(b'I');
        assert_eq!(stage.sent(PRIMARY), "QQ");
        stage.runs("INSERT 0 1");
    }
}

#[test]
fn a_question_that_fails_is_the_answer_to_its_statement() {
    let mut stage = Stage::replicated();
    stage.client(&query("INSERT INTO t VALUES (1, nextval('s'))"));
    stage.knows_nothing(b'I');
    // BEGIN, the locks of the sequences of `t` and of `s`, and the question itself.
    assert_eq!(stage.sent(PRIMARY), "PBECC".repeat(4) + "S");
    stage.node(PRIMARY, &[answer(&[]), bare(b'1'), bare(b'2'), error("42P01"), ready(b'E')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY), stage.heard()), ("Q".into(), "".into(), "EZ".into()));
    stage.node(PRIMARY, &[complete("ROLLBACK"), ready(b'I')].concat());
    assert_eq!(stage.session.transaction_status(), TransactionStatus::Idle);
}

#[test]
fn a_bind_begins_its_batch_with_the_question() {
    let mut stage = Stage::replicated();
    stage.client(&[parse("s", "UPDATE t SET a = now()"), sync()].concat());
    stage.knows_nothing(b'I');
    let sent = stage.sent_bytes(PRIMARY);
    assert!(holds(&sent, "UPDATE t SET a = CAST($1 AS pg_catalog.timestamptz)"));
    stage.node(PRIMARY, &bare(b'1'));
    stage.node(STANDBY, &bare(b'1'));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &ready(b'I'));
        stage.sent(node);
    }
    assert_eq!(stage.heard(), "1Z");
    stage.client(&[bind("", "s"), execute(""), sync()].concat());
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (ASKED_IN_BATCH.into(), "".into()));
    stage.node(PRIMARY, &answer(&["2026-01-02 03:04"]));
    let sent = stage.sent_bytes(PRIMARY);
    assert!(holds(&sent, "2026-01-02 03:04") && kinds(&sent).starts_with("BE"), "{}", kinds(&sent));
    stage.node(PRIMARY, &[bare(b'2'), complete("UPDATE 1")].concat());
    assert!(holds(&stage.sent_bytes(STANDBY), "2026-01-02 03:04"));
    stage.node(STANDBY, &[bare(b'2'), complete("UPDATE 1")].concat());
    for node in [STANDBY, PRIMARY] {
        assert_eq!(stage.sent(node), "S", "the main server commits last");
        stage.node(node, &ready(b'I'));
    }
    assert_eq!(stage.heard(), "2CZ");
}

#[test]
fn what_cannot_be_made_alike_fails_its_block() {
    let mut stage = Stage::replicated();
    stage.begin();
    stage.client(&query("DELETE FROM t WHERE ctid = '(0,1)'"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "Q".into()));
    let heard = stage.heard_bytes();
    assert_eq!(kinds(&heard), "EZ");
    assert!(holds(&heard, "0A000") && heard.ends_with(b"E"));
    for node in [PRIMARY, STANDBY] {
        stage.node(node, &[error("42601"), ready(b'E')].concat());
    }
    assert_eq!(stage.heard(), "");
}

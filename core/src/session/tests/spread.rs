//! Sessions with several partners: reads take turns, state goes to all, and what fails on one fails on each.

use super::*;
use crate::policy::{Policy, preferences};

const STANDBYS: [NodeId; 2] = [STANDBY, OTHER];

fn each_statement() -> Stage {
    Stage::attached(Policy { each_statement: true, ..Policy::default() }, &STANDBYS)
}

/// Answers whatever a Query left to answer, and tells where it had gone.
fn answered(stage: &mut Stage, tag: &str, status: u8) -> Vec<NodeId> {
    let mut asked = Vec::new();
    for node in [PRIMARY, STANDBY, OTHER] {
        if stage.sent(node) == "Q" {
            stage.node(node, &[complete(tag), ready(status)].concat());
            asked.push(node);
        }
    }
    assert_eq!(stage.heard(), "CZ");
    asked
}

#[test]
fn each_read_draws_its_node() {
    let mut stage = each_statement();
    let mut drawn = [0_u32; 3];
    for _ in 0..40 {
        stage.client(&query("SELECT 1"));
        let asked = answered(&mut stage, "SELECT 1", b'I');
        assert_eq!(asked.len(), 1);
        drawn[usize::from(asked[0].0)] += 1;
        assert_eq!(stage.session.standing().primary_drawn, stage.session.turn == MAIN);
    }
    assert!(drawn[0] == 0 && drawn[1].abs_diff(drawn[2]) <= 2, "{drawn:?}");
    stage.client(&query("SET work_mem = '1MB'"));
    assert_eq!(answered(&mut stage, "SET", b'I'), [PRIMARY, STANDBY, OTHER]);
}

#[test]
fn a_block_reads_from_one_node() {
    let mut stage = each_statement();
    for _ in 0..4 {
        stage.client(&query("BEGIN"));
        assert_eq!(answered(&mut stage, "BEGIN", b'T'), [PRIMARY, STANDBY, OTHER]);
        let mut readers = Vec::new();
        for _ in 0..4 {
            stage.client(&query("SELECT 1"));
            readers.extend(answered(&mut stage, "SELECT 1", b'T'));
        }
        readers.dedup();
        assert!(readers.len() == 1 && readers[0] != PRIMARY, "{readers:?}");
        stage.client(&query("COMMIT"));
        assert_eq!(answered(&mut stage, "COMMIT", b'I'), [PRIMARY, STANDBY, OTHER]);
    }
}

#[test]
fn a_named_statement_is_prepared_where_its_turn_is() {
    let mut stage = each_statement();
    stage.client(&[parse("s", "SELECT 1"), sync()].concat());
    let first = if stage.sent(STANDBY) == "PS" { STANDBY } else { OTHER };
    let other = if first == STANDBY { OTHER } else { STANDBY };
    stage.sent(first);
    stage.node(first, &[bare(b'1'), ready(b'I')].concat());
    assert_eq!(stage.heard(), "1Z");
    let mut seen = Vec::new();
    for _ in 0..8 {
        stage.client(&[bind("", "s"), execute(""), sync()].concat());
        for node in STANDBYS {
            let sent = stage.sent(node);
            if sent.is_empty() {
                continue;
            }
            let brought = sent.starts_with('P');
            assert_eq!(brought, node == other && !seen.contains(&other), "it is prepared once on each: {sent}");
            let own = if brought { bare(b'1') } else { Vec::new() };
            stage.node(node, &[own, bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
            assert_eq!(stage.heard(), "2CZ");
            seen.push(node);
        }
    }
    assert!(seen.contains(&first) && seen.contains(&other) && seen.len() == 8, "{seen:?}");
}

#[test]
fn preparing_alone_ends_no_turn() {
    let mut stage = each_statement();
    for _ in 0..6 {
        stage.client(&[parse("", "SELECT 1"), sync()].concat());
        let node = if stage.sent(STANDBY) == "PS" { STANDBY } else { OTHER };
        stage.sent(node);
        stage.node(node, &[bare(b'1'), ready(b'I')].concat());
        stage.client(&[bind("", ""), execute(""), sync()].concat());
        assert_eq!(stage.sent(node), "BES", "an unnamed statement runs where it was prepared");
        stage.node(node, &[bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(stage.heard(), "1Z2CZ");
    }
}

#[test]
fn a_block_that_fails_on_one_partner_fails_on_all() {
    let mut stage = each_statement();
    stage.client(&query("BEGIN"));
    answered(&mut stage, "BEGIN", b'T');
    stage.client(&query("SELECT 1/0"));
    let reader = if stage.sent(STANDBY) == "Q" { STANDBY } else { OTHER };
    let other = if reader == STANDBY { OTHER } else { STANDBY };
    stage.sent(reader);
    stage.node(reader, &[error("22012"), ready(b'E')].concat());
    assert_eq!(stage.heard(), "EZ");
    assert_eq!((stage.sent(PRIMARY), stage.sent(other)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[error("42601"), ready(b'E')].concat());
    assert_eq!(stage.sent(other), "Q", "the other partner follows the primary");
    stage.node(other, &[error("42601"), ready(b'E')].concat());
    stage.client(&query("ROLLBACK"));
    assert_eq!(answered(&mut stage, "ROLLBACK", b'I'), [PRIMARY, STANDBY, OTHER]);
    assert!(stage.released.is_empty());
}

#[test]
fn a_lost_partner_costs_the_others_nothing() {
    let mut stage = each_statement();
    stage.client(&query("SELECT 1"));
    let reader = if stage.sent(STANDBY) == "Q" { STANDBY } else { OTHER };
    let lost = if reader == STANDBY { OTHER } else { STANDBY };
    stage.sent(reader);
    stage.session.handle_closed(Peer::Node(lost), Closed::End, NOW);
    stage.drain();
    assert_eq!(stage.heard(), "", "what runs elsewhere goes on");
    stage.client(&query("DELETE FROM t"));
    assert_eq!(stage.sent(PRIMARY), "", "and nothing overtakes it");
    stage.node(reader, &[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.heard()), ("Q".into(), "CZ".into()));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZ");
    for _ in 0..6 {
        stage.client(&query("SELECT 1"));
        assert_eq!(stage.sent(reader), "Q");
        stage.node(reader, &[complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(stage.heard(), "CZ");
    }
}

#[test]
fn another_application_name_means_another_node() {
    let by_application = preferences("report:2, web:1").unwrap();
    let mut stage = Stage::attached(Policy { by_application, ..Policy::default() }, &STANDBYS);
    for (name, node) in [("report", OTHER), ("web", STANDBY), ("report", OTHER)] {
        stage.client(&query(&format!("SET application_name = '{name}'")));
        for node in [PRIMARY, STANDBY, OTHER] {
            assert_eq!(stage.sent(node), "Q");
            let told = message(backend::PARAMETER_STATUS, format!("application_name\0{name}\0").as_bytes());
            stage.node(node, &[complete("SET"), told, ready(b'I')].concat());
        }
        assert_eq!(stage.heard(), "CSZ");
        for _ in 0..3 {
            stage.client(&query("SELECT 1"));
            assert_eq!(stage.sent(node), "Q", "{name}");
            stage.node(node, &[complete("SELECT 1"), ready(b'I')].concat());
            assert_eq!(stage.heard(), "CZ");
        }
    }
}

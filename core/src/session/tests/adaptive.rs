//! `disable_load_balance_on_write = dml_adaptive` and `dml_adaptive_global`: reads follow what was written.

use super::*;
use crate::policy::{OnWrite, Policy};

fn stage(on_write: OnWrite) -> Stage {
    Stage::attached(Policy { on_write, ..Policy::default() }, &[STANDBY])
}

#[test]
fn a_prepared_read_follows_what_its_transaction_has_written() {
    for on_write in [OnWrite::Adaptive, OnWrite::AdaptiveGlobal] {
        let mut stage = stage(on_write);
        stage.now = NOW.after(Duration::from_secs(3));
        stage.client(&[parse("s", "SELECT a FROM t"), sync()].concat());
        stage.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "PS".into()), "{on_write:?}");
        stage.heard();
        stage.begin();
        stage.client(&query("UPDATE t SET a = 1"));
        stage.node(PRIMARY, &[complete("UPDATE 1"), ready(b'T')].concat());
        stage.sent(PRIMARY);
        stage.heard();
        stage.client(&[bind("", "s"), execute(""), sync()].concat());
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("PBES".into(), "".into()), "{on_write:?}");
        stage.node(PRIMARY, &[bare(b'1'), bare(b'2'), complete("SELECT 1"), ready(b'T')].concat());
        stage.client(&query("SELECT 1"));
        assert_eq!(stage.sent(STANDBY), "Q", "another read stays where it was");
        stage.node(STANDBY, &[complete("SELECT 1"), ready(b'T')].concat());
        stage.heard();
        stage.client(&query("COMMIT"));
        for node in [PRIMARY, STANDBY] {
            stage.node(node, &[complete("COMMIT"), ready(b'I')].concat());
            stage.sent(node);
        }
        stage.heard();
        stage.client(&[bind("", "s"), execute(""), sync()].concat());
        let expected = if on_write == OnWrite::Adaptive { ("", "BES") } else { ("BES", "") };
        assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), (expected.0.into(), expected.1.into()), "{on_write:?}");
    }
}

#[test]
fn a_table_is_read_from_the_primary_until_the_standby_has_what_was_written() {
    let mut stage = stage(OnWrite::AdaptiveGlobal);
    let at = |ms| NOW.after(Duration::from_millis(ms));
    let read = |stage: &mut Stage, ms: u64, node: NodeId| {
        stage.now = at(ms);
        stage.client(&query("SELECT a FROM t"));
        assert_eq!(stage.sent(node), "Q", "after {ms} ms");
        stage.node(node, &[complete("SELECT 0"), ready(b'I')].concat());
        assert_eq!(stage.heard(), "CZ");
    };
    read(&mut stage, 1_999, PRIMARY);
    read(&mut stage, 2_000, STANDBY);
    stage.client(&query("DELETE FROM t"));
    assert_eq!(stage.sent(PRIMARY), "Q");
    stage.now = at(3_010);
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'I')].concat());
    assert_eq!(stage.heard(), "CZ");
    read(&mut stage, 3_109, PRIMARY);
    read(&mut stage, 3_110, STANDBY);
    let mut view = View::clone(&stage.session.view);
    view.nodes[1].replication.delay = crate::node::Delay::Time(Duration::from_millis(200));
    stage.session.handle_view(&Arc::new(view), at(3_200));
    read(&mut stage, 4_009, PRIMARY);
    read(&mut stage, 4_010, STANDBY);
}

#[test]
fn a_view_is_read_where_its_table_was_written() {
    let mut stage = stage(OnWrite::AdaptiveGlobal);
    stage.now = NOW.after(Duration::from_secs(3));
    let answer = |lines: &[&str]| {
        let value = lines.join("\x1e").replace('|', "\x1f");
        [complete("SET"), complete("SET"), complete("SET"), row(&value), complete("SELECT 1"), ready(b'I')].concat()
    };
    stage.client(&query("TABLE v"));
    assert_eq!(stage.sent(PRIMARY), "Q", "what is behind it?");
    stage.node(PRIMARY, &answer(&["r|0|public|v|false| SELECT t.a FROM public.t", "k|0|t"]));
    assert_eq!(stage.sent(STANDBY), "Q");
    stage.node(STANDBY, &[complete("SELECT 0"), ready(b'I')].concat());
    stage.client(&query("DELETE FROM t"));
    stage.node(PRIMARY, &[complete("DELETE 1"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "Q");
    stage.client(&query("TABLE v"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("Q".into(), "".into()));
    stage.node(PRIMARY, &[complete("SELECT 0"), ready(b'I')].concat());
    assert_eq!(stage.sent(PRIMARY), "Q", "whether it may have set something there");
    stage.node(PRIMARY, &answer(&[]));
    stage.now = stage.now.after(Duration::from_millis(100));
    stage.client(&query("TABLE v"));
    assert_eq!((stage.sent(PRIMARY), stage.sent(STANDBY)), ("".into(), "Q".into()));
}

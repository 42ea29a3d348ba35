//! Settings go to both nodes; what becomes of the two when one of them refuses.

use super::*;

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
fn a_setting_that_only_the_primary_refuses_ends_the_partnership() {
    let mut stage = Stage::paired();
    stage.client(&query("SET nonsense = 1"));
    stage.node(PRIMARY, &[error("42704"), ready(b'I')].concat());
    stage.node(STANDBY, &[complete("SET"), ready(b'I')].concat());
    assert_eq!(stage.released, [STANDBY], "it has the setting, and nobody else has");
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
fn a_setting_refused_by_the_standby_alone_leaves_the_block_alone() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&query("SET LOCAL role = newcomer"));
    stage.node(PRIMARY, &[complete("SET"), ready(b'T')].concat());
    stage.node(STANDBY, &[error("22023"), ready(b'E')].concat());
    assert_eq!((stage.sent(PRIMARY), stage.released.clone()), ("Q".into(), vec![STANDBY]));
}

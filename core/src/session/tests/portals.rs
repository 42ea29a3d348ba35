//! Portals: where they are, and how long.

use super::*;

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
fn a_portal_is_read_to_its_end_before_the_standby_is_let_go() {
    let mut stage = Stage::paired();
    stage.begin();
    stage.client(&[parse("", "SELECT 1"), bind("p", ""), sync()].concat());
    stage.node(STANDBY, &[bare(b'1'), bare(b'2'), ready(b'T')].concat());
    stage.sent(STANDBY);
    stage.client(&query("CALL p()"));
    stage.node(PRIMARY, &[complete("CALL"), ready(b'T')].concat());
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

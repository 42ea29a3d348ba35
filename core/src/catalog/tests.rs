//! What is judged of names, from answers as a server gives them.

use super::{Catalog, Judgement, Question, Subject};
use crate::policy::{FunctionList, patterns};
use crate::sql::{Dialect, Reason, Uses, analyze_naming};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const T0: Instant = Instant::ZERO;

/// A server's catalogue: lines for functions and relations by name, without their numbers.
struct Server<'s> {
    whole: &'static [&'static str],
    functions: &'static [(&'static str, &'static str)],
    relations: &'s [(&'static str, &'static str)],
    list: FunctionList,
    /// What the session searches.
    path: &'s [&'static str],
}

const SERVER: Server<'static> = Server {
    whole: &["w|false", "m|full_name", "n|full_name", "n|v"],
    functions: &[
        ("lower", "pg_catalog|false|"),
        ("lower", "other|true|"),
        ("f", "public|false|"),
        ("v", "public|true|"),
        ("d", "public|false|SELECT 1, v()"),
    ],
    relations: &[
        ("t", "public|r|false|"),
        ("u", "public|r|true|"),
        ("s", "public|S|false|"),
        ("good", "public|v|false| SELECT t.a, public.f(t.b) AS f FROM public.t"),
        ("bad", "public|v|false| SELECT v() FROM good"),
        ("worse", "public|v|false| SELECT * FROM public.bad"),
        (
            "self",
            "public|v|false| WITH RECURSIVE self AS (SELECT 1 UNION ALL SELECT * FROM self) SELECT * FROM self, self x",
        ),
        ("catalog", "public|v|false| SELECT relname FROM pg_class"),
        ("guarded", "public|r|false|SELECT v()"),
        ("twice", "a|r|false|"),
        ("twice", "b|v|false| SELECT v()"),
    ],
    list: FunctionList::Catalog,
    path: &["pg_catalog", "other", "b", "public"],
};

impl Server<'_> {
    fn answer(&self, question: &Question) -> String {
        let mut lines: Vec<String> = Vec::new();
        if question.whole {
            lines.extend(self.whole.iter().map(|line| String::from(*line)));
        }
        let sets = [("f", &question.functions, self.functions), ("r", &question.relations, self.relations)];
        for (mark, names, objects) in sets {
            for (at, name) in names.iter().enumerate() {
                let of_name = objects.iter().filter(|(known, _)| known.as_bytes() == &**name);
                lines.extend(of_name.map(|(_, line)| format!("{mark}|{at}|{line}")));
            }
        }
        lines.join("\u{1e}").replace('|', "\u{1f}")
    }

    /// Judges `text`, asking as often as needed; how often that was.
    fn judge(&self, catalog: &mut Catalog, text: &str, now: Instant) -> (Judgement, usize) {
        self.judge_with(true, catalog, text, now)
    }

    fn judge_with(&self, check_unlogged: bool, catalog: &mut Catalog, text: &str, now: Instant) -> (Judgement, usize) {
        let mut uses = Uses::new();
        analyze_naming(text.as_bytes(), Dialect::default(), &mut uses);
        let mut path: Option<Vec<Box<[u8]>>> = None;
        for asked in 0.. {
            let mut question = Question::default();
            let functions = &self.list;
            let (text, path_known) = (text.as_bytes(), path.as_deref());
            let subject = Subject { database: b"db", text, uses: &uses, check_unlogged, path: path_known, functions };
            let judgement = catalog.judge(&subject, now, &mut question);
            if judgement != Judgement::Unknown {
                return (judgement, asked);
            }
            if question.own_path {
                assert!(core::mem::take(&mut question.own_path) && question.is_empty(), "it is asked alone");
                path = Some(self.path.iter().map(|schema| schema.as_bytes().into()).collect());
                continue;
            }
            let age = catalog.age();
            let answer = self.answer(&question);
            assert!(catalog.learn(b"db", &question, age, answer.as_bytes(), Dialect::default(), now), "{answer}");
        }
        unreachable!("every question is answered")
    }
}

fn judge(text: &str) -> Judgement {
    SERVER.judge(&mut Catalog::new(256, Duration::ZERO), text, T0).0
}

#[test]
fn what_reads_may_go_anywhere() {
    for text in [
        "SELECT 1",
        "SELECT a FROM t",
        "SELECT f(a) FROM public.t",
        "SELECT pg_catalog.lower(a) FROM good",
        "WITH q AS (SELECT * FROM t) SELECT * FROM q",
        "SELECT extract(year FROM a) FROM t",
        "SELECT current_timestamp(3), current_time(0), LOCALTIME (1), localtimestamp(2)",
        "SELECT * FROM a.twice",
    ] {
        assert_eq!(judge(text), Judgement::Anywhere, "{text}");
    }
}

#[test]
fn a_name_that_means_several_things_is_judged_by_the_path() {
    use Judgement::{Anywhere, Primary};
    let unknown = Primary(Reason::UnknownFunction, true);
    for (path, text, expected) in [
        (&["pg_catalog", "public"][..], "SELECT lower(a) FROM t", Anywhere),
        (&["pg_catalog", "public", "other"], "SELECT lower(a) FROM t", unknown),
        (&["pg_catalog"], "SELECT * FROM twice", Primary(Reason::UnknownRelation, false)),
        (&["pg_catalog", "a", "b"], "SELECT * FROM twice", Anywhere),
        (&["pg_catalog", "b", "a"], "SELECT * FROM twice", Primary(Reason::VolatileView, true)),
        (&["pg_catalog", "a", "public"], "SELECT * FROM twice, good, a.twice x", Anywhere),
        (&["pg_catalog", "a", "public"], "SELECT v() FROM twice", unknown),
        (&["pg_catalog", "public", "other"], "SELECT * FROM low", Anywhere),
    ] {
        let relations = &[SERVER.relations, &[("low", "public|v|false| SELECT lower(t.a) FROM public.t")]].concat();
        let server = Server { path, relations, list: FunctionList::Catalog, ..SERVER };
        let found = server.judge(&mut Catalog::new(256, Duration::ZERO), text, T0).0;
        assert_eq!(found, expected, "{text} with {path:?}");
    }
}

#[test]
fn what_may_write_is_for_the_primary() {
    use Reason::{UnknownFunction, VolatilePolicy, VolatileView};
    for (text, reason) in [
        ("SELECT v()", UnknownFunction),
        ("SELECT V(a) FROM t", UnknownFunction),
        ("SELECT lower(a) FROM t", UnknownFunction),
        ("SELECT nowhere.f(1)", UnknownFunction),
        ("SELECT missing(1)", UnknownFunction),
        ("SELECT d()", UnknownFunction),
        ("SELECT t.full_name FROM t", UnknownFunction),
        ("SELECT (t).full_name FROM t", UnknownFunction),
        ("SELECT (1).v", UnknownFunction),
        ("SELECT (t.a).\"v\" FROM t", UnknownFunction),
        ("SELECT pg_catalog.table_to_xml('bad', true, false, '')", UnknownFunction),
        ("SELECT schema_to_xml_and_xmlschema('public', true, false, '')", UnknownFunction),
        ("SELECT * FROM bad", VolatileView),
        ("SELECT * FROM worse", VolatileView),
        ("SELECT a FROM t, guarded", VolatilePolicy),
        ("SELECT * FROM twice", VolatileView),
    ] {
        assert_eq!(judge(text), Judgement::Primary(reason, true), "{text}");
    }
}

#[test]
fn a_part_of_a_relation_is_a_function_of_rows_only() {
    assert_eq!(judge("SELECT t.v FROM t"), Judgement::Anywhere);
}

#[test]
fn a_view_is_judged_once_however_often_it_is_used() {
    // A recursive view names itself; a chain of joins of each view with itself would be as many judgements as 2 to the 24th.
    assert_eq!(judge("SELECT * FROM self"), Judgement::Anywhere);
    let mut catalog = Catalog::new(256, Duration::ZERO);
    for level in 0..24 {
        let mut question = Question::default();
        question.relations.insert(format!("v{level}").into_bytes().into());
        let below = if level == 0 { String::from("t") } else { format!("v{}", level - 1) };
        let answer = format!("r|0|public|v|false| SELECT * FROM {below} a, {below} b").replace('|', "\u{1f}");
        assert!(catalog.learn(b"db", &question, 0, answer.as_bytes(), Dialect::default(), T0));
    }
    assert_eq!(SERVER.judge(&mut catalog, "SELECT * FROM v23", T0).0, Judgement::Anywhere);
}

#[test]
fn what_only_the_primary_can_answer_is_asked_there() {
    for (text, reason) in [
        ("SELECT * FROM u", Reason::Unlogged),
        ("SELECT last_value FROM s", Reason::PrimaryAnswer),
        ("SELECT * FROM gone", Reason::UnknownRelation),
        ("SELECT * FROM catalog", Reason::Catalog),
    ] {
        assert_eq!(judge(text), Judgement::Primary(reason, false), "{text}");
    }
    let mut catalog = Catalog::new(256, Duration::ZERO);
    assert_eq!(SERVER.judge_with(false, &mut catalog, "SELECT * FROM u", T0).0, Judgement::Anywhere);
}

#[test]
fn names_are_asked_once_until_they_expire_or_change() {
    let mut catalog = Catalog::new(256, Duration::from_secs(60));
    assert_eq!(SERVER.judge(&mut catalog, "SELECT * FROM good", T0), (Judgement::Anywhere, 2));
    assert_eq!(SERVER.judge(&mut catalog, "SELECT f(a) FROM good", T0), (Judgement::Anywhere, 0));
    catalog.forget();
    assert_eq!(SERVER.judge(&mut catalog, "SELECT * FROM t", T0), (Judgement::Anywhere, 1));
    let later = T0.after(Duration::from_secs(61));
    assert_eq!(SERVER.judge(&mut catalog, "SELECT * FROM t", later), (Judgement::Anywhere, 1));
}

#[test]
fn what_was_asked_before_a_change_is_not_believed_after() {
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let question = Question { whole: true, ..Question::default() };
    let age = catalog.age();
    catalog.forget();
    let answer = SERVER.answer(&question);
    assert!(!catalog.learn(b"db", &question, age, answer.as_bytes(), Dialect::default(), T0));
    assert!(!catalog.learn(b"db", &question, age + 1, b"nonsense", Dialect::default(), T0));
}

#[test]
fn the_oldest_names_make_room() {
    let mut catalog = Catalog::new(2, Duration::ZERO);
    for (seconds, text) in [(0, "TABLE t"), (1, "TABLE u"), (2, "TABLE gone")] {
        SERVER.judge(&mut catalog, text, T0.after(Duration::from_secs(seconds)));
    }
    let now = T0.after(Duration::from_secs(3));
    assert_eq!(SERVER.judge(&mut catalog, "TABLE gone", now).1, 0);
    assert_eq!(SERVER.judge(&mut catalog, "TABLE t", now).1, 1);
}

#[test]
fn new_limits_hold_for_what_is_known() {
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let after = |seconds| T0.after(Duration::from_secs(seconds));
    for text in ["TABLE t", "TABLE u"] {
        assert_eq!(SERVER.judge(&mut catalog, text, T0).1, 1);
    }
    catalog.set_limits(1, Duration::from_secs(60));
    assert_eq!(SERVER.judge(&mut catalog, "TABLE t", after(59)).1, 0);
    assert_eq!(SERVER.judge(&mut catalog, "TABLE t", after(60)).1, 1);
    assert_eq!(SERVER.judge(&mut catalog, "TABLE gone", after(61)).1, 1);
    assert_eq!(SERVER.judge(&mut catalog, "TABLE t", after(61)).1, 1, "both of before have made room");
}

#[test]
fn what_is_for_the_primary_may_write_all_the_same() {
    let mut catalog = Catalog::new(256, Duration::ZERO);
    assert_eq!(SERVER.judge(&mut catalog, "TABLE u", T0).0, Judgement::Primary(Reason::Unlogged, false));
    let found = SERVER.judge(&mut catalog, "SELECT v() FROM u", T0);
    assert_eq!(found, (Judgement::Primary(Reason::UnknownFunction, true), 1), "what else is in it is asked");
    assert_eq!(SERVER.judge(&mut catalog, "SELECT 1 FROM u, t", T0), (Judgement::Primary(Reason::Unlogged, false), 1));
}

#[test]
fn a_volatile_operator_bars_everything() {
    let server = Server { whole: &["w|true"], ..SERVER };
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let found = server.judge(&mut catalog, "SELECT 1", T0).0;
    assert_eq!(found, Judgement::Primary(Reason::VolatileOperator, true));
    let server = Server { whole: &["w|false", "d|SELECT v()"], ..SERVER };
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let found = server.judge(&mut catalog, "SELECT 1", T0).0;
    assert_eq!(found, Judgement::Primary(Reason::VolatileOperator, true));
}

#[test]
fn temporary_relations_are_told_apart_from_the_rest() {
    let question = Question { own_temporaries: true, whole: true, ..Question::default() };
    let answer = "w|false*t|a*t|b".replace('|', "\u{1f}").replace('*', "\u{1e}");
    let mut catalog = Catalog::new(256, Duration::ZERO);
    assert!(catalog.learn(b"db", &question, catalog.age(), answer.as_bytes(), Dialect::default(), T0));
    assert_eq!(question.temporaries(answer.as_bytes()).collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn names_cannot_break_out_of_the_question() {
    let mut question = Question::default();
    question.functions.insert(b"a'b\\c".as_slice().into());
    let sql = String::from_utf8(question.sql()).unwrap();
    assert!(sql.contains(r"(VALUES (0, E'a''b\\c')) q"), "{sql}");
}

#[test]
fn the_operators_lists_decide_instead_of_the_catalogue() {
    let list = || patterns(&["v".into(), "lower".into()]).unwrap();
    let read_only = Server { list: FunctionList::ReadOnly(list()), ..SERVER };
    let writing = Server { list: FunctionList::Writing(list()), ..SERVER };
    let judge = |server: &Server<'_>, text| server.judge(&mut Catalog::new(256, Duration::ZERO), text, T0).0;
    assert_eq!(judge(&read_only, "SELECT v()"), Judgement::Anywhere);
    assert_eq!(judge(&read_only, "SELECT f()"), Judgement::Primary(Reason::UnknownFunction, true));
    assert_eq!(judge(&writing, "SELECT missing()"), Judgement::Anywhere);
    assert_eq!(judge(&writing, "SELECT v() FROM t"), Judgement::Primary(Reason::UnknownFunction, true));
}

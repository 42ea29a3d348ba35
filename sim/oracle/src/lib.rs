//! PostgreSQL's own grammar as the judge of pgconvoy's SQL classifier.
//!
//! [`grammar::read`] says what a text does by PostgreSQL's parse tree; [`complaint`] compares that with what
//! `pgconvoy_core::sql` says of the same text; [`trial`] does so for many generated statements. The classifier may be more
//! careful than the tree, never less.

pub mod grammar;
pub mod trial;

use grammar::{Called, Found};
use pgconvoy_core::sql::determinism::{Constants, Note, Reason, inspect};
use pgconvoy_core::sql::{Analysis, Count, Dialect, Hazards, Name, Route, UseKind, Uses, analyze_naming};

/// What is wrong with the classifier's view of `text`, of which the tree says `found`.
pub fn complaint(text: &[u8], standard_strings: bool, found: &Found) -> Option<String> {
    let dialect = Dialect { standard_conforming_strings: standard_strings, ..Dialect::default() };
    let mut uses = Uses::new();
    let analysis = analyze_naming(text, dialect, &mut uses);
    if found.writes.is_some() && analysis.route == Route::Either && !analysis.writes {
        return found.writes.as_ref().map(|why| format!("{why}, and may go anywhere"));
    }
    let counted = match analysis.count {
        Count::Empty => found.statements == 0,
        Count::One => found.statements == 1,
        Count::Many => found.statements > 1 || analysis.reason == pgconvoy_core::sql::Reason::NotUnderstood,
    };
    if !counted {
        return Some(format!("{} statements, and {:?} were counted", found.statements, analysis.count));
    }
    let several = analysis.count == Count::Many;
    for (holds, hazard) in [
        (several && found.controls_transaction, Hazards::CONTROLS_TRANSACTION),
        (several && found.changes_state, Hazards::CHANGES_STATE_UNSEEN),
        (found.creates_temporary, Hazards::CREATES_TEMP),
        (found.creates, Hazards::RESHAPES),
    ] {
        if holds && !analysis.hazards.contains(hazard) {
            return Some(format!("{hazard:?} is missing in {:?}", analysis.hazards));
        }
    }
    if (analysis.route == Route::Either || analysis.open) && !uses.is_unclear() {
        return unseen(text, &uses, found);
    }
    None
}

/// A name in the tree that is not among those that the classifier gives to be looked up.
fn unseen(text: &[u8], uses: &Uses, found: &Found) -> Option<String> {
    // Without a schema, every object of the name is judged.
    let covers = |of: Option<Name<'_>>, called: &Called| {
        of.is_none_or(|of| called.schema.as_deref().is_some_and(|schema| of.is(schema)))
    };
    let seen = |kinds: &[UseKind], called: &Called| {
        uses.iter(text).any(|(kind, of, name)| kinds.contains(&kind) && name.is(&called.name) && covers(of, called))
    };
    let lists: [(&[UseKind], &[Called], &str); 4] = [
        (&[UseKind::Function], &found.functions, "function"),
        (&[UseKind::Relation], &found.relations, "relation"),
        (&[UseKind::Member, UseKind::Field], &found.members, "member"),
        (&[UseKind::Field], &found.fields, "field"),
    ];
    for (kinds, names, what) in lists {
        if let Some(missing) = names.iter().find(|called| !seen(kinds, called)) {
            return Some(format!("the {what} {missing:?} is not looked up"));
        }
    }
    let invented =
        uses.iter(text).find(|(kind, _, name)| *kind == UseKind::With && !found.withs.iter().any(|with| name.is(with)));
    invented.map(|(_, _, name)| format!("{name} is taken for a WITH query"))
}

/// Functions that no rewritten text may call any more.
const MOVING: &[&str] = &["now", "random", "pg_backend_pid", "timeofday"];

/// A text of the same form as `text`, in which some constants have become calls of what differs from server to server.
pub fn with_calls(text: &str) -> String {
    text.replace(" 42 ", " random() ").replace(" 7 ", " pg_backend_pid() ").replace(" 'x' ", " timeofday() ")
}

/// What is wrong with what [`pgconvoy_core::sql::determinism`] makes of `text`, one that PostgreSQL takes: it must
/// understand it, and what it writes must be taken, too. A text is only given with standard strings.
pub fn rewriting_complaint(text: &[u8], found: &Found) -> Option<String> {
    let dialect = Dialect::default();
    let plan = match inspect(text, dialect).plan(text, |_| None) {
        Ok(plan) => plan,
        Err(refusal) if refusal.reason == Reason::NotUnderstood => {
            // A name in Unicode escapes may be any name; and no more is understood than can be cut into tokens.
            let cut =
                analyze_naming(text, dialect, &mut Uses::new()).reason != pgconvoy_core::sql::Reason::NotUnderstood;
            let named = text.windows(2).any(|pair| pair == b"&\"");
            return (cut && !named).then(|| "it is not understood as a write".into());
        }
        Err(_) => return None,
    };
    let mut constants = Constants::new();
    plan.constants().iter().for_each(|_| constants.push(Some(b"1")));
    let rewritten = match plan.rewrite(text, &constants, dialect) {
        Ok(rewritten) => rewritten.into_owned(),
        Err(refusal) => return Some(format!("{refusal:?}")),
    };
    let rewritten = String::from_utf8_lossy(&rewritten).into_owned();
    let Some(again) = grammar::read(&rewritten) else { return Some(format!("it became {rewritten}")) };
    let question = plan.question().map(|question| String::from_utf8_lossy(&question).into_owned());
    if question.as_ref().is_some_and(|question| grammar::read(question).is_none()) {
        return Some(format!("the question is {}", question.unwrap_or_default()));
    }
    // What only the client sees may stay.
    let shown = plan.notes().iter().any(|note| matches!(note, Note::OnlyShown(_)));
    let modifies = !shown && found.statements == 1 && found.writes.as_deref() == Some("it modifies data");
    let moves = |called: &&Called| MOVING.contains(&called.name.as_str()) && called.schema.is_none();
    let moving = again.functions.iter().filter(moves).count();
    (again.statements != found.statements || modifies && moving > 0).then(|| format!("it became {rewritten}"))
}

/// Whether a statement that only reads plain tables may go anywhere.
pub fn is_balanced(text: &[u8], standard_strings: bool) -> bool {
    let dialect = Dialect { standard_conforming_strings: standard_strings, ..Dialect::default() };
    let analysis: Analysis<'_> = pgconvoy_core::sql::analyze(text, dialect);
    analysis.route == Route::Either
}

//! PostgreSQL's own grammar as the judge of pgconvoy's SQL classifier.
//!
//! [`grammar::read`] says what a text does by PostgreSQL's parse tree; [`complaint`] compares that with what
//! `pgconvoy_core::sql` says of the same text; [`trial`] does so for many generated statements. The classifier may be more
//! careful than the tree, never less.

pub mod grammar;
pub mod trial;

use grammar::{Called, Found};
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

/// Whether a statement that only reads plain tables may go anywhere.
pub fn is_balanced(text: &[u8], standard_strings: bool) -> bool {
    let dialect = Dialect { standard_conforming_strings: standard_strings, ..Dialect::default() };
    let analysis: Analysis<'_> = pgconvoy_core::sql::analyze(text, dialect);
    analysis.route == Route::Either
}

//! A text that runs wherever a name is used: the query of a view, the condition of a policy, a default argument.

use crate::sql::{Analysis, Dialect, Name, Reason, Route, UseKind, Uses, analyze_naming};
use alloc::boxed::Box;

/// Such a text, understood.
#[derive(Debug)]
pub(super) struct Hidden {
    text: Box<[u8]>,
    uses: Uses,
    /// Why it is for the primary whatever its names are.
    barred: Option<Reason>,
}

impl Hidden {
    pub(super) fn new(text: &[u8], dialect: Dialect) -> Self {
        let mut uses = Uses::new();
        let analysis = analyze_naming(text, dialect, &mut uses);
        let barred = barred(&analysis);
        Self { text: text.into(), uses, barred }
    }

    pub(super) const fn barred(&self) -> Option<Reason> {
        self.barred
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) const fn uses(&self) -> &Uses {
        &self.uses
    }
}

/// Why a statement belongs to the primary, whatever the functions it calls are.
fn barred(analysis: &Analysis<'_>) -> Option<Reason> {
    let open = analysis.route == Route::Either || analysis.open;
    (!open).then_some(analysis.reason)
}

/// True when `text` gives a `WITH` query this name.
pub(super) fn names_with_query(text: &[u8], uses: &Uses, name: Name<'_>) -> bool {
    uses.iter(text).any(|(kind, _, given)| kind == UseKind::With && given == name)
}

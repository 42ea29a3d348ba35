//! What the readers of both file formats yield: names and texts with their places, not yet understood.

use super::diagnostic::{Diagnostic, Place, Severity};

/// The text of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// One text.
    One(String),
    /// The items of a TOML array.
    Many(Vec<String>),
}

/// One `name = value` of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The name, with a node number where it has one.
    pub(super) name: String,
    /// Where the name stands.
    pub(super) name_place: Place,
    /// The value.
    pub(super) value: Raw,
    /// Where the value stands.
    pub(super) value_place: Place,
}

/// The assignments of a file and of those that it includes, in the order in which they stand, and what was found wrong.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) assignments: Vec<Assignment>,
    pub(super) findings: Vec<Diagnostic>,
}

impl Parsed {
    /// Notes an error at a place.
    pub(super) fn error(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.findings.push(Diagnostic { help, ..Diagnostic::at(Severity::Error, place, message) });
    }
}

//! Statements by class, as a table: what a person would expect to find in the manual.

mod effects;
mod properties;
mod queries;
mod uses;

use super::{Analysis, Count, Dialect, Effect, Hazards, Reason, Route, analyze};

fn read(text: &str) -> Analysis<'_> {
    analyze(text.as_bytes(), Dialect::default())
}

/// Asserts the class of each of `texts`.
#[track_caller]
fn all(route: Route, writes: bool, reason: Reason, texts: &[&str]) {
    for text in texts {
        let found = read(text);
        assert_eq!((found.route, found.writes, found.reason), (route, writes, reason), "{text}");
    }
}

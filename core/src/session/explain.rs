//! `EXPLAIN ROUTE`: where a statement would go if the client sent it now, by the same functions that send it.

use super::Session;
use super::local::Mode;
use super::request::Step;
use crate::route::{self, Rule};
use crate::sql::{self, Effect, PoolReport, Route};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// What is added to the reason of a statement that goes where a prepared one or a cursor is.
pub const FOLLOWS: &str = "; it follows what it names";

/// The text behind `EXPLAIN ROUTE`.
fn explained(text: &[u8], dialect: sql::Dialect) -> Option<&[u8]> {
    match sql::analyze(text, dialect).effect {
        Effect::ExplainRoute { text } => Some(text),
        _ => None,
    }
}

/// A decision as it is shown: class, rule, reason, the rules passed, and what would change it.
pub fn words(statement: &route::Statement, rule: Rule) -> [String; 5] {
    let class = match statement.route {
        Route::Primary => "PRIMARY",
        Route::Both => "BOTH",
        Route::Either => "EITHER",
    };
    let passed: Vec<&str> = Rule::ALL.iter().take_while(|before| **before != rule).map(|rule| rule.code()).collect();
    let reason = if rule == Rule::Class { statement.reason.as_str() } else { rule.text() };
    let remedy = if rule == Rule::Class { statement.reason.remedy() } else { rule.remedy() };
    [class.into(), rule.code().into(), reason.into(), passed.join(", "), remedy.into()]
}

impl Session {
    /// Answers `EXPLAIN ROUTE`, the whole of which is `text`.
    pub(super) fn explain(&mut self, text: &[u8], mode: Mode) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        // Strings may have been read in another way when it was prepared: then the whole is not understood.
        let inner = explained(text, self.dialect()).unwrap_or(text);
        let Some((summary, naming)) = self.understand(Some(inner)) else { return Step::Wait };
        let row = if summary.local.is_some() {
            let words = ["PRIMARY", "class", "command for the proxy", "", ""];
            core::iter::once("pgconvoy").chain(words).map(String::from).collect()
        } else {
            let to = self.choose_named(&summary, naming.as_deref());
            let executed = self.executed(&summary, naming.as_deref());
            let nodes = to.positions().filter_map(|position| Some(self.ports[position].as_ref()?.node.to_string()));
            let nodes = nodes.collect::<Vec<_>>().join(", ");
            let statement =
                route::Statement { route: executed.route, reason: executed.reason, hazards: executed.hazards };
            let mut row = vec![nodes];
            row.extend(words(&statement, self.decide(&executed).rule));
            if naming.is_some() && self.choose(&executed) != to {
                row[3].push_str(FOLLOWS);
            }
            row
        };
        self.answer(PoolReport::Route, mode, &[row]);
        Step::Drop
    }
}

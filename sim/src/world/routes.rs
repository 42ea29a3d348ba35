//! Whether `EXPLAIN ROUTE` tells the truth: each explanation is compared with the servers at which the statement arrives.
//!
//! Fed by what clients are told and by what model servers observe, as the referee is. A statement is not judged if
//! anything happened between the question and its arrival that may have changed its way: a fault, another view of the
//! cluster, another session.

use crate::client::Explanation;
use crate::fakepg::Observation;
use crate::tag::Tag;
use pgconvoy_core::route::Rule;
use pgconvoy_core::sql::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// A statement of which a client asks where it would go.
#[derive(Debug, Default)]
struct Statement {
    told: Option<Explanation>,
    /// Servers to which it was sent to be prepared.
    parsed: BTreeSet<u8>,
    /// Servers on which it ran.
    ran: BTreeSet<u8>,
    /// It was answered, and no fault had a hand in that.
    followed: bool,
    /// Something may have changed its way.
    excused: bool,
}

impl Statement {
    /// Where it was to run; where it was refused before that, the servers that refused it.
    fn arrived(&self) -> &BTreeSet<u8> {
        if self.ran.is_empty() { &self.parsed } else { &self.ran }
    }

    /// It was to be kept from a standby for a while, which may be over when it arrives.
    fn passes(&self) -> bool {
        let lately = [Reason::RecentlyWritten.as_str(), Reason::ColdStart.as_str()];
        self.told.as_ref().is_some_and(|told| lately.contains(&told.reason.as_str()))
    }

    /// It has arrived everywhere where it was to go, and nowhere else.
    fn is_true(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.nodes == *self.arrived())
    }

    /// It has arrived where it was not to go.
    fn is_astray(&self) -> bool {
        !self.excused && !self.passes() && self.told.as_ref().is_some_and(|told| !self.arrived().is_subset(&told.nodes))
    }

    /// It was for every server, and was refused instead: the main one could not give the values that make it alike, or the
    /// model of it could not read the question.
    fn is_refused(&self) -> bool {
        let replicated = self.told.as_ref().is_some_and(|told| told.rule == Rule::Replicated.code());
        replicated && self.arrived().is_empty()
    }

    fn is_lie(&self, late: bool) -> bool {
        let missing = !self.is_refused() && !self.excused && !self.passes() && self.followed && !self.is_true();
        self.is_astray() && self.followed || missing && !late
    }
}

/// All that was explained in one run.
#[derive(Debug, Default)]
pub struct Routes {
    statements: BTreeMap<Tag, Statement>,
}

impl Routes {
    /// A client asks where its next statement would go. Who is not `alone` may be disturbed by others at any time.
    pub fn asked(&mut self, tag: Tag, alone: bool) {
        self.statements.insert(tag, Statement { excused: !alone, ..Statement::default() });
    }

    /// It has been told, and sends it.
    pub fn explained(&mut self, tag: Tag, told: Explanation) {
        if let Some(statement) = self.statements.get_mut(&tag) {
            statement.told = Some(told);
        }
    }

    /// The statement has been answered.
    pub fn followed(&mut self, tag: Tag) {
        if let Some(statement) = self.statements.get_mut(&tag) {
            statement.followed = true;
        }
    }

    /// Something has happened that may change the way of those statements that have not arrived yet.
    pub fn disturbed(&mut self) {
        for statement in self.statements.values_mut().filter(|statement| !statement.is_true()) {
            statement.excused = true;
        }
    }

    /// A server has seen something.
    pub fn observe(&mut self, node: u8, observation: &Observation) -> Result<(), String> {
        let (tag, ran) = match observation {
            Observation::Message { kind, tag: Some(tag), .. } => (tag, *kind == b'Q'),
            Observation::Ran { tag, .. } => (tag, true),
            _ => return Ok(()),
        };
        let Some(statement) = self.statements.get_mut(tag) else { return Ok(()) };
        if !ran {
            statement.parsed.insert(node);
            return Ok(());
        }
        statement.ran.insert(node);
        if statement.is_astray() { Err(lie(*tag, statement)) } else { Ok(()) }
    }

    /// The run is over: how many explanations were true, by the rule that they named. Where connections were held,
    /// something may be still `late`.
    pub fn judge(&self, late: bool) -> Result<BTreeMap<String, u64>, String> {
        if let Some((tag, statement)) = self.statements.iter().find(|(_, statement)| statement.is_lie(late)) {
            return Err(lie(*tag, statement));
        }
        let mut by_rule = BTreeMap::new();
        for statement in self.statements.values().filter(|statement| statement.followed && !statement.excused) {
            let rule = match (statement.passes(), statement.is_true()) {
                (true, true) => LATELY.to_owned(),
                (true, false) => EXPIRED.to_owned(),
                _ => statement.told.as_ref().map(|told| told.rule.clone()).unwrap_or_default(),
            };
            *by_rule.entry(rule).or_default() += 1;
        }
        Ok(by_rule)
    }
}

fn lie(tag: Tag, statement: &Statement) -> String {
    let arrived = statement.arrived();
    let told = statement.told.as_ref().map(|told| format!("{:?} ({}: {})", told.nodes, told.rule, told.reason));
    format!("{EXPLAINED}: {tag} was to go to {}, and arrived at {arrived:?}", told.unwrap_or_default())
}

/// Counts statements that were kept from standbys because of what was written lately, or may have been.
pub const LATELY: &str = "lately";
/// Counts those of them that were kept from standbys no more when they arrived.
pub const EXPIRED: &str = "expired";

/// How a complaint about a route begins.
pub const EXPLAINED: &str = "EXPLAIN ROUTE";

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { client: 1, request: 2 };

    fn told(nodes: &[u8]) -> Routes {
        let mut routes = Routes::default();
        let told = Explanation { nodes: nodes.iter().copied().collect(), rule: "class".into(), reason: "".into() };
        routes.asked(TAG, true);
        routes.explained(TAG, told);
        routes
    }

    fn query() -> Observation {
        Observation::Message { conn: 1, kind: b'Q', digest: 0, tag: Some(TAG), skipping: false, constant: false }
    }

    #[test]
    fn a_statement_must_arrive_at_all_servers_that_were_named_and_at_no_other() {
        let mut routes = told(&[0, 1]);
        assert_eq!(routes.observe(0, &query()), Ok(()));
        assert_eq!(routes.judge(false), Ok(BTreeMap::new()), "it may still be under way");
        routes.followed(TAG);
        assert!(routes.judge(false).is_err() && routes.judge(true).is_ok());
        assert_eq!(routes.observe(1, &query()), Ok(()));
        assert_eq!(routes.judge(false), Ok(BTreeMap::from([("class".to_owned(), 1)])));
        routes.disturbed();
        assert!(routes.observe(2, &query()).is_err(), "what comes after it has arrived is no excuse");
    }

    #[test]
    fn a_statement_is_not_judged_whose_way_may_have_changed() {
        let mut routes = told(&[0]);
        routes.disturbed();
        assert_eq!(routes.observe(1, &query()), Ok(()));
        routes.followed(TAG);
        assert_eq!(routes.judge(false), Ok(BTreeMap::new()));
        let mut routes = Routes::default();
        routes.asked(TAG, true);
        routes.disturbed();
        routes.explained(TAG, Explanation { nodes: BTreeSet::from([0]), rule: "class".into(), reason: "".into() });
        assert_eq!(routes.observe(1, &query()), Ok(()), "it may have happened before the client was told");
    }

    #[test]
    fn a_statement_goes_where_it_runs_not_where_it_is_prepared() {
        let mut routes = told(&[1]);
        let parse =
            Observation::Message { conn: 1, kind: b'P', digest: 0, tag: Some(TAG), skipping: false, constant: false };
        assert_eq!(routes.observe(0, &parse), Ok(()));
        routes.followed(TAG);
        assert!(routes.judge(true).is_err());
        assert_eq!(routes.observe(1, &Observation::Ran { conn: 1, tag: TAG }), Ok(()));
        assert!(routes.judge(false).is_ok());
    }
}

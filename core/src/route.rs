//! Where a statement goes, as a pure function of what it does and where its session stands, and why: the rules in the
//! order in which they are asked (pgpool's `where_to_send_main_replica`, with what pgpool leaves out).
//!
//! The session routes by [`decide`] and nothing else, so that `EXPLAIN ROUTE` and `pgconvoy route` tell the truth.

use crate::policy::{OnWrite, Policy};
use crate::sql::{self, Dialect, Effect, Hazards, Name, Reason, Route, UseKind, Uses};
use alloc::vec::Vec;

/// What a statement does, as far as its route depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// Where it belongs by itself.
    pub route: Route,
    /// Why that is.
    pub reason: Reason,
    /// What a session must heed.
    pub hazards: Hazards,
}

impl Statement {
    /// What a text does, as far as that can be told without the catalogue.
    pub fn of(text: &[u8], dialect: Dialect, policy: &Policy) -> Self {
        let mut uses = Uses::new();
        let analysis = sql::analyze_naming(text, dialect, &mut uses);
        let mut statement = Self { route: analysis.route, reason: analysis.reason, hazards: analysis.hazards };
        if matches!(analysis.effect, Effect::Prepare { .. }) {
            // It is known by name there alone.
            (statement.route, statement.reason) = (Route::Primary, Reason::PrimarySession);
        }
        if !analysis.open || statement.reason == Reason::PrimarySession {
            return statement;
        }
        if let Some(reason) = policy.pins(text) {
            (statement.route, statement.reason) = (Route::Primary, reason);
        } else if policy.functions.decides() {
            let writes = uses.iter(text).any(|(kind, schema, name)| {
                let folded = |name: Name<'_>| name.bytes().collect::<Vec<u8>>();
                let writes = || policy.functions.writes(schema.map(folded).as_deref(), &folded(name));
                kind == UseKind::Function && writes() == Some(true)
            });
            (statement.route, statement.reason) =
                if writes { (Route::Primary, Reason::UnknownFunction) } else { (Route::Either, Reason::Reads) };
        }
        statement
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// It has nodes for balanced reads besides the primary.
    pub balanced: bool,
    /// pgconvoy replicates: what may write goes to every node.
    pub replicated: bool,
    /// So do reads (`replicate_select`, `compare_rows`).
    pub reads_everywhere: bool,
    /// Reads are spread where that is so (`load_balance_mode`).
    pub reads_apart: bool,
    /// No such node is in step with the session; they are let go, or have been.
    pub out_of_step: bool,
    /// Reads are for the primary this time.
    pub primary_drawn: bool,
    /// What ran on the primary alone may have changed settings there, which has not been found out.
    pub unsure: bool,
    /// The one whose turn it is lags too far behind (`delay_threshold`).
    pub delayed: bool,
    /// The transaction was changed on the primary alone, earlier in this batch.
    pub alone: bool,
    /// A transaction block is open on the primary.
    pub in_block: bool,
    /// A transaction block is open on the nodes for balanced reads.
    pub partner_in_block: bool,
    /// The transaction has failed.
    pub failed: bool,
    /// A batch of the extended protocol is open.
    pub in_batch: bool,
    /// The transaction has written.
    pub wrote: bool,
    /// It has written who knows what.
    pub wrote_unknown: bool,
    /// An explicit transaction of the session has written.
    pub block_has_written: bool,
    /// The session has written.
    pub has_written: bool,
    /// What that means (`disable_load_balance_on_write`).
    pub on_write: OnWrite,
    /// Comments in front do not matter (`allow_sql_comments`).
    pub comments_allowed: bool,
}

/// To which nodes of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The primary.
    Primary,
    /// The load-balance node.
    Balance,
    /// Both.
    Both,
    /// Every node, and their answers are compared.
    All,
}

/// The rules, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The session has one node only.
    OneNode,
    /// The load-balance node is out of step.
    OutOfStep,
    /// pgconvoy replicates, and the statement is for every node.
    Replicated,
    /// pgconvoy replicates, and the transaction reads from the main node.
    Block,
    /// The statement belongs to the primary by what it is.
    Class,
    /// The transaction is open on the primary alone.
    Apart,
    /// The statement keeps both nodes in the same state.
    State,
    /// Something was written.
    Written,
    /// A comment stands in front.
    Comment,
    /// The transaction has failed.
    Failed,
    /// The primary alone may know of a setting.
    Unsure,
    /// The standby lags.
    Delay,
    /// The draw fell on the primary.
    Drawn,
    /// Nothing keeps it from the load-balance node.
    Balanced,
}

impl Rule {
    /// All rules in order.
    pub const ALL: [Self; 14] = [
        Self::OneNode,
        Self::OutOfStep,
        Self::Replicated,
        Self::Block,
        Self::Class,
        Self::Apart,
        Self::State,
        Self::Written,
        Self::Comment,
        Self::Failed,
        Self::Unsure,
        Self::Delay,
        Self::Drawn,
        Self::Balanced,
    ];

    /// A stable code of one word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OneNode => "one_node",
            Self::OutOfStep => "out_of_step",
            Self::Replicated => "replicated",
            Self::Block => "block",
            Self::Class => "class",
            Self::Apart => "apart",
            Self::State => "state",
            Self::Written => "written",
            Self::Comment => "comment",
            Self::Failed => "failed",
            Self::Unsure => "unsure",
            Self::Delay => "delay",
            Self::Drawn => "drawn",
            Self::Balanced => "balanced",
        }
    }

    /// What the rule says, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::OneNode => "the session reads from the primary: it has no load-balance node beside it",
            Self::OutOfStep => "the load-balance node is out of step with the session, and is or was let go",
            Self::Replicated => "every node gets it, and their answers are compared",
            Self::Block => "within a transaction reads stay on the main node, where its locks are taken first",
            Self::Class => "the statement belongs to the primary",
            Self::Apart => "the transaction is open on the primary alone",
            Self::State => "the statement keeps the session's nodes in the same state",
            Self::Written => {
                "something was written, or may have been, and disable_load_balance_on_write keeps reads on the primary"
            }
            Self::Comment => "a comment stands in front, and allow_sql_comments is off",
            Self::Failed => "the transaction has failed",
            Self::Unsure => "what ran on the primary alone may have changed settings there: it is asked about first",
            Self::Delay => "the standby lags by more than the threshold",
            Self::Drawn => "it is the primary's turn: the draw fell on it, or on a node that is out of step",
            Self::Balanced => "nothing keeps it from the load-balance node",
        }
    }

    /// What would let a statement past it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::OneNode => "a weight for a standby, or a preference for one; a new session draws again",
            Self::OutOfStep => "a new session",
            Self::Class | Self::State | Self::Balanced | Self::Replicated => "",
            Self::Apart | Self::Failed | Self::Block => "the end of the transaction",
            Self::Written => "the end of the transaction, or another disable_load_balance_on_write",
            Self::Unsure => "the end of the batch, or a while later",
            Self::Drawn => "another draw, or a lower weight of the primary",
            Self::Comment => "allow_sql_comments = on",
            Self::Delay => "a standby that has caught up, or a higher delay_threshold",
        }
    }
}

/// Where a statement goes, and the rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where to.
    pub to: Destination,
    /// Why; the rules before it in [`Rule::ALL`] had nothing to say.
    pub rule: Rule,
}

/// Decides where a statement goes.
///
/// A transaction block that the load-balance node is not part of (it was opened in a way that a standby refuses, such as
/// SERIALIZABLE or READ WRITE) stays on the primary, and so does any transaction that has written.
pub fn decide(statement: &Statement, standing: &Standing) -> Decision {
    let primary = |rule| Decision { to: Destination::Primary, rule };
    let together = !standing.in_block || standing.partner_in_block;
    if !standing.balanced {
        return primary(if standing.out_of_step { Rule::OutOfStep } else { Rule::OneNode });
    }
    if standing.replicated {
        return decide_replicated(statement, standing);
    }
    if standing.out_of_step || standing.alone {
        return primary(Rule::OutOfStep);
    }
    match statement.route {
        Route::Primary => return primary(Rule::Class),
        _ if !together => return primary(Rule::Apart),
        Route::Both => return Decision { to: Destination::Both, rule: Rule::State },
        Route::Either => {}
    }
    let in_transaction = standing.in_block || standing.in_batch;
    let transaction_wrote = standing.wrote && in_transaction;
    let written = match standing.on_write {
        OnWrite::Off => false,
        OnWrite::Transaction => transaction_wrote,
        OnWrite::TransTransaction => transaction_wrote || (standing.block_has_written && standing.in_block),
        OnWrite::Always => standing.has_written || standing.wrote,
        OnWrite::Adaptive | OnWrite::AdaptiveGlobal => standing.wrote_unknown && in_transaction,
    };
    if written {
        return primary(Rule::Written);
    }
    if statement.hazards.contains(Hazards::HAS_LEADING_COMMENT) && !standing.comments_allowed {
        return primary(Rule::Comment);
    }
    if standing.failed {
        return primary(Rule::Failed);
    }
    if standing.unsure {
        return primary(Rule::Unsure);
    }
    if standing.delayed {
        return primary(Rule::Delay);
    }
    if standing.primary_drawn {
        return primary(Rule::Drawn);
    }
    Decision { to: Destination::Balance, rule: Rule::Balanced }
}

/// The same where pgconvoy replicates (manual, "load balancing condition" of the clustering modes).
fn decide_replicated(statement: &Statement, standing: &Standing) -> Decision {
    let main = |rule| Decision { to: Destination::Primary, rule };
    if statement.route != Route::Either || standing.reads_everywhere {
        return Decision { to: Destination::All, rule: Rule::Replicated };
    }
    if standing.in_block || (standing.in_batch && standing.wrote) {
        return main(Rule::Block);
    }
    if statement.hazards.contains(Hazards::HAS_LEADING_COMMENT) && !standing.comments_allowed {
        return main(Rule::Comment);
    }
    if standing.unsure {
        return main(Rule::Unsure);
    }
    if standing.primary_drawn || !standing.reads_apart {
        return main(Rule::Drawn);
    }
    Decision { to: Destination::Balance, rule: Rule::Balanced }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Statement = Statement { route: Route::Either, reason: Reason::Reads, hazards: Hazards::NONE };
    const CALM: Standing = Standing {
        balanced: true,
        replicated: false,
        reads_everywhere: false,
        reads_apart: false,
        out_of_step: false,
        primary_drawn: false,
        unsure: false,
        delayed: false,
        alone: false,
        in_block: false,
        partner_in_block: false,
        failed: false,
        in_batch: false,
        wrote: false,
        wrote_unknown: false,
        block_has_written: false,
        has_written: false,
        on_write: OnWrite::Transaction,
        comments_allowed: false,
    };

    #[test]
    fn each_rule_decides_where_those_before_it_do_not() {
        let write = Statement { route: Route::Primary, reason: Reason::Writes, ..READ };
        let set = Statement { route: Route::Both, reason: Reason::Session, ..READ };
        let commented = Statement { hazards: Hazards::HAS_LEADING_COMMENT, ..READ };
        let block = Standing { in_block: true, partner_in_block: true, ..CALM };
        for (statement, standing, to, rule) in [
            (READ, CALM, Destination::Balance, Rule::Balanced),
            (READ, Standing { balanced: false, ..CALM }, Destination::Primary, Rule::OneNode),
            (READ, Standing { balanced: false, out_of_step: true, ..CALM }, Destination::Primary, Rule::OutOfStep),
            (READ, Standing { out_of_step: true, ..CALM }, Destination::Primary, Rule::OutOfStep),
            (READ, Standing { alone: true, ..CALM }, Destination::Primary, Rule::OutOfStep),
            (write, CALM, Destination::Primary, Rule::Class),
            (set, CALM, Destination::Both, Rule::State),
            (set, Standing { partner_in_block: false, ..block }, Destination::Primary, Rule::Apart),
            (READ, Standing { partner_in_block: false, ..block }, Destination::Primary, Rule::Apart),
            (READ, block, Destination::Balance, Rule::Balanced),
            (READ, Standing { wrote: true, ..block }, Destination::Primary, Rule::Written),
            (READ, Standing { wrote: true, in_batch: true, ..CALM }, Destination::Primary, Rule::Written),
            (commented, CALM, Destination::Primary, Rule::Comment),
            (commented, Standing { comments_allowed: true, ..CALM }, Destination::Balance, Rule::Balanced),
            (READ, Standing { failed: true, ..block }, Destination::Primary, Rule::Failed),
            (READ, Standing { unsure: true, ..CALM }, Destination::Primary, Rule::Unsure),
            (set, Standing { unsure: true, ..CALM }, Destination::Both, Rule::State),
            (READ, Standing { delayed: true, ..CALM }, Destination::Primary, Rule::Delay),
            (READ, Standing { primary_drawn: true, ..CALM }, Destination::Primary, Rule::Drawn),
            (set, Standing { primary_drawn: true, ..block }, Destination::Both, Rule::State),
        ] {
            assert_eq!(decide(&statement, &standing), Decision { to, rule }, "{statement:?} {standing:?}");
        }
    }

    #[test]
    fn where_pgconvoy_replicates_everybody_gets_what_may_write() {
        let write = Statement { route: Route::Primary, reason: Reason::Writes, ..READ };
        let set = Statement { route: Route::Both, reason: Reason::Session, ..READ };
        let commented = Statement { hazards: Hazards::HAS_LEADING_COMMENT, ..READ };
        let calm = Standing { replicated: true, reads_apart: true, ..CALM };
        for (statement, standing, to, rule) in [
            (write, calm, Destination::All, Rule::Replicated),
            (write, Standing { alone: true, in_batch: true, ..calm }, Destination::All, Rule::Replicated),
            (set, Standing { in_block: true, ..calm }, Destination::All, Rule::Replicated),
            (READ, calm, Destination::Balance, Rule::Balanced),
            (
                READ,
                Standing { has_written: true, on_write: OnWrite::Always, ..calm },
                Destination::Balance,
                Rule::Balanced,
            ),
            (READ, Standing { reads_everywhere: true, ..calm }, Destination::All, Rule::Replicated),
            (READ, Standing { in_block: true, ..calm }, Destination::Primary, Rule::Block),
            (READ, Standing { in_batch: true, ..calm }, Destination::Balance, Rule::Balanced),
            (READ, Standing { in_batch: true, wrote: true, ..calm }, Destination::Primary, Rule::Block),
            (READ, Standing { reads_apart: false, ..calm }, Destination::Primary, Rule::Drawn),
            (READ, Standing { primary_drawn: true, ..calm }, Destination::Primary, Rule::Drawn),
            (commented, calm, Destination::Primary, Rule::Comment),
            (write, Standing { balanced: false, ..calm }, Destination::Primary, Rule::OneNode),
        ] {
            assert_eq!(decide(&statement, &standing), Decision { to, rule }, "{statement:?} {standing:?}");
        }
    }

    #[test]
    fn a_write_matters_as_long_as_the_operator_says() {
        use OnWrite::{Always, Off, TransTransaction, Transaction};
        let wrote = Standing { in_block: true, partner_in_block: true, wrote: true, ..CALM };
        let wrote = Standing { block_has_written: true, has_written: true, ..wrote };
        let after = Standing { wrote: false, in_block: false, partner_in_block: false, ..wrote };
        let next_block = Standing { in_block: true, partner_in_block: true, ..after };
        for (on_write, expected) in [
            (Off, [false, false, false]),
            (Transaction, [true, false, false]),
            (TransTransaction, [true, false, true]),
            (Always, [true, true, true]),
        ] {
            let found = [wrote, after, next_block]
                .map(|standing| decide(&READ, &Standing { on_write, ..standing }).rule == Rule::Written);
            assert_eq!(found, expected, "{on_write:?}");
        }
    }

    #[test]
    fn the_rules_are_listed_in_order() {
        assert!(Rule::ALL.is_sorted_by(|a, b| a < b));
        assert!(Rule::ALL.iter().all(|rule| !rule.code().is_empty() && !rule.text().is_empty()));
    }
}

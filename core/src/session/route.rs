//! Where a statement goes: what [`crate::route`] decides, given where the session stands.

use super::decisions::Decision as Noted;
use super::port::{Port, Target};
use super::statements::{Naming, Summary, UNJUDGED};
use super::{MAIN, Report, Session, SessionEvent};
use crate::node::NodeId;
use crate::policy::Who;
use crate::rng;
use crate::route::{self, Decision, Destination, Standing};
use crate::sql::{self, Hazards, Route};
use crate::wire::TransactionStatus;

impl Session {
    /// The ports that a statement goes to now.
    pub(super) fn choose(&self, summary: &Summary) -> Target {
        match self.decide(summary).to {
            Destination::Primary => Target::MAIN,
            Destination::Balance => Target::only(self.turn),
            Destination::Both | Destination::All => self.everyone(),
        }
    }

    /// The main port, and the partners that are where it is.
    pub(super) fn everyone(&self) -> Target {
        if self.is_replicated() {
            let attached = self.partner_positions().filter(|at| self.ports[*at].is_some());
            return attached.fold(Target::MAIN, |all, position| all.with(Target::only(position)));
        }
        let in_block = self.transaction_status() != TransactionStatus::Idle;
        let beside = |port: &Port| port.is_in_step() && (port.link.status != TransactionStatus::Idle) == in_block;
        let partners = self.partner_positions().filter(|at| self.ports[*at].as_deref().is_some_and(beside));
        partners.fold(Target::MAIN, |all, position| all.with(Target::only(position)))
    }

    /// The partner that reads go to, if it can be asked.
    pub(super) fn turn_port(&self) -> Option<&Port> {
        let port = self.ports.get(self.turn).filter(|_| self.turn != MAIN)?.as_deref();
        port.filter(|port| port.is_in_step())
    }

    /// Draws the node that reads go to from now on.
    pub(super) fn take_turn(&mut self) {
        self.turn_over = false;
        let partner = |position: &usize| self.ports[*position].is_some();
        if !self.setup.policy.may_turn() {
            self.turn = self.partner_positions().find(partner).unwrap_or(MAIN);
            return;
        }
        if self.setup.policy.each_statement {
            self.lot = rng::lot(self.lot, 1);
        }
        let (Some(login), Some(main)) = (&self.login, &self.ports[MAIN]) else { return };
        let application = main.link.parameters.get(b"application_name").unwrap_or_default();
        let who = Who { application, database: &login.database, user: &login.user };
        let attached = |node: NodeId| self.partners().any(|port| port.node == node && port.is_in_step());
        let drawn = self.setup.policy.balance_node(&who, &self.view, self.lot, &attached);
        self.turn = drawn.and_then(|node| self.position(node)).unwrap_or(MAIN);
    }

    /// Where a statement goes now, and why.
    pub(super) fn decide(&self, summary: &Summary) -> Decision {
        let (statement, standing) = (summary.statement(), self.standing());
        if summary.open && summary.judged_at == UNJUDGED {
            // Its names were not looked up if nothing that they mean would make a difference.
            let read = route::decide(&route::Statement { route: sql::Route::Either, ..statement }, &standing);
            if read.to == Destination::Primary {
                return read;
            }
        }
        route::decide(&statement, &standing)
    }

    pub(super) fn standing(&self) -> Standing {
        let Some(main) = self.ports[MAIN].as_ref().filter(|_| self.has_partners()) else {
            // Positions are kept: there were partners, and they are gone.
            return Standing { out_of_step: !self.partner_positions().is_empty(), ..Standing::default() };
        };
        let in_step = || self.partners().filter(|port| port.is_in_step());
        let rules = self.setup.replication;
        let replicated = self.is_replicated();
        Standing {
            balanced: true,
            replicated,
            reads_everywhere: replicated && (rules.select || rules.compare_rows),
            reads_apart: self.setup.load_balance,
            out_of_step: in_step().next().is_none(),
            primary_drawn: self.turn_port().is_none(),
            unsure: self.is_unsure_of_settings(),
            delayed: self.delayed,
            alone: self.alone,
            in_block: main.link.status != TransactionStatus::Idle,
            partner_in_block: in_step().any(|port| port.link.status != TransactionStatus::Idle),
            failed: main.link.status == TransactionStatus::Failed,
            in_batch: self.ports.iter().flatten().any(|port| port.unsynced),
            wrote: self.wrote,
            wrote_unknown: self.written.as_ref().is_some_and(|written| written.unknown),
            block_has_written: self.block_has_written,
            has_written: self.has_written,
            on_write: self.setup.policy.on_write,
            comments_allowed: self.setup.allow_sql_comments,
        }
    }

    /// Where a statement that has to do with prepared ones or portals goes now: to where those are, or can be brought.
    pub(super) fn choose_named(&self, summary: &Summary, naming: Option<&Naming>) -> Target {
        let known = |name| self.statements.statement(name).filter(|(on, known)| !on.is_empty() || known.has_source());
        match naming {
            None | Some(Naming::DeallocatesAll | Naming::Claims(_) | Naming::Writes(_)) => self.choose(summary),
            Some(Naming::Executes { name, .. }) => known(name).map_or(self.unknown(), |(on, known)| {
                let wanted = self.choose(&self.executed(summary, naming));
                known.within_reach(on, wanted)
            }),
            Some(Naming::Prepares(name, _) | Naming::Deallocates(name)) => {
                known(name).map_or(self.unknown(), |(on, _)| self.refusing(on))
            }
            Some(Naming::Fetches(name) | Naming::Closes(name)) => {
                self.statements.portal(name).map_or(self.unknown(), |portal| portal.on.or_main())
            }
        }
    }

    /// Where something goes of which nothing is known: it may be anywhere, or do anything.
    pub(super) fn unknown(&self) -> Target {
        if self.is_replicated() { self.everyone() } else { Target::MAIN }
    }

    /// True within a transaction block that no partner is part of.
    pub(super) fn stands_apart(&self) -> bool {
        let apart = self.partners().all(|port| port.link.status == TransactionStatus::Idle);
        self.transaction_status() != TransactionStatus::Idle && self.has_partners() && apart
    }

    /// Where a name is given or taken that `on` know. The main port is asked too where only it is in the transaction,
    /// and in a failed one it alone, for it will refuse.
    pub(super) fn refusing(&self, on: Target) -> Target {
        if self.is_replicated() {
            return self.everyone();
        }
        if self.transaction_status() == TransactionStatus::Failed {
            return Target::MAIN;
        }
        if self.stands_apart() { on.with(Target::MAIN) } else { on.or_main() }
    }

    /// What a statement does: an `EXECUTE` does what was prepared. One level deep, for they may name themselves.
    pub(super) fn executed(&self, summary: &Summary, naming: Option<&Naming>) -> Summary {
        let Some(Naming::Executes { name, plain_arguments: true }) = naming else { return *summary };
        match self.statements.statement(name) {
            Some((_, known)) if known.naming.is_none() => {
                let known = known.summary;
                let judged = !known.open || (known.judged_at == self.knowledge() && !self.minds_writes());
                if judged { known } else { Summary { route: sql::Route::Primary, writes: true, ..known } }
            }
            _ => *summary,
        }
    }

    /// Whether a request for `target` may be sent while replies to earlier ones are owed: the backend sees requests in
    /// the client's order only within one port, and routing needs to know what became of those that change state.
    pub(super) fn may_send(&self, target: Target) -> bool {
        if self.cancels > 0 {
            return false;
        }
        if let Some(round) = self.round_target() {
            return target == round;
        }
        if self.is_replicated() && target.is_several() {
            return self.owes_nothing();
        }
        let follows =
            if self.has_partners() { target == self.last && !self.stateful } else { self.afterwards.is_none() };
        self.owes_nothing() || (follows && !self.bringing)
    }

    /// Keeps a decision for `SHOW pool_decisions`: `summary` is what it rested on, `to` what came of it.
    pub(super) fn note_decision(&self, summary: &Summary, naming: Option<&Naming>, to: Target, text: &[u8]) {
        let Some(login) = &self.login else { return };
        let executed = self.executed(summary, naming);
        let nodes = to.positions().filter_map(|position| Some(self.ports[position].as_ref()?.node)).collect();
        self.commons.decisions.borrow_mut().note(&Noted {
            at: self.idle_since,
            session: self.id,
            database: &login.database,
            user: &login.user,
            nodes,
            statement: executed.statement(),
            rule: self.decide(&executed).rule,
            follows: naming.is_some() && self.choose(&executed) != to,
            text,
        });
    }

    /// Notes what sending a statement to `target` means for the routing of those that follow.
    pub(super) fn note_sent(&mut self, summary: &Summary, naming: Option<&Naming>, target: Target) {
        for port in target.positions().filter_map(|position| self.ports[position].as_ref()) {
            let report = Report::Sent { node: port.node, verb: summary.verb };
            self.events.push_back(SessionEvent::Report(report));
        }
        self.both_asked |= target.is_several();
        self.turn_over |= self.setup.policy.each_statement;
        let writes = summary.writes && target.has(MAIN);
        self.wrote |= writes;
        if writes && self.is_adaptive() {
            self.note_written(naming);
        }
        self.has_written |= writes;
        self.block_has_written |= writes && self.transaction_status() != TransactionStatus::Idle;
        self.committing |= summary.commits;
        self.chained |= summary.chains;
        self.pinned |= summary.pins && target.has(MAIN);
        self.reshaped |= summary.hazards.contains(Hazards::RESHAPES);
        if target.has(MAIN) {
            self.note_temporaries(summary);
        }
        self.note_path(summary);
        self.note_moves(summary);
        self.may_read_otherwise |= self.is_in_batch() && summary.route != Route::Either;
        if summary.stateful {
            self.alone |= target == Target::MAIN && self.ports[MAIN].as_ref().is_some_and(|port| port.unsynced);
            self.stateful = true;
            self.loud_error = false;
        }
        self.forgets_alone |=
            target == Target::MAIN && matches!(self.afterwards.as_deref(), Some(Naming::DeallocatesAll));
        let controls = summary.hazards.contains(Hazards::CONTROLS_TRANSACTION);
        if self.is_replicated() {
            return;
        }
        for partner in self.ports[MAIN + 1..].iter_mut().flatten() {
            // A block that may be another one afterwards, or have lost a savepoint, on the main port alone.
            let astray = controls && partner.link.status != TransactionStatus::Idle;
            partner.leaving |= summary.parts_ways || astray;
        }
    }
}

//! Where a statement goes: a pure function of what it does and where the session stands.

use super::port::Target;
use super::statements::Summary;
use super::{BALANCE, MAIN, Report, Session};
use crate::sql::{Hazards, Route};
use crate::wire::TransactionStatus;

impl Session {
    /// The ports that a statement goes to now.
    ///
    /// A transaction block that the load-balance node is not part of (it was opened in a way that a standby refuses,
    /// such as SERIALIZABLE or READ WRITE) stays on the main port, and so does any transaction that has written.
    pub(super) fn choose(&self, summary: &Summary) -> Target {
        let (Some(main), Some(balance)) = (&self.ports[MAIN], &self.ports[BALANCE]) else { return Target::MAIN };
        if balance.leaving || balance.silent_error || balance.dying || self.alone {
            return Target::MAIN;
        }
        let in_block = main.link.status != TransactionStatus::Idle;
        let together = !in_block || balance.link.status != TransactionStatus::Idle;
        let in_batch = main.unsynced || balance.unsynced;
        match summary.route {
            Route::Primary => Target::MAIN,
            Route::Both if together => Target::BOTH,
            Route::Both => Target::MAIN,
            Route::Either => {
                let written = self.wrote && (in_block || in_batch);
                let commented =
                    summary.hazards.contains(Hazards::HAS_LEADING_COMMENT) && !self.setup.allow_sql_comments;
                let failed = main.link.status == TransactionStatus::Failed;
                if written || commented || failed || !together { Target::MAIN } else { Target::BALANCE }
            }
        }
    }

    /// Whether a request for `target` may be sent while replies to earlier ones are owed: the backend sees requests in
    /// the client's order only within one port, and routing needs to know what became of those that change state.
    pub(super) fn may_send(&self, target: Target) -> bool {
        if self.cancels > 0 {
            return false;
        }
        if self.ports[BALANCE].is_none() {
            return true;
        }
        let quiet = self.ports.iter().flatten().all(|port| port.owed.is_empty());
        quiet || (target == self.last && !self.stateful)
    }

    /// Notes what sending a statement to `target` means for the routing of those that follow.
    pub(super) fn note_sent(&mut self, summary: &Summary, target: Target) {
        if summary.route == Route::Either
            && let Some(port) = &self.ports[target.speaker()]
        {
            let node = port.node;
            self.report(Report::Select { node });
        }
        self.wrote |= summary.writes && target.has(MAIN);
        self.committing |= summary.commits;
        if summary.stateful {
            self.alone |= target == Target::MAIN && self.ports[MAIN].as_ref().is_some_and(|port| port.unsynced);
            self.stateful = true;
            self.loud_error = false;
        }
        if summary.parts_ways
            && let Some(balance) = &mut self.ports[BALANCE]
        {
            balance.leaving = true;
        }
    }
}

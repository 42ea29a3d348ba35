//! The last votes that were not unanimous, for `SHOW pool_mismatches`: the evidence, also after the session has gone.

use super::shared::SessionId;
use super::show::{Asker, HIDDEN};
use pgconvoy_core::link::Login;
use pgconvoy_core::node::NodeSet;
use pgconvoy_core::vote::Mismatch;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

/// How many are kept.
const KEPT: usize = 128;

/// A vote that was not unanimous, and what came of it.
struct Record {
    number: u64,
    time: SystemTime,
    session: SessionId,
    login: Option<Arc<Login>>,
    mismatch: Mismatch,
    detached: NodeSet,
}

/// The last of them, in the order in which they were told.
#[derive(Default)]
pub(super) struct Mismatches {
    told: u64,
    kept: VecDeque<Record>,
}

impl Mismatches {
    /// Keeps one; the oldest is forgotten for it.
    pub(super) fn note(
        &mut self,
        session: SessionId,
        login: Option<&Arc<Login>>,
        mismatch: &Mismatch,
        detached: NodeSet,
    ) {
        self.told += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Record {
            number: self.told,
            time: SystemTime::now(),
            session,
            login: login.cloned(),
            mismatch: mismatch.clone(),
            detached,
        });
    }

    /// A row for each answer of each. As in `pg_stat_activity`, statements of others are a superuser's to read.
    pub(super) fn rows(&self, asker: &Asker) -> Vec<Vec<String>> {
        self.kept.iter().flat_map(|record| record.rows(asker)).collect()
    }
}

impl Record {
    fn rows(&self, asker: &Asker) -> impl Iterator<Item = Vec<String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (database, user) = match &self.login {
            Some(login) => (text(&login.database), text(&login.user)),
            None => Default::default(),
        };
        let visible = self.login.as_ref().is_some_and(|login| asker.may_read(&login.user));
        let statement = if visible { self.mismatch.statement.as_str() } else { HIDDEN };
        self.mismatch.answers.iter().map(move |(node, tally)| {
            let prevails = self.mismatch.prevailing.contains(*node);
            let decision = match (prevails, self.detached.contains(*node)) {
                (true, _) if self.mismatch.majority => "prevails by majority",
                (true, _) => "prevails as the main node's",
                (false, true) => "detached",
                (false, false) => "taken back",
            };
            vec![
                self.number.to_string(),
                crate::clock::local_ms(self.time),
                self.session.to_string(),
                database.clone(),
                user.clone(),
                self.mismatch.aspect.code().to_owned(),
                node.to_string(),
                Mismatch::detail(tally),
                decision.to_owned(),
                statement.to_owned(),
            ]
        })
    }
}

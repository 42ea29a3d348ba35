//! `disable_load_balance_on_write = dml_adaptive` and `dml_adaptive_global`: what a transaction has written, by name, and
//! what is read of it, in this session or in any.

use super::Session;
use super::statements::Naming;
use crate::catalog::{Catalog, Question, Subject};
use crate::link::Login;
use crate::node::Delay;
use crate::policy::OnWrite;
use crate::sql::{Name, Reason, UseKind, Uses};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// What a transaction has written.
#[derive(Debug, Default)]
pub(super) struct Written {
    names: BTreeSet<Box<[u8]>>,
    /// Something else, too.
    pub unknown: bool,
}

fn folded(name: Name<'_>) -> Vec<u8> {
    name.bytes().collect()
}

/// A function as the list of relationships has it.
fn function(name: Name<'_>) -> Vec<u8> {
    let mut listed = folded(name);
    listed.extend_from_slice(b"()");
    listed
}

impl Session {
    pub(super) fn is_adaptive(&self) -> bool {
        matches!(self.setup.policy.on_write, OnWrite::Adaptive | OnWrite::AdaptiveGlobal)
    }

    fn is_global(&self) -> bool {
        self.setup.policy.on_write == OnWrite::AdaptiveGlobal
    }

    /// Whether it matters for a read what was written: what was found out of it once may not hold now.
    pub(super) fn minds_writes(&self) -> bool {
        self.is_global() || (self.is_adaptive() && self.written.is_some())
    }

    /// Notes who is the primary.
    pub(super) fn note_primary(&self, now: Instant) {
        if let Some(main) = self.view.main().filter(|_| self.is_global()) {
            self.commons.mutations.serves(main, now);
        }
    }

    /// The transaction is over on the primary, and nobody has heard of it yet.
    pub(super) fn publish_written(&self) {
        let (Some(written), Some(login)) = (self.written.as_deref().filter(|_| self.is_global()), &self.login) else {
            return;
        };
        let note = |table: Option<&[u8]>| self.commons.mutations.note(&login.database, table, self.idle_since);
        written.names.iter().for_each(|name| note(Some(name)));
        if written.unknown {
            note(None);
        }
    }

    /// What a text that writes writes; `None` inside stands for who knows what.
    pub(super) fn writes_of(&self, text: &[u8], uses: &Uses) -> Rc<Naming> {
        let relationships = &self.setup.policy.relationships;
        let mut names: BTreeSet<Box<[u8]>> = BTreeSet::new();
        let mut known = !uses.is_unclear();
        for (kind, _, name) in uses.iter(text) {
            match kind {
                UseKind::Written => {
                    names.insert(folded(name).into());
                }
                // What an unlisted function writes, nobody has said.
                UseKind::Function if relationships.has(&function(name)) => {
                    names.extend(relationships.dependents(&function(name)).map(Box::from));
                }
                _ => {}
            }
        }
        known &= !names.is_empty();
        let mut open: Vec<Box<[u8]>> = names.iter().cloned().collect();
        while let Some(name) = open.pop() {
            for dependent in relationships.dependents(&name) {
                if names.insert(dependent.into()) {
                    open.push(dependent.into());
                }
            }
        }
        Rc::new(Naming::Writes(known.then(|| names.into_iter().collect())))
    }

    /// A statement that writes goes to the primary.
    pub(super) fn note_written(&mut self, naming: Option<&Naming>) {
        let written = self.written.get_or_insert_default();
        match naming {
            Some(Naming::Writes(Some(names))) => written.names.extend(names.iter().cloned()),
            _ => written.unknown = true,
        }
    }

    /// Why a text is the primary's because of what was written, if it is.
    pub(super) fn reads_written(&self, text: &[u8], uses: &Uses) -> Option<Reason> {
        let names = self.written.as_deref().map(|written| &written.names);
        let own = |name: Vec<u8>| names.is_some_and(|names| names.contains(name.as_slice()));
        let in_transaction = uses.iter(text).any(|(kind, _, name)| match kind {
            UseKind::Relation => own(folded(name)),
            UseKind::Function => own(function(name)),
            _ => false,
        });
        if in_transaction {
            return Some(Reason::Written);
        }
        self.login.as_ref().filter(|_| self.is_global()).and_then(|login| self.reads_recent(login, text, uses))
    }

    fn reads_recent(&self, login: &Login, text: &[u8], uses: &Uses) -> Option<Reason> {
        let (mutations, rules, now) = (&self.commons.mutations, &self.setup.policy.mutations, self.idle_since);
        if mutations.is_cold(now, rules) {
            return Some(Reason::ColdStart);
        }
        uses.iter(text)
            .any(|(kind, _, name)| kind == UseKind::Relation && self.is_recent(login, &folded(name)))
            .then_some(Reason::RecentlyWritten)
    }

    /// Whether a table was written so lately that the standby whose turn it is may not have it.
    fn is_recent(&self, login: &Login, name: &[u8]) -> bool {
        let (mutations, rules) = (&self.commons.mutations, &self.setup.policy.mutations);
        let delay = self.turn_port().and_then(|port| match self.view.node(port.node)?.replication.delay {
            Delay::Time(delay) => Some(delay),
            Delay::Bytes(0) => Some(Duration::ZERO),
            Delay::Bytes(_) => None,
        });
        mutations.is_recent(&login.database, name, self.idle_since, rules.lifetime(delay))
    }

    /// Why a read is the primary's because of what was written under other names than it uses: of the tables behind a
    /// view, say, or of a partition. What is not known is added to `question`.
    pub(super) fn kin_written(
        &self,
        catalog: &Catalog,
        subject: &Subject<'_>,
        question: &mut Question,
    ) -> Option<Reason> {
        let login = self.login.as_ref().filter(|_| self.is_adaptive() && !question.own_path)?;
        let names = self.written.as_deref().map(|written| &written.names);
        let mut found = None;
        for (_, _, name) in subject.uses.iter(subject.text).filter(|(kind, ..)| *kind == UseKind::Relation) {
            let mut buffer = [0; 64];
            let Some(name) = name.fold_into(&mut buffer) else { continue };
            let Some(kin) = catalog.kin(&login.database, name, self.idle_since) else {
                question.kin.insert(name.into());
                continue;
            };
            for kin in kin {
                if names.is_some_and(|names| names.contains(kin)) {
                    found = Some(Reason::Written);
                } else if found.is_none() && self.is_global() && self.is_recent(login, kin) {
                    found = Some(Reason::RecentlyWritten);
                }
            }
        }
        found
    }
}

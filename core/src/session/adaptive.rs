//! `disable_load_balance_on_write = dml_adaptive`: what a transaction has written, by name, and what is read of it.

use super::Session;
use super::statements::Naming;
use crate::policy::OnWrite;
use crate::sql::{Name, UseKind, Uses};
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
        self.setup.policy.on_write == OnWrite::Adaptive
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

    /// Whether a text reads what the transaction has written.
    pub(super) fn reads_written(&self, text: &[u8], uses: &Uses) -> bool {
        let Some(Written { names, .. }) = self.written.as_deref() else { return false };
        uses.iter(text).any(|(kind, _, name)| match kind {
            UseKind::Relation => names.contains(folded(name).as_slice()),
            UseKind::Function => names.contains(function(name).as_slice()),
            _ => false,
        })
    }
}

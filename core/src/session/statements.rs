//! What a session has prepared, and where: so that a statement can follow its transaction to another backend.

use super::port::Target;
use crate::limits::{KEPT_STATEMENT_BYTES, KEPT_STATEMENTS};
use crate::sql::{Analysis, Count, Effect, Hazards, PoolReport, Route};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use bytes::Bytes;

/// What routing keeps of an analysis after the text is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub route: Route,
    pub writes: bool,
    pub hazards: Hazards,
    /// It changes transaction or session state: what follows waits for its reply.
    pub stateful: bool,
    /// It ends a transaction; if its reply is lost, nobody knows how.
    pub commits: bool,
    /// It names prepared statements or portals, so its text is looked at again when it runs.
    pub names: bool,
    /// pgconvoy answers it itself.
    pub local: Option<PoolReport>,
    /// It changes the session where only this node sees it: from then on, only the main port knows the session.
    pub parts_ways: bool,
}

impl Summary {
    /// Of text that was not understood, or not even looked at.
    pub(super) const UNKNOWN: Self = Self {
        route: Route::Primary,
        writes: true,
        hazards: Hazards::CHANGES_STATE_UNSEEN,
        stateful: true,
        commits: false,
        names: false,
        local: None,
        parts_ways: true,
    };

    /// Of a statement prepared by other means than Parse, or called as a function: it may write.
    pub(super) const UNTOLD: Self =
        Self { hazards: Hazards::NONE, stateful: false, parts_ways: false, ..Self::UNKNOWN };

    pub(super) fn of(analysis: &Analysis<'_>) -> Self {
        let effect = &analysis.effect;
        let local = match effect {
            Effect::ShowPool(kind) => Some(*kind),
            _ => None,
        };
        // What a standby refuses, or what is known by name on one node only, goes to the primary.
        let primary_only = match effect {
            Effect::Begin { serializable, read_write } => *serializable == Some(true) || *read_write == Some(true),
            Effect::Prepare { .. } => true,
            _ => false,
        };
        let hazards = analysis.hazards;
        let set_apart = matches!(effect, Effect::Set { .. } | Effect::SetTransaction { session: true, .. })
            && analysis.route == Route::Primary;
        Self {
            route: if primary_only { Route::Primary } else { analysis.route },
            writes: analysis.writes,
            hazards,
            stateful: !matches!(effect, Effect::None) || analysis.count == Count::Many,
            commits: matches!(effect, Effect::Commit { .. } | Effect::PrepareTransaction | Effect::CommitPrepared),
            names: matches!(
                effect,
                Effect::Prepare { .. }
                    | Effect::Execute { .. }
                    | Effect::Deallocate { .. }
                    | Effect::DeallocateAll
                    | Effect::DiscardAll
            ),
            local,
            parts_ways: set_apart
                || hazards.contains(Hazards::CHANGES_STATE_UNSEEN)
                || hazards.contains(Hazards::CREATES_TEMP),
        }
    }
}

/// A prepared statement of the extended protocol.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// The ports that know it.
    pub on: Target,
    pub summary: Summary,
    /// The whole Parse message, kept so that another port can be given it. Absent where it was too long to keep.
    pub source: Option<Bytes>,
}

/// A portal of the extended protocol.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    /// The ports where it was bound.
    pub on: Target,
    pub summary: Summary,
    /// The statement's text, where it is reported again when the portal runs.
    pub text: Option<Rc<[u8]>>,
}

/// The names that a session has given to statements and portals.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: BTreeMap<Box<[u8]>, Prepared>,
    portals: BTreeMap<Box<[u8]>, Portal>,
    unnamed: Option<(Target, Summary)>,
    unnamed_source: Vec<u8>,
    unnamed_portal: Option<Portal>,
    kept_bytes: usize,
    /// Names that outstanding Parse messages give, in the order sent; `None` for one that can give none.
    outstanding: VecDeque<Option<Box<[u8]>>>,
}

/// PostgreSQL keeps this many bytes of a name (`NAMEDATALEN` - 1).
fn significant(name: &[u8]) -> &[u8] {
    &name[..name.len().min(63)]
}

impl Statements {
    /// Notes a Parse of `name` that goes to `on`. `source` is the whole message, if it is worth keeping.
    pub(super) fn parsed(&mut self, name: &[u8], on: Target, summary: Summary, source: Option<&[u8]>) {
        if name.is_empty() {
            self.unnamed = Some((on, summary));
            self.unnamed_source.clear();
            self.unnamed_source.extend_from_slice(source.unwrap_or_default());
            return;
        }
        let name = significant(name);
        self.closed(name);
        let room =
            |bytes: &&[u8]| self.named.len() < KEPT_STATEMENTS && self.kept_bytes + bytes.len() <= KEPT_STATEMENT_BYTES;
        let source = source.filter(room).map(Bytes::copy_from_slice);
        self.kept_bytes += source.as_ref().map_or(0, Bytes::len);
        self.named.insert(name.into(), Prepared { on, summary, source });
    }

    /// Notes that a Parse was sent, and the name it gives to a statement if it succeeds.
    pub(super) fn parse_sent(&mut self, name: Option<&[u8]>) {
        self.outstanding.push_back(name.map(|name| significant(name).into()));
    }

    /// The oldest outstanding Parse has succeeded.
    pub(super) fn parse_succeeded(&mut self) {
        self.outstanding.pop_front();
    }

    /// The oldest outstanding Parse messages have failed, or were skipped: nothing is known by their names.
    pub(super) fn parses_failed(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(Some(name)) = self.outstanding.pop_front() {
                self.closed(&name);
            }
        }
    }

    /// Looks up a statement: where it is known, what it does, and the Parse message if that was kept.
    pub(super) fn statement(&self, name: &[u8]) -> Option<(Target, Summary, Option<&[u8]>)> {
        if name.is_empty() {
            let (on, summary) = self.unnamed?;
            let source = Some(self.unnamed_source.as_slice()).filter(|source| !source.is_empty());
            return Some((on, summary, source));
        }
        let prepared = self.named.get(significant(name))?;
        Some((prepared.on, prepared.summary, prepared.source.as_deref()))
    }

    /// Notes that `more` ports know a statement now.
    pub(super) fn also_on(&mut self, name: &[u8], more: Target) {
        if name.is_empty() {
            if let Some((on, _)) = &mut self.unnamed {
                *on = on.with(more);
            }
        } else if let Some(prepared) = self.named.get_mut(significant(name)) {
            prepared.on = prepared.on.with(more);
        }
    }

    /// Notes that a statement is gone.
    pub(super) fn closed(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
            self.unnamed_source.clear();
        } else if let Some(prepared) = self.named.remove(significant(name)) {
            self.kept_bytes -= prepared.source.map_or(0, |source| source.len());
        }
    }

    /// Notes that a Query ran: it drops the unnamed statement and the unnamed portal.
    pub(super) fn query_ran(&mut self) {
        self.closed(b"");
        self.unnamed_portal = None;
    }

    /// Notes that every statement is gone.
    pub(super) fn all_closed(&mut self) {
        self.named.clear();
        self.kept_bytes = 0;
        self.query_ran();
    }

    /// Notes a Bind of portal `name`.
    pub(super) fn bound(&mut self, name: &[u8], portal: Portal) {
        if name.is_empty() {
            self.unnamed_portal = Some(portal);
        } else if self.portals.len() < KEPT_STATEMENTS {
            self.portals.insert(significant(name).into(), portal);
        }
    }

    /// Looks up a portal.
    pub(super) fn portal(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() { self.unnamed_portal.as_ref() } else { self.portals.get(significant(name)) }
    }

    /// Notes that a portal is gone.
    pub(super) fn portal_closed(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed_portal = None;
        } else {
            self.portals.remove(significant(name));
        }
    }

    /// Notes that the transaction is over: portals end with it.
    pub(super) fn transaction_over(&mut self) {
        self.portals.clear();
        self.unnamed_portal = None;
    }

    /// A port is gone for good.
    pub(super) fn port_gone(&mut self, gone: Target) {
        let keep = |on: &mut Target| *on = on.without(gone);
        self.named.values_mut().for_each(|prepared| keep(&mut prepared.on));
        self.portals.values_mut().for_each(|portal| keep(&mut portal.on));
        if let Some((on, _)) = &mut self.unnamed {
            keep(on);
        }
        if let Some(portal) = &mut self.unnamed_portal {
            keep(&mut portal.on);
        }
    }

    /// The bytes kept are counted right and within their bound.
    pub(super) fn invariants(&self) {
        let sum: usize = self.named.values().filter_map(|prepared| prepared.source.as_ref()).map(Bytes::len).sum();
        assert_eq!(sum, self.kept_bytes, "the byte count of kept statements is off");
        assert!(self.kept_bytes <= KEPT_STATEMENT_BYTES, "too much statement text is kept");
    }
}

//! What a session has prepared, and where: so that a statement can follow its transaction to another backend.
//!
//! A name changes only when a backend says so. Until ParseComplete, BindComplete or CloseComplete has come, the change
//! is pending: what is sent right behind it counts on it, and it is forgotten if the backend refuses or skips it.

use super::determinism::Agreed;
use super::port::{Ask, Skipped, Target};
use super::shape::Told;
use crate::catalog::Judgement;
use crate::limits::{KEPT_STATEMENT_BYTES, KEPT_STATEMENTS};
use crate::route::Statement;
use crate::sql::{Analysis, Count, Effect, Hazards, Name, PoolReport, Reason, Route, Verb};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

/// What the names of a statement mean has not been found out.
pub(super) const UNJUDGED: u64 = u64::MAX;

/// What routing keeps of an analysis after the text is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub route: Route,
    /// Why it is not for any node.
    pub reason: Reason,
    pub writes: bool,
    pub hazards: Hazards,
    /// It is one statement.
    pub single: bool,
    /// It returns the same rows wherever the data are the same, as far as is known ([`sql::fixes_rows`]).
    ///
    /// [`sql::fixes_rows`]: crate::sql::fixes_rows
    pub fixed: bool,
    /// It changes transaction or session state: what follows waits for its reply.
    pub stateful: bool,
    /// It begins a transaction.
    pub begins: bool,
    /// It begins one in a mode that a standby refuses, though it could read in it.
    pub begins_writable: bool,
    /// The schemas that are searched for names may not be the same afterwards.
    pub moves_path: bool,
    /// It ends a transaction; if its reply is lost, nobody knows how.
    pub commits: bool,
    /// It ends a transaction, and begins another of the same kind.
    pub chains: bool,
    /// It makes the running transaction one that a standby cannot run: it is the primary's to its end.
    pub pins: bool,
    /// pgconvoy answers it itself.
    pub local: Option<Local>,
    /// It changes the session where only this node sees it: from then on, only the main port knows the session.
    pub parts_ways: bool,
    /// Where it goes depends on what its names mean, and has not been found out.
    pub open: bool,
    /// It may change settings of the session, and with them what names mean.
    pub sets: bool,
    /// What kind of statement it is.
    pub verb: Verb,
    /// For which state of the catalogue that was found out ([`Catalog::age`]).
    ///
    /// [`Catalog::age`]: crate::catalog::Catalog::age
    pub judged_at: u64,
}

/// What pgconvoy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// A table.
    Table(PoolReport),
    /// `PGPOOL SHOW`, `SET` or `RESET`.
    Command,
}

impl Local {
    /// Whether the text is looked at when it is executed.
    pub(super) const fn needs_text(self) -> bool {
        matches!(self, Self::Command | Self::Table(PoolReport::Route))
    }
}

impl Summary {
    /// Of text that was not understood, or not even looked at.
    pub(super) const UNKNOWN: Self = Self {
        route: Route::Primary,
        reason: Reason::NotUnderstood,
        writes: true,
        hazards: Hazards::CHANGES_STATE_UNSEEN,
        single: false,
        fixed: false,
        stateful: true,
        begins: false,
        begins_writable: false,
        moves_path: true,
        commits: false,
        chains: false,
        pins: false,
        local: None,
        parts_ways: true,
        open: false,
        sets: true,
        verb: Verb::Other,
        judged_at: UNJUDGED,
    };

    /// Of a statement prepared by other means than Parse, or called as a function: it may write.
    pub(super) const UNTOLD: Self = Self {
        reason: Reason::PrimarySession,
        hazards: Hazards::NONE,
        stateful: false,
        parts_ways: false,
        sets: false,
        ..Self::UNKNOWN
    };

    pub(super) fn of(analysis: &Analysis<'_>) -> Self {
        let effect = &analysis.effect;
        let local = match effect {
            Effect::ShowPool(kind) => Some(Local::Table(*kind)),
            Effect::ExplainRoute { .. } => Some(Local::Table(PoolReport::Route)),
            Effect::PgpoolCommand { .. } => Some(Local::Command),
            _ => None,
        };
        // What a standby refuses, or what is known by name on one node only, goes to the primary.
        let primary_only = match effect {
            Effect::Begin { serializable, .. } => *serializable == Some(true),
            Effect::Prepare { .. } => true,
            _ => false,
        };
        let hazards = analysis.hazards;
        let set_apart = matches!(effect, Effect::Set { .. } | Effect::SetTransaction { session: true, .. })
            && analysis.route == Route::Primary;
        let unseen = Hazards::CHANGES_STATE_UNSEEN;
        let sets = matches!(effect, Effect::Set { .. } | Effect::SetConfig | Effect::Reset { .. } | Effect::DiscardAll)
            || hazards.contains(unseen)
            || hazards.contains(Hazards::CREATES_TEMP)
            || matches!(analysis.reason, Reason::UnknownFunction | Reason::NotUnderstood);
        let pins = matches!(effect, Effect::SetTransaction { session: false, .. }) && analysis.route == Route::Primary;
        Self {
            route: if primary_only { Route::Primary } else { analysis.route },
            reason: if matches!(effect, Effect::Prepare { .. }) { Reason::PrimarySession } else { analysis.reason },
            writes: analysis.writes || pins,
            hazards,
            single: analysis.count == Count::One,
            fixed: false,
            stateful: !matches!(effect, Effect::None) || (analysis.count == Count::Many && !analysis.open),
            begins: matches!(effect, Effect::Begin { .. }),
            begins_writable: matches!(effect, Effect::Begin { read_write: Some(true), .. }),
            moves_path: !matches!(effect, Effect::None | Effect::Begin { .. }) || analysis.count == Count::Many,
            commits: matches!(effect, Effect::Commit { .. } | Effect::PrepareTransaction | Effect::CommitPrepared),
            chains: matches!(effect, Effect::Commit { chain: true } | Effect::Rollback { chain: true }),
            pins,
            local,
            parts_ways: set_apart || hazards.contains(Hazards::CHANGES_STATE_UNSEEN),
            open: analysis.open,
            sets,
            verb: analysis.verb,
            judged_at: UNJUDGED,
        }
    }

    /// What its route depends on.
    pub(super) const fn statement(&self) -> Statement {
        Statement { route: self.route, reason: self.reason, hazards: self.hazards }
    }

    /// It is for the primary, whatever its names mean.
    pub(super) fn pinned(&mut self, reason: Reason) {
        (self.route, self.reason) = (Route::Primary, reason);
        self.open = false;
    }

    /// What has been found out of its names.
    pub(super) fn judged(&mut self, judgement: Judgement, age: u64) {
        self.judged_at = age;
        match judgement {
            Judgement::Anywhere => (self.route, self.writes, self.reason) = (Route::Either, false, Reason::Reads),
            Judgement::Primary(reason, writes) => {
                (self.route, self.writes, self.reason) = (Route::Primary, writes, reason);
            }
            Judgement::Unknown => {}
        }
    }
}

/// What a statement names: prepared ones and portals, which share their names with the extended protocol's, or a database.
#[derive(Clone, Debug)]
pub(super) enum Naming {
    /// `PREPARE`, and what is to be done whenever that runs, where pgconvoy replicates.
    Prepares(Box<[u8]>, Option<Rc<Agreed>>),
    /// `EXECUTE`. Its arguments may decide where it goes as well.
    Executes { name: Box<[u8]>, plain_arguments: bool },
    /// `DEALLOCATE`.
    Deallocates(Box<[u8]>),
    /// `DEALLOCATE ALL`, `DISCARD ALL`.
    DeallocatesAll,
    /// `FETCH`, `MOVE`.
    Fetches(Box<[u8]>),
    /// `CLOSE`.
    Closes(Box<[u8]>),
    /// A database that nobody else may be connected to.
    Claims(Box<[u8]>),
    /// Relations that are written, or who knows which.
    Writes(Option<Vec<Box<[u8]>>>),
}

impl Naming {
    /// True when names change once the statement has run.
    pub(super) const fn changes_names(&self) -> bool {
        !matches!(self, Self::Executes { .. } | Self::Fetches(_) | Self::Claims(_) | Self::Writes(_))
    }

    /// The prepared statement that must be known, if it exists, where this is executed.
    pub(super) fn statement(&self) -> Option<&[u8]> {
        match self {
            Self::Prepares(name, _) | Self::Executes { name, .. } | Self::Deallocates(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn of(effect: &Effect<'_>) -> Option<Rc<Self>> {
        let owned = |name: &Name<'_>| name.bytes().collect();
        Some(Rc::new(match effect {
            Effect::Prepare { name, .. } => Self::Prepares(owned(name), None),
            Effect::Execute { name, plain_arguments } => {
                Self::Executes { name: owned(name), plain_arguments: *plain_arguments }
            }
            Effect::Deallocate { name } => Self::Deallocates(owned(name)),
            Effect::DeallocateAll | Effect::DiscardAll => Self::DeallocatesAll,
            Effect::Fetch { name } | Effect::Move { name } => Self::Fetches(owned(name)),
            Effect::CloseCursor { name: Some(name) } => Self::Closes(owned(name)),
            Effect::ClaimDatabase { name } => Self::Claims(owned(name)),
            _ => return None,
        }))
    }
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// The ports that know it.
    pub on: Target,
    pub summary: Summary,
    pub naming: Option<Rc<Naming>>,
    /// What is to be done whenever it runs, where pgconvoy replicates.
    pub agreed: Option<Rc<Agreed>>,
    /// The whole Parse message, so that another port can be given it; the text alone of what pgconvoy answers itself.
    /// Empty where it is not kept.
    pub source: Vec<u8>,
    /// What the client was told of its rows; `None` where no other port can come to know it.
    pub told: Option<Rc<Cell<Told>>>,
}

impl Prepared {
    /// True when other ports can be given it.
    pub(super) fn has_source(&self) -> bool {
        !self.source.is_empty() && self.summary.local.is_none()
    }

    /// These ports do not know it any more.
    fn forgotten_by(&mut self, gone: Target) {
        self.on = self.on.without(gone);
        if let Some(cell) = &self.told {
            let mut told = cell.get();
            told.forget(gone);
            cell.set(told);
        }
    }

    /// The ports of `wanted` where they know it or can be given it, otherwise those `on` which it is known.
    pub(super) fn within_reach(&self, on: Target, wanted: Target) -> Target {
        if wanted.without(on).is_empty() || self.has_source() { wanted } else { on.or_main() }
    }
}

/// A portal of the extended protocol.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    /// The ports where it was bound.
    pub on: Target,
    pub summary: Summary,
    pub naming: Option<Rc<Naming>>,
    /// The statement's text, where it is reported again when the portal runs.
    pub text: Option<Rc<[u8]>>,
    /// What the client was told of its statement's rows.
    pub told: Option<Rc<Cell<Told>>>,
}

impl Portal {
    /// A portal of which nothing is known, on the main port.
    pub(super) const UNTOLD: Self =
        Self { on: Target::MAIN, summary: Summary::UNTOLD, naming: None, text: None, told: None };
}

/// A change to the name of a statement that a backend has not confirmed yet.
#[derive(Debug)]
enum Change {
    /// The client's Parse.
    Prepared(Box<[u8]>, Prepared),
    /// A Parse of pgconvoy's own: these ports know the statement too.
    Brought(Box<[u8]>, Target),
    /// Close.
    Closed(Box<[u8]>),
    /// Describe: the client will be told, or it is compared with what it was told.
    Described(Rc<Cell<Told>>, bool),
    /// A message that gives no name.
    Nothing,
}

/// A change to the name of a portal that a backend has not confirmed yet.
#[derive(Debug)]
enum PortalChange {
    Bound(Box<[u8]>, Portal),
    Closed(Box<[u8]>),
    Nothing,
}

/// Pending changes in the order asked, each with the position of the port that will answer.
#[derive(Debug)]
struct Pending<T>(VecDeque<(usize, T)>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Pending<T> {
    fn push(&mut self, position: usize, change: T) {
        self.0.push_back((position, change));
    }

    /// Takes the oldest one that `position` answers.
    fn take(&mut self, position: usize) -> Option<T> {
        let at = self.0.iter().position(|(answers, _)| *answers == position)?;
        self.0.remove(at).map(|(_, change)| change)
    }

    fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.0.iter().rev().map(|(_, change)| change)
    }

    fn count(&self, position: usize) -> usize {
        self.0.iter().filter(|(answers, _)| *answers == position).count()
    }
}

/// The names that a session has given to statements and portals.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: BTreeMap<Box<[u8]>, Prepared>,
    portals: BTreeMap<Box<[u8]>, Portal>,
    unnamed: Option<Prepared>,
    unnamed_portal: Option<Portal>,
    pending: Pending<Change>,
    pending_portals: Pending<PortalChange>,
    /// Bytes of the sources of named statements, the pending ones among them.
    kept_bytes: usize,
    /// An unused buffer for the source of the next unnamed statement.
    spare: Vec<u8>,
    /// Likewise for what the client is told of it.
    spare_told: Option<Rc<Cell<Told>>>,
}

/// PostgreSQL keeps this many bytes of a name (`NAMEDATALEN` - 1).
pub(super) fn significant(name: &[u8]) -> &[u8] {
    &name[..name.len().min(63)]
}

impl Statements {
    /// True when a statement of this name can be found again, and given to another port, with a source of that length.
    pub(super) fn has_room(&self, name: &[u8], source: usize) -> bool {
        name.is_empty()
            || (self.named.len() + self.pending.0.len() < KEPT_STATEMENTS
                && self.kept_bytes + source <= KEPT_STATEMENT_BYTES)
    }

    /// True when a portal of this name can be found again.
    pub(super) fn has_room_for_portal(&self, name: &[u8]) -> bool {
        name.is_empty() || self.portals.len() + self.pending_portals.0.len() < KEPT_STATEMENTS
    }

    /// Notes a Parse of `name`, of which `to` is told. `source` is the whole message, if it is worth keeping.
    pub(super) fn parse_sent(
        &mut self,
        name: &[u8],
        to: Target,
        (summary, naming): (Summary, Option<Rc<Naming>>),
        agreed: Option<Rc<Agreed>>,
        source: Option<&[u8]>,
    ) {
        let told = source.map(|_| self.fresh_told(name));
        let mut prepared = Prepared { on: to, summary, naming, agreed, source: Vec::new(), told };
        let room = self.has_room(name, source.map_or(0, <[u8]>::len));
        if let Some(source) = source.filter(|_| room) {
            if name.is_empty() {
                prepared.source = core::mem::take(&mut self.spare);
                prepared.source.clear();
            } else {
                self.kept_bytes += source.len();
            }
            prepared.source.extend_from_slice(source);
        }
        self.pending.push(to.speaker(), Change::Prepared(significant(name).into(), prepared));
    }

    /// Of a new statement, the client has been told nothing.
    fn fresh_told(&mut self, name: &[u8]) -> Rc<Cell<Told>> {
        // What an unnamed statement leaves behind serves another, once its portal is gone.
        match self.spare_told.take_if(|told| name.is_empty() && Rc::strong_count(told) == 1) {
            Some(told) => {
                told.set(Told::default());
                told
            }
            None => Rc::default(),
        }
    }

    /// Notes a Describe, whose answer the client will see or that is only compared with what it was told.
    pub(super) fn describe_sent(&mut self, position: usize, told: Rc<Cell<Told>>, to_client: bool) {
        self.pending.push(position, Change::Described(told, to_client));
    }

    /// The oldest Describe that `position` had to answer has been answered with this shape.
    pub(super) fn described(&mut self, position: usize, shape: Option<u64>) {
        if let Some(Change::Described(cell, to_client)) = self.pending.take(position) {
            let mut told = cell.get();
            told.described(position, shape, to_client);
            cell.set(told);
        }
    }

    /// True while a Describe of the statement of which this was told is unanswered.
    pub(super) fn is_being_described(&self, told: &Rc<Cell<Told>>) -> bool {
        let same = |change: &Change| matches!(change, Change::Described(cell, _) if Rc::ptr_eq(cell, told));
        self.pending.newest_first().any(same)
    }

    /// True while the client's Bind waits for a comparison at `position`.
    pub(super) fn is_comparing(&self, position: usize) -> bool {
        self.pending.0.iter().any(|(at, change)| *at == position && matches!(change, Change::Described(_, false)))
    }

    /// These ports forget a statement, if they can be given it again.
    pub(super) fn unlearn(&mut self, name: &[u8], gone: Target) -> bool {
        let known = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(significant(name)) };
        let Some(known) = known.filter(|known| known.has_source()) else { return false };
        known.forgotten_by(gone);
        true
    }

    /// What is known of the names of a statement has changed.
    pub(super) fn judged_again(&mut self, name: &[u8], judged: &Summary) {
        let name = significant(name);
        let pending = self.pending.0.iter_mut().rev().find_map(|(_, change)| match change {
            Change::Prepared(given, prepared) if **given == *name => Some(prepared),
            _ => None,
        });
        let known = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) };
        if let Some(known) = pending.or(known) {
            known.summary = *judged;
        }
    }

    /// What was found out of names is to be found out again.
    pub(super) fn forget_judgements(&mut self) {
        for known in self.named.values_mut().chain(&mut self.unnamed) {
            known.summary.judged_at = UNJUDGED;
        }
    }

    /// Notes that pgconvoy itself gives `position` a statement that it did not know.
    pub(super) fn brought(&mut self, name: &[u8], position: usize) {
        self.pending.push(position, Change::Brought(significant(name).into(), Target::only(position)));
    }

    /// Notes a Close of a statement.
    pub(super) fn close_sent(&mut self, name: &[u8], to: Target) {
        self.pending.push(to.speaker(), Change::Closed(significant(name).into()));
    }

    /// Notes a Bind of a portal.
    pub(super) fn bind_sent(&mut self, name: &[u8], portal: Portal) {
        self.pending_portals.push(portal.on.speaker(), PortalChange::Bound(significant(name).into(), portal));
    }

    /// Notes a Close of a portal.
    pub(super) fn portal_close_sent(&mut self, name: &[u8], to: Target) {
        self.pending_portals.push(to.speaker(), PortalChange::Closed(significant(name).into()));
    }

    /// Notes a message of kind `ask` that gives no name, whatever the answer.
    pub(super) fn nothing_sent(&mut self, ask: Ask, to: Target) {
        if ask.names_portal() {
            self.pending_portals.push(to.speaker(), PortalChange::Nothing);
        } else {
            self.pending.push(to.speaker(), Change::Nothing);
        }
    }

    /// The oldest message of kind `ask` that `position` had to answer has succeeded.
    pub(super) fn confirmed(&mut self, position: usize, ask: Ask) {
        if ask.names_portal() {
            match self.pending_portals.take(position) {
                Some(PortalChange::Bound(name, portal)) => self.put_portal(name, portal),
                Some(PortalChange::Closed(name)) => self.portal_closed(&name),
                Some(PortalChange::Nothing) | None => {}
            }
            return;
        }
        match self.pending.take(position) {
            Some(Change::Prepared(name, prepared)) => self.put(name, prepared),
            Some(Change::Brought(name, more)) => {
                let known = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(&name) };
                if let Some(known) = known {
                    known.on = known.on.with(more);
                }
            }
            Some(Change::Closed(name)) => self.closed(&name),
            Some(Change::Described(..) | Change::Nothing) | None => {}
        }
    }

    /// A Parse, Bind or Close at `position` has failed.
    pub(super) fn failed(&mut self, position: usize, ask: Ask) {
        if ask.names_portal() {
            self.pending_portals.take(position);
        } else if let Some(Change::Prepared(name, prepared)) = self.pending.take(position) {
            if name.is_empty() {
                // A Parse forgets the unnamed statement before it fails.
                self.closed(&name);
            }
            self.forget(&name, prepared);
        }
    }

    /// The oldest messages that `position` had to answer were skipped.
    pub(super) fn skipped(&mut self, position: usize, skipped: &Skipped) {
        for _ in 0..skipped.statements {
            if let Some(Change::Prepared(name, prepared)) = self.pending.take(position) {
                self.forget(&name, prepared);
            }
        }
        for _ in 0..skipped.portals {
            self.pending_portals.take(position);
        }
    }

    /// Keeps a statement that pgconvoy answers itself, with its text if that is needed.
    pub(super) fn put_local(&mut self, name: &[u8], summary: Summary, text: &[u8]) {
        let mut source = Vec::new();
        if self.has_room(name, text.len()) {
            source.extend_from_slice(text);
            self.kept_bytes += if name.is_empty() { 0 } else { text.len() };
        }
        let prepared = Prepared { on: Target::NONE, summary, naming: None, agreed: None, source, told: None };
        self.put(significant(name).into(), prepared);
    }

    /// Keeps a statement.
    pub(super) fn put(&mut self, name: Box<[u8]>, prepared: Prepared) {
        let known = if name.is_empty() {
            self.unnamed.replace(prepared)
        } else if prepared.source.is_empty() && self.named.len() >= KEPT_STATEMENTS {
            self.named.remove(&name)
        } else {
            self.named.insert(name.clone(), prepared)
        };
        if let Some(known) = known {
            self.forget(&name, known);
        }
    }

    /// A statement is not kept any more, pending or not.
    fn forget(&mut self, name: &[u8], prepared: Prepared) {
        if name.is_empty() {
            self.spare = prepared.source;
            self.spare_told = prepared.told;
        } else {
            self.kept_bytes -= prepared.source.len();
        }
    }

    /// Looks up a statement: the ports that know it, or will, and what is kept of it.
    pub(super) fn statement(&self, name: &[u8]) -> Option<(Target, &Prepared)> {
        let name = significant(name);
        let mut more = Target::NONE;
        for change in self.pending.newest_first() {
            match change {
                Change::Prepared(given, prepared) if **given == *name => {
                    return Some((prepared.on.with(more), prepared));
                }
                Change::Brought(given, on) if **given == *name => more = more.with(*on),
                Change::Closed(given) if **given == *name => return None,
                _ => {}
            }
        }
        let known = if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) };
        known.map(|known| (known.on.with(more), known))
    }

    /// True while a Parse of pgconvoy's own is unanswered.
    pub(super) fn is_bringing(&self) -> bool {
        self.pending.newest_first().any(|change| matches!(change, Change::Brought(..)))
    }

    /// A statement is gone.
    pub(super) fn closed(&mut self, name: &[u8]) {
        let name = significant(name);
        let known = if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) };
        if let Some(known) = known {
            self.forget(name, known);
        }
    }

    /// A Query ran: it drops the unnamed statement and the unnamed portal.
    pub(super) fn query_ran(&mut self) {
        self.closed(b"");
        // So it does with one whose Parse is still to be answered.
        for at in 0..self.pending.0.len() {
            let change = &mut self.pending.0[at].1;
            if matches!(change, Change::Prepared(name, _) | Change::Brought(name, _) if name.is_empty())
                && let Change::Prepared(name, prepared) = core::mem::replace(change, Change::Nothing)
            {
                self.forget(&name, prepared);
            }
        }
        self.unnamed_portal = None;
    }

    /// A Query of pgconvoy's own ran at `position`, and dropped the unnamed statement there.
    pub(super) fn unnamed_lost(&mut self, position: usize) {
        if let Some(unnamed) = &mut self.unnamed {
            unnamed.forgotten_by(Target::only(position));
        }
    }

    /// What a statement meant for prepared ones has come true; it was for those `on` which such a statement runs.
    pub(super) fn came_true(&mut self, naming: &Naming, on: Target) {
        match naming {
            Naming::Prepares(name, agreed) => {
                let (summary, agreed) = (Summary::UNTOLD, agreed.clone());
                let prepared = Prepared { on, summary, naming: None, agreed, source: Vec::new(), told: None };
                self.put(significant(name).into(), prepared);
            }
            Naming::Executes { .. } | Naming::Fetches(_) | Naming::Claims(_) | Naming::Writes(_) => {}
            Naming::Closes(name) => self.portal_closed(name),
            Naming::Deallocates(name) => self.closed(name),
            Naming::DeallocatesAll => {
                self.kept_bytes -= self.named.values().map(|known| known.source.len()).sum::<usize>();
                self.named.clear();
            }
        }
    }

    /// The main backend has run a statement of which nothing is known but the tag of its completion.
    pub(super) fn told_of(&mut self, tag: &[u8], on: Target) {
        match tag {
            b"DEALLOCATE ALL\0" | b"DISCARD ALL\0" => self.came_true(&Naming::DeallocatesAll, on),
            // One of those that the primary knows: it is not brought back.
            b"DEALLOCATE\0" => {
                for known in self.named.values_mut().filter(|known| known.on.has(super::MAIN)) {
                    self.kept_bytes -= known.source.len();
                    known.source = Vec::new();
                    known.on = on;
                }
            }
            _ => {}
        }
    }

    /// Keeps a portal.
    pub(super) fn put_portal(&mut self, name: Box<[u8]>, portal: Portal) {
        if name.is_empty() {
            self.unnamed_portal = Some(portal);
        } else if self.portals.len() < KEPT_STATEMENTS {
            self.portals.insert(name, portal);
        } else {
            self.portals.remove(&name);
        }
    }

    /// Looks up a portal.
    pub(super) fn portal(&self, name: &[u8]) -> Option<&Portal> {
        let name = significant(name);
        for change in self.pending_portals.newest_first() {
            match change {
                PortalChange::Bound(given, portal) if **given == *name => return Some(portal),
                PortalChange::Closed(given) if **given == *name => return None,
                _ => {}
            }
        }
        if name.is_empty() { self.unnamed_portal.as_ref() } else { self.portals.get(name) }
    }

    /// A portal is gone.
    pub(super) fn portal_closed(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed_portal = None;
        } else {
            self.portals.remove(significant(name));
        }
    }

    /// True when a portal is only there.
    pub(super) fn has_portal_on(&self, on: Target) -> bool {
        self.portals.values().chain(&self.unnamed_portal).any(|portal| portal.on == on)
    }

    /// The transaction is over: portals end with it.
    pub(super) fn transaction_over(&mut self) {
        self.portals.clear();
        self.unnamed_portal = None;
    }

    /// A port is gone for good, and with it what it had still to answer.
    pub(super) fn port_gone(&mut self, position: usize) {
        while self.pending.count(position) + self.pending_portals.count(position) > 0 {
            self.skipped(position, &Skipped { statements: 1, portals: 1 });
        }
        let gone = Target::only(position);
        let pending = self.pending.0.iter_mut().filter_map(|(_, change)| match change {
            Change::Prepared(_, prepared) => Some(prepared),
            _ => None,
        });
        let statements = self.named.values_mut().chain(&mut self.unnamed).chain(pending);
        statements.for_each(|prepared| prepared.forgotten_by(gone));
        let pending = self.pending_portals.0.iter_mut().filter_map(|(_, change)| match change {
            PortalChange::Bound(_, portal) => Some(portal),
            _ => None,
        });
        let portals = self.portals.values_mut().chain(&mut self.unnamed_portal).chain(pending);
        portals.for_each(|portal| portal.on = portal.on.without(gone));
    }

    /// The bytes kept are counted right and within their bound; `owed` tells what each port has to answer.
    pub(super) fn invariants(&self, owed: impl Iterator<Item = (usize, Skipped)>) {
        let pending = self.pending.newest_first().filter_map(|change| match change {
            Change::Prepared(name, prepared) if !name.is_empty() => Some(prepared),
            _ => None,
        });
        let sum: usize = self.named.values().chain(pending).map(|prepared| prepared.source.len()).sum();
        assert_eq!(sum, self.kept_bytes, "the byte count of kept statements is off");
        assert!(self.kept_bytes <= KEPT_STATEMENT_BYTES, "too much statement text is kept");
        for (position, owed) in owed {
            let pending =
                Skipped { statements: self.pending.count(position), portals: self.pending_portals.count(position) };
            assert_eq!(pending, owed, "names pend that port {position} owes no answer for");
        }
    }
}

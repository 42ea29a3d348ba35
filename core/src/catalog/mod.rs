//! What is known of the functions and relations of each database, so that a query is sent to a standby only when
//! nothing behind its names can write (pgpool's relation cache: `relcache_size`, `relcache_expire`).
//!
//! A name is judged by **every** object that bears it, in whatever schema, unless the text gives the schema: no session's
//! search path can make it mean something that was not judged. Only where that would bar it, and the name means several
//! things, the session's search path is asked for. What is not known is asked ([`Question`]); a view, a row-level policy,
//! a domain or a default argument is judged by the text behind it. The machine asks nobody itself.

mod hidden;
mod question;
#[cfg(test)]
mod tests;

pub use question::Question;

use crate::limits::{CATALOG_DEPTH, CATALOG_SILENCE_MS};
use crate::policy::FunctionList;
use crate::sql::{Dialect, Name, Reason, UseKind, Uses};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use hidden::{Hidden, names_with_query};
use question::Whole;

/// Where PostgreSQL's own objects are.
const PG_CATALOG: &[u8] = b"pg_catalog";

/// Functions of one name in one schema.
#[derive(Debug)]
struct Function {
    schema: Box<[u8]>,
    /// One of them is volatile.
    volatile: bool,
    /// One of them may change settings of the session that calls it.
    sets: bool,
    /// Their default arguments.
    defaults: Option<Hidden>,
}

/// A relation.
#[derive(Debug)]
struct Relation {
    schema: Box<[u8]>,
    kind: RelationKind,
    /// It, or one that inherits from it, is not replicated.
    unlogged: bool,
    /// What a view reads, or what row-level security checks.
    hidden: Option<Hidden>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RelationKind {
    Table,
    View,
    Sequence,
}

/// What bears one name.
#[derive(Debug)]
struct Known<T> {
    since: Instant,
    objects: Vec<T>,
}

/// What is known of one database.
#[derive(Debug, Default)]
struct Database {
    whole: Option<(Instant, Whole)>,
    functions: BTreeMap<Box<[u8]>, Known<Function>>,
    relations: BTreeMap<Box<[u8]>, Known<Relation>>,
    /// Relations that are written: whether one of the name may change settings with that.
    written: BTreeMap<Box<[u8]>, Known<()>>,
    /// Relations that are read, likewise.
    read: BTreeMap<Box<[u8]>, Known<()>>,
    /// What else is written where relations of a name change.
    kin: BTreeMap<Box<[u8]>, Known<Box<[u8]>>>,
}

/// What a text's names mean for its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing behind them keeps it from a standby.
    Anywhere,
    /// It is for the primary, and may write if the flag says so.
    Primary(Reason, bool),
    /// The question tells what must be looked up first.
    Unknown,
}

/// A text to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The database that it is for.
    pub database: &'a [u8],
    /// The text.
    pub text: &'a [u8],
    /// The names in it.
    pub uses: &'a Uses,
    /// Unlogged tables are not read on standbys (`check_unlogged_table`).
    pub check_unlogged: bool,
    /// The schemas that the session searches, if that is known.
    pub path: Option<&'a [Box<[u8]>]>,
    /// Which functions write.
    pub functions: &'a FunctionList,
}

/// The relation cache of one worker.
#[derive(Debug)]
pub struct Catalog {
    databases: BTreeMap<Box<[u8]>, Database>,
    /// Names kept of each database (`relcache_size`).
    size: usize,
    /// How long a name is believed (`relcache_expire`).
    expire: Option<Duration>,
    /// Rises whenever something is forgotten: what was asked before is not believed after.
    age: u64,
    /// Nothing is asked before: the last question had no answer.
    silent_until: Instant,
    /// Used for one text at a time, and kept warm.
    uses: Uses,
}

impl Catalog {
    /// An empty one. `expire` of zero stands for never.
    pub fn new(size: usize, expire: Duration) -> Self {
        let mut catalog = Self {
            databases: BTreeMap::new(),
            size: 1,
            expire: None,
            age: 0,
            silent_until: Instant::ZERO,
            uses: Uses::new(),
        };
        catalog.set_limits(size, expire);
        catalog
    }

    /// Changes what [`Catalog::new`] was told.
    pub fn set_limits(&mut self, size: usize, expire: Duration) {
        self.size = size.max(1);
        self.expire = (!expire.is_zero()).then_some(expire);
    }

    /// An empty list for the names of one text; [`Catalog::put_back`] takes it again.
    pub fn lend_uses(&mut self) -> Uses {
        core::mem::replace(&mut self.uses, Uses::new())
    }

    /// Takes back what [`Catalog::lend_uses`] gave.
    pub fn put_back(&mut self, uses: Uses) {
        self.uses = uses;
    }

    /// Changes with every [`Catalog::forget`].
    pub const fn age(&self) -> u64 {
        self.age
    }

    /// Something was created, altered or dropped somewhere.
    pub fn forget(&mut self) {
        self.databases.clear();
        self.age += 1;
    }

    /// A question had no answer: for a while nothing is asked, and what is not known is for the primary.
    pub fn unanswered(&mut self, now: Instant) {
        self.silent_until = now.after(Duration::from_millis(CATALOG_SILENCE_MS));
    }

    /// Takes in what a server of `database` answered to `question`, which was asked at `age`. False if it makes no sense,
    /// or is too old.
    pub fn learn(
        &mut self,
        database: &[u8],
        question: &Question,
        age: u64,
        value: &[u8],
        dialect: Dialect,
        now: Instant,
    ) -> bool {
        if age != self.age {
            return false;
        }
        let Some(answer) = question.read(value, dialect) else { return false };
        let known = self.databases.entry(database.into()).or_default();
        if let Some(whole) = answer.whole {
            known.whole = Some((now, whole));
        }
        keep(&mut known.functions, &question.functions, answer.functions, self.size, now);
        keep(&mut known.relations, &question.relations, answer.relations, self.size, now);
        keep(&mut known.written, &question.written, answer.written, self.size, now);
        keep(&mut known.read, &question.read, answer.read, self.size, now);
        keep(&mut known.kin, &question.kin, answer.kin, self.size, now);
        true
    }

    /// Whether a function or relation of this name, in whatever schema, may change settings of the session that uses it in this
    /// way. `None` where that is not known.
    pub fn sets(&self, database: &[u8], kind: UseKind, name: &[u8], now: Instant) -> Option<bool> {
        let known = self.databases.get(database)?;
        match kind {
            UseKind::Function => {
                self.objects(&known.functions, name, now).map(|known| known.iter().any(|function| function.sets))
            }
            UseKind::Written => self.objects(&known.written, name, now).map(|known| !known.is_empty()),
            _ => match self.objects(&known.relations, name, now) {
                Some(relations) if relations.iter().all(|relation| relation.hidden.is_none()) => Some(false),
                _ => self.objects(&known.read, name, now).map(|known| !known.is_empty()),
            },
        }
    }

    /// Whether all that a text reads are ordinary tables without row-level security, as far as that is known: its rows are what
    /// these hold, and nothing that a view or a function chooses.
    pub fn reads_tables(&self, database: &[u8], text: &[u8], uses: &Uses, now: Instant) -> bool {
        let Some(known) = self.databases.get(database).filter(|_| !uses.is_unclear()) else { return false };
        let given = |name: Name<'_>| {
            uses.iter(text).any(|(kind, _, with)| kind == UseKind::With && with.bytes().eq(name.bytes()))
        };
        let is_table = |relation: &Relation| relation.kind == RelationKind::Table && relation.hidden.is_none();
        uses.iter(text).filter(|(kind, ..)| *kind == UseKind::Relation).all(|(_, schema, name)| {
            let mut buffer = [0; 64];
            let objects = name.fold_into(&mut buffer).and_then(|name| self.objects(&known.relations, name, now));
            match objects {
                None | Some([]) => schema.is_none() && given(name),
                Some(objects) => objects.iter().all(is_table),
            }
        })
    }

    /// Whether an event trigger may change settings of the session that defines an object. `None` where that is not known.
    pub fn definitions_set(&self, database: &[u8], now: Instant) -> Option<bool> {
        let (since, whole) = self.databases.get(database)?.whole.as_ref()?;
        self.is_fresh(*since, now).then_some(whole.definitions_set)
    }

    /// The names of other relations that may have been written where one of this name has changed. `None` where that is not
    /// known.
    pub fn kin(&self, database: &[u8], name: &[u8], now: Instant) -> Option<&[Box<[u8]>]> {
        self.objects(&self.databases.get(database)?.kin, name, now)
    }

    fn objects<'a, T>(&self, known: &'a BTreeMap<Box<[u8]>, Known<T>>, name: &[u8], now: Instant) -> Option<&'a [T]> {
        known.get(name).filter(|known| self.is_fresh(known.since, now)).map(|known| &known.objects[..])
    }

    /// Whether nothing is asked for now.
    pub fn is_silent(&self, now: Instant) -> bool {
        now < self.silent_until
    }

    /// Judges a text by its names. What is not known is added to `question`.
    pub fn judge(&self, subject: &Subject<'_>, now: Instant, question: &mut Question) -> Judgement {
        let none = Database::default();
        let known = self.databases.get(subject.database).unwrap_or(&none);
        let check_unlogged = subject.check_unlogged;
        let verdict = Judgement::Anywhere;
        let (functions, seen) = (subject.functions, BTreeSet::new());
        let path = subject.path;
        let mut judge = Judge {
            catalog: self,
            known,
            now,
            check_unlogged,
            path,
            bars: 0,
            ambiguous_bars: 0,
            functions,
            question,
            verdict,
            seen,
        };
        judge.whole();
        judge.text(subject.text, subject.uses, 0);
        let (verdict, undecided) = (judge.verdict, judge.bars > 0 && judge.bars == judge.ambiguous_bars);
        if undecided && path.is_none() && !self.is_silent(now) {
            question.own_path = question.is_empty();
            return Judgement::Unknown;
        }
        match verdict {
            // It cannot come worse.
            Judgement::Primary(_, true) => verdict,
            _ if question.is_empty() => verdict,
            _ if self.is_silent(now) => Judgement::Primary(Reason::NotLookedUp, true),
            _ => Judgement::Unknown,
        }
    }

    fn is_fresh(&self, since: Instant, now: Instant) -> bool {
        self.expire.is_none_or(|expire| now < since.after(expire))
    }
}

/// Keeps what was found for each name that was asked, also when it is nothing.
fn keep<T>(
    known: &mut BTreeMap<Box<[u8]>, Known<T>>,
    asked: &alloc::collections::BTreeSet<Box<[u8]>>,
    found: Vec<(usize, T)>,
    size: usize,
    now: Instant,
) {
    let mut objects: Vec<Vec<T>> = asked.iter().map(|_| Vec::new()).collect();
    for (at, object) in found {
        objects[at].push(object);
    }
    for (name, objects) in asked.iter().zip(objects) {
        while known.len() >= size.max(asked.len()) && !known.contains_key(name) {
            let oldest = known.iter().min_by_key(|(_, known)| known.since).map(|(name, _)| name.clone());
            oldest.map(|name| known.remove(&name));
        }
        known.insert(name.clone(), Known { since: now, objects });
    }
}

/// One judgement under way.
struct Judge<'c, 'q> {
    catalog: &'c Catalog,
    known: &'c Database,
    now: Instant,
    check_unlogged: bool,
    /// The schemas that are searched for what stands in the text itself.
    path: Option<&'q [Box<[u8]>]>,
    /// How often something was barred, and how often of that a name that means several things.
    bars: usize,
    ambiguous_bars: usize,
    functions: &'q FunctionList,
    question: &'q mut Question,
    verdict: Judgement,
    /// What was found behind the names so far: a text is judged once, however often and from wherever it is used.
    seen: BTreeSet<*const Hidden>,
}

impl<'c> Judge<'c, '_> {
    /// The gravest verdict is kept; one that writes is graver than one that does not.
    fn bar(&mut self, reason: Reason, writes: bool) {
        self.bars += 1;
        if !matches!(self.verdict, Judgement::Primary(_, true)) {
            self.verdict = Judgement::Primary(reason, writes);
        }
    }

    fn whole(&mut self) {
        match &self.known.whole {
            Some((since, whole)) if self.catalog.is_fresh(*since, self.now) => {
                if whole.volatile_notation {
                    self.bar(Reason::VolatileOperator, true);
                }
                if let Some(domains) = &whole.domains {
                    self.hidden(domains, Reason::VolatileOperator, 1);
                }
            }
            _ => self.question.whole = true,
        }
    }

    fn text(&mut self, text: &[u8], uses: &Uses, depth: usize) {
        if uses.is_unclear() || depth > CATALOG_DEPTH {
            return self.bar(Reason::NotUnderstood, true);
        }
        for (kind, schema, name) in uses.iter(text) {
            match kind {
                UseKind::Function => self.function(schema, name, depth),
                UseKind::Relation => {
                    let with_query = schema.is_none() && names_with_query(text, uses, name);
                    self.relation(schema, name, with_query, depth);
                }
                UseKind::Member => self.part(name, |whole| &whole.row_functions),
                UseKind::Field => self.part(name, |whole| &whole.value_functions),
                UseKind::With | UseKind::Written => {}
            }
        }
    }

    /// What runs behind a name. `reason` is told if a function in it may write.
    fn hidden(&mut self, hidden: &'c Hidden, reason: Reason, depth: usize) {
        if !self.seen.insert(core::ptr::from_ref(hidden)) {
            return;
        }
        match hidden.barred() {
            None => {}
            Some(answer @ (Reason::Catalog | Reason::PrimaryAnswer)) => return self.bar(answer, false),
            Some(_) => return self.bar(reason, true),
        }
        let before = self.verdict;
        self.text(hidden.text(), hidden.uses(), depth);
        if before == Judgement::Anywhere
            && let Judgement::Primary(Reason::UnknownFunction, writes) = self.verdict
        {
            self.verdict = Judgement::Primary(reason, writes);
        }
    }

    fn function(&mut self, schema: Option<Name<'_>>, name: Name<'_>, depth: usize) {
        let mut buffer = [0; 64];
        let Some(folded) = name.fold_into(&mut buffer) else { return self.bar(Reason::NotUnderstood, true) };
        if self.functions.decides() {
            let mut of_schema = [0; 64];
            let schema = schema.and_then(|schema| schema.fold_into(&mut of_schema));
            if self.functions.writes(schema, folded) == Some(true) && !is_notation(folded) {
                self.bar(Reason::UnknownFunction, true);
            }
            return;
        }
        if runs_sql(folded) {
            return self.bar(Reason::UnknownFunction, true);
        }
        let fresh = |known: &&'c Known<Function>| self.catalog.is_fresh(known.since, self.now);
        let Some(known) = self.known.functions.get(folded).filter(fresh) else {
            if !self.question.functions.contains(folded) {
                self.question.functions.insert(folded.into());
            }
            return;
        };
        let mut found = false;
        let before = self.bars;
        let own = known.objects.iter().any(|function| &*function.schema == PG_CATALOG);
        for function in &known.objects {
            let meant = match (schema, self.path) {
                (Some(schema), _) => schema.bytes().eq(function.schema.iter().copied()),
                // What runs behind a name was read with an empty path: there, PostgreSQL's own have no schema.
                (None, _) if depth > 0 && own => &*function.schema == PG_CATALOG,
                (None, Some(path)) if depth == 0 => path.contains(&function.schema),
                (None, _) => true,
            };
            if meant {
                found = true;
                if function.volatile {
                    self.bar(Reason::UnknownFunction, true);
                }
                if let Some(defaults) = &function.defaults {
                    self.hidden(defaults, Reason::UnknownFunction, depth + 1);
                }
            }
        }
        if !found && !is_notation(folded) {
            self.bar(Reason::UnknownFunction, true);
        }
        if schema.is_none() && depth == 0 && known.objects.len() > 1 {
            self.ambiguous_bars += self.bars - before;
        }
    }

    fn relation(&mut self, schema: Option<Name<'_>>, name: Name<'_>, with_query: bool, depth: usize) {
        let mut buffer = [0; 64];
        let Some(folded) = name.fold_into(&mut buffer) else { return self.bar(Reason::NotUnderstood, true) };
        let fresh = |known: &&'c Known<Relation>| self.catalog.is_fresh(known.since, self.now);
        let Some(known) = self.known.relations.get(folded).filter(fresh) else {
            if !self.question.relations.contains(folded) {
                self.question.relations.insert(folded.into());
            }
            return;
        };
        let mut found = with_query;
        let before = self.bars;
        // The first of the path is meant.
        let first = self
            .path
            .filter(|_| schema.is_none() && depth == 0)
            .map(|path| path.iter().find(|schema| known.objects.iter().any(|relation| relation.schema == **schema)));
        for relation in &known.objects {
            let meant = match (schema, first) {
                (Some(schema), _) => schema.bytes().eq(relation.schema.iter().copied()),
                (None, Some(first)) => first == Some(&relation.schema),
                (None, None) => true,
            };
            if meant {
                found = true;
                match relation.kind {
                    _ if relation.unlogged && self.check_unlogged => self.bar(Reason::Unlogged, false),
                    // A standby's copy of a sequence runs ahead of it.
                    RelationKind::Sequence => self.bar(Reason::PrimaryAnswer, false),
                    RelationKind::Table | RelationKind::View => {}
                }
                if &*relation.schema == b"information_schema" || &*relation.schema == PG_CATALOG {
                    self.bar(Reason::Catalog, false);
                }
                if let Some(hidden) = &relation.hidden {
                    let reason = match relation.kind {
                        RelationKind::View => Reason::VolatileView,
                        _ => Reason::VolatilePolicy,
                    };
                    self.hidden(hidden, reason, depth + 1);
                }
            }
        }
        if !found {
            self.bar(Reason::UnknownRelation, false);
        }
        if schema.is_none() && depth == 0 && known.objects.len() > 1 {
            self.ambiguous_bars += self.bars - before;
        }
    }

    /// A part of something, which is barred if it can be one of these functions.
    fn part(&mut self, name: Name<'_>, functions: impl Fn(&Whole) -> &BTreeSet<Box<[u8]>>) {
        if let Some((_, whole)) = &self.known.whole
            && !functions(whole).is_empty()
        {
            let mut buffer = [0; 64];
            let folded = name.fold_into(&mut buffer);
            if folded.is_none_or(|name| functions(whole).contains(name)) {
                self.bar(Reason::UnknownFunction, true);
            }
        }
    }
}

/// What looks like a call and is none: PostgreSQL's grammar makes something else of it.
fn is_notation(name: &[u8]) -> bool {
    matches!(name, b"extract" | b"position" | b"overlay" | b"substring" | b"trim" | b"normalize" | b"collation")
        || matches!(name, b"current_time" | b"current_timestamp" | b"localtime" | b"localtimestamp")
}

/// Functions that are called stable but run SQL: PostgreSQL's own that read relations by name, which may be views, and those
/// of its modules tablefunc and xml2 that are given a query.
fn runs_sql(name: &[u8]) -> bool {
    let exported = name.strip_suffix(b"_and_xmlschema").unwrap_or(name);
    matches!(exported, b"table_to_xml" | b"schema_to_xml" | b"database_to_xml")
        || matches!(name, b"connectby" | b"crosstab" | b"crosstab2" | b"crosstab3" | b"crosstab4" | b"xpath_table")
}

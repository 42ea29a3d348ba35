//! Statements and queries: which parts of a text are evaluated, how often, and who sees the value.
//!
//! It follows PostgreSQL's grammar down to the clauses of a query, and leaves expressions to `walk` and relations that are
//! written to `write`. What it does not understand, it refuses.

use alloc::vec;
use alloc::vec::Vec;

use super::strings;
use super::tokens::{Tokens, Unreadable};
use super::words;
use super::{Arguments, Column, Execution, Findings, LockHint, Note, Reason};
use crate::limits::SQL_PARENTHESES;
use crate::sql::Dialect;
use crate::sql::keyword::Keyword as K;
use crate::sql::lexer::Kind;
use crate::sql::name::Name;

/// What surrounds an expression, as far as it matters to what is found in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// It may be evaluated for more than one row.
    pub many: bool,
    /// Nobody asks for the name that an expression would give to its column.
    pub named: bool,
    /// A string here is nothing but a string.
    pub text: bool,
    /// Only the client sees the value.
    pub shown: bool,
    /// It stands in a `WITH`: others read what it returns.
    pub inner: bool,
    /// It stands in a `WITH RECURSIVE`.
    pub recursive: bool,
    /// It stands in a list of relations.
    pub from: bool,
    /// The whole expression is the value of this column of this target.
    pub value_of: Option<(usize, Column)>,
    /// Names without a relation, or with that of any, mean the columns of this target.
    pub scope: Option<usize>,
    /// How many parentheses are around it.
    pub depth: usize,
}

impl Place {
    /// The same place for something of which the expression is only a part.
    pub(super) fn within(self) -> Self {
        Place { value_of: None, from: false, ..self }
    }
}

/// The state of reading a text.
pub(super) struct Parser<'a> {
    pub tokens: Tokens<'a>,
    pub found: Findings,
}

/// Reads `text` from its beginning to its end.
pub(super) fn read(text: &[u8], dialect: Dialect) -> Findings {
    let mut found = Findings { hint: hint(text), ..Findings::default() };
    let tokens = match Tokens::new(text, dialect) {
        Ok(tokens) => tokens,
        // Every server refuses it.
        Err(Unreadable::Invalid) => return found,
        Err(Unreadable::Unknown) => {
            found.refuse(Reason::NotUnderstood, 0..text.len());
            return found;
        }
    };
    let mut parser = Parser { tokens, found };
    parser.text();
    parser.found
}

/// The comment at the very beginning that pgpool heeds.
fn hint(text: &[u8]) -> Option<LockHint> {
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if begins(b"/*INSERT LOCK*/") {
        Some(LockHint::Lock)
    } else if begins(b"/*NO INSERT LOCK*/") {
        Some(LockHint::NoLock)
    } else {
        None
    }
}

impl Parser<'_> {
    fn text(&mut self) {
        let (mut from, end) = (0, self.tokens.len());
        self.found.parameters = (0..end).filter_map(|at| self.parameter(at)).max().unwrap_or(0);
        let mut reshapes = false;
        while from < end {
            let to = self.statement_end(from, end);
            if from < to {
                self.found.statements += 1;
                reshapes |= self.reshapes(from);
                self.statement(from, to, Place::default());
            }
            from = to + 1;
        }
        self.found.reshapes = reshapes && self.found.statements > 1;
        if self.found.statements > 1 && (self.found.prepares || self.found.executes.is_some()) {
            self.found.prepares = false;
            if !self.found.spots.is_empty() || self.found.executes.take().is_some() {
                self.found.refuse(Reason::ManyStatements, 0..0);
            }
        }
    }

    /// The number of the parameter at `at`, if one stands there.
    fn parameter(&self, at: usize) -> Option<u32> {
        let digits = (self.tokens.kind(at) == Kind::Parameter).then(|| &self.tokens.spelling(at)[1..])?;
        // One that is too high is refused by every server.
        Some(
            digits.iter().fold(0u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0'))),
        )
    }

    /// Whether the statement at `from` could change what the next one means: a setting, or the shape of a relation.
    fn reshapes(&self, from: usize) -> bool {
        use K::{Alter, Begin, Commit, Create, Delete, Drop, End, Insert, Merge, Select, Start, Update, Values, With};
        let Kind::Keyword(first) = self.tokens.kind(from) else { return true };
        // The others set something, or do what is not known. `CREATE` and its kin do both.
        !matches!(first, Select | Insert | Update | Delete | Merge | Values | With | Begin | Start | Commit | End)
            || matches!(first, Create | Alter | Drop)
    }

    /// Where the statement ends that begins at `from`.
    fn statement_end(&self, from: usize, end: usize) -> usize {
        let tokens = &self.tokens;
        let semicolon = |from: usize| tokens.find(from, end, |at| tokens.kind(at) == Kind::Semicolon).unwrap_or(end);
        let to = semicolon(from);
        let atomic = tokens.find(from, to, |at| tokens.is(at, K::Begin) && tokens.is_word(at + 1, "atomic"));
        let (Some(mut at), true) = (atomic, tokens.is(from, K::Create)) else { return to };
        // The body of a function in standard SQL: statements with semicolons, up to its END.
        let mut open = 0usize;
        while at < end {
            match tokens.kind(at) {
                Kind::Keyword(K::Begin | K::Case) => open += 1,
                Kind::Keyword(K::End) => open -= 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
            at = tokens.skip(at);
        }
        semicolon(at)
    }

    pub(super) fn refuse(&mut self, reason: Reason, from: usize, to: usize) {
        let range = self.tokens.bytes(from, to);
        self.found.refuse(reason, range);
    }

    fn statement(&mut self, from: usize, to: usize, place: Place) {
        if place.depth > SQL_PARENTHESES {
            return self.refuse(Reason::NotUnderstood, from, to);
        }
        match self.tokens.kind(from) {
            Kind::Open | Kind::Keyword(K::Select | K::Values | K::Table | K::With) => self.reading(from, to, place),
            Kind::Keyword(K::Insert | K::Update | K::Delete | K::Merge) => self.query(from, to, place),
            Kind::Keyword(K::Copy) => self.copy(from, to),
            Kind::Keyword(K::Explain) => self.explain(from, to, place),
            Kind::Keyword(K::Prepare) => self.prepare(from, to, place),
            Kind::Keyword(K::Execute) => self.execute(from, to),
            Kind::Keyword(K::Declare) => {
                if let Some(at) = self.tokens.find(from, to, |at| self.tokens.is(at, K::For)) {
                    self.reading(at + 1, to, place);
                }
            }
            Kind::Keyword(K::Create) => self.create(from, to, place),
            Kind::Keyword(K::Alter) => self.alter(from, to),
            Kind::Keyword(K::Do) => self.block(from, to),
            Kind::Name if self.tokens.is_word(from, "call") => {
                self.walk(from + 1, to, Place { named: true, ..place });
            }
            // Definitions keep their expressions, and the rest has none.
            _ => {}
        }
    }

    /// `SELECT` and its kin. If it does not write, and calls nothing that might, only the client sees what it finds.
    pub(super) fn reading(&mut self, from: usize, to: usize, place: Place) {
        let tokens = &self.tokens;
        let within =
            |keywords: &[K]| (from..to).any(|at| matches!(tokens.kind(at), Kind::Keyword(k) if keywords.contains(&k)));
        let before = self.found.notes.len();
        // `FOR UPDATE` is no write; it is found by what stands before.
        let writes = within(&[K::Insert, K::Delete, K::Merge, K::Into])
            || (from..to)
                .any(|at| tokens.is(at, K::Update) && !matches!(tokens.before(at), Kind::Keyword(K::For | K::Key)));
        let creates = within(&[K::Into]);
        let outcome = (self.found.spots.len(), self.found.refusal.clone(), self.found.reads_sequences.len());
        self.found.calls_writer = false;
        self.query(from, to, Place { shown: !creates, ..place });
        let unknown = self.found.notes[before..].iter().any(|note| matches!(note, Note::UnknownFunction(_)));
        if !writes && !unknown && !self.found.calls_writer {
            self.found.spots.truncate(outcome.0);
            self.found.refusal = outcome.1;
            self.found.reads_sequences.truncate(outcome.2);
            self.found.notes.truncate(before);
        }
    }

    /// A query, or a statement that writes, perhaps behind a `WITH`.
    pub(super) fn query(&mut self, from: usize, to: usize, place: Place) {
        if place.depth > SQL_PARENTHESES {
            return self.refuse(Reason::NotUnderstood, from, to);
        }
        let at = if self.tokens.is(from, K::With) { self.with(from + 1, to, place) } else { Some(from) };
        let writing = Place { shown: false, ..place };
        match at.map(|at| (at, self.tokens.kind(at))) {
            Some((at, Kind::Keyword(K::Insert))) => self.insert(at, to, writing),
            Some((at, Kind::Keyword(K::Update))) => self.update(at, to, writing),
            Some((at, Kind::Keyword(K::Delete))) => self.delete(at, to, writing),
            Some((at, Kind::Keyword(K::Merge))) => self.merge(at, to, writing),
            Some((at, _)) => self.select(at, to, place),
            None => self.refuse(Reason::NotUnderstood, from, to),
        }
    }

    /// The list of `WITH`, from behind that word; where the main statement begins.
    fn with(&mut self, from: usize, to: usize, place: Place) -> Option<usize> {
        // It can be the name of the first query, too.
        let named = self.tokens.is(from + 1, K::As) || self.tokens.kind(from + 1) == Kind::Open;
        let recursive = self.tokens.is(from, K::Recursive) && !named;
        let mut at = from + usize::from(recursive);
        loop {
            if !self.tokens.is_name(at) {
                return None;
            }
            at += 1;
            let columns = self.tokens.kind(at) == Kind::Open;
            if columns {
                at = self.tokens.skip(at);
            }
            at += usize::from(self.tokens.is(at, K::As));
            at += usize::from(self.tokens.is(at, K::Not));
            at += usize::from(self.tokens.is(at, K::Materialized));
            if self.tokens.kind(at) != Kind::Open {
                return None;
            }
            let close = self.tokens.partner(at);
            let inner = Place {
                many: place.many || recursive,
                recursive: place.recursive || recursive,
                named: columns,
                inner: true,
                depth: place.depth + 1,
                ..Place::default()
            };
            self.query(at + 1, close, inner);
            // `SEARCH` and `CYCLE` name columns only.
            at = self.tokens.find(close + 1, to, |at| {
                matches!(self.tokens.kind(at), Kind::Comma | Kind::Open) && !self.in_search(close, at)
                    || matches!(
                        self.tokens.kind(at),
                        Kind::Keyword(K::Select | K::Values | K::Table | K::Insert | K::Update | K::Delete | K::Merge)
                    )
            })?;
            if self.tokens.kind(at) != Kind::Comma {
                return Some(at);
            }
            at += 1;
        }
    }

    /// Whether the comma or parenthesis at `at` is one of `SEARCH ... BY a, b SET c`, behind a `WITH` query's end.
    fn in_search(&self, close: usize, at: usize) -> bool {
        let begun = (close + 1..at).any(|at| self.tokens.is_word(at, "search") || self.tokens.is_word(at, "cycle"));
        let ended = (close + 1..at).any(|at| self.tokens.is(at, K::Set) || self.tokens.is(at, K::Using));
        begun && !ended
    }

    /// Queries joined by `UNION` and its kin.
    fn select(&mut self, from: usize, to: usize, place: Place) {
        let mut start = from;
        loop {
            let joint = |at: usize| {
                matches!(self.tokens.kind(at), Kind::Keyword(K::Union | K::Intersect | K::Except))
                    && self.tokens.begins_clause(at)
            };
            let end = self.tokens.find(start, to, joint).unwrap_or(to);
            self.branch(start, end, place);
            if end == to {
                return;
            }
            start = end + 1;
            if matches!(self.tokens.kind(start), Kind::Keyword(K::All | K::Distinct)) {
                start += 1;
            }
        }
    }

    fn branch(&mut self, from: usize, to: usize, place: Place) {
        let behind = match self.tokens.kind(from) {
            Kind::Open => {
                let close = self.tokens.partner(from);
                self.query(from + 1, close, Place { depth: place.depth + 1, ..place });
                close + 1
            }
            Kind::Keyword(K::Select) => return self.core(from, to, place),
            Kind::Keyword(K::Table) => self.tokens.path_end(from + 1).unwrap_or(to),
            Kind::Keyword(K::Values) => {
                let mut at = from + 1;
                while self.tokens.kind(at) == Kind::Open {
                    self.walk(at, at + 1, Place { named: true, ..place.within() });
                    at = self.tokens.skip(at) + usize::from(self.tokens.kind(self.tokens.skip(at)) == Kind::Comma);
                }
                at
            }
            _ => return self.refuse(Reason::NotUnderstood, from, to),
        };
        self.tail(behind, to, place);
    }

    /// `ORDER BY`, `LIMIT` and what else stands behind a query.
    fn tail(&mut self, from: usize, to: usize, place: Place) {
        self.limits(from, to);
        self.walk(from, to, Place { many: true, named: true, ..place.within() });
    }

    /// Notes a limit without an order, unless only one value can come of it.
    fn limits(&mut self, from: usize, to: usize) {
        let tokens = &self.tokens;
        let clause = |keywords: &[K]| {
            tokens.find(from, to, |at| {
                matches!(tokens.kind(at), Kind::Keyword(k) if keywords.contains(&k)) && tokens.begins_clause(at)
            })
        };
        if let Some(at) = clause(&[K::Limit, K::Fetch])
            && clause(&[K::Order]).is_none()
        {
            let range = tokens.bytes(at, to);
            self.found.notes.push(Note::RowOrder(range));
        }
        if let Some(at) = tokens.find(from, to, |at| tokens.is_word(at, "locked") && tokens.is_word(at - 1, "skip")) {
            self.refuse(Reason::SkipLocked, at - 1, at + 1);
        }
    }

    /// One `SELECT`.
    fn core(&mut self, from: usize, to: usize, place: Place) {
        let mut at = from + 1;
        let tokens = &self.tokens;
        let distinct = tokens.is(at, K::Distinct);
        at += usize::from(distinct || tokens.is(at, K::All));
        let on = (distinct && tokens.is(at, K::On) && tokens.kind(at + 1) == Kind::Open).then_some(at + 1);
        if let Some(open) = on {
            at = tokens.skip(open);
        }
        let end = tokens.list_end(at, to);
        let from_clause = tokens.find(end, to, |at| tokens.is(at, K::From) && tokens.begins_clause(at));
        let many = place.many || from_clause.is_some();
        let items = self.tokens.items(at, end);
        let giving: Vec<usize> = (0..items.len()).filter(|at| self.gives_rows(items[*at].0, items[*at].1)).collect();
        if let Some(open) = on {
            self.walk(open, open + 1, Place { many: true, named: true, ..place.within() });
        }
        for (position, (start, stop)) in items.into_iter().enumerate() {
            let alias = self.tokens.find(start, stop, |at| self.tokens.is(at, K::As));
            let value_of = place.value_of.map(|(target, _)| (target, Column::Position(position)));
            let named = place.named || alias.is_some();
            let end = stop;
            let stop = alias.unwrap_or(stop);
            // What returns rows has its arguments evaluated once; whatever stands beside it is evaluated for each.
            let alone = giving.iter().all(|other| *other == position) && self.is_call_of_one(start, stop);
            let many = many || !giving.is_empty() && !alone;
            self.walk(start, stop, Place { many, named, value_of, from: false, ..place });
            self.walk(stop, end, Place { many: true, named, ..place.within() });
        }
        let many = many || !giving.is_empty();
        let rest = Place { many, named: true, shown: false, ..place.within() };
        self.limits(end, to);
        let Some(from_clause) = from_clause else { return self.walk(end, to, rest) };
        self.walk(end, from_clause, rest);
        let from_end = self.tokens.clause_end(from_clause + 1, to);
        self.walk(from_clause + 1, from_end, Place { from: true, ..rest });
        self.walk(from_end, to, rest);
    }

    /// Whether an item of a select list may return more than one row.
    fn gives_rows(&self, from: usize, to: usize) -> bool {
        (from..to).any(|at| {
            let call =
                matches!(self.tokens.kind(at), Kind::Name | Kind::QuotedName) && self.tokens.kind(at + 1) == Kind::Open;
            call && {
                let name = self.tokens.name(at);
                let known = words::find(name).is_some() || crate::sql::is_builtin(name);
                !known || words::returns_set(name)
            }
        })
    }

    /// Whether there is nothing but a call between two tokens, in whose arguments nothing returns rows.
    fn is_call_of_one(&self, from: usize, to: usize) -> bool {
        let open = self.tokens.path_end(from).filter(|open| self.tokens.kind(*open) == Kind::Open);
        open.is_some_and(|open| self.tokens.skip(open) == to && !self.gives_rows(open + 1, to))
    }

    fn explain(&mut self, from: usize, to: usize, place: Place) {
        let mut at = from + 1;
        if self.tokens.kind(at) == Kind::Open && !self.tokens.is(at + 1, K::Select) {
            at = self.tokens.skip(at);
        }
        while self.tokens.is(at, K::Analyze) || self.tokens.is(at, K::Analyse) || self.tokens.is(at, K::Verbose) {
            at += 1;
        }
        self.statement(at, to, Place { depth: place.depth + 1, ..place });
    }

    /// `PREPARE name (types) AS statement`.
    fn prepare(&mut self, from: usize, to: usize, place: Place) {
        let Some(at) = self.tokens.find(from, to, |at| self.tokens.is(at, K::As)) else { return };
        self.found.prepares = true;
        let types = from + 2;
        if self.tokens.kind(types) == Kind::Open {
            let count = self.tokens.items(types + 1, self.tokens.partner(types)).len();
            self.found.parameters = self.found.parameters.max(count as u32);
        }
        self.statement(at + 1, to, Place { depth: place.depth + 1, ..place });
    }

    /// `EXECUTE name (arguments)`.
    fn execute(&mut self, from: usize, to: usize) {
        if !self.tokens.is_name(from + 1) {
            return;
        }
        let name = self.tokens.bytes(from + 1, from + 2);
        let open = from + 2;
        let (at, arguments) = if open < to && self.tokens.kind(open) == Kind::Open {
            let close = self.tokens.partner(open);
            self.walk(open, open + 1, Place { named: true, ..Place::default() });
            let arguments = if close == open + 1 { Arguments::Empty } else { Arguments::Some };
            (self.tokens.start(close), arguments)
        } else {
            (name.end, Arguments::None)
        };
        self.found.executes = Some(Execution { name, at, arguments });
    }

    fn create(&mut self, from: usize, to: usize, place: Place) {
        let tokens = &self.tokens;
        let table = tokens.find(from, to, |at| tokens.is(at, K::Table) || tokens.is(at, K::Materialized));
        let (Some(kind), Some(at)) = (table, tokens.find(from, to, |at| tokens.is(at, K::As))) else { return };
        // Only adjectives stand before these words.
        if kind > from + 4 || (from..kind).any(|at| tokens.is_word(at, "view") || tokens.is_word(at, "foreign")) {
            return;
        }
        let inner = Place { depth: place.depth + 1, ..Place::default() };
        if tokens.is(kind, K::Table) {
            return match tokens.kind(at + 1) {
                Kind::Keyword(K::Execute) => self.execute(at + 1, to),
                _ => {
                    let end = self.without_data(to);
                    self.query(at + 1, end, inner)
                }
            };
        }
        let end = self.without_data(to);
        let outcome = (self.found.spots.len(), self.found.refusal.clone());
        self.query(at + 1, end, inner);
        let found = self.found.spots.len() > outcome.0 || self.found.refusal != outcome.1;
        self.found.spots.truncate(outcome.0);
        self.found.refusal = outcome.1;
        if found {
            self.refuse(Reason::MaterializedView, at + 1, end);
        }
    }

    /// Where `WITH [NO] DATA` begins at the end of a statement, or its end.
    fn without_data(&self, to: usize) -> usize {
        let tokens = &self.tokens;
        if !tokens.is_word(to - 1, "data") {
            to
        } else if tokens.is(to - 2, K::With) {
            to - 2
        } else if tokens.is(to - 2, K::No) && tokens.is(to - 3, K::With) {
            to - 3
        } else {
            to
        }
    }

    /// `ALTER TABLE`: a new column's default is given to existing rows, and `USING` is evaluated for them.
    fn alter(&mut self, from: usize, to: usize) {
        if !self.tokens.is(from + 1, K::Table) {
            return;
        }
        for (start, end) in self.tokens.items(from + 1, to) {
            let tokens = &self.tokens;
            let verb = |word: &str| (start..end).any(|at| tokens.is_word(at, word));
            let begins = if verb("add") {
                tokens.find(start, end, |at| tokens.is(at, K::Default))
            } else if verb("type") {
                tokens.find(start, end, |at| tokens.is(at, K::Using))
            } else {
                None
            };
            let Some(at) = begins else { continue };
            let outcome = (self.found.spots.len(), self.found.notes.len());
            self.walk(at + 1, end, Place { named: true, ..Place::default() });
            if self.found.spots.len() > outcome.0 {
                self.found.spots.truncate(outcome.0);
                self.refuse(Reason::AlterTable, at, end);
            }
            self.found.notes.truncate(outcome.1);
        }
    }

    /// `DO`: what its body does is looked for by words alone.
    fn block(&mut self, from: usize, to: usize) {
        let dialect = self.tokens.dialect;
        for at in from..to {
            if self.tokens.kind(at) != Kind::String {
                continue;
            }
            let spelling = self.tokens.spelling(at);
            let opening = spelling.iter().skip(1).position(|byte| *byte == b'$').map_or(1, |at| at + 2);
            let body = match spelling.first() {
                Some(b'$') => spelling[opening..spelling.len() - opening].to_vec(),
                _ => {
                    strings::content(spelling, !dialect.standard_conforming_strings).map_or(vec![0], |c| c.into_owned())
                }
            };
            if mentions(&body, dialect) {
                self.refuse(Reason::DoBlock, at, at + 1);
            }
        }
    }
}

/// Key words that stand for the present time.
const KEYWORDS: &[&str] = &["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"];

/// Whether the source of a function calls anything that each server evaluates for itself; in doubt it does.
pub(super) fn mentions(source: &[u8], dialect: Dialect) -> bool {
    let Ok(tokens) = Tokens::new(source, dialect) else {
        // Procedural languages have signs of their own.
        return strings::identifiers(source).any(|word| {
            let name = Name::new(word);
            words::find(name).is_some() || KEYWORDS.iter().any(|keyword| name.is(keyword))
        });
    };
    (0..tokens.len()).any(|at| match tokens.kind(at) {
        Kind::Keyword(K::CurrentDate | K::CurrentTime | K::LocalTime | K::LocalTimestamp) => true,
        Kind::Name | Kind::QuotedName => {
            let name = tokens.name(at);
            let called = tokens.kind(at + 1) == Kind::Open
                && (words::find(name).is_some() || words::is_servers_own(name) || words::makes_large_object(name));
            called || name.is("current_timestamp") || words::is_system_column(name) && !name.is("oid")
        }
        Kind::String => {
            let typed = tokens.kind(at + 1) == Kind::Cast || tokens.is_name(at.saturating_sub(1));
            let content = strings::content(tokens.spelling(at), !dialect.standard_conforming_strings);
            typed && content.is_some_and(|content| words::is_moving_time(&content))
        }
        _ => false,
    })
}

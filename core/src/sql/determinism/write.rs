//! `INSERT`, `UPDATE`, `DELETE`, `MERGE` and `COPY`: which relation gets new values, and which of them are its defaults.

use alloc::vec::Vec;
use core::ops::Range;

use super::parse::{Parser, Place};
use super::table::Event;
use super::{Assigned, Column, Insertion, Overriding, Reason, Row, Source, Target};
use crate::sql::keyword::Keyword as K;
use crate::sql::lexer::Kind;

/// The names of columns, and where the parenthesis behind them stands.
type ColumnList = (Vec<Range<usize>>, usize);

impl Parser<'_> {
    fn target(&mut self, from: usize, to: usize, event: Event) -> usize {
        let name = self.tokens.bytes(from, to);
        self.found.targets.push(Target { name, event, assigned: Vec::new(), rows: None });
        self.found.targets.len() - 1
    }

    /// `INSERT INTO relation AS alias (columns) OVERRIDING .. source ON CONFLICT .. RETURNING ..`.
    pub(super) fn insert(&mut self, from: usize, to: usize, place: Place) {
        let name_end = if self.tokens.is(from + 1, K::Into) { self.tokens.path_end(from + 2) } else { None };
        let Some(name_end) = name_end else { return self.refuse(Reason::NotUnderstood, from, to) };
        let target = self.target(from + 2, name_end, Event::Insert);
        let mut at = name_end;
        if self.tokens.is(at, K::As) {
            at += 2;
        }
        let behind_name = self.tokens.end(at - 1);
        let tail = self.tokens.find(at, to, |at| {
            self.tokens.is(at, K::Returning) || self.tokens.is(at, K::On) && self.tokens.is_word(at + 1, "conflict")
        });
        let end = tail.unwrap_or(to);
        let (columns, at) = self.columns(at);
        let (overriding, at) = self.overriding(at);
        let before_source = self.tokens.start(at);
        let source = if self.tokens.is(at, K::Default) && self.tokens.is(at + 1, K::Values) {
            Source::Defaults { words: self.tokens.bytes(at, at + 2), many: place.many }
        } else if self.tokens.is(at, K::Values) {
            let (rows, behind) = self.rows(at, target, place);
            if behind < end {
                // `ORDER BY` and `LIMIT` can stand behind `VALUES`.
                self.walk(behind, end, Place { many: true, named: true, ..place.within() });
                if rows.is_empty() {
                    return self.refuse(Reason::NotUnderstood, from, to);
                }
            }
            Source::Rows { rows, many: place.many }
        } else {
            let inner = Place { named: true, shown: false, value_of: Some((target, Column::Position(0))), ..place };
            self.query(at, end, inner);
            self.lists(at, end)
        };
        let several = place.many || !matches!(&source, Source::Rows { rows, .. } if rows.len() == 1);
        self.found.targets[target].rows = Some(Insertion { columns, behind_name, before_source, overriding, source });
        let mut at = end;
        if self.tokens.is(at, K::On) && at < to {
            let end = self.tokens.find(at, to, |at| self.tokens.is(at, K::Returning)).unwrap_or(to);
            self.conflict(at, end, target, Place { many: several, named: true, ..place.within() });
            at = end;
        }
        self.returning(at, to, place);
    }

    /// The list of columns, if one stands at `at`, and what follows.
    fn columns(&self, at: usize) -> (Option<ColumnList>, usize) {
        let query =
            matches!(self.tokens.kind(at + 1), Kind::Open | Kind::Keyword(K::Select | K::With | K::Values | K::Table));
        if self.tokens.kind(at) != Kind::Open || query {
            return (None, at);
        }
        let close = self.tokens.partner(at);
        let names =
            self.tokens.items(at + 1, close).iter().map(|(from, _)| self.tokens.bytes(*from, from + 1)).collect();
        (Some((names, self.tokens.start(close))), close + 1)
    }

    fn overriding(&self, at: usize) -> (Option<Overriding>, usize) {
        if !self.tokens.is_word(at, "overriding") {
            return (None, at);
        }
        let user = self.tokens.is(at + 1, K::User);
        (Some(if user { Overriding::User } else { Overriding::System }), at + 3)
    }

    /// The rows behind `VALUES`, which stands at `at`, and what follows.
    fn rows(&mut self, at: usize, target: usize, place: Place) -> (Vec<Row>, usize) {
        let mut rows = Vec::new();
        let mut open = at + 1;
        while self.tokens.kind(open) == Kind::Open {
            let close = self.tokens.partner(open);
            let mut row = Row { items: 0, expands: false, defaults: Vec::new(), close: self.tokens.start(close) };
            for (from, to) in self.tokens.items(open + 1, close) {
                let column = Column::Position(row.items);
                if to == from + 1 && self.tokens.is(from, K::Default) {
                    row.defaults.push((row.items, self.tokens.bytes(from, to)));
                } else {
                    row.expands |= self.tokens.is_operator(to - 1, "*");
                    self.walk(from, to, Place { named: true, value_of: Some((target, column)), ..place });
                }
                row.items += 1;
            }
            rows.push(row);
            open = close + 1;
            if self.tokens.kind(open) != Kind::Comma {
                break;
            }
            open += 1;
        }
        (rows, open)
    }

    /// The select lists of the query from `from` to `to`: where a column could be added.
    fn lists(&self, from: usize, to: usize) -> Source {
        let tokens = &self.tokens;
        let main = if tokens.is(from, K::With) { self.main_statement(from, to) } else { Some(from) };
        let mut lists = Vec::new();
        let mut start = main.unwrap_or(to);
        while start < to {
            let joint = |at: usize| matches!(tokens.kind(at), Kind::Keyword(K::Union | K::Intersect | K::Except));
            let end = tokens.find(start, to, |at| joint(at) && tokens.begins_clause(at)).unwrap_or(to);
            if !tokens.is(start, K::Select) {
                return Source::Opaque;
            }
            let mut at = start + 1;
            let distinct = tokens.is(at, K::Distinct);
            at += usize::from(distinct || tokens.is(at, K::All));
            if distinct && tokens.is(at, K::On) {
                at = tokens.skip(at + 1);
            }
            let list_end = tokens.list_end(at, end);
            let items = tokens.items(at, list_end);
            let star = items.iter().any(|(from, to)| {
                tokens.is_operator(to - 1, "*") && (to - from == 1 || tokens.kind(to - 2) == Kind::Dot)
            });
            if items.is_empty() {
                return Source::Opaque;
            }
            lists.push(((!star).then_some(items.len()), tokens.end(list_end - 1)));
            start = end + 1;
            start += usize::from(matches!(tokens.kind(start), Kind::Keyword(K::All | K::Distinct)));
        }
        if lists.is_empty() { Source::Opaque } else { Source::Lists(lists) }
    }

    /// Where the statement begins behind the `WITH` list at `from`.
    fn main_statement(&self, from: usize, to: usize) -> Option<usize> {
        self.tokens.find(from + 1, to, |at| self.tokens.is(at, K::Select) || self.tokens.is(at, K::Values))
    }

    /// `ON CONFLICT (..) WHERE .. DO UPDATE SET .. WHERE ..`.
    fn conflict(&mut self, from: usize, to: usize, target: usize, place: Place) {
        let update = self.tokens.find(from, to, |at| self.tokens.is(at, K::Do) && self.tokens.is(at + 1, K::Update));
        // What names the index is compared with it, not evaluated.
        let Some(update) = update else { return };
        if self.tokens.is(update + 2, K::Set) {
            self.found.targets[target].event = Event::InsertOrUpdate;
            self.assignments(update + 3, to, target, place);
        } else {
            self.refuse(Reason::NotUnderstood, from, to);
        }
    }

    /// What is behind `SET`, up to `to`, with the clauses that follow.
    fn assignments(&mut self, from: usize, to: usize, target: usize, place: Place) {
        let end = self.tokens.list_end(from, to);
        for (start, stop) in self.tokens.items(from, end) {
            let Some(equals) = self.tokens.find(start, stop, |at| self.tokens.is_operator(at, "=")) else {
                // `a=-1` is one operator for the lexer.
                self.walk(start, stop, place);
                continue;
            };
            if self.tokens.kind(start) == Kind::Open {
                self.row_assignment(start, equals, stop, target, place);
            } else {
                self.assignment((start, equals + 1, stop), target, place);
            }
        }
        self.clauses(end, to, place);
    }

    /// `column = value`, by where both begin and where it ends.
    fn assignment(&mut self, (name, from, to): (usize, usize, usize), target: usize, place: Place) {
        let range = self.tokens.bytes(name, name + 1);
        let column = Column::Named { start: range.start, end: range.end };
        if to == from + 1 && self.tokens.is(from, K::Default) {
            let word = self.tokens.bytes(from, to);
            self.found.targets[target].assigned.push(Assigned { column, word, many: place.many });
            return;
        }
        // The field of a column, or an element, has a type of its own.
        let whole = matches!(self.tokens.kind(name + 1), Kind::Operator);
        self.walk(from, to, Place { value_of: whole.then_some((target, column)), ..place });
    }

    /// `(a, b) = (1, 2)`, or with a row or a query behind.
    fn row_assignment(&mut self, open: usize, equals: usize, to: usize, target: usize, place: Place) {
        let names = self.tokens.items(open + 1, self.tokens.partner(open));
        let value = equals + 1 + usize::from(self.tokens.is(equals + 1, K::Row));
        let query = matches!(self.tokens.kind(value + 1), Kind::Keyword(K::Select | K::With | K::Values | K::Table));
        let list = self.tokens.kind(value) == Kind::Open && self.tokens.skip(value) == to && !query;
        if !list {
            return self.walk(equals + 1, to, place);
        }
        let values = self.tokens.items(value + 1, self.tokens.partner(value));
        for (at, (from, to)) in values.into_iter().enumerate() {
            match names.get(at) {
                Some((name, end)) if end - name == 1 => {
                    let range = self.tokens.bytes(*name, *end);
                    let column = Column::Named { start: range.start, end: range.end };
                    if to == from + 1 && self.tokens.is(from, K::Default) {
                        let word = self.tokens.bytes(from, to);
                        self.found.targets[target].assigned.push(Assigned { column, word, many: place.many });
                    } else {
                        self.walk(from, to, Place { value_of: Some((target, column)), ..place });
                    }
                }
                _ => self.walk(from, to, place),
            }
        }
    }

    /// `FROM`, `WHERE` and `RETURNING`'s neighbours, from the first of them on.
    fn clauses(&mut self, from: usize, to: usize, place: Place) {
        let rest = Place { many: true, named: true, ..place.within() };
        if !matches!(self.tokens.kind(from), Kind::Keyword(K::From | K::Using)) || from >= to {
            return self.walk(from, to, rest);
        }
        let end = self.tokens.clause_end(from + 1, to);
        self.walk(from + 1, end, Place { from: true, ..rest });
        self.walk(end, to, rest);
    }

    /// `RETURNING`, if it stands at `at`.
    fn returning(&mut self, at: usize, to: usize, place: Place) {
        if at >= to {
            return;
        }
        for (from, to) in self.tokens.items(at + 1, to) {
            let alias = self.tokens.find(from, to, |at| self.tokens.is(at, K::As));
            let shown = !place.inner;
            let inner = Place { many: true, named: alias.is_some(), shown, ..place.within() };
            self.walk(from, alias.unwrap_or(to), inner);
            self.walk(alias.unwrap_or(to), to, inner);
        }
    }

    /// Where `RETURNING` stands, or the end.
    fn returning_at(&self, from: usize, to: usize) -> usize {
        self.tokens.find(from, to, |at| self.tokens.is(at, K::Returning)).unwrap_or(to)
    }

    /// The relation of `UPDATE` or `DELETE` from `at` on: where its name ends.
    fn relation(&mut self, at: usize, event: Event) -> Option<(usize, usize)> {
        let at = at + usize::from(self.tokens.is(at, K::Only));
        let parenthesis = usize::from(self.tokens.kind(at) == Kind::Open);
        let end = self.tokens.path_end(at + parenthesis)?;
        Some((self.target(at + parenthesis, end, event), end + parenthesis))
    }

    pub(super) fn update(&mut self, from: usize, to: usize, place: Place) {
        let Some((target, at)) = self.relation(from + 1, Event::Update) else {
            return self.refuse(Reason::NotUnderstood, from, to);
        };
        let end = self.returning_at(at, to);
        match self.tokens.find(at, end, |at| self.tokens.is(at, K::Set)) {
            Some(set) => {
                let alone =
                    self.tokens.find(set, end, |at| self.tokens.is(at, K::From) && self.tokens.begins_clause(at));
                let scope = alone.is_none().then_some(target);
                let inner = Place { many: true, named: true, shown: false, scope, ..place.within() };
                self.assignments(set + 1, end, target, inner);
                self.returning(end, to, place);
            }
            None => self.refuse(Reason::NotUnderstood, from, to),
        }
    }

    pub(super) fn delete(&mut self, from: usize, to: usize, place: Place) {
        let relation = if self.tokens.is(from + 1, K::From) { self.relation(from + 2, Event::Delete) } else { None };
        let Some((target, at)) = relation else { return self.refuse(Reason::NotUnderstood, from, to) };
        let end = self.returning_at(at, to);
        let begins = |at: usize| self.tokens.is(at, K::Using) || self.tokens.is(at, K::Where);
        let clause = self.tokens.find(at, end, begins).unwrap_or(end);
        let scope = (!self.tokens.is(clause, K::Using)).then_some(target);
        self.clauses(clause, end, Place { shown: false, scope, ..place.within() });
        self.returning(end, to, place);
    }

    /// `MERGE INTO target USING source ON condition WHEN .. THEN ..`.
    pub(super) fn merge(&mut self, from: usize, to: usize, place: Place) {
        let relation = if self.tokens.is(from + 1, K::Into) { self.relation(from + 2, Event::Update) } else { None };
        let Some((target, at)) = relation else { return self.refuse(Reason::NotUnderstood, from, to) };
        let end = self.returning_at(at, to);
        let whens: Vec<usize> = {
            let mut whens = Vec::new();
            let mut at = at;
            let mut cases = 0usize;
            while at < end {
                match self.tokens.kind(at) {
                    Kind::Keyword(K::Case) => cases += 1,
                    Kind::Keyword(K::End) => cases = cases.saturating_sub(1),
                    Kind::Keyword(K::When) if cases == 0 => whens.push(at),
                    _ => {}
                }
                at = self.tokens.skip(at);
            }
            whens
        };
        let using = self.tokens.find(at, end, |at| self.tokens.is(at, K::Using));
        let (Some(using), Some(first)) = (using, whens.first()) else {
            return self.refuse(Reason::NotUnderstood, from, to);
        };
        let inner = Place { many: true, named: true, shown: false, ..place.within() };
        self.walk(using + 1, *first, Place { from: true, ..inner });
        for (at, when) in whens.iter().enumerate() {
            let stop = whens.get(at + 1).copied().unwrap_or(end);
            self.merge_action(*when, stop, target, inner);
        }
        self.returning(end, to, place);
    }

    fn merge_action(&mut self, from: usize, to: usize, target: usize, place: Place) {
        let Some(then) = self.tokens.find(from, to, |at| self.tokens.is(at, K::Then)) else {
            return self.refuse(Reason::NotUnderstood, from, to);
        };
        if let Some(condition) = self.tokens.find(from, then, |at| self.tokens.is(at, K::And)) {
            self.walk(condition, then, place);
        }
        match self.tokens.kind(then + 1) {
            Kind::Keyword(K::Update) if self.tokens.is(then + 2, K::Set) => {
                self.assignments(then + 3, to, target, place);
            }
            Kind::Keyword(K::Insert) => {
                // Each `INSERT` of a `MERGE` has columns and values of its own.
                let name = self.found.targets[target].name.clone();
                self.found.targets.push(Target { name, event: Event::Insert, assigned: Vec::new(), rows: None });
                let target = self.found.targets.len() - 1;
                let behind_name = self.tokens.end(then + 1);
                let (columns, at) = self.columns(then + 2);
                let (overriding, at) = self.overriding(at);
                let before_source = self.tokens.start(at);
                let source = if self.tokens.is(at, K::Default) {
                    Source::Defaults { words: self.tokens.bytes(at, at + 2), many: true }
                } else {
                    Source::Rows { rows: self.rows(at, target, place).0, many: true }
                };
                self.found.targets[target].rows =
                    Some(Insertion { columns, behind_name, before_source, overriding, source });
            }
            Kind::Keyword(K::Delete | K::Do) => {}
            _ => self.refuse(Reason::NotUnderstood, from, to),
        }
    }

    /// `COPY relation (columns) FROM .. WHERE ..`, or `COPY (query) TO ..`.
    pub(super) fn copy(&mut self, from: usize, to: usize) {
        self.found.fixed = true;
        if self.tokens.kind(from + 1) == Kind::Open {
            return self.reading(from + 2, self.tokens.partner(from + 1), Place::default());
        }
        let at = from + 1 + usize::from(self.tokens.is(from + 1, K::Binary));
        let Some(name_end) = self.tokens.path_end(at) else { return self.refuse(Reason::NotUnderstood, from, to) };
        let (columns, behind) = self.columns(name_end);
        if !self.tokens.is(behind, K::From) {
            return;
        }
        let target = self.target(at, name_end, Event::Insert);
        let behind_name = self.tokens.end(name_end - 1);
        let before_source = self.tokens.start(behind);
        let source = Source::Copy;
        // With an option of that name, any value may stand for its column's default.
        let defaults = (behind..to).any(|at| self.tokens.is(at, K::Default));
        let columns = if defaults { Some((Vec::new(), before_source)) } else { columns };
        self.found.targets[target].rows =
            Some(Insertion { columns, behind_name, before_source, overriding: None, source });
        if let Some(at) = self.tokens.find(behind, to, |at| self.tokens.is(at, K::Where)) {
            self.walk(at, to, Place { many: true, named: true, ..Place::default() });
        }
    }
}

//! Expressions: each call, key word, string and name in them that two servers would read differently.

use core::ops::Range;

use super::parse::{Parser, Place};
use super::words::{self, Arguments, TypeKind};
use super::{Class, Column, Form, Note, Reason, Spot, strings};
use crate::limits::SQL_PARENTHESES;
use crate::sql::keyword::Keyword as K;
use crate::sql::lexer::Kind;

/// A call, by where its tokens are.
struct Call {
    /// The first token of its name.
    from: usize,
    /// The last part of its name.
    last: usize,
    open: usize,
    /// It can only be one of PostgreSQL's own, unless the search path says otherwise.
    builtin: bool,
}

impl Parser<'_> {
    /// Looks at every expression between two tokens.
    pub(super) fn walk(&mut self, from: usize, to: usize, place: Place) {
        let mut at = from;
        while at < to {
            at = match self.tokens.kind(at) {
                Kind::Open => self.parenthesis(at, from, place),
                Kind::String => self.string(at, from, to, place),
                Kind::Keyword(keyword) => self.keyword(keyword, at, from, to, place),
                Kind::Name | Kind::QuotedName => self.name(at, from, to, place),
                Kind::Cast => self.tokens.type_at(at + 1).map_or(at + 1, |(_, end)| end),
                _ => at + 1,
            };
        }
    }

    /// What stands between parentheses that belong to no call.
    fn parenthesis(&mut self, open: usize, from: usize, place: Place) -> usize {
        let close = self.tokens.partner(open);
        if place.depth > SQL_PARENTHESES {
            self.refuse(Reason::NotUnderstood, open, close + 1);
            return close + 1;
        }
        let depth = place.depth + 1;
        match self.tokens.kind(open + 1) {
            Kind::Keyword(K::Select | K::Values | K::Table | K::With) => {
                let many = place.many || place.from;
                let inner = Place { many, recursive: place.recursive, depth, ..Place::default() };
                self.query(open + 1, close, inner);
            }
            _ => {
                // In a list of relations, only joins are put into parentheses.
                let joined = open == from || self.precedes_relation(open);
                let inner = Place { from: place.from && joined, depth, ..place.within() };
                self.walk(open + 1, close, Place { value_of: None, ..inner });
            }
        }
        close + 1
    }

    /// Whether what begins at `at`, in a list of relations, is one of them.
    fn precedes_relation(&self, at: usize) -> bool {
        matches!(
            self.tokens.before(at),
            Kind::Comma | Kind::Open | Kind::Keyword(K::From | K::Join | K::Lateral | K::Using | K::Rows)
        )
    }

    fn keyword(&mut self, keyword: K, at: usize, from: usize, to: usize, place: Place) -> usize {
        let next = self.tokens.kind(at + 1);
        match keyword {
            // A label, with `AS` or without.
            _ if at > from && self.tokens.is_label(at) => at + 1,
            K::CurrentDate | K::CurrentTime | K::LocalTime | K::LocalTimestamp
                if at > from && self.tokens.ends_operand(at - 1) =>
            {
                at + 1
            }
            K::CurrentDate => self.now(at, at + 1, "date", from, to, place),
            K::CurrentTime => self.precise(at, "timetz", from, to, place),
            K::LocalTime => self.precise(at, "time", from, to, place),
            K::LocalTimestamp => self.precise(at, "timestamp", from, to, place),
            K::Time | K::Timestamp | K::Character => self.typed(at, at, place).unwrap_or(at + 1),
            _ if next == Kind::String && keyword.is_column_name() => self.typed(at, at, place).unwrap_or(at + 1),
            K::Tablesample => {
                if !place.shown {
                    self.refuse(Reason::Sample, at, at + 2);
                }
                // The name of the method is that of no function.
                self.tokens.path_end(at + 1).unwrap_or(at + 1)
            }
            // A query behind `UNION`, in parentheses that began with another one.
            K::Select | K::Values => {
                self.query(at, to, Place { shown: false, ..place.within() });
                to
            }
            _ if next == Kind::Open && !keyword.is_syntax() && !self.is_clause(keyword) => {
                self.called(Call { from: at, last: at, open: at + 1, builtin: true }, from, to, place)
            }
            _ => at + 1,
        }
    }

    /// Whether a word that could name a function has a meaning of its own in front of parentheses.
    fn is_clause(&self, keyword: K) -> bool {
        matches!(
            keyword,
            K::Over | K::Filter | K::By | K::Partition | K::Rows | K::Sets | K::Cube | K::Rollup | K::Zone
        ) || matches!(keyword, K::Insert | K::Update | K::Set | K::Join | K::Like | K::Ilike | K::Is | K::Materialized)
            || matches!(
                keyword,
                K::Key | K::Escape | K::Overlaps | K::Passing | K::Varying | K::First | K::Next | K::Value
            )
    }

    /// `CURRENT_TIME` and its kin, perhaps with a precision.
    fn precise(&mut self, at: usize, result: &'static str, from: usize, to: usize, place: Place) -> usize {
        let end = if self.tokens.kind(at + 1) == Kind::Open { self.tokens.skip(at + 1) } else { at + 1 };
        self.now(at, end, result, from, to, place)
    }

    fn now(&mut self, at: usize, end: usize, result: &'static str, from: usize, to: usize, place: Place) -> usize {
        let call = Call { from: at, last: at, open: at + 1, builtin: true };
        self.constant(&call, end, Class::Transaction, result, from, to, place);
        end
    }

    /// A name with all its dots, which may be called.
    fn name(&mut self, at: usize, from: usize, to: usize, place: Place) -> usize {
        let mut end = at + 1;
        while self.tokens.kind(end) == Kind::Dot && self.tokens.is_name(end + 1) {
            end += 2;
        }
        let last = end - 1;
        let parts = (end - at).div_ceil(2);
        let before = if at > from { self.tokens.before(at) } else { Kind::Comma };
        let label =
            at > from && (matches!(before, Kind::Keyword(K::As) | Kind::Dot) || self.tokens.ends_operand(at - 1));
        let next = self.tokens.kind(end);
        if next == Kind::Open && self.tokens.is_word(at, "operator") {
            return self.tokens.skip(end);
        }
        if label {
            // An alias, with its columns, or the type of a `CAST`.
            return if next == Kind::Open { self.tokens.skip(end) } else { end };
        }
        if next == Kind::Open {
            let builtin = parts == 1 || parts == 2 && self.tokens.name(at).is("pg_catalog");
            return self.called(Call { from: at, last, open: end, builtin }, from, to, place);
        }
        if next == Kind::String
            && let Some(end) = self.typed(at, last, place)
        {
            return end;
        }
        if parts == 1 && self.tokens.is_word(at, "current_timestamp") {
            return self.now(at, end, "timestamptz", from, to, place);
        }
        if words::is_system_column(self.tokens.name(last)) && !place.shown && !self.is_relation(at, from, place) {
            let by_name = self.tokens.name(last).is("tableoid")
                && self.tokens.kind(end) == Kind::Cast
                && self.tokens.is_word(end + 1, "regclass");
            if !by_name {
                self.refuse(Reason::SystemColumn, at, end);
            }
        }
        end
    }

    /// Whether a name is that of a relation in a list that begins at `from`.
    fn is_relation(&self, at: usize, from: usize, place: Place) -> bool {
        place.from && (at == from || self.precedes_relation(at) || self.tokens.before(at) == Kind::Keyword(K::Only))
    }

    /// A call.
    fn called(&mut self, call: Call, from: usize, to: usize, place: Place) -> usize {
        let close = self.tokens.partner(call.open);
        let name = self.tokens.name(call.last);
        let items = self.tokens.items(call.open + 1, close).len();
        if self.tokens.is_word(call.last, "current_timestamp") && call.from == call.last {
            return self.now(call.from, close + 1, "timestamptz", from, to, place);
        }
        if let Some(known) = words::find(name).filter(|known| call.builtin || known.any_schema) {
            if !self.arguments_are_known(known.arguments, call.open + 1, close) {
                if !place.shown {
                    self.refuse(Reason::Arguments, call.from, close + 1);
                }
            } else if known.class == Class::Statement && place.recursive && !place.shown {
                // It may be what ends the recursion.
                self.refuse(Reason::PerRow, call.from, close + 1);
            } else {
                self.note_sequence(&call, close);
                self.constant(&call, close + 1, known.class, known.result, from, to, place);
            }
            return close + 1;
        }
        if call.builtin && name.is("age") && items == 1 {
            let at = self.tokens.start(call.open + 1);
            self.found.spots.push(Spot { range: at..at, class: Class::Transaction, form: Form::Age });
        }
        if call.builtin && words::is_servers_own(name) && !place.shown {
            self.refuse(Reason::ServersOwn, call.from, close + 1);
        }
        if call.builtin && self.makes_large_object(&call, items) {
            self.refuse(Reason::LargeObject, call.from, close + 1);
        }
        let unknown = !call.builtin || !crate::sql::is_builtin(name) && !is_type_name(name);
        let writes = call.builtin && words::writes(name);
        if call.builtin
            && name.is("setval")
            && let Some((from, to)) = self.tokens.items(call.open + 1, close).first().copied()
            && self.arguments_are_known(Arguments::Constant, from, to)
        {
            let argument = self.tokens.bytes(from, to);
            self.found.moves.push(argument);
        }
        self.found.calls_writer |= writes;
        if unknown {
            let range = self.tokens.bytes(call.from, call.last + 1);
            self.found.notes.push(Note::UnknownFunction(range));
        }
        let text = call.builtin && words::takes_text(name);
        let shown = place.shown && !unknown && !writes;
        let inner = Place { named: true, text, shown, depth: place.depth + 1, ..place.within() };
        if place.depth > SQL_PARENTHESES {
            self.refuse(Reason::NotUnderstood, call.from, close + 1);
        } else {
            self.walk(call.open + 1, close, inner);
        }
        close + 1
    }

    /// Whether a call makes a large object whose number is not given.
    fn makes_large_object(&self, call: &Call, items: usize) -> bool {
        let name = self.tokens.name(call.last);
        let number = self.tokens.kind(call.open + 1) == Kind::Number && self.tokens.spelling(call.open + 1) != b"0";
        let chosen = name.is("lo_import") && items == 2 || !name.is("lo_import") && !name.is("lo_creat") && number;
        words::makes_large_object(name) && !chosen
    }

    fn note_sequence(&mut self, call: &Call, close: usize) {
        let name = self.tokens.name(call.last);
        if name.is("currval") {
            let range = self.tokens.bytes(call.open + 1, close);
            self.found.reads_sequences.push(range);
        } else if name.is("lastval") {
            let range = self.tokens.bytes(call.from, close + 1);
            self.found.reads_sequences.push(range);
        }
    }

    /// Whether arguments are such that the call can be asked for by itself.
    fn arguments_are_known(&self, wanted: Arguments, from: usize, to: usize) -> bool {
        if wanted == Arguments::None {
            return from == to;
        }
        let mut at = from;
        while at < to {
            let next = self.tokens.kind(at + 1);
            at = match self.tokens.kind(at) {
                Kind::Cast => match self.tokens.type_at(at + 1) {
                    Some((_, end)) => end,
                    None => return false,
                },
                Kind::String | Kind::Number | Kind::Comma | Kind::Operator | Kind::Open | Kind::Close => at + 1,
                Kind::Keyword(K::True | K::False | K::Null) => at + 1,
                Kind::Name if next == Kind::String => at + 1,
                Kind::Name if next == Kind::Open && self.tokens.is_word(at, "pg_get_serial_sequence") => at + 1,
                _ => return false,
            };
        }
        true
    }

    /// One value is to stand for what is between the first token of `call` and `end`.
    #[expect(clippy::too_many_arguments, reason = "all of it is where the expression stands")]
    fn constant(
        &mut self,
        call: &Call,
        end: usize,
        class: Class,
        result: &'static str,
        from: usize,
        to: usize,
        place: Place,
    ) {
        let range = self.tokens.bytes(call.from, end);
        if class == Class::Sequence && place.shown {
            // Only the client sees the value, but the sequence goes on.
            self.found.calls_writer = true;
            if place.many {
                let argument = self.tokens.bytes(call.open + 1, end - 1);
                self.found.moves.push(argument);
                return self.found.notes.push(Note::OnlyShown(range));
            }
        }
        if class == Class::Evaluation && place.shown {
            self.found.notes.push(Note::OnlyShown(range));
        } else if class >= Class::Evaluation && place.many {
            self.found.refuse(Reason::PerRow, range);
        } else if place.from && (call.from == from || self.precedes_relation(call.from)) {
            self.found.refuse(Reason::FromList, range);
        } else {
            let label = !place.named && self.gives_name(call.from, end, from, to);
            let label = label.then(|| self.tokens.bytes(call.last, call.last + 1));
            let precise = end > call.open && self.takes_precision(call.last);
            let precision = if precise { self.tokens.bytes(call.open, end) } else { range.end..range.end };
            self.found.spots.push(Spot { range, class, form: Form::Value { result, precision, label } });
        }
    }

    /// Whether what stands in parentheses behind a word is the precision of a time.
    fn takes_precision(&self, at: usize) -> bool {
        let keyword = matches!(self.tokens.kind(at), Kind::Keyword(K::CurrentTime | K::LocalTime | K::LocalTimestamp));
        keyword || self.tokens.is_word(at, "current_timestamp")
    }

    /// Whether an expression, alone or in a cast, is all of what is between `from` and `to`, so that its name is the
    /// name of a column. Rather once too often than not.
    fn gives_name(&self, start: usize, end: usize, from: usize, to: usize) -> bool {
        let begins = start == from || self.tokens.before(start) == Kind::Keyword(K::Else);
        let ends = end >= to
            || matches!(
                self.tokens.kind(end),
                Kind::Cast | Kind::Name | Kind::QuotedName | Kind::Keyword(K::End | K::As | K::Collate)
            );
        begins && ends
    }

    /// A string behind the name of its type, which is from `at` to `last` and may go on. `None` if there is no string.
    fn typed(&mut self, at: usize, last: usize, place: Place) -> Option<usize> {
        let (kind, end) = self.tokens.type_at(at).filter(|(_, end)| *end > last)?;
        if self.tokens.kind(end) != Kind::String {
            return None;
        }
        match kind {
            _ if !self.has_moving_word(end) => {}
            // `text 'now'::date` is a time again.
            TypeKind::Harmless if self.tokens.kind(end + 1) == Kind::Cast && !place.shown => {
                self.refuse(Reason::UnknownType, at, end + 1);
            }
            TypeKind::Harmless => {}
            TypeKind::Temporal => {
                let (range, type_name) = (self.tokens.bytes(at, end + 1), self.tokens.bytes(at, end));
                self.found.spots.push(Spot { range, class: Class::Transaction, form: Form::Typed { type_name } });
            }
            TypeKind::Unknown if place.shown => {}
            TypeKind::Unknown => self.refuse(Reason::UnknownType, at, end + 1),
        }
        Some(end + 1)
    }

    fn has_moving_word(&self, at: usize) -> bool {
        let escapes = !self.tokens.dialect.standard_conforming_strings;
        strings::content(self.tokens.spelling(at), escapes).is_some_and(|content| words::has_moving_word(&content))
    }

    /// A string without a type in front.
    fn string(&mut self, at: usize, from: usize, to: usize, place: Place) -> usize {
        if !self.has_moving_word(at) || self.is_text(at, from, to) {
            return at + 1;
        }
        let (mut start, mut end) = (at, at + 1);
        // `'now'::text::date` is a time again.
        let mut as_text = false;
        loop {
            while self.in_plain_parentheses(start, end) {
                (start, end) = (start - 1, end + 1);
            }
            let inner = (start, end);
            let Some((kind, type_name)) = self.type_around(&mut start, &mut end) else {
                if !as_text {
                    self.untyped(at, from, to, place);
                }
                return at + 1;
            };
            let spot = match kind {
                TypeKind::Harmless => {
                    as_text = true;
                    continue;
                }
                TypeKind::Unknown if place.shown => return at + 1,
                TypeKind::Unknown => {
                    self.refuse(Reason::UnknownType, start, end);
                    return at + 1;
                }
                // A call gives its own name to a column, and a cast that of the type.
                TypeKind::Temporal if as_text && type_name.start > self.tokens.start(at) => {
                    (self.tokens.bytes(start, end), Form::Typed { type_name })
                }
                TypeKind::Temporal => {
                    let asked = self.tokens.bytes(start, end);
                    let (from, to) = if as_text { inner } else { (at, at + 1) };
                    (self.tokens.bytes(from, to), Form::String { asked })
                }
            };
            self.found.spots.push(Spot { range: spot.0, class: Class::Transaction, form: spot.1 });
            return at + 1;
        }
    }

    /// Whether there is nothing but what is from `start` to `end` in the parentheses around it, and they call nothing.
    fn in_plain_parentheses(&self, start: usize, end: usize) -> bool {
        self.tokens.before(start) == Kind::Open
            && self.tokens.kind(end) == Kind::Close
            && !matches!(self.tokens.before(start - 1), Kind::Name | Kind::QuotedName)
    }

    /// The type that an expression is converted to, by `::`, `CAST` or a call, and then stands at.
    fn type_around(&self, start: &mut usize, end: &mut usize) -> Option<(TypeKind, Range<usize>)> {
        let named = |from: usize| {
            let (kind, behind) = self.tokens.type_at(from)?;
            Some((kind, self.tokens.bytes(from, behind), behind))
        };
        let enclosed = self.tokens.before(*start) == Kind::Open && *start >= 2;
        if self.tokens.kind(*end) == Kind::Cast {
            let (kind, type_name, behind) = named(*end + 1)?;
            *end = behind;
            Some((kind, type_name))
        } else if enclosed && self.tokens.is(*end, K::As) && self.tokens.is(*start - 2, K::Cast) {
            let (kind, type_name, behind) = named(*end + 1)?;
            (*start, *end) = (*start - 2, behind + 1);
            Some((kind, type_name))
        } else if enclosed && self.tokens.kind(*end) == Kind::Close && self.tokens.is_name(*start - 2) {
            let kind = words::type_kind(self.tokens.name(*start - 2));
            let type_name = self.tokens.bytes(*start - 2, *start - 1);
            (*start, *end) = (*start - 2, *end + 1);
            (kind == TypeKind::Temporal).then_some((kind, type_name))
        } else {
            None
        }
    }

    /// Whether the operators beside a string take text only.
    fn is_text(&self, at: usize, from: usize, to: usize) -> bool {
        let textual = |at: usize| match self.tokens.kind(at) {
            Kind::Operator => {
                !matches!(self.tokens.spelling(at), b"=" | b"<>" | b"!=" | b"<" | b">" | b"<=" | b">=" | b"+" | b"-")
            }
            Kind::Keyword(K::Like | K::Ilike | K::Escape | K::Collate) => true,
            Kind::Keyword(K::To) => self.tokens.is(at.wrapping_sub(1), K::Similar),
            _ => false,
        };
        // `document['now']`, but not `ARRAY['now']`.
        let subscript = at > from + 1
            && self.tokens.kind(at - 1) == Kind::OpenBracket
            && matches!(self.tokens.kind(at - 2), Kind::Name | Kind::QuotedName | Kind::CloseBracket)
            && self.tokens.kind(at + 1) == Kind::CloseBracket;
        subscript || at > from && textual(at - 1) || at + 1 < to && textual(at + 1)
    }

    /// A string of which only its place could tell whether it means a time.
    fn untyped(&mut self, at: usize, from: usize, to: usize, place: Place) {
        let content = strings::content(self.tokens.spelling(at), !self.tokens.dialect.standard_conforming_strings);
        if place.text || place.shown || !content.is_some_and(|content| words::is_moving_time(&content)) {
            return;
        }
        let whole = place.value_of.filter(|_| at == from && at + 1 == to);
        match whole.or_else(|| self.compared_with(at, from, to, place)) {
            Some((target, column)) => {
                let range = self.tokens.bytes(at, at + 1);
                let form = Form::Untyped { target, column };
                self.found.spots.push(Spot { range, class: Class::Transaction, form });
            }
            None => self.refuse(Reason::UntypedTime, at, at + 1),
        }
    }

    /// The column that the string at `at` is compared with, as in `made < 'today'`, if nothing else is beside either.
    fn compared_with(&self, at: usize, from: usize, to: usize, place: Place) -> Option<(usize, Column)> {
        let target = place.scope?;
        let compares = |at: usize| {
            self.tokens.kind(at) == Kind::Operator
                && matches!(self.tokens.spelling(at), b"=" | b"<>" | b"!=" | b"<" | b">" | b"<=" | b">=")
        };
        let operator = at.checked_sub(1).filter(|operator| *operator > from && compares(*operator))?;
        let ended = |at: usize| at >= to || matches!(self.tokens.kind(at), Kind::Keyword(K::And | K::Or | K::Then));
        let mut name = operator - 1;
        let column = self.tokens.bytes(name, name + 1);
        while name >= from + 2 && self.tokens.before(name) == Kind::Dot && self.tokens.is_name(name - 2) {
            name -= 2;
        }
        let begins = name == from
            || matches!(self.tokens.before(name), Kind::Keyword(K::Where | K::And | K::Or | K::Not | K::When));
        let named = matches!(self.tokens.kind(operator - 1), Kind::Name | Kind::QuotedName);
        (named && begins && ended(at + 1)).then_some((target, Column::Named { start: column.start, end: column.end }))
    }
}

/// Whether `name` is that of a type which a call of the same name converts to.
fn is_type_name(name: crate::sql::name::Name<'_>) -> bool {
    words::type_kind(name) != TypeKind::Unknown
}

//! From what was found, and what is known of the tables: which constants are needed, where they go, and what is locked.

use alloc::vec::Vec;
use core::ops::Range;

use super::rewrite::{Edit, Piece};
use super::table::{Default, Table, TableColumn, Time};
use super::{
    Arguments, Class, Column, Findings, Form, Insertion, LockHint, Note, Overriding, Reason, Refusal, Row, Source,
    Spot, Target, strings,
};
use crate::sql::name::Name;

/// Lets a value be given to a column that is `GENERATED ALWAYS AS IDENTITY`.
const OVERRIDING: &str = "OVERRIDING SYSTEM VALUE ";

/// A value that the main node is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// How long it is good for: one of [`Class::Transaction`] need be asked for once in a transaction, and again when a
    /// setting has changed.
    pub class: Class,
    /// What is evaluated.
    pub expression: Vec<u8>,
    /// The type that it has; empty where its place gives it one.
    pub(super) result: Vec<u8>,
    /// It is a point in time: written in a way that no setting changes.
    pub(super) time: bool,
}

/// What is to be done with a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub(super) constants: Vec<Constant>,
    /// In the order of the text, none within another.
    pub(super) edits: Vec<Edit>,
    locks: Vec<Range<usize>>,
    moves: Vec<Vec<u8>>,
    notes: Vec<Note>,
    /// Parameters that the client's text has.
    pub(super) parameters: u32,
    pub(super) prepares: bool,
    /// It cannot have parameters.
    pub(super) fixed: bool,
    /// Where an `EXECUTE` takes more arguments, and whether it has some.
    pub(super) appends: Option<(usize, bool)>,
    /// It has no list of arguments yet.
    pub(super) opens_list: bool,
}

impl Plan {
    /// The text goes to every node as it is.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The values that are needed, in the order of the question.
    pub fn constants(&self) -> &[Constant] {
        &self.constants
    }

    /// The tables that must be locked before (`insert_lock`): where their names stand in the text. Then each node gives
    /// the same rows the same values of its sequences. A comment in front of the text overrules it.
    pub fn locks(&self) -> &[Range<usize>] {
        &self.locks
    }

    /// Expressions that name sequences which each server moves for itself: they must be locked before, too
    /// ([`super::lock::sequence`]).
    pub fn moves(&self) -> &[Vec<u8>] {
        &self.moves
    }

    /// What could make servers differ.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The question must be asked of every node, so that the sequences of all go on alike; the main node's answer counts.
    pub fn asks_all_nodes(&self) -> bool {
        self.constants.iter().any(|constant| constant.class == Class::Sequence)
    }
}

/// Makes the plan for `text`.
pub(super) fn make<'t>(
    findings: &Findings,
    text: &[u8],
    mut table: impl FnMut(&[u8]) -> Option<&'t Table>,
) -> Result<Plan, Refusal> {
    if let Some(refusal) = &findings.refusal {
        return Err(refusal.clone());
    }
    let wanted: Vec<Range<usize>> = findings.tables().collect();
    if findings.reshapes && (!wanted.is_empty() || !findings.spots.is_empty()) {
        return Err(Refusal { reason: Reason::ManyStatements, range: 0..text.len() });
    }
    let tables: Vec<Option<&Table>> = findings
        .targets
        .iter()
        .map(|target| if wanted.contains(&target.name) { table(&text[target.name.clone()]) } else { None })
        .collect();
    let plan = Plan {
        parameters: findings.parameters,
        notes: findings.notes.clone(),
        moves: findings.moves.iter().map(|range| text[range.clone()].into()).collect(),
        prepares: findings.prepares,
        appends: findings.executes.as_ref().map(|execution| (execution.at, execution.arguments == Arguments::Some)),
        opens_list: findings.executes.as_ref().is_some_and(|execution| execution.arguments == Arguments::None),
        fixed: findings.fixed || findings.executes.is_some(),
        ..Plan::default()
    };
    let mut planner = Planner { plan, text, findings };
    for spot in &findings.spots {
        planner.spot(spot, &tables)?;
    }
    for (target, table) in findings.targets.iter().zip(&tables) {
        if let Some(table) = table {
            planner.target(target, table)?;
        }
    }
    planner.finish()
}

struct Planner<'a> {
    plan: Plan,
    text: &'a [u8],
    findings: &'a Findings,
}

/// What is needed to write a row of an `INSERT`.
struct Shape<'t> {
    table: &'t Table,
    /// The column that each given item is for.
    given: Vec<usize>,
    /// Columns that are not given, and whose defaults the servers would not agree on.
    missing: Vec<usize>,
}

impl Planner<'_> {
    fn refusal(&self, reason: Reason, range: &Range<usize>) -> Refusal {
        Refusal { reason, range: range.clone() }
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.text[range.clone()]
    }

    /// The number of a constant, which is the one of an equal expression if one value does for both.
    fn constant(&mut self, class: Class, expression: Vec<u8>, result: Vec<u8>, time: bool) -> usize {
        let constant = Constant { class, expression, result, time };
        let known = match class {
            Class::Transaction | Class::Statement => self.plan.constants.iter().position(|known| *known == constant),
            Class::Evaluation | Class::Sequence => None,
        };
        known.unwrap_or_else(|| {
            self.plan.constants.push(constant);
            self.plan.constants.len() - 1
        })
    }

    fn edit(&mut self, range: Range<usize>, pieces: Vec<Piece>) {
        self.plan.edits.push(Edit { range, pieces });
    }

    fn spot(&mut self, spot: &Spot, tables: &[Option<&Table>]) -> Result<(), Refusal> {
        let spelled = self.bytes(&spot.range).to_vec();
        let pieces = match &spot.form {
            Form::Value { result, precision, label } => {
                let time = matches!(*result, "timestamptz" | "timestamp" | "date" | "time" | "timetz");
                let mut type_name = alloc::format!("pg_catalog.{result}").into_bytes();
                type_name.extend_from_slice(self.bytes(precision));
                let at = self.constant(spot.class, spelled, type_name, time);
                match label {
                    None => alloc::vec![Piece::Cast(at)],
                    Some(label) => {
                        let end = [&b" AS "[..], self.bytes(label), b")"].concat();
                        alloc::vec![Piece::text("(SELECT "), Piece::Cast(at), Piece::Text(end)]
                    }
                }
            }
            Form::String { asked } => {
                let asked = self.bytes(asked).to_vec();
                let at = self.constant(spot.class, asked, Vec::new(), true);
                alloc::vec![Piece::Bare(at)]
            }
            Form::Typed { type_name } => {
                let end = [&b" AS "[..], self.bytes(type_name), b")"].concat();
                let at = self.constant(spot.class, spelled, Vec::new(), true);
                alloc::vec![Piece::text("CAST("), Piece::Bare(at), Piece::Text(end)]
            }
            Form::Age => {
                let at = self.constant(spot.class, b"CURRENT_DATE".to_vec(), b"pg_catalog.date".to_vec(), true);
                alloc::vec![Piece::Cast(at), Piece::text(", ")]
            }
            Form::Untyped { target, column } => {
                let Some(table) = tables[*target] else { return Ok(()) };
                let Some(column) = self.column(*column, &self.findings.targets[*target], table) else {
                    return Err(self.refusal(Reason::UntypedTime, &spot.range));
                };
                let column = &table.columns()[column];
                match column.time {
                    Time::No => return Ok(()),
                    Time::Unknown => return Err(self.refusal(Reason::UnknownType, &spot.range)),
                    Time::Yes => {}
                }
                let asked = [b"CAST(", &spelled[..], b" AS ", &column.type_name, b")"].concat();
                let at = self.constant(spot.class, asked, Vec::new(), true);
                alloc::vec![Piece::Bare(at)]
            }
        };
        self.edit(spot.range.clone(), pieces);
        Ok(())
    }

    /// The number of a column in its table.
    fn column(&self, column: Column, target: &Target, table: &Table) -> Option<usize> {
        let named = |range: Range<usize>| table.find(Name::new(&self.text[range]));
        match column {
            Column::Named { start, end } => named(start..end),
            Column::Position(at) => match &target.rows.as_ref()?.columns {
                Some((names, _)) => named(names.get(at)?.clone()),
                None => (at < table.columns().len()).then_some(at),
            },
        }
    }

    fn target(&mut self, target: &Target, table: &Table) -> Result<(), Refusal> {
        if table.has_trigger(target.event) {
            return Err(self.refusal(Reason::Trigger, &target.name));
        }
        if table.hides_defaults && !target.assigned.is_empty() {
            return Err(self.refusal(Reason::ViewDefault, &target.name));
        }
        for assigned in &target.assigned {
            let Some(column) = self.column(assigned.column, target, table) else { continue };
            let column = &table.columns()[column];
            let Some(default) = &column.default else { continue };
            // A value could not be assigned to such a column.
            if column.always || assigned.many && default.class >= Class::Evaluation {
                return Err(self.refusal(Reason::DefaultPerRow, &target.name));
            }
            let piece = self.default(default, column);
            self.edit(assigned.word.clone(), alloc::vec![piece]);
        }
        let Some(rows) = &target.rows else { return Ok(()) };
        if table.hides_defaults {
            return Err(self.refusal(Reason::ViewDefault, &target.name));
        }
        if rows.overriding == Some(Overriding::User) && table.columns().iter().any(|column| column.identity) {
            return Err(self.refusal(Reason::Overriding, &target.name));
        }
        match self.shape(rows, table, target)? {
            Some(shape) => self.insertion(rows, &shape, target),
            None => Ok(()),
        }
    }

    /// A constant in the place of a column's default.
    fn default(&mut self, default: &Default, column: &TableColumn) -> Piece {
        let time = column.time == Time::Yes;
        // As if it were assigned: a length or precision that the column has is applied there.
        let asked = [b"CAST(", &default.expression[..], b" AS ", &column.type_name, b")"].concat();
        Piece::Cast(self.constant(default.class, asked, column.type_name.clone(), time))
    }

    /// Which columns are given; `None` if the statement fails on every node, or needs nothing.
    fn shape<'t>(&self, rows: &Insertion, table: &'t Table, target: &Target) -> Result<Option<Shape<'t>>, Refusal> {
        let all = table.columns().len();
        let count = match &rows.source {
            Source::Defaults { .. } => Some(0),
            Source::Rows { rows, .. } => {
                let items = rows.first().map_or(0, |row| row.items);
                if rows.iter().any(|row| row.items != items) {
                    return Ok(None);
                }
                (!rows.iter().any(|row| row.expands)).then_some(items)
            }
            Source::Lists(lists) => lists.first().and_then(|(items, _)| *items),
            Source::Opaque => None,
            Source::Copy => Some(all),
        };
        let given: Vec<usize> = match (&rows.columns, count) {
            (Some((names, _)), _) => {
                let numbers = names.iter().map(|name| table.find(Name::new(self.bytes(name))));
                let Some(numbers) = numbers.collect() else { return Ok(None) };
                numbers
            }
            (None, Some(count)) if count > all => return Ok(None),
            (None, Some(count)) => (0..count).collect(),
            (None, None) => {
                let unclear = |column: &TableColumn| column.default.as_ref().is_some_and(|default| !default.lockable);
                if table.columns().iter().any(unclear) {
                    return Err(self.refusal(Reason::DefaultOfQuery, &target.name));
                }
                Vec::new()
            }
        };
        let missing = (0..all).filter(|at| !given.contains(at) && table.columns()[*at].default.is_some()).collect();
        Ok(Some(Shape { table, given, missing }))
    }

    fn insertion(&mut self, rows: &Insertion, shape: &Shape<'_>, target: &Target) -> Result<(), Refusal> {
        match &rows.source {
            Source::Defaults { words, many } => {
                let added = self.added(shape, *many, target, Reason::DefaultPerRow)?;
                if added.is_empty() {
                    return Ok(());
                }
                let mut pieces = alloc::vec![Piece::text("(")];
                pieces.push(Piece::Text(names(shape.table, &added, false)));
                pieces.push(Piece::text(") "));
                if self.needs_overriding(rows, shape, &added) {
                    pieces.push(Piece::text(OVERRIDING));
                }
                pieces.push(Piece::text("VALUES ("));
                self.append(&mut pieces, shape, &added, false);
                pieces.push(Piece::text(")"));
                self.edit(words.clone(), pieces);
            }
            Source::Rows { rows: values, many } => self.rows(rows, values, *many, shape, target)?,
            Source::Lists(lists) => {
                let added = self.added(shape, true, target, Reason::DefaultPerRow)?;
                if !added.is_empty() {
                    for (_, end) in lists {
                        let mut pieces = Vec::new();
                        self.append(&mut pieces, shape, &added, true);
                        self.edit(*end..*end, pieces);
                    }
                    self.list(rows, shape, &added);
                }
            }
            Source::Opaque => {
                if !self.added(shape, true, target, Reason::DefaultPerRow)?.is_empty() {
                    return Err(self.refusal(Reason::DefaultOfQuery, &target.name));
                }
            }
            Source::Copy => {
                if !self.added(shape, true, target, Reason::DefaultOfCopy)?.is_empty() {
                    return Err(self.refusal(Reason::DefaultOfCopy, &target.name));
                }
            }
        }
        Ok(())
    }

    /// The columns that are to be given a value; the others are left to a lock, or refused.
    fn added(&mut self, shape: &Shape<'_>, many: bool, target: &Target, reason: Reason) -> Result<Vec<usize>, Refusal> {
        let mut added = Vec::new();
        for &at in &shape.missing {
            let Some(default) = &shape.table.columns()[at].default else { continue };
            if !many || default.class <= Class::Statement {
                added.push(at);
            } else if default.lockable {
                self.lock(target);
            } else {
                return Err(self.refusal(reason, &target.name));
            }
        }
        Ok(added)
    }

    fn lock(&mut self, target: &Target) {
        if !self.plan.locks.contains(&target.name) {
            self.plan.locks.push(target.name.clone());
        }
    }

    /// The rows of `VALUES`.
    fn rows(
        &mut self,
        rows: &Insertion,
        values: &[Row],
        many: bool,
        shape: &Shape<'_>,
        target: &Target,
    ) -> Result<(), Refusal> {
        let added = self.added(shape, many, target, Reason::DefaultPerRow)?;
        let mut given_identity = false;
        for row in values {
            for (item, word) in &row.defaults {
                let Some(column) = shape.given.get(*item).map(|at| &shape.table.columns()[*at]) else { continue };
                let Some(default) = &column.default else { continue };
                if many && default.class >= Class::Evaluation {
                    if default.lockable {
                        self.lock(target);
                        continue;
                    }
                    return Err(self.refusal(Reason::DefaultPerRow, &target.name));
                }
                given_identity |= column.always;
                let piece = self.default(default, column);
                self.edit(word.clone(), alloc::vec![piece]);
            }
            if !added.is_empty() {
                let mut pieces = Vec::new();
                self.append(&mut pieces, shape, &added, row.items > 0);
                self.edit(row.close..row.close, pieces);
            }
        }
        if !added.is_empty() {
            self.list(rows, shape, &added);
        }
        if given_identity && rows.overriding.is_none() && !self.needs_overriding(rows, shape, &added) {
            let before = rows.before_source;
            self.edit(before..before, alloc::vec![Piece::text(OVERRIDING)]);
        }
        Ok(())
    }

    /// Names the added columns.
    fn list(&mut self, rows: &Insertion, shape: &Shape<'_>, added: &[usize]) {
        match &rows.columns {
            Some((_, close)) => {
                let pieces = alloc::vec![Piece::Text(names(shape.table, added, true))];
                self.edit(*close..*close, pieces);
            }
            None => {
                let all: Vec<usize> = shape.given.iter().chain(added).copied().collect();
                let list = [b" (", &names(shape.table, &all, false)[..], b")"].concat();
                self.edit(rows.behind_name..rows.behind_name, alloc::vec![Piece::Text(list)]);
            }
        }
        if self.needs_overriding(rows, shape, added) {
            let before = rows.before_source;
            self.edit(before..before, alloc::vec![Piece::text(OVERRIDING)]);
        }
    }

    /// Whether one of the added columns takes no value without these words.
    fn needs_overriding(&self, rows: &Insertion, shape: &Shape<'_>, added: &[usize]) -> bool {
        rows.overriding.is_none() && added.iter().any(|at| shape.table.columns()[*at].always)
    }

    fn append(&mut self, pieces: &mut Vec<Piece>, shape: &Shape<'_>, added: &[usize], mut comma: bool) {
        for &at in added {
            let column = &shape.table.columns()[at];
            let Some(default) = &column.default else { continue };
            if comma {
                pieces.push(Piece::text(", "));
            }
            comma = true;
            let piece = self.default(default, column);
            pieces.push(piece);
        }
    }

    fn finish(mut self) -> Result<Plan, Refusal> {
        self.plan.edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        if let Some(pair) = self.plan.edits.windows(2).find(|pair| pair[0].range.end > pair[1].range.start) {
            debug_assert!(false, "edits overlap: {pair:?}");
            return Err(self.refusal(Reason::NotUnderstood, &pair[1].range));
        }
        match self.findings.hint {
            Some(LockHint::NoLock) => self.plan.locks.clear(),
            Some(LockHint::Lock) => {
                for target in self.findings.targets.iter().filter(|target| target.rows.is_some()) {
                    self.lock(target);
                }
            }
            None => {}
        }
        self.check_sequences()?;
        Ok(self.plan)
    }

    /// `currval` and `lastval` mean what was before the statement only if that takes nothing from the same sequence.
    fn check_sequences(&self) -> Result<(), Refusal> {
        let takes = |constant: &&Constant| constant.class == Class::Sequence;
        if !self.plan.constants.iter().any(|constant| takes(&constant)) && self.plan.locks.is_empty() {
            return Ok(());
        }
        for range in &self.findings.reads_sequences {
            let name =
                strings::identifiers(self.bytes(range)).filter(|word| !word.eq_ignore_ascii_case(b"regclass")).last();
            let same = |constant: &Constant| {
                let mut words = strings::identifiers(&constant.expression);
                words.any(|word| Some(word) == name)
            };
            let clear = !self.bytes(range).ends_with(b")")
                && self.plan.locks.is_empty()
                && !self.plan.constants.iter().filter(takes).any(same);
            if !clear {
                return Err(self.refusal(Reason::ReadsSequence, range));
            }
        }
        Ok(())
    }
}

/// The names of columns as a list; `comma` to go on behind others.
fn names(table: &Table, columns: &[usize], comma: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        if comma || at > 0 {
            out.extend_from_slice(b", ");
        }
        out.push(b'"');
        for &byte in &table.columns()[*column].name {
            if byte == b'"' {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out
}

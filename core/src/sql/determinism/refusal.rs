//! Why a statement is not run, and what to write instead.

use alloc::format;
use alloc::string::String;
use core::ops::Range;

use crate::fault::{Culprit, Fault};

/// How much of the expression a message quotes, in bytes.
const QUOTED: usize = 60;

/// A statement that would leave other data on each server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What is to blame, in bytes of the text.
    pub range: Range<usize>,
}

/// Why no constant can make a statement alike on all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The expression has another value for each row.
    PerRow,
    /// The arguments are no constants.
    Arguments,
    /// Each server answers for itself.
    ServersOwn,
    /// `ctid`, `xmin` and their kin.
    SystemColumn,
    /// `TABLESAMPLE`.
    Sample,
    /// `SKIP LOCKED`.
    SkipLocked,
    /// A string that may mean the present time, if its place has such a type.
    UntypedTime,
    /// A string that may mean the present time, of a type that is not known.
    UnknownType,
    /// A function in the place of a table.
    FromList,
    /// Existing rows get a new value.
    AlterTable,
    /// A materialized view keeps its query.
    MaterializedView,
    /// A `DO` block.
    DoBlock,
    /// The server chooses the number of a large object.
    LargeObject,
    /// A column's default, for more rows than are known.
    DefaultPerRow,
    /// A column's default, in a query to which no column can be added.
    DefaultOfQuery,
    /// A column's default, for rows that come by `COPY`.
    DefaultOfCopy,
    /// A column's default, with `OVERRIDING USER VALUE`.
    Overriding,
    /// A view hides the defaults of its tables.
    ViewDefault,
    /// A trigger of the table calls what each server evaluates for itself.
    Trigger,
    /// What a sequence has just given is read while it gives something else.
    ReadsSequence,
    /// The text holds several statements that depend on each other.
    ManyStatements,
    /// It needs more parameters than the protocol has.
    Parameters,
    /// A value cannot be written into the text.
    Value,
    /// The text is not understood.
    NotUnderstood,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Reason::PerRow => "has another value for each row on each server",
            Reason::Arguments => "has arguments that are not constants, and another value on each server",
            Reason::ServersOwn => "has another value on each server",
            Reason::SystemColumn => "is a system column, which has another value on each server",
            Reason::Sample => "reads other rows on each server",
            Reason::SkipLocked => "reads other rows on each server",
            Reason::UntypedTime => "may mean the present time, which is another one on each server",
            Reason::UnknownType => "may mean the present time, which is another one on each server",
            Reason::FromList => "is used as a table, and has another value on each server",
            Reason::AlterTable => "would change existing rows, with another value on each server",
            Reason::MaterializedView => "would be evaluated by each server for itself",
            Reason::DoBlock => "would be evaluated by each server for itself",
            Reason::LargeObject => "would make a large object of another number on each server",
            Reason::DefaultPerRow => "has a column whose default has another value for each row on each server",
            Reason::DefaultOfQuery => "has a column whose default has another value on each server",
            Reason::DefaultOfCopy => "has a column whose default has another value on each server",
            Reason::Overriding => "has a column whose default has another value on each server",
            Reason::ViewDefault => "is a view of tables whose defaults have another value on each server",
            Reason::Trigger => "has a trigger that calls what has another value on each server",
            Reason::ReadsSequence => "reads a sequence from which the same statement takes values",
            Reason::ManyStatements => "depends on other statements of the same text",
            Reason::Parameters => "needs more parameters than there can be",
            Reason::Value => "has a value that cannot be written as a constant",
            Reason::NotUnderstood => "is not understood, and might leave other data on each server",
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Reason::PerRow => "Evaluate it once, in WITH or VALUES, or give each row its value.",
            Reason::Arguments => "Write constants as its arguments, or ask for the value first.",
            Reason::ServersOwn => "Ask for the value first, and write it as a constant.",
            Reason::SystemColumn => "Name rows by the values of their own columns.",
            Reason::Sample => "Choose rows by the values of their own columns.",
            Reason::SkipLocked => "Choose the rows first, and name them by their key.",
            Reason::UntypedTime => "Write its type: 'now'::timestamptz, or 'now'::text.",
            Reason::UnknownType => "Write it as a timestamp, or ask for the value first.",
            Reason::FromList => "Write it in the select list.",
            Reason::AlterTable => "Add the column first, then SET DEFAULT, then UPDATE the rows.",
            Reason::MaterializedView => "Make a table of it, or let a view compute it.",
            Reason::DoBlock => "Send its statements by themselves.",
            Reason::LargeObject => "Choose the number: lo_create(16500).",
            Reason::DefaultPerRow => "Give the column a value, or insert with VALUES.",
            Reason::DefaultOfQuery => "Name the columns of the INSERT, this one too, and select a value for it.",
            Reason::DefaultOfCopy => "Send a value for the column, or insert with VALUES.",
            Reason::Overriding => "Insert without OVERRIDING USER VALUE.",
            Reason::ViewDefault => "Write to the table itself.",
            Reason::Trigger => "Set the value in the statement, in place of the trigger.",
            Reason::ReadsSequence => "Ask for the value first, and write it as a constant.",
            Reason::ManyStatements => "Send the statements one by one.",
            Reason::Parameters => "Write fewer rows at a time.",
            Reason::Value => "Give the column a value.",
            Reason::NotUnderstood => "Write it in another way.",
        }
    }
}

impl Refusal {
    /// What the client of `text` is told.
    pub fn fault(&self, text: &[u8]) -> Fault {
        let blamed = text.get(self.range.clone()).unwrap_or_default();
        let cut = &blamed[..blamed.len().min(QUOTED)];
        let mut quoted = String::from_utf8_lossy(cut).into_owned();
        if cut.len() < blamed.len() {
            quoted.push_str("...");
        }
        let message = format!("\"{quoted}\" {}", self.reason.as_str());
        Fault::new(Culprit::Client, b"0A000", message).hint(self.reason.hint())
    }
}

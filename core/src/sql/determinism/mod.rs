//! What several servers that run the same text would not agree on, and how to make them agree: native replication.
//!
//! A write goes to every backend as the same text. Whatever two servers evaluate differently (`now()`, `random()`, a
//! sequence, a column's default) is asked of the main node once, and put into the text as a constant. **What cannot be
//! replaced exactly is refused, never let through.** The order of use:
//!
//! 1. [`inspect`] reads a text that is going to more than one node, and finds where it is so.
//! 2. [`Findings::tables`] are the relations whose columns must be known: [`table::question`] asks for them.
//! 3. [`Findings::plan`] makes a [`Plan`] of both, or a [`Refusal`].
//! 4. [`Plan::question`] asks the main node for the [`Constants`], in the session and transaction of the statement.
//! 5. [`Plan::rewrite`] is the text with the constants in it. Where the text is prepared first, [`Plan::parametrize`] is
//!    the text with parameters in their place, and [`extended`] has what goes into each Bind and `EXECUTE`.
//!
//! It sees names, never the catalogue: what user-defined functions, triggers, rules and domains call is not known here.
//! Functions that are no built-in ones are noted ([`Note::UnknownFunction`]) for who can look them up.
//!
//! Where to read: `words` lists what matters; `tokens`, `parse`, `write` and `walk` find it; `plan` decides; `rewrite`
//! writes.

pub mod extended;
pub mod lock;
mod parse;
mod plan;
mod refusal;
mod rewrite;
mod strings;
pub mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod walk;
pub(super) mod words;
mod write;

pub use plan::{Constant, Plan};
pub use refusal::{Reason, Refusal};
pub use rewrite::Constants;

use alloc::vec::Vec;
use core::ops::Range;

use super::Dialect;
use super::cursor::Cursor;
use super::keyword::Keyword as K;
use super::lexer::Kind;
use super::uses::Uses;

/// How far one value may stand for an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It has one value throughout the transaction: `now()`, `pg_backend_pid()`.
    Transaction,
    /// It has one value throughout the statement, or may well have: `statement_timestamp()`, `clock_timestamp()`.
    Statement,
    /// It has another value at each evaluation: `random()`.
    Evaluation,
    /// It has another value at each evaluation, and that changes the server: `nextval`.
    Sequence,
}

/// A comment in front of a statement that overrules `insert_lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHint {
    /// `/*INSERT LOCK*/`.
    Lock,
    /// `/*NO INSERT LOCK*/`.
    NoLock,
}

/// What does not have to, but could, make servers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A function of nobody knows what is called: where its name stands.
    UnknownFunction(Range<usize>),
    /// `LIMIT` without `ORDER BY`: which rows are meant is up to each server.
    RowOrder(Range<usize>),
    /// Its value is each server's own, but only the client sees it.
    OnlyShown(Range<usize>),
}

/// What [`inspect`] found in a text. Positions are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    spots: Vec<Spot>,
    targets: Vec<Target>,
    /// What the session may want to know.
    pub notes: Vec<Note>,
    /// What stands in front of the text.
    pub hint: Option<LockHint>,
    refusal: Option<Refusal>,
    /// The highest number of a parameter, as in `$3`.
    parameters: u32,
    statements: usize,
    /// A statement in the text changes how others in it are understood.
    reshapes: bool,
    prepares: bool,
    /// It is of a kind that takes no parameters.
    fixed: bool,
    executes: Option<Execution>,
    /// A built-in function is called that writes.
    calls_writer: bool,
    /// Arguments of `currval`, or the whole of `lastval()`.
    reads_sequences: Vec<Range<usize>>,
    /// Arguments that name sequences which each server moves for itself: of `nextval` for rows that only the client sees, and
    /// of `setval`.
    moves: Vec<Range<usize>>,
}

/// One expression that is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Where it stands.
    pub range: Range<usize>,
    /// How far one value may stand for it.
    pub class: Class,
    form: Form,
}

/// What a constant looks like in the place of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// A call or a key word. `label` is the name that it gives to its column, where that matters.
    Value { result: &'static str, precision: Range<usize>, label: Option<Range<usize>> },
    /// A string whose type follows, or stands around it: all of `asked` is evaluated.
    String { asked: Range<usize> },
    /// A string behind the name of its type.
    Typed { type_name: Range<usize> },
    /// The argument list of `age`, which is to begin with the current date.
    Age,
    /// A string that may be a point in time, if the column that it is for has such a type.
    Untyped { target: usize, column: Column },
}

/// A column of a relation that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    /// By its number in the list of columns, or in the relation.
    Position(usize),
    /// By its name, which stands there in the text.
    Named { start: usize, end: usize },
}

/// A relation that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// Its name with its schema, as it is written.
    name: Range<usize>,
    event: table::Event,
    /// Columns that are set to `DEFAULT`.
    assigned: Vec<Assigned>,
    rows: Option<Insertion>,
}

/// `column = DEFAULT`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assigned {
    column: Column,
    /// The word `DEFAULT`.
    word: Range<usize>,
    /// It may be evaluated for more than one row.
    many: bool,
}

/// New rows of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Insertion {
    /// The list of columns, and where its closing parenthesis stands.
    columns: Option<(Vec<Range<usize>>, usize)>,
    /// Behind the relation's name and alias.
    behind_name: usize,
    /// In front of `VALUES` or the query.
    before_source: usize,
    overriding: Option<Overriding>,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overriding {
    System,
    User,
}

/// Where new rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// `DEFAULT VALUES`; `many` as in [`Assigned`].
    Defaults { words: Range<usize>, many: bool },
    /// The rows of `VALUES`.
    Rows { rows: Vec<Row>, many: bool },
    /// The select lists of a query, each with the number of its items if that is known, and where it ends.
    Lists(Vec<(Option<usize>, usize)>),
    /// A query that cannot be extended.
    Opaque,
    /// `COPY`.
    Copy,
}

/// One row of `VALUES`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    items: usize,
    /// One of the items is a row that stands for several.
    expands: bool,
    /// Which of them are the word `DEFAULT`, and where.
    defaults: Vec<(usize, Range<usize>)>,
    /// The closing parenthesis.
    close: usize,
}

/// `EXECUTE`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Execution {
    name: Range<usize>,
    /// Where more arguments go.
    at: usize,
    arguments: Arguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    /// There is no list.
    None,
    /// There is an empty one.
    Empty,
    Some,
}

/// Reads a text that is going to more than one node.
///
/// What holds nothing special, and inserts nothing, takes one pass of the lexer and no memory.
pub fn inspect(text: &[u8], dialect: Dialect) -> Findings {
    if is_plain(text, dialect) {
        return Findings::default();
    }
    parse::read(text, dialect)
}

impl Findings {
    /// Nothing is to be done or looked up.
    pub fn is_empty(&self) -> bool {
        let quiet = self.spots.is_empty() && self.refusal.is_none() && self.executes.is_none();
        quiet && self.moves.is_empty() && self.tables().next().is_none()
    }

    /// The expressions that each server would evaluate to a value of its own.
    pub fn spots(&self) -> &[Spot] {
        &self.spots
    }

    /// The names of relations whose columns must be known to make a plan: where they stand, with their schemas.
    pub fn tables(&self) -> impl Iterator<Item = Range<usize>> {
        self.targets
            .iter()
            .enumerate()
            .filter(|(at, target)| {
                let untyped = |spot: &Spot| matches!(spot.form, Form::Untyped { target, .. } if target == *at);
                target.rows.is_some() || !target.assigned.is_empty() || self.spots.iter().any(untyped)
            })
            .map(|(_, target)| target.name.clone())
    }

    /// Why nothing but refusing is possible, whatever the tables are.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// The text is not understood: whether it is one that PostgreSQL understands is to be found out.
    pub fn is_unclear(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.reason == Reason::NotUnderstood)
    }

    /// It is a `PREPARE`, for [`Plan::parametrize`].
    pub fn prepares(&self) -> bool {
        self.prepares
    }

    /// The prepared statement that an `EXECUTE` runs, as it is written: [`Plan::running`] adds its constants.
    pub fn executes(&self) -> Option<Range<usize>> {
        self.executes.as_ref().map(|execution| execution.name.clone())
    }

    /// Makes a plan. `table` gives what is known of the relation called so, or `None` if the main node has none: then the
    /// statement fails on every node.
    pub fn plan<'t>(&self, text: &[u8], table: impl FnMut(&[u8]) -> Option<&'t table::Table>) -> Result<Plan, Refusal> {
        plan::make(self, text, table)
    }

    fn refuse(&mut self, reason: Reason, range: Range<usize>) {
        self.refusal.get_or_insert(Refusal { reason, range });
    }
}

/// Whether a text needs no second look.
fn is_plain(text: &[u8], dialect: Dialect) -> bool {
    let mut cursor = Cursor::new(text, dialect, Uses::default());
    loop {
        let (kind, spelling) = (cursor.kind(), cursor.spelling());
        let name = cursor.name();
        cursor.bump();
        let suspicious = match kind {
            Kind::End => return true,
            Kind::Bad | Kind::UnicodeName => true,
            Kind::Keyword(K::Version) => cursor.kind() == Kind::Open,
            Kind::Keyword(keyword) => is_special(keyword),
            Kind::String => is_moving(spelling, dialect),
            Kind::Name | Kind::QuotedName => name.is_some_and(|name| {
                if name.is("current_timestamp") {
                    true
                } else if cursor.kind() == Kind::Open {
                    words::matters(name) || !super::is_builtin(name)
                } else {
                    words::is_system_column(name) || name.is("locked")
                }
            }),
            _ => false,
        };
        if suspicious {
            return false;
        }
    }
}

/// A word with which something may begin that matters.
fn is_special(keyword: K) -> bool {
    matches!(
        keyword,
        K::Insert | K::Merge | K::Copy | K::Default | K::Prepare | K::Execute | K::Do | K::Limit | K::Fetch
    ) || matches!(keyword, K::CurrentDate | K::CurrentTime | K::LocalTime | K::LocalTimestamp | K::Tablesample)
}

/// Whether a string may be a point in time that moves.
pub(super) fn is_moving(spelling: &[u8], dialect: Dialect) -> bool {
    strings::content(spelling, !dialect.standard_conforming_strings)
        .is_some_and(|content| words::has_moving_word(&content))
}

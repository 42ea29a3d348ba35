//! The names by which a text uses functions and relations, for those who can look them up in the catalogue.
//!
//! The classifier notes a name wherever PostgreSQL could take it for one, rather once too often than not: a name that is
//! looked up for nothing costs a look-up, one that is not looked up may hide a write.

use super::Name;
use super::lexer::Token;
use alloc::vec::Vec;

/// More names than this in one text are not kept: it counts as one whose names are not known.
const MOST: usize = 512;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseKind {
    /// It is called.
    Function,
    /// It is read: a table, a view, or the name of a `WITH` query.
    Relation,
    /// A part of a relation: a column, or a function in the notation `row.function`.
    Member,
    /// It is written: by `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`, `COPY` or `INTO`.
    Written,
    /// A part of the value of an expression: a field, or a function, whatever the value's type (`(5).function`).
    Field,
    /// A `WITH` query is given this name.
    With,
}

/// One name in the text.
#[derive(Debug, Clone, Copy)]
struct Use {
    kind: UseKind,
    /// Where the schema stands; empty without one.
    schema: (u32, u32),
    name: (u32, u32),
}

/// The names a text uses. Kept by its owner from text to text, so that a warm one allocates nothing.
#[derive(Debug, Default)]
pub struct Uses {
    list: Vec<Use>,
    wanted: bool,
    unclear: bool,
}

impl Uses {
    /// An empty list that is to be filled. The default one is not.
    pub const fn new() -> Self {
        Uses { list: Vec::new(), wanted: true, unclear: false }
    }

    /// Some name is missing: there were too many, or one could not be cut into its parts.
    pub const fn is_unclear(&self) -> bool {
        self.unclear
    }

    /// Each name in the text that they were found in, with its schema, in the order of the text.
    pub fn iter<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = (UseKind, Option<Name<'t>>, Name<'t>)> {
        let part = |(start, end): (u32, u32)| Name::new(&text[start as usize..end as usize]);
        self.list.iter().map(move |used| {
            let schema = (used.schema.0 < used.schema.1).then(|| part(used.schema));
            (used.kind, schema, part(used.name))
        })
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.unclear = false;
    }

    /// Some name cannot be told.
    pub(super) const fn blur(&mut self) {
        self.unclear = true;
    }

    #[inline]
    pub(super) fn note(&mut self, kind: UseKind, schema: Option<Token>, name: Token) {
        if self.wanted {
            self.keep(kind, schema, name);
        }
    }

    fn keep(&mut self, kind: UseKind, schema: Option<Token>, name: Token) {
        if self.list.len() >= MOST {
            return self.blur();
        }
        let schema = schema.map_or((0, 0), |schema| (schema.start, schema.end));
        self.list.push(Use { kind, schema, name: (name.start, name.end) });
    }
}

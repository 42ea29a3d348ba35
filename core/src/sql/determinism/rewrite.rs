//! The question for the constants, and the text with them.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use super::plan::{Constant, Plan};
use super::{Reason, Refusal, strings};
use crate::sql::Dialect;

/// Bytes of a text that are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub range: Range<usize>,
    pub pieces: Vec<Piece>,
}

/// What is written in their place; constants by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Vec<u8>),
    /// With its type.
    Cast(usize),
    /// As a string whose place gives it a type.
    Bare(usize),
}

impl Piece {
    pub(super) fn text(text: &str) -> Self {
        Piece::Text(text.as_bytes().into())
    }
}

/// The answer to a question: each row has one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constants(Vec<Option<Box<[u8]>>>);

impl Constants {
    /// None yet.
    pub const fn new() -> Self {
        Constants(Vec::new())
    }

    /// Takes in the next row's only value.
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.0.push(value.map(Box::from));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values in their order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.0.iter().map(Option::as_deref)
    }
}

impl Constant {
    /// Writes a query for it as text.
    fn ask(&self, out: &mut Vec<u8>) {
        // JSON writes points in time alike under every DateStyle, and so that every DateStyle reads them.
        let (open, close): (&[u8], &[u8]) = if self.time {
            (b"(pg_catalog.to_json(", b") OPERATOR(pg_catalog.#>>) '{}')")
        } else {
            (b"((", b")::pg_catalog.text)")
        };
        out.extend_from_slice(open);
        out.extend_from_slice(&self.expression);
        out.extend_from_slice(close);
    }
}

impl Plan {
    /// The query whose rows are the constants, each with one text, in their order; `None` if none are needed. It belongs
    /// into the session and the transaction of the statement, in front of it.
    pub fn question(&self) -> Option<Vec<u8>> {
        ask(&self.constants)
    }

    /// `text` with the constants in it, for the simple protocol. `Err` if a value cannot be written, or one is missing.
    pub fn rewrite<'t>(
        &self,
        text: &'t [u8],
        constants: &Constants,
        dialect: Dialect,
    ) -> Result<Cow<'t, [u8]>, Refusal> {
        if self.edits.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let unwritable = Refusal { reason: Reason::Value, range: 0..text.len() };
        if constants.len() != self.constants.len() {
            return Err(unwritable);
        }
        let trusted = |value: &[u8]| dialect.ascii_safe_encoding || value.is_ascii();
        if !constants.iter().flatten().all(trusted) {
            return Err(unwritable);
        }
        Ok(Cow::Owned(self.apply(text, |at, out| literal(constants.0[at].as_deref(), out))))
    }

    /// `text` with parameters in the place of the constants, for Parse or `PREPARE`; the first has the number
    /// `declared + 1`, or one more than the highest in the text. `declared` is how many types the Parse message gives.
    pub fn parametrize<'t>(&self, text: &'t [u8], declared: usize) -> Result<Parametrized<'t>, Refusal> {
        let refusal = Refusal { reason: Reason::Parameters, range: 0..text.len() };
        let given = declared.max(self.parameters as usize);
        let total = given + self.constants.len();
        if self.fixed && !self.constants.is_empty() || total > MOST_PARAMETERS {
            return Err(refusal);
        }
        let text = if self.edits.is_empty() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(self.apply(text, |at, out| out.extend_from_slice(format!("${}", given + at + 1).as_bytes())))
        };
        Ok(Parametrized { text, given: given as u16, added: self.constants.len() as u16 })
    }

    fn apply(&self, text: &[u8], constant: impl Fn(usize, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 64 * self.edits.len());
        let mut at = 0;
        for edit in &self.edits {
            out.extend_from_slice(&text[at..edit.range.start]);
            at = edit.range.end;
            for piece in &edit.pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Bare(at) => constant(*at, &mut out),
                    Piece::Cast(at) => {
                        out.extend_from_slice(b"CAST(");
                        constant(*at, &mut out);
                        out.extend_from_slice(b" AS ");
                        out.extend_from_slice(&self.constants[*at].result);
                        out.push(b')');
                    }
                }
            }
        }
        out.extend_from_slice(&text[at..]);
        out
    }
}

/// A text with parameters in the place of constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parametrized<'t> {
    /// The text.
    pub text: Cow<'t, [u8]>,
    /// How many parameters the client gives: the first ones.
    pub given: u16,
    /// How many come behind them.
    pub added: u16,
}

/// Most parameters that Bind can count.
const MOST_PARAMETERS: usize = 65_535;

/// The query for `constants`.
pub(super) fn ask(constants: &[Constant]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (at, constant) in constants.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"VALUES (" } else { b", (" });
        constant.ask(&mut out);
        out.push(b')');
    }
    (!constants.is_empty()).then_some(out)
}

/// A value as a constant.
pub(super) fn literal(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => strings::quote(value, out),
        None => out.extend_from_slice(b"NULL"),
    }
}

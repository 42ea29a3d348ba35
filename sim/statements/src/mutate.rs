//! Cuts and patches texts at random: most of what comes out is no SQL any more, and some is SQL that nobody wrote.

use super::{Statement, Token};
use pgconvoy_core::rng::Rng;

/// What is put in.
const PATCHES: &[&str] = &[
    "(",
    ")",
    ",",
    ";",
    ".",
    "::",
    "[",
    "]",
    "=",
    "-",
    "*",
    "=>",
    ":=",
    ":",
    "$1",
    "1",
    "'s'",
    "E'\\''",
    "$$ $$",
    "\"q\"",
    "select",
    "from",
    "where",
    "into",
    "temp",
    "for",
    "update",
    "share",
    "no",
    "key",
    "of",
    "with",
    "recursive",
    "as",
    "materialized",
    "not",
    "insert",
    "delete",
    "merge",
    "values",
    "table",
    "union",
    "all",
    "except",
    "lateral",
    "only",
    "over",
    "filter",
    "within",
    "group",
    "by",
    "cube",
    "rollup",
    "sets",
    "grouping",
    "order",
    "partition",
    "time",
    "zone",
    "character",
    "varying",
    "fetch",
    "first",
    "next",
    "rows",
    "join",
    "left",
    "natural",
    "cross",
    "using",
    "on",
    "ilike",
    "like",
    "escape",
    "passing",
    "is",
    "distinct",
    "null",
    "and",
    "or",
    "in",
    "between",
    "symmetric",
    "any",
    "exists",
    "case",
    "when",
    "then",
    "else",
    "end",
    "cast",
    "row",
    "array",
    "ticks",
    "nextval",
    "lower",
    "pg_class",
    "tablesample",
    "bernoulli",
    "ordinality",
    "collate",
    "explain",
    "analyze",
    "verbose",
    "isnull",
    "notnull",
    "operator",
    "variadic",
    "default",
    "limit",
    "offset",
    "window",
    "having",
    "returning",
    "item",
    "account",
    "ticket",
];

/// Changes a few tokens. `COPY` is left alone: from a client, it would take the next statements for data.
pub(crate) fn mutate(statement: &mut Statement, rng: &mut Rng) {
    if statement.tokens.iter().any(|token| token.text.eq_ignore_ascii_case("copy")) {
        return;
    }
    for _ in 0..=rng.below(3) {
        let tokens = &mut statement.tokens;
        if tokens.is_empty() {
            return;
        }
        let at = rng.below(tokens.len() as u64) as usize;
        let other = rng.below(tokens.len() as u64) as usize;
        match rng.below(6) {
            0 => drop(tokens.remove(at)),
            1 => tokens.swap(at, other),
            2 => {
                let copy = tokens[other].clone();
                tokens.insert(at, copy);
            }
            3 => {
                let (from, to) = (at.min(other), at.max(other).min(at.min(other) + 8));
                let copy: Vec<Token> = tokens[from..to].to_vec();
                tokens.splice(to..to, copy);
            }
            _ => {
                let patch = PATCHES[rng.below(PATCHES.len() as u64) as usize];
                let token = Token { gap: " ".into(), text: patch.into(), escapes: false };
                if rng.chance(1, 2) {
                    tokens.insert(at, token);
                } else {
                    tokens[at] = token;
                }
            }
        }
    }
}

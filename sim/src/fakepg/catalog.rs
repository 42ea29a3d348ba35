//! The model server's system catalogue: enough to answer what a proxy asks of it (`pgconvoy_core::catalog`).
//!
//! It has what the tiny SQL knows, and some of what generated statements name, though the server refuses to run those.

use bytes::Bytes;
use pgconvoy_statements::{HARMLESS, PLAIN_TABLES};

/// How a question about the catalogue begins.
const QUESTION: &[u8] = b"SELECT pg_catalog.string_agg(line, pg_catalog.chr(30)) FROM (";
/// How the question about the session's search path begins.
const PATH: &[u8] = b"SELECT pg_catalog.string_agg(pg_catalog.concat_ws(pg_catalog.chr(31), 'p',";
/// How the question about the columns of relations begins (`pgconvoy_core::sql::determinism::table`).
const COLUMNS: &[u8] = b"WITH RECURSIVE q(at, oid) AS (VALUES ";
/// Functions of the tiny SQL, some of the schema of generated statements, and whether they are volatile.
const FUNCTIONS: [(&str, bool); 13] = [
    ("generate_series", false),
    ("pg_sleep", true),
    ("pg_advisory_lock", true),
    ("pg_advisory_unlock", true),
    ("pg_advisory_unlock_all", true),
    ("pg_is_in_recovery", true),
    ("raise", true),
    ("fickle", false),
    ("steady", false),
    ("constant", false),
    ("sum_up", false),
    ("ticks", true),
    ("writes", true),
];
/// Views of that schema, and what they read.
const VIEWS: [(&str, &str); 4] = [
    ("good", " SELECT item.id, item.label, public.steady(item.id) AS n FROM public.item;"),
    ("good_nested", " SELECT good.id, good.label, good.n FROM public.good;"),
    ("bad", " SELECT item.id, item.label, public.ticks(item.id) AS n FROM public.item;"),
    ("bad_nested", " SELECT bad.id, bad.label, bad.n FROM public.bad;"),
];

/// True when `statement` asks about the catalogue.
pub fn is_question(statement: &[u8]) -> bool {
    let statement = statement.trim_ascii_start();
    statement.starts_with(QUESTION) || statement.starts_with(PATH)
}

/// True when `statement` asks for the columns of relations.
pub fn asks_columns(statement: &[u8]) -> bool {
    statement.starts_with(COLUMNS)
}

/// True when a query string ends in such a statement.
pub fn asks(text: &[u8]) -> bool {
    is_question(text) || text.windows(QUESTION.len()).any(|window| window == QUESTION)
}

/// The value that answers it, in a session with these temporary tables.
pub fn answer(statement: &[u8], temporary: &[Vec<u8>]) -> Bytes {
    let text = String::from_utf8_lossy(statement);
    let mut lines = Vec::new();
    if statement.trim_ascii_start().starts_with(PATH) {
        return "p\u{1f}pg_catalog\u{1e}p\u{1f}public".into();
    }
    if text.contains("'w', (") {
        lines.push("w|false".to_owned());
    }
    if text.contains("'t', own.name") {
        lines.extend(temporary.iter().map(|name| format!("t|{}", String::from_utf8_lossy(name))));
    }
    for (at, name) in names(&text, "'f', q.at").iter().enumerate() {
        let volatile = FUNCTIONS.iter().find(|(known, _)| known == name).map(|(_, volatile)| *volatile);
        if let Some(volatile) = volatile.or(HARMLESS.contains(&name.as_str()).then_some(false)) {
            lines.push(format!("f|{at}|pg_catalog|{volatile}|"));
            if name == "generate_series" {
                // It means something else where another path is searched.
                lines.push(format!("f|{at}|elsewhere|true|"));
            }
        }
    }
    for (at, name) in names(&text, "'r', q.at").iter().enumerate() {
        if name == "kv" || PLAIN_TABLES.contains(&name.as_str()) {
            lines.push(format!("r|{at}|public|r|false|"));
        } else if name == "scratch" {
            lines.push(format!("r|{at}|public|r|true|"));
        } else if let Some((_, view)) = VIEWS.iter().find(|(known, _)| known == name) {
            lines.push(format!("r|{at}|public|v|false|{view}"));
        }
    }
    lines.join("\u{1e}").replace('|', "\u{1f}").into()
}

/// The names that the part of the question around `mark` lists, each in a string of its own.
fn names(text: &str, mark: &str) -> Vec<String> {
    let mut names = Vec::new();
    let Some((_, part)) = text.split_once(mark) else { return names };
    let Some((_, mut list)) = part.split_once("(VALUES ") else { return names };
    while let Some((_, item)) = list.strip_prefix(", ").unwrap_or(list).strip_prefix('(').and_then(number_and_string) {
        let mut name = String::new();
        let mut letters = item.char_indices();
        list = loop {
            match letters.next() {
                Some((at, '\'')) if !item[at + 1..].starts_with('\'') => {
                    break item[at + 1..].strip_prefix(')').unwrap_or_default();
                }
                Some((_, '\'' | '\\')) => name.extend(letters.next().map(|(_, letter)| letter)),
                Some((_, letter)) => name.push(letter),
                None => break "",
            }
        };
        names.push(name);
    }
    names
}

/// Cuts `n, E'...` behind its quote.
fn number_and_string(item: &str) -> Option<(&str, &str)> {
    let (number, string) = item.split_once(", E'")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some((number, string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgconvoy_core::catalog::Question;

    #[test]
    fn questions_of_the_core_are_understood() {
        let mut question = Question { whole: true, own_temporaries: true, ..Question::default() };
        let functions = ["generate_series", "nextval", "a'b\\c", "pg_sleep"];
        question.functions.extend(functions.map(|name| name.as_bytes().into()));
        question.relations.extend(["good", "kv", "gone", ") q('"].map(|name| name.as_bytes().into()));
        let sql = question.sql();
        let last = &sql[sql.windows(QUESTION.len()).position(|window| window == QUESTION).unwrap()..];
        assert!(is_question(last) && asks(&sql));
        let expected = "w|false*t|mine*f|1|pg_catalog|false|*f|1|elsewhere|true|*f|3|pg_catalog|true|\
                        *r|2|public|v|false| SELECT item.id, item.label, public.steady(item.id) AS n FROM public.item;\
                        *r|3|public|r|false|";
        let expected = expected.replace('|', "\u{1f}").replace('*', "\u{1e}");
        assert_eq!(answer(last, &[b"mine".to_vec()]), expected.as_bytes());
        let path = Question { own_path: true, ..Question::default() }.sql();
        assert!(asks(&path) && answer(&path, &[]).starts_with(b"p\x1f"));
    }
}

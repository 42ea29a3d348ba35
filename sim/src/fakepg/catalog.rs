//! The model server's system catalogue: enough to answer what a proxy asks of it (`pgconvoy_core::catalog`).

use bytes::Bytes;

/// How a question about the catalogue begins.
const QUESTION: &[u8] = b"SELECT pg_catalog.string_agg(line, pg_catalog.chr(30)) FROM (";
/// Functions of the tiny SQL, and whether they are volatile.
const FUNCTIONS: [(&str, bool); 7] = [
    ("generate_series", false),
    ("pg_sleep", true),
    ("pg_advisory_lock", true),
    ("pg_advisory_unlock", true),
    ("pg_advisory_unlock_all", true),
    ("pg_is_in_recovery", true),
    ("raise", true),
];

/// True when `statement` asks about the catalogue.
pub fn is_question(statement: &[u8]) -> bool {
    statement.trim_ascii_start().starts_with(QUESTION)
}

/// True when a query string ends in such a statement.
pub fn asks(text: &[u8]) -> bool {
    text.rsplit(|byte| *byte == b';').next().is_some_and(is_question)
}

/// The value that answers it.
pub fn answer(statement: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(statement);
    let mut lines = Vec::new();
    if text.contains("'w', (") {
        lines.push("w|false".to_owned());
    }
    for (at, name) in names(&text, "'f', q.at").iter().enumerate() {
        if let Some((_, volatile)) = FUNCTIONS.iter().find(|(known, _)| known == name) {
            lines.push(format!("f|{at}|pg_catalog|{volatile}|"));
        }
    }
    for (at, name) in names(&text, "'r', q.at").iter().enumerate() {
        if *name == "kv" {
            lines.push(format!("r|{at}|public|r|false|"));
        }
    }
    lines.join("\u{1e}").replace('|', "\u{1f}").into()
}

/// The names that the part of the question around `mark` lists. None of the tiny SQL's has a quote.
fn names<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let Some((_, part)) = text.split_once(mark) else { return Vec::new() };
    let Some((_, list)) = part.split_once("(VALUES ") else { return Vec::new() };
    let list = list.split_once(") q(").map_or("", |(list, _)| list);
    list.split("E'").skip(1).filter_map(|item| item.split_once('\'')).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgconvoy_core::catalog::Question;

    #[test]
    fn questions_of_the_core_are_understood() {
        let mut question = Question { whole: true, ..Question::default() };
        question.functions.extend(["generate_series", "nextval", "pg_sleep"].map(|name| name.as_bytes().into()));
        question.relations.extend(["kv", "gone"].map(|name| name.as_bytes().into()));
        let sql = question.sql();
        let last = sql.rsplit(|byte| *byte == b';').next().unwrap();
        assert!(is_question(last) && asks(&sql));
        let expected = "w|false*f|0|pg_catalog|false|*f|2|pg_catalog|true|*r|1|public|r|false|";
        assert_eq!(answer(last), expected.replace('|', "\u{1f}").replace('*', "\u{1e}").as_bytes());
    }
}

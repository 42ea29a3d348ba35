//! What a statement says, told from its words and PostgreSQL's own catalogue: neither proxy is asked.

use std::collections::BTreeSet;

use crate::support::wire::Connection;

/// Words of the difference list.
pub type Facts = BTreeSet<String>;

/// Functions that look harmless to who looks at `pg_proc` only: what they call, or what their defaults call, is volatile.
const HIDING_FUNCTIONS: &[&str] = &["defaulted", "total_tick", "ordered_tick"];
/// Relations of the schema behind whose names volatile functions run.
const HIDING_RELATIONS: &[&str] = &[
    "bad",
    "bad_nested",
    "bad_where",
    "bad_deep",
    "bad_rows",
    "bad_row",
    "bad_total",
    "bad_sequence",
    "bad_default",
    "bad_shadow",
    "bad_keyword",
    "bad_recursive",
    "Bad",
    "guarded",
    "guarded_view",
];
/// Relations of the schema behind whose names there is an unlogged table.
const HIDING_UNLOGGED: &[&str] = &["mixed", "unlogged_view"];

/// Functions of PostgreSQL's that the catalogue calls stable or immutable, and that write or run what writes.
const WRITING_BUILTINS: &[&str] = &["txid_current", "pg_current_xact_id", "table_to_xml", "schema_to_xml", "lo_get"];
/// Stable functions of PostgreSQL's, and settings, that answer for the server that is asked, or for its catalogue.
const ASKING_THE_SERVER: &[&str] = &[
    "pg_backend_pid",
    "pg_is_in_recovery",
    "inet_server_port",
    "pg_relation_size",
    "pg_get_viewdef",
    "pg_current_xact_id_if_assigned",
    "has_table_privilege",
    "to_regclass",
    "in_hot_standby",
    "transaction_read_only",
];
/// Keywords whose syntax is that of a call, and that volatile functions of the schema are called by.
const CALL_LIKE_SYNTAX: &[&str] = &["overlay", "overlaps", "substring", "position", "trim", "normalize"];
/// Verbs of statements whose every word is a fact.
const SPELLED_OUT: &[&str] = &["set", "reset", "begin", "start", "lock", "discard", "deallocate"];
/// Verbs of statements that change the session.
const CHANGING_THE_SESSION: &[&str] =
    &["set", "reset", "listen", "unlisten", "discard", "declare", "prepare", "call", "do"];
/// Verbs of statements that begin or end transactions and savepoints.
const CONTROLLING: &[&str] = &["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"];

/// A word, or what stands between words.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An identifier or a keyword, as PostgreSQL stores it, and whether it stood in quotes.
    Word(String, bool),
    /// A character that is part of no word.
    Symbol(char),
    /// A string or a number.
    Constant,
}

impl Token {
    fn word(&self) -> Option<&str> {
        if let Self::Word(word, _) = self { Some(word) } else { None }
    }
}

/// What the servers' catalogue says about names.
#[derive(Debug)]
pub struct Names {
    /// Functions of the database's own.
    own: BTreeSet<String>,
    /// Those that are volatile.
    volatile: BTreeSet<String>,
    /// Those of them that can be called as `row.function`.
    volatile_of_rows: BTreeSet<String>,
    /// Those of which another schema has one that is not volatile.
    several_meanings: BTreeSet<String>,
    /// Those of which the first schema of the search path has a volatile one.
    volatile_in_path: BTreeSet<String>,
    /// Volatile functions of PostgreSQL's.
    volatile_builtin: BTreeSet<String>,
    keywords: BTreeSet<String>,
    unlogged: BTreeSet<String>,
    sequences: BTreeSet<String>,
}

impl Names {
    /// Asks a session of the database.
    pub fn load(session: &mut Connection) -> Self {
        let mut column = |sql: &str| -> BTreeSet<String> {
            session.rows(sql).into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
        };
        let own = "pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
        let of = "SELECT proname FROM pg_proc WHERE provolatile = 'v' AND pronamespace";
        Self {
            own: column(&format!("SELECT proname FROM pg_proc WHERE {own}")),
            volatile: column(&format!("SELECT proname FROM pg_proc WHERE provolatile = 'v' AND {own}")),
            volatile_of_rows: column(&format!(
                "SELECT proname FROM pg_proc JOIN pg_type t ON t.oid = proargtypes[0]
                 WHERE provolatile = 'v' AND {own} AND typtype IN ('c', 'd', 'p')"
            )),
            several_meanings: column(
                "SELECT proname FROM (SELECT proname, bool_or(provolatile = 'v') AS volatile FROM pg_proc
                 GROUP BY proname, pronamespace) f GROUP BY proname HAVING bool_or(volatile) AND NOT bool_and(volatile)",
            ),
            volatile_in_path: column(&format!("{of} = 'public'::regnamespace")),
            volatile_builtin: column(&format!("{of} = 'pg_catalog'::regnamespace")),
            // Some are functions where a parenthesis follows.
            keywords: column(
                "SELECT word FROM pg_get_keywords() WHERE word NOT IN ('left', 'right', 'mode', 'version')",
            ),
            unlogged: column("SELECT relname FROM pg_class WHERE relpersistence = 'u'"),
            sequences: column("SELECT relname FROM pg_class WHERE relkind = 'S'"),
        }
    }

    /// The facts that stand in a text.
    pub fn facts(&self, text: &str) -> Facts {
        let tokens = tokens(text);
        let mut facts = Facts::new();
        let mut say = |fact: &str| {
            facts.insert(fact.into());
        };
        if text.trim_start().starts_with("--") || text.trim_start().starts_with("/*") {
            say("comment");
        }
        let statements = tokens.split(|token| *token == Token::Symbol(';')).filter(|part| !part.is_empty());
        let several = statements.clone().count() > 1;
        if several {
            say("several");
        }
        let spoken = text.to_lowercase();
        for statement in statements.clone() {
            let Some(Token::Word(verb, false)) = statement.first() else {
                say("verb:(");
                continue;
            };
            say(&format!("verb:{verb}"));
            if SPELLED_OUT.contains(&verb.as_str()) {
                let words = statement.iter().filter_map(Token::word);
                words.for_each(|word| say(&format!("word:{word}")));
                // These may stand in quotes.
                if spoken.contains("serializable") {
                    say("serializable");
                } else if spoken.contains("repeatable read") && !spoken.contains("read only") {
                    say("repeatable_read");
                }
                if spoken.contains("read write") || spoken.contains("transaction_read_only = off") {
                    say("read_write");
                }
            }
            if several && CHANGING_THE_SESSION.contains(&verb.as_str()) {
                say("several_with_change");
            }
            if several && CONTROLLING.contains(&verb.as_str()) {
                say("several_with_control");
            }
        }
        for (at, token) in tokens.iter().enumerate() {
            let Token::Word(word, quoted) = token else { continue };
            let before = at.checked_sub(1).map(|at| &tokens[at]);
            let called = tokens.get(at + 1) == Some(&Token::Symbol('('));
            let dotted = before == Some(&Token::Symbol('.'));
            let is = |list: &[&str]| list.contains(&word.as_str());
            let follows =
                |list: &[&str]| matches!(before, Some(Token::Word(word, false)) if list.contains(&word.as_str()));
            // A column may have the name of a function.
            let of_value = dotted && at > 1 && tokens[at - 2] == Token::Symbol(')');
            let runs = if called {
                *quoted || dotted || !self.keywords.contains(word)
            } else {
                of_value || (dotted && self.volatile_of_rows.contains(word))
            };
            if self.volatile.contains(word) && runs {
                let several = self.several_meanings.contains(word);
                say(if several { "several_meanings" } else { "volatile" });
                if several && self.volatile_in_path.contains(word) {
                    say("volatile_in_path");
                }
            }
            if called && !*quoted && is(CALL_LIKE_SYNTAX) {
                say("namesake");
            }
            if self.volatile_builtin.contains(word) && (called || dotted) {
                say("volatile_builtin");
            }
            if self.volatile_builtin.contains(word) && of_value && !called {
                say("volatile_field");
            }
            // `WITH name (columns) AS` gives the name to something else.
            let given = matches!(before, Some(Token::Word(word, false)) if word == "with" || word == "recursive");
            if is(HIDING_FUNCTIONS) || (is(HIDING_RELATIONS) && !given) {
                say("hides_volatile");
            }
            if called && is(WRITING_BUILTINS) {
                say("writing_builtin");
            }
            if is(ASKING_THE_SERVER) {
                say("asks_server");
            }
            if called && word == "set_config" {
                say("set_config");
            }
            if called && self.own.contains(word) || word == "regclass" {
                say("may_find_a_table");
            }
            if word == "item" {
                say("item");
            }
            if self.unlogged.contains(word) {
                say("unlogged");
            }
            if is(HIDING_UNLOGGED) {
                say("hides_unlogged");
            }
            if self.sequences.contains(word) {
                say("sequence");
            }
            if (word.starts_with("pg_") || word == "information_schema") && !called {
                say("catalog");
            }
            if *quoted {
                continue;
            }
            match word.as_str() {
                "into" => say("into"),
                "search" | "cycle" => say("search_clause"),
                "share" if follows(&["for", "key"]) => say("row_lock"),
                "update" if follows(&["for", "key"]) => say("row_lock"),
                "insert" | "update" | "delete" | "merge" | "stdin" => say("modifies"),
                _ => {}
            }
        }
        facts
    }
}

/// The words of a text.
pub fn words(text: &str) -> BTreeSet<String> {
    tokens(text).iter().filter_map(Token::word).map(String::from).collect()
}

/// Cuts a text as PostgreSQL's lexer does with `standard_conforming_strings` on.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("--") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => comment_length(rest),
            '\'' => quoted_length(rest, '\'', false),
            '"' => {
                let length = quoted_length(rest, '"', false);
                tokens.push(Token::Word(rest[1..length - 1].replace("\"\"", "\""), true));
                length
            }
            '$' if dollar_tag(rest).is_some() => {
                let tag = dollar_tag(rest).unwrap_or_default();
                rest[tag.len()..].find(tag).map_or(rest.len(), |at| at + 2 * tag.len())
            }
            _ if first.is_alphabetic() || first == '_' => {
                let is_part = |part: char| part.is_alphanumeric() || part == '_' || part == '$';
                let length = rest.find(|part| !is_part(part)).unwrap_or(rest.len());
                let word = rest[..length].to_lowercase();
                if rest[length..].starts_with('\'') {
                    // The letter in front of a string belongs to it.
                    length + quoted_length(&rest[length..], '\'', word == "e")
                } else {
                    tokens.push(Token::Word(word, false));
                    length
                }
            }
            _ if first.is_ascii_digit() => rest.find(|part: char| !part.is_ascii_alphanumeric()).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let silent = first.is_whitespace() || rest.starts_with("--") || rest.starts_with("/*");
        if first == '\'' || first.is_ascii_digit() || (first == '$' && length > 1) {
            tokens.push(Token::Constant);
        } else if !silent && !first.is_alphabetic() && first != '_' && first != '"' {
            tokens.push(Token::Symbol(first));
        }
        rest = &rest[length..];
    }
    tokens
}

fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of what stands in `mark`s, both of them included; a doubled one stands for itself.
fn quoted_length(text: &str, mark: char, escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if escapes && character == '\\' {
            characters.next();
        } else if character == mark {
            match characters.peek() {
                Some((_, next)) if *next == mark => drop(characters.next()),
                _ => return at + 1,
            }
        }
    }
    text.len()
}

/// The `$...$` that opens a string here.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = 1 + text[1..].find('$')?;
    let tag = &text[1..end];
    let plain = tag.chars().all(|part| part.is_alphanumeric() || part == '_');
    (plain && !tag.starts_with(|first: char| first.is_ascii_digit())).then_some(&text[..=end])
}

#[test]
fn words_are_what_is_neither_comment_nor_constant() {
    let text = "SELECT \"A b\".x, E'a\\'b', 'it''s', $q$ no $q$, $1, 1e3, n'x' FROM T -- no\n /* no /* no */ no */ ;";
    let expected = ["A b", "from", "select", "t", "x"].map(String::from);
    assert_eq!(words(text), BTreeSet::from(expected));
    assert_eq!(tokens("a.b(1)").len(), 6);
}

//! `PGPOOL SHOW`, `SET` and `RESET`: understood and carried out for one session.

use crate::config::{Config, Mistake, Refusal, SessionValues, Shown, StatusRow};
use pgconvoy_core::fault::{Culprit, Fault};
use pgconvoy_core::session::local::{Answer, Outcome};
use std::iter::Peekable;
use std::str::Chars;

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// A name, a keyword or a number: in lower case unless it is quoted.
    Plain(String),
    /// A name in double quotes.
    Quoted(String),
    /// A string.
    Text(String),
    /// `=`.
    Equals,
    /// `,`.
    Comma,
}

/// A command.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Show(String),
    /// `None` takes the value back.
    Set(String, Option<String>),
    ResetAll,
    DeleteCache,
}

/// Carries out what stands behind the word `PGPOOL`. With `describe`, only the shape of the answer counts, and nothing
/// changes. `own` is what the session has set for itself.
pub(super) fn run(config: &Config, own: &mut SessionValues, text: &[u8], describe: bool) -> Outcome {
    let Some(command) = parse(&String::from_utf8_lossy(text)) else {
        return Outcome::failed(Fault::new(Culprit::Client, b"42601", "syntax error in a PGPOOL command"));
    };
    match command {
        Command::Show(name) => match config.with_session(own).show(&name) {
            Ok(shown) => Outcome::of(table(name, shown)),
            Err(refusal) => Outcome::failed(fault(refusal)),
        },
        Command::Set(name, value) => {
            let mut new = own.clone();
            match new.set(&name, value.as_deref()) {
                Ok(()) => {
                    if !describe {
                        *own = new;
                    }
                    Outcome::of(Answer::Done("SET"))
                }
                Err(refusal) => Outcome::failed(fault(refusal)),
            }
        }
        Command::ResetAll => {
            if !describe {
                own.clear();
            }
            Outcome::of(Answer::Done("RESET"))
        }
        Command::DeleteCache => {
            let notice = Fault::new(Culprit::Client, b"00000", "query cache does not exist")
                .detail("pgconvoy has no query cache yet.");
            Outcome { notice: (!describe).then_some(notice), ..Outcome::of(Answer::Done("SET")) }
        }
    }
}

fn table(name: String, shown: Shown) -> Answer {
    match shown {
        Shown::Value(value) => Answer::Rows { columns: vec![name], rows: vec![vec![value]] },
        Shown::Rows(rows) => Answer::Rows {
            columns: ["item", "value", "description"].map(String::from).to_vec(),
            rows: rows
                .into_iter()
                .map(|StatusRow { item, value, description }| vec![item, value, description])
                .collect(),
        },
    }
}

fn fault(refusal: Refusal) -> Fault {
    let sqlstate = match refusal.mistake {
        Mistake::Unknown => b"42704",
        Mistake::NotInSession => b"55P02",
        Mistake::Value => b"22023",
    };
    let mut fault = Fault::new(Culprit::Client, sqlstate, refusal.message);
    fault.detail = refusal.detail;
    fault.hint = refusal.hint.map(Into::into);
    fault
}

fn parse(text: &str) -> Option<Command> {
    let words = words(text)?;
    let plain = |at: usize| match words.get(at) {
        Some(Word::Plain(word)) => Some(word.as_str()),
        _ => None,
    };
    let name = |at: usize| match words.get(at) {
        Some(Word::Plain(name) | Word::Quoted(name)) => Some(name.clone()),
        _ => None,
    };
    match (plain(0)?, words.len()) {
        ("show", 2) => Some(Command::Show(name(1)?)),
        ("reset", 2) if plain(1) == Some("all") => Some(Command::ResetAll),
        ("reset", 2) => Some(Command::Set(name(1)?, None)),
        ("set", 4) if plain(1) == Some("cache") && plain(2) == Some("delete") => match &words[3] {
            Word::Text(_) => Some(Command::DeleteCache),
            _ => None,
        },
        ("set", 4..) if plain(2) == Some("to") || words[2] == Word::Equals => {
            if words.len() == 4 && plain(3) == Some("default") {
                return Some(Command::Set(name(1)?, None));
            }
            let mut values = Vec::new();
            for (at, word) in words[3..].iter().enumerate() {
                match word {
                    Word::Comma if at % 2 == 1 => {}
                    Word::Plain(value) | Word::Quoted(value) | Word::Text(value) if at % 2 == 0 => {
                        values.push(value.as_str());
                    }
                    _ => return None,
                }
            }
            // A comma that nothing follows.
            let complete = words.len() % 2 == 0;
            complete.then_some(Command::Set(name(1)?, Some(values.join(", "))))
        }
        _ => None,
    }
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.peek().copied() {
        match next {
            _ if next.is_whitespace() => drop(rest.next()),
            '=' | ',' => {
                rest.next();
                words.push(if next == '=' { Word::Equals } else { Word::Comma });
            }
            '\'' => words.push(Word::Text(quoted(&mut rest, '\'')?)),
            '"' => words.push(Word::Quoted(quoted(&mut rest, '"')?)),
            '-' if comes(&rest, "--") => while rest.next().is_some_and(|c| c != '\n') {},
            '/' if comes(&rest, "/*") => comment(&mut rest)?,
            _ if is_part(next) || matches!(next, '-' | '+') => {
                rest.next();
                let mut word = String::from(next.to_ascii_lowercase());
                while let Some(part) = rest.next_if(|c| is_part(*c)) {
                    word.push(part.to_ascii_lowercase());
                }
                words.push(Word::Plain(word));
            }
            _ => return None,
        }
    }
    Some(words)
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

fn comes(rest: &Peekable<Chars<'_>>, what: &str) -> bool {
    rest.clone().take(what.len()).eq(what.chars())
}

/// Steps over what stands between two quotes; a doubled one is one of the text.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    rest.next();
    let mut text = String::new();
    loop {
        match rest.next()? {
            c if c == quote => {
                if rest.next_if_eq(&quote).is_none() {
                    return Some(text);
                }
                text.push(quote);
            }
            c => text.push(c),
        }
    }
}

/// Steps over a comment, with those inside it.
fn comment(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    let mut depth = 0usize;
    loop {
        if comes(rest, "/*") {
            depth += 1;
            rest.next();
        } else if comes(rest, "*/") {
            depth -= 1;
            rest.next();
        }
        rest.next()?;
        if depth == 0 {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_every_spelling() {
        let set = |name: &str, value: &str| Some(Command::Set(name.into(), Some(value.into())));
        for (text, expected) in [
            ("SHOW port", Some(Command::Show("port".into()))),
            ("show PORT", Some(Command::Show("port".into()))),
            ("SHOW \"port\"", Some(Command::Show("port".into()))),
            ("SHOW ALL", Some(Command::Show("all".into()))),
            ("SET log_statement = on", set("log_statement", "on")),
            ("SET log_statement TO 'it''s'", set("log_statement", "it's")),
            ("SET client_idle_limit=-1", set("client_idle_limit", "-1")),
            ("SET client_idle_limit /* in /* s */ */ = '5min' -- soon", set("client_idle_limit", "5min")),
            ("SET log_statement = on, off", set("log_statement", "on, off")),
            ("SET log_statement TO DEFAULT", Some(Command::Set("log_statement".into(), None))),
            ("RESET log_statement", Some(Command::Set("log_statement".into(), None))),
            ("RESET ALL", Some(Command::ResetAll)),
            ("SET CACHE DELETE 'SELECT 1'", Some(Command::DeleteCache)),
            ("SHOW", None),
            ("SHOW TIME ZONE", None),
            ("SHOW 'port'", None),
            ("SET log_statement", None),
            ("SET log_statement =", None),
            ("SET log_statement = on,", None),
            ("SET log_statement = on off", None),
            ("SET log_statement = 'on", None),
            ("SET LOCAL log_statement = on", None),
            ("SET log_statement = on /* for ever", None),
            ("RESET", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}

//! `SET` and `RESET`, and the modes of transactions.
//!
//! A setting goes to every node of a session, so that they stay alike. Two are for the primary alone, because a standby
//! refuses them: serializable isolation, and a running transaction that may write. So is `SET CONSTRAINTS`, which matters
//! where something is written.

use super::cursor::Cursor;
use super::keyword::Keyword as K;
use super::lexer::Kind;
use super::name::Name;
use super::statement::Read;
use super::{Effect, Reason, Verdict};

/// What a list of transaction modes says, as far as routing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Modes {
    pub serializable: Option<bool>,
    pub repeatable_read: bool,
    pub read_write: Option<bool>,
}

impl Modes {
    /// True when all statements of a transaction, its writes among them, must see one snapshot: no two servers share one.
    pub(super) fn keeps_snapshot(self) -> bool {
        self.repeatable_read && self.read_write != Some(false)
    }
}

/// Reads transaction modes up to the end of the statement.
pub(super) fn modes(cursor: &mut Cursor<'_>) -> Option<Modes> {
    let mut modes = Modes::default();
    while !cursor.at_end() {
        if cursor.eat(K::Isolation) {
            modes.repeatable_read = cursor.peek() == Kind::Keyword(K::Repeatable);
            modes.serializable = Some(isolation(cursor)?);
        } else if cursor.eat(K::Read) {
            let write = cursor.eat(K::Write);
            modes.read_write = (write || cursor.eat(K::Only)).then_some(write);
            modes.read_write?;
        } else {
            cursor.eat(K::Not);
            if !cursor.eat(K::Deferrable) {
                return None;
            }
        }
        cursor.eat_kind(Kind::Comma);
    }
    Some(modes)
}

/// `LEVEL ...`: whether it is serializable.
fn isolation(cursor: &mut Cursor<'_>) -> Option<bool> {
    if !cursor.eat(K::Level) {
        return None;
    }
    if cursor.eat(K::Serializable) {
        return Some(true);
    }
    let other = if cursor.eat(K::Repeatable) {
        cursor.eat(K::Read)
    } else {
        cursor.eat(K::Read) && (cursor.eat(K::Committed) || cursor.eat(K::Uncommitted))
    };
    other.then_some(false)
}

/// Reads `SET` behind its first word.
pub(super) fn set<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let local = is_option(cursor, K::Local) && cursor.eat(K::Local);
    let session = !local && is_option(cursor, K::Session) && cursor.eat(K::Session);
    if is_option(cursor, K::Transaction) {
        cursor.bump();
        return set_transaction(cursor);
    }
    if session && cursor.eat(K::Characteristics) {
        let modes = if cursor.eat(K::As) && cursor.eat(K::Transaction) { modes(cursor)? } else { return None };
        return Some(transaction(true, modes));
    }
    if session && cursor.eat(K::Authorization) {
        return plain(cursor, "session_authorization", false);
    }
    for (word, name) in [(K::Time, "timezone"), (K::Schema, "search_path"), (K::Names, "client_encoding")] {
        if is_option(cursor, word) {
            cursor.bump();
            return (word != K::Time || cursor.eat(K::Zone)).then(|| plain(cursor, name, local))?;
        }
    }
    if is_option(cursor, K::Xml) {
        cursor.bump();
        return cursor.eat(K::Option).then(|| plain(cursor, "xmloption", local))?;
    }
    if cursor.kind() == Kind::Keyword(K::Role)
        && !matches!(cursor.peek(), Kind::Operator | Kind::Dot | Kind::Keyword(K::To))
    {
        cursor.bump();
        return plain(cursor, "role", local);
    }
    let names = !matches!(cursor.peek(), Kind::Operator | Kind::Dot | Kind::Keyword(K::To));
    if names && cursor.name().is_some_and(|name| name.is("constraints")) {
        cursor.bump();
        return constraints(cursor);
    }
    named(cursor, local)
}

/// `SET CONSTRAINTS` behind these words: names, and when they are checked.
fn constraints<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    while !cursor.at_end() {
        if !matches!(cursor.kind(), Kind::Comma | Kind::Dot) {
            cursor.name()?;
        }
        cursor.bump();
    }
    Some((Verdict::primary(Reason::PrimarySession, false), Effect::None))
}

/// Whether `word` stands here as a word of `SET`, not as the first part of a setting's name (`SET session.user = 1`).
fn is_option(cursor: &Cursor<'_>, word: K) -> bool {
    cursor.kind() == Kind::Keyword(word) && cursor.peek() != Kind::Dot
}

/// `SET [LOCAL] TRANSACTION` behind these words.
fn set_transaction<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if cursor.eat(K::Snapshot) {
        let (_, effect) = transaction(false, Modes::default());
        // A snapshot is known where it was exported.
        return cursor.eat_kind(Kind::String).then_some((Verdict::primary(Reason::PrimarySession, false), effect));
    }
    Some(transaction(false, modes(cursor)?))
}

/// The modes of the running transaction, or of those to come: for those, a standby takes `READ WRITE`.
fn transaction<'a>(session: bool, modes: Modes) -> Read<'a> {
    let Modes { serializable, read_write, .. } = modes;
    let verdict = if serializable == Some(true) {
        Verdict::primary(Reason::Serializable, false)
    } else if modes.keeps_snapshot() {
        Verdict::primary(Reason::Snapshot, false)
    } else if read_write == Some(true) && !session {
        Verdict::primary(Reason::ReadWrite, false)
    } else {
        Verdict::both()
    };
    (verdict, Effect::SetTransaction { session, serializable, read_write })
}

/// A setting with a form of its own, behind that form's words.
fn plain<'a>(cursor: &mut Cursor<'a>, name: &'static str, local: bool) -> Option<Read<'a>> {
    values(cursor)?;
    Some((Verdict::both(), Effect::Set { name: Name::new(name.as_bytes()), local }))
}

/// `name TO value` or `name = value`.
fn named<'a>(cursor: &mut Cursor<'a>, local: bool) -> Option<Read<'a>> {
    let name = cursor.eat_dotted_name()?;
    // With `=-1` the sign is cut together with the equals sign.
    if !cursor.eat(K::To) {
        if cursor.kind() != Kind::Operator || !matches!(cursor.spelling(), b"=" | b"=-" | b"=+") {
            return None;
        }
        cursor.bump();
    }
    let value = Value::here(cursor);
    if cursor.at_end() {
        return None;
    }
    values(cursor)?;
    let named = |setting: &str| name.is_ignoring_case(setting);
    let read = if named("transaction_isolation") {
        transaction(false, value.isolation())
    } else if named("default_transaction_isolation") {
        transaction(true, value.isolation())
    } else if named("transaction_read_only") {
        // A standby refuses anything but on.
        let read_write = Some(value.boolean() != Some(true));
        transaction(false, Modes { read_write, ..Modes::default() })
    } else if named("default_transaction_read_only") {
        let read_write = value.boolean().map(|read_only| !read_only);
        transaction(true, Modes { read_write, ..Modes::default() })
    } else {
        (Verdict::both(), Effect::Set { name, local })
    };
    Some(read)
}

/// Steps over the values of a setting; only words, constants, signs and commas can be there.
fn values(cursor: &mut Cursor<'_>) -> Option<()> {
    while !cursor.at_end() {
        let expected = matches!(cursor.kind(), Kind::String | Kind::Number | Kind::Comma | Kind::Operator);
        if !expected && cursor.name().is_none() {
            return None;
        }
        cursor.bump();
    }
    Some(())
}

/// Reads `RESET` behind its first word.
pub(super) fn reset<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if cursor.eat(K::All) {
        return Some((Verdict::both(), Effect::Reset { name: None }));
    }
    let special: &[(&[K], &'static str)] = &[
        (&[K::Time, K::Zone], "timezone"),
        (&[K::Transaction, K::Isolation, K::Level], "transaction_isolation"),
        (&[K::Session, K::Authorization], "session_authorization"),
    ];
    let words = special.iter().find(|(words, _)| is_option(cursor, words[0]));
    let name = match words {
        Some((words, name)) => {
            words.iter().all(|word| cursor.eat(*word)).then_some(())?;
            Name::new(name.as_bytes())
        }
        None => cursor.eat_dotted_name()?,
    };
    Some((Verdict::both(), Effect::Reset { name: Some(name) }))
}

/// The first value given to a setting, as it is written.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    /// A word, number or plain string, without quotes.
    Plain(&'a [u8]),
    Default,
    /// Spelled in a way that hides its text.
    Obscure,
}

impl<'a> Value<'a> {
    fn here(cursor: &Cursor<'a>) -> Self {
        let spelling = cursor.spelling();
        let inside = spelling.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
        match cursor.kind() {
            Kind::Keyword(K::Default) => Value::Default,
            Kind::Keyword(_) | Kind::Name | Kind::Number => Value::Plain(spelling),
            Kind::String => match inside {
                Some(text) if !text.iter().any(|byte| matches!(byte, b'\'' | b'\\')) => Value::Plain(text),
                _ => Value::Obscure,
            },
            _ => Value::Obscure,
        }
    }

    /// The isolation level; in doubt it is serializable.
    fn isolation(self) -> Modes {
        let is = |level: &[u8]| matches!(self, Value::Plain(text) if text.eq_ignore_ascii_case(level));
        let others = is(b"read committed") || is(b"read uncommitted") || is(b"repeatable read");
        let serializable = if matches!(self, Value::Default) { None } else { Some(!others) };
        Modes { serializable, repeatable_read: is(b"repeatable read"), read_write: None }
    }

    /// The value as PostgreSQL reads booleans: by any beginning that is not ambiguous.
    fn boolean(self) -> Option<bool> {
        let Value::Plain(text) = self else { return None };
        let begins = |word: &[u8], least: usize| {
            text.len() >= least && word.get(..text.len()).is_some_and(|start| text.eq_ignore_ascii_case(start))
        };
        if begins(b"true", 1) || begins(b"yes", 1) || begins(b"on", 2) || text == b"1" {
            Some(true)
        } else if begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) || text == b"0" {
            Some(false)
        } else {
            None
        }
    }
}

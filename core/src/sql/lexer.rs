//! PostgreSQL's tokens, cut the way its own scanner cuts them (manual, chapter "Lexical Structure").
//!
//! It owns comments, the many kinds of quotes, and what a byte may start. It knows no statement, allocates nothing, and
//! looks at every byte a bounded number of times. Text that PostgreSQL refuses, or that its versions read differently,
//! is [`Kind::Bad`] from there on: what follows is never guessed.

use core::ops::Range;

use memchr::{memchr, memchr2};

use super::Dialect;
use super::keyword::Keyword;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted identifier that is one of the words routing knows.
    Keyword(Keyword),
    /// Any other unquoted identifier.
    Name,
    /// `"..."`.
    QuotedName,
    /// `U&"..."`: its spelling is not its name.
    UnicodeName,
    /// A string constant of any kind.
    String,
    Number,
    /// `$1`.
    Parameter,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Semicolon,
    Dot,
    /// `::`.
    Cast,
    /// Any operator, and `:`, `:=`, `=>`.
    Operator,
    /// The text is over.
    End,
    /// The text cannot be cut into tokens from here on.
    Bad,
}

/// A token and where it stands in the text, in bytes. Small, so that it travels in registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    /// Where it stands.
    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Cuts a text into tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    /// How far the text is read, or [`NOWHERE`].
    at: usize,
    backslash_in_plain_strings: bool,
    /// A comment has been skipped.
    pub commented: bool,
}

/// No more token can be cut.
const NOWHERE: usize = usize::MAX;

/// What the first byte of a token promises.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    Word,
    /// A letter that may introduce a quoted constant: `b e n u x`.
    Prefix,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Colon,
    Operator,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Semicolon,
    Refused,
}

static CLASSES: [Class; 256] = classes();
/// Whether a byte can stand in a word behind its first.
static IN_WORD: [bool; 256] = in_word();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Refused; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            // A vertical tab is white space for some versions of PostgreSQL only.
            b' ' | b'\t' | b'\n' | b'\r' | 0x0C => Class::Blank,
            b'b' | b'B' | b'e' | b'E' | b'n' | b'N' | b'u' | b'U' | b'x' | b'X' => Class::Prefix,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xFF => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => Class::Operator,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => Class::Operator,
            b'(' => Class::Open,
            b')' => Class::Close,
            b'[' => Class::OpenBracket,
            b']' => Class::CloseBracket,
            b',' => Class::Comma,
            b';' => Class::Semicolon,
            _ => Class::Refused,
        };
        byte += 1;
    }
    classes
}

const fn in_word() -> [bool; 256] {
    let mut in_word = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        in_word[byte] = matches!(CLASSES[byte], Class::Word | Class::Prefix | Class::Digit | Class::Dollar);
        byte += 1;
    }
    in_word
}

fn starts_word(byte: u8) -> bool {
    matches!(CLASSES[byte as usize], Class::Word | Class::Prefix)
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], dialect: Dialect) -> Self {
        // In some encodings the second byte of a character can look like ASCII, and the server sees the text only after
        // conversion: nothing in it can be trusted. A zero byte ends the text for PostgreSQL, but not for us.
        let trusted = (dialect.ascii_safe_encoding || text.is_ascii())
            && memchr(0, text).is_none()
            && u32::try_from(text.len()).is_ok();
        let at = if trusted { 0 } else { NOWHERE };
        Lexer { text, at, backslash_in_plain_strings: !dialect.standard_conforming_strings, commented: false }
    }

    /// The next token; [`Kind::End`] and [`Kind::Bad`] repeat for ever.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Token {
        loop {
            let start = self.at;
            let Some(&first) = self.text.get(start) else {
                let kind = if start == NOWHERE { Kind::Bad } else { Kind::End };
                let end = self.text.len() as u32;
                return Token { kind, start: end, end };
            };
            return match CLASSES[first as usize] {
                Class::Blank => {
                    self.at = start + 1;
                    continue;
                }
                Class::Word => self.word(start),
                Class::Prefix => self.prefixed(start),
                Class::Open => self.token(Kind::Open, start, start + 1),
                Class::Close => self.token(Kind::Close, start, start + 1),
                Class::OpenBracket => self.token(Kind::OpenBracket, start, start + 1),
                Class::CloseBracket => self.token(Kind::CloseBracket, start, start + 1),
                Class::Comma => self.token(Kind::Comma, start, start + 1),
                Class::Semicolon => self.token(Kind::Semicolon, start, start + 1),
                Class::DoubleQuote => self.quoted_name(Kind::QuotedName, start, start + 1),
                Class::Operator if self.skip_comment(first, start) => continue,
                Class::Operator => self.operator(start),
                Class::Digit => self.number(start),
                Class::Quote => {
                    let end = self.string_end(start + 1, self.backslash_in_plain_strings);
                    self.constant(Kind::String, start, end)
                }
                Class::Dollar => self.dollar(start),
                Class::Dot => self.dot(start),
                Class::Colon => match self.byte(start + 1) {
                    Some(b':') => self.token(Kind::Cast, start, start + 2),
                    Some(b'=') => self.token(Kind::Operator, start, start + 2),
                    _ => self.token(Kind::Operator, start, start + 1),
                },
                Class::Refused => self.bad(),
            };
        }
    }

    /// Skips the comment that begins at `start`, if one does.
    fn skip_comment(&mut self, first: u8, start: usize) -> bool {
        match (first, self.byte(start + 1)) {
            (b'-', Some(b'-')) => self.at = self.line_end(start + 2),
            (b'/', Some(b'*')) => self.at = self.comment_end(start + 2).unwrap_or(NOWHERE),
            _ => return false,
        }
        self.commented = true;
        true
    }

    #[inline(always)]
    fn word(&mut self, start: usize) -> Token {
        let end = self.word_end(start);
        // In front of a dot, a word can only be a name: unless the dot begins a number.
        let joined = self.byte(end) == Some(b'.') && !self.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit());
        let keyword = if joined { None } else { Keyword::find(self.text, start, end) };
        self.token(keyword.map_or(Kind::Name, Kind::Keyword), start, end)
    }

    /// Steps over a dot and a name, if both follow the last token without a gap.
    #[inline(always)]
    pub(super) fn joined_name(&mut self) -> Option<Token> {
        if self.byte(self.at)? != b'.' {
            return None;
        }
        let start = self.at + 1;
        match CLASSES[self.byte(start)? as usize] {
            Class::Word => {}
            Class::Prefix if !matches!(self.byte(start + 1), Some(b'\'' | b'&')) => {}
            Class::DoubleQuote => return Some(self.quoted_name(Kind::QuotedName, start, start + 1)),
            _ => return None,
        }
        Some(self.token(Kind::Name, start, self.word_end(start)))
    }

    #[inline]
    fn word_end(&self, start: usize) -> usize {
        let rest = &self.text[start..];
        start + rest.iter().position(|&byte| !IN_WORD[byte as usize]).unwrap_or(rest.len())
    }

    fn dot(&mut self, start: usize) -> Token {
        match self.byte(start + 1) {
            Some(b'0'..=b'9') => self.number(start),
            // `1..10` belongs to procedural languages; SQL has no use for two dots.
            Some(b'.') => self.bad(),
            _ => self.token(Kind::Dot, start, start + 1),
        }
    }

    /// A word, or a constant such as `E'...'`, `B'...'`, `U&'...'`.
    #[inline(never)]
    fn prefixed(&mut self, start: usize) -> Token {
        let letter = self.text[start] | 0x20;
        match (letter, self.byte(start + 1), self.byte(start + 2)) {
            (b'e', Some(b'\''), _) => {
                let end = self.string_end(start + 2, true);
                self.constant(Kind::String, start, end)
            }
            (b'b' | b'x', Some(b'\''), _) => {
                let end = self.string_end(start + 2, false);
                self.constant(Kind::String, start, end)
            }
            (b'n', Some(b'\''), _) => {
                let end = self.string_end(start + 2, self.backslash_in_plain_strings);
                self.constant(Kind::String, start, end)
            }
            // PostgreSQL refuses this form while plain strings have backslashes.
            (b'u', Some(b'&'), Some(b'\'')) if self.backslash_in_plain_strings => self.bad(),
            (b'u', Some(b'&'), Some(b'\'')) => {
                let end = self.string_end(start + 3, false);
                self.constant(Kind::String, start, end)
            }
            (b'u', Some(b'&'), Some(b'"')) => self.quoted_name(Kind::UnicodeName, start, start + 3),
            _ => self.word(start),
        }
    }

    #[inline(never)]
    fn quoted_name(&mut self, kind: Kind, start: usize, inside: usize) -> Token {
        let mut at = inside;
        // Names are short: a search by vectors would take longer to begin.
        while let Some(offset) = self.text.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'"')) {
            at += offset + 1;
            if self.byte(at) != Some(b'"') {
                // PostgreSQL refuses an empty name.
                return if at == inside + 1 { self.bad() } else { self.token(kind, start, at) };
            }
            at += 1;
        }
        self.bad()
    }

    #[inline(never)]
    fn number(&mut self, start: usize) -> Token {
        let mut end = self.digits_end(start);
        if self.byte(end) == Some(b'.') {
            if self.byte(end + 1) == Some(b'.') {
                return self.bad();
            }
            end = self.digits_end(end + 1);
        }
        if matches!(self.byte(end), Some(b'e' | b'E')) {
            let signed = matches!(self.byte(end + 1), Some(b'+' | b'-'));
            let digits = end + 1 + usize::from(signed);
            if self.byte(digits).is_some_and(|byte| byte.is_ascii_digit()) {
                end = self.digits_end(digits);
            }
        }
        // `0x1F`, `1_000` and `123abc` are read differently by different versions.
        if self.byte(end).is_some_and(starts_word) {
            return self.bad();
        }
        self.token(Kind::Number, start, end)
    }

    /// `$1`, `$$...$$` or `$tag$...$tag$`.
    #[inline(never)]
    fn dollar(&mut self, start: usize) -> Token {
        match self.byte(start + 1) {
            Some(b'0'..=b'9') => {
                let end = self.digits_end(start + 1);
                if self.byte(end).is_some_and(starts_word) {
                    self.bad()
                } else {
                    self.token(Kind::Parameter, start, end)
                }
            }
            Some(b'$') => self.dollar_quoted(start, start + 2),
            Some(byte) if starts_word(byte) => {
                let mut end = start + 2;
                while self.byte(end).is_some_and(|byte| IN_WORD[byte as usize] && byte != b'$') {
                    end += 1;
                }
                if self.byte(end) == Some(b'$') { self.dollar_quoted(start, end + 1) } else { self.bad() }
            }
            _ => self.bad(),
        }
    }

    /// `inside` is where the delimiter that began at `start` ends. As a delimiter has no dollar inside, comparing it at
    /// every dollar reads no byte more than twice.
    fn dollar_quoted(&mut self, start: usize, inside: usize) -> Token {
        let delimiter = &self.text[start..inside];
        let mut at = inside;
        while let Some(offset) = memchr(b'$', &self.text[at..]) {
            at += offset;
            if self.text[at..].starts_with(delimiter) {
                return self.token(Kind::String, start, at + delimiter.len());
            }
            at += 1;
        }
        self.bad()
    }

    /// An operator runs as far as operator characters do, but not into a comment.
    #[inline(never)]
    fn operator(&mut self, start: usize) -> Token {
        let mut end = start + 1;
        while let Some(byte) = self.byte(end) {
            let comment = matches!((byte, self.byte(end + 1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if comment || CLASSES[byte as usize] != Class::Operator {
                break;
            }
            end += 1;
        }
        self.token(Kind::Operator, start, end)
    }

    /// Where a string that is open at `at` ends, behind its last quote. A doubled quote stays inside, and a string goes on
    /// after white space with a line end in it.
    #[inline(never)]
    fn string_end(&self, mut at: usize, backslash: bool) -> Option<usize> {
        loop {
            let rest = self.text.get(at..)?;
            let offset = if backslash { memchr2(b'\'', b'\\', rest) } else { memchr(b'\'', rest) }?;
            at += offset + 1;
            if rest[offset] == b'\\' || self.byte(at) == Some(b'\'') {
                at += 1;
            } else {
                match self.continued_at(at) {
                    Some(inside) => at = inside,
                    None => return Some(at),
                }
            }
        }
    }

    /// If the string that was closed just before `at` is continued on a later line: where that part's inside begins.
    fn continued_at(&self, mut at: usize) -> Option<usize> {
        let mut line_ended = false;
        loop {
            match self.byte(at)? {
                b'\n' | b'\r' => line_ended = true,
                b' ' | b'\t' | 0x0C => {}
                b'-' if self.byte(at + 1) == Some(b'-') => {
                    at = self.line_end(at + 2);
                    continue;
                }
                b'\'' if line_ended => return Some(at + 1),
                _ => return None,
            }
            at += 1;
        }
    }

    /// Where a comment that is open at `at` ends, inner comments included.
    fn comment_end(&self, mut at: usize) -> Option<usize> {
        let mut depth = 1usize;
        loop {
            match (self.byte(at)?, self.byte(at + 1)) {
                (b'*', Some(b'/')) => {
                    at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                (b'/', Some(b'*')) => {
                    at += 2;
                    depth += 1;
                }
                _ => at += 1,
            }
        }
    }

    fn line_end(&self, from: usize) -> usize {
        memchr2(b'\n', b'\r', &self.text[from..]).map_or(self.text.len(), |offset| from + offset)
    }

    fn digits_end(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(|byte| byte.is_ascii_digit()) {
            at += 1;
        }
        at
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn constant(&mut self, kind: Kind, start: usize, end: Option<usize>) -> Token {
        match end {
            Some(end) => self.token(kind, start, end),
            None => self.bad(),
        }
    }

    #[inline]
    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.at = end;
        // A longer text is not read at all.
        Token { kind, start: start as u32, end: end as u32 }
    }

    #[cold]
    fn bad(&mut self) -> Token {
        self.at = NOWHERE;
        let end = self.text.len() as u32;
        Token { kind: Kind::Bad, start: end, end }
    }
}

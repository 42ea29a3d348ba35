//! PostgreSQL's tokens, cut the way its own scanner cuts them (manual, chapter "Lexical Structure").
//!
//! It owns comments, the many kinds of quotes, and what a byte may start. It knows no statement, allocates nothing, and
//! looks at every byte a bounded number of times. Text that PostgreSQL refuses, or that its versions read differently,
//! is [`Kind::Bad`] from there on: what follows is never guessed.

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

/// A token and where it stands in the text, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// Cuts a text into tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    backslash_in_plain_strings: bool,
    /// A comment has been skipped.
    pub commented: bool,
}

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
    Single(Kind),
    Refused,
}

static CLASSES: [Class; 256] = classes();

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
            b'(' => Class::Single(Kind::Open),
            b')' => Class::Single(Kind::Close),
            b'[' => Class::Single(Kind::OpenBracket),
            b']' => Class::Single(Kind::CloseBracket),
            b',' => Class::Single(Kind::Comma),
            b';' => Class::Single(Kind::Semicolon),
            _ => Class::Refused,
        };
        byte += 1;
    }
    classes
}

#[inline]
fn starts_word(byte: u8) -> bool {
    matches!(CLASSES[byte as usize], Class::Word | Class::Prefix)
}

#[inline]
fn continues_word(byte: u8) -> bool {
    matches!(CLASSES[byte as usize], Class::Word | Class::Prefix | Class::Digit | Class::Dollar)
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], dialect: Dialect) -> Self {
        // In these encodings the second byte of a character can look like ASCII, and the server sees the text only after
        // conversion: nothing in it can be trusted.
        let trusted = dialect.ascii_safe_encoding || text.is_ascii();
        let at = if trusted { 0 } else { usize::MAX };
        Lexer { text, at, backslash_in_plain_strings: !dialect.standard_conforming_strings, commented: false }
    }

    /// The next token; [`Kind::End`] and [`Kind::Bad`] repeat for ever.
    #[inline]
    pub(super) fn next(&mut self) -> Token {
        if !self.skip_blanks() {
            return self.bad();
        }
        let start = self.at;
        let Some(&first) = self.text.get(start) else {
            return Token { kind: Kind::End, start, end: start };
        };
        match CLASSES[first as usize] {
            Class::Word => self.word(start),
            Class::Prefix => self.prefixed(start),
            Class::Digit => self.number(start),
            Class::Single(kind) => self.token(kind, start, start + 1),
            Class::Operator => self.operator(start),
            Class::Quote => {
                let end = self.quoted_end(start + 1, b'\'', self.backslash_in_plain_strings);
                self.constant(Kind::String, start, end)
            }
            Class::DoubleQuote => self.quoted_name(Kind::QuotedName, start, start + 1),
            Class::Dollar => self.dollar(start),
            Class::Dot if self.byte(start + 1).is_some_and(|byte| byte.is_ascii_digit()) => self.number(start),
            // `1..10` belongs to procedural languages; SQL has no use for two dots.
            Class::Dot if self.byte(start + 1) == Some(b'.') => self.bad(),
            Class::Dot => self.token(Kind::Dot, start, start + 1),
            Class::Colon => match self.byte(start + 1) {
                Some(b':') => self.token(Kind::Cast, start, start + 2),
                Some(b'=') => self.token(Kind::Operator, start, start + 2),
                _ => self.token(Kind::Operator, start, start + 1),
            },
            Class::Blank | Class::Refused => self.bad(),
        }
    }

    /// Skips white space and comments; `false` when a comment never ends, or nothing can be read at all.
    #[inline]
    fn skip_blanks(&mut self) -> bool {
        if self.at == usize::MAX {
            return false;
        }
        loop {
            match self.byte(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0C) => self.at += 1,
                Some(b'-') if self.byte(self.at + 1) == Some(b'-') => {
                    self.commented = true;
                    self.at = self.line_end(self.at + 2);
                }
                Some(b'/') if self.byte(self.at + 1) == Some(b'*') => {
                    self.commented = true;
                    match self.comment_end(self.at + 2) {
                        Some(end) => self.at = end,
                        None => return false,
                    }
                }
                _ => return true,
            }
        }
    }

    #[inline]
    fn word(&mut self, start: usize) -> Token {
        let end = self.word_end(start + 1);
        let kind = Keyword::find(&self.text[start..end]).map_or(Kind::Name, Kind::Keyword);
        self.token(kind, start, end)
    }

    /// A word, or a constant such as `E'...'`, `B'...'`, `U&'...'`.
    fn prefixed(&mut self, start: usize) -> Token {
        let letter = self.text[start] | 0x20;
        match (letter, self.byte(start + 1), self.byte(start + 2)) {
            (b'e', Some(b'\''), _) => {
                let end = self.quoted_end(start + 2, b'\'', true);
                self.constant(Kind::String, start, end)
            }
            (b'b' | b'x', Some(b'\''), _) => {
                let end = self.quoted_end(start + 2, b'\'', false);
                self.constant(Kind::String, start, end)
            }
            (b'n', Some(b'\''), _) => {
                let end = self.quoted_end(start + 2, b'\'', self.backslash_in_plain_strings);
                self.constant(Kind::String, start, end)
            }
            // PostgreSQL refuses this form while plain strings have backslashes.
            (b'u', Some(b'&'), Some(b'\'')) if self.backslash_in_plain_strings => self.bad(),
            (b'u', Some(b'&'), Some(b'\'')) => {
                let end = self.quoted_end(start + 3, b'\'', false);
                self.constant(Kind::String, start, end)
            }
            (b'u', Some(b'&'), Some(b'"')) => self.quoted_name(Kind::UnicodeName, start, start + 3),
            _ => self.word(start),
        }
    }

    fn quoted_name(&mut self, kind: Kind, start: usize, inside: usize) -> Token {
        // PostgreSQL refuses an empty name.
        if self.byte(inside) == Some(b'"') && self.byte(inside + 1) != Some(b'"') {
            return self.bad();
        }
        let end = self.quoted_end(inside, b'"', false);
        self.constant(kind, start, end)
    }

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
                while self.byte(end).is_some_and(|byte| continues_word(byte) && byte != b'$') {
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
        while let Some(offset) = self.text[at..].iter().position(|&byte| byte == b'$') {
            at += offset;
            if self.text[at..].starts_with(delimiter) {
                let whole = !self.text[inside..at].contains(&0);
                return self.constant(Kind::String, start, whole.then_some(at + delimiter.len()));
            }
            at += 1;
        }
        self.bad()
    }

    /// An operator runs as far as operator characters do, but not into a comment.
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

    /// Where a quoted constant that is open at `at` ends, behind its last quote. A doubled quote stays inside, and a
    /// string goes on after white space with a line end in it.
    fn quoted_end(&self, mut at: usize, quote: u8, backslash: bool) -> Option<usize> {
        loop {
            let byte = *self.text.get(at)?;
            at += 1;
            if byte == b'\\' && backslash {
                at += 1;
            } else if byte == 0 {
                return None;
            } else if byte == quote {
                if self.byte(at) == Some(quote) {
                    at += 1;
                } else if quote == b'"' {
                    return Some(at);
                } else {
                    match self.continued_at(at) {
                        Some(inside) => at = inside,
                        None => return Some(at),
                    }
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
                (0, _) => return None,
                _ => at += 1,
            }
        }
    }

    fn line_end(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        let length = rest.iter().position(|&byte| matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(rest.len());
        from + length
    }

    #[inline]
    fn word_end(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(continues_word) {
            at += 1;
        }
        at
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
        Token { kind, start, end }
    }

    #[cold]
    fn bad(&mut self) -> Token {
        self.at = usize::MAX;
        Token { kind: Kind::Bad, start: self.text.len(), end: self.text.len() }
    }
}

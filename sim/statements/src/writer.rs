//! Makes a text of tokens: white space, comments, letter case, and the many ways to write a name or a string.

use super::names::is_reserved;
use super::{Statement, Token};
use pgconvoy_core::rng::Rng;

/// Comments that hold what must not be read.
const COMMENTS: &[&str] = &[
    "/**/",
    "/* c */",
    "/* ; select ticks(1) */",
    "/* /* nested ' */ \" */",
    "/*+ hint */",
    "-- line\n",
    "-- it's; for update\r",
    "--\n",
    "/* $$ */",
    "/*é*/",
];

const SPACES: &[&str] = &["  ", "\n", "\t", "\r\n", " \n ", "\u{c}", "\n\n"];

/// A text under way.
#[derive(Debug)]
pub(crate) struct Writer {
    tokens: Vec<Token>,
    standard_strings: bool,
    /// Of sixteen gaps, so many are strange.
    strangeness: u64,
    /// Of eight words, so many are in another case.
    shouting: u64,
    /// The next token stands close to the last.
    close: bool,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { tokens: Vec::new(), standard_strings: true, strangeness: 0, shouting: 0, close: false }
    }

    /// Starts a text.
    pub(crate) fn begin(&mut self, rng: &mut Rng, standard_strings: bool) {
        self.tokens.clear();
        self.standard_strings = standard_strings;
        self.strangeness = if rng.chance(1, 3) { rng.below(8) } else { 0 };
        self.shouting = rng.below(9);
        self.close = true;
    }

    /// Ends a text, and starts another like it.
    pub(crate) fn finish(&mut self, rng: &mut Rng) -> Statement {
        let tokens = core::mem::take(&mut self.tokens);
        let statement = Statement { tokens, standard_strings: self.standard_strings };
        let strings = self.standard_strings;
        self.begin(rng, strings);
        statement
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Writes tokens that white space separates; words of letters in any case.
    pub(crate) fn words(&mut self, words: &str, rng: &mut Rng) {
        for word in words.split_ascii_whitespace() {
            let letters = word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            if letters {
                let cased = self.cased(word, rng);
                self.token(&cased, rng);
            } else {
                self.token(word, rng);
            }
        }
    }

    fn cased(&self, word: &str, rng: &mut Rng) -> String {
        if !rng.chance(self.shouting, 8) {
            return word.to_ascii_lowercase();
        }
        if rng.chance(3, 4) {
            return word.to_ascii_uppercase();
        }
        let mix = |letter: char| if rng.chance(1, 2) { letter.to_ascii_uppercase() } else { letter };
        word.chars().map(mix).collect()
    }

    /// Writes one token as it is.
    pub(crate) fn token(&mut self, text: &str, rng: &mut Rng) {
        self.push(text, false, rng);
    }

    fn push(&mut self, text: &str, escapes: bool, rng: &mut Rng) {
        let gap = self.gap(text, rng);
        self.tokens.push(Token { gap, text: text.into(), escapes });
        self.close = false;
    }

    fn gap(&mut self, text: &str, rng: &mut Rng) -> String {
        let last = self.tokens.last().map_or("(", |token| token.text.as_str());
        let mark = |text: &str| matches!(text, "(" | ")" | "," | ";" | "[" | "]" | "." | "::");
        // What must be apart: a number and a dot, two strings, two operators.
        let may_touch = mark(last) || mark(text);
        if self.tokens.is_empty() && !rng.chance(1, 24) {
            return String::new();
        }
        if self.strangeness > 0 && rng.chance(self.strangeness, 16) {
            if rng.chance(2, 5) {
                let comment = COMMENTS[rng.below(COMMENTS.len() as u64) as usize];
                let space = if comment.starts_with("--") || rng.chance(1, 2) { " " } else { "" };
                return format!("{space}{comment}");
            }
            return SPACES[rng.below(SPACES.len() as u64) as usize].into();
        }
        if self.close || may_touch && rng.chance(7, 8) { String::new() } else { " ".into() }
    }

    /// The dot between two names.
    pub(crate) fn dot(&mut self, rng: &mut Rng) {
        self.close = true;
        self.token(".", rng);
        self.close = true;
    }

    /// An identifier, given as PostgreSQL stores it.
    pub(crate) fn name(&mut self, name: &str, rng: &mut Rng) {
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !is_reserved(name);
        if plain && !rng.chance(1, 12) {
            let cased = self.cased(name, rng);
            return self.token(&cased, rng);
        }
        if rng.chance(1, 6000) && name.is_ascii() {
            // `U&"..."`, its first letter by number.
            let (first, rest) = name.split_at(1);
            let code = first.bytes().next().unwrap_or(b'x');
            return self.token(&format!("U&\"\\{code:04x}{}\"", rest.replace('"', "\"\"")), rng);
        }
        self.token(&format!("\"{}\"", name.replace('"', "\"\"")), rng);
    }

    /// A string constant.
    pub(crate) fn string(&mut self, rng: &mut Rng) {
        let text = match rng.below(24) {
            0 => "'it''s'",
            1 => "''",
            2 => "E'a\\'b'",
            3 => "e'\\\\'",
            4 => "$$a'b$$",
            5 => "$q$ $$ ticks(1) ; $q$",
            6 => "'a'\n 'b'",
            7 => "'a' -- c\n 'b'",
            8 => "'/* '",
            9 => "'-- '",
            10 => "'ticks(1); for update'",
            11 => "'\"'",
            12 => "N'n'",
            13 if self.standard_strings => "U&'d\\0061t\\+000061'",
            14 if self.standard_strings => "U&'d!0061' UESCAPE '!'",
            15 => "'$$'",
            16 => "E'\\x41\\u00e9'",
            17 => "'é'",
            18 | 19 => return self.backslashed(rng),
            _ => ["'a'", "'b'", "'owner 1'", "'%'", "'x y'"][rng.below(5) as usize],
        };
        self.token(text, rng);
    }

    /// A plain string with backslashes, which the setting gives their meaning.
    fn backslashed(&mut self, rng: &mut Rng) {
        let texts: &[&str] = if self.standard_strings {
            &["'\\'", "'a\\'", "'\\\\'", "'\\''x'"]
        } else {
            &["'\\''", "'a\\'; ticks(1)'", "'\\\\'", "'\\\\\\''", "'it\\'s /* '"]
        };
        let text = texts[rng.below(texts.len() as u64) as usize];
        self.push(text, true, rng);
    }
}

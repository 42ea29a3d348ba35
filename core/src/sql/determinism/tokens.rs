//! All tokens of a text in a row, with the parentheses matched: what the parser of writes looks back and forth in.

use alloc::vec::Vec;
use core::ops::Range;

use super::words::{self, TypeKind};
use crate::sql::Dialect;
use crate::sql::keyword::Keyword as K;
use crate::sql::lexer::{Kind, Lexer, Token};
use crate::sql::name::Name;

/// A text cut into tokens.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    list: Vec<Token>,
    /// For each opening parenthesis or bracket where its partner is, and the reverse.
    partners: Vec<u32>,
    pub dialect: Dialect,
}

/// Why a text cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// No version of PostgreSQL takes it.
    Invalid,
    /// PostgreSQL might read it in another way than we can.
    Unknown,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a [u8], dialect: Dialect) -> Result<Self, Unreadable> {
        let mut lexer = Lexer::new(text, dialect);
        let (mut list, mut partners, mut open) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut token = lexer.next();
            let at = list.len();
            // Beside a dot, every word is a name.
            match (list.last_mut(), token.kind) {
                (Some(Token { kind: Kind::Dot, .. }), Kind::Keyword(_)) => token.kind = Kind::Name,
                (Some(Token { kind: kind @ Kind::Keyword(_), .. }), Kind::Dot) => *kind = Kind::Name,
                _ => {}
            }
            let mut partner = at;
            match token.kind {
                Kind::Bad | Kind::UnicodeName => return Err(Unreadable::Unknown),
                Kind::Open | Kind::OpenBracket => open.push(at),
                Kind::Close | Kind::CloseBracket => {
                    partner = open.pop().ok_or(Unreadable::Invalid)?;
                    let opened: &Token = &list[partner];
                    if (opened.kind == Kind::Open) != (token.kind == Kind::Close) {
                        return Err(Unreadable::Invalid);
                    }
                    partners[partner] = at as u32;
                }
                _ => {}
            }
            list.push(token);
            partners.push(partner as u32);
            if token.kind == Kind::End {
                return if open.is_empty() {
                    Ok(Tokens { text, list, partners, dialect })
                } else {
                    Err(Unreadable::Invalid)
                };
            }
        }
    }

    /// How many there are, without the end.
    pub(super) fn len(&self) -> usize {
        self.list.len() - 1
    }

    pub(super) fn kind(&self, at: usize) -> Kind {
        self.list.get(at).map_or(Kind::End, |token| token.kind)
    }

    /// What stands before `at`.
    pub(super) fn before(&self, at: usize) -> Kind {
        at.checked_sub(1).map_or(Kind::Semicolon, |at| self.kind(at))
    }

    pub(super) fn is(&self, at: usize, keyword: K) -> bool {
        self.kind(at) == Kind::Keyword(keyword)
    }

    /// Whether the word at `at` is `word`, one that has no keyword of its own.
    pub(super) fn is_word(&self, at: usize, word: &str) -> bool {
        self.kind(at) == Kind::Name && self.name(at).is(word)
    }

    /// Whether an operator of this spelling stands at `at`.
    pub(super) fn is_operator(&self, at: usize, spelling: &str) -> bool {
        self.kind(at) == Kind::Operator && self.spelling(at) == spelling.as_bytes()
    }

    pub(super) fn is_name(&self, at: usize) -> bool {
        matches!(self.kind(at), Kind::Name | Kind::QuotedName | Kind::Keyword(_))
    }

    pub(super) fn name(&self, at: usize) -> Name<'a> {
        Name::new(self.spelling(at))
    }

    pub(super) fn spelling(&self, at: usize) -> &'a [u8] {
        &self.text[self.list[at].range()]
    }

    /// The bytes from token `from` to before token `to`, without what stands around them.
    pub(super) fn bytes(&self, from: usize, to: usize) -> Range<usize> {
        if from >= to {
            let at = self.start(from);
            return at..at;
        }
        self.start(from)..self.end(to - 1)
    }

    pub(super) fn start(&self, at: usize) -> usize {
        self.list[at].start as usize
    }

    pub(super) fn end(&self, at: usize) -> usize {
        self.list[at].end as usize
    }

    /// Where the parenthesis or bracket at `at` ends or began.
    pub(super) fn partner(&self, at: usize) -> usize {
        self.partners[at] as usize
    }

    /// What comes behind the token at `at`, with all that stands in it if it is an opening parenthesis or bracket.
    pub(super) fn skip(&self, at: usize) -> usize {
        match self.kind(at) {
            Kind::Open | Kind::OpenBracket => self.partner(at) + 1,
            _ => at + 1,
        }
    }

    /// The first token between `from` and `to` outside of parentheses that `is` holds for.
    pub(super) fn find(&self, from: usize, to: usize, mut is: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut at = from;
        while at < to {
            if is(at) {
                return Some(at);
            }
            at = self.skip(at);
        }
        None
    }

    /// The items between the commas of a list.
    pub(super) fn items(&self, from: usize, to: usize) -> Vec<(usize, usize)> {
        let mut items = Vec::new();
        let mut start = from;
        while start < to {
            let end = self.find(start, to, |at| self.kind(at) == Kind::Comma).unwrap_or(to);
            items.push((start, end));
            start = end + 1;
        }
        items
    }

    /// Whether the word at `at` is the name that an `AS` in front of it gives.
    pub(super) fn is_label(&self, at: usize) -> bool {
        self.before(at) == Kind::Keyword(K::As) && !self.is_label(at - 1)
    }

    /// Whether the token at `at` ends an operand, so that a word behind it can only be an alias, or an operator.
    pub(super) fn ends_operand(&self, at: usize) -> bool {
        match self.kind(at) {
            // `a OPERATOR(pg_catalog.+) b`.
            Kind::Close => self.partner(at).checked_sub(1).is_none_or(|before| !self.is_word(before, "operator")),
            Kind::Name | Kind::QuotedName | Kind::CloseBracket | Kind::String | Kind::Number | Kind::Parameter => true,
            // In front of an expression, these are columns.
            Kind::Keyword(K::Insert | K::Update | K::Delete | K::Merge) => true,
            _ => false,
        }
    }

    /// Whether the keyword at `at` begins a clause: it is no label, and not that of `IS DISTINCT FROM`.
    pub(super) fn begins_clause(&self, at: usize) -> bool {
        match self.before(at) {
            Kind::Keyword(K::As) => self.is_label(at - 1),
            Kind::Keyword(K::Distinct) => !self.is(at, K::From),
            Kind::Name => !(self.is(at, K::Group) && self.is_word(at - 1, "within")),
            _ => true,
        }
    }

    /// Steps over a name with dots; `None` if none stands there.
    pub(super) fn path_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            if !self.is_name(at) {
                return None;
            }
            at += 1;
            if self.kind(at) != Kind::Dot {
                return Some(at);
            }
            at += 1;
        }
    }

    /// The type whose name begins at `from`, and where it ends.
    pub(super) fn type_at(&self, from: usize) -> Option<(TypeKind, usize)> {
        let mut end = self.path_end(from)?;
        let name = self.name(end - 1);
        let system = end - from == 1 || end - from == 3 && self.name(from).is("pg_catalog");
        let mut kind = if system { words::type_kind(name) } else { TypeKind::Unknown };
        while self.is(end, K::Precision) || self.is(end, K::Varying) || self.is(end, K::Character) {
            end += 1;
        }
        if self.kind(end) == Kind::Open {
            end = self.skip(end);
        }
        if (self.is(end, K::With) || self.is(end, K::Without)) && self.is(end + 1, K::Time) && self.is(end + 2, K::Zone)
        {
            end += 3;
        }
        while self.kind(end) == Kind::OpenBracket || self.is(end, K::Array) {
            end = self.skip(end);
            if kind == TypeKind::Temporal {
                kind = TypeKind::Unknown;
            }
        }
        Some((kind, end))
    }

    /// Where the select list ends that begins at `from`.
    pub(super) fn list_end(&self, from: usize, to: usize) -> usize {
        let ends = |at: usize| match self.kind(at) {
            Kind::Keyword(keyword) => (keyword == K::From || keyword.ends_from_list()) && self.begins_clause(at),
            _ => false,
        };
        self.find(from, to, ends).unwrap_or(to)
    }

    /// Where the list of relations ends that begins at `from`.
    pub(super) fn clause_end(&self, from: usize, to: usize) -> usize {
        let ends = |at: usize| match self.kind(at) {
            Kind::Keyword(keyword) => keyword.ends_from_list() && self.begins_clause(at),
            _ => false,
        };
        self.find(from, to, ends).unwrap_or(to)
    }
}

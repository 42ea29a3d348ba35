//! A place in a text that moves from token to token, with the small questions every parser asks there.

use super::Dialect;
use super::keyword::Keyword;
use super::lexer::{Kind, Lexer, Token};
use super::name::Name;
use super::uses::Uses;

/// Stands on one token of a text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    lexer: Lexer<'a>,
    token: Token,
    /// What has been named so far.
    pub uses: Uses,
}

impl<'a> Cursor<'a> {
    /// Stands on the first token.
    pub(super) fn new(text: &'a [u8], dialect: Dialect, uses: Uses) -> Self {
        let mut lexer = Lexer::new(text, dialect);
        let token = lexer.next();
        Cursor { text, lexer, token, uses }
    }

    /// Steps to the next token.
    #[inline(never)]
    pub(super) fn bump(&mut self) {
        self.bump_inline();
    }

    /// [`Cursor::bump`] for the innermost loop.
    #[inline(always)]
    pub(super) fn bump_inline(&mut self) {
        self.token = self.lexer.next();
    }

    /// Steps over a dot and a name behind the token that stands here, if there is no gap, and still stands there. The name.
    #[inline(always)]
    pub(super) fn joined_name(&mut self) -> Option<Token> {
        self.lexer.joined_name()
    }

    /// Steps over `keyword` if it stands here.
    pub(super) fn eat(&mut self, keyword: Keyword) -> bool {
        self.eat_kind(Kind::Keyword(keyword))
    }

    pub(super) fn eat_kind(&mut self, kind: Kind) -> bool {
        let here = self.token.kind == kind;
        if here {
            self.bump();
        }
        here
    }

    /// Steps over one identifier, whatever word it is.
    pub(super) fn eat_name(&mut self) -> Option<Name<'a>> {
        let name = self.name()?;
        self.bump();
        Some(name)
    }

    /// Steps over an identifier with dots; with white space between its parts it is not understood.
    pub(super) fn eat_dotted_name(&mut self) -> Option<Name<'a>> {
        let mut whole = self.token;
        self.eat_name()?;
        while self.token.kind == Kind::Dot {
            if self.token.start != whole.end {
                return None;
            }
            self.bump();
            if self.token.start != whole.end + 1 {
                return None;
            }
            whole.end = self.token.end;
            self.eat_name()?;
        }
        Some(self.name_of(whole))
    }

    /// Steps over the parenthesis that stands here, to behind its end. `false` if there is none.
    pub(super) fn eat_parenthesis(&mut self) -> bool {
        if self.token.kind != Kind::Open {
            return false;
        }
        let mut depth = 0usize;
        loop {
            match self.token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                Kind::End | Kind::Bad => return false,
                _ => {}
            }
            self.bump();
            if depth == 0 {
                return true;
            }
        }
    }

    /// The identifier that stands here.
    pub(super) fn name(&self) -> Option<Name<'a>> {
        match self.token.kind {
            Kind::Name | Kind::QuotedName | Kind::Keyword(_) => Some(self.name_of(self.token)),
            _ => None,
        }
    }

    /// `token` as it is written.
    #[inline]
    pub(super) fn spelling_of(&self, token: Token) -> &'a [u8] {
        &self.text[token.range()]
    }

    /// The identifier that was `token`.
    pub(super) fn name_of(&self, token: Token) -> Name<'a> {
        Name::new(self.spelling_of(token))
    }

    /// Whether the statement is over here.
    pub(super) fn at_end(&self) -> bool {
        matches!(self.token.kind, Kind::Semicolon | Kind::End | Kind::Bad)
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        self.token.kind
    }

    #[inline]
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// What follows the token that stands here.
    pub(super) fn peek(&self) -> Kind {
        let mut lexer = self.lexer;
        lexer.next().kind
    }

    /// The token as it is written.
    pub(super) fn spelling(&self) -> &'a [u8] {
        self.spelling_of(self.token)
    }

    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Whether a comment stands before the token.
    pub(super) fn commented(&self) -> bool {
        self.lexer.commented
    }
}

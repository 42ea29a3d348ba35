//! Judges what reads: `SELECT`, `VALUES`, `TABLE`, `WITH`, and parentheses around them.
//!
//! One pass over the tokens, no tree. It looks for what could write (a data-modifying word, `INTO`, row locks, a call of a
//! function that is not listed) and for names of the catalogue. The craft is in telling a call from the other things that
//! have a name in front of a parenthesis; each exception below is a place where PostgreSQL's grammar allows no call, and
//! whatever fits none of them is judged as a call.

use super::cursor::Cursor;
use super::functions::{self, Function};
use super::keyword::Keyword;
use super::lexer::{Kind, Token};
use super::name::Name;
use super::{Hazards, Reason, Verdict};
use crate::limits::SQL_PARENTHESES;

/// Whether a token of this kind can begin a query.
pub(super) fn starts_query(kind: Kind) -> bool {
    use Keyword::{Select, Table, Values, With};
    matches!(kind, Kind::Open | Kind::Keyword(Select | Values | Table | With))
}

/// Reads the query that starts here, up to the end of the statement.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Verdict {
    let mut scan = Scan::new();
    while !cursor.at_end() {
        if cursor.kind() == Kind::Close && scan.depth == 0 {
            scan.not_understood();
            cursor.bump();
        } else {
            scan.step(cursor);
        }
    }
    scan.finish()
}

/// Reads the query between the parenthesis that opens here and the one that closes it, and steps over both.
pub(super) fn read_parenthesis(cursor: &mut Cursor<'_>) -> Verdict {
    let mut scan = Scan::new();
    scan.step(cursor);
    while scan.depth > 0 && !cursor.at_end() {
        scan.step(cursor);
    }
    scan.finish()
}

/// What the token before was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Start,
    Open,
    Close(Inside),
    CloseBracket,
    Comma,
    Cast,
    Keyword(Keyword),
    /// A name that no keyword is spelled like.
    Name,
    Literal,
    Other,
}

/// What a pair of parentheses holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Arguments,
    Query,
    /// Those of `DISTINCT ON`, the only ones that an expression can follow.
    DistinctOn,
    Anything,
}

/// One level of parentheses.
#[derive(Clone, Copy)]
struct Level {
    inside: Inside,
    /// The list of a `WITH` is being read at this level.
    with_list: bool,
}

struct Scan {
    verdict: Verdict,
    before: Before,
    /// What stood before [`Scan::before`].
    earlier: Before,
    /// `INTO` has been seen.
    into: bool,
    depth: usize,
    levels: [Level; SQL_PARENTHESES + 1],
}

impl Scan {
    fn new() -> Self {
        let level = Level { inside: Inside::Anything, with_list: false };
        Scan {
            verdict: Verdict::either(),
            before: Before::Start,
            earlier: Before::Start,
            into: false,
            depth: 0,
            levels: [level; SQL_PARENTHESES + 1],
        }
    }

    /// Takes the token that stands here, and with a name all that belongs to it.
    fn step(&mut self, cursor: &mut Cursor<'_>) {
        let token = cursor.token();
        match token.kind {
            Kind::Keyword(_) | Kind::Name | Kind::QuotedName => return self.word(cursor, token),
            Kind::Open => self.open(match self.before {
                Before::Keyword(Keyword::On) if self.earlier == Before::Keyword(Keyword::Distinct) => {
                    Inside::DistinctOn
                }
                // `WITHIN GROUP (` and `FILTER (` complete a call.
                Before::Keyword(Keyword::Group | Keyword::Filter) => Inside::Arguments,
                _ => Inside::Anything,
            }),
            Kind::Close => self.close(),
            Kind::Dot => return self.field(cursor),
            Kind::CloseBracket => self.advance(Before::CloseBracket),
            Kind::Comma => self.advance(Before::Comma),
            Kind::Cast => self.advance(Before::Cast),
            Kind::String | Kind::Number | Kind::Parameter => self.advance(Before::Literal),
            Kind::Operator | Kind::OpenBracket => self.advance(Before::Other),
            Kind::UnicodeName | Kind::Semicolon | Kind::End | Kind::Bad => {
                self.not_understood();
                self.advance(Before::Other);
            }
        }
        cursor.bump();
    }

    /// A word, with all that dots join to it, and whether it is called.
    fn word(&mut self, cursor: &mut Cursor<'_>, first: Token) {
        let schema = cursor.name();
        let mut name = schema;
        let mut parts = 1;
        let mut catalog = is_catalog(cursor.spelling());
        let temporary = is_temporary_schema(cursor.spelling());
        cursor.bump();
        while cursor.kind() == Kind::Dot {
            cursor.bump();
            // `t.*` has no second name; anything else that is no name ends this one, and PostgreSQL refuses it.
            let Some(part) = cursor.name() else { break };
            parts += 1;
            name = Some(part);
            catalog |= is_catalog(cursor.spelling());
            cursor.bump();
        }
        let keyword = match first.kind {
            Kind::Keyword(keyword) if parts == 1 => Some(keyword),
            _ => None,
        };
        let called = cursor.kind() == Kind::Open
            && !keyword.is_some_and(Keyword::is_syntax)
            && !self.is_no_call(keyword, parts, name, cursor);
        if called {
            let known = parts == 1 || parts == 2 && schema.is_some_and(|schema| schema.is("pg_catalog"));
            self.call(name.filter(|_| known));
        } else if catalog && !matches!(self.before, Before::Cast | Before::Keyword(Keyword::As | Keyword::Collate)) {
            self.verdict.demand_primary(Reason::Catalog, false);
            self.verdict.warn(Hazards::READS_CATALOG);
        }
        if temporary && self.into {
            self.verdict.warn(Hazards::CREATES_TEMP);
        }
        if let Some(keyword) = keyword {
            self.keyword(keyword, cursor.kind());
        }
        self.advance(keyword.map_or(Before::Name, Before::Keyword));
        if called {
            self.open(Inside::Arguments);
            cursor.bump();
        }
    }

    /// Whether the name just read is not called, although a parenthesis follows, where the cursor stands.
    fn is_no_call(&self, keyword: Option<Keyword>, parts: usize, name: Option<Name<'_>>, cursor: &Cursor<'_>) -> bool {
        use Keyword as K;
        match self.before {
            // A type with a modifier; an alias with columns.
            Before::Cast | Before::Keyword(K::As) => return true,
            _ if parts > 1 => return false,
            _ => {}
        }
        let Some(keyword) = keyword else {
            return match self.before {
                // An alias with columns, without `AS`.
                Before::Close(Inside::Arguments | Inside::Query) | Before::Keyword(K::Ordinality) => true,
                // `WITH name (columns) AS`.
                Before::Keyword(K::With | K::Recursive) | Before::Comma => self.level().with_list,
                Before::Keyword(K::Tablesample) => name.is_some_and(|name| name.is("bernoulli") || name.is("system")),
                _ => false,
            };
        };
        let before = |expected: &[Keyword]| matches!(self.before, Before::Keyword(found) if expected.contains(&found));
        match keyword {
            K::Over => self.before == Before::Close(Inside::Arguments),
            K::Filter => cursor.peek() == Kind::Keyword(K::Where),
            K::By => before(&[K::Group, K::Order, K::Partition]),
            K::Cube | K::Rollup => before(&[K::By]) && self.earlier == Before::Keyword(K::Group),
            K::Sets => before(&[K::Grouping]),
            K::Zone => before(&[K::Time]),
            K::Varying => before(&[K::Character, K::Char, K::Nchar, K::Bit]),
            K::First | K::Next => before(&[K::Fetch]),
            K::Materialized => before(&[K::Not]) && self.earlier == Before::Keyword(K::As),
            K::Passing => self.before.is_operand(),
            K::Ilike => self.before.is_operand() || before(&[K::Not]) && self.earlier.is_operand(),
            K::Join => {
                self.before == Before::Name
                    || before(&[K::Inner, K::Left, K::Right, K::Full, K::Outer, K::Cross, K::Natural])
                    || matches!(cursor.peek(), Kind::Keyword(K::Select | K::Values | K::With))
            }
            _ => false,
        }
    }

    /// `name` is called; `None` if its schema is not `pg_catalog`.
    fn call(&mut self, name: Option<Name<'_>>) {
        match name.map_or(Function::Unknown, functions::find) {
            Function::Anywhere => {}
            Function::ReadsPrimary => self.verdict.demand_primary(Reason::PrimaryAnswer, false),
            Function::Unknown => {
                self.verdict.demand_primary(Reason::UnknownFunction, true);
                if name.is_some_and(|name| name.is("set_config")) {
                    self.verdict.warn(Hazards::CHANGES_STATE_UNSEEN);
                }
            }
        }
    }

    /// A keyword; `next` is what follows it.
    fn keyword(&mut self, keyword: Keyword, next: Kind) {
        use Keyword as K;
        let before = self.before;
        let level = self.levels.get_mut(self.depth);
        match keyword {
            K::Update if matches!(before, Before::Keyword(K::For | K::Key)) => {
                self.verdict.demand_primary(Reason::RowLock, true);
            }
            K::For if matches!(next, Kind::Keyword(K::Share | K::No | K::Key)) => {
                self.verdict.demand_primary(Reason::RowLock, true);
            }
            K::Insert | K::Update | K::Delete | K::Merge => self.verdict.demand_primary(Reason::ModifyingQuery, true),
            K::Into => {
                self.verdict.demand_primary(Reason::Into, true);
                self.into = true;
            }
            K::Temp | K::Temporary if self.into => self.verdict.warn(Hazards::CREATES_TEMP),
            K::Select | K::Values | K::Table | K::With if matches!(before, Before::Start | Before::Open) => {
                if let Some(level) = level {
                    let inside = if level.inside == Inside::Anything { Inside::Query } else { level.inside };
                    *level = Level { inside, with_list: keyword == K::With };
                }
            }
            K::With | K::Recursive | K::As | K::Not | K::Materialized => {}
            // The list of a `WITH` is over at the latest here.
            _ => {
                if let Some(level) = level {
                    level.with_list = false;
                }
            }
        }
    }

    /// A dot that joins no two names: `(row).field`, `array[1].field`. Calls are not written so.
    fn field(&mut self, cursor: &mut Cursor<'_>) {
        cursor.bump();
        if cursor.name().is_some() {
            cursor.bump();
        }
        self.advance(Before::Name);
        if cursor.kind() == Kind::Open {
            self.call(None);
            self.open(Inside::Arguments);
            cursor.bump();
        }
    }

    fn open(&mut self, inside: Inside) {
        self.depth += 1;
        match self.levels.get_mut(self.depth) {
            Some(level) => *level = Level { inside, with_list: false },
            None => self.verdict.demand_primary(Reason::TooDeep, true),
        }
        self.advance(Before::Open);
    }

    fn close(&mut self) {
        let inside = self.level().inside;
        self.depth -= 1;
        self.advance(Before::Close(inside));
    }

    fn advance(&mut self, before: Before) {
        self.earlier = self.before;
        self.before = before;
    }

    #[cold]
    fn not_understood(&mut self) {
        self.verdict.demand_primary(Reason::NotUnderstood, true);
    }

    fn finish(mut self) -> Verdict {
        if self.depth > 0 {
            self.not_understood();
        }
        self.verdict
    }

    fn level(&self) -> Level {
        self.levels.get(self.depth).copied().unwrap_or(Level { inside: Inside::Anything, with_list: false })
    }
}

impl Before {
    /// Whether an operand ended here, so that an operator must follow.
    fn is_operand(self) -> bool {
        match self {
            Before::Name | Before::Literal | Before::CloseBracket => true,
            Before::Close(inside) => inside != Inside::DistinctOn,
            _ => false,
        }
    }
}

/// Whether an identifier, as written, is one of the catalogue's: `pg_...` or `information_schema`.
pub(super) fn is_catalog(spelling: &[u8]) -> bool {
    let name = spelling.strip_prefix(b"\"").unwrap_or(spelling);
    match name.first() {
        Some(b'p' | b'P') => name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"pg_")),
        Some(b'i' | b'I') => name.get(..18).is_some_and(|start| start.eq_ignore_ascii_case(b"information_schema")),
        _ => false,
    }
}

/// Whether an identifier, as written, is the schema of the session's temporary relations.
pub(super) fn is_temporary_schema(spelling: &[u8]) -> bool {
    let name = spelling.strip_prefix(b"\"").unwrap_or(spelling);
    name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"pg_temp"))
}

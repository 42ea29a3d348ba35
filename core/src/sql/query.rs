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
use super::statement;
use super::uses::UseKind;
use super::{Hazards, Reason, Route, Verb, Verdict};
use crate::limits::SQL_PARENTHESES;

/// Whether a token of this kind can begin a query.
pub(super) fn starts_query(kind: Kind) -> bool {
    use Keyword::{Select, Table, Values, With};
    matches!(kind, Kind::Open | Kind::Keyword(Select | Values | Table | With))
}

/// Reads the query that starts here, up to the end of the statement.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Verdict {
    let mut scan = Scan::new();
    while scan.step(cursor) {}
    scan.finish()
}

/// Reads the query between the parenthesis that opens here and the one that closes it, and steps over both.
pub(super) fn read_parenthesis(cursor: &mut Cursor<'_>) -> Verdict {
    let mut scan = Scan::new();
    while scan.step(cursor) && scan.depth > 0 {}
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
    Anything,
    Arguments,
    /// Those of `DISTINCT ON`, the only ones that an expression can follow.
    DistinctOn,
}

/// One level of parentheses, in one byte: each query begins with room for all of them, and that is cleared at once.
#[derive(Clone, Copy)]
struct Level(u8);

/// A list in which names mean something of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    None,
    /// That of `WITH`.
    With,
    /// That of `FROM`.
    From,
}

impl Level {
    /// What a list is among the bits; below it stands what the parentheses hold.
    const LIST: u8 = 2;
    /// A query has begun here, so that `FROM` opens a list of relations.
    const QUERY: u8 = 1 << 4;
    /// Nothing is known of it.
    const BLANK: Self = Level::of(Inside::Anything, List::None);

    const fn of(inside: Inside, list: List) -> Self {
        Level(inside as u8 | (list as u8) << Self::LIST)
    }

    const fn inside(self) -> Inside {
        match self.0 & 3 {
            0 => Inside::Anything,
            1 => Inside::Arguments,
            _ => Inside::DistinctOn,
        }
    }

    const fn list(self) -> List {
        match self.0 >> Self::LIST & 3 {
            0 => List::None,
            1 => List::With,
            _ => List::From,
        }
    }

    const fn is_query(self) -> bool {
        self.0 & Self::QUERY != 0
    }

    const fn begin_query(&mut self) {
        self.0 |= Self::QUERY;
    }

    const fn set_list(&mut self, list: List) {
        self.0 = self.0 & !(3 << Self::LIST) | (list as u8) << Self::LIST;
    }
}

/// A word and what dots join to it.
struct Word {
    first: Token,
    last: Token,
    parts: usize,
    /// One of the parts is a name of the catalogue.
    catalog: bool,
}

struct Scan {
    verdict: Verdict,
    /// The word behind a `WITH` that tells what the statement does.
    verb: Verb,
    before: Before,
    /// What stood before [`Scan::before`].
    earlier: Before,
    /// `INTO` has been seen.
    into: bool,
    /// `set_config` is called.
    configures: bool,
    /// Every node would find the same values: there are constants, parameters, and settings.
    constant: bool,
    depth: usize,
    levels: [Level; SQL_PARENTHESES + 1],
}

impl Scan {
    fn new() -> Self {
        Scan {
            verdict: Verdict::either(),
            verb: Verb::Select,
            before: Before::Start,
            earlier: Before::Start,
            into: false,
            configures: false,
            constant: true,
            depth: 0,
            levels: [Level::BLANK; SQL_PARENTHESES + 1],
        }
    }

    /// Takes the token that stands here, and with a name all that belongs to it. `false` at the end of the statement.
    #[inline(always)]
    fn step(&mut self, cursor: &mut Cursor<'_>) -> bool {
        let first = cursor.token();
        match first.kind {
            Kind::Keyword(keyword) => {
                cursor.bump_inline();
                match cursor.kind() {
                    Kind::Dot => self.name(Word::of(first), cursor),
                    Kind::Open if !keyword.is_syntax() => self.name(Word::of(first), cursor),
                    next => {
                        // `VALUES (` and `XMLTABLE (` stand where a relation could.
                        let can_name = keyword.is_column_name() && next != Kind::Open;
                        let means_none = match keyword {
                            Keyword::Rows => next == Kind::Keyword(Keyword::From),
                            Keyword::Recursive => self.before == Before::Keyword(Keyword::With),
                            _ => keyword.is_syntax() && !can_name,
                        };
                        if !means_none {
                            self.note(&Word::of(first), cursor);
                        }
                        if self.is_label(keyword) {
                            self.advance(Before::Name);
                        } else {
                            self.keyword(keyword, next);
                            self.advance(Before::Keyword(keyword));
                        }
                    }
                }
            }
            Kind::Name | Kind::QuotedName => {
                let catalog = is_catalog(cursor.spelling());
                let mut word = Word { first, last: first, parts: 1, catalog };
                while let Some(part) = cursor.joined_name() {
                    word.join(part, cursor);
                }
                cursor.bump_inline();
                if word.catalog || matches!(cursor.kind(), Kind::Open | Kind::Dot) {
                    self.name(word, cursor);
                } else {
                    self.note(&word, cursor);
                    self.constant &= self.before == Before::Keyword(Keyword::As);
                    self.advance(Before::Name);
                }
            }
            Kind::Dot => self.field(cursor),
            Kind::Semicolon | Kind::End | Kind::Bad => return false,
            // `FROM relation * alias (columns)`: with its heirs, as without the asterisk.
            Kind::Operator if self.before == Before::Name && self.follows_relation() && cursor.spelling() == b"*" => {
                cursor.bump();
            }
            mark => {
                self.mark(mark);
                cursor.bump_inline();
            }
        }
        true
    }

    /// Takes a token that is no word.
    #[inline]
    fn mark(&mut self, mark: Kind) {
        match mark {
            Kind::Open => self.open(match self.before {
                Before::Keyword(Keyword::On) if self.earlier == Before::Keyword(Keyword::Distinct) => {
                    Inside::DistinctOn
                }
                // `WITHIN GROUP (` and `FILTER (` complete a call; `ROWS FROM (` is as good as one.
                Before::Keyword(Keyword::Group | Keyword::Filter) => Inside::Arguments,
                Before::Keyword(Keyword::From) if self.earlier == Before::Keyword(Keyword::Rows) => Inside::Arguments,
                _ => Inside::Anything,
            }),
            Kind::Close if self.depth > 0 => self.close(),
            Kind::CloseBracket => self.advance(Before::CloseBracket),
            Kind::Comma => self.advance(Before::Comma),
            Kind::Cast => self.advance(Before::Cast),
            Kind::String | Kind::Number | Kind::Parameter => self.advance(Before::Literal),
            Kind::Operator | Kind::OpenBracket => self.advance(Before::Other),
            _ => {
                self.not_understood();
                self.advance(Before::Other);
            }
        }
    }

    /// A word that may be called, go on behind a gap, or name the catalogue; the cursor stands behind it.
    #[inline(never)]
    fn name(&mut self, mut word: Word, cursor: &mut Cursor<'_>) {
        word.join_across_gaps(cursor);
        let keyword = match word.first.kind {
            Kind::Keyword(keyword) if word.parts == 1 => Some(keyword),
            _ => None,
        };
        let called = cursor.kind() == Kind::Open && !self.is_no_call(keyword, &word, cursor);
        if called {
            if word.parts > 2 {
                cursor.uses.blur();
            }
            cursor.uses.note(UseKind::Function, word.schema(), word.last);
            let known = word.parts == 1 || word.parts == 2 && cursor.name_of(word.first).is("pg_catalog");
            self.call(known.then(|| cursor.name_of(word.last)));
            if known && cursor.name_of(word.last).is("current_setting") && tells_role(cursor) {
                self.verdict.demand_primary(Reason::PrimaryAnswer, false);
            }
        } else {
            self.note(&word, cursor);
            if word.catalog {
                self.catalog(cursor.name_of(word.first));
            }
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

    /// A name of the catalogue that is not called, or of the temporary schema.
    #[cold]
    fn catalog(&mut self, schema: Name<'_>) {
        // Types, aliases and collations are no relations.
        if !matches!(self.before, Before::Cast | Before::Keyword(Keyword::As | Keyword::Collate)) {
            self.verdict.demand_primary(Reason::Catalog, false);
            self.verdict.warn(Hazards::READS_CATALOG);
        }
        if self.into && is_temporary_schema(schema) {
            self.verdict.warn(Hazards::CREATES_TEMP);
        }
    }

    /// Whether the name just read is not called, although a parenthesis follows, where the cursor stands.
    fn is_no_call(&self, keyword: Option<Keyword>, word: &Word, cursor: &Cursor<'_>) -> bool {
        use Keyword as K;
        match self.before {
            // A type with a modifier; an alias with columns.
            Before::Cast | Before::Keyword(K::As) => return true,
            _ if word.parts > 1 => return false,
            _ => {}
        }
        let Some(keyword) = keyword else {
            return match self.before {
                // An alias with columns, without `AS`.
                Before::Close(inside) => inside != Inside::DistinctOn,
                Before::Keyword(K::Ordinality) => true,
                // `FROM relation alias (columns)`.
                before if before == Before::Name || matches!(before, Before::Keyword(k) if k.is_column_name()) => {
                    self.follows_relation()
                }
                // `WITH name (columns) AS`.
                Before::Keyword(K::With | K::Recursive) | Before::Comma => self.level().list() == List::With,
                Before::Keyword(K::Tablesample) => {
                    ["bernoulli", "system"].iter().any(|method| cursor.name_of(word.last).is(method))
                }
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
            K::Passing | K::Repeatable => self.before.is_operand(),
            K::Ilike => self.before.is_operand() || before(&[K::Not]) && self.earlier.is_operand(),
            K::Join => {
                self.before == Before::Name
                    || before(&[K::Inner, K::Left, K::Right, K::Full, K::Outer, K::Cross, K::Natural])
                    || matches!(cursor.peek(), Kind::Keyword(K::Select | K::Values | K::With))
            }
            _ => false,
        }
    }

    /// Whether the name just read, if it was one, is that of a relation in `FROM`.
    fn follows_relation(&self) -> bool {
        use Keyword::{From, Join, Only};
        self.level().list() == List::From
            && matches!(self.earlier, Before::Keyword(From | Join | Only) | Before::Comma | Before::Open)
    }

    /// `name` is called; `None` if its schema is not `pg_catalog`.
    fn call(&mut self, name: Option<Name<'_>>) {
        if name.is_some_and(|name| name.is("set_config")) {
            self.configures = true;
            return;
        }
        self.constant &= name.is_some_and(|name| name.is("current_setting"));
        match name.map_or(Function::Unknown, functions::find) {
            Function::Anywhere => {}
            Function::ReadsPrimary => self.verdict.demand_primary(Reason::PrimaryAnswer, false),
            Function::Writes => self.verdict.demand_primary(Reason::Writes, true),
            Function::Unknown => self.verdict.demand_primary(Reason::UnknownFunction, true),
        }
    }

    /// A keyword; `next` is what follows it.
    fn keyword(&mut self, keyword: Keyword, next: Kind) {
        use Keyword as K;
        let before = self.before;
        match keyword {
            K::Update if matches!(before, Before::Keyword(K::For | K::Key)) => {
                self.verdict.demand_primary(Reason::RowLock, true);
            }
            K::For if matches!(next, Kind::Keyword(K::Share | K::No | K::Key)) => {
                self.verdict.demand_primary(Reason::RowLock, true);
            }
            K::Insert | K::Update | K::Delete | K::Merge => {
                self.verdict.demand_primary(Reason::ModifyingQuery, true);
                let main = self.depth == 0 && self.level().list() == List::With;
                if let Some(level) = self.levels.get_mut(self.depth) {
                    level.set_list(List::None);
                }
                if main && self.verb == Verb::Select && matches!(before, Before::Close(_)) {
                    self.verb = match keyword {
                        K::Insert => Verb::Insert,
                        K::Update => Verb::Update,
                        K::Delete => Verb::Delete,
                        _ => Verb::Other,
                    };
                }
            }
            K::Into => {
                self.verdict.demand_primary(Reason::Into, true);
                self.verdict.warn(Hazards::RESHAPES);
                self.into = true;
            }
            K::Temp | K::Temporary if self.into => self.verdict.warn(Hazards::CREATES_TEMP),
            K::Select | K::Values | K::Table | K::With if matches!(before, Before::Start | Before::Open) => {
                self.constant &= keyword != K::Table;
                if let Some(level) = self.levels.get_mut(self.depth) {
                    level.begin_query();
                    level.set_list(if keyword == K::With { List::With } else { List::None });
                }
            }
            K::With | K::Recursive | K::As | K::Not | K::Materialized => {}
            _ => {
                use K::{CurrentDate, CurrentTime, From, LocalTime, LocalTimestamp};
                self.constant &= !matches!(keyword, From | CurrentDate | CurrentTime | LocalTime | LocalTimestamp);
                let distinct = before == Before::Keyword(K::Distinct);
                let compares = distinct && matches!(self.earlier, Before::Keyword(K::Is | K::Not));
                if let Some(level) = self.levels.get_mut(self.depth) {
                    if keyword == K::Select {
                        // `(SELECT ...) UNION SELECT ...`.
                        level.begin_query();
                    }
                    level.set_list(match (keyword, level.list()) {
                        (K::From, list) if compares || !level.is_query() => list,
                        (K::From, _) => List::From,
                        (word, List::From) if !word.ends_from_list() => List::From,
                        // `SEARCH DEPTH FIRST BY a SET b`, `CYCLE a SET b TO c DEFAULT d USING e`: another query may follow.
                        (K::Set | K::First | K::By | K::To | K::Default | K::Using, List::With) => List::With,
                        // The list of a `WITH` is over at the latest here.
                        _ => List::None,
                    });
                }
            }
        }
    }

    /// A dot that joins no two names: `(row).field`, `array[1].field`. Calls are not written so.
    fn field(&mut self, cursor: &mut Cursor<'_>) {
        cursor.bump();
        if cursor.name().is_some() {
            cursor.uses.note(UseKind::Field, None, cursor.token());
            cursor.bump();
        }
        self.advance(Before::Name);
        if cursor.kind() == Kind::Open {
            cursor.uses.blur();
            self.call(None);
            self.open(Inside::Arguments);
            cursor.bump();
        }
    }

    fn open(&mut self, inside: Inside) {
        // `FROM (a JOIN b ON ...)`.
        let list = if inside == Inside::Anything && self.expects_relation() { List::From } else { List::None };
        self.depth += 1;
        match self.levels.get_mut(self.depth) {
            Some(level) => *level = Level::of(inside, list),
            None => self.verdict.demand_primary(Reason::TooDeep, true),
        }
        self.advance(Before::Open);
    }

    fn close(&mut self) {
        let inside = self.level().inside();
        self.depth -= 1;
        self.advance(Before::Close(inside));
    }

    /// Whether a keyword behind `AS` is a mere name, as it is unless it begins a type or is `[NOT] MATERIALIZED`.
    #[inline]
    fn is_label(&self, keyword: Keyword) -> bool {
        self.before == Before::Keyword(Keyword::As)
            && !matches!(keyword, Keyword::Not | Keyword::Materialized)
            && !keyword.is_column_name()
    }

    /// Whether a name that stands here is one of a relation.
    #[inline]
    fn expects_relation(&self) -> bool {
        use Keyword::{From, Join, Lateral, Only, Table};
        match self.before {
            Before::Keyword(Table) => true,
            Before::Keyword(Only) if self.earlier == Before::Keyword(Table) => true,
            Before::Keyword(From | Join | Lateral | Only) | Before::Comma | Before::Open => {
                self.level().list() == List::From
            }
            _ => false,
        }
    }

    /// Whether a name that stands here is one of a relation that is written.
    #[inline]
    fn expects_target(&self) -> bool {
        use Keyword::{Delete, From, Into, Only, Update};
        match self.before {
            Before::Keyword(Into | Update) => true,
            Before::Keyword(From) => self.earlier == Before::Keyword(Delete),
            Before::Keyword(Only) => matches!(self.earlier, Before::Keyword(Into | Update | From)),
            _ => false,
        }
    }

    /// Takes note of what a name that is not called may stand for.
    #[inline]
    fn note(&self, word: &Word, cursor: &mut Cursor<'_>) {
        if self.expects_relation() {
            if word.parts > 2 {
                cursor.uses.blur();
            }
            cursor.uses.note(UseKind::Relation, word.schema(), word.last);
        } else if self.expects_target() {
            cursor.uses.note(UseKind::Written, None, word.last);
        } else if word.parts > 1 {
            cursor.uses.note(UseKind::Member, None, word.last);
        } else if self.level().list() == List::With
            && matches!(self.before, Before::Keyword(Keyword::With | Keyword::Recursive) | Before::Comma)
        {
            cursor.uses.note(UseKind::With, None, word.last);
        }
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
        self.verdict.verb = self.verb;
        if self.depth > 0 {
            self.not_understood();
        }
        if self.configures {
            self.verdict.configures = self.constant && self.verdict.route == Route::Either;
            self.verdict.demand_primary(Reason::UnknownFunction, true);
            self.verdict.warn(Hazards::CHANGES_STATE_UNSEEN);
            self.verdict.open = false;
        }
        self.verdict
    }

    fn level(&self) -> Level {
        self.levels.get(self.depth).copied().unwrap_or(Level::BLANK)
    }
}

impl Word {
    fn of(keyword: Token) -> Self {
        Word { first: keyword, last: keyword, parts: 1, catalog: false }
    }

    /// The schema in front of the name, of a word of at most two parts.
    fn schema(&self) -> Option<Token> {
        (self.parts > 1).then_some(self.first)
    }

    #[inline]
    fn join(&mut self, part: Token, cursor: &Cursor<'_>) {
        self.parts += 1;
        self.last = part;
        self.catalog |= is_catalog(cursor.spelling_of(part));
    }

    /// Takes the dots that stand here, with white space around them, and the names behind them.
    fn join_across_gaps(&mut self, cursor: &mut Cursor<'_>) {
        while cursor.eat_kind(Kind::Dot) {
            // `t.*` has no second name; anything else that is no name ends this one, and PostgreSQL refuses it.
            if cursor.name().is_none() {
                break;
            }
            self.join(cursor.token(), cursor);
            cursor.bump();
        }
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

/// Whether the setting that is asked for by the constant in the parenthesis here is another on a standby.
fn tells_role(cursor: &Cursor<'_>) -> bool {
    let inside = cursor.text()[cursor.token().range().end..].trim_ascii_start();
    let name = inside.strip_prefix(b"'").and_then(|name| name.split(|byte| *byte == b'\'').next()).unwrap_or_default();
    statement::TELL_ROLE.iter().any(|setting| name.eq_ignore_ascii_case(setting.as_bytes()))
}

/// Whether an identifier, as written, is one of the catalogue's: `pg_...` or `information_schema`.
#[inline(always)]
pub(super) fn is_catalog(spelling: &[u8]) -> bool {
    let start = if let [b'"', start, ..] | [start, ..] = spelling { *start } else { 0 };
    matches!(start, b'p' | b'P' | b'i' | b'I') && is_catalog_name(spelling.strip_prefix(b"\"").unwrap_or(spelling))
}

#[cold]
fn is_catalog_name(name: &[u8]) -> bool {
    ["pg_", "information_schema"]
        .iter()
        .any(|start| name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes())))
}

/// Whether a name is the schema of the session's temporary relations.
pub(super) fn is_temporary_schema(name: Name<'_>) -> bool {
    name.bytes().take(7).eq(*b"pg_temp")
}

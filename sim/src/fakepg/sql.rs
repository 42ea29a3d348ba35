//! The tiny SQL of the model server: enough for the workloads, for resets and for a proxy's own questions.
//!
//! Text is parsed again at each use, so a prepared statement is its text and nothing else.

use super::catalog;
use crate::tag::number;

/// A value in a statement: given in the text, or a parameter counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand<'a> {
    /// A literal.
    Text(&'a [u8]),
    /// `$n`.
    Param(usize),
}

/// One item of a SELECT list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expr<'a> {
    /// A literal or a parameter.
    Value(Operand<'a>),
    /// The column `v` of the row of `kv` that WHERE names.
    Column,
    /// `generate_series(1, n)`: as many rows.
    Series(u32),
    /// `pg_sleep(seconds)`, here in milliseconds.
    Sleep(u32),
    /// `pg_advisory_lock(n)`.
    Lock(u32),
    /// `pg_advisory_unlock(n)`.
    Unlock(u32),
    /// `pg_advisory_unlock_all()`.
    UnlockAll,
    /// `raise('sqlstate')`: fails with that code.
    Raise(Operand<'a>),
    /// `fickle('sqlstate')`: fails with that code on a standby, though it is not volatile by what the catalogue says.
    Fickle(Operand<'a>),
    /// `pg_is_in_recovery()`.
    InRecovery,
    /// `pg_backend_pid()`.
    ProcessId,
}

/// `SELECT a [, b] [FROM kv WHERE k = ..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select<'a> {
    /// The first item: the tag, in a workload's statements.
    pub first: Expr<'a>,
    /// The second item, if any.
    pub second: Option<Expr<'a>>,
    /// The key of the row that `v` is read from.
    pub key: Option<Operand<'a>>,
}

impl Select<'_> {
    /// With which code a standby refuses it.
    pub fn refused(&self) -> Option<[u8; 5]> {
        match self.second {
            Some(Expr::Fickle(Operand::Text(code))) => code.try_into().ok(),
            _ => None,
        }
    }

    /// How many columns the result has.
    pub fn columns(&self) -> usize {
        1 + usize::from(self.second.is_some())
    }
}

/// What a statement that writes does to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// `INSERT INTO kv VALUES (k, v)`.
    Insert(Operand<'a>),
    /// `UPDATE kv SET v = v WHERE k = k`.
    Update(Operand<'a>),
    /// `DELETE FROM kv WHERE k = k`.
    Delete,
}

/// One statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// Nothing but space.
    Empty,
    /// `BEGIN`, `START TRANSACTION`, and whether in a mode that a standby refuses.
    Begin { primary_only: bool },
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT s`.
    Savepoint(&'a [u8]),
    /// `RELEASE s`.
    Release(&'a [u8]),
    /// `ROLLBACK TO s`.
    RollbackTo(&'a [u8]),
    /// `SET [LOCAL] name = value`.
    Set { name: &'a [u8], value: &'a [u8], local: bool },
    /// `RESET name`.
    Reset(&'a [u8]),
    /// `RESET ALL`.
    ResetAll,
    /// `SHOW name`.
    Show(&'a [u8]),
    /// `DISCARD ALL`.
    DiscardAll,
    /// `PREPARE name AS body`.
    Prepare { name: &'a [u8], body: &'a [u8] },
    /// `EXECUTE name [(value)]`.
    Execute { name: &'a [u8], value: Option<Operand<'a>> },
    /// `DEALLOCATE name`.
    Deallocate(&'a [u8]),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DECLARE name CURSOR WITH HOLD FOR SELECT 'tag', generate_series(1, n)`.
    Declare { name: &'a [u8], select: Select<'a> },
    /// `FETCH n FROM name`.
    Fetch { name: &'a [u8], count: u32 },
    /// `CLOSE name`.
    Close(&'a [u8]),
    /// `LISTEN channel`.
    Listen(&'a [u8]),
    /// `UNLISTEN *`.
    UnlistenAll,
    /// `NOTIFY channel, 'payload'`.
    Notify { channel: &'a [u8], payload: &'a [u8] },
    /// `CREATE TEMP TABLE name ()`.
    CreateTemp(&'a [u8]),
    /// `SELECT ..`.
    Select(Select<'a>),
    /// A question about the system catalogue.
    Catalog(&'a [u8]),
    /// A question about the columns of relations: none of them has a default.
    Columns,
    /// What a node is asked about itself ([`pgconvoy_core::delay::QUESTION`]).
    Delay,
    /// INSERT, UPDATE, DELETE, with `RETURNING x` if wanted.
    Write { key: Operand<'a>, change: Change<'a>, returning: Option<Operand<'a>> },
    /// `COPY kv FROM STDIN`: lines of key, tab, value. Refused once it has begun if it is not a table.
    CopyIn { refused: bool },
    /// `COPY (SELECT 'tag', generate_series(1, n)) TO STDOUT`.
    CopyOut(Select<'a>),
}

impl Statement<'_> {
    /// True for what is allowed in a failed transaction block.
    pub fn ends_block(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::RollbackTo(_))
    }

    /// The columns of its result; `None` when it has no result.
    pub fn columns(&self) -> Option<usize> {
        match self {
            Self::Select(select) => Some(select.columns()),
            Self::Show(_) | Self::Catalog(_) | Self::Delay | Self::Write { returning: Some(_), .. } => Some(1),
            Self::Fetch { .. } => Some(2),
            Self::Columns => Some(5),
            _ => None,
        }
    }
}

/// Text that is no statement of the tiny SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError;

/// Cuts the first statement off `text`: what stands before its semicolon, and what stands after it.
pub fn cut(text: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let mut comment = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\'' if !comment => quoted = !quoted,
            b'*' if !quoted && !comment && at > 0 && text[at - 1] == b'/' => comment = true,
            b'/' if comment && text[at - 1] == b'*' => comment = false,
            b';' if !quoted && !comment => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, b"")
}

/// How many parameters `text` has: the highest `$n`.
pub fn parameters(text: &[u8]) -> usize {
    // What PREPARE prepares has parameters of its own.
    if matches!(parse(text), Ok(Statement::Prepare { .. })) {
        return 0;
    }
    let numbers = Scanner(text).map(|token| if let Token::Param(n) = token { n } else { 0 });
    numbers.max().unwrap_or(0)
}

/// Reads one statement without a semicolon.
pub fn parse(text: &[u8]) -> Result<Statement<'_>, SyntaxError> {
    if catalog::is_question(text) {
        return Ok(Statement::Catalog(text));
    }
    if catalog::asks_columns(text) {
        return Ok(Statement::Columns);
    }
    if text == pgconvoy_core::delay::QUESTION.as_bytes() {
        return Ok(Statement::Delay);
    }
    let mut s = Scanner(text);
    let Some(first) = s.next() else { return Ok(Statement::Empty) };
    let Token::Word(word) = first else { return Err(SyntaxError) };
    let statement = if is(word, "select") {
        Statement::Select(s.select()?)
    } else if let Some(statement) = s.transaction(word)? {
        statement
    } else if let Some(statement) = s.write(word)? {
        statement
    } else {
        s.utility(word)?
    };
    // The rest of a CREATE TABLE and of transaction modes does not matter here.
    if !matches!(statement, Statement::CreateTemp(_) | Statement::Begin { .. } | Statement::Prepare { .. })
        && s.next().is_some()
    {
        return Err(SyntaxError);
    }
    Ok(statement)
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a [u8]),
    Number(&'a [u8]),
    Text(&'a [u8]),
    Param(usize),
    Punct(u8),
}

#[derive(Clone, Copy)]
struct Scanner<'a>(&'a [u8]);

impl<'a> Iterator for Scanner<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let (&first, rest) = self.0.split_first()?;
        Some(match first {
            b'\'' => {
                let end = rest.iter().position(|byte| *byte == b'\'').unwrap_or(rest.len());
                self.0 = rest.get(end + 1..).unwrap_or(b"");
                Token::Text(&rest[..end])
            }
            b'$' => {
                self.0 = rest;
                Token::Param(number(self.take(|byte| byte.is_ascii_digit())).unwrap_or(0) as usize)
            }
            b'0'..=b'9' => Token::Number(self.take(|byte| byte.is_ascii_digit() || byte == b'.')),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                Token::Word(self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'))
            }
            punct => {
                self.0 = rest;
                Token::Punct(punct)
            }
        })
    }
}

impl<'a> Scanner<'a> {
    fn skip_space(&mut self) {
        loop {
            match self.0 {
                [b' ' | b'\n' | b'\t', rest @ ..] => self.0 = rest,
                [b'/', b'*', rest @ ..] => {
                    let end = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 2);
                    self.0 = &rest[end..];
                }
                _ => return,
            }
        }
    }

    fn take(&mut self, part: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !part(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.clone().next()
    }

    fn word(&mut self) -> Result<&'a [u8], SyntaxError> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            _ => Err(SyntaxError),
        }
    }

    /// True, and past it, when the next word is `keyword`.
    fn accept(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if is(word, keyword));
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, keyword: &str) -> Result<(), SyntaxError> {
        if self.accept(keyword) { Ok(()) } else { Err(SyntaxError) }
    }

    fn accept_punct(&mut self, punct: u8) -> bool {
        let found = self.peek() == Some(Token::Punct(punct));
        if found {
            self.next();
        }
        found
    }

    fn punct(&mut self, punct: u8) -> Result<(), SyntaxError> {
        if self.accept_punct(punct) { Ok(()) } else { Err(SyntaxError) }
    }

    fn operand(&mut self) -> Result<Operand<'a>, SyntaxError> {
        match self.next() {
            Some(Token::Text(text) | Token::Number(text)) => Ok(Operand::Text(text)),
            Some(Token::Param(n)) if n > 0 => Ok(Operand::Param(n - 1)),
            _ => Err(SyntaxError),
        }
    }

    fn count(&mut self) -> Result<u32, SyntaxError> {
        match self.next() {
            Some(Token::Number(digits)) => number(digits).ok_or(SyntaxError),
            _ => Err(SyntaxError),
        }
    }

    fn select(&mut self) -> Result<Select<'a>, SyntaxError> {
        let first = self.expr()?;
        let second = if self.accept_punct(b',') { Some(self.expr()?) } else { None };
        let mut key = None;
        if self.accept("from") {
            self.expect("kv")?;
            key = Some(self.where_key()?);
        }
        let reads_row = first == Expr::Column || second == Some(Expr::Column);
        if reads_row == key.is_some() { Ok(Select { first, second, key }) } else { Err(SyntaxError) }
    }

    fn where_key(&mut self) -> Result<Operand<'a>, SyntaxError> {
        self.expect("where")?;
        self.expect("k")?;
        self.punct(b'=')?;
        self.operand()
    }

    fn expr(&mut self) -> Result<Expr<'a>, SyntaxError> {
        let Some(Token::Word(word)) = self.peek() else { return Ok(Expr::Value(self.operand()?)) };
        self.next();
        if is(word, "v") {
            return Ok(Expr::Column);
        }
        let function = word.strip_prefix(b"pg_catalog.").unwrap_or(word);
        self.punct(b'(')?;
        let expr = match function {
            b"generate_series" => {
                self.count()?;
                self.punct(b',')?;
                Expr::Series(self.count()?)
            }
            b"pg_sleep" => Expr::Sleep(self.seconds()?),
            b"pg_advisory_lock" => Expr::Lock(self.count()?),
            b"pg_advisory_unlock" => Expr::Unlock(self.count()?),
            b"pg_advisory_unlock_all" => Expr::UnlockAll,
            b"raise" => Expr::Raise(self.operand()?),
            b"fickle" => Expr::Fickle(self.operand()?),
            b"pg_is_in_recovery" => Expr::InRecovery,
            b"pg_backend_pid" => Expr::ProcessId,
            _ => return Err(SyntaxError),
        };
        self.punct(b')')?;
        Ok(expr)
    }

    /// A number of seconds with up to three decimals, as milliseconds.
    fn seconds(&mut self) -> Result<u32, SyntaxError> {
        let Some(Token::Number(text)) = self.next() else { return Err(SyntaxError) };
        let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
        let whole = number(&text[..point]).ok_or(SyntaxError)?;
        let mut decimals = text.get(point + 1..).unwrap_or(b"").iter().map(|digit| u32::from(digit - b'0'));
        Ok((0..3).fold(whole, |sum, _| sum * 10 + decimals.next().unwrap_or(0)))
    }

    fn transaction(&mut self, word: &'a [u8]) -> Result<Option<Statement<'a>>, SyntaxError> {
        Ok(Some(if is(word, "begin") || is(word, "start") {
            let refused = |token| matches!(token, Token::Word(word) if is(word, "serializable") || is(word, "write"));
            Statement::Begin { primary_only: self.clone().any(refused) }
        } else if is(word, "commit") || is(word, "end") {
            Statement::Commit
        } else if is(word, "rollback") || is(word, "abort") {
            if self.accept("to") { Statement::RollbackTo(self.word()?) } else { Statement::Rollback }
        } else if is(word, "savepoint") {
            Statement::Savepoint(self.word()?)
        } else if is(word, "release") {
            Statement::Release(self.word()?)
        } else {
            return Ok(None);
        }))
    }

    fn write(&mut self, word: &'a [u8]) -> Result<Option<Statement<'a>>, SyntaxError> {
        let (key, change) = if is(word, "insert") {
            self.expect("into")?;
            self.expect("kv")?;
            self.expect("values")?;
            self.punct(b'(')?;
            let key = self.operand()?;
            self.punct(b',')?;
            let value = self.operand()?;
            self.punct(b')')?;
            (key, Change::Insert(value))
        } else if is(word, "update") {
            self.expect("kv")?;
            self.expect("set")?;
            self.expect("v")?;
            self.punct(b'=')?;
            let value = self.operand()?;
            (self.where_key()?, Change::Update(value))
        } else if is(word, "delete") {
            self.expect("from")?;
            self.expect("kv")?;
            (self.where_key()?, Change::Delete)
        } else {
            return Ok(None);
        };
        let returning = if self.accept("returning") { Some(self.operand()?) } else { None };
        Ok(Some(Statement::Write { key, change, returning }))
    }

    fn utility(&mut self, word: &'a [u8]) -> Result<Statement<'a>, SyntaxError> {
        Ok(if is(word, "set") {
            self.set()?
        } else if is(word, "reset") {
            if self.accept("all") { Statement::ResetAll } else { Statement::Reset(self.word()?) }
        } else if is(word, "show") {
            Statement::Show(self.word()?)
        } else if is(word, "discard") {
            self.expect("all")?;
            Statement::DiscardAll
        } else if is(word, "prepare") {
            let name = self.word()?;
            self.expect("as")?;
            Statement::Prepare { name, body: core::mem::take(&mut self.0) }
        } else if is(word, "execute") {
            let name = self.word()?;
            let mut value = None;
            if self.accept_punct(b'(') {
                value = Some(self.operand()?);
                self.punct(b')')?;
            }
            Statement::Execute { name, value }
        } else if is(word, "deallocate") {
            if self.accept("all") { Statement::DeallocateAll } else { Statement::Deallocate(self.word()?) }
        } else if is(word, "listen") {
            Statement::Listen(self.word()?)
        } else if is(word, "unlisten") {
            self.punct(b'*')?;
            Statement::UnlistenAll
        } else if is(word, "notify") {
            let channel = self.word()?;
            self.punct(b',')?;
            let Some(Token::Text(payload)) = self.next() else { return Err(SyntaxError) };
            Statement::Notify { channel, payload }
        } else if is(word, "create") {
            self.expect("temp")?;
            self.expect("table")?;
            Statement::CreateTemp(self.word()?)
        } else if is(word, "copy") {
            self.copy()?
        } else {
            self.cursor(word)?
        })
    }

    fn set(&mut self) -> Result<Statement<'a>, SyntaxError> {
        let local = self.accept("local");
        let _ = local || self.accept("session");
        let name = self.word()?;
        if !self.accept("to") {
            self.punct(b'=')?;
        }
        match self.next() {
            Some(Token::Text(value) | Token::Number(value) | Token::Word(value)) => {
                Ok(Statement::Set { name, value, local })
            }
            _ => Err(SyntaxError),
        }
    }

    fn copy(&mut self) -> Result<Statement<'a>, SyntaxError> {
        let refused = self.accept("view");
        if refused || self.accept("kv") {
            self.expect("from")?;
            self.expect("stdin")?;
            return Ok(Statement::CopyIn { refused });
        }
        self.punct(b'(')?;
        self.expect("select")?;
        let select = self.select()?;
        self.punct(b')')?;
        self.expect("to")?;
        self.expect("stdout")?;
        Ok(Statement::CopyOut(select))
    }

    fn cursor(&mut self, word: &'a [u8]) -> Result<Statement<'a>, SyntaxError> {
        if is(word, "declare") {
            let name = self.word()?;
            for keyword in ["cursor", "with", "hold", "for", "select"] {
                self.expect(keyword)?;
            }
            Ok(Statement::Declare { name, select: self.select()? })
        } else if is(word, "fetch") {
            let count = self.count()?;
            self.expect("from")?;
            Ok(Statement::Fetch { name: self.word()?, count })
        } else if is(word, "close") {
            Ok(Statement::Close(self.word()?))
        } else {
            Err(SyntaxError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_the_workloads_are_read() {
        let tag = Expr::Value(Operand::Text(b"c1r2"));
        let plain = |second| Statement::Select(Select { first: tag, second, key: None });
        let cases: [(&str, Statement<'_>); 16] = [
            ("", Statement::Empty),
            (" /*c1r2*/", Statement::Empty),
            ("SELECT 'c1r2' /*c1r2*/", plain(None)),
            ("SELECT 'c1r2', generate_series(1, 5)", plain(Some(Expr::Series(5)))),
            ("SELECT 'c1r2', pg_sleep(0.25)", plain(Some(Expr::Sleep(250)))),
            ("SELECT pg_catalog.pg_is_in_recovery()", {
                Statement::Select(Select { first: Expr::InRecovery, second: None, key: None })
            }),
            ("SELECT $1, v FROM kv WHERE k = $2", {
                let first = Expr::Value(Operand::Param(0));
                Statement::Select(Select { first, second: Some(Expr::Column), key: Some(Operand::Param(1)) })
            }),
            ("update kv set v = 'x' where k = 7 returning 'c1r2'", {
                let change = Change::Update(Operand::Text(b"x"));
                Statement::Write { key: Operand::Text(b"7"), change, returning: Some(Operand::Text(b"c1r2")) }
            }),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", Statement::Begin { primary_only: true }),
            ("BEGIN", Statement::Begin { primary_only: false }),
            ("EXECUTE p('x')", Statement::Execute { name: b"p", value: Some(Operand::Text(b"x")) }),
            ("ROLLBACK TO s1", Statement::RollbackTo(b"s1")),
            ("SET LOCAL work_mem = '4MB'", Statement::Set { name: b"work_mem", value: b"4MB", local: true }),
            ("PREPARE p AS SELECT 1", Statement::Prepare { name: b"p", body: b" SELECT 1" }),
            ("COPY kv FROM STDIN", Statement::CopyIn { refused: false }),
            ("NOTIFY news, 'c1r2'", Statement::Notify { channel: b"news", payload: b"c1r2" }),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_a_syntax_error() {
        for text in ["FROB", "SELECT", "SELECT v", "SELECT 'a' FROM kv WHERE k = 1", "SELECT 'a' 'b'", "COMMIT 7", "1"]
        {
            assert_eq!(parse(text.as_bytes()), Err(SyntaxError), "{text}");
        }
    }

    #[test]
    fn a_query_string_is_cut_at_its_semicolons() {
        assert_eq!(cut(b"SELECT 'a;b'; COMMIT"), (&b"SELECT 'a;b'"[..], &b" COMMIT"[..]));
        assert_eq!(cut(b"SELECT 1 /* ; */"), (&b"SELECT 1 /* ; */"[..], &b""[..]));
        assert_eq!(parameters(b"SELECT $2, '$9' /* $8 */"), 2);
        assert_eq!(parameters(b"PREPARE p AS SELECT $1"), 0);
    }
}

//! What a query string does, as far as routing must know: our own lexer and shallow classifier.
//!
//! [`analyze`] reads a text once, without recursion or allocation, and says where it may go and what it does to the
//! session. **Whatever it does not understand goes to the primary, and counts as a write.** It sees names, never the
//! catalogue: a view, an operator, a cast or `row.function` that calls a volatile function looks innocent here.
//!
//! Where to read: [`Analysis`] is the answer; `lexer` cuts PostgreSQL's tokens; `query` judges what reads (`SELECT`,
//! `VALUES`, `TABLE`, `WITH`); `statement` and `setting` know every other statement; `functions` lists what a query may
//! call; [`determinism`] makes a write mean the same on several servers. Nothing here knows a session, a node or the
//! configuration.

mod cursor;
pub mod determinism;
mod fixed;
mod functions;
mod keyword;
mod lexer;
mod name;
mod query;
mod setting;
mod standalone;
mod statement;
#[cfg(test)]
mod tests;
mod uses;

pub use fixed::fixes_rows;
pub use name::{Name, NameBytes};
pub use standalone::stands_alone;
pub use uses::{UseKind, Uses};

use alloc::vec::Vec;
use core::ops::Range;
use cursor::Cursor;
use keyword::Keyword;
use lexer::Kind;

/// How the session's settings make PostgreSQL read a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The session's `standard_conforming_strings`: with `false` a backslash escapes inside `'...'`.
    pub standard_conforming_strings: bool,
    /// Whether bytes below 0x80 always stand for themselves in the client encoding. Not so in SJIS, SHIFT_JIS_2004, BIG5,
    /// GBK, UHC, GB18030 and JOHAB: there a text with any other byte is not understood.
    pub ascii_safe_encoding: bool,
}

impl Default for Dialect {
    /// PostgreSQL's defaults: standard strings, and an encoding such as UTF-8.
    fn default() -> Self {
        Dialect { standard_conforming_strings: true, ascii_safe_encoding: true }
    }
}

/// How many statements a text holds; empty ones between semicolons do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// White space, comments and semicolons only.
    Empty,
    /// One statement.
    One,
    /// More than one, or a text that cannot be cut into statements.
    Many,
}

/// Where a statement belongs before the state of the session is considered (pgpool's `send_to_where`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The primary only.
    Primary,
    /// The primary and the session's standby, so that both stay in the same state.
    Both,
    /// Any node.
    Either,
}

/// What kind of statement it is, as `SHOW pool_backend_stats` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `SELECT`, `TABLE`, `VALUES`.
    Select,
    /// `INSERT`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// What defines, alters or empties objects, and says who may use them.
    Ddl,
    /// Everything else.
    Other,
}

impl Verb {
    /// How many there are.
    pub const COUNT: usize = Self::Other as usize + 1;
}

/// What a session must know about a text to protect itself; a set of the constants below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hazards(u8);

impl Hazards {
    /// Nothing to heed.
    pub const NONE: Hazards = Hazards(0);
    /// It may change settings, prepared statements, channels or temporary objects where [`Analysis::effect`] does not say
    /// so: a text of several statements that does, a call of `set_config`, a `DO` block, or a text not understood.
    pub const CHANGES_STATE_UNSEEN: Hazards = Hazards(1);
    /// It may create a temporary relation, or drop all.
    pub const CREATES_TEMP: Hazards = Hazards(1 << 1);
    /// A text of several statements, or one not understood, that may begin or end transactions or savepoints.
    pub const CONTROLS_TRANSACTION: Hazards = Hazards(1 << 2);
    /// It names something of the system catalogue or of `information_schema`.
    pub const READS_CATALOG: Hazards = Hazards(1 << 3);
    /// A comment stands in front: no balancing unless `allow_sql_comments` is on.
    pub const HAS_LEADING_COMMENT: Hazards = Hazards(1 << 4);

    /// It may create, alter or drop what other statements name: what is known of the catalogue is not true any more.
    pub const RESHAPES: Hazards = Hazards(1 << 5);

    const UNKNOWN: Hazards =
        Hazards(Self::CHANGES_STATE_UNSEEN.0 | Self::CREATES_TEMP.0 | Self::CONTROLS_TRANSACTION.0 | Self::RESHAPES.0);

    /// Whether every flag of `other` is set here.
    pub const fn contains(self, other: Hazards) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags of both.
    #[must_use]
    pub const fn union(self, other: Hazards) -> Hazards {
        Hazards(self.0 | other.0)
    }
}

/// Why a text is not for any node; for people, through [`Reason::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing keeps it from any node.
    Reads,
    /// It is [`Route::Either`], but a comment stands in front of it.
    LeadingComment,
    /// Nothing to run.
    Empty,
    /// It changes the session or the transaction, on every node of the session.
    Session,
    /// It acts on what only the primary's session has: cursors, channels, statements prepared there.
    PrimarySession,
    /// It shows or calls something whose answer belongs to the primary.
    PrimaryAnswer,
    /// It names the system catalogue.
    Catalog,
    /// A standby cannot run a serializable transaction.
    Serializable,
    /// A transaction that keeps one snapshot and may write has it where it writes.
    Snapshot,
    /// A standby cannot run a transaction that may write.
    ReadWrite,
    /// It reads what the transaction has written (`dml_adaptive`).
    Written,
    /// It reads what somebody has written, and standbys may not have yet (`dml_adaptive_global`).
    RecentlyWritten,
    /// What others have written is not known yet (`dml_adaptive_global`).
    ColdStart,
    /// It reads one of the session's temporary relations (`check_temp_table`).
    Temporary,
    /// A blank stands in front of it, and `ignore_leading_white_space` is off.
    LeadingBlank,
    /// It matches `primary_routing_query_pattern_list`.
    Pattern,
    /// What its names mean could not be looked up.
    NotLookedUp,
    /// A table that it reads is not replicated (`check_unlogged_table`).
    Unlogged,
    /// It reads what the catalogue does not know.
    UnknownRelation,
    /// A policy of row-level security calls what may write.
    VolatilePolicy,
    /// A view calls what may write.
    VolatileView,
    /// Operators, casts, types or domains of this database call what may write.
    VolatileOperator,
    /// It calls a function that is not known to be harmless.
    UnknownFunction,
    /// `FOR UPDATE`, `FOR SHARE` and their kin.
    RowLock,
    /// `SELECT INTO`.
    Into,
    /// A statement inside it writes.
    ModifyingQuery,
    /// The statement may write, or takes locks as a writer does.
    Writes,
    /// More statements than one.
    ManyStatements,
    /// Parentheses deeper than [`crate::limits::SQL_PARENTHESES`].
    TooDeep,
    /// The classifier does not understand it.
    NotUnderstood,
    /// It is for pgconvoy itself.
    ForProxy,
}

impl Reason {
    /// What would let such a statement go to a standby; empty if nothing would.
    pub const fn remedy(self) -> &'static str {
        match self {
            Reason::LeadingBlank => "ignore_leading_white_space = on",
            Reason::Pattern => "another primary_routing_query_pattern_list",
            Reason::Written => "the end of the transaction",
            Reason::RecentlyWritten => "some time, or a lower track_table_mutation_ttl_factor",
            Reason::ColdStart => "some time, or a lower track_table_mutation_cold_start_duration",
            Reason::NotLookedUp => "the same statement once more, when its names have been looked up",
            Reason::Unlogged => "a logged table, or check_unlogged_table = off",
            Reason::UnknownRelation => "a relation of that name",
            Reason::VolatilePolicy => "STABLE functions in the policies of row-level security",
            Reason::VolatileView => "STABLE functions in the view",
            Reason::VolatileOperator => "STABLE functions behind operators, casts and domains",
            Reason::UnknownFunction => "a function that is STABLE, or read_only_function_list",
            Reason::RowLock => "the statement without its row locks",
            Reason::Serializable | Reason::Snapshot | Reason::ReadWrite => "READ ONLY, at a lower isolation level",
            Reason::ManyStatements => "one statement at a time",
            _ => "",
        }
    }

    /// A stable text of a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Reads => "reads only",
            Reason::LeadingComment => "comment in front",
            Reason::Empty => "empty",
            Reason::Session => "session or transaction state",
            Reason::PrimarySession => "session state on the primary",
            Reason::PrimaryAnswer => "answer belongs to the primary",
            Reason::Catalog => "system catalog",
            Reason::Serializable => "serializable isolation",
            Reason::Snapshot => "one snapshot for a transaction that may write",
            Reason::ReadWrite => "read-write transaction",
            Reason::Written => "written in this transaction",
            Reason::RecentlyWritten => "table was recently written",
            Reason::ColdStart => "track table mutation cold start",
            Reason::Temporary => "temporary table",
            Reason::LeadingBlank => "blank in front",
            Reason::Pattern => "primary_routing_query_pattern_list",
            Reason::NotLookedUp => "names not looked up",
            Reason::Unlogged => "unlogged table",
            Reason::UnknownRelation => "relation not known",
            Reason::VolatilePolicy => "row-level security calls what may write",
            Reason::VolatileView => "view calls what may write",
            Reason::VolatileOperator => "operators of this database call what may write",
            Reason::UnknownFunction => "function not known to be read-only",
            Reason::RowLock => "row locks",
            Reason::Into => "SELECT INTO",
            Reason::ModifyingQuery => "data-modifying query",
            Reason::Writes => "may write",
            Reason::ManyStatements => "several statements",
            Reason::TooDeep => "nested too deep",
            Reason::NotUnderstood => "not understood",
            Reason::ForProxy => "command for the proxy",
        }
    }
}

/// What pgconvoy answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolReport {
    /// `EXPLAIN ROUTE`: where a statement would go.
    Route,
    /// `SHOW pool_nodes`.
    Nodes,
    /// `SHOW pool_status`.
    Status,
    /// `SHOW pool_processes`.
    Processes,
    /// `SHOW pool_pools`.
    Pools,
    /// `SHOW pool_version`.
    Version,
    /// `SHOW pool_cache`.
    Cache,
    /// `SHOW pool_health_check_stats`.
    HealthCheckStats,
    /// `SHOW pool_backend_stats`.
    BackendStats,
    /// `SHOW pool_decisions`.
    Decisions,
    /// `SHOW pool_mismatches`.
    Mismatches,
}

/// Where a statement may go, and whether it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Where it belongs before the state of the session is considered.
    pub route: Route,
    /// It may write or lock: a running transaction must stay on the primary from here on.
    pub writes: bool,
    /// What a session must heed.
    pub hazards: Hazards,
    /// Why it is not for any node.
    pub reason: Reason,
    /// Nothing keeps it from any node but what its names may mean: a function that is not known, perhaps.
    pub open: bool,
    /// It is a query that only calls `set_config`, with the same result on every node.
    pub configures: bool,
    /// What kind of statement it is.
    pub verb: Verb,
}

/// What a text of one statement does to the session. A text of several has [`Effect::None`] and [`Hazards`] instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<'a> {
    /// None that a session must follow: queries, statements that only write, and whatever is not understood.
    None,
    /// `BEGIN` or `START TRANSACTION`.
    Begin {
        /// Whether the isolation level given is serializable; `None` if none is given.
        serializable: Option<bool>,
        /// Whether the access mode given is `READ WRITE`; `None` if none is given.
        read_write: Option<bool>,
    },
    /// `COMMIT` or `END`.
    Commit {
        /// Another transaction begins at once.
        chain: bool,
    },
    /// `ROLLBACK` or `ABORT`.
    Rollback {
        /// Another transaction begins at once.
        chain: bool,
    },
    /// `SAVEPOINT`.
    Savepoint {
        /// The savepoint.
        name: Name<'a>,
    },
    /// `RELEASE SAVEPOINT`.
    Release {
        /// The savepoint.
        name: Name<'a>,
    },
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo {
        /// The savepoint.
        name: Name<'a>,
    },
    /// `PREPARE TRANSACTION`: the session's transaction ends here.
    PrepareTransaction,
    /// `COMMIT PREPARED`.
    CommitPrepared,
    /// `ROLLBACK PREPARED`.
    RollbackPrepared,
    /// `SET`. Isolation level and access mode of transactions are [`Effect::SetTransaction`] in every spelling.
    Set {
        /// The setting; `SET TIME ZONE`, `ROLE`, `NAMES` and so on carry the setting's own name.
        name: Name<'a>,
        /// It lasts until the transaction ends.
        local: bool,
    },
    /// A query of `set_config` with constants.
    SetConfig,
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS`, or a setting that means the same.
    SetTransaction {
        /// It holds for transactions to come, not for the running one.
        session: bool,
        /// Whether the isolation level given is serializable; `None` if none is given, or the default.
        serializable: Option<bool>,
        /// Whether the access mode given is `READ WRITE`; `None` if none is given, or the default.
        read_write: Option<bool>,
    },
    /// `RESET`.
    Reset {
        /// The setting; `None` for all.
        name: Option<Name<'a>>,
    },
    /// `PREPARE`. The analysis says where `PREPARE` itself goes.
    Prepare {
        /// The prepared statement.
        name: Name<'a>,
        /// What its `EXECUTE` will do.
        statement: Verdict,
    },
    /// `EXECUTE`, also inside `EXPLAIN`. It goes where its `PREPARE` went; the analysis assumes that this is not known.
    Execute {
        /// The prepared statement.
        name: Name<'a>,
        /// The arguments themselves could go anywhere.
        plain_arguments: bool,
    },
    /// `DEALLOCATE`. It goes where its `PREPARE` went.
    Deallocate {
        /// The prepared statement.
        name: Name<'a>,
    },
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS`, `SEQUENCES` or `TEMP`.
    DiscardOther,
    /// `LISTEN`.
    Listen {
        /// The channel.
        name: Name<'a>,
    },
    /// `UNLISTEN`.
    Unlisten {
        /// The channel; `None` for all.
        name: Option<Name<'a>>,
    },
    /// `NOTIFY`.
    Notify {
        /// The channel.
        name: Name<'a>,
    },
    /// `DECLARE CURSOR`.
    DeclareCursor {
        /// The cursor.
        name: Name<'a>,
        /// It outlives its transaction.
        hold: bool,
    },
    /// `FETCH`.
    Fetch {
        /// The cursor.
        name: Name<'a>,
    },
    /// `MOVE`.
    Move {
        /// The cursor.
        name: Name<'a>,
    },
    /// `CLOSE`.
    CloseCursor {
        /// The cursor; `None` for all.
        name: Option<Name<'a>>,
    },
    /// `LOCK TABLE`.
    Lock,
    /// `COPY`; neither from nor to the client if it is a file or a program of the server.
    Copy {
        /// The client will send data.
        from_stdin: bool,
        /// The client will be sent data.
        to_stdout: bool,
    },
    /// For pgconvoy itself: `SHOW pool_...`.
    ShowPool(PoolReport),
    /// For pgconvoy itself: `EXPLAIN ROUTE`.
    ExplainRoute {
        /// The statement that is explained.
        text: &'a [u8],
    },
    /// For pgconvoy itself: `PGPOOL SHOW`, `SET` or `RESET`.
    PgpoolCommand {
        /// What follows the word `PGPOOL`.
        text: &'a [u8],
    },
    /// A temporary relation is created.
    CreateTemp,
    /// `DROP DATABASE`, `ALTER DATABASE` that renames or moves it, `CREATE DATABASE` that copies it: refused for as long
    /// as others are connected to it.
    ClaimDatabase {
        /// The database.
        name: Name<'a>,
    },
}

/// What [`analyze`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Analysis<'a> {
    /// How many statements there are.
    pub count: Count,
    /// Where the text belongs before the state of the session is considered.
    pub route: Route,
    /// It may write or lock: a running transaction must stay on the primary from here on.
    pub writes: bool,
    /// What it does to the session.
    pub effect: Effect<'a>,
    /// What a session must heed.
    pub hazards: Hazards,
    /// Why it is not for any node.
    pub reason: Reason,
    /// Nothing keeps it from any node but what its names may mean: for [`crate::catalog`] to judge.
    pub open: bool,
    /// What kind of statement it is; of several, the first.
    pub verb: Verb,
}

/// Reads the text of a query message, or of Parse. It never fails: what is not understood is for the primary.
///
/// It takes time linear in the length of `text`, constant memory, and borrows names from `text`.
pub fn analyze(text: &[u8], dialect: Dialect) -> Analysis<'_> {
    analyze_naming(text, dialect, &mut Uses::default())
}

/// [`analyze`], and the names that the text uses.
pub fn analyze_naming<'a>(text: &'a [u8], dialect: Dialect, uses: &mut Uses) -> Analysis<'a> {
    uses.clear();
    let mut cursor = Cursor::new(text, dialect, core::mem::take(uses));
    let analysis = read(&mut cursor);
    *uses = cursor.uses;
    analysis
}

/// Whether PostgreSQL itself has a function of this name, and it is known what it does.
pub fn is_builtin(function: Name<'_>) -> bool {
    functions::find(function) != functions::Function::Unknown
}

/// Whether one of the words in a text that stand where a type can is `wanted`: in a cast, or in front of a string.
pub fn names_type(text: &[u8], dialect: Dialect, wanted: impl Fn(Name<'_>) -> bool) -> bool {
    let mut cursor = Cursor::new(text, dialect, Uses::default());
    let mut before = Kind::Semicolon;
    loop {
        let (kind, name) = (cursor.kind(), cursor.name());
        if matches!(kind, Kind::End | Kind::Bad) {
            return false;
        }
        cursor.bump();
        let cast = matches!(before, Kind::Cast | Kind::Dot | Kind::Keyword(Keyword::As));
        if (cast || cursor.kind() == Kind::String) && name.is_some_and(&wanted) {
            return true;
        }
        before = kind;
    }
}

/// Where the word `WRITE` of `READ WRITE` stands in the modes of a transaction.
pub fn read_write_modes(text: &[u8], dialect: Dialect) -> Vec<Range<usize>> {
    let mut cursor = Cursor::new(text, dialect, Uses::default());
    let mut found = Vec::new();
    while !matches!(cursor.kind(), Kind::End | Kind::Bad) {
        let reads = cursor.kind() == Kind::Keyword(Keyword::Read);
        cursor.bump();
        if reads && cursor.kind() == Kind::Keyword(Keyword::Write) {
            found.push(cursor.token().range());
        }
    }
    found
}

fn read<'a>(cursor: &mut Cursor<'a>) -> Analysis<'a> {
    let commented = cursor.commented();
    let mut found = Analysis::new(Count::Empty, Verdict::primary(Reason::Empty, false), Effect::None);
    loop {
        while cursor.eat_kind(Kind::Semicolon) {}
        match cursor.kind() {
            Kind::End => break,
            Kind::Bad => return Analysis::new(Count::Many, Verdict::not_understood(Hazards::UNKNOWN), Effect::None),
            _ => {}
        }
        let (verdict, effect) = statement::read(cursor);
        if found.count == Count::Empty {
            found = Analysis::new(Count::One, verdict, effect);
        } else {
            found.join(verdict, effect);
        }
    }
    if commented {
        found.hazards = found.hazards.union(Hazards::HAS_LEADING_COMMENT);
        if found.route == Route::Either {
            found.reason = Reason::LeadingComment;
        }
    }
    found
}

impl<'a> Analysis<'a> {
    fn new(count: Count, verdict: Verdict, effect: Effect<'a>) -> Self {
        let Verdict { route, writes, hazards, reason, open, verb, .. } = verdict;
        Analysis { count, route, writes, effect, hazards, reason, open: open && effect.only_reads(), verb }
    }

    /// Takes in one more statement of a text of several.
    fn join(&mut self, verdict: Verdict, effect: Effect<'a>) {
        let seen = self.hazards.union(verdict.hazards);
        self.hazards = seen.union(self.effect.hidden_hazards()).union(effect.hidden_hazards());
        self.count = Count::Many;
        self.writes |= verdict.writes;
        self.open &= verdict.open && effect.is_none();
        if self.route != Route::Either || verdict.route != Route::Either || !self.open {
            self.route = Route::Primary;
            self.reason = if self.open { self.reason.max(verdict.reason) } else { Reason::ManyStatements };
        }
        self.effect = Effect::None;
    }
}

impl Verdict {
    const fn either() -> Self {
        Self::of(Route::Either, false, Reason::Reads)
    }

    const fn both() -> Self {
        Self::of(Route::Both, false, Reason::Session)
    }

    const fn primary(reason: Reason, writes: bool) -> Self {
        Self::of(Route::Primary, writes, reason)
    }

    const fn not_understood(hazards: Hazards) -> Self {
        Verdict { hazards, ..Self::of(Route::Primary, true, Reason::NotUnderstood) }
    }

    const fn of(route: Route, writes: bool, reason: Reason) -> Self {
        let open = matches!(route, Route::Either);
        Verdict { route, writes, hazards: Hazards::NONE, reason, open, configures: false, verb: Verb::Other }
    }

    /// Something was found that belongs to the primary. The gravest reason is kept.
    fn demand_primary(&mut self, reason: Reason, writes: bool) {
        self.route = Route::Primary;
        self.writes |= writes;
        self.reason = self.reason.max(reason);
        self.open &= reason == Reason::UnknownFunction;
    }

    fn warn(&mut self, hazards: Hazards) {
        self.hazards = self.hazards.union(hazards);
    }
}

impl Effect<'_> {
    /// True when a session need not follow it.
    const fn is_none(self) -> bool {
        matches!(self, Effect::None)
    }

    /// True when the statement does no more than a query that it could be written as.
    const fn only_reads(self) -> bool {
        matches!(self, Effect::None | Effect::Copy { from_stdin: false, to_stdout: true })
    }

    /// What a session cannot see once this effect is one of several in a text.
    fn hidden_hazards(self) -> Hazards {
        match self {
            Effect::Begin { .. }
            | Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::Savepoint { .. }
            | Effect::Release { .. }
            | Effect::RollbackTo { .. }
            | Effect::PrepareTransaction
            | Effect::CommitPrepared
            | Effect::RollbackPrepared => Hazards::CONTROLS_TRANSACTION,
            Effect::SetTransaction { .. } => Hazards::CONTROLS_TRANSACTION.union(Hazards::CHANGES_STATE_UNSEEN),
            Effect::Set { .. }
            | Effect::SetConfig
            | Effect::Reset { .. }
            | Effect::Prepare { .. }
            | Effect::Deallocate { .. }
            | Effect::DeallocateAll
            | Effect::DiscardAll
            | Effect::DiscardOther
            | Effect::Listen { .. }
            | Effect::Unlisten { .. }
            | Effect::DeclareCursor { .. }
            | Effect::CloseCursor { .. }
            | Effect::CreateTemp => Hazards::CHANGES_STATE_UNSEEN,
            Effect::None
            | Effect::Execute { .. }
            | Effect::Notify { .. }
            | Effect::Fetch { .. }
            | Effect::Move { .. }
            | Effect::Lock
            | Effect::Copy { .. }
            | Effect::ShowPool(_)
            | Effect::ExplainRoute { .. }
            | Effect::PgpoolCommand { .. }
            | Effect::ClaimDatabase { .. } => Hazards::NONE,
        }
    }
}

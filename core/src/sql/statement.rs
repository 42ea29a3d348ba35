//! Every statement that is not a query: what it does to the session, and where it belongs.
//! Settings are `setting`'s; what stands inside `PREPARE`, `EXPLAIN`, `COPY` or a cursor is judged by `query`.

use super::cursor::Cursor;
use super::keyword::Keyword as K;
use super::lexer::{Kind, Token};
use super::setting::{self, Modes};
use super::uses::UseKind;
use super::{Effect, Hazards, Name, PoolReport, Reason, Route, Verb, Verdict, query};

/// A statement's verdict and effect.
pub(super) type Read<'a> = (Verdict, Effect<'a>);

/// Reads the statement that starts here, up to its semicolon or the end of the text.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    if query::starts_query(cursor.kind()) {
        let verdict = query::read(cursor);
        // What is set on the primary is set where the session reads, too.
        return if verdict.configures { (Verdict::both(), Effect::SetConfig) } else { (verdict, Effect::None) };
    }
    let first = cursor.kind();
    let verb = verb(first, cursor);
    // What a procedure or a library does to the session, only its server knows.
    let unseen = is_word(cursor, "call") || is_word(cursor, "load");
    let imports = is_word(cursor, "import");
    let truncates_some = is_word(cursor, "truncate");
    if !unseen && !imports && !truncates_some {
        cursor.bump();
    }
    let understood = match first {
        Kind::Name if unseen => {
            let (mut verdict, effect) = writes(cursor);
            verdict.warn(Hazards::CHANGES_STATE_UNSEEN.union(Hazards::RESHAPES));
            Some((verdict, effect))
        }
        Kind::Keyword(word) => by_first_word(word, cursor),
        Kind::Name if imports => Some(reshapes(writes(cursor))),
        Kind::Name if truncates_some => Some(truncates(cursor)),
        Kind::Name => Some(writes(cursor)),
        _ => None,
    };
    let (verdict, effect) = match understood {
        Some(read) if cursor.at_end() => read,
        _ => {
            let hazards = if let Kind::Keyword(word) = first { hazards_of(word) } else { Hazards::NONE };
            (Verdict::not_understood(hazards.union(skip(cursor))), Effect::None)
        }
    };
    (Verdict { verb, ..verdict }, effect)
}

/// What kind of statement begins with the word that stands here.
fn verb(first: Kind, cursor: &Cursor<'_>) -> Verb {
    const DEFINING: [&str; 9] =
        ["truncate", "comment", "reindex", "refresh", "revoke", "security", "reassign", "import", "cluster"];
    match first {
        Kind::Keyword(K::Insert) => Verb::Insert,
        Kind::Keyword(K::Update) => Verb::Update,
        Kind::Keyword(K::Delete) => Verb::Delete,
        Kind::Keyword(K::Create | K::Alter | K::Drop | K::Grant) => Verb::Ddl,
        Kind::Name if cursor.name().is_some_and(|name| DEFINING.iter().any(|word| name.is(word))) => Verb::Ddl,
        _ => Verb::Other,
    }
}

/// What a statement that begins with `word` and is not understood might do.
fn hazards_of(word: K) -> Hazards {
    match word {
        K::Begin | K::Start | K::Commit | K::End | K::Rollback | K::Abort | K::Savepoint | K::Release => {
            Hazards::CONTROLS_TRANSACTION
        }
        K::Set | K::Prepare => Hazards::CONTROLS_TRANSACTION.union(Hazards::CHANGES_STATE_UNSEEN),
        K::Reset | K::Deallocate | K::Discard | K::Declare | K::Close | K::Listen | K::Unlisten => {
            Hazards::CHANGES_STATE_UNSEEN
        }
        _ => Hazards::NONE,
    }
}

/// Reads on behind the first word. `None`, or a place before the statement's end, means that it is not understood.
fn by_first_word<'a>(first: K, cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    match first {
        K::Begin => begin(cursor),
        K::Start if cursor.eat(K::Transaction) => started(setting::modes(cursor)?),
        K::Commit | K::End => commit(cursor),
        K::Rollback | K::Abort => rollback(cursor),
        K::Savepoint => in_transaction(Effect::Savepoint { name: cursor.eat_name()? }),
        K::Release => {
            cursor.eat(K::Savepoint);
            in_transaction(Effect::Release { name: cursor.eat_name()? })
        }
        K::Set => setting::set(cursor),
        K::Reset => setting::reset(cursor),
        K::Show => show(cursor),
        K::Prepare => prepare(cursor),
        K::Execute => execute(cursor),
        K::Deallocate => deallocate(cursor),
        K::Discard => discard(cursor),
        K::Declare => declare(cursor),
        K::Fetch => on_primary(Effect::Fetch { name: last_name(cursor)? }, false),
        K::Move => on_primary(Effect::Move { name: last_name(cursor)? }, false),
        K::Close if cursor.eat(K::All) => on_primary(Effect::CloseCursor { name: None }, false),
        K::Close => on_primary(Effect::CloseCursor { name: Some(cursor.eat_name()?) }, false),
        K::Listen => on_primary(Effect::Listen { name: cursor.eat_name()? }, false),
        K::Unlisten if cursor.spelling() == b"*" => {
            cursor.bump();
            on_primary(Effect::Unlisten { name: None }, false)
        }
        K::Unlisten => on_primary(Effect::Unlisten { name: Some(cursor.eat_name()?) }, false),
        K::Notify => notify(cursor),
        K::Lock => Some(lock(cursor)),
        K::Copy => copy(cursor),
        K::Explain => explain(cursor),
        K::Create if is_word(cursor, "database") => Some(create_database(cursor)),
        K::Create => Some(reshapes(create(cursor))),
        K::Drop | K::Alter if is_word(cursor, "database") => Some(claim_database(first, cursor)),
        K::Drop | K::Alter => Some(reshapes(writes(cursor))),
        K::Do => {
            let (mut verdict, effect) = writes(cursor);
            verdict.warn(Hazards::CHANGES_STATE_UNSEEN.union(Hazards::RESHAPES));
            Some((verdict, effect))
        }
        K::Pgpool => pgpool_command(cursor),
        K::Insert | K::Update | K::Delete | K::Merge => Some(modifies(cursor)),
        _ => Some(writes(cursor)),
    }
}

fn begin<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let _ = cursor.eat(K::Work) || cursor.eat(K::Transaction);
    started(setting::modes(cursor)?)
}

/// A standby refuses to begin a serializable transaction. To `READ WRITE` it would object too: the session is told, and
/// begins a plain transaction there, as pgpool does.
fn started<'a>(modes: Modes) -> Option<Read<'a>> {
    let Modes { serializable, read_write, .. } = modes;
    let verdict = match serializable {
        Some(true) => Verdict::primary(Reason::Serializable, false),
        _ if modes.keeps_snapshot() => Verdict::primary(Reason::Snapshot, false),
        _ => Verdict::both(),
    };
    Some((verdict, Effect::Begin { serializable, read_write }))
}

fn commit<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if cursor.eat(K::Prepared) {
        return two_phase(cursor, Effect::CommitPrepared);
    }
    let _ = cursor.eat(K::Work) || cursor.eat(K::Transaction);
    in_transaction(Effect::Commit { chain: chain(cursor)? })
}

fn rollback<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if cursor.eat(K::Prepared) {
        return two_phase(cursor, Effect::RollbackPrepared);
    }
    let _ = cursor.eat(K::Work) || cursor.eat(K::Transaction);
    if cursor.eat(K::To) {
        cursor.eat(K::Savepoint);
        return in_transaction(Effect::RollbackTo { name: cursor.eat_name()? });
    }
    in_transaction(Effect::Rollback { chain: chain(cursor)? })
}

/// `AND [NO] CHAIN`, which may be missing.
fn chain(cursor: &mut Cursor<'_>) -> Option<bool> {
    if !cursor.eat(K::And) {
        return Some(false);
    }
    let without = cursor.eat(K::No);
    cursor.eat(K::Chain).then_some(!without)
}

fn two_phase<'a>(cursor: &mut Cursor<'a>, effect: Effect<'a>) -> Option<Read<'a>> {
    cursor.eat_kind(Kind::String).then_some((Verdict::primary(Reason::Writes, true), effect))
}

fn in_transaction(effect: Effect<'_>) -> Option<Read<'_>> {
    Some((Verdict::both(), effect))
}

fn on_primary(effect: Effect<'_>, writes: bool) -> Option<Read<'_>> {
    Some((Verdict::primary(Reason::PrimarySession, writes), effect))
}

fn show<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let name = cursor.eat_dotted_name()?;
    if let Some((_, report)) = POOL_REPORTS.iter().find(|(spelling, _)| name.is_ignoring_case(spelling)) {
        return Some((Verdict::primary(Reason::ForProxy, false), Effect::ShowPool(*report)));
    }
    // `SHOW TIME ZONE`, `SHOW TRANSACTION ISOLATION LEVEL`.
    while cursor.eat_name().is_some() {}
    let of_primary = TELL_ROLE.iter().any(|setting| name.is_ignoring_case(setting));
    let verdict = if of_primary { Verdict::primary(Reason::PrimaryAnswer, false) } else { Verdict::either() };
    Some((verdict, Effect::None))
}

/// A client that asks these looks for a server that it can write to.
pub(super) const TELL_ROLE: [&str; 2] = ["transaction_read_only", "in_hot_standby"];

const POOL_REPORTS: [(&str, PoolReport); 10] = [
    ("pool_nodes", PoolReport::Nodes),
    ("pool_status", PoolReport::Status),
    ("pool_processes", PoolReport::Processes),
    ("pool_pools", PoolReport::Pools),
    ("pool_version", PoolReport::Version),
    ("pool_cache", PoolReport::Cache),
    ("pool_health_check_stats", PoolReport::HealthCheckStats),
    ("pool_backend_stats", PoolReport::BackendStats),
    ("pool_decisions", PoolReport::Decisions),
    ("pool_mismatches", PoolReport::Mismatches),
];

fn pgpool_command<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if !matches!(cursor.kind(), Kind::Keyword(K::Show | K::Set | K::Reset)) {
        return None;
    }
    let text = rest(cursor);
    Some((Verdict::primary(Reason::ForProxy, false), Effect::PgpoolCommand { text }))
}

/// Steps to the end of the statement, and says where that is.
fn end_of(cursor: &mut Cursor<'_>) -> usize {
    let mut end = cursor.token().range().start;
    while !cursor.at_end() {
        end = cursor.token().range().end;
        cursor.bump();
    }
    end
}

/// Steps to the end of the statement; its text from here on.
fn rest<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    let start = cursor.token().range().start;
    &cursor.text()[start..end_of(cursor).max(start)]
}

fn prepare<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if cursor.kind() == Kind::Keyword(K::Transaction) && cursor.peek() == Kind::String {
        cursor.bump();
        return two_phase(cursor, Effect::PrepareTransaction);
    }
    let name = cursor.eat_name()?;
    if cursor.kind() == Kind::Open && !cursor.eat_parenthesis() || !cursor.eat(K::As) {
        return None;
    }
    let statement = inner(cursor);
    let verdict = Verdict { writes: false, hazards: Hazards::NONE, ..statement };
    Some((verdict, Effect::Prepare { name, statement }))
}

fn execute<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let name = cursor.eat_name()?;
    let arguments = if cursor.kind() == Kind::Open { query::read_parenthesis(cursor) } else { Verdict::either() };
    let plain_arguments = arguments.route == Route::Either;
    let mut verdict = Verdict::primary(Reason::PrimarySession, true);
    verdict.warn(arguments.hazards);
    Some((verdict, Effect::Execute { name, plain_arguments }))
}

fn deallocate<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    cursor.eat(K::Prepare);
    if cursor.eat(K::All) {
        return Some((Verdict::both(), Effect::DeallocateAll));
    }
    on_primary(Effect::Deallocate { name: cursor.eat_name()? }, false)
}

fn discard<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    if cursor.eat(K::All) {
        return Some((discards_temporaries(), Effect::DiscardAll));
    }
    let what = cursor.eat_name()?;
    if what.is("temp") || what.is("temporary") {
        return Some((discards_temporaries(), Effect::DiscardOther));
    }
    (what.is("plans") || what.is("sequences")).then_some((Verdict::both(), Effect::DiscardOther))
}

fn discards_temporaries() -> Verdict {
    let mut verdict = Verdict::both();
    verdict.warn(Hazards::CREATES_TEMP);
    verdict
}

fn declare<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let name = cursor.eat_name()?;
    while !cursor.eat(K::Cursor) {
        cursor.eat_name()?;
    }
    let hold = cursor.eat(K::With);
    if (hold || cursor.eat(K::Without)) && !cursor.eat(K::Hold) {
        return None;
    }
    if !cursor.eat(K::For) || !query::starts_query(cursor.kind()) {
        return None;
    }
    let query = query::read(cursor);
    let mut verdict = Verdict::primary(Reason::PrimarySession, query.writes);
    verdict.warn(query.hazards);
    Some((verdict, Effect::DeclareCursor { name, hold }))
}

/// The cursor of `FETCH` and `MOVE` is their last word, whatever directions stand in front.
fn last_name<'a>(cursor: &mut Cursor<'a>) -> Option<Name<'a>> {
    let mut last = None;
    while !cursor.at_end() {
        last = cursor.name();
        if last.is_none() && !matches!(cursor.kind(), Kind::Number | Kind::Operator) {
            return None;
        }
        cursor.bump();
    }
    last
}

fn notify<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let name = cursor.eat_name()?;
    if cursor.eat_kind(Kind::Comma) && !cursor.eat_kind(Kind::String) {
        return None;
    }
    on_primary(Effect::Notify { name }, true)
}

/// A lock weaker than `ROW EXCLUSIVE` can be had on a standby too. Everything else, and no mode at all, is stronger.
fn lock<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    let mut weak = false;
    while !cursor.at_end() {
        if cursor.eat(K::In) {
            let grade = cursor.kind();
            cursor.bump();
            weak = matches!(grade, Kind::Keyword(K::Access | K::Row)) && cursor.eat(K::Share) && cursor.eat(K::Mode);
        } else {
            cursor.bump();
        }
    }
    let verdict = if weak { Verdict::both() } else { Verdict::primary(Reason::Writes, true) };
    (verdict, Effect::Lock)
}

fn copy<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let mut table = cursor.token();
    let mut verdict = if cursor.kind() == Kind::Open {
        query::read_parenthesis(cursor)
    } else {
        cursor.eat(K::Binary);
        let (verdict, name) = copied_table(cursor)?;
        table = name;
        verdict
    };
    let from = cursor.eat(K::From);
    if !from && !cursor.eat(K::To) {
        return None;
    }
    // PostgreSQL takes either word for either direction.
    let client = cursor.eat(K::Stdin) || cursor.eat(K::Stdout);
    if from {
        cursor.uses.note(UseKind::Written, None, table);
    }
    if from || !client {
        verdict.demand_primary(Reason::Writes, true);
    }
    verdict.warn(skip(cursor));
    Some((verdict, Effect::Copy { from_stdin: from && client, to_stdout: !from && client }))
}

/// The table of `COPY`, and its columns if they are given: read as a query of that table would be.
fn copied_table(cursor: &mut Cursor<'_>) -> Option<(Verdict, Token)> {
    let mut verdict = Verdict::either();
    let (mut schema, mut table) = (None, cursor.token());
    for parts in 1.. {
        if parts > 2 {
            cursor.uses.blur();
        }
        if query::is_catalog(cursor.spelling()) {
            verdict.demand_primary(Reason::Catalog, false);
            verdict.warn(Hazards::READS_CATALOG);
        }
        cursor.eat_name()?;
        if !cursor.eat_kind(Kind::Dot) {
            break;
        }
        (schema, table) = (Some(table), cursor.token());
    }
    cursor.uses.note(UseKind::Relation, schema, table);
    if cursor.kind() == Kind::Open && !cursor.eat_parenthesis() {
        return None;
    }
    Some((verdict, table))
}

fn explain<'a>(cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let word = cursor.token();
    if is_word(cursor, "route") {
        // To the end, with the comments around the statement: as a client would send it.
        let text = cursor.text()[word.range().end..].trim_ascii_start();
        end_of(cursor);
        return Some((Verdict::primary(Reason::ForProxy, false), Effect::ExplainRoute { text }));
    }
    if cursor.kind() == Kind::Open && !query::starts_query(cursor.peek()) {
        if !cursor.eat_parenthesis() {
            return None;
        }
    } else {
        while cursor.eat(K::Analyze) || cursor.eat(K::Analyse) || cursor.eat(K::Verbose) {}
    }
    if cursor.eat(K::Execute) {
        return execute(cursor);
    }
    if cursor.eat(K::Create) {
        return Some(create(cursor));
    }
    Some((inner(cursor), Effect::None))
}

/// What is known of the catalogue is not true after it; temporary relations are in nobody else's.
fn reshapes((mut verdict, effect): Read<'_>) -> Read<'_> {
    if !matches!(effect, Effect::CreateTemp) {
        verdict.warn(Hazards::RESHAPES);
    }
    (verdict, effect)
}

fn create<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    while cursor.eat(K::Or) || cursor.eat(K::Local) || is_word(cursor, "replace") || is_word(cursor, "global") {}
    let temporary = cursor.eat(K::Temp) || cursor.eat(K::Temporary);
    let (mut verdict, _) = writes(cursor);
    if temporary {
        verdict.warn(Hazards::CREATES_TEMP);
    }
    let effect = if verdict.hazards.contains(Hazards::CREATES_TEMP) { Effect::CreateTemp } else { Effect::None };
    (verdict, effect)
}

/// Steps over `word`, one that is no keyword here, if it stands here.
fn is_word(cursor: &mut Cursor<'_>, word: &str) -> bool {
    let here = cursor.kind() == Kind::Name && cursor.name().is_some_and(|name| name.is(word));
    if here {
        cursor.bump();
    }
    here
}

/// The statement inside `PREPARE` or `EXPLAIN`.
fn inner(cursor: &mut Cursor<'_>) -> Verdict {
    match cursor.kind() {
        kind if query::starts_query(kind) => query::read(cursor),
        Kind::Keyword(K::Insert | K::Update | K::Delete | K::Merge) => {
            cursor.bump();
            modifies(cursor).0
        }
        _ => writes(cursor).0,
    }
}

/// PostgreSQL copies `template1` unless told otherwise.
/// A statement that writes one relation.
fn modifies<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    let _ = cursor.eat(K::Into) || cursor.eat(K::From);
    cursor.eat(K::Only);
    // In front of an alias, or of columns.
    target(cursor);
    let mut verdict = Verdict::primary(Reason::Writes, true);
    verdict.warn(skip_noting(cursor, true));
    (verdict, Effect::None)
}

/// Takes note of a relation that is written.
fn target(cursor: &mut Cursor<'_>) {
    let mut name = cursor.token();
    if cursor.eat_name().is_none() {
        return cursor.uses.blur();
    }
    while cursor.eat_kind(Kind::Dot) {
        name = cursor.token();
        cursor.eat_name();
    }
    cursor.uses.note(UseKind::Written, None, name);
}

/// The relations of `TRUNCATE`.
fn truncates<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    cursor.eat(K::Table);
    loop {
        cursor.eat(K::Only);
        target(cursor);
        // An asterisk takes in the heirs.
        cursor.eat_kind(Kind::Operator);
        if !cursor.eat_kind(Kind::Comma) {
            break;
        }
    }
    writes(cursor)
}

fn create_database<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    cursor.eat_name();
    let mut template = Some(Name::new(b"template1"));
    while !cursor.at_end() {
        if is_word(cursor, "template") {
            cursor.eat_kind(Kind::Operator);
            template = cursor.name();
        } else {
            cursor.bump();
        }
    }
    claims(cursor, template)
}

fn claim_database<'a>(first: K, cursor: &mut Cursor<'a>) -> Read<'a> {
    if first == K::Drop && is_word(cursor, "if") {
        cursor.eat(K::Exists);
    }
    let name = cursor.eat_name();
    let alone = first == K::Drop || is_word(cursor, "rename") || (cursor.eat(K::Set) && is_word(cursor, "tablespace"));
    claims(cursor, name.filter(|_| alone))
}

fn claims<'a>(cursor: &mut Cursor<'a>, name: Option<Name<'a>>) -> Read<'a> {
    let (verdict, none) = writes(cursor);
    (verdict, name.map_or(none, |name| Effect::ClaimDatabase { name }))
}

/// A statement that may write, and of which the session need know nothing.
fn writes<'a>(cursor: &mut Cursor<'a>) -> Read<'a> {
    let mut verdict = Verdict::primary(Reason::Writes, true);
    verdict.warn(skip(cursor));
    (verdict, Effect::None)
}

/// Steps to the end of the statement, looking only for names that a session must heed wherever they stand.
fn skip(cursor: &mut Cursor<'_>) -> Hazards {
    skip_noting(cursor, false)
}

/// [`skip`], which notes functions that are `called`, but for PostgreSQL's own.
fn skip_noting(cursor: &mut Cursor<'_>, called: bool) -> Hazards {
    let mut hazards = Hazards::NONE;
    while !cursor.at_end() {
        let (Kind::Name | Kind::QuotedName, Some(name)) = (cursor.kind(), cursor.name()) else {
            cursor.bump();
            continue;
        };
        if name.is("set_config") {
            hazards = hazards.union(Hazards::CHANGES_STATE_UNSEEN);
        } else if query::is_temporary_schema(name) {
            hazards = hazards.union(Hazards::CREATES_TEMP);
        }
        let token = cursor.token();
        cursor.bump();
        if called && cursor.kind() == Kind::Open && !super::is_builtin(name) {
            cursor.uses.note(UseKind::Function, None, token);
        }
    }
    hazards
}

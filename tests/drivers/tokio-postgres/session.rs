//! A scripted session of tokio-postgres. `tests/drivers/run --suite tokio-postgres` builds it and runs it against PostgreSQL itself
//! and a proxy; by hand:
//! `PGHOST=127.0.0.1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres cargo run --example tokio_postgres_session`.
//!
//! Each step prints `step: result`. A result holds nothing that changes from run to run, so that transcripts can be compared line by
//! line. A step that fails prints `step: FAILED`, says why on standard error, and makes the exit status 1.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage};

const LARGE_BYTES: usize = 10 * 1024 * 1024;
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
const SLEEP: &str = "DO $$ BEGIN RAISE NOTICE 'started'; PERFORM pg_sleep(15); END $$";

/// A client with the notices and notifications that reach it outside its queries.
struct Session {
    client: Client,
    messages: UnboundedReceiver<AsyncMessage>,
}

impl Session {
    async fn open() -> Result<Self, Error> {
        Self::open_with(config()).await
    }

    async fn open_with(config: Config) -> Result<Self, Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let (sender, messages) = unbounded_channel();
        tokio::spawn(async move {
            // What a broken connection has to say reaches the query that waits for it.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Self { client, messages })
    }

    async fn notice(&mut self) -> Result<String> {
        while let Some(message) = self.messages.recv().await {
            if let AsyncMessage::Notice(notice) = message {
                return Ok(format!("{} {}", notice.severity(), notice.message()));
            }
        }
        anyhow::bail!("the connection ended before a notice came")
    }

    async fn notification(&mut self) -> Result<tokio_postgres::Notification> {
        while let Some(message) = self.messages.recv().await {
            if let AsyncMessage::Notification(notification) = message {
                return Ok(notification);
            }
        }
        anyhow::bail!("the connection ended before a notification came")
    }

    /// The value of an expression where writes go: what is not a query cannot be answered by a standby.
    async fn on_primary(&mut self, expression: &str) -> Result<String> {
        self.client.batch_execute(&format!("DO $$ BEGIN RAISE NOTICE '%', {expression}; END $$")).await?;
        Ok(self.notice().await?.trim_start_matches("NOTICE ").to_owned())
    }

    async fn one(&self, text: &str) -> Result<String, Error> {
        let messages = self.client.simple_query(text).await?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(row.unwrap_or("nothing").to_owned())
    }
}

fn config() -> Config {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut config = Config::new();
    config
        .host(variable("PGHOST", "127.0.0.1"))
        .port(variable("PGPORT", "5432").parse().unwrap_or(5432))
        .user(variable("PGUSER", "postgres"))
        .dbname(variable("PGDATABASE", "postgres"))
        .application_name("drivers-rust");
    config
}

fn state<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

async fn server_version(session: Session) -> Result<String> {
    Ok(session.one("SHOW server_version").await?)
}

async fn many_types(session: Session) -> Result<String> {
    let row = session
        .client
        .query_one(
            "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::float4, $6::float8, $7::text, $8::bytea, $9::int4[], $10::\"char\", $11::oid, \
             $12::text, $13::text[]",
            &[&true, &i16::MIN, &i32::MAX, &i64::MIN, &1.5f32, &-0.1f64, &"žluťoučký 🐘", &vec![0u8, 1, 254, 255], &vec![Some(1), None, Some(3)],
                &65i8, &u32::MAX, &None::<String>, &vec!["a", "b,c"]],
        )
        .await?;
    Ok(format!(
        "{} {} {} {} {} {} {} {:?} {:?} {} {} {:?} {:?}",
        row.get::<_, bool>(0),
        row.get::<_, i16>(1),
        row.get::<_, i32>(2),
        row.get::<_, i64>(3),
        row.get::<_, f32>(4),
        row.get::<_, f64>(5),
        row.get::<_, String>(6),
        row.get::<_, Vec<u8>>(7),
        row.get::<_, Vec<Option<i32>>>(8),
        row.get::<_, i8>(9),
        row.get::<_, u32>(10),
        row.get::<_, Option<String>>(11),
        row.get::<_, Vec<String>>(12),
    ))
}

async fn unknown_types(session: Session) -> Result<String> {
    // The driver looks types that it does not know up in the catalogues, by prepared statements of its own.
    session
        .client
        .batch_execute("DROP TYPE IF EXISTS drivers_rust_mood; CREATE TYPE drivers_rust_mood AS ENUM ('sad', 'glad')")
        .await?;
    let statement = session.client.prepare("SELECT 'glad'::drivers_rust_mood, ROW(1, 'x')").await?;
    let kinds: Vec<String> = statement.columns().iter().map(|column| column.type_().name().to_owned()).collect();
    drop(statement);
    session.client.batch_execute("DROP TYPE drivers_rust_mood").await?;
    Ok(kinds.join(" "))
}

async fn several_statements(session: Session) -> Result<String> {
    let mut seen = String::new();
    for message in session
        .client
        .simple_query("SELECT 1; CREATE TEMP TABLE several (x int); ; SELECT 'two' AS b, NULL AS c")
        .await?
    {
        match message {
            SimpleQueryMessage::Row(row) => write!(seen, "row of {} with {:?} ", row.len(), row.get(0))?,
            SimpleQueryMessage::CommandComplete(rows) => write!(seen, "complete {rows} ")?,
            _ => seen.push_str("description "),
        }
    }
    Ok(seen.trim().to_owned())
}

async fn prepared_statement(session: Session) -> Result<String> {
    let statement = session.client.prepare_typed("SELECT $1 * 3", &[Type::INT4]).await?;
    let mut products = Vec::new();
    for value in [1, 20, 300] {
        products.push(session.client.query_one(&statement, &[&value]).await?.get::<_, i32>(0).to_string());
    }
    let known = session.one("SELECT count(*) FROM pg_prepared_statements").await?;
    drop(statement);
    let left = session.one("SELECT count(*) FROM pg_prepared_statements").await?;
    Ok(format!("{}, {known} known, {left} left", products.join(" ")))
}

async fn pipelined(session: Session) -> Result<String> {
    let statement = session.client.prepare("SELECT 100 / $1::int4").await?;
    let divisors: Vec<i32> = (0..200).map(|number| number % 50).collect();
    let queries = divisors.iter().map(|divisor| {
        let (client, statement) = (&session.client, &statement);
        async move { client.query_one(statement, &[divisor]).await }
    });
    let mut refused = 0;
    for (divisor, result) in divisors.iter().zip(join_all(queries).await) {
        match result {
            Ok(row) => ensure!(row.get::<_, i32>(0) == 100 / divisor, "another query's row"),
            Err(error) => {
                ensure!(*divisor == 0 && state(Err::<(), _>(error)) == "22012", "an error that is not its own");
                refused += 1;
            }
        }
    }
    Ok(format!("{} queries, {refused} refused", divisors.len()))
}

async fn writes(session: Session) -> Result<String> {
    session
        .client
        .batch_execute("DROP TABLE IF EXISTS drivers_rust; CREATE TABLE drivers_rust (id int PRIMARY KEY, v text)")
        .await?;
    let inserted = session
        .client
        .execute("INSERT INTO drivers_rust SELECT i, 'v' || i FROM generate_series(1, 100) i", &[])
        .await?;
    let updated = session.client.execute("UPDATE drivers_rust SET v = $1 WHERE id <= $2", &[&"changed", &10]).await?;
    let deleted = session.client.execute("DELETE FROM drivers_rust WHERE id > $1", &[&90]).await?;
    let returned =
        session.client.query_one("INSERT INTO drivers_rust VALUES (101, $1) RETURNING v", &[&"back"]).await?;
    let left = session.one("SELECT count(*) || ' rows, sum ' || sum(id) FROM drivers_rust").await?;
    Ok(format!("{inserted} {updated} {deleted} {}, {left}", returned.get::<_, String>(0)))
}

async fn errors(session: Session) -> Result<String> {
    let mut states = Vec::new();
    for text in [
        "SELEC 1",
        "SELECT 1/0",
        "SELECT * FROM no_such_table",
        "INSERT INTO drivers_rust VALUES (1)",
        "BEGIN; SELECT 1/0; COMMIT",
    ] {
        states.push(state(session.client.batch_execute(text).await));
        states.push(state(session.client.query(text, &[]).await));
    }
    session.client.batch_execute("ROLLBACK").await?;
    Ok(format!("{}, then {}", states.join(" "), session.one("SELECT 7").await?))
}

async fn error_fields(session: Session) -> Result<String> {
    let refused = session.client.execute("INSERT INTO drivers_rust VALUES (1)", &[]).await;
    let error = refused.err().context("an error was expected")?;
    let fields = error.as_db_error().context("an error of the server was expected")?;
    let parts = [
        Some(fields.severity()),
        fields.schema(),
        fields.table(),
        fields.constraint(),
        fields.detail(),
        fields.routine(),
    ];
    Ok(parts.map(Option::unwrap_or_default).join(" | "))
}

async fn rolled_back(mut session: Session) -> Result<String> {
    let transaction = session.client.transaction().await?;
    transaction.execute("INSERT INTO drivers_rust VALUES (1000, 'gone')", &[]).await?;
    let count = "SELECT count(*) FROM drivers_rust WHERE id = 1000";
    let inside: i64 = transaction.query_one(count, &[]).await?.get(0);
    transaction.rollback().await?;
    Ok(format!("{inside} inside, {} after", session.one(count).await?))
}

async fn failed_transaction(mut session: Session) -> Result<String> {
    let transaction = session.client.transaction().await?;
    let first = state(transaction.query("SELECT 1/0", &[]).await);
    let second = state(transaction.query("SELECT 1", &[]).await);
    let commit = state(transaction.commit().await);
    Ok(format!("{first} {second} {commit}, then {}", session.one("SELECT 9").await?))
}

async fn savepoints(mut session: Session) -> Result<String> {
    let mut transaction = session.client.transaction().await?;
    transaction.execute("INSERT INTO drivers_rust VALUES (2001, 'kept')", &[]).await?;
    let savepoint = transaction.transaction().await?;
    savepoint.execute("INSERT INTO drivers_rust VALUES (2002, 'undone')", &[]).await?;
    let failed = state(savepoint.query("SELECT 1/0", &[]).await);
    savepoint.rollback().await?;
    transaction.commit().await?;
    Ok(format!(
        "{failed}, left {}",
        session.one("SELECT string_agg(id::text, ' ') FROM drivers_rust WHERE id > 2000").await?
    ))
}

async fn isolation(mut session: Session) -> Result<String> {
    let builder = session.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    let row = transaction
        .query_one(
            "SELECT current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only')",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

async fn portal(mut session: Session) -> Result<String> {
    let transaction = session.client.transaction().await?;
    let portal = transaction.bind("SELECT i FROM generate_series(1, $1::int4) i", &[&25]).await?;
    let mut sizes = Vec::new();
    let mut sum = 0;
    loop {
        let rows = transaction.query_portal(&portal, 10).await?;
        sizes.push(rows.len().to_string());
        sum += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
        ensure!(
            transaction.query_one("SELECT 5", &[]).await?.get::<_, i32>(0) == 5,
            "another query while the portal is open"
        );
        if rows.len() < 10 {
            break;
        }
    }
    drop(portal);
    transaction.commit().await?;
    Ok(format!("{}, sum {sum}", sizes.join(" ")))
}

async fn large_row(session: Session) -> Result<String> {
    let large: Vec<u8> = (0..LARGE_BYTES).map(|index| (index * 31 + (index >> 11)).to_le_bytes()[0]).collect();
    let row = session.client.query_one("SELECT $1::bytea, md5($1::bytea)", &[&large]).await?;
    ensure!(row.get::<_, &[u8]>(0) == large, "the bytes came back changed");
    Ok(format!("{} bytes, {}", row.get::<_, &[u8]>(0).len(), row.get::<_, &str>(1)))
}

async fn streamed_rows(session: Session) -> Result<String> {
    let none: [&(dyn ToSql + Sync); 0] = [];
    let rows = session.client.query_raw("SELECT i, repeat('x', 100) FROM generate_series(1, 100000) i", none).await?;
    let sum = rows.try_fold(0i64, async |sum, row| Ok(sum + i64::from(row.get::<_, i32>(0)))).await?;
    Ok(format!("sum {sum}"))
}

async fn copy_in(session: Session) -> Result<String> {
    session
        .client
        .batch_execute("DROP TABLE IF EXISTS drivers_rust_copy; CREATE TABLE drivers_rust_copy (id int, v text)")
        .await?;
    let mut sink = pin!(session.client.copy_in::<_, Bytes>("COPY drivers_rust_copy FROM STDIN").await?);
    for thousand in 0..50 {
        let lines: String = (0..1000).map(|unit| format!("{0}\tvalue {0}\n", thousand * 1000 + unit)).collect();
        sink.feed(Bytes::from(lines)).await?;
    }
    let copied = sink.finish().await?;
    Ok(format!("{copied} copied, sum {}", session.one("SELECT sum(id) FROM drivers_rust_copy").await?))
}

async fn copy_out(session: Session) -> Result<String> {
    let mut chunks =
        pin!(session.client.copy_out("COPY (SELECT * FROM drivers_rust_copy ORDER BY id) TO STDOUT").await?);
    let (mut bytes, mut lines) = (0, 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        bytes += chunk.len();
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(format!("{lines} lines, {bytes} bytes"))
}

async fn copy_in_refused(session: Session) -> Result<String> {
    let mut sink = pin!(session.client.copy_in::<_, Bytes>("COPY drivers_rust_copy FROM STDIN").await?);
    let sent = sink.send(Bytes::from_static(b"not a number\tx\n")).await;
    let ended = match sent {
        Ok(()) => state(sink.finish().await),
        Err(error) => state(Err::<(), _>(error)),
    };
    Ok(format!("{ended}, {} rows", session.one("SELECT count(*) FROM drivers_rust_copy").await?))
}

async fn copy_in_given_up(session: Session) -> Result<String> {
    {
        let mut sink = pin!(session.client.copy_in::<_, Bytes>("COPY drivers_rust_copy FROM STDIN").await?);
        sink.send(Bytes::from_static(b"1\tone\n")).await?;
    } // a sink that is dropped sends CopyFail
    Ok(format!("{} rows", session.one("SELECT count(*) FROM drivers_rust_copy").await?))
}

async fn listen(mut session: Session) -> Result<String> {
    session.client.batch_execute("LISTEN drivers_rust").await?;
    let other = Session::open().await?;
    other.client.batch_execute("NOTIFY drivers_rust, 'from another'").await?;
    let first = session.notification().await?;
    session.client.execute("SELECT pg_notify('drivers_rust', 'from myself')", &[]).await?;
    let second = session.notification().await?;
    let own = session.on_primary("pg_backend_pid()").await?;
    ensure!(second.process_id().to_string() == own, "the notification's process id");
    Ok([first, second].map(|heard| format!("{}={}", heard.channel(), heard.payload())).join(", "))
}

async fn notices(mut session: Session) -> Result<String> {
    session.client.batch_execute("DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; END $$").await?;
    Ok(format!("{}, {}", session.notice().await?, session.notice().await?))
}

/// Runs a statement that sleeps, acts as soon as it has started, and returns how it ended.
async fn interrupted(session: &mut Session, act: impl Future<Output = Result<()>>) -> Result<String> {
    let Session { client, messages } = session;
    let mut sleeping = pin!(client.batch_execute(SLEEP));
    tokio::select! {
        biased;
        notice = messages.recv() => { notice.context("no notice")?; }
        ended = &mut sleeping => { ended?; }
    }
    act.await?;
    Ok(state(sleeping.await))
}

async fn cancel(mut session: Session) -> Result<String> {
    let token = session.client.cancel_token();
    let ended = interrupted(&mut session, async move { Ok(token.cancel_query(NoTls).await?) }).await?;
    Ok(format!("{ended}, then {}", session.one("SELECT 11").await?))
}

async fn cancel_while_rows_arrive(session: Session) -> Result<String> {
    let none: [&(dyn ToSql + Sync); 0] = [];
    let text = "SELECT i, repeat('x', 10000), pg_sleep(0.001)::text FROM generate_series(1, 15000) i";
    let mut rows = pin!(session.client.query_raw(text, none).await?);
    rows.try_next().await?.context("no row")?;
    session.client.cancel_token().cancel_query(NoTls).await?;
    let ended = loop {
        match rows.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => break "no error".to_owned(),
            Err(error) => break state(Err::<(), _>(error)),
        }
    };
    Ok(format!("{ended}, then {}", session.one("SELECT 12").await?))
}

async fn terminated(mut session: Session) -> Result<String> {
    let pid = session.on_primary("pg_backend_pid()").await?;
    let other = Session::open().await?;
    let terminate = format!("DO $$ BEGIN PERFORM pg_terminate_backend({pid}); END $$");
    let ended = interrupted(&mut session, async { Ok(other.client.batch_execute(&terminate).await?) }).await?;
    Ok(format!("{ended}, then {}", other.one("SELECT 13").await?))
}

async fn fresh_session(first: Session) -> Result<String> {
    first
        .client
        .batch_execute("SET work_mem = '123MB'; CREATE TEMP TABLE drivers_leak (x int); SELECT pg_advisory_lock(4713); LISTEN leak")
        .await?;
    drop(first);
    let fresh = "current_setting('work_mem') <> '123MB' AND to_regclass('pg_temp.drivers_leak') IS NULL \
                 AND NOT EXISTS (SELECT FROM pg_listening_channels()) AND NOT EXISTS (SELECT FROM pg_prepared_statements) \
                 AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())";
    let mut seen = String::new();
    for _ in 0..5 {
        let mut next = Session::open().await?;
        seen += &next.on_primary(fresh).await?;
        seen += &next.one(&format!("SELECT {fresh}")).await?;
    }
    Ok(seen)
}

async fn start_up_settings(_: Session) -> Result<String> {
    let mut named = config();
    named.application_name("named").options("-c work_mem=7MB -c statement_timeout=4321");
    let session = Session::open_with(named).await?;
    let mut shown = Vec::new();
    for name in ["application_name", "work_mem", "statement_timeout"] {
        shown.push(session.one(&format!("SHOW {name}")).await?);
    }
    Ok(shown.join(" "))
}

async fn wrong_database(_: Session) -> Result<String> {
    let mut wrong = config();
    wrong.dbname("no_such_database");
    Ok(state(Session::open_with(wrong).await))
}

async fn many_sessions(_: Session) -> Result<String> {
    let mut own = 0;
    for round in 0..5 {
        let sessions = (0..20).map(|number| async move {
            let tag = round * 20 + number;
            let session = Session::open().await?;
            let row = session.client.query_one("SELECT $1::int4", &[&tag]).await?;
            Ok::<_, Error>(row.get::<_, i32>(0) == tag)
        });
        own += try_join_all(sessions).await?.into_iter().filter(|same| *same).count();
    }
    Ok(format!("{own} own rows"))
}

/// Runs one step on a session of its own and prints its line; false when it failed.
async fn step<F: Future<Output = Result<String>>>(name: &str, work: impl FnOnce(Session) -> F) -> bool {
    let result = tokio::time::timeout(STEP_TIMEOUT, async { work(Session::open().await?).await }).await;
    match result.context("nothing in time").and_then(|done| done) {
        Ok(line) => println!("{name}: {line}"),
        Err(error) => {
            println!("{name}: FAILED");
            eprintln!("{name}: {error:#}");
            return false;
        }
    }
    true
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let passed = [
        step("server version", server_version).await,
        step("many types, binary", many_types).await,
        step("types of the catalogue", unknown_types).await,
        step("several statements in one query", several_statements).await,
        step("prepared statement", prepared_statement).await,
        step("pipelined queries with errors among them", pipelined).await,
        step("insert, update, delete", writes).await,
        step("errors and recovery", errors).await,
        step("error fields", error_fields).await,
        step("transaction rolled back", rolled_back).await,
        step("failed transaction", failed_transaction).await,
        step("savepoints", savepoints).await,
        step("isolation and read-only", isolation).await,
        step("portal with row limits", portal).await,
        step("large row", large_row).await,
        step("streamed rows", streamed_rows).await,
        step("copy in", copy_in).await,
        step("copy out", copy_out).await,
        step("copy in refused", copy_in_refused).await,
        step("copy in given up", copy_in_given_up).await,
        step("listen and notify", listen).await,
        step("notices", notices).await,
        step("cancel", cancel).await,
        step("cancel while rows arrive", cancel_while_rows_arrive).await,
        step("backend terminated", terminated).await,
        step("a new session is fresh", fresh_session).await,
        step("start-up settings", start_up_settings).await,
        step("wrong database", wrong_database).await,
        step("100 sessions, 20 at a time", many_sessions).await,
        step("tables dropped", |session| async move {
            session.client.batch_execute("DROP TABLE IF EXISTS drivers_rust, drivers_rust_copy").await?;
            Ok("yes".to_owned())
        })
        .await,
    ];
    if passed.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! One server in one database: a session that reads from a snapshot, and another one that holds writers up for a moment.

use anyhow::{Context, anyhow};
use pgconvoy_io::config::BackendSettings;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, Config, NoTls};

/// Where PostgreSQL's socket is if a backend has no host name.
const DEFAULT_SOCKET_DIRECTORY: &str = "/tmp";
/// The same text for the same value, whatever the server's or the role's own settings are.
const SETTINGS: &str = "SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; SET xmloption = 'content'; \
    SET lc_monetary = 'C'; SET search_path = ''; SET row_security = off; SET statement_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET standard_conforming_strings = on";

/// Who connects.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub password: Option<String>,
}

/// A server.
pub struct Server {
    /// Its backend's number.
    pub id: u16,
    /// Reads.
    reader: Client,
    /// Holds the lock that lets no writer pass.
    gate: Client,
}

/// Why there is no session with a server.
pub enum Refusal {
    /// It has no such database.
    NoDatabase,
    /// Anything else.
    Other(anyhow::Error),
}

impl Server {
    /// Connects to a `database` of backend `id`.
    pub async fn connect(
        (id, backend): (u16, &BackendSettings),
        database: &str,
        account: &Account,
    ) -> Result<Self, Refusal> {
        let reader = session(backend, database, account).await?;
        let gate = session(backend, database, account).await?;
        Ok(Self { id, reader, gate })
    }

    /// Asks outside a snapshot, or within the one that is open.
    pub async fn rows(&self, sql: &str, arguments: &[&str]) -> anyhow::Result<Vec<tokio_postgres::Row>> {
        let arguments: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            arguments.iter().map(|argument| argument as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        self.reader.query(sql, &arguments).await.map_err(|error| self.failed(error)).with_context(|| sql.to_owned())
    }

    /// Waits until nobody writes to `table`, and lets nobody begin to until [`open_gate`]. False if the wait was too long.
    ///
    /// [`open_gate`]: Self::open_gate
    pub async fn close_gate(&self, table: &str, patience_ms: u32) -> anyhow::Result<bool> {
        let sql = format!("BEGIN; SET LOCAL lock_timeout = {patience_ms}; LOCK TABLE ONLY {table} IN SHARE MODE");
        match self.gate.batch_execute(&sql).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(self.failed(error)).with_context(|| sql),
        }
    }

    /// Lets writers pass again.
    pub async fn open_gate(&self) -> anyhow::Result<()> {
        self.gate.batch_execute("ROLLBACK").await.map_err(|error| self.failed(error))
    }

    /// From here on, all is read as it is now.
    pub async fn begin_snapshot(&self) -> anyhow::Result<()> {
        let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";
        self.reader.batch_execute(sql).await.map_err(|error| self.failed(error))
    }

    /// From here on, all is read as it comes to be.
    pub async fn end_snapshot(&self) -> anyhow::Result<()> {
        self.reader.batch_execute("ROLLBACK").await.map_err(|error| self.failed(error))
    }

    /// It answers no more.
    pub fn is_lost(&self) -> bool {
        self.reader.is_closed() || self.gate.is_closed()
    }

    fn failed(&self, error: tokio_postgres::Error) -> anyhow::Error {
        anyhow!("node {}: {}", self.id, words(&error))
    }
}

async fn session(backend: &BackendSettings, database: &str, account: &Account) -> Result<Client, Refusal> {
    let mut config = Config::new();
    let host = if backend.hostname.is_empty() { DEFAULT_SOCKET_DIRECTORY } else { &backend.hostname };
    config.host(host).port(backend.port).dbname(database).user(&account.user).application_name("pgconvoy verify");
    config.connect_timeout(std::time::Duration::from_secs(10));
    if let Some(password) = &account.password {
        config.password(password);
    }
    let other = |error: tokio_postgres::Error| match error.code() {
        Some(&SqlState::INVALID_CATALOG_NAME) => Refusal::NoDatabase,
        _ => Refusal::Other(anyhow!("{host}:{}: {}", backend.port, words(&error))),
    };
    let (client, connection) = config.connect(NoTls).await.map_err(other)?;
    // Its end is seen by whoever asks next.
    tokio::spawn(async move { drop(connection.await) });
    client.batch_execute(SETTINGS).await.map_err(other)?;
    Ok(client)
}

/// What a server says of an error, or why it says nothing.
fn words(error: &tokio_postgres::Error) -> String {
    let told = |error: &DbError| format!("{}: {} ({})", error.severity(), error.message(), error.code().code());
    error.as_db_error().map_or_else(
        || {
            let mut words = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                words.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            words
        },
        told,
    )
}

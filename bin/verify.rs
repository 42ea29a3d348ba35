//! `pgconvoy verify`: whether the servers behind pgconvoy hold the same data, also while clients write.
//!
//! Where to read, in order:
//! - [`rows`]: one table on all servers, as it is at one moment between its writers.
//! - [`relation`]: the tables, and the questions that compare their rows.
//! - [`server`]: a server's sessions.

mod relation;
mod rows;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use indicatif::{ProgressBar, ProgressStyle};
use pgconvoy_io::config::{Backend, Config, Severity};

use relation::Table;
use rows::{Comparison, Limits, compare};
use server::{Account, Refusal, Server};

/// What is asked of a server before its databases are known.
const FIRST_DATABASE: &str = "postgres";
/// How often, and how soon again, sequences are compared that writers are moving.
const SEQUENCE_TRIES: usize = 10;
const SEQUENCE_PAUSE: Duration = Duration::from_millis(300);
/// Characters of a row that are printed.
const SHOWN: usize = 120;
/// The exit code when servers differ.
const DIFFERENT: u8 = 1;
/// The exit code when they could not all be compared.
const INCOMPLETE: u8 = 2;

/// What `pgconvoy verify` takes on its command line.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A database to compare; may be given again [default: all of them]
    #[arg(short, long = "database", value_name = "NAME")]
    databases: Vec<String>,
    /// A table to compare, as schema.table; may be given again [default: all of them]
    #[arg(short, long = "table", value_name = "NAME")]
    tables: Vec<String>,
    /// Compare these backends only, by their numbers, separated by commas
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    nodes: Vec<u16>,
    /// The user who connects to the servers: one who may lock and read every table
    #[arg(short = 'U', long, env = "PGUSER", default_value = "postgres")]
    user: String,
    /// That user's password
    #[arg(long, env = "PGPASSWORD", hide_env_values = true, hide = true)]
    password: Option<String>,
    /// Rows that are compared by one checksum
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    range: u64,
    /// Rows of a table that are named when they differ
    #[arg(long, value_name = "N", default_value_t = 10)]
    named: usize,
}

/// What was found.
#[derive(Default)]
struct Findings {
    tables: usize,
    rows: u64,
    differences: usize,
    /// What could not be compared.
    failures: usize,
}

/// Compares, and prints what differs. The exit code is 0 if nothing does, 1 if something does, 2 if that is not known.
pub fn main(file: &Path, arguments: &Arguments) -> ExitCode {
    let config = match Config::load(file) {
        Ok(loaded) => loaded.config,
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            complain(&errors.map(|error| error.render() + "\n").collect::<String>());
            return ExitCode::from(INCOMPLETE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(INCOMPLETE);
        }
    };
    let mut findings = Findings::default();
    if let Err(error) = runtime.block_on(verify(&config, arguments, &mut findings)) {
        complain(&format!("{error:#}"));
        return ExitCode::from(INCOMPLETE);
    }
    let Findings { tables, rows, differences, failures } = findings;
    let verdict = match differences {
        0 if failures == 0 => "no difference".to_owned(),
        0 => format!("no difference in what could be compared, {failures} could not"),
        count => number(count as u64, "difference"),
    };
    print(&format!("{} with {}: {verdict}", number(tables as u64, "table"), number(rows, "row")));
    ExitCode::from(if differences > 0 {
        DIFFERENT
    } else if failures > 0 {
        INCOMPLETE
    } else {
        0
    })
}

async fn verify(config: &Config, arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let account = Account { user: arguments.user.clone(), password: arguments.password.clone() };
    let chosen = |backend: &&Backend| arguments.nodes.is_empty() || arguments.nodes.contains(&backend.id);
    let backends: Vec<&Backend> = config.backends.iter().filter(chosen).collect();
    if let Some(unknown) = arguments.nodes.iter().find(|id| !backends.iter().any(|backend| backend.id == **id)) {
        bail!("--nodes: the configuration has no backend {unknown}");
    }
    let mut reached = Vec::new();
    let mut names = BTreeSet::new();
    for backend in backends {
        match databases(backend, &account).await {
            Ok(found) => {
                names.extend(found);
                reached.push(backend);
            }
            Err(error) => {
                findings.failures += 1;
                complain(&format!("node {} is left out: {error:#}", backend.id));
            }
        }
    }
    if reached.len() < 2 {
        bail!("there are {} servers to compare: two are needed at least", reached.len());
    }
    if !arguments.databases.is_empty() {
        if let Some(unknown) = arguments.databases.iter().find(|name| !names.contains(*name)) {
            bail!("no server has a database \"{unknown}\"");
        }
        names = arguments.databases.iter().cloned().collect();
    }
    for name in names {
        verify_database(&reached, &name, &account, arguments, findings)
            .await
            .with_context(|| format!("database {name}"))?;
    }
    Ok(())
}

/// The databases of a server.
async fn databases(backend: &Backend, account: &Account) -> anyhow::Result<Vec<String>> {
    let server = match Server::connect((backend.id, &backend.settings), FIRST_DATABASE, account).await {
        Ok(server) => server,
        Err(Refusal::NoDatabase) => bail!("it has no database {FIRST_DATABASE}"),
        Err(Refusal::Other(error)) => return Err(error),
    };
    let question =
        "SELECT datname::pg_catalog.text FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate";
    Ok(server.rows(question, &[]).await?.iter().map(|row| row.get(0)).collect())
}

async fn verify_database(
    backends: &[&Backend],
    name: &str,
    account: &Account,
    arguments: &Arguments,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let connected =
        join_all(backends.iter().map(|backend| Server::connect((backend.id, &backend.settings), name, account))).await;
    let (mut servers, mut lacking) = (Vec::new(), Vec::new());
    for (backend, result) in backends.iter().zip(connected) {
        match result {
            Ok(server) => servers.push(server),
            Err(Refusal::NoDatabase) => lacking.push(backend.id),
            Err(Refusal::Other(error)) => return Err(error),
        }
    }
    print(&format!("database {name}, {}", nodes(servers.iter().map(|server| server.id))));
    if !lacking.is_empty() {
        findings.differences += 1;
        print(&format!("  missing on {}", nodes(lacking)));
    }
    if servers.len() < 2 {
        return Ok(());
    }
    let lists = try_join_all(servers.iter().map(Table::list)).await?;
    let all: BTreeSet<&String> = lists.iter().flat_map(BTreeMap::keys).collect();
    let wanted: Vec<&String> =
        all.into_iter().filter(|name| arguments.tables.is_empty() || arguments.tables.contains(name)).collect();
    let estimate = |name: &&String| lists.iter().filter_map(|list| list.get(*name)).map(|table| table.estimate).max();
    let progress = ProgressBar::new(wanted.iter().filter_map(estimate).sum());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of about {len} rows, {eta} to go: {wide_msg}") {
        progress.set_style(style);
    }
    for name in wanted {
        progress.set_message(name.clone());
        findings.tables += 1;
        match verify_table(&servers, &lists, name, arguments, findings, &progress).await {
            Ok(lines) => progress.suspend(|| lines.iter().for_each(|line| print(line))),
            Err(error) if servers.iter().any(Server::is_lost) => return Err(error.context(format!("table {name}"))),
            Err(error) => {
                findings.failures += 1;
                progress.suspend(|| complain(&format!("table {name} is left out: {error:#}")));
            }
        }
    }
    progress.finish_and_clear();
    verify_sequences(&servers, findings).await
}

/// What is to be said of a table.
async fn verify_table(
    servers: &[Server],
    lists: &[BTreeMap<String, Table>],
    name: &str,
    arguments: &Arguments,
    findings: &mut Findings,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<String>> {
    let lacking: Vec<u16> =
        servers.iter().zip(lists).filter(|(_, list)| !list.contains_key(name)).map(|(server, _)| server.id).collect();
    if !lacking.is_empty() {
        findings.differences += 1;
        return Ok(vec![format!("  {name}: missing on {}", nodes(lacking))]);
    }
    let tables: Vec<&Table> = lists.iter().filter_map(|list| list.get(name)).collect();
    let table = tables[0];
    if !tables.iter().all(|other| other.has_columns_of(table)) {
        findings.differences += 1;
        let described = |(server, table): (&Server, &&Table)| format!("    node {} {}", server.id, table.described());
        let columns = servers.iter().zip(&tables).map(described);
        return Ok([format!("  {name}: other columns")].into_iter().chain(columns).collect());
    }
    let limits = Limits { range: arguments.range, named: arguments.named };
    let mut comparison = compare(servers, table, limits, progress).await?;
    if comparison.differing > 0 {
        // A writer that is not in a transaction of all servers, as a procedure that commits, may have been under way.
        comparison = compare(servers, table, limits, progress).await?;
    }
    findings.rows += comparison.counts[0];
    if comparison.differing == 0 {
        return Ok(vec![format!("  {name}: {}, alike", number(comparison.counts[0], "row"))]);
    }
    findings.differences += 1;
    Ok(told(name, servers, &comparison))
}

/// The words for a table whose rows differ.
fn told(name: &str, servers: &[Server], comparison: &Comparison) -> Vec<String> {
    let count = |(server, count): (&Server, &u64)| format!("{count} on node {}", server.id);
    let counts: Vec<String> = servers.iter().zip(&comparison.counts).map(count).collect();
    let differing = number(comparison.differing, "row");
    let mut lines = vec![format!("  {name}: {differing} not alike, of {}", counts.join(", "))];
    for difference in &comparison.named {
        let mut versions: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for (server, version) in servers.iter().zip(&difference.versions) {
            versions.entry(version).or_default().push(server.id);
        }
        lines.push(format!("    {}", shortened(&difference.row)));
        let mut versions: Vec<(&str, Vec<u16>)> = versions.into_iter().collect();
        versions.sort_by(|(_, one), (_, other)| one.cmp(other));
        lines
            .extend(versions.into_iter().map(|(version, ids)| format!("      {}: {}", nodes(ids), shortened(version))));
    }
    let more = comparison.differing - comparison.named.len() as u64;
    if more > 0 {
        lines.push(format!("    and {more} more"));
    }
    lines
}

/// Compares how far sequences are. A writer moves them on one server after the other.
async fn verify_sequences(servers: &[Server], findings: &mut Findings) -> anyhow::Result<()> {
    let question = "SELECT pg_catalog.quote_ident(schemaname) || '.' || pg_catalog.quote_ident(sequencename), \
                    coalesce(last_value::pg_catalog.text, 'not used') FROM pg_catalog.pg_sequences";
    let mut differing = BTreeMap::new();
    for attempt in 0..SEQUENCE_TRIES {
        if attempt > 0 {
            tokio::time::sleep(SEQUENCE_PAUSE).await;
        }
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (at, server) in servers.iter().enumerate() {
            for row in server.rows(question, &[]).await? {
                let missing = || vec!["missing".to_owned(); servers.len()];
                values.entry(row.get(0)).or_insert_with(missing)[at] = row.get(1);
            }
        }
        values.retain(|_, values| values.iter().any(|value| *value != values[0]));
        // One that was alike once was not left behind.
        if attempt > 0 {
            values.retain(|name, _| differing.contains_key(name));
        }
        differing = values;
        if differing.is_empty() {
            return Ok(());
        }
    }
    for (name, values) in differing {
        findings.differences += 1;
        let value = |(server, value): (&Server, &String)| format!("{value} on node {}", server.id);
        let values: Vec<String> = servers.iter().zip(&values).map(value).collect();
        print(&format!("  sequence {name}: {}", values.join(", ")));
    }
    Ok(())
}

/// `node 2`, `nodes 0, 1`.
fn nodes(ids: impl IntoIterator<Item = u16>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    format!("node{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
}

/// `1 row`, `2 rows`.
fn number(count: u64, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

/// A row on one line, cut off where it is long.
fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Who reads the answer may stop reading.
fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// stderr may be gone.
fn complain(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

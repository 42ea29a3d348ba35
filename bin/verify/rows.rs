//! The rows of one table on several servers: counts first, then checksums by range of keys, then the rows that differ.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;

use super::relation::Table;
use super::server::Server;

/// How many parts a table without a key is compared in; a power of two.
const BUCKETS: u32 = 1024;
/// How often the wait for a table's writers begins again.
const TRIES: usize = 8;
/// How long writers may be held up by a wait for those before them, in milliseconds.
const PATIENCE_MS: u32 = 1000;
/// How long they are left alone after that.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of one range.
    pub range: u64,
    /// Rows that are named.
    pub named: usize,
}

/// How the servers' rows compare.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The rows of each server.
    pub counts: Vec<u64>,
    /// How many rows differ.
    pub differing: u64,
    /// The first of them.
    pub named: Vec<RowDifference>,
}

/// A row that is not alike everywhere.
#[derive(Debug)]
pub struct RowDifference {
    /// Its key, or all of it.
    pub row: String,
    /// What each server has of it.
    pub versions: Vec<String>,
}

/// Compares a table at a moment when no write to it is under way.
pub async fn compare(
    servers: &[Server],
    table: &Table,
    limits: Limits,
    progress: &ProgressBar,
) -> anyhow::Result<Comparison> {
    let result = match begin(servers, table).await {
        Ok(()) => look(servers, table, limits, progress).await,
        Err(error) => Err(error),
    };
    let ended = try_join_all(servers.iter().map(Server::end_snapshot)).await;
    result.and_then(|comparison| ended.map(|_| comparison))
}

/// Takes all servers' snapshots at one moment between the table's writers.
///
/// A writer locks the table on the main node first, and ends there last: while the gate is closed there, whatever it has
/// written is everywhere. The main node is the first of those that serve, so gates are closed in the order of numbers.
async fn begin(servers: &[Server], table: &Table) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let begun = begin_once(servers, table).await;
        try_join_all(servers.iter().map(Server::open_gate)).await?;
        if begun? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::bail!("writers of {} did not let a lock pass {TRIES} times for {PATIENCE_MS} ms", table.name)
}

/// False if writers have kept a gate open too long.
async fn begin_once(servers: &[Server], table: &Table) -> anyhow::Result<bool> {
    // What cannot be locked is written by commands of whole tables.
    for server in servers.iter().filter(|_| table.can_be_locked) {
        if !server.close_gate(&table.name, PATIENCE_MS).await? {
            return Ok(false);
        }
    }
    try_join_all(servers.iter().map(Server::begin_snapshot)).await.map(|_| true)
}

async fn look(servers: &[Server], table: &Table, limits: Limits, progress: &ProgressBar) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::default();
    for rows in everywhere(servers, &table.count(), &[]).await? {
        comparison.counts.push(first(&rows)?.get::<_, i64>(0) as u64);
    }
    if table.key.is_empty() {
        by_bucket(servers, table, limits, &mut comparison).await?;
        progress.inc(comparison.counts[0]);
    } else {
        by_key(servers, table, limits, progress, &mut comparison).await?;
    }
    Ok(comparison)
}

/// Goes through the ranges of keys of the first server; the last one has no end.
async fn by_key(
    servers: &[Server],
    table: &Table,
    limits: Limits,
    progress: &ProgressBar,
    comparison: &mut Comparison,
) -> anyhow::Result<()> {
    let mut after: Option<Vec<String>> = None;
    loop {
        let mut arguments = after.clone().unwrap_or_default();
        let question = table.next_range(limits.range, after.is_some());
        let rows = servers[0].rows(&question, &texts(&arguments)).await?;
        let (count, sum, last): (i64, String, Option<Vec<String>>) = {
            let row = first(&rows)?;
            (row.get(0), row.get(1), row.get(2))
        };
        let last = last.filter(|_| count as u64 == limits.range);
        arguments.extend(last.iter().flatten().cloned());
        let question = table.checksum(after.is_some(), last.is_some());
        let others = everywhere(&servers[1..], &question, &arguments).await?;
        let mut alike = true;
        for rows in &others {
            let row = first(rows)?;
            alike &= row.get::<_, i64>(0) == count && row.get::<_, String>(1) == sum;
        }
        if !alike {
            let question = table.keys(after.is_some(), last.is_some());
            let keys = everywhere(servers, &question, &arguments).await?;
            for key in differing(&keys) {
                name(servers, table, &key, limits, comparison).await?;
            }
        }
        progress.inc(count as u64);
        after = last;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// The keys that are not everywhere with the same checksum, in the order in which they were first seen.
fn differing(keys: &[Vec<tokio_postgres::Row>]) -> Vec<Vec<String>> {
    let mut seen: HashMap<Vec<String>, (usize, Vec<Option<i64>>)> = HashMap::new();
    for (at, rows) in keys.iter().enumerate() {
        for row in rows {
            let next = seen.len();
            let (_, hashes) = seen.entry(row.get(0)).or_insert_with(|| (next, vec![None; keys.len()]));
            hashes[at] = Some(row.get(1));
        }
    }
    let mut found: Vec<_> = seen
        .into_iter()
        .filter(|(_, (_, hashes))| hashes.iter().any(|hash| *hash != hashes[0]))
        .map(|(key, (place, _))| (place, key))
        .collect();
    found.sort();
    found.into_iter().map(|(_, key)| key).collect()
}

/// Counts a row that differs, and names it if it is among the first.
async fn name(
    servers: &[Server],
    table: &Table,
    key: &[String],
    limits: Limits,
    comparison: &mut Comparison,
) -> anyhow::Result<()> {
    let is_named = comparison.named.len() < limits.named;
    if is_named || table.collated {
        let rows = everywhere(servers, &table.row_of_key(), key).await?;
        let versions: Vec<Option<String>> = rows.iter().map(|rows| rows.first().map(|row| row.get(0))).collect();
        if versions.iter().all(|version| *version == versions[0]) {
            // It stands in another range there, where text sorts in another order.
            return Ok(());
        }
        if is_named {
            let columns = table.key.iter().zip(key).map(|(column, value)| format!("{column} = {value}"));
            let row = columns.collect::<Vec<_>>().join(", ");
            let versions = versions.into_iter().map(|version| version.unwrap_or_else(|| "missing".into())).collect();
            comparison.named.push(RowDifference { row, versions });
        }
    }
    comparison.differing += 1;
    Ok(())
}

/// Compares rows that have no key by all that they are.
async fn by_bucket(
    servers: &[Server],
    table: &Table,
    limits: Limits,
    comparison: &mut Comparison,
) -> anyhow::Result<()> {
    let mut buckets: BTreeMap<i32, Vec<(i64, String)>> = BTreeMap::new();
    for (at, rows) in everywhere(servers, &table.buckets(BUCKETS), &[]).await?.iter().enumerate() {
        for row in rows {
            let of_bucket = buckets.entry(row.get(0)).or_insert_with(|| vec![Default::default(); servers.len()]);
            of_bucket[at] = (row.get(1), row.get(2));
        }
    }
    let differ = buckets.into_iter().filter(|(_, sums)| sums.iter().any(|sum| *sum != sums[0]));
    for (bucket, _) in differ {
        let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (at, rows) in everywhere(servers, &table.bucket(BUCKETS, bucket), &[]).await?.iter().enumerate() {
            for row in rows {
                times.entry(row.get(0)).or_insert_with(|| vec![0; servers.len()])[at] = row.get(1);
            }
        }
        for (row, times) in times.into_iter().filter(|(_, times)| times.iter().any(|count| *count != times[0])) {
            let (least, most) = times.iter().fold((i64::MAX, 0), |(a, b), count| (a.min(*count), b.max(*count)));
            comparison.differing += (most - least) as u64;
            if comparison.named.len() < limits.named {
                let words = |count: &i64| match count {
                    0 => "missing".to_owned(),
                    1 => "once".to_owned(),
                    count => format!("{count} times"),
                };
                comparison.named.push(RowDifference { row, versions: times.iter().map(words).collect() });
            }
        }
    }
    Ok(())
}

/// Asks all servers at the same time.
async fn everywhere(
    servers: &[Server],
    question: &str,
    arguments: &[String],
) -> anyhow::Result<Vec<Vec<tokio_postgres::Row>>> {
    let arguments = texts(arguments);
    try_join_all(servers.iter().map(|server| server.rows(question, &arguments))).await
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn first(rows: &[tokio_postgres::Row]) -> anyhow::Result<&tokio_postgres::Row> {
    rows.first().context("an aggregate without a row")
}

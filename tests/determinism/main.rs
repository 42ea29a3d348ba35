//! Writes that hold `now()`, `random()`, sequences and defaults, made alike by `pgconvoy_core::sql::determinism`, on two
//! PostgreSQL servers that know nothing of each other: afterwards both hold the same data, and what the first holds is
//! what the client's own text would have made of it.
//!
//! The second server runs everything seconds later, with other object identifiers, transaction numbers and seeds.
//! `PGCONVOY_SEED` sets the seed, `PGCONVOY_STATEMENTS` the number of statements.

#[path = "../support/mod.rs"]
mod support;

mod server;
mod statements;

use std::collections::BTreeMap;

use pgconvoy_core::rng::Rng;
use server::{Outcome, Server, Step};
use statements::{SCHEMA, Writer};
use support::environment::{long_run, number_from, seed_of_now};

/// Zones that a session may be in: in some of them it is another day.
const ZONES: &[&str] = &["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati", "Etc/GMT+12"];
/// Ways to write times, none of which may matter.
const STYLES: &[&str] = &["ISO, MDY", "SQL, DMY", "German", "Postgres, MDY"];

#[test]
fn two_servers_hold_the_same_data() {
    let count = number_from("PGCONVOY_STATEMENTS").unwrap_or(if long_run() { 100_000 } else { 1_000 });
    let seed = number_from("PGCONVOY_SEED").unwrap_or_else(seed_of_now);
    println!("seed {seed}, {count} statements");
    let mut rng = Rng::new(seed);
    let mut first = Server::start(SCHEMA);
    let mut second = Server::start(SCHEMA);
    second.disturb();
    let mut writer = Writer::new(rng.next_u64());
    let mut steps = Vec::new();
    let mut refused: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let (mut changed, mut failed) = (0, BTreeMap::new());
    for number in 0..count {
        if number % 40 == 0 {
            let zone = ZONES[rng.below(ZONES.len() as u64) as usize];
            let style = STYLES[rng.below(STYLES.len() as u64) as usize];
            let strings = if rng.chance(1, 4) { "off" } else { "on" };
            let settings = format!(
                "SET TimeZone = '{zone}'; SET DateStyle = '{style}'; SET standard_conforming_strings = {strings}"
            );
            first.set(&settings);
            steps.push(Step::Set(settings));
        }
        let statement = writer.statement();
        let extended = rng.chance(1, 3);
        match first.run(&statement, extended, &mut steps) {
            Outcome::Refused(reason) => {
                let entry = refused.entry(reason).or_insert((0, statement));
                entry.0 += 1;
            }
            Outcome::Done { changed: true, .. } => changed += 1,
            Outcome::Done { .. } => {}
            Outcome::Failed(state) => failed.entry(state).or_insert((0, statement)).0 += 1,
        }
    }
    println!("{changed} of {count} had constants; refused: {refused:#?}; failed: {failed:#?}");
    let failures: usize = failed.values().map(|(count, _)| *count).sum();
    let refusals: usize = refused.values().map(|(count, _)| *count).sum();
    second.replay(&steps);
    let (one, other) = (first.contents(), second.contents());
    for (table, rows) in &one {
        let others = &other[table];
        assert_eq!(rows.len(), others.len(), "seed {seed}: rows of {table}");
        for (row, other) in rows.iter().zip(others) {
            assert_eq!(row, other, "seed {seed}: {table}");
        }
    }
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    assert_eq!(first.sequences(), second.sequences(), "seed {seed}");
    assert!(changed * 2 > count as usize, "only {changed} of {count} had something to replace");
    assert!(failures * 20 < count as usize, "{failures} of {count} failed");
    assert!(refusals * 10 < count as usize, "{refusals} of {count} were refused");
}

/// The checker sees a difference: the same statements as they are, on both servers.
#[test]
fn without_constants_the_servers_differ() {
    let mut first = Server::start(SCHEMA);
    let mut second = Server::start(SCHEMA);
    second.disturb();
    for text in
        ["INSERT INTO dated (k) VALUES (1)", "INSERT INTO token (k) VALUES (1)", "UPDATE plain SET f = random()"]
    {
        first.set(text);
        second.set(text);
    }
    let (one, other) = (first.contents(), second.contents());
    let differing: Vec<&String> =
        one.iter().filter(|(table, rows)| other[*table] != **rows).map(|(table, _)| table).collect();
    assert_eq!(differing, ["dated", "plain", "token"]);
}

#[test]
fn a_table_that_is_made_of_constants_has_the_columns_of_the_original() {
    let mut server = Server::start(SCHEMA);
    for expression in statements::TIMES.iter().chain(statements::TEXTS).chain(statements::NUMBERS) {
        for item in [
            "@",
            "(@)",
            "@::text",
            "CAST(@ AS text)",
            "@ AS named",
            "@ x",
            "CASE WHEN true THEN @ ELSE @ END",
            "(SELECT @)",
            "coalesce(@, @)",
            "ARRAY[@]",
        ] {
            let text = format!("CREATE TABLE made AS SELECT {}", item.replace('@', expression));
            let original = server.columns_of(&text, false);
            let rewritten = server.columns_of(&text, true);
            assert_eq!(original, rewritten, "{text}");
        }
    }
}

#[test]
fn a_statement_that_is_prepared_once_has_constants_of_its_own_each_time() {
    let mut first = Server::start(SCHEMA);
    let mut second = Server::start(SCHEMA);
    second.disturb();
    let text = "INSERT INTO token (k, r) VALUES ($1, random() + $1), ($1, DEFAULT)";
    let (plan, parameters) = first.prepare(text);
    assert_eq!(parameters, [b't', 0, 0, 0, 10, 0, 1, 0, 0, 0, 23], "the client sees its own parameter only");
    second.prepare(text);
    for value in 0..5 {
        let messages = first.bind(&plan, value);
        first.succeed(&messages);
        second.succeed(&messages);
    }
    let rows = "SELECT t::text FROM token t ORDER BY k, r";
    assert_eq!(first.rows(rows), second.rows(rows));
    let counts = "SELECT count(*)::text, count(DISTINCT r)::text, count(DISTINCT u)::text FROM token";
    assert_eq!(first.rows(counts), [vec![Some("10".into()), Some("10".into()), Some("10".into())]]);
}

/// PostgreSQL compiles a query that it takes for costly, which takes longer than to answer this one.
#[test]
fn the_question_about_tables_is_not_compiled() {
    let mut server = Server::start(SCHEMA);
    let above: f64 = server.rows("SHOW jit_above_cost")[0][0].as_deref().expect("a number").parse().expect("a number");
    let cost = server.cost_of_question();
    assert!(cost < above / 2.0, "{cost} of {above}");
}

//! How long it takes to classify a statement, and to route it with all that its names mean. Targets: pgbench's select
//! within 250 ns, a 2 KB select of an ORM within 4 us; class and route of pgbench's select within 400 ns. And how long to look
//! for what several servers would evaluate differently.

#[path = "stage/thread_time.rs"]
mod thread_time;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgconvoy_core::catalog::{Catalog, Judgement, Question, Subject};
use pgconvoy_core::policy::Policy;
use pgconvoy_core::route::{Rule, Standing, Statement, decide};
use pgconvoy_core::sql::determinism::inspect;
use pgconvoy_core::sql::{Dialect, Route, Uses, analyze, analyze_naming};
use pgconvoy_core::time::{Duration, Instant};
use std::hint::black_box;
use thread_time::ThreadTime;

const PGBENCH: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;";

/// What an object-relational mapper makes of "the first orders of some customers, with all that belongs to them".
fn orm_select() -> String {
    let mut text = String::from("SELECT ");
    for table in ["orders", "customers", "addresses"] {
        for column in ["id", "created_at", "updated_at", "status", "total_amount", "currency_code", "reference"] {
            text += &format!("\"{table}\".\"{column}\" AS {table}_{column}, ");
        }
    }
    text += "COUNT(DISTINCT line_items.id) AS item_count, COALESCE(SUM(line_items.price * line_items.quantity), 0) AS total \
             FROM \"orders\" INNER JOIN \"customers\" ON \"customers\".\"id\" = \"orders\".\"customer_id\" \
             LEFT OUTER JOIN \"addresses\" ON \"addresses\".\"customer_id\" = \"customers\".\"id\" AND \"addresses\".\"kind\" = 'billing' \
             LEFT OUTER JOIN line_items ON line_items.order_id = \"orders\".\"id\" \
             WHERE \"orders\".\"status\" IN ($1, $2, $3) AND LOWER(\"customers\".\"email\") LIKE LOWER($4) \
             AND \"orders\".\"created_at\" >= $5::timestamp AND (\"orders\".\"deleted_at\" IS NULL OR \"orders\".\"deleted_at\" > now()) \
             AND EXISTS (SELECT 1 FROM payments WHERE payments.order_id = \"orders\".\"id\" AND payments.state = 'settled') \
             GROUP BY \"orders\".\"id\", \"customers\".\"id\", \"addresses\".\"id\" HAVING COUNT(*) > 0 \
             ORDER BY \"orders\".\"created_at\" DESC NULLS LAST, \"orders\".\"id\" ASC LIMIT 25 OFFSET 0";
    text
}

fn classify(criterion: &mut Criterion<ThreadTime>) {
    let orm = orm_select();
    let long = format!("SELECT '{}'", "x".repeat(64 * 1024));
    let statements = [
        ("pgbench_select", PGBENCH, Route::Either),
        ("orm_select", &orm, Route::Either),
        ("begin", "BEGIN", Route::Both),
        ("update", "UPDATE pgbench_accounts SET abalance = abalance + 100 WHERE aid = 12345;", Route::Primary),
        ("function", "SELECT * FROM app.find_user($1)", Route::Primary),
        ("string_64k", &long, Route::Either),
    ];
    let mut group = criterion.benchmark_group("classify");
    for (name, text, route) in statements {
        assert_eq!(analyze(text.as_bytes(), Dialect::default()).route, route, "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| analyze(black_box(text.as_bytes()), black_box(Dialect::default())));
        });
    }
    group.finish();
}

/// Class, names and decision, in a session with a standby whose worker knows the names.
fn route(criterion: &mut Criterion<ThreadTime>) {
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let mut question = Question { whole: true, ..Question::default() };
    // A schema's worth of tables beside the one that is read.
    let tables = (0..200).map(|number| format!("table_{number}")).chain(["pgbench_accounts".to_owned()]);
    question.relations.extend(tables.map(|name| name.into_bytes().into_boxed_slice()));
    let lines = (0..201).map(|at| format!("r\x1f{at}\x1fpublic\x1fr\x1ffalse\x1f"));
    let answer = std::iter::once("w\x1ffalse".to_owned()).chain(lines).collect::<Vec<_>>().join("\x1e");
    let dialect = Dialect::default();
    assert!(catalog.learn(b"app", &question, catalog.age(), answer.as_bytes(), dialect, Instant::ZERO));
    let policy = Policy::default();
    let standing = Standing { balanced: true, ..Standing::default() };
    let mut uses = Uses::new();
    let mut decide_once = |text: &[u8]| {
        let analysis = analyze_naming(text, dialect, &mut uses);
        let subject = Subject {
            database: b"app",
            text,
            uses: &uses,
            check_unlogged: true,
            path: None,
            functions: &policy.functions,
        };
        let mut question = Question::default();
        let judgement = catalog.judge(&subject, Instant::ZERO, &mut question);
        let statement = Statement { route: analysis.route, reason: analysis.reason, hazards: analysis.hazards };
        (judgement, decide(&statement, &standing).rule)
    };
    assert_eq!(decide_once(PGBENCH.as_bytes()), (Judgement::Anywhere, Rule::Balanced));
    criterion.bench_function("route/pgbench_select", |bencher| {
        bencher.iter(|| decide_once(black_box(PGBENCH.as_bytes())));
    });
}

/// What native replication looks for in a write: one that holds nothing special, and two that do.
fn determinism(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("determinism");
    for (name, text, plain) in [
        ("update", "UPDATE pgbench_accounts SET abalance = abalance + 100 WHERE aid = 12345;", true),
        ("update_now", "UPDATE pgbench_accounts SET filler = now()::text WHERE aid = 12345;", false),
        (
            "insert",
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (7, 1, 12345, 100, CURRENT_TIMESTAMP);",
            false,
        ),
    ] {
        assert_eq!(inspect(text.as_bytes(), Dialect::default()).is_empty(), plain, "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| inspect(black_box(text.as_bytes()), black_box(Dialect::default())));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = thread_time::criterion(); targets = classify, route, determinism);
criterion_main!(benches);

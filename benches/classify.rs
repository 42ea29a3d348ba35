//! How long it takes to classify a statement. Targets: pgbench's select within 250 ns, a 2 KB select of an ORM within 4 us.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgconvoy_core::sql::{Dialect, Route, analyze};
use std::hint::black_box;

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

fn classify(criterion: &mut Criterion) {
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

criterion_group!(benches, classify);
criterion_main!(benches);

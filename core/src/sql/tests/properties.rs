//! Properties that hold for every text.

use super::*;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Tokens that meet in statements, among them every one that the classifier treats in a way of its own.
const TOKENS: &[&str] = &[
    "SELECT",
    "FROM",
    "t",
    "a",
    "f",
    "lower",
    "nextval",
    "(",
    ")",
    "(",
    ")",
    ",",
    ";",
    ".",
    "*",
    "::",
    "[",
    "]",
    "=",
    "-",
    "/",
    "'x'",
    "E'\\''",
    "$$;$$",
    "$1",
    "1",
    "1.5",
    "\"q\"",
    "pg_class",
    "pg_temp",
    "INTO",
    "FOR",
    "UPDATE",
    "SHARE",
    "NO",
    "KEY",
    "WITH",
    "RECURSIVE",
    "AS",
    "NOT",
    "MATERIALIZED",
    "DELETE",
    "INSERT",
    "VALUES",
    "TABLE",
    "JOIN",
    "LEFT",
    "ON",
    "DISTINCT",
    "OVER",
    "FILTER",
    "WHERE",
    "ORDER",
    "GROUP",
    "BY",
    "CUBE",
    "ILIKE",
    "LIKE",
    "IN",
    "EXISTS",
    "CAST",
    "int",
    "numeric",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "TO",
    "SET",
    "LOCAL",
    "SESSION",
    "TRANSACTION",
    "ISOLATION",
    "LEVEL",
    "SERIALIZABLE",
    "RESET",
    "ALL",
    "SHOW",
    "pool_nodes",
    "PREPARE",
    "EXECUTE",
    "p",
    "DEALLOCATE",
    "DISCARD",
    "DECLARE",
    "CURSOR",
    "FETCH",
    "FIRST",
    "LISTEN",
    "NOTIFY",
    "COPY",
    "STDIN",
    "STDOUT",
    "LOCK",
    "MODE",
    "EXPLAIN",
    "ANALYZE",
    "CREATE",
    "TEMP",
    "set_config",
    "PGPOOL",
    "ORDINALITY",
    "TABLESAMPLE",
    "PARTITION",
    "UNION",
    "LATERAL",
    "ROWS",
    "DO",
    "READ",
    "WRITE",
];

/// Beginnings that lead deep into the classifier.
const STARTS: &[&str] =
    &["SELECT", "SELECT a FROM t", "WITH x AS (", "SET", "PREPARE p AS", "EXPLAIN", "COPY", "BEGIN", ""];

const GAPS: &[&str] = &[" ", "\n", "/* ; ( ' */", "-- x\n", "/*/**/*/", "\t\r\n", "\u{c}"];

fn tokens() -> impl Strategy<Value = Vec<&'static str>> {
    (prop::sample::select(STARTS), prop::collection::vec(prop::sample::select(TOKENS), 0..24)).prop_map(
        |(start, rest)| {
            let mut tokens: Vec<&str> = start.split(' ').filter(|token| !token.is_empty()).collect();
            tokens.extend(rest);
            tokens
        },
    )
}

/// What a text is allowed, more being larger: less a route than a right.
fn rights(found: &Analysis<'_>) -> (Route, bool) {
    (found.route, !found.writes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200), standard: bool, safe: bool) {
        analyze(&text, Dialect { standard_conforming_strings: standard, ascii_safe_encoding: safe });
    }

    #[test]
    fn no_punctuation_makes_it_panic(text in "[ '\"$eEuU&a1;().,:/*\\-\\\\\n\\[\\]]{0,60}", standard: bool) {
        analyze(text.as_bytes(), Dialect { standard_conforming_strings: standard, ascii_safe_encoding: true });
    }

    #[test]
    fn gaps_between_tokens_mean_nothing(tokens in tokens(), gaps in prop::collection::vec(prop::sample::select(GAPS), 40)) {
        let plain = tokens.join(" ");
        let mut wide = String::new();
        for (token, gap) in tokens.iter().zip(gaps.iter().cycle()) {
            wide.push_str(token);
            wide.push(' ');
            wide.push_str(gap);
        }
        let (plain_found, wide_found) = (read(&plain), read(&wide));
        prop_assert!(rights(&wide_found) <= rights(&plain_found), "{plain} / {wide}");
        prop_assert!(wide_found.hazards.contains(plain_found.hazards), "{plain} / {wide}");
        prop_assert_eq!(wide_found.count, plain_found.count, "{} / {}", plain, wide);
    }

    #[test]
    fn letter_case_means_nothing(tokens in tokens()) {
        let text = tokens.join(" ");
        // Inside quotes case matters; here it holds nothing that is compared.
        let (upper, lower) = (text.to_uppercase(), text.to_lowercase());
        let (upper, lower) = (read(&upper), read(&lower));
        prop_assert_eq!((upper.count, upper.route, upper.writes, upper.reason), (lower.count, lower.route, lower.writes, lower.reason), "{}", text);
        prop_assert_eq!(upper.hazards, lower.hazards, "{}", text);
        prop_assert_eq!(core::mem::discriminant(&upper.effect), core::mem::discriminant(&lower.effect), "{}", text);
    }

    #[test]
    fn what_may_go_anywhere_is_harmless(tokens in tokens()) {
        let text = tokens.join(" ");
        let found = read(&text);
        if found.route == Route::Either {
            prop_assert!(!found.writes && found.count != Count::Empty, "{}", text);
            // `SHOW DELETE` behind a semicolon shows a setting.
            let query = found.count == Count::One && (text.starts_with("SELECT") || text.starts_with("WITH"));
            for harmful in ["nextval (", "set_config (", "f (", "INTO", "DELETE", "INSERT", "FOR SHARE", "FOR UPDATE"] {
                // `AS f (a)`, `:: f (1)`, `) f (a)` and `f (a) AS` name no function; a word beside a dot or behind `AS` is a name.
                let name = !query
                    || harmful.ends_with('(')
                    || text.contains(&alloc::format!(". {harmful}"))
                    || text.contains(&alloc::format!("AS {harmful}"))
                    || text.contains(&alloc::format!("{harmful} ."));
                prop_assert!(name || !text.contains(harmful), "{}", text);
            }
        }
        if found.count == Count::Many {
            prop_assert!(found.route != Route::Both && found.effect == Effect::None, "{}", text);
            let apart = text.replace("$$;$$", "$$ $$");
            let alone = apart.split(';').map(read).filter(|part| part.count != Count::Empty);
            let each = alone.into_iter().all(|part| part.route == Route::Either);
            prop_assert!(found.route == Route::Primary || each, "{}", text);
        }
        if found.reason == Reason::NotUnderstood {
            // To prepare something that is not understood is no write yet.
            let unknown = match found.effect {
                Effect::Prepare { statement, .. } => statement.writes,
                effect => found.writes && effect == Effect::None,
            };
            prop_assert!(found.route == Route::Primary && unknown, "{}", text);
        }
    }
}

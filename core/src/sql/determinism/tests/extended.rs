//! Parse, Bind, PREPARE and EXECUTE.

use super::*;
use crate::sql::determinism::extended::{Malformed, bind, is_time, moving_values, parameter_description};

#[track_caller]
fn parametrized(text: &str, declared: usize) -> (String, u16, u16) {
    let plan = plan(text);
    let out = plan.parametrize(text.as_bytes(), declared).expect("parameters");
    (String::from_utf8(out.text.to_vec()).expect("UTF-8"), out.given, out.added)
}

/// A Bind message's body.
fn body(formats: &[u16], values: &[Option<&[u8]>], results: &[u16]) -> Vec<u8> {
    let mut out = b"portal\0statement\0".to_vec();
    let list = |out: &mut Vec<u8>, formats: &[u16]| {
        out.extend_from_slice(&(formats.len() as u16).to_be_bytes());
        formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
    };
    list(&mut out, formats);
    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        out.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
        out.extend_from_slice(value.unwrap_or_default());
    }
    list(&mut out, results);
    out
}

fn constants(values: &[Option<&str>]) -> Constants {
    let mut constants = Constants::new();
    values.iter().for_each(|value| constants.push(value.map(str::as_bytes)));
    constants
}

#[test]
fn constants_become_parameters_behind_those_of_the_client() {
    for (text, declared, expected, given, added) in [
        (
            "UPDATE plain SET at = now() WHERE a = $1",
            0,
            "UPDATE plain SET at = CAST($2 AS pg_catalog.timestamptz) WHERE a = $1",
            1,
            1,
        ),
        (
            "UPDATE plain SET at = now() WHERE a = $1",
            3,
            "UPDATE plain SET at = CAST($4 AS pg_catalog.timestamptz) WHERE a = $1",
            3,
            1,
        ),
        ("UPDATE plain SET at = 'now'::timestamptz", 0, "UPDATE plain SET at = $1::timestamptz", 0, 1),
        ("UPDATE plain SET at = date 'today'", 0, "UPDATE plain SET at = CAST($1 AS date)", 0, 1),
        ("UPDATE plain SET at = 'now', b = $2", 0, "UPDATE plain SET at = $3, b = $2", 2, 1),
        (
            "INSERT INTO serial (a) VALUES ($1)",
            1,
            "INSERT INTO serial (a, \"id\") VALUES ($1, CAST($2 AS integer))",
            1,
            1,
        ),
        ("UPDATE plain SET a = $1", 1, "UPDATE plain SET a = $1", 1, 0),
        (
            "PREPARE p (int) AS UPDATE plain SET at = now()",
            0,
            "PREPARE p (int) AS UPDATE plain SET at = CAST($2 AS pg_catalog.timestamptz)",
            1,
            1,
        ),
    ] {
        assert_eq!(parametrized(text, declared), (expected.into(), given, added), "{text}");
    }
    assert!(inspect(b"PREPARE p AS UPDATE plain SET at = now()", Dialect::default()).prepares());
}

#[test]
fn there_are_no_more_parameters_than_bind_can_count() {
    let rows = |count: usize| format!("INSERT INTO serial (a) VALUES {}", vec!["($1)"; count].join(", "));
    assert_eq!(parametrized(&rows(65_534), 0).2, 65_534);
    let text = rows(65_535);
    let refusal = plan(&text).parametrize(text.as_bytes(), 0).expect_err("one too many");
    assert_eq!(refusal.reason, Reason::Parameters);
    assert!(plan("EXECUTE p (now())").parametrize(b"EXECUTE p (now())", 0).is_err(), "it takes no parameters");
}

#[test]
fn parse_and_description_are_written_anew() {
    let text = "UPDATE plain SET at = now() WHERE a = $1";
    let plan = plan(text);
    let parametrized = plan.parametrize(text.as_bytes(), 1).expect("parameters");
    let types = [0u8, 1, 0, 0, 0, 23];
    let mut out = Vec::new();
    parametrized.parse(&[b"s\0", text.as_bytes(), b"\0", &types].concat(), &mut out).expect("a message");
    let new = b"s\0UPDATE plain SET at = CAST($2 AS pg_catalog.timestamptz) WHERE a = $1\0";
    let length = ((4 + new.len() + types.len()) as u32).to_be_bytes();
    assert_eq!(out, [b"P", &length[..], new, &types].concat());
    for bad in [&b"s"[..], b"s\0text", b"s\0text\0", b"s\0text\0\0\x01", b"s\0text\0\0\0more"] {
        assert_eq!(parametrized.parse(bad, &mut Vec::new()), Err(Malformed));
    }
    let mut out = Vec::new();
    parameter_description(&[0, 2, 0, 0, 0, 23, 0, 0, 4, 160], 1, &mut out).expect("a message");
    assert_eq!(out, [b't', 0, 0, 0, 10, 0, 1, 0, 0, 0, 23]);
    assert_eq!(parameter_description(&[0, 1, 0, 0, 0, 23], 2, &mut out), Err(Malformed));
}

#[test]
fn bind_gets_the_constants_behind_the_values() {
    let given: &[Option<&[u8]>] = &[Some(b"12"), None];
    let all: &[Option<&[u8]>] = &[Some(b"12"), None, Some(b"2026-01-02"), None];
    let constants = constants(&[Some("2026-01-02"), None]);
    for (formats, expected) in [(&[][..], &[][..]), (&[0], &[]), (&[1], &[1, 1, 0, 0]), (&[0, 1], &[0, 1, 0, 0])] {
        for results in [&[][..], &[1], &[0, 1]] {
            let mut out = Vec::new();
            bind(&body(formats, given, results), 2, &constants, &mut out).expect("a message");
            let new = body(expected, all, results);
            assert_eq!(out, [b"B", &((new.len() + 4) as u32).to_be_bytes()[..], &new].concat(), "{formats:?}");
        }
    }
}

#[test]
fn a_bind_that_cannot_be_read_to_its_end_is_refused() {
    let constants = constants(&[Some("x")]);
    let whole = body(&[0, 1], &[Some(b"12"), None], &[1]);
    assert_eq!(bind(&whole, 1, &constants, &mut Vec::new()), Ok(()));
    assert_eq!(bind(&whole, 2, &constants, &mut Vec::new()), Err(Malformed), "another number of constants");
    for length in 0..whole.len() {
        assert_eq!(bind(&whole[..length], 1, &constants, &mut Vec::new()), Err(Malformed), "{length}");
    }
    assert_eq!(bind(&[&whole[..], b"x"].concat(), 1, &constants, &mut Vec::new()), Err(Malformed));
    assert_eq!(bind(&body(&[0, 1, 0], &[None, None], &[]), 1, &constants, &mut Vec::new()), Err(Malformed));
    let full = body(&[], &vec![None; 65_535], &[]);
    assert_eq!(bind(&full, 1, &constants, &mut Vec::new()), Err(Malformed), "no room");
}

#[test]
fn values_that_may_mean_the_present_time_are_told() {
    let values: &[Option<&[u8]>] = &[Some(b"now"), Some(b"known"), None, Some(b" Today "), Some(b"now")];
    assert_eq!(moving_values(&body(&[0, 0, 0, 0, 1], values, &[])), Ok(vec![0, 3]));
    assert!(is_time(1184) && !is_time(25));
}

#[test]
fn execute_gives_a_prepared_statement_its_constants() {
    let prepared = plan("PREPARE p (int) AS UPDATE plain SET at = now(), b = timeofday() WHERE a = $1");
    for (text, expected) in [
        ("EXECUTE p (1)", "EXECUTE p (1, '1', '2')"),
        ("EXECUTE p", "EXECUTE p ('1', '2')"),
        ("EXECUTE p ()", "EXECUTE p ('1', '2')"),
        ("EXECUTE p (pg_backend_pid())", "EXECUTE p (CAST('1' AS pg_catalog.int4), '2', '3')"),
        ("EXPLAIN ANALYZE EXECUTE p(1);", "EXPLAIN ANALYZE EXECUTE p(1, '1', '2');"),
        ("CREATE TABLE n AS EXECUTE p (1) WITH NO DATA", "CREATE TABLE n AS EXECUTE p (1, '1', '2') WITH NO DATA"),
    ] {
        let findings = inspect(text.as_bytes(), Dialect::default());
        assert_eq!(findings.executes().map(|name| &text[name]), Some("p"));
        let plan = plan(text).running(&prepared);
        let out = plan.rewrite(text.as_bytes(), &numbers(&plan), Dialect::default()).expect("a text");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
    assert!(plan("EXECUTE p (1)").running(&plan("PREPARE p AS UPDATE plain SET a = 1")).is_empty());
}

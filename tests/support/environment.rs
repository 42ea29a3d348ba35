//! What a run may be told from outside.

use std::time::{SystemTime, UNIX_EPOCH};

/// The number in the environment variable `variable`, if it is set.
pub fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Whether this is one of the long runs, which take what the acceptance asks for (`PGCONVOY_LONG=1`).
pub fn long_run() -> bool {
    number_from("PGCONVOY_LONG").is_some_and(|number| number > 0)
}

/// A seed that differs from run to run, so that runs add up.
pub fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() * 100_000
}

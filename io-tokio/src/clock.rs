//! The wall clock, for tables that people read.

use std::time::SystemTime;

/// A moment as pgpool's tables print it: `YYYY-MM-DD HH:MM:SS` in local time.
pub fn local(moment: SystemTime) -> String {
    written(moment, "%Y-%m-%d %H:%M:%S")
}

/// The same with milliseconds.
pub fn local_ms(moment: SystemTime) -> String {
    written(moment, "%Y-%m-%d %H:%M:%S%.3f")
}

fn written(moment: SystemTime, format: &str) -> String {
    jiff::Timestamp::try_from(moment).map_or_else(
        |_| String::new(),
        |moment| moment.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
    )
}

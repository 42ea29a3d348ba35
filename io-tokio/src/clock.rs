//! The wall clock, for tables that people read.

use std::time::SystemTime;

/// A moment as pgpool's tables print it: `YYYY-MM-DD HH:MM:SS` in local time.
pub fn local(moment: SystemTime) -> String {
    jiff::Timestamp::try_from(moment).map_or_else(
        |_| String::new(),
        |moment| moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

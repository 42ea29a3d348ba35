//! How far standbys are behind their primary: what nodes are asked, what they answer, and when a delay is too much
//! (`delay_threshold`, `delay_threshold_by_time`, `replication_delay_source_cmd`).
//!
//! All of it is pure; [`crate::cluster`] keeps the figures and decides whom to ask.

use crate::limits::PRIMARY_POSITIONS;
use crate::node::Delay;
use crate::time::{Duration, Instant};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str;

/// What a node is asked, from PostgreSQL 10 on: whether it is a standby, how far its log reaches (on a standby, how far it
/// is replayed), and on a primary what it knows of those it sends to. A user without privileges gets empty fields.
///
/// Nothing in it depends on `search_path`. The answer is one text value; [`Answer::parse`] reads it.
pub const QUESTION: &str = "SELECT pg_catalog.concat(pg_catalog.pg_is_in_recovery(), pg_catalog.chr(31), \
    pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
    ELSE pg_catalog.pg_current_wal_lsn() END, '0/0'), \
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.chr(30), s.application_name, pg_catalog.chr(31), \
    s.state, pg_catalog.chr(31), s.sync_state, pg_catalog.chr(31), \
    (pg_catalog.date_part('epoch', s.replay_lag) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8), '' ORDER BY s.pid) \
    FROM pg_catalog.pg_stat_replication AS s WHERE NOT pg_catalog.pg_is_in_recovery()))";

/// What is asked of a server that does not understand [`QUESTION`], or does not let the user ask it.
pub const PLAIN_QUESTION: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// Between two records of an answer.
const RECORD: u8 = 0x1e;
/// Between two fields of a record.
const FIELD: u8 = 0x1f;

/// What a node answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// It is in recovery.
    pub standby: bool,
    /// Where its log ends, or how far it is replayed, in bytes from the beginning of all logs.
    pub position: Option<u64>,
    /// To whom it sends its log.
    pub senders: Vec<Sender>,
}

/// One row of `pg_stat_replication`. What the user may not see is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// `application_name` of the standby's connection.
    pub application_name: String,
    /// `state`, such as `streaming`.
    pub state: String,
    /// `sync_state`, such as `async`.
    pub sync_state: String,
    /// `replay_lag`.
    pub replay_lag: Option<Duration>,
}

impl Answer {
    /// Reads the answer to [`QUESTION`] or [`PLAIN_QUESTION`]; `None` if it is neither.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut records = text.split(|byte| *byte == RECORD);
        let mut first = records.next()?.split(|byte| *byte == FIELD);
        let standby = match first.next()? {
            b"t" => true,
            b"f" => false,
            _ => return None,
        };
        let position = first.next().and_then(number);
        Some(Self { standby, position, senders: records.map(sender).collect() })
    }

    /// What is known of the standby whose connection has this `application_name`: the row that streams, if there are
    /// several, for one that was lost may be there for a while.
    pub fn sender(&self, application_name: &str) -> Option<&Sender> {
        let mut rows = self.senders.iter().filter(|sender| sender.application_name == application_name);
        rows.clone().find(|sender| sender.state == "streaming").or_else(|| rows.next_back())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

fn sender(record: &[u8]) -> Sender {
    let mut fields = record.split(|byte| *byte == FIELD);
    let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
    let (application_name, state, sync_state) = (text(), text(), text());
    let replay_lag = number(text().as_bytes()).map(Duration::from_micros);
    Sender { application_name, state, sync_state, replay_lag }
}

/// When a delay is too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayRules {
    /// `delay_threshold` in bytes; 0 for none.
    pub threshold_bytes: u64,
    /// `delay_threshold_by_time`; it wins over the other, and zero is none.
    pub threshold: Duration,
    /// Times come from `replication_delay_source_cmd` alone.
    pub by_command: bool,
}

impl DelayRules {
    /// The delay that counts: bytes, unless times are asked for.
    pub fn figure(&self, bytes: u64, time: Duration) -> Delay {
        if self.by_command || !self.threshold.is_zero() { Delay::Time(time) } else { Delay::Bytes(bytes) }
    }

    /// Whether a standby is too far behind to be read from.
    pub fn is_too_much(&self, bytes: u64, time: Duration) -> bool {
        if self.threshold.is_zero() {
            self.threshold_bytes > 0 && bytes > self.threshold_bytes
        } else {
            time > self.threshold
        }
    }
}

/// How far the primary's log reached at what time, as far as that was seen: it tells how old what a standby has not
/// replayed yet is at least, and at most.
///
/// PostgreSQL's own `replay_lag` is missing without privileges or a connection, and stays for a while at what it was
/// last after a standby has caught up.
#[derive(Debug, Default)]
pub(crate) struct Course {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    position: u64,
    first: Instant,
    last: Instant,
}

impl Course {
    /// The primary's log reaches `position` now.
    pub(crate) fn note(&mut self, position: u64, now: Instant) {
        match self.seen.last_mut() {
            Some(last) if last.position == position => {
                last.last = now;
                return;
            }
            // A crash has cut the log's end off.
            Some(last) if last.position > position => self.seen.clear(),
            _ => {}
        }
        if self.seen.len() == PRIMARY_POSITIONS {
            // The older, the sparser: a long delay need not be known as exactly as a short one.
            let mut keep = false;
            self.seen.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.seen.push(Seen { position, first: now, last: now });
    }

    /// How far behind a standby is that has replayed up to `position`; `told` is what the primary measured.
    pub(crate) fn delay(&self, position: u64, told: Option<Duration>, now: Instant) -> Duration {
        let missing = self.seen.iter().find(|seen| seen.position > position);
        let Some(missing) = missing else { return Duration::ZERO };
        let there = self.seen.iter().rev().find(|seen| seen.position <= position);
        let at_most = there.map_or(Duration::MAX, |seen| now.since(seen.last));
        told.unwrap_or_default().clamp(now.since(missing.first), at_most)
    }

    /// There is another primary, or none.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
    }
}

/// What `replication_delay_source_cmd` says of a standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is so far behind.
    Delay(Duration),
    /// It is down (`-1`).
    Down,
    /// Something that is no delay.
    Wrong(String),
}

/// Reads what the command printed: values in milliseconds between blanks, one for each standby in order. The second
/// part says what is wrong with it as a whole, if anything.
pub fn parse_command(output: &str, standbys: usize) -> (Vec<Reported>, Option<String>) {
    let values: Vec<Reported> = output.split_ascii_whitespace().map(reported).collect();
    let remark = match values.len() {
        count if count == standbys => None,
        0 => Some("replication delay command produced no output".into()),
        count => Some(format!(
            "replication delay command returned {count} values, expected {standbys} (one per replica, excluding primary)"
        )),
    };
    (values.into_iter().take(standbys).collect(), remark)
}

fn reported(word: &str) -> Reported {
    match word.parse::<f64>() {
        Ok(-1.0) => Reported::Down,
        // The conversion saturates: a greater delay than fits is the greatest.
        Ok(ms) if ms >= 0.0 && ms.is_finite() => Reported::Delay(Duration::from_micros((ms * 1000.0) as u64)),
        _ => Reported::Wrong(word.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(at_ms: u64) -> Instant {
        Instant::ZERO.after(ms(at_ms))
    }

    #[test]
    fn answers_of_all_kinds_are_read() {
        let text = b"f\x1f83886080\x1enode1\x1fstreaming\x1fasync\x1f1500\x1enode2\x1fcatchup\x1fsync\x1f\x1enode3\x1f\x1f\x1f";
        let answer = Answer::parse(text).unwrap();
        assert_eq!((answer.standby, answer.position), (false, Some(83_886_080)));
        let sender = |name: &str, state: &str, sync: &str, lag| Sender {
            application_name: name.into(),
            state: state.into(),
            sync_state: sync.into(),
            replay_lag: lag,
        };
        assert_eq!(
            answer.senders,
            [
                sender("node1", "streaming", "async", Some(Duration::from_micros(1500))),
                sender("node2", "catchup", "sync", None),
                sender("node3", "", "", None),
            ]
        );
        let standby = |position| Some(Answer { standby: true, position, senders: vec![] });
        assert_eq!(Answer::parse(b"t\x1f16"), standby(Some(16)));
        assert_eq!(Answer::parse(b"t\x1f"), standby(None));
        assert_eq!(Answer::parse(b"t"), standby(None), "the plain question's answer");
        for wrong in [&b""[..], b"x\x1f16", b"true"] {
            assert_eq!(Answer::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn of_two_connections_of_a_standby_the_one_that_streams_counts() {
        let text = b"f\x1f1\x1en\x1fstreaming\x1fasync\x1f5\x1en\x1fstartup\x1fasync\x1f\x1em\x1fbackup\x1fasync\x1f7";
        let answer = Answer::parse(text).unwrap();
        assert_eq!(answer.sender("n").map(|sender| &*sender.state), Some("streaming"));
        assert_eq!(answer.sender("m").map(|sender| &*sender.state), Some("backup"));
        assert_eq!(answer.sender("o"), None);
    }

    #[test]
    fn a_time_wins_over_bytes() {
        let rules = DelayRules { threshold_bytes: 100, ..DelayRules::default() };
        assert_eq!(rules.figure(7, ms(8)), Delay::Bytes(7));
        assert!(rules.is_too_much(101, ms(0)) && !rules.is_too_much(100, ms(9999)));
        let rules = DelayRules { threshold: ms(10), ..rules };
        assert_eq!(rules.figure(7, ms(8)), Delay::Time(ms(8)));
        assert!(rules.is_too_much(0, ms(11)) && !rules.is_too_much(101, ms(10)));
        assert!(!DelayRules::default().is_too_much(u64::MAX, Duration::MAX));
        let command = DelayRules { by_command: true, threshold_bytes: 100, ..DelayRules::default() };
        assert_eq!(command.figure(7, ms(8)), Delay::Time(ms(8)));
        assert!(command.is_too_much(101, ms(0)) && !command.is_too_much(100, ms(9999)));
    }

    #[test]
    fn what_was_seen_bounds_what_the_primary_says() {
        let mut course = Course::default();
        for (position, at_ms) in [(100, 1000), (100, 2000), (200, 3000), (300, 4000)] {
            course.note(position, at(at_ms));
        }
        let delay = |position, told: Option<u64>| course.delay(position, told.map(ms), at(4500));
        assert_eq!(delay(300, Some(9000)), ms(0), "whoever has replayed everything is not late, whatever was said");
        assert_eq!(delay(200, None), ms(500), "position 300 was there half a second ago");
        assert_eq!(delay(200, Some(700)), ms(700));
        assert_eq!(delay(200, Some(9000)), ms(1500), "position 200 was not there before that");
        assert_eq!(delay(150, None), ms(1500));
        assert_eq!(delay(150, Some(9000)), ms(2500), "position 100 was the end until then");
        assert_eq!(delay(50, Some(9000)), ms(9000));
        assert_eq!(delay(50, None), ms(3500));
        course.note(250, at(5000));
        assert_eq!(course.delay(200, None, at(5000)), ms(0), "the log was cut off: its new end is new");
    }

    #[test]
    fn what_a_command_prints_is_read() {
        use Reported::{Delay, Down, Wrong};
        assert_eq!(parse_command("25 50.75\n", 2), (vec![Delay(ms(25)), Delay(Duration::from_micros(50_750))], None));
        assert_eq!(parse_command("-1\t0", 2), (vec![Down, Delay(ms(0))], None));
        let (values, remark) = parse_command("x -2 NaN 7 8", 4);
        assert_eq!(values, [Wrong("x".into()), Wrong("-2".into()), Wrong("NaN".into()), Delay(ms(7))]);
        assert!(remark.unwrap().contains("returned 5 values, expected 4"));
        assert_eq!(parse_command(" \n", 2), (vec![], Some("replication delay command produced no output".into())));
        assert_eq!(parse_command("", 0), (vec![], None));
    }

    proptest! {
        #[test]
        fn whatever_a_node_or_a_command_says_is_survived(text in prop::collection::vec(any::<u8>(), 0..60), n in 0usize..4) {
            Answer::parse(&text);
            prop_assert!(parse_command(&String::from_utf8_lossy(&text), n).0.len() <= n);
        }

        #[test]
        fn a_course_is_bounded_and_its_bounds_agree(
            steps in prop::collection::vec((0u64..5, 1u64..2000), 1..400),
            position in 0u64..1000,
            told in prop::option::of(0u64..100_000),
        ) {
            let (mut course, mut end, mut time) = (Course::default(), 0, 0);
            for (bytes, pause) in steps {
                end += bytes;
                time += pause;
                course.note(end, at(time));
                prop_assert!(course.seen.len() <= PRIMARY_POSITIONS);
                let delay = course.delay(position, told.map(ms), at(time));
                prop_assert!(position < end || delay.is_zero());
                prop_assert!(told.is_some() || delay <= ms(time));
            }
        }
    }
}

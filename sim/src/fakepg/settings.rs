//! Run-time parameters of one session, with PostgreSQL's rules for transactions and for reporting.

use bytes::Bytes;
use std::fmt::Write as _;

/// A parameter: its name, whether ParameterStatus reports it, and its value in a fresh session.
struct Definition {
    name: &'static str,
    reported: bool,
    default: &'static str,
    settable: bool,
}

const fn setting(name: &'static str, reported: bool, default: &'static str) -> Definition {
    Definition { name, reported, default, settable: true }
}

const fn internal(name: &'static str, default: &'static str) -> Definition {
    Definition { name, reported: true, default, settable: false }
}

/// The reported ones are those of PostgreSQL 15, in the order in which its start-up sends them.
const DEFINITIONS: [Definition; 21] = [
    setting("application_name", true, ""),
    setting("client_encoding", true, "UTF8"),
    setting("DateStyle", true, "ISO, MDY"),
    setting("default_transaction_read_only", true, "off"),
    internal(IN_HOT_STANDBY, "off"),
    internal("integer_datetimes", "on"),
    setting("IntervalStyle", true, "postgres"),
    internal("is_superuser", "off"),
    internal("server_encoding", "UTF8"),
    internal("server_version", "15.18"),
    internal(SESSION_AUTHORIZATION, ""),
    setting("standard_conforming_strings", true, "on"),
    setting("TimeZone", true, "Etc/UTC"),
    setting("extra_float_digits", false, "1"),
    setting("jit", false, "on"),
    setting("lock_timeout", false, "0"),
    setting("role", false, "none"),
    setting("search_path", false, "\"$user\", public"),
    setting("statement_timeout", false, "0"),
    setting("work_mem", false, "4MB"),
    setting("client_min_messages", false, "notice"),
];

/// Reports whether the server is a standby.
pub const IN_HOT_STANDBY: &str = "in_hot_standby";
/// Reports the user.
pub const SESSION_AUTHORIZATION: &str = "session_authorization";

/// All values of one session, in the order of their definitions.
pub type Values = [Bytes; DEFINITIONS.len()];

/// Why a parameter cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such parameter (42704).
    Unknown,
    /// It cannot be changed (55P02).
    Internal,
}

/// The parameters of one session.
#[derive(Debug)]
pub struct Settings {
    /// What a fresh login with the same start-up packet has.
    login: Values,
    current: Values,
    /// What holds after COMMIT, while a transaction has SET LOCAL ones.
    after_commit: Option<Box<Values>>,
    /// What holds after ROLLBACK, once a transaction has changed any.
    after_rollback: Option<Box<Values>>,
    reported: Values,
    touched: bool,
}

impl Settings {
    /// The parameters of a new session with those its start-up packet names.
    pub fn new<'a>(startup: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, Refusal> {
        let mut login = DEFINITIONS.each_ref().map(|definition| Bytes::from_static(definition.default.as_bytes()));
        for (name, value) in startup {
            if name == b"options" {
                continue;
            }
            login[find(name)?] = Bytes::copy_from_slice(value);
        }
        let (current, reported) = (login.clone(), login.clone());
        Ok(Self { login, current, after_commit: None, after_rollback: None, reported, touched: false })
    }

    /// Sets what the server itself decides. It outlives transactions.
    pub fn set_internal(&mut self, name: &str, value: &[u8]) {
        let index = position(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not defined"));
        let value = Bytes::copy_from_slice(value);
        let kept = [self.after_commit.as_deref_mut(), self.after_rollback.as_deref_mut()];
        for values in [&mut self.login, &mut self.current].into_iter().chain(kept.into_iter().flatten()) {
            values[index] = value.clone();
        }
        self.touched = true;
    }

    /// `SET` and `SET LOCAL`.
    pub fn set(&mut self, name: &[u8], value: &[u8], local: bool) -> Result<(), Refusal> {
        let index = find(name)?;
        self.change(index, Bytes::copy_from_slice(value), local);
        Ok(())
    }

    /// `RESET name`.
    pub fn reset(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let index = find(name)?;
        self.change(index, self.login[index].clone(), false);
        Ok(())
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self) {
        for index in 0..DEFINITIONS.len() {
            self.change(index, self.login[index].clone(), false);
        }
    }

    fn change(&mut self, index: usize, value: Bytes, local: bool) {
        if self.after_rollback.is_none() {
            self.after_rollback = Some(Box::new(self.current.clone()));
        }
        if local && self.after_commit.is_none() {
            self.after_commit = Some(Box::new(self.current.clone()));
        } else if !local && let Some(after) = &mut self.after_commit {
            after[index] = value.clone();
        }
        self.current[index] = value;
        self.touched = true;
    }

    /// `SHOW name`.
    pub fn show(&self, name: &[u8]) -> Option<&Bytes> {
        position(name).map(|index| &self.current[index])
    }

    /// What ROLLBACK TO a savepoint set now would bring back.
    pub fn snapshot(&self) -> Values {
        self.current.clone()
    }

    /// ROLLBACK TO a savepoint.
    pub fn restore(&mut self, values: Values) {
        self.current = values;
        self.touched = true;
    }

    /// The transaction ends.
    pub fn end_transaction(&mut self, committed: bool) {
        let (after_commit, after_rollback) = (self.after_commit.take(), self.after_rollback.take());
        if let Some(values) = if committed { after_commit } else { after_rollback } {
            self.current = *values;
            self.touched = true;
        }
    }

    /// Calls `report` for each reported parameter of a new session.
    pub fn report_all(&self, mut report: impl FnMut(&[u8], &[u8])) {
        for (definition, value) in DEFINITIONS.iter().zip(&self.current) {
            if definition.reported {
                report(definition.name.as_bytes(), value);
            }
        }
    }

    /// Calls `report` for each reported parameter that has changed since it was last reported.
    pub fn report_changes(&mut self, mut report: impl FnMut(&[u8], &[u8])) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        for ((definition, value), reported) in DEFINITIONS.iter().zip(&self.current).zip(&mut self.reported) {
            if definition.reported && value != reported {
                report(definition.name.as_bytes(), value);
                *reported = value.clone();
            }
        }
    }

    /// Takes what was just reported in full as reported.
    pub fn mark_reported(&mut self) {
        self.reported = self.current.clone();
        self.touched = false;
    }

    /// Writes to `out` what differs from a fresh login.
    pub fn differences(&self, out: &mut String) {
        for ((definition, now), fresh) in DEFINITIONS.iter().zip(&self.current).zip(&self.login) {
            if now != fresh {
                let _ = write!(out, "{} is {:?}; ", definition.name, String::from_utf8_lossy(now));
            }
        }
    }
}

fn position(name: &[u8]) -> Option<usize> {
    DEFINITIONS.iter().position(|definition| name.eq_ignore_ascii_case(definition.name.as_bytes()))
}

fn find(name: &[u8]) -> Result<usize, Refusal> {
    let index = position(name).ok_or(Refusal::Unknown)?;
    if DEFINITIONS[index].settable { Ok(index) } else { Err(Refusal::Internal) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Settings {
        Settings::new([(&b"application_name"[..], &b"psql"[..])].into_iter()).unwrap()
    }

    fn differences(settings: &Settings) -> String {
        let mut out = String::new();
        settings.differences(&mut out);
        out
    }

    #[test]
    fn set_follows_the_transaction() {
        let mut s = fresh();
        s.set(b"work_mem", b"1MB", false).unwrap();
        s.end_transaction(false);
        assert_eq!(differences(&s), "");
        s.set(b"work_mem", b"1MB", false).unwrap();
        s.set(b"role", b"bob", true).unwrap();
        s.set(b"lock_timeout", b"5", false).unwrap();
        s.end_transaction(true);
        assert_eq!(differences(&s), "lock_timeout is \"5\"; work_mem is \"1MB\"; ");
        s.reset_all();
        s.end_transaction(true);
        assert_eq!(differences(&s), "");
        assert_eq!(
            s.show(b"application_name").map(|v| &v[..]),
            Some(&b"psql"[..]),
            "what the login set is its default"
        );
    }

    #[test]
    fn only_changes_of_reported_parameters_are_reported() {
        let mut s = fresh();
        s.set(b"work_mem", b"1MB", false).unwrap();
        s.set(b"timezone", b"Asia/Tokyo", false).unwrap();
        let mut seen = Vec::new();
        s.report_changes(|name, value| seen.push((name.to_vec(), value.to_vec())));
        assert_eq!(seen, [(b"TimeZone".to_vec(), b"Asia/Tokyo".to_vec())]);
        s.report_changes(|name, _| panic!("{name:?} is reported twice"));
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        assert_eq!(fresh().set(b"server_version", b"9", false), Err(Refusal::Internal));
        assert_eq!(fresh().set(b"nonsense", b"9", false), Err(Refusal::Unknown));
        assert_eq!(Settings::new([(&b"nonsense"[..], &b""[..])].into_iter()).err(), Some(Refusal::Unknown));
    }
}

//! Faults: who is at fault, and what the client is told about it on the wire.

use alloc::borrow::Cow;
use alloc::string::String;

/// A five-character SQLSTATE (manual, appendix "PostgreSQL Error Codes").
pub type SqlState = [u8; 5];

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The client broke the protocol, gave a wrong password, or was idle for too long.
    Client,
    /// A backend went away, refused, or broke the protocol.
    Backend,
    /// The configuration allows no better answer.
    Configuration,
    /// pgconvoy itself: shutdown, a limit reached, or a defect.
    Proxy,
}

/// Why something cannot go on, with the answer that PostgreSQL's clients understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who is at fault.
    pub culprit: Culprit,
    /// The code that drivers act on.
    pub sqlstate: SqlState,
    /// The primary message.
    pub message: Cow<'static, str>,
    /// The detail line, if any.
    pub detail: Option<String>,
    /// What to do about it, if that is known.
    pub hint: Option<Cow<'static, str>>,
    /// The function of PostgreSQL's that says the same, where drivers act on that.
    pub routine: Option<&'static str>,
}

impl Fault {
    /// A fault of `culprit` with a code and a message.
    pub fn new(culprit: Culprit, sqlstate: &SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { culprit, sqlstate: *sqlstate, message: message.into(), detail: None, hint: None, routine: None }
    }

    /// The client broke the protocol (08P01).
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Culprit::Client, b"08P01", message)
    }

    /// A backend broke the protocol (08P01), and its connection is worth nothing any more.
    pub fn hostile(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Culprit::Backend, b"08P01", message)
    }

    /// The same fault with a detail line.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same fault as this function of PostgreSQL's would tell it.
    #[must_use]
    pub const fn routine(mut self, routine: &'static str) -> Self {
        self.routine = Some(routine);
        self
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

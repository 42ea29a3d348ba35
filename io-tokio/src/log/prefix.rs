//! `log_line_prefix`: what stands before each line.

use std::fmt::Write as _;

use jiff::Zoned;

/// A prefix, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// `%a`
    ApplicationName,
    /// `%p`
    ProcessId,
    /// `%P`
    ProcessName,
    /// `%t`
    Time,
    /// `%m`
    TimeWithMilliseconds,
    /// `%d`
    Database,
    /// `%u`
    User,
    /// `%l`
    LineNumber,
}

/// Who says a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) application_name: String,
    pub(super) process_name: String,
    pub(super) process_id: u64,
    pub(super) user: String,
    pub(super) database: String,
}

impl Prefix {
    /// Takes a prefix apart; an escape that is not known says nothing, as in pgpool-II.
    pub(super) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let piece = match rest.next() {
                Some('a') => Piece::ApplicationName,
                Some('p') => Piece::ProcessId,
                Some('P') => Piece::ProcessName,
                Some('t') => Piece::Time,
                Some('m') => Piece::TimeWithMilliseconds,
                Some('d') => Piece::Database,
                Some('u') => Piece::User,
                Some('l') => Piece::LineNumber,
                Some('%') => {
                    literal.push('%');
                    continue;
                }
                Some(_) | None => continue,
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Self(pieces)
    }

    /// Appends the prefix of one line.
    pub(super) fn write(&self, line: &mut String, who: &Who, now: &Zoned, line_number: u64) {
        for piece in &self.0 {
            let written = match piece {
                Piece::Literal(text) => line.write_str(text),
                Piece::ApplicationName => line.write_str(&who.application_name),
                Piece::ProcessId => write!(line, "{}", who.process_id),
                Piece::ProcessName => line.write_str(&who.process_name),
                Piece::Time => write!(line, "{}", now.strftime("%Y-%m-%d %H:%M:%S")),
                Piece::TimeWithMilliseconds => write!(line, "{}", now.strftime("%Y-%m-%d %H:%M:%S.%3f")),
                Piece::Database => line.write_str(&who.database),
                Piece::User => line.write_str(&who.user),
                Piece::LineNumber => write!(line, "{line_number}"),
            };
            debug_assert!(written.is_ok(), "a string takes any text");
        }
    }
}

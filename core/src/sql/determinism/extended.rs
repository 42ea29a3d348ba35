//! Statements that are prepared once and run many times, each time with constants of its own: Parse, Bind, and the
//! `EXECUTE` of SQL.
//!
//! A text is parsed with parameters behind those of the client ([`Plan::parametrize`]), whose types follow from the casts
//! and columns around them. Messages are written anew, never patched: what cannot be read to its end is refused.

use alloc::vec::Vec;

use super::plan::{Constant, Plan};
use super::rewrite::{Edit, Parametrized, Piece};
use super::{Constants, strings, words};
use crate::wire::{build, split_cstr, tag};

/// The format of a value that is not binary.
const TEXT: u16 = 0;

/// A message is not built as the protocol demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Plan {
    /// What is to be done with an `EXECUTE` (this plan) of a statement that was prepared by `prepared`: its constants are
    /// asked for together with those of the arguments, and appended to them. It is empty if neither has any.
    #[must_use]
    pub fn running(&self, prepared: &Plan) -> Plan {
        let mut plan = self.clone();
        let (Some((at, has_arguments)), false) = (self.appends, prepared.constants.is_empty()) else { return plan };
        let first = plan.constants.len();
        plan.constants.extend(prepared.constants.iter().cloned());
        let mut pieces = Vec::new();
        // Without a list, this is behind the name of the statement; with one, in front of its end.
        if self.opens_list {
            pieces.push(Piece::text(" ("));
        }
        for number in first..plan.constants.len() {
            if number > first || has_arguments {
                pieces.push(Piece::text(", "));
            }
            pieces.push(Piece::Bare(number));
        }
        if self.opens_list {
            pieces.push(Piece::text(")"));
        }
        plan.edits.push(Edit { range: at..at, pieces });
        plan.edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        plan
    }

    /// The constants of several plans, for one question: those of a batch of messages.
    pub fn joint_question<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Option<Vec<u8>> {
        let all: Vec<Constant> = plans.into_iter().flat_map(|plan| plan.constants.iter().cloned()).collect();
        super::rewrite::ask(&all)
    }
}

impl Parametrized<'_> {
    /// Writes a Parse message in the place of one whose body is `body`.
    pub fn parse(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let (name, rest) = split_cstr(body).ok_or(Malformed)?;
        let (_, types) = split_cstr(rest).ok_or(Malformed)?;
        let (count, oids) = split_count(types)?;
        if oids.len() != usize::from(count) * 4 {
            return Err(Malformed);
        }
        build::message(out, tag::frontend::PARSE, |out| {
            build::cstr(out, name);
            build::cstr(out, &self.text);
            out.extend_from_slice(types);
        });
        Ok(())
    }

    /// Writes a Bind message in the place of one whose body is `body`, with `constants` behind the client's values.
    pub fn bind(&self, body: &[u8], constants: &Constants, out: &mut Vec<u8>) -> Result<(), Malformed> {
        bind(body, usize::from(self.added), constants, out)
    }
}

/// [`Parametrized::bind`] for who has kept only how many constants there are.
pub fn bind(body: &[u8], added: usize, constants: &Constants, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let message = Bind::read(body)?;
    let count = message.values.len() + constants.len();
    let count = u16::try_from(count).ok().filter(|_| constants.len() == added).ok_or(Malformed)?;
    build::message(out, tag::frontend::BIND, |out| {
        build::cstr(out, message.portal);
        build::cstr(out, message.statement);
        // One format is for all values, none means text.
        let formats: Vec<u16> = match message.formats[..] {
            [] | [TEXT] => Vec::new(),
            [format] => core::iter::repeat_n(format, message.values.len()).collect(),
            ref formats => formats.to_vec(),
        };
        let all = if formats.is_empty() { 0 } else { formats.len() + constants.len() };
        out.extend_from_slice(&(all as u16).to_be_bytes());
        for format in formats.iter().chain(core::iter::repeat_n(&TEXT, all - formats.len())) {
            out.extend_from_slice(&format.to_be_bytes());
        }
        out.extend_from_slice(&count.to_be_bytes());
        for value in message.values.iter().copied().chain(constants.iter()) {
            let length = value.map_or(u32::MAX, |value| value.len() as u32);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
        out.extend_from_slice(message.results);
    });
    Ok(())
}

/// Writes the ParameterDescription whose body is `body` as the client is to see it: without what was added.
pub fn parameter_description(body: &[u8], added: u16, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (count, oids) = split_count(body)?;
    let left = count.checked_sub(added).ok_or(Malformed)?;
    if oids.len() != usize::from(count) * 4 {
        return Err(Malformed);
    }
    build::message(out, tag::backend::PARAMETER_DESCRIPTION, |out| {
        out.extend_from_slice(&left.to_be_bytes());
        out.extend_from_slice(&oids[..usize::from(left) * 4]);
    });
    Ok(())
}

/// The values of a Bind message, by number, that could be a time that moves (`now`, `today`): if the type of such a
/// parameter [`is_time`], or is not known, each server would read another time.
pub fn moving_values(body: &[u8]) -> Result<Vec<usize>, Malformed> {
    let message = Bind::read(body)?;
    let moving = |at: usize, value: Option<&[u8]>| {
        message.format(at) == TEXT
            && value.is_some_and(|value| value.len() <= LONGEST_TIME && words::is_moving_time(value))
    };
    Ok(message.values.iter().enumerate().filter(|(at, value)| moving(*at, **value)).map(|(at, _)| at).collect())
}

/// Above this many bytes a value is too long to be a point in time.
const LONGEST_TIME: usize = 512;

/// Whether the type of this object identifier is one of points in time: `date`, `time`, `timestamp`, with and without a
/// zone.
pub const fn is_time(oid: u32) -> bool {
    matches!(oid, 1082 | 1083 | 1114 | 1184 | 1266)
}

/// Writes `value` as a string constant of SQL, however the session reads backslashes.
pub fn quote(value: &[u8], out: &mut Vec<u8>) {
    strings::quote(value, out);
}

/// The parts of a Bind message.
struct Bind<'a> {
    portal: &'a [u8],
    statement: &'a [u8],
    formats: Vec<u16>,
    values: Vec<Option<&'a [u8]>>,
    /// The formats of results, with their count.
    results: &'a [u8],
}

impl<'a> Bind<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (portal, rest) = split_cstr(body).ok_or(Malformed)?;
        let (statement, rest) = split_cstr(rest).ok_or(Malformed)?;
        let (count, rest) = split_count(rest)?;
        let (formats, rest) = rest.split_at_checked(usize::from(count) * 2).ok_or(Malformed)?;
        let formats: Vec<u16> = formats.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let (count, mut rest) = split_count(rest)?;
        if formats.len() > 1 && formats.len() != usize::from(count) {
            return Err(Malformed);
        }
        let mut values = Vec::new();
        for _ in 0..count {
            let (length, behind) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            let length = u32::from_be_bytes(*length);
            if length == u32::MAX {
                values.push(None);
                rest = behind;
            } else {
                let (value, behind) = behind.split_at_checked(length as usize).ok_or(Malformed)?;
                values.push(Some(value));
                rest = behind;
            }
        }
        let (count, results) = split_count(rest)?;
        if results.len() != usize::from(count) * 2 {
            return Err(Malformed);
        }
        Ok(Bind { portal, statement, formats, values, results: rest })
    }

    fn format(&self, at: usize) -> u16 {
        match self.formats[..] {
            [] => TEXT,
            [format] => format,
            ref formats => formats[at],
        }
    }
}

fn split_count(bytes: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (count, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed)?;
    Ok((u16::from_be_bytes(*count), rest))
}

//! Large objects that are made by FunctionCall, as libpq and drivers do it, where pgconvoy replicates: under which number.
//!
//! Left alone, each server would choose a number of its own. So the main one is asked for a number that is free, and all
//! are told to make the object under that (`lo_create`). Servers never give the same number twice in a row, so no table is
//! locked for it.

use crate::fault::{Culprit, Fault};
use crate::wire::build;
use crate::wire::tag::frontend;
use alloc::vec::Vec;

/// Functions by their object identifiers, which are the same in all releases (`pg_proc.dat`).
const LO_CREAT: u32 = 957;
const LO_CREATE: u32 = 715;
const LO_IMPORT: u32 = 764;
const LO_IMPORT_WITH_OID: u32 = 767;
const LO_FROM_BYTEA: u32 = 3457;

/// How much of a call is looked at.
pub(super) const INSPECT_BYTES: usize = 64;

/// Asks for a number that is free.
pub(super) const QUESTION: &str = "WITH n AS MATERIALIZED (SELECT pg_catalog.lo_create(0) AS n) \
                                   SELECT n::pg_catalog.text FROM n WHERE pg_catalog.lo_unlink(n) = 1";

/// What a call needs to be the same on all servers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// A number in the place of its argument; the format of its result.
    Number {
        format: [u8; 2],
    },
    /// It cannot be.
    Refusal,
}

/// Whether a function makes large objects.
pub(super) const fn makes(function: u32) -> bool {
    matches!(function, LO_CREAT | LO_CREATE | LO_IMPORT | LO_IMPORT_WITH_OID | LO_FROM_BYTEA)
}

/// Reads the body of a call to one of those, or its beginning.
pub(super) fn wanted(function: u32, body: &[u8]) -> Wanted {
    let first = first_argument(body);
    match (function, first) {
        // It reads a file of the server.
        (LO_IMPORT | LO_IMPORT_WITH_OID, _) => Wanted::Refusal,
        // What cannot be read is refused by the servers.
        (_, None) => Wanted::Nothing,
        (LO_FROM_BYTEA, Some((chosen, _))) => {
            if chosen {
                Wanted::Nothing
            } else {
                Wanted::Refusal
            }
        }
        (LO_CREATE, Some((true, _))) => Wanted::Nothing,
        (_, Some((_, rest))) => match rest {
            [first, second] => Wanted::Number { format: [*first, *second] },
            _ => Wanted::Nothing,
        },
    }
}

/// Whether the first argument is a number other than zero, and what stands behind it.
fn first_argument(body: &[u8]) -> Option<(bool, &[u8])> {
    let (count, rest) = body.get(4..)?.split_first_chunk::<2>()?;
    let formats = rest.get(..usize::from(u16::from_be_bytes(*count)) * 2)?;
    let rest = &rest[formats.len()..];
    let (length, rest) = rest.get(2..)?.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let zero = if formats.first_chunk() == Some(&[0, 1]) { 0 } else { b'0' };
    Some((value.iter().any(|byte| *byte != zero), rest))
}

/// The call that makes an object under this number.
pub(super) fn create(number: Option<&[u8]>, format: [u8; 2]) -> Option<Vec<u8>> {
    let number: u32 = core::str::from_utf8(number?).ok()?.parse().ok()?;
    let mut out = Vec::new();
    build::message(&mut out, frontend::FUNCTION_CALL, |out| {
        out.extend_from_slice(&LO_CREATE.to_be_bytes());
        // One format, binary, for one argument of four bytes.
        out.extend_from_slice(&[0, 1, 0, 1, 0, 1, 0, 0, 0, 4]);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&format);
    });
    Some(out)
}

pub(super) fn refusal() -> Fault {
    Fault::new(Culprit::Client, b"0A000", "a large object would have another number or content on each server")
        .hint("Make it with lo_creat, and write its content.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: u32, formats: &[u16], first: &[u8], result: u16) -> Vec<u8> {
        let mut out = function.to_be_bytes().to_vec();
        out.extend_from_slice(&(formats.len() as u16).to_be_bytes());
        formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&(first.len() as u32).to_be_bytes());
        out.extend_from_slice(first);
        out.extend_from_slice(&result.to_be_bytes());
        out
    }

    #[test]
    fn a_number_is_wanted_where_the_client_gives_none() {
        let number = Wanted::Number { format: [0, 1] };
        for (function, formats, first, expected) in [
            (LO_CREAT, &[1][..], &[0, 6, 0, 0][..], number),
            (LO_CREATE, &[1], &[0; 4], Wanted::Number { format: [0, 1] }),
            (LO_CREATE, &[], b"0", Wanted::Number { format: [0, 1] }),
            (LO_CREATE, &[1], &[0, 0, 1, 0], Wanted::Nothing),
            (LO_CREATE, &[], b"16500", Wanted::Nothing),
            (LO_IMPORT, &[], b"/etc/motd", Wanted::Refusal),
            (LO_FROM_BYTEA, &[1], &[0; 4], Wanted::Refusal),
            (LO_FROM_BYTEA, &[1], &[0, 0, 1, 0], Wanted::Nothing),
        ] {
            assert!(makes(function));
            assert_eq!(wanted(function, &call(function, formats, first, 1)), expected, "{function} {first:?}");
        }
        assert_eq!(wanted(LO_CREAT, &[0, 0, 3, 189, 0]), Wanted::Nothing);
    }

    #[test]
    fn an_object_is_made_under_a_number() {
        let message = create(Some(b"16500"), [0, 1]).expect("a number");
        assert_eq!(message[5..], call(LO_CREATE, &[1], &16_500u32.to_be_bytes(), 1));
        assert_eq!(message[..5], [b'F', 0, 0, 0, 24]);
        assert_eq!((create(None, [0, 0]), create(Some(b"x"), [0, 0])), (None, None));
    }
}

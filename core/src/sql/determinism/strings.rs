//! What a string constant says, whatever kind of quotes it stands in.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// Above this many bytes a string is too long to be a point in time (PostgreSQL's `MAXDATELEN` and its blanks).
const LONGEST_TIME: usize = 512;

/// The runs of letters in `content`.
pub(super) fn words(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| !byte.is_ascii_alphabetic() && *byte != b'_').filter(|word| !word.is_empty())
}

/// What could be unquoted names in `source`, whatever language it is in.
pub(super) fn identifiers(source: &[u8]) -> impl Iterator<Item = &[u8]> {
    source.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').filter(|word| !word.is_empty())
}

/// What the constant spelled `spelling` says, if it is short enough to be a point in time; `None` for a constant of bits.
/// `escapes` tells that a plain string has backslashes.
pub(super) fn content(spelling: &[u8], escapes: bool) -> Option<Cow<'_, [u8]>> {
    if spelling.len() > LONGEST_TIME {
        return None;
    }
    let (first, rest) = spelling.split_first()?;
    match first {
        b'$' => {
            let opening = 2 + rest.iter().position(|byte| *byte == b'$')?;
            Some(Cow::Borrowed(spelling.get(opening..spelling.len() - opening)?))
        }
        b'\'' => Some(unquote(rest, escapes)),
        b'e' | b'E' => Some(unquote(&rest[1..], true)),
        b'n' | b'N' => Some(unquote(&rest[1..], escapes)),
        // `\0061` and its kin.
        b'u' | b'U' => Some(unicode(&unquote(&rest[2..], false))),
        _ => None,
    }
}

/// What stands between quotes; `inside` begins behind the first one. A string that goes on in a later line is joined.
fn unquote(inside: &[u8], escapes: bool) -> Cow<'_, [u8]> {
    if let Some(plain) = inside.strip_suffix(b"'")
        && !plain.iter().any(|byte| matches!(byte, b'\'' | b'\\'))
    {
        return Cow::Borrowed(plain);
    }
    let mut out = Vec::new();
    let mut rest = inside;
    let mut open = true;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\'' if open && rest.first() == Some(&b'\'') => {
                out.push(b'\'');
                rest = &rest[1..];
            }
            b'\'' => open = !open,
            _ if !open => {}
            b'\\' if escapes => rest = escape(rest, &mut out),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// Reads what follows a backslash; returns what follows that.
fn escape<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((&kind, behind)) = rest.split_first() else { return rest };
    let (radix, digits, most) = match kind {
        b'0'..=b'7' => (8, rest, 3),
        b'x' => (16, behind, 2),
        b'u' => (16, behind, 4),
        b'U' => (16, behind, 8),
        _ => {
            out.push(match kind {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                other => other,
            });
            return behind;
        }
    };
    let (value, rest) = number(digits, radix, most);
    push(value, out);
    rest
}

/// Only ASCII matters: any other character is as good as any.
fn push(value: u32, out: &mut Vec<u8>) {
    out.push(u8::try_from(value).unwrap_or(b'?'));
}

fn number(digits: &[u8], radix: u32, most: usize) -> (u32, &[u8]) {
    let digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let count = digits.iter().take(most).take_while(|byte| digit(byte)).count();
    let value = digits[..count]
        .iter()
        .fold(0u32, |value, byte| value.wrapping_mul(radix) + char::from(*byte).to_digit(radix).unwrap_or(0));
    (value, &digits[count..])
}

/// Resolves `\XXXX` and `\+XXXXXX`. Another escape character than the backslash is not known here.
fn unicode(content: &[u8]) -> Cow<'static, [u8]> {
    let mut out = Vec::new();
    let mut rest = content;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            out.push(byte);
        } else {
            let (digits, most) = behind.strip_prefix(b"+").map_or((behind, 4), |digits| (digits, 6));
            let (value, left) = number(digits, 16, most);
            push(value, &mut out);
            rest = left;
        }
    }
    Cow::Owned(out)
}

/// Writes `value` as a string constant, however the session reads backslashes.
pub(super) fn quote(value: &[u8], out: &mut Vec<u8>) {
    let backslash = value.contains(&b'\\');
    if backslash {
        out.push(b'E');
    }
    out.push(b'\'');
    for &byte in value {
        if byte == b'\'' || byte == b'\\' && backslash {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_every_kind_of_string() {
        for (spelling, said) in [
            ("'now'", "now"),
            ("'it''s now'", "it's now"),
            ("E'n\\x6fw'", "now"),
            ("e'\\156ow\\t'", "now\t"),
            ("E'\\u006eow'", "now"),
            ("N'now'", "now"),
            ("U&'\\006eow'", "now"),
            ("u&'\\+00006eow'", "now"),
            ("$$now$$", "now"),
            ("$tag$now$tag$", "now"),
            ("'no'\n 'w'", "now"),
            ("'n\\x6fw'", "n\\x6fw"),
        ] {
            assert_eq!(content(spelling.as_bytes(), false).as_deref(), Some(said.as_bytes()), "{spelling}");
        }
        assert_eq!(content(b"'n\\x6fw'", true).as_deref(), Some(&b"now"[..]));
        assert_eq!(content(b"B'01'", false), None);
    }

    #[test]
    fn a_quoted_value_says_the_same_again() {
        for value in ["", "now", "it's", "a\\b", "'", "\\'"] {
            let mut quoted = Vec::new();
            quote(value.as_bytes(), &mut quoted);
            for escapes in [false, true] {
                assert_eq!(content(&quoted, escapes).as_deref(), Some(value.as_bytes()), "{value}");
            }
        }
    }
}

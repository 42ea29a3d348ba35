//! The preparation of a password before SCRAM hashes it (SASLprep, RFC 4013), with PostgreSQL's choices.
//!
//! PostgreSQL prepares a password when it can and takes its raw bytes when it cannot. It looks for prohibited,
//! unassigned and bidirectional characters before normalisation, where the RFC looks after it. A proxy that differs in
//! either would reject right passwords, so the steps stand here and only the tables come from `stringprep`.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The bytes that SCRAM hashes for `password`.
pub(super) fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = core::str::from_utf8(password).ok().and_then(saslprep);
    Zeroizing::new(match prepared {
        Some(Cow::Owned(text)) => text.into_bytes(),
        Some(Cow::Borrowed(text)) => text.as_bytes().to_vec(),
        None => password.to_vec(),
    })
}

/// The prepared form of `text`, or `None` where SASLprep refuses it.
fn saslprep(text: &str) -> Option<Cow<'_, str>> {
    if text.is_ascii() {
        return Some(Cow::Borrowed(text));
    }
    let mut mapped = Zeroizing::new(String::with_capacity(text.len()));
    mapped.extend(text.chars().filter_map(map));
    if mapped.is_empty() || mapped.contains(prohibited) || mapped.contains(tables::unassigned_code_point) {
        return None;
    }
    if !bidirectionally_sound(&mapped) {
        return None;
    }
    Some(Cow::Owned(mapped.nfkc().collect()))
}

/// RFC 4013, 2.1: other spaces become the ASCII space, invisible characters vanish.
fn map(c: char) -> Option<char> {
    if tables::non_ascii_space_character(c) {
        Some(' ')
    } else if tables::commonly_mapped_to_nothing(c) {
        None
    } else {
        Some(c)
    }
}

/// RFC 4013, 2.3.
fn prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// RFC 3454, 6: text with right-to-left characters has no left-to-right ones, and begins and ends with the former.
fn bidirectionally_sound(text: &str) -> bool {
    !text.contains(tables::bidi_r_or_al)
        || (!text.contains(left_to_right)
            && text.starts_with(tables::bidi_r_or_al)
            && text.ends_with(tables::bidi_r_or_al))
}

/// RFC 3454, table D.2. Unicode has moved these characters between its classes since; PostgreSQL has not followed.
fn left_to_right(c: char) -> bool {
    match c {
        '\u{cbf}' | '\u{cc6}' | '\u{1734}' | '\u{2132}' | '\u{2800}'..='\u{28ff}' | '\u{302e}' | '\u{302f}' => false,
        '\u{17b4}' | '\u{17b5}' | '\u{1885}' | '\u{1886}' => true,
        '\u{1d6c1}' | '\u{1d6db}' | '\u{1d6fb}' | '\u{1d715}' | '\u{1d735}' => true,
        '\u{1d74f}' | '\u{1d76f}' | '\u{1d789}' | '\u{1d7a9}' | '\u{1d7c3}' => true,
        _ => tables::bidi_l(c),
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::md5::md5_hex;
    use alloc::format;

    /// Of the characters that Unicode 3.2 knows: how many are accepted between `around` on both sides, and the md5 of all the answers.
    fn every_character(around: &str) -> (usize, String) {
        let (mut accepted, mut answers) = (0, Vec::new());
        for c in ('\u{1}'..'\u{30000}').chain('\u{e0000}'..'\u{e1000}') {
            if let Some(prepared) = saslprep(&format!("{around}{c}{around}")) {
                accepted += 1;
                answers.extend_from_slice(format!("{:x} {prepared}\n", u32::from(c)).as_bytes());
            }
        }
        (accepted, md5_hex(&answers).into_iter().map(char::from).collect())
    }

    /// The figures are those of PostgreSQL 15's own function, called on every character.
    #[test]
    fn every_character_alone_is_prepared_as_in_postgresql() {
        assert_eq!(every_character(""), (95_017, "fb32ca3a63335706c0d0345b504b8f4a".into()));
    }

    /// Between two Hebrew letters the rules of direction decide.
    #[test]
    fn every_character_between_right_to_left_letters_is_prepared_as_in_postgresql() {
        assert_eq!(every_character("\u{5d0}"), (4_555, "2c655287e3b1d0b0d39717839d7d7435".into()));
    }
}

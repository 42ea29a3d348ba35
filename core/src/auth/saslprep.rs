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
        || (!text.contains(tables::bidi_l)
            && text.starts_with(tables::bidi_r_or_al)
            && text.ends_with(tables::bidi_r_or_al))
}

//! An independent reader of message boundaries: the core's own framing is under test, so nothing here uses it.

use bytes::{Bytes, BytesMut};

/// Longest message that a model believes, in bytes.
const LIMIT: u32 = 1 << 26;

/// A length field that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength(pub u32);

/// The whole length of the message at the front of `input`; `None` while its header is not there.
pub fn length(input: &[u8]) -> Result<Option<usize>, BadLength> {
    let Some(header) = input.first_chunk::<5>() else { return Ok(None) };
    let declared = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    if (4..LIMIT).contains(&declared) { Ok(Some(declared as usize + 1)) } else { Err(BadLength(declared)) }
}

/// Takes the next whole message off `input`.
pub fn next(input: &mut BytesMut) -> Result<Option<Bytes>, BadLength> {
    match length(input)? {
        Some(total) if total <= input.len() => Ok(Some(input.split_to(total).freeze())),
        _ => Ok(None),
    }
}

/// A number that stands for a message's bytes (FNV-1a over words, of one's own so that it never changes). A Query that begins
/// a block to write in is the same as what a standby is given for it.
pub fn digest(bytes: &[u8]) -> u64 {
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    let modes =
        bytes.strip_prefix(b"Q").and_then(|rest| rest.get(4..)).and_then(|text| text.strip_prefix(b"BEGIN READ "));
    match modes {
        Some(modes) if modes.starts_with(b"WRITE") || modes.starts_with(b"ONLY ") => mix(START ^ 1, &modes[5..]),
        _ => mix(START, bytes),
    }
}

/// Goes on with a digest.
pub fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    (hash ^ u64::from_le_bytes(last) ^ bytes.len() as u64).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}

/// Splits text off at its NUL.
pub fn cstr(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_came_in() {
        let stream = b"Q\0\0\0\x06a\0S\0\0\0\x04";
        let mut input = BytesMut::new();
        let mut seen = Vec::new();
        for byte in stream {
            input.extend_from_slice(&[*byte]);
            seen.extend(next(&mut input).unwrap());
        }
        assert_eq!(seen, [&stream[..7], &stream[7..]]);
        assert_eq!(length(b"Q\0\0\0\x03"), Err(BadLength(3)));
    }

    #[test]
    fn digests_tell_messages_apart() {
        assert_ne!(digest(b"abc"), digest(b"abd"));
        assert_ne!(digest(b"abc"), digest(b"abc\0"));
        assert_ne!(digest(b"12345678abcdefgh"), digest(b"abcdefgh12345678"));
    }
}

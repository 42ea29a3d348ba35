//! The password file of pgpool (`pool_passwd`): which credential belongs to which user.
//!
//! One entry a line, `user:value`. The value's first letters tell its kind: `md5` and 32 digits, `TEXT` and a password,
//! `AES` and base64, anything else is the password itself. As pgpool 4.3 reads it:
//! - a backslash takes the next character literally, in the user name and in the value; an unescaped colon ends either;
//! - blanks are part of the name or the value, never trimmed;
//! - of several entries for one user the first counts, but one with an empty value does not count at all.
//!
//! Beyond pgpool: a line that begins with `#` is a comment (`\#` begins a user name), passwords may be longer than 128
//! bytes, and whatever is odd is reported with its line instead of failing a login later.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use zeroize::Zeroizing;

use super::Secret;
use super::md5::Md5Hash;
use crate::limits::{PASSWORD_FILE_BYTES, PASSWORD_LINE_BYTES};

/// AES works on blocks of this many bytes; a padded ciphertext is one or more of them.
const AES_BLOCK_BYTES: usize = 16;

/// The entries of a password file.
#[derive(Default)]
pub struct PasswordFile {
    users: BTreeMap<Vec<u8>, Entry>,
    broken_lines: usize,
}

/// What is known of a user's password.
#[derive(Clone)]
pub enum Credential {
    /// The password itself: every method works with it.
    Text(Secret),
    /// Only PostgreSQL's md5 hash: no use for SCRAM.
    Md5(Md5Hash),
    /// The password encrypted with AES-256-CBC under the key of `.pgpoolkey`: ciphertext, whole blocks.
    Aes(Vec<u8>),
}

/// Something odd on one line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is odd.
    pub what: Problem,
}

/// What can be odd about a line. Never contains the line's text: it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file is larger than [`PASSWORD_FILE_BYTES`]; none of it is used.
    FileTooLarge,
    /// The line is longer than [`PASSWORD_LINE_BYTES`].
    TooLong,
    /// The line contains a NUL byte.
    Nul,
    /// No colon separates a user name from a value.
    NoColon,
    /// The user name is empty.
    EmptyUser,
    /// The password is empty.
    EmptyPassword,
    /// An earlier line has an entry for the same user.
    Duplicate {
        /// That line, counted from 1.
        first_line: usize,
    },
    /// `md5` is followed by 32 characters that are not all lower-case hexadecimal digits.
    InvalidMd5,
    /// The value is a SCRAM verifier, from which nobody can log in.
    ScramVerifier,
    /// `AES` is followed by something that is not the base64 of whole AES blocks.
    InvalidAes,
    /// The password is encrypted and of use only with a key.
    AesNeedsKey,
    /// The value begins with `md5` but has another length than a hash: it is taken as a password.
    NotMd5,
    /// An unescaped colon ends the value; what follows is ignored.
    ColonInValue,
    /// The backslash at the end of the line escapes nothing and is ignored.
    LoneBackslash,
    /// The user name or the value begins or ends with a blank or a carriage return, which is part of it.
    Blank,
}

struct Entry {
    line: usize,
    /// `None` for an entry that is of no use but hides later ones, as it does in pgpool.
    credential: Option<Credential>,
}

impl PasswordFile {
    /// Reads the content of a file. What cannot be used is left out and reported; the rest is kept.
    pub fn parse(content: impl AsRef<[u8]>) -> (Self, Vec<LineProblem>) {
        let content = content.as_ref();
        if content.len() > PASSWORD_FILE_BYTES {
            let none = Self { broken_lines: 1, ..Self::default() };
            return (none, [LineProblem { line: 1, what: Problem::FileTooLarge }].into());
        }
        let mut file = Self::default();
        let mut problems = Vec::new();
        for (line, text) in (1..).zip(content.split(|&byte| byte == b'\n')) {
            file.read_line(line, text, &mut |what| problems.push(LineProblem { line, what }));
        }
        file.broken_lines = problems.iter().filter(|problem| !problem.what.is_warning()).count();
        (file, problems)
    }

    /// How many lines do not count for what is wrong with them.
    pub const fn broken_lines(&self) -> usize {
        self.broken_lines
    }

    /// What is known of the password of `user`.
    pub fn lookup(&self, user: impl AsRef<[u8]>) -> Option<&Credential> {
        self.users.get(user.as_ref())?.credential.as_ref()
    }

    /// How many users have a usable credential, encrypted ones included.
    pub fn len(&self) -> usize {
        self.users.values().filter(|entry| entry.credential.is_some()).count()
    }

    /// Whether no user has a usable credential.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read_line(&mut self, line: usize, text: &[u8], report: &mut impl FnMut(Problem)) {
        if text.is_empty() || text.starts_with(b"#") {
            return;
        }
        if text.len() > PASSWORD_LINE_BYTES {
            return report(Problem::TooLong);
        }
        if text.contains(&0) {
            return report(Problem::Nul);
        }
        let (user, Some(rest)) = take_field(text) else {
            return report(Problem::NoColon);
        };
        if user.is_empty() {
            return report(Problem::EmptyUser);
        }
        let (value, ignored) = take_field(rest);
        if value.is_empty() {
            return report(Problem::EmptyPassword);
        }
        if let Some(first) = self.users.get(&*user) {
            return report(Problem::Duplicate { first_line: first.line });
        }
        if ignored.is_some() {
            report(Problem::ColonInValue);
        } else if ends_in_lone_backslash(rest) {
            report(Problem::LoneBackslash);
        }
        if has_edge_blank(&user) || has_edge_blank(&value) {
            report(Problem::Blank);
        }
        let credential = classify(value, report);
        self.users.insert(user.to_vec(), Entry { line, credential });
    }
}

impl Problem {
    /// Whether the line still counts. Where it does not, a login of its user will fail.
    pub fn is_warning(self) -> bool {
        matches!(self, Self::AesNeedsKey | Self::NotMd5 | Self::ColonInValue | Self::LoneBackslash | Self::Blank)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileTooLarge => "the file is too large, no entry is used",
            Self::TooLong => "the line is too long",
            Self::Nul => "the line contains a NUL byte",
            Self::NoColon => "no colon between user name and password",
            Self::EmptyUser => "the user name is empty",
            Self::EmptyPassword => "the password is empty",
            Self::Duplicate { first_line } => {
                return write!(f, "the user has an entry on line {first_line} already, which is the one that counts");
            }
            Self::InvalidMd5 => "md5 must be followed by 32 lower-case hexadecimal digits",
            Self::ScramVerifier => "a SCRAM verifier cannot be used to log in to PostgreSQL",
            Self::InvalidAes => "AES must be followed by base64 of an encrypted password; write TEXT before a password",
            Self::AesNeedsKey => "AES entry needs a key",
            Self::NotMd5 => "not an md5 hash although it begins with md5: taken as the password itself",
            Self::ColonInValue => "the password ends at the colon, the rest is ignored; write \\: for a colon in it",
            Self::LoneBackslash => "the backslash at the end is ignored; write \\\\ for a backslash",
            Self::Blank => "a blank or carriage return at the edge of the user name or password is part of it",
        })
    }
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// The text up to the first unescaped colon with its escapes resolved, and what follows the colon, if there is one.
fn take_field(text: &[u8]) -> (Zeroizing<Vec<u8>>, Option<&[u8]>) {
    // Reserved at once: a vector that grows leaves copies of a password behind.
    let mut field = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\\' if !escaped => escaped = true,
            b':' if !escaped => return (field, Some(&text[at + 1..])),
            _ => {
                field.push(byte);
                escaped = false;
            }
        }
    }
    (field, None)
}

fn ends_in_lone_backslash(text: &[u8]) -> bool {
    text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

fn has_edge_blank(text: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    is_blank(text.first()) || is_blank(text.last())
}

fn classify(value: Zeroizing<Vec<u8>>, report: &mut impl FnMut(Problem)) -> Option<Credential> {
    if let Some(digits) = value.strip_prefix(b"md5") {
        if digits.len() == 32 {
            let hash = Md5Hash::parse(digits);
            if hash.is_none() {
                report(Problem::InvalidMd5);
            }
            return hash.map(Credential::Md5);
        }
        report(Problem::NotMd5);
    } else if let Some(text) = value.strip_prefix(b"AES") {
        return match STANDARD.decode(text) {
            Ok(cipher) if !cipher.is_empty() && cipher.len() % AES_BLOCK_BYTES == 0 => {
                report(Problem::AesNeedsKey);
                Some(Credential::Aes(cipher))
            }
            _ => {
                report(Problem::InvalidAes);
                None
            }
        };
    } else if value.starts_with(b"SCRAM-SHA-256$") {
        report(Problem::ScramVerifier);
        return None;
    } else if let Some(password) = value.strip_prefix(b"TEXT") {
        if password.is_empty() {
            report(Problem::EmptyPassword);
            return None;
        }
        return Some(Credential::Text(Secret::from(password)));
    }
    Some(Credential::Text(Secret::from(&value[..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn text<'a>(file: &'a PasswordFile, user: &str) -> Option<&'a [u8]> {
        match file.lookup(user)? {
            Credential::Text(secret) => Some(secret.expose()),
            Credential::Md5(_) | Credential::Aes(_) => None,
        }
    }

    /// The password that one line gives its user, and what is reported about the line.
    fn one<'a>(line: &str, user: &str, problems: &'a mut Vec<Problem>) -> (Option<Vec<u8>>, &'a [Problem]) {
        let (file, reported) = PasswordFile::parse(line);
        problems.extend(reported.iter().map(|problem| problem.what));
        (text(&file, user).map(<[u8]>::to_vec), problems)
    }

    /// Each row was tried on pgpool 4.3.5: a role with this name and password logs in through it with this line.
    #[test]
    fn reads_what_pgpool_reads() {
        let rows: [(&str, &str, &str, &[Problem]); 17] = [
            ("plain1:plainpw", "plain1", "plainpw", &[]),
            ("text1:TEXTtextpw", "text1", "textpw", &[]),
            ("text_text:TEXTTEXTpw", "text_text", "TEXTpw", &[]),
            ("text_lower:textpw", "text_lower", "textpw", &[]),
            (r"esc_colon:a\:b", "esc_colon", "a:b", &[]),
            ("raw_colon:a:b", "raw_colon", "a", &[Problem::ColonInValue]),
            ("mapped4:pw:other:otherpw", "mapped4", "pw", &[Problem::ColonInValue]),
            (r"bslash:a\b", "bslash", "ab", &[]),
            (r"bslash_two:a\\b", "bslash_two", r"a\b", &[]),
            ("bslash_end:ab\\", "bslash_end", "ab", &[Problem::LoneBackslash]),
            (r"us\:er:upw", "us:er", "upw", &[]),
            (r"us\\er:upw", r"us\er", "upw", &[]),
            ("blank_lead: pw", "blank_lead", " pw", &[Problem::Blank]),
            ("blank_trail:pw ", "blank_trail", "pw ", &[Problem::Blank]),
            ("cr_end:pw\r", "cr_end", "pw\r", &[Problem::Blank]),
            ("badmd5_plain:md5abc", "badmd5_plain", "md5abc", &[Problem::NotMd5]),
            ("unié:pé", "unié", "pé", &[]),
        ];
        for (line, user, password, expected) in rows {
            let mut problems = Vec::new();
            let (found, reported) = one(line, user, &mut problems);
            assert_eq!(found.as_deref(), Some(password.as_bytes()), "{line}");
            assert_eq!(reported, expected, "{line}");
            assert!(reported.iter().all(|problem| problem.is_warning()), "{line}");
        }
    }

    #[test]
    fn the_first_entry_counts_unless_its_value_is_empty() {
        let (file, problems) = PasswordFile::parse("a:one\na:two\nb:\nb:two\nc:TEXT\nc:two\n");
        assert_eq!(text(&file, "a"), Some(&b"one"[..]));
        assert_eq!(text(&file, "b"), Some(&b"two"[..]));
        assert_eq!(text(&file, "c"), None, "pgpool finds the empty TEXT entry and looks no further");
        let expected = [
            (2, Problem::Duplicate { first_line: 1 }),
            (3, Problem::EmptyPassword),
            (5, Problem::EmptyPassword),
            (6, Problem::Duplicate { first_line: 5 }),
        ];
        assert_eq!(problems, expected.map(|(line, what)| LineProblem { line, what }));
        assert_eq!((file.len(), file.broken_lines()), (2, 4));
    }

    #[test]
    fn hashes_and_encrypted_passwords_keep_their_kind() {
        let content = "m:md5132ecbcbfa11be529b63ea4c4e734056\ne:AESudF+ZzqOx2ynDBqVccZSyQ==\n";
        let (file, problems) = PasswordFile::parse(content);
        let Some(Credential::Md5(hash)) = file.lookup("m") else { panic!("an md5 entry") };
        assert_eq!(hash.expose(), b"132ecbcbfa11be529b63ea4c4e734056");
        let Some(Credential::Aes(cipher)) = file.lookup("e") else { panic!("an AES entry") };
        assert_eq!(cipher.len(), AES_BLOCK_BYTES);
        assert_eq!(problems, [LineProblem { line: 2, what: Problem::AesNeedsKey }]);
        assert_eq!(problems[0].to_string(), "line 2: AES entry needs a key");
    }

    #[test]
    fn what_cannot_be_used_is_reported_with_its_line_and_the_rest_is_kept() {
        let content = "# a comment\n\nnocolon\n:pw\nnul:a\0b\nbadmd5:md5132ECBCBFA11BE529B63EA4C4E734056\n\
                       scram:SCRAM-SHA-256$4096:abc$def:ghi\nbadaes:AESnot base64\nshortaes:AESAAAA\n\
                       \\#hash:pw\ngood:pw";
        let (file, problems) = PasswordFile::parse(content);
        let reported: Vec<_> = problems.iter().map(|problem| (problem.line, problem.what)).collect();
        let expected = [
            (3, Problem::NoColon),
            (4, Problem::EmptyUser),
            (5, Problem::Nul),
            (6, Problem::InvalidMd5),
            (7, Problem::ScramVerifier),
            (7, Problem::ColonInValue),
            (8, Problem::InvalidAes),
            (9, Problem::InvalidAes),
        ];
        let sorted = |mut rows: Vec<(usize, Problem)>| {
            rows.sort_by_key(|(line, what)| (*line, what.is_warning()));
            rows
        };
        assert_eq!(sorted(reported), expected);
        assert_eq!(text(&file, "good"), Some(&b"pw"[..]));
        assert_eq!(text(&file, "#hash"), Some(&b"pw"[..]));
        assert_eq!(file.len(), 2);
        for user in ["nul", "badmd5", "scram", "badaes", "shortaes", "", "nocolon"] {
            assert!(file.lookup(user).is_none(), "{user}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let longest = format!("u:{}", "x".repeat(PASSWORD_LINE_BYTES - 2));
        let (file, problems) = PasswordFile::parse(&longest);
        assert_eq!((file.len(), problems.len()), (1, 0));
        let (file, problems) = PasswordFile::parse(format!("{longest}x\nv:pw"));
        assert_eq!(problems, [LineProblem { line: 1, what: Problem::TooLong }]);
        assert!(file.lookup("v").is_some());
        let (file, problems) = PasswordFile::parse("a:b\n".repeat(PASSWORD_FILE_BYTES / 4 + 1));
        assert_eq!(problems, [LineProblem { line: 1, what: Problem::FileTooLarge }]);
        assert!(file.is_empty());
    }

    fn escape(text: &str) -> alloc::string::String {
        text.replace('\\', "\\\\").replace(':', "\\:")
    }

    proptest! {
        #[test]
        fn any_name_and_password_can_be_written(user in "[^\\n\0]{1,20}", password in "[^\\n\0]{1,20}") {
            let line = format!("\\{}:TEXT{}", user.replace('\\', "\\\\").replace(':', "\\:"), escape(&password));
            // The backslash in front keeps a leading `#` from being a comment; an escaped first letter needs none.
            let line = if user.starts_with(['\\', ':']) { line[1..].to_string() } else { line };
            let (file, _) = PasswordFile::parse(&line);
            prop_assert_eq!(text(&file, &user), Some(password.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read_without_panic(content in prop::collection::vec(any::<u8>(), 0..300)) {
            let (file, problems) = PasswordFile::parse(&content);
            let lines = content.split(|&byte| byte == b'\n').count();
            prop_assert!(file.len() <= lines);
            prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
        }
    }
}

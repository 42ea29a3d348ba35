//! From the text of a value to a typed value, by pgpool-II's rules: units, octal and hexadecimal numbers, words in any
//! letter case.

use std::time::Duration;

/// How the text of a parameter is read, and what is allowed.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `on`, `off`, `true`, `false`, `yes`, `no`, `1`, `0`.
    Bool,
    /// A whole number from `min` to `max`, in `unit` unless the text names another unit of the same sort.
    Int {
        /// The least allowed value.
        min: i64,
        /// The greatest allowed value.
        max: i64,
        /// The unit of a number that stands alone.
        unit: Unit,
    },
    /// A decimal number from `min` to `max`.
    Float {
        /// The least allowed value.
        min: f64,
        /// The greatest allowed value.
        max: f64,
    },
    /// Any text.
    Text,
    /// Words with a separator between them; blanks around a word do not count.
    List(char),
    /// One of a few words.
    Word(&'static [WordEntry]),
}

/// The unit in which a number is kept, and is understood when it stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    One,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Bytes.
    Bytes,
    /// 1,024 bytes.
    Kilobytes,
}

/// One word of a [`Kind::Word`].
#[derive(Debug, Clone, Copy)]
pub struct WordEntry {
    /// Its spellings; the first is the one to show.
    pub spellings: &'static [&'static str],
    /// The number that `SHOW pool_status` shows for it.
    pub code: i32,
}

/// A value that its [`Kind`] allows.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`], in its unit.
    Int(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
    /// Of [`Kind::Word`]: the position among its entries.
    Word(usize),
}

/// Why a text is not a value of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Invalid {
    fn new(message: String, help: Option<String>) -> Self {
        Self { message, help }
    }
}

impl Unit {
    /// The units that may stand behind a number, with their size in the smallest of them.
    pub(super) fn family(self) -> &'static [(&'static str, u64)] {
        const TIME: &[(&str, u64)] = &[
            ("us", 1),
            ("ms", 1_000),
            ("s", 1_000_000),
            ("min", 60_000_000),
            ("h", 3_600_000_000),
            ("d", 86_400_000_000),
        ];
        const SIZE: &[(&str, u64)] = &[("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];
        match self {
            Self::One => &[],
            Self::Milliseconds | Self::Seconds | Self::Minutes => TIME,
            Self::Bytes | Self::Kilobytes => SIZE,
        }
    }

    /// The size of this unit in the smallest of its family.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::One | Self::Bytes => 1,
            Self::Milliseconds => 1_000,
            Self::Seconds => 1_000_000,
            Self::Minutes => 60_000_000,
            Self::Kilobytes => 1 << 10,
        }
    }

    /// Its name; empty for a plain number.
    fn name(self) -> &'static str {
        self.family().iter().find(|(_, size)| *size == self.size()).map_or("", |(name, _)| name)
    }

    /// A number of these with the largest unit of which it is a multiple.
    fn spell(self, number: i64) -> String {
        let largest = self.family().iter().rev().filter(|(_, size)| *size >= self.size());
        let mut largest = largest.map(|(name, size)| (name, (size / self.size()) as i64));
        match largest.find(|(_, times)| number != 0 && number % times == 0) {
            Some((name, times)) if number > 0 => format!("{}{name}", number / times),
            _ => number.to_string(),
        }
    }
}

impl Kind {
    /// Reads a text. The range is checked, except of a default: a port that is not set is 0.
    ///
    /// # Errors
    /// If the text is no value of this kind.
    pub fn parse(&self, text: &str) -> Result<Value, Invalid> {
        let value = self.parse_unchecked(text)?;
        self.check_range(&value)?;
        Ok(value)
    }

    /// Reads a text without looking at the range.
    pub(super) fn parse_unchecked(&self, text: &str) -> Result<Value, Invalid> {
        match *self {
            Self::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| {
                Invalid::new(format!("\"{text}\" is neither on nor off"), Some("write on or off".to_owned()))
            }),
            Self::Int { unit, .. } => parse_int(text, unit).map(Value::Int),
            Self::Float { .. } => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Float(number)),
                _ => Err(Invalid::new(format!("\"{text}\" is not a number"), None)),
            },
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::List(separator) => Ok(Value::List(
                text.split(separator).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
            Self::Word(entries) => parse_word(text, entries).map(Value::Word),
        }
    }

    /// Writes a value of this kind as pgpool-II writes it: with the largest unit that leaves no fraction.
    pub(super) fn spell(&self, value: &Value) -> String {
        match (value, self) {
            (Value::Bool(on), _) => (if *on { "on" } else { "off" }).to_owned(),
            (Value::Int(number), Self::Int { unit, .. }) => unit.spell(*number),
            (Value::Float(number), _) => number.to_string(),
            (Value::Text(text), _) => text.clone(),
            (Value::List(items), Self::List(separator)) => items.join(&separator.to_string()),
            (Value::Word(position), Self::Word(entries)) => entries[*position].spellings[0].to_owned(),
            (value, kind) => unreachable!("{value:?} is no value of {kind:?}"),
        }
    }

    /// Which values there are, in a few words; empty where every text is one.
    pub(super) fn values(&self) -> String {
        match *self {
            Self::Bool => "on, off".to_owned(),
            Self::Int { min, max, unit } => {
                // The greatest number that fits stands for no limit.
                let limit = [i64::MAX, i32::MAX.into(), i64::from(i32::MAX) / 1024].contains(&max);
                let unit = if unit == Unit::One { String::new() } else { format!(" {}", unit.name()) };
                match max {
                    _ if limit => format!("{min}{unit} or more"),
                    // Nobody writes permissions in another way.
                    0o777 => format!("{min:o} .. 0{max:o}"),
                    _ => format!("{min} .. {max}{unit}"),
                }
            }
            Self::Float { min, max } => format!("{min} .. {max}"),
            Self::Text => String::new(),
            Self::List(',') => "list, with commas between".to_owned(),
            Self::List(';') => "list, with semicolons between".to_owned(),
            Self::List(separator) => format!("list, with {separator} between"),
            Self::Word(entries) => entries.iter().map(|entry| entry.spellings[0]).collect::<Vec<_>>().join(", "),
        }
    }

    fn check_range(&self, value: &Value) -> Result<(), Invalid> {
        match (self, value) {
            (Self::Int { min, max, .. }, Value::Int(number)) if !(min..=max).contains(&number) => {
                Err(Invalid::new(format!("{number} is outside the range {min} .. {max}"), None))
            }
            (Self::Float { min, max }, Value::Float(number)) if !(min..=max).contains(&number) => {
                Err(Invalid::new(format!("{number} is outside the range {min} .. {max}"), None))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a boolean word in any letter case.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is(&["on", "true", "yes", "1"]) {
        Some(true)
    } else if is(&["off", "false", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

fn parse_word(text: &str, entries: &[WordEntry]) -> Result<usize, Invalid> {
    let wanted = text.trim();
    let known = |entry: &WordEntry| entry.spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(wanted));
    entries.iter().position(known).ok_or_else(|| {
        let words: Vec<_> = entries.iter().map(|entry| entry.spellings[0]).collect();
        Invalid::new(
            format!("\"{text}\" is not a word that this parameter knows"),
            Some(format!("use one of {}", words.join(", "))),
        )
    })
}

/// Reads a number as C's `strtol` with base 0 does (`0777` octal, `0x1F` hexadecimal), a decimal fraction, and a unit.
fn parse_int(text: &str, unit: Unit) -> Result<i64, Invalid> {
    let trimmed = text.trim();
    let not_a_number = || Invalid::new(format!("\"{text}\" is not a whole number"), None);
    let (negative, unsigned) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (number, suffix) = split_unit(unsigned);
    let factor = unit_factor(text, suffix.trim(), unit)?;
    let whole = match number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None if number.len() > 1 && number.starts_with('0') && !number.contains('.') => {
            i64::from_str_radix(number, 8).ok()
        }
        None => number.parse().ok(),
    };
    let scaled = match whole {
        // A rounded quotient of whole numbers: 500ms in a parameter of seconds is 1.
        Some(whole) => {
            let product = i128::from(whole) * i128::from(factor);
            (product + i128::from(unit.size() / 2)) / i128::from(unit.size())
        }
        None => {
            let fraction: f64 = number.parse().map_err(|_| not_a_number())?;
            if !number.contains('.') {
                return Err(not_a_number());
            }
            (fraction * factor as f64 / unit.size() as f64).round() as i128
        }
    };
    let signed = if negative { -scaled } else { scaled };
    i64::try_from(signed).map_err(|_| Invalid::new(format!("{text} is too large a number"), None))
}

/// Splits the unit off the end of a number.
fn split_unit(unsigned: &str) -> (&str, &str) {
    let is_hexadecimal = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    let end = unsigned
        .char_indices()
        .skip(if is_hexadecimal { 2 } else { 0 })
        .find(|(_, c)| if is_hexadecimal { !c.is_ascii_hexdigit() } else { !c.is_ascii_digit() && *c != '.' })
        .map_or(unsigned.len(), |(at, _)| at);
    unsigned.split_at(end)
}

fn unit_factor(text: &str, suffix: &str, unit: Unit) -> Result<u64, Invalid> {
    if suffix.is_empty() {
        return Ok(unit.size());
    }
    if let Some((_, size)) = unit.family().iter().find(|(name, _)| *name == suffix) {
        return Ok(*size);
    }
    let names: Vec<_> = unit.family().iter().map(|(name, _)| *name).collect();
    let is_unit = [Unit::Seconds, Unit::Bytes].iter().flat_map(|unit| unit.family()).any(|(name, _)| *name == suffix);
    let message = match (is_unit, names.is_empty()) {
        (true, true) => format!("\"{text}\" has the unit \"{suffix}\", but this parameter is a plain number"),
        (_, true) => format!("\"{text}\" is not a whole number"),
        (_, false) => format!("\"{text}\" has a unit that this parameter does not know"),
    };
    let help = (!names.is_empty()).then(|| format!("use one of {}, in this spelling", names.join(", ")));
    Err(Invalid::new(message, help))
}

/// What a field of a settings group is made of.
pub(super) trait FromValue {
    /// Converts a value of the kind that the same declaration names.
    ///
    /// # Panics
    /// If the declaration names a kind that does not fit the type: the tests read every group.
    fn from_value(value: &Value, kind: &Kind) -> Self;
}

/// The panic of a declaration whose kind does not fit its type.
#[track_caller]
pub(super) fn misdeclared(value: &Value) -> ! {
    panic!("the kind of this parameter does not fit the type of its field: {value:?}")
}

impl FromValue for bool {
    fn from_value(value: &Value, _: &Kind) -> Self {
        match value {
            Value::Bool(on) => *on,
            other => misdeclared(other),
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value, _: &Kind) -> Self {
        match value {
            Value::Float(number) => *number,
            other => misdeclared(other),
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value, _: &Kind) -> Self {
        match value {
            Value::Text(text) => text.clone(),
            other => misdeclared(other),
        }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: &Value, _: &Kind) -> Self {
        match value {
            Value::List(items) => items.clone(),
            other => misdeclared(other),
        }
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value, kind: &Kind) -> Self {
        match (value, kind) {
            (Value::Int(number), Kind::Int { unit, .. }) => {
                let number = u64::try_from(*number).unwrap_or_else(|_| misdeclared(value));
                Self::from_micros(number.saturating_mul(unit.size()))
            }
            (other, _) => misdeclared(other),
        }
    }
}

/// Whole numbers, in the unit of the parameter.
macro_rules! from_int {
    ($($int:ty),*) => {$(
        impl FromValue for $int {
            fn from_value(value: &Value, _: &Kind) -> Self {
                match value {
                    Value::Int(number) => <$int>::try_from(*number).unwrap_or_else(|_| misdeclared(value)),
                    other => misdeclared(other),
                }
            }
        }
    )*};
}
from_int!(u16, u32, i32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Kind = Kind::Int { min: 0, max: i32::MAX as i64, unit: Unit::Seconds };
    const PLAIN: Kind = Kind::Int { min: 0, max: 65_535, unit: Unit::One };
    const BYTES: Kind = Kind::Int { min: 0, max: i64::MAX, unit: Unit::Bytes };

    #[test]
    fn numbers_are_read_as_pgpool_reads_them() {
        for (kind, text, number) in [
            (PLAIN, "5433", 5433),
            (PLAIN, "+5433", 5433),
            (PLAIN, "0x1500", 0x1500),
            (PLAIN, "0777", 0o777),
            (PLAIN, "0", 0),
            (PLAIN, "4.0", 4),
            (SECONDS, "5min", 300),
            (SECONDS, "5 min", 300),
            (SECONDS, "1.5min", 90),
            (SECONDS, "1500ms", 2),
            (SECONDS, "1d", 86_400),
            (BYTES, "64MB", 64 << 20),
            (BYTES, "100B", 100),
        ] {
            assert_eq!(kind.parse(text), Ok(Value::Int(number)), "{text}");
        }
    }

    #[test]
    fn wrong_numbers_are_refused_with_a_reason() {
        for (kind, text, reason) in [
            (PLAIN, "5min", "\"5min\" has the unit \"min\", but this parameter is a plain number"),
            (PLAIN, "5433x", "\"5433x\" is not a whole number"),
            (PLAIN, "0999", "\"0999\" is not a whole number"),
            (PLAIN, "", "\"\" is not a whole number"),
            (PLAIN, "1e2", "\"1e2\" is not a whole number"),
            (PLAIN, "70000", "70000 is outside the range 0 .. 65535"),
            (SECONDS, "-1", "-1 is outside the range 0 .. 2147483647"),
            (SECONDS, "5MB", "\"5MB\" has a unit that this parameter does not know"),
            (BYTES, "64mb", "\"64mb\" has a unit that this parameter does not know"),
            (BYTES, "99999999999TB", "99999999999TB is too large a number"),
        ] {
            assert_eq!(kind.parse(text).expect_err(text).message, reason);
        }
    }

    #[test]
    fn lists_lose_their_blanks_and_empty_items() {
        assert_eq!(
            Kind::List(';').parse("ABORT; DISCARD ALL;"),
            Ok(Value::List(vec!["ABORT".to_owned(), "DISCARD ALL".to_owned()]))
        );
        assert_eq!(Kind::List(',').parse(""), Ok(Value::List(vec![])));
    }

    #[test]
    fn booleans_have_eight_spellings_in_any_case() {
        for (text, expected) in [
            ("on", true),
            ("TRUE", true),
            ("Yes", true),
            ("1", true),
            ("OFF", false),
            ("false", false),
            ("no", false),
            ("0", false),
        ] {
            assert_eq!(Kind::Bool.parse(text), Ok(Value::Bool(expected)));
        }
        assert!(Kind::Bool.parse("all").is_err());
    }
}

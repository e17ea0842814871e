//! Values as PostgreSQL reads them, and sizes as people write them.

use std::fmt;

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// A value of a server setting. None of them can hold a quote, a backslash or a line break, so none can end the
/// line of the file that it is written into.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `on` or `off`.
    Flag(bool),
    /// A whole number without a unit.
    Count(i64),
    /// A number with a fraction: costs and multipliers.
    Number(f64),
    /// A size in bytes; written in the largest unit that divides it.
    Size(u64),
    /// A time in seconds.
    Seconds(u64),
    /// A word or a short text.
    Word(Word),
}

/// Text of harmless characters: letters, digits, space and `_-+.,:/@%()[]=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(String);

impl Word {
    /// Takes `text` if every character is harmless.
    pub fn new(text: impl Into<String>) -> Option<Word> {
        let text = text.into();
        let harmless = |c: char| c.is_ascii_alphanumeric() || " _-+.,:/@%()[]=".contains(c);
        text.chars().all(harmless).then_some(Word(text))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value {
    /// A word that is written in this program.
    pub(super) fn word(text: &'static str) -> Value {
        Value::Word(Word::new(text).expect("words of this program are harmless"))
    }

    /// As the configuration file wants it: everything that is not a plain number between quotes.
    pub fn quoted(&self) -> String {
        match self {
            Value::Count(_) | Value::Number(_) | Value::Flag(_) => self.to_string(),
            Value::Size(_) | Value::Seconds(_) | Value::Word(_) => format!("'{self}'"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(on) => f.write_str(if *on { "on" } else { "off" }),
            Value::Count(n) => write!(f, "{n}"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Size(bytes) => f.write_str(&size(*bytes)),
            Value::Seconds(0) => f.write_str("0"),
            Value::Seconds(s) if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            Value::Seconds(s) if s % 60 == 0 => write!(f, "{}min", s / 60),
            Value::Seconds(s) => write!(f, "{s}s"),
            Value::Word(word) => f.write_str(word.as_str()),
        }
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A size in PostgreSQL's units (of 1024), in the largest that divides it; parts of a kilobyte are dropped.
pub fn size(bytes: u64) -> String {
    let kilobytes = bytes >> 10;
    for (shift, unit) in [(30, "TB"), (20, "GB"), (10, "MB")] {
        if kilobytes > 0 && kilobytes.trailing_zeros() >= shift {
            return format!("{}{unit}", kilobytes >> shift);
        }
    }
    format!("{kilobytes}kB")
}

/// A size for people: whole mebibytes below 10 GiB, gibibytes with one digit above.
pub fn rounded(bytes: u64) -> String {
    if bytes < 10 * GIB { format!("{} MiB", bytes / MIB) } else { format!("{:.1} GiB", bytes as f64 / GIB as f64) }
}

/// Reads a size with its unit: `16GB`, `512 MiB`, `4096kB`. Units are of 1024 as PostgreSQL's are, whichever way they
/// are spelt, so that `16GB` means the same here as there. A bare number is not taken.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let shift = match unit.to_ascii_lowercase().as_str() {
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let unit = 1u64 << shift;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let bytes = number.parse::<f64>().ok()? * unit as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_their_unit_only() {
        for (text, wanted) in [
            ("16GB", Some(16 * GIB)),
            ("16 GiB", Some(16 * GIB)),
            ("16g", Some(16 * GIB)),
            ("1.5GB", Some(GIB * 3 / 2)),
            ("128kB", Some(131_072)),
            ("1TB", Some(1 << 40)),
            ("42B", Some(42)),
            ("16", None),
            ("GB", None),
            ("", None),
            ("-1GB", None),
            ("1..5GB", None),
            ("99999999999999TB", None),
            ("16GB'\nfsync = off", None),
        ] {
            assert_eq!(parse_size(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn values_are_written_as_postgresql_reads_them() {
        for (value, wanted) in [
            (Value::Flag(true), "on"),
            (Value::Count(-1), "-1"),
            (Value::Number(1.1), "1.1"),
            (Value::Number(4.0), "4"),
            (Value::Size(96 * MIB), "'96MB'"),
            (Value::Size(3 * GIB / 2), "'1536MB'"),
            (Value::Size(GIB), "'1GB'"),
            (Value::Size(0), "'0kB'"),
            (Value::Seconds(3600), "'1h'"),
            (Value::Seconds(900), "'15min'"),
            (Value::word("scram-sha-256"), "'scram-sha-256'"),
        ] {
            assert_eq!(value.quoted(), wanted);
        }
    }

    proptest! {
        #[test]
        fn a_written_size_is_read_back(kilobytes in 0u64..1 << 50) {
            let bytes = kilobytes << 10;
            prop_assert_eq!(parse_size(&size(bytes)), Some(bytes));
        }

        #[test]
        fn no_word_can_leave_its_quotes(text in "\\PC*|.*\n.*|.*'.*|.*\\\\.*") {
            if let Some(word) = Word::new(text) {
                prop_assert!(!word.as_str().contains(['\'', '"', '\\', '\n', '\r', '\0', '#']));
            }
        }

        #[test]
        fn no_text_upsets_the_parser(text in "\\PC*") {
            let _ = parse_size(&text);
        }
    }
}

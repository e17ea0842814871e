//! Values as PostgreSQL reads them.

use std::fmt;

use flowkit_core::size;

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
    /// A word that is written in a program.
    ///
    /// # Panics
    /// When it holds a character that is not harmless.
    pub fn word(text: &'static str) -> Value {
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
            Value::Size(bytes) => f.write_str(&size::exact(*bytes)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use flowkit_core::size::{GIB, MIB};
    use proptest::prelude::*;

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
        fn no_word_can_leave_its_quotes(text in "\\PC*|.*\n.*|.*'.*|.*\\\\.*") {
            if let Some(word) = Word::new(text) {
                prop_assert!(!word.as_str().contains(['\'', '"', '\\', '\n', '\r', '\0', '#']));
            }
        }
    }
}

//! The form of one line.

use std::error::Error;
use std::fmt::{Debug, Write as _};

use say::Shown;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::Metadata;
use tracing::field::{Field, Visit};

use super::{Format, Options};

/// Fields that are never written, whoever logs them: a line of code that logs a whole set of headers must not leak one.
const HIDDEN: &[&str] =
    &["authorization", "cookie", "set_cookie", "password", "passphrase", "secret", "token", "key", "query_string"];

/// Longest value in bytes; the rest is cut off.
const LONGEST: usize = 8 << 10;

/// Names and values, as they were recorded. The last value of a name holds.
#[derive(Clone, Default)]
pub struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Takes over those of a span further in.
    pub fn extend(&mut self, other: &Fields) {
        other.0.iter().for_each(|(name, value)| self.put(name, value.clone()));
    }

    fn put(&mut self, name: &'static str, value: Value) {
        let value = if HIDDEN.contains(&name) { Value::from("(hidden)") } else { value };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn text(&mut self, name: &'static str, text: impl std::fmt::Display) {
        let mut shown = Shown(text).to_string();
        if shown.len() > LONGEST {
            shown.truncate(shown.floor_char_boundary(LONGEST));
            shown.push('…');
        }
        self.put(name, shown.into());
    }

    /// One line, with its break.
    pub fn line(mut self, metadata: &Metadata<'_>, options: &Options) -> String {
        let message = match self.0.iter().position(|(name, _)| *name == "message") {
            Some(at) => self.0.remove(at).1,
            None => Value::from(""),
        };
        match options.format {
            Format::Text => self.to_text(metadata, &message, options.stamp),
            Format::Json => self.into_json(metadata, message),
        }
    }

    fn to_text(&self, metadata: &Metadata<'_>, message: &Value, stamp: bool) -> String {
        let mut line = String::with_capacity(160);
        if stamp {
            line.push_str(&now());
            line.push(' ');
        }
        // Writing to memory can't fail.
        let _ = write!(line, "{:5} {}", metadata.level().as_str(), message.as_str().unwrap_or_default());
        for (name, value) in &self.0 {
            let _ = match value.as_str() {
                Some(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => write!(line, " {name}={text}"),
                // Quotation marks in it are escaped as JSON's are.
                _ => write!(line, " {name}={value}"),
            };
        }
        line.push('\n');
        line
    }

    fn into_json(self, metadata: &Metadata<'_>, message: Value) -> String {
        let head = [
            ("time", Value::from(now())),
            ("level", metadata.level().as_str().to_ascii_lowercase().into()),
            ("target", metadata.target().into()),
            ("message", message),
        ];
        // A field can't take the place of what every line has.
        let fields = self.0.into_iter().filter(|(name, _)| !head.iter().any(|(own, _)| own == name));
        let fields: Vec<_> = fields.collect();
        let all: Map<String, Value> =
            head.into_iter().chain(fields).map(|(name, value)| (name.to_owned(), value)).collect();
        let mut line = Value::Object(all).to_string();
        line.push('\n');
        line
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), format_args!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }
    /// With what caused it, and what caused that.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes = std::iter::successors(Some(value), |error| (*error).source());
        self.text(field.name(), causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
    }
}

/// RFC 3339 with milliseconds, in UTC.
fn now() -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(form).unwrap_or_default()
}

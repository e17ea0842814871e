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

/// What a name begins with whose text is JSON.
const JSON: &str = "json.";

/// Names and values, as they were recorded. The last value of a name holds.
#[derive(Clone, Default)]
pub struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Takes over those of a span further in.
    pub fn extend(&mut self, other: &Fields) {
        other.0.iter().for_each(|(name, value)| self.put(name, value.clone()));
    }

    fn put(&mut self, name: &'static str, value: Value) {
        let name = name.strip_prefix(JSON).unwrap_or(name);
        let value = if HIDDEN.contains(&name) { Value::from("(hidden)") } else { value };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn text(&mut self, name: &'static str, text: impl std::fmt::Display) {
        if !name.starts_with(JSON) {
            return self.cut(name, text);
        }
        let text = text.to_string();
        match serde_json::from_str::<Value>(&text) {
            // Without the spaces between its parts: those must not push out what is said.
            Ok(value) => match (value.to_string(), shown(value)) {
                (text, value) if text.len() <= LONGEST => self.put(name, value),
                (text, _) => self.cut(name, text),
            },
            Err(_) => self.cut(name, text),
        }
    }

    fn cut(&mut self, name: &'static str, text: impl std::fmt::Display) {
        let mut shown = Shown(text).to_string();
        if shown.len() > LONGEST {
            shown.truncate(shown.floor_char_boundary(LONGEST));
            shown.push('…');
        }
        self.put(name, shown.into());
    }

    /// One line, with its break; `around` are the fields of the spans that it was logged in.
    pub fn line(mut self, around: Fields, metadata: &Metadata<'_>, options: &Options) -> String {
        let mut request = Map::new();
        match options.format {
            Format::Structlog => request.extend(around.0.into_iter().map(|(name, value)| (upstreams(name), value))),
            Format::Text | Format::Json => {
                let own = std::mem::replace(&mut self, around);
                self.extend(&own);
            }
        }
        let message = match self.0.iter().position(|(name, _)| *name == "message") {
            Some(at) => self.0.remove(at).1,
            None => Value::from(""),
        };
        match options.format {
            Format::Text => self.to_text(metadata, &message, options.stamp),
            Format::Json => {
                let head = [
                    ("time", Value::from(now())),
                    ("level", metadata.level().as_str().to_ascii_lowercase().into()),
                    ("target", metadata.target().into()),
                    ("message", message),
                ];
                self.into_json(head)
            }
            Format::Structlog => {
                let logger = match self.0.iter().position(|(name, _)| *name == "logger") {
                    Some(at) => self.0.remove(at).1,
                    None => metadata.target().into(),
                };
                let request = if request.is_empty() { Value::Null } else { request.into() };
                let level = level(*metadata.level());
                let head =
                    [("event", message), ("logger", logger), ("level", level.into()), ("timestamp", now().into())];
                self.into_json(head.into_iter().chain((!request.is_null()).then_some(("request", request))))
            }
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

    /// An object that begins with these.
    fn into_json(self, head: impl IntoIterator<Item = (&'static str, Value)>) -> String {
        let mut all: Map<String, Value> = Map::new();
        for (name, value) in head.into_iter().chain(self.0) {
            // A field can't take the place of what every line has.
            all.entry(name).or_insert(value);
        }
        let mut line = Value::Object(all).to_string();
        line.push('\n');
        line
    }
}

/// The name of a span's field in upstream's logs.
fn upstreams(name: &'static str) -> String {
    if name == "request" { "request_id" } else { name }.to_owned()
}

/// A level as Python has it.
fn level(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warning",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG | tracing::Level::TRACE => "debug",
    }
}

/// JSON of somebody else's with all its texts escaped.
fn shown(value: Value) -> Value {
    match value {
        Value::String(text) => Shown(text).to_string().into(),
        Value::Array(values) => values.into_iter().map(shown).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (Shown(name).to_string(), shown(value))).collect(),
        value => value,
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
        self.text(field.name(), say::in_full(value));
    }
}

/// RFC 3339 with microseconds, in UTC.
fn now() -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::now_utc().format(form).unwrap_or_default()
}

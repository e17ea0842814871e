//! What our servers log, by `tracing`: lines for people, or JSON objects for programs, one an event.
//!
//! ```text
//! event --> fields of its spans and its own, escaped, hidden where their name says secret --> queue (bounded) --> thread --> stderr
//! ```
//! Nobody who logs waits for whoever reads: a full queue drops lines, counts them and says so. What others have written (names,
//! addresses, messages of a database) may hold characters that steer a terminal; all of them are escaped, line breaks too.
//!
//! A field whose name begins with `json.` has JSON for its text and goes into an object as what it is, under the rest of its name.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod record;
mod writer;

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use record::Fields;
pub use writer::Running;

/// Libraries below us: what they tell about each frame is of no use to an operator, and nobody promised that it holds no secret.
const LIBRARIES: &[&str] = &["h2", "hyper", "hyper_util", "tower", "tower_http", "tokio", "rustls", "axum"];

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person: time, level, message, fields as `name=value`.
    #[default]
    Text,
    /// An object with `time`, `level`, `target`, `message` and the fields.
    Json,
    /// An object as upstream's servers log it, by Python's structlog: `event`, `logger`, `level`, `timestamp`, the fields, and in
    /// `request` those of the spans around.
    Structlog,
}

impl Format {
    /// The format of a name, as in the setting `FLOWKIT_LOG_FORMAT`: `text` or `json`.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// The least severity of a name, as in upstream's settings: `critical`, `error`, `warning`, `info` or `debug`.
pub fn level(name: &str) -> Option<LevelFilter> {
    match name {
        "critical" | "error" => Some(LevelFilter::ERROR),
        "warning" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        _ => None,
    }
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How a line is written.
    pub format: Format,
    /// The least severity.
    pub level: LevelFilter,
    /// Targets that are logged at any level of `level`: access and audit logs.
    pub always: &'static [&'static str],
    /// Whether a line for people begins with the time. A supervisor that reads the line writes its own.
    pub stamp: bool,
}

impl Default for Options {
    /// Text from `info` on, with the time; the access log always.
    fn default() -> Options {
        Options { format: Format::Text, level: LevelFilter::INFO, always: &["access", "audit"], stamp: true }
    }
}

/// The process logs already.
#[derive(Debug, PartialEq, Eq)]
pub struct Started;

/// Logs to stderr what this process says by `tracing`, and its panics, until the value that is returned goes; what is
/// queued then is written.
///
/// # Errors
/// It was called before.
pub fn start(options: &Options) -> Result<Running, Started> {
    let (subscriber, running) = to(options, |lines| say::line(&say::ERR, lines));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Started)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "panic", place, "{}", panic.payload_as_str().unwrap_or("a panic without a text"));
    }));
    Ok(running)
}

/// The same to somewhere else: `write` is given whole lines, by a thread.
pub fn to<W: Fn(&str) + Send + 'static>(
    options: &Options,
    write: W,
) -> (impl Subscriber + Send + Sync + use<W>, Running) {
    let notice = match options.format {
        Format::Text => |lost| format!("{lost} lines dropped: the reader of this log is too slow\n"),
        Format::Json => {
            |lost| format!("{{\"level\":\"warn\",\"target\":\"trace\",\"message\":\"{lost} lines dropped\"}}\n")
        }
        Format::Structlog => {
            |lost| format!("{{\"event\":\"{lost} lines dropped\",\"level\":\"warning\",\"logger\":\"trace\"}}\n")
        }
    };
    let (queue, running) = writer::start(write, notice);
    let lines = Lines { options: options.clone(), queue };
    (tracing_subscriber::registry().with(lines), running)
}

struct Lines {
    options: Options,
    queue: Arc<writer::Queue>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        if LIBRARIES.contains(&crate_name) {
            return *metadata.level() <= Level::WARN && *metadata.level() <= self.options.level;
        }
        // Fields of a span belong to whatever is logged inside of it.
        metadata.is_span()
            || self.options.always.contains(&metadata.target())
            || *metadata.level() <= self.options.level
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (mut around, mut fields) = (Fields::default(), Fields::default());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                around.extend(of_span);
            }
        }
        event.record(&mut fields);
        self.queue.push(fields.line(around, event.metadata(), &self.options));
    }
}

#[cfg(test)]
mod tests;

//! The supervisor's own words: what it says by `tracing` becomes lines of its log, wherever that goes and however it is written.

use std::fmt;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::Log;

/// Where what we say comes from.
const CRATE: &str = "supervisor";

/// From here on everything that this process says is a part of the log.
///
/// # Errors
/// When somebody listens already, and would get it.
pub fn listen(log: &Arc<Log>) -> std::io::Result<()> {
    tracing::subscriber::set_global_default(Own(log.clone())).map_err(std::io::Error::other)
}

struct Own(Arc<Log>);

impl Subscriber for Own {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().split("::").next() == Some(CRATE) && *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => "info",
        };
        self.0.say(level, &text.0);
    }

    /// We open none.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

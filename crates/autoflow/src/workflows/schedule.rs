//! When the sensor looks: a cron string of five fields, in UTC.

use std::time::SystemTime;

use chrono::{DateTime, NaiveDateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A cron string.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// Reads one; `None` where it is none, or where no moment fits it.
    pub fn parse(text: &str) -> Option<Schedule> {
        if text.split_ascii_whitespace().count() != 5 && !text.starts_with('@') {
            return None;
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let schedule = Schedule { text: text.to_owned(), cron: parser.parse(text).ok()? };
        schedule.after(SystemTime::UNIX_EPOCH).map(|_| schedule)
    }

    /// The first moment after another one that fits it.
    pub fn after(&self, moment: SystemTime) -> Option<SystemTime> {
        let from: NaiveDateTime = DateTime::<Utc>::from(moment).naive_utc();
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        Some(next.and_utc().into())
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

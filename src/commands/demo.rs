//! `flowkit db demo`: data to try FlowKit out on.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use clap::builder::ValueParser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use time::Date;
use time::macros::format_description;

use super::Failure;
use crate::flowdb::{self, demo};
use crate::roles::Deployment;
use say::{show, tell};

/// Where upstream's example data begin too.
const FIRST_DAY: Date = time::macros::date!(2016 - 01 - 01);

/// Load made-up call records into a running FlowDB
///
/// An invented country with its administrative areas, sites and cells, handsets, and subscribers who have homes, work
/// places and acquaintances: they commute, travel, call and text each other, use data, top up and send money. The same
/// options give the same records on any machine. FlowMachine takes the days for ingested by FlowETL.
///
/// Each day is loaded as a whole or not at all. Run again after an interruption, the command goes on where it was; with
/// more --days it adds them; with nothing to do it does nothing. It never touches a FlowDB that holds other data.
#[derive(Args)]
pub struct Demo {
    /// How many days
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = within(demo::Options::DAYS))]
    days: u32,
    /// How many subscribers; each makes some nine events a day
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = within(demo::Options::SUBSCRIBERS))]
    subscribers: u32,
    /// How many sites; most have three cells
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = within(demo::Options::SITES))]
    sites: u32,
    /// Another number gives other sites, people and calls
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The first of the days
    #[arg(long, value_name = "YYYY-MM-DD", default_value_t = FIRST_DAY, value_parser = date)]
    first_day: Date,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn within(range: std::ops::RangeInclusive<i64>) -> ValueParser {
    clap::value_parser!(u32).range(range).into()
}

/// A date that leaves room for the most days that can be asked for.
pub(super) fn date(text: &str) -> Result<Date, String> {
    let years = 1970..=2100;
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    date.filter(|date| years.contains(&date.year()))
        .ok_or_else(|| "give a date between 1970-01-01 and 2100-12-31, such as 2016-01-01".to_owned())
}

impl Demo {
    /// What `flowkit up --demo` loads into the deployment in `dir`.
    pub fn usual(dir: &Path) -> Demo {
        Demo { days: 30, subscribers: 20_000, sites: 300, seed: 1, first_day: FIRST_DAY, dir: Some(dir.into()) }
    }

    /// Loads what is missing; one line to stdout says what was done.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Deployment { site, .. } = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let connect = async || Ok(flowdb::connect(&site, flowdb::SUPERUSER).await?);
        let began = Instant::now();
        let summary = demo::load(&connect, &self.options(), &Shown::new()).map_err(|error| match error {
            demo::Error::Foreign { .. } | demo::Error::Different { .. } | demo::Error::Busy => Failure::mistake(error),
            other => other.into(),
        })?;
        show!("{}", sentence(summary, began.elapsed().as_secs_f64()));
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> demo::Options {
        let Demo { days, subscribers, sites, seed, first_day, .. } = *self;
        demo::Options { days, subscribers, sites, seed, first_day }
    }
}

fn sentence(summary: demo::Summary, seconds: f64) -> String {
    let demo::Summary { days, kept, events } = summary;
    let there = if kept > 0 { format!(" ({kept} were there)") } else { String::new() };
    match days {
        0 => format!("all {kept} days were there; nothing to do"),
        _ => {
            let rate = (events as f64 / seconds.max(0.001)) as u64;
            let (events, rate) = (HumanCount(events), HumanCount(rate));
            format!("loaded {days} days{there}, {events} events, in {seconds:.1} s: {rate} events a second")
        }
    }
}

/// A bar for a person at a terminal, a line a day for a log. Both on stderr.
struct Shown {
    bar: Option<ProgressBar>,
    events: AtomicU64,
}

impl Shown {
    fn new() -> Shown {
        let bar = say::ERR.is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} days, {eta} left");
            ProgressBar::new(0).with_style(style.expect("the template is well formed"))
        });
        Shown { bar, events: AtomicU64::new(0) }
    }

    fn say(&self, text: String) {
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => tell!("{text}"),
        }
    }
}

impl demo::Progress for Shown {
    fn begin(&self, missing: usize, all: u32) {
        match &self.bar {
            Some(bar) => bar.set_length(missing as u64),
            None if missing > 0 => tell!("loading {missing} of {all} days"),
            None => {}
        }
    }

    fn rows(&self, count: u64) {
        let events = self.events.fetch_add(count, Ordering::Relaxed) + count;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} events", HumanCount(events)));
        }
    }

    fn day(&self, date: Date) {
        match &self.bar {
            Some(bar) => bar.inc(1),
            None => tell!("{date} is there; {} events so far", HumanCount(self.events.load(Ordering::Relaxed))),
        }
    }

    fn analyze(&self) {
        self.say("gathering statistics".into());
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_leave_room_for_all_days() {
        assert_eq!(date("2016-02-29"), Ok(time::macros::date!(2016 - 02 - 29)));
        for bad in ["2015-02-29", "1969-12-31", "2101-01-01", "today", "2016-1-1"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_line_says_what_was_done() {
        let summary = |days, kept, events| demo::Summary { days, kept, events };
        assert_eq!(
            sentence(summary(20, 10, 3_600_000), 20.0),
            "loaded 20 days (10 were there), 3,600,000 events, in 20.0 s: 180,000 events a second"
        );
        assert_eq!(sentence(summary(0, 30, 0), 0.1), "all 30 days were there; nothing to do");
    }
}

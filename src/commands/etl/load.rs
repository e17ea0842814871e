//! `flowkit etl load`: files into FlowDB.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use etl::{Outcome, Progress};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use time::Date;

use super::super::Failure;
use super::files::{self, Files};
use crate::flowdb;
use crate::roles::Deployment;
use flowkit_core::hardware;
use say::{Shown, show, tell};

/// Load files of call detail records into a running FlowDB
///
/// Each file holds a day (in UTC); its name says which. Its rows are read and checked here, sorted by subscriber, and attached as
/// FlowETL would do it: the same tables, indexes, records and checks, without a scheduler. A day is there as a whole or not at
/// all. Run again after an interruption, the command goes on where it was; what is there out of the same files is not loaded
/// twice, and what is there out of other files, or by FlowETL, is kept unless --replace is given.
///
/// A row that can't be read, or that is of another day, is refused, and written down with its line and the reason. A day with
/// more of them than --max-rejects allows is not loaded: it is in quarantine, and the exit status is 1.
#[derive(Args)]
pub struct Load {
    #[command(flatten)]
    files: Files,
    /// Load days again that are there out of other files
    #[arg(long)]
    replace: bool,
    /// Days side by side [default: as many as there are CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: Option<u32>,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Load {
    /// Loads; a line for each day to stderr, one for all of them to stdout.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (days, format) = (self.files.days()?, self.files.format()?);
        let Deployment { site, .. } = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let (spool, rejects) = self.files.directories(site.state.root())?;
        let keep = files::keep(&spool, site.settings.int("FLOWKIT_FLOWDB_KEEP_FREE"))?;
        let cpus = hardware::detect(&spool).cpus.value;
        let options = etl::Options {
            kind: self.files.kind,
            format,
            limit: self.files.max_rejects,
            replace: self.replace,
            jobs: self.jobs.unwrap_or(cpus) as usize,
            cpus: cpus.max(self.jobs.unwrap_or(1)) as usize,
            spool,
            keep,
            rejects,
        };
        let connect = async || Ok(flowdb::connect(&site, flowdb::SUPERUSER).await?);
        let progress: Arc<dyn Progress> = Arc::new(Said::new(files::size(&days)));
        let began = Instant::now();
        let done = etl::load(&connect, &days, &options, &progress)?;
        drop(progress);
        show!("{}", sentence(&done, began.elapsed().as_secs_f64()));
        let quarantined = done.iter().any(|(_, outcome)| matches!(outcome, Outcome::Quarantined(_)));
        Ok(if quarantined { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What was done, in one line.
fn sentence(done: &[(Date, Outcome)], seconds: f64) -> String {
    let (mut days, mut rows, mut kept, mut bad) = (0, 0, 0, 0);
    for (_, outcome) in done {
        match outcome {
            Outcome::Loaded { rows: more, .. } => (days, rows) = (days + 1, rows + more),
            Outcome::Same | Outcome::Kept => kept += 1,
            Outcome::Quarantined(_) => bad += 1,
        }
    }
    let mut parts = Vec::new();
    if days > 0 {
        let rate = HumanCount((rows as f64 / seconds.max(0.001)) as u64);
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        parts.push(format!("loaded {days}, {} rows, in {seconds:.1} s: {rate} rows a second", HumanCount(rows)));
    }
    for (count, what) in [(kept, "there already"), (bad, "in quarantine")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join("; ")
}

/// A day in one line.
fn line(date: Date, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Loaded { rows, refused, rejects, replaced, absent } => {
            let mut line = format!("{date}: {} rows", HumanCount(*rows));
            if *replaced {
                line += " in place of those that were there";
            }
            if let Some(path) = rejects {
                line += &format!("; {} lines refused, see {}", HumanCount(*refused), path.display());
            }
            if !absent.is_empty() {
                line += &format!("; no {}", absent.join(", "));
            }
            line
        }
        Outcome::Same => format!("{date}: there already, out of the same files"),
        Outcome::Kept => {
            format!("{date}: there already, out of other files or by FlowETL, and kept (--replace loads it again)")
        }
        Outcome::Quarantined(unfit) => format!("{date}: in quarantine: {}", Shown(say::in_full(unfit))),
    }
}

/// A bar for a person at a terminal; a line a day, whoever reads. Both on stderr.
pub struct Said {
    bar: Option<ProgressBar>,
}

impl Said {
    /// Of so many bytes, if that is known.
    pub fn new(bytes: Option<u64>) -> Said {
        let bar = say::ERR.is_terminal().then(|| match bytes {
            Some(bytes) => {
                let style = "{msg} {wide_bar} {bytes}/{total_bytes} read, {eta} left";
                ProgressBar::new(bytes).with_style(ProgressStyle::with_template(style).expect("it is well formed"))
            }
            None => ProgressBar::new_spinner()
                .with_style(ProgressStyle::with_template("{spinner} {bytes} read {msg}").expect("it is well formed")),
        });
        Said { bar }
    }

    /// Says something while the bar is away.
    pub fn above(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// So many bytes more.
    pub fn more(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }
}

impl Progress for Said {
    fn read(&self, bytes: u64) {
        self.more(bytes);
    }

    fn waiting(&self, date: Date) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{date} waits for queries"));
        }
    }

    fn day(&self, date: Date, outcome: &Outcome) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
        }
        self.above(|| tell!("{}", line(date, outcome)));
    }

    fn analyze(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("gathering statistics");
        }
    }

    fn check(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("checking days");
        }
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Date = time::macros::date!(2016 - 01 - 01);

    fn loaded(rows: u64) -> (Date, Outcome) {
        (DAY, Outcome::Loaded { rows, refused: 0, rejects: None, replaced: false, absent: vec![] })
    }

    #[test]
    fn the_last_line_says_what_was_done() {
        let done =
            [loaded(1_000_000), loaded(500_000), (DAY, Outcome::Same), (DAY, Outcome::Quarantined(etl::Unfit::Empty))];
        assert_eq!(
            sentence(&done, 3.0),
            "loaded 2 days, 1,500,000 rows, in 3.0 s: 500,000 rows a second; 1 there already; 1 in quarantine"
        );
        assert_eq!(sentence(&done[2..3], 0.1), "1 there already");
    }

    #[test]
    fn a_day_says_what_became_of_it() {
        let outcome = Outcome::Loaded {
            rows: 1000,
            refused: 2,
            rejects: Some("/r/calls_20160101.csv".into()),
            replaced: true,
            absent: vec!["imsi", "network"],
        };
        assert_eq!(
            line(DAY, &outcome),
            "2016-01-01: 1,000 rows in place of those that were there; 2 lines refused, see /r/calls_20160101.csv; no imsi, network"
        );
    }
}

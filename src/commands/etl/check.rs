//! `flowkit etl check`: are files fit to be loaded?

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use etl::{Read, Wanted};
use indicatif::HumanCount;

use super::super::Failure;
use super::files::{self, Files};
use super::load::Said;
use crate::roles;
use flowkit_core::config::StateDir;
use say::{Shown, show};

/// Memory for sorting: some of what every machine has, in bytes.
const MEMORY: usize = 64 << 20;

/// Check files of call detail records without loading them
///
/// Reads every row as `flowkit etl load` does, with the same options, and says for each day whether it would be loaded; the exit
/// status is 1 if one would not. FlowDB need not run, and nothing in it changes. What a DAG of FlowETL's would stumble over late
/// is found here at once: columns, types, rows of another day, archives that end early.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    files: Files,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Check {
    /// Reads all files; a line for each day to stdout.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let state = self.dir.as_ref().map_or_else(StateDir::usual, StateDir::new);
        // Root writes in somebody else's as that user, as `load` does.
        let state = roles::enter_owners(state.root()).map_err(Failure::mistake)?;
        let (days, format) = (self.files.days()?, self.files.format()?);
        let (spool, rejects) = self.files.directories(&state)?;
        let keep = files::keep(&spool, None)?;
        let said = Arc::new(Said::new(files::size(&days)));
        let mut status = ExitCode::SUCCESS;
        for day in &days {
            let told = Arc::clone(&said);
            let wanted = Wanted {
                kind: self.files.kind,
                format: &format,
                limit: self.files.max_rejects,
                memory: MEMORY,
                spool: spool.clone(),
                keep,
                rejects: etl::rejects_of(&rejects, self.files.kind, day.date),
                read: Arc::new(move |bytes| told.more(bytes)),
            };
            let line = match etl::read(day, &wanted) {
                Ok(read) => sound(&read),
                Err(unfit) => {
                    status = ExitCode::FAILURE;
                    Shown(say::in_full(&unfit)).to_string()
                }
            };
            said.above(|| show!("{}: {line}", day.date));
        }
        Ok(status)
    }
}

fn sound(read: &Read) -> String {
    let mut line = format!("{} rows of {} cells", HumanCount(read.count), HumanCount(read.locations.len() as u64));
    if let Some(path) = &read.rejects {
        line += &format!("; {} lines refused, see {}", HumanCount(read.refused), path.display());
    }
    if !read.absent.is_empty() {
        line += &format!("; no {}", read.absent.join(", "));
    }
    line
}

//! `workflows.yml`: what runs when. The format and the messages are those of upstream's AutoFlow (1.17), which read it once; here it may be
//! read again at any time, and everything that is wrong with it is said at once, each with its line and key.
//!
//! ```text
//! yaml      a tree of values that know where they stand, as Python's yaml.safe_load reads them
//! read      the tree, checked: a Workflows
//! stencil   which days a run needs, around its reference date
//! schedule  cron strings, in UTC
//! ```

mod read;
mod schedule;
mod stencil;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};
use time::Date;

pub use read::read;
pub use schedule::Schedule;
pub use stencil::{Element, Point, ranges};
pub use yaml::iso;

/// The name of the file among the inputs.
pub const FILE: &str = "workflows.yml";

/// The days of data that a run is about.
pub const REFERENCE_DATE: &str = "reference_date";
/// The days that its stencil makes of it.
pub const DATE_RANGES: &str = "date_ranges";
/// Where FlowAPI is.
pub const FLOWAPI_URL: &str = "flowapi_url";

/// All that the file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflows {
    /// By their names.
    pub workflows: BTreeMap<String, Workflow>,
    /// What runs them.
    pub sensor: Sensor,
}

/// Notebooks that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// In an order in which each comes after those whose results it takes.
    pub notebooks: Vec<Notebook>,
    /// The parameters that the notebooks ask for and that are neither a notebook nor made by AutoFlow.
    pub asks: BTreeSet<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Notebook {
    /// Its name in the workflow.
    pub key: String,
    /// Its file among the inputs.
    pub filename: String,
    /// A variable inside the notebook, and the name of what it gets.
    pub parameters: BTreeMap<String, String>,
    /// Whether there is a report of it.
    pub report: Option<Report>,
}

/// How a notebook becomes a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// A template among the inputs.
    pub template: Option<String>,
}

/// What looks for new days of data.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensor {
    /// When; `None`: once.
    pub schedule: Option<Schedule>,
    /// Kinds of call records of which a day counts as there; `None`: any.
    pub cdr_types: Option<BTreeSet<String>>,
    /// What runs for each new day.
    pub workflows: Vec<Configured>,
}

/// A workflow with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    /// The workflow's.
    pub name: String,
    /// Those that the workflow asks for.
    pub parameters: Map<String, Value>,
    /// The first day that it runs for.
    pub earliest: Option<Date>,
    /// Which days it needs for one.
    pub stencil: Vec<Element>,
}

/// One thing that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where; both count from 1.
    pub line: usize,
    /// Where in the line.
    pub column: usize,
    /// As `workflows[0].notebooks.run.filename`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

/// `line 7, workflows[0].name: Duplicate workflow name.`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// All that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

/// One fault a line.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, fault)| {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)
        })
    }
}

/// Days from the first up to, and without, the second.
pub type Days = (Date, Date);

impl Workflow {
    /// The names of its notebooks' results, without suffix and before `rest`: two notebooks of one file are told apart by their keys.
    pub fn names(&self, rest: &str) -> Vec<String> {
        let stem = |notebook: &Notebook| {
            Path::new(&notebook.filename).file_stem().unwrap_or_default().to_string_lossy().into_owned()
        };
        let named = |notebook: &Notebook| {
            let stem_of_it = stem(notebook);
            match self.notebooks.iter().filter(|other| stem(other) == stem_of_it).count() {
                1 => format!("{stem_of_it}__{rest}"),
                _ => format!("{stem_of_it}-{}__{rest}", notebook.key.replace('/', "-")),
            }
        };
        self.notebooks.iter().map(named).collect()
    }
}

impl Configured {
    /// The parameters of its run for a day, and the days that it needs; `None` where its stencil can't be laid on that day.
    pub fn run_of(&self, reference: Date) -> Option<(Map<String, Value>, Vec<Days>)> {
        let needed = ranges(&self.stencil, reference)?;
        let mut parameters = self.parameters.clone();
        let pairs = needed.iter().map(|(from, to)| Value::from(vec![from.to_string(), to.to_string()]));
        parameters.insert(REFERENCE_DATE.to_owned(), reference.to_string().into());
        parameters.insert(DATE_RANGES.to_owned(), pairs.collect());
        Some((parameters, needed))
    }

    /// The days of those that there are for which it runs.
    pub fn due<'a>(&'a self, days: &'a BTreeSet<Date>) -> impl Iterator<Item = (Date, Map<String, Value>)> + 'a {
        let from = self.earliest.unwrap_or(Date::MIN);
        days.range(from..).filter_map(move |day| {
            let (parameters, needed) = self.run_of(*day)?;
            let there = |(from, to): &Days| {
                let all = std::iter::successors(Some(*from), |day| day.next_day()).take_while(|day| day < to);
                all.into_iter().all(|day| days.contains(&day))
            };
            needed.iter().all(there).then_some((*day, parameters))
        })
    }
}

//! `flowkit etl status`: which days are there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use etl::{Kind, Leftover, State, Status};
use indicatif::HumanBytes;
use serde_json::json;
use time::Date;

use super::super::Failure;
use crate::flowdb;
use crate::roles::Deployment;

/// Show which days of call detail records are in FlowDB
///
/// A line for each month, a sign for each day:
///
///   #  ingested: FlowMachine offers it
///   q  in quarantine: delivered, and not fit to be loaded
///   !  unfinished: a DAG failed, or a loader was killed, before the day was attached (or one is at work now)
///   ?  recorded as ingested without a table, or a table without a record, or another state that somebody has recorded
///   .  missing: nothing is known of it, but days before and after are there
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct StatusArgs {
    /// A calendar, a line for each day that is not ingested, or JSON
    #[arg(long, value_enum, default_value = "calendar")]
    format: Format,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Calendar,
    List,
    Json,
}

impl StatusArgs {
    /// Asks FlowDB and prints.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Deployment { site, .. } = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let status = runtime.block_on(async {
            let client = flowdb::connect(&site, flowdb::SUPERUSER).await?;
            Ok::<_, Failure>(etl::status(&client).await?)
        })?;
        let text = match self.format {
            Format::Calendar => calendar(&status),
            Format::List => list(&status),
            Format::Json => format!("{:#}\n", as_json(&status)),
        };
        say::product(text.as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

fn sign(state: &State) -> char {
    match state {
        State::Ingested => '#',
        State::Quarantine => 'q',
        State::Unfinished => '!',
        State::Gone | State::Unrecorded | State::Other(_) => '?',
        State::Missing => '.',
    }
}

fn calendar(status: &Status) -> String {
    if status.kinds.is_empty() {
        return "no days are there\n".to_owned();
    }
    let mut text = format!("{:<8}{:<9}{}\n", "", "", "1   5    10   15   20   25   30");
    for (kind, days) in &status.kinds {
        for ((year, month), signs) in months(days) {
            let name = if days.keys().next().is_some_and(|day| (day.year(), u8::from(day.month())) == (year, month)) {
                kind.name()
            } else {
                ""
            };
            text += format!("{name:<8}{year}-{month:02}  {signs}").trim_end();
            text.push('\n');
        }
    }
    text + &totals(status) + &leftovers(&status.leftovers)
}

/// What takes room and is no day, and what to do.
fn leftovers(all: &[Leftover]) -> String {
    let line = |Leftover { kind, date, table, bytes }: &Leftover| {
        format!(
            "{kind} {date}: rows that were to replace it are left in {table} ({}): {}\n",
            HumanBytes(*bytes),
            remedy(table)
        )
    };
    all.iter().map(line).collect()
}

/// FlowETL's tables are FlowETL's.
fn remedy(table: &str) -> &'static str {
    match table.starts_with("etl.load_") {
        true => {
            "unless `etl load --replace` is at work, load the day's files again, which puts rows in place or clears these away"
        }
        false => "unless its DAG is at work, clear the failed task in FlowETL, which begins anew",
    }
}

/// A sign a day, a line a month.
fn months(days: &BTreeMap<Date, State>) -> BTreeMap<(i32, u8), String> {
    let mut months: BTreeMap<(i32, u8), String> = BTreeMap::new();
    for (date, state) in days {
        let signs = months.entry((date.year(), u8::from(date.month()))).or_default();
        while signs.len() + 1 < usize::from(date.day()) {
            signs.push(' ');
        }
        signs.push(sign(state));
    }
    months
}

fn totals(status: &Status) -> String {
    let line = |(kind, days): (&Kind, &BTreeMap<Date, State>)| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for state in days.values() {
            *counts.entry(state.name()).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        format!("{kind}: {}\n", counts.join(", "))
    };
    status.kinds.iter().map(line).collect()
}

fn list(status: &Status) -> String {
    let days = status.kinds.iter().flat_map(|(kind, days)| days.iter().map(move |(date, state)| (kind, date, state)));
    let wanting = days.filter(|(_, _, state)| **state != State::Ingested);
    let wanting: String = wanting.map(|(kind, date, state)| format!("{kind} {date} {}\n", state.name())).collect();
    let left = status.leftovers.iter().map(|left| format!("{} {} left {}\n", left.kind, left.date, left.table));
    wanting + &left.collect::<String>()
}

fn as_json(status: &Status) -> serde_json::Value {
    let kinds = status.kinds.iter().map(|(kind, days)| {
        let days = days.iter().map(|(date, state)| (date.to_string(), json!(state.name())));
        (kind.name().to_owned(), days.collect::<serde_json::Map<_, _>>().into())
    });
    let left = status.leftovers.iter().map(|Leftover { kind, date, table, bytes }| json!({"kind": kind.name(), "date": date.to_string(), "table": table, "bytes": bytes}));
    let left = ("leftovers".to_owned(), left.collect());
    serde_json::Value::Object(kinds.chain([left]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn a_calendar_has_a_sign_for_each_day() {
        let days = BTreeMap::from([
            (date!(2016 - 01 - 30), State::Ingested),
            (date!(2016 - 01 - 31), State::Quarantine),
            (date!(2016 - 02 - 01), State::Missing),
            (date!(2016 - 02 - 02), State::Unfinished),
        ]);
        let table = "etl.load_sms_20160130".to_owned();
        let leftovers = vec![Leftover { kind: Kind::Sms, date: date!(2016 - 01 - 30), table, bytes: 2048 }];
        let status = Status { kinds: BTreeMap::from([(Kind::Sms, days)]), leftovers };
        let expected = "                 1   5    10   15   20   25   30\n\
                        sms     2016-01                               #q\n        2016-02  .!\n\
                        sms: 1 ingested, 1 missing, 1 quarantine, 1 unfinished\n\
                        sms 2016-01-30: rows that were to replace it are left in etl.load_sms_20160130 (2.00 KiB): unless `etl load --replace` \
                        is at work, load the day's files again, which puts rows in place or clears these away\n";
        assert_eq!(calendar(&status), expected);
        assert_eq!(
            list(&status),
            "sms 2016-01-31 quarantine\nsms 2016-02-01 missing\nsms 2016-02-02 unfinished\nsms 2016-01-30 left etl.load_sms_20160130\n"
        );
        let json = as_json(&status);
        assert_eq!(json["sms"]["2016-01-30"], "ingested");
        let left = json!([{"kind": "sms", "date": "2016-01-30", "table": "etl.load_sms_20160130", "bytes": 2048}]);
        assert_eq!(json["leftovers"], left);
        assert_eq!(as_json(&Status::default()), json!({"leftovers": []}));
    }
}

//! `flowkit etl new`: a DAG for FlowETL, out of a sample of the files that it is to load.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use etl::{Column, Compression, Guess, Guessed, INDEXES, Input, Kind, Type, Writing};
use time::Date;
use time::macros::format_description;

use super::super::Failure;
use super::files::kind;
use super::{remarks, when};
use say::tell;

/// Write a DAG for FlowETL from a sample file
///
/// Looks at the first rows of a file: how it is packed, what is between its fields, whether it has a header, how its times are
/// written, and which of its columns are which of FlowDB's. What comes out is a file for FlowETL's directory of DAGs, with what was
/// found as comments; look through it before you put it there. The traps of FlowETL's defaults are met in it: indexes that the
/// kind has columns for, a late file is tried for again within the hour, and what is not of its day does not end up in it.
#[derive(Args)]
pub struct New {
    /// What the file holds: calls, sms, mds or topups
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Kind,
    /// A file such as will come every day, as it is or compressed with gzip or zstd
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// Where times are that name no zone
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    timezone: String,
    /// The directory of the files, as FlowDB's server sees it
    #[arg(long, value_name = "DIR", default_value = "/etl")]
    directory: String,
    /// Write it into a file, which must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE.py")]
    out: Option<PathBuf>,
}

fn zone(text: &str) -> Result<String, String> {
    etl::Zone::named(text).map(|_| text.to_owned())
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", .0.display())]
struct NotWritten(PathBuf, #[source] io::Error);

/// FlowETL puts the name into a command line of a shell's, and that shell is FlowDB's own.
#[derive(Debug, thiserror::Error)]
#[error("{}: a name for FlowETL has letters, digits and -_./+=@,:%~ only, and not {sign:?}: name a copy of the sample, or another --directory", path.display())]
struct Unnameable {
    path: PathBuf,
    sign: char,
}

impl New {
    /// Guesses and writes; what was not recognised is said on stderr.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let guess = etl::guess(self.kind, &Input::File(self.csv.clone())).map_err(Failure::mistake)?;
        self.warn(&guess);
        let name = self.csv.file_name().unwrap_or_default().to_string_lossy();
        if let Some(sign) = strange(&name).or_else(|| strange(&self.directory)) {
            return Err(Failure::mistake(Unnameable { path: Path::new(&self.directory).join(&*name), sign }));
        }
        let text = self.dag(&guess);
        match &self.out {
            None => say::product(text.as_bytes()),
            Some(path) => {
                let written = std::fs::File::create_new(path)
                    .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
                written.map_err(|error| Failure::mistake(NotWritten(path.clone(), error)))?;
                tell!("{} is written: look through it, then put it into FlowETL's directory of DAGs", path.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn dag(&self, guess: &Guess) -> String {
        let (kind, fields) = (self.kind, fields(&guess.columns));
        let name = file_template(&self.csv.file_name().unwrap_or_default().to_string_lossy(), self.day());
        let typed = guess.columns.iter().zip(&fields);
        let field_lines: String = typed
            .map(|(guessed, field)| format!("        {}: \"{}\",\n", python(field), self.r#type(guessed, guess)))
            .collect();
        let indexes = INDEXES.map(python);
        let time = self.time(guess, &fields);
        let values: Vec<String> = kind
            .columns()
            .iter()
            .map(|column| format!("            {}", value(column, guess, &fields, &time)))
            .collect();
        let day = time.as_deref().map(of_the_day).unwrap_or_default();
        format!(
            "# Made by `flowkit etl new`. Look through it, then put it into FlowETL's directory of DAGs.\n\
             #\n\
             {}\
             from datetime import datetime, timedelta\n\n\
             from airflow import DAG  # noqa: F401 (Airflow looks for DAGs only in files that have this word)\n\n\
             from flowetl.util import create_dag\n\n\
             dag = create_dag(\n    \
                 dag_id=\"load_{kind}\",\n    \
                 cdr_type=\"{kind}\",\n    \
                 # The first day that there is a file of.\n    \
                 start_date=datetime({}),\n    \
                 schedule_interval=\"@daily\",\n    \
                 # A file that is late is tried for again every half an hour, for a week.\n    \
                 retries=336,\n    \
                 retry_delay=timedelta(minutes=30),\n    \
                 filename={},\n\
                 {}    \
                 # FlowDB's server reads the fields of every line as these, of another day's too: what is not that ends the load, with the line's\n    \
                 # number. Where such values come, make that field TEXT, and extract_sql say what they are: NULLIF(f_x, 'n/a')::numeric.\n    \
                 fields={{\n{field_lines}    }},\n    \
                 delimiter={},\n    \
                 header={},\n    \
                 extract_sql=\"\"\"\n        SELECT\n{}\n        FROM {{{{ staging_table }}}}{day}\n        \
                 -- By subscriber, as FlowMachine reads them. cluster_field would write the table once more for it.\n        \
                 ORDER BY msisdn\n    \"\"\",\n    \
                 # What FlowMachine and people need; FlowETL's default names columns that not every kind has.\n    \
                 indexes=[{}],\n\
             )\n\
             # A long history is not loaded by sixteen days at once (`flowkit etl load` is faster at it).\n\
             dag.max_active_runs = 2\n",
            comments(guess, &fields),
            first_day(self.day()),
            python(&format!("{}/{name}", self.directory.trim_end_matches('/'))),
            program(guess),
            python(&char::from(guess.delimiter).to_string()),
            if guess.header { "True" } else { "False" },
            values.join(",\n"),
            indexes.join(", "),
        )
    }

    /// The type of a field as FlowDB's server reads it. What needs SQL to be what it means comes as text. No value is
    /// in empty quotes either, which would be an empty text: no number, and a subscriber of all who have none.
    fn r#type(&self, guessed: &Guessed, guess: &Guess) -> String {
        let column = self.kind.columns().iter().find(|column| Some(column.name) == guessed.column);
        let empty = column.map_or("", |_| " OPTIONS (force_null 'true')");
        let r#type = match (column, &guess.writing) {
            (None, _) => "text",
            (Some(column), _) if column.r#type != Type::Timestamp => column.sql(),
            (Some(column), Some(Writing::Iso)) if self.is_in_utc() && !guess.has_commas() => column.sql(),
            (Some(_), _) => "text",
        };
        r#type.to_uppercase() + empty
    }

    /// Whether a time that does not say where it is is where FlowDB's server takes it to be.
    fn is_in_utc(&self) -> bool {
        self.timezone == "UTC"
    }

    /// SQL of the moment of a row.
    fn time(&self, guess: &Guess, fields: &[String]) -> Option<String> {
        let at = guess.columns.iter().position(|column| column.column == Some("datetime"))?;
        Some(when::sql(&fields[at], guess.writing.as_ref()?, &self.timezone, guess.has_commas()))
    }

    /// The day that the name of the sample speaks of.
    fn day(&self) -> Option<Date> {
        let days = etl::plan(&[Input::File(self.csv.clone())], None, false).ok()?;
        Some(days.first()?.date)
    }

    /// What a person has to know before the DAG runs.
    fn warn(&self, guess: &Guess) {
        for column in self.kind.columns().iter().filter(|column| column.is_needed()) {
            if !guess.columns.iter().any(|guessed| guessed.column == Some(column.name)) {
                tell!("warning: no column looks like {}; every row must have one: edit extract_sql", column.name);
            }
        }
        for remark in remarks::of(guess, &fields(&guess.columns)) {
            tell!("warning: {remark}");
        }
        let Some(day) = self.day() else {
            tell!(
                "warning: its name has no date, or several: write where the date of each day stands in filename, {{{{ ds }}}} or {{{{ ds_nodash }}}}"
            );
            return;
        };
        let zone = etl::Zone::named(&self.timezone).unwrap_or(etl::Zone::Fixed(0));
        let others = guess.of_other_days(day, zone);
        if others > 0 {
            tell!(
                "warning: {others} of the {} rows that were looked at are of another day than {day} (in UTC), and a DAG leaves such rows out: if these \
                 are local days, `flowkit etl load --local-days` puts them together",
                guess.times.len()
            );
        }
    }
}

/// The first sign in a name that a shell, Jinja or Python could take for something else.
fn strange(name: &str) -> Option<char> {
    name.chars().find(|&c| !(c.is_alphanumeric() || "_-./+=@,:%~".contains(c)))
}

/// What takes the rows of the run's day, and refuses a file that has none.
fn of_the_day(time: &str) -> String {
    let is_of_day = format!("{time} >= '{{{{ ds }}}}' AND {time} < '{{{{ tomorrow_ds }}}}'");
    format!(
        "
        -- Rows of another day (in UTC) would make the last step fail: they are left out, and `flowkit etl check` names them. One without a time
        -- is not: FlowDB refuses it.
        WHERE coalesce({is_of_day}, true)
        -- A file without a row of the day ends the run, which would count as a day on which nobody called.
        AND (SELECT CASE count(*) WHEN 0 THEN concat('rows of {{{{ ds }}}} (in UTC) in the file: ', count(*))::boolean ELSE true END
             FROM (SELECT FROM {{{{ staging_table }}}} WHERE {is_of_day} LIMIT 1) AS found)"
    )
}

fn first_day(day: Option<Date>) -> String {
    let day = day.unwrap_or(time::macros::date!(2016 - 01 - 01));
    format!("{}, {}, {}", day.year(), u8::from(day.month()), day.day())
}

/// The name of each day's file: that of the sample, with FlowETL's date in the place of its own, however that is written.
fn file_template(name: &str, day: Option<Date>) -> String {
    let Some(day) = day else { return name.to_owned() };
    let plain = day.format(format_description!("[year][month][day]")).expect("a date has year, month and day");
    let ways = [
        (plain, "{{ ds_nodash }}"),
        (day.to_string(), "{{ ds }}"),
        (day.to_string().replace('-', "_"), "{{ ds.replace('-', '_') }}"),
        (day.to_string().replace('-', "."), "{{ ds.replace('-', '.') }}"),
    ];
    ways.iter().fold(name.to_owned(), |name, (written, template)| name.replace(written, template))
}

/// The fields as columns of a foreign table: any name will do there that is one in SQL.
fn fields(columns: &[Guessed]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut fields = Vec::new();
    for column in columns {
        let plain: String =
            column.name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        // With this before it no name is a word of SQL's own, or begins with a digit.
        let mut base = format!("f_{}", plain.trim_matches('_'));
        // PostgreSQL cuts names at 63 bytes, and two could be one then.
        base.truncate(50);
        let mut name = base.clone();
        for number in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{base}_{number}");
        }
        fields.push(name);
    }
    fields
}

fn value(column: &Column, guess: &Guess, fields: &[String], time: &Option<String>) -> String {
    let at = guess.columns.iter().position(|guessed| guessed.column == Some(column.name));
    let value = match column.r#type {
        Type::Timestamp => at.and(time.clone()),
        _ => at.map(|at| fields[at].clone()),
    };
    format!("{} AS {}", value.unwrap_or_else(|| format!("NULL::{}", column.sql())), column.name)
}

fn program(guess: &Guess) -> &'static str {
    match guess.compression {
        Compression::None => "",
        Compression::Gzip => "    program=\"zcat\",\n",
        Compression::Zstd => "    program=\"zstdcat\",\n",
    }
}

fn comments(guess: &Guess, fields: &[String]) -> String {
    let mut text =
        String::from("# What was found in the sample (field, as the file calls it, examples, column of FlowDB):\n");
    for (column, field) in guess.columns.iter().zip(fields) {
        let examples: Vec<String> = column.examples.iter().map(|example| shortened(example)).collect();
        let of = column.column.unwrap_or("left out");
        text += &format!("#   {field}: {}; {}; {of}\n", shortened(&column.name), examples.join(", "));
    }
    for remark in remarks::of(guess, fields) {
        text += &format!("# {remark}\n");
    }
    text + "\n"
}

/// An example in one line, and not the whole of a long one.
pub(super) fn shortened(text: &str) -> String {
    let short: String = text.chars().take(24).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{:?}{more}", short)
}

/// A text as Python writes it.
fn python(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_names_in_sql() {
        let named = |names: &[&str]| -> Vec<String> {
            let column = |name: &&str| Guessed { name: name.to_string(), column: None, examples: vec![], misfit: None };
            fields(&names.iter().map(column).collect::<Vec<_>>())
        };
        assert_eq!(
            named(&["A number", "a-number", "1st", "select", "Größe", ""]),
            ["f_a_number", "f_a_number_2", "f_1st", "f_select", "f_gr__e", "f_"]
        );
        let long = "a".repeat(100);
        assert_eq!(
            named(&[&format!("{long}1"), &format!("{long}2")]),
            [format!("f_{}", &long[..48]), format!("f_{}_2", &long[..48])]
        );
        assert_eq!(strange("/etl/Größe-1_a+b=c@d,e:f%~.2016.gz"), None);
        for sign in [';', '$', '`', '{', '\'', '"', '|', '&', ' ', '\n', '\\', '*', '('] {
            assert_eq!(strange(&format!("calls{sign}_20160101.csv")), Some(sign));
        }
        assert_eq!(shortened("it's\n\"so\""), "\"it's\\n\\\"so\\\"\"");
    }

    #[test]
    fn each_days_file_has_its_own_name() {
        let of = |name: &str| file_template(name, Some(time::macros::date!(2016 - 01 - 31)));
        assert_eq!(of("calls_20160131.csv"), "calls_{{ ds_nodash }}.csv");
        assert_eq!(of("2016-01-31/calls.csv"), "{{ ds }}/calls.csv");
        assert_eq!(of("calls_2016_01_31.csv.gz"), "calls_{{ ds.replace('-', '_') }}.csv.gz");
        assert_eq!(of("calls-2016.01.31.csv"), "calls-{{ ds.replace('-', '.') }}.csv");
        assert_eq!(file_template("calls.csv", None), "calls.csv");
    }
}

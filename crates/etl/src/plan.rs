//! Which days are to be loaded, and out of which files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use time::{Date, Month};

use crate::moment::{self, Zone};
use crate::source::Input;

/// A day and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The day, in UTC.
    pub date: Date,
    /// In the order in which they were named.
    pub inputs: Vec<Input>,
    /// The span of each of them, where that is another day than UTC's: microseconds since PostgreSQL's epoch.
    pub spans: Vec<Range<i64>>,
}

/// A day of UTC that is not whole in the files that were named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The day.
    pub date: Date,
    /// The local days whose files are missing.
    pub missing: Vec<Date>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum NoPlan {
    /// The name does not say.
    #[error("{0}: its name has no date in it, such as 20160131 or 2016-01-31; give --date")]
    NoDate(Input),
    /// The name says several.
    #[error("{input}: its name has two dates in it, {dates}; give --date")]
    TwoDates {
        /// The file.
        input: Input,
        /// The first two.
        dates: String,
    },
    /// The one would take the place of the other.
    #[error("{first} and {second} are both of {date}: name one of them, or give --parts if the day is in both")]
    Twice {
        /// The day.
        date: Date,
        /// A file.
        first: Input,
        /// Another.
        second: Input,
    },
    /// Its rows would be there twice.
    #[error("{second} is the same file as {first}: name it once")]
    Same {
        /// How it is called first.
        first: Input,
        /// How it is called after that.
        second: Input,
    },
    /// A file of a local day is read for each of the days of UTC that it is part of.
    #[error("standard input can be read but once, and a local day is part of two days of UTC: name a file")]
    Once,
    /// It is not there, a directory, not ours to read.
    #[error("cannot read {input}")]
    Unreadable {
        /// The file.
        input: Input,
        /// What the system says.
        source: io::Error,
    },
}

/// The days of these files, in order. `date` is that of all of them; otherwise their names say it. A day may have several
/// files if they are `parts`.
///
/// # Errors
/// [`NoPlan`].
pub fn plan(inputs: &[Input], date: Option<Date>, parts: bool) -> Result<Vec<Day>, NoPlan> {
    let mut days: BTreeMap<Date, Vec<Input>> = BTreeMap::new();
    let mut known: HashMap<_, &Input> = HashMap::new();
    for input in inputs {
        let date = match (date, input) {
            (Some(date), _) => date,
            (None, Input::File(path)) => of_name(path, input)?,
            (None, Input::Stdin) => return Err(NoPlan::NoDate(input.clone())),
        };
        if let Input::File(path) = input {
            let failed = |source| NoPlan::Unreadable { input: input.clone(), source };
            let file = std::fs::metadata(path).map_err(failed)?;
            if file.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            if file.file_type().is_fifo() {
                let instead = "it is a pipe, which can be read but once: give - and pipe its rows into standard input";
                return Err(failed(io::Error::other(instead)));
            }
            std::fs::File::open(path).map_err(failed)?;
        }
        if let Some(first) = known.insert((date, input.identity()), input) {
            return Err(NoPlan::Same { first: first.clone(), second: input.clone() });
        }
        let of_day = days.entry(date).or_default();
        if let Some(first) = of_day.first().filter(|_| !parts) {
            return Err(NoPlan::Twice { date, first: first.clone(), second: input.clone() });
        }
        of_day.push(input.clone());
    }
    Ok(days.into_iter().map(|(date, inputs)| Day { date, inputs, spans: Vec::new() }).collect())
}

/// The days of UTC that files of local days hold: each is in two of those, where the zone is not UTC.
///
/// # Errors
/// Standard input, which can be read but once.
pub fn of_local(days: &[Day], zone: &Zone) -> Result<(Vec<Day>, Vec<Partial>), NoPlan> {
    if days.iter().any(|day| day.inputs.contains(&Input::Stdin)) {
        return Err(NoPlan::Once);
    }
    let files: BTreeMap<Date, &Day> = days.iter().map(|day| (day.date, day)).collect();
    let around = |date: Date| [date.previous_day(), Some(date), date.next_day()].into_iter().flatten();
    let meet = |one: &Range<i64>, other: &Range<i64>| one.start < other.end && other.start < one.end;
    let dates: BTreeSet<Date> = files.keys().flat_map(|&date| around(date)).collect();
    let (mut whole, mut partial) = (Vec::new(), Vec::new());
    for date in dates {
        let span = moment::span(date, &Zone::Fixed(0));
        let locals: Vec<(Date, Range<i64>)> = around(date)
            .map(|local| (local, moment::span(local, zone)))
            .filter(|(_, local)| meet(local, &span))
            .collect();
        let missing: Vec<Date> =
            locals.iter().map(|(local, _)| *local).filter(|local| !files.contains_key(local)).collect();
        if missing.len() == locals.len() {
            continue;
        }
        if !missing.is_empty() {
            partial.push(Partial { date, missing });
            continue;
        }
        let mut day = Day { date, inputs: Vec::new(), spans: Vec::new() };
        for (local, span) in locals {
            for input in &files[&local].inputs {
                day.inputs.push(input.clone());
                day.spans.push(span.clone());
            }
        }
        whole.push(day);
    }
    Ok((whole, partial))
}

pub(crate) fn of_name(path: &Path, input: &Input) -> Result<Date, NoPlan> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut dates = dates(&name);
    dates.dedup();
    match dates.as_slice() {
        [] => Err(NoPlan::NoDate(input.clone())),
        [date] => Ok(*date),
        [first, second, ..] => Err(NoPlan::TwoDates { input: input.clone(), dates: format!("{first} and {second}") }),
    }
}

/// Dates in a name: eight digits, or four, two and two with the same sign between them. Digits of a time may follow after eight.
fn dates(name: &str) -> Vec<Date> {
    let runs: Vec<(usize, &str)> = digit_runs(name);
    let mut found = Vec::new();
    for (at, (start, run)) in runs.iter().enumerate() {
        if matches!(run.len(), 8 | 10 | 12 | 14) {
            found.extend(date(&run[..4], &run[4..6], &run[6..8]));
        }
        if let (4, Some((second, month)), Some((third, day))) = (run.len(), runs.get(at + 1), runs.get(at + 2)) {
            let between = [&name[start + 4..*second], &name[second + month.len()..*third]];
            if (month.len(), day.len()) == (2, 2) && matches!(between, ["-", "-"] | ["_", "_"] | [".", "."]) {
                found.extend(date(run, month, day));
            }
        }
    }
    found
}

/// Digits that stand together, and where.
fn digit_runs(name: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let mut runs = Vec::new();
    for run in name.split(|c: char| !c.is_ascii_digit()) {
        let sign = name[at + run.len()..].chars().next().map_or(0, char::len_utf8);
        if !run.is_empty() {
            runs.push((at, run));
        }
        at += run.len() + sign;
    }
    runs
}

fn date(year: &str, month: &str, day: &str) -> Option<Date> {
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    (1970..=2100).contains(&date.year()).then_some(date)
}

/// What a day was loaded from, to know it again: names, sizes and times of its files, and the options that decide what becomes
/// of them. `None` for standard input, which is never the same again.
///
/// # Errors
/// A file is not there any more.
pub fn fingerprint(day: &Day, options: &str) -> io::Result<Option<String>> {
    let mut hash = Sha256::new();
    hash.update(options);
    if !day.spans.is_empty() {
        hash.update(format!("\0{:?}", day.spans));
    }
    for input in &day.inputs {
        let Input::File(path) = input else { return Ok(None) };
        let file = std::fs::metadata(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hash.update(format!("\0{name}\0{}\0{}.{}", file.len(), file.mtime(), file.mtime_nsec()));
    }
    let hash = hash.finalize();
    Ok(Some(hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_in_the_name() {
        for (name, expected) in [
            ("calls_20160131.csv.gz", &["2016-01-31"][..]),
            ("2016-01-31-calls.csv", &["2016-01-31"]),
            ("calls.2016_01_31", &["2016-01-31"]),
            ("calls_20160131235959.csv", &["2016-01-31"]),
            ("CDR-509-2016.01.31-12.zst", &["2016-01-31"]),
            ("calls_20160131_20160201.csv", &["2016-01-31", "2016-02-01"]),
            ("calls_20160230.csv", &[]),
            ("calls_2016-01_31.csv", &[]),
            ("calls_120160131.csv", &[]),
            ("calls.csv", &[]),
        ] {
            let found: Vec<String> = dates(name).iter().map(Date::to_string).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_day_has_one_file_unless_they_are_parts() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            Input::File(path)
        };
        let (second, first, late) = (file("calls_20160102.csv"), file("calls_20160101.csv"), file("late_20160101.csv"));
        let days = plan(&[second.clone(), first.clone()], None, false).unwrap();
        assert_eq!(days.iter().map(|day| day.date.to_string()).collect::<Vec<_>>(), ["2016-01-01", "2016-01-02"]);
        assert!(matches!(plan(&[first.clone(), late.clone()], None, false), Err(NoPlan::Twice { .. })));
        assert_eq!(plan(&[first.clone(), late.clone()], None, true).unwrap()[0].inputs, [first.clone(), late.clone()]);
        // By whatever name, and wherever among the others.
        let link = dir.path().join("link_20160101.csv");
        std::os::unix::fs::symlink(dir.path().join("late_20160101.csv"), &link).unwrap();
        let spelled = Input::File(dir.path().join("./late_20160101.csv"));
        for again in [late.clone(), spelled, Input::File(link)] {
            let inputs = [first.clone(), late.clone(), again];
            assert!(
                matches!(plan(&inputs, None, true), Err(NoPlan::Same { first, .. }) if first == late),
                "{inputs:?}"
            );
        }
        let day = Some(time::macros::date!(2016 - 01 - 01));
        assert!(matches!(plan(&[Input::Stdin, Input::Stdin], day, true), Err(NoPlan::Same { .. })));
        let pipe = dir.path().join("pipe_20160101.csv");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let refused = plan(&[Input::File(pipe)], None, false).unwrap_err();
        assert!(std::error::Error::source(&refused).unwrap().to_string().starts_with("it is a pipe"));
        assert!(matches!(plan(&[Input::Stdin], None, false), Err(NoPlan::NoDate(_))));
        let gone = Input::File(dir.path().join("calls_20160103.csv"));
        assert!(matches!(plan(&[gone], None, false), Err(NoPlan::Unreadable { .. })));
    }

    #[test]
    fn a_file_that_changed_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls_20160101.csv");
        std::fs::write(&path, "a").unwrap();
        let day =
            Day { date: time::macros::date!(2016 - 01 - 01), inputs: vec![Input::File(path.clone())], spans: vec![] };
        let before = fingerprint(&day, "x").unwrap();
        assert_eq!(fingerprint(&day, "x").unwrap(), before);
        assert_ne!(fingerprint(&day, "y").unwrap(), before);
        std::fs::write(&path, "ab").unwrap();
        assert_ne!(fingerprint(&day, "x").unwrap(), before);
    }

    #[test]
    fn a_day_of_utc_is_in_two_local_ones() {
        let day = |date: Date| Day { date, inputs: vec![Input::File(format!("{date}").into())], spans: vec![] };
        let date = |day: u8| Date::from_calendar_date(2016, Month::January, day).unwrap();
        let days = [day(date(1)), day(date(2)), day(date(4))];
        let of = |zone: &str| of_local(&days, &Zone::named(zone).unwrap()).unwrap();
        let files = |day: &Day| day.inputs.iter().map(Input::to_string).collect::<Vec<_>>().join(" ");
        // West of Greenwich a day of UTC begins in yesterday's file, east of it it ends in tomorrow's.
        let (whole, partial) = of("America/Port-au-Prince");
        assert_eq!(
            whole.iter().map(|day| (day.date, files(day))).collect::<Vec<_>>(),
            [(date(2), "2016-01-01 2016-01-02".to_owned())]
        );
        assert_eq!(whole[0].spans[0].end, whole[0].spans[1].start);
        assert_eq!(whole[0].spans[0].end, moment::start_of(date(2)) + 5 * 3_600_000_000);
        let missing = |day: u8, missing: u8| Partial { date: date(day), missing: vec![date(missing)] };
        let before = Partial { date: date(1), missing: vec![date(1).previous_day().unwrap()] };
        assert_eq!(partial, [before, missing(3, 3), missing(4, 3), missing(5, 5)]);
        let (whole, _) = of("Africa/Maputo");
        assert_eq!(whole.iter().map(files).collect::<Vec<_>>(), ["2016-01-01 2016-01-02"]);
        assert_eq!(whole[0].date, date(1));
        let (whole, partial) = of("UTC");
        assert_eq!((whole.len(), partial.len()), (3, 0));
        let stdin = Day { inputs: vec![Input::Stdin], ..day(date(1)) };
        assert!(matches!(of_local(&[stdin], &Zone::Fixed(0)), Err(NoPlan::Once)));
    }
}

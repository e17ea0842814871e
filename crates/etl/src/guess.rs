//! What a sample of a file looks like: how it is written, and which of its columns may be which of FlowDB's.
//!
//! A guess is for a person to look through. Nothing is loaded by one.

use std::io::{self, Read};

use encoding_rs::Encoding;
use time::Date;

use crate::kind::{Column, Kind, Type};
use crate::moment::{Moments, Writing, Zone};
use crate::records::{Batch, Broken, Records, Shape};
use crate::source::{Compression, Input};
use crate::value::Wrong;

/// How much of a file is looked at, in bytes.
const SAMPLE: u64 = 1 << 20;
/// How many rows are.
const ROWS: usize = 1000;
/// Examples that are shown of a column.
const EXAMPLES: usize = 3;

/// Signs between fields, by how likely they are.
const DELIMITERS: &[u8] = b",;\t|";

/// Patterns of time, by how likely they are. Where neither the rows nor the file's name tell day and month apart the day comes first.
pub(crate) const PATTERNS: &[&str] = &[
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d-%b-%Y %H:%M:%S",
    "%Y%m%d%H%M%S",
];

/// A line that is this and no more is the end of the data for PostgreSQL 15.
const END: &str = "\\.";

/// What others call FlowDB's columns: letters and digits only.
const NAMES: &[(&str, &[&str])] = &[
    ("id", &["callid", "eventid", "recordid", "transactionid", "cdrid"]),
    (
        "msisdn",
        &["caller", "callingnumber", "anumber", "aparty", "subscriber", "subscriberid", "callingmsisdn", "phonenumber"],
    ),
    (
        "msisdn_counterpart",
        &["callee", "callednumber", "bnumber", "bparty", "counterpart", "calledmsisdn", "otherparty"],
    ),
    (
        "datetime",
        &[
            "eventtime",
            "starttime",
            "timestamp",
            "calltime",
            "eventdatetime",
            "calldatetime",
            "time",
            "date",
            "startdatetime",
            "eventdate",
        ],
    ),
    (
        "location_id",
        &["cellid", "cell", "ci", "cgi", "locationid", "lacci", "site", "siteid", "cellglobalid", "startcell"],
    ),
    ("duration", &["callduration", "seconds", "durationsec", "durationseconds", "length"]),
    ("outgoing", &["isoutgoing", "direction"]),
    ("network", &["operator", "networkid"]),
    ("tac", &["handset", "typeallocationcode"]),
    ("operator_code", &["mnc", "operatorcode"]),
    ("country_code", &["mcc", "countrycode"]),
    ("volume_total", &["volume", "totalvolume", "bytes", "totalbytes"]),
    ("volume_upload", &["upload", "uplink", "uploadvolume", "bytesup"]),
    ("volume_download", &["download", "downlink", "downloadvolume", "bytesdown"]),
    ("recharge_amount", &["amount", "topupamount", "rechargeamount", "value"]),
    ("airtime_fee", &["fee"]),
    ("tax_and_fee", &["tax"]),
    ("pre_event_balance", &["balancebefore", "prebalance"]),
    ("post_event_balance", &["balanceafter", "postbalance"]),
    ("type", &["topuptype", "rechargetype"]),
];

/// What a sample looks like.
pub struct Guess {
    /// What the file is packed with.
    pub compression: Compression,
    /// What is between its fields.
    pub delimiter: u8,
    /// Not UTF-8, but by its byte order mark this, or else probably this.
    pub encoding: Option<&'static Encoding>,
    /// Whether a byte order mark comes before the first field.
    pub is_marked: bool,
    /// Whether the first row has names.
    pub header: bool,
    /// Its columns, from left to right.
    pub columns: Vec<Guessed>,
    /// How its times are written, if one column looks like times.
    pub writing: Option<Writing>,
    /// Another way in which they can be read, and be other times.
    pub doubt: Option<Writing>,
    /// The times of the rows that were looked at, as they are written.
    pub times: Vec<String>,
    /// Rows that were looked at and have more fields than the first line, or fewer.
    pub uneven: usize,
    /// Whether a line of the sample is what PostgreSQL's COPY takes for the end of the data.
    pub has_end: bool,
}

impl Guess {
    /// Whether a fraction of a second stands after a comma, which PostgreSQL does not read.
    pub fn has_commas(&self) -> bool {
        self.writing == Some(Writing::Iso) && self.times.iter().any(|time| time.contains(','))
    }

    /// How many of its times are of another day in UTC than this one; those that name no zone are in `zone`.
    pub fn of_other_days(&self, day: Date, zone: Zone) -> usize {
        let Some(writing) = self.writing.clone() else { return 0 };
        let moments = Moments { writing, zone };
        let days = self.times.iter().filter_map(|time| crate::moment::day_of(moments.read(time.as_bytes())?));
        days.filter(|other| *other != day).count()
    }
}

/// A column of a sample.
pub struct Guessed {
    /// What the header calls it, or `column_1`.
    pub name: String,
    /// The column of FlowDB's that it may be.
    pub column: Option<&'static str>,
    /// Some of its values.
    pub examples: Vec<String>,
    /// Why it is left out though its name is known.
    pub misfit: Option<Misfit>,
}

/// A value that a column of FlowDB's does not take.
pub struct Misfit {
    /// That column.
    pub column: &'static Column,
    /// The first such value.
    pub value: String,
    /// What is wrong with it.
    pub wrong: String,
}

/// Why there is nothing to guess from.
#[derive(Debug, thiserror::Error)]
pub enum NoGuess {
    /// It is not there, or ends before the sample does.
    #[error("cannot read {0}")]
    Read(Input, #[source] io::Error),
    /// It is no table.
    #[error("cannot make rows of {0}")]
    Rows(Input, #[source] Broken),
    /// Not a row, or one column.
    #[error("{0} has no rows of several columns")]
    Empty(Input),
}

/// Looks at the first rows of a file.
///
/// # Errors
/// [`NoGuess`].
pub fn guess(kind: Kind, input: &Input) -> Result<Guess, NoGuess> {
    let failed = |error| NoGuess::Read(input.clone(), error);
    let compression = input.compression().map_err(failed)?;
    let mut sample = Vec::new();
    input.open(None, |_| ()).and_then(|(file, _)| file.take(SAMPLE).read_to_end(&mut sample)).map_err(failed)?;
    let cut = sample.len() as u64 == SAMPLE;
    if cut {
        // The last line is cut off in the middle.
        sample.truncate(sample.iter().rposition(|&byte| byte == b'\n').map_or(sample.len(), |at| at + 1));
    }
    let mark = input.mark().map_err(failed)?;
    let other = std::str::from_utf8(&sample).is_err().then_some(encoding_rs::WINDOWS_1252);
    if let Some(encoding) = other {
        sample = encoding.decode_without_bom_handling(&sample).0.into_owned().into_bytes();
    }
    let encoding = mark.filter(|mark| *mark != encoding_rs::UTF_8).or(other);
    let (mut tables, mut broken) = (Vec::new(), None);
    for &delimiter in DELIMITERS {
        match table(&sample, cut, delimiter) {
            Ok(rows) => tables.push((delimiter, rows)),
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    let (delimiter, rows) = tables
        .into_iter()
        .rev()
        // Of several that fit alike the last, which is the first of all.
        .max_by_key(|(_, rows)| fit(rows))
        .filter(|(_, rows)| fit(rows) > 0)
        .ok_or_else(|| match broken {
            Some(error) => NoGuess::Rows(input.clone(), error),
            None => NoGuess::Empty(input.clone()),
        })?;
    let header = has_header(kind, &rows[0]);
    let names = rows[0].iter().enumerate().map(|(at, name)| match header {
        true => name.trim().to_owned(),
        false => format!("column_{}", at + 1),
    });
    let names: Vec<String> = names.collect();
    let body = &rows[usize::from(header)..];
    let date = match input {
        Input::File(path) => crate::plan::of_name(path, input).ok(),
        Input::Stdin => None,
    };
    let found = times(kind, &names, body, date);
    let columns = columns(kind, &names, body, found.as_ref().map(|found| found.column));
    let at = found.as_ref().map(|found| found.column);
    let times = body.iter().filter_map(|row| row.get(at?)).filter(|time| !time.is_empty()).cloned().collect();
    let (writing, doubt) = found.map_or((None, None), |found| (Some(found.writing), found.doubt));
    let is_marked = mark.is_some();
    let uneven = rows.iter().filter(|row| row.len() != rows[0].len()).count();
    let mut lines = sample.split(|&byte| byte == b'\n');
    let has_end = lines.any(|line| line.strip_suffix(b"\r").unwrap_or(line) == END.as_bytes());
    Ok(Guess { compression, delimiter, encoding, is_marked, header, columns, writing, doubt, times, uneven, has_end })
}

/// The rows of a sample, which may be `cut` off inside of a quote.
fn table(sample: &[u8], cut: bool, delimiter: u8) -> Result<Vec<Vec<String>>, Broken> {
    let mut records = Records::new(sample, Shape { delimiter, quote: b'"' });
    let (mut batch, mut rows) = (Batch::default(), Vec::new());
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let mut more = true;
    while more && rows.len() <= ROWS {
        more = match records.fill(&mut batch) {
            Err(Broken::Open(_)) if cut => false,
            other => other?,
        };
        rows.extend(batch.records().map(|record| record.fields().map(text).collect::<Vec<_>>()));
    }
    // It would be a value that its column does not take.
    rows.retain(|row| row != &[END]);
    rows.truncate(ROWS + 1);
    Ok(rows)
}

/// How well a sign cuts rows into columns: rows that have as many as the first, times how many those are; 0 for a single column.
fn fit(rows: &[Vec<String>]) -> usize {
    let columns = rows.first().map_or(0, Vec::len);
    if columns < 2 { 0 } else { columns * rows.iter().filter(|row| row.len() == columns).count() }
}

/// Names, and not values: one of them is known, or none has a digit at its beginning.
fn has_header(kind: Kind, first: &[String]) -> bool {
    first.iter().any(|name| column_named(kind, name).is_some())
        || first.iter().all(|name| name.trim().starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn column_named(kind: Kind, name: &str) -> Option<&'static str> {
    let others_call_it = || {
        let name = letters(name);
        let names =
            |column: &str| NAMES.iter().find(|(known, _)| *known == column).map_or(&[][..], |(_, others)| others);
        kind.columns().iter().map(|column| column.name).find(|column| names(column).contains(&name.as_str()))
    };
    own_name(kind, name).or_else(others_call_it)
}

/// The column that FlowDB itself calls so.
fn own_name(kind: Kind, name: &str) -> Option<&'static str> {
    let name = letters(name);
    kind.columns().iter().map(|column| column.name).find(|column| letters(column) == name)
}

/// What looks like times.
struct Times {
    writing: Writing,
    doubt: Option<Writing>,
    column: usize,
}

/// How the times are written, and in which column they are: that of FlowDB's name goes before those that others call so, and these before what
/// only looks like times. `date` is the day that the file's name speaks of.
fn times(kind: Kind, names: &[String], rows: &[Vec<String>], date: Option<Date>) -> Option<Times> {
    let writings =
        [Writing::Iso].into_iter().chain(PATTERNS.iter().map(|pattern| Writing::Pattern(pattern.to_string())));
    let writings: Vec<Writing> = writings.chain([Writing::Seconds, Writing::Milliseconds]).collect();
    let values = |at: usize| rows.iter().filter_map(move |row| row.get(at)).filter(|value| !value.is_empty());
    // All of a column's values, read in one way: nothing if one of them can't be, or there is none.
    let read = |writing: &Writing, at| {
        let moments = Moments { writing: writing.clone(), zone: Zone::Fixed(0) };
        let read = values(at).map(|value| moments.read(value.as_bytes()).filter(|&micros| is_plausible(micros)));
        read.collect::<Option<Vec<i64>>>().filter(|read| !read.is_empty())
    };
    let in_column = |at| writings.iter().filter_map(move |writing| Some((writing, read(writing, at)?)));
    let first = |of: &dyn Fn(&str) -> bool| {
        writings.iter().find_map(|writing| (0..names.len()).find(|&at| of(&names[at]) && read(writing, at).is_some()))
    };
    let is_time = |column: Option<&str>| column == Some("datetime");
    let column = first(&|name| is_time(own_name(kind, name)))
        .or_else(|| first(&|name| is_time(column_named(kind, name))))
        .or_else(|| first(&|_| true))?;
    let ways: Vec<(&Writing, Vec<i64>)> = in_column(column).collect();
    // Local days begin and end within the days beside.
    let near = |micros: i64| {
        let days = crate::moment::day_of(micros).zip(date).map(|(day, date)| (day - date).whole_days());
        days.is_some_and(|days| days.abs() <= 1)
    };
    let of_date = |read: &[i64]| read.iter().filter(|&&micros| near(micros)).count();
    let (writing, moments) = ways.iter().rev().max_by_key(|(_, read)| of_date(read))?;
    let doubt = ways.iter().find(|(_, other)| other != moments && of_date(other) == of_date(moments));
    Some(Times { writing: (*writing).clone(), doubt: doubt.map(|(writing, _)| (*writing).clone()), column })
}

/// Of this century's first half: telephone numbers are not taken for seconds.
fn is_plausible(micros: i64) -> bool {
    crate::moment::day_of(micros).is_some_and(|date| (2000..2050).contains(&date.year()))
}

fn columns(kind: Kind, names: &[String], rows: &[Vec<String>], time: Option<usize>) -> Vec<Guessed> {
    let mut found: Vec<Option<&'static str>> = vec![None; names.len()];
    if let Some(at) = time {
        found[at] = Some("datetime");
    }
    // FlowDB's own names first, wherever they stand.
    for known in [own_name, column_named] {
        for (at, name) in names.iter().enumerate() {
            let column = known(kind, name).filter(|column| !found.contains(&Some(column)));
            let takes = |column| column != "datetime" && misfit(kind, column, rows, at).is_none();
            if found[at].is_none() && column.is_some_and(takes) {
                found[at] = column;
            }
        }
    }
    // What others call so is missed only where nothing else is it.
    let missed = |name: &str| {
        let others = || column_named(kind, name).filter(|column| !found.contains(&Some(column)));
        own_name(kind, name).or_else(others)
    };
    names
        .iter()
        .zip(&found)
        .enumerate()
        .map(|(at, (name, &column))| {
            let mut examples: Vec<String> = Vec::new();
            for value in rows.iter().filter_map(|row| row.get(at)).filter(|value| !value.is_empty()) {
                if examples.len() < EXAMPLES && !examples.contains(value) {
                    examples.push(value.clone());
                }
            }
            let missed = missed(name).filter(|_| column.is_none());
            let misfit = missed.and_then(|column| misfit(kind, column, rows, at));
            Guessed { name: name.clone(), column, examples, misfit }
        })
        .collect()
}

/// The first value that a column of FlowDB's does not take. Times are looked for by themselves, and what is none of these is not taken here.
fn misfit(kind: Kind, column: &str, rows: &[Vec<String>], at: usize) -> Option<Misfit> {
    let column = kind.columns().iter().find(|known| known.name == column)?;
    let moments = Moments { writing: Writing::Iso, zone: Zone::Fixed(0) };
    let wrong = |value: &str| match column.r#type {
        Type::Timestamp => Some(Wrong::NotMoment),
        r#type => crate::value::append(r#type, value.as_bytes(), &moments, &mut Vec::new()).err(),
    };
    let mut values = rows.iter().filter_map(|row| row.get(at)).filter(|value| !value.is_empty());
    values.find_map(|value| Some(Misfit { column, value: value.clone(), wrong: wrong(value)?.to_string() }))
}

#[cfg(test)]
mod tests;

//! A record of a file becomes a row of FlowDB, or is refused with a reason.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use encoding_rs::Encoding;
use memchr::memchr2;
use time::Date;

use crate::guess::PATTERNS;
use crate::kind::{Kind, Type};
use crate::moment::{self, Moments, Writing, Zone};
use crate::records::{Record, Shape};
use crate::value::{self, Wrong};

/// How a file is written.
#[derive(Clone, Debug)]
pub struct Format {
    /// How fields are set apart.
    pub shape: Shape,
    /// What stands for no value, beside nothing at all.
    pub null: String,
    /// UTF-8 when `None`, unless a byte order mark says otherwise.
    pub encoding: Option<&'static Encoding>,
    /// How moments are written.
    pub moments: Moments,
    /// Columns by their place, for a file without a header.
    pub columns: Option<Vec<String>>,
    /// What the file calls a column of FlowDB's, and that.
    pub names: HashMap<String, String>,
    /// Columns of the file that are left out.
    pub ignored: Vec<String>,
}

impl Format {
    /// Whether this is a time or a number, as rows have them, and hardly a name.
    pub fn is_value(&self, text: &str) -> bool {
        let reads = |writing| Moments { writing, zone: Zone::Fixed(0) }.read(text.as_bytes()).is_some();
        let patterns = PATTERNS.iter().map(|pattern| Writing::Pattern(pattern.to_string()));
        value::is_number(text.as_bytes())
            || [self.moments.writing.clone(), Writing::Iso].into_iter().chain(patterns).any(reads)
    }
}

/// Why the columns of a file are not those of a kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongColumns {
    /// The file has no columns for what each row must have.
    #[error("there is no column {missing} among {found}; name the one that holds it with --map {missing}=COLUMN{}", or_columns(*is_row))]
    Missing {
        /// A column that each row must have.
        missing: String,
        /// What there is.
        found: String,
        /// Whether that may be no header.
        is_row: bool,
    },
    /// Perhaps a slip in a name, and its values would be lost.
    #[error(
        "column \"{name}\" is none of events.{kind}: say which it is with --map COLUMN={name}, or leave it out with --ignore {name}{}", or_columns(*is_row)
    )]
    Unknown {
        /// The column.
        name: String,
        /// The kind.
        kind: Kind,
        /// Whether it may be a value, in a file without a header.
        is_row: bool,
    },
    /// The header was not cut at all.
    #[error("the header is a single column, {0:?}: say with --delimiter what is between its fields")]
    Uncut(String),
    /// Two columns for one.
    #[error("there are two columns {0}")]
    Twice(String),
    /// A flag names a column that is not in the file.
    #[error("the options name a column \"{0}\", which the file does not have")]
    Absent(String),
}

/// A row that is taken for a header is lost.
fn or_columns(is_row: bool) -> &'static str {
    if is_row {
        "; if this line is a row, the file has no header: name its columns with --columns NAME,..."
    } else {
        ""
    }
}

/// Where in a record each column of FlowDB's is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    places: Vec<Option<usize>>,
    /// Columns that no value is taken from, by the name that the file has for them.
    left_out: Vec<(usize, String)>,
    fields: usize,
}

impl Layout {
    /// The layout of a file with these columns.
    ///
    /// # Errors
    /// Columns that are missing, unknown or there twice.
    pub fn new(kind: Kind, found: &[String], format: &Format) -> Result<Layout, WrongColumns> {
        let same = |a: &str, b: &str| a.trim().eq_ignore_ascii_case(b);
        for given in format.names.keys().chain(&format.ignored) {
            if !found.iter().any(|name| same(name, given)) {
                return Err(WrongColumns::Absent(given.clone()));
            }
        }
        let known = |name: &str| {
            kind.columns().iter().any(|column| same(name, column.name))
                || format.names.keys().any(|from| same(name, from))
        };
        let is_row = format.columns.is_none()
            && (!found.iter().any(|name| known(name)) || found.iter().any(|name| format.is_value(name)));
        let mut places = vec![None; kind.columns().len()];
        let mut left_out = Vec::new();
        for (at, name) in found.iter().enumerate() {
            if format.ignored.iter().any(|other| same(name, other)) {
                left_out.push((at, name.clone()));
                continue;
            }
            let renamed = format.names.iter().find(|(from, _)| same(name, from)).map(|(_, to)| to.as_str());
            let wanted = renamed.unwrap_or(name);
            if let [single] = found
                && single.contains([',', ';', '\t', '|'])
            {
                return Err(WrongColumns::Uncut(single.clone()));
            }
            let Some(column) = kind.columns().iter().position(|column| same(wanted, column.name)) else {
                return Err(WrongColumns::Unknown { name: wanted.trim().to_owned(), kind, is_row });
            };
            if places[column].replace(at).is_some() {
                return Err(WrongColumns::Twice(kind.columns()[column].name.to_owned()));
            }
        }
        for (column, place) in kind.columns().iter().zip(&places) {
            if column.is_needed() && place.is_none() {
                return Err(WrongColumns::Missing { missing: column.name.to_owned(), found: found.join(", "), is_row });
            }
        }
        Ok(Layout { kind, places, left_out, fields: found.len() })
    }

    /// Columns of FlowDB's that the file does not have, and that will be without values.
    pub fn absent(&self) -> Vec<&'static str> {
        let columns = self.kind.columns().iter().zip(&self.places);
        columns.filter(|(_, place)| place.is_none()).map(|(column, _)| column.name).collect()
    }
}

/// Why a record is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Fields that the header does not have, or fewer.
    Fields {
        /// How many there are.
        found: usize,
        /// How many the header has.
        expected: usize,
    },
    /// A value is wrong.
    Value(&'static str, Wrong),
    /// The same of a column of the file's that is left out.
    LeftOut(String, Wrong),
    /// It happened on another day.
    OtherDay(Option<Date>),
    /// It happened on another day than the local one that the file holds.
    OtherLocalDay(Option<Date>),
    /// It is a row of the file's, and of the next day of UTC or the one before: no fault.
    Neighbour,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Fields { found, expected } => write!(f, "{found} fields in place of {expected}"),
            Reason::Value(column, wrong) => write!(f, "{column} {wrong}"),
            Reason::LeftOut(column, wrong) => write!(f, "column \"{column}\", which is left out, {wrong}"),
            Reason::OtherDay(Some(date)) => write!(f, "datetime is on {date} in UTC"),
            Reason::OtherDay(None) | Reason::OtherLocalDay(None) => f.write_str("datetime is on no day that there is"),
            Reason::OtherLocalDay(Some(date)) => {
                write!(f, "datetime is on {date} in UTC, and not in the file's local day")
            }
            Reason::Neighbour => f.write_str("is a row of another day"),
        }
    }
}

/// What a row is sorted by and remembered for. Places in the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The subscriber.
    pub subscriber: Range<usize>,
    /// The cell.
    pub location: Option<Range<usize>>,
    /// When, in microseconds since PostgreSQL's epoch.
    pub moment: i64,
}

/// Turns records of a day into rows.
pub struct Rows<'a> {
    layout: &'a Layout,
    format: &'a Format,
    day: Date,
    span: Range<i64>,
    /// That of the file, where it is another one.
    file: Option<Range<i64>>,
}

impl<'a> Rows<'a> {
    /// Rows of one day.
    pub fn new(layout: &'a Layout, format: &'a Format, day: Date) -> Rows<'a> {
        Rows { layout, format, day, span: moment::span(day, &Zone::Fixed(0)), file: None }
    }

    /// Those that are in a file of another span.
    pub fn within(self, file: Option<Range<i64>>) -> Rows<'a> {
        Rows { file, ..self }
    }

    /// The day.
    pub fn day(&self) -> Date {
        self.day
    }

    /// Appends a row as binary COPY has it. Nothing is appended when it is refused.
    pub fn append(&self, record: Record<'_>, out: &mut Vec<u8>) -> Result<Key, Reason> {
        let start = out.len();
        self.try_append(record, out).inspect_err(|_| out.truncate(start))
    }

    fn try_append(&self, record: Record<'_>, out: &mut Vec<u8>) -> Result<Key, Reason> {
        let Layout { kind, places, left_out, fields } = self.layout;
        if record.width() != *fields {
            return Err(Reason::Fields { found: record.width(), expected: *fields });
        }
        // The rows that a stray quote has swallowed, which nothing else would miss.
        for (at, name) in left_out.iter().filter(|_| record.may_break()) {
            if memchr2(b'\n', b'\r', record.field(*at)).is_some() {
                return Err(Reason::LeftOut(name.clone(), Wrong::Control));
            }
        }
        let start = out.len();
        let mut key = Key { subscriber: 0..0, location: None, moment: 0 };
        out.extend((kind.columns().len() as i16).to_be_bytes());
        for (column, place) in kind.columns().iter().zip(places) {
            let wrong = |wrong| Reason::Value(column.name, wrong);
            let Some(text) = place.map(|at| record.field(at)).filter(|text| !self.is_null(text)) else {
                if column.is_needed() {
                    return Err(wrong(Wrong::Missing));
                }
                value::append_null(out);
                continue;
            };
            let before = out.len() - start + 4;
            value::append(column.r#type, text, &self.format.moments, out).map_err(wrong)?;
            if matches!(column.r#type, Type::Text | Type::Words) && self.format.encoding.is_some() && is_replaced(text)
            {
                return Err(wrong(Wrong::NotInEncoding));
            }
            match column.name {
                "msisdn" => key.subscriber = before..out.len() - start,
                "location_id" => key.location = Some(before..out.len() - start),
                "datetime" => {
                    let bytes = out.last_chunk().expect("a moment has eight bytes");
                    key.moment = i64::from_be_bytes(*bytes);
                }
                _ => {}
            }
        }
        let day = || moment::day_of(key.moment);
        match &self.file {
            Some(file) if !file.contains(&key.moment) => return Err(Reason::OtherLocalDay(day())),
            Some(_) if !self.span.contains(&key.moment) => return Err(Reason::Neighbour),
            None if !self.span.contains(&key.moment) => return Err(Reason::OtherDay(day())),
            _ => {}
        }
        Ok(key)
    }

    fn is_null(&self, text: &[u8]) -> bool {
        text.is_empty() || text == self.format.null.as_bytes()
    }
}

/// Whether the decoder put its sign of despair there.
fn is_replaced(text: &[u8]) -> bool {
    text.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes())
}

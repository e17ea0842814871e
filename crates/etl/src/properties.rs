//! What holds for whatever a file may hold.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::kind::{Column, Kind, Type};
use crate::moment::{Moments, Writing, Zone};
use crate::records::{Batch, Records, Shape};
use crate::row::{Format, Layout, Rows};

const DAY: time::Date = time::macros::date!(2016 - 01 - 01);

fn format() -> Format {
    Format {
        shape: Shape { delimiter: b',', quote: b'"' },
        null: String::new(),
        encoding: None,
        moments: Moments { writing: Writing::Iso, zone: Zone::named("UTC").unwrap() },
        columns: None,
        names: HashMap::new(),
        ignored: Vec::new(),
    }
}

/// Reads a file of all columns and gives what became of each record: a row, or a reason.
fn rows(kind: Kind, text: &[u8], format: &Format) -> Vec<Result<Vec<u8>, String>> {
    let names: Vec<String> = kind.columns().iter().map(|column| column.name.to_owned()).collect();
    let layout = Layout::new(kind, &names, format).unwrap();
    let rows = Rows::new(&layout, format, DAY);
    let mut records = Records::new(text, format.shape);
    let (mut batch, mut all) = (Batch::default(), Vec::new());
    while records.fill(&mut batch).is_ok_and(|more| more) {
        for record in batch.records() {
            let mut row = b"before".to_vec();
            all.push(match rows.append(record, &mut row) {
                Ok(key) => {
                    assert!(!row[6..][key.subscriber].is_empty());
                    Ok(row[6..].to_vec())
                }
                Err(reason) => {
                    assert_eq!(row, b"before", "what is refused leaves nothing behind");
                    Err(reason.to_string())
                }
            });
        }
    }
    all
}

/// A value that a column takes, or none.
fn value(column: &'static Column) -> BoxedStrategy<Option<String>> {
    let text = match column.r#type {
        Type::Text => "[ -~äß電]{1,40}".boxed(),
        Type::Words => "[ -~äß電\\t]{1,40}".boxed(),
        Type::Boolean => prop::sample::select(vec!["t", "FALSE", "1", "off", "yes"]).prop_map(String::from).boxed(),
        Type::Timestamp => {
            "2016-01-01[ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|\\+00|-00:00)?".boxed()
        }
        Type::Numeric => "-?[0-9]{1,30}(\\.[0-9]{0,20})?(e-?[0-9]{1,2})?".boxed(),
        Type::Digits8 => "[0-9]{1,8}".boxed(),
    };
    match column.is_needed() {
        true => text.prop_map(Some).boxed(),
        false => prop::option::of(text).boxed(),
    }
}

fn quoted(value: &Option<String>) -> String {
    value.as_ref().map_or(String::new(), |text| format!("\"{}\"", text.replace('"', "\"\"")))
}

/// The fields of a row as binary COPY has it.
fn fields(row: &[u8]) -> Vec<Option<&[u8]>> {
    let count = i16::from_be_bytes([row[0], row[1]]);
    let mut rest = &row[2..];
    let fields = (0..count).map(|_| {
        let (length, after) = rest.split_first_chunk::<4>().unwrap();
        let length = i32::from_be_bytes(*length);
        let (field, after) = after.split_at(usize::try_from(length).unwrap_or(0));
        rest = after;
        (length >= 0).then_some(field)
    });
    let fields = fields.collect();
    assert!(rest.is_empty());
    fields
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever a file holds, it is rows and refusals.
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), kind in prop::sample::select(&Kind::ALL[..])) {
        rows(kind, &bytes, &format());
    }

    /// The same with what looks a little like a file.
    #[test]
    fn nor_do_bytes_that_look_like_rows(text in "([0-9a-zA-Z.:+ \"-]{0,12}[,\n]){0,200}", pattern in "[%a-zA-Z0-9/: -]{0,12}") {
        let text = format!("{text},2016-01-01 00:00:00,,,a,,,,,,,\n");
        rows(Kind::Sms, text.as_bytes(), &format());
        let mut other = format();
        other.moments = Moments { writing: Writing::Pattern(pattern), zone: Zone::named("America/Port-au-Prince").unwrap() };
        rows(Kind::Sms, text.as_bytes(), &other);
    }

    /// What is sound arrives, value by value.
    #[test]
    fn what_is_sound_arrives(
        values in prop::collection::vec(Kind::Calls.columns().iter().map(value).collect::<Vec<_>>(), 1..20),
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let text: String = values.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + end).collect();
        let made = rows(Kind::Calls, text.as_bytes(), &format());
        prop_assert_eq!(made.len(), values.len());
        for (row, values) in made.iter().zip(&values) {
            let row = row.as_ref().map_err(|reason| TestCaseError::fail(reason.clone()))?;
            for ((column, value), field) in Kind::Calls.columns().iter().zip(values).zip(fields(row)) {
                prop_assert_eq!(value.is_some(), field.is_some(), "{}", column.name);
                if matches!(column.r#type, Type::Text | Type::Words) {
                    prop_assert_eq!(value.as_ref().map(|text| text.as_bytes()), field);
                }
            }
        }
    }
}

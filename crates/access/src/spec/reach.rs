//! Which data a spec looks at, and in how many parts, as FlowMachine works it out.
//!
//! Ends are not part of the time, but for `dfs_metric_total_amount`, which looks at the whole of its last day. `daily_location`
//! looks at 24 hours from its `date` on, and so does `location_event_counts` from its start on when its end is no further. The kinds that count periods multiply them. A field that is none of those we know,
//! but by its name or its text a date, counts as a day that is looked at; what we can't read, nobody with a limit may ask.

use time::Duration;

use super::Fault;
use super::tree::Node;
use crate::dates::{self, Moment, Reach};

/// Kinds without parts that look at no data of any day.
const TIMELESS: [&str; 2] = ["geography", "dummy_query"];

/// All that a value and what is in it look at.
pub fn of(node: &Node) -> Reach {
    let inner = node.children().map(of).fold(Reach::Nothing, Reach::and);
    let Node::Object(entries) = node else { return inner };
    let kind = node.get("query_kind").and_then(Node::text).unwrap_or_default();
    let own = entries.iter().map(|(name, value)| entry(kind, name, value)).fold(Reach::Nothing, Reach::and);
    let own = own.and(periods(node)).and(subset(node)).and(halves(node));
    match inner.and(own) {
        // A query of one part that names no day would, if there is such a kind, look at all of them.
        Reach::Nothing if !kind.is_empty() && !TIMELESS.contains(&kind) && !has_query(node) => {
            Reach::Unknown(format!("a {kind} without dates"))
        }
        reach => reach,
    }
}

fn has_query(node: &Node) -> bool {
    node.children().any(|child| child.get("query_kind").is_some() || has_query(child))
}

/// What one field names.
fn entry(kind: &str, name: &str, value: &Node) -> Reach {
    let dated = name.contains("date");
    match value {
        Node::Text(text) => match dates::moment(text) {
            Some(moment) if ends(kind, name) => Reach::Between(moment, moment),
            Some(moment) if starts(name) && kind != "location_event_counts" => Reach::Between(moment, moment),
            Some(moment) => Reach::of(moment, Duration::DAY),
            None if dated || like_a_date(text) => Reach::Unknown(name.to_owned()),
            None => Reach::Nothing,
        },
        Node::List(nodes) => nodes.iter().map(|node| entry(kind, name, node)).fold(Reach::Nothing, Reach::and),
        Node::Null | Node::Flag(_) | Node::Number(_) if dated => Reach::Unknown(name.to_owned()),
        _ => Reach::Nothing,
    }
}

/// A start whose end says how long it is.
fn starts(name: &str) -> bool {
    matches!(name, "start_date" | "start_date_a" | "start_date_b")
}

/// An end that isn't part of the time.
fn ends(kind: &str, name: &str) -> bool {
    matches!(name, "end_date" | "end_date_a" | "end_date_b") && kind != "dfs_metric_total_amount"
}

/// Whether a date lies where FlowMachine can reckon with it: beyond the years 1677 and 2262 its calendar overflows, by which it
/// tells a wrong query and a database that is away in the same words. What it can't read as a date at all it refuses itself.
pub fn reckonable(text: &str) -> bool {
    let year = match digits(text) {
        4 | 8.. => text.trim_start()[..4].parse::<u16>().ok(),
        _ => None,
    };
    !like_a_date(text) || year.is_some_and(|year| (1700..2200).contains(&year))
}

/// Four digits or more and a dash, or eight: a form of date that FlowMachine may read though we don't.
fn like_a_date(text: &str) -> bool {
    let digits = digits(text);
    digits >= 8 || digits >= 4 && text.trim_start()[digits..].starts_with('-')
}

fn digits(text: &str) -> usize {
    text.trim_start().bytes().take_while(u8::is_ascii_digit).count()
}

/// A start without an end, or the other way round: whatever FlowMachine takes in its place isn't known here.
fn halves(node: &Node) -> Reach {
    let has = |name: &str| node.get(name).is_some();
    let half = |start: &str, end: &str| has(start) != (has(end) || start == "start_date" && has("total_periods"));
    match PAIRS.into_iter().find(|(start, end)| half(start, end)) {
        Some((start, end)) => Reach::Unknown(format!("{start} and {end}, of which one is missing")),
        None => Reach::Nothing,
    }
}

/// The ids of subscribers that another query has found: which days that one looked at isn't known here.
fn subset(node: &Node) -> Reach {
    match node.get("subscriber_subset") {
        None | Some(Node::Null) => Reach::Nothing,
        Some(_) => Reach::Unknown("subscriber_subset".into()),
    }
}

/// `total_periods` times `period_length` `period_unit` from `start_date` on.
fn periods(node: &Node) -> Reach {
    let Some(total) = node.get("total_periods") else { return Reach::Nothing };
    let unknown = || Reach::Unknown("total_periods".into());
    let length = node.get("period_length").map_or(Some(1), whole_number);
    let unit = match node.get("period_unit") {
        None => Some(86_400),
        Some(unit) => unit.text().and_then(|unit| seconds(unit, ["days", "hours", "minutes"])),
    };
    let start = node.get("start_date").and_then(Node::text).and_then(dates::moment);
    let (Some(total), Some(length), Some(unit), Some(start)) = (whole_number(total), length, unit, start) else {
        return unknown();
    };
    match total.checked_mul(length).and_then(|periods| periods.checked_mul(unit)) {
        Some(seconds) => Reach::of(start, Duration::seconds(seconds)),
        None => unknown(),
    }
}

/// The seconds of a unit, by the names that day, hour and minute have in the field.
fn seconds(unit: &str, names: [&str; 3]) -> Option<i64> {
    names.into_iter().zip([86_400, 3_600, 60]).find(|(name, _)| *name == unit).map(|(_, seconds)| seconds)
}

/// A whole number. FlowMachine takes texts and fractions for one as well, each in a way of its own.
fn whole_number(node: &Node) -> Option<i64> {
    if let Node::Number(number) = node { number.as_i64() } else { None }
}

/// A start and the end that belongs to it.
const PAIRS: [(&str, &str); 3] =
    [("start_date", "end_date"), ("start_date_a", "end_date_a"), ("start_date_b", "end_date_b")];

/// Days from the starts to the ends of an object's own, and of its periods.
///
/// # Errors
/// A start or an end that can't be read: how long it is would be FlowMachine's guess.
pub fn days(node: &Node) -> Result<u64, Fault> {
    let read = |name: &str| match node.get(name) {
        Some(Node::Text(text)) => dates::moment(text).map(Some).ok_or(wrong(name, A_DATE)),
        _ => Ok(None),
    };
    let mut days = 0u64;
    for (start, end) in PAIRS {
        if let (Some(start), Some(end)) = (read(start)?, read(end)?) {
            days = days.saturating_add(u64::try_from((end - start).whole_days()).unwrap_or(0));
        }
    }
    let number = |name: &str| node.get(name).and_then(whole_number).and_then(|number| u64::try_from(number).ok());
    Ok(days.saturating_add(match periods(node) {
        Reach::Between(start, end) => u64::try_from((end - start).whole_days()).unwrap_or(0),
        Reach::Nothing => 0,
        // Of a unit that we don't know, or too long for a calendar: as if of days.
        Reach::Unknown(_) => number("total_periods").unwrap_or(0).saturating_mul(number("period_length").unwrap_or(1)),
    }))
}

const A_DATE: &str = "must be a date such as 2016-01-31 or 2016-01-31 12:00:00";

fn wrong(field: &str, why: &'static str) -> Fault {
    Fault::Field { field: field.into(), why }
}

/// How many queries FlowMachine makes of this one by itself.
///
/// # Errors
/// What they depend on can't be read.
pub fn intervals(kind: &str, node: &Node) -> Result<u64, Fault> {
    if let Some(total) = node.get("total_periods") {
        let positive = |name: &str, node: &Node| match whole_number(node) {
            Some(number) if number > 0 => Ok(number.unsigned_abs()),
            _ => Err(wrong(name, "must be a whole number above 0")),
        };
        if let Some(length) = node.get("period_length") {
            positive("period_length", length)?;
        }
        return positive("total_periods", total);
    }
    if kind != "location_event_counts" {
        return Ok(0);
    }
    let unit = node.get("interval").and_then(Node::text).and_then(|unit| seconds(unit, ["day", "hour", "min"]));
    let unit = unit.ok_or(wrong("interval", "must be day, hour or min"))?;
    let moment = |name: &str| -> Result<Moment, Fault> {
        let moment = node.get(name).and_then(Node::text).and_then(dates::moment);
        moment.ok_or(wrong(name, A_DATE))
    };
    let long = moment("end_date")? - moment("start_date")?;
    Ok(u64::try_from(long.whole_seconds()).unwrap_or(0).div_ceil(unit.unsigned_abs()))
}

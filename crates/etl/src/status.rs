//! What is there of each kind, day by day.

use std::collections::BTreeMap;

use time::Date;
use time::macros::format_description;
use tokio_postgres::Client;

use crate::error::Error;
use crate::kind::Kind;

/// How it is about a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// FlowMachine offers it.
    Ingested,
    /// On record as ingested, but its table is gone: questions about it are answered as if nobody had called.
    Gone,
    /// Delivered, and not fit to be loaded.
    Quarantine,
    /// A DAG or a loader came as far as a table in schema `etl`, and no further. It may still be at work.
    Unfinished,
    /// A table in schema `events` that no record speaks of.
    Unrecorded,
    /// Whatever else somebody has recorded.
    Other(String),
    /// Nothing, between two days that are there.
    Missing,
}

impl State {
    /// One word for a program.
    pub fn name(&self) -> &str {
        match self {
            State::Ingested => "ingested",
            State::Gone => "gone",
            State::Quarantine => "quarantine",
            State::Unfinished => "unfinished",
            State::Unrecorded => "unrecorded",
            State::Other(state) => state,
            State::Missing => "missing",
        }
    }
}

/// Each day from the first to the last of which anything is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Kinds of which nothing is known have no days.
    pub kinds: BTreeMap<Kind, BTreeMap<Date, State>>,
    /// Days that are offered, beside which a table stands in schema `etl`: rows that were to take their place, by a loader or a DAG
    /// that was killed or is at work. No reader sees them.
    pub leftovers: Vec<Leftover>,
}

/// A table that came to nothing, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The kind.
    pub kind: Kind,
    /// The day.
    pub date: Date,
    /// Its name, with its schema.
    pub table: String,
    /// How much of the disk it takes, in bytes.
    pub bytes: u64,
}

/// Asks FlowDB. Any user may ask who can read schema `etl`.
///
/// # Errors
/// A statement fails.
pub async fn status(client: &Client) -> Result<Status, Error> {
    let failed = || Error::when("ask FlowDB for its days");
    let records = "SELECT cdr_type::text, cdr_date, coalesce(state::text, '') FROM etl.ingested_state
                   WHERE cdr_type IS NOT NULL AND cdr_date IS NOT NULL";
    let mut days: BTreeMap<(Kind, Date), Known> = BTreeMap::new();
    for row in client.query(records, &[]).await.map_err(failed())? {
        if let Some(kind) = Kind::named(row.get(0)) {
            days.entry((kind, row.get(1))).or_default().recorded = Some(row.get(2));
        }
    }
    let tables =
        "SELECT nspname = 'etl', relname::text, CASE WHEN nspname = 'etl' THEN pg_total_relation_size(pg_class.oid) ELSE 0 END FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                  WHERE relkind = 'r' AND (nspname = 'etl' OR nspname = 'events' AND relispartition)";
    for row in client.query(tables, &[]).await.map_err(failed())? {
        let (is_work, name): (bool, &str) = (row.get(0), row.get(1));
        if let Some(day) = day_of(is_work, name) {
            let known = days.entry(day).or_default();
            match is_work {
                true => known.unfinished.push((format!("etl.{name}"), row.get::<_, i64>(2).unsigned_abs())),
                false => known.attached = true,
            }
        }
    }
    let mut status = Status::default();
    for ((kind, date), mut known) in days {
        if known.is_there() {
            let leftover = |(table, bytes)| Leftover { kind, date, table, bytes };
            status.leftovers.extend(std::mem::take(&mut known.unfinished).into_iter().map(leftover));
        }
        status.kinds.entry(kind).or_default().insert(date, known.state());
    }
    status.kinds.values_mut().for_each(fill);
    Ok(status)
}

/// What is known of a day.
#[derive(Default)]
struct Known {
    recorded: Option<String>,
    attached: bool,
    /// Tables that are not attached, and their bytes.
    unfinished: Vec<(String, u64)>,
}

impl Known {
    fn is_there(&self) -> bool {
        self.attached && self.recorded.as_deref() == Some("ingested")
    }

    fn state(self) -> State {
        match self.recorded.as_deref() {
            _ if self.is_there() => State::Ingested,
            _ if !self.unfinished.is_empty() => State::Unfinished,
            Some("ingested") => State::Gone,
            Some("quarantine") => State::Quarantine,
            Some(other) => State::Other(other.to_owned()),
            None => State::Unrecorded,
        }
    }
}

/// The day of a table: `calls_20160101` where it is attached; `extract_calls_20160101` (FlowETL's) or `load_…` before.
fn day_of(is_work: bool, name: &str) -> Option<(Kind, Date)> {
    let name = if is_work { name.strip_prefix("extract_").or(name.strip_prefix("load_"))? } else { name };
    let (kind, day) = name.split_once('_')?;
    let date = Date::parse(day, format_description!("[year][month][day]")).ok()?;
    Some((Kind::named(kind)?, date))
}

/// The days in between.
fn fill(days: &mut BTreeMap<Date, State>) {
    let (Some((&first, _)), Some((&last, _))) = (days.first_key_value(), days.last_key_value()) else { return };
    let mut date = first;
    while date < last {
        days.entry(date).or_insert(State::Missing);
        let Some(next) = date.next_day() else { return };
        date = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn days_are_known_by_their_tables() {
        let day = date!(2016 - 01 - 01);
        assert_eq!(day_of(false, "calls_20160101"), Some((Kind::Calls, day)));
        assert_eq!(day_of(true, "extract_mds_20160101"), Some((Kind::Mds, day)));
        assert_eq!(day_of(true, "load_sms_20160101"), Some((Kind::Sms, day)));
        for (is_work, other) in
            [(true, "calls_20160101"), (false, "load_sms_20160101"), (false, "calls_99999999"), (false, "location_ids")]
        {
            assert_eq!(day_of(is_work, other), None, "{other}");
        }
    }
}

//! FlowETL's checks of a day that was ingested: they describe it, nothing passes or fails.
//!
//! The outcomes are those of flowetl 1.34.0 under its names. It reads the table once for each of its 24 checks of calls; here
//! those that look at the same groups of rows are one query.

use time::Date;

use crate::kind::Kind;

/// What FlowETL writes down for every kind.
const ALL: &[&str] = &[
    "count_added_rows",
    "count_duplicated",
    "count_duplicates",
    "count_imeis",
    "count_imsis",
    "count_locatable_events",
    "count_locatable_location_ids",
    "count_location_ids",
    "count_msisdns",
    "count_null_imeis",
    "count_null_imsis",
    "count_null_location_ids",
    "earliest_timestamp",
    "latest_timestamp",
    "max_msisdns_per_imei",
    "max_msisdns_per_imsi",
];
/// For what has two parties.
const PARTIES: &[&str] = &[
    "count_added_rows_outgoing",
    "count_null_counterparts",
    "count_onnet_msisdns",
    "count_onnet_msisdns_incoming",
    "count_onnet_msisdns_outgoing",
];
/// For calls only.
const CALLS: &[&str] = &["count_null_durations", "max_duration", "median_duration"];

/// The names of a kind's checks, as FlowETL stores them.
pub fn names(kind: Kind) -> Vec<String> {
    let of_kind = match kind {
        Kind::Calls => &[PARTIES, CALLS][..],
        Kind::Sms => &[PARTIES],
        Kind::Mds | Kind::Topups => &[],
    };
    let of_kind = of_kind.iter().copied().flatten().map(|name| format!("{name}.{kind}"));
    ALL.iter().map(|name| name.to_string()).chain(of_kind).collect()
}

/// Statements that write down the outcomes of all checks of a day.
pub fn sql(kind: Kind, date: Date) -> String {
    let table = format!("events.{}", kind.partition(date));
    let mut checks =
        vec![totals(kind, &table), subscribers(kind, &table), locations(&table, date), duplicates(kind, &table)];
    checks.extend(["imei", "imsi"].map(|column| handsets(column, &table)));
    if kind.has_counterparts() {
        checks.push(onnet(kind, &table));
    }
    checks.iter().map(|check| check.insert(kind, date)).collect()
}

/// A query of one row, and the checks whose outcomes are its columns.
struct Check {
    query: String,
    outcomes: Vec<(String, &'static str)>,
}

impl Check {
    fn new(query: String, outcomes: &[(&str, &'static str)]) -> Check {
        Check { query, outcomes: outcomes.iter().map(|(name, column)| (name.to_string(), *column)).collect() }
    }

    fn insert(&self, kind: Kind, date: Date) -> String {
        let values: Vec<String> =
            self.outcomes.iter().map(|(name, column)| format!("('{name}', {column}::text)")).collect();
        format!(
            "INSERT INTO etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, outcome, \"timestamp\")
             SELECT date '{date}', '{kind}', name, outcome, now()
             FROM ({}) AS found, LATERAL (VALUES {}) AS check_ (name, outcome);",
            self.query,
            values.join(", ")
        )
    }
}

/// What one look at every row tells.
fn totals(kind: Kind, table: &str) -> Check {
    let mut columns = "count(*) AS added, count(*) - count(imei) AS no_imei, count(*) - count(imsi) AS no_imsi, \
                       count(*) - count(location_id) AS nowhere, min(datetime) AS first, max(datetime) AS last"
        .to_owned();
    let mut outcomes = vec![
        ("count_added_rows".to_owned(), "added"),
        ("count_null_imeis".to_owned(), "no_imei"),
        ("count_null_imsis".to_owned(), "no_imsi"),
        ("count_null_location_ids".to_owned(), "nowhere"),
        ("earliest_timestamp".to_owned(), "first"),
        ("latest_timestamp".to_owned(), "last"),
    ];
    if kind.has_counterparts() {
        columns += ", count(*) FILTER (WHERE outgoing) AS outgoing, count(*) - count(msisdn_counterpart) AS alone";
        outcomes.push((format!("count_added_rows_outgoing.{kind}"), "outgoing"));
        outcomes.push((format!("count_null_counterparts.{kind}"), "alone"));
    }
    if kind == Kind::Calls {
        columns += ", count(*) - count(duration) AS timeless, max(duration) AS longest, \
                    percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) AS median";
        outcomes.push((format!("count_null_durations.{kind}"), "timeless"));
        outcomes.push((format!("max_duration.{kind}"), "longest"));
        outcomes.push((format!("median_duration.{kind}"), "median"));
    }
    Check { query: format!("SELECT {columns} FROM {table}"), outcomes }
}

/// Both parties of an event count.
fn subscribers(kind: Kind, table: &str) -> Check {
    let others = match kind.has_counterparts() {
        true => format!(" UNION SELECT msisdn_counterpart FROM {table} WHERE msisdn_counterpart IS NOT NULL"),
        false => String::new(),
    };
    let query = format!("SELECT count(*) AS people FROM (SELECT DISTINCT msisdn FROM {table}{others}) AS party");
    Check::new(query, &[("count_msisdns", "people")])
}

/// A row without a direction counts in neither.
fn onnet(kind: Kind, table: &str) -> Check {
    let query = format!(
        "SELECT count(*) AS people, count(*) FILTER (WHERE called) AS callers, count(*) FILTER (WHERE was_called) AS called
         FROM (SELECT bool_or(outgoing) AS called, bool_or(NOT outgoing) AS was_called FROM {table} GROUP BY msisdn) AS party"
    );
    let named = |name: &str| format!("{name}.{kind}");
    Check {
        query,
        outcomes: vec![
            (named("count_onnet_msisdns"), "people"),
            (named("count_onnet_msisdns_outgoing"), "callers"),
            (named("count_onnet_msisdns_incoming"), "called"),
        ],
    }
}

/// No cell counts as a cell. A cell that is there in several versions on the day counts its events once for each.
fn locations(table: &str, date: Date) -> Check {
    let query = format!(
        "WITH place AS (SELECT location_id, count(*) AS events FROM {table} GROUP BY location_id),
         known AS (
             SELECT place.location_id, place.events FROM place JOIN infrastructure.cells AS cell ON cell.id = place.location_id
             WHERE cell.geom_point IS NOT NULL
             AND date '{date}' BETWEEN coalesce(cell.date_of_first_service, '-infinity')
                 AND coalesce(cell.date_of_last_service, 'infinity'))
         SELECT (SELECT count(*) FROM place) AS places, (SELECT coalesce(sum(events), 0) FROM known) AS events,
             (SELECT count(DISTINCT location_id) FROM known) AS known_places"
    );
    let outcomes = [
        ("count_location_ids", "places"),
        ("count_locatable_events", "events"),
        ("count_locatable_location_ids", "known_places"),
    ];
    Check::new(query, &outcomes)
}

/// How many there are of `imei` or `imsi`, and how many subscribers one of them has at most.
fn handsets(column: &'static str, table: &str) -> Check {
    let query = format!(
        "SELECT count(*) AS all_, max(subscribers) AS most FROM (
             SELECT count(*) AS subscribers FROM (SELECT DISTINCT {column}, msisdn FROM {table} WHERE {column} IS NOT NULL) AS pair
             GROUP BY {column}) AS each_"
    );
    let (count, most) = match column {
        "imei" => ("count_imeis", "max_msisdns_per_imei"),
        _ => ("count_imsis", "max_msisdns_per_imsi"),
    };
    Check::new(query, &[(count, "all_"), (most, "most")])
}

/// Rows that are the same in everything but their id.
fn duplicates(kind: Kind, table: &str) -> Check {
    let columns: Vec<&str> = kind.columns().iter().map(|column| column.name).filter(|name| *name != "id").collect();
    let query = format!(
        "SELECT count(*) AS groups, coalesce(sum(copies - 1), 0) AS surplus
         FROM (SELECT count(*) AS copies FROM {table} GROUP BY {} HAVING count(*) > 1) AS same",
        columns.join(", ")
    );
    Check::new(query, &[("count_duplicated", "groups"), ("count_duplicates", "surplus")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_has_a_name_is_made_once() {
        for (kind, count) in [(Kind::Calls, 24), (Kind::Sms, 21), (Kind::Mds, 16), (Kind::Topups, 16)] {
            let sql = sql(kind, time::macros::date!(2016 - 01 - 01));
            let names = names(kind);
            assert_eq!(names.len(), count);
            for name in names {
                assert_eq!(sql.matches(&format!("('{name}', ")).count(), 1, "{name}");
            }
            assert_eq!(sql.matches("::text)").count(), count);
        }
    }
}

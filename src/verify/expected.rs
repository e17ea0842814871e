//! The right answer, in plain SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use time::{Date, Duration};
use tokio_postgres::Client;

use super::{Counts, Error};

/// FlowMachine's server leaves out areas with so many people or fewer.
pub const REDACTED: i64 = 15;

/// How many people were in each area: at least, and at most. The two differ when records don't say which of a person's
/// events was the last: real ones are often exact to the second only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub BTreeMap<String, (i64, i64)>);

/// An area where FlowMachine's answer is not the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The area's pcode.
    pub area: String,
    /// FlowMachine's count; `None` when it has no row for the area.
    pub got: Option<i64>,
    /// At least and at most.
    pub expected: (i64, i64),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: FlowMachine says ", self.area)?;
        match self.got {
            Some(got) => write!(f, "{got}")?,
            None => write!(f, "nothing, that is {REDACTED} at most")?,
        }
        match self.expected {
            (low, high) if low == high => write!(f, ", the call records say {low}"),
            (low, high) => write!(f, ", the call records say {low} to {high}"),
        }
    }
}

impl Expected {
    /// Compares area by area; says how many are equal.
    pub fn compare(&self, counts: &Counts) -> Result<String, Error> {
        let areas: BTreeSet<&String> = self.0.keys().chain(counts.keys()).collect();
        let mut different = Vec::new();
        for area in areas {
            let expected = self.0.get(area).copied().unwrap_or((0, 0));
            let got = counts.get(area).copied();
            let right = match got {
                Some(got) => got > REDACTED && (expected.0..=expected.1).contains(&got),
                None => expected.0 <= REDACTED,
            };
            if !right {
                different.push(Difference { area: area.clone(), got, expected });
            }
        }
        if !different.is_empty() {
            return Err(Error::Different(different));
        }
        match self.0.len() - counts.len() {
            0 => Ok(format!("equal in all {} areas", counts.len())),
            few => Ok(format!("equal in {} areas; {few} left out, with {REDACTED} people at most", counts.len())),
        }
    }
}

/// The tables that FlowMachine asks unless told otherwise.
const TABLES: &str = "SELECT table_name FROM public.available_tables() WHERE has_subscribers AND has_counterparts";

/// Their names.
pub async fn tables(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query(TABLES, &[]).await.map_err(Error::sql("list the tables that FlowMachine asks"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The days that are ingested for all of these tables, in order.
pub async fn days(client: &Client) -> Result<Vec<Date>, Error> {
    let sql = format!(
        "SELECT cdr_date FROM etl.available_dates WHERE cdr_type IN ({TABLES})
         GROUP BY cdr_date HAVING count(*) = (SELECT count(*) FROM ({TABLES}) AS t) ORDER BY cdr_date"
    );
    let rows = client.query(&sql, &[]).await.map_err(Error::sql("list the days that are ingested"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// People by the area (admin3) of their last event of a day that has a place.
pub async fn expected(client: &Client, day: Date) -> Result<Expected, Error> {
    let next = day + Duration::DAY;
    let of_table = |table: &str| {
        format!(
            "SELECT msisdn, datetime, location_id FROM events.{table}
             WHERE datetime >= '{day} 00:00:00+00' AND datetime < '{next} 00:00:00+00'"
        )
    };
    let events: Vec<String> = tables(client).await?.iter().map(|table| of_table(table)).collect();
    let sql = format!(
        "WITH cells AS MATERIALIZED (
             SELECT cell.id, ward.admin3pcod AS area
             FROM infrastructure.cells cell
             JOIN geography.admin3 ward ON st_within(cell.geom_point, st_setsrid(ward.geom, 4326))
             WHERE coalesce(cell.date_of_first_service, '-infinity') <= date '{day}'
             AND coalesce(cell.date_of_last_service, 'infinity') >= date '{day}'
         ),
         placed AS MATERIALIZED (
             SELECT event.msisdn, event.datetime, cells.area
             FROM ({}) AS event JOIN cells ON cells.id = event.location_id
         ),
         last AS (SELECT msisdn, max(datetime) AS datetime FROM placed GROUP BY msisdn),
         person AS (
             SELECT msisdn, array_agg(DISTINCT area) AS areas FROM placed JOIN last USING (msisdn, datetime) GROUP BY msisdn
         )
         SELECT area, count(*) FILTER (WHERE cardinality(areas) = 1), count(*)
         FROM person, unnest(areas) AS area GROUP BY area",
        events.join(" UNION ALL ")
    );
    let rows = client.query(&sql, &[]).await.map_err(Error::sql("count people by area"))?;
    Ok(Expected(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(areas: &[(&str, i64, i64)]) -> Expected {
        Expected(areas.iter().map(|&(area, low, high)| (area.to_owned(), (low, high))).collect())
    }

    fn counts(areas: &[(&str, i64)]) -> Counts {
        areas.iter().map(|&(area, count)| (area.to_owned(), count)).collect()
    }

    fn verdict(right: &Expected, got: &Counts) -> String {
        right.compare(got).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn few_people_are_left_out_and_that_is_right() {
        let right = expected(&[("A", 20, 20), ("B", 15, 15), ("C", 16, 16)]);
        assert_eq!(
            verdict(&right, &counts(&[("A", 20), ("C", 16)])),
            "equal in 2 areas; 1 left out, with 15 people at most"
        );
        assert_eq!(
            verdict(&right, &counts(&[("A", 20), ("B", 15), ("C", 16)])),
            "1 areas differ\n  B: FlowMachine says 15, the call records say 15"
        );
        assert_eq!(
            verdict(&right, &counts(&[("A", 20)])),
            "1 areas differ\n  C: FlowMachine says nothing, that is 15 at most, the call records say 16"
        );
    }

    #[test]
    fn an_area_too_many_and_a_wrong_count_are_named() {
        let right = expected(&[("A", 20, 20)]);
        assert_eq!(verdict(&right, &counts(&[("A", 20)])), "equal in all 1 areas");
        assert_eq!(
            verdict(&right, &counts(&[("A", 21), ("Z", 30)])),
            "2 areas differ\n  A: FlowMachine says 21, the call records say 20\n  Z: FlowMachine says 30, the call records \
             say 0"
        );
    }

    #[test]
    fn people_with_two_last_events_at_once_may_count_in_either_area() {
        let right = expected(&[("A", 20, 22), ("B", 15, 17)]);
        for got in [counts(&[("A", 20), ("B", 17)]), counts(&[("A", 22)]), counts(&[("A", 21), ("B", 16)])] {
            assert!(right.compare(&got).is_ok(), "{got:?}");
        }
        assert!(right.compare(&counts(&[("A", 23)])).is_err());
    }
}

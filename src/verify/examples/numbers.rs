//! The figures of the examples in plain SQL over the call records, written without a look at FlowMachine's.

use serde::Deserialize;
use serde_json::Value;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration};

use super::super::expected::REDACTED;
use super::super::{Error, Target};
use super::Figures;

const FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// What the tables' shapes are marked with that `flowkit db demo` has made.
const MARK: &str =
    "SELECT coalesce(obj_description('geography.admin0'::regclass) LIKE 'made by flowkit db demo %', false)";

/// What an example must come to; nothing when the records are not the demo's. Real ones may have two last events at once.
pub(super) fn expected(target: &Target, name: &str, asked: &Value) -> Result<Option<Figures>, Error> {
    let strange = || Error::Example { name: "of ours", said: format!("it has asked for {asked}") };
    let sql = sql(name, asked).ok_or_else(strange)?;
    target.ask_as_flowmachine(async |client| {
        let of_demo = client.query_one(MARK, &[]).await.map_err(Error::sql("tell whose records these are"))?;
        if !of_demo.get::<_, bool>(0) {
            return Ok(None);
        }
        // Nothing is known of how many rows come out of these subqueries, and a guess of one would join them by going through all pairs.
        client.batch_execute("SET enable_nestloop = off").await.map_err(Error::sql("choose how to join"))?;
        let rows = client.query(&sql, &[]).await.map_err(Error::sql("work out an example's figures"))?;
        Ok(Some(rows.iter().map(|row| (row.get(0), row.get(1))).collect()))
    })
}

/// A day as the notebooks write it. What goes into a statement has been one.
#[derive(Clone, Copy)]
struct Day(Date);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(text: D) -> Result<Day, D::Error> {
        let text = String::deserialize(text)?;
        Date::parse(&text, FORMAT).map(Day).map_err(serde::de::Error::custom)
    }
}

/// What some example has asked for.
#[derive(Deserialize)]
struct Asked {
    unit: Unit,
    day: Option<Day>,
    from: Option<Day>,
    to: Option<Day>,
    working_day: Option<Day>,
    day_of_rest: Option<Day>,
    hours: Option<(u8, u8)>,
    days: Option<Vec<Day>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Admin1,
    Admin2,
    Admin3,
}

fn sql(name: &str, asked: &Value) -> Option<String> {
    let asked: Asked = serde_json::from_value(asked.clone()).ok()?;
    let unit = asked.unit;
    Some(match name {
        "daily_locations" => people(&last(unit, asked.day?.0, None)),
        "flows" => flows("", &last(unit, asked.from?.0, None), &last(unit, asked.to?.0, None)),
        "commuting" => {
            let of = |what: &str, Day(day): Day| flows(what, &last(unit, day, None), &last(unit, day, asked.hours));
            let (work, rest) = (of("working day, ", asked.working_day?), of("day of rest, ", asked.day_of_rest?));
            format!("({work}) UNION ALL ({rest})")
        }
        "population" => people(&homes(unit, asked.from?.0, asked.to?.0)?),
        "unusual_days" => events(unit, asked.from?.0, asked.to?.0),
        "event" => {
            let of = |days: &[Day]| {
                let (before, day) = (days[0].0, days[1].0);
                format!("({})", flows(&format!("{day}, "), &last(unit, before, None), &last(unit, day, None)))
            };
            asked.days?.windows(2).map(of).collect::<Vec<_>>().join(" UNION ALL ")
        }
        _ => return None,
    })
}

/// Calls and text messages from a day up to another one, with the area of the cell as it stood that day.
fn placed(unit: Unit, from: Date, to: Date) -> String {
    let level = match unit {
        Unit::Admin1 => 1,
        Unit::Admin2 => 2,
        Unit::Admin3 => 3,
    };
    // Where the cells stand is worked out once, and not for each call.
    format!(
        "WITH cell AS MATERIALIZED (
             SELECT cells.id, area.admin{level}pcod AS area, coalesce(date_of_first_service, '-infinity') AS first,
                 coalesce(date_of_last_service, 'infinity') AS last
             FROM infrastructure.cells JOIN geography.admin{level} AS area ON st_within(cells.geom_point, st_setsrid(area.geom, 4326))
         )
         SELECT event.msisdn, event.datetime, (event.datetime AT TIME ZONE 'UTC')::date AS day, cell.area
         FROM (SELECT msisdn, datetime, location_id FROM events.calls UNION ALL SELECT msisdn, datetime, location_id FROM events.sms) AS event
         JOIN cell ON cell.id = event.location_id AND (event.datetime AT TIME ZONE 'UTC')::date BETWEEN cell.first AND cell.last
         WHERE event.datetime >= '{from} 00:00:00+00' AND event.datetime < '{to} 00:00:00+00'"
    )
}

/// Where people were last on a day, or within some hours of it.
fn last(unit: Unit, day: Date, hours: Option<(u8, u8)>) -> String {
    let (from, to) = hours.unwrap_or((0, 24));
    format!(
        "SELECT DISTINCT ON (msisdn) msisdn, area FROM ({}) AS placed
         WHERE extract(hour FROM datetime AT TIME ZONE 'UTC') >= {from} AND extract(hour FROM datetime AT TIME ZONE 'UTC') < {to}
         ORDER BY msisdn, datetime DESC",
        placed(unit, day, day + Duration::DAY)
    )
}

/// Where people were last on most of the days; of two such areas, the one where they were later.
fn homes(unit: Unit, from: Date, to: Date) -> Option<String> {
    let days = std::iter::successors(Some(from), |day| day.next_day()).take_while(|&day| day < to).take(100);
    let nights: Vec<String> = days
        .map(|day| format!("SELECT msisdn, area, date '{day}' AS day FROM ({}) AS night", last(unit, day, None)))
        .collect();
    (!nights.is_empty()).then(|| {
        format!(
            "SELECT DISTINCT ON (msisdn) msisdn, area FROM (
                 SELECT msisdn, area, count(*) AS nights, max(day) AS latest FROM ({}) AS night GROUP BY msisdn, area
             ) AS area ORDER BY msisdn, nights DESC, latest DESC",
            nights.join(" UNION ALL ")
        )
    })
}

/// People by area.
fn people(places: &str) -> String {
    format!("SELECT area::text, count(*) FROM ({places}) AS place GROUP BY area HAVING count(*) > {REDACTED}")
}

/// People by the areas where they were before and after.
fn flows(name: &str, before: &str, after: &str) -> String {
    format!(
        "WITH before AS MATERIALIZED ({before}), after AS MATERIALIZED ({after})
         SELECT '{name}' || before.area || ' to ' || after.area, count(*) FROM before JOIN after USING (msisdn)
         GROUP BY before.area, after.area HAVING count(*) > {REDACTED}"
    )
}

/// Calls and texts by day, in areas that had enough people.
fn events(unit: Unit, from: Date, to: Date) -> String {
    format!(
        "SELECT day::text, sum(events)::bigint FROM (
             SELECT day, area, count(*) AS events FROM ({}) AS placed GROUP BY day, area HAVING count(DISTINCT msisdn) > {REDACTED}
         ) AS counted GROUP BY day",
        placed(unit, from, to)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_days_and_units_get_into_a_statement() {
        let good = json!({"day": "2016-01-30", "unit": "admin3"});
        assert!(sql("daily_locations", &good).unwrap().contains("2016-01-30 00:00:00+00"));
        for bad in [
            json!({"day": "2016-01-30'; DROP TABLE x; --", "unit": "admin3"}),
            json!({"day": "2016-01-30", "unit": "admin3; x"}),
            json!({"unit": "admin3"}),
            json!([]),
        ] {
            assert!(sql("daily_locations", &bad).is_none(), "{bad}");
        }
        assert!(sql("another", &good).is_none());
    }
}

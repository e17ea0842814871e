//! What FlowMachine asks, in SQL of our own, as CREATE TABLE AS over daily partitions.
//!
//! Three sets, so that settings are never judged on the queries that chose them:
//!
//! - `known`: the shapes that the rules were first chosen on. Good for finding regressions, bad for claims.
//! - `decide`: written before they were run, to settle one question (small data: random_page_cost and hash memory).
//! - `claim`: written together with `decide`, run for the first time when all settings were fixed. Figures in the
//!   README are of this set. Whoever diagnoses anything with it has to write a new one.
//!
//! Beside them stands what FlowMachine's library generates (`flowmachine.rs`).
//!
//! `$days(N)` stands for the condition on the first N days; without a number, for all days.

/// A query with a short name and a sentence.
pub struct Query {
    pub name: String,
    pub what: String,
    /// A SELECT.
    pub sql: String,
}

/// The same for data of any number of days.
struct Template {
    name: &'static str,
    what: &'static str,
    sql: &'static str,
}

impl Template {
    const fn new(name: &'static str, what: &'static str, sql: &'static str) -> Template {
        Template { name, what, sql }
    }

    fn query(&self, days: u32) -> Query {
        Query { name: self.name.to_owned(), what: self.what.to_owned(), sql: self.sql(days) }
    }

    fn sql(&self, days: u32) -> String {
        let mut out = String::new();
        let mut rest = self.sql;
        while let Some((before, after)) = rest.split_once("$days(") {
            let (number, after) = after.split_once(')').expect("a closing bracket");
            let wanted: u32 = if number.is_empty() { days } else { number.parse().expect("a number of days") };
            out.push_str(before);
            out.push_str(&format!(
                "datetime >= timestamptz '2016-01-01' AND datetime < timestamptz '2016-01-01' + interval '{} days'",
                wanted.min(days)
            ));
            rest = after;
        }
        out + rest
    }
}

/// The queries of a set, for data of `days` days.
pub fn set(name: &str, days: u32) -> Vec<Query> {
    let templates = match name {
        "known" => KNOWN,
        "decide" => DECIDE,
        "claim" => CLAIM,
        other => panic!("no set of queries is called {other}"),
    };
    templates.iter().map(|template| template.query(days)).collect()
}

const KNOWN: &[Template] = &[
    Template::new(
        "K1",
        "last location of each subscriber on a day",
        "SELECT DISTINCT ON (msisdn) msisdn AS subscriber, location_id FROM events.calls WHERE $days(1)
         ORDER BY msisdn, datetime DESC",
    ),
    Template::new(
        "K2",
        "events of each subscriber",
        "SELECT msisdn AS subscriber, count(*) AS value FROM events.calls WHERE $days() GROUP BY msisdn",
    ),
    Template::new(
        "K3",
        "subscribers of each cell and day",
        "SELECT location_id, datetime::date AS day, count(DISTINCT msisdn) AS value FROM events.calls WHERE $days(14)
         GROUP BY 1, 2",
    ),
    Template::new(
        "K4",
        "where each subscriber was seen",
        "SELECT DISTINCT msisdn AS subscriber, location_id FROM events.calls WHERE $days()",
    ),
    Template::new(
        "K5",
        "modal location of daily last locations",
        "SELECT subscriber, location_id FROM (
            SELECT subscriber, location_id, row_number() OVER (PARTITION BY subscriber ORDER BY count(*) DESC, location_id) AS rank
            FROM (SELECT DISTINCT ON (msisdn, datetime::date) msisdn AS subscriber, location_id
                  FROM events.calls WHERE $days(14) ORDER BY msisdn, datetime::date, datetime DESC) daily
            GROUP BY 1, 2) ranked WHERE rank = 1",
    ),
    Template::new(
        "K6",
        "radius of gyration",
        "SELECT msisdn AS subscriber, sqrt(var_pop(lon) + var_pop(lat)) AS value
         FROM events.calls JOIN infrastructure.cells ON cells.id = location_id WHERE $days() GROUP BY msisdn",
    ),
    Template::new(
        "K7",
        "events of one subscriber in two hundred",
        "SELECT c.* FROM subset JOIN events.calls c ON c.msisdn = subset.subscriber WHERE rare AND $days()",
    ),
];

const DECIDE: &[Template] = &[
    Template::new(
        "D1",
        "first location of each subscriber and day",
        "SELECT DISTINCT ON (msisdn, datetime::date) msisdn AS subscriber, datetime::date AS day, location_id
         FROM events.calls WHERE $days(10) ORDER BY msisdn, datetime::date, datetime",
    ),
    Template::new(
        "D2",
        "home: the cell used on most nights",
        "SELECT DISTINCT ON (subscriber) subscriber, location_id FROM (
            SELECT msisdn AS subscriber, location_id, count(DISTINCT datetime::date) AS nights
            FROM events.calls WHERE $days(14) AND (extract(hour FROM datetime) >= 19 OR extract(hour FROM datetime) < 7)
            GROUP BY 1, 2) seen ORDER BY subscriber, nights DESC, location_id",
    ),
    Template::new(
        "D3",
        "degree: with how many others each subscriber talks, either way",
        "SELECT subscriber, count(*) AS value FROM (
            SELECT msisdn AS subscriber, msisdn_counterpart AS other FROM events.calls WHERE $days(7)
            UNION SELECT msisdn_counterpart, msisdn FROM events.calls WHERE $days(7)) pairs GROUP BY subscriber",
    ),
    Template::new(
        "D4",
        "entropy of the cells of each subscriber",
        "SELECT subscriber, -sum(share * ln(share)) AS value FROM (
            SELECT subscriber, n / sum(n) OVER (PARTITION BY subscriber) AS share FROM (
                SELECT msisdn AS subscriber, location_id, count(*)::float8 AS n FROM events.calls WHERE $days()
                GROUP BY 1, 2) counts) shares GROUP BY subscriber",
    ),
    Template::new(
        "D5",
        "how many subscribers were active on how many days",
        "SELECT active, count(*) AS value FROM (
            SELECT msisdn, count(DISTINCT datetime::date) AS active FROM events.calls WHERE $days() GROUP BY msisdn) s
         GROUP BY active",
    ),
    Template::new(
        "D6",
        "contacts that call each other",
        "SELECT a.msisdn AS subscriber, count(*) AS value
         FROM (SELECT DISTINCT msisdn, msisdn_counterpart FROM events.calls WHERE $days(14)) a
         JOIN (SELECT DISTINCT msisdn, msisdn_counterpart FROM events.calls WHERE $days(14)) b
           ON a.msisdn = b.msisdn_counterpart AND a.msisdn_counterpart = b.msisdn GROUP BY a.msisdn",
    ),
    Template::new(
        "D7",
        "all events of one subscriber in two hundred, in order",
        "SELECT c.msisdn AS subscriber, c.datetime, c.location_id FROM events.calls c
         WHERE c.msisdn IN (SELECT subscriber FROM subset WHERE rare) AND $days() ORDER BY 1, 2",
    ),
    Template::new(
        "D8",
        "minutes talked in each site and hour",
        "SELECT site_id, date_trunc('hour', datetime) AS hour, sum(duration) / 60 AS value
         FROM events.calls JOIN infrastructure.cells ON cells.id = location_id WHERE $days() GROUP BY 1, 2",
    ),
];

const CLAIM: &[Template] = &[
    Template::new(
        "C1",
        "trips: from which cell to which the next event was",
        "SELECT here, there, count(*) AS value FROM (
            SELECT location_id AS here, lead(location_id) OVER (PARTITION BY msisdn ORDER BY datetime) AS there
            FROM events.calls WHERE $days(7)) steps WHERE here <> there GROUP BY 1, 2",
    ),
    Template::new(
        "C2",
        "spatial aggregate of last locations over calls and mobile data",
        "SELECT site_id, day, count(*) AS value FROM (
            SELECT DISTINCT ON (msisdn, day) msisdn, day, location_id FROM (
                SELECT msisdn, datetime::date AS day, datetime, location_id FROM events.calls WHERE $days(7)
                UNION ALL
                SELECT msisdn, datetime::date AS day, datetime, location_id FROM events.mds WHERE $days(7)) e
            ORDER BY msisdn, day, datetime DESC) last
         JOIN infrastructure.cells ON cells.id = last.location_id GROUP BY 1, 2",
    ),
    Template::new(
        "C3",
        "median number of events of the subscribers of each cell",
        "SELECT location_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY n) AS value FROM (
            SELECT location_id, msisdn, count(*) AS n FROM events.calls WHERE $days(14) GROUP BY 1, 2) s
         GROUP BY location_id",
    ),
    Template::new(
        "C4",
        "handset of each subscriber, and how many have each",
        "SELECT tac, count(*) AS value FROM (
            SELECT DISTINCT ON (msisdn) msisdn, tac FROM (
                SELECT msisdn, tac, count(*) AS n FROM events.calls WHERE $days() GROUP BY 1, 2) used
            ORDER BY msisdn, n DESC, tac) handset GROUP BY tac",
    ),
    Template::new(
        "C5",
        "subscribers of the first week who used mobile data too",
        "SELECT c.msisdn AS subscriber FROM (SELECT DISTINCT msisdn FROM events.calls WHERE $days(7)) c
         WHERE EXISTS (SELECT 1 FROM events.mds m WHERE m.msisdn = c.msisdn AND $days())",
    ),
    Template::new(
        "C6",
        "distance between the extremes of each subscriber's day",
        "SELECT msisdn AS subscriber, datetime::date AS day, sqrt((max(lon) - min(lon))^2 + (max(lat) - min(lat))^2) AS value
         FROM events.calls JOIN infrastructure.cells ON cells.id = location_id WHERE $days(14) GROUP BY 1, 2",
    ),
    Template::new(
        "C7",
        "subscribers seen for the first time, by cell and day",
        "SELECT day, location_id, count(*) AS value FROM (
            SELECT DISTINCT ON (msisdn) msisdn, datetime::date AS day, location_id FROM events.calls WHERE $days()
            ORDER BY msisdn, datetime) first GROUP BY 1, 2",
    ),
    Template::new(
        "C8",
        "most used cell of one subscriber in fifty",
        "SELECT DISTINCT ON (subscriber) subscriber, location_id FROM (
            SELECT c.msisdn AS subscriber, location_id, count(*) AS n FROM events.calls c
            JOIN subset ON subset.subscriber = c.msisdn WHERE $days() GROUP BY 1, 2) seen
         ORDER BY subscriber, n DESC, location_id",
    ),
    Template::new(
        "C9",
        "subscribers in each site and hour of a day",
        "SELECT site_id, date_trunc('hour', datetime) AS hour, count(DISTINCT msisdn) AS value
         FROM events.calls JOIN infrastructure.cells ON cells.id = location_id WHERE $days(3) GROUP BY 1, 2",
    ),
];

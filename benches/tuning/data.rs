//! Call records to measure on: structured (homes, work places, few subscribers who call much), the same for the same
//! PostgreSQL version and sizes.

use tokio_postgres::{Client, Error};

/// How much of it.
#[derive(Clone, Copy, Debug, clap::Args, serde::Deserialize, serde::Serialize)]
pub struct Size {
    /// Days of events
    #[arg(long, default_value_t = 21)]
    pub days: u32,
    /// Calls a day; mobile data adds half as many
    #[arg(long, default_value_t = 40_000)]
    pub calls: u32,
    /// Subscribers
    #[arg(long, default_value_t = 60_000)]
    pub subscribers: u32,
}

const SCHEMA: &str = "
    CREATE SCHEMA events; CREATE SCHEMA infrastructure;
    CREATE TABLE events.calls (
        id text NOT NULL, outgoing boolean, datetime timestamptz NOT NULL, duration numeric, network text,
        msisdn text NOT NULL, msisdn_counterpart text, location_id text, imsi text, imei text, tac numeric(8, 0),
        operator_code numeric, country_code numeric) PARTITION BY RANGE (datetime);
    CREATE TABLE events.mds (
        id text NOT NULL, datetime timestamptz NOT NULL, volume numeric, msisdn text NOT NULL, location_id text,
        imsi text, imei text, tac numeric(8, 0)) PARTITION BY RANGE (datetime);
    CREATE TABLE infrastructure.cells AS
        SELECT md5('cell' || n) AS id, md5('site' || n / 5) AS site_id,
               28 + (n * 7919 % 1500) / 500.0::float8 AS lon, 26 + (n * 104729 % 1500) / 500.0::float8 AS lat
        FROM generate_series(0, 1499) n;
    CREATE UNIQUE INDEX ON infrastructure.cells (id);";

/// Everything in an empty database.
pub async fn load(client: &Client, size: Size) -> Result<(), Error> {
    client.batch_execute(SCHEMA).await?;
    let Size { days, calls, subscribers } = size;
    for day in 0..days {
        client.batch_execute(&calls_of_day(day, calls, subscribers)).await?;
        client.batch_execute(&mds_of_day(day, calls / 2, subscribers)).await?;
    }
    client
        .batch_execute(&format!(
            "CREATE TABLE subset AS SELECT md5(n::text) AS subscriber, n % 200 = 7 AS rare
                 FROM generate_series(0, {subscribers} - 1) n WHERE n % 50 = 7;
             CREATE INDEX ON subset (subscriber)"
        ))
        .await?;
    // All configurations share these statistics; the freeze keeps later reads from writing.
    client.batch_execute("VACUUM (FREEZE, ANALYZE)").await
}

/// Few subscribers call much: the square of a uniform number picks them. They are at home at night, mostly at work by
/// day, sometimes anywhere.
fn events(day: u32, count: u32, subscribers: u32, columns: &str) -> String {
    format!(
        "SELECT {columns} FROM (
            SELECT n, s, t, other,
                   CASE WHEN r < 0.1 THEN (r * 15000)::int
                        WHEN r < 0.6 AND extract(hour FROM t) BETWEEN 8 AND 18 THEN (s * 104729 + 13) % 1500
                        ELSE s * 7919 % 1500 END AS cell
            FROM (SELECT n, (random() ^ 2 * {subscribers})::bigint % {subscribers} AS s, random() AS r,
                         (random() ^ 2 * {subscribers})::bigint % {subscribers} AS other,
                         timestamptz '2016-01-01' + interval '{day} days' + random() * interval '86399 seconds' AS t
                  FROM generate_series(1, {count}) n OFFSET 0) raw OFFSET 0) e ORDER BY t"
    )
}

fn partition(table: &str, day: u32) -> String {
    let bound = |day: u32| format!("timestamptz '2016-01-01' + interval '{day} days'");
    format!(
        "CREATE INDEX ON events.{table}_{day} (msisdn); CREATE INDEX ON events.{table}_{day} (location_id);
         CREATE INDEX ON events.{table}_{day} (datetime);
         ALTER TABLE events.{table} ATTACH PARTITION events.{table}_{day} FOR VALUES FROM ({}) TO ({})",
        bound(day),
        bound(day + 1)
    )
}

fn calls_of_day(day: u32, count: u32, subscribers: u32) -> String {
    let columns = format!(
        "md5('{day}c' || n), random() < 0.5, t, (random() * 600)::int, 'net', md5(s::text), md5(other::text),
         md5('cell' || cell), NULL, NULL, 35000000 + s % 400, 1, 2"
    );
    format!(
        "SELECT setseed({day} / 1000.0);
         CREATE TABLE events.calls_{day} (LIKE events.calls INCLUDING ALL);
         INSERT INTO events.calls_{day} {};
         {}",
        events(day, count, subscribers, &columns),
        partition("calls", day)
    )
}

fn mds_of_day(day: u32, count: u32, subscribers: u32) -> String {
    let columns = format!(
        "md5('{day}m' || n), t, (random() * 1000000)::int, md5(s::text), md5('cell' || cell), NULL, NULL, 35000000 + s % 400"
    );
    format!(
        "SELECT setseed({day} / 1000.0 + 0.5);
         CREATE TABLE events.mds_{day} (LIKE events.mds INCLUDING ALL);
         INSERT INTO events.mds_{day} {};
         {}",
        events(day, count, subscribers, &columns),
        partition("mds", day)
    )
}

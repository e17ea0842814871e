//! One day in one transaction, as FlowETL would leave it.

use std::io::Cursor;
use std::ops::Range;

use futures_util::SinkExt;
use time::macros::format_description;
use tokio_postgres::{Client, Transaction};

use super::copy::{HEADER, Rows, TRAILER};
use super::traffic::Event;
use super::{Error, Progress, World, money};

/// People whose rows are made at once: some 500 kB.
const CHUNK: u32 = 512;
/// Days are made in parallel; what they all touch they touch one after the other, in the same order.
const ORDER: &str = "SELECT pg_advisory_xact_lock(x'666c6f776b697403'::bigint)";

/// Loads one day; returns how many events it has.
pub async fn load_day(
    client: &mut Client,
    world: &World,
    day: u32,
    marker: &str,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let date = world.date(day);
    let what = || Error::when(format!("load {date}"));
    let transaction = client.transaction().await.map_err(what())?;
    let mut events = 0;
    for event in Event::ALL {
        let name = partition(event, date);
        let create = format!(
            "CREATE TABLE events.{name} (LIKE events.{}); COMMENT ON TABLE events.{name} IS '{marker}'",
            event.name()
        );
        transaction.batch_execute(&create).await.map_err(what())?;
        // Frozen: the rows are in no one's way, and no later vacuum has to write them again.
        let copy = format!("COPY events.{name} ({}) FROM STDIN (FORMAT binary, FREEZE)", event.columns());
        let rows = |people, rows: &mut Rows| world.events(event, day, people, rows);
        let count = send(&transaction, &copy, world.subscribers(), rows).await.map_err(what())?;
        progress.rows(count);
        events += count;
        transaction.batch_execute(&indexes(event, date)).await.map_err(what())?;
    }
    send_money(&transaction, world, day).await.map_err(what())?;
    transaction.batch_execute(ORDER).await.map_err(what())?;
    for event in Event::ALL {
        transaction.batch_execute(&attach(event, date)).await.map_err(what())?;
    }
    transaction.commit().await.map_err(what())?;
    Ok(events)
}

/// The name of a day's partition, in schema `events`.
pub fn partition(event: Event, date: time::Date) -> String {
    let day = date.format(format_description!("[year][month][day]")).expect("a date has year, month and day");
    format!("{}_{day}", event.name())
}

/// The indexes that the loader makes, by FlowETL's names.
fn indexes(event: Event, date: time::Date) -> String {
    let name = partition(event, date);
    etl::INDEXES.map(|column| format!("CREATE INDEX {name}_{column}_idx ON events.{name} ({column});")).concat()
}

/// Makes a partition part of its parent and says so in all the places where FlowETL does.
fn attach(event: Event, date: time::Date) -> String {
    let (name, kind) = (partition(event, date), event.name());
    let next = date.next_day().expect("demo data is not about the end of time");
    let counterparts = event.has_counterparts();
    let more = match event {
        Event::Calls => ", ('count_added_rows_outgoing.calls', outgoing::text), ('max_duration.calls', longest::text)",
        Event::Sms => ", ('count_added_rows_outgoing.sms', outgoing::text)",
        Event::Mds | Event::Topups => "",
    };
    let longest = if event == Event::Calls { ", max(duration) AS longest" } else { "" };
    let outgoing = if counterparts { ", count(*) FILTER (WHERE outgoing) AS outgoing" } else { "" };
    format!(
        "ALTER TABLE events.{kind} ATTACH PARTITION events.{name}
             FOR VALUES FROM ('{date} 00:00:00+00') TO ('{next} 00:00:00+00');
         INSERT INTO etl.etl_records (cdr_type, cdr_date, state, \"timestamp\")
             VALUES ('{kind}', '{date}', 'ingested', now());
         INSERT INTO public.available_tables (table_name) VALUES ('{kind}') ON CONFLICT DO NOTHING;
         UPDATE public.available_tables SET has_locations = true, has_subscribers = true, has_counterparts = {counterparts}
             WHERE table_name = '{kind}'
             AND (has_locations, has_subscribers, has_counterparts) <> (true, true, {counterparts});
         INSERT INTO events.location_ids AS known (location_id, cdr_type, first_active_date, last_active_date)
             SELECT DISTINCT location_id, '{kind}', date '{date}', date '{date}' FROM events.{name}
             WHERE location_id IS NOT NULL
             ON CONFLICT (location_id, cdr_type) DO UPDATE SET
                 first_active_date = least(known.first_active_date, excluded.first_active_date),
                 last_active_date = greatest(known.last_active_date, excluded.last_active_date);
         INSERT INTO etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, outcome, \"timestamp\")
             SELECT '{date}', '{kind}', name, outcome, now()
             FROM (SELECT count(*) AS added, count(DISTINCT msisdn) AS msisdns, count(DISTINCT location_id) AS locations,
                       count(*) - count(location_id) AS nowhere, min(datetime) AS earliest, max(datetime) AS latest
                       {outgoing}{longest}
                   FROM events.{name}) AS counted,
             LATERAL (VALUES ('count_added_rows', added::text), ('count_msisdns', msisdns::text),
                 ('count_location_ids', locations::text), ('count_null_location_ids', nowhere::text),
                 ('earliest_timestamp', earliest::text), ('latest_timestamp', latest::text){more}) AS check_ (name, outcome);"
    )
}

/// Streams the rows of all people, a chunk at a time, so that memory does not grow with their number.
pub async fn send(
    transaction: &Transaction<'_>,
    copy: &str,
    people: u32,
    mut make: impl FnMut(Range<u32>, &mut Rows),
) -> Result<u64, tokio_postgres::Error> {
    let sink = transaction.copy_in::<_, Cursor<Vec<u8>>>(copy).await?;
    let mut sink = std::pin::pin!(sink);
    sink.feed(Cursor::new(HEADER.to_vec())).await?;
    let mut size = 0;
    for first in (0..people).step_by(CHUNK as usize) {
        let mut rows = Rows(Vec::with_capacity(size + size / 8));
        make(first..people.min(first + CHUNK), &mut rows);
        size = rows.0.len();
        sink.feed(Cursor::new(rows.0)).await?;
    }
    sink.feed(Cursor::new(TRAILER.to_vec())).await?;
    sink.as_mut().finish().await
}

async fn send_money(transaction: &Transaction<'_>, world: &World, day: u32) -> Result<(), tokio_postgres::Error> {
    let copy = |table: &str, columns: &str| format!("COPY dfs.{table} ({columns}) FROM STDIN (FORMAT binary)");
    let people = world.subscribers();
    // One COPY at a time: the rows that are not wanted yet are made twice.
    let first = copy("transactions", money::TRANSACTIONS);
    send(transaction, &first, people, |range, rows| world.transactions(day, range, rows, &mut Rows::default())).await?;
    let second = copy("transactions_metadata", money::METADATA);
    send(transaction, &second, people, |range, rows| world.transactions(day, range, &mut Rows::default(), rows))
        .await?;
    Ok(())
}

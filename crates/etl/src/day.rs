//! A day in FlowDB: filled beside the others, then made one of them, as a DAG of FlowETL's would leave it.
//!
//! The rows are kept, then the indexes made, then all of it attached: what takes long holds no lock that anybody else could want, and the
//! attachment is all or nothing. What a killed loader leaves before it is a table of its own in schema `etl`, which the next one makes anew.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::try_join_all;
use time::Date;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use crate::error::Error;
use crate::kind::{INDEXES, Kind};
use crate::sort::Sorted;

/// What a stream of rows begins and ends with: signature, no flags, no extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub(crate) const TRAILER: &[u8] = &(-1i16).to_be_bytes();
/// Before what is of no use to anybody until the day is attached: it need not be on the disk yet. The attachment's own commit waits until
/// all that was written before is.
const LATER: &str = "SET LOCAL synchronous_commit = off;";
/// How much is sent at once.
const PIECE: usize = 256 * 1024;

/// Longest wait for a lock on a table that is queried: whoever comes after us waits as long.
const LOCK: &str = "400ms";
/// How long it is tried again, and the pauses in between.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Key of the lock of whoever attaches: one at a time, because the parent's lock lets in one, and because all of them touch the
/// same rows of `events.location_ids`.
const ATTACH: i64 = 0x666c_6f77_6b69_7411;
/// First key of the locks of days.
const OF_DAY: i32 = 0x666c_6b12;

/// A day of a kind: its names.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The kind.
    pub kind: Kind,
    /// The day, in UTC.
    pub date: Date,
}

/// What is there of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether it has a table in schema `events`.
    pub table: bool,
    /// What was written beside it when it was loaded.
    pub about: Option<String>,
    /// The latest state on record.
    pub state: Option<String>,
}

impl Place {
    /// The table while it is filled. FlowETL's own (`extract_…`) may be there at the same time.
    fn work(&self) -> String {
        format!("load_{}", self.kind.partition(self.date))
    }

    fn bounds(&self) -> (String, String) {
        let next = self.date.next_day().expect("dates end long before the calendar does");
        (format!("{} 00:00:00+00", self.date), format!("{next} 00:00:00+00"))
    }

    /// Waits for another loader of the same day, or for PostgreSQL to notice that it was killed.
    pub async fn lock(&self, client: &Client) -> Result<(), Error> {
        let key = self.date.to_julian_day() * 4 + self.kind as i32;
        let locked = client.execute("SELECT pg_advisory_lock($1, $2)", &[&OF_DAY, &key]).await;
        locked.map(drop).map_err(Error::when(format!("take the lock of {} of {}", self.kind, self.date)))
    }

    /// Lets the next one in.
    pub async fn unlock(&self, client: &Client) -> Result<(), Error> {
        let key = self.date.to_julian_day() * 4 + self.kind as i32;
        let unlocked = client.execute("SELECT pg_advisory_unlock($1, $2)", &[&OF_DAY, &key]).await;
        unlocked.map(drop).map_err(Error::when(format!("let go of the lock of {} of {}", self.kind, self.date)))
    }

    /// What is there.
    pub async fn find(&self, client: &Client) -> Result<Found, Error> {
        let sql = "SELECT table_ IS NOT NULL, obj_description(table_, 'pg_class'),
                       (SELECT state::text FROM etl.ingested_state WHERE cdr_type = $2 AND cdr_date = $3)
                   FROM to_regclass('events.' || $1) AS table_";
        let name = self.kind.partition(self.date);
        let row = client.query_one(sql, &[&name, &self.kind.name(), &self.date]).await;
        let row = row.map_err(Error::when(format!("look for {} of {}", self.kind, self.date)))?;
        Ok(Found { table: row.get(0), about: row.get(1), state: row.get(2) })
    }

    /// Fills the day's table with rows. Statistics come with those of its parent, which are made of all days anew.
    ///
    /// The constraint spares the attachment a look at every row, which it would take under a lock.
    pub async fn fill(&self, client: &mut Client, rows: &mut Sorted, count: u64, about: &str) -> Result<(), Error> {
        let (work, (from, to)) = (self.work(), self.bounds());
        let what = |step: &str| Error::when(format!("{step} {} of {}", self.kind, self.date));
        let transaction = client.transaction().await.map_err(what("begin to load"))?;
        let columns: Vec<String> = self
            .kind
            .columns()
            .iter()
            .map(|column| {
                format!("{} {}{}", column.name, column.sql(), if column.is_needed() { " NOT NULL" } else { "" })
            })
            .collect();
        let create = format!(
            "{LATER}
             DROP TABLE IF EXISTS etl.{work};
             CREATE TABLE etl.{work} ({}, CONSTRAINT its_day CHECK (datetime >= '{from}' AND datetime < '{to}'));
             COMMENT ON TABLE etl.{work} IS '{}'",
            columns.join(", "),
            about.replace('\'', "''")
        );
        transaction.batch_execute(&create).await.map_err(what("make a table for"))?;
        let there = self.send(&transaction, rows).await?;
        if there != count {
            return Err(Error::Lost { table: format!("etl.{work}"), sent: count, there });
        }
        transaction.commit().await.map_err(what("keep"))
    }

    /// Makes the indexes of a day's table, as many at once as there are connections: two that are made side by side take less time than
    /// one after the other with a helper each.
    pub async fn index(&self, clients: &[&Client]) -> Result<(), Error> {
        let work = self.work();
        let failed = || Error::when(format!("make the indexes of {} of {}", self.kind, self.date));
        // One thread: nobody else takes the next one in between.
        let columns = Mutex::new(INDEXES.iter());
        let next = || columns.lock().unwrap_or_else(PoisonError::into_inner).next();
        let builders = clients.iter().map(async |client| {
            while let Some(column) = next() {
                let index = format!("{LATER} CREATE INDEX {work}_{column}_idx ON etl.{work} ({column})");
                client.batch_execute(&index).await.map_err(failed())?;
            }
            Ok::<_, Error>(())
        });
        try_join_all(builders).await?;
        let cluster = format!("{LATER} ALTER TABLE etl.{work} CLUSTER ON {work}_msisdn_idx");
        clients[0].batch_execute(&cluster).await.map_err(failed())
    }

    /// Removes a day's table that comes to nothing: where the disk is full, it would stay full. What was wrong is said already.
    pub async fn discard(&self, client: &Client) {
        let _ = client.batch_execute(&format!("DROP TABLE IF EXISTS etl.{}", self.work())).await;
    }

    /// Sends the rows; says how many there are then.
    async fn send(&self, transaction: &Transaction<'_>, rows: &mut Sorted) -> Result<u64, Error> {
        let failed = || Error::when(format!("send {} of {} to FlowDB", self.kind, self.date));
        // Frozen: the rows are in no one's way, and no later vacuum has to write them again.
        let copy = format!("COPY etl.{} FROM STDIN (FORMAT binary, FREEZE)", self.work());
        let sink = transaction.copy_in::<_, Bytes>(&copy).await.map_err(failed())?;
        let mut sink = std::pin::pin!(sink);
        let mut piece = HEADER.to_vec();
        loop {
            rows.fill(&mut piece, PIECE).map_err(Error::file("read rows that were put aside"))?;
            if piece.is_empty() {
                break;
            }
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE + PIECE / 16));
            sink.feed(Bytes::from(full)).await.map_err(failed())?;
        }
        sink.feed(Bytes::from_static(TRAILER)).await.map_err(failed())?;
        sink.as_mut().finish().await.map_err(failed())
    }

    /// Makes the day part of FlowDB, in place of what was there, and says so in all the places where FlowETL does. `waiting` is
    /// told when queries are in the way.
    pub async fn attach(&self, client: &mut Client, locations: &[String], waiting: impl Fn()) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        loop {
            let error = match self.try_attach(client, locations).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let is_locked = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
            if !is_locked.iter().any(|state| error.code() == Some(state)) {
                return Err(Error::when(format!("attach {} of {}", self.kind, self.date))(error));
            }
            if Instant::now() > deadline {
                return Err(Error::Busy(format!("events.{}", self.kind.partition(self.date))));
            }
            waiting();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn try_attach(&self, client: &mut Client, locations: &[String]) -> Result<(), tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&ATTACH]).await?;
        let Place { kind, date } = self;
        let (columns, values) = match kind.has_counterparts() {
            true => (", has_counterparts", ", true"),
            false => ("", ""),
        };
        let counterparts = if kind.has_counterparts() { ", has_counterparts = excluded.has_counterparts" } else { "" };
        let records = format!(
            "SET LOCAL lock_timeout = '{LOCK}';
             INSERT INTO etl.etl_records (cdr_type, cdr_date, state, \"timestamp\") VALUES ('{kind}', '{date}', 'ingested', now());
             INSERT INTO public.available_tables (table_name, has_locations, has_subscribers{columns})
                 VALUES ('{kind}', true, true{values})
                 ON CONFLICT (table_name) DO UPDATE SET has_locations = excluded.has_locations,
                     has_subscribers = excluded.has_subscribers{counterparts}"
        );
        transaction.batch_execute(&records).await?;
        let seen =
            "INSERT INTO events.location_ids AS known (location_id, cdr_type, first_active_date, last_active_date)
                    SELECT location, $2::text, $3::date, $3::date FROM unnest($1::text[]) AS location
                    ON CONFLICT (location_id, cdr_type) DO UPDATE SET
                        first_active_date = least(known.first_active_date, excluded.first_active_date),
                        last_active_date = greatest(known.last_active_date, excluded.last_active_date)";
        transaction.execute(seen, &[&locations, &kind.name(), date]).await?;
        // From the first of these on others may have to wait for us: nothing here looks at rows.
        transaction.batch_execute(&self.exchange()).await?;
        transaction.commit().await
    }

    fn exchange(&self) -> String {
        let (work, kind, name) = (self.work(), self.kind, self.kind.partition(self.date));
        let (from, to) = self.bounds();
        let indexes = INDEXES.iter();
        let renamed: String = indexes
            .map(|column| format!("ALTER INDEX events.{work}_{column}_idx RENAME TO {name}_{column}_idx;"))
            .collect();
        format!(
            "DROP TABLE IF EXISTS events.{name};
             ALTER TABLE etl.{work} SET SCHEMA events;
             ALTER TABLE events.{work} RENAME TO {name};
             {renamed}
             ALTER TABLE events.{kind} ATTACH PARTITION events.{name} FOR VALUES FROM ('{from}') TO ('{to}');
             ALTER TABLE events.{name} DROP CONSTRAINT its_day;"
        )
    }

    /// Runs the checks that FlowETL runs, unless they were made since the day was last loaded.
    pub async fn check(&self, client: &mut Client) -> Result<(), Error> {
        let what = || Error::when(format!("check {} of {}", self.kind, self.date));
        let made = "SELECT array_agg(DISTINCT type_of_query_or_check) FROM etl.post_etl_queries
                    WHERE cdr_type = $1 AND cdr_date = $2 AND \"timestamp\" >=
                        (SELECT max(\"timestamp\") FROM etl.etl_records WHERE cdr_type = $1 AND cdr_date = $2 AND state = 'ingested')";
        let row = client.query_one(made, &[&self.kind.name(), &self.date]).await.map_err(what())?;
        let made: Vec<String> = row.get::<_, Option<Vec<String>>>(0).unwrap_or_default();
        if crate::checks::names(self.kind).iter().all(|name| made.contains(name)) {
            return Ok(());
        }
        let transaction = client.transaction().await.map_err(what())?;
        transaction.batch_execute(&crate::checks::sql(self.kind, self.date)).await.map_err(what())?;
        transaction.commit().await.map_err(what())
    }

    /// Writes down that what was delivered is not fit to be loaded; not of a day that is there, which would be taken away by it.
    pub async fn quarantine(&self, client: &Client, found: &Found) -> Result<(), Error> {
        if found.state.as_deref() == Some("ingested") {
            return Ok(());
        }
        let sql = "INSERT INTO etl.etl_records (cdr_type, cdr_date, state, \"timestamp\") VALUES ($1, $2, 'quarantine', now())";
        let written = client.execute(sql, &[&self.kind.name(), &self.date]).await;
        written.map(drop).map_err(Error::when(format!("put {} of {} in quarantine", self.kind, self.date)))
    }
}

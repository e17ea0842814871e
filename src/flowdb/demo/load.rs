//! Puts a world into FlowDB.
//!
//! What does not change (areas, sites, cells, handsets) is one transaction, each day another: after a kill at any moment the
//! database holds whole days only, and the next run goes on where the last one ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use etl::{Connect, runtime, session, side_by_side};
use time::Date;
use tokio_postgres::Client;

use super::day::load_day;
use super::traffic::Event;
use super::{Error, Options, World, base};

/// Who is told how far it is. Called from several threads.
pub trait Progress: Sync {
    /// So many days are to be loaded, of `all` that were asked for; the others are there.
    fn begin(&self, missing: usize, all: u32);
    /// Events were sent to the database.
    fn rows(&self, count: u64);
    /// A day is complete.
    fn day(&self, date: Date);
    /// All days are there; statistics are being gathered.
    fn analyze(&self);
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Days that were loaded.
    pub days: u32,
    /// Days that were there already.
    pub kept: u32,
    /// Rows that were loaded into the event tables.
    pub events: u64,
}

/// Keys of advisory locks: held by the one run that may load, and by each of its connections.
const ONE_RUN: i64 = 0x666c_6f77_6b69_7401;
const WORKERS: i64 = 0x666c_6f77_6b69_7402;
/// How long PostgreSQL may take to notice that the run before has gone.
const LEAVES: Duration = Duration::from_secs(3);
/// A statement ends soon after its client was killed; nobody waits for ever; each core is busy with a day of its own, so
/// that indexes need no helpers.
const SESSION: &str = "SET timezone = 'UTC'; SET client_connection_check_interval = '1s'; SET lock_timeout = '5min'; \
                       SET max_parallel_maintenance_workers = 0; SET application_name = 'flowkit-demo'";

/// Loads what is missing of the options' days.
///
/// Blocks; uses as many threads and connections as there are cores, and one more connection. Not to be called inside of an
/// async runtime.
pub fn load(connect: &impl Connect, options: &Options, progress: &dyn Progress) -> Result<Summary, Error> {
    let world = World::new(options);
    let runtime = runtime()?;
    let (client, missing) = runtime.block_on(async {
        let mut client = session(connect, SESSION).await?;
        only_one(&client).await?;
        let missing = base::missing_days(&client, &world, options).await?;
        base::load(&mut client, &world, &options.marker()).await?;
        Ok::<_, Error>((client, missing))
    })?;
    progress.begin(missing.len(), options.days);
    let events = load_days(connect, options, &world, &missing, progress)?;
    if !missing.is_empty() || runtime.block_on(never_analyzed(&client))? {
        progress.analyze();
        in_parallel(connect, &Event::ALL, async |client, event| analyze(client, event.name()).await)?;
    }
    let loaded = missing.len() as u32;
    Ok(Summary { days: loaded, kept: options.days - loaded, events })
}

fn load_days(
    connect: &impl Connect,
    options: &Options,
    world: &World,
    missing: &[u32],
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let marker = options.marker();
    let events = AtomicU64::new(0);
    in_parallel(connect, missing, async |client, &day| {
        events.fetch_add(load_day(client, world, day, &marker, progress).await?, Ordering::Relaxed);
        progress.day(world.date(day));
        Ok(())
    })?;
    Ok(events.into_inner())
}

/// Does `work` for each item, on as many threads as there are cores, each with a connection of its own.
fn in_parallel<T: Sync>(
    connect: &impl Connect,
    items: &[T],
    work: impl AsyncFn(&mut Client, &T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let threads = thread::available_parallelism().map_or(2, |cores| cores.get()).clamp(1, 16);
    let open = async || {
        let client = session(connect, SESSION).await?;
        client.execute("SELECT pg_advisory_lock_shared($1)", &[&WORKERS]).await.map_err(Error::when("take a lock"))?;
        Ok(client)
    };
    side_by_side(threads, items, open, work).map(drop)
}

/// Refuses a second run, and waits until PostgreSQL has noticed the end of one that was killed, or has just ended.
async fn only_one(client: &Client) -> Result<(), Error> {
    let what = || Error::when("take the lock of `flowkit db demo`");
    let begun = Instant::now();
    loop {
        let got = client.query_one("SELECT pg_try_advisory_lock($1)", &[&ONE_RUN]).await.map_err(what())?;
        match got.get(0) {
            true => break,
            false if begun.elapsed() > LEAVES => return Err(Error::Busy),
            false => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    let leftovers = "SELECT pg_advisory_lock($1), pg_advisory_unlock($1)";
    client.execute(leftovers, &[&WORKERS]).await.map_err(what())?;
    Ok(())
}

/// Whether an earlier run was ended between its last day and its statistics.
async fn never_analyzed(client: &Client) -> Result<bool, Error> {
    let sql = "SELECT count(*) FROM pg_class WHERE oid IN \
               ('events.calls'::regclass, 'events.sms'::regclass, 'events.mds'::regclass, 'events.topups'::regclass) \
               AND reltuples < 0";
    let row = client.query_one(sql, &[]).await.map_err(Error::when("look for statistics"))?;
    Ok(row.get::<_, i64>(0) > 0)
}

/// Gathers statistics of a parent and its partitions: autovacuum never looks at parents.
async fn analyze(client: &Client, name: &str) -> Result<(), Error> {
    client.batch_execute(&format!("ANALYZE events.{name}")).await.map_err(Error::when(format!("analyze events.{name}")))
}

//! Several days side by side.

use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use time::Date;
use tokio_postgres::Client;

use crate::day::{Found, Place};
use crate::error::Error;
use crate::kind::Kind;
use crate::plan::{Day, fingerprint};
use crate::read::{Read, Unfit, Wanted, read};
use crate::rejects::{Limit, rejects_of};
use crate::row::Format;
use crate::session::{self, Connect, runtime, session};

/// A statement ends soon after its client was killed; nobody waits for ever for another loader.
const SESSION: &str = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_connection_check_interval = '1s'; \
                       SET lock_timeout = '10min'; SET statement_timeout = 0; SET application_name = 'flowkit-etl'";
/// Index builds at once that FlowDB's memory is planned for. While a day is sorted here, it builds none there: sorting takes the
/// same share.
const BUILDS: usize = 2;
/// Least and most that a day may take for sorting, in bytes.
const MEMORY: (u64, u64) = (16 << 20, 2 << 30);
/// What the text beside a table begins with; the number is that of the loader's rules.
const MARK: &str = "loaded by flowkit etl 1";

/// What is to be done.
pub struct Options {
    /// The kind of events.
    pub kind: Kind,
    /// How the files are written.
    pub format: Format,
    /// How much of a day may be refused.
    pub limit: Limit,
    /// Whether a day that is there is loaded again, if the files are other ones.
    pub replace: bool,
    /// Days at once, at most.
    pub jobs: usize,
    /// CPUs that all of it may use.
    pub cpus: usize,
    /// A directory for what does not fit into memory.
    pub spool: PathBuf,
    /// Bytes of that disk that are left free; 0 leaves none.
    pub keep: u64,
    /// A directory for what is refused, a file a day.
    pub rejects: PathBuf,
}

/// What became of a day.
#[derive(Debug)]
pub enum Outcome {
    /// It is there now.
    Loaded {
        /// Rows.
        rows: u64,
        /// Lines that were refused.
        refused: u64,
        /// Where those are written down.
        rejects: Option<PathBuf>,
        /// Whether there was another day in its place.
        replaced: bool,
        /// Columns without a value, because the file does not have them.
        absent: Vec<&'static str>,
    },
    /// It was there, out of the same files.
    Same,
    /// It was there, out of other files or by FlowETL, and is kept.
    Kept,
    /// What was delivered is not fit to be loaded.
    Quarantined(Unfit),
}

/// Who is told how far it is. Called from several threads.
pub trait Progress: Send + Sync {
    /// So many bytes of a file were read.
    fn read(&self, bytes: u64);
    /// Queries are in the way of a day.
    fn waiting(&self, date: Date);
    /// A day is done: if it was loaded, it can be queried.
    fn day(&self, date: Date, outcome: &Outcome);
    /// All days are done; statistics are being gathered.
    fn analyze(&self);
    /// Days are being checked.
    fn check(&self);
}

/// A thread's connections.
struct Sessions {
    /// The one that does everything.
    first: Client,
    /// Those that build indexes beside it.
    others: Vec<Client>,
}

impl Sessions {
    /// All of them.
    fn all(&self) -> Vec<&Client> {
        iter::once(&self.first).chain(&self.others).collect()
    }
}

/// Loads days; says what became of each. Blocks; not to be called inside of an async runtime.
///
/// # Errors
/// The first thing that fails and is not a day's own fault. Days that were done are done, and known again the next time.
pub fn load(
    connect: &impl Connect,
    days: &[Day],
    options: &Options,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<(Date, Outcome)>, Error> {
    let one = async |sessions: &mut Sessions, memory: usize, day: &Day| {
        let outcome = one(sessions, day, options, memory, progress).await?;
        progress.day(day.date, &outcome);
        Ok((day.date, outcome))
    };
    let mut done = side_by_side(connect, options, days, one)?;
    done.sort_by_key(|(date, _)| *date);
    // Also of a day whose last loader was killed before it came to this.
    let there = done.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Loaded { .. } | Outcome::Same));
    let there: Vec<Place> = there.map(|(date, _)| Place { kind: options.kind, date: *date }).collect();
    runtime()?.block_on(analyze(connect, options.kind, &there, progress.as_ref()))?;
    if !there.is_empty() {
        progress.check();
    }
    side_by_side(connect, options, &there, async |Sessions { first: client, .. }: &mut Sessions, _, place: &Place| {
        place.lock(client).await?;
        place.check(client).await?;
        place.unlock(client).await
    })?;
    Ok(done)
}

/// Does `work` for each item, on as many threads as are wanted, each with connections of its own and a share of memory.
fn side_by_side<T: Sync, R: Send>(
    connect: &impl Connect,
    options: &Options,
    items: &[T],
    work: impl AsyncFn(&mut Sessions, usize, &T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let jobs = options.jobs.min(options.cpus).min(items.len());
    let open = async || sessions(connect, options.cpus, jobs).await;
    session::side_by_side(jobs, items, open, async |(sessions, memory): &mut (Sessions, usize), item: &T| {
        work(sessions, *memory, item).await
    })
}

async fn one(
    sessions: &mut Sessions,
    day: &Day,
    options: &Options,
    memory: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Outcome, Error> {
    let place = Place { kind: options.kind, date: day.date };
    place.lock(&sessions.first).await?;
    let outcome = locked(sessions, day, place, options, memory, progress).await?;
    place.unlock(&sessions.first).await?;
    Ok(outcome)
}

async fn locked(
    sessions: &mut Sessions,
    day: &Day,
    place: Place,
    options: &Options,
    memory: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Outcome, Error> {
    let found = place.find(&sessions.first).await?;
    let print = fingerprint(day, &options.decisive()).map_err(Error::file("look at the files of a day"))?;
    let about = format!("{MARK} ({})", print.as_deref().unwrap_or("standard input"));
    let is_same = print.is_some() && found.about.as_deref().is_some_and(|there| there.starts_with(&about));
    if found.table && (is_same || !options.replace) {
        // What a killed replacement has left: nobody else is at work on the day.
        place.discard(&sessions.first).await;
        return Ok(if is_same { Outcome::Same } else { Outcome::Kept });
    }
    let told = Arc::clone(progress);
    let wanted = Wanted {
        kind: options.kind,
        format: &options.format,
        limit: options.limit,
        memory,
        spool: options.spool.clone(),
        keep: options.keep,
        rejects: rejects_of(&options.rejects, options.kind, day.date),
        read: Arc::new(move |bytes| told.read(bytes)),
    };
    match read(day, &wanted) {
        Ok(rows) => put(sessions, place, rows, &found, &about, progress).await,
        Err(error @ Unfit::Disk(_)) => Err(Error::Disk(error)),
        Err(unfit) => {
            place.quarantine(&sessions.first, &found).await?;
            Ok(Outcome::Quarantined(unfit))
        }
    }
}

async fn put(
    sessions: &mut Sessions,
    place: Place,
    read: Read,
    found: &Found,
    about: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Outcome, Error> {
    let Read { mut rows, count, refused, rejects, locations, absent } = read;
    let about = format!("{about}: {count} rows, {refused} lines refused");
    place.fill(&mut sessions.first, &mut rows, count, &about).await?;
    drop(rows);
    let made = async {
        place.index(&sessions.all()).await?;
        place.attach(&mut sessions.first, &locations, || progress.waiting(place.date)).await
    };
    if let Err(error) = made.await {
        place.discard(&sessions.first).await;
        return Err(error);
    }
    Ok(Outcome::Loaded { rows: count, refused, rejects, replaced: found.table, absent })
}

impl Options {
    /// Whatever else decides what becomes of a file.
    fn decisive(&self) -> String {
        let Format { shape, null, encoding, moments, columns, names, ignored } = &self.format;
        let mut names: Vec<_> = names.iter().collect();
        names.sort();
        format!("{shape:?} {null:?} {:?} {moments:?} {columns:?} {names:?} {ignored:?}", encoding.map(|e| e.name()))
    }
}

/// A thread's connections, with its share of what FlowDB's plan has for index builds, here and there, and of the CPUs; and how much of that
/// sorting may take here, in bytes. Checks, which come when nothing is built or sorted any more, may take the same.
async fn sessions(connect: &impl Connect, cpus: usize, jobs: usize) -> Result<(Sessions, usize), Error> {
    let failed = || Error::when("set up the session");
    let first = session(connect, SESSION).await?;
    let sql = "SELECT pg_size_bytes(current_setting('maintenance_work_mem'))";
    let planned: i64 = first.query_one(sql, &[]).await.map_err(failed())?.get(0);
    let builders = (cpus / jobs).clamp(1, BUILDS);
    let share = |at_once: usize| {
        (planned.unsigned_abs() * BUILDS as u64 / at_once.max(BUILDS) as u64).clamp(MEMORY.0, MEMORY.1)
    };
    let helpers = (cpus / jobs / builders).saturating_sub(1);
    let sql = format!(
        "SET maintenance_work_mem = '{}kB'; SET work_mem = '{}kB'; SET hash_mem_multiplier = 1;
         SET max_parallel_maintenance_workers = {helpers}; SET max_parallel_workers_per_gather = {}",
        share(jobs * builders) / 1024,
        share(jobs) / 1024,
        (cpus / jobs).saturating_sub(1)
    );
    let mut others = Vec::new();
    for _ in 1..builders {
        others.push(session(connect, SESSION).await?);
    }
    let sessions = Sessions { first, others };
    for client in sessions.all() {
        client.batch_execute(&sql).await.map_err(failed())?;
    }
    Ok((sessions, usize::try_from(share(jobs)).unwrap_or(usize::MAX)))
}

/// Gathers statistics of the kind, its days included, if one of these has none. FlowETL does it after its newest day: autovacuum
/// never looks at parents.
async fn analyze(connect: &impl Connect, kind: Kind, there: &[Place], progress: &dyn Progress) -> Result<(), Error> {
    let failed = || Error::when(format!("analyze events.{kind}"));
    let client = session(connect, SESSION).await?;
    let names: Vec<String> = there.iter().map(|place| format!("events.{}", kind.partition(place.date))).collect();
    let sql = "SELECT EXISTS (SELECT FROM unnest($1::text[]) AS name
                   WHERE NOT EXISTS (SELECT FROM pg_statistic WHERE starelid = to_regclass(name)))";
    if client.query_one(sql, &[&names]).await.map_err(failed())?.get(0) {
        progress.analyze();
        client.batch_execute(&format!("ANALYZE events.{kind}")).await.map_err(failed())?;
    }
    Ok(())
}

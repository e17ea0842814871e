//! Room kept free on a cluster's disks, at the cost of whoever fills them.
//!
//! A statement that finds no room for its rows fails, and no harm is done. A server that finds none for its log ends (`PANIC`), and
//! can't recover before somebody has made room; nor can anybody log in to make it. So while there is still some, what writes is ended:
//! its transaction is undone, and that gives its room back. Until there is room again, new transactions only read, unless they say
//! that they write; where it becomes less all the same, nobody but the superuser is let in.

use std::collections::HashMap;
use std::convert::Infallible;
use std::mem::take;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flowkit_core::{room, size};
use say::Shown;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::cluster::Out;
use super::connect::MAINTENANCE;
use super::{Cluster, Error, MONITOR};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Time that a statement has to end after it was cancelled. One that waits for its client's next bytes never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long it is remembered who was cancelled.
const MEMORY: Duration = Duration::from_secs(60);

/// Shortest and longest time between two lines about the same lack.
const SPEAK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What those sessions of the superuser's call themselves (`application_name`) that a start can't do without. They take little, and
/// without them nobody could make room.
pub const STEP: &str = "flowkit-step";

/// Ends who takes room: statements of transactions that have written, and whoever has put something aside in files, itself or by its
/// helpers (`pgsql_tmp`, then the number of a process: `pgsql_tmp4711.0`). Not what makes room, where all of it can be read; nor a
/// [step](STEP) of a start (`$4`).
///
/// The whole session is ended where there is no statement (a transaction that waits for its client, rows that were kept for later), where
/// its statement was cancelled before (`$1`), and, if nobody but the superuser is let in (`$2`), of everybody else but the monitor (`$3`).
/// Whom it means is settled before anybody is ended: PostgreSQL asks conditions in whatever order is cheapest.
const END: &str = r"
    WITH files AS (
        SELECT substring(name FROM '^pgsql_tmp(\d+)')::int AS pid FROM pg_ls_dir('base/pgsql_tmp', true, false) AS name),
    holders AS (SELECT coalesce(leader_pid, pid) AS pid FROM pg_stat_activity WHERE pid IN (SELECT pid FROM files)),
    sessions AS (
        SELECT pid, state, backend_xid, coalesce(usename::text, 'somebody who was removed') AS who,
            $2 AND NOT coalesce(rolsuper, false) AND usename::text IS DISTINCT FROM $3 AS is_out,
            CASE WHEN rolsuper AND application_name = $4 THEN false
                WHEN pid IN (SELECT pid FROM holders) THEN true
                WHEN backend_xid IS NULL THEN false
                WHEN state LIKE 'idle in transaction%' THEN state_change < now() - interval '10 s'
                ELSE NOT (octet_length(query) < 1000 AND query ~*
                    '^\s*(begin\M[^;]*;\s*)?(drop|truncate)\M[^;]*(;\s*(drop|truncate|commit)\M[^;]*)*;?\s*$') END AS takes_room
        FROM pg_stat_activity LEFT JOIN pg_roles ON pg_roles.oid = usesysid
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
    meant AS MATERIALIZED (
        SELECT pid, who, is_out OR state IS DISTINCT FROM 'active' OR pid = ANY ($1) AS for_good FROM sessions
        WHERE is_out OR takes_room)
    SELECT pid, who, for_good FROM meant
    WHERE CASE WHEN for_good THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END";

impl Cluster {
    /// Sees to it that so many bytes, though a tenth of the disk at most, stay free wherever the data and the log are; where nobody says
    /// how many, what [`room::kept`] says. What is noteworthy is told to `say`.
    ///
    /// # Errors
    /// The data directory can't be looked at. At the beginning: the server can't be asked.
    pub async fn keep_room(&self, kept: Option<u64>, say: impl FnMut(String)) -> Result<Infallible, Error> {
        let data = self.data();
        let places = [data.join("pg_wal"), data];
        let mut guard = Guard {
            cluster: self,
            places,
            kept,
            say,
            client: None,
            out: Out::Nobody,
            met: HashMap::new(),
            checkpoint: None,
            news: Vec::new(),
            said: None,
        };
        // Of a guard that was killed.
        guard.keep_out(Out::Nobody).await?;
        loop {
            guard.look().await?;
            sleep(LOOK).await;
        }
    }
}

struct Guard<'a, S> {
    cluster: &'a Cluster,
    /// Whose file systems are looked at.
    places: [PathBuf; 2],
    kept: Option<u64>,
    say: S,
    /// Kept from before the server was full of others' sessions.
    client: Option<Client>,
    out: Out,
    /// Who was ended, by the number of their process: since when, and whether with their session.
    met: HashMap<i32, (Instant, bool)>,
    /// The last time that the server was to shorten its log.
    checkpoint: Option<(Instant, JoinHandle<bool>)>,
    /// What was not said yet.
    news: Vec<String>,
    /// When there was something to say, for as long as there is too little room.
    said: Option<Instant>,
}

impl<S: FnMut(String)> Guard<'_, S> {
    async fn look(&mut self) -> Result<(), Error> {
        let Some(lack) = self.lack()? else {
            if self.out == Out::Nobody {
                return Ok(());
            }
            match self.keep_out(Out::Nobody).await {
                Ok(()) => {
                    (self.said, self.news) = (None, Vec::new());
                    (self.say)("there is room again".to_owned());
                }
                Err(error) => self.speak(&format!(
                    "there is room again, and it can't be said to the server: {}",
                    say::in_full(&error)
                )),
            }
            return Ok(());
        };
        let wanted = if lack.free < lack.kept / 2 { Out::Others } else { Out::Writers };
        // One that is not kept out yet is ended nevertheless.
        let mut outcomes = vec![if wanted > self.out { self.keep_out(wanted).await } else { Ok(()) }];
        outcomes.push(self.end().await);
        for error in outcomes.into_iter().filter_map(Result::err) {
            self.client = None;
            self.news.push(say::in_full(&error));
        }
        let until = match self.out {
            Out::Others => "only the superuser is let in until there is more",
            Out::Writers | Out::Nobody => "nothing new is written until there is more",
        };
        self.speak(&format!("{lack}: {until}"));
        Ok(())
    }

    /// Ends who takes room. Where nobody does, the server gives back what it can.
    async fn end(&mut self) -> Result<(), Error> {
        self.met.retain(|_, (since, _)| since.elapsed() < MEMORY);
        let again = self.met.iter().filter(|(_, (since, _))| since.elapsed() > PATIENCE);
        let again: Vec<i32> = again.map(|(pid, _)| *pid).collect();
        let others = self.out == Out::Others;
        let client = self.client().await?;
        let rows =
            client.query(END, &[&again, &others, &MONITOR, &STEP]).await.map_err(Error::sql("end what writes"))?;
        if rows.is_empty()
            && self.checkpoint.as_ref().is_none_or(|(at, task)| task.is_finished() && at.elapsed() > SPEAK.1)
        {
            // It may take minutes, in which it is looked on. What becomes of it is in the server's log.
            let session = self.cluster.as_superuser(MAINTENANCE).await?;
            let task = tokio::spawn(async move { session.batch_execute("CHECKPOINT").await.is_ok() });
            self.checkpoint = Some((Instant::now(), task));
        }
        for row in rows {
            let (pid, who, for_good): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
            let before = self.met.get(&pid).copied();
            self.met.insert(pid, (before.map_or_else(Instant::now, |(since, _)| since), for_good));
            if before.is_none_or(|(_, ended)| for_good && !ended) {
                let what = if for_good { "ended the session of" } else { "ended what is written by" };
                self.news.push(format!("{what} {} ({pid})", Shown(who)));
            }
        }
        Ok(())
    }

    /// Has the server keep them out, from now on.
    async fn keep_out(&mut self, out: Out) -> Result<(), Error> {
        self.cluster.keep_out(out)?;
        let reload = self.client().await?.batch_execute("SELECT pg_reload_conf()").await;
        reload.map_err(Error::sql("have the configuration read"))?;
        self.out = out;
        Ok(())
    }

    async fn client(&mut self) -> Result<&Client, Error> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.cluster.as_superuser(MAINTENANCE).await?,
        };
        Ok(self.client.insert(client))
    }

    /// Says what is new, or after a while the same again.
    fn speak(&mut self, state: &str) {
        let due = |after: Duration| self.said.is_none_or(|said| said.elapsed() > after);
        if due(SPEAK.1) || due(SPEAK.0) && !self.news.is_empty() {
            let news: Vec<String> = take(&mut self.news);
            (self.say)([vec![state.to_owned()], news].concat().join("; "));
            self.said = Some(Instant::now());
        }
    }

    /// The first of the file systems that has less than is to be kept, and a quarter more once somebody is kept out.
    fn lack(&self) -> Result<Option<Lack>, Error> {
        for place in &self.places {
            let (free, all) = room::space(place).map_err(Error::file("measure the free space of", place))?;
            let kept = room::kept(all, self.kept);
            if free < if self.out == Out::Nobody { kept } else { kept + kept / 4 } {
                return Ok(Some(Lack { place: place.clone(), free, kept }));
            }
        }
        Ok(None)
    }
}

/// A file system that has too little.
struct Lack {
    place: PathBuf,
    free: u64,
    kept: u64,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, free, kept) = (self.place.display(), size::rounded(self.free), size::rounded(self.kept));
        write!(f, "{place} has {free} of free space, and {kept} are kept for the server itself")
    }
}

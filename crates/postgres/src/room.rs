//! Room kept free on a cluster's disks, at the cost of whoever fills them.
//!
//! A statement that finds no room for its rows fails, and no harm is done. A server that finds none for its log ends (`PANIC`), and
//! can't recover before somebody has made room. So what writes is ended while there is still some: its transaction is undone, and
//! that gives its room back.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flowkit_core::size;
use rustix::fs::statvfs;
use say::Shown;
use tokio::time::sleep;

use super::connect::MAINTENANCE;
use super::{Cluster, Error};

/// Time between two looks. In it the quickest disk takes less than the least that is kept.
const LOOK: Duration = Duration::from_millis(250);

/// Time that what was ended has to undo its work.
const UNDO: Duration = Duration::from_secs(1);

/// Least and most that is kept where nobody says how much, in bytes: what is written between two looks, and what the log may
/// still need then.
const KEPT: (u64, u64) = (128 << 20, 1 << 30);

/// Cancels what takes room: statements of transactions that have written, and those that have put something aside in files
/// (`pgsql_tmp`, then the number of a process: `pgsql_tmp4711.0`). Not what makes room, where all of it can be read. Transactions that have written and wait for
/// their client have no statement, and are ended with their session. Whom it means is settled before anybody is ended: PostgreSQL
/// asks conditions in whatever order is cheapest.
const END: &str = r"
    WITH meant AS MATERIALIZED (
        SELECT pid, usename::text, state LIKE 'idle in transaction%' AS waits FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
          AND CASE WHEN state LIKE 'idle in transaction%' THEN state_change < now() - interval '10 s'
              ELSE NOT (octet_length(query) < 1000 AND query ~* '^\s*(drop|truncate)\M[^;]*;?\s*$') END
          AND (backend_xid IS NOT NULL OR pid IN (
              SELECT substring(name FROM '^pgsql_tmp(\d+)')::int FROM pg_ls_dir('base/pgsql_tmp', true, false) AS name)))
    SELECT usename, pid FROM meant
    WHERE CASE WHEN waits THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END";

/// A file system that has too little.
struct Lack {
    place: PathBuf,
    free: u64,
    kept: u64,
}

impl Cluster {
    /// Sees to it that so many bytes stay free wherever the data and the log are, or a fiftieth of the disk where nobody says how
    /// many. What is noteworthy is told to `say`.
    ///
    /// # Errors
    /// The data directory can't be looked at.
    pub async fn keep_room(&self, kept: Option<u64>, mut say: impl FnMut(String)) -> Result<Infallible, Error> {
        let data = self.data();
        let places = [data.join("pg_wal"), data];
        let mut told = None;
        loop {
            let Some(lack) = lacking(&places, kept)? else {
                if told.take().is_some() {
                    say("there is room again".to_owned());
                }
                sleep(LOOK).await;
                continue;
            };
            let news = match self.end_writers().await {
                Err(error) => format!("nothing can be ended, as {}", say::in_full(&error)),
                Ok(ended) if ended.is_empty() => "nothing writes just now".to_owned(),
                Ok(ended) => format!("ended what {} wrote", ended.join(", ")),
            };
            if told.as_ref() != Some(&news) {
                say(format!("{lack}: {news}"));
            }
            told = Some(news);
            sleep(UNDO).await;
        }
    }

    /// Ends what takes room; says whose it was, and in which process of the server.
    async fn end_writers(&self) -> Result<Vec<String>, Error> {
        let client = self.as_superuser(MAINTENANCE).await?;
        let rows = client.query(END, &[]).await.map_err(Error::sql("end what writes"))?;
        Ok(rows.iter().map(|row| format!("{} ({})", Shown(row.get::<_, String>(0)), row.get::<_, i32>(1))).collect())
    }
}

/// The first of these places whose file system has less than is to be kept.
fn lacking(places: &[PathBuf], kept: Option<u64>) -> Result<Option<Lack>, Error> {
    for place in places {
        let (free, all) = space(place)?;
        let kept = kept.unwrap_or_else(|| (all / 50).clamp(KEPT.0, KEPT.1));
        if free < kept {
            return Ok(Some(Lack { place: place.clone(), free, kept }));
        }
    }
    Ok(None)
}

/// Bytes that those who are not root may still take of a directory's file system, and all of its bytes.
fn space(place: &Path) -> Result<(u64, u64), Error> {
    let disk = statvfs(place).map_err(|e| Error::file("measure the free space of", place)(e.into()))?;
    Ok((disk.f_frsize * disk.f_bavail, disk.f_frsize * disk.f_blocks))
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, free, kept) = (self.place.display(), size::rounded(self.free), size::rounded(self.kept));
        write!(f, "{place} has {free} of free space, and {kept} are kept for the server itself")
    }
}

//! The small day in FlowDB: what is read by FlowETL's DAG, what the DAG makes of it, and how all of it goes away again.
//!
//! A query on `events.mds` may be in the way of the tables for as long as it runs. So what is written down about the day goes first, in a
//! transaction that no query is in the way of: nobody is told of the day any more.

use std::time::{Duration, Instant};

use time::{Date, OffsetDateTime, macros::date};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as Sql};

use super::{Error, Target};
use crate::flowdb::{self, SUPERUSER};
use crate::flowmachine::{self, Sources};

/// The day, and the kind of its records: the one that the fewest questions are about. The DAG has both, too.
pub(super) const DAY: Date = date!(1972 - 06 - 15);
pub(super) const TABLE: &str = "mds_19720615";

/// The table of all days.
const PARENT: &str = "events.mds";

/// Who holds this lock of FlowDB's is the one that does it.
const LOCK: i64 = 0x666c_6f77_6b69_7422;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for the lock that will be needed, before anything is begun.
const BEGINNING: Duration = Duration::from_secs(60);

/// Longest wait for statements of tasks that were ended.
const QUIET: Duration = Duration::from_secs(90);

/// Records that somebody else has put into the day.
pub(super) const NOT_OURS: &str = "SELECT count(*) FROM events.mds WHERE msisdn NOT LIKE 'flowkit-verify-%'
    AND datetime >= '1972-06-15 00:00:00+00' AND datetime < '1972-06-16 00:00:00+00'";

/// What is read by the DAG, the moment, the loads of the kind that are known, what is known of the kind, and the records: the columns are
/// FlowDB's own.
const PUT_IN: &str = "
    CREATE TABLE etl.flowkit_verify (LIKE events.mds);
    CREATE TABLE etl.flowkit_verify_since AS
        SELECT now() AS moment, ARRAY(SELECT id FROM etl.etl_records WHERE cdr_type = 'mds') AS loads;
    CREATE TABLE etl.flowkit_verify_before AS SELECT * FROM public.available_tables WHERE table_name = 'mds'";
const RECORDS: &str = "
    INSERT INTO etl.flowkit_verify (id, datetime, msisdn, location_id, volume_total)
    SELECT format('flowkit-verify-%s-%s-%s', often, person, record),
        timestamptz '1972-06-15 00:00:00+00' + interval '5 minutes' * (person + 60 * record),
        format('flowkit-verify-%s-%s', often, person), 'flowkit-verify', record
    FROM unnest($1::bigint[]) WITH ORDINALITY AS grouped (people, often),
        generate_series(1, people) AS person, generate_series(1, often) AS record";

/// What is written down of the day, in one transaction. What is known of the kind becomes what it was, unless others were loaded since.
const WRITTEN: &str = "
    SET LOCAL lock_timeout = '30s';
    DELETE FROM etl.etl_records WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15';
    DELETE FROM etl.post_etl_queries WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15';
    DELETE FROM events.location_ids WHERE cdr_type = 'mds' AND location_id = 'flowkit-verify';
    DO $$ BEGIN
        -- What is inside is looked at only then.
        IF to_regclass('etl.flowkit_verify_before') IS NOT NULL AND to_regclass('etl.flowkit_verify_since') IS NOT NULL THEN
            IF NOT EXISTS (
                SELECT FROM etl.etl_records, etl.flowkit_verify_since WHERE cdr_type = 'mds' AND NOT id = ANY (loads)
            ) THEN
                DELETE FROM public.available_tables WHERE table_name = 'mds';
                INSERT INTO public.available_tables SELECT * FROM etl.flowkit_verify_before;
            END IF;
        END IF;
    END $$";

/// Views of others that read the day, each before what it reads: its name, and how it is dropped.
const VIEWS: &str = "
    WITH RECURSIVE found AS (
        SELECT to_regclass('events.mds_19720615')::oid AS view, 0 AS depth
        UNION SELECT rule.ev_class, depth + 1 FROM found
            JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = view AND classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite AS rule ON rule.oid = objid AND rule.ev_type = '1' AND rule.ev_class <> view
    )
    SELECT format('%I.%I', nspname, relname),
        format('DROP %s %I.%I', CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, nspname, relname)
    FROM (SELECT view, max(depth) AS depth FROM found WHERE depth > 0 GROUP BY view) AS views
        JOIN pg_class ON pg_class.oid = view JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('v', 'm') ORDER BY depth DESC";

const TABLES: &str = "
    DROP VIEW IF EXISTS etl.stg_mds_19720615;
    DROP TABLE IF EXISTS etl.extract_mds_19720615, etl.flowkit_verify, etl.flowkit_verify_before, etl.flowkit_verify_since,
        events.mds_19720615";

const LEFT: &str = r"
    SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname IN ('etl', 'events') AND relkind IN ('r', 'p', 'v', 'm', 'f')
        AND (relname LIKE '%mds\_19720615' OR relname LIKE 'flowkit\_verify%')
    UNION ALL SELECT 'a row of etl.etl_records' FROM etl.etl_records WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15'
    UNION ALL SELECT 'a row of etl.post_etl_queries' FROM etl.post_etl_queries
        WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15'
    UNION ALL SELECT 'a row of events.location_ids' FROM events.location_ids WHERE location_id = 'flowkit-verify' ORDER BY 1";

/// Statements of FlowETL's login about the day.
const AT_WORK: &str = "
    SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND datname = current_database()
        AND pid <> pg_backend_pid() AND state <> 'idle' AND query ~ '(1972-06-15|mds_19720615|etl[.]flowkit_verify)'";

/// Who uses the table of all days.
const HOLDERS: &str = "
    SELECT DISTINCT format('%s (process %s)', usename, pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE relation = 'events.mds'::regclass AND granted AND pid <> pg_backend_pid()
        AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1";

/// FlowDB, as the owner of everything, who looks at nothing that people may have put there.
pub(super) struct Day<'a> {
    target: &'a Target<'a>,
    /// Holds the lock.
    client: Client,
}

impl<'a> Day<'a> {
    /// Connects, and keeps others from doing the same.
    pub async fn of(target: &'a Target<'a>) -> Result<Day<'a>, Error> {
        let client = flowdb::connect(target.site, SUPERUSER).await?;
        let what = Error::sql("say whether another verify is at work");
        let row = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await.map_err(what)?;
        if row.get(0) { Ok(Day { target, client }) } else { Err(Error::Another) }
    }

    /// Makes what the DAG reads, with so many people in each group, if what is made of it can be taken out again.
    pub async fn put_in(&mut self, people: &[i64]) -> Result<(), Error> {
        let until = Instant::now() + BEGINNING.min(self.target.patience);
        while let Err(source) = self.try_lock().await {
            if !is_locked(&source) || Instant::now() > until {
                return Err(Error::InTheWay { holders: self.holders().await, source });
            }
            tokio::time::sleep(PAUSE).await;
        }
        let what = || Error::sql("make the table that FlowETL's DAG reads");
        self.client.batch_execute(PUT_IN).await.map_err(what())?;
        self.client.execute(RECORDS, &[&people]).await.map_err(what())?;
        Ok(())
    }

    /// The lock that is needed in the end, held for no longer than it takes to get it.
    async fn try_lock(&mut self) -> Result<(), Sql> {
        let transaction = self.client.transaction().await?;
        transaction.batch_execute("SET LOCAL lock_timeout = '400ms'").await?;
        transaction.batch_execute(&format!("LOCK TABLE ONLY {PARENT} IN ACCESS EXCLUSIVE MODE")).await?;
        transaction.rollback().await
    }

    /// How many checks FlowETL has made of it.
    pub async fn checks(&self) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM etl.post_etl_queries WHERE cdr_type = 'mds' AND cdr_date = $1";
        let row = self.client.query_one(sql, &[&DAY]).await.map_err(Error::sql("count FlowETL's checks"))?;
        Ok(row.get(0))
    }

    /// Removes all of it, from FlowDB and from what FlowMachine remembers; the names of others' views that went with it. Whatever fails, the
    /// rest is done.
    pub async fn remove(&mut self) -> Result<Vec<String>, Error> {
        let since = self.since().await;
        let mut gone = self.take_out().await;
        // A task that was ended may have begun one more statement.
        if gone.is_ok() && !self.left().await?.is_empty() {
            gone = self.take_out().await;
        }
        let forgotten = self.forget(since.as_ref().ok().copied().flatten()).await;
        let views = gone?;
        forgotten?;
        since?;
        match &self.left().await?[..] {
            [] => Ok(views),
            left => Err(Error::Left { left: left.join(", "), holders: String::new(), source: None }),
        }
    }

    /// When it was put in, if it was.
    async fn since(&self) -> Result<Option<OffsetDateTime>, Error> {
        let what = || Error::sql("say when the day was put in");
        let there = "SELECT to_regclass('etl.flowkit_verify_since') IS NOT NULL";
        if !self.client.query_one(there, &[]).await.map_err(what())?.get::<_, bool>(0) {
            return Ok(None);
        }
        let row = self.client.query_opt("SELECT moment FROM etl.flowkit_verify_since", &[]).await.map_err(what())?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn take_out(&mut self) -> Result<Vec<String>, Error> {
        self.await_quiet().await?;
        let written = self.client.batch_execute(WRITTEN).await;
        let until = Instant::now() + self.target.patience;
        let views = loop {
            match self.drop_tables().await {
                Ok(views) => break views,
                Err(error) if is_locked(&error) && Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    let holders = if is_locked(&error) { self.holders().await } else { String::new() };
                    let left = self.left().await?.join(", ");
                    return Err(Error::Left { left, holders, source: Some(error) });
                }
            }
        };
        written.map_err(Error::sql("delete what is written down about the day of verify's"))?;
        Ok(views)
    }

    /// Waits until nothing of FlowETL's works on the day.
    async fn await_quiet(&self) -> Result<(), Error> {
        let until = Instant::now() + QUIET.min(self.target.patience);
        let what = || Error::sql("say whether FlowETL is at work");
        while Instant::now() < until && self.client.query_one(AT_WORK, &[]).await.map_err(what())?.get::<_, i64>(0) > 0
        {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Whoever comes after us waits for a lock on a table that is queried as long as we do.
    async fn drop_tables(&mut self) -> Result<Vec<String>, Sql> {
        let transaction = self.client.transaction().await?;
        transaction.batch_execute("SET LOCAL lock_timeout = '400ms'").await?;
        let views = transaction.query(VIEWS, &[]).await?;
        for view in &views {
            transaction.batch_execute(view.get(1)).await?;
        }
        transaction.batch_execute(TABLES).await?;
        transaction.commit().await?;
        Ok(views.iter().map(|view| view.get(0)).collect())
    }

    /// What FlowMachine has found out about the day, and from all days since it was put in.
    async fn forget(&self, since: Option<OffsetDateTime>) -> Result<(), Error> {
        if self.target.flowmachine.is_err() {
            return Ok(());
        }
        let sources = Sources::of(self.target.site).map_err(Error::Sources)?;
        flowmachine::forget(sources, &[&DAY.to_string(), TABLE], since.map(|since| (PARENT, since))).await?;
        Ok(())
    }

    async fn left(&self) -> Result<Vec<String>, Error> {
        let rows = self.client.query(LEFT, &[]).await.map_err(Error::sql("look for what is left"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn holders(&self) -> String {
        let rows = self.client.query(HOLDERS, &[]).await.unwrap_or_default();
        let all: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if all.is_empty() { all.concat() } else { format!("; in use by {}", all.join(", ")) }
    }
}

/// Whether it can be tried again: somebody was in the way.
fn is_locked(error: &Sql) -> bool {
    [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].iter().any(|state| error.code() == Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dag_is_of_the_same_day_and_table() {
        let dag = include_str!("../../python/flowkit_flowetl/dags/flowkit_verify.py");
        let day = format!("start_date=datetime({}, {}, {})", DAY.year(), u8::from(DAY.month()), DAY.day());
        let id = format!("dag_id=\"{}\"", super::super::airflow::DAG);
        for part in [&*day, &*id, "cdr_type=\"mds\"", "source_table=\"etl.flowkit_verify\"", "retries=0"] {
            assert!(dag.contains(part), "{part}");
        }
        assert_eq!(TABLE, format!("mds_{}", DAY.to_string().replace('-', "")));
        for sql in [NOT_OURS, WRITTEN, LEFT, AT_WORK] {
            assert!(sql.contains("1972-06-15"), "{sql}");
        }
        for sql in [VIEWS, TABLES, AT_WORK] {
            assert!(sql.contains(TABLE), "{sql}");
        }
    }
}

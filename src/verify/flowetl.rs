//! The way of the data: a small day of our own goes through a DAG of FlowETL's into FlowDB, is asked about, and is taken out again.
//!
//! Nothing real can be met: no mobile phone had been used on that day, everybody in it has a name that no operator gives, and who
//! finds anybody else there touches nothing. What one that was killed has left is known by the same, and removed by the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use time::{Date, macros::date};
use tokio::runtime::Runtime;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::airflow::Airflow;
use super::question::Question;
use super::{Counts, Error, Target, flowapi, server};
use crate::flowdb::{self, SUPERUSER};
use crate::flowmachine::{self, Sources};

/// The day, and the kind of its records: the one that the fewest questions are about. The DAG has both, too.
const DAY: Date = date!(1972 - 06 - 15);
const TABLE: &str = "mds_19720615";

/// Who holds this lock of FlowDB's is the one that does it.
const LOCK: i64 = 0x666c_6f77_6b69_7422;

/// People in groups: those of the first are in one record, those of the second in two, ….
const GROUPS: usize = 3;

/// FlowMachine tells nothing of a group of fewer than fifteen.
const PEOPLE: std::ops::Range<i64> = 16..64;

/// Longest wait for a lock on a table that is queried, as whoever comes after us waits as long; and between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Records that somebody else has put into the day.
const NOT_OURS: &str = "SELECT count(*) FROM events.mds WHERE msisdn NOT LIKE 'flowkit-verify-%'
    AND datetime >= '1972-06-15 00:00:00+00' AND datetime < '1972-06-16 00:00:00+00'";

/// What is read by the DAG, what was known of the kind before, and the records: the columns are FlowDB's own.
const PUT_IN: &str = "
    CREATE TABLE etl.flowkit_verify (LIKE events.mds);
    CREATE TABLE etl.flowkit_verify_before AS SELECT * FROM public.available_tables WHERE table_name = 'mds'";
const RECORDS: &str = "
    INSERT INTO etl.flowkit_verify (id, datetime, msisdn, location_id, volume_total)
    SELECT format('flowkit-verify-%s-%s-%s', often, person, record),
        timestamptz '1972-06-15 00:00:00+00' + interval '5 minutes' * (person + 60 * record),
        format('flowkit-verify-%s-%s', often, person), 'flowkit-verify', record
    FROM unnest($1::bigint[]) WITH ORDINALITY AS grouped (people, often),
        generate_series(1, people) AS person, generate_series(1, often) AS record";

/// All of it, in one transaction. What is known of the kind becomes what it was, unless others were loaded meanwhile.
const TAKE_OUT: &str = "
    BEGIN;
    SET LOCAL lock_timeout = '400ms';
    DELETE FROM etl.etl_records WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15';
    DELETE FROM etl.post_etl_queries WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15';
    DELETE FROM events.location_ids WHERE cdr_type = 'mds' AND location_id = 'flowkit-verify';
    DO $$ BEGIN
        IF to_regclass('etl.flowkit_verify_before') IS NOT NULL
            AND NOT EXISTS (SELECT FROM etl.etl_records WHERE cdr_type = 'mds') THEN
            DELETE FROM public.available_tables WHERE table_name = 'mds';
            INSERT INTO public.available_tables SELECT * FROM etl.flowkit_verify_before;
        END IF;
    END $$;
    DROP VIEW IF EXISTS etl.stg_mds_19720615;
    DROP TABLE IF EXISTS etl.extract_mds_19720615, etl.flowkit_verify, etl.flowkit_verify_before, events.mds_19720615;
    COMMIT";

const LEFT: &str = "
    SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '%mds_19720615%' OR relname LIKE 'flowkit_verify%')
        + (SELECT count(*) FROM etl.etl_records WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15')
        + (SELECT count(*) FROM etl.post_etl_queries WHERE cdr_type = 'mds' AND cdr_date = '1972-06-15')
        + (SELECT count(*) FROM events.location_ids WHERE location_id = 'flowkit-verify')";

/// A day that is underway.
pub(super) struct Trial<'a> {
    target: &'a Target<'a>,
    runtime: Runtime,
    /// As the owner of everything, who looks at nothing that people may have put there. Holds the lock.
    flowdb: Client,
    airflow: Airflow,
    /// People in each group.
    people: [i64; GROUPS],
    /// The DAG's run.
    run: Option<String>,
    /// Whether the run ended well.
    loaded: bool,
}

impl<'a> Trial<'a> {
    /// Finds everything in order, and puts the day where the DAG takes it from.
    pub fn begin(target: &'a Target<'a>, address: SocketAddr) -> Result<Trial<'a>, Error> {
        let others = target.ask_as_flowmachine(async |client| {
            let row = client.query_one(NOT_OURS, &[]).await.map_err(Error::sql("look for records of 1972"))?;
            Ok(row.get::<_, i64>(0))
        })?;
        if others > 0 {
            return Err(Error::NotOurs { day: DAY, others });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        let (flowdb, airflow) = runtime.block_on(async {
            let flowdb = flowdb::connect(target.site, SUPERUSER).await?;
            let what = Error::sql("say whether another verify is at work");
            if !flowdb.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await.map_err(what)?.get::<_, bool>(0) {
                return Err(Error::Another);
            }
            let airflow = Airflow::sign_in(target, address).await?;
            airflow.await_dag(target.patience).await?;
            airflow.clear().await?;
            Ok((flowdb, airflow))
        })?;
        let people = std::array::from_fn(|_| rand::rng().random_range(PEOPLE));
        let trial = Trial { target, runtime, flowdb, airflow, people, run: None, loaded: false };
        trial.take_out()?;
        trial.put_in()?;
        Ok(trial)
    }

    fn put_in(&self) -> Result<(), Error> {
        let what = || Error::sql("make the table that FlowETL's DAG reads");
        self.runtime.block_on(async {
            self.flowdb.batch_execute(PUT_IN).await.map_err(what())?;
            self.flowdb.execute(RECORDS, &[&&self.people[..]]).await.map_err(what())?;
            Ok(())
        })
    }

    /// Sends it through the DAG; what is there then.
    pub fn load(&mut self) -> Result<String, Error> {
        let run = self.runtime.block_on(self.airflow.begin(DAY))?;
        let went = self.runtime.block_on(self.airflow.wait(&run, self.target.patience));
        self.run = Some(run);
        went?;
        self.loaded = true;
        let sent: i64 = (1..).zip(self.people).map(|(often, people)| often * people).sum();
        let there = self.target.ask_as_flowmachine(async |client| {
            let sql = format!("SELECT count(*) FROM events.{TABLE}");
            Ok(client.query_one(&sql, &[]).await.map_err(Error::sql("count what FlowETL has loaded"))?.get::<_, i64>(0))
        })?;
        if there != sent {
            return Err(Error::Lost { sent, there });
        }
        let sql = "SELECT count(*) FROM etl.post_etl_queries WHERE cdr_type = 'mds' AND cdr_date = $1";
        let checks = self.runtime.block_on(self.flowdb.query_one(sql, &[&DAY]));
        let checks: i64 = checks.map_err(Error::sql("count FlowETL's checks"))?.get(0);
        Ok(format!("{there} records, {checks} checks of them"))
    }

    /// How often people were in it, asked of FlowMachine's server.
    pub fn ask_server(&self) -> Result<String, Error> {
        server::knows(self.target, DAY, &["mds".to_owned()])?;
        self.compare(&server::counts(self.target, &Question::how_often(DAY, GROUPS))?)
    }

    /// The same, asked of FlowAPI.
    pub fn ask_flowapi(&self) -> Result<String, Error> {
        match flowapi::counts(self.target, &Question::how_often(DAY, GROUPS))? {
            Ok(counts) => self.compare(&counts),
            Err(why) => Ok(format!("not asked: {why}")),
        }
    }

    fn compare(&self, counts: &Counts) -> Result<String, Error> {
        let right: BTreeMap<i64, i64> = (1..).zip(self.people).collect();
        if groups(counts) != Some(right) {
            return Err(Error::Miscounted { got: format!("{counts:?}"), right: format!("{:?}", self.people) });
        }
        Ok(format!("equal in all {GROUPS} groups, {} people", self.people.iter().sum::<i64>()))
    }

    /// Takes it out again. The run of a DAG that failed stays in Airflow, where people look for the reason, until the next time.
    pub fn end(self) -> Result<String, Error> {
        if let Some(run) = &self.run {
            self.runtime.block_on(self.airflow.end(run))?;
        }
        self.take_out()?;
        if self.target.flowmachine.is_ok() {
            let sources = Sources::of(self.target.site).map_err(Error::Sources)?;
            self.runtime.block_on(flowmachine::forget(sources, &DAY.to_string()))?;
        }
        if self.loaded {
            self.runtime.block_on(self.airflow.clear())?;
        }
        let left =
            self.runtime.block_on(self.flowdb.query_one(LEFT, &[])).map_err(Error::sql("look for what is left"))?;
        match left.get::<_, i64>(0) {
            0 => Ok("nothing of it is left".to_owned()),
            left => Err(Error::Left(left)),
        }
    }

    /// Removes everything of it from FlowDB; waits while queries are in the way.
    fn take_out(&self) -> Result<(), Error> {
        let until = Instant::now() + self.target.patience;
        self.runtime.block_on(async {
            loop {
                let Err(error) = self.flowdb.batch_execute(TAKE_OUT).await else { return Ok(()) };
                self.flowdb.batch_execute("ROLLBACK").await.map_err(Error::sql("begin anew"))?;
                let is_locked = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
                if !is_locked.iter().any(|state| error.code() == Some(state)) || Instant::now() > until {
                    return Err(Error::sql("take the day of verify's out again")(error));
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    }
}

/// People by how often, whose number stands there as one or in words.
fn groups(counts: &Counts) -> Option<BTreeMap<i64, i64>> {
    let whole = |text: &str| text.split('.').next()?.parse().ok();
    counts.iter().map(|(often, people)| Some((whole(often)?, *people))).collect()
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
        for sql in [NOT_OURS, TAKE_OUT, LEFT] {
            assert!(sql.contains("1972-06-15"), "{sql}");
        }
    }

    #[test]
    fn groups_are_whole_numbers_however_they_are_written() {
        let of = |pairs: &[(&str, i64)]| groups(&pairs.iter().map(|&(often, n)| (often.to_owned(), n)).collect());
        assert_eq!(of(&[("1", 20), ("2.0", 30)]), Some(BTreeMap::from([(1, 20), (2, 30)])));
        assert_eq!(of(&[("", 20)]), None);
    }
}

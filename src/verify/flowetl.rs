//! The way of the data: a small day of our own goes through a DAG of FlowETL's into FlowDB, is asked about, and is taken out again.
//!
//! Nothing real can be met: no mobile phone had been used on that day, everybody in it has a name that no operator gives, and who
//! finds anybody else there touches nothing. What one that was killed has left is known by the same, and removed by the next.

use std::collections::BTreeMap;

use rand::RngExt as _;
use tokio::runtime::Runtime;

use super::airflow::{Airflow, Pages};
use super::autoflow::{self, Reporter};
use super::day::{DAY, Day, NOT_OURS, TABLE};
use super::question::Question;
use super::{Counts, Error, Target, flowapi, server};

/// People in groups: those of the first are in one record, those of the second in two, ….
const GROUPS: usize = 3;

/// FlowMachine tells nothing of a group of fewer than fifteen.
const PEOPLE: std::ops::Range<i64> = 16..64;

/// A day that is underway.
pub(super) struct Trial<'a> {
    target: &'a Target<'a>,
    runtime: Runtime,
    day: Day<'a>,
    airflow: Airflow,
    /// People in each group.
    people: [i64; GROUPS],
    /// The DAG's run.
    run: Option<String>,
    /// Whether the run ended well.
    loaded: bool,
}

impl<'a> Trial<'a> {
    /// Finds everything in order, removes what one that was killed has left, and puts the day where the DAG takes it from; what is to be told of it.
    pub fn begin(target: &'a Target<'a>, pages: Pages) -> Result<(Trial<'a>, String), Error> {
        let others = target.ask_as_flowmachine(async |client| {
            let row = client.query_one(NOT_OURS, &[]).await.map_err(Error::sql("look for records of 1972"))?;
            Ok(row.get::<_, i64>(0))
        })?;
        if others > 0 {
            return Err(Error::NotOurs { day: DAY, others });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        let people = std::array::from_fn(|_| rand::rng().random_range(PEOPLE));
        let (day, airflow, views) = runtime.block_on(async {
            let mut day = Day::of(target).await?;
            let airflow = ready(target, pages).await;
            // Also where there is no Airflow to send another one through.
            let views = day.remove().await?;
            let airflow = airflow?;
            if let Err(error) = day.put_in(&people).await {
                // The reason is told rather than what a second failure adds.
                _ = day.remove().await;
                return Err(error);
            }
            Ok::<_, Error>((day, airflow, views))
        })?;
        let told = with_views("it can", &views);
        Ok((Trial { target, runtime, day, airflow, people, run: None, loaded: false }, told))
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
        let checks = self.runtime.block_on(self.day.checks())?;
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

    /// The same, in a report that AutoFlow makes of the day, with a token of FlowAuth's.
    pub fn ask_autoflow(&self, autoflow: &Reporter) -> Result<String, Error> {
        let question = Question::how_often(DAY, GROUPS);
        let (counts, told) = match autoflow::counts(self.target, autoflow, &question, DAY)? {
            Ok(answered) => answered,
            Err(why) => return Ok(format!("not asked: {why}")),
        };
        let there = self.target.ask_as_flowmachine(async |client| {
            let sql = format!(
                "SELECT often::text, count(*) FROM (SELECT count(*) AS often FROM events.{TABLE} GROUP BY msisdn) AS people
                 GROUP BY often"
            );
            let rows = client.query(&sql, &[]).await.map_err(Error::sql("count how often people are in the day"))?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Counts>())
        })?;
        self.compare(&there)?;
        Ok(format!("{}, {told}", self.compare(&counts)?))
    }

    fn compare(&self, counts: &Counts) -> Result<String, Error> {
        let right: BTreeMap<i64, i64> = (1..).zip(self.people).collect();
        if groups(counts) != Some(right) {
            return Err(Error::Miscounted { got: format!("{counts:?}"), right: format!("{:?}", self.people) });
        }
        Ok(format!("equal in all {GROUPS} groups, {} people", self.people.iter().sum::<i64>()))
    }

    /// Takes it out again, whatever Airflow says. The run of a DAG that failed stays there, where people look for the reason, until the next time.
    pub fn end(self) -> Result<String, Error> {
        let Trial { runtime, mut day, airflow, run, loaded, .. } = self;
        runtime.block_on(async {
            let ended = match run {
                Some(run) => airflow.end(&run).await,
                // It may have begun without our hearing of it.
                None => airflow.clear().await,
            };
            let views = day.remove().await?;
            ended?;
            if loaded {
                airflow.clear().await?;
            }
            Ok(with_views("nothing of it is left", &views))
        })
    }
}

/// Airflow, with our DAG, of which nothing runs.
async fn ready(target: &Target<'_>, pages: Pages) -> Result<Airflow, Error> {
    let airflow = Airflow::sign_in(target, pages).await?;
    airflow.await_dag(target.patience).await?;
    airflow.clear().await?;
    Ok(airflow)
}

/// What people made of the day's table while it was there is gone with it: they hear of it.
fn with_views(told: &str, views: &[String]) -> String {
    if views.is_empty() {
        return told.to_owned();
    }
    format!("{told}; views of others that read {TABLE} went with it: {}", views.join(", "))
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
    fn groups_are_whole_numbers_however_they_are_written() {
        let of = |pairs: &[(&str, i64)]| groups(&pairs.iter().map(|&(often, n)| (often.to_owned(), n)).collect());
        assert_eq!(of(&[("1", 20), ("2.0", 30)]), Some(BTreeMap::from([(1, 20), (2, 30)])));
        assert_eq!(of(&[("", 20)]), None);
    }
}

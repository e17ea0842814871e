//! Whether a deployment gives right answers: a real query in several ways, compared row by row.
//!
//! ```text
//! server     through FlowMachine's server, as FlowAPI asks it, read with FlowAPI's login
//! flowapi    through FlowAPI, as an analyst with a token
//! flowauth   the same with a token of FlowAuth's, from the role that allows it to the day it is revoked
//! library    through FlowMachine's library, as an analyst with a new login of their own
//! examples   worked examples, notebooks that an analyst runs through FlowAPI
//! expected   in plain SQL over the call records, written without a look at FlowMachine's
//! flowetl    before all that, where FlowETL runs: a day of our own, from its DAG to the answers about it, and out again
//! autoflow   where AutoFlow runs: a report of that day, or of the question above, whose PDF is read
//! ```
//!
//! The question is where people were at the end of a day: their last event of the day, counted by ward (admin3).

mod airflow;
mod autoflow;
mod day;
mod error;
pub mod examples;
mod expected;
mod flowapi;
mod flowauth;
mod flowetl;
mod library;
mod question;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use time::Date;
use tokio_postgres::Client;

use self::question::Question;
use crate::flowdb::{self, SUPERUSER};
use flowkit_core::Site;

pub use airflow::Pages;
pub use autoflow::Reporter;
pub use error::Error;
pub use expected::{Difference, Expected};
pub use flowapi::token_for_examples;

/// People by area, as FlowMachine gives them.
pub type Counts = BTreeMap<String, i64>;

/// The deployment that is looked at.
pub struct Target<'a> {
    /// Where it is at home.
    pub site: &'a Site,
    /// Where FlowMachine's server listens, or why it is not asked.
    pub flowmachine: Result<SocketAddr, String>,
    /// Where FlowAPI listens, or why it is not asked.
    pub flowapi: Result<SocketAddr, String>,
    /// The same of FlowAuth.
    pub flowauth: Result<SocketAddr, String>,
    /// Where FlowETL's Airflow listens, if a day is to be sent through it.
    pub flowetl: Option<Pages>,
    /// AutoFlow, if it is to make a report of that day.
    pub autoflow: Option<Reporter>,
    /// FlowMachine's Python.
    pub python: &'a Path,
    /// User and group that the Python runs as; `None` for those of this process.
    pub python_as: Option<(u32, u32)>,
    /// Longest wait for one answer.
    pub patience: Duration,
}

/// One thing that was looked at.
pub struct Check {
    /// What it was.
    pub what: String,
    /// What came of it.
    pub outcome: Result<String, Error>,
    /// How long it took.
    pub took: Duration,
}

/// Looks at everything, each check told to `tell` when it is done. What needs a check that failed is left out.
///
/// `day` is the one to ask about; the last one that is ingested if not given. Blocks; not to be called inside of an async
/// runtime.
pub fn verify(target: &Target, day: Option<Date>, mut tell: impl FnMut(&Check)) -> Vec<Check> {
    let mut checks = Checks { done: Vec::new(), tell: &mut tell };
    checks.all(target, day);
    checks.done
}

struct Checks<'a> {
    done: Vec<Check>,
    tell: &'a mut dyn FnMut(&Check),
}

impl Checks<'_> {
    fn all(&mut self, target: &Target, day: Option<Date>) -> Option<()> {
        if let Some(pages) = target.flowetl {
            self.flowetl(target, pages);
        }
        if let (Err(why), Some(_)) = (&target.flowmachine, target.flowetl) {
            return self.check("where people were", || Ok(((), format!("not asked of FlowMachine: {why}"))));
        }
        self.check("FlowMachine's server answers", || server::ping(target).map(|()| ((), "it does".into())))?;
        let days = self.check("days that are ingested", || {
            let days = target.ask_as_flowmachine(async |client| expected::days(client).await)?;
            let told = told(&days);
            Ok((Days::pick(&days, day)?, told))
        })?;

        self.check(&format!("FlowMachine's server knows {}", days.server), || {
            let tables = target.ask_as_flowmachine(async |client| expected::tables(client).await)?;
            server::knows(target, days.server, &tables)?;
            Ok(((), tables.join(", ")))
        });
        let what = format!("where people were on {}, asked of the server", days.server);
        let counts = self.check(&what, || with_sum(server::counts(target, &Question::places(days.server))?));
        let expected = self.check("the same, in plain SQL", || {
            let expected = target.ask_as_flowmachine(async |client| expected::expected(client, days.server).await)?;
            let said = counts.as_ref().map(|counts| expected.compare(counts)).transpose()?;
            Ok((expected, said.unwrap_or_else(|| "nothing to compare with".into())))
        });
        let what = format!("where people were on {}, asked of FlowAPI", days.server);
        self.check(&what, || {
            let said = match (flowapi::counts(target, &Question::places(days.server))?, &expected) {
                (Err(why), _) => format!("not asked: {why}"),
                (Ok(counts), Some(expected)) => expected.compare(&counts)?,
                (Ok(_), None) => "nothing to compare with".to_owned(),
            };
            Ok(((), said))
        });
        self.check("the same with a token of FlowAuth's, which is revoked then", || {
            let said = match (flowauth::counts(target, days.server)?, &expected) {
                (Err(why), _) => format!("not asked: {why}"),
                (Ok((counts, refused)), Some(expected)) => format!("{}; {refused}", expected.compare(&counts)?),
                (Ok((_, refused)), None) => format!("nothing to compare with; {refused}"),
            };
            Ok(((), said))
        });
        // Where FlowETL runs, it has made one of the small day.
        if let (Some(autoflow), None) = (&target.autoflow, target.flowetl) {
            self.check("the same in a report of AutoFlow's", || {
                let answered = autoflow::counts(target, autoflow, &Question::places(days.server), days.server)?;
                let said = match (answered, &expected) {
                    (Err(why), _) => format!("not asked: {why}"),
                    (Ok((counts, told)), Some(expected)) => format!("{}, {told}", expected.compare(&counts)?),
                    (Ok((_, told)), None) => format!("nothing to compare with, {told}"),
                };
                Ok(((), said))
            });
        }
        let what = format!("where people were on {}, asked with the library by a new analyst", days.library);
        self.check(&what, || {
            let counts = library::counts(target, days.library)?;
            let expected = match expected {
                Some(expected) if days.library == days.server => expected,
                _ => target.ask_as_flowmachine(async |client| expected::expected(client, days.library).await)?,
            };
            Ok(((), expected.compare(&counts)?))
        })
    }

    /// A day of our own; it is taken out again whatever comes of it.
    fn flowetl(&mut self, target: &Target, pages: Pages) -> Option<()> {
        let mut trial = self.check("FlowETL can be given a small day", || flowetl::Trial::begin(target, pages))?;
        let loaded = self.check("the small day, through FlowETL's DAG into FlowDB", || Ok(((), trial.load()?)));
        if loaded.is_some() && target.flowmachine.is_ok() {
            self.check("how often people are in it, asked of the server", || Ok(((), trial.ask_server()?)));
            self.check("how often people are in it, asked of FlowAPI", || Ok(((), trial.ask_flowapi()?)));
            if let Some(autoflow) = &target.autoflow {
                self.check("how often people are in it, in a report of AutoFlow's", || {
                    Ok(((), trial.ask_autoflow(autoflow)?))
                });
            }
        }
        self.check("the small day, taken out again", || Ok(((), trial.end()?)))
    }

    /// Does one check; what it found, if it went well.
    fn check<T>(&mut self, what: &str, work: impl FnOnce() -> Result<(T, String), Error>) -> Option<T> {
        let began = Instant::now();
        let (found, outcome) = match work() {
            Ok((found, said)) => (Some(found), Ok(said)),
            Err(error) => (None, Err(error)),
        };
        let check = Check { what: what.to_owned(), outcome, took: began.elapsed() };
        (self.tell)(&check);
        self.done.push(check);
        found
    }
}

fn with_sum(counts: Counts) -> Result<(Counts, String), Error> {
    let people: i64 = counts.values().sum();
    let said = format!("{people} people in {} areas", counts.len());
    if counts.is_empty() { Err(Error::Nothing) } else { Ok((counts, said)) }
}

fn told(days: &[Date]) -> String {
    match days {
        [] => "none".into(),
        [only] => only.to_string(),
        [first, .., last] => format!("{} from {first} to {last}", days.len()),
    }
}

/// The days to ask about. The library gets another one than the server where there is one, as it would find the server's
/// answer in the cache.
#[derive(Debug, PartialEq, Eq)]
struct Days {
    server: Date,
    library: Date,
}

impl Days {
    fn pick(days: &[Date], wanted: Option<Date>) -> Result<Days, Error> {
        let last = *days.last().ok_or(Error::NoDay)?;
        let server = wanted.unwrap_or(last);
        let index = days.iter().position(|&day| day == server).ok_or(Error::NotIngested { day: server })?;
        let library = days[if index > 0 { index - 1 } else { (index + 1).min(days.len() - 1) }];
        Ok(Days { server, library })
    }
}

impl Target<'_> {
    /// A server of the deployment: the one that has the deployment's own certificate, unless a setting says that it has none.
    fn client(&self, at: SocketAddr, plain: &str, certificate: &'static str) -> Result<https::Client, Error> {
        if self.site.settings.flag(plain) {
            return Ok(https::Client::plain(at.ip().to_string(), at.port()));
        }
        let pem = self.site.store.get(certificate)?;
        let client = https::Client::pinned(at.ip().to_string(), at.port(), pem.expose());
        client.map_err(|why| Error::Certificate { name: certificate, why })
    }

    /// Does some work, within the patience.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>, late: impl FnOnce() -> Error) -> Result<T, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        runtime.block_on(async { tokio::time::timeout(self.patience, work).await.unwrap_or_else(|_| Err(late())) })
    }

    /// Asks FlowDB something as FlowMachine does. Nothing that people may have put there is read by anybody stronger: a view of theirs
    /// runs their functions with the rights of whoever looks at it.
    fn ask_as_flowmachine<T>(&self, work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let login = self.site.store.get("FLOWMACHINE_FLOWDB_USER")?;
        self.ask_as(login.expose(), work)
    }

    /// Has the owner of everything do something, who looks at nothing that people may have put there.
    fn ask<T>(&self, work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        self.ask_as(SUPERUSER, work)
    }

    /// Asks FlowDB something.
    fn ask_as<T>(&self, user: &str, work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        runtime.block_on(async {
            let mut client = flowdb::connect(self.site, user).await?;
            work(&mut client).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn the_library_gets_another_day_where_there_is_one() {
        let days = [date!(2016 - 01 - 01), date!(2016 - 01 - 02), date!(2016 - 01 - 05)];
        let pick = |days: &[Date], wanted| Days::pick(days, wanted).map(|days| (days.server, days.library)).ok();
        assert_eq!(pick(&days, None), Some((days[2], days[1])));
        assert_eq!(pick(&days, Some(days[0])), Some((days[0], days[1])));
        assert_eq!(pick(&days[..1], None), Some((days[0], days[0])));
        assert_eq!(pick(&days, Some(date!(2016 - 01 - 03))), None);
        assert_eq!(pick(&[], None), None);
        assert_eq!(told(&days), "3 from 2016-01-01 to 2016-01-05");
    }
}

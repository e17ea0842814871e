//! Why a check fails.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use time::Date;

use super::expected::Difference;
use crate::{flowdb, flowmachine};
use flowkit_core::config::Problems;
use flowkit_core::secrets;

/// Why a check fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FlowMachine does not answer, or says no.
    #[error("FlowMachine's server did not answer")]
    FlowMachine(#[from] flowmachine::Error),
    /// It answers, but without what its answer should have.
    #[error("FlowMachine's answer to `{action}` lacks `{field}`")]
    Lacking {
        /// What was asked.
        action: &'static str,
        /// What is missing.
        field: &'static str,
    },
    /// A query ended badly.
    #[error("query {id} ended as `{state}`; FlowMachine's log says why")]
    Ended {
        /// The query.
        id: String,
        /// Its state.
        state: String,
    },
    /// A query did not end.
    #[error("query {id} is still `{state}` after {} s", patience.as_secs())]
    Late {
        /// The query.
        id: String,
        /// Its state.
        state: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// FlowDB is away, or refuses us.
    #[error("FlowDB did not do it")]
    FlowDb(#[from] flowdb::Error),
    /// A statement failed.
    #[error("FlowDB did not {what}")]
    Sql {
        /// What was to be done.
        what: &'static str,
        /// What PostgreSQL says.
        source: tokio_postgres::Error,
    },
    /// A row of a result is not what FlowMachine's results look like.
    #[error("the result has a row that is not a pcode and a number: {0}")]
    Row(String),
    /// A secret is missing.
    #[error("a secret is missing")]
    Secret(#[from] secrets::LookupError),
    /// There is nothing to ask about.
    #[error("no day is ingested for all of the tables that FlowMachine asks (`flowkit db demo` loads made-up ones)")]
    NoDay,
    /// There is nothing to ask about on that day.
    #[error("{day} is not ingested for all of the tables that FlowMachine asks")]
    NotIngested {
        /// The day.
        day: Date,
    },
    /// The server looks at another database, or not at all.
    #[error("FlowMachine's server does not know that {day} is ingested, not even after {seconds} s")]
    Unknown {
        /// The day.
        day: String,
        /// How long it was asked.
        seconds: u64,
    },
    /// An answer without a row proves nothing.
    #[error("no area had more than {} people: too few to compare", super::expected::REDACTED)]
    Nothing,
    /// The answers differ.
    #[error("{}", differences(.0))]
    Different(Vec<Difference>),
    /// The day of ours is somebody's.
    #[error(
        "events.mds has {others} records of {day} that are not `flowkit verify`'s, so that nothing was sent through FlowETL, and nothing touched"
    )]
    NotOurs {
        /// The day.
        day: Date,
        /// Records of others.
        others: i64,
    },
    /// Two would be in each other's way.
    #[error("another `flowkit verify` sends its day through FlowETL at this moment; try again when it has ended")]
    Another,
    /// Airflow has not read our DAG.
    #[error(
        "Airflow does not have the DAG flowkit_verify: its page says why under \"Dag Import Errors\"; \
         AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST, where it is given, must name the bundle of FlowKit's package too"
    )]
    NoDag,
    /// The DAG failed.
    #[error(
        "FlowETL's DAG flowkit_verify failed at {task}: {said}; its run stays in Airflow's pages until the next verify"
    )]
    Dag {
        /// Which of its tasks.
        task: String,
        /// Why, in the words of its log.
        said: String,
    },
    /// The DAG does not come to an end.
    #[error("FlowETL's DAG flowkit_verify is still `{state}` after {} s (--patience)", patience.as_secs())]
    DagLate {
        /// Its state.
        state: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Not every record arrived.
    #[error("of {sent} records FlowETL has brought {there} into FlowDB")]
    Lost {
        /// Records that were sent.
        sent: i64,
        /// Records that are there.
        there: i64,
    },
    /// FlowMachine counts otherwise.
    #[error("FlowMachine's answer is {got}; the records have {right} people with one, two, ... records")]
    Miscounted {
        /// Its answer.
        got: String,
        /// The right one.
        right: String,
    },
    /// Something of the day is still there.
    #[error(
        "of the invented day of `flowkit verify` there is still in FlowDB: {left}{holders}; the next `flowkit verify` removes it, or, by hand, \
         DROP TABLE IF EXISTS events.mds_19720615, etl.extract_mds_19720615, etl.flowkit_verify"
    )]
    Left {
        /// Tables and rows.
        left: String,
        /// Who is in the way, after a semicolon.
        holders: String,
        /// Why they could not be dropped.
        source: Option<tokio_postgres::Error>,
    },
    /// The day could not be taken out again.
    #[error(
        "events.mds can't be locked, as the day must be taken out of it again: nothing was sent through FlowETL{holders}"
    )]
    InTheWay {
        /// Who is in the way, after a semicolon.
        holders: String,
        /// What PostgreSQL says.
        source: tokio_postgres::Error,
    },
    /// FlowMachine's cache could not be cleared of it.
    #[error("FlowMachine still has its answers about the day")]
    Remembered(#[from] flowmachine::repair::Error),
    /// Secrets are missing or malformed.
    #[error(transparent)]
    Sources(Problems),
    /// No token to ask FlowAPI with.
    #[error("no token can be made: {0}")]
    Token(String),
    /// No certificate to know a server by.
    #[error("{name} can't be used: {why}")]
    Certificate {
        /// Which.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// It does not run.
    #[error("{0} is not asked: {1}")]
    Away(&'static str, String),
    /// A server is away, or another one is in its place.
    #[error("{of} at {address} did not answer")]
    Silent {
        /// Which.
        of: &'static str,
        /// Where it should be.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// It says no.
    #[error("{of} refused `{route}` ({status}): {said}")]
    Refused {
        /// Who.
        of: &'static str,
        /// What was asked.
        route: String,
        /// The status of its answer.
        status: u16,
        /// Why, in its words.
        said: String,
    },
    /// It answers, but not as it should.
    #[error("{of}'s answer to `{route}` is not understood")]
    Strange {
        /// Who.
        of: &'static str,
        /// What was asked.
        route: String,
    },
    /// FlowAuth's server of that name is an older FlowAPI.
    #[error("FlowAuth's server {server} lacks the scope {scope}: upload the openapi.json of FlowAPI there again")]
    Scope {
        /// The server's name.
        server: String,
        /// What it lacks.
        scope: &'static str,
    },
    /// A token that was revoked is still good.
    #[error("FlowAPI still lets in a token {} s after it was revoked", .0.as_secs())]
    LetIn(Duration),
    /// Python could not be run.
    #[error("cannot run {program}")]
    Python {
        /// The interpreter.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The library ended badly.
    #[error("FlowMachine's library ended with {status}: {said}")]
    Library {
        /// How.
        status: String,
        /// The last lines that it printed.
        said: String,
    },
    /// AutoFlow did not make the report.
    #[error("AutoFlow made no report: {said}")]
    AutoFlow {
        /// Why, in its words.
        said: String,
    },
    /// An example went wrong.
    #[error("{said}")]
    Example {
        /// Which.
        name: &'static str,
        /// What it said.
        said: String,
    },
    /// There is too little data for every example.
    #[error("none of the examples could be drawn")]
    NoneDrawn,
    /// The figures of an example are not those of the records.
    #[error("{} figures differ{}", .0.len(), .0.iter().take(10).map(|line| format!("\n  {line}")).collect::<String>())]
    Figures(Vec<String>),
    /// What an example needs or leaves can't be written.
    #[error("{} can't be used", path.display())]
    Place {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The process can't have what it needs of the system.
    #[error("cannot wait for answers")]
    Runtime(#[source] io::Error),
}

/// The first differences, and how many more there are.
fn differences(all: &[Difference]) -> String {
    const SHOWN: usize = 10;
    let mut lines = vec![format!("{} areas differ", all.len())];
    lines.extend(all.iter().take(SHOWN).map(|difference| format!("  {difference}")));
    if all.len() > SHOWN {
        lines.push(format!("  and {} more", all.len() - SHOWN));
    }
    lines.join("\n")
}

impl Error {
    /// Turns what PostgreSQL says into what could not be done.
    pub(super) fn sql(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
        move |source| Error::Sql { what, source }
    }
}

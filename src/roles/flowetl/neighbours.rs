//! Waiting for those who run somewhere else, saying for whom.

use std::process::ExitCode;
use std::time::Duration;

use tokio_postgres::config::Host;

use super::airflow::health;
use super::places::pages_elsewhere;
use crate::failure::Failure;
use crate::flowmachine::neighbours::{Away, away, patiently};
use crate::roles::{Deployment, wait};
use flowkit_core::config::bracketed;
use say::{Shown, show};

/// The connection by which tasks reach FlowDB.
const CONNECTION: &str = "AIRFLOW_CONN_FLOWDB";

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Waits until FlowDB answers who runs tasks, with its schema in place: a task that fails for want of it is tried again a day later.
pub(super) fn await_flowdb(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let connection = deployment.site.store.get(CONNECTION).map_err(|error| Failure::mistake(error.problem()))?;
    // It may have what Airflow alone understands.
    let Ok(config) = connection.expose().parse::<tokio_postgres::Config>() else {
        show!("warning: {CONNECTION} is no address of PostgreSQL's that is understood: FlowDB is not waited for");
        return Ok(ExitCode::SUCCESS);
    };
    let address = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{}:{}", bracketed(host), config.get_ports().first().unwrap_or(&5432)),
        _ => CONNECTION.to_owned(),
    };
    let ask = async || {
        let ask = async {
            let (client, connection) = scram::connect(&config).await?;
            tokio::spawn(connection);
            client.query_one("SELECT count(*) FROM flowdb_version()", &[]).await
        };
        Ok(match tokio::time::timeout(ANSWER, ask).await {
            Ok(answer) => answer.map(drop).map_err(|error| away(&error)),
            Err(_) => Err(Away::Absent("no answer".to_owned())),
        })
    };
    wait(patiently("FlowDB", &address, CONNECTION, ask, |line| show!("{}", Shown(line))))?.map_err(Failure::mistake)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the pages answer: then the database's schema is there, too.
pub(super) fn await_pages(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let pages = pages_elsewhere(&deployment.site.settings);
    let ask = async || {
        Ok(match tokio::time::timeout(ANSWER, health(&pages)).await {
            // It names the place, as we do.
            Ok(answer) => answer.map_err(|why| Away::Absent(why.rsplit("reached: ").next().unwrap_or(&why).to_owned())),
            Err(_) => Err(Away::Absent("no answer".to_owned())),
        })
    };
    let (who, address) = ("FlowETL's api-server", pages.to_string());
    let waited = patiently(who, &address, "", ask, |line| show!("{}", Shown(line)));
    wait(waited)?.map_err(Failure::mistake)?;
    Ok(ExitCode::SUCCESS)
}

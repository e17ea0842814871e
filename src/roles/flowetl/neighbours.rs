//! Waiting for those who run somewhere else, saying for whom.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;

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

/// How long a database without FlowDB's schema is taken for one that is being made.
const MADE: Duration = Duration::from_secs(600);

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
    let begun = Instant::now();
    let ask = async || {
        let ask = async {
            let (client, connection) = scram::connect(&config).await?;
            tokio::spawn(connection);
            client.query_one("SELECT count(*) FROM flowdb_version()", &[]).await
        };
        Ok(match tokio::time::timeout(ANSWER, ask).await {
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) if stays(&error, begun.elapsed()) => Ok(Some(away(&error).to_string())),
            Ok(Err(error)) => Err(away(&error)),
            Err(_) => Err(Away::Absent("no answer".to_owned())),
        })
    };
    let waited = patiently("FlowDB", &address, CONNECTION, ask, |line| show!("{}", Shown(line)));
    if let Some(why) = wait(waited)?.map_err(Failure::mistake)? {
        show!("warning: FlowDB at {address} is not waited for, as it answers: {}", Shown(&why));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether waiting changes nothing about it: neither the connection nor the password is what is wrong. Airflow's tasks may get on with what
/// answers where this can't, by TLS for one.
fn stays(error: &tokio_postgres::Error, waited: Duration) -> bool {
    match error.as_db_error() {
        Some(told) => code_stays(told.code(), waited),
        None => {
            let broken = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            // What says other of itself is ours, about who wants to see the password.
            !error.is_closed() && broken.is_none_or(|broken| broken.kind() == io::ErrorKind::Other)
        }
    }
}

fn code_stays(code: &SqlState, waited: Duration) -> bool {
    // Connections, means that ran out, an operator's doing: starting and stopping among them.
    const PASSING: &[&str] = &["08", "53", "57"];
    match code {
        code if [SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_CATALOG_NAME].contains(code) => waited > MADE,
        code => *code != SqlState::INVALID_PASSWORD && !PASSING.iter().any(|class| code.code().starts_with(class)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    #[test]
    fn what_waiting_does_not_change_is_not_waited_for() {
        let stays = |code: SqlState, seconds| code_stays(&code, Duration::from_secs(seconds));
        let starting = [SqlState::CANNOT_CONNECT_NOW, SqlState::TOO_MANY_CONNECTIONS, SqlState::CONNECTION_FAILURE];
        assert!(starting.into_iter().chain([SqlState::INVALID_PASSWORD]).all(|code| !stays(code, 10_000)));
        assert!(!stays(SqlState::UNDEFINED_FUNCTION, 1) && stays(SqlState::UNDEFINED_FUNCTION, 601));
        // TLS is demanded; nobody lets it read.
        assert!(stays(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, 1));
        assert!(stays(SqlState::INSUFFICIENT_PRIVILEGE, 1));
    }

    #[test]
    fn neither_is_a_server_with_another_way_of_logging_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let of = |tls: &str| {
            let config: tokio_postgres::Config =
                format!("postgres://flowdb:word@127.0.0.1:{port}/flowdb?sslmode={tls}").parse().unwrap();
            let error = wait(async { scram::connect(&config).await.err().unwrap() }).unwrap();
            stays(&error, Duration::ZERO)
        };
        let serve = |answer: &'static [u8]| {
            let listener = listener.try_clone().unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 512]).unwrap();
                stream.write_all(answer).unwrap();
            })
        };
        for (tls, answer, is_left) in
            [("disable", &b"R\0\0\0\x0c\0\0\0\x05salt"[..], true), ("require", b"N", true), ("disable", b"", false)]
        {
            let server = serve(answer);
            assert_eq!(of(tls), is_left, "{tls} {answer:?}");
            server.join().unwrap();
        }
        drop(listener);
        assert!(!of("disable"), "nobody is there");
    }
}

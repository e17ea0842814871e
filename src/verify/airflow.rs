//! Airflow, as somebody sees it who signs in to its API: one DAG of it, and that DAG's runs.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use time::Date;

use super::{Error, Target};

/// The DAG; `python/flowkit_flowetl/dags` has it.
pub(super) const DAG: &str = "flowkit_verify";

/// Bytes of an answer that are taken.
const MOST: usize = 16 << 20;

/// Between two looks at a run.
const PAUSE: Duration = Duration::from_secs(1);

/// A DAG file is read within half a minute of the start of its processor, which is busy then.
const UNREAD: Duration = Duration::from_secs(120);

/// A task that is told to end does so within seconds.
const ENDING: Duration = Duration::from_secs(90);

/// A task hears that it has failed when it tells next that it lives, every 5 s, and is killed where it does not end by itself: after 5 s, and 5 s.
const HEARING: Duration = Duration::from_secs(16);

/// For a connection on this machine.
const CONNECTING: Duration = Duration::from_secs(10);

/// Where Airflow's pages are.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// Of this machine.
    pub address: SocketAddr,
    /// The user that Airflow runs as. While it is down anybody may listen in its place, and would get the password in clear.
    pub owner: u32,
}

pub(super) struct Airflow {
    pages: Pages,
    http: https::Client,
    token: String,
}

impl Airflow {
    /// Signs in as the administrator whom `flowkit` makes.
    pub async fn sign_in(target: &Target<'_>, pages: Pages) -> Result<Airflow, Error> {
        let secret = |name: &str| target.site.store.get(name);
        let (name, password) = (secret("FLOWETL_AIRFLOW_ADMIN_USERNAME")?, secret("FLOWETL_AIRFLOW_ADMIN_PASSWORD")?);
        let mut airflow = Airflow::at(pages);
        let who = json!({ "username": name.expose(), "password": password.expose() });
        let token = airflow.ask(Method::POST, "/auth/token", Some(&who)).await?;
        token["access_token"].as_str().ok_or_else(|| strange("/auth/token"))?.clone_into(&mut airflow.token);
        Ok(airflow)
    }

    fn at(pages: Pages) -> Airflow {
        let http = https::Client::plain(pages.address.ip().to_string(), pages.address.port());
        Airflow { pages, http, token: String::new() }
    }

    /// Waits until Airflow has read the DAG, and lets it run.
    pub async fn await_dag(&self, patience: Duration) -> Result<(), Error> {
        let path = format!("/api/v2/dags/{DAG}");
        let until = Instant::now() + UNREAD.min(patience);
        let dag = loop {
            match self.ask(Method::GET, &path, None).await {
                Err(Error::Refused { status: 404, .. }) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Err(Error::Refused { status: 404, .. }) => return Err(Error::NoDag),
                dag => break dag?,
            }
        };
        if dag["is_paused"] == true {
            self.ask(Method::PATCH, &path, Some(&json!({ "is_paused": false }))).await?;
        }
        Ok(())
    }

    /// Ends and removes every run of the DAG's.
    pub async fn clear(&self) -> Result<(), Error> {
        let path = format!("/api/v2/dags/{DAG}/dagRuns");
        let runs = self.ask(Method::GET, &path, None).await?;
        for run in runs["dag_runs"].as_array().into_iter().flatten() {
            let id = run["dag_run_id"].as_str().ok_or_else(|| strange(&path))?;
            self.end(id).await?;
            self.ask(Method::DELETE, &format!("{path}/{id}"), None).await?;
        }
        Ok(())
    }

    /// Begins a run for a day; its name.
    pub async fn begin(&self, day: Date) -> Result<String, Error> {
        let path = format!("/api/v2/dags/{DAG}/dagRuns");
        let run = self
            .ask(
                Method::POST,
                &path,
                Some(&json!({ "logical_date": format!("{day}T00:00:00Z"), "note": "flowkit verify" })),
            )
            .await?;
        run["dag_run_id"].as_str().map(str::to_owned).ok_or_else(|| strange(&path))
    }

    /// Waits for a run's good end.
    pub async fn wait(&self, run: &str, patience: Duration) -> Result<(), Error> {
        let until = Instant::now() + patience;
        loop {
            let state = self.state(run).await?;
            match state.as_str() {
                "success" => return Ok(()),
                "failed" => return Err(self.why(run).await?),
                _ if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                _ => return Err(Error::DagLate { state, patience }),
            }
        }
    }

    /// Sees to it that nothing of a run is at work any more.
    pub async fn end(&self, run: &str) -> Result<(), Error> {
        if ["success", "failed"].contains(&self.state(run).await?.as_str()) {
            return Ok(());
        }
        let path = format!("/api/v2/dags/{DAG}/dagRuns/{run}");
        self.ask(Method::PATCH, &path, Some(&json!({ "state": "failed" }))).await?;
        let until = Instant::now() + ENDING;
        let running = format!("{path}/taskInstances?state=running");
        while self.ask(Method::GET, &running, None).await?["total_entries"].as_i64().unwrap_or(0) > 0 {
            if Instant::now() > until {
                return Err(Error::DagLate { state: "ending".to_owned(), patience: ENDING });
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(HEARING).await;
        Ok(())
    }

    async fn state(&self, run: &str) -> Result<String, Error> {
        let path = format!("/api/v2/dags/{DAG}/dagRuns/{run}");
        let run = self.ask(Method::GET, &path, None).await?;
        run["state"].as_str().map(str::to_owned).ok_or_else(|| strange(&path))
    }

    /// Which task failed, and what its log says last.
    async fn why(&self, run: &str) -> Result<Error, Error> {
        let path = format!("/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances");
        let failed = self.ask(Method::GET, &format!("{path}?state=failed&order_by=end_date"), None).await?;
        let task = &failed["task_instances"][0];
        let Some(id) = task["task_id"].as_str() else {
            return Ok(Error::Dag {
                task: "none of its tasks".to_owned(),
                said: "the scheduler's log says why".to_owned(),
            });
        };
        let log = format!("{path}/{id}/logs/{}", task["try_number"].as_i64().unwrap_or(1));
        let said = self.ask(Method::GET, &log, None).await.ok().and_then(|log| last_error(&log));
        Ok(Error::Dag { task: id.to_owned(), said: said.unwrap_or_else(|| "its log says why".to_owned()) })
    }

    /// Nothing is sent to anybody but Airflow's user.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let failed = |source| Error::Silent { of: "Airflow", address: self.pages.address, source };
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(body).map_err(|error| failed(io::Error::other(error)))?;
        let Pages { address, owner } = self.pages;
        let stream = supervisor::connect_to_user(owner, address, CONNECTING).map_err(failed)?;
        let answer = self.http.send_over(stream, request, MOST).await.map_err(failed)?;
        let said = answer.body();
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(Value::Null),
            status if status.is_success() => serde_json::from_slice(said).map_err(|_| strange(path)),
            status => {
                let said: Value = serde_json::from_slice(said).unwrap_or_default();
                let said = said["detail"].as_str().map_or_else(|| said["detail"].to_string(), str::to_owned);
                Err(Error::Refused { of: "Airflow", route: path.to_owned(), status: status.as_u16(), said })
            }
        }
    }
}

fn strange(path: &str) -> Error {
    Error::Strange { of: "Airflow", route: path.to_owned() }
}

/// The last error in a task's log, in one line: the exception that ended it, else what was called an error.
fn last_error(log: &Value) -> Option<String> {
    let said = log["content"].as_array()?.iter().rev();
    let told = |entry: &Value| {
        let thrown = &entry["error_detail"][0];
        let text = match (thrown["exc_type"].as_str(), thrown["exc_value"].as_str()) {
            (Some(name), Some(value)) => format!("{name}: {value}"),
            _ if entry["level"] == "error" => entry["event"].as_str()?.to_owned(),
            _ => return None,
        };
        text.lines().next().map(str::to_owned)
    };
    said.filter_map(told).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_in_airflows_place_is_sent_nothing() {
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        stranger.set_nonblocking(true).unwrap();
        let (us, address) = (rustix::process::geteuid().as_raw(), stranger.local_addr().unwrap());
        let airflow = Airflow::at(Pages { address, owner: us + 1 });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let who = json!({ "username": "admin", "password": "secret" });
        let failed = runtime.block_on(airflow.ask(Method::POST, "/auth/token", Some(&who))).unwrap_err();
        let Error::Silent { source, .. } = failed else { panic!("{failed}") };
        assert_eq!(source.to_string(), format!("a process of user {us} listens at {address}"));
        assert_eq!(stranger.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_exception_that_ended_a_task_is_told_in_a_line() {
        let thrown = json!([{ "exc_type": "CheckViolation", "exc_value": "it is violated\nDETAIL: by a row" }]);
        let log = json!({ "content": [
            { "event": "::group::Log message source details" },
            { "event": "Running statement", "level": "info" },
            { "event": "Task failed with exception", "level": "error", "error_detail": thrown },
            { "event": "Task finished", "level": "info" },
        ]});
        assert_eq!(last_error(&log).as_deref(), Some("CheckViolation: it is violated"));
        let log = json!({ "content": [{ "event": "Dag is not there", "level": "error" }, { "event": "bye" }] });
        assert_eq!(last_error(&log).as_deref(), Some("Dag is not there"));
        assert_eq!(last_error(&json!({ "content": [{ "event": "bye" }] })), None);
    }
}

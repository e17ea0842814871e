//! The question as FlowAPI puts it: to FlowMachine's server, over ZeroMQ; the result is read with FlowAPI's login.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::Date;
use tokio_postgres::SimpleQueryMessage;

use super::question::Question;
use super::{Counts, Error, Target};
use crate::flowmachine::{Client, Status};

/// Pause before the state of a query is asked for again: each question keeps the server from its work.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whether it is there.
pub fn ping(target: &Target) -> Result<(), Error> {
    ask(target, "ping", json!({})).map(drop)
}

/// The number of each group.
pub fn counts(target: &Target, question: &Question) -> Result<Counts, Error> {
    let id = text(&ask(target, "run_query", question.spec.clone())?, "run_query", "query_id")?;
    wait(target, &id)?;
    let answer = ask(target, "get_sql_for_query_result", json!({ "query_id": id }))?;
    let sql = text(&answer, "get_sql_for_query_result", "sql")?;
    let user = target.site.store.get("FLOWAPI_FLOWDB_USER")?;
    target.ask_as(user.expose(), async |client| {
        let rows = client.simple_query(&sql).await.map_err(Error::sql("give the result to FlowAPI's login"))?;
        read(&rows, question.by)
    })
}

/// Longest time for which the server may not have looked which days there are: upstream's looks every two minutes.
const STALE: Duration = Duration::from_secs(130);

/// Waits until the server knows a day: it looks now and then only which days are ingested.
pub fn knows(target: &Target, day: Date, tables: &[String]) -> Result<(), Error> {
    let (until, day) = (Instant::now() + STALE.min(target.patience), day.to_string());
    loop {
        let known = ask(target, "get_available_dates", json!({}))?;
        let listed =
            |table: &String| known[table].as_array().is_some_and(|days| days.iter().any(|d| d == day.as_str()));
        if tables.iter().all(listed) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::Unknown { day, seconds: STALE.min(target.patience).as_secs() });
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until a query is completed.
fn wait(target: &Target, id: &str) -> Result<(), Error> {
    let until = Instant::now() + target.patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let state = text(&ask(target, "poll_query", json!({ "query_id": id }))?, "poll_query", "query_state")?;
        match state.as_str() {
            "completed" => return Ok(()),
            "known" | "queued" | "executing" | "resetting" if Instant::now() < until => thread::sleep(pause),
            "known" | "queued" | "executing" | "resetting" => {
                return Err(Error::Late { id: id.to_owned(), state, patience: target.patience });
            }
            _ => return Err(Error::Ended { id: id.to_owned(), state }),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One request; the payload of its answer. An error that tells a query's state is an answer too.
fn ask(target: &Target, action: &'static str, params: Value) -> Result<Value, Error> {
    let address = target.flowmachine.as_ref().map_err(|why| Error::Away("FlowMachine", why.clone()))?;
    let reply = Client::request_blocking(&address.to_string(), action, params, target.patience)?;
    if reply.status == Status::Error && action == "poll_query" && reply.payload.get("query_state").is_some() {
        return Ok(reply.payload);
    }
    Ok(reply.success(action)?)
}

fn text(payload: &Value, action: &'static str, field: &'static str) -> Result<String, Error> {
    payload.get(field).and_then(Value::as_str).map(str::to_owned).ok_or(Error::Lacking { action, field })
}

/// Rows of a group and its `value`.
fn read(messages: &[SimpleQueryMessage], by: &str) -> Result<Counts, Error> {
    let mut counts = Counts::new();
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let column = |name: &str| row.columns().iter().position(|c| c.name() == name).and_then(|index| row.get(index));
        let value = column("value").and_then(|value| value.parse().ok());
        match (column(by), value) {
            (Some(area), Some(value)) => _ = counts.insert(area.to_owned(), value),
            (area, _) => return Err(Error::Row(format!("{area:?}, {:?}", column("value")))),
        }
    }
    Ok(counts)
}

//! How the deployment is, for the page of FlowAuth's administrators. No document names it, so that no role can be granted it; FlowAuth
//! asks with a token of its own, which lives for a minute.

use std::borrow::Borrow as _;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::{Client, Row};
use web::RequestId;
use web::axum::extract::State;

use super::{Answer, json as of};
use crate::app::App;
use crate::audit;
use crate::caller::Caller;

/// What FlowDB tells of itself (its migration V18); the time in seconds since 1970.
const FIGURES: &str = "SELECT extract(epoch FROM since)::bigint AS since, bytes, cache_bytes, cache_most, results, running FROM cache.figures()";

/// Since when this server and FlowDB run and FlowMachine has answered it, in seconds since 1970; sizes in bytes; queries that run and
/// that failed lately. What FlowDB does not tell is null, and so is FlowMachine's time while it does not answer.
pub async fn get(State(app): State<Arc<App>>, caller: Caller, id: RequestId) -> Answer {
    caller.permit_deployment()?;
    audit::query!("get_deployment");
    let figures = match figures(&app, &id).await {
        Ok(row) => told(&row),
        Err(why) => {
            tracing::warn!(why, "FlowDB does not tell its figures");
            Value::Null
        }
    };
    let failed = app.polls.failed().into_iter();
    let failed = failed.map(|failed| {
        let kind = app.known.kind(&failed.id);
        json!({ "query_id": failed.id, "query_kind": kind, "at": seconds(failed.at) })
    });
    let body = json!({
        "since": seconds(app.since),
        "flowmachine_answers_since": app.flowmachine.answers_since().map(seconds),
        "flowdb": figures,
        "failed": failed.collect::<Vec<_>>(),
    });
    of(StatusCode::OK, &body)
}

async fn figures(app: &App, id: &RequestId) -> Result<Row, String> {
    let lease = app.database.lease(app.open_asker(id).until).await.map_err(|error| error.to_string())?;
    // Who hangs up leaves no connection behind that still works, for the next one to wait for.
    let asked = tokio::spawn(async move {
        let client: &Client = lease.borrow();
        client.query_one(FIGURES, &[]).await.map_err(|error| say::in_full(&error))
    });
    asked.await.map_err(|error| error.to_string())?
}

fn told(row: &Row) -> Value {
    let number = |name: &str| row.get::<_, Option<i64>>(name);
    json!({
        "since": number("since"),
        "bytes": number("bytes"),
        "running": number("running"),
        "cache": { "bytes": number("cache_bytes"), "most": number("cache_most"), "results": number("results") },
    })
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

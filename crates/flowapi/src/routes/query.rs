//! Running a query, and asking for its state.

use std::sync::Arc;

use access::{Act, Spec};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::Instrument as _;
use web::axum::extract::{FromRequest as _, Path, Request, State};
use web::axum::response::IntoResponse as _;
use web::{Error, RequestId};

use super::wait::Wait;
use super::{Answer, failed, json};
use crate::app::App;
use crate::caller::Caller;
use crate::fair::Place;
use crate::flowmachine::{self, Asker, Reply};
use crate::{audit, known};

/// What of FlowMachine's answers is handed on.
#[derive(Deserialize)]
struct Started {
    query_id: String,
    progress: Box<RawValue>,
}

#[derive(Deserialize)]
struct Polled {
    query_state: String,
    progress: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct State202<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a RawValue>,
}

/// Starts a query, or finds it started.
pub async fn run(State(app): State<Arc<App>>, caller: Caller, id: RequestId, request: Request) -> Answer {
    // Before the body, which may take its time: one user's are so many at once.
    let asker = app.asker(&caller, &id)?;
    let json = is_json(request.headers());
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) if json => body,
        Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Error::of(StatusCode::PAYLOAD_TOO_LARGE));
        }
        _ => return Err(Error::new(StatusCode::BAD_REQUEST, "Could not parse query spec.")),
    };
    let spec = app.gate.read(&body)?;
    caller.precheck(Act::Run, &spec)?;
    let mut places = vec![app.fair.query(&app, &caller, &asker).await?];
    let unit = match known::unit(&app.flowmachine, &asker, spec.raw()).await? {
        Ok(unit) => unit,
        Err(refused) => return Err(Error::new(StatusCode::BAD_REQUEST, why(refused))),
    };
    caller.permit(Act::Run, &spec, unit.as_deref())?;
    // What it is about, even where it is too long for the log.
    let (kinds, days) = (audit::json(spec.kinds()), spec.reach());
    audit::query!("run_query", json.query = spec.text(), json.kinds = kinds, days = days);
    places.extend(app.fair.samples(&app, spec.samples(), &asker).await?);
    // A client that hangs up has started it all the same.
    let work = start(app, asker, spec, places).in_current_span();
    tokio::spawn(work).await?
}

/// Has FlowMachine start it.
async fn start(app: Arc<App>, asker: Asker, spec: Spec, places: Vec<Place>) -> Answer {
    const ACTION: &str = "run_query";
    let reply = match app.flowmachine.of_query(&asker, ACTION, spec.raw()).await {
        Ok(reply) => reply,
        Err(error) => {
            if matches!(error, flowmachine::Error::Late(_)) {
                places.into_iter().for_each(Place::doubted);
            }
            return Err(error.into());
        }
    };
    if !reply.is_success() {
        let payload: serde_json::Value = reply.read(ACTION)?;
        return Err(Error::new(StatusCode::BAD_REQUEST, why(reply)).with("status", "Error").with("payload", payload));
    }
    let Started { query_id, progress } = reply.read(ACTION)?;
    // It may have been asked for a moment ago, when nobody had run it.
    app.polls.forget(&query_id);
    places.into_iter().for_each(|place| place.started(&query_id));
    audit::query!("started", query_id = query_id);
    let body = format!("{{\"query_id\":{},\"progress\":{progress}}}", serde_json::to_string(&query_id)?);
    let place = HeaderValue::try_from(format!("/api/0/poll/{query_id}"))?;
    let kind = HeaderValue::from_static("application/json");
    let answer = [(header::CONTENT_TYPE, kind), (header::LOCATION, place), (header::RETRY_AFTER, SOON)];
    Ok((StatusCode::ACCEPTED, answer, body).into_response())
}

/// What is wrong with a query, as FlowMachine says, where it does.
fn why(refused: Reply) -> String {
    if refused.is_misfit() { "FlowMachine can't make a query of this spec.".to_owned() } else { refused.msg }
}

/// After how many seconds a client is best back.
pub const SOON: HeaderValue = HeaderValue::from_static("1");

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The state of a query, now or at its end.
pub async fn poll(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: RequestId,
    Path(query_id): Path<String>,
    wait: Wait,
) -> Answer {
    audit::query!("poll_query", query_id = query_id);
    let asker = app.asker(&caller, &id)?;
    caller.of_stored(&app, &asker, Act::Poll, &query_id).await?;
    let reply = app.polls.wait(&app.flowmachine, &asker, &query_id, wait.time()).await?;
    state(&reply, &query_id).map(|response| wait.applied(response))
}

fn state(reply: &Reply, query_id: &str) -> Answer {
    if !reply.is_success() {
        return Err(match reply.state() {
            Some(_) => known::lost(reply, query_id),
            None => failed(reply, "error"),
        });
    }
    let Polled { query_state, progress } = reply.read("poll_query")?;
    let mut body = State202 { status: &query_state, msg: Some(""), progress: None };
    match query_state.as_str() {
        "completed" => {
            body.msg = None;
            let mut response = json(StatusCode::SEE_OTHER, &body)?;
            let place = HeaderValue::try_from(format!("/api/0/get/{query_id}"))?;
            response.headers_mut().insert(header::LOCATION, place);
            Ok(response)
        }
        "executing" | "queued" => {
            body.progress = progress.as_deref();
            let mut response = json(StatusCode::ACCEPTED, &body)?;
            response.headers_mut().insert(header::RETRY_AFTER, SOON);
            Ok(response)
        }
        "errored" | "cancelled" => json(StatusCode::INTERNAL_SERVER_ERROR, &body),
        _ => json(StatusCode::NOT_FOUND, &body),
    }
}

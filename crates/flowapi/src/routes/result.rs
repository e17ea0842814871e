//! The result of a query, as a file of the type that the client likes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use access::Act;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode, header};
use results::{Format, Query, Rows};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use web::axum::body::Body;
use web::axum::extract::{Path, State};
use web::axum::response::IntoResponse as _;
use web::{Error, RequestId};

use super::query::SOON;
use super::wait::Wait;
use super::{Answer, failed, json as of};
use crate::app::App;
use crate::audit;
use crate::caller::Caller;
use crate::database::{self, Lease};
use crate::fair::Seat;
use crate::flowmachine::{Asker, Reply};
use crate::polls::is_on_its_way;

#[derive(Deserialize)]
pub(super) struct Sql {
    pub sql: String,
    pub aggregation_unit: Option<String>,
}

/// The result, or why there is none yet.
pub async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: RequestId,
    Path(file): Path<String>,
    wait: Wait,
) -> Answer {
    let (query_id, extension) = file.rsplit_once('.').unwrap_or((&file, "json"));
    let format = Format::from_extension(extension);
    let mut asker = app.asker(&caller, &id)?;
    caller.of_stored(&app, &asker, Act::Get, query_id).await?;
    audit::query!("get_result", query_id = query_id, filetype = extension);
    if !wait.time().is_zero() {
        app.polls.wait(&app.flowmachine, &asker, query_id, wait.time()).await?;
        asker.until = Instant::now() + app.options.patience;
    }
    let action = match format.is_some_and(Format::is_geographic) {
        true => "get_geo_sql_for_query_result",
        false => "get_sql_for_query_result",
    };
    let reply = app.flowmachine.about(&asker, action, &[("query_id", query_id)]).await?;
    if !reply.is_success() {
        return not_ready(&reply).map(|response| wait.applied(response));
    }
    let Sql { sql, aggregation_unit } = reply.read(action)?;
    let Some(format) = format else {
        return Err(Error::new(StatusCode::BAD_REQUEST, "Invalid file format").with("status", "error"));
    };
    if format.is_geographic() {
        caller.permit_geography(aggregation_unit.as_deref().unwrap_or("nonspatial"))?;
    }
    let file = File { format, name: query_id, sql: &sql };
    file.stream(&app, &caller, &asker).await.map(|response| wait.applied(response))
}

/// What FlowMachine says instead of the SQL.
fn not_ready(reply: &Reply) -> Answer {
    let Some(state) = reply.state() else { return Err(failed(reply, "error")) };
    let refused = |status: StatusCode, text: String| Err(Error::new(status, text).with("status", "Error"));
    match state.as_str() {
        state if is_on_its_way(state) => {
            let mut response = of(StatusCode::ACCEPTED, &json!({}))?;
            response.headers_mut().insert(header::RETRY_AFTER, SOON);
            Ok(response)
        }
        "errored" => refused(StatusCode::FORBIDDEN, reply.msg.clone()),
        "awol" | "known" => refused(StatusCode::NOT_FOUND, reply.msg.clone()),
        other => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("Unexpected query state: {other}")),
    }
}

/// What is sent as a file.
pub(super) struct File<'a> {
    pub format: Format,
    /// Its name without the extension.
    pub name: &'a str,
    pub sql: &'a str,
}

impl File<'_> {
    /// Runs the SQL and sends what comes. The first row is there before the status is said.
    pub async fn stream(&self, app: &App, caller: &Caller, asker: &Asker) -> Answer {
        let seat = app.fair.result(app, caller)?;
        let query = Query { sql: self.sql, format: self.format, query_id: self.name, timeout: None };
        let rows = self.open(app, asker, &query).await?;
        let kind = HeaderValue::from_static(self.format.content_type());
        let name = format!("attachment;filename={}.{}", self.name, self.format.extension());
        let disposition = HeaderValue::try_from(name)?;
        let body = Body::from_stream(Sent { rows, _seat: seat });
        Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)], body).into_response())
    }

    async fn open(&self, app: &App, asker: &Asker, query: &Query<'_>) -> Result<Rows<Lease>, Error> {
        let lease = app.database.lease(asker.until).await?;
        match results::open(lease, query).await {
            Ok(rows) => Ok(rows),
            // One that was cut while it lay idle: the database was started anew.
            Err(error) if error.is_closed() => {
                let lease = app.database.lease(asker.until).await?;
                results::open(lease, query).await.map_err(refused)
            }
            Err(error) => Err(refused(error)),
        }
    }
}

/// The database has no result, or is away.
fn refused(error: results::Error) -> Error {
    if error.is_closed() {
        return database::Error::Away(say::in_full(&error)).into();
    }
    Error::of(StatusCode::INTERNAL_SERVER_ERROR).with("status", "error").because(error)
}

/// A result on its way, in its user's seat.
struct Sent {
    rows: Rows<Lease>,
    _seat: Seat,
}

impl Stream for Sent {
    type Item = Result<Bytes, results::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.rows).poll_next(context)
    }
}

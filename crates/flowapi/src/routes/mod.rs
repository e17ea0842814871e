//! The routes, one module for each part of the API.

mod deployment;
mod geography;
mod pages;
mod qa;
mod query;
mod result;
mod wait;

use std::sync::Arc;

use http::{StatusCode, Version};
use web::Error;
use web::axum::Router;
use web::axum::extract::{DefaultBodyLimit, Request, State};
use web::axum::middleware::{Next, from_fn, from_fn_with_state};
use web::axum::response::{IntoResponse as _, Response};
use web::axum::routing::{get, post};

use crate::app::App;
use crate::flowmachine::Reply;
use crate::metrics;

/// A handler's answer.
type Answer = Result<Response, Error>;

/// The most that a query may have in bytes; larger ones are refused by their number of parts anyway.
const LARGEST_QUERY: usize = 256 << 10;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let pages = Router::new()
        .route("/api/0/spec/openapi.json", get(pages::json))
        .route("/api/0/spec/openapi.yaml", get(pages::yaml))
        .route("/api/0/spec/redoc", get(pages::redoc))
        .route("/api/0/spec/redoc.js", get(pages::script));
    let data = Router::new()
        .route("/api/0/run", post(query::run).layer(DefaultBodyLimit::max(LARGEST_QUERY)))
        .route("/api/0/poll/{query_id}", get(query::poll))
        .route("/api/0/get/{file}", get(result::get).layer(from_fn(whole)))
        .route("/api/0/geography/{aggregation_unit}", get(geography::get).layer(from_fn(whole)))
        .route("/api/0/available_dates", get(qa::available_dates))
        .route("/api/0/deployment", get(deployment::get))
        .route("/api/0/qa", get(qa::list))
        .route("/api/0/qa/", get(qa::list))
        .route("/api/0/qa/{cdr_type}/{check_id}", get(qa::range))
        .route("/api/0/qa/{cdr_type}/{check_id}/{check_date}", get(qa::day));
    // Nothing of a token's is in an answer: what is compressed tells a stranger nothing by its length.
    let mut routes = Router::new().route("/", get(pages::root)).merge(pages.merge(data).layer(web::compressed()));
    if app.options.metrics {
        routes = routes.route("/metrics", get(figures));
    }
    let routes = routes.route_layer(from_fn_with_state(app.clone(), metrics::count)).with_state(app.clone());
    routes.nest("/api/0/health", crate::health::health(app).router())
}

/// Refuses files to clients of HTTP/1.0: there the end of the connection is the end of the file.
async fn whole(request: Request, next: Next) -> Answer {
    if request.version() < Version::HTTP_11 {
        let text = "Results need HTTP/1.1: a torn one could not be told from a whole one.";
        return Err(Error::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text).with("status", "error"));
    }
    Ok(next.run(request).await)
}

async fn figures(State(app): State<Arc<App>>) -> Response {
    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&app)).into_response()
}

/// What the client is told when FlowMachine says no to something that is no query.
fn failed(reply: &Reply, status: &'static str) -> Error {
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, reply.msg.clone()).with("status", status)
}

/// An answer of JSON.
fn json(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    let body = serde_json::to_string(body)?;
    Ok((status, [(http::header::CONTENT_TYPE, "application/json")], body).into_response())
}

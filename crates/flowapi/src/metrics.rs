//! Figures for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use web::axum::extract::{MatchedPath, Request, State};
use web::axum::middleware::Next;
use web::axum::response::Response;

use crate::app::App;

/// Requests, and how they were answered.
#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<Kind, Sum>>);

/// Method, route and status.
type Kind = (&'static str, String, u16);

/// How many, and the time to the beginning of their answers.
type Sum = (u64, Duration);

/// Counts a request of a route. What has no route is not counted: paths are the client's to choose.
pub async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    if let Some(route) = route {
        let mut all = app.metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, time) = all.entry((method, route, response.status().as_u16())).or_default();
        *count += 1;
        *time += began.elapsed();
    }
    response
}

/// All figures.
pub fn text(app: &App) -> String {
    let mut text = String::new();
    // Writing to memory can't fail.
    let all = app.metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(text, "# HELP flowapi_requests_total Requests.\n# TYPE flowapi_requests_total counter");
    for ((method, route, status), (count, _)) in &*all {
        let _ = writeln!(
            text,
            "flowapi_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
        );
    }
    let _ = writeln!(
        text,
        "# HELP flowapi_request_seconds_total Time to the beginning of answers.\n# TYPE flowapi_request_seconds_total counter"
    );
    for ((method, route, status), (_, time)) in &*all {
        let seconds = time.as_secs_f64();
        let _ = writeln!(
            text,
            "flowapi_request_seconds_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {seconds}"
        );
    }
    let counts = app.flowmachine.counts();
    for (name, kind, help, value) in [
        ("questions_total", "counter", "Questions to FlowMachine.", counts.asked),
        ("failures_total", "counter", "Questions without an answer.", counts.failed),
        ("connections_lost_total", "counter", "Connections to FlowMachine that broke.", counts.lost),
        ("waiting", "gauge", "Questions that wait for a connection.", counts.waiting as u64),
    ] {
        let name = format!("flowapi_flowmachine_{name}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    revocations(app, &mut text);
    text
}

/// Of the lists of what was revoked: whether each can be relied on, and the age of the oldest.
fn revocations(app: &App, text: &mut String) {
    let lists = app.gate.lists();
    if lists.is_empty() {
        return;
    }
    let good = u8::from(lists.iter().all(|list| list.wrong().is_none()));
    let age =
        lists.iter().map(|list| list.age().map_or("+Inf".to_owned(), |age| age.to_string())).max_by_key(String::len);
    for (name, help, value) in [
        ("reliable", "Whether the lists of revoked tokens can be relied on.", good.to_string()),
        ("age_seconds", "Age of the oldest list of revoked tokens.", age.unwrap_or_default()),
    ] {
        let name = format!("flowapi_revocations_{name}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
}

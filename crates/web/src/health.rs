//! Whether a server lives, and whether it can do its work.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tracing::Instrument as _;

/// An answer holds for this long, so that who asks all the time costs nothing.
const FRESH: Duration = Duration::from_secs(1);

type Asked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = Box<dyn Fn() -> Asked + Send + Sync>;

/// What a server needs to do its work, each with a question.
pub struct Health {
    checks: Vec<(&'static str, bool, Check)>,
    patience: Duration,
}

impl Health {
    /// Nothing is needed. A question that takes longer than `patience` has failed.
    pub fn new(patience: Duration) -> Health {
        Health { checks: Vec::new(), patience }
    }

    /// Adds a part. Why it fails is for the log; strangers learn no more than that it does.
    pub fn needs<F>(mut self, part: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Health
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push((part, true, Box::new(move || Box::pin(check()))));
        self
    }

    /// Adds a part that is told of, while the server does its work without it.
    pub fn tells<F>(mut self, part: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Health
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push((part, false, Box::new(move || Box::pin(check()))));
        self
    }

    /// `/live` answers 200 while the process does; `/` and `/ready` answer 200 when every part that is needed is well and 503 otherwise, with
    /// `{"ready": true, "parts": {"NAME": "ok"}}`. To be nested where the server wants it.
    pub fn router(self) -> Router {
        let shared = Arc::new((self, Mutex::new(None)));
        let ready = get(move || {
            let shared = shared.clone();
            // Who asks and goes at once must not leave a question behind that nobody's answer comes of.
            let asked = tokio::spawn(async move { shared.0.report(&shared.1).await }.in_current_span());
            async move { asked.await.map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), answer) }
        });
        let live = get(|| async { answer(Report { ready: true, parts: Map::new() }) });
        Router::new().route("/", ready.clone()).route("/ready", ready).route("/live", live)
    }

    async fn report(&self, last: &Mutex<Option<(Instant, Report)>>) -> Report {
        // One asks at a time; who waits gets its answer.
        let mut last = last.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let asked = self.checks.iter().map(|(part, needed, check)| async move {
            let answer = tokio::time::timeout(self.patience, check()).await;
            (*part, *needed, answer.unwrap_or_else(|_| Err("no answer in time".to_owned())))
        });
        let answers = futures_util::future::join_all(asked).await;
        let mut report = Report { ready: true, parts: Map::new() };
        for (part, needed, answer) in answers {
            if let Err(why) = &answer {
                tracing::warn!(part, why, "not {}", if needed { "ready" } else { "well" });
                report.ready &= !needed;
            }
            report.parts.insert(part.to_owned(), Value::from(if answer.is_ok() { "ok" } else { "unavailable" }));
        }
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

#[derive(Clone)]
struct Report {
    ready: bool,
    parts: Map<String, Value>,
}

fn answer(report: Report) -> Response {
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": report.ready, "parts": report.parts });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

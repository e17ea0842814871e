//! What is logged, and what never is.

use std::sync::{Arc, Mutex};

use http::Request;
use web::axum::body::Bytes;
use web::axum::http::{StatusCode, header};
use web::axum::routing::get;
use web::test::Client;
use web::{Error, Options};

use super::rig::{good, start};

/// What this thread logs from here on.
fn log() -> (Arc<Mutex<String>>, tracing::subscriber::DefaultGuard, trace::Running) {
    let out = Arc::new(Mutex::new(String::new()));
    let theirs = out.clone();
    let options = trace::Options {
        format: trace::Format::Json,
        level: trace::level("debug").unwrap(),
        ..trace::Options::default()
    };
    let (subscriber, running) = trace::to(&options, move |lines| theirs.lock().unwrap().push_str(lines));
    let guard = tracing::subscriber::set_default(subscriber);
    (out, guard, running)
}

/// On one thread, so that the log is this test's alone.
#[tokio::test]
async fn every_line_has_the_requests_id_and_none_a_secret() {
    let (out, guard, running) = log();
    let router = good().route("/invite/{token}", get(|| async { "welcome" })).route(
        "/fails",
        get(|| async {
            Err::<(), _>(Error::of(StatusCode::SERVICE_UNAVAILABLE).because("the database is away\n\x1b[2J"))
        }),
    );
    let mut server = start(router, Options::default());
    let client = Client::to(server.address);
    for path in ["/good?code=s3cret", "/invite/s3cret", "/s3cret", "/fails?s3cret"] {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, "Bearer s3cret")
            .header(header::COOKIE, "session=s3cret")
            .header("x-request-id", "id-4711")
            .body(Bytes::new())
            .unwrap();
        client.send(request).await;
    }
    server.stop();
    server.stopped().await;
    drop(guard);
    drop(running);

    let text = out.lock().unwrap().clone();
    assert!(!text.contains("s3cret"), "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let access: Vec<_> = lines.iter().filter(|line| line["target"] == "access").collect();
    let seen: Vec<_> = access.iter().map(|line| (line["route"].as_str(), line["status"].as_u64().unwrap())).collect();
    let expected = [(Some("/good"), 200), (Some("/invite/{token}"), 200), (None, 404), (Some("/fails"), 503)];
    assert_eq!(seen, expected, "{text}");
    assert!(access.iter().all(|line| line["request"] == "id-4711" && line["complete"] == true), "{text}");
    assert_eq!((&access[0]["bytes"], &access[0]["peer"]), (&4.into(), &"127.0.0.1".into()));
    let error = lines.iter().find(|line| line["level"] == "error").unwrap();
    assert_eq!((&error["cause"], &error["request"]), (&"the database is away\\n\\u{1b}[2J".into(), &"id-4711".into()));
}

/// As above.
#[tokio::test]
async fn a_client_does_not_choose_what_an_own_id_is() {
    let (out, guard, running) = log();
    let mut server = start(good(), Options { own_ids: true, ..Options::default() });
    let request = Request::get("/good").header("x-request-id", "id-4711").body(Bytes::new()).unwrap();
    let answer = Client::to(server.address).send(request).await;
    server.stop();
    server.stopped().await;
    drop((guard, running));

    let text = out.lock().unwrap().clone();
    let line = text.lines().find(|line| line.contains("\"access\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["client_request"], "id-4711");
    assert_eq!(line["request"].as_str(), answer.header("x-request-id"));
    assert_ne!(line["request"], "id-4711");
}

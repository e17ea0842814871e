//! What is answered: ids, headers, errors in one form, health.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::json;
use tokio::sync::Notify;
use web::axum::Router;
use web::axum::body::Body;
use web::axum::extract::Json;
use web::axum::response::{Html, IntoResponse as _};
use web::axum::routing::{get, post};
use web::test::Client;
use web::{Error, Health, Options, RequestId};

use super::rig::{good, rest, said, start};

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn failing() -> Router {
    good()
        .route("/id", get(|id: RequestId| async move { id.to_string() }))
        .route("/json", post(|_: Json<Vec<u8>>| async { "taken" }))
        .route("/fails", get(fails))
        .route("/panics", get(panics))
        .route("/refuses", get(refuses))
}

async fn fails() -> Result<&'static str, Error> {
    std::fs::read_to_string("/nowhere/secret-place")?;
    Ok("read")
}

async fn panics() -> &'static str {
    panic!("secret-place at {}", file!())
}

async fn refuses() -> Result<&'static str, Error> {
    Err(Error::new(StatusCode::TOO_MANY_REQUESTS, "Three queries run already.")
        .because("ann has 3 of 3")
        .with("status", "error")
        .header(header::RETRY_AFTER, 7))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_clients_id_only_when_that_is_sane() {
    let server = start(failing(), Options::default());
    let client = Client::to(server.address);
    for (given, taken) in [("abc-1.2_3", true), ("a b", false), ("a\"b", false), (&*"x".repeat(65), false)] {
        let answer = client.send(request(Method::GET, "/id", &[("x-request-id", given)], "")).await;
        assert_eq!(answer.text() == given, taken, "{given}");
        assert_eq!(answer.header("x-request-id"), Some(answer.text()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_one_form_and_tells_nothing_of_ours() {
    let server = start(failing(), Options::default());
    let client = Client::to(server.address).allow(&["allow", "retry-after"]);
    let json = [("content-type", "application/json")];
    for (method, path, headers, body, status) in [
        (Method::GET, "/nothing", &[][..], "", 404),
        (Method::GET, "/json", &[], "", 405),
        (Method::POST, "/json", &json, "[1", 400),
        (Method::POST, "/json", &json, "{\"a\":1}", 422),
        (Method::POST, "/json", &[], "[1]", 415),
        (Method::GET, "/fails", &[], "", 500),
        (Method::GET, "/panics", &[], "", 500),
        (Method::GET, "/refuses", &[], "", 429),
    ] {
        let answer = client.send(request(method, path, headers, body)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        let told = answer.json();
        assert_eq!(told["request_id"], answer.header("x-request-id").unwrap(), "{path}");
        assert!(told["msg"].as_str().is_some_and(|msg| msg.len() > 10), "{told}");
        for ours in ["secret-place", "os error", ".rs", "ann", "line 1", "panic"] {
            assert!(!answer.text().contains(ours), "{ours} in {told}");
        }
    }
    let refused = client.get("/refuses").await;
    assert_eq!((refused.header("retry-after"), &refused.json()["status"]), (Some("7"), &json!("error")));
    assert_eq!(refused.json()["msg"], "Three queries run already.");
    assert_eq!(client.get("/json").await.header("allow"), Some("POST"));
    // HEAD has the headers and no body.
    let head = client.send(request(Method::HEAD, "/good", &[], "")).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, Some("4")));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_pages_where_the_server_says_so_and_its_own_stay() {
    let errors: web::Render = Arc::new(|failure| match failure.page {
        true => Html(format!("<!doctype html><p>{} {}", failure.text, failure.path)).into_response(),
        false => web::json(failure),
    });
    let own = get(|| async { (StatusCode::CONFLICT, Html("<!doctype html>own")) });
    let policy = http::HeaderValue::from_static("default-src 'self'");
    let headers = web::Headers { policy, ..web::Headers::default() };
    let server = start(good().route("/own", own), Options { errors, headers, ..Options::default() });
    let client = Client::to(server.address);
    let page = client.send(request(Method::GET, "/nothing", &[("accept", "text/html,*/*")], "")).await;
    assert_eq!(
        (page.status, page.text()),
        (StatusCode::NOT_FOUND, "<!doctype html><p>There is nothing here. /nothing")
    );
    assert_eq!(page.header("content-security-policy"), Some("default-src 'self'"));
    assert_eq!(client.get("/nothing").await.json()["msg"], "There is nothing here.");
    assert_eq!(client.get("/own").await.text(), "<!doctype html>own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    async fn broken(panics: bool) -> Body {
        let pieces = (0..3).map(move |n| match n {
            2 if panics => panic!("in the middle"),
            2 => Err(std::io::Error::other("the database went away")),
            _ => Ok("piece"),
        });
        Body::from_stream(futures_util::stream::iter(pieces))
    }
    let router = good().route("/error", get(|| broken(false))).route("/panic", get(|| broken(true)));
    let server = start(router, Options::default());
    for path in ["/error", "/panic"] {
        let mut stream = said(server.address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = rest(&mut stream).await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        let torn = Client::to(server.address).try_send(request(Method::GET, path, &[], "")).await;
        assert!(torn.is_err(), "{torn:?}");
    }
    assert_eq!(Client::to(server.address).get("/good").await.text(), "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed_unless_its_route_asks() {
    let long = || async { "word ".repeat(1000) };
    let router = Router::new().route("/open", get(long).layer(web::compressed())).route("/secret", get(long));
    let server = start(router, Options::default());
    let client = Client::to(server.address).allow(&["content-encoding", "vary"]);
    for (accepted, path, encoding) in [
        ("gzip", "/open", Some("gzip")),
        ("zstd, gzip;q=0.5", "/open", Some("zstd")),
        ("identity", "/open", None),
        ("gzip, zstd", "/secret", None),
    ] {
        let answer = client.send(request(Method::GET, path, &[("accept-encoding", accepted)], "")).await;
        assert_eq!(answer.header("content-encoding"), encoding, "{accepted} {path}");
        assert_eq!(answer.body.len() == 5000, encoding.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_which_part_fails_and_not_why() {
    let health = Health::new(Duration::from_millis(200))
        .needs("flowmachine", || async { Ok(()) })
        .needs("database", || async { Err("password of flowapi is wrong".to_owned()) })
        .needs("redis", std::future::pending);
    let server = start(Router::new().nest("/health", health.router()), Options::default());
    let client = Client::to(server.address);
    assert_eq!(client.get("/health/live").await.status, StatusCode::OK);
    for path in ["/health", "/health/ready"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let parts = json!({ "flowmachine": "ok", "database": "unavailable", "redis": "unavailable" });
        assert_eq!(answer.json(), json!({ "ready": false, "parts": parts }));
    }
    let well = Health::new(Duration::from_secs(60)).needs("flowmachine", || async { Ok(()) });
    let server = start(well.router(), Options::default());
    assert_eq!(Client::to(server.address).get("/ready").await.status, StatusCode::OK);
}

/// A part that takes long is not asked anew for each of those who ask and go.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_health_and_goes_leaves_no_question_behind() {
    let (asked, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let health = Health::new(Duration::from_secs(60)).needs("flowmachine", {
        let (asked, end) = (asked.clone(), end.clone());
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let end = end.clone();
            async move {
                end.notified().await;
                Ok(())
            }
        }
    });
    let server = start(Router::new().nest("/health", health.router()), Options::default());
    let client = Client::to(server.address);
    for _ in 0..5 {
        let gone = tokio::time::timeout(Duration::from_millis(100), client.get("/health/ready")).await;
        assert!(gone.is_err(), "it waits");
    }
    end.notify_one();
    assert_eq!(client.get("/health/ready").await.status, StatusCode::OK);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

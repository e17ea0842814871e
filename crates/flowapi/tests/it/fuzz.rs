//! Requests of all sorts, most of them wrong, for a bounded time: none is answered with a 500 or with anything but what the strict
//! client expects (503 where FlowMachine fails by itself), and errors are JSON with a `msg`. `FLOWKIT_FUZZ_SECONDS` is how long; a seed is printed with what went wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::rig::{Fake, Script, client, failure, serve, success, token};

const ID: &str = "0123456789abcdef0123456789abcdef";
const SCOPES: &[&str] = &[
    "run",
    "get_result",
    "get_available_dates",
    "get_qa_checks",
    "admin3:a:a",
    "admin3:a:b",
    "admin3:dummy_query:dummy_query",
    "admin3:geography:geography",
];
const METHODS: &[&str] = &["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
/// What paths are made of.
const PIECES: &[&str] = &[
    "api",
    "0",
    "1",
    "run",
    "poll",
    "get",
    "geography",
    "available_dates",
    "qa",
    "spec",
    "openapi.json",
    "openapi.yaml",
    "redoc",
    "redoc.js",
    "health",
    "ready",
    "live",
    "metrics",
    ID,
    "dummy_query_x",
    "admin3",
    "calls",
    "count",
    "2016-01-01",
    "..",
    "%2e%2e",
    "%00",
    "%ff",
    "%27",
    "a%20b",
    "",
    ".csv",
    "0123456789abcdef0123456789abcdef.csv",
    "0123456789abcdef0123456789abcdef.geoparquet",
    "\u{e9}",
];
/// What a body is made of.
const TEXTS: &[&str] = &[
    "a",
    "b",
    "dummy_query",
    "location_event_counts",
    "2016-01-01",
    "2016-01-02T00:00",
    "0000-01-01",
    "99999-01-01",
    "min",
    "day",
    "geography.admin3",
    "events.calls",
    "x' OR 1=1",
    "\u{0}",
    "\u{202e}",
    "",
    "config",
    "admin3",
    "\u{1f600}",
    "NaN",
];
const NAMES: &[&str] = &[
    "query_kind",
    "query_kind",
    "query_kind",
    "start_date",
    "end_date",
    "date",
    "interval",
    "total_periods",
    "period_length",
    "sampling",
    "mapping_table",
    "subscriber_subset",
    "dummy_param",
    "dummy_delay",
    "config",
    "label",
    "x",
    "",
];

fn value(random: &mut StdRng, depth: u32) -> Value {
    match random.random_range(0..if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => random.random::<bool>().into(),
        2 => random.random::<i64>().into(),
        3 => json!(random.random::<f64>() * 1e300),
        4 | 5 => text(random).into(),
        6 => (0..random.random_range(0..4)).map(|_| value(random, depth - 1)).collect(),
        _ => object(random, depth - 1),
    }
}

fn object(random: &mut StdRng, depth: u32) -> Value {
    let entry = |random: &mut StdRng| (NAMES.choose(random).unwrap().to_string(), value(random, depth));
    Value::Object((0..random.random_range(0..5)).map(|_| entry(random)).collect())
}

fn text(random: &mut StdRng) -> String {
    TEXTS.choose(random).unwrap().to_string()
}

fn body(random: &mut StdRng) -> Vec<u8> {
    let mut spec = object(random, 4);
    if random.random_ratio(3, 4) {
        spec["query_kind"] = (*["a", "b", "dummy_query"].choose(random).unwrap()).into();
    }
    let mut bytes = spec.to_string().into_bytes();
    match random.random_range(0..8) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 if !bytes.is_empty() => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        2 => bytes.splice(0..0, std::iter::repeat_n(b' ', 9000)).for_each(drop),
        3 => bytes = (0..random.random_range(0..400)).map(|_| random.random()).collect(),
        _ => {}
    }
    bytes
}

fn path(random: &mut StdRng) -> String {
    let mut path = String::from(if random.random_ratio(4, 5) { "/api/0" } else { "" });
    for _ in 0..random.random_range(0..5) {
        path.push('/');
        path.push_str(PIECES.choose(random).unwrap());
    }
    if random.random_ratio(1, 4) {
        path.push_str(
            ["?start_date=2016-01-01&end_date=2016-01-02", "?start_date=%ff", "?&&=", "?end_date=2016-01-01"]
                .choose(random)
                .unwrap(),
        );
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

fn request(random: &mut StdRng, good: &str) -> Option<Request<Bytes>> {
    let method = if random.random_ratio(1, 3) {
        ("POST", "/api/0/run".to_owned())
    } else {
        (*METHODS.choose(random)?, path(random))
    };
    let mut request = Request::builder().method(method.0).uri(method.1);
    if random.random_ratio(9, 10) {
        let token = if random.random_ratio(9, 10) { good.to_owned() } else { text(random) };
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, values) in [
        (
            "content-type",
            &["application/json", "application/json", "application/json; charset=utf-8", "text/plain", "", "a/b+json"]
                [..],
        ),
        ("prefer", &["wait=0", "wait=-1", "wait=x", "respond-async", ""]),
        ("accept-encoding", &["gzip", "zstd", "gzip;q=0", "*", "br", ""]),
        ("accept", &["text/html", "*/*"]),
        ("x-request-id", &["mine", "a b", ""]),
    ] {
        if random.random_ratio(1, 2) {
            request = request.header(name, *values.choose(random)?);
        }
    }
    request.body(body(random).into()).ok()
}

fn flowmachine() -> Script {
    Arc::new(|action, params| match action {
        "get_aggregation_unit" => success(json!({"aggregation_unit": "admin3"})),
        "run_query" => success(json!({"query_id": ID, "progress": {"eligible": 0, "queued": 0, "running": 0}})),
        "get_query_params" => {
            success(json!({"query_id": ID, "query_params": {"query_kind": "a", "date": "2016-01-01"}}))
        }
        "poll_query" => success(json!({"query_id": ID, "query_state": "queued", "progress": {}})),
        "get_available_dates" => success(json!({"calls": ["2016-01-01"]})),
        "list_qa_checks" => success(json!({"available_qa_checks": []})),
        "get_qa_checks" => success(json!({"qa_checks": []})),
        "get_query_schemas" => success(json!({"query_schemas": {"FlowmachineQuerySchema": {"oneOf": []}}})),
        "ping" => success(json!({})),
        "get_geography" => failure("Could not get reply for message", json!({})),
        _ => failure("not done", json!({"query_id": params["query_id"], "query_state": "queued"})),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_the_answer_is_sound() {
    let seconds = std::env::var("FLOWKIT_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let fake = Fake::start(0, flowmachine()).await;
    let client = client(serve(fake.port, |options| options.queries_per_user = 1000)).allow(&["accept-ranges"]);
    let good = token(SCOPES);
    let (end, first) = (Instant::now() + Duration::from_secs(seconds), rand::random::<u64>() >> 16);
    let mut counts = std::collections::BTreeMap::<u16, u64>::new();
    for seed in first.. {
        if Instant::now() > end {
            break;
        }
        let Some(asked) = request(&mut StdRng::seed_from_u64(seed), &good) else { continue };
        let what = format!("seed {seed}: {} {}", asked.method(), asked.uri());
        // The database is away, which the one that is asked for health says.
        let well = !["/api/0/health", "/api/0/geography"].iter().any(|path| asked.uri().path().starts_with(path));
        let answer = client.send(asked).await;
        let status = answer.status.as_u16();
        *counts.entry(status).or_default() += 1;
        assert!(status < 500 || status == 503 && !well, "{what}: {answer:?}");
        if answer.status.is_client_error() {
            assert!(answer.json()["msg"].is_string(), "{what}: {answer:?}");
        }
    }
    let all: u64 = counts.values().sum();
    say::tell!("{all} requests in {seconds} s: {counts:?}");
    assert!(all > 20 && counts.contains_key(&202), "{counts:?}");
}

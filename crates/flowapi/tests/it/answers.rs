//! What is the same for many who ask, what is open to all, and what waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Fake, SOON, Script, client, request, serve, success, token, token_of, until};

const ID: &str = "0123456789abcdef0123456789abcdef";
const SCOPES: &[&str] = &["admin3:dummy_query:dummy_query", "get_available_dates", "get_qa_checks"];

/// A FlowMachine whose query is done when the test says so, and which takes a while over each question.
fn slow(done: Arc<AtomicBool>) -> Script {
    Arc::new(move |action, _| {
        let state = if done.load(Ordering::SeqCst) { "completed" } else { "executing" };
        let payload = match action {
            "get_query_params" => json!({"query_params": {"query_kind": "dummy_query"}}),
            "get_aggregation_unit" => json!({"aggregation_unit": "admin3"}),
            "poll_query" => json!({"query_state": state, "progress": {"eligible": 1, "queued": 0, "running": 1}}),
            "get_query_schemas" => json!({"query_schemas": {"FlowmachineQuerySchema": {"oneOf": []}}}),
            "get_available_dates" => json!({"sms": ["2016-01-02", "2016-01-01"], "calls": []}),
            "list_qa_checks" => json!({"available_qa_checks": [{"cdr_type": "calls"}]}),
            "get_qa_checks" => {
                json!({"qa_checks": [{"outcome": "12", "type_of_query_or_check": "x", "cdr_date": "2016-01-01"}]})
            }
            other => panic!("nobody scripted {other}"),
        };
        (Duration::from_millis(20), success(payload).1)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_that_poll_one_query_cost_one_question() {
    let fake = Fake::start(0, slow(Arc::default())).await;
    let client = client(serve(fake.port, |_| {}));
    let poll = request("GET", &format!("/api/0/poll/{ID}"), &token(SCOPES), "");
    client.send(poll.clone()).await;
    let (known, began) = (fake.count("poll_query"), std::time::Instant::now());
    let all = (0..60).map(|_| {
        let (client, poll) = (client.clone(), poll.clone());
        tokio::spawn(async move { client.send(poll).await.status.as_u16() })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), 202);
    }
    // An answer holds for a quarter of a second, so how many there were depends on how long it all took.
    let most = 2 + usize::try_from(began.elapsed().as_millis() / 250).unwrap();
    let asked = fake.count("poll_query") - known;
    assert!(asked <= most, "{asked} questions in {:?}", began.elapsed());
    assert_eq!(fake.count("get_query_params"), 1);
    assert_eq!(fake.count("get_aggregation_unit"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_asks_without_end_leaves_flowmachine_to_the_others() {
    let script: Script = Arc::new(|_, _| (SOON * 2, json!({})));
    let fake = Fake::start(0, script).await;
    let client = client(serve(fake.port, |_| {}));
    let dates = |user| request("GET", "/api/0/available_dates", &token_of(user, SCOPES), "");
    let all = (0..64).map(|_| {
        let (client, dates) = (client.clone(), dates("ann"));
        tokio::spawn(async move { client.send(dates).await })
    });
    let all: Vec<_> = all.collect();
    let end = std::time::Instant::now() + SOON / 2;
    let last = loop {
        // One that gets a place waits with the others, until they are all there.
        match tokio::time::timeout(Duration::from_secs(1), client.send(dates("ann"))).await {
            Ok(answer) => break answer,
            Err(_) => assert!(std::time::Instant::now() < end, "nobody is refused"),
        }
    };
    assert_eq!(last.status.as_u16(), 429, "{last:?}");
    all.into_iter().for_each(|one| one.abort());
    let before = fake.count("get_available_dates");
    let other = tokio::spawn(async move { client.send(dates("bob")).await });
    until("bob's is asked", || fake.count("get_available_dates") > before).await;
    assert!(!other.is_finished(), "it waits for FlowMachine");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_prefers_to_wait_is_told_at_the_end() {
    let done = Arc::new(AtomicBool::new(false));
    let fake = Fake::start(0, slow(done.clone())).await;
    let client = client(serve(fake.port, |_| {}));
    let mut poll = request("GET", &format!("/api/0/poll/{ID}"), &token(SCOPES), "");
    poll.headers_mut().insert("prefer", "wait=1".parse().unwrap());
    let answer = client.send(poll.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, Some("wait=1")));
    poll.headers_mut().insert("prefer", "wait=50".parse().unwrap());
    let waiting = tokio::spawn(async move { client.send(poll).await });
    let before = fake.count("poll_query");
    until("it is asked again for who waits", || fake.count("poll_query") > before + 1).await;
    assert!(!waiting.is_finished(), "it waits");
    done.store(true, Ordering::SeqCst);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (303, Some("wait=50")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_longer_than_flowmachine_may_take_is_told_too() {
    let fake = Fake::start(0, slow(Arc::default())).await;
    let client = client(serve(fake.port, |options| options.patience = Duration::from_secs(3)));
    let mut poll = request("GET", &format!("/api/0/poll/{ID}"), &token(SCOPES), "");
    poll.headers_mut().insert("prefer", "wait=4".parse().unwrap());
    let answer = client.send(poll).await;
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_are_sorted_and_checks_are_as_upstream_tells_them() {
    let fake = Fake::start(0, slow(Arc::default())).await;
    let client = client(serve(fake.port, |_| {}));
    let get = |path: &str| client.send(request("GET", &format!("/api/0/{path}"), &token(SCOPES), ""));
    let dates = get("available_dates").await;
    assert_eq!(dates.json(), json!({"available_dates": {"sms": ["2016-01-01", "2016-01-02"]}}));
    for path in ["qa", "qa/"] {
        assert_eq!(get(path).await.json(), json!([{"cdr_type": "calls"}]));
    }
    let range = get("qa/calls/x?start_date=2016-01-01&end_date=2016-01-02").await;
    assert_eq!(range.json()[0]["outcome"], "12");
    assert_eq!(get("qa/calls/x/2016-01-01").await.text(), "12");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_needs_no_token_and_the_document_is_made_once() {
    let fake = Fake::start(0, slow(Arc::default())).await;
    let client = client(serve(fake.port, |_| {}));
    let root = client.get("/").await;
    assert_eq!((root.status.as_u16(), root.text()), (200, ""));
    let document = client.get("/api/0/spec/openapi.json").await.json();
    assert_eq!(document["components"]["securitySchemes"]["token"]["x-audience"], "here");
    let yaml = client.get("/api/0/spec/openapi.yaml").await;
    assert_eq!(yaml.header("content-type"), Some("application/x-yaml"));
    let same: Value = serde_saphyr::from_str(yaml.text()).unwrap();
    assert_eq!(same, document);
    assert_eq!(fake.count("get_query_schemas"), 1);

    let page = client.get("/api/0/spec/redoc").await;
    assert!(page.text().contains("redoc.js") && !page.text().contains("//"), "{page:?}");
    let plain = client.get("/api/0/spec/redoc.js").await;
    assert!(plain.text().contains("ReDoc") || plain.text().contains("Redoc"));
    let mut packed = request("GET", "/api/0/spec/redoc.js", "", "");
    packed.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
    let packed = client.send(packed).await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < plain.body.len());

    // A FlowMachine that was started anew is asked again; one that is away is stood in for by what it said.
    let fake = Fake::start(fake.stop().await, slow(Arc::default())).await;
    let end = std::time::Instant::now() + SOON;
    while fake.count("get_query_schemas") == 0 {
        assert!(std::time::Instant::now() < end, "it is not asked again");
        client.get("/api/0/spec/openapi.json").await;
    }
    assert_eq!(fake.count("get_query_schemas"), 1);
    fake.stop().await;
    assert_eq!(client.get("/api/0/spec/openapi.json").await.json(), document);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_flowmachine_holds_up_nobody_for_longer_than_one_request() {
    const PATIENCE: Duration = Duration::from_secs(3);
    let slow = Arc::new(AtomicBool::new(true));
    let (is_slow, quick) = (slow.clone(), self::slow(Arc::default()));
    let script: Script = Arc::new(move |action, params| match is_slow.load(Ordering::SeqCst) {
        true => (SOON * 2, json!({})),
        false => quick(action, params),
    });
    let fake = Fake::start(0, script.clone()).await;
    let client = client(serve(fake.port, |options| options.patience = PATIENCE));
    let all = |status: u16| {
        let (began, client) = (std::time::Instant::now(), client.clone());
        async move {
            let ask = |_| {
                let client = client.clone();
                tokio::spawn(async move { client.get("/api/0/spec/openapi.json").await.status.as_u16() })
            };
            for one in (0..30).map(ask).collect::<Vec<_>>() {
                assert_eq!(one.await.unwrap(), status);
            }
            began.elapsed()
        }
    };
    // One after the other they would take thirty times as long.
    let took = all(503).await;
    assert!(took < PATIENCE * 10, "{took:?}");
    slow.store(false, Ordering::SeqCst);
    all(200).await;
    // Started anew, and slow: the document from before is there meanwhile.
    slow.store(true, Ordering::SeqCst);
    let _fake = Fake::start(fake.stop().await, script).await;
    let took = all(200).await;
    assert!(took < PATIENCE * 10, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_figures_say_how_it_goes() {
    let script: Script = Arc::new(|_, _| success(json!({})));
    let fake = Fake::start(0, script).await;
    let client = client(serve(fake.port, |_| {}));
    assert_eq!(client.get("/api/0/health/live").await.status.as_u16(), 200);
    let ready = client.get("/api/0/health/ready").await;
    assert_eq!(ready.status.as_u16(), 503);
    assert_eq!(ready.json()["parts"], json!({"flowmachine": "ok", "database": "unavailable"}));
    client.get("/api/0/available_dates").await;
    let figures = client.get("/metrics").await;
    let line = "flowapi_requests_total{method=\"GET\",route=\"/api/0/available_dates\",status=\"401\"} 1";
    assert!(figures.text().contains(line), "{}", figures.text());
    let off = super::rig::client(serve(fake.port, |options| options.metrics = false));
    assert_eq!(off.get("/metrics").await.status.as_u16(), 404);
}

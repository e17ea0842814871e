//! The routes: statuses, headers and bodies as upstream's client expects them, and what reaches FlowMachine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::{ALL, Fake, ID, SPEC, Script, answer, client, failure, knows, request, serve, success, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_with_its_keys_in_their_order() {
    let fake = Fake::start(0, knows("queued")).await;
    let client = client(serve(fake.port, |_| {}));
    let answer = client.send(request("POST", "/api/0/run", &token(ALL), SPEC)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.header("location"), Some(&*format!("/api/0/poll/{ID}")));
    assert_eq!(answer.json(), json!({"query_id": ID, "progress": {"eligible": 2, "queued": 1, "running": 1}}));
    let sent = fake.texts.lock().unwrap();
    assert!(
        sent.iter().all(|text| text.contains(&format!("\"params\":{SPEC}"))),
        "FlowMachine finds it by its text: {sent:?}"
    );
    let asked = fake.asked.lock().unwrap();
    let actions: Vec<_> = asked.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["get_aggregation_unit", "run_query"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn states_become_statuses() {
    for (state, poll, get) in [
        ("completed", 303, 500),
        ("executing", 202, 202),
        ("queued", 202, 202),
        ("errored", 500, 403),
        ("cancelled", 500, 500),
        ("known", 404, 404),
        ("resetting", 404, 500),
    ] {
        let fake = Fake::start(0, knows(state)).await;
        let client = client(serve(fake.port, |_| {}));
        let answer = client.send(request("GET", &format!("/api/0/poll/{ID}"), &token(ALL), "")).await;
        assert_eq!(answer.status.as_u16(), poll, "{state}: {answer:?}");
        assert_eq!(answer.json()["status"], state);
        match poll {
            303 => assert_eq!(answer.header("location"), Some(&*format!("/api/0/get/{ID}"))),
            202 => {
                assert_eq!(answer.json()["progress"], json!({"eligible": 2, "queued": 1, "running": 1}));
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
            _ => assert_eq!(answer.json()["msg"], ""),
        }
        let answer = client.send(request("GET", &format!("/api/0/get/{ID}.csv"), &token(ALL), "")).await;
        assert_eq!(answer.status.as_u16(), get, "{state}: {answer:?}");
        assert!(get == 202 || answer.json()["msg"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_unknown_only_when_flowmachine_says_so() {
    let fake = Fake::start(0, knows("queued")).await;
    let client = client(serve(fake.port, |_| {}));
    let unknown = ID.replace('0', "f");
    for route in ["poll", "get"] {
        let answer = client.send(request("GET", &format!("/api/0/{route}/{unknown}"), &token(ALL), "")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["msg"], format!("Unknown query id: '{unknown}'"));
    }
    for id in ["finist:0:x-state", "x'y", "%27%3B--", &ID.to_uppercase()] {
        let before = fake.asked.lock().unwrap().len();
        let answer = client.send(request("GET", &format!("/api/0/poll/{id}"), &token(ALL), "")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        assert_eq!(fake.asked.lock().unwrap().len(), before, "{id} reached FlowMachine");
    }
    fake.stop().await;
    for (method, path, body) in [
        ("POST", "/api/0/run".to_owned(), SPEC),
        ("GET", format!("/api/0/poll/{}", ID.replace('0', "e")), ""),
        ("GET", format!("/api/0/get/{}", ID.replace('0', "e")), ""),
        ("GET", "/api/0/available_dates".to_owned(), ""),
        ("GET", "/api/0/qa/".to_owned(), ""),
        ("GET", "/api/0/spec/openapi.json".to_owned(), ""),
    ] {
        let answer = client.send(request(method, &path, &token(ALL), body)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generic_failure_of_flowmachines_is_a_503_at_every_step() {
    let step = Arc::new(AtomicUsize::new(0));
    let failing = step.clone();
    let script: Script = Arc::new(move |action, params| {
        let steps = ["get_query_params", "get_aggregation_unit", "poll_query", "run_query", "get_sql_for_query_result"];
        // An outage: what would tell the query's fault from it fails too.
        match steps[failing.load(Ordering::SeqCst)] == action || action == "list_qa_checks" {
            true => failure("Could not get reply for message", json!({})),
            false => answer(action, params, "queued"),
        }
    });
    for (number, method, path) in [
        (0, "GET", "poll"),
        (1, "GET", "poll"),
        (2, "GET", "poll"),
        (1, "POST", "run"),
        (3, "POST", "run"),
        (4, "GET", "get"),
    ] {
        step.store(number, Ordering::SeqCst);
        let fake = Fake::start(0, script.clone()).await;
        let path = if path == "run" { "/api/0/run".to_owned() } else { format!("/api/0/{path}/{ID}") };
        let answer = client(serve(fake.port, |_| {})).send(request(method, &path, &token(ALL), SPEC)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{number} {path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_the_deployment_is_is_told_to_a_token_that_nobody_is_granted() {
    let fake = Fake::start(0, knows("errored")).await;
    let client = client(serve(fake.port, |_| {}));
    let ask = |scopes: &[&str]| request("GET", "/api/0/deployment", &token(scopes), "");
    assert_eq!(client.send(ask(ALL)).await.status, StatusCode::FORBIDDEN);
    // The rig has no FlowDB.
    let told = client.send(ask(&["get_deployment"])).await.json();
    assert_eq!((&told["flowdb"], &told["failed"]), (&Value::Null, &json!([])));
    assert!(told["since"].as_i64().unwrap() > 1_700_000_000);
    for _ in 0..2 {
        client.send(request("GET", &format!("/api/0/poll/{ID}"), &token(ALL), "")).await;
    }
    let failed = client.send(ask(&["get_deployment"])).await.json()["failed"].clone();
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
    assert_eq!((&failed[0]["query_id"], &failed[0]["query_kind"]), (&json!(ID), &json!("spatial_aggregate")));
    // Who runs it again has not failed yet.
    client.send(request("POST", "/api/0/run", &token(ALL), SPEC)).await;
    assert_eq!(client.send(ask(&["get_deployment"])).await.json()["failed"], json!([]));
}

/// FlowMachine stumbles over what names a table that is not there, in the words that it has for an outage.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_a_well_flowmachine_stumbles_over_is_the_clients_mistake() {
    for (stumbles, away, status) in [
        ("get_aggregation_unit", "", 400),
        ("run_query", "", 400),
        ("run_query", "list_qa_checks", 503),
        ("get_aggregation_unit", "poll_query", 503),
    ] {
        let script: Script = Arc::new(move |action, params| match action {
            action if [stumbles, away].contains(&action) => failure("Could not get reply for message", json!({})),
            "list_qa_checks" => success(json!({ "available_qa_checks": [] })),
            "poll_query" => failure("Unknown query id", json!({ "query_id": "x", "query_state": "awol" })),
            _ => answer(action, params, "queued"),
        });
        let fake = Fake::start(0, script).await;
        let answer = client(serve(fake.port, |_| {})).send(request("POST", "/api/0/run", &token(ALL), SPEC)).await;
        assert_eq!(answer.status.as_u16(), status, "{stumbles}, {away}: {answer:?}");
        assert_eq!(fake.count(stumbles), if away.is_empty() { 4 } else { 1 });
    }
}

/// Whatever goes while a query is made: FlowMachine calls it the query's fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_an_outage_has_kept_from_being_made_is_asked_for_again() {
    let away =
        "(psycopg2.OperationalError) connection to server at \"127.0.0.1\", port 9000 failed: Connection refused";
    let no_data = "No data for date: 2000-01-01 00:00:00 - 2000-01-02 00:00:00";
    for (why, again, status, asked) in
        [(away, true, 202, 2), (away, false, 400, 4), (no_data, false, 400, 1), ("(psycopg2.x) y", true, 202, 2)]
    {
        let count = AtomicUsize::new(0);
        let script: Script = Arc::new(move |action, params| match action {
            "run_query" if count.fetch_add(1, Ordering::SeqCst) == 0 || !again => {
                failure("Unable to create query object.", json!({ "exception": why }))
            }
            "poll_query" => failure("Unknown query id", json!({ "query_id": "x", "query_state": "awol" })),
            _ => answer(action, params, "queued"),
        });
        let fake = Fake::start(0, script).await;
        let answer = client(serve(fake.port, |_| {})).send(request("POST", "/api/0/run", &token(ALL), SPEC)).await;
        assert_eq!((answer.status.as_u16(), fake.count("run_query")), (status, asked), "{why}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_no_query_can_be_made_of_is_the_clients_mistake() {
    let script: Script = Arc::new(|action, _| {
        let msg = "Internal flowmachine server error: wrong arguments passed to handler for action";
        failure(&format!("{msg} '{action}'."), json!({}))
    });
    let fake = Fake::start(0, script).await;
    let client = client(serve(fake.port, |_| {}));
    let answer = client.send(request("POST", "/api/0/run", &token(ALL), SPEC)).await;
    assert_eq!(answer.status.as_u16(), 400, "{answer:?}");
    let config = SPEC.replacen('{', "{\"config\": {}, ", 1);
    let named = client.send(request("POST", "/api/0/run", &token(ALL), &config)).await;
    assert_eq!((named.status.as_u16(), fake.asked.lock().unwrap().len()), (400, 1));
    assert!(named.json()["msg"].as_str().unwrap().contains("config"), "{named:?}");
    let dates = client.send(request("GET", "/api/0/available_dates", &token(ALL), "")).await;
    assert_eq!(dates.status.as_u16(), 503, "of what is ours alone it says nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_json_everywhere() {
    let fake = Fake::start(0, knows("queued")).await;
    let client = client(serve(fake.port, |_| {}));
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/static/x", 404),
        ("GET", "/api/0/run", 405),
        ("POST", "/api/0/poll/x", 405),
        ("GET", "/api/0/qa/calls/count_imeis", 400),
        ("GET", "/api/0/qa/calls/count_imeis?start_date=2016-01-01", 400),
        ("GET", "/api/0/qa/calls/count_imeis/yesterday", 400),
        ("GET", "/api/0/qa/calls/count_imeis/2016-01-05", 404),
    ] {
        let answer = client.send(request(method, path, &token(ALL), "")).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.json()["msg"].is_string(), "{path}: {answer:?}");
    }
    let asked = request("GET", &format!("/api/0/get/{ID}.xls"), &token(ALL), "");
    assert_eq!(client.send(asked).await.status.as_u16(), 202, "it is not done");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_not_sent_where_a_torn_one_would_look_whole() {
    let fake = Fake::start(0, knows("queued")).await;
    let address = serve(fake.port, |_| {});
    let token = token(ALL);
    for (path, status) in [("get/x.csv", 505), ("geography/admin3", 505), ("poll/x", 404)] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let asked = format!("GET /api/0/{path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.0 {status} ")), "{path}: {answer}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["msg"].as_str().unwrap().contains("HTTP/1.1"), status == 505, "{body}");
    }
}

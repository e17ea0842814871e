//! The log of who did what, as upstream writes it.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::rig::{Fake, Script, client, failure, request, serve, success, token, token_of};

const ID: &str = "0123456789abcdef0123456789abcdef";

/// What this thread logs while `work` runs, as objects.
async fn logged(work: impl Future<Output = ()>) -> Vec<Value> {
    let out = Arc::new(Mutex::new(String::new()));
    let theirs = out.clone();
    let options = trace::Options { format: trace::Format::Structlog, ..trace::Options::default() };
    let (subscriber, running) = trace::to(&options, move |lines| theirs.lock().unwrap().push_str(lines));
    let guard = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(guard);
    drop(running);
    let text = out.lock().unwrap();
    assert!(!text.contains("eyJ"), "no token is in it: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn flowmachine() -> Script {
    Arc::new(|action, _| match action {
        "get_aggregation_unit" => success(json!({"aggregation_unit": "admin3"})),
        "run_query" => success(json!({"query_id": ID, "progress": {}})),
        _ => failure("no", json!({})),
    })
}

/// On one thread, so that the log is this test's alone.
#[tokio::test]
async fn every_line_has_upstreams_envelope_and_a_body_can_not_push_itself_out_of_it() {
    let fake = Fake::start(0, flowmachine()).await;
    let client = client(serve(fake.port, |_| {}));
    let spec =
        format!(r#"{{{} "query_kind": "a", "x": {{"query_kind": "b", "date": "2016-01-01"}}}}"#, " ".repeat(9000));
    let long = format!(r#"{{"x": [{}1], "query_kind": "a", "date": "2016-01-01"}}"#, "1234,".repeat(5000));
    let ann = token(&["run", "admin3:a:a", "admin3:a:b"]);
    let lines = logged(async {
        for spec in [&spec, &long] {
            let answer = client.send(request("POST", "/api/0/run", &ann, spec)).await;
            assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
        }
    })
    .await;
    let of = |lines: &[Value], logger: &str| -> Vec<Value> {
        lines.iter().filter(|line| line["logger"] == logger).cloned().collect()
    };
    let access = of(&lines, "flowapi.access");
    let events: Vec<_> = access.iter().take(3).map(|line| line["event"].as_str().unwrap()).collect();
    let granted = r#"Permission for ["run","admin3:a:a","admin3:a:b"] granted by ["analyst"]"#;
    assert_eq!(events, ["Attempting to load user", "Loaded user", granted]);
    assert_eq!(access[2]["requested_scopes"], json!(["run", "admin3:a:a", "admin3:a:b"]));
    assert_eq!((&access[2]["granting_roles"], &access[1]["route"]), (&json!(["analyst"]), &json!("/api/0/run")));
    for line in &access {
        assert_eq!((&line["request"]["user"], &line["request"]["path"]), (&json!("ann"), &json!("/api/0/run")));
        assert_eq!(line["request"]["src_ip"], "127.0.0.1");
        assert!(line["request"]["request_id"].is_string() && line["timestamp"].is_string() && line["level"] == "info");
    }
    let query = of(&lines, "flowapi.query");
    let [run, started, cut, _] = &query[..] else { panic!("{query:?}") };
    assert_eq!((&run["event"], &started["query_id"]), (&json!("run_query"), &json!(ID)));
    assert_eq!(run["query"], serde_json::from_str::<Value>(&spec).unwrap());
    // One that is too long is said in short.
    assert!(cut["query"].as_str().is_some_and(|text| text.ends_with('…')), "{cut}");
    assert_eq!((&cut["kinds"], &cut["days"]), (&json!(["a"]), &json!("data from 2016-01-01 until 2016-01-02")));
    assert_eq!(run["request"]["request_id"], access[0]["request"]["request_id"]);

    let refused = logged(async {
        client.get("/api/0/available_dates").await;
        client.send(request("GET", "/api/0/available_dates", "abc", "")).await;
        client.send(request("GET", "/api/0/available_dates", &token_of("bob", &["run"]), "")).await;
    })
    .await;
    let refused = of(&refused, "flowapi.access");
    let events: Vec<_> = refused
        .iter()
        .map(|line| (line["event"].as_str().unwrap(), line["request"]["user"].as_str().unwrap()))
        .collect();
    let expected = [
        ("UNAUTHORISED", "None"),
        ("INVALID_TOKEN", "None"),
        ("Attempting to load user", "bob"),
        ("Loaded user", "bob"),
        ("CLAIMS_VERIFICATION_FAILED", "bob"),
    ];
    assert_eq!(events, expected);
    assert!(refused[0]["error_string"].is_string() && refused[4]["level"] == "error");
    assert_eq!(refused[4]["requested_scopes"], json!(["get_available_dates"]));
}

//! What never reaches FlowMachine: questions of those who may not ask them, and texts that would do harm there.

use http::StatusCode;
use serde_json::json;

use super::rig::{ALL, Fake, ID, SPEC, client, knows, request, serve, token, token_from};

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_reaches_nothing() {
    let fake = Fake::start(0, knows("queued")).await;
    let client = client(serve(fake.port, |_| {}));
    let without = client.get("/api/0/available_dates").await;
    assert_eq!((without.status.as_u16(), &without.json()["msg"]), (401, &json!("Missing Authorization Header")));
    let garbage = client.send(request("GET", "/api/0/available_dates", "abc", "")).await;
    assert_eq!(garbage.status.as_u16(), 422);
    for scopes in [&["run"][..], &["run", "admin3:spatial_aggregate:spatial_aggregate"], &ALL[1..]] {
        let answer = client.send(request("POST", "/api/0/run", &token(scopes), SPEC)).await;
        assert_eq!(answer.status.as_u16(), 403, "{scopes:?}");
        assert_eq!(answer.json()["msg"], "User claims verification failed");
    }
    for path in ["available_dates", "qa/", "qa", "geography/admin3", "qa/calls/count_imeis/2016-01-01"] {
        let answer = client.send(request("GET", &format!("/api/0/{path}"), &token(&["run"]), "")).await;
        assert_eq!(answer.status.as_u16(), 403, "{path}");
    }
    assert_eq!(*fake.asked.lock().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_a_token_may_not_see_are_neither_told_nor_looked_at() {
    let fake = Fake::start(0, knows("completed")).await;
    let client = client(serve(fake.port, |_| {}));
    let token = token_from("ann", ALL, Some("2016-01-02"));
    let run = client.send(request("POST", "/api/0/run", &token, SPEC)).await;
    assert_eq!(run.status.as_u16(), 403, "{run:?}");
    assert_eq!(*fake.asked.lock().unwrap(), []);
    // The result of somebody else's query over that day is no way around it.
    let poll = client.send(request("GET", &format!("/api/0/poll/{ID}"), &token, "")).await;
    assert_eq!(poll.status.as_u16(), 403, "{poll:?}");
    let dates = client.send(request("GET", "/api/0/available_dates", &token, "")).await;
    assert_eq!(dates.json(), json!({"available_dates": {"sms": ["2016-01-02"]}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_end_in_sql_or_in_an_unpickle_never_arrives() {
    let fake = Fake::start(0, knows("queued")).await;
    let client = client(serve(fake.port, |_| {}));
    let deep = |field: &str, value: &str| {
        json!({"query_kind": "spatial_aggregate",
               "locations": {"query_kind": "daily_location", "date": "2016-01-01", "x": [{"y": {field: value}}]}})
    };
    for (field, value) in [
        ("mapping_table", "geography.x'; DROP TABLE y --"),
        ("mapping_table", "events.calls"),
        ("geom_table", "cache.cached"),
        ("geom_table", "a.b.c"),
        ("geom_table_join_column", "x; SELECT 1"),
        ("subscriber_subset", "x' UNION SELECT obj --"),
        ("subscriber_subset", "finist:0:x"),
        ("label", "it's"),
        ("dummy_param", "a\\b"),
    ] {
        let answer = client.send(request("POST", "/api/0/run", &token(ALL), &deep(field, value).to_string())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{field} {value}");
    }
    for path in [
        "qa/calls'--/x/2016-01-01",
        "qa/calls/x%27/2016-01-01",
        "qa/calls/a%20b?start_date=2016-01-01&end_date=2016-01-02",
    ] {
        let answer = client.send(request("GET", &format!("/api/0/{path}"), &token(ALL), "")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }
    for (body, kind) in
        [("{", "application/json"), ("[1]", "application/json"), ("{}", "application/json"), (SPEC, "text/plain")]
    {
        let mut asked = request("POST", "/api/0/run", &token(ALL), body);
        asked.headers_mut().insert("content-type", kind.parse().unwrap());
        let answer = client.send(asked).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["msg"]),
            (400, &json!("Could not parse query spec.")),
            "{body}"
        );
    }
    let large = client.send(request("POST", "/api/0/run", &token(ALL), &" ".repeat(300 << 10))).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(*fake.asked.lock().unwrap(), []);
}

//! Many queries: how many of a user's run at once, and whose turn it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::rig::{ALL, Fake, SOON, SPEC, Script, answer, client, request, serve, success, token, token_of, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_many_queries_waits_and_the_others_do_not() {
    let fake = Fake::start(0, starts_after(Duration::ZERO)).await;
    let client = client(serve(fake.port, |_| {}));
    let (ann, bob) = (token(ALL), token_of("bob", ALL));
    for status in [202, 202, 202, 429] {
        let answer = client.send(request("POST", "/api/0/run", &ann, SPEC)).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(client.send(request("POST", "/api/0/run", &bob, SPEC)).await.status.as_u16(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_samples_run_one_after_the_other_whosever_they_are() {
    let done = Arc::new(AtomicUsize::new(0));
    let (ended, started) = (done.clone(), AtomicUsize::new(0));
    let script: Script = Arc::new(move |action, params| match action {
        "run_query" => {
            let id = format!("{:032x}", started.fetch_add(1, Ordering::SeqCst));
            success(json!({"query_id": id, "progress": {"eligible": 1, "queued": 1, "running": 0}}))
        }
        "poll_query" => {
            let number = usize::from_str_radix(params["query_id"].as_str().unwrap(), 16).unwrap();
            let state = if number < ended.load(Ordering::SeqCst) { "completed" } else { "executing" };
            success(json!({"query_id": params["query_id"], "query_state": state, "progress": {}}))
        }
        _ => answer(action, params, "queued"),
    });
    let fake = Fake::start(0, script).await;
    let client = client(serve(fake.port, |options| (options.samples, options.queries_per_user) = (1, 10)));
    let sampled = |n: usize| {
        let part = json!({"query_kind": "daily_location", "date": "2016-01-01", "sampling": {"sampling_method": "system", "size": 1}});
        json!({"query_kind": "spatial_aggregate", "locations": vec![part; n]}).to_string()
    };
    let run = |user: &str, spec: &str| client.send(request("POST", "/api/0/run", &token_of(user, ALL), spec));
    let many = run("ann", &sampled(2)).await;
    assert_eq!((many.status.as_u16(), fake.count("run_query")), (400, 0), "{many:?}");
    assert_eq!(run("ann", &sampled(1)).await.status.as_u16(), 202);
    // Another one's has to wait; what has no samples has not.
    let waits = tokio::spawn({
        let (client, asked) = (client.clone(), request("POST", "/api/0/run", &token_of("bob", ALL), &sampled(1)));
        async move { client.send(asked).await.status.as_u16() }
    });
    until("it is looked whether the first has ended", || fake.count("poll_query") > 1).await;
    assert!(!waits.is_finished() && fake.count("run_query") == 1);
    assert_eq!(run("ann", SPEC).await.status.as_u16(), 202);
    done.store(1, Ordering::SeqCst);
    assert_eq!(waits.await.unwrap(), 202);
    // The turn of the next does not come in its time.
    let short = super::rig::client(serve(fake.port, |options| {
        (options.samples, options.patience) = (1, Duration::from_secs(3));
    }));
    done.store(0, Ordering::SeqCst);
    for status in [202, 429] {
        let answer = short.send(request("POST", "/api/0/run", &token(ALL), &sampled(1))).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
}

/// A FlowMachine that takes this long to start a query, each another, which then never ends.
fn starts_after(delay: Duration) -> Script {
    let count = AtomicUsize::new(0);
    Arc::new(move |action, params| match action {
        "run_query" => {
            let id = format!("{:032x}", count.fetch_add(1, Ordering::SeqCst));
            (delay, success(json!({"query_id": id, "progress": {"eligible": 1, "queued": 1, "running": 0}})).1)
        }
        "poll_query" => success(json!({"query_id": params["query_id"], "query_state": "queued", "progress": {}})),
        _ => answer(action, params, "queued"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_queries_at_once_get_no_more_than_one_after_the_other() {
    let fake = Fake::start(0, starts_after(Duration::from_millis(300))).await;
    let client = client(serve(fake.port, |_| {}));
    let run = request("POST", "/api/0/run", &token(ALL), SPEC);
    let all = (0..20).map(|_| {
        let (client, run) = (client.clone(), run.clone());
        tokio::spawn(async move { client.send(run).await.status.as_u16() })
    });
    let mut statuses = Vec::new();
    for one in all.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[202; 3][..], &[429; 17]].concat());
    assert_eq!(
        (fake.count("run_query"), fake.count("get_aggregation_unit")),
        (3, 3),
        "nothing is asked for the others"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_counts_whoever_hangs_up() {
    let fake = Fake::start(0, starts_after(Duration::from_millis(500))).await;
    let client = client(serve(fake.port, |options| options.queries_per_user = 1));
    let run = request("POST", "/api/0/run", &token(ALL), SPEC);
    let (other, same) = (client.clone(), run.clone());
    let gone = tokio::spawn(async move { other.send(same).await });
    until("it is asked to start", || fake.count("run_query") == 1).await;
    gone.abort();
    assert!(gone.await.is_err_and(|error| error.is_cancelled()));
    // While it starts, and when it runs: then it is looked how it stands.
    let end = std::time::Instant::now() + SOON;
    while fake.count("poll_query") == 0 {
        assert_eq!(client.send(run.clone()).await.status.as_u16(), 429);
        assert!(std::time::Instant::now() < end, "it never runs");
    }
    assert_eq!(client.send(run).await.status.as_u16(), 429);
    assert_eq!(fake.count("run_query"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_may_have_been_started_counts() {
    let fake = Fake::start(0, starts_after(SOON * 2)).await;
    let client = client(serve(fake.port, |options| {
        options.queries_per_user = 1;
        options.patience = Duration::from_secs(3);
    }));
    for status in [503, 429] {
        let answer = client.send(request("POST", "/api/0/run", &token(ALL), SPEC)).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
}

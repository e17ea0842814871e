use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use time::Date;
use time::macros::date;

use super::*;
use crate::run::hash;

const RETRY: Retry = Retry { most: 3, first: 600, longest: 86_400 };

const DAY: Date = date!(2016 - 01 - 05);

#[tokio::test(flavor = "multi_thread")]
async fn over_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    all(|name| Address::File(dir.path().join(name).join("autoflow.sqlite"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_postgresql() {
    let server = postgres_rig::Server::start();
    let socket =
        percent_encoding::utf8_percent_encode(server.socket().to_str().unwrap(), percent_encoding::NON_ALPHANUMERIC);
    all(|name| {
        server.create(name);
        let uri = format!("postgresql://postgres@localhost/{name}?host={socket}");
        Address::parse("it", &uri, ("", None)).unwrap()
    })
    .await;
}

async fn all(database: impl Fn(&str) -> Address) {
    a_run_is_done_once_however_many_would(&opened(&database("once")).await).await;
    let address = database("again");
    what_fails_is_tried_again_later_and_not_for_ever(&opened(&address).await, &address).await;
    let address = database("dead");
    a_dead_owners_runs_are_free_again_and_a_living_ones_are_not(&opened(&address).await, &address).await;
    let address = database("upstream");
    upstreams_table_is_believed_and_goes_on(&opened(&address).await, &address).await;
    // A second start finds its schema.
    Store::open(&address).await.unwrap().close().await;
}

async fn opened(address: &Address) -> Store {
    upstreams(address).await;
    Store::open(address).await.unwrap()
}

/// A table as upstream's programs make it, with two rows in it.
async fn upstreams(address: &Address) {
    sqlx::any::install_default_drivers();
    if let Address::File(path) = address {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    let mut connection = AnyConnectOptions::from_str(address.uri().expose()).unwrap().connect().await.unwrap();
    let (kind, key, state) = match address {
        Address::File(_) => ("", "INTEGER NOT NULL", "VARCHAR(7)"),
        Address::Server(_) => ("CREATE TYPE runstate AS ENUM ('running', 'success', 'failed');", "SERIAL", "runstate"),
    };
    let table = format!(
        "{kind} CREATE TABLE workflow_runs (id {key}, workflow_name VARCHAR, parameters_hash VARCHAR, state {state}, \
         timestamp TIMESTAMP WITH TIME ZONE, PRIMARY KEY (id));
         INSERT INTO workflow_runs (workflow_name, parameters_hash, state, timestamp) VALUES
         ('old', '{0}', 'running', '2023-01-01 00:00:00.000000'), ('old', '{0}', 'success', '2023-01-01 00:10:00.000000'),
         ('dead', '{0}', 'running', '2023-01-01 00:00:00.000000')",
        hash(&parameters(1))
    );
    sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut connection).await.unwrap();
}

fn parameters(n: i64) -> Map<String, Value> {
    json!({ "n": n, "reference_date": "2016-01-05" }).as_object().cloned().unwrap()
}

async fn change(address: &Address, text: &str) {
    let mut connection: AnyConnection =
        AnyConnectOptions::from_str(address.uri().expose()).unwrap().connect().await.unwrap();
    sqlx::query(AssertSqlSafe(text.to_owned())).execute(&mut connection).await.unwrap();
}

fn ended(success: bool) -> End {
    End {
        success,
        error: if success { String::new() } else { "In [3]: ValueError: x".to_owned() },
        files: vec!["notebooks/a.ipynb".to_owned()],
    }
}

async fn a_run_is_done_once_however_many_would(store: &Store) {
    let claims = (0..20).map(|who| {
        let store = store.clone();
        tokio::spawn(async move {
            store.claim("w", DAY, &parameters(1), &format!("o{who}"), false).await.unwrap().map(|run| (who, run))
        })
    });
    let mut won = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        won.extend(claim.await.unwrap());
    }
    let [(who, run)] = won.as_slice() else { panic!("{} have it", won.len()) };
    let owner = format!("o{who}");
    assert!(store.beat(&run.id, &owner).await.unwrap());
    assert!(!store.beat(&run.id, "o99").await.unwrap(), "somebody else's");
    assert!(!store.finish(run, "o99", &ended(true), RETRY).await.unwrap());
    assert!(store.claim("w", DAY, &parameters(1), "o98", true).await.unwrap().is_none(), "not even by force");
    assert!(store.finish(run, &owner, &ended(true), RETRY).await.unwrap());
    assert!(store.claim("w", DAY, &parameters(1), "o", false).await.unwrap().is_none(), "it is done");
    assert!(
        store.claim("w", DAY, &parameters(2), "o", false).await.unwrap().is_some(),
        "other parameters are another run"
    );
    assert!(store.claim("v", DAY, &parameters(1), "o", false).await.unwrap().is_some(), "and so is another workflow");
    assert!(store.claim("w", DAY, &parameters(1), "o", true).await.unwrap().is_none(), "its files would be lost");
    assert_eq!(store.unplaced("w", &parameters(1)).await.unwrap().expect("they wait").id, run.id);
    store.published(&run.id, &[], "").await.unwrap();
    assert!(store.unplaced("w", &parameters(1)).await.unwrap().is_none());
    let again = store.claim("w", DAY, &parameters(1), "o", true).await.unwrap().expect("by hand it is done again");
    assert_eq!((again.attempts, again.state), (1, State::Running));
    store.close().await;
}

async fn what_fails_is_tried_again_later_and_not_for_ever(store: &Store, address: &Address) {
    for attempt in 1..=3 {
        let run = store.claim("w", DAY, &parameters(1), "o", false).await.unwrap().expect("it is its turn");
        assert_eq!(run.attempts, attempt);
        assert!(store.finish(&run, "o", &ended(false), RETRY).await.unwrap());
        assert!(store.claim("w", DAY, &parameters(1), "o", false).await.unwrap().is_none(), "not yet");
        assert!(store.due_again().await.unwrap().is_empty());
        let kept = store.find(&run.id).await.unwrap().unwrap();
        assert_eq!((kept.error.as_str(), kept.published, kept.files.len()), ("In [3]: ValueError: x", false, 1));
        assert_eq!(kept.next_try == 0, attempt == 3, "{kept:?}");
        change(address, "UPDATE autoflow_runs SET next_try = 1 WHERE next_try > 0").await;
        assert!(store.due_again().await.unwrap().is_empty(), "its files are not in their place yet");
        assert!(store.claim("w", DAY, &parameters(1), "o", false).await.unwrap().is_none(), "nor is it begun then");
        match attempt {
            1 => store.published(&run.id, &kept.files, "").await.unwrap(),
            // Whoever should have put them there is gone.
            _ => change(address, "UPDATE autoflow_runs SET ended = ended - 900").await,
        }
        assert_eq!(store.due_again().await.unwrap().len(), usize::from(attempt < 3));
    }
    assert!(store.claim("w", DAY, &parameters(1), "o", false).await.unwrap().is_none(), "it is given up");
    assert!(store.claim("w", DAY, &parameters(1), "o", true).await.unwrap().is_some(), "but not by hand");
    store.close().await;
    assert_eq!(
        (1..5).map(|attempts| Retry { most: 4, ..RETRY }.after(attempts)).collect::<Vec<_>>(),
        [Some(600), Some(1200), Some(2400), None]
    );
    assert_eq!(Retry { most: 500, ..RETRY }.after(400), Some(86_400));
}

async fn a_dead_owners_runs_are_free_again_and_a_living_ones_are_not(store: &Store, address: &Address) {
    let run =
        |n| store.claim("w", DAY, Box::leak(Box::new(parameters(n))), if n < 3 { "dead" } else { "alive" }, false);
    for n in 1..=4 {
        run(n).await.unwrap().unwrap();
    }
    let none = BTreeSet::new();
    assert_eq!(store.reap(Dead::Silent { but: &none }, "silent", true, RETRY).await.unwrap(), 0, "all have just begun");
    assert_eq!(store.reap(Dead::Owner("dead"), "AutoFlow was killed", true, RETRY).await.unwrap(), 2);
    change(address, "UPDATE autoflow_runs SET heartbeat = heartbeat - 61 WHERE parameters LIKE '%3%'").await;
    assert_eq!(store.reap(Dead::Silent { but: &none }, "silent", true, RETRY).await.unwrap(), 1);
    change(address, "UPDATE autoflow_runs SET heartbeat = heartbeat - 61 WHERE parameters LIKE '%4%'").await;
    let id = store.latest(10).await.unwrap().into_iter().find(|run| run.state == State::Running).unwrap().id;
    let ours = BTreeSet::from([id]);
    let silent = Dead::Silent { but: &ours };
    assert_eq!(store.reap(silent, "silent", true, RETRY).await.unwrap(), 0, "who asks knows that it lives");
    let due: BTreeSet<String> = store.due_again().await.unwrap().into_iter().map(|run| run.error).collect();
    assert_eq!(due, BTreeSet::from(["AutoFlow was killed".to_owned(), "silent".to_owned()]));
    assert_eq!(run(1).await.unwrap().unwrap().attempts, 2, "the attempt counts: the run itself may have killed it");
    assert_eq!(store.reap(Dead::Owner("alive"), "AutoFlow was stopped", false, RETRY).await.unwrap(), 1);
    assert_eq!(run(4).await.unwrap().unwrap().attempts, 1, "who was stopped has not failed");
    store.close().await;
}

async fn upstreams_table_is_believed_and_goes_on(store: &Store, address: &Address) {
    assert!(store.claim("old", DAY, &parameters(1), "o", false).await.unwrap().is_none(), "upstream has run it");
    let run = store.claim("dead", DAY, &parameters(1), "o", false).await.unwrap().expect("upstream's died with it");
    store.finish(&run, "o", &ended(true), RETRY).await.unwrap();
    store.published(&run.id, &["notebooks/a".to_owned()], "").await.unwrap();
    let mut connection: AnyConnection =
        AnyConnectOptions::from_str(address.uri().expose()).unwrap().connect().await.unwrap();
    let text =
        "SELECT CAST(state AS TEXT) AS state FROM workflow_runs WHERE workflow_name = 'dead' ORDER BY timestamp, id";
    let rows = sqlx::query(text).fetch_all(&mut connection).await.unwrap();
    let states: Vec<String> = rows.iter().map(|row| row.get("state")).collect();
    assert_eq!(states, ["running", "running", "success"]);
    let latest = store.latest(10).await.unwrap();
    assert_eq!((latest.len(), latest[0].reference.as_str(), latest[0].published), (1, "2016-01-05", true));
    store.begin_looking().await.unwrap();
    store.looked("4 days", true).await.unwrap();
    let (at, said) = store.last_look().await.unwrap().unwrap();
    assert!(at > 1_700_000_000 && said == "4 days");
    store.close().await;
}

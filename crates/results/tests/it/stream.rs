//! How a stream behaves: when it fails, when it is given up, and what it holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use results::{Error, Format, Query};
use tokio::sync::oneshot;
use tokio_postgres::error::SqlState;

use crate::rig::{ID, Server};

fn query(sql: &str, format: Format) -> Query<'_> {
    Query { sql, format, query_id: ID, timeout: None }
}

/// Waits until a question is answered by "true", on a connection of its own.
async fn wait_for(client: &tokio_postgres::Client, sql: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while !client.query_one(sql, &[]).await.expect(sql).get::<_, bool>(0) {
        assert!(Instant::now() < until, "{sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection lent by a pool: says when it has come back.
struct Lent(Arc<tokio_postgres::Client>, Option<oneshot::Sender<()>>);

impl std::borrow::Borrow<tokio_postgres::Client> for Lent {
    fn borrow(&self) -> &tokio_postgres::Client {
        &self.0
    }
}

impl results::Lent for Lent {}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.1.take().expect("it is dropped once").send(());
    }
}

/// Lends a connection, and what tells that it has come back.
fn lend(client: &Arc<tokio_postgres::Client>) -> (Lent, oneshot::Receiver<()>) {
    let (sender, back) = oneshot::channel();
    (Lent(client.clone(), Some(sender)), back)
}

async fn in_time(back: oneshot::Receiver<()>) {
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("in time").expect("it came back");
}

/// Whether a type of file takes features apart, and nothing else.
fn apart(format: Format) -> bool {
    matches!(format, Format::GeoParquet | Format::FlatGeobuf)
}

#[test]
fn what_fails_at_once_is_no_stream() {
    let server = Server::start();
    let cases = [
        ("SELECT * FROM nowhere", SqlState::UNDEFINED_TABLE),
        ("SELECT 1/(i - 1) FROM generate_series(1, 9) i", SqlState::DIVISION_BY_ZERO),
        // One statement and one only, whatever brackets it holds; and nothing is written.
        ("SELECT 1) TO STDOUT; CREATE TABLE t (i int); COPY (SELECT 1", SqlState::SYNTAX_ERROR),
        ("SELECT 1; SELECT 2", SqlState::SYNTAX_ERROR),
        ("SELECT nextval('s')", SqlState::READ_ONLY_SQL_TRANSACTION),
    ];
    server.run("CREATE SEQUENCE s");
    // One connection for all: it is as good after a failure as before.
    let client = Arc::new(server.connect());
    for (sql, state) in cases {
        for format in Format::ALL.into_iter().filter(|format| !apart(*format)) {
            server.runtime.block_on(async {
                let (lent, back) = lend(&client);
                let opened = results::open(lent, &query(sql, format)).await;
                let error = opened.err().unwrap_or_else(|| panic!("{sql} as {format:?} is a stream"));
                assert_eq!(error.sql_state(), Some(&state), "{sql}: {error:?}");
                in_time(back).await;
            });
        }
    }
    for format in Format::ALL.into_iter().filter(|format| apart(*format)) {
        let error = server.try_file("SELECT 1 AS id, '{}'::json AS geometry", format).expect_err("no features");
        assert!(matches!(error, Error::NotFeatures), "{error:?}");
    }
}

#[test]
fn a_failure_in_the_middle_is_an_error_of_the_stream() {
    let server = Server::start();
    server.run("CREATE EXTENSION postgis");
    let rows = "SELECT i, 1 / (i - 200000) AS v FROM (SELECT generate_series(1, 1000000) AS i) g";
    let features = "SELECT 'Feature' AS type, i AS id, '{\"type\":\"Point\",\"coordinates\":[1,2]}'::json AS geometry,
        json_build_object('v', 1 / (i - 20000)) AS properties FROM (SELECT generate_series(1, 1000000) AS i) g";
    for format in Format::ALL {
        let client = server.connect();
        server.runtime.block_on(async {
            let sql = if apart(format) { features } else { rows };
            let mut rows = results::open(client, &query(sql, format)).await.expect("its first row is fine");
            let mut items = Vec::new();
            while let Some(item) = rows.next().await {
                items.push(item);
            }
            let last = items.pop().expect("an item").expect_err("the last item is the error");
            assert_eq!(last.sql_state(), Some(&SqlState::DIVISION_BY_ZERO), "{format:?}: {last:?}");
            assert!(items.iter().all(Result::is_ok), "{format:?}: one error and nothing after it");
            // Parquet's first bytes of rows are those of a whole row group.
            let grouped = matches!(format, Format::Parquet | Format::GeoParquet);
            assert!(items.len() > 1 || grouped, "{format:?}: something came before");
        });
    }
}

#[test]
fn a_server_that_goes_away_is_an_error_of_the_stream() {
    let server = Server::start();
    let client = server.connect();
    let other = server.connect();
    server.runtime.block_on(async {
        let endless = "SELECT generate_series(1, 1000000000000) AS i";
        let mut rows = results::open(client, &query(endless, Format::Csv)).await.expect("a stream");
        rows.next().await.expect("a chunk").expect("a chunk");
        let kill = "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'COPY%'";
        wait_for(&other, kill).await;
        let error = loop {
            if let Err(error) = rows.next().await.expect("an error comes before the end") {
                break error;
            }
        };
        assert!(error.is_closed(), "{error:?}");
        assert!(rows.next().await.is_none());
    });
}

#[test]
fn a_time_limit_ends_it() {
    let server = Server::start();
    let client = server.connect();
    let slow = Query { timeout: Some(Duration::from_millis(200)), ..query("SELECT pg_sleep(60)", Format::Json) };
    let error = server.runtime.block_on(results::open(client, &slow)).err().expect("it takes too long");
    assert!(error.is_timeout(), "{error:?}");
}

#[test]
fn what_is_given_up_is_cancelled_and_the_connection_good_again() {
    let server = Server::start();
    let (client, other) = (Arc::new(server.connect()), server.connect());
    server.runtime.block_on(async {
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("an answer").get(0);
        let endless = "SELECT generate_series(1, 1000000000000) AS i";
        for format in [Format::Json, Format::Arrow] {
            let (lent, back) = lend(&client);
            let mut rows = results::open(lent, &query(endless, format)).await.expect("a stream");
            rows.next().await.expect("a chunk").expect("a chunk");
            drop(rows);
            in_time(back).await;
            let state = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = ";
            assert!(other.query_one(&format!("{state}{pid}"), &[]).await.expect("an answer").get::<_, bool>(0));
            assert_eq!(client.query_one("SELECT 1", &[]).await.expect("it is good").get::<_, i32>(0), 1);
        }

        // Given up before the first row came: whether PostgreSQL had got so far is not known, so the connection is closed or good.
        let (lent, back) = lend(&client);
        let asked = query("SELECT pg_sleep(3600)", Format::Csv);
        let opening = results::open(lent, &asked);
        tokio::select! {
            _ = opening => panic!("an hour has passed"),
            () = wait_for(&other, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") => {}
        }
        in_time(back).await;
        wait_for(&other, "SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await;
        if let Err(error) = client.query_one("SELECT 1", &[]).await {
            assert!(client.is_closed(), "{error:?}");
        }
    });
}

#[test]
fn a_slow_query_is_heard_of_before_a_chunk_is_full() {
    let server = Server::start();
    let client = server.connect();
    server.runtime.block_on(async {
        // Each row fills what PostgreSQL sends at once, 8 KiB, and is far from a chunk.
        let slow = "SELECT repeat('x', 9000), pg_sleep(i * 3600) FROM (VALUES (0), (0), (1)) v(i)";
        let mut rows = results::open(client, &query(slow, Format::Csv)).await.expect("a stream");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let next = tokio::time::timeout(Duration::from_secs(60), rows.next()).await.expect("in time");
        assert!(next.expect("a chunk").expect("a chunk").len() > 9000);
    });
}

#[test]
fn errors_say_what_happened() {
    let error = Error::Malformed { column: "value".into(), row: 7, expected: "bigint" };
    assert_eq!(error.to_string(), "column \"value\" of row 7: bytes that are no bigint");
    assert!(!error.is_closed() && !error.is_timeout());
}

//! Connections to a real PostgreSQL: what is given up comes free.

use std::borrow::Borrow as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flowapi::database::{Database, Lease};
use futures_util::StreamExt as _;
use results::{Format, Query};
use tokio::time::Instant;
use tokio_postgres::{Client, Config};

use super::flowdb::{ID, Server};
use super::rig::SOON;

/// One place, to be had as long as `told`.
fn database(server: &Server, told: Arc<AtomicBool>) -> Database {
    let address = server.address().clone();
    Database::new(1, move || {
        let mut config = Config::new();
        config.host_path(&address.socket).port(address.port).user("postgres").dbname("postgres");
        told.load(Ordering::SeqCst).then_some(config).ok_or_else(|| "not told".to_owned())
    })
}

fn told() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

fn query(sql: &str) -> Query<'_> {
    Query { sql, format: Format::Csv, query_id: ID, timeout: None }
}

/// The only place, as soon as it is free, and the process that serves its connection.
async fn lease(database: &Database) -> (Lease, i32) {
    let lease = database.lease(Instant::now() + SOON).await.expect("the place comes free");
    let client: &Client = lease.borrow();
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("the connection is good").get(0);
    (lease, pid)
}

#[test]
fn a_result_that_nobody_reads_on_is_cancelled_and_its_connection_used_again() {
    let server = Server::start();
    let database = database(&server, told());
    server.runtime.block_on(async {
        let (lent, pid) = lease(&database).await;
        let mut rows = results::open(lent, &query("SELECT generate_series(1, 1000000000000)")).await.expect("a stream");
        rows.next().await.expect("a chunk").expect("a chunk");
        drop(rows);
        let (_lent, same) = lease(&database).await;
        assert_eq!(same, pid, "it was cancelled rather than abandoned");
    });
}

#[test]
fn a_query_that_cannot_be_cancelled_gives_its_place_back_all_the_same() {
    let server = Server::start();
    let told = told();
    let database = database(&server, told.clone());
    server.runtime.block_on(async {
        let (lent, pid) = lease(&database).await;
        // The first row is there, the next comes in an hour.
        let slow = "SELECT repeat('x', 9000), pg_sleep(i * 3600) FROM (VALUES (0), (0), (1)) v(i)";
        let rows = results::open(lent, &query(slow)).await.expect("a stream");
        told.store(false, Ordering::SeqCst);
        drop(rows);
        assert!(database.lease(Instant::now()).await.is_err(), "PostgreSQL is still at it");
        // The first waits for the place, and can't open a connection.
        assert!(database.lease(Instant::now() + SOON).await.is_err_and(|error| error.to_string() == "not told"));
        told.store(true, Ordering::SeqCst);
        let (_lent, other) = lease(&database).await;
        assert_ne!(other, pid);
    });
}

#[test]
fn a_database_that_is_busy_is_ready() {
    let server = Server::start();
    let database = database(&server, told());
    server.runtime.block_on(async {
        let (lent, _) = lease(&database).await;
        assert_eq!(database.check().await, Ok(()));
        drop(lent);
        assert_eq!(database.check().await, Ok(()));
    });
    let away = Database::new(1, || Err("not told".to_owned()));
    assert_eq!(server.runtime.block_on(away.check()), Err("not told".to_owned()));
}

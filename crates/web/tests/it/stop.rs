//! The end: what is idle goes at once, what is in flight has its grace.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use web::axum::Router;
use web::axum::routing::get;
use web::{Limits, Options, Stopped};

use super::rig::{good, patient, rest, said, soon, start};

/// A route that tells that it was reached, and answers when it may.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (reached.clone(), go.clone());
    let handler = get(move || {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            tell.notify_one();
            wait.notified().await;
            "done"
        }
    });
    (good().route("/held", handler), reached, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_answered_and_what_is_idle_is_closed_at_once() {
    let (router, reached, go) = held();
    let mut server = start(router, Options { limits: patient(), ..Options::default() });
    let mut idle = said(server.address, "GET /good HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut silent = said(server.address, "").await;
    let mut answer = [0; 15];
    soon(idle.read_exact(&mut answer)).await.unwrap();
    let mut busy = said(server.address, "GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await;
    soon(reached.notified()).await;
    server.stop();
    // Both ends come while the third still waits.
    assert!(rest(&mut idle).await.ends_with("good"));
    assert_eq!(rest(&mut silent).await, "");
    soon(async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    })
    .await;
    go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(server.stopped().await, Stopped { cut: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_grace_what_is_in_flight_is_cut() {
    let (router, reached, _go) = held();
    let limits = Limits { grace: Duration::from_millis(300), ..patient() };
    let mut server = start(router, Options { limits, ..Options::default() });
    let mut busy = said(server.address, "GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await;
    soon(reached.notified()).await;
    server.stop();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(server.stopped().await, Stopped { cut: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_served_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(web::serve(listener, good(), Options::default(), std::future::pending()));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /good HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("good"), "{answer}");
}

//! Each limit attacked, while a good client is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use web::axum::Router;
use web::axum::body::{Body, Bytes};
use web::axum::routing::{get, post};
use web::test::Client;
use web::{Limits, Options};

use super::rig::{Running, connect_from, good, patient, rest, said, soon, start};

const SHORT: Duration = Duration::from_millis(300);

fn limited(router: Router, limits: Limits) -> Running {
    start(router, Options { limits, ..Options::default() })
}

fn taking() -> Router {
    good().route("/take", post(|body: Bytes| async move { body.len().to_string() }))
}

/// Sends a piece again and again until the server has enough.
async fn drip(stream: &mut TcpStream, piece: &[u8], pause: Duration) {
    soon(async {
        while stream.write_all(piece).await.is_ok() {
            tokio::time::sleep(pause).await
        }
    })
    .await;
}

async fn is_served(server: &Running) {
    assert_eq!(soon(Client::to(server.address).get("/good")).await.text(), "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_are_not_waited_for() {
    let server = limited(good(), Limits { header: SHORT, ..patient() });
    let mut slow = said(server.address, "GET /good HTTP/1.1\r\n").await;
    is_served(&server).await;
    drip(&mut slow, b"x: y\r\n", SHORT / 10).await;
    assert_eq!(rest(&mut slow).await, "");
    // Nothing said at all, and a second request on a connection that was good.
    assert_eq!(rest(&mut said(server.address, "").await).await, "");
    let mut second = said(server.address, "GET /good HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 12];
    soon(second.read_exact(&mut answer)).await.unwrap();
    second.write_all(b"GET /go").await.unwrap();
    assert!(rest(&mut second).await.ends_with("good"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_later_than_slow_headers() {
    let server = limited(good(), Limits { header: Duration::from_millis(100), idle: SHORT * 3, ..patient() });
    let mut idle = said(server.address, "GET /good HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let began = std::time::Instant::now();
    assert!(rest(&mut idle).await.ends_with("good"));
    assert!(began.elapsed() >= SHORT * 3, "closed after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_told_so_and_an_endless_one_is_cut() {
    let server = limited(taking(), Limits { body: SHORT, body_bytes: 10_000, ..patient() });
    let head = "POST /take HTTP/1.1\r\nhost: x\r\n";
    let mut slow = said(server.address, &format!("{head}content-length: 1000\r\n\r\n")).await;
    let (mut reading, mut writing) = slow.split();
    let dripping = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = String::new();
    let read = async { soon(reading.read_to_string(&mut answer)).await };
    tokio::select! { _ = dripping => {}, _ = read => {} }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"msg\":\"The request took too long to arrive.\""), "{answer}");

    is_served(&server).await;
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let chunks = chunk.repeat(11);
    let mut endless = said(server.address, &format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}")).await;
    let answer = rest(&mut endless).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"msg\":\"The request is too large.\""),
        "{answer}"
    );

    let mut announced = said(server.address, &format!("{head}content-length: 10001\r\n\r\n")).await;
    assert!(rest(&mut announced).await.starts_with("HTTP/1.1 413 "));
    let mut fits = said(
        server.address,
        &format!("{head}connection: close\r\ncontent-length: 10000\r\n\r\n{}", "x".repeat(10_000)),
    )
    .await;
    assert!(rest(&mut fits).await.ends_with("10000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_too_many_or_too_large_are_refused() {
    let server = limited(good(), patient());
    let many = "a: b\r\n".repeat(101);
    let mut stream = said(server.address, &format!("GET /good HTTP/1.1\r\nhost: x\r\n{many}\r\n")).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 431 "));
    let mut stream = said(server.address, "GET /good HTTP/1.1\r\nhost: x\r\na: ").await;
    drip(&mut stream, &[b'x'; 4096], Duration::ZERO).await;
    is_served(&server).await;
    let mut stream =
        said(server.address, &format!("GET /good HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(17 << 10))).await;
    let refused = rest(&mut stream).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431 "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_too_long_is_given_up() {
    let router = good().route("/never", get(std::future::pending::<&'static str>));
    let server = limited(router, Limits { answer: SHORT, ..patient() });
    let answer = soon(Client::to(server.address).get("/never")).await;
    assert_eq!(answer.status, http::StatusCode::SERVICE_UNAVAILABLE);
    is_served(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_whatever_connections_they_come_by() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let never = get(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<&'static str>()
    });
    let server = limited(good().route("/never", never), Limits { requests: 8, ..patient() });
    let mut busy = Vec::new();
    for number in 1..=2 {
        let mut never = connect_from("127.0.0.2", server.address).await.unwrap();
        never.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        busy.push(never);
        soon(async {
            while begun.load(Ordering::SeqCst) < number {
                tokio::time::sleep(SHORT / 20).await;
            }
        })
        .await;
    }
    for (from, status) in [("127.0.0.2", 503), ("127.0.0.3", 200)] {
        let mut stream = connect_from(from, server.address).await.unwrap();
        stream.write_all(b"GET /good HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "a quarter is one address's: {answer}");
    }
    drop(busy);
    soon(async {
        loop {
            let mut stream = connect_from("127.0.0.2", server.address).await.unwrap();
            stream.write_all(b"GET /good HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            if rest(&mut stream).await.ends_with("good") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_all_requests_together_have_a_bound() {
    let server = limited(taking(), Limits { held_bytes: 100_000, ..patient() });
    let head = "POST /take HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 60000\r\n\r\n";
    let half = format!("{head}{}", "x".repeat(59_999));
    let mut first = said(server.address, &half).await;
    is_served(&server).await;
    let refused = soon(async {
        loop {
            // Until the first one's has arrived.
            let mut second = said(server.address, &half).await;
            second.write_all(b"x").await.ok();
            let answer = rest(&mut second).await;
            if !answer.starts_with("HTTP/1.1 200 ") {
                break answer;
            }
        }
    })
    .await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    first.write_all(b"x").await.unwrap();
    assert!(rest(&mut first).await.ends_with("60000"));
    let mut third = said(server.address, &half).await;
    third.write_all(b"x").await.unwrap();
    assert!(rest(&mut third).await.ends_with("60000"), "it was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_an_answer_is_left() {
    let (gone, mut left) = tokio::sync::mpsc::unbounded_channel();
    let endless = move || {
        let held = Held(gone.clone());
        async move {
            let pieces = std::iter::from_fn(move || {
                let _held = &held;
                Some(Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16 << 10])))
            });
            Body::from_stream(futures_util::stream::iter(pieces))
        }
    };
    let server = limited(good().route("/endless", get(endless)), Limits { stall: SHORT, ..patient() });
    let _stalled = said(server.address, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    is_served(&server).await;
    // The body is let go while its client still holds the connection.
    soon(left.recv()).await.unwrap();
}

/// Tells when it goes.
struct Held(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Descriptors that a flood may take; each connection has two ends here.
fn flood() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open.saturating_sub(200) / 2).unwrap_or(usize::MAX).min(10_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_idle_connections_keeps_no_good_client_out() {
    let most = flood();
    let server = limited(good(), Limits { connections: 500, per_peer: None, ..patient() });
    let mut idle = Vec::with_capacity(most);
    for n in 0..most {
        idle.push(soon(TcpStream::connect(server.address)).await.unwrap());
        if n % 500 == 499 {
            is_served(&server).await;
        }
    }
    is_served(&server).await;
    // The first of them have made room long since.
    assert_eq!(rest(&mut idle[0]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_can_not_take_the_place_of_others() {
    let router = good().route("/never", get(std::future::pending::<&'static str>));
    let server = limited(router, Limits { connections: 30, per_peer: Some(20), ..patient() });
    let mut busy = Vec::new();
    for _ in 0..20 {
        let mut stream = connect_from("127.0.0.2", server.address).await.unwrap();
        stream.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    // Until all twenty are in their handlers, one that is not yet makes room; then nobody does.
    soon(async {
        loop {
            let mut more = connect_from("127.0.0.2", server.address).await.unwrap();
            let _ = more.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut byte = [0];
            match tokio::time::timeout(SHORT, more.read(&mut byte)).await {
                Ok(_) => break,
                Err(_) => busy.push(more),
            }
        }
    })
    .await;
    is_served(&server).await;
}

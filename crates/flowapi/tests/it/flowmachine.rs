//! Questions to a FlowMachine that is late, away, started anew, or talks nonsense.

use std::sync::Arc;
use std::time::Duration;

use flowapi::flowmachine::{Asker, Error, FlowMachine};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::rig::{Fake, SOON, Script, failure, success, until};

fn echo() -> Script {
    Arc::new(|_, params| success(params.clone()))
}

fn soon() -> Asker {
    Asker::new("test", SOON)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_at_once_each_get_their_own_answer() {
    let fake = Fake::start(0, echo()).await;
    let flowmachine = FlowMachine::new("localhost", fake.port);
    let long = "x".repeat(100_000);
    let all = (0..200).map(|n| {
        let (flowmachine, text) = (flowmachine.clone(), format!("{n}{}", if n % 7 == 0 { &*long } else { "" }));
        tokio::spawn(async move {
            let reply = flowmachine.about(&soon(), "poll_query", &[("query_id", &text)]).await.unwrap();
            assert_eq!(reply.read::<serde_json::Value>("poll_query").unwrap(), json!({ "query_id": text }));
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let counts = flowmachine.counts();
    assert_eq!((counts.asked, counts.failed, counts.lost, counts.waiting), (200, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_late_or_away_is_named_in_time_and_found_again() {
    let slow: Script = Arc::new(|_, _| (SOON, json!({})));
    let fake = Fake::start(0, slow).await;
    let flowmachine = FlowMachine::new("127.0.0.1", fake.port);
    let asker = Asker::new("test", Duration::from_millis(200));
    let late = flowmachine.about(&asker, "ping", &[]).await;
    assert!(matches!(late, Err(Error::Late("ping"))), "{late:?}");

    assert_eq!(flowmachine.answers_since(), None, "it has not answered yet");
    let port = fake.stop().await;
    let away = flowmachine.about(&soon(), "ping", &[]).await;
    assert!(matches!(away, Err(Error::Away(..))), "{away:?}");

    let fake = Fake::start(port, echo()).await;
    assert!(flowmachine.about(&soon(), "ping", &[]).await.unwrap().is_success());
    let (before, since) = (flowmachine.generation(), flowmachine.answers_since());
    assert!(since.is_some());
    // Started anew between two questions: the broken connection is not even tried.
    let fake = Fake::start(fake.stop().await, echo()).await;
    until("it is noticed", || flowmachine.generation() != before).await;
    assert_eq!(flowmachine.answers_since(), None, "the one that answered has gone");
    assert!(flowmachine.about(&soon(), "ping", &[]).await.unwrap().is_success());
    assert!(flowmachine.answers_since() > since);
    assert_eq!(fake.count("ping"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_nothing_about_the_query_is_a_failure_of_flowmachines() {
    let script: Script = Arc::new(|_, _| failure("Could not get reply for message", json!({})));
    let fake = Fake::start(0, script).await;
    let failed = FlowMachine::new("127.0.0.1", fake.port).about(&soon(), "poll_query", &[]).await;
    assert!(matches!(failed, Err(Error::Failed("poll_query", _))), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_else_answers_there_costs_no_memory() {
    // A good greeting and handshake, and then a frame that promises 2^60 bytes; or anything at all.
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    let huge = [&greeting[..], b"\x04\x06\x05READY", b"\x01\x00\x02\x10\0\0\0\0\0\0\0"].concat();
    for said in [huge, b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(20), vec![0; 4096]] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(&said).await;
            std::future::pending::<()>().await;
        });
        let answer = FlowMachine::new("127.0.0.1", port).about(&soon(), "ping", &[]).await;
        assert!(matches!(answer, Err(Error::Away(..))), "{answer:?}");
    }
}

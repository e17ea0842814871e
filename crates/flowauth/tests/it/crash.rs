//! What was acknowledged outlives `kill -9`, and no token is out that the log lacks.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use access::{Keys, Verifier};
use flowkit_core::catalogue::catalogue;
use flowkit_core::secrets::{self, Options};
use serde_json::{Value, json};

use crate::rig::{Browser, browser};

/// Longest wait for the program.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program over this directory's secrets and database. It is killed when it goes.
struct Running(Child);

impl Running {
    fn start(dir: &Path, address: SocketAddr) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_flowauth"))
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", dir)
            .env("FLOWKIT_FLOWAUTH_LISTEN", address.ip().to_string())
            .env("FLOWKIT_FLOWAUTH_PORT", address.port().to_string())
            .env("FLOWKIT_FLOWAUTH_PLAIN_HTTP", "true")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(running.0.try_wait().unwrap().is_none() && Instant::now() < until, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn signed_in(address: SocketAddr, password: &str) -> Browser {
    let mut browser = browser(address);
    browser.ok("POST", "/signin", json!({ "username": "admin", "password": password })).await;
    browser
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_no_token_is_out_that_the_log_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let roles: Vec<_> = catalogue().role("flowauth").into_iter().collect();
    secrets::init(dir.path(), &roles, &Options::default()).unwrap();
    std::fs::write(dir.path().join("DB_URI"), format!("sqlite:///{}/kept/a.sqlite", dir.path().display())).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let password = read("FLOWAUTH_ADMIN_PASSWORD").trim().to_owned();
    let verifier = Verifier::new(Keys::parse(&read("PUBLIC_JWT_SIGNING_KEY")).unwrap(), "here");
    let [a, b, c]: [u8; 3] = rand::random();
    let address: SocketAddr = format!("127.{a}.{b}.{}:9091", c.clamp(1, 254)).parse().unwrap();

    let running = Running::start(dir.path(), address);
    let mut root = signed_in(address, &password).await;
    let server = json!({ "name": "here", "longest_token_life_minutes": 60, "scopes": ["run"] });
    let server = root.ok("POST", "/admin/servers", server).await["id"].as_i64().unwrap();
    let scope = root.ok("GET", &format!("/admin/servers/{server}/scopes"), Value::Null).await[0]["id"].clone();
    let role = |name: String| json!({ "name": name, "server_id": server, "scopes": [scope], "users": [1], "longest_token_life_minutes": 60 });
    root.ok("POST", "/roles/", role("first".to_owned())).await;
    let mut running = Some(running);

    let (tokens, made) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
    for round in 0..3 {
        running.get_or_insert_with(|| Running::start(dir.path(), address));
        let done = Arc::new(AtomicUsize::new(0));
        let mut workers = Vec::new();
        for worker in 0..4 {
            let (mut root, tokens, made, done) =
                (signed_in(address, &password).await, tokens.clone(), made.clone(), done.clone());
            let (verifier, body) = (verifier.clone(), role(format!("role {round} {worker}")));
            workers.push(tokio::spawn(async move {
                if let Some(answer) = root.try_send("POST", "/roles/", body.clone()).await {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    made.lock().unwrap().insert(body["name"].as_str().unwrap().to_owned());
                }
                let ask = json!({ "name": "t", "roles": [{ "name": "first" }] });
                while let Some(answer) = root.try_send("POST", &format!("/tokens/tokens/{server}"), ask.clone()).await {
                    let text = answer.json()["token"].as_str().unwrap().to_owned();
                    let token = verifier.verify(&text, std::time::SystemTime::now()).unwrap();
                    tokens.lock().unwrap().insert(token.id.unwrap());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let until = Instant::now() + PATIENCE;
        while done.load(Ordering::Relaxed) < 8 {
            assert!(Instant::now() < until, "no tokens are made");
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        drop(running.take());
        for worker in workers {
            worker.await.unwrap();
        }
    }

    let _running = Running::start(dir.path(), address);
    let mut root = signed_in(address, &password).await;
    let listed = root.ok("GET", &format!("/tokens/tokens/{server}"), Value::Null).await;
    let kept: BTreeSet<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|token| {
            verifier.verify(token["token"].as_str().unwrap(), std::time::SystemTime::now()).unwrap().id.unwrap()
        })
        .collect();
    let (mut logged, mut before) = (BTreeSet::new(), i64::MAX);
    loop {
        let lines = root.ok("GET", &format!("/admin/audit?before={before}"), Value::Null).await;
        let Some(last) = lines.as_array().unwrap().last() else { break };
        before = last["id"].as_i64().unwrap();
        let minted = lines.as_array().unwrap().iter().filter(|line| line["action"] == "token.mint");
        logged.extend(minted.map(|line| line["detail"]["jti"].as_str().unwrap().to_owned()));
    }
    let tokens = std::mem::take(&mut *tokens.lock().unwrap());
    assert!(
        tokens.len() >= 24 && tokens.is_subset(&kept),
        "{} of {} are lost",
        tokens.difference(&kept).count(),
        tokens.len()
    );
    assert_eq!(kept, logged, "the books and the log say the same");
    let roles = root.ok("GET", "/roles/", Value::Null).await;
    let roles: BTreeSet<String> =
        roles.as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap().to_owned()).collect();
    assert!(made.lock().unwrap().is_subset(&roles));
}

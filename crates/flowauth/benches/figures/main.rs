//! FlowAuth's figures: sign-ins and pages a second and memory at rest, beside server.py, which is FlowAuth in small on Flask and gunicorn
//! (two workers), each over SQLite, in turn within each round, medians; and the first paint of its pages in Chromium on a poor line.
//!
//! `cargo bench -p flowauth --bench figures [-- ROUNDS]`. It needs what `make setup-tests` installs, and the network for server.py's
//! packages when it is run first.

#[allow(dead_code, missing_docs)] // the tests need more of it
#[path = "../../tests/it/browser/driver.rs"]
mod driver;
mod flask;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use driver::Chromium;
use flowkit_core::catalogue::catalogue;
use flowkit_core::secrets::{self, Options};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

/// Clients at once, all of them one user, and for how long they ask. More than five at once look like somebody who guesses.
const CLIENTS: usize = 4;
const ASKING: Duration = Duration::from_secs(5);

/// A poor line: bits a second, and milliseconds to the server and back (what Chromium's own tool calls slow 4G).
const LINE: u64 = 1_600_000;
const LATENCY: u64 = 150;

/// A server. It is stopped when it goes.
pub struct Server {
    name: &'static str,
    port: u16,
    password: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The parent of gunicorn's workers ends them when it is asked to end.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.child.wait();
    }
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn ours() -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    let roles: Vec<_> = catalogue().role("flowauth").into_iter().collect();
    secrets::init(dir.path(), &roles, &Options::default()).expect("secrets");
    std::fs::write(dir.path().join("DB_URI"), format!("sqlite:///{}/data.sqlite", dir.path().display()))
        .expect("a file");
    let password = std::fs::read_to_string(dir.path().join("FLOWAUTH_ADMIN_PASSWORD")).expect("a secret");
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowauth"));
    command.env_clear().env("CREDENTIALS_DIRECTORY", dir.path()).env("FLOWKIT_FLOWAUTH_PLAIN_HTTP", "true");
    command.env("FLOWKIT_FLOWAUTH_LISTEN", "127.0.0.1").env("FLOWKIT_FLOWAUTH_PORT", port.to_string());
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("flowauth");
    Server { name: "FlowAuth", port, password: password.trim().to_owned(), child, _dir: dir }
}

impl Server {
    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let until = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", self.port)).await {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "{}: {error}", self.name),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        sender
    }

    /// Comes in; the cookie of the session.
    async fn sign_in(&self, connection: &mut SendRequest<Full<Bytes>>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let body = form.append_pair("username", "admin").append_pair("password", &self.password).finish();
        let request = Request::post("/sign-in").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = send(connection, request, body.into()).await;
        assert_eq!(answer.status(), 303, "{}", self.name);
        let cookies = answer.headers().get_all(header::SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let session = cookies.into_iter().find_map(|cookie| cookie.strip_prefix("session="));
        session.and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned()
    }

    async fn page(&self, connection: &mut SendRequest<Full<Bytes>>, session: &str) {
        let request = Request::get("/account").header(header::COOKIE, format!("session={session}"));
        assert_eq!(send(connection, request, Bytes::new()).await.status(), 200, "{}", self.name);
    }

    /// How often a second all clients together come in (or, where they have, see a page).
    async fn rate(&self, pages: bool) -> f64 {
        let until = Instant::now() + ASKING;
        let client = async || {
            let (mut connection, mut count) = (self.connect().await, 0_u32);
            let session = if pages { self.sign_in(&mut connection).await } else { String::new() };
            while Instant::now() < until {
                match pages {
                    true => self.page(&mut connection, &session).await,
                    false => drop(self.sign_in(&mut connection).await),
                }
                count += 1;
            }
            count
        };
        let counts = futures_util::future::join_all((0..CLIENTS).map(|_| client())).await;
        f64::from(counts.iter().sum::<u32>()) / ASKING.as_secs_f64()
    }

    /// What its processes take, in bytes: what several share counts once.
    fn memory(&self) -> u64 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let all = children.split_whitespace().map(str::to_owned).chain([self.child.id().to_string()]);
        all.map(|id| pss(&id)).sum()
    }
}

fn pss(id: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).expect("it runs, and we are its user");
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Linux tells");
    kib.trim().trim_end_matches(" kB").parse::<u64>().expect("KiB") << 10
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    request: http::request::Builder,
    body: Bytes,
) -> Response<Bytes> {
    let request = request.header(header::HOST, "localhost").body(Full::new(body)).expect("a request");
    connection.ready().await.expect("a connection");
    let (head, body) = connection.send_request(request).await.expect("an answer").into_parts();
    Response::from_parts(head, body.collect().await.expect("a whole body").to_bytes())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5_usize);
    let servers = [ours(), flask::start()];
    for server in &servers {
        // One has come in and seen a page: what is loaded for that is loaded.
        let mut connection = server.connect().await;
        let session = server.sign_in(&mut connection).await;
        server.page(&mut connection, &session).await;
    }
    let rest = servers.each_ref().map(Server::memory);
    say::show!("{:<14}{:>14}{:>14}{:>8}", "", servers[0].name, servers[1].name, "times");
    say::show!("{:<14}{:>14}{:>14}", "MiB at rest", rest[0] >> 20, rest[1] >> 20);
    for (what, pages) in [("sign-ins/s", false), ("pages/s", true)] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (server, rates) in servers.iter().zip(&mut rates) {
                rates.push(server.rate(pages).await);
            }
        }
        let [ours, theirs] = rates.map(median);
        say::show!("{what:<14}{ours:>14.0}{theirs:>14.0}{:>8.1}", ours / theirs);
    }
    let busy = servers.each_ref().map(Server::memory);
    say::show!("{:<14}{:>14}{:>14}", "MiB after it", busy[0] >> 20, busy[1] >> 20);
    paint(&servers[0], rounds).await;
}

/// When there is something to see, on a poor line and with nothing kept.
async fn paint(server: &Server, rounds: usize) {
    let chromium = Chromium::start().await;
    let origin = format!("http://localhost:{}", server.port);
    chromium.devtools("Network.enable", json!({})).await;
    chromium.devtools("Network.setCacheDisabled", json!({ "cacheDisabled": true })).await;
    let line =
        json!({ "offline": false, "latency": LATENCY, "downloadThroughput": LINE / 8, "uploadThroughput": LINE / 16 });
    chromium.devtools("Network.emulateNetworkConditions", line).await;
    for path in ["/sign-in", "/account", "/manage/users", "/manage/servers/new"] {
        if path == "/account" {
            let mut connection = server.connect().await;
            let session = server.sign_in(&mut connection).await;
            let cookie =
                json!({ "name": "session", "value": session, "url": origin, "httpOnly": true, "secure": true });
            chromium.devtools("Network.setCookie", cookie).await;
        }
        let mut times = Vec::new();
        for _ in 0..rounds {
            chromium.open(&format!("{origin}{path}")).await;
            let script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
            chromium.until("return performance.getEntriesByName('first-contentful-paint').length > 0").await;
            times.push(chromium.run(script).await.ok().and_then(|time| time.as_f64()).expect("a time"));
            assert!(chromium.run("return location.pathname").await.is_ok_and(|at| at == path), "{path}");
        }
        say::show!("first paint of {path}: {:.0} ms", median(times));
    }
    chromium.quit().await;
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

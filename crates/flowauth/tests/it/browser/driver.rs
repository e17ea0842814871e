//! Chromium, told what to do by WebDriver: JSON over HTTP to Debian's `chromedriver`. The libraries for it want features of `hyper-util`
//! that nothing else in the workspace has; what is needed of them is this page.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Longest wait for anything that a browser does.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts what its arguments say, and ends it and all browsers of its place once nobody holds the standard input any more: these have a
/// process group of their own, in which no signal reaches them that is meant for the test.
const GUARD: &str = r#"
"$@" <&- &
exec >/dev/null
cat
kill -9 $!
for each in /proc/[0-9]*; do
    if grep -qF "$TMPDIR" "$each/cmdline"; then kill -9 "${each#/proc/}"; fi
done
rm -rf "$TMPDIR"
"#;

/// One browser with one page. It ends, and its profile is removed, when it goes, or when the test does, however that ends.
pub struct Chromium {
    guard: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// A browser with nothing in it.
    pub async fn start() -> Chromium {
        let profile = tempfile::tempdir().unwrap();
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard", "chromedriver", "--port=0", "--log-level=SEVERE"])
            // What it starts keeps its things there too.
            .env("TMPDIR", profile.path())
            .env("HOME", profile.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("chromedriver says where it listens; run `make setup-tests`").unwrap();
            let port =
                line.rsplit_once("successfully on port ").and_then(|(_, port)| port.trim_end_matches('.').parse().ok());
            if let Some(port) = port {
                break port;
            }
        };
        let mut chromium = Chromium { guard, port, session: String::new(), _profile: profile };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--no-first-run",
            "--hide-scrollbars",
            "--lang=en",
            "--window-size=1280,900",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments, "binary": "/usr/bin/chromium" },
            "timeouts": { "script": 110_000, "pageLoad": 110_000 },
        } } });
        let begun = chromium.ask("POST", "/session", wanted).await.expect("a session");
        chromium.session = begun["sessionId"].as_str().unwrap().to_owned();
        chromium
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let tell = |error: &dyn std::fmt::Display| format!("{method} {path}: {error}");
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(|error| tell(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| tell(&error))?;
        let connection = tokio::spawn(connection);
        let body = if method == "GET" { Bytes::new() } else { body.to_string().into() };
        let request = http::Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(Full::new(body)).unwrap();
        let answer =
            tokio::time::timeout(PATIENCE, sender.send_request(request)).await.map_err(|error| tell(&error))?;
        let body = answer.map_err(|error| tell(&error))?.into_body().collect().await.map_err(|error| tell(&error))?;
        connection.abort();
        let mut answer: Value = serde_json::from_slice(&body.to_bytes()).map_err(|error| tell(&error))?;
        match answer["value"]["error"].is_string() {
            true => Err(tell(&answer["value"])),
            false => Ok(answer["value"].take()),
        }
    }

    async fn of_session(&self, method: &str, what: &str, body: Value) -> Result<Value, String> {
        self.ask(method, &format!("/session/{}/{what}", self.session), body).await
    }

    /// Tries until it works: a page may still be on its way.
    async fn patiently(&self, what: &str, mut attempt: impl AsyncFnMut() -> Result<Option<Value>, String>) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let last = match attempt().await {
                Ok(Some(value)) => return value,
                Ok(None) => "not yet".to_owned(),
                Err(why) => why,
            };
            if Instant::now() > until {
                let text = self.run("return document.title + '\\n' + document.body.innerText").await;
                panic!("{what}: {last}: {text:?}");
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Goes to an address.
    pub async fn open(&self, url: &str) {
        self.of_session("POST", "url", json!({ "url": url })).await.unwrap();
    }

    async fn find(&self, css: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": css });
        let found =
            self.patiently(css, async || self.of_session("POST", "element", wanted.clone()).await.map(Some)).await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// Clicks what a selector finds.
    pub async fn click(&self, css: &str) {
        self.patiently(css, async || {
            let element = self.find(css).await;
            self.of_session("POST", &format!("element/{element}/click"), json!({})).await.map(Some)
        })
        .await;
    }

    /// Types into a field what shall be in it.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        if !css.contains("file") && !css.contains("spec-upload") {
            self.of_session("POST", &format!("element/{element}/clear"), json!({})).await.unwrap();
        }
        self.of_session("POST", &format!("element/{element}/value"), json!({ "text": text })).await.unwrap();
    }

    /// Presses keys, whatever has the focus.
    pub async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })))
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.of_session("POST", "actions", actions).await.unwrap();
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Result<Value, String> {
        self.of_session("POST", "execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// What a script gives back to its last argument.
    pub async fn run_later(&self, script: &str) -> Value {
        self.of_session("POST", "execute/async", json!({ "script": script, "args": [] })).await.unwrap()
    }

    /// Waits until a script says yes.
    pub async fn until(&self, script: &str) {
        self.patiently(script, async || Ok(self.run(script).await?.as_bool().filter(|yes| *yes).map(Value::from)))
            .await;
    }

    /// Waits for a page by its heading.
    pub async fn see(&self, heading: &str) {
        let wanted = json!(heading);
        self.until(&format!(
            "return document.readyState === 'complete' && !!document.querySelector('h1')?.textContent.includes({wanted})"
        ))
        .await;
    }

    /// The text or the value of what a selector finds.
    pub async fn text(&self, css: &str) -> String {
        let script =
            format!("const at = document.querySelector({}); return at && (at.value ?? at.textContent)", json!(css));
        let text = self.patiently(css, async || Ok(self.run(&script).await?.as_str().map(Value::from))).await;
        text.as_str().unwrap().to_owned()
    }

    /// A command of Chromium's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.of_session("POST", "goog/cdp/execute", body).await.unwrap()
    }

    /// An authenticator, as if one were built into the machine, which is touched by itself; its number.
    pub async fn authenticator(&self) -> String {
        let kind = json!({ "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true, "isUserConsenting": true });
        let made = self.of_session("POST", "webauthn/authenticator", kind).await.unwrap();
        made.as_str().unwrap().to_owned()
    }

    /// Takes it away.
    pub async fn no_authenticator(&self, number: &str) {
        self.of_session("DELETE", &format!("webauthn/authenticator/{number}"), json!({})).await.unwrap();
    }

    /// Light or dark.
    pub async fn scheme(&self, name: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": name }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// The width of the window, as a phone or a desktop has it.
    pub async fn width(&self, width: u64) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// A picture of the whole page.
    pub async fn picture(&self, path: &Path) {
        let taken = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        std::fs::write(path, STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Ends the browser.
    pub async fn quit(self) {
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), Value::Null).await;
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

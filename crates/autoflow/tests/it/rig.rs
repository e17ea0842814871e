//! An AutoFlow of its own, with a FlowAPI that says which days there are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use web::axum::extract::State;
use web::axum::routing::get;
use web::axum::{Json, Router};

/// Longest wait for anything: machines may be slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the FlowAPI knows: days of calls, and the token that it takes.
#[derive(Default)]
struct Known {
    days: Vec<String>,
    token: String,
    asked: usize,
    /// It takes questions, and never answers.
    hangs: bool,
}

type Shared = Arc<Mutex<Known>>;

/// Directories, settings, and the FlowAPI.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub settings: BTreeMap<String, String>,
    known: Shared,
}

/// An AutoFlow that runs. It is ended with this.
pub struct Running {
    pub child: Child,
    port: u16,
}

impl Rig {
    /// A FlowAPI with these days, and notebooks by their names: programs in Python.
    pub fn new(days: &[&str], workflows: &str, notebooks: &[(&str, &str)]) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        for part in ["inputs", "outputs", "secrets", "state", "env/bin"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        let python = dir.path().join("env/bin/python");
        fs::write(&python, include_str!("python")).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let days = days.iter().map(|day| (*day).to_owned()).collect();
        let known = Arc::new(Mutex::new(Known { days, token: token("first", 3), asked: 0, hangs: false }));
        let (port, certificate) =
            serve(Router::new().route("/api/0/available_dates", get(known_days)).with_state(known.clone()));
        let rig = Rig { dir, settings: BTreeMap::new(), known };
        let (at, text) = (|name: &str| rig.path(name), |path: PathBuf| path.to_str().unwrap().to_owned());
        let settings = [
            ("FLOWAPI_URL", format!("https://localhost:{port}")),
            ("AUTOFLOW_INPUTS_DIR", text(at("inputs"))),
            ("AUTOFLOW_OUTPUTS_DIR", text(at("outputs"))),
            ("AUTOFLOW_LOG_LEVEL", "info".to_owned()),
            ("CREDENTIALS_DIRECTORY", text(at("secrets"))),
            ("STATE_DIRECTORY", text(at("state"))),
            ("FLOWKIT_AUTOFLOW_PYTHON", text(python)),
            ("FLOWKIT_AUTOFLOW_RETRY_SECONDS", "1".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let rig = Rig { settings, ..rig };
        rig.put("secrets/FLOWAPI_TOKEN", &token("first", 3));
        rig.put("secrets/cert-flowkit.pem", &certificate);
        rig.put("inputs/workflows.yml", workflows);
        notebooks.iter().for_each(|(name, text)| rig.put(&format!("inputs/{name}.ipynb"), text));
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file as an editor does.
    pub fn put(&self, name: &str, text: &str) {
        let aside = self.path("aside");
        fs::write(&aside, text).unwrap();
        fs::rename(&aside, self.path(name)).unwrap();
    }

    pub fn add_day(&self, day: &str) {
        self.known.lock().unwrap().days.push(day.to_owned());
    }

    /// The token that FlowAPI takes from now on.
    pub fn take_token(&self, token: &str) {
        self.known.lock().unwrap().token = token.to_owned();
    }

    pub fn hang(&self, hangs: bool) {
        self.known.lock().unwrap().hangs = hangs;
    }

    pub fn asked(&self) -> usize {
        self.known.lock().unwrap().asked
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autoflow"));
        command
            .args(args)
            .env_clear()
            .envs(&self.settings)
            .env("PATH", "/usr/bin:/bin")
            .env("DEPLOYMENTS_SECRET", "hunter2");
        command
    }

    /// Runs a command to its end.
    pub fn autoflow(&self, args: &[&str]) -> Output {
        self.command(args).env("FLOWKIT_AUTOFLOW_PORT", "1").output().unwrap()
    }

    /// Starts it, at a port that is free.
    pub fn start(&self) -> Running {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
            let mut command = self.command(&[]);
            command
                .env("FLOWKIT_AUTOFLOW_PORT", port.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let mut running = Running { child: command.spawn().unwrap(), port };
            let until = Instant::now() + PATIENCE;
            loop {
                if running.get("/health/live", "localhost").is_some() {
                    return running;
                }
                if running.child.try_wait().unwrap().is_some() {
                    assert!(self.log().contains("can't listen on port"), "it ended: {}", self.log());
                    // Somebody was faster.
                    break;
                }
                assert!(Instant::now() < until, "{}", self.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    pub fn log(&self) -> String {
        let all = fs::read_to_string(self.path("log")).unwrap_or_default();
        // Without what this asks itself.
        all.lines().filter(|line| !line.contains(" route=")).map(|line| format!("{line}\n")).collect()
    }

    /// The names in a directory of the outputs.
    pub fn outputs(&self, part: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path("outputs").join(part)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The schedule's moment has come: days were asked for an age ago.
    pub async fn come_due(&self) {
        self.looked(0).await;
    }

    /// Changes its database behind its back.
    pub async fn change(&self, sql: &'static str) {
        let uri = format!("sqlite://{}", self.path("state/autoflow.sqlite").display());
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&uri).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// Days were asked for at this moment.
    pub async fn looked(&self, at: i64) {
        let uri = format!("sqlite://{}", self.path("state/autoflow.sqlite").display());
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&uri).await.unwrap();
        let until = Instant::now() + PATIENCE;
        // An AutoFlow that has just begun may not have made it yet.
        let sql = "UPDATE autoflow_sensor SET looked = $1";
        while sqlx::query(sql).bind(at).execute(&pool).await.unwrap().rows_affected() == 0 {
            assert!(Instant::now() < until, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pool.close().await;
    }
}

impl Running {
    /// What a page answers; `None` for anything but success.
    pub fn get(&self, path: &str, host: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    /// The beginning of an answer.
    pub fn begins(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = vec![0; 64];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub fn runs(&self) -> Vec<Value> {
        let text = self.get("/runs.json", "localhost").unwrap_or_default();
        serde_json::from_str::<Value>(&text).ok().and_then(|all| all["runs"].as_array().cloned()).unwrap_or_default()
    }

    /// Waits until the runs, as `WORKFLOW DAY STATE`, are those.
    #[track_caller]
    pub fn wait_for(&self, rig: &Rig, wanted: &[&str]) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let runs = self.runs();
            let mut seen: Vec<String> = runs.iter().map(short).collect();
            seen.sort();
            if seen == wanted {
                return runs;
            }
            assert!(Instant::now() < until, "not in time: {wanted:?}\n{runs:#?}\n{}", rig.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn short(run: &Value) -> String {
    let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", text("workflow"), text("reference_date"), text("state"))
}

#[track_caller]
pub fn wait(rig: &Rig, what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "not in time: {what}\n{}", rig.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A token that nobody has signed, and that ends so many days from now.
pub fn token(user: &str, days: u64) -> String {
    let ends = SystemTime::now() + Duration::from_secs(days * 86_400 + 60);
    token_until(user, ends.duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// One that ends at that moment, in seconds since 1970.
pub fn token_until(user: &str, ends: u64) -> String {
    let payload = json!({ "sub": user, "aud": "flowapi_server", "exp": ends, "user_claims": {} });
    let parts = [r#"{"alg":"RS256","typ":"JWT"}"#.to_owned(), payload.to_string(), "nobody".to_owned()];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// Processes that have this in their command line.
pub fn processes_with(text: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text.to_str().unwrap())).collect()
}

/// A server by HTTPS; its port and its certificate.
pub fn serve(router: Router) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let shown = certificate.clone();
    let tls =
        web::Tls::of(move || Ok(web::Pair { certificate: shown.clone().into(), key: key.clone().into() })).unwrap();
    let options = web::Options { tls: Some(tls), ..web::Options::default() };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(web::serve(listener, router, options, std::future::pending()))
    });
    (port, certificate)
}

/// Days, for whoever has the token.
async fn known_days(State(known): State<Shared>, headers: http::HeaderMap) -> Result<Json<Value>, web::Error> {
    let hangs = {
        let mut known = known.lock().unwrap();
        known.asked += 1;
        known.hangs
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    let known = known.lock().unwrap();
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given != format!("Bearer {}", known.token) {
        return Err(web::Error::new(http::StatusCode::UNAUTHORIZED, "This token is not good."));
    }
    Ok(Json(json!({ "available_dates": { "calls": known.days, "sms": [] } })))
}

//! Runs a set of services from a JSON file under the supervisor; also asks a running one. The supervisor's tests use it.
//!
//! ```text
//! supervise run FILE | detach FILE | status DIR | stop DIR | restart DIR SERVICE
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use supervisor::{
    Alive, Command, Confinement, Error, Kind, LogFormat, LogTarget, OnDependency, Options, Probe, Reach, Restart,
    Service, StopStep, User, client, spawn_detached, supervise,
};

/// A run, as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    state: PathBuf,
    /// A file; stdout when it is missing.
    log: Option<PathBuf>,
    #[serde(default = "large")]
    log_bytes: u64,
    #[serde(default)]
    format: LogFormat,
    #[serde(default = "budget")]
    budget_ms: u64,
    services: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    task: bool,
    #[serde(default)]
    before: Vec<Vec<OsText>>,
    command: Vec<OsText>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    dir: Option<PathBuf>,
    /// Numbers of user, group, further groups.
    user: Option<Vec<u32>>,
    confined: Option<Confined>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    restart_with_dependency: bool,
    ready: Option<Question>,
    alive: Option<Question>,
    #[serde(default = "alive_every")]
    alive_ms: u64,
    /// Signal and patience in milliseconds.
    #[serde(default = "term")]
    stop: Vec<(i32, u64)>,
    #[serde(default)]
    first_ms: Option<u64>,
    #[serde(default)]
    cap_ms: Option<u64>,
    #[serde(default)]
    reset_ms: Option<u64>,
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    success: Vec<i32>,
    oom_score_adj: Option<i32>,
    #[serde(default = "files")]
    open_files: u64,
    memory: Option<u64>,
}

/// What a service may reach.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confined {
    run: Vec<PathBuf>,
    #[serde(default)]
    change: Vec<PathBuf>,
    #[serde(default)]
    listen: Vec<u16>,
    #[serde(default)]
    connect: Vec<u16>,
    #[serde(default)]
    plain: bool,
    #[serde(default)]
    datagrams: bool,
}

type OsText = String;

/// A probe, as the file has it.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    /// The file exists.
    File(PathBuf),
    /// Something accepts connections at the address.
    Tcp(String),
    /// PostgreSQL behind this socket lets the user in.
    Postgres(PathBuf),
    /// Writes a line to the file and never answers.
    Hang(PathBuf),
}

fn large() -> u64 {
    1 << 30
}

fn budget() -> u64 {
    8000
}

fn alive_every() -> u64 {
    1000
}

fn term() -> Vec<(i32, u64)> {
    vec![(libc::SIGTERM, 10_000)]
}

fn files() -> u64 {
    1024
}

impl Probe for Question {
    fn check(&self, patience: Duration) -> Result<(), String> {
        match self {
            Question::File(path) if path.exists() => Ok(()),
            Question::File(path) => Err(format!("{} is missing", path.display())),
            Question::Tcp(address) => {
                let address = address.parse().map_err(|_| format!("{address} is no address"))?;
                TcpStream::connect_timeout(&address, patience).map(drop).map_err(|error| error.to_string())
            }
            Question::Postgres(socket) => postgres(socket, patience).map_err(|error| error.to_string()),
            Question::Hang(path) => {
                let mut file =
                    std::fs::File::options().append(true).create(true).open(path).map_err(|e| e.to_string())?;
                let _ = writeln!(file, "asked");
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

/// Begins a session and looks at the first byte of the answer: `R` for a welcome, `E` for a refusal.
fn postgres(socket: &Path, patience: Duration) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    stream.write_all(&((body.len() + 4) as u32).to_be_bytes())?;
    stream.write_all(body)?;
    let mut first = [0u8];
    stream.read_exact(&mut first)?;
    match first[0] {
        b'R' => Ok(()),
        _ => Err(std::io::Error::other("it accepts nobody yet")),
    }
}

impl Entry {
    fn command(&self, line: &[OsText]) -> Command {
        Command {
            program: PathBuf::from(&line[0]),
            args: line[1..].iter().map(OsString::from).collect(),
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            dir: self.dir.clone().unwrap_or_else(|| "/".into()),
            user: self.user.as_ref().map(|ids| User { uid: ids[0], gid: ids[1], groups: ids[2..].to_vec() }),
            confinement: self.confined.as_ref().map(|confined| Confinement {
                files: [(&confined.run, Reach::Run), (&confined.change, Reach::Change)]
                    .into_iter()
                    .flat_map(|(paths, reach)| paths.iter().map(move |path| (path.clone(), reach)))
                    .collect(),
                listen: confined.listen.clone(),
                connect: Some(confined.connect.clone()),
                plain: confined.plain,
                datagrams: confined.datagrams,
                unix: false,
            }),
        }
    }

    fn service(&self) -> Service {
        let default = Restart::default();
        let millis = |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_millis);
        let every = Duration::from_millis(self.alive_ms);
        Service {
            name: self.name.clone(),
            kind: if self.task { Kind::Task } else { Kind::Daemon },
            before: self.before.iter().map(|line| self.command(line)).collect(),
            command: self.command(&self.command),
            needs: self.needs.clone(),
            on_dependency: if self.restart_with_dependency { OnDependency::Restart } else { OnDependency::Keep },
            ready: self.ready.clone().map(|question| Arc::new(question) as Arc<dyn Probe>),
            alive: self.alive.clone().map(|probe| Alive {
                probe: Arc::new(probe),
                every,
                patience: every,
                failures: 3,
            }),
            stop: self
                .stop
                .iter()
                .map(|(signal, ms)| StopStep { signal: *signal, patience: Duration::from_millis(*ms) })
                .collect(),
            restart: Restart {
                first: millis(self.first_ms, default.first),
                cap: millis(self.cap_ms, default.cap),
                reset_after: millis(self.reset_ms, default.reset_after),
                limit: self.limit.unwrap_or(default.limit),
                window: default.window,
            },
            success: if self.success.is_empty() { vec![0] } else { self.success.clone() },
            hopeless: vec![],
            address: None,
            oom_score_adj: self.oom_score_adj,
            open_files: self.open_files,
            memory: self.memory,
        }
    }
}

fn read(file: &str) -> (Vec<Service>, Options) {
    let text = std::fs::read_to_string(file).expect("the file can be read");
    let run: Run = serde_json::from_str(&text).expect("the file is a run");
    let mut options = Options::new(run.state);
    if let Some(path) = run.log {
        options.log = LogTarget::File { path, max_bytes: run.log_bytes, keep: 3 };
    }
    options.format = run.format;
    options.budget = Duration::from_millis(run.budget_ms);
    options.facts = serde_json::json!({ "example": true });
    (run.services.iter().map(Entry::service).collect(), options)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["run", file] => {
            let (services, options) = read(file);
            supervise(services, options).map(|outcome| {
                if let Some(message) = outcome.message {
                    say::tell!("{message}");
                }
                outcome.status
            })
        }
        ["detach", file] => {
            let (services, options) = read(file);
            spawn_detached(services, options).map(|pid| {
                say::show!("{pid}");
                0
            })
        }
        ["status", dir] => client::status(Path::new(dir)).map(|status| {
            say::show!("{}", serde_json::to_string(&status).expect("serialises"));
            0
        }),
        ["stop", dir] => client::stop(Path::new(dir), Duration::from_secs(60)).map(|stopped| {
            say::show!("{stopped:?}");
            0
        }),
        ["restart", dir, service] => client::restart(Path::new(dir), service).map(|()| 0),
        _ => {
            say::tell!("supervise run FILE | detach FILE | status DIR | stop DIR | restart DIR SERVICE");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    say::tell!("{text}");
    ExitCode::from(if error.is_mistake() { 2 } else { 1 })
}

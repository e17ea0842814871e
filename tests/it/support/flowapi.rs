//! FlowAPI before a FlowMachine of a test's own, over TLS, and upstream's client to ask it with.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flowkit_core::catalogue::catalogue;
use flowkit_core::secrets::{self, Options};
use https::Get;
use rustix::process::geteuid;

use super::flowdb::SECRETS;
use super::flowmachine::{FlowMachine, PATIENCE, wait_for};
use super::ports::free_port;
use super::programs;

/// A server, its secrets and its log. It is stopped when it goes.
pub struct FlowApi {
    dir: tempfile::TempDir,
    /// Where it listens.
    pub port: u16,
    server: Option<Child>,
}

impl FlowApi {
    /// The real program before a FlowMachine, ready to answer.
    pub fn start(machine: &FlowMachine, settings: &[(&str, &str)]) -> FlowApi {
        let dir = tempfile::Builder::new().prefix("flowapi-it-").tempdir().expect("a temporary directory");
        let mut api = FlowApi { dir, port: free_port(), server: None };
        std::fs::create_dir(api.secrets()).expect("a directory for secrets");
        for (name, value) in SECRETS.iter().filter(|(name, _)| name.starts_with("FLOWAPI")) {
            std::fs::write(api.secrets().join(name), value).expect("a secret's file");
        }
        let roles: Vec<_> = ["flowapi", "flowauth"].iter().filter_map(|name| catalogue().role(name)).collect();
        secrets::init(&api.secrets(), &roles, &Options::default()).expect("secrets");
        api.run(machine, settings);
        api
    }

    fn run(&mut self, machine: &FlowMachine, settings: &[(&str, &str)]) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log file");
        let mut command = Command::new(programs::flowapi());
        command.env_clear().env("CREDENTIALS_DIRECTORY", self.secrets()).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a second handle")).stdout(log);
        let of = |name: &str| machine.cluster.site.settings.text(name).expect("it has a default").to_owned();
        command.env("FLOWAPI_PORT", self.port.to_string()).env("FLOWKIT_FLOWAPI_LISTEN", "127.0.0.1");
        command.env("FLOWDB_HOST", "127.0.0.1").env("FLOWDB_PORT", of("FLOWDB_PORT"));
        command.env("FLOWMACHINE_HOST", "127.0.0.1").env("FLOWMACHINE_PORT", of("FLOWMACHINE_PORT"));
        command.env("FLOWAPI_LOG_LEVEL", "info").envs(settings.iter().copied());
        self.server = Some(command.spawn().expect("it starts"));
        wait_for("FlowAPI", || {
            let ended = self.server.as_mut().expect("it was started").try_wait().expect("it is our child");
            assert!(ended.is_none(), "FlowAPI ended: {}", self.log());
            self.ready()
        });
    }

    /// Whether it can do its work.
    pub fn ready(&self) -> Result<(), String> {
        let certificate = self.secrets().join("cert-flowkit.pem");
        let read = move || std::fs::read_to_string(&certificate).map_err(|error| error.to_string());
        let get = Get::https(([127, 0, 0, 1], self.port).into(), "/api/0/health/ready", read);
        get.ask(|address, patience| TcpStream::connect_timeout(&address, patience), PATIENCE)
    }

    /// The directory of its secrets.
    pub fn secrets(&self) -> PathBuf {
        self.dir.path().join("secrets")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What its process has taken of memory at most, in bytes.
    pub fn peak(&self) -> u64 {
        peak_of(self.server.as_ref().expect("it runs").id())
    }

    /// A program of upstream's client: Python's text, told where the server, its certificate and the key of tokens are.
    pub fn client(&self, text: &str) -> Command {
        let mut command = Command::new(python());
        command.env_clear();
        told(command, text, self.port, &self.secrets())
    }

    /// Runs one to its end, which must be good, and gives what it printed last, as JSON.
    pub fn ask(&self, text: &str) -> serde_json::Value {
        printed(&mut self.client(text)).unwrap_or_else(|why| panic!("{why}\n{}", self.log()))
    }
}

impl Drop for FlowApi {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// What a process has taken of memory at most, in bytes.
pub fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("KiB") << 10
}

/// A program of upstream's client, told where a FlowAPI, its certificate and the key of tokens are. `python` is a command that
/// begins with [`python`].
pub fn told(mut python: Command, text: &str, port: u16, secrets: &Path) -> Command {
    python.args(["-I", "-c", text]).stdin(Stdio::null()).env("URL", format!("https://localhost:{port}"));
    python.env("CERTIFICATE", secrets.join("cert-flowkit.pem")).env("KEY", secrets.join("PRIVATE_JWT_SIGNING_KEY"));
    python
}

/// Runs one to its end, which must be good, and gives what it printed last, as JSON.
///
/// # Errors
/// All that it said.
pub fn printed(program: &mut Command) -> Result<serde_json::Value, String> {
    let output = program.output().expect("Python");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    match told.trim().lines().last().map(serde_json::from_str) {
        Some(Ok(told)) if output.status.success() => Ok(told),
        _ => Err(super::deployment::show(&output)),
    }
}

/// What makes the token of [`guide`], as the manual has it.
pub const TOKEN: &[&str] = &[
    "token",
    "make",
    "--user",
    "ann",
    "--role",
    "analyst=run,get_result,get_available_dates,\
    admin3:spatial_aggregate:spatial_aggregate,admin3:spatial_aggregate:daily_location",
];

/// The same where the secrets are in a directory of their own.
pub fn token(secrets: &Path) -> String {
    let mut make = Command::new(programs::flowkit());
    make.args(TOKEN).arg("--dir").arg(secrets.join("none")).env_clear().env("CREDENTIALS_DIRECTORY", secrets);
    let output = make.output().expect("flowkit");
    assert!(output.status.success(), "{}", super::deployment::show(&output));
    String::from_utf8(output.stdout).expect("a token")
}

/// The connection of the guide, then what is asked over it.
const GUIDE: &str = r#"
import json, os
import flowclient

connection = flowclient.Connection(
    url=os.environ["URL"], token=os.environ["TOKEN"].strip(), ssl_certificate=os.environ["CERTIFICATE"])
told = {"days": sorted(flowclient.get_available_dates(connection=connection).get("calls", []))}
if told["days"]:
    day = flowclient.daily_location_spec(date=told["days"][-1], aggregation_unit="admin3", method="last")
    query = flowclient.spatial_aggregate(connection=connection, locations=day)
    query.run()
    query.wait_until_ready(poll_interval=0.2)
    told["people"] = int(query.get_result(disable_progress=True).value.sum())
print(json.dumps(told))
"#;

/// FlowKit's guide's example, by upstream's client: the days that are there, and people by area on the last of them. `python` is a
/// command that begins with [`python`].
///
/// # Errors
/// What the client says.
pub fn guide(mut python: Command, port: u16, token: &str, certificate: &Path) -> Result<serde_json::Value, String> {
    python.args(["-I", "-c", GUIDE]).stdin(Stdio::null());
    python.env("URL", format!("https://localhost:{port}")).env("TOKEN", token).env("CERTIFICATE", certificate);
    printed(&mut python)
}

/// The Python with upstream's client and maker of tokens that `make setup-tests` makes.
pub fn python() -> PathBuf {
    python_of("client")
}

/// The Python of an environment that `make setup-tests` makes.
pub fn python_of(environment: &str) -> PathBuf {
    let prefix = match (std::env::var_os("PREFIX"), geteuid().is_root()) {
        (Some(prefix), _) => PathBuf::from(prefix),
        (None, true) => "/usr/local".into(),
        (None, false) => PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".local"),
    };
    let python = prefix.join("lib/flowkit").join(environment).join("bin/python");
    assert!(python.exists(), "{} is missing; run `make setup-tests`", python.display());
    python
}

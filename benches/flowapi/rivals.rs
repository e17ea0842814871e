//! What FlowAPI is measured beside: psql, and the server in Python.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::Got;
use crate::support::flowapi::{FlowApi, peak_of};
use crate::support::flowmachine::{FlowMachine, wait_for};
use crate::support::ports::free_port;

const REQUIREMENTS: &str = include_str!("requirements.txt");

fn secret(api: &FlowApi, name: &str) -> String {
    fs::read_to_string(api.secrets().join(name)).expect("a secret").trim().to_owned()
}

/// `\copy` of a query to nowhere, over loopback, as FlowAPI's login.
pub fn psql(machine: &FlowMachine, sql: &str) -> Got {
    let began = Instant::now();
    let status = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-d",
            &dsn(machine),
            "-c",
            &format!("\\copy ({}) to '/dev/null' csv", sql.replace('\n', " ")),
        ])
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("psql").success());
    Got { all: began.elapsed(), ..Got::default() }
}

fn dsn(machine: &FlowMachine) -> String {
    let port = machine.cluster.site.settings.port("FLOWDB_PORT");
    format!("postgresql://flowapi:api-Pass-3@127.0.0.1:{port}/flowdb")
}

/// server.py. It is stopped when it goes.
pub struct Python {
    pub port: u16,
    server: Child,
}

impl Python {
    pub fn start(machine: &FlowMachine, api: &FlowApi, connections: usize) -> Python {
        let port = free_port();
        let mut command = Command::new(environment());
        command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/flowapi/server.py")).env_clear();
        command.env("PORT", port.to_string()).env("CONNECTIONS", connections.to_string()).env("DSN", dsn(machine));
        command.env("FLOWMACHINE", machine.address()).env("AUDIENCE", secret(api, "FLOWAPI_IDENTIFIER"));
        for (name, file) in [
            ("CERTIFICATE", "cert-flowkit.pem"),
            ("CERTIFICATE_KEY", "key-flowkit.pem"),
            ("PUBLIC_KEY", "PUBLIC_JWT_SIGNING_KEY"),
        ] {
            command.env(name, api.secrets().join(file));
        }
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flowapi-python.log");
        let log = fs::File::create(log).expect("a log file");
        let server = command.stdin(Stdio::null()).stderr(log).spawn().expect("Python");
        let started = Python { port, server };
        wait_for("server.py", || TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string()));
        started
    }

    /// What its process has taken of memory at most, in bytes.
    pub fn peak(&self) -> u64 {
        peak_of(self.server.id())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The interpreter with server.py's packages, which are fetched once.
fn environment() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flowapi-python");
    let (python, made) = (home.join("bin/python"), home.join("requirements.txt"));
    if fs::read_to_string(&made).is_ok_and(|made| made == REQUIREMENTS) {
        return python;
    }
    let done = |command: &mut Command| assert!(command.status().expect("Python").success(), "{command:?}");
    done(Command::new("/usr/bin/python3").args(["-I", "-m", "venv", "--clear"]).arg(&home));
    let unchecked = home.join("wanted.txt");
    fs::write(&unchecked, REQUIREMENTS).expect("a file");
    let install = ["-I", "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"];
    done(Command::new(&python).args(install).arg("--requirement").arg(&unchecked));
    fs::rename(unchecked, made).expect("a file");
    python
}

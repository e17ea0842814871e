//! FlowMachine's own SQL: a FlowDB with made-up data, as an operator has it, and what the library generates there for every kind
//! of query (`flowmachine.py`). Nothing of the deployment runs afterwards: its data directory is what the servers start on.

use std::error::Error;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::data::Size;
use crate::ports::free_port;
use crate::queries::Query;

/// What the library is asked by.
const SCRIPT: &str = include_str!("flowmachine.py");
/// The days that each query looks at.
const DAYS: u32 = 3;
/// The analyst whose connection the library has.
const ANALYST: &str = "bench";

/// Everything in a directory that may be kept.
pub struct Demo {
    dir: PathBuf,
}

impl Demo {
    /// The demo in `dir`, which is another's to make.
    pub fn new(dir: &Path) -> Demo {
        Demo { dir: dir.to_owned() }
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Where its PostgreSQL has its data.
    pub fn data(&self) -> PathBuf {
        self.state().join("flowdb/data")
    }

    /// Whether all of it is there.
    pub fn is_made(&self) -> bool {
        self.kinds().exists()
    }

    fn kinds(&self) -> PathBuf {
        self.dir.join("kinds.json")
    }

    /// Makes it: FlowDB and redis are started, filled, asked and stopped.
    pub fn make(&self, size: Size) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(self.state())?;
        let ports = [free_port(), free_port()];
        fs::write(
            self.state().join("flowkit.toml"),
            format!("FLOWDB_PORT = {}\nREDIS_PORT = {}\n", ports[0], ports[1]),
        )?;
        // Root's checkout may be closed to the services' users.
        let program = self.dir.join("flowkit");
        fs::copy(env!("CARGO_BIN_EXE_flowkit"), &program)?;
        let made = self.fill(&program, size).and_then(|()| self.ask(ports));
        self.flowkit(&program, &["down"])?;
        fs::write(self.kinds(), made?)?;
        Ok(())
    }

    fn fill(&self, program: &Path, size: Size) -> Result<(), Box<dyn Error>> {
        let (days, subscribers) = (size.days.to_string(), size.subscribers.to_string());
        self.flowkit(program, &["up", "--detach", "--role", "flowdb", "--role", "redis"])?;
        self.flowkit(program, &["db", "demo", "--days", &days, "--subscribers", &subscribers])?;
        let password = self.password();
        self.flowkit(
            program,
            &["db", "user", "add", ANALYST, "--role", "analyst", "--password-file", &password.to_string_lossy()],
        )
    }

    fn flowkit(&self, program: &Path, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
        let mut command = Command::new(program);
        command.args(arguments).arg("--dir").arg(self.state()).stdout(Stdio::null());
        match command.status()? {
            status if status.success() => Ok(()),
            status => Err(format!("flowkit {}: {status}", arguments.join(" ")).into()),
        }
    }

    fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// What the library says: JSON, name and SQL of each kind.
    fn ask(&self, [flowdb, redis]: [u16; 2]) -> Result<Vec<u8>, Box<dyn Error>> {
        let secret = |path: PathBuf| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let given = json!({
            "first_day": "2016-01-01",
            "days": DAYS,
            "connection": {
                "flowdb_host": "127.0.0.1", "flowdb_port": flowdb, "flowdb_user": ANALYST,
                "flowdb_password": secret(self.password())?,
                "redis_host": "127.0.0.1", "redis_port": redis,
                "redis_password": secret(self.state().join("secrets/REDIS_PASSWORD"))?,
            },
        });
        let python = std::env::var_os("FLOWKIT_PYTHON").unwrap_or("/usr/local/lib/flowkit/python/bin/python".into());
        let mut python = Command::new(python);
        python.args(["-I", "-B", "-W", "ignore", "-c", SCRIPT]).env("TZ", "UTC").current_dir("/");
        if rustix::process::geteuid().is_root() {
            python.uid(65534).gid(65534);
        }
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        serde_json::to_writer(child.stdin.take().expect("it is piped"), &given)?;
        let output = child.wait_with_output()?;
        match output.status {
            status if status.success() => Ok(output.stdout),
            status => Err(format!("FlowMachine's library: {status}").into()),
        }
    }

    /// The set `look`, which whoever wants to change a rule may study, or `claim`, which is measured and left alone: every second
    /// kind in the order of the alphabet.
    pub fn queries(&self, set: &str) -> Result<Vec<Query>, Box<dyn Error>> {
        #[derive(serde::Deserialize)]
        struct Kind {
            name: String,
            sql: String,
        }
        let mut kinds: Vec<Kind> = serde_json::from_slice(&fs::read(self.kinds())?)?;
        kinds.sort_by(|a, b| a.name.cmp(&b.name));
        let first = match set {
            "look" => 0,
            "claim" => 1,
            other => return Err(format!("no set of FlowMachine's queries is called {other}: look, claim").into()),
        };
        let query = |kind: Kind| Query { what: String::new(), name: kind.name, sql: kind.sql };
        Ok(kinds.into_iter().skip(first).step_by(2).map(query).collect())
    }
}

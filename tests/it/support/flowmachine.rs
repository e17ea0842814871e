//! redis and FlowMachine's server on a FlowDB of a test's own, with a week of calls of 2,000 people in 36 places.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use flowkit::flowmachine::{Client, Ready, Reply, Sources, repair};
use flowkit::redis_server::{self, Ping};
use flowkit_core::config::{Origin, Pools};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};
use supervisor::Probe;

use super::flowdb::{Cluster, FLOWMACHINE};
use super::poll::until;
use super::ports::free_port;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What redis asks for.
pub const REDIS_PASSWORD: &str = "redis-Pass-4";

/// FlowDB, redis and, once started, FlowMachine. Everything is stopped when it goes.
pub struct FlowMachine {
    pub cluster: Cluster,
    redis: Option<Child>,
    server: Option<Child>,
    uid: Option<u32>,
}

impl FlowMachine {
    /// FlowDB with data, and redis.
    pub fn new() -> FlowMachine {
        let cluster = Cluster::started();
        cluster.run("flowdb", include_str!("flowmachine.sql")).expect("the data");
        FlowMachine::on(cluster)
    }

    /// A running FlowDB with whatever it holds, and redis.
    pub fn on(mut cluster: Cluster) -> FlowMachine {
        for port in ["REDIS_PORT", "FLOWMACHINE_PORT"] {
            cluster.site.settings.set(port, &free_port().to_string(), Origin::Flag).expect("a port");
        }
        cluster.set_secret("REDIS_PASSWORD", REDIS_PASSWORD);
        let uid = geteuid().is_root().then_some(65534);
        let mut new = FlowMachine { cluster, redis: None, server: None, uid };
        new.start_redis();
        new
    }

    /// Starts redis, empty.
    pub fn start_redis(&mut self) {
        let Cluster { site, .. } = &self.cluster;
        let conf = self.cluster.as_user(|| redis_server::prepare(site)).expect("redis.conf");
        let mut command = self.command(Path::new("redis-server"), "redis.log");
        command.arg(conf);
        self.redis = Some(command.spawn().unwrap_or_else(|error| panic!("redis-server: {error}; run `make setup`")));
        let ping = Ping::of(site);
        wait_for("redis", || self.cluster.as_user(|| ping.check(Duration::from_secs(2))));
    }

    /// Kills redis; what it held is gone.
    pub fn kill_redis(&mut self) {
        let mut redis = self.redis.take().expect("it runs");
        redis.kill().and_then(|()| redis.wait()).expect("it is our child");
    }

    /// Starts the server as the product does, with settings on top, and waits until it is ready.
    pub fn start(&mut self, settings: &[(&str, &str)]) {
        self.start_python(&["-m", "flowkit_flowmachine", "server"], settings);
    }

    /// Starts upstream's server as upstream does, but for the secrets, which come from files here too.
    pub fn start_upstream(&mut self, settings: &[(&str, &str)]) {
        let main = "from flowkit_flowmachine import secrets; secrets.from_files(); \
                    from flowmachine.core.server.server import main; main()";
        self.start_python(&["-c", main], settings);
    }

    fn start_python(&mut self, args: &[&str], settings: &[(&str, &str)]) {
        assert!(self.server.is_none(), "it runs already");
        let mut command = self.python(settings);
        command.args(args);
        self.server = Some(command.spawn().expect("Python starts"));
        let ready = Ready { address: self.address().parse().expect("an address") };
        wait_for("FlowMachine", || {
            let ended = self.server.as_mut().expect("it was started").try_wait().expect("it is our child");
            assert!(ended.is_none(), "FlowMachine ended: {}", self.log());
            ready.check(Duration::from_secs(5))
        });
    }

    /// The environment's Python with what a deployment would give it.
    pub fn python(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = self.command(&python_program(), "flowmachine.log");
        command.arg("-I");
        for name in ["FLOWDB_HOST", "FLOWDB_PORT", "REDIS_HOST", "REDIS_PORT", "FLOWMACHINE_PORT"] {
            command.env(name, self.cluster.site.settings.text(name).expect("it has a default"));
        }
        command.env("FLOWMACHINE_FLOWDB_USER", FLOWMACHINE);
        command.env("FLOWKIT_FLOWDB_ADDRESS", "127.0.0.1").env("REDIS_HOST", "127.0.0.1");
        // What a deployment gives when nobody says otherwise.
        let Pools { size, overflow, threads } = Pools::of(&self.cluster.site.settings);
        command.env("DB_CONNECTION_POOL_SIZE", size.to_string());
        command.env("DB_CONNECTION_POOL_OVERFLOW", overflow.to_string());
        command.env("FLOWMACHINE_SERVER_THREADPOOL_SIZE", threads.to_string());
        command.env("FLOWKIT_SECRETS_DIR", self.cluster.site.state.secrets());
        command.envs(settings.iter().copied());
        command
    }

    /// A program as the services' user, with an empty environment, logging into a file.
    fn command(&self, program: &Path, log: &str) -> Command {
        let path = self.cluster.site.state.root().join(log);
        let log = File::options().create(true).append(true).open(path).expect("a log file");
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.current_dir("/").stderr(log.try_clone().expect("a second handle")).stdout(log);
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Sends the server a signal and gives its exit status.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut server = self.server.take().expect("it runs");
        kill_process(Pid::from_child(&server), signal).expect("it is our child");
        until(PATIENCE, "the server's end", || server.try_wait().expect("it is our child").ok_or_else(|| self.log()))
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// Where the server listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.cluster.site.settings.port("FLOWMACHINE_PORT"))
    }

    /// What the server has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.cluster.site.state.root().join("flowmachine.log")).unwrap_or_default()
    }

    /// One request.
    pub fn request(&self, action: &str, params: Value) -> Reply {
        Client::request_blocking(&self.address(), action, params, PATIENCE)
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    /// Runs a query and gives its id.
    pub fn run(&self, query: Value) -> String {
        let payload = self.request("run_query", query).success("run_query").expect("it runs");
        payload["query_id"].as_str().expect("an id").to_owned()
    }

    /// The state of a query, as the server tells it.
    pub fn state(&self, id: &str) -> String {
        let reply = self.request("poll_query", json!({ "query_id": id }));
        reply.payload["query_state"].as_str().expect("a state").to_owned()
    }

    /// Waits until a query has a state.
    pub fn wait(&self, id: &str, state: &str) {
        wait_for(&format!("{id} to be {state}"), || {
            let now = self.state(id);
            if now == state { Ok(()) } else { Err(now) }
        });
    }

    /// Runs a query to its end and gives its id.
    pub fn complete(&self, query: Value) -> String {
        let id = self.run(query);
        self.wait(&id, "completed");
        id
    }

    /// Where the records are.
    pub fn sources(&self) -> Sources {
        Sources::of(&self.cluster.site).expect("secrets")
    }

    /// The repair step.
    pub fn repair(&self) -> repair::Report {
        self.cluster.runtime.block_on(repair::repair(self.sources())).expect("a repair")
    }

    /// One command to redis.
    pub fn redis<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.sources().redis)?;
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        redis::cmd(command[0]).arg(&command[1..]).query(&mut connection)
    }
}

impl Drop for FlowMachine {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.redis].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// People by area on a day of January 2016; `method` is any of FlowMachine's.
pub fn spatial_aggregate(day: u8, method: &str) -> Value {
    json!({"query_kind": "spatial_aggregate", "locations": daily_location(day, method)})
}

/// Where people were on a day.
pub fn daily_location(day: u8, method: &str) -> Value {
    json!({
        "query_kind": "daily_location", "date": format!("2016-01-{day:02}"), "aggregation_unit": "admin3",
        "method": method,
    })
}

/// Asks until the answer is yes, for as long as anything here may take.
#[track_caller]
pub fn wait_for(what: &str, ask: impl FnMut() -> Result<(), String>) {
    until(PATIENCE, what, ask);
}

/// The Python that `make setup` makes for FlowMachine.
pub fn python_program() -> PathBuf {
    environment("python")
}

/// One that `make setup` makes, by its name.
pub fn environment(name: &str) -> PathBuf {
    let prefix = match (std::env::var_os("PREFIX"), geteuid().is_root()) {
        (Some(prefix), _) => PathBuf::from(prefix),
        (None, true) => "/usr/local".into(),
        (None, false) => PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".local"),
    };
    let python = prefix.join("lib/flowkit").join(name).join("bin/python");
    assert!(python.exists(), "{} is missing; run `make setup`", python.display());
    python
}

//! Time from `flowkit up` on an initialised state to everything ready, beside the slowest single service's own start:
//! FlowMachine, started by hand, alone, against a database and a redis that already run.
//!
//! `cargo build --release --package flowapi --package flowauth`, then `cargo bench --bench up`; `FLOWKIT_BENCH_ROUNDS` says how often (default 5). The two are measured in turn.

#[allow(dead_code, missing_docs)] // the tests need more of it
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flowkit::flowmachine::Client;
use support::deployment::Deployment;
use support::ports;

fn main() {
    let rounds: usize = std::env::var("FLOWKIT_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach"]);
    deployment.done(&["down"]);
    let (mut all, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        deployment.done(&["up", "--detach"]);
        all.push(began.elapsed());
        alone.push(flowmachine_alone(&deployment));
        deployment.done(&["down"]);
    }
    let mut ratios: Vec<f64> = all.iter().zip(&alone).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    say::show!("{:<42}{:>9}{:>9}{:>9}", format!("seconds, {rounds} rounds in turn"), "median", "min", "max");
    row("flowkit up, all services ready", &mut all.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
    row("FlowMachine alone, by hand", &mut alone.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
    row("ratio (goal: at most 1.3)", &mut ratios);
}

fn row(name: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    say::show!("{name:<42}{:>9.2}{:>9.2}{:>9.2}", values[values.len() / 2], values[0], values[values.len() - 1]);
}

/// Starts the server's program as the supervisor would, on another port, until it answers a ping.
fn flowmachine_alone(deployment: &Deployment) -> Duration {
    let port = ports::free_port();
    let [flowdb, redis, ..] = deployment.ports;
    let python = std::env::var_os("FLOWKIT_PYTHON").unwrap_or("/usr/local/lib/flowkit/python/bin/python".into());
    let mut command = Command::new(PathBuf::from(python));
    command.args(["-m", "flowkit_flowmachine", "server"]).env_clear().current_dir("/");
    command.env("FLOWKIT_SECRETS_DIR", deployment.state().join("secrets")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("TZ", "UTC").env("HOME", deployment.state());
    command.env("FLOWDB_PORT", flowdb.to_string()).env("REDIS_PORT", redis.to_string());
    command.env("FLOWMACHINE_PORT", port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let began = Instant::now();
    let mut server = command.spawn().unwrap();
    let address = format!("127.0.0.1:{port}");
    while Client::request_blocking(&address, "ping", serde_json::json!({}), Duration::from_millis(500)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "the server does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = began.elapsed();
    server.kill().unwrap();
    server.wait().unwrap();
    took
}

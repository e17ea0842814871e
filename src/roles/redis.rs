//! redis: the states of FlowMachine's queries, in memory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::redis_server;
use crate::redis_server::{MAX_PROCESS, Ping};
use crate::roles::{Deployment, Held, MISTAKE, Needs, Role, Step, command, is_program, program, step};
use flowkit_core::config::{Problem, Problems};
use supervisor::{Alive, Kind, OnDependency, Restart, Service, StopStep};

pub(super) static ROLE: Role = Role {
    name: "redis",
    services,
    check: |_, _| Vec::new(),
    stays: &[],
    held: Held::Everywhere,
    needs: |view, _| Needs::of(view, "redis"),
    steps: &[Step { name: "redis-prepare", before_listening: true, run: prepare }],
};

/// Writes redis's configuration.
fn prepare(deployment: &Deployment) -> Result<ExitCode, Failure> {
    redis_server::prepare(&deployment.site)?;
    Ok(ExitCode::SUCCESS)
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let (site, directory) = (&deployment.site, deployment.site.state.role("redis"));
    let program = server(deployment)?;
    let configuration = directory.join("redis.conf");
    Ok(vec![Service {
        name: "redis".to_string(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "redis", "redis-prepare")],
        // It ends when it does not find the locale that it is told, and has no use for one.
        command: command(deployment, program, &[&configuration.to_string_lossy()], &[("LANG", "C")], directory),
        needs: vec![],
        on_dependency: OnDependency::Keep,
        ready: Some(Arc::new(Ping::of(site))),
        // A script that has written may not be killed, and holds up everybody for as long as it likes.
        alive: Some(Alive {
            probe: Arc::new(Ping::of(site)),
            every: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            failures: 4,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(deployment.socket("FLOWKIT_REDIS_LISTEN", "REDIS_PORT")?.to_string()),
        oom_score_adj: None,
        open_files: 10_240,
        memory: Some(MAX_PROCESS),
    }])
}

/// redis itself: what `FLOWKIT_REDIS_SERVER` names, else that of the PATH.
pub(super) fn server(deployment: &Deployment) -> Result<PathBuf, Problem> {
    const SETTING: &str = "FLOWKIT_REDIS_SERVER";
    let hint = "run `make setup`, or install the package redis-server";
    match deployment.site.settings.text(SETTING) {
        Some(path) if is_program(Path::new(path)) => Ok(path.into()),
        Some(path) => {
            let origin = deployment.site.settings.origin(SETTING);
            Err(Problem::new(format!("{SETTING} is no program"), hint).value(path).origin(origin))
        }
        None => program("redis-server").ok_or_else(|| Problem::new("redis-server is not there", hint)),
    }
}

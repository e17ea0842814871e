//! redis: the states of FlowMachine's queries, in memory.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Problem, Problems};
use crate::redis_server::Ping;
use crate::roles::{Deployment, MISTAKE, command, program, step};
use crate::supervisor::{Kind, OnDependency, Restart, Service, StopStep};

pub(super) fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let state = &deployment.state;
    deployment.require_secrets("redis")?;
    let program = program("redis-server").ok_or_else(|| {
        Problem::new("redis-server is not there", "run `make setup`, or install the package redis-server")
    })?;
    let configuration = state.redis().join("redis.conf");
    Ok(vec![Service {
        name: "redis".to_string(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "redis-prepare")],
        command: command(deployment, program, &[&configuration.to_string_lossy()], &[], state.redis()),
        needs: vec![],
        on_dependency: OnDependency::Keep,
        ready: Some(Arc::new(Ping::of(state, &deployment.settings, &deployment.store))),
        alive: None,
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(deployment.socket("FLOWKIT_REDIS_LISTEN", "REDIS_PORT")?.to_string()),
        oom_score_adj: None,
        open_files: 10_240,
    }])
}

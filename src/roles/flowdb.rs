//! FlowDB: PostgreSQL, prepared before every start and brought up to date after it.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use crate::flowdb::{Postgres, ProbeSql, cluster};
use crate::roles::{CREDENTIALS, Deployment, MISTAKE, step};
use crate::tuning::overrides::Overrides;
use flowkit_core::config::{Problem, Problems, Settings};
use supervisor::{Kind, OnDependency, Restart, Service, StopStep};

/// What is wrong with settings that are right one by one.
pub(super) fn check(settings: &Settings) -> Vec<Problem> {
    Overrides::from_settings(settings).err().map_or(Vec::new(), |Problems(problems)| problems)
}

pub(super) fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let state = &deployment.state;
    Postgres::find(&deployment.settings, &cluster::data_directory(state, &deployment.settings)).map_err(|error| {
        let hint = "run `make setup`, or set FLOWKIT_POSTGRES_BIN to the directory of its programs";
        Problem::new(error.to_string(), hint)
    })?;
    // A step that turns into the server. It needs no secret, so it is not even told where they are.
    let mut server = step(deployment, "flowdb", "flowdb-server");
    server.env.remove(OsStr::new(CREDENTIALS));
    // The supervisor may protect the server itself from the kernel's memory killer, never its sessions.
    server.env.insert("PG_OOM_ADJUST_FILE".into(), "/proc/self/oom_score_adj".into());
    server.env.insert("PG_OOM_ADJUST_VALUE".into(), "0".into());
    let database = Service {
        name: "flowdb".to_string(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "flowdb", "flowdb-prepare")],
        command: server,
        needs: vec![],
        on_dependency: OnDependency::Keep,
        ready: Some(Arc::new(ProbeSql::new(state, &deployment.settings, &deployment.store))),
        // Recovery after a crash refuses connections for as long as it takes; a kill would only start it anew.
        alive: None,
        // SIGINT is a fast shutdown; SIGTERM would wait for the last idle client. SIGQUIT is an immediate one, which
        // costs a recovery at the next start, yet loses nothing.
        stop: vec![
            StopStep { signal: libc::SIGINT, patience: Duration::from_secs(90) },
            StopStep { signal: libc::SIGQUIT, patience: Duration::from_secs(5) },
        ],
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(deployment.socket("FLOWKIT_FLOWDB_LISTEN", "FLOWDB_PORT")?.to_string()),
        oom_score_adj: Some(-900),
        open_files: 65_536,
        memory: None,
    };
    let schema = Service {
        name: "flowdb-schema".to_string(),
        kind: Kind::Task,
        needs: vec![database.name.clone()],
        command: step(deployment, "flowdb", "flowdb-schema"),
        before: vec![],
        ready: None,
        // SQL in one transaction: ending it at any moment loses nothing.
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(2) }],
        restart: Restart { limit: 3, ..Restart::default() },
        address: None,
        oom_score_adj: None,
        ..database.clone()
    };
    Ok(vec![database, schema])
}

//! FlowDB: PostgreSQL, prepared before every start and brought up to date after it.

use std::ffi::OsStr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::flowdb::{Error, cluster, probe, schema};
use crate::roles::{CREDENTIALS, Deployment, Held, MISTAKE, Needs, Role, Step, step, wait};
use crate::tuning::overrides::Overrides;
use flowkit_core::config::{Problem, Problems, Settings};
use say::show;
use supervisor::{Kind, OnDependency, Restart, Service, StopStep};

/// The service that ends what would fill the disk.
const DISK_GUARD: &str = "disk-guard";

/// What it keeps free.
const KEEP_FREE: &str = "FLOWKIT_FLOWDB_KEEP_FREE";

pub(super) static ROLE: Role = Role {
    name: "flowdb",
    services,
    check,
    // The server needs none of its secrets; the schema's task sets them. Its guard reads them when it logs in.
    stays: &["flowdb", DISK_GUARD],
    // An administrator may have it read files of the host, and tables of any server.
    held: Held::WhereShared,
    needs,
    steps: &[
        Step { name: "flowdb-prepare", before_listening: true, run: prepare },
        Step { name: "flowdb-server", before_listening: false, run: serve },
        Step { name: "flowdb-schema", before_listening: false, run: apply_schema },
        Step { name: "flowdb-keep-room", before_listening: false, run: keep_room },
    ],
};

/// It may be told to read tables of any server.
fn needs(view: &Deployment, _: &str) -> Needs {
    Needs { connect: None, is_database: true, ..Needs::of(view, "flowdb") }
}

/// Makes the database cluster if there is none, derives its configuration.
fn prepare(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let prepared = cluster::prepare(&deployment.site).map_err(failure)?;
    prepared.warnings.iter().for_each(|warning| show!("warning: {warning}"));
    let what = if prepared.created { "made" } else { "found" };
    show!("{what} a cluster of PostgreSQL {} in {}", prepared.postgres.major, prepared.data.display());
    Ok(ExitCode::SUCCESS)
}

/// Becomes the database server.
fn serve(deployment: &Deployment) -> Result<ExitCode, Failure> {
    Err(failure(cluster::cluster(&deployment.site).serve()))
}

/// Migrations, roles, passwords, grants, cache settings.
fn apply_schema(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let applied = wait(schema::apply(&deployment.site))?.map_err(failure)?;
    applied.warnings.iter().for_each(|warning| show!("warning: {warning}"));
    show!("{} migrations applied; roles, passwords, grants and settings are in place", applied.migrations);
    Ok(ExitCode::SUCCESS)
}

/// Keeps room for the server on its disks.
fn keep_room(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let kept = deployment.site.settings.int(KEEP_FREE).map(i64::unsigned_abs);
    let ended = wait(cluster::cluster(&deployment.site).keep_room(kept, |line| show!("{line}")))?;
    match ended.map_err(failure)? {}
}

/// What the operator has to change first ends with the status after which the supervisor does not try again.
fn failure(error: Error) -> Failure {
    if error.is_mistake() { Failure::mistake(error) } else { error.into() }
}

fn check(settings: &Settings, _in_container: bool) -> Vec<Problem> {
    Overrides::from_settings(settings).err().map_or(Vec::new(), |Problems(problems)| problems)
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let site = &deployment.site;
    cluster::cluster(site).postgres().map_err(|error| {
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
        ready: Some(Arc::new(probe::server(site))),
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
    let mut services = vec![database.clone(), schema.clone()];
    if site.settings.int(KEEP_FREE) != Some(0) {
        services.push(Service {
            name: DISK_GUARD.to_string(),
            // A start on a disk that is nearly full succeeds, or nobody could drop anything.
            needs: vec![database.name.clone(), schema.name],
            // Whom it has kept out the server's next start lets in.
            on_dependency: OnDependency::Restart,
            command: step(deployment, "flowdb", "flowdb-keep-room"),
            before: vec![],
            ready: None,
            stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(2) }],
            address: None,
            oom_score_adj: None,
            ..database
        });
    }
    Ok(services)
}

//! FlowAPI: one server, which copes by itself with a FlowMachine and a FlowDB that come and go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::roles::{CREDENTIALS, Deployment, MISTAKE, Role, Step, command, in_container, is_program, step};
use flowkit_core::config::{Problem, Problems, from_here};
use https::Get;
use supervisor::{Alive, Kind, OnDependency, Probe, Restart, Service, StopStep};

/// Seconds in which the server stops where nobody says: it gives what is in flight ten, or six in a container.
const STOP: u64 = 12;
const STOP_IN_CONTAINER: u64 = 8;

pub(super) static ROLE: Role = Role {
    name: "flowapi",
    services,
    check: |_, _| Vec::new(),
    restart: "flowapi",
    follows: false,
    steps: &[Step { name: "flowapi-await", before_listening: true, run: |_| Ok(ExitCode::SUCCESS) }],
};

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let (settings, directory) = (&deployment.site.settings, deployment.site.state.role("flowapi"));
    let program = server(deployment)?;
    let given = settings.int("FLOWKIT_STOP_SECONDS").map(i64::unsigned_abs);
    let stop = given.unwrap_or(if in_container() { STOP_IN_CONTAINER } else { STOP });
    let mut run = command(deployment, program, &[], &[("FLOWKIT_STOP_SECONDS", &stop.to_string())], directory);
    run.env.extend(settings.explicit().map(|(name, value)| (name.into(), value.into())));
    run.env.insert(CREDENTIALS.into(), deployment.credentials_of("flowapi").into());
    Ok(vec![Service {
        name: "flowapi".to_string(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "flowapi", "flowapi-await")],
        command: run,
        // Its login is made by the schema's task; without FlowMachine it can only say so (503).
        needs: ["flowdb-schema", "flowmachine"].map(String::from).to_vec(),
        on_dependency: OnDependency::Keep,
        ready: Some(probe(deployment)?),
        alive: Some(Alive {
            probe: probe(deployment)?,
            every: Duration::from_secs(15),
            patience: Duration::from_secs(10),
            failures: 4,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(stop) }],
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(deployment.socket("FLOWKIT_FLOWAPI_LISTEN", "FLOWAPI_PORT")?.to_string()),
        oom_score_adj: None,
        // Its connections, and those that it has to others.
        open_files: 4_096 + 1_024,
        memory: None,
    }])
}

/// Where it is reached from this machine.
pub(crate) fn reached(deployment: &Deployment) -> Result<SocketAddr, Problem> {
    let address = deployment.socket("FLOWKIT_FLOWAPI_LISTEN", "FLOWAPI_PORT")?;
    Ok(SocketAddr::new(from_here(address.ip()), address.port()))
}

/// Whether it lives, asked of the server that shows the deployment's certificate and has its key. Not whether its neighbours
/// do: FlowMachine is silent for minutes while it builds a large query, and nobody is served better by another FlowAPI.
fn probe(deployment: &Deployment) -> Result<Arc<dyn Probe>, Problem> {
    const PATH: &str = "/api/0/health/live";
    let address = reached(deployment)?;
    if deployment.site.settings.flag("FLOWKIT_FLOWAPI_PLAIN_HTTP") {
        return Ok(Arc::new(Get::http(address, PATH)));
    }
    let store = deployment.site.store.clone();
    let certificate = move || {
        let certificate = store.get("cert-flowkit.pem").map_err(|error| error.problem().to_string())?;
        Ok(certificate.expose().to_owned())
    };
    Ok(Arc::new(Get::https(address, PATH, certificate)))
}

/// FlowAPI itself: what `FLOWKIT_FLOWAPI_SERVER` names, else the program beside this one.
fn server(deployment: &Deployment) -> Result<PathBuf, Problem> {
    const SETTING: &str = "FLOWKIT_FLOWAPI_SERVER";
    let beside = || deployment.program.with_file_name("flowapi");
    let given = deployment.site.settings.text(SETTING);
    let path = given.map_or_else(beside, |path| Path::new(path).to_owned());
    if is_program(&path) {
        return Ok(path);
    }
    let hint = "run `make install`, or set FLOWKIT_FLOWAPI_SERVER";
    let problem = Problem::new("FlowAPI's program is not there", hint).value(path.display().to_string());
    Err(if given.is_some() { problem.origin(deployment.site.settings.origin(SETTING)) } else { problem })
}

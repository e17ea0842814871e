//! AutoFlow: one program, whose notebooks are its children. Its runs are in a SQLite file of its own unless the operator names a database.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use supervisor::{Alive, Command, Kind, OnDependency, Reach, Restart, Service, StopStep};

use super::walls::is_asked_for;
use super::{CREDENTIALS, Deployment, Held, MISTAKE, Needs, Role, Step, command, host, interpreter, is_program, step};
use crate::failure::Failure;
use flowkit_core::config::{Problem, Problems, RUN_SECRETS, Settings};
use flowkit_core::database::Way;
use https::Get;

const NAME: &str = "autoflow";
const PORT: &str = "FLOWKIT_AUTOFLOW_PORT";
const INPUTS: &str = "AUTOFLOW_INPUTS_DIR";
const OUTPUTS: &str = "AUTOFLOW_OUTPUTS_DIR";
const DATA: &str = "FLOWKIT_AUTOFLOW_DATA";

/// Seconds in which it ends its notebooks, and itself.
const STOP: u64 = 12;

pub(super) static ROLE: Role = Role {
    name: NAME,
    services,
    check,
    stays: &[],
    held: Held::Everywhere,
    needs,
    steps: &[
        Step { name: "autoflow-places", before_listening: false, run: make_places },
        Step { name: "autoflow-await", before_listening: true, run: |_| Ok(ExitCode::SUCCESS) },
    ],
};

/// Where workflows and notebooks are: what the setting names, else a directory of the role's own.
pub(crate) fn inputs(deployment: &Deployment) -> PathBuf {
    place(deployment, INPUTS, "inputs")
}

/// Where results go, likewise.
pub(crate) fn outputs(deployment: &Deployment) -> PathBuf {
    place(deployment, OUTPUTS, "outputs")
}

/// What it remembers, likewise.
fn data(deployment: &Deployment) -> PathBuf {
    place(deployment, DATA, "data")
}

fn place(deployment: &Deployment, setting: &str, own: &str) -> PathBuf {
    let given = deployment.site.settings.text(setting).map(PathBuf::from);
    given.unwrap_or_else(|| deployment.site.state.role(NAME).join(own))
}

/// Makes the role's own directories: the program does not make those that it is told of.
fn make_places(deployment: &Deployment) -> Result<ExitCode, Failure> {
    host::make_directory(&data(deployment), 0o700)?;
    if deployment.site.settings.text(OUTPUTS).is_none() {
        host::make_directory(&outputs(deployment), 0o755)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Its program with the role's settings, secrets and walls, to do something else than to serve.
pub(crate) fn program(deployment: &Deployment) -> Result<Command, Problems> {
    let view = deployment.view_of(NAME)?;
    let mut command = server(&view)?;
    let role = super::catalogue().role(NAME).expect("it is there");
    command.confinement = super::walls::of_command(deployment, &view, role, &command.program);
    let mut open =
        |path: PathBuf| command.confinement.iter_mut().for_each(|walls| walls.files.push((path.clone(), Reach::Run)));
    // A container's.
    Some(PathBuf::from(RUN_SECRETS)).filter(|secrets| secrets.is_dir()).into_iter().for_each(&mut open);
    let secrets = deployment.site.state.secrets();
    if !view.credentials_of(NAME).is_dir() && secrets.is_dir() {
        open(secrets.clone());
        command.env.insert(CREDENTIALS.into(), secrets.into());
    }
    command.env.insert("TMPDIR".into(), super::walls::temporary(&view, role).into());
    Ok(command)
}

/// What checks a file with workflows, for which neither the role's user nor its secrets are needed.
pub(crate) fn validator(deployment: &Deployment) -> Result<Command, Problems> {
    let told = inputs(deployment);
    let mut command = command(deployment, binary(deployment)?, &[], &[], PathBuf::from("/"));
    command.env.insert(INPUTS.into(), told.into());
    Ok(command)
}

/// Its program: the one that a setting names, else the one beside this one.
fn binary(deployment: &Deployment) -> Result<PathBuf, Problem> {
    let given = deployment.site.settings.text("FLOWKIT_AUTOFLOW_SERVER").map(PathBuf::from);
    let path = given.unwrap_or_else(|| deployment.program.with_file_name(NAME));
    if is_program(&path) {
        return Ok(path);
    }
    let hint = "run `make install`, or set FLOWKIT_AUTOFLOW_SERVER";
    Err(Problem::new("AutoFlow's program is not there", hint).value(path.display().to_string()))
}

/// A container sees what it is shown: without workflows it would only fail, again and again.
fn check(settings: &Settings, in_container: bool) -> Vec<Problem> {
    let missing = in_container && settings.text(INPUTS).is_none();
    let problem = || {
        Problem::new(
            format!("{INPUTS} is not set"),
            "give the directory of the host with workflows.yml and the notebooks",
        )
    };
    missing.then(problem).into_iter().collect()
}

fn server(deployment: &Deployment) -> Result<Command, Problems> {
    let (settings, directory) = (&deployment.site.settings, deployment.site.state.role(NAME));
    let path = binary(deployment)?;
    let python = interpreter(deployment, "FLOWKIT_AUTOFLOW_PYTHON", "notebooks", "AutoFlow")?;
    let mut run = command(deployment, path, &[], &[], directory.clone());
    run.env.extend(settings.explicit().map(|(name, value)| (name.into(), value.into())));
    let told = [
        (CREDENTIALS, deployment.credentials_of(NAME)),
        ("STATE_DIRECTORY", data(deployment)),
        // Of which its notebooks read nothing, whatever else they may read around it.
        ("DEPLOYMENT_DIRECTORY", deployment.site.state.root().to_owned()),
        ("FLOWKIT_AUTOFLOW_PYTHON", python),
        (INPUTS, inputs(deployment)),
        (OUTPUTS, outputs(deployment)),
    ];
    run.env.extend(told.map(|(name, path)| (name.into(), path.into())));
    Ok(run)
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let settings = &deployment.site.settings;
    let run = server(deployment)?;
    let mut problems = Problems::default();
    if settings.text("FLOWAPI_URL").is_none() {
        problems.0.push(Problem::new(
            "FLOWAPI_URL is not set, and no FlowAPI runs beside AutoFlow",
            "give it as https://HOST:9090",
        ));
    }
    let has = |name: &str| deployment.site.store.get(name).is_ok();
    // `flowkit auth enrol` gives it one while it runs beside FlowAuth.
    let enrols = deployment.roles.iter().any(|role| role == "flowauth");
    let elsewhere = settings.text("FLOWKIT_AUTOFLOW_FLOWAUTH_URL").is_some() && !enrols;
    if elsewhere && !has("FLOWAPI_TOKEN") && !has("FLOWKIT_AUTOFLOW_FLOWAUTH_KEY") {
        let hint =
            "put the key of a machine of FlowAuth's into FLOWKIT_AUTOFLOW_FLOWAUTH_KEY, or a token into FLOWAPI_TOKEN";
        problems.0.push(Problem::new("AutoFlow has no token, and no key to get one with", hint));
    }
    let file = inputs(deployment).join("workflows.yml");
    if !file.exists() {
        let hint = "write it, and put the notebooks beside it: docs/autoflow.md has an example";
        problems.0.push(Problem::new("AutoFlow has no workflows.yml", hint).value(file.display().to_string()));
    }
    problems.or(())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port(PORT)));
    let stop = settings.int("FLOWKIT_STOP_SECONDS").map_or(STOP, i64::unsigned_abs);
    Ok(vec![Service {
        name: NAME.to_owned(),
        kind: Kind::Daemon,
        before: ["autoflow-places", "autoflow-await"].map(|name| step(deployment, NAME, name)).into(),
        command: run,
        // FlowAPI may come and go.
        needs: Vec::new(),
        on_dependency: OnDependency::Keep,
        ready: Some(Arc::new(Get::http(address, "/health/ready"))),
        alive: Some(Alive {
            probe: Arc::new(Get::http(address, "/health/live")),
            every: Duration::from_secs(15),
            patience: Duration::from_secs(10),
            failures: 8,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(stop) }],
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(address.to_string()),
        oom_score_adj: None,
        open_files: 1_024,
        // Each notebook has a limit of its own.
        memory: None,
    }])
}

/// It starts Python, whose kernels and their clients speak by unix sockets: its children are walled in more narrowly than itself.
fn needs(view: &Deployment, _name: &str) -> Needs {
    let needs = Needs::of(view, NAME);
    let (mut connect, mut asks_names) = (needs.connect.clone().unwrap_or_default(), needs.asks_names);
    if let Ok(uri) = view.site.store.get("AUTOFLOW_DB_URI")
        && let Way::Tcp { host, port } = Way::of(uri.expose())
    {
        connect.push(port);
        asks_names |= is_asked_for(&host);
    }
    let renewed = &["SSL_CERTIFICATE_FILE", "FLOWKIT_AUTOFLOW_FLOWAUTH_CERTIFICATE"];
    Needs { connect: Some(connect), asks_names, is_database: true, renewed, ..needs }
}

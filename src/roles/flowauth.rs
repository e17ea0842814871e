//! FlowAuth: one server, over a PostgreSQL of its own unless `DB_URI` says where its data are.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use supervisor::{Command, Service};

use super::database::Own;
use super::host;
use super::ours::Ours;
use super::walls::{is_asked_for, port_of};
use crate::failure::Failure;
use crate::roles::{CREDENTIALS, Deployment, Held, Needs, Role, Step, step};
use flowkit_core::config::{Problem, Problems};
use flowkit_core::database::Way;
use flowkit_core::secrets::Secret;

/// The service that is its database's server.
const SERVER: &str = "flowauth-database";

const OWN: Own = Own {
    role: "flowauth",
    title: "FlowAuth's database",
    server: SERVER,
    prepare: "flowauth-prepare",
    data: Some("FLOWKIT_FLOWAUTH_DATA"),
    listen: None,
    port: "FLOWKIT_FLOWAUTH_DB_PORT",
    password: "FLOWAUTH_DB_PASSWORD",
    // An empty one and its log have 60 MiB, and each log segment 16.
    room: 160 << 20,
    elsewhere: "DB_URI to a database elsewhere",
};

/// The port of HTTPS.
const HTTPS: u16 = 443;

pub(super) static ROLE: Role = Role {
    name: "flowauth",
    services,
    check: |_, _| Vec::new(),
    stays: &[SERVER],
    // Of all it is the most exposed.
    held: Held::Everywhere,
    needs,
    steps: &[
        Step { name: "flowauth-prepare", before_listening: false, run: |of| OWN.prepare(of) },
        Step { name: SERVER, before_listening: false, run: |of| OWN.serve(of) },
        Step { name: "flowauth-login", before_listening: false, run: |of| OWN.make_login(of) },
        Step { name: "flowauth-certificates", before_listening: false, run: make_place },
        Step { name: "flowauth-await", before_listening: true, run: |_| Ok(ExitCode::SUCCESS) },
    ],
};

const OURS: Ours = Ours {
    role: "flowauth",
    title: "FlowAuth",
    program: "FLOWKIT_FLOWAUTH_SERVER",
    listen: "FLOWKIT_FLOWAUTH_LISTEN",
    port: "FLOWKIT_FLOWAUTH_PORT",
    plain: "FLOWKIT_FLOWAUTH_PLAIN_HTTP",
    certificate: "cert-flowauth.pem",
    lives: "/health/live",
};

/// Where it is reached from this machine.
pub(crate) fn reached(deployment: &Deployment) -> Result<SocketAddr, Problem> {
    OURS.reached(deployment)
}

/// Its program with the role's settings and all secrets of the deployment, to do something else than to serve.
pub(crate) fn program(deployment: &Deployment) -> Result<Command, Problems> {
    let all = services(&deployment.view_of("flowauth")?)?;
    let server = all.into_iter().find(|service| service.name == OURS.role).expect("it is one of its services");
    let mut command = server.command;
    // Those that were handed out are there as long as the role runs.
    match deployment.site.state.secrets() {
        secrets if secrets.is_dir() => command.env.insert(CREDENTIALS.into(), secrets.into()),
        _ => command.env.remove(OsStr::new(CREDENTIALS)),
    };
    Ok(command)
}

/// What is kept of the authority that gives certificates, if one does.
fn certificates(deployment: &Deployment) -> Option<PathBuf> {
    let domain = deployment.site.settings.text("FLOWKIT_FLOWAUTH_DOMAIN");
    domain.map(|_| deployment.site.state.role("flowauth").join("acme"))
}

/// Makes its directory: the server may write nothing beside it.
fn make_place(deployment: &Deployment) -> Result<ExitCode, Failure> {
    if let Some(place) = certificates(deployment) {
        host::make_directory(&place, 0o700)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the data are: the operator's database, if that is so.
fn elsewhere(deployment: &Deployment) -> Result<Option<Secret>, Problem> {
    deployment.site.store.optional("DB_URI")
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let mut server = OURS.service(deployment)?;
    if certificates(deployment).is_some() {
        server.command.env.insert("STATE_DIRECTORY".into(), deployment.site.state.role("flowauth").into());
        server.before.insert(0, step(deployment, "flowauth", "flowauth-certificates"));
    }
    if elsewhere(deployment)?.is_some() {
        return Ok(vec![server]);
    }
    let database = OWN.service(deployment)?;
    // Without the password, which the server has among its secrets.
    let (role, port) = (OWN.role, deployment.site.settings.port(OWN.port));
    let proof = OWN.certificate(&deployment.site).to_string_lossy().into_owned();
    let proof = utf8_percent_encode(&proof, NON_ALPHANUMERIC);
    let uri = format!("postgresql://{role}:{{}}@127.0.0.1:{port}/{role}?sslmode=verify-full&sslrootcert={proof}");
    server.command.env.insert("DB_URI".into(), uri.into());
    server.before.insert(0, step(deployment, "flowauth", "flowauth-login"));
    server.needs = vec![SERVER.to_owned()];
    Ok(vec![database, server])
}

/// The server has no way to its database but over TCP, and to nothing else of its user's.
fn needs(view: &Deployment, name: &str) -> Needs {
    let needs = Needs::of(view, "flowauth");
    let port = view.site.settings.port("FLOWKIT_FLOWAUTH_DB_PORT");
    if name != "flowauth" && name != "flowauth-await" {
        return Needs { listen: vec![port], connect: Some(vec![port]), is_database: true, ..needs };
    }
    let uri = elsewhere(view).ok().flatten();
    let place = uri.map_or(Way::Tcp { host: "localhost".to_owned(), port }, |uri| Way::of(uri.expose()));
    let (mut connect, mut asks_names) = (needs.connect.clone().unwrap_or_default(), needs.asks_names);
    // What the provider says of itself may name other hosts, at the usual port.
    if let Some(issuer) = view.site.settings.text("FLOWKIT_FLOWAUTH_OIDC_ISSUER") {
        connect.extend(port_of(issuer).into_iter().chain([HTTPS]));
        asks_names = true;
    }
    if certificates(view).is_some() {
        let directory = view.site.settings.text("FLOWKIT_FLOWAUTH_ACME_DIRECTORY");
        connect.extend(directory.and_then(port_of));
        asks_names = true;
    }
    let (mut writes, is_database) = match place {
        Way::Tcp { host, port } => {
            connect.push(port);
            asks_names |= is_asked_for(&host);
            (Vec::new(), false)
        }
        Way::Socket => (Vec::new(), true),
        Way::File(directory) => (vec![directory], false),
    };
    writes.extend(certificates(view));
    Needs { connect: Some(connect), asks_names, writes: Some(writes), is_database, is_ours: true, ..needs }
}

//! FlowAuth: one server, over a PostgreSQL of its own unless `DB_URI` says where its data are.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use supervisor::{Command, Kind, OnDependency, Restart, Service, StopStep};

use super::ours::Ours;
use super::walls::is_asked_for;
use crate::failure::Failure;
use crate::roles::{CREDENTIALS, Deployment, Held, MISTAKE, Needs, Role, Step, step, wait};
use flowkit_core::Site;
use flowkit_core::config::{Problem, Problems};
use flowkit_core::secrets::{LookupError, Secret};
use postgres::{Cluster, Error, ProbeSql, tuning};
use say::show;

/// The database, and the login that owns it.
const DATABASE: &str = "flowauth";

/// The service that is that database's server.
const SERVER: &str = "flowauth-database";

/// Free bytes that it takes to make a cluster: an empty one and its log have 60 MiB, and each log segment 16.
const ROOM: u64 = 160 << 20;

pub(super) static ROLE: Role = Role {
    name: "flowauth",
    services,
    check: |_, _| Vec::new(),
    restart: "flowauth",
    follows: false,
    // Of all it is the most exposed.
    held: Held::Everywhere,
    needs,
    steps: &[
        Step { name: "flowauth-prepare", before_listening: false, run: prepare },
        Step { name: SERVER, before_listening: false, run: serve },
        Step { name: "flowauth-login", before_listening: false, run: make_login },
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

fn cluster(site: &Site) -> Cluster {
    Cluster {
        name: "FlowAuth's database",
        site: site.clone(),
        directory: site.state.role("flowauth"),
        elsewhere: site.settings.text("FLOWKIT_FLOWAUTH_DATA").map(PathBuf::from),
        superuser: "postgres",
        // Whoever broke into FlowAuth knows its password, and has no way to the socket.
        superuser_over_tcp: false,
        password: "FLOWAUTH_DB_PASSWORD",
        listen: "127.0.0.1".to_owned(),
        port: site.settings.port("FLOWKIT_FLOWAUTH_DB_PORT"),
        extensions: &[],
        room: ROOM,
    }
}

/// Makes the cluster if there is none, and configures it.
fn prepare(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let prepared = cluster(&deployment.site).prepare(tuning::small::conf).map_err(failure)?;
    prepared.warnings.iter().for_each(|warning| show!("warning: {warning}"));
    let what = if prepared.created { "made" } else { "found" };
    show!("{what} a cluster of PostgreSQL {} in {}", prepared.postgres.major, prepared.data.display());
    Ok(ExitCode::SUCCESS)
}

/// Becomes its server.
fn serve(deployment: &Deployment) -> Result<ExitCode, Failure> {
    Err(failure(cluster(&deployment.site).serve()))
}

/// Database, login, passwords; the schema is FlowAuth's own business.
fn make_login(deployment: &Deployment) -> Result<ExitCode, Failure> {
    wait(cluster(&deployment.site).make_application(DATABASE))?.map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

/// What the operator has to change first ends with the status after which the supervisor does not try again.
fn failure(error: Error) -> Failure {
    if error.is_mistake() { Failure::mistake(error) } else { error.into() }
}

/// Where the data are: the operator's database, if that is so.
fn elsewhere(deployment: &Deployment) -> Result<Option<Secret>, Problem> {
    match deployment.site.store.get("DB_URI") {
        Ok(uri) => Ok(Some(uri)),
        Err(LookupError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.problem()),
    }
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let mut server = OURS.service(deployment)?;
    if elsewhere(deployment)?.is_some() {
        return Ok(vec![server]);
    }
    let cluster = cluster(&deployment.site);
    cluster.postgres().map_err(|error| {
        let hint = "run `make setup`, or set FLOWKIT_POSTGRES_BIN to the directory of its programs, or DB_URI to a database elsewhere";
        Problem::new(error.to_string(), hint)
    })?;
    // Without the password, which the server has among its secrets.
    let uri = format!("postgresql://{DATABASE}:{{}}@127.0.0.1:{}/{DATABASE}", cluster.port);
    server.command.env.insert("DB_URI".into(), uri.into());
    server.before.insert(0, step(deployment, "flowauth", "flowauth-login"));
    server.needs = vec![SERVER.to_owned()];
    Ok(vec![database(deployment, &cluster), server])
}

/// PostgreSQL, as FlowDB's is run.
fn database(deployment: &Deployment, cluster: &Cluster) -> Service {
    // A step that turns into the server. It needs no secret, so it is not even told where they are.
    let mut command = step(deployment, "flowauth", SERVER);
    command.env.remove(OsStr::new(CREDENTIALS));
    Service {
        name: SERVER.to_owned(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "flowauth", "flowauth-prepare")],
        command,
        needs: Vec::new(),
        on_dependency: OnDependency::Keep,
        ready: Some(Arc::new(ProbeSql::of_server(cluster.clone()))),
        // Recovery after a crash refuses connections for as long as it takes.
        alive: None,
        // A fast shutdown, then an immediate one: see FlowDB's.
        stop: vec![
            StopStep { signal: libc::SIGINT, patience: Duration::from_secs(30) },
            StopStep { signal: libc::SIGQUIT, patience: Duration::from_secs(5) },
        ],
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(format!("127.0.0.1:{}", cluster.port)),
        oom_score_adj: None,
        open_files: 4_096,
        memory: None,
    }
}

/// The server has no way to its database but over TCP, and to nothing else of its user's.
fn needs(view: &Deployment, name: &str) -> Needs {
    let needs = Needs::of(view, "flowauth");
    let port = view.site.settings.port("FLOWKIT_FLOWAUTH_DB_PORT");
    if name != "flowauth" && name != "flowauth-await" {
        return Needs { listen: vec![port], connect: Some(vec![port]), is_database: true, ..needs };
    }
    let uri = elsewhere(view).ok().flatten();
    let place = uri.as_ref().map_or(Data::Tcp { port, named: false }, |uri| Data::of(uri.expose()));
    let (mut connect, mut asks_names) = (needs.connect.clone().unwrap_or_default(), needs.asks_names);
    let (writes, is_database) = match place {
        Data::Tcp { port, named } => {
            connect.push(port);
            asks_names |= named;
            (Vec::new(), false)
        }
        Data::Socket => (Vec::new(), true),
        Data::File(directory) => (vec![directory], false),
    };
    Needs { connect: Some(connect), asks_names, writes: Some(writes), is_database, is_ours: true, ..needs }
}

/// How a database is reached.
#[derive(Debug, PartialEq, Eq)]
enum Data {
    /// At a port of a host, whose name may have to be asked for.
    Tcp {
        port: u16,
        named: bool,
    },
    Socket,
    /// A file in this directory.
    File(PathBuf),
}

impl Data {
    /// By its URI, as far as walls ask; FlowAuth itself says what is wrong with one.
    fn of(uri: &str) -> Data {
        let rest = uri.trim().split_once("://").map_or("", |(_, rest)| rest);
        if uri.trim().starts_with("sqlite") {
            let file = Path::new(rest.strip_prefix('/').unwrap_or(rest));
            return Data::File(file.parent().unwrap_or(file).to_owned());
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let given = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        if given("host").is_some_and(|host| host.starts_with('/') || host.to_lowercase().starts_with("%2f")) {
            return Data::Socket;
        }
        let host = place.rsplit('@').next().unwrap_or(place).split('/').next().unwrap_or_default();
        let (name, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        };
        let port = given("port").or(port).and_then(|port| port.parse().ok()).unwrap_or(5432);
        Data::Tcp { port, named: is_asked_for(given("host").unwrap_or(name)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_leave_open_the_way_to_the_database_and_no_other() {
        let at = |port, named| Data::Tcp { port, named };
        for (uri, data) in [
            ("postgresql://flowauth:{}@db.example.org:6543/flowauth", at(6543, true)),
            ("postgresql://flowauth:p%40s@db/flowauth?sslmode=require", at(5432, true)),
            ("postgres://flowauth:{}@[::1]:7000/flowauth", at(7000, false)),
            ("postgres://flowauth:{}@[::1]/flowauth", at(5432, false)),
            ("postgresql://flowauth:{}@db/flowauth?port=7001", at(7001, true)),
            ("postgresql://flowauth@localhost/flowauth?host=/run/postgresql", Data::Socket),
            ("postgresql://flowauth@localhost/flowauth?host=%2Frun%2Fpostgresql", Data::Socket),
            ("sqlite:////srv/flowauth/flowauth.sqlite", Data::File("/srv/flowauth".into())),
        ] {
            assert_eq!(Data::of(uri), data, "{uri}");
        }
    }
}

//! What roles have in common that keep their data in a small PostgreSQL of their own, unless the operator names another: FlowAuth, FlowETL.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use supervisor::{Kind, OnDependency, Restart, Service, StopStep};

use super::walls;
use crate::failure::Failure;
use crate::roles::{CREDENTIALS, Deployment, MISTAKE, step, wait};
use flowkit_core::Site;
use flowkit_core::config::{Problem, Problems};
use postgres::{Cluster, Error, ProbeSql, tuning};
use say::show;

/// One such database, by the names of its settings.
pub(super) struct Own {
    /// The role, whose database and login have its name.
    pub role: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The service that is its server, and the step that becomes it.
    pub server: &'static str,
    /// The step that makes the cluster.
    pub prepare: &'static str,
    /// The setting with the directory of its data.
    pub data: Option<&'static str>,
    /// The setting with the address that it listens on, if that may be another than the loopback's.
    pub listen: Option<&'static str>,
    /// The setting with its port.
    pub port: &'static str,
    /// The secret that is the password of its login.
    pub password: &'static str,
    /// Free bytes that it takes to make it.
    pub room: u64,
    /// What to do where there is no PostgreSQL, beside installing one.
    pub elsewhere: &'static str,
}

impl Own {
    /// Where the role's programs read the certificate of their database: their libraries would send the password in clear to whoever
    /// asks for it at that port.
    pub fn certificate(&self, site: &Site) -> PathBuf {
        walls::handed_on(&site.state.role(self.role)).join("database.pem")
    }

    fn cluster(&self, site: &Site) -> Cluster {
        Cluster {
            name: self.title,
            site: site.clone(),
            directory: site.state.role(self.role),
            elsewhere: self.data.and_then(|name| site.settings.text(name)).map(PathBuf::from),
            superuser: "postgres",
            // Whoever broke into the role knows its password, and has no way to the socket.
            superuser_over_tcp: false,
            password: self.password,
            listen: self.listen.and_then(|name| site.settings.text(name)).unwrap_or("127.0.0.1").to_owned(),
            port: site.settings.port(self.port),
            certificate: Some(self.certificate(site)),
            extensions: &[],
            room: self.room,
        }
    }

    /// Makes the cluster if there is none, and configures it.
    pub fn prepare(&self, deployment: &Deployment) -> Result<ExitCode, Failure> {
        let prepared = self.cluster(&deployment.site).prepare(tuning::small::conf).map_err(failure)?;
        prepared.warnings.iter().for_each(|warning| show!("warning: {warning}"));
        let what = if prepared.created { "made" } else { "found" };
        show!("{what} a cluster of PostgreSQL {} in {}", prepared.postgres.major, prepared.data.display());
        Ok(ExitCode::SUCCESS)
    }

    /// Becomes its server.
    pub fn serve(&self, deployment: &Deployment) -> Result<ExitCode, Failure> {
        Err(failure(self.cluster(&deployment.site).serve()))
    }

    /// Database, login, passwords; the schema is the program's own business.
    pub fn make_login(&self, deployment: &Deployment) -> Result<ExitCode, Failure> {
        wait(self.cluster(&deployment.site).make_application(self.role))?.map_err(failure)?;
        Ok(ExitCode::SUCCESS)
    }

    /// PostgreSQL, as FlowDB's is run.
    pub fn service(&self, deployment: &Deployment) -> Result<Service, Problems> {
        let cluster = self.cluster(&deployment.site);
        cluster.postgres().map_err(|error| {
            let hint = "run `make setup`, or set FLOWKIT_POSTGRES_BIN to the directory of its programs, or";
            Problem::new(error.to_string(), format!("{hint} {}", self.elsewhere))
        })?;
        // A step that turns into the server. It needs no secret, so it is not even told where they are.
        let mut command = step(deployment, self.role, self.server);
        command.env.remove(OsStr::new(CREDENTIALS));
        Ok(Service {
            name: self.server.to_owned(),
            kind: Kind::Daemon,
            before: vec![step(deployment, self.role, self.prepare)],
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
            address: Some(format!("{}:{}", cluster.listen, cluster.port)),
            oom_score_adj: None,
            open_files: 4_096,
            memory: None,
        })
    }
}

/// What the operator has to change first ends with the status after which the supervisor does not try again.
fn failure(error: Error) -> Failure {
    if error.is_mistake() { Failure::mistake(error) } else { error.into() }
}

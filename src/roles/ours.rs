//! What roles have in common that are one HTTPS server of our own: FlowAPI, FlowAuth.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use https::Get;
use supervisor::{Alive, Kind, OnDependency, Probe, Restart, Service, StopStep};

use super::{CREDENTIALS, Deployment, MISTAKE, command, in_container, is_program, step};
use flowkit_core::config::{Problem, Problems, from_here};

/// Seconds in which a server stops where nobody says: it gives what is in flight ten, or six in a container.
const STOP: u64 = 12;
const STOP_IN_CONTAINER: u64 = 8;

/// One server, by the names of its settings.
pub(super) struct Ours {
    /// The role, and the service; its program lies beside this one under that name.
    pub role: &'static str,
    /// For people.
    pub title: &'static str,
    /// Where its program is.
    pub program: &'static str,
    /// Its address.
    pub listen: &'static str,
    /// Its port.
    pub port: &'static str,
    /// Whether it speaks plain HTTP.
    pub plain: &'static str,
    /// The secret that is its certificate.
    pub certificate: &'static str,
    /// What answers as long as it lives.
    pub lives: &'static str,
}

impl Ours {
    /// The server, which needs nobody.
    pub fn service(&self, deployment: &Deployment) -> Result<Service, Problems> {
        let (settings, directory) = (&deployment.site.settings, deployment.site.state.role(self.role));
        let given = settings.int("FLOWKIT_STOP_SECONDS").map(i64::unsigned_abs);
        let stop = given.unwrap_or(if in_container() { STOP_IN_CONTAINER } else { STOP });
        let stops = [("FLOWKIT_STOP_SECONDS", &*stop.to_string())];
        let mut run = command(deployment, self.server(deployment)?, &[], &stops, directory);
        run.env.extend(settings.explicit().map(|(name, value)| (name.into(), value.into())));
        run.env.insert(CREDENTIALS.into(), deployment.credentials_of(self.role).into());
        Ok(Service {
            name: self.role.to_owned(),
            kind: Kind::Daemon,
            before: vec![step(deployment, self.role, &format!("{}-await", self.role))],
            command: run,
            needs: Vec::new(),
            on_dependency: OnDependency::Keep,
            ready: Some(self.probe(deployment)?),
            alive: Some(Alive {
                probe: self.probe(deployment)?,
                every: Duration::from_secs(15),
                patience: Duration::from_secs(10),
                failures: 4,
            }),
            stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(stop) }],
            restart: Restart::default(),
            success: vec![0],
            hopeless: vec![MISTAKE],
            address: Some(deployment.socket(self.listen, self.port)?.to_string()),
            oom_score_adj: None,
            // Its connections, and those that it has to others.
            open_files: 4_096 + 1_024,
            memory: None,
        })
    }

    /// Where it is reached from this machine.
    pub fn reached(&self, deployment: &Deployment) -> Result<SocketAddr, Problem> {
        let address = deployment.socket(self.listen, self.port)?;
        Ok(SocketAddr::new(from_here(address.ip()), address.port()))
    }

    /// Whether it lives, asked of the server that shows the deployment's certificate and has its key. Not whether its neighbours do:
    /// nobody is served better by another one of it.
    fn probe(&self, deployment: &Deployment) -> Result<Arc<dyn Probe>, Problem> {
        let address = self.reached(deployment)?;
        if deployment.site.settings.flag(self.plain) {
            return Ok(Arc::new(Get::http(address, self.lives)));
        }
        let (store, name) = (deployment.site.store.clone(), self.certificate);
        let certificate = move || {
            let certificate = store.get(name).map_err(|error| error.problem().to_string())?;
            Ok(certificate.expose().to_owned())
        };
        Ok(Arc::new(Get::https(address, self.lives, certificate)))
    }

    /// Its program: the one that a setting names, else the one beside this one.
    fn server(&self, deployment: &Deployment) -> Result<PathBuf, Problem> {
        let given = deployment.site.settings.text(self.program);
        let path =
            given.map_or_else(|| deployment.program.with_file_name(self.role), |path| Path::new(path).to_owned());
        if is_program(&path) {
            return Ok(path);
        }
        let hint = format!("run `make install`, or set {}", self.program);
        let problem = Problem::new(format!("{}'s program is not there", self.title), hint);
        let problem = problem.value(path.display().to_string());
        Err(if given.is_some() { problem.origin(deployment.site.settings.origin(self.program)) } else { problem })
    }
}

//! From a deployment's settings and secrets to an AutoFlow that runs.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flowkit_core::config::{Problem, Problems, RUN_SECRETS, Settings, StateDir, variables};
use flowkit_core::secrets::Store as Secrets;
use https::Place;
use rustix::fs::{FlockOperation, flock};

use crate::child::Limits;
use crate::execute::{Given as Handed, Means};
use crate::places::Places;
use crate::store::{Address, Retry};
use crate::token::Tokens;

/// Most processes that a notebook may have at once; a kernel and its threads' helpers are a handful.
const PROCESSES: usize = 256;

/// All that AutoFlow is told, read and checked.
pub struct Given {
    /// Where runs are kept.
    pub address: Address,
    /// How notebooks are run.
    pub means: Means,
    /// Where FlowAPI is.
    pub place: Place,
    /// How often what failed is tried.
    pub retry: Retry,
    /// Runs at once.
    pub concurrency: usize,
    /// The port of its page, on the loopback.
    pub port: u16,
    /// What is its own on the disk.
    pub state: PathBuf,
    /// Where the token comes from.
    pub tokens: Tokens,
    certificate: Option<PathBuf>,
    secrets: Secrets,
}

/// The settings that this process was given.
///
/// # Errors
/// All that is wrong with them.
pub fn settings() -> Result<Settings, Problems> {
    Settings::load(None, &variables(), Some(Path::new(RUN_SECRETS)))
}

/// How this process logs, by its settings.
pub fn logging(settings: &Settings) -> trace::Options {
    let level = settings.text("AUTOFLOW_LOG_LEVEL").map(str::to_lowercase);
    let format = settings.text("FLOWKIT_LOG_FORMAT").and_then(trace::Format::named).unwrap_or_default();
    let defaults = trace::Options::default();
    trace::Options {
        format,
        level: level.as_deref().and_then(trace::level).unwrap_or(defaults.level),
        always: &[],
        ..defaults
    }
}

/// The directory with `workflows.yml`.
///
/// # Errors
/// No setting says where.
pub fn inputs(settings: &Settings) -> Result<PathBuf, Problem> {
    directory(settings, "AUTOFLOW_INPUTS_DIR", "/mounts/inputs", "the directory with workflows.yml and the notebooks")
}

impl Given {
    /// Reads settings and secrets.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings, secrets: &Secrets) -> Result<Given, Problems> {
        let mut problems = Problems::default();
        let mut keep = |problem: &Problem| problems.0.push(problem.clone());
        let state = state();
        let inputs = inputs(settings).inspect_err(&mut keep);
        let outputs = directory(
            settings,
            "AUTOFLOW_OUTPUTS_DIR",
            "/mounts/outputs",
            "a directory for executed notebooks and reports",
        );
        let outputs = outputs.inspect_err(&mut keep);
        let place = flowapi(settings).inspect_err(&mut keep);
        let address = address(secrets, &state).inspect_err(&mut keep);
        let python = python(settings).inspect_err(&mut keep);
        let tokens = Tokens::read(settings, secrets, &state).inspect_err(&mut keep);
        problems.or(())?;
        let int = |name: &str| settings.int(name).map(i64::unsigned_abs).unwrap_or_default();
        let place = place?;
        let named = place.host != "localhost" && place.host.parse::<std::net::IpAddr>().is_err();
        let means = Means {
            python: python?,
            inputs: inputs?,
            places: Places::of(&outputs?),
            // Not where temporary files are: a container has no such place, or a small one in memory.
            scratch: state.join("runs"),
            limits: Limits {
                seconds: int("FLOWKIT_AUTOFLOW_TIMEOUT"),
                memory: int("FLOWKIT_AUTOFLOW_MEMORY"),
                processes: PROCESSES,
            },
            flowapi: settings.text("FLOWAPI_URL").unwrap_or_default().to_owned(),
            port: (place.port, named),
            closed: closed(&state),
        };
        let retry = Retry {
            most: settings.int("FLOWKIT_AUTOFLOW_ATTEMPTS").unwrap_or(1),
            first: settings.int("FLOWKIT_AUTOFLOW_RETRY_SECONDS").unwrap_or(1),
            longest: 86_400,
        };
        Ok(Given {
            address: address?,
            means,
            place,
            retry,
            concurrency: usize::try_from(int("FLOWKIT_AUTOFLOW_CONCURRENCY")).unwrap_or(1).max(1),
            port: settings.port("FLOWKIT_AUTOFLOW_PORT"),
            state,
            tokens: tokens?,
            certificate: settings.text("SSL_CERTIFICATE_FILE").map(PathBuf::from),
            secrets: secrets.clone(),
        })
    }

    /// Token and certificate, as they are now: files that were replaced count from the next run on.
    ///
    /// # Errors
    /// In words: one can't be had.
    pub fn handed(&self) -> Result<Handed, String> {
        let token = self.tokens.current()?;
        let certificate = match &self.certificate {
            Some(path) => Some(
                fs::read_to_string(path)
                    .map_err(|error| format!("SSL_CERTIFICATE_FILE, {}: {error}", path.display()))?,
            ),
            None => {
                let given = self.secrets.optional("cert-flowkit.pem").map_err(|problem| problem.to_string())?;
                given.map(|certificate| certificate.expose().to_owned())
            }
        };
        Ok(Handed { token, certificate })
    }

    /// Takes the port of the page.
    ///
    /// # Errors
    /// It can't be had.
    pub fn listen(&self) -> Result<TcpListener, Problem> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        TcpListener::bind(address).map_err(|error| {
            let hint = "stop what listens there, or give another FLOWKIT_AUTOFLOW_PORT";
            Problem::new(format!("AutoFlow's page can't listen on port {}: {error}", self.port), hint)
        })
    }
}

/// The name of this AutoFlow among those that share its database, for as long as it runs: the one before it with the same directory is dead.
pub struct Instance {
    /// Its name.
    pub name: String,
    _held: File,
}

impl Instance {
    /// Takes it.
    ///
    /// # Errors
    /// Another AutoFlow runs with this directory; it can't be written.
    pub fn take(state: &Path) -> Result<Instance, Problem> {
        let path = state.join("instance");
        let wrong =
            |what: String| Problem::new(what, "mend it, or give another directory").value(path.display().to_string());
        let open = || {
            fs::create_dir_all(state)?;
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        let mut held = open().map_err(|error| wrong(format!("AutoFlow can't write into its directory: {error}")))?;
        if flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Problem::new("another AutoFlow runs with this directory", "stop it first")
                .value(path.display().to_string()));
        }
        let mut name = String::new();
        let read = held.read_to_string(&mut name);
        if read.is_err() || name.len() != 16 {
            name = owner();
            held.set_len(0).and_then(|()| held.write_all(name.as_bytes())).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(Instance { name, _held: held })
    }
}

/// A name that nobody else has.
pub fn owner() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What no notebook reads: AutoFlow's own directory, its secrets, and all of the deployment, of whose directory `flowkit` tells it.
fn closed(state: &Path) -> Vec<PathBuf> {
    let told = ["CREDENTIALS_DIRECTORY", "DEPLOYMENT_DIRECTORY"].into_iter().filter_map(std::env::var_os);
    told.map(PathBuf::from).chain([state.to_owned(), RUN_SECRETS.into()]).collect()
}

fn state() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| StateDir::usual().role("autoflow").join("data"), PathBuf::from)
}

fn directory(settings: &Settings, name: &str, usual: &str, what: &str) -> Result<PathBuf, Problem> {
    let path =
        settings.text(name).map(PathBuf::from).or_else(|| Some(PathBuf::from(usual)).filter(|path| path.is_dir()));
    let path = path.ok_or_else(|| Problem::new(format!("{name} is not set"), format!("give {what}")))?;
    // The children work elsewhere.
    let path = std::path::absolute(&path).unwrap_or(path);
    if path.is_dir() {
        return Ok(path);
    }
    let problem =
        Problem::new(format!("{name} is no directory that AutoFlow can see"), format!("make it, or give {what}"));
    Err(problem.value(path.display().to_string()).origin(settings.origin(name)))
}

/// The server whose address a setting gives.
pub(crate) fn place(settings: &Settings, name: &str, hint: &str) -> Result<Option<Place>, Problem> {
    let Some(url) = settings.text(name) else { return Ok(None) };
    let place =
        Place::parse(url).and_then(|place| if place.path == "/" { Ok(place) } else { Err("it has a path".to_owned()) });
    place.map(Some).map_err(|why| {
        Problem::new(format!("{name} can't be used: {why}"), hint).value(url).origin(settings.origin(name))
    })
}

fn flowapi(settings: &Settings) -> Result<Place, Problem> {
    let hint = "give FlowAPI's address as https://HOST:9090";
    place(settings, "FLOWAPI_URL", hint)?.ok_or_else(|| Problem::new("FLOWAPI_URL is not set", hint))
}

fn python(settings: &Settings) -> Result<PathBuf, Problem> {
    const PYTHON: &str = "FLOWKIT_AUTOFLOW_PYTHON";
    let below = |prefix: &Path| prefix.join("lib/flowkit/notebooks/bin/python");
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.ancestors().nth(2).map(below).filter(|path| path.exists());
    let given = settings.text(PYTHON).map(PathBuf::from);
    let path = given.or(beside).unwrap_or_else(|| below(Path::new("/usr/local")));
    if path.exists() {
        return Ok(path);
    }
    let problem =
        Problem::new("the notebooks' Python is not there", "run `make setup`, or set FLOWKIT_AUTOFLOW_PYTHON");
    Err(problem.value(path.display().to_string()))
}

/// `AUTOFLOW_DB_URI`, or a file in the state directory.
fn address(secrets: &Secrets, state: &Path) -> Result<Address, Problem> {
    let Some(uri) = secrets.optional("AUTOFLOW_DB_URI")? else {
        return Ok(Address::File(state.join("autoflow.sqlite")));
    };
    let password = secrets.get("AUTOFLOW_DB_PASSWORD").ok();
    let hint = "write it as postgresql://autoflow:{}@HOST:5432/autoflow, or sqlite:////PATH";
    Address::parse("AUTOFLOW_DB_URI", uri.expose(), ("AUTOFLOW_DB_PASSWORD", password.as_ref()))
        .map_err(|what| Problem::new(what, hint))
}

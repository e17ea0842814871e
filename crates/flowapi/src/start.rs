//! From a deployment's settings and secrets to a server that runs.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use access::{Bounds, Keys, Tables, Verifier};
use flowkit_core::config::{Problem, Problems, Settings, variables};
use flowkit_core::secrets::Store;
use https::Place;
use tokio_postgres::Config;
use web::{Limits, Pair, Tls};

use crate::database::Database;
use crate::flowmachine::FlowMachine;
use crate::{App, Gate, List, Options};

/// The longest that a client may ask to wait for a query's end.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Headers of a request: a token with every scope has 5.5 kB, and upstream takes 16.
const HEADER_BYTES: usize = 64 << 10;

/// What is left of the time to stop for the process to end in, once its last request was answered or cut.
const TO_END: Duration = Duration::from_secs(2);

/// The most that a revocation list may have in bytes.
const LONGEST_LIST: u64 = 8 << 20;

/// A server that is ready to serve.
pub struct Server {
    listener: TcpListener,
    router: web::axum::Router,
    options: web::Options,
    gate: Gate,
    /// Between two looks at the lists of what was revoked.
    looks: Duration,
}

/// How this process logs, by its settings.
pub fn logging(settings: &Settings) -> trace::Options {
    let level = settings.text("FLOWAPI_LOG_LEVEL").and_then(trace::level);
    let format = match settings.text("FLOWKIT_FLOWAPI_LOG_FORMAT") {
        Some("text") => trace::Format::Text,
        _ => trace::Format::Structlog,
    };
    trace::Options { format, level: level.unwrap_or(trace::Options::default().level), ..trace::Options::default() }
}

/// The settings that this process was given.
///
/// # Errors
/// All that is wrong with them.
pub fn settings() -> Result<Settings, Problems> {
    Settings::load(None, &variables(), Some(Path::new(flowkit_core::config::RUN_SECRETS)))
}

impl Server {
    /// A server on its address.
    ///
    /// # Errors
    /// All that is wrong with settings and secrets; the address can't be had.
    pub fn new(settings: &Settings, store: &Store) -> Result<Server, Problems> {
        let int = |name: &str| settings.int(name).and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        let size = |name: &str| usize::try_from(int(name)).unwrap_or(usize::MAX);
        let mut problems = Problems::default();
        let mut keep = |result: Result<(), Problems>| problems.0.extend(result.err().into_iter().flat_map(|all| all.0));
        let plain = settings.flag("FLOWKIT_FLOWAPI_PLAIN_HTTP");
        let tls = match plain {
            true => Ok(None),
            false => tls(store).map(Some).map_err(Problems::from),
        };
        let gate = gate(settings, store);
        let listener = listener(settings).map_err(Problems::from);
        keep(tls.as_ref().map(drop).map_err(Clone::clone));
        keep(gate.as_ref().map(drop).map_err(Clone::clone));
        keep(listener.as_ref().map(drop).map_err(Clone::clone));
        keep(store.require(&["FLOWAPI_FLOWDB_USER", "FLOWAPI_FLOWDB_PASSWORD"]).map(drop));
        problems.or(())?;
        let (tls, gate, listener) = (tls?, gate?, listener?);

        let identifier = store.get("FLOWAPI_IDENTIFIER").map_err(|error| Problems::from(error.problem()))?;
        let patience = Duration::from_secs(int("FLOWKIT_FLOWAPI_PATIENCE_SECONDS"));
        let options = Options {
            identifier: identifier.expose().to_owned(),
            patience,
            longest_wait: LONGEST_WAIT,
            queries_per_user: size("FLOWKIT_FLOWAPI_QUERIES_PER_USER"),
            samples: size("FLOWKIT_FLOWAPI_SAMPLES"),
            results_per_user: size("FLOWKIT_FLOWAPI_RESULTS_PER_USER"),
            metrics: settings.flag("FLOWKIT_FLOWAPI_METRICS"),
        };
        let host = settings.text("FLOWMACHINE_HOST").expect("it has a default");
        let flowmachine = FlowMachine::new(host, settings.port("FLOWMACHINE_PORT"));
        let database = Database::new(size("FLOWKIT_FLOWAPI_DB_CONNECTIONS"), database(settings, store));
        let app = App::new(options, gate.clone(), flowmachine, database);
        let defaults = Limits::default();
        // A request may wait for its query, and then for FlowMachine and the database.
        let answer = LONGEST_WAIT + 2 * patience + Duration::from_secs(30);
        let stop = settings.int("FLOWKIT_STOP_SECONDS").and_then(|seconds| u64::try_from(seconds).ok());
        let grace = stop.map_or(defaults.grace, |stop| Duration::from_secs(stop).saturating_sub(TO_END));
        let limits = Limits { answer, grace, header_bytes: HEADER_BYTES, ..defaults };
        Ok(Server {
            listener,
            router: crate::router(app),
            options: web::Options { limits, tls, own_ids: true, ..web::Options::default() },
            gate,
            looks: Duration::from_secs(int("FLOWKIT_FLOWAPI_REVOCATIONS_SECONDS")),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is ready and what is in flight has ended.
    ///
    /// # Errors
    /// The listener can't be used.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> std::io::Result<web::Stopped> {
        let watch = tokio::spawn(self.gate.watch(self.looks));
        let stopped = web::serve(self.listener, self.router, self.options, stop).await;
        watch.abort();
        stopped
    }
}

fn tls(store: &Store) -> Result<Tls, Problem> {
    let store = store.clone();
    let source = move || {
        let read = |name: &str| {
            store.get(name).map(|secret| secret.expose().to_owned().into()).map_err(|error| error.problem().to_string())
        };
        Ok(Pair { certificate: read("cert-flowkit.pem")?, key: read("key-flowkit.pem")? })
    };
    Tls::of(source).map_err(|error| {
        let hint =
            "mend cert-flowkit.pem and key-flowkit.pem, or set FLOWKIT_FLOWAPI_PLAIN_HTTP behind a proxy that has them";
        Problem::new(format!("HTTPS can't be served: {error}"), hint)
    })
}

fn gate(settings: &Settings, store: &Store) -> Result<Gate, Problems> {
    let secrets = store.require(&["PUBLIC_JWT_SIGNING_KEY", "FLOWAPI_IDENTIFIER"])?;
    let keys = Keys::parse(secrets["PUBLIC_JWT_SIGNING_KEY"].expose()).map_err(|error| {
        Problem::new(format!("PUBLIC_JWT_SIGNING_KEY can't be used: {error}"), "give FlowAuth's public key, as PEM")
    })?;
    let verifier = Verifier::new(keys, secrets["FLOWAPI_IDENTIFIER"].expose());
    let more = settings.text("FLOWKIT_FLOWAPI_TABLES").unwrap_or_default();
    let tables = more.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let bounds = Bounds { tables: Tables { tables, ..Tables::default() }, ..Bounds::default() };
    let list = settings.text("FLOWKIT_FLOWAPI_REVOCATIONS").map(str::to_owned);
    let file = list.clone().map(|path| List::read(path.clone(), move || read(&path)));
    let lists = file.into_iter().chain(fetched(settings, store)?).collect();
    let gate = Gate::new(verifier, bounds, lists);
    if let Err(why) = gate.look() {
        let what = format!("the list of revoked tokens can't be used: {why}");
        let is_readable = list.as_ref().is_none_or(|path| std::fs::File::open(path).is_ok());
        let hint = match is_readable {
            true => {
                "give FlowAuth's newest list; or take the setting away, where the tokens that it names have ended or a key that is forgotten has signed them"
            }
            false => "put it where the user that runs FlowAPI can read it (install -m 644), or take the setting away",
        };
        let problem = Problem::new(what, hint).value(list.unwrap_or_default());
        return Err(problem.origin(settings.origin("FLOWKIT_FLOWAPI_REVOCATIONS")).into());
    }
    Ok(gate)
}

/// The list that FlowAuth's server has. It may be away while we start: that is said, and is no reason not to.
fn fetched(settings: &Settings, store: &Store) -> Result<Option<List>, Problem> {
    const URL: &str = "FLOWKIT_FLOWAPI_REVOCATIONS_URL";
    let Some(url) = settings.text(URL) else { return Ok(None) };
    let problem = |why: String, hint: &str| {
        Problem::new(format!("{URL} can't be used: {why}"), hint).value(url).origin(settings.origin(URL))
    };
    let place = Place::parse(url).map_err(|why| problem(why, "give it as https://HOST:PORT/PATH"))?;
    let trusted = certificate(settings, store);
    let most = usize::try_from(LONGEST_LIST).unwrap_or(usize::MAX);
    let hint = "give a file with FlowAuth's certificate, or with the one that issued it, in FLOWKIT_FLOWAPI_REVOCATIONS_CERTIFICATE";
    trusted()
        .and_then(|text| https::chain(&text).map_err(|error| error.to_string()))
        .map_err(|why| problem(why, hint))?;
    Ok(Some(List::fetch(url, move || {
        // Read each time: it may be another one tomorrow.
        let (place, trusted) = (place.clone(), trusted());
        async move { place.get(&trusted?, most).await }
    })))
}

/// By what FlowAuth is known: a file that is named, or its certificate where it is in the same deployment.
fn certificate(settings: &Settings, store: &Store) -> impl Fn() -> Result<String, String> + Send + Sync + 'static {
    let (path, store) = (settings.text("FLOWKIT_FLOWAPI_REVOCATIONS_CERTIFICATE").map(str::to_owned), store.clone());
    move || match &path {
        Some(path) => read(path),
        None => match store.get("cert-flowauth.pem") {
            Ok(certificate) => Ok(certificate.expose().to_owned()),
            Err(error) => Err(error.problem().to_string()),
        },
    }
}

fn read(path: &str) -> Result<String, String> {
    let fault = |error: std::io::Error| format!("{path} can't be read: {error}");
    match std::fs::metadata(path).map_err(fault)?.len() {
        0..=LONGEST_LIST => std::fs::read_to_string(path).map_err(fault),
        more => Err(format!("{path} has {more} bytes")),
    }
}

fn listener(settings: &Settings) -> Result<TcpListener, Problem> {
    const LISTEN: &str = "FLOWKIT_FLOWAPI_LISTEN";
    let (text, port) = (settings.text(LISTEN).expect("it has a default"), settings.port("FLOWAPI_PORT"));
    let problem = |what: String, hint| Problem::new(what, hint).value(text).origin(settings.origin(LISTEN));
    let ip: IpAddr = text.parse().map_err(|_| {
        problem("FLOWKIT_FLOWAPI_LISTEN is not an IP address".to_owned(), "give an address of this machine")
    })?;
    TcpListener::bind((ip, port)).map_err(|error| {
        let hint = "stop what listens there, or give another FLOWAPI_PORT";
        problem(format!("port {port} can't be listened on: {error}"), hint)
    })
}

fn database(settings: &Settings, store: &Store) -> impl Fn() -> Result<Config, String> + Send + Sync + 'static {
    let host = settings.text("FLOWDB_HOST").expect("it has a default").to_owned();
    let (port, store) = (settings.port("FLOWDB_PORT"), store.clone());
    move || {
        let secret = |name: &str| store.get(name).map_err(|error| error.problem().to_string());
        let (user, password) = (secret("FLOWAPI_FLOWDB_USER")?, secret("FLOWAPI_FLOWDB_PASSWORD")?);
        let mut config = Config::new();
        config.host(&host).port(port).dbname("flowdb").application_name("flowapi");
        config.user(user.expose()).password(password.expose());
        Ok(config)
    }
}

//! From a deployment's settings and secrets to a server that runs.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use access::Minter;
use flowkit_core::config::{Problem, Problems, Settings, StateDir, variables};
use flowkit_core::secrets::{Secret, Store as Secrets};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use tokio::task::JoinHandle;
use web::{Pair, Tls};

use crate::acme::{self, Acme};
use crate::app::{App, Beginning, Keys, Options};
use crate::local::{Local, Pem};
use crate::oidc::given::provider;
use crate::store::{Address, Store};
use crate::vault::Vault;

/// What has to be there.
const NEEDED: &[&str] =
    &["FLOWAUTH_ADMIN_USER", "FLOWAUTH_ADMIN_PASSWORD", "FLOWAUTH_FERNET_KEY", "SECRET_KEY", "PRIVATE_JWT_SIGNING_KEY"];

/// What upstream takes to begin anew. Nobody loses everything here for a setting that was left somewhere.
const WIPES: [&str; 2] = ["RESET_FLOWAUTH_DB", "DEMO_MODE"];

/// What is left of the time to stop for the process to end in, once its last request was answered or cut.
const TO_END: Duration = Duration::from_secs(2);

/// All that a server is told, read and checked; nothing is touched yet.
pub struct Given {
    listener: TcpListener,
    address: Address,
    keys: Keys,
    options: Options,
    admin: (Secret, Secret),
    /// Whether the administrator gets that password again.
    again: bool,
    web: web::Options,
    acme: Option<acme::Options>,
}

/// A server that is ready to serve.
pub struct Server {
    acme: Option<Acme>,
    listener: TcpListener,
    app: Arc<App>,
    web: web::Options,
}

/// How this process logs, by its settings.
pub fn logging(settings: &Settings) -> trace::Options {
    let level = settings.text("FLOWAUTH_LOG_LEVEL").and_then(trace::level);
    let defaults = trace::Options::default();
    trace::Options { format: trace::Format::Json, level: level.unwrap_or(defaults.level), ..defaults }
}

/// The settings that this process was given.
///
/// # Errors
/// All that is wrong with them.
pub fn settings() -> Result<Settings, Problems> {
    Settings::load(None, &variables(), Some(Path::new(flowkit_core::config::RUN_SECRETS)))
}

/// The database and the key that it is sealed with, without a server.
///
/// # Errors
/// All that is wrong with the secrets.
pub fn database(secrets: &Secrets) -> Result<(Address, Vault), Problems> {
    let found = secrets.require(&["FLOWAUTH_FERNET_KEY"])?;
    Ok((address(secrets)?, vault(secrets, &found["FLOWAUTH_FERNET_KEY"])?))
}

impl Given {
    /// Reads settings and secrets, and takes the port.
    ///
    /// # Errors
    /// All that is wrong with them; the port can't be had.
    pub fn read(settings: &Settings, secrets: &Secrets) -> Result<Given, Problems> {
        let mut problems = Problems::default();
        let found = secrets.require(NEEDED);
        let keys = match &found {
            Ok(found) => keys(secrets, |name| &found[name]).map_err(Problems::from),
            Err(missing) => Err(missing.clone()),
        };
        let address = address(secrets).map_err(Problems::from);
        let listener = listener(settings).map_err(Problems::from);
        let (web, local) = (web_options(settings, secrets), local(settings, secrets));
        let provider = provider(settings, secrets);
        let acme = acme::given::options(settings, state());
        problems.0.extend(keys.as_ref().err().into_iter().flat_map(|all| all.0.clone()));
        problems.0.extend(address.as_ref().err().into_iter().flat_map(|all| all.0.clone()));
        problems.0.extend(listener.as_ref().err().into_iter().flat_map(|all| all.0.clone()));
        let wrong = [web.as_ref().err(), local.as_ref().err(), provider.as_ref().err(), acme.as_ref().err()];
        problems.0.extend(wrong.into_iter().flatten().cloned());
        problems.0.extend(WIPES.into_iter().filter(|name| settings.flag(name)).map(|name| wipe(settings, name)));
        problems.or(())?;
        let mut found = found?;
        let mut take = |name: &str| found.remove(name).expect("it is needed");
        let admin = (take("FLOWAUTH_ADMIN_USER"), take("FLOWAUTH_ADMIN_PASSWORD"));
        let issuer = settings.text("FLOWAUTH_TWO_FACTOR_ISSUER").expect("it has a default").to_owned();
        let window = settings.int("TWO_FACTOR_VALID_WINDOW").and_then(|steps| u16::try_from(steps).ok()).unwrap_or(0);
        let plain = settings.flag("FLOWKIT_FLOWAUTH_PLAIN_HTTP");
        let shown = secrets.clone();
        let shown = Pem::new(move || match shown.get("cert-flowauth.pem") {
            Ok(certificate) => Ok(certificate.expose().to_owned()),
            Err(error) => Err(error.problem().to_string()),
        });
        let certificate = (!plain).then_some(shown);
        let options = Options { issuer, window, local: local?, certificate, provider: provider?, plain };
        let again = settings.flag("FLOWKIT_FLOWAUTH_SET_ADMIN_PASSWORD");
        let (listener, address, keys) = (listener?, address?, keys?);
        Ok(Given { listener, address, keys, options, admin, again, web: web?, acme: acme? })
    }
}

impl Server {
    /// Opens the database, brings it up to date, and makes the first administrator.
    ///
    /// # Errors
    /// [`Beginning`].
    pub async fn new(given: Given) -> Result<Server, Beginning> {
        let store = Store::open(&given.address).await?;
        let app = App::new(given.options, store, given.keys).await?;
        let (name, password) = given.admin;
        if app.first_admin(name.expose(), &password, given.again).await? {
            tracing::info!(user = name.expose(), "the administrator has the password FLOWAUTH_ADMIN_PASSWORD");
        }
        let acme = match (given.acme, given.web.tls.clone()) {
            (Some(options), Some(tls)) => Some(Acme::begin(options, tls).map_err(Beginning::Certificates)?),
            _ => None,
        };
        Ok(Server { acme, listener: given.listener, app, web: given.web })
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
        let store = self.app.store.clone();
        let certificates = self.acme.map(|acme| tokio::spawn(acme.run()));
        let stopped = web::serve(self.listener, crate::table(self.app).router(), self.web, stop).await;
        certificates.inspect(JoinHandle::abort);
        store.close().await;
        stopped
    }
}

/// What the ground is told: ids of our own, and errors in upstream's form.
pub fn options() -> web::Options {
    web::Options { errors: Arc::new(crate::error), own_ids: true, ..web::Options::default() }
}

/// The same, with what settings and secrets say.
fn web_options(settings: &Settings, secrets: &Secrets) -> Result<web::Options, Problem> {
    let mut options = options();
    match settings.flag("FLOWKIT_FLOWAUTH_PLAIN_HTTP") {
        // All come from the proxy.
        true => options.limits.per_peer = None,
        false => options.tls = Some(tls(secrets)?),
    }
    if let Some(stop) = settings.int("FLOWKIT_STOP_SECONDS") {
        options.limits.grace = Duration::from_secs(stop.unsigned_abs()).saturating_sub(TO_END);
    }
    Ok(options)
}

fn tls(secrets: &Secrets) -> Result<Tls, Problem> {
    let secrets = secrets.clone();
    let source = move || {
        let read = |name: &str| {
            let secret = secrets.get(name).map_err(|error| error.problem().to_string())?;
            Ok::<_, String>(secret.expose().to_owned().into())
        };
        Ok(Pair { certificate: read("cert-flowauth.pem")?, key: read("key-flowauth.pem")? })
    };
    Tls::of(source).map_err(|error| {
        let hint = "mend cert-flowauth.pem and key-flowauth.pem, or set FLOWKIT_FLOWAUTH_PLAIN_HTTP behind a proxy that has them";
        Problem::new(format!("HTTPS can't be served: {error}"), hint)
    })
}

/// The FlowAPI beside us. It is asked when somebody wants to know of it, and may be away.
fn local(settings: &Settings, secrets: &Secrets) -> Result<Option<Local>, Problem> {
    const URL: &str = "FLOWKIT_FLOWAUTH_FLOWAPI_URL";
    let Some(url) = settings.text(URL) else { return Ok(None) };
    let (path, secrets) = (settings.text("FLOWKIT_FLOWAUTH_FLOWAPI_CERTIFICATE").map(PathBuf::from), secrets.clone());
    let trusted = move || match &path {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display())),
        None => match secrets.get("cert-flowkit.pem") {
            Ok(certificate) => Ok(certificate.expose().to_owned()),
            Err(error) => Err(error.problem().to_string()),
        },
    };
    Local::new(url, trusted).map(Some).map_err(|why| {
        let problem = Problem::new(format!("{URL} can't be used: {why}"), "give it as https://HOST:PORT");
        problem.value(url).origin(settings.origin(URL))
    })
}

fn wipe(settings: &Settings, name: &str) -> Problem {
    let what =
        format!("{name} is true: upstream's FlowAuth deletes all users, servers and tokens then. This one never does");
    let hint = "remove the setting; to begin anew, stop FlowAuth and remove its database by hand";
    Problem::new(what, hint).origin(settings.origin(name))
}

fn keys<'a>(secrets: &Secrets, found: impl Fn(&str) -> &'a Secret) -> Result<Keys, Problem> {
    let private = found("PRIVATE_JWT_SIGNING_KEY");
    let minter = Minter::parse(private.expose()).map_err(|error| {
        Problem::new(format!("PRIVATE_JWT_SIGNING_KEY can't be used: {error}"), "give an RSA private key, as PEM")
    })?;
    let public_pem = public_pem(private.expose())
        .ok_or_else(|| Problem::new("PRIVATE_JWT_SIGNING_KEY has no public half", "give an RSA private key, as PEM"))?;
    let vault = vault(secrets, found("FLOWAUTH_FERNET_KEY"))?;
    Ok(Keys { minter, public_pem, vault, secret: found("SECRET_KEY").clone() })
}

/// What the key seals, and opens of what those before it have sealed.
fn vault(secrets: &Secrets, key: &Secret) -> Result<Vault, Problem> {
    let before: Vec<Secret> = secrets.previous("FLOWAUTH_FERNET_KEY").into_iter().collect();
    Vault::new(key, &before).ok_or_else(|| {
        let hint = "give 32 random bytes in url-safe base64, as flowkit makes them";
        Problem::new("FLOWAUTH_FERNET_KEY is no Fernet key", hint)
    })
}

/// The public half of a private key.
fn public_pem(private: &str) -> Option<String> {
    let key = rsa::PrivateKey::from_pkcs8_pem(private).or_else(|_| rsa::PrivateKey::from_pkcs1_pem(private)).ok()?;
    key.to_public_key().to_public_key_pem(LineEnding::LF).ok()
}

/// Where we were told to keep what we keep.
fn given_state() -> Option<PathBuf> {
    std::env::var_os("STATE_DIRECTORY").map(PathBuf::from)
}

/// The same, or where it usually is.
fn state() -> PathBuf {
    given_state().unwrap_or_else(|| StateDir::usual().role("flowauth"))
}

/// `DB_URI`, or a file in the state directory.
fn address(secrets: &Secrets) -> Result<Address, Problem> {
    let Some(uri) = secrets.optional("DB_URI")? else {
        let file = given_state().unwrap_or_else(|| state().join("data")).join("flowauth.sqlite");
        say::tell!("flowauth: DB_URI is not set: users and tokens are kept in {}", file.display());
        return Ok(Address::File(file));
    };
    let password = secrets.get("FLOWAUTH_DB_PASSWORD").ok();
    let hint = "write it as postgresql://flowauth:{}@HOST:5432/flowauth, or sqlite:////PATH";
    Address::parse("DB_URI", uri.expose(), ("FLOWAUTH_DB_PASSWORD", password.as_ref()))
        .map_err(|what| Problem::new(what, hint))
}

fn listener(settings: &Settings) -> Result<TcpListener, Problem> {
    const LISTEN: &str = "FLOWKIT_FLOWAUTH_LISTEN";
    let (text, port) = (settings.text(LISTEN).expect("it has a default"), settings.port("FLOWKIT_FLOWAUTH_PORT"));
    let problem = |what: String, hint| Problem::new(what, hint).value(text).origin(settings.origin(LISTEN));
    let ip: IpAddr = text.parse().map_err(|_| {
        problem("FLOWKIT_FLOWAUTH_LISTEN is not an IP address".to_owned(), "give an address of this machine")
    })?;
    TcpListener::bind((ip, port)).map_err(|error| {
        let hint = "stop what listens there, or give another FLOWKIT_FLOWAUTH_PORT";
        problem(format!("port {port} can't be listened on: {error}"), hint)
    })
}

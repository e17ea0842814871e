//! Certificates by ACME from `pebble`, Debian's authority for tests, on the loopback: got, renewed, kept, and done without.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flowauth::acme::{Acme, Options};
use http::Request;
use https::Client;
use serde_json::{Value, json};
use web::{Pair, Tls};

/// Longest wait for an authority, a server, or a certificate.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a certificate lives, in seconds: two thirds of it later another one is got.
const LIFE: u64 = 9;

/// The name is that of the loopback, which every machine knows.
const DOMAIN: &str = "localhost";

fn self_signed(name: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Pair { certificate: made.cert.pem().into(), key: made.signing_key.serialize_pem().into() }
}

async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a server answers that shows what is expected of it.
async fn asked(client: Result<Client, String>, path: &str) -> Result<Bytes, String> {
    let request = Request::get(path).body(Bytes::new()).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), client?.send(request, 1 << 20)).await;
    Ok(answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?.into_body())
}

/// An authority, which asks at one port.
struct Authority {
    address: String,
    pair: Pair,
    config: PathBuf,
    running: Option<Child>,
}

impl Authority {
    fn new(dir: &Path, port: u16) -> Authority {
        // An address that nobody else has thought of, so that its ports are free.
        let [a, b, c]: [u8; 3] = rand::random();
        let address = format!("127.{a}.{b}.{}", c.clamp(1, 254));
        let pair = self_signed(&address);
        for (name, text) in [("pebble.pem", &pair.certificate), ("pebble.key", &pair.key)] {
            std::fs::write(dir.join(name), text.as_str()).unwrap();
        }
        let config = json!({ "pebble": {
            "listenAddress": format!("{address}:14000"),
            "managementListenAddress": format!("{address}:15000"),
            "certificate": dir.join("pebble.pem"),
            "privateKey": dir.join("pebble.key"),
            "httpPort": 1,
            "tlsPort": port,
            "certificateValidityPeriod": LIFE,
        } });
        let path = dir.join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        Authority { address, pair, config: path, running: None }
    }

    /// Starts it, with nothing that it knew before; its root certificate.
    async fn start(&mut self) -> String {
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(&self.config).env("PEBBLE_VA_NOSLEEP", "1");
        let log = std::fs::File::create(self.config.with_extension("log")).unwrap();
        pebble.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(pebble.spawn().expect("pebble; run `make setup-tests`"));
        let certificate = self.pair.certificate.clone();
        let root = until("pebble starts", async || {
            asked(Client::issued(&*self.address, 15000, &certificate), "/roots/0").await.ok()
        });
        String::from_utf8(root.await.to_vec()).unwrap()
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A server that shows its own certificate, and gets another.
fn serve(listener: TcpListener, own: &Pair, options: Options) -> [tokio::task::JoinHandle<()>; 2] {
    let own = own.clone();
    let tls = Tls::of(move || Ok(own.clone())).unwrap();
    let acme = Acme::begin(options, tls.clone()).unwrap();
    let router = web::axum::Router::new().route("/", web::axum::routing::get(|| async { "here" }));
    let served = web::Options { tls: Some(tls), ..web::Options::default() };
    let served = async move { drop(web::serve(listener, router, served, std::future::pending()).await) };
    [tokio::spawn(acme.run()), tokio::spawn(served)]
}

/// The certificate that is kept.
fn kept(place: &Path) -> Option<String> {
    let kept: Value = serde_json::from_slice(&std::fs::read(place.join("certificate.json")).ok()?).ok()?;
    Some(kept["chain"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_got_renewed_and_kept_whatever_becomes_of_the_authority() {
    let (dir, own) = (tempfile::tempdir().unwrap(), self_signed("flow.auth"));
    let place = dir.path().join("state/acme");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let again = listener.try_clone().unwrap();
    let mut authority = Authority::new(dir.path(), port);
    let trusted = authority.pair.certificate.to_string();
    let options = Options {
        domain: DOMAIN.to_owned(),
        email: Some("somebody@example.org".to_owned()),
        directory: format!("https://{}:14000/dir", authority.address),
        trusted: Arc::new(move || Ok(trusted.clone())),
        place: place.clone(),
        pause: Duration::from_millis(200),
    };
    let shows = async |certificate: &str| asked(Client::pinned(DOMAIN, port, certificate), "/").await;

    // The authority is away: our own is shown, and it is asked again.
    let running = serve(listener, &own, options.clone());
    assert_eq!(shows(&own.certificate).await.unwrap(), "here");
    let root = authority.start().await;
    let first = until("a certificate", async || kept(&place)).await;
    assert_eq!(asked(Client::issued(DOMAIN, port, &root), "/").await.unwrap(), "here", "known by who has issued it");
    shows(&own.certificate).await.unwrap_err();
    let unnamed = asked(Client::pinned("127.0.0.1", port, &own.certificate), "/").await;
    assert_eq!(unnamed.unwrap(), "here", "who asks for no name gets our own");
    for name in ["account.json", "certificate.json"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(place.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let account = std::fs::read(place.join("account.json")).unwrap();

    let second = until("another certificate", async || kept(&place).filter(|now| *now != first)).await;
    assert_eq!(shows(&second).await.unwrap(), "here");
    assert_eq!(std::fs::read(place.join("account.json")).unwrap(), account, "the same account");

    // It fails: the old one is shown, and it is asked again and again.
    authority.stop();
    let last = kept(&place).unwrap();
    let failing = tokio::net::TcpListener::bind(format!("{}:14000", authority.address)).await.unwrap();
    for _ in 0..3 {
        tokio::time::timeout(PATIENCE, failing.accept()).await.expect("it is asked again").unwrap();
    }
    assert_eq!(shows(&last).await.unwrap(), "here");
    drop(failing);

    // A server that begins anew shows what was kept, and gets on with an authority that has forgotten everybody.
    for task in running {
        task.abort();
        let _ = task.await;
    }
    let running = serve(again, &own, options);
    let root = authority.start().await;
    until("a certificate from the new authority", async || kept(&place).filter(|now| *now != last)).await;
    until("it is shown", async || asked(Client::issued(DOMAIN, port, &root), "/").await.ok()).await;
    assert_ne!(std::fs::read(place.join("account.json")).unwrap(), account, "a new account");
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

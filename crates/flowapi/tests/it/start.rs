//! What a server is told, and what it says of it.

use std::path::Path;
use std::sync::Arc;

use access::{Bounds, Keys, Minter, Revocations, Verifier};
use flowapi::start::Server;
use flowapi::{Gate, List, scopes};
use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Origin, Settings, Variables};
use flowkit_core::secrets::{self, Options, Store};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

fn settings(given: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::load(None, &Variables::new(), None).unwrap();
    for (name, value) in given {
        settings.set(name, value, Origin::Flag).unwrap();
    }
    settings
}

fn started(dir: &Path, given: &[(&str, &str)]) -> Result<(), String> {
    server(dir, given).map(drop)
}

fn server(dir: &Path, given: &[(&str, &str)]) -> Result<Server, String> {
    // An address of the loopback that nobody else has thought of, so that the port is free.
    let [a, b, c]: [u8; 3] = rand::random();
    let address = format!("127.{a}.{b}.{}", c.clamp(1, 254));
    let given = [given, &[("FLOWKIT_FLOWAPI_LISTEN", &address)]].concat();
    Server::new(&settings(&given), &Store::only(dir)).map_err(|problems| problems.to_string())
}

#[test]
fn a_server_without_its_whole_certificate_says_what_is_wrong_and_serves_nothing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let roles = |names: &[&str]| names.iter().filter_map(|name| catalogue().role(name)).collect::<Vec<_>>();
    secrets::init(one.path(), &roles(&["flowapi", "flowauth"]), &Options::default()).unwrap();
    secrets::init(other.path(), &roles(&["flowapi"]), &Options::default()).unwrap();
    let dir = one.path();
    let ready = started(dir, &[]);
    assert_eq!(ready, Ok(()), "what init makes is enough");

    let key = dir.join("key-flowkit.pem");
    let own = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let missing = started(dir, &[]).unwrap_err();
    assert!(missing.contains("key-flowkit.pem is missing"), "{missing}");
    assert_eq!(started(dir, &[("FLOWKIT_FLOWAPI_PLAIN_HTTP", "true")]), Ok(()));
    std::fs::copy(other.path().join("key-flowkit.pem"), &key).unwrap();
    let differs = started(dir, &[]).unwrap_err();
    assert!(differs.starts_with("HTTPS can't be served: "), "{differs}");
    assert!(!differs.contains("PRIVATE"), "no key is in an error: {differs}");
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&key, own).unwrap();

    let nowhere = started(dir, &[("FLOWKIT_FLOWAPI_REVOCATIONS", "/nowhere/list")]).unwrap_err();
    assert!(nowhere.contains("/nowhere/list can't be read"), "{nowhere}");
    std::fs::remove_file(dir.join("PUBLIC_JWT_SIGNING_KEY")).unwrap();
    std::fs::remove_file(dir.join("FLOWAPI_FLOWDB_PASSWORD")).unwrap();
    let two = started(dir, &[]).unwrap_err();
    assert!(two.contains("PUBLIC_JWT_SIGNING_KEY") && two.contains("FLOWAPI_FLOWDB_PASSWORD"), "{two}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_that_the_log_is_searched_by_is_not_the_clients_choice() {
    let dir = tempfile::tempdir().unwrap();
    let roles: Vec<_> = catalogue().role("flowapi").into_iter().chain(catalogue().role("flowauth")).collect();
    secrets::init(dir.path(), &roles, &Options::default()).unwrap();
    let server = server(dir.path(), &[("FLOWKIT_FLOWAPI_PLAIN_HTTP", "true")]).unwrap();
    let client = super::rig::client(server.address().unwrap());
    tokio::spawn(server.serve(std::future::pending()));
    let mut asked = super::rig::request("GET", "/api/0/health/live", "", "");
    asked.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer = client.send(asked).await;
    assert!(answer.header("x-request-id").is_some_and(|id| id != "mine"), "{answer:?}");
}

#[test]
fn a_revoked_token_is_refused_and_an_old_list_does_not_let_it_in_again() {
    let now = std::time::SystemTime::now();
    let (minter, token) = (Minter::parse(&super::rig::private()).unwrap(), super::rig::token(&["run"]));
    let seconds = i64::try_from(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let list = |issued: i64, users: &[&str]| {
        let users = users.iter().map(|user| (user.to_string(), None)).collect();
        let list = Revocations { issued, max_age: 3600, users, ..Revocations::default() };
        minter.publish(&list, &mut rand::rng()).unwrap()
    };
    let text = Arc::new(std::sync::Mutex::new(list(seconds - 100, &[])));
    let source = text.clone();
    let verifier = Verifier::new(Keys::parse(&super::rig::public()).unwrap(), "here");
    let gate =
        Gate::new(verifier, Bounds::default(), vec![List::read("a list", move || Ok(source.lock().unwrap().clone()))]);
    let header = format!("Bearer {token}");
    let let_in = || gate.token(Some(&header), now).map(|token| token.user).map_err(|refused| refused.to_string());
    assert_eq!(gate.look(), Ok(None));
    assert_eq!(let_in(), Ok("ann".to_owned()));
    *text.lock().unwrap() = list(seconds, &["ann"]);
    assert_eq!(gate.look(), Ok(None));
    assert_eq!(let_in(), Err("Token has been revoked".to_owned()));
    *text.lock().unwrap() = list(seconds - 100, &[]);
    assert!(gate.look().unwrap_err().contains("older"));
    assert!(let_in().is_err());
    *text.lock().unwrap() = "garbage".to_owned();
    assert!(gate.look().is_err() && let_in().is_err());

    // One past its age is all that there is to hold on to: a server starts with it.
    *text.lock().unwrap() = list(seconds - 4000, &["ann"]);
    let (source, verifier) = (text.clone(), Verifier::new(Keys::parse(&super::rig::public()).unwrap(), "here"));
    let gate =
        Gate::new(verifier, Bounds::default(), vec![List::read("a list", move || Ok(source.lock().unwrap().clone()))]);
    assert!(gate.look().unwrap().unwrap().contains("past its age"));
    assert!(gate.token(Some(&header), now).is_err());
}

/// A server of one text, at `/list`.
fn publish(
    certificate: String,
    key: String,
    text: String,
) -> (u16, tokio::task::JoinHandle<std::io::Result<web::Stopped>>) {
    let pair = move || Ok(web::Pair { certificate: certificate.clone().into(), key: key.clone().into() });
    let route = web::axum::routing::get(move || std::future::ready(text.clone()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = web::Options { tls: Some(web::Tls::of(pair).unwrap()), ..web::Options::default() };
    let router = web::axum::Router::new().route("/list", route);
    (port, tokio::spawn(web::serve(listener, router, options, std::future::pending())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_fetched_from_who_has_a_certificate_of_the_issuer_for_that_name() {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (issuer, other) = (authority("issuer"), authority("another"));
    for (name, good) in [("localhost", true), ("flow.api", false)] {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let (port, server) = publish(own.pem() + &issuer.pem(), key.serialize_pem(), "text".to_owned());
        let remote = https::Place::parse(&format!("https://localhost:{port}/list")).unwrap();
        let text = remote.get(&issuer.pem(), 100).await;
        assert_eq!(text.is_ok(), good, "{name}: {text:?}");
        let stranger = remote.get(&other.pem(), 100).await.unwrap_err();
        assert!(stranger.contains("certificate"), "{stranger}");
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_fetched_from_who_has_the_certificate_and_an_outage_is_spoken_of() {
    let (served, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let role: Vec<_> = catalogue().role("flowapi").into_iter().collect();
    let certificate = |dir: &Path| std::fs::read_to_string(dir.join("cert-flowkit.pem")).unwrap();
    for dir in [served.path(), other.path()] {
        secrets::init(dir, &role, &Options::default()).unwrap();
    }
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let users = [("ann".to_owned(), None)].into();
    let list = Revocations { issued: now, max_age: 3600, users, ..Revocations::default() };
    let text = Minter::parse(&super::rig::private()).unwrap().publish(&list, &mut rand::rng()).unwrap();
    let key = std::fs::read_to_string(served.path().join("key-flowkit.pem")).unwrap();
    let (port, server) = publish(certificate(served.path()), key, text);

    let remote = move |path: &str| https::Place::parse(&format!("https://localhost:{port}{path}")).unwrap();
    let own = certificate(served.path());
    assert!(remote("/list").get(&own, 1 << 20).await.is_ok());
    assert!(remote("/list").get(&own, 100).await.is_err(), "it has a bound");
    assert!(remote("/none").get(&own, 1 << 20).await.unwrap_err().contains("404"));
    let stranger = remote("/list").get(&certificate(other.path()), 1 << 20).await.unwrap_err();
    assert!(stranger.contains("certificate"), "{stranger}");

    let verifier = Verifier::new(Keys::parse(&super::rig::public()).unwrap(), "here");
    let fetch = move || {
        let (remote, own) = (remote("/list"), own.clone());
        async move { remote.get(&own, 1 << 20).await }
    };
    let gate = Gate::new(verifier, Bounds::default(), vec![List::fetch("FlowAuth's", fetch)]);
    let header = format!("Bearer {}", super::rig::token(&["run"]));
    let let_in = |gate: &Gate| gate.token(Some(&header), std::time::SystemTime::now()).is_ok();
    assert!(let_in(&gate) && gate.lists()[0].wrong().is_some(), "it has not come yet, which is said");
    let watch = tokio::spawn(gate.clone().watch(std::time::Duration::from_millis(50)));
    super::rig::until("the list has come", || !let_in(&gate)).await;
    super::rig::until("all is well", || gate.lists()[0].wrong().is_none()).await;
    server.abort();
    super::rig::until("the outage is noticed", || gate.lists()[0].wrong().is_some()).await;
    assert!(!let_in(&gate), "the list from before holds");
    watch.abort();
}

#[test]
fn a_url_needs_https_and_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let roles: Vec<_> = ["flowapi", "flowauth"].iter().filter_map(|name| catalogue().role(name)).collect();
    secrets::init(dir.path(), &roles, &Options::default()).unwrap();
    let (certificate, neighbours) = (dir.path().join("cert-flowkit.pem"), dir.path().join("cert-flowauth.pem"));
    let url = |url: &str| started(dir.path(), &[("FLOWKIT_FLOWAPI_REVOCATIONS_URL", url)]).unwrap_err();
    assert!(url("http://x/list").contains("https://"));
    let there = ("FLOWKIT_FLOWAPI_REVOCATIONS_URL", "https://127.0.0.1:1/revocations");
    assert_eq!(started(dir.path(), &[there]), Ok(()), "FlowAuth is of the same deployment");
    std::fs::remove_file(neighbours).unwrap();
    assert!(url("https://x/list").contains("FLOWKIT_FLOWAPI_REVOCATIONS_CERTIFICATE"));
    let given = [
        ("FLOWKIT_FLOWAPI_REVOCATIONS_URL", "https://127.0.0.1:1/list"),
        ("FLOWKIT_FLOWAPI_REVOCATIONS_CERTIFICATE", certificate.to_str().unwrap()),
    ];
    assert_eq!(started(dir.path(), &given), Ok(()), "FlowAuth may come later");
}

#[test]
fn without_schemas_there_are_the_scopes_of_actions() {
    let all: Vec<String> = scopes(&serde_json::Map::new()).into_iter().collect();
    assert_eq!(all, ["get_available_dates", "get_qa_checks", "get_result", "run"]);
}

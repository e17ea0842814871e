//! From settings and secrets to a server.

use std::path::Path;

use access::{Keys, Verifier};
use flowauth::start::{Given, Server};
use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Origin, Settings, Variables};
use flowkit_core::secrets::{self, Options, Store};
use http::StatusCode;
use serde_json::json;
use web::axum::response::{IntoResponse as _, Response};

use crate::rig::browser;

fn given(dir: &Path) -> Result<Given, String> {
    given_with(dir, &[("FLOWKIT_FLOWAUTH_PLAIN_HTTP", "true"), ("RESET_FLOWAUTH_DB", "false"), ("DEMO_MODE", "0")])
}

fn given_with(dir: &Path, more: &[(&str, &str)]) -> Result<Given, String> {
    // An address of the loopback that nobody else has thought of, so that the port is free.
    let [a, b, c]: [u8; 3] = rand::random();
    let mut settings = Settings::load(None, &Variables::new(), None).unwrap();
    let address = format!("127.{a}.{b}.{}", c.clamp(1, 254));
    settings.set("FLOWKIT_FLOWAUTH_LISTEN", &address, Origin::Flag).unwrap();
    more.iter().for_each(|(name, value)| settings.set(name, value, Origin::Flag).unwrap());
    Given::read(&settings, &Store::only(dir)).map_err(|problems| problems.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_makes_is_enough_and_the_administrator_is_made_once() {
    let (dir, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let roles: Vec<_> = catalogue().role("flowauth").into_iter().collect();
    secrets::init(dir.path(), &roles, &Options::default()).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, text).unwrap();
    };
    write("DB_URI", &format!("sqlite:///{}/flowauth.sqlite", data.path().display()));
    let password = std::fs::read_to_string(dir.path().join("FLOWAUTH_ADMIN_PASSWORD")).unwrap().trim().to_owned();
    let sign_in = |password: &str| json!({ "username": "admin", "password": password });
    for new in [None, Some("given-later-by-Somebody-77")] {
        if let Some(new) = new {
            write("FLOWAUTH_ADMIN_PASSWORD", new);
        }
        let server = Server::new(given(dir.path()).unwrap()).await.unwrap();
        let address = server.address().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(async move { drop(stopped.await) }));
        let mut admin = browser(address);
        assert_eq!(admin.post("/signin", sign_in(&password)).await.status, 200, "the first password stays");
        assert_eq!(admin.get("/health/ready").await.status, 200);
        let keys = admin.get("/.well-known/jwks.json").await.json();
        assert_eq!((keys["keys"].as_array().unwrap().len(), &keys["keys"][0]["e"]), (1, &json!("AQAB")));
        if let Some(new) = new {
            assert_eq!(browser(address).post("/signin", sign_in(new)).await.status, 401);
        }
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
    }
    // The key is rotated: the first start seals anew, the next needs the new one alone.
    secrets::rotate(dir.path(), &["FLOWAUTH_FERNET_KEY".to_owned()], &Options::default(), true).unwrap();
    drop(Server::new(given(dir.path()).unwrap()).await.unwrap());
    Store::only(dir.path()).forget_previous(|_| true).unwrap();
    drop(Server::new(given(dir.path()).unwrap()).await.unwrap());
    secrets::rotate(dir.path(), &["FLOWAUTH_FERNET_KEY".to_owned()], &Options::default(), true).unwrap();
    Store::only(dir.path()).forget_previous(|_| true).unwrap();
    let lost = Server::new(given(dir.path()).unwrap()).await.err().unwrap();
    assert!(lost.to_string().contains("another FLOWAUTH_FERNET_KEY"), "{lost}");

    write("FLOWAUTH_FERNET_KEY", "hunter2");
    std::fs::remove_file(dir.path().join("SECRET_KEY")).unwrap();
    write("DB_URI", "mysql://flowauth:hunter2@db/flowauth");
    let wrong = given(dir.path()).err().unwrap();
    for name in ["FLOWAUTH_FERNET_KEY", "SECRET_KEY", "\"mysql\""] {
        assert!(wrong.contains(name), "{wrong}");
    }
    assert!(!wrong.contains("hunter2"), "{wrong}");
    let issuer = ("FLOWKIT_FLOWAUTH_OIDC_ISSUER", "https://id.example");
    let client = ("FLOWKIT_FLOWAUTH_OIDC_CLIENT_ID", "flowauth");
    let domain = ("FLOWKIT_FLOWAUTH_DOMAIN", "flow.example");
    for (settings, says) in [
        (&[issuer][..], "FLOWKIT_FLOWAUTH_OIDC_CLIENT_ID is not"),
        (&[("FLOWKIT_FLOWAUTH_OIDC_ISSUER", "http://id.example"), client], "does not begin with https://"),
        (&[issuer, client, ("FLOWKIT_FLOWAUTH_OIDC_GROUPS", "staff")], "neither GROUP=SERVER/ROLE"),
        (&[domain, ("FLOWKIT_FLOWAUTH_PLAIN_HTTP", "true")], "are both set"),
        (&[domain, ("FLOWKIT_FLOWAUTH_ACME_DIRECTORY", "http://ca.example/dir")], "does not begin with https://"),
    ] {
        let wrong = given_with(dir.path(), settings).err().unwrap();
        assert!(wrong.contains(says), "{says}: {wrong}");
    }
    for name in ["RESET_FLOWAUTH_DB", "DEMO_MODE"] {
        let wrong = given_with(dir.path(), &[(name, "true")]).err().unwrap();
        assert!(wrong.contains(&format!("{name} is true")) && wrong.contains("never does"), "{wrong}");
    }
}

/// What that server tells of the deployment.
const FIGURES: &str = r#"{"since": 1700000000, "flowmachine_answers_since": 1700000003, "failed": [{"query_id": "0123456789abcdef0123456789abcdef", "query_kind": "daily_location", "at": 1700000001}],
    "flowdb": {"since": 1700000002, "bytes": 1073741824, "running": 2, "cache": {"bytes": 1572864, "most": 2147483648, "results": 7}}}"#;

/// A server of the test's, in the place of FlowAPI.
async fn in_flowapis_place(dir: &Path, answer: fn() -> Response) -> (u16, tokio::task::JoinHandle<()>) {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let (certificate, key) = (read("cert-flowkit.pem"), read("key-flowkit.pem"));
    let tls = web::Tls::of(move || Ok(web::Pair { certificate: certificate.clone().into(), key: key.clone().into() }));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let route = web::axum::routing::get(move || std::future::ready(answer()));
    let parts = r#"{"ready":false,"parts":{"flowmachine":"ok","database":"unavailable"}}"#;
    let health = web::axum::routing::get(move || {
        std::future::ready((StatusCode::SERVICE_UNAVAILABLE, [("content-type", "application/json")], parts))
    });
    // The days of data are for whoever has a token that allows to ask for them, and is told nothing else by it.
    let verifier = Verifier::new(Keys::parse(&read("PUBLIC_JWT_SIGNING_KEY")).unwrap(), "here");
    let dates = web::axum::routing::get(move |headers: http::HeaderMap| {
        let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let token = verifier.verify(&token, std::time::SystemTime::now()).unwrap();
        let scopes = ["get_available_dates", "get_deployment"].map(str::to_owned);
        assert!(token.roles.len() == 1 && token.roles[0].scopes == scopes.into());
        assert!(token.expires.unwrap() - token.issued.unwrap() <= 60);
        std::future::ready(r#"{"available_dates":{"calls":["2016-01-01","2016-01-02","2016-02-29"]}}"#)
    });
    let router = web::axum::Router::new()
        .route("/api/0/spec/openapi.json", route)
        .route("/api/0/health/ready", health)
        .route("/api/0/deployment", web::axum::routing::get(|| async { FIGURES }))
        .route("/api/0/available_dates", dates);
    let options = web::Options { tls: Some(tls.unwrap()), ..web::Options::default() };
    (port, tokio::spawn(async move { drop(web::serve(listener, router, options, std::future::pending()).await) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_its_own_certificate_and_offers_the_flowapi_beside_it() {
    const DOCUMENT: &str =
        r#"{"components":{"securitySchemes":{"token":{"x-audience":"here","x-security-scopes":["run"]}}}}"#;
    let (dir, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let roles: Vec<_> = ["flowauth", "flowapi"].iter().filter_map(|name| catalogue().role(name)).collect();
    secrets::init(dir.path(), &roles, &Options::default()).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap().trim().to_owned();
    std::fs::write(dir.path().join("DB_URI"), format!("sqlite:///{}/x.sqlite", data.path().display())).unwrap();
    let (port, flowapi) =
        in_flowapis_place(dir.path(), || ([("content-type", "application/json")], DOCUMENT).into_response()).await;
    let url = format!("https://127.0.0.1:{port}");
    let again = ("FLOWKIT_FLOWAUTH_SET_ADMIN_PASSWORD", "true");
    let given = || given_with(dir.path(), &[("FLOWKIT_FLOWAUTH_FLOWAPI_URL", &url), again]).unwrap();
    drop(Server::new(given()).await.unwrap());
    // The administrator has forgotten the password, and is given another one.
    std::fs::write(dir.path().join("FLOWAUTH_ADMIN_PASSWORD"), "given-later-by-Somebody-77").unwrap();
    let server = Server::new(given()).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    let mut admin = browser(address).tls(&read("cert-flowauth.pem"));
    let sign_in = json!({ "username": "admin", "password": "given-later-by-Somebody-77" });
    assert_eq!(admin.post("/signin", sign_in).await.status, 200);
    let offered = admin.get("/admin/local_server").await;
    assert_eq!((offered.status.as_u16(), &offered.body[..]), (200, DOCUMENT.as_bytes()));
    // The pages offer it too.
    let page = admin.get("/manage/servers/new").await;
    assert!(page.text().contains("name=\"local\""), "{}", page.text());
    let added = admin.form("/manage/servers/new", &[("local", "yes"), ("max-life", "10")]).await;
    assert_eq!(added.header("location"), Some("/manage/servers/1?done=server-added"), "{}", added.text());
    let compared = admin.form("/manage/servers/1/specification", &[("local", "yes")]).await;
    assert!(compared.status == 200 && compared.text().contains("nothing changes"), "{}", compared.text());
    // Of the deployment it tells what that FlowAPI answers, asked at most once a minute.
    let (told, page) = (admin.get("/admin/deployment").await.json(), admin.get("/manage/deployment").await);
    assert_eq!(
        (&told["flowapi"]["name"], &told["flowapi"]["days"]["calls"][2]),
        (&json!("here"), &json!("2016-02-29"))
    );
    assert_eq!(told["flowapi"]["parts"], json!({ "flowmachine": true, "database": false }));
    assert!(told["certificates"].as_array().unwrap().iter().all(|one| one["ends"].is_string()), "{told}");
    assert_eq!(told["flowapi"]["figures"]["flowdb"]["cache"]["results"], json!(7));
    let figures =
        ["has answered since", "1.5 MiB of 2.0 GiB", "7 results", "0123456789abcdef0123456789abcdef", "daily_location"];
    for part in ["2016-01", "3 days", "■■·", "away", "Certificate of FlowAPI"].into_iter().chain(figures) {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    let log = admin.ok("GET", "/admin/audit?action=token.own", serde_json::Value::Null).await;
    assert_eq!((log.as_array().unwrap().len(), &log[0]["object"]), (1, &json!("here")));
    // One at an address is fetched as well, known by its certificate.
    let certificate = read("cert-flowkit.pem");
    let fetched = admin.post("/admin/remote_server", json!({ "url": url, "certificate": certificate })).await;
    assert_eq!((fetched.status.as_u16(), &fetched.body[..]), (200, DOCUMENT.as_bytes()));
    let compared =
        admin.upload("/manage/servers/1/specification", &[("url", &*url), ("certificate", &*certificate)]).await;
    assert!(compared.status == 200 && compared.text().contains("nothing changes"), "{}", compared.text());
    // What answers otherwise than a FlowAPI is shown to nobody: a redirect, a page, another document, a server of another certificate.
    let others: [fn() -> Response; 3] = [
        || {
            (
                StatusCode::FOUND,
                [("location", "http://169.254.169.254/"), ("content-type", "application/json")],
                DOCUMENT,
            )
                .into_response()
        },
        || ([("content-type", "text/html")], DOCUMENT).into_response(),
        || ([("content-type", "application/json")], r#"{"secret":"hunter2"}"#).into_response(),
    ];
    let mut asked = vec![(url.clone(), read("cert-flowauth.pem"), "No FlowAPI")];
    let mut stand_ins = Vec::new();
    for other in others {
        let (port, other) = in_flowapis_place(dir.path(), other).await;
        asked.push((format!("https://127.0.0.1:{port}"), certificate.clone(), "No FlowAPI"));
        stand_ins.push(other);
    }
    let addresses =
        [url.replace("https", "http"), format!("{url}/x"), "file:///etc/passwd".to_owned(), "https://a:b@c".to_owned()];
    asked.extend(addresses.map(|address| (address, certificate.clone(), "Give FlowAPI's address")));
    for (url, certificate, says) in asked {
        let (status, said) =
            admin.refused("POST", "/admin/remote_server", json!({ "url": url, "certificate": certificate })).await;
        assert!(status == 400 && said.starts_with(says) && !said.contains("hunter2"), "{url}: {status} {said}");
    }
    stand_ins.iter().for_each(tokio::task::JoinHandle::abort);
    let log = admin.ok("GET", "/admin/audit?action=server.fetch", serde_json::Value::Null).await;
    assert_eq!(log.as_array().unwrap().len(), 6, "each is in the log: {log}");
    flowapi.abort();
    let _ = flowapi.await;
    assert_eq!(admin.get("/admin/local_server").await.status, 503);
    let away = admin.form("/manage/servers/1/specification", &[("local", "yes")]).await;
    assert!(away.status == 400 && away.text().contains("does not answer"), "{}", away.text());
    let wrong = given_with(dir.path(), &[("FLOWKIT_FLOWAUTH_FLOWAPI_URL", "https://127.0.0.1/api")]).err().unwrap();
    assert!(wrong.contains("it has a path"), "{wrong}");
}

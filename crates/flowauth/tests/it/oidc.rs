//! Sign-in by OpenID Connect, with a provider of the test's own: HTTPS on the loopback, codes, PKCE and tokens that are really signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use flowauth::Options;
use flowauth::oidc::groups::Groups;
use flowauth::oidc::{self, Provider};
use flowauth::store::{Address, now};
use flowkit_core::secrets::Secret;
use http::{Request, StatusCode, header};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use web::axum::Router;
use web::axum::extract::State;
use web::axum::response::{IntoResponse as _, Response};
use web::axum::routing::{get, post};
use web::test::Answer;

use crate::on_both;
use crate::rig::{Browser, PASSWORD, Rig};

on_both!(
    whoever_the_provider_knows_comes_in_with_their_roles,
    who_is_nobody_here_stays_out,
    a_provider_that_hangs_keeps_one_waiting,
    nothing_forged_comes_in
);

const CLIENT: &str = "flow auth";
const SECRET: &str = "a:secret&more";

/// What the provider knows, and what it will say.
#[derive(Default)]
struct Says {
    issuer: String,
    /// Claims of whoever signs in there.
    claims: Value,
    /// Claims that are put over all others.
    lies: Value,
    /// What it answers instead of a code.
    error: Option<&'static str>,
    /// Codes that it has given: nonce, challenge, where to.
    codes: BTreeMap<String, (String, String, String)>,
    /// The name of its key of now.
    kid: &'static str,
}

struct Theirs {
    says: Mutex<Says>,
    key: RsaKeyPair,
    n: String,
    e: String,
}

type Shared = State<Arc<Theirs>>;

fn fields(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn answer(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn discovery(State(theirs): Shared) -> Response {
    let issuer = theirs.says.lock().unwrap().issuer.clone();
    answer(&json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize?kind=code"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
    }))
}

async fn keys(State(theirs): Shared) -> Response {
    let kid = theirs.says.lock().unwrap().kid;
    answer(
        &json!({ "keys": [{ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": theirs.n, "e": theirs.e }] }),
    )
}

async fn authorize(State(theirs): Shared, uri: http::Uri) -> Response {
    let asked = fields(uri.query().unwrap());
    assert_eq!((&*asked["kind"], &*asked["response_type"], &*asked["client_id"]), ("code", "code", CLIENT));
    assert_eq!((&*asked["scope"], &*asked["code_challenge_method"]), ("openid profile", "S256"));
    let mut says = theirs.says.lock().unwrap();
    let code = format!("code {}", says.codes.len());
    let kept = (asked["nonce"].clone(), asked["code_challenge"].clone(), asked["redirect_uri"].clone());
    says.codes.insert(code.clone(), kept);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("state", &asked["state"]).append_pair("iss", &says.issuer);
    match says.error {
        Some(error) => query.append_pair("error", error),
        None => query.append_pair("code", &code),
    };
    let to = format!("{}?{}", asked["redirect_uri"], query.finish());
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

async fn token(State(theirs): Shared, headers: http::HeaderMap, body: String) -> Response {
    let quoted = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", quoted(CLIENT), quoted(SECRET)));
    assert_eq!(headers[header::AUTHORIZATION], format!("Basic {pair}"));
    let given = fields(&body);
    let mut says = theirs.says.lock().unwrap();
    let known = says.codes.remove(&given["code"]);
    let verifier = URL_SAFE_NO_PAD.encode(Sha256::digest(&given["code_verifier"]));
    let Some((nonce, ..)) = known.filter(|(_, challenge, to)| *challenge == verifier && *to == given["redirect_uri"])
    else {
        return (StatusCode::BAD_REQUEST, answer(&json!({ "error": "invalid_grant" }))).into_response();
    };
    let mut claims = json!({ "iss": says.issuer, "aud": CLIENT, "nonce": nonce, "iat": now(), "exp": now() + 300 });
    for more in [&says.claims, &says.lies] {
        claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    }
    let header = json!({ "alg": "RS256", "kid": says.kid });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; theirs.key.public().modulus_len()];
    theirs.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    answer(&json!({ "id_token": format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), "token_type": "Bearer" }))
}

/// Of an instance that knows the provider.
fn options(issuer: &str, certificate: &str, creates: bool) -> Options {
    let trusted = certificate.to_owned();
    let provider = Provider::new(oidc::Options {
        issuer: issuer.to_owned(),
        client: CLIENT.to_owned(),
        secret: Some(Secret::new(SECRET.to_owned())),
        trusted: Arc::new(move || Ok(trusted.clone())),
        title: "Example University".to_owned(),
        scopes: "openid profile".to_owned(),
        name_claim: "preferred_username".to_owned(),
        groups: Some(Groups::parse("groups", "staff=here/analyst, admins=administrator").unwrap()),
        creates,
    });
    let provider = Some(Arc::new(provider.unwrap()));
    Options { issuer: "FlowAuth".to_owned(), window: 1, plain: true, provider, ..Options::default() }
}

/// The provider, and an instance that knows it.
struct World {
    rig: Rig,
    /// Without the provider, over the same database.
    local: Rig,
    theirs: Arc<Theirs>,
    certificate: String,
    task: tokio::task::JoinHandle<()>,
}

async fn world(address: &Address, creates: bool) -> World {
    let key = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
    let public = key.to_public_key();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (encode(&public.n_bytes()), encode(&public.e_bytes()));
    let key = RsaKeyPair::from_pkcs8(key.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, private) = (made.cert.pem(), made.signing_key.serialize_pem());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("https://localhost:{}/realm", listener.local_addr().unwrap().port());
    let says = Says { issuer: issuer.clone(), kid: "first", ..Says::default() };
    let theirs = Arc::new(Theirs { says: Mutex::new(says), key, n, e });
    let router = Router::new()
        .route("/realm/.well-known/openid-configuration", get(discovery))
        .route("/realm/keys", get(keys))
        .route("/realm/authorize", get(authorize))
        .route("/realm/token", post(token))
        .with_state(theirs.clone());
    let pair = web::Pair { certificate: certificate.clone().into(), key: private.into() };
    let tls = web::Tls::of(move || Ok(pair.clone())).unwrap();
    let served = web::Options { tls: Some(tls), ..web::Options::default() };
    let task = tokio::spawn(async move { drop(web::serve(listener, router, served, std::future::pending()).await) });

    let local = Rig::start(address).await;
    let options = options(&issuer, &certificate, creates);
    World { rig: local.beside(options).await, local, theirs, certificate, task }
}

impl World {
    fn say(&self, claims: Value) {
        self.theirs.says.lock().unwrap().claims = claims;
    }

    fn lie(&self, lies: Value) {
        self.theirs.says.lock().unwrap().lies = lies;
    }

    /// To the provider and back to the page where somebody comes in.
    async fn away(&self, browser: &mut Browser) -> String {
        let left = browser.get("/sign-in/provider?next=%2Faccount").await;
        assert_eq!(left.status, 303, "{}", left.text());
        let place = https::Place::parse(left.header("location").unwrap()).unwrap();
        let client = https::Client::issued(&*place.host, place.port, &self.certificate).unwrap();
        let request = Request::get(&place.path).body(Bytes::new()).unwrap();
        let sent = client.send(request, 1 << 16).await.unwrap();
        let back = sent.headers()[header::LOCATION].to_str().unwrap();
        back.strip_prefix("https://flow.api").unwrap_or_else(|| panic!("{back}")).to_owned()
    }

    async fn come(&self, browser: &mut Browser) -> Answer {
        let back = self.away(browser).await;
        browser.get(&back).await
    }
}

fn sent(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").unwrap()
}

async fn whoever_the_provider_knows_comes_in_with_their_roles(address: Address) {
    let world = world(&address, true).await;
    let mut root = world.local.signed_in("root").await;
    let (server, scopes) = world.local.server(&mut root, "here", &["run"]).await;
    let mut role = async |name: &str| {
        let role = json!({ "name": name, "server_id": server, "scopes": [scopes["run"]], "users": [], "longest_token_life_minutes": 10 });
        root.ok("POST", "/roles/", role).await["id"].as_i64().unwrap()
    };
    let (analyst, by_hand) = (role("analyst").await, role("by hand").await);
    let mut ann = world.rig.browser();
    assert!(ann.get("/sign-in").await.text().contains("Sign in with Example University"));
    assert!(!world.local.browser().get("/sign-in").await.text().contains("/sign-in/provider"));

    world.say(json!({ "sub": "7", "preferred_username": "ann", "groups": ["staff", "choir"] }));
    assert_eq!(sent(&world.come(&mut ann).await), "/account");
    assert!(!ann.cookies.contains_key("provider"), "what it carried is done with");
    assert_eq!(ann.ok("GET", "/is_signed_in", Value::Null).await["is_admin"], false);
    let about = root.ok("GET", "/admin/users/2", Value::Null).await;
    assert_eq!((&about["name"], &about["roles"]), (&json!("ann"), &json!([{ "id": analyst, "name": "analyst" }])));
    let log = root.ok("GET", "/admin/audit", Value::Null).await.to_string();
    assert!(log.contains("sign-in.provider") && log.contains("\"with\":\"provider\""), "{log}");

    // Nobody new is made who looks like her.
    world.say(json!({ "sub": "8", "preferred_username": "Ann" }));
    let other = world.come(&mut world.rig.browser()).await;
    assert!(other.status == 401 && other.text().contains("Another user here has your name"), "{}", other.text());

    // She is called otherwise there, has other groups, and a role that no group has.
    root.ok("PATCH", "/admin/users/2", json!({ "roles": [analyst, by_hand] })).await;
    world.say(json!({ "sub": "7", "preferred_username": "anna", "groups": "admins" }));
    assert_eq!(sent(&world.come(&mut world.rig.browser()).await), "/account");
    let about = root.ok("GET", "/admin/users/2", Value::Null).await;
    assert_eq!((&about["name"], &about["is_admin"]), (&json!("ann"), &json!(true)));
    assert_eq!(about["roles"], json!([{ "id": by_hand, "name": "by hand" }]));
    // Who was the last administrator stays one, whatever the provider says.
    ann.ok("PATCH", "/admin/users/1", json!({ "is_admin": false })).await;
    world.say(json!({ "sub": "7" }));
    assert_eq!(sent(&world.come(&mut ann).await), "/account");
    assert_eq!(ann.ok("GET", "/is_signed_in", Value::Null).await["is_admin"], true);
}

async fn who_is_nobody_here_stays_out(address: Address) {
    let world = world(&address, false).await;
    let mut root = world.local.signed_in("root").await;
    let refused = async |claims: Value, says: &str| {
        world.say(claims);
        let mut browser = world.rig.browser();
        let answer = world.come(&mut browser).await;
        assert!(answer.status == 401 && answer.text().contains(says), "{says}: {}", answer.text());
        assert!(!browser.cookies.contains_key("session"));
    };
    refused(json!({ "sub": "7", "preferred_username": "ann" }), "You are no user here").await;
    refused(json!({ "sub": "7", "preferred_username": "root" }), "Another user here has your name").await;
    refused(json!({ "sub": "7" }), "does not say your name").await;
    refused(json!({ "sub": "7", "preferred_username": "x".repeat(80) }), "does not say your name").await;
    world.theirs.says.lock().unwrap().error = Some("access_denied");
    refused(json!({}), "has not let you in").await;
    world.theirs.says.lock().unwrap().error = None;

    refused(json!({ "sub": "7", "preferred_username": " ann " }), "does not say your name").await;
    // Whoever is to choose a password, and whoever administers, is not there for whom the provider calls so.
    for (who, admin) in [("bob", false), ("carol", true)] {
        let body = json!({ "username": who, "invite": true, "is_admin": admin });
        let added = root.ok("POST", "/admin/users", body).await;
        if !admin {
            root.ok("POST", &format!("/admin/users/{}/invite", added["id"]), json!({})).await;
        }
        refused(json!({ "sub": "9", "preferred_username": who }), "Another user here has your name").await;
        if !admin {
            // Nor once their link has ended because they were disabled for a while.
            for off in [true, false] {
                root.ok("PATCH", &format!("/admin/users/{}", added["id"]), json!({ "is_disabled": off })).await;
            }
            refused(json!({ "sub": "9", "preferred_username": who }), "Another user here has your name").await;
        }
    }

    // An administrator has added them: by name, without a password and without a link.
    let added =
        root.ok("POST", "/admin/users", json!({ "username": "ann", "invite": true, "require_two_factor": true })).await;
    world.say(json!({ "sub": "7", "preferred_username": "ann" }));
    let mut ann = world.rig.browser();
    assert_eq!(sent(&world.come(&mut ann).await), "/account");
    assert_eq!(sent(&ann.get("/").await), "/account/two-factor", "what is required here is required of them too");
    refused(json!({ "sub": "8", "preferred_username": "ann" }), "Another user here has your name").await;
    let shown = ann.ok("POST", "/user/enable_two_factor", Value::Null).await;
    let secret = shown["secret"].as_str().unwrap().split('.').next().unwrap();
    let code = flowauth::codes::code(secret, now().unsigned_abs()).unwrap();
    let body = json!({ "two_factor_code": code, "secret": shown["secret"], "backup_codes_signature": shown["backup_codes_signature"] });
    ann.ok("POST", "/user/confirm_two_factor", body).await;
    let mut again = world.rig.browser();
    world.say(json!({ "sub": "7", "preferred_username": "ann" }));
    assert_eq!(sent(&world.come(&mut again).await), "/sign-in/code?next=%2Faccount");
    assert_eq!(again.get("/account").await.status, 303, "the provider's word alone opens nothing");
    let backup = shown["backup_codes"][0].as_str().unwrap();
    assert_eq!(
        sent(&again.form("/sign-in/code", &[("two_factor_code", backup), ("next", "/account")]).await),
        "/account"
    );

    // An administrator sees who the provider knew as them, and has it forgotten: they are out, and the next of the name is taken for them.
    let place = format!("/admin/users/{}", added["id"]);
    let (page, linked) = (format!("/manage{}", &place["/admin".len()..]), root.ok("GET", &place, Value::Null).await);
    assert!(linked["has_identity"] == true && root.get(&page).await.text().contains("<code>7</code>"));
    let form = [("username", "ann"), ("needs_factor", "yes"), ("remove_identities", "yes")];
    assert_eq!(root.form(&page, &form).await.status, 303);
    assert_eq!(root.ok("GET", &place, Value::Null).await["has_identity"], false);
    assert_eq!(sent(&ann.get("/account").await), "/sign-in?next=%2Faccount");
    world.say(json!({ "sub": "8", "preferred_username": "ann" }));
    assert_eq!(sent(&world.come(&mut world.rig.browser()).await), "/sign-in/code?next=%2Faccount");

    // Whoever is given a password is known to no provider any more.
    root.ok("PATCH", &place, json!({ "password": "purple-Monkey-dishwasher-92" })).await;
    refused(json!({ "sub": "7", "preferred_username": "ann" }), "Another user here has your name").await;
    root.ok("PATCH", &place, json!({ "is_disabled": true })).await;
    refused(json!({ "sub": "7", "preferred_username": "ann" }), "Another user here has your name").await;

    // The provider is away, and whoever has a password comes in.
    world.task.abort();
    let _ = world.task.await;
    let issuer = world.theirs.says.lock().unwrap().issuer.clone();
    let fresh = world.local.beside(options(&issuer, &world.certificate, false)).await;
    let away = fresh.browser().get("/sign-in/provider").await;
    assert!(away.status == 503 && away.text().contains("does not answer"), "{}", away.text());
    let entered = fresh.browser().form("/sign-in", &[("username", "root"), ("password", PASSWORD)]).await;
    assert_eq!(sent(&entered), "/");
}

/// It takes connections and says nothing. Whoever knocks meanwhile is told soon, and does not fill the server.
async fn a_provider_that_hangs_keeps_one_waiting(address: Address) {
    let world = world(&address, false).await;
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("https://localhost:{}/realm", mute.local_addr().unwrap().port());
    let rig = world.local.beside(options(&issuer, &world.certificate, false)).await;
    let mut first = rig.browser();
    let first = tokio::spawn(async move { first.get("/sign-in/provider").await.status });
    let _held = mute.accept().unwrap();
    let asked = std::time::Instant::now();
    let second = rig.browser().get("/sign-in/provider").await;
    assert_eq!(second.status, 503);
    assert!(!first.is_finished(), "the first still waits, after {:?}", asked.elapsed());
    first.abort();
}

async fn nothing_forged_comes_in(address: Address) {
    let world = world(&address, true).await;
    world.say(json!({ "sub": "7", "preferred_username": "ann" }));
    let over = |answer: &Answer| answer.status == 401 && answer.text().contains("begun elsewhere");
    // Somebody else's way back, one's own twice, and one with another state.
    let (mut ann, mut thief) = (world.rig.browser(), world.rig.browser());
    let back = world.away(&mut ann).await;
    assert!(over(&thief.get(&back).await), "a browser that has begun nothing");
    world.away(&mut thief).await;
    assert!(over(&thief.get(&back).await), "another's");
    let carried = ann.cookies["provider"].clone();
    assert_eq!(sent(&ann.get(&back).await), "/account");
    assert!(over(&ann.get(&back).await), "it was used");
    ann.cookies.insert("provider".to_owned(), carried);
    let again = ann.get(&back).await;
    assert!(
        again.status == 401 && again.text().contains("has not let you in"),
        "a code is good once: {}",
        again.text()
    );
    let back = world.away(&mut thief).await;
    let mixed = format!("{}&iss=https%3A%2F%2Fevil.example", back.split("&iss=").next().unwrap());
    assert!(over(&thief.get(&mixed).await), "another provider's answer");

    let lied = async |lies: Value| {
        world.lie(lies.clone());
        let answer = world.come(&mut world.rig.browser()).await;
        assert!(answer.status == 401 && answer.text().contains("has not let you in"), "{lies}: {}", answer.text());
    };
    lied(json!({ "nonce": "another" })).await;
    lied(json!({ "aud": "another" })).await;
    lied(json!({ "iss": "https://evil.example" })).await;
    lied(json!({ "exp": now() - 3600 })).await;
    lied(json!({ "sub": "" })).await;
    world.lie(Value::Null);
    // A new key is asked for, but not each time that somebody names one.
    world.theirs.says.lock().unwrap().kid = "second";
    assert_eq!(sent(&world.come(&mut thief).await), "/account");
    world.theirs.says.lock().unwrap().kid = "third";
    lied(Value::Null).await;
}

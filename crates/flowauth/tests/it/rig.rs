//! A server over a test's database, and browsers that keep their cookies.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use access::{Minter, Verifier};
use bytes::Bytes;
use flowauth::store::{Address, Store};
use flowauth::vault::Vault;
use flowauth::{App, Keys, Options};
use flowkit_core::secrets::Secret;
use http::Request;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};
use web::test::{Answer, Client};

pub const PASSWORD: &str = "purple-Monkey-dishwasher-91";

/// A server.
pub struct Rig {
    pub app: Arc<App>,
    pub store: Store,
    pub address: SocketAddr,
    sealing: Secret,
}

fn signing() -> &'static (String, String) {
    static KEY: OnceLock<(String, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
        let private = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        (private, key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap())
    })
}

/// A key to seal with.
pub fn fernet() -> Secret {
    Secret::new(fernet::Fernet::generate_key())
}

/// Keys of a server that seals with this one.
pub fn keys(newest: &Secret, before: &[Secret]) -> Keys {
    let (private, public) = signing();
    Keys {
        minter: Minter::parse(private).unwrap(),
        public_pem: public.clone(),
        vault: Vault::new(newest, before).unwrap(),
        secret: Secret::new("a secret key".to_owned()),
    }
}

/// Whoever checks tokens for a server.
pub fn verifier(audience: &str) -> Verifier {
    Verifier::new(access::Keys::parse(&signing().1).unwrap(), audience)
}

impl Rig {
    /// With the administrator `root`.
    pub async fn start(address: &Address) -> Rig {
        let options = Options { issuer: "FlowAuth".to_owned(), window: 1, plain: true, ..Options::default() };
        let rig = Rig::over(crate::open(address).await, options, fernet()).await;
        assert!(rig.app.first_admin("root", &Secret::new(PASSWORD.to_owned()), false).await.unwrap());
        rig
    }

    /// Another instance over the same database.
    pub async fn beside(&self, options: Options) -> Rig {
        Rig::over(self.store.clone(), options, self.sealing.clone()).await
    }

    /// Another instance behind the same database, as if it were on another machine.
    pub async fn another(&self, address: &Address) -> Rig {
        let options = Options { issuer: "FlowAuth".to_owned(), window: 1, plain: true, ..Options::default() };
        Rig::over(crate::open(address).await, options, self.sealing.clone()).await
    }

    async fn over(store: Store, options: Options, sealing: Secret) -> Rig {
        let app = App::new(options, store.clone(), keys(&sealing, &[])).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let router = flowauth::table(app.clone()).router();
        tokio::spawn(web::serve(listener, router, flowauth::start::options(), std::future::pending()));
        Rig { app, store, address, sealing }
    }

    /// The key that it seals with.
    pub fn sealing(&self) -> &Secret {
        &self.sealing
    }

    /// Somebody who has not signed in.
    pub fn browser(&self) -> Browser {
        browser(self.address)
    }

    /// Somebody who has.
    pub async fn signed_in(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let answer = browser.post("/signin", json!({ "username": name, "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        browser
    }

    /// A new user, made by an administrator.
    pub async fn user(&self, root: &mut Browser, name: &str, more: Value) -> i64 {
        let mut body = json!({ "username": name, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        root.ok("POST", "/admin/users", body).await["id"].as_i64().unwrap()
    }

    /// A new server with scopes, and the numbers of those by name.
    pub async fn server(&self, root: &mut Browser, name: &str, scopes: &[&str]) -> (i64, BTreeMap<String, i64>) {
        let body =
            json!({ "name": name, "longest_token_life_minutes": 60, "latest_token_expiry": null, "scopes": scopes });
        let id = root.ok("POST", "/admin/servers", body).await["id"].as_i64().unwrap();
        let listed = root.ok("GET", &format!("/admin/servers/{id}/scopes"), Value::Null).await;
        let scopes = listed.as_array().unwrap().iter();
        (id, scopes.map(|scope| (scope["name"].as_str().unwrap().to_owned(), scope["id"].as_i64().unwrap())).collect())
    }
}

/// A browser.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    pub cookies: BTreeMap<String, String>,
    /// A program's key.
    pub key: Option<String>,
    /// Whether it sends back what it was given against forged requests.
    pub careful: bool,
    /// What it says besides.
    pub headers: Vec<(&'static str, &'static str)>,
}

/// One of the server at an address.
pub fn browser(address: SocketAddr) -> Browser {
    let client = Client::to(address).allow(&["set-cookie", "retry-after", "allow", "location", "content-disposition"]);
    Browser { client, cookies: BTreeMap::new(), key: None, careful: true, headers: Vec::new() }
}

impl Browser {
    /// Over TLS, of a server that shows this certificate.
    pub fn tls(mut self, certificate: &str) -> Browser {
        self.client = self.client.tls(certificate);
        self
    }

    /// The same browser, led to another instance.
    pub fn turn_to(&mut self, rig: &Rig) {
        self.client = browser(rig.address).client;
    }

    pub async fn send(&mut self, method: &str, path: &str, body: Value) -> Answer {
        self.try_send(method, path, body).await.unwrap_or_else(|| panic!("no answer: {method} {path}"))
    }

    /// The same where no answer is an answer too.
    pub async fn try_send(&mut self, method: &str, path: &str, body: Value) -> Option<Answer> {
        let (kind, body) = match body {
            Value::Null => (None, Bytes::new()),
            body => (Some("application/json"), body.to_string().into()),
        };
        self.try_send_as(method, path, kind, body).await
    }

    async fn try_send_as(&mut self, method: &str, path: &str, kind: Option<&str>, body: Bytes) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", pairs.join("; "));
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let is_form = kind.is_some_and(|kind| kind.contains("form"));
        if let Some(token) = self.cookies.get("X-CSRF").filter(|_| self.careful && !is_form) {
            request = request.header("x-csrf-token", token);
        }
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = self.client.try_send(request.body(body).unwrap()).await.ok()?;
        for cookie in answer.headers.get_all("set-cookie") {
            self.keep(cookie.to_str().unwrap());
        }
        Some(answer)
    }

    fn keep(&mut self, text: &str) {
        assert!(text.contains("; Secure") && text.contains("; SameSite=Lax"), "{text}");
        let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
        assert_eq!(matches!(name, "session" | "provider" | "browser"), text.contains("; HttpOnly"), "{text}");
        match text.contains("Max-Age=0") {
            true => drop(self.cookies.remove(name)),
            false => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
        }
    }

    /// Sends a form, as a page without script does.
    pub async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut text = form_urlencoded::Serializer::new(String::new());
        if let Some(token) = self.cookies.get("X-CSRF").filter(|_| self.careful) {
            text.append_pair("csrf", token);
        }
        let body = text.extend_pairs(fields).finish();
        let kind = Some("application/x-www-form-urlencoded");
        self.try_send_as("POST", path, kind, body.into()).await.unwrap_or_else(|| panic!("no answer: {path}"))
    }

    /// Sends a form with a file.
    pub async fn upload(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.cookies.get("X-CSRF").cloned().unwrap_or_default();
        let all = [("csrf", token.as_str())].into_iter().chain(fields.iter().copied());
        let part = |(name, value)| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        let body = all.map(part).collect::<String>() + "--B--\r\n";
        let kind = Some("multipart/form-data; boundary=B");
        self.try_send_as("POST", path, kind, body.into()).await.unwrap_or_else(|| panic!("no answer: {path}"))
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body).await
    }

    /// The answer of a request that must go well.
    pub async fn ok(&mut self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer.json()
    }

    /// Status and message of a request that must not.
    pub async fn refused(&mut self, method: &str, path: &str, body: Value) -> (u16, String) {
        let answer = self.send(method, path, body).await;
        let json = answer.json();
        assert_eq!(json["code"], answer.status.as_u16(), "{json}");
        (answer.status.as_u16(), json["message"].as_str().unwrap().to_owned())
    }
}

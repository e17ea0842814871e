//! FlowAuth, asked with a key, or for the first key as its administrator.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use https::Place as Url;
use serde_json::Value;

use super::{Failure, Place};
use crate::roles::{Deployment, flowauth};
use flowkit_core::config::Problem;
use flowkit_core::secrets::Secret;

/// Longest wait for an answer: FlowAuth may have to ask its FlowAPI, which asks FlowMachine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer, and of a file that is read, at most.
const MOST: u64 = 16 << 20;

/// What this machine trusts, where it is usually kept.
const TRUSTED: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-bundle.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Why FlowAuth did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("FlowAuth at {at} does not answer")]
    Silent {
        /// Where.
        at: String,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("FlowAuth refuses {method} {path} ({status}): {}", say::Shown(said))]
    Refused {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// Its status.
        status: u16,
        /// Its words.
        said: String,
    },
    /// It says something else than expected.
    #[error("FlowAuth at {at} answers {path} in another form than expected: is it one?")]
    Strange {
        /// Where.
        at: String,
        /// What was asked.
        path: String,
    },
    /// There is no such thing there.
    #[error("FlowAuth has no {kind} {name:?}; `flowkit auth {kind} list` shows them")]
    Unknown {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// One FlowAuth.
pub struct Client {
    https: https::Client,
    at: String,
    key: Option<Secret>,
    cookies: BTreeMap<String, String>,
}

impl Client {
    /// The FlowAuth that was named, with the key that was named.
    pub fn new(place: &Place) -> Result<Client, Failure> {
        let path = place.key_file.as_deref().ok_or_else(|| {
            let hint = "give --key-file FILE; `flowkit auth key first` makes a first one where FlowAuth runs";
            Failure::mistake(Problem::new("no key is named", hint))
        })?;
        Ok(Client { key: Some(key(path)?), ..Client::reach(place)? })
    }

    /// The same without a key.
    fn reach(place: &Place) -> Result<Client, Failure> {
        let (https, at) = match &place.url {
            Some(url) => elsewhere(url, place.certificate.as_deref())?,
            None => here(&Deployment::open_running(place.dir.as_deref()).map_err(Failure::mistake)?)?,
        };
        Ok(Client { https, at, key: None, cookies: BTreeMap::new() })
    }

    /// The FlowAuth of the deployment, as its first administrator, whose password is among the secrets.
    pub async fn administrator(place: &Place) -> Result<Client, Failure> {
        if place.url.is_some() {
            let hint = "leave out --url: the password is told to the FlowAuth of the same deployment, and to no other";
            return Err(Failure::mistake(Problem::new("a first key is made where FlowAuth runs", hint)));
        }
        let deployment = Deployment::open(place.dir.as_deref()).map_err(Failure::mistake)?;
        let secret = |name: &str| {
            let found = deployment.site.store.get(name);
            found.map_err(|error| Failure::mistake(error.problem()))
        };
        let (name, password) = (secret("FLOWAUTH_ADMIN_USER")?, secret("FLOWAUTH_ADMIN_PASSWORD")?);
        let mut client = Client::reach(place)?;
        let body = serde_json::json!({ "username": name.expose(), "password": password.expose() });
        let about = client.post("/signin", &body).await?;
        if about["require_two_factor_setup"] == true {
            let said = "its administrator has to set up a second factor first".to_owned();
            return Err(Error::Refused { method: Method::POST, path: "/signin".to_owned(), status: 403, said }.into());
        }
        Ok(client)
    }

    /// What is at a path.
    pub async fn get(&mut self, path: &str) -> Result<Value, Error> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(Method::POST, path, body.to_string().into()).await
    }

    /// Has something changed.
    pub async fn patch(&mut self, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(Method::PATCH, path, body.to_string().into()).await
    }

    /// Has something removed.
    pub async fn delete(&mut self, path: &str) -> Result<Value, Error> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    /// Asks.
    pub async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Value, Error> {
        let silent = |source| Error::Silent { at: self.at.clone(), source };
        let mut request = Request::builder().method(&method).uri(path).header(header::USER_AGENT, "flowkit");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
            request = request.header("x-csrf-token", self.cookies.get("X-CSRF").map_or("", String::as_str));
        }
        let request = request.body(body).map_err(|error| silent(io::Error::other(error)))?;
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let answer = tokio::time::timeout(PATIENCE, self.https.send(request, most)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(silent)?;
        for text in answer.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let pair = text.split(';').next().and_then(|pair| pair.split_once('='));
            self.cookies.extend(pair.filter(|_| self.key.is_none()).map(|(name, value)| (name.into(), value.into())));
        }
        let (status, said) = (answer.status(), serde_json::from_slice::<Value>(answer.body()));
        match (status, said) {
            (StatusCode::OK, Ok(said)) => Ok(said),
            (StatusCode::OK, Err(_)) => Err(Error::Strange { at: self.at.clone(), path: path.to_owned() }),
            (status, said) => {
                let said = said.unwrap_or_default()["message"].as_str().unwrap_or_default().to_owned();
                Err(Error::Refused { method, path: path.to_owned(), status: status.as_u16(), said })
            }
        }
    }

    /// The one of a list with this name.
    pub async fn named(&mut self, kind: &'static str, path: &str, name: &str) -> Result<i64, Error> {
        let all = self.get(path).await?;
        let found = all.as_array().into_iter().flatten().find(|one| one["name"] == name);
        found.and_then(|one| one["id"].as_i64()).ok_or_else(|| Error::Unknown { kind, name: name.to_owned() })
    }

    /// Its number, where an answer has it.
    pub fn number(&self, path: &str, answer: &Value, field: &str) -> Result<i64, Error> {
        answer[field].as_i64().ok_or_else(|| Error::Strange { at: self.at.clone(), path: path.to_owned() })
    }

    /// Its text, where an answer has it.
    pub fn text<'a>(&self, path: &str, answer: &'a Value, field: &str) -> Result<&'a str, Error> {
        answer[field].as_str().ok_or_else(|| Error::Strange { at: self.at.clone(), path: path.to_owned() })
    }

    /// Where it is.
    pub fn at(&self) -> &str {
        &self.at
    }
}

/// The deployment's own, which is known by its certificate.
fn here(deployment: &Deployment) -> Result<(https::Client, String), Failure> {
    let address = flowauth::reached(deployment).map_err(Failure::mistake)?;
    let (host, port) = (address.ip().to_string(), address.port());
    if deployment.site.settings.flag("FLOWKIT_FLOWAUTH_PLAIN_HTTP") {
        return Ok((https::Client::plain(host, port), format!("http://{address}")));
    }
    let pem = deployment.site.store.get("cert-flowauth.pem").map_err(|error| Failure::mistake(error.problem()))?;
    let client = https::Client::pinned(host, port, pem.expose()).map_err(|why| {
        let what = format!("cert-flowauth.pem can't be used: {why}");
        Failure::mistake(Problem::new(what, "run `flowkit secrets check`"))
    })?;
    Ok((client, format!("https://{address}")))
}

fn elsewhere(url: &str, certificate: Option<&Path>) -> Result<(https::Client, String), Failure> {
    let wrong = |why: String, hint| Failure::mistake(Problem::new(why, hint).value(url).origin("--url"));
    let Url { host, port, path } = Url::parse(url)
        .map_err(|why| wrong(format!("this is no address of FlowAuth: {why}"), "give it as https://HOST"))?;
    if path != "/" {
        return Err(wrong("FlowAuth's address has no path".to_owned(), "give it as https://HOST[:PORT]"));
    }
    let trusted = match certificate {
        Some(path) => read(path)?,
        None => {
            let path = TRUSTED.iter().map(Path::new).find(|path| path.exists());
            let hint = "give its certificate, or its issuer's: --certificate FILE";
            read(path.ok_or_else(|| wrong("this machine trusts no issuer of certificates".to_owned(), hint))?)?
        }
    };
    let client = https::Client::issued(&*host, port, trusted.expose());
    let hint = "give a PEM of certificates: --certificate FILE";
    let client = client.map_err(|why| wrong(format!("its certificate can't be checked: {why}"), hint))?;
    Ok((client, format!("https://{host}:{port}")))
}

/// The key in a file, which nobody else may read.
fn key(path: &Path) -> Result<Secret, Failure> {
    let mode = fs::metadata(path).map(|of| of.permissions().mode()).unwrap_or_default();
    let wrong = |what: &str, hint| Failure::mistake(Problem::new(what, hint).value(path.display().to_string()));
    if mode & 0o004 != 0 {
        return Err(wrong(
            "everybody may read the file of the key",
            "run `chmod o-r` on it, and make a new key if others have been here",
        ));
    }
    let text = read(path)?;
    let key = text.expose().trim();
    match key.starts_with("flowauth_") && key.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(Secret::new(key.to_owned())),
        false => Err(wrong("the file holds no key of FlowAuth's", "a key is one line that begins with flowauth_")),
    }
}

/// A text file of a sensible size.
pub fn read(path: &Path) -> Result<Secret, Failure> {
    let mut text = String::new();
    let file = fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    let wrong = |what: String| Failure::mistake(Problem::new(what, "name another").value(path.display().to_string()));
    file.map_err(|error| wrong(format!("a file can't be read: {error}")))?;
    if text.len() as u64 > MOST {
        return Err(wrong(format!("a file has more than {MOST} bytes")));
    }
    Ok(Secret::new(text))
}

/// Prints a secret, or puts it into a file that nobody else may read, in the place of one that was there.
pub fn hand_over(what: &str, text: &str, out: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = out else {
        say::product(format!("{text}\n").as_bytes());
        return Ok(());
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // Of an earlier one that did not come to its end.
    let _ = fs::remove_file(&new);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let put = file.and_then(|mut file| {
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    put.map_err(|error| {
        let hint = "it is made all the same: remove it, and try again with another file";
        let problem = Problem::new(format!("the {what} can't be written: {error}"), hint);
        Failure::mistake(problem.value(path.display().to_string()))
    })
}

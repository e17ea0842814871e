//! What a FlowAPI says of itself, fetched when an administrator is about to add a server: the one of the same deployment, if there is one,
//! or one at an address that they give.
//!
//! Whoever can have addresses asked learns what is there. So only administrators can, each time it is in the log, at one path, by https of a
//! server whose certificate is good; a redirect is no answer; what comes has to be JSON, is bounded in size and time, and is shown to nobody
//! unless it is a FlowAPI's document. Private addresses are where a FlowAPI usually is, so that they are not refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use https::Place;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use web::Error;
use web::axum::body::Bytes;

use crate::acts::wrong_as;
use crate::app::App;
use crate::specification::Specification;
use crate::store::audit::Actor;

/// Where every FlowAPI has its OpenAPI document.
const DOCUMENT: &str = "/api/0/spec/openapi.json";

/// The most that it may have, in bytes: one with every kind of query has half of one million.
const MOST: usize = 16 << 20;

/// Longest address.
const LONGEST: usize = 300;

const JSON: &str = "application/json";

/// Nobody scans a network by this.
static ONE: Semaphore = Semaphore::const_new(1);

/// Longest wait for it: FlowAPI asks FlowMachine for its kinds of queries when nobody has before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives certificates as PEM, those of now.
type Trusted = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Certificates as PEM, those of now.
#[derive(Clone)]
pub struct Pem(Trusted);

impl Pem {
    /// What gives them.
    pub fn new(read: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Pem {
        Pem(Arc::new(read))
    }

    /// They themselves.
    pub(crate) fn read(&self) -> Result<String, String> {
        (self.0)()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem")
    }
}

/// Where it is, and how it is known.
#[derive(Clone)]
pub struct Local {
    place: Place,
    trusted: Trusted,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Local {
    /// The FlowAPI at `https://HOST:PORT`, which shows one of these certificates or one that they have issued.
    ///
    /// # Errors
    /// In words: that is no address of one.
    pub fn new(
        url: &str,
        trusted: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Result<Local, String> {
        let place = Place::parse(url)?;
        if place.path != "/" {
            return Err("it has a path: the document's is known".to_owned());
        }
        Ok(Local { place: Place { path: DOCUMENT.to_owned(), ..place }, trusted: Arc::new(trusted) })
    }

    async fn fetch(&self) -> Result<(String, Specification), String> {
        let trusted = self.trusted()?;
        let text = tokio::time::timeout(PATIENCE, document(&self.place, &trusted)).await;
        let text = text.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        let specification = Specification::read(text.as_bytes())?;
        Ok((text, specification))
    }

    /// By what it is known.
    pub(crate) fn trusted(&self) -> Result<String, String> {
        (self.trusted)()
    }

    /// What it answers of something else, as JSON.
    pub(crate) async fn ask(&self, path: &str, token: Option<&str>) -> Result<(StatusCode, Value), String> {
        let trusted = self.trusted()?;
        let answer = tokio::time::timeout(PATIENCE, get(&self.place, path, &trusted, token)).await;
        let answer = answer.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        let body = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
        Ok((answer.status(), body))
    }
}

async fn get(place: &Place, path: &str, trusted: &str, token: Option<&str>) -> Result<Response<Bytes>, String> {
    let mut request = Request::get(path).header(header::ACCEPT, JSON).header(header::USER_AGENT, "flowauth");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
    let client = https::Client::issued(&*place.host, place.port, trusted)?;
    client.send(request, MOST).await.map_err(|error| error.to_string())
}

async fn document(place: &Place, trusted: &str) -> Result<String, String> {
    let answer = get(place, &place.path, trusted, None).await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if answer.status() != StatusCode::OK || kind.split(';').next() != Some(JSON) {
        return Err(format!("it answers {} of the kind {kind:?}", answer.status()));
    }
    String::from_utf8(answer.into_body().to_vec()).map_err(|error| error.to_string())
}

/// What is to be trusted: what a setting names, or what this machine trusts.
pub(crate) fn trusted(path: Option<&str>) -> Result<String, String> {
    match path {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}")),
        None => of_this_machine(),
    }
}

/// What this machine trusts, where it is usually kept.
fn of_this_machine() -> Result<String, String> {
    let places =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-bundle.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    let found = places.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.ok_or_else(|| "this machine trusts no issuer of certificates".to_owned())
}

impl App {
    /// The OpenAPI document of the FlowAPI beside us, as it is and as it is read; `None` where we know of none.
    ///
    /// # Errors
    /// 503: it is away, or something else is in its place. The log says which.
    pub(crate) async fn local_server(&self) -> Result<Option<(String, Specification)>, Error> {
        let Some(local) = &self.options.local else { return Ok(None) };
        let away = |why: String| {
            let text = "FlowAPI does not answer at the moment. Try again, or upload its openapi.json.";
            Error::new(StatusCode::SERVICE_UNAVAILABLE, text).because(why)
        };
        local.fetch().await.map(Some).map_err(away)
    }

    /// The OpenAPI document of the FlowAPI at an address, which shows this certificate, or one that it has issued; without, one that
    /// this machine trusts.
    ///
    /// # Errors
    /// 400: that is no address, or no FlowAPI answers there; why not, is for the log alone. 503: another is being asked.
    pub(crate) async fn server_at(
        &self,
        actor: &Actor,
        url: &str,
        certificate: Option<&str>,
    ) -> Result<(String, Specification), Error> {
        let _one = ONE.try_acquire().map_err(|_| Error::of(StatusCode::SERVICE_UNAVAILABLE))?;
        let trusted = certificate.map_or_else(of_this_machine, |pem| Ok(pem.to_owned()));
        let server = Local::new(url, move || trusted.clone()).ok().filter(|_| url.len() <= LONGEST);
        let text = "Give FlowAPI's address as https://HOST:PORT.";
        let server = server.ok_or_else(|| wrong_as("server-address", "url", text))?;
        let change = self.change(actor).await?;
        change.commit(&actor.does("server.fetch", url, json!({}))).await?;
        server.fetch().await.map_err(|why| {
            let text = "No FlowAPI with a certificate that is good answers there. The program's log says why.";
            wrong_as("server-away", "url", text).because(why)
        })
    }
}

//! Sign-in by OpenID Connect, for organisations that have a provider: the code flow with PKCE (RFC 7636), over HTTPS alone.
//!
//! ```text
//! mod      what is known of the provider; the way there, and what is brought back from it
//! token    the ID token: signature and claims
//! groups   which of the provider's groups have which roles here
//! given    settings and secrets
//! ```
//! The crate `openidconnect` brings 45 others, with features that change most of what is compiled here already and an RSA that is known to
//! leak its keys by time. What is needed of it is two requests, and a signature that `ring` verifies.

pub mod given;
pub mod groups;
pub mod token;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flowkit_core::secrets::Secret;
use http::{Request, StatusCode, header};
use https::{Client, Place};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;

use crate::store::now;
use groups::Groups;
use token::{Expected, Fault, Keys};

/// The most that a provider may answer, in bytes.
const MOST: usize = 1 << 20;

/// Longest wait for an answer of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long somebody waits while another asks it.
const MOMENT: Duration = Duration::from_secs(2);
/// How long one that was away is not asked again.
const AWAY: Duration = Duration::from_secs(10);

/// What it says of itself is believed for so long.
const KNOWN: Duration = Duration::from_secs(3600);

/// Keys are fetched again no sooner than this, whatever key somebody says has signed.
const AGAIN: Duration = Duration::from_secs(30);

/// How long somebody may take to sign in there, in seconds.
const ATTEMPT: i64 = 10 * 60;

/// Gives certificates as PEM, those of now.
type Trusted = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What the operator says of the provider.
#[derive(Clone)]
pub struct Options {
    /// Its issuer: `https://…`, exactly as its tokens say it.
    pub issuer: String,
    /// Who we are there.
    pub client: String,
    /// By what it knows us; `None` for a public client.
    pub secret: Option<Secret>,
    /// Whose certificates are trusted.
    pub trusted: Trusted,
    /// What people know it by.
    pub title: String,
    /// What is asked for, with blanks between.
    pub scopes: String,
    /// Which claim is a new user's name.
    pub name_claim: String,
    /// Which groups have which roles.
    pub groups: Option<Groups>,
    /// Whether whoever comes from there for the first time is made a user.
    pub creates: bool,
}

/// The provider.
pub struct Provider {
    /// What is said of it.
    pub options: Options,
    known: Mutex<Option<Known>>,
    /// When it last was away, and how.
    away: std::sync::Mutex<Option<(Instant, String)>>,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    /// When its keys were fetched again for one that was not among them.
    again: Option<Instant>,
    document: Document,
    keys: Keys,
}

/// What a provider says of itself.
#[derive(Clone, Debug, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// What a browser carries while its user is away to sign in there. It is sealed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attempt {
    state: String,
    nonce: String,
    verifier: String,
    issuer: String,
    /// By which address they have come, and come back.
    returns: String,
    at: i64,
    /// Where they wanted to go.
    pub next: String,
}

/// Why somebody does not come in by it. For the log.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is away, or answers nonsense.
    #[error("the OpenID Connect provider can't be used: {0}")]
    Away(String),
    /// It has not let them in, or they have called it off.
    #[error("the OpenID Connect provider refuses: {0}")]
    Refused(String),
    /// It is not what this browser has begun, or that was too long ago.
    #[error("this sign-in was not begun by this browser, or too long ago")]
    Forged,
    /// What it says of them can't be believed.
    #[error(transparent)]
    Token(#[from] Fault),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.options.issuer).finish()
    }
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

impl Provider {
    /// A provider; it is asked when somebody comes by it.
    ///
    /// # Errors
    /// In words: that is no issuer.
    pub fn new(options: Options) -> Result<Provider, String> {
        let place = Place::parse(&options.issuer)?;
        if place.path.contains('?') {
            return Err("an issuer has no question mark".to_owned());
        }
        Ok(Provider { options, known: Mutex::default(), away: std::sync::Mutex::default() })
    }

    /// The way there: an address to send the browser to, and what it carries meanwhile.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn leave(&self, returns: String, next: &str) -> Result<(String, Attempt), Failure> {
        let document = self.known().await?.document;
        let (state, nonce, verifier) = (random(), random(), random());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.options.client),
            ("redirect_uri", &returns),
            ("scope", &self.options.scopes),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let mark = if document.authorization_endpoint.contains('?') { '&' } else { '?' };
        let attempt =
            Attempt { state, nonce, verifier, issuer: document.issuer, returns, at: now(), next: next.to_owned() };
        Ok((format!("{}{mark}{query}", document.authorization_endpoint), attempt))
    }

    /// What the provider says of whoever comes back with this query.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn arrive(&self, attempt: &Attempt, query: &str) -> Result<Map<String, Value>, Failure> {
        let given =
            |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, text)| text);
        let is_own: bool = given("state").unwrap_or_default().as_bytes().ct_eq(attempt.state.as_bytes()).into();
        let in_time = (0..=ATTEMPT).contains(&(now() - attempt.at));
        // A code of another provider is not given to this one (RFC 9207).
        let of_ours =
            given("iss").is_none_or(|issuer| issuer == attempt.issuer) && attempt.issuer == self.options.issuer;
        if !is_own || !in_time || !of_ours {
            return Err(Failure::Forged);
        }
        if let Some(error) = given("error") {
            return Err(Failure::Refused(error.chars().filter(|c| !c.is_control()).take(100).collect()));
        }
        let code = given("code").ok_or_else(|| Failure::Refused("no code".to_owned()))?;
        let token = self.redeem(attempt, &code).await?;
        let Known { keys, .. } = self.known().await?;
        let expected =
            Expected { issuer: &self.options.issuer, client: &self.options.client, nonce: &attempt.nonce, now: now() };
        match token::claims(&token, &keys, expected) {
            // It may have a new key since.
            Err(Fault::UnknownKey) => Ok(token::claims(&token, &self.keys_again().await?, expected)?),
            claims => Ok(claims?),
        }
    }

    /// The ID token for a code.
    async fn redeem(&self, attempt: &Attempt, code: &str) -> Result<String, Failure> {
        let Options { client, secret, .. } = &self.options;
        let document = self.known().await?.document;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &attempt.returns),
            ("client_id", client),
            ("code_verifier", &attempt.verifier),
        ];
        let methods = &document.token_endpoint_auth_methods_supported;
        let by_header = methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic");
        let mut request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match secret {
            Some(secret) if by_header => {
                // Both are written as in a form first (RFC 6749, 2.3.1).
                let quoted = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", quoted(client), quoted(secret.expose()));
                request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
            }
            Some(secret) => fields.push(("client_secret", secret.expose())),
            None => {}
        }
        let request = request.body(form(&fields).into()).map_err(|error| Failure::Away(error.to_string()))?;
        let (status, answer) = self.ask(&document.token_endpoint, request).await?;
        match (status, answer["id_token"].as_str()) {
            (StatusCode::OK, Some(token)) => Ok(token.to_owned()),
            (StatusCode::OK, None) => {
                Err(Failure::Away("it gives no ID token: is openid among the scopes?".to_owned()))
            }
            (status, _) => {
                let error = answer["error"].as_str().unwrap_or_default();
                Err(Failure::Refused(format!(
                    "{status} {}",
                    error.chars().filter(|c| !c.is_control()).take(100).collect::<String>()
                )))
            }
        }
    }

    /// What is known of the provider, asked for again now and then. One asks; whoever else wants to know waits a moment and no longer, and
    /// nobody asks again at once one that was away: else those who knock here would fill the server with those who wait.
    async fn known(&self) -> Result<Known, Failure> {
        let mut known = self.held().await?;
        if let Some(known) = known.as_ref()
            && known.at.elapsed() < KNOWN
        {
            return Ok(known.clone());
        }
        let away = self.away.lock().expect("nobody panics with it").clone();
        if let Some((at, why)) = away
            && at.elapsed() < AWAY
        {
            return Err(Failure::Away(why));
        }
        let asked = self.learn().await;
        if let Err(Failure::Away(why)) = &asked {
            *self.away.lock().expect("nobody panics with it") = Some((Instant::now(), why.clone()));
        }
        Ok(known.insert(asked?).clone())
    }

    /// What is known, for one at a time.
    async fn held(&self) -> Result<tokio::sync::MutexGuard<'_, Option<Known>>, Failure> {
        let held = tokio::time::timeout(MOMENT, self.known.lock()).await;
        held.map_err(|_| Failure::Away("it is being asked, and has not answered yet".to_owned()))
    }

    async fn learn(&self) -> Result<Known, Failure> {
        let place = format!("{}/.well-known/openid-configuration", self.options.issuer.trim_end_matches('/'));
        let document: Document = self.get(&place).await?;
        if document.issuer != self.options.issuer {
            let why = format!("it calls itself {:?}, and is configured as {:?}", document.issuer, self.options.issuer);
            return Err(Failure::Away(why));
        }
        let keys = self.get(&document.jwks_uri).await?;
        Ok(Known { at: Instant::now(), again: None, document, keys })
    }

    async fn keys_again(&self) -> Result<Keys, Failure> {
        let mut known = self.held().await?;
        let Some(old) = known.as_mut() else { return Err(Fault::UnknownKey.into()) };
        if old.again.is_some_and(|again| again.elapsed() < AGAIN) {
            return Ok(old.keys.clone());
        }
        old.again = Some(Instant::now());
        old.keys = self.get(&old.document.jwks_uri).await?;
        Ok(old.keys.clone())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, Failure> {
        let request = Request::get("/").header(header::ACCEPT, "application/json").body(bytes::Bytes::new());
        let (status, answer) = self.ask(url, request.map_err(|error| Failure::Away(error.to_string()))?).await?;
        if status != StatusCode::OK {
            return Err(Failure::Away(format!("{url} answers {status}")));
        }
        serde_json::from_value(answer).map_err(|error| Failure::Away(format!("{url}: {error}")))
    }

    /// Asks, over HTTPS and nothing else.
    async fn ask(&self, url: &str, mut request: Request<bytes::Bytes>) -> Result<(StatusCode, Value), Failure> {
        let away = |why: String| Failure::Away(format!("{url}: {why}"));
        let place = Place::parse(url).map_err(away)?;
        let trusted = (self.options.trusted)().map_err(away)?;
        let client = Client::issued(&*place.host, place.port, &trusted).map_err(away)?;
        *request.uri_mut() = place.path.parse().map_err(|error: http::uri::InvalidUri| away(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, client.send(request, MOST)).await;
        let answer = answer.map_err(|_| away(format!("no answer within {} s", PATIENCE.as_secs())))?;
        let answer = answer.map_err(|error| away(error.to_string()))?;
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        Ok((answer.status(), body))
    }
}

//! The token that is shown to FlowAPI: the operator's, or one that FlowAuth has given for the key of a machine of its own, which is renewed
//! before it ends.
//!
//! ```text
//! token          mode 0600: which token of the operator's it stands for (a digest, or -), and the token
//! renewal.json   what was wrong the last time, which token FlowAPI did not take, and when it is tried again
//! ```
//! Both are in AutoFlow's own directory, and each is written whole. Another token of the operator's counts more than what is kept.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::Inspection;
use bytes::Bytes;
use flowkit_core::config::{Problem, Settings};
use flowkit_core::secrets::{Secret, Store as Secrets};
use http::{Method, Request, StatusCode, header};
use https::{Client, Place};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::engine::{Standing, now};
use crate::execute::stopped;
use crate::flowapi::{ends_soon, in_full, of_this_machine};
use crate::start::Given;
use crate::table::moment;

/// The names of what it is told.
const TOKEN: &str = "FLOWAPI_TOKEN";
const KEY: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY";
const URL: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_URL";
const CERTIFICATE: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_CERTIFICATE";

/// What its tokens are called in FlowAuth's lists.
const NAME: &str = "autoflow";

/// Between two looks at whether a new one is due.
const EVERY: Duration = Duration::from_secs(2);

/// Longest wait for FlowAuth, for all that it is asked at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Seconds after which it is asked again, as it may be starting too; doubled each time, up to six hours.
const AGAIN: i64 = 5;
const AGAIN_AT_MOST: i64 = 6 * 3600;

/// The most that an answer may have, in bytes: a list of tokens.
const MOST: usize = 8 << 20;

/// Of a token that does not say when it was made: as if it lived for six weeks.
const LIFE: i64 = 42 * 86_400;

/// Where the token comes from.
pub struct Tokens {
    secrets: Secrets,
    state: PathBuf,
    flowauth: Option<Place>,
    certificate: Option<PathBuf>,
    /// What came of the last try of this process: it holds also where it can't be written down.
    last: Mutex<Option<Renewal>>,
}

/// A token that was got from FlowAuth.
struct Kept {
    /// The digest of the operator's that it stands for; `-` for none.
    instead_of: String,
    token: Secret,
}

/// How the last try went.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Renewal {
    failed: String,
    failures: u32,
    /// Not before, in seconds since 1970.
    again: i64,
    /// The digest of the key that it was tried with: with another one it is tried at once.
    key: String,
    /// The digest of a token that FlowAPI did not take.
    refused: String,
    /// How many it did not take, one after another.
    refusals: u32,
}

impl Tokens {
    /// By settings and secrets; `state` is AutoFlow's own directory.
    ///
    /// # Errors
    /// FlowAuth's address is none.
    pub fn read(settings: &Settings, secrets: &Secrets, state: &Path) -> Result<Tokens, Problem> {
        let place = |url: &str| {
            let place = Place::parse(url)
                .and_then(|place| if place.path == "/" { Ok(place) } else { Err("it has a path".to_owned()) });
            place.map_err(|why| {
                let hint = "give FlowAuth's address as https://HOST:9091";
                Problem::new(format!("{URL} can't be used: {why}"), hint).value(url).origin(settings.origin(URL))
            })
        };
        Ok(Tokens {
            secrets: secrets.clone(),
            state: state.to_owned(),
            flowauth: settings.text(URL).map(place).transpose()?,
            certificate: settings.text(CERTIFICATE).map(PathBuf::from),
            last: Mutex::default(),
        })
    }

    /// The token as it is now.
    ///
    /// # Errors
    /// In words: there is none, or none that can be read.
    pub fn current(&self) -> Result<Secret, String> {
        let token = self.any()?.ok_or_else(|| match self.secrets.get(KEY) {
            Ok(_) => "there is no token yet: FlowAuth is asked for one".to_owned(),
            Err(_) => {
                format!("there is no token: put one into {TOKEN}, or let AutoFlow get its own (`flowkit auth enrol`)")
            }
        })?;
        // upstream's client repeats a text that is none.
        match Inspection::read(token.expose()) {
            Ok(_) => Ok(token),
            Err(_) => Err(format!("{TOKEN} is no token of FlowAuth's: make another, and put it there")),
        }
    }

    /// The operator's, or what is kept in its place.
    fn any(&self) -> Result<Option<Secret>, String> {
        let given = self.given()?;
        let name = given.as_ref().map_or_else(|| "-".to_owned(), digest);
        Ok(self.kept().filter(|kept| kept.instead_of == name).map(|kept| kept.token).or(given))
    }

    fn given(&self) -> Result<Option<Secret>, String> {
        match self.secrets.get(TOKEN) {
            Ok(token) => Ok(Some(token)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.problem().to_string()),
        }
    }

    fn kept(&self) -> Option<Kept> {
        let text = Secret::new(fs::read_to_string(self.state.join("token")).ok()?);
        let (instead_of, token) = text.expose().split_once('\n')?;
        Some(Kept { instead_of: instead_of.to_owned(), token: Secret::new(token.trim().to_owned()) })
    }

    /// The key, if one is given.
    fn key(&self) -> Option<Result<Secret, String>> {
        match self.secrets.get(KEY) {
            Err(error) if error.is_absent() => None,
            key => Some(key.map_err(|error| error.problem().to_string())),
        }
    }

    fn renewal(&self) -> Renewal {
        if let Some(last) = &*self.last.lock().expect("nobody panics with it") {
            return last.clone();
        }
        let text = fs::read(self.state.join("renewal.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn remember(&self, renewal: Renewal) {
        let text = serde_json::to_vec(&renewal).unwrap_or_default();
        if let Err(error) = write(&self.state, "renewal.json", &text) {
            tracing::error!("what came of it can't be kept: {error}");
        }
        *self.last.lock().expect("nobody panics with it") = Some(renewal);
    }

    /// FlowAPI has not taken this token: its key or its name is another by now. With a key another token is due: at once for the first time, later
    /// and later where the new ones are not taken either.
    pub fn was_refused(&self, token: &Secret, now: i64) {
        let (Some(Ok(key)), before, refused) = (self.key(), self.renewal(), digest(token)) else { return };
        if before.refused == refused {
            return;
        }
        let wait = before.refusals.checked_sub(1).map_or(0, later);
        let again = before.again.max(now + wait);
        self.remember(Renewal { refused, refusals: (before.refusals + 1).min(16), again, key: digest(&key), ..before });
    }

    /// FlowAPI has taken the token.
    pub fn was_taken(&self) {
        let before = self.renewal();
        if before.refusals > 0 {
            self.remember(Renewal { refused: String::new(), refusals: 0, ..before });
        }
    }

    /// What there is to say of it: that it ends soon, if nobody renews it, that there is none, or why there is no newer one.
    pub fn note(&self, now: i64) -> Option<String> {
        let key = self.key();
        let failed = Some(self.renewal()).filter(|renewal| key.is_some() && !renewal.failed.is_empty());
        let end = match self.current() {
            Ok(token) => {
                let ended = || Inspection::read(token.expose()).is_ok_and(|read| read.token.expires <= Some(now));
                let says = key.is_none() || failed.is_some() || ended();
                says.then(|| ends_soon(&token, now)).flatten()
            }
            Err(why) => Some(why),
        };
        let failed = failed.map(|renewal| {
            let again = moment(renewal.again);
            format!("FlowAuth gives no new token, and is asked again at {again} UTC: {}", renewal.failed)
        });
        let refused = Some(self.renewal()).filter(|renewal| key.is_some() && self.is_refused(renewal));
        let refused = refused.map(|renewal| match renewal.again > now && renewal.failed.is_empty() {
            true => {
                let again = moment(renewal.again);
                format!("FlowAPI does not take the token, and FlowAuth is asked for another at {again} UTC")
            }
            false => "FlowAPI does not take the token, and FlowAuth is asked for another".to_owned(),
        });
        Some([end, refused, failed].into_iter().flatten().collect::<Vec<_>>().join("; "))
            .filter(|note| !note.is_empty())
    }

    /// Gets a new token if it is time; whether it was. What goes wrong is logged and kept.
    pub async fn renew(&self, now: i64) -> bool {
        let Some(key) = self.key() else { return false };
        let (name, before) = (key.as_ref().map_or_else(|_| String::new(), digest), self.renewal());
        // By a clock that was wrong it may be in what is the future again.
        let waits = before.key == name && before.again > now && before.again <= now + AGAIN_AT_MOST;
        if waits || !self.is_due(now) {
            return false;
        }
        let got = async {
            let key = key?;
            // A token that can't be kept would be asked for again and again.
            let full =
                |error| format!("it could not be kept, so FlowAuth is not asked: {}: {error}", self.state.display());
            self.has_room().map_err(full)?;
            self.ask(&key, now).await
        };
        let got = tokio::time::timeout(PATIENCE, got).await;
        let got = got.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let renewal = match got.and_then(|token| self.keep(&token).map_err(|error| error.to_string())) {
            Ok(()) => {
                tracing::info!("FlowAuth has given a new token");
                Renewal { refused: before.refused, refusals: before.refusals, ..Renewal::default() }
            }
            Err(failed) => {
                // Its end is a moment at which the answer may be another.
                let end = self.any().ok().flatten().as_ref().and_then(ends).filter(|end| *end > now);
                let wait = later(before.failures).min(end.map_or(AGAIN_AT_MOST, |end| (end - now).max(AGAIN)));
                tracing::error!(again_in_seconds = wait, "FlowAuth gives no new token: {failed}");
                let failures = (before.failures + 1).min(16);
                Renewal { failed, failures, again: now + wait, key: name, ..before }
            }
        };
        self.remember(renewal);
        true
    }

    /// Whether a new one is to be had: there is none, FlowAPI does not take it, or it is near its end.
    fn is_due(&self, now: i64) -> bool {
        let Ok(token) = self.any() else { return false };
        token.is_none_or(|token| is_near_end(&token, now)) || self.is_refused(&self.renewal())
    }

    fn is_refused(&self, renewal: &Renewal) -> bool {
        !renewal.refused.is_empty() && self.any().ok().flatten().is_some_and(|token| digest(&token) == renewal.refused)
    }

    /// Whether a token can be written: more than any has.
    ///
    /// # Errors
    /// The directory's, or the disk's.
    fn has_room(&self) -> io::Result<()> {
        let written = write(&self.state, "room", &[0; 64 << 10]);
        for name in ["room", "room.new"] {
            let _ = fs::remove_file(self.state.join(name));
        }
        written
    }

    /// Has FlowAuth renew the token, or give a first one with all that the key's user may.
    async fn ask(&self, key: &Secret, now: i64) -> Result<Secret, String> {
        let flowauth = self.flowauth()?;
        let asked = Asked { flowauth: &flowauth, key };
        let (given, current) = (self.given()?, self.any()?);
        let servers = list(asked.get("/tokens/servers").await?)?;
        let before = match &current {
            Some(token) => asked.find(&servers, token).await?,
            None => None,
        };
        if before.is_none() && given.is_some() && current == given {
            return Err(format!(
                "{TOKEN} is none of the tokens of the key's user, and no other is taken in its place: remove it, and AutoFlow asks for one of its own"
            ));
        }
        let refused = self.is_refused(&self.renewal());
        if refused && before.is_some_and(|(_, good)| !good) && !current.as_ref().is_none_or(|old| is_near_end(old, now))
        {
            let place = self.state.join("token");
            return Err(format!(
                "the token was revoked in FlowAuth, which was somebody's decision: for another before it ends, remove {}",
                place.display()
            ));
        }
        let (path, body) = match before {
            Some((id, true)) => (format!("/tokens/tokens/{id}/renew"), json!({})),
            // It was revoked, or FlowAuth knows it no longer.
            _ => asked.first(&servers, current.as_ref()).await?,
        };
        let minted = asked.post(&path, &body).await?;
        let token = minted["token"].as_str().map(|token| Secret::new(token.to_owned()));
        let token = token.ok_or_else(|| format!("its answer to {path} holds no token"))?;
        is_better(&token, current.as_ref().filter(|_| !refused), now).map(|()| token)
    }

    fn flowauth(&self) -> Result<Client, String> {
        let place = self.flowauth.as_ref().ok_or_else(|| format!("{URL} is not set"))?;
        let trusted = match &self.certificate {
            Some(path) => {
                fs::read_to_string(path).map_err(|error| format!("{CERTIFICATE}, {}: {error}", path.display()))?
            }
            None => match self.secrets.get("cert-flowauth.pem") {
                Ok(certificate) => certificate.expose().to_owned(),
                Err(error) if error.is_absent() => of_this_machine()?,
                Err(error) => return Err(error.problem().to_string()),
            },
        };
        Client::issued(&*place.host, place.port, &trusted)
    }

    fn keep(&self, token: &Secret) -> io::Result<()> {
        let name = self.given().ok().flatten().as_ref().map_or_else(|| "-".to_owned(), digest);
        let text = Secret::new(format!("{name}\n{}\n", token.expose()));
        write(&self.state, "token", text.expose().as_bytes())
    }
}

/// When a token ends.
fn ends(token: &Secret) -> Option<i64> {
    Inspection::read(token.expose()).ok().and_then(|read| read.token.expires)
}

/// Whether it is none, or less than a third of its life is left.
fn is_near_end(token: &Secret, now: i64) -> bool {
    let Ok(read) = Inspection::read(token.expose()) else { return true };
    let Some(expires) = read.token.expires else { return false };
    let life = read.token.issued.map_or(LIFE, |issued| (expires - issued).max(0));
    expires - now < life / 3
}

/// Whether a token that was given is to be taken in the place of one that is good.
fn is_better(new: &Secret, old: Option<&Secret>, now: i64) -> Result<(), String> {
    match (ends(new), old.and_then(ends)) {
        (None, _) => Err("what it gives is no token".to_owned()),
        (Some(end), _) if end <= now => Err("the new token has ended already: do the clocks agree?".to_owned()),
        (Some(end), Some(old)) if end == old => {
            Err(format!("no token lives longer than until {} UTC: its roles end then", moment(end)))
        }
        // One that ends sooner is what there is now: its roles' tokens live shorter. Not if yet another were due at once.
        (Some(end), Some(old)) if end < old && is_near_end(new, now) => {
            Err("the new token is near its end already: do the clocks agree?".to_owned())
        }
        _ => Ok(()),
    }
}

/// Seconds until it is asked again after so many failures before this one.
fn later(failures: u32) -> i64 {
    AGAIN.checked_shl(failures).unwrap_or(AGAIN_AT_MOST).clamp(AGAIN, AGAIN_AT_MOST)
}

/// FlowAuth, asked with the key.
struct Asked<'a> {
    flowauth: &'a Client,
    key: &'a Secret,
}

impl Asked<'_> {
    async fn get(&self, path: &str) -> Result<Value, String> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.send(Method::POST, path, body.to_string().into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Value, String> {
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::USER_AGENT, "autoflow")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key.expose()))
            .body(body)
            .map_err(|_| format!("{KEY} holds characters that can't be sent"))?;
        let answer = self.flowauth.send(request, MOST).await.map_err(|error| in_full(&error))?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        match answer.status() {
            StatusCode::OK => Ok(said),
            status => {
                Err(format!("{method} {path} is answered {status}: {}", said["message"].as_str().unwrap_or_default()))
            }
        }
    }

    /// The number of a token among those of the key's user, and whether it is good.
    async fn find(&self, servers: &[Value], token: &Secret) -> Result<Option<(i64, bool)>, String> {
        for server in servers.iter().filter_map(|server| server["id"].as_i64()) {
            let all = list(self.get(&format!("/tokens/tokens/{server}")).await?)?;
            let found = all.iter().find(|one| one["token"] == token.expose());
            if let Some((one, id)) = found.and_then(|one| Some((one, one["id"].as_i64()?))) {
                return Ok(Some((id, one["revoked"].is_null())));
            }
        }
        Ok(None)
    }

    /// How a first token is asked for: for the server that the one before was for, or the only one, with all roles on it.
    async fn first(&self, servers: &[Value], before: Option<&Secret>) -> Result<(String, Value), String> {
        let audience = before.and_then(|token| Inspection::read(token.expose()).ok()).map(|read| read.audience);
        let fits = |server: &&Value| match (&audience, server["server_name"].as_str()) {
            (Some(audience), Some(name)) => audience.iter().any(|other| other == name),
            (audience, _) => audience.is_none(),
        };
        let id = match &servers.iter().filter(fits).collect::<Vec<_>>()[..] {
            [one] => one["id"].as_i64().ok_or("its list of servers is not understood")?,
            [] => return Err("the key's user has no role there: give it one".to_owned()),
            several => {
                let names = several.iter().filter_map(|server| server["server_name"].as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "the key's user has roles on several servers ({names}): put a first token of one of them into {TOKEN}"
                ));
            }
        };
        let roles = list(self.get(&format!("/user/roles/server/{id}")).await?)?;
        let roles: Vec<Value> = roles.iter().map(|role| json!({ "name": role["name"] })).collect();
        Ok((format!("/tokens/tokens/{id}"), json!({ "name": NAME, "roles": roles })))
    }
}

fn list(answer: Value) -> Result<Vec<Value>, String> {
    match answer {
        Value::Array(list) => Ok(list),
        _ => Err("its answer is not understood: is it a FlowAuth?".to_owned()),
    }
}

/// By what a secret is known without being told.
fn digest(secret: &Secret) -> String {
    Sha256::digest(secret.expose()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file of the directory whole, for nobody else to read.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (new, place) = (dir.join(format!("{name}.new")), dir.join(name));
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, &place)?;
    File::open(dir)?.sync_all()
}

/// Renews the token whenever it is time, until `stop` is true.
pub async fn look_after(given: Arc<Given>, standing: Arc<Mutex<Standing>>, mut stop: watch::Receiver<bool>) {
    loop {
        let once = async {
            given.tokens.renew(now()).await;
            standing.lock().expect("nobody panics with it").token = given.tokens.note(now());
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = once => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const DAY: i64 = 86_400;

    fn token(user: &str, made: i64, ends: i64) -> String {
        let payload = json!({ "sub": user, "aud": "flowapi_server", "iat": made, "exp": ends, "user_claims": {} });
        let parts = [r#"{"alg":"RS256","typ":"JWT"}"#.to_owned(), payload.to_string(), "nobody".to_owned()];
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    }

    fn tokens(dir: &Path) -> Tokens {
        let (secrets, state) = (Secrets::only(dir), dir.to_owned());
        Tokens { secrets, state, flowauth: None, certificate: None, last: Mutex::default() }
    }

    fn put(dir: &Path, name: &str, text: &str) {
        let _ = fs::remove_file(dir.join(name));
        fs::write(dir.join(name), text).unwrap();
    }

    #[test]
    fn what_the_operator_puts_there_counts_more_than_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
        let user = || Inspection::read(tokens.current().unwrap().expose()).unwrap().token.user;
        assert!(tokens.current().unwrap_err().contains("flowkit auth enrol") && tokens.is_due(now));
        put(dir.path(), KEY, "flowauth_x");
        assert!(tokens.current().unwrap_err().contains("FlowAuth is asked for one"));

        tokens.keep(&Secret::new(token("own", now, now + 9 * DAY))).unwrap();
        assert_eq!(user(), "own");
        put(dir.path(), TOKEN, &token("operator", now, now + 9 * DAY));
        assert_eq!(user(), "operator");
        tokens.keep(&Secret::new(token("renewed", now, now + 9 * DAY))).unwrap();
        assert_eq!(user(), "renewed");
        put(dir.path(), TOKEN, &token("another", now, now + 9 * DAY));
        assert_eq!(user(), "another");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(dir.path().join("token")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn it_is_renewed_when_a_third_of_its_life_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
        put(dir.path(), TOKEN, &token("x", now - 6 * DAY, now + 3 * DAY));
        assert!(!tokens.is_due(now) && tokens.is_due(now + 60), "of nine days three are left");
        let text = token("x", 0, now + 14 * DAY);
        let (before, after) = (text.split_once('.').unwrap().0, text.rsplit_once('.').unwrap().1);
        let payload = json!({ "sub": "x", "exp": now + 14 * DAY, "user_claims": {} }).to_string();
        put(dir.path(), TOKEN, &format!("{before}.{}.{after}", URL_SAFE_NO_PAD.encode(payload)));
        assert!(!tokens.is_due(now) && tokens.is_due(now + 60), "it does not say when it was made");
    }

    #[test]
    fn a_text_that_is_no_token_is_never_repeated() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), TOKEN, "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2ln");
        let tokens = tokens(dir.path());
        for said in [tokens.current().unwrap_err(), tokens.note(0).unwrap()] {
            assert!(said.contains("is no token") && !said.contains("c2Vj"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_fails_is_said_and_tried_later_and_later_but_at_once_with_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
        put(dir.path(), TOKEN, &token("x", now - 9 * DAY, now + DAY));
        assert!(!tokens.renew(now).await && tokens.note(now).unwrap().contains("make another"), "there is no key");
        put(dir.path(), KEY, "flowauth_x");
        assert_eq!(tokens.note(now), None, "it will be renewed");
        assert!(tokens.renew(now).await);
        let note = tokens.note(now).unwrap();
        assert!(note.contains("FLOWAPI_TOKEN ends at") && note.contains(&format!("{URL} is not set")), "{note}");
        assert!(!tokens.renew(now + 4).await && tokens.renew(now + 5).await);
        assert!(!tokens.renew(now + 14).await && tokens.renew(now + 15).await, "after twice as long");
        assert!(!tokens.renew(now + 16).await);
        put(dir.path(), KEY, "flowauth_y");
        assert!(tokens.renew(now + 16).await);
        let note = tokens.note(now + 2 * DAY).unwrap();
        assert!(note.starts_with("FLOWAPI_TOKEN ended at"), "{note}");
        // A clock that was in the future must not keep it from asking.
        fs::remove_file(dir.path().join(TOKEN)).unwrap();
        assert!(tokens.renew(now - 400 * DAY).await);
    }

    #[tokio::test]
    async fn flowauth_is_not_asked_where_nothing_can_be_kept_and_later_and_later() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), KEY, "flowauth_x");
        put(dir.path(), "file", "");
        // Not even root writes there.
        let tokens = Tokens { state: dir.path().join("file/state"), ..tokens(dir.path()) };
        let now = 1_000 * DAY;
        assert!(tokens.renew(now).await);
        let note = tokens.note(now).unwrap();
        assert!(note.contains("FlowAuth is not asked") && !note.contains(URL), "{note}");
        assert!(!tokens.renew(now + 4).await && tokens.renew(now + 5).await);
        assert!(!tokens.renew(now + 14).await && tokens.renew(now + 15).await, "after twice as long");
        // Where it can be, nothing of the attempt is left.
        let tokens = Tokens { state: dir.path().to_owned(), ..tokens };
        assert!(tokens.has_room().is_ok() && !dir.path().join("room").exists());
    }

    #[tokio::test]
    async fn what_flowapi_does_not_take_is_renewed_and_that_later_and_later() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
        let refused = |user: &str, at: i64| {
            put(dir.path(), TOKEN, &token(user, now, now + 9 * DAY));
            tokens.was_refused(&tokens.current().unwrap(), at);
        };
        refused("a", now);
        assert!(!tokens.is_due(now), "there is no key");
        put(dir.path(), KEY, "flowauth_x");
        refused("a", now);
        assert!(tokens.is_due(now) && tokens.note(now).unwrap().contains("FlowAPI does not take the token"));
        assert!(tokens.renew(now).await, "it is tried at once");
        assert!(tokens.note(now).unwrap().contains(&format!("{URL} is not set")));

        // As if others had been got, and not been taken either.
        *tokens.last.lock().unwrap() = Some(Renewal { refusals: 1, ..Renewal::default() });
        for (user, at, wait) in [("b", now, 5), ("c", now + 60, 10), ("d", now + 120, 20)] {
            refused(user, at);
            assert_eq!(tokens.renewal().again, at + wait, "{user}");
            assert!(!tokens.renew(at + wait - 1).await);
        }
        tokens.was_taken();
        assert!(!tokens.is_due(now) && tokens.renewal().refusals == 0);
        assert!(!tokens.note(now).is_some_and(|note| note.contains("not take")));
    }

    #[test]
    fn a_shorter_token_is_taken_and_one_that_is_worth_nothing_is_not() {
        let now = 1_000 * DAY;
        let made = |made: i64, ends: i64| Secret::new(token("x", made, ends));
        let old = made(now - 5 * DAY, now + 2 * DAY);
        assert_eq!(is_better(&made(now, now + 7 * DAY), Some(&old), now), Ok(()));
        assert_eq!(is_better(&made(now, now + DAY), Some(&old), now), Ok(()), "the role's tokens live a day by now");
        let why = |new: &Secret, old: Option<&Secret>| is_better(new, old, now).unwrap_err();
        assert!(why(&made(now, now + 2 * DAY), Some(&old)).contains("its roles end then"));
        assert_eq!(is_better(&made(now, now + 2 * DAY), None, now), Ok(()), "the old one is not taken by FlowAPI");
        assert!(why(&made(now - 80 * 60, now + 30 * 60), Some(&old)).contains("do the clocks agree"));
        assert!(why(&made(now - DAY, now), None).contains("has ended already"));
        assert!(why(&Secret::new("x".to_owned()), None).contains("no token"));
    }

    #[tokio::test]
    async fn it_is_tried_again_when_the_token_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
        put(dir.path(), KEY, "flowauth_x");
        put(dir.path(), TOKEN, &token("x", now - 9 * DAY, now + 600));
        *tokens.last.lock().unwrap() = Some(Renewal { failures: 16, ..Renewal::default() });
        assert!(tokens.renew(now).await && tokens.renewal().again == now + 600);
        assert!(tokens.renew(now + 600).await && tokens.renewal().again == now + 600 + AGAIN_AT_MOST);
    }
}

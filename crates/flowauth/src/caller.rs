//! Who asks, and whether they may: asked once, before any handler, of every route.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use web::axum::extract::{FromRequestParts, Request, State};
use web::axum::middleware::Next;
use web::axum::response::{IntoResponse as _, Response};
use web::{Error, Peer, RequestId};

use crate::acts::keys::fits;
use crate::app::{App, hex};
use crate::pages::Form;
use crate::store::audit::Actor;
use crate::store::keys::{self, Key};
use crate::store::known::{self, Known};
use crate::store::sessions::{self, Session};
use crate::store::users::User;
use crate::store::{Change, now};

/// The cookies, by upstream's names.
pub const SESSION: &str = "session";
const FORGERY: &str = "X-CSRF";

/// Ours: by which a browser is known that somebody has signed in with. It says nothing of them, and lets nobody in.
const BROWSER: &str = "browser";

/// How long a browser is known, in seconds: a year from the last time.
const REMEMBERED: u32 = 365 * 86400;

/// The header in which a program gives the second one's value back; `X-CSRFToken` is taken too, as by upstream's library.
const GIVEN: [&str; 2] = ["x-csrf-token", "x-csrftoken"];

/// Who may use a route. Every route says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever has signed in, even without the second factor that they must set up.
    SignedIn,
    /// Whoever has signed in with all that they need: what decides who they are, for which no key is good.
    Account,
    /// The same, and their keys.
    User,
    /// The same of administrators, and those of their keys that administer, or, of what is looked at, read.
    Admin,
}

/// Whoever asks. Only [`guard`] makes one, so a handler that takes one has a route that is guarded.
#[derive(Clone)]
pub struct Caller {
    by: By,
    /// For the log.
    pub actor: Actor,
}

/// By what somebody is known.
#[derive(Clone)]
enum By {
    Nothing,
    Session(Session),
    /// With its digest.
    Key(User, Key, String),
}

impl Caller {
    /// The user.
    ///
    /// # Errors
    /// 401 where nobody has signed in.
    pub fn user(&self) -> Result<&User, Error> {
        match &self.by {
            By::Nothing => Err(Error::of(StatusCode::UNAUTHORIZED)),
            By::Session(session) => Ok(&session.user),
            By::Key(user, ..) => Ok(user),
        }
    }

    /// The session's id.
    pub fn session(&self) -> Option<&str> {
        match &self.by {
            By::Session(session) => Some(&session.id),
            By::Nothing | By::Key(..) => None,
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Caller, Error> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Error::of(StatusCode::INTERNAL_SERVER_ERROR).because("a route that is not guarded"))
    }
}

/// Whether a user has still to set up the second factor that they must have.
pub fn must_set_up(user: &User) -> bool {
    user.needs_factor && !user.has_factor
}

/// Lets through whom a route is for. Forms of pages go past [`crate::pages::lead`] first.
pub async fn guard(State((app, access)): State<(Arc<App>, Access)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match admit(&app, access, &parts).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let session = caller.session().map(str::to_owned);
    parts.extensions.insert(caller);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(session) = session {
        forgery_cookie(&app, response.headers_mut(), &session);
    }
    response
}

/// Tells a program what to send back: it reads this after each answer, errors too, as upstream gives it.
pub fn forgery_cookie(app: &App, headers: &mut HeaderMap, session: &str) {
    if !headers.contains_key(header::SET_COOKIE) {
        set_cookie(headers, &format!("{FORGERY}={}; Path=/; Secure; SameSite=Lax", app.forgery_token(session)));
    }
}

/// Whoever asks, if the route is for them.
pub async fn admit(app: &App, access: Access, request: &Parts) -> Result<Caller, Error> {
    let headers = &request.headers;
    let by = by(app, headers).await?;
    let peer = request.extensions.get::<Peer>().copied().unwrap_or(Peer::Local);
    let id = request.extensions.get::<RequestId>().map(ToString::to_string).unwrap_or_default();
    let user = match &by {
        By::Nothing => None,
        By::Session(session) => Some((session.user.id, session.user.name.clone())),
        By::Key(user, key, _) => Some((user.id, format!("{} by the key {}", user.name, key.name))),
    };
    let known = match &by {
        By::Nothing => None,
        By::Session(session) => Some((known::By::Session(session.id.clone()), &session.user)),
        By::Key(user, _, digest) => Some((known::By::Key(digest.clone()), user)),
    };
    let known = known.map(|(by, user)| Known { by, user: user.clone() });
    let caller = Caller { by, actor: Actor { user, address: address(peer, headers), request: id, known } };
    if access == Access::Open {
        return Ok(caller);
    }
    let user = caller.user()?;
    let changes = !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    match &caller.by {
        // Nothing sends a key unasked, as browsers send cookies.
        By::Key(_, key, _) if !fits(key.may, access, &request.method) => {
            return Err(Error::new(StatusCode::FORBIDDEN, "This key may not do that: sign in, or use one that may."));
        }
        By::Key(..) => {}
        _ if changes && !is_meant(app, caller.session().unwrap_or_default(), request) => {
            let text = "This was not sent by a page or program of yours: sign in again, or send the cookie X-CSRF as X-CSRF-Token.";
            return Err(Error::new(StatusCode::FORBIDDEN, text).with("csrf", true));
        }
        _ => {}
    }
    if access != Access::SignedIn && must_set_up(user) {
        let text = "Set up two-factor authentication first.";
        return Err(Error::new(StatusCode::FORBIDDEN, text).with("require_two_factor_setup", true));
    }
    if access == Access::Admin && !user.is_admin {
        return Err(Error::new(StatusCode::FORBIDDEN, "Only administrators may do that."));
    }
    Ok(caller)
}

impl App {
    /// Begins to write for somebody who was let in. They may have waited for others who write, who may have put them out or taken
    /// rights from them: so they are looked at again, now that nobody else writes.
    ///
    /// # Errors
    /// 401: their session or key has ended, or they are disabled. 403: they are not who they were.
    pub(crate) async fn change(&self, actor: &Actor) -> Result<Change, Error> {
        let mut change = self.store.change().await?;
        if let Some(known) = &actor.known {
            let user = known.again(&mut change).await?.ok_or_else(|| Error::of(StatusCode::UNAUTHORIZED))?;
            if user != known.user {
                let text = "Your account was changed in the meantime: try again.";
                return Err(Error::new(StatusCode::FORBIDDEN, text));
            }
        }
        Ok(change)
    }
}

/// By what a request is known: a key, where it brings one, good or not; else its session.
async fn by(app: &App, headers: &HeaderMap) -> Result<By, Error> {
    if let Some(given) = headers.get(header::AUTHORIZATION) {
        let digest = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).and_then(key_digest);
        let digest = digest.ok_or_else(|| Error::of(StatusCode::UNAUTHORIZED))?;
        let found = keys::find(&mut *app.store.read().await?, &digest).await?;
        let (user, key) =
            found.ok_or_else(|| Error::new(StatusCode::UNAUTHORIZED, "There is no such key, or it has ended."))?;
        return Ok(By::Key(user, key, digest));
    }
    let Some(id) = brought(headers) else { return Ok(By::Nothing) };
    let session = sessions::find(&mut *app.store.read().await?, &id).await?;
    Ok(session.filter(|session| session.is_complete).map_or(By::Nothing, By::Session))
}

/// What every key begins with, so that whoever finds one knows what it is.
const KEY: &str = "flowauth_";

/// A new key, and the digest that is kept.
pub fn new_key() -> (String, String) {
    let key = format!("{KEY}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let digest = key_digest(&key).unwrap_or_default();
    (key, digest)
}

/// The secret of a new link, and the digest that is kept.
pub fn new_link() -> (String, String) {
    new_session()
}

/// The digest of a link's secret. `None`: it is none of ours.
pub fn link_digest(link: &str) -> Option<String> {
    session_id(link)
}

fn key_digest(key: &str) -> Option<String> {
    session_id(key.trim().strip_prefix(KEY)?)
}

/// Whether a request that changes something has what only our own pages and programs know: in a header, or in its form.
fn is_meant(app: &App, session: &str, request: &Parts) -> bool {
    let header = GIVEN.iter().find_map(|name| request.headers.get(*name)).map(HeaderValue::as_bytes);
    let field = || request.extensions.get::<Form>().map(|form| form.text("csrf").as_bytes());
    app.forgery_token(session).as_bytes().ct_eq(header.or_else(field).unwrap_or_default()).into()
}

/// From where: the other end, or, where that is a proxy of this machine, whom the proxy names last. What comes before was written by
/// whoever asks.
pub fn address(peer: Peer, headers: &HeaderMap) -> String {
    let is_proxy = match peer {
        Peer::Net(address) => address.ip().to_canonical().is_loopback(),
        Peer::Local => true,
    };
    let named = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse::<IpAddr>().ok()
    };
    match is_proxy.then(named).flatten() {
        Some(address) => address.to_canonical().to_string(),
        None => peer.to_string(),
    }
}

/// A new session: what the cookie holds, and the id that is kept.
pub fn new_session() -> (String, String) {
    let bytes: [u8; 32] = rand::random();
    let cookie = URL_SAFE_NO_PAD.encode(bytes);
    let id = session_id(&cookie).unwrap_or_default();
    (cookie, id)
}

/// What is kept of a cookie. `None`: it is none of ours.
fn session_id(cookie: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cookie).ok().filter(|bytes| bytes.len() == 32)?;
    Some(hex(&Sha256::digest(bytes)))
}

/// The id of the session that a request brings, whether it lasts or not.
pub fn brought(headers: &HeaderMap) -> Option<String> {
    cookie(headers, SESSION).and_then(session_id)
}

/// What a browser gets when a session begins: what the session's cookie holds, its id, and, once nothing is missing, by what the browser
/// is known.
pub struct Begun {
    pub cookie: String,
    pub id: String,
    pub browser: Option<String>,
}

/// Its cookies. Those of the session end with the browser, and with the session here.
pub fn sign_in_cookies(app: &App, headers: &mut HeaderMap, begun: &Begun) {
    set_cookie(headers, &format!("{SESSION}={}; Path=/; Secure; HttpOnly; SameSite=Lax", begun.cookie));
    set_cookie(headers, &format!("{FORGERY}={}; Path=/; Secure; SameSite=Lax", app.forgery_token(&begun.id)));
    if let Some(browser) = &begun.browser {
        let how = format!("Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={REMEMBERED}");
        set_cookie(headers, &format!("{BROWSER}={browser}; {how}"));
    }
}

/// By what a browser is known that a user, by number, has signed in with now, with the password that has this hash.
pub fn new_browser(app: &App, user: i64, password: &str) -> String {
    let (browser, since) = (rand::random(), now());
    format!("{browser:032x}.{since}.{}", app.browser_token(browser, since, user, password))
}

/// The browser that a request comes from, if this user has signed in with it before, and with the password that they have.
pub fn known_browser(app: &App, headers: &HeaderMap, user: i64, password: &str) -> Option<u128> {
    let mut parts = cookie(headers, BROWSER)?.splitn(3, '.');
    let browser = u128::from_str_radix(parts.next()?, 16).ok()?;
    let since: i64 = parts.next()?.parse().ok()?;
    let is_ours: bool =
        app.browser_token(browser, since, user, password).as_bytes().ct_eq(parts.next()?.as_bytes()).into();
    (is_ours && now() - since < i64::from(REMEMBERED)).then_some(browser)
}

/// Takes those of the session away.
pub fn sign_out_cookies(headers: &mut HeaderMap) {
    set_cookie(headers, &format!("{SESSION}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"));
    set_cookie(headers, &format!("{FORGERY}=; Path=/; Secure; SameSite=Lax; Max-Age=0"));
}

pub fn set_cookie(headers: &mut HeaderMap, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// A cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers = headers(&[("cookie", "xsession=no; session=yes; X-CSRF=b")]);
        assert_eq!(
            (cookie(&headers, "session"), cookie(&headers, "X-CSRF"), cookie(&headers, "ses")),
            (Some("yes"), Some("b"), None)
        );
        let (cookie, id) = new_session();
        assert_eq!(session_id(&cookie), Some(id));
        assert_eq!([session_id(""), session_id("abc"), session_id("é")], [None, None, None]);
    }

    #[test]
    fn only_a_proxy_of_this_machine_names_who_asks() {
        let forged = headers(&[("x-forwarded-for", "1.1.1.1, 10.0.0.9")]);
        let near = Peer::Net(([127, 0, 0, 1], 1).into());
        let far = Peer::Net(([10, 0, 0, 5], 1).into());
        assert_eq!(address(near, &forged), "10.0.0.9");
        assert_eq!(address(far, &forged), "10.0.0.5");
        assert_eq!(address(near, &headers(&[("x-forwarded-for", "nobody")])), "127.0.0.1");
        assert_eq!(address(near, &HeaderMap::new()), "127.0.0.1");
    }
}

//! The pages: everything that the JSON routes do, for people. They need no script; a little of it helps where it runs.
//!
//! ```text
//! texts      what they say, one file a language
//! form       what is sent, with a file or without
//! layout     what all pages look like, and the parts of forms: errors beside the field and on top
//! assets     style sheet and script, by names that change with them
//! signin, provider, account, factor, passkeys, keys        who one is
//! servers_of, token                    one's own tokens
//! users, machines, servers, roles, members, scopes, all_tokens, audit, deployment    what administrators look after
//! ```
//! What is refused and changed is not decided here but in [`crate::acts`], as for programs. After every change the browser is sent on,
//! so that a page can be loaded again without doing it twice.

mod account;
mod all_tokens;
mod assets;
mod audit;
mod deployment;
mod factor;
mod form;
mod home;
mod keys;
mod layout;
mod machines;
mod members;
mod new_token;
mod passkeys;
mod provider;
mod roles;
mod scopes;
mod servers;
mod signin;
mod texts;
mod token;
mod users;

use std::borrow::Cow;
use std::sync::Arc;

pub use form::Form;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
pub use layout::{Input, Wrongs, error};
use maud::Markup;
use web::Error;
use web::axum::extract::{FromRequestParts, Request, State};
use web::axum::middleware::Next;
use web::axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::caller::{self, Access, Caller, admit};
use crate::routes::{Answer, Table};
use crate::store::users::User;
use texts::Texts;

/// Enters all of them.
pub fn enter(table: Table) -> Table {
    let table = assets::enter(home::enter(signin::enter(table)));
    let table = passkeys::enter(keys::enter(factor::enter(account::enter(provider::enter(table)))));
    let table = token::enter(new_token::enter(table));
    let table = machines::enter(members::enter(roles::enter(servers::enter(users::enter(table)))));
    deployment::enter(audit::enter(all_tokens::enter(table)))
}

/// Lets through whom a page is for, and leads the others to where they become that.
pub async fn lead(State((app, access)): State<(Arc<App>, Access)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::POST {
        // Browsers say from where a form came: no other site signs anybody in, or guesses anything.
        let site = parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Error::of(StatusCode::FORBIDDEN).with("csrf", true).into_response();
        }
        match Form::read(&parts.headers, body).await {
            Ok(form) => drop(parts.extensions.insert(form)),
            Err(error) => return error.into_response(),
        }
    }
    // A key is no second factor: pages are for people who have signed in with all that they need.
    if access != Access::Open && parts.headers.contains_key(header::AUTHORIZATION) {
        let text = "Keys are for programs, which find what they may ask in /openapi.json. Pages are for people.";
        return Error::new(StatusCode::FORBIDDEN, text).into_response();
    }
    match admit(&app, access, &parts).await {
        Ok(caller) => {
            let session = caller.session().map(str::to_owned);
            parts.extensions.insert(caller);
            let request = Request::from_parts(parts, web::axum::body::Body::empty());
            let mut response = next.run(request).await;
            if let Some(session) = session {
                caller::forgery_cookie(&app, response.headers_mut(), &session);
            }
            response
        }
        Err(error) if parts.headers.contains_key(header::AUTHORIZATION) => error.into_response(),
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            let next = match parts.method {
                Method::GET => format!("?next={}", quoted(parts.uri.path())),
                _ => String::new(),
            };
            to(&format!("/sign-in{next}"))
        }
        Err(error) if error.field("require_two_factor_setup").is_some() => to("/account/two-factor"),
        Err(error) => error.into_response(),
    }
}

/// A value in a link.
fn quoted(text: &str) -> Cow<'_, str> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).into()
}

/// Sends a browser on.
fn to(path: &str) -> Response {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// By what address a browser has come, so that a link leads whoever gets it to the same place.
fn origin(headers: &HeaderMap, uri: &http::Uri, plain: bool) -> String {
    // HTTP/2 has no such header: the address names the host.
    let named = || uri.authority().map(http::uri::Authority::as_str);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or_else(named).unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_here = plain && (name == "localhost" || name.starts_with("127."));
    format!("{}://{host}", if is_here { "http" } else { "https" })
}

/// Who asks for which page, in which language.
pub struct Page {
    /// What all requests share.
    pub app: Arc<App>,
    /// Whoever asks.
    pub caller: Caller,
    /// The request's headers.
    pub headers: HeaderMap,
    texts: &'static Texts,
    uri: http::Uri,
}

impl FromRequestParts<Arc<App>> for Page {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Page, Error> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let (headers, uri) = (parts.headers.clone(), parts.uri.clone());
        let mut page = Page { app: app.clone(), caller, texts: Texts::wanted(&headers), headers, uri };
        if let Some(texts) = page.query("lang").as_deref().and_then(Texts::of) {
            page.texts = texts;
        }
        Ok(page)
    }
}

impl Page {
    /// See [`Texts::t`].
    pub fn t(&self, key: &'static str) -> &str {
        self.texts.t(key)
    }

    /// See [`Texts::f`].
    pub fn f(&self, key: &str, values: &[(&str, &str)]) -> String {
        self.texts.f(key, values)
    }

    /// See [`Texts::n`].
    pub fn n(&self, key: &str, number: usize) -> String {
        self.texts.n(key, number as u64)
    }

    /// The user.
    pub fn user(&self) -> Result<&User, Error> {
        self.caller.user()
    }

    /// What the address says after its question mark.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.uri.query().unwrap_or_default().as_bytes();
        form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// What a form of this session has to send.
    pub fn csrf(&self) -> String {
        let brought = || caller::brought(&self.headers);
        let session = self.caller.session().map(str::to_owned).or_else(brought);
        session.map(|session| self.app.forgery_token(&session)).unwrap_or_default()
    }

    /// By what address this browser has come.
    pub fn origin(&self) -> String {
        origin(&self.headers, &self.uri, self.app.options.plain)
    }

    /// Sends the browser on to a page that says what was done.
    pub fn done(&self, key: &'static str, path: &str) -> Answer {
        let mark = if path.contains('?') { '&' } else { '?' };
        Ok(to(&format!("{path}{mark}done={key}")))
    }

    /// The page, with nothing wrong in it.
    pub fn show(&self, title: &str, body: Markup) -> Answer {
        self.show_with(title, &Wrongs::default(), body)
    }

    /// Why something was refused, to be shown in the page that asked for it.
    ///
    /// # Errors
    /// The error itself, where no form can help.
    pub fn wrongs(&self, error: Error) -> Result<Wrongs, Error> {
        Wrongs::of(self.texts, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Uri;

    #[test]
    fn a_link_leads_to_where_its_maker_is() {
        for (host, plain, expected) in [
            ("flow.example", true, "https://flow.example"),
            ("flow.example:8443", false, "https://flow.example:8443"),
            ("localhost:9091", false, "https://localhost:9091"),
            ("localhost:9091", true, "http://localhost:9091"),
            ("127.0.0.1:9091", true, "http://127.0.0.1:9091"),
        ] {
            let headers = [(header::HOST, host.parse().unwrap())].into_iter().collect();
            assert_eq!(origin(&headers, &Uri::from_static("/manage/users/new"), plain), expected);
            let uri: Uri = format!("https://{host}/manage/users/new").parse().unwrap();
            assert_eq!(origin(&HeaderMap::new(), &uri, plain), expected, "HTTP/2");
        }
    }
}

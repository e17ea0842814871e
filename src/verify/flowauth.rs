//! The whole way of an analyst: FlowAuth makes a user, a role and a token, FlowAPI answers, and no longer once the token is revoked.
//! What was made on the way is removed at its end, however it ends; what one that was killed has left, by the next.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use rand::RngExt as _;
use serde_json::{Value, json};
use time::Date;

use super::flowapi;
use super::question::Question;
use super::{Counts, Error, Target};

/// What the role allows beside the question: to look whether one is let in.
const DATES: &str = "get_available_dates";

/// Bytes of an answer that are taken.
const MOST: usize = 16 << 20;

/// FlowAuth makes its list at most so long before FlowAPI asks for it; and some time for both to work in.
const LIST_AGE: Duration = Duration::from_secs(5);
const SPARE: Duration = Duration::from_secs(30);

/// How the user and the role that are made begin.
const MADE: &str = "flowkit_verify_";

/// Nobody works with them any longer than this.
const LEFT: Duration = Duration::from_secs(3600);

/// The cookie whose value is sent back with what changes something.
const FORGERY: &str = "X-CSRF";

/// People by area, and in how long a revoked token was refused; or why nobody was asked.
pub fn counts(target: &Target, day: Date) -> Result<Result<(Counts, String), String>, Error> {
    let question = Question::places(day);
    with_token(target, &question, |lent| {
        let address = lent.analyst.address;
        let flowapi = flowapi::Client::new(target, lent.token.clone())?;
        target.wait(lent.until_refused(&question, &flowapi), || late(address))
    })
}

/// What comes of some work with a token for a question, whose user is removed then; or why there is no token.
pub fn with_token<T>(
    target: &Target,
    question: &Question,
    work: impl FnOnce(&mut Lent) -> Result<T, Error>,
) -> Result<Result<T, String>, Error> {
    let secret = |name: &str| target.site.store.get(name);
    let address = match (&target.flowauth, &target.flowapi) {
        (Ok(address), Ok(_)) => *address,
        (Err(why), _) => return Ok(Err(why.clone())),
        (_, Err(why)) => return Ok(Err(format!("FlowAPI is not asked: {why}"))),
    };
    let (Ok(name), Ok(password)) = (secret("FLOWAUTH_ADMIN_USER"), secret("FLOWAUTH_ADMIN_PASSWORD")) else {
        return Ok(Err("FLOWAUTH_ADMIN_PASSWORD is not here to sign in with".to_owned()));
    };
    let mut admin = Browser::new(target, address)?;
    let signed_in = target.wait(admin.sign_in(name.expose(), password.expose()), || late(address))?;
    if let Err(why) = signed_in {
        return Ok(Err(format!("{} can't sign in: {why}", name.expose())));
    }
    let mut way = Way { target, admin, made: Vec::new() };
    let lent = target.wait(way.lend(question), || late(address));
    let went = lent.and_then(|mut lent| work(&mut lent));
    let removed = target.wait(way.remove(), || late(address));
    went.and_then(|went| removed.map(|()| Ok(went)))
}

/// A token of FlowAuth's, and whoever has it.
pub struct Lent<'a> {
    target: &'a Target<'a>,
    analyst: Browser,
    /// The token itself.
    pub token: String,
    id: i64,
}

impl Lent<'_> {
    /// Asks, revokes the token, and waits until it is refused.
    async fn until_refused(
        &mut self,
        question: &Question,
        flowapi: &flowapi::Client,
    ) -> Result<(Counts, String), Error> {
        let counts = flowapi.counts(question).await?;
        self.analyst.post(&format!("/tokens/tokens/{}/revoke", self.id), &json!({})).await?;
        let refused = self.refused(flowapi).await?;
        self.analyst.post("/signout", &json!({})).await?;
        Ok((counts, refused))
    }

    /// How long FlowAPI still lets in what was revoked.
    async fn refused(&self, flowapi: &flowapi::Client) -> Result<String, Error> {
        let settings = &self.target.site.settings;
        if settings.text("FLOWKIT_FLOWAPI_REVOCATIONS_URL").is_none() {
            return Ok("revoked; FlowAPI asks no FlowAuth, so that nobody can tell it".to_owned());
        }
        let every = settings.int("FLOWKIT_FLOWAPI_REVOCATIONS_SECONDS").map_or(0, i64::unsigned_abs);
        let (began, longest) = (Instant::now(), Duration::from_secs(every) + LIST_AGE + SPARE);
        while flowapi.lets_in().await? {
            if began.elapsed() > longest {
                return Err(Error::LetIn(began.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Ok(format!("refused {:.0} s after it was revoked", began.elapsed().as_secs_f64().ceil()))
    }
}

/// When the user or role of this name was made, in seconds since 1970, if it is one of ours.
fn made_at(name: &str) -> Option<u64> {
    let rest = name.strip_prefix(MADE)?;
    // Earlier programs wrote no time.
    Some(rest.split_once('_').map_or(0, |(seconds, _)| seconds.parse().unwrap_or(u64::MAX)))
}

fn unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn late(address: SocketAddr) -> Error {
    Error::Silent { of: "FlowAuth", address, source: io::ErrorKind::TimedOut.into() }
}

struct Way<'a> {
    target: &'a Target<'a>,
    admin: Browser,
    /// Paths of what was made, the newest last.
    made: Vec<String>,
}

impl<'a> Way<'a> {
    /// A user with a role for the question and a token.
    async fn lend(&mut self, question: &Question) -> Result<Lent<'a>, Error> {
        self.sweep().await?;
        let (server, most) = self.server().await?;
        let scopes = self.scopes(server, question).await?;
        let name = format!("{MADE}{}_{:08x}", unix(), rand::rng().random::<u32>());
        let password = format!("{:032x}", rand::rng().random::<u128>());
        let user = json!({ "username": name, "password": password });
        let user = self.make("/admin/users", user, "/admin/users").await?;
        let minutes = i64::try_from(self.target.patience.as_secs() / 60 + 2).unwrap_or(most).min(most);
        let role = json!({
            "name": name, "server_id": server, "scopes": scopes, "users": [user],
            "longest_token_life_minutes": minutes, "latest_token_expiry": null,
        });
        self.make("/roles/", role, "/roles").await?;

        let mut analyst = Browser::new(self.target, self.admin.address)?;
        if let Err(said) = analyst.sign_in(&name, &password).await? {
            return Err(analyst.refused("/signin", StatusCode::UNAUTHORIZED, said));
        }
        let path = format!("/tokens/tokens/{server}");
        let minted = analyst.post(&path, &json!({ "name": "verify", "roles": [{ "name": name }] })).await?;
        let (token, id) = (minted["token"].as_str(), minted["id"].as_i64());
        let (Some(token), Some(id)) = (token, id) else { return Err(analyst.strange(&path)) };
        Ok(Lent { target: self.target, analyst, token: token.to_owned(), id })
    }

    /// Removes the users and roles of an earlier one that was killed: those so old that nobody works with them any more.
    async fn sweep(&mut self) -> Result<(), Error> {
        let longest = LEFT.max(self.target.patience * 4).as_secs();
        for (list, below) in [("/admin/users", "/admin/users"), ("/roles/", "/roles")] {
            let all = self.admin.get(list).await?;
            for one in all.as_array().into_iter().flatten() {
                let made = one["name"].as_str().and_then(made_at);
                if let (Some(made), Some(id)) = (made, one["id"].as_i64())
                    && made.saturating_add(longest) < unix()
                {
                    self.admin.ask(Method::DELETE, &format!("{below}/{id}"), Bytes::new()).await?;
                }
            }
        }
        Ok(())
    }

    /// The running FlowAPI among FlowAuth's servers, added unless it is there; and the longest life of its tokens, in minutes.
    async fn server(&mut self) -> Result<(i64, i64), Error> {
        let name = self.target.site.store.get("FLOWAPI_IDENTIFIER")?;
        let name = name.expose();
        let all = self.admin.get("/admin/servers").await?;
        let known = all.as_array().and_then(|all| all.iter().find(|server| server["name"] == name)?["id"].as_i64());
        if let Some(id) = known {
            let path = format!("/admin/servers/{id}");
            let server = self.admin.get(&path).await?;
            let most = server["longest_token_life_minutes"].as_i64();
            return most.map(|most| (id, most)).ok_or_else(|| self.admin.strange(&path));
        }
        let most = 1440;
        let server =
            json!({ "name": name, "longest_token_life_minutes": most, "latest_token_expiry": null, "scopes": [] });
        let id = self.make("/admin/servers", server, "/admin/servers").await?;
        let specification = flowapi::Client::new(self.target, String::new())?.specification().await?;
        self.admin.ask(Method::POST, &format!("/admin/servers/{id}/specification"), specification).await?;
        Ok((id, most))
    }

    /// The numbers that FlowAuth has given to what the question needs.
    async fn scopes(&mut self, server: i64, question: &Question) -> Result<Vec<i64>, Error> {
        let all = self.admin.get(&format!("/admin/servers/{server}/scopes")).await?;
        let of = |name: &'static str| {
            let scopes = all.as_array().into_iter().flatten();
            scopes.filter(|scope| scope["enabled"] != false).find(|scope| scope["name"] == name)?["id"].as_i64()
        };
        let missing = |scope| Error::Scope { server: server.to_string(), scope };
        question.scopes.iter().copied().chain([DATES]).map(|name| of(name).ok_or_else(|| missing(name))).collect()
    }

    /// Makes something, to be removed in the end.
    async fn make(&mut self, path: &str, what: Value, below: &str) -> Result<i64, Error> {
        let made = self.admin.post(path, &what).await?;
        let id = made["id"].as_i64().ok_or_else(|| self.admin.strange(path))?;
        self.made.push(format!("{below}/{id}"));
        Ok(id)
    }

    /// Removes all that was made, the newest first, whatever else goes wrong.
    async fn remove(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(path) = self.made.pop() {
            let removed = self.admin.ask(Method::DELETE, &path, Bytes::new()).await;
            result = result.and(removed.map(drop));
        }
        result.and(self.admin.post("/signout", &json!({})).await.map(drop))
    }
}

/// FlowAuth, as somebody who signs in sees it.
struct Browser {
    address: SocketAddr,
    https: https::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(target: &Target, address: SocketAddr) -> Result<Browser, Error> {
        let https = target.client(address, "FLOWKIT_FLOWAUTH_PLAIN_HTTP", "cert-flowauth.pem")?;
        Ok(Browser { address, https, cookies: BTreeMap::new() })
    }

    /// Signs in; or why that is not possible, in FlowAuth's words.
    async fn sign_in(&mut self, name: &str, password: &str) -> Result<Result<(), String>, Error> {
        let body = json!({ "username": name, "password": password }).to_string();
        let (status, said) = self.send(Method::POST, "/signin", body.into()).await?;
        match status {
            StatusCode::OK => Ok(Ok(())),
            // Another password by now, or a second factor.
            StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => Ok(Err(message(&said))),
            _ => Err(self.refused("/signin", status, message(&said))),
        }
    }

    async fn get(&mut self, path: &str) -> Result<Value, Error> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(Method::POST, path, body.to_string().into()).await
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Value, Error> {
        match self.send(method, path, body).await? {
            (status, said) if status.is_success() => serde_json::from_slice(&said).map_err(|_| self.strange(path)),
            (status, said) => Err(self.refused(path, status, message(&said))),
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let failed = |source| Error::Silent { of: "FlowAuth", address: self.address, source };
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if let Some(value) = self.cookies.get(FORGERY) {
            request = request.header("x-csrf-token", value);
        }
        let request = request.body(body).map_err(|error| failed(io::Error::other(error)))?;
        let answer = self.https.send(request, MOST).await.map_err(failed)?;
        keep(&mut self.cookies, answer.headers());
        Ok((answer.status(), answer.into_body()))
    }

    fn strange(&self, path: &str) -> Error {
        Error::Strange { of: "FlowAuth", route: path.to_owned() }
    }

    fn refused(&self, path: &str, status: StatusCode, said: String) -> Error {
        Error::Refused { of: "FlowAuth", route: path.to_owned(), status: status.as_u16(), said }
    }
}

/// What FlowAuth says of an error.
fn message(said: &Bytes) -> String {
    let said: Value = serde_json::from_slice(said).unwrap_or_default();
    said["message"].as_str().unwrap_or_default().to_owned()
}

/// Takes the cookies of an answer; an empty one is one that is taken back.
fn keep(cookies: &mut BTreeMap<String, String>, headers: &HeaderMap) {
    for text in headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        let Some((name, value)) = text.split(';').next().and_then(|pair| pair.split_once('=')) else { continue };
        match value.trim() {
            "" => _ = cookies.remove(name.trim()),
            value => _ = cookies.insert(name.trim().to_owned(), value.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_one_left_is_known_by_its_name_and_its_age() {
        assert_eq!(made_at("flowkit_verify_1795478387_0a1b2c3d"), Some(1_795_478_387));
        assert_eq!(made_at("flowkit_verify_0a1b2c3d"), Some(0), "of an earlier program");
        assert_eq!(made_at("flowkit_verify_x_y"), Some(u64::MAX), "somebody else's, whatever it is");
        assert_eq!(made_at("analyst"), None);
    }
}

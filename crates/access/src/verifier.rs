//! A token's signature, audience and times.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::{Dates, Expired, Keys, Refused, Role, Token, jws};

/// The longest token, in bytes. One with every scope of FlowMachine 1.34 has 5.5 kB, and headers have limits of their own.
pub(crate) const LONGEST: usize = 64 << 10;
/// Clocks of two machines differ; upstream allows nothing, and a second breaks fresh tokens there.
const LEEWAY: Duration = Duration::from_secs(10);

pub(crate) const NO_START: [&str; 2] =
    ["Issued At claim (iat) must be an integer.", "Not Before claim (nbf) must be an integer."];
pub(crate) const NO_END: &str = "Expiration Time claim (exp) must be an integer.";

/// Checks tokens for one server.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) keys: Keys,
    audience: String,
    pub(crate) leeway: i64,
}

impl Verifier {
    /// For the server of this name (`FLOWAPI_IDENTIFIER`, a token's `aud`), with 10 s of leeway.
    pub fn new(keys: Keys, audience: impl Into<String>) -> Self {
        Self { keys, audience: audience.into(), leeway: LEEWAY.as_secs() as i64 }
    }

    /// With another leeway, whole seconds, for tokens that seem to come from the future (`iat`, `nbf`). Their end (`exp`) is
    /// always taken to the second.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = i64::try_from(leeway.as_secs()).unwrap_or(i64::MAX);
        self
    }

    /// The token, when it was signed with RS256 by one of the keys, is for this server, good at this time, and says who may
    /// do what. Whether it has been revoked is [`crate::Revocations`]' answer.
    ///
    /// # Errors
    /// Never [`Refused::Missing`], [`Refused::BadHeader`] or [`Refused::Revoked`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Token, Refused> {
        self.accept(&jws::open(&self.keys, token, LONGEST)?, unix(now))
    }

    /// The token that a signed payload is.
    pub(crate) fn accept(&self, payload: &[u8], now: i64) -> Result<Token, Refused> {
        let claims: Claims = claims::read("payload", payload)?;
        let [issued, not_before] = self.past(&claims, now)?;
        let expires = claims::seconds(claims.exp.as_ref(), NO_END)?;
        if expires.is_some_and(|expires| expires <= now) {
            let user = claims.sub.as_ref().and_then(Value::as_str).map(str::to_owned);
            let claims = String::from_utf8_lossy(payload).into_owned();
            return Err(Refused::Expired(Box::new(Expired { user, claims })));
        }
        self.audience(claims.aud.as_ref())?;
        kind(claims.kind.as_ref())?;
        said(claims, [issued, not_before, expires])
    }

    /// When it was made and when it begins; neither may lie in the future.
    fn past(&self, claims: &Claims, now: i64) -> Result<[Option<i64>; 2], Refused> {
        let issued = claims::seconds(claims.iat.as_ref(), NO_START[0])?;
        let begins = claims::seconds(claims.nbf.as_ref(), NO_START[1])?;
        let latest = now.saturating_add(self.leeway);
        if issued.is_some_and(|issued| issued > latest) {
            return Err(Refused::invalid("The token is not yet valid (iat)"));
        }
        if begins.is_some_and(|begins| begins > latest) {
            return Err(Refused::invalid("The token is not yet valid (nbf)"));
        }
        Ok([issued, begins])
    }

    fn audience(&self, claim: Option<&Value>) -> Result<(), Refused> {
        let ours = |name: &Value| name.as_str() == Some(&self.audience);
        match claim {
            None => Err(Refused::invalid("Token is missing the \"aud\" claim")),
            Some(Value::Array(names)) if names.iter().all(Value::is_string) && names.iter().any(ours) => Ok(()),
            Some(name) if ours(name) => Ok(()),
            Some(_) => Err(Refused::invalid("Invalid audience")),
        }
    }
}

/// What the claims say, when they say who may do what.
pub(crate) fn said(claims: Claims, [issued, not_before, expires]: [Option<i64>; 3]) -> Result<Token, Refused> {
    let user = match claims.sub {
        None => return Err(Refused::invalid("Missing claim: sub")),
        Some(Value::String(user)) if !user.is_empty() => user,
        Some(_) => return Err(Refused::invalid("Subject must be a string")),
    };
    let (dates, roles) = roles(claims.user_claims.as_ref(), claims.data_dates.as_ref())?;
    let (id, issuer) = (optional(claims.jti, "jti")?, optional(claims.iss, "iss")?);
    Ok(Token { user, id, issuer, issued, not_before, expires, roles, dates })
}

/// Seconds since 1970, of any time.
pub(crate) fn unix(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

fn kind(claim: Option<&Value>) -> Result<(), Refused> {
    match claim.map(Value::as_str) {
        None | Some(Some("access")) => Ok(()),
        Some(Some("refresh")) => Err(Refused::invalid("Only access tokens are allowed")),
        Some(_) => Err(Refused::invalid("Missing or invalid claim: type")),
    }
}

fn optional(claim: Option<Value>, name: &str) -> Result<Option<String>, Refused> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::invalid(format!("Invalid claim: {name}: not a text"))),
    }
}

/// A limit for a role that the token hasn't got is a slip, by which the role that was meant would have none.
fn roles(roles: Option<&Value>, dates: Option<&Value>) -> Result<(Dates, Vec<Role>), Refused> {
    let claims::Roles(roles) = claims::roles(roles)?;
    let (whole, mut single) = claims::dates(dates)?;
    let mut all = Vec::with_capacity(roles.len());
    for (name, scopes) in roles {
        let dates = single.remove(&name).unwrap_or_default().and(whole);
        all.push(Role { name, scopes: scopes.into_iter().collect(), dates });
    }
    match single.into_keys().next() {
        Some(name) => Err(Refused::invalid(format!("Invalid claim: data_dates: there is no role {name:?}"))),
        None => Ok((whole, all)),
    }
}

#[cfg(test)]
mod tests;

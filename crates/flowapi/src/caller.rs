//! Who asks, and what that allows.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use access::{Act, Denied, Grant, Refused, Spec, Token};
use http::request::Parts;
use http::{StatusCode, header};
use web::axum::extract::{FromRequestParts, MatchedPath};
use web::{Error, Peer};

use crate::app::App;
use crate::audit;
use crate::flowmachine::Asker;
use crate::known::{self, Known};

/// Whoever a valid token speaks for.
pub struct Caller(Token);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Caller, Error> {
        let header = parts.headers.get(header::AUTHORIZATION);
        // What is no text is no token either.
        let header = header.map(|value| value.to_str().unwrap_or("-"));
        let (span, peer) = (tracing::Span::current(), parts.extensions.get::<Peer>().map(ToString::to_string));
        span.record("path", parts.uri.path()).record("src_ip", peer.as_deref()).record("user", NOBODY);
        match app.gate.token(header, SystemTime::now()) {
            Ok(token) => {
                let (route, user) =
                    (parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str), token.user.as_str());
                span.record("user", user);
                let roles = audit::json(&token.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>());
                let jti = token.id.as_deref();
                audit::access!(INFO, "Attempting to load user", user, route, src_ip = peer);
                audit::access!(INFO, "Loaded user", user, route, src_ip = peer, jti, json.roles = roles);
                Ok(Caller(token))
            }
            Err(refused) => Err(unknown_caller(&refused)),
        }
    }
}

/// How upstream logs the user of a request without a good token.
const NOBODY: &str = "None";

fn unknown_caller(refused: &Refused) -> Error {
    let error_string = refused.to_string();
    match refused {
        Refused::Expired(expired) => {
            let (identity, claims) = (expired.user.as_deref(), expired.claims.as_str());
            audit::access!(ERROR, refused.event(), error_string, identity, json.expired_token = claims);
        }
        Refused::Revoked { user } => {
            audit::access!(ERROR, refused.event(), error_string, identity = user.as_str());
        }
        _ => audit::access!(ERROR, refused.event(), error_string),
    }
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    Error::new(status, error_string)
}

impl Caller {
    /// The token's user.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Whether there is a unit for which this would be allowed: asked before FlowMachine is.
    ///
    /// # Errors
    /// 403.
    pub fn precheck(&self, act: Act, spec: &Spec) -> Result<(), Error> {
        self.0.precheck(act, spec).map_err(|denied| self.denied(&denied))
    }

    /// Whether it is allowed for the unit that FlowMachine has named.
    ///
    /// # Errors
    /// 403.
    pub fn permit(&self, act: Act, spec: &Spec, unit: Option<&str>) -> Result<(), Error> {
        self.granted(self.0.permit(act, spec, unit)).map(drop)
    }

    /// Whether the unit's shapes may be had.
    ///
    /// # Errors
    /// 403.
    pub fn permit_geography(&self, unit: &str) -> Result<(), Error> {
        self.granted(self.0.permit_geography(unit)).map(drop)
    }

    /// Whether the days with data may be asked for, and which of them are told.
    ///
    /// # Errors
    /// 403.
    pub fn permit_dates(&self) -> Result<Grant<'_>, Error> {
        self.granted(self.0.permit_dates())
    }

    /// Whether it may be asked how the deployment is.
    ///
    /// # Errors
    /// 403.
    pub fn permit_deployment(&self) -> Result<(), Error> {
        self.granted(self.0.permit_deployment()).map(drop)
    }

    /// Whether quality checks may be asked for.
    ///
    /// # Errors
    /// 403.
    pub fn permit_quality(&self, days: Option<(time::Date, time::Date)>) -> Result<(), Error> {
        self.granted(self.0.permit_quality(days)).map(drop)
    }

    /// Whether this may be done with a query that FlowMachine knows by its id.
    ///
    /// # Errors
    /// 403; 404 where there is no such query.
    pub async fn of_stored(&self, app: &App, asker: &Asker, act: Act, id: &str) -> Result<Arc<Known>, Error> {
        if !is_query_id(id) {
            return Err(known::unknown(id));
        }
        let known = app.known.find(app, asker, id, |spec| self.precheck(act, spec)).await?;
        self.permit(act, &known.spec, known.unit.as_deref())?;
        Ok(known)
    }

    fn granted<'a>(&self, granted: Result<Grant<'a>, Denied>) -> Result<Grant<'a>, Error> {
        let grant = granted.map_err(|denied| self.denied(&denied))?;
        let roles: Vec<&str> = grant.roles.iter().map(|role| role.name.as_str()).collect();
        let (scopes, roles) = (audit::json(&grant.scopes), audit::json(&roles));
        let event = format!("Permission for {scopes} granted by {roles}");
        audit::access!(INFO, event, json.requested_scopes = scopes, json.granting_roles = roles);
        Ok(grant)
    }

    fn denied(&self, denied: &Denied) -> Error {
        match denied {
            Denied::Scopes { scopes } => {
                audit::access!(ERROR, denied.event(), json.requested_scopes = audit::json(scopes));
            }
            Denied::Dates { .. } => audit::access!(ERROR, denied.event(), error_string = denied.to_string()),
        }
        let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::FORBIDDEN);
        Error::new(status, Cow::from(denied.to_string()))
    }
}

/// Whether FlowMachine could have given this id: others never reach it, where they would become keys of redis and parts of SQL.
fn is_query_id(id: &str) -> bool {
    let is_hash = |id: &str| id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_plain = |id: &str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    is_hash(id) || id.strip_prefix("dummy_query_").is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_flowmachines_own() {
        let hash = "0123456789abcdef0123456789abcdef";
        for (id, fine) in [
            (hash, true),
            ("dummy_query_a-1", true),
            (&hash[1..], false),
            (&hash.to_uppercase(), false),
            ("dummy_query_", false),
            ("dummy_query_a'b", false),
            ("finist:0:x-state", false),
            ("", false),
        ] {
            assert_eq!(is_query_id(id), fine, "{id}");
        }
    }
}

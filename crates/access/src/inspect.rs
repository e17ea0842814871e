//! What a token says, whether or not it is any good: to be shown to people, never to let anybody in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::verifier::{LONGEST, NO_END, NO_START, said};
use crate::{Refused, Role, Token, jws};

/// Headers longer than this are refused by many a server and proxy.
const LONG: usize = 8 << 10;
/// The scopes that are no triplets.
const PLAIN: [&str; 4] = ["run", "get_result", "get_available_dates", "get_qa_checks"];

/// A token whose signature and times nobody has checked.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it says.
    pub token: Token,
    /// The servers that it is for.
    pub audience: Vec<String>,
    length: usize,
}

/// Kinds of query by aggregation unit (`nonspatial` for none), each with the kinds that may be parts of it.
pub type Queries = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

impl Inspection {
    /// Reads a token without checking who has signed it.
    ///
    /// # Errors
    /// It doesn't say who may do what.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let payload = jws::unchecked(text, LONGEST)?;
        let claims: Claims = claims::read("payload", &payload)?;
        let audience = match &claims.aud {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let times = [
            claims::seconds(claims.iat.as_ref(), NO_START[0])?,
            claims::seconds(claims.nbf.as_ref(), NO_START[1])?,
            claims::seconds(claims.exp.as_ref(), NO_END)?,
        ];
        Ok(Self { token: said(claims, times)?, audience, length: text.len() })
    }

    /// What will surprise whoever uses it, though it be valid: sentences, the subject being the token.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.token.expires.is_none() {
            advice.push("it never ends".to_owned());
        }
        if self.token.id.is_none() {
            advice.push("it has no id (jti), so that it can't be revoked without its user".to_owned());
        }
        if self.length > LONG {
            advice.push(format!("it has {} bytes, and many a proxy takes no more than {LONG}", self.length));
        }
        if self.token.roles.is_empty() {
            advice.push("it has no role, so that it allows nothing".to_owned());
        }
        self.token.roles.iter().for_each(|role| role.advice(&mut advice));
        advice
    }
}

impl Role {
    /// The queries that it covers, the whole of each: parts of a kind that it doesn't hold itself are none.
    pub fn queries(&self) -> Queries {
        let mut queries = self.triplets();
        for (unit, tops) in &mut queries {
            tops.retain(|top, _| self.scopes.contains(&format!("{unit}:{top}:{top}")));
        }
        queries.retain(|_, tops| !tops.is_empty());
        queries
    }

    fn triplets(&self) -> Queries {
        let mut queries = Queries::new();
        for (unit, top, part) in self.scopes.iter().filter_map(|scope| triplet(scope)) {
            let tops = queries.entry(unit.to_owned()).or_default();
            tops.entry(top.to_owned()).or_default().insert(part.to_owned());
        }
        queries
    }

    fn advice(&self, advice: &mut Vec<String>) {
        let Self { name, scopes, dates } = self;
        let has = |scope: &str| scopes.contains(scope);
        let unknown: BTreeSet<&String> =
            scopes.iter().filter(|scope| !PLAIN.contains(&scope.as_str()) && triplet(scope).is_none()).collect();
        if let Some(first) = unknown.first() {
            let more = if unknown.len() > 1 {
                format!(" and {} more of its scopes allow", unknown.len() - 1)
            } else {
                " allows".into()
            };
            advice.push(format!("role {name:?}: {first:?}{more} nothing: no server asks for it"));
        }
        if dates.empty() {
            advice.push(format!("role {name:?} may see the data of no day: its first is after its last"));
        }
        let (held, queries) = (self.triplets(), self.queries());
        if (has("run") || has("get_result")) && held.is_empty() {
            advice.push(format!(
                "role {name:?} may run or fetch, but holds no kind of query: roles are never put together"
            ));
        }
        if !queries.is_empty() && !has("run") && !has("get_result") {
            advice.push(format!("role {name:?} holds kinds of query, but may neither run nor fetch them"));
        }
        for (unit, tops) in &held {
            for top in tops.keys().filter(|top| !scopes.contains(&format!("{unit}:{top}:{top}"))) {
                advice.push(format!(
                    "role {name:?} holds parts of {top} at {unit}, but not \"{unit}:{top}:{top}\", which each needs"
                ));
            }
        }
    }
}

fn triplet(scope: &str) -> Option<(&str, &str, &str)> {
    let mut parts = scope.split(':');
    let triplet = (parts.next()?, parts.next()?, parts.next()?);
    let named =
        [triplet.0, triplet.1, triplet.2].iter().all(|part| !part.is_empty() && !part.contains(char::is_whitespace));
    (named && parts.next().is_none()).then_some(triplet)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{claims, signed};

    fn read(roles: Value) -> Inspection {
        let mut claims = claims();
        claims["user_claims"] = roles;
        Inspection::read(&signed("{}", claims.to_string().as_bytes())).unwrap()
    }

    #[test]
    fn a_token_is_read_whoever_has_signed_it() {
        let text = signed(r#"{"alg":"none"}"#, br#"{"sub":"eve","aud":["a","b"],"exp":1,"user_claims":{}}"#);
        let read = Inspection::read(&text[..text.len() - 6]).unwrap();
        assert_eq!((read.token.user.as_str(), read.token.expires, read.audience.len()), ("eve", Some(1), 2));
        assert!(Inspection::read("eve").is_err());
    }

    #[test]
    fn queries_are_those_that_can_be_asked() {
        let role = &read(
            json!({ "a": ["run", "admin3:flows:flows", "admin3:flows:daily_location", "admin2:flows:daily_location"] }),
        );
        let flows = BTreeMap::from([("flows".into(), BTreeSet::from(["daily_location".into(), "flows".into()]))]);
        assert_eq!(role.token.roles[0].queries(), BTreeMap::from([("admin3".into(), flows)]));
        let part = "role \"a\" holds parts of flows at admin2, but not \"admin2:flows:flows\", which each needs";
        assert_eq!(role.advice(), [part]);
    }

    #[test]
    fn what_surprises_is_said() {
        for (roles, advice) in [
            (json!({}), "it has no role, so that it allows nothing"),
            (
                json!({ "a": ["run"] }),
                "role \"a\" may run or fetch, but holds no kind of query: roles are never put together",
            ),
            (json!({ "a": ["nonspatial:x:x"] }), "role \"a\" holds kinds of query, but may neither run nor fetch them"),
            (json!({ "a": ["get_results"] }), "role \"a\": \"get_results\" allows nothing: no server asks for it"),
            (
                json!({ "a": ["b", "c", "d e:f:g"] }),
                "role \"a\": \"b\" and 2 more of its scopes allow nothing: no server asks for it",
            ),
        ] {
            assert_eq!(read(roles).advice(), [advice]);
        }
        let bare = signed("{}", br#"{"sub":"eve","user_claims":{"a":["get_available_dates"]}}"#);
        let advice = ["it never ends", "it has no id (jti), so that it can't be revoked without its user"];
        assert_eq!(Inspection::read(&bare).unwrap().advice(), advice);
        let many: Vec<String> =
            (0..900).map(|n| format!("admin{}:flows:flows", n * 7919)).chain(["run".into()]).collect();
        assert!(read(json!({ "a": many })).advice()[0].starts_with("it has "));
        let mut claims = claims();
        claims["data_dates"] = json!({ "first": "2016-02-01", "last": "2016-01-01" });
        claims["user_claims"] = json!({ "a": ["get_available_dates"] });
        let none = Inspection::read(&signed("{}", claims.to_string().as_bytes())).unwrap();
        assert_eq!(none.advice(), ["role \"a\" may see the data of no day: its first is after its last"]);
    }
}

//! What a token says, as it stands in the payload: the names and forms that upstream's generator writes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{Dates, Refused};

/// What compressed roles may come to. All 628 scopes of FlowMachine 1.34 are 30 kB.
const MOST_INFLATED: u64 = 1 << 20;
/// Base64 in the MIME way breaks its lines after so many characters.
const LINE: usize = 76;

/// The payload as it comes. What is absent is `None`; what is `null` is `Some(Null)`, which none of them may be.
#[derive(Deserialize)]
pub(crate) struct Claims {
    #[serde(default, deserialize_with = "present")]
    pub sub: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub aud: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub iss: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub iat: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub jti: Option<Value>,
    #[serde(default, deserialize_with = "present", rename = "type")]
    pub kind: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub user_claims: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub data_dates: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The header or payload of whatever was signed. The text before the error's is PyJWT's.
pub(crate) fn read<'a, T: Deserialize<'a>>(part: &'static str, text: &'a [u8]) -> Result<T, Refused> {
    // A list would do for serde, its entries taken for the fields in our order.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refused::invalid(format!("Invalid {part} string: must be a json object")));
    }
    serde_json::from_slice(text).map_err(|error| Refused::invalid(format!("Invalid {part} string: {error}")))
}

/// A time in whole seconds since 1970; a fraction is cut off, as PyJWT does. The error is its own text.
pub(crate) fn seconds(claim: Option<&Value>, wrong: &'static str) -> Result<Option<i64>, Refused> {
    let Some(claim) = claim else { return Ok(None) };
    // From a float, `as` goes to the nearest number that there is: a time far beyond all clocks.
    let seconds = claim.as_i64().or_else(|| claim.as_f64().map(|seconds| seconds as i64));
    seconds.map(Some).ok_or(Refused::invalid(wrong))
}

/// Roles in the order in which the token has them, each with its scopes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Roles(pub Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Roles;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("an object of roles, each a list of scopes")
            }

            /// A name that stands twice would be one role to one reader and another to the next.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Roles, A::Error> {
                let mut roles = BTreeMap::new();
                while let Some((name, scopes)) = map.next_entry::<String, Vec<String>>()? {
                    let place = roles.len();
                    if roles.insert(name, (place, scopes)).is_some() {
                        return Err(serde::de::Error::custom("a role stands twice"));
                    }
                }
                let mut roles: Vec<_> = roles.into_iter().collect();
                roles.sort_by_key(|(_, (place, _))| *place);
                Ok(Roles(roles.into_iter().map(|(name, (_, scopes))| (name, scopes)).collect()))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Roles out of `user_claims`: base64 with line breaks, gzip, JSON. The generator can leave the object as it is, too.
///
/// # Errors
/// Whatever is wrong with it, once it has become more than a megabyte too.
pub(crate) fn roles(claim: Option<&Value>) -> Result<Roles, Refused> {
    let wrong = |why: String| Refused::invalid(format!("Invalid claim: user_claims: {why}"));
    let packed = match claim {
        None => return Err(Refused::invalid("Missing claim: user_claims")),
        Some(Value::String(packed)) => packed,
        Some(object) => return Roles::deserialize(object).map_err(|error| wrong(error.to_string())),
    };
    let packed: Vec<u8> = packed.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let packed = STANDARD.decode(packed).map_err(|_| wrong("not base64".into()))?;
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(&packed[..]).take(MOST_INFLATED + 1).read_to_end(&mut text);
    read.map_err(|_| wrong("not gzip".into()))?;
    if text.len() as u64 > MOST_INFLATED {
        return Err(wrong(format!("more than {MOST_INFLATED} bytes when unpacked")));
    }
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

/// The text of `user_claims`, as upstream's generator packs it.
pub(crate) fn packed(roles: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    serde_json::to_writer(&mut gzip, roles)?;
    gzip.flush().map_err(serde_json::Error::io)?;
    let packed = STANDARD.encode(gzip.finish().map_err(serde_json::Error::io)?);
    let mut lines = String::with_capacity(packed.len() + packed.len() / LINE + 1);
    for line in packed.as_bytes().chunks(LINE) {
        lines.extend(line.iter().map(|byte| char::from(*byte)));
        lines.push('\n');
    }
    Ok(lines)
}

/// Data dates out of the claim of that name: those of the whole token, and those of single roles.
pub(crate) fn dates(claim: Option<&Value>) -> Result<(Dates, BTreeMap<String, Dates>), Refused> {
    let Some(claim) = claim else { return Ok(Default::default()) };
    let read = || -> Result<_, String> {
        let whole = limits(claim, true)?;
        let roles = match claim.get("roles") {
            None => BTreeMap::new(),
            Some(Value::Object(roles)) => {
                let role = |(name, dates): (&String, &Value)| Ok((name.clone(), limits(dates, false)?));
                roles.iter().map(role).collect::<Result<_, String>>()?
            }
            Some(_) => return Err("roles is not an object".into()),
        };
        Ok((whole, roles))
    };
    read().map_err(|why| Refused::invalid(format!("Invalid claim: data_dates: {why}")))
}

/// A first and a last day. An unknown name could be a limit that a newer version of us has made: it must not be passed over.
fn limits(claim: &Value, roles: bool) -> Result<Dates, String> {
    let object = claim.as_object().ok_or("not an object")?;
    let known = |name: &str| matches!(name, "first" | "last") || roles && name == "roles";
    if let Some(name) = object.keys().find(|name| !known(name)) {
        return Err(format!("{name:?} is unknown"));
    }
    let day = |name: &str| match object.get(name) {
        None => Ok(None),
        Some(Value::String(day)) => Ok(Some(day.as_str())),
        Some(_) => Err(format!("{name} is not a day such as 2016-01-31")),
    };
    Dates::parse(day("first")?, day("last")?)
}

#[cfg(test)]
mod tests;

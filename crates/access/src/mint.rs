//! Tokens made from the private key, as upstream's generator and FlowAuth make them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rand::rand_core::TryCryptoRng;
use rsa::pkcs1v15::SigningKey;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sha2::Sha256;

use crate::keys::{self, KeyError};
use crate::verifier::unix;
use crate::{Dates, Keys, Revocations, claims, jws};

/// Makes tokens.
pub struct Minter {
    key: SigningKey<Sha256>,
    issuer: Option<String>,
}

/// What a token shall say.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Whose it is.
    pub user: String,
    /// The server that it is for (`FLOWAPI_IDENTIFIER`).
    pub audience: String,
    /// How long it is good, whole seconds.
    pub lifetime: Duration,
    /// Roles, in this order, each with its scopes. Fewer scopes than the role has elsewhere are a token with less leave.
    pub roles: Vec<(String, Vec<String>)>,
    /// The days of data that the whole token may see.
    pub dates: Dates,
    /// The days of data that single roles may see.
    pub role_dates: BTreeMap<String, Dates>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// A token of nobody would be refused.
    #[error("a token needs the name of its user")]
    Nobody,
    /// One role to one reader, another to the next.
    #[error("the role {0:?} is named twice")]
    Twice(String),
    /// A limit without its role is a slip that would leave another role without one.
    #[error("data dates are given for {0:?}, which is none of the token's roles")]
    NoSuchRole(String),
    /// It would be over before it begins.
    #[error("a token that is good for {0:?} would be of no use")]
    Lifetime(Duration),
    /// What is to be signed can't be written.
    #[error("it can't be written as JSON")]
    Json(#[from] serde_json::Error),
    /// There were no random numbers.
    #[error("there are no random numbers to name it by")]
    Random,
    /// The key is too short for the algorithm, or there were no random numbers.
    #[error("it can't be signed")]
    Sign(#[source] rsa::signature::Error),
}

/// In the order in which upstream writes them.
#[derive(Serialize)]
struct Payload<'a> {
    iat: i64,
    nbf: i64,
    jti: &'a str,
    user_claims: String,
    sub: &'a str,
    exp: i64,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dates: Option<DataDates<'a>>,
}

#[derive(Serialize)]
struct DataDates<'a> {
    #[serde(flatten)]
    whole: Written,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    roles: BTreeMap<&'a str, Written>,
}

#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

impl From<Dates> for Written {
    fn from(dates: Dates) -> Self {
        Self { first: dates.first.map(|day| day.to_string()), last: dates.last.map(|day| day.to_string()) }
    }
}

/// Sorted scopes, each once.
struct Roles<'a>(&'a [(String, Vec<String>)]);

impl Serialize for Roles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, scopes) in self.0 {
            let sorted: std::collections::BTreeSet<&String> = scopes.iter().collect();
            map.serialize_entry(name, &sorted)?;
        }
        map.end()
    }
}

impl Minter {
    /// With a private key as secrets hold it: PKCS#1 or PKCS#8 PEM without a passphrase, or base64 of it.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        Ok(Self { key: SigningKey::new(keys::private(key)?), issuer: None })
    }

    /// Says in each token who has made it (`iss`), as FlowAuth does. Nothing depends on it.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The public half, to check with.
    pub fn keys(&self) -> Keys {
        Keys::from(self.key.as_ref().to_public_key())
    }

    /// A token that is good from now on, with an id of its own.
    ///
    /// # Errors
    /// What is wrong with the wish; [`MintError::Random`] or [`MintError::Sign`] when the random numbers fail.
    pub fn mint(&self, wish: &Wish, now: SystemTime, random: &mut impl TryCryptoRng) -> Result<String, MintError> {
        if wish.user.is_empty() {
            return Err(MintError::Nobody);
        }
        if wish.lifetime.as_secs() == 0 {
            return Err(MintError::Lifetime(wish.lifetime));
        }
        let (now, id) = (unix(now), uuid(random)?);
        let payload = Payload {
            iat: now,
            nbf: now,
            jti: &id,
            user_claims: claims::packed(&Roles(&wish.roles))?,
            sub: &wish.user,
            exp: now.saturating_add(i64::try_from(wish.lifetime.as_secs()).unwrap_or(i64::MAX)),
            aud: &wish.audience,
            iss: self.issuer.as_deref(),
            data_dates: data_dates(wish)?,
        };
        jws::sign(&self.key, &serde_json::to_vec(&payload)?, random).map_err(MintError::Sign)
    }

    /// The signed text of a list of revocations.
    ///
    /// # Errors
    /// [`MintError::Random`] or [`MintError::Sign`] when the random numbers fail.
    pub fn publish(&self, list: &Revocations, random: &mut impl TryCryptoRng) -> Result<String, MintError> {
        jws::sign(&self.key, &list.payload()?, random).map_err(MintError::Sign)
    }
}

fn data_dates(wish: &Wish) -> Result<Option<DataDates<'_>>, MintError> {
    for (at, (name, _)) in wish.roles.iter().enumerate() {
        if wish.roles[..at].iter().any(|(other, _)| other == name) {
            return Err(MintError::Twice(name.clone()));
        }
    }
    let known = |name: &String| wish.roles.iter().any(|(role, _)| role == name);
    if let Some(name) = wish.role_dates.keys().find(|name| !known(name)) {
        return Err(MintError::NoSuchRole(name.clone()));
    }
    let limited = wish.role_dates.iter().filter(|(_, dates)| dates.limited());
    let roles: BTreeMap<&str, Written> = limited.map(|(name, dates)| (name.as_str(), (*dates).into())).collect();
    Ok((wish.dates.limited() || !roles.is_empty()).then(|| DataDates { whole: wish.dates.into(), roles }))
}

/// A random UUID (version 4).
fn uuid(random: &mut impl TryCryptoRng) -> Result<String, MintError> {
    let mut bytes = [0; 16];
    random.try_fill_bytes(&mut bytes).map_err(|_| MintError::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests;

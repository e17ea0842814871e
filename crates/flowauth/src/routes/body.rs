//! Bodies of requests: JSON objects, field by field, so that what is missing and what is null can be told apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value};
use web::Error;
use web::axum::body::Bytes;
use web::axum::extract::{FromRequest, FromRequestParts, Path, Request};

use crate::acts::{missing, wrong};
use crate::app::App;
use crate::times;

/// The longest lifetime, a hundred years: its end is a time that everybody can write.
const MOST_MINUTES: i64 = 52_596_000;

/// An object. An empty body is one too.
pub struct Body(Map<String, Value>);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Body, Error> {
        let kind =
            request.headers().get(http::header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default().to_owned());
        let bytes = match Bytes::from_request(request, app).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(Error::of(error.status())),
        };
        if bytes.is_empty() {
            return Ok(Body(Map::new()));
        }
        // A form of another site can't say this.
        let kind = kind.unwrap_or_default();
        if kind.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
            return Err(Error::of(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(Body(map)),
            _ => Err(Error::new(StatusCode::BAD_REQUEST, "The body must be a JSON object.")),
        }
    }
}

impl Body {
    /// The fields' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the field is there, null or not.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not empty. One with a zero in it is none that every database could keep.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => {
                Ok(Some(text.as_str()).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(wrong(name, format!("{name} must be text."))),
        }
    }

    /// Yes or no.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(name, format!("{name} must be true or false."))),
        }
    }

    /// Minutes: a whole number, or a text of one, as upstream's pages send it.
    pub fn minutes(&self, name: &str) -> Result<Option<i64>, Error> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        let number = number.filter(|number| (1..=MOST_MINUTES).contains(number));
        number.map(Some).ok_or_else(|| wrong(name, format!("{name} must be a positive integer")))
    }

    /// A time. `Some(None)`: null, no such time.
    pub fn time(&self, name: &str) -> Result<Option<Option<i64>>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) if text.is_empty() => Ok(Some(None)),
            Some(value) => match value.as_str().and_then(times::parse) {
                Some(time) => Ok(Some(Some(time))),
                None => Err(wrong(name, format!("{name} must be a time such as 2026-01-31T12:00:00.000Z."))),
            },
        }
    }

    /// The number of a thing.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(name, format!("{name} must be a number."))),
        }
    }

    /// Numbers of things.
    pub fn numbers(&self, name: &str) -> Result<Option<BTreeSet<i64>>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let numbers = value.as_array().and_then(|all| all.iter().map(Value::as_i64).collect::<Option<_>>());
        numbers.map(Some).ok_or_else(|| wrong(name, format!("{name} must be a list of numbers.")))
    }

    /// Objects, or whatever is listed.
    pub fn list(&self, name: &str) -> Result<Option<&Vec<Value>>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(all)) => Ok(Some(all)),
            Some(_) => Err(wrong(name, format!("{name} must be a list."))),
        }
    }
}

/// The numbers in a path; what is no number is no thing of ours.
pub struct Id<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<Arc<App>> for Id<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, app: &Arc<App>) -> Result<Id<T>, Error> {
        let Path(id) = Path::<T>::from_request_parts(parts, app).await.map_err(|_| missing())?;
        Ok(Id(id))
    }
}

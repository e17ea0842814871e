//! Errors of handlers: what the client reads and what the log gets can't be mixed up.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

/// What a client is told when something of ours failed.
const OURS: &str = "Something went wrong on the server. Its log says what, beside the request's id.";

/// Why a request is not answered as it was meant. Any error becomes one by `?`: status 500, a fixed text for the client, and
/// the error itself for the log alone.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    text: Cow<'static, str>,
    fields: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a text for the client.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Error {
        Error { status, text: text.into(), fields: Map::new(), headers: Vec::new(), cause: None }
    }

    /// One with the text that fits the status.
    pub fn of(status: StatusCode) -> Error {
        Error::new(status, text(status))
    }

    /// What the log gets beside; the client does not.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.cause = Some(cause.into());
        self
    }

    /// A further field of the answer.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Error {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// A header of the answer, such as `Retry-After`.
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Error {
        self.headers.push((name, value.into()));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text for the client.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A further field of the answer.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Writes it to the log. What the client did wrong is of interest only to who looks for it.
    fn log(&self) {
        let causes = self.cause.as_deref().map(|cause| say::in_full(cause));
        let (status, cause) = (self.status.as_u16(), causes.as_deref());
        match (self.status.is_server_error(), cause) {
            (true, _) => tracing::error!(status, cause, "{}", self.text),
            (false, Some(_)) => tracing::info!(status, cause, "{}", self.text),
            (false, None) => tracing::debug!(status, "{}", self.text),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        Error::of(StatusCode::INTERNAL_SERVER_ERROR).because(error)
    }
}

/// Rides on the response until its form is made.
#[derive(Clone)]
struct Carried(Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.headers_mut().extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        response.extensions_mut().insert(Carried(Arc::new(self)));
        response
    }
}

/// All that the form of an error is made of.
pub struct Failure<'a> {
    /// The status.
    pub status: StatusCode,
    /// The text for people.
    pub text: &'a str,
    /// Further fields.
    pub fields: &'a Map<String, Value>,
    /// The request's id, which is in the log too.
    pub request: &'a str,
    /// The path that was asked for.
    pub path: &'a str,
    /// Whether a browser asks for a page.
    pub page: bool,
    /// The request's headers, if a browser asks for a page: which languages it wants.
    pub headers: &'a HeaderMap,
}

/// Makes the answer out of an error; status and headers are taken over afterwards.
pub type Render = Arc<dyn Fn(&Failure<'_>) -> Response + Send + Sync>;

/// FlowAPI's form: `{"msg": TEXT, "request_id": ID}` and the further fields.
pub fn json(failure: &Failure<'_>) -> Response {
    let mut body = Map::new();
    body.insert("msg".to_owned(), failure.text.into());
    body.extend(failure.fields.clone());
    body.insert("request_id".to_owned(), failure.request.into());
    ([(header::CONTENT_TYPE, "application/json")], Value::Object(body).to_string()).into_response()
}

/// Gives errors their form, those too that come from axum or from nowhere in particular. What a handler has formed itself stays.
pub fn formed(response: Response, render: &Render, request: &str, path: &str, headers: Option<&HeaderMap>) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let error = match response.extensions().get::<Carried>() {
        Some(Carried(error)) => error.clone(),
        None if is_own(&response) => return response,
        None => Arc::new(Error::of(status)),
    };
    error.log();
    let (page, none) = (headers.is_some(), HeaderMap::new());
    let headers = headers.unwrap_or(&none);
    let failure = Failure { status, text: &error.text, fields: &error.fields, request, path, page, headers };
    let mut formed = render(&failure);
    *formed.status_mut() = status;
    let (parts, _) = response.into_parts();
    for (name, value) in &parts.headers {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH | header::CONTENT_ENCODING) {
            formed.headers_mut().append(name.clone(), value.clone());
        }
    }
    formed.map(Body::new)
}

/// Whether a handler has formed it: what axum refuses has a plain text or nothing in it.
fn is_own(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| !kind.starts_with(b"text/plain"))
}

/// What a client is told by default. Texts of libraries name types of ours, or places.
fn text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "The request can't be understood.",
        StatusCode::UNAUTHORIZED => "Sign in first.",
        StatusCode::FORBIDDEN => "That is not allowed.",
        StatusCode::NOT_FOUND => "There is nothing here.",
        StatusCode::METHOD_NOT_ALLOWED => "This method is not for this path.",
        StatusCode::REQUEST_TIMEOUT => "The request took too long to arrive.",
        StatusCode::PAYLOAD_TOO_LARGE => "The request is too large.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "The request's content type is not taken here.",
        StatusCode::UNPROCESSABLE_ENTITY => "The request's values can't be taken.",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests; try again later.",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The request has too many headers, or too large ones.",
        StatusCode::SERVICE_UNAVAILABLE => "The server can't answer that now; try again later.",
        status if status.is_client_error() => "The request can't be answered.",
        _ => OURS,
    }
}

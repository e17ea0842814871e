//! One request, from its headers to the last byte of its answer.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::activity::Activity;
use super::body::{Fault, Sent, Taken};
use super::error::{self, Error};
use super::headers::REQUEST_ID;
use super::listener::Peer;
use super::room::{Load, Share};
use super::server::Options;

/// The request's id, in its answer and in every line of the log about it. The client's own where it sent a sane one and the
/// server's options do not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

/// Longest id that is taken from a client.
const LONGEST: usize = 64;

impl RequestId {
    /// The client's own.
    fn given(headers: &HeaderMap) -> Option<RequestId> {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        given.filter(|id| is_sane(id)).map(|id| RequestId(id.into()))
    }

    /// A random one, as a UUID of version 4.
    fn new() -> RequestId {
        let random = rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{random:032x}");
        RequestId([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").into())
    }

    /// The text: letters, digits, `-`, `_` and `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Nothing that means something to a log, a shell, a page or FlowMachine.
fn is_sane(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestId, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(RequestId::new))
    }
}

/// The route that answers, told by the router. Its pattern is logged instead of the path, which may hold a secret.
type Route = Arc<OnceLock<MatchedPath>>;

/// What is known of a request; logged when it goes.
pub struct Tracked {
    pub span: tracing::Span,
    pub bytes: u64,
    /// Whether the whole answer was handed over.
    pub complete: bool,
    activity: Arc<Activity>,
    number: u64,
    share: Option<Arc<Share>>,
    began: Instant,
    method: Method,
    version: Version,
    route: Route,
    peer: Peer,
    status: Option<StatusCode>,
}

impl Tracked {
    pub fn wanted(&self) {
        self.activity.wanted(self.number);
    }

    pub fn handed_over(&self) {
        self.activity.handed_over(self.number);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.activity.request_ended(self.number);
        let _span = self.span.enter();
        tracing::info!(
            target: "access",
            method = %self.method,
            route = self.route.get().map(MatchedPath::as_str),
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            http = ?self.version,
            peer = %self.peer,
            complete = self.complete,
            "request"
        );
    }
}

/// Prepares a server's router.
pub fn grounded(router: Router) -> Router {
    // The ground counts; a route that wants less says so further in.
    router.layer(from_fn(tell_route)).layer(DefaultBodyLimit::disable())
}

async fn tell_route(request: Request, next: Next) -> Response {
    if let (Some(route), Some(path)) = (request.extensions().get::<Route>(), request.extensions().get::<MatchedPath>())
    {
        let _ = route.set(path.clone());
    }
    next.run(request).await
}

/// Answers a request that came over a connection.
pub async fn answer<B>(
    (router, options, load): (Router, Arc<Options>, Arc<Load>),
    (activity, peer): (Arc<Activity>, Peer),
    request: http::Request<B>,
) -> Response<Sent>
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    let given = RequestId::given(&parts.headers);
    let (theirs, given) = if options.own_ids { (given, None) } else { (None, given) };
    let id = given.unwrap_or_else(RequestId::new);
    let none = tracing::field::Empty;
    // A server that says more of its requests records the rest.
    let span = tracing::info_span!(
        "request", request = %id, client_request = theirs.as_ref().map(RequestId::as_str), path = none, src_ip = none, user = none
    );
    let route = Route::default();
    let mut tracked = Tracked {
        span: span.clone(),
        bytes: 0,
        complete: parts.method == Method::HEAD,
        number: activity.request_began(),
        activity,
        share: None,
        began: Instant::now(),
        method: parts.method.clone(),
        version: parts.version,
        route: route.clone(),
        peer,
        status: None,
    };
    let asked = Asked::of(&parts);
    tracked.share = load.request(peer, &options.limits).map(Arc::new);
    let work = async {
        let fault = Fault::default();
        let response = match &tracked.share {
            Some(share) => {
                let until = tracked.began + options.limits.body;
                let body = Taken::new(body, options.limits.body_bytes, until, share.clone(), fault.clone());
                let mut request = Request::from_parts(parts, Body::new(body));
                request.extensions_mut().insert(id.clone());
                request.extensions_mut().insert(route);
                request.extensions_mut().insert(peer);
                match refused(&request, &options) {
                    Some(status) => Error::of(status).into_response(),
                    None => handled(router, request, &options).await,
                }
            }
            None => Error::of(StatusCode::SERVICE_UNAVAILABLE).header(header::RETRY_AFTER, 1).into_response(),
        };
        let mut response = match fault.get().filter(|_| !response.status().is_success()) {
            Some(status) => Error::of(status).into_response(),
            None => response,
        };
        let unread = fault.get().is_some() || tracked.share.is_none();
        if (unread || response.status() == StatusCode::PAYLOAD_TOO_LARGE) && tracked.version < Version::HTTP_2 {
            // The rest of the body is not read, so nothing can follow it.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let mut response = error::formed(response, &options.errors, id.as_str(), &asked.path, asked.page.as_ref());
        let id = HeaderValue::try_from(id.as_str()).unwrap_or(HeaderValue::from_static("none"));
        options.headers.add(response.headers_mut(), &id, asked.host.as_deref().filter(|_| options.tls.is_some()));
        response
    };
    let response = work.instrument(span).await;
    tracked.status = Some(response.status());
    response.map(|body| Sent::new(body, tracked))
}

/// What of a request its answer's form depends on.
struct Asked {
    path: String,
    host: Option<String>,
    /// The headers, if a browser asks for a page.
    page: Option<HeaderMap>,
}

impl Asked {
    fn of(parts: &Parts) -> Asked {
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let authority = || text(header::HOST)?.parse::<http::uri::Authority>().ok();
        Asked {
            path: parts.uri.path().to_owned(),
            host: parts.uri.host().map(str::to_owned).or_else(|| Some(authority()?.host().to_owned())),
            page: text(header::ACCEPT).filter(|kinds| kinds.contains("text/html")).map(|_| parts.headers.clone()),
        }
    }
}

/// Why a request is not even handed to its route.
fn refused(request: &Request, options: &Options) -> Option<StatusCode> {
    let size = http_body::Body::size_hint(request.body()).lower();
    if size > options.limits.body_bytes as u64 {
        Some(StatusCode::PAYLOAD_TOO_LARGE)
    } else if request.headers().len() > options.limits.headers {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        None
    }
}

async fn handled(router: Router, request: Request, options: &Options) -> Response {
    let work = AssertUnwindSafe(router.oneshot(request)).catch_unwind();
    match tokio::time::timeout(options.limits.answer, work).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        // The text of the panic is in the log already.
        Ok(Err(_)) => Error::of(StatusCode::INTERNAL_SERVER_ERROR).because("the handler panicked").into_response(),
        Err(_) => Error::of(StatusCode::SERVICE_UNAVAILABLE).because("the handler took too long").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_the_clients_only_when_it_is_sane(given in prop_oneof!["[a-zA-Z0-9._-]{0,80}", ".{0,80}"]) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(given.as_bytes()) {
                headers.insert(REQUEST_ID, value);
            }
            let id = RequestId::given(&headers);
            prop_assert_eq!(id.as_ref().map(RequestId::as_str), is_sane(&given).then_some(&*given));
        }
    }

    #[test]
    fn an_id_of_ours_is_a_uuid() {
        let id = RequestId::new();
        assert_ne!(id, RequestId::new());
        let bytes = id.as_str().as_bytes();
        assert_eq!((bytes.len(), bytes[14]), (36, b'4'));
        assert!([8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-') && b"89ab".contains(&bytes[19]), "{id}");
    }
}

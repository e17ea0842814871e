//! What is open to everybody: the root, the specification and its page.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use web::RequestId;
use web::axum::extract::State;
use web::axum::response::{Html, IntoResponse as _, Response};

use super::Answer;
use crate::app::App;
use crate::packed::Packed;

/// ReDoc 2.5.2's `bundles/redoc.standalone.js` of the npm package `redoc`, by `gzip -9n`. Its licence, MIT, and those of what is
/// in it lie beside it.
static SCRIPT: &[u8] = include_bytes!("../../assets/redoc.standalone.js.gz");

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>FlowAPI</title>
<style>body { margin: 0 }</style>
<redoc spec-url=\"openapi.json\"></redoc>
<script src=\"redoc.js\"></script>
";

/// The page runs our script and shows our document; ReDoc writes styles into the page, and searches in a worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
    img-src 'self' data:; worker-src blob:; frame-ancestors 'none'; base-uri 'none'";

/// Whether the server answers at all.
pub async fn root() -> Html<&'static str> {
    Html("")
}

/// The document as JSON.
pub async fn json(State(app): State<Arc<App>>, id: RequestId, headers: HeaderMap) -> Answer {
    let document = app.documents.get(&app, &app.open_asker(&id)).await?;
    Ok(document.json.answer(&headers, &[kind("application/json")])?)
}

/// The document as YAML.
pub async fn yaml(State(app): State<Arc<App>>, id: RequestId, headers: HeaderMap) -> Answer {
    let document = app.documents.get(&app, &app.open_asker(&id)).await?;
    Ok(document.yaml.answer(&headers, &[kind("application/x-yaml")])?)
}

fn kind(kind: &'static str) -> (HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static(kind))
}

/// A page for people.
pub async fn redoc() -> Response {
    let policy = HeaderValue::from_static(POLICY);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE)).into_response()
}

/// The page's script. Who takes gzip gets it as it is in this program; for others it is inflated once.
pub async fn script(headers: HeaderMap) -> Answer {
    static PACKED: OnceLock<Packed> = OnceLock::new();
    let packed = PACKED.get_or_init(|| Packed::of_gzip(Bytes::from_static(SCRIPT)));
    let kept = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    Ok(packed.answer(&headers, &[kind("text/javascript; charset=utf-8"), kept])?)
}

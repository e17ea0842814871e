//! What is open to everybody: the root, the specification and its page.

use std::io::Read as _;
use std::sync::Arc;

use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, header};
use web::RequestId;
use web::axum::extract::State;
use web::axum::response::{Html, IntoResponse as _, Response};

use super::Answer;
use crate::app::App;

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
pub async fn json(State(app): State<Arc<App>>, id: RequestId) -> Answer {
    let document = app.documents.get(&app, &app.open_asker(&id)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document.json.clone()).into_response())
}

/// The document as YAML.
pub async fn yaml(State(app): State<Arc<App>>, id: RequestId) -> Answer {
    let document = app.documents.get(&app, &app.open_asker(&id)).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-yaml")], document.yaml.clone()).into_response())
}

/// A page for people.
pub async fn redoc() -> Response {
    let policy = HeaderValue::from_static(POLICY);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE)).into_response()
}

/// The page's script, compressed as it is in this program.
pub async fn script(headers: HeaderMap) -> Answer {
    let taken = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let kind = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
    let kept = (header::CACHE_CONTROL, "public, max-age=86400");
    let varies = (header::VARY, "accept-encoding");
    if taken.is_some_and(|taken| taken.contains("gzip")) {
        return Ok(([kind, kept, varies, (header::CONTENT_ENCODING, "gzip")], SCRIPT).into_response());
    }
    let mut plain = Vec::new();
    GzDecoder::new(SCRIPT).read_to_end(&mut plain)?;
    Ok(([kind, kept, varies], plain).into_response())
}

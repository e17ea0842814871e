//! What a form sends, with a file or without.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use web::Error;
use web::axum::body::{Body, Bytes, to_bytes};
use web::axum::extract::FromRequestParts;

use crate::acts::Moved;
use crate::app::App;

/// Fields of a form at most: a role has one for each scope and each member.
const MOST: usize = 50_000;

/// The fields of a form. What is no form has none.
#[derive(Clone, Debug, Default)]
pub struct Form(Arc<BTreeMap<String, Vec<String>>>);

impl Form {
    /// Reads a body. One that is no form is left unread by the handler.
    pub async fn read(headers: &HeaderMap, body: Body) -> Result<Form, Error> {
        // The ground has a limit of its own.
        let bytes = to_bytes(body, usize::MAX).await.map_err(|_| Error::of(StatusCode::BAD_REQUEST))?;
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let fields = match kind.split(';').next().unwrap_or_default().trim() {
            "application/x-www-form-urlencoded" => form_urlencoded::parse(&bytes).into_owned().take(MOST + 1).collect(),
            "multipart/form-data" => parts(kind, bytes).await?,
            _ => Vec::new(),
        };
        if fields.len() > MOST {
            return Err(Error::of(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in fields {
            // No database could keep it, and no keyboard makes it.
            all.entry(name).or_default().push(value.replace('\0', ""));
        }
        Ok(Form(Arc::new(all)))
    }

    /// A field's text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|all| all.first()).map_or("", String::as_str)
    }

    /// The same without what surrounds it, if anything is left.
    pub fn some(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|text| !text.is_empty())
    }

    /// Whether a box is ticked.
    pub fn ticked(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// The numbers among them.
    pub fn numbers(&self, name: &str) -> BTreeSet<i64> {
        self.all(name).filter_map(|text| text.parse().ok()).collect()
    }

    /// What is ticked now that was not when the page was made, and the other way round.
    pub fn moved(&self, name: &str) -> Moved {
        let (had, has) = (self.numbers(HAD), self.numbers(name));
        Moved { added: &has - &had, removed: &had - &has }
    }
}

/// The hidden field of what was ticked when the page was made.
pub const HAD: &str = "had";

impl FromRequestParts<Arc<App>> for Form {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &Arc<App>) -> Result<Form, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

async fn parts(kind: &str, bytes: Bytes) -> Result<Vec<(String, String)>, Error> {
    let bad = |_| Error::of(StatusCode::BAD_REQUEST);
    let boundary = multer::parse_boundary(kind).map_err(bad)?;
    let stream = futures_util::stream::once(async { Ok::<_, std::io::Error>(bytes) });
    let (mut parts, mut all) = (multer::Multipart::new(stream, boundary), Vec::new());
    while let Some(field) = parts.next_field().await.map_err(bad)? {
        if let Some(name) = field.name().map(str::to_owned) {
            all.push((name, field.text().await.map_err(bad)?));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    async fn read(kind: &'static str, body: &'static str) -> Result<Form, Error> {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
        Form::read(&headers, Body::from(body)).await
    }

    #[tokio::test]
    async fn both_kinds_of_forms_are_read_and_nothing_else_is() {
        let plain = read("application/x-www-form-urlencoded", "a=1&b=x+y&a=2&c=%00z").await.unwrap();
        assert_eq!((plain.text("b"), plain.text("c"), plain.text("d")), ("x y", "z", ""));
        assert_eq!(plain.numbers("a"), [1, 2].into());
        let body = "--B\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nt\r\n--B\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"o.json\"\r\nContent-Type: application/json\r\n\r\n{}\r\n--B--\r\n";
        let file = read("multipart/form-data; boundary=B", body).await.unwrap();
        assert_eq!((file.text("csrf"), file.text("file")), ("t", "{}"));
        let many: &'static str = "a&".repeat(MOST + 1).leak();
        assert_eq!(read("application/x-www-form-urlencoded", many).await.unwrap_err().status(), 413);
        assert!(read("application/x-www-form-urlencoded", &many[2..]).await.is_ok());
        assert!(read("multipart/form-data; boundary=B", "--B\r\nContent").await.is_err());
        assert!(read("multipart/form-data", "x").await.is_err());
        assert!(!read("application/json", "a=1").await.unwrap().ticked("a"));
    }
}

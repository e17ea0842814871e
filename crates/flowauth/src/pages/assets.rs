//! Style sheet, script and icon, by names that change with them: a browser asks for each once.

use std::sync::LazyLock;

use http::{HeaderValue, header};
use sha2::{Digest as _, Sha256};
use web::Error;
use web::axum::extract::Path;
use web::axum::response::IntoResponse as _;

use crate::acts::missing;
use crate::app::hex;
use crate::caller::Access::Open;
use crate::routes::{Answer, Table};

/// A file that all pages use.
pub struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    path: LazyLock<String>,
}

macro_rules! asset {
    ($name:ident, $file:literal, $kind:literal) => {
        #[doc = $file]
        pub static $name: Asset = Asset {
            name: $file,
            kind: $kind,
            text: include_str!(concat!("assets/", $file)),
            path: LazyLock::new(|| $name.named()),
        };
    };
}

asset!(STYLE, "style.css", "text/css; charset=utf-8");
asset!(SCRIPT, "script.js", "text/javascript; charset=utf-8");
asset!(ICON, "icon.svg", "image/svg+xml");

impl Asset {
    fn named(&self) -> String {
        format!("/assets/{}-{}", &hex(&Sha256::digest(self.text))[..12], self.name)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }
}

pub fn enter(table: Table) -> Table {
    table.page("/assets/{name}", Open, get)
}

async fn get(Path(name): Path<String>) -> Answer {
    let path = format!("/assets/{name}");
    let asset = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.path() == path);
    let asset: &Asset = asset.ok_or_else(missing)?;
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    let kind = HeaderValue::from_static(asset.kind);
    Ok::<_, Error>(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, kept)], asset.text).into_response())
}

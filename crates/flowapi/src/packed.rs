//! Pages that are the same for everybody: compressed once, and handed out without a copy.

use std::io::{self, Read as _};
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use web::axum::response::{IntoResponse as _, Response};

/// A page, plain and by gzip. What is not given is made when it is asked for first.
pub struct Packed {
    plain: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl Packed {
    /// Of a page.
    pub fn new(plain: Bytes) -> Packed {
        Packed { plain: plain.into(), gzip: OnceLock::new() }
    }

    /// Of one that is compressed already.
    pub fn of_gzip(gzip: Bytes) -> Packed {
        Packed { plain: OnceLock::new(), gzip: gzip.into() }
    }

    /// The page in the form that the client takes, with further headers.
    ///
    /// # Errors
    /// What should be gzip is not.
    pub fn answer(&self, asked: &HeaderMap, headers: &[(HeaderName, HeaderValue)]) -> io::Result<Response> {
        let gzip = takes_gzip(asked);
        let mut response = if gzip { self.gzip()? } else { self.plain()? }.into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if gzip {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }

    fn gzip(&self) -> io::Result<Bytes> {
        made(&self.gzip, || {
            let mut gzip = Vec::new();
            GzEncoder::new(&self.plain()?[..], Compression::default()).read_to_end(&mut gzip)?;
            Ok(gzip)
        })
    }

    fn plain(&self) -> io::Result<Bytes> {
        made(&self.plain, || {
            let gzip = self.gzip.get().ok_or(io::ErrorKind::NotFound)?;
            let mut plain = Vec::new();
            GzDecoder::new(&gzip[..]).read_to_end(&mut plain)?;
            Ok(plain)
        })
    }
}

/// Two that ask at once may both make it; the first one's stays.
fn made(place: &OnceLock<Bytes>, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Bytes> {
    match place.get() {
        Some(there) => Ok(there.clone()),
        None => {
            let made = Bytes::from(make()?);
            Ok(place.get_or_init(|| made).clone())
        }
    }
}

/// Whether a client takes gzip: it names it, or everything, and does not rule it out (`gzip;q=0`).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let named = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
        matches!(name.trim(), "gzip" | "x-gzip" | "*") && quality.is_none_or(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rules_gzip_out_gets_none() {
        for (value, takes) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("zstd", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(takes_gzip(&headers), takes, "{value}");
        }
    }
}

//! `Prefer: wait=N` (RFC 7240): the answer may come later, and say more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use web::axum::extract::FromRequestParts;
use web::axum::response::Response;

use crate::app::App;

/// How long the client prefers to wait, in whole seconds, as far as that is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait(Option<u64>);

impl Wait {
    fn of<'a>(values: impl Iterator<Item = &'a str>, most: Duration) -> Wait {
        let preferences = values.flat_map(|value| value.split(','));
        let mut seconds = preferences.filter_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
        });
        Wait(seconds.next().map(|seconds: u64| seconds.min(most.as_secs())))
    }

    /// The time; none without the preference.
    pub fn time(self) -> Duration {
        Duration::from_secs(self.0.unwrap_or(0))
    }

    /// The answer, saying that the preference was honoured, and for how long.
    pub fn applied(self, mut response: Response) -> Response {
        let value = self.0.and_then(|seconds| HeaderValue::try_from(format!("wait={seconds}")).ok());
        if let Some(value) = value {
            response.headers_mut().insert(HeaderName::from_static("preference-applied"), value);
        }
        response
    }
}

impl FromRequestParts<Arc<App>> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Wait, Infallible> {
        let values = parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        Ok(Wait::of(values, app.options.longest_wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_counts_and_has_a_bound() {
        let most = Duration::from_secs(60);
        for (values, seconds) in [
            (&["wait=10"][..], Some(10)),
            (&["respond-async, Wait = \"7\"; x=1"], Some(7)),
            (&["handling=lenient", "wait=900"], Some(60)),
            (&["wait=-1"], None),
            (&["wait"], None),
            (&[], None),
        ] {
            assert_eq!(Wait::of(values.iter().copied(), most), Wait(seconds), "{values:?}");
        }
    }
}

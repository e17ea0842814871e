//! The authority as settings name it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flowkit_core::config::{Problem, Settings};
use https::Place;

use super::Options;
use crate::local;

const DOMAIN: &str = "FLOWKIT_FLOWAUTH_DOMAIN";
const DIRECTORY: &str = "FLOWKIT_FLOWAUTH_ACME_DIRECTORY";

/// The pause after a first failure: public authorities take five an hour.
const PAUSE: Duration = Duration::from_secs(60);

/// What to ask for, if a name is to be certified; `state`: where the role keeps its things.
///
/// # Errors
/// What is wrong with it.
pub fn options(settings: &Settings, state: PathBuf) -> Result<Option<Options>, Problem> {
    let Some(domain) = settings.text(DOMAIN) else { return Ok(None) };
    if settings.flag("FLOWKIT_FLOWAUTH_PLAIN_HTTP") {
        let hint = "take one of them away: behind a proxy the proxy has the certificate";
        let problem = Problem::new(format!("{DOMAIN} and FLOWKIT_FLOWAUTH_PLAIN_HTTP are both set"), hint);
        return Err(problem.origin(settings.origin(DOMAIN)));
    }
    let directory = settings.text(DIRECTORY).expect("it has a default");
    Place::parse(directory).map_err(|why| {
        let hint = "give it as https://HOST[:PORT]/PATH";
        let problem = Problem::new(format!("{DIRECTORY} can't be used: {why}"), hint);
        problem.value(directory).origin(settings.origin(DIRECTORY))
    })?;
    let path = settings.text("FLOWKIT_FLOWAUTH_ACME_CERTIFICATE").map(str::to_owned);
    Ok(Some(Options {
        domain: domain.to_ascii_lowercase(),
        email: settings.text("FLOWKIT_FLOWAUTH_ACME_EMAIL").map(str::to_owned),
        directory: directory.to_owned(),
        trusted: Arc::new(move || local::trusted(path.as_deref())),
        place: state.join("acme"),
        pause: PAUSE,
    }))
}

//! The FlowAPI of the same deployment, if there is one: what it is, fetched when an administrator is about to add a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use https::Place;
use web::Error;

use crate::app::App;
use crate::specification::Specification;

/// Where every FlowAPI has its OpenAPI document.
const DOCUMENT: &str = "/api/0/spec/openapi.json";

/// The most that it may have, in bytes: one with every kind of query has half of one million.
const MOST: usize = 16 << 20;

/// Longest wait for it: FlowAPI asks FlowMachine for its kinds of queries when nobody has before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives certificates as PEM, those of now.
type Trusted = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Where it is, and how it is known.
#[derive(Clone)]
pub struct Local {
    place: Place,
    trusted: Trusted,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Local {
    /// The FlowAPI at `https://HOST:PORT`, which shows one of these certificates or one that they have issued.
    ///
    /// # Errors
    /// In words: that is no address of one.
    pub fn new(
        url: &str,
        trusted: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Result<Local, String> {
        let place = Place::parse(url)?;
        if place.path != "/" {
            return Err("it has a path: the document's is known".to_owned());
        }
        Ok(Local { place: Place { path: DOCUMENT.to_owned(), ..place }, trusted: Arc::new(trusted) })
    }

    async fn fetch(&self) -> Result<(String, Specification), String> {
        let trusted = (self.trusted)()?;
        let text = tokio::time::timeout(PATIENCE, self.place.get(&trusted, MOST)).await;
        let text = text.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        let specification = Specification::read(text.as_bytes())?;
        Ok((text, specification))
    }
}

impl App {
    /// The OpenAPI document of the FlowAPI beside us, as it is and as it is read; `None` where we know of none.
    ///
    /// # Errors
    /// 503: it is away, or something else is in its place. The log says which.
    pub(crate) async fn local_server(&self) -> Result<Option<(String, Specification)>, Error> {
        let Some(local) = &self.options.local else { return Ok(None) };
        let away = |why: String| {
            let text = "FlowAPI does not answer at the moment. Try again, or upload its openapi.json.";
            Error::new(StatusCode::SERVICE_UNAVAILABLE, text).because(why)
        };
        local.fetch().await.map(Some).map_err(away)
    }
}

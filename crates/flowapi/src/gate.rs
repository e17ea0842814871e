//! Who is let in, and which queries: the keys, the list of what was revoked, and the bounds of a specification.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use access::{Bounds, Refused, Revocations, Spec, Token, Verifier};
use http::StatusCode;
use tokio::time::MissedTickBehavior;

/// Between two looks at the list of what was revoked.
const EVERY: Duration = Duration::from_secs(30);

/// Gives the signed list's text.
pub type Source = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The gate. A clone is the same.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    verifier: Verifier,
    bounds: Bounds,
    source: Option<Source>,
    revoked: RwLock<Revocations>,
    /// What was said of the list last, so that it is said once.
    said: Mutex<Option<String>>,
}

impl Gate {
    /// Lets in tokens that the verifier finds good and `source`'s list does not name.
    pub fn new(verifier: Verifier, bounds: Bounds, source: Option<Source>) -> Gate {
        let (revoked, said) = (RwLock::default(), Mutex::default());
        Gate(Arc::new(Shared { verifier, bounds, source, revoked, said }))
    }

    /// The token in a request's header.
    ///
    /// # Errors
    /// There is none, or it is not good.
    pub fn token(&self, header: Option<&str>, now: SystemTime) -> Result<Token, Refused> {
        let token = self.0.verifier.verify(access::bearer(header)?, now)?;
        self.0.revoked.read().unwrap_or_else(PoisonError::into_inner).check(&token)?;
        Ok(token)
    }

    /// A query's specification that may be shown to FlowMachine.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn read(&self, text: &[u8]) -> Result<Spec, web::Error> {
        Spec::parse(text, &self.0.bounds).map_err(|fault| {
            web::Error::new(StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST), fault.to_string())
        })
    }

    /// Looks at the list once: for the start, where a list that can't be had is a mistake. One that is past its age is better
    /// than none, and than no server: it holds, and is spoken of.
    ///
    /// # Errors
    /// What is wrong with it; the one before stays.
    pub fn look(&self) -> Result<Option<&'static str>, String> {
        let Some(source) = &self.0.source else { return Ok(None) };
        let now = SystemTime::now();
        let new = Revocations::parse(&source()?, &self.0.verifier, now).map_err(|refused| refused.to_string())?;
        let mut revoked = self.0.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if !new.replaces(&revoked) {
            return Err("it is older than the one before, which stays".to_owned());
        }
        let stale = new.stale(now);
        *revoked = new;
        Ok(stale.then_some("it is past its age: who was revoked since is let in"))
    }

    /// Looks at the list again and again. Never returns.
    pub async fn watch(self) {
        if self.0.source.is_none() {
            return std::future::pending().await;
        }
        let mut looks = tokio::time::interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The first is at once: what the start has found could not be logged.
            looks.tick().await;
            let gate = self.clone();
            // A disk, or another server, may stand still.
            let Ok(looked) = tokio::task::spawn_blocking(move || gate.look()).await else { continue };
            let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
            let wrong = looked.map_or_else(Some, |stale| stale.map(str::to_owned));
            if wrong != *said {
                match &wrong {
                    Some(why) => tracing::error!(why, "the list of revoked tokens can't be relied on"),
                    None => tracing::info!("the list of revoked tokens is good again"),
                }
                *said = wrong;
            }
        }
    }
}

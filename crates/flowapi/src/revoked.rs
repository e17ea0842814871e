//! Lists of what was revoked: of a file, of FlowAuth's own server, or of both. What one of them names is not let in.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use access::{Refused, Revocations, Token, Verifier};

/// The longest that a list's server may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives the signed list's text.
enum Source {
    Read(Box<dyn Fn() -> Result<String, String> + Send + Sync>),
    Fetch(Box<dyn Fn() -> Fetched + Send + Sync>),
}

type Fetched = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// One list, the newest that could be had.
pub struct List {
    name: String,
    source: Source,
    now: RwLock<Option<Revocations>>,
    /// What was said of it last, so that it is said once.
    wrong: Mutex<Option<String>>,
}

/// What is said of a list that is too old.
const STALE: &str = "it is past its age: who was revoked since is let in";

impl List {
    /// One that is had without waiting, such as a file's. The name is for the log.
    pub fn read(name: impl Into<String>, source: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> List {
        List::new(name.into(), Source::Read(Box::new(source)))
    }

    /// One of another server.
    pub fn fetch<F>(name: impl Into<String>, source: impl Fn() -> F + Send + Sync + 'static) -> List
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        List::new(name.into(), Source::Fetch(Box::new(move || Box::pin(source()))))
    }

    fn new(name: String, source: Source) -> List {
        List { name, source, now: RwLock::default(), wrong: Mutex::default() }
    }

    /// Lets pass whoever is not on it.
    ///
    /// # Errors
    /// [`Refused::Revoked`].
    pub fn check(&self, token: &Token) -> Result<(), Refused> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().map_or(Ok(()), |list| list.check(token))
    }

    /// Looks at one that is read: for the start, where a list that can't be had is a mistake. One that is past its age is better
    /// than none, and than no server: it holds, and is spoken of.
    ///
    /// # Errors
    /// What is wrong with it; the one before stays.
    pub fn look(&self, verifier: &Verifier) -> Result<Option<&'static str>, String> {
        match &self.source {
            Source::Read(source) => self.take(&source()?, verifier),
            Source::Fetch(_) => Ok(None),
        }
    }

    /// Looks at it, and says what is to be said of it.
    pub async fn watch(&self, verifier: &Verifier) {
        let looked = match &self.source {
            // A disk may stand still.
            Source::Read(_) => tokio::task::block_in_place(|| self.look(verifier)),
            Source::Fetch(source) => match tokio::time::timeout(PATIENCE, source()).await {
                Ok(text) => text.and_then(|text| self.take(&text, verifier)),
                Err(_) => Err(format!("it did not come within {} s", PATIENCE.as_secs())),
            },
        };
        // The list that could not be had anew may be old meanwhile, which is worse.
        let wrong = looked.err().map(|why| if self.is_stale() { format!("{why}; {STALE}") } else { why });
        let wrong = wrong.or_else(|| self.is_stale().then(|| STALE.to_owned()));
        let mut said = self.said();
        if wrong != *said {
            let list = &self.name;
            match &wrong {
                Some(why) => tracing::error!(list, why, "the list of revoked tokens can't be relied on"),
                None => tracing::info!(list, "the list of revoked tokens is good again"),
            }
            *said = wrong;
        }
    }

    /// What is wrong with it.
    pub fn wrong(&self) -> Option<String> {
        let said = self.said().clone();
        said.or_else(|| self.is_stale().then(|| STALE.to_owned()))
    }

    /// How old it is, in seconds; `None` when there has never been one.
    pub fn age(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let list = self.now.read().unwrap_or_else(PoisonError::into_inner);
        list.as_ref().map(|list| now.saturating_sub(u64::try_from(list.issued).unwrap_or(0)))
    }

    fn take(&self, text: &str, verifier: &Verifier) -> Result<Option<&'static str>, String> {
        let now = SystemTime::now();
        let new = Revocations::parse(text, verifier, now).map_err(|refused| refused.to_string())?;
        let mut last = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| !new.replaces(last)) {
            return Err("it is older than the one before, which stays".to_owned());
        }
        let stale = new.stale(now);
        *last = Some(new);
        Ok(stale.then_some(STALE))
    }

    /// Whether who was revoked lately may be let in: it is old, or was never there.
    fn is_stale(&self) -> bool {
        let list = self.now.read().unwrap_or_else(PoisonError::into_inner);
        list.as_ref().is_none_or(|list| list.stale(SystemTime::now()))
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Connections to FlowDB as FlowAPI's login, which reads results and nothing else.

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{StatusCode, header};
use results::Lent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Client, Config};

/// Longest wait for a new connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for a place when all that is asked is whether the database answers.
const SHORT: Duration = Duration::from_secs(1);

/// What is asked before each connection: a password that was rotated is the new one from then on.
pub type Source = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Why there is no connection. No `std::error::Error`: those become a 500 by `?`, and these shall not.
#[derive(Debug)]
pub enum Error {
    /// How to connect can't be found out.
    Settings(String),
    /// The database is away, or refuses.
    Away(String),
    /// It did not answer.
    Late,
    /// All connections are in use.
    Full,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Settings(why) => f.write_str(why),
            Error::Away(why) => write!(f, "FlowDB can't be asked: {why}"),
            Error::Late => write!(f, "FlowDB did not answer within {} s", PATIENCE.as_secs()),
            Error::Full => f.write_str("all connections to FlowDB are in use"),
        }
    }
}

impl From<Error> for web::Error {
    fn from(error: Error) -> web::Error {
        web::Error::new(StatusCode::SERVICE_UNAVAILABLE, "The database can't be asked now; try again later.")
            .with("status", "error")
            .header(header::RETRY_AFTER, 5)
            .because(error.to_string())
    }
}

/// A bounded number of connections, used again. A clone is the same.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    source: Source,
    idle: Mutex<Vec<Open>>,
    places: Arc<Semaphore>,
}

/// A connection, and the task that drives it, which ends when the client goes, or with an error that its next request tells.
struct Open {
    client: Client,
    driver: AbortHandle,
}

impl Database {
    /// At most `most` connections, each made as the source says then.
    pub fn new(most: usize, source: impl Fn() -> Result<Config, String> + Send + Sync + 'static) -> Database {
        let places = Arc::new(Semaphore::new(most));
        Database(Arc::new(Shared { source: Box::new(source), idle: Mutex::default(), places }))
    }

    /// A connection, as soon as one is free.
    ///
    /// # Errors
    /// None is free `until` then, or the database can't be reached.
    pub async fn lease(&self, until: Instant) -> Result<Lease, Error> {
        let place = timeout_at(until, self.0.places.clone().acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(Error::Full)?;
        let open = match self.0.open() {
            Some(open) => open,
            None => timeout(PATIENCE, self.0.connect()).await.map_err(|_| Error::Late)??,
        };
        Ok(Lease { open: Some(open), shared: self.0.clone(), _place: place })
    }

    /// Whether the database answers. One that is busy with results does.
    ///
    /// # Errors
    /// In words: why not.
    pub async fn check(&self) -> Result<(), String> {
        let lease = match self.lease(Instant::now() + SHORT).await {
            Err(Error::Full) => return Ok(()),
            lease => lease.map_err(|error| error.to_string())?,
        };
        let client: &Client = lease.borrow();
        client.batch_execute("SELECT 1").await.map_err(|error| say::in_full(&error))
    }
}

impl Shared {
    /// The last one that is still open: those that the database has closed are let go.
    fn open(&self) -> Option<Open> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|open| !open.client.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<Open, Error> {
        let config = (self.source)().map_err(Error::Settings)?;
        let (client, connection) = scram::connect(&config).await.map_err(|error| Error::Away(say::in_full(&error)))?;
        Ok(Open { client, driver: tokio::spawn(connection).abort_handle() })
    }
}

/// A connection in use. When it goes, another may use it.
pub struct Lease {
    open: Option<Open>,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Borrow<Client> for Lease {
    fn borrow(&self) -> &Client {
        &self.open.as_ref().expect("it is there until this goes").client
    }
}

impl Lent for Lease {
    fn cancel(&self) -> impl Future<Output = bool> + Send {
        let client: &Client = self.borrow();
        let (token, config) = (client.cancel_token(), (self.shared.source)());
        async move {
            match config {
                Ok(config) => scram::cancel(&config, &token).await.is_ok(),
                Err(_) => false,
            }
        }
    }

    fn abandon(mut self) {
        if let Some(open) = self.open.take() {
            tracing::warn!("a connection to FlowDB is let go: the query of a result that nobody reads does not end");
            open.driver.abort();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(open) = self.open.take().filter(|open| !open.client.is_closed()) {
            self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(open);
        }
    }
}

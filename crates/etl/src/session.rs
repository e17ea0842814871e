//! Connections to FlowDB, and threads that each work with their own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tokio_postgres::Client;

use crate::error::Error;

/// What a connection that failed says.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Gives a new connection as the owner of the schema (`flowdb`), driven by a task of the runtime that it is asked in.
pub trait Connect: AsyncFn() -> Result<Client, BoxedError> + Sync {}
impl<C: AsyncFn() -> Result<Client, BoxedError> + Sync> Connect for C {}

/// A new connection with these settings.
///
/// # Errors
/// FlowDB is away, or refuses.
pub async fn session(connect: &impl Connect, settings: &str) -> Result<Client, Error> {
    let client = connect().await.map_err(Error::Connect)?;
    client.batch_execute(settings).await.map_err(Error::when("set up the session"))?;
    Ok(client)
}

/// A runtime for one thread.
///
/// # Errors
/// The process can't have what it needs of the system.
pub fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Worker)
}

/// Does `work` for each item, on so many threads, each with what `open` gives it. After an error no new item is begun.
///
/// # Errors
/// The first.
pub fn side_by_side<S, T, R, E>(
    threads: usize,
    items: &[T],
    open: impl AsyncFn() -> Result<S, E> + Sync,
    work: impl AsyncFn(&mut S, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: From<Error> + Send,
{
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let until_done = async || -> Result<Vec<R>, E> {
        let mut done = Vec::new();
        let mut own = open().await?;
        while !stop.load(Ordering::Relaxed)
            && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
        {
            done.push(work(&mut own, item).await?);
        }
        Ok(done)
    };
    let worker = || runtime()?.block_on(until_done()).inspect_err(|_| stop.store(true, Ordering::Relaxed));
    let ended: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let ended: Result<Vec<_>, E> = ended.into_iter().collect();
    Ok(ended?.into_iter().flatten().collect())
}

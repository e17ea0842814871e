//! One run from its claim to its end: it says that it lives for as long as it does, and what came of it is written down.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::execute::{execute, stopped};
use crate::start::Given;
use crate::store::{End, Run, STALE, Store};
use crate::untrusted;
use crate::workflows::Workflow;

/// Time between two signs of life of a run.
const BEAT: Duration = Duration::from_secs(10);

/// Longest wait for one to be taken.
const TAKEN: Duration = Duration::from_secs(10);

/// After so long without one a run is broken off: well before others take it for dead.
const LOST: Duration = Duration::from_secs(35);

/// Runs what is claimed to its end, and writes down what came of it. `None`: it was broken off, or is somebody else's by now.
pub async fn attempt(
    given: &Given,
    store: &Store,
    owner: &str,
    run: &Run,
    notebooks: &Workflow,
    stop: watch::Receiver<bool>,
) -> Option<End> {
    tracing::info!(workflow = run.workflow, day = run.reference, attempt = run.attempts, "a run begins");
    let (cancel, mut cancelled) = watch::channel(false);
    let handed = match given.handed() {
        Ok(handed) => handed,
        Err(why) => return end(given, store, owner, run, End { success: false, error: why, files: Vec::new() }).await,
    };
    let work = execute(&given.means, &handed, run, notebooks, &mut cancelled);
    tokio::pin!(work);
    let mut stop = stop;
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = until_lost(store, owner, run) => {
            tracing::error!(workflow = run.workflow, day = run.reference, "the run is broken off: the database takes no sign of life of it");
            let _ = cancel.send(true);
            work.await
        }
        () = stopped(&mut stop) => {
            let _ = cancel.send(true);
            work.await
        }
    };
    match ended {
        Ok(ended) => end(given, store, owner, run, ended).await,
        Err(_) => {
            let _ = tokio::task::block_in_place(|| untrusted::remove(&given.means.places.running(&run.id)));
            None
        }
    }
}

async fn end(given: &Given, store: &Store, owner: &str, run: &Run, ended: End) -> Option<End> {
    // A database that is being restarted must not cost an hour's work.
    let mut patience = Duration::from_millis(500);
    let kept = loop {
        match store.finish(run, owner, &ended, given.retry).await {
            Ok(kept) => break kept,
            Err(error) if patience < Duration::from_secs(u64::try_from(STALE).unwrap_or(60)) => {
                tracing::error!("the end of a run can't be written down: {}", say::in_full(&error));
                tokio::time::sleep(patience).await;
                patience *= 2;
            }
            Err(_) => break false,
        }
    };
    if !kept {
        tracing::error!(
            workflow = run.workflow,
            day = run.reference,
            "what a run has made is dropped: it is somebody else's by now"
        );
        let _ = tokio::task::block_in_place(|| untrusted::remove(&given.means.places.running(&run.id)));
        return None;
    }
    match ended.success {
        true => tracing::info!(workflow = run.workflow, day = run.reference, "a run has ended well"),
        false => tracing::error!(
            workflow = run.workflow,
            day = run.reference,
            attempt = run.attempts,
            "a run failed: {}",
            ended.error
        ),
    }
    let whole = Run { files: ended.files.clone(), ..run.clone() };
    if let Err(error) = given.means.places.settle(store, &whole).await {
        tracing::error!("what a run has made is not in its place yet: {}", say::in_full(&error));
    }
    Some(ended)
}

/// Ready when the run is ours no more: somebody says so, or nobody could be told that it lives for so long that they will.
async fn until_lost(store: &Store, owner: &str, run: &Run) {
    let mut told = Instant::now();
    loop {
        tokio::time::sleep(BEAT).await;
        // Before it is asked: from then on others count.
        let asked = Instant::now();
        match tokio::time::timeout(TAKEN, store.beat(&run.id, owner)).await {
            Ok(Ok(true)) => told = asked,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::error!("a run can't say that it lives: {}", say::in_full(&error)),
            Err(_) => tracing::error!("a run can't say that it lives: the database does not answer"),
        }
        if told.elapsed() > LOST {
            return;
        }
    }
}

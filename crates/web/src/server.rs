//! Accepts connections until it is asked to stop, and then ends them in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, Service};
use super::error::{self, Render};
use super::headers::Headers;
use super::limits::Limits;
use super::listener::{Accepting, Listener};
use super::request::grounded;
use super::room::{Load, Room};
use super::tls::Tls;

/// Pause after the system could not give a connection: what it lacks, it will lack for a moment.
const PAUSE: Duration = Duration::from_millis(20);

/// All that a server may choose; the defaults suit an API behind somebody else's TLS.
#[derive(Clone)]
pub struct Options {
    /// What a client may take.
    pub limits: Limits,
    /// Certificate and key. `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// The form of errors.
    pub errors: Render,
    /// Headers of every answer.
    pub headers: Headers,
    /// Whether ids of requests are made here alone, so that nobody chooses what the log is searched by. A client's sane own is
    /// then in the log as `client_request`; otherwise it is the request's id.
    pub own_ids: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            limits: Limits::default(),
            tls: None,
            errors: Arc::new(error::json),
            headers: Headers::default(),
            own_ids: false,
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were cut because what they had in flight outlived the grace.
    pub cut: usize,
}

/// Serves until `stop` is ready. Then nothing more is accepted, idle connections are closed at once, and requests in flight
/// have the grace of the limits. Handlers run until their client goes; work that must outlive it belongs into a task of its own.
///
/// # Errors
/// When the listener can't be used.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    options: Options,
    stop: impl Future<Output = ()>,
) -> io::Result<Stopped> {
    let listener = Accepting::new(listener.into())?;
    let (grace, tls) = (options.limits.grace, options.tls.clone());
    let room = Arc::new(Room::new(&options.limits));
    let (tell, told) = watch::channel(false);
    let (router, options, load) = (grounded(router), Arc::new(options), Arc::<Load>::default());
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    room.shed();
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = room.admit(peer) else {
                tracing::info!(%peer, "a connection was refused: all are busy");
                continue;
            };
            let (router, options, load) = (router.clone(), options.clone(), load.clone());
            let service = Service { router, options, load, stop: told.clone() };
            connections.spawn(connection::serve(stream, peer, seat, service));
            // Those that have ended are let go.
            while connections.try_join_next().is_some() {}
        }
    };
    let reload = async {
        match &tls {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = accept => {}
        () = reload => {}
        () = stop => {}
    }
    drop(listener);
    let _ = tell.send(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    let cut = match tokio::time::timeout(grace, ended).await {
        Ok(()) => 0,
        Err(_) => connections.len(),
    };
    connections.shutdown().await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut off: their requests were not answered within {} s", grace.as_secs());
    }
    Ok(Stopped { cut })
}

/// Ready when the process is asked to stop, by SIGTERM or SIGINT.
///
/// # Errors
/// When the signals can't be had.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

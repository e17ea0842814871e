//! One connection: TLS or not, HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::activity::Watched;
use super::listener::{Peer, Stream};
use super::request::answer;
use super::room::{Load, Seat};
use super::server::Options;
use super::tls::QUESTION;

/// What a client of HTTP/2 may send of its bodies before a handler takes any, in bytes: the protocol's own. What is not taken is
/// held in memory, for each connection.
const WINDOW: u32 = (1 << 16) - 1;

/// What is read ahead of a client of HTTP/1, and gathered for it, in bytes.
const BUFFER: usize = 64 << 10;

/// A TLS record that begins a handshake.
const HANDSHAKE: u8 = 0x16;

/// What somebody is told who speaks HTTP to a port of HTTPS.
const HTTPS_ONLY: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 55\r\n\r\n\
    This port speaks HTTPS: begin the address with https://";

/// What a connection is served with.
pub struct Service {
    pub router: Router,
    pub options: Arc<Options>,
    /// What all connections' requests have of the server.
    pub load: Arc<Load>,
    /// Becomes true when the server is to stop.
    pub stop: watch::Receiver<bool>,
}

/// Serves a connection until its end, until it takes too long, or has to make room, or the server stops.
pub async fn serve(stream: Stream, peer: Peer, seat: Seat, service: Service) {
    let activity = seat.activity.clone();
    let (options, mut stop) = (service.options.clone(), service.stop.clone());
    let stopped = async {
        // The sender outlives all connections.
        let _ = stop.wait_for(|stop| *stop).await;
        activity.at_rest().await;
    };
    tokio::select! {
        served = begin(stream, peer, &seat, service) => if let Err(error) = served {
            tracing::debug!(%peer, error = error.as_ref() as &dyn std::error::Error, "a connection failed");
        },
        overdue = activity.overdue(&options.limits) => tracing::debug!(%peer, ?overdue, "a connection was closed: it took too long"),
        () = activity.evicted() => tracing::debug!(%peer, "an idle connection was closed to make room"),
        () = stopped => {}
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn begin(stream: Stream, peer: Peer, seat: &Seat, service: Service) -> Served {
    let mut stream = Watched::new(stream, seat.activity.clone());
    let Some(tls) = service.options.tls.clone() else { return http(stream, false, peer, seat, service).await };
    match stream.first().await? {
        None => return Ok(()),
        Some(HANDSHAKE) => {}
        Some(first) => return refuse_plain(stream, first, peer).await.map_err(Into::into),
    }
    let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
    let spoken = stream.get_ref().1.alpn_protocol();
    if spoken == Some(QUESTION) {
        // The certificate was the answer.
        return Ok(());
    }
    let two = spoken == Some(b"h2");
    http(stream, two, peer, seat, service).await
}

/// Somebody forgot the `s`, or it is no client of ours at all.
async fn refuse_plain(mut stream: Watched<Stream>, first: u8, peer: Peer) -> io::Result<()> {
    if first.is_ascii_uppercase() {
        tracing::info!(%peer, "a client spoke HTTP to a port of HTTPS");
        // What was sent must be read, or closing takes the answer with it.
        let mut sent = [0; 4096];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut sent).await?;
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut sent).await?;
        stream.write_all(HTTPS_ONLY.as_bytes()).await?;
    }
    stream.shutdown().await
}

async fn http<T>(stream: T, two: bool, peer: Peer, seat: &Seat, service: Service) -> Served
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Service { router, options, load, mut stop } = service;
    let (activity, limits) = (seat.activity.clone(), options.limits.clone());
    let answers = service_fn(move |request| {
        let work = answer((router.clone(), options.clone(), load.clone()), (activity.clone(), peer), request);
        async { Ok::<_, Infallible>(work.await) }
    });
    let io = TokioIo::new(stream);
    // Once asked to stop, a connection ends after what is in flight.
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                served = connection.as_mut() => return Ok(served?),
                _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            Ok(connection.await?)
        }};
    }
    if two {
        seat.activity.speaks_frames();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        drive!(builder.serve_connection(io, answers))
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(limits.headers)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(BUFFER));
        drive!(builder.serve_connection(io, answers))
    }
}

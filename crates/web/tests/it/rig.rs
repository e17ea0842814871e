//! A server in this process, and clients as rude as they come.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use web::axum::Router;
use web::axum::routing::get;
use web::{Limits, Options, Stopped};

/// Longer than anything here takes on a busy machine; past it a test fails instead of standing still.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<Stopped>>,
}

impl Running {
    pub fn stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    pub async fn stopped(self) -> Stopped {
        soon(self.served).await.unwrap().unwrap()
    }
}

pub fn start(router: Router, options: Options) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(web::serve(listener, router, options, async {
        let _ = stopped.await;
    }));
    Running { address, stop: Some(stop), served }
}

/// Limits that nothing here comes to in time: what is cut with them was cut by those that a test has set.
pub fn patient() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits { header: hour, body: hour, answer: hour, idle: hour, stall: hour, grace: hour, ..Limits::default() }
}

/// A router with one good answer.
pub fn good() -> Router {
    Router::new().route("/good", get(|| async { "good" }))
}

pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("in time")
}

/// A connection on which something was said.
pub async fn said(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the other side closes, or breaks off.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    soon(async {
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            all.extend_from_slice(&piece[..read]);
        }
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

/// A connection from another address of the loopback.
pub async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0))?;
    socket.connect(to).await
}

//! Requests to FlowMachine's server: ZeroMQ REQ, one JSON object each way.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use zeromq::{ReqSocket, Socket, SocketOptions, SocketRecv, SocketSend, ZmqError};

/// Why there is no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there, or it does not speak ZeroMQ.
    #[error("no FlowMachine server answers at {address}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the network said.
        source: ZmqError,
    },
    /// The server is there but busy, or hung: it does most of its work on one thread, and answers nothing meanwhile.
    #[error("FlowMachine at {address} did not answer `{action}` within {} s", patience.as_secs_f32())]
    Late {
        /// Where it was asked.
        address: String,
        /// What it was asked.
        action: String,
        /// How long the answer was waited for.
        patience: Duration,
    },
    /// An answer that FlowMachine does not give.
    #[error("the answer of {address} to `{action}` is not FlowMachine's")]
    Strange {
        /// Where it was asked.
        address: String,
        /// What it was asked.
        action: String,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
    /// FlowMachine's own "no".
    #[error("FlowMachine refused `{action}`: {}", reason(message, payload))]
    Refused {
        /// What it was asked.
        action: String,
        /// Its message.
        message: String,
        /// What it adds; often empty.
        payload: Value,
    },
}

/// The message and, where the payload says more than that, the payload.
fn reason(message: &str, payload: &Value) -> String {
    match payload.get("exception").or_else(|| payload.get("validation_error_messages")) {
        Some(more) => format!("{} {more}", message.lines().next().unwrap_or_default()),
        None => message.to_owned(),
    }
}

/// Whether FlowMachine did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Success,
    /// It did not.
    Error,
}

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Whether it did what was asked.
    pub status: Status,
    /// For people; may be empty.
    pub msg: String,
    /// For programs. After an error it may lack what a success would have.
    pub payload: Value,
}

impl Reply {
    /// The payload of a success; an error says which action was refused and why.
    pub fn success(self, action: &str) -> Result<Value, Error> {
        match self.status {
            Status::Success => Ok(self.payload),
            Status::Error => {
                Err(Error::Refused { action: action.to_owned(), message: self.msg, payload: self.payload })
            }
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    action: &'a str,
    request_id: &'a str,
    params: &'a Value,
}

/// Asks FlowMachine's server.
pub struct Client;

impl Client {
    /// Sends one request to `address` (`host:port`) and waits for its answer, `patience` in all.
    ///
    /// `params` is an object; for `run_query` it is the query itself. Each request has a connection of its own, as a
    /// REQ socket whose answer never came can't be used again.
    pub async fn request(address: &str, action: &str, params: Value, patience: Duration) -> Result<Reply, Error> {
        let body = serde_json::to_string(&Request { action, request_id: &request_id(), params: &params })
            .expect("strings and JSON values can be written as JSON");
        let answer = Self::exchange(address, action, body, patience).await?;
        serde_json::from_slice(&answer).map_err(|source| Error::Strange {
            address: address.to_owned(),
            action: action.to_owned(),
            source,
        })
    }

    /// [`Client::request`] for callers outside of an async runtime. Not to be called inside of one.
    pub fn request_blocking(address: &str, action: &str, params: Value, patience: Duration) -> Result<Reply, Error> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime without threads needs one epoll and one pipe")
            .block_on(Self::request(address, action, params, patience))
    }

    async fn exchange(address: &str, action: &str, body: String, patience: Duration) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + patience;
        let late = || Error::Late { address: address.to_owned(), action: action.to_owned(), patience };
        let broken = |source| Error::Unreachable { address: address.to_owned(), source };

        // The library would try again and again while the connection is refused, ever more slowly; we say so at once.
        timeout_at(deadline, TcpStream::connect(address))
            .await
            .map_err(|_| late())?
            .map_err(|error| broken(ZmqError::Network(error)))?;
        let mut options = SocketOptions::default();
        options.connect_timeout(patience);
        let mut socket = ReqSocket::with_options(options);
        socket.connect(&format!("tcp://{address}")).await.map_err(broken)?;
        timeout_at(deadline, async {
            socket.send(body.into()).await.map_err(broken)?;
            let message = socket.recv().await.map_err(broken)?;
            Ok(message.get(0).map(|frame| frame.to_vec()).unwrap_or_default())
        })
        .await
        .map_err(|_| late())?
    }
}

/// Tells our requests apart in the server's log.
fn request_id() -> String {
    format!("flowkit-{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(text: &str) -> Result<Reply, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn an_answer_has_exactly_three_parts() {
        assert!(reply(r#"{"status":"success","msg":"pong","payload":{}}"#).is_ok());
        assert!(reply(r#"{"status":"success","msg":"pong"}"#).is_err());
        assert!(reply(r#"{"status":"fine","msg":"","payload":{}}"#).is_err());
        assert!(reply(r#"{"status":"success","msg":"","payload":{},"more":1}"#).is_err());
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = Reply {
            status: Status::Error,
            msg: "Unable to create query object.".into(),
            payload: json!({"exception": "no such date"}),
        };
        assert_eq!(
            refused.success("run_query").unwrap_err().to_string(),
            "FlowMachine refused `run_query`: Unable to create query object. \"no such date\""
        );
        let bare = Reply { status: Status::Error, msg: "Could not get reply for message".into(), payload: json!({}) };
        assert_eq!(
            bare.success("poll_query").unwrap_err().to_string(),
            "FlowMachine refused `poll_query`: Could not get reply for message"
        );
    }

    #[test]
    fn nobody_there_is_noticed_at_once() {
        // Taken and given back: nothing listens on it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let started = std::time::Instant::now();
        let error = Client::request_blocking(&address, "ping", json!({}), Duration::from_secs(30)).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert_eq!(error.to_string(), format!("no FlowMachine server answers at {address}"));
        assert!(started.elapsed() < Duration::from_secs(15), "it was not waited for");
    }

    #[test]
    fn a_listener_that_stays_silent_is_noticed_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let started = std::time::Instant::now();
        let error = Client::request_blocking(&address, "ping", json!({}), Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
}

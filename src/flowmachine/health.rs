//! Is the server ready? Has it hung?

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::records::{Records, States, running};
use super::{Client, Sources};
use supervisor::Probe;

/// Ready as soon as the server answers a ping.
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Probe for Ready {
    fn check(&self, patience: Duration) -> Result<(), String> {
        ping(self.address, patience)
    }
}

fn ping(address: SocketAddr, patience: Duration) -> Result<(), String> {
    Client::request_blocking(&address.to_string(), "ping", json!({}), patience)
        .and_then(|reply| reply.success("ping"))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Fails when the server can't go on without a restart: it does not answer a ping, or queries that redis calls `queued`
/// or `executing` stand still while the database works on none of them.
///
/// One failure is no proof: a big query keeps the server from answering for many seconds. Give it 30 s of patience, and
/// several failures in a row.
pub struct Hung {
    address: SocketAddr,
    sources: Box<dyn Fn() -> Result<Sources, String> + Send + Sync>,
    /// How long unfinished queries may stand still. Building the SQL of one takes minutes at worst.
    still: Duration,
    watch: Mutex<Watch>,
}

impl Hung {
    /// Watches the server at `address`. `still` is how long unfinished queries may stand still; the sources are asked for
    /// at each check, so that passwords are not kept in memory.
    pub fn new(
        address: SocketAddr,
        still: Duration,
        sources: impl Fn() -> Result<Sources, String> + Send + Sync + 'static,
    ) -> Hung {
        Hung { address, sources: Box::new(sources), still, watch: Mutex::default() }
    }
}

impl Probe for Hung {
    fn check(&self, patience: Duration) -> Result<(), String> {
        ping(self.address, patience)?;
        // A database or redis that is away has probes of its own; a restart of this server would not bring it back.
        let Ok(unfinished) = (self.sources)().and_then(|sources| unfinished(sources, patience)) else {
            return Ok(());
        };
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let still = watch.still_for(unfinished, Instant::now());
        if still < self.still {
            return Ok(());
        }
        Err(format!(
            "{} queries have been unfinished for {} s while the database works on none of them",
            watch.seen.len(),
            still.as_secs()
        ))
    }
}

/// Queries that redis calls unfinished, and those among them that the database works on.
struct Unfinished {
    states: States,
    running: BTreeSet<String>,
}

fn unfinished(sources: Sources, patience: Duration) -> Result<Unfinished, String> {
    let mut records =
        Records::open(sources.redis, &sources.database_id, patience).map_err(|error| error.to_string())?;
    let mut states = records.states().map_err(|error| error.to_string())?;
    states.retain(|_, state| matches!(state.as_str(), "queued" | "executing" | "resetting"));
    if states.is_empty() {
        return Ok(Unfinished { states, running: BTreeSet::new() });
    }
    let ask = async {
        let (client, connection) = scram::connect(&sources.flowdb).await?;
        tokio::spawn(connection);
        running(&client).await
    };
    let mut running = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(async { tokio::time::timeout(patience, ask).await })
        .map_err(|_| "FlowDB does not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    running.retain(|id| states.contains_key(id));
    Ok(Unfinished { states, running })
}

/// Remembers since when nothing has moved.
#[derive(Default)]
struct Watch {
    seen: BTreeMap<String, String>,
    since: Option<Instant>,
}

impl Watch {
    /// How long nothing has moved: no query that was unfinished has ended or gone on, and the database works on none.
    /// New ones do not count as movement: requests come in while everything waits.
    fn still_for(&mut self, now: Unfinished, at: Instant) -> Duration {
        let Unfinished { states, running } = now;
        let moved = self.seen.iter().any(|(id, state)| states.get(id) != Some(state));
        let since = match self.since {
            Some(since) if !moved && running.is_empty() && !self.seen.is_empty() => since,
            _ => at,
        };
        self.seen = states;
        self.since = Some(since);
        at - since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(states: &[(&str, &str)], running: &[&str]) -> Unfinished {
        Unfinished {
            states: states.iter().map(|(id, state)| (id.to_string(), state.to_string())).collect(),
            running: running.iter().map(|id| id.to_string()).collect(),
        }
    }

    #[test]
    fn standing_still_is_measured_from_the_last_movement() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut watch = Watch::default();
        let mut still = |states, running, n| watch.still_for(queries(states, running), second(n)).as_secs();

        assert_eq!(still(&[], &[], 0), 0, "nothing to do");
        assert_eq!(still(&[], &[], 100), 0, "nothing to do, however long");
        assert_eq!(still(&[("a", "queued")], &[], 110), 0, "the first sight of a query");
        assert_eq!(still(&[("a", "queued")], &[], 120), 10);
        assert_eq!(still(&[("a", "queued"), ("b", "queued")], &[], 130), 20, "a new one is no movement");
        assert_eq!(still(&[("a", "executing"), ("b", "queued")], &[], 140), 0, "one goes on");
        assert_eq!(still(&[("a", "executing"), ("b", "queued")], &["a"], 200), 0, "the database works on one");
        assert_eq!(still(&[("a", "executing"), ("b", "queued")], &[], 210), 10);
        assert_eq!(still(&[("b", "queued")], &[], 220), 0, "one is done");
        assert_eq!(still(&[("b", "queued")], &[], 230), 10);
        assert_eq!(still(&[], &[], 240), 0, "all are done");
    }
}

//! How many connections and threads FlowMachine may use, with defaults that can't block it for ever.

use super::Settings;

/// FlowMachine's connections to FlowDB and its threads.
///
/// Building a query, and storing one, holds a connection and asks for a second one, and nobody gives up waiting: when all
/// connections are held by threads that wait for another, nothing moves again. `size` threads store, `threads` build, and
/// the server's main thread does a little of both; with one connection more than that, somebody can always go on
/// (1 + 1 connections hung with eight threads that build, 1 + 10 did not). The default of `overflow` gives each thread that
/// stores its two.
///
/// Upstream's other trap, queries on random samples that wait for each other in too small a pool, is no matter of size
/// here: `python/flowkit_flowmachine/pool.py` removes it (12 at once hung at size 5, and do not at size 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    /// `DB_CONNECTION_POOL_SIZE`: connections kept open, and queries run at once.
    pub size: u32,
    /// `DB_CONNECTION_POOL_OVERFLOW`: connections beyond those.
    pub overflow: u32,
    /// `FLOWMACHINE_SERVER_THREADPOOL_SIZE`: threads that build queries.
    pub threads: u32,
}

impl Pools {
    /// What the settings say, with the default of the overflow worked out.
    pub fn of(settings: &Settings) -> Pools {
        let int = |name| settings.int(name).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        let size = int("DB_CONNECTION_POOL_SIZE").expect("it has a default");
        let threads = int("FLOWMACHINE_SERVER_THREADPOOL_SIZE").expect("it has a default");
        let enough = Pools { size, overflow: 0, threads }.enough();
        Pools { size, overflow: int("DB_CONNECTION_POOL_OVERFLOW").unwrap_or(enough), threads }
    }

    /// The overflow when none is given.
    pub fn enough(self) -> u32 {
        self.size.saturating_add(self.threads).saturating_add(1)
    }

    /// The least overflow that can't block.
    fn least(self) -> u32 {
        self.threads.saturating_add(2)
    }

    /// Connections that the server can hold at once.
    pub fn connections(self) -> u32 {
        self.size.saturating_add(self.overflow)
    }

    /// What can block with these sizes, in a sentence.
    pub fn warnings(self) -> Vec<String> {
        if self.overflow >= self.least() {
            return Vec::new();
        }
        vec![format!(
            "DB_CONNECTION_POOL_OVERFLOW is {}: queries that are built at the same time can block each other for ever; \
             give at least {}, or leave it out",
            self.overflow,
            self.least()
        )]
    }
}

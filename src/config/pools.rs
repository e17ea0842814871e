//! How many connections and threads FlowMachine may use, with defaults that can't block it for ever.

use super::Settings;

/// FlowMachine's connections to FlowDB and its threads.
///
/// Two traps of upstream's server decide the sizes. A sampling query waits, in a thread of the pool that runs queries, for a
/// sub-query queued behind it in the same pool: `size` must be at least three times the sampling queries that run at once,
/// plus one. Building a query holds one connection and asks for a second: with `overflow` of at least size + threads + 1
/// every thread that can hold one finds another.
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

    /// The overflow with which building queries can't block.
    pub fn enough(self) -> u32 {
        self.size.saturating_add(self.threads).saturating_add(1)
    }

    /// Connections that the server can hold at once.
    pub fn connections(self) -> u32 {
        self.size.saturating_add(self.overflow)
    }

    /// Sampling queries that may run at once without blocking each other.
    pub fn sampling(self) -> u32 {
        self.size.saturating_sub(1) / 3
    }

    /// What can block with these sizes, in sentences.
    pub fn warnings(self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.overflow < self.enough() {
            warnings.push(format!(
                "DB_CONNECTION_POOL_OVERFLOW is {}: queries that are built at the same time can block each other for ever; \
                 give at least {}, or leave it out",
                self.overflow,
                self.enough()
            ));
        }
        if self.sampling() < 1 {
            warnings.push(format!(
                "DB_CONNECTION_POOL_SIZE is {}: a single sampling query can block for ever; give at least 4",
                self.size
            ));
        }
        warnings
    }
}

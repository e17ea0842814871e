//! How many threads and database connections FlowMachine's server gets, so that it can't stop for ever.
//!
//! Building a query, and storing one, holds a connection and asks for a second one, and nobody gives up waiting. When all
//! connections are held by threads that wait for another, nothing moves again. The threads that can hold one are those
//! that store (as many as the pool has connections), those that build, and the server's main thread; one connection
//! more than these, and somebody can always go on.
//!
//! A second trap is not a matter of size any more: a query on a random sample waits for another query of the same threads.
//! `python/flowkit_flowmachine/pool.py` lets the one who waits do the work.

/// Threads and connections of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `DB_CONNECTION_POOL_SIZE`: connections that stay open, and threads that store results.
    pub size: i64,
    /// `DB_CONNECTION_POOL_OVERFLOW`: connections that are opened beyond these when they are needed.
    pub overflow: i64,
    /// `FLOWMACHINE_SERVER_THREADPOOL_SIZE`: threads that build queries.
    pub threads: i64,
}

impl Pool {
    /// The overflow that goes with a size and a number of threads: each thread that stores can have its two connections,
    /// and those that build find one.
    pub fn new(size: i64, overflow: Option<i64>, threads: i64) -> Pool {
        Pool { size, overflow: overflow.unwrap_or(size + threads + 1), threads }
    }

    /// The most connections that the server opens. The database must have room for them.
    pub fn connections(&self) -> i64 {
        self.size + self.overflow
    }

    /// Says so when these numbers let the server hang for ever under parallel requests.
    pub fn warning(&self) -> Option<String> {
        // size + threads + the main thread hold one each; one more must be free.
        let least = self.threads + 2;
        (self.overflow < least).then(|| {
            format!(
                "DB_CONNECTION_POOL_OVERFLOW={} is too little for FLOWMACHINE_SERVER_THREADPOOL_SIZE={}: FlowMachine can \
                 hang under parallel requests until it is restarted; give at least {least}, or nothing",
                self.overflow, self.threads
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_the_size_can_not_hang() {
        for size in 1..50 {
            for threads in 1..50 {
                let pool = Pool::new(size, None, threads);
                assert_eq!(pool.warning(), None);
                assert!(pool.connections() > size + threads + 1);
            }
        }
    }

    #[test]
    fn upstreams_own_numbers_are_warned_of() {
        assert_eq!(
            Pool::new(5, Some(1), 6).warning().unwrap(),
            "DB_CONNECTION_POOL_OVERFLOW=1 is too little for FLOWMACHINE_SERVER_THREADPOOL_SIZE=6: FlowMachine can hang \
             under parallel requests until it is restarted; give at least 8, or nothing"
        );
    }
}

//! What redis and the database say about queries, under the names that flowmachine 1.34.0 uses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use md5::{Digest as _, Md5};
use redis::ConnectionInfo;

/// The application name of the server's database sessions; `python/flowkit_flowmachine` sets it.
pub const SERVER_SESSIONS: &str = "flowkit-flowmachine";

/// The life of a query: `(event, from, to)`. Each event is a hash from state to next state, beside the state itself.
const TRANSITIONS: [(&str, &str, &str); 10] = [
    ("queue", "known", "queued"),
    ("execute", "queued", "executing"),
    ("error", "executing", "errored"),
    ("finish", "executing", "completed"),
    ("cancel", "queued", "cancelled"),
    ("cancel", "executing", "cancelled"),
    ("reset", "cancelled", "resetting"),
    ("reset", "errored", "resetting"),
    ("reset", "completed", "resetting"),
    ("finish_resetting", "resetting", "known"),
];

/// Replaces a state machine (KEYS, the state itself first) by one in the state ARGV[2], or by none when that is empty, if
/// its state is still ARGV[1] (empty: there is none). The transitions follow as triples.
const REPLACE: &str = "
    local now = redis.call('GET', KEYS[1]) or ''
    if now ~= ARGV[1] then return 0 end
    redis.call('DEL', unpack(KEYS))
    if ARGV[2] ~= '' then
        redis.call('SET', KEYS[1], ARGV[2])
        for i = 3, #ARGV, 3 do redis.call('HSET', KEYS[1] .. ':' .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
    end
    return 1";

/// The name under which redis keeps the states of a database's queries apart from another's.
///
/// It depends on how FlowDB's address is spelled: whoever says `127.0.0.1` does not see the states of one who says
/// `localhost`.
pub fn database_id(host: &str, port: u16, database: &str) -> String {
    let mut hash = Md5::new();
    hash.update(host);
    hash.update(port.to_string());
    hash.update(database);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// States of queries by id, as redis spells them.
pub type States = BTreeMap<String, String>;

/// The states that redis holds for one database.
pub struct Records {
    redis: redis::Connection,
    prefix: String,
}

impl Records {
    /// Connects; every later request has this patience too.
    pub fn open(redis: ConnectionInfo, database_id: &str, patience: Duration) -> Result<Records, redis::RedisError> {
        let redis = redis::Client::open(redis)?.get_connection_with_timeout(patience)?;
        redis.set_read_timeout(Some(patience))?;
        redis.set_write_timeout(Some(patience))?;
        Ok(Records { redis, prefix: format!("finist:{database_id}:") })
    }

    /// The state of every query that has one.
    pub fn states(&mut self) -> Result<States, redis::RedisError> {
        let pattern = format!("{}*-state", self.prefix);
        // A scan may give a key twice.
        let mut keys = BTreeSet::new();
        let mut cursor = 0u64;
        loop {
            let (next, batch): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(1000)
                .query(&mut self.redis)?;
            keys.extend(batch);
            if next == 0 {
                break;
            }
            cursor = next;
        }
        let keys: Vec<String> = keys.into_iter().collect();
        let mut states = States::new();
        for keys in keys.chunks(1000) {
            let values: Vec<Option<String>> = redis::cmd("MGET").arg(keys).query(&mut self.redis)?;
            for (key, state) in keys.iter().zip(values) {
                let id = &key[self.prefix.len()..key.len() - "-state".len()];
                states.extend(state.map(|state| (id.to_owned(), state)));
            }
        }
        Ok(states)
    }

    /// Whether the query's state machine lacks a part, as after a crash while it was made: it can then never run.
    pub fn is_broken(&mut self, id: &str) -> Result<bool, redis::RedisError> {
        let keys = self.keys(id);
        let present: usize = redis::cmd("EXISTS").arg(&keys).query(&mut self.redis)?;
        Ok(present < keys.len())
    }

    /// Makes a query `completed`, or unknown (`None`; the same as `known` to flowmachine), if redis still says `seen`.
    ///
    /// False when it does not: someone else has changed it meanwhile, and nothing is done.
    pub fn replace(&mut self, id: &str, seen: Option<&str>, new: Option<&str>) -> Result<bool, redis::RedisError> {
        let keys = self.keys(id);
        let mut call = redis::cmd("EVAL");
        call.arg(REPLACE).arg(keys.len()).arg(keys).arg(seen.unwrap_or_default()).arg(new.unwrap_or_default());
        for (event, from, to) in TRANSITIONS {
            call.arg(event).arg(from).arg(to);
        }
        call.query(&mut self.redis)
    }

    /// Every key of a query's state machine; the state itself first. The look-ups between id and query are not among them.
    fn keys(&self, id: &str) -> Vec<String> {
        let state = format!("{}{id}-state", self.prefix);
        let events: BTreeSet<&str> = TRANSITIONS.iter().map(|(event, ..)| *event).collect();
        let events: Vec<String> = events.iter().map(|event| format!("{state}:{event}")).collect();
        [vec![state], events].concat()
    }
}

/// What the database says about queries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Every id in `cache.cached`; whether its table exists.
    pub rows: BTreeMap<String, bool>,
    /// Ids that a session is working on now.
    pub running: BTreeSet<String>,
}

impl Stored {
    /// Asks the database.
    pub async fn read(client: &tokio_postgres::Client) -> Result<Stored, tokio_postgres::Error> {
        let rows = client
            .query(
                "SELECT c.query_id, EXISTS (
                     SELECT FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
                     WHERE n.nspname = c.schema AND t.relname = c.tablename AND t.relkind IN ('r', 'p', 'v', 'm', 'f'))
                 FROM cache.cached c",
                &[],
            )
            .await?;
        Ok(Stored { rows: rows.iter().map(|row| (row.get(0), row.get(1))).collect(), running: running(client).await? })
    }
}

/// The ids of queries that some session of the database is working on now, those of library users included.
pub async fn running(client: &tokio_postgres::Client) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let rows = client.query("SELECT query_id FROM cache.running_queries()", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_the_name_that_flowmachine_gives_it() {
        // flowmachine.core.Connection(host="localhost", port=9000, database="flowdb", ...).conn_id
        assert_eq!(database_id("localhost", 9000, "flowdb"), "3ab555984d3b639cb5cf0e22fc7ab4c7");
        assert_ne!(database_id("127.0.0.1", 9000, "flowdb"), database_id("localhost", 9000, "flowdb"));
    }
}

//! Takes results out of FlowMachine's cache: their tables, their rows in `cache.cached`, and their states in redis, so that the same
//! question is answered anew.

use std::time::Instant;

use time::OffsetDateTime;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Sources;
use super::records::{Records, running};
use super::repair::{Error, PATIENCE, database, redis_error};

/// Queries with one of these texts in their SQL; those made since a moment that read a table without a first day; and those that were made of them.
/// Upstream's SQL names the first day, where there is one, beside each table: `FROM events.mds WHERE events.mds.datetime >= '2016-01-01 …'`.
const FIND: &str = r"
    WITH RECURSIVE found AS (
        SELECT query_id FROM cache.cached WHERE EXISTS (SELECT FROM unnest($1::text[]) AS text WHERE position(text IN query) > 0)
            OR (created >= $3::timestamptz AND regexp_count(query, 'from\s+' || $2::text || '\M', 1, 'i')
                > regexp_count(query, $2::text || '[.]datetime\s*>=', 1, 'i'))
        UNION SELECT needs.query_id FROM cache.dependencies needs JOIN found ON needs.depends_on = found.query_id
    )
    SELECT query_id, quote_ident(tablename) FROM cache.cached JOIN found USING (query_id) WHERE schema = 'cache'";

/// Forgets every query in whose SQL one of these texts is, those that have read every day of this table since this moment, and those that were made of
/// them; says how many. One that runs is left alone.
///
/// # Errors
/// See [`Error`]; all others are forgotten nevertheless.
pub async fn forget(sources: Sources, texts: &[&str], since: Option<(&str, OffsetDateTime)>) -> Result<usize, Error> {
    let (client, connection) = scram::connect(&sources.flowdb).await.map_err(database("log in"))?;
    tokio::spawn(connection);
    // Whoever comes after us waits for a lock on a result that is read as long as we do.
    client.batch_execute("SET lock_timeout = '400ms'").await.map_err(database("limit a wait"))?;
    let found = find(&client, texts, since).await.map_err(database("read cache.cached"))?;
    if found.is_empty() {
        return Ok(0);
    }
    let mut records = Records::open(sources.redis, &sources.database_id, PATIENCE).map_err(redis_error("log in"))?;
    let states = records.states().map_err(redis_error("read the states of queries"))?;
    let mut outcome = Ok(found.len());
    for (id, table) in &found {
        // Redis first: what it calls completed has a table.
        let seen = states.get(id).map(String::as_str);
        records.replace(id, seen, None).map_err(redis_error("change the state of a query"))?;
        if let Err(error) = remove(&client, id, table).await {
            outcome = Err(error);
        }
    }
    outcome
}

/// Removes a result and its row.
async fn remove(client: &Client, id: &String, table: &str) -> Result<(), Error> {
    let (sql, until) = (format!("DROP TABLE IF EXISTS cache.{table}"), Instant::now() + PATIENCE);
    while let Err(error) = client.batch_execute(&sql).await {
        if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) || Instant::now() > until {
            return Err(database("remove a result")(error));
        }
    }
    let row = client.execute("DELETE FROM cache.cached WHERE query_id = $1", &[id]).await;
    row.map(drop).map_err(database("remove the row of a result"))
}

/// Ids, and the quoted names of their tables.
async fn find(
    client: &Client,
    texts: &[&str],
    since: Option<(&str, OffsetDateTime)>,
) -> Result<Vec<(String, String)>, tokio_postgres::Error> {
    let (table, since) = since.unzip();
    let rows = client.query(FIND, &[&texts, &table.map(|table| table.replace('.', "[.]")), &since]).await?;
    let running = running(client).await?;
    let all = rows.iter().map(|row| (row.get(0), row.get(1)));
    Ok(all.filter(|(id, _): &(String, String)| !running.contains(id)).collect())
}

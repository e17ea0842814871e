//! Takes results out of FlowMachine's cache: their tables, their rows in `cache.cached`, and their states in redis, so that the same
//! question is answered anew.

use tokio_postgres::Client;

use super::Sources;
use super::records::{Records, running};
use super::repair::{Error, PATIENCE, database, redis_error};

/// Forgets every query in whose SQL this text is, and those that were made of them; says how many. One that runs is left alone.
///
/// # Errors
/// See [`Error`].
pub async fn forget(sources: Sources, text: &str) -> Result<usize, Error> {
    let (client, connection) = scram::connect(&sources.flowdb).await.map_err(database("log in"))?;
    tokio::spawn(connection);
    let found = find(&client, text).await.map_err(database("read cache.cached"))?;
    if found.is_empty() {
        return Ok(0);
    }
    let mut records = Records::open(sources.redis, &sources.database_id, PATIENCE).map_err(redis_error("log in"))?;
    let states = records.states().map_err(redis_error("read the states of queries"))?;
    for (id, table) in &found {
        // Redis first: what it calls completed has a table.
        let seen = states.get(id).map(String::as_str);
        records.replace(id, seen, None).map_err(redis_error("change the state of a query"))?;
        let removed = client.batch_execute(&format!("DROP TABLE IF EXISTS cache.{table}")).await;
        removed.map_err(database("remove a result"))?;
        let row = client.execute("DELETE FROM cache.cached WHERE query_id = $1", &[id]).await;
        row.map_err(database("remove the row of a result"))?;
    }
    Ok(found.len())
}

/// Ids, and the quoted names of their tables.
async fn find(client: &Client, text: &str) -> Result<Vec<(String, String)>, tokio_postgres::Error> {
    let sql = "WITH RECURSIVE found AS (
                   SELECT query_id FROM cache.cached WHERE position($1 IN query) > 0
                   UNION SELECT needs.query_id FROM cache.dependencies needs JOIN found ON needs.depends_on = found.query_id
               )
               SELECT query_id, quote_ident(tablename) FROM cache.cached JOIN found USING (query_id) WHERE schema = 'cache'";
    let rows = client.query(sql, &[&text]).await?;
    let running = running(client).await?;
    let all = rows.iter().map(|row| (row.get(0), row.get(1)));
    Ok(all.filter(|(id, _): &(String, String)| !running.contains(id)).collect())
}

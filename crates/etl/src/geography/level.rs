//! The level's table: what has its name, and another in its place.

use std::time::{Duration, Instant};

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::{Before, NotLoaded};
use crate::areas::{Areas, own};
use crate::error::Error;

/// Longest wait for a lock on a table that is queried, how long it is tried again, and the pause in between.
const LOCK: &str = "400ms";
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// What has the level's name now.
pub struct There {
    /// As it is dropped.
    pub what: &'static str,
    /// What it is.
    pub before: Before,
}

/// Finds out what has the level's name, and asks it nothing unless it is a plain table of FlowDB's owner: analysts may make relations
/// in the schema, and a function in a view of theirs would run with the rights of whoever looks, that is with all.
pub async fn there(transaction: &Transaction<'_>, level: u8) -> Result<Option<There>, NotLoaded> {
    let failed = || Error::when(format!("look at geography.admin{level}"));
    let sql = "SELECT pg_class.oid, relkind::text, rolname::text, rolsuper FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
               WHERE pg_class.oid = to_regclass($1)";
    let table = format!("geography.admin{level}");
    let look = async || -> Result<Option<(u32, &'static str)>, NotLoaded> {
        let Some(row) = transaction.query_opt(sql, &[&table]).await.map_err(failed())? else { return Ok(None) };
        let what = match row.get(1) {
            "r" | "p" => "TABLE",
            "v" => "VIEW",
            "m" => "MATERIALIZED VIEW",
            "f" => "FOREIGN TABLE",
            "S" => "SEQUENCE",
            "i" | "I" => "INDEX",
            _ => "TYPE",
        };
        match row.get(3) {
            true => Ok(Some((row.get(0), what))),
            false => Err(NotLoaded::Foreign { level, what, owner: row.get(2) }),
        }
    };
    let Some((oid, what)) = look().await? else { return Ok(None) };
    if what != "TABLE" {
        return Ok(Some(There { what, before: Before::Other(what) }));
    }
    // It can't give its name away any more, and what has the name is looked at once again.
    let lock = format!("LOCK TABLE ONLY {table} IN ACCESS SHARE MODE");
    transaction.batch_execute(&lock).await.map_err(failed())?;
    if look().await? != Some((oid, what)) {
        return Err(Error::Busy(table).into());
    }
    let count = format!("SELECT count(*) FROM {table}");
    let areas: i64 = transaction.query_one(&count, &[]).await.map_err(failed())?.get(0);
    Ok(Some(There { what, before: Before::Areas(areas.unsigned_abs()) }))
}

/// Results by it that FlowMachine has stored.
pub async fn stored(transaction: &Transaction<'_>, level: u8) -> Result<u64, tokio_postgres::Error> {
    let sql =
        "SELECT count(*) FROM cache.cached WHERE position($1 IN query) > 0 AND class NOT IN ('Table', 'GeoTable')";
    let row = transaction.query_one(sql, &[&format!("geography.admin{level}")]).await?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// Makes the table beside what is there, and puts it in its place.
pub async fn make(mut transaction: Transaction<'_>, areas: &Areas, there: Option<&str>) -> Result<(), Error> {
    let level = areas.level;
    let failed = || Error::when(format!("make geography.admin{level}"));
    let [code, _] = own(level);
    let names: Vec<&str> = areas.columns.iter().map(|column| column.name.as_str()).collect();
    let list = names.join(", ");
    let fields: String = names.iter().map(|name| format!("{name} text, ")).collect();
    let table = format!("geography.new_admin{level}");
    let create = format!(
        "CREATE TABLE {table} (gid integer PRIMARY KEY, {fields}geom public.geometry(MultiPolygon, 4326) NOT NULL);
         INSERT INTO {table} (gid, {list}, geom)
             SELECT row_number() OVER (ORDER BY {code}, n), {list}, public.ST_Multi(geom) FROM delivered;
         CREATE INDEX ON {table} USING gist (geom);
         COMMENT ON TABLE {table} IS 'loaded by flowkit etl geography 1';
         ANALYZE {table}"
    );
    transaction.batch_execute(&create).await.map_err(failed())?;
    if let Some(what) = there {
        away(&mut transaction, what, level).await?;
    }
    // Names of indexes mean nothing to anybody; a level that was put aside under another name has kept them.
    let rename = format!(
        "ALTER TABLE {table} RENAME TO admin{level};
         DO $$
         DECLARE
             name text;
         BEGIN
             FOREACH name IN ARRAY ARRAY['admin{level}_pkey', 'admin{level}_geom_idx'] LOOP
                 IF to_regclass('geography.' || name) IS NULL THEN
                     EXECUTE format('ALTER INDEX geography.new_%s RENAME TO %I', name, name);
                 END IF;
             END LOOP;
         END
         $$"
    );
    transaction.batch_execute(&rename).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())
}

/// Removes the old one. Asks for the lock a moment at a time, so that nobody has to wait behind us for a long query.
async fn away(transaction: &mut Transaction<'_>, what: &str, level: u8) -> Result<(), Error> {
    let failed = || Error::when(format!("remove the old geography.admin{level}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = transaction.transaction().await.map_err(failed())?;
        let drop = format!("SET LOCAL lock_timeout = '{LOCK}'; DROP {what} geography.admin{level}");
        match attempt.batch_execute(&drop).await {
            Ok(()) => return attempt.commit().await.map_err(failed()),
            Err(error) if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) => return Err(failed()(error)),
            Err(_) if Instant::now() > deadline => return Err(Error::Busy(format!("geography.admin{level}"))),
            Err(_) => attempt.rollback().await.map_err(failed())?,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

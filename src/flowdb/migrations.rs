//! The schema, version by version.
//!
//! A migration that has been released is never changed: a database remembers each one's checksum and refuses another
//! edition's. All that are pending are applied in one transaction.

use refinery::{Migration, Runner};
use tokio_postgres::Client;

use super::Error;

/// Which migrations were applied, in a schema that no client needs.
const HISTORY: &str = "flowkit.schema_history";

const FILES: &[(&str, &str)] = &[
    ("V1__extensions", include_str!("migrations/V1__extensions.sql")),
    ("V2__lookups", include_str!("migrations/V2__lookups.sql")),
    ("V3__events", include_str!("migrations/V3__events.sql")),
    ("V4__infrastructure", include_str!("migrations/V4__infrastructure.sql")),
    ("V5__geography", include_str!("migrations/V5__geography.sql")),
    ("V6__etl", include_str!("migrations/V6__etl.sql")),
    ("V7__dfs", include_str!("migrations/V7__dfs.sql")),
    ("V8__cache", include_str!("migrations/V8__cache.sql")),
    ("V9__utilities", include_str!("migrations/V9__utilities.sql")),
    ("V10__hartigan", include_str!("migrations/V10__hartigan.sql")),
    ("V11__grid", include_str!("migrations/V11__grid.sql")),
    ("V12__viewshed", include_str!("migrations/V12__viewshed.sql")),
    ("V13__running_queries", include_str!("migrations/V13__running_queries.sql")),
    ("V14__cache", include_str!("migrations/V14__cache.sql")),
    ("V15__arguments", include_str!("migrations/V15__arguments.sql")),
    ("V16__latest_state", include_str!("migrations/V16__latest_state.sql")),
    ("V17__sessions", include_str!("migrations/V17__sessions.sql")),
];

/// The schema version that this program brings a database to.
pub fn latest() -> i32 {
    known().iter().map(|migration| migration.version()).max().expect("there are migrations")
}

/// Applies what is pending and says how many that were.
///
/// A database that a newer program has migrated, or another edition of this one, is refused with nothing touched.
pub async fn apply(client: &mut Client) -> Result<usize, Error> {
    refuse_newer(client).await?;
    client
        .batch_execute(
            "SET timezone = 'UTC';
             SET search_path = public;
             CREATE SCHEMA IF NOT EXISTS flowkit",
        )
        .await
        .map_err(Error::sql("make the schema flowkit"))?;
    let mut runner = Runner::new(&known()).set_grouped(true);
    runner.set_migration_table_name(HISTORY);
    let report = runner.run_async(client).await.map_err(sort_out)?;
    Ok(report.applied_migrations().len())
}

fn known() -> Vec<Migration> {
    let parse = |(name, sql): &(&str, &str)| Migration::unapplied(name, sql).expect("its name has a version");
    FILES.iter().map(parse).collect()
}

/// Looks, without making anything, at how far the database has been brought, and by whom.
async fn refuse_newer(client: &Client) -> Result<(), Error> {
    let look = "look at the schema's history";
    let exists = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY])
        .await
        .map_err(Error::sql(look))?
        .get::<_, bool>(0);
    if !exists {
        return Ok(());
    }
    let row = client
        .query_one(&format!("SELECT coalesce(max(version), 0)::int4 FROM {HISTORY}"), &[])
        .await
        .map_err(Error::sql(look))?;
    let database: i32 = row.get(0);
    if database <= latest() {
        return Ok(());
    }
    let by = client
        .query_opt("SELECT coalesce(appliance, 'of an unknown version') FROM public.flowdb_version", &[])
        .await
        .map_err(Error::sql(look))?
        .map_or("of an unknown version".into(), |row| row.get(0));
    Err(Error::NewerDatabase { database, by, known: latest() })
}

fn sort_out(error: refinery::Error) -> Error {
    use refinery::error::Kind;
    match error.kind() {
        Kind::DivergentVersion(applied, known) => {
            Error::Divergent(format!("its {applied} differs from {known} known here"))
        }
        Kind::MissingVersion(applied) => Error::Divergent(format!("{applied} is not in both")),
        _ => Error::Migration(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_and_versions_count_up() {
        let mut on_disk: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/flowdb/migrations"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".sql", ""))
            .collect();
        let mut listed: Vec<String> = FILES.iter().map(|(name, _)| name.to_string()).collect();
        let versions: Vec<_> = known().iter().map(|migration| migration.version() as usize).collect();
        assert_eq!(versions, (1..=FILES.len()).collect::<Vec<_>>());
        on_disk.sort();
        listed.sort();
        assert_eq!(on_disk, listed);
    }
}

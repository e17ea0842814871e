//! The schema, and what the two databases say differently. A migration that has been released is never changed: a database remembers its
//! checksum.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, SqlSafeStr as _, SqlStr};

use super::Kind;

/// Version, what it does, and its text for each database: upstream's table is another in each, as its programs make it; ours are the same.
const ALL: [(i64, &str, &str, &str); 1] = [(
    1,
    "begin",
    concat!(include_str!("V1__upstreams.sqlite.sql"), include_str!("V1__ours.sql")),
    concat!(include_str!("V1__upstreams.postgres.sql"), include_str!("V1__ours.sql")),
)];

fn migrations(kind: Kind) -> Migrator {
    let migrations = ALL.map(|(version, name, sqlite, postgres)| {
        let text = match kind {
            Kind::Sqlite => sqlite,
            Kind::Postgres => postgres,
        };
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.into())
}

/// Applies what is pending. A database that a newer program has migrated is refused.
pub async fn run(kind: Kind, pool: &AnyPool) -> Result<(), MigrateError> {
    migrations(kind).run(pool).await
}

/// What a connection is told first.
pub async fn prepare(kind: Kind, connection: &mut AnyConnection) -> sqlx::Result<()> {
    let settings = match kind {
        Kind::Sqlite => ["PRAGMA busy_timeout = 10000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"],
        Kind::Postgres => ["SET statement_timeout = '30s'", "SET lock_timeout = '10s'", "SET synchronous_commit = on"],
    };
    for setting in settings {
        sqlx::query(setting).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A statement, with the database's own words for `{now}` (seconds since 1970), `{stamp}` (now) and `{state}` (a state out of `$3`).
pub fn sql(kind: Kind, text: &str) -> SqlStr {
    let words = match kind {
        Kind::Sqlite => {
            ["CAST(strftime('%s', 'now') AS INTEGER)", "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'", "$3"]
        }
        Kind::Postgres => ["CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)", "clock_timestamp()", "CAST($3 AS runstate)"],
    };
    let words = ["{now}", "{stamp}", "{state}"].iter().zip(words);
    AssertSqlSafe(words.fold(text.to_owned(), |text, (name, word)| text.replace(name, word))).into_sql_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_has_the_checksum_that_databases_remember() {
        let beginning = |kind| {
            let migrations = migrations(kind);
            let sum = migrations.migrations[0].checksum.iter().take(8);
            sum.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!([Kind::Sqlite, Kind::Postgres].map(beginning), ["df108ae18f1dda62", "f08574507fcda9c7"]);
    }
}

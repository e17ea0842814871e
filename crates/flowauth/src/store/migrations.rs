//! The schema, version by version. A migration that has been released is never changed: a database remembers its checksum.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, AssertSqlSafe, SqlSafeStr as _};

use super::Kind;

/// Version, what it does, and its text for each database. `{id}` in it is a number of the row's own, as that database makes them.
const ALL: &[(i64, &str, &str, &str)] = &[
    (1, "begin", include_str!("migrations/V1__begin.sql"), include_str!("migrations/V1__begin.sql")),
    (
        2,
        "append only",
        include_str!("migrations/V2__append_only.sqlite.sql"),
        include_str!("migrations/V2__append_only.postgres.sql"),
    ),
    (3, "keys", include_str!("migrations/V3__keys.sql"), include_str!("migrations/V3__keys.sql")),
    (4, "invitations", include_str!("migrations/V4__invitations.sql"), include_str!("migrations/V4__invitations.sql")),
    (5, "passkeys", include_str!("migrations/V5__passkeys.sql"), include_str!("migrations/V5__passkeys.sql")),
    (6, "machines", include_str!("migrations/V6__machines.sql"), include_str!("migrations/V6__machines.sql")),
    (7, "identities", include_str!("migrations/V7__identities.sql"), include_str!("migrations/V7__identities.sql")),
];

/// Applies what is pending, each in a transaction of its own. A database that a newer program has migrated is refused.
pub async fn run(kind: Kind, pool: &AnyPool) -> Result<(), sqlx::migrate::MigrateError> {
    let migrations = ALL.iter().map(|(version, name, sqlite, postgres)| {
        let (text, id) = match kind {
            Kind::Sqlite => (sqlite, "INTEGER PRIMARY KEY AUTOINCREMENT"),
            Kind::Postgres => (postgres, "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        };
        let text = AssertSqlSafe(text.replace("{id}", id)).into_sql_str();
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.collect()).run(pool).await
}

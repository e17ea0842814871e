//! A schema, version by version.

use refinery_core::{Migration, Runner};
use tokio_postgres::Client;

use super::Error;

/// Which migrations were applied, in a schema that no client needs.
const HISTORY: &str = "flowkit.schema_history";

/// The migrations of one database, each embedded in the program that it belongs to.
///
/// One that has been released is never changed: a database remembers each one's checksum and refuses another edition's. All that
/// are pending are applied in one transaction.
pub struct Migrations {
    /// Names, as refinery has them (`V1__what_it_does`), and what they do, in SQL.
    pub files: &'static [(&'static str, &'static str)],
    /// A question that gives, in one row at most, which flowkit has migrated the database last; asked of one that a newer flowkit
    /// has migrated.
    pub made_by: Option<&'static str>,
}

impl Migrations {
    /// The schema version that they bring a database to.
    pub fn latest(&self) -> i32 {
        self.known().iter().map(|migration| migration.version()).max().unwrap_or(0)
    }

    /// Applies what is pending and says how many that were.
    ///
    /// # Errors
    /// A database that a newer program has migrated, or another edition of this one, is refused with nothing touched.
    ///
    /// # Panics
    /// When a name has no version.
    pub async fn apply(&self, client: &mut Client) -> Result<usize, Error> {
        self.refuse_newer(client).await?;
        client
            .batch_execute(
                "SET timezone = 'UTC';
                 SET search_path = public;
                 CREATE SCHEMA IF NOT EXISTS flowkit",
            )
            .await
            .map_err(Error::sql("make the schema flowkit"))?;
        let mut runner = Runner::new(&self.known()).set_grouped(true);
        runner.set_migration_table_name(HISTORY);
        let report = runner.run_async(client).await.map_err(sort_out)?;
        Ok(report.applied_migrations().len())
    }

    fn known(&self) -> Vec<Migration> {
        let parse = |(name, sql): &(&str, &str)| Migration::unapplied(name, sql).expect("its name has a version");
        self.files.iter().map(parse).collect()
    }

    /// Looks, without making anything, at how far the database has been brought, and by whom.
    async fn refuse_newer(&self, client: &Client) -> Result<(), Error> {
        const UNKNOWN: &str = "of an unknown version";
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
        let (database, known) = (row.get(0), self.latest());
        if database <= known {
            return Ok(());
        }
        let by = match self.made_by {
            Some(question) => client.query_opt(question, &[]).await.map_err(Error::sql(look))?,
            None => None,
        };
        let by = by.and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or(UNKNOWN.into());
        Err(Error::NewerDatabase { database, by, known })
    }
}

fn sort_out(error: refinery_core::Error) -> Error {
    use refinery_core::error::Kind;
    match error.kind() {
        Kind::DivergentVersion(applied, known) => {
            Error::Divergent(format!("its {applied} differs from {known} known here"))
        }
        Kind::MissingVersion(applied) => Error::Divergent(format!("{applied} is not in both")),
        _ => Error::Migration(error),
    }
}

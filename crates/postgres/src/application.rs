//! The one database of an application: its login, which owns it and nothing else, and the login of the readiness probe.

use super::connect::MAINTENANCE;
use super::{Cluster, Error, MONITOR, MONITOR_CONNECTIONS, password};

/// Whoever logs in, and may do nothing in a cluster.
const POWERLESS: &str =
    "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT LOGIN VALID UNTIL 'infinity'";

impl Cluster {
    /// Makes a login and a database of this name, unless they are there, and sets passwords: all are the cluster's, but for the
    /// probe's. To be done at every start: it is how a new password gets in. The name is one of a program, which needs no quotes.
    ///
    /// # Errors
    /// Another server answers there; a statement fails.
    pub async fn make_application(&self, name: &'static str) -> Result<(), Error> {
        let superuser = self.superuser;
        let secret = self.site.store.get(self.password)?;
        let (own, monitor) = (password::clause(&secret), password::clause(&password::of_monitor(&secret)));
        let client = self.as_superuser(MAINTENANCE).await?;
        self.refuse_other(&client).await?;
        for (login, attributes) in [
            (name, format!("{POWERLESS} {own}")),
            (MONITOR, format!("{POWERLESS} CONNECTION LIMIT {MONITOR_CONNECTIONS} {monitor}")),
        ] {
            let there = client.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&login]).await;
            let verb = if there.map_err(Error::sql("list roles"))?.is_some() { "ALTER" } else { "CREATE" };
            let sql = format!("{verb} ROLE {login} {attributes}; ALTER ROLE {login} RESET ALL");
            client.batch_execute(&sql).await.map_err(Error::sql(format!("set up the role {login}")))?;
        }
        self.make_database(name).await?;
        // The owner of a database owns its schema `public` too.
        let sql = format!(
            "ALTER DATABASE {name} OWNER TO {name}; REVOKE ALL ON DATABASE {name} FROM PUBLIC;
             ALTER ROLE {superuser} {own}"
        );
        client.batch_execute(&sql).await.map_err(Error::sql(format!("hand over the database {name}")))
    }
}

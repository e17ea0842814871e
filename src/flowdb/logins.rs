//! The logins of programs and the groups of people: their names, passwords and limits, set at every start.

use tokio_postgres::Transaction;

use super::cluster::SUPERUSER_PASSWORD;
use super::connect::login_name;
use super::users::{self, Role};
use super::{DATABASE, Error, FLOWMACHINE, FLOWMACHINE_LOGIN, SUPERUSER};
use flowkit_core::Site;
use flowkit_core::config::{Problem, Settings};
use flowkit_core::secrets::Secret;
use postgres::{MONITOR, MONITOR_CONNECTIONS, password};

/// A login that nothing keeps from logging in, whatever somebody has changed about it.
const LOGIN: &str = "LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity'";

/// Marks the login that FlowAPI uses, so that one with a former name can be found and closed.
const FLOWAPI_COMMENT: &str = "The login of FlowAPI; kept by flowkit";

/// The same for FlowMachine's, when it is not `flowmachine` itself.
const FLOWMACHINE_COMMENT: &str = "The login of FlowMachine; kept by flowkit";

/// What they shall be, checked before anything is changed.
pub struct Logins {
    superuser: Secret,
    flowmachine: Login,
    flowapi: Login,
    limits: [Limits; 2],
}

struct Login {
    name: String,
    password: Secret,
}

/// What each person of a group may take.
struct Limits {
    group: &'static str,
    connections: i64,
    /// 0 for no limit.
    statement_seconds: i64,
}

impl Limits {
    fn of(role: Role, settings: &Settings) -> Limits {
        let (connections, seconds) = match role {
            Role::Analyst => ("FLOWKIT_ANALYST_CONNECTIONS", "FLOWKIT_ANALYST_STATEMENT_SECONDS"),
            Role::Reader => ("FLOWKIT_READER_CONNECTIONS", "FLOWKIT_READER_STATEMENT_SECONDS"),
        };
        let given = |name| settings.int(name).expect("it has a default");
        Limits { group: role.group(), connections: given(connections), statement_seconds: given(seconds) }
    }
}

impl Logins {
    /// By settings and secrets.
    ///
    /// # Errors
    /// A secret is missing; a name can't be, or is another's.
    pub fn read(Site { settings, store, .. }: &Site) -> Result<Logins, Error> {
        let mut found =
            store.require(&[SUPERUSER_PASSWORD, "FLOWMACHINE_FLOWDB_PASSWORD", "FLOWAPI_FLOWDB_PASSWORD"])?;
        let mut password = |name: &str| found.remove(name).expect("what was required is there");
        let login = |secret: &'static str, password: Secret| -> Result<Login, Error> {
            let name = login_name(store, secret)?;
            check_name(secret, &name)?;
            Ok(Login { name, password })
        };
        let flowmachine = login("FLOWMACHINE_FLOWDB_USER", password("FLOWMACHINE_FLOWDB_PASSWORD"))?;
        let flowapi = login("FLOWAPI_FLOWDB_USER", password("FLOWAPI_FLOWDB_PASSWORD"))?;
        if flowapi.name == flowmachine.name || flowapi.name == FLOWMACHINE {
            return Err(Problem::new(
                "FLOWAPI_FLOWDB_USER is FlowMachine's user",
                "give another name: FlowAPI may read results, not raw records",
            )
            .value(flowapi.name)
            .into());
        }
        let limits = [Role::Analyst, Role::Reader].map(|role| Limits::of(role, settings));
        Ok(Logins { superuser: password(SUPERUSER_PASSWORD), flowmachine, flowapi, limits })
    }

    /// Whether FlowMachine logs in as the owner of what it makes, as whom every analyst can act.
    pub fn owner_logs_in(&self) -> bool {
        self.flowmachine.name == FLOWMACHINE
    }

    /// Makes and sets them all.
    pub async fn set(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        for group in ["flowkit_functions", "flowkit_sessions", "flowkit_departed"] {
            set_role(transaction, group, "NOLOGIN PASSWORD NULL").await?;
        }
        // What people of a group may take is kept at the group, and given to each of them by grants.sql.
        for Limits { group, connections, statement_seconds } in &self.limits {
            set_role(transaction, group, &format!("NOLOGIN CONNECTION LIMIT {connections}")).await?;
            let sql = format!("ALTER ROLE {group} SET statement_timeout = '{statement_seconds}s'");
            transaction.batch_execute(&sql).await.map_err(Error::sql(format!("set the limits of {group}")))?;
        }
        close_former(transaction, FLOWAPI_COMMENT, &self.flowapi.name, "flowkit_reader").await?;
        close_former(transaction, FLOWMACHINE_COMMENT, &self.flowmachine.name, FLOWMACHINE).await?;
        if !self.owner_logs_in() {
            set_role(transaction, FLOWMACHINE, "NOLOGIN PASSWORD NULL").await?;
        }
        for (login, group, comment) in
            [(&self.flowmachine, FLOWMACHINE, FLOWMACHINE_COMMENT), (&self.flowapi, "flowkit_reader", FLOWAPI_COMMENT)]
        {
            set_role(transaction, &login.name, &format!("{LOGIN} {}", password::clause(&login.password))).await?;
            look_only_in_public(transaction, &login.name).await?;
            if login.name != group {
                let sql = format!("GRANT {group} TO {0}; COMMENT ON ROLE {0} IS '{comment}'", login.name);
                transaction.batch_execute(&sql).await.map_err(Error::sql(format!("mark the role {}", login.name)))?;
            }
        }
        count_what_is_stored(transaction, &self.flowmachine.name).await?;
        let monitor = password::clause(&password::of_monitor(&self.superuser));
        let few = format!("LOGIN CONNECTION LIMIT {MONITOR_CONNECTIONS} VALID UNTIL 'infinity'");
        set_role(transaction, MONITOR, &format!("{few} {monitor}")).await?;
        keep_connections_for(transaction, &[&self.flowmachine.name, &self.flowapi.name, MONITOR]).await?;
        look_only_in_public(transaction, SUPERUSER).await?;
        // FlowETL logs in as it, and sorts what is as large as a day's table: the limit is for what people ask.
        let all = format!("ALTER ROLE {SUPERUSER} SET temp_file_limit = -1");
        transaction.batch_execute(&all).await.map_err(Error::sql("let FlowETL sort large days"))?;
        let sql = format!("ALTER ROLE {SUPERUSER} {LOGIN} {}", password::clause(&self.superuser));
        transaction.batch_execute(&sql).await.map_err(Error::sql("set the superuser's password"))
    }
}

fn check_name(secret: &str, name: &str) -> Result<(), Error> {
    match users::check_name(name) {
        Ok(()) => Ok(()),
        Err(_) if [FLOWMACHINE, FLOWMACHINE_LOGIN].contains(&name) => Ok(()),
        Err(why) => Err(Problem::new(format!("{secret} is no name for a login"), why).value(name).into()),
    }
}

/// Has a login find nothing in a schema of its own name, which any analyst could make and fill.
async fn look_only_in_public(transaction: &Transaction<'_>, name: &str) -> Result<(), Error> {
    let sql = format!("ALTER ROLE {name} IN DATABASE {DATABASE} SET search_path = public");
    transaction.batch_execute(&sql).await.map_err(Error::sql(format!("set the search path of {name}")))
}

/// Has pg_stat_statements count what FlowMachine stores: `EXPLAIN … CREATE TABLE … AS`, which is a utility statement. Only from
/// 16 on does PostgreSQL leave the constants of those out. FlowMachine's alone, as texts inside of others stay even then: the
/// body of a `DO`, a password.
async fn count_what_is_stored(transaction: &Transaction<'_>, name: &str) -> Result<(), Error> {
    let sql = format!(
        "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN
            ALTER ROLE {name} SET pg_stat_statements.track_utility = on;
         END IF; END $$"
    );
    transaction.batch_execute(&sql).await.map_err(Error::sql(format!("count the statements of {name}")))
}

/// Lets logins have the last connections, which people can't take (`reserved_connections`); PostgreSQL keeps some from 16 on.
async fn keep_connections_for(transaction: &Transaction<'_>, names: &[&str]) -> Result<(), Error> {
    let sql = format!(
        "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN
            GRANT pg_use_reserved_connections TO {};
         END IF; END $$",
        // What the owner may, so may every analyst.
        names.iter().filter(|name| **name != FLOWMACHINE).copied().collect::<Vec<_>>().join(", ")
    );
    transaction.batch_execute(&sql).await.map_err(Error::sql("keep connections for the programs' logins"))
}

/// Makes a role unless it is there, and gives it these attributes, no power, and no settings: whoever may act as a role may
/// set some for its next session. Names were checked.
async fn set_role(transaction: &Transaction<'_>, name: &str, attributes: &str) -> Result<(), Error> {
    let exists = transaction
        .query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name])
        .await
        .map_err(Error::sql("list roles"))?
        .is_some();
    let verb = if exists { "ALTER" } else { "CREATE" };
    let powerless = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT";
    transaction
        .batch_execute(&format!(
            "{verb} ROLE {name} {powerless} {attributes};
             ALTER ROLE {name} RESET ALL; ALTER ROLE {name} IN DATABASE {DATABASE} RESET ALL"
        ))
        .await
        .map_err(Error::sql(format!("set up the role {name}")))
}

/// Closes the logins that a program had under another name before.
async fn close_former(transaction: &Transaction<'_>, comment: &str, now: &str, group: &str) -> Result<(), Error> {
    let former = transaction
        .query(
            "SELECT rolname::text FROM pg_roles WHERE rolname <> $1 AND shobj_description(oid, 'pg_authid') = $2",
            &[&now, &comment],
        )
        .await
        .map_err(Error::sql("list former logins"))?;
    for row in former {
        let name: &str = row.get(0);
        transaction
            .batch_execute(&format!("ALTER ROLE {name} NOLOGIN PASSWORD NULL; REVOKE {group} FROM {name}"))
            .await
            .map_err(Error::sql(format!("close the former login {name}")))?;
    }
    Ok(())
}

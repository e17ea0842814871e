//! What is done to the database once it answers: migrations, roles, passwords, grants, settings.
//!
//! Run at every start, so that a rotated password or a changed setting takes effect.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::{Client, Transaction};

use super::cluster::{self, SUPERUSER_PASSWORD};
use super::connect::login_name;
use super::migrations::MIGRATIONS;
use super::users::Role;
use super::{DATABASE, Error, FLOWMACHINE, FLOWMACHINE_LOGIN, SUPERUSER};
use crate::tuning;
use flowkit_core::Site;
use flowkit_core::config::{Problem, Settings};
use flowkit_core::hardware;
use flowkit_core::secrets::Secret;
use postgres::{Cluster, MAINTENANCE, MONITOR, MONITOR_CONNECTIONS, password};

/// The version whose clients this database serves: the one that the packages FlowMachine and FlowETL are pinned to.
/// FlowMachine compares it as text, without any "v", with the oldest that it accepts.
const VERSION: &str = "1.34.0";

/// When that version was released.
const RELEASED: &str = "2025-10-15";

/// Any number that nothing else uses: one start at a time changes the schema. It is held in the database [`MAINTENANCE`], as
/// whoever may connect to a database can hold any lock of this kind there.
const LOCK: i64 = 0x464c_4f57_4442;

/// How often it is looked who holds what the schema's work waits for; they have that long to let go by themselves.
const HELD_UP: Duration = Duration::from_secs(5);

/// Made when they are installed, at whatever start that is first so.
const OPTIONAL_EXTENSIONS: &[&str] =
    &["pgrouting", "ogr_fdw", "pg_stat_statements", "pg_median_utils", "tds_fdw", "fuzzystrmatch", "postgis_topology"];

/// The same where the debugger is asked for.
const DEBUGGER: &str = "pldbgapi";

/// A login that nothing keeps from logging in, whatever somebody has changed about it.
const LOGIN: &str = "LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity'";

/// Marks the login that FlowAPI uses, so that one with a former name can be found and closed.
const FLOWAPI_COMMENT: &str = "The login of FlowAPI; kept by flowkit";

/// The same for FlowMachine's, when it is not `flowmachine` itself.
const FLOWMACHINE_COMMENT: &str = "The login of FlowMachine; kept by flowkit";

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether the database itself had to be made.
    pub created: bool,
    /// How many migrations ran.
    pub migrations: usize,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Brings the running server of this deployment to where this program wants it. Step `flowdb-schema`.
pub async fn apply(site: &Site) -> Result<Applied, Error> {
    let cluster = cluster::cluster(site);
    let data = cluster.data();
    let wishes = Wishes::gather(site, &cluster)?;
    let created = cluster.make_database(DATABASE).await?;
    // Kept to the end: it holds the lock.
    let aside = cluster.as_superuser(MAINTENANCE).await?;
    aside.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(Error::sql("wait for another start"))?;
    let mut client = cluster.as_superuser(DATABASE).await?;
    let mut ended = Vec::new();
    let work = async |client: &mut Client| bring_up_to_date(client, &wishes, &data).await;
    let applied = unhindered(&mut client, &aside, &mut ended, work).await;
    let Applied { migrations, mut warnings, .. } = applied?;
    end_sessions_of_closed_logins(&aside).await?;
    warnings.append(&mut ended);
    Ok(Applied { created, migrations, warnings })
}

async fn bring_up_to_date(client: &mut Client, wishes: &Wishes, data: &Path) -> Result<Applied, Error> {
    let migrations = MIGRATIONS.apply(client).await?;
    let transaction = client.transaction().await.map_err(Error::sql("begin"))?;
    let mut warnings: Vec<String> = add_extensions(&transaction, wishes.debug).await?.into_iter().collect();
    set_roles(&transaction, wishes).await?;
    transaction.batch_execute(include_str!("grants.sql")).await.map_err(Error::sql("grant what roles may do"))?;
    set_rows(&transaction, wishes).await?;
    transaction.commit().await.map_err(Error::sql("commit roles, grants and settings"))?;
    note_partitions(client, data).await?;
    if wishes.flowmachine.name == FLOWMACHINE {
        warnings.push(format!(
            "FLOWMACHINE_FLOWDB_USER is {FLOWMACHINE}, as which every analyst can act: she can change its password and end its \
             sessions; leave it out, or give {FLOWMACHINE_LOGIN}"
        ));
    }
    Ok(Applied { migrations, warnings, ..Applied::default() })
}

/// Does the superuser's work over `client`, and ends over `aside` who holds it up: anybody may hold up who changes what is theirs, for
/// as long as a transaction is open. What was ended is added to `ended`, in words.
///
/// # Errors
/// The work's; the other sessions can't be looked at.
pub async fn unhindered<T>(
    client: &mut Client,
    aside: &Client,
    ended: &mut Vec<String>,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    let session: i32 = row.map_err(Error::sql("ask for the session's number"))?.get(0);
    tokio::select! {
        done = work(client) => done,
        error = end_who_holds_up(aside, session, ended) => Err(error),
    }
}

/// Ends sessions that hold a lock for which `session` waits, and goes on looking.
async fn end_who_holds_up(aside: &Client, session: i32, ended: &mut Vec<String>) -> Error {
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(HELD_UP).await;
        // Autovacuum has no user, and yields by itself.
        let sql = "SELECT pid, usename::text FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid
            WHERE pid = ANY (pg_blocking_pids($1)) AND NOT rolsuper";
        let holders: Vec<(i32, String)> = match aside.query(sql, &[&session]).await {
            Ok(rows) => rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            Err(source) => return Error::sql("look who holds up the schema's work")(source),
        };
        for (pid, user) in holders.iter().filter(|holder| before.contains(*holder)) {
            if let Err(source) = aside.execute("SELECT pg_terminate_backend($1)", &[pid]).await {
                return Error::sql("end who holds up the schema's work")(source);
            }
            ended.push(format!("a session of {user} was ended: a transaction that it had open held this up"));
        }
        before = holders;
    }
}

/// Whoever logged in as somebody who may no longer has no part in what that role does.
async fn end_sessions_of_closed_logins(aside: &Client) -> Result<(), Error> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid WHERE NOT rolcanlogin";
    aside.execute(sql, &[]).await.map(drop).map_err(Error::sql("end the sessions of closed logins"))
}

/// Everything that the operator has a say in, checked before anything is changed.
struct Wishes {
    superuser: Secret,
    flowmachine: Login,
    flowapi: Login,
    limits: [Limits; 2],
    debug: bool,
    location_table: String,
    /// Key, value, and whether it was asked for (otherwise it is only a default).
    cache: Vec<(&'static str, String, bool)>,
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

struct Login {
    name: String,
    password: Secret,
}

impl Wishes {
    fn gather(Site { settings, store, .. }: &Site, cluster: &Cluster) -> Result<Wishes, Error> {
        let mut found =
            store.require(&[SUPERUSER_PASSWORD, "FLOWMACHINE_FLOWDB_PASSWORD", "FLOWAPI_FLOWDB_PASSWORD"])?;
        let mut password = |name: &str| found.remove(name).expect("what was required is there");
        let login = |secret: &'static str, password: Secret| -> Result<Login, Error> {
            let name = login_name(store, secret)?;
            check_login_name(secret, &name)?;
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
        Ok(Wishes {
            superuser: password(SUPERUSER_PASSWORD),
            flowmachine,
            flowapi,
            limits: [Role::Analyst, Role::Reader].map(|role| Limits::of(role, settings)),
            debug: settings.flag("FLOWDB_ENABLE_POSTGRES_DEBUG_MODE"),
            location_table: settings.text("LOCATION_TABLE").unwrap_or("infrastructure.cells").to_owned(),
            cache: cache_wishes(settings, cluster)?,
        })
    }
}

fn check_login_name(secret: &str, name: &str) -> Result<(), Error> {
    match super::users::check_name(name) {
        Ok(()) => Ok(()),
        Err(_) if [FLOWMACHINE, FLOWMACHINE_LOGIN].contains(&name) => Ok(()),
        Err(why) => Err(Problem::new(format!("{secret} is no name for a login"), why).value(name).into()),
    }
}

fn cache_wishes(settings: &Settings, cluster: &Cluster) -> Result<Vec<(&'static str, String, bool)>, Error> {
    let asked = |name: &str| settings.explicit().any(|(given, _)| given == name);
    let hardware = hardware::detect(&cluster.data());
    let cache = tuning::plan(&hardware, settings, &tuning::Database::new(cluster.major()))?.cache();
    Ok(vec![
        ("cache_size", cache.size.to_string(), asked("CACHE_SIZE")),
        ("half_life", cache.half_life.to_string(), asked("CACHE_HALF_LIFE")),
        ("cache_protected_period", cache.protected_period.to_string(), asked("CACHE_PROTECTED_PERIOD")),
    ])
}

/// The warning is about one that can't be had.
async fn add_extensions(transaction: &Transaction<'_>, debug: bool) -> Result<Option<String>, Error> {
    let wanted: Vec<&str> = OPTIONAL_EXTENSIONS.iter().copied().chain(debug.then_some(DEBUGGER)).collect();
    let missing = transaction
        .query(
            "SELECT name FROM pg_available_extensions WHERE name = ANY($1) AND installed_version IS NULL",
            &[&wanted],
        )
        .await
        .map_err(Error::sql("list extensions"))?;
    // The extension takes no other schema than this, and its script calls by unqualified name what is in it: ours from the first
    // start on, also where the extension comes later.
    let stranger = own_schema(transaction, "topology").await?;
    let mut warning = None;
    for row in missing {
        let name: &str = row.get(0);
        let schema = match name {
            "postgis_topology" => match &stranger {
                None => "",
                Some(owner) => {
                    warning = Some(format!(
                        "the extension postgis_topology was not added: the schema topology belongs to {owner}; \
                         ALTER SCHEMA topology RENAME TO another_name"
                    ));
                    continue;
                }
            },
            _ => "WITH SCHEMA public",
        };
        transaction
            .batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {name} {schema} CASCADE"))
            .await
            .map_err(Error::sql(format!("create the extension {name}")))?;
    }
    Ok(warning)
}

/// Makes a schema unless it is there. The owner where that is somebody else: what that somebody has put there would run as the
/// superuser.
async fn own_schema(transaction: &Transaction<'_>, name: &str) -> Result<Option<String>, Error> {
    transaction
        .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {name}"))
        .await
        .map_err(Error::sql(format!("make the schema {name}")))?;
    let sql =
        "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = $1 AND nspowner <> current_user::regrole";
    let row = transaction.query_opt(sql, &[&name]).await.map_err(Error::sql(format!("look at the schema {name}")))?;
    Ok(row.map(|row| row.get(0)))
}

async fn set_roles(transaction: &Transaction<'_>, wishes: &Wishes) -> Result<(), Error> {
    let flowmachine_logs_in = wishes.flowmachine.name == FLOWMACHINE;
    for group in ["flowkit_functions", "flowkit_sessions", "flowkit_departed"] {
        set_role(transaction, group, "NOLOGIN PASSWORD NULL").await?;
    }
    // What people of a group may take is kept at the group, and given to each of them by grants.sql.
    for Limits { group, connections, statement_seconds } in &wishes.limits {
        set_role(transaction, group, &format!("NOLOGIN CONNECTION LIMIT {connections}")).await?;
        let sql = format!("ALTER ROLE {group} SET statement_timeout = '{statement_seconds}s'");
        transaction.batch_execute(&sql).await.map_err(Error::sql(format!("set the limits of {group}")))?;
    }
    close_former(transaction, FLOWAPI_COMMENT, &wishes.flowapi.name, "flowkit_reader").await?;
    close_former(transaction, FLOWMACHINE_COMMENT, &wishes.flowmachine.name, FLOWMACHINE).await?;
    if !flowmachine_logs_in {
        set_role(transaction, FLOWMACHINE, "NOLOGIN PASSWORD NULL").await?;
    }
    for (login, group, comment) in
        [(&wishes.flowmachine, FLOWMACHINE, FLOWMACHINE_COMMENT), (&wishes.flowapi, "flowkit_reader", FLOWAPI_COMMENT)]
    {
        set_role(transaction, &login.name, &format!("{LOGIN} {}", password::clause(&login.password))).await?;
        look_only_in_public(transaction, &login.name).await?;
        if login.name != group {
            let sql = format!("GRANT {group} TO {0}; COMMENT ON ROLE {0} IS '{comment}'", login.name);
            transaction.batch_execute(&sql).await.map_err(Error::sql(format!("mark the role {}", login.name)))?;
        }
    }
    count_what_is_stored(transaction, &wishes.flowmachine.name).await?;
    let monitor = password::clause(&password::of_monitor(&wishes.superuser));
    let few = format!("LOGIN CONNECTION LIMIT {MONITOR_CONNECTIONS} VALID UNTIL 'infinity'");
    set_role(transaction, MONITOR, &format!("{few} {monitor}")).await?;
    keep_connections_for(transaction, &[&wishes.flowmachine.name, &wishes.flowapi.name, MONITOR]).await?;
    look_only_in_public(transaction, SUPERUSER).await?;
    let sql = format!("ALTER ROLE {SUPERUSER} {LOGIN} {}", password::clause(&wishes.superuser));
    transaction.batch_execute(&sql).await.map_err(Error::sql("set the superuser's password"))
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

async fn set_rows(transaction: &Transaction<'_>, wishes: &Wishes) -> Result<(), Error> {
    let ours = env!("CARGO_PKG_VERSION");
    let version = format!(
        "UPDATE public.flowdb_version SET version = '{VERSION}', release_date = '{RELEASED}', updated = true,
            appliance = '{ours}'
         WHERE (version, release_date, appliance) IS DISTINCT FROM ('{VERSION}', '{RELEASED}'::date, '{ours}');
         INSERT INTO public.flowdb_version SELECT '{VERSION}', '{RELEASED}', false, '{ours}'
         WHERE NOT EXISTS (SELECT FROM public.flowdb_version);
         INSERT INTO public.available_tables (table_name)
         SELECT relname FROM pg_class
         WHERE relnamespace = 'events'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
         ON CONFLICT DO NOTHING"
    );
    transaction.batch_execute(&version).await.map_err(Error::sql("write the version"))?;
    let location = &wishes.location_table;
    let changed = transaction
        .execute(
            "UPDATE public.location_table SET location_table = $1, changed = location_table <> $1 OR changed",
            &[location],
        )
        .await
        .map_err(Error::sql("write the location table"))?;
    if changed == 0 {
        transaction
            .execute("INSERT INTO public.location_table VALUES ($1)", &[location])
            .await
            .map_err(Error::sql("write the location table"))?;
    }
    for (key, value, asked) in &wishes.cache {
        transaction
            .execute(
                "UPDATE cache.cache_config SET value = $2 WHERE key = $1 AND (value IS NULL OR $3) AND value IS DISTINCT FROM $2",
                &[key, value, asked],
            )
            .await
            .map_err(Error::sql(format!("set the cache's {key}")))?;
    }
    Ok(())
}

/// Counts for the tuning of the next start.
async fn note_partitions(client: &Client, data: &Path) -> Result<(), Error> {
    let count = "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'";
    let row = client.query_one(count, &[]).await.map_err(Error::sql("count partitions"))?;
    cluster::note_partitions(data, row.get(0))
}

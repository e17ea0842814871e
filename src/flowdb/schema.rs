//! What is done to the database once it answers: migrations, roles, passwords, grants, settings.
//!
//! Run at every start, so that a rotated password or a changed setting takes effect.

use std::path::Path;

use tokio_postgres::{Client, Transaction};

use super::cluster;
use super::logins::Logins;
use super::migrations::MIGRATIONS;
use super::unhindered::unhindered;
use super::{DATABASE, Error, FLOWMACHINE, FLOWMACHINE_LOGIN};
use crate::tuning;
use flowkit_core::Site;
use flowkit_core::config::Settings;
use flowkit_core::hardware;
use postgres::{Cluster, MAINTENANCE, STEP};

/// The version whose clients this database serves: the one that the packages FlowMachine and FlowETL are pinned to.
/// FlowMachine compares it as text, without any "v", with the oldest that it accepts.
const VERSION: &str = "1.34.0";

/// When that version was released.
const RELEASED: &str = "2025-10-15";

/// Any number that nothing else uses: one start at a time changes the schema. It is held in the database [`MAINTENANCE`], as
/// whoever may connect to a database can hold any lock of this kind there.
const LOCK: i64 = 0x464c_4f57_4442;

/// Made when they are installed, at whatever start that is first so.
const OPTIONAL_EXTENSIONS: &[&str] =
    &["pgrouting", "ogr_fdw", "pg_stat_statements", "pg_median_utils", "tds_fdw", "fuzzystrmatch", "postgis_topology"];

/// The same where the debugger is asked for.
const DEBUGGER: &str = "pldbgapi";

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
    for client in [&aside, &client] {
        let named = client.batch_execute(&format!("SET application_name = '{STEP}'")).await;
        named.map_err(Error::sql("name the session"))?;
    }
    let mut ended = Vec::new();
    let work = async |client: &mut Client| bring_up_to_date(client, &wishes, &data).await;
    let applied = unhindered(&mut client, &aside, &mut ended, work).await;
    let Applied { migrations, mut warnings, .. } = applied?;
    end_sessions_of_closed_logins(&aside).await?;
    warnings.append(&mut ended);
    Ok(Applied { created, migrations, warnings })
}

/// Whoever logged in as somebody who may no longer has no part in what that role does.
async fn end_sessions_of_closed_logins(aside: &Client) -> Result<(), Error> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid WHERE NOT rolcanlogin";
    aside.execute(sql, &[]).await.map(drop).map_err(Error::sql("end the sessions of closed logins"))
}

async fn bring_up_to_date(client: &mut Client, wishes: &Wishes, data: &Path) -> Result<Applied, Error> {
    let migrations = MIGRATIONS.apply(client).await?;
    let transaction = client.transaction().await.map_err(Error::sql("begin"))?;
    let mut warnings: Vec<String> = add_extensions(&transaction, wishes.debug).await?.into_iter().collect();
    wishes.logins.set(&transaction).await?;
    transaction.batch_execute(include_str!("grants.sql")).await.map_err(Error::sql("grant what roles may do"))?;
    set_rows(&transaction, wishes).await?;
    transaction.commit().await.map_err(Error::sql("commit roles, grants and settings"))?;
    note_partitions(client, data).await?;
    if wishes.logins.owner_logs_in() {
        warnings.push(format!(
            "FLOWMACHINE_FLOWDB_USER is {FLOWMACHINE}, as which every analyst can act: she can change its password and end its \
             sessions; leave it out, or give {FLOWMACHINE_LOGIN}"
        ));
    }
    Ok(Applied { migrations, warnings, ..Applied::default() })
}

/// Everything that the operator has a say in, checked before anything is changed.
struct Wishes {
    logins: Logins,
    debug: bool,
    location_table: String,
    /// Key, value, and whether it was asked for (otherwise it is only a default).
    cache: Vec<(&'static str, String, bool)>,
}

impl Wishes {
    fn gather(site: &Site, cluster: &Cluster) -> Result<Wishes, Error> {
        let settings = &site.settings;
        Ok(Wishes {
            logins: Logins::read(site)?,
            debug: settings.flag("FLOWDB_ENABLE_POSTGRES_DEBUG_MODE"),
            location_table: settings.text("LOCATION_TABLE").unwrap_or("infrastructure.cells").to_owned(),
            cache: cache_wishes(settings, cluster)?,
        })
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

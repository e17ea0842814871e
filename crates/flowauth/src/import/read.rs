//! What upstream's database holds. All queries are in words that both kinds know, and cast what the common driver does not: dates and truth.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{AnyConnection, Connection as _, Row as _};
use zeroize::Zeroizing;

use super::{Error, Source};
use crate::times;
use crate::vault::Vault;

/// Versions of its schema by their names among upstream's migrations, from the one with roles on.
const ROLES: &str = "976c731ff30f";
const TOKENS_WITH_ROLES: &str = "a8c5e1d3f7b2";
const NO_LATEST: &str = "c1d4e7b9a2f3";

/// All of it that is taken over, by upstream's own numbers.
#[derive(Default)]
pub struct Upstream {
    pub(super) users: Vec<User>,
    pub(super) servers: Vec<Server>,
    pub(super) roles: Vec<Role>,
    pub(super) tokens: Vec<Token>,
    pub(super) notes: Vec<String>,
}

pub(super) struct User {
    pub id: i64,
    pub name: String,
    /// A PHC string.
    pub password: String,
    pub is_admin: bool,
    pub needs_factor: bool,
    /// The secret of the second factor that is in use.
    pub secret: Option<Zeroizing<String>>,
    /// PHC strings of backup codes.
    pub codes: Vec<String>,
}

pub(super) struct Server {
    pub id: i64,
    pub name: String,
    pub latest_expiry: Option<i64>,
    pub longest_minutes: i64,
    /// By upstream's numbers.
    pub scopes: BTreeMap<i64, String>,
}

pub(super) struct Role {
    pub id: i64,
    pub server: i64,
    pub name: String,
    pub latest_expiry: Option<i64>,
    pub longest_minutes: i64,
    pub scopes: BTreeSet<i64>,
    pub members: BTreeSet<i64>,
}

pub(super) struct Token {
    pub name: String,
    pub text: Zeroizing<String>,
    pub expires_at: i64,
    pub user: i64,
    pub server: i64,
    pub roles: BTreeSet<i64>,
}

impl Upstream {
    /// Reads all of it as it is at one moment.
    pub(super) async fn read(source: &Source, vault: &Vault) -> Result<Upstream, Error> {
        sqlx::any::install_default_drivers();
        let options = match source {
            Source::File(path) => {
                let path =
                    percent_encoding::utf8_percent_encode(&path.to_string_lossy(), percent_encoding::NON_ALPHANUMERIC)
                        .to_string()
                        .replace("%2F", "/");
                AnyConnectOptions::from_str(&format!("sqlite://{path}?mode=ro"))
            }
            Source::Server(address) => AnyConnectOptions::from_str(address.uri().expose()),
        };
        let mut db = AnyConnection::connect_with(&options.map_err(Error::Source)?).await.map_err(Error::Source)?;
        let begin: &[&'static str] = match source {
            Source::File(_) => &["BEGIN"],
            Source::Server(_) => &["SET datestyle = 'ISO'", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"],
        };
        for text in begin {
            sqlx::query(*text).execute(&mut db).await.map_err(Error::Source)?;
        }
        let upstream = all(&mut db, vault).await?;
        db.close().await.map_err(Error::Source)?;
        Ok(upstream)
    }
}

async fn all(db: &mut AnyConnection, vault: &Vault) -> Result<Upstream, Error> {
    let version = version(db).await?;
    let mut upstream = Upstream { users: users(db, vault).await?, ..Upstream::default() };
    upstream.servers = servers(db).await?;
    roles(db, &mut upstream).await?;
    tokens(db, vault, version != ROLES, &mut upstream).await?;
    Ok(upstream)
}

async fn rows(db: &mut AnyConnection, text: &'static str) -> Result<Vec<AnyRow>, Error> {
    sqlx::query(text).fetch_all(db).await.map_err(Error::Source)
}

fn get<'a, T: sqlx::Decode<'a, sqlx::Any> + sqlx::Type<sqlx::Any>>(row: &'a AnyRow, name: &str) -> Result<T, Error> {
    row.try_get(name).map_err(Error::Source)
}

/// A time that has no zone.
fn time(row: &AnyRow, name: &str) -> Result<Option<i64>, Error> {
    let Some(text) = get::<Option<String>>(row, name)? else { return Ok(None) };
    let read = times::parse(&format!("{}Z", text.trim().replacen(' ', "T", 1)));
    read.map(Some).ok_or_else(|| Error::Source(sqlx::Error::Decode(format!("{name} is no time: {text:?}").into())))
}

/// Its version, if it is one with roles.
async fn version(db: &mut AnyConnection) -> Result<String, Error> {
    let found =
        sqlx::query("SELECT CAST(version_num AS TEXT) AS version FROM alembic_version").fetch_optional(db).await;
    let row = match found {
        Ok(Some(row)) => row,
        Ok(None) => return Err(Error::Version("its table alembic_version is empty".to_owned())),
        Err(sqlx::Error::Database(_)) => {
            return Err(Error::Version(
                "it has no table alembic_version, as every FlowAuth from 1.18.1 on makes it".to_owned(),
            ));
        }
        Err(error) => return Err(Error::Source(error)),
    };
    let version: String = get(&row, "version")?;
    match &*version {
        ROLES | TOKENS_WITH_ROLES | NO_LATEST => Ok(version),
        "73ea696e203d" => Err(Error::Version(
            "it is of FlowAuth 1.17, which had groups and no roles: start upstream's FlowAuth 1.18.1 or newer with it once".to_owned(),
        )),
        other => Err(Error::Version(format!("{other:?}; known are {ROLES}, {TOKENS_WITH_ROLES} and {NO_LATEST}"))),
    }
}

async fn users(db: &mut AnyConnection, vault: &Vault) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    for row in rows(
        db,
        r#"SELECT CAST(id AS BIGINT) AS id, CAST(username AS TEXT) AS name, CAST(_password AS TEXT) AS password,
            CAST(CASE WHEN is_admin THEN 1 ELSE 0 END AS BIGINT) AS is_admin,
            CAST(CASE WHEN require_two_factor THEN 1 ELSE 0 END AS BIGINT) AS needs_factor FROM "user" ORDER BY id"#,
    )
    .await?
    {
        users.push(User {
            id: get(&row, "id")?,
            name: get(&row, "name")?,
            password: get(&row, "password")?,
            is_admin: get::<i64>(&row, "is_admin")? != 0,
            needs_factor: get::<i64>(&row, "needs_factor")? != 0,
            secret: None,
            codes: Vec::new(),
        });
    }
    let factors = rows(
        db,
        "SELECT CAST(user_id AS BIGINT) AS id, CAST(_secret_key AS TEXT) AS secret FROM two_factor_auth
         WHERE enabled ORDER BY user_id",
    );
    for row in factors.await? {
        let id: i64 = get(&row, "id")?;
        if let Some(user) = users.iter_mut().find(|user| user.id == id) {
            let sealed: String = get(&row, "secret")?;
            let secret =
                vault.open(&sealed).map_err(|_| Error::Sealed(format!("the second factor of {}", user.name)))?;
            user.secret = Some(secret);
        }
    }
    let codes = rows(
        db,
        "SELECT CAST(auth_id AS BIGINT) AS id, CAST(_backup_code AS TEXT) AS code FROM two_factor_backup
         WHERE _backup_code IS NOT NULL ORDER BY id",
    );
    for row in codes.await? {
        let id: i64 = get(&row, "id")?;
        let code = get(&row, "code")?;
        if let Some(user) = users.iter_mut().find(|user| user.id == id && user.secret.is_some()) {
            user.codes.push(code);
        }
    }
    Ok(users)
}

async fn servers(db: &mut AnyConnection) -> Result<Vec<Server>, Error> {
    let mut servers = Vec::new();
    let all = rows(
        db,
        "SELECT CAST(id AS BIGINT) AS id, CAST(name AS TEXT) AS name, CAST(latest_token_expiry AS TEXT) AS latest,
            CAST(longest_token_life_minutes AS BIGINT) AS longest FROM server ORDER BY id",
    );
    for row in all.await? {
        servers.push(Server {
            id: get(&row, "id")?,
            name: get(&row, "name")?,
            latest_expiry: time(&row, "latest")?,
            longest_minutes: get(&row, "longest")?,
            scopes: BTreeMap::new(),
        });
    }
    let scopes = rows(
        db,
        "SELECT CAST(id AS BIGINT) AS id, CAST(name AS TEXT) AS name, CAST(server_id AS BIGINT) AS server FROM scope
         WHERE name IS NOT NULL AND server_id IS NOT NULL ORDER BY id",
    );
    for row in scopes.await? {
        let server: i64 = get(&row, "server")?;
        if let Some(server) = servers.iter_mut().find(|one| one.id == server) {
            server.scopes.insert(get(&row, "id")?, get(&row, "name")?);
        }
    }
    Ok(servers)
}

async fn roles(db: &mut AnyConnection, upstream: &mut Upstream) -> Result<(), Error> {
    let all = rows(
        db,
        "SELECT CAST(id AS BIGINT) AS id, CAST(name AS TEXT) AS name, CAST(server_id AS BIGINT) AS server,
            CAST(latest_token_expiry AS TEXT) AS latest, CAST(longest_token_life_minutes AS BIGINT) AS longest
         FROM role ORDER BY id",
    );
    for row in all.await? {
        let name: String = get(&row, "name")?;
        let server = get::<Option<i64>>(&row, "server")?;
        let Some(server) = server.filter(|id| upstream.servers.iter().any(|server| server.id == *id)) else {
            upstream.notes.push(format!("the role {name:?} is of no server and is left out"));
            continue;
        };
        upstream.roles.push(Role {
            id: get(&row, "id")?,
            server,
            name,
            latest_expiry: time(&row, "latest")?,
            longest_minutes: get(&row, "longest")?,
            scopes: BTreeSet::new(),
            members: BTreeSet::new(),
        });
    }
    let scopes = "SELECT CAST(role_id AS BIGINT) AS role, CAST(scope_id AS BIGINT) AS other FROM scopes_in_role";
    for (role, scope) in pairs(db, scopes).await? {
        if let Some(role) = upstream.roles.iter_mut().find(|one| one.id == role) {
            role.scopes.insert(scope);
        }
    }
    let members = "SELECT CAST(role_id AS BIGINT) AS role, CAST(user_id AS BIGINT) AS other FROM users_with_roles";
    for (role, user) in pairs(db, members).await? {
        if let Some(role) = upstream.roles.iter_mut().find(|one| one.id == role) {
            role.members.insert(user);
        }
    }
    Ok(())
}

async fn pairs(db: &mut AnyConnection, text: &'static str) -> Result<Vec<(i64, i64)>, Error> {
    rows(db, text).await?.iter().map(|row| Ok((get(row, "role")?, get(row, "other")?))).collect()
}

async fn tokens(db: &mut AnyConnection, vault: &Vault, with_roles: bool, to: &mut Upstream) -> Result<(), Error> {
    let mut roles: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    if with_roles {
        let text = "SELECT CAST(role_id AS BIGINT) AS role, CAST(token_id AS BIGINT) AS other FROM tokens_with_roles";
        for (role, token) in pairs(db, text).await? {
            roles.entry(token).or_default().insert(role);
        }
    }
    let all = rows(
        db,
        "SELECT CAST(id AS BIGINT) AS id, CAST(name AS TEXT) AS name, CAST(_token AS TEXT) AS sealed,
            CAST(expiry AS TEXT) AS expiry, CAST(user_id AS BIGINT) AS owner, CAST(server_id AS BIGINT) AS server
         FROM token_history ORDER BY id",
    );
    for row in all.await? {
        let (id, name): (i64, String) = (get(&row, "id")?, get(&row, "name")?);
        let sealed: String = get(&row, "sealed")?;
        let text = vault.open(&sealed).map_err(|_| Error::Sealed(format!("the token {name:?}")))?;
        let expires_at = time(&row, "expiry")?.unwrap_or_default();
        let (user, server) = (get(&row, "owner")?, get(&row, "server")?);
        let roles = roles.remove(&id).unwrap_or_default();
        to.tokens.push(Token { name, text, expires_at, user, server, roles });
    }
    Ok(())
}

//! Servers and their scopes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Change, Result, now};

/// A FlowAPI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub wanted: Wanted,
}

/// What a server shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name: `FLOWAPI_IDENTIFIER`, for which its tokens are.
    pub name: String,
    /// No token of it lives longer than until then; `None`: no such day.
    pub latest_expiry: Option<i64>,
    /// How long a token may live.
    pub longest_minutes: i64,
}

/// What a server lets do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Its number.
    pub id: i64,
    /// Its name, in FlowAPI's words.
    pub name: String,
    /// Whether the server has it no longer: roles that had it still do, new tokens do not.
    pub is_withdrawn: bool,
}

/// What another specification changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// New scopes, which no role has.
    pub added: BTreeSet<String>,
    /// Scopes that are no more, each with the roles that have it.
    pub gone: BTreeMap<String, Vec<String>>,
    /// Scopes that were withdrawn and are there again.
    pub back: BTreeSet<String>,
}

fn server(row: &AnyRow) -> sqlx::Result<Server> {
    let wanted = Wanted {
        name: row.try_get("name")?,
        latest_expiry: row.try_get("latest_expiry")?,
        longest_minutes: row.try_get("longest_minutes")?,
    };
    Ok(Server { id: row.try_get("id")?, wanted })
}

/// All, by name.
///
/// # Errors
/// The database's, here and below.
pub async fn all(db: &mut AnyConnection) -> Result<Vec<Server>> {
    let rows = sqlx::query("SELECT id, name, latest_expiry, longest_minutes FROM servers ORDER BY name").fetch_all(db);
    Ok(rows.await?.iter().map(server).collect::<sqlx::Result<_>>()?)
}

/// Those on which a user has a role, by name.
pub async fn of_user(db: &mut AnyConnection, user: i64) -> Result<Vec<Server>> {
    let rows = sqlx::query(
        "SELECT DISTINCT servers.id, servers.name, servers.latest_expiry, servers.longest_minutes FROM servers
         JOIN roles ON roles.server_id = servers.id JOIN role_members ON role_members.role_id = roles.id
         WHERE role_members.user_id = $1 ORDER BY servers.name",
    );
    Ok(rows.bind(user).fetch_all(db).await?.iter().map(server).collect::<sqlx::Result<_>>()?)
}

/// The one with this number.
pub async fn find(db: &mut AnyConnection, id: i64) -> Result<Option<Server>> {
    let row = sqlx::query("SELECT id, name, latest_expiry, longest_minutes FROM servers WHERE id = $1");
    Ok(row.bind(id).fetch_optional(db).await?.as_ref().map(server).transpose()?)
}

/// Adds one.
pub async fn add(db: &mut Change, wanted: &Wanted) -> Result<i64> {
    let row =
        sqlx::query("INSERT INTO servers (name, latest_expiry, longest_minutes) VALUES ($1, $2, $3) RETURNING id")
            .bind(&*wanted.name)
            .bind(wanted.latest_expiry)
            .bind(wanted.longest_minutes)
            .fetch_one(&mut **db)
            .await?;
    Ok(row.try_get("id")?)
}

/// Changes one.
pub async fn change(db: &mut Change, id: i64, wanted: &Wanted) -> Result<()> {
    sqlx::query("UPDATE servers SET name = $2, latest_expiry = $3, longest_minutes = $4 WHERE id = $1")
        .bind(id)
        .bind(&*wanted.name)
        .bind(wanted.latest_expiry)
        .bind(wanted.longest_minutes)
        .execute(&mut **db)
        .await?;
    Ok(())
}

/// Removes one, with its scopes and roles. Its tokens stay in the books.
pub async fn remove(db: &mut Change, id: i64) -> Result<()> {
    sqlx::query("DELETE FROM servers WHERE id = $1").bind(id).execute(&mut **db).await?;
    Ok(())
}

/// A server's scopes, by name.
pub async fn scopes(db: &mut AnyConnection, server: i64) -> Result<Vec<Scope>> {
    let rows = sqlx::query("SELECT id, name, withdrawn_at FROM scopes WHERE server_id = $1 ORDER BY name");
    rows.bind(server)
        .fetch_all(db)
        .await?
        .iter()
        .map(|row| {
            let withdrawn: Option<i64> = row.try_get("withdrawn_at")?;
            Ok(Scope { id: row.try_get("id")?, name: row.try_get("name")?, is_withdrawn: withdrawn.is_some() })
        })
        .collect()
}

/// What it would change if these were all scopes of a server.
pub async fn compare(db: &mut AnyConnection, server: i64, names: &BTreeSet<String>) -> Result<Difference> {
    let has = scopes(db, server).await?;
    let known: BTreeSet<&String> = has.iter().map(|scope| &scope.name).collect();
    let mut difference = Difference {
        added: names.iter().filter(|name| !known.contains(name)).cloned().collect(),
        ..Difference::default()
    };
    for scope in &has {
        match (scope.is_withdrawn, names.contains(&scope.name)) {
            (true, true) => drop(difference.back.insert(scope.name.clone())),
            (false, false) => drop(difference.gone.insert(scope.name.clone(), Vec::new())),
            _ => {}
        }
    }
    let rows = sqlx::query(
        "SELECT scopes.name AS scope, roles.name AS role FROM role_scopes JOIN scopes ON scopes.id = role_scopes.scope_id
         JOIN roles ON roles.id = role_scopes.role_id WHERE scopes.server_id = $1 ORDER BY roles.name",
    );
    for row in rows.bind(server).fetch_all(db).await? {
        if let Some(roles) = difference.gone.get_mut(&row.try_get::<String, _>("scope")?) {
            roles.push(row.try_get("role")?);
        }
    }
    Ok(difference)
}

/// Makes these all scopes of a server. What is gone and is in a role is withdrawn, and stays in the role.
pub async fn apply(db: &mut Change, server: i64, difference: &Difference) -> Result<()> {
    for name in &difference.added {
        let row = sqlx::query("INSERT INTO scopes (server_id, name) VALUES ($1, $2)").bind(server).bind(&**name);
        row.execute(&mut **db).await?;
    }
    for name in &difference.back {
        let row = sqlx::query("UPDATE scopes SET withdrawn_at = NULL WHERE server_id = $1 AND name = $2").bind(server);
        row.bind(&**name).execute(&mut **db).await?;
    }
    for (name, roles) in &difference.gone {
        let row = match roles.is_empty() {
            true => sqlx::query("DELETE FROM scopes WHERE server_id = $1 AND name = $2").bind(server).bind(&**name),
            false => sqlx::query("UPDATE scopes SET withdrawn_at = $3 WHERE server_id = $1 AND name = $2")
                .bind(server)
                .bind(&**name)
                .bind(now()),
        };
        row.execute(&mut **db).await?;
    }
    Ok(())
}

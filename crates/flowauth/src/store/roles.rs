//! Roles: each on one server, with scopes of it, limits, and members.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Change, Result, tokens};

/// What members of a role may ask a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its number.
    pub id: i64,
    /// Its server's.
    pub server: i64,
    /// What it is.
    pub wanted: Wanted,
}

/// What a role shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, of which a server has one.
    pub name: String,
    /// No token with it lives longer than until then.
    pub latest_expiry: Option<i64>,
    /// How long a token with it may live.
    pub longest_minutes: i64,
    /// The first and the last day of data that it shows, ISO dates.
    pub days: (Option<String>, Option<String>),
    /// Scopes, by number.
    pub scopes: BTreeSet<i64>,
    /// Members, by number.
    pub members: BTreeSet<i64>,
}

fn role(row: &AnyRow) -> sqlx::Result<Role> {
    let wanted = Wanted {
        name: row.try_get("name")?,
        latest_expiry: row.try_get("latest_expiry")?,
        longest_minutes: row.try_get("longest_minutes")?,
        days: (row.try_get("first_day")?, row.try_get("last_day")?),
        ..Wanted::default()
    };
    Ok(Role { id: row.try_get("id")?, server: row.try_get("server_id")?, wanted })
}

/// Whose roles.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// All that there are.
    All,
    /// Those of a server.
    OfServer(i64),
    /// Those of a user.
    OfUser(i64),
    /// Those of a user on a server.
    OfBoth(i64, i64),
    /// The one with this number.
    One(i64),
}

/// Roles, by number, whole.
///
/// # Errors
/// The database's, here and below.
pub async fn some(db: &mut AnyConnection, which: Which) -> Result<Vec<Role>> {
    macro_rules! select {
        ($where:literal) => {
            sqlx::query(concat!(
                "SELECT id, server_id, name, latest_expiry, longest_minutes, first_day, last_day FROM roles ",
                $where,
                " ORDER BY id"
            ))
        };
    }
    let query = match which {
        Which::All => select!(""),
        Which::OfServer(server) => select!("WHERE server_id = $1").bind(server),
        Which::OfUser(user) => select!("WHERE id IN (SELECT role_id FROM role_members WHERE user_id = $1)").bind(user),
        Which::OfBoth(server, user) => {
            select!("WHERE server_id = $1 AND id IN (SELECT role_id FROM role_members WHERE user_id = $2)")
                .bind(server)
                .bind(user)
        }
        Which::One(id) => select!("WHERE id = $1").bind(id),
    };
    let mut roles = query.fetch_all(&mut *db).await?.iter().map(role).collect::<sqlx::Result<Vec<_>>>()?;
    // Two questions for all of them, whatever their number, or two for the one.
    let one = if let [one] = &*roles { Some(one.id) } else { None };
    let scopes = match one {
        Some(id) => sqlx::query("SELECT role_id, scope_id AS other FROM role_scopes WHERE role_id = $1").bind(id),
        None => sqlx::query("SELECT role_id, scope_id AS other FROM role_scopes"),
    };
    let members = match one {
        Some(id) => sqlx::query("SELECT role_id, user_id AS other FROM role_members WHERE role_id = $1").bind(id),
        None => sqlx::query("SELECT role_id, user_id AS other FROM role_members"),
    };
    if !roles.is_empty() {
        let mut scopes = pairs(scopes.fetch_all(&mut *db).await?)?;
        let mut members = pairs(members.fetch_all(db).await?)?;
        for role in &mut roles {
            role.wanted.scopes = scopes.remove(&role.id).unwrap_or_default();
            role.wanted.members = members.remove(&role.id).unwrap_or_default();
        }
    }
    Ok(roles)
}

fn pairs(rows: Vec<AnyRow>) -> Result<BTreeMap<i64, BTreeSet<i64>>> {
    let mut all: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for row in rows {
        all.entry(row.try_get("role_id")?).or_default().insert(row.try_get("other")?);
    }
    Ok(all)
}

/// The one with this number.
pub async fn find(db: &mut AnyConnection, id: i64) -> Result<Option<Role>> {
    Ok(some(db, Which::One(id)).await?.pop())
}

/// The names of a role's scopes that a token may carry: those that the server still has.
pub async fn scope_names(db: &mut AnyConnection, role: i64) -> Result<BTreeSet<String>> {
    let rows = sqlx::query(
        "SELECT name FROM scopes JOIN role_scopes ON role_scopes.scope_id = scopes.id
         WHERE role_scopes.role_id = $1 AND scopes.withdrawn_at IS NULL",
    );
    rows.bind(role).fetch_all(db).await?.iter().map(|row| Ok(row.try_get("name")?)).collect()
}

/// Adds one to a server.
pub async fn add(db: &mut Change, server: i64, wanted: &Wanted) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO roles (server_id, name, latest_expiry, longest_minutes, first_day, last_day)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
    )
    .bind(server)
    .bind(&*wanted.name)
    .bind(wanted.latest_expiry)
    .bind(wanted.longest_minutes)
    .bind(wanted.days.0.as_deref())
    .bind(wanted.days.1.as_deref())
    .fetch_one(&mut **db)
    .await?;
    let id = row.try_get("id")?;
    link(db, id, &Wanted::default(), wanted).await?;
    Ok(id)
}

/// Changes one. The tokens of who is a member no longer are revoked; says how many those were.
pub async fn change(db: &mut Change, role: &Role, wanted: &Wanted) -> Result<u64> {
    sqlx::query(
        "UPDATE roles SET name = $2, latest_expiry = $3, longest_minutes = $4, first_day = $5, last_day = $6 WHERE id = $1",
    )
    .bind(role.id)
    .bind(&*wanted.name)
    .bind(wanted.latest_expiry)
    .bind(wanted.longest_minutes)
    .bind(wanted.days.0.as_deref())
    .bind(wanted.days.1.as_deref())
    .execute(&mut **db)
    .await?;
    link(db, role.id, &role.wanted, wanted).await?;
    let mut revoked = 0;
    for gone in role.wanted.members.difference(&wanted.members) {
        revoked += tokens::revoke_of_member(db, role.id, *gone).await?;
    }
    Ok(revoked)
}

async fn link(db: &mut Change, role: i64, had: &Wanted, wanted: &Wanted) -> Result<()> {
    for (text, others) in [
        ("DELETE FROM role_scopes WHERE role_id = $1 AND scope_id = $2", had.scopes.difference(&wanted.scopes)),
        ("INSERT INTO role_scopes (role_id, scope_id) VALUES ($1, $2)", wanted.scopes.difference(&had.scopes)),
        ("DELETE FROM role_members WHERE role_id = $1 AND user_id = $2", had.members.difference(&wanted.members)),
        ("INSERT INTO role_members (role_id, user_id) VALUES ($1, $2)", wanted.members.difference(&had.members)),
    ] {
        for other in others {
            sqlx::query(text).bind(role).bind(*other).execute(&mut **db).await?;
        }
    }
    Ok(())
}

/// Makes these the roles of a user. Their tokens with a role that they have no longer are revoked; says how many those were.
pub async fn set_of_user(db: &mut Change, user: i64, roles: &BTreeSet<i64>) -> Result<u64> {
    let had: BTreeSet<i64> = some(db, Which::OfUser(user)).await?.iter().map(|role| role.id).collect();
    for (text, others) in [
        ("DELETE FROM role_members WHERE user_id = $1 AND role_id = $2", had.difference(roles)),
        ("INSERT INTO role_members (user_id, role_id) VALUES ($1, $2)", roles.difference(&had)),
    ] {
        for other in others {
            sqlx::query(text).bind(user).bind(*other).execute(&mut **db).await?;
        }
    }
    let mut revoked = 0;
    for gone in had.difference(roles) {
        revoked += tokens::revoke_of_member(db, *gone, user).await?;
    }
    Ok(revoked)
}

/// Removes one. The tokens that carry it are revoked; says how many those were.
pub async fn remove(db: &mut Change, id: i64) -> Result<u64> {
    let revoked = tokens::revoke_of_role(db, id).await?;
    sqlx::query("DELETE FROM roles WHERE id = $1").bind(id).execute(&mut **db).await?;
    Ok(revoked)
}

//! Tokens that were made.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Change, Result, now};

/// A token in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// What is known of it.
    pub made: Made,
    /// Since when it is revoked.
    pub revoked_at: Option<i64>,
    /// Its roles.
    pub roles: Vec<Carried>,
}

/// What is known of a token when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// What its owner calls it.
    pub name: String,
    /// Its own name, by which it is revoked.
    pub jti: String,
    /// Itself, sealed.
    pub sealed: String,
    /// Whose it is; `None` once they are removed.
    pub user: Option<i64>,
    /// The same by name, as the token has it.
    pub user_name: String,
    /// For which server; `None` once that is removed.
    pub server: Option<i64>,
    /// The same by name, as the token has it.
    pub server_name: String,
    /// When it was made.
    pub issued_at: i64,
    /// When it ends.
    pub expires_at: i64,
}

/// A role in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its number; `None` once it is removed.
    pub id: Option<i64>,
    /// Its name.
    pub name: String,
    /// The scopes that were chosen; `None`: all of the role.
    pub chosen: Option<BTreeSet<String>>,
}

fn token(row: &AnyRow) -> sqlx::Result<Token> {
    let made = Made {
        name: row.try_get("name")?,
        jti: row.try_get("jti")?,
        sealed: row.try_get("sealed")?,
        user: row.try_get("user_id")?,
        user_name: row.try_get("user_name")?,
        server: row.try_get("server_id")?,
        server_name: row.try_get("server_name")?,
        issued_at: row.try_get("issued_at")?,
        expires_at: row.try_get("expires_at")?,
    };
    Ok(Token { id: row.try_get("id")?, made, revoked_at: row.try_get("revoked_at")?, roles: Vec::new() })
}

macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT id, name, jti, sealed, user_id, user_name, server_id, server_name, issued_at, expires_at, revoked_at
             FROM tokens ",
            $rest
        ))
    };
}

/// A user's for a server, those that end last first.
///
/// # Errors
/// The database's, here and below.
pub async fn of_user(db: &mut AnyConnection, user: i64, server: i64) -> Result<Vec<Token>> {
    let query =
        select!("WHERE user_id = $1 AND server_id = $2 ORDER BY expires_at DESC, id DESC").bind(user).bind(server);
    let mut tokens = query.fetch_all(&mut *db).await?.iter().map(token).collect::<sqlx::Result<Vec<_>>>()?;
    let rows = sqlx::query(
        "SELECT token_id, role_id, role_name, chosen FROM token_roles JOIN tokens ON tokens.id = token_roles.token_id
         WHERE tokens.user_id = $1 AND tokens.server_id = $2 ORDER BY role_name",
    );
    let mut roles: BTreeMap<i64, Vec<Carried>> = BTreeMap::new();
    for row in rows.bind(user).bind(server).fetch_all(db).await? {
        roles.entry(row.try_get("token_id")?).or_default().push(carried(&row)?);
    }
    for token in &mut tokens {
        token.roles = roles.remove(&token.id).unwrap_or_default();
    }
    Ok(tokens)
}

/// Everybody's that live and are not revoked, those that end first first; so many at most. Their roles are not told.
pub async fn live(db: &mut AnyConnection, most: i64) -> Result<Vec<Token>> {
    let query = select!("WHERE revoked_at IS NULL AND expires_at > $1 ORDER BY expires_at, id LIMIT $2");
    let rows = query.bind(now()).bind(most).fetch_all(db).await?;
    Ok(rows.iter().map(token).collect::<sqlx::Result<_>>()?)
}

/// The one with this number.
pub async fn find(db: &mut AnyConnection, id: i64) -> Result<Option<Token>> {
    let row = select!("WHERE id = $1").bind(id).fetch_optional(&mut *db).await?;
    let Some(mut token) = row.as_ref().map(token).transpose()? else { return Ok(None) };
    let rows = sqlx::query("SELECT role_id, role_name, chosen FROM token_roles WHERE token_id = $1 ORDER BY role_name");
    token.roles = rows.bind(id).fetch_all(db).await?.iter().map(carried).collect::<sqlx::Result<_>>()?;
    Ok(Some(token))
}

fn carried(row: &AnyRow) -> sqlx::Result<Carried> {
    let chosen: Option<String> = row.try_get("chosen")?;
    let chosen = chosen.map(|text| text.lines().map(str::to_owned).collect());
    Ok(Carried { id: row.try_get("role_id")?, name: row.try_get("role_name")?, chosen })
}

/// Enters one.
pub async fn add(db: &mut Change, made: &Made, roles: &[Carried]) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO tokens (name, jti, sealed, user_id, user_name, server_id, server_name, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
    )
    .bind(&*made.name)
    .bind(&*made.jti)
    .bind(&*made.sealed)
    .bind(made.user)
    .bind(&*made.user_name)
    .bind(made.server)
    .bind(&*made.server_name)
    .bind(made.issued_at)
    .bind(made.expires_at)
    .fetch_one(&mut **db)
    .await?;
    let id: i64 = row.try_get("id")?;
    for role in roles {
        let chosen = role.chosen.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
        sqlx::query("INSERT INTO token_roles (token_id, role_id, role_name, chosen) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(role.id)
            .bind(&*role.name)
            .bind(chosen)
            .execute(&mut **db)
            .await?;
    }
    Ok(id)
}

/// Revokes one.
pub async fn revoke(db: &mut Change, id: i64) -> Result<()> {
    let query = sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL");
    query.bind(id).bind(now()).execute(&mut **db).await?;
    Ok(())
}

/// Revokes all of a user's that still live, and says how many those were.
pub async fn revoke_of_user(db: &mut Change, user: i64) -> Result<u64> {
    let query =
        sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2");
    Ok(query.bind(user).bind(now()).execute(&mut **db).await?.rows_affected())
}

/// Revokes all with a role that still live, and says how many those were.
pub async fn revoke_of_role(db: &mut Change, role: i64) -> Result<u64> {
    let query = sqlx::query(
        "UPDATE tokens SET revoked_at = $2 WHERE revoked_at IS NULL AND expires_at > $2
         AND id IN (SELECT token_id FROM token_roles WHERE role_id = $1)",
    );
    Ok(query.bind(role).bind(now()).execute(&mut **db).await?.rows_affected())
}

/// Revokes all of a user's with a role that still live, and says how many those were.
pub async fn revoke_of_member(db: &mut Change, role: i64, user: i64) -> Result<u64> {
    let query = sqlx::query(
        "UPDATE tokens SET revoked_at = $3 WHERE user_id = $2 AND revoked_at IS NULL AND expires_at > $3
         AND id IN (SELECT token_id FROM token_roles WHERE role_id = $1)",
    );
    Ok(query.bind(role).bind(user).bind(now()).execute(&mut **db).await?.rows_affected())
}

/// Revokes all for a server that still live, and says how many those were.
pub async fn revoke_of_server(db: &mut Change, server: i64) -> Result<u64> {
    let query = sqlx::query(
        "UPDATE tokens SET revoked_at = $2 WHERE server_id = $1 AND revoked_at IS NULL AND expires_at > $2",
    );
    Ok(query.bind(server).bind(now()).execute(&mut **db).await?.rows_affected())
}

/// The names (`jti`) of all revoked ones that would still be good at a time.
pub async fn revoked(db: &mut AnyConnection, at: i64) -> Result<BTreeSet<String>> {
    let rows = sqlx::query("SELECT jti FROM tokens WHERE revoked_at IS NOT NULL AND expires_at >= $1").bind(at);
    rows.fetch_all(db).await?.iter().map(|row| Ok(row.try_get("jti")?)).collect()
}

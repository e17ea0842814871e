//! Keys for programs: each its user's, and good for less than its user is.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::users::{self, User};
use super::{Change, Result, now};

/// What is noted more often than this, in seconds, is no use.
const NOTED: i64 = 60;

/// A key, without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its number.
    pub id: i64,
    /// What its user calls it.
    pub name: String,
    /// Whether an administrator's key administers.
    pub administers: bool,
    /// When it was made.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// When it was used last.
    pub used_at: Option<i64>,
}

fn key(row: &AnyRow) -> sqlx::Result<Key> {
    Ok(Key {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        administers: row.try_get::<i64, _>("administers")? != 0,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        used_at: row.try_get("used_at")?,
    })
}

/// A user's, the newest first.
///
/// # Errors
/// The database's, here and below.
pub async fn of_user(db: &mut AnyConnection, user: i64) -> Result<Vec<Key>> {
    let rows = sqlx::query(
        "SELECT id, name, administers, created_at, expires_at, used_at FROM keys WHERE user_id = $1 ORDER BY id DESC",
    );
    Ok(rows.bind(user).fetch_all(db).await?.iter().map(key).collect::<sqlx::Result<_>>()?)
}

/// The key with this digest and whose it is, if it lasts and they may sign in. It is noted that it was used.
pub async fn find(db: &mut AnyConnection, digest: &str) -> Result<Option<(User, Key)>> {
    let now = now();
    let row = sqlx::query(
        "SELECT id, user_id, name, administers, created_at, expires_at, used_at FROM keys WHERE digest = $1 AND expires_at > $2",
    );
    let Some(row) = row.bind(digest).bind(now).fetch_optional(&mut *db).await? else { return Ok(None) };
    let (key, user): (Key, i64) = (key(&row)?, row.try_get("user_id")?);
    let Some(user) = users::find(db, user).await?.filter(|user| user.disabled_at.is_none()) else { return Ok(None) };
    if key.used_at.is_none_or(|used| used < now - NOTED) {
        sqlx::query("UPDATE keys SET used_at = $2 WHERE id = $1").bind(key.id).bind(now).execute(db).await?;
    }
    Ok(Some((user, key)))
}

/// Adds one.
pub async fn add(
    db: &mut Change,
    user: i64,
    digest: &str,
    name: &str,
    administers: bool,
    expires_at: i64,
) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO keys (user_id, digest, name, administers, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id",
    )
    .bind(user)
    .bind(digest)
    .bind(name)
    .bind(i64::from(administers))
    .bind(now())
    .bind(expires_at)
    .fetch_one(&mut **db)
    .await?;
    Ok(row.try_get("id")?)
}

/// Removes one of a user's, and tells its name.
pub async fn remove(db: &mut Change, user: i64, id: i64) -> Result<Option<String>> {
    let row = sqlx::query("DELETE FROM keys WHERE id = $1 AND user_id = $2 RETURNING name").bind(id).bind(user);
    Ok(row.fetch_optional(&mut **db).await?.map(|row| row.try_get("name")).transpose()?)
}

/// Removes all of a user's.
pub async fn remove_all(db: &mut Change, user: i64) -> Result<()> {
    sqlx::query("DELETE FROM keys WHERE user_id = $1").bind(user).execute(&mut **db).await?;
    Ok(())
}

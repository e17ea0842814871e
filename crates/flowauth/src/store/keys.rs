//! Keys for programs: each its user's, and good for less than its user is.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::users::{self, User};
use super::{Change, Result, now};

/// What is noted more often than this, in seconds, is no use.
const NOTED: i64 = 60;

/// What a key is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum May {
    /// Its user's own tokens.
    #[default]
    Tokens,
    /// To look at what administrators see, and to change nothing. No token is shown to it.
    Read,
    /// All that an administrator does, and its user's tokens.
    Administer,
}

impl May {
    /// All of them.
    pub const ALL: [May; 3] = [May::Tokens, May::Read, May::Administer];

    /// Its name, in the database and in requests.
    pub fn name(self) -> &'static str {
        match self {
            May::Tokens => "tokens",
            May::Read => "read",
            May::Administer => "administer",
        }
    }

    /// The one with this name.
    pub fn of(name: &str) -> Option<May> {
        May::ALL.into_iter().find(|may| may.name() == name)
    }
}

/// A key, without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its number.
    pub id: i64,
    /// Its user's.
    pub user: i64,
    /// What its user calls it.
    pub name: String,
    /// What it is good for.
    pub may: May,
    /// When it was made.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// When it was used last.
    pub used_at: Option<i64>,
}

macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!("SELECT id, user_id, name, may, created_at, expires_at, used_at FROM keys ", $rest))
    };
}

fn key(row: &AnyRow) -> sqlx::Result<Key> {
    Ok(Key {
        id: row.try_get("id")?,
        user: row.try_get("user_id")?,
        name: row.try_get("name")?,
        // What a newer program has written is good for the least.
        may: May::of(&row.try_get::<String, _>("may")?).unwrap_or_default(),
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        used_at: row.try_get("used_at")?,
    })
}

/// Everybody's, those that end first first.
///
/// # Errors
/// The database's, here and below.
pub async fn all(db: &mut AnyConnection) -> Result<Vec<Key>> {
    let rows = select!("ORDER BY expires_at, id").fetch_all(db).await?;
    Ok(rows.iter().map(key).collect::<sqlx::Result<_>>()?)
}

/// A user's, the newest first.
pub async fn of_user(db: &mut AnyConnection, user: i64) -> Result<Vec<Key>> {
    let rows = select!("WHERE user_id = $1 ORDER BY id DESC").bind(user).fetch_all(db).await?;
    Ok(rows.iter().map(key).collect::<sqlx::Result<_>>()?)
}

/// The key with this digest and whose it is, if it lasts and they may sign in. It is noted that it was used.
pub async fn find(db: &mut AnyConnection, digest: &str) -> Result<Option<(User, Key)>> {
    let now = now();
    let row = select!("WHERE digest = $1 AND expires_at > $2");
    let Some(row) = row.bind(digest).bind(now).fetch_optional(&mut *db).await? else { return Ok(None) };
    let key = key(&row)?;
    let user = users::find(db, key.user).await?.filter(|user| user.disabled_at.is_none());
    let Some(user) = user else { return Ok(None) };
    if key.used_at.is_none_or(|used| used < now - NOTED) {
        sqlx::query("UPDATE keys SET used_at = $2 WHERE id = $1").bind(key.id).bind(now).execute(db).await?;
    }
    Ok(Some((user, key)))
}

/// Adds one.
pub async fn add(db: &mut Change, user: i64, digest: &str, name: &str, may: May, expires_at: i64) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO keys (user_id, digest, name, may, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id",
    )
    .bind(user)
    .bind(digest)
    .bind(name)
    .bind(may.name())
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

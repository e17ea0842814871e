//! Who is signed in. Kept here, so that signing out ends it wherever the cookie has got to.

use sqlx::{AnyConnection, Row as _};

use super::users::{self, User};
use super::{Change, Result, now};

/// How long a session lasts when nothing is asked, in seconds: 20 minutes, as upstream's.
pub const IDLE: i64 = 20 * 60;

/// How long it lasts in any case, in seconds: a day's work.
pub const LONGEST: i64 = 12 * 3600;

/// How long somebody has to give their code, in seconds.
pub const UNTIL_CODE: i64 = 5 * 60;

/// What is noted more often than this, in seconds, is no use.
const NOTED: i64 = 60;

/// A session and whose it is.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id here: a digest of the cookie.
    pub id: String,
    /// Whose it is.
    pub user: User,
    /// Whether the second factor, where there is one, was given too.
    pub is_complete: bool,
}

/// Begins one.
///
/// # Errors
/// The database's, here and below.
pub async fn begin(db: &mut Change, id: &str, user: i64, address: &str, is_complete: bool) -> Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, created_at, seen_at, address, complete) VALUES ($1, $2, $3, $3, $4, $5)",
    )
    .bind(id)
    .bind(user)
    .bind(now())
    .bind(address)
    .bind(i64::from(is_complete))
    .execute(&mut **db)
    .await?;
    Ok(())
}

/// The session with this id, if it lasts and its user may sign in. It is noted that it was seen.
pub async fn find(db: &mut AnyConnection, id: &str) -> Result<Option<Session>> {
    let now = now();
    let row = sqlx::query(
        "SELECT user_id, seen_at, complete FROM sessions WHERE id = $1 AND created_at > $2 AND seen_at > $3
         AND (complete = 1 OR created_at > $4)",
    )
    .bind(id)
    .bind(now - LONGEST)
    .bind(now - IDLE)
    .bind(now - UNTIL_CODE)
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let user = users::find(db, row.try_get("user_id")?).await?;
    let Some(user) = user.filter(|user| user.disabled_at.is_none()) else { return Ok(None) };
    if row.try_get::<i64, _>("seen_at")? < now - NOTED {
        sqlx::query("UPDATE sessions SET seen_at = $2 WHERE id = $1").bind(id).bind(now).execute(db).await?;
    }
    Ok(Some(Session { id: id.to_owned(), user, is_complete: row.try_get::<i64, _>("complete")? != 0 }))
}

/// Ends one.
pub async fn end(db: &mut Change, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id).execute(&mut **db).await?;
    Ok(())
}

/// Ends all of a user's but one.
pub async fn end_others(db: &mut Change, user: i64, but: Option<&str>) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2")
        .bind(user)
        .bind(but.unwrap_or_default())
        .execute(&mut **db)
        .await?;
    Ok(())
}

/// Removes those that are over, whoever they were.
pub async fn sweep(db: &mut Change) -> Result<()> {
    let now = now();
    let query = sqlx::query("DELETE FROM sessions WHERE created_at <= $1 OR seen_at <= $2");
    query.bind(now - LONGEST).bind(now - IDLE).execute(&mut **db).await?;
    Ok(())
}

/// Where somebody is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The session's id here.
    pub id: String,
    /// From where.
    pub address: String,
    /// Since when.
    pub created_at: i64,
    /// When it was seen last.
    pub seen_at: i64,
}

/// A user's that last, at most so many, the one that was seen last first.
pub async fn of_user(db: &mut AnyConnection, user: i64, most: usize) -> Result<Vec<Place>> {
    let now = now();
    let rows = sqlx::query(
        "SELECT id, address, created_at, seen_at FROM sessions
         WHERE user_id = $1 AND complete = 1 AND created_at > $2 AND seen_at > $3 ORDER BY seen_at DESC, created_at DESC, id
         LIMIT $4",
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = rows.bind(user).bind(now - LONGEST).bind(now - IDLE).bind(most).fetch_all(db).await?;
    let place = |row: &sqlx::any::AnyRow| {
        Ok(Place {
            id: row.try_get("id")?,
            address: row.try_get("address")?,
            created_at: row.try_get("created_at")?,
            seen_at: row.try_get("seen_at")?,
        })
    };
    rows.iter().map(place).collect()
}

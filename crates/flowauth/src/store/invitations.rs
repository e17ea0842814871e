//! Links by which somebody chooses a password, each once.

use sqlx::{AnyConnection, Row as _};

use super::users::{self, User};
use super::{Change, Result, now};

/// Invites a user, instead of earlier invitations.
///
/// # Errors
/// The database's, here and below.
pub async fn add(db: &mut Change, user: i64, digest: &str, expires_at: i64) -> Result<()> {
    remove_all(db, user).await?;
    sqlx::query("INSERT INTO invitations (user_id, digest, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(user)
        .bind(digest)
        .bind(now())
        .bind(expires_at)
        .execute(&mut **db)
        .await?;
    Ok(())
}

/// Whom the link with this digest invites, if it is good and they may sign in.
pub async fn find(db: &mut AnyConnection, digest: &str) -> Result<Option<User>> {
    let row = sqlx::query("SELECT user_id FROM invitations WHERE digest = $1 AND expires_at > $2");
    let Some(row) = row.bind(digest).bind(now()).fetch_optional(&mut *db).await? else { return Ok(None) };
    Ok(users::find(db, row.try_get("user_id")?).await?.filter(|user| user.disabled_at.is_none()))
}

/// Whether a user was ever given a link that they have not taken, good or not.
pub async fn any(db: &mut AnyConnection, user: i64) -> Result<bool> {
    let row = sqlx::query("SELECT COUNT(*) AS count FROM invitations WHERE user_id = $1").bind(user);
    Ok(row.fetch_one(db).await?.try_get::<i64, _>("count")? > 0)
}

/// Until when a user is invited.
pub async fn until(db: &mut AnyConnection, user: i64) -> Result<Option<i64>> {
    let row = sqlx::query("SELECT expires_at FROM invitations WHERE user_id = $1 AND expires_at > $2");
    let row = row.bind(user).bind(now()).fetch_optional(db).await?;
    Ok(row.map(|row| row.try_get("expires_at")).transpose()?)
}

/// Ends all of a user's. They stay, since nobody is taken over by a provider who was ever given one: see [`any`].
pub async fn end_all(db: &mut Change, user: i64) -> Result<()> {
    sqlx::query("UPDATE invitations SET expires_at = 0 WHERE user_id = $1").bind(user).execute(&mut **db).await?;
    Ok(())
}

/// Removes all of a user's, who has a password by now.
pub async fn remove_all(db: &mut Change, user: i64) -> Result<()> {
    sqlx::query("DELETE FROM invitations WHERE user_id = $1").bind(user).execute(&mut **db).await?;
    Ok(())
}

//! Who users are to an OpenID Connect provider.

use sqlx::{AnyConnection, Row as _};

use super::users::{self, User};
use super::{Change, Result, now};

/// Whom a provider knows as this subject.
///
/// # Errors
/// The database's, here and below.
pub async fn find(db: &mut AnyConnection, issuer: &str, subject: &str) -> Result<Option<User>> {
    let row = sqlx::query("SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2");
    let Some(row) = row.bind(issuer).bind(subject).fetch_optional(&mut *db).await? else { return Ok(None) };
    users::find(db, row.try_get("user_id")?).await
}

/// How many a user has.
pub async fn count(db: &mut AnyConnection, user: i64) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) AS count FROM identities WHERE user_id = $1").bind(user);
    Ok(row.fetch_one(db).await?.try_get("count")?)
}

/// Notes whom a provider means.
pub async fn add(db: &mut Change, issuer: &str, subject: &str, user: i64) -> Result<()> {
    sqlx::query("INSERT INTO identities (issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4)")
        .bind(issuer)
        .bind(subject)
        .bind(user)
        .bind(now())
        .execute(&mut **db)
        .await?;
    Ok(())
}

/// Forgets whom any provider means by a user.
pub async fn remove_all(db: &mut Change, user: i64) -> Result<()> {
    sqlx::query("DELETE FROM identities WHERE user_id = $1").bind(user).execute(&mut **db).await?;
    Ok(())
}

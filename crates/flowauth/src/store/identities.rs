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

/// Who a user is to a provider.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// What it calls them.
    pub subject: String,
    /// Since when.
    pub created_at: i64,
}

/// Who a user is to every provider.
pub async fn of(db: &mut AnyConnection, user: i64) -> Result<Vec<Identity>> {
    let rows = sqlx::query("SELECT issuer, subject, created_at FROM identities WHERE user_id = $1 ORDER BY created_at");
    let rows = rows.bind(user).fetch_all(db).await?;
    let identity = |row: &sqlx::any::AnyRow| {
        let (issuer, subject) = (row.try_get("issuer")?, row.try_get("subject")?);
        Ok(Identity { issuer, subject, created_at: row.try_get("created_at")? })
    };
    rows.iter().map(identity).collect()
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

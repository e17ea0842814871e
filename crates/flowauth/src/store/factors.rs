//! Second factors: secrets of authenticator apps and backup codes, all sealed. (Passkeys have nothing to seal: see `passkeys`.)

use sqlx::{AnyConnection, Row as _};

use super::{Change, Result, now};

/// How long what was shown may be confirmed, in seconds: a day, as upstream's.
const PENDING: i64 = 86400;

/// What was shown to a user and is to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// By what the client refers to it.
    pub reference: String,
    /// The app's secret, sealed; `None` where only the codes are new.
    pub secret: Option<String>,
    /// Backup codes, sealed, one a line.
    pub codes: String,
}

/// A user's secret, sealed.
///
/// # Errors
/// The database's, here and below.
pub async fn secret(db: &mut AnyConnection, user: i64) -> Result<Option<String>> {
    let row = sqlx::query("SELECT secret FROM factors WHERE user_id = $1").bind(user).fetch_optional(db).await?;
    Ok(row.map(|row| row.try_get("secret")).transpose()?)
}

/// Takes the code of a time step, unless it or a later one was taken before. The database decides, for all instances.
pub async fn take_step(db: &mut Change, user: i64, step: i64) -> Result<bool> {
    let query = sqlx::query("UPDATE factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2");
    Ok(query.bind(user).bind(step).execute(&mut **db).await?.rows_affected() == 1)
}

/// A user's backup codes that are left, sealed, by number.
pub async fn codes(db: &mut AnyConnection, user: i64) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query("SELECT id, code FROM backup_codes WHERE user_id = $1 ORDER BY id").bind(user).fetch_all(db);
    rows.await?.iter().map(|row| Ok((row.try_get("id")?, row.try_get("code")?))).collect()
}

/// Takes a backup code, which then is no more.
pub async fn take_code(db: &mut Change, id: i64) -> Result<bool> {
    Ok(sqlx::query("DELETE FROM backup_codes WHERE id = $1").bind(id).execute(&mut **db).await?.rows_affected() == 1)
}

/// Notes what is shown, instead of whatever was before.
pub async fn propose(db: &mut Change, user: i64, pending: &Pending) -> Result<()> {
    sqlx::query(
        "INSERT INTO pending_factors (user_id, reference, secret, codes, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id) DO UPDATE SET reference = $2, secret = $3, codes = $4, created_at = $5",
    )
    .bind(user)
    .bind(&*pending.reference)
    .bind(pending.secret.as_deref())
    .bind(&*pending.codes)
    .bind(now())
    .execute(&mut **db)
    .await?;
    Ok(())
}

/// What was shown to this user.
pub async fn pending(db: &mut AnyConnection, user: i64) -> Result<Option<Pending>> {
    let row =
        sqlx::query("SELECT reference, secret, codes FROM pending_factors WHERE user_id = $1 AND created_at > $2")
            .bind(user)
            .bind(now() - PENDING)
            .fetch_optional(db)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let (reference, secret, codes) = (row.try_get("reference")?, row.try_get("secret")?, row.try_get("codes")?);
    Ok(Some(Pending { reference, secret, codes }))
}

/// Puts a secret into use, the step of the code that confirmed it being taken.
pub async fn enable(db: &mut Change, user: i64, secret: &str, step: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO factors (user_id, secret, last_step, enabled_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE SET secret = $2, last_step = $3, enabled_at = $4",
    )
    .bind(user)
    .bind(secret)
    .bind(step)
    .bind(now())
    .execute(&mut **db)
    .await?;
    Ok(())
}

/// Puts backup codes into use, instead of those before; what was shown is done with.
pub async fn replace_codes(db: &mut Change, user: i64, codes: &[String]) -> Result<()> {
    for text in ["DELETE FROM backup_codes WHERE user_id = $1", "DELETE FROM pending_factors WHERE user_id = $1"] {
        sqlx::query(text).bind(user).execute(&mut **db).await?;
    }
    for code in codes {
        let query = sqlx::query("INSERT INTO backup_codes (user_id, code) VALUES ($1, $2)").bind(user).bind(&**code);
        query.execute(&mut **db).await?;
    }
    Ok(())
}

/// Removes a user's second factor whole: app, backup codes and passkeys.
pub async fn disable(db: &mut Change, user: i64) -> Result<()> {
    replace_codes(db, user, &[]).await?;
    for text in ["DELETE FROM factors WHERE user_id = $1", "DELETE FROM passkeys WHERE user_id = $1"] {
        sqlx::query(text).bind(user).execute(&mut **db).await?;
    }
    Ok(())
}

//! How often somebody has failed, and until when nothing more is taken from them: the same for all instances.

use sqlx::{AnyConnection, Row as _};

use super::{Result, now};

/// After how many seconds without another failure they are forgotten.
const FORGOTTEN: i64 = 3600;

/// Counts an attempt before it is known how it ends, so that no number of them at once gets past. `free` failures cost nothing; then
/// each doubles the wait, from a second to a quarter of an hour.
///
/// # Errors
/// The database's. `Ok(Err(seconds))`: not now, but then.
pub async fn count(db: &mut AnyConnection, who: &str, free: i64) -> Result<std::result::Result<(), i64>> {
    let now = now();
    let row = sqlx::query(
        "INSERT INTO attempts (who, failures, last_at, until) VALUES ($1, 1, $2, 0)
         ON CONFLICT (who) DO UPDATE SET
            failures = CASE WHEN attempts.last_at < $3 THEN 1 ELSE attempts.failures + 1 END,
            last_at = $2,
            until = CASE WHEN attempts.last_at < $3 OR attempts.failures < $4 THEN 0
                WHEN attempts.failures < $4 + 1 THEN $2 + 1 WHEN attempts.failures < $4 + 2 THEN $2 + 2
                WHEN attempts.failures < $4 + 3 THEN $2 + 4 WHEN attempts.failures < $4 + 4 THEN $2 + 8
                WHEN attempts.failures < $4 + 5 THEN $2 + 16 WHEN attempts.failures < $4 + 6 THEN $2 + 32
                WHEN attempts.failures < $4 + 7 THEN $2 + 64 WHEN attempts.failures < $4 + 8 THEN $2 + 128
                WHEN attempts.failures < $4 + 9 THEN $2 + 256 WHEN attempts.failures < $4 + 10 THEN $2 + 512
                ELSE $2 + 900 END
         WHERE attempts.until <= $2 RETURNING failures",
    )
    .bind(who)
    .bind(now)
    .bind(now - FORGOTTEN)
    .bind(free)
    .fetch_optional(&mut *db)
    .await?;
    if row.is_some() {
        return Ok(Ok(()));
    }
    let row = sqlx::query("SELECT until FROM attempts WHERE who = $1").bind(who).fetch_optional(db).await?;
    let until: i64 = row.map(|row| row.try_get("until")).transpose()?.unwrap_or(now);
    Ok(Err((until - now).max(1)))
}

/// Forgets the failures: it went well.
///
/// # Errors
/// The database's.
pub async fn forget(db: &mut AnyConnection, who: &str) -> Result<()> {
    sqlx::query("DELETE FROM attempts WHERE who = $1").bind(who).execute(db).await?;
    Ok(())
}

/// Forgets all that is counted of a user, from wherever they or somebody else has tried.
///
/// # Errors
/// The database's.
pub async fn forget_user(db: &mut AnyConnection, id: i64, name: &str) -> Result<()> {
    let query =
        sqlx::query("DELETE FROM attempts WHERE who IN ($1, $2, $3, $6) OR substr(who, 1, CAST($4 AS INTEGER)) = $5");
    let from = format!("{name} from ");
    let length = i64::try_from(from.chars().count()).unwrap_or(i64::MAX);
    let query = query.bind(format!("user {name}")).bind(format!("code {id}")).bind(format!("own password {id}"));
    query.bind(length).bind(from).bind(format!("known {name}")).execute(db).await?;
    Ok(())
}

/// Takes back the one attempt that was counted, where it went well and says nothing of those before it.
///
/// # Errors
/// The database's.
pub async fn take_back(db: &mut AnyConnection, who: &str) -> Result<()> {
    sqlx::query("UPDATE attempts SET failures = failures - 1, until = 0 WHERE who = $1 AND failures > 0")
        .bind(who)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes what is forgotten: names that somebody made up are no reason to grow.
///
/// # Errors
/// The database's.
pub async fn sweep(db: &mut AnyConnection) -> Result<()> {
    let now = now();
    let query = sqlx::query("DELETE FROM attempts WHERE last_at < $1 AND until < $2");
    query.bind(now - FORGOTTEN).bind(now).execute(db).await?;
    Ok(())
}

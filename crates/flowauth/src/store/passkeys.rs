//! Passkeys, and the questions that browsers were asked with them, each answered once.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Change, Result, now};

/// How long a question may be answered, in seconds: as long as somebody has to give their code.
const PATIENCE: i64 = 5 * 60;

/// A passkey. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// Its number.
    pub id: i64,
    /// By what authenticators know it, in base64.
    pub credential: String,
    /// Its public key in COSE, in base64.
    pub key: String,
    /// The name of the site under which it was made: it is good there alone.
    pub site: String,
    /// What its user calls it.
    pub name: String,
    /// How it is reached, as browsers say it, with commas.
    pub transports: String,
    /// How often it was used, if it counts.
    pub counter: u32,
    /// When it was made.
    pub created_at: i64,
    /// When it was used last.
    pub used_at: Option<i64>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, credential, public_key, site, name, transports, counter, created_at, used_at FROM passkeys ",
            $rest
        )
    };
}

fn passkey(row: &AnyRow) -> sqlx::Result<Passkey> {
    Ok(Passkey {
        id: row.try_get("id")?,
        credential: row.try_get("credential")?,
        key: row.try_get("public_key")?,
        site: row.try_get("site")?,
        name: row.try_get("name")?,
        transports: row.try_get("transports")?,
        counter: u32::try_from(row.try_get::<i64, _>("counter")?).unwrap_or(u32::MAX),
        created_at: row.try_get("created_at")?,
        used_at: row.try_get("used_at")?,
    })
}

/// A user's, the oldest first.
///
/// # Errors
/// The database's, here and below.
pub async fn of_user(db: &mut AnyConnection, user: i64) -> Result<Vec<Passkey>> {
    let rows = sqlx::query(select!("WHERE user_id = $1 ORDER BY id")).bind(user).fetch_all(db).await?;
    Ok(rows.iter().map(passkey).collect::<sqlx::Result<_>>()?)
}

/// Adds one.
pub async fn add(db: &mut Change, user: i64, new: &Passkey) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO passkeys (user_id, credential, public_key, site, name, transports, counter, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
    )
    .bind(user)
    .bind(&*new.credential)
    .bind(&*new.key)
    .bind(&*new.site)
    .bind(&*new.name)
    .bind(&*new.transports)
    .bind(i64::from(new.counter))
    .bind(now())
    .fetch_one(&mut **db)
    .await?;
    Ok(row.try_get("id")?)
}

/// Notes that one was used, unless another instance has seen its counter go past that.
pub async fn take(db: &mut Change, id: i64, had: u32, counter: u32) -> Result<bool> {
    let query = sqlx::query("UPDATE passkeys SET counter = $3, used_at = $4 WHERE id = $1 AND counter = $2");
    let query = query.bind(id).bind(i64::from(had)).bind(i64::from(counter)).bind(now());
    Ok(query.execute(&mut **db).await?.rows_affected() == 1)
}

/// Removes one of a user's, and tells its name.
pub async fn remove(db: &mut Change, user: i64, id: i64) -> Result<Option<String>> {
    let row = sqlx::query("DELETE FROM passkeys WHERE id = $1 AND user_id = $2 RETURNING name").bind(id).bind(user);
    Ok(row.fetch_optional(&mut **db).await?.map(|row| row.try_get("name")).transpose()?)
}

/// Notes what the browser of a session is asked, instead of whatever it was asked before.
pub async fn ask(db: &mut AnyConnection, session: &str, challenge: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO challenges (session_id, challenge, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (session_id) DO UPDATE SET challenge = $2, created_at = $3",
    )
    .bind(session)
    .bind(challenge)
    .bind(now())
    .execute(db)
    .await?;
    Ok(())
}

/// What the browser of a session was asked, which then is answered: for all instances, and whatever comes of it.
pub async fn answered(db: &mut AnyConnection, session: &str) -> Result<Option<String>> {
    let query = sqlx::query("DELETE FROM challenges WHERE session_id = $1 RETURNING challenge, created_at");
    let Some(row) = query.bind(session).fetch_optional(db).await? else { return Ok(None) };
    let in_time = row.try_get::<i64, _>("created_at")? > now() - PATIENCE;
    Ok(if in_time { Some(row.try_get("challenge")?) } else { None })
}

//! All that is sealed, to be sealed anew when the key changes; and facts about the database itself.

use sqlx::{AnyConnection, Row as _};

use super::{Change, Result, now};

/// How everything of one kind is listed and replaced.
struct Column {
    list: &'static str,
    replace: &'static str,
}

macro_rules! column {
    ($table:literal, $key:literal, $column:literal) => {
        Column {
            list: concat!(
                "SELECT ",
                $key,
                " AS id, ",
                $column,
                " AS text FROM ",
                $table,
                " WHERE ",
                $column,
                " IS NOT NULL"
            ),
            replace: concat!("UPDATE ", $table, " SET ", $column, " = $2 WHERE ", $key, " = $1"),
        }
    };
}

/// Every column that holds what is sealed. A test holds it against the schema.
const COLUMNS: &[Column] = &[
    column!("factors", "user_id", "secret"),
    column!("backup_codes", "id", "code"),
    column!("pending_factors", "user_id", "secret"),
    column!("pending_factors", "user_id", "codes"),
    column!("tokens", "id", "sealed"),
];

/// Replaces every sealed text for which there is another, and says how many those were.
///
/// # Errors
/// The database's, here and below.
pub async fn replace_all(db: &mut Change, anew: impl Fn(&str) -> Option<String>) -> Result<usize> {
    let mut count = 0;
    for column in COLUMNS {
        for row in sqlx::query(column.list).fetch_all(&mut **db).await? {
            let Some(text) = anew(&row.try_get::<String, _>("text")?) else { continue };
            let query = sqlx::query(column.replace).bind(row.try_get::<i64, _>("id")?).bind(text);
            query.execute(&mut **db).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// A fact.
pub async fn fact(db: &mut AnyConnection, name: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT value FROM facts WHERE name = $1").bind(name).fetch_optional(db).await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

/// Notes a fact.
pub async fn set_fact(db: &mut Change, name: &str, value: &str) -> Result<()> {
    sqlx::query("INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
        .bind(name)
        .bind(value)
        .execute(&mut **db)
        .await?;
    Ok(())
}

/// A public key that has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// Its name: a digest of it.
    pub kid: String,
    /// Itself, as PEM.
    pub public_pem: String,
    /// Since when another signs.
    pub retired_at: Option<i64>,
}

/// All keys that have signed, the newest first.
pub async fn signing_keys(db: &mut AnyConnection) -> Result<Vec<SigningKey>> {
    let rows =
        sqlx::query("SELECT kid, public_pem, retired_at FROM signing_keys ORDER BY first_at DESC, kid").fetch_all(db);
    rows.await?
        .iter()
        .map(|row| {
            let (kid, public_pem) = (row.try_get("kid")?, row.try_get("public_pem")?);
            Ok(SigningKey { kid, public_pem, retired_at: row.try_get("retired_at")? })
        })
        .collect()
}

/// Notes which key signs from now on.
pub async fn sign_with(db: &mut Change, kid: &str, public_pem: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO signing_keys (kid, public_pem, first_at) VALUES ($1, $2, $3)
         ON CONFLICT (kid) DO UPDATE SET retired_at = NULL",
    )
    .bind(kid)
    .bind(public_pem)
    .bind(now())
    .execute(&mut **db)
    .await?;
    let query = sqlx::query("UPDATE signing_keys SET retired_at = $2 WHERE kid <> $1 AND retired_at IS NULL");
    query.bind(kid).bind(now()).execute(&mut **db).await?;
    Ok(())
}

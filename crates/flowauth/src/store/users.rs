//! Users.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use unicode_normalization::UnicodeNormalization as _;

use super::{Change, Result, now};

/// Somebody who may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their number.
    pub id: i64,
    /// Their name, which tokens carry.
    pub name: String,
    /// Whether they look after users, servers and roles.
    pub is_admin: bool,
    /// Whether they must have a second factor.
    pub needs_factor: bool,
    /// Whether they have one: an authenticator app, or a passkey.
    pub has_factor: bool,
    /// Whether they have an authenticator app.
    pub has_app: bool,
    /// How many passkeys they have.
    pub passkeys: i64,
    /// Since when they may not sign in.
    pub disabled_at: Option<i64>,
    /// Whether it is a program, which never signs in: it has keys that administrators make.
    pub is_machine: bool,
}

/// What a user shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their name.
    pub name: String,
    /// See [`User`].
    pub is_admin: bool,
    /// See [`User`].
    pub needs_factor: bool,
    /// Whether they may not sign in.
    pub is_disabled: bool,
    /// See [`User`]. It is said once: a person does not become a machine.
    pub is_machine: bool,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, is_admin, needs_factor, disabled_at, is_machine, password,
                (SELECT COUNT(*) FROM factors WHERE user_id = users.id) AS factors,
                (SELECT COUNT(*) FROM passkeys WHERE user_id = users.id) AS passkeys FROM users ",
            $rest
        )
    };
}

fn user(row: &AnyRow) -> sqlx::Result<User> {
    let (has_app, passkeys) = (row.try_get::<i64, _>("factors")? != 0, row.try_get("passkeys")?);
    Ok(User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        is_admin: row.try_get::<i64, _>("is_admin")? != 0,
        needs_factor: row.try_get::<i64, _>("needs_factor")? != 0,
        has_factor: has_app || passkeys != 0,
        has_app,
        passkeys,
        disabled_at: row.try_get("disabled_at")?,
        is_machine: row.try_get::<i64, _>("is_machine")? != 0,
    })
}

/// All, by name.
///
/// # Errors
/// The database's, here and below.
pub async fn all(db: &mut AnyConnection) -> Result<Vec<User>> {
    let rows = sqlx::query(select!("ORDER BY name")).fetch_all(db).await?;
    Ok(rows.iter().map(user).collect::<sqlx::Result<_>>()?)
}

/// The one with this number.
pub async fn find(db: &mut AnyConnection, id: i64) -> Result<Option<User>> {
    let row = sqlx::query(select!("WHERE id = $1")).bind(id).fetch_optional(db).await?;
    Ok(row.as_ref().map(user).transpose()?)
}

/// The one with this name, and what their password is checked with.
pub async fn named(db: &mut AnyConnection, name: &str) -> Result<Option<(User, Option<String>)>> {
    let Some(row) = sqlx::query(select!("WHERE name = $1")).bind(name).fetch_optional(db).await? else {
        return Ok(None);
    };
    Ok(Some((user(&row)?, row.try_get("password")?)))
}

/// Whether somebody, but for one, has this name or one that people would take for it.
pub async fn any_like(db: &mut AnyConnection, name: &str, but: Option<i64>) -> Result<bool> {
    let name = looks(name);
    Ok(all(db).await?.iter().any(|user| Some(user.id) != but && looks(&user.name) == name))
}

/// The same for names that differ in case, in how letters are composed, in kinds of space or in joiners alone.
fn looks(name: &str) -> String {
    let seen =
        name.nfkc().filter(|c| !matches!(c, '\u{200c}' | '\u{200d}')).map(|c| if c.is_whitespace() { ' ' } else { c });
    // Upper case last: it knows the final sigma, the long s and the sharp one, which have no other letter below.
    seen.collect::<String>().to_lowercase().to_uppercase()
}

/// What the password is checked with.
pub async fn password(db: &mut AnyConnection, id: i64) -> Result<Option<String>> {
    let row = sqlx::query("SELECT password FROM users WHERE id = $1").bind(id).fetch_optional(db).await?;
    Ok(row.map(|row| row.try_get("password")).transpose()?.flatten())
}

/// How many administrators can sign in.
pub async fn admins(db: &mut AnyConnection) -> Result<i64> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS count FROM users WHERE is_admin = 1 AND disabled_at IS NULL AND is_machine = 0",
    );
    Ok(row.fetch_one(db).await?.try_get("count")?)
}

/// Adds one.
pub async fn add(db: &mut Change, wanted: &Wanted, password: Option<&str>) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO users (name, password, is_admin, needs_factor, disabled_at, created_at, is_machine)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
    )
    .bind(&*wanted.name)
    .bind(password)
    .bind(i64::from(wanted.is_admin))
    .bind(i64::from(wanted.needs_factor))
    .bind(wanted.is_disabled.then(now))
    .bind(now())
    .bind(i64::from(wanted.is_machine))
    .fetch_one(&mut **db)
    .await?;
    Ok(row.try_get("id")?)
}

/// Changes one.
pub async fn change(db: &mut Change, id: i64, wanted: &Wanted) -> Result<()> {
    sqlx::query(
        "UPDATE users SET name = $2, is_admin = $3, needs_factor = $4,
            disabled_at = CASE WHEN $5 = 0 THEN NULL ELSE COALESCE(disabled_at, $6) END WHERE id = $1",
    )
    .bind(id)
    .bind(&*wanted.name)
    .bind(i64::from(wanted.is_admin))
    .bind(i64::from(wanted.needs_factor))
    .bind(i64::from(wanted.is_disabled))
    .bind(now())
    .execute(&mut **db)
    .await?;
    Ok(())
}

/// Gives another password.
pub async fn set_password(db: &mut Change, id: i64, password: &str) -> Result<()> {
    sqlx::query("UPDATE users SET password = $2 WHERE id = $1").bind(id).bind(password).execute(&mut **db).await?;
    Ok(())
}

/// Keeps the same password by another hash, unless it was changed meanwhile, and says whether. Nobody decides anything by it, and the log has no line of it.
pub async fn rehash(db: &mut AnyConnection, id: i64, old: &str, new: &str) -> Result<bool> {
    let query = sqlx::query("UPDATE users SET password = $2 WHERE id = $1 AND password = $3");
    Ok(query.bind(id).bind(new).bind(old).execute(db).await?.rows_affected() == 1)
}

/// Removes one, with sessions, factor and memberships. Their tokens stay in the books.
pub async fn remove(db: &mut Change, id: i64) -> Result<()> {
    sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(&mut **db).await?;
    Ok(())
}

//! The log of who did what: added to, and never changed; the database itself refuses that.

use serde_json::Value;
use sqlx::{AnyConnection, Row as _};

use super::known::Known;
use super::{Result, now};

/// On whose behalf something is done.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// The user, by number and by the name of the time; `None` before anybody has signed in.
    pub user: Option<(i64, String)>,
    /// From where.
    pub address: String,
    /// The request's id, which is in the program's own log too.
    pub request: String,
    /// By what they were let in; `None`: nobody was.
    pub known: Option<Known>,
}

impl Actor {
    /// The program itself.
    pub fn program() -> Actor {
        Actor { address: "local".to_owned(), ..Actor::default() }
    }

    /// What this one does to an object.
    pub fn does(&self, action: &'static str, object: impl Into<String>, detail: Value) -> Entry<'_> {
        Entry { actor: self, action, object: object.into(), detail }
    }
}

/// What is to be said. No secret is ever part of it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// Did what: `token.mint`.
    pub action: &'static str,
    /// To whom or what, by name.
    pub object: String,
    /// What it was before, and is now.
    pub detail: Value,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number; they rise.
    pub id: i64,
    /// When, in seconds since 1970.
    pub at: i64,
    /// Who, by name.
    pub actor: Option<String>,
    /// Did what.
    pub action: String,
    /// To whom or what.
    pub object: String,
    /// Before and after.
    pub detail: Value,
    /// From where.
    pub address: String,
    /// The request's id.
    pub request: String,
}

pub(super) async fn add(db: &mut AnyConnection, entry: &Entry<'_>) -> Result<()> {
    let (id, name) = entry.actor.user.clone().unzip();
    sqlx::query(
        "INSERT INTO audit (at, actor_id, actor, action, object, detail, address, request)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(now())
    .bind(id)
    .bind(name)
    .bind(entry.action)
    .bind(&*entry.object)
    .bind(entry.detail.to_string())
    .bind(&*entry.actor.address)
    .bind(&*entry.actor.request)
    .execute(db)
    .await?;
    let Actor { user, address, .. } = entry.actor;
    let user = user.as_ref().map(|(_, name)| name.as_str());
    tracing::info!(target: "audit", user, src_ip = address, object = entry.object, "{}", entry.action);
    Ok(())
}

/// Which lines; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whose: a part of the name.
    pub actor: Option<String>,
    /// Which action, whole.
    pub action: Option<String>,
    /// To whom or what: a part of the name.
    pub object: Option<String>,
}

/// The newest lines before one, newest first.
///
/// # Errors
/// The database's, here and below.
pub async fn before(db: &mut AnyConnection, id: i64, most: i64) -> Result<Vec<Line>> {
    matching(db, &Filter::default(), id, most).await
}

/// The newest of some lines before one, newest first.
pub async fn matching(db: &mut AnyConnection, filter: &Filter, id: i64, most: i64) -> Result<Vec<Line>> {
    // Whatever somebody looks for means itself.
    let part = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default().to_lowercase();
        format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
    };
    let rows = sqlx::query(
        "SELECT id, at, actor, action, object, detail, address, request FROM audit WHERE id < $1
         AND ($3 = '%%' OR LOWER(COALESCE(actor, '')) LIKE $3 ESCAPE '\\') AND ($4 = '' OR action = $4)
         AND ($5 = '%%' OR LOWER(object) LIKE $5 ESCAPE '\\') ORDER BY id DESC LIMIT $2",
    )
    .bind(id)
    .bind(most)
    .bind(part(&filter.actor))
    .bind(filter.action.as_deref().unwrap_or_default())
    .bind(part(&filter.object))
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let detail: String = row.try_get("detail")?;
            Ok(Line {
                id: row.try_get("id")?,
                at: row.try_get("at")?,
                actor: row.try_get("actor")?,
                action: row.try_get("action")?,
                object: row.try_get("object")?,
                detail: serde_json::from_str(&detail).unwrap_or(Value::String(detail)),
                address: row.try_get("address")?,
                request: row.try_get("request")?,
            })
        })
        .collect()
}

/// Every action that the log tells of.
pub async fn actions(db: &mut AnyConnection) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT DISTINCT action FROM audit ORDER BY action").fetch_all(db);
    rows.await?.iter().map(|row| Ok(row.try_get("action")?)).collect()
}

//! Logins of people: analysts, who use the FlowMachine library, and readers, who read stored results.

use tokio_postgres::{Client, Transaction};

use super::{Error, FLOWMACHINE, SUPERUSER};
use flowkit_core::secrets::Secret;
use postgres::password;

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Use the FlowMachine library: read all records, run and store queries.
    Analyst,
    /// Read stored results and areas, nothing else.
    Reader,
}

impl Role {
    const ALL: [Role; 2] = [Role::Analyst, Role::Reader];

    /// The group whose members have this role.
    pub fn group(self) -> &'static str {
        match self {
            Role::Analyst => "flowkit_analyst",
            Role::Reader => "flowkit_reader",
        }
    }
}

/// A person's login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Open connections.
    pub connections: i64,
}

/// A name that needs no quoting anywhere and collides with nothing; otherwise what is asked of one.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= 63;
    let reserved = [SUPERUSER, FLOWMACHINE, "public", "none", "postgres", "user", "all"].contains(&name)
        || ["pg_", "flowkit_"].iter().any(|prefix| name.starts_with(prefix));
    match (plain, reserved) {
        (false, _) => Err("use up to 63 lower-case letters, digits and underscores, a letter first"),
        (_, true) => Err("this name has another use; choose another"),
        _ => Ok(()),
    }
}

/// Adds a login.
pub async fn add(client: &mut Client, name: &str, role: Role, secret: &Secret) -> Result<(), Error> {
    make(client, name, role, secret, None).await
}

/// Adds one that is a program's and no person's, and is known by its comment.
pub(crate) async fn add_marked(
    client: &mut Client,
    name: &str,
    role: Role,
    secret: &Secret,
    mark: &str,
) -> Result<(), Error> {
    make(client, name, role, secret, Some(mark)).await
}

async fn make(client: &mut Client, name: &str, role: Role, secret: &Secret, mark: Option<&str>) -> Result<(), Error> {
    check_name(name).map_err(|why| Error::User(format!("{name:?} is no name for a user: {why}")))?;
    let transaction = client.transaction().await.map_err(Error::sql("begin"))?;
    if exists(&transaction, name).await? {
        return Err(Error::User(format!(
            "there is a database user {name} already; `flowkit db user passwd {name}` changes its password"
        )));
    }
    let attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT";
    let sql = format!(
        "CREATE ROLE \"{name}\" {attributes} {}; GRANT {} TO \"{name}\"",
        password::clause(secret),
        role.group()
    );
    transaction.batch_execute(&sql).await.map_err(Error::sql(format!("add the user {name}")))?;
    if let Some(mark) = mark {
        let sql = format!("COMMENT ON ROLE \"{name}\" IS '{mark}'");
        transaction.batch_execute(&sql).await.map_err(Error::sql(format!("mark the user {name}")))?;
    }
    // Among other things: that others can read what this user stores.
    transaction.batch_execute(include_str!("grants.sql")).await.map_err(Error::sql("grant what roles may do"))?;
    transaction.commit().await.map_err(Error::sql(format!("add the user {name}")))
}

/// Changes a login's password. Open connections stay.
pub async fn passwd(client: &mut Client, name: &str, secret: &Secret) -> Result<(), Error> {
    known(client, name).await?;
    let sql = format!("ALTER ROLE \"{name}\" {}", password::clause(secret));
    client.batch_execute(&sql).await.map_err(Error::sql(format!("change the password of {name}")))
}

/// Owns what removed people leave behind. It may do nothing, so a function or a view of theirs can do nothing either.
const DEPARTED: &str = "flowkit_departed";

/// Removes a login and closes its connections. What it owns goes to [`DEPARTED`], from whom only the superuser can take
/// it; what it stored in the cache belongs to `flowmachine` already.
pub async fn remove(client: &mut Client, name: &str) -> Result<(), Error> {
    known(client, name).await?;
    end(client, name).await
}

/// Removes the login of that name, or all that nobody uses, if it has this mark.
pub(crate) async fn remove_marked(client: &mut Client, mark: &str, name: Option<&str>) -> Result<(), Error> {
    let sql = "SELECT rolname::text FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = $1
        AND CASE WHEN $2::text IS NULL THEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = pg_roles.oid)
            ELSE rolname = $2 END";
    let rows = client.query(sql, &[&mark, &name]).await.map_err(Error::sql("list users"))?;
    for row in rows {
        end(client, row.get(0)).await?;
    }
    Ok(())
}

async fn end(client: &mut Client, name: &str) -> Result<(), Error> {
    let action = format!("remove the user {name}");
    client.batch_execute(&format!("ALTER ROLE \"{name}\" NOLOGIN")).await.map_err(Error::sql(action.clone()))?;
    client
        .execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", &[&name])
        .await
        .map_err(Error::sql(format!("close the connections of {name}")))?;
    let transaction = client.transaction().await.map_err(Error::sql("begin"))?;
    let sql = format!("REASSIGN OWNED BY \"{name}\" TO {DEPARTED}; DROP OWNED BY \"{name}\"; DROP ROLE \"{name}\"");
    transaction.batch_execute(&sql).await.map_err(Error::sql(action.clone()))?;
    transaction.commit().await.map_err(Error::sql(action))
}

/// All logins of people, by name.
pub async fn list(client: &Client) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    for role in Role::ALL {
        let rows = client
            .query(
                "SELECT m.rolname::text, (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = m.oid)
                 FROM pg_auth_members am
                 JOIN pg_roles g ON g.oid = am.roleid
                 JOIN pg_roles m ON m.oid = am.member
                 WHERE g.rolname = $1 AND m.rolcanlogin AND shobj_description(m.oid, 'pg_authid') IS NULL",
                &[&role.group()],
            )
            .await
            .map_err(Error::sql("list users"))?;
        users.extend(rows.iter().map(|row| User { name: row.get(0), role, connections: row.get(1) }));
    }
    users.sort_by(|a, b| a.name.cmp(&b.name));
    users.dedup_by(|a, b| a.name == b.name);
    Ok(users)
}

async fn exists(transaction: &Transaction<'_>, name: &str) -> Result<bool, Error> {
    let row = transaction.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name]).await;
    Ok(row.map_err(Error::sql("list roles"))?.is_some())
}

/// Only logins that were made here may be changed here: not the programs' own, not the superuser.
async fn known(client: &Client, name: &str) -> Result<(), Error> {
    match list(client).await?.iter().any(|user| user.name == name) {
        true => Ok(()),
        false => Err(Error::User(format!("there is no user {name}; `flowkit db user list` shows those there are"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting_and_collide_with_nothing() {
        for good in ["alice", "a", "data_team2"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "Alice",
            "1a",
            "_a",
            "a-b",
            "a b",
            "a\"b",
            "a;drop",
            "é",
            &long,
            "flowdb",
            "flowmachine",
            "pg_x",
            "flowkit_x",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}

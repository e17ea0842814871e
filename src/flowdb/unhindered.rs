//! The superuser's work, which others could hold up for as long as they like: anybody may lock what is theirs.

use std::time::Duration;

use tokio_postgres::Client;

use super::Error;

/// How often it is looked who holds what the schema's work waits for; they have that long to let go by themselves.
const HELD_UP: Duration = Duration::from_secs(5);

/// Does the superuser's work over `client`, and ends over `aside` who holds it up: anybody may hold up who changes what is theirs, for
/// as long as a transaction is open. What was ended is added to `ended`, in words.
///
/// # Errors
/// The work's; the other sessions can't be looked at.
pub async fn unhindered<T>(
    client: &mut Client,
    aside: &Client,
    ended: &mut Vec<String>,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    let session: i32 = row.map_err(Error::sql("ask for the session's number"))?.get(0);
    tokio::select! {
        done = work(client) => done,
        error = end_who_holds_up(aside, session, ended) => Err(error),
    }
}

/// Ends sessions that hold a lock for which `session` waits, and goes on looking.
async fn end_who_holds_up(aside: &Client, session: i32, ended: &mut Vec<String>) -> Error {
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(HELD_UP).await;
        // Autovacuum has no user, and yields by itself.
        let sql = "SELECT pid, usename::text FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid
            WHERE pid = ANY (pg_blocking_pids($1)) AND NOT rolsuper";
        let holders: Vec<(i32, String)> = match aside.query(sql, &[&session]).await {
            Ok(rows) => rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            Err(source) => return Error::sql("look who holds up the schema's work")(source),
        };
        for (pid, user) in holders.iter().filter(|holder| before.contains(*holder)) {
            if let Err(source) = aside.execute("SELECT pg_terminate_backend($1)", &[pid]).await {
                return Error::sql("end who holds up the schema's work")(source);
            }
            ended.push(format!("a session of {user} was ended: a transaction that it had open held this up"));
        }
        before = holders;
    }
}

//! Is the database ready, and is it ours?

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect::{MAINTENANCE, is_full, is_refusal};
use super::{Cluster, Error, MONITOR, password};
use flowkit_core::secrets::Store;
use supervisor::{Probe, glance};

/// Asks a running server a real question on the address that its clients use.
#[derive(Clone)]
pub struct ProbeSql {
    cluster: Cluster,
    question: Option<Question>,
    /// The session of the last good answer. Asking over it again costs no login, and no lines in the database's log.
    kept: Arc<Mutex<Option<(Runtime, Client)>>>,
}

/// What a user of a database asks first.
#[derive(Clone, Copy)]
pub struct Question {
    /// Who asks.
    pub login: Login,
    /// Of which database.
    pub database: &'static str,
    /// The question, in SQL: it has one row for an answer.
    pub sql: &'static str,
    /// What it is, for people: `ask what FlowMachine asks first`.
    pub action: &'static str,
}

/// A login; its secrets are looked up each time.
#[derive(Clone, Copy)]
pub struct Login {
    /// Its name, which may be a secret.
    pub user: fn(&Store) -> String,
    /// The secret that holds its password.
    pub password: &'static str,
}

impl ProbeSql {
    /// For the server itself, which has no database yet when it starts for the first time: does it answer on its address, and is
    /// it the one of our data directory?
    pub fn of_server(cluster: Cluster) -> ProbeSql {
        ProbeSql { cluster, question: None, kept: Arc::default() }
    }

    /// For a database: would its user find what it asks for when it connects?
    pub fn of_database(cluster: Cluster, question: Question) -> ProbeSql {
        ProbeSql { cluster, question: Some(question), kept: Arc::default() }
    }

    /// Asks over the session given, or a new one; gives it back for the next time.
    async fn ask(&self, session: Option<Client>) -> Result<Option<Client>, Error> {
        let client = match (session, self.question) {
            (Some(client), _) => client,
            (None, None) => match self.log_in_to_server().await? {
                Some(client) => client,
                None => return Ok(None),
            },
            (None, Some(question)) => self.log_in_to(question).await?,
        };
        self.cluster.refuse_other(&client).await?;
        if let Some(question) = self.question {
            client.query_one(question.sql, &[]).await.map_err(Error::sql(question.action))?;
        }
        Ok(Some(client))
    }

    /// As somebody who may do nothing there. `None` where that login is refused: an older version has not made it, a new
    /// password is set only once the server is ready, and there may be no connection left. That the server refuses shows that it takes
    /// requests; that it is ours is told by its socket, which stands where nobody else can put one.
    async fn log_in_to_server(&self) -> Result<Option<Client>, Error> {
        let endpoint = self.cluster.endpoint();
        let password = password::of_monitor(&self.cluster.site.store.get(self.cluster.password)?);
        match endpoint.over_tcp(MONITOR, Some(&password), MAINTENANCE).await {
            Err(refused) if is_refusal(&refused) || is_full(&refused) => {
                match endpoint.over_socket(MONITOR, Some(&password), MAINTENANCE).await {
                    Err(again) if is_refusal(&again) || is_full(&again) => Ok(None),
                    Err(_) => Err(refused),
                    answer => answer.map(Some),
                }
            }
            answer => answer.map(Some),
        }
    }

    async fn log_in_to(&self, Question { login, database, .. }: Question) -> Result<Client, Error> {
        let store = &self.cluster.site.store;
        let password = store.get(login.password)?;
        self.cluster.endpoint().over_tcp(&(login.user)(store), Some(&password), database).await
    }
}

impl Probe for ProbeSql {
    fn check(&self, patience: Duration) -> Result<(), String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A session that broke says nothing of the server as it is now: the question is asked once more over a new one.
        if let Some((runtime, client)) = kept.take()
            && let Ok(Ok(Some(client))) = runtime.block_on(async { timeout(patience, self.ask(Some(client))).await })
        {
            *kept = Some((runtime, client));
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot ask: {error}"))?;
        match runtime.block_on(async { timeout(patience, self.ask(None)).await }) {
            Ok(Ok(client)) => {
                *kept = client.map(|client| (runtime, client));
                Ok(())
            }
            // Neither PostgreSQL nor its client puts a password into one.
            Ok(Err(error)) => Err(say::in_full(&error)),
            Err(_) => Err(format!("no answer within {} s", patience.as_secs_f32())),
        }
    }
}

impl Cluster {
    /// Refuses a server at the other end that is not the one of our data directory.
    pub(crate) async fn refuse_other(&self, client: &Client) -> Result<(), Error> {
        let data = self.data();
        let row = client
            .query_one("SELECT system_identifier FROM pg_control_system()", &[])
            .await
            .map_err(Error::sql("ask the server who it is"))?;
        let theirs: i64 = row.get(0);
        if system_identifier(&data)? == theirs as u64 {
            return Ok(());
        }
        Err(Error::OtherServer { address: self.endpoint().address(), data })
    }
}

/// The number that initdb gave the cluster: the first eight bytes of its control file.
fn system_identifier(data: &Path) -> Result<u64, Error> {
    let path = data.join("global/pg_control");
    // The supervisor asks, too, in whose directory this is not.
    let bytes = glance(&path, 8).map_err(Error::file("read", &path))?;
    let bytes = bytes.try_into().map_err(|_| Error::file("read", &path)(ErrorKind::UnexpectedEof.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}

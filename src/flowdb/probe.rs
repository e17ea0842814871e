//! Is the database ready, and is it ours?

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect::{self, SUPERUSER_PASSWORD, is_full, is_refusal};
use super::{DATABASE, Endpoint, Error, FLOWMACHINE, MONITOR, cluster, password};
use flowkit_core::Site;
use supervisor::Probe;

/// The database that is there before ours, and that holds nothing.
const MONITORED: &str = "postgres";

/// Asks a running server a real question on the address that its clients use.
#[derive(Clone)]
pub struct ProbeSql {
    site: Site,
    question: Question,
    /// The session of the last good answer. Asking over it again costs no login, and no lines in the database's log.
    kept: Arc<Mutex<Option<(Runtime, Client)>>>,
}

#[derive(Clone, Copy)]
enum Question {
    /// Does the server answer on its address, and is it the one of our data directory?
    Server,
    /// Would FlowMachine find what it asks for when it connects?
    Schema,
}

impl ProbeSql {
    /// For the server itself, which has no schema yet when it starts for the first time.
    pub fn new(site: &Site) -> ProbeSql {
        ProbeSql::asking(site, Question::Server)
    }

    /// For the role as a whole: a login as FlowMachine's user, and FlowMachine's own first questions.
    pub fn schema(site: &Site) -> ProbeSql {
        ProbeSql::asking(site, Question::Schema)
    }

    fn asking(site: &Site, question: Question) -> ProbeSql {
        ProbeSql { site: site.clone(), question, kept: Arc::default() }
    }

    /// Asks over the session given, or a new one; gives it back for the next time.
    async fn ask(&self, session: Option<Client>) -> Result<Option<Client>, Error> {
        let client = match (session, self.question) {
            (Some(client), _) => client,
            (None, Question::Server) => match self.log_in_to_server().await? {
                Some(client) => client,
                None => return Ok(None),
            },
            (None, Question::Schema) => self.log_in_as_flowmachine().await?,
        };
        let data = cluster::data_directory(&self.site);
        if !is_ours(&client, &data).await? {
            let address = Endpoint::new(&self.site).address();
            return Err(Error::OtherServer { address, data });
        }
        if let Question::Schema = self.question {
            let first_questions = "SELECT (SELECT version FROM flowdb_version()),
                (SELECT location_table FROM location_table()), (SELECT count(*) FROM etl.available_dates)";
            client.query_one(first_questions, &[]).await.map_err(Error::sql("ask what FlowMachine asks first"))?;
        }
        Ok(Some(client))
    }

    /// As somebody who may do nothing there. `None` where that login is refused: an older version has not made it, a new
    /// password is set only once the server is ready, and there may be no connection left. That the server refuses shows that it takes
    /// requests; that it is ours is told by its socket, which stands where nobody else can put one.
    async fn log_in_to_server(&self) -> Result<Option<Client>, Error> {
        let endpoint = Endpoint::new(&self.site);
        let password = password::of_monitor(&self.site.store.get(SUPERUSER_PASSWORD)?);
        match connect::over_tcp(&endpoint, MONITOR, Some(&password), MONITORED).await {
            Err(refused) if is_refusal(&refused) || is_full(&refused) => {
                match connect::over_socket(&endpoint, MONITOR, &password, MONITORED).await {
                    Err(again) if is_refusal(&again) || is_full(&again) => Ok(None),
                    Err(_) => Err(refused),
                    answer => answer.map(Some),
                }
            }
            answer => answer.map(Some),
        }
    }

    async fn log_in_as_flowmachine(&self) -> Result<Client, Error> {
        let endpoint = Endpoint::new(&self.site);
        let user = connect::login_name(&self.site.store, "FLOWMACHINE_FLOWDB_USER").unwrap_or(FLOWMACHINE.into());
        let password = self.site.store.get("FLOWMACHINE_FLOWDB_PASSWORD")?;
        connect::over_tcp(&endpoint, &user, Some(&password), DATABASE).await
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
            Ok(Err(error)) => Err(in_a_line(&error)),
            Err(_) => Err(format!("no answer within {} s", patience.as_secs_f32())),
        }
    }
}

/// The error and its causes. Neither PostgreSQL nor its client puts a password into one.
fn in_a_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Whether the server at the other end is the one of this data directory.
pub(super) async fn is_ours(client: &Client, data: &Path) -> Result<bool, Error> {
    let row = client
        .query_one("SELECT system_identifier FROM pg_control_system()", &[])
        .await
        .map_err(Error::sql("ask the server who it is"))?;
    let theirs: i64 = row.get(0);
    Ok(system_identifier(data)? == theirs as u64)
}

/// The number that initdb gave the cluster: the first eight bytes of its control file.
fn system_identifier(data: &Path) -> Result<u64, Error> {
    let path = data.join("global/pg_control");
    let mut bytes = [0; 8];
    File::open(&path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::file("read", path))?;
    Ok(u64::from_ne_bytes(bytes))
}

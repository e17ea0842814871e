//! A second, plain cluster beside FlowDB's: no extension, a superuser, a port and a directory of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Child;
use std::time::Duration;

use postgres::tuning::small;
use postgres::{Cluster, Error, Login, Migrations, ProbeSql, Question, password};
use rustix::process::{Pid, Signal, kill_process};
use supervisor::Probe;

use crate::support::flowdb;
use crate::support::poll::until;
use crate::support::ports::free_port;

/// Longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shared memory that a small database's share counts, MiB.
const SHARED: i64 = 42;

const PASSWORD: &str = "FLOWAUTH_DB_PASSWORD";

const FIRST: Migrations =
    Migrations { files: &[("V1__entries", "CREATE TABLE public.entries (what text)")], made_by: None };

const SECOND: Migrations = Migrations {
    files: &[FIRST.files[0], ("V2__totals", "CREATE VIEW public.totals AS SELECT count(*) FROM public.entries")],
    made_by: Some("SELECT 'of tomorrow'::text"),
};

/// A server that is stopped when it goes.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

fn ledger(home: &flowdb::Cluster) -> Cluster {
    Cluster {
        name: "the ledger",
        site: home.site.clone(),
        directory: home.site.state.role("ledger"),
        elsewhere: None,
        superuser: "bookkeeper",
        superuser_over_tcp: true,
        password: PASSWORD,
        listen: "127.0.0.1".into(),
        port: free_port(),
        certificate: None,
        extensions: &[],
        room: 64 << 20,
    }
}

fn await_ready(home: &flowdb::Cluster, probe: &ProbeSql, server: &mut Server) {
    until(PATIENCE, "a server that is ready", || {
        assert!(server.0.try_wait().unwrap().is_none(), "it ended\n{}", home.log());
        home.as_user(|| probe.check(Duration::from_secs(10)))
    });
}

#[test]
fn a_plain_cluster_is_made_started_migrated_and_asked_beside_flowdb() {
    let mut home = flowdb::Cluster::new();
    home.prepare().unwrap();
    home.start();
    let ledger = ledger(&home);
    let prepare = || home.as_user(|| ledger.prepare(small::conf));

    // Its own secret, and no other cluster's.
    let missing = prepare().unwrap_err();
    assert!(missing.to_string().contains(PASSWORD), "{missing}");
    home.set_secret(PASSWORD, "ledger-Pass-1");
    let prepared = prepare().unwrap();
    assert!(prepared.created);
    assert_eq!(prepared.warnings, Vec::<String>::new());
    assert!(!prepare().unwrap().created, "it is there");
    assert_eq!(ledger.data(), home.site.state.role("ledger").join("data"));

    let mut command = home.as_user(|| ledger.server_command()).unwrap();
    home.log_into(&mut command);
    let mut server = Server(home.as_service_user(&mut command).spawn().unwrap());
    await_ready(&home, &ProbeSql::of_server(ledger.clone()), &mut server);

    // A server at its address that is another cluster's is none of it.
    let astray = Cluster { port: home.site.settings.port("FLOWDB_PORT"), ..ledger.clone() };
    let why = home.as_user(|| ProbeSql::of_server(astray).check(Duration::from_secs(10))).unwrap_err();
    assert!(!why.is_empty());

    let runtime = &home.runtime;
    runtime.block_on(async {
        assert!(ledger.make_database("ledger").await.unwrap());
        assert!(!ledger.make_database("ledger").await.unwrap());
        let mut client = ledger.as_superuser("ledger").await.unwrap();
        assert_eq!(FIRST.apply(&mut client).await.unwrap(), 1);
        assert_eq!(SECOND.apply(&mut client).await.unwrap(), 1);
        assert_eq!(SECOND.apply(&mut client).await.unwrap(), 0);
        assert!(matches!(FIRST.apply(&mut client).await, Err(Error::NewerDatabase { database: 2, known: 1, .. })));
        let clerk = format!(
            "CREATE ROLE clerk LOGIN {}; GRANT SELECT ON public.totals TO clerk",
            password::clause(&ledger.site.store.get(PASSWORD).unwrap())
        );
        client.batch_execute(&clerk).await.unwrap();
        let facts = "SELECT current_user::text, current_setting('shared_buffers'), current_setting('log_statement'),
                        pg_size_bytes(current_setting('shared_memory_size')) / 1048576,
                        (SELECT string_agg(extname, ' ') FROM pg_extension)";
        let facts = client.query_one(facts, &[]).await.unwrap();
        let texts: Vec<&str> = [0, 1, 2, 4].into_iter().map(|at| facts.get(at)).collect();
        assert_eq!(texts, ["bookkeeper", "32MB", "none", "plpgsql"]);
        let shared: i64 = facts.get(3);
        assert!((SHARED - 4..=SHARED).contains(&shared), "{shared} MiB are not the {SHARED} that its share counts");
    });

    let question = Question {
        login: Login { user: |_| "clerk".into(), password: PASSWORD },
        database: "ledger",
        sql: "SELECT * FROM totals",
        action: "ask the ledger",
    };
    let probe = ProbeSql::of_database(ledger.clone(), question);
    assert_eq!(home.as_user(|| probe.check(Duration::from_secs(30))), Ok(()));
    let wrong = ProbeSql::of_database(ledger.clone(), Question { sql: "SELECT * FROM entries", ..question });
    let why = home.as_user(|| wrong.check(Duration::from_secs(30))).unwrap_err();
    assert!(why.contains("cannot ask the ledger") && why.contains("permission denied"), "{why}");

    let flowdb = flowkit::flowdb::cluster::cluster(&home.site);
    let databases = "SELECT string_agg(datname, ' ') FROM pg_database WHERE NOT datistemplate";
    let there: String = runtime.block_on(async {
        flowdb.as_superuser("postgres").await.unwrap().query_one(databases, &[]).await.unwrap().get(0)
    });
    assert_eq!(there, "postgres", "FlowDB has nothing of it");
    assert_eq!(fs::metadata(ledger.data()).unwrap().mode() & 0o777, 0o700);
}

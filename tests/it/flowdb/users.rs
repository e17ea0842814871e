//! Logins of people.

use flowkit::flowdb::users::{self, Role, User};
use flowkit::flowdb::{self, Error};
use flowkit::secrets::Secret;
use tokio_postgres::{Client, Config, NoTls};

use crate::support::flowdb::Cluster;

fn log_in(cluster: &Cluster, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(cluster.settings.port("FLOWDB_PORT")).dbname("flowdb").user(user).password(password);
    cluster.runtime.block_on(async {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    })
}

#[test]
fn analysts_store_queries_and_readers_read_them() {
    let cluster = Cluster::started();
    let secret = |text: &str| Secret::new(text.to_owned());
    let mut admin = cluster.connect("flowdb");
    let run = |client: &Client, sql: &str| cluster.runtime.block_on(client.batch_execute(sql));
    cluster.runtime.block_on(users::add(&mut admin, "alice", Role::Analyst, &secret("alice-Pass"))).unwrap();
    cluster.runtime.block_on(users::add(&mut admin, "rita", Role::Reader, &secret("rita-Pass"))).unwrap();
    let listed = cluster.runtime.block_on(users::list(&admin)).unwrap();
    let user = |name: &str, role| User { name: name.into(), role, connections: 0 };
    assert_eq!(listed, [user("alice", Role::Analyst), user("rita", Role::Reader)]);

    let alice = log_in(&cluster, "alice", "alice-Pass").unwrap();
    // What FlowMachine does when it stores a query.
    let store = "BEGIN; CREATE TABLE cache.x1 AS SELECT msisdn FROM events.calls; ALTER TABLE cache.x1 OWNER TO flowmachine;
        CREATE INDEX ON cache.x1 (msisdn) WITH (fillfactor = 100); ANALYZE cache.x1;
        INSERT INTO cache.cached (query_id, created, access_count, compute_time, cache_score_multiplier, class, schema, tablename)
            VALUES ('x1', now(), 0, 5, 0, 'X', 'cache', 'x1');
        SELECT touch_cache('x1'); COMMIT";
    run(&alice, store).unwrap();
    assert_eq!(cluster.value("flowdb", "SELECT tableowner FROM pg_tables WHERE tablename = 'x1'"), "flowmachine");
    cluster.run("flowapi", "SELECT FROM cache.x1").unwrap();
    let rita = log_in(&cluster, "rita", "rita-Pass").unwrap();
    run(&rita, "SELECT FROM cache.x1").unwrap();
    assert!(run(&rita, "SELECT FROM events.calls").is_err());
    assert!(run(&rita, "SET ROLE flowapi").is_err(), "a member could change FlowAPI's password");
    run(&alice, "CREATE SCHEMA alice; CREATE TABLE alice.notes AS SELECT 1").unwrap();

    let again = cluster.runtime.block_on(users::add(&mut admin, "alice", Role::Reader, &secret("x"))).unwrap_err();
    assert_eq!(
        again.to_string(),
        "there is a database user alice already; `flowkit db user passwd alice` changes its password"
    );
    cluster.runtime.block_on(users::passwd(&mut admin, "rita", &secret("rita's \"new\" Pass"))).unwrap();
    assert!(log_in(&cluster, "rita", "rita-Pass").is_err());
    log_in(&cluster, "rita", "rita's \"new\" Pass").unwrap();

    for ours in ["flowmachine", "flowapi", "flowdb", "flowkit_reader", "nobody_there"] {
        let refused = cluster.runtime.block_on(users::remove(&mut admin, ours)).unwrap_err();
        assert!(matches!(refused, Error::User(_)), "{ours}: {refused}");
    }
    cluster.runtime.block_on(users::remove(&mut admin, "alice")).unwrap();
    assert!(run(&alice, "SELECT 1").is_err(), "the connection of a removed user stays open");
    assert!(log_in(&cluster, "alice", "alice-Pass").is_err());
    cluster.run("flowapi", "SELECT FROM cache.x1").unwrap();
    assert_eq!(cluster.value("flowdb", "SELECT tableowner FROM pg_tables WHERE tablename = 'notes'"), "flowdb");
    assert_eq!(cluster.runtime.block_on(users::list(&admin)).unwrap().len(), 1);
    cluster.apply().unwrap();
    let _ = flowdb::DATABASE;
}

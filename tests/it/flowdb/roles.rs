//! Who may do what: the assertions of FlowKit's own tests of roles, and what FlowMachine and FlowAPI need.

use crate::support::flowdb::{Cluster, FLOWMACHINE};

const DENIED: &str = "42501";

#[test]
fn roles_may_do_what_they_need_and_no_more() {
    let cluster = Cluster::started();
    for made_later in [
        "CREATE TABLE geography.admin0 (admin0pcod text, geom geometry)",
        "CREATE TABLE events.later (msisdn text)",
        "CREATE TABLE routing.roads (id int)",
        "CREATE TABLE cache.made_by_flowdb (id int)",
        "CREATE TABLE public.made_by_flowdb (id int)",
    ] {
        cluster.run("flowdb", made_later).unwrap();
    }
    cluster.run(FLOWMACHINE, "CREATE TABLE cache.x1 AS SELECT 1 AS n").unwrap();
    let table = [
        // user, statement, whether it may
        (FLOWMACHINE, "SELECT FROM events.calls", true),
        (FLOWMACHINE, "SELECT FROM events.later", true),
        (FLOWMACHINE, "SELECT FROM routing.roads", true),
        (FLOWMACHINE, "SELECT FROM cache.cached", true),
        (FLOWMACHINE, "SELECT FROM cache.dependencies", true),
        (FLOWMACHINE, "SELECT FROM cache.made_by_flowdb", true),
        (FLOWMACHINE, "SELECT FROM geography.admin0", true),
        (FLOWMACHINE, "SELECT FROM etl.available_dates", true),
        (FLOWMACHINE, "SELECT FROM etl.deduped_post_etl_queries", true),
        (FLOWMACHINE, "SELECT FROM dfs.transactions_metadata", true),
        (FLOWMACHINE, "SELECT FROM infrastructure.tacs", true),
        (FLOWMACHINE, "SELECT FROM public.made_by_flowdb", true),
        (FLOWMACHINE, "DELETE FROM cache.cached", true),
        (FLOWMACHINE, "TRUNCATE cache.cached CASCADE", false),
        (FLOWMACHINE, "UPDATE cache.cached SET last_accessed = now(), access_count = access_count + 1", true),
        (FLOWMACHINE, "UPDATE cache.cached SET obj = NULL", false),
        (FLOWMACHINE, "UPDATE cache.dependencies SET depends_on = query_id", false),
        (FLOWMACHINE, "UPDATE cache.cache_config SET value = value", true),
        (FLOWMACHINE, "SELECT setval('cache.cache_touches', 1)", true),
        (FLOWMACHINE, "CREATE SCHEMA mine; DROP SCHEMA mine", true),
        (FLOWMACHINE, "CREATE TABLE geography.mine (id int); DROP TABLE geography.mine", true),
        (FLOWMACHINE, "DROP TABLE events.calls", false),
        (FLOWMACHINE, "CREATE TABLE events.mine (id int)", false),
        (FLOWMACHINE, "CREATE TABLE public.mine (id int)", false),
        (FLOWMACHINE, "INSERT INTO events.later VALUES ('1')", false),
        (FLOWMACHINE, "DROP TABLE cache.cached", false),
        (FLOWMACHINE, "DROP TABLE cache.dependencies", false),
        (FLOWMACHINE, "ALTER ROLE flowapi PASSWORD NULL", false),
        (FLOWMACHINE, "SELECT FROM flowkit.schema_history", false),
        ("flowapi", "SELECT FROM cache.x1", true),
        ("flowapi", "SELECT FROM cache.made_by_flowdb", true),
        ("flowapi", "SELECT FROM geography.admin0", true),
        ("flowapi", "SELECT FROM infrastructure.cells", true),
        ("flowapi", "SELECT FROM infrastructure.sites", true),
        ("flowapi", "SELECT FROM infrastructure.tacs", false),
        ("flowapi", "SELECT FROM events.calls", false),
        ("flowapi", "SELECT FROM events.later", false),
        ("flowapi", "SELECT FROM cache.cached", false),
        ("flowapi", "SELECT FROM etl.available_dates", false),
        ("flowapi", "DROP TABLE cache.x1", false),
        ("flowapi", "DROP TABLE geography.admin0", false),
        ("flowapi", "CREATE TABLE events.mine (id int)", false),
        ("flowapi", "CREATE TABLE cache.mine (id int)", false),
        ("flowapi", "CREATE TABLE public.mine (id int)", false),
        ("flowapi", "CREATE SCHEMA mine", false),
        (FLOWMACHINE, "DROP TABLE cache.x1", true),
        // What others make in the cache is FlowMachine's to remove.
        (FLOWMACHINE, "DROP TABLE cache.made_by_flowdb", true),
    ];
    for (user, statement, may) in table {
        match cluster.run(user, statement) {
            Ok(()) => assert!(may, "{user} could: {statement}"),
            Err(error) => {
                let code = error.code().map(|code| code.code().to_owned());
                assert!(!may && code.as_deref() == Some(DENIED), "{user} could not: {statement}: {error:?}");
            }
        }
    }
    let others = cluster.value(
        "flowdb",
        "SELECT bool_or(has_database_privilege('pg_monitor', datname, 'CONNECT')) FROM pg_database WHERE datallowconn",
    );
    assert_eq!(others, "f", "a role without grants can connect to a database");
}

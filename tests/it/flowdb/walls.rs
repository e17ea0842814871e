//! What an analyst, a reader or somebody who left can not do: become somebody stronger, take everything, end others' work.

use std::time::Duration;

use flowkit::flowdb::probe;
use flowkit::flowdb::unhindered::unhindered;
use flowkit::flowdb::users::{self, Role};
use flowkit_core::config::Origin;
use flowkit_core::secrets::Secret;
use supervisor::Probe;
use tokio_postgres::Client;

use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::poll;

/// What every one of these programs would do once it runs as somebody who may.
const BECOME: &str = "ALTER ROLE mallory SUPERUSER";

/// A FlowDB with the analysts alice and mallory, and the reader rita.
fn cluster_with_people() -> Cluster {
    let cluster = Cluster::started();
    let mut admin = cluster.connect("flowdb");
    for (name, role) in [("alice", Role::Analyst), ("mallory", Role::Analyst), ("rita", Role::Reader)] {
        let password = Secret::new(format!("{name}-Pass"));
        cluster.runtime.block_on(users::add(&mut admin, name, role, &password)).unwrap();
    }
    cluster
}

fn log_in(cluster: &Cluster, name: &str) -> Result<Client, tokio_postgres::Error> {
    cluster.log_in(name, &format!("{name}-Pass"))
}

/// Runs statements as a person; the error of the first that fails, in PostgreSQL's words.
fn run(cluster: &Cluster, name: &str, sql: &str) -> Result<(), String> {
    let message =
        |error: tokio_postgres::Error| error.as_db_error().map_or(error.to_string(), |e| e.message().to_owned());
    let client = log_in(cluster, name).map_err(message)?;
    cluster.runtime.block_on(client.batch_execute(sql)).map_err(message)
}

fn stronger(cluster: &Cluster) -> Vec<Vec<String>> {
    let sql = "SELECT rolname FROM pg_roles WHERE rolname <> 'flowdb' AND (rolsuper OR rolcreaterole OR rolcreatedb
        OR rolreplication OR rolbypassrls) AND rolname NOT LIKE 'pg\\_%'";
    cluster.ask("flowdb", sql)
}

#[test]
fn nobodys_trigger_runs_in_stronger_hands() {
    let cluster = cluster_with_people();
    let trigger = format!(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.run() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {BECOME}; RETURN NEW; END $$"
    );
    run(&cluster, "mallory", &trigger).unwrap();
    let tables = cluster.ask(
        "flowdb",
        "SELECT c.oid::regclass FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND (o.rolsuper OR o.rolname LIKE 'flowkit\\_%')
           AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)",
    );
    assert!(tables.len() > 20, "{tables:?}");
    for table in tables.iter().flatten() {
        let sql =
            format!("CREATE TRIGGER evil AFTER INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION evil.run()");
        let refused = run(&cluster, "mallory", &sql).expect_err(table);
        assert!(refused.starts_with("permission denied for "), "{table}: {refused}");
    }

    // A database of 0.1.0, where it worked: the right is taken back, the trigger removed.
    let former = "INSERT INTO cache.cached (query_id, class) VALUES ('q', 'Flows');
        GRANT ALL ON cache.cached, infrastructure.cells TO flowmachine";
    cluster.run("flowdb", former).unwrap();
    for table in ["cache.cached", "infrastructure.cells"] {
        let sql =
            format!("CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION evil.run()");
        run(&cluster, "mallory", &sql).unwrap();
    }
    // Even then it is not the superuser who touches the cache.
    let refused = run(&cluster, "mallory", "SELECT touch_cache('q')").unwrap_err();
    assert!(refused.contains("permission denied") || refused.contains("must be superuser"), "{refused}");
    cluster.apply().unwrap();
    cluster
        .run("flowdb", "UPDATE cache.cached SET version = 'x'; INSERT INTO infrastructure.cells (id) VALUES ('c')")
        .unwrap();
    run(&cluster, "mallory", "SELECT touch_cache('q')").unwrap();
    assert_eq!(cluster.value("flowdb", "SELECT count(*) FROM pg_trigger WHERE tgname = 'evil'"), "0");
    assert_eq!(cluster.value("flowdb", "SELECT has_table_privilege('mallory', 'cache.cached', 'TRIGGER')"), "f");
    assert_eq!(stronger(&cluster), Vec::<Vec<String>>::new());
}

#[test]
fn what_somebody_leaves_behind_can_do_nothing() {
    let cluster = cluster_with_people();
    let leave = format!(
        "CREATE SCHEMA left_by_alice; GRANT USAGE ON SCHEMA left_by_alice TO PUBLIC;
         CREATE TABLE left_by_alice.numbers AS SELECT msisdn FROM events.calls;
         CREATE VIEW left_by_alice.roles AS SELECT * FROM events.calls;
         GRANT ALL ON ALL TABLES IN SCHEMA left_by_alice TO PUBLIC;
         CREATE FUNCTION left_by_alice.rise() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {BECOME}; END $$;
         CREATE FUNCTION left_by_alice.look() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM events.calls'"
    );
    run(&cluster, "alice", &leave).unwrap();
    run(&cluster, "rita", "SELECT left_by_alice.look()").expect("while alice is there, what she may is what it may");
    let mut admin = cluster.connect("flowdb");
    cluster.runtime.block_on(users::remove(&mut admin, "alice")).unwrap();

    let tries = |who: &str| {
        for sql in ["SELECT left_by_alice.rise()", "SELECT left_by_alice.look()", "SELECT FROM left_by_alice.roles"] {
            let refused = run(&cluster, who, sql).expect_err(sql);
            assert!(refused.contains("permission denied") || refused.contains("must be superuser"), "{sql}: {refused}");
        }
    };
    tries("mallory");
    tries("rita");
    // As 0.1.0 did it.
    cluster.run("flowdb", "REASSIGN OWNED BY flowkit_departed TO flowdb").unwrap();
    cluster.apply().unwrap();
    for function in ["rise", "look"] {
        let refused = run(&cluster, "mallory", &format!("SELECT left_by_alice.{function}()")).expect_err(function);
        assert!(refused.contains("permission denied") || refused.contains("must be superuser"), "{refused}");
    }
    assert_eq!(stronger(&cluster), Vec::<Vec<String>>::new());
}

/// The superuser and the programs' logins look for functions in `public` alone, not in a schema of their own name.
#[test]
fn nobody_lays_a_function_in_the_way_of_a_stronger_one() {
    let cluster = cluster_with_people();
    for login in ["flowdb", FLOWMACHINE, "flowapi"] {
        let sql = format!(
            "CREATE SCHEMA {login}; GRANT USAGE ON SCHEMA {login} TO PUBLIC;
             CREATE FUNCTION {login}.flowdb_version() RETURNS text LANGUAGE plpgsql AS $$ BEGIN {BECOME}; RETURN 'evil'; END $$"
        );
        run(&cluster, "mallory", &sql).unwrap();
        assert_eq!(cluster.ask(login, "SELECT version FROM flowdb_version()"), [["1.34.0"]]);
    }
    assert_eq!(stronger(&cluster), Vec::<Vec<String>>::new());
}

#[test]
fn every_function_right_and_owner_is_one_that_is_meant() {
    let cluster = cluster_with_people();
    let ask = |sql: &str| -> Vec<String> { cluster.ask("flowdb", sql).into_iter().map(|row| row.join(" ")).collect() };
    let none: Vec<String> = Vec::new();

    // Functions that run with their owner's rights: whose they are, and that they find nothing of the caller's making.
    let definers =
        ask("SELECT o.rolname, p.oid::regproc FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner WHERE prosecdef
        ORDER BY o.rolname, p.oid::regproc::text COLLATE \"C\"");
    let functions = "available_tables cache.figures cache.running_queries cache_half_life cache_max_size cache_protected_period cache_score \
                     flowdb_version location_table table_size touch_cache";
    let expected: Vec<String> = functions.split(' ').map(|name| format!("flowkit_functions {name}")).collect();
    let sessions = ["cache.end_sessions", "close_all_connections"].map(|name| format!("flowkit_sessions {name}"));
    assert_eq!(definers, [expected, sessions.to_vec()].concat());
    let unpinned = "SELECT oid::regproc FROM pg_proc
        WHERE prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)";
    assert_eq!(ask(unpinned), none);

    // Roles that own them log in nowhere and are little more than their names.
    let owners =
        "SELECT rolname, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname LIKE 'flowkit\\_%' ORDER BY 1";
    let groups = ["analyst f", "departed f", "flowmachine t", "functions f", "monitor t", "reader f", "sessions f"];
    assert_eq!(ask(owners), groups.map(|group| format!("flowkit_{group}")));
    let members = "SELECT g.rolname, m.rolname FROM pg_auth_members am JOIN pg_roles g ON g.oid = roleid
        JOIN pg_roles m ON m.oid = member WHERE g.rolname LIKE 'pg\\_%' AND m.rolname NOT LIKE 'pg\\_%' ORDER BY 1, 2";
    assert_eq!(ask(members), ["pg_read_all_stats flowkit_functions"]);
    let held = "SELECT g.rolname FROM pg_auth_members am JOIN pg_roles g ON g.oid = roleid
        JOIN pg_roles m ON m.oid = member WHERE m.rolname IN ('flowkit_departed', 'flowkit_reader', 'flowmachine')";
    assert_eq!(ask(held), none);

    // Rights to what belongs to the superuser and to those roles.
    let rights = "SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END,
            n.nspname, CASE WHEN c.oid IN ('cache.cached'::regclass, 'cache.dependencies'::regclass, 'cache.cache_config'::regclass)
                THEN c.relname ELSE c.relkind::text END, a.privilege_type
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
        CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE (o.rolsuper OR o.rolname LIKE 'flowkit\\_%') AND a.grantee <> c.relowner AND n.nspname NOT IN ('pg_catalog', 'information_schema')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
          AND a.privilege_type <> 'SELECT'
        ORDER BY 1, 2, 3, 4";
    let writes = [
        "flowkit_functions cache S USAGE",
        "flowkit_functions flowkit r UPDATE",
        "flowmachine cache S UPDATE",
        "flowmachine cache S USAGE",
        "flowmachine cache cache_config UPDATE",
        "flowmachine cache cached DELETE",
        "flowmachine cache cached INSERT",
        "flowmachine cache dependencies DELETE",
        "flowmachine cache dependencies INSERT",
        "flowmachine geography r DELETE",
        "flowmachine geography r INSERT",
        "flowmachine geography r UPDATE",
    ];
    assert_eq!(ask(rights), writes);
    let columns = "SELECT attrelid::regclass, attname, attacl FROM pg_attribute
        WHERE attacl IS NOT NULL AND attrelid >= 16384 ORDER BY 1, 2";
    let updates = ["access_count", "last_accessed"]
        .map(|column| format!("cache.cached {column} {{flowmachine=w/flowkit_functions}}"));
    assert_eq!(ask(columns), updates);
    let to_come = "SELECT pg_get_userbyid(defaclrole), a.privilege_type FROM pg_default_acl, aclexplode(defaclacl) a
        WHERE a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')";
    assert_eq!(ask(to_come), none);

    // Where others may make things: nowhere that anybody's search path leads.
    let schemas = "SELECT nspname FROM pg_namespace, aclexplode(nspacl) a
        WHERE a.privilege_type = 'CREATE' AND a.grantee <> nspowner AND a.grantee NOT IN (SELECT oid FROM pg_roles WHERE rolsuper)
        ORDER BY 1";
    assert_eq!(ask(schemas), ["cache", "elevation", "geography", "population"]);
    let triggers = "SELECT tgrelid::regclass, tgname, tgfoid::regproc FROM pg_trigger t
        WHERE NOT tgisinternal AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.tgrelid AND d.deptype = 'e')";
    assert_eq!(ask(triggers), ["cache.cache_config set_protected_period flowkit.set_protected_period"]);
}

#[test]
fn one_person_neither_takes_all_nor_ends_what_others_do() {
    let mut cluster = cluster_with_people();
    let machine = cluster.connect(FLOWMACHINE);
    let theirs: i32 = cluster.runtime.block_on(machine.query_one("SELECT pg_backend_pid()", &[])).unwrap().get(0);
    for way in ["pg_terminate_backend", "pg_cancel_backend"] {
        for who in ["mallory", "rita"] {
            let refused = run(&cluster, who, &format!("SELECT {way}({theirs})")).unwrap_err();
            assert_eq!(refused, format!("permission denied for function {way}"));
        }
        let refused = run(&cluster, "mallory", &format!("SET ROLE flowmachine; SELECT {way}({theirs})")).unwrap_err();
        assert_eq!(refused, format!("permission denied for function {way}"));
    }
    let other = log_in(&cluster, "mallory").unwrap();
    run(&cluster, "mallory", "SELECT cache.end_sessions('flowkit')").unwrap();
    run(&cluster, "mallory", "SET ROLE flowmachine; SELECT close_all_connections()").unwrap();
    // Nor is the one as which she may act the one that FlowMachine logs in as.
    run(&cluster, "mallory", "SET ROLE flowmachine; ALTER ROLE flowmachine PASSWORD 'mallory-Pass'").unwrap();
    for sql in [
        "ALTER ROLE flowmachine LOGIN",
        "ALTER ROLE flowkit_flowmachine PASSWORD 'mallory-Pass'",
        "ALTER ROLE flowkit_flowmachine SET work_mem = '1TB'",
        "SET ROLE flowkit_flowmachine",
        "GRANT flowkit_flowmachine TO mallory",
    ] {
        let refused = run(&cluster, "mallory", &format!("SET ROLE flowmachine; {sql}")).expect_err(sql);
        assert!(refused.contains("permission denied") || refused.contains("must"), "{sql}: {refused}");
    }
    let refused = cluster.log_in("flowmachine", "mallory-Pass").expect_err("nobody logs in as it");
    assert_eq!(refused.as_db_error().unwrap().message(), "role \"flowmachine\" is not permitted to log in");
    cluster.runtime.block_on(machine.batch_execute("SELECT 1")).expect("FlowMachine's session goes on");
    assert!(cluster.runtime.block_on(other.batch_execute("SELECT 1")).is_err(), "her own sessions end");

    let sessions: Vec<Client> = (0..15).map(|_| log_in(&cluster, "mallory").unwrap()).collect();
    let refused = log_in(&cluster, "mallory").expect_err("a sixteenth");
    assert_eq!(refused.as_db_error().unwrap().message(), "too many connections for role \"mallory\"");
    cluster.connect(FLOWMACHINE);
    drop(sessions);
    // PostgreSQL ends them a moment later, and until then they count.
    let hers = "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'mallory'";
    poll::until(Duration::from_secs(30), "her sessions end", || match cluster.value("flowdb", hers) {
        left if left == "0" => Ok(()),
        left => Err(format!("{left} are left")),
    });

    for (name, value) in [
        ("FLOWKIT_ANALYST_CONNECTIONS", "2"),
        ("FLOWKIT_ANALYST_STATEMENT_SECONDS", "1"),
        ("FLOWKIT_READER_CONNECTIONS", "1"),
    ] {
        cluster.site.settings.set(name, value, Origin::Flag).unwrap();
    }
    cluster.apply().unwrap();
    let limits = "SELECT rolname, rolconnlimit, array_to_string(rolconfig, ' ') FROM pg_roles
        WHERE rolname IN ('mallory', 'rita', 'flowapi', 'flowkit_flowmachine') ORDER BY 1";
    assert_eq!(
        cluster.ask("flowdb", limits),
        [
            ["flowapi", "-1", "-"],
            [FLOWMACHINE, "-1", "-"],
            ["mallory", "2", "statement_timeout=1s"],
            ["rita", "1", "statement_timeout=3600s"]
        ]
    );
    let cancelled = run(&cluster, "mallory", "SELECT pg_sleep(30)").unwrap_err();
    assert_eq!(cancelled, "canceling statement due to statement timeout");
    // Who comes later has them from the first moment.
    let mut admin = cluster.connect("flowdb");
    cluster.runtime.block_on(users::add(&mut admin, "bob", Role::Analyst, &Secret::new("bob-Pass".into()))).unwrap();
    assert_eq!(cluster.value("flowdb", "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'bob'"), "2");
}

/// Our own routine work is nobody's superuser: whoever had the probe's session could do nothing with it.
#[test]
fn the_probe_logs_in_as_somebody_who_may_do_nothing() {
    let cluster = Cluster::started();
    cluster.apply().unwrap();
    let ask = |sql: &str| cluster.ask("flowdb", sql).into_iter().map(|row| row.join(" ")).collect::<Vec<_>>();
    let check = |probe: &postgres::ProbeSql| cluster.as_user(|| probe.check(Duration::from_secs(10)));
    let sessions =
        "SELECT usename, datname FROM pg_stat_activity WHERE application_name = 'flowkit' AND datname = 'postgres'";
    let probe = probe::server(&cluster.site);
    assert_eq!(check(&probe), Ok(()));
    assert_eq!(ask(sessions), ["flowkit_monitor postgres"]);
    let may_reach = "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege('flowkit_monitor', oid, 'CONNECT')";
    assert_eq!(ask(may_reach), ["postgres"]);
    assert_eq!(ask("SELECT roleid::regrole FROM pg_auth_members WHERE member = 'flowkit_monitor'::regrole"), [""; 0]);

    // With no connection left, or before its login is there, a server that answers is a server that is ready.
    drop(probe);
    for state in ["CONNECTION LIMIT 0", "CONNECTION LIMIT 4 PASSWORD NULL"] {
        cluster.run("flowdb", &format!("ALTER ROLE flowkit_monitor {state}")).unwrap();
        assert_eq!(check(&probe::server(&cluster.site)), Ok(()), "{state}");
    }
    poll::until(Duration::from_secs(30), "no session of its is left", || match ask(sessions) {
        left if left.is_empty() => Ok(()),
        left => Err(left.join(" ")),
    });
}

/// What a start waits for is given to it: neither a lock that any login can take nor a transaction left open holds it up for good.
#[test]
fn nobody_holds_up_the_next_start() {
    let cluster = cluster_with_people();
    let mallory = log_in(&cluster, "mallory").unwrap();
    // The number of the lock was told in the source.
    let hold = "SELECT pg_advisory_lock(x'464c4f574442'::bigint)";
    cluster.runtime.block_on(mallory.batch_execute(hold)).unwrap();
    assert_eq!(cluster.apply().unwrap().warnings, [""; 0]);
    cluster
        .runtime
        .block_on(mallory.batch_execute("BEGIN; LOCK TABLE cache.cache_config IN ACCESS EXCLUSIVE MODE"))
        .unwrap();
    let said = cluster.apply().unwrap().warnings;
    assert_eq!(said, ["a session of mallory was ended: a transaction that it had open held this up"]);
    assert!(cluster.runtime.block_on(mallory.batch_execute("COMMIT")).is_err());
}

/// Nor does what is open hold up an administrator: a right that is being given away can be taken by nobody else meanwhile.
#[test]
fn nobody_holds_up_who_adds_or_removes_people() {
    let cluster = cluster_with_people();
    let own = "CREATE TABLE cache.xmallory AS SELECT 1; REVOKE ALL ON cache.xmallory FROM flowmachine";
    run(&cluster, "mallory", own).unwrap();
    let mallory = log_in(&cluster, "mallory").unwrap();
    cluster.runtime.block_on(mallory.batch_execute("BEGIN; GRANT SELECT ON cache.xmallory TO rita")).unwrap();
    let (mut admin, aside) = (cluster.connect("flowdb"), cluster.connect("flowdb"));
    let (mut said, password) = (Vec::new(), Secret::new("zoe-Pass".into()));
    let add = async |db: &mut Client| users::add(db, "zoe", Role::Reader, &password).await;
    let work = unhindered(&mut admin, &aside, &mut said, add);
    let in_time = async { tokio::time::timeout(Duration::from_secs(60), work).await };
    cluster.runtime.block_on(in_time).expect("it ends").unwrap();
    assert_eq!(said, ["a session of mallory was ended: a transaction that it had open held this up"]);
}

/// A start of the version before this one has left a login of the owner's, and somebody may still be in as that.
#[test]
fn the_former_login_of_flowmachine_is_closed_with_its_sessions() {
    let cluster = cluster_with_people();
    cluster.set_secret("FLOWMACHINE_FLOWDB_USER", "flowmachine");
    let warnings = cluster.apply().unwrap().warnings;
    assert!(
        warnings[0].starts_with("FLOWMACHINE_FLOWDB_USER is flowmachine, as which every analyst can act"),
        "{warnings:?}"
    );
    let former = cluster.connect("flowmachine");
    cluster.runtime.block_on(former.batch_execute("CREATE TABLE cache.x1 AS SELECT 1")).unwrap();
    cluster.set_secret("FLOWMACHINE_FLOWDB_USER", FLOWMACHINE);
    assert_eq!(cluster.apply().unwrap().warnings, [""; 0]);
    assert!(cluster.runtime.block_on(former.batch_execute("SELECT 1")).is_err());
    cluster.run(FLOWMACHINE, "INSERT INTO cache.x1 VALUES (2); DROP TABLE cache.x1").unwrap();
}

/// Nobody who only reads has a place to write.
#[test]
fn a_reader_makes_no_large_objects() {
    let cluster = cluster_with_people();
    for call in ["lo_create(0)", "lo_creat(-1)", "lo_from_bytea(0, 'x')", "lo_import('/etc/passwd')"] {
        let refused = run(&cluster, "rita", &format!("SELECT {call}")).expect_err(call);
        assert!(refused.starts_with("permission denied for function lo_"), "{call}: {refused}");
    }
}

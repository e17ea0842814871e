//! Logins of people.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use flowkit::flowdb::Error;
use flowkit::flowdb::users::{self, Role, User};
use flowkit_core::secrets::Secret;
use tokio_postgres::Client;

use crate::support::flowdb::{Cluster, FLOWMACHINE};

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

    let alice = cluster.log_in("alice", "alice-Pass").unwrap();
    // What FlowMachine does when it stores a query.
    let store = "BEGIN; CREATE TABLE cache.x1 AS SELECT msisdn FROM events.calls; ALTER TABLE cache.x1 OWNER TO flowmachine;
        CREATE INDEX ON cache.x1 (msisdn) WITH (fillfactor = 100); ANALYZE cache.x1;
        INSERT INTO cache.cached (query_id, created, access_count, compute_time, cache_score_multiplier, class, schema, tablename)
            VALUES ('x1', now(), 0, 5, 0, 'X', 'cache', 'x1');
        SELECT touch_cache('x1'); COMMIT";
    run(&alice, store).unwrap();
    assert_eq!(cluster.value("flowdb", "SELECT tableowner FROM pg_tables WHERE tablename = 'x1'"), "flowmachine");
    cluster.run("flowapi", "SELECT FROM cache.x1").unwrap();
    let rita = cluster.log_in("rita", "rita-Pass").unwrap();
    run(&rita, "SELECT FROM cache.x1").unwrap();
    assert!(run(&rita, "SELECT FROM events.calls").is_err());
    assert!(run(&rita, "SET ROLE flowapi").is_err(), "a member could change FlowAPI's password");
    // What she makes there by hand is FlowMachine's to remove, as what it makes itself.
    run(
        &alice,
        "CREATE TABLE cache.by_hand (a int); SELECT 1 AS a INTO cache.selected; CREATE TABLE cache.made AS SELECT 1",
    )
    .unwrap();
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename IN ('by_hand', 'selected', 'made')";
    assert_eq!(cluster.ask("flowdb", owners), [["flowmachine"]]);
    cluster.run(FLOWMACHINE, "DROP TABLE cache.by_hand, cache.selected, cache.made").unwrap();
    run(&alice, "CREATE SCHEMA alice; CREATE TABLE alice.notes AS SELECT 1").unwrap();

    let again = cluster.runtime.block_on(users::add(&mut admin, "alice", Role::Reader, &secret("x"))).unwrap_err();
    assert_eq!(
        again.to_string(),
        "there is a database user alice already; `flowkit db user passwd alice` changes its password"
    );
    cluster.runtime.block_on(users::passwd(&mut admin, "rita", &secret("rita's \"new\" Pass"))).unwrap();
    assert!(cluster.log_in("rita", "rita-Pass").is_err());
    cluster.log_in("rita", "rita's \"new\" Pass").unwrap();

    for ours in ["flowmachine", FLOWMACHINE, "flowapi", "flowdb", "flowkit_reader", "nobody_there"] {
        let refused = cluster.runtime.block_on(users::remove(&mut admin, ours)).unwrap_err();
        assert!(matches!(refused, Error::User(_)), "{ours}: {refused}");
    }
    cluster.runtime.block_on(users::remove(&mut admin, "alice")).unwrap();
    assert!(run(&alice, "SELECT 1").is_err(), "the connection of a removed user stays open");
    assert!(cluster.log_in("alice", "alice-Pass").is_err());
    cluster.run("flowapi", "SELECT FROM cache.x1").unwrap();
    let owner = cluster.value("flowdb", "SELECT tableowner FROM pg_tables WHERE tablename = 'notes'");
    assert_eq!(owner, "flowkit_departed");
    assert_eq!(cluster.runtime.block_on(users::list(&admin)).unwrap().len(), 1);
    cluster.apply().unwrap();
}

/// The command as somebody types it: status, stdout, stderr.
fn db_user(cluster: &Cluster, args: &[&str], stdin: &str) -> (i32, String, String) {
    let mut child = Command::new(crate::support::programs::flowkit())
        .args(["db", "user"])
        .args(args)
        .arg("--dir")
        .arg(cluster.site.state.root())
        .env_clear()
        .env("FLOWDB_PORT", cluster.site.settings.port("FLOWDB_PORT").to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments ends without reading.
    if let Err(why) = child.stdin.take().unwrap().write_all(stdin.as_bytes()) {
        assert_eq!(why.kind(), ErrorKind::BrokenPipe, "{why}");
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_adds_lists_changes_and_removes() {
    let cluster = Cluster::started();
    let port = cluster.site.settings.port("FLOWDB_PORT");
    let said = |text: &str| (0, String::new(), text.to_owned());
    let mistake = |text: &str| (2, String::new(), text.to_owned());

    assert_eq!(db_user(&cluster, &["list"], ""), said("there are no users yet; `flowkit db user add` makes one\n"));
    let file = cluster.site.state.root().join("alice.password");
    let file = file.to_str().unwrap();
    let generate = ["add", "alice", "--role", "analyst", "--password-file", file];
    let added = format!("added alice; it connects to database flowdb at localhost port {port}\n");
    assert_eq!(db_user(&cluster, &generate, ""), said(&added));
    let password = fs::read_to_string(file).unwrap().trim_end().to_owned();
    assert!(password.len() >= 22, "128 bits take 22 letters and digits");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    cluster.log_in("alice", &password).unwrap();
    let (status, _, why) = db_user(&cluster, &generate, "");
    assert!(status == 2 && why.contains("there is a database user alice already"), "{why}");
    assert_eq!(fs::read_to_string(file).unwrap().trim_end(), password, "an existing file is kept");
    let not_there = [file, "-2"].concat();
    let failing = ["passwd", "nobody_there", "--password-file", &not_there];
    assert_eq!(db_user(&cluster, &failing, "").0, 2);
    assert!(!std::path::Path::new(&not_there).exists(), "a password that nobody has is left behind");
    assert_eq!(db_user(&cluster, &["passwd", "alice", "--password-file", file], "").0, 0);
    cluster.log_in("alice", &password).unwrap();

    let (status, ..) = db_user(&cluster, &["add", "rita", "--role", "reader"], "rita-Pass\n");
    assert_eq!(status, 0);
    cluster.log_in("rita", "rita-Pass").unwrap();
    // How many connections there are is a matter of moments: those of above are closed, or nearly.
    let (_, table, _) = db_user(&cluster, &["list"], "");
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(words, [["NAME", "ROLE"], ["alice", "analyst"], ["rita", "reader"]]);
    let (_, json, _) = db_user(&cluster, &["list", "--format", "json"], "");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["name"], &json[1]["role"]), (&"alice".into(), &"reader".into()));
    assert!(json[0]["connections"].is_u64());

    assert_eq!(db_user(&cluster, &["passwd", "rita"], "another\n"), said("changed the password of rita\n"));
    cluster.log_in("rita", "another").unwrap();
    assert_eq!(db_user(&cluster, &["remove", "rita"], ""), said("removed rita\n"));
    assert_eq!(
        db_user(&cluster, &["remove", "rita"], ""),
        mistake("flowkit: there is no user rita; `flowkit db user list` shows those there are\n")
    );
    assert_eq!(
        db_user(&cluster, &["add", "bob", "--role", "reader"], "two words\n"),
        mistake(
            "flowkit: the password has a space in it; choose another: FlowMachine can't log in with one that has\n"
        )
    );
    assert_eq!(
        db_user(&cluster, &["add", "bob", "--role", "reader"], "\n"),
        mistake("flowkit: the password is empty; type it, pipe it in, or use --password-file\n")
    );
    assert_eq!(
        db_user(&cluster, &["add", "bob", "--role", "reader", "--password-file", "/dev/zero"], ""),
        mistake("flowkit: the password has more than 1024 bytes; give one that can be typed\n")
    );
    assert_eq!(
        db_user(&cluster, &["add", "Bob", "--role", "reader"], "x"),
        mistake(
            "flowkit: this is no name for a user: \"Bob\" (NAME); use up to 63 lower-case letters, digits and underscores, a letter first\n"
        )
    );
}

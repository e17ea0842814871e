//! `flowkit auth`, as an administrator and a program use it, with a FlowAuth over SQLite.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::poll;
use crate::support::ports::free_port;
use crate::support::programs::{flowauth, flowkit};

const PATIENCE: Duration = Duration::from_secs(120);

struct Sandbox {
    root: TempDir,
    server: Child,
    port: u16,
}

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    fn refused(self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(says), "{}", self.stderr);
    }
}

impl Sandbox {
    fn new() -> Sandbox {
        let root = tempfile::Builder::new().prefix("fk").tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (state, port) = (root.path().join("state"), free_port());
        let secrets = state.join("secrets");
        let mut init = Command::new(flowkit());
        init.env_clear().args(["secrets", "init", "--role", "flowauth", "--role", "flowapi", "--dir"]).arg(&secrets);
        assert!(init.output().unwrap().status.success());
        fs::write(secrets.join("DB_URI"), format!("sqlite:///{}", root.path().join("flowauth.sqlite").display()))
            .unwrap();
        let settings =
            format!("FLOWKIT_FLOWAUTH_PORT = {port}\nFLOWKIT_FLOWAUTH_SERVER = \"{}\"\n", flowauth().display());
        fs::write(state.join("flowkit.toml"), settings).unwrap();
        let mut server = Command::new(flowauth());
        server.env_clear().env("CREDENTIALS_DIRECTORY", &secrets).env("FLOWKIT_FLOWAUTH_PORT", port.to_string());
        let log = fs::File::create(root.path().join("log")).unwrap();
        let mut server = server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        poll::until(PATIENCE, "FlowAuth listens", || {
            let said = || fs::read_to_string(root.path().join("log")).unwrap();
            assert!(server.try_wait().unwrap().is_none(), "{}", said());
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop)
        });
        Sandbox { root, server, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new(flowkit());
        command.env_clear().current_dir(self.root.path()).args(args).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// `flowkit auth …` with the key in a file.
    fn auth(&self, key: &str, args: &str) -> Outcome {
        self.run(&[&["auth", "--dir", "state", "--key-file", key], &*args.split(' ').collect::<Vec<_>>()].concat())
    }

    fn list(&self, key: &str, args: &str) -> Value {
        serde_json::from_str(&self.auth(key, &format!("{args} --format json")).ok()).unwrap()
    }

    fn document(&self, scopes: &[&str]) {
        let token = json!({ "x-audience": "there", "x-security-scopes": scopes });
        let document = json!({ "components": { "securitySchemes": { "token": token } } });
        fs::write(self.path("openapi.json"), document.to_string()).unwrap();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn from_the_first_key_to_a_machines_token() {
    let sandbox = Sandbox::new();
    let at = format!("https://127.0.0.1:{}", sandbox.port);
    let elsewhere = ["auth", "--dir", "state", "--url", &at, "key", "first"];
    sandbox.run(&elsewhere).refused(2, "a first key is made where FlowAuth runs");
    sandbox.run(&["auth", "--dir", "state", "key", "first", "--out", "k"]).ok();
    assert_eq!(fs::metadata(sandbox.path("k")).unwrap().permissions().mode() & 0o777, 0o600);

    sandbox.document(&["run", "get_result", "admin3:flows:flows", "admin2:flows:flows"]);
    assert_eq!(sandbox.auth("k", "server import openapi.json").ok(), "there is new, with 4 scopes\n");
    assert_eq!(sandbox.auth("k", "server import openapi.json").ok(), "there: nothing changes\n");
    let role = "role create analyst --scope run,get_result --scope admin3:*:* --lifetime 2h";
    sandbox.auth("k", role).ok();
    sandbox.auth("k", "role create analyst --scope nothing:*").refused(2, "has no such scope: \"nothing:*\"");
    sandbox.document(&["run", "get_result", "admin2:flows:flows", "admin1:flows:flows"]);
    let changes = "new   admin1:flows:flows\ngone  admin3:flows:flows, which stays in analyst\n";
    for how in ["--dry-run openapi.json", "openapi.json"] {
        assert_eq!(sandbox.auth("k", &format!("server import {how}")).ok(), changes);
    }

    let link = sandbox.auth("k", "user create ann --role analyst").ok();
    assert!(link.starts_with(&format!("{at}/invitation/")), "{link}");
    // Whom a provider may take over is never given a link.
    assert_eq!(sandbox.auth("k", "user create bea --by-provider").ok(), "");
    sandbox.auth("k", "user create nightly --machine").ok();
    sandbox.auth("k", "role grant analyst nightly").ok();
    sandbox.auth("k", "key make nightly --out m").ok();
    sandbox.auth("k", "key make ann").refused(1, "is a person");
    sandbox.auth("m", "token mint report --role analyst=run,get_result --lifetime 30m --out t").ok();
    let first = fs::read_to_string(sandbox.path("t")).unwrap();
    let shown = sandbox.run(&["token", "show", "t", "--dir", "state", "--audience", "there", "--format", "json"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["user"], &shown["roles"][0]["scopes"]), (&json!("nightly"), &json!(["get_result", "run"])));
    sandbox.auth("m", "token renew report --out t").ok();
    assert_ne!(fs::read_to_string(sandbox.path("t")).unwrap(), first);
    sandbox.auth("m", "token revoke report").ok();
    sandbox.auth("m", "token revoke 4711").refused(1, "hint: `flowkit auth token list` shows your own");
    sandbox.auth("k", "token revoke 4711 --all").refused(1, "hint: `flowkit auth token list --all`");
    let tokens = sandbox.list("m", "token list");
    let revoked: Vec<bool> = tokens.as_array().unwrap().iter().map(|token| token["revoked"].is_string()).collect();
    assert_eq!(revoked.iter().filter(|revoked| **revoked).count(), 1, "{tokens}");
    assert!(revoked.len() == 2 && !tokens.to_string().contains("eyJ"), "{tokens}");
    // What a key may not, it may not by these commands.
    sandbox.auth("m", "user list").refused(1, "(403)");
    let keys = sandbox.list("k", "key list");
    let keys = keys.as_array().unwrap();
    assert!(keys.iter().any(|key| key["username"] == "nightly" && key["last_used"].is_string()), "{keys:?}");
    sandbox.auth("k", "user disable nightly").ok();
    sandbox.auth("m", "token list").refused(1, "(401)");
    assert_eq!(sandbox.list("k", "role list")[0]["users"].as_array().unwrap().len(), 2);
    let table = sandbox.auth("k", "user list").ok();
    assert!(table.contains("nightly  machine") && table.contains("ann      person"), "{table}");

    // Elsewhere, it is known by its certificate; a key is shown to nobody else.
    let elsewhere = |certificate: &str| {
        let (key, certificate) = (["--key-file", "k"], ["--certificate", certificate]);
        sandbox.run(&[&["auth", "server", "list", "--url", &at], &key[..], &certificate[..]].concat())
    };
    assert!(elsewhere("state/secrets/cert-flowauth.pem").ok().contains("there"));
    elsewhere("state/secrets/cert-flowkit.pem").refused(1, "does not answer");
    fs::set_permissions(sandbox.path("k"), fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.auth("k", "user list").refused(2, "everybody may read");
    sandbox.auth("t", "user list").refused(2, "no key of FlowAuth's");
}

/// The running FlowAuth has what was imported, and nothing of what was not.
#[test]
fn a_database_of_upstreams_is_imported_beside_the_running_server() {
    const MAKE: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""
CREATE TABLE "user" (id INTEGER PRIMARY KEY, username VARCHAR(75), _password TEXT, is_admin BOOLEAN, require_two_factor BOOLEAN);
CREATE TABLE two_factor_auth (user_id INTEGER PRIMARY KEY, enabled BOOLEAN, _secret_key TEXT);
CREATE TABLE two_factor_backup (id INTEGER PRIMARY KEY, auth_id INTEGER, _backup_code TEXT);
CREATE TABLE server (id INTEGER PRIMARY KEY, name VARCHAR(75), latest_token_expiry DATETIME, longest_token_life_minutes INTEGER);
CREATE TABLE role (id INTEGER PRIMARY KEY, name VARCHAR(75), server_id INTEGER, latest_token_expiry DATETIME, longest_token_life_minutes INTEGER);
CREATE TABLE scope (id INTEGER PRIMARY KEY, name VARCHAR(512), enabled BOOLEAN, server_id INTEGER);
CREATE TABLE scopes_in_role (scope_id INTEGER, role_id INTEGER);
CREATE TABLE users_with_roles (user_id INTEGER, role_id INTEGER);
CREATE TABLE token_history (id INTEGER PRIMARY KEY, name VARCHAR(75), _token TEXT, expiry DATETIME, user_id INTEGER, server_id INTEGER);
CREATE TABLE alembic_version (version_num VARCHAR(32));
INSERT INTO alembic_version VALUES ('976c731ff30f');
INSERT INTO "user" VALUES (7, 'ann', '$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', 1, 0);
INSERT INTO server VALUES (3, 'there', '2030-01-01 00:00:00.000000', 60);
INSERT INTO scope VALUES (5, 'run', 1, 3);
INSERT INTO role VALUES (2, 'analyst', 3, '2029-01-01 00:00:00.000000', 30);
INSERT INTO scopes_in_role VALUES (5, 2);
INSERT INTO users_with_roles VALUES (7, 2);
""")
"#;
    let sandbox = Sandbox::new();
    sandbox.run(&["auth", "--dir", "state", "key", "first", "--out", "k"]).ok();
    let mut python = Command::new(crate::support::flowapi::python());
    assert!(python.args(["-I", "-c", MAKE]).arg(sandbox.path("theirs.sqlite")).status().unwrap().success());
    let import = |args: &[&str]| sandbox.run(&[&["auth", "import", "--dir", "state"], args].concat());
    let counted = "1 users (0 with a second factor), 1 servers with 1 scopes and 1 roles, 0 tokens\n";
    assert_eq!(import(&["theirs.sqlite", "--dry-run"]).ok(), format!("would be imported: {counted}"));
    assert_eq!(sandbox.list("k", "server list"), json!([]));
    let by_stdin = fs::File::open(sandbox.path("theirs.sqlite")).unwrap();
    let mut command = Command::new(flowkit());
    command
        .env_clear()
        .current_dir(sandbox.root.path())
        .args(["auth", "import", "--dir", "state", "-"])
        .stdin(by_stdin);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("imported: {counted}"), "{output:?}");
    let roles = sandbox.list("k", "role list");
    assert_eq!((&roles[0]["name"], &roles[0]["longest_token_life_minutes"]), (&json!("analyst"), &json!(30)));
    import(&["theirs.sqlite"]).refused(1, "nothing is imported: there is a server \"there\" here already");
    import(&["nowhere.sqlite"]).refused(2, "can't be read");
    import(&["openapi.json"]).refused(2, "can't be read");
    fs::write(sandbox.path("text"), "no database").unwrap();
    import(&["text"]).refused(1, "nothing is imported");
    import(&["mysql://u:{}@h/d"]).refused(2, "\"mysql\"");
    schemathesis_finds_no_answer_that_the_document_does_not_have(&sandbox);
}

/// With an administrator's key, and things that are there in most of the paths.
fn schemathesis_finds_no_answer_that_the_document_does_not_have(sandbox: &Sandbox) {
    let known = ["id", "key", "server", "user"].map(|name| {
        let bound = format!("[parameters.\"path.{name}\"]\ndictionary = \"{name}\"\nprobability = 0.7\n");
        format!("[dictionaries.{name}]\nvalues = [\"1\", \"2\"]\n{bound}")
    });
    fs::write(sandbox.path("schemathesis.toml"), known.concat()).unwrap();
    let key = fs::read_to_string(sandbox.path("k")).unwrap();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let mut python = Command::new(crate::support::flowapi::python());
    python.env_clear().current_dir(sandbox.root.path()).stdin(Stdio::null()).args(["-I", "-m", "schemathesis.cli"]);
    python.args(["--config-file", "schemathesis.toml", "run", "--tls-verify", "state/secrets/cert-flowauth.pem"]);
    python.arg(format!("https://localhost:{}/openapi.json", sandbox.port));
    python.args(["--checks", checks, "--no-color", "--suppress-health-check", "all", "--no-shrink"]);
    python.args(["--generation-deterministic", "--max-examples", "8", "--max-time", "12", "--request-timeout", "60"]);
    let output = python.args(["--header", &format!("Authorization: Bearer {}", key.trim())]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

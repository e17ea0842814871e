//! An upstream FlowAuth's database, made as the contract has its schema, taken over.

use std::time::{Duration, SystemTime};

use access::Wish;
use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use flowauth::codes;
use flowauth::import::{Error, Source, import};
use flowauth::passwords::Passwords;
use flowauth::store::{Address, now, users};
use flowauth::vault::Vault;
use flowkit_core::secrets::Secret;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use crate::rig::{PASSWORD, Rig, fernet, keys, verifier};
use crate::{on_both, open};

on_both!(all_of_it_is_taken_over_or_nothing, a_token_of_an_older_version_goes_with_its_role);

/// Of April 2026, with what else the two databases write differently.
const SCHEMA: &str = r#"
CREATE TABLE "user" (id {id}, username VARCHAR(75) NOT NULL UNIQUE, _password TEXT NOT NULL, is_admin BOOLEAN, require_two_factor BOOLEAN);
CREATE TABLE two_factor_auth (user_id INTEGER PRIMARY KEY REFERENCES "user" (id), enabled BOOLEAN NOT NULL, _secret_key TEXT NOT NULL);
CREATE TABLE two_factor_backup (id {id}, auth_id INTEGER NOT NULL REFERENCES two_factor_auth (user_id), _backup_code TEXT);
CREATE TABLE server (id {id}, name VARCHAR(75) NOT NULL UNIQUE, latest_token_expiry {time}, longest_token_life_minutes INTEGER NOT NULL);
CREATE TABLE role (id {id}, name VARCHAR(75) NOT NULL, server_id INTEGER REFERENCES server (id), latest_token_expiry {time},
    longest_token_life_minutes INTEGER NOT NULL, UNIQUE (name, server_id));
CREATE TABLE scope (id {id}, name VARCHAR(512), enabled BOOLEAN, server_id INTEGER REFERENCES server (id), UNIQUE (name, server_id));
CREATE TABLE scopes_in_role (scope_id INTEGER REFERENCES scope (id), role_id INTEGER REFERENCES role (id), PRIMARY KEY (scope_id, role_id));
CREATE TABLE users_with_roles (user_id INTEGER REFERENCES "user" (id), role_id INTEGER REFERENCES role (id), PRIMARY KEY (user_id, role_id));
CREATE TABLE token_history (id {id}, name VARCHAR(75) NOT NULL, _token TEXT NOT NULL, expiry {time} NOT NULL,
    user_id INTEGER NOT NULL REFERENCES "user" (id), server_id INTEGER NOT NULL REFERENCES server (id));
CREATE TABLE tokens_with_roles (token_id INTEGER REFERENCES token_history (id), role_id INTEGER REFERENCES role (id), PRIMARY KEY (token_id, role_id));
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
INSERT INTO alembic_version VALUES ('c1d4e7b9a2f3');
INSERT INTO "user" (username, _password, is_admin, require_two_factor) VALUES
    ('ann', '{hash}', true, false), ('root', '{hash}', true, true), ('bob', '{hash}', NULL, true);
INSERT INTO two_factor_auth VALUES (1, true, '{secret}'), (3, false, '{secret}');
INSERT INTO two_factor_backup (auth_id, _backup_code) VALUES (1, '{one}'), (1, '{two}');
INSERT INTO server (name, latest_token_expiry, longest_token_life_minutes) VALUES ('there', NULL, 1440), ('empty', '2030-01-01 00:00:00.250000', 10);
INSERT INTO scope (name, enabled, server_id) VALUES ('run', true, 1), ('get_result', false, 1), (NULL, true, 1), ('run', true, 2);
INSERT INTO role (name, server_id, latest_token_expiry, longest_token_life_minutes) VALUES
    ('analyst', 1, '2030-01-01 12:00:00', 60), ('analyst', 2, NULL, 5), ('nowhere', NULL, NULL, 5);
INSERT INTO scopes_in_role VALUES (1, 1), (2, 1), (4, 2);
INSERT INTO users_with_roles VALUES (1, 1), (2, 1), (3, 2);
INSERT INTO token_history (name, _token, expiry, user_id, server_id) VALUES
    ('mine', '{token}', '2026-01-01 00:00:00.5', 1, 1), ('Example token', '{sentence}', '2026-01-01 00:00:00', 2, 1);
INSERT INTO tokens_with_roles VALUES (1, 1);
"#;

const TOTP: &str = "GEZDGNBVGY3TQOJQ";

/// A second database beside the one of the test.
async fn beside(address: &Address) -> Source {
    match address {
        Address::File(path) => {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            Source::File(path.with_file_name("up stream?.sqlite"))
        }
        Address::Server(uri) => {
            let (server, name) = uri.expose().rsplit_once('/').unwrap();
            let store = open(address).await;
            let create = format!("CREATE DATABASE upstream_{name}");
            sqlx::query(AssertSqlSafe(create)).execute(&mut *store.read().await.unwrap()).await.unwrap();
            let uri = format!("{}/upstream_{name}", server.replace("postgres://", "postgresql://"));
            Source::Server(Address::parse("it", &uri, ("", None)).unwrap())
        }
    }
}

async fn connect(source: &Source) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let uri = match source {
        Source::File(path) => {
            std::fs::File::options().append(true).create(true).open(path).unwrap();
            format!("sqlite://{}", path.display().to_string().replace(' ', "%20").replace('?', "%3F"))
        }
        Source::Server(Address::Server(uri)) => uri.expose().to_owned(),
        Source::Server(Address::File(_)) => unreachable!("a server"),
    };
    AnyConnection::connect(&uri).await.unwrap()
}

async fn execute(source: &Source, text: &str) {
    let mut db = connect(source).await;
    sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

/// As upstream's library hashes: argon2-cffi's defaults.
fn theirs_of(password: &str) -> String {
    let params = Params::new(64 << 10, 3, 4, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password.as_bytes()).unwrap().to_string()
}

async fn upstream(source: &Source, key: &Secret) -> String {
    let vault = Vault::new(key, &[]).unwrap();
    let passwords = Passwords::default();
    let wish = Wish {
        user: "ann".to_owned(),
        audience: "there".to_owned(),
        lifetime: Duration::from_secs(3600),
        roles: vec![("analyst".to_owned(), vec!["run".to_owned()])],
        ..Wish::default()
    };
    let token = keys(&fernet(), &[]).minter.mint(&wish, SystemTime::now(), &mut rand::rng()).unwrap();
    let (id, time) = match source {
        Source::File(_) => ("INTEGER PRIMARY KEY AUTOINCREMENT", "DATETIME"),
        Source::Server(_) => ("SERIAL PRIMARY KEY", "TIMESTAMP"),
    };
    let mut text = SCHEMA.replace("{id}", id).replace("{time}", time);
    for (name, value) in [
        ("{hash}", theirs_of(PASSWORD)),
        ("{secret}", vault.seal(TOTP)),
        ("{one}", passwords.hash("aBcDeFgHi1").await.unwrap()),
        ("{two}", passwords.hash("aBcDeFgHi2").await.unwrap()),
        ("{token}", vault.seal(&token)),
        ("{sentence}", vault.seal("This is no token.")),
    ] {
        text = text.replace(name, &value);
    }
    execute(source, &text).await;
    token
}

async fn all_of_it_is_taken_over_or_nothing(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let source = beside(&address).await;
    let (theirs, ours) = (fernet(), fernet());
    let token = upstream(&source, &theirs).await;
    let (theirs, other) = (Vault::new(&theirs, &[]).unwrap(), Vault::new(&ours, &[]).unwrap());
    let vault = keys(rig.sealing(), &[]).vault;
    let nothing = async |root: &mut crate::rig::Browser| {
        assert_eq!(root.ok("GET", "/admin/users", Value::Null).await.as_array().unwrap().len(), 1);
        assert_eq!(root.ok("GET", "/admin/servers", Value::Null).await, json!([]));
    };

    let wrong = import(&rig.store, &vault, &source, &other, false).await.unwrap_err();
    assert!(matches!(&wrong, Error::Sealed(what) if what.contains("ann")), "{wrong}");
    let wrong = import(&rig.store, &other, &source, &theirs, false).await.unwrap_err();
    assert!(matches!(wrong, Error::OtherKey), "{wrong}");
    // What does not fit at the very end takes back all that was before it.
    execute(&source, "UPDATE server SET name = ' ' WHERE id = 2").await;
    let wrong = import(&rig.store, &vault, &source, &theirs, false).await.unwrap_err();
    assert!(matches!(wrong, Error::Name("server", _)), "{wrong}");
    execute(&source, "UPDATE server SET name = 'empty' WHERE id = 2").await;
    for (version, says) in [("73ea696e203d", "1.17"), ("0123456789ab", "known are"), ("", "known are")] {
        execute(&source, &format!("UPDATE alembic_version SET version_num = '{version}'")).await;
        let wrong = import(&rig.store, &vault, &source, &theirs, false).await.unwrap_err().to_string();
        assert!(wrong.contains(says), "{wrong}");
    }
    execute(&source, "UPDATE alembic_version SET version_num = 'c1d4e7b9a2f3'").await;
    let tried = import(&rig.store, &vault, &source, &theirs, true).await.unwrap();
    nothing(&mut root).await;

    let report = import(&rig.store, &vault, &source, &theirs, false).await.unwrap();
    assert_eq!(report, tried, "a trial says what it will be");
    assert_eq!((report.users, report.factors, report.servers, report.scopes), (2, 1, 2, 3));
    assert_eq!((report.roles, report.tokens, report.notes.len()), (2, 1, 3), "{:?}", report.notes);
    for what in ["\"root\" is here already", "\"nowhere\"", "\"Example token\""] {
        assert!(report.notes.iter().any(|note| note.contains(what)), "{what}: {:?}", report.notes);
    }
    let again = import(&rig.store, &vault, &source, &theirs, false).await.unwrap_err();
    assert!(matches!(&again, Error::Known(name) if name == "there"), "{again}");

    let kept =
        async |name: &str| users::named(&mut rig.store.read().await.unwrap(), name).await.unwrap().unwrap().1.unwrap();
    assert!(kept("bob").await.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"));
    // Who was an administrator there is one here, by password and code; each backup code is good once.
    let sign_in = |code: &str| json!({ "username": "ann", "password": PASSWORD, "two_factor_code": code });
    let mut ann = rig.browser();
    let code = codes::code(TOTP, now().unsigned_abs()).unwrap();
    ann.ok("POST", "/signin", sign_in(&code)).await;
    for (code, status) in [("aBcDe-FgHi2", 200), ("aBcDeFgHi2", 401), ("aBcDeFgHi1", 200), ("aBcDeFgHi3", 401)] {
        assert_eq!(rig.browser().post("/signin", sign_in(code)).await.status, status, "{code}");
    }
    let bob = rig.browser().ok("POST", "/signin", json!({ "username": "bob", "password": PASSWORD })).await;
    assert_eq!((&bob["require_two_factor_setup"], &bob["is_admin"]), (&json!(true), &json!(false)));
    assert!(!Passwords::is_old(&kept("bob").await), "a password that was told is kept as ours are");
    rig.signed_in("bob").await;
    let log = root.ok("GET", "/admin/audit?action=database.import", Value::Null).await;
    assert_eq!(log[0]["detail"]["users"], 2, "{log}");

    // The token is still theirs, to look at, renew and revoke.
    let servers = ann.ok("GET", "/tokens/servers", Value::Null).await;
    let id = servers[0]["id"].as_i64().unwrap();
    let listed = ann.ok("GET", &format!("/tokens/tokens/{id}"), Value::Null).await;
    assert_eq!((&listed[0]["token"], &listed[0]["roles"][0]["name"]), (&json!(token), &json!("analyst")));
    let renewed = ann.ok("POST", &format!("/tokens/tokens/{}/renew", listed[0]["id"]), json!({})).await;
    let read = verifier("there").verify(renewed["token"].as_str().unwrap(), SystemTime::now()).unwrap();
    assert!(read.roles[0].holds(["run", "get_result"]));
    ann.ok("POST", &format!("/tokens/tokens/{}/revoke", listed[0]["id"]), Value::Null).await;
    let roles = root.ok("GET", "/roles/", Value::Null).await;
    assert_eq!(roles[0]["latest_token_expiry"], "2030-01-01T12:00:00.000000Z");
    assert_eq!((&roles[0]["users"].as_array().unwrap().len(), &roles[1]["users"].as_array().unwrap().len()), (&2, &1));
}

/// An older version has not kept which roles a token carries; the token says it.
async fn a_token_of_an_older_version_goes_with_its_role(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (source, theirs) = (beside(&address).await, fernet());
    upstream(&source, &theirs).await;
    execute(&source, "UPDATE alembic_version SET version_num = '976c731ff30f'").await;
    let vault = keys(rig.sealing(), &[]).vault;
    let theirs = Vault::new(&theirs, &[]).unwrap();
    import(&rig.store, &vault, &source, &theirs, false).await.unwrap();
    let roles = root.ok("GET", "/roles/", Value::Null).await;
    let analyst = roles.as_array().unwrap().iter().find(|role| role["name"] == "analyst").unwrap();
    assert_eq!(root.ok("GET", "/admin/tokens", Value::Null).await.as_array().unwrap().len(), 1);
    root.ok("DELETE", &format!("/roles/{}", analyst["id"]), Value::Null).await;
    assert_eq!(root.ok("GET", "/admin/tokens", Value::Null).await, json!([]));
}

//! New values for old, and what follows them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use flowkit_core::secrets::Store;

use super::openssl;
use super::rig::Sandbox;

#[test]
fn rotation_keeps_the_oldest_value_aside_and_what_follows_is_made_again() {
    let sandbox = Sandbox::with("");
    let (old, before) = (sandbox.read("FLOWDB_POSTGRES_PASSWORD"), sandbox.files());
    let outcome = sandbox.run("rotate POSTGRES_PASSWORD SECRET_KEY").succeeded();
    assert_eq!(
        outcome.stdout,
        "replaced  FLOWDB_POSTGRES_PASSWORD\n\
         replaced  AIRFLOW_CONN_FLOWDB\n\
         replaced  SECRET_KEY\n\
         note      SECRET_KEY: everybody who is logged in to FlowAuth has to log in again\n\
         restart   flowdb, flowetl, flowauth\n"
    );
    assert_eq!(outcome.stderr, "the old values stay as NAME.previous in s until the next successful start\n");
    assert_eq!(sandbox.findings(""), []);
    assert_ne!(sandbox.read("FLOWDB_POSTGRES_PASSWORD"), old);
    assert_eq!(sandbox.read("FLOWDB_POSTGRES_PASSWORD.previous"), old);
    assert_eq!(fs::metadata(sandbox.path("FLOWDB_POSTGRES_PASSWORD.previous")).unwrap().mode() & 0o777, 0o400);

    // What the services still use is the oldest one.
    sandbox.run("rotate FLOWDB_POSTGRES_PASSWORD").succeeded();
    let store = Store::only(&sandbox.dir());
    assert_eq!(store.previous("POSTGRES_PASSWORD").unwrap().expose(), old);
    store.forget_previous(|_| true).unwrap();
    assert!(store.previous("FLOWDB_POSTGRES_PASSWORD").is_none());
    assert_eq!(sandbox.files().into_keys().collect::<Vec<_>>(), before.into_keys().collect::<Vec<_>>());
}

#[test]
fn keys_are_rotated_as_pairs() {
    let sandbox = Sandbox::with("--role flowapi --role flowauth");
    let before = sandbox.files();
    sandbox.run("rotate PRIVATE_JWT_SIGNING_KEY key-flowkit.pem").succeeded();
    assert_eq!(sandbox.findings("--role flowapi --role flowauth"), []);
    for name in ["PRIVATE_JWT_SIGNING_KEY", "PUBLIC_JWT_SIGNING_KEY", "key-flowkit.pem", "cert-flowkit.pem"] {
        assert_ne!(sandbox.read(name), before[name], "{name}");
    }
    // What the old key has signed stays good: its public half stands behind the new one.
    let public = sandbox.read("PUBLIC_JWT_SIGNING_KEY");
    assert!(
        public.len() > before["PUBLIC_JWT_SIGNING_KEY"].trim().len()
            && public.trim().ends_with(before["PUBLIC_JWT_SIGNING_KEY"].trim())
    );
    // A new certificate needs no new key.
    let key = sandbox.read("key-flowkit.pem");
    sandbox.run("rotate cert-flowkit.pem --san new.example.org").succeeded();
    assert_eq!(sandbox.read("key-flowkit.pem"), key);
    let text = openssl(&format!("x509 -in {} -noout -ext subjectAltName", sandbox.path("cert-flowkit.pem").display()));
    assert!(text.contains("DNS:new.example.org"), "{text}");
}

#[test]
fn a_stolen_signing_key_is_good_for_nothing_after_it_is_forgotten() {
    let sandbox = Sandbox::with("--role flowauth");
    sandbox.run("rotate PRIVATE_JWT_SIGNING_KEY").succeeded();
    assert_eq!(sandbox.read("PUBLIC_JWT_SIGNING_KEY").matches("BEGIN").count(), 2);
    let outcome = sandbox.run("rotate PRIVATE_JWT_SIGNING_KEY --forget-old");
    assert_eq!(sandbox.read("PUBLIC_JWT_SIGNING_KEY").matches("BEGIN").count(), 1);
    assert!(outcome.code == Some(0) && !outcome.stdout.contains("stay behind it"), "{}", outcome.stdout);
    assert_eq!(sandbox.findings("--role flowauth"), []);
    // FlowAPI would not start with a list that it has signed.
    let mut command = sandbox.command("rotate PRIVATE_JWT_SIGNING_KEY --forget-old");
    let output = command.env("FLOWKIT_FLOWAPI_REVOCATIONS", "/etc/revocations").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("take FLOWKIT_FLOWAPI_REVOCATIONS away first"), "{said}");
}

#[test]
fn what_can_not_be_rotated_is_refused_whole() {
    let sandbox = Sandbox::with("--role flowauth --role flowdb --role flowetl");
    let before = sandbox.files();
    sandbox
        .run("rotate REDIS_PASWORD FLOWAPI_FLOWDB_USER PUBLIC_JWT_SIGNING_KEY AIRFLOW_CONN_FLOWDB FLOWAUTH_FERNET_KEY SECRET_KEY")
        .failed(
            2,
            "",
            "flowkit: 5 things are wrong\n  \
             REDIS_PASWORD is not a secret; `flowkit secrets list` names all of them\n  \
             FLOWAPI_FLOWDB_USER is a name and not made by chance; write another one into its file\n  \
             PUBLIC_JWT_SIGNING_KEY follows from PRIVATE_JWT_SIGNING_KEY; flowkit secrets rotate PRIVATE_JWT_SIGNING_KEY\n  \
             AIRFLOW_CONN_FLOWDB follows from FLOWDB_POSTGRES_PASSWORD; flowkit secrets rotate FLOWDB_POSTGRES_PASSWORD\n  \
             FLOWAUTH_FERNET_KEY is needed for what it has encrypted: tokens and two-factor secrets that FlowAuth has \
             stored can not be read any more, but where `flowkit up` runs FlowAuth: there the next start seals them anew, by \
             FLOWAUTH_FERNET_KEY.previous; --lose-data does it all the same\n",
        );
    assert_eq!(sandbox.files(), before);
    sandbox.run("rotate FLOWAUTH_FERNET_KEY --lose-data").succeeded();
    assert_ne!(sandbox.read("FLOWAUTH_FERNET_KEY"), before["FLOWAUTH_FERNET_KEY"]);
    // The one of now would be nowhere, and may have sealed something.
    let between = sandbox.files();
    let outcome = sandbox.run("rotate FLOWAUTH_FERNET_KEY --lose-data");
    assert!(outcome.code == Some(2) && outcome.stderr.contains("was rotated already"), "{}", outcome.stderr);
    assert_eq!(sandbox.files(), between);
    Store::only(&sandbox.dir()).forget_previous(|_| true).unwrap();
    sandbox.run("rotate FLOWAUTH_FERNET_KEY --lose-data").succeeded();
}

#[test]
fn a_second_half_is_not_made_beside_one_of_another_pair() {
    let sandbox = Sandbox::with("--role flowauth");
    fs::remove_file(sandbox.path("PRIVATE_JWT_SIGNING_KEY")).unwrap();
    let outcome = sandbox.run("init --role flowauth");
    assert_eq!(outcome.code, Some(1));
    let line = "not   PRIVATE_JWT_SIGNING_KEY: PUBLIC_JWT_SIGNING_KEY is there and belongs to another one: put that one there, \
                or: flowkit secrets rotate PRIVATE_JWT_SIGNING_KEY\n";
    assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    sandbox.run("rotate PRIVATE_JWT_SIGNING_KEY").succeeded();
    assert_eq!(sandbox.findings("--role flowauth"), []);
}

#[test]
fn the_other_spelling_is_kept_and_rotated_in_place() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.dir()).unwrap();
    sandbox.write("FLOWAUTH_ADMIN_USERNAME", "root\n");
    sandbox.write("POSTGRES_PASSWORD", "given\n");
    sandbox.run("init --role flowauth --role flowdb").succeeded();
    assert!(!sandbox.path("FLOWAUTH_ADMIN_USER").exists() && !sandbox.path("FLOWDB_POSTGRES_PASSWORD").exists());
    assert_eq!(sandbox.findings("--role flowauth --role flowdb"), []);
    sandbox.run("rotate FLOWDB_POSTGRES_PASSWORD").succeeded();
    assert!(!sandbox.path("FLOWDB_POSTGRES_PASSWORD").exists());
    assert_ne!(sandbox.read("POSTGRES_PASSWORD"), "given\n");
    assert_eq!(sandbox.read("POSTGRES_PASSWORD.previous"), "given\n");
}

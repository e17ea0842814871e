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
    assert_eq!(
        outcome.stderr,
        "the old values stay as NAME.previous in s until `flowkit up` has started every role that uses them\n"
    );
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

/// In whatever order both are named.
#[test]
fn a_certificate_that_is_named_beside_its_key_is_of_the_new_key() {
    let sandbox = Sandbox::with("--role flowapi --role flowauth");
    for (key, certificate) in [("key-flowkit.pem", "cert-flowkit.pem"), ("key-flowauth.pem", "cert-flowauth.pem")] {
        for named in [[key, certificate], [certificate, key]] {
            let before = [key, certificate].map(|name| sandbox.read(name));
            let said = sandbox.run(&format!("rotate {} {}", named[0], named[1])).succeeded();
            let replaced: Vec<&str> = said.stdout.lines().filter_map(|line| line.strip_prefix("replaced  ")).collect();
            assert_eq!(replaced, [key, certificate], "{named:?}");
            assert!([key, certificate].map(|name| sandbox.read(name)).iter().zip(&before).all(|(new, old)| new != old));
            assert_eq!(sandbox.findings("--role flowapi --role flowauth"), []);
            let path = |name| sandbox.path(name).display().to_string();
            let of_key = openssl(&format!("pkey -in {} -pubout", path(key)));
            assert_eq!(openssl(&format!("x509 -in {} -noout -pubkey", path(certificate))), of_key, "{named:?}");
            assert!(!sandbox.files().keys().any(|name| name.ends_with(".new")), "{:?}", sandbox.files().keys());
        }
    }
    // One that is not there is made where it is named, and only there.
    for (names, made) in [("key-flowauth.pem", false), ("cert-flowauth.pem key-flowauth.pem", true)] {
        _ = fs::remove_file(sandbox.path("cert-flowauth.pem"));
        sandbox.run(&format!("rotate {names}")).succeeded();
        assert_eq!(sandbox.path("cert-flowauth.pem").exists(), made, "{names}");
    }
    assert_eq!(sandbox.findings("--role flowauth"), []);
}

#[test]
fn a_new_certificate_is_for_whom_the_one_before_was() {
    let sandbox = Sandbox::with("--role flowapi --role flowauth --san api.example.org --san 10.9.8.7");
    let names = || {
        let path = sandbox.path("cert-flowkit.pem");
        openssl(&format!("x509 -in {} -noout -ext subjectAltName", path.display()))
    };
    let said = sandbox.run("rotate cert-flowkit.pem --san new.example.org").succeeded().stdout;
    let note = "note      cert-flowkit.pem: stays for api.example.org, 10.9.8.7 as well, as the one before it was\n";
    assert!(said.contains(note), "{said}");
    // By a new key as well.
    let said = sandbox.run("rotate key-flowkit.pem").succeeded().stdout;
    assert!(said.contains("stays for new.example.org, api.example.org, 10.9.8.7 as well"), "{said}");
    for name in ["DNS:api.example.org", "DNS:new.example.org", "IP Address:10.9.8.7", "DNS:flow.api", "DNS:localhost"] {
        assert_eq!(names().matches(name).count(), 1, "{name}: {}", names());
    }
    // What is there is kept, and who asks for a name is told what gives it.
    let before = sandbox.files();
    let said =
        sandbox.run("init --role flowapi --san api.example.org --san other.example.org --san 10.0.2.2").succeeded();
    let note = "note  cert-flowkit.pem was there and is not for other.example.org, 10.0.2.2: flowkit secrets rotate \
                cert-flowkit.pem --san other.example.org --san 10.0.2.2 --dir s makes one that is\n";
    assert!(said.stdout.contains(note), "{}", said.stdout);
    assert_eq!(sandbox.files(), before);
    let said = sandbox.run("init --role flowapi --san api.example.org").succeeded();
    assert!(!said.stdout.contains("note"), "{}", said.stdout);
}

/// FlowAPI does not start with a list that no key of its has signed.
#[test]
fn an_old_public_key_goes_with_a_word_and_never_under_a_list_of_revoked_tokens() {
    let sandbox = Sandbox::with("--role flowauth");
    let blocks = || sandbox.read("PUBLIC_JWT_SIGNING_KEY").matches("BEGIN").count();
    let public = sandbox.read("PUBLIC_JWT_SIGNING_KEY");
    let with_list = || {
        let mut command = sandbox.command("rotate PRIVATE_JWT_SIGNING_KEY");
        sandbox.outcome(command.env("FLOWKIT_FLOWAPI_REVOCATIONS", "/etc/revocations"))
    };
    sandbox.write("PUBLIC_JWT_SIGNING_KEY", &public.repeat(3));
    let said = with_list().succeeded().stdout;
    assert!(blocks() == 4 && !said.contains("good no more"), "{said}");
    let before = sandbox.files();
    let refused = with_list();
    let words = "may have signed the list of revoked tokens /etc/revocations: FlowAPI refuses it then";
    assert!(refused.code == Some(2) && refused.stderr.contains(words), "{}", refused.stderr);
    assert!(refused.stderr.contains("take FLOWKIT_FLOWAPI_REVOCATIONS away first"), "{}", refused.stderr);
    assert_eq!(sandbox.files(), before);
    let said = sandbox.run("rotate PRIVATE_JWT_SIGNING_KEY").succeeded().stdout;
    let note = "PUBLIC_JWT_SIGNING_KEY: only 3 old keys stay, and the oldest is gone: tokens that it has signed are good no more";
    assert!(blocks() == 4 && said.contains(note), "{said}");
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

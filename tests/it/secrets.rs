//! `flowkit secrets`, as the operator runs it.

mod killed;
mod places;
mod rig;
mod rotation;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use flowkit_core::catalogue::{Make, catalogue};
use rig::Sandbox;

fn openssl(arguments: &str) -> String {
    let output = Command::new("openssl").args(arguments.split_whitespace()).output().expect("openssl is installed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {arguments}: {text}");
    text
}

#[test]
fn init_makes_everything_closed_to_others_and_a_second_one_keeps_it() {
    let sandbox = Sandbox::new();
    let first = sandbox.run("init").succeeded();
    let files = sandbox.files();
    let expected = catalogue().secrets().filter(|spec| !matches!(spec.make, Make::Operator(_)));
    let expected = expected.map(|spec| spec.name.clone()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(files.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expected);
    assert_eq!(first.stdout.lines().filter(|line| line.starts_with("made  ")).count(), expected.len());
    assert_eq!(fs::metadata(sandbox.dir()).unwrap().mode() & 0o7777, 0o700);
    for name in files.keys() {
        assert_eq!(fs::metadata(sandbox.path(name)).unwrap().mode() & 0o7777, 0o400, "{name}");
    }
    assert_eq!(sandbox.run("check").succeeded().stdout, "40 secrets, all is well\n");

    let second = sandbox.run("init").succeeded();
    assert!(
        !second.stdout.contains("made") && second.stderr == format!("0 made, {} kept in s\n", files.len()),
        "{}",
        second.stderr
    );
    assert_eq!(sandbox.files(), files);
}

/// FlowMachine's login had the name of a role that others can act as; who has chosen that name keeps it.
#[test]
fn a_name_that_an_earlier_version_wrote_is_replaced_and_a_persons_is_kept() {
    const NAME: &str = "FLOWMACHINE_FLOWDB_USER";
    let sandbox = Sandbox::with("--role flowmachine");
    assert_eq!(sandbox.read(NAME), "flowkit_flowmachine");
    sandbox.write(NAME, "flowmachine");
    let said = sandbox.run("init --role flowmachine").succeeded();
    assert!(said.stdout.contains(&format!("made  {NAME}\n")), "{}", said.stdout);
    assert_eq!(sandbox.read(NAME), "flowkit_flowmachine");
    for chosen in ["flowmachine\n", "another", "flowmachine2"] {
        sandbox.write(NAME, chosen);
        sandbox.run("init --role flowmachine").succeeded();
        assert_eq!(sandbox.read(NAME), chosen);
    }
}

#[test]
fn a_role_gets_what_it_needs_and_no_more() {
    let sandbox = Sandbox::with("--role flowdb --role flowmachine");
    let names = sandbox.files().into_keys().collect::<Vec<_>>().join(" ");
    assert_eq!(
        names,
        "FLOWAPI_FLOWDB_PASSWORD FLOWAPI_FLOWDB_USER FLOWDB_POSTGRES_PASSWORD FLOWMACHINE_FLOWDB_PASSWORD \
         FLOWMACHINE_FLOWDB_USER REDIS_PASSWORD"
    );
    assert_eq!(sandbox.findings("--role flowdb --role redis --role flowmachine"), []);
    // The key that FlowAPI trusts is that of a FlowAuth, here or elsewhere.
    let told = sandbox.run("init --role flowapi");
    let told = told.stdout + &told.stderr;
    assert!(
        told.contains("put PRIVATE_JWT_SIGNING_KEY or PUBLIC_JWT_SIGNING_KEY there, or add --role flowauth"),
        "{told}"
    );
    let files = Sandbox::with("--role flowapi --role flowauth").files();
    sandbox.write("PUBLIC_JWT_SIGNING_KEY", files["PUBLIC_JWT_SIGNING_KEY"].as_str());
    sandbox.run("init --role flowapi").succeeded();
    assert!(!sandbox.files().contains_key("PRIVATE_JWT_SIGNING_KEY"));
}

#[test]
fn openssl_agrees_about_keys_and_certificate() {
    let sandbox = Sandbox::with("--role flowauth --role flowapi --san api.example.org --san 10.9.8.7");
    let path = |name| sandbox.path(name).display().to_string();
    let (private, public) = (path("PRIVATE_JWT_SIGNING_KEY"), path("PUBLIC_JWT_SIGNING_KEY"));
    let text = openssl(&format!("pkey -in {private} -noout -check -text"));
    assert!(text.contains("Key is valid") && text.contains("(4096 bit, 2 primes)"), "{text}");
    assert!(sandbox.read("PRIVATE_JWT_SIGNING_KEY").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(openssl(&format!("pkey -in {private} -pubout")), sandbox.read("PUBLIC_JWT_SIGNING_KEY"));
    openssl(&format!("pkey -pubin -in {public} -noout"));

    let (key, certificate) = (path("key-flowkit.pem"), path("cert-flowkit.pem"));
    let of_key = openssl(&format!("pkey -in {key} -pubout"));
    assert_eq!(openssl(&format!("x509 -in {certificate} -noout -pubkey")), of_key);
    let trusted = format!("verify -x509_strict -purpose sslserver -CAfile {certificate}");
    for name in ["flow.api", "flowapi", "localhost", "api.example.org"] {
        openssl(&format!("{trusted} -verify_hostname {name} {certificate}"));
    }
    for address in ["127.0.0.1", "::1", "10.9.8.7"] {
        openssl(&format!("{trusted} -verify_ip {address} {certificate}"));
    }
    let day = 24 * 3600;
    openssl(&format!("x509 -in {certificate} -noout -checkend {}", 820 * day));
}

#[test]
fn derived_values_follow_their_sources_and_settings() {
    let sandbox = Sandbox::new();
    let mut init = sandbox.command("init --role flowdb --role flowetl");
    sandbox.outcome(init.env("FLOWDB_HOST", "db.example.org").env("FLOWDB_HOST_PORT", "5432")).succeeded();
    let (flowdb, flowetl) = (sandbox.read("FLOWDB_POSTGRES_PASSWORD"), sandbox.read("FLOWETL_POSTGRES_PASSWORD"));
    assert_eq!(sandbox.read("AIRFLOW_CONN_FLOWDB"), format!("postgres://flowdb:{flowdb}@db.example.org:5432/flowdb"));
    let database = format!("flowetl:{flowetl}@localhost:9001/flowetl");
    assert_eq!(sandbox.read("AIRFLOW__CORE__SQL_ALCHEMY_CONN"), format!("postgresql+psycopg2://{database}"));
    assert_eq!(sandbox.read("AIRFLOW__CELERY__RESULT_BACKEND"), format!("db+postgresql://{database}"));
    // Where a database is reached is the operator's choice, what logs in there is not.
    sandbox.write("AIRFLOW_CONN_FLOWDB", &format!("postgresql://flowdb:{flowdb}@10.0.0.9/flowdb"));
    assert_eq!(sandbox.findings("--role flowdb --role flowetl"), []);
    sandbox.write("AIRFLOW__CORE__SQL_ALCHEMY_CONN", &format!("postgresql://flowetl:{flowetl}@flowetl_db/flowetl_db"));
    let disagrees = [("AIRFLOW__CORE__SQL_ALCHEMY_CONN".to_string(), "disagrees".to_string())];
    assert_eq!(sandbox.findings("--role flowdb --role flowetl"), disagrees);
}

#[test]
fn check_tells_everything_in_one_go() {
    let sandbox = Sandbox::with("--role flowdb --role redis --role flowapi --role flowauth");
    fs::remove_file(sandbox.path("REDIS_PASSWORD")).unwrap();
    fs::create_dir(sandbox.path("REDIS_PASSWORD")).unwrap();
    fs::remove_file(sandbox.path("FLOWAUTH_DB_PASSWORD")).unwrap();
    sandbox.write("FLOWAPI_FLOWDB_PASSWORD", " \n");
    sandbox.write("FLOWAUTH_FERNET_KEY", "hunter2hunter2");
    sandbox.write("PUBLIC_JWT_SIGNING_KEY", &Sandbox::with("--role flowauth").read("PUBLIC_JWT_SIGNING_KEY"));
    sandbox.write("cert-flowkit.pem", &Sandbox::with("--role flowapi --role flowauth").read("cert-flowkit.pem"));
    sandbox.write("PRIVATE_JWT_SIGNING_KEY", &sandbox.read("PRIVATE_JWT_SIGNING_KEY").replace("MII", "MIJ"));
    fs::set_permissions(sandbox.path("SECRET_KEY"), fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.write("FLOWAUTH_ADMIN_USERNAME", "somebody");
    fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o750)).unwrap();
    sandbox.run("check --role flowdb --role redis --role flowapi --role flowauth").failed(
        1,
        "s is open to others (mode 0750); chmod 700 s\n\
         FLOWAPI_FLOWDB_PASSWORD is empty: s/FLOWAPI_FLOWDB_PASSWORD (password of FlowAPI's database user); put the right \
         value there, or: flowkit secrets rotate FLOWAPI_FLOWDB_PASSWORD --dir s\n\
         REDIS_PASSWORD is a directory, not a file: s/REDIS_PASSWORD (the one password of redis, for FlowMachine and for \
         library users alike); remove it and put a file named REDIS_PASSWORD there\n\
         FLOWAUTH_ADMIN_USER is given twice with different values: s/FLOWAUTH_ADMIN_USER and s/FLOWAUTH_ADMIN_USERNAME \
         (name of the administrator, who is made at the first start (upstream's programs spell it \
         FLOWAUTH_ADMIN_USERNAME)); keep the one that is right, under the name FLOWAUTH_ADMIN_USER\n\
         FLOWAUTH_DB_PASSWORD is missing (password of FlowAuth's own database; stands for the {} in DB_URI); make it: \
         flowkit secrets init --dir s\n\
         FLOWAUTH_FERNET_KEY is not a Fernet key, which is 32 bytes in URL-safe base64 (44 characters): \
         s/FLOWAUTH_FERNET_KEY (encrypts stored tokens and two-factor secrets; without it they are lost, so keep it with \
         the backups); put the right value there\n\
         SECRET_KEY can be read or changed by others (mode 0644): s/SECRET_KEY; chmod 400 s/SECRET_KEY\n\
         PRIVATE_JWT_SIGNING_KEY is not the PEM of an RSA private key, nor base64 of it: s/PRIVATE_JWT_SIGNING_KEY (signs \
         the tokens that FlowAPI trusts; whoever has it can make tokens for every server); put the right value there, or: \
         flowkit secrets rotate PRIVATE_JWT_SIGNING_KEY --dir s\n\
         cert-flowkit.pem does not belong to key-flowkit.pem; put the right one there, or: flowkit secrets rotate \
         cert-flowkit.pem --dir s\n",
        "9 things are wrong in s\n",
    );
}

/// As `flowkit up` makes them.
#[test]
fn without_a_role_those_are_looked_at_that_are_usual_or_have_a_secret_there() {
    const USUAL: [&str; 5] = ["flowdb", "redis", "flowmachine", "flowapi", "flowauth"];
    let sandbox = Sandbox::with(&USUAL.map(|role| format!("--role {role}")).join(" "));
    let looked_at = |outcome: &rig::Outcome| {
        let list = outcome.stderr.lines().find_map(|line| line.strip_prefix("looked for what "))?;
        let mut roles: Vec<String> =
            list.strip_suffix(" need; --role names another")?.split(", ").map(str::to_owned).collect();
        roles.sort_by_key(|role| USUAL.iter().position(|usual| usual == role));
        Some(roles)
    };
    let outcome = sandbox.run("check").succeeded();
    assert!(outcome.stdout.ends_with(" secrets, all is well\n"), "{}", outcome.stdout);
    assert_eq!(looked_at(&outcome).unwrap(), USUAL);
    sandbox.write("FLOWETL_WEBSERVER_PASSWORD", "one of FlowETL's, as an older file calls it");
    let outcome = sandbox.run("check");
    assert!(
        outcome.code == Some(1) && outcome.stdout.contains("FLOWETL_POSTGRES_PASSWORD is missing"),
        "{}",
        outcome.stdout
    );
    assert!(looked_at(&outcome).unwrap().contains(&"flowetl".to_owned()), "{}", outcome.stderr);
    assert_eq!(looked_at(&sandbox.run("check --role redis").succeeded()), None);
    let report: serde_json::Value =
        serde_json::from_str(&sandbox.run("check --format json --role redis").stdout).unwrap();
    assert_eq!(report["roles"], serde_json::json!(["redis"]));
}

#[test]
fn a_public_key_of_another_pair_is_found_also_in_base64() {
    let sandbox = Sandbox::with("--role flowauth");
    let wrapped = |text: &str| {
        use base64::Engine;
        let once = base64::engine::general_purpose::STANDARD.encode(text);
        once.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
    };
    for name in ["PUBLIC_JWT_SIGNING_KEY", "PRIVATE_JWT_SIGNING_KEY"] {
        sandbox.write(name, &wrapped(&sandbox.read(name)));
    }
    assert_eq!(sandbox.findings("--role flowauth"), []);
    sandbox.write("PUBLIC_JWT_SIGNING_KEY", &wrapped(&Sandbox::with("--role flowauth").read("PUBLIC_JWT_SIGNING_KEY")));
    sandbox.run("check --role flowauth").failed(
        1,
        "PUBLIC_JWT_SIGNING_KEY does not belong to PRIVATE_JWT_SIGNING_KEY; put the right one there, or remove it and: \
         flowkit secrets init --dir s --role flowauth\n",
        "one thing is wrong in s\n",
    );
}

#[test]
fn certificates_that_end_and_keys_of_other_forms_are_told() {
    let sandbox = Sandbox::with("--role flowapi --role flowauth");
    let path = |name| sandbox.path(name).display().to_string();
    let expired = |name: &str| vec![("cert-flowkit.pem".to_string(), name.to_string())];
    // The guide's own way: RSA, self-signed by openssl, here in all forms that openssl writes keys in.
    for (form, days, finding) in [
        ("-newkey rsa:2048", 20, expired("expires")),
        ("-newkey rsa:2048", 400, vec![]),
        ("-newkey ec -pkeyopt ec_paramgen_curve:secp521r1", 400, vec![]),
    ] {
        for name in ["key-flowkit.pem", "cert-flowkit.pem"] {
            fs::remove_file(sandbox.path(name)).unwrap();
        }
        openssl(&format!(
            "req -x509 {form} -nodes -subj /CN=flow.api -days {days} -keyout {} -out {}",
            path("key-flowkit.pem"),
            path("cert-flowkit.pem")
        ));
        for name in ["key-flowkit.pem", "cert-flowkit.pem"] {
            fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(0o400)).unwrap();
        }
        assert_eq!(sandbox.findings("--role flowapi"), finding, "{form} {days}");
        let traditional = openssl(&format!("pkey -in {} -traditional", path("key-flowkit.pem")));
        sandbox.write("key-flowkit.pem", &traditional);
        assert_eq!(sandbox.findings("--role flowapi"), finding, "{form} traditional");
    }
    // An encrypted key, and upstream's old single file.
    let encrypted = openssl(&format!("pkey -in {} -aes256 -passout pass:x", path("key-flowkit.pem")));
    let (key, certificate) = (sandbox.read("key-flowkit.pem"), sandbox.read("cert-flowkit.pem"));
    sandbox.write("key-flowkit.pem", &encrypted);
    assert_eq!(sandbox.findings("--role flowapi"), [("key-flowkit.pem".to_string(), "malformed".to_string())]);
    sandbox.write("key-flowkit.pem", &key);
    sandbox.write("cert-flowkit.pem", &format!("{key}{certificate}"));
    assert_eq!(sandbox.findings("--role flowapi"), expired("malformed"));
}

#[test]
fn the_list_says_where_each_secret_is_found() {
    let sandbox = Sandbox::with("--role redis");
    let mut list = sandbox.command("list --role flowmachine --format json");
    let list = sandbox.outcome(list.env("FLOWMACHINE_FLOWDB_PASSWORD", "from-the-environment")).succeeded();
    let rows: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    let found = rows.as_array().unwrap().iter().map(|row| (row["name"].as_str().unwrap(), row["found"].as_str()));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("FLOWMACHINE_FLOWDB_USER", Some("default")),
            ("FLOWMACHINE_FLOWDB_PASSWORD", Some("environment variable FLOWMACHINE_FLOWDB_PASSWORD")),
            ("REDIS_PASSWORD", Some("s/REDIS_PASSWORD")),
        ]
    );
    let table = sandbox.run("list --role redis").succeeded().stdout;
    let words = table.lines().map(|line| line.split_whitespace().take(4).collect::<Vec<_>>()).collect::<Vec<_>>();
    assert_eq!(words[0], ["SECRET", "ROLES", "KIND", "FOUND"]);
    assert_eq!(words[1], ["REDIS_PASSWORD", "redis,", "flowmachine", "password"]);
}

#[test]
fn no_command_prints_a_value() {
    let sandbox = Sandbox::with("");
    let values = |sandbox: &Sandbox| {
        let generated = sandbox.files().into_iter().filter(|(name, _)| {
            let name = name.trim_end_matches(".previous");
            !matches!(catalogue().secret(name).unwrap().make, Make::Fixed(_) | Make::CertificateFor(_))
        });
        // Of a PEM every line between the first and the last one.
        let lines = generated.flat_map(|(_, text)| text.lines().map(str::to_string).collect::<Vec<_>>());
        lines.filter(|line| line.len() >= 16 && !line.starts_with("-----")).collect::<Vec<_>>()
    };
    let mut seen = values(&sandbox);
    let mut outputs = Vec::new();
    let mut run = |arguments: &str| {
        let outcome = sandbox.run(arguments);
        outputs.push((arguments.to_string(), outcome.stdout + &outcome.stderr));
    };
    for arguments in
        ["init", "check", "check --format json", "list", "list --format json", "rotate REDIS_PASSWORD", "init"]
    {
        run(arguments);
    }
    seen.extend(values(&sandbox));
    // Values that are wrong are no less secret.
    for spec in catalogue().secrets() {
        let wrong = format!("wrong \u{7} value of {}", spec.name);
        sandbox.write(&spec.name, &wrong);
        seen.push(wrong);
    }
    for arguments in ["init", "check", "check --format json", "list", "rotate PRIVATE_JWT_SIGNING_KEY cert-flowkit.pem"]
    {
        run(arguments);
    }
    assert!(seen.len() > 100, "{} values", seen.len());
    for (arguments, output) in outputs {
        assert!(!output.is_empty());
        assert!(seen.iter().all(|value| !output.contains(value.as_str())), "{arguments} prints a value:\n{output}");
    }
}

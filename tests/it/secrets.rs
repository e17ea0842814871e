//! `flowkit secrets`, as the operator runs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flowkit_core::catalogue::{Make, catalogue};
use flowkit_core::secrets::Store;
use rand::RngExt;
use tempfile::TempDir;

const NOBODY: u32 = 65534;

/// A directory of its own, and the command run over it with nothing else in its environment.
struct Sandbox {
    root: TempDir,
}

/// How a command ended.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Sandbox {
    fn new() -> Sandbox {
        let root = tempfile::Builder::new().prefix("fk").tempdir().unwrap();
        // Others must be able to come by: some tests run the command as somebody else.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Sandbox { root }
    }

    fn with(arguments: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.run(&format!("init {arguments}")).succeeded();
        sandbox
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("s")
    }

    /// `flowkit secrets ...`, with `--dir` put in.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(crate::support::programs::flowkit());
        command.env_clear().current_dir("/").arg("secrets").args(arguments.split_whitespace());
        command.arg("--dir").arg(self.dir());
        command
    }

    fn run(&self, arguments: &str) -> Outcome {
        self.outcome(&mut self.command(arguments))
    }

    /// The directory's name is replaced in what was printed.
    fn outcome(&self, command: &mut Command) -> Outcome {
        let output = command.output().unwrap();
        let root = format!("{}/", self.root.path().display());
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&root, "");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// In place of what is there, as an operator would.
    fn write(&self, name: &str, text: &str) {
        _ = fs::remove_file(self.path(name));
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o400)).unwrap();
    }

    /// Every file with its content.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// Name and problem of every finding.
    fn findings(&self, arguments: &str) -> Vec<(String, String)> {
        let outcome = self.run(&format!("check --format json {arguments}"));
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
        let findings = report["findings"].as_array().unwrap().iter();
        let findings = findings.map(|finding| (text(&finding["name"]), text(&finding["problem"]))).collect::<Vec<_>>();
        assert_eq!(report["ok"], findings.is_empty());
        assert_eq!(outcome.code, Some(i32::from(!findings.is_empty())));
        findings
    }
}

impl Outcome {
    #[track_caller]
    fn succeeded(self) -> Outcome {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn failed(self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(code), stdout, stderr));
    }
}

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
    assert_eq!(sandbox.run("check").succeeded().stdout, "34 secrets, all is well\n");

    let second = sandbox.run("init").succeeded();
    assert!(!second.stdout.contains("made") && second.stderr == "0 made, 31 kept in s\n", "{}", second.stderr);
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
    // FlowAPI alone has no private key to make its public one from: that one comes from FlowAuth's deployment.
    let flowapi = sandbox.run("init --role flowapi");
    assert_eq!(flowapi.code, Some(1));
    assert!(
        flowapi.stdout.contains(
            "not   PUBLIC_JWT_SIGNING_KEY: it is made from PRIVATE_JWT_SIGNING_KEY, which is not here: put \
             PRIVATE_JWT_SIGNING_KEY or PUBLIC_JWT_SIGNING_KEY there, or add --role flowauth\n"
        ),
        "{}",
        flowapi.stdout
    );
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
    for name in ["flow.api", "localhost", "api.example.org"] {
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
         (name of the administrator, who is made or promoted at every start (upstream's programs spell it \
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
    store.forget_previous().unwrap();
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
    // A new certificate needs no new key.
    let key = sandbox.read("key-flowkit.pem");
    sandbox.run("rotate cert-flowkit.pem --san new.example.org").succeeded();
    assert_eq!(sandbox.read("key-flowkit.pem"), key);
    let text = openssl(&format!("x509 -in {} -noout -ext subjectAltName", sandbox.path("cert-flowkit.pem").display()));
    assert!(text.contains("DNS:new.example.org"), "{text}");
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
             stored can not be read any more; --lose-data does it all the same\n",
        );
    assert_eq!(sandbox.files(), before);
    sandbox.run("rotate FLOWAUTH_FERNET_KEY --lose-data").succeeded();
    assert_ne!(sandbox.read("FLOWAUTH_FERNET_KEY"), before["FLOWAUTH_FERNET_KEY"]);
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

/// Kills the command after a time below `longest`; whether it was still running.
fn killed(command: &mut Command, longest: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(rand::rng().random_range(Duration::ZERO..longest));
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_file() {
    let mut killed_midway = 0;
    for round in 0..20 {
        let sandbox = Sandbox::new();
        // With and without the key that takes most of the time, so that kills hit its making and the writing.
        let (roles, longest) = if round % 10 == 0 { ("", 800) } else { ("--role flowetl --role flowdb", 30) };
        for _ in 0..5 {
            let midway = killed(&mut sandbox.command(&format!("init {roles}")), Duration::from_millis(longest));
            killed_midway += u32::from(midway);
            if !sandbox.dir().exists() {
                continue;
            }
            let findings = sandbox.findings(roles);
            assert!(findings.iter().all(|(_, problem)| problem == "missing"), "{findings:?}");
        }
        sandbox.run(&format!("init {roles}")).succeeded();
        assert_eq!(sandbox.findings(roles), []);
        assert!(sandbox.files().keys().all(|name| !name.starts_with('.')), "{:?}", sandbox.files().keys());
    }
    assert!(killed_midway >= 10, "only {killed_midway} of the kills came before the end");
}

#[test]
fn a_kill_in_the_middle_of_a_write_leaves_no_half_file() {
    let sandbox = Sandbox::new();
    // The kernel kills whoever writes beyond a kilobyte; the private key has three.
    let script = format!(
        "ulimit -c 0; ulimit -f 2; exec {} secrets init --role flowauth --dir {}",
        crate::support::programs::flowkit().display(),
        sandbox.dir().display()
    );
    let status = Command::new("/bin/sh").args(["-c", &script]).env_clear().stdout(Stdio::null()).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGXFSZ));
    let half = fs::metadata(sandbox.path(".PRIVATE_JWT_SIGNING_KEY.new")).unwrap().len();
    assert!((512..3000).contains(&half), "{half} bytes were written");
    let findings = sandbox.findings("--role flowauth");
    let missing = |name: &str| (name.to_string(), "missing".to_string());
    assert_eq!(findings, [missing("PRIVATE_JWT_SIGNING_KEY"), missing("PUBLIC_JWT_SIGNING_KEY")]);
    sandbox.run("init --role flowauth").succeeded();
    assert_eq!(sandbox.findings("--role flowauth"), []);
    assert!(!sandbox.path(".PRIVATE_JWT_SIGNING_KEY.new").exists());
}

#[test]
fn credentials_of_systemd_may_be_readable_by_their_group() {
    let sandbox = Sandbox::with("--role redis");
    fs::set_permissions(sandbox.path("REDIS_PASSWORD"), fs::Permissions::from_mode(0o440)).unwrap();
    fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o550)).unwrap();
    let mut check = sandbox.command("check --role redis");
    sandbox.outcome(check.env("CREDENTIALS_DIRECTORY", sandbox.dir())).succeeded();
    let open = |name: &str| (name.to_string(), "open".to_string());
    assert_eq!(sandbox.findings("--role redis"), [open("."), open("REDIS_PASSWORD")]);
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
fn a_killed_rotation_is_all_or_nothing() {
    let sandbox = Sandbox::with("--role flowdb --role flowetl");
    let mut changed = 0;
    for _ in 0..30 {
        let before = sandbox.files();
        let names = "rotate FLOWDB_POSTGRES_PASSWORD FLOWETL_POSTGRES_PASSWORD FLOWETL_REDIS_PASSWORD";
        killed(&mut sandbox.command(names), Duration::from_millis(30));
        sandbox.run("init --role flowdb --role flowetl").succeeded();
        assert_eq!(sandbox.findings("--role flowdb --role flowetl"), []);
        let after = sandbox.files();
        let new = before.iter().filter(|(name, text)| after[*name] != **text).map(|(name, _)| name.as_str());
        let new = new.collect::<Vec<_>>();
        // Three passwords and the four connection strings that hold them.
        assert!(new.is_empty() || new.len() == 7, "{new:?}");
        changed += new.len() / 7;
    }
    assert!(changed < 30, "all {changed} rotations came through: the kills hit nothing");
}

#[test]
fn two_at_once_make_one_set() {
    let sandbox = Sandbox::new();
    let start = || sandbox.command("init --role flowapi --role flowauth").stdout(Stdio::null()).spawn().unwrap();
    let mut running = [start(), start(), start()];
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    assert_eq!(sandbox.findings("--role flowapi --role flowauth"), []);
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

#[test]
fn a_state_directory_or_a_file_in_place_of_the_directory_is_a_mistake() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("secrets")).unwrap();
    let told = "flowkit: s is a state directory, its secrets are in s/secrets; give --dir s/secrets\n";
    for command in ["init", "check", "list", "rotate REDIS_PASSWORD"] {
        sandbox.run(command).failed(2, "", told);
    }
    fs::remove_dir_all(sandbox.dir()).unwrap();
    let told = "flowkit: s does not exist; make it: flowkit secrets init --dir s\n";
    sandbox.run("rotate REDIS_PASSWORD").failed(2, "", told);
    fs::write(sandbox.dir(), "").unwrap();
    sandbox.run("init").failed(
        2,
        "",
        "flowkit: s is not a directory, and root follows no link there; give --dir DIR\n",
    );
}

#[test]
fn a_directory_for_other_things_is_left_alone() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.dir()).unwrap();
    fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(sandbox.path("hosts"), "").unwrap();
    let told = "flowkit: s is open to others and holds \"hosts\", which is no secret; give a directory of its own\n";
    sandbox.run("init").failed(1, "", told);
    assert_eq!(fs::metadata(sandbox.dir()).unwrap().mode() & 0o777, 0o755);
    fs::remove_file(sandbox.path("hosts")).unwrap();
    sandbox.run("init --role redis").succeeded();
    assert_eq!(fs::metadata(sandbox.dir()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    // No byte may be written to a file: what a full disk gives, but for the number of the error.
    let script = format!(
        "trap '' XFSZ; ulimit -f 0; exec {} secrets init --role redis --dir {}",
        crate::support::programs::flowkit().display(),
        sandbox.dir().display()
    );
    let outcome = sandbox.outcome(Command::new("/bin/sh").args(["-c", &script]).env_clear());
    outcome.failed(1, "", "flowkit: cannot write s/.REDIS_PASSWORD.new\n  because: File too large (os error 27)\n");
    assert_eq!(sandbox.files().len(), 0);
    sandbox.run("init --role redis").succeeded();
}

#[test]
fn files_belong_to_the_directorys_owner() {
    assert!(rustix::process::geteuid().is_root(), "this test gives files away: run it as root");
    let sandbox = Sandbox::new();
    chown(sandbox.root.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    sandbox.run("init --role redis").succeeded();
    for path in [sandbox.dir(), sandbox.path("REDIS_PASSWORD")] {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY), "{}", path.display());
    }
    // The owner can work with them; root's own file among them is told.
    let as_owner = |arguments: &str| sandbox.outcome(sandbox.command(arguments).uid(NOBODY).gid(NOBODY));
    as_owner("check --role redis").succeeded();
    as_owner("rotate REDIS_PASSWORD").succeeded();
    sandbox.write("REDIS_PASSWORD", "of-root");
    // Root looks with no more than the owner's rights.
    let found = ["owner", "unreadable"].map(|what| ("REDIS_PASSWORD".to_string(), what.to_string()));
    assert_eq!(sandbox.findings("--role redis"), found);
    as_owner("check --role redis").failed(
        1,
        "REDIS_PASSWORD belongs to user 0, the directory to user 65534: s/REDIS_PASSWORD; chown 65534 s/REDIS_PASSWORD\n\
         REDIS_PASSWORD can't be read: s/REDIS_PASSWORD: Permission denied (os error 13) (the one password of redis, for \
         FlowMachine and for library users alike); make it readable for the user that runs this\n",
        "2 things are wrong in s\n",
    );
}

#[test]
fn somebody_elses_place_is_one_clear_error() {
    assert!(rustix::process::geteuid().is_root(), "this test runs the command as somebody else: run it as root");
    let sandbox = Sandbox::new();
    sandbox.outcome(sandbox.command("init --role redis").uid(NOBODY).gid(NOBODY)).failed(
        1,
        "",
        "flowkit: cannot make s\n  because: Permission denied (os error 13)\n",
    );
}

#[test]
fn a_store_lays_out_secrets_from_wherever_they_are() {
    let sandbox = Sandbox::with("--role redis");
    let values = BTreeMap::from([("FLOWMACHINE_FLOWDB_PASSWORD", "from-the-environment")]);
    let environment = move |name: &str| values.get(name).map(std::ffi::OsString::from);
    let store = Store::with(Some(sandbox.dir()), "/nonexistent".into(), std::sync::Arc::new(environment));
    let into = sandbox.root.path().join("own");
    store.materialise(&["REDIS_PASSWORD", "FLOWMACHINE_FLOWDB_PASSWORD"], &into, None).unwrap();
    let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
    assert_eq!(read("REDIS_PASSWORD"), sandbox.read("REDIS_PASSWORD"));
    assert_eq!(read("FLOWMACHINE_FLOWDB_PASSWORD"), "from-the-environment");
    assert_eq!(fs::metadata(&into).unwrap().mode() & 0o777, 0o700);
    let error = store.materialise(&["SECRET_KEY"], Path::new("/nonexistent"), None).unwrap_err().to_string();
    assert_eq!(
        error.replace(sandbox.dir().to_str().unwrap(), "s"),
        "SECRET_KEY is missing (signs session and CSRF cookies; changing it logs everybody out); make it: flowkit secrets \
         init --dir s"
    );
}

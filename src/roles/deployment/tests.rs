//! What a role is given of a deployment.

use std::fs;
use std::sync::Arc;

use super::*;

#[test]
fn secrets_are_copied_unless_they_come_from_outside_in_one_place() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path());
    let credentials = dir.path().join("outside");
    for place in [&credentials, &state.secrets()] {
        fs::create_dir(place).unwrap();
    }
    let environment = {
        let credentials = credentials.clone();
        Arc::new(move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone().into_os_string()))
    };
    let mut deployment = Deployment::new(state.clone(), Settings::default()).running(vec!["flowmachine".to_owned()]);
    deployment.site.store = Store::with(Some(state.secrets()), dir.path().join("run-secrets"), environment);
    let put = |place: &Path, name: &str| fs::write(place.join(name), "value").unwrap();
    put(&credentials, "FLOWMACHINE_FLOWDB_PASSWORD");
    put(&credentials, "REDIS_PASSWORD");
    assert_eq!(deployment.credentials_of("flowmachine"), credentials);
    deployment.hand_out_secrets().unwrap();
    assert!(!deployment.site.state.credentials().exists(), "nothing is copied");

    fs::remove_file(credentials.join("REDIS_PASSWORD")).unwrap();
    for name in ["REDIS_PASSWORD", "FLOWDB_POSTGRES_PASSWORD"] {
        put(&deployment.site.state.secrets(), name);
    }
    deployment.hand_out_secrets().unwrap();
    let copies = deployment.credentials_of("flowmachine");
    assert_eq!(copies, deployment.site.state.credentials().join("flowmachine"));
    assert_eq!(fs::read_to_string(copies.join("REDIS_PASSWORD")).unwrap(), "value");
    assert!(!copies.join("FLOWDB_POSTGRES_PASSWORD").exists(), "another role's secret");
}

#[test]
fn the_password_in_a_connection_string_of_the_operators_is_asked_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = || {
        let mut deployment = Deployment::new(StateDir::new(dir.path()), Settings::default());
        deployment.site.store = Store::only(dir.path());
        deployment
    };
    let put =
        |name: &str| fs::write(dir.path().join(name), "postgresql://airflow:pass@db.example.org/airflow").unwrap();
    assert!(deployment().names_of_secrets("flowetl").contains(&"FLOWETL_POSTGRES_PASSWORD"));
    put("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN");
    let names = deployment().names_of_secrets("flowetl");
    assert!(!names.contains(&"FLOWETL_POSTGRES_PASSWORD") && names.contains(&"AIRFLOW__CORE__FERNET_KEY"), "{names:?}");
    put("FLOWETL_POSTGRES_PASSWORD");
    assert!(deployment().names_of_secrets("flowetl").contains(&"FLOWETL_POSTGRES_PASSWORD"), "it is there");
    // Another role's connection string is no reason, nor a certificate beside its key.
    put("AIRFLOW_CONN_FLOWDB");
    put("cert-flowkit.pem");
    assert!(deployment().names_of_secrets("flowdb").contains(&"FLOWDB_POSTGRES_PASSWORD"));
    assert!(deployment().names_of_secrets("flowapi").contains(&"key-flowkit.pem"));
}

#[test]
fn a_role_sees_its_own_settings_and_no_others() {
    let mut settings = Settings::default();
    for (name, value) in [("FLOWDB_HOST_PORT", "9100"), ("FLOWKIT_PYTHON", "/python"), ("REDIS_PORT", "6400")] {
        settings.set(name, value, Origin::Flag).unwrap();
    }
    let deployment = Deployment::new(StateDir::new("/nowhere"), settings);
    let seen = |role: &str| deployment.view_of(role).unwrap().site.settings;
    assert_eq!(seen("redis").explicit().collect::<Vec<_>>(), [("REDIS_PORT", "6400")]);
    assert_eq!(seen("flowmachine").port("FLOWDB_PORT"), 9100);
    assert_eq!(seen("flowdb").text("FLOWKIT_PYTHON"), None);
}

#[test]
fn what_other_roles_and_their_databases_take_is_kept_from_flowdb() {
    let aside = |roles: &[&str]| {
        let deployment = Deployment::new(StateDir::new("/nowhere"), Settings::default());
        let deployment = deployment.running(roles.iter().map(|role| (*role).to_owned()).collect());
        deployment.site.settings.int("FLOWKIT_FLOWDB_SET_ASIDE").unwrap()
    };
    assert_eq!(aside(&["flowdb"]), 0);
    assert_eq!(aside(&["flowdb", "redis", "flowmachine", "flowapi"]), (64 + 512 + 64) << 20);
    assert_eq!(aside(&["flowdb", "flowauth"]), (128 << 20) + postgres::tuning::small::SHARE as i64);
    // Its database is elsewhere.
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("secrets")).unwrap();
    std::fs::write(state.path().join("secrets/DB_URI"), "postgresql://flowauth:{}@db:5432/flowauth").unwrap();
    let deployment = Deployment::new(StateDir::new(state.path()), Settings::default());
    let deployment = deployment.running(vec!["flowdb".to_owned(), "flowauth".to_owned()]);
    assert_eq!(deployment.site.settings.int("FLOWKIT_FLOWDB_SET_ASIDE"), Some(128 << 20));
    let (programs, databases) = (64 + 512 + 128 + 512, postgres::tuning::small::SHARE as i64);
    assert_eq!(aside(&["flowdb", "redis", "flowmachine", "flowauth", "autoflow"]), (programs << 20) + databases);
}

#[test]
fn neighbours_that_run_together_are_reached_where_they_listen() {
    let seen = |roles: &[&str], name: &str| {
        let mut settings = Settings::default();
        for name in ["FLOWKIT_FLOWDB_LISTEN", "FLOWKIT_REDIS_LISTEN"] {
            settings.set(name, "192.0.2.2", Origin::Flag).unwrap();
        }
        let deployment = Deployment::new(StateDir::new("/nowhere"), settings);
        let deployment = deployment.running(roles.iter().map(|role| (*role).to_owned()).collect());
        deployment.view_of("flowmachine").unwrap().site.settings.text(name).unwrap().to_owned()
    };
    assert_eq!(seen(&["flowdb", "redis", "flowmachine"], "FLOWDB_HOST"), "192.0.2.2");
    assert_eq!(seen(&["flowdb", "redis", "flowmachine"], "REDIS_HOST"), "192.0.2.2");
    assert_eq!(seen(&["redis", "flowmachine"], "FLOWDB_HOST"), "localhost", "it is somewhere else");
}

#[test]
fn neighbours_that_do_without_each_other_are_introduced_where_both_run_and_speak_https() {
    let seen = |roles: &[&str], given: &[(&str, &str)], role: &str, name: &str| {
        let mut settings = Settings::default();
        given.iter().for_each(|(name, value)| settings.set(name, value, Origin::Flag).unwrap());
        let deployment = Deployment::new(StateDir::new("/nowhere"), settings);
        let deployment = deployment.running(roles.iter().map(|role| (*role).to_owned()).collect());
        deployment.view_of(role).unwrap().site.settings.text(name).map(str::to_owned)
    };
    let list =
        |roles: &[&str], given: &[(&str, &str)]| seen(roles, given, "flowapi", "FLOWKIT_FLOWAPI_REVOCATIONS_URL");
    let both = ["flowapi", "flowauth"];
    assert_eq!(list(&both, &[]).as_deref(), Some("https://127.0.0.1:9091/revocations"));
    let moved = [("FLOWKIT_FLOWAUTH_LISTEN", "::"), ("FLOWKIT_FLOWAUTH_PORT", "7000")];
    assert_eq!(list(&both, &moved).as_deref(), Some("https://[::1]:7000/revocations"));
    assert_eq!(list(&["flowapi"], &[]), None);
    assert_eq!(list(&both, &[("FLOWKIT_FLOWAUTH_PLAIN_HTTP", "true")]), None);
    let given = [("FLOWKIT_FLOWAPI_REVOCATIONS_URL", "https://auth.example.org/revocations")];
    assert_eq!(list(&both, &given).as_deref(), Some(given[0].1), "the operator's own");
    let offered = seen(&both, &[], "flowauth", "FLOWKIT_FLOWAUTH_FLOWAPI_URL");
    assert_eq!(offered.as_deref(), Some("https://127.0.0.1:9090"));
}

#[test]
fn autoflow_is_told_of_both_and_needs_no_token_where_flowauth_gives_one() {
    let with = |roles: &[&str], given: &[(&str, &str)]| {
        let mut settings = Settings::default();
        given.iter().for_each(|(name, value)| settings.set(name, value, Origin::Flag).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let deployment = Deployment::new(StateDir::new(dir.path()), settings);
        let deployment = deployment.running(roles.iter().map(|role| (*role).to_owned()).collect());
        let view = deployment.view_of("autoflow").unwrap().site.settings;
        let urls = ["FLOWAPI_URL", "FLOWKIT_AUTOFLOW_FLOWAUTH_URL"].map(|name| view.text(name).map(str::to_owned));
        (urls, deployment.names_of_secrets("autoflow").contains(&"FLOWAPI_TOKEN"))
    };
    let [flowapi, flowauth] = ["https://127.0.0.1:9090", "https://127.0.0.1:9091"].map(|url| Some(url.to_owned()));
    assert_eq!(with(&["flowapi", "flowauth", "autoflow"], &[]), ([flowapi.clone(), flowauth], false));
    assert_eq!(with(&["flowapi", "autoflow"], &[]), ([flowapi, None], true));
    let given = [("FLOWAPI_URL", "https://a:1"), ("FLOWKIT_AUTOFLOW_FLOWAUTH_URL", "https://b:2")];
    let urls = given.map(|(_, url)| Some(url.to_owned()));
    assert_eq!(with(&["flowapi", "flowauth", "autoflow"], &given), (urls, false), "the operator's own");
}

#[test]
fn what_a_unit_has_in_place_of_a_file_that_is_not_there_is_asked_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put("FLOWAPI_TOKEN", "\n");
    put("FLOWKIT_AUTOFLOW_FLOWAUTH_KEY", "flowauth_x");
    let asked = |settings: Settings| {
        let credentials = dir.path().to_owned();
        let environment = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone().into());
        let store = Store::with(None, "/nowhere".into(), std::sync::Arc::new(environment));
        Deployment::of_test(settings, store).names_of_secrets("autoflow")
    };
    assert_eq!(asked(Settings::default()), ["FLOWAPI_TOKEN", "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY"]);
    let mut settings = Settings::default();
    settings.set("FLOWKIT_AUTOFLOW_FLOWAUTH_URL", "https://b:2", Origin::Flag).unwrap();
    assert_eq!(asked(settings.clone()), ["FLOWKIT_AUTOFLOW_FLOWAUTH_KEY"]);
    // A unit has this one where somebody named a file for it: that it is empty is said when it is asked for.
    put("AUTOFLOW_DB_URI", "\n");
    assert!(asked(settings).contains(&"AUTOFLOW_DB_URI"));
}

#[test]
fn behind_a_proxy_no_certificate_is_asked_for() {
    let named = |role: &str, plain: &str| {
        let mut settings = Settings::default();
        settings.set(&format!("FLOWKIT_{}_PLAIN_HTTP", role.to_uppercase()), plain, Origin::Flag).unwrap();
        Deployment::new(StateDir::new("/nowhere"), settings).names_of_secrets(role)
    };
    for (role, pair) in
        [("flowapi", ["cert-flowkit.pem", "key-flowkit.pem"]), ("flowauth", ["cert-flowauth.pem", "key-flowauth.pem"])]
    {
        let (with, without) = (named(role, "false"), named(role, "true"));
        assert!(pair.iter().all(|name| with.contains(name) && !without.contains(name)), "{with:?} {without:?}");
    }
}

#[test]
fn components_that_run_are_given_no_more_than_at_their_start() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path());
    fs::create_dir(state.secrets()).unwrap();
    let mut settings = Settings::default();
    settings.set("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor", Origin::Flag).unwrap();
    let deployment = || {
        let mut deployment = Deployment::new(state.clone(), settings.clone());
        deployment.site.store = Store::only(&state.secrets());
        deployment
    };
    let role = catalogue().role("flowetl").unwrap();
    for secret in catalogue().secrets_of(role) {
        fs::write(state.secrets().join(&secret.name), "postgresql://flowetl:pass@localhost/flowetl").unwrap();
    }
    let flower = deployment().running(vec!["flowetl".to_owned()]).with_components(vec!["flower".to_owned()]).unwrap();
    let held = || {
        let files = fs::read_dir(state.credentials().join("flowetl")).unwrap().flatten();
        let mut names: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    flower.hand_out_secrets().unwrap();
    let before = held();
    assert!(before.contains(&"FLOWETL_CELERY_PASSWORD".to_owned()), "{before:?}");
    assert!(!before.contains(&"AIRFLOW_CONN_FLOWDB".to_owned()), "{before:?}");
    let plan = Plan { services: Vec::new(), roles: [("flowetl".to_owned(), Vec::new())].into() };
    deployment().hand_out_again(&flower.facts(&plan)).unwrap();
    assert_eq!(held(), before);
}

#[test]
fn the_bundles_program_starts_nothing_itself() {
    let of = |program: &str| carried(Some(Path::new(program))).map(|problem| problem.to_string());
    assert!(of("/srv/bundle/lib/loader").unwrap().contains("flowkit quickstart"));
    assert_eq!(of("/usr/local/bin/flowkit"), None);
    assert!(carried(None).is_none());
}

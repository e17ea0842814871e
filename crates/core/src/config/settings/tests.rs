//! Names, values and where they come from.

use super::*;
use crate::config::Pools;

fn load(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flowkit.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let env = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Settings::load(Some(&path), &env, None)
        .map_err(|problems| problems.to_string().replace(path.to_str().unwrap(), "flowkit.toml"))
}

#[test]
fn environment_beats_file_beats_default_and_a_flag_beats_all() {
    let mut settings = load(Some("FLOWDB_PORT = 5001\nREDIS_PORT = \"5002\""), &[("FLOWDB_PORT", "6001")]).unwrap();
    assert_eq!((settings.port("FLOWDB_PORT"), settings.origin("FLOWDB_PORT")), (6001, &Origin::Environment));
    assert_eq!(settings.port("REDIS_PORT"), 5002);
    assert!(matches!(settings.origin("REDIS_PORT"), Origin::File(_)));
    assert_eq!((settings.port("FLOWMACHINE_PORT"), settings.origin("FLOWMACHINE_PORT")), (5555, &Origin::Default));
    settings.set("FLOWDB_PORT", "7001", Origin::Flag).unwrap();
    assert_eq!(settings.port("FLOWDB_PORT"), 7001);
    let explicit = settings.explicit().collect::<Vec<_>>();
    assert_eq!(explicit, [("FLOWDB_PORT", "7001"), ("REDIS_PORT", "5002")]);
}

/// `REDIS_PORT` is also what Kubernetes tells of a service called `redis`.
#[test]
fn what_kubernetes_and_docker_links_set_is_named_and_ignored() {
    let file = "REDIS_PORT = 5002";
    let given = [("REDIS_PORT", "tcp://10.0.0.1:6379"), ("FLOWDB_PORT", "udp://10.0.0.2:9000")];
    let settings = load(Some(file), &given).unwrap();
    assert_eq!((settings.port("REDIS_PORT"), settings.port("FLOWDB_PORT")), (5002, 9000));
    assert_eq!(settings.warnings().len(), 2);
    assert!(settings.warnings().iter().any(|told| told.contains("REDIS_PORT is tcp://10.0.0.1:6379")), "{settings:?}");
    assert!(load(Some("REDIS_PORT = \"tcp://10.0.0.1:6379\""), &[]).is_err(), "a file says what somebody meant");
    assert!(load(None, &[("REDIS_PORT", "http")]).is_err());
}

#[test]
fn values_that_are_no_text_are_refused() {
    for value in ["/srv/\u{fffd}", "/srv/\u{feff}x", "/srv/\u{200b}"] {
        assert!(load(None, &[("FLOWKIT_FLOWDB_DATA", value)]).is_err(), "{value:?}");
    }
}

#[test]
fn the_hosts_port_of_the_guide_moves_the_port() {
    let settings = load(None, &[("FLOWDB_HOST_PORT", "9100")]).unwrap();
    assert_eq!(settings.port("FLOWDB_PORT"), 9100);
    assert_eq!(settings.origin("FLOWDB_PORT"), &Origin::Environment);
}

#[test]
fn what_a_roles_program_knows_alone_reaches_that_role_only() {
    let file = "AIRFLOW__CORE__PARALLELISM = 4\nAIRFLOW__LOGGING__LEVEL = \"x\"";
    let environment = [("AIRFLOW__CORE__PARALLELISM", "8"), ("AIRFLOW_HOME", "/elsewhere")];
    let settings = load(Some(file), &environment).unwrap();
    let of = |role: &str| {
        let seen = settings.of_role(catalogue().role(role).unwrap());
        seen.explicit().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(of("flowetl"), ["AIRFLOW__CORE__PARALLELISM=8", "AIRFLOW__LOGGING__LEVEL=x"]);
    assert_eq!(of("flowdb"), [""; 0]);
    let wrong = load(None, &[("AIRFLOW__CORE__PARALLELISM", "8\nx")]).unwrap_err();
    assert!(wrong.contains("AIRFLOW__CORE__PARALLELISM is wrong"), "{wrong}");
}

/// The file was changed since: what runs has none of it, and what does not has all.
#[test]
fn what_runs_is_as_it_was_started() {
    let file = "FLOWDB_HOST_PORT = 9200\nREDIS_PORT = 6400\nFLOWAPI_PORT = 9300\nAIRFLOW__CORE__PARALLELISM = 4";
    let started = [("REDIS_PORT", "6500"), ("FLOWAPI_PORT", "9400"), ("FLOWKIT_FLOWDB_LISTEN", "127.0.0.2")];
    let seen = |roles: &[&str]| {
        let mut settings = load(Some(file), &[]).unwrap();
        let roles: Vec<_> = roles.iter().map(|name| catalogue().role(name).unwrap()).collect();
        settings.take_started(&roles, started.into_iter(), &Origin::File("run".into())).unwrap();
        let port = |name: &str| settings.port(name);
        let airflow = settings.explicit().any(|(name, _)| name.starts_with("AIRFLOW"));
        let listen = settings.text("FLOWKIT_FLOWDB_LISTEN").unwrap().to_owned();
        (port("FLOWDB_PORT"), port("REDIS_PORT"), port("FLOWAPI_PORT"), airflow, listen)
    };
    assert_eq!(seen(&["flowdb", "redis", "flowetl"]), (9000, 6500, 9300, false, "127.0.0.2".into()));
    assert_eq!(seen(&[]), (9200, 6400, 9300, true, "127.0.0.2".into()), "what nobody gives is as it was");
}

#[test]
fn a_file_of_its_own_beats_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("FLOWDB_HOST"), "flowdb\n").unwrap();
    std::fs::write(dir.path().join("REDIS_PASSWORD"), "a secret, and none of ours").unwrap();
    std::fs::create_dir(dir.path().join("REDIS_HOST")).unwrap();
    let hosts = catalogue().settings().filter(|setting| setting.name.ends_with("_HOST"));
    let env = hosts.map(|setting| (setting.name.clone(), "elsewhere".to_string())).collect();
    let settings = Settings::load(None, &env, Some(dir.path())).unwrap();
    assert_eq!(settings.text("FLOWDB_HOST"), Some("flowdb"));
    assert_eq!(settings.origin("FLOWDB_HOST"), &Origin::File(dir.path().join("FLOWDB_HOST")));
    assert_eq!(settings.text("REDIS_HOST"), Some("elsewhere"));
    let port = dir.path().join("FLOWDB_PORT");
    std::fs::write(&port, "http").unwrap();
    assert_eq!(
        Settings::load(None, &env, Some(dir.path())).unwrap_err().to_string(),
        format!("FLOWDB_PORT is wrong: \"http\" ({}); give a port number from 1 to 65535", port.display())
    );
}

#[test]
fn an_empty_value_is_none() {
    let settings = load(None, &[("CACHE_SIZE", ""), ("FLOWMACHINE_SERVER_THREADPOOL_SIZE", "False")]).unwrap();
    assert_eq!(settings.text("CACHE_SIZE"), None);
    assert_eq!(settings.int("FLOWMACHINE_SERVER_THREADPOOL_SIZE"), Some(8));
    assert_eq!(settings.explicit().count(), 0);
}

#[test]
fn values_take_their_plain_form() {
    let given = [("CACHE_SIZE", "10GB"), ("NO_USE_JIT", "TRUE"), ("FLOWMACHINE_LOG_LEVEL", "Debug")];
    let settings = load(None, &given).unwrap();
    assert_eq!(settings.int("CACHE_SIZE"), Some(10 << 30));
    assert!(settings.flag("NO_USE_JIT"));
    assert!(!settings.flag("FLOWMACHINE_SERVER_DEBUG_MODE"));
    assert_eq!(settings.text("FLOWMACHINE_LOG_LEVEL"), Some("debug"));
}

#[test]
fn everything_wrong_is_told_at_once() {
    let file = "FLOWDB_PROT = 1\nREDIS_PASSWORD = \"x\"\nMAX_CPUS = 0\nCACHE_SIZE = [1]";
    let given = [("FLOWDB_PORT", "http"), ("POSTGRES_DB", "other"), ("CACHE_HALF_LIFE", "0")];
    assert_eq!(
        load(Some(file), &given).unwrap_err(),
        "7 things are wrong\n  \
         CACHE_SIZE is not a setting: settings are single values (flowkit.toml); write NAME = \"value\" at the top level\n  \
         FLOWDB_PROT is not a setting (flowkit.toml); did you mean FLOWDB_PORT?\n  \
         MAX_CPUS is wrong: \"0\" (flowkit.toml); give a whole number from 1 to 1024\n  \
         REDIS_PASSWORD is a secret, not a setting (flowkit.toml); put it into a file named REDIS_PASSWORD in the \
         secrets directory\n  \
         CACHE_HALF_LIFE is wrong: \"0\" (environment); give a number greater than 0\n  \
         FLOWDB_PORT is wrong: \"http\" (environment); give a port number from 1 to 65535\n  \
         POSTGRES_DB is wrong: \"other\" (environment); give flowdb, nothing else works"
    );
}

#[test]
fn a_broken_file_says_its_line_and_no_value() {
    let error = load(Some("FLOWDB_PORT = 1\nREDIS_PASSWORD = hunter2\n"), &[]).unwrap_err();
    assert!(error.starts_with("the settings file is not TOML: line 2: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_overflow_follows_pool_and_threads() {
    let pools = |given: &[(&str, &str)]| Pools::of(&load(None, given).unwrap());
    assert_eq!(pools(&[]), Pools { size: 5, overflow: 14, threads: 8 });
    assert_eq!(pools(&[("DB_CONNECTION_POOL_SIZE", "40")]).connections(), 89);
    assert_eq!(pools(&[]).warnings(), [""; 0]);
    let small = pools(&[("DB_CONNECTION_POOL_SIZE", "2"), ("DB_CONNECTION_POOL_OVERFLOW", "1")]);
    assert_eq!(
        small.warnings(),
        ["DB_CONNECTION_POOL_OVERFLOW is 1: queries that are built at the same time can block each other for ever; \
          give at least 10, or leave it out"]
    );
    assert_eq!(Pools { overflow: 10, ..small }.warnings(), [""; 0]);
}

#[test]
#[should_panic(expected = "the catalogue has no setting NONSENSE")]
fn an_unknown_name_in_the_code_is_a_bug() {
    Settings::default().text("NONSENSE");
}

proptest::proptest! {
    /// A settings file is never a crash, and what is taken has its plain form already.
    #[test]
    fn any_file_is_read_or_refused(text in "\\PC{0,200}", value in "\\PC{0,40}") {
        _ = load(Some(&text), &[]);
        for setting in catalogue().settings() {
            if let Ok(Some(plain)) = setting.check(&value) {
                proptest::prop_assert_eq!(setting.check(&plain), Ok(Some(plain.clone())));
                proptest::prop_assert!(!plain.contains('\n'));
            }
        }
    }
}

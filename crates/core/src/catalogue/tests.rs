//! The files as a whole. What a file alone must be is refused when it is parsed.

use std::collections::BTreeSet;

use super::*;

/// Every name in the tables of FlowKit's deployment guide and of upstream's programs and stack files.
const KNOWN: &str = "
    FLOWAPI_FLOWDB_USER FLOWAPI_FLOWDB_PASSWORD FLOWMACHINE_FLOWDB_USER FLOWMACHINE_FLOWDB_PASSWORD
    FLOWDB_POSTGRES_PASSWORD POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB CACHE_SIZE CACHE_PROTECTED_PERIOD
    CACHE_HALF_LIFE MAX_CPUS SHARED_BUFFERS_SIZE MAX_WORKERS MAX_WORKERS_PER_GATHER EFFECTIVE_CACHE_SIZE
    FLOWDB_ENABLE_POSTGRES_DEBUG_MODE MAX_LOCKS_PER_TRANSACTION NO_USE_JIT STATS_TARGET FLOWDB_LOG_DEST
    AUTO_CONFIG_FILE_NAME LOCATION_TABLE FLOWDB_HOST_PORT FLOWDB_HOST_USER_ID FLOWDB_HOST_GROUP_ID FLOWDB_DATA_DIR
    FLOWDB_ETL_DIR CONTAINER_TAG FLOWDB_TOTAL_MEMORY

    FLOWETL_AIRFLOW_ADMIN_USERNAME FLOWETL_AIRFLOW_ADMIN_PASSWORD FLOWETL_AIRFLOW_ADMIN_EMAIL
    FLOWETL_AIRFLOW_ADMIN_FIRSTNAME FLOWETL_AIRFLOW_ADMIN_LASTNAME FLOWETL_WEBSERVER_PASSWORD
    AIRFLOW__CORE__SQL_ALCHEMY_CONN AIRFLOW__DATABASE__SQL_ALCHEMY_CONN AIRFLOW__CORE__FERNET_KEY
    AIRFLOW__WEBSERVER__SECRET_KEY AIRFLOW_CONN_FLOWDB FLOWETL_POSTGRES_PASSWORD FLOWETL_POSTGRES_USER
    FLOWETL_REDIS_PASSWORD FLOWETL_CELERY_USER FLOWETL_CELERY_PASSWORD AIRFLOW__CELERY__RESULT_BACKEND
    AIRFLOW__CELERY__BROKER_URL AIRFLOW__CELERY__FLOWER_BASIC_AUTH_CMD AIRFLOW__CORE__EXECUTOR
    AIRFLOW__CORE__DAGS_FOLDER AIRFLOW__CORE__LOAD_EXAMPLES AIRFLOW__API__AUTH_BACKENDS AIRFLOW__WEBSERVER__RBAC
    FLOWETL_AIRFLOW_PG_POOL_SLOT_COUNT FLOWETL_PORT FLOWETL_HOST_PORT FLOWETL_HOST_USER_ID FLOWETL_HOST_GROUP_ID
    FLOWETL_HOST_DAG_DIR FLOWETL_WORKER_COUNT FLOWETL_CELERY_PORT FLOWETL_POSTGRES_PORT FLOWETL_FERNET_KEY POSTGRES_HOST

    REDIS_PASSWORD REDIS_HOST REDIS_PORT FLOWDB_HOST FLOWDB_PORT FLOWMACHINE_PORT FLOWMACHINE_SERVER_DEBUG_MODE
    FLOWMACHINE_SERVER_DISABLE_DEPENDENCY_CACHING FLOWMACHINE_CACHE_PRUNING_FREQUENCY
    FLOWMACHINE_CACHE_PRUNING_TIMEOUT FLOWMACHINE_LOG_LEVEL FLOWMACHINE_SERVER_THREADPOOL_SIZE
    DB_CONNECTION_POOL_SIZE DB_CONNECTION_POOL_OVERFLOW REDIS_HOST_PORT

    cert-flowkit.pem key-flowkit.pem PUBLIC_JWT_SIGNING_KEY FLOWAPI_IDENTIFIER FLOWMACHINE_HOST FLOWAPI_LOG_LEVEL
    FLOWAPI_PORT QUART_ENV FLOWAPI_HOST_PORT

    FLOWAUTH_ADMIN_USER FLOWAUTH_ADMIN_USERNAME FLOWAUTH_ADMIN_PASSWORD FLOWAUTH_DB_PASSWORD FLOWAUTH_FERNET_KEY
    SECRET_KEY PRIVATE_JWT_SIGNING_KEY DB_URI RESET_FLOWAUTH_DB DEMO_MODE FLOWAUTH_CACHE_BACKEND FLOWAUTH_CACHE_FILE
    FLOWAUTH_REDIS_HOST FLOWAUTH_REDIS_PORT FLOWAUTH_REDIS_PASSWORD FLOWAUTH_REDIS_DB FLOWAUTH_LOG_LEVEL
    FLOWAUTH_TWO_FACTOR_ISSUER TWO_FACTOR_VALID_WINDOW FLOWAUTH_HOST_PORT DOMAIN_NAME EMAIL_ADDRESS

    AUTOFLOW_DB_PASSWORD FLOWAPI_TOKEN AUTOFLOW_DB_URI AUTOFLOW_INPUTS_DIR AUTOFLOW_OUTPUTS_DIR AUTOFLOW_LOG_LEVEL
    FLOWAPI_URL SSL_CERTIFICATE_FILE PREFECT__USER_CONFIG_PATH PREFECT__ASCIIDOC_TEMPLATE_PATH
";

#[test]
fn every_name_of_the_guide_and_of_upstream_is_covered() {
    let all = catalogue();
    let missing = KNOWN.split_whitespace().filter(|name| all.secret(name).is_none() && all.setting(name).is_none());
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_is_not_known_elsewhere_says_that_it_is_ours() {
    let known = KNOWN.split_whitespace().collect::<BTreeSet<_>>();
    for setting in catalogue().settings() {
        let ours = setting.name.starts_with("FLOWKIT_");
        assert_eq!(setting.from == Source::Ours, ours, "{}", setting.name);
        let elsewhere =
            known.contains(setting.name.as_str()) || catalogue().roles().iter().any(|role| role.passes(&setting.name));
        assert!(ours || elsewhere, "{} is in no table of upstream's", setting.name);
    }
}

#[test]
fn no_name_is_said_twice_and_every_use_resolves() {
    let all = catalogue();
    let mut seen = BTreeSet::new();
    for name in all.secrets().flat_map(Secret::spellings).chain(all.settings().flat_map(Setting::spellings)) {
        assert!(seen.insert(name), "{name} is there twice");
    }
    for role in all.roles() {
        for used in &role.uses {
            let owner = all.owner(used).unwrap_or_else(|| panic!("{} uses {used}, which nobody owns", role.name));
            assert_ne!(owner.name, role.name, "{used} is its own");
        }
        for setting in role.secrets.iter().filter_map(|secret| secret.unless.as_ref()) {
            assert!(role.settings.iter().any(|own| own.name == *setting && own.default_text.is_none()), "{setting}");
        }
        for name in role.secrets.iter().flat_map(|secret| [&secret.with, &secret.instead]).flatten() {
            assert!(
                role.secrets.iter().any(|own| own.name == *name && own.optional),
                "{name} is no optional secret of {}",
                role.name
            );
        }
        for talk in &role.talks_to {
            let other = all.role(&talk.role).unwrap_or_else(|| panic!("{} talks to {}", role.name, talk.role));
            let owned = |name: &String| other.secrets.iter().any(|secret| secret.name == *name);
            assert!(talk.certificate.iter().all(owned), "{} knows {} by another's", role.name, talk.role);
            assert!(!talk.optional || talk.setting.is_some(), "{} can't be told of {}", role.name, talk.role);
        }
    }
}

#[test]
fn defaults_have_the_form_of_their_type() {
    for setting in catalogue().settings() {
        let name = &setting.name;
        if let Some(default) = &setting.default {
            assert_eq!(setting.check(default), Ok(Some(default.clone())), "{name}");
            assert_eq!(setting.default_text, None, "{name} has a default, and words for one");
        }
        if let Some(other) = &setting.default_from {
            assert_eq!(catalogue().setting(other).map(|other| other.r#type), Some(setting.r#type), "{name}");
        }
        assert_eq!(setting.choices.is_empty(), setting.r#type != Type::Choice, "{name}");
        assert!(
            setting.r#type != Type::Port || setting.default.is_some() || setting.scope == Scope::Deployment,
            "{name}"
        );
    }
}

#[test]
fn every_text_is_one_plain_sentence_part() {
    let all = catalogue();
    let roles = all.roles().iter().flat_map(|role| [&role.title, &role.summary, &role.needs.disk]);
    let purposes = all.secrets().map(|s| &s.purpose).chain(all.settings().map(|s| &s.purpose));
    let words = all.settings().flat_map(|s| [s.default_text.as_ref(), s.ignored.as_ref()]).flatten();
    let ports = all.roles().iter().flat_map(|role| &role.ports).map(|port| &port.protocol);
    let volumes = all.roles().iter().flat_map(|role| &role.volumes).map(|volume| &volume.purpose);
    let talks = all.roles().iter().flat_map(|role| &role.talks_to).map(|talk| &talk.why);
    for text in roles.chain(purposes).chain(words).chain(ports).chain(volumes).chain(talks) {
        assert!(!text.trim().is_empty() && text.trim() == text, "{text:?} is empty or has blanks around it");
        // The pages put these texts into tables.
        assert!(!text.ends_with('.') && !text.contains(['\n', '|']), "{text:?} does not fit into a table");
    }
}

#[test]
fn ports_and_volumes_name_settings_and_host_ports_do_not_collide() {
    let all = catalogue();
    let of_type = |name: &str, kind: Type| {
        let setting = all.setting(name).unwrap_or_else(|| panic!("there is no setting {name}"));
        assert_eq!(setting.r#type, kind, "{name}");
        setting
    };
    let mut numbers = BTreeSet::new();
    for role in all.roles() {
        for port in &role.ports {
            let number = of_type(&port.setting, Type::Port).default.as_ref().unwrap();
            assert!(numbers.insert(number), "port {number} is taken twice, the second time by {}", role.name);
            port.published.as_ref().inspect(|name| _ = of_type(name, Type::Port));
            port.listen.as_ref().inspect(|name| _ = of_type(name, Type::Address));
        }
        for volume in &role.volumes {
            volume.setting.as_ref().inspect(|name| _ = of_type(name, Type::Path));
            volume.place.as_ref().inspect(|name| assert_eq!(of_type(name, Type::Path).scope, Scope::Service));
            assert!(volume.state.is_some() || volume.setting.is_some(), "{} has no place on a host", volume.container);
        }
    }
}

#[test]
fn components_are_made_of_what_their_role_has() {
    for role in catalogue().roles() {
        let Some(apart) = &role.apart else {
            let among = |port: &Port| port.apart || port.between;
            assert!(role.components.is_empty() && !role.ports.iter().any(among), "{}", role.name);
            continue;
        };
        let own = |name: &String| role.settings.iter().any(|setting| setting.name == *name);
        assert!(own(&apart.setting) && apart.first.keys().chain(apart.others.keys()).all(own), "{}", role.name);
        assert!(role.components.iter().any(|component| component.service == role.name), "{} has no first", role.name);
        for Component { name, service, secrets, ports, volumes, talks_to, count, .. } in &role.components {
            assert!(service.starts_with(&role.name), "{name}");
            assert!(secrets.iter().all(|name| role.secrets.iter().any(|secret| secret.name == *name)), "{name}");
            assert!(ports.iter().all(|name| role.ports.iter().any(|port| port.name == *name)), "{name}");
            assert!(volumes.iter().all(|path| role.volumes.iter().any(|volume| volume.container == *path)), "{name}");
            assert!(talks_to.iter().all(|name| role.talks_to.iter().any(|talk| talk.role == *name)), "{name}");
            assert!(count.iter().all(own), "{name}");
        }
        let given = |name: &String| role.components.iter().any(|component| component.secrets.contains(name));
        let unused = role.secrets.iter().filter(|secret| !given(&secret.name)).map(|secret| &secret.name);
        assert_eq!(unused.collect::<Vec<_>>(), [""; 0], "secrets that no component of {} has", role.name);
    }
}

#[test]
fn unknown_keys_are_refused_in_every_table() {
    let file = include_str!("../../../../src/roles/flowdb.toml");
    assert!(toml::from_str::<Role>(file).is_ok());
    for table in ["", "[needs]", "[[secret]]", "[[setting]]", "[[port]]", "[[volume]]", "[[talks-to]]"] {
        let spoilt = match table {
            "" => format!("surprise = 1\n{file}"),
            "[[talks-to]]" => format!("{file}\n[[talks-to]]\nrole = \"x\"\nwhy = \"x\"\nsurprise = 1\n"),
            table => file.replacen(table, &format!("{table}\nsurprise = 1"), 1),
        };
        let error = toml::from_str::<Role>(&spoilt).unwrap_err().to_string();
        assert!(error.contains("unknown field `surprise`"), "{table}: {error}");
    }
}

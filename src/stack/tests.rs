//! The stack file, read back.

mod autoflow;
mod flowetl;
mod single;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{File, Given, Wish, inside, plan};
use flowkit_core::catalogue::{Scenario, catalogue};
use flowkit_core::config::{Origin, Settings};

fn settings(given: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    given.iter().for_each(|(name, value)| settings.set(name, value, Origin::Environment).unwrap());
    settings
}

fn given() -> Given {
    Given { tag: "9".into(), ..Given::default() }
}

fn made(given: &Given, values: &[(&str, &str)]) -> Result<File, String> {
    let wish = Wish::new(given).map_err(|problems| problems.to_string())?;
    plan(&wish, &settings(values)).map_err(|problems| problems.to_string())
}

/// Through the text and back: what Docker will see.
fn parsed(given: &Given, values: &[(&str, &str)]) -> Value {
    let text = made(given, values).unwrap().text("a comment\n\nof three lines");
    assert!(text.starts_with("# a comment\n#\n# of three lines\n\nversion: \"3.8\"\n"), "{text}");
    serde_saphyr::from_str(&text).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_complete_stack_has_every_role_that_is_built() {
    let wish = Wish::new(&given()).unwrap();
    let left_out: Vec<&str> = wish.left_out.iter().map(|role| role.name.as_str()).collect();
    let file = parsed(&given(), &[]);
    let complete = catalogue().roles().iter().filter(|role| role.scenarios.contains(&Scenario::Complete));
    let names = complete.map(|role| role.name.as_str());
    let mut built: Vec<&str> = names.filter(|name| !left_out.contains(name)).collect();
    built.sort_unstable();
    assert_eq!(keys(&file["services"]), built);
    for (name, service) in file["services"].as_object().unwrap() {
        assert_eq!(service["image"], format!("flowkit/{name}:9"));
        assert_eq!(service["user"], "1000:1000");
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]));
        assert_eq!(service["deploy"]["endpoint_mode"], "dnsrr");
        assert_eq!(service["deploy"]["update_config"]["failure_action"], "rollback");
        assert!(service["healthcheck"].get("test").is_none(), "the image has one");
    }
}

/// What the catalogue says of roles that are not built yet has to hold on the day they are.
#[test]
fn every_role_has_what_a_stack_asks_of_it() {
    let mut wish = Wish::new(&given()).unwrap();
    wish.roles = catalogue().roles().iter().collect();
    let every: Vec<(String, String)> = catalogue()
        .settings()
        .filter(|setting| setting.ignored.is_none())
        .filter_map(|setting| Some((setting.name.clone(), setting.default.clone()?)))
        .chain([("AIRFLOW__CORE__PARALLELISM".to_owned(), "4".to_owned())])
        .collect();
    let every: Vec<(&str, &str)> = every.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for given in [&[][..], &every[..]] {
        let file = plan(&wish, &settings(given)).unwrap_or_else(|problems| panic!("{problems}"));
        for role in catalogue().roles() {
            let service = &file.services[&role.name];
            for talk in &role.talks_to {
                let at = super::parts::at(talk).unwrap_or_else(|| panic!("{} can't find {}", role.name, talk.role));
                let value = &service.environment[&at.name];
                assert!(value.contains(talk.role.as_str()), "{}: {} = {value}", role.name, at.name);
                assert!(at.check(value).is_ok(), "{}: {} = {value}", role.name, at.name);
                assert!(service.networks.contains_key(&talk.role), "{} has no way to {}", role.name, talk.role);
                let read = catalogue().settings_of(role).any(|setting| setting.name == at.name);
                assert!(read, "{} talks to {} and reads no {}", role.name, talk.role, at.name);
            }
            let parallelism = service.environment.contains_key("AIRFLOW__CORE__PARALLELISM");
            assert_eq!(parallelism, role.name == "flowetl" && !given.is_empty(), "{}", role.name);
        }
        inside(&wish, &settings(given)).unwrap_or_else(|problems| panic!("{problems}"));
        wish.roles.clone().into_iter().for_each(|role| {
            wish.roles = vec![role];
            let alone = plan(&wish, &settings(given));
            assert_eq!(alone.is_err(), role.talks_to.iter().any(|talk| !talk.optional), "{} alone", role.name);
        });
        wish.roles = catalogue().roles().iter().collect();
    }
}

#[test]
fn neighbours_that_do_without_each_other_are_introduced_where_both_are() {
    let (url, certificate) = ("FLOWKIT_FLOWAPI_REVOCATIONS_URL", "cert-flowauth.pem");
    let seen = |file: &Value, service: &str, name: &str, certificate: &str| {
        let service = &file["services"][service];
        let given = service["secrets"].as_array().unwrap().iter().any(|secret| secret["target"] == certificate);
        (service["environment"][name].as_str().unwrap_or_default().to_owned(), given)
    };
    let file = parsed(&given(), &[]);
    assert_eq!(seen(&file, "flowapi", url, certificate), ("https://flowauth:9091/revocations".to_owned(), true));
    let offered = seen(&file, "flowauth", "FLOWKIT_FLOWAUTH_FLOWAPI_URL", "cert-flowkit.pem");
    assert_eq!(offered, ("https://flowapi:9090".to_owned(), true));
    let plain = parsed(&given(), &[("FLOWKIT_FLOWAUTH_PLAIN_HTTP", "true")]);
    assert_eq!(seen(&plain, "flowapi", url, certificate), (String::new(), false));
    let outside = parsed(&Given { scenario: Some(Scenario::Flowauth), ..given() }, &[]);
    assert_eq!(keys(&outside["services"]), ["flowauth"]);
    assert_eq!(seen(&outside, "flowauth", "FLOWKIT_FLOWAUTH_FLOWAPI_URL", "cert-flowkit.pem"), (String::new(), false));
}

#[test]
fn the_same_wish_gives_the_same_text() {
    let text = |values| made(&given(), values).unwrap().text("");
    assert_eq!(text(&[("CACHE_SIZE", "1GB")]), text(&[("CACHE_SIZE", "1GB")]));
    assert_ne!(text(&[("CACHE_SIZE", "1GB")]), text(&[]));
}

#[test]
fn networks_split_trust() {
    let file = parsed(&given(), &[]);
    let services = &file["services"];
    assert_eq!(keys(&services["flowmachine"]["networks"]), ["flowdb", "flowmachine", "redis"]);
    assert_eq!(keys(&services["redis"]["networks"]), ["redis", "redis-outside"]);
    assert_eq!(keys(&services["flowdb"]["networks"]), ["flowdb", "flowdb-outside"]);
    for (name, network) in file["networks"].as_object().unwrap() {
        assert_eq!(network["internal"] == true, !name.ends_with("-outside"), "{name}");
    }
    assert!(services["flowmachine"].get("ports").is_none(), "whoever reaches it can run any query");
    assert_eq!(
        services["flowdb"]["ports"],
        serde_json::json!([{ "target": 5432, "published": 9000, "protocol": "tcp", "mode": "host" }])
    );
    assert_eq!(services["flowmachine"]["environment"]["FLOWDB_HOST"], "flowdb");
    assert_eq!(services["flowmachine"]["environment"]["FLOWDB_PORT"], "5432");
    assert_eq!(services["flowmachine"]["environment"]["REDIS_HOST"], "redis");
}

#[test]
fn a_private_role_is_inside_only() {
    let given = Given { private: vec!["redis".into()], encrypted: true, ..given() };
    let file = parsed(&given, &[]);
    assert!(file["services"]["redis"].get("ports").is_none());
    assert_eq!(keys(&file["services"]["redis"]["networks"]), ["redis"]);
    assert_eq!(file["networks"]["redis"]["driver_opts"]["encrypted"], "true");
}

#[test]
fn the_guides_variables_lay_out_the_host() {
    let values = [
        ("FLOWDB_HOST_PORT", "9100"),
        ("FLOWDB_DATA_DIR", "/srv/flowdb"),
        ("FLOWDB_ETL_DIR", "/srv/etl"),
        ("FLOWDB_HOST_USER_ID", "1234"),
        ("FLOWDB_HOST_GROUP_ID", "2345"),
        ("CACHE_SIZE", "10GB"),
        ("FLOWKIT_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"),
        ("FLOWKIT_FLOWDB_LISTEN", "127.0.0.1"),
    ];
    let file = parsed(&given(), &values);
    let flowdb = &file["services"]["flowdb"];
    assert_eq!(flowdb["user"], "1234:2345");
    assert_eq!(flowdb["secrets"][0]["uid"], "1234");
    assert_eq!(flowdb["ports"][0]["published"], 9100);
    assert_eq!(flowdb["environment"]["CACHE_SIZE"], (10u64 << 30).to_string());
    for of_the_image in ["FLOWKIT_POSTGRES_BIN", "FLOWKIT_FLOWDB_LISTEN", "FLOWDB_PORT", "FLOWDB_HOST_PORT"] {
        assert!(flowdb["environment"].get(of_the_image).is_none(), "{of_the_image}");
    }
    let mounts: BTreeMap<&str, &Value> =
        flowdb["volumes"].as_array().unwrap().iter().map(|m| (m["target"].as_str().unwrap(), m)).collect();
    assert_eq!(mounts["/var/lib/postgresql/data"]["source"], "/srv/flowdb");
    assert_eq!(mounts["/var/lib/postgresql/data"]["type"], "bind");
    assert_eq!(mounts["/etl"]["read_only"], true);
    assert_eq!(keys(&file["volumes"]), ["flowauth-data", "flowetl-data", "flowetl-logs"], "FlowDB has none");
}

#[test]
fn without_them_data_are_in_a_volume_on_a_manager() {
    let file = parsed(&given(), &[]);
    let flowdb = &file["services"]["flowdb"];
    assert_eq!(flowdb["volumes"][0]["source"], "flowdb-data");
    assert_eq!(keys(&file["volumes"]), ["flowauth-data", "flowdb-data", "flowetl-data", "flowetl-logs"]);
    assert_eq!(flowdb["volumes"][1], serde_json::json!({ "type": "tmpfs", "target": "/dev/shm" }));
    assert_eq!(flowdb["deploy"]["placement"]["constraints"][0], "node.role == manager");
    assert_eq!(flowdb["stop_grace_period"], "120s");
    assert_eq!(flowdb["deploy"]["resources"]["reservations"]["memory"], "512M");
    assert!(flowdb["deploy"]["resources"].get("limits").is_none());
}

#[test]
fn limits_size_the_shared_memory() {
    let given = Given { memory: vec!["flowdb=4GiB".into()], cpus: vec!["flowdb=2".into()], ..given() };
    let file = parsed(&given, &[]);
    let flowdb = &file["services"]["flowdb"];
    assert_eq!(flowdb["deploy"]["resources"]["limits"], serde_json::json!({ "memory": "4096M", "cpus": "2" }));
    assert_eq!(flowdb["volumes"][1]["tmpfs"]["size"], 1u64 << 30);
}

#[test]
fn placement_is_a_label_or_dockers_own_words() {
    let placement = ["flowdb=database", "flowmachine=disk=ssd", "redis=node.hostname==db1"];
    let file = parsed(&Given { placement: placement.map(String::from).to_vec(), ..given() }, &[]);
    let place = |role: &str| file["services"][role]["deploy"]["placement"]["constraints"][0].clone();
    assert_eq!(place("flowdb"), "node.labels.database == true");
    assert_eq!(place("flowmachine"), "node.labels.disk == ssd");
    assert_eq!(place("redis"), "node.hostname==db1");
}

#[test]
fn what_docker_would_refuse_is_refused_by_name() {
    for (given, told) in [
        (
            Given { tag: "feature/x".into(), ..given() },
            "the images can't have this tag: \"feature/x\"; give --tag, or CONTAINER_TAG, letters, digits, dots, dashes and underscores",
        ),
        (
            Given { registry: "https://r/".into(), ..given() },
            "--registry is not where images can be: \"https://r/\"; write it like registry.example.org:5000/path, without https:// \
             before it",
        ),
        (
            Given { placement: vec!["flowdb=node.role=manager".into()], ..given() },
            "--placement is no constraint of Docker's: \"node.role=manager\"; write node.role==manager",
        ),
        (
            Given { placement: vec!["flowdb=node.role==boss".into()], ..given() },
            "--placement is no constraint of Docker's: \"node.role==boss\"; a node's role is manager or worker",
        ),
        (
            Given { placement: vec!["flowdb=node.name==db1".into()], ..given() },
            "--placement is no constraint of Docker's: \"node.name==db1\"; it can be about node.id, node.hostname, node.role, node.ip, \
             node.platform.os, node.platform.arch, node.labels.LABEL or engine.labels.LABEL",
        ),
        (
            Given { placement: vec!["flowdb=a b".into()], ..given() },
            "--placement is no constraint of Docker's: \"a b\"; a label is letters, digits, dots, dashes and underscores",
        ),
    ] {
        assert_eq!(made(&given, &[]).unwrap_err(), told);
    }
    let told = made(&given(), &[("FLOWDB_HOST_PORT", "6379")]).unwrap_err();
    let expected = "flowdb and redis would both be reached at port 6379; give one of them another: FLOWDB_HOST_PORT or REDIS_HOST_PORT; \
                    --private redis publishes none";
    assert_eq!(told, expected);
    let placed = Given { placement: vec!["flowdb=node.labels.disk!=a$b".into()], ..given() };
    let file = made(&placed, &[]).unwrap();
    assert_eq!(file.services["flowdb"].deploy.placement.constraints, ["node.labels.disk!=a$$b"]);
    for registry in ["", "r.org:5000/", "r.org/a/b/", "localhost:5000/"] {
        made(&Given { registry: registry.into(), ..given() }, &[]).unwrap();
    }
}

#[test]
fn secrets_are_names_with_prefix_and_version() {
    let given = Given { prefix: Some("acme".into()), secret_versions: vec!["REDIS_PASSWORD=3".into()], ..given() };
    let file = parsed(&given, &[]);
    assert_eq!(
        file["secrets"]["REDIS_PASSWORD"],
        serde_json::json!({ "external": true, "name": "acme_REDIS_PASSWORD_v3" })
    );
    assert_eq!(file["secrets"]["FLOWDB_POSTGRES_PASSWORD"]["name"], "acme_FLOWDB_POSTGRES_PASSWORD");
    let redis = &file["services"]["redis"]["secrets"];
    assert_eq!(redis.as_array().unwrap().len(), 1);
    assert_eq!(redis[0]["target"], "REDIS_PASSWORD");
    assert_eq!(redis[0]["mode"], 0o400);
}

#[test]
fn a_name_for_everybody_is_an_alias_inside() {
    let file = parsed(&given(), &[("FLOWDB_HOST", "db.example.org")]);
    let services = &file["services"];
    assert_eq!(services["flowdb"]["networks"]["flowdb"]["aliases"], serde_json::json!(["db.example.org"]));
    assert_eq!(services["flowmachine"]["environment"]["FLOWDB_HOST"], "db.example.org");
    // What a plain deployment on this host says is no name in a container.
    let file = parsed(&given(), &[("FLOWDB_HOST", "localhost")]);
    assert_eq!(file["services"]["flowmachine"]["environment"]["FLOWDB_HOST"], "flowdb");
}

#[test]
fn a_neighbour_elsewhere_must_be_named() {
    let alone = Given { roles: vec!["flowmachine".into()], ..given() };
    assert_eq!(
        made(&alone, &[("FLOWDB_HOST", "10.0.0.5")]).unwrap_err(),
        "flowmachine talks to redis, which is not in this stack; add --role redis, or say in REDIS_HOST where it is"
    );
    let file = parsed(&alone, &[("FLOWDB_HOST", "10.0.0.5"), ("FLOWDB_PORT", "9000"), ("REDIS_HOST", "10.0.0.6")]);
    let flowmachine = &file["services"]["flowmachine"];
    assert_eq!(keys(&flowmachine["networks"]), ["flowmachine", "flowmachine-outside"]);
    assert_eq!(flowmachine["environment"]["FLOWDB_PORT"], "9000");
}

#[test]
fn connection_strings_are_made_for_the_inside() {
    let wish = Wish::new(&given()).unwrap();
    let inner = inside(&wish, &settings(&[("FLOWDB_HOST_PORT", "9100")])).unwrap();
    assert_eq!((inner.text("FLOWDB_HOST"), inner.port("FLOWDB_PORT")), (Some("flowdb"), 5432));
}

#[test]
fn dollars_are_no_variables_of_the_file() {
    let file = made(&given(), &[("LOCATION_TABLE", "a$b")]).unwrap();
    assert_eq!(file.services["flowdb"].environment["LOCATION_TABLE"], "a$$b");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let wrong = Given {
        roles: vec!["flowdb".into(), "flowbd".into()],
        with: vec!["autoflwo".into()],
        memory: vec!["flowdb=1MiB".into(), "flowdb=much".into(), "redis=1GiB".into(), "nonsense".into()],
        cpus: vec!["flowdb=0".into()],
        secret_versions: vec!["REDIS_PASWORD=2".into(), "REDIS_PASSWORD=0".into()],
        prefix: Some("a b".into()),
        ..given()
    };
    let told = made(&wrong, &[]).unwrap_err();
    assert!(told.starts_with("10 things are wrong"), "{told}");
    let told = made(&given(), &[("FLOWDB_HOST_USER_ID", "1")]).unwrap_err();
    assert_eq!(told, "FLOWDB_HOST_USER_ID is given without FLOWDB_HOST_GROUP_ID; give both, or neither");
}

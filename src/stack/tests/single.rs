//! Without Swarm: the Compose file and the Quadlet files.

use serde_json::Value;

use super::{given, keys, made};
use crate::stack::{Given, Here, alone, quadlet};

#[test]
fn without_swarm_a_role_is_the_same() {
    let given = Given { memory: vec!["flowdb=4GiB".into()], cpus: vec!["flowdb=2".into()], ..given() };
    let here = Here { secrets: "./a$b".into(), user: (1234, 2345) };
    let text = alone(made(&given, &[]).unwrap(), &here).text("a comment");
    assert!(!text.contains("version:") && !text.contains("overlay") && !text.contains("deploy:"), "{text}");
    assert!(text.contains("user: \"1234:2345\""), "{text}");
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let flowdb = &file["services"]["flowdb"];
    assert_eq!((&flowdb["image"], &flowdb["user"]), (&"flowkit/flowdb:9".into(), &"1234:2345".into()));
    assert_eq!((&flowdb["mem_limit"], &flowdb["cpus"]), (&"4096M".into(), &"2".into()));
    assert_eq!(flowdb["ports"], serde_json::json!(["9000:5432/tcp"]));
    assert_eq!(flowdb["read_only"], true);
    let test = ["CMD", "/bin/flowkit", "health", "flowdb", "--dir", "/dev/shm/flowkit"];
    assert_eq!(flowdb["healthcheck"]["test"], serde_json::json!(test));
    assert!(flowdb["secrets"].as_array().unwrap().contains(&"FLOWDB_POSTGRES_PASSWORD".into()));
    assert_eq!(file["secrets"]["REDIS_PASSWORD"]["file"], "./a$$b/REDIS_PASSWORD");
    assert_eq!(file["networks"]["redis"]["internal"], true);
    assert!(file["networks"]["redis-outside"].get("internal").is_none());
    assert_eq!(keys(&file["volumes"]), ["flowauth-data", "flowdb-data", "flowetl-data", "flowetl-logs"]);
    assert_eq!(keys(&file["services"]["flowmachine"]["networks"]), ["flowdb", "flowmachine", "redis"]);
}

/// What holds a burglar in the stack (`docker::burglary`) holds it in the other two.
#[test]
fn every_role_is_held_alike_by_all_engines() {
    let here = Here { secrets: "s".into(), user: (1000, 1000) };
    let stack: Value = serde_saphyr::from_str(&made(&given(), &[]).unwrap().text("")).unwrap();
    let compose: Value = serde_saphyr::from_str(&alone(made(&given(), &[]).unwrap(), &here).text("")).unwrap();
    let units = quadlet(&made(&given(), &[]).unwrap(), "");
    let roles = keys(&stack["services"]);
    assert_eq!(keys(&compose["services"]), roles);
    let networks = |file: &Value| -> Vec<(String, bool)> {
        let networks = file["networks"].as_object().unwrap().iter();
        networks.map(|(name, network)| (name.clone(), network["internal"] == true)).collect()
    };
    assert_eq!(networks(&compose), networks(&stack));
    for (name, internal) in networks(&stack) {
        let unit = units.iter().find(|unit| unit.name == format!("flowkit-{name}.network")).unwrap();
        assert!(unit.text.contains(&format!("Internal={internal}\n")), "{}", unit.text);
    }
    for role in roles {
        let (service, alone) = (&stack["services"][role], &compose["services"][role]);
        assert_eq!(
            (&service["read_only"], &service["cap_drop"]),
            (&true.into(), &serde_json::json!(["ALL"])),
            "{role}"
        );
        assert_eq!(service["user"], "1000:1000", "{role}");
        for key in ["user", "read_only", "cap_drop", "networks"] {
            assert_eq!(alone[key], service[key], "{role}: {key}");
        }
        assert_eq!(alone["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{role}");
        let held: Vec<&Value> = service["secrets"].as_array().unwrap().iter().map(|secret| &secret["source"]).collect();
        assert_eq!(alone["secrets"].as_array().unwrap().iter().collect::<Vec<_>>(), held, "{role}");
        let unit = &units.iter().find(|unit| unit.name == format!("flowkit-{role}.container")).unwrap().text;
        let lines = |key: &str| -> Vec<&str> { unit.lines().filter_map(|line| line.strip_prefix(key)).collect() };
        for line in ["User=1000", "Group=1000", "ReadOnly=true", "DropCapability=all", "NoNewPrivileges=true"] {
            assert_eq!(lines(line), [""], "{line} in {unit}");
        }
        let name = |line: &&str| line.trim_start_matches("flowkit-").split(".network").next().unwrap().to_owned();
        assert_eq!(lines("Network=").iter().map(name).collect::<Vec<_>>(), keys(&service["networks"]), "{role}");
        assert_eq!(lines("Secret=").len(), held.len(), "{role}");
        for wide in ["AddCapability", "SecurityLabelDisable", "SeccompProfile", "UserNS", "PodmanArgs=--priv", "/run/"]
        {
            assert!(!unit.contains(wide), "{wide} in {unit}");
        }
    }
}

/// What podman 5.4 was seen to make a service of.
const FLOWDB_CONTAINER: &str = r#"# a comment

[Unit]
Description=FlowKit's flowdb

[Container]
ContainerName=flowkit-flowdb
Image=docker.io/flowkit/flowdb:9
Pull=never
User=1234
Group=2345
ReadOnly=true
DropCapability=all
NoNewPrivileges=true
Environment="FLOWKIT_STOP_SECONDS=110"
Environment="LOCATION_TABLE=a$$\"b"
Network=flowkit-flowdb.network:alias=flowdb,alias=db.example.org
Network=flowkit-flowdb-outside.network
PublishPort=9000:5432/tcp
Volume=flowkit-flowdb-data.volume:/var/lib/postgresql/data
Volume=/srv/e%%tl:/etl:ro,z
Tmpfs=/dev/shm:size=1073741824
Secret=acme_FLOWDB_POSTGRES_PASSWORD,type=mount,target=FLOWDB_POSTGRES_PASSWORD,uid=1234,gid=2345,mode=0400
Secret=acme_FLOWMACHINE_FLOWDB_USER,type=mount,target=FLOWMACHINE_FLOWDB_USER,uid=1234,gid=2345,mode=0400
Secret=acme_FLOWMACHINE_FLOWDB_PASSWORD,type=mount,target=FLOWMACHINE_FLOWDB_PASSWORD,uid=1234,gid=2345,mode=0400
Secret=acme_FLOWAPI_FLOWDB_USER,type=mount,target=FLOWAPI_FLOWDB_USER,uid=1234,gid=2345,mode=0400
Secret=acme_FLOWAPI_FLOWDB_PASSWORD,type=mount,target=FLOWAPI_FLOWDB_PASSWORD,uid=1234,gid=2345,mode=0400
HealthCmd=["/bin/flowkit","health","flowdb","--dir","/dev/shm/flowkit"]
HealthInterval=10s
HealthTimeout=30s
HealthRetries=3
HealthStartPeriod=15m
HealthOnFailure=stop
Notify=healthy
PodmanArgs=--memory=4096M
PodmanArgs=--cpus=1.5
StopTimeout=120

[Service]
Restart=always
RestartSec=5s
TimeoutStartSec=15m
TimeoutStopSec=150

[Install]
WantedBy=default.target
"#;

#[test]
fn podman_gets_the_same_as_quadlet_files() {
    let given = Given {
        memory: vec!["flowdb=4GiB".into()],
        cpus: vec!["flowdb=1.5".into()],
        prefix: Some("acme".into()),
        ..given()
    };
    let values = [
        ("FLOWDB_HOST", "db.example.org"),
        ("FLOWDB_ETL_DIR", "/srv/e%tl"),
        ("FLOWDB_HOST_USER_ID", "1234"),
        ("FLOWDB_HOST_GROUP_ID", "2345"),
        ("LOCATION_TABLE", "a$\"b"),
    ];
    let units = quadlet(&made(&given, &values).unwrap(), "a comment");
    let text =
        |name: &str| units.iter().find(|unit| unit.name == name).unwrap_or_else(|| panic!("no {name}")).text.as_str();
    assert_eq!(text("flowkit-flowdb.container"), FLOWDB_CONTAINER);
    assert_eq!(text("flowkit-flowdb.network"), "# a comment\n\n[Network]\nNetworkName=flowkit-flowdb\nInternal=true\n");
    assert!(text("flowkit-flowdb-outside.network").ends_with("\nInternal=false\n"));
    assert_eq!(text("flowkit-flowdb-data.volume"), "# a comment\n\n[Volume]\nVolumeName=flowkit-flowdb-data\n");
    let flowmachine = text("flowkit-flowmachine.container");
    for line in
        ["After=flowkit-redis.service", "Network=flowkit-redis.network", "Environment=\"FLOWDB_HOST=db.example.org\""]
    {
        assert!(flowmachine.lines().any(|is| is == line), "{line} in {flowmachine}");
    }
    assert!(!flowmachine.contains("PublishPort"), "whoever reaches it can run any query");
}

/// Where passwords come in clear, one engine lets in its own host.
#[test]
fn flowetls_pages_are_for_the_host_itself() {
    let values = [("FLOWETL_HOST_PORT", "8081"), ("FLOWETL_HOST_DAG_DIR", "/srv/dags")];
    let here = Here { secrets: "s".into(), user: (1000, 1000) };
    let file: Value = serde_saphyr::from_str(&alone(made(&given(), &values).unwrap(), &here).text("")).unwrap();
    assert_eq!(file["services"]["flowetl"]["ports"], serde_json::json!(["127.0.0.1:8081:8080/tcp"]));
    let units = quadlet(&made(&given(), &values).unwrap(), "");
    let unit = &units.iter().find(|unit| unit.name == "flowkit-flowetl.container").unwrap().text;
    for line in [
        "After=flowkit-flowdb.service",
        "PublishPort=127.0.0.1:8081:8080/tcp",
        "Volume=/srv/dags:/opt/airflow/dags:ro,z",
        "Volume=flowkit-flowetl-data.volume:/var/lib/postgresql/data",
        "StopTimeout=120",
    ] {
        assert!(unit.lines().any(|is| is == line), "{line} in {unit}");
    }
}

#[test]
fn components_are_told_by_every_engine() {
    let values =
        [("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor"), ("FLOWETL_CELERY_PORT", "5557"), ("FLOWETL_WORKER_COUNT", "2")];
    let here = Here { secrets: "s".into(), user: (1000, 1000) };
    let file: Value = serde_saphyr::from_str(&alone(made(&given(), &values).unwrap(), &here).text("")).unwrap();
    let worker = &file["services"]["flowetl-worker"];
    assert_eq!((&worker["command"], &worker["scale"]), (&serde_json::json!(["--component", "worker"]), &2.into()));
    assert_eq!(worker["healthcheck"]["test"][3], "flowetl");
    assert_eq!(file["services"]["flowetl-flower"]["ports"], serde_json::json!(["127.0.0.1:5557:5555/tcp"]));
    let units = quadlet(&made(&given(), &values).unwrap(), "");
    let names = units.iter().filter(|unit| unit.name.starts_with("flowkit-flowetl-worker"));
    let names: Vec<&str> = names.map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["flowkit-flowetl-worker-1.container", "flowkit-flowetl-worker-2.container"]);
    let unit = &units.iter().find(|unit| unit.name == "flowkit-flowetl-worker-2.container").unwrap().text;
    for line in [
        "After=flowkit-flowetl.service",
        "After=flowkit-flowdb.service",
        "Exec=--component worker",
        "Image=docker.io/flowkit/flowetl:9",
        "HealthCmd=[\"/bin/flowkit\",\"health\",\"flowetl\",\"--dir\",\"/dev/shm/flowkit\"]",
    ] {
        assert!(unit.lines().any(|is| is == line), "{line} in {unit}");
    }
}

#[test]
fn podman_fetches_images_only_where_they_come_from_a_registry() {
    let images = |given: &Given| {
        let units = quadlet(&made(given, &[]).unwrap(), "");
        let redis = units.into_iter().find(|unit| unit.name == "flowkit-redis.container").unwrap().text;
        redis
            .lines()
            .filter(|line| line.starts_with("Image=") || line.starts_with("Pull="))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(images(&given()), "Image=docker.io/flowkit/redis:9 Pull=never");
    assert_eq!(images(&Given { registry: "r.org:5000/".into(), ..given() }), "Image=r.org:5000/flowkit/redis:9");
}

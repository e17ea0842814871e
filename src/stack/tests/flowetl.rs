//! FlowETL in a stack, whole and with Celery.

use super::*;

/// Passwords of its pages are in clear: they are published when somebody says where.
#[test]
fn flowetl_has_its_directories_and_its_pages_are_published_on_demand() {
    let file = parsed(&Given { scenario: Some(Scenario::FlowdbEtl), ..given() }, &[]);
    assert_eq!(keys(&file["services"]), ["flowdb", "flowetl"]);
    let flowetl = &file["services"]["flowetl"];
    assert!(flowetl.get("ports").is_none(), "{flowetl}");
    assert_eq!(keys(&flowetl["networks"]), ["flowdb"]);
    let held: Vec<&str> = flowetl["secrets"].as_array().unwrap().iter().flat_map(|it| it["target"].as_str()).collect();
    assert_eq!(held.len(), 9, "{held:?}");
    assert!(held.contains(&"AIRFLOW_CONN_FLOWDB") && !held.contains(&"FLOWDB_POSTGRES_PASSWORD"), "{held:?}");
    let values = [
        ("FLOWETL_HOST_PORT", "8081"),
        ("FLOWETL_HOST_DAG_DIR", "/srv/dags"),
        ("FLOWETL_HOST_USER_ID", "1234"),
        ("FLOWETL_HOST_GROUP_ID", "2345"),
        // Where they are on a host is nothing for a container; the rest of Airflow's is.
        ("AIRFLOW__CORE__DAGS_FOLDER", "/srv/others"),
        ("AIRFLOW__CORE__PARALLELISM", "3"),
    ];
    let told = made(&given(), &[("AIRFLOW__SMTP__SMTP_PASSWORD", "geheim")]).unwrap_err();
    assert!(
        told.starts_with("AIRFLOW__SMTP__SMTP_PASSWORD would stand in the file, which everybody may read"),
        "{told}"
    );
    assert!(!told.contains("geheim"), "{told}");
    let told = made(&given(), &[("AIRFLOW__X__PLACE", "mysql://ann:geheim@db/x")]).unwrap_err();
    assert!(told.starts_with("AIRFLOW__X__PLACE would stand in the file") && !told.contains("geheim"), "{told}");
    let file = parsed(&given(), &values);
    let flowetl = &file["services"]["flowetl"];
    assert_eq!(
        flowetl["ports"],
        serde_json::json!([{ "target": 8080, "published": 8081, "protocol": "tcp", "mode": "host" }])
    );
    assert_eq!(keys(&flowetl["networks"]), ["flowdb", "flowetl-outside"]);
    assert_eq!(flowetl["user"], "1234:2345");
    assert_eq!(
        keys(&flowetl["environment"]),
        ["AIRFLOW__CORE__PARALLELISM", "FLOWDB_HOST", "FLOWDB_PORT", "FLOWKIT_STOP_SECONDS"]
    );
    let mounts: Vec<(&str, &str)> = flowetl["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| (mount["source"].as_str().unwrap(), mount["target"].as_str().unwrap()))
        .collect();
    let expected = [
        ("/srv/dags", "/opt/airflow/dags"),
        ("flowetl-logs", "/opt/airflow/logs"),
        ("flowetl-data", "/var/lib/postgresql/data"),
    ];
    assert_eq!(mounts, expected);
    assert_eq!(flowetl["volumes"][0]["read_only"], true);
}

/// With Celery it is several services, of which each has the secrets, volumes and networks that it needs.
#[test]
fn flowetl_with_celery_is_a_service_for_each_part() {
    let values = [
        ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor"),
        ("FLOWETL_WORKER_COUNT", "3"),
        ("FLOWETL_CELERY_PORT", "5556"),
        ("FLOWETL_HOST_DAG_DIR", "/srv/dags"),
    ];
    let given = Given { scenario: Some(Scenario::FlowdbEtl), memory: vec!["flowetl-worker=2GiB".into()], ..given() };
    let file = parsed(&given, &values);
    let services = &file["services"];
    let names = ["flowdb", "flowetl", "flowetl-flower", "flowetl-scheduler", "flowetl-triggerer", "flowetl-worker"];
    assert_eq!(keys(services), names);
    let list = |service: &str, of: &str, what: &str| -> Vec<String> {
        let all = services[service][of].as_array().into_iter().flatten();
        all.map(|it| if what.is_empty() { it } else { &it[what] }.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("flowetl", "command", ""), ["--component", "api-server"]);
    assert_eq!(list("flowetl-scheduler", "command", "").join(" "), "--component scheduler --component dag-processor");
    for name in &names[1..] {
        assert_eq!(services[name]["image"], "flowkit/flowetl:9", "{name}");
        let told = &services[name]["environment"];
        assert_eq!(told["FLOWKIT_FLOWETL_HOST"].is_null(), *name == "flowetl", "{told}");
        assert_eq!(told["FLOWKIT_FLOWETL_DB_LISTEN"].is_null(), *name != "flowetl", "{told}");
        assert_eq!(told["FLOWDB_HOST"].is_null(), *name != "flowetl-worker", "{told}");
        assert_eq!(told["AIRFLOW__CORE__EXECUTOR"], "CeleryExecutor");
        let replicas = if *name == "flowetl-worker" { 3 } else { 1 };
        assert_eq!(services[name]["deploy"]["replicas"], replicas, "{name}");
    }
    for (name, seconds, grace) in
        [("flowetl", "110", "120s"), ("flowetl-worker", "50", "60s"), ("flowetl-flower", "20", "30s")]
    {
        assert_eq!(services[name]["environment"]["FLOWKIT_STOP_SECONDS"], seconds, "{name}");
        assert_eq!(services[name]["stop_grace_period"], grace, "{name}");
    }
    assert_eq!(services["flowetl-worker"]["deploy"]["resources"]["limits"]["memory"], "2048M");
    assert_eq!(keys(&services["flowetl-worker"]["networks"]), ["flowdb", "flowetl"]);
    assert_eq!(keys(&services["flowetl"]["networks"]), ["flowetl"]);
    assert_eq!(file["networks"]["flowetl"]["internal"], true);
    assert_eq!(keys(&services["flowetl-flower"]["networks"]), ["flowetl", "flowetl-flower-outside"]);
    let flower = ["FLOWETL_REDIS_PASSWORD", "FLOWETL_CELERY_USER", "FLOWETL_CELERY_PASSWORD"];
    assert_eq!(list("flowetl-flower", "secrets", "target"), flower);
    assert!(list("flowetl-flower", "volumes", "target").is_empty());
    assert_eq!(services["flowetl-flower"]["ports"][0]["target"], 5555);
    let worker = list("flowetl-worker", "secrets", "target");
    assert!(worker.contains(&"AIRFLOW_CONN_FLOWDB".to_owned()), "{worker:?}");
    for other in ["AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__CELERY__BROKER_URL"] {
        assert!(!worker.contains(&other.to_owned()), "{worker:?}");
    }
    assert!(!list("flowetl", "secrets", "target").contains(&"AIRFLOW_CONN_FLOWDB".to_owned()));
    assert_eq!(list("flowetl-worker", "volumes", "source"), ["/srv/dags", "flowetl-logs"]);
    assert!(services["flowetl-worker"]["deploy"].get("placement").is_none(), "it keeps nothing");
    assert_eq!(services["flowetl"]["deploy"]["placement"]["constraints"][0], "node.role == manager");
    let inner = inside(&Wish::new(&given).unwrap(), &settings(&values)).unwrap();
    assert_eq!(inner.text("FLOWKIT_FLOWETL_DB_HOST"), Some("flowetl"), "connection strings lead there");
    // Whose programs are the operator's reaches what the published pages do.
    let values: Vec<_> = values.into_iter().chain([("FLOWETL_HOST_PORT", "8081")]).collect();
    let published = parsed(&given, &values);
    let networks = keys(&published["services"]["flowetl-worker"]["networks"]);
    assert_eq!(networks, ["flowdb", "flowetl", "flowetl-worker-outside"]);
    assert_eq!(published["services"]["flowetl"]["ports"][0]["published"], 8081);
}

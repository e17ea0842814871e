//! AutoFlow in the stack file, and what it is given.

use serde_json::Value;

use super::{given, keys, made, parsed, settings};
use crate::stack::{Given, Wish, plan};

#[test]
fn autoflow_is_beside_the_others_where_it_is_asked_for() {
    let with = || Given { with: vec!["autoflow".into()], ..given() };
    let place = ("AUTOFLOW_INPUTS_DIR", "/srv/workflows");
    assert!(!keys(&parsed(&given(), &[place])["services"]).contains(&"autoflow"));
    let file = parsed(&with(), &[place]);
    assert_eq!(keys(&file["services"]).len(), 7);
    let autoflow = &file["services"]["autoflow"];
    assert!(autoflow.get("ports").is_none(), "{autoflow}");
    assert_eq!(keys(&autoflow["networks"]), ["flowapi", "flowauth"]);
    let held: Vec<&str> = autoflow["secrets"].as_array().unwrap().iter().flat_map(|it| it["target"].as_str()).collect();
    assert_eq!(held, ["FLOWAPI_TOKEN", "cert-flowkit.pem", "cert-flowauth.pem"]);
    // Where they are on the host is nothing for the container.
    assert_eq!(
        keys(&autoflow["environment"]),
        ["FLOWAPI_URL", "FLOWKIT_AUTOFLOW_FLOWAUTH_URL", "FLOWKIT_STOP_SECONDS"]
    );
    assert_eq!(autoflow["environment"]["FLOWAPI_URL"], "https://flowapi:9090");
    let mounts = |file: &Value| -> Vec<(String, String)> {
        let mounts = file["services"]["autoflow"]["volumes"].as_array().unwrap();
        mounts.iter().map(|it| (it["source"].as_str().unwrap().into(), it["target"].as_str().unwrap().into())).collect()
    };
    let expected = [
        ("/srv/workflows", "/mounts/inputs"),
        ("autoflow-outputs", "/mounts/outputs"),
        ("autoflow-data", "/var/lib/autoflow"),
    ];
    assert_eq!(mounts(&file), expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    assert_eq!(autoflow["volumes"][0]["read_only"], true);
    let file =
        parsed(&with(), &[place, ("AUTOFLOW_OUTPUTS_DIR", "/srv/reports"), ("FLOWKIT_AUTOFLOW_CONCURRENCY", "2")]);
    assert_eq!(mounts(&file)[1].0, "/srv/reports");
    assert_eq!(file["services"]["autoflow"]["environment"]["FLOWKIT_AUTOFLOW_CONCURRENCY"], "2");
}

/// Some of them lead elsewhere, some stand in another's place.
#[test]
fn what_a_role_can_do_without_is_given_where_the_operator_has_it() {
    let given = Given { with: vec!["autoflow".into()], ..given() };
    let service = |there: &[&'static str], name: &str| -> Value {
        let mut wish = Wish::new(&given).unwrap();
        wish.take_secrets(there.iter().copied());
        let file = plan(&wish, &settings(&[("AUTOFLOW_INPUTS_DIR", "/srv/workflows")])).unwrap();
        serde_saphyr::from_str::<Value>(&file.text("")).unwrap()["services"][name].clone()
    };
    let held = |there: &[&'static str]| -> Vec<String> {
        let service = service(there, "autoflow");
        let targets = service["secrets"].as_array().unwrap().iter().map(|it| it["target"].as_str().unwrap().to_owned());
        targets.filter(|name| !name.starts_with("cert-")).collect()
    };
    let (token, key) = ("FLOWAPI_TOKEN", "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY");
    assert_eq!(held(&[]), [token]);
    assert_eq!(held(&[key]), [key]);
    assert_eq!(held(&[key, token]), [token, key]);
    // Made by the way for every deployment, or another role's.
    assert_eq!(held(&["AUTOFLOW_DB_PASSWORD", "DB_URI", "REDIS_PASSWORD"]), [token]);
    assert_eq!(held(&["AUTOFLOW_DB_URI"]), ["AUTOFLOW_DB_PASSWORD", token, "AUTOFLOW_DB_URI"]);
    let networks = |there: &[&'static str]| keys(&service(there, "autoflow")["networks"]).join(" ");
    assert_eq!(networks(&[key]), "flowapi flowauth");
    assert_eq!(networks(&["AUTOFLOW_DB_URI"]), "autoflow-outside flowapi flowauth");
    let memory =
        |there: &[&'static str]| service(there, "flowauth")["deploy"]["resources"]["reservations"]["memory"].clone();
    assert_eq!((memory(&[]), memory(&["DB_URI"])), ("384M".into(), "128M".into()));
}

/// The one that a certificate of somebody else's has.
#[test]
fn the_name_by_which_autoflow_is_told_of_flowapi_leads_to_it() {
    let with = Given { with: vec!["autoflow".into()], ..given() };
    let place = ("AUTOFLOW_INPUTS_DIR", "/srv/workflows");
    let told = |url: &str| {
        let file = parsed(&with, &[place, ("FLOWAPI_URL", url)]);
        let aliases = file["services"]["flowapi"]["networks"]["flowapi"]["aliases"].clone();
        (file["services"]["autoflow"]["environment"]["FLOWAPI_URL"].clone(), aliases)
    };
    let named = "https://api.example.org:9090";
    assert_eq!(told(named), (named.into(), serde_json::json!(["api.example.org"])));
    // This host's own means nothing in a container.
    assert_eq!(told("https://localhost:9090"), ("https://flowapi:9090".into(), Value::Null));
}

#[test]
fn autoflow_knows_a_flowapi_elsewhere_by_its_certificate() {
    let alone = Given { roles: vec!["autoflow".into()], ..given() };
    let told = [("AUTOFLOW_INPUTS_DIR", "/srv/workflows"), ("FLOWAPI_URL", "https://api.example.org:9090")];
    let file = parsed(&alone, &told);
    let autoflow = &file["services"]["autoflow"];
    let held: Vec<&str> = autoflow["secrets"].as_array().unwrap().iter().flat_map(|it| it["target"].as_str()).collect();
    assert_eq!(held, ["FLOWAPI_TOKEN", "cert-flowkit.pem"]);
    let with = |path| made(&alone, &[told[0], told[1], ("SSL_CERTIFICATE_FILE", path)]);
    let why = with("/srv/api.pem").unwrap_err();
    assert!(
        why.contains("SSL_CERTIFICATE_FILE names a file of this host") && why.contains("cert-flowkit.pem"),
        "{why}"
    );
    assert!(with("/etc/ssl/certs/ca-certificates.crt").is_ok());
}

//! FlowAuth as a program of an administrator's and its users' uses it: by upstream's routes.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::deployment::show;
use super::flowapi::python;

/// Adds the FlowAPI that FlowAuth offers, makes a user with a role and, as that user, a token; or revokes one.
const ADMINISTRATION: &str = r#"
import json, os, requests

def browser(name, password):
    session = requests.Session()
    # A bundle that the environment names would stand in for the certificate.
    session.trust_env = False
    session.verify = os.environ["CERTIFICATE"]
    def ask(method, path, body=None):
        headers = {"X-CSRF-Token": session.cookies.get("X-CSRF", "")}
        answer = session.request(method, os.environ["URL"] + path, json=body, headers=headers)
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer.json()
    ask("POST", "/signin", {"username": name, "password": password})
    return ask

admin = browser("admin", os.environ["PASSWORD"])
if os.environ.get("REVOKE"):
    print(json.dumps(admin("POST", "/admin/tokens/%s/revoke" % os.environ["REVOKE"], {})))
else:
    if os.environ.get("DOCUMENT"):
        document = json.loads(os.environ["DOCUMENT"])
    else:
        document = admin("GET", "/admin/local_server")
    offered = document["components"]["securitySchemes"]["token"]
    limits = {"longest_token_life_minutes": 60, "latest_token_expiry": None}
    server = admin("POST", "/admin/servers",
                   {"name": offered["x-audience"], "scopes": offered["x-security-scopes"], **limits})["id"]
    scopes = {scope["name"]: scope["id"] for scope in admin("GET", "/admin/servers/%d/scopes" % server)}
    wanted = ["run", "get_result", "get_available_dates",
              "admin3:spatial_aggregate:spatial_aggregate", "admin3:spatial_aggregate:daily_location"]
    user = admin("POST", "/admin/users", {"username": "ann", "password": "purple-Monkey-dishwasher-91"})["id"]
    admin("POST", "/roles/", {"name": "analyst", "server_id": server, "users": [user],
                              "scopes": [scopes[name] for name in wanted], **limits})
    ann = browser("ann", "purple-Monkey-dishwasher-91")
    print(json.dumps(ann("POST", "/tokens/tokens/%d" % server, {"name": "test", "roles": [{"name": "analyst"}]})))
"#;

/// Has `ann`, a new user, get a token for the FlowAPI of the same deployment; or, with a number, has that one revoked.
pub fn administer(port: u16, secrets: &Path, revoke: Option<i64>) -> Value {
    run(port, secrets, revoke.map(|id| ("REVOKE", id.to_string())))
}

/// The same of a FlowAuth that knows no FlowAPI: its document is carried over.
pub fn administer_outside(port: u16, secrets: &Path) -> Value {
    let rights = ["run", "get_result", "get_available_dates"];
    let question = ["admin3:spatial_aggregate:spatial_aggregate", "admin3:spatial_aggregate:daily_location"];
    let scopes = [&rights[..], &question].concat();
    let token = serde_json::json!({ "x-audience": "flowapi.inside", "x-security-scopes": scopes });
    let document = serde_json::json!({ "components": { "securitySchemes": { "token": token } } });
    run(port, secrets, Some(("DOCUMENT", document.to_string())))
}

fn run(port: u16, secrets: &Path, told: Option<(&str, String)>) -> Value {
    let password = std::fs::read_to_string(secrets.join("FLOWAUTH_ADMIN_PASSWORD")).expect("a password");
    let mut command = Command::new(python());
    command.args(["-I", "-c", ADMINISTRATION]).stdin(Stdio::null());
    command.env("URL", format!("https://localhost:{port}")).env("CERTIFICATE", secrets.join("cert-flowauth.pem"));
    command.env("PASSWORD", password.trim()).envs(told);
    let output = command.output().expect("Python");
    assert!(output.status.success(), "{}", show(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", show(&output)))
}

/// Somebody who signs in over and over, by a guess: each time FlowAuth has to look into its database.
pub fn sign_in_by_a_guess(port: u16) -> Child {
    let guess = "import os, requests, time
while True:
    try: requests.post(os.environ['URL'], json={'username': 'eve', 'password': 'guess'}, verify=False, timeout=60)
    except requests.RequestException: pass
    time.sleep(0.5)";
    let mut command = Command::new(python());
    command.args(["-I", "-W", "ignore", "-c", guess]).env("URL", format!("https://localhost:{port}/signin"));
    command.stdin(Stdio::null()).spawn().expect("Python")
}

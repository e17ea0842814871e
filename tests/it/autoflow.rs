//! The role AutoFlow: the real notebooks' Python, behind the walls of a host.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, kill, show};
use crate::support::flowmachine::environment;
use crate::support::poll::wait;
use crate::support::ports::free_port;
use crate::support::programs;

/// Longest wait: a kernel of Python's starts in seconds.
const PATIENCE: Duration = Duration::from_secs(300);

const WORKFLOWS: &str = r#"
workflows:
  - name: daily
    notebooks:
      day:
        filename: day.ipynb
        parameters: {day: reference_date, secrets: secrets}
        output: {format: pdf}
  - name: wrong
    notebooks: {wrong: {filename: wrong.ipynb}}
available_dates_sensor:
  schedule: "0 0 1 1 *"
  workflows:
    - {workflow_name: daily, parameters: {secrets: STATE}}
    - {workflow_name: wrong}
"#;

/// What a notebook of the role's has in its environment, and whether it can read the deployment's secrets.
const CELL: &str = r#"
import os
def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
print([read(f"{secrets}/{part}/FLOWAPI_TOKEN") for part in ("secrets", "credentials/autoflow")])
print([name for name in sorted(os.environ) if name.isupper() and ("FLOW" in name or "SECRET" in name or "CRED" in name)])
print(f"the day is {day}")
"#;

/// Tells the deployment of AutoFlow's program and Python, of a FlowAPI that is not there, and where workflows are.
fn configure(deployment: &Deployment, inputs: &Path) {
    deployment.configure(&format!(
        "FLOWAPI_URL = \"https://localhost:{}\"\nFLOWKIT_AUTOFLOW_PORT = {}\nFLOWKIT_AUTOFLOW_SERVER = {:?}\n\
         FLOWKIT_AUTOFLOW_PYTHON = {:?}\nAUTOFLOW_INPUTS_DIR = {inputs:?}\n",
        free_port(),
        free_port(),
        programs::autoflow(),
        environment("notebooks")
    ));
}

fn notebook(cells: &[(&str, &str)]) -> String {
    let cell = |(tag, source): &(&str, &str)| {
        json!({ "cell_type": "code", "execution_count": null, "id": format!("a{}", source.len()), "metadata": { "tags": [tag] },
                "outputs": [], "source": source })
    };
    let kernel = json!({ "kernelspec": { "name": "python3", "display_name": "Python 3", "language": "python" } });
    let cells: Vec<_> = cells.iter().map(cell).collect();
    json!({ "cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5 }).to_string()
}

fn token() -> String {
    let payload = json!({ "sub": "autoflow", "aud": "flowapi_server", "exp": 4_000_000_000_u64, "user_claims": {} });
    let parts = [r#"{"alg":"RS256","typ":"JWT"}"#.to_owned(), payload.to_string(), "nobody".to_owned()];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// A document of a FlowAPI, as far as FlowAuth reads it.
const OPENAPI: &str = r#"{"components": {"securitySchemes": {"token":
    {"x-audience": "flowapi_server", "x-security-scopes": ["run", "get_result", "get_available_dates"]}}}}"#;

#[test]
fn flowauth_gives_a_token_for_the_key_of_a_machine_and_another_before_it_ends() {
    let deployment = Deployment::new();
    let state = deployment.state();
    let inputs = state.with_file_name("inputs");
    fs::create_dir(&inputs).unwrap();
    fs::create_dir(state.join("secrets")).unwrap();
    fs::set_permissions(state.join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    let secret = state.join("secrets/FLOWKIT_AUTOFLOW_FLOWAUTH_KEY");
    fs::write(&secret, format!("flowauth_{}", URL_SAFE_NO_PAD.encode([7; 32]))).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let workflows = WORKFLOWS.split_once("  - name: wrong").unwrap().0.to_owned()
        + "available_dates_sensor: {schedule: '0 0 1 1 *', workflows: [{workflow_name: daily, parameters: {secrets: x}}]}";
    fs::write(inputs.join("workflows.yml"), workflows).unwrap();
    fs::write(inputs.join("day.ipynb"), notebook(&[("all", "1")])).unwrap();
    configure(&deployment, &inputs);
    deployment.done(&["up", "--detach", "--role", "flowauth", "--role", "autoflow"]);
    let notes = || {
        let status: Value = serde_json::from_str(&deployment.done(&["autoflow", "status", "--json"])).unwrap();
        status["notes"].to_string()
    };
    wait(PATIENCE, "what is wrong", || notes().contains("There is no such key, or it has ended."));
    assert!(notes().contains("FlowAuth gives no new token") && deployment.log().contains("no such key"));

    // An administrator's role, whose tokens live a minute.
    let (admin, openapi) = (state.with_file_name("admin.key"), state.with_file_name("openapi.json"));
    fs::write(&openapi, OPENAPI).unwrap();
    deployment.done(&["auth", "key", "first", "--out", admin.to_str().unwrap()]);
    let ask = |what: &[&str]| deployment.done(&[&["auth", "--key-file", admin.to_str().unwrap()], what].concat());
    ask(&["server", "import", openapi.to_str().unwrap()]);
    ask(&["role", "create", "autoflow", "--scope", "get_available_dates", "--lifetime", "1m"]);
    // For a key of whose machine FlowAuth knows nothing any more, somebody may have had a reason.
    let enrolled = deployment.flowkit(&["auth", "enrol"]);
    assert!(enrolled.status.success() && show(&enrolled).contains("was removed"), "{}", show(&enrolled));
    fs::remove_file(&secret).unwrap();
    let enrolled = deployment.flowkit(&["auth", "enrol"]);
    assert!(
        enrolled.status.success() && show(&enrolled).contains("key of the machine autoflow"),
        "{}",
        show(&enrolled)
    );
    let key = fs::read_to_string(&secret).unwrap();
    assert!(key.starts_with("flowauth_") && fs::metadata(&secret).unwrap().permissions().mode() & 0o077 == 0);
    let again = deployment.flowkit(&["auth", "enrol"]);
    assert!(again.status.success() && show(&again).contains("has a key that is good"), "{}", show(&again));

    let kept = state.join("autoflow/data/token");
    wait(PATIENCE, "a token", || kept.exists());
    let first = fs::read_to_string(&kept).unwrap();
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    wait(PATIENCE, "another one", || fs::read_to_string(&kept).is_ok_and(|text| text != first));
    assert!(!notes().contains("oken"), "there is nothing to say of it: {}", notes());
    let second = fs::read_to_string(&kept).unwrap();
    let tokens: Value = serde_json::from_str(&ask(&["token", "list", "--all", "--format", "json"])).unwrap();
    let whose: Vec<&str> = tokens.as_array().unwrap().iter().filter_map(|token| token["username"].as_str()).collect();
    assert!(!whose.is_empty() && whose.iter().all(|name| *name == "autoflow"), "{whose:?}");
    for secret in [key.trim(), first.lines().last().unwrap(), second.lines().last().unwrap()] {
        assert!(!deployment.log().contains(secret.rsplit('.').next().unwrap()), "a secret is in the log");
    }
    deployment.done(&["down"]);
}

/// FlowAPI, FlowAuth and AutoFlow of one deployment. There is no FlowMachine, so that FlowAPI says no days; a token is looked at before that.
struct Three {
    deployment: Deployment,
    admin: String,
    looks: Cell<u32>,
}

impl Three {
    fn start() -> Three {
        let deployment = Deployment::new();
        let (state, inputs) = (deployment.state(), deployment.state().with_file_name("inputs"));
        fs::create_dir(&inputs).unwrap();
        fs::write(inputs.join("day.ipynb"), notebook(&[("all", "1")])).unwrap();
        deployment.configure(&format!(
            "FLOWKIT_FLOWAPI_REVOCATIONS_SECONDS = 1\nFLOWKIT_AUTOFLOW_PORT = {}\nFLOWKIT_AUTOFLOW_SERVER = {:?}\n\
             FLOWKIT_AUTOFLOW_PYTHON = {:?}\nAUTOFLOW_INPUTS_DIR = {inputs:?}\n",
            free_port(),
            programs::autoflow(),
            environment("notebooks")
        ));
        let (admin, openapi) = (state.with_file_name("admin.key"), state.with_file_name("openapi.json"));
        fs::write(&openapi, OPENAPI).unwrap();
        let three = Three { deployment, admin: admin.to_str().unwrap().to_owned(), looks: Cell::new(0) };
        three.touch();
        let roles = ["--role", "flowapi", "--role", "flowauth", "--role", "autoflow"];
        three.deployment.done(&[&["up", "--detach"], &roles[..]].concat());
        three.deployment.done(&["auth", "key", "first", "--out", &three.admin]);
        three.ask(&["server", "import", openapi.to_str().unwrap()]);
        three.deployment.done(&["auth", "enrol", "--scope", "get_available_dates"]);
        three
    }

    /// FlowAuth's administration.
    fn ask(&self, what: &[&str]) -> String {
        self.deployment.done(&[&["auth", "--key-file", &self.admin], what].concat())
    }

    /// Tokens that FlowAuth has given and nobody has revoked, by their numbers.
    fn live(&self) -> Vec<i64> {
        let all: Value = serde_json::from_str(&self.ask(&["token", "list", "--all", "--format", "json"])).unwrap();
        let mut ids: Vec<i64> = all.as_array().unwrap().iter().filter_map(|token| token["id"].as_i64()).collect();
        ids.sort_unstable();
        ids
    }

    fn kept(&self) -> String {
        fs::read_to_string(self.deployment.state().join("autoflow/data/token")).unwrap_or_default()
    }

    /// Waits for another token than this one, and gives it.
    fn another(&self, than: &str) -> String {
        wait(PATIENCE, "another token", || !self.kept().is_empty() && self.kept() != than);
        self.kept()
    }

    /// A file that has changed lets days be asked for at once.
    fn touch(&self) {
        self.looks.set(self.looks.get() + 1);
        let sensor =
            "available_dates_sensor: {schedule: null, workflows: [{workflow_name: daily, parameters: {secrets: x}}]}";
        let workflows = WORKFLOWS.split_once("  - name: wrong").unwrap().0.to_owned() + sensor;
        let inputs = self.deployment.state().with_file_name("inputs");
        fs::write(inputs.join("aside"), format!("{workflows}\n# {}\n", self.looks.get())).unwrap();
        fs::rename(inputs.join("aside"), inputs.join("workflows.yml")).unwrap();
    }

    fn notes(&self) -> String {
        let status: Value = serde_json::from_str(&self.deployment.done(&["autoflow", "status", "--json"])).unwrap();
        status["notes"].to_string()
    }

    /// Has AutoFlow ask FlowAPI, and gives what it says of that then.
    fn look(&self) -> String {
        let told = || self.deployment.log().matches("FlowAPI does not say which days there are").count();
        let before = told();
        self.touch();
        wait(PATIENCE, "another look", || told() > before);
        self.notes()
    }
}

/// What FlowAPI says to a token that it takes.
const TAKEN: &str = "it answers 503";

#[test]
fn a_token_that_flowapi_does_not_take_is_replaced_and_one_that_was_revoked_is_not() {
    let three = Three::start();
    let (deployment, secrets) = (&three.deployment, three.deployment.state().join("secrets"));
    let first = three.another("");
    assert!(three.look().contains(TAKEN), "{}", three.notes());

    // Another key signs from now on, and nobody shall have what the old one signed.
    let mut rotate = Command::new(deployment.state().with_file_name("flowkit"));
    rotate.args(["secrets", "rotate", "PRIVATE_JWT_SIGNING_KEY", "--dir"]).arg(&secrets).env_clear();
    let rotated = rotate.output().unwrap();
    assert!(rotated.status.success(), "{}", show(&rotated));
    let public = fs::read_to_string(secrets.join("PUBLIC_JWT_SIGNING_KEY")).unwrap();
    fs::remove_file(secrets.join("PUBLIC_JWT_SIGNING_KEY")).unwrap();
    let end = "-----END PUBLIC KEY-----\n";
    assert_eq!(public.matches(end).count(), 2, "the old one is kept: {public}");
    fs::write(secrets.join("PUBLIC_JWT_SIGNING_KEY"), public.split_inclusive(end).next().unwrap()).unwrap();
    for service in ["flowapi", "flowauth"] {
        let before = deployment.pid(service);
        deployment.done(&["restart", service]);
        wait(PATIENCE, "its new start", || deployment.pid(service).is_some_and(|pid| Some(pid) != before));
    }
    deployment.wait_ready(PATIENCE);
    three.look();
    let second = three.another(&first);
    assert!(three.look().contains(TAKEN), "{}", three.notes());
    let live = three.live();
    assert_eq!(live.len(), 2, "one for the other");

    // That was somebody's decision: no other is asked for, however often FlowAPI says no.
    three.ask(&["token", "revoke", &live[1].to_string(), "--all"]);
    wait(PATIENCE, "FlowAPI's no", || three.look().contains("was somebody's decision"));
    assert!(!three.look().contains(TAKEN), "{}", three.notes());
    assert_eq!((three.kept(), three.live()), (second.clone(), live[..1].to_vec()));
    fs::remove_file(deployment.state().join("autoflow/data/token")).unwrap();
    let third = three.another(&second);
    assert!(three.look().contains(TAKEN), "{}", three.notes());
    let live = three.live();
    assert_eq!(live.len(), 2);

    // Neither is it by a key that was ended.
    let keys: Value = serde_json::from_str(&three.ask(&["key", "list", "--format", "json"])).unwrap();
    let own = keys.as_array().unwrap().iter().find(|key| key["username"] == "autoflow").unwrap();
    three.ask(&["key", "end", "autoflow", &own["id"].to_string()]);
    three.ask(&["token", "revoke", &live[1].to_string(), "--all"]);
    wait(PATIENCE, "what is wrong", || three.look().contains("no such key"));
    assert_eq!((three.kept(), three.live()), (third, live[..1].to_vec()));
    deployment.done(&["down"]);
}

/// What is said where a key was made.
const MADE: &str = "by a key of the machine autoflow";

/// What `make up` does, in its order, over a deployment that was brought up without AutoFlow.
#[test]
fn autoflow_comes_to_a_deployment_that_runs_and_what_an_administrator_decides_of_it_stays() {
    let deployment = Deployment::new();
    let state = deployment.state();
    deployment.configure(&format!(
        "FLOWAPI_URL = \"https://localhost:{}\"\nFLOWKIT_AUTOFLOW_PORT = {}\nFLOWKIT_AUTOFLOW_SERVER = {:?}\n\
         FLOWKIT_AUTOFLOW_PYTHON = {:?}\n",
        free_port(),
        free_port(),
        programs::autoflow(),
        environment("notebooks")
    ));
    deployment.done(&["up", "--detach", "--role", "flowauth"]);
    deployment.done(&["autoflow", "example"]);
    if rustix::process::geteuid().is_root() {
        let place = fs::metadata(state.join("autoflow")).unwrap();
        assert_ne!(place.uid(), 0, "the role's place is its user's");
    }
    let (admin, openapi) = (state.with_file_name("admin.key"), state.with_file_name("openapi.json"));
    fs::write(&openapi, OPENAPI).unwrap();
    deployment.done(&["auth", "key", "first", "--out", admin.to_str().unwrap()]);
    let ask = |what: &[&str]| deployment.done(&[&["auth", "--key-file", admin.to_str().unwrap()], what].concat());
    ask(&["server", "import", openapi.to_str().unwrap()]);
    let secret = state.join("secrets/FLOWKIT_AUTOFLOW_FLOWAUTH_KEY");
    let key = || fs::read_to_string(&secret).unwrap_or_default();
    let enrols = |more: &[&str], says: &str| {
        let before = key();
        let enrolled = deployment.flowkit(&[&["auth", "enrol", "--scope", "get_available_dates"], more].concat());
        assert!(enrolled.status.success() && show(&enrolled).contains(says), "{says}: {}", show(&enrolled));
        assert_eq!(key() != before, says == MADE, "{says}");
        show(&enrolled)
    };
    enrols(&[], MADE);
    deployment.done(&["down"]);
    deployment.done(&["autoflow", "example"]);
    deployment.done(&["up", "--detach", "--role", "flowauth", "--role", "autoflow"]);

    assert!(enrols(&[], "has a key that is good").contains("--scope changes nothing"));
    ask(&["user", "disable", "autoflow"]);
    enrols(&[], "is disabled");
    ask(&["user", "enable", "autoflow"]);
    enrols(&[], "has a key that is good");
    ask(&["role", "withdraw", "autoflow", "autoflow"]);
    enrols(&[], "has no role");
    ask(&["role", "grant", "autoflow", "autoflow"]);
    let keys: Value = serde_json::from_str(&ask(&["key", "list", "--format", "json"])).unwrap();
    let own = keys.as_array().unwrap().iter().find(|key| key["username"] == "autoflow").unwrap();
    ask(&["key", "end", "autoflow", &own["id"].to_string()]);
    enrols(&[], "was ended");

    // As where the administrator has another password by now.
    fs::write(state.join("secrets/FLOWAUTH_ADMIN_PASSWORD"), "another one, and long enough").unwrap();
    enrols(&[], "a key that is not good");
    fs::remove_file(&secret).unwrap();
    enrols(&[], "has no key yet");
    enrols(&["--key-file", admin.to_str().unwrap()], MADE);

    // Whether a key is good is not known while nobody answers.
    deployment.done(&["down"]);
    let before = key();
    assert_eq!(deployment.flowkit(&["auth", "enrol"]).status.code(), Some(1));
    assert_eq!(key(), before);
}

#[test]
fn notebooks_run_with_the_real_python_and_nothing_of_the_deployments() {
    let deployment = Deployment::new();
    let state = deployment.state();
    let (inputs, secrets) = (state.with_file_name("inputs"), state.join("secrets"));
    fs::create_dir(&inputs).unwrap();
    fs::create_dir(&secrets).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(secrets.join("FLOWAPI_TOKEN"), token()).unwrap();
    fs::write(inputs.join("workflows.yml"), WORKFLOWS.replace("STATE", state.to_str().unwrap())).unwrap();
    let day = notebook(&[("parameters", "day = secrets = None"), ("all", CELL)]);
    fs::write(inputs.join("day.ipynb"), day).unwrap();
    fs::write(inputs.join("wrong.ipynb"), notebook(&[("all", "1 / 0")])).unwrap();
    configure(&deployment, &inputs);
    deployment.done(&["autoflow", "validate"]);
    deployment.done(&["up", "--detach", "--role", "autoflow"]);
    deployment.done(&["health", "autoflow"]);

    let ran = deployment.done(&["autoflow", "run", "daily", "--dates", "2016-01-05"]);
    let files: Vec<&str> = ran.lines().map(str::trim).filter(|line| line.contains("2016-01-05_")).collect();
    let outputs = state.join("autoflow/outputs");
    let of = |suffix: &str| {
        let file = files.iter().find(|file| file.ends_with(suffix)).unwrap_or_else(|| panic!("{ran}"));
        outputs.join(file)
    };
    let executed: Value = serde_json::from_slice(&fs::read(of(".ipynb")).unwrap()).unwrap();
    let said = executed["cells"].to_string();
    assert!(said.contains("the day is 2016-01-05"), "{said}");
    assert!(said.contains("['PermissionError', 'PermissionError']"), "no secret is within reach: {said}");
    assert!(said.contains("['FLOWAPI_TOKEN', 'FLOWAPI_URL']"), "{said}");
    assert!(fs::read(of(".pdf")).unwrap().starts_with(b"%PDF"));
    assert_eq!(fs::metadata(of(".pdf")).unwrap().uid(), fs::metadata(state.join("autoflow")).unwrap().uid());

    let failed = deployment.flowkit(&["autoflow", "run", "wrong", "--dates", "2016-01-05"]);
    let words = show(&failed);
    assert!(failed.status.code() == Some(1) && words.contains("wrong.ipynb: In [1]: ZeroDivisionError"), "{words}");

    // The service walks on, over its own database, and comes back.
    let before = deployment.pid("autoflow").unwrap();
    kill(before);
    wait(PATIENCE, "another AutoFlow", || deployment.pid("autoflow").is_some_and(|pid| pid != before));
    deployment.wait_ready(PATIENCE);
    let status: Value = serde_json::from_str(&deployment.done(&["autoflow", "status", "--json"])).unwrap();
    assert_eq!(status["runs"].as_array().map(Vec::len), Some(2), "{status}");
    deployment.done(&["down"]);
    assert_eq!(deployment.processes(), Vec::<u32>::new(), "left running");
}

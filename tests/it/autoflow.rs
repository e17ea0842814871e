//! The role AutoFlow: the real notebooks' Python, behind the walls of a host.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
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
    deployment.configure(&format!(
        "FLOWAPI_URL = \"https://localhost:{}\"\nFLOWKIT_AUTOFLOW_PORT = {}\nFLOWKIT_AUTOFLOW_SERVER = {:?}\n\
         FLOWKIT_AUTOFLOW_PYTHON = {:?}\nAUTOFLOW_INPUTS_DIR = {inputs:?}\n",
        free_port(),
        free_port(),
        programs::autoflow(),
        environment("notebooks")
    ));
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

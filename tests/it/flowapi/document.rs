//! What the server says of itself, held against it: Schemathesis asks whatever our OpenAPI document allows, and much that it
//! does not, of a server before a real FlowMachine.

use std::process::{Command, Stdio};

use super::{CLIENT, started};
use crate::support::flowapi::FlowApi;
use crate::support::flowmachine::{spatial_aggregate, wait_for};

/// Turns into Schemathesis, with a token that has every scope which the document names.
///
/// Not asked are whether what is good by its schema is taken and what is bad refused: a query may have no data, and a path of any
/// text is good; and whether a bad token gets a 401: some get upstream's 422. The questions are the same each time, but for as many
/// seconds as `FLOWKIT_FUZZ_SECONDS` says, where it does.
const SCHEMATHESIS: &str = r#"
with http() as client:
    scopes = client.get("spec/openapi.json").json()["components"]["securitySchemes"]["token"]["x-security-scopes"]
checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method"]
arguments = ["run", os.environ["URL"] + "/api/0/spec/openapi.json", "--tls-verify", os.environ["CERTIFICATE"],
    "--header", f"Authorization: Bearer {token(scopes=scopes)}", "--checks", ",".join(checks), "--no-color",
    "--suppress-health-check", "all", "--request-timeout", "60", "--no-shrink", *sys.argv[2:]]
config = ["--config-file", sys.argv[1] + "/schemathesis.toml"]
os.execv(sys.executable, [sys.executable, "-I", "-m", "schemathesis.cli", *config, *arguments])
"#;

/// What leads somewhere, in most of the paths, which would be one random text among all others.
fn known(id: &str) -> String {
    let mut text = String::new();
    let paths = [("query_id", id), ("aggregation_unit", "admin3"), ("cdr_type", "calls"), ("check_id", "count_imeis")];
    for (name, value) in paths {
        let bound = format!("[parameters.\"path.{name}\"]\ndictionary = \"{name}\"\nprobability = 0.7\n");
        text.push_str(&format!("[dictionaries.{name}]\nvalues = [\"{value}\"]\n{bound}"));
    }
    text
}

#[test]
fn schemathesis_finds_no_answer_that_the_document_does_not_have() {
    let (machine, api) = started();
    let id = machine.complete(spatial_aggregate(2, "last"));
    redoc_shows_it(&api);
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("schemathesis.toml"), known(&id)).expect("a file");
    let mut command = api.client(&format!("{CLIENT}{SCHEMATHESIS}"));
    command.arg(dir.path());
    match std::env::var("FLOWKIT_FUZZ_SECONDS") {
        Ok(seconds) => command.args(["--generation-database", "none", "--max-time", &seconds]),
        Err(_) => command.args(["--generation-deterministic", "--max-examples", "12", "--max-time", "20"]),
    };
    let output = command.current_dir(dir.path()).stdin(Stdio::null()).output().expect("Python");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), machine.log());
    say::tell!("{}", said.lines().filter(|line| line.contains("generated")).collect::<String>());
}

/// The page for people, in a browser that reaches no host but this one.
fn redoc_shows_it(api: &FlowApi) {
    let profile = tempfile::tempdir().expect("a temporary directory");
    wait_for("ReDoc's page", || {
        let mut browser = Command::new("timeout");
        browser.args(["100", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        browser.args(["--ignore-certificate-errors", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"]);
        browser.arg(format!("--user-data-dir={}", profile.path().display()));
        browser.args(["--virtual-time-budget=20000", "--dump-dom"]);
        browser.arg(format!("https://localhost:{}/api/0/spec/redoc", api.port)).stdin(Stdio::null());
        let output = browser.output().expect("timeout");
        let page = String::from_utf8_lossy(&output.stdout);
        let shown = ["Run a query", "The state of a query"].iter().all(|summary| page.contains(summary));
        if shown { Ok(()) } else { Err(format!("{page}\n{}", String::from_utf8_lossy(&output.stderr))) }
    });
}

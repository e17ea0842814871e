//! What AutoFlow makes of a day that FlowETL has brought.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{FlowEtl, PATIENCE};
use crate::support::flowmachine::environment;
use crate::support::notebooks::{code, markdown, notebook, parameters, text_of_pdf};
use crate::support::poll::until;
use crate::support::ports::free_port;
use crate::support::programs;

/// Each minute.
const WORKFLOWS: &str = r#"
workflows:
  - name: daily
    notebooks:
      report:
        filename: report.ipynb
        parameters: {reference_date: reference_date, flowapi_url: flowapi_url}
        output: {format: pdf}
available_dates_sensor:
  schedule: "* * * * *"
  cdr_types: [mds]
  workflows:
    - workflow_name: daily
"#;

/// What an analyst would write.
const CELL: &str = r#"
import os
import flowclient
import pandas as pd
from IPython.display import Markdown
connection = flowclient.connect(
    url=flowapi_url, token=os.environ["FLOWAPI_TOKEN"], ssl_certificate=os.environ["SSL_CERTIFICATE_FILE"]
)
following = (pd.Timestamp(reference_date) + pd.Timedelta(days=1)).strftime("%Y-%m-%d")
metric = flowclient.event_count_spec(start_date=reference_date, end_date=following, event_types=["mds"])
rows = flowclient.histogram_aggregate(connection=connection, metric=metric, bins=[4, 5]).get_result(disable_progress=True)
lines = [f"{int(row.value)} people with {int(row.lower_edge)} records" for row in rows.dropna().itertuples()]
Markdown(f"On {reference_date}: {', '.join(lines)}.")
"#;

/// Settings of an AutoFlow with that workflow.
pub fn settings(inputs: &PathBuf) -> String {
    fs::create_dir(inputs).unwrap();
    fs::write(inputs.join("workflows.yml"), WORKFLOWS).unwrap();
    let cells = [markdown("# A day"), parameters(code("reference_date = flowapi_url = None")), code(CELL)];
    fs::write(inputs.join("report.ipynb"), notebook(&cells).to_string()).unwrap();
    format!(
        "FLOWKIT_AUTOFLOW_PORT = {}\nFLOWKIT_AUTOFLOW_SERVER = {:?}\nFLOWKIT_AUTOFLOW_PYTHON = {:?}\nAUTOFLOW_INPUTS_DIR = {inputs:?}\n",
        free_port(),
        programs::autoflow(),
        environment("notebooks")
    )
}

/// Lets AutoFlow ask what its notebook asks.
pub fn enrol(etl: &FlowEtl) {
    let scopes = "get_available_dates,run,get_result,nonspatial:histogram_aggregate:*";
    etl.deployment.done(&["auth", "enrol", "--scope", scopes]);
}

/// AutoFlow notices the day by itself, and its report has the numbers of the file.
pub fn it_is_made_of_the_day(etl: &FlowEtl) {
    let report = until(PATIENCE, "the report", || {
        let runs = runs(etl);
        let files = runs.first().filter(|run| run["state"] == "success").map(|run| run["files"].clone());
        let files = files.ok_or_else(|| format!("{runs:?}"))?;
        let pdf = files.as_array().into_iter().flatten().filter_map(Value::as_str).find(|file| file.ends_with(".pdf"));
        let path = pdf.map(|pdf| etl.deployment.state().join("autoflow/outputs").join(pdf));
        path.filter(|path| path.exists()).ok_or_else(|| "it is not in its place".to_owned())
    });
    let text = text_of_pdf(&report);
    assert!(text.contains("On 2016-03-01: 50 people with 4 records."), "{text}");
}

/// Whatever `flowkit verify` did, of its own day there is no run.
pub fn nothing_else_was_run(etl: &FlowEtl) {
    let days: Vec<String> = runs(etl).iter().map(|run| run["reference_date"].to_string()).collect();
    assert_eq!(days, ["\"2016-03-01\""]);
}

fn runs(etl: &FlowEtl) -> Vec<Value> {
    let status = etl.deployment.done(&["autoflow", "status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    status["runs"].as_array().cloned().unwrap_or_default()
}

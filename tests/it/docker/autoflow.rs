//! AutoFlow in its container: a workflow over the stack's data, behind the walls that a notebook has there.

use std::fs;
use std::path::Path;

use super::stack::Up;
use crate::support::notebooks::{code, notebook, parameters, text_of_pdf};

const WORKFLOWS: &str = r#"
workflows:
  - name: daily
    notebooks:
      day:
        filename: day.ipynb
        parameters: {day: reference_date}
        output: {format: pdf}
available_dates_sensor:
  schedule: "0 0 1 1 *"
  workflows: [{workflow_name: daily}]
"#;

/// People on a day, if nothing of the container's secrets and of AutoFlow's own files can be read.
const CELL: &str = r#"
import flowclient
import matplotlib.pyplot as plt
# By which upstream's notebooks find their token: it looks among a container's secrets first.
from get_secret_or_env_var import environ

def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
found = {path: read(path) for path in ("/run/secrets/FLOWAPI_TOKEN", "/var/lib/autoflow/autoflow.sqlite", "/proc/1/environ")}
assert set(found.values()) == {"PermissionError"}, found

connection = flowclient.Connection(
    url=environ["FLOWAPI_URL"], token=environ["FLOWAPI_TOKEN"].strip(), ssl_certificate=environ["SSL_CERTIFICATE_FILE"])
spec = flowclient.daily_location_spec(date=day, aggregation_unit="admin3", method="last")
rows = flowclient.spatial_aggregate(connection=connection, locations=spec).get_result(poll_interval=0.2, disable_progress=True)
plt.bar(rows.pcod, rows.value)
plt.show()
f"{int(rows.value.sum())} people on {day}"
"#;

/// The workflow, in a directory that is there.
pub(super) fn workflows(inputs: &Path) {
    fs::write(inputs.join("workflows.yml"), WORKFLOWS).unwrap();
    let cells = [parameters(code("day = None")), code(CELL)];
    fs::write(inputs.join("day.ipynb"), notebook(&cells).to_string()).unwrap();
}

/// The report of a day says how many people there were.
pub(super) fn makes_a_report(up: &Up, outputs: &Path, day: &str, people: u64) {
    let container = up.container("autoflow");
    let run = ["autoflow", "run", "daily", "--dates", day, "--dir", "/dev/shm/flowkit"];
    let told = up.engine.try_docker(&[&["exec", &container, "/bin/flowkit"], &run[..]].concat());
    assert!(told.status.success(), "{}", crate::support::deployment::show(&told));
    let reports = fs::read_dir(outputs.join("reports")).unwrap().map(|entry| entry.unwrap().path());
    let pdfs: Vec<_> = reports.filter(|path| path.extension().is_some_and(|kind| kind == "pdf")).collect();
    assert_eq!(pdfs.len(), 1, "{pdfs:?}");
    let text = text_of_pdf(&pdfs[0]);
    assert!(text.contains(&format!("{people} people on {day}")), "{text}");
}

//! AutoFlow in its container: a workflow over the stack's data, behind the walls that a notebook has there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stack::Up;
use crate::support::deployment::show;
use crate::support::flowapi;
use crate::support::notebooks::{code, notebook, parameters, text_of_pdf};
use crate::support::poll::until;

const WORKFLOWS: &str = r#"
workflows:
  - name: daily
    notebooks:
      day:
        filename: day.ipynb
        parameters: {day: reference_date}
        output: {format: pdf}
available_dates_sensor:
  schedule: "* * * * *"
  cdr_types: [calls]
  workflows:
    - workflow_name: daily
      earliest_date: EARLIEST
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
found = {path: read(path) for path in ("/run/secrets/FLOWAPI_TOKEN", "/run/secrets/FLOWKIT_AUTOFLOW_FLOWAUTH_KEY", "/var/lib/autoflow/autoflow.sqlite", "/proc/1/environ")}
assert set(found.values()) == {"PermissionError"}, found

connection = flowclient.Connection(
    url=environ["FLOWAPI_URL"], token=environ["FLOWAPI_TOKEN"].strip(), ssl_certificate=environ["SSL_CERTIFICATE_FILE"])
spec = flowclient.daily_location_spec(date=day, aggregation_unit="admin3", method="last", event_types=["calls"])
rows = flowclient.spatial_aggregate(connection=connection, locations=spec).get_result(poll_interval=0.2, disable_progress=True)
plt.bar(rows.pcod, rows.value)
plt.show()
f"{int(rows.value.sum())} people in {len(rows)} areas on {day}"
"#;

/// The workflow, in a directory that is there; for days from `earliest` on.
pub(super) fn workflows(inputs: &Path, earliest: &str) {
    fs::write(inputs.join("workflows.yml"), WORKFLOWS.replace("EARLIEST", earliest)).unwrap();
    let cells = [parameters(code("day = None")), code(CELL)];
    fs::write(inputs.join("day.ipynb"), notebook(&cells).to_string()).unwrap();
}

/// As the manual says: a machine of FlowAuth's, by its administrator's first password, whose key is put among the secrets.
pub(super) fn is_enrolled(up: &Up) {
    let mut enrol = up.engine.on_node(env!("CARGO_BIN_EXE_flowkit"));
    let output = enrol.args(["auth", "enrol", "--dir"]).arg(up.place.join("fk")).output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("AutoFlow gets its tokens from FlowAuth by a key of the machine autoflow"), "{told}");
}

/// It has got a token from FlowAuth, which is good.
pub(super) fn has_a_token_of_its_own(up: &Up) {
    let pid = up.engine.docker(&["inspect", "--format", "{{.State.Pid}}", &up.container("autoflow")]);
    let kept = format!("/proc/{pid}/root/var/lib/autoflow/token");
    let kept = until(Duration::from_secs(60), "AutoFlow's token", || fs::read_to_string(&kept));
    // Below a line about whose place it takes.
    let token = kept.lines().last().unwrap();
    let node = up.engine.on_node(flowapi::python().to_str().unwrap());
    flowapi::guide(node, 9090, token, &Path::new(up.secrets).join("cert-flowkit.pem")).unwrap();
}

/// Cells in three areas, and how many people are to be at each; at the last so few that FlowAPI tells nobody.
pub(super) fn cells(up: &Up) -> Vec<(String, u64)> {
    let cells = up.asked(
        "select string_agg(id, ' ' order by area) from (
             select min(cell.id) as id, ward.admin3pcod as area from infrastructure.cells as cell
             join geography.admin3 as ward on st_within(cell.geom_point, st_setsrid(ward.geom, 4326))
             group by ward.admin3pcod order by ward.admin3pcod limit 3) as found",
    );
    let cells = cells.split(' ').map(str::to_owned);
    cells.zip([60, 40, 5]).collect()
}

/// A day that has come is noticed, and its report says how many people there were.
pub(super) fn makes_a_report(up: &Up, outputs: &Path, day: &str, cells: &[(String, u64)]) {
    let (began, reports) = (Instant::now(), outputs.join("reports"));
    let pdfs = || -> Vec<PathBuf> {
        let reports = fs::read_dir(&reports).into_iter().flatten().map(|entry| entry.unwrap().path());
        reports.filter(|path| path.extension().is_some_and(|kind| kind == "pdf")).collect()
    };
    let status = || {
        let status =
            ["exec", &up.container("autoflow"), "/bin/flowkit", "autoflow", "status", "--dir", "/dev/shm/flowkit"];
        show(&up.engine.try_docker(&status))
    };
    until(Duration::from_secs(300), "AutoFlow's report", || {
        std::thread::sleep(Duration::from_secs(1));
        if pdfs().is_empty() { Err(status()) } else { Ok(()) }
    });
    let pdfs = pdfs();
    assert_eq!(pdfs.len(), 1, "{pdfs:?}");
    let text = text_of_pdf(&pdfs[0]);
    let told = cells.iter().map(|(_, people)| people).filter(|people| **people > 15);
    assert!(text.contains(&format!("{} people in 2 areas on {day}", told.sum::<u64>())), "{text}");
    // For who wants to look at it.
    fs::copy(&pdfs[0], Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-of-a-stack.pdf")).unwrap();
    say::tell!("from the day in FlowDB to its report: {:.1} s", began.elapsed().as_secs_f64());
}

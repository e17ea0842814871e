//! What runs for which days, and what becomes of its files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::all;
use crate::rig::{Rig, token, wait};

const TWO: &str = r#"
workflows:
  - name: flows
    notebooks:
      report:
        filename: flows_report.ipynb
        parameters: {previous: run_flows, url: flowapi_url}
        output: {format: pdf}
      run_flows:
        filename: run_flows.ipynb
        parameters: {unit: unit, day: reference_date, ranges: date_ranges}
available_dates_sensor:
  schedule: "0 0 * * *"
  cdr_types: [calls, mds]
  workflows:
    - {workflow_name: flows, parameters: {unit: admin2}, date_stencil: [-1, 0]}
"#;

const RUN_FLOWS: &str = r#"
import os
say(f"{unit} {day} {ranges}")
say(sorted(os.environ))
say(os.environ["FLOWAPI_TOKEN"])
say(open(os.environ["SSL_CERTIFICATE_FILE"]).read()[:27])
open("table.csv", "w").write("a,b\n")
os.symlink("/etc/passwd", "link")
"#;

const FLOWS_REPORT: &str = r#"
import json
say(json.load(open(previous))["parameters"]["unit"])
say(url)
"#;

#[tokio::test]
async fn a_new_day_runs_and_its_files_are_whole_and_named_as_upstream_does() {
    let rig = Rig::new(&["2016-01-01", "2016-01-02"], TWO, &[("run_flows", RUN_FLOWS), ("flows_report", FLOWS_REPORT)]);
    let running = rig.start();
    assert_eq!((rig.asked(), running.runs().len()), (0, 0), "the schedule's moment has not come");
    rig.come_due().await;
    let runs = running.wait_for(&rig, &["flows 2016-01-02 success"]);
    // As upstream's: STEM__WORKFLOW_DAY_HASH__TIME.
    let hash = runs[0]["parameters_hash"].as_str().unwrap();
    wait(&rig, "the files", || rig.outputs(".running").is_empty());
    let [report, flows] = &rig.outputs("notebooks")[..] else { panic!("{:?}", rig.outputs("notebooks")) };
    assert!(
        flows.starts_with(&format!("run_flows__flows_2016-01-02_{hash}__20")) && flows.ends_with("Z.ipynb"),
        "{flows}"
    );
    let stem = report.strip_suffix(".ipynb").unwrap();
    assert_eq!(rig.outputs("reports"), [format!("{stem}.html"), format!("{stem}.pdf")]);
    let read = |name: &str| fs::read_to_string(rig.path("outputs/notebooks").join(name)).unwrap();
    let flows: Value = serde_json::from_str(&read(flows)).unwrap();
    let said = flows["said"].as_array().unwrap();
    assert_eq!(said[0], "admin2 2016-01-02 [['2016-01-01', '2016-01-02'], ['2016-01-02', '2016-01-03']]");
    let environment: Vec<&str> = said[1].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let known = [
        "FLOWAPI_TOKEN",
        "FLOWAPI_URL",
        "FONTCONFIG_FILE",
        "HOME",
        "LANG",
        "LC_CTYPE",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
    ];
    let more = ["PYTHONSAFEPATH", "PYTHONUNBUFFERED", "SSL_CERTIFICATE_FILE", "TMPDIR", "TZ", "XDG_CACHE_HOME"];
    assert!(
        environment.iter().all(|name| known.contains(name) || more.contains(name)),
        "made from nothing: {environment:?}"
    );
    let given = fs::read_to_string(rig.path("secrets/FLOWAPI_TOKEN")).unwrap();
    assert_eq!((&said[2], &said[3]), (&given.into(), &"-----BEGIN CERTIFICATE-----".into()));
    let second: Value = serde_json::from_str(&read(report)).unwrap();
    assert_eq!(
        second["said"],
        serde_json::json!(["admin2", rig.settings["FLOWAPI_URL"]]),
        "it has found the first's result"
    );
    // What a notebook writes beside is kept; no link of its is.
    let [beside] = &rig.outputs("files")[..] else { panic!("one") };
    assert_eq!(rig.outputs(&format!("files/{beside}")), ["table.csv"]);
    let mode = |name: &str| fs::metadata(rig.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&format!("outputs/reports/{stem}.pdf")), mode("outputs/reports")), (0o644, 0o755));
    assert!(rig.outputs(".running").is_empty() && fs::read_dir(rig.path("state/runs")).unwrap().next().is_none());

    // Only the new day, by a token that was replaced meanwhile.
    assert!(rig.log().contains("FLOWAPI_TOKEN ends at") && rig.log().contains("in 3 days"), "{}", rig.log());
    assert!(running.get("/", "localhost").unwrap().contains("FLOWAPI_TOKEN ends at"));
    rig.put("secrets/FLOWAPI_TOKEN", &token("second", 300));
    rig.take_token(&token("second", 300));
    rig.add_day("2016-01-03");
    rig.come_due().await;
    running.wait_for(&rig, &["flows 2016-01-02 success", "flows 2016-01-03 success"]);
    wait(&rig, "the files", || rig.outputs("notebooks").len() == 4 && rig.outputs(".running").is_empty());

    // The page.
    let page = running.get("/", "localhost").unwrap();
    assert!(!page.contains("FLOWAPI_TOKEN"), "its end is far away now");
    assert!(
        page.contains("2016-01-03")
            && page.contains(&format!("/outputs/reports/{}%2Epdf", stem.replace('_', "%5F").replace('-', "%2D"))),
        "{page}"
    );
    assert!(running.get(&format!("/outputs/reports/{stem}.pdf"), "127.0.0.1:1").is_some());
    assert!(running.get("/", "rebound.example").is_none(), "a foreign page can't read it by a name of its own");
    // One that is larger than what there is of memory, perhaps.
    let large = fs::File::create(rig.path("outputs/notebooks/large.ipynb")).unwrap();
    large.set_len(1 << 40).unwrap();
    assert!(running.begins("/outputs/notebooks/large.ipynb").starts_with("HTTP/1.1 200"));
    fs::remove_file(rig.path("outputs/notebooks/large.ipynb")).unwrap();
    for other in
        ["/outputs/files/x", "/outputs/notebooks/..%2F..%2Fsecrets%2FFLOWAPI_TOKEN", "/outputs/notebooks/.running"]
    {
        assert!(running.get(other, "localhost").is_none(), "{other}");
    }

    // A broken edit changes nothing, and a good one counts.
    rig.put("inputs/workflows.yml", &TWO.replace("admin2", "[admin"));
    wait(&rig, "it is told", || rig.log().contains("broken; what it said before still counts"));
    assert!(running.get("/", "localhost").unwrap().contains("workflows.yml is broken"));
    rig.add_day("2016-01-04");
    rig.come_due().await;
    running.wait_for(&rig, &["flows 2016-01-02 success", "flows 2016-01-03 success", "flows 2016-01-04 success"]);
    rig.put("inputs/workflows.yml", &TWO.replace("admin2", "admin3").replace("[-1, 0]", "[-3, 0]"));
    wait(&rig, "it is told", || rig.log().contains("is what counts from now on"));
    // Days are asked for anew, though the schedule's moment has not come: what had waited has been dropped.
    let days = ["2016-01-02", "2016-01-03", "2016-01-04"].map(|day| format!("flows {day} success"));
    // With other parameters it is another run.
    running.wait_for(&rig, &[&*days[0], &*days[1], &*days[2], &*days[2]]);
    running.stop();

    // By hand, and what it says of itself without a server.
    let again = rig.autoflow(&["run", "flows", "--dates", "2016-01-04"]);
    assert!(
        again.status.success() && String::from_utf8_lossy(&again.stdout).contains("flows 2016-01-04: success"),
        "{again:?}"
    );
    let status = rig.autoflow(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_else(|_| panic!("{status:?}"));
    assert_eq!(status["runs"].as_array().unwrap().len(), 4);
    let unknown = rig.autoflow(&["run", "other", "--dates", "2016-01-04"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

#[test]
fn what_is_wrong_with_the_file_is_said_before_anything_runs() {
    let rig = Rig::new(&[], &all(&["a"], "null").replace("a.ipynb", "b.ipynb"), &[("a", "")]);
    let path = rig.path("inputs/workflows.yml");
    for args in [&["validate"][..], &["validate", path.to_str().unwrap()], &[]] {
        let output = rig.autoflow(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let says = "workflows.yml, line 2, column 41, workflows[0].notebooks.n.filename: Notebook 'b.ipynb' not found.";
        // Without leave to listen at a low port the program says that first.
        assert!(said.contains(says) || said.contains("can't listen on port 1"), "{said}");
    }
    fs::remove_file(rig.path("secrets/FLOWAPI_TOKEN")).unwrap();
    rig.put("inputs/workflows.yml", &all(&["a"], "null"));
    let output = rig.autoflow(&["validate"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("a: a.ipynb"), "{output:?}");
}

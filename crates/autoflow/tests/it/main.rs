//! AutoFlow's program over directories of its own, with small Python programs for notebooks.

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rig::{Rig, processes_with, short, token, wait};
use rustix::process::Signal;
use serde_json::Value;

/// A workflow of one notebook.
fn one(name: &str, filename: &str) -> String {
    format!(
        "  - {{name: {name}, notebooks: {{n: {{filename: {filename}.ipynb, parameters: {{day: reference_date}}}}}}}}\n"
    )
}

/// Workflows of one notebook each, whose names they have, run by a schedule.
fn all(names: &[&str], schedule: &str) -> String {
    let workflows: String = names.iter().map(|name| one(name, name)).collect();
    let run: String = names.iter().map(|name| format!("    - {{workflow_name: {name}}}\n")).collect();
    format!("workflows:\n{workflows}available_dates_sensor:\n  schedule: {schedule}\n  workflows:\n{run}")
}

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

#[test]
fn what_misbehaves_is_one_clear_entry_and_harms_nobody() {
    let gaps = supervisor::gaps();
    let ci = std::env::var_os("FLOWKIT_CI").is_some();
    assert!(gaps.is_empty() || !ci, "this kernel can't hold notebooks: {gaps:?}");
    let outside = "open(ROOT + '/inputs/workflows.yml', 'a').write('x')";
    let secret = "open(ROOT + '/secrets/FLOWAPI_TOKEN').read()";
    let state = "open(ROOT + '/state/autoflow.sqlite').read()";
    let others = "import os; open(ROOT + '/outputs/notebooks/x', 'w')";
    let network = "import socket; socket.create_connection(('127.0.0.1', 1))";
    let datagram = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)";
    let kill = "import os; os.kill(AUTOFLOW, 9)";
    // The guard's parent is AutoFlow, which has a secret in its environment.
    let environment = "up = int(open('/proc/%d/stat' % AUTOFLOW).read().split()[3])\n\
                       text = open('/proc/%d/environ' % up).read()\n\
                       assert 'hunter2' not in text\nraise PermissionError('nothing to see')";
    // A link in the place of its result: what is read of it must not become a page.
    let plant = "import os, sys\nout = sys.argv[5]\nos.remove(out)\nos.symlink(ROOT + '/secrets/FLOWAPI_TOKEN', out)\nos._exit(0)";
    // By these modes nobody may look; another mode it can't give.
    let litter = "import os, sys\nos.close(os.open('closed', os.O_CREAT | os.O_WRONLY, 0))\nos.symlink('/etc/passwd', 'link')\n\
                  os.mkdir('odd', 0o300)\nopen('odd/x', 'w').close()\n\
                  open(os.path.dirname(sys.argv[5]) + '/raise__other.ipynb', 'w').close()\n\
                  for at in (os.getcwd(), os.environ['TMPDIR']):\n    os.chdir(at)\n    for _ in range(1900):\n        \
                  os.mkdir('d', 0o300)\n        os.chdir('d')";
    let fork =
        "import os, time\nfor _ in range(400):\n    if os.fork() == 0:\n        time.sleep(600)\ntime.sleep(600)";
    // A daemon that outlives its notebook.
    let leave = "import subprocess, sys; subprocess.Popen(['/usr/bin/sleep', '31234'], start_new_session=True)";
    let bad = [
        ("raise", "raise ValueError('no\\nnumbers')", "ValueError: no numbers"),
        ("hang", "import time; time.sleep(600)", "hang.ipynb: it took longer than 15 s (FLOWKIT_AUTOFLOW_TIMEOUT)"),
        ("memory", "x = bytearray(400 << 20)", "MemoryError"),
        (
            "share",
            "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(b'x') * (100 << 20)\n        time.sleep(600)\ntime.sleep(600)",
            "share.ipynb: it took more than 256 MiB of memory (FLOWKIT_AUTOFLOW_MEMORY)",
        ),
        ("fork", fork, "fork.ipynb: it had more than 256 processes at once"),
        ("die", "import os; os.kill(os.getpid(), 9)", "die.ipynb: its program was killed by signal 9"),
        ("plant", plant, "plant.ipynb: what was executed can't be kept: it has become a link"),
        ("outside", outside, "PermissionError"),
        ("secret", secret, "PermissionError"),
        ("state", state, "PermissionError"),
        ("others", others, "PermissionError"),
        ("network", network, "PermissionError"),
        ("datagram", datagram, "PermissionError"),
        ("kill", kill, "PermissionError"),
        ("environment", environment, "PermissionError"),
    ];
    let walls = ["outside", "secret", "state", "others", "network", "datagram", "kill", "environment"];
    let bad: Vec<_> = bad.into_iter().filter(|(name, ..)| gaps.is_empty() || !walls.contains(name)).collect();
    let names: Vec<&str> = bad.iter().map(|(name, ..)| *name).chain(["leave", "litter", "good", "paper"]).collect();
    let notebooks: Vec<(&str, &str)> = bad.iter().map(|(name, text, _)| (*name, *text)).collect();
    let mut rig = Rig::new(&["2016-01-01"], "", &notebooks);
    rig.put("inputs/leave.ipynb", leave);
    rig.put("inputs/litter.ipynb", litter);
    rig.put("inputs/good.ipynb", "say(day)");
    rig.put("inputs/paper.ipynb", "say('no report')");
    let mut file = all(&names, "null");
    for name in ["paper", "plant", "litter"] {
        let plain = format!("filename: {name}.ipynb, parameters");
        file = file.replace(&plain, &format!("filename: {name}.ipynb, output: {{format: pdf}}, parameters"));
    }
    rig.put("inputs/workflows.yml", &file);
    for (name, value) in [("TIMEOUT", "15"), ("MEMORY", "268435456"), ("ATTEMPTS", "1"), ("CONCURRENCY", "3")] {
        rig.settings.insert(format!("FLOWKIT_AUTOFLOW_{name}"), value.to_owned());
    }
    for (name, text) in notebooks {
        let text =
            text.replace("ROOT", &format!("{:?}", rig.dir.path())).replace("AUTOFLOW", "__import__('os').getppid()");
        // The guard is the parent, and has AutoFlow's user as AutoFlow has.
        rig.put(&format!("inputs/{name}.ipynb"), &text);
    }
    let running = rig.start();
    let mut wanted: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "{name} 2016-01-01 {}",
                if ["leave", "litter", "good"].contains(name) { "success" } else { "failed" }
            )
        })
        .collect();
    wanted.sort();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let runs = running.wait_for(&rig, &wanted);
    let errors: BTreeMap<String, String> =
        runs.iter().map(|run| (short(run), run["error"].as_str().unwrap_or_default().to_owned())).collect();
    for (name, _, says) in &bad {
        let error = &errors[&format!("{name} 2016-01-01 failed")];
        assert!(error.contains(says) && !error.contains('\n'), "{name}: {error}");
        assert!(error.starts_with(&format!("{name}.ipynb: ")), "{error}");
    }
    let paper = &errors["paper 2016-01-01 failed"];
    assert_eq!(
        paper,
        "the notebooks ran, but the report of paper.ipynb could not be made: ValueError: it has no pages"
    );
    assert!(rig.outputs("notebooks").iter().any(|name| name.starts_with("raise__")), "as far as it came");
    wait(&rig, "all is in its place", || rig.outputs(".running").is_empty());
    assert_eq!(rig.outputs("notebooks").len(), names.len() - 1, "each once, but what was planted");
    let reports = rig.outputs("reports");
    assert!(reports.len() == 2 && reports.iter().all(|name| name.starts_with("litter__")), "{reports:?}");
    let beside = rig.outputs("files").into_iter().find(|name| name.starts_with("litter_")).expect("what it wrote");
    assert_eq!(rig.outputs(&format!("files/{beside}")), ["closed", "d", "odd"]);
    let mode =
        |name: &str| fs::metadata(rig.path("outputs/files").join(&beside).join(name)).unwrap().permissions().mode();
    assert_eq!(
        [mode("closed"), mode("odd"), mode("odd/x"), mode("")].map(|mode| mode & 0o777),
        [0o644, 0o755, 0o644, 0o755]
    );
    assert!(fs::read_dir(rig.path("state/runs")).unwrap().next().is_none());
    if gaps.is_empty() {
        assert!(!rig.outputs("logs").iter().any(|name| name.starts_with("litter__")), "a report needs no unix sockets");
    }
    assert_eq!(processes_with("31234".as_ref()), [""; 0], "nothing outlives its notebook");
    assert_eq!(processes_with(&rig.path("env")), [""; 0]);
    running.stop();
}

#[tokio::test]
async fn killed_at_any_moment_it_loses_nothing_and_runs_nothing_twice() {
    let days: Vec<String> = (1..=12).map(|day| format!("2016-01-{day:02}")).collect();
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&days, &all(&["a"], "'0 0 1 1 *'"), &[("a", "import time; time.sleep(0.05)")]);
    rig.settings.insert("FLOWKIT_AUTOFLOW_ATTEMPTS".to_owned(), "100".to_owned());
    rig.settings.insert("FLOWKIT_AUTOFLOW_CONCURRENCY".to_owned(), "2".to_owned());
    let wanted: Vec<String> = days.iter().map(|day| format!("a {day} success")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for round in 0..6u64 {
        let mut running = rig.start();
        if round == 0 {
            // Once: from then on what waits is made up for, whatever the schedule says.
            rig.come_due().await;
        }
        std::thread::sleep(std::time::Duration::from_millis(120 + round * 130 % 500));
        running.signal(if round % 3 == 2 { Signal::TERM } else { Signal::KILL });
        let _ = running.child.wait();
    }
    let running = rig.start();
    running.wait_for(&rig, &wanted);
    wait(&rig, "all is in its place", || {
        rig.outputs("notebooks").len() == days.len() && rig.outputs(".running").is_empty()
    });
    wait(&rig, "nothing is left", || processes_with(&rig.path("env")).is_empty());
    running.stop();
    assert_eq!(rig.outputs("notebooks").len(), days.len(), "each once");
}

#[test]
fn two_on_one_database_share_the_work() {
    let days: Vec<String> = (1..=8).map(|day| format!("2016-01-{day:02}")).collect();
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    let mut rig = Rig::new(
        &days,
        &all(&["a"], "null"),
        &[("a", "import os, time; time.sleep(0.1); open(os.environ['TMPDIR'] + '/x', 'w')")],
    );
    let uri = format!("sqlite:///{}", rig.path("shared.sqlite").display());
    rig.put("secrets/AUTOFLOW_DB_URI", &uri);
    let first = rig.start();
    let refused = rig.autoflow(&[]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("another AutoFlow runs with this directory"),
        "{refused:?}"
    );
    // What one keeps for a moment is not the other's to remove.
    let other = rig.path("other-state");
    fs::create_dir(&other).unwrap();
    rig.settings.insert("STATE_DIRECTORY".to_owned(), other.to_str().unwrap().to_owned());
    let second = rig.start();
    let wanted: Vec<String> = days.iter().map(|day| format!("a {day} success")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let runs = second.wait_for(&rig, &wanted);
    assert!(runs.iter().all(|run| run["attempts"] == 1), "{runs:?}");
    wait(&rig, "all is in its place", || rig.outputs("notebooks").len() == days.len());
    first.stop();
    second.stop();
    assert_eq!(rig.outputs("notebooks").len(), days.len(), "each once");
}

#[tokio::test]
async fn while_flowapi_is_away_nothing_is_tried_and_all_else_goes_on() {
    let notebook = "import os\nassert os.path.exists(os.path.dirname(__import__('sys').argv[4]) + '/flag'), 'not yet'";
    let rig = Rig::new(&["2016-01-01"], &all(&["a"], "'0 0 1 1 *'"), &[("a", notebook)]);
    rig.hang(true);
    let running = rig.start();
    rig.come_due().await;
    wait(&rig, "the question", || rig.asked() == 1);
    assert!(running.get("/", "localhost").unwrap().contains("Nothing has run yet."), "the page answers meanwhile");
    let began = std::time::Instant::now();
    running.stop();
    assert!(began.elapsed().as_secs() < 12, "it stops in time: {:?}", began.elapsed());

    // By another start it is asked anew; the run fails once.
    rig.hang(false);
    let running = rig.start();
    rig.come_due().await;
    let failed = running.wait_for(&rig, &["a 2016-01-01 failed"]);
    assert_eq!(failed[0]["attempts"], 1, "{failed:?}");
    let good = fs::read_to_string(rig.path("secrets/FLOWAPI_TOKEN")).unwrap();
    rig.take_token("another");
    wait(&rig, "it is said", || rig.log().contains("FlowAPI does not say which days there are: it answers 401"));
    assert!(running.get("/", "localhost").unwrap().contains("failed: it answers 401"));
    rig.put("inputs/flag", "");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(running.runs()[0]["attempts"], 1, "no attempt is wasted");
    rig.take_token(&good);
    let runs = running.wait_for(&rig, &["a 2016-01-01 success"]);
    assert_eq!(runs[0]["attempts"], 2, "{runs:?}");

    // A clock that was ten years ahead must not put off the next look by as many.
    let now = autoflow::engine::now();
    rig.looked(now + 3650 * 86_400).await;
    let latest = time::OffsetDateTime::from_unix_timestamp(now + 367 * 86_400).unwrap().year();
    wait(&rig, "the next look", || {
        let page = running.get("/", "localhost").unwrap();
        let next = page.split("asked for next at ").nth(1).and_then(|rest| rest.get(..4)?.parse::<i32>().ok());
        next.is_some_and(|year| year <= latest)
    });
    running.stop();
}

//! Notebooks that do what they should not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::all;
use crate::rig::{Rig, processes_with, short, wait};

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
    let hide = "import ctypes, os\nassert ctypes.CDLL(None, use_errno=True).prctl(4, 0, 0, 0, 0) == -1\n\
                raise OSError(ctypes.get_errno(), 'seen')";
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
        ("hide", hide, "PermissionError"),
    ];
    let walls = ["outside", "secret", "state", "others", "network", "datagram", "kill", "environment", "hide"];
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

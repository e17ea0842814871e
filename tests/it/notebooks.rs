//! What runs analysts' notebooks and makes reports of them (`python/flowkit_notebooks`), as AutoFlow and `verify --examples` call it.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::deployment::{kill, show};
use crate::support::notebooks::{Notebooks, code, markdown, notebook, parameters, ran, text_of_pdf};
use crate::support::poll::{until, wait};

const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn good(output: &Output) {
    assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", output.status, show(output));
}

/// What was said in one line of a failure.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.code() == Some(code) && output.stdout.is_empty(), "{}: {}", output.status, show(output));
    assert_eq!(said.lines().count(), 1, "{said}");
    said.trim_end().to_owned()
}

/// Upstream's way: the second notebook of a workflow gets the path of the first and reads what that one left.
#[test]
fn parameters_arrive_values_pass_and_the_report_shows_what_was_put_out() {
    let rig = Notebooks::new();
    let cells = [
        markdown("Not a heading"),
        parameters(code("reference_date = 'unset'\nunits = 'unset'")),
        code(
            "import scrapbook as sb\nsb.glue('day', reference_date)\nsb.glue('flows', {'a': [1, 2.5, None]})\nprint('whispered')",
        ),
        code("import pandas\nsb.glue('table', pandas.DataFrame({'people': [1234567]}), display=True)"),
    ];
    rig.write("first.ipynb", &notebook(&cells));
    let given = json!({"reference_date": "2016-01-05", "units": ["admin2", "it's \"quoted\""]}).to_string();
    good(&rig.run(&["execute", "first.ipynb", "{first} run.ipynb"], &given));

    // No cell is tagged here: the parameters come first.
    let cells = [
        markdown("# Flows of *one* day\n\nSeen from {here} & there"),
        code(
            "import scrapbook as sb\nbefore = sb.read_notebook(previous)\nbefore.reglue('table')\nprint('whispered')\n\
             found = before.scraps['flows'].data['a'] + [before.scraps.data_dict['day'], before.parameters['units'][1]]\nfound",
        ),
        code("import matplotlib.pyplot as plot\nplot.plot([1, 2]);"),
        // At a socket's path nobody asks for a password; not even another thread gets there.
        code(
            "import socket, time\nsaid = []\ndef unix():\n    try:\n        said.append(socket.socket(socket.AF_UNIX))\n    except OSError as error:\n        said.append(error.strerror)\n\
             get_ipython().kernel.iopub_thread.schedule(unix)\nunix()\nwhile len(said) < 2:\n    time.sleep(0.1)\nsaid",
        ),
        code("from get_secret_or_env_var import environ, getenv\nimport flowclient, geopandas, os\nsorted(os.environ)"),
    ];
    rig.write("second.ipynb", &notebook(&cells));
    let previous = rig.path("{first} run.ipynb");
    good(&rig.run(&["execute", "second.ipynb", "done.ipynb"], &json!({"previous": previous}).to_string()));
    good(&rig.report("done", &[]));

    let (html, pdf) = (rig.text("done.html"), text_of_pdf(&rig.path("done.pdf")));
    let refused = "['Operation not permitted', 'Operation not permitted']";
    for shown in [refused, "Flows of one day", "1234567", "[1, 2.5, None, '2016-01-05', 'it\\'s \"quoted\"']"] {
        assert!(pdf.contains(shown), "{shown}: {pdf}");
    }
    assert!(html.contains("<title>Flows of one day</title>") && html.contains("data:image/png;base64,"), "{html}");
    for hidden in ["sb.read_notebook", "import", "whispered", "In [", "Out["] {
        assert!(!pdf.contains(hidden) && !html.contains(hidden), "{hidden}: {pdf}");
    }
    // What the kernel kept in files is gone with it; nothing is half-written.
    let left = || fs::read_dir(rig.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = left().collect();
    left.sort();
    let expected = ["done.html", "done.ipynb", "done.pdf", "first.ipynb", "second.ipynb", "{first} run.ipynb"];
    assert_eq!(left, expected);
}

#[test]
fn what_goes_wrong_is_one_line_and_the_notebook_stays_as_far_as_it_came() {
    let rig = Notebooks::new();
    let run = |name: &str, cells: &[Value]| {
        let input = format!("{name}.ipynb");
        rig.write(&input, &notebook(cells));
        rig.run(&["execute", &input, &format!("{name}-run.ipynb")], "{}")
    };
    let raising = [code("1 + 1"), markdown("between"), code("raise ValueError('one\\nanother\\x1b[31m')"), code("3")];
    thread::scope(|scope| {
        let raises = scope.spawn(|| run("raises", &raising));
        let died = run("dies", &[code("1"), code("import os\nos.kill(os.getpid(), 9)")]);
        assert_eq!(refused(&died, 1), "dies.ipynb: In [2]: the kernel died");
        let said = refused(&raises.join().unwrap(), 1);
        assert_eq!(said, "raises.ipynb: In [2]: ValueError: one another [31m");
    });
    let left: Value = serde_json::from_str(&rig.text("raises-run.ipynb")).unwrap();
    let outputs = left["cells"].as_array().unwrap().iter().filter_map(|cell| cell["outputs"].as_array());
    let outputs: Vec<&Value> = outputs.flatten().collect();
    assert_eq!((&outputs[0]["data"]["text/plain"], &outputs[1]["ename"]), (&json!(["2"]), &json!("ValueError")));
    assert_eq!(outputs.len(), 2, "nothing ran after it");

    // A loop that never ends, but for the limit.
    let flood = run("flood", &[code("while True: print('x' * 1000000)")]);
    assert_eq!(refused(&flood, 1), "flood.ipynb: In [1]: OSError: this notebook has more than 64 MiB of output");

    let mut julia = notebook(&[code("1")]);
    julia["metadata"]["kernelspec"]["name"] = json!("julia-1.9");
    rig.write("julia.ipynb", &julia);
    fs::write(rig.path("latin.ipynb"), b"{\"cells\": \"\xf6\"}").unwrap();
    fs::write(rig.path("half.ipynb"), "{\"cells\": [").unwrap();
    for (name, why) in [
        ("julia", "it asks for the kernel 'julia-1.9', and none but python3 is run here: choose that one and save it"),
        ("latin", "it is no notebook: byte 11 is not UTF-8"),
        ("half", "it is no notebook: it is not JSON"),
        ("absent", "it can't be read: No such file or directory"),
    ] {
        let name = format!("{name}.ipynb");
        assert_eq!(refused(&rig.run(&["execute", &name, "out.ipynb"], "{}"), 1), format!("{name}: {why}"));
    }
    let said = refused(&rig.run(&["execute", "flood.ipynb", "out.ipynb"], "[1]"), 1);
    assert_eq!(said, "flood.ipynb: the parameters on standard input are not a JSON object");
}

/// What holds a notebook back begins in the kernel: another one, or another of that name, would go without.
#[test]
fn a_kernel_that_somebody_has_installed_is_not_run() {
    let rig = Notebooks::new();
    let touched = rig.path("touched");
    for name in ["theirs", "python3"] {
        let kernel = rig.path("data/kernels").join(name);
        fs::create_dir_all(&kernel).unwrap();
        // A kernel is told more, which a script may leave.
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), format!("touch {}", touched.display())];
        let spec = json!({ "argv": argv, "display_name": name, "language": "python" });
        fs::write(kernel.join("kernel.json"), spec.to_string()).unwrap();
        let mut asks = notebook(&[code("2 + 2")]);
        asks["metadata"]["kernelspec"]["name"] = json!(name);
        rig.write(&format!("{name}.ipynb"), &asks);
    }
    // The variable makes these come before those of the environment.
    let data = rig.path("data");
    let run = |name: &str| {
        let mut command = rig.command(&["execute", &format!("{name}.ipynb"), "out.ipynb"]);
        command.env("JUPYTER_PATH", &data);
        Notebooks::end(command, "{}")
    };
    let said = refused(&run("theirs"), 1);
    assert!(
        said.starts_with("theirs.ipynb: it asks for the kernel 'theirs', and none but python3 is run here"),
        "{said}"
    );
    good(&run("python3"));
    assert!(!touched.exists() && rig.text("out.ipynb").contains("\"4\""));
}

/// A report is made by somebody with more rights than the notebook's author, and read by somebody with others.
#[test]
fn a_report_has_nothing_from_outside_of_its_notebook() {
    let rig = Notebooks::new();
    let secret = "the-token-of-another";
    fs::write(rig.path("secret.txt"), secret).unwrap();
    let file = format!("file://{}", rig.path("secret.txt").display());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let web = format!("http://{}/x.png", listener.local_addr().unwrap());
    let everywhere = [&file, &web, "secret.txt"].map(|at| {
        format!(
            "<img src='{at}'><img srcset='{at} 2x'><link rel=attachment href='{at}'><a rel=attachment href='{at}'>link</a><iframe src='{at}'></iframe>\
             <object data='{at}'></object><embed src='{at}'><link rel=stylesheet href='{at}'><style>@import url({at});</style>\
             <p style='background-image: url({at}); color: red'>red</p><video poster='{at}'></video><base href='{at}'>\
             <meta http-equiv=refresh content='0;url={at}'><svg><image href='{at}'/></svg>![picture]({at})"
        )
    });
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='{file}'/><image href='{web}'/></svg>"
    );
    let everywhere = everywhere.concat() + "<script>alert(1)</script><b onclick='alert(2)'>harmless</b></body></html>";
    let text = format!("# Hostile\n\n{everywhere}");
    let cells = [
        markdown(&text),
        ran("text/html", &everywhere),
        ran("text/markdown", &everywhere),
        ran("image/svg+xml", &svg),
        ran("image/png", &format!("\"><img src=\"{web}")),
        ran("application/javascript", "alert(3)"),
        ran("text/html", &"<p>many</p>".repeat(30_000)),
    ];
    rig.write("hostile.ipynb", &notebook(&cells));
    // A template is a program: one that the notebook has left where the report is made is none.
    fs::create_dir(rig.path("basic")).unwrap();
    fs::write(rig.path("basic/index.html.j2"), "<head></head>planted {{ 1 / 0 }}").unwrap();
    good(&rig.report("hostile", &[]));

    let (html, pdf) = (rig.text("hostile.html"), text_of_pdf(&rig.path("hostile.pdf")));
    assert!(html.contains("<b>harmless</b>") && pdf.matches("harmless").count() == 3, "{pdf}");
    assert!(pdf.contains("[330,000 characters of text/html: they are in the notebook]"), "{pdf}");
    for active in ["<script", "onclick", "<iframe", "<object", "<link", "@import", "<base", "refresh", "secret_code"] {
        assert!(!html.contains(active), "{active}");
    }
    // What is left of the addresses is text, and a link that a reader may follow.
    for loaded in ["src=\"http", "src=\"file", "src='http", "src=\"secret", "href=\"file", "href=\"secret", "url("] {
        assert!(!html.contains(loaded), "{loaded}: {html}");
    }
    assert!(html.contains("content=\"default-src 'none'; img-src data:;"), "{html}");
    let raw = fs::read(rig.path("hostile.pdf")).unwrap();
    let has = |text: &str| raw.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!pdf.contains(secret) && !has(secret) && !has("/EmbeddedFile"));
    assert!(listener.accept().is_err(), "somebody has asked for {web}");
}

#[test]
fn a_template_of_nbconverts_is_taken_and_one_for_asciidoc_is_refused_by_name() {
    let rig = Notebooks::new();
    rig.write("ran.ipynb", &notebook(&[markdown("# Ours"), ran("text/plain", "4711")]));
    let page =
        "<!DOCTYPE html><html><head><title>t</title></head><body><p>Ministry of Maps</p>{{ super() }}</body></html>";
    let good_one = format!("{{% extends 'basic/index.html.j2' %}}\n{{% block body %}}{page}{{% endblock %}}");
    fs::write(rig.path("ours.html.j2"), good_one).unwrap();
    good(&rig.report("ran", &["--template", "ours.html.j2"]));
    let pdf = text_of_pdf(&rig.path("ran.pdf"));
    assert!(pdf.contains("Ministry of Maps") && pdf.contains("4711") && !pdf.contains("secret_code"), "{pdf}");
    assert!(rig.text("ran.html").contains("Content-Security-Policy"));

    let before = rig.text("ran.html");
    for (name, text, why) in [
        ("asciidoc_extended.tpl", "{% extends 'asciidoc.tpl' %}", "is one for AsciiDoc"),
        ("new.asciidoc.j2", "{%- extends 'asciidoc/index.asciidoc.j2' -%}", "is one for AsciiDoc"),
        ("broken.html.j2", "{% extends 'basic/index.html.j2' %}{% block body %}", "fails: TemplateSyntaxError"),
        ("part.html.j2", "{% extends 'basic/index.html.j2' %}", "makes no HTML document"),
    ] {
        fs::write(rig.path(name), text).unwrap();
        let said = refused(&rig.report("ran", &["--template", name]), 3);
        assert!(said.starts_with(&format!("ran.ipynb: the template {name} {why}")), "{said}");
    }
    let said = refused(&rig.report("ran", &["--template", "absent.html.j2"]), 3);
    assert!(said.starts_with("ran.ipynb: the template absent.html.j2 can't be read"), "{said}");
    assert_eq!(rig.text("ran.html"), before, "a report that failed has touched nothing");
}

#[test]
fn a_kernel_ends_with_its_runner_however_that_one_ends_and_others_can_not_listen() {
    let rig = Notebooks::new();
    let told = rig.path("told");
    let text = format!(
        "import os, pathlib, time\nnew = pathlib.Path({told:?} + '.new')\nnew.write_text(str(os.getpid()))\nnew.rename({told:?})\ntime.sleep(600)"
    );
    rig.write("long.ipynb", &notebook(&[code(&text)]));
    for by_force in [false, true] {
        let _ = fs::remove_file(&told);
        let mut runner = rig.command(&["execute", "long.ipynb", "out.ipynb"]).spawn().unwrap();
        runner.stdin.take().unwrap().write_all(b"{}").unwrap();
        let kernel: u32 =
            until(PATIENCE, "the kernel runs the cell", || fs::read_to_string(&told)).trim().parse().unwrap();
        let homes: Vec<_> =
            fs::read_dir(rig.path("")).unwrap().flatten().filter(|entry| entry.path().is_dir()).collect();
        assert_eq!(homes.len(), 1);
        assert_eq!(homes[0].metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(fs::read_to_string(homes[0].path().join("k.json")).unwrap().contains("\"transport\": \"ipc\""));
        if by_force {
            kill(runner.id());
        } else {
            let runner = rustix::process::Pid::from_child(&runner);
            rustix::process::kill_process(runner, rustix::process::Signal::TERM).unwrap();
        }
        runner.wait().unwrap();
        wait(PATIENCE, "the kernel is gone", || {
            let status = fs::read_to_string(format!("/proc/{kernel}/stat"));
            status.map_or(true, |status| status.contains(") Z "))
        });
        assert_eq!(homes[0].path().exists(), by_force, "one that may end in order tidies up");
    }
}

//! The same bytes, whatever the machine does differently.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::rig::{Rig, flowkit, small};

const ROOTS: &[&str] = &["program-1", "server-1"];

#[test]
fn threads_do_not_change_a_byte() {
    let rig = small();
    for codec in ["zstd", "gzip", "none"] {
        let mut spec = rig.spec("a/b", ROOTS);
        spec["image"]["compression"] = json!(codec);
        let one = fs::read(rig.build("one", &spec, &["--threads", "1"])).unwrap();
        for threads in ["2", "8"] {
            let more = fs::read(rig.build("more", &spec, &["--threads", threads])).unwrap();
            assert!(one == more, "{codec} with {threads} threads");
        }
    }
}

#[test]
fn the_order_of_the_description_does_not_matter() {
    let rig = small();
    let spec = rig.spec("a/b", ROOTS);
    let mut other = spec.clone();
    other["graph"].as_array_mut().unwrap().reverse();
    for node in other["graph"].as_array_mut().unwrap() {
        node["references"].as_array_mut().unwrap().reverse();
    }
    other["image"]["entries"].as_array_mut().unwrap().reverse();
    assert!(fs::read(rig.build("a", &spec, &[])).unwrap() == fs::read(rig.build("b", &other, &[])).unwrap());
}

#[test]
fn the_machine_does_not_matter() {
    let rig = small();
    let spec = rig.spec("a/b", ROOTS);
    let plain = fs::read(rig.build("plain", &spec, &[])).unwrap();
    // The same tree made in another order, with other times, modes as an odd umask leaves them, and a hard link where
    // there were two files.
    let mut other = Rig::new();
    other.add("program-1", &["libc-2"], &[("bin/program", &[4; 5000])]);
    other.add("server-1", &["zlib-1", "libc-2", "data-1"], &[("bin/server", &[3; 2_000_000])]);
    other.link("server-1", "lib", &Rig::path("zlib-1")).link("server-1", "bin/also", "server");
    let deep = format!("{}/{}", "d".repeat(120), "f".repeat(140));
    other.add("data-1", &[], &[(&deep, b"deep"), ("a-b", b"2"), ("a/b", b"1"), ("Ä", b"umlaut")]);
    other.add("zlib-1", &["libc-2"], &[("lib/empty", b""), ("lib/libz.so", &[2; 1000])]);
    other.add("libc-2", &[], &[("share/locale/C", b"C"), ("lib/libc.so", &[1; 3_000_000])]);
    let file = other.place("zlib-1").join("lib/libz.so");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    fs::hard_link(&file, other.file("another name")).unwrap();
    fs::write(other.file("spec.json"), spec.to_string()).unwrap();
    let script = format!(
        "umask 077; exec {} image build spec.json --root root --out odd",
        flowkit().get_program().to_str().unwrap()
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]).current_dir(other.file("")).env_clear();
    shell.env("TZ", "Asia/Kathmandu").env("LC_ALL", "tr_TR.UTF-8").env("SOURCE_DATE_EPOCH", "5");
    assert!(shell.status().unwrap().success());
    assert!(plain == fs::read(other.file("odd")).unwrap());
}

/// The manifest's digest of a tiny image, for ever: what was built last year can be built again.
#[test]
fn the_digest_is_known() {
    let rig = small();
    let digests = ["none", "gzip", "zstd"].map(|codec| {
        let mut spec = rig.spec("a/b", ROOTS);
        spec["image"]["compression"] = json!(codec);
        let layout = rig.build(codec, &spec, &["--format", "layout"]);
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    });
    let known = [
        "sha256:a58adb69bad52450986d8b49ee313175a90fbd9b936e802f5becd01a56655083",
        "sha256:0b9633b51474611bd2ab7339a208eeeb55122ae041d601bad6f819ec16c25533",
        "sha256:4d5bc7a7f3d7b7afd44ed3b035873b7dd69584a79e8a1f205027133e65f4dd97",
    ];
    assert_eq!(digests, known);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let rig = small();
    let mut spec = rig.spec("Upper/Case", ROOTS);
    spec["image"]["tag"] = json!("not a tag");
    spec["image"]["max-layers"] = json!(200);
    spec["image"]["top"] = json!(["/nix/store/nowhere"]);
    let inside = format!("{}/added", Rig::path("libc-2"));
    spec["image"]["entries"] = json!([
        { "path": "/bin/su", "type": "file", "text": "", "mode": "4755" },
        { "path": "/a/../b", "type": "directory" },
        { "path": inside, "type": "file", "text": "" },
    ]);
    let output = rig.try_build("out", &spec, &[]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "flowkit: {} does not describe an image:
  name: `Upper/Case` is not a repository: lower-case words between slashes, their parts joined by one `.`, `_`, `__` or `-`
  tag: `not a tag` is not a tag: letters, digits, `_`, `.` and `-`, 128 at most
  top: `/nix/store/nowhere` is not in the graph
  max-layers: 200 is not between 2 and 127
  entries: `/bin/su` has mode 4755: set-uid and set-gid are not allowed
  entries: `/a/../b` has an empty part, `.` or `..`
  entries: `{inside}` would change the store path {}
",
        rig.file("out.json").display(),
        Rig::path("libc-2"),
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert!(!rig.file("out").exists());
}

#[test]
fn what_engines_would_refuse_is_not_built() {
    let rig = small();
    for (change, expected) in [
        (json!({ "name": "a..b" }), "name: `a..b` is not a repository"),
        (json!({ "name": "a___b" }), "name: `a___b` is not a repository"),
        (
            json!({ "architecture": "aarch64" }),
            "architecture: `aarch64` is not Go's word for a processor, which is arm64",
        ),
        (json!({ "config": { "Env": {} } }), "config.Env: `{}` is not a list of NAME=VALUE"),
        (json!({ "config": { "ExposedPorts": ["80"] } }), "config.ExposedPorts: `[\"80\"]` is not an object"),
        (json!({ "config": { "User": 0 } }), "config.User: `0` is not a text"),
        (json!({ "config": { "Healthcheck": "10s" } }), "config.Healthcheck: `\"10s\"` is not an object"),
        (json!({ "config": { "Entrypiont": [] } }), "config.Entrypiont: no engine knows this key"),
    ] {
        let mut spec = rig.spec("a/b", ROOTS);
        for (key, value) in change.as_object().unwrap() {
            spec["image"][key] = value.clone();
        }
        let output = rig.try_build("out", &spec, &[]);
        assert_eq!(output.status.code(), Some(2), "{change}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected) && text.lines().count() == 2, "{text}");
        assert!(!rig.file("out").exists());
    }
}

#[test]
fn what_no_store_path_holds_is_refused() {
    let rig = small();
    let socket = rig.place("program-1").join("share/socket");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    // Binding makes the file; a socket is nothing that a store path can hold.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = rig.try_build("special", &rig.spec("a/b", ROOTS), &[]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "flowkit: {} is neither a file, a directory nor a symbolic link: an image cannot carry it\n",
        socket.display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert!(!rig.file("special").exists());
}

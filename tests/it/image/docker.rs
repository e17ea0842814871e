//! A real Docker engine takes our images, and is sent only what it lacks.

use std::path::PathBuf;

use serde_json::json;

use super::rig::Rig;
use crate::support::engine::Engine;

/// Two siblings with a program that runs anywhere: a few lines of C, linked statically.
fn siblings() -> (Rig, PathBuf, PathBuf) {
    let mut rig = Rig::new();
    let code = r#"#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    struct stat store;
    FILE *can = fopen("/nix/store/new", "w");
    stat("/nix/store", &store);
    printf("uid %d, store %o of %ld, %s\n", (int)getuid(), store.st_mode & 07777, (long)store.st_mtime, can ? "writable" : "read-only");
    return 0;
}"#;
    let program = rig.compile(code);
    rig.add("libc-2", &[], &[("lib/libc.so", &[1; 400_000])]);
    rig.add("program-1", &["libc-2"], &[("bin/program", &program)]);
    rig.add("flowdb-1", &[], &[("share/data", &[2; 300_000])]);
    rig.add("redis-1", &[], &[("share/data", &[3; 300_000])]);
    let build = |role: &str| {
        let mut spec = rig.spec(&format!("flowkit/{role}"), &["program-1", &format!("{role}-1")]);
        spec["image"]["compression"] = json!("zstd");
        rig.build(role, &spec, &[])
    };
    let (flowdb, redis) = (build("flowdb"), build("redis"));
    (rig, flowdb, redis)
}

/// What the engine says of a run as somebody else, without any privilege.
fn run(engine: &Engine, image: &str) -> String {
    let strict = ["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "12345:12345"];
    engine.docker(&[&strict[..], &[image]].concat())
}

const EXPECTED: &str = "uid 12345, store 755 of 1, read-only";

#[test]
fn docker_takes_every_compression_that_it_knows() {
    let Some(engine) = Engine::start() else { return };
    let (rig, ..) = siblings();
    let major: u32 =
        engine.docker(&["version", "--format", "{{.Server.Version}}"]).split('.').next().unwrap().parse().unwrap();
    for codec in ["gzip", "none", "zstd"] {
        let mut spec = rig.spec("flowkit/flowdb", &["program-1", "flowdb-1"]);
        spec["image"]["compression"] = json!(codec);
        spec["image"]["tag"] = json!(codec);
        let archive = rig.build(codec, &spec, &[]);
        let loaded = engine.try_docker(&["load", "--input", archive.to_str().unwrap()]);
        let name = format!("flowkit/flowdb:{codec}");
        // Docker reads zstd from 23.0 on; the day this fails, `docs/images.md` has something to change.
        assert_eq!(loaded.status.success(), codec != "zstd" || major >= 23, "{codec} on {major}");
        if loaded.status.success() {
            assert_eq!(run(&engine, &name), EXPECTED);
            // A layer that is there is not read again: the next one must be.
            engine.docker(&["image", "rm", &name]);
        }
    }
}

#[test]
fn load_sends_what_is_missing() {
    let Some(engine) = Engine::start() else { return };
    let (rig, flowdb, redis) = siblings();
    let load = |archive: &PathBuf| engine.flowkit(&["image", "load", archive.to_str().unwrap()]);
    // libc, flowdb's data, program, entries; zstd or not.
    let (said, talk) = load(&flowdb);
    assert_eq!(said, "Loaded image: flowkit/flowdb:1\n");
    assert!(talk.starts_with("layers sent: 4 (") && talk.ends_with("; there already: 0\n"), "{talk}");
    assert_eq!(run(&engine, "flowkit/flowdb:1"), EXPECTED);
    let (_, talk) = load(&flowdb);
    assert!(talk.starts_with("layers sent: 0 ("), "{talk}");
    // Its sibling begins with the same layer.
    let (_, talk) = load(&redis);
    assert!(talk.starts_with("layers sent: 3 (") && talk.ends_with("; there already: 1\n"), "{talk}");
    assert_eq!(run(&engine, "flowkit/redis:1"), EXPECTED);
    // What the engine has lost is sent again.
    engine.docker(&["image", "rm", "flowkit/flowdb:1", "flowkit/redis:1"]);
    let layout = rig.build("layout", &rig.spec("flowkit/redis", &["program-1", "redis-1"]), &["--format", "layout"]);
    let (_, talk) = load(&layout);
    assert!(talk.starts_with("layers sent: 4 ("), "{talk}");
    assert_eq!(run(&engine, "flowkit/redis:1"), EXPECTED);
}

#[test]
fn without_an_engine_the_error_says_so() {
    let (rig, flowdb, _) = siblings();
    let mut command = super::rig::flowkit();
    command.args(["image", "load"]).arg(&flowdb).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let output = command.env("DOCKER_HOST", format!("unix://{}", rig.file("nobody").display())).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("flowkit: `docker info"), "{text}");
    let output = super::rig::flowkit().args(["image", "load"]).arg(&flowdb).env("PATH", "/nowhere").output().unwrap();
    let expected =
        "flowkit: cannot run docker: is the engine installed?\n  because: No such file or directory (os error 2)\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

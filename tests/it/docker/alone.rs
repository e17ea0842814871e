//! Every image alone, with as few privileges as an engine can give.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::engine::{Engine, ROLES, images};
use crate::support::flowapi;

/// A user that no image knows.
const USER: &str = "12345:12345";

#[test]
fn every_image_runs_as_any_user_without_capabilities_on_a_read_only_root() {
    let Some(engine) = Engine::start() else { return };
    let images = images();
    let secrets = tempfile::Builder::new().prefix("fks").tempdir_in("/tmp").unwrap();
    let dir = secrets.path().to_str().unwrap();
    engine.flowkit(&["secrets", "init", "--dir", dir]);
    fs::write(secrets.path().join("FLOWAPI_TOKEN"), flowapi::token(secrets.path())).unwrap();
    let inputs = tempfile::Builder::new().prefix("fki").tempdir_in("/tmp").unwrap();
    super::autoflow::workflows(inputs.path(), "2016-03-01");
    fs::set_permissions(inputs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inputs = format!("{}:/mounts/inputs:ro", inputs.path().display());
    // In a directory of their own each file would belong to the user; here the directory does.
    for file in fs::read_dir(dir).unwrap() {
        std::os::unix::fs::chown(file.unwrap().path(), Some(12345), Some(12345)).unwrap();
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    engine.docker(&["network", "create", "flowkit"]);

    // FlowETL takes half a minute to start: `docker::stack` runs it so, once.
    let roles = ROLES.into_iter().filter(|role| *role != "flowetl");
    for role in roles.clone() {
        engine.docker(&["load", "--input", images.join(format!("{role}-image")).to_str().unwrap()]);
        let image = format!("flowkit/{role}:{}", env!("CARGO_PKG_VERSION"));
        let mount = format!("{dir}:/run/secrets:ro");
        let began = Instant::now();
        engine.docker(&[
            "run",
            "--detach",
            "--name",
            role,
            "--network",
            "flowkit",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--user",
            USER,
            "--security-opt",
            "no-new-privileges",
            "--health-interval",
            "1s",
            "--volume",
            &mount,
            "--volume",
            &inputs,
            "--env",
            "FLOWAPI_URL=https://flowapi:9090",
            "--env",
            "FLOWDB_HOST=flowdb",
            "--env",
            "FLOWDB_PORT=5432",
            "--env",
            "REDIS_HOST=redis",
            "--env",
            "FLOWMACHINE_HOST=flowmachine",
            &image,
        ]);
        engine.wait_healthy(role, Duration::from_secs(120));
        say::tell!("{role}: from docker run to healthy in {:.1} s", began.elapsed().as_secs_f64());
    }
    for role in roles.clone() {
        let format =
            "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}} {{.HostConfig.Privileged}}";
        assert_eq!(engine.docker(&["inspect", "--format", format, role]), format!("true [ALL] {USER} false"));
        let top = engine.docker(&["top", role, "-eo", "uid,pid,comm"]);
        assert!(top.lines().skip(1).all(|line| line.trim_start().starts_with("12345 ")), "{top}");
    }
    // The last that was started talks to the others; Docker's own grace of 10 s is enough for each.
    for role in roles.rev() {
        let began = Instant::now();
        engine.docker(&["stop", role]);
        let took = began.elapsed();
        let ended = engine.docker(&["inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", role]);
        assert_eq!(ended, "0 false", "{role} after {took:?}");
        assert!(took < Duration::from_secs(10), "{role} took {took:?}");
    }
    // Its data were in the volume that the image declares: a stopped database starts again with them.
    engine.docker(&["start", "flowdb"]);
    engine.wait_healthy("flowdb", Duration::from_secs(60));
}

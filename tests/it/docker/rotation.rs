//! A rotation in a swarm is one step: whatever fails or is killed on its way, the same command finishes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use crate::image::rig::Rig;
use crate::support::deployment::show;
use crate::support::engine::Engine;

const FLOWMACHINE: &str = "FLOWMACHINE_FLOWDB_PASSWORD";
const REDIS: &str = "REDIS_PASSWORD";
const SIGNING: &str = "PRIVATE_JWT_SIGNING_KEY";
/// Services of the stack, and what each holds.
const SERVICES: [(&str, &[&str]); 3] =
    [("flowdb", &[FLOWMACHINE]), ("redis", &[REDIS]), ("flowmachine", &[FLOWMACHINE, REDIS])];

/// Passes on to `docker`, but for the call of a kind that is to go wrong.
const BREAKS: &str = r#"#!/bin/bash
if [ "$1 $2" = "$BREAK" ]; then
    echo x >>"$COUNT"
    if [ "$(wc -l <"$COUNT")" = "$AT" ]; then
        [ "$HOW" != kill ] || kill -9 $PPID
        echo "Error response from daemon: the disk is on fire" >&2
        exit 1
    fi
fi
exec "$DOCKER" "$@"
"#;

/// A swarm with services that hold secrets and do nothing.
struct Swarm {
    engine: Engine,
    dir: tempfile::TempDir,
}

impl Swarm {
    fn start() -> Option<Swarm> {
        let engine = Engine::start()?;
        let dir = tempfile::Builder::new().prefix("fkr").tempdir_in("/tmp").unwrap();
        let swarm = Swarm { engine, dir };
        let wrapper = swarm.file("bin/docker");
        fs::create_dir(wrapper.parent().unwrap()).unwrap();
        fs::write(&wrapper, BREAKS).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        swarm.engine.docker(&["swarm", "init"]);
        swarm.load();
        swarm.engine.flowkit(&["secrets", "swarm", "--dir", swarm.values().to_str().unwrap()]);
        for (role, secrets) in SERVICES {
            let name = format!("fk_{role}");
            let held = secrets.iter().flat_map(|name| ["--secret", *name]);
            let mut args =
                vec!["service", "create", "--detach", "--name", &name, "--label", "com.docker.stack.namespace=fk"];
            args.extend(["--update-monitor", "1s", "--no-resolve-image"].into_iter().chain(held).chain(["idle:1"]));
            swarm.engine.docker(&args);
        }
        Some(swarm)
    }

    /// An image of a program that waits for its end.
    fn load(&self) {
        let mut rig = Rig::new();
        let code = "#include <signal.h>\n#include <unistd.h>\nstatic void end(int s) { _exit(0); }\n\
                    int main(void) { signal(SIGTERM, end); for (;;) pause(); }\n";
        fs::create_dir_all(rig.root()).unwrap();
        let program = rig.compile(code);
        rig.add("program-1", &[], &[("bin/program", &program)]);
        let mut spec = rig.spec("idle", &["program-1"]);
        spec["image"]["compression"] = serde_json::json!("gzip");
        let image = rig.build("idle", &spec, &[]);
        self.engine.docker(&["load", "--input", image.to_str().unwrap()]);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn values(&self) -> PathBuf {
        self.file("values")
    }

    fn value(&self, name: &str) -> String {
        fs::read_to_string(self.values().join(name)).unwrap()
    }

    /// A rotation that goes wrong at the call number `at` of a kind, if it does.
    fn rotate(&self, names: &[&str], breaks: Option<(&str, u32, &str)>, more: &[&str]) -> Output {
        let mut command = self.engine.command(env!("CARGO_BIN_EXE_flowkit"));
        command.args(["secrets", "swarm", "--stack", "fk"]).args(names.iter().flat_map(|name| ["--rotate", name]));
        command.args(more);
        if let Some((call, at, how)) = breaks {
            let _ = fs::remove_file(self.file("count"));
            let bin = self.file("bin");
            let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
            let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
            let docker = dirs.iter().map(|dir| dir.join("docker")).find(|path| path.exists()).unwrap();
            command.env("PATH", std::env::join_paths([bin].into_iter().chain(dirs)).unwrap()).env("DOCKER", docker);
            command.env("BREAK", call).env("AT", at.to_string()).env("HOW", how).env("COUNT", self.file("count"));
        }
        command.output().unwrap()
    }

    fn in_directory(&self, names: &[&str], breaks: Option<(&str, u32, &str)>) -> Output {
        self.rotate(names, breaks, &["--dir", self.values().to_str().unwrap(), "--update"])
    }

    /// Names of the secrets that the swarm has of these two.
    fn secrets(&self) -> Vec<String> {
        let all = self.engine.docker(&["secret", "ls", "--format", "{{.Name}}"]);
        let mut all: Vec<String> = all
            .lines()
            .filter(|name| name.starts_with(FLOWMACHINE) || name.starts_with(REDIS))
            .map(str::to_owned)
            .collect();
        all.sort();
        all
    }

    /// Versions that a service holds.
    fn held(&self, role: &str) -> String {
        let format = "{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{.SecretName}} {{end}}";
        let held = self.engine.docker(&["service", "inspect", "--format", format, &format!("fk_{role}")]);
        let mut held: Vec<&str> = held.split_whitespace().collect();
        held.sort_unstable();
        held.join(" ")
    }
}

#[test]
fn a_rotation_that_fails_anywhere_is_finished_by_the_next() {
    let Some(swarm) = Swarm::start() else { return };
    let (both, before) = ([FLOWMACHINE, REDIS], [swarm.value(FLOWMACHINE), swarm.value(REDIS)]);
    let values = || [swarm.value(FLOWMACHINE), swarm.value(REDIS)];
    let aside = swarm.values().join(".next");

    // The second secret can't be made: nothing has changed, and that is said.
    let output = swarm.in_directory(&both, Some(("secret create", 2, "fail")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    assert!(said.contains("the rotation has not begun: nothing has a new value"), "{said}");
    assert!(said.contains("the disk is on fire"), "{said}");
    assert_eq!((values(), swarm.secrets()), (before.clone(), vec![FLOWMACHINE.to_owned(), REDIS.to_owned()]));

    // Killed there: half of it is in the swarm, where nobody takes it for the newest.
    let output = swarm.in_directory(&both, Some(("secret create", 2, "kill")));
    assert!(!output.status.success() && output.status.code().is_none(), "{}", show(&output));
    assert_eq!(swarm.secrets().len(), 3);
    let new = fs::read_to_string(aside.join(FLOWMACHINE)).unwrap();
    // Another rotation waits for this one.
    let output = swarm.in_directory(&["FLOWDB_POSTGRES_PASSWORD"], None);
    assert_eq!(output.status.code(), Some(2), "{}", show(&output));

    // All secrets are made, and the second service fails.
    let output = swarm.in_directory(&both, Some(("service update", 2, "fail")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    assert!(said.contains("fk_redis has not taken its new secrets, and the rotation is not finished"), "{said}");
    assert_eq!(values(), before, "it is not in force everywhere");
    assert_eq!(swarm.held("flowdb"), format!("{FLOWMACHINE}_v2"));

    // The same command finishes it, with the values that it began with.
    let output = swarm.in_directory(&both, None);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "updated  fk_redis\nupdated  fk_flowmachine\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("this goes on with a rotation"), "{}", show(&output));
    assert_eq!(swarm.held("flowmachine"), format!("{FLOWMACHINE}_v2 {REDIS}_v2"));
    assert_eq!(swarm.value(FLOWMACHINE), new);
    assert_ne!(swarm.value(REDIS), before[1]);
    assert!(!aside.exists());
    assert_eq!(swarm.secrets().len(), 4, "{:?}", swarm.secrets());

    // And the next is a new one.
    assert!(swarm.in_directory(&[REDIS], None).status.success());
    assert_eq!(swarm.held("flowmachine"), format!("{FLOWMACHINE}_v2 {REDIS}_v3"));
    // Whoever has stolen a signing key has nothing by it where its public key goes.
    let keys = |more: &[&str]| {
        let dir = swarm.values();
        let args = [&["--dir", dir.to_str().unwrap(), "--update"], more].concat();
        let output = swarm.rotate(&[SIGNING], None, &args);
        assert!(output.status.success(), "{}", show(&output));
        swarm.value("PUBLIC_JWT_SIGNING_KEY").matches("BEGIN").count()
    };
    assert_eq!([keys(&[]), keys(&[]), keys(&["--forget-old"])], [2, 3, 1]);
    // One that was begun without is finished as it was begun, and says so.
    assert!(!swarm.in_directory(&[SIGNING], Some(("secret create", 2, "kill"))).status.success());
    let args = ["--dir", swarm.values().to_str().unwrap(), "--update", "--forget-old"].map(str::to_owned);
    let said = show(&swarm.rotate(&[SIGNING], None, &args.each_ref().map(String::as_str)));
    assert!(said.contains("it was begun without --forget-old: once it is in force, rotate again with it"), "{said}");
    assert_eq!(keys(&["--forget-old"]), 1);
}

#[test]
fn without_a_directory_it_is_finished_as_well() {
    let Some(swarm) = Swarm::start() else { return };
    let both = [FLOWMACHINE, REDIS];
    let rotate = |breaks| swarm.rotate(&both, breaks, &["--update"]);
    assert!(!rotate(Some(("secret create", 2, "kill"))).status.success());
    assert!(!rotate(Some(("service update", 2, "kill"))).status.success());
    assert_eq!(swarm.held("flowdb"), format!("{FLOWMACHINE}_v2"));
    assert_eq!(swarm.held("redis"), REDIS);
    // Whether anybody reads what it says makes no difference.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = swarm.engine.command(env!("CARGO_BIN_EXE_flowkit"));
    command.args(["secrets", "swarm", "--stack", "fk", "--rotate", FLOWMACHINE, "--rotate", REDIS, "--update"]);
    let status = command.stdout(Stdio::from(writer.try_clone().unwrap())).stderr(Stdio::from(writer)).status().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(swarm.held("redis"), format!("{REDIS}_v2"));
    assert_eq!(swarm.held("flowmachine"), format!("{FLOWMACHINE}_v2 {REDIS}_v2"));
    assert_eq!(swarm.secrets().len(), 4, "{:?}", swarm.secrets());
    // Printed commands are the same until they have run.
    let told = || String::from_utf8(swarm.rotate(&[REDIS], None, &[]).stdout).unwrap();
    let first = told();
    assert!(first.contains("REDIS_PASSWORD_v3"), "{first}");
    assert_eq!(told(), first);
    // The key before can't be kept where nobody can read it.
    let said = show(&swarm.rotate(&[SIGNING], None, &["--update"]));
    assert!(said.contains("PUBLIC_JWT_SIGNING_KEY: all tokens so far end"), "{said}");
}

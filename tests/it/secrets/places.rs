//! Where secrets lie: whose the files are, who may read them, and what is no place for them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use flowkit_core::secrets::Store;

use super::rig::Sandbox;

const NOBODY: u32 = 65534;

#[test]
fn credentials_of_systemd_may_be_readable_by_their_group() {
    let sandbox = Sandbox::with("--role redis");
    fs::set_permissions(sandbox.path("REDIS_PASSWORD"), fs::Permissions::from_mode(0o440)).unwrap();
    fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o550)).unwrap();
    let mut check = sandbox.command("check --role redis");
    sandbox.outcome(check.env("CREDENTIALS_DIRECTORY", sandbox.dir())).succeeded();
    let open = |name: &str| (name.to_string(), "open".to_string());
    assert_eq!(sandbox.findings("--role redis"), [open("."), open("REDIS_PASSWORD")]);
}

#[test]
fn a_state_directory_or_a_file_in_place_of_the_directory_is_a_mistake() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("secrets")).unwrap();
    let told = "flowkit: s is a state directory, its secrets are in s/secrets; give --dir s/secrets\n";
    for command in ["init", "check", "list", "rotate REDIS_PASSWORD"] {
        sandbox.run(command).failed(2, "", told);
    }
    fs::remove_dir_all(sandbox.dir()).unwrap();
    let told = "flowkit: s does not exist; make it: flowkit secrets init --dir s\n";
    sandbox.run("rotate REDIS_PASSWORD").failed(2, "", told);
    fs::write(sandbox.dir(), "").unwrap();
    sandbox.run("init").failed(
        2,
        "",
        "flowkit: s is not a directory, and root follows no link there; give --dir DIR\n",
    );
}

#[test]
fn a_directory_for_other_things_is_left_alone() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.dir()).unwrap();
    fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(sandbox.path("hosts"), "").unwrap();
    let told = "flowkit: s is open to others and holds \"hosts\", which is no secret; give a directory of its own\n";
    sandbox.run("init").failed(1, "", told);
    assert_eq!(fs::metadata(sandbox.dir()).unwrap().mode() & 0o777, 0o755);
    fs::remove_file(sandbox.path("hosts")).unwrap();
    sandbox.run("init --role redis").succeeded();
    assert_eq!(fs::metadata(sandbox.dir()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    // No byte may be written to a file: what a full disk gives, but for the number of the error.
    let script = format!(
        "trap '' XFSZ; ulimit -f 0; exec {} secrets init --role redis --dir {}",
        crate::support::programs::flowkit().display(),
        sandbox.dir().display()
    );
    let outcome = sandbox.outcome(Command::new("/bin/sh").args(["-c", &script]).env_clear());
    outcome.failed(1, "", "flowkit: cannot write s/.REDIS_PASSWORD.new\n  because: File too large (os error 27)\n");
    assert_eq!(sandbox.files().len(), 0);
    sandbox.run("init --role redis").succeeded();
}

#[test]
fn files_belong_to_the_directorys_owner() {
    assert!(rustix::process::geteuid().is_root(), "this test gives files away: run it as root");
    let sandbox = Sandbox::new();
    chown(sandbox.root.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    sandbox.run("init --role redis").succeeded();
    for path in [sandbox.dir(), sandbox.path("REDIS_PASSWORD")] {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY), "{}", path.display());
    }
    // The owner can work with them; root's own file among them is told.
    let as_owner = |arguments: &str| sandbox.outcome(sandbox.command(arguments).uid(NOBODY).gid(NOBODY));
    as_owner("check --role redis").succeeded();
    as_owner("rotate REDIS_PASSWORD").succeeded();
    sandbox.write("REDIS_PASSWORD", "of-root");
    // Root looks with no more than the owner's rights.
    let found = ["owner", "unreadable"].map(|what| ("REDIS_PASSWORD".to_string(), what.to_string()));
    assert_eq!(sandbox.findings("--role redis"), found);
    as_owner("check --role redis").failed(
        1,
        "REDIS_PASSWORD belongs to user 0, the directory to user 65534: s/REDIS_PASSWORD; chown 65534 s/REDIS_PASSWORD\n\
         REDIS_PASSWORD can't be read: s/REDIS_PASSWORD: Permission denied (os error 13) (the one password of redis, for \
         FlowMachine and for library users alike); make it readable for the user that runs this\n",
        "2 things are wrong in s\n",
    );
}

#[test]
fn somebody_elses_place_is_one_clear_error() {
    assert!(rustix::process::geteuid().is_root(), "this test runs the command as somebody else: run it as root");
    let sandbox = Sandbox::new();
    sandbox.outcome(sandbox.command("init --role redis").uid(NOBODY).gid(NOBODY)).failed(
        1,
        "",
        "flowkit: cannot make s\n  because: Permission denied (os error 13)\n",
    );
}

#[test]
fn a_store_lays_out_secrets_from_wherever_they_are() {
    let sandbox = Sandbox::with("--role redis");
    let values = BTreeMap::from([("FLOWMACHINE_FLOWDB_PASSWORD", "from-the-environment")]);
    let environment = move |name: &str| values.get(name).map(std::ffi::OsString::from);
    let store = Store::with(Some(sandbox.dir()), "/nonexistent".into(), std::sync::Arc::new(environment));
    let into = sandbox.root.path().join("own");
    store.materialise(&["REDIS_PASSWORD", "FLOWMACHINE_FLOWDB_PASSWORD"], BTreeMap::new(), &into, None).unwrap();
    let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
    assert_eq!(read("REDIS_PASSWORD"), sandbox.read("REDIS_PASSWORD"));
    assert_eq!(read("FLOWMACHINE_FLOWDB_PASSWORD"), "from-the-environment");
    assert_eq!(fs::metadata(&into).unwrap().mode() & 0o777, 0o700);
    let error =
        store.materialise(&["SECRET_KEY"], BTreeMap::new(), Path::new("/nonexistent"), None).unwrap_err().to_string();
    assert_eq!(
        error.replace(sandbox.dir().to_str().unwrap(), "s"),
        "SECRET_KEY is missing (signs session and CSRF cookies; changing it logs everybody out); make it: flowkit secrets \
         init --dir s"
    );
}

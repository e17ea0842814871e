//! `flowkit check-config`, as a build calls it: a cleared environment, nothing but a file.

use std::process::Command;

/// Exit status and stderr; stdout stays empty.
fn check(role: &str, json: &str) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.json");
    std::fs::write(&file, json).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowkit"));
    let output = command.args(["check-config", role]).arg(&file).env_clear().output().unwrap();
    assert_eq!(output.stdout, b"");
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), told.replace(file.to_str().unwrap(), "settings.json"))
}

#[test]
fn right_settings_are_accepted_and_wrong_ones_named_together() {
    assert_eq!(check("redis", "{}"), (0, String::new()));
    assert_eq!(check("flowdb", r#"{"FLOWDB_PORT": 9001, "MAX_CPUS": "2"}"#), (0, String::new()));
    let (status, told) = check("flowdb", r#"{"AUTO_CONFIG_FILE_NAME": "x.conf"}"#);
    assert_eq!(status, 0);
    assert!(told.starts_with("warning: AUTO_CONFIG_FILE_NAME (settings.json) has no effect"), "{told}");
    let (status, told) = check("redis", r#"{"REDIS_PORT": "http", "REDIS_PROT": 1}"#);
    let expected = "flowkit: 2 things are wrong\n  \
        REDIS_PORT is wrong: \"http\" (settings.json); give a port number from 1 to 65535\n  \
        REDIS_PROT is not a setting (settings.json); did you mean REDIS_PORT?\n";
    assert_eq!((status, told.as_str()), (2, expected));
}

#[test]
fn what_is_no_file_of_settings_says_so_and_shows_no_value() {
    let (status, told) = check("redis", r#"{"REDIS_PASSWORD": hunter2}"#);
    assert_eq!(status, 2);
    assert!(told.contains("no JSON object") && told.contains("line 1") && !told.contains("hunter2"), "{told}");
    assert_eq!(check("redis", "[]").0, 2);
    let mut endless = Command::new("timeout");
    endless.args(["60", env!("CARGO_BIN_EXE_flowkit"), "check-config", "redis", "/dev/zero"]);
    let told = String::from_utf8(endless.output().unwrap().stderr).unwrap();
    assert!(told.contains("not a regular file"), "{told}");
    let (status, told) = check("redsi", "{}");
    assert_eq!(status, 2);
    assert!(told.contains("redsi") && told.contains("flowdb, redis, flowmachine, flowapi, flowauth"), "{told}");
}

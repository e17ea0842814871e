//! The control socket under attack: the main loop does not notice, and honest clients are served.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;

use super::rig::{Rig, example, kill, pid, service, svc};
use supervisor::client;

fn connect(rig: &Rig) -> UnixStream {
    let stream = UnixStream::connect(rig.state().join("control.sock")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a patience");
    stream
}

fn ask(rig: &Rig, request: &[u8]) -> String {
    let mut stream = connect(rig);
    // A request that is too long may be refused before it is whole.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn garbage_is_refused_in_words() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let before = rig.start_ready();
    let long = vec![b'x'; 10_000];
    assert_eq!(ask(&rig, &long), "{\"refused\":\"a request is one line of at most 4096 bytes\"}\n");
    assert_eq!(
        ask(&rig, b"{\"ask\":\"dance\"}\n"),
        "{\"refused\":\"not a request: unknown variant `dance`, expected one of `status`, `stop`, `restart` at line 1 column 14\"}\n"
    );
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for _ in 0..300 {
        let mut bytes = vec![0u8; random.random_range(0..5000)];
        random.fill_bytes(&mut bytes);
        bytes.push(b'\n');
        let answer = ask(&rig, &bytes);
        assert!(answer.is_empty() || answer.starts_with("{\"refused\":"), "{answer}");
    }
    assert_eq!(rig.status().services, before.services);
    rig.stop();
}

#[test]
fn silent_and_slow_clients_keep_nobody_out() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let first = rig.start_ready();
    let mut crowd: Vec<UnixStream> = (0..400).map(|_| connect(&rig)).collect();
    for (i, stream) in crowd.iter_mut().enumerate() {
        // One in two asks and does not read the answer, the others send half a request. Some have been put out already.
        let _ = stream.write_all(if i % 2 == 0 { b"{\"ask\":\"status\"}\n" } else { b"{\"ask\"" });
    }
    let start = Instant::now();
    client::status(&rig.state()).expect("an answer");
    // Less than the patience with one of the crowd.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    kill(pid(&first, "one"), libc::SIGKILL);
    rig.see("the restart", |status| status.ready && service(status, "one").restarts == 1);
    let open = fs::read_dir(format!("/proc/{}/fd", first.supervisor)).expect("descriptors").count();
    assert!(open < 64 + 40, "{open} descriptors are open");
    rig.stop();
}

#[test]
fn other_users_are_kept_out_by_the_directory_and_by_the_socket() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    rig.start_ready();
    let nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(example("supervise"));
        let ask = command.arg("stop").arg(rig.state()).output().expect("setpriv, of the package util-linux, is there");
        (ask.status.code(), String::from_utf8_lossy(&ask.stderr).into_owned())
    };
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(&rig.path(""), 0o755);
    assert_eq!(fs::metadata(rig.state()).expect("a directory").permissions().mode() & 0o777, 0o700);
    let socket = rig.state().join("control.sock");
    let denied = format!("cannot connect to {}: Permission denied (os error 13)\n", socket.display());
    assert_eq!(nobody(), (Some(1), denied));
    mode(&rig.state(), 0o777);
    mode(&socket, 0o666);
    let (code, said) = nobody();
    assert_eq!(code, Some(1));
    assert!(!rig.status().stopping, "{said}");
    rig.stop();
}

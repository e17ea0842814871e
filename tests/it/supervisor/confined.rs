//! What a confined service can't reach although its user could.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;

use rustix::process::geteuid;
use serde_json::{Value, json};

use super::rig::{Rig, example, svc, until, with};

/// What every program needs that a shell starts.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc"];

/// A user that nothing else runs as.
const SOMEBODY: u32 = 4_000_779;

/// Tries everything and tells what worked; `$0` is a port of somebody else's. The victim is another service.
const TRIES: &str = r#"
try() { name=$1; shift; if ("$@") >/dev/null 2>&1; then echo "got $name"; else echo "no $name"; fi; }
connect() { : <>"/dev/tcp/127.0.0.1/$1"; }
remove() { ipcrm --shmem-id "$1"; }
write() { echo x >"$1"; }
python() { /usr/bin/python3 -Ic "from socket import *; $1"; }
for victim in $(cat /proc/$PPID/task/$PPID/children); do [ $victim != $$ ] && break; done
cd @/own
try own write @/own/file
try read cat @/secret
try list ls @/
try write write @/new
try append eval "echo x >>@/secret"
try rename mv @/others @/swapped
try link ln @/secret @/own/second
try mode chmod 644 @/secret
try limit prlimit --nofile=512 --pid $victim
try signal kill -0 $victim
try environment cat /proc/$victim/environ
try tcp connect $0
try fast python "socket().sendto(b'x', 0x20000000, ('127.0.0.1', $0))"
try udp python "socket(AF_INET, SOCK_DGRAM).sendto(b'x', ('127.0.0.1', $0))"
try mptcp python "socket(AF_INET, SOCK_STREAM, 262)"
try pair python "socketpair(AF_UNIX, SOCK_RAW)"
try namespace unshare --user true
try memory-by-name remove $(ipcmk --shmem 10 | tr -dc 0-9)
echo end
"#;

/// What it said, all run by one user.
fn said(confined: Option<Value>) -> Vec<String> {
    let theirs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = theirs.local_addr().expect("an address").port().to_string();
    let task = json!({ "name": "tries", "task": true, "command": ["/bin/bash", "-c", TRIES, port], "needs": ["stay"] });
    let task = confined.map_or(task.clone(), |confined| with(task, json!({ "confined": confined })));
    let mut rig = Rig::new(json!([task, svc("stay", "serve /dev/null")]));
    for dir in ["own", "others"] {
        fs::create_dir(rig.path(dir)).expect("made");
    }
    fs::write(rig.path("secret"), "secret").expect("written");
    // Root's rights would open more than a service's user has.
    let mut supervise = rig.command();
    if geteuid().is_root() {
        for path in ["", "own", "others", "secret"] {
            chown(rig.path(path), Some(SOMEBODY), Some(SOMEBODY)).expect("given");
        }
        supervise.uid(SOMEBODY).gid(SOMEBODY);
    }
    rig.start_as(supervise);
    lines_to(&rig, "tries", "end")
}

/// What a service has printed up to its last word, which is waited for: root's own client would ask nobody else's supervisor.
fn lines_to(rig: &Rig, service: &str, last: &str) -> Vec<String> {
    until(&format!("the end of {service}"), || match lines(rig, service) {
        said if said.last().is_some_and(|line| line == last) => Ok(said),
        said => Err(format!("{said:?}")),
    })
}

/// What a service has printed.
fn lines(rig: &Rig, service: &str) -> Vec<String> {
    let records = rig.out();
    let records = records.lines().filter_map(|line| line.split_once(" | "));
    let own = records.filter(|(from, _)| from.trim_end().ends_with(&format!(" {service}")));
    own.map(|(_, said)| said.to_owned()).collect()
}

fn got(said: &[String]) -> Vec<&str> {
    said.iter().filter_map(|line| line.strip_prefix("got ")).collect()
}

#[test]
fn it_reaches_its_own_and_nothing_else() {
    let confined = json!({ "run": SYSTEM, "change": ["@/own", "/dev/null", "@/missing"], "plain": true });
    let said = said(Some(confined));
    assert_eq!(got(&said), ["own"], "{said:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("no ")).count(), 17, "{said:?}");
}

#[test]
fn without_the_confinement_it_reaches_everything() {
    let said = said(None);
    // What not every system has for users.
    let rare = ["no namespace", "no mptcp", "no fast"];
    let refused: Vec<_> =
        said.iter().filter(|line| line.starts_with("no ") && !rare.contains(&line.as_str())).collect();
    assert_eq!(refused, [""; 0], "{said:?}");
    assert!(got(&said).len() >= 15, "{said:?}");
}

#[test]
fn ports_that_were_given_are_open() {
    let theirs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = theirs.local_addr().expect("an address").port();
    let script = "(: <>/dev/tcp/127.0.0.1/$0) && echo connected";
    let confined = json!({ "run": SYSTEM, "connect": [port], "plain": true });
    let task = json!({
        "name": "client", "task": true, "command": ["/bin/bash", "-c", script, port.to_string()], "confined": confined,
    });
    let mut rig = Rig::new(json!([task, svc("stay", "serve /dev/null")]));
    rig.start_ready();
    lines_to(&rig, "client", "connected");
}

#[test]
fn datagrams_are_sent_by_who_may() {
    for datagrams in [false, true] {
        let confined = json!({ "run": SYSTEM, "change": ["/dev/null"], "plain": true, "datagrams": datagrams });
        let said = said(Some(confined));
        let udp = if datagrams { "got udp" } else { "no udp" };
        assert!(said.iter().any(|line| line == udp), "{said:?}");
    }
}

/// A service may run as the supervisor's user: being that is not enough to command it.
#[test]
fn no_service_commands_the_supervisor() {
    let ask = |state: &str| format!("{} status {state} && echo heard || echo deaf", example("supervise").display());
    let task = json!({ "name": "asks", "task": true, "command": ["/bin/sh", "-c", ask("@/run")] });
    let mut rig = Rig::new(json!([task, svc("stay", "serve /dev/null")]));
    rig.start_ready();
    lines_to(&rig, "asks", "deaf");
    // The same program, as somebody whom the supervisor has not started.
    let mut command = std::process::Command::new("/bin/sh");
    let heard = command.args(["-c", &ask(&rig.state().display().to_string())]).output().expect("run");
    assert!(String::from_utf8_lossy(&heard.stdout).contains("heard"), "{heard:?}");
}

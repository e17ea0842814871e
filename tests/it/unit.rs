//! FlowDB as a unit of `Type=notify` runs it: secrets as credentials, systemd played by a socket of the test's, which looks
//! at who speaks, as `NotifyAccess=main` does.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::support::deployment::Deployment;

const SECRETS: [&str; 3] = ["FLOWDB_POSTGRES_PASSWORD", "FLOWMACHINE_FLOWDB_PASSWORD", "FLOWAPI_FLOWDB_PASSWORD"];

struct Systemd(UnixDatagram);

impl Systemd {
    fn at(path: &Path) -> Systemd {
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        rustix::net::sockopt::set_socket_passcred(&socket, true).unwrap();
        Systemd(socket)
    }

    /// Everything until `text` is said, that message included; all of it must come from `main`.
    fn until(&self, text: &str, main: u32) -> String {
        let (mut all, since) = (String::new(), Instant::now());
        while !all.contains(text) {
            assert!(since.elapsed() < Duration::from_secs(60), "no {text:?} in {all}");
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let message = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
            let length = message.unwrap_or_else(|error| panic!("{error} after {all:?}")).bytes;
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmCredentials(who) = part {
                    assert_eq!(who.pid.as_raw_nonzero().get().cast_unsigned(), main, "somebody else speaks: {all}");
                }
            }
            all.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        all
    }
}

#[test]
fn a_unit_is_ready_when_queries_are_answered_and_only_its_main_process_speaks() {
    let deployment = Deployment::new();
    let dir = deployment.state().parent().unwrap().to_owned();
    let credentials = dir.join("credentials");
    fs::create_dir(&credentials).unwrap();
    for name in SECRETS {
        fs::write(credentials.join(name), "Pass-1").unwrap();
        fs::set_permissions(credentials.join(name), fs::Permissions::from_mode(0o440)).unwrap();
    }
    let all = SECRETS.map(|name| credentials.join(name)).into_iter().chain([credentials.clone()]);
    all.filter(|_| geteuid().is_root()).for_each(|path| chown(path, Some(65534), Some(65534)).unwrap());
    let systemd = Systemd::at(&dir.join("notify"));
    let mut run = deployment.command(&["run", "flowdb"]);
    run.env("NOTIFY_SOCKET", dir.join("notify")).env("WATCHDOG_USEC", "2000000");
    let journal = dir.join("journal");
    run.env("CREDENTIALS_DIRECTORY", &credentials).env("FLOWKIT_LOG_FORMAT", "json");
    run.stdout(fs::File::create(&journal).unwrap()).stderr(Stdio::null());
    let mut run = run.spawn().unwrap();
    let main = run.id();

    let starting = systemd.until("READY=1\n", main);
    assert!(starting.contains("STATUS=0 of 3 ready; ") && starting.contains("EXTEND_TIMEOUT_USEC="), "{starting}");
    assert!(starting.contains("WATCHDOG=1\n") && starting.contains("STATUS=3 of 3 ready\n"), "{starting}");
    // PostgreSQL speaks the protocol too, and says so at its own start, long before the schema is there.
    let status = deployment.status().unwrap();
    assert_eq!(status["ready"], true, "{status}");
    systemd.until("WATCHDOG=1\n", main);
    // A restart of the server alone: systemd is told how it stands, and not that the unit is ready again.
    let server = deployment.pid("flowdb").unwrap();
    kill_process(Pid::from_raw(server.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let again = systemd.until("STATUS=3 of 3 ready\n", main);
    assert!(again.contains("STATUS=2 of 3 ready; ") && !again.contains("READY=1"), "{again}");
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let stopping = systemd.until("STOPPING=1\n", main);
    assert!(!stopping.contains("READY=1"), "{stopping}");
    assert!(run.wait().unwrap().success());
    let journal = fs::read_to_string(journal).unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    assert!(lines.filter(|line| line["service"] == "flowdb").count() > 0, "PostgreSQL's own lines: {journal}");
}

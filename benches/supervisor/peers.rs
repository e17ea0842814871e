//! The four supervisors: how each is told what to run, stopped and cleared up after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use supervisor::{self as ours_, Kind, LogTarget, OnDependency, Options, Restart, Service, StopStep};

use super::processes::{self, kill, wait_until};

/// What the services do.
#[derive(Clone, Copy)]
pub enum Load {
    Steady,
    Family,
    Flood,
}

impl Load {
    fn word(self) -> &'static str {
        match self {
            Load::Steady => "steady",
            Load::Family => "family",
            Load::Flood => "flood",
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Ours,
    S6,
    Runit,
    Supervisord,
}

/// A supervisor.
pub struct Peer {
    pub name: &'static str,
    which: Which,
    /// Where Debian's packages were unpacked.
    root: PathBuf,
}

/// Ours first; the others as far as Debian's packages can be had.
pub fn all() -> Vec<Peer> {
    let root = unpack();
    let peer = |name, which| Peer { name, which, root: root.clone().unwrap_or_default() };
    let mut peers = vec![peer("flowkit", Which::Ours)];
    if root.is_some() {
        peers.extend([peer("s6", Which::S6), peer("runit", Which::Runit), peer("supervisord", Which::Supervisord)]);
    }
    peers
}

/// Fetches and unpacks the peers once; `None`, and a word on stderr, when there is no way to Debian.
fn unpack() -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        say::tell!(
            "the peers are laid over /usr in a view of our own, which takes root: measuring our own supervisor alone"
        );
        return None;
    }
    let root = std::env::current_exe().ok()?.parent()?.join("bench-peers");
    if root.join("done").exists() {
        return Some(root);
    }
    fs::create_dir_all(&root).ok()?;
    let packages = [
        "s6",
        "libs6-2.11",
        "execline",
        "libexecline2.9",
        "libskarnet2.13",
        "runit",
        "supervisor",
        "python3-pkg-resources",
    ];
    let fetched =
        Command::new("apt-get").arg("download").args(packages).current_dir(&root).stdout(Stdio::null()).status();
    if !fetched.is_ok_and(|status| status.success()) {
        say::tell!(
            "the peers can't be downloaded (Debian 12's packages are wanted): measuring our own supervisor alone"
        );
        return None;
    }
    for file in fs::read_dir(&root).ok()?.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|end| end == "deb") {
            let done = Command::new("dpkg-deb").arg("-x").args([&file, &root]).status().ok()?;
            assert!(done.success(), "{} can't be unpacked", file.display());
        }
    }
    fs::write(root.join("done"), "").ok()?;
    Some(root)
}

impl Peer {
    /// Writes what the peer needs and gives the command that starts it.
    pub fn prepare(&self, dir: &Path, load: Load, services: usize, socket: &Path) -> Command {
        let me = std::env::current_exe().expect("a path");
        let line = format!("{} service {} {}", me.display(), socket.display(), load.word());
        let mut command = match self.which {
            Which::Ours => {
                let mut command = Command::new(me);
                command.arg("supervise").arg(dir).arg(format!("{}:{services}", load.word()));
                command
            }
            Which::S6 => {
                scan_directory(dir, load, services, &line, "exec s6-log -b n1 s268435455 t ");
                self.command("s6-svscan", &[&dir.join("scan").display().to_string()])
            }
            Which::Runit => {
                scan_directory(dir, load, services, &line, "exec svlogd -tt ");
                self.command("runsvdir", &[&dir.join("scan").display().to_string()])
            }
            Which::Supervisord => {
                let conf = dir.join("supervisord.conf");
                fs::write(&conf, supervisord(dir, load, services, &line)).expect("written");
                self.command("supervisord", &["-n", "-c", &conf.display().to_string()])
            }
        };
        let log = fs::File::create(dir.join("own")).expect("a file");
        let errors = log.try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command
    }

    /// Peers call their own programs by fixed paths, so they get a view of the files in which they are installed.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mount =
            format!("mount -t overlay peers -o lowerdir={}:/usr /usr && exec \"$@\"", self.root.join("usr").display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", &mount, "sh", program]).args(args);
        command
    }

    /// Asks it to stop everything, as its manual says.
    pub fn stop(&self, dir: &Path, root: &Child) {
        match self.which {
            Which::Ours | Which::Supervisord => kill(root.id() as i32, libc::SIGTERM),
            Which::S6 => {
                let scan = dir.join("scan").display().to_string();
                self.command("s6-svscanctl", &["-t", &scan]).status().expect("s6-svscanctl");
            }
            Which::Runit => kill(root.id() as i32, libc::SIGHUP),
        }
    }

    /// Waits for its own end; one that stays a while is helped.
    pub fn finish(&self, root: &mut Child) {
        let mut rounds = 0;
        wait_until("the supervisor to end", || {
            rounds += 1;
            if rounds == 10_000 {
                let _ = root.kill();
            }
            root.try_wait().expect("a child").is_some()
        });
    }

    /// The process that is killed with -9 in the test for survivors: the one that knows the services.
    pub fn victim(&self, root: &Child) -> i32 {
        match self.which {
            Which::Ours => processes::tree(root.id() as i32)[1],
            _ => root.id() as i32,
        }
    }

    /// Ends what the peer's per-service processes would go on to restart.
    pub fn sweep(&self, dir: &Path) {
        let scan = dir.join("scan");
        for entry in fs::read_dir(scan).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let service = entry.path().display().to_string();
            let _ = match self.which {
                Which::S6 => self.command("s6-svc", &["-dx", &service]).status(),
                Which::Runit => self.command("sv", &["exit", &service]).status(),
                _ => return,
            };
        }
    }

    /// Whole lines of the log test in the peer's file.
    pub fn log_lines(&self, dir: &Path, length: usize) -> u64 {
        let file = match self.which {
            Which::Ours | Which::Supervisord => dir.join("log"),
            Which::S6 | Which::Runit => dir.join("main/current"),
        };
        let text = fs::read(file).unwrap_or_default();
        let whole =
            |line: &&[u8]| line.len() >= length - 1 && line[line.len() + 1 - length..].iter().all(u8::is_ascii_digit);
        text.split(|byte| *byte == b'\n').filter(whole).count() as u64
    }
}

/// A directory of services, as s6 and runit want it.
fn scan_directory(dir: &Path, load: Load, services: usize, line: &str, logger: &str) {
    for i in 0..services {
        let service = dir.join(format!("scan/s{i}"));
        script(&service.join("run"), &format!("exec {line}"));
        if let Load::Flood = load {
            fs::create_dir_all(dir.join("main")).expect("made");
            script(&service.join("log/run"), &format!("{logger}{}", dir.join("main").display()));
            fs::write(dir.join("main/config"), "s268435455\n").expect("written");
        }
    }
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn supervisord(dir: &Path, load: Load, services: usize, line: &str) -> String {
    let dir = dir.display();
    let log = if let Load::Flood = load { format!("{dir}/log") } else { "/dev/null".to_owned() };
    format!(
        "[supervisord]\nlogfile={dir}/supervisord.log\npidfile={dir}/supervisord.pid\nminfds=256\n\
         [program:s]\ncommand={line}\nprocess_name=s%(process_num)d\nnumprocs={services}\n\
         stdout_logfile={log}\nstdout_logfile_maxbytes=0\nstderr_logfile=/dev/null\nstderr_logfile_maxbytes=0\n"
    )
}

/// Our own supervisor, run by this program for itself.
pub fn ours(dir: &Path, load: &str) -> ExitCode {
    let (load, services) = load.split_once(':').expect("a load and a number");
    let me = std::env::current_exe().expect("a path");
    let service = |i: usize| Service {
        name: format!("s{i}"),
        kind: Kind::Daemon,
        before: Vec::new(),
        command: ours_::Command {
            program: me.clone(),
            args: vec!["service".into(), dir.join("up").into(), load.into()],
            env: BTreeMap::new(),
            dir: "/".into(),
            user: None,
            confinement: None,
        },
        needs: Vec::new(),
        on_dependency: OnDependency::Keep,
        ready: None,
        alive: None,
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        restart: Restart { reset_after: Duration::from_secs(1), ..Restart::default() },
        success: vec![0],
        hopeless: vec![],
        address: None,
        oom_score_adj: None,
        open_files: 1024,
        memory: None,
    };
    let services = (0..services.parse().expect("a number")).map(service).collect();
    let mut options = Options::new(dir.join("run"));
    options.log = LogTarget::File { path: dir.join("log"), max_bytes: 1 << 30, keep: 1 };
    match ours_::supervise(services, options) {
        Ok(outcome) => ExitCode::from(outcome.status),
        Err(error) => {
            say::tell!("{error}");
            ExitCode::FAILURE
        }
    }
}

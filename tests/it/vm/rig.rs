//! Machines in QEMU, and how they are reached.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flowkit_core::catalogue::catalogue;
use flowkit_core::secrets;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::support::flowapi;
use crate::support::poll::until;
use crate::support::ports::free_port;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `scripts/nix-artefacts.sh` has built under a name, as a path of the Nix store.
pub fn artefact(name: &str) -> String {
    let link = repository().join("target/nix").join(name);
    let path =
        fs::read_link(&link).unwrap_or_else(|_| panic!("{} is missing: run scripts/nix-artefacts.sh", link.display()));
    let path = path.to_str().expect("a path in UTF-8");
    path[path.find("/nix/store/").expect("a path of the store")..].to_string()
}

/// A command in the surroundings of Nix, which has QEMU and the store. Its process becomes the command.
fn in_nix() -> Command {
    let mut command = Command::new(repository().join("scripts/nix.sh"));
    command.arg("--shell").arg("env");
    command
}

/// A directory that is at the same place inside the surroundings of Nix.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("vm").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A directory of secrets, each in a file of its name.
pub struct Secrets(TempDir);

impl Secrets {
    pub fn with(secrets: &[(&str, &str)]) -> Secrets {
        let dir = directory();
        for (name, value) in secrets {
            fs::write(dir.path().join(name), value).expect("a secret");
        }
        Secrets(dir)
    }

    /// And what FlowAPI and FlowAuth have beside them: certificates for this host's names, and the key of tokens.
    pub fn with_flowapis(self) -> Secrets {
        let roles: Vec<_> = ["flowapi", "flowauth"].iter().filter_map(|name| catalogue().role(name)).collect();
        secrets::init(self.path(), &roles, &secrets::Options::default()).expect("their secrets");
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// One machine; killed when it goes.
pub struct Machine {
    /// Environment and command that power it on.
    start: Box<dyn Fn(&mut Command)>,
    state: TempDir,
    /// Ports of the host that lead inside, by the settings that name them.
    ports: BTreeMap<&'static str, u16>,
    /// Directories of the host that are shown inside, likewise.
    shown: Vec<(&'static str, PathBuf)>,
    console: File,
    qemu: Option<Child>,
    /// Commands that were given on its console.
    commands: u32,
}

/// The plug of a machine.
pub struct Power(Pid);

impl Power {
    /// QEMU is killed: nothing inside hears of it.
    pub fn cut(&mut self) {
        _ = kill_process(self.0, Signal::KILL);
    }
}

impl Machine {
    /// The machine of a flake's output.
    pub fn new(runner: String) -> Machine {
        Machine::started_by(Box::new(move |command| _ = command.arg(format!("{runner}/bin/flowkit-vm"))))
    }

    fn started_by(start: Box<dyn Fn(&mut Command)>) -> Machine {
        let state = directory();
        let console = File::create_new(state.path().join("console")).expect("a file for the console");
        let ports =
            catalogue().roles().iter().flat_map(|role| &role.ports).filter_map(|port| port.published.as_deref());
        let ports = ports.map(|name| (name, free_port())).collect();
        Machine { start, state, ports, shown: Vec::new(), console, qemu: None, commands: 0 }
    }

    /// The same with a directory of the host that a role reads.
    pub fn showing(mut self, setting: &'static str, dir: &Path) -> Machine {
        self.shown.push((setting, dir.to_owned()));
        self
    }

    /// The port of the host that a setting names.
    pub fn port(&self, setting: &str) -> u16 {
        self.ports[setting]
    }

    pub fn power_on(&mut self) {
        self.boot(None);
    }

    /// Power on, with the secrets of a directory of the host.
    pub fn boot(&mut self, secrets: Option<&Path>) {
        let mut command = in_nix();
        command
            .arg(format!("FLOWKIT_VM_STATE={}", self.state.path().display()))
            .args(self.ports.iter().map(|(name, port)| format!("{name}={port}")))
            .args(self.shown.iter().map(|(name, dir)| format!("{name}={}", dir.display())));
        if let Some(dir) = secrets {
            command.arg(format!("FLOWKIT_VM_SECRETS={}", dir.display()));
        }
        (self.start)(&mut command);
        let output = || self.console.try_clone().expect("the console's file");
        self.qemu =
            Some(command.stdin(Stdio::piped()).stdout(output()).stderr(output()).spawn().expect("scripts/nix.sh"));
        self.commands = 0;
    }

    /// Has root do something on the console, and gives what was said, which must be of a good end.
    pub fn command(&mut self, command: &str, patience: Duration) -> String {
        // Whoever types before there is a shell types in vain.
        let from = self.console().len();
        while self.commands == 0 {
            self.type_in("echo \"a shell: $((6*7))\"");
            std::thread::sleep(Duration::from_secs(5));
            self.commands = u32::from(self.console()[from..].contains("a shell: 42"));
        }
        self.commands += 1;
        let from = self.console().len();
        self.type_in(&format!("{command}; printf '\\n%s-%s-%s-\\n' ended {} $?", self.commands));
        let end = format!("\nended-{}-", self.commands);
        let said = self.wait(command, patience, |machine| {
            // Without what readline tells a terminal when a line is whole.
            let said = machine.console()[from..].replace('\r', "").replace("\u{1b}[?2004l", "");
            let (said, status) = said.split_once(&end).ok_or_else(|| "it has not ended".to_owned())?;
            let status = status.split_once('-').ok_or_else(|| "it is about to end".to_owned())?.0;
            Ok((said.to_owned(), status.to_owned()))
        });
        let (said, status) = said;
        assert_eq!(status, "0", "{command}: {said}");
        // After the line that was typed.
        said.split_once('\n').map_or(String::new(), |(_, said)| said.to_owned())
    }

    fn type_in(&mut self, line: &str) {
        let stdin = self.qemu.as_mut().and_then(|qemu| qemu.stdin.as_mut()).expect("the machine is on");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("a console that is read");
    }

    pub fn power(&self) -> Power {
        let qemu = self.qemu.as_ref().expect("the machine is on");
        Power(Pid::from_child(qemu))
    }

    /// Waits for the end of a machine whose power was cut.
    pub fn has_gone(&mut self) {
        self.qemu.take().expect("the machine was on").wait().expect("its end");
    }

    /// All that the console showed.
    pub fn console(&self) -> String {
        let mut bytes = Vec::new();
        let mut file = File::open(self.state.path().join("console")).expect("the console's file");
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("the console");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of it.
    pub fn console_end(&self) -> String {
        let console = self.console();
        let from = console.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
        console[from..].to_owned()
    }

    pub fn wait_for_redis(&mut self, password: &str, patience: Duration) {
        let url = format!("redis://:{password}@127.0.0.1:{}", self.port("REDIS_HOST_PORT"));
        self.wait("redis", patience, move |_| {
            let mut connection = redis::Client::open(url.as_str())
                .and_then(|client| client.get_connection_with_timeout(Duration::from_secs(5)))
                .map_err(|e| e.to_string())?;
            redis::cmd("PING").exec(&mut connection).map_err(|e| e.to_string())
        });
    }

    pub fn wait_for_flowdb(&mut self, password: &str, patience: Duration) -> Database {
        let login = format!(
            "host=127.0.0.1 port={} user=flowdb password={password} dbname=flowdb connect_timeout=10",
            self.port("FLOWDB_HOST_PORT")
        );
        self.wait("FlowDB", patience, move |_| Database::open(&login))
    }

    /// Asks FlowAPI by the guide's example; gives what it tells.
    pub fn wait_for_flowapi(&mut self, secrets: &Secrets, patience: Duration) -> serde_json::Value {
        let (port, token) = (self.port("FLOWAPI_HOST_PORT"), flowapi::token(secrets.path()));
        let certificate = secrets.path().join("cert-flowkit.pem");
        let ask = move |_: &Machine| flowapi::guide(Command::new(flowapi::python()), port, &token, &certificate);
        self.wait("FlowAPI", patience, ask)
    }

    /// Asks until there is an answer, while the machine is on.
    pub fn wait<T>(&mut self, what: &str, patience: Duration, ask: impl Fn(&Machine) -> Result<T, String>) -> T {
        until(patience, what, || {
            ask(self).map_err(|problem| {
                let ended = self.qemu.as_mut().expect("the machine is on").try_wait().expect("its state");
                assert!(ended.is_none(), "{what}: {problem}; QEMU: {ended:?}; console:\n{}", self.console_end());
                format!("{problem}; console:\n{}", self.console_end())
            })
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            _ = qemu.kill();
            _ = qemu.wait();
        }
    }
}

/// A session of FlowDB's superuser.
pub struct Database {
    runtime: Runtime,
    client: Client,
}

impl Database {
    fn open(login: &str) -> Result<Database, String> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (client, connection) = runtime
            .block_on(async {
                tokio::time::timeout(Duration::from_secs(15), tokio_postgres::connect(login, NoTls)).await
            })
            .map_err(|_| "no answer within 15 s".to_string())?
            .map_err(|e| format!("{e:?}"))?;
        runtime.spawn(async move { _ = connection.await });
        Ok(Database { runtime, client })
    }

    /// Executes; an error when the machine goes, at the latest after ten seconds.
    pub fn try_execute(&mut self, sql: &str) -> Result<(), String> {
        let work = self.client.batch_execute(sql);
        let done = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), work).await });
        done.map_err(|_| "no answer within 10 s".to_string())?.map_err(|e| e.to_string())
    }

    pub fn execute(&mut self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The number that the last of some statements gives.
    pub fn number(&mut self, sql: &str) -> i64 {
        let rows = self.runtime.block_on(self.client.simple_query(sql)).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let row = rows.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0)).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{sql}: no number"))
    }
}

/// A copy of a disk image on a larger disk, as somebody gives it to a hypervisor.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// `bytes` is the size of the disk.
    pub fn of(image: String, bytes: u64) -> Disk {
        let dir = directory();
        let script = format!(
            "qemu-img create -q -f qcow2 -F raw -b {image}/*.raw {dir}/disk.qcow2 {bytes} && cp /usr/share/OVMF/OVMF_VARS_4M.fd {dir}/",
            dir = dir.path().display()
        );
        assert!(in_nix().args(["bash", "-c", &script]).status().expect("scripts/nix.sh").success(), "{script}");
        Disk { dir }
    }

    /// A machine with this disk, firmware, and a second disk that holds secrets.
    pub fn machine(&self, secrets: &Secrets) -> Machine {
        let dir = self.dir.path();
        let script =
            format!("mkfs.ext4 -q -L flowkit-keys -d {} {}/keys.img 16M", secrets.path().display(), dir.display());
        assert!(in_nix().args(["bash", "-c", &script]).status().expect("scripts/nix.sh").success(), "{script}");
        // One processor: of two that are emulated, one was seen to wait for its timer for ever when the host was busy.
        let boot = format!(
            "exec qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 1 -m 2560 -nodefaults -display none -serial stdio \
             -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
             -drive if=pflash,format=raw,file={dir}/OVMF_VARS_4M.fd \
             -drive if=virtio,format=qcow2,file={dir}/disk.qcow2 -drive if=virtio,format=raw,file={dir}/keys.img \
             -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:$FLOWDB_HOST_PORT-:9000,hostfwd=tcp:127.0.0.1:$REDIS_HOST_PORT-:6379",
            dir = dir.display()
        );
        Machine::started_by(Box::new(move |command| _ = command.args(["bash", "-c", &boot])))
    }
}

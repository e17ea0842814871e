//! A secrets directory, and the command run over it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A directory of its own, and the command run over it with nothing else in its environment.
pub struct Sandbox {
    pub root: TempDir,
}

/// How a command ended.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let root = tempfile::Builder::new().prefix("fk").tempdir().unwrap();
        // Others must be able to come by: some tests run the command as somebody else.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Sandbox { root }
    }

    pub fn with(arguments: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.run(&format!("init {arguments}")).succeeded();
        sandbox
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("s")
    }

    /// `flowkit secrets ...`, with `--dir` put in.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(crate::support::programs::flowkit());
        command.env_clear().current_dir("/").arg("secrets").args(arguments.split_whitespace());
        command.arg("--dir").arg(self.dir());
        command
    }

    pub fn run(&self, arguments: &str) -> Outcome {
        self.outcome(&mut self.command(arguments))
    }

    /// The directory's name is replaced in what was printed.
    pub fn outcome(&self, command: &mut Command) -> Outcome {
        let output = command.output().unwrap();
        let root = format!("{}/", self.root.path().display());
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&root, "");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// In place of what is there, as an operator would.
    pub fn write(&self, name: &str, text: &str) {
        _ = fs::remove_file(self.path(name));
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o400)).unwrap();
    }

    /// Every file with its content.
    pub fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// Name and problem of every finding.
    pub fn findings(&self, arguments: &str) -> Vec<(String, String)> {
        let outcome = self.run(&format!("check --format json {arguments}"));
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
        let findings = report["findings"].as_array().unwrap().iter();
        let findings = findings.map(|finding| (text(&finding["name"]), text(&finding["problem"]))).collect::<Vec<_>>();
        assert_eq!(report["ok"], findings.is_empty());
        assert_eq!(outcome.code, Some(i32::from(!findings.is_empty())));
        findings
    }
}

impl Outcome {
    #[track_caller]
    pub fn succeeded(self) -> Outcome {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn failed(self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(code), stdout, stderr));
    }
}

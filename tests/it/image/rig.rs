//! Small stores on disk, and images built from them by the program itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with a store in it and room for images.
pub struct Rig {
    dir: TempDir,
    /// Paths by label, with what they refer to.
    paths: BTreeMap<String, Vec<String>>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig { dir: TempDir::new().unwrap(), paths: BTreeMap::new() }
    }

    /// The store path with this label: a made-up hash that depends on the label alone.
    pub fn path(label: &str) -> String {
        let seed = label.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        format!("/nix/store/{seed:032}-{label}")
    }

    /// Where a store path really is.
    pub fn place(&self, label: &str) -> PathBuf {
        self.root().join(&Rig::path(label)[1..])
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program of a few lines of C that runs anywhere: linked statically.
    pub fn compile(&self, code: &str) -> Vec<u8> {
        let (source, program) = (self.file("main.c"), self.file("main"));
        fs::write(&source, code).unwrap();
        let built = Command::new("cc").args(["-static", "-o"]).arg(&program).arg(&source).status().unwrap();
        assert!(built.success());
        fs::read(&program).unwrap()
    }

    /// Adds a store path with these files (name and content), referring to others.
    pub fn add(&mut self, label: &str, references: &[&str], files: &[(&str, &[u8])]) -> &mut Rig {
        for (name, content) in files {
            let file = self.place(label).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
            let mode = if name.starts_with("bin/") { 0o555 } else { 0o444 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        self.paths.insert(label.to_owned(), references.iter().map(|label| Rig::path(label)).collect());
        self
    }

    pub fn link(&mut self, label: &str, name: &str, target: &str) -> &mut Rig {
        let link = self.place(label).join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
        self
    }

    /// The closure of these paths as Nix would describe it.
    pub fn graph(&self, roots: &[&str]) -> Value {
        let mut todo: Vec<String> = roots.iter().map(|label| Rig::path(label)).collect();
        let mut graph = BTreeMap::new();
        while let Some(path) = todo.pop() {
            let label = &path[44..];
            let references = &self.paths[label];
            let size = size(&self.place(label));
            let node =
                json!({ "path": path, "narSize": size, "references": references, "closureSize": 0, "valid": true });
            if graph.insert(path.clone(), node).is_none() {
                todo.extend(references.clone());
            }
        }
        graph.into_values().collect()
    }

    /// A description of an image of these roots, the first of which is its `top`.
    pub fn spec(&self, name: &str, roots: &[&str]) -> Value {
        json!({
            "graph": self.graph(roots),
            "name": "what else is in a derivation's attributes",
            "image": {
                "name": name, "tag": "1", "architecture": "amd64", "compression": "zstd", "top": [Rig::path(roots[0])],
                "config": { "Entrypoint": ["/bin/program"], "User": "1000:1000" },
                "annotations": { "org.opencontainers.image.title": name },
                "entries": [
                    { "path": "/etc/passwd", "type": "file", "text": "root:x:0:0::/:\n" },
                    { "path": "/data", "type": "directory", "mode": "1777" },
                    { "path": "/bin/program", "type": "symlink", "target": format!("{}/bin/program", Rig::path(roots[0])) },
                ],
            },
        })
    }

    /// Builds an image with these further arguments and gives where it is.
    pub fn build(&self, out: &str, spec: &Value, arguments: &[&str]) -> PathBuf {
        let output = self.try_build(out, spec, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.file(out)
    }

    pub fn try_build(&self, out: &str, spec: &Value, arguments: &[&str]) -> Output {
        let file = self.file(&format!("{out}.json"));
        fs::write(&file, spec.to_string()).unwrap();
        let mut command = flowkit();
        command.args(["image", "build"]).arg(&file).arg("--out").arg(self.file(out)).arg("--root").arg(self.root());
        command.args(arguments).output().unwrap()
    }
}

/// The program, in an empty environment.
pub fn flowkit() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowkit"));
    command.env_clear();
    command
}

/// Bytes of all files below a directory, roughly as Nix counts them.
fn size(path: &Path) -> u64 {
    let found = fs::symlink_metadata(path).unwrap();
    if !found.is_dir() {
        return found.len();
    }
    fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum::<u64>() + 100
}

/// A store with a path of every kind: files, programs, links, deep and odd names.
pub fn small() -> Rig {
    let mut rig = Rig::new();
    rig.add("libc-2", &[], &[("lib/libc.so", &[1; 3_000_000]), ("share/locale/C", b"C")]);
    rig.add("zlib-1", &["libc-2"], &[("lib/libz.so", &[2; 1000]), ("lib/empty", b"")]);
    let deep = format!("{}/{}", "d".repeat(120), "f".repeat(140));
    rig.add("data-1", &[], &[("Ä", b"umlaut"), ("a/b", b"1"), ("a-b", b"2"), (&deep, b"deep")]);
    rig.add("server-1", &["zlib-1", "libc-2", "data-1"], &[("bin/server", &[3; 2_000_000])]);
    rig.link("server-1", "bin/also", "server").link("server-1", "lib", &Rig::path("zlib-1"));
    rig.add("program-1", &["libc-2"], &[("bin/program", &[4; 5000])]);
    rig
}

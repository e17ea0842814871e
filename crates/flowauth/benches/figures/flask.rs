//! FlowAuth in small on Flask.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Server, free_port};

const REQUIREMENTS: &str = include_str!("requirements.txt");
const PASSWORD: &str = "purple-Monkey-dishwasher-91";

/// With its database made, on its way up.
pub fn start() -> Server {
    let bin = environment();
    let dir = tempfile::tempdir().expect("a directory");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/figures");
    let database = dir.path().join("data.sqlite");
    done(Command::new(bin.join("python")).arg(here.join("server.py")).arg(PASSWORD).env("DATABASE", &database));
    let port = free_port();
    let mut command = Command::new(bin.join("gunicorn"));
    command.args(["--workers=2", "--threads=4", "--log-level=error", "--chdir"]).arg(&here);
    command.arg(format!("--bind=127.0.0.1:{port}")).arg("server:app").env("DATABASE", &database);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let child = command.stdin(Stdio::null()).spawn().expect("gunicorn");
    Server { name: "Flask", port, password: PASSWORD.to_owned(), child, _dir: dir }
}

fn done(command: &mut Command) {
    assert!(command.status().expect("Python").success(), "{command:?}");
}

/// The programs of server.py's packages, which are fetched once.
fn environment() -> std::path::PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flowauth-flask");
    let (bin, made) = (home.join("bin"), home.join("requirements.txt"));
    if std::fs::read_to_string(&made).is_ok_and(|made| made == REQUIREMENTS) {
        return bin;
    }
    done(Command::new("/usr/bin/python3").args(["-I", "-m", "venv", "--clear"]).arg(&home));
    let unchecked = home.join("wanted.txt");
    std::fs::write(&unchecked, REQUIREMENTS).expect("a file");
    let install = ["-I", "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"];
    done(Command::new(bin.join("python")).args(install).arg("--requirement").arg(&unchecked));
    std::fs::rename(unchecked, made).expect("a file");
    bin
}

//! `flowkit etl`: files of call detail records into a real FlowDB.

mod broken;
mod cells;
mod days;
mod forms;
mod geography;
mod killed;
mod local;
mod new;
mod upstream;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::flowdb::Cluster;

const SUPERUSER: &str = "flowdb";

/// The header of calls, as FlowDB names its columns.
const HEADER: &str = "id,outgoing,datetime,duration,network,msisdn,msisdn_counterpart,location_id,imsi,imei,tac,operator_code,country_code";

/// A FlowDB, and a directory for files that its user can read.
struct Rig {
    cluster: Cluster,
    files: tempfile::TempDir,
}

impl Rig {
    fn started() -> Rig {
        let files = tempfile::Builder::new().prefix("fk-etl").tempdir().expect("a temporary directory");
        let rig = Rig { cluster: Cluster::started(), files };
        rig.cluster.give(rig.files.path());
        rig
    }

    /// A file of these bytes.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        self.cluster.give(&path);
        path
    }

    /// `flowkit etl VERB KIND FILES… OPTIONS…`, as the user that runs FlowDB.
    fn command(&self, words: &[&str], files: &[&Path]) -> Command {
        flowkit(&self.cluster, words, files)
    }

    /// The same for what knows no deployment.
    fn bare(&self, words: &[&str], files: &[&Path]) -> Command {
        bare(&self.cluster, words, files)
    }

    #[must_use]
    fn run(&self, words: &[&str], files: &[&Path]) -> Said {
        Said::of(self.command(words, files).output().expect("flowkit starts"))
    }

    /// Loads, or the test is over; what was said to stderr.
    fn load(&self, words: &[&str], files: &[&Path]) -> String {
        let said = self.run(&[&["load"], words].concat(), files);
        assert_eq!(said.status, Some(0), "{said:?}");
        said.stderr
    }

    fn value(&self, sql: &str) -> String {
        self.cluster.value(SUPERUSER, sql)
    }

    fn ask(&self, sql: &str) -> Vec<String> {
        self.cluster.ask(SUPERUSER, sql).into_iter().map(|row| row.join(" ")).collect()
    }
}

fn flowkit(cluster: &Cluster, words: &[&str], files: &[&Path]) -> Command {
    let mut command = bare(cluster, words, files);
    command.arg("--dir").arg(cluster.site.state.root());
    command
}

fn bare(cluster: &Cluster, words: &[&str], files: &[&Path]) -> Command {
    let mut command = Command::new(crate::support::programs::flowkit());
    command.arg("etl").args(words).args(files);
    command.env_clear().env("FLOWDB_PORT", cluster.site.settings.port("FLOWDB_PORT").to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    cluster.as_service_user(&mut command);
    command
}

/// What a command said.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
        Said { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// So many made-up calls of 2016-01-`day`, each by one of 50 subscribers, with all that FlowDB has columns for.
fn calls(day: u32, rows: u32) -> String {
    let mut text = format!("{HEADER}\n");
    for n in 0..rows {
        let (hour, minute, second) = (n * 7 % 24, n * 11 % 60, n * 13 % 60);
        let (caller, called) = (n * 31 % 50, n * 17 % 40);
        let direction = if n % 2 == 0 { "t" } else { "false" };
        // Some without a counterpart, a cell, a handset.
        let some = |every: u32, text: String| if n % every == 3 { String::new() } else { text };
        text += &format!(
            "call-{n},{direction},2016-01-{day:02} {hour:02}:{minute:02}:{second:02}.25+00,{}.{:02},net,subscriber-{caller:02},{},{},{},{},{},{},509\n",
            n % 60,
            n % 100,
            some(7, format!("subscriber-{called:02}")),
            some(11, format!("cell-{}", n % 9)),
            some(13, format!("imsi-{caller}")),
            some(5, format!("imei-{}", caller / 2)),
            some(3, (35_000_000 + caller).to_string()),
            n % 3,
        );
    }
    text
}

fn gzip(text: &str) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut input = child.stdin.take().expect("it is piped");
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("gzip ends");
    writer.join().expect("it does not panic").expect("gzip reads");
    output.stdout
}

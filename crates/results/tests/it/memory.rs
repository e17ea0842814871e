//! That a stream's memory does not grow with the result: measured in a process of its own, by the kernel.

use std::process::Command;

use futures_util::StreamExt;
use results::{Format, Query};

use crate::rig::{Address, ID, Server};

/// What a server may take for a result, whatever its size: the whole process, libraries and all.
const LIMIT: usize = 64 << 20;
/// About 80 MB.
const SQL: &str = "SELECT i, repeat(md5(i::text), 8) AS t FROM (SELECT generate_series(1, 300000) AS i) g";

#[test]
fn is_flat() {
    let server = Server::start();
    for format in [Format::Json, Format::Arrow, Format::Parquet] {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "memory::of_a_child", "--nocapture"]);
        child.env("RESULTS_SOCKET", &server.address().socket).env("RESULTS_FORMAT", format.extension());
        let output = child.output().expect("this program starts again");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{format:?}: {said}");
        let number = |name: &str| -> usize {
            let line =
                said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {said}"));
            line.trim().parse().expect("a number")
        };
        // Parquet's file is smaller than its rows.
        assert!(
            number("bytes") > LIMIT || format == Format::Parquet,
            "{format:?}: the file is larger than what it may take"
        );
        assert!(number("peak") < LIMIT, "{format:?}: {} bytes", number("peak"));
    }
}

/// The other process of [`is_flat`]; nothing when it is run by itself.
#[test]
fn of_a_child() {
    let (Some(socket), Ok(format)) = (std::env::var_os("RESULTS_SOCKET"), std::env::var("RESULTS_FORMAT")) else {
        return;
    };
    let address = Address { socket: socket.into(), port: 5432 };
    let format = Format::from_extension(&format).expect("a format");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bytes: usize = runtime.block_on(async {
        let client = address.connect().await.expect("a connection");
        let query = Query { sql: SQL, format, query_id: ID, timeout: None };
        let rows = results::open(client, &query).await.expect("a stream");
        rows.map(|chunk| chunk.expect("a chunk").len()).fold(0, async |sum, bytes| sum + bytes).await
    });
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: usize = peak.trim().trim_end_matches(" kB").parse().expect("KiB");
    say::tell!("bytes {bytes}\npeak {}", kib << 10);
}

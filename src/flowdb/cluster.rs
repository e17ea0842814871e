//! FlowDB's cluster.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, SUPERUSER};
use crate::tuning::{self, Database};
use flowkit_core::Site;
use flowkit_core::config::{Problems, Settings};
use flowkit_core::hardware;
use postgres::{Cluster, Postgres, Prepared, write_whole};

/// The role whose cluster it is.
const ROLE: &str = "flowdb";

/// The secret that holds the superuser's password.
pub(super) const SUPERUSER_PASSWORD: &str = "FLOWDB_POSTGRES_PASSWORD";

/// An empty FlowDB was seen to take 72 MiB, one segment of its log included; the rest is for the first work on it.
const ROOM: u64 = 256 << 20;

/// FlowDB as the settings have it.
pub fn cluster(site: &Site) -> Cluster {
    Cluster {
        name: "FlowDB",
        site: site.clone(),
        directory: site.state.role(ROLE),
        elsewhere: site.settings.text("FLOWKIT_FLOWDB_DATA").map(PathBuf::from),
        superuser: SUPERUSER,
        superuser_over_tcp: true,
        password: SUPERUSER_PASSWORD,
        listen: site.settings.text("FLOWKIT_FLOWDB_LISTEN").unwrap_or("127.0.0.1").to_owned(),
        port: site.settings.port("FLOWDB_PORT"),
        // Its clients here answer by SCRAM only, which tells a stranger nothing.
        certificate: None,
        extensions: &["postgis"],
        room: ROOM,
    }
}

/// Makes the data directory unless it is there, and writes its configuration. Step `flowdb-prepare`.
///
/// # Errors
/// As [`Cluster::prepare`]; settings that can't be planned for.
pub fn prepare(site: &Site) -> Result<Prepared, Error> {
    cluster(site).prepare(|postgres, data| tuning(postgres, data, &site.settings))
}

/// What `flowkit tune` prints, for this machine, this installation and this much data.
fn tuning(postgres: &Postgres, data: &Path, settings: &Settings) -> Result<(String, Vec<String>), Problems> {
    let database = Database { partitions: partitions(data), ..Database::look(&postgres.bin, postgres.major, data) };
    let plan = tuning::plan(&hardware::detect(data), settings, &database)?;
    Ok((plan.conf(), plan.warnings))
}

/// Where the number of event partitions is kept for the next start's tuning, when nobody can be asked.
fn partitions_file(data: &Path) -> PathBuf {
    data.join("flowkit.partitions")
}

/// As of the last start; a database that was never started has none.
fn partitions(data: &Path) -> u64 {
    fs::read_to_string(partitions_file(data)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Keeps the number of event partitions.
pub(super) fn note_partitions(data: &Path, count: i64) -> Result<(), Error> {
    write_whole(&partitions_file(data), &format!("{count}\n"))
}

//! How large `/dev/shm` of FlowDB's container has to be.

use crate::tuning::{self, Database};
use flowkit_core::config::{Problems, Settings};
use flowkit_core::hardware::{Disk, Fact, Hardware, HugePages};

/// What parallel queries may need with so much memory, and a quarter of that memory if that is more.
pub(super) fn shared_memory(memory: u64, cpus: Option<&f64>, settings: &Settings) -> Result<u64, Problems> {
    // As many as make the most of it when nobody says: more ask for more.
    let cpus = cpus.map_or(16, |cpus| (*cpus as u32).max(1));
    let room = || Some(Fact::given(u64::MAX, "--memory"));
    let hardware = Hardware {
        memory: Fact::given(memory, "--memory"),
        cpus: Fact::given(cpus, "--cpus"),
        disk: Fact::given(Disk::Unknown, "a node"),
        free_space: None,
        wal_space: None,
        shm: room(),
        huge_pages: HugePages::default(),
        shmmax: None,
        commit_limit: None,
        open_files: None,
        read_iops: None,
    };
    let newest = Database::new(*tuning::MAJORS.end());
    let need = tuning::plan(&hardware, settings, &newest)?.demand.dynamic_shared_memory();
    Ok(need.max(memory / 4))
}

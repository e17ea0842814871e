//! What the rules make of machines, databases and wishes.

mod given;
mod manual;
mod properties;
mod table;

use super::budget::LOCK_SLOT;
use super::*;
use flowkit_core::config::Settings;
use flowkit_core::hardware::{Disk, HugePages};
use flowkit_core::size::{self, GIB, MIB};

/// A machine with room for everything but what is asked about.
fn machine(memory: u64, cpus: u32) -> Hardware {
    let given = |value| Some(Fact::new(value, hardware::Origin::Machine("test".to_owned())));
    Hardware {
        memory: Fact::new(memory, hardware::Origin::Machine("MemTotal".to_owned())),
        cpus: Fact::new(cpus, hardware::Origin::Machine("CPU affinity".to_owned())),
        disk: Fact::new(Disk::Ssd, hardware::Origin::Machine("sda queue/rotational 0".to_owned())),
        free_space: given(1 << 40),
        wal_space: given(1 << 40),
        shm: given(1 << 40),
        huge_pages: HugePages::default(),
        shmmax: Some(u64::MAX),
        commit_limit: None,
        open_files: Some(1 << 20),
        read_iops: None,
    }
}

/// More data than any memory.
fn large(major: u32) -> Database {
    Database { bytes: u64::MAX, ..Database::new(major) }
}

fn overrides(given: &[(&str, &str)]) -> Result<Overrides, Problems> {
    let given = given.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let settings = Settings::load(None, &given, None)?;
    Overrides::from_settings(&settings)
}

fn planned(memory: u64, cpus: u32, given: &[(&str, &str)], database: &Database) -> Result<Plan, Problems> {
    plan_with(&machine(memory, cpus), &overrides(given)?, database)
}

fn value(plan: &Plan, name: &str) -> String {
    plan.value(name).unwrap_or_else(|| panic!("{name} is not set")).to_string()
}

#[test]
fn data_that_fits_in_memory_gets_small_sorts() {
    let fits = Database { bytes: 8 * GIB, ..Database::new(15) };
    let memory = |database: &Database| {
        let plan = planned(16 * GIB, 2, &[], database).unwrap();
        (value(&plan, "work_mem"), value(&plan, "hash_mem_multiplier"))
    };
    assert_eq!(memory(&fits), ("8MB".to_owned(), "2".to_owned()));
    let grown = Database { bytes: 8 * GIB + 1, ..fits };
    assert_eq!(memory(&grown), ("32MB".to_owned(), "4".to_owned()));
}

#[test]
fn the_disk_decides_over_io() {
    let io = |disk, iops: Option<u64>, major| {
        let mut hardware = machine(4 * GIB, 2);
        hardware.disk.value = disk;
        hardware.read_iops = iops.map(|n| Fact::new(n, hardware::Origin::Cgroup("cgroup v2 / io.max".to_owned())));
        let plan = plan_with(&hardware, &Overrides::default(), &large(major)).unwrap();
        ["effective_io_concurrency", "autovacuum_vacuum_cost_limit"].map(|name| value(&plan, name))
    };
    assert_eq!(io(Disk::Ssd, None, 15), ["128", "1000"]);
    assert_eq!(io(Disk::Ssd, None, 18), ["64", "1000"]);
    assert_eq!(io(Disk::Hdd, None, 17), ["2", "400"]);
    assert_eq!(io(Disk::Hdd, None, 18), ["16", "400"]);
    assert_eq!(io(Disk::Unknown, None, 15), ["128", "1000"]);
    assert_eq!(io(Disk::Ssd, Some(100), 15), ["2", "400"]);
}

/// The server refuses to start when all connections are kept for somebody.
#[test]
fn connections_are_kept_for_programs_where_the_server_can() {
    for (major, kept) in [(15, None), (17, Some("10")), (18, Some("10"))] {
        let plan = planned(4 * GIB, 8, &[], &Database::new(major)).unwrap();
        assert_eq!(plan.value("reserved_connections").map(ToString::to_string).as_deref(), kept, "{major}");
        assert_eq!(value(&plan, "authentication_timeout"), "15s");
    }
    let small = planned(512 * MIB, 1, &[], &Database::new(17)).unwrap();
    assert_eq!((value(&small, "reserved_connections"), value(&small, "max_connections")), ("3".into(), "30".into()));
}

#[test]
fn settings_of_a_version_go_to_that_version_only() {
    for (major, wanted) in [(15, false), (17, false), (18, true)] {
        let plan = planned(4 * GIB, 8, &[], &Database::new(major)).unwrap();
        for name in ["io_method", "io_workers", "autovacuum_worker_slots"] {
            assert_eq!(plan.value(name).is_some(), wanted, "{name} on {major}");
        }
    }
    let old = planned(GIB, 1, &[], &Database::new(14)).unwrap_err().to_string();
    assert_eq!(old, "this version of PostgreSQL is not supported: \"14\"; use 15 to 18");
    let new = planned(GIB, 1, &[], &Database::new(19)).unwrap();
    assert_eq!(new.warnings, ["PostgreSQL 19 is newer than these rules; it gets those of 18"]);
}

#[test]
fn huge_pages_are_used_only_where_they_can_be_touched() {
    let pages = |free, limit: Option<u64>, memory| {
        let mut hardware = machine(memory, 8);
        let limit = limit.map(|n| Fact::new(n, hardware::Origin::Cgroup("cgroup v2 /x hugetlb.2MB.max".to_owned())));
        hardware.huge_pages = HugePages { page: 2 * MIB, total: free, free, limit };
        value(&plan_with(&hardware, &Overrides::default(), &large(15)).unwrap(), "huge_pages")
    };
    assert_eq!(pages(4096, None, 16 * GIB), "try");
    assert_eq!(pages(4096, None, 4 * GIB), "off");
    assert_eq!(pages(1024, None, 16 * GIB), "off");
    assert_eq!(pages(4096, Some(GIB), 16 * GIB), "off");
    assert_eq!(pages(4096, Some(8 * GIB), 16 * GIB), "try");
}

#[test]
fn parallel_queries_meet_where_there_is_room() {
    let kind = |shm: Option<u64>, shmmax| {
        let mut hardware = machine(16 * GIB, 8);
        hardware.shm = shm.map(|n| Fact::new(n, hardware::Origin::Machine("free space of /dev/shm".to_owned())));
        hardware.shmmax = Some(shmmax);
        let plan = plan_with(&hardware, &Overrides::default(), &large(15)).unwrap();
        (value(&plan, "dynamic_shared_memory_type"), plan.warnings)
    };
    assert_eq!(kind(Some(4 * GIB), u64::MAX), ("posix".to_owned(), vec![]));
    // 2 hash tables of 128 MiB in 5 processes, and an index build with 1 GiB.
    let warning = "/dev/shm has only 64 MiB free, parallel queries may need 2304 MiB: System V shared memory is used \
                   instead (a container takes --shm-size=2304m)";
    assert_eq!(kind(Some(64 * MIB), u64::MAX), ("sysv".to_owned(), vec![warning.to_owned()]));
    assert_eq!(kind(None, u64::MAX).0, "sysv");
    assert_eq!(kind(None, 4096).0, "mmap");
}

#[test]
fn more_partitions_than_locks_are_noticed() {
    let crowded = Database { partitions: 100_000, ..large(15) };
    let plan = planned(4 * GIB, 2, &[], &crowded).unwrap();
    assert!(
        plan.warnings[0].starts_with("100000 partitions with four indexes each are 500000 locks"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn what_was_lowered_is_said() {
    let plan = planned(4 * GIB, 32, &[], &large(15)).unwrap();
    assert_eq!(plan.fitted, ["work_mem 8MB -> 4MB"]);
    assert!(plan.conf().contains("# Lowered to fit: work_mem 8MB -> 4MB\n"));
}

#[test]
fn the_file_holds_one_setting_a_line_whatever_a_cgroup_is_called() {
    let mut hardware = machine(4 * GIB, 2);
    hardware.memory.origin = hardware::Origin::Cgroup("cgroup v2 /x\nfsync = off\u{2028}y memory.max".to_owned());
    let plan = plan_with(&hardware, &Overrides::default(), &large(15)).unwrap();
    let conf = plan.conf();
    let lines: Vec<&str> = conf.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    assert_eq!(lines.len(), plan.settings.len());
    for (line, setting) in lines.iter().zip(&plan.settings) {
        assert_eq!(*line, format!("{} = {}", setting.name, setting.value.quoted()));
    }
}

#[test]
fn no_setting_comes_twice_and_each_has_a_reason() {
    for major in [15, 17, 18] {
        let plan = planned(4 * GIB, 2, &[("FLOWDB_LOG_DEST", "jsonlog")], &large(major)).unwrap();
        let mut names: Vec<&str> = plan.settings.iter().map(|s| s.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(plan.settings.iter().all(|s| !s.reason.is_empty()));
    }
}

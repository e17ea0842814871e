//! The rules as tables, and refusals word for word.

mod manual;
mod properties;

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

/// The message of a plan that must be refused.
fn refusal(memory: u64, given: &[(&str, &str)]) -> String {
    planned(memory, 2, given, &large(15)).expect_err("must be refused").to_string()
}

/// A row of the table of recommended values: what does not hang on CPUs, then per 1, 2, 8 and 32 CPUs.
struct Row {
    memory: u64,
    fixed: [(&'static str, &'static str); 6],
    by_cpus: [(&'static str, [&'static str; 4]); 6],
    /// Largest acceptable sum of the budget, MiB, for 1 and 8 CPUs.
    budget: [u64; 2],
}

/// The values of the rules' table for PostgreSQL 15. Ours differ in one: on 1 GiB and 32 CPUs work_mem stays 4MB, for the
/// budget holds (the table has 2MB there). Sums may be 10 % above the table's: we count shared_buffers with 2.6 % of
/// overhead for every version (15 has 2.3) and keep at least 64 MiB in reserve.
fn rows() -> [Row; 6] {
    let row = |memory, fixed: [&'static str; 6], by_cpus: [[&'static str; 4]; 6], budget| Row {
        memory,
        fixed: std::array::from_fn(|i| (FIXED[i], fixed[i])),
        by_cpus: std::array::from_fn(|i| (BY_CPUS[i], by_cpus[i])),
        budget,
    };
    const FIXED: [&str; 6] = [
        "shared_buffers",
        "effective_cache_size",
        "maintenance_work_mem",
        "autovacuum_work_mem",
        "max_connections",
        "max_wal_size",
    ];
    const BY_CPUS: [&str; 6] = [
        "work_mem",
        "hash_mem_multiplier",
        "autovacuum_max_workers",
        "max_parallel_workers",
        "max_parallel_workers_per_gather",
        "max_parallel_maintenance_workers",
    ];
    let same = |value| [value; 4];
    let many = [["2", "3", "3", "5"], ["1", "2", "8", "32"], ["0", "1", "4", "8"], ["0", "2", "4", "4"]];
    let [workers, parallel, gather, maintenance] = many;
    [
        row(
            512 * MIB,
            ["96MB", "307MB", "32MB", "16MB", "25", "256MB"],
            [same("2MB"), same("2"), same("2"), ["1", "2", "2", "2"], ["0", "1", "2", "2"], same("0")],
            [443, 452],
        ),
        row(
            GIB,
            ["256MB", "614MB", "64MB", "16MB", "50", "512MB"],
            [same("4MB"), same("2"), workers, ["1", "2", "4", "4"], ["0", "1", "4", "4"], ["0", "1", "1", "1"]],
            [926, 980],
        ),
        row(
            4 * GIB,
            ["1GB", "2867MB", "256MB", "64MB", "100", "2GB"],
            [["8MB", "8MB", "8MB", "4MB"], same("4"), workers, ["1", "2", "8", "16"], gather, maintenance],
            [3590, 3910],
        ),
        row(
            16 * GIB,
            ["4GB", "11468MB", "1GB", "256MB", "100", "8GB"],
            [["32MB", "32MB", "32MB", "16MB"], same("4"), workers, parallel, gather, maintenance],
            [12_100, 13_700],
        ),
        row(
            64 * GIB,
            ["16GB", "45875MB", "1GB", "256MB", "100", "16GB"],
            [same("128MB"), same("4"), workers, parallel, gather, maintenance],
            [38_600, 58_100],
        ),
        row(
            256 * GIB,
            ["32GB", "183500MB", "1GB", "256MB", "100", "16GB"],
            [same("128MB"), same("8"), workers, parallel, gather, maintenance],
            [61_000, 97_000],
        ),
    ]
}

#[test]
fn recommended_values() {
    for row in rows() {
        for (at, cpus) in [1, 2, 8, 32].into_iter().enumerate() {
            let plan = planned(row.memory, cpus, &[], &large(15)).unwrap();
            let place = format!("{} MiB, {cpus} CPUs", row.memory / MIB);
            for (name, wanted) in row.fixed {
                assert_eq!(value(&plan, name), wanted, "{name}, {place}");
            }
            for (name, wanted) in row.by_cpus {
                assert_eq!(value(&plan, name), wanted[at], "{name}, {place}");
            }
            if let Some(budget) = [Some(row.budget[0]), None, Some(row.budget[1]), None][at] {
                let total = plan.budget.total() / MIB;
                assert!(
                    total <= budget * 110 / 100,
                    "{total} MiB against {budget}, {place}: {}",
                    plan.budget.describe()
                );
            }
        }
    }
}

#[test]
fn the_lock_pool_is_that_of_the_table() {
    for (memory, cpus, wanted) in [
        (512 * MIB, 1, 1037),
        (512 * MIB, 2, 1010),
        (GIB, 1, 1238),
        (4 * GIB, 1, 1304),
        (4 * GIB, 32, 1124),
        (16 * GIB, 32, 1000),
    ] {
        assert_eq!(planned(memory, cpus, &[], &large(15)).unwrap().demand.max_locks(), wanted);
    }
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
    assert_eq!((value(&small, "reserved_connections"), value(&small, "max_connections")), ("2".into(), "25".into()));
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
fn every_variable_has_its_effect() {
    let given = [
        ("FLOWDB_TOTAL_MEMORY", "8GB"),
        ("SHARED_BUFFERS_SIZE", "1GB"),
        ("EFFECTIVE_CACHE_SIZE", "3GB"),
        ("MAX_CPUS", "6"),
        ("MAX_WORKERS", "4"),
        ("MAX_WORKERS_PER_GATHER", "3"),
        ("MAX_LOCKS_PER_TRANSACTION", "2000"),
        ("STATS_TARGET", "5000"),
        ("NO_USE_JIT", "FALSE"),
        ("FLOWDB_LOG_DEST", "CSVLOG"),
        ("FLOWDB_ENABLE_POSTGRES_DEBUG_MODE", "True"),
        ("CACHE_SIZE", "1073741824"),
        ("CACHE_PROTECTED_PERIOD", "60"),
        ("CACHE_HALF_LIFE", "10.5"),
    ];
    let database = Database { debugger: true, ..large(15) };
    let plan = planned(16 * GIB, 2, &given, &database).unwrap();
    for (name, wanted, variable) in [
        ("work_mem", "16MB", "FLOWDB_TOTAL_MEMORY"),
        ("shared_buffers", "1GB", "SHARED_BUFFERS_SIZE"),
        ("effective_cache_size", "3GB", "EFFECTIVE_CACHE_SIZE"),
        ("max_parallel_maintenance_workers", "4", "MAX_CPUS"),
        ("max_worker_processes", "8", "MAX_WORKERS"),
        ("max_parallel_workers", "4", "MAX_WORKERS"),
        ("max_parallel_workers_per_gather", "3", "MAX_WORKERS_PER_GATHER"),
        ("max_locks_per_transaction", "2000", "MAX_LOCKS_PER_TRANSACTION"),
        ("default_statistics_target", "5000", "STATS_TARGET"),
        ("jit", "on", "NO_USE_JIT"),
        ("log_destination", "csvlog", "FLOWDB_LOG_DEST"),
        ("logging_collector", "on", "FLOWDB_LOG_DEST"),
        ("shared_preload_libraries", "pg_stat_statements,plugin_debugger", "FLOWDB_ENABLE_POSTGRES_DEBUG_MODE"),
    ] {
        let setting = plan.settings.iter().find(|s| s.name == name).unwrap();
        assert_eq!(setting.value.to_string(), wanted, "{name}");
        assert_eq!(setting.origin, Origin::Given(format!("{variable} (environment)")), "{name}");
    }
    assert_eq!(plan.cache(), CacheSettings { size: GIB, protected_period: 60, half_life: 10.5 });
    assert_eq!(plan.max_connections(), 100);
    assert!(plan.warnings.iter().any(|w| w.starts_with("STATS_TARGET 5000")), "{:?}", plan.warnings);
}

#[test]
fn defaults_of_the_cache_and_empty_variables() {
    let plan = planned(4 * GIB, 2, &[("CACHE_SIZE", ""), ("MAX_CPUS", " ")], &large(15)).unwrap();
    assert_eq!(plan.cache(), CacheSettings { size: (1 << 40) / 10, protected_period: 86_400, half_life: 1000.0 });
    assert_eq!(value(&plan, "max_parallel_workers"), "2");
}

#[test]
fn a_debugger_that_is_not_there_is_not_loaded() {
    let plan = planned(GIB, 1, &[("FLOWDB_ENABLE_POSTGRES_DEBUG_MODE", "true")], &Database::new(15)).unwrap();
    assert_eq!(value(&plan, "shared_preload_libraries"), "pg_stat_statements");
    assert!(plan.warnings[0].contains("plugin_debugger is not installed"));
    let bare = Database { statements: false, lz4: false, ..Database::new(15) };
    let plan = planned(GIB, 1, &[], &bare).unwrap();
    assert_eq!(
        (value(&plan, "shared_preload_libraries").as_str(), value(&plan, "wal_compression").as_str()),
        ("", "off")
    );
    assert!(plan.value("pg_stat_statements.track").is_none());
}

#[test]
fn bad_values_are_told_all_at_once_by_name() {
    let message = refusal(
        4 * GIB,
        &[
            ("MAX_CPUS", "zero"),
            ("MAX_WORKERS", "0"),
            ("SHARED_BUFFERS_SIZE", "lots"),
            ("STATS_TARGET", "20000"),
            ("NO_USE_JIT", "maybe"),
            ("FLOWDB_LOG_DEST", "syslog"),
            ("CACHE_HALF_LIFE", "0"),
            ("CACHE_SIZE", "-1"),
            ("FLOWDB_TOTAL_MEMORY", "1MB'\nfsync = off"),
        ],
    );
    let wanted = r#"9 things are wrong
  CACHE_HALF_LIFE is wrong: "0" (environment); give a number greater than 0
  CACHE_SIZE is wrong: "-1" (environment); give a size such as 512MB or 16GB, at least 0
  FLOWDB_LOG_DEST is wrong: "syslog" (environment); give one of stderr, jsonlog, csvlog
  FLOWDB_TOTAL_MEMORY is wrong: "1MB'\nfsync = off" (environment); give one line without control characters
  MAX_CPUS is wrong: "zero" (environment); give a whole number from 1 to 1024
  MAX_WORKERS is wrong: "0" (environment); give a whole number from 1 to 1024
  NO_USE_JIT is wrong: "maybe" (environment); give true or false
  SHARED_BUFFERS_SIZE is wrong: "lots" (environment); give a size such as 512MB or 16GB from 16MB to 8TB
  STATS_TARGET is wrong: "20000" (environment); give a whole number from 1 to 10000"#;
    assert_eq!(message, wanted);
}

#[test]
fn contradictions_and_gluttony_are_refused_by_name() {
    assert_eq!(
        refusal(4 * GIB, &[("MAX_CPUS", "2"), ("MAX_WORKERS_PER_GATHER", "4")]),
        "MAX_WORKERS_PER_GATHER is wrong: \"4\" (environment); at most MAX_CPUS = 2: lower the one or raise the other"
    );
    assert_eq!(
        refusal(4 * GIB, &[("SHARED_BUFFERS_SIZE", "16GB")]).lines().nth(1).unwrap().trim(),
        "SHARED_BUFFERS_SIZE is wrong: \"16GB\" (environment); give at most 1638MB, 40 % of the memory (4096 MiB, hardware: \
         MemTotal)"
    );
    // Upstream's lock table: 36,500 for each of some hundred processes.
    let locks = refusal(512 * MIB, &[("MAX_LOCKS_PER_TRANSACTION", "36500")]);
    assert!(
        locks.starts_with(
            "too little memory for MAX_LOCKS_PER_TRANSACTION: \"512 MiB\" (hardware: MemTotal); FlowDB may"
        ),
        "{locks}"
    );
    assert!(locks.contains("at its least: shared memory (shared_buffers, lock table)"), "{locks}");
    assert!(refusal(128 * MIB, &[]).contains("give FlowDB more memory"));
    let forced = [("MAX_LOCKS_PER_TRANSACTION", "36500"), ("FLOWKIT_FLOWDB_OVER_BUDGET", "true")];
    let plan = planned(512 * MIB, 2, &forced, &large(15)).unwrap();
    assert!(plan.warnings[0].starts_with("over budget, as FLOWKIT_FLOWDB_OVER_BUDGET allows"), "{:?}", plan.warnings);
}

#[test]
fn more_memory_than_there_is_is_not_believed() {
    let plan = planned(4 * GIB, 2, &[("FLOWDB_TOTAL_MEMORY", "64GB")], &large(15)).unwrap();
    assert_eq!(plan.demand.memory, 4 * GIB);
    assert_eq!(
        plan.warnings,
        ["FLOWDB_TOTAL_MEMORY is 64.0 GiB, but there is only 4096 MiB (hardware: MemTotal); planned for the latter"]
    );
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

#[test]
fn what_others_need_is_left_to_them_unless_flowdbs_share_is_said() {
    let inputs = |given: &[(&str, &str)]| planned(4 * GIB, 2, given, &large(15)).unwrap().inputs.memory;
    let left = inputs(&[("FLOWKIT_FLOWDB_SET_ASIDE", "1GB")]);
    assert_eq!(left.value, 3 * GIB);
    let why = "hardware: MemTotal less 1024 MiB: FLOWKIT_FLOWDB_SET_ASIDE (environment)";
    assert_eq!(left.origin.to_string(), why);
    assert_eq!(inputs(&[("FLOWKIT_FLOWDB_SET_ASIDE", "0")]), inputs(&[]));
    let said = inputs(&[("FLOWKIT_FLOWDB_SET_ASIDE", "1GB"), ("FLOWDB_TOTAL_MEMORY", "4GB")]);
    assert_eq!(said.value, 4 * GIB);
}

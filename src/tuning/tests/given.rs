//! What the operator gives: its effect, and refusals word for word.

use super::*;

/// The message of a plan that must be refused.
fn refusal(memory: u64, given: &[(&str, &str)]) -> String {
    planned(memory, 2, given, &large(15)).expect_err("must be refused").to_string()
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

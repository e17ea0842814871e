//! Everybody's settings, made from the same inputs by each rival's own formulas (docs/tuning.md names their versions).

use flowkit::tuning::overrides::Overrides;
use flowkit::tuning::{self, Database};
use flowkit_core::hardware::{Disk, Fact, Hardware};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// What every tuner is told.
pub struct Inputs {
    pub memory: u64,
    pub cpus: u32,
    pub major: u32,
    /// Size of the data in bytes.
    pub data: u64,
    /// The machine with its real disk and free space; memory and CPUs are replaced.
    pub hardware: Hardware,
}

/// Settings by name.
pub type Settings = Vec<(String, String)>;

/// All that are compared, ours first.
pub const ALL: [&str; 7] =
    ["ours", "defaults", "pgtune-dw", "pgtune-mixed", "timescaledb-tune", "pgconfig-dw", "flowkit-upstream"];

/// The settings of `spec`: a name of [`ALL`], then any number of `+setting=value`.
pub fn settings(spec: &str, inputs: &Inputs) -> Settings {
    let mut parts = spec.split('+');
    let mut settings = match parts.next().unwrap_or_default() {
        "ours" => ours(inputs),
        "defaults" => Vec::new(),
        "pgtune-dw" => pgtune(inputs, true),
        "pgtune-mixed" => pgtune(inputs, false),
        "timescaledb-tune" => timescaledb(inputs),
        "pgconfig-dw" => pgconfig(inputs),
        "flowkit-upstream" => upstream(inputs),
        other => panic!("nobody is called {other}; there are {}", ALL.join(", ")),
    };
    for change in parts {
        let (name, value) = change.split_once('=').expect("setting=value after +");
        settings.retain(|(n, _)| n != name);
        settings.push((name.to_owned(), value.to_owned()));
    }
    settings
}

/// The include file that the product writes, log settings and all.
fn ours(inputs: &Inputs) -> Settings {
    let mut hardware = inputs.hardware.clone();
    hardware.memory = Fact::given(inputs.memory, "--memory");
    hardware.cpus = Fact::given(inputs.cpus, "--cpus");
    // Everybody is told that the disk is an SSD.
    hardware.disk = Fact::given(Disk::Ssd, "--disk");
    let database = Database { bytes: inputs.data, ..Database::new(inputs.major) };
    let plan = tuning::plan_with(&hardware, &Overrides::default(), &database).expect("a plan");
    plan.settings.iter().map(|s| (s.name.to_owned(), s.value.to_string())).collect()
}

fn list(pairs: &[(&str, String)]) -> Settings {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn kb(bytes: u64) -> String {
    format!("{}kB", bytes >> 10)
}

/// le0pard/pgtune 7caef27 (July 2026), profile data warehouse or mixed, SSD, its own number of connections.
fn pgtune(i: &Inputs, warehouse: bool) -> Settings {
    let connections: u64 = if warehouse { 40 } else { 100 };
    let shared = i.memory / 4;
    let maintenance = (i.memory / if warehouse { 8 } else { 16 }).min(8 * GIB);
    let parallel = if i.cpus >= 4 { u64::from(i.cpus) } else { 8 };
    let fits = i.data < i.memory;
    let work = (i.memory - shared) / (3 * (connections + parallel)) / 2;
    let work = (if fits { work * 13 / 10 } else { work * 9 / 10 }).max(4 * MIB);
    let wal_buffers = (shared * 3 / 100).min(16 * MIB);
    let wal_buffers = if wal_buffers > 14 * MIB { 16 * MIB } else { wal_buffers.max(32 << 10) };
    let random = if warehouse && !fits { "4.0" } else { "1.1" };
    let mut settings = list(&[
        ("max_connections", connections.to_string()),
        ("shared_buffers", kb(shared)),
        ("effective_cache_size", kb(i.memory * 3 / 4)),
        ("maintenance_work_mem", kb(maintenance)),
        ("work_mem", kb(work)),
        ("checkpoint_completion_target", "0.9".into()),
        ("wal_buffers", kb(wal_buffers)),
        ("min_wal_size", if warehouse { "4GB" } else { "1GB" }.into()),
        ("max_wal_size", if warehouse { "16GB" } else { "4GB" }.into()),
        ("default_statistics_target", if warehouse { "500" } else { "100" }.into()),
        ("random_page_cost", random.into()),
        ("effective_io_concurrency", "200".into()),
        ("wal_compression", "lz4".into()),
        ("huge_pages", if shared >= 2 * GIB { "try" } else { "off" }.into()),
    ]);
    if maintenance >= 2 * GIB {
        settings.push(("autovacuum_work_mem".into(), "2GB".into()));
    }
    if !warehouse {
        settings.push(("jit".into(), "off".into()));
    }
    if i.cpus >= 4 {
        let half = i.cpus.div_ceil(2);
        settings.extend(list(&[
            ("max_worker_processes", i.cpus.to_string()),
            ("max_parallel_workers", i.cpus.to_string()),
            ("max_parallel_workers_per_gather", if warehouse { half } else { half.min(4) }.to_string()),
            ("max_parallel_maintenance_workers", half.min(4).to_string()),
        ]));
    }
    if i.major >= 18 {
        // Its own choice is io_uring, which does not start everywhere.
        settings.push(("io_method".into(), "worker".into()));
    }
    settings
}

/// timescaledb-tune 0.19.0 (c7a642b, May 2026), without its background workers' library.
fn timescaledb(i: &Inputs) -> Settings {
    let gib = i.memory as f64 / GIB as f64;
    let connections: u64 = match gib {
        g if g <= 2.0 => 25,
        g if g <= 4.0 => 50,
        g if g <= 6.0 => 75,
        _ => 100,
    };
    let half = u64::from(i.cpus).div_ceil(2);
    let work = ((gib * 400.0 * MIB as f64) / connections as f64 / half.max(1) as f64) as u64;
    let locks = match gib {
        g if g < 8.0 => 128,
        g if g < 16.0 => 256,
        g if g < 32.0 => 512,
        _ => 1024,
    };
    let wal_buffers = if gib < 2.0 { format!("{}kB", (gib * 7864.0) as u64) } else { "16MB".to_owned() };
    let mut settings = list(&[
        ("max_connections", connections.to_string()),
        ("shared_buffers", kb(i.memory / 4)),
        ("effective_cache_size", kb(i.memory * 3 / 4)),
        ("maintenance_work_mem", kb(((gib * 128.0) as u64 * MIB).min(2047 * MIB))),
        ("work_mem", kb(work.max(64 << 10))),
        ("wal_buffers", wal_buffers),
        ("max_wal_size", "1GB".into()),
        ("min_wal_size", "512MB".into()),
        ("default_statistics_target", "100".into()),
        ("random_page_cost", "1.1".into()),
        ("checkpoint_completion_target", "0.9".into()),
        ("effective_io_concurrency", "256".into()),
        ("jit", "off".into()),
        ("default_toast_compression", "lz4".into()),
        ("max_locks_per_transaction", locks.to_string()),
        ("autovacuum_max_workers", "10".into()),
        ("autovacuum_naptime", "10".into()),
    ]);
    if i.cpus > 1 {
        settings.extend(list(&[
            ("max_worker_processes", (3 + 16 + i.cpus).to_string()),
            ("max_parallel_workers", i.cpus.to_string()),
            ("max_parallel_workers_per_gather", half.to_string()),
        ]));
    }
    settings
}

/// pgconfig 6cd37be (December 2025), profile data warehouse, SSD, 100 connections.
fn pgconfig(i: &Inputs) -> Settings {
    list(&[
        ("max_connections", "100".into()),
        ("shared_buffers", kb(i.memory / 4)),
        ("effective_cache_size", kb(i.memory * 3 / 4)),
        ("work_mem", kb((i.memory / 2 / 100).max(64 << 10))),
        ("maintenance_work_mem", kb(i.memory / 20)),
        ("min_wal_size", "2GB".into()),
        ("max_wal_size", "3GB".into()),
        ("random_page_cost", "1.1".into()),
        ("effective_io_concurrency", "200".into()),
        ("maintenance_io_concurrency", "200".into()),
        ("max_worker_processes", "8".into()),
        ("max_parallel_workers", "8".into()),
        ("max_parallel_workers_per_gather", "2".into()),
    ])
}

/// FlowKit's own image: its formulas and the fixed settings of its template.
fn upstream(i: &Inputs) -> Settings {
    // Rounded up to a whole unit.
    let human = |bytes: u64| {
        let (unit, name) = if bytes >= GIB { (GIB, "GB") } else { (MIB, "MB") };
        format!("{}{name}", bytes.div_ceil(unit))
    };
    let cores = i.cpus * 9 / 10;
    let shared = if i.memory < 64_000_000_000 { human(i.memory / 4) } else { "16GB".to_owned() };
    list(&[
        ("max_connections", "200".into()),
        ("shared_buffers", shared),
        ("effective_cache_size", human(i.memory * 3 / 4)),
        ("work_mem", "64MB".into()),
        ("maintenance_work_mem", "1GB".into()),
        ("wal_buffers", "16MB".into()),
        ("wal_level", "minimal".into()),
        ("max_wal_senders", "0".into()),
        ("checkpoint_completion_target", "0.9".into()),
        ("checkpoint_timeout", "30min".into()),
        ("min_wal_size", "4GB".into()),
        ("max_wal_size", "12GB".into()),
        ("default_statistics_target", "10000".into()),
        ("geqo_effort", "10".into()),
        ("effective_io_concurrency", "10".into()),
        ("random_page_cost", "3.0".into()),
        ("enable_partitionwise_aggregate", "on".into()),
        ("max_locks_per_transaction", "36500".into()),
        ("max_worker_processes", cores.to_string()),
        ("max_parallel_workers", cores.div_ceil(2).to_string()),
        ("max_parallel_workers_per_gather", cores.div_ceil(2).to_string()),
        ("shared_preload_libraries", "pg_stat_statements".into()),
        ("pg_stat_statements.track", "all".into()),
        ("log_min_duration_statement", "250ms".into()),
        ("log_checkpoints", "on".into()),
        ("log_temp_files", "0".into()),
    ])
}

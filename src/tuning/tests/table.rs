//! The table of recommended values.

use super::*;

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
            ["96MB", "307MB", "32MB", "16MB", "30", "256MB"],
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
        (512 * MIB, 1, 914),
        (512 * MIB, 2, 892),
        (GIB, 1, 1238),
        (4 * GIB, 1, 1304),
        (4 * GIB, 32, 1124),
        (16 * GIB, 32, 1000),
    ] {
        assert_eq!(planned(memory, cpus, &[], &large(15)).unwrap().demand.max_locks(), wanted);
    }
}

//! A small database of an application: its users, the runs of its pipelines. A few megabytes, a few connections at work at a time.
//!
//! It is told the same on every machine, so that a large database beside it can be planned without it: that one has what is left
//! when every other role has what it needs and each small database its [`SHARE`].
//!
//! ```text
//! large = memory - programs of the other roles - small databases x SHARE
//! ```

use std::path::Path;

use super::{Database, Origin, Safety, Setting, Value, comment, count, lines, set};
use crate::Postgres;
use flowkit_core::config::Problems;
use flowkit_core::size::{MIB, rounded};

/// Memory that a small database may come to need, in bytes; an upper bound, as docs/tuning.md has it.
///
/// Shared memory 42 MiB (PostgreSQL 15 asked for 40), the server's own processes 21, four sessions at work 8 and four times work_mem
/// each, the others 1.5 each, an index build and two vacuums 16 each: 228 MiB, and some for the page cache.
pub const SHARE: u64 = 256 * MIB;

const SHARED_BUFFERS: u64 = 32 * MIB;
const WORK_MEM: u64 = MIB;
const UPKEEP: u64 = 16 * MIB;
const VACUUMS: u32 = 2;
/// Airflow's four programs take up to ten each.
const CONNECTIONS: u32 = 50;

/// Settings for a cluster that [`crate::Cluster::prepare`] is about to start, and what the operator should know.
///
/// # Errors
/// None; it is the shape that a plan has.
pub fn conf(postgres: &Postgres, data: &Path) -> Result<(String, Vec<String>), Problems> {
    let mut warnings = Vec::new();
    let settings = settings(&Database::look(&postgres.bin, postgres.major, data), &mut warnings);
    let mut text = String::new();
    comment(&mut text, &format!("A small database: at most {} of memory, whatever the machine.", rounded(SHARE)));
    Ok((text + &lines(&settings), warnings))
}

fn settings(database: &Database, warnings: &mut Vec<String>) -> Vec<Setting> {
    let fixed = |name, value, reason: &str| set(name, value, Origin::Default, reason);
    let little = "a small database's share is the same on every machine";
    let alone = "no query is worth a second process";
    let mut settings = vec![
        fixed("shared_buffers", Value::Size(SHARED_BUFFERS), little),
        fixed("effective_cache_size", Value::Size(SHARE), little),
        fixed("huge_pages", Value::word("off"), "shared memory is too small to gain from them"),
        fixed("work_mem", Value::Size(WORK_MEM), little),
        fixed("hash_mem_multiplier", count(2), little),
        fixed("maintenance_work_mem", Value::Size(UPKEEP), little),
        fixed("autovacuum_work_mem", Value::Size(UPKEEP), little),
        fixed("autovacuum_max_workers", count(VACUUMS), little),
        fixed("max_connections", count(CONNECTIONS), "Airflow's programs take 40, a web server of ours 10"),
        fixed("superuser_reserved_connections", count(3), "so that an operator always gets in"),
        fixed("max_worker_processes", count(4), "for extensions"),
        fixed("max_parallel_workers", count(0), alone),
        fixed("max_parallel_workers_per_gather", count(0), alone),
        fixed("max_parallel_maintenance_workers", count(0), alone),
        fixed("jit", Value::Flag(false), "compiling takes longer than it saves here"),
        fixed("wal_level", Value::word("replica"), "backups need it"),
        fixed("max_wal_senders", count(4), "for backups"),
        fixed("max_wal_size", Value::Size(256 * MIB), "a database of a few megabytes writes little"),
        fixed("min_wal_size", Value::Size(80 * MIB), "it stays on disk for ever"),
    ];
    if database.major >= 18 {
        settings.push(fixed("autovacuum_worker_slots", count(VACUUMS), "each takes a share of the lock table"));
        settings.push(fixed("io_method", Value::word("worker"), "io_uring may keep the server from starting"));
    }
    settings.extend(Safety { log: None, debug: None, idle_transaction: None, database }.settings(warnings));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowkit_core::catalogue::catalogue;

    #[test]
    fn no_setting_is_told_twice_and_none_is_open() {
        for major in 15..=18 {
            let settings = settings(&Database::new(major), &mut Vec::new());
            let mut names: Vec<_> = settings.iter().map(|setting| setting.name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{major}");
            assert!(settings.iter().all(|setting| setting.origin == Origin::Default), "it hangs on no machine");
        }
    }

    #[test]
    fn the_catalogue_keeps_a_share_for_each_role_with_a_database() {
        let shares = catalogue().roles().iter().map(|role| u64::from(role.needs.database_mib) * MIB);
        let shares: Vec<u64> = shares.filter(|share| *share > 0).collect();
        assert_eq!(shares, [SHARE; 2], "FlowAuth's and FlowETL's; AutoFlow runs none");
    }

    #[test]
    fn the_share_covers_what_it_is_made_of() {
        let (shared, own) = (42 * MIB, 21 * MIB);
        let (at_work, idle) = (4, u64::from(CONNECTIONS) - 4);
        let sessions = at_work * (8 * MIB + 4 * WORK_MEM) + idle * 3 * MIB / 2;
        let upkeep = (1 + u64::from(VACUUMS)) * UPKEEP;
        assert_eq!((shared + own + sessions + upkeep) / MIB, 228);
        const { assert!(228 * MIB <= SHARE) };
    }
}

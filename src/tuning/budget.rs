//! The memory that a configuration can come to need, part by part.
//!
//! An upper bound, not a forecast: under six heavy queries at once, two index builds and a vacuum, servers stayed at
//! about half of it (docs/tuning.md). Figures in the comments were measured on PostgreSQL 15, 17 and 18.

use flowkit_core::size::{MIB, rounded};

/// Bytes that a slot of the lock table takes (measured 390 to 420).
pub const LOCK_SLOT: u64 = 420;
/// Walsenders kept for backups.
pub const WALSENDERS: u32 = 4;
/// Worker processes beside the parallel ones: logical replication's launcher, extensions.
pub const OTHER_WORKERS: u32 = 4;

/// Everything that costs memory. Sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Memory that the database may use.
    pub memory: u64,
    /// CPUs that it may use.
    pub cpus: u32,
    /// Major version of PostgreSQL.
    pub major: u32,
    /// shared_buffers
    pub shared_buffers: u64,
    /// work_mem
    pub work_mem: u64,
    /// hash_mem_multiplier
    pub hash_multiplier: u32,
    /// maintenance_work_mem
    pub maintenance: u64,
    /// autovacuum_work_mem
    pub autovacuum_memory: u64,
    /// autovacuum_max_workers
    pub autovacuum_workers: u32,
    /// max_connections
    pub connections: u32,
    /// max_parallel_workers
    pub workers: u32,
    /// max_parallel_workers_per_gather
    pub gather: u32,
    /// Slots wanted in the lock table.
    pub slots: u64,
    /// max_locks_per_transaction, when a variable says it.
    pub locks: Option<u32>,
    /// io_workers (18)
    pub io_workers: u32,
    /// jit
    pub jit: bool,
    /// Partitions that one session may come to touch.
    pub partitions: u64,
}

/// Bytes for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Budget {
    /// The shared memory segment.
    pub shared: u64,
    /// Postmaster, checkpointer, writers, launcher.
    pub base: u64,
    /// Private memory of sessions, with what they remember of each partition.
    pub sessions: u64,
    /// Index builds and vacuums.
    pub upkeep: u64,
    /// Sorts and hash tables of the statements that run at once.
    pub work: u64,
    /// Kernel, page tables and the page cache that WAL and temporary files pass through.
    pub reserve: u64,
}

impl Demand {
    /// Statements that run at once when the machine is busy.
    pub fn active(&self) -> u64 {
        if self.memory < 2048 * MIB { 6 } else { 8 }
    }

    /// Processes that share the lock table: its size is this times max_locks_per_transaction.
    pub fn processes(&self) -> u32 {
        let special = if self.major >= 18 { 2 } else { 1 };
        self.connections + self.autovacuum_slots() + self.workers + OTHER_WORKERS + WALSENDERS + special
    }

    /// autovacuum_worker_slots (18), which count instead of the workers there.
    pub fn autovacuum_slots(&self) -> u32 {
        if self.major >= 18 { self.autovacuum_workers.max(8) } else { self.autovacuum_workers }
    }

    /// max_locks_per_transaction. It is no limit for a transaction: with [`Self::processes`] it sizes one pool.
    /// 18 keeps at least 512, because its fast path without lock manager contention scales with it.
    pub fn max_locks(&self) -> u32 {
        let least = if self.major >= 18 { 512 } else { 64 };
        let wanted = self.slots.div_ceil(u64::from(self.processes()));
        self.locks.unwrap_or(u32::try_from(wanted).unwrap_or(u32::MAX).max(least))
    }

    /// Index builds at once that are planned for.
    pub fn builds(&self) -> u64 {
        if self.memory < 1024 * MIB { 1 } else { 2 }
    }

    /// What it all comes to.
    pub fn budget(&self) -> Budget {
        let processes = u64::from(self.processes());
        let slots = u64::from(self.max_locks()) * processes;
        let wal_buffers = (self.shared_buffers / 32).min(16 * MIB);
        let shared = self.shared_buffers + share(self.shared_buffers, 26, 1000) + wal_buffers;
        Budget {
            shared: shared + 6 * MIB + processes * MIB / 20 + slots * LOCK_SLOT,
            base: (15 + 2 * u64::from(self.io_workers)) * MIB,
            sessions: self.sessions(),
            upkeep: self.builds() * self.maintenance + u64::from(self.autovacuum_workers) * self.autovacuum_memory,
            work: self.work(),
            reserve: (self.memory / 10).clamp(64 * MIB, 8192 * MIB),
        }
    }

    /// 8 MiB for a session at work, 1.5 for an idle one, and 30 kB for each partition (with four indexes) that a
    /// session ever touched, bounded by a share of the memory below which nobody holds five years of data.
    fn sessions(&self) -> u64 {
        let bound = if self.memory < 2048 * MIB { self.memory / 100 } else { self.memory / 50 };
        let relations = (self.partitions * 30 * 1024).min(bound);
        let active = self.active().min(u64::from(self.connections));
        active * (8 * MIB + relations) + (u64::from(self.connections) - active) * 3 * MIB / 2
    }

    /// The larger of: two sorts and a hash table in every process; a month of sorts in one (nodes under an Append keep
    /// theirs until the query ends: 31 for one modal location, 62 for two) with a hash table in every process.
    fn work(&self) -> u64 {
        let active = self.active();
        let helpers = if self.cpus == 1 && self.gather == 0 { 0 } else { u64::from(self.workers) };
        let processes = active + helpers;
        let month = if self.memory < 2048 * MIB { 31 } else { 62 };
        let hash = u64::from(self.hash_multiplier);
        let everywhere = processes * (2 + hash) * self.work_mem;
        let append = (month + processes * hash) * self.work_mem;
        let jit = if self.jit { 40 * MIB * processes } else { 0 };
        everywhere.max(append) + jit
    }

    /// Dynamic shared memory that parallel queries and index builds may ask for: two parallel hash joins and a build.
    pub fn dynamic_shared_memory(&self) -> u64 {
        let hash = self.work_mem * u64::from(self.hash_multiplier);
        2 * hash * u64::from(self.gather + 1) + self.maintenance
    }
}

impl Budget {
    /// The whole sum.
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Each part by the name that people read.
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("shared memory (shared_buffers, lock table)", self.shared),
            ("server processes", self.base),
            ("sessions", self.sessions),
            ("index builds and autovacuum", self.upkeep),
            ("sorts and hash tables", self.work),
            ("kernel and page cache", self.reserve),
        ]
    }

    /// The parts in one line, largest first.
    pub fn describe(&self) -> String {
        let mut parts = self.parts();
        parts.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        let list: Vec<String> = parts.iter().map(|(name, bytes)| format!("{name} {}", rounded(*bytes))).collect();
        list.join(", ")
    }
}

/// `part / whole` of `bytes`, without overflow.
pub fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    (u128::from(bytes) * u128::from(part) / u128::from(whole)) as u64
}

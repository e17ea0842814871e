//! The rules: from memory, CPUs and data to a first draft, and the loop that makes it fit.

use super::budget::{Demand, LOCK_SLOT, share};
use super::overrides::Overrides;
use super::{Database, Inputs};
use flowkit_core::size::{GIB, MIB, exact};

/// Partitions planned for: five years of days and four types of event, with four indexes each.
const PLANNED_PARTITIONS: u64 = 365 * 5 * 4;
/// A table and its four indexes.
const OBJECTS_PER_PARTITION: u64 = 5;
/// Below this, halving work_mem costs less than giving up hash tables; above, the other way round.
const SMALL_WORK_MEM: u64 = 4 * MIB;
/// The lowest values that the fitting loop goes to.
const LEAST_WORK_MEM: u64 = MIB;
const LEAST_MAINTENANCE: u64 = 32 * MIB;
const LEAST_AUTOVACUUM: u64 = 16 * MIB;
const LEAST_CONNECTIONS: u32 = 20;
const LEAST_SLOTS: u64 = 16_000;
const LEAST_SHARED_BUFFERS: u64 = 16 * MIB;

/// Does the database stay in memory, page cache and all?
pub fn fits_in_memory(memory: u64, database: &Database) -> bool {
    database.bytes <= memory / 2
}

/// Objects that a query over everything locks.
pub fn lockable(database: &Database) -> u64 {
    database.partitions.max(PLANNED_PARTITIONS) * OBJECTS_PER_PARTITION
}

/// The draft before anything is made to fit.
pub fn draft(inputs: &Inputs, overrides: &Overrides, database: &Database) -> Demand {
    let (memory, cpus) = (inputs.memory.value, inputs.cpus.value);
    let workers = workers(memory, cpus, overrides);
    let mut demand = Demand {
        memory,
        cpus,
        major: database.major,
        shared_buffers: overrides.shared_buffers.as_ref().map_or_else(|| shared_buffers(memory), |g| g.value),
        work_mem: work_mem(memory, fits_in_memory(memory, database)),
        hash_multiplier: hash_multiplier(memory, fits_in_memory(memory, database)),
        maintenance: mebibytes(memory / 16).clamp(LEAST_MAINTENANCE, GIB),
        autovacuum_memory: mebibytes(memory / 64).clamp(LEAST_AUTOVACUUM, 256 * MIB),
        autovacuum_workers: autovacuum_workers(memory, cpus),
        connections: connections(memory),
        workers,
        gather: 0,
        slots: 0,
        locks: overrides.locks.as_ref().map(|g| g.value),
        io_workers: if database.major >= 18 { (cpus / 4).clamp(3, 32) } else { 0 },
        jit: overrides.jit.as_ref().is_some_and(|g| g.value),
        partitions: (database.partitions / 4).max(PLANNED_PARTITIONS / 4),
    };
    demand.gather = gather(&demand, overrides);
    demand.slots = (demand.active() * lockable(database) / 2).min(share(memory, 3, 100) / LOCK_SLOT);
    demand
}

/// A quarter of the memory as the documentation advises, less on small machines where the rest is needed more, and
/// at most 32 GB: dropping a table scans the pool's headers, and FlowMachine drops many.
pub fn shared_buffers(memory: u64) -> u64 {
    let part = if memory < GIB { share(memory, 3, 16) } else { memory / 4 };
    mebibytes(part).clamp(LEAST_SHARED_BUFFERS, 32 * GIB)
}

/// A power of two, because on 15 a parallel DISTINCT with hash memory that is none can run for ever.
/// Small, because sorts and hash tables that leave the CPU's caches are slower than temporary files in the page cache;
/// larger machines hold larger data, which needs fewer passes with more.
pub fn work_mem(memory: u64, fits: bool) -> u64 {
    let wanted = (memory / 512).max((4 * MIB).min(memory / 256)).clamp(LEAST_WORK_MEM, 128 * MIB);
    let power = 1u64 << wanted.ilog2();
    if fits { power.min(8 * MIB) } else { power }
}

/// A power of two too, for the same reason. More than two only where the data are larger than what memory can cache:
/// a larger hash table misses the CPU's caches, which costs more than a temporary file that stays in the page cache.
pub fn hash_multiplier(memory: u64, fits: bool) -> u32 {
    match memory / GIB {
        _ if fits => 2,
        0..4 => 2,
        4..128 => 4,
        _ => 8,
    }
}

fn autovacuum_workers(memory: u64, cpus: u32) -> u32 {
    match cpus {
        _ if memory < GIB => 2,
        1 => 2,
        16.. => 5,
        _ => 3,
    }
}

/// FlowMachine takes 6 a process, FlowAPI 10 while as many results are on their way, each library user 6, FlowETL 4, health
/// checks 2, and 3 are kept for the superuser.
fn connections(memory: u64) -> u32 {
    match memory / GIB {
        0 => 30,
        1..4 => 50,
        _ => 100,
    }
}

/// Parallel workers in all: one a CPU, but no more than one for each 256 MiB; never 0.
fn workers(memory: u64, cpus: u32, overrides: &Overrides) -> u32 {
    if let Some(given) = &overrides.workers {
        return given.value;
    }
    let by_memory = u32::try_from(memory / (256 * MIB)).unwrap_or(u32::MAX);
    let wanted = overrides.gather.as_ref().map_or(1, |g| g.value.max(1));
    cpus.min(by_memory).max(wanted)
}

/// Helpers of one plan node: half of the CPUs, as two users at once is the normal case, none on a single CPU.
/// PostgreSQL itself never takes more than 8 for a table of less than 16 GB.
pub fn gather(demand: &Demand, overrides: &Overrides) -> u32 {
    match &overrides.gather {
        Some(given) => given.value,
        None if demand.cpus == 1 => 0,
        None => demand.workers.min(8).min(demand.cpus.div_ceil(2)),
    }
}

/// Helpers of an index build: each needs 32 MB of its memory or PostgreSQL leaves it out.
pub fn maintenance_workers(demand: &Demand) -> u32 {
    if demand.cpus == 1 {
        return 0;
    }
    let by_memory = u32::try_from(demand.maintenance / (32 * MIB)).unwrap_or(u32::MAX).saturating_sub(1);
    by_memory.min(4).min(demand.cpus).min(demand.workers)
}

/// Lowers what may be lowered, least useful first, until the budget fits. Gives each change in words.
/// `None` when even the least does not fit; `demand` is then at its least.
pub fn fit(demand: &mut Demand, overrides: &Overrides) -> Option<Vec<String>> {
    let before = demand.clone();
    while demand.budget().total() > demand.memory {
        if !lower(demand, overrides) {
            return None;
        }
    }
    Some(changes(&before, demand))
}

/// One step down; false when nothing is left to lower. What a variable says is never lowered.
fn lower(demand: &mut Demand, overrides: &Overrides) -> bool {
    let least_workers = overrides.gather.as_ref().map_or(1, |g| g.value.max(1));
    if demand.work_mem > SMALL_WORK_MEM {
        demand.work_mem /= 2;
    } else if demand.hash_multiplier > 2 {
        demand.hash_multiplier = 2;
    } else if demand.work_mem > LEAST_WORK_MEM {
        demand.work_mem /= 2;
    } else if overrides.workers.is_none() && demand.workers > least_workers {
        demand.workers -= 1;
        demand.gather = gather(demand, overrides);
    } else if demand.maintenance > LEAST_MAINTENANCE {
        demand.maintenance = mebibytes(demand.maintenance / 2).max(LEAST_MAINTENANCE);
    } else if demand.autovacuum_memory > LEAST_AUTOVACUUM {
        demand.autovacuum_memory = mebibytes(demand.autovacuum_memory / 2).max(LEAST_AUTOVACUUM);
    } else if demand.connections > LEAST_CONNECTIONS {
        demand.connections = (demand.connections - 5).max(LEAST_CONNECTIONS);
    } else if overrides.locks.is_none() && demand.slots > LEAST_SLOTS {
        demand.slots = (demand.slots * 3 / 4).max(LEAST_SLOTS);
    } else if overrides.shared_buffers.is_none() && demand.shared_buffers > LEAST_SHARED_BUFFERS {
        demand.shared_buffers = mebibytes(demand.shared_buffers * 3 / 4).max(LEAST_SHARED_BUFFERS);
    } else {
        return false;
    }
    true
}

fn changes(before: &Demand, after: &Demand) -> Vec<String> {
    let sizes = [
        ("work_mem", before.work_mem, after.work_mem),
        ("maintenance_work_mem", before.maintenance, after.maintenance),
        ("autovacuum_work_mem", before.autovacuum_memory, after.autovacuum_memory),
        ("shared_buffers", before.shared_buffers, after.shared_buffers),
    ];
    let counts = [
        ("hash_mem_multiplier", before.hash_multiplier, after.hash_multiplier),
        ("max_parallel_workers", before.workers, after.workers),
        ("max_connections", before.connections, after.connections),
        ("max_locks_per_transaction", before.max_locks(), after.max_locks()),
    ];
    let sizes =
        sizes.into_iter().filter(|(_, b, a)| a < b).map(|(n, b, a)| format!("{n} {} -> {}", exact(b), exact(a)));
    let counts = counts.into_iter().filter(|(_, b, a)| a < b).map(|(n, b, a)| format!("{n} {b} -> {a}"));
    sizes.chain(counts).collect()
}

/// Whole mebibytes, rounded down.
pub fn mebibytes(bytes: u64) -> u64 {
    bytes / MIB * MIB
}

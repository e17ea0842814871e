//! The plan's settings: value, reason and origin of each.

use super::budget::{Demand, OTHER_WORKERS, WALSENDERS, share};
use super::overrides::Overrides;
use super::{Database, Inputs, Origin, Setting, Value, rules};
use flowkit_core::hardware::{Disk, Fact, Hardware};
use flowkit_core::size::{GIB, MIB, rounded};
use postgres::tuning::{Given, Safety, count, set};

/// All that a setting may hang on.
pub(super) struct Context<'a> {
    pub hardware: &'a Hardware,
    pub overrides: &'a Overrides,
    pub database: &'a Database,
    pub inputs: &'a Inputs,
    pub demand: &'a Demand,
}

/// Below this many reads a second that a cgroup allows, a disk is as slow as a rotating one.
const SLOW_IOPS: u64 = 500;

/// Every setting in the order of the file.
pub(super) fn all(context: &Context<'_>, warnings: &mut Vec<String>) -> Vec<Setting> {
    let mut settings = context.memory();
    settings.push(context.dynamic_shared_memory(warnings));
    settings.extend(context.sessions());
    settings.extend(context.parallel());
    settings.extend(context.planner());
    settings.extend(context.disk());
    settings.extend(context.wal());
    settings.extend(context.autovacuum());
    settings.extend(context.safety().settings(warnings));
    settings
}

impl Context<'_> {
    fn safety(&self) -> Safety<'_> {
        let Overrides { log, debug, idle_transaction, .. } = self.overrides;
        Safety {
            log: log.as_ref(),
            debug: debug.as_ref(),
            idle_transaction: idle_transaction.as_ref(),
            database: self.database,
        }
    }

    fn by_memory(&self) -> Origin {
        Origin::from(&self.inputs.memory.origin)
    }

    fn by_cpus(&self) -> Origin {
        Origin::from(&self.inputs.cpus.origin)
    }

    /// The variable's origin if it was given, else the other.
    pub fn given<T>(given: &Option<Given<T>>, otherwise: Origin) -> Origin {
        given.as_ref().map_or(otherwise, |g| Origin::Given(g.origin()))
    }

    fn memory(&self) -> Vec<Setting> {
        let (o, d) = (self.overrides, self.demand);
        let cache = match &o.effective_cache {
            Some(given) => given.value,
            None if d.memory < 2 * GIB => share(d.memory, 6, 10),
            None => share(d.memory, 7, 10),
        };
        let (huge, why) = self.huge_pages();
        vec![
            set(
                "shared_buffers",
                Value::Size(d.shared_buffers),
                Self::given(&o.shared_buffers, self.by_memory()),
                "a quarter of the memory (3/16 below 1 GiB), at most 32 GB",
            ),
            set(
                "effective_cache_size",
                Value::Size(rules::mebibytes(cache).min(16_383 * GIB)),
                Self::given(&o.effective_cache, self.by_memory()),
                "what caches may hold: 70 % of the memory (60 % below 2 GiB); costs none",
            ),
            set("huge_pages", Value::word(huge), self.by_memory(), why),
            set("work_mem", Value::Size(d.work_mem), self.by_memory(), self.work_mem_reason()),
            set(
                "hash_mem_multiplier",
                count(d.hash_multiplier),
                self.by_memory(),
                "hash tables may take more than sorts; a power of two (a parallel DISTINCT of 15 can hang otherwise)",
            ),
            set(
                "maintenance_work_mem",
                Value::Size(d.maintenance),
                self.by_memory(),
                "a sixteenth of the memory, 32MB to 1GB; index builds get no faster from more",
            ),
            set(
                "autovacuum_work_mem",
                Value::Size(d.autovacuum_memory),
                self.by_memory(),
                "said apart, or each autovacuum worker would take maintenance_work_mem",
            ),
        ]
    }

    fn work_mem_reason(&self) -> String {
        if rules::fits_in_memory(self.demand.memory, self.database) {
            "the data fits in memory: small sorts stay in the CPU's caches, larger ones in the page cache".to_owned()
        } else {
            "memory/512, 1MB to 128MB, a power of two".to_owned()
        }
    }

    /// `try` where the pages are there and may be touched. A page above a hugetlb limit is no error but a SIGBUS.
    fn huge_pages(&self) -> (&'static str, String) {
        let (pages, need) = (&self.hardware.huge_pages, self.demand.budget().shared);
        if self.demand.shared_buffers < 2 * GIB {
            return ("off", "shared memory is too small to gain from them".to_owned());
        }
        if pages.free.saturating_mul(pages.page) < need {
            return ("off", format!("fewer are free than the {} needed", rounded(need)));
        }
        match &pages.limit {
            Some(limit) if limit.value < need => (
                "off",
                format!("{} allows {}, less than the {} needed", limit.origin, rounded(limit.value), rounded(need)),
            ),
            _ => ("try", "enough are free".to_owned()),
        }
    }

    /// Parallel queries meet in dynamic shared memory. `/dev/shm` is 64 MB in a container unless asked otherwise.
    fn dynamic_shared_memory(&self, warnings: &mut Vec<String>) -> Setting {
        let need = self.demand.dynamic_shared_memory();
        let name = "dynamic_shared_memory_type";
        let told = |fact: &Fact<u64>| Origin::from(&fact.origin);
        let origin = self.hardware.shm.as_ref().map_or(Origin::Hardware("no /dev/shm".to_owned()), told);
        let free = self.hardware.shm.as_ref().map_or(0, |s| s.value);
        if free >= need {
            let reason = format!("/dev/shm has {} free, parallel queries may need {}", rounded(free), rounded(need));
            return set(name, Value::word("posix"), origin, reason);
        }
        let short = format!("/dev/shm has only {} free, parallel queries may need {}", rounded(free), rounded(need));
        let (kind, instead) = if self.hardware.shmmax.is_none_or(|most| most >= need) {
            ("sysv", "System V shared memory is used instead")
        } else {
            ("mmap", "kernel.shmmax is too small as well, so files in the data directory are used instead")
        };
        warnings.push(format!("{short}: {instead} (a container takes --shm-size={}m)", need.div_ceil(MIB)));
        set(name, Value::word(kind), origin, short)
    }

    fn sessions(&self) -> Vec<Setting> {
        let d = self.demand;
        let mut settings = vec![
            set(
                "max_connections",
                count(d.connections),
                self.by_memory(),
                "FlowMachine 6 a process, each library user 6, FlowETL 4, checks 2, 3 in reserve",
            ),
            set("superuser_reserved_connections", count(3), Origin::Default, "so that an operator always gets in"),
            set(
                "authentication_timeout",
                Value::Seconds(15),
                Origin::Default,
                "whoever has not logged in by then holds a connection no longer",
            ),
            set(
                "max_locks_per_transaction",
                count(d.max_locks()),
                Self::given(&self.overrides.locks, self.by_memory()),
                format!(
                    "one pool of {} locks for all: half of the sessions at work over five years of partitions, at most 3 % of the memory",
                    u64::from(d.max_locks()) * u64::from(d.processes())
                ),
            ),
        ];
        if d.major >= 16 {
            settings.push(set(
                "reserved_connections",
                count(d.connections / 10),
                Origin::Default,
                "kept for FlowMachine's, FlowAPI's and the probe's logins when people have taken all others",
            ));
        }
        settings
    }

    fn parallel(&self) -> Vec<Setting> {
        let (o, d) = (self.overrides, self.demand);
        let cheap = "planned for workers that are cheap to start and to read from: sorts and DISTINCT run in parallel";
        vec![
            set(
                "max_worker_processes",
                count(d.workers + OTHER_WORKERS),
                Self::given(&o.workers, self.by_cpus()),
                format!("max_parallel_workers and {OTHER_WORKERS} for extensions"),
            ),
            set(
                "max_parallel_workers",
                count(d.workers),
                Self::given(&o.workers, self.by_cpus()),
                "one for each CPU, at most one for each 256 MiB, never 0",
            ),
            set(
                "max_parallel_workers_per_gather",
                count(d.gather),
                Self::given(&o.gather, self.by_cpus()),
                "half of the CPUs, at most 8; none on a single CPU",
            ),
            set(
                "max_parallel_maintenance_workers",
                count(rules::maintenance_workers(d)),
                self.by_cpus(),
                "for index builds: at most 4, each needs 32MB of maintenance_work_mem",
            ),
            set("parallel_setup_cost", count(100), Origin::Default, cheap),
            set("parallel_tuple_cost", Value::Number(0.01), Origin::Default, cheap),
        ]
    }

    fn planner(&self) -> Vec<Setting> {
        let o = self.overrides;
        vec![
            set(
                "random_page_cost",
                count(4),
                Origin::Default,
                "lower costs choose full index scans over sorts, up to five times slower even in memory",
            ),
            set(
                "default_statistics_target",
                count(o.statistics.as_ref().map_or(250, |g| g.value)),
                Self::given(&o.statistics, Origin::Default),
                "a sample of 75,000 rows of a day; every query's planning reads the result for every partition",
            ),
            set(
                "jit",
                Value::Flag(self.demand.jit),
                Self::given(&o.jit, Origin::Default),
                "compiling takes longer than it saves here, and 12 to 40 MB in every process",
            ),
            set(
                "enable_partitionwise_aggregate",
                Value::Flag(false),
                Origin::Default,
                "a plan could hold one hash table for each partition",
            ),
        ]
    }

    /// The disk, as fast as cgroups let it be.
    fn disk_kind(&self) -> Fact<Disk> {
        match &self.hardware.read_iops {
            Some(limit) if limit.value < SLOW_IOPS => Fact::new(Disk::Hdd, limit.origin.clone()),
            _ => self.hardware.disk.clone(),
        }
    }

    fn disk(&self) -> Vec<Setting> {
        let (disk, major) = (self.disk_kind(), self.database.major);
        let origin = || Origin::from(&disk.origin);
        let concurrency = match (disk.value, major >= 18) {
            (Disk::Hdd, false) => 2,
            (Disk::Hdd, true) => 16,
            (_, false) => 128,
            (_, true) => 64,
        };
        let reason = "reads ahead that the disk can serve at once";
        let mut settings = vec![
            set("effective_io_concurrency", count(concurrency), origin(), reason),
            set("maintenance_io_concurrency", count(concurrency), origin(), reason),
        ];
        if major >= 18 {
            settings.push(set(
                "io_method",
                Value::word("worker"),
                Origin::Default,
                "io_uring may keep the server from starting: builds, seccomp, memory locks",
            ));
            settings.push(set(
                "io_workers",
                count(self.demand.io_workers),
                self.by_cpus(),
                "a quarter of the CPUs, 3 to 32",
            ));
        }
        if let Some(free) = &self.hardware.free_space {
            settings.push(set(
                "temp_file_limit",
                Value::Size(rules::mebibytes(free.value / 4).clamp(GIB, 2047 * GIB)),
                Origin::from(&free.origin),
                "for each process a quarter of the free space: a runaway sort must not fill the disk of the WAL",
            ));
        }
        if self.hardware.open_files.is_some_and(|n| n >= 4096) {
            settings.push(set(
                "max_files_per_process",
                count(4000),
                Origin::Hardware("open files limit".to_owned()),
                "a year of partitions and their indexes would thrash the default of 1000",
            ));
        }
        settings
    }

    fn wal(&self) -> Vec<Setting> {
        let space = self.hardware.wal_space.as_ref().or(self.hardware.free_space.as_ref());
        let by_memory = (self.demand.memory / 2).min(16 * GIB);
        let (wanted, origin) = match space {
            Some(free) if free.value / 10 < by_memory => (free.value / 10, Origin::from(&free.origin)),
            _ => (by_memory, self.by_memory()),
        };
        let max = rules::mebibytes(wanted).max(256 * MIB);
        let (compression, why) = match self.database.lz4 {
            true => ("lz4", "a fifth less WAL from index builds at no cost in time"),
            false => ("off", "this build has no lz4, and pglz costs time"),
        };
        vec![
            set(
                "wal_level",
                Value::word("replica"),
                Origin::Default,
                "backups and standbys need it; `minimal` saves little",
            ),
            set("max_wal_senders", count(WALSENDERS), Origin::Default, "for backups"),
            set(
                "max_wal_size",
                Value::Size(max),
                origin.clone(),
                "half of the memory, at most a tenth of the free space and 16GB",
            ),
            set(
                "min_wal_size",
                Value::Size(rules::mebibytes(max / 4).clamp(80 * MIB, GIB)),
                origin,
                "a quarter of max_wal_size, at most 1GB: it stays on disk for ever",
            ),
            set(
                "checkpoint_timeout",
                Value::Seconds(900),
                Origin::Default,
                "fewer pages written twice; a crash replays at most this much",
            ),
            set(
                "wal_compression",
                Value::word(compression),
                Origin::Hardware("this build of PostgreSQL".to_owned()),
                why,
            ),
        ]
    }

    fn autovacuum(&self) -> Vec<Setting> {
        let d = self.demand;
        let disk = self.disk_kind();
        let limit = if disk.value == Disk::Hdd { 400 } else { 1000 };
        let mut settings = vec![
            set(
                "autovacuum_max_workers",
                count(d.autovacuum_workers),
                self.by_cpus(),
                "2 on small machines, 5 from 16 CPUs",
            ),
            set(
                "autovacuum_vacuum_cost_limit",
                count(limit),
                Origin::from(&disk.origin),
                "the default writes at most 39 MB/s for all workers together",
            ),
        ];
        if d.major >= 18 {
            settings.push(set(
                "autovacuum_worker_slots",
                count(d.autovacuum_slots()),
                Origin::Default,
                "each takes a share of the lock table",
            ));
        }
        settings
    }
}

//! What holds of every plan.

use proptest::prelude::*;

use super::*;

/// Any subset of variables, with values that may or may not make sense together.
fn any_overrides() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let maybe =
        |name: &'static str, values: BoxedStrategy<String>| prop::option::of(values.prop_map(move |v| (name, v)));
    let number = |range: std::ops::Range<u32>| range.prop_map(|n| n.to_string()).boxed();
    let megabytes = |range: std::ops::Range<u32>| range.prop_map(|n| format!("{n}MB")).boxed();
    (
        maybe("FLOWDB_TOTAL_MEMORY", megabytes(64..1 << 20)),
        maybe("SHARED_BUFFERS_SIZE", megabytes(16..1 << 16)),
        maybe("EFFECTIVE_CACHE_SIZE", megabytes(1..1 << 22)),
        maybe("MAX_CPUS", number(1..300)),
        maybe("MAX_WORKERS", number(1..300)),
        maybe("MAX_WORKERS_PER_GATHER", number(0..300)),
        maybe("MAX_LOCKS_PER_TRANSACTION", number(10..40_000)),
        maybe("STATS_TARGET", number(1..10_001)),
        maybe("NO_USE_JIT", prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned).boxed()),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| [a, b, c, d, e, f, g, h, i].into_iter().flatten().collect())
}

fn number(plan: &Plan, name: &str) -> i64 {
    match plan.value(name) {
        Some(Value::Count(n)) => *n,
        other => panic!("{name}: {other:?}"),
    }
}

/// Everything that the rules promise of every plan.
fn check_invariants(plan: &Plan, memory: u64) -> Result<(), TestCaseError> {
    let d = &plan.demand;
    prop_assert!(plan.budget.total() <= memory, "{} of {memory}: {}", plan.budget.total(), plan.budget.describe());
    prop_assert!(d.shared_buffers <= memory * 2 / 5 && d.shared_buffers >= 16 * MIB);
    prop_assert!(d.work_mem.is_power_of_two() && (MIB..=128 * MIB).contains(&d.work_mem));
    prop_assert!((d.work_mem * u64::from(d.hash_multiplier)).is_power_of_two());
    let gather = number(plan, "max_parallel_workers_per_gather");
    let parallel = number(plan, "max_parallel_workers");
    prop_assert!(gather >= 0 && gather <= parallel && parallel >= 1);
    prop_assert!(parallel < number(plan, "max_worker_processes"));
    let builders = number(plan, "max_parallel_maintenance_workers");
    prop_assert!(builders <= parallel && builders <= 4);
    prop_assert!((32 * MIB..=GIB).contains(&d.maintenance));
    prop_assert!(builders == 0 || d.maintenance / (builders as u64 + 1) >= 32 * MIB);
    prop_assert!((16 * MIB..=256 * MIB).contains(&d.autovacuum_memory));
    prop_assert!(d.connections >= 20 && number(plan, "max_connections") > 3);
    let locks = u64::from(d.max_locks());
    prop_assert!(d.locks.is_some() || locks * u64::from(d.processes()) >= 16_000);
    prop_assert!(d.locks.is_some() || d.major < 18 || locks >= 512);
    prop_assert!(locks * u64::from(d.processes()) * LOCK_SLOT < memory);
    prop_assert_eq!(value(plan, "wal_level"), "replica");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_machine_gets_a_plan_that_fits_or_a_refusal_by_name(
        megabytes in prop_oneof![256u64..4096, 4096u64..1 << 20],
        cpus in 1u32..=256,
        major in 15u32..=18,
        gigabytes in 0u64..4096,
        partitions in prop_oneof![Just(0u64), 0u64..20_000],
        given in any_overrides(),
    ) {
        let given: Vec<(&str, &str)> = given.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let database = Database { bytes: gigabytes * GIB, partitions, ..Database::new(major) };
        match planned(megabytes * MIB, cpus, &given, &database) {
            Ok(plan) => check_invariants(&plan, megabytes * MIB)?,
            Err(problems) => for problem in problems.0 {
                let named = given.iter().any(|(name, _)| problem.what.contains(name));
                // The memory itself is too little: what a variable took of it, or the machine's.
                let small = problem.what == "too little memory";
                prop_assert!(named || small, "{problem}");
                prop_assert!(!problem.hint.is_empty() && problem.origin.is_some());
            },
        }
    }

    #[test]
    fn every_machine_from_512_mib_gets_a_plan(megabytes in 512u64..1 << 20, cpus in 1u32..=256, major in 15u32..=18) {
        let plan = planned(megabytes * MIB, cpus, &[], &Database::new(major));
        prop_assert!(plan.is_ok(), "{}", plan.unwrap_err());
    }
}

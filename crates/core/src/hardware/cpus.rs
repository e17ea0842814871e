//! CPUs: affinity, cpusets and quotas.

use super::cgroup::{Groups, Version};
use super::{Fact, Origin, Root, whole};

/// CPUs we may use: the least of affinity, the cpuset and every quota above us, at least 1.
/// A quota is rounded down: 1.5 CPUs can't run two processes at full speed.
pub(super) fn usable(root: &Root, groups: &Groups, affinity: Option<u32>) -> Fact<u32> {
    let mut least = machine(root, affinity);
    let cpusets = groups.with("cpuset").into_iter().filter_map(|group| {
        // Ancestors' sets contain their children's, so the innermost file that tells is enough, but all may be asked.
        let files: [&str; 2] = match group.version {
            Version::Two => ["cpuset.cpus.effective", "cpuset.cpus"],
            Version::One => ["cpuset.effective_cpus", "cpuset.cpus"],
        };
        files.into_iter().find_map(|file| Some(Fact::new(count(&group.text(root, file)?)?, group.origin(file))))
    });
    let quotas = groups.with("cpu").into_iter().filter_map(|group| match group.version {
        Version::Two => Some(Fact::new(quota(&group.text(root, "cpu.max")?)?, group.origin("cpu.max"))),
        Version::One => {
            let text = format!(
                "{} {}",
                group.text(root, "cpu.cfs_quota_us")?.trim(),
                group.text(root, "cpu.cfs_period_us")?.trim()
            );
            Some(Fact::new(quota(&text)?, group.origin("cpu.cfs_quota_us")))
        }
    });
    for limit in cpusets.chain(quotas) {
        if limit.value < least.value {
            least = limit;
        }
    }
    least
}

fn machine(root: &Root, affinity: Option<u32>) -> Fact<u32> {
    if let Some(count) = affinity.filter(|&n| n > 0) {
        return Fact::new(count, Origin::Machine("CPU affinity".to_owned()));
    }
    match root.text("sys/devices/system/cpu/online").and_then(|t| count(&t)) {
        Some(count) => Fact::new(count, Origin::Machine("CPUs online".to_owned())),
        None => Fact::new(1, Origin::Unknown("no affinity and no list of CPUs; 1 is assumed".to_owned())),
    }
}

/// How many CPUs a list such as `0-3,8` names; nothing for an empty or garbled one.
fn count(list: &str) -> Option<u32> {
    /// Linux is built for 8192 CPUs at most; a larger number is not one.
    const HIGHEST: u64 = 1 << 16;
    let mut total: u32 = 0;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (whole(first)?, whole(last).filter(|&n| n < HIGHEST)?);
        let size = u32::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
        total = total.checked_add(size)?;
    }
    Some(total)
}

/// Whole CPUs in `QUOTA PERIOD`, at least 1; nothing for `max` or -1.
fn quota(text: &str) -> Option<u32> {
    let mut fields = text.split_whitespace();
    let (quota, period) = (whole(fields.next()?)?, whole(fields.next()?)?);
    let cpus = quota.checked_div(period)?;
    (quota > 0).then(|| u32::try_from(cpus.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_and_quotas() {
        for (list, wanted) in
            [("0-3,8\n", Some(5)), ("0", Some(1)), ("", None), ("\n", None), ("3-1", None), ("a", None)]
        {
            assert_eq!(count(list), wanted, "{list:?}");
        }
        for (text, wanted) in [
            ("max 100000", None),
            ("-1 100000", None),
            ("150000 100000\n", Some(1)),
            ("50000 100000", Some(1)),
            ("400000 200000", Some(2)),
            ("30000 10000", Some(3)),
            ("100000 0", None),
            ("0 100000", None),
            ("", None),
        ] {
            assert_eq!(quota(text), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quota_never_gives_more_than_it_says(quota_us in 1u64..1 << 40, period in 1u64..1_000_000) {
            let cpus = quota(&format!("{quota_us} {period}")).unwrap();
            prop_assert!(cpus == 1 || u64::from(cpus) * period <= quota_us);
        }

        #[test]
        fn no_text_upsets_the_parsers(text in "[-0-9, a-z\n]*") {
            let _ = count(&text);
            prop_assert_ne!(quota(&text), Some(0));
        }
    }
}

//! Memory and huge pages.

use super::cgroup::{Groups, Version};
use super::{Fact, HugePages, Origin, Root};

/// No machine has more: 52 bits of address on the largest processors.
const MOST: u64 = 1 << 52;

/// Assumed when nothing tells how much memory there is.
const FALLBACK: u64 = 1 << 30;

/// The memory we may use: the least of the machine's and of every limit from our cgroup up to the root.
/// `memory.high` counts: above it the kernel does not kill, but it throttles and reclaims until nothing moves.
pub(super) fn usable(root: &Root, groups: &Groups, sysinfo: Option<u64>) -> Fact<u64> {
    let mut least = machine(root, sysinfo);
    for group in groups.with("memory") {
        let found = match group.version {
            Version::Two => vec![group.limit(root, "memory.max"), group.limit(root, "memory.high")],
            Version::One => vec![
                group.limit(root, "memory.limit_in_bytes"),
                // Also tells of ancestors that a container can't see.
                group.text(root, "memory.stat").and_then(|stat| {
                    let bytes = field(&stat, "hierarchical_memory_limit").filter(|&b| b > 0)?;
                    Some(Fact::new(bytes, group.origin("memory.stat hierarchical_memory_limit")))
                }),
            ],
        };
        for limit in found.into_iter().flatten() {
            if limit.value < least.value {
                least = limit;
            }
        }
    }
    least
}

/// MemTotal less the pages set aside as huge pages: ordinary memory can't come out of those.
fn machine(root: &Root, sysinfo: Option<u64>) -> Fact<u64> {
    let meminfo = root.text("proc/meminfo").unwrap_or_default();
    let said = meminfo_bytes(&meminfo, "MemTotal");
    let sysinfo = sysinfo.filter(|total| (1..=MOST).contains(total));
    // A container's meminfo may know of a limit and say less than the kernel does; nothing can truly say more.
    let (total, name) = match (said, sysinfo) {
        (Some(total), Some(most)) if total > most => {
            (most, format!("sysinfo, for MemTotal says {} MiB, which is more", total >> 20))
        }
        (Some(total), _) if total <= MOST => (total, "MemTotal".to_owned()),
        (None, Some(total)) => (total, "sysinfo".to_owned()),
        (said, _) => {
            let said = said.map_or(String::new(), |said| format!(" (MemTotal says {} MiB)", said >> 20));
            let why = format!("neither /proc/meminfo nor sysinfo tells the memory{said}; 1 GiB is assumed");
            return Fact::new(FALLBACK, Origin::Unknown(why));
        }
    };
    let reserved = reserved(root, &meminfo);
    match total.checked_sub(reserved) {
        Some(rest) if reserved > 0 && rest > 0 => {
            Fact::new(rest, Origin::Machine(format!("{name} less {} MiB of huge pages", reserved >> 20)))
        }
        None => {
            let of = format!("{name}; huge pages of {} MiB, which is more, are not believed", reserved >> 20);
            Fact::new(total, Origin::Machine(of))
        }
        _ => Fact::new(total, Origin::Machine(name)),
    }
}

/// Bytes set aside as huge pages of whatever size. Three places tell: pages of the default size, all sizes together, and
/// a directory for each size; the largest counts, since each may be missing or know too little.
fn reserved(root: &Root, meminfo: &str) -> u64 {
    let default = field(meminfo, "HugePages_Total:")
        .unwrap_or(0)
        .saturating_mul(meminfo_bytes(meminfo, "Hugepagesize").unwrap_or(0));
    let all = meminfo_bytes(meminfo, "Hugetlb").unwrap_or(0);
    let pools = root.list("sys/kernel/mm/hugepages").into_iter().filter_map(|name| {
        let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages = root.number(format!("sys/kernel/mm/hugepages/{name}/nr_hugepages"))?;
        Some(pages.saturating_mul(kilobytes.saturating_mul(1024)))
    });
    default.max(all).max(pools.fold(0, u64::saturating_add))
}

/// Huge pages of the default size and the lowest limit that our cgroups put on them.
pub(super) fn huge_pages(root: &Root, groups: &Groups) -> HugePages {
    let meminfo = root.text("proc/meminfo").unwrap_or_default();
    let page = meminfo_bytes(&meminfo, "Hugepagesize").unwrap_or(0);
    let size = match page >> 20 {
        mega if mega >= 1024 => format!("{}GB", mega >> 10),
        mega => format!("{mega}MB"),
    };
    let mut limit: Option<Fact<u64>> = None;
    for group in groups.with("hugetlb") {
        let suffixes: [&str; 2] = match group.version {
            Version::Two => ["max", "rsvd.max"],
            Version::One => ["limit_in_bytes", "rsvd.limit_in_bytes"],
        };
        for suffix in suffixes {
            let file = format!("hugetlb.{size}.{suffix}");
            // Here 0 is a real answer: none allowed.
            let found =
                group.text(root, &file).and_then(|t| super::whole(&t)).map(|v| Fact::new(v, group.origin(&file)));
            if let Some(found) = found
                && limit.as_ref().is_none_or(|l| found.value < l.value)
            {
                limit = Some(found);
            }
        }
    }
    HugePages {
        page,
        total: field(&meminfo, "HugePages_Total:").unwrap_or(0),
        free: field(&meminfo, "HugePages_Free:").unwrap_or(0),
        limit,
    }
}

/// What the kernel promises at most, if it accounts strictly.
pub(super) fn commit_limit(root: &Root) -> Option<u64> {
    if root.number("proc/sys/vm/overcommit_memory")? != 2 {
        return None;
    }
    meminfo_bytes(&root.text("proc/meminfo")?, "CommitLimit")
}

/// A line `Name:   123 kB`, in bytes.
fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let kilobytes = field(text, &format!("{name}:"))?;
    (kilobytes > 0).then(|| kilobytes.saturating_mul(1024))
}

/// The number after the word `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    super::whole(line.split_whitespace().next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn meminfo_is_read_back(kilobytes in 1u64..1 << 40, noise in "[A-Za-z:0-9 ]{0,30}") {
            let text = format!("X{noise}\nMemTotal:   {kilobytes} kB\nMemFree: 1 kB\n");
            prop_assert_eq!(meminfo_bytes(&text, "MemTotal"), Some(kilobytes * 1024));
        }

        #[test]
        fn no_text_upsets_the_parser(text in "(\\PC|\n|:| )*") {
            let _ = meminfo_bytes(&text, "MemTotal");
            let _ = field(&text, "hierarchical_memory_limit");
        }
    }
}

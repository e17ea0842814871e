//! The kind of disk under a directory, and limits on it.

use std::path::{Path, PathBuf};

use super::cgroup::{Groups, Version};
use super::{Disk, Fact, Origin, Root};

/// Stacks of device mapper over RAID over partitions are rarely deeper than four.
const DEEPEST: usize = 8;

/// Follows a device number to the disks it lies on.
pub(super) fn kind(root: &Root, device: Option<(u32, u32)>) -> Fact<Disk> {
    let unknown = |why: String| Fact::new(Disk::Unknown, Origin::Unknown(why));
    let Some((major, minor)) = device else {
        return unknown("the data directory can't be looked at".to_owned());
    };
    if major == 0 {
        return unknown("the file system has no disk of its own (overlay, tmpfs, zfs, btrfs or network)".to_owned());
    }
    match block(root, (major, minor)) {
        None => unknown(format!("/sys/dev/block has no {major}:{minor}")),
        Some(path) => of_block(&path, DEEPEST),
    }
}

/// The directory in `/sys` of a block device.
fn block(root: &Root, (major, minor): (u32, u32)) -> Option<PathBuf> {
    root.join(format!("sys/dev/block/{major}:{minor}")).canonicalize().ok()
}

/// A partition's disk; anything else itself.
fn whole_disk(path: &Path) -> &Path {
    if path.join("partition").exists() { path.parent().unwrap_or(path) } else { path }
}

fn of_block(path: &Path, depth: usize) -> Fact<Disk> {
    let path = whole_disk(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let slaves = slaves(path);
    if slaves.is_empty() {
        return of_disk(path, &name);
    }
    if depth == 0 {
        return Fact::new(Disk::Unknown, Origin::Unknown(format!("{name} lies on too many layers")));
    }
    // The slowest part decides; one part that won't tell makes the whole unknown.
    let parts: Vec<Fact<Disk>> = slaves.iter().map(|p| of_block(p, depth - 1)).collect();
    let worst = [Disk::Hdd, Disk::Unknown].into_iter().find_map(|kind| parts.iter().find(|p| p.value == kind));
    worst.or(parts.first()).cloned().unwrap_or_else(|| of_disk(path, &name))
}

fn slaves(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path.join("slaves")) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries.flatten().filter_map(|e| e.path().canonicalize().ok()).collect();
    found.sort();
    found
}

fn of_disk(path: &Path, name: &str) -> Fact<Disk> {
    let machine = |kind, what: String| Fact::new(kind, Origin::Machine(what));
    let unknown = |why: &str| Fact::new(Disk::Unknown, Origin::Unknown(format!("{name} {why}")));
    if name.starts_with("nvme") {
        return machine(Disk::Ssd, format!("{name} is NVMe"));
    }
    if name.starts_with("loop") {
        return unknown("is a file that plays a disk");
    }
    match std::fs::read_to_string(path.join("queue/rotational")).as_deref().map(str::trim) {
        Ok("0") => machine(Disk::Ssd, format!("{name} queue/rotational 0")),
        Ok("1") if is_virtual(path, name) => {
            unknown("is a virtual disk, and those say that they rotate whatever they lie on")
        }
        Ok("1") => machine(Disk::Hdd, format!("{name} queue/rotational 1")),
        _ => unknown("does not say whether it rotates"),
    }
}

fn is_virtual(path: &Path, name: &str) -> bool {
    let vendor = std::fs::read_to_string(path.join("device/vendor")).unwrap_or_default().to_ascii_lowercase();
    name.starts_with("vd")
        || name.starts_with("xvd")
        || ["qemu", "vmware", "msft", "google", "xen", "virtio", "vbox"].iter().any(|v| vendor.contains(v))
}

/// The lowest limit on reads a second that our cgroups set for the disk of `device`.
pub(super) fn read_iops(root: &Root, groups: &Groups, device: Option<(u32, u32)>) -> Option<Fact<u64>> {
    let disk = block(root, device?)?;
    let number = std::fs::read_to_string(whole_disk(&disk).join("dev")).ok()?;
    let mut least: Option<Fact<u64>> = None;
    for controller in ["io", "blkio"] {
        for group in groups.with(controller) {
            let file = match group.version {
                Version::Two => "io.max",
                Version::One => "blkio.throttle.read_iops_device",
            };
            let found = group.text(root, file).and_then(|t| iops(&t, number.trim()));
            if let Some(value) = found
                && least.as_ref().is_none_or(|l| value < l.value)
            {
                least = Some(Fact::new(value, group.origin(file)));
            }
        }
    }
    least
}

/// `8:0 rbps=max wbps=max riops=120 wiops=max` (version 2) or `8:0 120` (version 1).
fn iops(text: &str, device: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(device)?.strip_prefix(' '))?;
    line.split_whitespace().find_map(|word| super::cgroup::limit(word.strip_prefix("riops=").unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_limits_are_those_of_the_device() {
        let two = "8:16 riops=9\n8:0 rbps=1048576 wbps=max riops=120 wiops=max\n";
        assert_eq!(iops(two, "8:0"), Some(120));
        assert_eq!(iops("8:0 rbps=max riops=max\n", "8:0"), None);
        assert_eq!(iops("8:0 300\n", "8:0"), Some(300));
        assert_eq!(iops("18:0 300\n", "8:0"), None);
    }
}

//! Whole machines as trees of files.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const GIB: u64 = 1 << 30;
const MEMINFO: &str = "MemTotal:       16777216 kB\nMemFree: 1 kB\nCommitLimit: 8388608 kB\nHugePages_Total:       0\n\
                       HugePages_Free:        0\nHugepagesize:       2048 kB\n";
const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

/// A machine made of files; dropped, it is deleted.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        machine.add("proc/meminfo", MEMINFO);
        for (path, text) in files {
            machine.add(path, text);
        }
        machine
    }

    fn add(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn read(&self) -> Hardware {
        self.read_with(&Kernel { affinity: Some(16), ..Kernel::default() })
    }

    fn read_with(&self, kernel: &Kernel) -> Hardware {
        read(&Root::new(self.0.path()), kernel)
    }

    /// The disk under a data directory on device `major:minor`.
    fn disk(&self, device: (u32, u32)) -> Fact<Disk> {
        let data = Filesystem { path: "/data".into(), device, free: 0 };
        self.read_with(&Kernel { data: Some(data), ..Kernel::default() }).disk
    }
}

fn origin(fact: &Fact<impl Sized>) -> String {
    fact.origin.to_string()
}

#[test]
fn without_cgroups_the_machine_is_ours() {
    let hardware = Machine::new(&[]).read();
    assert_eq!((hardware.memory.value, origin(&hardware.memory)), (16 * GIB, "hardware: MemTotal".into()));
    assert_eq!((hardware.cpus.value, origin(&hardware.cpus)), (16, "hardware: CPU affinity".into()));
    assert_eq!(hardware.commit_limit, None);
}

#[test]
fn version_2_counts_every_ancestor_and_names_the_one_that_binds() {
    let hardware = Machine::new(&[
        ("proc/self/cgroup", "0::/a/b/c\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ("sys/fs/cgroup/a/b/memory.high", "2147483648\n"),
        ("sys/fs/cgroup/a/b/c/memory.max", "8589934592\n"),
        ("sys/fs/cgroup/a/cpu.max", "250000 100000\n"),
        ("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/a/b/c/cpuset.cpus.effective", "0-7\n"),
    ])
    .read();
    assert_eq!((hardware.memory.value, origin(&hardware.memory)), (2 * GIB, "cgroup v2 /a/b memory.high".into()));
    assert_eq!((hardware.cpus.value, origin(&hardware.cpus)), (2, "cgroup v2 /a cpu.max".into()));
}

#[test]
fn garbage_zero_max_and_empty_files_are_unknown_and_never_nothing() {
    for text in ["", "\n", "0\n", "max\n", "lots\n", "-5\n", "18446744073709551616\n"] {
        let hardware = Machine::new(&[
            ("proc/self/cgroup", "0::/x\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/x/memory.max", text),
            ("sys/fs/cgroup/x/cpu.max", text),
            ("sys/fs/cgroup/x/cpuset.cpus.effective", if text == "0\n" { "\n" } else { text }),
        ])
        .read();
        assert_eq!(origin(&hardware.memory), "hardware: MemTotal", "{text:?}");
        assert_eq!(origin(&hardware.cpus), "hardware: CPU affinity", "{text:?}");
    }
}

#[test]
fn a_container_with_its_own_namespace_sees_its_limit_at_the_mounts_root() {
    let hardware = Machine::new(&[
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/memory.max", "536870912\n"),
        ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
    ])
    .read();
    assert_eq!((hardware.memory.value, origin(&hardware.memory)), (GIB / 2, "cgroup v2 / memory.max".into()));
    assert_eq!(hardware.cpus.value, 1);
}

#[test]
fn a_container_in_the_hosts_namespace_finds_its_group_below_the_mount() {
    // Version 1 mounts only the container's own directory; its name must be taken off the path.
    let hardware = Machine::new(&[
        ("proc/self/cgroup", "6:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"),
        (
            "proc/self/mountinfo",
            "40 23 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
             41 23 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
        ),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
    ])
    .read();
    assert_eq!(
        (hardware.memory.value, origin(&hardware.memory)),
        (GIB, "cgroup v1 /docker/abc memory.limit_in_bytes".into())
    );
    assert_eq!((hardware.cpus.value, origin(&hardware.cpus)), (3, "cgroup v1 /docker/abc cpu.cfs_quota_us".into()));
}

#[test]
fn a_path_above_the_namespace_means_the_mounts_root() {
    let hardware = Machine::new(&[
        ("proc/self/cgroup", "0::/../../elsewhere\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/memory.max", "2147483648\n"),
    ])
    .read();
    assert_eq!(hardware.memory.value, 2 * GIB);
}

#[test]
fn version_1_without_a_limit_and_with_one_that_only_memory_stat_shows() {
    let files = |stat: &'static str| {
        [
            ("proc/self/cgroup", "4:memory:/x\n2:cpu:/\n0::/\n"),
            (
                "proc/self/mountinfo",
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/x/memory.stat", stat),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]
    };
    let unlimited = Machine::new(&files("cache 1\nhierarchical_memory_limit 9223372036854771712\n")).read();
    assert_eq!(origin(&unlimited.memory), "hardware: MemTotal");
    assert_eq!(unlimited.cpus.value, 16);
    let limited = Machine::new(&files("cache 1\nhierarchical_memory_limit 3221225472\n")).read();
    assert_eq!(
        (limited.memory.value, origin(&limited.memory)),
        (3 * GIB, "cgroup v1 /x memory.stat hierarchical_memory_limit".into())
    );
}

#[test]
fn huge_pages_of_others_are_not_our_memory_and_their_limit_is_known() {
    let machine = Machine::new(&[
        ("proc/self/cgroup", "0::/db\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/db/hugetlb.2MB.max", "max\n"),
        ("sys/fs/cgroup/hugetlb.2MB.max", "1073741824\n"),
        ("sys/fs/cgroup/db/hugetlb.2MB.rsvd.max", "0\n"),
    ]);
    machine.add(
        "proc/meminfo",
        "MemTotal: 16777216 kB\nHugePages_Total: 2048\nHugePages_Free: 1024\nHugepagesize: 2048 kB\n",
    );
    let hardware = machine.read();
    assert_eq!(hardware.memory.value, 12 * GIB);
    assert_eq!(origin(&hardware.memory), "hardware: MemTotal less 4096 MiB of huge pages");
    assert_eq!((hardware.huge_pages.page, hardware.huge_pages.free), (2 << 20, 1024));
    let limit = hardware.huge_pages.limit.unwrap();
    assert_eq!((limit.value, origin(&limit)), (0, "cgroup v2 /db hugetlb.2MB.rsvd.max".into()));
}

#[test]
fn huge_pages_of_any_size_are_not_our_memory() {
    const NOT_DEFAULT: &str = "MemTotal: 16269064 kB\nHugePages_Total: 0\nHugepagesize: 2048 kB\n";
    let machine = Machine::new(&[]);
    machine.add("proc/meminfo", &format!("{NOT_DEFAULT}Hugetlb: 12582912 kB\n"));
    assert_eq!(machine.read().memory.value, (16_269_064 - 12_582_912) << 10);
    machine.add("proc/meminfo", NOT_DEFAULT);
    machine.add("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "12\n");
    assert_eq!(machine.read().memory.value, (16_269_064 - 12_582_912) << 10);
    machine.add("proc/meminfo", &format!("{NOT_DEFAULT}Hugetlb: 99999999 kB\n"));
    let memory = machine.read().memory;
    assert_eq!(memory.value, 16_269_064 << 10);
    assert!(
        origin(&memory).ends_with("huge pages of 97656 MiB, which is more, are not believed"),
        "{}",
        origin(&memory)
    );
}

#[test]
fn memory_that_no_machine_has_is_not_believed() {
    let machine = Machine::new(&[("proc/meminfo", "MemTotal: 9007199254740991 kB\n")]);
    let told = machine.read_with(&Kernel { total_memory: Some(2 * GIB), ..Kernel::default() });
    assert_eq!(told.memory.value, 2 * GIB);
    assert!(origin(&told.memory).contains("sysinfo, for MemTotal says 8796093022207 MiB"), "{}", origin(&told.memory));
    assert_eq!(machine.read_with(&Kernel::default()).memory.value, GIB);
    // What knows of a container's limit says less than the kernel.
    machine.add("proc/meminfo", "MemTotal: 1048576 kB\n");
    let told = machine.read_with(&Kernel { total_memory: Some(2 * GIB), ..Kernel::default() });
    assert_eq!((told.memory.value, origin(&told.memory)), (GIB, "hardware: MemTotal".into()));
}

#[test]
fn a_machine_that_says_nothing_is_small() {
    let machine = Machine::new(&[("proc/meminfo", "MemTotal: plenty\n")]);
    let hardware = machine.read_with(&Kernel::default());
    assert_eq!((hardware.memory.value, hardware.cpus.value), (GIB, 1));
    assert!(matches!(hardware.memory.origin, Origin::Unknown(_)));
    assert!(matches!(hardware.cpus.origin, Origin::Unknown(_)));
    let hardware = machine.read_with(&Kernel { total_memory: Some(2 * GIB), ..Kernel::default() });
    assert_eq!(origin(&hardware.memory), "hardware: sysinfo");
}

#[test]
fn strict_accounting_is_noticed() {
    let machine = Machine::new(&[("proc/sys/vm/overcommit_memory", "2\n"), ("proc/sys/kernel/shmmax", "4096\n")]);
    assert_eq!(machine.read().commit_limit, Some(8 * GIB));
    assert_eq!(machine.read().shmmax, Some(4096));
}

#[test]
fn disks_are_found_through_partitions_lvm_and_raid() {
    let devices = "sys/devices/pci0";
    let machine = Machine::new(&[]);
    let disk = |name: &str, rotational: &str| {
        machine.add(&format!("{devices}/{name}/queue/rotational"), rotational);
    };
    disk("sda", "1\n");
    disk("sdb", "0\n");
    disk("sdc", "1\n");
    disk("vda", "1\n");
    disk("nvme0n1", "0\n");
    disk("md0", "1\n");
    disk("dm-0", "1\n");
    disk("dm-1", "1\n");
    disk("loop0", "0\n");
    machine.add(&format!("{devices}/sda/sda1/partition"), "1\n");
    machine.add(&format!("{devices}/sdb/sdb2/partition"), "2\n");
    machine.add(&format!("{devices}/sdc/device/vendor"), "QEMU    \n");
    machine.link("../../sdb", &format!("{devices}/md0/slaves/sdb"));
    machine.link("../../nvme0n1", &format!("{devices}/md0/slaves/nvme0n1"));
    machine.link("../../md0", &format!("{devices}/dm-0/slaves/md0"));
    machine.link("../../md0", &format!("{devices}/dm-1/slaves/md0"));
    machine.link("../../sda/sda1", &format!("{devices}/dm-1/slaves/sda1"));
    for (number, name) in [
        ("8:1", "sda/sda1"),
        ("8:18", "sdb/sdb2"),
        ("8:32", "sdc"),
        ("254:0", "vda"),
        ("259:0", "nvme0n1"),
        ("253:0", "dm-0"),
        ("253:1", "dm-1"),
        ("7:0", "loop0"),
    ] {
        machine.link(&format!("../../devices/pci0/{name}"), &format!("sys/dev/block/{number}"));
    }
    for (device, kind, why) in [
        ((8, 1), Disk::Hdd, "sda queue/rotational 1"),
        ((8, 18), Disk::Ssd, "sdb queue/rotational 0"),
        ((8, 32), Disk::Unknown, "virtual disk"),
        ((254, 0), Disk::Unknown, "virtual disk"),
        ((259, 0), Disk::Ssd, "NVMe"),
        ((253, 0), Disk::Ssd, "nvme0n1"),
        ((253, 1), Disk::Hdd, "sda"),
        ((7, 0), Disk::Unknown, "plays a disk"),
        ((0, 45), Disk::Unknown, "no disk of its own"),
        ((9, 9), Disk::Unknown, "/sys/dev/block has no 9:9"),
    ] {
        let found = machine.disk(device);
        assert_eq!(found.value, kind, "{device:?}: {found:?}");
        assert!(origin(&found).contains(why), "{device:?}: {found:?}");
    }
}

#[test]
fn a_read_limit_on_the_data_directorys_disk_is_found_through_its_partition() {
    let machine = Machine::new(&[
        ("proc/self/cgroup", "0::/db\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/db/io.max", "8:0 rbps=max wbps=max riops=90 wiops=max\n"),
        ("sys/devices/sda/dev", "8:0\n"),
        ("sys/devices/sda/sda1/partition", "1\n"),
    ]);
    machine.link("../../devices/sda/sda1", "sys/dev/block/8:1");
    let data = Filesystem { path: "/data".into(), device: (8, 1), free: 7 };
    let hardware = machine.read_with(&Kernel { data: Some(data), ..Kernel::default() });
    assert_eq!(hardware.read_iops.unwrap(), Fact::new(90, Origin::Cgroup("cgroup v2 /db io.max".into())));
    assert_eq!(hardware.free_space.unwrap(), Fact::new(7, Origin::Machine("free space of /data".into())));
}

#[test]
fn this_machine_can_be_read() {
    let hardware = detect(&std::env::temp_dir().join("not/there/yet"));
    assert!(hardware.memory.value > 64 << 20 && hardware.cpus.value >= 1);
    assert!(hardware.free_space.unwrap().value > 0);
}

#[test]
fn neighbours_get_at_most_half() {
    let hardware = Machine::new(&[]).read();
    let memory = hardware.memory_without(GIB, "FlowMachine");
    assert_eq!((memory.value, origin(&memory)), (15 * GIB, "hardware: MemTotal less 1024 MiB: FlowMachine".into()));
    assert_eq!(hardware.memory_without(40 * GIB, "redis").value, 8 * GIB);
}

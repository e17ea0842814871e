//! How many processes of our control group the kernel has killed for lack of memory.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the count is read. Compared before and after a death by SIGKILL.
pub struct Kills(Option<PathBuf>);

impl Kills {
    /// Looks for the file of our group.
    pub fn find() -> Kills {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Kills(files(&groups, Path::new("/sys/fs/cgroup")).into_iter().find(|file| count(file).is_some()))
    }

    /// The count now; `None` where there is none.
    pub fn now(&self) -> Option<u64> {
        count(self.0.as_deref()?)
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// `memory.events` of the v2 group, else `memory.oom_control` of the v1 group. In a container the group's path is often
/// that of the outside and its files lie at the root.
fn files(groups: &str, root: &Path) -> [PathBuf; 5] {
    let own = |controller: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let v2 = own("").unwrap_or_default();
    let v1 = own("memory").unwrap_or_default();
    [
        root.join(&v2).join("memory.events"),
        root.join("memory.events"),
        root.join("unified").join(&v2).join("memory.events"),
        root.join("memory").join(&v1).join("memory.oom_control"),
        root.join("memory/memory.oom_control"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_either_version_and_inside_containers() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        let found = |groups: &str| files(groups, root.path()).iter().find_map(|file| count(file));
        assert_eq!(found("0::/a/b\n"), None);
        write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
        assert_eq!(found("3:memory:/docker/x\n"), Some(4));
        write("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n");
        assert_eq!(found("0::/docker/x\n"), Some(2));
        write("a/b/memory.events", "oom 3\noom_kill 7\n");
        assert_eq!(found("0::/a/b\n"), Some(7));
    }
}

//! Our control groups: which directories hold the limits that bind this process.
//!
//! `/proc/self/cgroup` names our group in each hierarchy, `/proc/self/mountinfo` says where hierarchies are mounted
//! and from which of their directories. Version 2 has one hierarchy, version 1 one for each set of controllers, and
//! hybrid machines have both, with an empty version 2 tree beside the version 1 controllers that do the work.

use std::path::{Path, PathBuf};

use super::{Fact, Origin, Root, whole};

/// The groups of this process, by controller.
pub(super) struct Groups {
    memberships: Vec<Membership>,
    mounts: Vec<Mount>,
}

/// One line of `/proc/self/cgroup`. No controllers means version 2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Membership {
    controllers: Vec<String>,
    path: String,
}

/// One cgroup mount of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    version: Version,
    /// The directory of the hierarchy that is mounted: `/`, or `/docker/ID` in a container without a namespace.
    root: String,
    point: PathBuf,
    options: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// A group's directory, ours or an ancestor's.
pub(super) struct Group {
    pub version: Version,
    /// As the hierarchy calls it, for people.
    name: String,
    directory: PathBuf,
}

impl Groups {
    pub fn read(root: &Root) -> Groups {
        Groups {
            memberships: memberships(&root.text("proc/self/cgroup").unwrap_or_default()),
            mounts: mounts(&root.text("proc/self/mountinfo").unwrap_or_default()),
        }
    }

    /// Our group and its ancestors, innermost first, in every hierarchy that may carry `controller`.
    pub fn with(&self, controller: &str) -> Vec<Group> {
        let ours = |m: &&Membership| m.controllers.is_empty() || m.controllers.iter().any(|c| c == controller);
        self.memberships.iter().filter(ours).flat_map(|m| self.ancestry(m, controller)).collect()
    }

    fn ancestry(&self, member: &Membership, controller: &str) -> Vec<Group> {
        let version = if member.controllers.is_empty() { Version::Two } else { Version::One };
        let fits =
            |m: &&Mount| m.version == version && (version == Version::Two || m.options.iter().any(|o| o == controller));
        let mut candidates: Vec<(&Mount, Option<String>)> =
            self.mounts.iter().filter(fits).map(|m| (m, below(&member.path, &m.root))).collect();
        // A mount that shows our own group beats one that can only show its root.
        candidates.sort_by_key(|(_, relative)| relative.is_none());
        let Some((mount, relative)) = candidates.into_iter().next() else {
            return Vec::new();
        };
        let relative = relative.unwrap_or_default();
        Path::new(&relative)
            .ancestors()
            .map(|part| Group {
                version,
                name: join_names(&mount.root, part),
                directory: if part.as_os_str().is_empty() { mount.point.clone() } else { mount.point.join(part) },
            })
            .collect()
    }
}

impl Group {
    /// A file of this group, if there is one.
    pub fn text(&self, root: &Root, file: &str) -> Option<String> {
        root.text(self.directory.join(file))
    }

    /// Where a value in `file` came from.
    pub fn origin(&self, file: &str) -> Origin {
        let version = match self.version {
            Version::One => "v1",
            Version::Two => "v2",
        };
        Origin::Cgroup(format!("cgroup {version} {} {file}", self.name))
    }

    /// A limit in bytes or in pages of the file `file`; `None` when there is no limit or it can't be told.
    pub fn limit(&self, root: &Root, file: &str) -> Option<Fact<u64>> {
        Some(Fact::new(limit(&self.text(root, file)?)?, self.origin(file)))
    }
}

/// A limit as cgroup files write it. `max` and `-1` are no limit; empty, garbage and 0 tell nothing.
/// Version 1 writes "no limit" as the largest page-aligned number, which the minimum with MemTotal takes care of.
pub(super) fn limit(text: &str) -> Option<u64> {
    whole(text).filter(|&bytes| bytes > 0)
}

/// `path` seen from a mount of `root`: `None` when it lies elsewhere (above the namespace, another container's).
fn below(path: &str, root: &str) -> Option<String> {
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let rest =
        if root == "/" { Some(path) } else { path.strip_prefix(root).filter(|r| r.is_empty() || r.starts_with('/')) };
    Some(rest?.trim_matches('/').to_owned())
}

fn join_names(root: &str, part: &Path) -> String {
    let name = format!("{}/{}", root.trim_end_matches('/'), part.display());
    if name.len() > 1 { name.trim_end_matches('/').to_owned() } else { name }
}

/// Parses `/proc/self/cgroup`: `0::/path` (version 2) and `4:cpu,cpuacct:/path` (version 1).
pub(super) fn memberships(text: &str) -> Vec<Membership> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let number = fields.next()?;
        let controllers: Vec<String> = fields.next()?.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        let path = fields.next()?;
        // A version 1 line without controllers can't be told from version 2 but by its number.
        let sane = path.starts_with('/') && (!controllers.is_empty() || number == "0");
        sane.then(|| Membership { controllers, path: path.trim_end_matches(" (deleted)").to_owned() })
    };
    text.lines().filter_map(line).collect()
}

/// Parses the cgroup mounts out of `/proc/self/mountinfo`.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// `id parent major:minor root point options [optional...] - type source options`
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = right.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(Mount { version, root: unescape(root), point: unescape(point).into(), options })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|d| d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match (bytes[at], octal) {
            (b'\\', Some(digits)) => {
                out.push(digits.iter().fold(0u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')));
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_numbers_or_nothing() {
        for (text, wanted) in [
            ("max\n", None),
            ("-1\n", None),
            ("0\n", None),
            ("", None),
            ("12abc", None),
            ("536870912\n", Some(536_870_912)),
            ("99999999999999999999999", Some(u64::MAX)),
        ] {
            assert_eq!(limit(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn paths_are_seen_from_the_mounted_directory() {
        for (path, root, wanted) in [
            ("/a/b", "/", Some("a/b")),
            ("/", "/", Some("")),
            ("/docker/x/y", "/docker/x", Some("y")),
            ("/docker/xy", "/docker/x", None),
            ("/docker/x", "/docker/x", Some("")),
            ("/../../other", "/", None),
        ] {
            assert_eq!(below(path, root).as_deref(), wanted, "{path} under {root}");
        }
    }

    #[test]
    fn a_mountinfo_line_with_spaces_and_optional_fields_is_read() {
        let line = r"31 23 0:28 /a\040b /sys/fs/cg\040roup rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct";
        let mount = mount(line).unwrap();
        assert_eq!((mount.root.as_str(), mount.point.to_str()), ("/a b", Some("/sys/fs/cg roup")));
        assert_eq!(mount.options, ["rw", "cpu", "cpuacct"]);
    }

    proptest! {
        #[test]
        fn no_text_upsets_the_parsers(text in "(\\PC|\n|:|/| )*") {
            let _ = mounts(&text);
            let _ = limit(&text);
            for member in memberships(&text) {
                prop_assert!(member.path.starts_with('/'));
            }
        }

        #[test]
        fn every_membership_is_found_again(paths in prop::collection::vec("(/[a-z0-9.:-]{1,8}){1,4}", 1..5)) {
            let text: String = paths.iter().enumerate().map(|(n, p)| format!("{}:memory:{p}\n", n + 1)).collect();
            let found: Vec<String> = memberships(&text).into_iter().map(|m| m.path).collect();
            prop_assert_eq!(found, paths);
        }
    }
}

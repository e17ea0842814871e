//! The secrets that are in a swarm, and which of them belong together.
//!
//! The new secrets of a rotation all have the same label, which names them all. So who looks knows whether some are missing;
//! such a half is never used.

use std::collections::BTreeMap;

use super::engine::{Docker, Error};
use super::vault::{LABEL as MADE, version_of};
use flowkit_core::catalogue::catalogue;

/// Label of a secret that was made by a rotation.
pub(super) const LABEL: &str = "org.flowkit.rotation";

/// The secrets that belong together: by name in the guide, each with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// Tells it from another attempt at the same.
    pub(super) id: u64,
    pub(super) members: BTreeMap<&'static str, u32>,
}

impl Set {
    /// `ID NAME=VERSION …`.
    pub(super) fn label(&self) -> String {
        let members = self.members.iter().map(|(name, version)| format!(" {name}={version}"));
        format!("{:016x}{}", self.id, members.collect::<String>())
    }

    pub(super) fn parse(label: &str) -> Option<Set> {
        let mut words = label.split_whitespace();
        let id = u64::from_str_radix(words.next()?, 16).ok()?;
        let member = |word: &str| {
            let (name, version) = word.rsplit_once('=')?;
            Some((catalogue().secret(name)?.name.as_str(), version.parse().ok()?))
        };
        let members: Option<BTreeMap<_, _>> = words.map(member).collect();
        members.filter(|members| !members.is_empty()).map(|members| Set { id, members })
    }
}

/// A secret in the swarm.
#[derive(Debug)]
pub(super) struct Known {
    /// Its name there.
    full: String,
    name: &'static str,
    version: u32,
    set: Option<Set>,
    /// Whether it says of itself that flowkit has made it.
    is_ours: bool,
}

impl Known {
    /// Out of its name and both its labels.
    fn read(prefix: Option<&str>, line: &str) -> Option<Known> {
        let mut fields = line.split('\t');
        let (full, made, rotation) = (fields.next()?, fields.next(), fields.next());
        let (name, version) = version_of(prefix, full)?;
        let set = rotation.and_then(Set::parse);
        Some(Known { full: full.to_owned(), name, version, set, is_ours: made == Some(name) })
    }
}

/// The secrets of the catalogue that are in a swarm.
#[derive(Debug)]
pub(super) struct Inventory(Vec<Known>);

impl Inventory {
    pub(super) fn read(docker: &Docker, prefix: Option<&str>) -> Result<Inventory, Error> {
        let format = format!("{{{{.Name}}}}\t{{{{.Label \"{MADE}\"}}}}\t{{{{.Label \"{LABEL}\"}}}}");
        let lines = docker.lines(&["secret", "ls", "--format", &format])?;
        Ok(Inventory(lines.iter().filter_map(|line| Known::read(prefix, line)).collect()))
    }

    /// Whether a secret of this name in the swarm is none that flowkit has made.
    pub(super) fn is_foreign(&self, full: &str) -> bool {
        self.0.iter().any(|known| known.full == full && !known.is_ours)
    }

    /// The newest version of each that counts.
    pub(super) fn versions(&self) -> BTreeMap<&'static str, u32> {
        self.newest(|known| known.set.as_ref().is_none_or(|set| self.has(set)))
    }

    pub(super) fn newest(&self, counts: impl Fn(&Known) -> bool) -> BTreeMap<&'static str, u32> {
        let mut newest = BTreeMap::new();
        for known in self.0.iter().filter(|known| counts(known)) {
            let version = newest.entry(known.name).or_insert(known.version);
            *version = known.version.max(*version);
        }
        newest
    }

    /// Whether all of a set are there, or newer ones in their place: old ones are removed when all is well.
    pub(super) fn has(&self, set: &Set) -> bool {
        let there = |(name, version): (&&str, &u32)| {
            self.0.iter().any(|known| known.name == *name && known.version >= *version)
        };
        set.members.iter().all(there)
    }

    /// The set that the newest version of a secret is of.
    pub(super) fn set_of(&self, name: &str) -> Option<&Set> {
        let version = *self.versions().get(name)?;
        self.0.iter().find(|known| known.name == name && known.version == version)?.set.as_ref()
    }

    /// Removes what is left of rotations that did not come to have all their secrets.
    pub(super) fn take_back(&mut self, docker: &Docker) -> Result<(), Error> {
        let half = |known: &Known| known.set.as_ref().is_some_and(|set| !self.has(set));
        let mut half = self.0.iter().map(half).collect::<Vec<_>>().into_iter();
        let all = std::mem::take(&mut self.0);
        let (halves, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|_| half.next().unwrap_or(false));
        self.0 = kept;
        for known in halves {
            docker.ask(&["secret", "rm", &known.full])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::wish::versioned;
    use super::*;

    fn known(name: &'static str, version: u32, label: Option<&str>) -> Known {
        let line = format!("{}\t{name}\t{}", versioned(None, name, version), label.unwrap_or_default());
        Known::read(None, &line).unwrap()
    }

    #[test]
    fn what_somebody_else_has_put_there_is_known_by_its_label() {
        let there = |line| Inventory(Known::read(Some("a"), line).into_iter().collect());
        assert!(there("a_DB_URI\t\t").is_foreign("a_DB_URI") && there("a_DB_URI").is_foreign("a_DB_URI"));
        assert!(!there("a_DB_URI\tDB_URI\t").is_foreign("a_DB_URI"));
        assert!(there("DB_URI\t\t").0.is_empty(), "another deployment's");
    }

    #[test]
    fn a_label_names_all_that_belong_together() {
        let set = Set::parse("00000000000000ff REDIS_PASSWORD=2 cert-flowkit.pem=3").unwrap();
        assert_eq!(set.label(), "00000000000000ff REDIS_PASSWORD=2 cert-flowkit.pem=3");
        for foreign in ["", "ff", "ff OTHER=2", "ff REDIS_PASSWORD", "xy REDIS_PASSWORD=2", "ff REDIS_PASSWORD=x"] {
            assert_eq!(Set::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn half_a_rotation_counts_for_nothing() {
        let (redis, user) = ("REDIS_PASSWORD", "FLOWDB_POSTGRES_PASSWORD");
        let label = "1 REDIS_PASSWORD=2 FLOWDB_POSTGRES_PASSWORD=2";
        let mut there = Inventory(vec![known(redis, 1, None), known(user, 1, None), known(redis, 2, Some(label))]);
        assert_eq!(there.versions(), BTreeMap::from([(redis, 1), (user, 1)]));
        there.0.push(known(user, 2, Some(label)));
        assert_eq!(there.versions(), BTreeMap::from([(redis, 2), (user, 2)]));
        // A later one of one of them, and the old version removed as the manual says.
        there.0.push(known(redis, 3, Some("2 REDIS_PASSWORD=3")));
        there.0.retain(|known| known.name != redis || known.version == 3);
        assert_eq!(there.versions(), BTreeMap::from([(redis, 3), (user, 2)]));
    }
}

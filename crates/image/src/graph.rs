//! Store paths and what they refer to.

use std::collections::BTreeMap;

use base64::Engine;

use super::digest::Digest;
use super::spec::{RawPath, is_plain};

/// A store path.
#[derive(Clone, Debug)]
pub struct StorePath {
    /// Absolute path.
    pub path: String,
    /// Size of its serialisation, bytes: near enough that of its files.
    pub nar_size: u64,
    /// SHA-256 of its serialisation, where Nix said it.
    pub nar_hash: Option<Digest>,
    /// Other paths that it refers to, as indices, sorted.
    pub references: Vec<usize>,
}

impl StorePath {
    /// Last part of the path without Nix's hash: `glibc-2.40-66`.
    pub fn label(&self) -> &str {
        label(&self.path)
    }
}

/// A hash as Nix writes it: `sha256:` and hexadecimal digits or Nix's own base 32, or `sha256-` and base 64.
fn nar_hash(text: &str) -> Option<Digest> {
    if let Ok(digest) = text.parse() {
        return Some(digest);
    }
    let bytes = match (text.strip_prefix("sha256-"), text.strip_prefix("sha256:")) {
        (Some(base64), _) => base64::engine::general_purpose::STANDARD.decode(base64).ok()?,
        // The crate reads any length; 52 digits are 32 bytes.
        (_, Some(base32)) if base32.len() == 52 => nix_base32::from_nix_base32(base32)?,
        _ => return None,
    };
    bytes.try_into().ok().map(Digest::from_bytes)
}

/// Last part of a store path without Nix's hash (32 characters and a dash), where there is one.
pub fn label(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or(path);
    match last.split_at_checked(33) {
        Some((hash, rest)) if hash.ends_with('-') && !hash[..32].contains('-') && !rest.is_empty() => rest,
        _ => last,
    }
}

/// A closure: every reference is in it. Sorted by path, so that an index means the same whatever the input's order.
#[derive(Clone, Debug)]
pub struct Graph {
    paths: Vec<StorePath>,
    /// For each path what it needs, itself included.
    closures: Vec<Set>,
}

impl Graph {
    /// Checks what was read.
    pub(super) fn new(mut raw: Vec<RawPath>, problems: &mut Vec<String>) -> Graph {
        raw.sort_by(|a, b| a.path.cmp(&b.path));
        for pair in raw.windows(2) {
            if pair[0].path == pair[1].path {
                problems.push(format!("graph: `{}` is there twice", pair[0].path));
            } else if pair[1].path.strip_prefix(&pair[0].path).is_some_and(|rest| rest.starts_with('/')) {
                problems.push(format!("graph: `{}` is inside `{}`", pair[1].path, pair[0].path));
            }
        }
        let index: BTreeMap<String, usize> = raw.iter().enumerate().map(|(i, path)| (path.path.clone(), i)).collect();
        let mut paths = Vec::new();
        for path in raw {
            if let Err(why) = is_plain(&path.path) {
                problems.push(format!("graph: `{}` {why}", path.path));
            }
            let mut references = Vec::new();
            for reference in path.references.iter().filter(|reference| **reference != path.path) {
                match index.get(reference) {
                    Some(&at) => references.push(at),
                    None => problems.push(format!("graph: `{}` refers to `{reference}`, which is missing", path.path)),
                }
            }
            references.sort_unstable();
            references.dedup();
            let nar_hash = path.nar_hash.as_deref().and_then(|text| {
                let hash = nar_hash(text);
                if hash.is_none() {
                    problems.push(format!("graph: `{}` has the narHash `{text}`, which is no SHA-256", path.path));
                }
                hash
            });
            paths.push(StorePath { path: path.path, nar_size: path.nar_size, nar_hash, references });
        }
        let closures = (0..paths.len()).map(|start| closure(&paths, start)).collect();
        Graph { paths, closures }
    }

    /// The paths, sorted.
    pub fn paths(&self) -> &[StorePath] {
        &self.paths
    }

    /// Index of a path.
    pub fn index(&self, path: &str) -> Option<usize> {
        self.paths.binary_search_by(|store| store.path.as_str().cmp(path)).ok()
    }

    /// What a path needs, itself included.
    pub fn closure(&self, index: usize) -> &Set {
        &self.closures[index]
    }

    /// Bytes of a path with all that it needs. The same in every graph that holds the path.
    pub fn closure_size(&self, index: usize) -> u64 {
        self.size(self.closures[index].iter())
    }

    /// Bytes of some paths.
    pub fn size(&self, paths: impl Iterator<Item = usize>) -> u64 {
        paths.map(|index| self.paths[index].nar_size).fold(0, u64::saturating_add)
    }
}

fn closure(paths: &[StorePath], start: usize) -> Set {
    let mut found = Set::default();
    let mut todo = vec![start];
    while let Some(index) = todo.pop() {
        if found.insert(index) {
            todo.extend(&paths[index].references);
        }
    }
    found
}

/// A set of paths, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(Vec<u64>);

impl Set {
    /// Adds an index; false when it was there.
    pub fn insert(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Whether an index is in.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// The indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |(word, &bits): (usize, &u64)| {
            (0..64).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| word * 64 + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

impl Extend<usize> for Set {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, indices: I) {
        for index in indices {
            self.insert(index);
        }
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Set {
        let mut set = Set::default();
        set.extend(indices);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_in_all_of_nixs_spellings() {
        let abc = Digest::of(b"abc");
        let base32 = "sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
        for text in [&abc.to_string(), base32, "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="] {
            assert_eq!(nar_hash(text), Some(abc), "{text}");
        }
        for wrong in ["", "sha256:", "sha256-", "md5:abc", "sha256-ungW", "sha256:1b8m", &base32.replace('1', "e")] {
            assert_eq!(nar_hash(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn labels_lose_the_hash_only() {
        for (path, expected) in [
            ("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-glibc-2.40", "glibc-2.40"),
            ("/nix/store/short-name", "short-name"),
            ("etc", "etc"),
            ("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-", "0123456789abcdfghijklmnpqrsvwxyz-"),
        ] {
            assert_eq!(label(path), expected);
        }
    }
}

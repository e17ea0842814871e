//! What differs between two images: layers, store paths, files, and the first field of a header.
//!
//! A store path that was built anew has another hash in its name; its files are compared with those of the path of the same
//! name in the other image, so that a rebuild that changed one file shows one file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::digest::Digest;
use super::documents::Descriptor;
use super::error::Error;
use super::graph::label;
use super::inspect::top;
use super::open::Image;
use super::parallel::each;
use super::tar::Entry;
use super::unpack::unpack;

/// What differs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Difference {
    /// Keys of the configuration with other values, such as `config.Env`.
    pub config: Vec<String>,
    /// Layers that both have.
    pub common_layers: usize,
    /// Bytes of the blobs of these, as the second has them.
    pub common_bytes: u64,
    /// How many of these are other blobs with the same contents.
    pub repacked_layers: usize,
    /// Layers that only the first has.
    pub old_layers: Vec<Digest>,
    /// Layers that only the second has: what goes over the wire to who has the first.
    pub new_layers: Vec<Digest>,
    /// Bytes of the blobs of these.
    pub new_bytes: u64,
    /// Store paths, and directories outside the store, with differences.
    pub paths: Vec<PathDifference>,
}

/// What differs in a store path.
#[derive(Clone, Debug, Serialize)]
pub struct PathDifference {
    /// Its name without the hash.
    pub name: String,
    /// `added`, `removed`, `rebuilt` (same files under another hash) or `changed`.
    pub what: &'static str,
    /// Files of it that differ, with how.
    pub files: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.old_layers.is_empty() && self.new_layers.is_empty()
    }
}

/// Compares two images by their contents, reading the layers that are not in both.
///
/// Layers are the same when their tar streams are: an engine that saves an image packs them anew.
pub fn diff(old: &Image, new: &Image, threads: usize) -> Result<Difference, Error> {
    let contents = |image: &Image| image.layers().map(|(_, diff_id)| diff_id).collect::<BTreeSet<_>>();
    let (in_old, in_new) = (contents(old), contents(new));
    let only = |image: &Image, other: &BTreeSet<Digest>| -> Vec<Descriptor> {
        image.layers().filter(|(_, diff_id)| !other.contains(diff_id)).map(|(layer, _)| layer.clone()).collect()
    };
    let (old_layers, new_layers) = (only(old, &in_new), only(new, &in_old));
    let blobs: BTreeSet<Digest> = old.manifest.layers.iter().map(|layer| layer.digest).collect();
    let common: Vec<&Descriptor> =
        new.layers().filter(|(_, diff_id)| in_old.contains(diff_id)).map(|(layer, _)| layer).collect();
    Ok(Difference {
        config: config(old, new)?,
        common_layers: common.len(),
        common_bytes: common.iter().map(|layer| layer.size).sum(),
        repacked_layers: common.iter().filter(|layer| !blobs.contains(&layer.digest)).count(),
        new_bytes: new_layers.iter().map(|layer| layer.size).sum(),
        paths: paths(&tree(old, &old_layers, threads)?, &tree(new, &new_layers, threads)?),
        old_layers: old_layers.iter().map(|layer| layer.digest).collect(),
        new_layers: new_layers.iter().map(|layer| layer.digest).collect(),
    })
}

/// Keys of the configurations that differ; the layers and their history speak for themselves.
fn config(old: &Image, new: &Image) -> Result<Vec<String>, Error> {
    let read = |image: &Image| -> Result<BTreeMap<String, serde_json::Value>, Error> {
        let json: serde_json::Value = super::open::document(&image.store, &image.manifest.config)?;
        let mut flat = BTreeMap::new();
        for (key, value) in
            json.as_object().into_iter().flatten().filter(|(key, _)| *key != "rootfs" && *key != "history")
        {
            match value.as_object().filter(|_| key == "config") {
                Some(inner) => {
                    flat.extend(inner.iter().map(|(inner, value)| (format!("{key}.{inner}"), value.clone())))
                }
                None => {
                    flat.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(flat)
    };
    let (old, new) = (read(old)?, read(new)?);
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    Ok(keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect())
}

/// The files of one store path by their names below it, as one image has them.
type Files = BTreeMap<String, (Entry, Option<Digest>)>;

/// What some layers hold: store paths, by the name without its hash. An image that means harm may have a million of one name.
type Tree = BTreeMap<String, Places>;
type Places = BTreeMap<String, Files>;

fn tree(image: &Image, layers: &[Descriptor], threads: usize) -> Result<Tree, Error> {
    let read = each(layers, threads, |layer| {
        let mut entries = Vec::new();
        let unpacked = unpack(&image.store, layer, true, &mut |entry, content| {
            let kept = entry.name.len() + entry.target.len() + 2 * size_of::<(Entry, Option<Digest>)>();
            entries.push((entry, content));
            kept
        })?;
        Ok((unpacked, entries))
    });
    let mut tree = Tree::new();
    for (read, layer) in read.into_iter().zip(layers) {
        let (unpacked, entries) = read?;
        if let Some(why) = unpacked.stopped {
            return Err(image.store.damaged(&layer.digest.blob(), why));
        }
        for (entry, content) in entries {
            let name = String::from_utf8_lossy(entry.path()).into_owned();
            let Some(path) = top(&name, entry.is_directory()) else { continue };
            let inside = name[path.len()..].trim_start_matches('/').to_owned();
            let places = tree.entry(label(path).to_owned()).or_default();
            places.entry(path.to_owned()).or_default().insert(inside, (entry, content));
        }
    }
    Ok(tree)
}

fn paths(old: &Tree, new: &Tree) -> Vec<PathDifference> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let none = Places::new();
    let mut differences = Vec::new();
    for name in names {
        let (olds, news) = (old.get(name).unwrap_or(&none), new.get(name).unwrap_or(&none));
        // A path that merely moved to another layer is the same.
        let (gone, came) = (only(olds, news), only(news, olds));
        for at in 0..gone.len().max(came.len()) {
            let (what, files) = match (gone.get(at), came.get(at)) {
                (Some(gone), Some(came)) => match files(gone, came) {
                    files if files.is_empty() => ("rebuilt", files),
                    files => ("changed", files),
                },
                (Some(_), None) => ("removed", Vec::new()),
                _ => ("added", Vec::new()),
            };
            differences.push(PathDifference { name: name.clone(), what, files });
        }
    }
    differences
}

/// What is not in the other image, or not the same.
fn only<'a>(these: &'a Places, others: &Places) -> Vec<&'a Files> {
    let same = |path: &String, found: &Files| others.get(path).is_some_and(|other| files(found, other).is_empty());
    these.iter().filter(|(path, found)| !same(path, found)).map(|(_, found)| found).collect()
}

/// The files that differ, each with how.
fn files(old: &Files, new: &Files) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let how = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => how(old, new),
            (Some(_), None) => Some("removed".to_owned()),
            _ => Some("added".to_owned()),
        };
        differences.extend(how.map(|how| format!("{}: {how}", if name.is_empty() { "." } else { name })));
    }
    differences
}

/// The first field of the header that differs, else the contents.
fn how((old, before): &(Entry, Option<Digest>), (new, after): &(Entry, Option<Digest>)) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let owner = |entry: &Entry| format!("{}:{}", entry.uid, entry.gid);
    let fields = [
        ("kind", old.kind().to_owned(), new.kind().to_owned()),
        ("mode", format!("{:04o}", old.mode), format!("{:04o}", new.mode)),
        ("owner", owner(old), owner(new)),
        ("time", old.mtime.to_string(), new.mtime.to_string()),
        ("target", unhashed(&old.target), unhashed(&new.target)),
        ("owner's name", text(&old.owners.0), text(&new.owners.0)),
        ("size", old.size.to_string(), new.size.to_string()),
    ];
    let field =
        fields.iter().find(|(_, old, new)| old != new).map(|(field, old, new)| format!("{field} {old}, now {new}"));
    let attributes = || (old.other != new.other).then(|| "extended attributes".to_owned());
    field.or_else(attributes).or_else(|| (before != after).then(|| "contents".to_owned()))
}

/// A link's target; that a store path which it leads to has another hash is that path's difference.
fn unhashed(target: &[u8]) -> String {
    let text = String::from_utf8_lossy(target).into_owned();
    match text.strip_prefix("/nix/store/").and_then(|rest| Some((rest.split('/').next()?, rest))) {
        Some((path, rest)) => label(path).to_owned() + &rest[path.len()..],
        None => text,
    }
}

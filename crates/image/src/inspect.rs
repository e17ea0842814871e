//! What is in an image, layer by layer, and why there.

use std::collections::BTreeMap;

use serde::Serialize;

use super::codec::Codec;
use super::digest::Digest;
use super::error::Error;
use super::open::Image;
use super::parallel::each;
use super::tar::Entry;
use super::unpack::unpack;

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name and tag.
    pub name: String,
    /// Digest of the manifest: what registries call it.
    pub manifest: Digest,
    /// Digest of the configuration: what Docker calls it.
    pub image_id: Digest,
    /// Operating system and processor.
    pub platform: String,
    /// When it was made.
    pub created: Option<String>,
    /// How a container runs.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// The layers, the lowest first.
    pub layers: Vec<LayerSummary>,
}

/// A layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerSummary {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// How it is compressed.
    pub compression: Codec,
    /// Bytes of the blob.
    pub packed: u64,
    /// Bytes of the tar stream.
    pub bytes: u64,
    /// What the image's maker says of it.
    pub why: Option<String>,
    /// What is in it: store paths, or directories outside the store.
    pub paths: Vec<PathSummary>,
}

/// A store path, or a directory outside the store.
#[derive(Clone, Debug, Serialize)]
pub struct PathSummary {
    /// Absolute.
    pub path: String,
    /// Files and links in it.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Looks into an archive or a layout directory with `threads` threads.
pub fn inspect(image: &Image, threads: usize) -> Result<Summary, Error> {
    let unpacked = each(&image.manifest.layers, threads, |layer| {
        let mut paths = Paths::default();
        let unpacked = unpack(&image.store, layer, false, &mut |entry, _| paths.add(&entry))?;
        Ok((unpacked, paths))
    });
    let mut layers = Vec::new();
    for ((layer, said), why) in unpacked.into_iter().zip(&image.manifest.layers).zip(image.comments()) {
        let (layer, paths) = layer?;
        if let Some(why) = layer.stopped {
            return Err(image.store.damaged(&said.digest.blob(), why));
        }
        layers.push(LayerSummary {
            digest: said.digest,
            diff_id: layer.diff_id,
            compression: layer.codec,
            packed: layer.packed,
            bytes: layer.raw,
            why: why.map(str::to_owned),
            paths: paths.0.into_values().collect(),
        });
    }
    Ok(Summary {
        name: image.name(),
        manifest: image.descriptor.digest,
        image_id: image.manifest.config.digest,
        platform: format!("{}/{}", image.config.os, image.config.architecture),
        created: image.config.created.clone(),
        config: image.config.config.clone(),
        layers,
    })
}

/// What a layer holds, by store path.
#[derive(Default)]
struct Paths(BTreeMap<String, PathSummary>);

impl Paths {
    /// Counts an entry; gives how many bytes it made this grow by.
    fn add(&mut self, entry: &Entry) -> usize {
        let name = String::from_utf8_lossy(entry.path());
        let Some(path) = top(&name, entry.is_directory()) else { return 0 };
        let path = format!("/{path}");
        let mut grown = 0;
        let summary = self.0.entry(path).or_insert_with_key(|path| {
            grown = 2 * path.len() + size_of::<PathSummary>() + size_of::<String>();
            PathSummary { path: path.clone(), files: 0, bytes: 0 }
        });
        summary.files += u64::from(!entry.is_directory());
        summary.bytes = summary.bytes.saturating_add(entry.size);
        grown
    }
}

/// The store path that a name is in, else its first part. The directories above the store paths are nothing of their own.
pub(super) fn top(name: &str, directory: bool) -> Option<&str> {
    let end = |parts: usize| name.match_indices('/').nth(parts - 1).map_or(name.len(), |(at, _)| at);
    match name {
        "nix" | "nix/store" if directory => None,
        _ if name.starts_with("nix/store/") => Some(&name[..end(3)]),
        _ => Some(&name[..end(1)]),
    }
}

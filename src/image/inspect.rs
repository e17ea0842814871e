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
    let unpacked = each(&image.manifest.layers, threads, |layer| unpack(&image.store, layer, false));
    let mut layers = Vec::new();
    for ((layer, said), why) in unpacked.into_iter().zip(&image.manifest.layers).zip(image.comments()) {
        let layer = layer?;
        if let Some(why) = layer.stopped {
            return Err(image.store.damaged(&said.digest.blob(), why));
        }
        layers.push(LayerSummary {
            digest: said.digest,
            diff_id: layer.diff_id,
            // `unpack` has found one.
            compression: Codec::of_media_type(&said.media_type).unwrap_or(Codec::None),
            packed: layer.packed,
            bytes: layer.raw,
            why: why.map(str::to_owned),
            paths: paths(&layer.entries),
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

fn paths(entries: &[Entry]) -> Vec<PathSummary> {
    let mut found: BTreeMap<String, PathSummary> = BTreeMap::new();
    for entry in entries {
        let name = String::from_utf8_lossy(entry.path());
        let Some(path) = top(&name, entry.is_directory()) else { continue };
        let path = format!("/{path}");
        let summary = found.entry(path.clone()).or_insert(PathSummary { path, files: 0, bytes: 0 });
        summary.files += u64::from(!entry.is_directory());
        summary.bytes += entry.size;
    }
    found.into_values().collect()
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

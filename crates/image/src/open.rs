//! An image that somebody made: its documents, read and checked as far as every use of them needs.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::digest::Digest;
use super::documents::{CONTAINERD_NAME, Config, Descriptor, DockerImage, INDEX, Index, MANIFEST, Manifest, REF_NAME};
use super::error::Error;
use super::store::Store;

/// An opened image.
pub struct Image {
    /// Its files.
    pub store: Store,
    /// `index.json`.
    pub index: Index,
    /// The index's entry for the image.
    pub descriptor: Descriptor,
    /// The image's manifest.
    pub manifest: Manifest,
    /// The image's configuration.
    pub config: Config,
    /// Docker's `manifest.json`, where there is one.
    pub docker: Option<DockerImage>,
}

impl Image {
    /// Opens an archive or a layout directory that holds one image.
    pub fn open(path: &Path) -> Result<Image, Error> {
        let store = Store::open(path)?;
        if store.size("index.json").is_none() {
            return Err(
                store.damaged("index.json", "it is missing: this is no OCI image layout, and other forms are not read")
            );
        }
        let index: Index = parse(&store, "index.json", &store.read("index.json")?)?;
        let mut images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| is_image(entry)).collect();
        // An engine lists an image once for each of its names.
        images.dedup_by_key(|image| image.digest);
        let descriptor = match images[..] {
            [one] => one.clone(),
            [] if index.manifests.iter().any(|entry| entry.media_type == INDEX) => {
                return Err(store.damaged("index.json", "it lists another index; only single images are read"));
            }
            [] => return Err(store.damaged("index.json", "it lists no image")),
            _ => return Err(store.damaged("index.json", format!("it lists {} images, not one", images.len()))),
        };
        let manifest: Manifest = document(&store, &descriptor)?;
        let config: Config = document(&store, &manifest.config)?;
        let docker = match store.size("manifest.json") {
            None => None,
            Some(_) => {
                let mut images: Vec<DockerImage> = parse(&store, "manifest.json", &store.read("manifest.json")?)?;
                if images.len() != 1 {
                    return Err(store.damaged("manifest.json", format!("it lists {} images, not one", images.len())));
                }
                images.pop()
            }
        };
        let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != ids {
            let what = format!("it lists {layers} layers, but the configuration {ids}");
            return Err(store.damaged(&descriptor.digest.blob(), what));
        }
        Ok(Image { store, index, descriptor, manifest, config, docker })
    }

    /// Name and tag, as far as they are known.
    pub fn name(&self) -> String {
        let docker = || self.docker.as_ref()?.repo_tags.as_ref()?.first().cloned();
        let annotation = |key: &str| self.descriptor.annotations.get(key).cloned();
        docker().or_else(|| annotation(CONTAINERD_NAME)).or_else(|| annotation(REF_NAME)).unwrap_or_default()
    }

    /// The layers with the digests of their tar streams, the lowest first.
    pub fn layers(&self) -> impl Iterator<Item = (&Descriptor, Digest)> {
        self.manifest.layers.iter().zip(self.config.rootfs.diff_ids.iter().copied())
    }

    /// What the history says of each layer.
    pub fn comments(&self) -> Vec<Option<&str>> {
        let steps = self.config.history.iter().filter(|step| !step.empty_layer);
        let comments = steps.map(|step| step.comment.as_deref()).chain(std::iter::repeat(None));
        comments.take(self.manifest.layers.len()).collect()
    }
}

/// Whether an index's entry is an image and not an artefact about one.
fn is_image(entry: &Descriptor) -> bool {
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    (entry.media_type == MANIFEST || entry.media_type == docker) && entry.artifact_type.is_none()
}

/// A JSON document of the image, its digest and size checked.
pub fn document<T: DeserializeOwned>(store: &Store, descriptor: &Descriptor) -> Result<T, Error> {
    let name = descriptor.digest.blob();
    let bytes = store.read_blob(descriptor.digest)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(store.damaged(&name, format!("it has {} bytes, not {}", bytes.len(), descriptor.size)));
    }
    parse(store, &name, &bytes)
}

fn parse<T: DeserializeOwned>(store: &Store, name: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| store.damaged(name, error.to_string()))
}

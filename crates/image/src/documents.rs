//! The JSON documents of an image as they are read: what is needed of them, every digest checked for its form.
//! <https://github.com/opencontainers/image-spec>

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::Digest;

/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Annotation of a descriptor: the tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of an index that this program wrote: what no digest covers is then held against what it would write.
pub const BUILD: &str = "org.flowkit.image-build";
/// What the history calls this program.
pub const BUILDER: &str = "flowkit image build";
/// Annotation of a descriptor: the whole reference, for containerd.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Where some bytes are, and how many.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What they are.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// How many, bytes.
    pub size: u64,
    /// Of an artefact: what kind.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Of an image: what it runs on.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// What else is said of them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What an image runs on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Platform {
    /// Processor.
    pub architecture: String,
    /// Operating system.
    pub os: String,
}

/// `index.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own.
    #[serde(default)]
    pub media_type: Option<String>,
    /// What is in the layout.
    pub manifests: Vec<Descriptor>,
    /// What else is said.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Repeats the descriptor's.
    #[serde(default)]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// An image's configuration.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Processor.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// How a container runs.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// The layers' digests.
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(default)]
    pub history: Vec<History>,
}

/// The layers of a configuration.
#[derive(Clone, Debug, Deserialize)]
pub struct RootFs {
    /// Digests of the tar streams.
    pub diff_ids: Vec<Digest>,
}

/// One step of the history.
#[derive(Clone, Debug, Deserialize)]
pub struct History {
    /// What made the layer.
    #[serde(default)]
    pub created_by: Option<String>,
    /// Says what is in the layer and why.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

/// Docker's `manifest.json`: one of these for each image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// Name of the configuration's file.
    pub config: String,
    /// Name and tag.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// Names of the layers' files.
    pub layers: Vec<String>,
}

/// A reference as containerd wants it, with the host that Docker leaves out.
pub fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

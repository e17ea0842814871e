//! From a description to an image.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::digest::Digest;
use super::documents::{BUILD, BUILDER, CONFIG, CONTAINERD_NAME, INDEX, MANIFEST, REF_NAME, full_name};
use super::error::Error;
use super::graph::Graph;
use super::layering::{self, Group, Why};
use super::output::{Format, Output};
use super::pipeline::{self, Blob};
use super::sbom;
use super::spec::{Spec, SpecEntry};
use super::stream::Stream;

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Digest of the manifest: what a registry calls the image.
    pub manifest: Digest,
    /// Digest of the configuration: what Docker calls the image.
    pub config: Digest,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// How to build.
pub struct Options<'a> {
    /// Archive or directory.
    pub format: Format,
    /// Threads.
    pub threads: usize,
    /// Where the file system of the store paths is: `/`, except for a store kept elsewhere.
    pub root: &'a Path,
}

/// A layer before it is made.
struct Plan {
    stream: Stream,
    /// What is in it, for the image's history.
    comment: String,
}

/// Builds an image at `out`.
pub fn build(spec: &Spec, out: &Path, options: &Options) -> Result<Built, Error> {
    let plans = plans(spec, options)?;
    let output = Output::create(out, options.format)?;
    let built = write(spec, plans, output, options.threads);
    if built.is_err() {
        // Half an image is none. What went wrong is more interesting than that this fails too.
        let _ = match options.format {
            Format::Archive => std::fs::remove_file(out),
            Format::Layout => std::fs::remove_dir_all(out),
        };
    }
    built
}

fn write(spec: &Spec, plans: Vec<Plan>, mut output: Output, threads: usize) -> Result<Built, Error> {
    let sizes: Vec<u64> = plans.iter().map(|plan| plan.stream.size()).collect();
    let sinks = output.sinks(&sizes, spec.codec)?;
    let (streams, comments): (Vec<_>, Vec<_>) = plans.into_iter().map(|plan| (plan.stream, plan.comment)).unzip();
    let work: Vec<_> = streams.into_iter().zip(sinks).collect();
    let layers = pipeline::run(&work, spec.codec, threads)?;
    output.settle(&layers)?;
    describe(spec, output, layers, &comments)
}

fn plans(spec: &Spec, options: &Options) -> Result<Vec<Plan>, Error> {
    let limit = spec.max_layers - 1;
    let mut plans = Vec::new();
    for group in layering::plan(&spec.graph, &spec.top, limit) {
        let paths: Vec<&str> = group.paths.iter().map(|&path| spec.graph.paths()[path].path.as_str()).collect();
        let stream = Stream::of_paths(options.root, &paths)?;
        plans.push(Plan { stream, comment: comment(&spec.graph, &group) });
    }
    let entries: Vec<SpecEntry> = spec.entries.iter().cloned().chain([sbom::entry(spec)]).collect();
    let stream = Stream::of_entries(&entries);
    plans.push(Plan { stream, comment: "files outside the store".to_owned() });
    Ok(plans)
}

/// One line on what a layer holds and why.
fn comment(graph: &Graph, group: &Group) -> String {
    let names = |paths: &[usize]| {
        let shown: Vec<&str> = paths.iter().take(5).map(|&path| graph.paths()[path].label()).collect();
        let more = paths.len() - shown.len();
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    let inside = names(&group.paths);
    match &group.why {
        Why::Large => format!("{inside}: large"),
        Why::NeededBy(users) => format!("{inside}: needed by {}", names(users)),
        Why::Small => format!("{inside}: small, needed by nothing large"),
        Why::Together => format!("{inside}: small"),
        Why::Top => format!("{inside}: changes often"),
    }
}

/// Writes everything but the layers: configuration, manifest, index, and Docker's manifest.
fn describe(spec: &Spec, mut output: Output, layers: Vec<Blob>, comments: &[String]) -> Result<Built, Error> {
    let config = canonical(&config(spec, &layers, comments));
    let config_digest = output.add_blob(&config)?;
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|layer| json!({ "mediaType": spec.codec.media_type(), "digest": layer.digest, "size": layer.size }))
        .collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config_digest, "size": config.len() },
        "layers": descriptors,
    });
    if !spec.annotations.is_empty() {
        manifest["annotations"] = json!(spec.annotations);
    }
    let manifest = canonical(&manifest);
    let manifest_digest = output.add_blob(&manifest)?;
    let name = format!("{}:{}", spec.name, spec.tag);
    let platform = (spec.architecture.as_str(), spec.os.as_str());
    output.add("index.json", &index(&name, (manifest_digest, manifest.len() as u64), platform))?;
    let blobs: Vec<String> = layers.iter().map(|layer| layer.digest.blob()).collect();
    output.add("manifest.json", &docker(&name, config_digest, &blobs))?;
    output.add("oci-layout", LAYOUT)?;
    output.finish()?;
    Ok(Built { manifest: manifest_digest, config: config_digest, layers })
}

/// `oci-layout`.
pub(super) const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// `index.json` of an image with this name and tag. One image and nothing else, so that nobody asks which is meant.
pub(super) fn index(name: &str, (digest, size): (Digest, u64), (architecture, os): (&str, &str)) -> Vec<u8> {
    let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
    canonical(&json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": digest,
            "size": size,
            "platform": { "architecture": architecture, "os": os },
            "annotations": { REF_NAME: tag, CONTAINERD_NAME: full_name(name) },
        }],
        "annotations": { BUILD: "1" },
    }))
}

/// Docker's `manifest.json`.
pub(super) fn docker(name: &str, config: Digest, layers: &[String]) -> Vec<u8> {
    canonical(&json!([{ "Config": config.blob(), "RepoTags": [name], "Layers": layers }]))
}

fn config(spec: &Spec, layers: &[Blob], comments: &[String]) -> Value {
    let mut config = spec.config.clone();
    if !spec.annotations.is_empty() {
        // Docker shows labels and no annotations. What the description says itself stays.
        let labels = config.entry("Labels").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(labels) = labels {
            for (key, value) in &spec.annotations {
                labels.entry(key).or_insert_with(|| value.as_str().into());
            }
        }
    }
    let history: Vec<Value> = comments
        .iter()
        .map(|comment| json!({ "created": spec.created, "created_by": BUILDER, "comment": comment }))
        .collect();
    json!({
        "architecture": spec.architecture,
        "os": spec.os,
        "created": spec.created,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>() },
        "history": history,
    })
}

/// JSON with sorted keys and no spaces: the same bytes for the same value.
pub(super) fn canonical(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

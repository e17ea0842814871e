//! From a description to an image.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::digest::Digest;
use super::documents::{CONFIG, CONTAINERD_NAME, INDEX, MANIFEST, REF_NAME, full_name};
use super::error::Error;
use super::graph::Graph;
use super::layering::{self, Group, Why};
use super::output::{Format, Output};
use super::pipeline::{self, Blob};
use super::sbom;
use super::spec::Spec;
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
    let limit = spec.max_layers - usize::from(!spec.entries.is_empty());
    let mut plans = Vec::new();
    for group in layering::plan(&spec.graph, &spec.top, limit) {
        let paths: Vec<&str> = group.paths.iter().map(|&path| spec.graph.paths()[path].path.as_str()).collect();
        let stream = Stream::of_paths(options.root, &paths)?;
        plans.push(Plan { stream, comment: comment(&spec.graph, &group) });
    }
    if !spec.entries.is_empty() {
        let stream = Stream::of_entries(&spec.entries);
        plans.push(Plan { stream, comment: "files outside the store".to_owned() });
    }
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
    let mut entry = json!({ "mediaType": MANIFEST, "digest": manifest_digest, "size": manifest.len() });
    let (about, about_size) = add_sbom(spec, &mut output, &entry)?;
    entry["platform"] = json!({ "architecture": spec.architecture, "os": spec.os });
    entry["annotations"] = json!({
        REF_NAME: spec.tag,
        CONTAINERD_NAME: full_name(&format!("{}:{}", spec.name, spec.tag)),
        sbom::SBOM: about,
    });
    let mut entries = vec![entry];
    if matches!(output, Output::Layout(_)) {
        entries.push(json!({
            "mediaType": MANIFEST, "artifactType": sbom::SPDX, "digest": about, "size": about_size,
        }));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    output.add("index.json", &canonical(&index))?;
    let docker = json!([{
        "Config": config_digest.blob(),
        "RepoTags": [format!("{}:{}", spec.name, spec.tag)],
        "Layers": layers.iter().map(|layer| layer.digest.blob()).collect::<Vec<_>>(),
    }]);
    output.add("manifest.json", &canonical(&docker))?;
    output.add("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
    output.finish()?;
    Ok(Built { manifest: manifest_digest, config: config_digest, layers })
}

/// Adds the bill of materials about the image of `subject`; gives digest and size of its manifest.
fn add_sbom(spec: &Spec, output: &mut Output, subject: &Value) -> Result<(Digest, usize), Error> {
    let document = canonical(&sbom::document_of(spec));
    let digest = output.add_blob(&document)?;
    let empty = output.add_blob(b"{}")?;
    let manifest = canonical(&sbom::manifest_of(&spec.created, (digest, document.len()), empty, subject));
    Ok((output.add_blob(&manifest)?, manifest.len()))
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
        .map(|comment| json!({ "created": spec.created, "created_by": "flowkit image build", "comment": comment }))
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
fn canonical(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

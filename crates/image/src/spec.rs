//! What an image is made from: the JSON that a Nix derivation with structured attributes finds in `NIX_ATTRS_JSON_FILE`.
//!
//! Two keys are read, the others ignored: `graph` (Nix's `exportReferencesGraph`) and `image` (ours). Everything wrong
//! is reported in one go, and then nothing is built.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::codec::Codec;
use super::error::Error;
use super::graph::Graph;
use super::reference::{is_repository, is_tag};
use super::runtime::{config_problems, platform_problems};
use super::sbom;

/// The most layers an image may have: overlayfs takes 128 directories, one of them the container's own.
const MOST_LAYERS: usize = 127;
/// The fewest that a plan needs without `top` paths: the store's, and one for the entries. Each `top` path takes one more
/// for itself and one for what it needs.
const FEWEST_LAYERS: usize = 2;

#[derive(Deserialize)]
struct Raw {
    graph: Vec<RawPath>,
    image: RawImage,
}

/// A store path as Nix describes it. What else Nix says of it (deriver, signatures) is not needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawPath {
    pub path: String,
    pub nar_size: u64,
    #[serde(default)]
    pub nar_hash: Option<String>,
    #[serde(default)]
    pub references: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawImage {
    name: String,
    tag: String,
    architecture: String,
    #[serde(default = "linux")]
    os: String,
    #[serde(default = "epoch")]
    created: String,
    compression: Codec,
    #[serde(default = "sixty")]
    max_layers: usize,
    #[serde(default)]
    top: Vec<String>,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    entries: Vec<RawEntry>,
}

fn linux() -> String {
    "linux".to_owned()
}

fn epoch() -> String {
    "1970-01-01T00:00:01Z".to_owned()
}

fn sixty() -> usize {
    60
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "type")]
enum RawEntry {
    File {
        path: String,
        text: String,
        #[serde(default)]
        mode: Option<String>,
        #[serde(default)]
        uid: u32,
        #[serde(default)]
        gid: u32,
    },
    Directory {
        path: String,
        #[serde(default)]
        mode: Option<String>,
        #[serde(default)]
        uid: u32,
        #[serde(default)]
        gid: u32,
    },
    Symlink {
        path: String,
        target: String,
        #[serde(default)]
        uid: u32,
        #[serde(default)]
        gid: u32,
    },
}

/// A checked description of an image.
#[derive(Debug)]
pub struct Spec {
    /// The store paths.
    pub graph: Graph,
    /// Repository, such as `flowkit/flowdb`.
    pub name: String,
    /// Tag, such as `0.1.0`.
    pub tag: String,
    /// Processor, in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system: `linux`.
    pub os: String,
    /// Date of everything, RFC 3339.
    pub created: String,
    /// How layers are compressed.
    pub codec: Codec,
    /// The most layers to make.
    pub max_layers: usize,
    /// Small volatile roots, as indices of the graph: last, each in a layer of its own.
    pub top: Vec<usize>,
    /// The configuration's `config` object.
    pub config: Map<String, Value>,
    /// Annotations of the manifest; also labels of the image.
    pub annotations: BTreeMap<String, String>,
    /// Files outside the store: the last layer.
    pub entries: Vec<SpecEntry>,
}

/// A file outside the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecEntry {
    /// Without a slash at either end.
    pub path: String,
    /// What it is.
    pub body: SpecBody,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a file outside the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecBody {
    /// A file with this text.
    File(String),
    /// A directory.
    Directory,
    /// A link to this target.
    Symlink(String),
}

impl Spec {
    /// Reads and checks a description.
    pub fn read(file: &Path) -> Result<Spec, Error> {
        let text = std::fs::read(file).map_err(Error::read(file))?;
        Spec::parse(&text, &file.display().to_string())
    }

    /// Checks a description; `file` is what messages call it.
    pub fn parse(json: &[u8], file: &str) -> Result<Spec, Error> {
        let fail = |problems| Error::Spec { file: file.to_owned(), problems };
        let raw: Raw = serde_json::from_slice(json).map_err(|error| fail(vec![error.to_string()]))?;
        let mut problems = Vec::new();
        let spec = raw.check(&mut problems);
        if problems.is_empty() { Ok(spec) } else { Err(fail(problems)) }
    }
}

impl Raw {
    fn check(self, problems: &mut Vec<String>) -> Spec {
        let graph = Graph::new(self.graph, problems);
        let image = self.image;
        if !is_repository(&image.name) {
            let words = "lower-case words between slashes, their parts joined by one `.`, `_`, `__` or `-`";
            problems.push(format!("name: `{}` is not a repository: {words}", image.name));
        }
        if !is_tag(&image.tag) {
            problems.push(format!("tag: `{}` is not a tag: letters, digits, `_`, `.` and `-`, 128 at most", image.tag));
        }
        problems.extend(platform_problems(&image.architecture, &image.os));
        problems.extend(config_problems(&image.config, true));
        if time::OffsetDateTime::parse(&image.created, &time::format_description::well_known::Rfc3339).is_err() {
            problems.push(format!("created: `{}` is not a date such as 1970-01-01T00:00:01Z", image.created));
        }
        let mut top = Vec::new();
        for path in &image.top {
            match graph.index(path) {
                Some(index) if top.contains(&index) => problems.push(format!("top: `{path}` is there twice")),
                Some(index) => top.push(index),
                None => problems.push(format!("top: `{path}` is not in the graph")),
            }
        }
        let fewest = FEWEST_LAYERS + 2 * top.len();
        if !(fewest..=MOST_LAYERS).contains(&image.max_layers) {
            problems.push(format!("max-layers: {} is not between {fewest} and {MOST_LAYERS}", image.max_layers));
        }
        let entries = entries(image.entries, &graph, problems);
        Spec {
            graph,
            name: image.name,
            tag: image.tag,
            architecture: image.architecture,
            os: image.os,
            created: image.created,
            codec: image.compression,
            max_layers: image.max_layers,
            top,
            config: image.config,
            annotations: image.annotations,
            entries,
        }
    }
}

/// Checks the entries and sorts them by path, parents before what is in them.
fn entries(raw: Vec<RawEntry>, graph: &Graph, problems: &mut Vec<String>) -> Vec<SpecEntry> {
    let mut entries: BTreeMap<String, SpecEntry> = BTreeMap::new();
    for entry in raw {
        let (path, body, mode, uid, gid) = match entry {
            RawEntry::File { path, text, mode, uid, gid } => (path, SpecBody::File(text), mode, uid, gid),
            RawEntry::Directory { path, mode, uid, gid } => (path, SpecBody::Directory, mode, uid, gid),
            RawEntry::Symlink { path, target, uid, gid } => (path, SpecBody::Symlink(target), None, uid, gid),
        };
        if let Err(why) = is_plain(&path) {
            problems.push(format!("entries: `{path}` {why}"));
            continue;
        }
        let is_in = |store: &str| path.strip_prefix(store).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some(inside) = graph.paths().iter().find(|store| is_in(&store.path)) {
            problems.push(format!("entries: `{path}` would change the store path {}", inside.path));
        }
        if matches!(&body, SpecBody::Symlink(target) if target.is_empty() || target.contains('\0')) {
            problems.push(format!("entries: `{path}` is a link to nothing"));
        }
        let mode = match (&body, mode) {
            (SpecBody::Symlink(_), _) => 0o777,
            (SpecBody::File(_), None) => 0o644,
            (SpecBody::Directory, None) => 0o755,
            (_, Some(digits)) => self::mode(&path, &digits, problems),
        };
        let path = path.trim_start_matches('/').to_owned();
        let entry = SpecEntry { path: path.clone(), body, mode, uid, gid };
        if entries.insert(path.clone(), entry).is_some() {
            problems.push(format!("entries: `/{path}` is there twice"));
        }
    }
    if entries.contains_key(sbom::PLACE) {
        problems.push(format!("entries: `/{}` is the bill of materials, which is made", sbom::PLACE));
    }
    for path in entries.keys().map(String::as_str).chain([sbom::PLACE]) {
        for (at, _) in path.match_indices('/') {
            if entries.get(&path[..at]).is_some_and(|parent| parent.body != SpecBody::Directory) {
                problems.push(format!("entries: `/{path}` is below `/{}`, which is no directory", &path[..at]));
            }
        }
    }
    entries.into_values().collect()
}

/// Octal digits as permission bits. The sticky bit is for directories such as /tmp; a set-uid bit would undo
/// `no-new-privileges` habits, so there is none.
fn mode(path: &str, digits: &str, problems: &mut Vec<String>) -> u32 {
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o1777 => mode,
        Ok(_) => {
            problems.push(format!("entries: `{path}` has mode {digits}: set-uid and set-gid are not allowed"));
            0
        }
        Err(_) => {
            problems.push(format!("entries: `{path}` has mode `{digits}`: give octal digits such as 0644"));
            0
        }
    }
}

/// Whether a path is absolute and names what it seems to name.
pub(super) fn is_plain(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else { return Err("is not absolute") };
    if path.contains('\0') {
        return Err("contains a NUL byte");
    }
    if rest.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("has an empty part, `.` or `..`");
    }
    Ok(())
}

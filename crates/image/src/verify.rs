//! Does an image hold what it promises?
//!
//! Everything is read to its last byte: digests and sizes of all blobs, the layers' uncompressed digests, each entry's
//! header. What is found wrong is listed; only what cannot be opened at all is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::Serialize;

use super::build;
use super::codec::Codec;
use super::digest::Digest;
use super::documents::{BUILD, BUILDER, CONFIG, CONTAINERD_NAME, Descriptor, INDEX, MANIFEST, REF_NAME};
use super::error::Error;
use super::open::Image;
use super::parallel::each;
use super::reference::is_tagged;
use super::runtime::{config_problems, platform_problems};
use super::tar::Entry;
use super::unpack::{Unpacked, unpack};

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Which file of the image, or which entry of which layer.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was checked and found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name and tag.
    pub name: String,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Who made it.
    pub maker: Maker,
    /// Layers read.
    pub layers: usize,
    /// Entries of all layers.
    pub entries: usize,
    /// Bytes of all layers, uncompressed.
    pub bytes: u64,
    /// What is wrong; nothing in a good image.
    pub problems: Vec<Problem>,
}

/// Checks an archive or a layout directory with `threads` threads.
///
/// Images that another program made, or packed anew, break none of its promises by being unlike ours: they are held against
/// the specification, and against the contents that each layer is said to have.
pub fn verify(path: &Path, threads: usize) -> Result<Report, Error> {
    let image = Image::open(path)?;
    let maker = Maker::of(&image);
    let mut found = Found::default();
    found.documents(&image);
    found.names(&image);
    if maker == Maker::Ours {
        found.envelope(&image);
    }
    let work: Vec<(usize, &Descriptor)> = image.manifest.layers.iter().enumerate().collect();
    let layers = each(&work, threads, |&(index, layer)| {
        let mut look = LayerLook::new(index, maker != Maker::Other);
        let unpacked = unpack(&image.store, layer, false, &mut |entry, _| look.at(entry))?;
        Ok((unpacked, look))
    });
    let mut report = Report {
        name: image.name(),
        manifest: image.descriptor.digest,
        maker,
        layers: layers.len(),
        entries: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    let mut seen = HashMap::new();
    for (index, layer) in layers.into_iter().enumerate() {
        match layer {
            Ok((layer, look)) => {
                report.entries += layer.entries;
                report.bytes += layer.raw;
                found.layer(&image, index, &layer);
                found.problems.extend(look.problems);
                if maker != Maker::Other {
                    found.repeated(index, look.names, &mut seen);
                }
            }
            Err(Error::Damaged { place, what, .. }) => found.add(place, what),
            Err(error) => return Err(error),
        }
    }
    report.problems = found.problems.into_iter().collect();
    Ok(report)
}

/// Who made what is checked: decides which promises it makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// This program, all of it.
    Ours,
    /// This program made the layers; an engine or another program has packed them anew.
    Repacked,
    /// Another program.
    Other,
}

impl Maker {
    /// The layers are ours when the configuration says so, which has a digest. Around them nothing has one, so there each of
    /// two signs is enough: a change of one byte can't hide the other.
    fn of(image: &Image) -> Maker {
        let mut steps = image.config.history.iter().peekable();
        if steps.peek().is_none() || !steps.all(|step| step.created_by.as_deref() == Some(BUILDER)) {
            return Maker::Other;
        }
        let marked = image.index.annotations.contains_key(BUILD);
        let headers = image.store.is_archive() && image.store.odd().is_empty();
        if marked || headers { Maker::Ours } else { Maker::Repacked }
    }
}

/// What is wrong so far.
#[derive(Default)]
struct Found {
    problems: BTreeSet<Problem>,
}

impl Found {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.problems.insert(Problem { place: place.into(), what: what.into() });
    }

    /// What the documents say of each other.
    fn documents(&mut self, image: &Image) {
        let layout = image.store.read("oci-layout").unwrap_or_default();
        let layout: serde_json::Value = serde_json::from_slice(&layout).unwrap_or_default();
        let Image { index, descriptor, manifest, config, .. } = image;
        let platform = descriptor.platform.as_ref();
        let history = config.history.iter().filter(|step| !step.empty_layer).count();
        let other = |said: &Option<String>, is: &str| said.as_ref().is_some_and(|said| said != is);
        let (its_manifest, its_config) = (descriptor.digest.blob(), manifest.config.digest.blob());
        let rules = [
            (
                layout["imageLayoutVersion"] != "1.0.0",
                "oci-layout",
                "it does not say that this is a layout of version 1.0.0",
            ),
            (
                index.schema_version != 2 || other(&index.media_type, INDEX),
                "index.json",
                "it does not say that it is an index",
            ),
            (manifest.schema_version != 2, &its_manifest, "schemaVersion is not 2"),
            (
                other(&manifest.media_type, &descriptor.media_type),
                &its_manifest,
                "the index says that it is something else",
            ),
            (
                descriptor.media_type == MANIFEST && manifest.config.media_type != CONFIG,
                &its_manifest,
                "its configuration is not one of an image",
            ),
            (
                platform.is_some_and(|said| (&said.architecture, &said.os) != (&config.architecture, &config.os)),
                "index.json",
                "the platform is not that of the configuration",
            ),
            (
                history != 0 && history != manifest.layers.len(),
                &its_config,
                "its history is of another number of layers",
            ),
        ];
        for (_, place, what) in rules.iter().filter(|(is, ..)| *is) {
            self.add(*place, *what);
        }
        let platform = platform_problems(&config.architecture, &config.os);
        for what in platform.into_iter().chain(config_problems(&config.config, false)) {
            self.add(&its_config, what);
        }
    }

    /// What Docker's manifest and the index's annotations say, which no digest covers.
    fn names(&mut self, image: &Image) {
        let said = |key: &str| image.descriptor.annotations.get(key).map(String::as_str);
        let (full, tag) = (said(CONTAINERD_NAME), said(REF_NAME));
        if let (Some(full), Some(tag)) = (full, tag)
            && full.rsplit_once(':').is_none_or(|(_, own)| own != tag)
        {
            self.add("index.json", format!("the image's name is `{full}`, but its tag `{tag}`"));
        }
        if let Some(full) = full.filter(|full| !is_tagged(full)) {
            self.add("index.json", format!("`{}` is no name of an image", full.escape_debug()));
        }
        let Some(docker) = &image.docker else { return };
        let layers: Vec<String> = image.manifest.layers.iter().map(|layer| layer.digest.blob()).collect();
        if docker.config != image.manifest.config.digest.blob() || docker.layers != layers {
            self.add("manifest.json", "Docker would load something else than the OCI manifest says");
        }
        for name in docker.repo_tags.iter().flatten().filter(|name| !is_tagged(name)) {
            self.add("manifest.json", format!("`{}` is no name of an image", name.escape_debug()));
        }
    }

    /// What is around the layers, where it has to be as this program writes it: no digest covers it.
    fn envelope(&mut self, image: &Image) {
        let Image { store, descriptor, manifest, config, docker, .. } = image;
        let names = docker.as_ref().and_then(|docker| docker.repo_tags.as_deref()).unwrap_or_default();
        let [name] = names else {
            self.add("manifest.json", format!("it has {} names for the image, not one", names.len()));
            return;
        };
        let blobs: Vec<String> = manifest.layers.iter().map(|layer| layer.digest.blob()).collect();
        let platform = (config.architecture.as_str(), config.os.as_str());
        for (place, expected) in [
            ("index.json", build::index(name, (descriptor.digest, descriptor.size), platform)),
            ("manifest.json", build::docker(name, manifest.config.digest, &blobs)),
            ("oci-layout", build::LAYOUT.to_vec()),
        ] {
            if store.read(place).ok() != Some(expected) {
                self.add(place, format!("it is not as this program writes it for {name}"));
            }
        }
        for name in store.odd() {
            self.add(name, "its header in the archive is not as this program writes it");
        }
        let documents = ["index.json", "oci-layout", "manifest.json"].map(str::to_owned);
        let more = [descriptor.digest.blob(), manifest.config.digest.blob()];
        let known: BTreeSet<String> = documents.into_iter().chain(more).chain(blobs).collect();
        let unknown = store.files().map(|(name, _)| name.to_owned()).filter(|name| !known.contains(name));
        unknown.for_each(|name| self.add(name, "nothing refers to it"));
    }

    fn same(&mut self, name: &str, said: (Digest, u64), is: (Digest, u64)) {
        if said.1 != is.1 {
            self.add(name, format!("it has {} bytes, not {}", is.1, said.1));
        }
        if said.0 != is.0 {
            self.add(name, format!("its bytes have another digest, {}", is.0));
        }
    }

    /// What is said of a layer's blob.
    fn layer(&mut self, image: &Image, index: usize, layer: &Unpacked) {
        let said = &image.manifest.layers[index];
        let name = said.digest.blob();
        self.same(&name, (said.digest, said.size), (layer.digest, layer.packed));
        if Codec::of_media_type(&said.media_type) != Some(layer.codec) {
            self.add(&name, format!("`{}` is said of it, and it is {}", said.media_type, layer.codec.words()));
        }
        match &layer.stopped {
            Some(why) => self.add(&name, why),
            None if layer.diff_id != image.config.rootfs.diff_ids[index] => {
                self.add(&name, format!("the configuration promises other contents: they are {}", layer.diff_id));
            }
            None => {}
        }
    }

    /// What a lower layer has already. Directories are headers only and may be said again, but not differently.
    fn repeated(&mut self, index: usize, names: Names, seen: &mut HashMap<Box<[u8]>, (usize, Option<u64>)>) {
        for (name, Kind { flag, mode }) in names {
            let mode = (flag == b'5').then_some(mode);
            match seen.get(&name) {
                Some((_, other)) if mode.is_some() && *other == mode => {}
                Some((lower, _)) => {
                    let shown = shown(&name, flag);
                    self.add(place(index, &shown), format!("layer {} has it already", lower + 1));
                }
                None => _ = seen.insert(name, (index, mode)),
            }
        }
    }
}

/// What an entry of a layer is, by its name.
type Names = BTreeMap<Box<[u8]>, Kind>;

#[derive(Clone, Copy)]
struct Kind {
    flag: u8,
    mode: u64,
}

/// A look at a layer's entries, one after the other.
struct LayerLook {
    index: usize,
    /// Whether the entries have to be as this program writes them.
    ours: bool,
    names: Names,
    last: Box<[u8]>,
    problems: Vec<Problem>,
}

impl LayerLook {
    fn new(index: usize, ours: bool) -> LayerLook {
        LayerLook { index, ours, names: Names::new(), last: Box::default(), problems: Vec::new() }
    }

    /// Looks at the next entry; gives how many bytes are kept of it.
    fn at(&mut self, entry: Entry) -> usize {
        let name: Box<[u8]> = entry.path().into();
        let mut wrong: Vec<&str> = entry_problems(&entry, self.ours);
        let kind = Kind { flag: entry.flag, mode: entry.mode };
        let twice = self.names.insert(name.clone(), kind).is_some();
        if twice {
            wrong.push("it is there twice");
        } else if self.ours && !self.last.is_empty() && !in_order(&self.last, &name) {
            wrong.push("it is out of order: entries are sorted, by their parts, as bytes");
        }
        // Unpacked, it would land where the link points.
        if parents(&name).any(|parent| self.names.get(parent).is_some_and(|kind| kind.flag != b'5')) {
            wrong.push("it is below something that is no directory");
        }
        let kept = if twice { 0 } else { name.len() + 2 * size_of::<(Box<[u8]>, Kind)>() };
        self.last = name;
        if wrong.is_empty() {
            return kept;
        }
        let place = place(self.index, &String::from_utf8_lossy(&entry.name));
        let told = wrong.len() * (place.len() + size_of::<Problem>() + 64);
        self.problems.extend(wrong.iter().map(|what| Problem { place: place.clone(), what: (*what).to_owned() }));
        kept + told
    }
}

fn place(layer: usize, name: &str) -> String {
    format!("layer {}, {}", layer + 1, name.escape_debug())
}

/// A name as its entry has it: a directory's with a slash.
fn shown(name: &[u8], flag: u8) -> String {
    format!("{}{}", String::from_utf8_lossy(name), if flag == b'5' { "/" } else { "" })
}

/// What is wrong with an entry whatever stands around it: with any, and with one of ours.
fn entry_problems(entry: &Entry, ours: bool) -> Vec<&'static str> {
    let name = entry.path();
    let parts = || name.split(|&byte| byte == b'/');
    let whiteout = parts().next_back().is_some_and(|last| last.starts_with(b".wh."));
    let any = [
        (name.starts_with(b"/"), "its path is absolute"),
        (parts().any(|part| part == b".."), "its path leads out of the image"),
    ];
    let of_ours = [
        (parts().any(|part| part.is_empty() || part == b"."), "its path has an empty part"),
        (whiteout, "it removes what a lower layer has"),
        (entry.mode & 0o6000 != 0, "it is set-uid or set-gid"),
        (entry.mode > 0o7777, "its mode has bits that no file has"),
        (!matches!(entry.flag, b'0' | b'2' | b'5'), "it is neither a file, a directory nor a symbolic link"),
        (entry.mtime != 1, "its time is not 1 second after 1970"),
        (!entry.owners.0.is_empty() || !entry.owners.1.is_empty(), "its owner is given by name"),
        (entry.other.is_some(), "it has extended attributes"),
    ];
    let rules = any.iter().chain(of_ours.iter().filter(|_| ours));
    rules.filter(|(is, _)| *is).map(|(_, what)| *what).collect()
}

/// Whether `a` comes before `b`: part by part, as bytes, a directory before what is in it.
fn in_order(a: &[u8], b: &[u8]) -> bool {
    let parts = |path| <[u8]>::split(path, |&byte| byte == b'/');
    parts(a).lt(parts(b))
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

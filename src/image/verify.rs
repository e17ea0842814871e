//! Does an image hold what it promises?
//!
//! Everything is read to its last byte: digests and sizes of all blobs, the layers' uncompressed digests, each entry's
//! header. What is found wrong is listed; only what cannot be opened at all is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::Serialize;

use super::digest::{Digest, Hasher};
use super::documents::{CONFIG, CONTAINERD_NAME, Descriptor, EMPTY, INDEX, MANIFEST, Manifest, REF_NAME, full_name};
use super::error::Error;
use super::open::{Image, document};
use super::parallel::each;
use super::store::Store;
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
pub fn verify(path: &Path, threads: usize) -> Result<Report, Error> {
    let image = Image::open(path)?;
    let mut found = Found::default();
    found.documents(&image);
    found.artefacts(&image)?;
    let layers = each(&image.manifest.layers, threads, |layer| unpack(&image.store, layer, false));
    let mut report = Report {
        name: image.name(),
        manifest: image.descriptor.digest,
        layers: layers.len(),
        entries: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    let mut seen = HashMap::new();
    for (index, layer) in layers.into_iter().enumerate() {
        match layer {
            Ok(layer) => {
                report.entries += layer.entries.len();
                report.bytes += layer.raw;
                found.layer(&image, index, &layer);
                found.repeated(index, &layer, &mut seen);
            }
            Err(Error::Damaged { place, what, .. }) => found.add(place, what),
            Err(error) => return Err(error),
        }
    }
    found.unknown(&image.store);
    report.problems = found.problems.into_iter().collect();
    Ok(report)
}

/// What is wrong so far, and which files something refers to.
#[derive(Default)]
struct Found {
    problems: BTreeSet<Problem>,
    known: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.problems.insert(Problem { place: place.into(), what: what.into() });
    }

    /// What the documents say of each other.
    fn documents(&mut self, image: &Image) {
        self.known.extend(["index.json", "oci-layout", "manifest.json"].map(str::to_owned));
        self.known.extend([image.descriptor.digest.blob(), image.manifest.config.digest.blob()]);
        let layout = image.store.read("oci-layout").unwrap_or_default();
        let layout: serde_json::Value = serde_json::from_slice(&layout).unwrap_or_default();
        let Image { index, descriptor, manifest, config, .. } = image;
        let platform = descriptor.platform.as_ref();
        let history = config.history.iter().filter(|step| !step.empty_layer).count();
        let other = |said: &Option<String>, is: &str| said.as_ref().is_some_and(|said| said != is);
        // Others leave out what may be left out; with Docker's manifest beside it, an index is one of ours and says all.
        let ours = image.docker.is_some();
        let (its_manifest, its_config) = (descriptor.digest.blob(), manifest.config.digest.blob());
        let rules = [
            (
                layout["imageLayoutVersion"] != "1.0.0",
                "oci-layout",
                "it does not say that this is a layout of version 1.0.0",
            ),
            (
                index.schema_version != 2 || ours && index.media_type.is_none() || other(&index.media_type, INDEX),
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
                platform.map_or(ours, |said| (&said.architecture, &said.os) != (&config.architecture, &config.os)),
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
        self.names(image);
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
        let Some(docker) = &image.docker else { return };
        let layers: Vec<String> = image.manifest.layers.iter().map(|layer| layer.digest.blob()).collect();
        if docker.config != image.manifest.config.digest.blob() || docker.layers != layers {
            self.add("manifest.json", "Docker would load something else than the OCI manifest says");
        }
        let names = docker.repo_tags.as_deref().unwrap_or_default();
        let named = |name: &String| full == Some(&*full_name(name)) && tag.is_some();
        if names.is_empty() || !names.iter().all(named) {
            self.add("manifest.json", "Docker would give it another name than the index says");
        }
    }

    /// What is said about the image: bills of materials and the like.
    fn artefacts(&mut self, image: &Image) -> Result<(), Error> {
        for entry in image.artefacts() {
            self.known.insert(entry.digest.blob());
            let artefact: Manifest = match document(&image.store, &entry) {
                Ok(artefact) => artefact,
                Err(Error::Damaged { place, what, .. }) => {
                    self.add(place, what);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if artefact.artifact_type != entry.artifact_type {
                self.add("index.json", format!("{} is another kind of artefact", entry.digest));
            }
            if artefact.subject.as_ref().is_none_or(|subject| subject.digest != image.descriptor.digest) {
                self.add(entry.digest.blob(), "it is not about the image beside it");
            }
            let config = Some(&artefact.config).filter(|config| config.media_type == EMPTY);
            for blob in artefact.layers.iter().chain(config) {
                self.known.insert(blob.digest.blob());
                self.blob(&image.store, blob)?;
            }
        }
        Ok(())
    }

    /// Digest and size of a blob.
    fn blob(&mut self, store: &Store, blob: &Descriptor) -> Result<(), Error> {
        let name = blob.digest.blob();
        let mut part = match store.part(&name) {
            Ok(part) => part,
            Err(Error::Damaged { place, what, .. }) => {
                self.add(place, what);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (size, mut hasher, mut buffer) = (part.len(), Hasher::default(), vec![0; 256 << 10]);
        loop {
            match std::io::Read::read(&mut part, &mut buffer).map_err(Error::read(store.path()))? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        self.same(&name, (blob.digest, blob.size), (hasher.finish(), size));
        Ok(())
    }

    fn same(&mut self, name: &str, said: (Digest, u64), is: (Digest, u64)) {
        if said.1 != is.1 {
            self.add(name, format!("it has {} bytes, not {}", is.1, said.1));
        }
        if said.0 != is.0 {
            self.add(name, format!("its bytes have another digest, {}", is.0));
        }
    }

    fn layer(&mut self, image: &Image, index: usize, layer: &Unpacked) {
        let said = &image.manifest.layers[index];
        let name = said.digest.blob();
        self.known.insert(name.clone());
        self.same(&name, (said.digest, said.size), (layer.digest, layer.packed));
        match &layer.stopped {
            Some(why) => self.add(&name, why),
            None if layer.diff_id != image.config.rootfs.diff_ids[index] => {
                self.add(&name, format!("the configuration promises other contents: they are {}", layer.diff_id));
            }
            None => {}
        }
        let mut last: Option<&Entry> = None;
        let mut kinds: BTreeMap<&[u8], u8> = BTreeMap::new();
        for entry in &layer.entries {
            let mut wrong = |what: &str| self.add(place(index, entry), what);
            entry_problems(entry).into_iter().for_each(&mut wrong);
            if kinds.insert(entry.path(), entry.flag).is_some() {
                wrong("it is there twice");
            } else if last.is_some_and(|last| !in_order(last.path(), entry.path())) {
                wrong("it is out of order: entries are sorted, by their parts, as bytes");
            }
            // Unpacked, it would land where the link points.
            if parents(entry.path()).any(|parent| kinds.get(parent).is_some_and(|&flag| flag != b'5')) {
                wrong("it is below something that is no directory");
            }
            last = Some(entry);
        }
    }

    /// What a lower layer has already. Directories are headers only and may be said again, but not differently.
    fn repeated(&mut self, index: usize, layer: &Unpacked, seen: &mut HashMap<Vec<u8>, (usize, Option<u64>)>) {
        for entry in &layer.entries {
            let mode = entry.is_directory().then_some(entry.mode);
            match seen.get(entry.path()) {
                Some((_, other)) if mode.is_some() && *other == mode => {}
                Some((lower, _)) if *lower != index => {
                    self.add(place(index, entry), format!("layer {} has it already", lower + 1));
                }
                Some(_) => {}
                None => {
                    seen.insert(entry.path().to_vec(), (index, mode));
                }
            }
        }
    }

    fn unknown(&mut self, store: &Store) {
        for name in store.odd() {
            self.add(name, "its header in the archive is not as this program writes it");
        }
        let extra: Vec<String> =
            store.files().map(|(name, _)| name.to_owned()).filter(|name| !self.known.contains(name)).collect();
        extra.into_iter().for_each(|name| self.add(name, "nothing refers to it"));
    }
}

fn place(layer: usize, entry: &Entry) -> String {
    format!("layer {}, {}", layer + 1, String::from_utf8_lossy(&entry.name).escape_debug())
}

/// What is wrong with an entry whatever stands around it.
fn entry_problems(entry: &Entry) -> Vec<&'static str> {
    let name = entry.path();
    let parts = || name.split(|&byte| byte == b'/');
    let whiteout = parts().next_back().is_some_and(|last| last.starts_with(b".wh."));
    let rules = [
        (name.starts_with(b"/"), "its path is absolute"),
        (parts().any(|part| part == b".."), "its path leads out of the image"),
        (parts().any(|part| part.is_empty() || part == b"."), "its path has an empty part"),
        (whiteout, "it removes what a lower layer has"),
        (entry.mode & 0o6000 != 0, "it is set-uid or set-gid"),
        (entry.mode > 0o7777, "its mode has bits that no file has"),
        (!matches!(entry.flag, b'0' | b'2' | b'5'), "it is neither a file, a directory nor a symbolic link"),
        (entry.mtime != 1, "its time is not 1 second after 1970"),
        (!entry.owners.0.is_empty() || !entry.owners.1.is_empty(), "its owner is given by name"),
        (!entry.other.is_empty(), "it has extended attributes"),
    ];
    rules.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect()
}

/// Whether `a` comes before `b`: part by part, as bytes, a directory before what is in it.
fn in_order(a: &[u8], b: &[u8]) -> bool {
    let parts = |path| <[u8]>::split(path, |&byte| byte == b'/');
    parts(a).lt(parts(b))
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

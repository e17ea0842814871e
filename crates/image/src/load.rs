//! Giving an image to a container engine, and only the layers that it lacks.
//!
//! Docker's classic store knows a layer by its chain ID: the digest of its contents and of those below it. When it loads
//! an archive it opens the file of a layer only if it has none of that chain ID, so an archive without the lowest layers is
//! enough for an engine that has an image which begins with the same ones. Which those are its images' `RootFS` tells. An
//! engine with containerd's store unpacks from blobs and wants all of them; so does whoever refuses the thin archive.
//!
//! Docker before 23.0 reads no zstd; layers of that kind are decompressed on the way.
//!
//! Whenever nothing is left out or decompressed, the engine gets the image as it is: Docker's own form has no manifest, so
//! that an engine which keeps manifests would have to make one, with another digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::codec::Codec;
use super::digest::Digest;
use super::documents::Descriptor;
use super::error::Error;
use super::open::Image;
use super::tar::{BLOCK, Header, Kind, padded};
use super::unpack::{codec, tar_stream, unpack};

/// A container engine's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Docker, also where it is podman's stand-in.
    Docker,
    /// podman: always the whole archive.
    Podman,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Layers that the engine had.
    pub skipped: usize,
    /// Layers that were sent.
    pub sent: usize,
    /// Bytes that were sent, all in all.
    pub bytes: u64,
    /// What the engine said.
    pub said: String,
    /// Why everything was sent although the engine seemed to have something.
    pub refused: Option<String>,
}

/// The part of `docker info` that decides.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    server_version: String,
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
}

impl Engine {
    fn program(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
        }
    }

    fn ask(self, arguments: &[&str]) -> Result<String, Error> {
        let output = Command::new(self.program()).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|source| Error::NoEngine { program: self.program().to_owned(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Engine { command: format!("{} {}", self.program(), arguments.join(" ")), said })
    }

    /// Layers of each of the engine's images, the lowest first.
    fn images(self) -> Result<Vec<Vec<Digest>>, Error> {
        let ids = self.ask(&["image", "ls", "--all", "--quiet", "--no-trunc"])?;
        let mut ids: Vec<&str> = ids.split_whitespace().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut images = Vec::new();
        for ids in ids.chunks(100) {
            let told = self.ask(&[&["image", "inspect", "--format", "{{json .RootFS.Layers}}"], ids].concat())?;
            // An image without layers tells `null`.
            images.extend(told.lines().filter_map(|line| serde_json::from_str::<Vec<Digest>>(line).ok()));
        }
        Ok(images)
    }
}

/// What an engine has of an image, and what it can read.
struct Taker {
    engine: Engine,
    /// How many of the image's lowest layers it has.
    has: usize,
    /// Whether it reads zstd.
    zstd: bool,
    /// Whether it reads an archive without Docker's `manifest.json`.
    oci: bool,
}

/// Loads an image into an engine.
pub fn load(image: &Image, engine: Engine) -> Result<Loaded, Error> {
    let taker = match engine {
        Engine::Docker => docker(image)?,
        Engine::Podman => Taker { engine, has: 0, zstd: true, oci: true },
    };
    match send(image, &taker) {
        // Whatever it was, everything may help; a second failure is the one to report.
        Err(Error::Engine { said, .. }) if taker.has > 0 => {
            send(image, &Taker { has: 0, ..taker }).map(|loaded| Loaded { refused: Some(said), ..loaded })
        }
        other => other,
    }
}

fn docker(image: &Image) -> Result<Taker, Error> {
    let info: Info = serde_json::from_str(&Engine::Docker.ask(&["info", "--format", "{{json .}}"])?)
        .unwrap_or(Info { server_version: String::new(), driver_status: None });
    if info.server_version.is_empty() {
        let said = "it answers without a version: is it running?".to_owned();
        return Err(Error::Engine { command: "docker info".to_owned(), said });
    }
    let major = info.server_version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let zstd = major.is_some_and(|major| major >= 23);
    let facts = info.driver_status.into_iter().flatten().flatten();
    let engine = Engine::Docker;
    if facts.into_iter().any(|fact| fact.contains("containerd")) {
        return Ok(Taker { engine, has: 0, zstd, oci: true });
    }
    let wanted = &image.config.rootfs.diff_ids;
    let common = |has: Vec<Digest>| has.iter().zip(wanted).take_while(|(has, wanted)| has == wanted).count();
    let has = Engine::Docker.images()?.into_iter().map(common).max().unwrap_or(0);
    Ok(Taker { engine, has, zstd, oci: false })
}

/// Streams the image to the engine: as it is, or in Docker's form without the layers that it has.
fn send(image: &Image, taker: &Taker) -> Result<Loaded, Error> {
    let Taker { engine, has: skipped, zstd, oci } = *taker;
    let mut child = Command::new(engine.program())
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::NoEngine { program: engine.program().to_owned(), source })?;
    let mut archive = Outgoing { to: child.stdin.take().expect("it was asked for"), bytes: 0 };
    let readable = zstd || !has_zstd(image)?;
    let written = if skipped == 0 && readable && (oci || image.docker.is_some()) {
        archive.whole(image)
    } else {
        archive.image(image, skipped, zstd)
    };
    let bytes = archive.bytes;
    drop(archive);
    let (success, out, err) = finish(child, engine)?;
    match written {
        // It stopped reading because it refused: its own words say more.
        Err(Error::Write { .. }) if !success => {}
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    if !success {
        return Err(Error::Engine { command: format!("{} load", engine.program()), said: err });
    }
    let sent = image.manifest.layers.len() - skipped;
    Ok(Loaded { skipped, sent, bytes, said: out, refused: None })
}

fn has_zstd(image: &Image) -> Result<bool, Error> {
    for layer in &image.manifest.layers {
        if codec(&image.store, layer)? == Codec::Zstd {
            return Ok(true);
        }
    }
    Ok(false)
}

fn finish(child: Child, engine: Engine) -> Result<(bool, String, String), Error> {
    let output = child.wait_with_output();
    let output = output.map_err(|source| Error::NoEngine { program: engine.program().to_owned(), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

/// An archive on its way to an engine.
struct Outgoing<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Outgoing<W> {
    /// The image as it is: the archive's own bytes, or a layout's files in an archive.
    fn whole(&mut self, image: &Image) -> Result<(), Error> {
        if image.store.is_archive() {
            let path = image.store.path();
            let mut file = File::open(path).map_err(Error::read(path))?;
            return self.copy(&mut file, path);
        }
        for (name, size) in image.store.files() {
            self.file(name, size, &mut image.store.part(name)?)?;
        }
        self.write(&[0; 2 * BLOCK as usize])
    }

    /// Docker's archive: configuration, layers, `manifest.json`.
    fn image(&mut self, image: &Image, skipped: usize, zstd: bool) -> Result<(), Error> {
        let config = image.store.read_blob(image.manifest.config.digest)?;
        let config_name = format!("{}.json", image.manifest.config.digest.hex());
        self.file(&config_name, config.len() as u64, &mut &config[..])?;
        let layers = &image.manifest.layers;
        let name = |layer: &Descriptor| format!("{}.tar", layer.digest.hex());
        for (layer, &diff_id) in layers.iter().zip(&image.config.rootfs.diff_ids).skip(skipped) {
            self.layer(image, layer, diff_id, zstd, &name(layer))?;
        }
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [image.name()],
            "Layers": layers.iter().map(name).collect::<Vec<_>>(),
        }]);
        let manifest = manifest.to_string().into_bytes();
        self.file("manifest.json", manifest.len() as u64, &mut &manifest[..])?;
        self.write(&[0; 2 * BLOCK as usize])
    }

    /// A layer as it is, or decompressed for an engine that reads no zstd.
    fn layer(
        &mut self,
        image: &Image,
        layer: &Descriptor,
        diff_id: Digest,
        zstd: bool,
        name: &str,
    ) -> Result<(), Error> {
        let blob = layer.digest.blob();
        if zstd || codec(&image.store, layer)? != Codec::Zstd {
            let mut part = image.store.part(&blob)?;
            return self.file(name, part.len(), &mut part);
        }
        // A tar's header says the size first, so it takes a reading to know it.
        let found = unpack(&image.store, layer, false, &mut |_, _| 0)?;
        if let Some(why) = found.stopped {
            return Err(image.store.damaged(&blob, why));
        }
        if found.diff_id != diff_id {
            return Err(image.store.damaged(&blob, "its contents are not those that the configuration promises"));
        }
        self.file(name, found.raw, &mut tar_stream(&image.store, layer)?.take(found.raw))
    }

    fn file(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<(), Error> {
        let mut header = Vec::new();
        Header { name: name.as_bytes(), kind: Kind::File, mode: 0o644, uid: 0, gid: 0, size, target: b"" }
            .write(&mut header);
        self.write(&header)?;
        self.copy(from, name.as_ref())?;
        self.write(&vec![0; (padded(size) - size) as usize])
    }

    fn copy(&mut self, from: &mut dyn Read, name: &Path) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match from.read(&mut buffer).map_err(Error::read(name))? {
                0 => return Ok(()),
                read => self.write(&buffer[..read])?,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        let failed = |error: io::Error| Error::Write { path: "the engine's input".into(), source: error };
        self.to.write_all(bytes).map_err(failed)
    }
}

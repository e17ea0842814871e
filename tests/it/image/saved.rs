//! Images as engines save them: verified as what they are, with nothing lost that the image itself holds.
//!
//! The shapes are those of Docker 26.1.5 (both of its stores) and podman 5.4.2, which were loaded with an image of ours and
//! asked to save it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::Digest;
use serde_json::{Value, json};

use super::rig::{Rig, flowkit, small};

const ROOTS: &[&str] = &["program-1", "server-1"];

fn build(rig: &Rig, codec: &str, format: &str) -> PathBuf {
    let mut spec = rig.spec("flowkit/redis", ROOTS);
    spec["image"]["compression"] = json!(codec);
    rig.build(&format!("{codec}-{format}"), &spec, &["--format", format])
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Packs a layout as other programs do: GNU's headers, other times and modes.
fn pack(layout: &Path, archive: &Path) {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--mode=a=r,u+w,a+X", "--mtime=@1764355900"]);
    assert!(tar.arg("-cf").arg(archive).arg("-C").arg(layout).arg(".").status().unwrap().success());
}

/// Index and annotations that both of Docker's stores write.
fn index(layout: &Path, manifest: &[u8]) {
    let digest = Digest::of(manifest);
    fs::write(layout.join(digest.blob()), manifest).unwrap();
    let entry = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
        "annotations": {
            "io.containerd.image.name": "docker.io/flowkit/redis:1", "org.opencontainers.image.ref.name": "1",
        },
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry],
    });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

/// Docker's classic store: layers unpacked, a manifest of its own without annotations, and its old form's files beside it.
fn classic(rig: &Rig) -> PathBuf {
    let layout = build(rig, "none", "layout");
    let old = read(&layout.join("index.json"))["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let place = layout.join("blobs/sha256").join(old);
    let mut manifest = read(&place);
    fs::remove_file(place).unwrap();
    manifest.as_object_mut().unwrap().remove("annotations");
    index(&layout, manifest.to_string().as_bytes());
    let legacy = b"{\"id\":\"13e2\",\"created\":\"1970-01-01T00:00:00Z\",\"os\":\"linux\"}";
    fs::write(layout.join(Digest::of(legacy).blob()), legacy).unwrap();
    fs::write(layout.join("repositories"), r#"{"flowkit/redis":{"1":"893a"}}"#).unwrap();
    let mut docker = read(&layout.join("manifest.json"));
    let sources = manifest["layers"].as_array().unwrap().iter();
    let sources: serde_json::Map<String, Value> =
        sources.map(|layer| (layer["digest"].as_str().unwrap().to_owned(), layer.clone())).collect();
    docker[0]["LayerSources"] = json!(sources);
    fs::write(layout.join("manifest.json"), docker.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    let archive = rig.file("classic.tar");
    pack(&layout, &archive);
    archive
}

/// containerd's store: every blob as it was, one entry for each of the image's names.
fn containerd(rig: &Rig) -> PathBuf {
    let layout = build(rig, "zstd", "layout");
    let digest = read(&layout.join("index.json"))["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let manifest = fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
    index(&layout, &manifest);
    let mut twice = read(&layout.join("index.json"));
    let mut second = twice["manifests"][0].clone();
    second["annotations"]["io.containerd.image.name"] = json!("docker.io/flowkit/redis:2");
    second["annotations"]["org.opencontainers.image.ref.name"] = json!("2");
    twice["manifests"].as_array_mut().unwrap().push(second);
    fs::write(layout.join("index.json"), twice.to_string()).unwrap();
    let archive = rig.file("containerd.tar");
    pack(&layout, &archive);
    archive
}

/// podman's `save --format oci-archive`: no manifest of Docker's.
fn podman(rig: &Rig) -> PathBuf {
    let layout = build(rig, "gzip", "layout");
    fs::remove_file(layout.join("manifest.json")).unwrap();
    let mut index = read(&layout.join("index.json"));
    index.as_object_mut().unwrap().remove("annotations");
    index["manifests"][0].as_object_mut().unwrap().remove("platform");
    index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "docker.io/flowkit/redis:1" });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let archive = rig.file("podman.tar");
    pack(&layout, &archive);
    archive
}

fn run(command: &str, images: &[&Path]) -> (Option<i32>, String) {
    let output = flowkit().arg("image").args(command.split(' ')).args(images).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn what_engines_save_holds_and_has_all_of_it() {
    let rig = small();
    let ours = build(&rig, "gzip", "archive");
    let (_, sbom) = run("inspect --sbom", &[&ours]);
    assert!(sbom.contains("SPDX-2.3"), "{sbom}");
    for (saved, repacked) in [(classic(&rig), true), (containerd(&rig), true), (podman(&rig), false)] {
        let (code, text) = run("verify", &[&saved]);
        assert_eq!(code, Some(0), "{}: {text}", saved.display());
        assert!(text.ends_with("everything holds (layers of this program, packed by another)\n"), "{text}");
        let (code, text) = run("inspect", &[&saved]);
        assert_eq!(code, Some(0), "{}: {text}", saved.display());
        assert!(text.contains("program-1: changes often"), "{text}");
        assert_eq!(run("inspect --sbom", &[&saved]), (Some(0), sbom.clone()), "{}", saved.display());
        // The same contents are the same image, however they are packed.
        let (code, text) = run("diff", &[&ours, &saved]);
        assert_eq!(code, Some(0), "{}: {text}", saved.display());
        assert_eq!(text.lines().next().unwrap().ends_with("of them packed otherwise"), repacked, "{text}");
        assert!(text.ends_with("other layers  0 for 0 (0 B)\n"), "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_saved_image_is_still_found() {
    let rig = small();
    let saved = rig.file("saved");
    for shape in [classic, containerd, podman] {
        let archive = fs::read(shape(&rig)).unwrap();
        let at = archive.windows(7).position(|bytes| bytes == b"program").unwrap();
        let mut damaged = archive.clone();
        damaged[at] ^= 1;
        fs::write(&saved, &damaged).unwrap();
        let (code, text) = run("verify", &[&saved]);
        assert_eq!(code, Some(1), "{text}");
        for layout in ["none-layout", "zstd-layout", "gzip-layout"] {
            let _ = fs::remove_dir_all(rig.file(layout));
        }
    }
}

#[test]
fn a_label_that_says_another_compression_is_named_and_read_all_the_same() {
    let rig = small();
    let layout = build(&rig, "zstd", "layout");
    let digest = read(&layout.join("index.json"))["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let text = fs::read_to_string(layout.join("blobs/sha256").join(digest)).unwrap();
    index(&layout, text.replace("tar+zstd", "tar+gzip").as_bytes());
    let (code, text) = run("inspect", &[&layout]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run("verify", &[&layout]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("`application/vnd.oci.image.layer.v1.tar+gzip` is said of it, and it is zstd"), "{text}");
}

#[test]
fn types_that_engines_refuse_are_named_when_verifying() {
    let rig = small();
    let layout = build(&rig, "gzip", "layout");
    let digest = read(&layout.join("index.json"))["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let mut manifest = read(&layout.join("blobs/sha256").join(digest));
    let config = layout.join("blobs/sha256").join(&manifest["config"]["digest"].as_str().unwrap()[7..]);
    let mut wrong = read(&config);
    wrong["architecture"] = json!("aarch64");
    wrong["config"]["Env"] = json!({ "A": "b" });
    wrong["config"]["User"] = json!(1000);
    wrong["config"]["ExposedPorts"] = json!(["80/tcp"]);
    wrong["config"]["Healthcheck"] = json!("10s");
    let bytes = wrong.to_string().into_bytes();
    fs::write(layout.join(Digest::of(&bytes).blob()), &bytes).unwrap();
    manifest["config"]["digest"] = json!(Digest::of(&bytes));
    manifest["config"]["size"] = json!(bytes.len());
    index(&layout, manifest.to_string().as_bytes());
    let docker = fs::read_to_string(layout.join("manifest.json")).unwrap();
    fs::write(layout.join("manifest.json"), docker.replace("flowkit/redis:1", "a..b:1")).unwrap();
    let (code, text) = run("verify", &[&layout]);
    assert_eq!(code, Some(1), "{text}");
    for what in [
        "architecture: `aarch64` is not Go's word for a processor, which is arm64",
        "config.Env: `{\"A\":\"b\"}` is not a list of NAME=VALUE",
        "config.User: `1000` is not a text",
        "config.ExposedPorts: `[\"80/tcp\"]` is not an object",
        "config.Healthcheck: `\"10s\"` is not an object",
        "manifest.json: `a..b:1` is no name of an image",
    ] {
        assert!(text.contains(what), "{what} in {text}");
    }
}

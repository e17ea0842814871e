//! Images read by other people's programs: GNU tar, skopeo, umoci.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::rig::{Rig, flowkit, small};

const ROOTS: &[&str] = &["program-1", "server-1"];

/// Runs a program that `make setup` installs and gives what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs it"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn build(rig: &Rig, codec: &str) -> PathBuf {
    let mut spec = rig.spec("a/b", ROOTS);
    spec["image"]["compression"] = json!(codec);
    rig.build(codec, &spec, &[])
}

fn manifest_digest(rig: &Rig, archive: &Path) -> String {
    let json = run_flowkit(rig, &["inspect", "--format", "json", archive.to_str().unwrap()]);
    serde_json::from_str::<Value>(&json).unwrap()["manifest"].as_str().unwrap().to_owned()
}

fn run_flowkit(_: &Rig, arguments: &[&str]) -> String {
    let output = flowkit().arg("image").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything below a directory as `path kind mode content`, without times and owners.
fn listing(root: &Path) -> Vec<String> {
    fn walk(at: &Path, root: &Path, out: &mut Vec<String>) {
        let found = fs::symlink_metadata(at).unwrap();
        let name = at.strip_prefix(root).unwrap().display().to_string();
        if found.is_symlink() {
            out.push(format!("{name} -> {}", fs::read_link(at).unwrap().display()));
        } else if found.is_dir() {
            out.push(format!("{name}/ {:o}", found.permissions().mode() & 0o7777));
            let mut inside: Vec<PathBuf> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
            inside.sort();
            inside.iter().for_each(|path| walk(path, root, out));
        } else {
            let sum =
                fs::read(at).unwrap().iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            out.push(format!("{name} {:o} {} {sum:x}", found.permissions().mode() & 0o7777, found.len()));
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    // What the root directory of an unpacked image is like is up to who unpacks it.
    out.split_off(1)
}

/// Unpacks with GNU tar, layer on layer.
fn unpack(rig: &Rig, archive: &Path, codec: &str) -> PathBuf {
    let (layout, root) = (rig.file(&format!("{codec}-layout")), rig.file(&format!("{codec}-root")));
    fs::create_dir(&layout).unwrap();
    fs::create_dir(&root).unwrap();
    run("tar", &["-xf", archive.to_str().unwrap(), "-C", layout.to_str().unwrap()]);
    let docker: Value = serde_json::from_slice(&fs::read(layout.join("manifest.json")).unwrap()).unwrap();
    for layer in docker[0]["Layers"].as_array().unwrap() {
        let blob = layout.join(layer.as_str().unwrap());
        let how = match codec {
            "zstd" => "--zstd",
            "gzip" => "--gzip",
            _ => "--no-same-owner",
        };
        run("tar", &["-x", how, "-p", "-f", blob.to_str().unwrap(), "-C", root.to_str().unwrap()]);
    }
    root
}

#[test]
fn gnu_tar_unpacks_what_was_packed() {
    let rig = small();
    let expected: Vec<String> = {
        // What Nix's store would say: directories 555.
        let mut lines = Vec::new();
        for line in listing(&rig.root()) {
            let is_store = line.starts_with("nix/ ") || line.starts_with("nix/store/ ");
            match line.split_once("/ ") {
                Some((name, _)) if is_store => lines.push(format!("{name}/ 755")),
                Some((name, _)) => lines.push(format!("{name}/ 555")),
                None => lines.push(line),
            }
        }
        lines
    };
    for codec in ["zstd", "gzip", "none"] {
        let found = listing(&unpack(&rig, &build(&rig, codec), codec));
        let store: Vec<&String> = found.iter().filter(|line| line.starts_with("nix")).collect();
        assert_eq!(store, expected.iter().collect::<Vec<_>>(), "{codec}");
        for line in ["data/ 1777", "etc/ 755", "etc/passwd 644 15 "] {
            assert!(found.iter().any(|found| found.starts_with(line)), "{line} in {found:?}");
        }
    }
}

#[test]
fn skopeo_finds_the_digest_without_being_told_a_name() {
    let rig = small();
    for codec in ["zstd", "gzip", "none"] {
        let archive = build(&rig, codec);
        let digest = manifest_digest(&rig, &archive);
        let source = format!("oci-archive:{}", archive.display());
        let seen: Value = serde_json::from_str(&run("skopeo", &["inspect", &source])).unwrap();
        assert_eq!(seen["Digest"], json!(digest), "{codec}");
        let copy = rig.file(&format!("{codec}-copy"));
        let target = format!("oci:{}:x", copy.display());
        run("skopeo", &["--insecure-policy", "copy", "--preserve-digests", &source, &target]);
        let index: Value = serde_json::from_slice(&fs::read(copy.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"][0]["digest"], json!(digest), "{codec}");
    }
    // So it does in a layout, with its tag or without.
    let layout = rig.build("layout", &rig.spec("a/b", ROOTS), &["--format", "layout"]);
    for name in ["", ":1"] {
        run("skopeo", &["inspect", &format!("oci:{}{name}", layout.display())]);
    }
}

#[test]
fn umoci_unpacks_the_same_as_tar() {
    let rig = small();
    let archive = build(&rig, "gzip");
    let expected = listing(&unpack(&rig, &archive, "gzip"));
    let layout = rig.build(
        "layout",
        &{
            let mut spec = rig.spec("a/b", ROOTS);
            spec["image"]["compression"] = json!("gzip");
            spec
        },
        &["--format", "layout"],
    );
    let bundle = rig.file("bundle");
    run("umoci", &["unpack", "--rootless", "--image", &format!("{}:1", layout.display()), bundle.to_str().unwrap()]);
    assert_eq!(listing(&bundle.join("rootfs")), expected);
}

#[test]
fn the_bill_of_materials_names_every_path() {
    let rig = small();
    let archive = build(&rig, "gzip");
    let sbom: Value =
        serde_json::from_str(&run_flowkit(&rig, &["inspect", "--sbom", archive.to_str().unwrap()])).unwrap();
    assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
    let mut named: Vec<(&str, &str)> = sbom["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["name"].as_str().unwrap(), package["versionInfo"].as_str().unwrap()))
        .collect();
    named.sort_unstable();
    assert_eq!(named, [("data", "1"), ("libc", "2"), ("program", "1"), ("server", "1"), ("zlib", "1")]);
    let described =
        |kind: &str| sbom["relationships"].as_array().unwrap().iter().filter(|r| r["relationshipType"] == kind).count();
    assert_eq!((described("DESCRIBES"), described("DEPENDS_ON")), (2, 5));
    // It is in the image, so whoever copies the image has it.
    let copy = rig.file("copy");
    let (from, to) = (format!("oci-archive:{}", archive.display()), format!("oci-archive:{}:x:1", copy.display()));
    run("skopeo", &["--insecure-policy", "copy", "--dest-compress", "--dest-compress-format", "zstd", &from, &to]);
    let copied = run_flowkit(&rig, &["inspect", "--sbom", copy.to_str().unwrap()]);
    assert_eq!(serde_json::from_str::<Value>(&copied).unwrap(), sbom);
    let root = listing(&unpack(&rig, &archive, "gzip"));
    assert!(root.iter().any(|line| line.starts_with("var/lib/db/sbom/image.spdx.json 444 ")), "{root:?}");
}

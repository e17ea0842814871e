//! Building an image beside what others need for the same files: time, processor time, bytes written.
//!
//! `cargo bench --bench image` makes a tree of 2.5 GB in 55,000 files under `$TMPDIR` and takes some minutes; `-- --small`
//! one of a twentieth. A closure of your own: `FLOWKIT_BENCH_SPEC` (a description as `flowkit image build` reads it) and
//! `FLOWKIT_BENCH_ROOT` (below which its paths are found). Candidates are run in turn, `FLOWKIT_BENCH_ROUNDS` times
//! (default 3), with the files in the page cache. What is not installed is left out and named.
//!
//! nixpkgs' streamer is run when `FLOWKIT_BENCH_STREAM_LAYERED` names its `stream_layered_image.py`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

fn main() {
    let small = std::env::args().any(|argument| argument == "--small");
    let rounds: usize = std::env::var("FLOWKIT_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let dir = tempfile::TempDir::new().unwrap();
    let (spec, root) = match std::env::var_os("FLOWKIT_BENCH_SPEC") {
        Some(file) => {
            let spec = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            (spec, PathBuf::from(std::env::var_os("FLOWKIT_BENCH_ROOT").unwrap_or("/".into())))
        }
        None => generate(dir.path(), if small { 20 } else { 1 }),
    };
    let paths: Vec<String> =
        spec["graph"].as_array().unwrap().iter().map(|node| node["path"].as_str().unwrap()[1..].to_owned()).collect();
    fs::write(dir.path().join("paths"), paths.join("\0") + "\0").unwrap();
    for codec in ["none", "gzip", "zstd"] {
        let mut spec = spec.clone();
        spec["image"]["compression"] = json!(codec);
        fs::write(dir.path().join(format!("{codec}.json")), spec.to_string()).unwrap();
    }
    streamer_conf(dir.path(), &root, &paths);

    let candidates = candidates(&root, dir.path());
    let mut runs: BTreeMap<usize, Vec<Run>> = BTreeMap::new();
    // Into the page cache.
    time(&format!("find {} -type f -exec cat {{}} + >/dev/null", root.display()), dir.path());
    for _ in 0..rounds {
        for (index, (name, _, script)) in candidates.iter().enumerate() {
            match time(script, dir.path()) {
                Some(run) => runs.entry(index).or_default().push(run),
                None => say::tell!("not run: {name}"),
            }
        }
    }
    report(&candidates, &mut runs);
}

/// What is timed: name, the candidate that it is compared with, a script in the scratch directory.
fn candidates(root: &Path, dir: &Path) -> Vec<(&'static str, &'static str, String)> {
    let root = root.display();
    let tar = format!(
        "tar --create --directory {root} --format=posix --pax-option=delete=atime,delete=ctime --sort=name --owner=0 \
         --group=0 --numeric-owner --mtime=@1 --hard-dereference --null --files-from {}/paths",
        dir.display()
    );
    let build = |codec: &str| {
        format!("{} image build {codec}.json --root {root} --out image-{codec} 2>&1", env!("CARGO_BIN_EXE_flowkit"))
    };
    let umoci = "umoci init --layout umoci && umoci new --image umoci:x && tr '\\0' '\\n' <paths | while read -r path; do \
                 umoci insert --rootless --image umoci:x ";
    vec![
        ("flowkit, not compressed", "", build("none")),
        ("tar | openssl sha256", "flowkit, not compressed", format!("{tar} | openssl dgst -sha256")),
        ("tar to a file", "flowkit, not compressed", format!("{tar} >out.tar")),
        ("nixpkgs' streamer to /dev/null", "flowkit, not compressed", streamer("/dev/null")),
        ("nixpkgs' streamer to a file", "flowkit, not compressed", streamer("out.tar")),
        ("flowkit, zstd", "", build("zstd")),
        ("tar | zstd -3 -T2", "flowkit, zstd", format!("{tar} | zstd -q -3 -T2 >out.tar.zst")),
        ("tar | zstd -3", "flowkit, zstd", format!("{tar} | zstd -q -3 >out.tar.zst")),
        ("flowkit, gzip", "", build("gzip")),
        ("tar | pigz -6", "flowkit, gzip", format!("{tar} | pigz -6 >out.tar.gz")),
        ("tar | gzip -6", "flowkit, gzip", format!("{tar} | gzip -6 >out.tar.gz")),
        ("umoci insert, a layer a path", "flowkit, gzip", format!("{umoci} {root}/\"$path\" /\"$path\"; done")),
    ]
}

fn streamer(to: &str) -> String {
    let script = std::env::var("FLOWKIT_BENCH_STREAM_LAYERED").unwrap_or("/nowhere".to_owned());
    format!("python3 {script} conf.json 2>/dev/null >{to}")
}

#[derive(Clone, Copy)]
struct Run {
    wall: f64,
    cpu: f64,
    bytes: u64,
}

/// Runs a script of bash in `dir`; nothing when it fails.
fn time(script: &str, dir: &Path) -> Option<Run> {
    let before = used(dir);
    let timed = format!("set -eo pipefail; TIMEFORMAT='%R %U %S'; time {{ {script}; }} >log 2>&1");
    let output = Command::new("bash").args(["-c", &timed]).current_dir(dir).env("TZ", "UTC").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let bytes = used(dir).saturating_sub(before);
    for made in fs::read_dir(dir).unwrap().flatten() {
        let name = made.file_name().into_string().unwrap();
        if name.starts_with("out.") || name.starts_with("image-") {
            fs::remove_file(made.path()).unwrap();
        } else if name == "umoci" {
            fs::remove_dir_all(made.path()).unwrap();
        }
    }
    match numbers[..] {
        [wall, user, system] if output.status.success() => Some(Run { wall, cpu: user + system, bytes }),
        _ => None,
    }
}

/// Bytes of the results in the scratch directory.
fn used(dir: &Path) -> u64 {
    fn size(path: &Path) -> u64 {
        let found = fs::symlink_metadata(path).unwrap();
        if found.is_dir() { fs::read_dir(path).unwrap().flatten().map(|e| size(&e.path())).sum() } else { found.len() }
    }
    fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.ends_with("root"))
        .map(|path| size(&path))
        .sum()
}

fn report(candidates: &[(&str, &str, String)], runs: &mut BTreeMap<usize, Vec<Run>>) {
    let median = |runs: &mut Vec<Run>, of: fn(&Run) -> f64| {
        runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&runs[runs.len() / 2])
    };
    let mut walls = BTreeMap::new();
    say::show!("{:<34}{:>8}{:>8}{:>10}{:>14}", "median of each", "s", "CPU s", "MB", "times ours");
    for (index, (name, beside, _)) in candidates.iter().enumerate() {
        let Some(runs) = runs.get_mut(&index) else { continue };
        let (wall, cpu) = (median(runs, |run| run.wall), median(runs, |run| run.cpu));
        walls.insert(*name, wall);
        let ratio = walls.get(beside).map_or(String::new(), |ours| format!("{:.2}", wall / ours));
        say::show!("{name:<34}{wall:>8.2}{cpu:>8.2}{:>10.1}{ratio:>14}", runs[0].bytes as f64 / 1e6);
    }
}

/// What nixpkgs' streamer reads: a layer a path.
fn streamer_conf(dir: &Path, root: &Path, paths: &[String]) {
    let layers: Vec<Value> = paths.iter().map(|path| json!([root.join(path)])).collect();
    let customisation = dir.join("customisation");
    fs::create_dir_all(&customisation).unwrap();
    fs::write(customisation.join("layer.tar"), [0; 1024]).unwrap();
    let sum = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    fs::write(customisation.join("checksum"), sum).unwrap();
    let conf = json!({
        "architecture": "amd64", "config": {}, "created": "1970-01-01T00:00:01Z", "mtime": "1970-01-01T00:00:01Z",
        "customisation_layer": customisation, "from_image": null, "repo_tag": "bench:1", "store_dir": root.join("nix/store"),
        "store_layers": layers, "uid": 0, "gid": 0, "uname": "root", "gname": "root",
    });
    fs::write(dir.join("conf.json"), conf.to_string()).unwrap();
}

/// A tree of 2.5 GB in 55,000 files, divided by `part`: forty store paths, a few large and many small, of content that
/// compresses about as programs do (zstd -3: to a third).
fn generate(dir: &Path, part: u64) -> (Value, PathBuf) {
    let root = dir.join("root");
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (bytes, files) = (2_500_000_000 / part, 55_000 / part);
    let weights: Vec<f64> = (0..40).map(|rank| 1.0 / (f64::from(rank) + 1.5)).collect();
    let sum: f64 = weights.iter().sum();
    let mut graph = Vec::new();
    for (rank, weight) in weights.iter().enumerate() {
        let path = format!("/nix/store/{:032}-package-{rank}", rank * 7919 % 1009);
        let place = root.join(&path[1..]);
        let count = ((files as f64 * weight / sum) as u64).max(1);
        fill(&mut rng, &place, (bytes as f64 * weight / sum) as u64, count);
        let references: Vec<&Value> =
            graph.iter().map(|node: &Value| &node["path"]).skip(rank.saturating_sub(3)).collect();
        graph.push(json!({ "path": path, "narSize": (bytes as f64 * weight / sum) as u64, "references": references }));
    }
    let image = json!({ "name": "bench/bench", "tag": "1", "architecture": "amd64", "compression": "none" });
    (json!({ "graph": graph, "image": image }), root)
}

/// Files whose sizes differ by three orders of magnitude, as those of packages do.
fn fill(rng: &mut ChaCha8Rng, place: &Path, bytes: u64, count: u64) {
    let sizes: Vec<f64> = (0..count).map(|_| (rng.random_range(0.0..7.0f64)).exp()).collect();
    let scale = bytes as f64 / sizes.iter().sum::<f64>();
    let words: Vec<Vec<u8>> = (0..4096).map(|_| (0..rng.random_range(3..24)).map(|_| rng.random()).collect()).collect();
    for (number, size) in sizes.iter().enumerate() {
        let file = place.join(format!("share/part-{}/file-{number}", number / 100));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let size = (size * scale) as usize;
        let mut content = Vec::with_capacity(size + 64);
        while content.len() < size {
            let word = &words[rng.random_range(0..words.len()).min(rng.random_range(0..words.len()))];
            content.extend_from_slice(word);
            if rng.random_range(0..3) == 0 {
                content.extend_from_slice(&rng.random::<[u8; 3]>());
            }
        }
        content.truncate(size);
        fs::File::create(file).unwrap().write_all(&content).unwrap();
    }
}

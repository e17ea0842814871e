//! Which paths share a layer: siblings have layers in common, and a change moves few bytes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::rig::{Rig, flowkit};

/// What `inspect` says of an image.
fn inspect(image: &Path) -> Value {
    let output = flowkit().args(["image", "inspect", "--format", "json"]).arg(image).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn digests(image: &Path) -> Vec<String> {
    let layers = inspect(image)["layers"].as_array().unwrap().clone();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// The store paths of each layer, by label.
fn contents(image: &Path) -> Vec<Vec<String>> {
    let labels = |layer: &Value| {
        let paths = layer["paths"].as_array().unwrap().iter().map(|path| path["path"].as_str().unwrap().to_owned());
        paths.map(|path| path.get(44..).unwrap_or(&path).to_owned()).collect()
    };
    inspect(image)["layers"].as_array().unwrap().iter().map(labels).collect()
}

const LARGE: usize = 400_000;

/// Two roles as they are: both need our program, a C library and a few small things, and each something large of its own.
fn roles() -> Rig {
    let mut rig = Rig::new();
    let large = |seed: u8| vec![seed; LARGE];
    rig.add("libidn-2", &[], &[("lib/libidn.so", b"small")]);
    rig.add("glibc-2", &["libidn-2"], &[("lib/libc.so", &large(1))]);
    rig.add("libgcc-14", &["glibc-2"], &[("lib/libgcc.so", b"small too")]);
    rig.add("flowkit-1", &["glibc-2", "libgcc-14"], &[("bin/program", &large(2))]);
    rig.add("openssl-3", &["glibc-2"], &[("lib/libssl.so", &large(3))]);
    rig.add("zlib-1", &["glibc-2"], &[("lib/libz.so", b"small as well")]);
    rig.add("redis-8", &["openssl-3", "glibc-2"], &[("bin/redis-server", &large(4))]);
    rig.add("gdal-3", &["zlib-1", "openssl-3"], &[("lib/libgdal.so", &large(5))]);
    rig.add("postgresql-17", &["gdal-3", "openssl-3", "zlib-1"], &[("bin/postgres", &large(6))]);
    rig
}

const FLOWDB: &[&str] = &["flowkit-1", "postgresql-17"];
const REDIS: &[&str] = &["flowkit-1", "redis-8"];

#[test]
fn siblings_share_what_they_have_in_common() {
    let rig = roles();
    let flowdb = rig.build("flowdb", &rig.spec("flowkit/flowdb", FLOWDB), &[]);
    let redis = rig.build("redis", &rig.spec("flowkit/redis", REDIS), &[]);
    let (of_flowdb, of_redis) = (digests(&flowdb), digests(&redis));
    // What our program needs comes first and is the same, so that Docker, which knows layers by all that is below them,
    // keeps it once.
    let below = ["glibc-2", "libidn-2", "libgcc-14"];
    let base = contents(&redis).iter().take_while(|paths| paths.iter().all(|path| below.contains(&&**path))).count();
    assert_eq!(contents(&redis)[..base].concat().len(), below.len(), "{:?}", contents(&redis));
    assert_eq!(of_flowdb[..base], of_redis[..base]);
    // A registry keeps what is large and common once, wherever it stands; and so our program.
    let common: BTreeSet<&String> = of_flowdb.iter().filter(|digest| of_redis.contains(digest)).collect();
    let shared: Vec<String> = of_redis
        .iter()
        .zip(contents(&redis))
        .filter(|(digest, _)| common.contains(digest))
        .flat_map(|(_, paths)| paths)
        .collect();
    for path in ["glibc-2", "openssl-3", "flowkit-1"] {
        assert!(shared.iter().any(|shared| shared == path), "{path} in {shared:?}");
    }
}

#[test]
fn the_name_does_not_touch_the_layers() {
    let rig = roles();
    let one = rig.build("one", &rig.spec("flowkit/one", REDIS), &[]);
    let mut spec = rig.spec("elsewhere/another", REDIS);
    spec["image"]["tag"] = json!("9.9");
    // But for the last, which holds the bill of materials.
    let all_but_last = |image: &Path| digests(image).split_last().map(|(_, rest)| rest.to_vec());
    assert_eq!(all_but_last(&one), all_but_last(&rig.build("two", &spec, &[])));
}

#[test]
fn the_program_and_the_entries_come_last_and_alone() {
    let rig = roles();
    let layers = contents(&rig.build("flowdb", &rig.spec("flowkit/flowdb", FLOWDB), &[]));
    let [.., program, entries] = &layers[..] else { panic!("{layers:?}") };
    assert_eq!(program, &["flowkit-1"]);
    assert_eq!(entries, &["/bin", "/data", "/etc", "/var"]);
}

#[test]
fn a_change_of_one_path_moves_its_layer_and_the_bill_of_materials() {
    let mut rig = roles();
    let spec = rig.spec("flowkit/flowdb", FLOWDB);
    let before = rig.build("before", &spec, &[]);
    // Our program was built anew: another hash in its path, one file that differs.
    rig.add("flowkit-2", &["glibc-2", "libgcc-14"], &[("bin/program", &[7; LARGE]), ("share/same", b"")]);
    let mut again = rig.spec("flowkit/flowdb", &["flowkit-2", "postgresql-17"]);
    again["image"]["entries"] = spec["image"]["entries"].clone();
    let after = rig.build("after", &again, &[]);
    let (old, new) = (digests(&before), digests(&after));
    let moved: Vec<&String> = new.iter().filter(|digest| !old.contains(digest)).collect();
    assert_eq!(moved.len(), 2, "{old:?} {new:?}");

    let output = flowkit().args(["image", "diff"]).args([&before, &after]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("same layers   {} ", new.len() - 2)), "{text}");
    assert!(lines[1].starts_with("other layers  2 for 2 ("), "{text}");
    assert_eq!(lines[2..4], ["removed   flowkit-1", "added     flowkit-2"]);
    assert_eq!(lines[4], "changed   var");
    assert!(lines[5].trim_start().starts_with("lib/db/sbom/image.spdx.json: "), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
    let same = flowkit().args(["image", "diff"]).args([&before, &before]).output().unwrap();
    assert_eq!(same.status.code(), Some(0));
}

#[test]
fn diff_names_the_file_and_the_first_field() {
    use super::oci::{Forged, layout, tar};
    let rig = Rig::new();
    let store = |hash: &str, mode: u32, data: &[u8]| {
        let root = format!("nix/store/{}-thing-1", hash.repeat(32));
        tar(&[
            Forged::directory("nix"),
            Forged::directory("nix/store"),
            Forged::directory(&root),
            Forged { mode, ..Forged::file(&format!("{root}/a")) },
            Forged { data: data.to_vec(), ..Forged::file(&format!("{root}/b")) },
        ])
    };
    layout(&rig.file("old"), &[store("a", 0o444, b"one")]);
    layout(&rig.file("new"), &[store("b", 0o555, b"two")]);
    let output = flowkit().args(["image", "diff"]).args([rig.file("old"), rig.file("new")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("changed   thing-1\n          a: mode 0444, now 0555\n          b: contents\n"), "{text}");
}

#[test]
fn inspect_says_what_and_why() {
    let rig = roles();
    let redis = rig.build("redis", &rig.spec("flowkit/redis", REDIS), &[]);
    let output = flowkit().args(["image", "inspect", "--paths"]).arg(&redis).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "flowkit/redis:1",
        "platform  linux/amd64",
        "glibc-2: large",
        "flowkit-1: changes often",
        "files outside the store",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(text.contains(&format!("{} (1 files)", Rig::path("redis-8"))), "{text}");
}

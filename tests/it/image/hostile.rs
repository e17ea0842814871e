//! Images that mean harm, and images that were damaged: named for what they are, never a panic.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;

use image::{Error, Image, inspect, verify};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::oci::{Forged, layout, layout_of, seal, tar};
use super::rig::{Rig, flowkit};

/// What `verify` says of an image with these layers, as `place: what`.
fn said(layers: &[Vec<u8>]) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    layout(dir.path(), layers);
    let report = verify(dir.path(), 2).unwrap();
    report.problems.iter().map(|problem| format!("{}: {}", problem.place, problem.what)).collect()
}

#[test]
fn each_trick_is_named() {
    use Forged as F;
    let file = F::file;
    let cases: &[(&[Forged], &[&str])] = &[
        (&[file("a"), file("b")], &[]),
        (&[F::directory("a"), file("a/b"), file("a-b")], &[]),
        (
            &[F::directory("a-b"), F::directory("a"), file("a/b")],
            &["layer 1, a/: it is out of order: entries are sorted, by their parts, as bytes"],
        ),
        (
            &[file("/etc/passwd")],
            &["layer 1, /etc/passwd: its path has an empty part", "layer 1, /etc/passwd: its path is absolute"],
        ),
        (&[file("../x")], &["layer 1, ../x: its path leads out of the image"]),
        (&[file("a/../../x")], &["layer 1, a/../../x: its path leads out of the image"]),
        (&[file("./a")], &["layer 1, ./a: its path has an empty part"]),
        (&[file("a"), file("a")], &["layer 1, a: it is there twice"]),
        (&[F::directory("a"), file("a")], &["layer 1, a: it is there twice"]),
        (&[F { mode: 0o4755, ..file("su") }], &["layer 1, su: it is set-uid or set-gid"]),
        (&[F { mode: 0o2755, ..F::directory("g") }], &["layer 1, g/: it is set-uid or set-gid"]),
        (
            &[F::link("a", b"/etc"), file("a/passwd")],
            &["layer 1, a/passwd: it is below something that is no directory"],
        ),
        (&[F { flag: b'3', ..file("dev") }], &["layer 1, dev: it is neither a file, a directory nor a symbolic link"]),
        (
            &[F { flag: b'6', ..file("fifo") }],
            &["layer 1, fifo: it is neither a file, a directory nor a symbolic link"],
        ),
        (
            &[F { flag: b'1', target: b"/etc/shadow", ..file("hard") }],
            &["layer 1, hard: it is neither a file, a directory nor a symbolic link"],
        ),
        (&[file(".wh.a")], &["layer 1, .wh.a: it removes what a lower layer has"]),
        (&[F { mtime: 1_700_000_000, ..file("a") }], &["layer 1, a: its time is not 1 second after 1970"]),
        (&[F { uname: b"root", ..file("a") }], &["layer 1, a: its owner is given by name"]),
    ];
    for (entries, expected) in cases {
        assert_eq!(said(&[tar(entries)]), *expected);
    }
    // Control characters do not reach the terminal.
    let shown = said(&[tar(&[F { mtime: 2, ..file("a\nb\u{1b}[31m") }])]);
    assert_eq!(shown, ["layer 1, a\\nb\\u{1b}[31m: its time is not 1 second after 1970"]);
}

#[test]
fn what_a_lower_layer_has_is_not_said_again() {
    let lower = tar(&[Forged::directory("etc"), Forged::file("etc/a")]);
    let same = tar(&[Forged::directory("etc"), Forged::file("etc/b")]);
    assert_eq!(said(&[lower.clone(), same]), [""; 0]);
    let other = tar(&[Forged { mode: 0o777, ..Forged::directory("etc") }, Forged::file("etc/a")]);
    let expected = ["layer 2, etc/: layer 1 has it already", "layer 2, etc/a: layer 1 has it already"];
    assert_eq!(said(&[lower, other]), expected);
}

#[test]
fn headers_that_are_not_what_they_seem() {
    let pax = |records: &str, name: &str| {
        let mut out = Vec::new();
        Forged { flag: b'x', data: records.as_bytes().to_vec(), ..Forged::file("PaxHeader") }.write(&mut out);
        Forged::file(name).write(&mut out);
        out.resize(out.len() + 1024, 0);
        out
    };
    let one = |archive: Vec<u8>| said(&[archive]).join("\n");
    assert!(one(pax("20 path=/etc/shadow\n", "harmless")).contains("/etc/shadow: its path is absolute"));
    assert!(one(pax("28 SCHILY.xattr.user.a=bcde\n", "a")).contains("it has extended attributes"));
    for wrong in ["", "x", "5 a=b", "3 =\n", "999 a=b\n", "6 a=b\n6 a=b\n", "99999999999999999999 a=b\n", "7 size=\n"] {
        let archive = pax(wrong, "a");
        let text = one(archive);
        assert!(wrong.is_empty() == text.is_empty(), "{wrong:?}: {text}");
    }
    let mut huge = tar(&[Forged::file("a")]);
    huge[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    seal(&mut huge[..512]);
    assert!(one(huge).contains("it ends too early"));
    let mut sparse = tar(&[Forged { flag: b'S', ..Forged::file("a") }]);
    seal(&mut sparse[..512]);
    assert!(one(sparse).contains("entries of type `S` are not supported"));
    let mut behind = tar(&[Forged::file("a")]);
    behind.extend_from_slice(&tar(&[Forged::file("b")]));
    assert!(one(behind).contains("something behind the end"));
    assert!(one(tar(&[Forged::file("a")])[..1024].to_vec()).contains("it ends too early"));
}

#[test]
fn a_bomb_stops_at_the_blob() {
    // Half a gigabyte of zeros in 20 kB: not read to its end, and found to be no archive.
    let zeros = vec![0u8; 1 << 20];
    let frame = zstd::bulk::compress(&zeros, 19).unwrap();
    let bomb = frame.repeat(512);
    let dir = TempDir::new().unwrap();
    let promised = tar(&[Forged::file("a")]);
    layout_of(dir.path(), &[("application/vnd.oci.image.layer.v1.tar+zstd", bomb, &promised)]);
    let report = verify(dir.path(), 1).unwrap();
    assert!(report.problems.iter().any(|problem| problem.what.contains("of nothing behind the end")), "{report:?}");
    assert!(report.bytes < 32 << 20, "{report:?}");
}

#[test]
fn long_names_and_records_do_not_fill_memory() {
    let mut packed = Vec::new();
    let mut pack = zstd::Encoder::new(&mut packed, 1).unwrap();
    let pair = |key: &str, value: String| format!("{} {key}={value}\n", key.len() + value.len() + 7);
    let name = pair("path", format!("same/{}", "n".repeat(4000)));
    let records = name + &pair("SCHILY.xattr.user.a", "v".repeat(4000));
    let mut tar = Vec::new();
    Forged { flag: b'x', data: records.into_bytes(), ..Forged::file("PaxHeader") }.write(&mut tar);
    Forged::file("a").write(&mut tar);
    for _ in 0..30_000 {
        std::io::Write::write_all(&mut pack, &tar).unwrap();
    }
    std::io::Write::write_all(&mut pack, &[0; 1024]).unwrap();
    pack.finish().unwrap();
    assert!(packed.len() < 1_000_000, "{}", packed.len());
    let dir = TempDir::new().unwrap();
    // What the configuration promises is not what this is about.
    layout_of(dir.path(), &[("application/vnd.oci.image.layer.v1.tar+zstd", packed, &Vec::new())]);
    // Room for the program, not for all that is in the image.
    let program = env!("CARGO_BIN_EXE_flowkit");
    let script = format!("ulimit -v 250000; exec {program} image inspect {}", dir.path().display());
    let output = Command::new("bash").args(["-c", &script]).env_clear().output().unwrap();
    assert!(output.status.success(), "{:.2000}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn extended_headers_of_one_entry_are_bounded_together() {
    let mut tar = Vec::new();
    for number in 0..40 {
        let value = "v".repeat(65_000);
        let records = format!("{} SCHILY.xattr.user.{number:02}={value}\n", value.len() + 28);
        Forged { flag: b'x', data: records.into_bytes(), ..Forged::file("PaxHeader") }.write(&mut tar);
    }
    Forged::file("a").write(&mut tar);
    assert!(said(&[tar]).concat().contains("extended headers of more than 1048576 bytes"));
    let mut long = Vec::new();
    let records = format!("5011 path={}\n", "p".repeat(5000));
    Forged { flag: b'x', data: records.into_bytes(), ..Forged::file("PaxHeader") }.write(&mut long);
    Forged::file("a").write(&mut long);
    assert!(said(&[long]).concat().contains("a name of more than 4096 bytes"));
}

/// What `flowkit image COMMAND` says, at once.
fn told(command: &str, images: &[&Path]) -> String {
    let program = env!("CARGO_BIN_EXE_flowkit");
    let output = Command::new("timeout").args(["120", program, "image", command]).args(images).output().unwrap();
    assert_ne!(output.status.code(), Some(124), "{command} {images:?} does not end");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn what_has_no_end_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    let (pipe, hole) = (dir.path().join("pipe"), dir.path().join("hole"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    fs::File::create(&hole).unwrap().set_len(1 << 43).unwrap();
    for command in ["inspect", "verify"] {
        for strange in [&pipe, Path::new("/dev/zero")] {
            assert!(told(command, &[strange]).contains("not a regular file"), "{command} {}", strange.display());
        }
        assert!(told(command, &[&hole]).contains("more than 16 MiB of nothing behind the end"), "{command}");
    }
}

#[test]
fn very_many_paths_of_one_name_are_compared_in_a_moment() {
    let dir = TempDir::new().unwrap();
    let image = |name: &str, first: usize| {
        let paths = (first..first + 60_000).map(|number| Forged::directory(&format!("nix/store/{number:032}-x")));
        layout(&dir.path().join(name), &[tar(&paths.collect::<Vec<_>>())]);
        dir.path().join(name)
    };
    let said = told("diff", &[&image("old", 0), &image("new", 60_000)]);
    assert!(said.contains('x'), "{said:.500}");
}

#[test]
fn layouts_that_lead_elsewhere() {
    let dir = TempDir::new().unwrap();
    let open = |index: serde_json::Value| {
        layout(&dir.path().join("l"), &[tar(&[])]);
        fs::write(dir.path().join("l/index.json"), index.to_string()).unwrap();
        Image::open(&dir.path().join("l")).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let to = |digest: &str| json!({ "schemaVersion": 2, "manifests": [{ "mediaType": manifest, "digest": digest, "size": 1 }] });
    assert!(open(to("sha256:../../../../etc/passwd")).contains("is not sha256: and 64 lower-case hexadecimal digits"));
    assert!(open(to(&format!("sha256:{}", "0".repeat(64)))).contains("it is missing"));
    assert!(open(json!({ "schemaVersion": 2, "manifests": [] })).contains("it lists no image"));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    fs::write(dir.path().join("l/index.json"), deep).unwrap();
    assert!(Image::open(&dir.path().join("l")).is_err());
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("l/blobs/zero")).unwrap();
    assert!(Image::open(&dir.path().join("l")).err().unwrap().to_string().contains("it is not a plain file"));
}

/// A small image of its own: one file a layer.
fn tiny(codec: &str) -> (Rig, Vec<u8>) {
    let mut rig = Rig::new();
    rig.add("libc-2", &[], &[("lib/libc.so", b"library")]);
    rig.add("program-1", &["libc-2"], &[("bin/program", b"program")]);
    let mut spec = rig.spec("a/b", &["program-1"]);
    spec["image"]["compression"] = json!(codec);
    let archive = fs::read(rig.build("image", &spec, &[])).unwrap();
    (rig, archive)
}

/// Whether the archive is found to be wrong, in whatever way.
fn is_refused(path: &Path) -> bool {
    let found = catch_unwind(|| {
        let looked = Image::open(path).and_then(|image| inspect(&image, 1));
        (verify(path, 1), looked.map(|_| ()))
    });
    let (verified, _) = found.expect("no panic");
    match verified {
        Ok(report) => !report.problems.is_empty(),
        Err(Error::Damaged { .. }) => true,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn no_byte_can_change_unseen() {
    for codec in ["zstd", "gzip", "none"] {
        let (rig, archive) = tiny(codec);
        let file = rig.file("damaged");
        fs::write(&file, &archive).unwrap();
        assert!(!is_refused(&file), "{codec}");
        let mut unseen = Vec::new();
        for at in 0..archive.len() {
            // Each byte in another bit; of runs of zeros some, and of the compressions that differ in the layers only some.
            if archive[at] == 0 && at % 37 != 0 || codec != "gzip" && at % 11 != 0 {
                continue;
            }
            let mut damaged = archive.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&file, &damaged).unwrap();
            if !is_refused(&file) {
                let from = at.saturating_sub(40);
                unseen.push(format!("{at}: {}", damaged[from..at + 20].escape_ascii()));
            }
        }
        assert!(unseen.is_empty(), "{codec}: {} of {}:\n{}", unseen.len(), archive.len(), unseen.join("\n"));
    }
}

#[test]
fn no_end_can_be_missing() {
    let (rig, archive) = tiny("gzip");
    let file = rig.file("damaged");
    for length in (0..archive.len() - 1).step_by(101) {
        fs::write(&file, &archive[..length]).unwrap();
        assert!(is_refused(&file), "{length} of {}", archive.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_rubbish_brings_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("image"), &bytes).unwrap();
        prop_assert!(is_refused(&dir.path().join("image")));
        // The same as a layer of an image that is otherwise right, in every compression.
        for kind in ["tar", "tar+gzip", "tar+zstd"] {
            let media_type = format!("application/vnd.oci.image.layer.v1.{kind}");
            layout_of(&dir.path().join(kind), &[(&media_type, bytes.clone(), &bytes)]);
            prop_assert!(is_refused(&dir.path().join(kind)));
        }
    }

    #[test]
    fn no_header_brings_it_down(changes in proptest::collection::vec((0usize..512, any::<u8>()), 1..20)) {
        let mut archive = tar(&[Forged { data: vec![7; 600], ..Forged::file("name") }, Forged::directory("other")]);
        for (at, byte) in changes {
            archive[at] = byte;
        }
        seal(&mut archive[..512]);
        let dir = TempDir::new().unwrap();
        layout(dir.path(), &[archive]);
        is_refused(dir.path());
    }
}

#[test]
fn the_program_says_what_is_wrong_and_exits_with_one() {
    let (rig, mut archive) = tiny("gzip");
    let good = flowkit().args(["image", "verify"]).arg(rig.file("image")).output().unwrap();
    assert!(good.status.success());
    let at = archive.windows(7).position(|bytes| bytes == b"\x1f\x8b\x08\0\0\0\0").unwrap() + 20;
    archive[at] ^= 1;
    fs::write(rig.file("damaged"), &archive).unwrap();
    let bad = flowkit().args(["image", "verify"]).arg(rig.file("damaged")).output().unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stdout).contains("its bytes have another digest, sha256:"));
    let none = flowkit().args(["image", "verify"]).arg(rig.file("nowhere")).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}

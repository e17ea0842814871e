//! Images written by hand: layouts whose layers are whatever a test wants to say.

use std::fs;
use std::path::Path;

use image::Digest;
use serde_json::json;

/// A tar header with the right checksum, however odd the rest.
pub struct Forged {
    pub name: Vec<u8>,
    pub flag: u8,
    pub mode: u32,
    pub mtime: u64,
    pub target: &'static [u8],
    pub data: Vec<u8>,
    pub uname: &'static [u8],
}

impl Forged {
    pub fn file(name: &str) -> Forged {
        let name = name.as_bytes().to_vec();
        Forged { name, flag: b'0', mode: 0o444, mtime: 1, target: b"", data: Vec::new(), uname: b"" }
    }

    pub fn directory(name: &str) -> Forged {
        Forged { flag: b'5', mode: 0o755, ..Forged::file(&format!("{name}/")) }
    }

    pub fn link(name: &str, target: &'static [u8]) -> Forged {
        Forged { flag: b'2', mode: 0o777, target, ..Forged::file(name) }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", self.data.len()).as_bytes());
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(156, &[self.flag]);
        put(157, self.target);
        put(257, b"ustar\x0000");
        put(265, self.uname);
        seal(&mut block);
        out.extend_from_slice(&block);
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// Puts the right checksum into a header.
pub fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A tar archive of these entries.
pub fn tar(entries: &[Forged]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}

/// Writes a layout of uncompressed layers in which every digest is right.
pub fn layout(at: &Path, layers: &[Vec<u8>]) {
    let layers: Vec<_> =
        layers.iter().map(|tar| ("application/vnd.oci.image.layer.v1.tar", tar.clone(), tar)).collect();
    layout_of(at, &layers);
}

/// Writes a layout of layers given as media type, blob and tar stream.
pub fn layout_of(at: &Path, layers: &[(&str, Vec<u8>, &Vec<u8>)]) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(at.join(digest.blob()), bytes).unwrap();
        json!({ "digest": digest, "size": bytes.len() })
    };
    let with_type = |mut descriptor: serde_json::Value, media_type: &str| {
        descriptor["mediaType"] = json!(media_type);
        descriptor
    };
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "history": layers.iter().map(|_| json!({ "created_by": "flowkit image build" })).collect::<Vec<_>>(),
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|(_, _, tar)| Digest::of(tar)).collect::<Vec<_>>() },
    });
    let manifest = json!({
        "schemaVersion": 2,
        "config": with_type(blob(config.to_string().as_bytes()), "application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(|(media_type, packed, _)| with_type(blob(packed), media_type)).collect::<Vec<_>>(),
    });
    let manifest = with_type(blob(manifest.to_string().as_bytes()), "application/vnd.oci.image.manifest.v1+json");
    fs::write(at.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string()).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

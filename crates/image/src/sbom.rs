//! A bill of materials: the store paths of an image as SPDX 2.3, JSON. <https://spdx.github.io/spdx-spec/v2.3/>
//!
//! It is a file of the image, where scanners look for one: whatever beside the image an archive holds, engines drop when they
//! load it, and a layout with a second entry in its index makes podman and skopeo ask which is meant.

use std::io::{BufReader, Read};

use serde_json::{Value, json};

use super::build::canonical;
use super::digest::Digest;
use super::error::Error;
use super::graph::StorePath;
use super::open::Image;
use super::spec::{Spec, SpecBody, SpecEntry};
use super::tar::Reader;
use super::unpack::tar_stream;

/// Where it is in the image.
pub const PLACE: &str = "var/lib/db/sbom/image.spdx.json";
/// The most bytes of one that are read.
const MOST_BYTES: u64 = 64 << 20;

/// The file.
pub fn entry(spec: &Spec) -> SpecEntry {
    let text = String::from_utf8(canonical(&document_of(spec))).expect("JSON is text");
    SpecEntry { path: PLACE.to_owned(), body: SpecBody::File(text), mode: 0o444, uid: 0, gid: 0 }
}

fn document_of(spec: &Spec) -> Value {
    let paths = spec.graph.paths();
    let id = |index: usize| format!("SPDXRef-{index}-{}", identifier(paths[index].label()));
    let packages: Vec<Value> = paths.iter().enumerate().map(|(index, path)| package(path, id(index))).collect();
    let referred: Vec<usize> = paths.iter().flat_map(|path| path.references.iter().copied()).collect();
    let relationship = |from: String, kind: &str, to: String| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let roots = (0..paths.len()).filter(|index| !referred.contains(index));
    let mut relationships: Vec<Value> =
        roots.map(|root| relationship("SPDXRef-DOCUMENT".to_owned(), "DESCRIBES", id(root))).collect();
    for (index, path) in paths.iter().enumerate() {
        relationships.extend(path.references.iter().map(|&needed| relationship(id(index), "DEPENDS_ON", id(needed))));
    }
    let name = format!("{}:{}", spec.name, spec.tag);
    // Every document needs a name of its own; this one has it from what it says.
    let own = Digest::of(json!([name, packages, relationships]).to_string().as_bytes());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:{own}"),
        "creationInfo": { "created": spec.created, "creators": ["Tool: flowkit image build"] },
        "packages": packages,
        "relationships": relationships,
    })
}

fn package(path: &StorePath, id: String) -> Value {
    let (name, version) = name_and_version(path.label());
    let mut package = json!({
        "SPDXID": id,
        "name": name,
        "packageFileName": path.path,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "comment": format!("Nix store path of {} bytes; the checksum is that of its NAR serialisation", path.nar_size),
    });
    if !version.is_empty() {
        package["versionInfo"] = json!(version);
    }
    if let Some(hash) = path.nar_hash {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": hash.hex() }]);
    }
    package
}

/// Nix's rule: the version begins behind the first dash that no letter follows.
fn name_and_version(label: &str) -> (&str, &str) {
    let dash = label
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| label[at + 1..].chars().next().is_some_and(|next| !next.is_ascii_alphabetic()));
    dash.map_or((label, ""), |at| (&label[..at], &label[at + 1..]))
}

/// Letters, digits, dots and dashes: all that an SPDX identifier may have.
fn identifier(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

impl Image {
    /// The bill of materials, where there is one. It is in the last layer, of which nothing is checked here.
    pub fn sbom(&self) -> Result<Option<Vec<u8>>, Error> {
        for layer in self.manifest.layers.iter().rev() {
            let failed = |what: String| self.store.damaged(&layer.digest.blob(), what);
            let mut reader = Reader::new(BufReader::new(tar_stream(&self.store, layer)?));
            while let Some(entry) = reader.next().map_err(|error| failed(error.to_string()))? {
                if entry.path() != PLACE.as_bytes() || !entry.is_file() {
                    continue;
                }
                if entry.size > MOST_BYTES {
                    return Err(failed(format!("a bill of materials of {} bytes", entry.size)));
                }
                let mut text = Vec::new();
                let read = reader.into_inner().take(entry.size).read_to_end(&mut text);
                read.map_err(|error| failed(error.to_string()))?;
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_part_as_nix_parts_them() {
        for (label, name, version) in [
            ("glibc-2.40-66", "glibc", "2.40-66"),
            ("postgresql-and-plugins-17.5", "postgresql-and-plugins", "17.5"),
            ("python3.13-numpy-2.3.1", "python3.13-numpy", "2.3.1"),
            ("source", "source", ""),
            ("gtk+3-3.24.49", "gtk+3", "3.24.49"),
        ] {
            assert_eq!(name_and_version(label), (name, version));
        }
    }
}

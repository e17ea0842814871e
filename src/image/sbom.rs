//! A bill of materials: the store paths of an image as SPDX 2.3, JSON. <https://spdx.github.io/spdx-spec/v2.3/>
//!
//! It is an artefact in the layout whose manifest names the image's as its `subject`, as OCI 1.1 has it. The index of a
//! layout lists it; that of an archive does not, as `skopeo copy oci-archive:FILE` refuses an index of two manifests
//! although the second is no image. There the image's entry says in an annotation which blob it is.

use serde_json::{Value, json};

use super::digest::Digest;
use super::documents::{Descriptor, EMPTY, MANIFEST, Manifest};
use super::error::Error;
use super::graph::StorePath;
use super::open::{Image, document};
use super::spec::Spec;

/// Media type of the document, and the kind of the artefact.
pub const SPDX: &str = "application/spdx+json";
/// Annotation of an image's entry in the index: digest of the manifest of its bill of materials.
pub const SBOM: &str = "vnd.sbom.manifest";

/// The document.
pub fn document_of(spec: &Spec) -> Value {
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

/// The manifest of the artefact about the image of `subject` (its descriptor).
pub fn manifest_of(created: &str, document: (Digest, usize), empty: Digest, subject: &Value) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SPDX,
        "config": { "mediaType": EMPTY, "digest": empty, "size": 2 },
        "layers": [{
            "mediaType": SPDX,
            "digest": document.0,
            "size": document.1,
            "annotations": { "org.opencontainers.image.title": "sbom.spdx.json" },
        }],
        "subject": subject,
        "annotations": { "org.opencontainers.image.created": created },
    })
}

impl Image {
    /// Manifests of artefacts about the image: those that the index lists, and the one that its annotation names.
    pub fn artefacts(&self) -> Vec<Descriptor> {
        let mut found: Vec<Descriptor> =
            self.index.manifests.iter().filter(|entry| entry.digest != self.descriptor.digest).cloned().collect();
        let named: Option<Digest> = self.descriptor.annotations.get(SBOM).and_then(|digest| digest.parse().ok());
        if let Some(digest) = named.filter(|digest| found.iter().all(|entry| entry.digest != *digest)) {
            found.push(Descriptor {
                media_type: MANIFEST.to_owned(),
                digest,
                // Said nowhere: what is there counts, as the digest covers it.
                size: self.store.size(&digest.blob()).unwrap_or_default(),
                artifact_type: Some(SPDX.to_owned()),
                platform: None,
                annotations: Default::default(),
            });
        }
        found
    }

    /// The bill of materials, where there is one.
    pub fn sbom(&self) -> Result<Option<Vec<u8>>, Error> {
        for entry in self.artefacts() {
            let artefact: Manifest = document(&self.store, &entry)?;
            if let Some(layer) = artefact.layers.iter().find(|layer| layer.media_type == SPDX) {
                return self.store.read_blob(layer.digest).map(Some);
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

//! What a server proves with, over TCP, that it is this cluster: a certificate of its own, made anew at every start.
//!
//! For clients that send a password to whoever asks for it in clear: sqlx, psql, libpq. They look at the certificate first.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};

use super::{own_directory, write_whole};
use crate::Error;

/// Where the certificate and its key are, in a data directory.
pub fn files(data: &Path) -> [PathBuf; 2] {
    ["server.crt", "server.key"].map(|name| data.join(name))
}

/// Makes a key and its certificate for the address `host`, and gives the certificate to clients in the file `published`.
///
/// Valid for as long as dates go: it ends with the next start.
pub fn make(data: &Path, host: &str, published: &Path) -> Result<(), Error> {
    let made = || {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![host.to_owned()])?.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, secret) = made().map_err(Error::Certificate)?;
    let [shown, key] = files(data);
    write_whole(&key, &secret)?;
    write_whole(&shown, &certificate)?;
    own_directory(published.parent().unwrap_or(published))?;
    write_whole(published, &certificate)
}

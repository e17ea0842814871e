//! Account and certificate, in files that their owner alone reads. Each is written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use web::Pair;

use super::Options;

/// A directory of them.
pub struct Kept(PathBuf);

/// A certificate, for what and by whom.
#[derive(Serialize, Deserialize)]
struct Certificate {
    directory: String,
    domain: String,
    chain: String,
    key: String,
}

/// An account, at which authority.
#[derive(Serialize, Deserialize)]
struct Account<T> {
    directory: String,
    credentials: T,
}

impl Kept {
    /// Makes the directory where it is missing.
    ///
    /// # Errors
    /// In words.
    pub fn open(place: &Path) -> Result<Kept, String> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(place);
        made.map_err(|error| format!("{} can't be made: {error}", place.display()))?;
        Ok(Kept(place.to_owned()))
    }

    /// The certificate for this name from this authority.
    pub fn certificate(&self, options: &Options) -> Option<Pair> {
        let kept: Certificate = self.read("certificate.json")?;
        let fits = kept.directory == options.directory && kept.domain == options.domain;
        fits.then(|| Pair { certificate: kept.chain.into(), key: kept.key.into() })
    }

    /// Keeps a certificate.
    ///
    /// # Errors
    /// In words.
    pub fn keep(&self, options: &Options, pair: &Pair) -> Result<(), String> {
        let (directory, domain) = (options.directory.clone(), options.domain.clone());
        let (chain, key) = (pair.certificate.to_string(), pair.key.to_string());
        self.write("certificate.json", &Certificate { directory, domain, chain, key })
    }

    /// The account at this authority.
    pub fn account<T: DeserializeOwned>(&self, options: &Options) -> Option<T> {
        let kept: Account<T> = self.read("account.json")?;
        (kept.directory == options.directory).then_some(kept.credentials)
    }

    /// Keeps an account.
    ///
    /// # Errors
    /// In words.
    pub fn keep_account<T: Serialize>(&self, options: &Options, credentials: T) -> Result<(), String> {
        self.write("account.json", &Account { directory: options.directory.clone(), credentials })
    }

    /// Forgets an account that the authority has forgotten: the next time another is made.
    ///
    /// # Errors
    /// In words.
    pub fn forget_account(&self) -> Result<(), String> {
        let path = self.0.join("account.json");
        fs::remove_file(&path).map_err(|error| format!("{} can't be removed: {error}", path.display()))
    }

    /// What can't be read is asked for anew.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.0.join(name);
        let text = fs::read_to_string(&path).ok()?;
        let read = serde_json::from_str(&text);
        read.inspect_err(|error| tracing::warn!(path = %path.display(), line = error.line(), "it can't be read")).ok()
    }

    fn write<T: Serialize>(&self, name: &str, what: &T) -> Result<(), String> {
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(what)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error: std::io::Error| format!("{} can't be written: {error}", path.display()))
    }
}

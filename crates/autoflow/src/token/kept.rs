//! What is kept beside the operator's token: two files of AutoFlow's own directory, each written whole.
//!
//! ```text
//! token          mode 0600: which token of the operator's it stands for (a digest, or -), and the token
//! renewal.json   how the last try went
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flowkit_core::secrets::Secret;

use super::digest;
use super::renewal::Renewal;

const TOKEN: &str = "token";
const RENEWAL: &str = "renewal.json";

/// The files.
pub struct Kept {
    dir: PathBuf,
    /// What came of the last try of this process: it holds also where it can't be written down.
    last: Mutex<Option<Renewal>>,
}

impl Kept {
    /// Those of that directory.
    pub fn of(dir: &Path) -> Kept {
        Kept { dir: dir.to_owned(), last: Mutex::default() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the token is.
    pub fn place(&self) -> PathBuf {
        self.dir.join(TOKEN)
    }

    /// The token that stands for this one of the operator's, or for none.
    pub fn token(&self, given: Option<&Secret>) -> Option<Secret> {
        let text = Secret::new(fs::read_to_string(self.place()).ok()?);
        let (instead_of, token) = text.expose().split_once('\n')?;
        (instead_of == name(given)).then(|| Secret::new(token.trim().to_owned()))
    }

    /// Keeps a token in its place.
    ///
    /// # Errors
    /// The directory's, or the disk's.
    pub fn keep(&self, given: Option<&Secret>, token: &Secret) -> io::Result<()> {
        let text = Secret::new(format!("{}\n{}\n", name(given), token.expose()));
        write(&self.dir, TOKEN, text.expose().as_bytes())
    }

    /// Whether a token can be written: more than any has.
    ///
    /// # Errors
    /// The directory's, or the disk's.
    pub fn has_room(&self) -> io::Result<()> {
        let written = write(&self.dir, "room", &[0; 64 << 10]);
        for name in ["room", "room.new"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
        written
    }

    /// How the last try went.
    pub fn renewal(&self) -> Renewal {
        if let Some(last) = &*self.last.lock().expect("nobody panics with it") {
            return last.clone();
        }
        let text = fs::read(self.dir.join(RENEWAL)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Remembers how one went.
    pub fn remember(&self, renewal: Renewal) {
        let text = serde_json::to_vec(&renewal).unwrap_or_default();
        if let Err(error) = write(&self.dir, RENEWAL, &text) {
            tracing::error!("what came of it can't be kept: {error}");
        }
        *self.last.lock().expect("nobody panics with it") = Some(renewal);
    }
}

fn name(given: Option<&Secret>) -> String {
    given.map_or_else(|| "-".to_owned(), digest)
}

/// Writes a file of the directory whole, for nobody else to read.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (new, place) = (dir.join(format!("{name}.new")), dir.join(name));
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, &place)?;
    File::open(dir)?.sync_all()
}

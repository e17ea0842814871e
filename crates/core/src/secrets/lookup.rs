//! Where a secret was found, or why it was not.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::catalogue::{self, Make, Secret, catalogue};
use crate::config::Problem;

/// Where a secret can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of systemd's credentials directory.
    Credential(PathBuf),
    /// A file of /run/secrets.
    RunSecrets(PathBuf),
    /// A file of the deployment's secrets directory.
    Deployment(PathBuf),
    /// The file that this environment variable names.
    FileVariable(String, PathBuf),
    /// This environment variable.
    Variable(String),
    /// Nowhere: the catalogue's fixed value.
    Default,
}

impl Place {
    /// Whether it is a file, and not a variable or a default.
    pub fn is_file(&self) -> bool {
        !matches!(self, Place::Variable(_) | Place::Default)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Credential(path) | Place::RunSecrets(path) | Place::Deployment(path) => path.display().fmt(f),
            Place::FileVariable(name, path) => write!(f, "{} (named by {name})", path.display()),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Default => f.write_str("default"),
        }
    }
}

/// Why a secret can't be had. No text of it holds a value.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It is nowhere.
    #[error("{name} is missing")]
    Missing {
        /// Its name.
        name: &'static str,
        /// The deployment's directory, where it could be made.
        directory: Option<PathBuf>,
    },
    /// Docker makes a directory where a file to be mounted is missing.
    #[error("{name} is a directory, not a file: {place}")]
    Directory {
        /// Its name.
        name: &'static str,
        /// Where.
        place: Place,
    },
    /// Present, and not ours to read.
    #[error("{name} can't be read: {place}")]
    Unreadable {
        /// Its name.
        name: &'static str,
        /// Where.
        place: Place,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Present, with nothing in it. Upstream's programs take that for a value.
    #[error("{name} is empty: {place}")]
    Empty {
        /// Its name.
        name: &'static str,
        /// Where.
        place: Place,
    },
    /// Present, and not of the form that its kind has.
    #[error("{name} is {fault}: {place}")]
    Malformed {
        /// Its name.
        name: &'static str,
        /// Where.
        place: Place,
        /// What is wrong, without the value.
        fault: String,
    },
    /// Two spellings of one secret hold different values.
    #[error("{name} is given twice with different values: {first} and {second}")]
    Differ {
        /// Its name.
        name: &'static str,
        /// One place.
        first: Place,
        /// The other place.
        second: Place,
    },
}

impl LookupError {
    /// The secret's name.
    pub fn name(&self) -> &'static str {
        match self {
            LookupError::Missing { name, .. }
            | LookupError::Directory { name, .. }
            | LookupError::Unreadable { name, .. }
            | LookupError::Empty { name, .. }
            | LookupError::Malformed { name, .. }
            | LookupError::Differ { name, .. } => name,
        }
    }

    /// Whether nobody has given it. An empty credential is as much as none where a unit loads it without having been told of a file: of what a
    /// setting makes superfluous, or another secret. Of any other somebody has named a file, which was not there or is empty: without, say, the
    /// address of its database FlowAuth would begin anew in an empty one.
    pub fn is_absent(&self) -> bool {
        match self {
            LookupError::Missing { .. } => true,
            LookupError::Empty { name, place: Place::Credential(_) } => {
                let is_instead = |other: &Secret| other.instead.as_deref() == Some(*name);
                spec(name).unless.is_some() || catalogue().roles().iter().flat_map(|role| &role.secrets).any(is_instead)
            }
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            LookupError::Missing { name, directory } => match (&spec(name).make, directory) {
                (Make::Operator(from), _) => from.clone(),
                (_, Some(dir)) => format!("make it: flowkit secrets init --dir {}", dir.display()),
                (_, None) => format!("give it as /run/secrets/{name}, {name}_FILE or {name}"),
            },
            LookupError::Directory { name, .. } => format!("remove it and put a file named {name} there"),
            LookupError::Unreadable { .. } => "make it readable for the user that runs this".into(),
            LookupError::Empty { name, place } | LookupError::Malformed { name, place, .. } => {
                put_right(spec(name), place)
            }
            LookupError::Differ { name, .. } => format!("keep the one that is right, under the name {name}"),
        }
    }

    /// For a report of all that is wrong: what it is for, and what to do.
    pub fn problem(&self) -> Problem {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
        Problem::new(format!("{self}{cause} ({})", spec(self.name()).purpose), self.hint())
    }
}

/// A new value is offered only where it can be made and takes nothing along.
fn put_right(spec: &catalogue::Secret, place: &Place) -> String {
    match (&spec.make, place) {
        (Make::Generate, Place::Deployment(path)) if !spec.loses_data => {
            let dir = path.parent().unwrap_or(path).display();
            format!("put the right value there, or: flowkit secrets rotate {} --dir {dir}", spec.name)
        }
        // A copy that systemd made: what is to be mended is what it was made of, or the default that stands for it.
        (_, Place::Credential(path)) => {
            let unit = path.parent().and_then(Path::file_name).unwrap_or_default().display();
            format!("put the right value into the file that its LoadCredential names: systemctl cat {unit}")
        }
        _ => "put the right value there".into(),
    }
}

/// Asking for a name that the catalogue lacks is a bug.
pub(super) fn spec(name: &str) -> &'static catalogue::Secret {
    catalogue().secret(name).unwrap_or_else(|| panic!("the catalogue has no secret {name}"))
}

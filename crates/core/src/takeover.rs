//! What `flowkit auth import` is told, and by it the program that does it: FlowAuth's own.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

/// Which FlowAuth is taken over, and how.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Takeover {
    /// Its database: a SQLite file, - for one on the standard input, or postgresql://USER:{}@HOST/NAME with {} for the password
    #[arg(value_name = "DATABASE")]
    pub from: Theirs,
    /// File of the password that stands for {}
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// File of its FLOWAUTH_FERNET_KEY, where that is not the one here
    #[arg(long, value_name = "FILE")]
    pub fernet_key_file: Option<PathBuf>,
    /// Say what would be taken over, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Where its database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Theirs {
    /// A file on the standard input.
    Input,
    /// A file.
    File(PathBuf),
    /// What this address leads to.
    Address(String),
}

impl FromStr for Theirs {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Theirs, Infallible> {
        Ok(match text {
            "-" => Theirs::Input,
            address if address.contains("://") => Theirs::Address(address.to_owned()),
            path => Theirs::File(path.into()),
        })
    }
}

impl Takeover {
    /// The same as arguments.
    pub fn args(&self) -> Vec<OsString> {
        let from = match &self.from {
            Theirs::Input => OsStr::new("-"),
            Theirs::File(path) => path.as_os_str(),
            Theirs::Address(address) => OsStr::new(address),
        };
        let files = [("--password-file", &self.password_file), ("--fernet-key-file", &self.fernet_key_file)];
        let files =
            files.iter().flat_map(|(flag, path)| path.iter().flat_map(|path| [flag.as_ref(), path.as_os_str()]));
        let dry = self.dry_run.then_some(OsStr::new("--dry-run"));
        files.chain(dry).chain([from]).map(OsStr::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        told: Takeover,
    }

    #[test]
    fn what_is_handed_on_is_what_was_told() {
        let address = "postgresql://flowauth:{}@old/flowauth";
        let cases = [
            (&["-"][..], Theirs::Input),
            (&["old.sqlite", "--fernet-key-file", "key"], Theirs::File("old.sqlite".into())),
            (&[address, "--password-file", "p", "--dry-run"], Theirs::Address(address.to_owned())),
        ];
        for (args, from) in cases {
            let told = |args: Vec<OsString>| Cli::parse_from([OsString::from("import")].into_iter().chain(args)).told;
            let once = told(args.iter().map(OsString::from).collect());
            assert_eq!(once.from, from);
            assert_eq!(told(once.args()), once);
        }
    }
}

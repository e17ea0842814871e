//! `flowkit docs`: what is written from the program itself: reference pages and manual pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Subcommand};

use super::{Cli, Failure};
use crate::roles;
use flowkit_core::catalogue;
use flowkit_core::config::Problem;

/// Write or check the pages that are made from the program
#[derive(Subcommand)]
pub enum Docs {
    /// Write the reference pages into DIR/reference
    Write(Target),
    /// Say which reference pages in DIR/reference are stale; exit status 1 when one is
    Check(Target),
    /// Write the manual pages of all commands into DIR
    Man(Target),
}

/// A directory.
#[derive(Args)]
pub struct Target {
    /// The directory; for the reference pages that of the manual
    dir: PathBuf,
}

/// A file or directory of the manual can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", .0.display())]
struct WriteError(PathBuf, #[source] std::io::Error);

impl Docs {
    /// Runs the subcommand.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Docs::Write(Target { dir }) => write(&enter(&dir)?)?,
            Docs::Check(Target { dir }) => return check(&dir),
            Docs::Man(Target { dir }) => man(&enter(&dir)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the directory; root writes in somebody else's as that user.
fn enter(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = make(dir)?;
    roles::become_owner(&dir).map_err(Failure::mistake)?;
    Ok(dir)
}

fn write(dir: &Path) -> Result<(), WriteError> {
    let reference = make(&dir.join("reference"))?;
    for (name, text) in catalogue::pages() {
        let path = reference.join(name);
        fs::write(&path, text).map_err(|error| WriteError(path, error))?;
    }
    Ok(())
}

fn check(dir: &Path) -> Result<ExitCode, Failure> {
    let stale = stale(dir);
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names = stale.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let hint = format!("flowkit docs write {}", dir.display());
    Err(Failure::from(Problem::new(format!("stale: {names}"), hint)))
}

/// Pages that are not what would be written.
fn stale(dir: &Path) -> Vec<PathBuf> {
    let paths = catalogue::pages().into_iter().map(|(name, text)| (dir.join("reference").join(name), text));
    paths.filter(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text)).map(|(path, _)| path).collect()
}

fn man(dir: &Path) -> Result<(), WriteError> {
    // Commands that the help does not show have no page either.
    clap_mangen::generate_to(Cli::command(), dir).map_err(|error| WriteError(dir.to_path_buf(), error))
}

fn make(dir: &Path) -> Result<PathBuf, WriteError> {
    fs::create_dir_all(dir).map_err(|error| WriteError(dir.to_path_buf(), error))?;
    Ok(dir.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_pages_are_what_the_catalogue_says() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        assert_eq!(stale(&docs), Vec::<PathBuf>::new(), "run `cargo run -- docs write docs`");
    }

    #[test]
    fn a_stale_page_is_told() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        assert_eq!(stale(dir.path()).len(), 0);
        let page = dir.path().join("reference/ports.md");
        fs::write(&page, "old").unwrap();
        assert_eq!(stale(dir.path()), std::slice::from_ref(&page));
        let told = check(dir.path()).unwrap_err().to_string();
        assert_eq!(told, format!("flowkit: stale: {}; flowkit docs write {}\n", page.display(), dir.path().display()));
    }

    #[test]
    fn every_command_that_is_shown_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        man(dir.path()).unwrap();
        for page in ["flowkit.1", "flowkit-secrets.1", "flowkit-secrets-init.1", "flowkit-tune.1"] {
            let text = fs::read_to_string(dir.path().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
        }
        assert!(!dir.path().join("flowkit-docs.1").exists());
    }

    /// clap checks the definitions of all commands when they are built: names that collide, defaults that don't parse.
    #[test]
    fn the_commands_are_sound() {
        Cli::command().debug_assert();
    }
}

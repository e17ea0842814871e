//! `flowkit quadlet`: the Quadlet files of a deployment on podman under systemd.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::stack::{Roles, tell_of_optional, tell_of_values};
use crate::roles;
use crate::stack::{self, KINDS, PREFIX, Unit, Wish, vault};
use say::{show, tell};

/// Write the Quadlet files of a deployment on podman, which systemd makes services of
///
/// For podman 5.0 and later. They say of each role what `flowkit stack` says for Docker Swarm; secrets are podman's, by name.
#[derive(Args)]
pub struct Quadlet {
    #[command(flatten)]
    roles: Roles,
    /// Directory of the secrets' values; optional ones that are there are given to the roles that read them, as podman's
    /// secrets [default: no value is looked at]
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Directory of the files: /etc/containers/systemd for root, ~/.config/containers/systemd for others
    units: PathBuf,
}

/// A file or directory can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} {}", .0, .1.display())]
struct FileError(&'static str, PathBuf, #[source] std::io::Error);

impl Quadlet {
    /// Writes the files, and names what earlier calls have left.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (mut wish, settings) = self.roles.wish()?;
        if let Some(dir) = &self.secrets {
            wish.take_secrets(vault::of_directory(dir).map_err(Failure::mistake)?);
        }
        settings.warnings().iter().for_each(|warning| tell!("warning: {warning}"));
        let file = stack::plan(&wish, &settings).map_err(Failure::mistake)?;
        tell_of_optional(&wish, &settings);
        if let Some(dir) = &self.secrets {
            tell_of_values(&wish, dir, &settings)?;
        }
        let units = stack::quadlet(&file, &head(&wish));
        fs::create_dir_all(&self.units).map_err(|error| FileError("make", self.units.clone(), error))?;
        // What its owner has put there could lead root anywhere.
        roles::become_owner(&self.units).map_err(Failure::mistake)?;
        for Unit { name, text } in &units {
            let path = self.units.join(name);
            fs::write(&path, text).map_err(|error| FileError("write", path.clone(), error))?;
            show!("{}", path.display());
        }
        for name in self.others(&units)? {
            tell!(
                "note: {} is of no role here: remove it if it is of an earlier call",
                self.units.join(name).display()
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Files of our names that were not written now.
    fn others(&self, units: &[Unit]) -> Result<BTreeSet<String>, FileError> {
        let unreadable = |error| FileError("read", self.units.clone(), error);
        let found = fs::read_dir(&self.units).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
        let names = found.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
        let like_ours = |name: &String| name.starts_with(PREFIX) && KINDS.iter().any(|kind| name.ends_with(kind));
        Ok(names.filter(like_ours).filter(|name| units.iter().all(|unit| unit.name != *name)).collect())
    }
}

fn head(wish: &Wish) -> String {
    let roles: Vec<&str> = wish.roles.iter().map(|role| role.name.as_str()).collect();
    format!(
        "FlowKit on podman: {}. Made by `flowkit quadlet` {}; make it again instead of changing it.\n\
         It holds no secret: they are podman's, by name.",
        roles.join(", "),
        env!("CARGO_PKG_VERSION")
    )
}

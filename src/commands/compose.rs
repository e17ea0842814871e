//! `flowkit compose`: the Compose file of a deployment on one engine, without Swarm.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::stack::{Roles, tell_of_optional, tell_of_values};
use crate::stack::{self, Here, Wish, vault};
use flowkit_core::config::Settings;
use say::tell;

/// Print the Compose file of a deployment on one engine, without Swarm
///
/// For `docker compose`. It says of each role what `flowkit stack` says for Docker Swarm; secrets are files of the host, made
/// by `flowkit secrets init`, so that every role runs as the user that they belong to.
#[derive(Args)]
pub struct Compose {
    #[command(flatten)]
    roles: Roles,
    /// Directory of the secrets' values, absolute or seen from where the file will be; optional ones that are there are given
    /// to the roles that read them
    #[arg(long, value_name = "DIR", default_value = "./secrets", value_parser = directory)]
    secrets: String,
    /// User and group that every role runs as: the owner of the secrets [default: FLOWDB_HOST_USER_ID and
    /// FLOWDB_HOST_GROUP_ID, else who runs this, but for root 1000:1000]
    #[arg(long, value_name = "UID:GID", value_parser = user)]
    user: Option<(u32, u32)>,
}

impl Compose {
    /// Prints the file.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (mut wish, settings) = self.roles.wish()?;
        let dir = Path::new(&self.secrets);
        if !dir.is_dir() {
            tell!("note: {} is not there, seen from here: no optional secret is given to a role", dir.display());
        }
        wish.take_secrets(vault::of_directory(dir).map_err(Failure::mistake)?);
        settings.warnings().iter().for_each(|warning| tell!("warning: {warning}"));
        let file = stack::plan(&wish, &settings).map_err(Failure::mistake)?;
        tell_of_optional(&wish, &settings);
        tell_of_values(&wish, dir, &settings)?;
        let here = Here { user: self.user.unwrap_or_else(|| owner(&settings)), secrets: self.secrets };
        say::product(stack::alone(file, &here).text(&head(&wish, &here)).as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

/// Who the directories and secrets of the host belong to.
fn owner(settings: &Settings) -> (u32, u32) {
    let id = |name: &str| settings.int(name).and_then(|id| u32::try_from(id).ok());
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    match (id("FLOWDB_HOST_USER_ID"), id("FLOWDB_HOST_GROUP_ID")) {
        (Some(user), Some(group)) => (user, group),
        _ if uid.is_root() => (1000, 1000),
        _ => (uid.as_raw(), gid.as_raw()),
    }
}

fn user(text: &str) -> Result<(u32, u32), String> {
    let wrong = "write it like 1000:1000";
    let (user, group) = text.split_once(':').ok_or(wrong)?;
    match (user.parse(), group.parse()) {
        (Ok(0), _) => Err("roles never run as root".to_owned()),
        (Ok(user), Ok(group)) => Ok((user, group)),
        _ => Err(wrong.to_owned()),
    }
}

/// As Compose tells a path from the name of a volume.
fn directory(text: &str) -> Result<String, String> {
    let dir = text.trim_end_matches('/');
    match dir.starts_with('/') || dir.starts_with("./") || dir.starts_with("../") {
        true => Ok(dir.to_owned()),
        false => Ok(format!("./{dir}")),
    }
}

fn head(wish: &Wish, here: &Here) -> String {
    let roles: Vec<&str> = wish.roles.iter().map(|role| role.name.as_str()).collect();
    let (user, group) = here.user;
    format!(
        "FlowKit on one engine: {}. Made by `flowkit compose` {}; make it again instead of changing it.\n\
         Before the first start: FLOWDB_HOST=flowdb FLOWDB_PORT=5432 flowkit secrets init --dir {dir}\n\
         They have to belong to {user}:{group}, as whom all roles run\n\
         Start it with: docker compose --file THIS-FILE up --detach --wait\n\
         It holds no secret.",
        roles.join(", "),
        env!("CARGO_PKG_VERSION"),
        dir = here.secrets,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_users_are_what_compose_takes() {
        for (typed, written) in [("secrets", "./secrets"), ("./a/", "./a"), ("/srv/s", "/srv/s"), ("../s", "../s")] {
            assert_eq!(directory(typed).unwrap(), written);
        }
        assert_eq!(user("1:2"), Ok((1, 2)));
        for wrong in ["", "1", "0:0", "a:b", "-1:1"] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }
}

//! A name for the user that PostgreSQL's programs run as.
//!
//! Containers run as any number, often one that no passwd file knows. initdb insists on a name, and the server needs one
//! to know the superuser on its socket by what the kernel says. nss_wrapper, a library loaded before all others, makes one
//! up for the programs that are started with it, and for no others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};

use super::write_whole;
use crate::Error;
use flowkit_core::config::{Problem, Settings};

/// The name that is made up.
const MADE_UP: &str = "flowkit";

/// Where distributions put the library.
const PLACES: &[&str] = &["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];

/// The setting that names it.
const SETTING: &str = "FLOWKIT_NSS_WRAPPER";

/// The user that this process is, as PostgreSQL's programs are to see it.
pub struct Named {
    /// The name.
    pub name: String,
    /// What a program needs in its environment to see it so.
    pub env: Vec<(&'static str, OsString)>,
}

/// The name of this process's user; `None` when the system knows none and there is no nss_wrapper. `dir` is for the files
/// that the latter reads.
pub fn find(settings: &Settings, dir: &Path) -> Result<Option<Named>, Error> {
    let uid = geteuid().as_raw();
    if let Some(name) = of_system(uid) {
        return Ok(Some(Named { name, env: Vec::new() }));
    }
    let Some(library) = library(settings)? else { return Ok(None) };
    let gid = getegid().as_raw();
    let (passwd, group) = (dir.join("passwd"), dir.join("group"));
    // The library asks nobody else, so whoever is to be known has to be there.
    let known = format!("{MADE_UP}:x:{uid}:{gid}:FlowKit:/nonexistent:/bin/false\nroot:x:0:0:root:/root:/bin/false\n");
    write_whole(&passwd, &known)?;
    write_whole(&group, &format!("{MADE_UP}:x:{gid}:\n"))?;
    let env = vec![
        ("LD_PRELOAD", library.into()),
        ("NSS_WRAPPER_PASSWD", passwd.into()),
        ("NSS_WRAPPER_GROUP", group.into()),
    ];
    Ok(Some(Named { name: MADE_UP.into(), env }))
}

fn library(settings: &Settings) -> Result<Option<PathBuf>, Problem> {
    let Some(path) = settings.text(SETTING) else {
        return Ok(PLACES.iter().map(|dir| Path::new(dir).join("libnss_wrapper.so")).find(|path| path.exists()));
    };
    if Path::new(path).is_file() {
        return Ok(Some(path.into()));
    }
    let problem = Problem::new(format!("{SETTING} is no file"), "give the path of libnss_wrapper.so");
    Err(problem.value(path).origin(settings.origin(SETTING)))
}

/// The name that the system has for a user id.
fn of_system(uid: u32) -> Option<String> {
    uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_root_and_not_everybody() {
        assert_eq!(of_system(0).as_deref(), Some("root"));
        assert_eq!(of_system(3_999_999_999), None);
    }

    #[test]
    fn a_library_that_is_named_must_be_there() {
        let mut settings = Settings::default();
        settings.set(SETTING, "/nowhere/lib.so", flowkit_core::config::Origin::Environment).unwrap();
        assert_eq!(
            library(&settings).unwrap_err().to_string(),
            "FLOWKIT_NSS_WRAPPER is no file: \"/nowhere/lib.so\" (environment); give the path of libnss_wrapper.so"
        );
    }
}

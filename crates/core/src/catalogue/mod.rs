//! What each role is, read from the embedded `roles/*.toml`: the one place that names, defaults and ports come from.
//!
//! The files are plain TOML 1.0 without dates, so that Nix reads the same ones with `builtins.fromTOML`. The structs of
//! [`Role`] are their schema and refuse what they do not know; a test checks all files together, and because the files
//! are part of the program, a fault in them is a bug: it panics at first use.

mod pages;
mod role;
mod secret;
mod setting;
mod value;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use pages::pages;
pub use role::{Apart, Component, Needs, Port, Role, Scenario, Source, Talk, Volume};
pub use secret::{Kind, Make, Secret};
pub use setting::{Scope, Setting, Type};
pub use value::Fault;
pub(crate) use value::one_line;

/// Every role, in the order in which a complete deployment is explained.
const FILES: [(&str, &str); 7] = [
    ("flowdb", include_str!("../../../../src/roles/flowdb.toml")),
    ("redis", include_str!("../../../../src/roles/redis.toml")),
    ("flowmachine", include_str!("../../../../src/roles/flowmachine.toml")),
    ("flowapi", include_str!("../../../../src/roles/flowapi.toml")),
    ("flowauth", include_str!("../../../../src/roles/flowauth.toml")),
    ("flowetl", include_str!("../../../../src/roles/flowetl.toml")),
    ("autoflow", include_str!("../../../../src/roles/autoflow.toml")),
];

/// The catalogue that this program was built with.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue {
        roles: FILES
            .iter()
            .map(|(name, text)| toml::from_str(text).unwrap_or_else(|error| panic!("src/roles/{name}.toml: {error}")))
            .collect(),
    })
}

/// All roles.
#[derive(Debug)]
pub struct Catalogue {
    roles: Vec<Role>,
}

impl Catalogue {
    /// Every role, in the order in which a complete deployment is explained: databases first.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The role of that name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// Every secret of every role, each once.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.roles.iter().flat_map(|role| &role.secrets)
    }

    /// Every setting of every role, each once.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.roles.iter().flat_map(|role| &role.settings)
    }

    /// The secret that has this name as its own or as another spelling.
    pub fn secret(&self, any_spelling: &str) -> Option<&Secret> {
        self.secrets().find(|secret| secret.spellings().any(|name| name == any_spelling))
    }

    /// The setting that has this name as its own or as another spelling.
    pub fn setting(&self, any_spelling: &str) -> Option<&Setting> {
        self.settings().find(|setting| setting.spellings().any(|name| name == any_spelling))
    }

    /// Every secret that a role needs: its own and those that it uses.
    pub fn secrets_of<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a Secret> {
        let own = role.secrets.iter();
        own.chain(role.uses.iter().filter_map(|name| self.secret(name)))
    }

    /// The certificates of others that a role is given where they are at hand: by them it knows its neighbours.
    pub fn certificates_of<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a Secret> {
        role.talks_to.iter().filter_map(|talk| self.secret(talk.certificate.as_deref()?))
    }

    /// Every setting that a role reads: its own and those that it uses.
    pub fn settings_of<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a Setting> {
        let own = role.settings.iter();
        own.chain(role.uses.iter().filter_map(|name| self.setting(name)))
    }

    /// The role that owns a secret or setting.
    pub fn owner(&self, name: &str) -> Option<&Role> {
        self.roles
            .iter()
            .find(|role| role.secrets.iter().any(|s| s.name == name) || role.settings.iter().any(|s| s.name == name))
    }

    /// Every role that reads a secret or setting: its owner first, then those that use it.
    pub fn users<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Role> {
        let owner = self.owner(name).into_iter();
        owner.chain(self.roles.iter().filter(move |role| role.uses.iter().any(|used| used == name)))
    }
}

//! Which secrets each role is given, and where it finds them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Deployment;
use crate::roles::host::{self, Standing};
use flowkit_core::catalogue::{Make, Secret, Type, catalogue};
use flowkit_core::config::{Problem, Problems};
use flowkit_core::secrets::{Place, made_from};

impl Deployment {
    /// Lays out the secrets of each role in a directory of its own: the roles' steps and programs look nowhere else.
    ///
    /// # Errors
    /// All that are missing or malformed, in one report.
    pub fn hand_out_secrets(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        for role in self.roles.iter().filter_map(|name| catalogue().role(name)) {
            let names = self.names_of_secrets(&role.name);
            if let Err(Problems(more)) = self.site.store.require(&names) {
                problems.0.extend(more.into_iter().filter(|problem| !problems.0.contains(problem)).collect::<Vec<_>>());
                continue;
            }
            let (dir, user) = (self.credentials_of(&role.name), self.user_of(&role.name)?);
            if self.one_directory(&names).as_ref() == Some(&dir) {
                continue;
            }
            let made =
                host::make_private(&self.site.state.credentials(), self.standing).map_err(|error| error.to_string());
            let group = user.map(|user| user.gid);
            let store = &self.site.store;
            let mut components = role.components.iter().filter(|component| self.runs(&component.name));
            let any = self.components.is_empty() || components.any(|component| component.any_variable);
            let more = if role.any_variable && any { store.variables() } else { BTreeMap::new() };
            let written =
                made.and_then(|()| store.materialise(&names, more, &dir, group).map_err(|error| say::in_full(&error)));
            if let Err(why) = written {
                let what = format!("cannot give {} its secrets: {why}", role.name);
                problems.0.push(Problem::new(what, "mend the directory's permissions"));
            }
        }
        problems.or(())
    }

    /// The same for services that run, by what their supervisor [tells](Self::facts): those that have copies, and of a role's components those
    /// that are here.
    ///
    /// # Errors
    /// As [`Deployment::hand_out_secrets`].
    pub fn hand_out_again(self, facts: &serde_json::Value) -> Result<(), Problems> {
        let copied = |role: &&String| self.site.state.credentials().join(role).is_dir();
        let roles = facts["roles"].as_object().into_iter().flat_map(|roles| roles.keys().filter(copied)).cloned();
        let roles = roles.collect();
        let components = facts["components"].as_array().into_iter().flatten();
        let components = components.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        Deployment { components, ..self.running(roles) }.hand_out_secrets()
    }

    /// Where a role finds its secrets as files: where systemd or an engine has put exactly them, else copies of our own.
    pub(in crate::roles) fn credentials_of(&self, role: &str) -> PathBuf {
        let outside =
            || if self.standing == Standing::Root { None } else { self.one_directory(&self.names_of_secrets(role)) };
        self.credentials.clone().or_else(outside).unwrap_or_else(|| self.site.state.credentials().join(role))
    }

    /// What a role is given: its secrets, those that it can do without where they are there, and its neighbours' certificates likewise.
    pub(super) fn names_of_secrets(&self, role: &str) -> Vec<&'static str> {
        let role = catalogue().role(role).expect("a role of the catalogue");
        let of_components = |secret: &&'static Secret| {
            let mut here = role.components.iter().filter(|component| self.runs(&component.name));
            self.components.is_empty() || here.any(|component| component.secrets.contains(&secret.name))
        };
        let name = |secret: &'static Secret| secret.name.as_str();
        let there = |name: &&'static str| !self.site.store.find(name).is_err_and(|error| error.is_absent());
        let settings = &self.site.settings;
        let does_without = |name: &String| match catalogue().setting(name).map(|setting| setting.r#type) {
            Some(Type::Flag) => settings.flag(name),
            _ => settings.text(name).is_some(),
        };
        let (optional, needed): (Vec<_>, Vec<_>) =
            catalogue().secrets_of(role).filter(of_components).partition(|secret| {
                !role.needs_secret(secret, settings) || secret.unless.as_ref().is_some_and(does_without)
            });
        // The password in a connection string of the operator's is nobody's secret beside it.
        let in_another = |name: &&'static str| {
            let optional = catalogue().secret(name).is_some_and(|secret| secret.optional);
            let whole = |other: &&Secret| matches!(other.make, Make::Template(_)) && other.optional == optional;
            let own = |other: &&Secret| catalogue().owner(&other.name).is_some_and(|owner| owner.name == role.name);
            made_from(name).filter(own).filter(whole).any(|other| there(&other.name.as_str()))
        };
        let optional = optional.into_iter().chain(catalogue().certificates_of(role)).map(name).filter(there);
        needed.into_iter().map(name).filter(|name| there(name) || !in_another(name)).chain(optional).collect()
    }

    /// The directory from outside in which all of these are files of their own names. A fixed value needs none: the program
    /// is told it.
    fn one_directory(&self, names: &[&str]) -> Option<PathBuf> {
        let mut one = None;
        for name in names {
            let file = match self.site.store.find(name).ok()?.place {
                Place::Default => continue,
                Place::Credential(file) | Place::RunSecrets(file) => file,
                Place::Deployment(_) | Place::FileVariable(..) | Place::Variable(_) => return None,
            };
            let dir = file.parent().filter(|_| file.ends_with(name))?.to_owned();
            if one.get_or_insert_with(|| dir.clone()) != &dir {
                return None;
            }
        }
        one
    }
}

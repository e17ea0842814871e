//! What of the catalogue a stack asks for: a role's services, networks, and where it is.

use std::collections::BTreeSet;

use flowkit_core::catalogue::{Role, Setting, Talk, catalogue};

/// The services that a role may have in a stack, each once: itself, then those of its components.
pub(super) fn services_of(role: &'static Role) -> impl Iterator<Item = &'static str> {
    let names: BTreeSet<&str> = role.components.iter().map(|component| component.service.as_str()).collect();
    [role.name.as_str()].into_iter().chain(names.into_iter().filter(|name| *name != role.name))
}

/// The role that a service of a stack is of.
pub(super) fn role_of(service: &str) -> Option<&'static Role> {
    catalogue().roles().iter().find(|role| services_of(role).any(|name| name == service))
}

/// The network in which a role is reached, if any role reaches it.
pub(super) fn network_of(role: &Role) -> Option<&str> {
    let talks = |other: &Role| other.talks_to.iter().any(|talk| talk.role == role.name);
    catalogue().roles().iter().any(talks).then_some(role.name.as_str())
}

/// The settings that say where a role is, with their values inside of a stack.
pub(super) fn host_of(role: &'static Role) -> impl Iterator<Item = (String, String)> {
    let host = host_setting(role).map(|host| (host.name.clone(), role.name.clone()));
    let port = role.ports.first().map(|port| (port.setting.clone(), port.container.to_string()));
    host.into_iter().chain(port)
}

/// The setting by which others say where a role is.
pub(super) fn host_setting(role: &'static Role) -> Option<&'static Setting> {
    let wanted = format!("{}_HOST", role.name.to_uppercase());
    role.settings.iter().find(|setting| setting.name == wanted)
}

/// The setting that says where a neighbour is.
pub(super) fn at(talk: &Talk) -> Option<&'static Setting> {
    match &talk.setting {
        Some(name) => catalogue().setting(name),
        None => host_setting(catalogue().role(&talk.role)?),
    }
}

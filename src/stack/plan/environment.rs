//! What a service is told: settings that were given, and where its neighbours are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Builder, PROMISED, TRUSTED};
use crate::stack::parts::{at, host_setting};
use flowkit_core::catalogue::{Scope, Setting, Talk, Type, catalogue};
use flowkit_core::config::{Problem, Problems, Settings};

impl Builder<'_> {
    /// Settings that were given and that this role reads, and where its neighbours are. Where it listens and where its
    /// programs are is the image's business.
    pub(super) fn environment(&self) -> Result<BTreeMap<String, String>, Problems> {
        let mut problems = Problems::default();
        let layout = |name: &str| {
            self.role.ports.iter().any(|port| port.setting == name || port.listen.as_deref() == Some(name))
                || self.role.volumes.iter().any(|volume| volume.place.as_deref() == Some(name))
                || self
                    .role
                    .settings
                    .iter()
                    .any(|own| own.name == name && [Type::Host, Type::Address].contains(&own.r#type))
        };
        let reads = |name: &str| {
            (self.role.passes(name) && !layout(name))
                || catalogue().settings_of(self.role).find(|setting| setting.name == name).is_some_and(|setting| {
                    let places = setting.r#type == Type::Path && name.starts_with("FLOWKIT_");
                    setting.scope == Scope::Service && !places && !layout(name)
                })
        };
        let given = || self.settings.explicit().filter(|(name, _)| reads(name));
        for (name, _) in given().filter(|(name, value)| self.role.passes(name) && is_secret(name, value)) {
            let what = format!("{name} would stand in the file, which everybody may read");
            let hint = "make it a secret of that name, which the service is given beside the others";
            problems.0.push(Problem::new(what, hint));
        }
        // The container has a few files of its own, and none of the host's.
        let own = |path: &str| ["/run/secrets/", "/etc/ssl/certs/"].iter().any(|place| path.starts_with(place));
        for (name, value) in given().filter(|(name, value)| *name == TRUSTED && !own(value)) {
            let what = format!("{name} names a file of this host, which a container does not see");
            let hint = "leave it out, and put that certificate among the secrets, as cert-flowkit.pem";
            problems.0.push(Problem::new(what, hint).value(value));
        }
        let mut environment: BTreeMap<String, String> =
            given().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if let Some(apart) = self.role.apart.as_ref().filter(|_| self.part.is_some()) {
            let told = if self.is_first() { &apart.first } else { &apart.others };
            environment.extend(told.clone());
        }
        for talk in self.neighbours() {
            match self.neighbour(talk) {
                Ok(places) => environment.extend(places),
                Err(problem) => problems.0.push(problem),
            }
        }
        problems.or(environment)
    }

    /// Whether it talks to another at all: one that it does without has to be here and speak HTTPS, or its place be given.
    pub(super) fn talks(&self, talk: &Talk) -> bool {
        let plain = format!("FLOWKIT_{}_PLAIN_HTTP", talk.role.to_uppercase());
        let plain = || catalogue().setting(&plain).is_some_and(|plain| self.settings.flag(&plain.name));
        let given = || at(talk).is_some_and(|at| given_host(self.settings, at).is_some());
        !talk.optional || given() || (self.wish.has(&talk.role) && !plain())
    }

    /// The settings that tell this role where it reaches another: inside of the stack by the service's name, or the one that the
    /// operator gave; else where the operator says it is.
    fn neighbour(&self, talk: &Talk) -> Result<Vec<(String, String)>, Problem> {
        let other = catalogue().role(&talk.role).expect(PROMISED);
        let port = other.ports.first();
        let at = at(talk).expect(PROMISED);
        let given = given_host(self.settings, at);
        if !self.wish.has(&other.name) && given.is_none() {
            let what = format!("{} talks to {}, which is not in this stack", self.role.name, other.name);
            return Err(Problem::new(what, format!("add --role {}, or say in {} where it is", other.name, at.name)));
        }
        if let Some(form) = &talk.form {
            let inside =
                || form.replace("{host}", &other.name).replace("{port}", &port.expect(PROMISED).container.to_string());
            return Ok(vec![(at.name.clone(), given.map_or_else(inside, str::to_owned))]);
        }
        let here = self.wish.has(&other.name);
        let number = port.map(|port| (port, if here { port.container } else { self.settings.port(&port.setting) }));
        let host = (at.name.clone(), given.unwrap_or(&other.name).to_owned());
        Ok(std::iter::once(host)
            .chain(number.map(|(port, number)| (port.setting.clone(), number.to_string())))
            .collect())
    }

    /// Other names by which it is reached inside: those that the operator gave, alone or in an address that is its container's.
    pub(super) fn aliases(&self) -> Vec<String> {
        let name = host_setting(self.role).and_then(|host| given_host(self.settings, host));
        let talks = self.wish.roles.iter().flat_map(|role| &role.talks_to);
        let told = talks.filter(|talk| talk.role == self.role.name && talk.form.is_some());
        let told = told.filter_map(|talk| given_host(self.settings, at(talk)?)?.parse::<http::Uri>().ok());
        let port = self.role.ports.first().map(|port| port.container);
        let told = told.filter(|url| url.port_u16() == port).filter_map(|url| Some(url.host()?.to_owned()));
        let told = told.filter(|name| name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err());
        let all: BTreeSet<String> = name.map(str::to_owned).into_iter().chain(told).collect();
        all.into_iter().filter(|name| *name != self.role.name).collect()
    }
}

/// What the operator gave for it; this host itself, which a plain deployment names there, means nothing in a container.
fn given_host<'a>(settings: &'a Settings, host: &Setting) -> Option<&'a str> {
    let given = settings.explicit().find(|(name, _)| *name == host.name)?.1;
    let url = given.parse::<http::Uri>().ok();
    let name = url.as_ref().and_then(http::Uri::host).unwrap_or(given);
    let ip = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let loopback = name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    (!loopback).then_some(given)
}

/// Whether a setting that only its program knows is one that is not to be seen, by how such settings end (Airflow's "sensitive" ones, and
/// addresses that have a password in them), or by such an address in it.
fn is_secret(name: &str, value: &str) -> bool {
    let ends = [
        "PASSWORD",
        "_KEY",
        "_SECRET",
        "_TOKEN",
        "_CONN",
        "_CONN_ASYNC",
        "BROKER_URL",
        "RESULT_BACKEND",
        "CREDENTIALS",
    ];
    let login = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    ends.iter().any(|end| name.ends_with(end)) || login.is_some_and(|(login, _)| login.contains(':'))
}

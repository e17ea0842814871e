//! The shape of `roles/<role>.toml`. Unknown keys are refused in every table.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::Settings;

/// What a role is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Role {
    /// `flowdb`, as on the command line.
    pub name: String,
    /// `FlowDB`, as in a sentence.
    pub title: String,
    /// What it does, in one line.
    pub summary: String,
    /// Whether this program can run it; data about roles to come is here already.
    pub built: bool,
    /// Ways of deploying FlowKit, of those that its guide describes, that this role is part of.
    pub scenarios: Vec<Scenario>,
    /// Secrets that this role owns.
    #[serde(default, rename = "secret")]
    pub secrets: Vec<Secret>,
    /// Names of secrets and settings that other roles own and this one reads.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Prefixes of settings that its program knows and this catalogue does not: they are handed on as they are.
    #[serde(default)]
    pub passes: Vec<String>,
    /// Whether its programs may be given any other variable, each as a secret of its name.
    #[serde(default)]
    pub any_variable: bool,
    /// Settings that this role owns.
    #[serde(default, rename = "setting")]
    pub settings: Vec<Setting>,
    /// Where it listens.
    #[serde(default, rename = "port")]
    pub ports: Vec<Port>,
    /// What it keeps or reads on disk.
    #[serde(default, rename = "volume")]
    pub volumes: Vec<Volume>,
    /// Roles that it opens connections to.
    #[serde(default)]
    pub talks_to: Vec<Talk>,
    /// Parts of it that may run on machines of their own.
    #[serde(default, rename = "component")]
    pub components: Vec<Component>,
    /// With which setting they may.
    pub apart: Option<Apart>,
    /// What it needs from the machine.
    pub needs: Needs,
}

/// When the components of a role may run apart, and what a stack tells its services then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Apart {
    /// The setting.
    pub setting: String,
    /// Its value.
    pub value: String,
    /// Settings of the service that has the role's name: where it listens for the others.
    pub first: BTreeMap<String, String>,
    /// Settings of the others: where that one is.
    pub others: BTreeMap<String, String>,
}

/// A part of a role that may run on a machine of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Component {
    /// As on the command line.
    pub name: String,
    /// What it does.
    pub purpose: String,
    /// The service of a stack that it is in. The one with the role's name is where the others find it.
    pub service: String,
    /// The role's secrets that it needs; it is given no others.
    pub secrets: Vec<String>,
    /// Whether it runs programs of the operator's, which may read any variable and reach what is outside.
    #[serde(default)]
    pub any_variable: bool,
    /// The ports at which it listens, by their names.
    #[serde(default)]
    pub ports: Vec<String>,
    /// What it keeps or reads on disk, by the paths in a container.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Those of the role's neighbours that it opens connections to.
    #[serde(default)]
    pub talks_to: Vec<String>,
    /// The setting that says how many of it there are; else there is one.
    pub count: Option<String>,
    /// Memory with which it is of use, in MiB.
    pub memory_mib: u32,
}

/// The ways of deploying FlowKit that its guide describes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Scenario {
    /// FlowDB and FlowETL: a database for SQL
    FlowdbEtl,
    /// The same and redis, for analysts who use FlowMachine as a library
    Library,
    /// Everything inside the firewall, and FlowAuth
    Complete,
    /// FlowAuth alone, outside the firewall
    Flowauth,
}

impl Role {
    /// Whether it hands settings of that name on to its program without knowing them.
    pub fn passes(&self, name: &str) -> bool {
        self.passes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Whether its components may run apart with these settings.
    pub fn is_apart(&self, settings: &Settings) -> bool {
        self.apart.as_ref().is_some_and(|apart| settings.text(&apart.setting) == Some(&apart.value))
    }

    /// Whether it can't do without a secret with these settings.
    pub fn needs_secret(&self, secret: &Secret, settings: &Settings) -> bool {
        // A connection string that nobody made leads to what is the role's own.
        let of_component = |component: &Component| component.secrets.contains(&secret.name);
        let apart = || self.is_apart(settings) && self.components.iter().any(of_component);
        !secret.optional || (!matches!(secret.make, Make::Template(_)) && apart())
    }

    /// Whether a deployment hands it a secret, where `there` knows those that the operator has: one that it can't do without, or an optional one
    /// that nobody but the operator could have put there.
    pub fn is_given(&self, secret: &Secret, settings: &Settings, there: impl Fn(&str) -> bool) -> bool {
        let other = |name: &Option<String>| name.as_ref().is_some_and(|name| there(name));
        (matches!(secret.make, Make::Operator(_)) && there(&secret.name))
            || other(&secret.with)
            || (self.needs_secret(secret, settings) && !other(&secret.instead))
    }

    /// Settings that were given and have no effect because its components may not run apart, in sentences.
    pub fn without_effect(&self, settings: &Settings) -> Vec<String> {
        let Some(apart) = self.apart.as_ref().filter(|_| !self.is_apart(settings)) else { return Vec::new() };
        let counts = self.components.iter().filter_map(|component| component.count.as_deref());
        let ports = self.ports.iter().filter(|port| port.apart).map(|port| port.setting.as_str());
        let given = counts.chain(ports).filter(|name| settings.given_text(name).is_some());
        given.map(|name| format!("{name} has no effect without {}={}", apart.setting, apart.value)).collect()
    }

    /// Bytes of memory that are kept for all of it in a deployment that has some secrets: one of them may say that its database is elsewhere.
    pub fn memory(&self, settings: &Settings, has: impl Fn(&str) -> bool) -> u64 {
        let elsewhere = self.needs.database_unless.as_ref().is_some_and(|secret| has(secret));
        let database = if elsewhere { 0 } else { self.needs.database_mib };
        let programs = match self.is_apart(settings) {
            true => self.components.iter().map(|component| component.memory_mib * component.count(settings)).sum(),
            false => self.needs.memory_mib,
        };
        u64::from(programs + database) << 20
    }
}

impl Component {
    /// How many of it there are.
    pub fn count(&self, settings: &Settings) -> u32 {
        let given = self.count.as_ref().and_then(|name| settings.int(name));
        given.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
    }
}

/// A value that must not be seen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Secret {
    /// The name in FlowKit's deployment guide; also the name of its file.
    pub name: String,
    /// Other spellings that are accepted, and refused when they are given beside this one with another value.
    #[serde(default)]
    pub also: Vec<String>,
    /// What form it has.
    pub kind: Kind,
    /// Where a new one comes from.
    pub make: Make,
    /// The fixed value of earlier versions, which [`crate::secrets::init`] replaces where it has written it itself.
    pub formerly: Option<String>,
    /// Whether a role can do without it.
    #[serde(default)]
    pub optional: bool,
    /// A setting of its role: where that is given, or true if it is a flag, the role does without.
    pub unless: Option<String>,
    /// Another secret of its role, without which this one is of no use.
    pub with: Option<String>,
    /// Another secret of its role, with which the role does without this one.
    pub instead: Option<String>,
    /// Characters that it must not hold.
    #[serde(default)]
    pub forbid: String,
    /// What a new value means for what the old one was used for.
    pub on_change: Option<String>,
    /// Whether data is lost with the old value.
    #[serde(default)]
    pub loses_data: bool,
    /// Where the name comes from.
    pub from: Source,
    /// What it is for.
    pub purpose: String,
}

impl Secret {
    /// Its own name, then the others.
    pub fn spellings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.also.iter().map(String::as_str))
    }
}

/// What form a secret has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One line.
    Password,
    /// 32 bytes in URL-safe base64, 44 characters.
    Fernet,
    /// PEM, PKCS#8 or PKCS#1, without a passphrase; also base64 of that.
    RsaPrivate,
    /// PEM of a SubjectPublicKeyInfo; also base64 of that.
    RsaPublic,
    /// PEM of a certificate, or of a chain that begins with the server's own.
    TlsCert,
    /// PEM of a certificate's private key.
    TlsKey,
    /// Address of a database or broker with user and password.
    Url,
    /// A signed token (JWT).
    Token,
    /// A database user: letters, digits and underscores.
    UserName,
    /// One line of any text.
    Text,
}

impl Kind {
    /// As in the files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Password => "password",
            Kind::Fernet => "fernet",
            Kind::RsaPrivate => "rsa-private",
            Kind::RsaPublic => "rsa-public",
            Kind::TlsCert => "tls-cert",
            Kind::TlsKey => "tls-key",
            Kind::Url => "url",
            Kind::Token => "token",
            Kind::UserName => "user-name",
            Kind::Text => "text",
        }
    }
}

/// Where a new value of a secret comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Make {
    /// Made by chance, in the form of its kind.
    Generate,
    /// This value, unless the operator chooses another.
    Fixed(String),
    /// A connection string; `{NAME}` stands for a secret (quoted for an URL) or a setting.
    Template(String),
    /// The public half of this secret.
    PublicHalfOf(String),
    /// A self-signed certificate for this key.
    CertificateFor(String),
    /// Only the operator can have it; the text says where from.
    Operator(String),
}

/// A value that may be seen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Setting {
    /// The name in FlowKit's guide or programs; ours begin with `FLOWKIT_`.
    pub name: String,
    /// Other spellings that are accepted.
    #[serde(default)]
    pub also: Vec<String>,
    /// What form it has.
    pub r#type: Type,
    /// The value when nothing is given: a string, number or boolean in the file.
    #[serde(default, deserialize_with = "scalar")]
    pub default: Option<String>,
    /// In words, when the value is worked out at run time.
    pub default_text: Option<String>,
    /// A setting whose value this one takes when only that one is given.
    pub default_from: Option<String>,
    /// Texts that mean "not given", beside the empty one.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Least value that is accepted (bytes, seconds or a plain number).
    pub min: Option<i64>,
    /// Greatest value that is accepted.
    pub max: Option<i64>,
    /// The value must be greater than this.
    pub above: Option<i64>,
    /// All that a `choice` accepts, in any case of letters.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Who reads it.
    #[serde(default)]
    pub scope: Scope,
    /// Why nobody reads it, when nobody does; giving it is a warning.
    pub ignored: Option<String>,
    /// Where the name comes from.
    pub from: Source,
    /// What it is for.
    pub purpose: String,
}

impl Setting {
    /// Its own name, then the others.
    pub fn spellings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.also.iter().map(String::as_str))
    }
}

/// What form a setting has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// One line.
    Text,
    /// A whole number.
    Integer,
    /// A number, perhaps with a fraction.
    Number,
    /// 1 to 65535.
    Port,
    /// true or false.
    Flag,
    /// A whole number of seconds.
    Seconds,
    /// A size: a plain number is bytes; kB, MB, GB, TB (or KiB, MiB, GiB, TiB) are powers of 1024 as in PostgreSQL.
    Bytes,
    /// A path of the file system.
    Path,
    /// A host name or address.
    Host,
    /// An IP address to listen on.
    Address,
    /// `scheme://...`; its password is never shown.
    Url,
    /// One of `choices`.
    Choice,
}

impl Type {
    /// As in the files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Type::Text => "text",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Port => "port",
            Type::Flag => "flag",
            Type::Seconds => "seconds",
            Type::Bytes => "bytes",
            Type::Path => "path",
            Type::Host => "host",
            Type::Address => "address",
            Type::Url => "url",
            Type::Choice => "choice",
        }
    }
}

/// Who reads a setting.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The role's own programs.
    #[default]
    Service,
    /// Whoever lays out the deployment (a stack, a module): published ports, directories of the host.
    Deployment,
}

/// Where a name comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// FlowKit's deployment guide.
    Guide,
    /// Upstream's programs or stack files, which know more names than the guide.
    Upstream,
    /// This project.
    Ours,
}

/// Where a role listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    /// Unique in the role.
    pub name: String,
    /// The setting that moves it; its default is the number on a plain host.
    pub setting: String,
    /// The setting with the address that it listens on. Without one that is the loopback's; or, where others come from elsewhere, every one.
    pub listen: Option<String>,
    /// The number inside a container.
    pub container: u16,
    /// The setting with the port of the host at which a stack publishes it; without it a stack keeps it private.
    pub published: Option<String>,
    /// Whether passwords come there in clear: it is published only where that setting is given, on one engine at its loopback.
    #[serde(default)]
    pub plain: bool,
    /// Whether somebody listens there only where the role's components may run apart.
    #[serde(default)]
    pub apart: bool,
    /// Whether only the role's own components on other machines come there.
    #[serde(default)]
    pub between: bool,
    /// What is spoken there, and how it is protected.
    pub protocol: String,
}

/// What a role keeps or reads on disk.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Volume {
    /// Path below the state directory of a plain host; `None` when the operator names it.
    pub state: Option<String>,
    /// Path inside a container.
    pub container: String,
    /// The setting with the directory of the host, for whoever lays out a deployment.
    pub setting: Option<String>,
    /// The setting that tells the role's own programs where it is; without it they look below the state directory.
    pub place: Option<String>,
    /// Whether the role only reads it.
    #[serde(default)]
    pub read_only: bool,
    /// What is in it, and whether it must be kept.
    pub purpose: String,
}

/// Another role that a role opens connections to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Talk {
    /// The other role's name.
    pub role: String,
    /// The setting that says where it is; without it that is the other role's own `ROLE_HOST` with its port.
    pub setting: Option<String>,
    /// What that setting is, where `{host}` and `{port}` stand for the other role's: `https://{host}:{port}`.
    pub form: Option<String>,
    /// The certificate that it knows the other by: handed to it where it is at hand.
    pub certificate: Option<String>,
    /// Whether it does without: then it talks to the other in the same deployment, or where its setting says.
    #[serde(default)]
    pub optional: bool,
    /// What for.
    pub why: String,
}

/// What a role needs from the machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Needs {
    /// Least memory with which it is of use, in MiB.
    pub memory_mib: u32,
    /// The share of the small database that it has of its own, in MiB; it comes on top.
    #[serde(default)]
    pub database_mib: u32,
    /// The secret that says where its database is elsewhere: then it has no such share.
    #[serde(default)]
    pub database_unless: Option<String>,
    /// What it needs disk for.
    pub disk: String,
    /// Programs that are not part of this one.
    pub programs: Vec<String>,
}

impl Needs {
    /// All the memory that is kept for it, in bytes.
    pub fn memory(&self) -> u64 {
        u64::from(self.memory_mib + self.database_mib) << 20
    }
}

/// A default as its text, whichever scalar it is in the file.
fn scalar<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Flag(bool),
        Integer(i64),
        Number(f64),
        Text(String),
    }
    Ok(Some(match Scalar::deserialize(from)? {
        Scalar::Flag(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => value,
    }))
}

//! A role's settings, in `roles/<role>.toml`.

use serde::Deserialize;

use super::Source;

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

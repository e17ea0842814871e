//! A role's secrets, in `roles/<role>.toml`.

use serde::Deserialize;

use super::Source;

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

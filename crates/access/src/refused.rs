//! Why a request has no valid token, in upstream's words.

use std::borrow::Cow;

/// Why a request is turned away before anybody looks at what it asks. The text is upstream's `msg`; clients show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No `Authorization` header.
    #[error("Missing Authorization Header")]
    Missing,
    /// A header that isn't `Bearer <JWT>`.
    #[error("Bad Authorization header. Expected value 'Bearer <JWT>'")]
    BadHeader,
    /// Signed by a key of ours, but past its time.
    #[error("Token has expired")]
    Expired(Box<Expired>),
    /// On the list of revoked tokens and users.
    #[error("Token has been revoked")]
    Revoked {
        /// Whose token it is.
        user: String,
    },
    /// Not a token, not ours, not for this server, or not yet valid.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
}

/// What upstream logs of an expired token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The token's `sub`, where it is text.
    pub user: Option<String>,
    /// The claims as they were signed: JSON, the roles still compressed.
    pub claims: String,
}

impl Refused {
    pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(text.into())
    }

    /// The HTTP status: 401 or 422.
    pub fn status(&self) -> u16 {
        match self {
            Self::Missing | Self::Expired(_) | Self::Revoked { .. } => 401,
            Self::BadHeader | Self::Invalid(_) => 422,
        }
    }

    /// The name of the event in the access log.
    pub fn event(&self) -> &'static str {
        match self {
            Self::Missing => "UNAUTHORISED",
            Self::Expired(_) => "EXPIRED_TOKEN",
            Self::Revoked { .. } => "REVOKED_TOKEN",
            Self::BadHeader | Self::Invalid(_) => "INVALID_TOKEN",
        }
    }
}

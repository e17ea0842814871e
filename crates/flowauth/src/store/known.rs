//! By what whoever asks is known, so that it can be looked at again once nobody else writes.

use super::users::User;
use super::{Change, Result, keys, sessions};

/// What they have shown.
#[derive(Clone, Debug)]
pub enum By {
    /// A session, by its id here.
    Session(String),
    /// A key, by its digest.
    Key(String),
}

/// Who it was when it was looked at first.
#[derive(Clone, Debug)]
pub struct Known {
    /// What they have shown.
    pub by: By,
    /// Who they were then.
    pub user: User,
}

impl Known {
    /// Who it is now; `None`: nobody, since the session or key has ended or the user is disabled.
    ///
    /// # Errors
    /// The database's.
    pub async fn again(&self, db: &mut Change) -> Result<Option<User>> {
        Ok(match &self.by {
            By::Session(id) => sessions::find(db, id).await?.map(|session| session.user),
            By::Key(digest) => keys::find(db, digest).await?.map(|(user, _)| user),
        })
    }

    /// Whether it is a key, which stands for no password and no second factor.
    pub fn is_key(&self) -> bool {
        matches!(self.by, By::Key(_))
    }
}

//! What is sealed before it is kept: by `FLOWAUTH_FERNET_KEY`, in upstream's format.

use fernet::Fernet;
use flowkit_core::secrets::Secret;
use zeroize::Zeroizing;

/// Seals with the newest key, opens with any.
pub struct Vault {
    newest: Fernet,
    before: Vec<Fernet>,
}

/// Not sealed by any key here, or tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not sealed by this FLOWAUTH_FERNET_KEY")]
pub struct NotOurs;

impl Vault {
    /// With the key of now, and those that it has replaced. `None` where the first is no such key.
    pub fn new(newest: &Secret, before: &[Secret]) -> Option<Vault> {
        let before = before.iter().filter_map(|key| Fernet::new(key.expose())).collect();
        Some(Vault { newest: Fernet::new(newest.expose())?, before })
    }

    /// Seals a text.
    pub fn seal(&self, text: &str) -> String {
        self.newest.encrypt(text.as_bytes())
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub fn open(&self, sealed: &str) -> Result<Zeroizing<String>, NotOurs> {
        let open = |key: &Fernet| key.decrypt(sealed).ok();
        let bytes = open(&self.newest).or_else(|| self.before.iter().find_map(open)).ok_or(NotOurs)?;
        String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| NotOurs)
    }

    /// What an earlier key has sealed, sealed by the newest. `None` where that is so already, or nothing opens it.
    pub fn anew(&self, sealed: &str) -> Option<String> {
        match self.newest.decrypt(sealed) {
            Ok(bytes) => {
                drop(Zeroizing::new(bytes));
                None
            }
            Err(_) => self.open(sealed).ok().map(|text| self.seal(&text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        Secret::new(Fernet::generate_key())
    }

    #[test]
    fn a_new_key_takes_over_what_the_one_before_has_sealed() {
        let (old, new) = (key(), key());
        let sealed = Vault::new(&old, &[]).unwrap().seal("a secret");
        let both = Vault::new(&new, std::slice::from_ref(&old)).unwrap();
        assert_eq!(both.open(&sealed).unwrap().as_str(), "a secret");
        let anew = both.anew(&sealed).unwrap();
        assert_eq!(both.anew(&anew), None, "once is enough");
        let alone = Vault::new(&new, &[]).unwrap();
        assert_eq!(alone.open(&anew).unwrap().as_str(), "a secret");
        assert_eq!(alone.open(&sealed), Err(NotOurs));
        assert_eq!(alone.anew(&sealed), None, "what can't be read stays as it is");
        assert!(Vault::new(&Secret::new("no key".to_owned()), &[old]).is_none());
    }
}

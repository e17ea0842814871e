//! Passwords: Argon2id, and which are good enough.

use std::sync::LazyLock;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

/// Longest password, in bytes: more would only keep the guesser and the hash busy.
pub const LONGEST: usize = 256;

/// Memory for one hash, in KiB, and rounds: what OWASP's cheat sheet gives for Argon2id with one lane.
const MEMORY_KIB: u32 = 19 << 10;
const ROUNDS: u32 = 2;

/// Hashes at once, whatever the number of cores: 19 MiB each, of the 128 that the role is given.
const MOST: usize = 4;

/// Longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hashes and checks, so many at once. One of upstream's takes the places of several: it wants 64 MiB.
pub struct Passwords {
    places: Semaphore,
    most: u32,
}

/// Why a password is not known to be right or wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Too many sign in at once.
    #[error("too many passwords are being checked")]
    Busy,
    /// It can't be hashed.
    #[error("the password can't be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A hash of no password that anybody knows: checking against it takes as long as against a real one.
static NOBODYS: LazyLock<String> = LazyLock::new(|| {
    let password: [u8; 32] = rand::random();
    argon2().hash_password(&password).map(|hash| hash.to_string()).unwrap_or_default()
});

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, ROUNDS, 1, None).expect("they are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Default for Passwords {
    fn default() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        LazyLock::force(&NOBODYS);
        let most = cores.min(MOST);
        Passwords { places: Semaphore::new(most), most: u32::try_from(most).unwrap_or(1) }
    }
}

impl Passwords {
    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn hash(&self, password: &str) -> Result<String, Failure> {
        let password = Zeroizing::new(password.to_owned());
        self.apart(1, move || argon2().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(Failure::Hash)
    }

    /// Whether the password is that of a hash. Kind and parameters are the hash's own, so upstream's older ones do. Without a hash it
    /// takes as long, so that nobody learns who is a user.
    ///
    /// # Errors
    /// [`Failure::Busy`].
    pub async fn check(&self, password: &str, hash: Option<&str>) -> Result<bool, Failure> {
        let too_long = password.len() > LONGEST;
        let password = Zeroizing::new(if too_long { String::new() } else { password.to_owned() });
        let known = hash.is_some() && !too_long;
        let hash = hash.map_or_else(|| NOBODYS.clone(), str::to_owned);
        let memory = PasswordHash::new(&hash).ok().and_then(|hash| hash.params.get_decimal("m"));
        let places = memory.map_or(1, |kib| kib.div_ceil(MEMORY_KIB)).clamp(1, self.most);
        let fits = move || {
            PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
        };
        Ok(self.apart(places, fits).await? && known)
    }

    async fn apart<T: Send + 'static>(
        &self,
        places: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let _place = match tokio::time::timeout(PATIENCE, self.places.acquire_many(places)).await {
            Ok(Ok(place)) => place,
            _ => return Err(Failure::Busy),
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Busy)
    }
}

/// How good a password is, from 0 to 4, and what would help. Names of the user and of us are no good in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strength {
    /// 4 is good enough, as upstream has it.
    pub score: u8,
    /// In the estimator's own words (English).
    pub advice: Vec<String>,
}

impl Strength {
    /// Of a password of this user.
    pub fn of(password: &str, user: &str) -> Strength {
        if password.len() > LONGEST {
            return Strength { score: 0, advice: vec![format!("Use at most {LONGEST} bytes.")] };
        }
        let entropy = zxcvbn(password, &[user, "flowauth", "flowkit", "flowminder"]);
        let advice = entropy.feedback().into_iter().flat_map(|feedback| {
            let warning = feedback.warning().map(|warning| warning.to_string());
            warning.into_iter().chain(feedback.suggestions().iter().map(ToString::to_string))
        });
        Strength { score: u8::from(entropy.score()), advice: advice.collect() }
    }

    /// Whether it may be used.
    pub fn is_enough(&self) -> bool {
        self.score >= u8::from(Score::Four)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_fits_and_nobodys_never_does() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse").await.unwrap());
        for (password, hash, fits) in [
            ("correct horse", Some(&*hash), true),
            ("correct hors", Some(&*hash), false),
            ("", Some(&*hash), false),
            ("correct horse", None, false),
            ("correct horse", Some("no hash"), false),
        ] {
            assert_eq!(passwords.check(password, hash).await.unwrap(), fits, "{password:?} {hash:?}");
        }
        let long = "x".repeat(LONGEST + 1);
        let hash = passwords.hash(&long).await.unwrap();
        assert!(!passwords.check(&long, Some(&hash)).await.unwrap());
        // Hashed by upstream's library with other parameters.
        let theirs = Argon2::new(Algorithm::Argon2i, Version::V0x13, Params::new(64, 3, 4, None).unwrap());
        let theirs = theirs.hash_password(b"correct horse").unwrap().to_string();
        assert!(passwords.check("correct horse", Some(&theirs)).await.unwrap());
    }

    #[test]
    fn a_password_that_can_be_guessed_is_told_so() {
        for (password, enough) in [
            ("", false),
            ("password", false),
            ("DUMMY_PASSWORD", false),
            ("flowauthalice", false),
            ("purple-Monkey-dishwasher-91", true),
        ] {
            assert_eq!(Strength::of(password, "alice").is_enough(), enough, "{password}");
        }
        let strength = Strength::of("password1", "alice");
        assert!(!strength.advice.is_empty());
        assert_eq!(Strength::of(&"Gx7-".repeat(100), "alice").score, 0);
    }
}

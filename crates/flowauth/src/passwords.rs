//! Passwords: Argon2id, and which are good enough.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{CustomizedPasswordHasher, Error, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Block, Params, Version};
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

/// What a hash from elsewhere may ask for: memory in KiB, rounds, lanes. More would let anybody who knows a name end the server.
const BEARABLE: (u32, u32, u32) = (256 << 10, 16, 16);

/// Longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hashes and checks, so many at once. One of upstream's takes the places of several: it wants 64 MiB.
pub struct Passwords {
    places: Arc<Semaphore>,
    most: u32,
    rooms: Arc<Mutex<Vec<Room>>>,
}

/// Argon2 in memory that is used again. What is allocated for each hash anew, glibc's allocator keeps, in as many places as there are
/// threads: after some hundred sign-ins that were 500 MB.
#[derive(Default)]
struct Room(RefCell<Vec<Block>>);

impl CustomizedPasswordHasher<PasswordHash> for Room {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> Result<PasswordHash, Error> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        let salt = Salt::new(salt)?;
        let mut buffer = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let out = buffer.get_mut(..length).ok_or(Error::OutputSize)?;
        let mut memory = self.0.borrow_mut();
        memory.resize(params.block_count(), Block::default());
        let argon2 = Argon2::new(algorithm, version, params.clone());
        argon2.hash_password_into_with_memory(password, &salt, out, &mut **memory)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(salt),
            hash: Some(Output::new(out)?),
        })
    }
}

impl Room {
    fn hash(&self, password: &[u8]) -> Result<String, Error> {
        let salt: [u8; Salt::RECOMMENDED_LENGTH] = rand::random();
        self.hash_password_with_params(password, &salt, today()).map(|hash| hash.to_string())
    }

    fn check(&self, password: &[u8], hash: &str) -> bool {
        PasswordHash::new(hash).is_ok_and(|hash| self.verify_password(password, &hash).is_ok())
    }
}

/// Why a password is not known to be right or wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Too many sign in at once.
    #[error("too many passwords are being checked")]
    Busy,
    /// It can't be hashed.
    #[error("the password can't be hashed: {0}")]
    Hash(Error),
}

/// A hash of no password that anybody knows: checking against it takes as long as against a real one.
static NOBODYS: LazyLock<String> = LazyLock::new(|| {
    let password: [u8; 32] = rand::random();
    Room::default().hash(&password).unwrap_or_default()
});

/// What a hash asks for; `None`: it is none of Argon2's.
fn asked(hash: &str) -> Option<(u32, u32, u32)> {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok())?;
    Some((params.m_cost(), params.t_cost(), params.p_cost()))
}

/// How hashes are made now.
fn today() -> Params {
    Params::new(MEMORY_KIB, ROUNDS, 1, None).expect("they are in range")
}

impl Default for Passwords {
    fn default() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        LazyLock::force(&NOBODYS);
        let most = cores.min(MOST);
        Passwords {
            places: Arc::new(Semaphore::new(most)),
            most: u32::try_from(most).unwrap_or(1),
            rooms: Arc::default(),
        }
    }
}

impl Passwords {
    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn hash(&self, password: &str) -> Result<String, Failure> {
        let password = Zeroizing::new(password.to_owned());
        self.apart(1, move |room| room.hash(password.as_bytes())).await?.map_err(Failure::Hash)
    }

    /// Whether the password is that of a hash. Kind and parameters are the hash's own, so upstream's older ones do. Without a hash it
    /// takes as long, so that nobody learns who is a user.
    ///
    /// # Errors
    /// [`Failure::Busy`].
    pub async fn check(&self, password: &str, hash: Option<&str>) -> Result<bool, Failure> {
        let too_long = password.len() > LONGEST;
        let password = Zeroizing::new(if too_long { String::new() } else { password.to_owned() });
        let known = hash.is_some_and(Passwords::is_bearable) && !too_long;
        let hash = hash.filter(|hash| Passwords::is_bearable(hash)).map_or_else(|| NOBODYS.clone(), str::to_owned);
        let memory = PasswordHash::new(&hash).ok().and_then(|hash| hash.params.get_decimal("m"));
        let places = memory.map_or(1, |kib| kib.div_ceil(MEMORY_KIB)).clamp(1, self.most);
        Ok(self.apart(places, move |room| room.check(password.as_bytes(), &hash)).await? && known)
    }

    /// Whether a hash was made otherwise than one is made today: by upstream, or by us before we asked for more.
    pub fn is_old(hash: &str) -> bool {
        asked(hash) != Some((MEMORY_KIB, ROUNDS, 1))
    }

    /// Whether a hash asks for no more than is given. One that does fits no password.
    pub fn is_bearable(hash: &str) -> bool {
        asked(hash).is_some_and(|(m, t, p)| m <= BEARABLE.0 && t <= BEARABLE.1 && p <= BEARABLE.2)
    }

    async fn apart<T: Send + 'static>(
        &self,
        places: u32,
        work: impl FnOnce(&Room) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let places = Arc::clone(&self.places).acquire_many_owned(places);
        let Ok(Ok(place)) = tokio::time::timeout(PATIENCE, places).await else { return Err(Failure::Busy) };
        let rooms = Arc::clone(&self.rooms);
        // The place is kept until the work is done, also where whoever asked has gone meanwhile.
        let work = move || {
            let rooms = || rooms.lock().unwrap_or_else(PoisonError::into_inner);
            let room = rooms().pop().unwrap_or_default();
            let done = work(&room);
            // One that upstream's hash has made larger is not kept.
            if room.0.borrow().capacity() <= today().block_count() {
                rooms().push(room);
            }
            drop(place);
            done
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
    use argon2::password_hash::PasswordHasher as _;

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
            ("correct horse", Some("$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNo"), false),
            ("correct horse", Some("$argon2id$v=19$m=19456,t=4294967295,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNo"), false),
        ] {
            assert_eq!(passwords.check(password, hash).await.unwrap(), fits, "{password:?} {hash:?}");
        }
        let long = "x".repeat(LONGEST + 1);
        let hash = passwords.hash(&long).await.unwrap();
        assert!(!passwords.check(&long, Some(&hash)).await.unwrap());
        // Hashed by upstream's library with other parameters.
        let theirs = Argon2::new(Algorithm::Argon2i, Version::V0x13, Params::new(64, 3, 4, None).unwrap());
        let theirs = theirs.hash_password(b"correct horse").unwrap().to_string();
        assert!(Passwords::is_old(&theirs) && !Passwords::is_old(&hash));
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

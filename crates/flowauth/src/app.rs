//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use access::{Minter, Revocations};
use flowkit_core::secrets::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::deployment::Last;
use crate::local::{Local, Pem};
use crate::oidc::Provider;
use crate::passwords::{Failure, Passwords};
use crate::store::audit::Actor;
use crate::store::{Store, attempts, factors, identities, invitations, keys, now, sealed, sessions, tokens, users};
use crate::vault::Vault;

/// For how many seconds a list of revocations may be relied on.
const LIST_AGE: i64 = 3600;

/// A list is signed no more often than this, whoever asks for it.
const LIST_FRESH: Duration = Duration::from_secs(5);

/// A token is refused as over only so many seconds after its end: clocks differ.
const LEEWAY: i64 = 60;

/// The database notes under this name what only its own key opens.
pub(crate) const SEALED: &str = "sealed by FLOWAUTH_FERNET_KEY";

/// What a server is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What an authenticator app calls us.
    pub issuer: String,
    /// How many steps of 30 seconds to either side of now a code may be of.
    pub window: u16,
    /// The FlowAPI of the same deployment.
    pub local: Option<Local>,
    /// The certificate that it shows.
    pub certificate: Option<Pem>,
    /// The OpenID Connect provider by which people may sign in.
    pub provider: Option<Arc<Provider>>,
    /// Whether it speaks plain HTTP itself: then whoever is on the same machine has come without a proxy's TLS.
    pub plain: bool,
}

/// Keys that come from secrets.
pub struct Keys {
    /// Signs tokens.
    pub minter: Minter,
    /// Its public half, as PEM.
    pub public_pem: String,
    /// Seals what is kept.
    pub vault: Vault,
    /// `SECRET_KEY`: makes the tokens against forged requests.
    pub secret: Secret,
}

/// The server's parts.
pub struct App {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) passwords: Passwords,
    /// Since when it is there.
    pub(crate) since: i64,
    /// What the FlowAPI beside it said last.
    pub(crate) beside: Last,
    list: Mutex<Option<(Instant, String)>>,
}

/// Why a server can't begin.
#[derive(Debug, thiserror::Error)]
pub enum Beginning {
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// Another key, or another database.
    #[error(
        "the database was sealed by another FLOWAUTH_FERNET_KEY than this one, and than the one before it: put that key back, as the backups \
         have it"
    )]
    OtherKey,
    /// Nowhere to keep a certificate.
    #[error("certificates can't be kept: {0}")]
    Certificates(String),
    /// No password, no administrator.
    #[error("the administrator can't be made")]
    Admin(#[from] Failure),
}

impl App {
    /// A server over this database. What an earlier key has sealed is sealed anew, and it is noted which key signs.
    ///
    /// # Errors
    /// [`Beginning`].
    pub async fn new(options: Options, store: Store, keys: Keys) -> Result<Arc<App>, Beginning> {
        let mut change = store.change().await?;
        if let Some(text) = sealed::fact(&mut change, SEALED).await? {
            keys.vault.open(&text).map_err(|_| Beginning::OtherKey)?;
        }
        let count = sealed::replace_all(&mut change, |text| keys.vault.anew(text)).await?;
        sealed::set_fact(&mut change, SEALED, &keys.vault.seal("yes")).await?;
        let kid = kid(&keys.public_pem);
        sealed::sign_with(&mut change, &kid, &keys.public_pem).await?;
        change.commit(&Actor::program().does("program.start", kid, json!({ "sealed_anew": count }))).await?;
        if count > 0 {
            tracing::info!(count, "sealed anew by the new FLOWAUTH_FERNET_KEY");
        }
        let (passwords, list, beside, since) = (Passwords::default(), Mutex::default(), Last::default(), now());
        Ok(Arc::new(App { options, store, keys, passwords, since, beside, list }))
    }

    /// Makes the first administrator, where there is none yet: one whom somebody has renamed or removed does not come back. Says whether
    /// it did. A password that was changed since stays: only `again` sets it, makes who is missing, and lets in whom somebody has locked
    /// out: sessions, keys, links and the second factor end.
    ///
    /// # Errors
    /// [`Beginning`].
    pub async fn first_admin(&self, name: &str, password: &Secret, again: bool) -> Result<bool, Beginning> {
        let hash = self.passwords.hash(password.expose()).await?;
        let mut change = self.store.change().await?;
        let wanted = users::Wanted { name: name.to_owned(), is_admin: true, ..users::Wanted::default() };
        let program = Actor::program();
        match users::named(&mut change, name).await? {
            None if again || users::admins(&mut change).await? == 0 => {
                users::add(&mut change, &wanted, Some(&hash)).await?;
                change.commit(&program.does("user.add", name, json!({ "is_admin": true }))).await?;
                Ok(true)
            }
            Some((user, _)) if again => {
                users::change(&mut change, user.id, &users::Wanted { needs_factor: user.needs_factor, ..wanted })
                    .await?;
                users::set_password(&mut change, user.id, &hash).await?;
                // Whoever had the account is out, and nothing that they have put there keeps its owner out.
                keys::remove_all(&mut change, user.id).await?;
                identities::remove_all(&mut change, user.id).await?;
                invitations::remove_all(&mut change, user.id).await?;
                sessions::end_others(&mut change, user.id, None).await?;
                factors::disable(&mut change, user.id).await?;
                attempts::forget_user(&mut change, user.id, name).await?;
                change.commit(&program.does("user.password", name, json!({ "is_admin": true }))).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What a page or a program of this session sends with every change, so that no other site can: nothing has to be kept for it.
    pub(crate) fn forgery_token(&self, session: &str) -> String {
        hex(&self.mac("forgery", session))
    }

    /// What shows that a user has signed in with a browser since they have this password, and when: numbers and digests, which have one reading.
    pub(crate) fn browser_token(&self, browser: u128, since: i64, user: i64, password: &str) -> String {
        let password = hex(&Sha256::digest(password));
        hex(&self.mac("browser", &format!("{browser:032x} {since} {user} {password}")))
    }

    /// By what authenticators know a user, which says nothing to anybody else.
    pub(crate) fn handle(&self, user: i64) -> String {
        hex(&self.mac("handle", &user.to_string())[..16])
    }

    /// What only this deployment can have made of a text, for a purpose.
    fn mac(&self, purpose: &str, text: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.keys.secret.expose().as_bytes()).expect("any length will do");
        mac.update(format!("{purpose} {text}").as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The signed list of revoked tokens.
    pub(crate) async fn revocations(&self) -> Result<String, web::Error> {
        let mut last = self.list.lock().await;
        if let Some((at, text)) = last.as_ref()
            && at.elapsed() < LIST_FRESH
        {
            return Ok(text.clone());
        }
        let tokens = tokens::revoked(&mut *self.store.read().await?, now() - LEEWAY).await?;
        let issued = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())?;
        let list = Revocations { issued, max_age: LIST_AGE, tokens, ..Revocations::default() };
        let text = tokio::task::block_in_place(|| self.keys.minter.publish(&list, &mut rand::rng()))?;
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }

    /// The next list is made anew.
    pub(crate) async fn revoked(&self) {
        *self.list.lock().await = None;
    }
}

/// The name of a public key: a digest of it.
pub fn kid(public_pem: &str) -> String {
    hex(&Sha256::digest(public_pem.trim().as_bytes()))[..16].to_owned()
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

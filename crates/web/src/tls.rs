//! Certificate and key, looked at again now and then; and those that are shown to whoever asks for a name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use https::{Pair, PemError};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as RustlsError, version};

/// Between two looks at the files. Seen twice the same, new ones are taken over: a pair is written one file after the other.
const EVERY: Duration = Duration::from_secs(5);

/// A certificate's end is spoken of this long before, once a day.
const NEAR: Duration = Duration::from_secs(14 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

type Source = Box<dyn Fn() -> Result<Pair, String> + Send + Sync>;

/// Why HTTPS can't be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// They can't be had; the text says which and why.
    #[error("{0}")]
    Read(String),
    /// They can't be used.
    #[error(transparent)]
    Pair(#[from] PemError),
    /// The library refuses.
    #[error("TLS can't be set up")]
    Library(#[from] RustlsError),
}

/// What an authority speaks that asks whether a name is ours (RFC 8737), and nobody else.
pub(crate) const QUESTION: &[u8] = b"acme-tls/1";

/// What a server shows, and how. A clone is the same.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    shared: Arc<Shared>,
    every: Duration,
}

struct Shared {
    source: Source,
    shown: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Seen>,
    named: RwLock<HashMap<String, Named>>,
}

/// What is shown to whoever asks for a name.
#[derive(Default)]
struct Named {
    /// To everybody.
    shown: Option<Arc<CertifiedKey>>,
    /// To the authority that asks whether the name is ours.
    answer: Option<Arc<CertifiedKey>>,
}

/// What the files held: the pair in use, the last look, and what was refused and told.
struct Seen {
    used: Pair,
    last: Option<Pair>,
    refused: Option<String>,
}

impl Tls {
    /// From two files of PEM, or base64 of it: the server's own certificate followed by each one's issuer, and its key.
    ///
    /// # Errors
    /// When they can't be read or used.
    pub fn files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Tls, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map(Into::into)
                .map_err(|error| format!("{} can't be read: {error}", path.display()))
        };
        Tls::of(move || Ok(Pair { certificate: read(&certificate)?, key: read(&key)? }))
    }

    /// From wherever the secrets are. The source is asked again every few seconds.
    ///
    /// # Errors
    /// When they can't be had or used.
    pub fn of(source: impl Fn() -> Result<Pair, String> + Send + Sync + 'static) -> Result<Tls, TlsError> {
        let used = source().map_err(TlsError::Read)?;
        let shown = Arc::new(https::pair(&used, SystemTime::now())?);
        let seen = Mutex::new(Seen { used, last: None, refused: None });
        let named = RwLock::default();
        let shared = Arc::new(Shared { source: Box::new(source), shown: RwLock::new(shown), seen, named });
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(shared.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), QUESTION.to_vec()];
        Ok(Tls { config: Arc::new(config), shared, every: EVERY })
    }

    /// Looks at the source as often as this; 5 s unless said otherwise.
    pub fn every(self, every: Duration) -> Tls {
        Tls { every, ..self }
    }

    /// Shows this pair to whoever asks for the name from now on, instead of the one of the source.
    ///
    /// # Errors
    /// It can't be used; what was shown before stays.
    pub fn show(&self, name: &str, pair: &Pair) -> Result<(), PemError> {
        let pair = Arc::new(https::pair(pair, SystemTime::now())?);
        self.named(name, |named| named.shown = Some(pair));
        Ok(())
    }

    /// Shows this pair to the authority that asks whether the name is ours; `None`: nothing any more.
    ///
    /// # Errors
    /// It can't be used.
    pub fn answer(&self, name: &str, pair: Option<&Pair>) -> Result<(), PemError> {
        let pair = pair.map(https::unchecked).transpose()?;
        self.named(name, |named| named.answer = pair.map(Arc::new));
        Ok(())
    }

    fn named(&self, name: &str, change: impl FnOnce(&mut Named)) {
        let mut named = self.shared.named.write().unwrap_or_else(PoisonError::into_inner);
        change(named.entry(name.to_ascii_lowercase()).or_default());
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Takes over what changes. Never returns.
    pub(crate) async fn watch(&self) {
        let mut said = None;
        loop {
            let shared = self.shared.clone();
            // Files may be on a disk that stands still.
            let _ = tokio::task::spawn_blocking(move || shared.look()).await;
            if said.is_none_or(|at: SystemTime| at.elapsed().is_ok_and(|since| since > DAY)) && self.shared.ends_soon()
            {
                said = Some(SystemTime::now());
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

impl Shared {
    fn shown(&self) -> Arc<CertifiedKey> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One look. A pair that can't be used is told once, and the old one stays.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match (self.source)() {
            Err(why) => why,
            Ok(now) if same(&now, &seen.used) => {
                seen.last = None;
                seen.refused = None;
                return;
            }
            Ok(now) if !seen.last.as_ref().is_some_and(|last| same(last, &now)) => {
                seen.last = Some(now);
                return;
            }
            Ok(now) => match https::pair(&now, SystemTime::now()) {
                Err(why) => why.to_string(),
                Ok(pair) => {
                    *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                    *seen = Seen { used: now, last: None, refused: None };
                    tracing::info!("the certificate has changed; new connections get the new one");
                    return;
                }
            },
        };
        if seen.refused.as_ref() != Some(&refused) {
            tracing::error!(
                why = refused,
                "the certificate or its key has changed and can't be used; the old one stays"
            );
            seen.refused = Some(refused);
        }
    }

    fn ends_soon(&self) -> bool {
        let shown = self.shown();
        let Some(end) = shown.cert.first().and_then(https::ends) else { return false };
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        if left < NEAR {
            tracing::warn!(
                days = left.as_secs() / DAY.as_secs(),
                "the certificate ends soon, and clients will refuse it"
            );
        }
        left < NEAR
    }
}

fn same(one: &Pair, other: &Pair) -> bool {
    *one.certificate == *other.certificate && *one.key == *other.key
}

struct Resolver(Arc<Shared>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = self.0.named.read().unwrap_or_else(PoisonError::into_inner);
        let named = hello.server_name().and_then(|name| named.get(&name.to_ascii_lowercase()));
        // The authority speaks this alone, and is shown nothing else.
        if hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == QUESTION)) {
            return named.and_then(|named| named.answer.clone());
        }
        Some(named.and_then(|named| named.shown.clone()).unwrap_or_else(|| self.0.shown()))
    }
}

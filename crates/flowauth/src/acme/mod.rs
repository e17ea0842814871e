//! Certificates from an authority, by ACME (RFC 8555), for the name under which people know FlowAuth. The authority asks at port 443 of
//! that name (tls-alpn-01, RFC 8737), where we answer by TLS itself: no second port, and no other program.
//!
//! ```text
//! mod      when to ask, what to do when it goes wrong
//! order    asking: the library is `instant-acme`
//! kept     account and certificate in the state directory
//! given    settings
//! ```
//! Whoever asks for another name, or for none, is shown the deployment's own certificate as before: FlowAPI, the supervisor and `flowkit
//! verify` know FlowAuth by that.

pub mod given;
mod kept;
mod order;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use web::{Pair, Tls};

use kept::Kept;

/// Gives certificates as PEM, those of now.
type Trusted = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The longest pause after a failure.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// What the operator says.
#[derive(Clone)]
pub struct Options {
    /// The name to be certified.
    pub domain: String,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The authority's directory: `https://…`.
    pub directory: String,
    /// Whose certificates are trusted when it is asked.
    pub trusted: Trusted,
    /// Where account and certificate are kept.
    pub place: PathBuf,
    /// The pause after the first failure; each further one doubles it. A minute suits the limits of public authorities.
    pub pause: Duration,
}

/// Gets certificates, and gets them again.
pub struct Acme {
    options: Options,
    tls: Tls,
    kept: Kept,
}

/// When a certificate is due to be renewed.
fn due(pair: &Pair) -> Option<SystemTime> {
    let chain = https::chain(&pair.certificate).ok()?;
    let (begins, ends) = https::validity(chain.first()?)?;
    // A third of its life is left then, as authorities advise.
    Some(begins + ends.duration_since(begins).ok()? * 2 / 3)
}

impl Acme {
    /// Shows what is kept, if it is still good.
    ///
    /// # Errors
    /// In words: what is wrong with the state directory.
    pub fn begin(options: Options, tls: Tls) -> Result<Acme, String> {
        let kept = Kept::open(&options.place)?;
        if let Some(pair) = kept.certificate(&options)
            && let Err(why) = tls.show(&options.domain, &pair)
        {
            tracing::warn!(%why, "the certificate that the authority has given can't be used; another one is asked for");
        }
        Ok(Acme { options, tls, kept })
    }

    /// Gets a certificate when one is due. Never returns.
    pub async fn run(self) {
        let Options { domain, directory, .. } = &self.options;
        let mut failures = 0_u32;
        loop {
            let due = self.kept.certificate(&self.options).as_ref().and_then(due);
            if failures == 0
                && let Some(wait) = due.and_then(|due| due.duration_since(SystemTime::now()).ok())
            {
                tokio::time::sleep(wait.min(LONGEST)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => {
                    failures = 0;
                    tracing::info!(domain, directory, "a new certificate is shown");
                }
                Err(why) => {
                    let pause = self.pause(failures);
                    failures += 1;
                    let (seconds, shown) = (pause.as_secs(), if due.is_some() { "the old one" } else { "our own" });
                    tracing::error!(
                        domain,
                        directory,
                        failures,
                        why,
                        "no new certificate: {shown} is shown; asked again in {seconds} s"
                    );
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Doubles with each failure, up to hours, and a little by chance: not all servers ask at once when an authority is back.
    fn pause(&self, failures: u32) -> Duration {
        let pause = self.options.pause.saturating_mul(1 << failures.min(16)).min(LONGEST);
        pause.mul_f64(rand::random_range(0.8..=1.0))
    }

    async fn renew(&self) -> Result<(), String> {
        let pair = order::order(&self.options, &self.kept, &self.tls).await?;
        self.tls.show(&self.options.domain, &pair).map_err(|why| format!("what it has given can't be used: {why}"))?;
        self.kept.keep(&self.options, &pair)
    }
}

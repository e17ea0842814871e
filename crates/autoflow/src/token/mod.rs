//! The token that is shown to FlowAPI: the operator's, or one that FlowAuth has given for the key of a machine of its own, which is renewed
//! before it ends. Another token of the operator's counts more than what is kept.
//!
//! ```text
//! kept      the token and how the last try went, as files
//! renewal   when another try is due
//! life      when a token ends, and whether another one is better
//! flowauth  FlowAuth, asked with the key
//! ```

mod flowauth;
mod kept;
mod life;
mod renewal;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::Inspection;
use flowkit_core::config::{Problem, Settings};
use flowkit_core::secrets::{Secret, Store as Secrets};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use self::flowauth::Address;
use self::kept::Kept;
use self::life::{ends_soon, is_better, is_near_end, outlives};
use crate::engine::{Standing, now};
use crate::execute::stopped;
use crate::start::Given;
use crate::table::moment;

/// The names of what it is told.
const TOKEN: &str = "FLOWAPI_TOKEN";
const KEY: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY";

/// Between two looks at whether a new one is due.
const EVERY: Duration = Duration::from_secs(2);

/// Longest wait for FlowAuth, for all that it is asked at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the token comes from.
pub struct Tokens {
    secrets: Secrets,
    kept: Kept,
    flowauth: Address,
}

impl Tokens {
    /// By settings and secrets; `state` is AutoFlow's own directory.
    ///
    /// # Errors
    /// FlowAuth's address is none.
    pub fn read(settings: &Settings, secrets: &Secrets, state: &Path) -> Result<Tokens, Problem> {
        Ok(Tokens { secrets: secrets.clone(), kept: Kept::of(state), flowauth: Address::read(settings)? })
    }

    /// The token as it is now.
    ///
    /// # Errors
    /// In words: there is none, or none that can be read.
    pub fn current(&self) -> Result<Secret, String> {
        let token = self.any()?.ok_or_else(|| match self.secrets.get(KEY) {
            Ok(_) => "there is no token yet: FlowAuth is asked for one".to_owned(),
            Err(_) => {
                format!("there is no token: put one into {TOKEN}, or let AutoFlow get its own (`flowkit auth enrol`)")
            }
        })?;
        // upstream's client repeats a text that is none.
        match Inspection::read(token.expose()) {
            Ok(_) => Ok(token),
            Err(_) => Err(format!("{TOKEN} is no token of FlowAuth's: make another, and put it there")),
        }
    }

    /// The operator's, or what is kept in its place.
    fn any(&self) -> Result<Option<Secret>, String> {
        let given = self.given()?;
        Ok(self.kept.token(given.as_ref()).or(given))
    }

    fn given(&self) -> Result<Option<Secret>, String> {
        self.secrets.optional(TOKEN).map_err(|problem| problem.to_string())
    }

    /// The key, if one is given.
    fn key(&self) -> Option<Result<Secret, String>> {
        self.secrets.optional(KEY).map_err(|problem| problem.to_string()).transpose()
    }

    /// FlowAPI has not taken this token: its key or its name is another by now. With a key another token is due.
    pub fn was_refused(&self, token: &Secret, now: i64) {
        let (Some(Ok(key)), before, refused) = (self.key(), self.kept.renewal(), digest(token)) else { return };
        if before.refused != refused {
            self.kept.remember(before.was_refused(refused, digest(&key), now));
        }
    }

    /// FlowAPI has taken the token.
    pub fn was_taken(&self) {
        let before = self.kept.renewal();
        if before.refusals > 0 {
            self.kept.remember(before.was_taken());
        }
    }

    /// What there is to say of it: that it ends soon, if nobody renews it, that there is none, or why there is no newer one.
    pub fn note(&self, now: i64) -> Option<String> {
        let is_renewed = self.key().is_some();
        let renewal = Some(self.kept.renewal()).filter(|_| is_renewed);
        let failed = renewal.as_ref().filter(|renewal| !renewal.failed.is_empty());
        let end = match self.current() {
            Ok(token) => {
                let has_ended = || life::end(&token).is_some_and(|end| end <= now);
                let says = !is_renewed || failed.is_some() || has_ended();
                says.then(|| ends_soon(&token, now, is_renewed)).flatten()
            }
            Err(why) => Some(why),
        };
        let refused = renewal.as_ref().filter(|renewal| self.is_refused(&renewal.refused)).map(|renewal| {
            let what = "FlowAPI does not take the token, and FlowAuth is asked for another";
            match renewal.again > now && renewal.failed.is_empty() {
                true => format!("{what} at {} UTC", moment(renewal.again)),
                false => what.to_owned(),
            }
        });
        let failed = failed.map(|renewal| {
            let again = moment(renewal.again);
            format!("FlowAuth gives no new token, and is asked again at {again} UTC: {}", renewal.failed)
        });
        let all: Vec<String> = [end, refused, failed].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Gets a new token if it is time; whether it was. What goes wrong is logged once for as long as it is the same, and kept.
    pub async fn renew(&self, now: i64) -> bool {
        let Some(key) = self.key() else { return false };
        let (name, before) = (key.as_ref().map_or_else(|_| String::new(), digest), self.kept.renewal());
        if before.waits(&name, now) || !self.is_due(now) {
            return false;
        }
        let got = async {
            let key = key?;
            // A token that can't be kept would be asked for again and again.
            let full = |error| {
                format!("it could not be kept, so FlowAuth is not asked: {}: {error}", self.kept.dir().display())
            };
            self.kept.has_room().map_err(full)?;
            self.ask(key, now).await
        };
        let got = tokio::time::timeout(PATIENCE, got).await;
        let got = got.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let renewal = match got.and_then(|token| self.keep(&token)) {
            Ok(()) => {
                tracing::info!("FlowAuth has given a new token");
                before.went_well()
            }
            Err(failed) => {
                let is_known = before.failed == failed;
                let end = self.any().ok().flatten().as_ref().and_then(life::end);
                let renewal = before.went_wrong(failed, name, now, end);
                if !is_known {
                    let wait = renewal.again - now;
                    tracing::error!(again_in_seconds = wait, "FlowAuth gives no new token: {}", renewal.failed);
                }
                renewal
            }
        };
        self.kept.remember(renewal);
        true
    }

    /// Whether a new one is to be had: there is none, FlowAPI does not take it, or it is near its end.
    fn is_due(&self, now: i64) -> bool {
        let Ok(token) = self.any() else { return false };
        token.is_none_or(|token| is_near_end(&token, now)) || self.is_refused(&self.kept.renewal().refused)
    }

    /// Whether the token is this one, of which FlowAPI has said no.
    fn is_refused(&self, refused: &str) -> bool {
        !refused.is_empty() && self.any().ok().flatten().is_some_and(|token| digest(&token) == refused)
    }

    /// Has FlowAuth renew the token, or give a first one with all that the key's user may.
    async fn ask(&self, key: Secret, now: i64) -> Result<Secret, String> {
        let flowauth = self.flowauth.ask(key, &self.secrets).await?;
        let (given, current) = (self.given()?, self.any()?);
        let known = match &current {
            Some(token) => flowauth.find(token).await?,
            None => None,
        };
        if known.is_none() && given.is_some() && current == given {
            return Err(format!(
                "{TOKEN} is none of the tokens of the key's user, and no other is taken in its place: remove it, and AutoFlow asks for one of its own"
            ));
        }
        let is_refused = self.is_refused(&self.kept.renewal().refused);
        // What it is measured by: what FlowAPI does not take is worth nothing, and soon what FlowAuth does not know or has revoked.
        let is_live = known.as_ref().is_some_and(|known| !known.is_revoked);
        let good = current.as_ref().filter(|_| is_live && !is_refused);
        let new = match known {
            Some(known) if !known.is_revoked => {
                if let Some(end) = known.renewal_end {
                    // Each would stand in FlowAuth's lists, for nothing.
                    outlives(end, good.and_then(life::end))?;
                }
                flowauth.renew(&known).await?
            }
            Some(_) if is_refused && !current.as_ref().is_none_or(|old| is_near_end(old, now)) => {
                let place = self.kept.place();
                return Err(format!(
                    "the token was revoked in FlowAuth, which was somebody's decision: for another before it ends, remove {}",
                    place.display()
                ));
            }
            // It was revoked, or FlowAuth knows it no longer.
            _ => flowauth.first(current.as_ref()).await?,
        };
        is_better(&new, good, now).map(|()| new)
    }

    fn keep(&self, token: &Secret) -> Result<(), String> {
        let given = self.given().ok().flatten();
        self.kept.keep(given.as_ref(), token).map_err(|error| error.to_string())
    }
}

/// By what a secret is known without being told.
fn digest(secret: &Secret) -> String {
    Sha256::digest(secret.expose()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Renews the token whenever it is time, until `stop` is true.
pub async fn look_after(given: Arc<Given>, standing: Arc<Mutex<Standing>>, mut stop: watch::Receiver<bool>) {
    loop {
        let once = async {
            given.tokens.renew(now()).await;
            standing.lock().expect("nobody panics with it").token = given.tokens.note(now());
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = once => {}
        }
    }
}

#[cfg(test)]
mod tests;

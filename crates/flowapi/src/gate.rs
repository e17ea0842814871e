//! Who is let in, and which queries: the keys, the lists of what was revoked, and the bounds of a specification.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use access::{Bounds, Refused, Spec, Token, Verifier};
use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::MissedTickBehavior;

use crate::revoked::List;

/// The gate. A clone is the same.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    verifier: Verifier,
    bounds: Bounds,
    lists: Vec<List>,
}

impl Gate {
    /// Lets in tokens that the verifier finds good and no list names.
    pub fn new(verifier: Verifier, bounds: Bounds, lists: Vec<List>) -> Gate {
        Gate(Arc::new(Shared { verifier, bounds, lists }))
    }

    /// The token in a request's header.
    ///
    /// # Errors
    /// There is none, or it is not good.
    pub fn token(&self, header: Option<&str>, now: SystemTime) -> Result<Token, Refused> {
        let token = self.0.verifier.verify(access::bearer(header)?, now)?;
        self.0.lists.iter().try_for_each(|list| list.check(&token))?;
        Ok(token)
    }

    /// A query's specification that may be shown to FlowMachine.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn read(&self, text: &[u8]) -> Result<Spec, web::Error> {
        Spec::parse(text, &self.0.bounds).map_err(|fault| {
            web::Error::new(StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST), fault.to_string())
        })
    }

    /// The lists of what was revoked.
    pub fn lists(&self) -> &[List] {
        &self.0.lists
    }

    /// Looks once at the lists that are files.
    ///
    /// # Errors
    /// As [`List::look`]; of a list that is past its age, that it is.
    pub fn look(&self) -> Result<Option<&'static str>, String> {
        let looked = self.0.lists.iter().map(|list| list.look(&self.0.verifier)).collect::<Result<Vec<_>, _>>()?;
        Ok(looked.into_iter().flatten().next())
    }

    /// Looks at all lists again and again. Never returns.
    pub async fn watch(self, every: Duration) {
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The first is at once: what the start has found could not be logged.
            looks.tick().await;
            join_all(self.0.lists.iter().map(|list| list.watch(&self.0.verifier))).await;
        }
    }
}

//! Queries that FlowMachine knows by their ids: what was asked, and for which unit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use access::Spec;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::flowmachine::{Asker, FlowMachine, Reply};

/// Memory for what is known, in bytes of specifications. An id stands for one query for ever, so it is asked for once.
const MEMORY: usize = 32 << 20;

/// A query as it was submitted first.
pub struct Known {
    /// The specification, read and found harmless.
    pub spec: Spec,
    /// The unit of its result; `None` when it has none.
    pub unit: Option<String>,
}

/// Those that were asked for lately.
#[derive(Default)]
pub struct KnownQueries(Mutex<(HashMap<String, Arc<Known>>, usize)>);

#[derive(Deserialize)]
struct Params {
    query_params: Box<RawValue>,
}

#[derive(Deserialize)]
struct Unit {
    aggregation_unit: Option<String>,
}

impl KnownQueries {
    /// The query of an id. `check` is asked before FlowMachine is told the query: whoever stored it need not have come by us.
    ///
    /// # Errors
    /// 404 when FlowMachine says that it does not know it, and only then: a client runs the query again when it reads that.
    /// What `check` says.
    pub async fn find(
        &self,
        app: &App,
        asker: &Asker,
        id: &str,
        check: impl Fn(&Spec) -> Result<(), web::Error>,
    ) -> Result<Arc<Known>, web::Error> {
        const ACTION: &str = "get_query_params";
        if let Some(known) = self.lock().0.get(id) {
            return Ok(known.clone());
        }
        let flowmachine = &app.flowmachine;
        let reply = flowmachine.about(asker, ACTION, &[("query_id", id)]).await?;
        if !reply.is_success() {
            return Err(lost(&reply, id));
        }
        let Params { query_params: text } = reply.read(ACTION)?;
        let spec = app.gate.read(text.get().as_bytes())?;
        check(&spec)?;
        let unit = match unit(flowmachine, asker, &text).await? {
            Ok(unit) => unit,
            Err(reply) => return Err(web::Error::of(StatusCode::INTERNAL_SERVER_ERROR).because(reply.msg)),
        };
        let known = Arc::new(Known { spec, unit });
        let size = text.get().len() + id.len();
        let mut all = self.lock();
        all.1 += size;
        if all.1 > MEMORY {
            *all = (HashMap::new(), size);
        }
        all.0.insert(id.to_owned(), known.clone());
        Ok(known)
    }

    /// The kind of a query that was asked for lately.
    pub fn kind(&self, id: &str) -> Option<String> {
        self.lock().0.get(id).map(|known| known.spec.kind().to_owned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (HashMap<String, Arc<Known>>, usize)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The unit of a query's result, or FlowMachine's reasons for refusing the query.
///
/// # Errors
/// FlowMachine does not say.
pub async fn unit(
    flowmachine: &FlowMachine,
    asker: &Asker,
    spec: &RawValue,
) -> Result<Result<Option<String>, Reply>, crate::flowmachine::Error> {
    const ACTION: &str = "get_aggregation_unit";
    let reply = flowmachine.of_query(asker, ACTION, spec).await?;
    if !reply.is_success() {
        return Ok(Err(reply));
    }
    let Unit { aggregation_unit } = reply.read(ACTION)?;
    Ok(Ok(aggregation_unit))
}

/// What the client is told when FlowMachine refuses a query's id.
pub fn lost(reply: &Reply, id: &str) -> web::Error {
    match reply.state().as_deref() {
        Some("awol") => unknown(id),
        Some(state) => web::Error::new(StatusCode::INTERNAL_SERVER_ERROR, reply.msg.clone()).with("status", state),
        None => web::Error::of(StatusCode::INTERNAL_SERVER_ERROR).with("status", "error").because(reply.msg.clone()),
    }
}

/// There is no such query.
pub fn unknown(id: &str) -> web::Error {
    web::Error::new(StatusCode::NOT_FOUND, format!("Unknown query id: '{id}'")).with("status", "awol")
}

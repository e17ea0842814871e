//! The specification as it is served: made once, and again when FlowMachine was started anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::to_raw_value};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::document;
use crate::flowmachine::{Asker, Error};
use crate::packed::Packed;

/// How long FlowMachine is waited for when there is a document from before.
const PATIENCE: Duration = Duration::from_secs(5);

const ACTION: &str = "get_query_schemas";

/// The document in both of its forms.
pub struct Document {
    /// As JSON.
    pub json: Packed,
    /// As YAML.
    pub yaml: Packed,
}

/// The document, and the [generation](crate::flowmachine::FlowMachine::generation) of the FlowMachine that it was made for.
#[derive(Default)]
pub struct Documents {
    last: Mutex<Option<(u64, Arc<Document>)>>,
    /// Held by who asks.
    asking: AsyncMutex<()>,
}

#[derive(Deserialize)]
struct Schemas {
    query_schemas: Map<String, Value>,
}

impl Documents {
    /// The document; the one before while FlowMachine is away, or slow. Nobody waits longer than its own request may.
    ///
    /// # Errors
    /// FlowMachine does not answer, and never did.
    pub async fn get(&self, app: &App, asker: &Asker) -> Result<Arc<Document>, web::Error> {
        let before = match self.last(app) {
            (Some(document), true) => return Ok(document),
            (before, _) => before,
        };
        // One asks at a time; who waits gets its answer. With something to show meanwhile nobody waits for somebody else.
        let until = if before.is_some() { Instant::now() } else { asker.until };
        let asking = timeout_at(until, self.asking.lock()).await;
        match (self.last(app), asking, before) {
            ((Some(document), true), ..) => Ok(document),
            (_, Err(_), Some(document)) => Ok(document),
            (_, Err(_), None) => Err(Error::Late(ACTION).into()),
            (_, Ok(_asking), before) => self.ask(app, asker, before).await,
        }
    }

    /// What there is, and whether it is of the FlowMachine that runs.
    fn last(&self, app: &App) -> (Option<Arc<Document>>, bool) {
        let generation = app.flowmachine.generation();
        match &*self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((made_for, document)) => (Some(document.clone()), *made_for == generation),
            None => (None, false),
        }
    }

    async fn ask(&self, app: &App, asker: &Asker, before: Option<Arc<Document>>) -> Result<Arc<Document>, web::Error> {
        let generation = app.flowmachine.generation();
        let mut asker = asker.clone();
        if before.is_some() {
            asker.until = asker.until.min(Instant::now() + PATIENCE);
        }
        match (make(app, &asker).await, before) {
            (Ok(document), _) => {
                let document = Arc::new(document);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, document.clone()));
                Ok(document)
            }
            (Err(error), Some(document)) => {
                tracing::warn!(%error, "the schemas can't be asked for again; the old ones are served");
                Ok(document)
            }
            (Err(error), None) => Err(error.into()),
        }
    }
}

async fn make(app: &App, asker: &Asker) -> Result<Document, Error> {
    let strange = |error| Error::Strange(ACTION, error);
    let nothing = to_raw_value(&json!({})).map_err(strange)?;
    let reply = app.flowmachine.ask(asker, ACTION, &nothing).await?;
    let Schemas { query_schemas } = reply.read(ACTION)?;
    let document = document::document(&query_schemas, &app.options.identifier);
    let yaml =
        serde_saphyr::to_string(&document).map_err(|error| strange(serde::de::Error::custom(error.to_string())))?;
    let packed = |text: String| Packed::new(Bytes::from(text));
    Ok(Document { json: packed(document.to_string()), yaml: packed(yaml) })
}

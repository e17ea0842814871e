//! The specification as it is served: made once, and again when FlowMachine was started anew.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json, value::to_raw_value};
use tokio::sync::Mutex;

use crate::app::App;
use crate::document;
use crate::flowmachine::{Asker, Error};

/// The document in both of its forms.
pub struct Document {
    /// As JSON.
    pub json: String,
    /// As YAML.
    pub yaml: String,
}

/// The document, and the [generation](crate::flowmachine::FlowMachine::generation) of the FlowMachine that it was made for.
#[derive(Default)]
pub struct Documents(Mutex<Option<(u64, Arc<Document>)>>);

#[derive(Deserialize)]
struct Schemas {
    query_schemas: Map<String, Value>,
}

impl Documents {
    /// The document; the one before while FlowMachine is away.
    ///
    /// # Errors
    /// FlowMachine does not answer, and never did.
    pub async fn get(&self, app: &App, asker: &Asker) -> Result<Arc<Document>, web::Error> {
        // One asks at a time; who waits gets its answer.
        let mut last = self.0.lock().await;
        let generation = app.flowmachine.generation();
        if let Some((made_for, document)) = last.as_ref()
            && *made_for == generation
        {
            return Ok(document.clone());
        }
        let made = make(app, asker).await;
        match (made, last.as_ref()) {
            (Ok(document), _) => {
                let document = Arc::new(document);
                *last = Some((generation, document.clone()));
                Ok(document)
            }
            (Err(error), Some((_, document))) => {
                tracing::warn!(%error, "the schemas can't be asked for again; the old ones are served");
                Ok(document.clone())
            }
            (Err(error), None) => Err(error.into()),
        }
    }
}

async fn make(app: &App, asker: &Asker) -> Result<Document, Error> {
    const ACTION: &str = "get_query_schemas";
    let strange = |error| Error::Strange(ACTION, error);
    let nothing = to_raw_value(&json!({})).map_err(strange)?;
    let reply = app.flowmachine.ask(asker, ACTION, &nothing).await?;
    let Schemas { query_schemas } = reply.read(ACTION)?;
    let document = document::document(&query_schemas, &app.options.identifier);
    let yaml =
        serde_saphyr::to_string(&document).map_err(|error| strange(serde::de::Error::custom(error.to_string())))?;
    Ok(Document { json: document.to_string(), yaml })
}

//! The FlowAPI of the same deployment, offered to administrators.

use std::sync::Arc;

use http::header;
use web::axum::extract::State;
use web::axum::response::IntoResponse as _;

use super::{Answer, Table};
use crate::acts::missing;
use crate::app::App;
use crate::caller::Access::Admin;

pub fn enter(table: Table) -> Table {
    table.get("/admin/local_server", Admin, document)
}

/// Its `openapi.json`, as `POST /admin/servers/ID/specification` takes it; 404 where there is none.
async fn document(State(app): State<Arc<App>>) -> Answer {
    let (text, _) = app.local_server().await?.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

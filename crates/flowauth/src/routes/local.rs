//! What a FlowAPI says of itself, for administrators: that of the same deployment, or one at an address.

use std::sync::Arc;

use http::header;
use web::axum::extract::State;
use web::axum::response::IntoResponse as _;

use super::body::Body;
use super::{Answer, Table, json};
use crate::acts::missing;
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;

pub fn enter(table: Table) -> Table {
    table.get("/admin/local_server", Admin, document).post("/admin/remote_server", Admin, remote).get(
        "/admin/deployment",
        Admin,
        deployment,
    )
}

/// Its `openapi.json`, as `POST /admin/servers/ID/specification` takes it; 404 where there is none.
async fn document(State(app): State<Arc<App>>) -> Answer {
    let (text, _) = app.local_server().await?.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// The same of the FlowAPI at an address.
async fn remote(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let url = body.text("url")?.unwrap_or_default();
    let (text, _) = app.server_at(&caller.actor, url, body.text("certificate")?).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// What there is to tell of the deployment.
async fn deployment(State(app): State<Arc<App>>) -> Answer {
    json(&app.deployment().await?.shown())
}

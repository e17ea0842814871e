//! The shapes of an aggregation unit.

use std::sync::Arc;

use results::Format;
use web::RequestId;
use web::axum::extract::{Path, State};

use super::result::{File, Sql};
use super::{Answer, failed};
use crate::app::App;
use crate::audit;
use crate::caller::Caller;

/// The shapes as GeoJSON. The scope names the unit, so FlowMachine is asked for no other.
pub async fn get(State(app): State<Arc<App>>, caller: Caller, id: RequestId, Path(unit): Path<String>) -> Answer {
    const ACTION: &str = "get_geography";
    caller.permit_geography(&unit)?;
    audit::query!("get_geography", aggregation_unit = unit);
    let asker = app.asker(&caller, &id)?;
    let reply = app.flowmachine.about(&asker, ACTION, &[("aggregation_unit", &unit)]).await?;
    if !reply.is_success() {
        return Err(failed(&reply, "Error"));
    }
    let Sql { sql, .. } = reply.read(ACTION)?;
    File { format: Format::GeoJson, name: &unit, sql: &sql }.stream(&app, &caller, &asker).await
}

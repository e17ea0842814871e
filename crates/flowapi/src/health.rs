//! Whether the server can do its work.

use std::sync::Arc;
use std::time::Duration;

use web::Health;

use crate::app::App;
use crate::flowmachine::Asker;
use crate::revoked::List;

/// FlowMachine answers nobody while it builds a query, for seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The questions of `/api/0/health/ready`.
pub fn health(app: Arc<App>) -> Health {
    let database = app.database.clone();
    let health = Health::new(PATIENCE).needs("flowmachine", {
        let app = app.clone();
        move || {
            let app = app.clone();
            async move {
                let asker = Asker::new("health", PATIENCE);
                let answer = app.flowmachine.about(&asker, "ping", &[]).await;
                answer.map(drop).map_err(|error| error.to_string())
            }
        }
    });
    let health = health.needs("database", move || {
        let database = database.clone();
        async move { database.check().await }
    });
    if app.gate.lists().is_empty() {
        return health;
    }
    // Everybody would be kept out otherwise, for fear of a few.
    health.tells("revocations", move || {
        let wrong = app.gate.lists().iter().find_map(List::wrong);
        std::future::ready(wrong.map_or(Ok(()), Err))
    })
}

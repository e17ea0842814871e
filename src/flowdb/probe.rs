//! Is FlowDB ready?

use super::cluster::cluster;
use super::connect::login_name;
use super::{DATABASE, FLOWMACHINE_LOGIN};
use flowkit_core::Site;
use flowkit_core::secrets::Store;
use postgres::{Login, ProbeSql, Question};

/// What FlowMachine asks when it connects.
const FIRST_QUESTIONS: Question = Question {
    login: Login { user, password: "FLOWMACHINE_FLOWDB_PASSWORD" },
    database: DATABASE,
    sql: "SELECT (SELECT version FROM flowdb_version()), (SELECT location_table FROM location_table()),
              (SELECT count(*) FROM etl.available_dates)",
    action: "ask what FlowMachine asks first",
};

fn user(store: &Store) -> String {
    login_name(store, "FLOWMACHINE_FLOWDB_USER").unwrap_or(FLOWMACHINE_LOGIN.into())
}

/// For the server itself, which has no schema yet when it starts for the first time.
pub fn server(site: &Site) -> ProbeSql {
    ProbeSql::of_server(cluster(site))
}

/// For the role as a whole: a login as FlowMachine's user, and FlowMachine's own first questions.
pub fn schema(site: &Site) -> ProbeSql {
    ProbeSql::of_database(cluster(site), FIRST_QUESTIONS)
}

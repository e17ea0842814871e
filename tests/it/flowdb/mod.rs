//! FlowDB: cluster, schema, roles, users.

mod functions;
mod migrations;
mod passwords;
mod refusals;
mod roles;
mod start;
mod users;
mod walls;

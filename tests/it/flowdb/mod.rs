//! FlowDB: cluster, schema, roles, users.

mod roles;
mod start;

//! Who asked for what: lines of the target `audit`, written at any level of the log. What is known of the request (its id, which
//! is in FlowMachine's own log too, path, user and address) is in all of them; method, route, status, bytes and time are in the line
//! `request` that ends each.
//!
//! Events and fields have upstream's names where there is one.

/// An event of a caller's query.
macro_rules! query {
    ($event:literal $(, $($field:ident).+ = $value:expr)* $(,)?) => {
        tracing::info!(target: "audit", logger = "flowapi.query", $($($field).+ = %$value,)* $event)
    };
}
pub(crate) use query;

/// An event of letting somebody in, or not. A field that is given by its name alone may be missing.
macro_rules! access {
    ($level:ident, $event:expr $(, $($field:ident).+ $(= $value:expr)?)* $(,)?) => {
        tracing::event!(
            target: "audit", tracing::Level::$level, logger = "flowapi.access",
            $($($field).+ $(= $value)?,)* "{}", $event
        )
    };
}
pub(crate) use access;

/// A list as JSON.
pub fn json(list: &[impl serde::Serialize]) -> String {
    serde_json::to_string(list).unwrap_or_default()
}

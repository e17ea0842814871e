//! Who asked for what: lines of the target `audit`, written at any level of the log. The request's id is in all of them, and in
//! FlowMachine's own log; method, route, status, bytes and time are in the line `request` that ends each.
//!
//! Events and fields have upstream's names where there is one.

/// An event of a caller's query.
macro_rules! query {
    ($event:literal, $caller:expr $(, $field:ident = $value:expr)* $(,)?) => {
        tracing::info!(target: "audit", logger = "flowapi.query", user = $caller.user(), $($field = %$value,)* $event)
    };
}
pub(crate) use query;

//! FlowMachine's cache: how much of it is kept.

use super::settings::Context;
use super::{Origin, Setting, Value};
use flowkit_core::size::{GIB, exact};
use postgres::tuning::{count, set};

/// Settings of FlowMachine's cache, which live in the database.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct CacheSettings {
    /// Size that the cache is shrunk to, in bytes.
    pub size: u64,
    /// Seconds during which a cached table is not removed.
    pub protected_period: u64,
    /// Reads of the cache after which an earlier read counts half.
    pub half_life: f64,
}

/// The cache's settings, and the same as rows for people.
pub(super) fn settings(context: &Context<'_>, warnings: &mut Vec<String>) -> (CacheSettings, Vec<Setting>) {
    let o = context.overrides;
    let (bytes, origin) = match (&o.cache_size, &context.hardware.free_space) {
        (Some(given), _) => (given.value, Origin::Given(given.origin())),
        (None, Some(free)) => (free.value / 10, Origin::from(&free.origin)),
        (None, None) => {
            warnings.push(
                "the free space can't be told; FlowMachine's cache gets 1GB (CACHE_SIZE says otherwise)".to_owned(),
            );
            (GIB, Origin::Default)
        }
    };
    let cache = CacheSettings {
        size: bytes,
        protected_period: o.cache_protected_period.as_ref().map_or(86_400, |g| g.value),
        half_life: o.cache_half_life.as_ref().map_or(1000.0, |g| g.value),
    };
    let rows = vec![
        set(
            "cache_size",
            Value::Size(cache.size),
            origin,
            format!("a tenth of the free space; the cache is shrunk to {}", exact(bytes)),
        ),
        set(
            "cache_protected_period",
            count(i64::try_from(cache.protected_period).unwrap_or(i64::MAX)),
            Context::given(&o.cache_protected_period, Origin::Default),
            "seconds; a table younger than this is never removed",
        ),
        set(
            "cache_half_life",
            Value::Number(cache.half_life),
            Context::given(&o.cache_half_life, Origin::Default),
            "reads of the cache after which an earlier read counts half",
        ),
    ];
    (cache, rows)
}

//! What settings say: taken typed from where they were checked, and held against one another.

use flowkit_core::config::{Problem, Problems, Settings};
use postgres::tuning::{Given, LogDestination};

/// Every variable that has a say in the tuning. `None` is "not said".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// FLOWDB_TOTAL_MEMORY, bytes
    pub memory: Option<Given<u64>>,
    /// FLOWKIT_FLOWDB_SET_ASIDE, bytes
    pub set_aside: Option<Given<u64>>,
    /// SHARED_BUFFERS_SIZE, bytes
    pub shared_buffers: Option<Given<u64>>,
    /// EFFECTIVE_CACHE_SIZE, bytes
    pub effective_cache: Option<Given<u64>>,
    /// MAX_CPUS
    pub cpus: Option<Given<u32>>,
    /// MAX_WORKERS
    pub workers: Option<Given<u32>>,
    /// MAX_WORKERS_PER_GATHER
    pub gather: Option<Given<u32>>,
    /// MAX_LOCKS_PER_TRANSACTION
    pub locks: Option<Given<u32>>,
    /// STATS_TARGET
    pub statistics: Option<Given<u32>>,
    /// The contrary of NO_USE_JIT
    pub jit: Option<Given<bool>>,
    /// FLOWDB_LOG_DEST
    pub log: Option<Given<LogDestination>>,
    /// FLOWDB_ENABLE_POSTGRES_DEBUG_MODE
    pub debug: Option<Given<bool>>,
    /// CACHE_SIZE, bytes
    pub cache_size: Option<Given<u64>>,
    /// CACHE_PROTECTED_PERIOD, seconds
    pub cache_protected_period: Option<Given<u64>>,
    /// CACHE_HALF_LIFE
    pub cache_half_life: Option<Given<f64>>,
    /// FLOWKIT_IDLE_TRANSACTION_SECONDS
    pub idle_transaction: Option<Given<u64>>,
    /// FLOWKIT_FLOWDB_OVER_BUDGET: plan for more memory than there is
    pub over_budget: bool,
}

impl Overrides {
    /// Takes what `settings` say explicitly; a default of the catalogue is nobody's wish. Each value alone is right: the catalogue
    /// has its form and limits, and `Settings` has checked them.
    ///
    /// # Errors
    /// Values that contradict one another.
    pub fn from_settings(settings: &Settings) -> Result<Overrides, Problems> {
        let overrides = Overrides {
            memory: whole(settings, "FLOWDB_TOTAL_MEMORY"),
            set_aside: whole(settings, "FLOWKIT_FLOWDB_SET_ASIDE"),
            shared_buffers: whole(settings, "SHARED_BUFFERS_SIZE"),
            effective_cache: whole(settings, "EFFECTIVE_CACHE_SIZE"),
            cpus: whole(settings, "MAX_CPUS"),
            workers: whole(settings, "MAX_WORKERS"),
            gather: whole(settings, "MAX_WORKERS_PER_GATHER"),
            locks: whole(settings, "MAX_LOCKS_PER_TRANSACTION"),
            statistics: whole(settings, "STATS_TARGET"),
            jit: given(settings, "NO_USE_JIT", |text| Some(text != "true")),
            log: given(settings, "FLOWDB_LOG_DEST", LogDestination::of),
            debug: given(settings, "FLOWDB_ENABLE_POSTGRES_DEBUG_MODE", |text| Some(text == "true")),
            cache_size: whole(settings, "CACHE_SIZE"),
            cache_protected_period: whole(settings, "CACHE_PROTECTED_PERIOD"),
            cache_half_life: given(settings, "CACHE_HALF_LIFE", |text| text.parse().ok()),
            idle_transaction: whole(settings, "FLOWKIT_IDLE_TRANSACTION_SECONDS"),
            over_budget: settings.flag("FLOWKIT_FLOWDB_OVER_BUDGET"),
        };
        let problems = overrides.contradictions();
        if problems.is_empty() { Ok(overrides) } else { Err(Problems(problems)) }
    }

    /// Workers of one node, of all queries, CPUs: never more than the next. PostgreSQL would take the contradiction
    /// and cut in silence; a person who wrote both wants to know.
    fn contradictions(&self) -> Vec<Problem> {
        let pairs = [(&self.gather, &self.workers), (&self.workers, &self.cpus), (&self.gather, &self.cpus)];
        let both = pairs.into_iter().filter_map(|(less, more)| less.as_ref().zip(more.as_ref()));
        both.filter(|(less, more)| less.value > more.value)
            .map(|(less, more)| Problem {
                what: format!("{} is wrong", less.name),
                value: Some(less.value.to_string()),
                origin: Some(less.place.clone()),
                hint: format!("at most {} = {}: lower the one or raise the other", more.name, more.value),
            })
            .collect()
    }
}

/// A value that was given. That it does not parse is a fault of the catalogue's type or limits, and a bug.
fn given<T>(settings: &Settings, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<Given<T>> {
    let (text, origin) = settings.given_text(name)?;
    let value = parse(text).unwrap_or_else(|| panic!("{name} is {text}, which the catalogue lets pass"));
    Some(Given { value, name, place: origin.to_string() })
}

/// A whole number: a count, bytes, seconds.
fn whole<T: std::str::FromStr>(settings: &Settings, name: &'static str) -> Option<Given<T>> {
    given(settings, name, |text| text.parse().ok())
}

//! What variables say: read once, all problems at once, typed after that.

use std::ops::RangeInclusive;

use super::value::{GIB, MIB, parse_size};
use flowkit_core::config::{Problem, Problems, Settings};

/// A value that a person gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// The variable.
    pub name: &'static str,
    /// Where it was set, for people: `environment`.
    pub place: String,
}

impl<T> Given<T> {
    /// `MAX_CPUS (environment)`
    pub fn origin(&self) -> String {
        format!("{} ({})", self.name, self.place)
    }
}

/// Where the server's log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// To whoever started the server.
    Stderr,
    /// JSON files in the data directory.
    Json,
    /// CSV files in the data directory.
    Csv,
}

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

/// What was typed for a name, and where. `None` when nothing was.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<(String, String)>;

/// Bytes: a bare number, as the catalogue writes sizes, or a size with its unit.
fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| parse_size(text))
}

/// Reads variables, gathering problems.
struct Reader<'a> {
    lookup: Lookup<'a>,
    problems: Vec<Problem>,
}

impl Overrides {
    /// Takes what `settings` say explicitly; a default of the catalogue is nobody's wish.
    pub fn from_settings(settings: &Settings) -> Result<Overrides, Problems> {
        let explicit: std::collections::BTreeMap<&str, &str> = settings.explicit().collect();
        Overrides::read(&|name| {
            let text = explicit.get(name)?;
            Some(((*text).to_owned(), settings.origin(name).to_string()))
        })
    }

    /// The same from any source of text.
    pub fn read(lookup: Lookup<'_>) -> Result<Overrides, Problems> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let overrides = Overrides {
            memory: reader.size("FLOWDB_TOTAL_MEMORY", 64 * MIB..=1 << 50),
            set_aside: reader.bytes("FLOWKIT_FLOWDB_SET_ASIDE"),
            shared_buffers: reader.size("SHARED_BUFFERS_SIZE", 16 * MIB..=8192 * GIB),
            effective_cache: reader.size("EFFECTIVE_CACHE_SIZE", MIB..=16_383 * GIB),
            cpus: reader.count("MAX_CPUS", 1..=1024),
            workers: reader.count("MAX_WORKERS", 1..=1024),
            gather: reader.count("MAX_WORKERS_PER_GATHER", 0..=1024),
            locks: reader.count("MAX_LOCKS_PER_TRANSACTION", 10..=1_000_000),
            statistics: reader.count("STATS_TARGET", 1..=10_000),
            jit: reader.flag("NO_USE_JIT").map(|g| Given { value: !g.value, ..g }),
            log: reader.log("FLOWDB_LOG_DEST"),
            debug: reader.flag("FLOWDB_ENABLE_POSTGRES_DEBUG_MODE"),
            cache_size: reader.bytes("CACHE_SIZE"),
            cache_protected_period: reader.seconds("CACHE_PROTECTED_PERIOD"),
            cache_half_life: reader.positive("CACHE_HALF_LIFE"),
            idle_transaction: reader.seconds("FLOWKIT_IDLE_TRANSACTION_SECONDS"),
            over_budget: reader.flag("FLOWKIT_FLOWDB_OVER_BUDGET").is_some_and(|g| g.value),
        };
        overrides.check_order(&mut reader.problems);
        if reader.problems.is_empty() { Ok(overrides) } else { Err(Problems(reader.problems)) }
    }

    /// Workers of one node, of all queries, CPUs: never more than the next. PostgreSQL would take the contradiction
    /// and cut in silence; a person who wrote both wants to know.
    fn check_order(&self, problems: &mut Vec<Problem>) {
        for (less, more) in [(&self.gather, &self.workers), (&self.workers, &self.cpus), (&self.gather, &self.cpus)] {
            if let (Some(less), Some(more)) = (less, more)
                && less.value > more.value
            {
                problems.push(Problem {
                    what: format!("{} is wrong", less.name),
                    value: Some(less.value.to_string()),
                    origin: Some(less.place.clone()),
                    hint: format!("at most {} = {}: lower the one or raise the other", more.name, more.value),
                });
            }
        }
    }
}

impl Reader<'_> {
    /// Parses one variable; an empty value is as good as none, as in upstream's compose files.
    fn read<T>(&mut self, name: &'static str, accepted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Given<T>> {
        let (text, place) = (self.lookup)(name)?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        match parse(text) {
            Some(value) => Some(Given { value, name, place }),
            None => {
                self.problems.push(Problem {
                    what: format!("{name} is wrong"),
                    value: Some(text.to_owned()),
                    origin: Some(place),
                    hint: format!("give {accepted}"),
                });
                None
            }
        }
    }

    fn count(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Option<Given<u32>> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(name, &accepted, |text| text.parse().ok().filter(|n| range.contains(n)))
    }

    fn size(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<Given<u64>> {
        let (least, most) = (super::value::size(*range.start()), super::value::size(*range.end()));
        let accepted = format!("a size such as 512MB or 16GB, from {least} to {most}");
        self.read(name, &accepted, |text| bytes(text).filter(|n| range.contains(n)))
    }

    fn bytes(&mut self, name: &'static str) -> Option<Given<u64>> {
        let parse = |text: &str| bytes(text).filter(|&n| i64::try_from(n).is_ok());
        self.read(name, "a number of bytes, or a size such as 20GB", parse)
    }

    fn seconds(&mut self, name: &'static str) -> Option<Given<u64>> {
        // PostgreSQL computes with it as an integer of 31 bits.
        let parse = |text: &str| text.parse().ok().filter(|&n: &u64| i32::try_from(n).is_ok());
        self.read(name, "a whole number of seconds, such as 86400", parse)
    }

    fn positive(&mut self, name: &'static str) -> Option<Given<f64>> {
        let parse = |text: &str| text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
        self.read(name, "a number above 0, such as 1000", parse)
    }

    fn flag(&mut self, name: &'static str) -> Option<Given<bool>> {
        self.read(name, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        })
    }

    fn log(&mut self, name: &'static str) -> Option<Given<LogDestination>> {
        self.read(name, "stderr, jsonlog or csvlog", |text| match text.to_ascii_lowercase().as_str() {
            "stderr" => Some(LogDestination::Stderr),
            "jsonlog" => Some(LogDestination::Json),
            "csvlog" => Some(LogDestination::Csv),
            _ => None,
        })
    }
}

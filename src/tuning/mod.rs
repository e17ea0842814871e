//! What FlowDB's PostgreSQL should be told, and why.
//!
//! [`plan`] is a pure function: hardware, settings and what is known of the database in, a [`Plan`] out. Stages:
//!
//! 1. [`overrides`]: what variables say, typed, all problems in one report
//! 2. [`rules`]: a first draft of everything that costs memory, then the loop that makes it fit
//! 3. [`budget`]: the memory that a draft can come to need
//! 4. [`settings`]: the server settings with value, reason and origin; those that are not tuning are every cluster's (`postgres::tuning`)
//! 5. [`render`]: the include file of `postgresql.conf`
//!
//! A plan that PostgreSQL would refuse, or that could outgrow its memory, is never made: it is refused by name here.
//! What the rules rest on, and how they were measured, is in docs/tuning.md.

pub mod budget;
mod cache;
pub mod overrides;
mod render;
pub mod rules;
mod settings;

pub use cache::CacheSettings;

use budget::{Budget, Demand, share};
use flowkit_core::config::{Problem, Problems, Settings};
use flowkit_core::hardware::{self, Fact, Hardware};
use flowkit_core::size::{exact, rounded};
use overrides::Overrides;
pub use postgres::tuning::{Database, Origin, Setting, Value};

/// Oldest and newest major version that these rules were written for.
pub const MAJORS: std::ops::RangeInclusive<u32> = 15..=18;

/// The memory and CPUs that the rules work with, after variables had their say.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Bytes.
    pub memory: Fact<u64>,
    /// At least 1.
    pub cpus: Fact<u32>,
}

/// A configuration that starts and that fits.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Server settings in the order of the file.
    pub settings: Vec<Setting>,
    /// The cache's settings, in the same shape.
    pub cache_settings: Vec<Setting>,
    /// What was planned for.
    pub inputs: Inputs,
    /// What costs memory.
    pub demand: Demand,
    /// The memory that it can come to need.
    pub budget: Budget,
    /// What was lowered to fit, in words.
    pub fitted: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    cache: CacheSettings,
}

impl Plan {
    /// Settings of FlowMachine's cache.
    pub fn cache(&self) -> CacheSettings {
        self.cache
    }

    /// Connections that the server takes.
    pub fn max_connections(&self) -> u32 {
        self.demand.connections
    }

    /// The value of a server setting, if the plan sets it.
    pub fn value(&self, name: &str) -> Option<&Value> {
        Some(&self.settings.iter().find(|s| s.name == name)?.value)
    }
}

/// Plans the configuration of a server on `hardware` that holds `database`.
/// Refuses, with every problem at once, what could not start or would not fit.
pub fn plan(hardware: &Hardware, settings: &Settings, database: &Database) -> Result<Plan, Problems> {
    plan_with(hardware, &Overrides::from_settings(settings)?, database)
}

/// [`plan`] for variables that were read already.
pub fn plan_with(hardware: &Hardware, overrides: &Overrides, database: &Database) -> Result<Plan, Problems> {
    let mut warnings = Vec::new();
    let inputs = inputs(hardware, overrides, &mut warnings);
    let mut problems = Vec::new();
    check_version(database, &mut problems, &mut warnings);
    check_shared_buffers(&inputs, overrides, &mut problems);
    let mut demand = rules::draft(&inputs, overrides, database);
    let fitted = match rules::fit(&mut demand, overrides) {
        Some(fitted) => fitted,
        None if overrides.over_budget => {
            warnings.push(over_budget(&demand));
            vec!["everything to its least, and it still does not fit".to_owned()]
        }
        None => {
            problems.push(does_not_fit(&demand, &inputs, overrides));
            Vec::new()
        }
    };
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let context = settings::Context { hardware, overrides, database, inputs: &inputs, demand: &demand };
    warn(&context, &mut warnings);
    let (cache, cache_settings) = cache::settings(&context, &mut warnings);
    Ok(Plan {
        settings: settings::all(&context, &mut warnings),
        cache_settings,
        budget: demand.budget(),
        inputs,
        demand,
        fitted,
        warnings,
        cache,
    })
}

fn inputs(hardware: &Hardware, overrides: &Overrides, warnings: &mut Vec<String>) -> Inputs {
    let mut inputs = Inputs { memory: hardware.memory.clone(), cpus: hardware.cpus.clone() };
    if let (Some(aside), None) = (&overrides.set_aside, &overrides.memory)
        && aside.value > 0
    {
        inputs.memory = hardware.memory_without(aside.value, &aside.origin());
    }
    if let Some(given) = &overrides.memory {
        if given.value <= hardware.memory.value {
            inputs.memory = Fact::given(given.value, &given.origin());
        } else {
            warnings.push(format!(
                "FLOWDB_TOTAL_MEMORY is {}, but there is only {} ({}); planned for the latter",
                rounded(given.value),
                rounded(hardware.memory.value),
                hardware.memory.origin
            ));
        }
    }
    if let Some(given) = &overrides.cpus {
        inputs.cpus = Fact::given(given.value, &given.origin());
    }
    inputs
}

fn check_version(database: &Database, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
    if database.major < *MAJORS.start() {
        problems.push(Problem {
            what: "this version of PostgreSQL is not supported".to_owned(),
            value: Some(database.major.to_string()),
            origin: None,
            hint: format!("use {} to {}", MAJORS.start(), MAJORS.end()),
        });
    } else if database.major > *MAJORS.end() {
        warnings.push(format!(
            "PostgreSQL {} is newer than these rules; it gets those of {}",
            database.major,
            MAJORS.end()
        ));
    }
}

fn check_shared_buffers(inputs: &Inputs, overrides: &Overrides, problems: &mut Vec<Problem>) {
    let most = share(inputs.memory.value, 40, 100);
    if let Some(given) = &overrides.shared_buffers
        && given.value > most
        && !overrides.over_budget
    {
        problems.push(Problem {
            what: format!("{} is wrong", given.name),
            value: Some(exact(given.value)),
            origin: Some(given.place.clone()),
            hint: format!(
                "give at most {}, 40 % of the memory ({}, {})",
                exact(rules::mebibytes(most)),
                rounded(inputs.memory.value),
                inputs.memory.origin
            ),
        });
    }
}

/// Even the least of everything is too much: because of a variable, or because there is too little memory.
fn does_not_fit(demand: &Demand, inputs: &Inputs, overrides: &Overrides) -> Problem {
    let budget = demand.budget();
    let forced: Vec<&str> = [
        overrides.shared_buffers.as_ref().map(|g| g.name),
        overrides.locks.as_ref().map(|g| g.name),
        overrides.workers.as_ref().map(|g| g.name),
        overrides.gather.as_ref().map(|g| g.name),
        overrides.jit.as_ref().filter(|g| g.value).map(|g| g.name),
    ]
    .into_iter()
    .flatten()
    .collect();
    let remedy = if forced.is_empty() {
        "give FlowDB more memory".to_owned()
    } else {
        format!("lower or unset {}, or give FlowDB more memory", forced.join(", "))
    };
    Problem {
        what: match forced.as_slice() {
            [] => "too little memory".to_owned(),
            names => format!("too little memory for {}", names.join(", ")),
        },
        value: Some(rounded(inputs.memory.value)),
        origin: Some(inputs.memory.origin.to_string()),
        hint: format!(
            "FlowDB may come to need {} with everything at its least: {}; {remedy} \
             (FLOWKIT_FLOWDB_OVER_BUDGET=true plans for more than there is)",
            rounded(budget.total()),
            budget.describe()
        ),
    }
}

fn over_budget(demand: &Demand) -> String {
    let budget = demand.budget();
    format!(
        "over budget, as FLOWKIT_FLOWDB_OVER_BUDGET allows: {} of {} ({})",
        rounded(budget.total()),
        rounded(demand.memory),
        budget.describe()
    )
}

/// What does not stop a start but should be known.
fn warn(context: &settings::Context<'_>, warnings: &mut Vec<String>) {
    let settings::Context { hardware, overrides, database, demand, .. } = context;
    if let Some(given) = &overrides.statistics
        && given.value > 1000
    {
        warnings.push(format!(
            "STATS_TARGET {}: planning takes milliseconds longer for every partition, and every ANALYZE reads {} rows",
            given.value,
            u64::from(given.value) * 300
        ));
    }
    let pool = u64::from(demand.max_locks()) * u64::from(demand.processes());
    if database.partitions * 5 > pool {
        warnings.push(format!(
            "{} partitions with four indexes each are {} locks for one query over all of them, but the lock table holds \
             {pool}: raise MAX_LOCKS_PER_TRANSACTION or give FlowDB more memory",
            database.partitions,
            database.partitions * 5
        ));
    }
    if let Some(limit) = hardware.commit_limit
        && demand.budget().total() > limit
    {
        warnings.push(format!(
            "the kernel accounts strictly (vm.overcommit_memory = 2) and promises {} in all; FlowDB may ask for {}",
            rounded(limit),
            rounded(demand.budget().total())
        ));
    }
    if let hardware::Origin::Unknown(why) = &hardware.memory.origin {
        warnings.push(why.clone());
    }
}

#[cfg(test)]
mod tests;

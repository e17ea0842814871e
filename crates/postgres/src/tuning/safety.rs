//! Settings that are no tuning and the same for every cluster: what must not reach the log, what must not wait for ever.
//!
//! Subscribers' numbers (MSISDNs) stand in statements, in their parameters, in the DETAIL and CONTEXT of errors, and in
//! the first line of errors too (`invalid input syntax for type integer: "4477..."`). So the server's log gets no
//! statement and no message of the level ERROR and below: those go to the client that caused them. What PostgreSQL
//! itself reports (LOG, FATAL, PANIC) stays. tests/it/tuning.rs holds a real server to it.

use super::{Database, Given, LogDestination, Origin, Setting, Value, Word, set};
use flowkit_core::size::GIB;

/// What everything that is not tuning hangs on; `None` is "not said".
#[derive(Clone, Copy)]
pub struct Safety<'a> {
    /// Where the log goes.
    pub log: Option<&'a Given<LogDestination>>,
    /// Whether the debugger is loaded.
    pub debug: Option<&'a Given<bool>>,
    /// Seconds after which a transaction that stands idle is ended; 0 for never.
    pub idle_transaction: Option<&'a Given<u64>>,
    /// The installation.
    pub database: &'a Database,
}

impl Safety<'_> {
    /// Everything that is not tuning.
    pub fn settings(&self, warnings: &mut Vec<String>) -> Vec<Setting> {
        let mut settings = privacy();
        settings.extend(log(self, warnings));
        settings.extend(libraries(self, warnings));
        settings.extend(manners(self));
        settings
    }
}

fn fixed(name: &'static str, value: Value, reason: &str) -> Setting {
    set(name, value, Origin::Default, reason)
}

fn privacy() -> Vec<Setting> {
    let statements = "statements hold subscribers' numbers";
    vec![
        fixed("log_statement", Value::word("none"), statements),
        fixed("log_min_duration_statement", Value::Count(-1), statements),
        fixed("log_min_duration_sample", Value::Count(-1), statements),
        fixed("log_transaction_sample_rate", Value::Count(0), statements),
        fixed("log_min_error_statement", Value::word("panic"), statements),
        fixed("log_parameter_max_length", Value::Count(0), "parameters hold them too"),
        fixed("log_parameter_max_length_on_error", Value::Count(0), "parameters hold them too"),
        fixed(
            "log_min_messages",
            Value::word("log"),
            "so does the first line of an error; its client gets it all the same",
        ),
        fixed("log_error_verbosity", Value::word("terse"), "and DETAIL (rows, statements in a deadlock) and CONTEXT"),
        fixed("debug_print_parse", Value::Flag(false), statements),
        fixed("debug_print_rewritten", Value::Flag(false), statements),
        fixed("debug_print_plan", Value::Flag(false), statements),
    ]
}

/// By default the log goes to whoever started the server, which keeps and bounds it. Files, when asked for, are named
/// by day of the week and hour and written over a week later.
///
/// They have one price: JSON and CSV logs keep the DETAIL of what the server itself reports, whatever
/// log_error_verbosity says, and after a crash that is the statement of the session that died. So nothing of statements
/// may be kept where the postmaster would find it.
fn log(given: &Safety<'_>, warnings: &mut Vec<String>) -> Vec<Setting> {
    let given = given.log;
    let destination = given.map_or(LogDestination::Stderr, |g| g.value);
    let origin = || given.map_or(Origin::Default, |g| Origin::Given(g.origin()));
    let word = match destination {
        LogDestination::Stderr => "stderr",
        LogDestination::Json => "jsonlog",
        LogDestination::Csv => "csvlog",
    };
    let mut settings = vec![
        set("log_destination", Value::word(word), origin(), "stderr: the supervisor keeps it with the other services'"),
        set("logging_collector", Value::Flag(word != "stderr"), origin(), "writes the files of jsonlog and csvlog"),
        fixed("log_line_prefix", Value::word("%m [%p] %q%u@%d "), "time, process, user and database"),
        fixed("log_connections", Value::Flag(true), "who came in is worth knowing where call records are kept"),
        fixed("log_checkpoints", Value::Flag(true), "tells of a max_wal_size that is too small"),
        fixed("log_lock_waits", Value::Flag(true), "tells who waits for whom, without the statements"),
        fixed("log_temp_files", Value::Size(GIB), "large spills to disk, without the statements"),
    ];
    if destination != LogDestination::Stderr {
        let bounded = "a week of files, each written over when its hour comes again";
        settings.extend([
            fixed("log_directory", Value::word("log"), "in the data directory"),
            fixed("log_filename", Value::word("postgresql-%a-%H.log"), bounded),
            fixed("log_rotation_age", Value::Seconds(3600), bounded),
            fixed("log_rotation_size", Value::Count(0), bounded),
            fixed("log_truncate_on_rotation", Value::Flag(true), bounded),
            fixed("log_file_mode", Value::word("0600"), "for the server's user only"),
            set(
                "track_activities",
                Value::Flag(false),
                origin(),
                "these logs would hold the statement of a session that crashed",
            ),
        ]);
        warnings.push(format!(
            "{} is {word}: so that no subscriber's number reaches those files after a crash, pg_stat_activity \
             shows no statements (track_activities = off)",
            given.map_or("log_destination", |g| g.name)
        ));
    }
    settings
}

fn libraries(given: &Safety<'_>, warnings: &mut Vec<String>) -> Vec<Setting> {
    let debug = given.debug.filter(|g| g.value);
    let debugger = debug.is_some() && given.database.debugger;
    if let Some(asked) = debug.filter(|_| !debugger) {
        warnings.push(format!(
            "{} is true, but the library plugin_debugger is not installed; the server starts without it",
            asked.name
        ));
    }
    let mut names = Vec::new();
    if given.database.statements {
        names.push("pg_stat_statements");
    } else {
        warnings.push("pg_stat_statements is not installed; there will be no statistics of queries".to_owned());
    }
    let mut origin = Origin::Default;
    if let Some(given) = debug.filter(|_| debugger) {
        names.push("plugin_debugger");
        origin = Origin::Given(given.origin());
    }
    let value = Word::new(names.join(",")).map(Value::Word);
    let mut settings: Vec<Setting> =
        value.map(|v| set("shared_preload_libraries", v, origin, "which queries take the time")).into_iter().collect();
    if given.database.statements {
        settings.push(fixed("pg_stat_statements.track", Value::word("all"), "those inside of functions too"));
        settings.push(fixed(
            "pg_stat_statements.track_utility",
            Value::Flag(false),
            "their text is kept as it was sent, passwords and subscribers' numbers included",
        ));
    }
    settings
}

fn manners(given: &Safety<'_>) -> Vec<Setting> {
    let idle = given.idle_transaction;
    vec![
        fixed("timezone", Value::word("UTC"), "bounds of partitions and `datetime::date` follow it"),
        fixed("log_timezone", Value::word("UTC"), "one clock for all logs"),
        fixed("password_encryption", Value::word("scram-sha-256"), "the only kind that is let in"),
        set(
            "idle_in_transaction_session_timeout",
            Value::Seconds(idle.map_or(3600, |given| given.value)),
            idle.map_or(Origin::Default, |given| Origin::Given(given.origin())),
            "a forgotten transaction keeps its locks and holds up vacuum",
        ),
        fixed("deadlock_timeout", Value::Seconds(1), "a deadlock is broken after this long (upstream: five minutes)"),
        fixed(
            "client_connection_check_interval",
            Value::Seconds(30),
            "a query whose client has died ends instead of running on for hours",
        ),
        fixed("tcp_keepalives_idle", Value::Seconds(600), "networks of containers cut connections idle for 15 minutes"),
    ]
}

//! What is printed.

use std::collections::BTreeSet;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::peak::Peak;
use crate::queries::Query;
use crate::rivals::{MIB, Settings};
use crate::server::Cluster;

/// How one query ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With the CPU time that the server spent.
    Time(Duration, Duration),
    TimedOut,
    Failed(String),
}

/// Outcomes of every configuration, query and round.
pub struct Results {
    configs: Vec<String>,
    names: Vec<String>,
    /// By configuration, then round, then query.
    rounds: Vec<Vec<Vec<Outcome>>>,
}

impl Results {
    pub fn new(configs: &[(String, Settings)], set: &[Query]) -> Results {
        let configs: Vec<String> = configs.iter().map(|(name, _)| name.clone()).collect();
        Results {
            rounds: vec![Vec::new(); configs.len()],
            configs,
            names: set.iter().map(|query| query.name.clone()).collect(),
        }
    }

    pub fn add(&mut self, config: usize, outcomes: Vec<Outcome>) {
        self.rounds[config].push(outcomes);
    }

    /// Milliseconds of a configuration's query in every round; what did not end counts as the time-out.
    fn times(&self, config: usize, query: usize, timeout: u64) -> Vec<f64> {
        let ms = |outcome: &Outcome| match outcome {
            Outcome::Time(time, _) => time.as_secs_f64() * 1000.0,
            Outcome::TimedOut | Outcome::Failed(_) => timeout as f64 * 1000.0,
        };
        self.rounds[config].iter().map(|round| ms(&round[query])).collect()
    }

    /// The same in CPU time.
    fn cpu(&self, config: usize, query: usize, timeout: u64) -> Vec<f64> {
        let ms = |outcome: &Outcome| match outcome {
            Outcome::Time(_, cpu) => cpu.as_secs_f64() * 1000.0,
            Outcome::TimedOut | Outcome::Failed(_) => timeout as f64 * 1000.0,
        };
        self.rounds[config].iter().map(|round| ms(&round[query])).collect()
    }

    /// Did no query of a configuration ever end?
    fn nothing_ended(&self, config: usize) -> bool {
        self.rounds[config].iter().flatten().all(|outcome| !matches!(outcome, Outcome::Time(..)))
    }

    /// Which queries did not end, and why.
    fn troubles(&self, config: usize) -> Vec<String> {
        if self.nothing_ended(config)
            && let Some(Outcome::Failed(why)) = self.rounds[config].first().and_then(|round| round.first())
        {
            return vec![why.clone()];
        }
        let mut seen = BTreeSet::new();
        for round in &self.rounds[config] {
            for (name, outcome) in self.names.iter().zip(round) {
                match outcome {
                    Outcome::Time(..) => {}
                    Outcome::TimedOut => drop(seen.insert(format!("{name} timed out"))),
                    Outcome::Failed(why) => drop(seen.insert(format!("{name}: {why}"))),
                }
            }
        }
        seen.into_iter().collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One table for one memory limit: a column for each configuration, with medians, sum, geometric mean, both against the first
/// configuration, and by how much the sums of single rounds differ.
pub fn queries(memory: u64, results: &Results, timeout: u64) {
    say::show!("\n{} MiB: medians of {} rounds, ms", memory / MIB, results.rounds[0].len());
    let count = results.names.len();
    let medians = |config: usize| (0..count).map(move |query| median(results.times(config, query, timeout)));
    let all: Vec<Vec<f64>> = (0..results.configs.len()).map(|config| medians(config).collect()).collect();
    let sums: Vec<f64> = all.iter().map(|medians| medians.iter().sum()).collect();
    let mean = |medians: &Vec<f64>| (medians.iter().map(|t| t.ln()).sum::<f64>() / medians.len() as f64).exp();
    let means: Vec<f64> = all.iter().map(mean).collect();
    let mut table = table(std::iter::once("query").chain(results.configs.iter().map(String::as_str)));
    let mut row = |name: &str, cells: Vec<String>| {
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    for (query, name) in results.names.iter().enumerate() {
        row(name, all.iter().map(|medians| format!("{:.0}", medians[query])).collect());
    }
    let cpu = |config: usize| (0..count).map(|query| median(results.cpu(config, query, timeout))).sum::<f64>();
    let cpu: Vec<f64> = (0..all.len()).map(cpu).collect();
    row("sum", sums.iter().map(|sum| format!("{sum:.0}")).collect());
    row("sum x", sums.iter().map(|sum| format!("{:.2}", sum / sums[0])).collect());
    row("mean x", means.iter().map(|mean| format!("{:.2}", mean / means[0])).collect());
    row("sum of CPU", cpu.iter().map(|sum| format!("{sum:.0}")).collect());
    row("CPU x", cpu.iter().map(|sum| format!("{:.2}", sum / cpu[0])).collect());
    let spreads = (0..all.len()).map(|config| format!("{:.0} %", spread(results, config, timeout) * 100.0));
    row("spread", spreads.collect());
    say::show!("{table}");
    for (at, config) in results.configs.iter().enumerate() {
        for trouble in results.troubles(at) {
            say::show!("! {config}: {trouble}");
        }
    }
}

/// The largest sum of a round over the smallest, less 1.
fn spread(results: &Results, config: usize, timeout: u64) -> f64 {
    let queries = results.names.len();
    let rounds = results.rounds[config].len();
    let sums: Vec<f64> =
        (0..rounds).map(|round| (0..queries).map(|query| results.times(config, query, timeout)[round]).sum()).collect();
    let most = sums.iter().copied().fold(0.0, f64::max);
    let least = sums.iter().copied().fold(f64::INFINITY, f64::min);
    most / least - 1.0
}

/// Memory and time of six heavy statements at once.
pub fn peaks(memory: u64, rows: &[(String, Result<Peak, String>)]) {
    say::show!("\n{} MiB: six heavy statements, two loads with index and vacuum at once (one run)", memory / MIB);
    let mut table = table(["configuration", "peak MiB", "of limit", "killed", "failed", "seconds"]);
    for (config, peak) in rows {
        match peak {
            Ok(peak) => table.add_row(vec![
                config.clone(),
                format!("{}", peak.held / MIB),
                format!("{:.0} %", peak.held as f64 / memory as f64 * 100.0),
                peak.killed.to_string(),
                format!("{} of 8", peak.failed.len()),
                format!("{:.1}", peak.seconds),
            ]),
            Err(_) => {
                table.add_row(vec![config.clone(), "-".into(), "-".into(), "-".into(), "no start".into(), "-".into()])
            }
        };
    }
    say::show!("{table}");
    for (config, peak) in rows {
        match peak {
            Ok(peak) => peak.failed.iter().take(1).for_each(|why| say::show!("! {config}: {why}")),
            Err(why) => say::show!("! {config}: {why}"),
        }
    }
}

/// What each layout takes.
pub fn layouts(rows: &[[String; 4]]) {
    let mut table = table(["layout", "seconds to make", "rows, MiB", "indexes, MiB"]);
    for row in rows {
        table.add_row(row);
    }
    say::show!("{table}");
}

/// Versions, machine and data.
pub fn heading(cluster: &Cluster, data: &str, bytes: u64, place: Result<String, String>) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    say::show!("flowkit {}, {}", env!("CARGO_PKG_VERSION"), cluster.version);
    say::show!(
        "{} x{}, {}, kernel {}",
        model.trim_start_matches([' ', '\t', ':']),
        cpuinfo.lines().filter(|l| l.starts_with("processor")).count(),
        meminfo.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
        read("/proc/sys/kernel/osrelease").trim()
    );
    say::show!("{data}: {} MiB", bytes / MIB);
    match place {
        Ok(place) => say::show!("limits: {place}"),
        Err(why) => say::show!("limits: NONE, no memory cgroup can be made ({why}); memory is not measured"),
    }
    load_average("at the start");
}

/// What the queries' names mean.
pub fn legend(set: &[Query]) {
    let list: Vec<String> = set
        .iter()
        .map(|query| if query.what.is_empty() { query.name.clone() } else { format!("{}: {}", query.name, query.what) })
        .collect();
    say::show!("{} queries, each as CREATE TABLE AS: {}", set.len(), list.join("; "));
}

/// How busy the machine is.
pub fn load_average(when: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    say::show!("load average {when}: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
}

/// Every configuration's settings, one line each.
pub fn settings(configs: &[(String, Settings)]) {
    for (name, settings) in configs {
        let list: Vec<String> = settings.iter().map(|(n, v)| format!("{n}={v}")).collect();
        say::show!("{name}: {}", list.join(" "));
    }
}

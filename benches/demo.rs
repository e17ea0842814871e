//! Rows per second of `flowkit db demo`, into a FlowDB that is configured as `flowkit up` does it.
//!
//! `cargo bench --bench demo [-- DAYS]`; 30 days, the command's default, when not said.

#[allow(dead_code, missing_docs)] // the tests need more of it
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::Instant;

use flowkit::flowdb::demo;

use support::flowdb::Cluster;

struct Silent;

impl demo::Progress for Silent {
    fn begin(&self, _: usize, _: u32) {}
    fn rows(&self, _: u64) {}
    fn day(&self, _: time::Date) {}
    fn analyze(&self) {}
}

fn main() {
    let days = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(30);
    let options = demo::Options { days, ..demo::Options::default() };
    let cluster = Cluster::started();
    let began = Instant::now();
    let site = &cluster.site;
    let connect = async || Ok(flowkit::flowdb::connect(site, flowkit::flowdb::SUPERUSER).await?);
    let summary = cluster.as_user(|| demo::load(&connect, &options, &Silent)).expect("the demo data is loaded");
    let seconds = began.elapsed().as_secs_f64();
    let size = cluster.value(flowkit::flowdb::SUPERUSER, "SELECT pg_size_pretty(pg_database_size('flowdb'))");
    say::show!("events    seconds  events/s  database");
    say::show!("{:<9} {seconds:<8.1} {:<9.0} {size}", summary.events, summary.events as f64 / seconds);
}

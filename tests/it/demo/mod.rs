//! `flowkit db demo` on a real FlowDB, and what FlowMachine makes of it.

mod kinds;
mod loader;
mod queries;
mod verify;

use flowkit::flowdb::{SUPERUSER, connect, demo};

use crate::support::flowdb::Cluster;

/// Keeps quiet.
struct Silent;

impl demo::Progress for Silent {
    fn begin(&self, _: usize, _: u32) {}
    fn rows(&self, _: u64) {}
    fn day(&self, _: time::Date) {}
    fn analyze(&self) {}
}

/// A FlowDB with demo data.
fn loaded(days: u32, subscribers: u32, sites: u32) -> Cluster {
    let cluster = Cluster::started();
    load(&cluster, days, subscribers, sites);
    cluster
}

/// Loads demo data.
fn load(cluster: &Cluster, days: u32, subscribers: u32, sites: u32) {
    let options = demo::Options { days, subscribers, sites, ..demo::Options::default() };
    let site = &cluster.site;
    let connect = async || Ok(connect(site, SUPERUSER).await?);
    cluster.as_user(|| demo::load(&connect, &options, &Silent)).expect("the demo data is loaded");
}

//! Six heavy statements at once, with a load, two index builds and a vacuum beside them: how much memory, how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cgroup::{Place, Usage};
use crate::queries;
use crate::rivals::Settings;
use crate::server::{Cluster, Server};

/// What one configuration did under it.
pub struct Peak {
    /// Most memory held at once (private and shared, without page cache); 0 when no cgroup could tell.
    pub held: u64,
    /// Processes killed for want of memory.
    pub killed: u64,
    /// Statements that failed, with the first one's reason.
    pub failed: Vec<String>,
    pub seconds: f64,
}

/// Queries that sort and hash much, of the set that is not used for claims.
const HEAVY: [&str; 6] = ["K2", "K3", "K4", "K5", "K6", "K4"];

/// Runs it once on a fresh server.
pub async fn run(
    cluster: &Cluster,
    settings: &Settings,
    limit: Option<(&Place, u64)>,
    days: u32,
    patience: Duration,
) -> Result<Peak, String> {
    let known = queries::set("known", days);
    let mut server = cluster.start(settings, limit).await?;
    let busy = AtomicBool::new(true);
    let held = AtomicU64::new(0);
    let started = Instant::now();
    let work = async {
        let mut jobs = Vec::new();
        for (n, name) in HEAVY.iter().enumerate() {
            let query = known.iter().find(|q| q.name == *name).expect("a query of the set");
            jobs.push(statement(&server, patience, format!("CREATE TABLE out_{n} AS {}", query.sql)).await);
        }
        for n in 0..2 {
            let load = format!("CREATE TABLE load_{n} AS SELECT * FROM events.calls WHERE datetime < '2016-01-05'");
            let index = format!("{load}; CREATE INDEX ON load_{n} (msisdn); VACUUM ANALYZE load_{n}");
            jobs.push(statement(&server, patience, index).await);
        }
        let mut failed = Vec::new();
        for job in jobs {
            match job {
                Ok(job) => failed.extend(job.await.map_err(|e| e.to_string()).and_then(|r| r).err()),
                Err(error) => failed.push(error),
            }
        }
        busy.store(false, Ordering::Relaxed);
        failed
    };
    let watch = async {
        while busy.load(Ordering::Relaxed) {
            let now = server.group.as_ref().map_or(0, |g| g.usage().held);
            held.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (failed, ()) = tokio::join!(work, watch);
    let seconds = started.elapsed().as_secs_f64();
    let Usage { killed, .. } = server.group.as_ref().map(|g| g.usage()).unwrap_or_default();
    let client = server.wait().await?;
    let names = (0..6).map(|n| format!("out_{n}")).chain((0..2).map(|n| format!("load_{n}")));
    for name in names {
        client.batch_execute(&format!("DROP TABLE IF EXISTS {name}")).await.map_err(|e| e.to_string())?;
    }
    drop(client);
    server.stop().await;
    Ok(Peak { held: held.into_inner(), killed, failed, seconds })
}

type Job = tokio::task::JoinHandle<Result<(), String>>;

/// Statements on a connection of their own, one after the other.
async fn statement(server: &Server<'_>, patience: Duration, sql: String) -> Result<Job, String> {
    let client = Arc::new(server.connect().await.map_err(|e| e.to_string())?);
    Ok(tokio::spawn(async move {
        let limit = format!("SET statement_timeout = {}", patience.as_millis());
        client.batch_execute(&limit).await.map_err(|e| e.to_string())?;
        for part in sql.split("; ") {
            client
                .batch_execute(part)
                .await
                .map_err(|e| e.as_db_error().map_or(e.to_string(), |d| d.message().to_owned()))?;
        }
        Ok(())
    }))
}

//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use web::RequestId;

use crate::caller::Caller;
use crate::database::Database;
use crate::fair::Fair;
use crate::flowmachine::{Asker, FlowMachine};
use crate::gate::Gate;
use crate::known::KnownQueries;
use crate::metrics::Metrics;
use crate::polls::Polls;
use crate::spec::Documents;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// This server's name: the audience of its tokens.
    pub identifier: String,
    /// How long FlowMachine may take over one request, all its questions together. Building a query takes it minutes at worst.
    pub patience: Duration,
    /// The longest that a client may ask to wait for a query's end.
    pub longest_wait: Duration,
    /// Queries of one user that run at once.
    pub queries_per_user: usize,
    /// Random samples that run at once, all users' together.
    pub samples: usize,
    /// Results on their way to one user at once.
    pub results_per_user: usize,
    /// Whether figures are told at `/metrics`, to everybody.
    pub metrics: bool,
}

/// The server's parts.
pub struct App {
    pub(crate) options: Options,
    pub(crate) gate: Gate,
    pub(crate) fair: Fair,
    pub(crate) flowmachine: FlowMachine,
    pub(crate) database: Database,
    pub(crate) polls: Polls,
    pub(crate) known: KnownQueries,
    pub(crate) documents: Documents,
    pub(crate) metrics: Metrics,
    /// Since when it runs.
    pub(crate) since: SystemTime,
}

impl App {
    /// A server that lets in whom this gate does, and asks this FlowMachine and this database.
    pub fn new(options: Options, gate: Gate, flowmachine: FlowMachine, database: Database) -> Arc<App> {
        Arc::new(App {
            options,
            gate,
            fair: Fair::default(),
            flowmachine,
            database,
            polls: Polls::default(),
            known: KnownQueries::default(),
            documents: Documents::default(),
            metrics: Metrics::default(),
            since: SystemTime::now(),
        })
    }

    /// Whoever asks FlowMachine for a caller's request, which has all its time before it.
    ///
    /// # Errors
    /// 429 where too many of the caller's requests ask.
    pub(crate) fn asker(&self, caller: &Caller, request: &RequestId) -> Result<Asker, web::Error> {
        let seat = Some(Arc::new(self.fair.asking(caller)?));
        Ok(Asker { seat, ..self.open_asker(request) })
    }

    /// The same for what is open to everybody.
    pub(crate) fn open_asker(&self, request: &RequestId) -> Asker {
        Asker::new(request.as_str(), self.options.patience)
    }
}

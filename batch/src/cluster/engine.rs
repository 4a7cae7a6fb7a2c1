//! The engine of a coordinator: its own process for what is small, workers for what is large.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use tidemill_net::Connector;
use tidemill_plans::batch::BatchQuery;
use tidemill_plans::batch::work::{WorkAnswer, WorkRequest};
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::ids::WorkerId;
use tidemill_plans::settings::Settings;
use tokio::runtime::Handle;

use super::dispatcher::Workers;
use super::fetch::Fetcher;
use crate::embedded::EmbeddedEngine;
use crate::engine::{BatchEngine, BatchRun, BatchWorkers};
use crate::error::Result;

/// How workers are reached.
#[derive(Debug, Clone, Default)]
pub struct ClusterConfig {
    /// How connections are made.
    pub connector: Connector,
    /// What workers are shown.
    pub secret: Option<ClusterSecret>,
}

/// The engine.
pub struct ClusterEngine {
    embedded: EmbeddedEngine,
    workers: Arc<Workers>,
    fetcher: Arc<Fetcher>,
}

/// What a query needs of workers.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) workers: Arc<Workers>,
    pub(crate) fetcher: Arc<Fetcher>,
    /// Where the dispatcher runs.
    pub(crate) runtime: Handle,
}

impl fmt::Debug for ClusterEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterEngine").field("embedded", &self.embedded).finish_non_exhaustive()
    }
}

impl ClusterEngine {
    /// An engine without workers yet, which runs here what they do not.
    #[must_use]
    pub fn new(embedded: EmbeddedEngine, config: ClusterConfig) -> Self {
        let fetcher = Arc::new(Fetcher::new(config.connector, config.secret));
        Self { embedded, workers: Arc::new(Workers::new()), fetcher }
    }
}

impl BatchEngine for ClusterEngine {
    fn run(&self, query: BatchQuery, settings: &Settings) -> Result<BatchRun> {
        let (workers, fetcher) = (Arc::clone(&self.workers), Arc::clone(&self.fetcher));
        let runtime = self.embedded.threads()?;
        fetcher.live_on(runtime.clone());
        let cluster = Cluster { workers, fetcher, runtime };
        self.embedded.begin(query, settings, Some(cluster))
    }

    fn columns(&self, options: &[(String, String)]) -> Result<SchemaRef> {
        self.embedded.columns(options)
    }

    fn workers(&self) -> Option<&dyn BatchWorkers> {
        Some(self)
    }
}

impl BatchWorkers for ClusterEngine {
    fn join(&self, worker: WorkerId, address: String, slots: u32) {
        self.workers.join(worker, address, slots);
    }

    fn lose(&self, worker: WorkerId) {
        self.workers.lose(worker);
    }

    fn work(&self, worker: WorkerId, request: WorkRequest) -> BoxFuture<'_, Result<Option<WorkAnswer>>> {
        Box::pin(async move { Ok(self.workers.work(worker, request, &self.embedded.threads()?).await) })
    }
}

//! Workers run a query as a whole: Ballista cuts its plan into stages, gives their tasks to workers, and each stage reads what
//! the tasks of others have left on the disks of workers.
//!
//! Of Ballista there are the planner of stages and the scheduler, in the coordinator, and the writers of what lies between
//! stages. Workers ask for work with the messages that they have for everything else ([`tidemill_plans::batch::work`]), and
//! read each other's pieces at the address at which they are reached anyway: so Ballista has no port, no connection, and no
//! say in who may connect.
//!
//! What is lost with a worker is not repaired: the attempt ends, and the query begins anew under another id. So no row of a
//! repeated task can be read beside that of the task itself.
//!
//! Reading order, at the coordinator: `engine`, `run` (a query), `dispatcher` (who does what), `stages` (EXPLAIN). At a
//! worker: `worker` (asks for work), `task`, `pieces`, `fetch`. Between them: `codec`, `read_parts`.

mod account;
mod codec;
mod dispatcher;
mod engine;
mod fetch;
mod pieces;
mod read_parts;
mod run;
mod stages;
mod task;
mod worker;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::config::BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK;
use ballista_core::extension::SessionConfigExt;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{Partitioning, PlanProperties};
use datafusion::prelude::SessionConfig;

pub(crate) use self::account::Account;
pub(crate) use self::engine::Cluster;
pub use self::engine::{ClusterConfig, ClusterEngine};
pub(crate) use self::fetch::Lost;
pub(crate) use self::read_parts::ReadParts;
pub(crate) use self::run::{Run, Stays};
pub use self::worker::{BatchWorker, BatchWorkerConfig};

/// What is known of rows that are read as they come, in no order, until they end.
fn properties(schema: &SchemaRef, partitioning: Partitioning) -> Arc<PlanProperties> {
    let order = EquivalenceProperties::new(Arc::clone(schema));
    Arc::new(PlanProperties::new(order, partitioning, EmissionType::Incremental, Boundedness::Bounded))
}

/// Whether joins hash rows: otherwise they sort them.
pub(crate) const PREFER_HASH_JOIN: &str = "datafusion.optimizer.prefer_hash_join";

/// What plans that leave a process are made with.
pub(crate) fn config() -> SessionConfig {
    // A task with several parts would take as much memory and count as one. Ballista has all joins sort, because these
    // spill; a join that hashes rows takes a fraction of the time, and one that does not fit begins anew and sorts.
    SessionConfig::new_with_ballista()
        .set_str(BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK, "1")
        .set_bool(PREFER_HASH_JOIN, true)
}

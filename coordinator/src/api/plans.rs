//! Plans of clients: documents that become jobs without any SQL.

use serde::{Deserialize, Serialize};
use tidemill_plans::connector::is_inner;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::growing_state::growing_state;
use tidemill_plans::node::NodeKind;
use tidemill_plans::settings::Settings;
use tidemill_sql::access::check_plan;
use tidemill_sql::document::{DocumentError, PlanDocument};

use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::handle::CoordinatorHandle;

/// What a plan has become; JSON on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedPlan {
    /// The number of its job, by which STOP JOB, ALTER JOB and others call it.
    pub job: u64,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Starts the job of a document. It goes on when whoever has sent it is gone, and is theirs.
pub(crate) async fn submit(coordinator: &CoordinatorHandle, json: &str, who: &Who) -> Result<SubmittedPlan> {
    let submitted = start(coordinator, json, who).await;
    coordinator.access().note(who, "plan", json, &submitted).await;
    submitted
}

async fn start(coordinator: &CoordinatorHandle, json: &str, who: &Who) -> Result<SubmittedPlan> {
    let (graph, settings) = PlanDocument::from_json(json)?.to_graph(&Settings::default())?;
    refuse_inner_connectors(&graph)?;
    let access = coordinator.access();
    if let Some(rights) = access.rights(who)? {
        check_plan(rights.as_ref(), &graph, &settings).map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
    }
    let warnings = growing_state(&graph).iter().map(ToString::to_string).collect();
    let mut job = coordinator.submit_for(graph, settings, who.role.clone(), None).await?;
    access.own_job(job.id, who).await?;
    // Its rows go into sinks.
    job.results.close();
    Ok(SubmittedPlan { job: job.id.0, warnings })
}

/// Refuses what only statements can make: results, which somebody waits for, and materialized views.
fn refuse_inner_connectors(graph: &DataflowGraph) -> Result<(), DocumentError> {
    for (index, node) in graph.nodes.iter().enumerate() {
        let (connector, kind) = match &node.kind {
            NodeKind::Source(source) => (&source.connector, "source"),
            NodeKind::Sink(sink) => (&sink.connector, "sink"),
            _ => continue,
        };
        if is_inner(connector) {
            return Err(DocumentError {
                node: Some(node.name.clone()),
                path: format!("nodes[{index}].operator.{kind}.connector"),
                message: format!("'{connector}' is for statements; SHOW CONNECTORS lists what plans can name"),
            });
        }
    }
    Ok(())
}

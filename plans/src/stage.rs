//! Cuts a graph into stages: operators that run in the same task, without a queue between them.
//!
//! Operators joined by a forward edge are chained, unless the receiver has other inputs too: a task
//! must see all its inputs through one inbox to align barriers. A stage is a tree: its head receives
//! from channels (or from the outside), and each operator hands its output to chained operators and
//! to the outgoing edges.

use crate::error::{PlanError, Result};
use crate::graph::{DataflowGraph, Partitioning};
use crate::ids::{ChannelId, OperatorId, RunId, StageId, TaskId};
use crate::node::NodeKind;

/// Operators that are chained, in topological order; the first is the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its place in [`Stages::stages`].
    pub id: StageId,
    /// The head and what is chained behind it.
    pub operators: Vec<OperatorId>,
    /// How many tasks run it.
    pub parallelism: u32,
}

/// A graph's stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages {
    /// All stages; [`StageId`] is an index into them.
    pub stages: Vec<Stage>,
    /// The stage of each operator.
    stage_of: Vec<StageId>,
}

impl Stages {
    /// Cuts `graph`, which must be valid.
    pub fn of(graph: &DataflowGraph) -> Result<Self> {
        graph.validate()?;
        let mut stages: Vec<Stage> = Vec::new();
        let mut stage_of: Vec<StageId> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let stage = match chained_to(graph, node.id) {
                Some(upstream) => stage_of[upstream.0 as usize],
                None => {
                    let id = StageId(u32::try_from(stages.len()).unwrap_or(u32::MAX));
                    stages.push(Stage { id, operators: Vec::new(), parallelism: node.parallelism });
                    id
                }
            };
            stages[stage.0 as usize].operators.push(node.id);
            stage_of.push(stage);
        }
        Ok(Self { stages, stage_of })
    }

    /// The stage that an operator runs in.
    pub fn stage_of(&self, operator: OperatorId) -> Result<StageId> {
        self.stage_of
            .get(operator.0 as usize)
            .copied()
            .ok_or_else(|| PlanError::InvalidGraph(format!("no node {operator}")))
    }

    /// The stage of this id.
    pub fn stage(&self, id: StageId) -> Result<&Stage> {
        self.stages.get(id.0 as usize).ok_or_else(|| PlanError::InvalidGraph(format!("no {id}")))
    }

    /// All tasks, stage by stage.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.stages
            .iter()
            .flat_map(|stage| (0..stage.parallelism).map(move |subtask| TaskId { stage: stage.id, subtask }))
    }

    /// Every channel of the job with its sending and receiving task. A forward edge that is not
    /// chained connects subtask i with subtask i; any other edge connects all with all.
    pub fn channels(&self, run: RunId, graph: &DataflowGraph) -> Result<Vec<(ChannelId, TaskId, TaskId)>> {
        let mut channels = Vec::new();
        for (index, edge) in graph.edges.iter().enumerate() {
            let (from, to) = (self.stage_of(edge.from)?, self.stage_of(edge.to)?);
            if from == to {
                continue;
            }
            for i in 0..self.stage(from)?.parallelism {
                for j in 0..self.stage(to)?.parallelism {
                    if edge.partitioning == Partitioning::Forward && i != j {
                        continue;
                    }
                    let edge = u32::try_from(index).unwrap_or(u32::MAX);
                    let (sender, receiver) = (TaskId { stage: from, subtask: i }, TaskId { stage: to, subtask: j });
                    channels.push((ChannelId { run, edge, from: i, to: j }, sender, receiver));
                }
            }
        }
        Ok(channels)
    }

    /// Whether an edge stays inside a stage.
    pub fn is_chained(&self, from: OperatorId, to: OperatorId) -> Result<bool> {
        Ok(self.stage_of(from)? == self.stage_of(to)?)
    }
}

/// The operator that `id` is chained to, if any. Sinks and look-ups wait for the outside: they never share
/// a compute task, so they are stages of their own.
fn chained_to(graph: &DataflowGraph, id: OperatorId) -> Option<OperatorId> {
    let mut inputs = graph.inputs(id);
    let (_, edge) = inputs.next()?;
    let alone = inputs.next().is_none();
    let waits = |id: OperatorId| matches!(graph.nodes[id.0 as usize].kind, NodeKind::Sink(_) | NodeKind::LookupJoin(_));
    (alone && !waits(id) && !waits(edge.from) && edge.partitioning == Partitioning::Forward).then_some(edge.from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::node::{ProjectNode, UnionNode};

    fn project() -> NodeKind {
        NodeKind::Project(ProjectNode { columns: vec![] })
    }

    #[test]
    fn forward_edges_chain_and_joins_cut() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let mut graph = DataflowGraph::default();
        // Unions stand in for sources: both only need to be heads.
        let a = graph.add_node(NodeKind::Union(UnionNode {}), 2, Arc::clone(&schema));
        let b = graph.add_node(project(), 2, Arc::clone(&schema));
        let c = graph.add_node(project(), 2, Arc::clone(&schema));
        let u = graph.add_node(NodeKind::Union(UnionNode {}), 2, Arc::clone(&schema));
        graph.add_edge(a, b, 0, Partitioning::Forward);
        graph.add_edge(a, c, 0, Partitioning::Forward);
        graph.add_edge(b, u, 0, Partitioning::Forward);
        graph.add_edge(c, u, 0, Partitioning::Hash(vec![0]));
        // A union without an input is not valid, so the cut is tested below validation.
        assert_eq!(chained_to(&graph, b), Some(a));
        assert_eq!(chained_to(&graph, c), Some(a));
        assert_eq!(chained_to(&graph, u), None);
        assert!(graph.validate().is_err());
        graph.nodes.remove(0);
        assert!(Stages::of(&graph).is_err());
    }
}

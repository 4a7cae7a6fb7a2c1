//! An operator beside the one under test that has no memory for its state: it takes the same steps, and must emit
//! the same.

use std::sync::Arc;

use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::NodeKind;
use tidemill_plans::settings::Settings;

use super::harness::{Instance, canonical};
use super::layers::Layers;
use crate::error::{EngineError, Result};
use crate::state::{StateMemory, StateReader};
use crate::task::{DeadLetters, TaskEnv};

/// Each so many-th step it writes its state, and each so many-th it is restored from what it has written.
const WRITTEN_EACH: usize = 2;
const RESTORED_EACH: usize = 3 * WRITTEN_EACH;

/// See the [module](self).
pub(super) struct Cramped {
    graph: DataflowGraph,
    id: OperatorId,
    instance: Instance,
    layers: Layers,
    steps: usize,
}

impl Cramped {
    /// The operator in like surroundings, if its state can do with less memory. A sink would write where the other does.
    pub(super) fn beside(graph: &DataflowGraph, id: OperatorId, env: &TaskEnv) -> Result<Option<Self>> {
        let kind = &graph.node(id)?.kind;
        if !kind.spills() || matches!(kind, NodeKind::Sink(_)) {
            return Ok(None);
        }
        let instance = Self::build(graph, id, env)?;
        Ok(Some(Self { graph: graph.clone(), id, instance, layers: Layers::default(), steps: 0 }))
    }

    fn build(graph: &DataflowGraph, id: OperatorId, env: &TaskEnv) -> Result<Instance> {
        let env = TaskEnv {
            dead_letters: Arc::new(DeadLetters::open(&Settings::default())?),
            models: Arc::default(),
            alignment: Arc::default(),
            state_memory: StateMemory { bytes_max: Some(1), scratch: env.state_memory.scratch.clone() },
            ..env.clone()
        };
        Instance::build(graph, id, env)
    }

    /// Takes the step that the operator has taken, with this outcome, which emitted these lines.
    pub(super) fn step(
        &mut self,
        step: impl Fn(&mut Instance) -> Result<()>,
        outcome: &Result<()>,
        emitted: &[String],
    ) -> Result<()> {
        self.steps += 1;
        self.write()?;
        let before = self.instance.context.output().len();
        let own = step(&mut self.instance);
        let text = |outcome: &Result<()>| outcome.as_ref().map_err(EngineError::chain).err();
        assert_eq!(text(&own), text(outcome), "of the operator without memory and of the other");
        let own = canonical(self.instance.context.output().iter().skip(before))?;
        assert_eq!(own, emitted, "of the operator without memory and of the other");
        Ok(())
    }

    /// Writes its state, and goes on from it, now and then.
    fn write(&mut self) -> Result<()> {
        if !self.steps.is_multiple_of(WRITTEN_EACH) || self.instance.operator.has_gathered() {
            return Ok(());
        }
        let memory = &self.instance.context.env().state_memory;
        self.layers.take(self.instance.operator.as_mut(), memory)?;
        if self.steps.is_multiple_of(RESTORED_EACH) {
            let mut restored = Self::build(&self.graph, self.id, self.instance.context.env())?;
            restored.operator.restore(&StateReader::new(&[self.layers.merged(memory)?], 0, 1))?;
            restored.context.go_on_at(self.instance.context.watermark());
            self.instance = restored;
        }
        Ok(())
    }
}

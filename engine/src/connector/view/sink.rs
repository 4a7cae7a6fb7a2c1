//! Takes a view's rows and changes, and seals them at every barrier.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::ids::{Epoch, OperatorId};
use tidemill_plans::node::SinkNode;

use super::held::{Held, condense};
use super::{Part, lock};
use crate::connector::Sink;
use crate::error::Result;
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::{TaskEnv, batch_bytes};

/// The sink.
pub(in crate::connector) struct ViewSink {
    held: Arc<Mutex<Held>>,
    schema: SchemaRef,
    keys: Vec<usize>,
    /// What came behind the last barrier.
    open: Vec<RecordBatch>,
    open_bytes: usize,
}

impl ViewSink {
    pub(in crate::connector) fn new(
        node: &SinkNode,
        operator: OperatorId,
        subtask: u32,
        env: &TaskEnv,
        schema: SchemaRef,
    ) -> Self {
        let keys = node.upsert_keys.clone();
        let part = Part { job: env.job, operator, subtask };
        let held = env.views.add(part, Held::new(Arc::clone(&schema), keys.clone()));
        Self { held, schema, keys, open: Vec::new(), open_bytes: 0 }
    }
}

impl Sink for ViewSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.open_bytes += batch_bytes(batch);
        self.open.push(batch.clone());
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.open_bytes = 0;
        let open = std::mem::take(&mut self.open);
        let changes = if open.is_empty() { open } else { condense(&self.schema, &self.keys, &open)? };
        let old = {
            let mut held = lock(&self.held);
            held.seal(epoch, changes);
            held.old_to_condense()
        };
        // Readers do not wait for this.
        if let Some((start, old)) = old {
            let condensed = condense(&self.schema, &self.keys, &old)?;
            lock(&self.held).replace_old(start, condensed);
        }
        Ok(())
    }

    fn hold_where(&mut self, belongs: &Belongs) {
        lock(&self.held).hold_where(belongs.clone());
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        lock(&self.held).snapshot(&self.open, state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        lock(&self.held).restore(state)
    }

    fn finish(&mut self) -> Result<()> {
        self.seal(Epoch::END)
    }

    fn state_bytes(&self) -> usize {
        self.open_bytes + lock(&self.held).bytes()
    }
}

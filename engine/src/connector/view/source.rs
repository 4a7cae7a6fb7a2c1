//! Reads what one part of a view has at an epoch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_plans::PlanError;
use tidemill_plans::change::change_column_index;
use tidemill_plans::connector::VIEW_FOLLOW;
use tidemill_plans::ids::{Epoch, JobId, OperatorId};
use tidemill_plans::node::SourceNode;

use super::followed::FollowedView;
use super::held::condense;
use super::{Part, lock};
use crate::connector::{Source, SourceEvent, changes, number, option};
use crate::error::{EngineError, Result};
use crate::task::TaskEnv;

/// Rows that are there already, a batch at a time.
struct ViewSource {
    /// The last first.
    batches: Vec<RecordBatch>,
    batch_rows: usize,
}

/// Opens the part of a view that is this subtask's.
pub(in crate::connector) fn open_source(node: &SourceNode, env: &TaskEnv, subtask: u32) -> Result<Box<dyn Source>> {
    let wanted = |name: &str| {
        let missing = || PlanError::InvalidGraph(format!("reading view '{}' needs the option '{name}'", node.table));
        number(&node.options, name).ok_or_else(missing)
    };
    let epoch = Epoch(wanted("epoch")?);
    let operator = OperatorId(u32::try_from(wanted("operator")?).unwrap_or(u32::MAX));
    let part = Part { job: JobId(wanted("job")?), operator, subtask };
    let gone = |reason| EngineError::ViewGone { view: node.table.clone(), epoch, reason };
    let held = env.views.find(part).ok_or_else(|| gone("this worker does not hold it"))?;
    if option(&node.options, VIEW_FOLLOW) == Some("true") {
        let views = Arc::clone(&env.views);
        return Ok(Box::new(FollowedView::new(node.table.clone(), part, views, held, epoch)));
    }
    let (batches, schema, keys) = {
        let held = lock(&held);
        if epoch == Epoch::END && !held.has_ended() {
            return Err(gone("its query has not ended"));
        }
        let batches = held.until(epoch).ok_or_else(|| gone("newer changes are mixed with what it had"))?;
        (batches, Arc::clone(held.schema()), held.keys().to_vec())
    };
    let batches = match change_column_index(&schema) {
        Some(_) => condense(&schema, &keys, &batches)?.iter().map(changes::rows_left).collect::<Result<_>>()?,
        None => batches,
    };
    let columns: Result<Vec<usize>, _> =
        node.columns.fields().iter().map(|field| schema.index_of(field.name())).collect();
    let columns = columns?;
    let batches: Result<Vec<RecordBatch>, _> = batches.iter().rev().map(|batch| batch.project(&columns)).collect();
    Ok(Box::new(ViewSource { batches: batches?, batch_rows: env.settings.source_batch_rows as usize }))
}

impl Source for ViewSource {
    fn next_event(&mut self) -> Result<SourceEvent> {
        let Some(batch) = self.batches.pop() else { return Ok(SourceEvent::End) };
        let rows = batch.num_rows().min(self.batch_rows);
        if rows < batch.num_rows() {
            self.batches.push(batch.slice(rows, batch.num_rows() - rows));
        }
        Ok(SourceEvent::Batch(batch.slice(0, rows)))
    }

    fn position(&self) -> Result<Vec<u8>> {
        Err(not_restarted())
    }

    fn seek(&mut self, _position: &[u8]) -> Result<()> {
        Err(not_restarted())
    }
}

/// What was read is of one epoch, which may be gone: who wants it asks again.
pub(super) fn not_restarted() -> EngineError {
    EngineError::State(String::from("a view is read from its beginning"))
}

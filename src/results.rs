//! What is done with the rows of SELECTs: those of a live one are printed as they come, others when their
//! job has ended.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use tidemill_coordinator::{ResultBatches, ResultColumns};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::NodeKind;
use tidemill_plans::protocol::StopMode;

use crate::error::Result;
use crate::output::{self, Format, LiveRows};

/// The results of one job.
#[derive(Debug)]
pub struct Results {
    format: Format,
    held: HashMap<OperatorId, Vec<RecordBatch>>,
    live: HashMap<OperatorId, LiveResult>,
    /// The live result whose rows were printed last: its header stands above them.
    printing: Option<OperatorId>,
    /// The results whose rows nobody wants, and how many may still come.
    dropped: HashMap<OperatorId, Option<u64>>,
    /// Whether the job has nothing to do once all live results have as many rows as they may.
    ends_at_limits: bool,
}

/// A result whose rows are printed as they come.
#[derive(Debug)]
struct LiveResult {
    rows: LiveRows,
    /// How many rows may still come.
    left: Option<u64>,
}

impl Results {
    /// Results with these columns.
    #[must_use]
    pub fn new(format: Format, columns: impl IntoIterator<Item = ResultColumns>) -> Self {
        let live = columns.into_iter().filter(|result| result.live).map(|result| {
            (result.operator, LiveResult { rows: LiveRows::new(format, result.schema), left: result.limit })
        });
        Self {
            format,
            held: HashMap::new(),
            live: live.collect(),
            printing: None,
            dropped: HashMap::new(),
            ends_at_limits: false,
        }
    }

    /// The results of a job with this graph.
    #[must_use]
    pub fn of_job(format: Format, columns: impl IntoIterator<Item = ResultColumns>, graph: &DataflowGraph) -> Self {
        let ends = graph.nodes.iter().filter(|node| graph.outputs(node.id).next().is_none());
        let limited = |kind: &NodeKind| matches!(kind, NodeKind::Sink(sink) if sink.live && sink.limit.is_some());
        let mut ends = ends.map(|node| limited(&node.kind));
        Self { ends_at_limits: ends.all(|limited| limited), ..Self::new(format, columns) }
    }

    /// The rows of a result are made and not printed.
    pub fn do_without(&mut self, result: &ResultColumns) {
        self.dropped.insert(result.operator, result.limit.filter(|_| result.live));
    }

    /// Prints the header of a live result, if it is the only one: a reader sees that it has begun.
    pub fn begin(&mut self) -> Result<()> {
        match self.live.iter().next() {
            Some((operator, result)) if self.live.len() == 1 => {
                self.printing = Some(*operator);
                result.rows.print_header()
            }
            _ => Ok(()),
        }
    }

    /// Takes rows.
    pub fn take(&mut self, rows: ResultBatches) -> Result<()> {
        let ResultBatches { operator, batches } = rows;
        if let Some(left) = self.dropped.get_mut(&operator) {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            *left = left.map(|left| left.saturating_sub(rows as u64));
            return Ok(());
        }
        let Some(live) = self.live.get_mut(&operator) else {
            self.held.entry(operator).or_default().extend(batches);
            return Ok(());
        };
        if self.printing.replace(operator) != Some(operator) {
            live.rows.print_header()?;
        }
        for batch in &batches {
            live.left = live.left.map(|left| left.saturating_sub(batch.num_rows() as u64));
            live.rows.print(batch)?;
        }
        Ok(())
    }

    /// Whether nothing will come any more that anybody wants.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        let mut left = self.live.values().map(|live| live.left).chain(self.dropped.values().copied());
        self.ends_at_limits && left.all(|left| left == Some(0))
    }

    /// How a job is stopped whose results are complete: one that is analysed tells what it did.
    #[must_use]
    pub fn stop_mode(&self) -> StopMode {
        if self.dropped.is_empty() { StopMode::Cancel } else { StopMode::Drain }
    }

    /// Prints a result, or what is left of it to print, when its job has ended.
    pub fn print(&mut self, result: &ResultColumns) -> Result<()> {
        match self.live.get(&result.operator) {
            None => {
                let rows = self.held.remove(&result.operator).unwrap_or_default();
                output::print(self.format, &result.schema, &rows)
            }
            Some(live) if self.printing == Some(result.operator) => live.rows.print_end(),
            Some(_) => Ok(()),
        }
    }
}

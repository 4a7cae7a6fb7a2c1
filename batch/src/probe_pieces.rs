//! Joins that let others have their turn.
//!
//! A join of DataFusion's takes a batch of the probe side and pairs it with all that it holds of the build side before it
//! asks for the next. Where both sides are large, that takes minutes, and for as long the thread is nobody else's: other
//! queries wait, and the query cannot be stopped. DataFusion's cooperative scheduling does not help, for it counts the
//! batches that operators hand on, and of pairs that a condition rejects there are none. So the probe side comes in pieces
//! that take a moment each, and between two of them others have their turn.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

/// Rows of the first piece: how much there is to pair them with is not known.
const ROWS_FIRST: usize = 1;
/// How long a thread is a join's before others have their turn.
const TURN: Duration = Duration::from_millis(10);
/// Pieces that take less become longer.
const BRIEF: Duration = Duration::from_millis(3);

/// Has the probe sides of a plan's joins come in pieces; behind all rules, which know joins by their inputs.
pub(crate) fn probe_in_pieces(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|plan| {
        let is_join = plan.is::<HashJoinExec>() || plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>();
        let children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
        match <[Arc<dyn ExecutionPlan>; 2]>::try_from(children) {
            Ok([build, probe]) if is_join => {
                let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
                let children: Vec<Arc<dyn ExecutionPlan>> = vec![build, Arc::new(ProbePieces::of(probe))];
                Ok(Transformed::yes(plan.replace_children(children, options)?))
            }
            _ => Ok(Transformed::no(plan)),
        }
    });
    Ok(changed?.data)
}

/// The rows of its input, in their order, in pieces that whoever takes them is done with in a moment.
#[derive(Debug)]
pub(crate) struct ProbePieces {
    input: Arc<dyn ExecutionPlan>,
}

impl ProbePieces {
    pub(crate) fn of(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }
}

impl DisplayAs for ProbePieces {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProbePieces")
    }
}

impl ExecutionPlan for ProbePieces {
    fn name(&self) -> &str {
        "ProbePieces"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::of(input))),
            Err(children) => internal_err!("pieces of {} inputs", children.len()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows_max = context.session_config().batch_size().max(ROWS_FIRST);
        let input = self.input.execute(partition, context)?;
        let pace = Pace { rows: ROWS_FIRST, rows_max };
        Ok(Box::pin(Pieces { input, rest: None, pace, turn: None, piece: None }))
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("pieces of {} inputs", input_stats.len()),
        }
    }
}

/// How many rows a piece has, as pieces before it have taken.
#[derive(Debug)]
struct Pace {
    rows: usize,
    rows_max: usize,
}

impl Pace {
    /// A piece has taken so long.
    fn took(&mut self, long: Duration) {
        if long > TURN {
            self.rows = (self.rows / 2).max(1);
        } else if long < BRIEF {
            self.rows = (self.rows * 2).min(self.rows_max);
        }
    }
}

struct Pieces {
    input: SendableRecordBatchStream,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    pace: Pace,
    /// Since when the thread is this join's.
    turn: Option<Instant>,
    /// When the piece that is being joined was handed on.
    piece: Option<Instant>,
}

impl Stream for Pieces {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let now = Instant::now();
        if let Some(begun) = self.piece.take() {
            self.pace.took(now - begun);
        }
        if now - *self.turn.get_or_insert(now) > TURN {
            self.turn = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        let rows = self.pace.rows.min(batch.num_rows());
        self.rest = Some(batch.slice(rows, batch.num_rows() - rows)).filter(|rest| rest.num_rows() > 0);
        self.piece = Some(Instant::now());
        Poll::Ready(Some(Ok(batch.slice(0, rows))))
    }
}

impl RecordBatchStream for Pieces {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

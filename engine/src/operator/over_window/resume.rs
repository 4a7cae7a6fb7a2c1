//! The state of a call in a partition as values, and back.
//!
//! What is not among the rows that the partition keeps is written: how far a function has come, and what
//! an accumulator has added up. An accumulator that the rows of its frame can be shown to again is not.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::call::{Call, CallState, Kind, PartitionRows, Run};
use super::ranks::number;
use crate::error::Result;
use crate::operator::state_rows::other_columns;

/// Rows that moments are shown at a time.
const MOMENT_ROWS: u64 = 1 << 12;

impl Call {
    /// How many [`Self::parts`] there are, whatever the partition.
    pub(super) fn part_count(&self) -> Result<usize> {
        Ok(self.parts(&mut self.state()?)?.len())
    }

    /// What is known of a partition besides its rows: the frame of the last row among them, and what the
    /// function remembers.
    pub(super) fn parts(&self, state: &mut CallState) -> Result<Vec<ScalarValue>> {
        let frame = &state.window.window_frame_range;
        let mut parts = vec![ScalarValue::from(frame.start as u64), ScalarValue::from(frame.end as u64)];
        match (&mut state.run, &self.kind) {
            (Run::Ranks(ranks), _) => parts.extend(ranks.parts()),
            (Run::Settled(value), _) => parts.extend([ScalarValue::from(true), value.clone()]),
            (Run::Function(_), Kind::Function { settles_at: Some(_), .. }) => {
                parts.extend([ScalarValue::from(false), ScalarValue::try_from(&self.data_type)?]);
            }
            (run, Kind::Aggregate(aggregate)) if is_written(run, aggregate) => {
                parts.extend(accumulated(run, aggregate)?);
            }
            _ => {}
        }
        Ok(parts)
    }

    /// The state of a partition from its parts, and from the rows that it keeps; `next` of them have their
    /// values.
    pub(super) fn resume(&self, parts: &[ScalarValue], rows: PartitionRows<'_>, next: usize) -> Result<CallState> {
        let [start, end, parts @ ..] = parts else { return Err(other_columns()) };
        let frame = number(start)? as usize..number(end)? as usize;
        if frame.start > frame.end || frame.end > rows.len {
            return Err(other_columns());
        }
        let mut state = self.state()?;
        state.window.window_frame_range = frame.clone();
        state.window.last_calculated_index = next;
        match (&mut state.run, &self.kind, parts) {
            (Run::Ranks(ranks), _, parts) => ranks.resume(parts)?,
            (run, Kind::Function { settles_at: Some(_), .. }, [ScalarValue::Boolean(Some(true)), value]) => {
                *run = Run::Settled(value.clone());
            }
            (run, Kind::Aggregate(aggregate), parts) => self.resume_run(run, aggregate, parts, (rows, frame))?,
            _ => {}
        }
        Ok(state)
    }

    fn resume_run(
        &self,
        run: &mut Run,
        aggregate: &AggregateFunctionExpr,
        parts: &[ScalarValue],
        (rows, frame): (PartitionRows<'_>, Range<usize>),
    ) -> Result<()> {
        let is_written = is_written(run, aggregate);
        match run {
            Run::Growing(accumulator) | Run::Sliding(accumulator) if is_written => {
                merge_exactly(accumulator.as_mut(), aggregate, parts)
            }
            Run::Sliding(accumulator) if !frame.is_empty() => self.show(accumulator.as_mut(), rows, frame),
            _ => Ok(()),
        }
    }
}

/// Whether an accumulator's state is written.
fn is_written(run: &Run, aggregate: &AggregateFunctionExpr) -> bool {
    match run {
        Run::Growing(_) => true,
        Run::Sliding(_) => is_sums(aggregate),
        _ => false,
    }
}

/// Whether an aggregate is a few sums. It gives its state without giving it up; and what rounding has left
/// in it is not only that of the rows that are in the frame, so they do not make it again.
fn is_sums(aggregate: &AggregateFunctionExpr) -> bool {
    let name = aggregate.fun().name();
    !aggregate.is_distinct() && (["sum", "avg", "count"].contains(&name) || !means(name).is_empty())
}

/// Of aggregates that are a count, means and moments about them: where in their state the means of their
/// arguments are.
fn means(function: &str) -> &'static [usize] {
    match function {
        "corr" => &[1, 3],
        "covar_samp" | "covar_pop" => &[1, 2],
        "var" | "var_pop" | "stddev" | "stddev_pop" => &[1],
        // They take y before x.
        name if name.starts_with("regr_") => &[2, 1],
        _ => &[],
    }
}

/// The state of a run's accumulator, which goes on.
fn accumulated(run: &mut Run, aggregate: &AggregateFunctionExpr) -> Result<Vec<ScalarValue>> {
    let (Run::Growing(accumulator) | Run::Sliding(accumulator)) = run else { return Ok(Vec::new()) };
    let state = accumulator.state()?;
    if !is_sums(aggregate) {
        // It may have given up what it held, and only growing ones come here.
        *accumulator = aggregate.create_accumulator()?;
        merge(accumulator.as_mut(), &state)?;
    }
    Ok(state)
}

fn merge(accumulator: &mut dyn Accumulator, state: &[ScalarValue]) -> Result<()> {
    let state = state.iter().map(|value| value.to_array_of_size(1)).collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok(accumulator.merge_batch(&state)?)
}

/// Merges a state into an accumulator that has seen nothing, to the bit.
///
/// Means are multiplied by their count and divided by it, which is exact for a power of two. Rows at the
/// means make up what is missing: they change nothing but the count.
fn merge_exactly(
    accumulator: &mut dyn Accumulator,
    aggregate: &AggregateFunctionExpr,
    state: &[ScalarValue],
) -> Result<()> {
    let places = if is_sums(aggregate) { means(aggregate.fun().name()) } else { &[] };
    let at = places.iter().map(|place| match state.get(*place) {
        Some(ScalarValue::Float64(Some(mean))) if mean.is_finite() => Some(*mean),
        _ => None,
    });
    let (Some(at), [count, moments @ ..]) = (at.collect::<Option<Vec<f64>>>(), state) else {
        return merge(accumulator, state);
    };
    let count = if at.is_empty() { 0 } else { number(count)? };
    let Some(power) = count.checked_ilog2() else { return merge(accumulator, state) };
    let exact = 1 << power;
    let whole: Vec<ScalarValue> = std::iter::once(ScalarValue::from(exact)).chain(moments.iter().cloned()).collect();
    merge(accumulator, &whole)?;
    let mut missing = count - exact;
    while missing > 0 {
        let rows = missing.min(MOMENT_ROWS);
        let column = |mean: &f64| -> ArrayRef { Arc::new(Float64Array::from_value(*mean, rows as usize)) };
        accumulator.update_batch(&at.iter().map(column).collect::<Vec<_>>())?;
        missing -= rows;
    }
    Ok(())
}

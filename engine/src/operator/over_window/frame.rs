//! The rows that an aggregate sees for a row, and what changes from one row to the next.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::filter;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;

use crate::error::Result;

/// The frame of a row, and the one before it.
pub(super) struct Frame<'a> {
    pub(super) rows: Range<usize>,
    pub(super) last: Range<usize>,
    /// The partition's arguments, and which of its rows a FILTER lets through.
    pub(super) arguments: &'a [ArrayRef],
    pub(super) mask: Option<&'a BooleanArray>,
}

impl Frame<'_> {
    /// Adds what is behind the frame before.
    pub(super) fn grow(&self, accumulator: &mut dyn Accumulator) -> Result<ScalarValue> {
        if self.rows.end > self.last.end {
            accumulator.update_batch(&self.part(self.last.end..self.rows.end)?)?;
        }
        Ok(accumulator.evaluate()?)
    }

    /// Adds what is behind the frame before, and takes out what is only in that.
    pub(super) fn slide(&self, accumulator: &mut dyn Accumulator) -> Result<ScalarValue> {
        let (rows, last) = (&self.rows, &self.last);
        // Rows between an empty frame and this one were never in a frame.
        let (out, enter) = if last.is_empty() {
            (0..0, rows.clone())
        } else {
            (last.start..rows.start.min(last.end), last.end.max(rows.start)..rows.end)
        };
        if !enter.is_empty() {
            accumulator.update_batch(&self.part(enter)?)?;
        }
        if !out.is_empty() {
            accumulator.retract_batch(&self.part(out)?)?;
        }
        Ok(accumulator.evaluate()?)
    }

    /// The arguments of some rows that the FILTER lets through.
    pub(super) fn part(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in self.arguments {
            let slice = argument.slice(rows.start, rows.len());
            values.push(match self.mask {
                Some(mask) => filter(&slice, &mask.slice(rows.start, rows.len()))?,
                None => slice,
            });
        }
        Ok(values)
    }
}

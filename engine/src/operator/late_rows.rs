//! Rows that come behind a time that has passed: counted, and left out.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidemill_plans::time::{EventTime, event_times};

use crate::error::Result;
use crate::task::OperatorContext;

/// The rows from `from` on, by the event time in column `time`; the others are counted as late.
pub(super) fn without_late(
    batch: RecordBatch,
    time: usize,
    from: EventTime,
    ctx: &OperatorContext,
) -> Result<RecordBatch> {
    let times = event_times(batch.column(time))?;
    let is_on_time = |time: &i64| EventTime(*time) >= from;
    if times.values().iter().all(is_on_time) {
        return Ok(batch);
    }
    let on_time: BooleanArray = times.values().iter().map(|time| Some(is_on_time(time))).collect();
    ctx.count_late(on_time.false_count());
    Ok(filter_record_batch(&batch, &on_time)?)
}

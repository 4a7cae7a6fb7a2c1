//! The rows of SHOW JOBS, SHOW CHECKPOINTS, SHOW METRICS and EXPLAIN MIGRATION.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_plans::PlanError;
use tidemill_plans::ids::JobId;
use tidemill_plans::protocol::OperatorMetrics;
use tidemill_plans::savepoint::{Fate, Migration};

use crate::error::Result;
use crate::handle::{JobInfo, ObservedJob};
use crate::job::JobStatus;
use crate::job::checkpoint_log::{CheckpointInfo, CheckpointOutcome};

/// A row a job.
pub(crate) fn jobs(jobs: &[JobInfo]) -> Result<RecordBatch> {
    let newest = |job: &JobInfo| job.newest_checkpoint.map(|(epoch, _)| epoch.0 as i64);
    let age = |job: &JobInfo| job.newest_checkpoint.map(|(_, age)| seconds(age));
    let fraction = |job: &JobInfo| Some(job.progress?.fraction?.value());
    let cause = |job: &JobInfo| match &job.status {
        JobStatus::Failed { message, .. } | JobStatus::Restarting { message, .. } => Some(message.clone()),
        _ => None,
    };
    table(vec![
        ("job", Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| job.id.0 as i64)))),
        ("status", Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| job.status.name())))),
        ("makes", Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| job.makes.join(", "))))),
        ("tasks", Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| job.tasks as i64)))),
        ("restarts", Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| i64::from(job.restarts))))),
        ("checkpoint", Arc::new(jobs.iter().map(newest).collect::<Int64Array>())),
        ("checkpoint_age_s", Arc::new(jobs.iter().map(age).collect::<Float64Array>())),
        ("cause", Arc::new(jobs.iter().map(cause).collect::<StringArray>())),
        ("kind", Arc::new(StringArray::from_iter_values(jobs.iter().map(JobInfo::kind)))),
        ("progress", Arc::new(jobs.iter().map(fraction).collect::<Float64Array>())),
        ("detail", Arc::new(jobs.iter().map(|job| job.progress.map(|of| of.to_string())).collect::<StringArray>())),
    ])
}

/// A row an operator, and one for all state that nobody takes.
pub(super) fn migration(migration: &Migration) -> Result<RecordBatch> {
    let detail = |fate: &Fate| match fate {
        Fate::KeepsOther(_, detail) | Fate::CannotKeep(detail) => Some(detail.clone()),
        _ => None,
    };
    let kept = migration.operators.iter().map(|(name, fate)| (name.clone(), fate.name(), detail(fate)));
    let dropped = migration.dropped.iter().map(|(name, what)| (name.clone(), "dropped", Some(what.clone())));
    let rows: Vec<(String, &str, Option<String>)> = kept.chain(dropped).collect();
    table(vec![
        ("operator", Arc::new(StringArray::from_iter_values(rows.iter().map(|(name, ..)| name)))),
        ("state", Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, state, _)| state)))),
        ("detail", Arc::new(rows.iter().map(|(.., detail)| detail.clone()).collect::<StringArray>())),
    ])
}

/// A row a checkpoint of each of these jobs.
pub(super) fn checkpoints_of(jobs: &[(JobId, Vec<CheckpointInfo>)]) -> Result<RecordBatch> {
    let ids = jobs.iter().flat_map(|(job, infos)| std::iter::repeat_n(job.0 as i64, infos.len()));
    let infos: Vec<CheckpointInfo> = jobs.iter().flat_map(|(_, infos)| infos.iter().cloned()).collect();
    let rows = checkpoints(&infos)?;
    let schema = rows.schema();
    let own = schema.fields().iter().map(|field| field.name().as_str()).zip(rows.columns().iter().cloned());
    let job: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    table([("job", job)].into_iter().chain(own).collect())
}

/// A row a checkpoint, oldest first.
pub(crate) fn checkpoints(checkpoints: &[CheckpointInfo]) -> Result<RecordBatch> {
    let outcome = |info: &CheckpointInfo| match info.outcome {
        CheckpointOutcome::InProgress => "in progress",
        CheckpointOutcome::Sealed { .. } => "sealed",
        CheckpointOutcome::Failed { .. } => "failed",
    };
    let took = |info: &CheckpointInfo| match info.outcome {
        CheckpointOutcome::Sealed { took } => Some(milliseconds(took)),
        _ => None,
    };
    let cause = |info: &CheckpointInfo| match &info.outcome {
        CheckpointOutcome::Failed { cause } => Some(cause.clone()),
        _ => None,
    };
    let infos = || checkpoints.iter();
    table(vec![
        ("checkpoint", Arc::new(Int64Array::from_iter_values(infos().map(|info| info.epoch.0 as i64)))),
        ("status", Arc::new(StringArray::from_iter_values(infos().map(outcome)))),
        ("age_s", Arc::new(Float64Array::from_iter_values(infos().map(|info| seconds(info.begun))))),
        ("duration_ms", Arc::new(infos().map(took).collect::<Float64Array>())),
        ("alignment_ms", Arc::new(Float64Array::from_iter_values(infos().map(|info| milliseconds(info.alignment))))),
        ("bytes", Arc::new(Int64Array::from_iter_values(infos().map(|info| info.bytes as i64)))),
        ("total_bytes", Arc::new(Int64Array::from_iter_values(infos().map(|info| info.total_bytes as i64)))),
        ("cause", Arc::new(infos().map(cause).collect::<StringArray>())),
    ])
}

/// A row a subtask of each operator, with what it has done since the job's start.
pub(crate) fn metrics(job: Option<&ObservedJob>) -> Result<RecordBatch> {
    let metrics = || job.iter().flat_map(|job| &job.metrics);
    let count = |value: fn(&OperatorMetrics) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(metrics().map(|of| i64::try_from(value(of)).unwrap_or(i64::MAX))))
    };
    let time = |value: fn(&OperatorMetrics) -> i64| -> ArrayRef {
        // Before the first row and behind the last one there is none.
        let times = metrics().map(|of| Some(value(of)).filter(|time| ![i64::MIN, i64::MAX].contains(time)));
        Arc::new(times.collect::<TimestampMicrosecondArray>())
    };
    let took = |value: fn(&OperatorMetrics) -> u64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(metrics().map(|of| milliseconds(Duration::from_nanos(value(of))))))
    };
    let named = |of: &OperatorMetrics| job.and_then(|job| job.operators.get(of.operator.0 as usize));
    let kinds = metrics().map(|of| named(of).map(|(kind, _)| *kind));
    let objects = metrics().map(|of| named(of).map(|(_, object)| object.as_str()).filter(|object| !object.is_empty()));
    table(vec![
        ("operator", count(|of| u64::from(of.operator.0))),
        ("kind", Arc::new(kinds.collect::<StringArray>())),
        ("object", Arc::new(objects.collect::<StringArray>())),
        ("subtask", count(|of| u64::from(of.subtask))),
        ("rows_in", count(|of| of.rows_in)),
        ("rows_out", count(|of| of.rows_out)),
        ("late_rows", count(|of| of.late_rows)),
        ("dead_letter_rows", count(|of| of.dead_letter_rows)),
        ("busy_ms", took(|of| of.busy_ns)),
        ("blocked_ms", took(|of| of.blocked_ns)),
        ("state_bytes", count(|of| of.state_bytes)),
        ("spilled_bytes", count(|of| of.spilled_bytes)),
        ("event_time", time(|of| of.event_time)),
        ("watermark", time(|of| of.watermark)),
        ("quality", Arc::new(metrics().map(|of| of.quality).collect::<Float64Array>())),
    ])
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter(columns).map_err(PlanError::from)?)
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

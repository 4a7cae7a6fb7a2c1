//! Metrics of all jobs in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats, 0.0.4).

use std::fmt::{Display, Write};

use tidemill_plans::protocol::OperatorMetrics;

use crate::handle::ObservedJob;
use crate::job::JobStatus;
use crate::job::checkpoint_log::CheckpointOutcome;

/// The type of what [`render`] gives.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric of an operator's subtask; none where there is nothing to tell yet.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&OperatorMetrics) -> Option<f64>,
}

const SECOND_NS: f64 = 1e9;

const OPERATOR_METRICS: &[Metric] = &[
    counter("rows_in_total", "Rows received.", |m| Some(m.rows_in as f64)),
    counter("rows_out_total", "Rows emitted.", |m| Some(m.rows_out as f64)),
    counter("bytes_in_total", "Bytes of Arrow buffers received.", |m| Some(m.bytes_in as f64)),
    counter("late_rows_total", "Rows that came after all their windows had closed.", |m| Some(m.late_rows as f64)),
    counter("dead_letter_rows_total", "Rows that could not be used.", |m| Some(m.dead_letter_rows as f64)),
    counter("skipped_rows_total", "Rows that the source was told to leave out.", |m| Some(m.skipped_rows as f64)),
    counter("busy_seconds_total", "Time in the operator's code.", |m| Some(m.busy_ns as f64 / SECOND_NS)),
    counter("blocked_seconds_total", "Time without room downstream.", |m| Some(m.blocked_ns as f64 / SECOND_NS)),
    gauge("state_bytes", "Bytes of state held in memory.", |m| Some(m.state_bytes as f64)),
    gauge("state_bytes_max", "Bytes of state held in memory at most.", |m| Some(m.state_bytes_max as f64)),
    gauge("spilled_bytes", "Bytes of state on local disk.", |m| Some(m.spilled_bytes as f64)),
    gauge("event_time_seconds", "Greatest event time seen, since 1970.", |m| time(m.event_time)),
    gauge("watermark_seconds", "The watermark, since 1970.", |m| time(m.watermark)),
    gauge("idle", "1 while no input has rows.", |m| Some(f64::from(u8::from(m.idle)))),
    gauge("backfilling", "1 while a source reads what was there when its job began.", |m| {
        Some(f64::from(u8::from(m.backfilling)))
    }),
    gauge("quality", "A quality measure that the operator keeps, such as a trainer's AUC.", |m| m.quality),
];

const fn counter(name: &'static str, help: &'static str, value: fn(&OperatorMetrics) -> Option<f64>) -> Metric {
    Metric { name, kind: "counter", help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&OperatorMetrics) -> Option<f64>) -> Metric {
    Metric { name, kind: "gauge", help, value }
}

/// Before the first row and behind the last one there is no time.
fn time(micros: i64) -> Option<f64> {
    (micros != i64::MIN && micros != i64::MAX).then_some(micros as f64 / 1e6)
}

/// The metrics of these jobs.
pub(super) fn render(jobs: &[ObservedJob]) -> String {
    let mut text = String::new();
    for metric in OPERATOR_METRICS {
        let name = format!("tidemill_operator_{}", metric.name);
        head(&mut text, &name, metric.kind, metric.help);
        for job in jobs {
            for of in &job.metrics {
                if let Some(value) = (metric.value)(of) {
                    line(&mut text, &name, &operator_labels(job, of), value);
                }
            }
        }
    }
    of_jobs(&mut text, jobs, "job_running", "gauge", "1 while the job runs.", |job| {
        Some(f64::from(u8::from(job.info.status == JobStatus::Running)))
    });
    of_jobs(&mut text, jobs, "job_restarts_total", "counter", "How often the job began again.", |job| {
        Some(f64::from(job.info.restarts))
    });
    checkpoints(&mut text, jobs);
    text
}

fn checkpoints(text: &mut String, jobs: &[ObservedJob]) {
    of_jobs(text, jobs, "checkpoints_sealed_total", "counter", "Checkpoints that were sealed.", |job| {
        Some(job.checkpoints.sealed as f64)
    });
    of_jobs(text, jobs, "checkpoints_failed_total", "counter", "Checkpoints that were given up.", |job| {
        Some(job.checkpoints.failed as f64)
    });
    let help = "From the newest sealed checkpoint's barrier to its manifest.";
    of_jobs(text, jobs, "checkpoint_duration_seconds", "gauge", help, |job| {
        match job.checkpoints.newest_sealed()?.outcome {
            CheckpointOutcome::Sealed { took } => Some(took.as_secs_f64()),
            _ => None,
        }
    });
    let help = "For how long inputs waited for the newest sealed checkpoint's barrier, at most.";
    of_jobs(text, jobs, "checkpoint_alignment_seconds", "gauge", help, |job| {
        Some(job.checkpoints.newest_sealed()?.alignment.as_secs_f64())
    });
    of_jobs(text, jobs, "checkpoint_bytes", "gauge", "Bytes written for the newest sealed checkpoint.", |job| {
        Some(job.checkpoints.newest_sealed()?.bytes as f64)
    });
    let help = "Bytes read to restore the newest sealed checkpoint.";
    of_jobs(text, jobs, "checkpoint_total_bytes", "gauge", help, |job| {
        Some(job.checkpoints.newest_sealed()?.total_bytes as f64)
    });
    let help = "How long ago the newest sealed checkpoint began.";
    of_jobs(text, jobs, "checkpoint_age_seconds", "gauge", help, |job| {
        Some(job.info.newest_checkpoint?.1.as_secs_f64())
    });
}

fn of_jobs(
    text: &mut String,
    jobs: &[ObservedJob],
    name: &str,
    kind: &str,
    help: &str,
    value: impl Fn(&ObservedJob) -> Option<f64>,
) {
    let name = format!("tidemill_{name}");
    head(text, &name, kind, help);
    for job in jobs {
        if let Some(value) = value(job) {
            line(text, &name, &format!("job=\"{}\"", job.info.id.0), value);
        }
    }
}

fn operator_labels(job: &ObservedJob, of: &OperatorMetrics) -> String {
    let (kind, object) = job.operators.get(of.operator.0 as usize).map_or(("", ""), |(kind, object)| (*kind, object));
    let (job, operator, subtask) = (of.job.0, of.operator.0, of.subtask);
    let object = escaped(object);
    format!("job=\"{job}\",operator=\"{operator}\",kind=\"{kind}\",object=\"{object}\",subtask=\"{subtask}\"")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

// Writing to a String cannot fail.

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemill_plans::ids::{Epoch, JobId, OperatorId};

    use super::*;
    use crate::handle::JobInfo;
    use crate::job::checkpoint_log::CheckpointLog;

    fn observed() -> ObservedJob {
        let mut checkpoints = CheckpointLog::default();
        checkpoints.begin(Epoch(1), Duration::from_secs(1));
        checkpoints.note_bytes(Epoch(1), 2048, 4096);
        checkpoints.seal(Epoch(1), Duration::from_millis(1250));
        let metrics = OperatorMetrics {
            rows_in: 7,
            rows_out: 6,
            bytes_in: 70,
            dead_letter_rows: 1,
            busy_ns: 1_500_000_000,
            state_bytes: 100,
            state_bytes_max: 200,
            event_time: 5_500_000,
            ..OperatorMetrics::new(JobId(3), OperatorId(0), 1)
        };
        ObservedJob {
            info: JobInfo {
                id: JobId(3),
                status: JobStatus::Running,
                restarts: 2,
                makes: vec![],
                tasks: 1,
                has_checkpoints: true,
                newest_checkpoint: Some((Epoch(1), Duration::from_secs(9))),
                is_query: false,
                progress: None,
                owner: None,
            },
            operators: vec![("Source", String::from("odd \"name\""))],
            metrics: vec![metrics],
            checkpoints,
        }
    }

    #[test]
    fn each_metric_has_its_help_its_type_and_a_line_for_each_instance() {
        let text = render(&[observed()]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = r#"{job="3",operator="0",kind="Source",object="odd \"name\"",subtask="1"}"#;
        for (name, value) in
            [("rows_in_total", "7"), ("busy_seconds_total", "1.5"), ("event_time_seconds", "5.5"), ("backfilling", "0")]
        {
            let line = format!("tidemill_operator_{name}{labels} {value}");
            assert!(lines.contains(&line.as_str()), "{line} in\n{text}");
        }
        assert!(!lines.iter().any(|line| line.contains("watermark")), "there is none yet");
        for line in [
            "tidemill_job_running{job=\"3\"} 1",
            "tidemill_job_restarts_total{job=\"3\"} 2",
            "tidemill_checkpoint_duration_seconds{job=\"3\"} 0.25",
            "tidemill_checkpoint_bytes{job=\"3\"} 2048",
            "tidemill_checkpoint_total_bytes{job=\"3\"} 4096",
        ] {
            assert!(lines.contains(&line), "{line} in\n{text}");
        }
        let types = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(types, text.lines().filter(|line| line.starts_with("# HELP ")).count());
    }
}

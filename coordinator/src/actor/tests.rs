//! The actor with workers that only pretend.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use tidemill_plans::ErrorDomain;
use tidemill_plans::catalog::{CatalogEntry, ObjectKind};
use tidemill_plans::ids::{JobId, OperatorId, StageId, TaskId, WorkerId};
use tidemill_plans::protocol::{CoordinatorLink, EventResponse, OperatorMetrics, StopMode, WorkerEvent};
use tidemill_plans::settings::Settings;

use super::*;
use crate::error::CoordinatorError;
use crate::handle::{CoordinatorConfig, CoordinatorHandle};
use crate::testing::{FakeLink, FakeWorker, Script, TestClock, model_version, run, two_stage_graph};

const SOON: Duration = Duration::from_secs(5);

async fn cluster(scripts: &[Script]) -> (CoordinatorHandle, Vec<Arc<FakeWorker>>) {
    let coordinator = CoordinatorHandle::start(CoordinatorConfig::default()).unwrap();
    let workers = add_workers(&coordinator, scripts).await;
    (coordinator, workers)
}

async fn add_workers(coordinator: &CoordinatorHandle, scripts: &[Script]) -> Vec<Arc<FakeWorker>> {
    let mut workers = Vec::new();
    for script in scripts {
        let worker = FakeWorker::new(script.clone(), Arc::new(coordinator.clone()));
        let link = Arc::new(FakeLink(Arc::clone(&worker)));
        worker.is(coordinator.add_worker(String::new(), 1, link).await.unwrap());
        workers.push(worker);
    }
    coordinator.wait_for_workers(scripts.len(), SOON).await.unwrap();
    workers
}

fn finish() -> Script {
    Script::Finish { results: vec![] }
}

/// Waits until a worker has been asked `count` times; the actor works on another thread.
async fn until(worker: &FakeWorker, last: &str) -> String {
    for _ in 0..2000 {
        if worker.requests().ends_with(last) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    worker.requests()
}

fn batch(value: i64) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
}

fn rows(value: i64) -> WorkerEvent {
    let batch = batch(value);
    let mut ipc = Vec::new();
    let mut writer = StreamWriter::try_new(&mut ipc, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    WorkerEvent::ResultRows { job: JobId(1), operator: OperatorId(1), ipc }
}

#[test]
fn a_job_is_deployed_started_finished_and_released() {
    run(async {
        let (coordinator, workers) = cluster(&[finish(), finish()]).await;
        let job = coordinator.submit(two_stage_graph(2, 2), Settings::default()).await.unwrap();
        assert_eq!(job.wait().await, JobStatus::Finished);
        for worker in &workers {
            assert_eq!(until(worker, "Release").await, "Deploy Start Release");
        }
        coordinator.shutdown().await;
        assert_eq!(workers[0].requests(), "Deploy Start Release Shutdown");
        assert!(matches!(coordinator.workers().await, Err(CoordinatorError::ShutDown)));
        coordinator.shutdown().await;
    });
}

#[test]
fn results_wait_for_the_session_and_outlive_the_job() {
    run(async {
        let results: Vec<WorkerEvent> = (0..40).map(rows).collect();
        let (coordinator, _workers) = cluster(&[Script::Finish { results }]).await;
        let mut job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
        let mut seen = Vec::new();
        // The queue holds 16: the job cannot end before 24 are taken.
        for _ in 0..24 {
            assert!(!job.status.borrow().is_terminal());
            seen.push(job.results.recv().await.unwrap());
        }
        assert_eq!(job.wait().await, JobStatus::Finished);
        while let Some(results) = job.results.recv().await {
            seen.push(results);
        }
        let expected: Vec<ResultBatches> =
            (0..40).map(|n| ResultBatches { operator: OperatorId(1), batches: vec![batch(n)] }).collect();
        assert_eq!(seen, expected);
        coordinator.shutdown().await;
    });
}

#[test]
fn results_that_nobody_wants_do_not_hold_the_job_up() {
    run(async {
        let results: Vec<WorkerEvent> = (0..40).map(rows).collect();
        let (coordinator, _workers) = cluster(&[Script::Finish { results }]).await;
        let mut job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
        job.results.close();
        assert_eq!(job.wait().await, JobStatus::Finished);
        coordinator.shutdown().await;
    });
}

#[test]
fn a_refused_deployment_fails_the_job_with_the_workers_words() {
    run(async {
        let (coordinator, workers) = cluster(&[finish(), Script::Refuse(RequestKind::Deploy)]).await;
        let job = coordinator.submit(two_stage_graph(2, 2), Settings::default()).await.unwrap();
        let failed = JobStatus::Failed { domain: ErrorDomain::User, message: "refused by the script".into() };
        assert_eq!(job.wait().await, failed);
        for worker in &workers {
            assert_eq!(until(worker, "Release").await, "Deploy Release");
        }
        coordinator.shutdown().await;
    });
}

#[test]
fn without_workers_nothing_is_submitted() {
    run(async {
        let (coordinator, _) = cluster(&[]).await;
        let error = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap_err();
        assert!(matches!(error, CoordinatorError::NoWorkers));
        let error = coordinator.wait_for_workers(2, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.to_string(), "0 of 2 workers registered within 0ns");
        coordinator.shutdown().await;
    });
}

#[test]
fn a_drained_job_stops_and_one_that_does_not_drain_is_cut() {
    run(async {
        let (coordinator, workers) = cluster(&[Script::Drain]).await;
        let mut job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
        job.status.wait_for(|status| *status == JobStatus::Running).await.unwrap();
        job.stop(StopMode::Drain).await.unwrap();
        assert_eq!(job.wait().await, JobStatus::Stopped);
        assert_eq!(until(&workers[0], "Release").await, "Deploy Start Drain Release");
        coordinator.shutdown().await;

        let (coordinator, workers) = cluster(&[Script::Hang]).await;
        let mut job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
        job.status.wait_for(|status| *status == JobStatus::Running).await.unwrap();
        job.stop(StopMode::Drain).await.unwrap();
        assert_eq!(job.wait().await, JobStatus::Stopped);
        assert_eq!(until(&workers[0], "Release").await, "Deploy Start Drain Cut Release");
        coordinator.shutdown().await;
    });
}

#[test]
fn a_failed_task_cancels_the_rest() {
    run(async {
        let (coordinator, workers) = cluster(&[Script::Hang, Script::Hang]).await;
        let mut job = coordinator.submit(two_stage_graph(2, 2), Settings::default()).await.unwrap();
        job.status.wait_for(|status| *status == JobStatus::Running).await.unwrap();
        let task = TaskId { stage: StageId(0), subtask: 1 };
        let domain = ErrorDomain::External;
        let event = WorkerEvent::TaskFailed { run: RunId::first(job.id), task, domain, message: "disk full".into() };
        assert_eq!(coordinator.send(event).await.unwrap(), EventResponse::Done);
        assert_eq!(job.wait().await, JobStatus::Failed { domain, message: "disk full".into() });
        assert_eq!(until(&workers[0], "Release").await, "Deploy Start Cancel Release");
        coordinator.shutdown().await;
    });
}

#[test]
fn a_silent_worker_fails_its_job_and_must_register_again() {
    run(async {
        let clock = Arc::new(TestClock::default());
        let clock_of_coordinator = Arc::clone(&clock) as Arc<dyn Clock>;
        let config = CoordinatorConfig { clock: clock_of_coordinator, ..CoordinatorConfig::default() };
        let coordinator = CoordinatorHandle::start(config).unwrap();
        add_workers(&coordinator, &[Script::Hang, Script::Hang]).await;
        let mut job = coordinator.submit(two_stage_graph(2, 2), Settings::default()).await.unwrap();
        job.status.wait_for(|status| *status == JobStatus::Running).await.unwrap();
        clock.advance(Duration::from_secs(6));
        let heartbeat = |worker| WorkerEvent::Heartbeat { worker: WorkerId(worker), metrics: vec![], models: vec![] };
        coordinator.send(heartbeat(1)).await.unwrap();
        let message = String::from("worker-2 was lost: no heartbeat for 5s");
        assert_eq!(job.wait().await, JobStatus::Failed { domain: ErrorDomain::External, message });
        assert_eq!(coordinator.workers().await.unwrap().len(), 1);
        let refused = coordinator.send(heartbeat(2)).await.unwrap();
        assert_eq!(refused, EventResponse::Refused("worker-2 is not registered".into()));
        coordinator.shutdown().await;
        let error = coordinator.send(heartbeat(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "coordinator cannot be reached: the coordinator has shut down");
    });
}

fn metrics(job: JobId, rows_in: u64) -> OperatorMetrics {
    OperatorMetrics { rows_in, ..OperatorMetrics::new(job, OperatorId(0), 0) }
}

#[test]
fn heartbeats_bring_metrics_and_model_versions() {
    run(async {
        let (coordinator, _workers) = cluster(&[Script::Hang]).await;
        let mut job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
        for rows_in in [5, 9] {
            let models = vec![(job.id, model_version("ctr", i64::try_from(rows_in).unwrap()))];
            let metrics = vec![metrics(job.id, rows_in), metrics(JobId(99), 1)];
            let event = WorkerEvent::Heartbeat { worker: WorkerId(1), metrics, models };
            coordinator.send(event).await.unwrap();
        }
        job.metrics.wait_for(|all| *all == [metrics(JobId(1), 9)]).await.unwrap();
        assert_eq!(coordinator.models().await.unwrap(), [model_version("ctr", 9)]);
        assert_eq!(coordinator.model_versions("ctr").await.unwrap().len(), 2);
        assert_eq!(coordinator.model_version("ctr", 5).await.unwrap(), Some(model_version("ctr", 5)));
        coordinator.shutdown().await;
    });
}

#[test]
fn the_catalog_and_job_ids_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = || CoordinatorConfig { data_dir: Some(folder.path().to_owned()), ..CoordinatorConfig::default() };
    let entry = CatalogEntry { name: "s".into(), kind: ObjectKind::Source, definition: "CREATE SOURCE s".into() };
    run(async {
        let mut last = JobId(0);
        for _ in 0..2 {
            let coordinator = CoordinatorHandle::start(config()).unwrap();
            add_workers(&coordinator, &[finish()]).await;
            coordinator.record_object(entry.clone(), None).await.unwrap();
            assert_eq!(coordinator.objects().await.unwrap(), std::slice::from_ref(&entry));
            let job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
            assert!(job.id > last, "{} was given before", job.id);
            last = job.id;
            assert_eq!(job.wait().await, JobStatus::Finished);
            coordinator.shutdown().await;
        }
        let coordinator = CoordinatorHandle::start(config()).unwrap();
        assert!(coordinator.remove_object("s").await.unwrap());
        assert!(!coordinator.remove_object("s").await.unwrap());
        let second = CoordinatorHandle::start(config());
        assert!(matches!(second, Err(CoordinatorError::InUse { .. })));
        coordinator.shutdown().await;
    });
}

#[test]
fn outside_an_actix_system_there_is_an_error() {
    let started = CoordinatorHandle::start(CoordinatorConfig::default());
    assert!(matches!(started, Err(CoordinatorError::NoSystem)));
}

//! Sessions with workers that only pretend: what is recorded, what runs, and what the next session finds.

mod rights;

use std::path::Path;
use std::sync::Arc;

use tidemill_plans::ids::WorkerId;

use super::*;
use crate::handle::CoordinatorConfig;
use crate::testing::{FakeLink, FakeWorker, Script as WorkerScript, run};

const SOURCE: &str = "CREATE SOURCE s (a BIGINT) WITH (connector = 'datagen', rows_per_second = 10);";

async fn coordinator(folder: &Path, script: Option<WorkerScript>) -> CoordinatorHandle {
    let config = CoordinatorConfig { data_dir: Some(folder.to_owned()), ..CoordinatorConfig::default() };
    let coordinator = CoordinatorHandle::start(config).unwrap();
    if let Some(script) = script {
        let worker = FakeWorker::new(script, Arc::new(coordinator.clone()));
        let id = coordinator.add_worker("http://w:1".into(), 4, Arc::new(FakeLink(Arc::clone(&worker)))).await;
        worker.is(id.unwrap());
    }
    coordinator
}

async fn restore(coordinator: &CoordinatorHandle) -> SqlSession {
    let (session, told) = SqlSession::restore(coordinator.clone(), Settings::default()).await.unwrap();
    assert!(told.is_empty(), "{told:?}");
    session
}

/// What a text comes to, without waiting for views.
async fn execute(session: &mut SqlSession, text: &str) -> Result<Vec<String>> {
    let mut said = Vec::new();
    session
        .run(text, async |reply| {
            match reply {
                Reply::Done(message) => said.push(message),
                Reply::Drops(dropping) => said.push(dropping.wait().await?),
                _ => {}
            }
            Ok::<_, CoordinatorError>(())
        })
        .await?;
    said.retain(|message| !message.starts_with("warning"));
    Ok(said)
}

/// The names of the recorded objects, and the objects of each job.
async fn recorded(coordinator: &CoordinatorHandle) -> String {
    let objects: Vec<String> = coordinator.objects().await.unwrap().into_iter().map(|entry| entry.name).collect();
    let jobs = coordinator.left_jobs().await.unwrap().into_iter();
    let jobs: Vec<String> = jobs.map(|job| format!("{:?}", job.objects.unwrap())).collect();
    format!("{} / {}", objects.join(" "), jobs.join(" "))
}

#[test]
fn others_have_the_session_while_a_savepoint_is_written() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        // Its worker passes no barrier.
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = restore(&coordinator).await;
        execute(&mut session, &format!("{SOURCE} CREATE MATERIALIZED VIEW m AS SELECT a FROM s")).await.unwrap();
        let job = session.jobs[0].handle.id;
        session.jobs[0].handle.status.clone().wait_for(|status| *status == JobStatus::Running).await.unwrap();
        let mut script = session.read("CREATE SAVEPOINT FOR JOB m").await.unwrap();
        let step = timeout(Duration::from_secs(20), session.step(&mut script)).await;
        let [Reply::Saves(saving)] = <[_; 1]>::try_from(step.unwrap().unwrap().unwrap()).unwrap() else {
            panic!("a savepoint is waited for elsewhere")
        };
        let others = async {
            execute(&mut session, "CREATE VIEW w AS SELECT a FROM s").await.unwrap();
            coordinator.stop(job, StopMode::Drain).await.unwrap();
        };
        let (saved, ()) = futures::join!(saving.wait(), others);
        let error = saved.unwrap_err().chain();
        assert!(error.contains(&format!("there is no savepoint of {job}")), "{error}");
        let log = execute_rows(&mut session, "SHOW AUDIT LIMIT 1").await;
        assert!(log.contains("CREATE SAVEPOINT FOR JOB m") && log.contains("there is no savepoint"), "{log}");
        coordinator.shutdown().await;
    });
}

#[test]
fn others_have_the_session_while_the_job_of_a_dropped_object_ends() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        // Its worker does not drain.
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Hang)).await;
        let mut session = restore(&coordinator).await;
        let create = "CREATE SINK k WITH (connector = 'blackhole') AS SELECT a FROM s";
        execute(&mut session, &format!("{SOURCE} {create}")).await.unwrap();
        let job = session.jobs[0].handle.id;
        session.jobs[0].handle.status.clone().wait_for(|status| *status == JobStatus::Running).await.unwrap();
        let mut script = session.read("DROP SINK k").await.unwrap();
        let step = timeout(Duration::from_secs(20), session.step(&mut script)).await;
        let [Reply::Drops(dropping)] = <[_; 1]>::try_from(step.unwrap().unwrap().unwrap()).unwrap() else {
            panic!("the end of a job is waited for elsewhere")
        };
        assert_eq!(recorded(&coordinator).await, "s / {}");
        execute(&mut session, "CREATE VIEW w AS SELECT a FROM s").await.unwrap();
        for taken in [create, "CREATE VIEW k AS SELECT a FROM s"] {
            let error = execute(&mut session, taken).await.unwrap_err().chain();
            assert!(error.contains("'k' is still being dropped"), "{error}");
        }
        coordinator.stop(job, StopMode::Cancel).await.unwrap();
        assert_eq!(dropping.wait().await.unwrap(), "DROP SINK k");
        execute(&mut session, "CREATE VIEW k AS SELECT a FROM s").await.unwrap();
        coordinator.shutdown().await;
    });
}

/// The files below a folder.
fn files_below(folder: &Path) -> usize {
    let listed = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    listed.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[test]
fn a_coordinator_that_ends_has_noted_how_its_jobs_did() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Finish { results: vec![] })).await;
        let mut session = restore(&coordinator).await;
        execute(&mut session, &format!("{SOURCE} CREATE SINK k WITH (connector = 'blackhole') AS SELECT a FROM s"))
            .await
            .unwrap();
        let mut status = session.jobs[0].handle.status.clone();
        assert_eq!(*status.wait_for(JobStatus::is_terminal).await.unwrap(), JobStatus::Finished);
        coordinator.shutdown().await;
        assert_eq!(files_below(&folder.path().join("checkpoints")), 0);
    });
}

/// The rows of a statement.
async fn execute_rows(session: &mut SqlSession, text: &str) -> String {
    let mut shown = String::new();
    let taken = session.run(text, async |reply| {
        if let Reply::Rows(rows) = reply {
            shown = arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
        }
        Ok::<_, CoordinatorError>(())
    });
    taken.await.unwrap();
    shown
}

#[test]
fn objects_are_recorded_in_the_order_in_which_they_need_each_other() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let first = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = restore(&first).await;
        let text = format!(
            "{SOURCE} CREATE MATERIALIZED VIEW m AS SELECT a FROM s; CREATE VIEW v AS SELECT a FROM m;
             CREATE SINK k WITH (connector = 'blackhole'); INSERT INTO k SELECT a FROM v; CREATE VIEW w AS SELECT a FROM v"
        );
        let said = execute(&mut session, &text).await.unwrap();
        assert_eq!(said.len(), 6, "{said:?}");
        assert_eq!(recorded(&first).await, r#"s m v k w / {"k", "m"}"#);
        first.leave().await.unwrap();

        // The next one has them, whatever happens to be there to run them.
        let second = coordinator(folder.path(), None).await;
        let mut session = restore(&second).await;
        assert_eq!(session.jobs.len(), 1);
        let used = execute(&mut session, "DROP SOURCE s").await.unwrap_err().chain();
        assert!(used.contains("materialized view 'm' uses it"), "{used}");
        execute(&mut session, "DROP VIEW w; DROP VIEW v; DROP MATERIALIZED VIEW m").await.unwrap();
        assert_eq!(recorded(&second).await, r#"s k / {"k"}"#);
        execute(&mut session, "DROP SINK k; DROP SOURCE s").await.unwrap();
        assert_eq!(recorded(&second).await, " / ");
        second.shutdown().await;
    });
}

#[test]
fn a_job_whose_objects_have_all_been_dropped_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let first = coordinator(folder.path(), Some(WorkerScript::Hang)).await;
        let mut session = restore(&first).await;
        execute(&mut session, &format!("{SOURCE} CREATE SINK k WITH (connector = 'blackhole') AS SELECT a FROM s"))
            .await
            .unwrap();
        // The process is gone between the two halves of a DROP.
        first.remove_object("k").await.unwrap();
        assert_eq!(recorded(&first).await, "s / {}");
        first.leave().await.unwrap();

        let second = coordinator(folder.path(), None).await;
        let mut session = restore(&second).await;
        assert_eq!(recorded(&second).await, "s / ");
        execute(&mut session, "CREATE SINK k WITH (connector = 'blackhole') AS SELECT a FROM s").await.unwrap();
        second.shutdown().await;
    });
}

#[test]
fn what_cannot_be_started_is_taken_back_and_nothing_else() {
    run(async {
        let coordinator = CoordinatorHandle::start(CoordinatorConfig::default()).unwrap();
        let mut session = restore(&coordinator).await;
        execute(&mut session, &format!("{SOURCE} CREATE SINK k WITH (connector = 'blackhole')")).await.unwrap();
        // Without a folder there are no checkpoints, and nothing waits for a worker.
        let text = "INSERT INTO k SELECT a FROM s; CREATE MATERIALIZED VIEW m AS SELECT a FROM s;
                    CREATE VIEW v AS SELECT a FROM m";
        let error = execute(&mut session, text).await.unwrap_err();
        assert!(matches!(error, CoordinatorError::NoWorkers), "{error}");
        assert_eq!(recorded(&coordinator).await, "s k / ");
        // The sink is as it was.
        let error = execute(&mut session, "INSERT INTO k SELECT a FROM s").await.unwrap_err();
        assert!(matches!(error, CoordinatorError::NoWorkers), "{error}");
        execute(&mut session, "CREATE VIEW m AS SELECT a FROM s; CREATE VIEW v AS SELECT a FROM s").await.unwrap();
        coordinator.shutdown().await;
    });
}

#[test]
fn dropping_a_sink_ends_all_jobs_that_write_to_it() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = restore(&coordinator).await;
        execute(&mut session, &format!("{SOURCE} CREATE SINK k WITH (connector = 'blackhole')")).await.unwrap();
        execute(&mut session, "INSERT INTO k SELECT a FROM s").await.unwrap();
        execute(&mut session, "INSERT INTO k SELECT a + 1 AS a FROM s").await.unwrap();
        assert_eq!(coordinator.jobs().await.unwrap().len(), 2);
        // What is created and dropped in one text is gone, too.
        execute(&mut session, "CREATE MATERIALIZED VIEW m AS SELECT a FROM s; DROP MATERIALIZED VIEW m; DROP SINK k")
            .await
            .unwrap();
        assert_eq!(recorded(&coordinator).await, "s / ");
        assert_eq!(coordinator.workers().await.unwrap()[0].id, WorkerId(1));
        coordinator.shutdown().await;
    });
}

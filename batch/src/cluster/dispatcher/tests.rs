use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use ballista_core::serde::protobuf::{ShuffleWritePartition, SuccessfulTask, task_status};
use datafusion::datasource::memory::MemorySourceConfig;

use tidemill_plans::batch::progress::Share;

use super::super::stages;
use super::*;

const WORKER: WorkerId = WorkerId(1);

/// How often a task is asked for that is not there yet; a worker that waits is answered after a while.
const TRIES: u32 = 20;

/// A scheduler with one worker, which the test plays, and a plan of two tasks that runs.
struct Scene {
    workers: Workers,
    attempt: Attempt,
    account: Arc<Account>,
    number: u64,
}

impl Scene {
    async fn begin() -> Self {
        let workers = Workers::new();
        workers.join(WORKER, String::from("http://worker"), 1);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let partitions = [vec![rows.clone()], vec![rows.clone()]];
        let context = SessionContext::new_with_config(super::super::config());
        let plan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&partitions, rows.schema(), None).unwrap();
        let account: Arc<Account> = Arc::default();
        account.begin(stages::tasks(Arc::clone(&plan), context.state().config_options()));
        let (settings, context) = (Settings::default(), Arc::new(context));
        let submission = Submission { plan, context, settings, account: Arc::clone(&account) };
        let attempt = workers.submit(submission, &Handle::current()).await.unwrap();
        Self { workers, attempt, account, number: 0 }
    }

    /// The next task, which is there once the plan has been cut.
    async fn task(&mut self, done: &[&TaskDefinition]) -> TaskDefinition {
        let mut answer = self.ask(done).await;
        for _ in 0..TRIES {
            if !answer.tasks.is_empty() {
                break;
            }
            answer = self.ask(&[]).await;
        }
        only_task(&answer)
    }

    /// Asks for work under a new number.
    async fn ask(&mut self, done: &[&TaskDefinition]) -> WorkAnswer {
        self.number += 1;
        self.repeat(done).await.unwrap()
    }

    /// Asks again under the same number.
    async fn repeat(&self, done: &[&TaskDefinition]) -> Option<WorkAnswer> {
        let request = WorkRequest {
            number: self.number,
            free: 1,
            is_busy: false,
            statuses: done.iter().map(|task| successful(task).encode_to_vec()).collect(),
            failures: Vec::new(),
            counts: Vec::new(),
        };
        self.workers.work(WORKER, request, &Handle::current()).await
    }

    async fn pieces(&mut self) -> usize {
        self.attempt.finished().await.unwrap().len()
    }
}

fn only_task(answer: &WorkAnswer) -> TaskDefinition {
    let [task] = answer.tasks.as_slice() else { panic!("{} tasks", answer.tasks.len()) };
    TaskDefinition::decode(task.as_slice()).unwrap()
}

/// That a task has written a piece.
fn successful(task: &TaskDefinition) -> TaskStatus {
    let piece = ShuffleWritePartition {
        partition_id: u64::from(task.task_id),
        num_batches: 1,
        num_rows: 2,
        num_bytes: 100,
        file_id: Some(u64::from(task.task_id)),
        is_sort_shuffle: false,
    };
    let done = SuccessfulTask {
        executor_id: WORKER.to_string(),
        partitions: vec![piece],
        runtime_stats: Vec::new(),
        task_column_stats: Vec::new(),
        window_state: Vec::new(),
    };
    TaskStatus {
        task_id: task.task_id,
        job_id: task.job_id.clone(),
        stage_id: task.stage_id,
        stage_attempt_num: task.stage_attempt_num,
        launch_time: 0,
        start_exec_time: 0,
        end_exec_time: 0,
        metrics: Vec::new(),
        status: Some(task_status::Status::Successful(done)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_says_twice_under_one_number_counts_once() {
    let mut scene = Scene::begin().await;
    let first = scene.task(&[]).await;
    let again = only_task(&scene.repeat(&[]).await.unwrap());
    assert_eq!(again, first, "an answer that was lost comes again");
    let second = scene.ask(&[&first]).await;
    assert_eq!(scene.repeat(&[&first]).await.unwrap(), second);
    scene.ask(&[&only_task(&second)]).await;
    assert_eq!(scene.pieces().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_counted_as_they_end_in_the_stages_that_the_scheduler_makes() {
    let mut scene = Scene::begin().await;
    let told = |scene: &Scene| scene.account.steps().map(|steps| (steps.stages, steps.tasks()));
    let share = |done, all| Share { done, all };
    assert_eq!(told(&scene), Some((share(0, 1), share(0, 2))));
    let first = scene.task(&[]).await;
    let second = scene.ask(&[&first]).await;
    assert_eq!(told(&scene), Some((share(0, 1), share(1, 2))));
    scene.repeat(&[&first]).await;
    assert_eq!(told(&scene), Some((share(0, 1), share(1, 2))), "a request counts once");
    scene.ask(&[&only_task(&second)]).await;
    assert_eq!(told(&scene), Some((share(1, 1), share(2, 2))));
}

/// Why there are numbers. Once this fails, the scheduler may do without.
#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_counts_what_it_is_told_twice_twice() {
    let mut scene = Scene::begin().await;
    let first = scene.task(&[]).await;
    let second = scene.task(&[&first]).await;
    scene.ask(&[&first, &second]).await;
    assert_eq!(scene.pieces().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_with_a_worker_that_has_tasks_of_it() {
    let mut scene = Scene::begin().await;
    scene.task(&[]).await;
    scene.workers.lose(WORKER);
    let failure = scene.attempt.finished().await.unwrap_err();
    assert_eq!(failure, WorkFailure::Lost(format!("{WORKER} is gone")));
    scene.number += 1;
    assert_eq!(scene.repeat(&[]).await, None, "and the worker is none of these any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_nobody_waits_for_is_none_that_goes_on() {
    let mut scene = Scene::begin().await;
    let answer = scene.ask(&[]).await;
    assert_eq!(answer.queries.len(), 1);
    drop(std::mem::replace(&mut scene.attempt, Scene::begin().await.attempt));
    let answer = scene.ask(&[]).await;
    assert!(answer.tasks.is_empty() && answer.queries.is_empty(), "{answer:?}");
}

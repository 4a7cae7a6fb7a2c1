//! A worker's events on their way to the coordinator: in order, each until it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_plans::protocol::{CoordinatorLink, EventResponse, LinkError, WorkerEvent};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{error, warn};

/// How long the coordinator may be out of reach before the worker gives up.
pub(crate) const COORDINATOR_PATIENCE: Duration = Duration::from_secs(10);

/// Time between two attempts to reach the coordinator.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The queue of events. It has no bound of its own: tasks say little, and heartbeats wait for the last.
pub(crate) struct EventQueue {
    events: mpsc::UnboundedSender<WorkerEvent>,
    heartbeat_queued: Arc<AtomicBool>,
    lost: watch::Receiver<bool>,
    pump: AbortHandle,
}

impl EventQueue {
    /// A queue to `coordinator`, which is given up when it was out of reach for `patience`.
    pub(crate) fn start(runtime: &Handle, coordinator: Arc<dyn CoordinatorLink>, patience: Duration) -> Self {
        let (events, queued) = mpsc::unbounded_channel();
        let (lost_sender, lost) = watch::channel(false);
        let heartbeat_queued = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&heartbeat_queued);
        let pump = runtime.spawn(async move {
            pump(queued, coordinator, &flag, patience).await;
            lost_sender.send_replace(true);
        });
        Self { events, heartbeat_queued, lost, pump: pump.abort_handle() }
    }

    /// Queues an event.
    pub(crate) fn push(&self, event: WorkerEvent) {
        if matches!(event, WorkerEvent::Heartbeat { .. }) {
            self.heartbeat_queued.store(true, Ordering::Release);
        }
        // After the coordinator was given up nobody listens, and the worker knows.
        let _ = self.events.send(event);
    }

    /// Whether a heartbeat waits: a newer one would say the same.
    pub(crate) fn has_heartbeat(&self) -> bool {
        self.heartbeat_queued.load(Ordering::Acquire)
    }

    /// Ready when the coordinator was given up.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + 'static {
        let mut lost = self.lost.clone();
        async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                // The queue was dropped first: nothing was lost.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Sends events until the coordinator is given up.
async fn pump(
    mut events: mpsc::UnboundedReceiver<WorkerEvent>,
    coordinator: Arc<dyn CoordinatorLink>,
    heartbeat_queued: &AtomicBool,
    patience: Duration,
) {
    while let Some(event) = events.recv().await {
        if let Err(failure) = deliver(coordinator.as_ref(), &event, patience).await {
            error!(error = %failure, "the coordinator cannot be reached; giving up");
            return;
        }
        if matches!(event, WorkerEvent::Heartbeat { .. }) {
            heartbeat_queued.store(false, Ordering::Release);
        }
    }
}

/// Sends an event again and again until it is taken or `patience` is over.
pub(crate) async fn deliver(
    coordinator: &dyn CoordinatorLink,
    event: &WorkerEvent,
    patience: Duration,
) -> Result<EventResponse, LinkError> {
    let mut last = LinkError { peer: String::from("the coordinator"), reason: String::from("no answer in time") };
    let mut attempts = 0_u32;
    let attempt = async {
        loop {
            match coordinator.send(event.clone()).await {
                Ok(answer) => return answer,
                Err(failure) => last = failure,
            }
            attempts += 1;
            if attempts == 1 {
                warn!(error = %last, "the coordinator cannot be reached; trying again");
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    };
    let answer = tokio::time::timeout(patience, attempt).await;
    answer.map_err(|_| last)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tidemill_plans::ids::{JobId, StageId, TaskId};
    use tidemill_plans::protocol::Reply;

    use super::*;

    /// Takes every second attempt only.
    #[derive(Default)]
    struct Flaky {
        attempts: Mutex<u32>,
        taken: Mutex<Vec<u32>>,
    }

    impl CoordinatorLink for Flaky {
        fn send(&self, event: WorkerEvent) -> Reply<EventResponse> {
            let mut attempts = self.attempts.lock().unwrap();
            *attempts += 1;
            if *attempts % 2 == 1 {
                let refused = LinkError { peer: String::from("test"), reason: String::from("no") };
                return Box::pin(async { Err(refused) });
            }
            if let WorkerEvent::TaskFinished { task, .. } = event {
                self.taken.lock().unwrap().push(task.subtask);
            }
            Box::pin(async { Ok(EventResponse::Done) })
        }
    }

    struct Dead;

    impl CoordinatorLink for Dead {
        fn send(&self, _: WorkerEvent) -> Reply<EventResponse> {
            Box::pin(std::future::pending())
        }
    }

    fn finished(subtask: u32) -> WorkerEvent {
        WorkerEvent::TaskFinished { job: JobId(1), task: TaskId { stage: StageId(0), subtask } }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn events_are_repeated_until_taken_and_keep_their_order() {
        let link = Arc::new(Flaky::default());
        let coordinator = Arc::clone(&link) as Arc<dyn CoordinatorLink>;
        for subtask in 0..3 {
            deliver(coordinator.as_ref(), &finished(subtask), COORDINATOR_PATIENCE).await.unwrap();
        }
        assert_eq!(*link.taken.lock().unwrap(), [0, 1, 2]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_coordinator_that_never_answers_is_given_up() {
        let queue = EventQueue::start(&Handle::current(), Arc::new(Dead), Duration::from_millis(1));
        queue.push(finished(0));
        queue.lost().await;
    }
}

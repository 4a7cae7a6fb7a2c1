//! A worker's events on their way to the coordinator, in order, each until it is taken; and beside them its
//! signs of life.
//!
//! Signs of life have a way of their own: an event that waits for the journal, or that is repeated because
//! the coordinator did not answer, must not make a living worker look dead. They also decide when the
//! coordinator is given up: a worker's lease counts from when it *sent* the last sign that was answered, the
//! coordinator's patience from when it *received* it, so what a worker runs ends before it is given to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_plans::ids::WorkerId;
use tidemill_plans::protocol::{CoordinatorLink, EventResponse, LinkError, WorkerEvent};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};

/// How often the coordinator is spoken to, and how long it may be out of reach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Time between two signs of life, and between two attempts to deliver an event.
    pub(crate) interval: Duration,
    /// How long the coordinator may be out of reach before the worker gives up, where it has not said.
    pub(crate) patience: Duration,
}

/// Signs of life in the time of a lease, at least.
const SIGNS_PER_LEASE: u32 = 5;

/// Who gives signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Registered {
    worker: WorkerId,
    /// Nothing before the registration is answered; a worker in the coordinator's process has none.
    lease: Option<Duration>,
}

/// The timing of every worker; tests have a shorter one.
pub(crate) const TIMING: Timing = Timing { interval: Duration::from_millis(200), patience: Duration::from_secs(10) };

/// The queue of events. It has no bound of its own: tasks say little, and heartbeats wait for the last.
pub(crate) struct EventQueue {
    events: mpsc::UnboundedSender<WorkerEvent>,
    heartbeat_queued: Arc<AtomicBool>,
    /// Whose signs of life are given.
    worker: watch::Sender<Option<Registered>>,
    lost: watch::Receiver<bool>,
    tasks: [AbortHandle; 2],
}

/// A way into a worker's queue of events.
#[derive(Debug, Clone)]
pub(crate) struct EventSender(mpsc::UnboundedSender<WorkerEvent>);

impl EventSender {
    /// Queues an event, unless the queue is closed: then nobody listens.
    pub(crate) fn push(&self, event: WorkerEvent) {
        let _ = self.0.send(event);
    }
}

impl EventQueue {
    /// A queue to `coordinator`.
    pub(crate) fn start(runtime: &Handle, coordinator: Arc<dyn CoordinatorLink>, timing: Timing) -> Self {
        let (events, queued) = mpsc::unbounded_channel();
        let (worker, id) = watch::channel(None);
        let (lost_sender, lost) = watch::channel(false);
        let heartbeat_queued = Arc::new(AtomicBool::new(false));
        let pump =
            runtime.spawn(pump(queued, Arc::clone(&coordinator), Arc::clone(&heartbeat_queued), timing.interval));
        let life = runtime.spawn(async move {
            give_signs_of_life(id, coordinator.as_ref(), timing).await;
            lost_sender.send_replace(true);
        });
        Self { events, heartbeat_queued, worker, lost, tasks: [pump.abort_handle(), life.abort_handle()] }
    }

    /// A way into the queue, for events that others make.
    pub(crate) fn sender(&self) -> EventSender {
        EventSender(self.events.clone())
    }

    /// Begins to tell the coordinator that this worker lives, or notes the lease of one that does.
    pub(crate) fn begin_signs_of_life(&self, worker: WorkerId, lease: Option<Duration>) {
        self.worker.send_modify(|known| {
            let lease = lease.or(known.and_then(|known| known.lease));
            *known = Some(Registered { worker, lease });
        });
    }

    /// Queues an event.
    pub(crate) fn push(&self, event: WorkerEvent) {
        if matches!(event, WorkerEvent::Heartbeat { .. }) {
            self.heartbeat_queued.store(true, Ordering::Release);
        }
        // After the queue was closed nobody listens, and the worker knows.
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
                // The queue was closed first: nothing was lost.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops sending: the coordinator is gone, or has let the worker go.
    pub(crate) fn close(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sends events, each until it is answered.
async fn pump(
    mut events: mpsc::UnboundedReceiver<WorkerEvent>,
    coordinator: Arc<dyn CoordinatorLink>,
    heartbeat_queued: Arc<AtomicBool>,
    interval: Duration,
) {
    while let Some(event) = events.recv().await {
        if let EventResponse::Refused(reason) = repeat(coordinator.as_ref(), &event, interval, |_| {}).await {
            error!(reason, "the coordinator refuses an event");
        }
        if matches!(event, WorkerEvent::Heartbeat { .. }) {
            heartbeat_queued.store(false, Ordering::Release);
        }
    }
}

/// Tells the coordinator that the worker lives, from when it has an id until the coordinator is out of
/// reach for too long, or does not know the worker any more.
async fn give_signs_of_life(
    mut id: watch::Receiver<Option<Registered>>,
    coordinator: &dyn CoordinatorLink,
    timing: Timing,
) {
    if id.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let mut heard = Instant::now();
    let mut is_warned = false;
    loop {
        let Some(Registered { worker, lease }) = *id.borrow() else { return };
        let patience = lease.unwrap_or(timing.patience);
        let sign = WorkerEvent::Heartbeat { worker, metrics: Vec::new(), models: Vec::new() };
        let sent = Instant::now();
        if sent >= heard + patience {
            return error!("no answer of the coordinator in {patience:?}; giving up");
        }
        match timeout_at(heard + patience, coordinator.send(sign)).await {
            Ok(Ok(EventResponse::Refused(reason))) => {
                return warn!(reason, "the coordinator does without this worker");
            }
            Ok(Ok(_)) => (heard, is_warned) = (sent, false),
            Ok(Err(failure)) if !std::mem::replace(&mut is_warned, true) => {
                warn!(error = %failure, "the coordinator cannot be reached; trying again");
            }
            // The next round sees whether it is too late.
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(timing.interval.min(patience / SIGNS_PER_LEASE)).await;
    }
}

/// Sends an event again and again until it is answered or the patience is over.
pub(crate) async fn deliver(
    coordinator: &dyn CoordinatorLink,
    event: &WorkerEvent,
    timing: Timing,
) -> Result<EventResponse, LinkError> {
    let mut last = None;
    let note = |failure: LinkError| {
        if last.is_none() {
            warn!(error = %failure, "the coordinator cannot be reached; trying again");
        }
        last = Some(failure);
    };
    let answer = tokio::time::timeout(timing.patience, repeat(coordinator, event, timing.interval, note)).await;
    answer.map_err(|_| {
        let reason = format!("no answer in {:?}", timing.patience);
        last.unwrap_or_else(|| LinkError { peer: String::from("the coordinator"), reason })
    })
}

/// Sends an event until it is answered; failures on the way go to `note`.
async fn repeat(
    coordinator: &dyn CoordinatorLink,
    event: &WorkerEvent,
    interval: Duration,
    mut note: impl FnMut(LinkError),
) -> EventResponse {
    loop {
        match coordinator.send(event.clone()).await {
            Ok(answer) => return answer,
            Err(failure) => note(failure),
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tidemill_plans::ids::{JobId, RunId, StageId, TaskId};
    use tidemill_plans::protocol::Reply;

    use super::*;

    const SOON: Timing = Timing { interval: Duration::from_millis(1), patience: Duration::from_millis(30) };

    /// A coordinator that does with each event what `answer` says, and keeps those that it takes.
    struct Coordinator<F> {
        answer: Mutex<F>,
        taken: mpsc::UnboundedSender<String>,
    }

    impl<F: FnMut(&WorkerEvent) -> Result<EventResponse, &'static str> + Send> CoordinatorLink for Coordinator<F> {
        fn send(&self, event: WorkerEvent) -> Reply<EventResponse> {
            let answer = (self.answer.lock().unwrap())(&event);
            if answer == Ok(EventResponse::Done) {
                let text = match event {
                    WorkerEvent::TaskFinished { task, .. } => task.subtask.to_string(),
                    _ => String::from("alive"),
                };
                let _ = self.taken.send(text);
            }
            let answer = answer.map_err(|reason| LinkError { peer: String::from("test"), reason: reason.into() });
            Box::pin(async { answer })
        }
    }

    fn start(
        answer: impl FnMut(&WorkerEvent) -> Result<EventResponse, &'static str> + Send + 'static,
    ) -> (EventQueue, mpsc::UnboundedReceiver<String>) {
        let (sender, taken) = mpsc::unbounded_channel();
        let coordinator = Arc::new(Coordinator { answer: Mutex::new(answer), taken: sender });
        (EventQueue::start(&Handle::current(), coordinator, SOON), taken)
    }

    fn finished(subtask: u32) -> WorkerEvent {
        WorkerEvent::TaskFinished {
            run: RunId::first(JobId(1)),
            task: TaskId { stage: StageId(0), subtask },
            state: None,
        }
    }

    #[tokio::test]
    async fn events_are_repeated_until_taken_and_keep_their_order() {
        let mut attempts = 0;
        let (queue, mut taken) = start(move |_| {
            attempts += 1;
            if attempts % 2 == 1 { Err("not now") } else { Ok(EventResponse::Done) }
        });
        for subtask in 0..3 {
            queue.push(finished(subtask));
        }
        for subtask in ["0", "1", "2"] {
            assert_eq!(taken.recv().await.unwrap(), subtask);
        }
    }

    #[tokio::test]
    async fn a_refused_event_does_not_hold_up_the_next() {
        let (queue, mut taken) = start(|event| match event {
            WorkerEvent::TaskFinished { task, .. } if task.subtask == 0 => Ok(EventResponse::Refused("no".into())),
            _ => Ok(EventResponse::Done),
        });
        queue.push(finished(0));
        queue.push(finished(1));
        assert_eq!(taken.recv().await.unwrap(), "1");
    }

    #[tokio::test]
    async fn signs_of_life_do_not_wait_behind_events() {
        let (queue, mut taken) = start(|event| match event {
            WorkerEvent::Heartbeat { .. } => Ok(EventResponse::Done),
            _ => Err("the journal is stuck"),
        });
        queue.push(finished(0));
        queue.begin_signs_of_life(WorkerId(1), None);
        // Far longer than the patience with a coordinator that is out of reach.
        for _ in 0..100 {
            assert_eq!(taken.recv().await.unwrap(), "alive");
        }
        assert!(!*queue.lost.borrow());
    }

    #[tokio::test]
    async fn a_coordinator_that_never_answers_or_does_not_know_the_worker_is_given_up() {
        let answers = [Err("gone"), Ok(EventResponse::Refused("worker-1 is not registered".into()))];
        for answer in answers {
            let (queue, _taken) = start(move |_| answer.clone());
            queue.begin_signs_of_life(WorkerId(1), None);
            queue.lost().await;
        }
    }

    #[tokio::test]
    async fn a_lease_counts_from_the_last_sign_that_was_answered() {
        let lease = SOON.patience * 5;
        let answers = lease * 2;
        let begun = Instant::now();
        let (queue, _taken) =
            start(move |_| if begun.elapsed() < answers { Ok(EventResponse::Done) } else { Err("gone") });
        queue.begin_signs_of_life(WorkerId(1), Some(lease));
        // A deployment that comes behind the registration leaves the lease as it is.
        queue.begin_signs_of_life(WorkerId(1), None);
        queue.lost().await;
        // The last answer came before `answers`, by no more than two signs and what the machine adds.
        assert!(begun.elapsed() >= answers + lease / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_end() {
        let (queue, mut taken) = start(|_| Ok(EventResponse::Done));
        queue.begin_signs_of_life(WorkerId(1), None);
        assert_eq!(taken.recv().await.unwrap(), "alive");
        queue.close();
        queue.push(finished(0));
        while taken.recv().await.is_some_and(|taken| taken == "alive") {}
        assert_eq!(taken.recv().await, None);
    }
}

//! Polling a task from whatever runs it, and reporting what comes of it.
//!
//! A task that has failed is kept until its job is cancelled: dropping it would close its channels,
//! and its neighbours' complaints about that could reach the coordinator before the cause does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Context;
use std::time::Duration;

use tidemill_engine::EngineError;
use tidemill_engine::state::Snapshot;
use tidemill_engine::task::{Passed, Task, TaskPoll};
use tidemill_plans::ErrorDomain;
use tidemill_plans::ids::{ChannelId, Epoch, RunId, TaskId};
use tokio::sync::mpsc;

use crate::error::WorkersError;
use crate::exchange::ExchangeFailures;

/// What can be polled until it has finished: a [`Task`], or a test's stand-in.
pub(crate) trait Pollable: Send + Unpin + 'static {
    /// Does some work, as [`Task::poll`].
    fn poll(&mut self, cx: &mut Context<'_>) -> tidemill_engine::Result<TaskPoll>;

    /// Ends where it is, as [`Task::cut`].
    fn cut(&mut self) -> tidemill_engine::Result<()>;

    /// The barriers that have passed since the last call.
    fn take_passed_barriers(&mut self) -> Vec<Passed>;

    /// The state that it has ended with, once.
    fn take_final_state(&mut self) -> Option<Snapshot>;

    /// Whether it must be kept until the last commit, as [`Task::commits`].
    fn commits(&self) -> bool;

    /// A checkpoint is sealed, as [`Task::commit`].
    fn commit(&mut self, epoch: Epoch) -> tidemill_engine::Result<()>;
}

impl Pollable for Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> tidemill_engine::Result<TaskPoll> {
        Task::poll(self, cx)
    }

    fn cut(&mut self) -> tidemill_engine::Result<()> {
        Task::cut(self)
    }

    fn take_passed_barriers(&mut self) -> Vec<Passed> {
        Task::take_passed_barriers(self)
    }

    fn take_final_state(&mut self) -> Option<Snapshot> {
        Task::take_final_state(self)
    }

    fn commits(&self) -> bool {
        Task::commits(self)
    }

    fn commit(&mut self, epoch: Epoch) -> tidemill_engine::Result<()> {
        Task::commit(self, epoch)
    }
}

/// Why a task cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Who must act.
    pub(crate) domain: ErrorDomain,
    /// The whole chain of causes.
    pub(crate) message: String,
    /// Whether this only says that another part of the job is gone.
    pub(crate) is_disconnect: bool,
}

impl Failure {
    /// The failure of a thread that ended without a word: a bug.
    pub(crate) fn silent() -> Self {
        Self { domain: ErrorDomain::Internal, message: String::from("a task's thread is gone"), is_disconnect: false }
    }
}

impl From<&EngineError> for Failure {
    fn from(error: &EngineError) -> Self {
        let is_disconnect = matches!(error, EngineError::Disconnected(_));
        Self { domain: error.domain(), message: error.chain(), is_disconnect }
    }
}

impl From<&WorkersError> for Failure {
    fn from(error: &WorkersError) -> Self {
        Self { domain: error.domain(), message: error.chain(), is_disconnect: false }
    }
}

/// What the parts of a job tell their worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Notice {
    /// A barrier has passed through a task.
    BarrierPassed(RunId, TaskId, Passed),
    /// A task has read and written everything; the state that it has ended with.
    Finished(RunId, TaskId, Option<Snapshot>),
    /// A task has failed.
    Failed(RunId, TaskId, Failure),
    /// The driver of a source's task has ended, well or not.
    DriverEnded(RunId, TaskId, Option<Failure>),
    /// A channel to or from another worker has failed.
    ChannelFailed(ChannelId, Failure),
}

/// Where notices go. The queue has no bound of its own: a task says little, a few notices an epoch.
#[derive(Debug, Clone)]
pub(crate) struct Notices(pub(crate) mpsc::UnboundedSender<Notice>);

impl Notices {
    /// Queues a notice; without a worker there is nobody left to care.
    pub(crate) fn send(&self, notice: Notice) {
        let _ = self.0.send(notice);
    }
}

impl ExchangeFailures for Notices {
    fn channel_failed(&self, channel: ChannelId, error: &WorkersError) {
        self.send(Notice::ChannelFailed(channel, Failure::from(error)));
    }
}

/// Reports for one task.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    /// The run.
    pub(crate) run: RunId,
    /// The task.
    pub(crate) task: TaskId,
    /// Where notices go.
    pub(crate) notices: Notices,
}

impl Reporter {
    /// Reports that the task has failed.
    pub(crate) fn failed(&self, failure: Failure) {
        self.notices.send(Notice::Failed(self.run, self.task, failure));
    }

    /// Reports how the task's driver has ended.
    pub(crate) fn driver_ended(&self, failure: Option<Failure>) {
        self.notices.send(Notice::DriverEnded(self.run, self.task, failure));
    }
}

/// What one call of [`advance`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Poll again soon.
    Yielded,
    /// The waker will be called.
    Pending,
    /// The waker will be called; poll again after so long in any case.
    PendingFor(Duration),
    /// Everything is done, and reported.
    Finished,
    /// Nothing more will come of it, and this is reported. Keep it, but do not poll it again.
    Failed(Failure),
}

/// Polls a task once, and reports barriers, its end, or its failure. A panic is a failure.
pub(crate) fn advance<P: Pollable>(task: &mut P, cx: &mut Context<'_>, reporter: &Reporter) -> Progress {
    let poll = caught(|| task.poll(cx));
    for passed in task.take_passed_barriers() {
        reporter.notices.send(Notice::BarrierPassed(reporter.run, reporter.task, passed));
    }
    match poll {
        Ok(TaskPoll::Yielded) => Progress::Yielded,
        Ok(TaskPoll::Pending) => Progress::Pending,
        Ok(TaskPoll::PendingFor(longest)) => Progress::PendingFor(longest),
        Ok(TaskPoll::Finished) => {
            reporter.notices.send(Notice::Finished(reporter.run, reporter.task, task.take_final_state()));
            Progress::Finished
        }
        Err(error) => {
            let failure = Failure::from(&error);
            reporter.notices.send(Notice::Failed(reporter.run, reporter.task, failure.clone()));
            Progress::Failed(failure)
        }
    }
}

/// Runs engine code; a panic becomes an error.
pub(crate) fn caught<T>(run: impl FnOnce() -> tidemill_engine::Result<T>) -> tidemill_engine::Result<T> {
    // What the panic left behind is never polled again, only dropped.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(EngineError::Panicked(panic_text(panic.as_ref()))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| String::from("without a message"))
}

#[cfg(test)]
pub(crate) mod testing {
    //! A stand-in for a task, driven by a script.

    use std::collections::VecDeque;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use tidemill_engine::state::Snapshot;
    use tidemill_engine::task::{Passed, TaskPoll};
    use tidemill_plans::ids::{Epoch, JobId, RunId, StageId, TaskId};

    use super::{Notice, Notices, Pollable, Reporter};

    /// One poll's outcome.
    pub(crate) enum Step {
        /// Asks to be polled again.
        Yield,
        /// Hands its waker out and waits.
        Wait(mpsc::Sender<Waker>),
        /// Passes a barrier, then asks to be polled again.
        Barrier(u64),
        /// Panics.
        Panic,
    }

    /// How a scripted task has ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Ending {
        /// It was cut.
        Cut,
        /// A checkpoint was sealed, the last one maybe.
        Committed(Epoch),
        /// It was dropped.
        Dropped,
    }

    /// Polls step by step, then finishes; says so when it is cut and when it is dropped.
    pub(crate) struct Scripted {
        /// What is left to do.
        pub(crate) steps: VecDeque<Step>,
        passed: Vec<Passed>,
        commits: bool,
        endings: Option<mpsc::Sender<Ending>>,
    }

    impl Scripted {
        /// A task of these steps.
        pub(crate) fn new(steps: Vec<Step>, endings: Option<mpsc::Sender<Ending>>) -> Self {
            Self { steps: steps.into(), passed: Vec::new(), commits: false, endings }
        }

        /// The same task, which has to be told of commits.
        pub(crate) fn committing(mut self) -> Self {
            self.commits = true;
            self
        }

        fn say(&self, ending: Ending) {
            if let Some(endings) = &self.endings {
                let _ = endings.send(ending);
            }
        }
    }

    impl Pollable for Scripted {
        fn poll(&mut self, cx: &mut Context<'_>) -> tidemill_engine::Result<TaskPoll> {
            match self.steps.pop_front() {
                None => return Ok(TaskPoll::Finished),
                Some(Step::Yield) => {}
                Some(Step::Wait(sender)) => {
                    sender.send(cx.waker().clone()).unwrap();
                    return Ok(TaskPoll::Pending);
                }
                Some(Step::Barrier(epoch)) => self.passed.push(Passed { epoch: Epoch(epoch), ..Passed::default() }),
                Some(Step::Panic) => panic!("on purpose"),
            }
            Ok(TaskPoll::Yielded)
        }

        fn cut(&mut self) -> tidemill_engine::Result<()> {
            self.say(Ending::Cut);
            Ok(())
        }

        fn take_passed_barriers(&mut self) -> Vec<Passed> {
            std::mem::take(&mut self.passed)
        }

        fn take_final_state(&mut self) -> Option<Snapshot> {
            None
        }

        fn commits(&self) -> bool {
            self.commits
        }

        fn commit(&mut self, epoch: Epoch) -> tidemill_engine::Result<()> {
            self.say(Ending::Committed(epoch));
            Ok(())
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            self.say(Ending::Dropped);
        }
    }

    /// The task that tests run.
    pub(crate) const TASK: TaskId = TaskId { stage: StageId(0), subtask: 0 };

    /// A reporter and the notices that it sends.
    pub(crate) fn reporter() -> (Reporter, tokio::sync::mpsc::UnboundedReceiver<Notice>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Reporter { run: RunId::first(JobId(1)), task: TASK, notices: Notices(sender) }, receiver)
    }
}

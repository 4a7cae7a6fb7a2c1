//! Threads for what waits: tasks that write to the outside, and drivers that read from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tidemill_engine::task::{DriverCommand, SourceDriver};
use tidemill_plans::ids::Epoch;
use tokio::sync::{oneshot, watch};

use crate::error::{Result, WorkersError};
use crate::runner::{Failure, Pollable, Progress, Reporter, advance, caught};

/// A thread that runs a task which may block. Dropping it cancels the task.
pub(crate) struct IoThread {
    control: Arc<Control>,
    ended: Ended,
    /// Whether its task has to be told of commits.
    commits: bool,
}

impl IoThread {
    /// Starts the thread.
    pub(crate) fn start<P: Pollable>(task: P, reporter: Reporter) -> Result<Self> {
        let control = Arc::new(Control::default());
        let shared = Arc::clone(&control);
        let commits = task.commits();
        let (thread, ended) = spawn(format!("io-{}", reporter.task), move || run(task, &shared, &reporter))?;
        // Here as well as there, so that a cancellation finds it at once.
        let _ = control.thread.set(thread);
        Ok(Self { control, ended, commits })
    }

    /// Tells the task that the checkpoint of `epoch` is sealed. Ready when it has shown what that covers.
    pub(crate) fn commit(&self, epoch: Epoch) -> impl Future<Output = Result<(), Failure>> + 'static {
        let done = self.commits.then(|| {
            let (answer, done) = oneshot::channel();
            self.control.lock_commits().push((epoch, answer));
            self.control.wake_by_ref();
            done
        });
        async move {
            match done {
                // The thread has ended without an answer: its task has failed, and that has been said.
                Some(done) => done.await.unwrap_or_else(|_| Err(Failure::silent())),
                None => Ok(()),
            }
        }
    }

    /// Asks the thread to end its task with what it has. The answer is whether that went well.
    pub(crate) fn cut(&self) -> Ended {
        self.control.order(&self.control.cut);
        self.ended.clone()
    }

    /// Asks the thread to drop its task and end.
    pub(crate) fn cancel(self) -> Ended {
        self.ended.clone()
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.control.order(&self.control.cancelled);
    }
}

/// A thread that reads a source. Dropping it cancels the driver, which misses its commands.
pub(crate) struct DriverThread {
    commands: Sender<DriverCommand>,
    ended: Ended,
}

impl DriverThread {
    /// Starts the thread.
    pub(crate) fn start(driver: SourceDriver, reporter: Reporter) -> Result<Self> {
        // At most a command an epoch and one for the end; the driver looks at them at every batch.
        let (commands, orders): (Sender<DriverCommand>, Receiver<DriverCommand>) = unbounded();
        let (_, ended) = spawn(format!("src-{}", reporter.task), move || {
            let outcome = caught(|| driver.run(orders));
            reporter.driver_ended(outcome.err().as_ref().map(Failure::from));
            Ok(())
        })?;
        Ok(Self { commands, ended })
    }

    /// Tells the driver something; one that has ended does not mind.
    pub(crate) fn command(&self, command: DriverCommand) {
        let _ = self.commands.send(command);
    }

    /// Asks the driver to give up.
    pub(crate) fn cancel(self) -> Ended {
        self.command(DriverCommand::Cancel);
        self.ended
    }
}

/// Tells when a thread has dropped its task, and what the task came to.
#[derive(Debug, Clone)]
pub(crate) struct Ended(watch::Receiver<Option<Result<(), Failure>>>);

impl Ended {
    /// Waits for the thread's end.
    pub(crate) async fn wait(mut self) -> Result<(), Failure> {
        let ended = self.0.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or_else(|| Err(Failure::silent()))
    }
}

fn spawn(name: String, run: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(Thread, Ended)> {
    let (sender, ended) = watch::channel(None);
    let body = move || {
        sender.send_replace(Some(run()));
    };
    match thread::Builder::new().name(name.clone()).spawn(body) {
        Ok(handle) => Ok((handle.thread().clone(), Ended(ended))),
        Err(source) => Err(WorkersError::Thread { name, source }),
    }
}

/// An epoch to commit, and whom to tell when that is done.
type Commit = (Epoch, oneshot::Sender<Result<(), Failure>>);

/// Wakes and ends a thread.
#[derive(Default)]
struct Control {
    thread: OnceLock<Thread>,
    woken: AtomicBool,
    cut: AtomicBool,
    cancelled: AtomicBool,
    /// What is to be committed, in order: at most a few, for a checkpoint waits for the one before.
    commits: Mutex<Vec<Commit>>,
}

impl Control {
    fn lock_commits(&self) -> MutexGuard<'_, Vec<Commit>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the task commit what it was told to. Says whether that was the last commit.
    fn commit<P: Pollable>(&self, task: &mut P) -> Result<bool, Failure> {
        let mut is_last = false;
        let due = std::mem::take(&mut *self.lock_commits());
        for (epoch, answer) in due {
            let outcome = caught(|| task.commit(epoch)).map_err(|error| Failure::from(&error));
            // Whoever asked may have given up meanwhile.
            let _ = answer.send(outcome.clone());
            outcome?;
            is_last |= epoch == Epoch::END;
        }
        Ok(is_last)
    }

    /// Answers commits that will not be: whoever asks has the job's other requests wait for the answer.
    fn refuse_commits(&self, failure: &Failure) {
        for (_, answer) in std::mem::take(&mut *self.lock_commits()) {
            let _ = answer.send(Err(failure.clone()));
        }
    }

    /// Waits for a wake-up since the last call. The flag, not the park token, says whether there was
    /// one: code that the task calls parks the same thread.
    fn wait(&self) {
        while !self.woken.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    }

    /// Waits no longer than this; waking too early does no harm.
    fn wait_for(&self, longest: Duration) {
        if !self.woken.swap(false, Ordering::AcqRel) {
            thread::park_timeout(longest);
            self.woken.store(false, Ordering::Release);
        }
    }

    /// Gives an order and sees to it that the thread looks.
    fn order(self: &Arc<Self>, order: &AtomicBool) {
        order.store(true, Ordering::Release);
        self.wake_by_ref();
    }
}

impl Wake for Control {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// What a thread's task does.
enum Phase {
    Running,
    /// It waits for the last commit.
    Finished,
    /// It waits to be dropped, or cut.
    Failed(Failure),
}

/// Runs a task until it has finished, and committed what it has to, or is told to end. The error is that of a
/// task which has failed and is then to complete what it has.
fn run<P: Pollable>(mut task: P, control: &Arc<Control>, reporter: &Reporter) -> Result<(), Failure> {
    let _ = control.thread.set(thread::current());
    let waker = Waker::from(Arc::clone(control));
    let mut cx = Context::from_waker(&waker);
    let mut phase = Phase::Running;
    while !control.cancelled.load(Ordering::Acquire) {
        if control.cut.load(Ordering::Acquire) {
            return match phase {
                Phase::Failed(failure) => Err(failure),
                _ => cut(&mut task),
            };
        }
        match phase {
            Phase::Failed(ref failure) => {
                control.refuse_commits(failure);
                control.wait();
                continue;
            }
            _ => match control.commit(&mut task) {
                Ok(true) => break,
                Ok(false) => {}
                Err(failure) => {
                    reporter.failed(failure.clone());
                    phase = Phase::Failed(failure);
                    continue;
                }
            },
        }
        if matches!(phase, Phase::Finished) {
            control.wait();
            continue;
        }
        match advance(&mut task, &mut cx, reporter) {
            Progress::Yielded => {}
            Progress::Pending => control.wait(),
            Progress::PendingFor(longest) => control.wait_for(longest),
            Progress::Finished if task.commits() => phase = Phase::Finished,
            Progress::Finished => break,
            Progress::Failed(failure) => phase = Phase::Failed(failure),
        }
    }
    Ok(())
}

/// Completes what a task has and shows it: nobody comes back to what was cut off.
fn cut<P: Pollable>(task: &mut P) -> Result<(), Failure> {
    let outcome = caught(|| {
        task.cut()?;
        task.commit(Epoch::END)
    });
    outcome.map_err(|error| Failure::from(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::executor::block_on;

    use super::*;
    use crate::runner::Notice;
    use crate::runner::testing::{Ending, Scripted, Step, TASK, reporter};

    #[test]
    fn a_task_runs_when_woken_and_its_thread_ends_with_it() {
        let (reporter, mut notices) = reporter();
        let run = reporter.run;
        let (wakers, woken) = mpsc::channel();
        let steps = vec![Step::Yield, Step::Wait(wakers.clone()), Step::Wait(wakers)];
        let thread = IoThread::start(Scripted::new(steps, None), reporter).unwrap();
        for _ in 0..2 {
            woken.recv().unwrap().wake();
        }
        assert_eq!(notices.blocking_recv(), Some(Notice::Finished(run, TASK, None)));
        assert_eq!(block_on(thread.ended.clone().wait()), Ok(()));
    }

    /// A thread whose task waits.
    fn waiting() -> (IoThread, mpsc::Receiver<Ending>) {
        let (wakers, woken) = mpsc::channel();
        let (endings, ended) = mpsc::channel();
        let task = Scripted::new(vec![Step::Wait(wakers)], Some(endings));
        let thread = IoThread::start(task, reporter().0).unwrap();
        woken.recv().unwrap();
        assert!(ended.try_recv().is_err());
        (thread, ended)
    }

    /// A thread whose task has failed.
    fn failed() -> (IoThread, mpsc::Receiver<Ending>) {
        let (reporter, mut notices) = reporter();
        let (endings, ended) = mpsc::channel();
        let thread = IoThread::start(Scripted::new(vec![Step::Panic], Some(endings)), reporter).unwrap();
        assert!(matches!(notices.blocking_recv(), Some(Notice::Failed(..))));
        assert!(ended.try_recv().is_err());
        (thread, ended)
    }

    #[test]
    fn a_waiting_and_a_failed_task_can_be_cancelled() {
        for (thread, ended) in [waiting(), failed()] {
            assert_eq!(block_on(thread.cancel().wait()), Ok(()));
            assert_eq!(ended.try_recv(), Ok(Ending::Dropped));
        }
    }

    #[test]
    fn a_task_that_has_failed_refuses_to_commit_at_once() {
        let (reporter, mut notices) = reporter();
        let thread = IoThread::start(Scripted::new(vec![Step::Panic], None).committing(), reporter).unwrap();
        assert!(matches!(notices.blocking_recv(), Some(Notice::Failed(..))));
        assert_eq!(block_on(thread.commit(Epoch(1))).unwrap_err().message, "panicked: on purpose");
    }

    #[test]
    fn a_thread_that_is_dropped_cancels_its_task() {
        let (thread, ended) = waiting();
        drop(thread);
        assert_eq!(ended.recv(), Ok(Ending::Dropped));
    }

    #[test]
    fn a_task_that_is_cut_completes_and_one_that_has_failed_says_why_it_cannot() {
        let (thread, ended) = waiting();
        assert_eq!(block_on(thread.cut().wait()), Ok(()));
        assert_eq!(ended.iter().collect::<Vec<_>>(), [Ending::Cut, Ending::Committed(Epoch::END), Ending::Dropped]);
        let (thread, ended) = failed();
        assert_eq!(block_on(thread.cut().wait()).unwrap_err().message, "panicked: on purpose");
        assert_eq!(ended.recv(), Ok(Ending::Dropped));
    }

    #[test]
    fn a_task_that_commits_is_kept_until_the_last_commit() {
        let (reporter, mut notices) = reporter();
        let (endings, ended) = mpsc::channel();
        let (wakers, woken) = mpsc::channel();
        let task = Scripted::new(vec![Step::Wait(wakers)], Some(endings)).committing();
        let thread = IoThread::start(task, reporter).unwrap();
        let waker = woken.recv().unwrap();
        assert_eq!(block_on(thread.commit(Epoch(1))), Ok(()));
        waker.wake();
        assert!(matches!(notices.blocking_recv(), Some(Notice::Finished(..))));
        assert_eq!(block_on(thread.commit(Epoch(2))), Ok(()));
        assert_eq!(block_on(thread.commit(Epoch::END)), Ok(()));
        assert_eq!(block_on(thread.ended.clone().wait()), Ok(()));
        let expected = [1, 2, u64::MAX].map(|epoch| Ending::Committed(Epoch(epoch)));
        assert_eq!(ended.iter().collect::<Vec<_>>(), [&expected[..], &[Ending::Dropped]].concat());
    }
}

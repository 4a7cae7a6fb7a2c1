//! Threads for what waits: tasks that write to the outside, and drivers that read from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

use crossbeam::channel::{Receiver, Sender, unbounded};
use tidemill_engine::task::{DriverCommand, SourceDriver};

use crate::error::{Result, WorkersError};
use crate::runner::{Failure, Pollable, Progress, Reporter, advance, caught};

/// A thread that runs a task which may block.
pub(crate) struct IoThread {
    control: Arc<Control>,
    thread: JoinHandle<()>,
}

impl IoThread {
    /// Starts the thread.
    pub(crate) fn start<P: Pollable>(task: P, reporter: Reporter) -> Result<Self> {
        let control = Arc::new(Control::default());
        let shared = Arc::clone(&control);
        let thread = spawn(format!("io-{}", reporter.task), move || run(task, &shared, &reporter))?;
        // Here as well as there, so that a cancellation finds it at once.
        let _ = control.thread.set(thread.thread().clone());
        Ok(Self { control, thread })
    }

    /// Asks the thread to drop its task and end; the handle is for waiting until it has.
    pub(crate) fn cancel(self) -> JoinHandle<()> {
        self.control.cancelled.store(true, Ordering::Release);
        self.control.wake_by_ref();
        self.thread
    }
}

/// A thread that reads a source.
pub(crate) struct DriverThread {
    commands: Sender<DriverCommand>,
    thread: JoinHandle<()>,
}

impl DriverThread {
    /// Starts the thread.
    pub(crate) fn start(driver: SourceDriver, reporter: Reporter) -> Result<Self> {
        // At most a command an epoch and one for the end; the driver looks at them at every batch.
        let (commands, orders): (Sender<DriverCommand>, Receiver<DriverCommand>) = unbounded();
        let thread = spawn(format!("src-{}", reporter.task), move || {
            let outcome = caught(|| driver.run(orders));
            reporter.driver_ended(outcome.err().as_ref().map(Failure::from));
        })?;
        Ok(Self { commands, thread })
    }

    /// Tells the driver something; one that has ended does not mind.
    pub(crate) fn command(&self, command: DriverCommand) {
        let _ = self.commands.send(command);
    }

    /// Asks the driver to give up; the handle is for waiting until it has.
    pub(crate) fn cancel(self) -> JoinHandle<()> {
        self.command(DriverCommand::Cancel);
        self.thread
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.clone()).spawn(run).map_err(|source| WorkersError::Thread { name, source })
}

/// Wakes and ends a thread.
#[derive(Default)]
struct Control {
    thread: OnceLock<Thread>,
    woken: AtomicBool,
    cancelled: AtomicBool,
}

impl Control {
    /// Waits for a wake-up since the last call. The flag, not the park token, says whether there was
    /// one: code that the task calls parks the same thread.
    fn wait(&self) {
        while !self.woken.swap(false, Ordering::AcqRel) {
            thread::park();
        }
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

fn run<P: Pollable>(mut task: P, control: &Arc<Control>, reporter: &Reporter) {
    let _ = control.thread.set(thread::current());
    let waker = Waker::from(Arc::clone(control));
    let mut cx = Context::from_waker(&waker);
    let mut failed = false;
    while !control.cancelled.load(Ordering::Acquire) {
        let progress = if failed { Progress::Failed } else { advance(&mut task, &mut cx, reporter) };
        match progress {
            Progress::Yielded => {}
            Progress::Pending => control.wait(),
            Progress::Finished => return,
            Progress::Failed => {
                failed = true;
                control.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::runner::Notice;
    use crate::runner::testing::{Scripted, Step, TASK, reporter};

    #[test]
    fn a_task_runs_when_woken_and_its_thread_ends_with_it() {
        let (reporter, mut notices) = reporter();
        let job = reporter.job;
        let (wakers, woken) = mpsc::channel();
        let steps = vec![Step::Yield, Step::Wait(wakers.clone()), Step::Wait(wakers)];
        let thread = IoThread::start(Scripted::new(steps, None), reporter).unwrap();
        for _ in 0..2 {
            woken.recv().unwrap().wake();
        }
        assert_eq!(notices.blocking_recv(), Some(Notice::Finished(job, TASK)));
        thread.thread.join().unwrap();
    }

    #[test]
    fn a_waiting_and_a_failed_task_can_be_cancelled() {
        for step in [Step::Wait(mpsc::channel().0), Step::Panic] {
            let (reporter, mut notices) = reporter();
            let (dropped, gone) = mpsc::channel();
            let (wakers, woken) = mpsc::channel();
            let fails = matches!(step, Step::Panic);
            let step = if fails { Step::Panic } else { Step::Wait(wakers) };
            let thread = IoThread::start(Scripted::new(vec![step], Some(dropped)), reporter).unwrap();
            if fails {
                assert!(matches!(notices.blocking_recv(), Some(Notice::Failed(..))));
            } else {
                woken.recv().unwrap();
            }
            assert!(gone.try_recv().is_err());
            thread.cancel().join().unwrap();
            gone.recv().unwrap();
        }
    }
}

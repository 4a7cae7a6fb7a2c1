//! A compute task as an actor on a compute thread.
//!
//! The actor polls when it is told to. Its waker tells it so at most once until the next poll, so its
//! mailbox holds no more than one such message and a cancellation, and never overflows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};
use tokio::time::Instant;

use crate::runner::{Pollable, Progress, Reporter, advance};

/// Runs a task on the thread that it is started on.
pub(crate) struct TaskActor<P: Pollable> {
    task: P,
    reporter: Reporter,
    waker: Option<Arc<ActorWaker<P>>>,
    failed: bool,
    /// The timer that is running, and when it ends.
    timer: Option<(Instant, SpawnHandle)>,
}

impl<P: Pollable> TaskActor<P> {
    /// An actor that begins to poll as soon as it is started.
    pub(crate) fn new(task: P, reporter: Reporter) -> Self {
        Self { task, reporter, waker: None, failed: false, timer: None }
    }

    /// Wakes the task once so long has passed: one timer at a time, the one that ends first, which a later poll may
    /// find early.
    fn wake_after(&mut self, longest: Duration, ctx: &mut Context<Self>) {
        let end = Instant::now() + longest;
        if self.timer.is_some_and(|(first, _)| first <= end) {
            return;
        }
        let timer = ctx.run_later(longest, |actor, _| {
            actor.timer = None;
            actor.wake();
        });
        if let Some((_, later)) = self.timer.replace((end, timer)) {
            ctx.cancel_future(later);
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// Do some work.
struct Poll;

impl Message for Poll {
    type Result = ();
}

/// Drop the task. Answered when it is gone.
pub(crate) struct Cancel;

impl Message for Cancel {
    type Result = ();
}

impl<P: Pollable> Actor for TaskActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.waker = Some(Arc::new(ActorWaker { address: ctx.address(), scheduled: AtomicBool::new(false) }));
        self.wake();
    }
}

impl<P: Pollable> Handler<Poll> for TaskActor<P> {
    type Result = ();

    fn handle(&mut self, _: Poll, ctx: &mut Self::Context) {
        let Some(waker) = self.waker.as_ref().filter(|_| !self.failed) else { return };
        // Before the poll: what happens during it must lead to another.
        waker.scheduled.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(waker));
        match advance(&mut self.task, &mut TaskContext::from_waker(&waker), &self.reporter) {
            Progress::Pending => {}
            Progress::PendingFor(longest) => self.wake_after(longest, ctx),
            // A message to oneself would be handled before any other actor of the thread: the mailbox
            // is emptied in a loop. So the thread gets a turn first.
            Progress::Yielded => {
                ctx.spawn(wrap_future(tokio::task::yield_now()).map(|(), actor: &mut Self, _| actor.wake()));
            }
            Progress::Finished => ctx.stop(),
            Progress::Failed(_) => self.failed = true,
        }
    }
}

impl<P: Pollable> Handler<Cancel> for TaskActor<P> {
    type Result = ();

    fn handle(&mut self, _: Cancel, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

struct ActorWaker<P: Pollable> {
    address: Addr<TaskActor<P>>,
    /// Whether a `Poll` is in the mailbox.
    scheduled: AtomicBool,
}

impl<P: Pollable> Wake for ActorWaker<P> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            // Fails only for an actor that has stopped: the mailbox has room for one.
            let _ = self.address.try_send(Poll);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix::{Arbiter, System};
    use tidemill_engine::task::Passed;
    use tidemill_plans::ErrorDomain;
    use tidemill_plans::ids::Epoch;

    use super::*;
    use crate::runner::Notice;
    use crate::runner::testing::{Ending, Scripted, Step, TASK, reporter};

    fn start(
        steps: Vec<Step>,
        dropped: mpsc::Sender<Ending>,
        reporter: Reporter,
    ) -> (Arbiter, Addr<TaskActor<Scripted>>) {
        let arbiter = Arbiter::new();
        let task = Scripted::new(steps, Some(dropped));
        let address = TaskActor::start_in_arbiter(&arbiter.handle(), move |_| TaskActor::new(task, reporter));
        (arbiter, address)
    }

    #[test]
    fn a_task_is_polled_when_woken_from_another_thread_and_goes_when_it_has_finished() {
        System::new().block_on(async {
            let (reporter, mut notices) = reporter();
            let run = reporter.run;
            let (wakers, woken) = mpsc::channel();
            let (dropped, gone) = mpsc::channel();
            let steps =
                vec![Step::Yield, Step::Barrier(7), Step::Wait(wakers.clone()), Step::Wait(wakers), Step::Yield];
            let (_arbiter, _address) = start(steps, dropped, reporter);
            assert_eq!(
                notices.recv().await,
                Some(Notice::BarrierPassed(run, TASK, Passed { epoch: Epoch(7), ..Passed::default() }))
            );
            for _ in 0..2 {
                let waker = woken.recv().unwrap();
                // Waking many times is one poll: the second wait would be skipped otherwise.
                for _ in 0..100 {
                    waker.wake_by_ref();
                }
            }
            assert_eq!(notices.recv().await, Some(Notice::Finished(run, TASK, None)));
            gone.recv().unwrap();
        });
    }

    #[test]
    fn tasks_of_one_thread_take_turns() {
        System::new().block_on(async {
            let arbiter = Arbiter::new();
            let (hog, mut hogs) = reporter();
            let (other, mut others) = reporter();
            let endless = (0..5_000_000).map(|_| Step::Yield).collect();
            let endless = Scripted::new(endless, None);
            let hog = TaskActor::start_in_arbiter(&arbiter.handle(), move |_| TaskActor::new(endless, hog));
            let short = Scripted::new(vec![Step::Yield, Step::Yield], None);
            TaskActor::start_in_arbiter(&arbiter.handle(), move |_| TaskActor::new(short, other));
            assert!(matches!(others.recv().await, Some(Notice::Finished(..))));
            hog.send(Cancel).await.unwrap();
            assert!(!matches!(hogs.try_recv(), Ok(Notice::Finished(..))));
        });
    }

    #[test]
    fn a_panic_is_reported_and_the_task_kept_until_it_is_cancelled() {
        System::new().block_on(async {
            let (reporter, mut notices) = reporter();
            let (dropped, gone) = mpsc::channel();
            let (_arbiter, address) = start(vec![Step::Panic], dropped, reporter);
            let Some(Notice::Failed(_, _, failure)) = notices.recv().await else { panic!("no failure") };
            assert_eq!((failure.domain, failure.message.as_str()), (ErrorDomain::Internal, "panicked: on purpose"));
            assert!(gone.try_recv().is_err());
            address.send(Cancel).await.unwrap();
            gone.recv().unwrap();
        });
    }
}

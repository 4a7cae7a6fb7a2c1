//! Who leaves, and what becomes of what it did: a worker that is to end, whose jobs go on elsewhere, and the
//! coordinator itself, whose jobs wait for the next one.

use actix::{Context, Handler, MessageResult};
use tidemill_plans::ids::{JobId, WorkerId};
use tidemill_plans::protocol::{StopMode, WorkerRequest};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Coordinator;
use super::lane::{Outcome, ask};
use super::messages::{InterruptJob, KeepJobs, LeaveWorker};
use crate::job::{Event, JobStatus};

impl Coordinator {
    /// Has the jobs of a worker go on elsewhere; false if it is not registered.
    fn leave(&mut self, worker: WorkerId, ctx: &mut Context<Self>) -> bool {
        if !self.members.begin_leaving(worker) {
            return false;
        }
        info!(%worker, "worker leaves");
        // Those that it has tasks of are begun anew.
        self.take_from_batches(worker);
        for run in self.runs() {
            let Some(job) = self.jobs.get(&run.job) else { continue };
            if job.machine.plan().uses(worker) {
                // One without checkpoints runs to its end, if there is time.
                self.drive(run, Event::SuspendRequested, ctx);
            }
        }
        self.let_go_if_idle(worker);
        true
    }

    /// Has a worker end that is to, once nothing of any job is left on it.
    pub(super) fn let_go_if_idle(&mut self, worker: WorkerId) {
        if !self.members.may_leave(worker) {
            return;
        }
        self.members.remove(worker);
        self.member_count.send_replace(self.members.len());
        let Some(link) = self.links.remove(&worker) else { return };
        self.tasks.spawn(async move {
            match ask(worker, link.as_ref(), WorkerRequest::Shutdown).await {
                Outcome::Done => info!(%worker, "worker has left"),
                // It finds out that it is not registered any more.
                outcome => warn!(%worker, ?outcome, "worker did not confirm that it leaves"),
            }
        });
    }

    /// Has all jobs leave off, each at a last checkpoint. Those without checkpoints end: nobody can go on with them.
    fn keep_jobs(&mut self, ctx: &mut Context<Self>) -> Vec<watch::Receiver<JobStatus>> {
        self.is_leaving = true;
        let statuses = self.jobs.values().map(|job| job.status.subscribe()).collect();
        for run in self.runs() {
            self.keep_job(run.job, ctx);
        }
        statuses
    }

    fn keep_job(&mut self, id: JobId, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.machine.plan().has_checkpoints() {
            return self.stop_job(id, StopMode::Drain, ctx);
        }
        let is_told = job.restarts.keep();
        self.end_job(id, is_told, Event::SuspendRequested, JobStatus::Suspended, ctx);
    }

    /// Somebody wants the process of a job to end, which may be between two attempts.
    pub(super) fn interrupt_job(&mut self, id: JobId, mode: StopMode, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let is_told = job.restarts.keep();
        let status = if job.machine.plan().has_checkpoints() { JobStatus::Suspended } else { JobStatus::Stopped };
        self.end_job(id, is_told, Event::Interrupted(mode), status, ctx);
    }
}

impl Handler<LeaveWorker> for Coordinator {
    type Result = MessageResult<LeaveWorker>;

    fn handle(&mut self, LeaveWorker(worker): LeaveWorker, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.leave(worker, ctx))
    }
}

impl Handler<KeepJobs> for Coordinator {
    type Result = MessageResult<KeepJobs>;

    fn handle(&mut self, _: KeepJobs, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.keep_jobs(ctx))
    }
}

impl Handler<InterruptJob> for Coordinator {
    type Result = MessageResult<InterruptJob>;

    fn handle(&mut self, InterruptJob(job, mode): InterruptJob, ctx: &mut Context<Self>) -> Self::Result {
        self.interrupt_job(job, mode, ctx);
        MessageResult(())
    }
}

//! The requests of one job to one worker, one after the other.
//!
//! Over Flight two calls at once may arrive in either order; a `Release` that overtook its `Deploy`
//! would leave tasks behind for ever. So each request waits for the answer to the one before, or for
//! the end of its time.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tidemill_plans::ids::{RunId, WorkerId};
use tidemill_plans::protocol::{WorkerLink, WorkerRequest, WorkerResponse};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::actor::Coordinator;
use crate::actor::messages::RequestEnded;
use crate::job::{JobFailure, RequestKind};

/// Requests that can wait. A job sends each kind once, and one barrier and one version of a model at a time.
pub(super) const LANE_REQUESTS_MAX: usize = 16;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The worker did it.
    Done,
    /// The worker refused, or did not answer in time.
    Failed(JobFailure),
    /// The worker cannot read the state that it was to restore.
    Damaged(JobFailure),
    /// There is no worker at the other end.
    Unreachable(String),
}

/// Sends what comes through `requests` and reports each outcome, until nobody can send any more.
pub(super) async fn run_lane(
    run: RunId,
    worker: WorkerId,
    link: Arc<dyn WorkerLink>,
    mut requests: mpsc::Receiver<WorkerRequest>,
    coordinator: Addr<Coordinator>,
) {
    while let Some(request) = requests.recv().await {
        let kind = RequestKind::of(&request);
        let outcome = ask(worker, link.as_ref(), request).await;
        if coordinator.send(RequestEnded { run, worker, kind, outcome }).await.is_err() {
            return;
        }
    }
}

/// Sends one request and waits for its answer as long as its kind may take.
pub(super) async fn ask(worker: WorkerId, link: &dyn WorkerLink, request: WorkerRequest) -> Outcome {
    let kind = RequestKind::of(&request);
    let limit = time_limit(kind);
    match timeout(limit, link.request(request)).await {
        Ok(Ok(WorkerResponse::Done)) => Outcome::Done,
        Ok(Ok(WorkerResponse::Damaged { message })) => Outcome::Damaged(JobFailure::external(message)),
        Ok(Ok(WorkerResponse::Failed { domain, message })) => Outcome::Failed(JobFailure { domain, message }),
        Ok(Err(error)) => Outcome::Unreachable(error.reason),
        Err(_) => Outcome::Failed(JobFailure::external(format!("{worker} did not answer {kind:?} within {limit:?}"))),
    }
}

/// Creating tasks may open many files and restore much state, sinks complete files in a commit, and a model may be large.
/// Whoever is released waits for its sinks, which may take 10 s: until it has answered, no other attempt begins.
/// Everything else is a message.
fn time_limit(kind: RequestKind) -> Duration {
    match kind {
        RequestKind::Deploy | RequestKind::Commit(_) | RequestKind::Model => Duration::from_secs(60),
        RequestKind::Release => Duration::from_secs(15),
        _ => Duration::from_secs(5),
    }
}

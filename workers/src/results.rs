//! Takes the rows of a SELECT's result from a sink's thread to the coordinator.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_engine::task::{ResultPart, ResultPort};
use tidemill_engine::{EngineError, Result};
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::protocol::{CoordinatorLink, EventResponse};
use tidemill_plans::result_ticket::ResultTicket;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::exchange::split;
use crate::result_parts::{PartPort, ResultParts};

/// How long the coordinator may take to answer. It does while a session is slow to take its rows.
pub(crate) const RESULT_PATIENCE: Duration = Duration::from_secs(60);

/// One job's way for results.
pub(crate) struct Results {
    /// The job.
    pub(crate) job: JobId,
    /// Who takes the rows.
    pub(crate) coordinator: Arc<dyn CoordinatorLink>,
    /// Where the sending is done while the sink's thread waits.
    pub(crate) runtime: Handle,
    /// True once the job is cancelled: nobody wants the rows any more.
    pub(crate) cancelled: watch::Receiver<bool>,
    /// What others fetch here.
    pub(crate) parts: Arc<ResultParts>,
}

impl ResultPort for Results {
    fn send(&self, operator: OperatorId, batch: &RecordBatch) -> Result<()> {
        for part in split(batch) {
            self.deliver(operator, &part)?;
        }
        Ok(())
    }

    fn hand_out(&self, ticket: ResultTicket, schema: &SchemaRef) -> Result<Box<dyn ResultPart>> {
        let port = self.parts.offer(ticket, Arc::clone(schema));
        let (runtime, cancelled) = (self.runtime.clone(), self.cancelled.clone());
        Ok(Box::new(Part { port, runtime, cancelled, job: self.job }))
    }
}

/// One part of it, towards whoever fetches it.
struct Part {
    port: PartPort,
    runtime: Handle,
    cancelled: watch::Receiver<bool>,
    job: JobId,
}

impl ResultPart for Part {
    fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        self.unless_cancelled(self.port.send(batch.clone()))
    }

    fn finish(&mut self) -> Result<()> {
        self.unless_cancelled(self.port.finish())
    }
}

impl Part {
    fn unless_cancelled(&self, work: impl Future<Output = Result<(), String>>) -> Result<()> {
        let mut cancelled = self.cancelled.clone();
        self.runtime.block_on(async {
            tokio::select! {
                _ = cancelled.wait_for(|cancelled| *cancelled) => Err(EngineError::Disconnected(self.job.to_string())),
                done = work => done.map_err(EngineError::Disconnected),
            }
        })
    }
}

impl Results {
    fn deliver(&self, operator: OperatorId, rows: &RecordBatch) -> Result<()> {
        let mut cancelled = self.cancelled.clone();
        self.runtime.block_on(async {
            tokio::select! {
                _ = cancelled.wait_for(|cancelled| *cancelled) => Err(EngineError::Disconnected(self.job.to_string())),
                taken = self.until_taken(operator, rows) => taken,
            }
        })
    }

    /// A session that takes its time is waited for, one that does not answer is not.
    async fn until_taken(&self, operator: OperatorId, rows: &RecordBatch) -> Result<()> {
        let gone = |why: String| Err(EngineError::Disconnected(format!("the session that asked ({why})")));
        loop {
            let sent = self.coordinator.send_rows(self.job, operator, rows);
            match tokio::time::timeout(RESULT_PATIENCE, sent).await {
                Ok(Ok(EventResponse::Busy)) => {}
                Ok(Ok(EventResponse::Refused(reason))) => return gone(reason),
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => return gone(failure.to_string()),
                Err(_) => return gone(format!("no answer in {RESULT_PATIENCE:?}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{ArrayRef, Int64Array};
    use tidemill_plans::ipc;
    use tidemill_plans::protocol::{LinkError, Reply, WorkerEvent};

    use super::*;

    #[derive(Default)]
    struct Session {
        rows: Mutex<Vec<RecordBatch>>,
    }

    impl CoordinatorLink for Session {
        fn send(&self, event: WorkerEvent) -> Reply<EventResponse> {
            let WorkerEvent::ResultRows { ipc, .. } = event else { panic!("not rows") };
            self.rows.lock().unwrap().extend(ipc::decode(ipc).unwrap().batches);
            Box::pin(async { Ok(EventResponse::Done) })
        }
    }

    struct Gone;

    impl CoordinatorLink for Gone {
        fn send(&self, _: WorkerEvent) -> Reply<EventResponse> {
            Box::pin(async { Err(LinkError { peer: String::from("it"), reason: String::from("closed") }) })
        }
    }

    /// Takes its time.
    #[derive(Default)]
    struct Slow(Mutex<usize>);

    impl CoordinatorLink for Slow {
        fn send(&self, _: WorkerEvent) -> Reply<EventResponse> {
            let mut sent = self.0.lock().unwrap();
            *sent += 1;
            let answer = if *sent < 3 { EventResponse::Busy } else { EventResponse::Done };
            Box::pin(async move { Ok(answer) })
        }
    }

    struct Silent;

    impl CoordinatorLink for Silent {
        fn send(&self, _: WorkerEvent) -> Reply<EventResponse> {
            Box::pin(std::future::pending())
        }
    }

    fn send(coordinator: Arc<dyn CoordinatorLink>, is_cancelled: bool) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (_keep, cancelled) = watch::channel(is_cancelled);
        let parts = Arc::default();
        let results = Results { job: JobId(1), coordinator, runtime: runtime.handle().clone(), cancelled, parts };
        results.send(OperatorId(3), &rows())
    }

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap()
    }

    #[test]
    fn rows_arrive_as_a_stream_and_failures_name_the_cause() {
        let session = Arc::new(Session::default());
        send(Arc::clone(&session) as Arc<dyn CoordinatorLink>, false).unwrap();
        assert_eq!(*session.rows.lock().unwrap(), [rows()]);
        assert!(send(Arc::new(Gone), false).unwrap_err().to_string().contains("it cannot be reached: closed"));
        let slow = Arc::new(Slow::default());
        send(Arc::clone(&slow) as Arc<dyn CoordinatorLink>, false).unwrap();
        assert_eq!(*slow.0.lock().unwrap(), 3);
        assert!(send(Arc::new(Silent), true).unwrap_err().to_string().contains("job-1 is gone"));
    }
}

//! Parts of results that are fetched from this worker: each waits for whoever shows its ticket, and goes to them through a
//! short queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::result_ticket::ResultTicket;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Batches that wait for a client before its SELECT does.
const BATCHES_MAX: usize = 4;

/// How long a part waits for somebody to fetch it: clients fetch one part after the other, too.
const FETCH_PATIENCE: Duration = Duration::from_secs(300);

/// How long somebody who fetches waits for the part: its task may still have to start.
const OFFER_PATIENCE: Duration = Duration::from_secs(10);

/// The parts that nobody has fetched yet.
pub(crate) struct ResultParts {
    offered: Mutex<HashMap<ResultTicket, FetchedPart>>,
    has_more: Notify,
    fetch_patience: Duration,
    offer_patience: Duration,
}

impl Default for ResultParts {
    fn default() -> Self {
        Self::with_patience(FETCH_PATIENCE, OFFER_PATIENCE)
    }
}

/// What goes to whoever fetches a part.
#[derive(Debug)]
pub(crate) enum PartMessage {
    /// Rows.
    Rows(RecordBatch),
    /// There are no more: without this, what has come is not all.
    End,
}

/// A part that somebody fetches.
pub(crate) struct FetchedPart {
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// What comes of it.
    pub(crate) messages: mpsc::Receiver<PartMessage>,
}

/// The task's end of a part. Dropped, nobody can fetch it any more.
pub(crate) struct PartPort {
    parts: Arc<ResultParts>,
    ticket: ResultTicket,
    messages: mpsc::Sender<PartMessage>,
}

impl ResultParts {
    fn with_patience(fetch_patience: Duration, offer_patience: Duration) -> Self {
        Self { offered: Mutex::default(), has_more: Notify::new(), fetch_patience, offer_patience }
    }

    /// Offers a part.
    pub(crate) fn offer(self: &Arc<Self>, ticket: ResultTicket, schema: SchemaRef) -> PartPort {
        let (sender, messages) = mpsc::channel(BATCHES_MAX);
        self.offered().insert(ticket.clone(), FetchedPart { schema, messages });
        self.has_more.notify_waiters();
        PartPort { parts: Arc::clone(self), ticket, messages: sender }
    }

    /// Takes a part, once it is offered; nothing if it is not.
    pub(crate) async fn take(&self, ticket: &ResultTicket) -> Option<FetchedPart> {
        let offered = async {
            loop {
                let more = self.has_more.notified();
                tokio::pin!(more);
                // Before the look, so that what is offered behind it is noticed.
                more.as_mut().enable();
                if let Some(part) = self.offered().remove(ticket) {
                    return part;
                }
                more.await;
            }
        };
        timeout(self.offer_patience, offered).await.ok()
    }

    fn is_waiting(&self, ticket: &ResultTicket) -> bool {
        self.offered().contains_key(ticket)
    }

    fn offered(&self) -> MutexGuard<'_, HashMap<ResultTicket, FetchedPart>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartPort {
    /// Waits until there is room for rows. An error says who is gone.
    pub(crate) async fn send(&self, rows: RecordBatch) -> Result<(), String> {
        self.put(PartMessage::Rows(rows)).await
    }

    /// There are no more rows; waits until whoever fetches knows. An error says who is gone.
    pub(crate) async fn finish(&self) -> Result<(), String> {
        self.put(PartMessage::End).await?;
        self.while_wanted(self.messages.closed()).await
    }

    async fn put(&self, message: PartMessage) -> Result<(), String> {
        let place = self.while_wanted(self.messages.reserve()).await?;
        place.map_err(|_| String::from("the client that fetched a part of the result"))?.send(message);
        Ok(())
    }

    /// Waits for something, but not for ever while nobody fetches; somebody who does and is slow is back-pressure.
    async fn while_wanted<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        tokio::pin!(work);
        let patience = self.parts.fetch_patience;
        match timeout(patience, &mut work).await {
            Ok(done) => Ok(done),
            Err(_) if self.parts.is_waiting(&self.ticket) => {
                let part = self.ticket.part;
                Err(format!("whoever asked (nobody has fetched part {part} within {patience:?})"))
            }
            Err(_) => Ok(work.await),
        }
    }
}

impl Drop for PartPort {
    fn drop(&mut self) {
        self.parts.offered().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn ticket(part: u32) -> ResultTicket {
        ResultTicket { result: String::from("r"), part }
    }

    fn impatient() -> Arc<ResultParts> {
        let patience = Duration::from_millis(200);
        Arc::new(ResultParts::with_patience(patience, patience))
    }

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap()
    }

    #[tokio::test]
    async fn a_part_goes_to_whoever_has_its_ticket_and_only_once() {
        let parts = impatient();
        // Whoever is early waits.
        let early = {
            let parts = Arc::clone(&parts);
            async move { parts.take(&ticket(0)).await }
        };
        let offered = async {
            let port = parts.offer(ticket(0), rows().schema());
            for _ in 0..2 * BATCHES_MAX {
                port.send(rows()).await.unwrap();
            }
            port.finish().await.unwrap();
        };
        let fetched = async {
            let mut part = early.await.unwrap();
            let mut count = 0;
            while let Some(PartMessage::Rows(_)) = part.messages.recv().await {
                count += 1;
            }
            count
        };
        assert_eq!(tokio::join!(offered, fetched).1, 2 * BATCHES_MAX);
        assert!(parts.take(&ticket(0)).await.is_none());
    }

    #[tokio::test]
    async fn a_part_that_nobody_fetches_is_given_up() {
        let parts = impatient();
        let port = parts.offer(ticket(3), rows().schema());
        port.send(rows()).await.unwrap();
        let error = port.finish().await.unwrap_err();
        assert!(error.contains("part 3"), "{error}");
        drop(port);
        assert!(parts.offered().is_empty());
    }

    #[tokio::test]
    async fn a_task_whose_client_is_gone_is_told_and_a_client_whose_task_is_gone_gets_no_end() {
        let parts = Arc::new(ResultParts::default());
        let port = parts.offer(ticket(0), rows().schema());
        drop(parts.take(&ticket(0)).await.unwrap());
        assert!(port.send(rows()).await.unwrap_err().contains("client"));
        let port = parts.offer(ticket(1), rows().schema());
        let mut part = parts.take(&ticket(1)).await.unwrap();
        port.send(rows()).await.unwrap();
        drop(port);
        assert!(matches!(part.messages.recv().await, Some(PartMessage::Rows(_))));
        assert!(part.messages.recv().await.is_none());
    }
}

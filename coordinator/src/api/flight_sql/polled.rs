//! PollFlightInfo: a query as a whole runs from the first poll on, and each poll says how far it is.
//!
//! There is something to wait for until there are rows, or the query has ended: from then on its rows come as those of any
//! other, as fast as the client takes them. Who fetches before that waits for them there. What has rows at once, and
//! streams, which may have no end, are not begun by a poll.

use std::future::pending;
use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightInfo, PollInfo};
use prost::Message;
use prost::bytes::Bytes;
use tidemill_plans::batch::progress::{BatchProgress, Fraction};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;
use tonic::Status;

use crate::error::Result;

/// How long the first poll waits: whoever has little to do is done by then.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How long a later one waits for news.
const NEWS_WAIT: Duration = Duration::from_secs(5);

/// How long a query runs that nobody polls or fetches.
pub(super) const ABANDONED: Duration = Duration::from_secs(5 * 60);

/// A query that has begun before it is fetched.
#[derive(Clone)]
pub(super) struct Polled(Arc<Shared>);

struct Shared {
    /// What the last poll has seen of it, and what comes.
    told: Mutex<watch::Receiver<Told>>,
    /// Who fetches first takes them.
    rows: BlockingMutex<Option<mpsc::Receiver<Result<RecordBatch>>>>,
    interest: watch::Sender<Interest>,
}

/// What is known of a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    progress: BatchProgress,
    /// Whether it has rows, or has ended.
    is_ready: bool,
    /// Why it has failed.
    failed: Option<Status>,
}

/// Who wants the query to run.
#[derive(Debug, Clone, Copy, Default)]
struct Interest {
    polls: u64,
    /// From then on its end is that of whoever fetches.
    is_fetched: bool,
}

/// What a query says of itself.
#[derive(Debug, Clone)]
pub(super) struct Teller(Arc<watch::Sender<Told>>);

impl Teller {
    pub(super) fn progress(&self, progress: BatchProgress) {
        self.0.send_modify(|told| told.progress = progress);
    }

    /// It has rows, or has ended.
    pub(super) fn ready(&self) {
        self.0.send_if_modified(|told| !std::mem::replace(&mut told.is_ready, true));
    }

    pub(super) fn fail(&self, status: Status) {
        self.0.send_modify(|told| (told.is_ready, told.failed) = (true, Some(status)));
    }
}

impl Polled {
    /// A query whose rows come from there, and what it says of itself.
    pub(super) fn new(rows: mpsc::Receiver<Result<RecordBatch>>) -> (Self, Teller) {
        let (told, telling) = watch::channel(Told::default());
        let shared = Shared {
            told: Mutex::new(telling),
            rows: BlockingMutex::new(Some(rows)),
            interest: watch::channel(Interest::default()).0,
        };
        (Self(Arc::new(shared)), Teller(Arc::new(told)))
    }

    /// Its rows, for who fetches first.
    pub(super) fn rows(&self) -> Option<mpsc::Receiver<Result<RecordBatch>>> {
        self.0.interest.send_modify(|interest| interest.is_fetched = true);
        self.take_rows()
    }

    fn take_rows(&self) -> Option<mpsc::Receiver<Result<RecordBatch>>> {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Drops the rows when nobody has polled or fetched them for a while, which ends the query. Does not end itself.
    pub(super) fn end_if_abandoned(&self, after: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (shared, mut interest) = (Arc::downgrade(&self.0), self.0.interest.subscribe());
        async move {
            loop {
                if interest.borrow_and_update().is_fetched {
                    return pending().await;
                }
                match timeout(after, interest.changed()).await {
                    Ok(Ok(())) => {}
                    // Its handle is gone, and the rows with it, which ends it.
                    Ok(Err(_)) => return pending().await,
                    Err(_) => {
                        drop(shared.upgrade().and_then(|shared| Polled(shared).take_rows()));
                        return pending().await;
                    }
                }
            }
        }
    }

    /// How far it is, once there is news or a while has passed.
    pub(super) async fn poll(&self, is_first: bool) -> Told {
        self.0.interest.send_modify(|interest| interest.polls += 1);
        let mut told = self.0.told.lock().await;
        let waits = async {
            match is_first {
                true => drop(told.wait_for(|told| told.is_ready).await),
                false if !told.borrow().is_ready => drop(told.changed().await),
                false => {}
            }
        };
        // That it is gone is known by what it said last.
        let _ = timeout(if is_first { FIRST_WAIT } else { NEWS_WAIT }, waits).await;
        told.borrow_and_update().clone()
    }
}

/// The answer to a poll of a query with this handle.
pub(super) fn answer(told: Told, handle: &str, mut info: FlightInfo) -> Result<PollInfo, Status> {
    let Told { progress, is_ready, failed } = told;
    if let Some(status) = failed {
        return Err(status);
    }
    if is_ready {
        return Ok(complete(info));
    }
    let again = TicketStatementQuery { statement_handle: Bytes::from(handle.to_owned()) };
    // In words: that of the whole has warnings.
    info.endpoint.iter_mut().for_each(|endpoint| endpoint.app_metadata = Bytes::from(progress.to_string()));
    Ok(PollInfo {
        info: Some(info),
        flight_descriptor: Some(FlightDescriptor::new_cmd(again.as_any().encode_to_vec())),
        progress: progress.fraction.map(Fraction::value),
        expiration_time: None,
    })
}

/// The answer to a poll behind which there is nothing to wait for.
pub(super) fn complete(info: FlightInfo) -> PollInfo {
    PollInfo { info: Some(info), progress: Some(Fraction::WHOLE.value()), ..PollInfo::default() }
}

#[cfg(test)]
mod tests {
    use arrow_flight::FlightEndpoint;
    use futures::FutureExt;
    use tokio::task::JoinSet;

    use super::*;

    fn told(teller: &Teller, done: u64) {
        let fraction = Fraction::of(done, 4);
        teller.progress(BatchProgress { rows: done, fraction, ..BatchProgress::default() });
    }

    #[tokio::test]
    async fn polls_tell_what_is_new_until_there_are_rows() {
        let (_rows, received) = mpsc::channel(1);
        let (polled, teller) = Polled::new(received);
        told(&teller, 1);
        let info = || FlightInfo::new().with_endpoint(FlightEndpoint::new());
        let first = answer(polled.poll(true).await, "7-0", info()).unwrap();
        assert_eq!(first.progress, Some(0.25));
        assert_eq!(first.info.unwrap().endpoint[0].app_metadata, "rows 1  25%");
        let again = first.flight_descriptor.unwrap().cmd;
        assert_eq!(super::super::statement_of(&again).as_deref(), Some("7-0"));
        // The next one waits for what the first has not seen.
        let mut next = std::pin::pin!(polled.poll(false));
        assert!((&mut next).now_or_never().is_none());
        told(&teller, 2);
        assert_eq!(answer(next.await, "7-0", info()).unwrap().progress, Some(0.5));
        teller.ready();
        teller.ready();
        for _ in 0..2 {
            let last = answer(polled.poll(false).await, "7-0", info()).unwrap();
            assert_eq!((last.flight_descriptor, last.progress), (None, Some(1.0)));
            assert!(last.info.unwrap().endpoint[0].app_metadata.is_empty(), "nothing more is to be said");
        }
        assert!(polled.rows().is_some() && polled.rows().is_none(), "rows come once");
    }

    #[tokio::test]
    async fn a_query_that_fails_fails_its_poll() {
        let (polled, teller) = Polled::new(mpsc::channel(1).1);
        teller.fail(Status::invalid_argument("no"));
        let refused = answer(polled.poll(true).await, "7-0", FlightInfo::new()).unwrap_err();
        assert_eq!(refused.message(), "no");
    }

    #[tokio::test]
    async fn a_query_that_nobody_asks_for_has_nobody_for_its_rows() {
        let (rows, received) = mpsc::channel(1);
        let (polled, _teller) = Polled::new(received);
        let mut watching = JoinSet::new();
        watching.spawn(polled.end_if_abandoned(Duration::from_millis(10)));
        rows.closed().await;
        assert!(polled.rows().is_none(), "whoever comes now has it run again");
    }

    #[tokio::test]
    async fn whoever_fetches_may_take_as_long_as_they_like() {
        let (rows, received) = mpsc::channel(1);
        let (polled, _teller) = Polled::new(received);
        let _fetched = polled.rows().unwrap();
        let waited = timeout(Duration::from_millis(50), polled.end_if_abandoned(Duration::from_millis(1))).await;
        assert!(waited.is_err() && !rows.is_closed());
    }
}

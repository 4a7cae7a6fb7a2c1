//! Results that workers hand out, each its part: the job runs from when it is asked for, and its rows go past the
//! coordinator.

use arrow_flight::{FlightEndpoint, Ticket};
use tidemill_net::Address;
use tidemill_plans::protocol::StopMode;
use tidemill_plans::result_ticket::ResultTicket;
use tidemill_sql::JobStatement;
use tokio::sync::Mutex;

use super::stream::Cancellation;
use crate::access::{Who, random_text};
use crate::error::{CoordinatorError, Result};
use crate::handle::JobHandle;
use crate::limits::StatementPlace;
use crate::session::{Query, Reply, SqlSession};

/// A result on its workers.
pub(super) struct HandedOut {
    /// Its name, which the tickets of its parts have in common.
    pub(super) name: String,
    /// Where its parts are, in order.
    pub(super) endpoints: Vec<FlightEndpoint>,
}

impl HandedOut {
    /// Begins a SELECT whose result has parts; returns its job, too, which is to be watched.
    pub(super) async fn begin(
        statement: JobStatement,
        session: &Mutex<SqlSession>,
        who: &Who,
    ) -> Result<(Self, JobHandle)> {
        let name = random_text::<16>()?;
        let (begun, coordinator) = {
            let mut session = session.lock().await;
            (session.begin(statement.handed_out_as(name.clone()), who).await?, session.coordinator().clone())
        };
        let Reply::Query(Query { job, result, .. }) = begun else { return Err(CoordinatorError::Changed) };
        match coordinator.addresses_of(&job, result.operator).await {
            Ok(addresses) => {
                let parts = (0..).zip(&addresses);
                let endpoints = parts.map(|(part, address)| endpoint(&name, part, address)).collect();
                Ok((Self { name, endpoints }, job))
            }
            Err(error) => {
                job.stop(StopMode::Cancel).await?;
                Err(error)
            }
        }
    }
}

/// Waits until all has been fetched, or the statement is cancelled, or the job has failed: whoever fetches is told.
pub(super) async fn watch(job: JobHandle, cancellation: Cancellation, place: StatementPlace) {
    let mut cancelled = cancellation.subscribe();
    let is_cancelled = tokio::select! {
        _ = job.wait() => false,
        _ = cancelled.wait_for(|cancelled| *cancelled) => true,
    };
    if is_cancelled {
        // A job that is over by now cannot be stopped.
        let _ = job.stop(StopMode::Cancel).await;
        job.wait().await;
    }
    drop((cancelled, place));
}

/// Where a part is fetched, as Flight names it.
fn endpoint(result: &str, part: u32, address: &str) -> FlightEndpoint {
    let location = Address::from_url(address).map_or_else(|| address.to_owned(), |address| address.location());
    let ticket = ResultTicket { result: result.to_owned(), part };
    FlightEndpoint::new().with_ticket(Ticket { ticket: ticket.to_bytes().into() }).with_location(location)
}

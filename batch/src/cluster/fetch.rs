//! Pieces on their way from one worker to another, or to the coordinator, over Flight: the connections, and both ends of a
//! fetch.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, Ticket};
use datafusion::error::{DataFusionError, Result};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use thiserror::Error;
use tidemill_net::Connector;
use tidemill_plans::cluster_secret::{CLUSTER_SECRET_HEADER, ClusterSecret};
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::pieces::Piece;
use crate::error::innermost;
use crate::output::on_disk;

/// What a ticket for a piece begins with.
const PREFIX: &[u8] = b"tidemill.piece/";

/// How long a worker may take until it begins to send.
const BEGIN_LIMIT: Duration = Duration::from_secs(20);

/// How long it may be silent behind that.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// The largest message of rows: a batch may have one that is long.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// A piece is not there any more, or whoever has it is not.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Lost(String);

/// The error that pieces are lost.
pub(crate) fn lost(reason: String) -> DataFusionError {
    external(Lost(reason))
}

/// Fetches pieces from workers. It has a connection to each, which its fetches share.
#[derive(Default)]
pub(crate) struct Fetcher {
    connector: Connector,
    secret: Option<ClusterSecret>,
    /// Where connections live. They would end with the threads of the query that has made them.
    runtime: OnceLock<Handle>,
    channels: Mutex<HashMap<String, Channel>>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Reaches workers so, and shows them this.
    pub(crate) fn new(connector: Connector, secret: Option<ClusterSecret>) -> Self {
        Self { connector, secret, runtime: OnceLock::new(), channels: Mutex::default() }
    }

    /// Has connections live there. The first one to say so is heard.
    pub(crate) fn live_on(&self, runtime: Handle) {
        let _ = self.runtime.set(runtime);
    }

    /// The rows of a piece.
    pub(crate) async fn fetch(
        &self,
        worker: &str,
        address: &str,
        piece: &Piece,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let worker = worker.to_owned();
        let lost = |reason: String| lost(format!("what {worker} has cannot be fetched: {reason}"));
        let ticket = Ticket { ticket: ticket(piece)?.into() };
        let begun = match self.channel(address) {
            Ok(channel) => timeout(BEGIN_LIMIT, self.call(channel, ticket)).await,
            Err(reason) => return Err(lost(reason)),
        };
        let begun = begun.unwrap_or_else(|_| Err(format!("no answer within {BEGIN_LIMIT:?}")));
        let rows = begun.map_err(|reason| {
            // A connection that has failed may do so for ever.
            self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
            lost(reason)
        })?;
        let rows = futures::stream::try_unfold((rows, worker), async |(mut rows, worker)| {
            let lost = |reason: String| self::lost(format!("what {worker} has cannot be fetched: {reason}"));
            let next = timeout(SILENCE_LIMIT, rows.try_next()).await;
            let next = next.map_err(|_| lost(format!("nothing within {SILENCE_LIMIT:?}")))?;
            let next = next.map_err(|error| lost(chain(&error)))?;
            Ok(next.map(|batch| (batch, (rows, worker))))
        });
        Ok(rows.boxed())
    }

    async fn call(&self, channel: Channel, ticket: Ticket) -> Result<FlightRecordBatchStream, String> {
        let mut client = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut request = Request::new(ticket);
        if let Some(Ok(secret)) = self.secret.as_ref().map(|secret| secret.reveal().parse()) {
            request.metadata_mut().insert(CLUSTER_SECRET_HEADER, secret);
        }
        let data = client.do_get(request).await.map_err(|status| self.connector.reason(&status))?.into_inner();
        let data = data.map_err(|status| FlightError::Tonic(Box::new(status)));
        Ok(FlightRecordBatchStream::new_from_flight_data(data))
    }

    fn channel(&self, address: &str) -> Result<Channel, String> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let _entered = self.runtime.get().map(Handle::enter);
        let channel = self.connector.connect_lazy(&Connector::endpoint(address)?);
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

fn ticket(piece: &Piece) -> Result<Vec<u8>> {
    let piece = codec::encode(piece).map_err(external)?;
    Ok([PREFIX, &piece].concat())
}

/// The piece that a Flight ticket is for, if it is for one.
pub(crate) fn piece_of(ticket: &[u8]) -> Option<Piece> {
    codec::decode(ticket.strip_prefix(PREFIX)?).ok()
}

/// A piece in this folder, as Flight data.
pub(crate) async fn serve(
    piece: Piece,
    folder: PathBuf,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let rows = on_disk(move || piece.open(&folder)).await;
    let rows = rows.map_err(|error| Status::not_found(format!("there is no such piece: {error}")))?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
    let options = options.map_err(|error| Status::internal(error.to_string()))?;
    let encoder = FlightDataEncoderBuilder::new().with_schema(rows.schema()).with_options(options);
    let data = encoder.build(rows.map_err(|error| FlightError::ExternalError(Box::new(error))));
    Ok(data.map(|data| data.map_err(Status::from)).boxed())
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Whether an error is that a piece is lost.
pub(crate) fn is_lost(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(innermost(error));
    while let Some(error) = cause {
        if error.is::<Lost>() {
            return true;
        }
        cause = error.source();
    }
    false
}

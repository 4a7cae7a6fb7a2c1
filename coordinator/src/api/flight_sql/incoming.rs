//! Rows that a client sends, batch by batch.

use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use prost::bytes::Bytes;
use tidemill_plans::size::batch_bytes;
use tonic::Status;

/// Bytes of rows that are taken together.
const GROUP_BYTES: usize = 16 << 20;

/// A batch, and what its client says of it.
pub(super) type Arrived = (RecordBatch, Bytes);

/// The rows.
pub(super) struct Incoming {
    messages: FlightDataDecoder,
    columns: Option<SchemaRef>,
    /// The first batch, if it came before anybody asked.
    held: Option<Arrived>,
    /// How they have ended, if nobody has been told yet.
    ended: Option<Result<(), Status>>,
}

impl Incoming {
    pub(super) fn new(stream: impl Stream<Item = Result<FlightData, Status>> + Send + 'static) -> Self {
        // Some clients send the command alone, as a message without a header.
        let data = stream.try_filter(|data| futures::future::ready(!data.data_header.is_empty()));
        let messages = FlightDataDecoder::new(data.map_err(FlightError::from));
        Self { messages, columns: None, held: None, ended: None }
    }

    /// The columns; none if no message says so. No row is waited for.
    pub(super) async fn columns(&mut self) -> Result<SchemaRef, Status> {
        while self.columns.is_none() {
            match self.message().await? {
                Some((DecodedPayload::Schema(columns), _)) => self.columns = Some(columns),
                Some((DecodedPayload::RecordBatch(batch), said)) => {
                    self.columns = Some(batch.schema());
                    self.held = Some((batch, said));
                }
                Some((DecodedPayload::None, _)) => {}
                None => break,
            }
        }
        Ok(self.columns.clone().unwrap_or_else(|| Schema::empty().into()))
    }

    /// The next batch.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Status> {
        Ok(self.next_arrived().await?.map(|(batch, _)| batch))
    }

    async fn next_arrived(&mut self) -> Result<Option<Arrived>, Status> {
        let columns = self.columns().await?;
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        loop {
            match self.message().await? {
                Some((DecodedPayload::RecordBatch(batch), said)) => return Ok(Some((batch, said))),
                Some((DecodedPayload::Schema(others), _)) if others != columns => {
                    return Err(Status::invalid_argument("the columns have changed between two batches"));
                }
                Some((DecodedPayload::Schema(_) | DecodedPayload::None, _)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next batch, and those that have come by now.
    pub(super) async fn next_group(&mut self) -> Result<Option<Vec<Arrived>>, Status> {
        if let Some(ended) = self.ended.take() {
            return ended.map(|()| None);
        }
        let Some(first) = self.next_arrived().await? else { return Ok(None) };
        let mut bytes = batch_bytes(&first.0);
        let mut group = vec![first];
        while bytes < GROUP_BYTES {
            match self.next_arrived().now_or_never() {
                None => break,
                Some(Ok(Some(batch))) => {
                    bytes += batch_bytes(&batch.0);
                    group.push(batch);
                }
                Some(ended) => {
                    self.ended = Some(ended.map(|_| ()));
                    break;
                }
            }
        }
        Ok(Some(group))
    }

    async fn message(&mut self) -> Result<Option<(DecodedPayload, Bytes)>, Status> {
        // The library panics where a buffer is not inside its message.
        match AssertUnwindSafe(self.messages.next()).catch_unwind().await {
            Ok(next) => {
                let next = next.transpose().map_err(Status::from)?;
                Ok(next.map(|next| (next.payload, next.inner.app_metadata)))
            }
            Err(_) => Err(Status::invalid_argument("a message with rows does not hold what it says")),
        }
    }
}

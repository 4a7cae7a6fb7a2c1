//! Rows in, predictions out, on one connection: DoExchange with the path `["predict", model]`.
//!
//! No job runs for it, and no statement is planned. A request is a batch, its answer is the next batch that comes back;
//! the version of the model that has learnt most by then answers, which the coordinator has in memory.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{StreamExt, stream};
use tidemill_plans::codec::MESSAGE_BYTES_MAX;
use tokio::task::spawn_blocking;
use tonic::{Status, Streaming};

use super::super::flight::{Boxed, to_status};
use super::FlightSql;
use super::incoming::Incoming;
use crate::access::Who;
use crate::error::CoordinatorError;
use crate::limits::StatementPlace;
use crate::serving::AskedModel;

/// Rows from which on answering takes long enough to be another thread's work.
const FEW_ROWS: usize = 1024;

/// The first part of the path.
const PREDICT: &str = "predict";

/// A client and the model that it asks.
struct Exchange {
    incoming: Incoming,
    model: AskedModel,
    _place: StatementPlace,
}

impl FlightSql {
    /// Answers rows, batch by batch.
    pub(super) async fn exchange(&self, stream: Streaming<FlightData>, who: &Who) -> Result<Boxed<FlightData>, Status> {
        let mut stream = stream.peekable();
        let descriptor = match Pin::new(&mut stream).peek().await {
            Some(Ok(first)) => first.flight_descriptor.clone().unwrap_or_default(),
            Some(Err(status)) => return Err(status.clone()),
            None => return Err(other_path()),
        };
        let [what, model] = &descriptor.path[..] else { return Err(other_path()) };
        if what != PREDICT {
            return Err(other_path());
        }
        let place = self.statements.place(who)?;
        let asked = self.statements.session.lock().await.asked_model(model, who).await;
        let model = asked.map_err(|error| to_status(&error))?;
        let mut exchange = Exchange { incoming: Incoming::new(stream), model, _place: place };
        let given = exchange.incoming.columns().await?;
        let columns = exchange.model.current().and_then(|model| model.columns(&given));
        let columns = columns.map_err(|error| to_status(&error))?;
        let answers = stream::unfold(Some(exchange), async |exchange| {
            let mut exchange = exchange?;
            match exchange.answer().await {
                Ok(Some(answer)) => Some((Ok(answer), Some(exchange))),
                Ok(None) => None,
                Err(status) => Some((Err(FlightError::Tonic(Box::new(status))), None)),
            }
        });
        // One batch is one answer.
        let encoder = FlightDataEncoderBuilder::new().with_schema(columns).with_max_flight_data_size(MESSAGE_BYTES_MAX);
        Ok(Box::pin(encoder.build(answers).map(|data| data.map_err(Status::from))))
    }
}

impl Exchange {
    /// The answer to the next request.
    async fn answer(&mut self) -> Result<Option<RecordBatch>, Status> {
        let Some(rows) = self.incoming.next().await? else { return Ok(None) };
        if rows.num_rows() == 0 {
            // The library sends nothing for no rows, and whoever waits for the answer would do so for ever.
            return Err(Status::invalid_argument("a request without rows has no answer; send one row at least"));
        }
        let model = match self.model.current() {
            Ok(model) => model,
            refused => {
                self.model.note(&refused).await;
                refused.map_err(|error| to_status(&error))?
            }
        };
        let answer = match rows.num_rows() > FEW_ROWS {
            true => spawn_blocking(move || model.predict(&rows)).await.unwrap_or_else(|_| Err(lost())),
            false => model.predict(&rows),
        };
        answer.map(Some).map_err(|error| to_status(&error))
    }
}

fn lost() -> CoordinatorError {
    CoordinatorError::Lost { part: "prediction" }
}

fn other_path() -> Status {
    Status::invalid_argument("rows are exchanged for predictions: the path of the descriptor is [\"predict\", model]")
}

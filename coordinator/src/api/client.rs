//! SQL for a coordinator in another process.

use std::io::Cursor;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_plans::PlanError;
use tidemill_plans::codec::{self, MESSAGE_BYTES_MAX};
use tidemill_plans::error::chain;
use tidemill_plans::protocol::{EXECUTE_ACTION, ExecutePart, SUBMIT_PLAN_ACTION};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::SubmittedPlan;
use crate::error::{CoordinatorError, Result};

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How often a connection without traffic is tried, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A connection to a coordinator.
#[derive(Debug, Clone)]
pub struct SqlClient {
    pub(super) url: String,
    pub(super) client: FlightServiceClient<Channel>,
}

/// What statements come to, piece by piece.
#[derive(Debug)]
pub struct Answers {
    url: String,
    stream: Streaming<arrow_flight::Result>,
}

/// A piece of what a statement comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A message such as `CREATE SINK kept`.
    Message(String),
    /// Rows begin.
    Begin {
        /// Their columns.
        schema: SchemaRef,
        /// Whether they are shown as they come.
        is_live: bool,
    },
    /// Rows.
    Rows(Vec<RecordBatch>),
    /// The rows are complete.
    End,
}

impl SqlClient {
    /// Connects to `grpc://host:port`.
    pub async fn connect(url: &str) -> Result<Self> {
        let failed = |reason: String| CoordinatorError::Remote { url: url.to_owned(), reason };
        let Some(address) = url.strip_prefix("grpc://").or_else(|| url.strip_prefix("http://")) else {
            return Err(failed(String::from("no such address is known; grpc://127.0.0.1:50051 is one")));
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed(chain(&error)))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let channel = match tokio::time::timeout(CONNECT_LIMIT, endpoint.connect()).await {
            Ok(connected) => connected.map_err(|error| failed(chain(&error)))?,
            Err(_) => return Err(failed(format!("no answer within {CONNECT_LIMIT:?}"))),
        };
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { url: url.to_owned(), client })
    }

    /// Has statements executed; those in front of an error have taken effect.
    pub async fn execute(&mut self, sql: &str) -> Result<Answers> {
        let action = Action { r#type: EXECUTE_ACTION.to_owned(), body: sql.to_owned().into_bytes().into() };
        let answered = self.client.do_action(action).await;
        let stream = answered.map_err(|status| refused(&self.url, &status))?.into_inner();
        Ok(Answers { url: self.url.clone(), stream })
    }

    /// Has a plan run, a JSON document.
    pub async fn submit_plan(&mut self, json: &str) -> Result<SubmittedPlan> {
        let action = Action { r#type: SUBMIT_PLAN_ACTION.to_owned(), body: json.to_owned().into_bytes().into() };
        let answered = self.client.do_action(action).await;
        let mut stream = answered.map_err(|status| refused(&self.url, &status))?.into_inner();
        let answer = stream.message().await.map_err(|status| refused(&self.url, &status))?;
        let read = answer.as_ref().map(|answer| serde_json::from_slice(&answer.body));
        let wrong = |reason: String| CoordinatorError::Remote { url: self.url.clone(), reason };
        let read = read.ok_or_else(|| wrong(String::from("it has said nothing of the job")))?;
        read.map_err(|error| wrong(format!("its answer cannot be read: {error}")))
    }
}

impl Answers {
    /// The next piece; nothing behind the last one.
    pub async fn next(&mut self) -> Result<Option<Answer>> {
        let message = self.stream.message().await.map_err(|status| refused(&self.url, &status))?;
        let Some(message) = message else { return Ok(None) };
        Ok(Some(match codec::decode(&message.body)? {
            ExecutePart::Message(text) => Answer::Message(text),
            ExecutePart::Begin { ipc, is_live } => Answer::Begin { schema: reader(ipc)?.schema(), is_live },
            ExecutePart::Rows(ipc) => {
                let batches: std::result::Result<_, _> = reader(ipc)?.collect();
                Answer::Rows(batches.map_err(PlanError::from)?)
            }
            ExecutePart::End => Answer::End,
        }))
    }
}

fn reader(ipc: Vec<u8>) -> Result<StreamReader<Cursor<Vec<u8>>>> {
    Ok(StreamReader::try_new(Cursor::new(ipc), None).map_err(PlanError::from)?)
}

fn refused(url: &str, status: &tonic::Status) -> CoordinatorError {
    CoordinatorError::Remote { url: url.to_owned(), reason: status.message().to_owned() }
}

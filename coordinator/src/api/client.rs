//! SQL for a coordinator in another process.

use std::error::Error;
use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_net::{Address, Connector};
use tidemill_plans::PlanError;
use tidemill_plans::codec::{self, MESSAGE_BYTES_MAX};
use tidemill_plans::protocol::{EXECUTE_ACTION, ExecutePart, SUBMIT_PLAN_ACTION};
use tonic::Streaming;
use tonic::transport::Channel;

use super::SubmittedPlan;
use crate::error::{CoordinatorError, Result};

/// A connection to a coordinator.
#[derive(Debug, Clone)]
pub struct SqlClient {
    pub(super) url: String,
    pub(super) connector: Connector,
    pub(super) client: FlightServiceClient<Channel>,
}

/// What statements come to, piece by piece.
#[derive(Debug)]
pub struct Answers {
    url: String,
    connector: Connector,
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
    /// Connects to `grpc://host:port`, or with TLS to `grpc+tls://host:port`.
    pub async fn connect(url: &str, connector: &Connector) -> Result<Self> {
        let failed = |reason: String| CoordinatorError::Remote { url: url.to_owned(), reason };
        let Some(address) = Address::from_url(url) else {
            let known = "no such address is known; grpc://127.0.0.1:50051 is one, and grpc+tls://HOST:PORT with TLS";
            return Err(failed(String::from(known)));
        };
        let endpoint = Connector::endpoint(&address.to_string()).map_err(failed)?;
        let channel = connector.connect(&endpoint).await.map_err(failed)?;
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { url: url.to_owned(), connector: connector.clone(), client })
    }

    /// Has statements executed; those in front of an error have taken effect.
    pub async fn execute(&mut self, sql: &str) -> Result<Answers> {
        let action = Action { r#type: EXECUTE_ACTION.to_owned(), body: sql.to_owned().into_bytes().into() };
        let answered = self.client.do_action(action).await;
        let stream = answered.map_err(|status| refused(&self.url, &self.connector, &status))?.into_inner();
        Ok(Answers { url: self.url.clone(), connector: self.connector.clone(), stream })
    }

    /// Has a plan run, a JSON document.
    pub async fn submit_plan(&mut self, json: &str) -> Result<SubmittedPlan> {
        let action = Action { r#type: SUBMIT_PLAN_ACTION.to_owned(), body: json.to_owned().into_bytes().into() };
        let answered = self.client.do_action(action).await;
        let mut stream = answered.map_err(|status| refused(&self.url, &self.connector, &status))?.into_inner();
        let answer = stream.message().await.map_err(|status| refused(&self.url, &self.connector, &status))?;
        let read = answer.as_ref().map(|answer| serde_json::from_slice(&answer.body));
        let wrong = |reason: String| CoordinatorError::Remote { url: self.url.clone(), reason };
        let read = read.ok_or_else(|| wrong(String::from("it has said nothing of the job")))?;
        read.map_err(|error| wrong(format!("its answer cannot be read: {error}")))
    }
}

impl Answers {
    /// The next piece; nothing behind the last one.
    pub async fn next(&mut self) -> Result<Option<Answer>> {
        let message = self.stream.message().await.map_err(|status| refused(&self.url, &self.connector, &status))?;
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

fn refused(url: &str, connector: &Connector, status: &tonic::Status) -> CoordinatorError {
    let mut reason = connector.reason(status);
    // It is the connection that has failed. Whoever speaks plainly to TLS is not told why.
    if status.source().is_some() && Address::from_url(url).is_some_and(|address| !address.has_tls) {
        reason.push_str("; if TLS is spoken there, the URL is grpc+tls://HOST:PORT");
    }
    CoordinatorError::Remote { url: url.to_owned(), reason }
}

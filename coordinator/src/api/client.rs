//! SQL for a coordinator in another process.

use std::error::Error;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, HandshakeRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::stream;
use tidemill_net::{Address, Connector};
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::codec::{self, MESSAGE_BYTES_MAX};
use tidemill_plans::error::chain;
use tidemill_plans::ipc;
use tidemill_plans::protocol::{EXECUTE_ACTION, ExecutePart, PROGRESS_HEADER, SUBMIT_PLAN_ACTION};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::SubmittedPlan;
use super::flight::AUTHORIZATION;
use crate::error::{CoordinatorError, Result};

/// How long it may take to log in.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a coordinator.
#[derive(Debug, Clone)]
pub struct SqlClient {
    pub(super) url: String,
    pub(super) connector: Connector,
    pub(super) client: FlightServiceClient<Channel>,
    /// What says who uses it, if the coordinator has users.
    pub(super) authorization: Option<MetadataValue<Ascii>>,
}

/// Who uses a connection.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// What only that one knows.
    pub password: String,
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
    /// How far a query as a whole is.
    Progress(BatchProgress),
}

impl SqlClient {
    /// Connects to `grpc://host:port`, or with TLS to `grpc+tls://host:port`, and logs in if the coordinator has users.
    pub async fn connect(url: &str, connector: &Connector, login: Option<Login>) -> Result<Self> {
        let mut client = Self::open(url, connector).await?;
        if let Some(login) = login {
            client.log_in(&login).await?;
        }
        Ok(client)
    }

    async fn open(url: &str, connector: &Connector) -> Result<Self> {
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
        Ok(Self { url: url.to_owned(), connector: connector.clone(), client, authorization: None })
    }

    /// Gets a token, which is what is shown from then on.
    async fn log_in(&mut self, login: &Login) -> Result<()> {
        let failed = |reason: String| CoordinatorError::Remote { url: self.url.clone(), reason };
        let credentials = BASE64_STANDARD.encode(format!("{}:{}", login.user, login.password));
        let basic = MetadataValue::try_from(format!("Basic {credentials}")).map_err(|error| failed(chain(&error)))?;
        let mut request = Request::new(stream::iter([HandshakeRequest::default()]));
        request.metadata_mut().insert(AUTHORIZATION, basic);
        let answered = tokio::time::timeout(LOGIN_LIMIT, self.client.clone().handshake(request)).await;
        let answered = answered.map_err(|_| failed(format!("no answer to the login within {LOGIN_LIMIT:?}")))?;
        let answer = answered.map_err(|status| refused(&self.url, &self.connector, &status))?;
        let token = answer.metadata().get(AUTHORIZATION).cloned();
        self.authorization = Some(token.ok_or_else(|| failed(String::from("it has given no token")))?);
        Ok(())
    }

    /// Has a request say who asks.
    pub(super) fn authorize<T>(&self, request: &mut Request<T>) {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert(AUTHORIZATION, authorization.clone());
        }
    }

    async fn act(&mut self, mut action: Request<Action>) -> Result<Streaming<arrow_flight::Result>> {
        self.authorize(&mut action);
        let answered = self.client.do_action(action).await;
        Ok(answered.map_err(|status| refused(&self.url, &self.connector, &status))?.into_inner())
    }

    /// Has statements executed; those in front of an error have taken effect. It may be told how far queries are.
    pub async fn execute(&mut self, sql: &str, hears: bool) -> Result<Answers> {
        let mut action = action(EXECUTE_ACTION, sql);
        if hears {
            action.metadata_mut().insert(PROGRESS_HEADER, MetadataValue::from_static("yes"));
        }
        let stream = self.act(action).await?;
        Ok(Answers { url: self.url.clone(), connector: self.connector.clone(), stream })
    }

    /// Has a plan run, a JSON document.
    pub async fn submit_plan(&mut self, json: &str) -> Result<SubmittedPlan> {
        let mut stream = self.act(action(SUBMIT_PLAN_ACTION, json)).await?;
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
            ExecutePart::Begin { ipc, is_live } => Answer::Begin { schema: ipc::decode(ipc)?.schema, is_live },
            ExecutePart::Rows(ipc) => Answer::Rows(ipc::decode(ipc)?.batches),
            ExecutePart::End => Answer::End,
            ExecutePart::Progress(progress) => Answer::Progress(progress),
        }))
    }
}

fn action(kind: &str, body: &str) -> Request<Action> {
    Request::new(Action { r#type: kind.to_owned(), body: body.to_owned().into_bytes().into() })
}

fn refused(url: &str, connector: &Connector, status: &tonic::Status) -> CoordinatorError {
    let mut reason = connector.reason(status);
    // It is the connection that has failed. Whoever speaks plainly to TLS is not told why.
    if status.source().is_some() && Address::from_url(url).is_some_and(|address| !address.has_tls) {
        reason.push_str("; if TLS is spoken there, the URL is grpc+tls://HOST:PORT");
    }
    CoordinatorError::Remote { url: url.to_owned(), reason }
}

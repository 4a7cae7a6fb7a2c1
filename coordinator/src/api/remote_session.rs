//! A session at a coordinator in another process, by Flight SQL: what it sets lasts, and what runs can be cancelled.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetTables, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{Action, CancelFlightInfoRequest, FlightDescriptor, FlightInfo, IpcMessage, PollInfo, Ticket};
use futures::TryStreamExt;
use prost::Message;
use tidemill_net::Connector;
use tidemill_plans::PlanError;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, IntoRequest, Request, Status};

use super::client::{Login, SqlClient};
use super::flight_sql::{CANCEL_FLIGHT_INFO, LIVE};
use crate::error::{CoordinatorError, Result};

/// A session, which a cookie names.
#[derive(Debug, Clone)]
pub struct RemoteSession {
    client: SqlClient,
    cookie: Option<AsciiMetadataValue>,
}

/// What a text has come to, and the rows of it that are on their way.
pub struct RemoteRows {
    /// The columns.
    pub schema: SchemaRef,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Whether rows come as they are known, for there may be no end.
    pub is_live: bool,
    session: RemoteSession,
    info: FlightInfo,
    rows: FlightRecordBatchStream,
    /// What is polled next.
    polled: Option<FlightDescriptor>,
}

/// How far a statement is.
pub struct Polled {
    words: String,
    next: FlightDescriptor,
}

impl RemoteSession {
    /// Begins a session at `grpc://host:port`, or `grpc+tls://host:port`.
    pub async fn connect(url: &str, connector: &Connector, login: Option<Login>) -> Result<Self> {
        let mut session = Self { client: SqlClient::connect(url, connector, login).await?, cookie: None };
        // A client that sends no cookie has no session: the first answer has one.
        session.info(CommandGetCatalogs {}.as_any().encode_to_vec()).await?;
        Ok(session)
    }

    /// Has a text executed, of which the last statement alone may have rows. Statements without rows are carried out by
    /// then, and the rows are what they say.
    pub async fn query(&mut self, sql: &str) -> Result<RemoteRows> {
        let info = self.info(command(sql)).await?;
        self.fetch(info).await
    }

    /// The same, of which it can be told how far it is.
    pub async fn query_told(&mut self, sql: &str) -> Result<RemoteRows> {
        let polled = self.poll(FlightDescriptor::new_cmd(command(sql))).await?;
        let rows = self.fetch(polled.info.unwrap_or_default()).await?;
        Ok(RemoteRows { polled: polled.flight_descriptor, ..rows })
    }

    /// The objects that rows can be read from or written to, with their columns.
    pub async fn tables(&mut self) -> Result<Vec<(String, SchemaRef)>> {
        let wanted = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
        let info = self.info(wanted.as_any().encode_to_vec()).await?;
        let mut rows = self.fetch(info).await?;
        let mut tables = Vec::new();
        while let Some(batch) = rows.next().await? {
            let (names, schemas) = (batch.column_by_name("table_name"), batch.column_by_name("table_schema"));
            let Some((names, schemas)) = names.zip(schemas) else { continue };
            let (names, schemas) = (names.as_string_opt::<i32>(), schemas.as_binary_opt::<i32>());
            for (name, schema) in names.into_iter().flatten().zip(schemas.into_iter().flatten()) {
                let Some((name, schema)) = name.zip(schema) else { continue };
                let schema = Schema::try_from(IpcMessage(schema.to_vec().into())).map_err(PlanError::from)?;
                tables.push((name.to_owned(), Arc::new(schema)));
            }
        }
        Ok(tables)
    }

    async fn info(&mut self, command: Vec<u8>) -> Result<FlightInfo> {
        let request = self.request(FlightDescriptor::new_cmd(command));
        let answer = self.client.client.get_flight_info(request).await.map_err(|status| self.refused(&status))?;
        self.take_cookie(answer.metadata());
        Ok(answer.into_inner())
    }

    async fn poll(&mut self, descriptor: FlightDescriptor) -> Result<PollInfo> {
        let request = self.request(descriptor);
        let answer = self.client.client.poll_flight_info(request).await.map_err(|status| self.refused(&status))?;
        self.take_cookie(answer.metadata());
        Ok(answer.into_inner())
    }

    async fn fetch(&mut self, info: FlightInfo) -> Result<RemoteRows> {
        let endpoint = info.endpoint.first().cloned().unwrap_or_default();
        let request = self.request(endpoint.ticket.unwrap_or_else(|| Ticket::new(Vec::new())));
        let answer = self.client.client.do_get(request).await.map_err(|status| self.refused(&status))?;
        self.take_cookie(answer.metadata());
        let warnings = String::from_utf8_lossy(&info.app_metadata).lines().map(str::to_owned).collect();
        Ok(RemoteRows {
            schema: Arc::new(info.clone().try_decode_schema().map_err(PlanError::from)?),
            warnings,
            is_live: endpoint.app_metadata == LIVE,
            session: self.clone(),
            info,
            polled: None,
            rows: FlightRecordBatchStream::new_from_flight_data(answer.into_inner().map_err(FlightError::from)),
        })
    }

    fn request<T>(&self, message: impl IntoRequest<T>) -> Request<T> {
        let mut request = message.into_request();
        self.client.authorize(&mut request);
        if let Some(cookie) = &self.cookie {
            request.metadata_mut().insert("cookie", cookie.clone());
        }
        request
    }

    fn take_cookie(&mut self, metadata: &MetadataMap) {
        let set = metadata.get("set-cookie").and_then(|value| value.to_str().ok());
        let cookie = set.and_then(|set| set.split(';').next()).and_then(|cookie| cookie.parse().ok());
        self.cookie = cookie.or(self.cookie.take());
    }

    /// What is wrong with a statement is told as if it were executed here; else where it was to be executed is told too.
    fn refused(&self, status: &Status) -> CoordinatorError {
        let message = status.message().to_owned();
        match status.code() {
            Code::Cancelled => CoordinatorError::Cancelled,
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::NotFound
            | Code::AlreadyExists
            | Code::Unimplemented
            | Code::FailedPrecondition
            | Code::Aborted => CoordinatorError::Statement { message },
            _ => CoordinatorError::Remote { url: self.client.url.clone(), reason: message },
        }
    }
}

impl RemoteRows {
    /// The next rows; nothing behind the last ones.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.rows.try_next().await.map_err(|error| match error {
            FlightError::Tonic(status) => self.session.refused(&status),
            other => CoordinatorError::Remote { url: self.session.client.url.clone(), reason: other.to_string() },
        })
    }

    /// Asks how far the statement is, in words; nothing if there is nothing to wait for any more.
    pub fn poll(&mut self) -> Option<impl Future<Output = Option<Polled>> + use<>> {
        let (descriptor, mut session) = (self.polled.take()?, self.session.clone());
        Some(async move {
            // If something is wrong, the rows say so.
            let polled = session.poll(descriptor).await.ok()?;
            let endpoints = polled.info.unwrap_or_default().endpoint;
            let words = endpoints.first().map(|one| String::from_utf8_lossy(&one.app_metadata).into_owned());
            Some(Polled { words: words.unwrap_or_default(), next: polled.flight_descriptor? })
        })
    }

    /// Takes an answer to a poll, behind which there is another; what it says.
    pub fn take_polled(&mut self, polled: Polled) -> String {
        self.polled = Some(polled.next);
        polled.words
    }

    /// Has the statement cancelled; its rows, which are to be read on, end with [`CoordinatorError::Cancelled`] then.
    pub fn cancel(&self) -> impl Future<Output = Result<()>> + use<> {
        let body = CancelFlightInfoRequest::new(self.info.clone()).encode_to_vec();
        let session = self.session.clone();
        async move {
            let request = session.request(Action::new(CANCEL_FLIGHT_INFO, body));
            let mut client = session.client.client.clone();
            let answer = client.do_action(request).await.map_err(|status| session.refused(&status))?;
            answer.into_inner().message().await.map_err(|status| session.refused(&status))?;
            Ok(())
        }
    }
}

/// A text as a command of Flight SQL.
fn command(sql: &str) -> Vec<u8> {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }.as_any().encode_to_vec()
}

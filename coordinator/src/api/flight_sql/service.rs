//! The requests of Flight SQL, one by one, as arrow-flight's service has them.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionCreatePreparedSubstraitPlanRequest, ActionEndSavepointRequest, ActionEndTransactionRequest, Any, Command,
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementSubstraitPlan, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{Action, ActionType, FlightData, FlightDescriptor, FlightInfo, Ticket};
use futures::stream;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::super::flight::{Boxed, to_status};
use super::super::jobs;
use super::client::Client;
use super::incoming::Incoming;
use super::prepared::Prepared;
use super::session_options::{
    CloseSessionResult, GetSessionOptionsResult, OptionValue, SetSessionOptionsRequest, SetSessionOptionsResult,
};
use super::{FlightSql, catalog, flight_info, known, sql_info, stream as rows, undecodable};

pub(in super::super) const CREATE_PREPARED_SUBSTRAIT_PLAN: &str = "CreatePreparedSubstraitPlan";
pub(in super::super) const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
const SET_SESSION_OPTIONS: &str = "SetSessionOptions";
const GET_SESSION_OPTIONS: &str = "GetSessionOptions";
pub(in super::super) const CLOSE_SESSION: &str = "CloseSession";

/// The actions that are served here, and what each does.
pub(in super::super) const ACTIONS: &[(&str, &str)] = &[
    ("CreatePreparedStatement", "Reads a statement, which may have parameters."),
    (CREATE_PREPARED_SUBSTRAIT_PLAN, "Reads a plan in Substrait, which has no parameters."),
    ("ClosePreparedStatement", "Forgets a prepared statement."),
    ("CancelQuery", "Ends a statement; CancelFlightInfo is its successor."),
    (CANCEL_FLIGHT_INFO, "Ends a statement."),
    (SET_SESSION_OPTIONS, "Sets settings of the session that the client's cookie names."),
    (GET_SESSION_OPTIONS, "Tells the settings of the session."),
    (CLOSE_SESSION, "Forgets the settings of the session, and has the token that comes with it hold no more."),
];

pub(super) const NO_TRANSACTIONS: &str = "transactions are not supported: each statement takes effect by itself, and what jobs \
                               write appears with their checkpoints";

type Info = Result<Response<FlightInfo>, Status>;
type Data = Result<Response<Boxed<FlightData>>, Status>;

/// The client of a request, as the endpoint has noted it.
fn client_of<T>(request: &Request<T>) -> Result<Client, Status> {
    request.extensions().get::<Client>().cloned().ok_or_else(|| Status::internal("the request has no client"))
}

/// Tells where rows about the server are to be fetched: by the command itself.
fn described(schema: &Schema, request: Request<FlightDescriptor>) -> Info {
    let descriptor = request.into_inner();
    Ok(Response::new(flight_info(schema, descriptor.cmd.clone(), descriptor)?))
}

fn answered<E: Into<Status>>(batch: Result<RecordBatch, E>) -> Data {
    Ok(Response::new(rows::of_rows(batch.map_err(Into::into)?)))
}

fn none(schema: SchemaRef) -> Data {
    Ok(Response::new(rows::of_rows(RecordBatch::new_empty(schema))))
}

/// The columns of rows about the server.
pub(super) fn schema_of(command: &Command) -> Option<Schema> {
    let schema = match command {
        Command::CommandGetCatalogs(query) => query.into_builder().schema(),
        Command::CommandGetDbSchemas(query) => query.clone().into_builder().schema(),
        Command::CommandGetTables(query) => query.clone().into_builder().schema(),
        Command::CommandGetTableTypes(_) => catalog::table_type_columns(),
        Command::CommandGetPrimaryKeys(_) => catalog::primary_key_columns(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => catalog::foreign_key_columns(),
        Command::CommandGetSqlInfo(_) => sql_info::sql_info().ok()?.schema(),
        Command::CommandGetXdbcTypeInfo(_) => sql_info::types().ok()?.schema(),
        _ => return None,
    };
    Some(schema.as_ref().clone())
}

/// The answer to a request about the server, which the command `$query` is.
macro_rules! info {
    ($command:ident, $query:expr, $request:expr) => {{
        let schema = schema_of(&Command::$command($query)).unwrap_or_else(Schema::empty);
        described(&schema, $request)
    }};
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let client = client_of(&request)?;
        let texts = self.read(&query.query)?.bound().map_err(|error| super::to_status(&error))?;
        Ok(Response::new(self.execute(texts, &client, request.into_inner()).await?))
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let client = client_of(&request)?;
        let texts = self.prepared(&query.prepared_statement_handle, &client)?.bound();
        let texts = texts.map_err(|error| super::to_status(&error))?;
        Ok(Response::new(self.execute(texts, &client, request.into_inner()).await?))
    }

    async fn get_flight_info_substrait_plan(
        &self,
        query: CommandStatementSubstraitPlan,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let client = client_of(&request)?;
        let texts = vec![self.read_plan(query.plan)?.statements];
        Ok(Response::new(self.execute(texts, &client, request.into_inner()).await?))
    }

    async fn do_put_substrait_plan(
        &self,
        query: CommandStatementSubstraitPlan,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let client = client_of(&request)?;
        self.update(vec![self.read_plan(query.plan)?.statements], &client).await
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        query: ActionCreatePreparedSubstraitPlanRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        self.prepare(self.read_plan(query.plan)?, &client_of(&request)?).await
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Data {
        let client = client_of(&request)?;
        let pending = self.pending(&ticket.statement_handle, &client)?;
        let rows = self.statements.fetch(pending, client.who()).map_err(|error| super::to_status(&error))?;
        Ok(Response::new(rows))
    }

    async fn do_put_statement_update(
        &self,
        query: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let client = client_of(&request)?;
        let texts = self.read(&query.query)?.bound().map_err(|error| super::to_status(&error))?;
        self.update(texts, &client).await
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let client = client_of(&request)?;
        self.ingest(command, Incoming::new(request.into_inner()), &client).await
    }

    async fn do_put_fallback(
        &self,
        request: Request<PeekableFlightDataStream>,
        command: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        if !command.type_url.is_empty() {
            return Err(Status::unimplemented(format!("DoPut of {} is not served here", command.type_url)));
        }
        let client = client_of(&request)?;
        let mut stream = request.into_inner();
        let descriptor = match stream.peek().await {
            Some(Ok(first)) => first.flight_descriptor.clone().unwrap_or_default(),
            _ => FlightDescriptor::default(),
        };
        Ok(Response::new(self.push(&descriptor.path, Incoming::new(stream), client.who()).await?))
    }

    async fn do_exchange_fallback(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<<Self as FlightService>::DoExchangeStream>, Status> {
        let client = client_of(&request)?;
        Ok(Response::new(self.exchange(request.into_inner(), client.who()).await?))
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(Status::invalid_argument(format!("{error}: the first message says what the rows are for")))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        self.prepare(self.read(&query.query)?, &client_of(&request)?).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let client = client_of(&request)?;
        known(&query.prepared_statement_handle).and_then(|handle| self.prepared.remove(client.owner(), handle));
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let (handle, client) = (query.prepared_statement_handle, client_of(&request)?);
        let prepared = self.prepared(&handle, &client)?;
        let values = self.receive(request.into_inner(), &client).await?;
        if let Some(known) = known(&handle) {
            self.keep_prepared(&client, known, Prepared { values, ..prepared })?;
        }
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let client = client_of(&request)?;
        let mut prepared = self.prepared(&query.prepared_statement_handle, &client)?;
        // The values come with the request, or have come before it.
        if let Some(values) = self.receive(request.into_inner(), &client).await? {
            prepared.values = Some(values);
        }
        self.update(prepared.bound().map_err(|error| super::to_status(&error))?, &client).await
    }

    async fn get_flight_info_catalogs(&self, query: CommandGetCatalogs, request: Request<FlightDescriptor>) -> Info {
        info!(CommandGetCatalogs, query, request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _: Request<Ticket>) -> Data {
        answered(catalog::catalogs(query))
    }

    async fn get_flight_info_schemas(&self, query: CommandGetDbSchemas, request: Request<FlightDescriptor>) -> Info {
        info!(CommandGetDbSchemas, query, request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, _: Request<Ticket>) -> Data {
        answered(catalog::schemas(query))
    }

    async fn get_flight_info_tables(&self, query: CommandGetTables, request: Request<FlightDescriptor>) -> Info {
        info!(CommandGetTables, query, request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Data {
        let tables = self.tables(&client_of(&request)?).await?;
        answered(catalog::tables(query, &tables))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Info {
        info!(CommandGetTableTypes, query, request)
    }

    async fn do_get_table_types(&self, _: CommandGetTableTypes, _: Request<Ticket>) -> Data {
        answered(catalog::table_types())
    }

    async fn get_flight_info_sql_info(&self, query: CommandGetSqlInfo, request: Request<FlightDescriptor>) -> Info {
        info!(CommandGetSqlInfo, query, request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _: Request<Ticket>) -> Data {
        answered(query.into_builder(&sql_info::sql_info().map_err(Status::from)?).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Info {
        info!(CommandGetXdbcTypeInfo, query, request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> Data {
        answered(query.into_builder(&sql_info::types().map_err(Status::from)?).build())
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        info!(CommandGetPrimaryKeys, query, request)
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> Data {
        let tables = self.tables(&client_of(&request)?).await?;
        answered(catalog::primary_keys(&query, &tables))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        info!(CommandGetExportedKeys, query, request)
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> Data {
        none(catalog::foreign_key_columns())
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        info!(CommandGetImportedKeys, query, request)
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> Data {
        none(catalog::foreign_key_columns())
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Info {
        info!(CommandGetCrossReference, query, request)
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, _: Request<Ticket>) -> Data {
        none(catalog::foreign_key_columns())
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let client = client_of(&request)?;
        let info = FlightInfo::decode(query.info).map_err(|error| undecodable(&error))?;
        // The two actions count alike.
        Ok(ActionCancelQueryResult { result: self.cancel(&info, &client).await? as i32 })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let client = client_of(&request)?;
        let Action { r#type: kind, body } = request.into_inner();
        let result = match kind.as_str() {
            CANCEL_FLIGHT_INFO => self.cancel_flight_info(&body, &client).await?,
            SET_SESSION_OPTIONS => set_options(&body, &client)?,
            GET_SESSION_OPTIONS => get_options(&client)?,
            CLOSE_SESSION => {
                client.close();
                CloseSessionResult::CLOSED.encode_to_vec()
            }
            other => match jobs::act(&self.statements.session, other, &body, client.who()).await {
                Some(answer) => answer.map_err(|error| to_status(&error))?.to_string().into_bytes(),
                None => {
                    let message = format!("there is no action '{other}' here; ListActions has all");
                    return Err(Status::unimplemented(message));
                }
            },
        };
        let result = arrow_flight::Result { body: result.into() };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        None
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_end_transaction(
        &self,
        _: ActionEndTransactionRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_end_savepoint(&self, _: ActionEndSavepointRequest, _: Request<Action>) -> Result<(), Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

impl FlightSql {
    /// Prepares a plan in Substrait. arrow-flight's own service (59.3) answers with nothing.
    pub(in super::super) async fn create_prepared_plan(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let body = Any::decode(&*request.get_ref().body).map_err(|error| undecodable(&error))?;
        let plan: Option<ActionCreatePreparedSubstraitPlanRequest> =
            body.unpack().map_err(|error| Status::invalid_argument(error.to_string()))?;
        let plan = plan.ok_or_else(|| Status::invalid_argument("the action's body is of another message"))?;
        let prepared = self.do_action_create_prepared_substrait_plan(plan, request).await?;
        let result = arrow_flight::Result { body: prepared.as_any().encode_to_vec().into() };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }
}

fn set_options(body: &[u8], client: &Client) -> Result<Vec<u8>, Status> {
    let request = SetSessionOptionsRequest::decode(body).map_err(|error| undecodable(&error))?;
    // In the order of their names: a later one may be the one that is wrong.
    let options: BTreeMap<String, OptionValue> = request.session_options.into_iter().collect();
    let set = options.iter().map(|(name, value)| (name, client.set_option(name, value)));
    let errors = set.filter_map(|(name, set)| Some((name.clone(), set.err()?.into()))).collect();
    Ok(SetSessionOptionsResult { errors }.encode_to_vec())
}

fn get_options(client: &Client) -> Result<Vec<u8>, Status> {
    let options = client.options()?.into_iter().map(|(name, value)| (name, OptionValue::from(value.as_str())));
    Ok(GetSessionOptionsResult { session_options: options.collect() }.encode_to_vec())
}

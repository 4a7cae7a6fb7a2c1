//! A plain Flight SQL server of the arrow-flight crate, for `flight_sql.py`: whatever the statement, it answers with rows
//! that are in memory. Takes how many; prints its port, and serves until it is killed.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "whoever starts it reads its port, or why it has none")]

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Rows of a batch, as `flight_sql.py` has them.
const BATCH_ROWS: i64 = 65_536;

struct Plain(Vec<RecordBatch>);

#[tonic::async_trait]
impl FlightSqlService for Plain {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        _: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = TicketStatementQuery::default().as_any().encode_to_vec();
        let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket: ticket.into() });
        let info = FlightInfo::new().with_endpoint(endpoint).with_descriptor(request.into_inner());
        Ok(Response::new(
            info.try_with_schema(&self.0[0].schema()).map_err(|error| Status::internal(error.to_string()))?,
        ))
    }

    async fn do_get_statement(
        &self,
        _: TicketStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let rows = stream::iter(self.0.clone()).map(Ok);
        let data = FlightDataEncoderBuilder::new().build(rows).map_err(Status::from);
        let data: Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>> = Box::pin(data);
        Ok(Response::new(data))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

fn batch(first: i64, end: i64) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(first..end));
    let price: ArrayRef = Arc::new(Float64Array::from_iter_values((first..end).map(|n| n as f64 * 0.5)));
    let name: ArrayRef = Arc::new(StringArray::from_iter_values((first..end).map(|n| format!("name{:04}", n % 1000))));
    RecordBatch::try_from_iter([("id", id), ("price", price), ("name", name)]).expect("columns of one length")
}

#[tokio::main]
async fn main() {
    let rows: i64 = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).expect("how many rows");
    let firsts = (0..rows).step_by(BATCH_ROWS as usize);
    let batches = firsts.map(|first| batch(first, (first + BATCH_ROWS).min(rows))).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    println!("{}", listener.local_addr().expect("it is bound").port());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = FlightServiceServer::new(Plain(batches));
    Server::builder().add_service(service).serve_with_incoming(incoming).await.expect("it serves until it is killed");
}

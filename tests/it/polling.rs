//! PollFlightInfo by hand: a query as a whole runs from the first poll on, and each says how far it is.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo, PollInfo,
};
use prost::Message;
use tidemill_engine::clock::monotonic_ns;
use tonic::{Code, Status};

use crate::command::PATIENCE;
use crate::flight_sql::Served;

/// All pairs of numbers.
const PAIRS: &str = "SELECT count(*) AS c FROM n x, n y WHERE x.v + y.v >= 0";

impl Served {
    /// A server with a table of so many numbers.
    fn with_numbers(count: u64) -> Self {
        let mut served = Self::start();
        let numbers: String = (0..count).map(|number| format!("{number}\n")).collect();
        served.folder.write("n.csv", format!("v\n{numbers}"));
        served.ask("CREATE TABLE n (v BIGINT) WITH (connector = 'files', path = 'n.csv', format = 'csv')");
        served
    }

    fn poll(&mut self, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
        Ok(self.runtime.block_on(self.client.inner_mut().poll_flight_info(descriptor))?.into_inner())
    }

    fn cancel(&mut self, info: FlightInfo) -> CancelStatus {
        let action = Action::new("CancelFlightInfo", CancelFlightInfoRequest::new(info).encode_to_vec());
        let client = self.client.inner_mut();
        let answer = self.runtime.block_on(async { client.do_action(action).await?.into_inner().message().await });
        CancelFlightInfoResult::decode(answer.unwrap().unwrap().body).unwrap().status()
    }
}

fn command(sql: &str) -> FlightDescriptor {
    let query = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    FlightDescriptor::new_cmd(query.as_any().encode_to_vec())
}

/// Whether it is not long ago.
fn is_soon(since_ns: u64) -> bool {
    u128::from(monotonic_ns().saturating_sub(since_ns)) < PATIENCE.as_nanos()
}

#[test]
fn a_query_is_polled_until_it_can_be_fetched() {
    let mut served = Served::with_numbers(3_000);
    let begun_ns = monotonic_ns();
    let mut polled = served.poll(command(PAIRS)).unwrap();
    let mut told = vec![polled.progress];
    while let Some(next) = polled.flight_descriptor.take() {
        assert!(is_soon(begun_ns), "{told:?}");
        assert_ne!(polled.progress, Some(1.0));
        polled = served.poll(next).unwrap();
        told.push(polled.progress);
    }
    let known: Vec<f64> = told.iter().flatten().copied().collect();
    assert!(known.is_sorted() && known.last() == Some(&1.0) && told.last() == Some(&Some(1.0)), "{told:?}");
    let info = polled.info.unwrap();
    // What has been fetched runs once more.
    for _ in 0..2 {
        let rows = served.fetch(info.clone()).unwrap();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 9_000_000);
    }
    served.wait_for_jobs(&[]);
    served.end();
}

#[test]
fn a_query_that_is_polled_is_cancelled_and_is_gone_then() {
    // So many pairs that nobody waits for their end.
    let mut served = Served::with_numbers(100_000);
    let first = served.poll(command(PAIRS)).unwrap();
    let descriptor = first.flight_descriptor.clone().unwrap();
    let mut polled = served.poll(descriptor.clone()).unwrap();
    let begun_ns = monotonic_ns();
    let words = loop {
        let info = polled.info.clone().unwrap();
        let words = String::from_utf8(info.endpoint[0].app_metadata.to_vec()).unwrap();
        if words.contains("read ") {
            break words;
        }
        assert!(is_soon(begun_ns), "{words}");
        polled = served.poll(polled.flight_descriptor.unwrap()).unwrap();
    };
    assert!(words.contains("rows ") && words.contains('%'), "{words}");
    assert!(polled.progress.is_some_and(|progress| progress < 1.0), "{polled:?}");
    served.wait_for_jobs(&["select_1"]);
    assert_eq!(served.cancel(polled.info.unwrap()), CancelStatus::Cancelled);
    let gone = served.poll(descriptor).unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone}");
    served.wait_for_jobs(&[]);
    served.end();
}

#[test]
fn a_query_that_fails_fails_its_poll() {
    let mut served = Served::with_numbers(10);
    let mut polled = served.poll(command("SELECT sum(v + 9223372036854775807) AS s FROM n"));
    while let Ok(PollInfo { flight_descriptor: Some(next), .. }) = polled {
        polled = served.poll(next);
    }
    let failed = polled.unwrap_err();
    assert!(failed.code() == Code::InvalidArgument && failed.message().contains("verflow"), "{failed}");
    served.end();
}

//! Views that clients follow, and other ways to ask for a statement.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{CommandStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt};
use arrow_flight::{FlightDescriptor, Ticket};
use futures::TryStreamExt;
use prost::Message;
use tonic::Code;

use crate::flight_sql::Served;

impl Served {
    /// The ticket of a statement's rows, and the names of their columns.
    fn ticket(&mut self, sql: &str) -> (Ticket, Vec<String>) {
        let info = self.runtime.block_on(self.client.execute(sql.to_owned(), None)).unwrap();
        let columns = info.clone().try_decode_schema().unwrap();
        let names = columns.fields().iter().map(|field| field.name().clone()).collect();
        (info.endpoint[0].ticket.clone().unwrap(), names)
    }
}

fn ops(batch: &RecordBatch) -> Vec<(String, i64)> {
    let (ops, numbers) = (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
    (0..batch.num_rows()).map(|row| (ops.value(row).to_owned(), numbers.value(row))).collect()
}

#[test]
fn a_client_has_what_a_view_has_and_then_what_changes() {
    let mut served = Served::start();
    served.ask("CREATE SOURCE bids WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000)");
    served.ask(
        "SET view_interval = '100ms';
                CREATE MATERIALIZED VIEW counts AS SELECT channel, count(*) AS n FROM bids GROUP BY channel",
    );
    let total = served.number("SELECT CAST(sum(n) AS BIGINT) FROM counts");
    let (ticket, columns) = served.ticket("SUBSCRIBE TO counts");
    assert_eq!(columns, ["op", "channel", "n"]);
    let client = &mut served.client;
    served.runtime.block_on(async {
        let mut rows = client.do_get(ticket.clone()).await.unwrap();
        let snapshot = ops(&rows.try_next().await.unwrap().unwrap());
        assert!(snapshot.iter().all(|(op, _)| op == "+I"), "{snapshot:?}");
        let mut changes = 0;
        while changes < 10 {
            let batch = ops(&rows.try_next().await.unwrap().unwrap());
            changes += batch.iter().filter(|(op, n)| op == "+U" && *n > 0).count();
        }
    });
    served.wait_for_jobs(&["counts"]);
    assert!(served.number("SELECT CAST(sum(n) AS BIGINT) FROM counts") > total);

    // It ends with the view.
    let (ticket, _) = served.ticket("SUBSCRIBE TO counts");
    let (mut client, port) = (served.client.clone(), served.port);
    let mut other = crate::flight_sql::connect(&served.runtime, port);
    let rows: usize = served.runtime.block_on(async {
        let mut rows = client.do_get(ticket).await.unwrap();
        rows.try_next().await.unwrap().unwrap();
        let drop = other.execute_update(String::from("DROP MATERIALIZED VIEW counts"), None);
        let rest = rows.try_fold(0, async |after, batch: RecordBatch| Ok(after + batch.num_rows()));
        let (dropped, rest) = futures::join!(drop, rest);
        dropped.unwrap();
        rest.unwrap()
    });
    assert!(rows < 1_000_000);
    served.wait_for_jobs(&[]);
    served.refused("SUBSCRIBE TO counts", Code::NotFound, "'counts'");
    served.refused("SUBSCRIBE TO bids", Code::InvalidArgument, "SELECT * FROM bids streams");
    served.refused("SUBSCRIBE bids", Code::InvalidArgument, "expected TO");
    served.end();
}

#[test]
fn a_view_that_only_grows_has_no_changes_and_its_end_ends_the_client() {
    let mut served = Served::start();
    served.ask(
        "CREATE SOURCE made (n BIGINT) WITH (connector = 'datagen', rows = 1000, rows_per_second = 2000,
                'fields.n.kind' = 'sequence')",
    );
    served.ask("SET view_interval = '100ms'; CREATE MATERIALIZED VIEW odd AS SELECT n FROM made WHERE n % 2 = 1");
    let (ticket, columns) = served.ticket("SUBSCRIBE TO odd");
    assert_eq!(columns, ["n"]);
    let rows: Vec<RecordBatch> =
        served.runtime.block_on(async { served.client.do_get(ticket).await.unwrap().try_collect().await.unwrap() });
    let mut numbers: Vec<i64> = Vec::new();
    rows.iter().for_each(|batch| numbers.extend(batch.column(0).as_primitive::<Int64Type>().values()));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).map(|n| 2 * n + 1).collect::<Vec<_>>());
    served.end();
}

#[test]
fn a_statement_is_polled_and_a_foreign_plan_is_refused() {
    let mut served = Served::start();
    let query = CommandStatementQuery { query: String::from("SELECT 7 AS seven"), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let client = served.client.inner_mut();
    let polled = served.runtime.block_on(client.poll_flight_info(descriptor)).unwrap().into_inner();
    assert!(polled.flight_descriptor.is_none(), "nothing is to be waited for");
    let ticket = polled.info.unwrap().endpoint[0].ticket.clone().unwrap();
    let rows: Vec<RecordBatch> =
        served.runtime.block_on(async { served.client.do_get(ticket).await.unwrap().try_collect().await.unwrap() });
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 7);
    let plan = CommandStatementSubstraitPlan::default();
    let descriptor = FlightDescriptor::new_cmd(plan.as_any().encode_to_vec());
    let client = served.client.inner_mut();
    let refused = served.runtime.block_on(client.get_flight_info(descriptor)).unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("relations"), "{refused}");
    served.end();
}

//! Plans in Substrait: from a client of Rust, which has committed ones, and from Python, which makes its own.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow_flight::sql::{
    ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest, Any, CommandPreparedStatementQuery,
    CommandStatementSubstraitPlan, DoPutUpdateResult, ProstMessageExt, SubstraitPlan,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightInfo};
use futures::TryStreamExt;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::{Code, Status};

use crate::flight_sql::{Served, python, shown};

/// What the committed plans know of this source, they have by name: its columns stand in another order.
const BIDS: &str = "CREATE SOURCE bids (ts TIMESTAMP NOT NULL, auction BIGINT, bidder VARCHAR, price DOUBLE,
                                        WATERMARK FOR ts AS ts)
                    WITH (connector = 'files', path = 'bids.csv', format = 'csv')";

const ROWS: &str = "ts,auction,bidder,price\n2024-01-01 00:00:00,1,a,30\n2024-01-01 00:00:01,2,b,20\n2024-01-01 00:00:02,3,a,10\n\
                    2024-01-01 00:00:03,4,a,\n";

fn start() -> Served {
    let mut served = Served::start();
    fs::write(served.folder.path("bids.csv"), ROWS).unwrap();
    served.ask(BIDS);
    served
}

/// A plan that PyPI's datafusion has made.
fn committed(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/src/substrait/tests/plans");
    fs::read(folder.join(name)).unwrap()
}

fn substrait(plan: Vec<u8>) -> Option<SubstraitPlan> {
    Some(SubstraitPlan { plan: plan.into(), version: String::from("0.85.0") })
}

fn descriptor(plan: Vec<u8>) -> FlightDescriptor {
    let command = CommandStatementSubstraitPlan { plan: substrait(plan), transaction_id: None };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

fn info(served: &mut Served, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
    let client = served.client.inner_mut();
    served.runtime.block_on(client.get_flight_info(descriptor)).map(tonic::Response::into_inner)
}

fn fetched(served: &mut Served, info: &FlightInfo) -> Vec<RecordBatch> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    served.runtime.block_on(async { served.client.do_get(ticket).await.unwrap().try_collect().await.unwrap() })
}

#[track_caller]
fn refused(served: &mut Served, plan: Vec<u8>, code: Code, reason: &str) {
    let status = info(served, descriptor(plan)).unwrap_err();
    assert!(status.code() == code && status.message().contains(reason), "{status}");
}

#[test]
fn plans_are_run_as_queries_are() {
    let mut served = start();
    let by_sql = served.ask("SELECT auction, price FROM bids ORDER BY price DESC NULLS LAST, auction LIMIT 3");
    for form in ["top.parsed", "top.optimised"] {
        let planned = info(&mut served, descriptor(committed(form))).unwrap();
        assert_eq!(planned.clone().try_decode_schema().unwrap().field(1).name(), "price");
        assert_eq!(shown(&fetched(&mut served, &planned)), shown(&by_sql), "{form}");
    }
    let client = served.client.inner_mut();
    let schema = served.runtime.block_on(client.get_schema(descriptor(committed("having.parsed")))).unwrap();
    let schema = arrow::datatypes::Schema::try_from(schema.into_inner()).unwrap();
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["bidder", "n", "total"]);

    refused(&mut served, committed("union.parsed"), Code::InvalidArgument, "there is no source or view 'plain'");
    refused(&mut served, b"SELECT 1".to_vec(), Code::InvalidArgument, "the bytes are no plan in Substrait");
    refused(&mut served, vec![0; 2 << 20], Code::InvalidArgument, "--max-statement-size");
    served.wait_for_jobs(&[]);
    served.end();
}

#[test]
fn prepared_plans_are_run_as_often_as_wanted() {
    let mut served = start();
    let body = ActionCreatePreparedSubstraitPlanRequest {
        plan: substrait(committed("having.optimised")),
        transaction_id: None,
    };
    let action =
        Action { r#type: String::from("CreatePreparedSubstraitPlan"), body: body.as_any().encode_to_vec().into() };
    let prepared = served.runtime.block_on(async {
        let mut results = served.client.inner_mut().do_action(action).await.unwrap().into_inner();
        results.message().await.unwrap().unwrap()
    });
    let prepared =
        Any::decode(prepared.body).unwrap().unpack::<ActionCreatePreparedStatementResult>().unwrap().unwrap();
    assert!(prepared.parameter_schema.is_empty() && !prepared.dataset_schema.is_empty());
    for _ in 0..2 {
        let command =
            CommandPreparedStatementQuery { prepared_statement_handle: prepared.prepared_statement_handle.clone() };
        let planned = info(&mut served, FlightDescriptor::new_cmd(command.as_any().encode_to_vec())).unwrap();
        let rows = shown(&fetched(&mut served, &planned));
        assert!(rows.contains("| a      | 3 | 40.0  |") && rows.lines().count() == 5, "{rows}");
    }
    served.end();
}

/// The bytes of a message, or of a text, within another.
fn within(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.as_ref().len() as u64, &mut bytes);
    bytes.extend(content.as_ref());
    bytes
}

/// A plan that writes the auctions into a sink.
fn written(sink: &str) -> Vec<u8> {
    let columns = within(2, [within(1, "auction"), within(2, within(1, within(7, "")))].concat());
    let read = within(1, [columns, within(7, within(1, "bids"))].concat());
    let insert = [4 << 3, 1];
    let write = [within(1, within(1, sink)), within(3, within(1, "a")), insert.to_vec(), within(5, read)].concat();
    within(3, within(2, within(1, within(19, write))))
}

#[test]
fn plans_that_write_are_updates() {
    let mut served = start();
    served.ask("CREATE SINK kept (a BIGINT) WITH (connector = 'files', path = 'kept', format = 'csv')");
    let mut put = |plan: Vec<u8>| {
        let data = FlightData::new().with_descriptor(descriptor(plan));
        served.runtime.block_on(async {
            let results = served.client.inner_mut().do_put(futures::stream::iter([data])).await?;
            let result = results.into_inner().message().await?.unwrap();
            Ok::<_, Status>(DoPutUpdateResult::decode(result.app_metadata).unwrap().record_count)
        })
    };
    assert_eq!(put(written("kept")).unwrap(), -1);
    let status = put(written("nowhere")).unwrap_err();
    assert!(status.message().contains("nowhere"), "{status}");
    let status = put(committed("top.parsed")).unwrap_err();
    assert!(status.message().contains("execute it as a query"), "{status}");
    served.wait_for_jobs(&[]);
    assert_eq!(crate::killed::csv_rows(&served.folder, "kept").len(), 4);
    served.end();
}

#[test]
fn plans_from_python_come_to_what_sql_comes_to() {
    python("tests/python/planned.py");
}

//! What becomes of rows as they are read: generated columns, event time, watermarks, bad rows.

use std::sync::atomic::Ordering;

use datafusion::logical_expr::{cast, col, lit};
use expect_test::{Expect, expect};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::{NodeKind, Projection};

use super::*;
use crate::metrics::OperatorStats;
use crate::state::Snapshot;
use crate::task::OperatorContext;
use crate::testing::graph::schema;
use crate::testing::{parse_rows, show_rows, test_env};

/// A source of `text:text v:int t:time` with `n`, the text as a number, and event time `t`.
struct Fixture {
    operator: SourceOperator,
    context: OperatorContext,
    input: SchemaRef,
}

impl Fixture {
    fn new(on_null: NullEventTime, n: &str) -> Self {
        Self::with(on_null, n, &[])
    }

    fn with(on_null: NullEventTime, n: &str, options: &[(&str, &str)]) -> Self {
        let input = schema("text:text v:int t:time");
        let output = schema(&format!("v:int n:{n} t:time"));
        let column = |name: &str, expr| Projection { name: String::from(name), expr: StreamExpr(expr) };
        let number = cast(col("text"), arrow::datatypes::DataType::Int64);
        let node = SourceNode {
            table: String::from("input"),
            connector: String::from("files"),
            options: options.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect(),
            declared: input.fields().iter().map(|field| field.name().clone()).collect(),
            columns: StreamSchema(Arc::clone(&input)),
            projection: vec![column("v", col("v")), column("n", number), column("t", col("t"))],
            event_time: Some(EventTimeSpec {
                column: 2,
                watermark: StreamExpr(
                    col("t") - lit(datafusion::common::ScalarValue::DurationMicrosecond(Some(1_000_000))),
                ),
                on_null,
            }),
            upsert_key: Vec::new(),
        };
        let mut graph = DataflowGraph::default();
        let id = graph.add_node(NodeKind::Source(node.clone()), 1, Arc::clone(&output));
        let env = test_env().unwrap();
        let stats = Arc::new(OperatorStats::new(env.job, id, 0));
        let context = OperatorContext::new(String::from("Source"), env, stats);
        Self { operator: SourceOperator::new(&node, output).unwrap(), context, input }
    }

    fn push(&mut self, rows: &str) -> String {
        let batch = parse_rows(&self.input, rows).unwrap();
        self.operator.on_batch(0, batch, &mut self.context).unwrap();
        self.output()
    }

    fn catch_up(&mut self) -> String {
        self.operator.on_caught_up(&mut self.context).unwrap();
        self.output()
    }

    fn output(&mut self) -> String {
        let show = |message| match message {
            crate::task::Message::Batch(batch) => show_rows(&batch).unwrap(),
            other => format!("{other:?}\n"),
        };
        self.context.take_output().into_iter().map(show).collect()
    }

    fn dead(&self) -> u64 {
        self.context.stats().dead_letter_rows.load(Ordering::Relaxed)
    }
}

fn check(rows: &str, dead: u64, expected: Expect) {
    let mut fixture = Fixture::new(NullEventTime::DeadLetter, "int");
    expected.assert_eq(&fixture.push(rows));
    assert_eq!(fixture.dead(), dead);
}

#[test]
fn the_watermark_follows_the_rows_and_never_goes_back() {
    let mut fixture = Fixture::new(NullEventTime::DeadLetter, "int");
    expect![[r#"
        1 7 @10
        2 8 @9
        Watermark(Watermark(EventTime(9000000)))
    "#]]
    .assert_eq(&fixture.push("7 1 @10\n8 2 @9"));
    expect![[r#"
        3 9 @4
    "#]]
    .assert_eq(&fixture.push("9 3 @4"));
    expect![[r#"
        3 9 @12
        Watermark(Watermark(EventTime(11000000)))
    "#]]
    .assert_eq(&fixture.push("9 3 @12"));
}

#[test]
fn a_row_whose_generated_column_cannot_be_computed_is_a_dead_letter() {
    check(
        "7 1 @1\nNA 2 @2\n9 3 @3\n- 4 @4\nx 5 @5",
        2,
        expect![[r#"
        1 7 @1
        3 9 @3
        4 - @4
        Watermark(Watermark(EventTime(3000000)))
    "#]],
    );
}

#[test]
fn a_row_with_null_in_a_generated_column_that_forbids_it_is_a_dead_letter() {
    let mut fixture = Fixture::new(NullEventTime::DeadLetter, "int!");
    expect![[r#"
        1 7 @1
        3 9 @3
        Watermark(Watermark(EventTime(2000000)))
    "#]]
    .assert_eq(&fixture.push("7 1 @1\n- 2 @2\n9 3 @3"));
    assert_eq!(fixture.dead(), 1);
}

#[test]
fn a_row_without_event_time_is_a_dead_letter_or_left_out() {
    check(
        "7 1 -\n8 2 @2",
        1,
        expect![[r#"
        2 8 @2
        Watermark(Watermark(EventTime(1000000)))
    "#]],
    );
    let mut fixture = Fixture::new(NullEventTime::Skip, "int");
    expect![[r#"
        2 8 @2
        Watermark(Watermark(EventTime(1000000)))
    "#]]
    .assert_eq(&fixture.push("7 1 -\n8 2 @2"));
    assert_eq!(fixture.dead(), 0);
    assert_eq!(fixture.context.stats().skipped_rows.load(Ordering::Relaxed), 1);
}

#[test]
fn a_row_at_the_end_of_time_is_a_dead_letter_and_moves_no_watermark() {
    check(
        "7 1 @9223372036854\n8 2 @-9223372036854\n9 3 @3",
        2,
        expect![[r#"
        3 9 @3
        Watermark(Watermark(EventTime(2000000)))
    "#]],
    );
}

#[test]
fn a_batch_of_bad_rows_leaves_the_source_running() {
    let mut fixture = Fixture::new(NullEventTime::DeadLetter, "int");
    assert_eq!(fixture.push("a 1 @1\nb 2 @2"), "");
    assert_eq!(fixture.dead(), 2);
    assert_eq!(fixture.push(""), "");
    expect![[r#"
        1 1 @1
        Watermark(Watermark(EventTime(0)))
    "#]]
    .assert_eq(&fixture.push("1 1 @1"));
}

fn backfilled() -> Fixture {
    Fixture::with(NullEventTime::DeadLetter, "int", &[("scan_startup_mode", "backfill")])
}

/// Another one goes on.
fn go_on(fixture: &mut Fixture, mut other: Fixture) -> Fixture {
    let mut snapshot = Snapshot::default();
    fixture.operator.snapshot(&mut snapshot.writer(Epoch(1))).unwrap();
    let written = [snapshot];
    other.operator.restore(&StateReader::new(&written, 0, 1)).unwrap();
    other
}

#[test]
fn a_past_says_nothing_of_time_until_all_of_it_has_come() {
    for goes_on in [false, true] {
        let mut fixture = backfilled();
        assert_eq!(fixture.push("7 1 @10\n8 2 @9"), "1 7 @10\n2 8 @9\n");
        if goes_on {
            fixture = go_on(&mut fixture, backfilled());
        }
        assert_eq!(fixture.push("9 3 @4"), "3 9 @4\n");
        assert_eq!(fixture.operator.past.map(|past| past.rows), Some(3));
        assert_eq!(fixture.catch_up(), "Watermark(Watermark(EventTime(9000000)))\n");
        if goes_on {
            fixture = go_on(&mut fixture, backfilled());
        }
        assert_eq!(fixture.catch_up(), "");
        assert_eq!(fixture.push("9 3 @12"), "3 9 @12\nWatermark(Watermark(EventTime(11000000)))\n");
    }
    // There may be none.
    let mut fixture = backfilled();
    assert_eq!(fixture.catch_up(), "");
    assert_eq!(fixture.push("9 3 @12"), "3 9 @12\nWatermark(Watermark(EventTime(11000000)))\n");
}

#[test]
fn an_edited_source_has_a_past_only_if_it_had_one() {
    let live = || Fixture::new(NullEventTime::DeadLetter, "int");
    let now_live = "3 9 @12\nWatermark(Watermark(EventTime(11000000)))\n";
    assert_eq!(go_on(&mut live(), backfilled()).push("9 3 @12"), now_live);
    assert_eq!(go_on(&mut backfilled(), live()).push("9 3 @12"), now_live);
}

//! Computed columns, and the rows that have none.

use std::sync::atomic::Ordering;

use datafusion::logical_expr::{col, lit};
use expect_test::expect;
use tidemill_plans::change::with_change_column;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{harness, schema};

/// `100 / v AS q, k` of `k:text v:int`, with a changelog or without.
fn quotient(changelog: bool) -> OperatorHarness {
    let column = |name: &str, expr| Projection { name: String::from(name), expr: StreamExpr(expr) };
    let node = ProjectNode { columns: vec![column("q", lit(100i64) / col("v")), column("k", col("k"))] };
    let (input, output) = (schema("k:text v:int"), schema("q:int k:text"));
    let changes = |schema: SchemaRef| if changelog { with_change_column(&schema) } else { schema };
    harness(NodeKind::Project(node), &[&changes(input)], changes(output))
}

#[test]
fn a_row_that_cannot_be_computed_is_a_dead_letter_and_the_others_go_on() {
    let mut harness = quotient(false);
    harness.push(0, "a 5\nb 0\nc -\nd 10\ne 0").unwrap();
    expect![[r#"
        20 a
        - c
        10 d
    "#]]
    .assert_eq(&harness.output().unwrap());
    assert_eq!(harness.stats().dead_letter_rows.load(Ordering::Relaxed), 2);
}

#[test]
fn changes_stay_with_their_rows() {
    let mut harness = quotient(true);
    let input = parse(&["+I a 5", "-U a 5", "+U b 0", "-D c 4"]);
    harness.push_batch(0, input).unwrap();
    expect![[r#"
        +I 20 a
        -U 20 a
        -D 25 c
    "#]]
    .assert_eq(&harness.output().unwrap());
}

/// Rows with their operations in front.
fn parse(lines: &[&str]) -> RecordBatch {
    use tidemill_plans::change::{ChangeOp, change_array};
    let ops: Vec<ChangeOp> = lines
        .iter()
        .map(|line| match &line[..2] {
            "+I" => ChangeOp::Insert,
            "-U" => ChangeOp::UpdateBefore,
            "+U" => ChangeOp::UpdateAfter,
            "-D" => ChangeOp::Delete,
            other => panic!("no operation {other}"),
        })
        .collect();
    let rows: String = lines.iter().map(|line| format!("{}\n", &line[3..])).collect();
    let schema = schema("k:text v:int");
    let rows = crate::testing::parse_rows(&schema, &rows).unwrap();
    let columns = rows.columns().iter().cloned().chain([change_array(&ops)]).collect();
    RecordBatch::try_new(with_change_column(&schema), columns).unwrap()
}

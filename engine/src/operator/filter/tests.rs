//! Which rows a predicate lets through.

use std::sync::atomic::Ordering;

use datafusion::logical_expr::{col, lit};
use expect_test::expect;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::graph::{harness, schema};

#[test]
fn rows_for_which_it_is_true_pass_and_unknown_is_not_true() {
    let node = FilterNode { predicate: StreamExpr(col("v").gt(lit(1i64))) };
    let schema = schema("k:text v:int");
    let mut harness = harness(NodeKind::Filter(node), &[&schema], Arc::clone(&schema));
    harness.push(0, "a 1\nb 2\nc -\nd 3").unwrap();
    harness.push(0, "").unwrap();
    expect![[r#"
        b 2
        d 3
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn a_row_on_which_it_fails_is_a_dead_letter() {
    let node = FilterNode { predicate: StreamExpr((lit(10i64) / col("v")).gt(lit(2i64))) };
    let schema = schema("k:text v:int");
    let mut harness = harness(NodeKind::Filter(node), &[&schema], Arc::clone(&schema));
    harness.push(0, "a 1\nb 0\nc 9\nd 2").unwrap();
    expect![[r#"
        a 1
        d 2
    "#]]
    .assert_eq(&harness.output().unwrap());
    assert_eq!(harness.stats().dead_letter_rows.load(Ordering::Relaxed), 1);
}

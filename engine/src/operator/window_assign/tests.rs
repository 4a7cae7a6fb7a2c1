//! Rows with their windows behind them.

use expect_test::expect;
use tidemill_plans::node::{NodeKind, WindowAssignNode, WindowSpec};

use crate::testing::graph::{harness, schema};

#[test]
fn a_row_comes_once_for_each_window_that_it_is_in() {
    let window = WindowSpec::Hop { slide: 5_000_000, size: 10_000_000, offset: 0 };
    let node = WindowAssignNode { time: 1, window };
    let output = schema("v:int t:time window_start:time window_end:time window_time:time");
    let mut harness = harness(NodeKind::WindowAssign(node), &[&schema("v:int t:time")], output);
    harness.push(0, "1 @7\n2 @-1").unwrap();
    harness.watermark(0, 8).unwrap();
    harness.push(0, "").unwrap();
    expect![[r#"
        1 @7 @0 @10 @9.999999
        1 @7 @5 @15 @14.999999
        2 @-1 @-10 @0 @-0.000001
        2 @-1 @-5 @5 @4.999999
        watermark @8
    "#]]
    .assert_eq(&harness.output().unwrap());
}

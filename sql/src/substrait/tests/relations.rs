//! What peers of ours do not send, and others may.

use expect_test::{Expect, expect};

use super::written::*;
use super::*;
use crate::substrait::messages::*;
use crate::tests::execute;

fn check(plan: &[u8], expected: Expect) {
    expected.assert_eq(&explain(&mut session(), plan));
}

fn measure(function: u32, values: Vec<Expression>, filter: Option<Expression>) -> Measure {
    let call = AggregateFunction { function, arguments: arguments(values), ..AggregateFunction::default() };
    Measure { function: Some(call), filter }
}

#[test]
fn a_projection_has_its_inputs_columns_unless_it_chooses() {
    check(
        &plan(project(bids(), vec![call(0, vec![field(0), literal(LiteralKind::I64(1))])])),
        expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 auction, bidder, (auction + 1) AS bids.auction + Int64(1) [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    let chosen = chosen(filter(bids(), call(8, vec![field(1)])), vec![1, 1, 0]);
    check(
        &named(chosen, &["x", "y", "z"]),
        expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 bidder AS x, bidder AS y, auction AS z [x2] -> rebalance
            Filter #1 bidder IS NULL [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
}

#[test]
fn counts_of_nothing_are_counts_of_rows() {
    let aggregate = AggregateRel {
        input: Some(rel(bids())),
        groupings: vec![Grouping { references: vec![0], ..Grouping::default() }],
        grouping_expressions: vec![field(1)],
        measures: vec![
            measure(4, Vec::new(), None),
            measure(7, vec![field(0)], Some(call(5, vec![field(0), literal(LiteralKind::I64(3))]))),
        ],
        ..AggregateRel::default()
    };
    check(
        &named(RelKind::Aggregate(Box::new(aggregate)), &["who", "n", "sum"]),
        expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 bidder AS who, "count(1)" AS n, "sum(auction) FILTER (WHERE (auction > 3))" AS sum [x2] -> rebalance
            Aggregate #2 by (bidder): count(1), sum(auction) FILTER (WHERE (auction > 3)) at end [x2] -> forward
              Project #1 bidder, auction, ts [x2] -> hash(bidder)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
}

#[test]
fn windows_are_relations() {
    let window = WindowRel {
        input: Some(rel(bids())),
        functions: vec![WindowFunction { function: 6, ..WindowFunction::default() }],
        partitions: vec![field(1)],
        sorts: vec![SortField { expr: Some(field(0)), direction: 4 }],
        ..WindowRel::default()
    };
    check(
        &named(RelKind::Window(Box::new(window)), &["a", "b", "place"]),
        expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 auction AS a, bidder AS b, "rank" AS place [x2] -> rebalance
            OverWindow #2 by (bidder): rank() OVER (ORDER BY auction DESC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) at end [x2] -> forward
              Project #1 auction, bidder [x2] -> hash(bidder)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
}

#[test]
fn unions_take_many_inputs_and_distinct_ones() {
    check(
        &plan(set(vec![bids(), bids(), bids()], 6)),
        expect![[r#"
        Sink #5 select_1 to result [x1]
          Union #4  [x2] -> rebalance
            Project #1 auction, bidder [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
            Project #2 auction, bidder [x2] -> forward
              Source #0 (see above) [x2] -> forward
            Project #3 auction, bidder [x2] -> forward
              Source #0 (see above) [x2] -> forward
    "#]],
    );
    check(
        &plan(set(vec![bids(), bids()], 5)),
        expect![[r#"
        Sink #5 select_1 to result [x1]
          Aggregate #4 by (auction, bidder):  at end [x2] -> rebalance
            Union #3  [x2] -> hash(auction, bidder)
              Project #1 auction, bidder [x2] -> forward
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #2 auction, bidder [x2] -> forward
                Source #0 (see above) [x2] -> forward
    "#]],
    );
}

#[test]
fn limits_stay_at_the_top() {
    check(
        &named(project(fetch(sort(bids(), field(0), 4), 0, 3), Vec::new()), &["a", "b"]),
        expect![[r#"
        Sink #2 select_1 to result ordered by a desc limit 3 [x1]
          Project #1 auction AS a, bidder AS b [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        &plan(fetch(fetch(bids(), 0, -1), 0, 3)),
        expect![[r#"
        Sink #2 select_1 to result limit 3 [x1]
          Project #1 auction, bidder [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
}

#[test]
fn cross_joins_are_joins() {
    let cross = CrossRel { left: Some(rel(bids())), right: Some(rel(bids())), ..CrossRel::default() };
    let equal = call(9, vec![field(0), field(2)]);
    check(
        &named(filter(RelKind::Cross(Box::new(cross)), equal), &["a", "b", "c", "d"]),
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction AS a, bidder AS b, auction_2 AS c, bidder_2 AS d [x2] -> rebalance
                Join #3 inner (auction) = (auction) [x2] -> forward
                  Project #1 auction, bidder [x2] -> hash(auction)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #2 auction, bidder [x2] -> hash(auction)
                    Source #0 (see above) [x2] -> forward
        "#]],
    );
}

#[test]
fn a_switch_is_a_case() {
    let value = Literal { kind: Some(LiteralKind::I64(1)), variation: 0 };
    let switch = Switch {
        matched: Some(field(0)),
        ifs: vec![IfValue { value: Some(value), then: Some(field(1)) }],
        otherwise: Some(literal(LiteralKind::String(String::from("other")))),
    };
    let chosen = project(bids(), vec![expression(ExpressionKind::Switch(Box::new(switch)))]);
    check(
        &named(chosen, &["a", "b", "c"]),
        expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 auction AS a, bidder AS b, CASE auction WHEN 1 THEN bidder ELSE 'other' END AS c [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
}

#[test]
fn a_write_is_an_insert() {
    let mut session = session();
    let sinks = "CREATE SINK s (a BIGINT, who VARCHAR) WITH (connector = 'blackhole');
                 CREATE SINK any WITH (connector = 'blackhole')";
    execute(&mut session, sinks).unwrap();
    let mut told = String::new();
    for (sink, columns) in [("s", &["a", "who"][..]), ("s", &["who", "a"]), ("any", &[]), ("bids", &[]), ("no", &[])] {
        told += &format!("{sink} {columns:?}: {}", explain(&mut session, &plan(write(bids(), sink, columns))));
    }
    expect![[r#"
        s ["a", "who"]: Sink #2 s to blackhole [x2]
          Project #1 auction AS a, bidder AS who [x2] -> forward
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        s ["who", "a"]: another order or choice of columns is not supported; give all of them: a, who
        any []: Sink #2 any to blackhole [x2]
          Project #1 auction, bidder [x2] -> forward
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        bids []: 'bids' is a source of another kind; rows can be inserted into sinks, into tables WITH (connector = 'table'), and into tables of files in a folder
        no []: there is no source, view, sink, model or function 'no'; there are: bids, auctions, plain, s, any
    "#]]
    .assert_eq(&told);
    let parsed = parse_substrait(&plan(write(bids(), "s", &[]))).unwrap();
    assert!(parsed.is_insert() && !parsed.has_rows());
    assert!(parsed.text().ends_with("bytes over bids"), "{}", parsed.text());
}

#[test]
fn functions_of_the_session_are_called_by_name() {
    let mut session = session();
    execute(&mut session, "CREATE FUNCTION no_such(x BIGINT) RETURN x * 2").unwrap();
    let twice = project(bids(), vec![call(1, vec![field(0)])]);
    expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 auction AS a, bidder AS b, (auction * 2) AS twice [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain(&mut session, &named(twice, &["a", "b", "twice"])));
}

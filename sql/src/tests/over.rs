//! OVER: which operator each use of a window function becomes.

use expect_test::expect;

use super::{check_explain, explain_after};

#[test]
fn the_newest_row_of_each_key() {
    check_explain(
        "SELECT auction, price FROM
           (SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY ts DESC) AS rn FROM bids)
         WHERE rn <= 1",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Project #2 auction, price [x2] -> rebalance
                TopN #1 first 1 by (bidder, auction) ordered by ts desc at end [x2] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> hash(bidder, auction)
        "#]],
    );
}

#[test]
fn a_rank_that_is_read_is_a_column() {
    check_explain(
        "SELECT * FROM
           (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, bidder) AS rank_number FROM bids) b
         WHERE 10 >= b.rank_number AND b.price > 1 AND b.auction = 7",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, bidder, price, ts, "row_number" AS rank_number [x2] -> rebalance
                Filter #3 (price > 1.0) [x2] -> forward
                  TopN #2 first 10 with rank by (auction) ordered by price desc, bidder at end [x2] -> forward
                    Filter #1 (auction = 7) [x2] -> hash(auction)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn the_oldest_row_of_each_key_is_final() {
    check_explain(
        "SELECT auction, ts FROM bids QUALIFY row_number() OVER (PARTITION BY auction ORDER BY ts) = 1",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              TopN #2 first 1 by (auction) ordered by ts as ts passes [x2] -> rebalance
                Project #1 auction, ts [x2] -> hash(auction)
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn the_first_rows_of_a_window_are_final() {
    check_explain(
        "SELECT * FROM (
           SELECT auction, total, window_end,
                  row_number() OVER (PARTITION BY window_start, window_end ORDER BY total DESC) AS rn
           FROM (SELECT auction, sum(price) AS total, window_start, window_end
                 FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 minutes')
                 GROUP BY auction, window_start, window_end))
         WHERE rn < 4",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 auction, "sum(price)" AS total, window_end, "row_number" AS rn [x2] -> rebalance
                TopN #4 first 3 with rank by (window_start, window_end) ordered by sum(price) desc when window_end has passed [x2] -> forward
                  Project #3 auction, sum(price), window_start, window_end [x2] -> hash(window_start, window_end)
                    WindowAggregate #2 TUMBLE(size=10min) on ts by (auction): sum(price) [x2] -> forward
                      Project #1 auction, price, ts [x2] -> hash(auction)
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT bidder, window_end FROM (
           SELECT bidder, window_end, row_number() OVER (PARTITION BY window_end, auction ORDER BY price DESC) AS rn
           FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 minute', INTERVAL '10 minutes'))
         WHERE rn = 1",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 bidder, window_end [x2] -> rebalance
                TopN #3 first 1 by (window_end, auction) ordered by price desc when window_end has passed [x2] -> forward
                  Project #2 auction, bidder, price, window_end [x2] -> hash(window_end, auction)
                    WindowAssign #1 HOP(slide=1min, size=10min) on ts [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn partitions_and_orders_may_be_computed() {
    check_explain(
        "SELECT bidder FROM
           (SELECT bidder, row_number() OVER (PARTITION BY auction % 10 ORDER BY price * 2 DESC) AS rn FROM bids)
         WHERE rn BETWEEN 1 AND 3",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 bidder [x2] -> rebalance
                TopN #2 first 3 by ((auction % 10)) ordered by (price * 2.0) desc at end [x2] -> forward
                  Project #1 auction, bidder, price, (auction % 10), (price * 2.0) [x2] -> hash((auction % 10))
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn conditions_that_a_limit_does_not_cover_stay() {
    check_explain(
        "SELECT bidder FROM
           (SELECT bidder, price, row_number() OVER (ORDER BY price DESC) AS rn FROM bids)
         WHERE rn = 2 AND price > 3",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 bidder [x1] -> forward
                Filter #3 (("row_number" = 2) AND (price > 3.0)) [x1] -> forward
                  TopN #2 first 2 with rank by () ordered by price desc at end [x1] -> forward
                    Project #1 bidder, price [x2] -> rebalance
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn updating_rows_have_first_ones_too() {
    check_explain(
        "SELECT auction, n FROM
           (SELECT auction, n, row_number() OVER (ORDER BY n DESC) AS rn
            FROM (SELECT auction, count(*) AS n FROM bids GROUP BY auction))
         WHERE rn <= 5",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, "count(1)" AS n [x1] -> forward
                TopN #3 first 5 by () ordered by count(1) desc at end [x1] -> forward
                  Aggregate #2 by (auction): count(1) at end [x2] -> rebalance
                    Project #1 auction, ts [x2] -> hash(auction)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn a_sink_that_takes_new_rows_takes_final_ones() {
    let sink = "CREATE SINK out (auction BIGINT, ts TIMESTAMP) WITH (connector = 'files', path = 'o', format = 'csv');";
    let over = |order: &str| {
        let query = "INSERT INTO out SELECT auction, ts FROM bids QUALIFY row_number() OVER (PARTITION BY auction";
        explain_after(sink, &format!("{query} ORDER BY {order}) = 1"))
    };
    expect![[r#"
        Sink #3 out to files [x1]
          TopN #2 first 1 by (auction) ordered by ts as ts passes [x2] -> rebalance
            Project #1 auction, ts [x2] -> hash(auction)
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&over("ts"));
    expect!["error: line 1, column 1: the rows for 'out' are updated, but the connector 'files' with format 'csv' only takes new rows; either aggregate over TUMBLE or HOP, whose rows are final, or write to what takes updates: files with format 'debezium-json' or 'upsert-json', postgres with a PRIMARY KEY, print, blackhole"].assert_eq(&over("ts DESC"));
}

#[test]
fn window_functions_in_event_time_order_are_final() {
    check_explain(
        "SELECT auction, sum(price) OVER (PARTITION BY auction ORDER BY ts) AS total,
                lag(price) OVER (PARTITION BY auction ORDER BY ts) AS before, rank() OVER (ORDER BY ts, auction) AS r
         FROM bids",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 auction, "sum" AS total, "lag" AS before, "rank" AS r [x1] -> forward
                OverWindow #4 by (): rank() OVER (ORDER BY ts ASC NULLS LAST, auction ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) as ts passes [x1] -> forward
                  Project #3 auction, ts, sum, lag [x2] -> rebalance
                    OverWindow #2 by (auction): sum(price) OVER (ORDER BY ts ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), lag(price) OVER (ORDER BY ts ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) as ts passes [x2] -> forward
                      Project #1 auction, price, ts [x2] -> hash(auction)
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT ts, lead(price, 2) OVER (PARTITION BY auction ORDER BY ts) AS behind,
                avg(price) OVER (PARTITION BY auction ORDER BY ts
                                 RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND INTERVAL '5 seconds' FOLLOWING) AS mean
         FROM bids",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 ts, "lead" AS behind, "avg" AS mean [x2] -> rebalance
                OverWindow #2 by (auction): lead(price, 2) OVER (ORDER BY ts ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), avg(price) OVER (ORDER BY ts ASC NULLS LAST RANGE BETWEEN INTERVAL '1 MINS' PRECEDING AND INTERVAL '5.000000000 SECS' FOLLOWING) as ts passes, 2 rows later, 5s later [x2] -> forward
                  Project #1 auction, price, ts [x2] -> hash(auction)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn others_are_updated() {
    for over in [
        "sum(price) OVER (PARTITION BY auction ORDER BY price)",
        "sum(price) OVER (PARTITION BY auction)",
        "ntile(4) OVER (ORDER BY ts)",
        "lag(price) IGNORE NULLS OVER (ORDER BY ts)",
        "sum(price) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
        "count(*) OVER (ORDER BY ts DESC)",
    ] {
        let plan = explain_after("", &format!("SELECT auction, {over} AS x FROM bids"));
        assert!(plan.contains(" at end [x"), "{over}: {plan}");
    }
}

#[test]
fn a_rank_that_is_bounded_otherwise_is_a_window_function() {
    check_explain(
        "SELECT bidder FROM bids QUALIFY rank() OVER (PARTITION BY auction ORDER BY price) <= 2",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 bidder [x2] -> rebalance
                Filter #3 ("rank" <= 2) [x2] -> forward
                  OverWindow #2 by (auction): rank() OVER (ORDER BY price ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) at end [x2] -> forward
                    Project #1 auction, bidder, price [x2] -> hash(auction)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn functions_of_an_order_need_one() {
    let error = |sql: &str| explain_after("", sql);
    expect!["error: line 1, column 25: lag() without ORDER BY in OVER is not supported; say in which order: OVER (PARTITION BY k ORDER BY ts)"].assert_eq(&error("SELECT auction, lag(price) OVER (PARTITION BY auction) AS x FROM bids"));
    expect!["error: line 1, column 1: first_value() without ORDER BY in OVER is not supported; say in which order: OVER (PARTITION BY k ORDER BY ts)"]
        .assert_eq(&error("SELECT first_value(price) OVER w AS x FROM bids WINDOW w AS (PARTITION BY auction)"));
    expect!["error: line 1, column 1: OVER here is not supported; compute it in the SELECT of a subquery, and use it around that"].assert_eq(&error("SELECT auction FROM bids WHERE row_number() OVER (ORDER BY ts) = 1"));
    expect!["error: line 1, column 1: a ROW_NUMBER() below 1 is asked for, but rows are counted from 1"]
        .assert_eq(&error("SELECT auction FROM bids QUALIFY row_number() OVER (ORDER BY ts) < 1"));
    expect![[r#"
        error: line 1, column 16: Invalid function 'frobnicate'.
        Did you mean 'count'?"#]]
    .assert_eq(&error("SELECT frobnicate(price) OVER (ORDER BY ts) AS x FROM bids"));
}

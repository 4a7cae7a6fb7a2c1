//! One graph for each thing that the dialect can say.

use expect_test::expect;

use super::{check_explain, explain_after};

#[test]
fn columns_and_conditions() {
    check_explain(
        "SELECT bidder AS who, price * 2 AS twice, ts FROM bids WHERE price > 10",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Project #2 bidder AS who, (price * 2.0) AS twice, ts [x2] -> rebalance
                Filter #1 (price > 10.0) [x2] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn plain_columns_need_one_projection() {
    check_explain(
        "SELECT b.ts, b.auction FROM (SELECT ts, auction, price FROM bids) b",
        expect![[r#"
            Sink #2 select_1 to result [x1]
              Project #1 ts, auction [x2] -> rebalance
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn tumble_and_hop_are_fused_with_the_aggregation() {
    check_explain(
        "SELECT auction, window_end, count(*) AS n, avg(price) FILTER (WHERE price > 1) AS mean
         FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 minutes') GROUP BY auction, window_start, window_end",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, window_end, "count(1)" AS n, "avg(price) FILTER (WHERE (price > 1.0))" AS mean [x2] -> rebalance
                WindowAggregate #2 TUMBLE(size=10min) on ts by (auction): count(1), avg(price) FILTER (WHERE (price > 1.0)) [x2] -> forward
                  Project #1 auction, price, ts [x2] -> hash(auction)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT window_start, count(DISTINCT bidder) AS n
         FROM HOP(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '1' MINUTE, SIZE => INTERVAL '1 hour') h
         WHERE price > 3 AND window_start > TIMESTAMP '2013-01-01 00:00:00'
         GROUP BY window_start HAVING count(DISTINCT bidder) > 2",
        expect![[r#"
            Sink #7 select_1 to result [x1]
              Project #6 window_start, "count(DISTINCT bidder)" AS n [x1] -> forward
                Filter #5 ("count(DISTINCT bidder)" > 2) [x1] -> forward
                  Filter #4 (window_start > CAST('2013-01-01 00:00:00' AS TIMESTAMP)) [x1] -> forward
                    WindowAggregate #3 HOP(slide=1min, size=1h) on ts by (): count(DISTINCT bidder) [x1] -> forward
                      Project #2 bidder, ts [x2] -> rebalance
                        Filter #1 (price > 3.0) [x2] -> forward
                          Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn windows_without_an_aggregation_are_assigned() {
    check_explain(
        "SELECT auction, window_start FROM TUMBLE(bids, DESCRIPTOR(ts), INTERVAL '1 hour', INTERVAL '5 minutes')",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Project #2 auction, window_start [x2] -> rebalance
                WindowAssign #1 TUMBLE(size=1h) offset=5min on ts [x2] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT auction, count(*) AS n FROM TUMBLE(bids, DESCRIPTOR(ts), INTERVAL '1 hour') GROUP BY auction",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, "count(1)" AS n [x2] -> rebalance
                Aggregate #3 by (auction): count(1) at end [x2] -> forward
                  Project #2 auction, ts [x2] -> hash(auction)
                    WindowAssign #1 TUMBLE(size=1h) on ts [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn window_functions_take_subqueries_and_computed_keys() {
    check_explain(
        "SELECT upper(bidder) AS who, window_end, max(p) AS top
         FROM TUMBLE((SELECT ts, bidder, price * 2 AS p FROM bids WHERE price > 1), DESCRIPTOR(ts), INTERVAL '1 hour')
         GROUP BY upper(bidder), window_start, window_end",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 "upper(bidder)" AS who, window_end, "max(p)" AS top [x2] -> rebalance
                WindowAggregate #4 TUMBLE(size=1h) on ts by (upper(bidder)): max(p) [x2] -> forward
                  Project #3 upper(bidder), p, ts [x2] -> hash(upper(bidder))
                    Project #2 ts, bidder, (price * 2.0) AS p [x2] -> forward
                      Filter #1 (price > 1.0) [x2] -> forward
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "WITH dear AS (SELECT * FROM bids WHERE price > 100)
         SELECT window_end, count(*) AS n FROM TUMBLE(TABLE dear, DESCRIPTOR(ts), INTERVAL '1 hour') GROUP BY window_end",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 window_end, "count(1)" AS n [x1] -> forward
                WindowAggregate #3 TUMBLE(size=1h) on ts by (): count(1) [x1] -> forward
                  Project #2 ts [x2] -> rebalance
                    Filter #1 (price > 100.0) [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn windows_cascade() {
    let view = "CREATE VIEW minutes AS SELECT auction, window_end AS minute, count(*) AS n
                FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 minute') GROUP BY auction, window_start, window_end";
    let sql = "SELECT window_end, max(n) AS top FROM TUMBLE(TABLE minutes, DESCRIPTOR(minute), INTERVAL '1 hour')
               GROUP BY window_end";
    expect![[r#"
        Sink #7 select_1 to result [x1]
          Project #6 window_end, "max(n)" AS top [x1] -> forward
            WindowAggregate #5 TUMBLE(size=1h) on minute by (): max(n) [x1] -> forward
              Project #4 n, minute [x2] -> rebalance
                Project #3 auction, window_end AS minute, "count(1)" AS n [x2] -> forward
                  WindowAggregate #2 TUMBLE(size=1min) on ts by (auction): count(1) [x2] -> forward
                    Project #1 auction, ts [x2] -> hash(auction)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(view, sql));
}

#[test]
fn aggregations_without_windows_update() {
    check_explain(
        "SELECT bidder, sum(price) AS total FROM bids GROUP BY bidder HAVING sum(price) > 5",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 bidder, "sum(price)" AS total [x2] -> rebalance
                Filter #3 ("sum(price)" > 5.0) [x2] -> forward
                  Aggregate #2 by (bidder): sum(price) at end [x2] -> forward
                    Project #1 bidder, price, ts [x2] -> hash(bidder)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT count(*) AS n FROM bids",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 "count(1)" AS n [x1] -> forward
                Aggregate #2 by (): count(1) at end [x1] -> forward
                  Project #1 ts [x2] -> rebalance
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT DISTINCT bidder FROM bids",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Aggregate #2 by (bidder):  at end [x2] -> rebalance
                Project #1 bidder, ts [x2] -> hash(bidder)
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn interval_joins_take_bounds_from_on_and_where() {
    check_explain(
        "SELECT a.id, b.price FROM auctions a JOIN bids b ON a.id = b.auction
         AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour' AND b.price > a.rating WHERE a.seller = 'x' AND b.price > 0",
        expect![[r#"
            Sink #7 select_1 to result [x1]
              Project #6 id, price [x2] -> rebalance
                IntervalJoin #5 (id) = (auction), ts - opened in [0us, 1h] where (price > CAST(rating AS DOUBLE)) [x2] -> forward
                  Filter #1 (seller = 'x') [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #4 auction, price, ts [x2] -> hash(auction)
                    Filter #3 (price > 0.0) [x2] -> forward
                      Source #2 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT a.id, b.price, b.ts FROM auctions a, bids b
         WHERE a.id = b.auction AND a.opened < b.ts AND b.ts - INTERVAL '5 minutes' < a.opened",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 id, price, ts [x2] -> rebalance
                IntervalJoin #4 (id) = (auction), ts - opened in [1us, 299999999us] [x2] -> forward
                  Project #2 id, opened [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #3 auction, price, ts [x2] -> hash(auction)
                    Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn join_keys_may_be_computed() {
    check_explain(
        "SELECT b.price, a.opened FROM bids b JOIN auctions a ON upper(a.seller) = b.bidder AND a.opened = b.ts + INTERVAL '1 hour'",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 price, opened [x2] -> rebalance
                IntervalJoin #4 (bidder, __key0) = (__key0, opened), opened - ts in [1h, 1h] [x2] -> forward
                  Project #2 bidder, price, ts, (ts + INTERVAL '1 HOURS') AS __key0 [x2] -> hash(bidder, __key0)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #3 seller, opened, upper(seller) AS __key0 [x2] -> hash(__key0, opened)
                    Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
}

#[test]
fn temporal_joins_chain() {
    check_explain(
        "SELECT b.auction, a.seller, o.rating AS other FROM bids b
         LEFT JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON b.auction = a.id
         JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS o ON o.seller = b.bidder
         WHERE b.price > 1 AND a.rating > 3",
        expect![[r#"
            Sink #9 select_1 to result [x1]
              Project #8 auction, "a.seller" AS seller, "o.rating" AS other [x2] -> rebalance
                TemporalJoin #7 (bidder) = (seller), newest opened as of ts [x2] -> forward
                  Project #5 auction, bidder, price, ts, seller, rating [x2] -> hash(bidder)
                    Filter #4 (rating > 3) [x2] -> forward
                      TemporalJoin #3 left (auction) = (id), newest opened as of ts [x2] -> forward
                        Filter #2 (price > 1.0) [x2] -> hash(auction)
                          Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                        Source #0 auctions from files watermark(opened AS opened) [x2] -> hash(id)
                  Project #6 seller, opened, rating [x2] -> hash(seller)
                    Source #0 (see above) [x2] -> forward
        "#]],
    );
}

#[test]
fn unions_match_by_position() {
    check_explain(
        "SELECT ts, price FROM bids UNION ALL SELECT opened, rating FROM auctions ORDER BY ts DESC LIMIT 10",
        expect![[r#"
            Sink #5 select_1 to result ordered by ts desc limit 10 [x1]
              Union #4  [x2] -> rebalance
                Project #1 ts, price [x2] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                Project #3 opened AS ts, CAST(rating AS DOUBLE) AS price [x2] -> forward
                  Source #2 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT 'all' AS what, count(*) AS n FROM bids UNION ALL SELECT bidder, auction FROM bids ORDER BY 1",
        expect![[r#"
            Sink #7 select_1 to result ordered by what [x1]
              Union #6  [x1] -> forward
                Project #3 'all' AS what, "count(1)" AS n [x1] -> forward
                  Aggregate #2 by (): count(1) at end [x1] -> forward
                    Project #1 ts [x2] -> rebalance
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                Project #5 what, n, 0 AS __op [x2] -> rebalance
                  Project #4 bidder AS what, auction AS n [x2] -> forward
                    Source #0 (see above) [x2] -> forward
        "#]],
    );
}

#[test]
fn a_union_of_which_no_column_is_read_has_one_all_the_same() {
    check_explain(
        "SELECT count(*) AS n FROM (SELECT price FROM bids UNION ALL SELECT rating FROM auctions)",
        expect![[r#"
            Sink #7 select_1 to result [x1]
              Project #6 "count(1)" AS n [x1] -> forward
                Aggregate #5 by (): count(1) at end [x1] -> forward
                  Union #4  [x2] -> rebalance
                    Project #1 true AS __row [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                    Project #3 true AS __row [x2] -> forward
                      Source #2 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
}

#[test]
fn models_are_trained_once_and_their_versions_broadcast() {
    let model =
        "CREATE MODEL dear WITH (model_type = 'logistic_reg', label = 'expensive', publish_every = '15 minutes',
                                         learning_rate = 0.05) AS
                 SELECT ts, bidder, auction, price > 10 AS expensive FROM bids";
    let sql =
        "SELECT bidder, predicted_expensive, predicted_expensive_prob AS p FROM ML.PREDICT(MODEL dear, TABLE bids)
               UNION ALL
               SELECT bidder, predicted_expensive, predicted_expensive_prob FROM ML_PREDICT(TABLE bids, MODEL dear)";
    expect![[r#"
        Sink #8 select_1 to result [x1]
          Union #7  [x2] -> rebalance
            Project #5 bidder, predicted_expensive, predicted_expensive_prob AS p [x2] -> forward
              Predict #3 dear consistent: bidder, auction [x2] -> forward
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                Train #2 dear logistic_reg label=expensive time=ts every 15min: bidder, auction [x1] -> broadcast
                  Project #1 ts, bidder, auction, (price > 10.0) AS expensive [x2] -> rebalance
                    Source #0 (see above) [x2] -> forward
            Project #6 bidder, predicted_expensive, predicted_expensive_prob AS p [x2] -> forward
              Predict #4 dear consistent: bidder, auction [x2] -> forward
                Source #0 (see above) [x2] -> forward
                Train #2 (see above) [x1] -> broadcast
    "#]]
    .assert_eq(&explain_after(model, sql));
}

#[test]
fn sinks() {
    check_explain(
        "CREATE SINK out WITH (connector = 'files', path = 'out', format = 'parquet') AS SELECT ts, price FROM bids",
        expect![[r#"
            Sink #2 out to files [x1]
              Project #1 ts, price [x2] -> rebalance
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    let sink = "CREATE SINK totals (who VARCHAR, total DOUBLE) WITH (connector = 'print')";
    let sql = "INSERT INTO totals SELECT bidder, sum(auction) FROM bids GROUP BY bidder";
    expect![[r#"
        Sink #5 totals to print [x1]
          Project #4 bidder AS who, CAST("sum(bids.auction)" AS DOUBLE) AS total [x2] -> rebalance
            Project #3 bidder, "sum(auction)" AS sum(bids.auction) [x2] -> forward
              Aggregate #2 by (bidder): sum(auction) updating [x2] -> forward
                Project #1 bidder, auction, ts [x2] -> hash(bidder)
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(sink, sql));
    let view = "CREATE VIEW v AS SELECT auction, ts FROM bids";
    let sql = "CREATE SINK s FROM v WITH (connector = 'blackhole')";
    expect![[r#"
        Sink #2 s to blackhole [x2]
          Project #1 auction, ts [x2] -> forward
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(view, sql));
}

#[test]
fn one_parallel_instance_chains_everything() {
    expect![[r#"
        Sink #5 select_1 to result [x1]
          Project #4 "count(1)" AS n [x1] -> forward
            Aggregate #3 by (): count(1) at end [x1] -> forward
              Project #2 ts [x1] -> forward
                Filter #1 (price > 1.0) [x1] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x1] -> forward
    "#]]
    .assert_eq(&explain_after("SET parallelism = 1", "SELECT count(*) AS n FROM bids WHERE price > 1"));
}

#[test]
fn of_nested_limits_the_least_counts() {
    for sql in [
        "(SELECT auction FROM bids LIMIT 10) LIMIT 5",
        "(SELECT auction FROM bids LIMIT 5) LIMIT 10",
        "SELECT * FROM (SELECT auction FROM bids LIMIT 10) LIMIT 5",
        "(SELECT auction FROM bids OFFSET 0) LIMIT 5",
    ] {
        let text = explain_after("", sql);
        assert!(text.contains("limit 5"), "{sql}:\n{text}");
    }
}

#[test]
fn behind_a_join_event_time_is_the_column_that_was_joined_by() {
    let view = "CREATE VIEW hourly AS SELECT auction, window_end, window_time, count(*) AS n
        FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour') GROUP BY auction, window_start, window_end, window_time;
        CREATE VIEW named AS SELECT h.window_end, h.window_time, a.seller FROM hourly h
        JOIN auctions FOR SYSTEM_TIME AS OF h.window_end AS a ON a.id = h.auction;";
    let windows = |time: &str| {
        format!(
            "SELECT window_start, count(*) AS n FROM TUMBLE(TABLE renamed, DESCRIPTOR({time}), INTERVAL '1 day')
                 GROUP BY window_start, window_end"
        )
    };
    let renamed = format!("{view} CREATE VIEW renamed AS SELECT window_end AS closed, window_time AS last FROM named;");
    assert!(explain_after(&renamed, &windows("closed")).contains("WindowAggregate"));
    let error = explain_after(&renamed, &windows("last"));
    assert!(error.contains("'last' is not an event-time column; DESCRIPTOR takes closed here"), "{error}");
}

#[test]
fn cumulating_windows_take_positional_and_named_arguments() {
    check_explain(
        "SELECT bidder, window_start, window_end, count(*) AS n
         FROM CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 minutes', INTERVAL '1 hour', INTERVAL '5 minutes')
         GROUP BY bidder, window_start, window_end",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 bidder, window_start, window_end, "count(1)" AS n [x2] -> rebalance
                WindowAggregate #2 CUMULATE(step=10min, size=1h) offset=5min on ts by (bidder): count(1) [x2] -> forward
                  Project #1 bidder, ts [x2] -> hash(bidder)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT * FROM CUMULATE(SIZE => INTERVAL '1 hour', DATA => TABLE bids, STEP => INTERVAL '20 minutes',
                                TIMECOL => DESCRIPTOR(ts))",
        expect![[r#"
            Sink #2 select_1 to result [x1]
              WindowAssign #1 CUMULATE(step=20min, size=1h) on ts [x2] -> rebalance
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn cumulating_windows_grouped_by_their_start_alone_are_grouped_together() {
    check_explain(
        "SELECT window_start, count(*) AS n
         FROM CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 minutes', INTERVAL '1 hour') GROUP BY window_start",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 window_start, "count(1)" AS n [x2] -> rebalance
                Aggregate #3 by (window_start): count(1) at end [x2] -> forward
                  Project #2 window_start, ts [x2] -> hash(window_start)
                    WindowAssign #1 CUMULATE(step=10min, size=1h) on ts [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn sessions_are_those_of_the_keys_of_partition_by() {
    check_explain(
        "SELECT bidder, auction, window_start, window_end, sum(price) AS total
         FROM SESSION(TABLE bids PARTITION BY (auction, bidder), DESCRIPTOR(ts), INTERVAL '5 minutes')
         WHERE auction > 7 AND window_end - window_start > INTERVAL '1 minute'
         GROUP BY bidder, auction, window_start, window_end",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 bidder, auction, window_start, window_end, "sum(price)" AS total [x2] -> rebalance
                Filter #4 (CAST((window_end - window_start) AS INTERVAL) > INTERVAL '1 MINS') [x2] -> forward
                  SessionWindow #3 SESSION(gap=5min) on ts by (bidder, auction): sum(price) [x2] -> forward
                    Project #2 bidder, auction, price, ts [x2] -> hash(bidder, auction)
                      Filter #1 (auction > 7) [x2] -> forward
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT window_start, window_end, count(*) AS n
         FROM SESSION(GAP => INTERVAL '5 minutes', DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts))
         GROUP BY window_start, window_end",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 window_start, window_end, "count(1)" AS n [x1] -> forward
                SessionWindow #2 SESSION(gap=5min) on ts by (): count(1) [x1] -> forward
                  Project #1 ts [x2] -> rebalance
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn time_that_follows_the_clock_and_sources_that_keep_pace() {
    let source = "CREATE SOURCE clicks (k VARCHAR, pt AS PROCTIME() NOT NULL)
                    WITH (connector = 'files', path = 'clicks', format = 'csv');";
    let sql = "SELECT k, window_end, count(*) AS n
               FROM TUMBLE(TABLE clicks, DESCRIPTOR(pt), INTERVAL '10 seconds') GROUP BY k, window_end";
    expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 k, window_end, "count(1)" AS n [x2] -> rebalance
            WindowAggregate #1 TUMBLE(size=10s) on pt by (k): count(1) [x2] -> forward
              Source #0 clicks from files watermark(pt AS pt) [x2] -> hash(k)
    "#]]
    .assert_eq(&explain_after(source, sql));
    let source = "SET watermark_max_drift = '10s';
                  CREATE SOURCE clicks (ts TIMESTAMP, WATERMARK FOR ts AS ts)
                    WITH (connector = 'files', path = 'clicks', format = 'csv', watermark_group = 'g');";
    expect![[r#"
        Sink #1 select_1 to result [x1]
          Source #0 clicks from files watermark(ts AS ts) keeps pace with group 'g' of its worker [x2] -> rebalance
    "#]]
    .assert_eq(&explain_after(source, "SELECT * FROM clicks"));
}

#[test]
fn a_generated_source_ends_if_it_has_so_many_events() {
    let source = |options: &str| {
        format!(
            "CREATE SOURCE bid (WATERMARK FOR date_time AS date_time)
             WITH (connector = 'nexmark', table = 'bid'{options})"
        )
    };
    let count = "SELECT auction, count(*) AS n FROM bid GROUP BY auction";
    expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 auction, "count(1)" AS n [x2] -> rebalance
            Aggregate #2 by (auction): count(1) at end [x2] -> forward
              Project #1 auction, date_time [x2] -> hash(auction)
                Source #0 bid from nexmark watermark(date_time AS date_time) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(&source(", events = 1000"), count));
    expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 auction, "count(1)" AS n [x2] -> rebalance
            Aggregate #2 by (auction): count(1) updating [x2] -> forward
                (state grows without bound: it keeps a group for every (auction))
              Project #1 auction, date_time [x2] -> hash(auction)
                Source #0 bid from nexmark watermark(date_time AS date_time) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(&source(""), count));
}

const LATE_SINK: &str =
    "CREATE SINK late (auction BIGINT, bidder VARCHAR, price DOUBLE, ts TIMESTAMP) WITH (connector = 'blackhole');";

#[test]
fn mod_is_the_remainder() {
    expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 ((auction + 1) % 123) AS m [x2] -> rebalance
            Filter #1 ((auction % 2) = 0) [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after("", "SELECT mod(auction + 1, 123) AS m FROM bids WHERE MOD(auction, 2) = 0"));
}

#[test]
fn late_rows_go_to_a_sink_from_the_tasks_of_their_windows() {
    let sql = "SELECT upper(bidder) AS who, window_end, count(*) AS n
               FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 minutes') WHERE price > 1
               GROUP BY upper(bidder), window_start, window_end LATE DATA INTO late";
    expect![[r#"
        Sink #11 late to blackhole [x2]
          Project #5 auction, bidder, price, ts [x2] -> forward
            Filter #4 late [x2] -> forward
              LateSplit #3 TUMBLE(size=10min) on ts [x2] -> forward
                Project #2 auction, bidder, price, ts, upper(bidder) [x2] -> hash(upper(bidder))
                  Filter #1 (price > 1.0) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        Sink #10 select_1 to result [x1]
          Project #9 "upper(bidder)" AS who, window_end, "count(1)" AS n [x2] -> rebalance
            WindowAggregate #8 TUMBLE(size=10min) on ts by (upper(bidder)): count(1) [x2] -> forward
              Project #7 upper(bidder), ts [x2] -> forward
                Filter #6 NOT late [x2] -> forward
                  LateSplit #3 (see above) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(LATE_SINK, sql));
    let sql = "SELECT bidder, window_start, window_end, count(*) AS n
               FROM SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '10 minutes')
               GROUP BY bidder, window_start, window_end LATE DATA INTO late";
    expect![[r#"
        Sink #9 late to blackhole [x2]
          Project #3 auction, bidder, price, ts [x2] -> forward
            Filter #2 late [x2] -> forward
              LateSplit #1 SESSION(gap=10min) on ts by (bidder) [x2] -> forward
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> hash(bidder)
        Sink #8 select_1 to result [x1]
          Project #7 bidder, window_start, window_end, "count(1)" AS n [x2] -> rebalance
            SessionWindow #6 SESSION(gap=10min) on ts by (bidder): count(1) [x2] -> forward
              Project #5 bidder, ts [x2] -> forward
                Filter #4 NOT late [x2] -> forward
                  LateSplit #1 (see above) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(LATE_SINK, sql));
}

/// State of sessions moves by the hash of their keys, so whoever keeps some has the keys in its order.
#[test]
fn late_rows_of_sessions_are_found_by_the_keys_that_are_hashed() {
    let sql = "SELECT auction, bidder, window_start, window_end, count(*) AS n
               FROM SESSION(TABLE bids PARTITION BY (bidder, auction), DESCRIPTOR(ts), INTERVAL '10 minutes')
               GROUP BY auction, bidder, window_start, window_end LATE DATA INTO late";
    expect![[r#"
        Sink #9 late to blackhole [x2]
          Project #3 auction, bidder, price, ts [x2] -> forward
            Filter #2 late [x2] -> forward
              LateSplit #1 SESSION(gap=10min) on ts by (auction, bidder) [x2] -> forward
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> hash(auction, bidder)
        Sink #8 select_1 to result [x1]
          Project #7 auction, bidder, window_start, window_end, "count(1)" AS n [x2] -> rebalance
            SessionWindow #6 SESSION(gap=10min) on ts by (auction, bidder): count(1) [x2] -> forward
              Project #5 auction, bidder, ts [x2] -> forward
                Filter #4 NOT late [x2] -> forward
                  LateSplit #1 (see above) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(LATE_SINK, sql));
}

#[test]
fn late_rows_update_results() {
    check_explain(
        "SELECT auction, window_end, count(*) AS n
         FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2 seconds', INTERVAL '10 seconds')
         GROUP BY auction, window_start, window_end HAVING count(*) > 2 LATE DATA UPDATE WITHIN INTERVAL '1 minute'",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, window_end, "count(1)" AS n [x2] -> rebalance
                Filter #3 ("count(1)" > 2) [x2] -> forward
                  WindowAggregate #2 HOP(slide=2s, size=10s) on ts by (auction): count(1), updated within 1min [x2] -> forward
                    Project #1 auction, ts [x2] -> hash(auction)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn a_session_without_an_aggregation_is_rows_with_its_bounds() {
    check_explain(
        "SELECT * FROM SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '10 minutes')
         WHERE window_end - window_start > INTERVAL '1 hour'",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Filter #2 (CAST((window_end - window_start) AS INTERVAL) > INTERVAL '1 HOURS') [x2] -> rebalance
                SessionAssign #1 SESSION(gap=10min) on ts by (bidder) [x2] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> hash(bidder)
        "#]],
    );
}

#[test]
fn changes_are_gathered_for_as_long_as_a_query_says() {
    check_explain(
        "CREATE SINK s WITH (connector = 'print') AS
         SELECT n, count(*) AS bidders FROM (SELECT bidder, count(*) AS n FROM bids GROUP BY bidder) GROUP BY n
         EMIT EVERY INTERVAL '2 seconds'",
        expect![[r#"
            Sink #6 s to print [x1]
              Project #5 "count(1)" AS n, "count(1)_2" AS bidders [x2] -> rebalance
                Aggregate #4 by (count(1)): count(1) updating every 2s [x2] -> forward
                  Project #3 count(1) [x2] -> hash(count(1))
                    Aggregate #2 by (bidder): count(1) updating every 2s [x2] -> forward
                      Project #1 bidder, ts [x2] -> hash(bidder)
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    let view = "CREATE VIEW v AS SELECT bidder, count(*) AS n FROM bids GROUP BY bidder EMIT EVERY INTERVAL '1 minute'";
    let sql = "CREATE SINK s WITH (connector = 'print') AS SELECT n, count(*) AS bidders FROM v GROUP BY n";
    expect![[r#"
        Sink #7 s to print [x1]
          Project #6 n, "count(1)" AS bidders [x2] -> rebalance
            Aggregate #5 by (n): count(1) updating [x2] -> forward
              Project #4 n [x2] -> hash(n)
                Project #3 bidder, "count(1)" AS n [x2] -> forward
                  Aggregate #2 by (bidder): count(1) updating every 1min [x2] -> forward
                    Project #1 bidder, ts [x2] -> hash(bidder)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(view, sql));
}

/// A source whose rows are updated.
const CHANGES: &str = "CREATE SOURCE changes (k BIGINT NOT NULL, v BIGINT, other VARCHAR, double AS (v * 2),
                                              PRIMARY KEY (k) NOT ENFORCED)
  WITH (connector = 'files', path = 'changes', format = 'debezium-json');";

#[test]
fn a_source_of_changes_feeds_updating_operators() {
    let explain = |sql: &str| explain_after(CHANGES, sql);
    expect![[r#"
        Sink #5 select_1 to result [x1]
          Project #4 v, "sum(""double"")" AS total [x2] -> rebalance
            Aggregate #3 by (v): sum("double") at end [x2] -> forward
              Project #2 v, double [x1] -> hash(v)
                Filter #1 (v > 3) [x1] -> forward
                  Source #0 changes from files [x1] -> forward
    "#]]
    .assert_eq(&explain("SELECT v, sum(double) AS total FROM changes WHERE v > 3 GROUP BY v"));
    expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 k, v [x1] -> forward
            Source #0 changes from files [x1] -> forward
    "#]]
    .assert_eq(&explain("SELECT k, v FROM changes"));
}

#[test]
fn a_source_of_the_last_rows_of_keys_is_made_into_a_changelog() {
    let keyed = CHANGES.replace("debezium-json", "upsert-json");
    expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 k, double [x2] -> rebalance
            Normalize #1 last row of (k) ttl=1h [x2] -> forward
              Source #0 changes from files [x1] -> hash(k)
    "#]]
    .assert_eq(&explain_after(&format!("{keyed} SET state_ttl = '1h'"), "SELECT k, double FROM changes"));
    expect![[r#"
        Sink #6 select_1 to result [x1]
          Project #5 "a.k" AS k, v [x2] -> rebalance
            Join #4 inner (k) = (k) [x2] -> forward
              Project #2 k [x2] -> hash(k)
                Normalize #1 last row of (k) [x2] -> forward
                  Source #0 changes from files [x1] -> hash(k)
              Project #3 k, v [x2] -> hash(k)
                Normalize #1 (see above) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(&keyed, "SELECT a.k, b.v FROM changes a JOIN changes b ON a.k = b.k"));
}

#[test]
fn a_sink_of_keys_knows_them() {
    let sink = "CREATE SINK out (id BIGINT, n BIGINT, PRIMARY KEY (id) NOT ENFORCED)
                  WITH (connector = 'files', path = 'out', format = 'upsert-json');";
    let explain = |sql: &str| explain_after(sink, &format!("INSERT INTO out {sql}"));
    expect![[r#"
        Sink #5 out to files [x1]
          Project #4 auction AS id, "count(*)" AS n [x2] -> rebalance
            Project #3 auction, "count(1)" AS count(*) [x2] -> forward
              Aggregate #2 by (auction): count(1) updating [x2] -> forward
                Project #1 auction, ts [x2] -> hash(auction)
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain("SELECT auction, count(*) FROM bids GROUP BY auction"));
    // Rows that only come replace each other by any key, the latest one last.
    let keyed = "CREATE SINK out (id BIGINT, seen TIMESTAMP, PRIMARY KEY (id) NOT ENFORCED)
                   WITH (connector = 'files', path = 'out', format = 'upsert-json');";
    expect![[r#"
        Sink #3 out to files [x1]
          Project #2 auction AS id, ts AS seen [x2] -> rebalance
            Project #1 auction, ts [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(keyed, "INSERT INTO out SELECT auction, ts FROM bids"));
    expect!["error: line 1, column 1: which row of a key is the last one for sink 'out' is not known; keep the event time among the query's columns, or SET parallelism = 1"].assert_eq(&explain("SELECT auction, CAST(price AS BIGINT) FROM bids"));
}

#[test]
fn a_watched_source_has_no_end() {
    let source =
        |watch: &str| format!("CREATE SOURCE w (a INT) WITH (connector = 'files', path = 'w', format = 'csv'{watch})");
    let sql = "SELECT a FROM w ORDER BY a";
    assert!(!explain_after(&source(""), sql).contains("error"), "{}", explain_after(&source(""), sql));
    expect![[r#"
        Sink #1 select_1 to result ordered by a [x1]
          Source #0 w from files [x1] -> forward
    "#]]
    .assert_eq(&explain_after(&source(", watch = '1s'"), sql));
}

//! Joins of every kind as graphs: what is a bound, what filters where, which time is kept.

use expect_test::expect;

use super::{check_error, check_explain, explain_after};

/// Bids and auctions in windows, plain and aggregated.
const WINDOWS: &str = "
CREATE VIEW tumbled AS SELECT auction, bidder, price, window_start, window_end
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 minutes');
CREATE VIEW opened AS SELECT id, seller, window_start, window_end
  FROM TUMBLE(TABLE auctions, DESCRIPTOR(opened), INTERVAL '10 minutes');";

#[test]
fn a_condition_on_the_kept_side_decides_on_partners_only() {
    let query = |kind: &str| {
        format!(
            "SELECT a.id, b.price FROM auctions a {kind} JOIN bids b ON a.id = b.auction AND a.rating > 1 AND b.price > 2
             AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour'"
        )
    };
    check_explain(
        &query("LEFT"),
        expect![[r#"
        Sink #7 select_1 to result [x1]
          Project #6 id, price [x2] -> rebalance
            IntervalJoin #5 left (id) = (auction), ts - opened in [0us, 1h] where (rating > 1) [x2] -> forward
              Project #3 id, opened, rating [x2] -> hash(id)
                Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
              Project #4 auction, price, ts [x2] -> hash(auction)
                Filter #2 (price > 2.0) [x2] -> forward
                  Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check_explain(
        &query("RIGHT"),
        expect![[r#"
        Sink #7 select_1 to result [x1]
          Project #6 id, price [x2] -> rebalance
            IntervalJoin #5 right (id) = (auction), ts - opened in [0us, 1h] where (price > 2.0) [x2] -> forward
              Project #3 id, opened, rating [x2] -> hash(id)
                Filter #1 (rating > 1) [x2] -> forward
                  Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
              Project #4 auction, price, ts [x2] -> hash(auction)
                Source #2 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check_explain(
        &query("FULL"),
        expect![[r#"
        Sink #6 select_1 to result [x1]
          Project #5 id, price [x2] -> rebalance
            IntervalJoin #4 full (id) = (auction), ts - opened in [0us, 1h] where ((rating > 1) AND (price > 2.0)) [x2] -> forward
              Project #2 id, opened, rating [x2] -> hash(id)
                Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
              Project #3 auction, price, ts [x2] -> hash(auction)
                Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
}

#[test]
fn a_condition_above_an_outer_join_sees_its_nulls() {
    check_explain(
        "SELECT a.id, b.price FROM auctions a LEFT JOIN bids b ON a.id = b.auction AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour'
         WHERE a.rating > 1 AND (b.price IS NULL OR b.price > 5)",
        expect![[r#"
            Sink #8 select_1 to result [x1]
              Project #7 id, price [x2] -> rebalance
                Filter #6 (price IS NULL OR (price > 5.0)) [x2] -> forward
                  IntervalJoin #5 left (id) = (auction), ts - opened in [0us, 1h] [x2] -> forward
                    Project #3 id, opened, rating [x2] -> hash(id)
                      Filter #1 (rating > 1) [x2] -> forward
                        Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                    Project #4 auction, price, ts [x2] -> hash(auction)
                      Source #2 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    // No NULL passes: the join may as well be an inner one.
    check_explain(
        "SELECT a.id, b.price FROM auctions a LEFT JOIN bids b ON a.id = b.auction AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour'
         WHERE b.price > 5",
        expect![[r#"
            Sink #7 select_1 to result [x1]
              Project #6 id, price [x2] -> rebalance
                IntervalJoin #5 (id) = (auction), ts - opened in [0us, 1h] [x2] -> forward
                  Project #3 id, opened [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #4 auction, price, ts [x2] -> hash(auction)
                    Filter #2 (price > 5.0) [x2] -> forward
                      Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn exists_and_in_are_semi_joins_and_their_negations_anti_joins() {
    check_explain(
        "SELECT a.id FROM auctions a WHERE a.rating > 1 AND EXISTS (SELECT 1 FROM bids b WHERE b.auction = a.id AND b.price > 2
         AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour')",
        expect![[r#"
            Sink #8 select_1 to result [x1]
              Project #7 id [x2] -> rebalance
                IntervalJoin #6 left semi (id) = (auction), ts - opened in [0us, 1h] [x2] -> forward
                  Project #4 id, opened, rating [x2] -> hash(id)
                    Filter #1 (rating > 1) [x2] -> forward
                      Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #5 auction, ts [x2] -> hash(auction)
                    Filter #3 (price > 2.0) [x2] -> forward
                      Source #2 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT a.id, a.opened FROM auctions a WHERE NOT EXISTS (SELECT * FROM bids b WHERE b.auction = a.id AND b.price > a.rating
         AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour')",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 id, opened [x2] -> rebalance
                IntervalJoin #4 left anti (id) = (auction), ts - opened in [0us, 1h] where (price > CAST(rating AS DOUBLE)) [x2] -> forward
                  Project #2 id, opened, rating [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #3 auction, price, ts [x2] -> hash(auction)
                    Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT a.id FROM auctions a WHERE a.id IN (SELECT b.auction FROM bids b WHERE b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour')",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 id [x2] -> rebalance
                IntervalJoin #4 left semi (id) = (auction), ts - opened in [0us, 1h] [x2] -> forward
                  Project #2 id, opened [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #3 auction, ts [x2] -> hash(auction)
                    Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT b.auction FROM bids b WHERE b.ts NOT IN (SELECT t.window_end FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour') t)",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 auction [x2] -> rebalance
                IntervalJoin #4 left anti (ts) = (window_end), window_end - ts in [0us, 0us] [x2] -> forward
                  Project #2 auction, ts [x2] -> hash(ts)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #3 window_end [x2] -> hash(window_end)
                    WindowAssign #1 TUMBLE(size=1h) on ts [x2] -> forward
                      Source #0 (see above) [x2] -> forward
        "#]],
    );
}

#[test]
fn not_in_over_what_may_be_null_and_exists_under_or_are_refused() {
    check_error(
        "SELECT a.id FROM auctions a WHERE a.id NOT IN (SELECT b.auction FROM bids b WHERE b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour')",
        expect![[r#"
            line 1, column 1: NOT IN (SELECT …) over columns that may be NULL is not supported; write NOT EXISTS (SELECT … WHERE b.k = a.k), which says what is meant of NULL
        "#]],
    );
    check_error(
        "SELECT a.id FROM auctions a WHERE a.rating > 3 OR EXISTS (SELECT 1 FROM bids b WHERE b.auction = a.id AND b.ts = a.opened)",
        expect![[r#"
            line 1, column 1: a subquery under OR is not supported; a condition with EXISTS or IN (SELECT …) stands alone or behind AND
        "#]],
    );
}

#[test]
fn semi_and_anti_joins_by_name() {
    check_explain(
        "SELECT a.id FROM auctions a LEFT SEMI JOIN bids b ON a.id = b.auction AND b.ts = a.opened",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 id [x2] -> rebalance
                IntervalJoin #4 left semi (id, opened) = (auction, ts), ts - opened in [0us, 0us] [x2] -> forward
                  Project #2 id, opened [x2] -> hash(id, opened)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #3 auction, ts [x2] -> hash(auction, ts)
                    Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT b.auction, b.ts FROM auctions a RIGHT ANTI JOIN bids b ON a.id = b.auction AND b.ts = a.opened AND b.price > 1",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 auction, ts [x2] -> rebalance
                IntervalJoin #4 right anti (id, opened) = (auction, ts), ts - opened in [0us, 0us] where (price > 1.0) [x2] -> forward
                  Project #2 id, opened [x2] -> hash(id, opened)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
                  Project #3 auction, price, ts [x2] -> hash(auction, ts)
                    Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn windowed_sides_join_by_their_windows() {
    let query = |kind: &str| {
        format!(
            "SELECT t.bidder, o.seller, t.window_end FROM tumbled t {kind} JOIN opened o
             ON t.window_start = o.window_start AND t.window_end = o.window_end"
        )
    };
    expect![[r#"
        Sink #9 select_1 to result [x1]
          Project #8 bidder, seller, "t.window_end" AS window_end [x2] -> rebalance
            IntervalJoin #7 (window_start, window_end, auction) = (window_start, window_end, id), window_end - window_end in [0us, 0us] [x2] -> forward
              Project #6 auction, bidder, window_start, window_end [x2] -> hash(window_start, window_end, auction)
                Project #2 auction, bidder, price, window_start, window_end [x2] -> forward
                  WindowAssign #1 TUMBLE(size=10min) on ts [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #5 id, seller, window_start, window_end [x2] -> hash(window_start, window_end, id)
                WindowAssign #4 TUMBLE(size=10min) on opened [x2] -> forward
                  Source #3 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]].assert_eq(&explain_after(WINDOWS, &format!("{} AND t.auction = o.id", query(""))));
    expect![[r#"
        Sink #10 select_1 to result [x1]
          Project #9 bidder, seller, "t.window_end" AS window_end [x2] -> rebalance
            IntervalJoin #8 left (window_start, window_end) = (window_start, window_end), window_end - window_end in [0us, 0us] [x2] -> forward
              Project #6 bidder, window_start, window_end [x2] -> hash(window_start, window_end)
                Project #2 auction, bidder, price, window_start, window_end [x2] -> forward
                  WindowAssign #1 TUMBLE(size=10min) on ts [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #7 seller, window_start, window_end [x2] -> hash(window_start, window_end)
                Project #5 id, seller, window_start, window_end [x2] -> forward
                  WindowAssign #4 TUMBLE(size=10min) on opened [x2] -> forward
                    Source #3 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]].assert_eq(&explain_after(WINDOWS, &query("LEFT")));
    expect![[r#"
        Sink #8 select_1 to result [x1]
          IntervalJoin #7 left semi (auction, window_end) = (id, window_end), window_end - window_end in [0us, 0us] [x2] -> rebalance
            Project #2 auction, bidder, price, window_start, window_end [x2] -> hash(auction, window_end)
              WindowAssign #1 TUMBLE(size=10min) on ts [x2] -> forward
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
            Project #6 id, window_end [x2] -> hash(id, window_end)
              Project #5 id, seller, window_start, window_end [x2] -> forward
                WindowAssign #4 TUMBLE(size=10min) on opened [x2] -> forward
                  Source #3 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]].assert_eq(&explain_after(
        WINDOWS,
        "SELECT * FROM tumbled t WHERE t.auction IN (SELECT o.id FROM opened o WHERE o.window_end = t.window_end)",
    ));
}

#[test]
fn joins_without_equal_keys_run_in_one_instance_unless_time_is_a_key() {
    check_explain(
        "SELECT b.price FROM bids b JOIN auctions a ON a.opened BETWEEN b.ts AND b.ts + INTERVAL '1 hour'",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 price [x1] -> forward
                IntervalJoin #4 () = (), opened - ts in [0us, 1h] [x1] -> forward
                  Project #2 price, ts [x2] -> rebalance
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #3 opened [x2] -> rebalance
                    Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
    check_explain(
        "SELECT b.price FROM bids b JOIN auctions a ON a.opened >= b.ts AND a.opened <= b.ts",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 price [x2] -> rebalance
                IntervalJoin #4 (ts) = (opened), opened - ts in [0us, 0us] [x2] -> forward
                  Project #2 price, ts [x2] -> hash(ts)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #3 opened [x2] -> hash(opened)
                    Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
}

/// The most bid-on auctions of each window: counts per window, joined with their maximum.
#[test]
fn nexmark_q5() {
    check_explain(
        "SELECT ab.auction, ab.num FROM (
           SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
           FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)
           GROUP BY auction, window_start, window_end) ab
         JOIN (
           SELECT max(cb.num) AS maxn, cb.starttime, cb.endtime FROM (
             SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
             FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)
             GROUP BY auction, window_start, window_end) cb
           GROUP BY cb.starttime, cb.endtime) mb
         ON ab.starttime = mb.starttime AND ab.endtime = mb.endtime AND ab.num >= mb.maxn",
        expect![[r#"
            Sink #11 select_1 to result [x1]
              Project #10 auction, num [x2] -> rebalance
                IntervalJoin #9 (window_start, window_end) = (window_start, window_start_2), window_start_2 - window_end in [0us, 0us] where (num >= maxn) [x2] -> forward
                  Project #7 auction, count(1), window_start, window_end [x2] -> hash(window_start, window_end)
                    WindowAggregate #2 HOP(slide=2s, size=10s) on ts by (auction): count(1) [x2] -> forward
                      Project #1 auction, ts [x2] -> hash(auction)
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #8 max("count(1)"), window_start, window_start_2 [x2] -> hash(window_start, window_start_2)
                    WindowAggregate #6 TUMBLE(size=1us) on window_end by (window_start): max("count(1)") [x2] -> forward
                      Project #5 window_start, count(1), window_end [x2] -> hash(window_start)
                        WindowAggregate #4 HOP(slide=2s, size=10s) on ts by (auction): count(1) [x2] -> forward
                          Project #3 auction, ts [x2] -> hash(auction)
                            Source #0 (see above) [x2] -> forward
        "#]],
    );
}

/// The highest bid of each window.
#[test]
fn nexmark_q7() {
    check_explain(
        "SELECT b.auction, b.price, b.bidder, b.ts FROM bids b JOIN (
           SELECT max(price) AS maxprice, window_end AS ts
           FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end) m
         ON b.price = m.maxprice WHERE b.ts BETWEEN m.ts - INTERVAL '10' SECOND AND m.ts",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 auction, price, bidder, "b.ts" AS ts [x2] -> rebalance
                IntervalJoin #4 (price) = (max(price)), window_end - ts in [0us, 10s] [x2] -> forward
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> hash(price)
                  Project #3 max(price), window_end [x1] -> hash(max(price))
                    WindowAggregate #2 TUMBLE(size=10s) on ts by (): max(price) [x1] -> forward
                      Project #1 price, ts [x2] -> rebalance
                        Source #0 (see above) [x2] -> forward
        "#]],
    );
}

/// Sellers and bidders that are new in the same window.
#[test]
fn nexmark_q8() {
    check_explain(
        "SELECT p.bidder, p.starttime FROM (
           SELECT bidder, window_start AS starttime, window_end AS endtime
           FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY bidder, window_start, window_end) p
         JOIN (
           SELECT seller, window_start AS starttime, window_end AS endtime
           FROM TUMBLE(TABLE auctions, DESCRIPTOR(opened), INTERVAL '10' SECOND) GROUP BY seller, window_start, window_end) a
         ON p.bidder = a.seller AND p.starttime = a.starttime AND p.endtime = a.endtime",
        expect![[r#"
            Sink #10 select_1 to result [x1]
              Project #9 bidder, "p.starttime" AS starttime [x2] -> rebalance
                IntervalJoin #8 (bidder, window_start, window_end) = (seller, window_start, window_end), window_end - window_end in [0us, 0us] [x2] -> forward
                  Project #6 bidder, window_start, window_end [x2] -> hash(bidder, window_start, window_end)
                    WindowAggregate #3 TUMBLE(size=10s) on ts by (bidder):  [x2] -> forward
                      Project #2 bidder, ts [x2] -> hash(bidder)
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #7 seller, window_start, window_end [x2] -> hash(seller, window_start, window_end)
                    WindowAggregate #5 TUMBLE(size=10s) on opened by (seller):  [x2] -> forward
                      Project #4 seller, opened [x2] -> hash(seller)
                        Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
}

#[test]
fn without_bounds_on_time_rows_join_for_as_long_as_they_are_there() {
    expect![[r#"
        Sink #6 select_1 to result [x1]
          Project #5 price, seller [x2] -> rebalance
            Join #4 inner (auction) = (id) where (ts < opened) [x2] -> forward
              Project #2 auction, price, ts [x2] -> hash(auction)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #3 id, seller, opened [x2] -> hash(id)
                Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(
        "",
        "SELECT b.price, a.seller FROM bids b JOIN auctions a ON a.id = b.auction AND b.ts < a.opened",
    ));
    expect![[r#"
        Sink #7 select_1 to result [x1]
          Project #6 price, seller [x2] -> rebalance
            Join #5 left (auction) = (id) [x2] -> forward
              Project #3 auction, price [x2] -> hash(auction)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #4 id, seller, rating [x2] -> hash(id)
                Filter #2 (rating > 3) [x2] -> forward
                  Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(
        "",
        "SELECT b.price, a.seller FROM bids b LEFT JOIN auctions a ON a.id = b.auction AND a.rating > 3",
    ));
    expect![[r#"
        Sink #4 select_1 to result [x1]
          Join #3 left semi (auction) = (id) [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> hash(auction)
            Project #2 id [x2] -> hash(id)
              Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]]
    .assert_eq(&explain_after("", "SELECT * FROM bids WHERE auction IN (SELECT id FROM auctions)"));
    expect![[r#"
        Sink #7 select_1 to result [x1]
          Project #6 n, seller [x2] -> rebalance
            Join #5 inner (auction) = (id) [x2] -> forward
              Aggregate #2 by (auction): count(1) updating [x2] -> hash(auction)
                Project #1 auction, ts [x2] -> hash(auction)
                  Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #4 id, seller [x2] -> hash(id)
                Source #3 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]].assert_eq(&explain_after(
        "",
        "SELECT n, seller FROM (SELECT auction, count(*) AS n FROM bids GROUP BY auction) c JOIN auctions a ON a.id = c.auction",
    ));
    // A day is no bound on the times that it was cut from.
    expect![[r#"
        Sink #6 select_1 to result [x1]
          Project #5 id [x2] -> rebalance
            Join #4 inner (auction, __key0) = (id, __key0) [x2] -> forward
              Project #2 auction, ts, CAST(ts AS DATE) AS __key0 [x2] -> hash(auction, __key0)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #3 id, opened, CAST(opened AS DATE) AS __key0 [x2] -> hash(id, __key0)
                Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(
        "",
        "SELECT a.id FROM bids b JOIN auctions a ON a.id = b.auction AND CAST(a.opened AS DATE) = CAST(b.ts AS DATE)",
    ));
}

#[test]
fn as_of_joins_are_temporal_joins() {
    let matched = "SELECT b.price, a.seller FROM bids b ASOF JOIN auctions a MATCH_CONDITION (b.ts >= a.opened) ON a.id = b.auction";
    check_explain(
        matched,
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 price, seller [x2] -> rebalance
                TemporalJoin #4 (auction) = (id), newest opened as of ts [x2] -> forward
                  Project #2 auction, price, ts [x2] -> hash(auction)
                    Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #3 id, seller, opened [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
    let plain =
        "SELECT b.price, a.seller FROM bids AS b ASOF INNER JOIN auctions a ON a.id = b.auction AND opened <= b.ts";
    assert_eq!(explain_after("", plain), explain_after("", matched));
    check_explain(
        "SELECT b.price, a.seller FROM bids b ASOF LEFT JOIN auctions a ON a.id = b.auction AND a.opened < b.ts WHERE b.price > 1",
        expect![[r#"
            Sink #7 select_1 to result [x1]
              Project #6 price, seller [x2] -> rebalance
                TemporalJoin #5 left (auction) = (id), newest opened before ts [x2] -> forward
                  Project #3 auction, price, ts [x2] -> hash(auction)
                    Filter #2 (price > 1.0) [x2] -> forward
                      Source #1 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #4 id, seller, opened [x2] -> hash(id)
                    Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
    let aliases =
        "SELECT asof.price FROM bids AS asof LEFT JOIN auctions global JOIN plain ON true ON global.opened = asof.ts";
    assert!(!explain_after("", aliases).contains("ASOF"), "both words are names");
}

#[test]
fn as_of_joins_that_cannot_be() {
    let join = |rest: &str| format!("SELECT b.price FROM bids b ASOF {rest}");
    check_error(
        &join("JOIN auctions a ON a.id = b.auction"),
        expect![[r#"
        line 1, column 38: ASOF JOIN needs a condition between the event times of both sides: a.opened <= a.ts
    "#]],
    );
    check_error(
        &join("JOIN auctions a ON a.id = b.auction AND a.opened >= b.ts"),
        expect![[r#"
        line 1, column 38: ASOF JOIN with the first row behind a time is not supported; join the last one at or before it: a.opened <= b.ts
    "#]],
    );
    check_error(
        &join("JOIN auctions a ON a.id = b.auction AND a.rating <= b.price"),
        expect![[r#"
        line 1, column 38: ASOF JOIN goes by the event time of 'a', not by rating: it is opened
    "#]],
    );
    check_error(
        &join("JOIN auctions a ON a.id = b.auction AND a.opened <= b.price"),
        expect![[r#"
        line 1, column 38: a temporal join is as of the left side's event time: b.ts
    "#]],
    );
    check_error(
        &join("JOIN auctions a MATCH_CONDITION (b.ts >= a.opened)"),
        expect![[r#"
        line 1, column 38: a temporal join needs equal keys in ON: ON a.k = b.k
    "#]],
    );
    check_error(
        &join("FULL JOIN auctions a ON a.id = b.auction AND a.opened <= b.ts"),
        expect![[r#"
        line 1, column 43: this kind of join with ASOF JOIN is not supported; write JOIN or LEFT JOIN
    "#]],
    );
    check_error(
        &join("JOIN (SELECT * FROM auctions) a ON a.id = b.auction AND a.opened <= b.ts"),
        expect![[r#"
        line 1, column 39: ASOF JOIN behind a function or a query is not supported; create a view over it and join that
    "#]],
    );
}

/// A table of each connector that can be asked.
const TABLES: &str = "
CREATE TABLE sellers (id INT, seller VARCHAR, rating DOUBLE)
  WITH (connector = 'files', path = 'sellers.csv', format = 'csv', lookup = 'true', lookup_cache_ttl = '1min');
CREATE TABLE people (name VARCHAR, born DATE, id BIGINT)
  WITH (connector = 'postgres', url = 'postgres://me@localhost/shop', lookup_cache_rows = 100);";

#[test]
fn look_ups_ask_tables_for_the_rows_of_a_key() {
    expect![[r#"
        Sink #6 select_1 to result [x1]
          Project #5 price, born [x2] -> rebalance
            Filter #4 born IS NULL [x2] -> forward
              LookupJoin #3 left (bidder) = (name), people in postgres [x2] -> forward
                Project #2 bidder, price [x2] -> forward
                  Filter #1 (price > 1.0) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(
        TABLES,
        "SELECT b.price, p.born FROM bids b LEFT JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.name = b.bidder
         WHERE b.price > 1 AND p.born IS NULL",
    ));
    expect![[r#"
        Sink #8 select_1 to result [x1]
          Project #7 window_end, seller, "count(1)" AS n [x2] -> rebalance
            WindowAggregate #6 TUMBLE(size=1h) on ts by (seller): count(1) [x2] -> forward
              Project #5 seller, ts [x2] -> hash(seller)
                Project #4 ts, seller [x2] -> forward
                  Filter #3 (rating > price) [x2] -> forward
                    LookupJoin #2 (__key0) = (id), sellers in files [x2] -> forward
                      Project #1 auction, price, ts, TRY_CAST(auction AS INTEGER) AS __key0 [x2] -> forward
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(
        TABLES,
        "SELECT window_end, s.seller, count(*) AS n FROM TUMBLE((
           SELECT b.ts, s.seller FROM bids b JOIN sellers FOR SYSTEM_TIME AS OF PROCTIME() AS s
           ON s.id = b.auction AND s.rating > b.price), DESCRIPTOR(ts), INTERVAL '1 hour') s
         GROUP BY s.seller, window_start, window_end",
    ));
}

#[test]
fn look_ups_that_cannot_be() {
    let check = |sql: &str, expected: expect_test::Expect| expected.assert_eq(&explain_after(TABLES, sql));
    check(
        "SELECT * FROM people",
        expect![
            "error: line 1, column 1: reading 'people' as a stream is not supported; look its rows up: JOIN people FOR SYSTEM_TIME AS OF PROCTIME() ON a.k = people.k"
        ],
    );
    check(
        "SELECT b.price FROM bids b JOIN people p ON p.name = b.bidder",
        expect![
            "error: line 1, column 41: reading 'people' as a stream is not supported; look its rows up: JOIN people FOR SYSTEM_TIME AS OF PROCTIME() ON a.k = people.k"
        ],
    );
    check(
        "SELECT b.price FROM bids b JOIN people FOR SYSTEM_TIME AS OF b.ts AS p ON p.name = b.bidder",
        expect![
            "error: line 1, column 70: 'people' has no history: its rows are looked up as they are, FOR SYSTEM_TIME AS OF PROCTIME()"
        ],
    );
    check(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.id = b.auction",
        expect![
            "error: line 1, column 72: FOR SYSTEM_TIME AS OF takes the left side's event-time column, not 'PROCTIME()'"
        ],
    );
    check(
        "SELECT b.price FROM bids b JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON upper(p.name) = b.bidder",
        expect![
            "error: line 1, column 41: the look-up by upper(p.name) is not supported; the table is asked by its columns as they are: ON a.k = d.k"
        ],
    );
    check(
        "SELECT b.price FROM bids b JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.id = b.price",
        expect![
            "error: line 1, column 41: the look-up by p.id is not supported; cast the other side to BIGINT, the type of 'id'"
        ],
    );
    check(
        "SELECT b.price FROM bids b LEFT JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.name = b.bidder AND p.id > 3",
        expect![
            "error: line 1, column 46: the condition p.id > 3 in ON of a LEFT look-up is not supported; ON takes equal keys only; put the rest in WHERE"
        ],
    );
    let source = |columns: &str, options: &str| {
        format!("CREATE TABLE t ({columns}) WITH (connector = 'files', path = 'x', format = 'csv'{options})")
    };
    check_error(
        &source("a INT, b INT AS (a + 1)", ", lookup = 'true'"),
        expect![[r#"
        line 1, column 24: a generated column of a look-up table is not supported; compute it in the query that joins the table
    "#]],
    );
    check_error(
        &source("a TIMESTAMP, WATERMARK FOR a AS a", ", lookup = 'true'"),
        expect![[r#"
        line 1, column 44: WATERMARK FOR of a look-up table is not supported; its rows are looked up as they are now; leave it out
    "#]],
    );
    check_error(
        &source("a INT", ", lookup_cache_ttl = '1h'"),
        expect![[r#"
            line 1, column 79: the option 'lookup_cache_ttl' needs the option lookup = 'true'
        "#]],
    );
    check_error(
        &source("a INT", ", lookup = 'true', lookup_cache_ttl = 'long'"),
        expect![[r#"
            line 1, column 96: option 'lookup_cache_ttl' is 'long', but takes a duration such as 30s or 500ms, or 0
        "#]],
    );
}

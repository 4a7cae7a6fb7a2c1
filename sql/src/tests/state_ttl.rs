//! STATE_TTL hints: what they reach, and what they say of what they do not.

use expect_test::{Expect, expect};

use super::*;

/// The operators of a query that have a time to live, as EXPLAIN shows them.
fn with_ttl(sql: &str) -> String {
    let plan = explain_after("SET state_ttl = '1h'", sql);
    plan.lines()
        .filter(|line| line.contains("ttl=") || line.starts_with("error"))
        .map(|l| format!("{}\n", l.trim()))
        .collect()
}

#[track_caller]
fn check(sql: &str, expect: Expect) {
    expect.assert_eq(&with_ttl(sql));
}

#[test]
fn each_side_of_a_join_has_its_own() {
    check(
        "SELECT /*+ STATE_TTL('b' = '1d', 'a' = '6h') */ a.id, b.price FROM auctions a JOIN bids b ON a.id = b.auction",
        expect![[r#"
            Join #4 inner (id) = (auction) ttl=(6h, 1d) [x2] -> forward
        "#]],
    );
    check(
        "SELECT /*+ STATE_TTL(auctions = '90min') */ id, price FROM auctions JOIN bids ON id = auction",
        expect![[r#"
            Join #4 inner (id) = (auction) ttl=(90min, 1h) [x2] -> forward
        "#]],
    );
    check(
        "SELECT /*+ STATE_TTL('p' = '2d') */ a.id, b.price FROM auctions a JOIN bids b ON a.id = b.auction JOIN plain p ON p.auction = a.id",
        expect![[r#"
            Join #8 inner (id) = (auction) ttl=(1h, 2d) [x2] -> forward
            Join #4 inner (id) = (auction) ttl=1h [x2] -> forward
        "#]],
    );
    check(
        "SELECT id FROM auctions a WHERE EXISTS (SELECT /*+ STATE_TTL('b' = '2d') */ 1 FROM bids b WHERE b.auction = a.id)",
        expect![[r#"
            Join #4 left semi (id) = (auction) ttl=(1h, 2d) [x2] -> rebalance
        "#]],
    );
}

#[test]
fn the_versions_of_a_join_have_their_own() {
    let join = |hint: &str| {
        format!(
            "SELECT {hint} b.price, a.seller FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON a.id = b.auction"
        )
    };
    check(
        &join(""),
        expect![[r#"
        TemporalJoin #4 (auction) = (id), newest opened as of ts ttl=1h [x2] -> forward
    "#]],
    );
    check(
        &join("/*+ STATE_TTL('a' = '90d') */"),
        expect![[r#"
        TemporalJoin #4 (auction) = (id), newest opened as of ts ttl=90d [x2] -> forward
    "#]],
    );
    check(&join("/*+ STATE_TTL('a' = '0') */"), expect![[r#""#]]);
    check(
        "SELECT /*+ STATE_TTL('auctions' = '2d') */ price, seller FROM bids ASOF JOIN auctions
           MATCH_CONDITION (ts >= opened) ON auction = id",
        expect![[r#"
            TemporalJoin #4 (auction) = (id), newest opened as of ts ttl=2d [x2] -> forward
        "#]],
    );
    check_error(
        &join("/*+ STATE_TTL('b' = '90d') */"),
        expect![[r#"
        line 1, column 22: STATE_TTL of 'b' has no effect: it is for a join without bounds on time, the versions of a join AS OF, and for GROUP BY, DISTINCT, ROW_NUMBER() and OVER of the rows of 'b' alone, without windows
    "#]],
    );
}

#[test]
fn groups_and_ranks_of_one_table_have_its() {
    check(
        "SELECT /*+ STATE_TTL('bids' = '1d') */ auction, count(*) AS n FROM bids GROUP BY auction",
        expect![[r#"
        Aggregate #2 by (auction): count(1) at end ttl=1d [x2] -> forward
    "#]],
    );
    check(
        "SELECT /*+ STATE_TTL('b' = '1d') */ DISTINCT auction FROM bids AS b WHERE price > 1",
        expect![[r#"
        Aggregate #3 by (auction):  at end ttl=1d [x2] -> rebalance
    "#]],
    );
    check(
        "SELECT auction FROM (SELECT /*+ STATE_TTL('bids' = '1d') */ *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price) AS rn FROM bids) WHERE rn = 1",
        expect![[r#"
            TopN #2 first 1 by (auction) ordered by price at end ttl=1d [x2] -> forward
        "#]],
    );
    check(
        "SELECT /*+ STATE_TTL('bids' = '1d') */ auction, sum(price) OVER (PARTITION BY auction ORDER BY price) AS s FROM bids",
        expect![[r#"
            OverWindow #2 by (auction): sum(price) OVER (ORDER BY price ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) at end ttl=1d [x2] -> forward
        "#]],
    );
    // 0 keeps it for ever, whatever the setting says.
    check("SELECT /*+ STATE_TTL('bids' = '0') */ auction, count(*) AS n FROM bids GROUP BY auction", expect![[r#""#]]);
}

#[test]
fn a_view_keeps_its_hints() {
    let preparation = "CREATE VIEW v AS SELECT /*+ STATE_TTL('bids' = '1d') */ DISTINCT auction FROM bids";
    let plan = explain_after(preparation, "SELECT v.auction, a.seller FROM v JOIN auctions a ON a.id = v.auction");
    let aggregate = plan.lines().find(|line| line.contains("Aggregate"));
    assert!(aggregate.is_some_and(|line| line.contains("updating ttl=1d")), "{plan}");
}

#[test]
fn each_select_has_its_own() {
    check(
        "SELECT /*+ STATE_TTL('c' = '3d') */ DISTINCT n FROM
           (SELECT /*+ STATE_TTL('bids' = '1d') */ auction, count(*) AS n FROM bids GROUP BY auction) AS c",
        expect![[r#"
            Aggregate #4 by (count(1)):  at end ttl=3d [x2] -> forward
            Aggregate #2 by (auction): count(1) updating ttl=1d [x2] -> forward
        "#]],
    );
}

#[test]
fn comments_are_no_hints() {
    check(
        "SELECT /* + STATE_TTL('x' = '1d') */ /*x+y*/ auction --+ no
           , count(*) AS n FROM bids GROUP BY auction /*+ nor this */",
        expect![[r#"
            Aggregate #2 by (auction): count(1) at end ttl=1h [x2] -> forward
        "#]],
    );
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    check_error(
        "SELECT /*+ STATE_TTL('x' = '1d') */ auction, count(*) AS n FROM bids GROUP BY auction",
        expect![[r#"
            line 1, column 22: there is no table 'x'; in this FROM there are: bids
        "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL('bids' = '1 month') */ auction, count(*) AS n FROM bids GROUP BY auction",
        expect![[r#"
            line 1, column 22: STATE_TTL of 'bids' is '1 month', but takes a duration such as 1d or 6h, or 0
        "#]],
    );
    check_error(
        "SELECT\n/*+\n STATE_TTL('bids' = 1) */ auction, count(*) AS n FROM bids GROUP BY auction",
        expect![[r#"
            line 3, column 21: expected a length of time in quotes, as in STATE_TTL('t' = '1d'), found 1
        "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL('bids' '1d') */ auction FROM bids",
        expect![[r#"
        line 1, column 29: expected = in the hint, found '1d'
    "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL() */ auction FROM bids",
        expect![[r#"
        line 1, column 22: expected the name of a table in quotes, as in STATE_TTL('t' = '1d'), found )
    "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL('bids' = '1d' */ auction FROM bids",
        expect![[r#"
        line 1, column 31: expected ) in the hint, found its end
    "#]],
    );
    check_error(
        "SELECT /*+ BROADCAST(bids) */ auction FROM bids",
        expect![[r#"
        line 1, column 12: the hint BROADCAST is not supported; there is STATE_TTL('table' = '1d'), how long the state of a table's rows is kept
    "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL('bids' = '1d', 'bids' = '2d') */ DISTINCT auction FROM bids",
        expect![[r#"
        line 1, column 37: STATE_TTL of 'bids' is given twice
    "#]],
    );
}

#[test]
fn a_hint_that_does_nothing_is_refused() {
    check_error(
        "SELECT /*+ STATE_TTL('bids' = '1d') */ auction FROM bids",
        expect![[r#"
        line 1, column 22: STATE_TTL of 'bids' has no effect: it is for a join without bounds on time, the versions of a join AS OF, and for GROUP BY, DISTINCT, ROW_NUMBER() and OVER of the rows of 'bids' alone, without windows
    "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL('b' = '1d') */ a.id FROM auctions a JOIN bids b
           ON a.id = b.auction AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1' HOUR",
        expect![[r#"
            line 1, column 22: STATE_TTL of 'b' has no effect: it is for a join without bounds on time, the versions of a join AS OF, and for GROUP BY, DISTINCT, ROW_NUMBER() and OVER of the rows of 'b' alone, without windows
        "#]],
    );
    check_error(
        "SELECT /*+ STATE_TTL('bids' = '1d') */ auction FROM bids
         WHERE auction IN (SELECT auction FROM bids WHERE price > 5)",
        expect![[r#"
            line 1, column 22: 'bids' stands in several FROM clauses of the statement; give the one that STATE_TTL means an alias of its own
        "#]],
    );
    check_error(
        "CREATE VIEW v AS SELECT /*+ STATE_TTL('bids' = '1d') */ auction FROM bids",
        expect![[r#"
        line 1, column 39: STATE_TTL of 'bids' has no effect: it is for a join without bounds on time, the versions of a join AS OF, and for GROUP BY, DISTINCT, ROW_NUMBER() and OVER of the rows of 'bids' alone, without windows
    "#]],
    );
}

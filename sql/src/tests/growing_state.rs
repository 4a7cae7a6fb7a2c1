//! Which operators are warned of, and which are not; and which results come at an interrupt only.

use expect_test::{Expect, expect};

use super::*;

const ENDLESS: &str = "
CREATE SOURCE clicks (id BIGINT, page VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)
  WITH (connector = 'datagen', rows_per_second = 10);
CREATE SOURCE views (id BIGINT, page VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)
  WITH (connector = 'datagen', rows_per_second = 10);
CREATE SOURCE timeless (id BIGINT, page VARCHAR) WITH (connector = 'datagen', rows_per_second = 10);
";

/// The warnings about a script over sources that do not end, and those of [`SOURCES`], which do.
fn warnings(sql: &str) -> String {
    let mut session = session();
    execute(&mut session, ENDLESS).unwrap();
    let mut builder = JobBuilder::new(&session);
    for outcome in execute(&mut session, sql).unwrap() {
        if let Outcome::Job(job) = outcome {
            builder.add(&job).unwrap();
        }
    }
    builder.warnings().into_iter().map(|(at, warning)| format!("{at}{warning}\n")).collect()
}

#[track_caller]
fn check(sql: &str, expect: Expect) {
    expect.assert_eq(&warnings(sql));
}

#[track_caller]
fn check_none(sql: &str) {
    assert_eq!(warnings(sql), "", "{sql}");
}

#[test]
fn groups_without_windows() {
    check(
        "SELECT page, count(*) AS n FROM clicks GROUP BY page",
        expect![[r#"
            line 1, column 1: the state of Aggregate #2 grows without bound: it keeps a group for every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or group by windows (TUMBLE, HOP, SESSION)
        "#]],
    );
    check(
        "SELECT DISTINCT page FROM clicks",
        expect![[r#"
            line 1, column 1: the state of Aggregate #2 grows without bound: it keeps a group for every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or group by windows (TUMBLE, HOP, SESSION)
        "#]],
    );
    check_none("SET state_ttl = '1d'; SELECT page, count(*) AS n FROM clicks GROUP BY page");
    check_none(
        "SELECT page, count(*) AS n FROM TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY page, window_start, window_end",
    );
    check_none("SELECT auction, count(*) AS n FROM bids GROUP BY auction");
}

#[test]
fn one_group_keeps_what_its_functions_keep() {
    check_none("SELECT count(*) AS n, sum(id) AS s, max(ts) AS last FROM clicks");
    check(
        "SELECT count(DISTINCT page) AS n FROM clicks",
        expect![[r#"
        line 1, column 1: the state of Aggregate #2 grows without bound: it keeps all values of count(DISTINCT page); aggregate in windows (TUMBLE, HOP, SESSION)
    "#]],
    );
    check(
        "SELECT array_agg(page) AS pages FROM clicks",
        expect![[r#"
        line 1, column 1: the state of Aggregate #2 grows without bound: it keeps all values of array_agg(page); aggregate in windows (TUMBLE, HOP, SESSION)
    "#]],
    );
}

#[test]
fn joins_without_bounds_on_time() {
    check(
        "SELECT c.id, v.page FROM clicks c JOIN views v ON c.id = v.id",
        expect![[r#"
            line 1, column 1: the state of Join #4 grows without bound: it keeps every row of its left side (clicks) and of its right side (views); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or bound the join in time (ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…')
        "#]],
    );
    check(
        "SELECT c.id, b.price FROM clicks c JOIN bids b ON c.id = b.auction",
        expect![[r#"
            line 1, column 1: the state of Join #4 grows without bound: it keeps every row of its left side (clicks); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or bound the join in time (ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…')
        "#]],
    );
    check(
        "SELECT c.id FROM clicks c WHERE EXISTS (SELECT 1 FROM views v WHERE v.id = c.id)",
        expect![[r#"
            line 1, column 1: the state of Join #4 grows without bound: it keeps every row of its left side (clicks) and of its right side (views); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or bound the join in time (ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…')
        "#]],
    );
    check_none("SET state_ttl = '1d'; SELECT c.id, v.page FROM clicks c JOIN views v ON c.id = v.id");
    check_none(
        "SELECT c.id FROM clicks c JOIN views v ON c.id = v.id AND v.ts BETWEEN c.ts AND c.ts + INTERVAL '1' HOUR",
    );
    check_none("SELECT a.id, b.price FROM auctions a JOIN bids b ON a.id = b.auction");
}

#[test]
fn versions_of_joins() {
    let join = |versions: &str, hint: &str| {
        format!("SELECT {hint} c.page FROM clicks c JOIN {versions} FOR SYSTEM_TIME AS OF c.ts AS v ON v.id = c.id")
    };
    check(
        &join("views", ""),
        expect![[r#"
        line 1, column 1: the state of TemporalJoin #3 grows without bound: it keeps the newest version of every (id); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or look the rows up in a table elsewhere (FOR SYSTEM_TIME AS OF PROCTIME())
    "#]],
    );
    check_none(&join("auctions", ""));
    check_none(&join("views", "/*+ STATE_TTL('v' = '90d') */"));
    check_none(&format!("SET state_ttl = '1d'; {}", join("views", "")));
}

#[test]
fn first_rows_of_partitions() {
    let top = |over: &str, from: &str| {
        format!("SELECT id, page FROM (SELECT *, ROW_NUMBER() OVER ({over}) AS rn FROM {from}) WHERE rn <= 3")
    };
    check(
        &top("PARTITION BY page ORDER BY id", "clicks"),
        expect![[r#"
            line 1, column 1: the state of TopN #2 grows without bound: it keeps 3 rows of every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or rank in windows (window_start and window_end in PARTITION BY)
        "#]],
    );
    check(
        &top("PARTITION BY page ORDER BY ts", "clicks"),
        expect![[r#"
            line 1, column 1: the state of TopN #1 grows without bound: it keeps a count for every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or rank in windows (window_start and window_end in PARTITION BY)
        "#]],
    );
    check_none(&top("ORDER BY id", "clicks"));
    check_none(&format!("SET state_ttl = '1d'; {}", top("PARTITION BY page ORDER BY id", "clicks")));
    check_none(&format!("SET state_ttl = '1d'; {}", top("PARTITION BY page ORDER BY ts", "clicks")));
    check(
        "SET state_ttl = '1d'; SELECT page, n FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY n DESC) AS rn FROM
           (SELECT page, count(*) AS n FROM clicks GROUP BY page)) WHERE rn <= 3",
        expect![[r#"
            line 1, column 23: the state of TopN #3 grows without bound: it keeps every row of its updating input; rank in windows (window_start and window_end in PARTITION BY)
        "#]],
    );
}

#[test]
fn window_functions() {
    check(
        "SELECT id, sum(id) OVER (PARTITION BY page ORDER BY ts) AS s FROM clicks",
        expect![[r#"
            line 1, column 1: the state of OverWindow #1 grows without bound: it keeps values for every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or aggregate in windows (TUMBLE, HOP, SESSION)
        "#]],
    );
    check(
        "SELECT id, sum(id) OVER (PARTITION BY page ORDER BY id) AS s FROM clicks",
        expect![[r#"
            line 1, column 1: the state of OverWindow #2 grows without bound: it keeps every row of its input; SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or order by event time (OVER (… ORDER BY ts)) over rows that do not change
        "#]],
    );
    check_none("SELECT id, sum(id) OVER (ORDER BY ts) AS s FROM clicks");
    check_none("SET state_ttl = '1d'; SELECT id, sum(id) OVER (PARTITION BY page ORDER BY id) AS s FROM clicks");
}

#[test]
fn a_time_to_live_needs_event_time() {
    check(
        "SELECT page, count(*) AS n FROM timeless GROUP BY page",
        expect![[r#"
            line 1, column 1: the state of Aggregate #2 grows without bound: it keeps a group for every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, and give timeless event time (WATERMARK FOR, or a column AS PROCTIME()); or group by windows (TUMBLE, HOP, SESSION)
        "#]],
    );
    check(
        "SET state_ttl = '1d'; SELECT page, count(*) AS n FROM timeless GROUP BY page",
        expect![[r#"
        line 1, column 23: the state of Aggregate #2 grows without bound: it keeps a group for every (page); its time to live counts event time, and timeless has none: declare WATERMARK FOR, or a column AS PROCTIME()
    "#]],
    );
}

#[test]
fn rows_that_are_updated_have_no_event_time() {
    let source = |format: &str, watch: &str| {
        format!(
            "CREATE SOURCE balances (k BIGINT, v BIGINT, PRIMARY KEY (k) NOT ENFORCED)
               WITH (connector = 'files', path = 'balances', format = '{format}'{watch});"
        )
    };
    let count = "SELECT v, count(*) AS n FROM balances GROUP BY v";
    check(
        &format!("{} {count}", source("upsert-json", ", watch = '1s'")),
        expect![[r#"
        line 2, column 101: the state of Normalize #1 grows without bound: it keeps the last row of every (k); a time to live counts event time, and balances has none, for its rows are updated: delete those that are done with
        line 2, column 101: the state of Aggregate #3 grows without bound: it keeps a group for every (v); a time to live counts event time, and balances has none, for its rows are updated: delete those that are done with
    "#]],
    );
    check(
        &format!("SET state_ttl = '1d'; {} {count}", source("debezium-json", ", watch = '1s'")),
        expect![[r#"
            line 2, column 103: the state of Aggregate #2 grows without bound: it keeps a group for every (v); a time to live counts event time, and balances has none, for its rows are updated: delete those that are done with
        "#]],
    );
    check_none(&format!("{} {count}", source("upsert-json", "")));
}

#[test]
fn each_operator_is_named_once_with_the_statement_that_brought_it() {
    check(
        "CREATE VIEW pages AS SELECT page, count(*) AS n FROM clicks GROUP BY page;
         SELECT n FROM pages;
         SELECT page FROM pages;
         SELECT DISTINCT id FROM views",
        expect![[r#"
            line 2, column 10: the state of Aggregate #2 grows without bound: it keeps a group for every (page); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or group by windows (TUMBLE, HOP, SESSION)
            line 4, column 10: the state of Aggregate #10 grows without bound: it keeps a group for every (id); SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */, or group by windows (TUMBLE, HOP, SESSION)
        "#]],
    );
}

#[test]
fn explain_shows_it() {
    expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 page, "count(1)" AS n [x2] -> rebalance
            Aggregate #2 by (page): count(1) updating [x2] -> forward
                (state grows without bound: it keeps a group for every (page))
              Project #1 page, ts [x2] -> hash(page)
                Source #0 clicks from datagen watermark(ts AS ts) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(ENDLESS, "SELECT page, count(*) AS n FROM clicks GROUP BY page"));
    expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 page, id [x2] -> rebalance
            TopN #1 first 3 by (page) ordered by id updating ttl=90min [x2] -> forward
              Source #0 clicks from datagen watermark(ts AS ts) [x2] -> hash(page)
    "#]].assert_eq(&explain_after(
        &format!("{ENDLESS} SET state_ttl = '90min'"),
        "SELECT page, id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY page ORDER BY id) AS rn FROM clicks) WHERE rn <= 3",
    ));
}

#[test]
fn results_that_come_when_they_are_interrupted() {
    check(
        "SELECT id FROM clicks ORDER BY id DESC LIMIT 3",
        expect![[r#"
        line 1, column 1: the rows come when the query is interrupted: ORDER BY is over all rows, and the input does not end; LIMIT without ORDER BY, and ROW_NUMBER() in windows with a condition on it, print rows as they come
    "#]],
    );
    check(
        "SELECT 1 AS x FROM bids; SELECT id, ts FROM clicks ORDER BY ts",
        expect![[r#"
        line 1, column 26: the rows come when the query is interrupted: ORDER BY is over all rows, and the input does not end; LIMIT without ORDER BY, and ROW_NUMBER() in windows with a condition on it, print rows as they come
    "#]],
    );
    let counts = "SET state_ttl = '1d'; SELECT page, count(*) AS n FROM clicks GROUP BY page";
    check(
        &format!("{counts} LIMIT 3"),
        expect![[r#"
        line 1, column 23: the rows come when the query is interrupted: LIMIT is of rows that change, and the input does not end; without it, changes are printed as they come
    "#]],
    );
    check(
        &format!("{counts} ORDER BY n"),
        expect![[r#"
        line 1, column 23: the rows come when the query is interrupted: ORDER BY is over all rows, and the input does not end; without ORDER BY and LIMIT, changes are printed as they come
    "#]],
    );
    // Rows that do not change are printed up to a limit, and a result of what ends comes then.
    check_none("SELECT id FROM clicks LIMIT 3");
    check_none(counts);
    check_none("SELECT price FROM bids ORDER BY price LIMIT 3");
    // Nobody waits for the rows of an analysis.
    check_none("EXPLAIN ANALYZE SELECT id FROM clicks ORDER BY id");
}

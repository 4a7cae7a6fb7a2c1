//! Functions with a body in SQL: what their calls become, and what is refused.

use expect_test::{Expect, expect};
use tidemill_plans::graph::DataflowGraph;

use super::{check_error, execute, explain_after, session, shown};

const FUNCTIONS: &str = "
CREATE FUNCTION taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2) RETURNS DOUBLE RETURN price * (1 + rate);
CREATE FUNCTION cents(price DOUBLE) RETURNS BIGINT LANGUAGE SQL IMMUTABLE RETURN round(taxed(price) * 100);
CREATE FUNCTION twice(x INT64) AS (x + x);
CREATE FUNCTION one() RETURN 1;
CREATE FUNCTION kind(name VARCHAR) RETURN CASE WHEN name LIKE 'a%' THEN 'first' ELSE upper(name) END;
";

fn check(sql: &str, expected: Expect) {
    expected.assert_eq(&explain_after(FUNCTIONS, sql));
}

/// The outcomes of statements behind [`FUNCTIONS`], or the error of the first that fails.
fn check_outcomes(sql: &str, expected: Expect) {
    let mut session = session();
    execute(&mut session, FUNCTIONS).unwrap();
    let text = match execute(&mut session, sql) {
        Ok(outcomes) => outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect(),
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn a_call_becomes_its_body() {
    check(
        "SELECT taxed(price) AS t, taxed(price, 0.5) AS u, one() AS n FROM bids",
        expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 (price * 1.2) AS t, (price * 1.5) AS u, 1 AS n [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        "SELECT cents(price), auction FROM bids WHERE twice(auction) > 4",
        expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 CAST(round(((price * 1.2) * 100.0)) AS BIGINT) AS cents(bids.price), auction [x2] -> rebalance
            Filter #1 ((auction + auction) > 4) [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        "SELECT kind(bidder) AS k FROM bids",
        expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END AS k [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        "SELECT TAXED(rate => 0.1, price => rating) AS t FROM auctions",
        expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 (CAST(rating AS DOUBLE) * 1.1) AS t [x2] -> rebalance
            Source #0 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]],
    );
}

#[test]
fn arguments_may_be_aggregates_and_calls_may_be_keys() {
    check(
        "SELECT kind(bidder) AS k, taxed(sum(price)) AS t, max(twice(auction)) AS m
         FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour')
         GROUP BY kind(bidder), window_start, window_end HAVING twice(count(*)) > 2",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 "CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END" AS k, ("sum(price)" * 1.2) AS t, "max((auction + auction))" AS m [x2] -> rebalance
                Filter #3 (("count(1)" + "count(1)") > 2) [x2] -> forward
                  WindowAggregate #2 TUMBLE(size=1h) on ts by (CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END): sum(price), max((auction + auction)), count(1) [x2] -> forward
                    Project #1 CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END, price, auction, ts [x2] -> hash(CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END)
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, twice(sum(twice(auction))) AS t FROM bids GROUP BY auction",
        expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 auction, ("sum((auction + auction))" + "sum((auction + auction))") AS t [x2] -> rebalance
            Aggregate #2 by (auction): sum((auction + auction)) at end [x2] -> forward
              Project #1 auction, ts [x2] -> hash(auction)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        "SELECT a.seller FROM bids b JOIN auctions a ON twice(a.id) = b.auction
           AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour'",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 seller [x2] -> rebalance
                IntervalJoin #4 (auction) = (__key0), opened - ts in [-1h, 0us] [x2] -> forward
                  Project #2 auction, ts [x2] -> hash(auction)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                  Project #3 id, seller, opened, (id + id) AS __key0 [x2] -> hash(__key0)
                    Source #1 auctions from files watermark(opened AS opened) [x2] -> forward
        "#]],
    );
}

#[test]
fn calls_stand_wherever_an_expression_does() {
    check(
        "SELECT kind(bidder) AS k, row_number() OVER (PARTITION BY kind(bidder) ORDER BY ts) AS n,
           sum(twice(auction)) OVER (PARTITION BY kind(bidder) ORDER BY ts) AS s FROM bids",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END AS k, "row_number" AS n, "sum" AS s [x2] -> rebalance
                OverWindow #2 by (CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END): row_number() OVER (ORDER BY ts ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), sum((auction + auction)) OVER (ORDER BY ts ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) as ts passes [x2] -> forward
                  Project #1 auction, bidder, ts, CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END [x2] -> hash(CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END)
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, u.x FROM bids, UNNEST(make_array(twice(auction), one())) AS u(x)",
        expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 auction, "unnest([(auction + auction), 1])" AS x [x2] -> rebalance
            Unnest #2 [(auction + auction), 1] [x2] -> forward
              Project #1 auction, [(auction + auction), 1] [x2] -> forward
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        "SELECT taxed(price) FROM bids WHERE kind(bidder) IN (kind('ab'), kind('b')) UNION ALL SELECT one() FROM plain",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Union #5  [x2] -> rebalance
                Project #2 (price * 1.2) AS taxed(bids.price,Float64(0.2)) [x2] -> forward
                  Filter #1 CASE WHEN bidder LIKE 'a%' THEN 'first' ELSE upper(bidder) END IN ('first', 'B') [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
                Project #4 1.0 AS taxed(bids.price,Float64(0.2)) [x1] -> rebalance
                  Source #3 plain from files [x1] -> forward
        "#]],
    );
}

#[test]
fn a_generated_column_may_call_a_function() {
    let source = "CREATE SOURCE taxes (id BIGINT, t AS (twice(id)), ts TIMESTAMP, WATERMARK FOR ts AS ts)
                    WITH (connector = 'files', path = 'p', format = 'csv');";
    expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 t [x2] -> rebalance
            Source #0 taxes from files watermark(ts AS ts) [x2] -> forward
    "#]]
    .assert_eq(&explain_after(&format!("{FUNCTIONS}{source}"), "SELECT t FROM taxes"));
    check_outcomes(
        &format!("{source} DROP FUNCTION twice"),
        expect![[r#"
            line 2, column 91: cannot change or drop 'twice': source 'taxes' uses it; drop that first
        "#]],
    );
}

#[test]
fn functions_are_listed_and_described() {
    let mut session = session();
    execute(&mut session, FUNCTIONS).unwrap();
    let outcomes = execute(&mut session, "SHOW FUNCTIONS").unwrap();
    let listed = shown(&outcomes[0]);
    let first: Vec<String> =
        listed.lines().take(8).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    expect![[r#"
        +------------------------------------+---------------------------------------+---------+----------------+------------------------------------------------------------+
        | name | arguments | returns | kind | body |
        +------------------------------------+---------------------------------------+---------+----------------+------------------------------------------------------------+
        | taxed | price DOUBLE, rate DOUBLE DEFAULT 0.2 | DOUBLE | scalar, in SQL | price * (1 + rate) |
        | cents | price DOUBLE | BIGINT | scalar, in SQL | round(taxed(price) * 100) |
        | twice | x BIGINT | BIGINT | scalar, in SQL | x + x |
        | one | | BIGINT | scalar, in SQL | 1 |
        | kind | name VARCHAR | VARCHAR | scalar, in SQL | CASE WHEN name LIKE 'a%' THEN 'first' ELSE upper(name) END |"#]].assert_eq(&first.join("\n"));
    check_outcomes(
        "DESCRIBE FUNCTION taxed; DESCRIBE one; SHOW CREATE FUNCTION twice",
        expect![[r#"
        +-------+--------+-----------+--------------------+
        | name  | type   | role      | expression         |
        +-------+--------+-----------+--------------------+
        | price | DOUBLE | parameter |                    |
        | rate  | DOUBLE | parameter | 0.2                |
        |       | DOUBLE | returns   | price * (1 + rate) |
        +-------+--------+-----------+--------------------+
        +------+--------+---------+------------+
        | name | type   | role    | expression |
        +------+--------+---------+------------+
        |      | BIGINT | returns | 1          |
        +------+--------+---------+------------+
        +-------+----------+-------------------------------------------+
        | name  | kind     | definition                                |
        +-------+----------+-------------------------------------------+
        | twice | function | CREATE FUNCTION twice(x INT64) AS (x + x) |
        +-------+----------+-------------------------------------------+
    "#]],
    );
}

#[test]
fn a_function_that_others_use_stays() {
    let objects = "CREATE VIEW v AS SELECT twice(auction) AS t FROM bids;";
    check_outcomes(
        &format!("{objects} DROP FUNCTION twice"),
        expect![[r#"
        line 1, column 70: cannot change or drop 'twice': view 'v' uses it; drop that first
    "#]],
    );
    check_outcomes(
        &format!("{objects} CREATE OR REPLACE FUNCTION twice(x INT) RETURN x"),
        expect![[r#"
        line 1, column 56: cannot change or drop 'twice': view 'v' uses it; drop that first
    "#]],
    );
    check_outcomes(
        &format!("{objects} DROP VIEW v; DROP FUNCTION twice; SELECT twice(auction) FROM bids"),
        expect![[r#"
            line 1, column 97: Invalid function 'twice'.
            Did you mean 'trim'?
        "#]],
    );
    check_outcomes(
        "DROP FUNCTION taxed",
        expect![[r#"
        line 1, column 15: cannot change or drop 'taxed': function 'cents' uses it; drop that first
    "#]],
    );
    check_outcomes(
        "DROP FUNCTION IF EXISTS nothing; DROP FUNCTION cents; DROP FUNCTION taxed",
        expect![[r#"
        nothing does not exist
        DROP FUNCTION cents
        DROP FUNCTION taxed
    "#]],
    );
    check_outcomes(
        "DROP VIEW one",
        expect![[r#"
        line 1, column 11: 'one' is a function; write DROP FUNCTION one
    "#]],
    );
    check_outcomes(
        "CREATE FUNCTION IF NOT EXISTS one() RETURN 2; CREATE FUNCTION one() RETURN 2",
        expect![[r#"
        line 1, column 63: 'one' already exists: it is a function
    "#]],
    );
    check_outcomes(
        "CREATE FUNCTION bids() RETURN 2",
        expect![[r#"
        line 1, column 17: 'bids' already exists: it is a source
    "#]],
    );
    check_outcomes(
        "SELECT * FROM one",
        expect![[r#"
        line 1, column 15: 'one' is a function; only sources and views have rows to select
    "#]],
    );
}

/// Each statement has the function as it was there.
#[test]
fn a_replaced_function_is_another_one() {
    let mut session = session();
    let sql = "CREATE FUNCTION f(x DOUBLE) RETURN x + 1; SELECT f(price) AS a FROM bids;
               CREATE OR REPLACE FUNCTION f(x DOUBLE) RETURN x - 1; SELECT f(price) AS b FROM bids";
    let graph = super::graph(&mut session, sql).unwrap();
    expect![[r#"
        Sink #4 select_2 to result [x1]
          Project #3 (price - 1.0) AS b [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        Sink #2 select_1 to result [x1]
          Project #1 (price + 1.0) AS a [x2] -> rebalance
            Source #0 (see above) [x2] -> forward
    "#]]
    .assert_eq(&tidemill_plans::explain::explain(&graph));
}

#[test]
fn wrong_calls() {
    for (sql, expected) in [
        (
            "SELECT taxed() FROM bids",
            expect![[r#"
            line 1, column 8: taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2) is called with no arguments; 'price' is missing
        "#]],
        ),
        (
            "SELECT taxed(price, 1, 2) FROM bids",
            expect![[r#"
            line 1, column 24: taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2) takes 2 arguments, not more
        "#]],
        ),
        (
            "SELECT auction,\n  one(price) FROM bids",
            expect![[r#"
            line 2, column 7: one() takes no arguments, not more
        "#]],
        ),
        (
            "SELECT taxed(price, price => 2) FROM bids",
            expect![[r#"
            line 1, column 21: taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2) is given its 'price' twice
        "#]],
        ),
        (
            "SELECT taxed(price, tax => 2) FROM bids",
            expect![[r#"
            line 1, column 21: taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2) has no parameter 'tax'
        "#]],
        ),
        (
            "SELECT taxed(*) FROM bids",
            expect![[r#"
            line 1, column 8: '*' is no argument of taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2)
        "#]],
        ),
        (
            "SELECT taxed(bidder) FROM bids",
            expect![[r#"
                line 1, column 1: taxed(price DOUBLE, rate DOUBLE DEFAULT 0.2) takes DOUBLE for price, not VARCHAR: write CAST(… AS DOUBLE)
            "#]],
        ),
        (
            "SELECT twice(price) FROM bids",
            expect![[r#"
                line 1, column 1: twice(x BIGINT) takes BIGINT for x, not DOUBLE: write CAST(… AS BIGINT)
            "#]],
        ),
        (
            "SELECT taxed(DISTINCT price) FROM bids",
            expect![[r#"
            line 1, column 8: DISTINCT or ALL behind taxed is not supported; taxed is no aggregate, and has a value for each row
        "#]],
        ),
        (
            "SELECT taxed(price) OVER (ORDER BY ts) FROM bids",
            expect![[r#"
            line 1, column 8: OVER behind taxed is not supported; taxed is no aggregate, and has a value for each row
        "#]],
        ),
        (
            "SELECT taxed(price) FILTER (WHERE true) FROM bids",
            expect![[r#"
            line 1, column 8: FILTER behind taxed is not supported; taxed is no aggregate, and has a value for each row
        "#]],
        ),
        (
            "SELECT taxed(random()) FROM bids",
            expect![[r#"
            line 1, column 1: random() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
        "#]],
        ),
        (
            "SELECT taxed((SELECT max(price) FROM bids)) FROM bids",
            expect![[r#"
            line 1, column 1: a subquery in an expression is not supported; join its table instead
        "#]],
        ),
        (
            "SELECT taxxed(price) FROM bids",
            expect![[r#"
            line 1, column 8: Invalid function 'taxxed'.
            Did you mean 'taxed'?
        "#]],
        ),
        (
            "SELECT * FROM twice(1)",
            expect![[r#"
                line 1, column 15: there is no table function 'twice'; FROM takes TUMBLE, HOP, CUMULATE, SESSION, ML.PREDICT, ML.EVALUATE and other functions of ML
            "#]],
        ),
    ] {
        check_outcomes(sql, expected);
    }
}

#[test]
fn wrong_functions() {
    for (sql, expected) in [
        (
            "CREATE FUNCTION f(x INT) RETURN\n  x + y",
            expect![[r#"
            line 2, column 7: there is no parameter of 'f' called 'y'; there are: x; a body names no columns
        "#]],
        ),
        (
            "CREATE FUNCTION f() RETURN price",
            expect![[r#"
            line 1, column 28: there is no parameter of 'f' called 'price'; it has none; a body names no columns
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN bids.price",
            expect![[r#"
            line 1, column 33: there is no parameter of 'f' called 'bids'; there are: x; a body names no columns
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN f(x - 1)",
            expect![[r#"
            line 1, column 33: 'f', which calls itself, is not supported; a body calls functions that were created before it
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN g(x - 1)",
            expect![[r#"
            line 1, column 33: Invalid function 'g'.
            Did you mean 'gcd'?
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN x + sum(x)",
            expect![[r#"
            line 1, column 37: an aggregate in a function's body is not supported; aggregate in the query, and pass the result: f(sum(x))
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN row_number() OVER ()",
            expect![[r#"
            line 1, column 33: a window function in a function's body is not supported; compute it in the query, and pass its result
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN sum(x) OVER ()",
            expect![[r#"
            line 1, column 33: a window function in a function's body is not supported; compute it in the query, and pass its result
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN (SELECT max(price) FROM bids)",
            expect![[r#"
            line 1, column 34: a subquery in a function's body is not supported; a function computes with its arguments alone; join the table in the query, and pass its columns
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN x IN (SELECT auction FROM bids)",
            expect![[r#"
            line 1, column 33: a subquery in a function's body is not supported; a function computes with its arguments alone; join the table in the query, and pass its columns
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT[]) RETURN unnest(x)",
            expect![[r#"
            line 1, column 35: UNNEST in a function's body is not supported; unnest in the query, and pass the elements
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN $1 + 1",
            expect![[r#"
            line 1, column 33: $1 in a function's body is not supported; parameters have names here: CREATE FUNCTION f(x INT) RETURN x + 1
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN x + random()",
            expect![[r#"
            line 1, column 33: random() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN x || 1 + 'a'",
            expect![[r#"
            line 1, column 33: Cannot coerce arithmetic expression Int64 + Utf8 to valid types
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURNS DATE RETURN true",
            expect![[r#"
            line 1, column 46: the body is BOOLEAN, which cannot become DATE
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURN NULL",
            expect![[r#"
            line 1, column 17: the type of f is not known: say RETURNS and a type
        "#]],
        ),
        (
            "CREATE FUNCTION f(x NONSENSE) RETURN x",
            expect![[r#"
            line 1, column 19: Unsupported SQL type NONSENSE
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT, x INT) RETURN x",
            expect![[r#"
            line 1, column 26: the parameter 'x' is declared twice
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT DEFAULT 1, y INT) RETURN x",
            expect![[r#"
            line 1, column 36: the parameter 'y' stands behind 'x', which has a DEFAULT, and needs one too
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT DEFAULT 'one') RETURN x",
            expect![[r#"
            line 1, column 33: the DEFAULT of 'x' is 'one', which is no INTEGER
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT, y INT DEFAULT x) RETURN x",
            expect![[r#"
                line 1, column 40: the DEFAULT of 'y' must be a constant, not x
            "#]],
        ),
        (
            "CREATE FUNCTION f(x INT DEFAULT random()) RETURN x",
            expect![[r#"
            line 1, column 33: random() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
        "#]],
        ),
        (
            "CREATE FUNCTION abs(x INT) RETURN x",
            expect![[r#"
                line 1, column 17: there is a function 'abs' already; take another name
            "#]],
        ),
        (
            "CREATE FUNCTION Sum(x INT) RETURN x",
            expect![[r#"
                line 1, column 17: there is a function 'sum' already; take another name
            "#]],
        ),
        (
            "CREATE FUNCTION mod(x INT) RETURN x",
            expect![[r#"
                line 1, column 17: there is a function 'mod' already; take another name
            "#]],
        ),
        (
            "CREATE FUNCTION not(x INT) RETURN x",
            expect![[r#"
            line 1, column 17: 'not' is a word of SQL's own and cannot name a function; take another name
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) AS 'x + 1'",
            expect![[r#"
            line 1, column 29: a body as text is not supported; write RETURN expression, or AS (expression)
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) x + 1",
            expect![[r#"
            line 1, column 26: expected RETURN expression, or AS (expression), found x
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) LANGUAGE python RETURN x",
            expect![[r#"
            line 1, column 35: LANGUAGE python is not supported; write the body in SQL, or register a function from Rust
        "#]],
        ),
        (
            "CREATE FUNCTION f(x INT) VOLATILE RETURN x",
            expect![[r#"
            line 1, column 26: VOLATILE is not supported; a function gives the same result for the same arguments, NULL or not; leave it out
        "#]],
        ),
        (
            "CREATE FUNCTION f(INT) RETURN 1",
            expect![[r#"
            line 1, column 22: expected a data type name, found )
        "#]],
        ),
        (
            "CREATE FUNCTION f RETURN 1",
            expect![[r#"
            line 1, column 19: expected (, found RETURN
        "#]],
        ),
        (
            "EXPLAIN CREATE FUNCTION f() RETURN 1",
            expect![[r#"
            line 1, column 1: EXPLAIN of this statement is not supported; explain a query, a sink, a view or a model
        "#]],
        ),
    ] {
        check_error(sql, expected);
    }
}

/// What is within the limits also travels.
#[test]
fn a_deep_call_reaches_the_workers() {
    let bodies = ["abs(abs(abs(x)))", "CASE WHEN x > 0 THEN 1.5 END", "round(x, CAST(1 AS INT))"];
    for (body, count) in bodies.into_iter().zip([10, 10, 31]) {
        let mut session = session();
        let call = format!("{}price{}", "deep(".repeat(count), ")".repeat(count));
        let sql = format!("CREATE FUNCTION deep(x DOUBLE) RETURN {body}; SELECT {call} AS d FROM bids");
        let graph = super::graph(&mut session, &sql).unwrap();
        let bytes = tidemill_plans::codec::encode(&graph).unwrap();
        assert_eq!(tidemill_plans::codec::decode::<DataflowGraph>(&bytes).unwrap(), graph);
    }
}

/// Each of these doubles what is inside it: 2^20 parts, if anybody let them grow.
#[test]
fn calls_within_calls_have_a_limit() {
    let nested = |count: usize| format!("SELECT {}auction{} FROM bids", "twice(".repeat(count), ")".repeat(count));
    check_outcomes(
        &nested(20),
        expect![[r#"
        line 1, column 1: with its body in its place, a call of twice becomes an expression of 8191 parts; the limit is 4096: name the inner calls in a subquery or a view
    "#]],
    );
    let doubling = (0..20).map(|n| format!("CREATE FUNCTION d{}(x DOUBLE) RETURN d{n}(x) * d{n}(x);\n", n + 1));
    let doubling: String = doubling.collect();
    check_outcomes(
        &format!("CREATE FUNCTION d0(x DOUBLE) RETURN x;\n{doubling}"),
        expect![[r#"
        line 14, column 38: with its body in its place, a call of d12 becomes an expression of 8191 parts; the limit is 4096: name the inner calls in a subquery or a view
    "#]],
    );
    let deep = "CREATE FUNCTION deep(x DOUBLE) RETURN abs(abs(abs(x)));";
    let nested = format!("{deep} SELECT {}price{} FROM bids", "deep(".repeat(20), ")".repeat(20));
    check_outcomes(
        &nested,
        expect![[r#"
            line 1, column 57: with its body in its place, a call of deep becomes an expression of 34 levels; the limit is 32: name the inner calls in a subquery or a view
        "#]],
    );
}

//! Calls of table functions from Rust as graphs.

use std::sync::{Arc, Once};

use arrow::datatypes::{DataType, Field};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Volatility, create_udf};
use expect_test::{Expect, expect};
use tidemill_plans::functions::{register_scalar, register_table};

use super::{execute, explain_after, session, shown};

/// Functions of names and types alone: nothing here runs.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let function = |name: &str, returned: DataType| {
            let body = Arc::new(|_: &[_]| Err(DataFusionError::Execution(String::from("it is not run"))));
            create_udf(name, vec![DataType::Utf8], returned, Volatility::Immutable, body)
        };
        let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
        let fields = vec![Field::new("word", DataType::Utf8, true), Field::new("length", DataType::Int64, true)];
        register_table(function("words", list(DataType::Struct(fields.into())))).unwrap();
        register_table(function("letters", list(DataType::Utf8))).unwrap();
        register_scalar(function("no_table", list(DataType::Utf8))).unwrap();
    });
}

fn check(sql: &str, expected: Expect) {
    register();
    expected.assert_eq(&explain_after("", sql));
}

#[test]
fn a_call_is_unnest_of_what_it_returns() {
    check(
        "SELECT b.auction, l.letter FROM bids b, LATERAL letters(b.bidder) AS l(letter)",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, "unnest(letters(bidder))" AS letter [x2] -> rebalance
                Unnest #2 letters(bidder) [x2] -> forward
                  Project #1 auction, letters(bidder) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, letters FROM bids CROSS JOIN LATERAL TABLE(Letters(bidder))",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, "unnest(letters(bidder))" AS letters [x2] -> rebalance
                Unnest #2 letters(bidder) [x2] -> forward
                  Project #1 auction, letters(bidder) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT b.auction, l.letters FROM bids b, letters(b.bidder) l",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, "unnest(letters(bidder))" AS letters [x2] -> rebalance
                Unnest #2 letters(bidder) [x2] -> forward
                  Project #1 auction, letters(bidder) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, letter FROM bids, UNNEST(letters(bidder)) AS l(letter)",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, "unnest(letters(bidder))" AS letter [x2] -> rebalance
                Unnest #2 letters(bidder) [x2] -> forward
                  Project #1 auction, letters(bidder) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, letter FROM bids, TABLE(letters(bidder)) AS l(letter)",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, "unnest(letters(bidder))" AS letter [x2] -> rebalance
                Unnest #2 letters(bidder) [x2] -> forward
                  Project #1 auction, letters(bidder) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn the_fields_of_structs_are_columns() {
    check(
        "SELECT auction, word, length FROM bids, LATERAL words(bidder) WHERE length > 3",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 auction, "unnest(words(bidder)).word" AS word, "unnest(words(bidder)).length" AS length [x2] -> rebalance
                Filter #4 ("unnest(words(bidder)).length" > 3) [x2] -> forward
                  Unnest #3 unnest(words(bidder)) [x2] -> forward
                    Unnest #2 words(bidder) [x2] -> forward
                      Project #1 auction, words(bidder) [x2] -> forward
                        Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT b.auction, w.a, w.b FROM bids b, LATERAL TABLE(words(upper(b.bidder))) AS w(a, b)",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, "unnest(words(upper(bidder))).word" AS a, "unnest(words(upper(bidder))).length" AS b [x2] -> rebalance
                Unnest #3 unnest(words(upper(bidder))) [x2] -> forward
                  Unnest #2 words(upper(bidder)) [x2] -> forward
                    Project #1 auction, words(upper(bidder)) [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT * FROM bids b, UNNEST(words(b.bidder)) w",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, bidder, price, ts, "unnest(words(bidder)).word" AS word, "unnest(words(bidder)).length" AS length [x2] -> rebalance
                Unnest #3 unnest(words(bidder)) [x2] -> forward
                  Unnest #2 words(bidder) [x2] -> forward
                    Project #1 auction, bidder, price, ts, words(bidder) [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT b.auction, w.word, l.letter FROM bids b, LATERAL words(b.bidder) w, LATERAL letters(w.word) AS l(letter)",
        expect![[r#"
            Sink #7 select_1 to result [x1]
              Project #6 auction, word, "unnest(letters(""unnest(words(bidder)).word""))" AS letter [x2] -> rebalance
                Unnest #5 letters("unnest(words(bidder)).word") [x2] -> forward
                  Project #4 auction, "unnest(words(bidder)).word" AS word, letters("unnest(words(bidder)).word") [x2] -> forward
                    Unnest #3 unnest(words(bidder)) [x2] -> forward
                      Unnest #2 words(bidder) [x2] -> forward
                        Project #1 auction, words(bidder) [x2] -> forward
                          Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn a_left_join_keeps_rows_without_elements() {
    check(
        "SELECT auction, l.letters FROM bids b LEFT JOIN LATERAL letters(b.bidder) l ON TRUE",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 auction, "unnest(letters(bidder))" AS letters [x2] -> rebalance
                Unnest #2 letters(bidder), empty ones too [x2] -> forward
                  Project #1 auction, letters(bidder) [x2] -> forward
                    Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, w.word FROM bids b LEFT JOIN LATERAL words(b.bidder) w ON TRUE",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 auction, "unnest(words(bidder)).word" AS word [x2] -> rebalance
                Unnest #3 unnest(words(bidder)) [x2] -> forward
                  Unnest #2 words(bidder), empty ones too [x2] -> forward
                    Project #1 auction, words(bidder) [x2] -> forward
                      Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT auction, w.word FROM bids b LEFT JOIN LATERAL words(b.bidder) w ON w.length > 3",
        expect![
            "error: line 1, column 1: LEFT JOIN with the row's own elements takes them as they are, ON TRUE: drop LEFT, or make the list shorter in a subquery before it"
        ],
    );
}

#[test]
fn windows_and_updating_queries_go_on() {
    check(
        "SELECT word, window_end, count(*) AS n
         FROM TUMBLE((SELECT b.ts, w.word FROM bids b, LATERAL words(b.bidder) w), DESCRIPTOR(ts), INTERVAL '1 hour')
         GROUP BY word, window_start, window_end",
        expect![[r#"
            Sink #8 select_1 to result [x1]
              Project #7 word, window_end, "count(1)" AS n [x2] -> rebalance
                WindowAggregate #6 TUMBLE(size=1h) on ts by (word): count(1) [x2] -> forward
                  Project #5 word, ts [x2] -> hash(word)
                    Project #4 ts, "unnest(words(bidder)).word" AS word [x2] -> forward
                      Unnest #3 unnest(words(bidder)) [x2] -> forward
                        Unnest #2 words(bidder) [x2] -> forward
                          Project #1 ts, words(bidder) [x2] -> forward
                            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
    check(
        "SELECT w.word, sum(m.n) AS n FROM (SELECT bidder, count(*) AS n FROM bids GROUP BY bidder) m,
           LATERAL words(m.bidder) w GROUP BY w.word",
        expect![[r#"
            Sink #9 select_1 to result [x1]
              Project #8 "unnest(words(bidder)).word" AS word, "sum(n)" AS n [x2] -> rebalance
                Aggregate #7 by (unnest(words(bidder)).word): sum(n) at end [x2] -> forward
                  Project #6 unnest(words(bidder)).word, n [x2] -> hash(unnest(words(bidder)).word)
                    Unnest #5 unnest(words(bidder)) [x2] -> forward
                      Unnest #4 words(bidder) [x2] -> forward
                        Project #3 "count(1)" AS n, words(bidder) [x2] -> forward
                          Aggregate #2 by (bidder): count(1) updating [x2] -> forward
                            Project #1 bidder, ts [x2] -> hash(bidder)
                              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        "#]],
    );
}

#[test]
fn wrong_calls() {
    for (sql, expected) in [
        (
            "SELECT * FROM bids b, LATERAL nothing(b.bidder) w",
            expect![[r#"
            line 1, column 31: there is no table function 'nothing'; from Rust there are: letters, words; UNNEST(f(x)) makes rows of a list
        "#]],
        ),
        (
            "SELECT * FROM bids b, LATERAL no_table(b.bidder) w",
            expect![[r#"
            line 1, column 31: there is no table function 'no_table'; from Rust there are: letters, words; UNNEST(f(x)) makes rows of a list
        "#]],
        ),
        (
            "SELECT * FROM bids b, LATERAL words(b.bidder) AS w(a)",
            expect![[r#"
                line 1, column 31: words has the columns word, length: name as many behind it, not 1
            "#]],
        ),
        (
            "SELECT * FROM bids b, LATERAL words(b.nothing) w",
            expect![[r#"
            line 1, column 1: No field named b.nothing
        "#]],
        ),
        (
            "SELECT * FROM bids b, LATERAL words(b.bidder, 1) w",
            expect![[r#"
            line 1, column 1: Failed to coerce arguments to satisfy a call to 'words' function: coercion from Utf8, Int64 to the signature Exact(Utf8) failed. No function matches the given name and argument types 'words(Utf8, Int64)'. You might need to add explicit type casts.
            	Candidate functions:
            	words(Utf8)
        "#]],
        ),
        (
            "SELECT * FROM bids b, LATERAL words(b.bidder) WITH ORDINALITY w",
            expect![[r#"
            line 1, column 31: WITH ORDINALITY is not supported; leave it out; no stream says in which place an element was
        "#]],
        ),
        (
            "SELECT * FROM bids b, LATERAL TABLE(b.bidder) w",
            expect![[r#"
            line 1, column 37: TABLE has a call in it, not b.bidder
        "#]],
        ),
        (
            "SELECT * FROM bids b FULL JOIN LATERAL words(b.bidder) w ON TRUE",
            expect![[r#"
            line 1, column 1: LATERAL syntax is not supported for FULL OUTER and RIGHT [OUTER | ANTI | SEMI] joins
        "#]],
        ),
        (
            "CREATE FUNCTION words(x INT) RETURN x",
            expect![[r#"
            line 1, column 17: there is a function 'words' already; take another name
        "#]],
        ),
    ] {
        register();
        let mut session = session();
        let text = match execute(&mut session, sql) {
            Ok(outcomes) => outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect(),
            Err(error) => format!("{error}\n"),
        };
        expected.assert_eq(&text);
    }
}

#[test]
fn they_are_listed_with_their_types() {
    register();
    let listed = shown(&execute(&mut session(), "SHOW FUNCTIONS").unwrap()[0]);
    let own = listed.lines().filter(|line| line.contains("table, from Rust"));
    let own: Vec<String> = own.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    expect![[r#"
        | letters | VARCHAR | VARCHAR[] | table, from Rust | |
        | words | VARCHAR | STRUCT<word VARCHAR, length BIGINT>[] | table, from Rust | |"#]]
    .assert_eq(&own.join("\n"));
}

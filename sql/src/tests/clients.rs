//! What clients of other programs ask for: the columns of statements, parameters, rows in the text, names with a schema.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use arrow::util::pretty::pretty_format_batches;
use expect_test::{Expect, expect};
use tidemill_plans::time::event_time_type;

use super::{error, execute, explain_after, lines, session};
use crate::{Description, Outcome, ParameterValue, ParsedStatement, Session, SqlError, parse_script};

fn parsed(sql: &str) -> Vec<ParsedStatement> {
    parse_script(sql).unwrap()
}

/// The columns of a text's rows, or what else it comes to.
fn described(session: &Session, sql: &str) -> Result<String, SqlError> {
    let columns = |schema: &arrow::datatypes::Schema| {
        let shown = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        shown.collect::<Vec<_>>().join(", ")
    };
    Ok(match session.describe(&parsed(sql))? {
        Description::Query { columns: result, .. } => columns(&result.schema),
        Description::Analysis(_) => String::from("an analysis"),
        Description::Rows(rows) => columns(&rows.schema()),
        Description::JobRows(command) => format!("{command:?}"),
        Description::AccessRows(command) => command.to_string(),
        Description::Effect => String::from("an effect"),
    })
}

#[test]
fn statements_are_described_and_nothing_is_done() {
    let session = session();
    for (sql, expected) in [
        ("SELECT auction, price FROM bids", "auction Int64, price Float64"),
        ("CREATE VIEW v AS SELECT auction AS a FROM bids; SELECT * FROM v", "a Int64"),
        ("EXPLAIN ANALYZE SELECT auction FROM bids", "an analysis"),
        ("DESCRIBE bids", "column Utf8, type Utf8, nullable Boolean, role Utf8"),
        ("CREATE VIEW v AS SELECT auction FROM bids", "an effect"),
        ("SELECT price / ? AS x, $1 AS y FROM bids", "parameters are written as ? or as $1"),
        ("SELECT price / ? AS x FROM bids WHERE bidder = ? LIMIT ?", "x Float64"),
        ("INSERT INTO nowhere VALUES (?)", "there is no source, view, sink, model or function 'nowhere'"),
        ("SHOW SOURCES; SELECT auction FROM bids", "send the statements one by one"),
        ("SELECT count(*) AS n FROM tidemill.public.bids WHERE public.bids.price > 1", "n Int64"),
    ] {
        let shown = parse_script(sql).and_then(|_| described(&session, sql)).unwrap_or_else(|error| error.to_string());
        assert!(shown.contains(expected), "{sql}: {shown}");
    }
    assert_eq!(
        session.tables().iter().map(|table| table.name.as_str()).collect::<Vec<_>>(),
        ["auctions", "bids", "plain"]
    );
}

/// What is known of a SELECT's rows before it runs.
fn known(sql: &str) -> String {
    match session().describe(&parsed(sql)).unwrap() {
        Description::Query { rows: Some(rows), columns, .. } => {
            assert_eq!(rows.schema(), columns.schema, "{sql}");
            pretty_format_batches(&[rows])
                .unwrap()
                .to_string()
                .lines()
                .skip(3)
                .map(|line| format!("{line}\n"))
                .collect()
        }
        Description::Query { rows: None, .. } => String::from("nothing"),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn rows_of_constants_are_known_without_a_job() {
    for (sql, rows) in [
        ("SELECT 1", "| 1 |"),
        ("SELECT 1 + 1 AS two, upper('a') AS a, NULL AS n", "| 2 | A | |"),
        ("SELECT a + 1 AS b FROM (SELECT 2 AS a) AS t WHERE a > 1 LIMIT 5", "| 3 |"),
        ("SELECT 1 WHERE 1 > 2", ""),
        ("SELECT 1 LIMIT 0", ""),
        ("SELECT 7 AS n FROM (VALUES (1)) AS t (a)", "| 7 |"),
        // An order of rows, a sum, and what an operator has to refuse are for a job.
        ("SELECT a FROM (VALUES (2), (1)) AS t (a)", "nothing"),
        ("SELECT count(*) AS n FROM (SELECT 1 AS a) AS t", "nothing"),
        ("SELECT 1 / 0", "nothing"),
        ("SELECT bidder FROM bids", "nothing"),
    ] {
        let shown = known(sql);
        let shown: Vec<&str> = shown.lines().filter(|line| !line.starts_with('+')).collect();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&shown.join(" ")), rows, "{sql}");
    }
}

#[test]
fn parameters_have_the_types_of_what_they_are_compared_with() {
    let types = |sql: &str| session().parameter_types(&parsed(sql)[0]);
    assert_eq!(
        types("SELECT auction FROM bids WHERE bidder = $2 AND price > $1 AND ts < $3"),
        [Some(DataType::Float64), Some(DataType::Utf8), Some(event_time_type())]
    );
    assert_eq!(types("SELECT ? AS x FROM bids"), [None]);
    assert_eq!(types("SELECT auction FROM bids"), []);
}

/// A plan with values bound.
fn check_bound(sql: &str, values: &[ArrayRef], expected: Expect) {
    let values: Vec<ParameterValue<'_>> =
        values.iter().map(|array| ParameterValue { array: array.as_ref(), row: 0 }).collect();
    let text = match parsed(sql)[0].bind(&values) {
        Ok(bound) => match session().execute(&bound) {
            Ok(Outcome::Rows(rows)) => lines(&rows),
            other => panic!("no plan: {other:?}"),
        },
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn values_stand_where_parameters_stood() {
    let decimal = Decimal128Array::from(vec![1234]).with_precision_and_scale(10, 2).unwrap();
    let values: [ArrayRef; 5] = [
        Arc::new(Int64Array::from(vec![-5])),
        Arc::new(StringArray::from(vec!["it's"])),
        Arc::new(Float64Array::from(vec![f64::NAN])),
        Arc::new(Date32Array::from(vec![None])),
        Arc::new(decimal),
    ];
    check_bound(
        "EXPLAIN SELECT auction - ? AS a, ? AS b, ? AS c, ? AS d, ? AS e FROM bids",
        &values,
        expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 (auction - -5) AS a, 'it''s' AS b, NaN AS c, NULL AS d, 12.34 AS e [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check_bound(
        "EXPLAIN SELECT auction FROM bids WHERE price > ?",
        &values[..2],
        expect![[r#"
        line 1, column 1: the statement has 1 parameters, and 2 values were given
    "#]],
    );
    expect![[r#"
        line 1, column 1: a parameter without a value is not supported; write the value, or give one
    "#]]
    .assert_eq(&error(&mut session(), "SELECT auction FROM bids WHERE price > ?"));
    expect![[r#"
        line 1, column 1: a parameter without a value is not supported; write the value, or give one
    "#]]
    .assert_eq(&error(&mut session(), "SELECT auction FROM bids WHERE price > :x"));
}

#[test]
fn an_insert_of_rows_takes_many_lists_of_values() {
    let mut session = session();
    execute(&mut session, "CREATE SINK s (a BIGINT, b VARCHAR) WITH (connector = 'blackhole')").unwrap();
    let columns: [ArrayRef; 2] =
        [Arc::new(Int64Array::from(vec![Some(1), None])), Arc::new(StringArray::from(vec!["x", "y"]))];
    let list = |row: usize| columns.iter().map(move |array| ParameterValue { array: array.as_ref(), row }).collect();
    let insert = &parsed("INSERT INTO s VALUES ($1, $2), ($1 + 1, 'z')")[0];
    let all = insert.bind_all((0..2).map(list)).unwrap().unwrap();
    assert_eq!(all.inserted_values(), Some(4));
    session.execute(&all).unwrap();
    let other = &parsed("INSERT INTO s SELECT auction, ? FROM bids")[0];
    assert!(other.bind_all(std::iter::empty()).unwrap().is_none() && other.inserted_values().is_none());
}

#[test]
fn rows_in_the_text_are_a_source() {
    expect![[r#"
        Sink #2 select_1 to result [x1]
          Project #1 1 AS one, 'x' AS x [x1] -> forward
            Source #0 values from values [x1] -> forward
    "#]]
    .assert_eq(&explain_after("", "SELECT 1 AS one, 'x' AS x"));
    expect![[r#"
        Sink #4 select_1 to result [x1]
          Project #3 column2 AS b, "count(1)" AS n [x2] -> rebalance
            Aggregate #2 by (column2): count(1) at end [x2] -> forward
              Project #1 column2 [x1] -> hash(column2)
                Source #0 values from values [x1] -> forward
    "#]]
    .assert_eq(&explain_after("", "SELECT b, count(*) AS n FROM (VALUES (1, 'x'), (2.5, NULL)) v (a, b) GROUP BY b"));
}

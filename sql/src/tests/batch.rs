//! Which queries run as a whole, and what is made of them.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use expect_test::{Expect, expect};
use tidemill_plans::batch::Wanted;

use super::{execute, session};
use crate::{JobStatement, Outcome, Session, parse_script};

/// The job of a script's last statement, where there is somebody who runs queries as a whole.
fn job(sql: &str) -> Result<Box<JobStatement>, String> {
    let mut session = session().with_batches();
    match execute(&mut session, sql).map_err(|error| error.to_string())?.pop() {
        Some(Outcome::Job(job)) => Ok(job),
        other => Err(format!("{other:?}")),
    }
}

fn is_whole(sql: &str) -> bool {
    job(sql).unwrap().batch().is_some()
}

/// The plan that is handed on.
fn check_plan(sql: &str, expect: Expect) {
    let job = job(sql).unwrap();
    expect.assert_eq(&format!("{}\n", job.batch().unwrap().plan.display_indent()));
}

#[test]
fn tables_that_end_and_have_no_time_are_read_as_a_whole() {
    assert!(is_whole("SELECT auction FROM plain"));
    assert!(is_whole("SELECT 1 AS one"));
    assert!(is_whole(
        "CREATE VIEW v AS SELECT auction AS a FROM plain; SELECT a FROM v WHERE a IN (SELECT max(a) FROM v)"
    ));
    assert!(is_whole(
        "CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT RETURN x * 2; SELECT twice(auction) AS t FROM plain"
    ));
    assert!(!is_whole("SELECT auction FROM bids"), "it has an event time");
    assert!(!is_whole("SELECT p.auction FROM plain AS p JOIN bids AS b ON p.auction = b.auction"));
    assert!(!is_whole("CREATE VIEW v AS SELECT auction AS a FROM bids; SELECT a FROM v"));
    assert!(!is_whole("CREATE MATERIALIZED VIEW v AS SELECT auction AS a FROM plain; SELECT a FROM v"));
    assert!(!is_whole("SET execution = 'streaming'; SELECT auction FROM plain"));
    assert!(!is_whole("SET result_endpoints = 'workers'; SELECT auction FROM plain"));
    assert!(!is_whole(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 's', format = 'csv', watch = '1s'); SELECT a FROM s"
    ));
    assert!(!is_whole(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = SECRET place, format = 'csv'); SELECT a FROM s"
    ));
}

#[test]
fn what_is_of_streams_is_a_stream() {
    let mut session = Session::default();
    execute(&mut session, super::SOURCES).unwrap();
    assert!(!is_whole("SELECT auction, count(*) AS n FROM plain GROUP BY auction EMIT ON UPDATE"));
    assert!(!is_whole("SELECT /*+ STATE_TTL('p' = '1d') */ auction, count(*) AS n FROM plain AS p GROUP BY auction"));
    assert!(!is_whole("SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 minute')"));
}

#[test]
fn a_query_that_is_to_be_whole_and_cannot_says_why() {
    let error = |sql: &str| job(&format!("SET execution = 'batch'; {sql}")).unwrap_err();
    expect![[r#"line 1, column 46: 'bids', which has an event time, in a query with execution = 'batch' is not supported; read files without WATERMARK FOR, or SET execution = 'inferred'"#]]
        .assert_eq(&error("SELECT auction FROM bids"));
    assert!(error("SELECT x FROM plain").contains("No field named x"), "{}", error("SELECT x FROM plain"));
    let nobody = execute(&mut Session::default(), "SET execution = 'batch'; SELECT 1 AS a").unwrap_err().to_string();
    assert!(nobody.contains("where nothing runs queries as a whole"), "{nobody}");
}

#[test]
fn rows_have_one_order() {
    check_plan(
        "SELECT at_time, auction FROM plain",
        expect![[r#"
            Sort: plain.at_time ASC NULLS FIRST, plain.auction ASC NULLS FIRST
              Projection: plain.at_time, plain.auction
                TableScan: plain projection=[auction, at_time]
        "#]],
    );
    check_plan(
        "SELECT auction FROM plain ORDER BY \"Odd\" DESC LIMIT 3",
        expect![[r#"
            Limit: skip=0, fetch=3
              Projection: plain.auction
                Sort: plain.Odd DESC NULLS FIRST, plain.auction ASC NULLS FIRST
                  TableScan: plain projection=[auction, Odd]
        "#]],
    );
    check_plan(
        "SET result_order = 'arrival'; SELECT auction FROM plain",
        expect![[r#"
            TableScan: plain projection=[auction]
        "#]],
    );
    check_plan(
        "SET result_order = 'arrival'; SELECT auction, row_number() OVER (ORDER BY at_time) AS n, rank() OVER (ORDER BY at_time) AS r \
         FROM plain",
        expect![[r#"
            Projection: plain.auction, row_number() ORDER BY [plain.at_time ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS n, rank() ORDER BY [plain.at_time ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS r
              WindowAggr: windowExpr=[[row_number() ORDER BY [plain.at_time ASC NULLS LAST, plain.auction ASC NULLS FIRST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS row_number() ORDER BY [plain.at_time ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW]]
                WindowAggr: windowExpr=[[rank() ORDER BY [plain.at_time ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW]]
                  TableScan: plain projection=[auction, at_time]
        "#]],
    );
}

#[test]
fn explain_is_for_whoever_runs_it() {
    let wanted = |sql: &str| job(sql).unwrap().batch().unwrap().wanted;
    assert_eq!(wanted("EXPLAIN SELECT auction FROM plain"), Wanted::Plan);
    assert_eq!(wanted("EXPLAIN ANALYZE SELECT auction FROM plain"), Wanted::Analysis);
    assert_eq!(wanted("SELECT auction FROM plain"), Wanted::Rows);
    let tables = job("SELECT a.auction FROM plain AS a, plain AS b").unwrap();
    assert_eq!(tables.batch().unwrap().tables().unwrap().len(), 1);
}

#[test]
fn columns_of_files_become_the_statements() {
    let sql = "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'it''s'";
    let statement = parse_script(sql).unwrap().remove(0);
    assert!(statement.wants_columns_of().unwrap().contains(&(String::from("format"), String::from("parquet"))));
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let columns = Schema::new(vec![
        field("a", DataType::UInt16),
        field("B", dictionary),
        field("c", DataType::Decimal128(15, 2)),
        field("d", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        field("e", DataType::List(field("item", DataType::Utf8View).into())),
    ]);
    let complete = statement.with_columns(&columns).unwrap();
    assert!(complete.wants_columns_of().is_none());
    expect![[r#"CREATE TABLE "t" ("a" SMALLINT UNSIGNED, "B" VARCHAR, "c" DECIMAL(15, 2), "d" TIMESTAMP, "e" VARCHAR[]) WITH (connector = 'files', format = 'parquet', path = 'it''s')"#]]
        .assert_eq(complete.text());
    // What is kept of it means the same.
    let mut session = Session::default();
    session.execute(&complete).unwrap();
    session.execute(&parse_script(&complete.text().replace("\"t\"", "u")).unwrap()[0]).unwrap();
    let odd = Schema::new(vec![field("x", DataType::Duration(TimeUnit::Second))]);
    let error = statement.with_columns(&odd).unwrap_err().to_string();
    assert!(error.contains("the column 'x' of the files is Duration(s)"), "{error}");
    let plain = parse_script("CREATE SOURCE t () WITH (connector = 'files', path = 't', format = 'csv')").unwrap();
    assert!(plain[0].wants_columns_of().is_none());
}

#[test]
fn a_model_replaces_no_table_that_was_made_while_its_rows_were_written() {
    let mut session = session().with_batches();
    let create =
        "CREATE OR REPLACE MODEL m WITH (model_type = 'linear_reg', label = 'auction', training_set = 'rows') AS
        SELECT auction, \"Odd\" FROM plain";
    let Some(Outcome::Job(model)) = execute(&mut session.clone(), create).unwrap().pop() else { panic!("no job") };
    execute(&mut session, "CREATE SOURCE m (a INT) WITH (connector = 'files', path = 'm', format = 'csv')").unwrap();
    let error = session.add_model(&model).unwrap_err().to_string();
    assert!(error.contains("'m' already exists: it is a source"), "{error}");
    assert_eq!(session.place_of("m").as_deref(), Some("m"));
}

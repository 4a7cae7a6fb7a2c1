//! Queries that run as a whole: `execution` says how, and the rows are the same.

use crate::command::{Folder, PATIENCE};

const TABLE: &str =
    "CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', path = 't.csv', format = 'csv');\n";
const ENGINE: &str = "Batch, by DataFusion in this process";

fn folder() -> Folder {
    Folder::with(&[("t.csv", "a,b\n3,x\n1,y\nzwei,z\n0,x\n2,\n")])
}

/// What a script prints in each way, which must be the same, and what it says on standard error.
#[track_caller]
fn both(folder: &Folder, sql: &str) -> (String, String) {
    let run = |execution: &str| {
        let execution = format!("execution={execution}");
        folder.run(sql, &["--format", "csv", "--set", &execution]).success()
    };
    let (whole, stream) = (run("batch"), run("streaming"));
    assert_eq!(whole.stdout, stream.stdout, "{sql}");
    (whole.stdout, whole.stderr)
}

/// What a script prints as a whole.
#[track_caller]
fn whole(folder: &Folder, sql: &str) -> String {
    folder.run(sql, &["--format", "csv", "--set", "execution=batch"]).success().stdout
}

#[test]
fn explain_says_which_engine() {
    let folder = folder();
    let explained = |execution: &str| {
        let sql = format!("{TABLE}SET execution = '{execution}'; EXPLAIN SELECT b, count(*) FROM t GROUP BY b");
        folder.run(&sql, &[]).success().stdout
    };
    assert!(explained("inferred").starts_with(ENGINE), "{}", explained("inferred"));
    assert!(explained("batch").contains("AggregateExec"), "{}", explained("batch"));
    assert!(explained("streaming").starts_with("Sink"), "{}", explained("streaming"));
    let analyzed = folder.run(&format!("{TABLE}EXPLAIN ANALYZE SELECT a FROM t WHERE a > 1"), &[]).success().stdout;
    assert!(analyzed.contains("output_rows=2"), "{analyzed}");
}

#[test]
fn rows_come_in_the_order_of_a_stream() {
    let folder = folder();
    assert_eq!(both(&folder, &format!("{TABLE}SELECT b, a FROM t")).0, "b,a\n,2\nx,0\nx,3\ny,1\n");
    assert_eq!(both(&folder, &format!("{TABLE}SELECT a, b FROM t ORDER BY b DESC")).0, "a,b\n2,\n1,y\n0,x\n3,x\n");
    assert_eq!(both(&folder, &format!("{TABLE}SELECT a FROM t LIMIT 2")).0, "a\n0\n1\n");
    let numbered =
        "SELECT a, b FROM (SELECT a, b, row_number() OVER (PARTITION BY b ORDER BY 1) AS n FROM t) WHERE n = 1";
    assert_eq!(both(&folder, &format!("{TABLE}{numbered}")).0, "a,b\n0,x\n1,y\n2,\n");
    // The one does not mind ties, the other does.
    let of_both = "SELECT a, count(*) OVER w AS n, lag(a) OVER w AS l FROM t WINDOW w AS (ORDER BY b)";
    assert_eq!(both(&folder, &format!("{TABLE}{of_both}")).0, "a,n,l\n0,2,\n1,3,3\n2,4,1\n3,2,0\n");
}

#[test]
fn bad_rows_are_left_out_and_counted() {
    let folder = folder();
    let (rows, told) = both(&folder, &format!("{TABLE}SELECT 6 / a AS q FROM t WHERE 12 / a < 12"));
    // One of the file, one of the filter.
    assert_eq!(rows, "q\n2\n3\n");
    assert!(told.contains("2 to dead letters"), "{told}");
    let (rows, told) = both(&folder, &format!("{TABLE}SELECT 6 / a AS q FROM t"));
    assert_eq!(rows, "q\n2\n3\n6\n");
    assert!(told.contains("2 to dead letters"), "{told}");
    let sql = format!("SET dead_letter_path = 'dead.json'; {TABLE}SELECT 6 / a AS q FROM t");
    whole(&folder, &sql);
    let dead = folder.read("dead.json");
    assert!(dead.contains("\"operator\":\"Source t\"") && dead.contains("zwei"), "{dead}");
    assert!(dead.contains("\"operator\":\"Project\"") && dead.contains("\"row\":\"a=0\""), "{dead}");
}

#[test]
fn what_streams_cannot_do_is_possible() {
    let folder = folder();
    let whole = |sql: &str| whole(&folder, &format!("{TABLE}{sql}"));
    assert_eq!(whole("SELECT b FROM t WHERE b IS NOT NULL ORDER BY a + 0 DESC LIMIT 1 OFFSET 1"), "b\ny\n");
    assert_eq!(whole("SELECT a FROM t INTERSECT SELECT a + 1 FROM t"), "a\n1\n2\n3\n");
    assert_eq!(whole("SELECT a FROM t EXCEPT SELECT a + 1 FROM t"), "a\n0\n");
    assert_eq!(whole("SELECT b, sum(a) AS s FROM t GROUP BY ROLLUP (b)"), "b,s\n,2\n,6\nx,3\ny,1\n");
    let counted = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 4) SELECT i FROM n";
    assert_eq!(whole(counted), "i\n1\n2\n3\n4\n");
    assert_eq!(
        whole("SELECT count(*) AS n FROM t AS x WHERE a > (SELECT avg(a) FROM t AS y WHERE y.b = x.b)"),
        "n\n1\n"
    );
}

#[test]
fn views_are_read_through() {
    let sql = format!("{TABLE}CREATE VIEW v AS SELECT a * 2 AS d, b FROM t; SELECT max(d) AS m FROM v WHERE b = 'x'");
    assert_eq!(both(&folder(), &sql).0, "m\n6\n");
}

#[test]
fn parquet_is_read_as_it_is_declared() {
    let folder = folder();
    let sink = "CREATE SINK s WITH (connector = 'files', path = 'p', format = 'parquet') AS SELECT a, b FROM t";
    folder.run(&format!("{TABLE}{sink}"), &[]).success();
    let table = |columns: &str| {
        format!("CREATE TABLE p ({columns}) WITH (connector = 'files', path = 'p', format = 'parquet');\n")
    };
    let plain = table("b VARCHAR, a BIGINT");
    assert!(whole(&folder, &format!("{plain}EXPLAIN SELECT a FROM p WHERE a > 1")).contains("DataSourceExec"));
    assert_eq!(both(&folder, &format!("{plain}SELECT * FROM p WHERE a > 1")).0, "b,a\n,2\nx,3\n");
    // A projection is not put into the scan, whose errors are the file's.
    assert_eq!(both(&folder, &format!("{plain}SELECT 6 / a AS q FROM p")).0, "q\n2\n3\n6\n");
    // What a column that is declared otherwise cannot hold makes bad rows, which DataFusion would not.
    let narrow = table("a BIGINT, b VARCHAR NOT NULL");
    let (rows, told) = both(&folder, &format!("{narrow}SELECT count(*) AS n FROM p"));
    assert_eq!(rows, "n\n3\n");
    assert!(told.contains("1 to dead letters"), "{told}");
    let missing = folder.run(&format!("{}SELECT * FROM p", table("c BIGINT")), &[]).failure();
    assert!(missing.contains("no column 'c'; the file has a, b"), "{missing}");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = folder();
    let lost =
        "CREATE TABLE n (a BIGINT) WITH (connector = 'files', path = 'none.csv', format = 'csv'); SELECT a FROM n";
    assert!(folder.run(lost, &[]).failure().contains("no file matches 'none.csv'"));
    let timed = "CREATE SOURCE s (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (connector = 'files', path = 't.csv', \
                 format = 'csv'); SELECT ts FROM s";
    let refused = folder.run(timed, &["--set", "execution=batch"]).failure();
    assert!(refused.contains("'s', which has an event time, in a query with execution = 'batch'"), "{refused}");
    let divided = folder.run(&format!("{TABLE}SELECT sum(1 / a) AS s FROM t"), &["--set", "execution=batch"]).failure();
    assert!(divided.to_lowercase().contains("divide by zero"), "{divided}");
}

#[test]
fn numbers_that_do_not_fit_are_told() {
    let folder = Folder::with(&[("t.csv", "a,b\n9223372036854775807,x\n5,y\n")]);
    let (rows, told) = both(&folder, &format!("{TABLE}SELECT a + 1 AS c, b FROM t"));
    assert_eq!(rows, "c,b\n6,y\n");
    assert!(told.contains("Overflow happened on: 9223372036854775807 + 1"), "{told}");
    assert_eq!(both(&folder, &format!("{TABLE}SELECT b FROM t WHERE a * 2 > 0")).0, "b\ny\n");
    for execution in ["batch", "streaming"] {
        let of_all = format!("{TABLE}SELECT max(a - (0 - 1)) AS m FROM t");
        let failed = folder.run(&of_all, &["--set", &format!("execution={execution}")]).failure();
        assert!(failed.contains("Overflow happened"), "{failed}");
    }
}

/// Texts of Parquet are string views inside, of CSV they are not.
#[test]
fn texts_of_parquet_are_texts() {
    let folder = Folder::with(&[("t.csv", "a,b\n3,x\n1,y\n0,x\n2,\n")]);
    folder.run(&format!("{TABLE}COPY (SELECT a, b FROM t) TO 'p.parquet'"), &[]).success();
    let parquet = "CREATE EXTERNAL TABLE p STORED AS PARQUET LOCATION 'p.parquet';\n";
    for query in [
        "SELECT upper(b) || '!' AS u, length(b) AS n, a FROM p WHERE b IN ('x', 'y') OR b LIKE '%x'",
        "SELECT b, count(*) AS n, min(b) AS l, max(b) AS h, string_agg(b, ',' ORDER BY b) AS s FROM p GROUP BY b",
        "SELECT DISTINCT coalesce(b, 'none') AS b FROM p",
        "SELECT CASE WHEN a > 1 THEN b ELSE 'small' END AS c, substr(b, 1, 1) AS s FROM p",
        "SELECT b FROM p UNION ALL SELECT b FROM t",
        "SELECT b FROM p INTERSECT SELECT b FROM t",
        "SELECT x.a, y.b FROM p AS x JOIN t AS y ON x.b = y.b",
        "SELECT a FROM p AS o WHERE EXISTS (SELECT 1 FROM t AS i WHERE i.b = o.b AND i.a > o.a)",
        "SELECT a, (SELECT min(i.a) FROM p AS i WHERE i.b = o.b) AS m FROM p AS o",
        "WITH RECURSIVE r AS (SELECT b, 1 AS n FROM p UNION ALL SELECT b || 'z', n + 1 FROM r WHERE n < 3) SELECT b, n FROM r",
        "SELECT a, first_value(b) OVER (ORDER BY a) AS f, lag(b, 1, 'no') OVER (ORDER BY a) AS g FROM p",
        "SELECT a FROM p WHERE b = CAST('x' AS VARCHAR) AND CAST(a AS VARCHAR) <> b",
        "SELECT CAST(a AS VARCHAR) AS b FROM p EXCEPT SELECT b FROM p",
        "SELECT DISTINCT arrow_typeof(b) AS t FROM p",
    ] {
        let of_texts = query.replace("FROM p", "FROM t");
        let read = |query: &str| whole(&folder, &format!("{TABLE}{parquet}{query}"));
        assert_eq!(read(query), read(&of_texts), "{query}");
    }
    folder.run(&format!("{parquet}COPY (SELECT b FROM p) TO 'q.parquet'"), &[]).success();
    let file = std::fs::File::open(folder.path("q.parquet")).unwrap();
    let copied = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(copied.schema().field(0).data_type(), &arrow::datatypes::DataType::Utf8, "what was promised");
}

#[test]
fn what_has_no_room_goes_to_disk_or_fails_alone() {
    let folder = Folder::new();
    let rows: String = (0..200_000).map(|i| format!("{},{i:0>40}\n", (i * 7_919) % 200_000)).collect();
    folder.write("t.csv", format!("a,b\n{rows}"));
    let sorted = format!("{TABLE}SELECT a, b FROM t ORDER BY b DESC");
    let run = |memory: &str| folder.run(&sorted, &["--format", "csv", "--set", "execution=batch", "--set", memory]);
    let all = run("query_memory=0").success().stdout;
    assert_eq!(all.lines().count(), 200_001);
    for memory in ["4MB", "16MB", "24MB"] {
        assert_eq!(run(&format!("query_memory={memory}")).success().stdout, all, "{memory}");
    }
    let message = run("query_memory=64kB").failure();
    assert!(
        message.contains("more memory than it may have (65536 bytes)") && message.contains("raise query_memory"),
        "{message}"
    );
}

#[test]
fn an_interrupt_ends_it() {
    let folder = folder();
    let endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS m FROM n";
    let run = folder.start(endless, &["--set", "execution=batch"]);
    run.wait_for_line("rows/s");
    run.signal("INT");
    assert_eq!(run.output(PATIENCE).status, Some(130));
}

#[test]
fn external_tables_have_the_columns_of_their_files() {
    let folder = folder();
    let sink = "CREATE SINK s WITH (connector = 'files', path = 'p', format = 'parquet') AS SELECT a, b FROM t";
    folder.run(&format!("{TABLE}{sink}"), &[]).success();
    folder.write("n.json", "{\"k\": 1, \"v\": [1.5]}\n{\"k\": 2}\n");
    folder.write("s.csv", "1;x\n2;y\n");
    let tables = "CREATE EXTERNAL TABLE p STORED AS PARQUET LOCATION 'p';
        CREATE EXTERNAL TABLE n STORED AS NDJSON LOCATION 'n.json';
        CREATE EXTERNAL TABLE s STORED AS CSV LOCATION 's.csv' OPTIONS ('format.has_header' 'false', 'format.delimiter' ';');
        CREATE EXTERNAL TABLE d (b VARCHAR) STORED AS PARQUET LOCATION 'p/*.parquet';
        ";
    let whole = |sql: &str| whole(&folder, &format!("{tables}{sql}"));
    assert_eq!(whole("SELECT a, b FROM p WHERE a > 2"), "a,b\n3,x\n");
    assert_eq!(whole("SELECT sum(k) AS k FROM n"), "k\n3\n");
    assert_eq!(whole("SELECT column_1 + 1 AS c, column_2 AS d FROM s"), "c,d\n2,x\n3,y\n");
    assert_eq!(whole("SELECT * FROM d ORDER BY b LIMIT 1"), "b\nx\n");
    let columns = folder.run(&format!("{tables}DESCRIBE p"), &["--format", "csv"]).success().stdout;
    assert!(columns.contains("a,BIGINT") && columns.contains("b,VARCHAR"), "{columns}");
    let lost = folder.run("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x.csv'", &[]).failure();
    assert!(lost.contains("no file matches 'x.csv'"), "{lost}");
}

#[test]
fn copies_are_there_once_they_are_complete() {
    let folder = folder();
    let numbers = "VALUES (2, 'b'), (1, 'a'), (3, 'c')";
    for format in ["parquet", "csv", "json", "arrow"] {
        let copied = folder.run(
            &format!("COPY (SELECT column1 AS i, column2 AS t FROM ({numbers}) ORDER BY column1) TO 'c.{format}'"),
            &["--format", "csv"],
        );
        assert_eq!(copied.success().stdout, "count\n3\n", "{format}");
        let read = format!("CREATE EXTERNAL TABLE c STORED AS {format} LOCATION 'c.{format}'; SELECT i, t FROM c");
        assert_eq!(whole(&folder, &read), "i,t\n1,a\n2,b\n3,c\n", "{format}");
    }
    assert_eq!(folder.read("c.csv"), "i,t\n1,a\n2,b\n3,c\n", "in its order");
    whole(&folder, &format!("{TABLE}COPY t TO 't2.csv'"));
    assert_eq!(folder.read("t2.csv"), "a,b\n0,x\n1,y\n2,\n3,x\n");
    let failed = folder.run(&format!("{TABLE}COPY (SELECT sum(1 / a) AS s FROM t) TO 'f.csv'"), &[]).failure();
    assert!(failed.to_lowercase().contains("divide by zero"), "{failed}");
    let left =
        std::fs::read_dir(folder.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with('f')).collect::<Vec<_>>(), Vec::<String>::new());
    let unknown = folder.run("COPY (SELECT 1) TO 'x.txt'", &[]).failure();
    assert!(unknown.contains("a file of the format 'txt'") && unknown.contains("STORED AS"), "{unknown}");
}

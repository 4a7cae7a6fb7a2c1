//! Queries that run as a whole: `execution` says how, and the rows are the same.

use crate::command::{Folder, PATIENCE, Run};
use crate::faults::SmallDisk;

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
    assert_eq!(both(&folder, &format!("{TABLE}SELECT sum(a) AS s FROM t WHERE b = 'x'")).0, "s\n9223372036854775807\n");
    for query in [
        "SELECT max(a - (0 - 1)) AS m FROM t",
        "SELECT sum(a) AS s FROM t",
        "SELECT a > 0 AS p, sum(a) AS s FROM t GROUP BY a > 0",
        "SELECT b, sum(a) OVER (ORDER BY b) AS s FROM t",
        "SELECT b FROM t WHERE a < 9223372036854775807 + 1",
        "SELECT 0 - 2 * 9223372036854775807 AS c",
    ] {
        for execution in ["batch", "streaming"] {
            let failed =
                folder.run(&format!("{TABLE}{query}"), &["--set", &format!("execution={execution}")]).failure();
            assert!(failed.contains("Overflow happened"), "{query}: {failed}");
        }
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
#[expect(clippy::print_stderr, reason = "says that it could not test anything")]
fn a_full_disk_ends_a_query_and_its_files_are_gone() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::mount(folder.path("disk")) else {
        eprintln!("no disk can be mounted here, so none is full");
        return;
    };
    let rows: String = (0..300_000_u64).map(|i| format!("{},{i:0>60}\n", (i * 7_919) % 300_000)).collect();
    folder.write("t.csv", format!("a,b\n{rows}"));
    folder.write("q.sql", format!("{TABLE}SELECT a, b FROM t ORDER BY b DESC"));
    let scratch = (String::from("TIDEMILL_SCRATCH"), disk.0.display().to_string());
    let arguments = ["run", "q.sql", "--set", "execution=batch", "--set", "query_memory=16MB"];
    let failed = Run::start_with(&folder.path(""), &arguments, &[scratch]).output(PATIENCE).failure();
    assert!(failed.contains(&format!("no room is left in {}", disk.0.display())), "{failed}");
    assert!(failed.contains("TIDEMILL_SCRATCH") && failed.contains("query_memory"), "{failed}");
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 0);
}

#[test]
fn an_interrupt_ends_it() {
    let folder = folder();
    let endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS m FROM n";
    let run = folder.start(endless, &["--set", "execution=batch"]);
    run.wait_for_line("rows 0");
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
    let nested = "SELECT 1 AS i, [1, NULL] AS l, named_struct('a', 'x, \"y\"') AS s UNION ALL SELECT 2, NULL, NULL";
    whole(&folder, &format!("COPY (SELECT * FROM ({nested}) ORDER BY i) TO 'n.csv'"));
    assert_eq!(
        folder.read("n.csv"),
        "i,l,s\n1,\"[1,null]\",\"{\"\"a\"\":\"\"x, \\\"\"y\\\"\"\"\"}\"\n2,,\n",
        "lists and structs are JSON"
    );
    let failed = folder.run(&format!("{TABLE}COPY (SELECT sum(1 / a) AS s FROM t) TO 'f.csv'"), &[]).failure();
    assert!(failed.to_lowercase().contains("divide by zero"), "{failed}");
    let left =
        std::fs::read_dir(folder.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with('f')).collect::<Vec<_>>(), Vec::<String>::new());
    let unknown = folder.run("COPY (SELECT 1) TO 'x.txt'", &[]).failure();
    assert!(unknown.contains("a file of the format 'txt'") && unknown.contains("STORED AS"), "{unknown}");
}

const SINK: &str = "CREATE SINK s (x BIGINT, y VARCHAR) WITH (connector = 'files', path = 'out', format = 'csv');\n";

/// What is in a folder, by name.
fn left(folder: &Folder, path: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.path(path)) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn inserts_write_all_rows_or_none() {
    let folder = folder();
    let insert = format!("{TABLE}{SINK}INSERT INTO s SELECT a, b FROM t EXCEPT SELECT 0, 'x'");
    assert_eq!(folder.run(&insert, &["--format", "csv"]).success().stdout, "");
    assert_eq!(folder.read("out/part-0.csv"), "x,y\n1,y\n2,\n3,x\n");
    let explained = whole(&folder, &format!("{TABLE}{SINK}EXPLAIN INSERT INTO s SELECT a, b FROM t"));
    assert!(explained.contains(ENGINE) && explained.contains("Sink: s (files)"), "{explained}");
    let analyzed = whole(&folder, &format!("{TABLE}{SINK}EXPLAIN ANALYZE INSERT INTO s SELECT a, b FROM t LIMIT 2"));
    assert!(analyzed.contains("output_rows=2"), "{analyzed}");
    assert_eq!(folder.read("out/part-0.csv"), "x,y\n0,x\n1,y\n", "it is carried out");
    let failing = format!("{TABLE}{SINK}INSERT INTO s SELECT sum(1 / a), 'z' FROM t");
    assert!(folder.run(&failing, &[]).failure().to_lowercase().contains("divide by zero"));
    assert_eq!(folder.read("out/part-0.csv"), "x,y\n0,x\n1,y\n", "what was there is");
    assert_eq!(left(&folder, "out"), ["part-0.csv"]);
}

#[test]
fn inserts_come_to_the_same_as_those_of_streams() {
    let folder = folder();
    let run = |execution: &str, sql: &str| {
        let execution = format!("execution={execution}");
        folder.run(&format!("{TABLE}{SINK}{sql}"), &["--set", &execution])
    };
    for sql in ["INSERT INTO s SELECT a * 2, b FROM t", "INSERT INTO s (x, y) SELECT a, 'z' FROM t WHERE b IS NOT NULL"]
    {
        run("streaming", sql).success();
        let mut stream: Vec<String> = folder.read("out/part-0.csv").lines().map(str::to_owned).collect();
        run("batch", sql).success();
        stream[1..].sort();
        assert_eq!(folder.read("out/part-0.csv").lines().collect::<Vec<_>>(), stream, "{sql}");
    }
    // Two of a script are one job, as ever.
    run("inferred", "INSERT INTO s SELECT a, b FROM t WHERE a < 1; INSERT INTO s SELECT a, b FROM t WHERE a > 2")
        .success();
    assert_eq!(folder.read("out/part-0.csv").lines().count(), 3);
    let refused = run("batch", "INSERT INTO s SELECT 1, 'a'; INSERT INTO s SELECT 2, 'b'").failure();
    assert!(refused.contains("beside others into the same sink"), "{refused}");
    let narrow = run("inferred", "INSERT INTO s SELECT a FROM t").failure();
    assert!(narrow.contains("sink 's' has 2 columns, but the query gives 1"), "{narrow}");
}

#[test]
fn tables_are_made_of_queries() {
    let folder = folder();
    let made = "CREATE TABLE m AS SELECT b, sum(a) AS s FROM t GROUP BY b; SELECT * FROM m WHERE s > 1";
    assert_eq!(whole(&folder, &format!("{TABLE}{made}")), "b,s\n,2\nx,3\n");
    for format in ["parquet", "csv", "json", "arrow"] {
        let with = format!("WITH (path = 'm_{format}', format = '{format}')");
        let made =
            format!("{TABLE}CREATE TABLE m {with} AS SELECT a, b FROM t ORDER BY a DESC; SELECT sum(a) AS s FROM m");
        assert_eq!(whole(&folder, &made), "s\n6\n", "{format}");
        assert_eq!(left(&folder, &format!("m_{format}")), [format!("rows-0.{format}")]);
    }
    assert_eq!(folder.read("m_csv/rows-0.csv"), "a,b\n3,x\n2,\n1,y\n0,x\n", "in its order");
    let again = format!("{TABLE}CREATE TABLE m WITH (path = 'm_csv', format = 'csv') AS SELECT a FROM t");
    assert!(folder.run(&again, &[]).failure().contains("m_csv' has something in it already"));
    let none = "CREATE TABLE e AS SELECT a FROM t WHERE a > 10; SELECT count(*) AS n FROM e; SELECT * FROM e";
    assert_eq!(whole(&folder, &format!("{TABLE}{none}")), "n\n0\na\n");
    let failing = "CREATE TABLE f WITH (path = 'f') AS SELECT sum(1 / a) AS s FROM t";
    assert!(folder.run(&format!("{TABLE}{failing}"), &[]).failure().to_lowercase().contains("divide by zero"));
    assert!(left(&folder, "").iter().all(|name| !name.starts_with('f')), "{:?}", left(&folder, ""));
}

#[test]
fn tables_of_queries_are_replaced() {
    let folder = folder();
    let made = |sql: &str| whole(&folder, &format!("{TABLE}CREATE TABLE m WITH (path = 'm') AS SELECT a FROM t;{sql}"));
    let replaced = made("CREATE OR REPLACE TABLE m WITH (path = 'm') AS SELECT a + 1 AS c FROM m; SELECT * FROM m");
    assert_eq!(replaced, "c\n1\n2\n3\n4\n");
    assert_eq!(left(&folder, "m"), ["rows-0.parquet"]);
    assert!(left(&folder, "").iter().all(|name| !name.contains("inprogress")), "{:?}", left(&folder, ""));
    std::fs::remove_dir_all(folder.path("m")).unwrap();
    assert_eq!(made("CREATE TABLE IF NOT EXISTS m AS SELECT 1 AS z; SELECT max(a) AS a FROM m"), "a\n3\n");
    let refused = |sql: &str| folder.run(&format!("{TABLE}{sql}"), &[]).failure();
    assert!(refused("CREATE TABLE t AS SELECT 1").contains("exists"), "{}", refused("CREATE TABLE t AS SELECT 1"));
    let typed = refused("CREATE TABLE n (a INT) WITH (path = 'n') AS SELECT 1");
    assert!(typed.contains("a column list of a table with a query"), "{typed}");
    let avro = refused("CREATE TABLE n WITH (path = 'n', format = 'avro') AS SELECT 1 AS a");
    assert!(avro.contains("as 'avro'") && avro.contains("parquet"), "{avro}");
    let endless = "CREATE SOURCE g (a BIGINT) WITH (connector = 'datagen'); CREATE TABLE n AS SELECT a FROM g";
    assert!(refused(endless).contains("CREATE MATERIALIZED VIEW"), "{}", refused(endless));
}

#[test]
fn rows_are_added_to_tables_of_files() {
    let folder = folder();
    let script = "CREATE TABLE m WITH (path = 'm', format = 'csv', delimiter = ';') AS SELECT a, b FROM t;
        INSERT INTO m (b) SELECT 'new'; INSERT INTO m SELECT 7 AS a, 'seven' AS b; SELECT * FROM m";
    assert_eq!(whole(&folder, &format!("{TABLE}{script}")), "a,b\n,new\n0,x\n1,y\n2,\n3,x\n7,seven\n");
    assert_eq!(left(&folder, "m"), ["rows-0.csv", "rows-1.csv", "rows-2.csv"]);
    let refused = |sql: &str| folder.run(&format!("{TABLE}{sql}"), &[]).failure();
    assert!(
        refused("INSERT INTO t SELECT 1, 'a'").contains("t.csv' is a file"),
        "{}",
        refused("INSERT INTO t SELECT 1, 'a'")
    );
    let failing = "CREATE TABLE m WITH (path = 'k') AS SELECT a FROM t; INSERT INTO m SELECT sum(1 / a) FROM t";
    assert!(refused(failing).to_lowercase().contains("divide by zero"));
    assert_eq!(left(&folder, "k"), ["rows-0.parquet"]);
    let unknown = refused("CREATE TABLE m AS SELECT a FROM t; INSERT INTO m (z) SELECT 1");
    assert!(unknown.contains("'m' has no column 'z'"), "{unknown}");
}

#[test]
fn folders_say_columns() {
    let folder = Folder::with(&[
        ("h/k=1/j=a%2Fb/x.csv", "v\n10\n11\n"),
        ("h/k=1/j=__HIVE_DEFAULT_PARTITION__/x.csv", "v\n12\nno\n"),
        ("h/k=2/j=c/x.csv", "v\n20\n"),
    ]);
    let inferred = "CREATE EXTERNAL TABLE h STORED AS CSV LOCATION 'h';\n";
    let declared =
        "CREATE EXTERNAL TABLE h (v BIGINT, k BIGINT, j VARCHAR) STORED AS CSV LOCATION 'h' PARTITIONED BY (k, j);\n";
    let typed = "CREATE EXTERNAL TABLE h (v BIGINT) STORED AS CSV LOCATION 'h' PARTITIONED BY (k BIGINT, j VARCHAR);\n";
    let option = "CREATE TABLE h (k BIGINT, j VARCHAR, v BIGINT) WITH (connector = 'files', path = 'h', format = 'csv', partition_columns = 'k,j');\n";
    for table in [declared, typed, option] {
        let all = folder.run(&format!("{table}SELECT * FROM h ORDER BY v"), &["--format", "csv"]).success();
        assert_eq!(all.stdout, "v,k,j\n10,1,a/b\n11,1,a/b\n12,1,\n20,2,c\n", "{table}");
        assert!(all.stderr.contains("1 to dead letters"), "{}", all.stderr);
        assert_eq!(whole(&folder, &format!("{table}SELECT sum(v) AS s FROM h WHERE k = 2 OR j IS NULL")), "s\n32\n");
        assert_eq!(whole(&folder, &format!("{table}SELECT k, count(*) AS n FROM h GROUP BY k")), "k,n\n1,3\n2,1\n");
    }
    assert_eq!(whole(&folder, &format!("{inferred}SELECT max(k + 1) AS k, min(j) AS j FROM h")), "k,j\n3,a/b\n");
    let explained = |filter: &str| whole(&folder, &format!("{declared}EXPLAIN SELECT v FROM h WHERE {filter}"));
    let scans = |plan: String| plan.matches("StreamingTableExec").count();
    assert_eq!((scans(explained("true")), scans(explained("k = 2")), scans(explained("k > 2"))), (3, 1, 0));
    let refused = |sql: &str| folder.run(sql, &[]).failure();
    let wrong = declared.replace("k BIGINT", "k DATE");
    assert!(refused(&format!("{wrong}SELECT * FROM h")).contains("its folders say k=1, which is no Date32"));
    let other = declared.replace("(k, j)", "(j, k)");
    assert!(refused(&format!("{other}SELECT * FROM h")).contains("its folders are not called j=…/k=…/"));
    let lost = declared.replace("(k, j)", "(k, z)");
    assert!(refused(&format!("{lost}SELECT * FROM h")).contains("the partition column 'z' is not declared"));
    let stream = format!("SET execution = 'streaming'; {declared}SELECT * FROM h");
    assert!(refused(&stream).contains("its folders say columns"), "{}", refused(&stream));
}

#[test]
fn copies_go_into_folders() {
    let folder = folder();
    whole(
        &folder,
        &format!("{TABLE}COPY t TO 'one/' STORED AS CSV OPTIONS (delimiter ';', 'format.has_header' 'false')"),
    );
    assert_eq!(folder.read("one/rows-0.csv"), "0;x\n1;y\n2;\n3;x\n");
    for format in ["parquet", "csv", "json"] {
        let copied = format!(
            "{TABLE}COPY (SELECT a, b, a % 2 = 0 AS e FROM t) TO 'p_{format}' STORED AS {format} PARTITIONED BY (e, b)"
        );
        assert_eq!(whole(&folder, &copied), "count\n4\n", "{format}");
        let names = ["e=false", "e=true"];
        assert_eq!(left(&folder, &format!("p_{format}")), names, "{format}");
        assert_eq!(left(&folder, &format!("p_{format}/e=true")), ["b=__HIVE_DEFAULT_PARTITION__", "b=x"]);
        let read = format!("CREATE EXTERNAL TABLE p STORED AS {format} LOCATION 'p_{format}'; SELECT a, e, b FROM p");
        assert_eq!(whole(&folder, &read), "a,e,b\n0,true,x\n1,false,y\n2,true,\n3,false,x\n", "{format}");
    }
    let pruned =
        "CREATE EXTERNAL TABLE p STORED AS PARQUET LOCATION 'p_parquet'; EXPLAIN SELECT a FROM p WHERE b = 'y'";
    let pruned = whole(&folder, pruned);
    assert!(pruned.matches("DataSourceExec").count() == 1 && pruned.contains("b=y"), "{pruned}");
    let made = "CREATE TABLE m WITH (path = 'm', partition_columns = 'b') AS SELECT b, a FROM t WHERE b IS NOT NULL; SELECT * FROM m";
    assert_eq!(whole(&folder, &format!("{TABLE}{made}")), "a,b\n0,x\n1,y\n3,x\n");
    let refused = |sql: &str| folder.run(&format!("{TABLE}{sql}"), &[]).failure();
    assert!(refused("COPY t TO 'one/' STORED AS CSV").contains("has something in it already"));
    assert!(
        refused("COPY t TO 'z' STORED AS CSV PARTITIONED BY (c)").contains("names the column 'c'; there are: a, b")
    );
    assert!(refused("COPY t TO 'z' STORED AS CSV PARTITIONED BY (a, b)").contains("names all columns"));
    assert!(refused("COPY t TO 'z.csv' OPTIONS (colour 'red')").contains("the option 'colour' of a file as csv"));
    assert!(refused("COPY t TO 'z.parquet' OPTIONS (compression 'tight')").contains("tight"));
    assert!(
        refused("COPY (SELECT b, sum(1 / a) AS s FROM t GROUP BY b) TO 'z' STORED AS CSV PARTITIONED BY (b)")
            .contains("ivide by zero")
    );
    assert!(left(&folder, "").iter().all(|name| !name.starts_with('z')), "{:?}", left(&folder, ""));
}

#[test]
fn files_may_lack_columns_that_others_have() {
    let folder = folder();
    for format in ["parquet", "arrow", "csv"] {
        let copies = format!(
            "{TABLE}COPY (SELECT a FROM t) TO 'l_{format}/1.{format}'; COPY (SELECT a + 10 AS a, b FROM t) TO 'l_{format}/2.{format}'"
        );
        std::fs::create_dir(folder.path(&format!("l_{format}"))).unwrap();
        whole(&folder, &copies);
        let table = format!(
            "CREATE TABLE l (a BIGINT, b VARCHAR) WITH (connector = 'files', path = 'l_{format}', format = '{format}');"
        );
        assert_eq!(
            whole(&folder, &format!("{table}SELECT a, b FROM l WHERE a IN (0, 1, 11)")),
            "a,b\n0,\n1,\n11,y\n",
            "{format}"
        );
        assert_eq!(whole(&folder, &format!("{table}SELECT count(*) AS n FROM l WHERE b = 'x'")), "n\n2\n", "{format}");
        let missing = table.replace("b VARCHAR", "c VARCHAR");
        assert!(folder.run(&format!("{missing}SELECT c FROM l"), &[]).failure().contains("no column 'c'"), "{format}");
    }
    let differs = "CREATE TABLE l (a BOOLEAN, b VARCHAR) WITH (connector = 'files', path = 'l_parquet', format = 'parquet'); SELECT a FROM l";
    let differs = folder.run(differs, &[]).failure();
    assert!(differs.contains("l_parquet/") && differs.contains("'a'"), "{differs}");
}

#[test]
fn a_bad_row_counts_once_though_its_table_is_read_twice() {
    let folder = folder();
    let twice = format!("{TABLE}SELECT count(*) AS n FROM t AS x JOIN t AS y ON x.a = y.a");
    let run = folder.run(&twice, &["--format", "csv", "--set", "execution=batch"]).success();
    assert_eq!(run.stdout, "n\n4\n");
    assert!(run.stderr.contains("1 to dead letters"), "{}", run.stderr);
}

#[test]
fn aggregates_that_show_an_order_have_one() {
    let folder = folder();
    let whole = |sql: &str| whole(&folder, &format!("{TABLE}{sql}"));
    assert_eq!(
        whole("SELECT string_agg(b, '-') AS s, first_value(a) AS f, last_value(a) AS l FROM t"),
        "s,f,l\nx-y-x,0,3\n"
    );
    // No row is bad for a column that nobody reads.
    assert_eq!(whole("SELECT string_agg(DISTINCT b, '-') AS s FROM t"), "s\nx-y-z\n");
    assert_eq!(whole("SELECT string_agg(b, '-' ORDER BY a DESC) AS s FROM t"), "s\nx-y-x\n");
    assert_eq!(
        whole("SELECT b, array_to_string(array_agg(a), ',') AS s FROM t GROUP BY b"),
        "b,s\n,2\nx,\"0,3\"\ny,1\n"
    );
}

#[test]
fn what_there_is_can_be_queried() {
    let folder = folder();
    let objects = format!(
        "{TABLE}{SINK}CREATE VIEW v AS SELECT a FROM t;\nCREATE FUNCTION f(x BIGINT) RETURNS BIGINT RETURN x + 1;\n"
    );
    let whole = |sql: &str| whole(&folder, &format!("{objects}{sql}"));
    let tables = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(whole(tables), "table_name,table_type\ns,SINK\nt,BASE TABLE\nv,VIEW\n");
    let columns = "SELECT c.column_name, c.data_type FROM tidemill.information_schema.columns AS c
        JOIN information_schema.views AS v ON v.table_name = c.table_name";
    assert_eq!(whole(columns), "column_name,data_type\na,BIGINT\n");
    assert_eq!(whole("SELECT routine_name FROM information_schema.routines"), "routine_name\nf\n");
    assert_eq!(whole("SELECT count(*) AS n FROM information_schema.schemata"), "n\n3\n");
    assert_eq!(whole("SELECT name FROM tidemill.models"), "name\n");
    let refused = |sql: &str| folder.run(sql, &[]).failure();
    assert!(refused("SELECT * FROM tidemill.jobs").contains("'tidemill.jobs' in a script"));
    assert!(refused("SELECT * FROM information_schema.nothing").contains("there are: information_schema.columns"));
    let stream = "SET execution = 'streaming'; SELECT * FROM information_schema.tables";
    assert!(refused(stream).contains("in a stream"), "{}", refused(stream));
}

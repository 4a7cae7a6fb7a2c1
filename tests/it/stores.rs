//! Tables, sinks and COPY in a bucket: on moto's server, which each test starts. What is read there is what is read of the
//! same files on disk.

use std::time::Duration;

use crate::command::{Folder, PATIENCE, Run};
use crate::killed::kill_all;
use crate::moto::{Counting, Moto, answering, options_of};

const BUCKET: &str = "tables";

/// What is in the bucket and in the folder.
const FILES: [(&str, &str); 7] = [
    ("t/a.csv", "a,b\n3,x\n1,y\n"),
    ("t/b.csv", "a,b\nzwei,z\n0,\"x\ny\"\n"),
    ("t/deep/er/c.csv", "a,b\n7,\n"),
    ("t/later.csv.inprogress", "a,b\n8,\n"),
    ("k/j=1/k=a%2Fb/f.csv", "a\n1\n2\n"),
    ("k/j=2/k=__HIVE_DEFAULT_PARTITION__/f.csv", "a\n3\n"),
    ("lines/a.json", "{\"a\": 1, \"b\": \"x\"}\n{\"a\": \"zwei\"}\n{\"b\": \"y\"}\n"),
];

/// A name in a URL.
fn in_url(name: &str) -> String {
    name.replace('%', "%25")
}

fn stored() -> (Moto, Folder) {
    let (server, folder) = (Moto::start(BUCKET), Folder::with(&FILES));
    for (name, text) in FILES {
        server.put(&in_url(name), text);
    }
    (server, folder)
}

/// What a script prints about paths in the bucket, which must be what it prints about files.
#[track_caller]
fn alike(server: &Moto, folder: &Folder, sql: &str, execution: &str) -> String {
    let arguments = ["--format", "csv", "--set", &format!("execution={execution}")];
    let on_disk = sql.replace("PLACE", "").replace("OPTIONS (@STORE)", "").replace(", @STORE", "");
    let stored = sql.replace("PLACE", &format!("s3://{BUCKET}/")).replace("@STORE", &server.options());
    let on_disk = folder.run(&on_disk, &arguments).success().stdout;
    assert_eq!(folder.run(&stored, &arguments).success().stdout, on_disk, "{sql}");
    on_disk
}

#[test]
fn files_in_a_bucket_are_found_and_read_as_files_are() {
    let (server, folder) = stored();
    let table = |path: &str| {
        format!(
            "CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', format = 'csv', path = 'PLACE{path}', @STORE);"
        )
    };
    for execution in ["batch", "streaming"] {
        let rows =
            |path: &str| alike(&server, &folder, &format!("{}SELECT a, b FROM t ORDER BY a", table(path)), execution);
        assert_eq!(rows("t/a.csv"), "a,b\n1,y\n3,x\n");
        assert_eq!(rows("t"), "a,b\n0,\"x\ny\"\n1,y\n3,x\n");
        assert_eq!(rows("t/*.csv"), "a,b\n0,\"x\ny\"\n1,y\n3,x\n");
        assert_eq!(rows("t/**/*.csv"), "a,b\n0,\"x\ny\"\n1,y\n3,x\n7,\n");
        assert_eq!(rows("t/[b-z].csv"), "a,b\n0,\"x\ny\"\n");
    }
    let inferred = |path: &str, format: &str, columns: &str| {
        let create = format!("CREATE EXTERNAL TABLE t STORED AS {format} LOCATION 'PLACE{path}' OPTIONS (@STORE);");
        alike(&server, &folder, &format!("{create}SELECT {columns} FROM t ORDER BY a"), "inferred")
    };
    assert_eq!(inferred("lines", "JSON", "*").lines().count(), 3);
    assert_eq!(inferred("k", "CSV", "*"), "a,j,k\n1,1,a/b\n2,1,a/b\n3,2,\n");
    // What folders say leaves out what is in them.
    let sql = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV PARTITIONED BY (j, k) LOCATION 's3://{BUCKET}/k' OPTIONS ({}); \
         EXPLAIN SELECT a FROM t WHERE j = 2; SELECT a, k FROM t WHERE j = 1",
        server.options()
    );
    let printed = folder.run(&sql, &["--format", "csv"]).success().stdout;
    assert_eq!(printed.matches("StreamingTableExec").count(), 1, "{printed}");
    assert!(printed.ends_with("a,k\n1,a/b\n2,a/b\n"), "{printed}");
}

#[test]
fn bad_rows_are_called_by_their_object_and_line() {
    let (server, folder) = stored();
    let sql = format!(
        "SET dead_letter_path = 'dead.json'; CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', \
         format = 'csv', path = 's3://{BUCKET}/t/*.csv', {store}); CREATE TABLE l (a BIGINT, b VARCHAR) WITH \
         (connector = 'files', format = 'json', path = 's3://{BUCKET}/lines/a.json', {store}); \
         SELECT count(*) AS n FROM t; SELECT count(*) AS n FROM l",
        store = server.options()
    );
    assert_eq!(folder.run(&sql, &["--format", "csv"]).success().stdout, "n\n3\nn\n2\n");
    let dead = folder.read("dead.json");
    assert!(dead.contains("s3://tables/t/b.csv:2") && dead.contains("s3://tables/lines/a.json:2: "), "{dead}");
}

#[test]
fn every_format_is_written_and_read_in_a_bucket() {
    let (server, folder) = stored();
    let store = server.options();
    let source = "CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', format = 'csv', path = 't/a.csv');";
    for format in ["parquet", "arrow", "avro", "csv", "json"] {
        let sink = format!(
            "CREATE SINK s WITH (connector = 'files', format = '{format}', path = 's3://{BUCKET}/{format}', {store})"
        );
        folder.run(&format!("{source}{sink} AS SELECT a, b FROM t"), &[]).success();
        assert_eq!(server.names_of(&format!("{format}/")), [format!("{format}/part-0.{format}")]);
        let table = format!(
            "(a BIGINT, b VARCHAR) WITH (connector = 'files', format = '{format}', path = 's3://{BUCKET}/{format}', {store})"
        );
        for execution in ["batch", "streaming"] {
            let sql = format!("CREATE TABLE u {table}; SELECT a, b FROM u");
            let arguments = ["--format", "csv", "--set", &format!("execution={execution}")];
            assert_eq!(folder.run(&sql, &arguments).success().stdout, "a,b\n1,y\n3,x\n", "{format}, {execution}");
        }
        let external =
            format!("CREATE EXTERNAL TABLE u STORED AS {format} LOCATION 's3://{BUCKET}/{format}' OPTIONS ({store})");
        let sql = format!("{external}; SELECT a, b FROM u");
        assert_eq!(folder.run(&sql, &["--format", "csv"]).success().stdout, "a,b\n1,y\n3,x\n", "{format}");
    }
    assert_eq!(server.uploads(), 0);
}

#[test]
fn what_is_written_as_a_whole_shows_as_a_whole() {
    let (server, folder) = stored();
    let store = server.options();
    let source = "CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', format = 'csv', path = 't/*.csv');";
    let run = |sql: &str| folder.run(&format!("{source}{sql}"), &["--format", "csv"]);
    let place = |name: &str| format!("s3://{BUCKET}/{name}");
    run(&format!("COPY (SELECT a, b FROM t ORDER BY a) TO '{}' OPTIONS ({store})", place("copied.csv"))).success();
    assert_eq!(server.get("copied.csv"), "a,b\n0,\"x\ny\"\n1,y\n3,x\n");
    // A query that ends with an error writes nothing, whether it has a file or more.
    let failing = "SELECT max(2 / (a - 3)) AS q, b FROM t GROUP BY b";
    for target in ["failed.parquet'", "failed/'", "failed/' STORED AS PARQUET PARTITIONED BY (b)"] {
        let stored = if target.contains("STORED") || target.contains(".parquet") { "" } else { " STORED AS CSV" };
        run(&format!("COPY ({failing}) TO 's3://{BUCKET}/{target}{stored} OPTIONS ({store})")).failure();
    }
    assert_eq!(server.names_of("failed"), Vec::<String>::new());
    run(&format!("COPY t TO '{}' STORED AS CSV PARTITIONED BY (a) OPTIONS ({store})", place("parts/"))).success();
    let parts = server.names_of("parts/");
    assert_eq!(parts.len(), 3, "{parts:?}");
    assert!(parts[0].starts_with("parts/a=0/"), "{parts:?}");
    let again = run(&format!("COPY t TO '{}' STORED AS CSV OPTIONS ({store})", place("parts/"))).failure();
    assert!(again.contains("has something in it already"), "{again}");

    let options = format!("path = '{}', {store}", place("made"));
    let printed = run(&format!(
        "CREATE TABLE made WITH ({options}) AS SELECT a, b FROM t; INSERT INTO made SELECT a + 10, b FROM t; \
         INSERT INTO made SELECT a + 20, b FROM t WHERE a > 2; SELECT a FROM made ORDER BY a"
    ));
    assert!(printed.success().stdout.ends_with("a\n0\n1\n3\n10\n11\n13\n23\n"));
    assert_eq!(server.names_of("made/"), ["made/rows-0.parquet", "made/rows-1.parquet", "made/rows-2.parquet"]);
    let sink = format!(
        "CREATE SINK s (a BIGINT) WITH (connector = 'files', format = 'csv', path = '{}', {store});",
        place("sunk")
    );
    let broken = run(&format!("{sink} INSERT INTO s SELECT max(2 / (a - 3)) FROM t")).failure();
    assert!(broken.contains("zero"), "{broken}");
    assert_eq!(server.names_of("sunk"), Vec::<String>::new());
    run(&format!("{sink} INSERT INTO s SELECT a FROM t WHERE a > 0")).success();
    assert_eq!(server.get("sunk/part-0.csv"), "a\n1\n3\n");
    assert_eq!(server.uploads(), 0, "all are completed or given up");
}

#[test]
fn a_table_is_replaced_with_all_of_its_objects() {
    let (server, folder) = stored();
    let made = |rows: &str| {
        format!("CREATE OR REPLACE TABLE made WITH (path = 's3://{BUCKET}/made', {}) AS {rows};", server.options())
    };
    let sql = format!(
        "{} INSERT INTO made SELECT 2 AS a; {} SELECT a FROM made",
        made("SELECT 1 AS a FROM (VALUES (1)) AS v (x)"),
        made("SELECT 5 AS a FROM (VALUES (1)) AS v (x)")
    );
    let shell = folder.shell(&sql, &["--format", "csv"]).output(PATIENCE).success();
    assert!(shell.stdout.ends_with("a\n5\n"), "{}", shell.stdout);
    assert_eq!(server.names_of("made"), ["made/rows-0.parquet"]);
}

#[test]
fn of_parquet_only_what_is_needed_is_fetched() {
    let (server, folder) = (Moto::start(BUCKET), Folder::new());
    let counting = Counting::before(&server);
    // Texts that do not become smaller: 12 MB of them.
    let source = "CREATE TABLE made (a BIGINT, b VARCHAR, c VARCHAR) WITH (connector = 'datagen', rows = 200000, \
                  fields.a.kind = 'sequence', fields.b.length = 32, fields.c.length = 32);";
    let sink =
        "CREATE SINK s WITH (connector = 'files', format = 'parquet', path = 'whole') AS SELECT a, b, c FROM made;";
    folder.run(&format!("{source}{sink}"), &[]).success();
    let options = server.options();
    let copy = format!(
        "CREATE EXTERNAL TABLE w STORED AS PARQUET LOCATION 'whole'; COPY (SELECT * FROM w ORDER BY a) TO \
         's3://{BUCKET}/big.parquet' OPTIONS (max_row_group_size 10000, {options})"
    );
    folder.run(&copy, &["--set", "parallelism=1"]).success();
    let table = format!(
        "CREATE TABLE t (a BIGINT, b VARCHAR, c VARCHAR) WITH (connector = 'files', format = 'parquet', \
         path = 's3://{BUCKET}/big.parquet', {});",
        options_of(counting.port)
    );
    let select = |sql: &str, execution: &str| {
        let arguments = ["--format", "csv", "--set", &format!("execution={execution}")];
        let rows = folder.run(&format!("{table}{sql}"), &arguments).success().stdout;
        (rows, counting.fetched())
    };
    let (rows, (all, _)) = select("SELECT count(*) AS n, sum(length(b)) AS x, sum(length(c)) AS y FROM t", "batch");
    assert!(rows.starts_with("n,x,y\n200000,6400000,6400000"), "{rows}");
    assert!(all > 8_000_000, "{all} bytes of all");
    let (rows, (some, requests)) = select("SELECT count(b) AS n FROM t WHERE a < 1000", "batch");
    assert_eq!(rows, "n\n1000\n");
    assert!(some < all / 6, "{some} bytes in {requests} requests, of {all}");
    let (rows, (footers, requests)) = select("SELECT count(*) AS n FROM t", "batch");
    assert_eq!(rows, "n\n200000\n");
    assert!(footers < all / 10 && requests < 10, "{footers} bytes in {requests} requests");
    // A stream reads all row groups, but of the column that is asked for.
    let (rows, (column, requests)) = select("SELECT count(a) AS n FROM t WHERE a < 1000", "streaming");
    assert_eq!(rows, "n\n1000\n");
    assert!(column < all / 3, "{column} bytes in {requests} requests, of {all}");
}

#[test]
fn a_large_text_is_read_in_stretches() {
    let (server, folder) = (Moto::start(BUCKET), Folder::new());
    let counting = Counting::before(&server);
    let rows = 400_000;
    let text: String = std::iter::once(String::from("a,b\n"))
        .chain(
            (0..rows)
                .map(|row| if row == rows - 1 { String::from("bad,x\n") } else { format!("{row},{:0>24}\n", row * 7) }),
        )
        .collect();
    server.put("big.csv", &text);
    let sql = format!(
        "SET dead_letter_path = 'dead.json'; CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', \
         format = 'csv', path = 's3://{BUCKET}/big.csv', {}); SELECT count(*) AS n, sum(a) AS s FROM t",
        options_of(counting.port)
    );
    let sum: u64 = (0..rows - 1).sum();
    for execution in ["batch", "streaming"] {
        let arguments = ["--format", "csv", "--set", &format!("execution={execution}"), "--set", "parallelism=2"];
        let printed = folder.run(&sql, &arguments).success().stdout;
        assert_eq!(printed, format!("n,s\n{},{sum}\n", rows - 1));
        let dead = folder.read("dead.json");
        assert!(dead.contains(&format!("s3://{BUCKET}/big.csv:{}", rows + 1)), "{dead}");
        std::fs::remove_file(folder.path("dead.json")).unwrap();
        let (bytes, requests) = counting.fetched();
        let once = text.len() as u64;
        assert!(bytes < once + once / 4 && (3..40).contains(&requests), "{bytes} bytes of {once}, {requests} requests");
    }
}

const ROWS: usize = 24_000;

/// A job that reads objects and writes objects, as a script.
fn job(server: &Moto) -> String {
    let store = server.options();
    format!(
        "SET checkpoint_interval = '200ms'; CREATE SOURCE s (id BIGINT) WITH (connector = 'files', format = 'csv', \
         path = 's3://{BUCKET}/in/*.csv', rows_per_second = 4000, {store}); \
         CREATE SINK kept WITH (connector = 'files', format = 'json', path = 's3://{BUCKET}/kept', {store}) \
         AS SELECT id FROM s"
    )
}

/// Waits until there are some more objects.
#[track_caller]
fn wait_for_parts(server: &Moto, more: usize) {
    let wanted = server.names_of("kept/part-").len() + more;
    let is_there = (0..PATIENCE.as_millis() / 20).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        server.names_of("kept/part-").len() >= wanted
    });
    assert!(is_there, "{:?}", server.names());
}

#[test]
fn a_job_between_buckets_writes_each_row_once_whatever_is_killed() {
    let (server, folder) = (Moto::start(BUCKET), Folder::new());
    for part in 0..4 {
        let rows: String = (0..ROWS / 4).map(|row| format!("{}\n", part * ROWS / 4 + row)).collect();
        server.put(&format!("in/{part}.csv"), format!("id\n{rows}"));
    }
    // What an earlier run has left goes.
    server.put("kept/part-0-0000000000.json", "{\"id\":-1}\n");
    let mut run = folder.start(&job(&server), &["--workers", "1", "--data-dir", "meta"]);
    for _ in 0..3 {
        wait_for_parts(&server, 2);
        kill_all(&run);
        run = Run::start(&folder.path(""), &["resume", "--workers", "1", "--data-dir", "meta"]);
    }
    run.output(PATIENCE).success();
    let names = server.names_of("kept/");
    assert!(names.iter().all(|name| name.starts_with("kept/part-0-")), "{names:?}");
    let rows: String = names.iter().map(|name| server.get(name)).collect();
    let mut ids: Vec<usize> =
        rows.lines().map(|line| line.trim_start_matches("{\"id\":").trim_end_matches('}').parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..ROWS), "{} rows", ids.len());
}

#[test]
fn a_watched_place_in_a_bucket_is_read_as_objects_come() {
    let (server, folder) = (Moto::start(BUCKET), Folder::new());
    server.put("in/a.csv", "id\n1\n");
    let sql = format!(
        "CREATE SOURCE s (id BIGINT) WITH (connector = 'files', format = 'csv', path = 's3://{BUCKET}/in', \
         watch = '100ms', {}); CREATE SINK p WITH (connector = 'print') AS SELECT id FROM s",
        server.options()
    );
    let run = folder.start(&sql, &[]);
    run.wait_for_row("1");
    server.put("in/b.csv", "id\n22\n");
    run.wait_for_row("22");
    server.put("in/c.csv.inprogress", "id\n44\n");
    server.put("in/d.csv", "id\n333\n");
    run.wait_for_row("333");
    run.signal("INT");
    assert!(!run.output(PATIENCE).stdout.contains("44"));
}

#[test]
fn what_is_wrong_with_a_store_is_said_with_its_url() {
    let (server, folder) = stored();
    let refused = |path: &str, options: &str, execution: &str| {
        let sql = format!(
            "CREATE TABLE t (a BIGINT) WITH (connector = 'files', format = 'csv', path = '{path}', {options}); SELECT a FROM t"
        );
        folder.run(&sql, &["--set", &format!("execution={execution}")]).failure()
    };
    let store = server.options();
    let denied = answering("403 Forbidden", "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
    // Nobody listens here.
    let closed = options_of(1);
    for execution in ["batch", "streaming"] {
        let told = refused("s3://tables/none/*.csv", &store, execution);
        assert!(told.contains("no object matches 's3://tables/none/*.csv'"), "{told}");
        let told = refused("s3://other/t/*.csv", &store, execution);
        assert!(told.contains("s3://other/t") && told.contains("NoSuchBucket"), "{told}");
        let told = refused("s3://tables/t/*.csv", &options_of(denied), execution);
        assert!(told.contains("s3://tables/t") && told.contains("AccessDenied: Access Denied"), "{told}");
        // Within the patience of a run.
        let told = refused("s3://tables/t/*.csv", &closed, execution);
        assert!(told.contains("s3://tables/t") && told.contains("127.0.0.1:1"), "{told}");
        let told = refused("gs://tables/t/*.csv", "header = true", execution);
        assert!(told.contains("gs:// is not supported; a path of this machine, file:// and s3:// are"), "{told}");
        let told = refused("t/*.csv", &store, execution);
        assert!(told.contains("the option 'aws_endpoint' is one of s3://bucket/path"), "{told}");
        assert!(!told.contains("nothing-4711"), "{told}");
    }
    server.put("broken.parquet", "PAR1 and nothing else that would be PAR1");
    let sql = format!(
        "CREATE TABLE t (a BIGINT) WITH (connector = 'files', format = 'parquet', path = 's3://{BUCKET}/broken.parquet', \
         {store}); SELECT a FROM t"
    );
    let told = folder.run(&sql, &[]).failure();
    assert!(told.contains("s3://tables/broken.parquet: not readable as Parquet"), "{told}");
    let copy = format!("COPY (SELECT 1 AS a) TO 's3://other/a.csv' OPTIONS ({store})");
    folder.run(&copy, &[]).failure();
    let sink = format!(
        "CREATE SINK s WITH (connector = 'files', format = 'csv', path = 's3://other/s', {store}) AS SELECT 1 AS a"
    );
    let told = folder.run(&sink, &[]).failure();
    assert!(told.contains("s3://other/s") && told.contains("NoSuchBucket"), "{told}");
}

#[test]
fn the_environment_says_what_a_table_does_not() {
    let (server, folder) = stored();
    let sql =
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://{BUCKET}/t/a.csv'; SELECT a FROM t ORDER BY a");
    folder.write("script.sql", sql);
    let arguments = ["run", "script.sql", "--format", "csv"];
    let run = Run::start_with(&folder.path(""), &arguments, &server.variables());
    assert_eq!(run.output(PATIENCE).success().stdout, "a\n1\n3\n");
}

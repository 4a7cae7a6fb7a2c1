//! Queries that worker processes run as a whole: their answers are those of one process, whatever becomes of workers.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::answers::{compare, queries};
use crate::cluster::Cluster;
use crate::command::{Folder, Output, PATIENCE, Run};
use crate::logic::check_elsewhere;
use crate::tls::Certificates;
use crate::tpch;

const ENGINE: &str = "Batch, by Ballista on";
const TABLE: &str =
    "CREATE TABLE t (a BIGINT, b VARCHAR) WITH (connector = 'files', path = 't.csv', format = 'csv');\n";

/// Often enough to see what lasts for a moment.
const SOON: Duration = Duration::from_millis(20);

/// A cluster of so many workers that runs all queries.
fn cluster(workers: usize) -> Cluster {
    let mut cluster = Cluster::open(0, &[]);
    for _ in 0..workers {
        let scratch = cluster.folder.path("scratch").to_string_lossy().into_owned();
        cluster.add_worker_with(&[(String::from("TIDEMILL_SCRATCH"), scratch)]);
    }
    cluster
}

/// Has workers run queries.
fn by_workers(cluster: &Cluster, sql: &str) -> Output {
    cluster.sql(&format!("SET batch.engine = 'cluster'; SET execution = 'batch'; {sql}"))
}

/// A cluster with a small table that has bad rows.
fn with_table(workers: usize) -> Cluster {
    let cluster = cluster(workers);
    cluster.folder.write("t.csv", "a,b\n3,x\n1,y\nzwei,z\n0,x\n2,\n");
    cluster.sql(TABLE).success();
    cluster
}

fn texts(queries: &[std::path::PathBuf]) -> String {
    queries.iter().map(|query| format!("{};\n", fs::read_to_string(query).unwrap())).collect()
}

/// Whether the files of any query are left at workers.
fn has_pieces(folder: &Folder) -> bool {
    let folders = fs::read_dir(folder.path("scratch")).into_iter().flatten().flatten();
    folders
        .flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .any(|entry| entry.file_name().to_string_lossy().starts_with("q-"))
}

#[track_caller]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / SOON.as_millis() {
        if is_so() {
            return;
        }
        thread::sleep(SOON);
    }
    panic!("not {what} within {PATIENCE:?}");
}

#[test]
fn tpch_answers_as_duckdb_does_on_one_worker() {
    tpch_on(1, &[("parquet", "")]);
}

#[test]
fn tpch_answers_as_duckdb_does_on_two_workers() {
    tpch_on(2, &[("csv", ".csv"), ("parquet", "")]);
}

#[track_caller]
fn tpch_on(workers: usize, formats: &[(&str, &str)]) {
    let cluster = cluster(workers);
    tpch::write_tables(&cluster.folder);
    tpch::write_parquet(&cluster.folder);
    let queries = queries("tests/tpch");
    for (format, end) in formats {
        cluster.sql(&tpch::sources(format, end)).success();
        // One by one: together they may take longer than a client is waited for.
        for query in &queries {
            let query = std::slice::from_ref(query);
            compare(&format!("{format} on {workers}"), by_workers(&cluster, &texts(query)).success(), query);
        }
        let drops = tpch::TABLES.map(|(table, _)| format!("DROP TABLE {table};"));
        cluster.sql(&drops.concat()).success();
    }
    wait("removed", || !has_pieces(&cluster.folder));
}

#[test]
fn clickbench_answers_as_duckdb_does() {
    let cluster = cluster(2);
    let hits = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clickbench/hits.parquet")).unwrap();
    cluster.folder.write("hits.parquet", hits);
    cluster.sql("CREATE EXTERNAL TABLE hits STORED AS PARQUET LOCATION 'hits.parquet'").success();
    let queries = queries("tests/clickbench");
    let output = by_workers(&cluster, &texts(&queries)).success();
    compare("on workers", output, &queries);
}

#[test]
fn files_of_queries_answer_as_streams_do() {
    let cluster = cluster(2);
    for file in ["aggregates.slt", "functions.slt", "joins.slt", "windows.slt"] {
        // What cannot be a whole is a stream.
        let run = |sql: &str| cluster.sql(&format!("SET batch.engine = 'cluster'; {sql}"));
        let failures = check_elsewhere(file, &cluster.folder, run);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let tables = cluster.sql("SHOW SOURCES").success().stdout;
        for table in tables.lines().skip(1).filter_map(|line| line.split(',').next()) {
            cluster.sql(&format!("DROP SOURCE {table}")).success();
        }
    }
}

#[test]
fn bad_rows_are_left_out_and_counted() {
    let cluster = with_table(2);
    let dead = cluster.folder.path("dead.json");
    let path = format!("SET dead_letter_path = '{}';", dead.display());
    let output = by_workers(&cluster, &format!("{path} SELECT 6 / a AS q FROM t WHERE 12 / a < 12")).success();
    assert_eq!(output.stdout, "q\n2\n3\n");
    let told = fs::read_to_string(&dead).unwrap();
    assert_eq!(told.lines().count(), 2, "one of the file, one of the filter: {told}");
    let output = by_workers(&cluster, &format!("{path} SELECT 6 / a AS q FROM t")).success();
    assert_eq!(output.stdout, "q\n2\n3\n6\n");
    let dead = fs::read_to_string(dead).unwrap();
    assert!(dead.contains("\"operator\":\"Source t\"") && dead.contains("zwei"), "{dead}");
    assert!(dead.contains("\"operator\":\"Project\"") && dead.contains("\"row\":\"a=0\""), "{dead}");
    // Inside an aggregate it is the query's end, whoever runs it.
    let error = by_workers(&cluster, "SELECT sum(a + 9223372036854775807) FROM t").failure();
    assert!(error.contains("verflow"), "{error}");
}

#[test]
fn functions_of_the_dialect_are_known_to_workers() {
    let cluster = with_table(2);
    let sql = "CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT RETURN x * 2;
        SELECT b, sum(twice(a)) AS s, string_agg(b, '-') AS l, roc_auc(a > 1, a * 1.0) AS r FROM t GROUP BY b;";
    let output = by_workers(&cluster, sql).success().stdout;
    let rows: Vec<&str> = output.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(rows.first(), Some(&"b,s,l,r"), "{output}");
    assert_eq!(rows.len(), 4, "{output}");
}

#[test]
fn models_answer_at_workers() {
    let cluster = cluster(2);
    let trip = |n: u32| format!("{n},{},{}\n", f64::from(n * 7 % 100) / 10.0, n * 7 % 100 + n % 11 > 60);
    cluster.folder.write("trips.csv", format!("id,distance,late\n{}", (0..600).map(trip).collect::<String>()));
    cluster.sql("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'").success();
    let transform = "TRANSFORM (ML.STANDARD_SCALER(distance) OVER () AS scaled, late)";
    for (name, transform) in [("late", ""), ("scaled", transform)] {
        let options = "WITH (model_type = 'logistic_reg', label = 'late')";
        cluster
            .sql(&format!("CREATE MODEL {name} {transform} {options} AS SELECT late, distance FROM trips"))
            .success();
        let rows = format!("MODEL {name}, (SELECT id, distance FROM trips)");
        let asked = format!(
            "SELECT id, predicted_late, predicted_late_prob AS p, model_version AS v FROM ML.PREDICT({rows}) ORDER BY id"
        );
        let plan = by_workers(&cluster, &format!("EXPLAIN {asked}")).success().stdout;
        assert!(plan.contains(ENGINE) && plan.contains(&format!("ml_predict({name}$1)")), "{plan}");
        let there = by_workers(&cluster, &asked).success().stdout;
        assert_eq!(there.lines().count(), 601);
        assert_eq!(there, cluster.sql(&format!("SET execution = 'streaming'; {asked}")).success().stdout);
        let explained = format!(
            "SELECT id, prediction_value - baseline_prediction_value AS moved,
               top_feature_attributions[1]['attribution'] AS by_distance FROM ML.EXPLAIN_PREDICT({rows}) ORDER BY id"
        );
        let there = by_workers(&cluster, &explained).success().stdout;
        assert_eq!(there.lines().count(), 601);
        assert_eq!(there, cluster.sql(&explained).success().stdout);
    }
    let made = "SELECT scaled FROM ML.TRANSFORM(MODEL scaled, TABLE trips) ORDER BY scaled";
    let there = by_workers(&cluster, made).success().stdout;
    assert_eq!(there.lines().count(), 601);
    assert_eq!(there, cluster.sql(made).success().stdout);
}

#[test]
fn copy_and_insert_write_what_workers_make() {
    let cluster = with_table(2);
    let output = by_workers(&cluster, "COPY (SELECT a, b FROM t WHERE a > 0) TO 'copied.csv'").success();
    assert!(output.stdout.contains('3'), "{}", output.stdout);
    assert_eq!(cluster.folder.read("copied.csv"), "a,b\n1,y\n2,\n3,x\n");
    by_workers(&cluster, "CREATE TABLE made AS SELECT b, count(*) AS n FROM t GROUP BY b").success();
    // Nobody has read a, so no row is bad.
    let made = by_workers(&cluster, "SELECT b, n FROM made").success().stdout;
    assert_eq!(made, "b,n\n,1\nx,2\ny,1\nz,1\n");
}

#[test]
fn explain_shows_who_runs_what() {
    let cluster = with_table(2);
    let explained = by_workers(&cluster, "EXPLAIN SELECT b, count(*) FROM t GROUP BY b").success().stdout;
    assert!(explained.contains(ENGINE) && explained.contains("on 2 workers, in "), "{explained}");
    assert!(explained.contains("Stage 1") && explained.contains("ReadParts: t"), "{explained}");
    let analyzed =
        by_workers(&cluster, "EXPLAIN ANALYZE SELECT b, count(*) FROM t WHERE a > 0 GROUP BY b").success().stdout;
    assert!(analyzed.contains(ENGINE) && analyzed.contains("output_rows"), "{analyzed}");
    // What is small is not worth it.
    let explained = cluster.sql("EXPLAIN SELECT b, count(*) FROM t GROUP BY b").success().stdout;
    assert!(explained.contains("by DataFusion in this process"), "{explained}");
}

#[test]
fn what_workers_cannot_run_is_refused_or_runs_here() {
    let cluster = with_table(1);
    let recursive = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT r.n FROM r, t WHERE t.a = r.n";
    let error = by_workers(&cluster, recursive).failure();
    assert!(error.contains("recursive") && error.contains("batch.engine = 'embedded'"), "{error}");
    assert_eq!(cluster.sql(recursive).success().stdout, "n\n1\n2\n3\n");
    let error = cluster.sql("SET batch.engine = 'spark'").failure();
    assert!(error.contains("inferred, embedded or cluster"), "{error}");
}

#[test]
fn without_workers_the_setting_is_refused_with_what_would_do() {
    let cluster = with_table(0);
    let error = by_workers(&cluster, "SELECT a FROM t").failure();
    assert!(error.contains("no worker in a process of its own"), "{error}");
}

#[test]
fn pieces_are_fetched_with_certificates() {
    let mut cluster = Cluster::open_with_tls(0, Certificates::new());
    cluster.add_worker();
    cluster.add_worker();
    cluster.folder.write("t.csv", "a,b\n1,x\n2,x\n");
    let output = by_workers(&cluster, &format!("{TABLE}SELECT b, sum(a) AS s FROM t GROUP BY b")).success();
    assert_eq!(output.stdout, "b,s\nx,3\n");
}

/// A query that takes a while, and what it answers: pairs of numbers below a bound.
fn long_query(cluster: &Cluster, numbers: u64) -> (String, String) {
    // Large enough for a part for each worker.
    let wide = "x".repeat((9 << 20) / numbers as usize);
    let lines: String = (0..numbers).map(|number| format!("{number},{},{wide}\n", number % 7)).collect();
    cluster.folder.write("n.csv", format!("v,g,w\n{lines}"));
    let table =
        "CREATE TABLE n (v BIGINT, g BIGINT, w VARCHAR) WITH (connector = 'files', path = 'n.csv', format = 'csv')";
    cluster.sql(table).success();
    let query = "SET batch.engine = 'cluster'; SELECT g, count(*) AS c, sum(d) AS s FROM (SELECT x.g, x.v * 3 - y.v AS d FROM n x, n y WHERE x.v + y.v >= 0) GROUP BY g ORDER BY g";
    let mut rows = String::from("g,c,s\n");
    let all: i128 = i128::from(numbers) * (i128::from(numbers) - 1) / 2;
    for group in 0..7 {
        let of_group: Vec<i128> = (0..numbers).filter(|number| number % 7 == group).map(i128::from).collect();
        let count = of_group.len() as i128 * i128::from(numbers);
        let sum = of_group.iter().sum::<i128>() * 3 * i128::from(numbers) - all * of_group.len() as i128;
        rows.push_str(&format!("{group},{count},{sum}\n"));
    }
    (String::from(query), rows)
}

#[test]
fn a_query_outlives_a_worker_that_is_killed() {
    let mut cluster = cluster(2);
    let (query, expected) = long_query(&cluster, 3_000);
    let running = cluster.start_sql(&query);
    wait("begun", || has_pieces(&cluster.folder));
    cluster.workers.remove(0).signal("KILL");
    let output: Output = running.output(PATIENCE).success();
    assert_eq!(output.stdout, expected);
}

#[test]
fn joins_that_have_no_room_are_sorted_on_disk() {
    let cluster = cluster(2);
    // Two sides of 18 MB a worker, in batches of 1 MB.
    let wide = "x".repeat(110);
    let lines: String = (0..300_000).map(|number| format!("{number},{wide}\n")).collect();
    cluster.folder.write("n.csv", format!("v,w\n{lines}"));
    let table = "CREATE TABLE n (v BIGINT, w VARCHAR) WITH (connector = 'files', path = 'n.csv', format = 'csv')";
    cluster.sql(table).success();
    let query = "SELECT count(*) AS n, sum(x.v) AS s FROM n x JOIN n y ON x.v = y.v AND x.w = y.w";
    let explained = by_workers(&cluster, &format!("EXPLAIN {query}")).success().stdout;
    assert!(explained.contains("HashJoin"), "{explained}");
    let output = by_workers(&cluster, &format!("SET query_memory = '10MB'; {query}")).success();
    assert_eq!(output.stdout, "n,s\n300000,44999850000\n");
    cluster.coordinator.wait_for_line("begun anew, with joins that sort");
}

/// Hundredths of seconds that a process has computed.
fn computed(run: &Run) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", run.pid)).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_query_that_is_cancelled_ends_at_workers() {
    let cluster = cluster(2);
    let (query, _) = long_query(&cluster, 60_000);
    let running = cluster.start_sql(&query);
    wait("begun", || has_pieces(&cluster.folder));
    let all = || cluster.workers.iter().map(computed).sum::<u64>();
    let before = all();
    wait("computing", || all() > before + 20);
    running.signal("INT");
    wait("removed", || !has_pieces(&cluster.folder));
    wait("idle", || {
        let before = all();
        thread::sleep(Duration::from_millis(500));
        all() < before + 10
    });
    // The workers are there for others.
    cluster.folder.write("t.csv", "a,b\n1,x\n");
    assert_eq!(by_workers(&cluster, &format!("{TABLE}SELECT a FROM t")).success().stdout.lines().last(), Some("1"));
}

#[test]
fn a_query_is_a_job_that_says_how_far_it_is_and_can_be_stopped() {
    let cluster = cluster(2);
    let (query, _) = long_query(&cluster, 60_000);
    let running = cluster.start_sql(&query);
    let stage = "SELECT job, detail FROM tidemill.jobs WHERE kind = 'batch' AND progress < 1 AND detail LIKE 'stage %'";
    let mut shown = String::new();
    wait("shown", || {
        shown = cluster.sql(stage).success().stdout;
        shown.contains("tasks ") && shown.contains("rows ")
    });
    let job = shown.lines().nth(1).and_then(|row| row.split(',').next()).unwrap().to_owned();
    let all = || cluster.workers.iter().map(computed).sum::<u64>();
    assert_eq!(
        cluster.sql(&format!("STOP JOB {job}")).success().stderr.lines().last(),
        Some(&*format!("STOP job-{job}"))
    );
    let error = running.output(PATIENCE).failure();
    assert!(error.contains(&format!("job-{job} was stopped")) && !error.contains("tasks "), "{error}");
    wait("removed", || !has_pieces(&cluster.folder));
    wait("idle", || {
        let before = all();
        thread::sleep(Duration::from_millis(500));
        all() < before + 10
    });
    assert_eq!(cluster.jobs(), Vec::<String>::new());
}

//! Time that no row moves: inputs that are idle, and time that follows the clock.
//!
//! Nothing here asserts how long something takes: what must come is waited for, and would come never.

use crate::command::{Folder, PATIENCE, sorted_rows};

/// A replay of a row a second whose time stands still, and one that goes on, for longer than any test.
fn stalled_and_running() -> Folder {
    let stalled = format!("ts,n\n{}", "2024-01-01 00:00:00,1\n".repeat(1000));
    let mut running = String::from("ts,n\n");
    for n in 0..100_000 {
        running.push_str(&format!("2024-01-01 {:02}:{:02}:{:02},1\n", n / 3600, n / 60 % 60, n % 60));
    }
    Folder::with(&[("stalled.csv", &stalled), ("running.csv", &running)])
}

fn sources(idle_timeout: &str) -> String {
    format!(
        "CREATE SOURCE stalled (ts TIMESTAMP, n BIGINT, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'stalled.csv', format = 'csv', rows_per_second = 1,
                 idle_timeout = '{idle_timeout}');
         CREATE SOURCE running (ts TIMESTAMP, n BIGINT, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'running.csv', format = 'csv', rows_per_second = 1000);"
    )
}

/// Runs until the output has a row of this.
#[track_caller]
fn check_row_comes(query: &str, part: &str) {
    for workers in [&[][..], &["--workers", "2"]] {
        let folder = stalled_and_running();
        let sql = format!("{} CREATE SINK out WITH (connector = 'print') AS {query};", sources("100ms"));
        let run = folder.start(&sql, workers);
        run.wait_for_row(part);
        run.signal("INT");
        assert_eq!(run.output(PATIENCE).status, Some(130));
    }
}

#[test]
fn an_idle_input_of_a_union_does_not_hold_windows_open() {
    check_row_comes(
        "SELECT window_end, sum(n) AS n FROM TUMBLE(
           (SELECT ts, n FROM stalled UNION ALL SELECT ts, n FROM running), DESCRIPTOR(ts), INTERVAL '1 minute')
         GROUP BY window_start, window_end",
        "00:05:00",
    );
}

#[test]
fn an_idle_side_of_a_temporal_join_does_not_hold_the_other_up() {
    check_row_comes(
        "SELECT r.ts, r.n, s.n AS stalled FROM running r LEFT JOIN stalled FOR SYSTEM_TIME AS OF r.ts AS s ON r.n = s.n",
        "00:05:00",
    );
}

#[test]
fn windows_of_processing_time_hold_every_row_once_and_close_without_rows() {
    let source =
        "CREATE SOURCE rows (n BIGINT, pt AS PROCTIME()) WITH (connector = 'files', path = 'rows.csv', format = 'csv'";
    let windows = "SELECT n % 3 AS k, window_end, count(*) AS n FROM TUMBLE(TABLE rows, DESCRIPTOR(pt), INTERVAL '100 milliseconds')
                   GROUP BY n % 3, window_start, window_end";
    let rows: String = std::iter::once(String::from("n\n")).chain((0..6000).map(|n| format!("{n}\n"))).collect();
    for parallelism in ["1", "3"] {
        let folder = Folder::with(&[("rows.csv", &rows)]);
        let sql = format!("{source}); CREATE VIEW w AS {windows}; SELECT k, sum(n) AS n FROM w GROUP BY k;");
        let output = folder.run(&sql, &["--format", "csv", "--parallelism", parallelism]).success();
        assert_eq!(sorted_rows(&output.stdout), ["0,2000", "1,2000", "2,2000"]);
        let all = "SELECT sum(n) AS n FROM (SELECT count(*) AS n FROM TUMBLE(TABLE rows, DESCRIPTOR(pt), INTERVAL '1 second') GROUP BY window_end) t";
        let output =
            folder.run(&format!("{source}); {all};"), &["--format", "csv", "--parallelism", parallelism]).success();
        assert_eq!(sorted_rows(&output.stdout), ["6000"]);
    }
    // The second row is due after a second: the first one's window closes before, by the clock alone.
    let folder = Folder::with(&[("rows.csv", "n\n7\n")]);
    let rest: String = (0..1000).map(|_| "7\n").collect();
    folder.write("rows.csv", format!("n\n{rest}"));
    let sql = format!("{source}, rows_per_second = 1); CREATE SINK out WITH (connector = 'print') AS {windows};");
    let run = folder.start(&sql, &[]);
    run.wait_for_row("1");
    run.signal("INT");
    run.output(PATIENCE);
}

/// Bids of which the third comes five seconds late, and the fifth a minute.
const LATE_BIDS: &str = "\
ts,item,price
2024-01-01 00:00:01,a,1
2024-01-01 00:00:12,b,2
2024-01-01 00:00:07,a,4
2024-01-01 00:01:10,b,8
2024-01-01 00:00:10,a,16
";

const LATE_SQL: &str = "
CREATE SOURCE bids (ts TIMESTAMP, item VARCHAR, price BIGINT, WATERMARK FOR ts AS ts)
  WITH (connector = 'files', path = 'bids.csv', format = 'csv');
CREATE SINK late (ts TIMESTAMP, item VARCHAR, price BIGINT) WITH (connector = 'files', path = 'late', format = 'csv');
SELECT item, window_start, sum(price) AS total
FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY item, window_start, window_end";

/// The result of the query with this clause, and what is in the sink. Batches of a row: each moves time.
fn with_clause(clause: &str) -> (Vec<String>, String) {
    let folder = Folder::with(&[("bids.csv", LATE_BIDS)]);
    let arguments = ["--format", "csv", "--parallelism", "1", "--set", "source_batch_rows=1"];
    let output = folder.run(&format!("{LATE_SQL} {clause};"), &arguments).success();
    let late = std::fs::read_to_string(folder.path("late/part-0.csv")).unwrap_or_default();
    (sorted_rows(&output.stdout).into_iter().map(String::from).collect(), late)
}

#[test]
fn late_rows_are_dropped_or_written_or_update_results() {
    let on_time = ["a,2024-01-01T00:00:00,1", "b,2024-01-01T00:00:10,2", "b,2024-01-01T00:01:10,8"];
    for clause in ["", "LATE DATA DROP"] {
        assert_eq!(with_clause(clause), (on_time.map(String::from).to_vec(), String::new()));
    }
    let late = "ts,item,price\n2024-01-01T00:00:07,a,4\n2024-01-01T00:00:10,a,16\n";
    assert_eq!(with_clause("LATE DATA INTO late"), (on_time.map(String::from).to_vec(), String::from(late)));
    let (rows, _) = with_clause("LATE DATA UPDATE WITHIN INTERVAL '30 seconds'");
    assert_eq!(rows, ["a,2024-01-01T00:00:00,5", "b,2024-01-01T00:00:10,2", "b,2024-01-01T00:01:10,8"]);
    let (rows, _) = with_clause("LATE DATA UPDATE WITHIN INTERVAL '1 hour'");
    assert_eq!(
        rows,
        ["a,2024-01-01T00:00:00,5", "a,2024-01-01T00:00:10,16", "b,2024-01-01T00:00:10,2", "b,2024-01-01T00:01:10,8"]
    );
}

#[test]
fn every_row_is_in_a_window_or_in_the_sink_of_late_rows() {
    let mut bids = String::from("ts,item,price\n");
    for n in 0..2000 {
        let second = (n * 7919) % 2000;
        bids.push_str(&format!("2024-01-01 00:{:02}:{:02},k{},1\n", second / 60, second % 60, n % 7));
    }
    for workers in [&["--parallelism", "3"][..], &["--parallelism", "2", "--workers", "2"]] {
        let folder = Folder::with(&[("bids.csv", &bids)]);
        let arguments = [workers, &["--format", "csv", "--set", "source_batch_rows=5"]].concat();
        let output = folder.run(&format!("{LATE_SQL} LATE DATA INTO late;"), &arguments).success();
        let in_windows: i64 =
            sorted_rows(&output.stdout).iter().map(|row| row.rsplit_once(',').unwrap().1.parse::<i64>().unwrap()).sum();
        let late = folder.read("late/part-0.csv").lines().count() as i64 - 1;
        assert!(late > 0);
        assert_eq!(in_windows + late, 2000);
    }
}

//! Statements one after another: views that are read while they run, and SELECTs without an end.

use std::time::Duration;

use crate::command::{Folder, PATIENCE, sorted_rows};
use crate::killed::csv_rows;

const SOURCE: &str = "
CREATE SOURCE bids WITH (connector = 'nexmark', table = 'bid', rows_per_second = 20000);";

/// Takes so many rows of the source, and so a while.
fn wait(rows: u32) -> String {
    format!("SELECT 1 AS waited FROM bids LIMIT {rows};\n")
}

/// The numbers of a result of one column, by its header, in the order in which they were printed.
fn numbers(stdout: &str, header: &str) -> Vec<u64> {
    let lines: Vec<&str> = stdout.lines().collect();
    lines.windows(2).filter(|pair| pair[0] == header).map(|pair| pair[1].parse().unwrap()).collect()
}

#[test]
fn a_view_is_read_while_it_runs() {
    for workers in [&[][..], &["--workers", "2"]] {
        let folder = Folder::new();
        let read = "SELECT sum(n) AS total FROM per_channel;\n";
        let input = format!(
            "{SOURCE}
             CREATE MATERIALIZED VIEW per_channel AS SELECT channel, count(*) AS n FROM bids GROUP BY channel;
             {read}{}{read}{}{read}",
            wait(20_000),
            wait(20_000),
        );
        let output = folder.shell(&input, &[&["--format", "csv"], workers].concat()).output(PATIENCE).success();
        let totals = numbers(&output.stdout, "total");
        assert!(totals[0] < totals[1] && totals[1] < totals[2], "{totals:?}\n{}", output.stderr);
    }
}

#[test]
fn views_of_one_job_are_read_at_one_epoch() {
    for workers in [&[][..], &["--workers", "2"]] {
        let folder = Folder::new();
        folder.write(
            "views.sql",
            format!(
                "{SOURCE}
                 CREATE MATERIALIZED VIEW per_channel AS SELECT channel, count(*) AS n FROM bids GROUP BY channel;
                 CREATE MATERIALIZED VIEW per_bidder AS SELECT bidder, count(*) AS n FROM bids GROUP BY bidder;
                 CREATE MATERIALIZED VIEW dear AS SELECT price FROM bids WHERE price > 0;"
            ),
        );
        let read = "SELECT 'compared' AS compared, c.n - b.n AS apart, d.n - b.n AS also, b.n > 0 AS some
                    FROM (SELECT 1 AS one, CAST(sum(n) AS BIGINT) AS n FROM per_channel) c
                    JOIN (SELECT 1 AS one, CAST(sum(n) AS BIGINT) AS n FROM per_bidder) b ON c.one = b.one
                    JOIN (SELECT 1 AS one, count(*) AS n FROM dear) d ON d.one = b.one;\n";
        let input = format!("\\i views.sql\n{read}{}{read}{}{read}", wait(10_000), wait(10_000));
        let output = folder.shell(&input, &[&["--format", "csv"], workers].concat()).output(PATIENCE).success();
        let same: Vec<&str> = output.stdout.lines().filter(|line| line.starts_with("compared,")).collect();
        let rows: Vec<&str> = same.into_iter().filter(|line| *line != "compared,apart,also,some").collect();
        assert_eq!(rows, ["compared,0,0,true"; 3], "{}\n{}", output.stdout, output.stderr);
    }
}

const SALES: &str = "
CREATE SOURCE sales (item VARCHAR, price BIGINT) WITH (connector = 'files', path = 'sales.csv', format = 'csv');";

fn sales() -> Folder {
    Folder::with(&[("sales.csv", "item,price\nsalt,1\nrice,7\nsalt,3\n")])
}

#[test]
fn a_view_over_files_is_read_when_it_is_complete_and_until_it_is_dropped() {
    let input = format!(
        "{SALES}
         CREATE MATERIALIZED VIEW totals AS SELECT item, sum(price) AS total FROM sales GROUP BY item;
         SELECT count(*) AS waited FROM sales;
         SELECT * FROM totals WHERE total > 3 ORDER BY item;
         CREATE VIEW plain AS SELECT total + 1 AS more FROM totals;
         SELECT * FROM plain ORDER BY more;
         DROP VIEW plain;
         DROP MATERIALIZED VIEW totals;
         CREATE MATERIALIZED VIEW totals AS SELECT max(price) AS total FROM sales;
         SELECT total FROM totals;
         DROP MATERIALIZED VIEW totals;
         SELECT * FROM totals;
         SELECT 'not reached' AS x FROM sales;"
    );
    let output = sales().shell(&input, &["--format", "csv"]).output(PATIENCE);
    assert_eq!(output.stdout, "waited\n3\nitem,total\nrice,7\nsalt,4\nmore\n5\n8\ntotal\n7\n", "{}", output.stderr);
    assert!(output.stderr.contains("CREATE MATERIALIZED VIEW totals\nCREATE VIEW plain"), "{}", output.stderr);
    let message = output.failure();
    assert!(message.contains("line 13, column 24: there is no source or view 'totals'; there are: sales"), "{message}");
}

#[test]
fn a_job_that_fails_is_told_of() {
    let input = "
        CREATE SOURCE gone (a BIGINT) WITH (connector = 'files', path = 'gone.csv', format = 'csv');
        CREATE MATERIALIZED VIEW v AS SELECT a FROM gone;
        SELECT * FROM v;";
    let message = Folder::new().shell(input, &[]).output(PATIENCE).failure();
    assert!(message.contains("view 'v' cannot be read: its job failed: "), "{message}");
    assert!(message.contains("no file matches 'gone.csv'"), "{message}");
}

#[test]
fn sinks_run_behind_the_prompt_and_are_complete_when_it_ends() {
    let folder = sales();
    let input = format!(
        "{SALES}
         CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS SELECT item FROM sales;
         CREATE SINK later (item VARCHAR) WITH (connector = 'files', path = 'later', format = 'csv');
         INSERT INTO later SELECT item FROM sales WHERE price = 7;"
    );
    let output = folder.shell(&input, &[]).output(PATIENCE).success();
    assert!(output.stderr.ends_with("CREATE SINK later\nINSERT INTO later\n"), "{}", output.stderr);
    assert_eq!(sorted_rows(&folder.read("kept/part-0.csv")), ["rice", "salt", "salt"]);
    assert_eq!(folder.read_only_file("later"), "item\nrice\n");
}

#[test]
fn whoever_quits_does_not_wait_and_the_end_of_the_input_tells_of_failures() {
    let view = "CREATE MATERIALIZED VIEW v AS SELECT auction FROM bids;";
    let output = Folder::new().shell(&format!("{SOURCE}{view}\n\\q\nnot read;"), &[]).output(PATIENCE).success();
    assert!(output.stderr.ends_with("CREATE MATERIALIZED VIEW v\n"), "{}", output.stderr);
    let gone = SALES.replace("sales.csv", "gone.csv");
    let sink = "CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS SELECT item FROM sales;";
    let message = Folder::new().shell(&format!("{gone}{sink}"), &[]).output(PATIENCE).failure();
    assert!(message.contains("the job of kept failed: ") && message.contains("no file matches"), "{message}");
}

#[test]
fn a_select_without_an_end_prints_rows_as_they_come() {
    let folder = Folder::new();
    let query = "SELECT channel, count(*) AS n FROM bids WHERE channel = 'Apple' GROUP BY channel;";
    let run = folder.start(&format!("{SOURCE}{query}"), &["--format", "csv"]);
    run.wait_for_row("op,channel,n");
    run.wait_for_row("+I,Apple,");
    run.wait_for_row("-U,Apple,");
    run.wait_for_row("+U,Apple,");
    run.signal("INT");
    let output = run.output(Duration::from_secs(15));
    assert_eq!(output.status, Some(130), "{}", output.stderr);
}

#[test]
fn a_limit_ends_a_select_that_would_not_end() {
    let query = format!("{SOURCE} SELECT auction FROM bids LIMIT 7; SELECT price FROM bids LIMIT 3;");
    let output = Folder::new().run(&query, &["--format", "json"]).success();
    let count = |what: &str| output.stdout.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("{\"auction\""), count("{\"price\"")), (7, 3), "{}", output.stdout);
    let table = Folder::new().run(&format!("{SOURCE} SELECT bidder FROM bids LIMIT 2;"), &[]).success();
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", table.stdout);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{}", table.stdout);
    assert!(lines[1].starts_with("| bidder ") && lines[5] == lines[0], "{}", table.stdout);
}

#[test]
fn a_shell_that_is_told_to_end_completes_its_files() {
    for arguments in [&[][..], &["--data-dir", "meta"]] {
        let folder = Folder::new();
        let mut shell = folder.open_shell(arguments);
        shell.say(SOURCE);
        shell.say("CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv')");
        shell.say("  AS SELECT auction FROM bids;");
        shell.wait_for_line("CREATE SINK kept");
        shell.say("SELECT auction FROM bids LIMIT 20000;");
        shell.wait_for_row("auction");
        shell.signal("TERM");
        let output = shell.output(PATIENCE);
        assert_eq!(output.status, Some(143), "{}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        // Those that a job which has left off has not completed are in progress; what it shows is complete.
        let has_left_off = output.stderr.contains("tidemill resume");
        assert!(has_left_off || csv_rows(&folder, "kept").len() > 10, "{}", output.stderr);
    }
}

//! The objects of a coordinator that is killed, and of the next one.

use std::thread;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::command::PATIENCE;

const POLL: Duration = Duration::from_millis(200);

const JOBS: &str = "
    SET checkpoint_interval = '300ms';
    CREATE MATERIALIZED VIEW per_channel AS
      SELECT shorter(channel) AS channel, count(*) AS n FROM bids GROUP BY shorter(channel);
    CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS SELECT auction, price FROM dear;
    CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'is_dear', publish_every = '1 second') AS
      SELECT date_time, price > 1000 AS is_dear, CAST(auction AS DOUBLE) AS auction FROM bids;";

/// Everything that can be created.
fn objects() -> String {
    format!(
        "CREATE FUNCTION shorter(x VARCHAR) RETURNS VARCHAR RETURN substr(x, 1, 3);
         CREATE SOURCE bids (WATERMARK FOR date_time AS date_time)
           WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000);
         CREATE VIEW dear AS SELECT * FROM bids WHERE price > 100;{JOBS}"
    )
}

/// The first column of what a SHOW says.
#[track_caller]
fn names(cluster: &Cluster, what: &str) -> Vec<String> {
    let shown = cluster.sql(&format!("SHOW {what}")).success().stdout;
    shown.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
}

/// What a view's count has come to, once it can be read and is greater than this.
#[track_caller]
fn count_above(cluster: &Cluster, before: u64) -> u64 {
    let mut output = String::new();
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        let read = cluster.sql("SELECT CAST(sum(n) AS BIGINT) AS total FROM per_channel");
        if let Some(total) = read.stdout.lines().nth(1).and_then(|line| line.parse().ok())
            && total > before
        {
            return total;
        }
        output = format!("{}{}", read.stdout, read.stderr);
        thread::sleep(POLL);
    }
    panic!("after {PATIENCE:?} no more than {before}: {output}");
}

#[track_caller]
fn refused(cluster: &Cluster, text: &str, reason: &str) {
    let error = cluster.sql(text).failure();
    assert!(error.contains(reason), "{error}");
}

#[track_caller]
fn kill_and_restart(cluster: &mut Cluster) {
    cluster.coordinator.signal("KILL");
    cluster.coordinator.wait_killed();
    cluster.restart_coordinator();
}

#[test]
fn objects_survive_their_coordinator_and_belong_to_their_jobs() {
    let mut cluster = Cluster::open(1, &[]);
    cluster.add_worker();
    cluster.add_worker();
    cluster.sql(&objects()).success();
    let read = count_above(&cluster, 0);
    // The view goes on from its newest checkpoint, which has what was read if it is given the time.
    cluster.wait_for_commits(2);

    kill_and_restart(&mut cluster);
    for _ in 0..2 {
        assert_eq!(names(&cluster, "SOURCES"), ["bids"]);
        assert_eq!(names(&cluster, "VIEWS"), ["dear", "per_channel"]);
        assert_eq!(names(&cluster, "SINKS"), ["kept"]);
        assert_eq!(names(&cluster, "MODELS"), ["m"]);
        assert_eq!(names(&cluster, "FUNCTIONS")[0], "shorter");
        assert_eq!(cluster.jobs().len(), 1);
        refused(&cluster, "CREATE VIEW per_channel AS SELECT price FROM bids", "it is a materialized view");
        refused(&cluster, "INSERT INTO kept SELECT auction, price FROM bids", "has a query of its own");
        refused(&cluster, "DROP SOURCE bids", "uses it; drop that first");
        count_above(&cluster, read);

        // The job ends with the last of its objects.
        cluster.sql("DROP MODEL m; DROP SINK kept").success();
        assert_eq!(cluster.jobs().len(), 1);
        kill_and_restart(&mut cluster);
        count_above(&cluster, read);
        cluster.sql("DROP MATERIALIZED VIEW per_channel").success();
        cluster.wait_for_jobs(<[String]>::is_empty);
        kill_and_restart(&mut cluster);
        assert_eq!(cluster.jobs(), Vec::<String>::new());
        assert_eq!(names(&cluster, "VIEWS"), ["dear"]);
        cluster.sql(JOBS).success();
        count_above(&cluster, read / 2);
    }
    end(cluster);
}

#[test]
fn a_materialized_view_whose_job_was_stopped_says_so() {
    let mut cluster = Cluster::open(1, &[]);
    cluster.add_worker();
    cluster.sql(&objects()).success();
    count_above(&cluster, 0);
    cluster.sql("STOP JOB per_channel").success();
    cluster.wait_for_jobs(<[String]>::is_empty);
    kill_and_restart(&mut cluster);
    refused(&cluster, "SELECT * FROM per_channel", "its job has ended, and what it held is gone");
    cluster.sql("DROP MATERIALIZED VIEW per_channel; DROP SINK kept; DROP MODEL m").success();
    cluster.sql(JOBS).success();
    count_above(&cluster, 0);
    end(cluster);
}

#[track_caller]
fn end(cluster: Cluster) {
    cluster.coordinator.signal("KILL");
    cluster.workers.iter().for_each(|worker| worker.signal("KILL"));
    let log = cluster.coordinator.output(PATIENCE).stderr;
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn tables_of_queries_survive_their_coordinator_and_go_with_their_names() {
    let mut cluster = Cluster::open(1, &[]);
    let tables = cluster.folder.path("meta/tables");
    let places = || std::fs::read_dir(&tables).map_or(0, Iterator::count);
    cluster.sql("CREATE TABLE t AS SELECT column1 AS a FROM (VALUES (1), (2))").success();
    refused(&cluster, "CREATE TABLE t AS SELECT 1 AS a", "already exists");
    refused(&cluster, "CREATE TABLE u AS SELECT sum(1 / (a - 1)) AS s FROM t; SHOW SOURCES", "ivide by zero");
    cluster.sql("INSERT INTO t SELECT a + 2 FROM t").success();
    cluster.sql("CREATE TABLE IF NOT EXISTS t AS SELECT 9 AS a").success();
    assert_eq!(places(), 1);
    kill_and_restart(&mut cluster);
    assert_eq!(names(&cluster, "SOURCES"), ["t"]);
    assert_eq!(cluster.sql("SELECT sum(a) AS s FROM t").success().stdout, "s\n10\n");
    cluster.sql("CREATE OR REPLACE TABLE t AS SELECT max(a) AS b FROM t").success();
    assert_eq!(cluster.sql("SELECT b FROM t").success().stdout, "b\n4\n");
    assert_eq!(places(), 1, "the one before is gone");
    cluster.sql("DROP TABLE t").success();
    assert_eq!(places(), 0);
}

#[test]
fn jobs_and_checkpoints_are_tables() {
    let mut cluster = Cluster::open(1, &[]);
    cluster.add_worker();
    cluster.add_worker();
    cluster.sql(&objects()).success();
    cluster.wait_for_commits(2);
    let rows = |sql: &str| cluster.sql(sql).success().stdout;
    assert_eq!(rows("SELECT status FROM tidemill.jobs WHERE makes LIKE '%kept%'"), "status\nrunning\n");
    let sealed = "SELECT count(*) > 0 AS some FROM tidemill.checkpoints AS c JOIN tidemill.jobs AS j ON c.job = j.job \
                  WHERE c.status = 'sealed'";
    assert_eq!(rows(sealed), "some\ntrue\n");
    assert_eq!(rows("SELECT name, model_type FROM tidemill.models"), "name,model_type\nm,logistic_reg\n");
}

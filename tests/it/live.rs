//! Models that change while streams ask them: CREATE OR REPLACE MODEL and ALTER MODEL reach jobs that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tonic::Code;

use crate::cluster::Cluster;
use crate::command::PATIENCE;
use crate::fitted::folder;
use crate::flight_sql::{POLL, Served, TRIES, connect, serve, shown};
use crate::killed::{files, wait_for_commits};

const TRIPS: &str = "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'";

/// A model of the name `late` whose answer for a far trip is this.
fn made(says: bool) -> String {
    let label = if says { "late" } else { "NOT late" };
    format!(
        "CREATE OR REPLACE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS
         SELECT {label} AS late, distance FROM trips"
    )
}

/// Rides of which views say what the model and its champion say.
const RIDES: &str = "
    SET view_interval = '50ms'; SET checkpoint_interval = '100ms';
    CREATE SOURCE rides (id BIGINT, distance DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
      WITH (connector = 'push');
    CREATE MATERIALIZED VIEW said AS
      SELECT id, predicted_late, model_version AS v FROM ML.PREDICT(MODEL late, TABLE rides);
    CREATE MATERIALIZED VIEW named AS
      SELECT id, predicted_late, model_version AS v FROM ML.PREDICT(MODEL late@champion, TABLE rides);";

/// Who rides, and when the last of them has.
struct Rides {
    served: Served,
    last: i64,
}

impl Rides {
    fn start() -> Self {
        let mut served = Served::start();
        fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
        served.ask(TRIPS);
        served.ask(&made(true));
        served.ask("ALTER MODEL late VERSION 1 SET ALIAS champion");
        served.ask(RIDES);
        Self { served, last: 0 }
    }

    /// A far ride, of a second of event time; which version answers in this view, below zero if it says that it is not late.
    fn ride(&mut self, view: &str, id: i64, second: i64) -> i64 {
        let time = format!("TIMESTAMP '2026-01-01 {:02}:{:02}:{:02}'", second / 3600, second / 60 % 60, second % 60);
        self.served.ask(&format!("INSERT INTO rides VALUES ({id}, 9.9, {time})"));
        self.of(view, id)
    }

    /// The same of a ride that has been.
    fn of(&mut self, view: &str, id: i64) -> i64 {
        self.served.wait_for(&format!("SELECT count(*) FROM {view} WHERE id = {id}"), 1);
        let said = format!("SELECT CASE WHEN predicted_late THEN v ELSE -v END AS n FROM {view} WHERE id = {id}");
        let rows = self.served.ask(&said);
        let row = rows.iter().find(|rows| rows.num_rows() > 0).unwrap();
        row.column(0).as_primitive::<Int64Type>().value(0)
    }

    /// The ride of the next second.
    fn next(&mut self, view: &str) -> i64 {
        self.last += 1;
        self.ride(view, self.last, self.last)
    }

    /// Rides on until a version answers; the first second that it answers. Until then it is another one.
    #[track_caller]
    fn wait_for(&mut self, view: &str, wanted: i64, before: i64) -> i64 {
        for _ in 0..TRIES {
            match self.next(view) {
                version if version == wanted => return self.last,
                version => assert_eq!(version, before, "second {}", self.last),
            }
            thread::sleep(POLL);
        }
        panic!("version {wanted} does not come in {PATIENCE:?}");
    }

    fn restarts(&mut self) -> i64 {
        self.served.number("SELECT CAST(max(restarts) AS BIGINT) AS n FROM tidemill.jobs")
    }
}

#[test]
fn rows_before_are_answered_by_the_old_version_and_rows_after_by_the_new() {
    let mut rides = Rides::start();
    let plan = shown(&rides.served.ask("EXPLAIN SELECT * FROM ML.PREDICT(MODEL late, TABLE rides)"));
    assert!(plan.contains("late from model") && plan.contains("live") && !plan.contains("Fit"), "{plan}");
    assert_eq!([(); 3].map(|()| rides.next("said")), [1, 1, 1]);

    rides.served.ask(&made(false));
    let first = rides.wait_for("said", -2, 1);
    assert_eq!(rides.ride("said", 1000, 2), 1, "a late ride is of before");
    assert_eq!(rides.ride("said", 1001, first), -2);
    assert_eq!(rides.of("named", 1001), 1, "the champion is the old one still");

    rides.served.ask("ALTER MODEL late VERSION 2 SET ALIAS champion");
    rides.wait_for("named", -2, 1);
    assert_eq!(rides.ride("named", 1002, first), 1, "of before the alias moved");
    rides.served.ask("ALTER MODEL late UNSET ALIAS champion");
    assert_eq!(rides.next("named"), -2, "who runs has what there was");
    assert_eq!(rides.restarts(), 0);

    // What has changed when a coordinator ends is caught up with by the next one; and it knows what answered when.
    rides.served.ask(&made(true));
    rides.served.server.signal("TERM");
    drop(rides.served.server.output(PATIENCE).success());
    rides.served.server = serve(&rides.served.folder, rides.served.port);
    rides.served.client = connect(&rides.served.runtime, rides.served.port);
    rides.wait_for("said", 3, -2);
    assert_eq!(rides.ride("said", 1003, 2), 1, "after a restart");
    assert_eq!(rides.ride("said", 1004, first), -2, "after a restart");
    assert_eq!(rides.of("named", 1004), 1, "after a restart");
    assert_eq!(rides.next("named"), -2, "the alias is gone, and what it meant is not");
    rides.served.end();
}

#[test]
fn what_a_stream_could_not_ask_does_not_take_the_place() {
    let mut rides = Rides::start();
    assert_eq!(rides.next("said"), 1);
    let other = |columns: &str| made(true).replace("late, distance", columns);
    rides.served.refused(
        &other("late, distance, id"),
        Code::Unimplemented,
        "which materialized view 'said', materialized view 'named' asks: it takes (distance DOUBLE, id BIGINT) instead of \
         (distance DOUBLE)",
    );
    rides.served.refused(
        &other("late, CAST(distance AS VARCHAR) AS distance"),
        Code::Unimplemented,
        "it takes (distance VARCHAR) instead of (distance DOUBLE)",
    );
    let said = made(true).replace("late AS late", "CAST(late AS VARCHAR) AS late");
    rides.served.refused(&said, Code::Unimplemented, "it says (predicted_late VARCHAR");
    rides.served.ask(&other("late, distance, id").replace("MODEL late", "MODEL other"));
    // One that cannot be fitted leaves all as it was.
    rides.served.refused(&format!("{} WHERE late", made(true)), Code::InvalidArgument, "have the label true");
    assert_eq!(rides.next("said"), 1);
    rides.served.ask(&made(false));
    rides.wait_for("said", -2, 1);
    rides.served.ask("CREATE VIEW told AS SELECT * FROM ML.FEATURE_INFO(MODEL late)");
    rides.served.refused(&made(true), Code::Unimplemented, "its training set is read");
    rides.served.ask("DROP VIEW told");
    rides.served.ask(&made(true));
    rides.wait_for("said", 3, -2);
    rides.served.end();
}

#[test]
fn an_alias_that_streams_ask_for_moves_to_no_version_that_takes_something_else() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(TRIPS);
    served.ask(&made(true));
    served.ask(&made(true).replace("late, distance", "late, distance, id"));
    served.ask("ALTER MODEL late VERSION 1 SET ALIAS champion");
    served.ask("ALTER MODEL late VERSION 2 SET ALIAS champion");
    served.ask("ALTER MODEL late VERSION 1 SET ALIAS champion");
    served.ask("CREATE VIEW named AS SELECT * FROM ML.PREDICT(MODEL late@champion, (SELECT distance FROM trips))");
    let moves = |version: i64| format!("ALTER MODEL late VERSION {version} SET ALIAS champion");
    served.refused(&moves(2), Code::Unimplemented, "late@champion as version 2, for view 'named' asks for it");
    served.refused(&moves(9), Code::InvalidArgument, "no version 9");
    served.ask(&moves(1));
    served.ask("ALTER MODEL late VERSION 2 SET ALIAS challenger");
    assert_eq!(served.number("SELECT max(model_version) AS n FROM named"), 1);
    served.end();
}

/// How many rides follow each other that one instance makes: at its pace the generator makes 20 batches a second.
const BLOCK: u64 = 400 / 20 / 2;

/// The rows that a sink has shown, by the instance that has made and answered them, in order: the id, and which version.
fn rows(cluster: &Cluster) -> BTreeMap<u64, Vec<(u64, String)>> {
    let mut rows: BTreeMap<u64, Vec<(u64, String)>> = BTreeMap::new();
    for name in files(&cluster.folder, "kept") {
        for line in cluster.folder.read(&format!("kept/{name}")).lines().skip(1) {
            let (id, version) = line.split_once(',').unwrap();
            let id: u64 = id.parse().unwrap();
            rows.entry(id / BLOCK % 2).or_default().push((id, version.to_owned()));
        }
    }
    rows.values_mut().for_each(|rows| rows.sort());
    rows
}

/// Waits until both instances have shown rows that a version has answered.
#[track_caller]
fn wait_for_version(cluster: &Cluster, version: &str) {
    for _ in 0..TRIES {
        let has_it = |rows: &Vec<(u64, String)>| rows.iter().any(|(_, by)| by == version);
        let rows = rows(cluster);
        if rows.len() == 2 && rows.values().all(has_it) {
            return;
        }
        thread::sleep(POLL);
    }
    panic!("version {version} does not come to every instance in {PATIENCE:?}");
}

#[test]
fn every_instance_has_the_new_version_and_a_killed_worker_changes_no_answer() {
    let mut cluster = Cluster::open(10, &[]);
    fs::copy(folder().path("trips.csv"), cluster.folder.path("trips.csv")).unwrap();
    cluster.add_worker();
    cluster.add_worker();
    let script = "
        SET parallelism = 2; SET checkpoint_interval = '200ms';
        CREATE SOURCE rides (id BIGINT, distance DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts)
          WITH (connector = 'datagen', rows_per_second = 400, fields.id.kind = 'sequence', fields.ts.step = '10ms');
        CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS
          SELECT id, model_version FROM ML.PREDICT(MODEL late, TABLE rides)";
    cluster.sql(&format!("{TRIPS}; {}", made(true))).success();
    cluster.sql(script).success();
    wait_for_version(&cluster, "1");
    cluster.sql(&made(false)).success();
    wait_for_version(&cluster, "2");
    let restarts = "SELECT CAST(max(restarts) AS BIGINT) AS n FROM tidemill.jobs";
    assert_eq!(cluster.sql(restarts).success().stdout, "n\n0\n");

    let killed = cluster.workers.remove(0);
    killed.signal("KILL");
    killed.wait_killed();
    cluster.add_worker();
    wait_for_commits(&cluster.folder, "kept", 3);
    cluster.sql(&made(true)).success();
    wait_for_version(&cluster, "3");
    assert_ne!(cluster.sql(restarts).success().stdout, "n\n0\n");
    cluster.sql("STOP JOB kept").success();
    cluster.wait_for_jobs(<[String]>::is_empty);

    let rows = rows(&cluster);
    let all: Vec<u64> = rows.values().flatten().map(|(id, _)| *id).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no row is there twice");
    let end = rows.values().filter_map(|rows| rows.last()).map(|(id, _)| *id).min().unwrap();
    assert_eq!(all.iter().filter(|id| **id <= end).count() as u64, end + 1, "no row is missing");
    for (instance, rows) in &rows {
        let versions: Vec<&str> = rows.iter().map(|(_, version)| version.as_str()).collect();
        assert!(
            versions.is_sorted() && versions.first() == Some(&"1") && versions.last() == Some(&"3"),
            "instance {instance}"
        );
    }
    cluster.coordinator.signal("KILL");
    cluster.workers.iter().for_each(|worker| worker.signal("KILL"));
}

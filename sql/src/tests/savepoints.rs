//! Statements about jobs and savepoints, and what operators are called over the edits of a query.

use expect_test::expect;
use tidemill_plans::settings::Settings;

use super::{SOURCES, check_error, execute, graph, session, shown};
use crate::{Outcome, Session};

fn interactive() -> Session {
    let mut session = Session::interactive(Settings::default());
    execute(&mut session, SOURCES).unwrap();
    session
}

#[test]
fn statements_about_jobs() {
    let script = "CREATE SINK counts WITH (connector = 'blackhole') AS SELECT auction FROM bids FROM SAVEPOINT 'there';
        STOP JOB counts; STOP JOB 7 WITH SAVEPOINT; STOP JOB counts WITH SAVEPOINT 's3://bucket/saved';
        CREATE SAVEPOINT FOR JOB counts; CREATE SAVEPOINT FOR JOB 3 'there';
        EXPLAIN MIGRATION CREATE SINK other WITH (connector = 'print') AS SELECT auction FROM bids FROM SAVEPOINT 'there';
        SET from_savepoint = 'elsewhere';
        EXPLAIN MIGRATION CREATE MATERIALIZED VIEW v AS SELECT auction, count(*) AS n FROM bids GROUP BY auction;";
    let outcomes = execute(&mut interactive(), script).unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        job: CREATE SINK counts WITH (connector = 'blackhole') AS SELECT auction FROM bids FROM SAVEPOINT 'there'
        Stop(Object("counts"))
        Savepoint { job: Number(7), url: None, stops: true }
        Savepoint { job: Object("counts"), url: Some("s3://bucket/saved"), stops: true }
        Savepoint { job: Object("counts"), url: None, stops: false }
        Savepoint { job: Number(3), url: Some("there"), stops: false }
        migration from there
        SET from_savepoint
        migration from elsewhere
    "#]]
    .assert_eq(&text);
    let Outcome::Job(job) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(job.settings.from_savepoint, "there");
}

#[test]
fn statements_about_jobs_are_written_as_they_are_read() {
    let statements = [
        "SHOW JOBS",
        "SHOW JOB 7",
        "SHOW CHECKPOINTS FOR JOB \"counts\"",
        "SHOW METRICS FOR JOB \"it's \"\"Odd\"\"\"",
        "STOP JOB 7",
        "STOP JOB 7 WITH SAVEPOINT",
        "CREATE SAVEPOINT FOR JOB 7 'it''s there'",
        "ALTER JOB 7 SET parallelism = 3",
    ];
    for statement in statements {
        let outcomes = execute(&mut interactive(), statement).unwrap();
        let [Outcome::JobCommand(command)] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(command.to_string(), statement);
    }
}

#[test]
fn savepoints_in_other_places() {
    check_error(
        "SELECT auction FROM bids FROM SAVEPOINT 'there'",
        expect![[r#"
        line 1, column 26: FROM SAVEPOINT here is not supported; INSERT INTO, CREATE SINK, CREATE MATERIALIZED VIEW and CREATE MODEL can begin from one
    "#]],
    );
    check_error(
        "CREATE VIEW v AS SELECT auction FROM bids FROM SAVEPOINT 'there'",
        expect![[r#"
        line 1, column 43: FROM SAVEPOINT here is not supported; INSERT INTO, CREATE SINK, CREATE MATERIALIZED VIEW and CREATE MODEL can begin from one
    "#]],
    );
    check_error(
        "STOP JOB counts WITH PATIENCE",
        expect![[r#"
        line 1, column 22: expected SAVEPOINT, found PATIENCE
    "#]],
    );
    check_error(
        "CREATE SAVEPOINT counts",
        expect![[r#"
        line 1, column 18: expected FOR, found counts
    "#]],
    );
    check_error(
        "CREATE SINK s WITH (connector = 'blackhole') AS SELECT auction FROM bids FROM SAVEPOINT there",
        expect![[r#"
            line 1, column 89: expected the folder or URL of a savepoint, in quotes, found there
        "#]],
    );
    check_error(
        "EXPLAIN MIGRATION SELECT auction FROM bids",
        expect![[r#"
        line 1, column 1: EXPLAIN MIGRATION needs a savepoint: put FROM SAVEPOINT '…' at the end
    "#]],
    );
}

#[test]
fn operators_are_called_after_the_objects_that_they_belong_to() {
    let names = |script: &str| -> String {
        let graph = graph(&mut session(), script).unwrap();
        graph.nodes.iter().map(|node| format!("{}\n", node.name)).collect()
    };
    let objects = "CREATE VIEW hot AS SELECT auction, max(price) AS dear FROM bids GROUP BY auction;
        CREATE SINK out (auction BIGINT, n BIGINT) WITH (connector = 'blackhole');";
    let sink = "INSERT INTO out SELECT auction, count(*) FROM hot WHERE dear > 3 GROUP BY auction;";
    expect![[r#"
        bids.Source
        hot.Project
        hot.Aggregate
        hot.Project_2
        out.Filter
        out.Project
        out.Aggregate
        out.Project_2
        out.Project_3
        out.Sink
    "#]]
    .assert_eq(&names(&format!("{objects}{sink}")));
    // Another statement in front changes numbers, not names.
    let more = "CREATE SINK more WITH (connector = 'blackhole') AS SELECT DISTINCT bidder FROM bids;";
    expect![[r#"
        bids.Source
        more.Project
        more.Aggregate
        hot.Project
        hot.Aggregate
        hot.Project_2
        out.Filter
        out.Project
        out.Aggregate
        out.Project_2
        out.Project_3
        more.Sink
        out.Sink
    "#]]
    .assert_eq(&names(&format!("{objects}{more}{sink}")));
}

//! What statements do to a session, and what it says about itself.

use expect_test::expect;

use super::{SOURCES, check_error, error, execute, graph, session, shown};
use crate::{Catalog, Outcome, Session, parse_script};

#[test]
fn creating_and_dropping() {
    let script = "CREATE VIEW v AS SELECT auction, ts FROM bids;
        CREATE VIEW IF NOT EXISTS v AS SELECT 1 AS x FROM nothing;
        CREATE OR REPLACE VIEW v AS SELECT price, ts FROM bids;
        CREATE MATERIALIZED VIEW mv AS SELECT * FROM v;
        DROP MATERIALIZED VIEW mv; DROP VIEW v; DROP VIEW IF EXISTS v;
        SET parallelism TO 3; SET checkpoint_interval = 500ms;";
    let outcomes = execute(&mut session(), script).unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        CREATE VIEW v
        view v exists already
        CREATE VIEW v
        job: CREATE MATERIALIZED VIEW mv AS SELECT * FROM v
        DROP MATERIALIZED VIEW mv
        DROP VIEW v
        v does not exist
        SET parallelism
        SET checkpoint_interval
    "#]]
    .assert_eq(&text);
}

#[test]
fn showing() {
    let mut session = session();
    execute(
        &mut session,
        "SET parallelism = 4; CREATE VIEW v AS SELECT bidder, count(*) AS n FROM bids GROUP BY bidder",
    )
    .unwrap();
    let script =
        "SHOW SOURCES; SHOW VIEWS; SHOW CONNECTORS; SHOW parallelism; SHOW CREATE VIEW v; DESCRIBE bids; DESCRIBE v";
    let outcomes = execute(&mut session, script).unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        +----------+--------+-----------+
        | name     | kind   | connector |
        +----------+--------+-----------+
        | bids     | source | files     |
        | auctions | source | files     |
        | plain    | source | files     |
        +----------+--------+-----------+
        +------+------+-----------+
        | name | kind | connector |
        +------+------+-----------+
        | v    | view |           |
        +------+------+-----------+
        +-----------+----------------------------------------+---------------------------------------------------------------------------------+----------------+
        | name      | description                            | source_options                                                                  | sink_options   |
        +-----------+----------------------------------------+---------------------------------------------------------------------------------+----------------+
        | files     | Files on local disk.                   | path*, format*, header, delimiter, null_value, rows_per_second, null_event_time | path*, format* |
        | print     | Rows on standard output, as they come. | -                                                                               |                |
        | blackhole | Nowhere; rows are counted.             | -                                                                               |                |
        +-----------+----------------------------------------+---------------------------------------------------------------------------------+----------------+
        +-------------+-------+----------------------------------------------------------+
        | name        | value | description                                              |
        +-------------+-------+----------------------------------------------------------+
        | parallelism | 4     | Instances of each operator that can be spread, 1 to 128. |
        +-------------+-------+----------------------------------------------------------+
        +------+------+-------------------------------------------------------------------------+
        | name | kind | definition                                                              |
        +------+------+-------------------------------------------------------------------------+
        | v    | view | CREATE VIEW v AS SELECT bidder, count(*) AS n FROM bids GROUP BY bidder |
        +------+------+-------------------------------------------------------------------------+
        +---------+-----------+----------+------------+
        | column  | type      | nullable | role       |
        +---------+-----------+----------+------------+
        | auction | BIGINT    | true     |            |
        | bidder  | VARCHAR   | true     |            |
        | price   | DOUBLE    | true     |            |
        | ts      | TIMESTAMP | false    | event time |
        +---------+-----------+----------+------------+
        +--------+---------+----------+------+
        | column | type    | nullable | role |
        +--------+---------+----------+------+
        | bidder | VARCHAR | true     | key  |
        | n      | BIGINT  | false    |      |
        +--------+---------+----------+------+
    "#]].assert_eq(&text);
}

#[test]
fn the_catalog_is_rebuilt_from_its_texts() {
    let mut session = session();
    execute(
        &mut session,
        "CREATE VIEW v AS SELECT ts, price > 1 AS late, bidder FROM bids;
        CREATE MODEL m OPTIONS (model_type = 'logistic_reg', label = 'late') AS SELECT * FROM v;
        CREATE SINK s WITH (connector = 'print') AS SELECT * FROM v",
    )
    .unwrap();
    let entries = session.catalog.entries();
    let again = Catalog::replay(entries.iter().map(|entry| entry.definition.as_str())).unwrap();
    assert_eq!(again.entries(), entries);
    assert_eq!(entries.len(), 6);
}

#[test]
fn statements_share_sources_views_and_models() {
    let script = "CREATE VIEW v AS SELECT ts, auction FROM bids WHERE price > 1;
        CREATE SINK a WITH (connector = 'print') AS SELECT * FROM v;
        SELECT count(*) AS n FROM v; SELECT auction FROM bids;";
    let graph = graph(&mut session(), script).unwrap();
    expect![[r#"
        Sink #9 select_2 to result [x1]
          Project #8 auction [x2] -> rebalance
            Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        Sink #7 select_1 to result [x1]
          Project #6 "count(1)" AS n [x1] -> forward
            Aggregate #5 by (): count(1) at end [x1] -> forward
              Project #4 ts [x2] -> rebalance
                Project #2 ts, auction [x2] -> forward
                  Filter #1 (price > 1.0) [x2] -> forward
                    Source #0 (see above) [x2] -> forward
        Sink #3 a to print [x1]
          Project #2 (see above) [x2] -> rebalance
    "#]]
    .assert_eq(&tidemill_plans::explain::explain(&graph));
}

#[test]
fn objects_in_use_stay() {
    let mut session = session();
    execute(&mut session, "CREATE VIEW v AS SELECT * FROM bids; CREATE VIEW w AS SELECT * FROM v").unwrap();
    expect![[r#"
        line 1, column 11: cannot change or drop 'v': view 'w' uses it; drop that first
    "#]]
    .assert_eq(&error(&mut session, "DROP VIEW v"));
    expect![[r#"
        line 1, column 13: cannot change or drop 'bids': view 'v' uses it; drop that first
    "#]]
    .assert_eq(&error(&mut session, "DROP SOURCE bids"));
    expect![[r#"
        line 1, column 1: cannot change or drop 'v': view 'w' uses it; drop that first
    "#]]
    .assert_eq(&error(&mut session, "CREATE OR REPLACE VIEW v AS SELECT auction FROM bids"));
    expect![[r#"
        line 1, column 13: 'v' is a view; write DROP VIEW v
    "#]]
    .assert_eq(&error(&mut session, "DROP SOURCE v"));
    expect![[r#"
        line 1, column 24: view 'w' cannot be made of itself
    "#]]
    .assert_eq(&error(&mut session, "CREATE OR REPLACE VIEW w AS SELECT * FROM w"));
    execute(&mut session, "DROP VIEW w; DROP VIEW v; DROP SOURCE bids").unwrap();
}

#[test]
fn statements_keep_their_text_and_line() {
    let statements = parse_script("SELECT 1 FROM t;\n\n  -- a comment\n  SHOW\n ALL ;;").unwrap();
    let texts: Vec<(&str, u64)> = statements.iter().map(|s| (s.text(), s.line())).collect();
    assert_eq!(texts, [("SELECT 1 FROM t", 1), ("SHOW\n ALL", 4)]);
}

#[test]
fn failures_leave_the_session_alone() {
    let mut session = Session::default();
    execute(&mut session, SOURCES).unwrap();
    let before = session.catalog.entries();
    error(&mut session, "CREATE VIEW v AS SELECT nothing FROM bids");
    error(
        &mut session,
        "CREATE SINK s WITH (connector = 'files', path = 'x', format = 'csv') AS SELECT count(*) FROM bids",
    );
    assert_eq!(session.catalog.entries(), before);
    execute(&mut session, "EXPLAIN CREATE VIEW v AS SELECT ts FROM bids").unwrap();
    assert_eq!(session.catalog.entries(), before);
}

#[test]
fn results_say_how_to_find_their_rows() {
    let mut session = session();
    let outcomes = execute(&mut session, "SELECT bidder, count(*) AS n FROM bids GROUP BY bidder").unwrap();
    let mut builder = crate::JobBuilder::new(&session);
    let [Outcome::Job(job)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(builder.is_empty());
    let result = builder.add(&session, job).unwrap().result.unwrap();
    assert!(result.changelog);
    assert_eq!(result.schema.fields().len(), 2);
    let graph = builder.finish().unwrap();
    assert_eq!(graph.node(result.operator).unwrap().schema.fields().len(), 3);
}

#[test]
fn settings_say_what_is_valid() {
    check_error(
        "SET parallelism = 0",
        expect![[r#"
        line 1, column 5: setting parallelism is '0', but takes a whole number from 1 to 128
    "#]],
    );
    check_error(
        "\n  SET paralelism = 2",
        expect![[r#"
        line 2, column 7: unknown setting paralelism; valid are: parallelism, checkpoint_interval, channel_bytes, source_batch_rows, dead_letter_path, seed
    "#]],
    );
    check_error(
        "SHOW nonsense",
        expect![[r#"
        line 1, column 6: there is no setting or kind of object 'nonsense'; SHOW takes SOURCES, SINKS, VIEWS, MODELS, TABLES, CONNECTORS, FUNCTIONS, ALL, CREATE name, or a setting: parallelism, checkpoint_interval, channel_bytes, source_batch_rows, dead_letter_path, seed
    "#]],
    );
}
